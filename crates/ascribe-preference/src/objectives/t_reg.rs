//! T-REG: preference optimization with token-level reward regularization, arXiv:2412.02685, here as DPO-REG.
//!
//! ```text
//! loss  = loss_DPO + alpha * w * (REG(chosen) + REG(rejected))
//! REG(y) = -sum_t beta * r_t * log pi(y_t | x, y_<t)
//! w     = sigmoid(-beta * (h_chosen - h_rejected)), no gradient
//! ```
//! `r_t` in [-1/2, 1/2] is the self-generated token reward of [`ContrastReward`](crate::ContrastReward), carried as the
//! batch's token credit. The weight is the factor that also multiplies DPO's gradient, so the whole is DPO with its token
//! gradients reweighted by `1 + alpha * r_t` (chosen) and `1 - alpha * r_t` (rejected). That the weight is cut from the
//! gradient is our reading of "extracted from the DPO gradient". `RegWeight::Static` (w = 1), `TokenCredit::SftOnChosen`
//! (r = 1/2 on the chosen response, 0 on the rejected) and `RegTokens` are the paper's ablations.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Side};
use burn::tensor::{Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use super::dpo::{Dpo, DpoConfig};
use crate::PreferenceError;

/// What multiplies the regulariser of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegWeight {
    /// The factor of DPO's gradient: pairs that are already far apart are left alone.
    #[default]
    Adaptive,
    /// 1 for every pair.
    Static,
}

/// Which responses are regularised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegTokens {
    /// Chosen and rejected.
    #[default]
    Both,
    /// Chosen alone.
    Chosen,
    /// Rejected alone.
    Rejected,
}

/// Where the token rewards come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCredit {
    /// The credit that the batch carries.
    #[default]
    Batch,
    /// 1/2 on every chosen token and 0 on every rejected one.
    SftOnChosen,
}

/// Options of [`TReg`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TRegConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Strength of the regulariser; finite and at least 0 (the paper searches 0.1, 0.25, 0.5).
    pub alpha: f64,
    /// What multiplies the regulariser of a pair.
    pub weight: RegWeight,
    /// Which responses are regularised.
    pub tokens: RegTokens,
    /// Where the token rewards come from.
    pub credit: TokenCredit,
}

impl Default for TRegConfig {
    fn default() -> Self {
        let (weight, tokens, credit) = (RegWeight::default(), RegTokens::default(), TokenCredit::default());
        Self { beta: DpoConfig::default().beta, alpha: 0.25, weight, tokens, credit }
    }
}

impl TRegConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless beta is finite and above 0 and alpha finite and at least 0.
    pub fn init(&self) -> Result<TReg, PreferenceError> {
        let dpo = DpoConfig { beta: self.beta, ..DpoConfig::default() }.init()?;
        let accepted = 0.0 <= self.alpha && self.alpha.is_finite();
        if !accepted {
            return Err(PreferenceError::Alpha { got: self.alpha });
        }
        Ok(TReg { dpo, config: *self })
    }
}

/// The T-REG loss on pairs.
#[derive(Clone, Copy, Debug)]
pub struct TReg {
    dpo: Dpo,
    config: TRegConfig,
}

impl TReg {
    /// `REG(y)` of one side, `[pairs]`.
    fn regulariser(&self, side: &Side, credit: Tensor<2>) -> Tensor<1> {
        // Masked first: a log-probability of -inf outside the response must not meet a credit of 0.
        let weighed = side.mask.keep(side.logps.clone()) * side.mask.keep(credit); // [pairs, seq]
        weighed.sum_dim(1).squeeze_dim::<1>(1).mul_scalar(-self.dpo.beta()) // [pairs]
    }
}

impl Objective for TReg {
    fn needs(&self) -> Needs {
        let needs = self.dpo.needs();
        if self.config.credit == TokenCredit::Batch { needs.with_credit() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let rewards = self.dpo.rewards(&pairs)?;
        let mut loss = self.dpo.loss_of(&pairs, &rewards)?;
        let credit = |side: &Side, sft: f64| match self.config.credit {
            TokenCredit::Batch => side.credit(),
            TokenCredit::SftOnChosen => Ok(side.logps.clone().detach().zeros_like().add_scalar(sft)),
        };
        let (chosen, rejected) = (credit(&pairs.chosen, 0.5)?, credit(&pairs.rejected, 0.0)?); // [pairs, seq]
        let mut sides = Vec::with_capacity(2);
        if self.config.tokens != RegTokens::Rejected {
            sides.push(self.regulariser(&pairs.chosen, chosen.clone()));
        }
        if self.config.tokens != RegTokens::Chosen {
            sides.push(self.regulariser(&pairs.rejected, rejected.clone()));
        }
        let reg = sides.into_iter().reduce(|a, b| a + b).unwrap_or_else(|| rewards.chosen.zeros_like()); // [pairs]
        let weight = match self.config.weight {
            RegWeight::Adaptive => sigmoid((rewards.rejected - rewards.chosen).detach()), // [pairs]
            RegWeight::Static => reg.clone().detach().ones_like(),
        };
        loss.rows = loss.rows + (weight.clone() * reg.clone()).mul_scalar(self.config.alpha);
        let lowest = pairs.chosen.mask.keep(pairs.chosen.logps.clone()).min_dim(1).squeeze_dim::<1>(1); // [pairs]
        Ok(loss
            .stat("t_reg/weight", weight)
            .stat("t_reg/regulariser", reg)
            .stat("t_reg/credit_chosen", pairs.chosen.mask.mean(chosen))
            .stat("t_reg/credit_rejected", pairs.rejected.mask.mean(rejected))
            .stat("logps/min_chosen_token", lowest))
    }
}
