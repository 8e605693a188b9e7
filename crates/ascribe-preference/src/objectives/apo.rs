//! Anchored preference optimization: arXiv:2408.06266, section 4.
//!
//! ```text
//! zero:  loss = sigmoid(-r_chosen) + sigmoid(r_rejected)
//! down:  loss = sigmoid(r_chosen) + sigmoid(r_rejected - r_chosen),          r = beta h
//! ```
//! Each side is held against the reference by itself, while DPO's margin can also grow by lowering both. *Zero* makes the
//! chosen response likelier and the rejected one less likely: for chosen responses that are better than what the model
//! writes. *Down* makes both less likely, the rejected one more: for chosen responses that are worse than that.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;

/// Which way the chosen response is anchored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// The chosen response becomes likelier.
    #[default]
    Zero,
    /// The chosen response becomes less likely, too.
    Down,
}

/// Options of [`Apo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Which way the chosen response is anchored.
    pub anchor: Anchor,
    /// How responses are scored; by the reverse KL divergence.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for ApoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, anchor: Anchor::Zero, scoring: Scoring::default() }
    }
}

impl ApoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for what does not go together.
    pub fn init(&self) -> Result<Apo, PreferenceError> {
        Ok(Apo { scorer: Scorer::by_sides("apo", self.beta, self.scoring)?, anchor: self.anchor })
    }
}

/// The APO loss.
#[derive(Clone, Copy, Debug)]
pub struct Apo {
    scorer: Scorer,
    anchor: Anchor,
}

impl Objective for Apo {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (chosen, rejected) = self.scorer.rewards(&scored); // [pairs]
        // 1 - sigmoid(x) is sigmoid(-x), which keeps its digits where x is large.
        let rows = match self.anchor {
            Anchor::Zero => sigmoid(chosen.neg()) + sigmoid(rejected),
            Anchor::Down => sigmoid(chosen.clone()) + sigmoid(rejected - chosen),
        }; // [pairs]
        self.scorer.finish(&scored, rows)
    }
}
