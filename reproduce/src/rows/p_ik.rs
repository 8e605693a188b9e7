//! P(IK): a head that sees the question alone says how likely a right answer is, best on questions of the kind that it learned from.
//!
//! The label of a question is the share of 30 samples of the solver that are right. The head learns on sums and differences; what
//! is new has products as well.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::calibrate::{Binning, brier_skill, ece};
use ascribe::eval::{Bootstrap, auroc};
use ascribe::worlds::{Operator, Problem};

use crate::chain::{Chains, Solver};
use crate::row::{Claim, Figures, Row};
use crate::step_table::{CrossEntropy, Marked, StepScorer, features};

const STEPS: usize = 4;
static SOLVER: Solver = Solver { hard: 0.5, easy: 0.02, steps: STEPS };
/// Problems that are drawn; about one in five has no product.
const DRAWN: usize = 5000;
const TRAINED: usize = 600;
const SAMPLES: usize = 30;
const TESTS: usize = 600;
const PASSES: f64 = 10.0;

/// The claims of what models know of what they know.
pub const ROW: Row = Row {
    name: "p-ik",
    paper: "Language Models (Mostly) Know What They Know, arXiv:2207.05221",
    setting: "chains of 4 operations, a solver whose hard steps go wrong with probability 0.5 and easy ones with 0.02; a table of \
              weights over the operations and the first question as the head, trained on 600 questions of sums and differences; \
              one answer to each of 600 other questions of that kind, and of 600 with products",
    seeds: 8,
    claims: &[
        Claim {
            says: "P(IK) tells questions that will be answered rightly from others",
            more: "AUROC, known operations",
            less: "AUROC of chance",
        },
        Claim {
            says: "its probabilities are better than the base rate's (Brier skill)",
            more: "Brier skill, known operations",
            less: "Brier skill of the base rate",
        },
        Claim { says: "it still tells on new operations", more: "AUROC, new operations", less: "AUROC of chance" },
        Claim { says: "but less well", more: "AUROC, known operations", less: "AUROC, new operations" },
        Claim {
            says: "and its calibration suffers",
            more: "calibration error, new operations",
            less: "calibration error, known operations",
        },
    ],
    tried: "",
    run,
};

fn has_product(problem: &Problem) -> bool {
    problem.operations().iter().any(|(operator, _)| *operator == Operator::Multiply)
}

fn run(seed: Seed) -> Result<Figures> {
    let questions = |name: &str, n: usize, products: bool| -> Result<Chains> {
        let drawn = Chains::draw(DRAWN, STEPS, seed.child(name, 0))?;
        Ok(drawn.filtered(n, |problem| has_product(problem) == products))
    };
    let trained = questions("trained", TRAINED, false)?;
    let mut rows = Vec::with_capacity(TRAINED);
    for (number, prompt) in trained.prompts.iter().enumerate() {
        let samples = SOLVER.solutions(prompt, SAMPLES, seed.child("samples", number as u64));
        let right = samples.iter().filter(|sample| trained.is_right(number, sample)).count();
        rows.push(Marked { responses: vec![features(prompt, &[])], labels: vec![right as f64 / SAMPLES as f64] });
    }
    let head = StepScorer::learned(&CrossEntropy::new()?, &rows, PASSES, seed)?;
    let mut figures: Figures =
        vec![("AUROC of chance".to_owned(), 0.5), ("Brier skill of the base rate".to_owned(), 0.0)];
    for (name, products) in [("known operations", false), ("new operations", true)] {
        let tests = questions(name, TESTS, products)?;
        let said: Vec<f64> = tests.prompts.iter().map(|prompt| head.value(prompt, &[])).collect();
        let mut right = Vec::with_capacity(TESTS);
        for (number, prompt) in tests.prompts.iter().enumerate() {
            for answer in SOLVER.solutions(prompt, 1, seed.child(name, 1 + number as u64)) {
                right.push(tests.is_right(number, &answer));
            }
        }
        let none = Bootstrap::NONE;
        figures.push((format!("AUROC, {name}"), auroc(&said, &right)?));
        figures.push((format!("Brier skill, {name}"), brier_skill(&said, &right, &none)?.value));
        figures.push((format!("calibration error, {name}"), ece(&said, &right, Binning::default(), &none)?.value));
    }
    Ok(figures)
}
