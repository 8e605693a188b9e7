//! A reward model that is tuned further and held to its first scores of the pairs that it learned from: the replay of ReMoDetect,
//! arXiv:2405.17382, its code.
//!
//! ```text
//! loss = mean over rows of [ L(row) + weight * sum over both texts z of the row's replayed pair of (r(z) - r_0(z))^2 ]
//! ```
//! The code takes one row and one replayed pair a step, and multiplies the sum over the pair's texts. Every row brings a pair
//! along, so with batches of one this is the code's loss, and it does not change with the size of a batch. What is measured is `L`
//! alone.

use ascribe_core::Loss;
use ascribe_lm::Decoder;
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;

use super::{RewardLearner, RewardRow};
use crate::error::option;
use crate::losses::replay;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// A row, with a pair that is replayed beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayRow {
    /// What is learned.
    pub row: RewardRow,
    /// A pair of the earlier training; its two labels are the first scores of its texts.
    pub replayed: RewardRow,
}

/// Trains a [`Decoder`] with a head of one score that is held to its first scores.
pub struct ReplayLearner<'a> {
    learner: RewardLearner<'a>,
    hold: Hold,
}

/// How far two texts have left their first scores.
struct Hold {
    weight: f64,
}

impl RewardLoss for Hold {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { labels: 2, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let side = |at: usize| -> Result<Tensor<1>, RewardError> {
            replay(batch.score(at)?, &batch.label(at), self.weight) // [rows]
        };
        let rows = side(0)? + side(1)?; // [rows]
        Ok(Loss::mean_of(rows.clone()).stat("replay/loss", rows))
    }
}

impl<'a> ReplayLearner<'a> {
    /// A learner of `loss` with so much weight on the replay; 0.01 in the code.
    ///
    /// # Errors
    /// When the weight is not finite or below 0, or the loss needs more than one score.
    pub fn new(loss: &'a dyn RewardLoss, weight: f64) -> Result<Self, RewardError> {
        option("the replay weight", "finite and at least 0", weight, 0.0 <= weight && weight.is_finite())?;
        let width = loss.needs().width;
        option("the scores of a model that is held to its first ones", "1", width as f64, width == 1)?;
        Ok(Self { learner: RewardLearner { loss }, hold: Hold { weight } })
    }
}

fn own<'r>(rows: &[&'r ReplayRow]) -> Vec<&'r RewardRow> {
    rows.iter().map(|row| &row.row).collect()
}

impl Learner for ReplayLearner<'_> {
    type Model = Decoder;
    type Row = ReplayRow;

    fn learn(&self, model: &Decoder, rows: &[&ReplayRow]) -> Result<Learned, TrainError> {
        self.learn_window(model, rows, rows.len())
    }

    fn measure(&self, model: &Decoder, rows: &[&ReplayRow]) -> Result<Tally, TrainError> {
        self.learner.measure(model, &own(rows))
    }

    fn learn_window(&self, model: &Decoder, rows: &[&ReplayRow], batch: usize) -> Result<Learned, TrainError> {
        self.learn_window_at(model, rows, batch, 1.0)
    }

    fn learn_window_at(
        &self,
        model: &Decoder,
        rows: &[&ReplayRow],
        batch: usize,
        progress: f64,
    ) -> Result<Learned, TrainError> {
        let Learned { gradients, mut tally } = self.learner.learn_window_at(model, &own(rows), batch, progress)?;
        let replayed: Vec<&RewardRow> = rows.iter().map(|row| &row.replayed).collect();
        let held = RewardLearner { loss: &self.hold }.learn_window(model, &replayed, batch)?;
        let mut sums = GradientsAccumulator::new();
        sums.accumulate(model, gradients);
        sums.accumulate(model, held.gradients);
        // Of the weights those of the rows alone: a row and its pair are divided by together.
        tally.loss += held.tally.loss;
        tally.tokens += held.tally.tokens;
        tally.stats.extend(held.tally.stats);
        Ok(Learned { gradients: sums.grads(), tally })
    }

    fn measure_window(&self, model: &Decoder, rows: &[&ReplayRow], batch: usize) -> Result<Tally, TrainError> {
        self.learner.measure_window(model, &own(rows), batch)
    }
}
