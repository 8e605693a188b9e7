//! Proportions with the Wilson score interval (E. B. Wilson, JASA 22, 1927).
//!
//! ```text
//! centre = (p + z^2/2n) / (1 + z^2/n),   half width = z/(1 + z^2/n) * sqrt(p(1-p)/n + z^2/4n^2)
//! ```
//! It never leaves [0, 1], and it has a width where every answer is right. Records must be independent: for several
//! answers to one prompt use [`Bootstrap::clustered_mean`](crate::Bootstrap::clustered_mean).

use crate::error::checked_level;
use crate::stats::beta::beta_quantile;
use crate::stats::normal;
use crate::{Estimate, EvalError, Interval};

/// The share of `successes` among `n` trials, with its Wilson interval. In [0, 1]; O(1).
///
/// # Errors
/// When `n` is 0, when `successes` exceeds `n`, or when `level` is not inside (0, 1).
pub fn wilson(successes: usize, n: usize, level: f64) -> Result<Estimate, EvalError> {
    checked_level(level)?;
    if n == 0 {
        return Err(EvalError::Empty { what: "the trials" });
    }
    if successes > n {
        return Err(EvalError::Range { name: "successes", rule: "at most n", got: successes as f64 });
    }
    let (value, trials) = (successes as f64 / n as f64, n as f64);
    let z = normal::quantile(0.5 + 0.5 * level);
    let shrink = 1.0 + z * z / trials;
    let centre = (value + z * z / (2.0 * trials)) / shrink;
    let half = z / shrink * (value * (1.0 - value) / trials + z * z / (4.0 * trials * trials)).sqrt();
    // At the ends the limit is the value itself; rounding would put it a hair beside.
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == n { 1.0 } else { centre + half };
    Ok(Estimate { value, interval: Some(Interval { low, high, level, method: "Wilson" }), n })
}

/// How the interval of a proportion is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProportionMethod {
    /// The score interval.
    #[default]
    Wilson,
    /// Exact: never covers less than its level (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934).
    ClopperPearson,
    /// Wilson's centre with the simple width (A. Agresti and B. A. Coull, The American Statistician 52, 1998).
    AgrestiCoull,
    /// `p +- z sqrt(p(1-p)/n)`; too narrow near 0 and 1.
    Normal,
    /// Quantiles of the beta law with Jeffreys' prior (L. D. Brown et al., Statistical Science 16, 2001).
    Jeffreys,
}

/// The share of `successes` among `n` trials, with the interval of your choice, cut off at 0 and 1. O(1).
///
/// # Errors
/// As [`wilson`].
pub fn proportion(successes: usize, n: usize, level: f64, method: ProportionMethod) -> Result<Estimate, EvalError> {
    let estimate = wilson(successes, n, level)?;
    let (wins, losses, trials) = (successes as f64, (n - successes) as f64, n as f64);
    let (z, tail) = (normal::quantile(0.5 + 0.5 * level), 0.5 * (1.0 - level));
    let around = |centre: f64, trials: f64| {
        let half = z * (centre * (1.0 - centre) / trials).sqrt();
        ((centre - half).max(0.0), (centre + half).min(1.0))
    };
    let ((low, high), method) = match method {
        ProportionMethod::Wilson => return Ok(estimate),
        ProportionMethod::ClopperPearson => {
            let low = if successes == 0 { 0.0 } else { beta_quantile(tail, wins, losses + 1.0) };
            let high = if successes == n { 1.0 } else { beta_quantile(1.0 - tail, wins + 1.0, losses) };
            ((low, high), "Clopper-Pearson")
        }
        ProportionMethod::AgrestiCoull => {
            let trials = trials + z * z;
            (around((wins + 0.5 * z * z) / trials, trials), "Agresti-Coull")
        }
        ProportionMethod::Normal => (around(estimate.value, trials), "normal"),
        ProportionMethod::Jeffreys => {
            let quantile = |p| beta_quantile(p, wins + 0.5, losses + 0.5);
            ((quantile(tail), quantile(1.0 - tail)), "Jeffreys")
        }
    };
    Ok(Estimate { interval: Some(Interval { low, high, level, method }), ..estimate })
}

/// The share of correct answers, with its Wilson interval. In [0, 1]; O(n).
///
/// # Errors
/// When `correct` is empty, or when `level` is not inside (0, 1).
pub fn accuracy(correct: &[bool], level: f64) -> Result<Estimate, EvalError> {
    wilson(correct.iter().filter(|&&right| right).count(), correct.len(), level)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By hand for z = 1.96: 7 of 10 gives (0.3968, 0.8922).
    #[test]
    fn seven_of_ten() {
        let estimate = accuracy(&[true, true, true, true, true, true, true, false, false, false], 0.95).unwrap();
        assert_eq!(estimate.to_string(), "0.700 [0.397, 0.892] (n = 10)");
    }

    /// None of n: the exact upper limit is 1 - (tail)^(1/n).
    #[test]
    fn clopper_pearson_of_none() {
        let interval = proportion(0, 10, 0.95, ProportionMethod::ClopperPearson).unwrap().interval.unwrap();
        assert_eq!(interval.low, 0.0);
        assert!((interval.high - (1.0 - 0.025_f64.powf(0.1))).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(accuracy(&[], 0.95), Err(EvalError::Empty { .. })));
        assert!(matches!(wilson(3, 2, 0.95), Err(EvalError::Range { name: "successes", .. })));
        for level in [0.0, 1.0, 95.0, f64::NAN] {
            assert!(matches!(wilson(1, 2, level), Err(EvalError::Range { name: "level", .. })), "{level}");
        }
    }

    proptest! {
        #[test]
        fn wilson_contains_the_estimate(n in 1_usize..5000, share in 0.0..=1.0_f64, level in 0.01..0.999_f64) {
            let estimate = wilson((n as f64 * share) as usize, n, level).unwrap();
            prop_assert!(!estimate.excludes(estimate.value), "{estimate}");
            let interval = estimate.interval.unwrap();
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0, "{estimate}");
        }

        #[test]
        fn wilson_mirrors_when_right_and_wrong_swap(n in 1_usize..500, part in 0_usize..500) {
            let right = part.min(n);
            let (one, other) = (wilson(right, n, 0.95).unwrap(), wilson(n - right, n, 0.95).unwrap());
            let (one, other) = (one.interval.unwrap(), other.interval.unwrap());
            prop_assert!((one.low - (1.0 - other.high)).abs() < 1e-12);
        }
    }
}
