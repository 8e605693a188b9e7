//! The error of rollouts by horizon, of a model that was trained to look one step ahead and of one that was trained on its own
//! rollouts.
//!
//! ```text
//! x_{t+h} ~ w^h x_t;   one step: min over w of sum_t (x_{t+1} - w x_t)^2;   many: the same summed over h = 1 .. H
//! ```
//! The world persists, and is seen through noise, which a single step takes for change.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::curve::{errors_by_horizon, useful_horizon};

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const PERSISTS: f64 = 0.95;
const MOVES: f64 = 0.3;
const SEEN_THROUGH: f64 = 0.5;
const TRAINED: usize = 400;
const TESTED: usize = 4000;
/// Steps that are trained on, and that are rolled out.
const TOGETHER: usize = 8;
const HORIZON: usize = 16;
/// The share of the deviation that an error must stay below to be of use.
const USEFUL: f64 = 0.9;

/// The claims on rollouts.
pub const ROW: Row = Row {
    name: "rollout-errors",
    paper: "Community Research Earth Digital Intelligence Twin (CREDIT)",
    setting: "domain-only, weather models: a synthetic quantity that keeps 0.95 of itself a step and is seen with noise; one number is \
              learned from 400 steps, by the error one step ahead or by those of rollouts of 8 steps; rollouts of 16 steps from \
              4000 other ones; a forecast is of use below 0.9 of the deviation",
    seeds: 20,
    claims: &[
        Claim { says: "errors grow with the horizon", more: "rollouts, 8 ahead", less: "rollouts, 1 ahead" },
        Claim {
            says: "trained on rollouts, the error eight steps ahead is smaller",
            more: "one step, 8 ahead",
            less: "rollouts, 8 ahead",
        },
        Claim { says: "which is paid for one step ahead", more: "rollouts, 1 ahead", less: "one step, 1 ahead" },
        Claim { says: "and forecasts are of use for longer", more: "rollouts, useful", less: "one step, useful" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let (seen, asked) = (series(TRAINED, seed.child("training", 0)), series(TESTED, seed.child("tests", 0)));
    let starts = 0..TESTED - HORIZON;
    let truths: Vec<Vec<f64>> = starts.clone().map(|start| asked[start + 1..=start + HORIZON].to_vec()).collect();
    let centre = mean(&asked);
    let deviation = mean(&asked.iter().map(|x| (x - centre).powi(2)).collect::<Vec<f64>>()).sqrt();
    let mut figures = Figures::new();
    for (name, together) in [("one step", 1), ("rollouts", TOGETHER)] {
        let kept = learned(&seen, together);
        let forecast =
            |start: usize| (1..=HORIZON).map(|ahead| kept.powi(ahead as i32) * asked[start]).collect::<Vec<f64>>();
        let forecasts: Vec<Vec<f64>> = starts.clone().map(forecast).collect();
        let errors = errors_by_horizon(&forecasts, &truths, &Bootstrap::NONE)?;
        for ahead in [1, TOGETHER, HORIZON] {
            figures.push((format!("{name}, {ahead} ahead"), errors[ahead - 1].value));
        }
        figures.push((format!("{name}, useful"), useful_horizon(&errors, USEFUL * deviation)? as f64));
    }
    Ok(figures)
}

/// What is seen of the quantity, once it has forgotten where it began.
fn series(n: usize, seed: Seed) -> Vec<f64> {
    let (mut stream, mut hidden) = (seed.stream("series", 0), 0.0);
    let mut seen = Vec::with_capacity(n);
    for at in 0..n + 100 {
        hidden = PERSISTS * hidden + MOVES * normal(&mut stream);
        let reading = hidden + SEEN_THROUGH * normal(&mut stream);
        if at >= 100 {
            seen.push(reading);
        }
    }
    seen
}

/// The share in [0, 1] that is best kept a step, over rollouts of so many.
fn learned(seen: &[f64], together: usize) -> f64 {
    let loss = |kept: f64| -> f64 {
        let of = |start: usize| -> f64 {
            let off = |ahead: usize| (seen[start + ahead] - kept.powi(ahead as i32) * seen[start]).powi(2);
            (1..=together).map(off).sum()
        };
        (0..seen.len() - together).map(of).sum()
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if loss(left) <= loss(right) { high = right } else { low = left }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_noise_both_trainings_find_the_law() {
        let seen: Vec<f64> = (0..40).map(|at| 0.75f64.powi(at)).collect();
        for together in [1, 8] {
            assert!((learned(&seen, together) - 0.75).abs() < 1e-6, "{}", learned(&seen, together));
        }
        // Of 1, 0, 1, 0 the loss is 2 w^2 + 1.
        assert!(learned(&[1.0, 0.0, 1.0, 0.0], 1) < 1e-6);
    }
}
