//! Bradley-Terry on pairs of scores, with everything that a label can say of a pair.
//!
//! ```text
//! d = r_chosen - r_rejected - margin
//! loss = weight * [ p * -log sigmoid(d) + (1 - p) * -log sigmoid(-d) ] + centre * (r_chosen + r_rejected)^2
//! ```
//! | form | label | source |
//! |---|---|---|
//! | regular | p 1, margin 0, weight 1 | Learning to summarize, arXiv:2009.01325 |
//! | tie | p 1/2 | the same with a soft target |
//! | margin | margin = strength | Llama 2, arXiv:2307.09288; code of NeMo-Aligner |
//! | scaled | weight = strength | HelpSteer2-Preference, arXiv:2410.01257; code of NeMo-Aligner |
//! | label smoothing a | p = 1 - a | Secrets of RLHF II, arXiv:2401.06080, eq. 5 |
//! | adaptive margin | margin = mean vote | the same, eq. 6, with the margin inside the logarithm: as printed, outside, it has no gradient |
//!
//! The loss is a mean over pairs: weights are not renormalised, as in the code of NeMo-Aligner. The centring penalty
//! (arXiv:2312.09244, TRL) is off by default; 0.01 is the usual value. Departures: none.
//! Golden values: `reward/bradley_terry_trl.json`.

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::{cross_entropy, nll, with_stats};
use crate::error::{option, within};
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// What is known of a pair besides its order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairLabel {
    /// Probability that the first response is the better one; 1 for a plain pair, 1/2 for a tie.
    pub probability: f64,
    /// How much more the first response has to score; at least 0.
    pub margin: f64,
    /// What the pair counts for; at least 0.
    pub weight: f64,
}

impl PairLabel {
    /// The first response is better, and no more is known.
    pub const PLAIN: Self = Self { probability: 1.0, margin: 0.0, weight: 1.0 };

    /// Neither response is better.
    pub const TIE: Self = Self { probability: 0.5, ..Self::PLAIN };

    /// The margin form: a pair of this strength.
    pub fn margin(strength: f64) -> Self {
        Self { margin: strength, ..Self::PLAIN }
    }

    /// The scaled form: a pair of this strength.
    pub fn scaled(strength: f64) -> Self {
        Self { weight: strength, ..Self::PLAIN }
    }

    /// The label is wrong with probability `a`.
    pub fn smoothed(a: f64) -> Self {
        Self { probability: 1.0 - a, ..Self::PLAIN }
    }

    /// The labels of rows in the layout that [`ScoreBatch::with_labels`] takes.
    pub fn columns(labels: &[Self]) -> Vec<f64> {
        labels.iter().flat_map(|label| [label.probability, label.margin, label.weight]).collect()
    }
}

/// Options of [`BradleyTerry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BradleyTerryConfig {
    /// Weight of the centring penalty; finite and at least 0.
    pub centre: f64,
    /// Whether rows carry a [`PairLabel`].
    pub labelled: bool,
    /// Probability that a label is wrong, on top of what the label says itself; in [0, 1].
    pub smoothing: f64,
}

impl BradleyTerryConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless the weight of the penalty is finite and at least 0, and the smoothing in [0, 1].
    pub fn init(&self) -> Result<BradleyTerry, RewardError> {
        let accepted = 0.0 <= self.centre && self.centre.is_finite();
        option("centre", "finite and at least 0, such as 0.01", self.centre, accepted)?;
        option("smoothing", "in [0, 1], such as 0.1", self.smoothing, (0.0..=1.0).contains(&self.smoothing))?;
        Ok(BradleyTerry { config: *self })
    }
}

/// The Bradley-Terry loss.
#[derive(Clone, Copy, Debug)]
pub struct BradleyTerry {
    config: BradleyTerryConfig,
}

impl RewardLoss for BradleyTerry {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { labels: if self.config.labelled { 3 } else { 0 }, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (chosen, rejected) = (batch.score(0)?, batch.score(1)?); // [rows]
        let margins = chosen.clone() - rejected.clone(); // [rows]
        let a = self.config.smoothing;
        let mut rows = if self.config.labelled {
            let [p, margin, weight] = [batch.label(0), batch.label(1), batch.label(2)];
            within("the probability of a pair", &p, "in [0, 1]", |p| (0.0..=1.0).contains(&p))?;
            within("the margin of a pair", &margin, "at least 0", |margin| margin >= 0.0)?;
            within("the weight of a pair", &weight, "at least 0", |weight| weight >= 0.0)?;
            let d = margins - batch.constant(margin); // [rows]
            let p = p.into_iter().map(|p| a + (1.0 - 2.0 * a) * p).collect();
            batch.constant(weight) * cross_entropy(d, batch.constant(p)) // [rows]
        } else if a > 0.0 {
            nll(margins.clone()).mul_scalar(1.0 - a) + nll(margins.neg()).mul_scalar(a) // [rows]
        } else {
            nll(margins) // [rows]
        };
        if self.config.centre > 0.0 {
            rows = rows + (chosen.clone() + rejected.clone()).square().mul_scalar(self.config.centre);
        }
        Ok(with_stats(Loss::mean_of(rows), chosen, rejected))
    }
}
