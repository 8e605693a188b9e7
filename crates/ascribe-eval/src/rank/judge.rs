//! A pairwise judge asked in both orders.
//!
//! ```text
//! both orders name the same system: that one wins;  otherwise a draw of 0.5
//! ```
//! The swap inconsistency and the share of verdicts for the first place show how much of a judge is position bias.

use crate::error::{not_empty, same_length};
use crate::stats::sum::as_numbers;
use crate::{Bootstrap, Estimate, EvalError};

/// What a judge said of two answers in the order shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The one shown first is better.
    First,
    /// The one shown second is better.
    Second,
    /// Neither.
    Tie,
}

/// What both orders say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BothOrders {
    /// Win rate of the system that was shown first in the first order; draws count half.
    pub win_rate: Estimate,
    /// Share of pairs whose two verdicts do not agree.
    pub inconsistent: Estimate,
    /// Share of all verdicts for the answer shown first; 0.5 without position bias, ties counting half.
    pub first_position: Estimate,
}

/// Joins the verdicts of the order (A, B) with those of the order (B, A). In [0, 1]; a tie, and verdicts that disagree,
/// count half; O(B n).
///
/// # Errors
/// When the lengths differ or there is no pair.
pub fn both_orders(original: &[Verdict], swapped: &[Verdict], bootstrap: &Bootstrap) -> Result<BothOrders, EvalError> {
    not_empty("the verdicts", original)?;
    same_length("swapped", original.len(), swapped.len())?;
    let for_first = |verdict: Verdict| match verdict {
        Verdict::First => 1.0,
        Verdict::Second => 0.0,
        Verdict::Tie => 0.5,
    };
    let pairs = || original.iter().zip(swapped).map(|(&one, &other)| (for_first(one), for_first(other)));
    let wins: Vec<f64> = pairs().map(|(one, other)| if one == 1.0 - other { one } else { 0.5 }).collect();
    let inconsistent: Vec<bool> = pairs().map(|(one, other)| one != 1.0 - other).collect();
    let first: Vec<f64> = pairs().map(|(one, other)| 0.5 * (one + other)).collect();
    Ok(BothOrders {
        win_rate: bootstrap.mean(&wins)?,
        inconsistent: bootstrap.mean(&as_numbers(&inconsistent))?,
        first_position: bootstrap.mean(&first)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wins twice over, A and A's place only, a tie both times: (1 + 0.5 + 0.5)/3, one of three inconsistent.
    #[test]
    fn three_pairs() {
        use Verdict::{First, Second, Tie};
        let joined = both_orders(&[First, First, Tie], &[Second, First, Tie], &Bootstrap::NONE).unwrap();
        assert!((joined.win_rate.value - 2.0 / 3.0).abs() < 1e-15);
        assert!((joined.inconsistent.value - 1.0 / 3.0).abs() < 1e-15);
        assert!((joined.first_position.value - 2.0 / 3.0).abs() < 1e-15);
        assert!(matches!(both_orders(&[], &[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        assert!(matches!(both_orders(&[Tie], &[], &Bootstrap::NONE), Err(EvalError::Length { .. })));
    }
}
