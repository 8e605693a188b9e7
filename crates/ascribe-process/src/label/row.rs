//! Labels of steps as counts, and what is taught from them.
//!
//! A row keeps the raw counts, so hard, soft and progress labels all come out of one stored table:
//!
//! ```text
//! soft = c / k      hard = 1[c >= 1]      standard error = sqrt(p (1 - p) / k)      P(hard misses) = (1 - p)^k
//! ```

use std::ops::Range;

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::ProcessError;

/// What is known of the prefix that ends with one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRow {
    /// Number of the problem.
    pub problem: u64,
    /// How steps were cut: [`Segmenter::id`](crate::Segmenter::id).
    pub segmentation: String,
    /// Who completed the prefix.
    pub completer: String,
    /// Token ids of the response up to the end of the step.
    pub prefix: Tokens,
    /// Tokens of the step within the response.
    pub step: Range<usize>,
    /// Rollouts that end right, or 1 for a whole response that is right.
    pub correct: u32,
    /// All rollouts; 1 for a whole response.
    pub rollouts: u32,
    /// Rollouts that were cut by a limit; they count as wrong.
    pub truncated: u32,
    /// Rollouts whose verdict is not known; they count as wrong.
    pub undecided: u32,
    /// The prefix is a whole response (or follows from one), so that the counts are its outcome and not an estimate.
    pub exact: bool,
    /// The root of the randomness.
    pub seed: u64,
}

impl LabelRow {
    /// The share of rollouts that end right.
    pub fn soft(&self) -> f64 {
        f64::from(self.correct) / f64::from(self.rollouts.max(1))
    }

    /// Whether one rollout ends right.
    pub fn hard(&self) -> bool {
        self.correct > 0
    }

    /// Standard error of the soft label; 0 for an outcome.
    pub fn stderr(&self) -> f64 {
        let p = self.soft();
        if self.exact { 0.0 } else { (p * (1.0 - p) / f64::from(self.rollouts.max(1))).sqrt() }
    }

    pub(super) fn with(mut self, estimate: &Estimate) -> Self {
        self.correct = estimate.correct;
        self.rollouts = estimate.rollouts;
        self.truncated = estimate.truncated;
        self.undecided = estimate.undecided;
        self
    }
}

/// The chance that no one of `rollouts` ends right where one does with probability `p`: that a hard label misses.
///
/// # Errors
/// When `p` is not in [0, 1].
pub fn miss_probability(p: f64, rollouts: u32) -> Result<f64, ProcessError> {
    if !(0.0..=1.0).contains(&p) {
        return Err(ProcessError::range("the probability of a right rollout", "in [0, 1]", p));
    }
    Ok((1.0 - p).powf(f64::from(rollouts)))
}

/// What becomes of the labels behind the first wrong step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterError {
    /// They are absent: nothing is taught there, as in PRM800K's second phase.
    #[default]
    Mask,
    /// They are 0.
    Zero,
    /// They stay.
    Keep,
}

/// Whether a label is 0 or 1, or a probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Softness {
    /// The share of rollouts that end right.
    #[default]
    Soft,
    /// 1 if one does.
    Hard,
}

/// The labels of the steps of one response, in order; absent where nothing is taught.
///
/// # Errors
/// When rows of another segmentation than `segmentation` are among them.
pub fn targets(
    rows: &[LabelRow],
    segmentation: &str,
    softness: Softness,
    after: AfterError,
) -> Result<Vec<Option<f32>>, ProcessError> {
    if let Some(row) = rows.iter().find(|row| row.segmentation != segmentation) {
        let (expected, got) = (segmentation.to_owned(), row.segmentation.clone());
        return Err(ProcessError::Segmentation { expected, got });
    }
    let label = |row: &LabelRow| match softness {
        Softness::Hard => Some(f32::from(u8::from(row.hard()))),
        Softness::Soft => Some(row.soft() as f32),
    };
    Ok(after_first_error(&rows.iter().map(label).collect::<Vec<_>>(), after))
}

/// The labels of the steps of one response with what becomes of those behind the first wrong step, whose label is 0: no
/// rollout from it is right, or somebody says so.
pub fn after_first_error(labels: &[Option<f32>], after: AfterError) -> Vec<Option<f32>> {
    let first = labels.iter().position(|label| *label == Some(0.0));
    let label = |(at, label): (usize, &Option<f32>)| match (first.is_some_and(|first| at > first), after) {
        (true, AfterError::Mask) => None,
        (true, AfterError::Zero) => Some(0.0),
        _ => *label,
    };
    labels.iter().enumerate().map(label).collect()
}

/// The first step from which no rollout ends right.
pub fn first_error(rows: &[LabelRow]) -> Option<usize> {
    rows.iter().position(|row| !row.hard())
}

/// Whether rollouts and a judge name the same first wrong step, or both none. Labels on which they agree teach better.
pub fn consensus(rows: &[LabelRow], judged: Option<usize>) -> bool {
    first_error(rows) == judged
}
