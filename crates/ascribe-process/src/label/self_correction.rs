//! Two attempts at one problem, and what the second is worth: SCoRe, arXiv:2409.12917.
//!
//! ```text
//! y1 ~ pi(. | x),  y2 ~ pi(. | x, y1, "there may be an error, revise")
//! turn 1 earns R1,   turn 2 earns R2 + a (R2 - R1)          a = 10 in the paper
//! ```
//! The bonus pays for mending and fines breaking, so that a copy of the first attempt earns nothing more.

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use super::{Asked, Completer};
use crate::ProcessError;

/// Two attempts and their outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the first attempt.
    pub first: Tokens,
    /// Token ids of the second.
    pub second: Tokens,
    /// Whether the first is right.
    pub first_right: bool,
    /// Whether the second is.
    pub second_right: bool,
}

impl Trace {
    /// What each turn earns with a bonus of `bonus` times the change.
    pub fn rewards(&self, bonus: f64) -> [f64; 2] {
        let [first, second] = [self.first_right, self.second_right].map(|right| f64::from(u8::from(right)));
        [first, second + bonus * (second - first)]
    }
}

/// `n` first attempts, right ones first, each with one second attempt; `None` when the caps do not cover them. `revise` makes
/// the ids of the second turn's prompt out of the first attempt; an attempt whose second prompt fills the context is left
/// out, so there may be fewer traces.
///
/// # Errors
/// When there is no attempt, the problem fills the context, or the policy or the outcome fails.
pub fn traces(
    problem: u64,
    prompt: &[u32],
    n: usize,
    revise: &dyn Fn(&[u32]) -> Result<Tokens, ProcessError>,
    completer: &mut Completer,
) -> Result<Option<Vec<Trace>>, ProcessError> {
    if n == 0 {
        return Err(ProcessError::range("the number of attempts", "at least 1", n));
    }
    let Some(mut firsts) = completer.estimate(&[Asked { problem, prompt, prefix: &[], n, again: 0 }])? else {
        return Ok(None);
    };
    let first = firsts.pop().unwrap_or_default();
    let right = first.right.into_iter().map(|tokens| (tokens, true));
    let attempts: Vec<(Tokens, bool)> = right.chain(first.wrong.into_iter().map(|tokens| (tokens, false))).collect();
    let (mut prompts, mut answered): (Vec<(u64, Tokens)>, Vec<(Tokens, bool)>) = (Vec::new(), Vec::new());
    for (again, attempt) in (1..).zip(attempts) {
        let prompt = revise(&attempt.0)?;
        if prompt.len() < completer.context() {
            prompts.push((again, prompt));
            answered.push(attempt);
        }
    }
    let asked: Vec<Asked> =
        prompts.iter().map(|(again, prompt)| Asked { problem, prompt, prefix: &[], n: 1, again: *again }).collect();
    let Some(seconds) = completer.estimate(&asked)? else { return Ok(None) };
    let trace = |((first, first_right), second): ((Tokens, bool), super::Estimate)| {
        let second_right = second.correct > 0;
        let second = second.right.into_iter().chain(second.wrong).next().unwrap_or_default();
        Trace { problem, first, second, first_right, second_right }
    };
    Ok(Some(answered.into_iter().zip(seconds).map(trace).collect()))
}

/// Which traces teach by imitation, as in STaR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Imitate {
    /// From wrong to right.
    #[default]
    Mended,
    /// From anything to right.
    EndsRight,
}

/// The traces that teach by imitation.
pub fn imitated(traces: &[Trace], imitate: Imitate) -> Vec<&Trace> {
    let teaches = |trace: &&Trace| trace.second_right && (imitate == Imitate::EndsRight || !trace.first_right);
    traces.iter().filter(teaches).collect()
}

/// Wrong and right samples of one problem as traces of two turns: each wrong one with each right one.
pub fn paired(problem: u64, wrong: &[Tokens], right: &[Tokens]) -> Vec<Trace> {
    let trace = |first: &Tokens, second: &Tokens| Trace {
        problem,
        first: first.clone(),
        second: second.clone(),
        first_right: false,
        second_right: true,
    };
    wrong.iter().flat_map(|first| right.iter().map(move |second| trace(first, second))).collect()
}
