//! Simple preference optimization (SimPO): arXiv:2405.14734, eq. 6.
//!
//! ```text
//! loss = -log sigmoid((beta / n_chosen) log pi(y_chosen) - (beta / n_rejected) log pi(y_rejected) - gamma)
//! ```
//! There is no reference; log-probabilities are means over response tokens, so that length alone earns nothing. The authors
//! give the margin as `gamma_beta_ratio`, TRL as `simpo_gamma`; either may be given. They tune beta between 2 and 10, the
//! ratio between 0.1 and 0.8, and the learning rate between 3e-7 and 1e-6: a higher one gives incoherent text.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use serde::{Deserialize, Serialize};

use super::cpo::{Contrast, ContrastKind};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`SimPo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimPoConfig {
    /// What mean log-probabilities are multiplied by; finite and above 0.
    pub beta: f64,
    /// The margin over beta; finite and at least 0. 0.5 when neither it nor `simpo_gamma` is given.
    pub gamma_beta_ratio: Option<f64>,
    /// The margin itself, instead.
    pub simpo_gamma: Option<f64>,
    /// Share of labels that are taken to be wrong, in [0, 0.5].
    pub label_smoothing: f64,
}

impl Default for SimPoConfig {
    fn default() -> Self {
        Self { beta: 2.0, gamma_beta_ratio: None, simpo_gamma: None, label_smoothing: 0.0 }
    }
}

impl SimPoConfig {
    /// The margin.
    ///
    /// # Errors
    /// When it is given twice, or is below 0 or not finite.
    pub fn gamma(&self) -> Result<f64, PreferenceError> {
        gamma(self.beta, self.gamma_beta_ratio, self.simpo_gamma)
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for the other options.
    pub fn init(&self) -> Result<SimPo, PreferenceError> {
        let margin = self.gamma()?;
        Ok(SimPo { contrast: Contrast::new(ContrastKind::Simpo, self.beta, self.label_smoothing, margin, 0.0)? })
    }
}

/// The margin, from whichever of the two was given.
pub(super) fn gamma(beta: f64, ratio: Option<f64>, gamma: Option<f64>) -> Result<f64, PreferenceError> {
    let (name, got, margin) = match (ratio, gamma) {
        (Some(_), Some(_)) => {
            let what = "gamma_beta_ratio and simpo_gamma both give the margin".to_owned();
            return Err(PreferenceError::Conflict { what, remedy: "give one of them" });
        }
        (None, Some(gamma)) => ("simpo_gamma", gamma, gamma),
        (ratio, None) => ("gamma_beta_ratio", ratio.unwrap_or(0.5), beta * ratio.unwrap_or(0.5)),
    };
    check(0.0 <= got && got.is_finite(), name, "finite and at least 0", got, "start from 0.5")?;
    Ok(margin)
}

/// The SimPO loss.
#[derive(Clone, Copy, Debug)]
pub struct SimPo {
    contrast: Contrast,
}

impl Objective for SimPo {
    fn needs(&self) -> Needs {
        Needs::of(RowKind::Pairs)
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        Ok(self.contrast.loss(&batch.pairs()?, |rows| rows))
    }
}
