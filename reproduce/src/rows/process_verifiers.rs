//! Verifiers of chain arithmetic, as what chooses among samples and as what guides a search of as many tokens.
//!
//! All learn from the same solutions of a solver that slips. The outcome model sees the last token and its outcome; the process
//! models see Monte-Carlo labels of the steps up to the first from which no rollout is right; the token values see the share of
//! a problem's samples that go on right, of a few samples or of many; the implicit model is a policy trained on outcomes alone.
//! The process advantage verifier ranks by the effective reward, with best of four of the solver as prover, and chooses by the
//! value.
//!
//! A chain has one right text, so a search over it has little to explore, which is what the effective reward is for.

use anyhow::Result;
use ascribe::core::{Candidate, CoreError, Credit, Episode, Reduce, Scorer, Seed, Tokens};
use ascribe::process::credit::{ImplicitForm, TokenTrie, effective};
use ascribe::process::label::{AfterError, Softness, targets};
use ascribe::process::{Completer, LabelRow, MonteCarlo, Solution};
use ascribe::search::{BestOfN, Majority, StepBeam};

use crate::chain::{Chains, Solver, every_result};
use crate::row::{Claim, Figures, Row};
use crate::step_policy::{ImplicitScorer, StepPolicy, places};
use crate::step_table::{CrossEntropy, Marked, StepScorer, features};

const STEPS: usize = 8;
static SOLVER: Solver = Solver { hard: 0.35, easy: 0.02, steps: STEPS };
const TRAINED: usize = 300;
const SAMPLES: usize = 4;
const ROLLOUTS: usize = 8;
/// Samples of a problem where there are many, as TVM has them, and passes over them.
const MANY: usize = 100;
const FEWER_PASSES: f64 = 1.0;
const TESTS: usize = 300;
/// Candidates of each search, and what a kept text becomes in the beam.
const N: usize = 8;
const EXPAND: usize = 4;
const PASSES: f64 = 10.0;
const BETA: f64 = 1.0;
/// Of the effective reward: the weight of progress, and the samples of the prover.
const ALPHA: f64 = 0.5;
const PROVER: u32 = 4;
const SEGMENTATION: &str = "results";

/// What verifiers do for search.
pub const ROW: Row = Row {
    name: "process-verifiers",
    paper: "Rewarding Progress, arXiv:2410.08146; Math-Shepherd, arXiv:2312.08935; OmegaPRM, arXiv:2406.06592; TVM, arXiv:2407.12863; \
            Free Process Rewards, arXiv:2412.01981",
    setting: "chains of 8 operations, a solver whose hard steps go wrong with probability 0.35 and easy ones with 0.02; 300 \
              problems with 4 solutions each, and with 100 for a second outcome model and second token values; 8 rollouts a \
              prefix for the process models; tables of weights over steps, operations ahead and the next question stand in for \
              models of text; accuracy on 300 other problems by best of 8 and by a step beam of 8 candidates a level, of which \
              2 are kept; both write at most 64 tokens a problem",
    seeds: 20,
    claims: &[
        Claim {
            says: "best-of-n by a process model beats the majority vote",
            more: "best of n, process model",
            less: "majority",
        },
        Claim {
            says: "best-of-n by a process model beats best-of-n by an outcome model",
            more: "best of n, process model",
            less: "best of n, outcome model",
        },
        Claim {
            says: "a beam by a process model beats one by an outcome model",
            more: "beam, process model",
            less: "beam, outcome model",
        },
        Claim {
            says: "a beam by effective rewards beats best-of-n by an outcome model with as many tokens",
            more: "beam, effective reward",
            less: "best of n, outcome model",
        },
        Claim {
            says: "and beats a beam by an outcome model",
            more: "beam, effective reward",
            less: "beam, outcome model",
        },
        Claim {
            says: "a beam by effective rewards beats one by the value alone",
            more: "beam, effective reward",
            less: "beam, process model",
        },
        Claim {
            says: "soft labels teach a better process model than hard ones, in best-of-n",
            more: "best of n, process model",
            less: "best of n, hard labels",
        },
        Claim {
            says: "a beam by token values beats one by an outcome model",
            more: "beam, token values",
            less: "beam, outcome model",
        },
        Claim {
            says: "it does so where both learn from 100 solutions of a problem",
            more: "beam, token values of many",
            less: "beam, outcome model of many",
        },
        Claim {
            says: "best-of-n by an implicit process model, which saw outcomes alone, beats the majority vote",
            more: "best of n, implicit model",
            less: "majority",
        },
    ],
    tried: "TVM takes about 100 samples of a problem, and a share of 4 is a rough estimate of a chance, so the row has 100 \
            beside them; in a model of this row token values are behind with 4, level with 32 and ahead with 100. Effective \
            rewards order the next steps of one text as the values do, since best of 4 grows with the value: they can differ \
            only between the two texts that a beam keeps, and a chain has one right text.",
    run,
};

/// What the arms learn from.
#[derive(Default)]
struct Taught {
    outcomes: Vec<Marked>,
    soft: Vec<Marked>,
    hard: Vec<Marked>,
    tokens: Vec<Marked>,
    whole: Vec<Marked>,
    many_outcomes: Vec<Marked>,
    many_tokens: Vec<Marked>,
}

/// Effective rewards of steps by a model of values.
struct Effective<'a>(&'a StepScorer);

impl Scorer for Effective<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| -> Result<Credit, CoreError> {
            let (prompt, response) = (episode.prompt_tokens(), episode.response_tokens());
            let start = self.0.value(prompt, &[]);
            let rewards = effective(start, &self.0.values(prompt, response), ALPHA, PROVER)?;
            Ok(Credit::steps(rewards.into_iter().map(|reward| reward as f32).collect()))
        };
        episodes.iter().map(credit).collect()
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let taught = taught(seed.child("training", 0))?;
    let loss = CrossEntropy::new()?;
    let learned = |rows: &[Marked]| StepScorer::learned(&loss, rows, PASSES, seed);
    let of_many = |rows: &[Marked]| StepScorer::learned(&loss, rows, FEWER_PASSES, seed);
    let (outcome, process) = (learned(&taught.outcomes)?, learned(&taught.soft)?);
    let (hard, values) = (learned(&taught.hard)?, learned(&taught.tokens)?);
    let (many_outcomes, many_values) = (of_many(&taught.many_outcomes)?, of_many(&taught.many_tokens)?);
    let reference = StepPolicy::of(&SOLVER);
    let policy = reference.trained(&loss, BETA, &taught.whole, PASSES, seed)?;
    let implicit =
        ImplicitScorer { policy: &policy, reference: &reference, beta: BETA, form: ImplicitForm::Accumulative };

    let tests = Chains::draw(TESTS, STEPS, seed.child("tests", 0))?;
    let best_of_n = BestOfN { n: N };
    let beam = StepBeam { n: N, expand: EXPAND, levels: STEPS, ..StepBeam::default() };
    let arms: [(&str, &dyn Scorer); 7] = [
        ("outcome model", &outcome),
        ("process model", &process),
        ("hard labels", &hard),
        ("token values", &values),
        ("outcome model of many", &many_outcomes),
        ("token values of many", &many_values),
        ("implicit model", &implicit),
    ];
    let mut figures: Figures = Vec::new();
    for (name, scorer) in arms {
        figures.push((format!("best of n, {name}"), tests.solved(&best_of_n, SOLVER.searched(scorer, seed))?));
        figures.push((format!("beam, {name}"), tests.solved(&beam, SOLVER.searched(scorer, seed))?));
    }
    let effective = Effective(&process);
    let guided = SOLVER.searched(&effective, seed).with_judge(&process, Reduce::Last);
    figures.push(("beam, effective reward".to_owned(), tests.solved(&beam, guided)?));
    let majority = Majority { n: N, answer: |_: usize, candidate: &Candidate| candidate.tokens.last().copied() };
    figures.push(("majority".to_owned(), tests.solved(&majority, SOLVER.searched(&process, seed))?));
    Ok(figures)
}

/// Solutions of the solver with everything that is said of them.
fn taught(seed: Seed) -> Result<Taught> {
    let chains = Chains::draw(TRAINED, STEPS, seed)?;
    let outcome = |problem: u64, response: &[u32]| chains.verdict(problem, response);
    let mut completer = Completer::new(&SOLVER, &outcome, "solver", STEPS, seed.child("rollouts", 0));
    let labeller = MonteCarlo::new(ROLLOUTS)?;
    let mut taught = Taught::default();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let samples = |n: usize, name: &str| -> Vec<(Tokens, bool)> {
            let solutions = SOLVER.solutions(prompt, n, seed.child(name, number as u64));
            let with_mark = |response: Tokens| {
                let right = chains.is_right(number, &response);
                (response, right)
            };
            solutions.into_iter().map(with_mark).collect()
        };
        let many = samples(MANY, "many solutions");
        let [outcomes, tokens] = from_outcomes(prompt, &many)?;
        taught.many_outcomes.extend(outcomes);
        taught.many_tokens.extend(tokens);
        let samples = samples(SAMPLES, "solutions");
        let [outcomes, tokens] = from_outcomes(prompt, &samples)?;
        taught.outcomes.extend(outcomes);
        taught.tokens.extend(tokens);
        for (response, right) in &samples {
            let label = f64::from(u8::from(*right));
            taught.whole.push(Marked { responses: vec![places(prompt, response)], labels: vec![label] });
            let ends = every_result(response)?;
            let problem = number as u64;
            let solution = Solution { problem, prompt, response, ends: &ends, segmentation: SEGMENTATION };
            let rows = labeller.label(&solution, &mut completer)?.rows;
            taught.soft.extend(marked(prompt, response, &labels(&rows, Softness::Soft)?));
            taught.hard.extend(marked(prompt, response, &labels(&rows, Softness::Hard)?));
        }
    }
    Ok(taught)
}

/// What the outcomes of the samples of a problem teach: the outcome model, and the token values.
fn from_outcomes(prompt: &[u32], samples: &[(Tokens, bool)]) -> Result<[Vec<Marked>; 2]> {
    let trie = TokenTrie::new(samples, samples.len())?;
    let (mut outcomes, mut tokens) = (Vec::new(), Vec::new());
    for (sample, (response, right)) in samples.iter().enumerate() {
        let label = f64::from(u8::from(*right));
        outcomes.push(Marked { responses: vec![features(prompt, response)], labels: vec![label] });
        let per_token: Vec<Option<f64>> = trie.targets(sample).into_iter().map(Some).collect();
        tokens.extend(marked(prompt, response, &per_token));
    }
    Ok([outcomes, tokens])
}

/// The labels of steps, absent behind the first error.
fn labels(rows: &[LabelRow], softness: Softness) -> Result<Vec<Option<f64>>> {
    let labels = targets(rows, SEGMENTATION, softness, AfterError::Mask)?;
    Ok(labels.into_iter().map(|label| label.map(f64::from)).collect())
}

/// A row a labelled step.
fn marked(prompt: &[u32], response: &[u32], labels: &[Option<f64>]) -> Vec<Marked> {
    let row = |(at, label): (usize, &Option<f64>)| {
        label.map(|label| Marked { responses: vec![features(prompt, &response[..=at])], labels: vec![label] })
    };
    labels.iter().enumerate().filter_map(row).collect()
}
