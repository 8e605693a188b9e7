//! Monte-Carlo labels of steps: Math-Shepherd, arXiv:2312.08935.
//!
//! ```text
//! for the prefix behind each step but the last: N completions, c = those that end right;   the last: its own outcome
//! ```
//! A strong completer repairs bad steps and a weak one fails after good ones, so the name of the completer travels with the
//! labels. Cost: `N (H - 1)` rollouts for a response of `H` steps.

use ascribe_core::Tokens;

use super::{Asked, Completer, LabelRow};
use crate::{ProcessError, Verdict};

/// A response to a problem, cut into steps.
#[derive(Clone, Copy, Debug)]
pub struct Solution<'a> {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the problem.
    pub prompt: &'a [u32],
    /// Token ids of the response.
    pub response: &'a [u32],
    /// Where each step ends, in tokens of the response: increasing, and the last at its end.
    pub ends: &'a [usize],
    /// How it was cut: [`Segmenter::id`](crate::Segmenter::id).
    pub segmentation: &'a str,
}

impl Solution<'_> {
    fn check(&self) -> Result<(), ProcessError> {
        let increasing = self.ends.is_sorted_by(|left, right| left < right) && self.ends.first() > Some(&0);
        if increasing && self.ends.last() == Some(&self.response.len()) {
            return Ok(());
        }
        let rule = "increasing, above 0, and the last the length of the response";
        Err(ProcessError::range("the ends of steps", rule, self.ends))
    }

    /// A row without counts for step `at`.
    pub(super) fn row(&self, at: usize, completer: &Completer) -> LabelRow {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        LabelRow {
            problem: self.problem,
            segmentation: self.segmentation.to_owned(),
            completer: completer.name().to_owned(),
            prefix: self.response[..self.ends[at]].into(),
            step: start..self.ends[at],
            correct: 0,
            rollouts: 0,
            truncated: 0,
            undecided: 0,
            exact: false,
            seed: completer.seed().0,
        }
    }
}

/// Labels of the steps of one response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepLabels {
    /// One row a step, in order; fewer when the caps were reached.
    pub rows: Vec<LabelRow>,
    /// The right continuations behind each row's prefix; empty for the last step.
    pub right: Vec<Vec<Tokens>>,
    /// The caps did not cover all steps.
    pub exhausted: bool,
}

/// Labels by so many rollouts from each prefix.
#[derive(Clone, Copy, Debug)]
pub struct MonteCarlo {
    rollouts: usize,
}

impl MonteCarlo {
    /// `rollouts` from each prefix, such as 8.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(rollouts: usize) -> Result<Self, ProcessError> {
        if rollouts == 0 {
            return Err(ProcessError::range("rollouts", "at least 1, such as 8", rollouts));
        }
        Ok(Self { rollouts })
    }

    /// The labels of a solution.
    ///
    /// # Errors
    /// When the steps do not cover the response, a prefix fills the context, or the policy or the outcome fails.
    pub fn label(&self, solution: &Solution, completer: &mut Completer) -> Result<StepLabels, ProcessError> {
        solution.check()?;
        let mut labels = StepLabels::default();
        let (_, inner) =
            solution.ends.split_last().ok_or(ProcessError::Empty { what: "the steps", remedy: "cut the response" })?;
        let asked: Vec<Asked> = inner
            .iter()
            .map(|end| Asked {
                problem: solution.problem,
                prompt: solution.prompt,
                prefix: &solution.response[..*end],
                n: self.rollouts,
                again: 0,
            })
            .collect();
        // All prefixes in one batch, or one by one as far as the caps reach.
        let estimates = match completer.estimate(&asked)? {
            Some(all) => all,
            None => {
                let mut some = Vec::new();
                for one in asked {
                    let Some(mut estimate) = completer.estimate(&[one])? else { break };
                    some.append(&mut estimate);
                }
                some
            }
        };
        labels.exhausted = estimates.len() < inner.len();
        for (at, estimate) in estimates.into_iter().enumerate() {
            labels.rows.push(solution.row(at, completer).with(&estimate));
            labels.right.push(estimate.right);
        }
        if !labels.exhausted {
            let verdict = completer.judge(solution.problem, solution.response)?;
            let row = solution.row(inner.len(), completer);
            let (correct, undecided) =
                (u32::from(verdict == Verdict::Correct), u32::from(verdict == Verdict::Undecided));
            labels.rows.push(LabelRow { correct, undecided, rollouts: 1, exact: true, ..row });
            labels.right.push(Vec::new());
        }
        Ok(labels)
    }
}
