//! Reward training against overconfidence, PPO-M: arXiv:2410.09724, its code.
//!
//! ```text
//! loss = -log sigmoid(r(chosen, high) - r(chosen, low)) - log sigmoid(r(rejected, low) - r(rejected, high))
//!        [ - log sigmoid(r(chosen) - r(rejected)) with `combined` ]
//! ```
//! Each response of a pair ends with a stated confidence, once high and once low: [`with_confidence`](crate::with_confidence).
//! Responses of a row: chosen high, chosen low, rejected high, rejected low, and with `combined` chosen and rejected
//! without a confidence. Departures: none.

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::{accuracies, nll};
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Confident answers must be right: high confidence on the chosen response, low on the rejected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfidencePairs {
    /// Whether the pair without confidences is taught as well.
    pub combined: bool,
}

impl RewardLoss for ConfidencePairs {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: if self.combined { 6 } else { 4 }, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let chosen = batch.score(0)? - batch.score(1)?; // [rows]
        let rejected = batch.score(3)? - batch.score(2)?; // [rows]
        let mut rows = nll(chosen.clone()) + nll(rejected.clone()); // [rows]
        let (right_chosen, right_rejected) = (accuracies(&chosen), accuracies(&rejected));
        let mut plain = None;
        if self.combined {
            let margins = batch.score(4)? - batch.score(5)?; // [rows]
            rows = rows + nll(margins.clone());
            plain = Some(margins);
        }
        let loss =
            Loss::mean_of(rows).stat("confidence/chosen", right_chosen).stat("confidence/rejected", right_rejected);
        Ok(match plain {
            Some(margins) => {
                let right = accuracies(&margins);
                loss.stat("rewards/margins", margins).stat("rewards/accuracies", right)
            }
            None => loss,
        })
    }
}
