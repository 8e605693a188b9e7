//! Regression on rated attributes: HelpSteer2, arXiv:2406.08673; the code of NeMo-Aligner.
//!
//! ```text
//! loss = sum over rows and rated attributes of (a - t)^2, divided by the number of ratings
//! ```
//! A head gives one number an attribute; a rating of -100 is absent and has no gradient. The division is over all ratings
//! of the optimizer window. Ratings outside the declared scale are refused. How attributes become one reward:
//! [`Merge`](crate::Merge).

use ascribe_core::Loss;
use burn::tensor::{Bool, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::option;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// The rating that stands for an absent one.
pub const UNRATED: f64 = -100.0;

/// Options of [`Regression`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionConfig {
    /// Attributes that are rated; at least 1. HelpSteer2 has helpfulness, correctness, coherence, complexity, verbosity.
    pub attributes: usize,
    /// Lowest and highest rating; HelpSteer2 rates from 0 to 4.
    pub scale: [f64; 2],
}

impl Default for RegressionConfig {
    fn default() -> Self {
        Self { attributes: 5, scale: [0.0, 4.0] }
    }
}

impl RegressionConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Without an attribute, or when the scale is not finite and increasing.
    pub fn init(&self) -> Result<Regression, RewardError> {
        option("attributes", "at least 1", self.attributes as f64, self.attributes >= 1)?;
        let [low, high] = self.scale;
        option("the highest rating", "finite and above the lowest", high, low < high && (high - low).is_finite())?;
        Ok(Regression { config: *self })
    }
}

/// The masked mean squared error; a label for each attribute: its rating, or [`UNRATED`].
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    config: RegressionConfig,
}

impl RewardLoss for Regression {
    fn needs(&self) -> ScoreNeeds {
        let attributes = self.config.attributes;
        ScoreNeeds { responses: 1, width: attributes, labels: attributes, coupled: false }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (attributes, [low, high]) = (self.config.attributes, self.config.scale);
        let mut counts = Vec::with_capacity(batch.rows());
        for (row, ratings) in batch.labels().chunks(attributes).enumerate() {
            let rated: Vec<f64> = ratings.iter().copied().filter(|rating| *rating != UNRATED).collect();
            if rated.is_empty() {
                let rule = "every row needs a rated attribute; drop the rows without any";
                return Err(RewardError::Shape { rule, got: format!("none in row {row}") });
            }
            crate::error::within("a rating", &rated, "inside the declared scale", |x| (low..=high).contains(&x))?;
            counts.push(rated.len() as f64);
        }
        let absent: Vec<bool> = batch.labels().iter().map(|rating| *rating == UNRATED).collect();
        let predicted = batch.response(0)?; // [rows, attributes]
        let absent = TensorData::new(absent, [batch.rows(), attributes]);
        let absent = Tensor::<2, Bool>::from_data(absent, &predicted.device()); // [rows, attributes]
        let targets = batch.constants(batch.labels().to_vec(), attributes); // [rows, attributes]
        let errors = (predicted - targets).mask_fill(absent, 0.0); // [rows, attributes]
        let rows = errors.square().sum_dim(1).squeeze_dim::<1>(1); // [rows]
        let weights = batch.constant(counts); // [rows]
        let error = (rows.clone() / weights.clone()).detach().sqrt(); // [rows]
        Ok(Loss { rows, weights, stats: Vec::new() }.stat("attributes/error", error))
    }
}
