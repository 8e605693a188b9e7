//! The hinge on a margin: SLiC-HF, arXiv:2305.10425, and the hinge loss of TRL.
//!
//! ```text
//! loss = max(0, delta - margin) + lambda NLL(target),   margin = beta (h_chosen - h_rejected)
//! ```
//! A pair whose margin is at least `delta` has no gradient; at the kink it is 0, too. `hinge` holds the margin against the
//! reference, `slic` does not (`reference_free`), with beta 1 and the likelihood of a target as the anchor instead. The
//! target is the chosen response, or with `nll_on = reference` the third answer of each row, which is what SLiC-HF uses. That
//! likelihood is a sum, as the log-probabilities are; `nll_reduction` gives means. The default of lambda in `slic`, 0.1, is
//! not confirmed by the paper.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::nll::{Nll, NllReduction, per_token};
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::{check, unused};

/// Whose likelihood anchors the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NllTarget {
    /// The chosen response.
    #[default]
    Chosen,
    /// The third answer of each row.
    Reference,
}

/// Options of [`Hinge`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HingeConfig {
    /// What the margin is multiplied by; finite and above 0.
    pub beta: f64,
    /// The margin that is wanted; finite and above 0.
    pub delta: f64,
    /// Weight of the likelihood; finite and at least 0.
    pub lambda: f64,
    /// Whose likelihood.
    pub nll_on: NllTarget,
    /// How the likelihood is averaged.
    pub nll_reduction: NllReduction,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for HingeConfig {
    fn default() -> Self {
        Self {
            beta: DpoConfig::default().beta,
            delta: 1.0,
            lambda: 0.0,
            nll_on: NllTarget::Chosen,
            nll_reduction: NllReduction::Sum,
            scoring: Scoring::default(),
        }
    }
}

impl HingeConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<Hinge, PreferenceError> {
        let (delta, nll) = (self.delta, Nll::new("lambda", self.lambda, self.nll_reduction, NllReduction::Sum)?);
        check(0.0 < delta && delta.is_finite(), "delta", "finite and above 0", delta, "start from 1")?;
        if self.nll_on == NllTarget::Reference && nll.is_off() {
            return Err(unused("nll_on", "with a lambda of 0", "raise lambda, or leave nll_on out"));
        }
        Ok(Hinge { scorer: Scorer::new(self.beta, self.scoring)?, delta, nll, nll_on: self.nll_on })
    }
}

/// The hinge loss.
#[derive(Clone, Copy, Debug)]
pub struct Hinge {
    scorer: Scorer,
    delta: f64,
    nll: Nll,
    nll_on: NllTarget,
}

impl Objective for Hinge {
    fn needs(&self) -> Needs {
        let mut needs = self.nll.needs(self.scorer.needs());
        if self.nll_on == NllTarget::Reference {
            needs.kind = RowKind::Triples;
        }
        needs
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let rows = relu(self.scorer.margins(&scored).neg().add_scalar(self.delta)); // [pairs]
        let target = match self.nll_on {
            NllTarget::Chosen => scored.pairs.chosen.clone(),
            NllTarget::Reference => batch.gold()?,
        };
        let loss = self.scorer.finish(&scored, self.nll.add_to(rows, &target))?;
        Ok(if self.nll.is_off() { loss } else { loss.stat("nll_loss", per_token(&target)) })
    }
}
