//! Trains a decoder by any loss on its places.
//!
//! One pass reads all places of a response, and a prompt that rows share is read once. No row depends on another, so a
//! window may be cut into any batches.

use ascribe_core::Loss;
use ascribe_lm::{Decoder, Row, ScorePass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::tensor::Tensor;

use super::{ProcessHead, ProcessLoss, ProcessRow};
use crate::ProcessError;

/// Trains a [`Decoder`] with the head that is named.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessLearner {
    /// The head of the decoder.
    pub head: ProcessHead,
    /// The loss.
    pub loss: ProcessLoss,
}

/// What the decoder is asked for.
struct Asked<'r> {
    rows: Vec<Row<'r>>,
    places: Vec<Vec<usize>>,
    tokens: u64,
}

impl ProcessLearner {
    fn asked<'r>(&self, model: &Decoder, rows: &[&'r ProcessRow]) -> Result<Asked<'r>, ProcessError> {
        self.head.check(model.config())?;
        rows.iter().try_for_each(|row| row.check())?;
        let (rows, places): (Vec<Row>, Vec<Vec<usize>>) = rows.iter().flat_map(|row| row.read()).unzip();
        let tokens = rows.iter().map(|row| (row.prompt.len() + row.response.len()) as u64).sum();
        Ok(Asked { rows, places, tokens })
    }

    /// The loss of what the head says at all places: `[places, outputs]`.
    fn loss(&self, rows: &[&ProcessRow], scores: Tensor<2>) -> Result<Loss, ProcessError> {
        let labels: Vec<&[f64]> = rows.iter().map(|row| row.labels.as_slice()).collect();
        self.loss.of(self.head.logits(scores), &labels)
    }
}

impl Learner for ProcessLearner {
    type Model = Decoder;
    type Row = ProcessRow;

    fn learn(&self, model: &Decoder, rows: &[&ProcessRow]) -> Result<Learned, TrainError> {
        let asked = self.asked(model, rows)?;
        let ScorePass { scores, backward } = model.place_pass(&asked.rows, &asked.places)?;
        let loss = self.loss(rows, scores)?;
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: Tally::of(loss, asked.tokens) })
    }

    fn tokens(&self, rows: &[&ProcessRow]) -> Option<usize> {
        let texts: Vec<Row> = rows.iter().flat_map(|row| row.read()).map(|(text, _)| text).collect();
        Some(Row::packed_tokens(&texts))
    }

    fn measure(&self, model: &Decoder, rows: &[&ProcessRow]) -> Result<Tally, TrainError> {
        let asked = self.asked(model, rows)?;
        let scores = model.place_scores(&asked.rows, &asked.places)?; // [places, outputs]
        Ok(Tally::of(self.loss(rows, scores)?, asked.tokens))
    }
}
