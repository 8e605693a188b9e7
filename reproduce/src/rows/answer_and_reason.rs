//! CLR-Bench: answers alone flatter a model that guesses; answers with their reasons do not.
//!
//! A model knows an item with a probability of its own, and then answer and reason are right. Else it guesses: the answer is right
//! as often as its way with tests makes it, and the reason is worth nothing or, now and then, half.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::bench::{Joint, clr_bench};
use ascribe::eval::rank::kendall_tau_b;
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};

const MODELS: u64 = 20;
const ITEMS: usize = 500;
const TYPES: [&str; 5] = ["choice", "multiple choice", "true or false", "blank", "open"];
/// How much of a guess is right, by type: nobody guesses an open answer.
const GUESSED: [f64; 5] = [1.0, 0.5, 1.0, 0.3, 0.0];
/// How often the reason of a guess is half right.
const HALF: f64 = 0.2;

/// CLR-Bench's claims.
pub const ROW: Row = Row {
    name: "answer-and-reason",
    paper: "CLR-Bench: Evaluating Large Language Models in College-level Reasoning, arXiv:2410.17558",
    setting: "20 synthetic models that know 20 to 80 % of 500 items of five types and guess the others with a luck of their own; \
              Kendall's tau of a score with what is known",
    seeds: 12,
    claims: &[
        Claim {
            says: "models lose when their reasons count (Q->A above Q->AR)",
            more: "answers alone",
            less: "answers with reasons",
        },
        Claim {
            says: "answers with reasons order models by what they know, better than answers alone",
            more: "tau of answers with reasons",
            less: "tau of answers alone",
        },
        Claim {
            says: "the guess rate tells who is lucky (tau above 0)",
            more: "tau of the guess rate with luck",
            less: "zero",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let (mut known, mut lucky) = (Vec::new(), Vec::new());
    let (mut alone, mut with_reasons, mut guesses) = (Vec::new(), Vec::new(), Vec::new());
    let types: Vec<&str> = TYPES.into_iter().cycle().take(ITEMS).collect();
    for model in 0..MODELS {
        let mut stream = seed.stream("model", model);
        let (knows, luck): (f64, f64) = (stream.random_range(0.2..0.8), stream.random_range(0.0..0.9));
        let (mut answers, mut reasons) = (Vec::with_capacity(ITEMS), Vec::with_capacity(ITEMS));
        for item in 0..ITEMS {
            let known = stream.random::<f64>() < knows;
            let guessed = stream.random::<f64>() < luck * GUESSED[item % GUESSED.len()];
            let half = stream.random::<f64>() < HALF;
            answers.push(f64::from(u8::from(known || guessed)));
            reasons.push(match (known, half) {
                (true, _) => 1.0,
                (false, true) => 0.5,
                (false, false) => 0.0,
            });
        }
        let scores = clr_bench(&answers, &reasons, &types, Joint::Graded, &Bootstrap::NONE)?;
        known.push(knows);
        lucky.push(luck);
        alone.push(scores.answer.value);
        with_reasons.push(scores.joint.value);
        guesses.push(scores.guess_rate.value);
    }
    let tau = |one: &[f64], other: &[f64]| kendall_tau_b(one, other, &Bootstrap::NONE).map(|tau| tau.value);
    Ok(vec![
        ("answers alone".into(), mean(&alone)),
        ("answers with reasons".into(), mean(&with_reasons)),
        ("tau of answers alone".into(), tau(&alone, &known)?),
        ("tau of answers with reasons".into(), tau(&with_reasons, &known)?),
        ("tau of the guess rate with luck".into(), tau(&guesses, &lucky)?),
        ("zero".into(), 0.0),
    ])
}
