//! BOSE (arXiv:2503.00812): choice tasks by the perplexity of a filled blank, and how steady scores are.
//!
//! ```text
//! ppl_j = exp(-mean ln p) over the tokens of candidate j in the blank (and of what follows it, if asked)
//! stability = tau-b of step and score;  consistency = tau-b of base-model and instruct-model scores
//! ```
//! Which tokens enter is our reading. Tied candidates share the credit.

use crate::error::{not_empty, option, within};
use crate::rank::kendall_tau_b;
use crate::stats::sum::mean;
use crate::{Bootstrap, Estimate, EvalError};

/// Log-probabilities of the tokens of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Of its own tokens, given what stands before the blank.
    pub own: Vec<f64>,
    /// Of what follows the blank; empty to leave it out.
    pub following: Vec<f64>,
}

/// The perplexity of each candidate. At least 1; O(tokens).
///
/// # Errors
/// When there is no candidate, one has no token of its own, or a log-probability is above 0, NaN or infinite.
pub fn blank_perplexities(candidates: &[Candidate]) -> Result<Vec<f64>, EvalError> {
    not_empty("the candidates", candidates)?;
    let mut values = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        not_empty("the tokens of a candidate", &candidate.own)?;
        let all = [&candidate.own[..], &candidate.following].concat();
        within("the log-probabilities", &all, "at most 0", |logp| logp <= 0.0)?;
        values.push((-mean(&all)).exp());
    }
    Ok(values)
}

/// The credit of choosing the candidate of least perplexity: 1, shared by ties, or 0. In [0, 1]; O(tokens).
///
/// # Errors
/// As [`blank_perplexities`], and when `gold` is no candidate.
pub fn blank_credit(candidates: &[Candidate], gold: usize) -> Result<f64, EvalError> {
    let values = blank_perplexities(candidates)?;
    option("gold", "the index of a candidate", gold as f64, gold < values.len())?;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let winners = values.iter().filter(|&&value| value == least).count();
    Ok(if values[gold] == least { 1.0 / winners as f64 } else { 0.0 })
}

/// Tau-b of checkpoint step and score: 1 when every checkpoint is better than the one before. In [-1, 1]; tied scores
/// leave the scale; O(n log n) for each resample.
///
/// # Errors
/// As [`kendall_tau_b`], and for fewer than three checkpoints.
pub fn stability(steps: &[f64], scores: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    option("checkpoints", "at least 3", steps.len() as f64, steps.len() >= 3)?;
    kendall_tau_b(steps, scores, bootstrap)
}

/// Tau-b over models of base and instruct scores. In [-1, 1]; tied scores leave the scale; O(n log n) for each
/// resample.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn base_instruct_consistency(base: &[f64], instruct: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    kendall_tau_b(base, instruct, bootstrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(own: &[f64], following: &[f64]) -> Candidate {
        Candidate { own: own.to_vec(), following: following.to_vec() }
    }

    /// Mean log-probabilities -1, -1 and -2; with what follows, the second falls behind.
    #[test]
    fn three_candidates() {
        let own = [candidate(&[-1.0], &[]), candidate(&[-0.5, -1.5], &[]), candidate(&[-2.0], &[])];
        assert_eq!(blank_credit(&own, 0).unwrap(), 0.5);
        assert_eq!(blank_credit(&own, 2).unwrap(), 0.0);
        let after = [candidate(&[-1.0], &[-1.0]), candidate(&[-0.5, -1.5], &[-4.0])];
        assert_eq!(blank_credit(&after, 0).unwrap(), 1.0);
        assert!(blank_credit(&own, 3).is_err() && blank_credit(&[candidate(&[], &[])], 0).is_err());
        assert!(blank_credit(&[candidate(&[0.1], &[])], 0).is_err());
    }

    /// Means of -1, -0.6 and -1.55: of equal length, so the same words behind all of them keep the order.
    #[test]
    fn what_follows_every_candidate_alike_keeps_the_winner() {
        let own = [[-0.5, -1.5], [-0.2, -1.0], [-3.0, -0.1]];
        for following in [vec![], vec![-4.0, -0.3]] {
            let candidates = own.map(|own| candidate(&own, &following));
            assert_eq!([0, 1, 2].map(|gold| blank_credit(&candidates, gold).unwrap()), [0.0, 1.0, 0.0]);
        }
    }

    #[test]
    fn rising_scores_are_stable() {
        let rising = stability(&[1.0, 2.0, 3.0], &[0.1, 0.2, 0.4], &Bootstrap::NONE).unwrap();
        assert!((rising.value - 1.0).abs() < 1e-12);
        assert!(matches!(stability(&[1.0, 2.0, 3.0], &[0.1; 3], &Bootstrap::NONE), Err(EvalError::Degenerate { .. })));
        assert!(stability(&[1.0, 2.0], &[0.1, 0.2], &Bootstrap::NONE).is_err());
        let same = base_instruct_consistency(&[0.1, 0.2], &[0.5, 0.4], &Bootstrap::NONE).unwrap();
        assert_eq!(same.value, -1.0);
    }
}
