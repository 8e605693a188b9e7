//! DiscoPOP, the log-ratio modulated loss: arXiv:2406.08414, eq. 5.
//!
//! ```text
//! loss = (1 - m) (-log sigmoid(x)) + m e^-x,   x = beta (h_chosen - h_rejected),   m = sigmoid(x / tau)
//! ```
//! DPO's loss where the pair is ordered wrongly, an exponential one where it is ordered rightly. The product `m e^-x` is
//! taken in log space, where neither factor overflows.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::{log_sigmoid, sigmoid};
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{LARGEST_EXPONENT, Scorer, Scoring};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`DiscoPop`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscoPopConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Margin over which one loss passes into the other; finite and above 0.
    pub discopop_tau: f64,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for DiscoPopConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, discopop_tau: 0.05, scoring: Scoring::default() }
    }
}

impl DiscoPopConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<DiscoPop, PreferenceError> {
        let tau = self.discopop_tau;
        check(0.0 < tau && tau.is_finite(), "discopop_tau", "finite and above 0", tau, "start from 0.05")?;
        Ok(DiscoPop { scorer: Scorer::new(self.beta, self.scoring)?, tau })
    }
}

/// The DiscoPOP loss.
#[derive(Clone, Copy, Debug)]
pub struct DiscoPop {
    scorer: Scorer,
    tau: f64,
}

impl Objective for DiscoPop {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let margins = self.scorer.margins(&scored); // [pairs]
        let scaled = margins.clone().div_scalar(self.tau); // [pairs]
        let logistic = log_sigmoid(margins.clone()).neg() * sigmoid(scaled.clone().neg()); // [pairs]
        let exponential = (log_sigmoid(scaled) - margins).clamp_max(LARGEST_EXPONENT).exp(); // [pairs]
        self.scorer.finish(&scored, logistic + exponential)
    }
}
