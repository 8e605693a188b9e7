//! Token-level DPO (TDPO): arXiv:2404.11999, eq. 15 and 17.
//!
//! ```text
//! TDPO1:  loss = -log sigmoid(beta (h_chosen - h_rejected - (D_rejected - D_chosen)))
//! TDPO2:  loss = -log sigmoid(beta (h_chosen - h_rejected - alpha (D_rejected - sg D_chosen)))
//! D(y)   = sum_t KL(pi_ref(.|x, y_<t) || pi(.|x, y_<t))    over the whole vocabulary
//! ```
//! `sg` cuts the gradient, so that TDPO2 does not raise the divergence of the chosen response. The reference must be run
//! beside the policy, because its whole distributions are too large to keep. Rewards are `beta (h + D)`, as in the authors'
//! code.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::{check, unused};

/// The two forms of the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TdpoForm {
    /// The divergences as they are.
    Tdpo1,
    /// The divergences weighed, that of the chosen response without gradient.
    #[default]
    Tdpo2,
}

/// Options of [`Tdpo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TdpoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// The form.
    pub form: TdpoForm,
    /// Weight of the divergences in TDPO2; finite and at least 0. Absent, it is 0.5.
    pub alpha: Option<f64>,
}

impl Default for TdpoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, form: TdpoForm::Tdpo2, alpha: None }
    }
}

impl TdpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for alpha.
    pub fn init(&self) -> Result<Tdpo, PreferenceError> {
        if self.form == TdpoForm::Tdpo1 && self.alpha.is_some() {
            return Err(unused("alpha", "in TDPO1", "use tdpo2, or leave it out"));
        }
        let alpha = self.alpha.unwrap_or(0.5);
        check(0.0 <= alpha && alpha.is_finite(), "alpha", "finite and at least 0", alpha, "start from 0.5")?;
        Ok(Tdpo { scorer: Scorer::new(self.beta, Scoring::default())?, form: self.form, alpha })
    }
}

/// The TDPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Tdpo {
    scorer: Scorer,
    form: TdpoForm,
    alpha: f64,
}

impl Objective for Tdpo {
    fn needs(&self) -> Needs {
        self.scorer.needs().with_divergence()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let (scored, beta) = (self.scorer.score(batch)?, self.scorer.beta());
        let (chosen, rejected) = (scored.pairs.chosen.divergence()?, scored.pairs.rejected.divergence()?); // [pairs]
        let apart = match self.form {
            TdpoForm::Tdpo1 => rejected.clone() - chosen.clone(),
            TdpoForm::Tdpo2 => {
                let still = batch.frozen().pairs()?.chosen.divergence()?;
                (rejected.clone() - still).mul_scalar(self.alpha)
            }
        }; // [pairs]
        let margins = self.scorer.margins(&scored) - apart.mul_scalar(beta); // [pairs]
        let reward = |ratio: &Tensor<1>, divergence: &Tensor<1>| (ratio.clone() + divergence.clone()).mul_scalar(beta);
        let rewards = (reward(&scored.chosen, &chosen), reward(&scored.rejected, &rejected)); // [pairs]
        let loss = self.scorer.finish_with(&scored, log_sigmoid(margins).neg(), rewards)?;
        Ok(loss.stat("kl/chosen", chosen).stat("kl/rejected", rejected))
    }
}
