//! DPO with dynamic reward scaling (MM-DPO): arXiv:2502.10391, section 4.3.
//!
//! ```text
//! loss  = -log sigmoid(beta(d) (h_chosen - h_rejected)) + lambda NLL(chosen)
//! beta(d) = beta (1 + w (1 - e^(-k d))),    d = score_chosen - score_rejected
//! ```
//! Pairs that a reward model tells apart well pull harder. The public trainer differs from the paper, which is followed
//! here. Where the reward model disagrees with the label, `d < 0`, d is taken as 0, or with `disagreement = drop` the pair
//! is left out. Beta is at least 1e-3, the trainer's floor. `k` is not confirmed by the paper. Rewards are logged with beta
//! itself.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::nll::{Nll, NllReduction, per_token};
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::{check, unused};

/// Smallest beta of a pair.
const LEAST_BETA: f64 = 1e-3;

/// What becomes of a pair whose scores contradict its label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disagreement {
    /// Its scores are taken to be equal.
    #[default]
    Clamp,
    /// It counts nothing.
    Drop,
}

/// Options of [`MmDpo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MmDpoConfig {
    /// Strength of the pull to the reference at equal scores; finite and at least 0.001.
    pub beta: f64,
    /// How much it may grow; finite and at least 0.
    pub margin_weight: f64,
    /// How fast it grows; finite and above 0.
    pub margin_rate: f64,
    /// What becomes of a pair whose scores contradict its label.
    pub disagreement: Disagreement,
    /// Weight of the likelihood of the chosen response; finite and at least 0.
    pub lambda: f64,
    /// How that likelihood is averaged.
    pub nll_reduction: NllReduction,
}

impl Default for MmDpoConfig {
    fn default() -> Self {
        Self {
            beta: DpoConfig::default().beta,
            margin_weight: 0.1,
            margin_rate: 0.5,
            disagreement: Disagreement::Clamp,
            lambda: 0.0,
            nll_reduction: NllReduction::Response,
        }
    }
}

impl MmDpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<MmDpo, PreferenceError> {
        let (w, k) = (self.margin_weight, self.margin_rate);
        check(0.0 <= w && w.is_finite(), "margin_weight", "finite and at least 0", w, "start from 0.1")?;
        check(0.0 < k && k.is_finite(), "margin_rate", "finite and above 0", k, "start from 0.5")?;
        if w == 0.0 && k != Self::default().margin_rate {
            return Err(unused("margin_rate", "with a margin_weight of 0", "raise margin_weight, or leave it out"));
        }
        let scorer = Scorer::new(self.beta, Scoring::default())?;
        check(LEAST_BETA <= self.beta, "beta", "at least 0.001", self.beta, "start from 0.1")?;
        if self.disagreement == Disagreement::Drop && self.nll_reduction == NllReduction::Window {
            // The window's tokens would count those of pairs that do not.
            let what =
                "nll_reduction window counts the tokens of all pairs, and disagreement drop leaves some out".to_owned();
            return Err(PreferenceError::Conflict { what, remedy: "average the likelihood by response" });
        }
        Ok(MmDpo {
            scorer,
            nll: Nll::new("lambda", self.lambda, self.nll_reduction, NllReduction::Response)?,
            config: *self,
        })
    }
}

/// The MM-DPO loss.
#[derive(Clone, Copy, Debug)]
pub struct MmDpo {
    scorer: Scorer,
    nll: Nll,
    config: MmDpoConfig,
}

impl Objective for MmDpo {
    fn needs(&self) -> Needs {
        let needs = self.nll.needs(self.scorer.needs().with_scores());
        if self.config.disagreement == Disagreement::Drop { needs.weighted() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let MmDpoConfig { beta, margin_weight: w, margin_rate: k, disagreement, .. } = self.config;
        let scored = self.scorer.score(batch)?;
        let margins = scored.pairs.chosen.scores()? - scored.pairs.rejected.scores()?; // [pairs]
        let reach = margins.clone().clamp_min(0.0).mul_scalar(-k).exp().neg().add_scalar(1.0); // [pairs]
        let betas = reach.mul_scalar(w).add_scalar(1.0).mul_scalar(beta); // [pairs]
        let apart = scored.chosen.clone() - scored.rejected.clone(); // [pairs]
        let rows = log_sigmoid(apart * betas.clone()).neg(); // [pairs]
        let rows = self.nll.add_to(rows, &scored.pairs.chosen);
        let mut loss = self.scorer.finish(&scored, rows)?.stat("mm_dpo/beta", betas);
        if !self.nll.is_off() {
            loss = loss.stat("nll_loss", per_token(&scored.pairs.chosen));
        }
        if disagreement == Disagreement::Drop {
            let agree = margins.ones_like().mask_fill(margins.lower_elem(0.0), 0.0); // [pairs]
            (loss.rows, loss.weights) = (loss.rows * agree.clone(), agree);
        }
        Ok(loss)
    }
}
