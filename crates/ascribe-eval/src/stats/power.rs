//! The minimum detectable effect: the smallest true difference that a test of this size finds with the wanted power.
//!
//! ```text
//! effect = (z_{1 - alpha/2} + z_power) * standard error of the difference
//! paired        error = sd(d)/sqrt n;  for right and wrong answers sd(d)^2 = share of discordant items - difference^2
//! two samples   error = sqrt(2) sd/sqrt n  with n in each
//! ```
//! Normal approximation (J. Cohen, "Statistical Power Analysis", 1988). State it with every comparison that found
//! nothing.

use crate::EvalError;
use crate::error::option;
use crate::stats::normal;

/// How the two systems are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// The same `n` records for both; `sd` is that of the differences.
    Paired,
    /// `n` records for each; `sd` is that of the scores.
    TwoSamples,
}

/// The smallest difference that is found with probability `power` at two-sided level `alpha`. Above 0; O(1).
///
/// # Errors
/// Unless `sd > 0` is finite, `n >= 2`, `0 < alpha < 1` and `alpha/2 < power < 1`.
pub fn minimum_detectable_effect(sd: f64, n: usize, alpha: f64, power: f64, design: Design) -> Result<f64, EvalError> {
    option("sd", "finite and above 0", sd, 0.0 < sd && sd.is_finite())?;
    option("n", "at least 2", n as f64, n >= 2)?;
    option("alpha", "above 0 and below 1, such as 0.05", alpha, 0.0 < alpha && alpha < 1.0)?;
    option("power", "above alpha/2 and below 1, such as 0.8", power, 0.5 * alpha < power && power < 1.0)?;
    let groups: f64 = if design == Design::Paired { 1.0 } else { 2.0 };
    Ok((normal::quantile(1.0 - 0.5 * alpha) + normal::quantile(power)) * sd * (groups / n as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1.959964 + 0.841621 = 2.801585; sd 0.5 over 100 records: 0.1400793.
    #[test]
    fn hundred_records() {
        let paired = minimum_detectable_effect(0.5, 100, 0.05, 0.8, Design::Paired).unwrap();
        let two = minimum_detectable_effect(0.5, 100, 0.05, 0.8, Design::TwoSamples).unwrap();
        assert!((paired - 0.140_079_3).abs() < 1e-6 && (two / paired - 2_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        for (sd, n, alpha, power) in [
            (0.0, 9, 0.05, 0.8),
            (f64::NAN, 9, 0.05, 0.8),
            (1.0, 1, 0.05, 0.8),
            (1.0, 9, 0.0, 0.8),
            (1.0, 9, 0.1, 0.05),
        ] {
            let effect = minimum_detectable_effect(sd, n, alpha, power, Design::Paired);
            assert!(matches!(effect, Err(EvalError::Range { .. })), "{sd} {n} {alpha} {power}");
        }
    }
}
