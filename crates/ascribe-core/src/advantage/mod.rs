//! Advantages: how much better than expected each token of a response was, for responses that were drawn together.
//!
//! All of it is host data in f64 and ragged as the responses are: no gradient flows through an advantage, and sums on the
//! host have one order, so a run that is resumed finds the same bits on every device.

mod constraints;
mod gae;
mod keep;
mod leave_one_step_out;
mod macro_gae;
mod oreal;
mod outcome;
mod segments;
mod verdict;
mod whiten;

use std::ops::Range;

pub use constraints::Constraints;
pub use gae::{Gae, gae, returns_to_go};
pub use keep::Keep;
pub use leave_one_step_out::LeaveOneStepOut;
pub use macro_gae::{MacroActions, MacroGae, MacroReward, MacroValue, macro_gae};
pub use oreal::{Oreal, TokenWeighting, token_weights};
pub use outcome::{Baseline, Outcome, dead_groups, standardize, weighted_sum};
pub use segments::{Level, Segments};
pub use verdict::Verdict;
pub use whiten::{Mean, Normalize, Variance, whiten};

use crate::CoreError;

/// A response that the policy wrote, with what an estimator may know of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graded {
    /// Number of its prompt: responses to one prompt share it.
    pub group: usize,
    /// Score of the whole response; `None` where nothing could judge it.
    pub score: Option<f64>,
    /// What each response token earned besides: process rewards where their step ends, a penalty for leaving the
    /// reference. One a response token.
    pub rewards: Vec<f64>,
    /// Value before each response token; empty without a critic.
    pub values: Vec<f64>,
    /// Steps, or macro actions, as ranges of response tokens; empty where the response was not segmented.
    pub steps: Vec<Range<usize>>,
    /// Turns of the policy as ranges of response tokens; empty means that the response is one turn.
    pub turns: Vec<Range<usize>>,
    /// Score of the most likely response to the same prompt.
    pub greedy: Option<f64>,
    /// Score of the response without each of its steps; one a step.
    pub without_step: Vec<f64>,
}

impl Graded {
    /// A response of `tokens` tokens with a score, of which nothing else is known.
    pub fn scored(group: usize, score: f64, tokens: usize) -> Self {
        Self { group, score: Some(score), rewards: vec![0.0; tokens], ..Self::default() }
    }

    /// Number of response tokens.
    pub fn tokens(&self) -> usize {
        self.rewards.len()
    }

    /// Score and rewards together.
    pub fn total(&self) -> Option<f64> {
        self.score.map(|score| score + self.rewards.iter().sum::<f64>())
    }

    /// The rewards with the score, or what takes its place, on the last token.
    fn paid(&self, score: f64) -> Vec<f64> {
        let mut rewards = self.rewards.clone();
        if let Some(last) = rewards.last_mut() {
            *last += score;
        }
        rewards
    }

    fn check(&self, needs: GradeNeeds) -> Result<(), CoreError> {
        let n = self.tokens();
        if n == 0 {
            return Err(CoreError::EmptyResponse);
        }
        if needs.values && self.values.len() != n {
            let (what, expected, got) = ("the values of a rollout", n, self.values.len());
            return Err(CoreError::Length { what, expected, got });
        }
        let mut numbers = self.rewards.iter().chain(&self.values).chain(&self.score).chain(&self.without_step);
        if let Some(got) = numbers.find(|number| !number.is_finite()) {
            return Err(CoreError::Range { name: "a reward or value", rule: "finite", got: *got });
        }
        for spans in [&self.steps, &self.turns] {
            let mut end = 0;
            for span in spans {
                let sound = end <= span.start && span.start < span.end && span.end <= n;
                if !sound {
                    return Err(CoreError::Span { tokens: n, start: span.start, end: span.end });
                }
                end = span.end;
            }
        }
        Ok(())
    }
}

/// What an estimator must know of each response, besides its rewards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GradeNeeds {
    /// Values before each token.
    pub values: bool,
    /// The score of the most likely response.
    pub greedy: bool,
    /// The score of the response without each of its steps.
    pub without_steps: bool,
    /// Several responses to each prompt.
    pub group: bool,
    /// Rewards where they were earned, instead of one score for all of them.
    pub placed: bool,
}

impl GradeNeeds {
    /// Several responses to each prompt, and nothing else.
    pub fn of_group() -> Self {
        Self { group: true, ..Self::default() }
    }

    /// Values before each token, and rewards where they were earned.
    pub fn of_values() -> Self {
        Self { values: true, placed: true, ..Self::default() }
    }
}

/// Advantages of one response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advantage {
    /// Advantage of each response token; empty where the response is left out of the loss.
    pub tokens: Vec<f64>,
    /// What the value before each token should have been; empty where the estimator has no critic.
    pub returns: Vec<f64>,
}

/// A way to say, of responses drawn together, how much better than expected each of their tokens was.
pub trait AdvantageEstimator: Send + Sync {
    /// What must be known of each response.
    fn needs(&self) -> GradeNeeds {
        GradeNeeds::default()
    }

    /// Advantages of each response, in the order of `rollouts`.
    ///
    /// # Errors
    /// When a response lacks what [`AdvantageEstimator::needs`] names, or an option is out of its range.
    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError>;
}

fn check_all(rollouts: &[Graded], needs: GradeNeeds) -> Result<(), CoreError> {
    rollouts.iter().try_for_each(|rollout| rollout.check(needs))
}

/// Checks a discount or a trace decay.
fn check_fraction(name: &'static str, got: f64) -> Result<(), CoreError> {
    match (0.0..=1.0).contains(&got) {
        true => Ok(()),
        false => Err(CoreError::Range { name, rule: "in [0, 1]", got }),
    }
}

/// Places of the members of each group, groups in the order of their first member.
fn groups(rollouts: &[Graded]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = Vec::new();
    let mut members: std::collections::HashMap<usize, Vec<usize>> = std::collections::HashMap::new();
    for (at, rollout) in rollouts.iter().enumerate() {
        let group = members.entry(rollout.group).or_default();
        if group.is_empty() {
            order.push(rollout.group);
        }
        group.push(at);
    }
    order.iter().filter_map(|group| members.remove(group)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
