//! Robust DPO (rDPO): arXiv:2403.00409, eq. 12.
//!
//! ```text
//! loss = (-(1 - e) log sigmoid(margin) + e log sigmoid(-margin)) / (1 - 2 e),   margin = beta (h_chosen - h_rejected)
//! ```
//! With labels that are wrong with probability `e`, its mean over the flips is DPO's loss on the right labels. It can be
//! negative and has no lower bound, which the log should be watched for. `e` is the label smoothing; 0 is DPO.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`Robust`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RobustConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Share of labels that are wrong, in [0, 0.5).
    pub label_smoothing: f64,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for RobustConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, label_smoothing: 0.1, scoring: Scoring::default() }
    }
}

impl RobustConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<Robust, PreferenceError> {
        let e = self.label_smoothing;
        let remedy = "where half of the labels are wrong there is nothing to learn";
        check((0.0..0.5).contains(&e), "label_smoothing", "in [0, 0.5)", e, remedy)?;
        Ok(Robust { scorer: Scorer::new(self.beta, self.scoring)?, label_smoothing: e })
    }
}

/// The rDPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Robust {
    scorer: Scorer,
    label_smoothing: f64,
}

impl Objective for Robust {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (margins, e) = (self.scorer.margins(&scored), self.label_smoothing); // [pairs]
        let clean = log_sigmoid(margins.clone()).mul_scalar((e - 1.0) / (1.0 - 2.0 * e)); // [pairs]
        let flipped = log_sigmoid(margins.neg()).mul_scalar(e / (1.0 - 2.0 * e)); // [pairs]
        self.scorer.finish(&scored, clean + flipped)
    }
}
