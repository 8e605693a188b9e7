//! Brier score with its parts, and log loss.
//!
//! ```text
//! BS = mean (p - y)^2 = REL - RES + UNC + WBV - WBC
//! REL = sum n_b/n (pb - yb)^2,  RES = sum n_b/n (yb - ybar)^2,  UNC = ybar (1 - ybar)
//! WBV = 1/n sum (p - pb)^2,  WBC = 2/n sum (p - pb)(y - yb);  skill = 1 - BS/UNC
//! log loss = -mean [y ln p + (1-y) ln(1-p)]
//! ```
//! G. W. Brier, 1950; A. H. Murphy, J. Appl. Meteor. 12, 1973; D. B. Stephenson et al., Weather and Forecasting 23,
//! 2008 (the terms inside bins: without them the identity holds only where p is constant in a bin). Rows are scored one
//! by one, so ties play no part.

use super::bins::{Assigned, Binning};
use crate::error::{option, same_length, shares};
use crate::stats::sum::{as_numbers, counted_mean, mean, number, sum};
use crate::{Bootstrap, Estimate, EvalError};

/// The parts of a Brier score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrierParts {
    /// The score itself.
    pub brier: f64,
    /// Distance of each bin's mean label from its mean probability: 0 is best.
    pub reliability: f64,
    /// Distance of each bin's mean label from the base rate: high is good.
    pub resolution: f64,
    /// The score of always forecasting the base rate.
    pub uncertainty: f64,
    /// Variance of probabilities inside bins.
    pub within_variance: f64,
    /// Twice their covariance with the labels inside bins.
    pub within_covariance: f64,
}

/// The squared error of every row.
pub(crate) fn squares(p: &[f64], y: &[bool]) -> Result<Vec<f64>, EvalError> {
    shares("p", p)?;
    same_length("y", p.len(), y.len())?;
    Ok(p.iter().zip(y).map(|(p, &y)| (p - number(y)).powi(2)).collect())
}

/// The Brier score; the interval resamples rows. In [0, 1]; O(B n).
///
/// # Errors
/// When the lengths differ, there is no row, or a probability is not in [0, 1].
pub fn brier(p: &[f64], y: &[bool], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.mean(&squares(p, y)?)
}

/// The Brier skill score: 1 is perfect, 0 is the base rate's. At most 1; O(B n).
///
/// # Errors
/// As [`brier`], and when all labels are one.
pub fn brier_skill(p: &[f64], y: &[bool], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(p.len(), counted_skill(p, y)?)
}

/// The Brier skill as a function of how often each row counts.
pub(crate) fn counted_skill(
    p: &[f64],
    y: &[bool],
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync + use<>, EvalError> {
    let (squares, labels) = (squares(p, y)?, as_numbers(y));
    Ok(move |counts: &[u32]| {
        let base = counted_mean(&labels, counts);
        let uncertainty = base * (1.0 - base);
        if uncertainty > 0.0 {
            return Ok(1.0 - counted_mean(&squares, counts) / uncertainty);
        }
        Err(EvalError::Degenerate { what: "the Brier skill", why: "the labels must hold both classes" })
    })
}

/// The Brier score and its parts over bins, each in [0, 1] but the covariance. O(n log M), and O(n log n) for bins of
/// equal mass.
///
/// # Errors
/// As [`brier`], and when the number of bins is 0.
pub fn brier_decomposition(p: &[f64], y: &[bool], binning: Binning) -> Result<BrierParts, EvalError> {
    let brier = mean(&squares(p, y)?);
    let (labels, n) = (as_numbers(y), p.len() as f64);
    let Assigned { edges, bin_of } = binning.assign(p)?;
    let mut totals = vec![(0.0_f64, 0.0_f64, 0.0_f64); edges.len() - 1];
    for ((&bin, p), y) in bin_of.iter().zip(p).zip(&labels) {
        let (rows, of_p, of_y) = &mut totals[bin];
        *rows += 1.0;
        *of_p += p;
        *of_y += y;
    }
    let base = mean(&labels);
    let over_bins = |term: &dyn Fn(f64, f64) -> f64| {
        let filled = totals.iter().filter(|(rows, ..)| *rows > 0.0);
        sum(filled.map(|(rows, of_p, of_y)| rows / n * term(of_p / rows, of_y / rows)))
    };
    let over_rows = |term: &dyn Fn(f64, f64) -> f64| {
        let rows = bin_of.iter().zip(p).zip(&labels);
        sum(rows.map(|((&bin, p), y)| {
            let (rows, of_p, of_y) = totals[bin];
            term(p - of_p / rows, y - of_y / rows)
        })) / n
    };
    Ok(BrierParts {
        brier,
        reliability: over_bins(&|p, y| (p - y).powi(2)),
        resolution: over_bins(&|_, y| (y - base).powi(2)),
        uncertainty: base * (1.0 - base),
        within_variance: over_rows(&|p, _| p * p),
        within_covariance: 2.0 * over_rows(&|p, y| p * y),
    })
}

/// The log loss of every row.
pub(crate) fn log_losses(p: &[f64], y: &[bool], clip: Option<f64>) -> Result<Vec<f64>, EvalError> {
    if let Some(clip) = clip {
        option("clip", "above 0 and below 0.5", clip, 0.0 < clip && clip < 0.5)?;
    }
    shares("p", p)?;
    same_length("y", p.len(), y.len())?;
    let mut losses = Vec::with_capacity(p.len());
    for (index, (&given, &y)) in p.iter().zip(y).enumerate() {
        let p = clip.map_or(given, |clip| given.clamp(clip, 1.0 - clip));
        let loss = if y { -p.ln() } else { -(-p).ln_1p() };
        if !loss.is_finite() {
            let rule = "neither 0 nor 1 on the wrong side; calibrate, or clip and say so";
            return Err(EvalError::OutOfRange { what: "p", rule, index, got: given });
        }
        losses.push(loss);
    }
    Ok(losses)
}

/// Mean log loss in nats; the interval resamples rows. At least 0, without a bound above; `clip` moves probabilities to
/// at least that far from 0 and 1; O(B n).
///
/// # Errors
/// As [`brier`]; when `clip` is not inside (0, 0.5); without it, when a probability is 0 or 1 on the wrong side.
pub fn log_loss(p: &[f64], y: &[bool], clip: Option<f64>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.mean(&log_losses(p, y, clip)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P: [f64; 8] = [0.1, 0.35, 0.4, 0.8, 0.65, 0.9, 0.55, 0.2];
    const Y: [bool; 8] = [false, false, true, true, true, true, false, false];

    /// By hand, and with scikit-learn 1.9.1 for the score and the log loss.
    #[test]
    fn eight_rows() {
        let expected = [
            (Binning::Width(5), [0.0675, 0.1875, 0.25, 0.0021875, 0.00625]),
            (Binning::Width(10), [0.069_531_25, 0.1875, 0.25, 0.000_156_25, 0.00625]),
            (Binning::Mass(4), [0.017_656_25, 0.125, 0.25, 0.002_031_25, 0.01875]),
        ];
        for (binning, expected) in expected {
            let parts = brier_decomposition(&P, &Y, binning).unwrap();
            let got = [
                parts.reliability,
                parts.resolution,
                parts.uncertainty,
                parts.within_variance,
                parts.within_covariance,
            ];
            assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-12), "{parts:?}");
        }
        assert!((brier(&P, &Y, &Bootstrap::NONE).unwrap().value - 0.125_937_5).abs() < 1e-12);
        assert!((log_loss(&P, &Y, None, &Bootstrap::NONE).unwrap().value - 0.404_171_549_3).abs() < 1e-9);
        let skill = brier_skill(&P, &Y, &Bootstrap::default()).unwrap();
        assert!((skill.value - 0.49625).abs() < 1e-12 && skill.interval.is_some());
    }

    #[test]
    fn a_certain_forecast_that_is_wrong_is_refused_or_clipped() {
        let loss = |clip| log_loss(&[1.0, 0.0], &[true, true], clip, &Bootstrap::NONE);
        assert!(matches!(loss(None), Err(EvalError::OutOfRange { index: 1, .. })));
        assert!((loss(Some(1e-15)).unwrap().value - 0.5 * 1e15_f64.ln()).abs() < 1e-9);
        assert!(matches!(loss(Some(0.7)), Err(EvalError::Range { name: "clip", .. })));
        assert!(matches!(brier(&[], &[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        assert!(matches!(brier_skill(&[0.5], &[true], &Bootstrap::NONE), Err(EvalError::Degenerate { .. })));
    }

    proptest! {
        #[test]
        fn the_parts_make_the_score(
            rows in prop::collection::vec((0.0..=1.0_f64, any::<bool>()), 1..50), bins in 1_usize..15,
        ) {
            let (p, y): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
            for binning in [Binning::Width(bins), Binning::Mass(bins), Binning::Adaptive(bins)] {
                let BrierParts { brier, reliability, resolution, uncertainty, within_variance, within_covariance } =
                    brier_decomposition(&p, &y, binning).unwrap();
                let parts = reliability - resolution + uncertainty + within_variance - within_covariance;
                prop_assert!((brier - parts).abs() < 1e-12 && resolution <= uncertainty + 1e-12);
            }
        }
    }
}
