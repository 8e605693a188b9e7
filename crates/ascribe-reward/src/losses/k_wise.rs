//! Bradley-Terry on several ranked responses of a prompt.
//!
//! ```text
//! loss = sum over i, j with q_i > q_j of -log sigmoid(r_i - r_j), divided by the number of such pairs
//! ```
//! The division is over all pairs of the optimizer window, as in the code of MORE (arXiv:2312.07401); `per_prompt` takes
//! the mean inside each prompt first (InstructGPT, arXiv:2203.02155, eq. 1), so that many responses do not dominate. A
//! quality of -1 says that a response is absent, others are at least 0; equal qualities are no pair. A prompt without a pair
//! counts nothing in the loss, and one half, as a tie does, in the accuracy.

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::nll;
use crate::error::{option, within};
use crate::math::tensor;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// The quality that stands for an absent response.
pub const ABSENT: f64 = -1.0;

/// Options of [`KWise`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KWiseConfig {
    /// Responses of a prompt; at least 2.
    pub responses: usize,
    /// Whether every prompt counts alike, however many pairs it has.
    pub per_prompt: bool,
}

impl Default for KWiseConfig {
    fn default() -> Self {
        Self { responses: 4, per_prompt: false }
    }
}

impl KWiseConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// For fewer than 2 responses.
    pub fn init(&self) -> Result<KWise, RewardError> {
        option("responses", "at least 2 for a ranking", self.responses as f64, self.responses >= 2)?;
        Ok(KWise { config: *self })
    }
}

/// The K-wise Bradley-Terry loss; a label for each response: its quality, or [`ABSENT`].
#[derive(Clone, Copy, Debug)]
pub struct KWise {
    config: KWiseConfig,
}

impl RewardLoss for KWise {
    fn needs(&self) -> ScoreNeeds {
        let k = self.config.responses;
        ScoreNeeds { responses: k, width: 1, labels: k, coupled: false }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (k, rows) = (self.config.responses, batch.rows());
        let sound = |quality: f64| quality >= 0.0 || quality == ABSENT;
        within("the quality of a response", batch.labels(), "at least 0, or -1 where it is absent", sound)?;
        // 1 where response i is to score above response j.
        let mut wins = Vec::with_capacity(rows * k * k);
        let mut counts = Vec::with_capacity(rows);
        for q in batch.labels().chunks(k) {
            let above = |i: usize, j: usize| q[i] > q[j] && q[j] >= 0.0;
            let row: Vec<f64> = (0..k * k).map(|at| f64::from(u8::from(above(at / k, at % k)))).collect();
            counts.push(row.iter().sum::<f64>());
            wins.extend(row);
        }
        let scores = batch.group(); // [rows, k]
        let wins = tensor(wins, [rows, k, k], &scores); // [rows, k, k]
        let d = scores.clone().unsqueeze_dim::<3>(2) - scores.clone().unsqueeze_dim::<3>(1); // [rows, k, k]
        let right = d.clone().detach().sign().add_scalar(1.0).div_scalar(2.0) * wins.clone(); // [rows, k, k]
        let right = right.sum_dim(2).sum_dim(1).reshape([rows]); // [rows]
        let sums = (nll(d) * wins).sum_dim(2).sum_dim(1).reshape([rows]); // [rows]
        let pairs = batch.constant(counts.clone()); // [rows]
        let paired = batch.constant(counts.iter().map(|count| count.min(1.0)).collect()); // [rows]
        let half = paired.clone().neg().add_scalar(1.0).mul_scalar(0.5); // [rows]
        let accuracies = right / pairs.clone().clamp_min(1.0) + half; // [rows]
        let loss = if self.config.per_prompt {
            Loss { rows: sums / pairs.clamp_min(1.0), weights: paired, stats: Vec::new() }
        } else {
            Loss { rows: sums, weights: pairs, stats: Vec::new() }
        };
        // Of the responses that are there.
        let there: Vec<f64> = batch.labels().iter().map(|quality| f64::from(u8::from(*quality >= 0.0))).collect();
        let there = batch.constants(there, k); // [rows, k]
        let mean = (scores * there.clone()).sum_dim(1) / there.sum_dim(1).clamp_min(1.0); // [rows, 1]
        let mean = mean.squeeze_dim::<1>(1); // [rows]
        Ok(loss.stat("rewards/mean", mean).stat("rewards/accuracies", accuracies))
    }
}
