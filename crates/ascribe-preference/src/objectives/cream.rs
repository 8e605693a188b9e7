//! Soft labels by consistency (CREAM): arXiv:2410.12735, eq. 9.
//!
//! ```text
//! loss = -C log sigmoid(margin) - (1 - C) log sigmoid(-margin),   margin = beta (h_chosen - h_rejected)
//! ```
//! `C` says how far two rankings of the responses agree, that of the policy and that of the one before it: 1 is DPO, 1/2
//! teaches nothing but to stay. It comes with each pair, or is one number for all (`consistency`: the mean over the data).

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`Cream`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreamConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// How far all pairs can be relied upon, in [0, 1]; absent, each pair says it.
    pub consistency: Option<f64>,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for CreamConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, consistency: None, scoring: Scoring::default() }
    }
}

impl CreamConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<Cream, PreferenceError> {
        let c = self.consistency.unwrap_or(1.0);
        check((0.0..=1.0).contains(&c), "consistency", "in [0, 1]", c, "1 is plain DPO")?;
        Ok(Cream { scorer: Scorer::new(self.beta, self.scoring)?, consistency: self.consistency })
    }
}

/// The CREAM loss.
#[derive(Clone, Copy, Debug)]
pub struct Cream {
    scorer: Scorer,
    consistency: Option<f64>,
}

impl Objective for Cream {
    fn needs(&self) -> Needs {
        let needs = self.scorer.needs();
        if self.consistency.is_none() { needs.with_consistency() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let margins = self.scorer.margins(&scored); // [pairs]
        let c = match self.consistency {
            Some(c) => margins.clone().detach().zeros_like().add_scalar(c),
            None => batch.consistency()?,
        }; // [pairs]
        let kept = log_sigmoid(margins.clone()) * c.clone(); // [pairs]
        let turned = log_sigmoid(margins.neg()) * c.clone().neg().add_scalar(1.0); // [pairs]
        Ok(self.scorer.finish(&scored, (kept + turned).neg())?.stat("cream/consistency", c))
    }
}
