//! OmegaPRM: the first wrong step by halving, beside a linear scan of the same solutions.
//!
//! A solver of chain arithmetic writes one result a token and slips now and then. Halving and scanning ask for the same
//! rollouts behind the same prefix. The true first error is the first result from which a careful solver no longer gets the
//! answer; both miss it now and then, because the rollouts slip too.

use anyhow::{Context, Result};
use ascribe::core::{CoreError, Seed};
use ascribe::process::label::{Asked, Question};
use ascribe::process::{Completer, MonteCarlo, OmegaConfig, ProcessError, Solution, Verdict};
use ascribe::worlds::{ChainWorld, Problem};

use crate::row::{Claim, Figures, Row};
use crate::solver::solver;

const PROBLEMS: u64 = 100;
const STEPS: usize = 16;
const ROLLOUTS: usize = 8;
/// How often a step goes wrong.
const SLIP: f64 = 0.02;

/// OmegaPRM's claims.
pub const ROW: Row = Row {
    name: "omega-prm",
    paper: "Improve Mathematical Reasoning in Language Models by Automated Process Supervision, arXiv:2406.06592",
    setting: "100 chains of 16 operations, a solver whose steps go wrong with probability 0.02 writes the solutions and \
              completes them, 8 rollouts a prefix; rollouts of the question itself, which all share, are not counted",
    seeds: 10,
    claims: &[
        Claim {
            says: "halving needs fewer rollouts an error than a scan that stops at the first",
            more: "rollouts an error, scan",
            less: "rollouts an error, halving",
        },
        Claim {
            says: "and fewer than labels of every step",
            more: "rollouts an error, every step",
            less: "rollouts an error, halving",
        },
        Claim {
            says: "fewer, too, for each error that is rightly placed",
            more: "rollouts a right error, scan",
            less: "rollouts a right error, halving",
        },
        Claim {
            says: "the scan asks about more prefixes and places more errors rightly",
            more: "right, scan",
            less: "right, halving",
        },
        Claim { says: "halving places more than half of the errors rightly", more: "right, halving", less: "one half" },
    ],
    tried: "",
    run,
};

/// Every result is a step.
fn every_result(response: &[u32]) -> Result<Vec<usize>, ProcessError> {
    Ok((1..=response.len()).collect())
}

fn run(seed: Seed) -> Result<Figures> {
    let config = OmegaConfig { rollouts: ROLLOUTS, root_rollouts: ROLLOUTS, searches: 1, ..OmegaConfig::default() };
    let (omega, monte_carlo) = (config.init()?, MonteCarlo::new(ROLLOUTS)?);
    let (mut errors, mut halving, mut scan, mut every) = (0.0, 0.0, 0.0, 0.0);
    let (mut right_by_halving, mut right_by_scan) = (0.0, 0.0);
    for number in 0..PROBLEMS {
        let problem = Problem::draw(&mut seed.stream("problems", number), STEPS..=STEPS)?;
        let answer = u32::from(problem.answer());
        let outcome = |_: u64, response: &[u32]| -> Result<Verdict, CoreError> {
            Ok(if response.last() == Some(&answer) { Verdict::Correct } else { Verdict::Wrong })
        };
        let slip = |_: &[u32], _: usize, _: bool| SLIP;
        let solver = solver(&problem, &slip);
        let completer = || Completer::new(&solver, &outcome, "solver", STEPS, seed);
        let mut asked = completer();
        let question = Question { problem: number, prompt: &[], cut: &every_result, segmentation: "results" };
        let tree = omega.search(question, &mut asked)?;
        // The question's own rollouts are all right, or none is.
        let Some(found) = tree.found.first() else { continue };
        errors += 1.0;
        halving += (asked.spent().rollouts - ROLLOUTS as u64) as f64;

        let mut asked = completer();
        let scanned = scanned(number, &found.response, &mut asked)?;
        scan += asked.spent().rollouts as f64;

        let mut asked = completer();
        let ends = every_result(&found.response)?;
        let response = &found.response[..];
        let solution = Solution { problem: number, prompt: &[], response, ends: &ends, segmentation: "results" };
        monte_carlo.label(&solution, &mut asked)?;
        every += asked.spent().rollouts as f64;

        let truth = first_error(&problem, response);
        right_by_halving += f64::from(u8::from(Some(found.end) == truth));
        right_by_scan += f64::from(u8::from(Some(scanned) == truth));
    }
    Ok(vec![
        ("rollouts an error, halving".into(), halving / errors),
        ("rollouts an error, scan".into(), scan / errors),
        ("rollouts an error, every step".into(), every / errors),
        ("rollouts a right error, halving".into(), halving / right_by_halving),
        ("rollouts a right error, scan".into(), scan / right_by_scan),
        ("right, halving".into(), right_by_halving / errors),
        ("right, scan".into(), right_by_scan / errors),
        ("one half".into(), 0.5),
    ])
}

/// Results up to the first from which no rollout gets the answer; prefixes are asked about from the first on.
fn scanned(problem: u64, response: &[u32], completer: &mut Completer) -> Result<usize> {
    for end in 1..response.len() {
        let asked = Asked { problem, prompt: &[], prefix: &response[..end], n: ROLLOUTS, again: 0 };
        let estimates = completer.estimate(&[asked])?.context("there is no cap")?;
        if estimates.iter().all(|estimate| estimate.correct == 0) {
            return Ok(end);
        }
    }
    Ok(response.len())
}

/// Results up to the first from which a careful solver no longer gets the answer.
fn first_error(problem: &Problem, response: &[u32]) -> Option<usize> {
    let world = ChainWorld { problem: problem.clone() };
    let results: Vec<u8> = response.iter().map(|result| *result as u8).collect();
    (1..=results.len()).find(|end| world.value_if_careful(&results[..*end]) == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_where_a_careful_solver_is_lost() {
        // 3+5=8, 8*2=6, 6-4=2. After 3, 3*2 is 6 as well; after 8 and 5, 5-4 is 1.
        let problem = Problem::parse("((3+5)*2-4)%10").unwrap();
        assert_eq!(first_error(&problem, &[3, 6, 2]), None);
        assert_eq!(first_error(&problem, &[8, 5, 1]), Some(2));
        assert_eq!(first_error(&problem, &[8, 6, 3]), Some(3));
    }
}
