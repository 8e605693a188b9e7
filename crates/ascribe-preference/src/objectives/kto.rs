//! Kahneman-Tversky optimization (KTO): arXiv:2402.01306, eq. 7; and APO-zero on labelled responses.
//!
//! ```text
//! wanted:    loss = lambda_D sigmoid(-beta (h - z0))
//! unwanted:  loss = lambda_U sigmoid(-beta (z0 - h)),   h = log pi(y|x) - log pi_ref(y|x)
//! z0         = max(0, mean_j (log pi(y'_j|x_j) - log pi_ref(y'_j|x_j))),   without gradient
//! ```
//! Responses have a label and no partner. `y'_j` is the response to another prompt, so `z0` is an estimate of the divergence
//! from the reference. Two departures. Which response that is stands before training, by the order of the data
//! ([`mismatch`](crate::mismatch()), with the reasons), and is not that of the row before it in the batch. And the mean is
//! over the whole optimizer window, where TRL takes that of a micro-batch, so that 8 batches of 1 row are 1 of 8 rows. `no_kl`
//! sets `z0` to 0, which is `apo_zero_unpaired` of TRL.
//! `lambda_D n_D / (lambda_U n_U)` should be between 1 and 4/3, for `n_D` wanted and `n_U` unwanted responses. A window of one
//! label trains that side alone, so both should stand in each: [`LabelledRows`](ascribe_train::LabelledRows).

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::labelled::Labelled;
use super::scoring::check_beta;
use crate::PreferenceError;
use crate::error::check;

/// Options of [`Kto`], under the names of TRL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KtoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Weight of responses that are wanted; finite and above 0.
    pub desirable_weight: f64,
    /// Weight of responses that are not; finite and above 0.
    pub undesirable_weight: f64,
    /// Leave the divergence from the reference out.
    pub no_kl: bool,
}

impl Default for KtoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, desirable_weight: 1.0, undesirable_weight: 1.0, no_kl: false }
    }
}

impl KtoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the weights.
    pub fn init(&self) -> Result<Kto, PreferenceError> {
        check_beta(self.beta)?;
        let weights = [("desirable_weight", self.desirable_weight), ("undesirable_weight", self.undesirable_weight)];
        for (name, got) in weights {
            check(0.0 < got && got.is_finite(), name, "finite and above 0", got, "start from 1")?;
        }
        Ok(Kto { config: *self })
    }

    /// The weights that would balance `wanted` against `unwanted` responses, if these do not.
    pub fn imbalance(&self, wanted: usize, unwanted: usize) -> Option<String> {
        let ratio = self.desirable_weight * wanted as f64 / (self.undesirable_weight * unwanted as f64);
        let balanced = wanted == 0 || unwanted == 0 || (0.99..=1.34).contains(&ratio);
        let least = self.undesirable_weight * unwanted as f64 / wanted as f64;
        (!balanced).then(|| {
            format!(
                "{wanted} wanted and {unwanted} unwanted responses are out of balance; set desirable_weight between \
                 {least:.2} and {:.2}, or undesirable_weight instead",
                least * 4.0 / 3.0
            )
        })
    }
}

/// The KTO loss.
#[derive(Clone, Copy, Debug)]
pub struct Kto {
    config: KtoConfig,
}

impl Objective for Kto {
    fn needs(&self) -> Needs {
        let needs = Needs::of(RowKind::Labelled).with_ref_logps();
        if self.config.no_kl { needs } else { needs.with_mismatched().coupled() }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let KtoConfig { beta, desirable_weight, undesirable_weight, no_kl } = self.config;
        let rows = Labelled::of(batch)?;
        let kl = match no_kl {
            true => rows.ratios.clone().detach().zeros_like(),
            false => rows.ratios.clone().detach().zeros_like() + batch.mismatched()?.mean().clamp_min(0.0),
        }; // [rows]
        let gained = (rows.ratios.clone() - kl.clone()) * rows.signs.clone(); // [rows]
        let losses = sigmoid(gained.mul_scalar(-beta)) * rows.weights(desirable_weight, undesirable_weight); // [rows]
        let loss = rows.finish(losses, beta);
        Ok(if no_kl { loss } else { loss.stat("kl", kl) })
    }
}
