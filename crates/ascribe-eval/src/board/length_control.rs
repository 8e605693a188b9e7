//! Length-controlled win rate: AlpacaEval 2, arXiv:2404.04475.
//!
//! ```text
//! logit P(model beats baseline) = theta + phi tanh(dlen/sd(dlen)) + psi gamma_x,  dlen = baseline length - model length
//! minimize |theta| + |phi| + |psi| + C sum weight log loss;  C of 10 values 1e-4..1e4 by held-out loss over 5 folds
//! LC = mean_x sigmoid(theta + psi gamma_x)
//! ```
//! `gamma_x` is the stored difficulty of an instruction; without it the column is absent. Anchors are versions of
//! the baseline
//! of other lengths: their rows lack theta and weigh 0.2 in all. A row's fold is its index modulo 5. Each list of
//! rows is
//! normalised by its own sd; without spread the length column is absent.

use crate::error::{not_empty, option, within};
use crate::stats::sum::{mean, sigmoid, softplus, sum, variance};
use crate::{Bootstrap, Estimate, EvalError};

/// One comparison with the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthRow {
    /// 1 when the model wins, 0 when the baseline does, or between.
    pub outcome: f64,
    /// Length of the baseline's answer in Unicode scalar values.
    pub baseline_length: u32,
    /// Length of the model's answer.
    pub model_length: u32,
    /// Stored difficulty of the instruction; 0 when none is known.
    pub difficulty: f64,
}

/// The fit and what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthControlled {
    /// The win rate at equal lengths; the interval resamples items at the chosen penalty.
    pub win_rate: Estimate,
    /// The raw win rate.
    pub raw: f64,
    /// Coefficient of the model.
    pub theta: f64,
    /// Coefficient of length.
    pub phi: f64,
    /// Coefficient of difficulty.
    pub psi: f64,
    /// Whether control moved the win rate so far that the reference warns of it.
    pub extreme: bool,
}

const FOLDS: usize = 5;
const ANCHOR_WEIGHT: f64 = 0.2;

/// One row of the regression: features, outcome, weight.
type Row = ([f64; 3], f64, f64);

/// The length-controlled win rate of `rows`, with `anchors` or none. In [0, 1]; an outcome of 1/2 is a draw; O(n) for
/// each step of a fit, and one fit a resample.
///
/// # Errors
/// When there are fewer than five rows, or an outcome or difficulty is out of range, NaN or infinite.
pub fn length_controlled_win_rate(
    rows: &[LengthRow],
    anchors: &[Vec<LengthRow>],
    bootstrap: &Bootstrap,
) -> Result<LengthControlled, EvalError> {
    option("rows", "at least 5", rows.len() as f64, rows.len() >= FOLDS)?;
    let own = features(rows, 1.0, 1.0)?;
    let mut anchored = Vec::new();
    for anchor in anchors {
        anchored.extend(features(anchor, 0.0, ANCHOR_WEIGHT / anchors.len() as f64)?);
    }
    let penalty = chosen_penalty(&own, &anchored);
    let fit_rows = |units: &[usize]| {
        let data: Vec<Row> = units.iter().map(|&unit| own[unit]).chain(anchored.iter().copied()).collect();
        fit(&data, penalty)
    };
    let rate = |units: &[usize]| {
        let [theta, _, psi] = fit_rows(units);
        mean(&units.iter().map(|&unit| sigmoid(theta + psi * own[unit].0[2])).collect::<Vec<_>>())
    };
    let win_rate = bootstrap.statistic(rows.len(), rate)?;
    let [theta, phi, psi] = fit_rows(&(0..rows.len()).collect::<Vec<_>>());
    let raw = mean(&rows.iter().map(|row| row.outcome).collect::<Vec<_>>());
    let (down, up) = (raw - win_rate.value, win_rate.value - raw);
    let extreme = down > (raw / 4.0).max(0.1) || up > ((1.0 - raw) / 4.0).max(0.1);
    Ok(LengthControlled { win_rate, raw, theta, phi, psi, extreme })
}

fn features(rows: &[LengthRow], intercept: f64, weight: f64) -> Result<Vec<Row>, EvalError> {
    not_empty("the rows of an anchor", rows)?;
    let of = |field: fn(&LengthRow) -> f64| rows.iter().map(field).collect::<Vec<_>>();
    within("outcomes", &of(|row| row.outcome), "between 0 and 1", |outcome| (0.0..=1.0).contains(&outcome))?;
    within("difficulties", &of(|row| row.difficulty), "finite", f64::is_finite)?;
    let lengths = of(|row| f64::from(row.baseline_length) - f64::from(row.model_length));
    let sd = if rows.len() > 1 { variance(&lengths).sqrt() } else { 0.0 };
    let length = |difference: f64| if sd > 0.0 { (difference / sd).tanh() } else { 0.0 };
    let row = |(row, &d): (&LengthRow, &f64)| ([intercept, length(d), row.difficulty], row.outcome, weight);
    Ok(rows.iter().zip(&lengths).map(row).collect())
}

/// The weight C with the smallest mean held-out loss; the smallest C on ties.
fn chosen_penalty(own: &[Row], anchored: &[Row]) -> f64 {
    let all: Vec<Row> = own.iter().chain(anchored).copied().collect();
    let held_out = |c: f64| {
        let fold_loss = |fold: usize| {
            let part = |kept: bool| {
                let rows = all.iter().enumerate().filter(move |(index, _)| (index % FOLDS == fold) != kept);
                rows.map(|(_, row)| *row).collect::<Vec<Row>>()
            };
            let (training, test) = (part(true), part(false));
            loss(&test, &fit(&training, c)) / sum(test.iter().map(|row| row.2))
        };
        mean(&(0..FOLDS).map(fold_loss).collect::<Vec<_>>())
    };
    let candidates = (0..10).map(|step| 10_f64.powf(-4.0 + 8.0 * f64::from(step) / 9.0));
    let best = candidates.map(|c| (c, held_out(c))).min_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(1.0, |(c, _)| c)
}

fn dot(features: &[f64; 3], weights: &[f64; 3]) -> f64 {
    features.iter().zip(weights).map(|(x, w)| x * w).sum()
}

/// The weighted log loss.
fn loss(rows: &[Row], weights: &[f64; 3]) -> f64 {
    sum(rows.iter().map(|(x, outcome, weight)| {
        let z = dot(x, weights);
        weight * (outcome * softplus(-z) + (1.0 - outcome) * softplus(z))
    }))
}

/// Coordinate-wise proximal Newton steps with halving.
fn fit(rows: &[Row], c: f64) -> [f64; 3] {
    let objective = |w: &[f64; 3]| w.iter().map(|w| w.abs()).sum::<f64>() + c * loss(rows, w);
    let mut weights = [0.0; 3];
    let mut value = objective(&weights);
    for _ in 0..500 {
        let before = value;
        for j in 0..3 {
            let (mut slope, mut curve) = (0.0, 0.0);
            for (x, outcome, weight) in rows {
                let p = sigmoid(dot(x, &weights));
                slope += weight * (p - outcome) * x[j];
                curve += weight * p * (1.0 - p) * x[j] * x[j];
            }
            let (slope, curve) = (c * slope, c * curve + 1e-12);
            // The minimum of slope d + curve d^2/2 + |w + d|.
            let free = weights[j] - slope / curve;
            let target = free.signum() * (free.abs() - 1.0 / curve).max(0.0);
            let mut step = target - weights[j];
            while step.abs() > 1e-14 {
                let mut next = weights;
                next[j] += step;
                let next_value = objective(&next);
                if next_value < value {
                    (weights, value) = (next, next_value);
                    break;
                }
                step *= 0.5;
            }
        }
        if before - value <= 1e-13 * (1.0 + value) {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: f64, baseline_length: u32, model_length: u32) -> LengthRow {
        LengthRow { outcome, baseline_length, model_length, difficulty: 0.0 }
    }

    /// Equal lengths: the length column is absent, and theta is the logit of 3/4 shrunk by the penalty.
    #[test]
    fn equal_lengths_leave_the_raw_rate() {
        let rows: Vec<LengthRow> = (0..400).map(|i| row(f64::from(u8::from(i % 4 != 0)), 100, 100)).collect();
        let lc = length_controlled_win_rate(&rows, &[], &Bootstrap::NONE).unwrap();
        assert!((lc.win_rate.value - 0.75).abs() < 0.02 && lc.phi == 0.0 && !lc.extreme, "{lc:?}");
    }

    /// The model wins where its answer is longer and loses where it is shorter, twice as often longer: at equal
    /// length it
    /// is even.
    #[test]
    fn wins_by_length_are_taken_off() {
        let rows: Vec<LengthRow> = (0..300)
            .map(|i| {
                let (long, luck) = (i % 3 != 0, i % 10 == 0);
                row(f64::from(u8::from(long != luck)), 100, if long { 200 } else { 0 })
            })
            .collect();
        let lc = length_controlled_win_rate(&rows, &[], &Bootstrap::NONE).unwrap();
        assert!(lc.phi < 0.0 && lc.win_rate.value < lc.raw - 0.05, "{lc:?}");
    }

    #[test]
    fn swapping_the_sides_mirrors_the_rate() {
        let lengths = |i: u32| (50 + i * 37 % 91, 50 + i * 53 % 97);
        let outcome = |i: u32| f64::from(i * 7 % 11) / 10.0;
        let rows: Vec<LengthRow> = (0..60).map(|i| row(outcome(i), lengths(i).0, lengths(i).1)).collect();
        let mirrored: Vec<LengthRow> = (0..60).map(|i| row(1.0 - outcome(i), lengths(i).1, lengths(i).0)).collect();
        let of = |rows: &[LengthRow]| length_controlled_win_rate(rows, &[], &Bootstrap::NONE).unwrap().win_rate.value;
        assert!((of(&rows) + of(&mirrored) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(length_controlled_win_rate(&[], &[], &Bootstrap::NONE).is_err());
        let rows = [row(f64::NAN, 1, 1); 5];
        assert!(matches!(length_controlled_win_rate(&rows, &[], &Bootstrap::NONE), Err(EvalError::NotFinite { .. })));
        let rows = [row(0.5, 1, 1); 5];
        assert!(matches!(length_controlled_win_rate(&rows, &[vec![]], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
    }
}
