//! Noise contrastive alignment on pairs (NCA): arXiv:2402.05369, eq. 11 with two responses.
//!
//! ```text
//! loss = -log sigmoid(r_chosen) - 1/2 log sigmoid(-r_chosen) - 1/2 log sigmoid(-r_rejected),   r = beta h
//! ```
//! Each side is held against the reference by itself, so the chosen response does not become less likely only because the
//! rejected one does so faster.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;

/// Options of [`Nca`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NcaConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// How responses are scored; by the reverse KL divergence.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for NcaConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, scoring: Scoring::default() }
    }
}

impl NcaConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for what does not go together.
    pub fn init(&self) -> Result<Nca, PreferenceError> {
        Ok(Nca { scorer: Scorer::by_sides("nca", self.beta, self.scoring)? })
    }
}

/// The NCA loss.
#[derive(Clone, Copy, Debug)]
pub struct Nca {
    scorer: Scorer,
}

impl Objective for Nca {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (chosen, rejected) = self.scorer.rewards(&scored); // [pairs]
        let down = log_sigmoid(chosen.clone().neg()) + log_sigmoid(rejected.neg()); // [pairs]
        self.scorer.finish(&scored, (log_sigmoid(chosen) + down.mul_scalar(0.5)).neg())
    }
}
