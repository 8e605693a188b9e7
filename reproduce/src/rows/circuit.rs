//! A circuit as a law of accuracy: examples raise the voltage, steps are resistors.
//!
//! The accuracies are those of a solver of chains whose slips become rarer with examples. The law is held against a logistic
//! regression on the same two quantities, `logit = w_0 + w_1 ln(1 + shots) + w_2 steps`, on ways to prompt that it did not see.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::curve::{Circuit, Prompted};

use crate::chain::{Chains, Solver};
use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::sigmoid;

const SHOTS: [u32; 5] = [0, 1, 2, 4, 8];
const STEPS: u32 = 8;
/// Longest chains, and most examples, of the rows that are fitted where the others are longer, or have more.
const SHORT: u32 = 5;
const FEW: u32 = 2;
const PROBLEMS: usize = 200;
/// Chances of a slip without examples, and how fast they fall.
const HARD: f64 = 0.5;
const EASY: f64 = 0.15;
const LEARNED: f64 = 0.5;

/// The claims of the electronic circuit model.
pub const ROW: Row = Row {
    name: "circuit",
    paper: "ECM: A Unified Electronic Circuit Model for Explaining the Emergence of In-Context Learning and Chain-of-Thought",
    setting: "domain-only, a model of performance: a solver of chains of 1 to 8 operations, 200 of each length, whose slips become \
              rarer by 1 / (1 + 0.5 ln(1 + shots)) with 0, 1, 2, 4 and 8 examples; the law is fitted to chains of up to 5 \
              operations and asked about longer ones, and fitted to up to 2 examples and asked about more",
    seeds: 12,
    claims: &[
        Claim {
            says: "of longer chains the law is nearer to the truth than a logistic regression",
            more: "error of the logistic, longer",
            less: "error of the law, longer",
        },
        Claim {
            says: "and nearer than the mean of what was seen",
            more: "error of the mean, longer",
            less: "error of the law, longer",
        },
        Claim {
            says: "of more examples it is nearer than the mean",
            more: "error of the mean, more examples",
            less: "error of the law, more examples",
        },
        Claim {
            says: "and nearer than a logistic regression",
            more: "error of the logistic, more examples",
            less: "error of the law, more examples",
        },
    ],
    tried: "In a model of this row the law was ahead of the logistic regression for longer chains in all of five seeds, and behind it \
            for more examples in four of them: a voltage grows on with examples, where an accuracy levels off.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let mut rows = Vec::new();
    for steps in 1..=STEPS {
        let chains = Chains::draw(PROBLEMS, steps as usize, seed.child("chains", steps.into()))?;
        for shots in SHOTS {
            let rarer = 1.0 + LEARNED * f64::from(shots).ln_1p();
            let solver = Solver { hard: HARD / rarer, easy: EASY / rarer, steps: steps as usize };
            let seed = seed.child("shots", shots.into()).child("steps", steps.into());
            let mut right = 0;
            for (number, prompt) in chains.prompts.iter().enumerate() {
                let response = &solver.solutions(prompt, 1, seed.child("solution", number as u64))[0];
                right += usize::from(chains.is_right(number, response));
            }
            rows.push(Prompted { shots, steps, accuracy: right as f64 / PROBLEMS as f64 });
        }
    }
    let parts: [(&str, fn(&Prompted) -> bool); 2] =
        [("longer", |row| row.steps <= SHORT), ("more examples", |row| row.shots <= FEW)];
    let mut figures = Figures::new();
    for (name, is_seen) in parts {
        let (seen, asked): (Vec<Prompted>, Vec<Prompted>) = rows.iter().copied().partition(is_seen);
        let (law, weights) = (Circuit::fit(&seen)?, logistic(&seen));
        let constant = mean(&seen.iter().map(|row| row.accuracy).collect::<Vec<f64>>());
        figures.push((format!("error of the law, {name}"), error(&asked, |row| law.predict(row.shots, row.steps))));
        figures.push((format!("error of the logistic, {name}"), error(&asked, |row| of_logistic(weights, row))));
        figures.push((format!("error of the mean, {name}"), error(&asked, |_| constant)));
    }
    Ok(figures)
}

/// The root of the mean square error.
fn error(rows: &[Prompted], predicted: impl Fn(&Prompted) -> f64) -> f64 {
    mean(&rows.iter().map(|row| (predicted(row) - row.accuracy).powi(2)).collect::<Vec<f64>>()).sqrt()
}

fn inputs(row: &Prompted) -> [f64; 3] {
    [1.0, f64::from(row.shots).ln_1p(), f64::from(row.steps)]
}

fn of_logistic(weights: [f64; 3], row: &Prompted) -> f64 {
    sigmoid(inputs(row).iter().zip(weights).map(|(x, weight)| x * weight).sum())
}

/// The logistic regression of accuracies, by gradient ascent; its likelihood is concave.
fn logistic(rows: &[Prompted]) -> [f64; 3] {
    let mut weights = [0.0; 3];
    for _ in 0..20_000 {
        let mut slope = [0.0; 3];
        for row in rows {
            let off = row.accuracy - of_logistic(weights, row);
            slope.iter_mut().zip(inputs(row)).for_each(|(slope, x)| *slope += off * x);
        }
        weights.iter_mut().zip(slope).for_each(|(weight, slope)| *weight += 0.004 * slope);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logistic_law_is_found_again() {
        let law = |row: &Prompted| of_logistic([1.0, 0.5, -0.4], row);
        let ways = (0..4).flat_map(|shots| (1..6).map(move |steps| Prompted { shots, steps, accuracy: 0.0 }));
        let rows: Vec<Prompted> = ways.map(|row| Prompted { accuracy: law(&row), ..row }).collect();
        let weights = logistic(&rows);
        assert!(weights.iter().zip([1.0, 0.5, -0.4]).all(|(got, wanted)| (got - wanted).abs() < 0.02), "{weights:?}");
        assert!(error(&rows, law) < 1e-12);
    }
}
