//! A strength of the pull to the reference that follows the divergence: arXiv:1909.08593, section 2.2.
//!
//! ```text
//! error = clip(KL / target - 1, -0.2, 0.2),   coef <- coef (1 + error n / horizon),   n: responses since the last time
//! ```

use ascribe_core::CoreError;

/// The controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveKl {
    /// The divergence that is wanted, in nats a response.
    pub target: f64,
    /// Responses in which the strength may change by a fifth.
    pub horizon: f64,
}

impl AdaptiveKl {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless both are finite and above 0.
    pub fn check(&self) -> Result<(), CoreError> {
        for (name, got) in [("kl_target", self.target), ("kl_horizon", self.horizon)] {
            if !(got > 0.0 && got.is_finite()) {
                return Err(CoreError::Range { name, rule: "finite and above 0", got });
            }
        }
        Ok(())
    }

    /// The strength after `responses` more responses with a mean divergence of `kl`.
    pub fn next(&self, coef: f64, kl: f64, responses: usize) -> f64 {
        let error = (kl / self.target - 1.0).clamp(-0.2, 0.2);
        coef * (1.0 + error * responses as f64 / self.horizon)
    }
}
