//! Reward of agent trajectories: ARMAP, arXiv:2502.12130, its code.
//!
//! ```text
//! loss = mean of -log sigmoid(r+ - r-) + centre * |mean of (r+ + r-)|
//! ```
//! The absolute value is of the mean over the batch, so the window must be one batch; each row carries its part of it, with
//! the sign of the mean. Departures: none.

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::{nll, with_stats};
use crate::error::option;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Options of [`Trajectories`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrajectoriesConfig {
    /// Weight of the centring term; finite and at least 0.
    pub centre: f64,
}

impl Default for TrajectoriesConfig {
    fn default() -> Self {
        Self { centre: 1e-3 }
    }
}

impl TrajectoriesConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless the weight is finite and at least 0.
    pub fn init(&self) -> Result<Trajectories, RewardError> {
        let accepted = 0.0 <= self.centre && self.centre.is_finite();
        option("centre", "finite and at least 0, such as 0.001", self.centre, accepted)?;
        Ok(Trajectories { config: *self })
    }
}

/// Bradley-Terry on a trajectory that fulfils an intent and a similar one that does not.
#[derive(Clone, Copy, Debug)]
pub struct Trajectories {
    config: TrajectoriesConfig,
}

impl RewardLoss for Trajectories {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { coupled: true, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (good, bad) = (batch.score(0)?, batch.score(1)?); // [rows]
        let sums = good.clone() + bad.clone(); // [rows]
        let side = sums.clone().detach().mean().sign(); // [1]
        let rows = nll(good.clone() - bad.clone()) + (sums * side).mul_scalar(self.config.centre); // [rows]
        Ok(with_stats(Loss::mean_of(rows), good, bad))
    }
}
