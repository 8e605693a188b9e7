//! Contrastive preference optimization (CPO): arXiv:2401.08417, eq. 7. And the contrast without a reference that SimPO and
//! TPO share.
//!
//! ```text
//! loss = contrast(v_chosen, v_rejected) + cpo_alpha NLL(chosen)
//!   sigmoid  -(1 - e) log sigmoid(x) - e log sigmoid(-x),   x = beta (v_chosen - v_rejected)
//!   simpo    the same with x - simpo_gamma
//!   hinge    max(0, 1 - x)
//!   ipo      (v_chosen - v_rejected - 1 / (2 beta))^2
//! v    = log pi(y|x): a sum over response tokens for sigmoid and hinge, a mean for ipo and simpo
//! ```
//! `alpha` is AlphaPO (arXiv:2501.03884): `v` becomes `(1 - e^(-alpha v)) / alpha`, and 0 leaves it as it is. The likelihood
//! is averaged over the tokens of each chosen response; `nll_reduction = window` takes the mean over all tokens of the
//! window, as TRL does. CPO-SimPO is `simpo` with the likelihood. Rewards are `beta v`.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Pairs, RowKind, Side};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::nll::{Nll, NllReduction, per_token};
use super::scoring::{LARGEST_EXPONENT, check_beta, smoothed, with_rewards};
use crate::PreferenceError;
use crate::error::{check, unused};

/// How the two sides of a pair are contrasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContrastKind {
    /// The loss of DPO.
    #[default]
    Sigmoid,
    /// A hinge.
    Hinge,
    /// The loss of IPO, over means.
    Ipo,
    /// That of DPO less a margin, over means.
    Simpo,
}

/// Options of [`Cpo`], under the names of TRL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpoConfig {
    /// What the difference is multiplied by; finite and above 0.
    pub beta: f64,
    /// The contrast.
    pub loss_type: ContrastKind,
    /// Share of labels that are taken to be wrong, in [0, 0.5].
    pub label_smoothing: f64,
    /// The margin of `simpo`; finite. Absent, it is 0.5.
    pub simpo_gamma: Option<f64>,
    /// The exponent of AlphaPO; finite.
    pub alpha: f64,
    /// Weight of the likelihood; finite and at least 0.
    pub cpo_alpha: f64,
    /// How the likelihood is averaged.
    pub nll_reduction: NllReduction,
}

impl Default for CpoConfig {
    fn default() -> Self {
        Self {
            beta: DpoConfig::default().beta,
            loss_type: ContrastKind::Sigmoid,
            label_smoothing: 0.0,
            simpo_gamma: None,
            alpha: 0.0,
            cpo_alpha: 1.0,
            nll_reduction: NllReduction::Response,
        }
    }
}

impl CpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for the other options.
    pub fn init(&self) -> Result<Cpo, PreferenceError> {
        let margin = match (self.loss_type, self.simpo_gamma) {
            (ContrastKind::Simpo, gamma) => gamma.unwrap_or(0.5),
            (_, None) => 0.0,
            (_, Some(_)) => {
                return Err(unused("simpo_gamma", "without the loss type simpo", "set loss_type, or leave it out"));
            }
        };
        let contrast = Contrast::new(self.loss_type, self.beta, self.label_smoothing, margin, self.alpha)?;
        Ok(Cpo { contrast, nll: Nll::new("cpo_alpha", self.cpo_alpha, self.nll_reduction, NllReduction::Response)? })
    }
}

/// The CPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Cpo {
    contrast: Contrast,
    nll: Nll,
}

impl Objective for Cpo {
    fn needs(&self) -> Needs {
        self.nll.needs(Needs::of(RowKind::Pairs))
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let loss = self.contrast.loss(&pairs, |rows| self.nll.add_to(rows, &pairs.chosen));
        Ok(if self.nll.is_off() { loss } else { loss.stat("nll_loss", per_token(&pairs.chosen)) })
    }
}

/// A contrast of two sides without a reference; made of checked options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contrast {
    kind: ContrastKind,
    beta: f64,
    label_smoothing: f64,
    margin: f64,
    alpha: f64,
}

impl Contrast {
    pub(super) fn new(
        kind: ContrastKind,
        beta: f64,
        label_smoothing: f64,
        margin: f64,
        alpha: f64,
    ) -> Result<Self, PreferenceError> {
        check_beta(beta)?;
        let e = label_smoothing;
        check((0.0..=0.5).contains(&e), "label_smoothing", "in [0, 0.5]", e, "0 trusts all labels")?;
        if e > 0.0 && matches!(kind, ContrastKind::Hinge | ContrastKind::Ipo) {
            let why = "with the loss types hinge and ipo";
            return Err(unused("label_smoothing", why, "leave it out, or use sigmoid or simpo"));
        }
        check(margin.is_finite(), "the target margin", "finite", margin, "start from 0.5")?;
        check(alpha.is_finite(), "alpha", "finite", alpha, "0 is plain log-probabilities")?;
        Ok(Self { kind, beta, label_smoothing, margin, alpha })
    }

    /// `v` of one side, `[pairs]`.
    fn value(&self, side: &Side) -> Tensor<1> {
        let logps = match self.kind {
            ContrastKind::Sigmoid | ContrastKind::Hinge => side.sum(),
            ContrastKind::Ipo | ContrastKind::Simpo => side.mean(),
        };
        if self.alpha == 0.0 {
            return logps;
        }
        let power = logps.mul_scalar(-self.alpha).clamp_max(LARGEST_EXPONENT).exp();
        power.neg().add_scalar(1.0).div_scalar(self.alpha)
    }

    /// `beta v` of both sides, `[pairs]` each.
    pub(super) fn rewards(&self, pairs: &Pairs) -> (Tensor<1>, Tensor<1>) {
        let reward = |side: &Side| self.value(side).mul_scalar(self.beta);
        (reward(&pairs.chosen), reward(&pairs.rejected))
    }

    /// The loss of each pair, with what `more` adds to it, and statistics.
    pub(super) fn loss(&self, pairs: &Pairs, more: impl FnOnce(Tensor<1>) -> Tensor<1>) -> Loss {
        let (chosen, rejected) = self.rewards(pairs);
        let margins = (chosen.clone() - rejected.clone()).sub_scalar(self.margin); // [pairs]
        let rows = match self.kind {
            ContrastKind::Sigmoid | ContrastKind::Simpo => smoothed(margins, self.label_smoothing),
            ContrastKind::Hinge => relu(margins.neg().add_scalar(1.0)),
            // margins are beta times the difference.
            ContrastKind::Ipo => margins.sub_scalar(0.5).div_scalar(self.beta).square(),
        }; // [pairs]
        with_rewards(Loss::mean_of(more(rows)), pairs, chosen, rejected)
    }
}
