//! MedS^3: two rounds in which the right paths of a tree search teach the policy, and the values along all paths a process model.
//!
//! ```text
//! pi_0 -> search -> right paths -> fine-tuning -> pi_1 -> search -> right paths -> fine-tuning -> pi_2
//!              values along all paths -> process model <- values along all paths
//! ```
//! Chains of operations stand in for the published diagnoses: a slip early on makes all that follows wrong.

use anyhow::Result;
use ascribe::core::{Candidate, Reduce, Scorer, Seed, Tokens};
use ascribe::preference::objectives::Sft;
use ascribe::preference::rl::Rollout;
use ascribe::process::Completer;
use ascribe::process::label::{EvolveConfig, PathLabels, ValuedPath, path_labels};
use ascribe::search::{BestOfN, Majority, Search, SearchCtx, Steps};

use crate::chain::{Chains, Solver};
use crate::row::{Claim, Figures, Row};
use crate::step_policy::StepPolicy;
use crate::step_table::{CrossEntropy, Marked, StepScorer, features};

const STEPS: usize = 5;
static SOLVER: Solver = Solver { hard: 0.7, easy: 0.1, steps: STEPS };
const TRAINED: usize = 300;
const TESTS: usize = 300;
const ROUNDS: usize = 2;
/// Passes of the policy over the right paths of a round, and of the model over all paths so far.
const IMITATES: f64 = 3.0;
const PASSES: f64 = 10.0;
const N: usize = 8;

/// MedS^3's claims.
pub const ROW: Row = Row {
    name: "self-evolution",
    paper: "MedS^3: Towards Medical Small Language Models with Self-Evolved Slow Thinking, arXiv:2501.12051",
    setting: "chains of 5 operations stand in for diagnoses; a solver whose hard steps go wrong with probability 0.7 and easy ones \
              with 0.1; two rounds of tree search on 300 problems with the published numbers (60 states, 3 children, 4 right \
              ends); the policy imitates the right paths in 3 passes, the process model learns the values of both rounds in 10; \
              one sample, best of 8 and the vote of 8 on 300 other problems",
    seeds: 12,
    claims: &[
        Claim {
            says: "the right paths of the first search make the policy better",
            more: "one sample, round 1",
            less: "one sample at the start",
        },
        Claim {
            says: "those of the second make it better again",
            more: "one sample, round 2",
            less: "one sample, round 1",
        },
        Claim {
            says: "best of 8 by the process model beats one sample",
            more: "best of 8, process model",
            less: "one sample, round 2",
        },
        Claim { says: "and the vote", more: "best of 8, process model", less: "vote" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let chains = Chains::draw(TRAINED, STEPS, seed.child("training", 0))?;
    let tests = Chains::draw(TESTS, STEPS, seed.child("tests", 0))?;
    let solved = |policy: &StepPolicy, scorer: &dyn Scorer, search: &dyn Search| {
        let ctx = SearchCtx::new(policy, STEPS, seed.child("search", 0)).with_steps(Steps::blocks(1));
        tests.solved(search, ctx.with_scorer(scorer, Reduce::Last))
    };
    let one = BestOfN { n: 1 };
    let start = StepPolicy::of(&SOLVER);
    let (mut policy, mut labelled): (StepPolicy, Vec<Marked>) = (start.clone(), Vec::new());
    let mut after = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let seed = seed.child("round", round as u64);
        let paths = searched(&chains, &policy, seed)?;
        for path in &paths {
            labelled.extend(rows_of(&chains.prompts[path.problem as usize], path)?);
        }
        let right: Vec<Rollout> = paths.iter().filter(|path| path.right).map(|path| imitated(&chains, path)).collect();
        if !right.is_empty() {
            policy = policy.learned(&Sft, &right, IMITATES, seed)?;
        }
        after.push(policy.clone());
    }
    let model = StepScorer::learned(&CrossEntropy::new()?, &labelled, PASSES, seed)?;
    let majority = Majority { n: N, answer: |_: usize, candidate: &Candidate| candidate.tokens.last().copied() };
    let mut figures = vec![("one sample at the start".to_owned(), solved(&start, &model, &one)?)];
    for (round, policy) in after.iter().enumerate() {
        figures.push((format!("one sample, round {}", round + 1), solved(policy, &model, &one)?));
    }
    figures.push(("best of 8, process model".to_owned(), solved(&policy, &model, &BestOfN { n: N })?));
    figures.push(("vote".to_owned(), solved(&policy, &model, &majority)?));
    Ok(figures)
}

/// The paths of a search on each problem.
fn searched(chains: &Chains, policy: &StepPolicy, seed: Seed) -> Result<Vec<ValuedPath>> {
    let outcome = |problem: u64, response: &[u32]| chains.verdict(problem, response);
    let mut completer = Completer::new(policy, &outcome, "policy", STEPS, seed.child("search", 0));
    let search = EvolveConfig { max_step: 1, ..EvolveConfig::default() }.init()?;
    let mut paths = Vec::new();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        paths.extend(search.search(number as u64, prompt, &mut completer)?.paths);
    }
    Ok(paths)
}

/// The whole response of a path.
fn response(path: &ValuedPath) -> Tokens {
    path.steps.iter().flat_map(|step| step.iter().copied()).collect()
}

/// A path as what is imitated.
fn imitated(chains: &Chains, path: &ValuedPath) -> Rollout {
    let prompt = chains.prompts[path.problem as usize].clone();
    Rollout { prompt, response: response(path), ..Rollout::default() }
}

/// What the process model learns of a path: the value behind each step.
fn rows_of(prompt: &[u32], path: &ValuedPath) -> Result<Vec<Marked>> {
    let (whole, mut end) = (response(path), 0);
    let mut rows = Vec::with_capacity(path.steps.len());
    for (step, label) in path.steps.iter().zip(path_labels(&path.values, PathLabels::Soft, None)?) {
        end += step.len();
        rows.push(Marked { responses: vec![features(prompt, &whole[..end])], labels: vec![f64::from(label)] });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_teaches_the_value_behind_each_of_its_steps() {
        // (2 + 5) - 4, - 1: one step, then two at once.
        let prompt = [2, 10, 5, 11, 4, 11, 1];
        let steps = vec![Tokens::from(vec![7]), Tokens::from(vec![3, 2])];
        let path = ValuedPath { problem: 0, steps, values: vec![0.75, 1.0], right: true };
        assert_eq!(response(&path), Tokens::from(vec![7, 3, 2]));
        let rows = rows_of(&prompt, &path).unwrap();
        let seen: Vec<(Vec<usize>, f64)> = rows.iter().map(|row| (row.responses[0].clone(), row.labels[0])).collect();
        assert_eq!(seen, [(features(&prompt, &[7]), 0.75), (features(&prompt, &[7, 3, 2]), 1.0)]);
    }

    #[test]
    fn right_paths_end_right() {
        let chains = Chains::draw(5, STEPS, Seed(1)).unwrap();
        let paths = searched(&chains, &StepPolicy::of(&SOLVER), Seed(2)).unwrap();
        assert!(!paths.is_empty());
        for path in &paths {
            assert_eq!(chains.is_right(path.problem as usize, &response(path)), path.right);
        }
    }
}
