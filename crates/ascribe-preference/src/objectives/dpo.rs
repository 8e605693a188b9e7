//! Direct preference optimization: arXiv:2305.18290, eq. 7; conservative DPO with label smoothing.
//!
//! ```text
//! loss = -(1 - e) log sigmoid(margin) - e log sigmoid(-margin),   margin = beta (h_chosen - h_rejected)
//! h    = log pi(y|x) - log pi_ref(y|x)
//! ```
//! Log-probabilities are summed, not averaged, over response tokens; `length_normalized` divides each side by its tokens
//! first (`sigmoid_norm` of TRL). `e`, the label smoothing, is the share of labels that are taken to be wrong (cDPO): the
//! loss is then least at `sigmoid(margin) = 1 - e` and not at infinity. Scores and statistics are those of
//! [`Scoring`](super::Scoring).

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use serde::{Deserialize, Serialize};

use super::scoring::{Scorer, Scoring, smoothed};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`Dpo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DpoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Share of labels that are taken to be wrong, in [0, 0.5].
    pub label_smoothing: f64,
    /// Divide the score of each response by its number of tokens.
    pub length_normalized: bool,
    /// How responses are scored.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for DpoConfig {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0, length_normalized: false, scoring: Scoring::default() }
    }
}

impl DpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the others.
    pub fn init(&self) -> Result<Dpo, PreferenceError> {
        let e = self.label_smoothing;
        check((0.0..=0.5).contains(&e), "label_smoothing", "in [0, 0.5]", e, "0 is plain DPO")?;
        let scorer = Scorer::new(self.beta, self.scoring)?;
        Ok(Dpo { scorer, label_smoothing: e, length_normalized: self.length_normalized })
    }
}

/// The DPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Dpo {
    scorer: Scorer,
    label_smoothing: f64,
    length_normalized: bool,
}

impl Objective for Dpo {
    fn needs(&self) -> Needs {
        self.scorer.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let margins = match self.length_normalized {
            false => self.scorer.margins(&scored),
            true => {
                let (chosen, rejected) = self.scorer.scores_per_token(&scored);
                (chosen - rejected).mul_scalar(self.scorer.beta())
            }
        }; // [pairs]
        self.scorer.finish(&scored, smoothed(margins, self.label_smoothing))
    }
}
