//! How far two successive models rank the same samples alike: CREAM's consistency, arXiv:2410.12735.
//!
//! ```text
//! C = mean over prompts of (tau-b + 1)/2
//! ```
//! Departure: the release ranks ties by position; here they are ties. A prompt whose scores are all equal is skipped.

use super::kendall::Concordance;
use crate::error::{finite, not_empty, same_length};
use crate::estimate::Averaged;
use crate::{Bootstrap, EvalError};

/// The consistency of `first` and `second`, the scores of each prompt's samples by two models. In [0, 1]; tied scores
/// leave the scale; O(n log n + B prompts).
///
/// # Errors
/// When the lengths differ, a score is NaN or infinite, there is no prompt, or none has scores that differ.
pub fn ranking_consistency(
    first: &[Vec<f64>],
    second: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<Averaged, EvalError> {
    not_empty("the prompts", first)?;
    same_length("second", first.len(), second.len())?;
    let mut values = Vec::with_capacity(first.len());
    for (first, second) in first.iter().zip(second) {
        finite("first", first)?;
        same_length("the samples of second", first.len(), second.len())?;
        finite("second", second)?;
        values.push(Concordance::count(first, second).tau_b().ok().map(|tau| 0.5 * (tau + 1.0)));
    }
    Averaged::new(&values, bootstrap, "ranking consistency", "no prompt has scores that differ under both models")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tau is 1, -1 and absent: (1 + 0)/2 with one prompt skipped.
    #[test]
    fn equal_scores_are_skipped() {
        let first = [vec![1.0, 2.0], vec![1.0, 2.0], vec![3.0, 3.0]];
        let second = [vec![5.0, 6.0], vec![6.0, 5.0], vec![1.0, 2.0]];
        let consistency = ranking_consistency(&first, &second, &Bootstrap::NONE).unwrap();
        assert_eq!((consistency.mean.value, consistency.mean.n, consistency.skipped), (0.5, 2, 1));
        let none = ranking_consistency(&first[2..], &second[2..], &Bootstrap::NONE);
        assert!(matches!(none, Err(EvalError::Degenerate { .. })));
    }
}
