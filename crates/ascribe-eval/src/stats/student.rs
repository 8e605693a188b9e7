//! Student's interval of a mean, for a few independent values such as one a seed.
//!
//! ```text
//! mean +- t_{n-1} sd/sqrt n
//! ```
//! Student, Biometrika 6, 1908. It takes the values as normal; with many of them, or a law far from normal, use
//! [`Bootstrap::mean`](crate::Bootstrap::mean).

use crate::error::{checked_level, finite};
use crate::stats::beta::beta_quantile;
use crate::stats::sum::{mean, variance};
use crate::{Estimate, EvalError, Interval};

/// The mean of `values` with Student's interval; there is no interval for one value. Equal values give a width of 0.
///
/// # Errors
/// When there is no value, when one is NaN or infinite, or when `level` is not inside (0, 1).
pub fn student_mean(values: &[f64], level: f64) -> Result<Estimate, EvalError> {
    checked_level(level)?;
    finite("values", values)?;
    let n = values.len();
    let value = mean(values);
    let interval = (n > 1).then(|| {
        let half = t_quantile(level, n as f64 - 1.0) * (variance(values) / n as f64).sqrt();
        Interval { low: value - half, high: value + half, level, method: "Student" }
    });
    Ok(Estimate { value, interval, n })
}

/// The `t` with `P(|T| <= t) = level`: where `freedom/(freedom + t^2)` is the beta law's quantile.
fn t_quantile(level: f64, freedom: f64) -> f64 {
    let x = beta_quantile(1.0 - level, 0.5 * freedom, 0.5);
    (freedom * (1.0 - x) / x).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One degree of freedom is Cauchy: t = tan(pi level/2); two give t = level sqrt(2/(1 - level^2)).
    #[test]
    fn quantiles_in_closed_form() {
        for level in [0.5, 0.9, 0.95] {
            assert!((t_quantile(level, 1.0) - (std::f64::consts::FRAC_PI_2 * level).tan()).abs() < 1e-9);
            assert!((t_quantile(level, 2.0) - level * (2.0 / (1.0 - level * level)).sqrt()).abs() < 1e-9);
        }
    }

    /// Of 1, 2, 3: the mean is 2, the standard error 1/sqrt 3, and t at 0.9 with two degrees 2.9199856.
    #[test]
    fn three_values() {
        let estimate = student_mean(&[1.0, 2.0, 3.0], 0.9).unwrap();
        let interval = estimate.interval.unwrap();
        assert_eq!((estimate.value, estimate.n, interval.method), (2.0, 3, "Student"));
        assert!((interval.high - 2.0 - 2.919_985_580_355_516 / 3_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn one_value_has_no_interval_and_none_is_refused() {
        assert!(student_mean(&[0.5], 0.95).unwrap().interval.is_none());
        assert!(matches!(student_mean(&[], 0.95), Err(EvalError::Empty { .. })));
        assert!(student_mean(&[0.5, f64::NAN], 0.95).is_err());
    }
}
