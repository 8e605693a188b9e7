//! Revision in a chain beside parallel sampling and beside search, with as many tokens, and the choice among them by difficulty.
//!
//! ```text
//! slip of a step    (0.15 + 0.25 d) (0.3 + 1.5 d)^k      d in [0, 1] for each problem, k attempts seen
//! ```
//! So easy problems are set right, and hard ones get worse. How good a revision is, is planted; what is shown is that chains
//! use it, and that a choice by measured difficulty does. A search is told of every step and a chain only at its end, so which of
//! them is better hangs on the verifier, too: there is a sound one for the lengths of chains, and a weak one for the four.

use anyhow::Result;
use ascribe::core::{Budget, Candidate, Reduce, Seed, Stream, Tokens};
use ascribe::search::{
    BestOfN, Revise, ReviseOptions, Search, SearchCtx, StepBeam, Steps, compute_optimal, difficulty_levels,
};
use ascribe::worlds::{Operator, Problem};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{self, Claim, Figures, Row};
use crate::solver::{ATTEMPT, Verifier, solver};

const PROBLEMS: u64 = 3000;
const STEPS: usize = 8;
const ATTEMPTS: usize = 8;
/// Attempts of a chain, for each way to spend them; the first is parallel sampling, the last pure revision.
const CHAINS: [usize; 4] = [1, 2, 4, ATTEMPTS];
/// How often the verifier is mistaken about a step.
const ERRORS: f64 = 0.02;
/// How often the weak verifier is.
const WEAK: f64 = 0.3;
/// Samples that difficulty is measured by.
const MEASURED: usize = 32;

/// What the paper on test-time compute says of revisions.
pub const ROW: Row = Row {
    name: "test-time-compute",
    paper: "Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model Parameters, arXiv:2408.03314",
    setting: "3000 chains of 8 sums and differences a seed; revisions that help with easy problems and harm with hard ones, by \
              construction; 8 attempts in chains of 1, 2, 4 or 8, each of which sees the last 4; a verifier of steps that errs \
              about one in 50; best of 8, a step beam of 8 candidates of which 2 are kept, lookahead of one step with 4 \
              candidates, and a chain of 8 with a weak verifier, which errs about three in 10; at most 64 tokens; difficulty in \
              quintiles of 32 samples, the choice made on one half and measured on the other",
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
        Claim {
            says: "by the weak verifier, revision beats a step beam on the easiest problems",
            more: "easiest, revision by the weak verifier",
            less: "easiest, step beam by the weak verifier",
        },
        Claim {
            says: "and a step beam beats revision on the hardest ones",
            more: "hardest, step beam by the weak verifier",
            less: "hardest, revision by the weak verifier",
        },
        Claim {
            says: "the choice by difficulty among best-of-n, step beam, lookahead and revision beats best-of-n with as many tokens",
            more: "chosen of four",
            less: "best of n by the weak verifier",
        },
        Claim {
            says: "and beats whichever of the four is best for all problems",
            more: "chosen of four",
            less: "the best of the four",
        },
    ],
    tried: "With the sound verifier the choice is among lengths of chains alone: in a model of the row with errors in 0.02, 0.1, \
            0.2, 0.3 and 0.4 of the steps, the step beam was ahead at every difficulty up to 0.2, so that there was nothing to \
            choose; at 0.3 revision was ahead on the easiest problems, and there the four are compared.",
    run,
};

/// A way to spend the tokens, and what it came to on each problem.
struct Way {
    name: String,
    search: Box<dyn Search>,
    /// Scored by the weak verifier.
    weak: bool,
    outcomes: Vec<f64>,
    sampled: f64,
    scored: f64,
}

impl Way {
    fn new(name: String, search: Box<dyn Search>, weak: bool) -> Self {
        Self { name, search, weak, outcomes: Vec::new(), sampled: 0.0, scored: 0.0 }
    }
}

/// Chains by the verifier, then the four by the weak one.
fn ways() -> Vec<Way> {
    let chains = |chain| {
        let options = ReviseOptions { n: ATTEMPTS, chain, ..ReviseOptions::default() };
        Box::new(Revise { options, prompt: None })
    };
    let beam = |n, expand, lookahead| Box::new(StepBeam { n, expand, lookahead, ..StepBeam::default() });
    let four: [(&str, Box<dyn Search>); 4] = [
        ("best of n", Box::new(BestOfN { n: ATTEMPTS })),
        ("step beam", beam(ATTEMPTS, 4, 0)),
        // Every candidate is written one step further.
        ("lookahead", beam(ATTEMPTS / 2, 2, 1)),
        ("revision", chains(ATTEMPTS)),
    ];
    let by_chain = CHAINS.map(|chain| Way::new(format!("chains of {chain}"), chains(chain), false));
    let by_weak = four.map(|(name, search)| Way::new(format!("{name} by the weak verifier"), search, true));
    by_chain.into_iter().chain(by_weak).collect()
}

fn run(seed: Seed) -> Result<Figures> {
    let prompt = [Tokens::from(vec![ATTEMPT])];
    let mut ways = ways();
    let (mut pass_rates, mut scores) = (Vec::new(), Vec::new());
    for number in 0..PROBLEMS {
        let problem = drawn(&mut seed.stream("problems", number))?;
        let difficulty: f64 = seed.stream("difficulty", number).random();
        let slip = |before: &[u32], _: usize, _: bool| slips(difficulty, before);
        let solver = solver(&problem, &slip);
        let verifier = Verifier { problem: &problem, errors: ERRORS, seed: seed.child("verifier", number) };
        let weak = Verifier { problem: &problem, errors: WEAK, seed: seed.child("weak verifier", number) };
        let answer = u32::from(problem.answer());
        let right = |one: &Candidate| {
            let whole = one.tokens.len() == STEPS;
            f64::from(u8::from(whole && one.tokens.last() == Some(&answer)))
        };
        let context =
            |purpose: &str| SearchCtx::new(&solver, STEPS, seed.child(purpose, number)).with_steps(Steps::blocks(1));
        let mut measuring = context("measured").with_scorer(&verifier, Reduce::Prod);
        for found in (BestOfN { n: MEASURED }).search(&prompt, &mut measuring)? {
            pass_rates.push(mean(&found.candidates.iter().map(right).collect::<Vec<f64>>()));
            let told: Vec<f64> = found.scores.iter().flatten().map(|score| f64::from(*score)).collect();
            scores.push(mean(&told));
        }
        for way in &mut ways {
            let scorer = if way.weak { &weak } else { &verifier };
            let ctx = context("attempts").with_scorer(scorer, Reduce::Prod);
            let mut ctx = ctx.with_budget(Budget(Some((ATTEMPTS * STEPS) as u64)));
            let found = way.search.search(&prompt, &mut ctx)?;
            way.outcomes.extend(found.iter().map(|one| right(one.best())));
            way.sampled += ctx.spent().generated as f64;
            way.scored += ctx.calls().scorer_tokens as f64;
        }
    }
    let folds: Vec<bool> = (0..PROBLEMS).map(|number| number % 2 == 1).collect();
    let levels = difficulty_levels(&pass_rates)?;
    let outcomes = |weak: bool| -> Vec<Vec<f64>> {
        ways.iter().filter(|way| way.weak == weak).map(|way| way.outcomes.clone()).collect()
    };
    let (chains, four) = (outcomes(false), outcomes(true));
    let by_rate = compute_optimal(&levels, &folds, &chains)?;
    let by_score = compute_optimal(&difficulty_levels(&scores)?, &folds, &chains)?;
    let of_four = compute_optimal(&levels, &folds, &four)?;
    let of = |level: Option<&usize>, outcomes: &[f64]| {
        let own = levels.iter().zip(outcomes).filter(|(own, _)| Some(*own) == level);
        mean(&own.map(|(_, outcome)| *outcome).collect::<Vec<f64>>())
    };
    let (easiest, hardest) = (levels.iter().min(), levels.iter().max());
    let (parallel, revision) = (&chains[0], &chains[CHAINS.len() - 1]);
    let mut figures: Figures = vec![
        ("easiest, revision".into(), of(easiest, revision)),
        ("easiest, parallel".into(), of(easiest, parallel)),
        ("hardest, revision".into(), of(hardest, revision)),
        ("hardest, parallel".into(), of(hardest, parallel)),
        ("chosen by pass rate".into(), by_rate.mean),
        ("chosen by mean score".into(), by_score.mean),
        ("parallel".into(), mean(parallel)),
        ("revision".into(), mean(revision)),
        ("chosen of four".into(), of_four.mean),
        ("the best of the four".into(), of_four.fixed.iter().copied().fold(0.0, f64::max)),
    ];
    for Way { name, weak, outcomes, sampled, scored, .. } in &ways {
        let problems = PROBLEMS as f64;
        figures.extend(row::arm(name, mean(outcomes), sampled / problems, scored / problems));
        if *weak {
            figures.push((format!("easiest, {name}"), of(easiest, outcomes)));
            figures.push((format!("hardest, {name}"), of(hardest, outcomes)));
        }
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
    fn ways_spend_at_most_the_tokens_of_the_attempts_and_claims_are_of_ways_that_are_run() {
        let problem = drawn(&mut Seed(3).stream("problems", 0)).unwrap();
        let slip = |_: &[u32], _: usize, _: bool| 0.0;
        let solver = solver(&problem, &slip);
        let verifier = Verifier { problem: &problem, errors: 0.0, seed: Seed(0) };
        let all = ways();
        for way in &all {
            let ctx = SearchCtx::new(&solver, STEPS, Seed(1)).with_steps(Steps::blocks(1));
            let mut ctx = ctx.with_scorer(&verifier, Reduce::Prod).with_budget(Budget(Some(64)));
            let found = way.search.search(&[Tokens::from(vec![ATTEMPT])], &mut ctx).unwrap();
            // Without a slip there is one text.
            let results: Vec<u32> = problem.results().into_iter().map(u32::from).collect();
            assert_eq!(found[0].best().tokens[..], results[..], "{}", way.name);
            assert!(ctx.spent().generated <= 64, "{}", way.name);
        }
        for name in ["best of n", "step beam", "lookahead", "revision"] {
            assert!(all.iter().any(|way| way.weak && way.name == format!("{name} by the weak verifier")), "{name}");
        }
    }

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
