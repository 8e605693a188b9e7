//! Stepwise outcome labels and refinement data: GLoRe, arXiv:2402.10963.
//!
//! ```text
//! l_i = 1 if any of K continuations from the prefix of step i is right,   l_H = the outcome
//! then  l_j <- max over i >= j of l_i    (who reaches a good state stood in one)
//! global    (problem, wrong draft) -> a right solution
//! local     wrong draft with a mark before its first bad step i -> the steps before i, and a right continuation of them
//! ```
//! The labels estimate whether the best policy could still succeed, `1[V* > 0]`, not the value of this one. A continuation
//! counts only if it uses the results of the prefix, where [`uses_results`] is what
//! [`Completer::accepting`](super::Completer::accepting) asks.

use ascribe_core::{Seed, Tokens};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{LabelRow, Solution, StepLabels};
use crate::ProcessError;

/// Each label is 1 if it or a later one is.
pub fn propagated(labels: &[bool]) -> Vec<bool> {
    let last = labels.iter().rposition(|label| *label);
    (0..labels.len()).map(|at| last.is_some_and(|last| at <= last)).collect()
}

/// Stepwise outcome labels of one response, propagated.
pub fn sorm_labels(rows: &[LabelRow]) -> Vec<bool> {
    propagated(&rows.iter().map(LabelRow::hard).collect::<Vec<_>>())
}

/// Numbers of the labels that are kept so that every length of prefix has as many of 1 as of 0, chosen by seed, increasing.
/// `labels` are (number of steps of the prefix, label).
pub fn balanced(labels: &[(usize, bool)], seed: Seed) -> Vec<usize> {
    let mut lengths: Vec<usize> = labels.iter().map(|(length, _)| *length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut kept = Vec::new();
    for length in lengths {
        let of = |wanted: bool| (0..labels.len()).filter(|at| labels[*at] == (length, wanted)).collect::<Vec<_>>();
        let (ones, zeros) = (of(true), of(false));
        let count = ones.len().min(zeros.len());
        let mut stream = seed.stream("balance", length as u64);
        for mut side in [ones, zeros] {
            for _ in 0..count {
                kept.push(side.swap_remove(stream.random_range(0..side.len())));
            }
        }
    }
    kept.sort_unstable();
    kept
}

/// Whether every number that follows `=` in the prefix occurs in the continuation.
pub fn uses_results(prefix: &str, continuation: &str) -> bool {
    let used: Vec<&str> = numbers(continuation).collect();
    prefix.split('=').skip(1).all(|behind| {
        let behind = behind.trim_start_matches([' ', '$']);
        match numbers(behind).next() {
            Some(result) if behind.starts_with(result) => used.contains(&result),
            _ => true,
        }
    })
}

/// The numbers of a text, without signs.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
    pieces.map(|piece| piece.trim_matches('.')).filter(|piece| !piece.is_empty())
}

/// A wrong draft, and what it should become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refinement {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the draft.
    pub draft: Tokens,
    /// The token before which the mark stands: the first of the first bad step. Without one the refinement is global.
    pub bad_from: Option<usize>,
    /// Token ids of the refined response.
    pub refined: Tokens,
}

impl Refinement {
    /// A local refinement: it keeps what stands before the mark word by word.
    ///
    /// # Errors
    /// When it does not, or the mark lies behind the draft.
    pub fn local(problem: u64, draft: Tokens, bad_from: usize, refined: Tokens) -> Result<Self, ProcessError> {
        let kept = draft.get(..bad_from).is_some_and(|kept| refined.starts_with(kept));
        if !kept {
            let rule = "the draft up to its first bad step, and then a continuation";
            return Err(ProcessError::range("a local refinement", rule, &refined[..]));
        }
        Ok(Self { problem, draft, bad_from: Some(bad_from), refined })
    }

    /// The draft with a mark before its first bad step; a global one has none.
    pub fn marked(&self, mark: u32) -> Tokens {
        match self.bad_from {
            Some(at) => [&self.draft[..at], &[mark], &self.draft[at..]].concat().into(),
            None => self.draft.clone(),
        }
    }
}

/// Every wrong draft with a right solution of the same problem, drawn by seed; none when there is no right one.
pub fn global_refinements(problem: u64, wrong: &[Tokens], right: &[Tokens], seed: Seed) -> Vec<Refinement> {
    if right.is_empty() {
        return Vec::new();
    }
    let mut stream = seed.stream("global refinements", problem);
    let refinement = |draft: &Tokens| {
        let refined = right[stream.random_range(0..right.len())].clone();
        Refinement { problem, draft: draft.clone(), bad_from: None, refined }
    };
    wrong.iter().map(refinement).collect()
}

/// A wrong draft whose first bad step is not its first, with each right continuation of the steps before it.
///
/// # Errors
/// Never for labels of this solution.
pub fn local_refinements(draft: &Solution, labels: &StepLabels) -> Result<Vec<Refinement>, ProcessError> {
    let good = sorm_labels(&labels.rows);
    let wrong = !labels.exhausted && good.last() == Some(&false);
    let Some(bad) = good.iter().position(|good| !good).filter(|bad| wrong && *bad > 0) else { return Ok(Vec::new()) };
    let from = draft.ends[bad - 1];
    let kept = Tokens::from(&draft.response[..from]);
    let refinement =
        |rest: &Tokens| Refinement::local(draft.problem, draft.response.into(), from, kept.followed_by(rest));
    labels.right[bad - 1].iter().map(refinement).collect()
}
