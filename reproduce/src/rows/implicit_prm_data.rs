//! Implicit process rewards need outcomes alone: what they are worth beside a process model whose labels cost rollouts.
//!
//! A policy is trained on outcomes by cross-entropy, or by DPO on pairs of a right and a wrong solution; its log-ratio to the start
//! scores steps. The process model learns labels of steps: Monte-Carlo labels, one solution a problem, or the values that a tree
//! search leaves behind. What is counted is responses: solutions, and rollouts; the single steps that a search asks for are free.

use anyhow::Result;
use ascribe::core::{Candidate, Scorer, Seed};
use ascribe::eval::Bootstrap;
use ascribe::eval::credit::{MarkedCredit, token_auroc_micro};
use ascribe::process::credit::{ImplicitForm, progress};
use ascribe::process::label::{AfterError, MctsConfig, Softness, targets};
use ascribe::process::{Completer, MonteCarlo, Solution};
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::search::{BestOfN, Majority};

use crate::chain::{Chains, Solver, every_result, first_slip};
use crate::row::{Claim, Figures, Row};
use crate::step_policy::{ImplicitScorer, StepPolicy, places};
use crate::step_table::{CrossEntropy, Marked, StepScorer, features};

/// Operations of a chain.
pub const STEPS: usize = 8;
/// Who writes the solutions.
pub static SOLVER: Solver = Solver { hard: 0.35, easy: 0.02, steps: STEPS };
const PROBLEMS: usize = 600;
const SAMPLES: usize = 4;
const ROLLOUTS: usize = 8;
/// How many times the responses of the implicit model the large process model has.
const MORE: usize = 38;
/// Simulations of a problem in a tree search. A state is learned where as many went through it as a prefix has rollouts.
const SIMULATIONS: usize = 64;
/// How far behind is as good.
const MARGIN: f64 = 0.02;
const TESTS: usize = 300;
const N: usize = 8;
const PASSES: f64 = 20.0;
const BETA: f64 = 1.0;
const SEGMENTATION: &str = "results";

/// The claims of free process rewards.
pub const ROW: Row = Row {
    name: "implicit-prm-data",
    paper: "Free Process Rewards without Process Labels, arXiv:2412.01981",
    setting: "chains of 8 operations, a solver whose hard steps go wrong with probability 0.35 and easy ones with 0.02; 600 problems \
              with 4 solutions each for the implicit models, a table over questions and results at beta 1; for the process model a \
              table of weights over steps with labels from 8 rollouts a prefix, or from tree searches of 64 simulations a problem \
              (states that 8 went through), of as many responses and of 38 times as many; \
              best of 8 on 300 other problems, and the AUROC of low credit for the first slip in one solution of each",
    seeds: 8,
    claims: &[
        Claim {
            says: "with as many responses the implicit model chooses better than the labelled one",
            more: "best of n, cross-entropy",
            less: "best of n, labels",
        },
        Claim { says: "it finds first errors better", more: "AUROC, cross-entropy", less: "AUROC, labels" },
        Claim {
            says: "it chooses better than the labelled model with 38 times the responses",
            more: "best of n, cross-entropy",
            less: "best of n, 38 times the labels",
        },
        Claim {
            says: "it finds first errors better than that one, too",
            more: "AUROC, cross-entropy",
            less: "AUROC, 38 times the labels",
        },
        Claim {
            says: "cross-entropy needs less data than DPO",
            more: "best of n, cross-entropy",
            less: "best of n, DPO",
        },
        Claim {
            says: "one response a problem is enough to beat the majority vote",
            more: "best of n, one response",
            less: "majority",
        },
        Claim {
            says: "with as many responses the implicit model chooses better than one of searched values",
            more: "best of n, cross-entropy",
            less: "best of n, search",
        },
        Claim {
            says: "and finds first errors better than that one",
            more: "AUROC, cross-entropy",
            less: "AUROC, search",
        },
        Claim {
            says: "it is at most 0.02 behind the model with 38 times the labels",
            more: "best of n, cross-entropy, and 0.02",
            less: "best of n, 38 times the labels",
        },
        Claim {
            says: "and behind the one with 38 times the search",
            more: "best of n, cross-entropy, and 0.02",
            less: "best of n, 38 times the search",
        },
        Claim {
            says: "DPO, too, is at most 0.02 behind the one with 38 times the search",
            more: "best of n, DPO, and 0.02",
            less: "best of n, 38 times the search",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let tests = Chains::draw(TESTS, STEPS, seed.child("tests", 0))?;
    let reference = StepPolicy::of(&SOLVER);
    let (cross_entropy, dpo) = (CrossEntropy::new()?, BradleyTerryConfig::default().init()?);
    let Outcomes { all, first, pairs } = outcomes(seed.child("outcomes", 0))?;
    let by_outcomes = reference.trained(&cross_entropy, BETA, &all, PASSES, seed)?;
    let by_one = reference.trained(&cross_entropy, BETA, &first, PASSES, seed)?;
    let by_pairs = reference.trained(&dpo, BETA, &pairs, PASSES, seed)?;
    let mut figures: Figures = Vec::new();
    for (name, policy) in [("cross-entropy", &by_outcomes), ("one response", &by_one), ("DPO", &by_pairs)] {
        let whole = ImplicitScorer { policy, reference: &reference, beta: BETA, form: ImplicitForm::Accumulative };
        let single = ImplicitScorer { form: ImplicitForm::Single, ..whole };
        let right = best_of_n(&tests, &whole, seed)?;
        figures
            .extend([(format!("best of n, {name}"), right), (format!("best of n, {name}, and 0.02"), right + MARGIN)]);
        let credit = |prompt: &[u32], response: &[u32]| -> Result<Vec<f64>> { Ok(single.rewards(prompt, response)?) };
        figures.push((format!("AUROC, {name}"), found(&tests, &credit, seed)?));
    }
    // What one labelled solution takes: itself, and the rollouts behind all its steps but the last.
    let affordable = PROBLEMS * SAMPLES / (1 + ROLLOUTS * (STEPS - 1));
    let responses = (PROBLEMS * SAMPLES) as u64;
    for (name, rows) in [
        ("labels", labelled(affordable, seed.child("labels", 0))?),
        ("38 times the labels", labelled(MORE * affordable, seed.child("38 times the labels", 0))?),
        ("search", searched(responses, seed.child("search labels", 0))?),
        ("38 times the search", searched(MORE as u64 * responses, seed.child("38 times the search", 0))?),
    ] {
        let scorer = StepScorer::learned(&cross_entropy, &rows, PASSES, seed)?;
        figures.push((format!("best of n, {name}"), best_of_n(&tests, &scorer, seed)?));
        let credit = |prompt: &[u32], response: &[u32]| -> Result<Vec<f64>> {
            Ok(progress(scorer.value(prompt, &[]), &scorer.values(prompt, response))?)
        };
        figures.push((format!("AUROC, {name}"), found(&tests, &credit, seed)?));
    }
    let majority = Majority { n: N, answer: |_: usize, candidate: &Candidate| candidate.tokens.last().copied() };
    let nobody =
        ImplicitScorer { policy: &reference, reference: &reference, beta: BETA, form: ImplicitForm::Accumulative };
    figures.push(("majority".to_owned(), tests.solved(&majority, SOLVER.searched(&nobody, seed))?));
    Ok(figures)
}

fn best_of_n(tests: &Chains, scorer: &dyn Scorer, seed: Seed) -> Result<f64> {
    tests.solved(&BestOfN { n: N }, SOLVER.searched(scorer, seed))
}

/// Solutions with their outcomes.
#[derive(Default)]
struct Outcomes {
    all: Vec<Marked>,
    /// Of each problem the first alone.
    first: Vec<Marked>,
    /// Each right solution with a wrong one of its problem.
    pairs: Vec<Marked>,
}

fn outcomes(seed: Seed) -> Result<Outcomes> {
    let chains = Chains::draw(PROBLEMS, STEPS, seed)?;
    let mut outcomes = Outcomes::default();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        let solutions = SOLVER.solutions(prompt, SAMPLES, seed.child("solutions", number as u64));
        for (sample, response) in solutions.iter().enumerate() {
            let (is_right, steps) = (chains.is_right(number, response), places(prompt, response));
            let row = || Marked { responses: vec![steps.clone()], labels: vec![f64::from(u8::from(is_right))] };
            outcomes.all.push(row());
            if sample == 0 {
                outcomes.first.push(row());
            }
            if is_right { right.push(steps) } else { wrong.push(steps) }
        }
        let pair =
            |(right, wrong): (Vec<usize>, Vec<usize>)| Marked { responses: vec![right, wrong], labels: Vec::new() };
        outcomes.pairs.extend(right.into_iter().zip(wrong).map(pair));
    }
    Ok(outcomes)
}

/// Labelled steps, up to the first from which no rollout is right; one solution a problem.
pub fn labelled(solutions: usize, seed: Seed) -> Result<Vec<Marked>> {
    let chains = Chains::draw(solutions, STEPS, seed)?;
    let outcome = |problem: u64, response: &[u32]| chains.verdict(problem, response);
    let mut completer = Completer::new(&SOLVER, &outcome, "solver", STEPS, seed.child("rollouts", 0));
    let labeller = MonteCarlo::new(ROLLOUTS)?;
    let mut marked = Vec::new();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let problem = number as u64;
        for response in SOLVER.solutions(prompt, 1, seed.child("solutions", problem)) {
            let ends = every_result(&response)?;
            let (ends, segmentation) = (&ends[..], SEGMENTATION);
            let solution = Solution { problem, prompt, response: &response, ends, segmentation };
            let rows = labeller.label(&solution, &mut completer)?.rows;
            let labels = targets(&rows, SEGMENTATION, Softness::Soft, AfterError::Mask)?;
            for (at, label) in labels.into_iter().enumerate() {
                let Some(label) = label else { continue };
                let responses = vec![features(prompt, &response[..=at])];
                marked.push(Marked { responses, labels: vec![f64::from(label)] });
            }
        }
    }
    Ok(marked)
}

/// Values of the states of tree searches, problem after problem until so many rollouts are made.
fn searched(rollouts: u64, seed: Seed) -> Result<Vec<Marked>> {
    let search = MctsConfig { simulations: SIMULATIONS, max_step: 1, ..MctsConfig::default() }.init()?;
    let (mut marked, mut spent, mut problem) = (Vec::new(), 0, 0);
    // A search begins with a rollout, so this ends.
    while spent < rollouts {
        let seed = seed.child("problem", problem);
        let chain = Chains::draw(1, STEPS, seed)?;
        let outcome = |problem: u64, response: &[u32]| chain.verdict(problem, response);
        let mut completer = Completer::new(&SOLVER, &outcome, "solver", STEPS, seed.child("rollouts", 0));
        let prompt = &chain.prompts[0];
        for state in search.search(0, prompt, &mut completer)?.states {
            if !state.prefix.is_empty() && state.visits >= ROLLOUTS as u64 {
                marked.push(Marked { responses: vec![features(prompt, &state.prefix)], labels: vec![state.value] });
            }
        }
        spent += completer.spent().rollouts;
        problem += 1;
    }
    Ok(marked)
}

/// The credit of the steps of a response.
type StepCredit<'a> = &'a dyn Fn(&[u32], &[u32]) -> Result<Vec<f64>>;

/// How well low credit finds the first slip among the steps up to it.
fn found(tests: &Chains, credit: StepCredit, seed: Seed) -> Result<f64> {
    let mut marked = Vec::new();
    for (number, prompt) in tests.prompts.iter().enumerate() {
        for response in SOLVER.solutions(prompt, 1, seed.child("marked", number as u64)) {
            let slip = first_slip(prompt, &response);
            let seen = slip.map_or(STEPS, |slip| slip + 1);
            let credit = credit(prompt, &response)?;
            let error = (0..seen).map(|at| Some(at) == slip).collect();
            marked.push(MarkedCredit { credit: credit[..seen].to_vec(), error });
        }
    }
    Ok(token_auroc_micro(&marked, &Bootstrap::NONE)?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searched_values_are_of_states_behind_the_question_and_more_rollouts_keep_the_first() {
        let (few, more) = (searched(100, Seed(0)).unwrap(), searched(400, Seed(0)).unwrap());
        assert!(!few.is_empty() && more.len() > few.len());
        for (one, other) in few.iter().zip(&more) {
            assert_eq!((&one.responses, &one.labels), (&other.responses, &other.labels));
        }
        // The weights of steps come first, and there are 3000.
        assert!(more.iter().all(|row| row.responses[0][0] < 3000), "a row of the question alone");
        assert!(more.iter().all(|row| (0.0..=1.0).contains(&row.labels[0])));
    }
}
