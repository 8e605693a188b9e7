//! The seam to every loss on scores: what a head gives a batch of responses in, one loss a row out.
//!
//! It is to a score head what `Objective` of `ascribe-core` is to log-probabilities, and its losses are the same [`Loss`]:
//! sums of rows with weights, divided once by the training loop.

use ascribe_core::Loss;
use burn::tensor::Tensor;

use crate::RewardError;
use crate::error::finite;
use crate::math::{tensor, widened};

/// What a loss needs of the head and of the rows. Whoever trains builds both accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreNeeds {
    /// Responses of a row: 1; 2 for a pair, chosen then rejected; more where the loss says so.
    pub responses: usize,
    /// Numbers that the head gives a response.
    pub width: usize,
    /// Numbers that are known of a row beforehand.
    pub labels: usize,
    /// Whether the loss of a row depends on the other rows, so that the whole optimizer window must be one batch.
    pub coupled: bool,
}

impl ScoreNeeds {
    /// One score for each of two responses, and nothing else.
    pub const PAIR: Self = Self { responses: 2, width: 1, labels: 0, coupled: false };
}

/// Scores of the responses of a batch of rows, with what is known of the rows; checked once and trusted after.
#[derive(Clone, Debug)]
pub struct ScoreBatch {
    scores: Tensor<2>,
    responses: usize,
    labels: Vec<f64>,
    progress: f64,
}

impl ScoreBatch {
    /// A batch of `scores` `[responses * rows, width]`: the first response of all rows, then the second of all rows, and
    /// so on. Half precision is widened, so losses are summed in f32.
    ///
    /// # Errors
    /// When there is no row, no score, or a row lacks a response.
    pub fn new(responses: usize, scores: Tensor<2>) -> Result<Self, RewardError> {
        let [n, width] = scores.dims();
        if !(responses > 0 && n > 0 && width > 0 && n.is_multiple_of(responses)) {
            let rule = "a batch needs one row at least, and scores for each response of a row";
            let got = format!("{n} rows of {width} scores, where a row has {responses} responses");
            return Err(RewardError::Shape { rule, got });
        }
        Ok(Self { scores: widened(scores), responses, labels: Vec::new(), progress: 1.0 })
    }

    /// The same batch with as many labels for each row, row by row.
    ///
    /// # Errors
    /// When a label is NaN or infinite, or the rows have not equally many.
    pub fn with_labels(mut self, labels: Vec<f64>) -> Result<Self, RewardError> {
        finite("the labels", &labels)?;
        if !labels.len().is_multiple_of(self.rows()) {
            let rule = "every row needs as many labels as the others";
            return Err(RewardError::Shape { rule, got: format!("{} labels for {} rows", labels.len(), self.rows()) });
        }
        self.labels = labels;
        Ok(self)
    }

    /// The same batch at another point of training, from 0 at its start to 1 at its end; for losses that change on the way.
    ///
    /// # Errors
    /// Unless `progress` is in [0, 1].
    pub fn with_progress(mut self, progress: f64) -> Result<Self, RewardError> {
        crate::error::option("progress", "in [0, 1]", progress, (0.0..=1.0).contains(&progress))?;
        self.progress = progress;
        Ok(self)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.scores.dims()[0] / self.responses
    }

    /// How much of training is done, from 0 to 1.
    pub fn progress(&self) -> f64 {
        self.progress
    }

    /// Checks that the batch has what a loss needs.
    ///
    /// # Errors
    /// When it has not.
    pub fn check(&self, needs: &ScoreNeeds) -> Result<(), RewardError> {
        let got = [self.responses, self.scores.dims()[1], self.labels.len() / self.rows()];
        if got == [needs.responses, needs.width, needs.labels] {
            return Ok(());
        }
        let rule = "this loss needs rows of other responses, scores or labels; ask its `needs()`";
        let shown = |[responses, width, labels]: [usize; 3]| {
            format!("{responses} responses of {width} scores and {labels} labels")
        };
        let needed = shown([needs.responses, needs.width, needs.labels]);
        Err(RewardError::Shape { rule, got: format!("{} instead of {needed}", shown(got)) })
    }

    /// Scores of response `at` of every row, `[rows, width]`.
    ///
    /// # Errors
    /// When a row has fewer responses.
    pub fn response(&self, at: usize) -> Result<Tensor<2>, RewardError> {
        if at >= self.responses {
            let rule = "a response is named by its index in the row";
            return Err(RewardError::Shape { rule, got: format!("{at} of {} responses", self.responses) });
        }
        let rows = self.rows();
        Ok(self.scores.clone().narrow(0, at * rows, rows)) // [rows, width]
    }

    /// The first score of response `at` of every row, `[rows]`.
    ///
    /// # Errors
    /// As [`response`](Self::response).
    pub fn score(&self, at: usize) -> Result<Tensor<1>, RewardError> {
        Ok(self.response(at)?.narrow(1, 0, 1).squeeze_dim::<1>(1)) // [rows]
    }

    /// The first score of every response, `[rows, responses]`.
    pub fn group(&self) -> Tensor<2> {
        let by_response = self.scores.clone().narrow(1, 0, 1).reshape([self.responses, self.rows()]);
        by_response.transpose() // [rows, responses]
    }

    /// All labels, row by row; empty without any.
    pub fn labels(&self) -> &[f64] {
        &self.labels
    }

    /// Label `at` of every row.
    pub fn label(&self, at: usize) -> Vec<f64> {
        let of_a_row = self.labels.len() / self.rows();
        self.labels.iter().skip(at).step_by(of_a_row.max(1)).copied().collect()
    }

    /// One value a row as a tensor beside the scores, `[rows]`.
    pub fn constant(&self, values: Vec<f64>) -> Tensor<1> {
        let n = values.len();
        tensor(values, [n], &self.scores)
    }

    /// One value for each row and column as a tensor beside the scores, `[rows, columns]`.
    pub fn constants(&self, values: Vec<f64>, columns: usize) -> Tensor<2> {
        tensor(values, [self.rows(), columns], &self.scores)
    }
}

/// A loss over scores: pure and differentiable.
pub trait RewardLoss: Send + Sync {
    /// What the head and the rows must give.
    fn needs(&self) -> ScoreNeeds;

    /// Loss, weight and statistics of each row.
    ///
    /// # Errors
    /// When the batch has not what [`RewardLoss::needs`] names, or a label is outside its range.
    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError>;

    /// Learns what the loss has of its own, a temperature say, from an optimizer window whose loss was taken. A loss that does
    /// is coupled, so that it sees the whole window.
    ///
    /// # Errors
    /// As [`RewardLoss::loss`].
    fn observe(&self, _window: &ScoreBatch) -> Result<(), RewardError> {
        Ok(())
    }

    /// What was learned, for a checkpoint; nothing for a loss that is what its options say.
    fn memory(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Takes back what [`RewardLoss::memory`] gave.
    ///
    /// # Errors
    /// When it is the memory of another loss.
    fn remember(&self, memory: &[f64]) -> Result<(), RewardError> {
        match memory {
            [] => Ok(()),
            _ => {
                let rule = "a loss without memory takes none back";
                Err(RewardError::Shape { rule, got: format!("{} numbers", memory.len()) })
            }
        }
    }
}
