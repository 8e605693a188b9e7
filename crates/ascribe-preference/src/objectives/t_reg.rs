//! T-REG: preference optimization with token-level reward regularization, arXiv:2412.02685, as DPO-REG and SimPO-REG.
//!
//! ```text
//! loss   = loss_base + alpha w (REG(chosen) + REG(rejected))
//! DPO:     REG(y) = -sum_t beta r_t log pi(y_t | x, y_<t),             w = sigmoid(-beta (h_chosen - h_rejected))
//! SimPO:   REG(y) = -sum_t (beta / n) r_t log pi(y_t | x, y_<t),       w = sigmoid(-(the margin of SimPO))
//! ```
//! `r_t` in [-1/2, 1/2] is the self-generated token reward of [`ContrastReward`](crate::ContrastReward), carried as the
//! batch's token credit. The weight is the factor that also multiplies the base's gradient, so DPO-REG is DPO with its
//! token gradients reweighted by `1 + alpha * r_t` (chosen) and `1 - alpha * r_t` (rejected). That the weight is cut from
//! the gradient is our reading of "extracted from the DPO gradient". The paper does not write SimPO-REG out: its form is
//! derived from SimPO's token reward `(beta / n) log pi` and not confirmed. Nothing bounds the regulariser where `r_t` is below 0:
//! the log has the least likely token of both sides.
//!
//! `RegWeight::Static` (w = 1), `TokenCredit::SftOnChosen` (r = 1/2 on the chosen response, 0 on the rejected),
//! `TokenCredit::DpoReward` (r from a model that DPO trained) and `RegTokens` are the paper's ablations.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Pairs, RowKind, Side};
use burn::tensor::{Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use super::cpo::{Contrast, ContrastKind};
use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring, smoothed};
use super::simpo::{SimPoConfig, gamma};
use crate::PreferenceError;
use crate::error::unused;

/// Largest size of a token reward, with room for rounding.
const LARGEST_REWARD: f64 = 0.5 + 1e-6;

/// What multiplies the regulariser of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegWeight {
    /// The factor of the base's gradient: pairs that are already far apart are left alone.
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
    /// The credit that the batch carries, made by the two revision prompts.
    #[default]
    Batch,
    /// The credit that the batch carries, made by a model that DPO trained
    /// ([`implicit_token_rewards`](crate::implicit_token_rewards)).
    DpoReward,
    /// 1/2 on every chosen token and 0 on every rejected one.
    SftOnChosen,
}

/// Options of [`TReg`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TRegConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Strength of the regulariser; finite and at least 0 (the paper searches 0.1, 0.25, 0.5).
    pub alpha: f64,
    /// What multiplies the regulariser of a pair.
    #[serde(rename = "reg_weight")]
    pub weight: RegWeight,
    /// Which responses are regularised.
    #[serde(rename = "reg_tokens")]
    pub tokens: RegTokens,
    /// Where the token rewards come from.
    pub credit: TokenCredit,
}

impl Default for TRegConfig {
    fn default() -> Self {
        let Regulariser { alpha, weight, tokens, credit } = Regulariser::default();
        Self { beta: DpoConfig::default().beta, alpha, weight, tokens, credit }
    }
}

impl TRegConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless beta is finite and above 0 and alpha finite and at least 0.
    pub fn init(&self) -> Result<TReg, PreferenceError> {
        let TRegConfig { beta, alpha, weight, tokens, credit } = *self;
        let scorer = Scorer::new(beta, Scoring::default())?;
        Ok(TReg { scorer, reg: Regulariser { alpha, weight, tokens, credit }.checked()? })
    }
}

/// The T-REG loss on pairs, with DPO as its base.
#[derive(Clone, Copy, Debug)]
pub struct TReg {
    scorer: Scorer,
    reg: Regulariser,
}

impl Objective for TReg {
    fn needs(&self) -> Needs {
        self.reg.needs(self.scorer.needs())
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let loss = self.scorer.finish(&scored, smoothed(self.scorer.margins(&scored), 0.0))?;
        let still = self.scorer.margins(&self.scorer.score(&batch.frozen())?); // [pairs]
        self.reg.add_to(loss, &scored.pairs, still, |_, sums| sums.mul_scalar(self.scorer.beta()))
    }
}

/// Options of [`SimPoReg`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimPoRegConfig {
    /// What mean log-probabilities are multiplied by; finite and above 0.
    pub beta: f64,
    /// The margin over beta; finite and at least 0. 0.5 when neither it nor `simpo_gamma` is given.
    pub gamma_beta_ratio: Option<f64>,
    /// The margin itself, instead.
    pub simpo_gamma: Option<f64>,
    /// Strength of the regulariser; finite and at least 0.
    pub alpha: f64,
    /// What multiplies the regulariser of a pair.
    #[serde(rename = "reg_weight")]
    pub weight: RegWeight,
    /// Which responses are regularised.
    #[serde(rename = "reg_tokens")]
    pub tokens: RegTokens,
    /// Where the token rewards come from.
    pub credit: TokenCredit,
}

impl Default for SimPoRegConfig {
    fn default() -> Self {
        let Regulariser { alpha, weight, tokens, credit } = Regulariser::default();
        let SimPoConfig { beta, gamma_beta_ratio, simpo_gamma, .. } = SimPoConfig::default();
        Self { beta, gamma_beta_ratio, simpo_gamma, alpha, weight, tokens, credit }
    }
}

impl SimPoRegConfig {
    /// The base, without the regulariser.
    pub fn base(&self) -> SimPoConfig {
        let SimPoRegConfig { beta, gamma_beta_ratio, simpo_gamma, .. } = *self;
        SimPoConfig { beta, gamma_beta_ratio, simpo_gamma, ..SimPoConfig::default() }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// Unless beta is finite and above 0, and the margin and alpha are finite and at least 0.
    pub fn init(&self) -> Result<SimPoReg, PreferenceError> {
        let SimPoRegConfig { beta, gamma_beta_ratio, simpo_gamma, alpha, weight, tokens, credit } = *self;
        let margin = gamma(beta, gamma_beta_ratio, simpo_gamma)?;
        let contrast = Contrast::new(ContrastKind::Simpo, beta, 0.0, margin, 0.0)?;
        Ok(SimPoReg { contrast, beta, margin, reg: Regulariser { alpha, weight, tokens, credit }.checked()? })
    }
}

/// The T-REG loss on pairs, with SimPO as its base.
#[derive(Clone, Copy, Debug)]
pub struct SimPoReg {
    contrast: Contrast,
    beta: f64,
    margin: f64,
    reg: Regulariser,
}

impl Objective for SimPoReg {
    fn needs(&self) -> Needs {
        self.reg.needs(Needs::of(RowKind::Pairs))
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let loss = self.contrast.loss(&pairs, |rows| rows);
        let (chosen, rejected) = self.contrast.rewards(&batch.frozen().pairs()?);
        let still = (chosen - rejected).sub_scalar(self.margin); // [pairs]
        let per_token = |side: &Side, sums: Tensor<1>| sums.mul_scalar(self.beta) / side.lengths().clamp_min(1.0);
        self.reg.add_to(loss, &pairs, still, per_token)
    }
}

/// What is added to the base.
#[derive(Clone, Copy, Debug)]
struct Regulariser {
    alpha: f64,
    weight: RegWeight,
    tokens: RegTokens,
    credit: TokenCredit,
}

impl Default for Regulariser {
    fn default() -> Self {
        let (weight, tokens, credit) = (RegWeight::default(), RegTokens::default(), TokenCredit::default());
        Self { alpha: 0.25, weight, tokens, credit }
    }
}

impl Regulariser {
    fn checked(self) -> Result<Self, PreferenceError> {
        let accepted = 0.0 <= self.alpha && self.alpha.is_finite();
        if !accepted {
            return Err(PreferenceError::Alpha { got: self.alpha });
        }
        let set = [
            ("reg_weight", self.weight != RegWeight::default()),
            ("reg_tokens", self.tokens != RegTokens::default()),
            ("credit", self.credit != TokenCredit::default()),
        ];
        if let Some((name, _)) = set.into_iter().find(|(_, set)| *set && self.alpha == 0.0) {
            return Err(unused(name, "with an alpha of 0", "raise alpha, or leave it out"));
        }
        if self.tokens == RegTokens::Rejected && self.credit == TokenCredit::SftOnChosen {
            let why = "for rejected responses alone, whose tokens sft_on_chosen gives nothing";
            return Err(unused("credit", why, "take reg_tokens chosen or both, or another credit"));
        }
        Ok(self)
    }

    fn needs(&self, needs: Needs) -> Needs {
        if self.credit == TokenCredit::SftOnChosen { needs } else { needs.with_credit() }
    }

    /// The token rewards of one side, `[pairs, seq]`; `sft` is what every token of it earns by `SftOnChosen`.
    fn credit(&self, side: &Side, sft: f64) -> Result<Tensor<2>, CoreError> {
        if self.credit == TokenCredit::SftOnChosen {
            return Ok(side.logps.clone().detach().zeros_like().add_scalar(sft));
        }
        let credit = side.mask.keep(side.credit()?); // [pairs, seq]
        let wrong = credit.clone().into_data().iter::<f64>().find(|reward| {
            let accepted = reward.abs() <= LARGEST_REWARD;
            !accepted
        });
        match wrong {
            None => Ok(credit),
            Some(got) => Err(CoreError::Range { name: "the size of a token reward", rule: "at most 1/2", got }),
        }
    }

    /// `loss` with the regulariser of `pairs`. `margins`, without gradient, are those of the base; `scaled` says what a sum of
    /// `r_t log pi` counts for.
    fn add_to(
        &self,
        mut loss: Loss,
        pairs: &Pairs,
        margins: Tensor<1>,
        scaled: impl Fn(&Side, Tensor<1>) -> Tensor<1>,
    ) -> Result<Loss, CoreError> {
        let (chosen, rejected) = (self.credit(&pairs.chosen, 0.5)?, self.credit(&pairs.rejected, 0.0)?); // [pairs, seq]
        let reg = |side: &Side, credit: &Tensor<2>| {
            // Masked first: a log-probability of -inf outside the response must not meet a credit of 0.
            let weighed = side.mask.keep(side.logps.clone()) * side.mask.keep(credit.clone()); // [pairs, seq]
            scaled(side, weighed.sum_dim(1).squeeze_dim::<1>(1).neg()) // [pairs]
        };
        let reg = match self.tokens {
            RegTokens::Both => reg(&pairs.chosen, &chosen) + reg(&pairs.rejected, &rejected),
            RegTokens::Chosen => reg(&pairs.chosen, &chosen),
            RegTokens::Rejected => reg(&pairs.rejected, &rejected),
        }; // [pairs]
        let weight = match self.weight {
            RegWeight::Adaptive => sigmoid(margins.neg()).detach(),
            RegWeight::Static => margins.ones_like(),
        }; // [pairs]
        loss.rows = loss.rows + (weight.clone() * reg.clone()).mul_scalar(self.alpha);
        let lowest = |side: &Side| side.mask.keep(side.logps.clone()).min_dim(1).squeeze_dim::<1>(1); // [pairs]
        Ok(loss
            .stat("t_reg/weight", weight)
            .stat("t_reg/regulariser", reg)
            .stat("t_reg/credit_chosen", pairs.chosen.mask.mean(chosen))
            .stat("t_reg/credit_rejected", pairs.rejected.mask.mean(rejected))
            .stat("logps/min_chosen_token", lowest(&pairs.chosen))
            .stat("logps/min_rejected_token", lowest(&pairs.rejected)))
    }
}
