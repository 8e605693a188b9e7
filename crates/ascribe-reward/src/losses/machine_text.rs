//! Detection of machine text by a reward model: ReMoDetect, arXiv:2405.17382, its code.
//!
//! ```text
//! loss = mean over (machine, mixed, m), (machine, human, 1), (mixed, human, m) of
//!        weight * [ -log sigmoid(r_a - r_b) + l2 * (r_a^2 + r_b^2) / 2 ]
//! replay = 0.01 * sum over the replayed texts of (r(z) - r_0(z))^2
//! ```
//! Machine text is to score above its mixture with human text (a paraphrase by a model), and that above human text; m is
//! `mixed_weight`. [`replay`] holds the model to its first scores `r_0` on the preference data; it multiplies a sum, not a
//! mean, as the code does. Departures: none. The detector: [`Detector`](crate::Detector).

use ascribe_core::Loss;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::pair::{accuracies, nll};
use crate::error::{finite, option, same_length};
use crate::math::tensor;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Options of [`MachineText`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineTextConfig {
    /// What the two comparisons with mixed text count for; finite and at least 0.
    pub mixed_weight: f64,
    /// Weight of the squares of the scores; finite and at least 0.
    pub l2: f64,
}

impl Default for MachineTextConfig {
    fn default() -> Self {
        Self { mixed_weight: 0.35, l2: 0.01 }
    }
}

impl MachineTextConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is not finite or below 0.
    pub fn init(&self) -> Result<MachineText, RewardError> {
        for (name, got) in [("mixed_weight", self.mixed_weight), ("l2", self.l2)] {
            option(name, "finite and at least 0", got, 0.0 <= got && got.is_finite())?;
        }
        Ok(MachineText { config: *self })
    }
}

/// The order machine, mixed, human; these are the responses of a row.
#[derive(Clone, Copy, Debug)]
pub struct MachineText {
    config: MachineTextConfig,
}

impl RewardLoss for MachineText {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: 3, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (machine, mixed, human) = (batch.score(0)?, batch.score(1)?, batch.score(2)?); // [rows]
        let term = |a: &Tensor<1>, b: &Tensor<1>, weight: f64| {
            let squares = a.clone().square() + b.clone().square(); // [rows]
            (nll(a.clone() - b.clone()) + squares.mul_scalar(0.5 * self.config.l2)).mul_scalar(weight / 3.0)
        };
        let m = self.config.mixed_weight;
        let rows = term(&machine, &mixed, m) + term(&machine, &human, 1.0) + term(&mixed, &human, m); // [rows]
        let margins = machine.clone() - human.clone(); // [rows]
        let right = accuracies(&margins);
        Ok(Loss::mean_of(rows)
            .stat("rewards/machine", machine)
            .stat("rewards/mixed", mixed)
            .stat("rewards/human", human)
            .stat("rewards/margins", margins)
            .stat("rewards/accuracies", right))
    }
}

/// The replay term of each text, to be summed: `weight * (r - r_0)^2`, `[texts]`.
///
/// # Errors
/// When the lengths differ, a first score is NaN or infinite, or the weight is not finite or below 0.
pub fn replay(scores: Tensor<1>, initial: &[f64], weight: f64) -> Result<Tensor<1>, RewardError> {
    finite("the first scores", initial)?;
    same_length("the first scores", scores.dims()[0], initial.len())?;
    option("the replay weight", "finite and at least 0", weight, 0.0 <= weight && weight.is_finite())?;
    let initial = tensor(initial.to_vec(), [initial.len()], &scores); // [texts]
    Ok((scores - initial).square().mul_scalar(weight))
}
