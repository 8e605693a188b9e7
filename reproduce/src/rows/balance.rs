//! The Balance score and ECE on few matches: which is nearer to the calibration error that is known here?
//!
//! A forecast gives the first team the log-odds x, and it wins with the log-odds `truth(x)`. So the error of the decisions on the
//! same matches, the mean distance of their confidence from their chance to be right, is exact.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::calibrate::{Binning, Half, balance, ece};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::{normal, sigmoid};

const MATCHES: usize = 100;
const DRAWS: usize = 400;

/// The claims of the Balance score.
pub const ROW: Row = Row {
    name: "balance",
    paper: "Rethinking Evaluation Metric for Probability Estimation Models Using Esports Data",
    setting: "synthetic matches, 100 at a time, 400 times; forecasts with normal log-odds that are right, 1.3 times too large, or \
              too large where the match is close and too small where it is clear; how far the size of Balance and ECE of ten bins \
              are off the true error",
    seeds: 8,
    claims: &[
        Claim {
            says: "Balance is nearer to the true error than ECE where a forecast is calibrated",
            more: "ECE off, calibrated",
            less: "Balance off, calibrated",
        },
        Claim {
            says: "and where it is over-confident",
            more: "ECE off, over-confident",
            less: "Balance off, over-confident",
        },
        Claim {
            says: "errors of either sign cancel in Balance, and ECE is nearer (no claim of the paper's)",
            more: "Balance off, both signs",
            less: "ECE off, both signs",
        },
    ],
    tried: "",
    run,
};

/// The log-odds of what comes true, from those of the forecast; odd.
type Truth = fn(f64) -> f64;

const FORECASTS: [(&str, Truth); 3] = [
    ("calibrated", |x| x),
    ("over-confident", |x| x / 1.3),
    // Close matches are tosses of a coin, and clear ones are clearer.
    ("both signs", |x| if x.abs() < 0.8 { 0.0 } else { 2.0 * x }),
];

fn run(seed: Seed) -> Result<Figures> {
    let mut figures = Figures::new();
    for (name, truth) in FORECASTS {
        let mut stream = seed.stream(name, 0);
        let (mut off_balance, mut off_ece) = (Vec::with_capacity(DRAWS), Vec::with_capacity(DRAWS));
        for _ in 0..DRAWS {
            let odds: Vec<f64> = (0..MATCHES).map(|_| normal(&mut stream)).collect();
            let p: Vec<f64> = odds.iter().map(|x| sigmoid(*x)).collect();
            let won: Vec<bool> = odds.iter().map(|x| stream.random::<f64>() < sigmoid(truth(*x))).collect();
            let sure: Vec<f64> = p.iter().map(|p| p.max(1.0 - p)).collect();
            let right: Vec<bool> = p.iter().zip(&won).map(|(p, won)| (*p >= 0.5) == *won).collect();
            let due = true_error(&odds, truth);
            let score = balance(&p, &won, Half::Positive, &Bootstrap::NONE)?.value;
            off_balance.push((score.abs() - due).abs());
            off_ece.push((ece(&sure, &right, Binning::default(), &Bootstrap::NONE)?.value - due).abs());
        }
        figures.push((format!("Balance off, {name}"), mean(&off_balance)));
        figures.push((format!("ECE off, {name}"), mean(&off_ece)));
    }
    Ok(figures)
}

/// The mean distance of the confidence of a decision from its chance to be right.
fn true_error(odds: &[f64], truth: Truth) -> f64 {
    let of = |x: &f64| (sigmoid(x.abs()) - sigmoid(truth(x.abs()))).abs();
    mean(&odds.iter().map(of).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_true_error_by_hand() {
        // Even matches and matches at odds of 3 to 1, whose favourite wins one in two.
        let coin: Truth = |_| 0.0;
        assert!((true_error(&[0.0, 3f64.ln(), -3f64.ln()], coin) - 0.5 / 3.0).abs() < 1e-12);
        assert_eq!(true_error(&[1.0, -2.0], |x| x), 0.0);
    }
}
