//! A reward model that goes on telling the current policy's responses apart: MetaRM in Secrets of RLHF II, arXiv:2401.06080,
//! eq. 11 to 14.
//!
//! ```text
//! theta' = theta + eta grad J(theta),   J the mean spread of the rewards of each group of responses, which need no labels
//! the gradient of the loss at theta' is applied to theta
//! ```
//! First order, as in the paper: the way from theta to theta' has no part in the gradient. All groups are read once for each
//! optimizer step. The statistic `meta/spread` is J at theta; where it stays at its lower bound `(k - 1) / (2 k)` all rewards of
//! a group are equal, and J has no gradient.

use ascribe_core::Loss;
use ascribe_lm::Decoder;
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::optim::SgdConfig;

use super::{RewardLearner, RewardRow};
use crate::error::{not_empty, option, same_length};
use crate::losses::spread;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Trains a [`Decoder`] with a head of sequences by a loss at the weights that spread rewards more.
pub struct MetaLearner<'a> {
    learner: RewardLearner<'a>,
    groups: &'a [RewardRow],
    eta: f64,
}

impl<'a> MetaLearner<'a> {
    /// A learner that takes a step of the rate `eta` up the spread of the rewards of `groups`, and learns `loss` from there. A
    /// group is a prompt with as many responses of the current policy as the others, without labels.
    ///
    /// # Errors
    /// When the rate is not finite or below 0, there is no group, or one has fewer than 2 responses, another number than the
    /// first, labels, or a response without a token.
    pub fn new(loss: &'a dyn RewardLoss, groups: &'a [RewardRow], eta: f64) -> Result<Self, RewardError> {
        option("the rate of the meta step", "finite and at least 0", eta, 0.0 <= eta && eta.is_finite())?;
        not_empty("the groups", groups)?;
        let responses = groups.first().map_or(0, |group| group.responses.len());
        option("the responses of a group", "at least 2 for a spread", responses as f64, responses >= 2)?;
        for group in groups {
            same_length("the responses of a group", responses, group.responses.len())?;
            group.check(&Raise { responses }.needs())?;
        }
        Ok(Self { learner: RewardLearner { loss }, groups, eta })
    }
}

/// The spread of each group, to be raised.
struct Raise {
    responses: usize,
}

impl RewardLoss for Raise {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: self.responses, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let spread = spread(batch.group())?; // [groups]
        Ok(Loss::mean_of(spread.clone().neg()).stat("meta/spread", spread))
    }
}

impl Learner for MetaLearner<'_> {
    type Model = Decoder;
    type Row = RewardRow;

    fn learn(&self, model: &Decoder, rows: &[&RewardRow]) -> Result<Learned, TrainError> {
        self.learn_window(model, rows, rows.len())
    }

    fn measure(&self, model: &Decoder, rows: &[&RewardRow]) -> Result<Tally, TrainError> {
        self.learner.measure(model, rows)
    }

    fn learn_window(&self, model: &Decoder, rows: &[&RewardRow], batch: usize) -> Result<Learned, TrainError> {
        self.learn_window_at(model, rows, batch, 1.0)
    }

    fn learn_window_at(
        &self,
        model: &Decoder,
        rows: &[&RewardRow],
        batch: usize,
        progress: f64,
    ) -> Result<Learned, TrainError> {
        let groups: Vec<&RewardRow> = self.groups.iter().collect();
        let raise = Raise { responses: self.groups[0].responses.len() };
        let up = RewardLearner { loss: &raise }.learn_window(model, &groups, batch)?;
        // Down the negative spread by plain gradient descent; the gradients are of its sum over groups.
        let rate = self.eta / up.tally.weight;
        let moved = SgdConfig::new().init().step(rate, model.clone(), up.gradients);
        let Learned { gradients, mut tally } = self.learner.learn_window_at(&moved, rows, batch, progress)?;
        tally.tokens += up.tally.tokens;
        tally.stats.extend(up.tally.stats);
        Ok(Learned { gradients, tally })
    }

    fn measure_window(&self, model: &Decoder, rows: &[&RewardRow], batch: usize) -> Result<Tally, TrainError> {
        self.learner.measure_window(model, rows, batch)
    }
}
