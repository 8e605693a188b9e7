//! Identity preference optimization: arXiv:2310.12036, eq. 17.
//!
//! ```text
//! loss = (h_chosen - h_rejected - 1 / (2 beta))^2,   h = (log pi(y|x) - log pi_ref(y|x)) / tokens of y
//! ```
//! Where DPO pushes a pair apart for ever, IPO has a margin that it wants: past `1 / (2 beta)` the gradient turns. The paper
//! calls beta tau and sums over tokens, as the original DPO code does; its authors' results, and TRL, use the mean over the
//! tokens of each side, which is the default here. `length_normalized = false` gives the sum. Rewards are those of
//! [`Scoring`](super::Scoring), over sums.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;

/// Options of [`Ipo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpoConfig {
    /// Half the inverse of the margin that is wanted; finite and above 0.
    pub beta: f64,
    /// Divide the score of each response by its number of tokens.
    pub length_normalized: bool,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for IpoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, length_normalized: true, scoring: Scoring::default() }
    }
}

impl IpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<Ipo, PreferenceError> {
        Ok(Ipo { scorer: Scorer::new(self.beta, self.scoring)?, length_normalized: self.length_normalized })
    }
}

/// The IPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Ipo {
    scorer: Scorer,
    length_normalized: bool,
}

impl Objective for Ipo {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (chosen, rejected) = match self.length_normalized {
            true => self.scorer.scores_per_token(&scored),
            false => self.scorer.scores(&scored),
        }; // [pairs]
        self.scorer.finish(&scored, (chosen - rejected).sub_scalar(0.5 / self.scorer.beta()).square())
    }
}
