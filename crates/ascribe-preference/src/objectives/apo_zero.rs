//! Anchored preference optimization, the form APO-zero: arXiv:2408.06266, section 4.
//!
//! ```text
//! loss = 1 - sigmoid(beta * h_chosen) + sigmoid(beta * h_rejected),   h = log pi(y|x) - log pi_ref(y|x)
//! ```
//! Each side is held against the reference by itself: the chosen response is made likelier and the rejected one less
//! likely, while DPO's margin can also grow by lowering both. It is meant for chosen responses that are better than what
//! the model writes. Log-probabilities are summed over response tokens; statistics are those of [`Dpo`](super::Dpo).

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::{Dpo, DpoConfig};
use crate::PreferenceError;

/// Options of [`ApoZero`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApoZeroConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Leave the reference out.
    pub reference_free: bool,
}

impl Default for ApoZeroConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, reference_free: false }
    }
}

impl ApoZeroConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0.
    pub fn init(&self) -> Result<ApoZero, PreferenceError> {
        let dpo = DpoConfig { beta: self.beta, reference_free: self.reference_free }.init()?;
        Ok(ApoZero { dpo })
    }
}

/// The APO-zero loss.
#[derive(Clone, Copy, Debug)]
pub struct ApoZero {
    dpo: Dpo,
}

impl Objective for ApoZero {
    fn needs(&self) -> Needs {
        self.dpo.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let rewards = self.dpo.rewards(&pairs)?;
        // 1 - sigmoid(x) is sigmoid(-x), which keeps its digits where x is large.
        let rows = sigmoid(rewards.chosen.clone().neg()) + sigmoid(rewards.rejected.clone()); // [pairs]
        self.dpo.with_stats(Loss::mean_of(rows), &pairs, &rewards)
    }
}
