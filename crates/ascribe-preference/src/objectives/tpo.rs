//! Triple preference optimization (TPO): arXiv:2405.16681, as TRL has it.
//!
//! ```text
//! loss = contrast(v_chosen, v_rejected) + tpo_alpha NLL(gold)
//!   sigmoid, hinge, ipo   as in CPO
//!   tpo-l                 sigmoid over means, less tpo_l_gamma
//! ```
//! The third answer of a row, gold, is imitated while the other two are contrasted; there is no reference model. With a
//! `tpo_alpha` of 0 no third answer is needed. The likelihood is averaged as in CPO.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use serde::{Deserialize, Serialize};

use super::cpo::{Contrast, ContrastKind};
use super::nll::{Nll, NllReduction, per_token};
use crate::PreferenceError;
use crate::error::unused;

/// How the two sides of a pair are contrasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TpoKind {
    /// The loss of DPO.
    #[default]
    Sigmoid,
    /// A hinge.
    Hinge,
    /// The loss of IPO, over means.
    Ipo,
    /// That of DPO less a margin, over means.
    TpoL,
}

/// Options of [`Tpo`], under the names of TRL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TpoConfig {
    /// What the difference is multiplied by; finite and above 0.
    pub beta: f64,
    /// The contrast.
    pub loss_type: TpoKind,
    /// Share of labels that are taken to be wrong, in [0, 0.5].
    pub label_smoothing: f64,
    /// The margin of `tpo-l`; finite. Absent, it is 0.5.
    pub tpo_l_gamma: Option<f64>,
    /// Weight of the likelihood of the third answer; finite and at least 0.
    pub tpo_alpha: f64,
    /// How that likelihood is averaged.
    pub nll_reduction: NllReduction,
}

impl Default for TpoConfig {
    fn default() -> Self {
        Self {
            beta: 0.01,
            loss_type: TpoKind::Sigmoid,
            label_smoothing: 0.0,
            tpo_l_gamma: None,
            tpo_alpha: 1.0,
            nll_reduction: NllReduction::Response,
        }
    }
}

impl TpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for the other options.
    pub fn init(&self) -> Result<Tpo, PreferenceError> {
        let (kind, margin) = match self.loss_type {
            TpoKind::Sigmoid => (ContrastKind::Sigmoid, 0.0),
            TpoKind::Hinge => (ContrastKind::Hinge, 0.0),
            TpoKind::Ipo => (ContrastKind::Ipo, 0.0),
            TpoKind::TpoL => (ContrastKind::Simpo, self.tpo_l_gamma.unwrap_or(0.5)),
        };
        if self.tpo_l_gamma.is_some() && self.loss_type != TpoKind::TpoL {
            return Err(unused("tpo_l_gamma", "without the loss type tpo-l", "set loss_type, or leave it out"));
        }
        let contrast = Contrast::new(kind, self.beta, self.label_smoothing, margin, 0.0)?;
        Ok(Tpo { contrast, nll: Nll::new("tpo_alpha", self.tpo_alpha, self.nll_reduction, NllReduction::Response)? })
    }
}

/// The TPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Tpo {
    contrast: Contrast,
    nll: Nll,
}

impl Objective for Tpo {
    fn needs(&self) -> Needs {
        let kind = if self.nll.is_off() { RowKind::Pairs } else { RowKind::Triples };
        self.nll.needs(Needs::of(kind))
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        if self.nll.is_off() {
            return Ok(self.contrast.loss(&pairs, |rows| rows));
        }
        let gold = batch.gold()?;
        Ok(self.contrast.loss(&pairs, |rows| self.nll.add_to(rows, &gold)).stat("nll_loss", per_token(&gold)))
    }
}
