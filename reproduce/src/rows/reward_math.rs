//! RewardMATH: does a benchmark score foretell the policy that is optimised against the reward model?
//!
//! Ten reward models score `a correct + b style + s noise`, each with its own weights. In the one-to-one benchmark the
//! correct answer is a person's and the wrong one a machine's, so style tells them apart; one-to-many has nine wrong answers
//! in the style of the right one. The policy is best-of-64, whose answers have either style whether they are right or not.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::bench::{OneToMany, one_to_many};
use ascribe::eval::rank::pearson;
use rand::{Rng, RngExt};

use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const MODELS: usize = 10;
const PROBLEMS: usize = 400;
const CANDIDATES: usize = 64;
const WRONG: usize = 9;
/// Share of the policy's answers that are right.
const RIGHT: f64 = 0.3;

/// RewardMATH's claim.
pub const ROW: Row = Row {
    name: "reward-math",
    paper: "Evaluating Robustness of Reward Models for Mathematical Reasoning, arXiv:2410.01729",
    setting: "ten synthetic reward models (correctness, style, noise), 400 problems, the policy is best-of-64; r^2 of a \
              benchmark's score with the accuracy of the optimised policy",
    seeds: 20,
    claims: &[Claim {
        says: "one-to-many tracks the optimised policy better than one-to-one",
        more: "r2 one-to-many",
        less: "r2 one-to-one",
    }],
    tried: "",
    run,
};

struct RewardModel {
    correct: f64,
    style: f64,
    noise: f64,
}

impl RewardModel {
    fn score(&self, correct: bool, style: bool, stream: &mut impl Rng) -> f64 {
        let of = |flag: bool| f64::from(u8::from(flag));
        self.correct * of(correct) + self.style * of(style) + self.noise * normal(stream)
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let (mut single, mut many, mut outcome) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..MODELS as u64 {
        let mut stream = seed.stream("reward model", index);
        let model = RewardModel {
            correct: stream.random_range(0.5..2.5),
            style: stream.random_range(0.0..3.0),
            noise: stream.random_range(0.3..1.2),
        };
        single.push(one_to_one_accuracy(&model, &mut stream)?);
        many.push(one_to_many_accuracy(&model, &mut stream)?);
        outcome.push(best_of_n_accuracy(&model, &mut stream));
    }
    let squared = |scores: &[f64]| -> Result<f64> { Ok(pearson(scores, &outcome, 0.95)?.value.powi(2)) };
    Ok(vec![("r2 one-to-many".into(), squared(&many)?), ("r2 one-to-one".into(), squared(&single)?)])
}

fn one_to_one_accuracy(model: &RewardModel, stream: &mut impl Rng) -> Result<f64> {
    let problem = |_| OneToMany {
        correct: vec![model.score(true, true, stream)],
        wrong: vec![model.score(false, false, stream)],
    };
    let problems: Vec<OneToMany> = (0..PROBLEMS).map(problem).collect();
    Ok(one_to_many(&problems, &Bootstrap::NONE)?.accuracy.value)
}

fn one_to_many_accuracy(model: &RewardModel, stream: &mut impl Rng) -> Result<f64> {
    let problem = |_| OneToMany {
        correct: vec![model.score(true, true, stream)],
        wrong: (0..WRONG).map(|_| model.score(false, true, stream)).collect(),
    };
    let problems: Vec<OneToMany> = (0..PROBLEMS).map(problem).collect();
    Ok(one_to_many(&problems, &Bootstrap::NONE)?.accuracy.value)
}

fn best_of_n_accuracy(model: &RewardModel, stream: &mut impl Rng) -> f64 {
    let mut right = 0;
    for _ in 0..PROBLEMS {
        let mut best = (f64::NEG_INFINITY, false);
        for _ in 0..CANDIDATES {
            let (correct, style) = (stream.random::<f64>() < RIGHT, stream.random::<f64>() < 0.5);
            let score = model.score(correct, style, stream);
            if score > best.0 {
                best = (score, correct);
            }
        }
        right += usize::from(best.1);
    }
    right as f64 / PROBLEMS as f64
}
