//! Win rates against a baseline.
//!
//! ```text
//! win rate = mean m,  m = 1 for a win, 1/2 for a draw, or a judge's probability
//! ```
//! AlpacaEval stores a preference in [1, 2]: m = preference - 1, where 0 and 1.5 are draws and anything else is no
//! verdict.

use crate::error::shares;
use crate::{Bootstrap, Estimate, EvalError};

/// A win rate with its counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WinRate {
    /// Mean of the outcomes; the interval resamples items.
    pub rate: Estimate,
    /// `(wins + draws/2)/n`.
    pub discrete: f64,
    /// Outcomes above 1/2.
    pub wins: usize,
    /// Outcomes of exactly 1/2.
    pub draws: usize,
    /// Outcomes below 1/2.
    pub losses: usize,
    /// Standard error of the mean, with n - 1; `None` for one item.
    pub standard_error: Option<f64>,
}

/// The win rate of outcomes in [0, 1]. It lies there too; a draw is 1/2; O(B n).
///
/// # Errors
/// When there is no item or an outcome is not in [0, 1].
pub fn win_rate(outcomes: &[f64], bootstrap: &Bootstrap) -> Result<WinRate, EvalError> {
    shares("outcomes", outcomes)?;
    let count = |of: fn(f64) -> bool| outcomes.iter().filter(|&&outcome| of(outcome)).count();
    let (wins, draws, losses) = (count(|m| m > 0.5), count(|m| m == 0.5), count(|m| m < 0.5));
    let n = outcomes.len() as f64;
    Ok(WinRate {
        rate: bootstrap.mean(outcomes)?,
        discrete: (wins as f64 + 0.5 * draws as f64) / n,
        wins,
        draws,
        losses,
        standard_error: (outcomes.len() > 1).then(|| (crate::stats::sum::variance(outcomes) / n).sqrt()),
    })
}

/// The outcome of a stored AlpacaEval preference; `None` when it is no verdict. In [0, 1]; a draw is 1/2; O(1).
pub fn alpaca_outcome(preference: Option<f64>) -> Option<f64> {
    match preference? {
        0.0 => Some(0.5),
        preference if (1.0..=2.0).contains(&preference) => Some(preference - 1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 0.5, 0, 0.8: mean 0.575, two wins and a draw.
    #[test]
    fn soft_and_discrete() {
        let rate = win_rate(&[1.0, 0.5, 0.0, 0.8], &Bootstrap::default()).unwrap();
        assert!((rate.rate.value - 0.575).abs() < 1e-12);
        assert_eq!((rate.discrete, rate.wins, rate.draws, rate.losses), (0.625, 2, 1, 1));
        let other = win_rate(&[1.0, 0.5, 0.0, 0.8].map(|m| 1.0 - m), &Bootstrap::NONE).unwrap();
        assert!((rate.rate.value + other.rate.value - 1.0).abs() < 1e-12);
        assert_eq!((other.discrete, other.wins, other.draws, other.losses), (0.375, 1, 1, 2));
        assert!(matches!(win_rate(&[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        assert!(matches!(win_rate(&[1.5], &Bootstrap::NONE), Err(EvalError::OutOfRange { .. })));
        let stored = [Some(1.0), Some(2.0), Some(1.5), Some(0.0), Some(0.5), None, Some(f64::NAN)].map(alpaca_outcome);
        assert_eq!(stored, [Some(0.0), Some(1.0), Some(0.5), Some(0.5), None, None, None]);
    }
}
