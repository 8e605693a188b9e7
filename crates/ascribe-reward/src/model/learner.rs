//! Trains a decoder with a head of sequences by any loss on its scores.
//!
//! Responses are read as the decoder's pooling says, and the prompt that those of a row share is read once. A loss whose rows
//! depend on each other ([`ScoreNeeds::coupled`](crate::ScoreNeeds)) takes all rows of an optimizer window through the model at
//! once. A loss that changes on the way (`weak-to-strong`) is told how much of training is done where the loop says so; measured
//! is what it is at the end.

use ascribe_core::Loss;
use ascribe_lm::{Decoder, Row, ScorePass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::tensor::Tensor;

use crate::{RewardError, RewardLoss, RewardRow, ScoreBatch};

/// Trains a [`Decoder`] with a head of sequences by any [`RewardLoss`].
pub struct RewardLearner<'a> {
    /// The loss.
    pub loss: &'a dyn RewardLoss,
}

impl RewardLearner<'_> {
    /// What the decoder is asked for: the first response of all rows, then the second, and so on.
    pub(super) fn asked<'r>(&self, rows: &[&'r RewardRow]) -> Result<Vec<Row<'r>>, RewardError> {
        let needs = self.loss.needs();
        rows.iter().try_for_each(|row| row.check(&needs))?;
        let mut asked = Vec::with_capacity(needs.responses * rows.len());
        for at in 0..needs.responses {
            asked.extend(rows.iter().map(|row| Row { prompt: &row.prompt, response: &row.responses[at] }));
        }
        Ok(asked)
    }

    /// The loss of scores `[responses * rows, width]`, when so much of training is done.
    pub(super) fn loss(&self, rows: &[&RewardRow], scores: Tensor<2>, progress: f64) -> Result<Loss, RewardError> {
        self.loss.loss(&self.batch(rows, scores, progress)?)
    }

    fn batch(&self, rows: &[&RewardRow], scores: Tensor<2>, progress: f64) -> Result<ScoreBatch, RewardError> {
        let needs = self.loss.needs();
        let batch = ScoreBatch::new(needs.responses, scores)?.with_progress(progress)?;
        match needs.labels {
            0 => Ok(batch),
            _ => batch.with_labels(rows.iter().flat_map(|row| row.labels.iter().copied()).collect()),
        }
    }

    fn learn_at(&self, model: &Decoder, rows: &[&RewardRow], progress: f64) -> Result<Learned, TrainError> {
        let asked = self.asked(rows)?;
        let ScorePass { scores, backward } = model.score_pass(&asked)?;
        let batch = self.batch(rows, scores, progress)?;
        let loss = self.loss.loss(&batch)?;
        self.loss.observe(&batch)?;
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: Tally::of(loss, size(&asked)) })
    }
}

/// Tokens of prompts and responses.
pub(super) fn size(rows: &[Row]) -> u64 {
    rows.iter().map(|row| (row.prompt.len() + row.response.len()) as u64).sum()
}

impl Learner for RewardLearner<'_> {
    type Model = Decoder;
    type Row = RewardRow;

    fn learn(&self, model: &Decoder, rows: &[&RewardRow]) -> Result<Learned, TrainError> {
        self.learn_at(model, rows, 1.0)
    }

    fn measure(&self, model: &Decoder, rows: &[&RewardRow]) -> Result<Tally, TrainError> {
        let asked = self.asked(rows)?;
        let scores = model.row_scores(&asked)?; // [responses * rows, width]
        Ok(Tally::of(self.loss(rows, scores, 1.0)?, size(&asked)))
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
        let batch = if self.loss.needs().coupled { rows.len() } else { batch };
        Learned::in_batches(model, rows, batch, |rows| self.learn_at(model, rows, progress))
    }

    fn tokens(&self, rows: &[&RewardRow]) -> Option<usize> {
        if self.loss.needs().coupled {
            return None;
        }
        Some(self.asked(rows).map_or(0, |asked| Row::packed_tokens(&asked)))
    }

    fn measure_window(&self, model: &Decoder, rows: &[&RewardRow], batch: usize) -> Result<Tally, TrainError> {
        // Without gradients the scores are all that has to be held, whatever the loss.
        let (mut by_response, mut tokens) = (vec![Vec::new(); self.loss.needs().responses], 0);
        for rows in rows.chunks(batch.max(1)) {
            let asked = self.asked(rows)?;
            let scores = model.row_scores(&asked)?; // [responses * rows, width]
            for (at, parts) in by_response.iter_mut().enumerate() {
                parts.push(scores.clone().narrow(0, at * rows.len(), rows.len()));
            }
            tokens += size(&asked);
        }
        let scores = Tensor::cat(by_response.into_iter().flatten().collect(), 0); // [responses * rows, width]
        Ok(Tally::of(self.loss(rows, scores, 1.0)?, tokens))
    }

    fn memory(&self) -> Vec<u64> {
        self.loss.memory().into_iter().map(f64::to_bits).collect()
    }

    fn remember(&self, memory: &[u64]) -> Result<(), TrainError> {
        let memory: Vec<f64> = memory.iter().map(|bits| f64::from_bits(*bits)).collect();
        Ok(self.loss.remember(&memory)?)
    }
}
