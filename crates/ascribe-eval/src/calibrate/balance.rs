//! The Balance score, from win prediction in esports: is the confidence of the decision the accuracy of the decision?
//!
//! ```text
//! g = 1[decision right] - max(p, 1-p),  Balance = mean g = accuracy - mean confidence
//! ```
//! Positive is under-confident, negative over-confident, 0 best. Errors of opposite sign cancel, and it is no proper
//! scoring rule: a constant forecast of its own hit rate scores 0.

use crate::error::{same_length, shares};
use crate::stats::sum::number;
use crate::{Bootstrap, Estimate, EvalError};

/// What p = 1/2 decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Half {
    /// The positive class.
    #[default]
    Positive,
    /// Half of each: the row scores 0.
    Split,
}

/// The term of every row, in [-1, 1/2].
pub(crate) fn balance_terms(p: &[f64], y: &[bool], half: Half) -> Result<Vec<f64>, EvalError> {
    shares("p", p)?;
    same_length("y", p.len(), y.len())?;
    let term = |(&p, &y): (&f64, &bool)| {
        if p == 0.5 && half == Half::Split { 0.0 } else { number((p >= 0.5) == y) - p.max(1.0 - p) }
    };
    Ok(p.iter().zip(y).map(term).collect())
}

/// The Balance score; the interval resamples rows. In [-1, 1/2]; `half` says what p = 1/2 decides; O(B n).
///
/// # Errors
/// When the lengths differ, there is no row, or a probability is not in [0, 1].
pub fn balance(p: &[f64], y: &[bool], half: Half, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.mean(&balance_terms(p, y, half)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibrate::{Binning, brier, calibration_error};

    /// Six of eight right; confidences .9 .65 .6 .8 .65 .9 .55 .8 sum to 5.85.
    #[test]
    fn eight_rows() {
        let (p, y) =
            ([0.1, 0.35, 0.4, 0.8, 0.65, 0.9, 0.55, 0.2], [false, false, true, true, true, true, false, false]);
        let score = balance(&p, &y, Half::Positive, &Bootstrap::default()).unwrap();
        assert!((score.value - 0.01875).abs() < 1e-12 && score.interval.is_some());
        assert_eq!(balance(&[0.5], &[false], Half::Split, &Bootstrap::NONE).unwrap().value, 0.0);
        assert_eq!(balance(&[0.5], &[false], Half::Positive, &Bootstrap::NONE).unwrap().value, -0.5);
        assert!(matches!(balance(&[1.5], &[true], Half::Split, &Bootstrap::NONE), Err(EvalError::OutOfRange { .. })));
    }

    /// Chances spread evenly, each as often true as it says: accuracy 3/4, Brier score 1/6 and Balance 0. The paper's
    /// simulation has 75.01 %, .1666 and -.0004.
    #[test]
    fn a_calibrated_forecast_is_in_balance() {
        let rows = (0..100).flat_map(|i| (0..200).map(move |j| ((f64::from(i) + 0.5) / 100.0, j < 2 * i + 1)));
        let (p, y): (Vec<f64>, Vec<bool>) = rows.unzip();
        let right = p.iter().zip(&y).filter(|(p, y)| (**p >= 0.5) == **y).count();
        assert_eq!(right, 15_000);
        assert!((brier(&p, &y, &Bootstrap::NONE).unwrap().value - 1.0 / 6.0).abs() < 1e-4);
        assert!(balance(&p, &y, Half::Positive, &Bootstrap::NONE).unwrap().value.abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_other_class_has_the_same_balance(rows in prop::collection::vec((0_u8..=64, any::<bool>()), 1..40)) {
            let (p, y): (Vec<f64>, Vec<bool>) = rows.into_iter().map(|(p, y)| (f64::from(p) / 64.0, y)).unzip();
            let (other_p, other_y): (Vec<f64>, Vec<bool>) = p.iter().zip(&y).map(|(p, y)| (1.0 - p, !y)).unzip();
            let of = |p: &[f64], y: &[bool]| balance(p, y, Half::Split, &Bootstrap::NONE).unwrap().value;
            prop_assert_eq!(of(&p, &y), of(&other_p, &other_y));
        }

        #[test]
        fn balance_is_at_most_the_top_label_ece(
            rows in prop::collection::vec((0.0..=1.0_f64, any::<bool>()), 1..40), bins in 1_usize..12,
        ) {
            let (p, y): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
            let top: Vec<f64> = p.iter().map(|p| p.max(1.0 - p)).collect();
            let right: Vec<bool> = p.iter().zip(&y).map(|(&p, &y)| (p >= 0.5) == y).collect();
            let error = calibration_error(&top, &right, Binning::Width(bins)).unwrap();
            let score = balance(&p, &y, Half::Positive, &Bootstrap::NONE).unwrap().value;
            prop_assert!(score.abs() <= error.ece + 1e-12);
        }
    }
}
