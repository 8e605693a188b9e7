//! CHAMP: problems with the concepts and hints that help, or mislead, and solutions that reach the answer by wrong steps.
//!
//! Twenty templates of four steps are drawn with other numbers. A solver takes the steps one by one and slips now and then: most
//! where a step needs a concept that it was not given, less where the hint speaks of the step, and a misleading concept is
//! sometimes put in the place of the right one. How much each condition helps is assumed; what becomes of it in answers, steps
//! and verification is not, for remainders swallow slips.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::eval::Bootstrap;
use ascribe::eval::bench::{
    CHAMP_CONDITIONS, champ_conditions, champ_misleading, champ_partial_steps, first_error, process_f1,
    right_by_wrong_steps,
};
use rand::RngExt;

use crate::row::{Claim, Figures, Row};

const PROBLEMS: u64 = 1000;
/// Chance of a slip at a plain step, and at one that needs a concept.
const SLIPS: [f64; 2] = [0.04, 0.35];
/// What is left of it where a hint speaks of the step.
const HINTED: f64 = 0.3;
/// How often a misleading concept is put in the place of the right one.
const LURED: f64 = 0.3;
/// How far a slip is off.
const OFF: [i64; 6] = [-3, -2, -1, 1, 2, 3];
/// How often the verifier does each step again.
const CHECKS: usize = 3;

/// CHAMP's claims.
pub const ROW: Row = Row {
    name: "concepts-and-hints",
    paper: "CHAMP: A Competition-level Dataset for Fine-Grained Analyses of LLMs' Mathematical Reasoning Capabilities, \
            arXiv:2401.06961",
    setting: "1000 problems of twenty templates with ten concepts; a synthetic solver whose slips fall, as assumed, with concepts \
              and hints, in all 18 conditions on the same draws; gains of accuracy over 0-shot, paired by problem; a verifier that \
              does each step of the 0-shot solutions again, three times",
    seeds: 12,
    claims: &[
        Claim { says: "hints help without concepts", more: "gain of no C, H", less: "zero" },
        Claim { says: "and beside concepts", more: "gain of direct C, H", less: "gain of direct C, no H" },
        Claim { says: "misleading concepts harm", more: "zero", less: "gain of misleading C, no H" },
        Claim { says: "more of the solution helps more", more: "gain of 2/3 solution", less: "gain of 1/3 solution" },
        Claim {
            says: "right answers come by wrong steps, and more of them without help",
            more: "right by wrong steps, 0-shot",
            less: "right by wrong steps, direct C, H",
        },
        Claim {
            says: "so steps have to be verified: answers alone find fewer first errors",
            more: "F1 of the verifier, 0-shot",
            less: "F1 by the answer",
        },
        Claim {
            says: "and a verifier does better with concepts and hints",
            more: "F1 of the verifier, direct C, H",
            less: "F1 of the verifier, 0-shot",
        },
    ],
    tried: "",
    run,
};

/// What a concept makes of a number.
struct Concept {
    name: &'static str,
    category: &'static str,
    of: fn(i64) -> i64,
}

const CONCEPTS: [Concept; 10] = [
    Concept { name: "sum of the first integers", category: "sums", of: |n| n * (n + 1) / 2 },
    Concept { name: "sum of the first odd numbers", category: "sums", of: |n| n * n },
    Concept { name: "sum of the first even numbers", category: "sums", of: |n| n * (n + 1) },
    Concept { name: "pairs", category: "counting", of: |n| n * (n - 1) / 2 },
    Concept { name: "ordered pairs", category: "counting", of: |n| n * (n - 1) },
    Concept { name: "diagonals of a polygon", category: "counting", of: |n| n * (n - 3) / 2 },
    Concept { name: "parity", category: "remainders", of: |n| n.rem_euclid(2) },
    Concept { name: "last digit", category: "remainders", of: |n| n.rem_euclid(10) },
    Concept { name: "casting out nines", category: "remainders", of: |n| n.rem_euclid(9) },
    Concept { name: "days of the week", category: "remainders", of: |n| n.rem_euclid(7) },
];

/// A step of a solution.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Plus(i64),
    Times(i64),
    /// By the concept of this number.
    By(usize),
}

use Step::{By, Plus, Times};

const TEMPLATES: [[Step; 4]; 20] = [
    [Plus(3), By(0), Plus(5), By(6)],
    [Times(2), By(0), By(7), Plus(4)],
    [By(1), Plus(7), Times(3), By(8)],
    [Plus(2), By(3), Times(5), By(7)],
    [By(4), Plus(1), By(6), Plus(2)],
    [Times(3), Plus(4), By(2), By(9)],
    [By(5), Times(4), Plus(6), By(6)],
    [Plus(8), Times(2), By(3), By(8)],
    [By(0), By(9), Plus(3), Times(2)],
    [Plus(1), By(1), By(6), Plus(9)],
    [Times(5), By(4), By(9), Plus(1)],
    [By(2), Plus(3), By(8), Times(7)],
    [Plus(4), By(5), Plus(2), By(7)],
    [By(3), By(6), Times(6), Plus(5)],
    [Times(2), Plus(9), By(0), By(6)],
    [By(1), Times(2), Plus(5), By(9)],
    [Plus(6), By(4), Times(3), Plus(8)],
    [By(5), Plus(5), Times(2), By(8)],
    [Times(4), By(2), Plus(1), By(6)],
    [Plus(7), Times(3), By(1), Plus(2)],
];

impl Step {
    fn of(self, number: i64) -> i64 {
        match self {
            Plus(more) => number + more,
            Times(factor) => number * factor,
            By(concept) => (CONCEPTS[concept].of)(number),
        }
    }

    fn concept(self) -> Option<usize> {
        match self {
            By(concept) => Some(concept),
            Plus(_) | Times(_) => None,
        }
    }
}

/// What a condition gives the solver.
#[derive(Clone, Copy)]
struct Help {
    /// What is left of slips at steps that need a concept.
    concepts: f64,
    /// What is left of all slips.
    all: f64,
    hinted: bool,
    misleading: bool,
    /// The fraction of the solution that is shown.
    shown: f64,
}

impl Help {
    fn of(condition: &str) -> Self {
        let (given, hinted) = match condition.split_once(" C, ") {
            Some((given, hint)) => (given, hint == "H"),
            None => (condition, false),
        };
        let concepts = match given {
            "direct" => 0.3,
            "root" => 0.4,
            "example" | "problem" => 0.5,
            "name" => 0.7,
            _ => 1.0,
        };
        let shown = match given {
            "1/3 solution" => 1.0 / 3.0,
            "2/3 solution" => 2.0 / 3.0,
            _ => 0.0,
        };
        let all = if given == "5-shot" { 0.8 } else { 1.0 };
        Self { concepts, all, hinted, misleading: given == "misleading", shown }
    }
}

/// A template with its number.
struct Problem {
    number: u64,
    start: i64,
    steps: [Step; 4],
}

impl Problem {
    fn drawn(number: u64, seed: Seed) -> Self {
        let steps = TEMPLATES[number as usize % TEMPLATES.len()];
        Self { number, start: seed.stream("problem", number).random_range(4..20), steps }
    }

    /// The steps as a misleading condition has them.
    fn misled(&self, seed: Seed) -> Result<[Step; 4]> {
        let known = CONCEPTS.map(|concept| (concept.name, concept.category));
        let own: Vec<&str> =
            self.steps.iter().filter_map(|step| step.concept()).map(|concept| CONCEPTS[concept].name).collect();
        let mut others = champ_misleading(&own, &known, seed, self.number)?.into_iter();
        Ok(self.steps.map(|step| {
            let other = step.concept().and_then(|_| others.next());
            other.and_then(|other| known.iter().position(|(name, _)| *name == other)).map_or(step, By)
        }))
    }

    /// The chance of a slip at a step; the hint speaks of the first step that needs a concept.
    fn slips(&self, at: usize, help: Help) -> f64 {
        let slips = match self.steps[at].concept() {
            Some(_) => SLIPS[1] * help.concepts,
            None => SLIPS[0],
        };
        let is_hinted = help.hinted && self.steps.iter().position(|step| step.concept().is_some()) == Some(at);
        slips * help.all * if is_hinted { HINTED } else { 1.0 }
    }

    /// What is written at each step.
    fn solved(&self, help: Help, seed: Seed) -> Result<Vec<i64>> {
        let shown = match help.shown {
            fraction if fraction > 0.0 => champ_partial_steps(self.steps.len(), fraction, seed, self.number)?,
            _ => 0,
        };
        let others = if help.misleading { self.misled(seed)? } else { self.steps };
        let (mut stream, mut before) = (seed.stream("solver", self.number), self.start);
        let mut written = Vec::with_capacity(self.steps.len());
        for (at, (step, other)) in self.steps.iter().zip(others).enumerate() {
            let taken = if stream.random::<f64>() < LURED { other } else { *step };
            let drawn = attempt(taken, before, self.slips(at, help), &mut stream);
            before = if at < shown { step.of(before) } else { drawn };
            written.push(before);
        }
        Ok(written)
    }

    /// What each step begins with.
    fn before(&self, written: &[i64]) -> impl Iterator<Item = i64> {
        std::iter::once(self.start).chain(written.iter().copied())
    }

    fn first_wrong(&self, written: &[i64]) -> Option<usize> {
        let mut steps = self.steps.iter().zip(self.before(written)).zip(written);
        steps.position(|((step, before), after)| step.of(before) != *after)
    }

    fn is_right(&self, written: &[i64]) -> bool {
        written.last() == Some(&self.steps.iter().fold(self.start, |number, step| step.of(number)))
    }

    /// The first step that the verifier, doing it again, mostly finds otherwise.
    fn verified(&self, written: &[i64], help: Help, seed: Seed) -> Result<i64> {
        let mut stream = seed.stream("verifier", self.number);
        let mut scores = Vec::with_capacity(written.len());
        for (at, (before, after)) in self.before(written).zip(written).enumerate() {
            let slips = self.slips(at, help);
            let agree = (0..CHECKS).filter(|_| attempt(self.steps[at], before, slips, &mut stream) == *after).count();
            scores.push(agree as f64 / CHECKS as f64);
        }
        Ok(first_error(&scores, 0.5)?)
    }
}

/// A step, or with the chance `slips` something near it.
fn attempt(step: Step, before: i64, slips: f64, stream: &mut Stream) -> i64 {
    let (share, off): (f64, usize) = (stream.random(), stream.random_range(0..OFF.len()));
    step.of(before) + if share < slips { OFF[off] } else { 0 }
}

fn run(seed: Seed) -> Result<Figures> {
    let problems: Vec<Problem> = (0..PROBLEMS).map(|number| Problem::drawn(number, seed)).collect();
    let solved = |condition: &str| -> Result<Vec<Vec<i64>>> {
        problems.iter().map(|problem| problem.solved(Help::of(condition), seed)).collect()
    };
    let right = |written: &[Vec<i64>]| -> Vec<bool> {
        problems.iter().zip(written).map(|(problem, written)| problem.is_right(written)).collect()
    };
    let wrong = |written: &[Vec<i64>]| -> Vec<Option<usize>> {
        problems.iter().zip(written).map(|(problem, written)| problem.first_wrong(written)).collect()
    };
    let mut answers = Vec::with_capacity(CHAMP_CONDITIONS.len());
    for condition in CHAMP_CONDITIONS {
        answers.push((condition, right(&solved(condition)?)));
    }
    let conditions: Vec<(&str, &[bool])> = answers.iter().map(|(name, right)| (*name, &right[..])).collect();
    let mut figures = vec![("zero".to_owned(), 0.0)];
    for condition in champ_conditions(conditions[0].1, &conditions[1..], &Bootstrap::NONE)? {
        figures.push((format!("gain of {}", condition.name), condition.paired.difference.value));
    }
    for condition in ["0-shot", "direct C, H"] {
        let written = solved(condition)?;
        let share = right_by_wrong_steps(&right(&written), &wrong(&written), 0.95)?;
        figures.push((format!("right by wrong steps, {condition}"), share.value));
    }
    let written = solved("0-shot")?;
    let step = |first: Option<usize>| first.map_or(-1, |step| step as i64);
    let labels: Vec<i64> = wrong(&written).into_iter().map(step).collect();
    // A wrong answer says no more than that its last step is wrong.
    let by_answer: Vec<Option<i64>> =
        right(&written).into_iter().zip(&written).map(|(right, written)| Some(last(right, written))).collect();
    figures.push(("F1 by the answer".to_owned(), process_f1(&by_answer, &labels, &Bootstrap::NONE)?.f1.value));
    for condition in ["0-shot", "direct C, H"] {
        let mut found = Vec::with_capacity(problems.len());
        for (problem, written) in problems.iter().zip(&written) {
            found.push(Some(problem.verified(written, Help::of(condition), seed)?));
        }
        let f1 = process_f1(&found, &labels, &Bootstrap::NONE)?.f1.value;
        figures.push((format!("F1 of the verifier, {condition}"), f1));
    }
    Ok(figures)
}

/// No step where the answer is right, else the last.
fn last(right: bool, written: &[i64]) -> i64 {
    if right { -1 } else { written.len() as i64 - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_that_parity_swallows() {
        // 4 + 3 = 7, 1 + .. + 7 = 28, 33, odd; 30 in the place of 28 leaves the answer.
        let problem = Problem { number: 0, start: 4, steps: TEMPLATES[0] };
        assert!(problem.is_right(&[7, 28, 33, 1]) && problem.first_wrong(&[7, 28, 33, 1]).is_none());
        assert!(problem.is_right(&[7, 30, 35, 1]) && problem.first_wrong(&[7, 30, 35, 1]) == Some(1));
        assert!(!problem.is_right(&[7, 29, 34, 0]));
    }

    #[test]
    fn without_slips_all_is_right_and_the_verifier_finds_the_step() {
        let never = Help { all: 0.0, ..Help::of("0-shot") };
        for number in 0..40 {
            let problem = Problem::drawn(number, Seed(3));
            let mut written = problem.solved(never, Seed(3)).unwrap();
            assert!(problem.is_right(&written) && problem.verified(&written, never, Seed(3)).unwrap() == -1);
            written[1] += 1;
            assert_eq!(problem.verified(&written, never, Seed(3)).unwrap(), 1);
        }
    }

    #[test]
    fn a_misleading_concept_is_another_one_of_its_category() {
        for number in 0..20 {
            let problem = Problem::drawn(number, Seed(0));
            for (step, other) in problem.steps.iter().zip(problem.misled(Seed(0)).unwrap()) {
                match (step.concept(), other.concept()) {
                    (Some(own), Some(other)) => {
                        assert!(own != other && CONCEPTS[own].category == CONCEPTS[other].category);
                    }
                    (own, other) => assert_eq!(own, other),
                }
            }
        }
    }
}
