//! Odds ratio preference optimization (ORPO): arXiv:2403.07691, eq. 6.
//!
//! ```text
//! loss     = NLL(chosen) - beta log sigmoid(log odds(chosen) - log odds(rejected))
//! log odds = m - log(1 - e^m),    m = log pi(y|x) / tokens of y
//! ```
//! One stage from a base model: no reference, and no fine-tuning before. The paper calls beta lambda. `1 - e^m` is taken as
//! `tanh(-m / 2) (1 + e^m)`, which keeps its digits where `m` is close to 0. The likelihood is a mean over the tokens of
//! each chosen response; the authors' code and TRL average over all tokens of the batch, of the prompts as well:
//! `nll_reduction = window` and `nll_on_prompt`. Rewards are `beta m`.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::nll::{Nll, NllReduction, per_token};
use super::scoring::with_rewards;
use crate::PreferenceError;
use crate::error::check;

/// Largest mean log-probability: at 0 the odds are infinite.
const SURE: f64 = -1e-6;

/// Options of [`Orpo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrpoConfig {
    /// Weight of the odds ratio; finite and at least 0.
    pub beta: f64,
    /// Take the likelihood of the prompt as well.
    pub nll_on_prompt: bool,
    /// How the likelihood is averaged.
    pub nll_reduction: NllReduction,
}

impl Default for OrpoConfig {
    fn default() -> Self {
        Self { beta: 0.1, nll_on_prompt: false, nll_reduction: NllReduction::Response }
    }
}

impl OrpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Option`] unless beta is finite and at least 0.
    pub fn init(&self) -> Result<Orpo, PreferenceError> {
        let beta = self.beta;
        check(0.0 <= beta && beta.is_finite(), "beta", "finite and at least 0", beta, "start from 0.1")?;
        Ok(Orpo {
            beta,
            on_prompt: self.nll_on_prompt,
            nll: Nll::new("nll", 1.0, self.nll_reduction, NllReduction::Response)?,
        })
    }
}

/// The ORPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Orpo {
    beta: f64,
    on_prompt: bool,
    nll: Nll,
}

/// `log odds` of mean log-probabilities, `[rows]`.
fn log_odds(means: Tensor<1>) -> Tensor<1> {
    let means = means.clamp_max(SURE); // [rows]
    let sine = means.clone().mul_scalar(-0.5).tanh().log(); // [rows]
    let cosine = means.clone().exp().log1p(); // [rows]
    means - sine - cosine
}

impl Objective for Orpo {
    fn needs(&self) -> Needs {
        let needs = self.nll.needs(Needs::of(RowKind::Pairs));
        if self.on_prompt { needs.with_prompt_logps() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let (mut sums, mut lengths) = (pairs.chosen.sum(), pairs.chosen.lengths()); // [pairs]
        if self.on_prompt {
            let (logps, mask) = batch.prompt_logps()?; // [pairs, any]
            (sums, lengths) = (sums + mask.sum(logps.clone()), lengths + mask.count(&logps));
        }
        let (chosen, rejected) = (pairs.chosen.mean(), pairs.rejected.mean()); // [pairs]
        let odds = log_odds(chosen.clone()) - log_odds(rejected.clone()); // [pairs]
        let ratio = log_sigmoid(odds.clone()); // [pairs]
        let rows = self.nll.of(sums, lengths) - ratio.clone().mul_scalar(self.beta); // [pairs]
        let loss = Loss::mean_of(rows)
            .stat("nll_loss", per_token(&pairs.chosen))
            .stat("log_odds_ratio", ratio)
            .stat("log_odds_chosen", odds);
        let (chosen, rejected) = (chosen.mul_scalar(self.beta), rejected.mul_scalar(self.beta)); // [pairs]
        Ok(with_rewards(loss, &pairs, chosen, rejected))
    }
}
