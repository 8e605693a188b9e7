//! Pairs with ties: MM-RLHF, arXiv:2502.10391, its code.
//!
//! ```text
//! loss = mean over pairs of -log sigmoid(r_1 - r_2) + tie_weight * mean over ties of (r_1 - r_2)^2
//!        + centre * mean over both of (r_1 + r_2)^2
//! ```
//! The two means are over their own rows, so each row is scaled by `rows / rows of its kind` and the window must be one
//! batch; a batch of ties alone has no Bradley-Terry term. The critique's language-model term is
//! [`WritingLearner`](crate::WritingLearner)'s.

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::{nll, with_stats};
use crate::error::{option, within};
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Options of [`Ties`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TiesConfig {
    /// What the ties count for; finite and at least 0.
    pub tie_weight: f64,
    /// Weight of the centring penalty, as in [`BradleyTerryConfig`](super::BradleyTerryConfig); finite and at least 0.
    pub centre: f64,
}

impl Default for TiesConfig {
    fn default() -> Self {
        Self { tie_weight: 1.0, centre: 0.0 }
    }
}

impl TiesConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless both weights are finite and at least 0.
    pub fn init(&self) -> Result<Ties, RewardError> {
        for (name, got) in [("tie_weight", self.tie_weight), ("centre", self.centre)] {
            option(name, "finite and at least 0", got, 0.0 <= got && got.is_finite())?;
        }
        Ok(Ties { config: *self })
    }
}

/// Bradley-Terry on pairs and squares on ties; the label of a row is 1 for a tie and 0 for a pair.
#[derive(Clone, Copy, Debug)]
pub struct Ties {
    config: TiesConfig,
}

impl RewardLoss for Ties {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { labels: 1, coupled: true, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let ties = batch.label(0);
        within("the tie flag of a pair", &ties, "0 or 1", |tie| tie == 0.0 || tie == 1.0)?;
        let (n, tied) = (ties.len() as f64, ties.iter().sum::<f64>());
        let share = |kind: f64, of: f64, times: f64| -> Vec<f64> {
            ties.iter().map(|tie| if *tie == kind { times * n / of } else { 0.0 }).collect()
        };
        let (pairs, ties) = (share(0.0, n - tied, 1.0), share(1.0, tied, self.config.tie_weight)); // [rows]
        let (first, second) = (batch.score(0)?, batch.score(1)?); // [rows]
        let d = first.clone() - second.clone(); // [rows]
        let mut rows = nll(d.clone()) * batch.constant(pairs) + d.square() * batch.constant(ties); // [rows]
        if self.config.centre > 0.0 {
            rows = rows + (first.clone() + second.clone()).square().mul_scalar(self.config.centre);
        }
        Ok(with_stats(Loss::mean_of(rows), first, second))
    }
}
