//! Agreement of a model's internal rewards: SCIR, arXiv:2502.08922.
//!
//! ```text
//! p_k = sigmoid(x_k), the probability that the first response is better by internal reward k
//! loss = consistency * sum_k KL(mean p || p_k) + confidence * sum_k H(p_k)
//! symmetric: consistency * mean over pairs k, l of KL(p_k || p_l)
//! ```
//! The mean is without gradient. The form of both terms is our derivation from the paper's words. Only pairs on which all
//! agree go on to preference training: [`unanimous`](crate::unanimous).

use ascribe_core::Loss;
use burn::tensor::{Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use super::pair::cross_entropy;
use crate::error::option;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// How disagreement is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disagreement {
    /// Divergence of each from the mean of all.
    #[default]
    FromMean,
    /// Divergence of each from each other.
    Symmetric,
}

/// Options of [`SelfConsistency`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfConsistencyConfig {
    /// Internal rewards of the model; at least 1.
    pub models: usize,
    /// Weight of their disagreement; finite and at least 0.
    pub consistency: f64,
    /// Weight of their entropies; finite and at least 0.
    pub confidence: f64,
    /// How disagreement is measured.
    pub disagreement: Disagreement,
}

impl Default for SelfConsistencyConfig {
    fn default() -> Self {
        Self { models: 2, consistency: 1.0, confidence: 0.1, disagreement: Disagreement::default() }
    }
}

impl SelfConsistencyConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is outside its range.
    pub fn init(&self) -> Result<SelfConsistency, RewardError> {
        option("models", "at least 1", self.models as f64, self.models >= 1)?;
        for (name, got) in [("consistency", self.consistency), ("confidence", self.confidence)] {
            option(name, "finite and at least 0", got, 0.0 <= got && got.is_finite())?;
        }
        Ok(SelfConsistency { config: *self })
    }
}

/// The loss of unlabelled pairs; a row has one score for each internal reward, the log-odds that its first response is
/// better.
#[derive(Clone, Copy, Debug)]
pub struct SelfConsistency {
    config: SelfConsistencyConfig,
}

/// Entropies of coins with log-odds `x`, of the shape of `x`.
fn entropy(x: Tensor<2>) -> Tensor<2> {
    cross_entropy(x.clone(), sigmoid(x))
}

impl RewardLoss for SelfConsistency {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: 1, width: self.config.models, labels: 0, coupled: false }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (k, rows) = (self.config.models, batch.rows());
        let x = batch.response(0)?; // [rows, k]
        let entropies = entropy(x.clone()).sum_dim(1).squeeze_dim::<1>(1); // [rows]
        let apart = match self.config.disagreement {
            Disagreement::FromMean => {
                let mean = sigmoid(x.clone()).mean_dim(1).detach(); // [rows, 1]
                let own = negentropy(mean.clone()) + negentropy(mean.clone().neg().add_scalar(1.0)); // [rows, 1]
                let cross = cross_entropy(x, mean.repeat_dim(1, k)).sum_dim(1).squeeze_dim::<1>(1); // [rows]
                cross + own.squeeze_dim::<1>(1).mul_scalar(k as f64)
            }
            Disagreement::Symmetric => {
                // Row i holds p_i, column j the log-odds x_j: the cross-entropy of j with i, less the entropy of i.
                let p = x.clone().unsqueeze_dim::<3>(2).repeat_dim(2, k); // [rows, k, k]
                let q = x.unsqueeze_dim::<3>(1).repeat_dim(1, k); // [rows, k, k]
                let cross = cross_entropy(q, sigmoid(p)).sum_dim(2).sum_dim(1).reshape([rows]); // [rows]
                (cross - entropies.clone().mul_scalar(k as f64)).div_scalar((k * k) as f64)
            }
        }; // [rows]
        let total =
            apart.clone().mul_scalar(self.config.consistency) + entropies.clone().mul_scalar(self.config.confidence); // [rows]
        Ok(Loss::mean_of(total).stat("consistency/divergence", apart).stat("consistency/entropy", entropies))
    }
}

/// `p ln p`, 0 at 0.
fn negentropy(p: Tensor<2>) -> Tensor<2> {
    p.clone() * p.clamp_min(1e-30).log()
}
