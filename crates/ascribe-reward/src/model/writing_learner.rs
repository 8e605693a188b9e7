//! Trains a model that writes before it scores: the language-model loss of what it writes, and any loss on the scores of pairs,
//! of one pass.
//!
//! ```text
//! loss = score_weight * L(r_chosen, r_rejected) + lm_weight * (NLL(chosen) + NLL(rejected)),   mean over pairs
//! NLL = sum_t w_t (-log p_t) / sum_t w_t over the tokens that are taught; 0 for a text without any
//! ```
//! MM-RLHF (arXiv:2502.10391, its code): both weights 1, the critiques are taught; a pair without critiques adds 0. Themis
//! (arXiv:2310.01045, its code): `CE + 0.5 L`, the calls and the rationale are taught; CE is here the mean over the two traces of
//! a pair, so both weights are 0.5. A loss on scores whose rows depend on each other takes the whole optimizer window at once.

use ascribe_core::{Loss, Tokens};
use ascribe_lm::{Backward, Decoder, JointPass, Row};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::tensor::Tensor;

use super::learner::size;
use super::{RewardRow, WrittenText};
use crate::error::{option, same_length};
use crate::math::{tensor, widened};
use crate::{RewardError, RewardLoss, ScoreBatch};

/// A row of a loss on scores, with what of its responses is taught.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenRow {
    /// Prompt, responses up to where their scores are read, and labels.
    pub row: RewardRow,
    /// What each token of each response counts for in the language-model loss: finite and at least 0.
    pub weights: Vec<Vec<f32>>,
}

impl WrittenRow {
    /// The row of texts that share a prompt: of a pair the chosen one, then the rejected one.
    ///
    /// # Errors
    /// Without a text, or when their prompts differ.
    pub fn new(texts: Vec<WrittenText>, labels: Vec<f64>, line: usize) -> Result<Self, RewardError> {
        let Some(prompt) = texts.first().map(|text| text.prompt.clone()) else {
            return Err(RewardError::Empty { what: "the texts of a row" });
        };
        if texts.iter().any(|text| text.prompt != prompt) {
            let rule = "the texts of a row must share their prompt";
            return Err(RewardError::Shape { rule, got: format!("several in line {line}") });
        }
        let (responses, weights): (Vec<Tokens>, Vec<Vec<f32>>) =
            texts.into_iter().map(|text| (Tokens::from(text.response), text.weights)).unzip();
        Ok(Self { row: RewardRow { prompt: prompt.into(), responses, labels, line }, weights })
    }

    fn check(&self) -> Result<(), RewardError> {
        same_length("the weights of a row", self.row.responses.len(), self.weights.len())?;
        for (response, weights) in self.row.responses.iter().zip(&self.weights) {
            same_length("the weights of a response", response.len(), weights.len())?;
            let wrong = weights.iter().find(|weight| !(0.0..f32::INFINITY).contains(*weight));
            option(
                "the weight of a token",
                "finite and at least 0",
                wrong.copied().unwrap_or(0.0).into(),
                wrong.is_none(),
            )?;
        }
        Ok(())
    }
}

/// Trains a [`Decoder`] with scores beside the next token.
pub struct WritingLearner<'a> {
    loss: &'a dyn RewardLoss,
    score_weight: f64,
    lm_weight: f64,
}

/// What a batch gave, before the loss is taken.
struct Passed {
    /// `[responses * rows, width]`
    scores: Tensor<2>,
    /// The language-model loss of each row, `[rows]`.
    nll: Tensor<1>,
    tokens: u64,
}

impl<'a> WritingLearner<'a> {
    /// A learner of `loss` and of the language-model loss, with their weights.
    ///
    /// # Errors
    /// When a weight is not finite or below 0, or both are 0.
    pub fn new(loss: &'a dyn RewardLoss, score_weight: f64, lm_weight: f64) -> Result<Self, RewardError> {
        for (name, got) in [("score_weight", score_weight), ("lm_weight", lm_weight)] {
            option(name, "finite and at least 0", got, 0.0 <= got && got.is_finite())?;
        }
        option("score_weight + lm_weight", "above 0", 0.0, score_weight + lm_weight > 0.0)?;
        Ok(Self { loss, score_weight, lm_weight })
    }

    /// One pass of the rows: the first response of all rows, then the second, and so on.
    fn pass(&self, model: &Decoder, rows: &[&WrittenRow]) -> Result<(Passed, Backward), TrainError> {
        let responses = self.loss.needs().responses;
        let (mut asked, mut places, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            row.row.check(&self.loss.needs())?;
            row.check()?;
        }
        for at in 0..responses {
            for (number, row) in rows.iter().enumerate() {
                let (response, weights) = (&row.row.responses[at], &row.weights[at]);
                asked.push(Row { prompt: &row.row.prompt, response });
                let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
                let taught: Vec<usize> = (0..weights.len()).filter(|place| weights[*place] > 0.0).collect();
                shares.extend(taught.iter().map(|place| (number, f64::from(weights[*place]) / total)));
                places.push(taught);
            }
        }
        let tokens = size(&asked);
        let JointPass { scores, logps, backward } = model.joint_pass(&asked, &places)?;
        let nll = match logps {
            None => scores.zeros_like().sum_dim(1).squeeze_dim::<1>(1).narrow(0, 0, rows.len()), // [rows]
            Some(logps) => {
                let taught = shares.len();
                let mut mixed = vec![0.0; rows.len() * taught];
                for (column, (row, share)) in shares.into_iter().enumerate() {
                    mixed[row * taught + column] = share;
                }
                let mixed: Tensor<2> = tensor(mixed, [rows.len(), taught], &logps); // [rows, taught]
                mixed.matmul(logps.neg().unsqueeze_dim::<2>(1)).squeeze_dim::<1>(1) // [rows]
            }
        };
        // As the scores are: losses are summed in f32.
        Ok((Passed { scores, nll: widened(nll), tokens }, backward))
    }

    /// The loss of both.
    fn loss(&self, rows: &[&WrittenRow], passed: Passed, progress: f64) -> Result<Loss, RewardError> {
        let needs = self.loss.needs();
        let mut batch = ScoreBatch::new(needs.responses, passed.scores)?.with_progress(progress)?;
        if needs.labels > 0 {
            batch = batch.with_labels(rows.iter().flat_map(|row| row.row.labels.iter().copied()).collect())?;
        }
        let Loss { rows, weights, stats } = self.loss.loss(&batch)?;
        let nll = passed.nll;
        let both = rows.mul_scalar(self.score_weight) + nll.clone().mul_scalar(self.lm_weight) * weights.clone(); // [rows]
        Ok(Loss { rows: both, weights, stats }.stat("nll_loss", nll))
    }

    fn learn_at(&self, model: &Decoder, rows: &[&WrittenRow], progress: f64) -> Result<Learned, TrainError> {
        let (passed, backward) = self.pass(model, rows)?;
        let tokens = passed.tokens;
        let loss = self.loss(rows, passed, progress)?;
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: Tally::of(loss, tokens) })
    }
}

impl Learner for WritingLearner<'_> {
    type Model = Decoder;
    type Row = WrittenRow;

    fn learn(&self, model: &Decoder, rows: &[&WrittenRow]) -> Result<Learned, TrainError> {
        self.learn_at(model, rows, 1.0)
    }

    fn measure(&self, model: &Decoder, rows: &[&WrittenRow]) -> Result<Tally, TrainError> {
        self.measure_window(model, rows, rows.len())
    }

    fn learn_window(&self, model: &Decoder, rows: &[&WrittenRow], batch: usize) -> Result<Learned, TrainError> {
        self.learn_window_at(model, rows, batch, 1.0)
    }

    fn learn_window_at(
        &self,
        model: &Decoder,
        rows: &[&WrittenRow],
        batch: usize,
        progress: f64,
    ) -> Result<Learned, TrainError> {
        let batch = if self.loss.needs().coupled { rows.len() } else { batch };
        Learned::in_batches(model, rows, batch, |rows| self.learn_at(model, rows, progress))
    }

    fn tokens(&self, rows: &[&WrittenRow]) -> Option<usize> {
        if self.loss.needs().coupled {
            return None;
        }
        let mut asked = Vec::new();
        for row in rows {
            for response in &row.row.responses {
                asked.push(Row { prompt: &row.row.prompt, response });
            }
        }
        Some(Row::packed_tokens(&asked))
    }

    fn measure_window(&self, model: &Decoder, rows: &[&WrittenRow], batch: usize) -> Result<Tally, TrainError> {
        // Without gradients scores and losses are all that has to be held, whatever the loss.
        let (mut by_response, mut losses, mut tokens) = (vec![Vec::new(); self.loss.needs().responses], Vec::new(), 0);
        for rows in rows.chunks(batch.max(1)) {
            let (passed, _) = self.pass(model, rows)?;
            for (at, parts) in by_response.iter_mut().enumerate() {
                parts.push(passed.scores.clone().narrow(0, at * rows.len(), rows.len()));
            }
            losses.push(passed.nll);
            tokens += passed.tokens;
        }
        let scores = Tensor::cat(by_response.into_iter().flatten().collect(), 0); // [responses * rows, width]
        let nll = Tensor::cat(losses, 0); // [rows]
        Ok(Tally::of(self.loss(rows, Passed { scores, nll, tokens }, 1.0)?, tokens))
    }
}
