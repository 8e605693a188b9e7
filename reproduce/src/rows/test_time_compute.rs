//! Revision in a chain beside parallel sampling, with as many attempts, and the choice between them by difficulty.
//!
//! ```text
//! slip of a step    (0.15 + 0.25 d) (0.3 + 1.5 d)^k      d in [0, 1] for each problem, k attempts seen
//! ```
//! So easy problems are set right, and hard ones get worse. How good a revision is, is planted; what is shown is that chains
//! use it, and that a choice by measured difficulty does.

use anyhow::Result;
use ascribe::core::{Budget, Candidate, Reduce, Seed, Stream, Tokens};
use ascribe::search::{BestOfN, Revise, ReviseOptions, Search, SearchCtx, Steps, compute_optimal, difficulty_levels};
use ascribe::worlds::{Operator, Problem};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::solver::{ATTEMPT, Verifier, solver};

const PROBLEMS: u64 = 1000;
const STEPS: usize = 8;
const ATTEMPTS: usize = 8;
/// Attempts of a chain, for each way to spend them; the first is parallel sampling, the last pure revision.
const CHAINS: [usize; 4] = [1, 2, 4, ATTEMPTS];
/// How often the verifier is mistaken about a step.
const ERRORS: f64 = 0.02;
/// Samples that difficulty is measured by.
const MEASURED: usize = 32;

/// What the paper on test-time compute says of revisions.
pub const ROW: Row = Row {
    name: "test-time-compute",
    paper: "Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model Parameters, arXiv:2408.03314",
    setting: "1000 chains of 8 sums and differences a seed; revisions that help with easy problems and harm with hard ones, by \
              construction; 8 attempts in chains of 1, 2, 4 or 8, each of which sees the last 4; a verifier of steps that errs \
              about one in 50; difficulty in quintiles of 32 samples, the choice made on one half and measured on the other",
    seeds: 12,
    claims: &[
        Claim {
            says: "on the easiest problems revision beats parallel sampling",
            more: "easiest, revision",
            less: "easiest, parallel",
        },
        Claim {
            says: "on the hardest ones parallel sampling beats revision",
            more: "hardest, parallel",
            less: "hardest, revision",
        },
        Claim {
            says: "the choice by difficulty beats best-of-n with as many tokens",
            more: "chosen by pass rate",
            less: "parallel",
        },
        Claim {
            says: "it does so, too, when the verifier says what is difficult",
            more: "chosen by mean score",
            less: "parallel",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let prompt = [Tokens::from(vec![ATTEMPT])];
    let mut outcomes = vec![Vec::new(); CHAINS.len()];
    let (mut pass_rates, mut scores) = (Vec::new(), Vec::new());
    for number in 0..PROBLEMS {
        let problem = drawn(&mut seed.stream("problems", number))?;
        let difficulty: f64 = seed.stream("difficulty", number).random();
        let slip = |before: &[u32], _: usize, _: bool| slips(difficulty, before);
        let solver = solver(&problem, &slip);
        let verifier = Verifier { problem: &problem, errors: ERRORS, seed: seed.child("verifier", number) };
        let answer = u32::from(problem.answer());
        let right = |one: &Candidate| f64::from(u8::from(one.tokens.last() == Some(&answer)));
        let context = |purpose: &str| {
            let ctx = SearchCtx::new(&solver, STEPS, seed.child(purpose, number)).with_steps(Steps::blocks(1));
            ctx.with_scorer(&verifier, Reduce::Prod)
        };
        for found in (BestOfN { n: MEASURED }).search(&prompt, &mut context("measured"))? {
            pass_rates.push(mean(&found.candidates.iter().map(right).collect::<Vec<f64>>()));
            let told: Vec<f64> = found.scores.iter().flatten().map(|score| f64::from(*score)).collect();
            scores.push(mean(&told));
        }
        for (chain, outcomes) in CHAINS.into_iter().zip(&mut outcomes) {
            let options = ReviseOptions { n: ATTEMPTS, chain, ..ReviseOptions::default() };
            let mut ctx = context("attempts").with_budget(Budget(Some((ATTEMPTS * STEPS) as u64)));
            let found = Revise { options, prompt: None }.search(&prompt, &mut ctx)?;
            outcomes.extend(found.iter().map(|one| right(one.best())));
        }
    }
    let folds: Vec<bool> = (0..PROBLEMS).map(|number| number % 2 == 1).collect();
    let levels = difficulty_levels(&pass_rates)?;
    let by_rate = compute_optimal(&levels, &folds, &outcomes)?;
    let by_score = compute_optimal(&difficulty_levels(&scores)?, &folds, &outcomes)?;
    let (parallel, revision) = (&outcomes[0], &outcomes[CHAINS.len() - 1]);
    let of = |level: Option<&usize>, outcomes: &[f64]| {
        let own = levels.iter().zip(outcomes).filter(|(own, _)| Some(*own) == level);
        mean(&own.map(|(_, outcome)| *outcome).collect::<Vec<f64>>())
    };
    let mut figures: Figures = vec![
        ("easiest, revision".into(), of(levels.iter().min(), revision)),
        ("easiest, parallel".into(), of(levels.iter().min(), parallel)),
        ("hardest, revision".into(), of(levels.iter().max(), revision)),
        ("hardest, parallel".into(), of(levels.iter().max(), parallel)),
        ("chosen by pass rate".into(), by_rate.mean),
        ("chosen by mean score".into(), by_score.mean),
        ("parallel".into(), mean(parallel)),
        ("revision".into(), mean(revision)),
    ];
    for (chain, outcomes) in CHAINS.iter().zip(&outcomes) {
        figures.push((format!("chains of {chain}"), mean(outcomes)));
    }
    Ok(figures)
}

/// A drawn chain of sums and differences, in which a slip is not forgotten.
fn drawn(stream: &mut Stream) -> Result<Problem> {
    let operators = [Operator::Add, Operator::Subtract];
    let start = stream.random_range(0..=9);
    let operation = |_| (operators[stream.random_range(0..operators.len())], stream.random_range(0..=9));
    Ok(Problem::new(start, (0..STEPS).map(operation).collect())?)
}

/// The probability of a slip at any step of an attempt, behind what stands before it: the attempts that are seen, and the mark
/// of the new one.
fn slips(difficulty: f64, before: &[u32]) -> f64 {
    let seen = before.iter().filter(|token| **token == ATTEMPT).count().saturating_sub(1);
    ((0.15 + 0.25 * difficulty) * (0.3 + 1.5 * difficulty).powi(seen as i32)).min(0.95)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easy_problems_are_set_right_and_hard_ones_are_not() {
        let second = [ATTEMPT, 3, 4, ATTEMPT];
        // 0.3, 1.8 and 1.05 times what it was.
        for (difficulty, first, revised) in [(0.0, 0.15, 0.045), (1.0, 0.4, 0.72), (0.5, 0.275, 0.28875)] {
            assert!((slips(difficulty, &[ATTEMPT]) - first).abs() < 1e-12);
            assert!((slips(difficulty, &second) - revised).abs() < 1e-12);
        }
        assert_eq!(slips(1.0, &[ATTEMPT; 9]), 0.95);
    }
}
