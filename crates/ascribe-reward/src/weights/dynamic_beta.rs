//! Dynamic reward scaling of MM-DPO: MM-RLHF, arXiv:2502.10391.
//!
//! ```text
//! beta(delta) = beta_0 (1 + w (1 - exp(-k delta))),   delta = r(chosen) - r(rejected) of an explicit reward model
//! ```
//! Each pair of DPO then has a beta of its own, without gradient through delta. For a negative delta, where label and model
//! disagree, the factor would fall and at last turn negative: it is cut at 0 by default, or the pair is dropped. Never below
//! 1e-3, as in the code. The public trainer differs from the paper (statistics of implicit margins, two exchanged terms);
//! this is the paper's formula. k is a reading of notes.

use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::option;

/// What happens to a pair that the reward model orders the other way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativeMargin {
    /// It has the base beta.
    #[default]
    Clamp,
    /// It is left out.
    Drop,
}

/// Options of [`DynamicBeta`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicBetaConfig {
    /// Beta of a pair of equal rewards; finite and above 0.
    pub beta: f64,
    /// Most that beta may grow by, as a share; finite and at least 0.
    pub w: f64,
    /// How fast it grows; finite and above 0.
    pub k: f64,
    /// What happens to pairs of negative margin.
    pub negative: NegativeMargin,
}

impl Default for DynamicBetaConfig {
    fn default() -> Self {
        Self { beta: 0.1, w: 0.1, k: 0.5, negative: NegativeMargin::default() }
    }
}

impl DynamicBetaConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is outside its range.
    pub fn init(&self) -> Result<DynamicBeta, RewardError> {
        option("beta", "finite and above 0, such as 0.1", self.beta, 0.0 < self.beta && self.beta.is_finite())?;
        option("w", "finite and at least 0", self.w, 0.0 <= self.w && self.w.is_finite())?;
        option("k", "finite and above 0", self.k, 0.0 < self.k && self.k.is_finite())?;
        Ok(DynamicBeta { config: *self })
    }
}

/// A beta for each pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DynamicBeta {
    config: DynamicBetaConfig,
}

/// Smallest beta.
const LEAST: f64 = 1e-3;

impl DynamicBeta {
    /// The beta of a pair with this margin of rewards; `None` when the pair is left out.
    ///
    /// # Errors
    /// When the margin is NaN or infinite.
    pub fn beta(&self, delta: f64) -> Result<Option<f64>, RewardError> {
        option("the margin of rewards", "finite", delta, delta.is_finite())?;
        let DynamicBetaConfig { beta, w, k, negative } = self.config;
        if delta < 0.0 && negative == NegativeMargin::Drop {
            return Ok(None);
        }
        Ok(Some((beta * (1.0 - w * (-k * delta.max(0.0)).exp_m1())).max(LEAST)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beta(config: DynamicBetaConfig, delta: f64) -> Option<f64> {
        config.init().unwrap().beta(delta).unwrap()
    }

    #[test]
    fn three_margins_by_hand() {
        for (delta, expected) in [(0.0, 0.1), (1.0, 0.103935), (5.0, 0.109179)] {
            let got = beta(DynamicBetaConfig::default(), delta).unwrap();
            assert!((got - expected).abs() < 5e-7, "{delta}: {got}");
        }
        assert_eq!(beta(DynamicBetaConfig::default(), -2.0), Some(0.1));
        let dropping = DynamicBetaConfig { negative: NegativeMargin::Drop, ..DynamicBetaConfig::default() };
        assert_eq!((beta(dropping, -2.0), beta(dropping, 0.0)), (None, Some(0.1)));
        assert_eq!(beta(DynamicBetaConfig { beta: 1e-5, ..DynamicBetaConfig::default() }, 1.0), Some(1e-3));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let plain = DynamicBetaConfig::default();
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(DynamicBetaConfig { beta: wrong, ..plain }.init().is_err());
            assert!(DynamicBetaConfig { w: wrong, ..plain }.init().is_err());
            assert!(DynamicBetaConfig { k: wrong, ..plain }.init().is_err());
        }
        assert!(plain.init().unwrap().beta(f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn beta_rises_with_the_margin_and_stays_bounded(delta in 0.0..20.0f64, more in 0.0..20.0f64, w in 0.0..2.0f64) {
            let config = DynamicBetaConfig { w, ..DynamicBetaConfig::default() };
            let (low, high) = (beta(config, delta).unwrap(), beta(config, delta + more).unwrap());
            prop_assert!(0.1 <= low && low <= high && high <= 0.1 * (1.0 + w) + 1e-12);
        }

        #[test]
        fn without_a_weight_it_is_the_beta_of_dpo(delta in -20.0..20.0f64) {
            prop_assert_eq!(beta(DynamicBetaConfig { w: 0.0, ..DynamicBetaConfig::default() }, delta), Some(0.1));
        }
    }
}
