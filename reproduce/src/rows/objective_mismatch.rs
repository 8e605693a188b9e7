//! The alignment ceiling: a reward model's accuracy, the score that a policy reaches under it and what the policy is worth are
//! links of a chain, and a link may point the wrong way.
//!
//! Reward models score `a correct + b style + noise`. In the fair test style says nothing; in the confounded one the better answer
//! has the style. The policy is best-of-64 under the reward model.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::bench::mismatch_matrix;
use rand::{Rng, RngExt};

use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const RUNS: u64 = 40;
const PAIRS: usize = 400;
const PROMPTS: usize = 300;
const CANDIDATES: usize = 64;
/// Share of the policy's answers that are right.
const RIGHT: f64 = 0.2;

/// The claims of objective mismatch.
pub const ROW: Row = Row {
    name: "objective-mismatch",
    paper: "The Alignment Ceiling: Objective Mismatch in Reinforcement Learning from Human Feedback, arXiv:2311.00168",
    setting: "40 synthetic reward models a seed (correctness, style, noise), accuracy on 400 pairs of equal style and on 400 whose \
              better answer has the style; best-of-64 on 300 prompts: its score under the reward model, and its share of right \
              answers; Kendall's tau over the models",
    seeds: 12,
    claims: &[
        Claim {
            says: "accuracy where style says nothing foretells the policy better than where style goes with quality",
            more: "tau of fair accuracy with the outcome",
            less: "tau of confounded accuracy with the outcome",
        },
        Claim {
            says: "the score that is optimised foretells the outcome less than fair accuracy does",
            more: "tau of fair accuracy with the outcome",
            less: "tau of the optimised score with the outcome",
        },
        Claim {
            says: "the planted link of confounded accuracy and outcome is found to point the wrong way",
            more: "share of links that are found flipped",
            less: "one half",
        },
        Claim {
            says: "and that of fair accuracy is not",
            more: "one half",
            less: "share of fair links that are found flipped",
        },
    ],
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

    /// Share of pairs whose right answer, with or without the style, scores above the wrong one without it.
    fn accuracy(&self, style: bool, stream: &mut impl Rng) -> f64 {
        let won = (0..PAIRS).filter(|_| self.score(true, style, stream) > self.score(false, false, stream)).count();
        won as f64 / PAIRS as f64
    }

    /// The mean score of the best of the candidates, and how often it is right.
    fn optimised(&self, stream: &mut impl Rng) -> (f64, f64) {
        let (mut scores, mut right) = (0.0, 0);
        for _ in 0..PROMPTS {
            let mut best = (f64::NEG_INFINITY, false);
            for _ in 0..CANDIDATES {
                let (correct, style) = (stream.random::<f64>() < RIGHT, stream.random::<f64>() < 0.5);
                let score = self.score(correct, style, stream);
                if score > best.0 {
                    best = (score, correct);
                }
            }
            scores += best.0;
            right += usize::from(best.1);
        }
        (scores / PROMPTS as f64, right as f64 / PROMPTS as f64)
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let mut columns: [Vec<f64>; 4] = Default::default();
    for number in 0..RUNS {
        let mut stream = seed.stream("reward model", number);
        // One budget for both: what goes to style is lacking for correctness.
        let style: f64 = stream.random_range(0.0..3.0);
        let model = RewardModel { correct: 2.0 - 0.5 * style, style, noise: stream.random_range(0.8..1.0) };
        let (score, right) = model.optimised(&mut stream);
        let values = [model.accuracy(false, &mut stream), model.accuracy(true, &mut stream), score, right];
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let [fair, confounded, score, outcome] = &columns;
    let link = |name: &str, values: &[f64]| -> Result<(f64, bool)> {
        let matrix = mismatch_matrix(&[(name, values), ("outcome", outcome.as_slice())])?;
        Ok((matrix.tau[0][1].unwrap_or(0.0), !matrix.flipped.is_empty()))
    };
    let (fair, fair_flipped) = link("fair accuracy", fair)?;
    let (confounded, flipped) = link("confounded accuracy", confounded)?;
    let (score, _) = link("optimised score", score)?;
    let flag = |flag: bool| f64::from(u8::from(flag));
    Ok(vec![
        ("tau of fair accuracy with the outcome".into(), fair),
        ("tau of confounded accuracy with the outcome".into(), confounded),
        ("tau of the optimised score with the outcome".into(), score),
        ("share of links that are found flipped".into(), flag(flipped)),
        ("share of fair links that are found flipped".into(), flag(fair_flipped)),
        ("one half".into(), 0.5),
    ])
}
