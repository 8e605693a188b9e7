//! Majority and weighted votes over normalised answers: self-consistency, arXiv:2203.11171.
//!
//! ```text
//! maj@k: the answer that most of the first k samples give;  weighted: the answer whose samples have the largest total
//! ```
//! Answers that could not be read do not vote. If nobody votes, the problem is wrong.

use std::collections::HashMap;

use crate::EvalError;
use crate::error::{not_empty, option, same_length, within};
use crate::stats::sum::sum;

/// Who wins a tied vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoteTies {
    /// The answer that appeared first.
    #[default]
    First,
    /// Each of them in equal parts.
    Split,
}

/// The winning answers and their share of the credit, which sums to 1; empty when nobody votes.
fn winners<'a>(answers: &[Option<&'a str>], weights: impl Fn(usize) -> f64, ties: VoteTies) -> Vec<(&'a str, f64)> {
    let mut totals: Vec<(&str, f64)> = Vec::new();
    let mut number = HashMap::new();
    for (index, answer) in answers.iter().enumerate() {
        let Some(answer) = *answer else { continue };
        let slot = *number.entry(answer).or_insert_with(|| {
            totals.push((answer, 0.0));
            totals.len() - 1
        });
        totals[slot].1 += weights(index);
    }
    let most = totals.iter().map(|&(_, total)| total).fold(f64::NEG_INFINITY, f64::max);
    let mut best: Vec<(&str, f64)> = totals.into_iter().filter(|&(_, total)| total == most).collect();
    if ties == VoteTies::First {
        best.truncate(1);
    }
    let credit = 1.0 / best.len() as f64;
    best.iter_mut().for_each(|(_, share)| *share = credit);
    best
}

/// The answer of most of the first `k` samples, the first to appear on ties; `None` when nobody votes. O(k).
///
/// # Errors
/// Unless `1 <= k <= answers`.
pub fn majority<'a>(answers: &[Option<&'a str>], k: usize) -> Result<Option<&'a str>, EvalError> {
    checked(answers.len(), k)?;
    Ok(winners(&answers[..k], |_| 1.0, VoteTies::First).first().map(|&(answer, _)| answer))
}

/// The answer with the largest total weight, the first to appear on ties; `None` when nobody votes. O(n).
///
/// # Errors
/// When the lengths differ, there is no answer, or a weight is negative, NaN or infinite.
pub fn weighted_majority<'a>(answers: &[Option<&'a str>], weights: &[f64]) -> Result<Option<&'a str>, EvalError> {
    not_empty("the answers", answers)?;
    same_length("weights", answers.len(), weights.len())?;
    within("weights", weights, "at least 0; map rewards to ranks or through a sigmoid", |weight| weight >= 0.0)?;
    Ok(winners(answers, |index| weights[index], VoteTies::First).first().map(|&(answer, _)| answer))
}

/// Whether the vote of the first `k` samples is `gold`: the share of the winners that are. In [0, 1]; `ties` says who
/// wins among equal counts; O(k).
///
/// # Errors
/// Unless `1 <= k <= answers`.
pub fn maj_at_k(answers: &[Option<&str>], gold: &str, k: usize, ties: VoteTies) -> Result<f64, EvalError> {
    checked(answers.len(), k)?;
    let winners = winners(&answers[..k], |_| 1.0, ties);
    Ok(sum(winners.iter().filter(|&&(answer, _)| answer == gold).map(|&(_, share)| share)))
}

fn checked(answers: usize, k: usize) -> Result<(), EvalError> {
    option("k", "at least 1 and at most the answers", k as f64, (1..=answers).contains(&k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_silent_samples() {
        let answers = [Some("2"), None, Some("3"), Some("3"), Some("2")];
        assert_eq!(majority(&answers, 4).unwrap(), Some("3"));
        assert_eq!(majority(&answers, 5).unwrap(), Some("2"));
        assert_eq!(maj_at_k(&answers, "3", 5, VoteTies::First).unwrap(), 0.0);
        assert_eq!(maj_at_k(&answers, "3", 5, VoteTies::Split).unwrap(), 0.5);
        assert_eq!(majority(&[None], 1).unwrap(), None);
        assert_eq!(maj_at_k(&[None], "3", 1, VoteTies::First).unwrap(), 0.0);
        assert_eq!(weighted_majority(&answers, &[0.1, 9.0, 0.5, 0.2, 0.4]).unwrap(), Some("3"));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(majority(&[Some("1")], 2), Err(EvalError::Range { name: "k", .. })));
        assert!(matches!(majority(&[], 0), Err(EvalError::Range { name: "k", .. })));
        assert!(matches!(weighted_majority(&[Some("1")], &[-1.0]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(weighted_majority(&[], &[]), Err(EvalError::Empty { .. })));
    }
}
