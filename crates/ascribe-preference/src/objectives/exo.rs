//! Efficient exact optimization on pairs (EXO): arXiv:2402.00856, eq. 16.
//!
//! ```text
//! loss = KL(q || p),   q = (sigmoid(margin), sigmoid(-margin)),   p = (1 - e, e),   margin = beta (h_chosen - h_rejected)
//! ```
//! DPO is the same with the two sides of the divergence exchanged. `e`, the label smoothing, must be above 0: without it
//! the divergence is infinite. The paper uses 1e-3.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`Exo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Probability that is left to the rejected response, in (0, 0.5].
    pub label_smoothing: f64,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for ExoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, label_smoothing: 1e-3, scoring: Scoring::default() }
    }
}

impl ExoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<Exo, PreferenceError> {
        let e = self.label_smoothing;
        check(0.0 < e && e <= 0.5, "label_smoothing", "above 0 and at most 0.5", e, "start from 0.001")?;
        Ok(Exo { scorer: Scorer::new(self.beta, self.scoring)?, label_smoothing: e })
    }
}

/// The EXO loss.
#[derive(Clone, Copy, Debug)]
pub struct Exo {
    scorer: Scorer,
    label_smoothing: f64,
}

impl Objective for Exo {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (margins, e) = (self.scorer.margins(&scored), self.label_smoothing); // [pairs]
        let (won, lost) = (margins.clone(), margins.neg());
        let of = |x: Tensor<1>, p: f64| sigmoid(x.clone()) * log_sigmoid(x).sub_scalar(p.ln()); // [pairs]
        self.scorer.finish(&scored, of(won, 1.0 - e) + of(lost, e))
    }
}
