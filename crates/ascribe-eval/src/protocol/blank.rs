//! Blank-ppl, BOSE's form of choice tasks (arXiv:2503.00812): the candidate that makes the filled statement least
//! perplexing is chosen. [`bench::blank_credit`](crate::bench::blank_credit) has the formula; which tokens enter is our
//! reading.

use ascribe_core::{Policy, Tokens};

use super::ask::{Question, option_logps};
use crate::EvalError;
use crate::bench::{Candidate, blank_credit};
use crate::error::{not_empty, option};

/// The statement before and behind its blank, which is a run of two underscores or more; `None` without one.
pub fn split_blank(statement: &str) -> Option<(&str, &str)> {
    let at = statement.find("__")?;
    Some((&statement[..at], statement[at..].trim_start_matches('_')))
}

/// A statement with its candidates, in token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct BlankItem {
    /// What stands before the blank, one token at least.
    pub before: Tokens,
    /// What may fill it, one token at least each.
    pub candidates: Vec<Tokens>,
    /// What stands behind it and counts too; empty to leave it out.
    pub following: Tokens,
    /// The right candidate.
    pub gold: usize,
}

/// The credit of each item: 1 when the right candidate is least perplexing, shared by ties, or 0. In [0, 1]; O(tokens)
/// beside the policy.
///
/// # Errors
/// When there is no item, one has no candidate or a gold that is none, a candidate has no token, or the policy cannot
/// score.
pub fn blank_credits(policy: &dyn Policy, items: &[BlankItem]) -> Result<Vec<f64>, EvalError> {
    for item in items {
        option("gold", "the index of a candidate", item.gold as f64, item.gold < item.candidates.len())?;
        for candidate in &item.candidates {
            not_empty("the tokens of a candidate", candidate)?;
        }
    }
    let questions: Vec<Question> = items
        .iter()
        .map(|item| {
            let filled = item.candidates.iter().map(|candidate| candidate.followed_by(&item.following));
            Question { prefix: item.before.clone(), options: filled.collect() }
        })
        .collect();
    let logps = option_logps(policy, &questions)?;
    items
        .iter()
        .zip(logps)
        .map(|(item, logps)| {
            let parts = item.candidates.iter().zip(logps).map(|(candidate, logps)| {
                let (own, following) = logps.split_at(candidate.len());
                Candidate { own: own.to_vec(), following: following.to_vec() }
            });
            blank_credit(&parts.collect::<Vec<_>>(), item.gold)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Plain, tokens};
    use super::*;

    #[test]
    fn a_blank_is_a_run_of_underscores() {
        assert_eq!(split_blank("Water boils at ____ degrees."), Some(("Water boils at ", " degrees.")));
        assert_eq!(split_blank("a_b"), None);
    }

    /// Mean log-probabilities -1.5 and -2: the first wins. With token 6 behind, (-1-2-6)/3 and (-2-6)/2: still the
    /// first.
    #[test]
    fn two_candidates() {
        let mut item = BlankItem {
            before: tokens(&[5]),
            candidates: vec![tokens(&[1, 2]), tokens(&[2])],
            following: tokens(&[]),
            gold: 0,
        };
        assert_eq!(blank_credits(&Plain, &[item.clone()]).unwrap(), [1.0]);
        item.following = tokens(&[6]);
        item.gold = 1;
        assert_eq!(blank_credits(&Plain, &[item.clone()]).unwrap(), [0.0]);
        item.gold = 2;
        assert!(matches!(blank_credits(&Plain, &[item]), Err(EvalError::Range { .. })));
    }
}
