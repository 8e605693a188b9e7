//! Area under the receiver operating characteristic: the chance that a positive outranks a negative.
//!
//! ```text
//! AUROC = P(s+ > s-) + P(s+ = s-)/2 = (sum of mid-ranks of the positives - n1(n1+1)/2) / (n1 n0)
//! ```
//! J. A. Hanley and B. J. McNeil, Radiology 143, 1982. Only the order of scores matters.

use std::hash::Hash;

use crate::error::{finite, same_length, within};
use crate::stats::bootstrap::clusters;
use crate::stats::sum::pick;
use crate::{Bootstrap, Estimate, EvalError};

/// The AUROC of `scores` for `labels` (true = positive, expected to score high).
///
/// # Errors
/// When the lengths differ, when there is no score, when one is NaN or infinite, or when a class is absent.
pub fn auroc(scores: &[f64], labels: &[bool]) -> Result<f64, EvalError> {
    let order = ranked(scores, labels)?;
    defined(area(scores, labels, &order, |_| 1.0))
}

/// The AUROC with an interval that resamples single rows. Scores are sorted once; a resample is one pass over them.
///
/// # Errors
/// As [`auroc`], and when a setting of the bootstrap is out of range.
pub fn auroc_estimate(scores: &[f64], labels: &[bool], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let order = ranked(scores, labels)?;
    let (scores, labels) = (pick(scores, &order), pick(labels, &order));
    let order: Vec<usize> = (0..scores.len()).collect();
    defined(area(&scores, &labels, &order, |_| 1.0))?;
    bootstrap
        .weighted_statistic(scores.len(), |counts| area(&scores, &labels, &order, |index| f64::from(counts[index])))
}

/// The AUROC with an interval that resamples whole clusters: scores with the same key (the tokens of a response, say)
/// are not independent. Resamples without one of the classes are left out.
///
/// # Errors
/// As [`auroc`], and when a setting of the bootstrap is out of range.
pub fn clustered_auroc<K: Hash + Eq>(
    scores: &[f64],
    labels: &[bool],
    keys: &[K],
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    let order = ranked(scores, labels)?;
    same_length("keys", scores.len(), keys.len())?;
    defined(area(scores, labels, &order, |_| 1.0))?;
    let (cluster_of, clusters) = clusters(keys);
    let estimate = bootstrap.weighted_statistic(clusters, |counts| {
        area(scores, labels, &order, |index| f64::from(counts[cluster_of[index]]))
    })?;
    Ok(Estimate { n: scores.len(), ..estimate })
}

/// The AUROC of rows with weights of at least 0.
///
/// # Errors
/// As [`auroc`], when a weight is negative, and when a class has no weight.
pub fn weighted_auroc(scores: &[f64], labels: &[bool], weights: &[f64]) -> Result<f64, EvalError> {
    let order = ranked(scores, labels)?;
    same_length("weights", scores.len(), weights.len())?;
    within("weights", weights, "at least 0", |weight| weight >= 0.0)?;
    defined(area(scores, labels, &order, |index| weights[index]))
}

/// Indices by increasing score, after the checks.
fn ranked(scores: &[f64], labels: &[bool]) -> Result<Vec<usize>, EvalError> {
    same_length("labels", scores.len(), labels.len())?;
    finite("scores", scores)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    Ok(order)
}

/// The weighted AUROC in one pass over the sorted scores; NaN when a class has no weight.
fn area(scores: &[f64], labels: &[bool], order: &[usize], weight: impl Fn(usize) -> f64) -> f64 {
    let (mut pairs, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let (mut tied_positives, mut tied_negatives) = (0.0, 0.0);
        for &index in tied {
            *(if labels[index] { &mut tied_positives } else { &mut tied_negatives }) += weight(index);
        }
        pairs += tied_positives * (negatives + 0.5 * tied_negatives);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    pairs / (positives * negatives)
}

fn defined(area: f64) -> Result<f64, EvalError> {
    if area.is_finite() {
        return Ok(area);
    }
    Err(EvalError::Degenerate { what: "AUROC", why: "the labels must hold both classes; collect records of the other" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs of positive and negative: (0.8, 0.5) and (0.8, 0.1) won, (0.5, 0.5) tied, (0.5, 0.1) won: 3.5 of 4.
    #[test]
    fn four_pairs_by_hand() {
        assert_eq!(auroc(&[0.8, 0.5, 0.5, 0.1], &[true, true, false, false]).unwrap(), 0.875);
        assert_eq!(auroc(&[0.0, -0.0], &[true, false]).unwrap(), 0.5);
    }

    #[test]
    fn an_interval_holds_the_area_and_counts_scores() {
        let scores: Vec<f64> = (0..400).map(|index| f64::from(index * 37 % 101)).collect();
        let labels: Vec<bool> = (0..400).map(|index| index * 37 % 101 + index * 13 % 40 > 70).collect();
        let keys: Vec<usize> = (0..400).map(|index| index / 5).collect();
        let estimate = clustered_auroc(&scores, &labels, &keys, &Bootstrap::default()).unwrap();
        assert_eq!((estimate.value, estimate.n), (auroc(&scores, &labels).unwrap(), 400));
        assert!(!estimate.excludes(estimate.value) && estimate.excludes(0.5), "{estimate}");
    }

    #[test]
    fn rows_of_their_own_give_the_interval_of_clusters_of_one() {
        let scores = [0.8, 0.5, 0.5, 0.1, 0.7, 0.3, 0.9, 0.2];
        let labels = [true, true, false, false, true, false, true, false];
        let estimate = auroc_estimate(&scores, &labels, &Bootstrap::default()).unwrap();
        let clustered = clustered_auroc(&scores, &labels, &[0, 1, 2, 3, 4, 5, 6, 7], &Bootstrap::default()).unwrap();
        assert_eq!((estimate.value, estimate.n), (clustered.value, 8));
        assert!((estimate.interval.unwrap().low - clustered.interval.unwrap().low).abs() < 0.05);
        // Without the row of weight 0, which ties a positive, every pair is won.
        let weights = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(weighted_auroc(&scores, &labels, &weights).unwrap(), 1.0);
        assert!(matches!(weighted_auroc(&scores, &labels, &[0.0; 8]), Err(EvalError::Degenerate { .. })));
    }

    /// With a single positive cluster a third of the resamples have no positive: (1 - 1/n)^n.
    #[test]
    fn too_few_clusters_give_no_interval() {
        let estimate =
            clustered_auroc(&[0.9, 0.1, 0.2], &[true, false, false], &[0, 1, 2], &Bootstrap::default()).unwrap();
        assert_eq!((estimate.value, estimate.interval), (1.0, None));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(auroc(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(auroc(&[0.1], &[true]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(auroc(&[0.1, f64::NAN], &[true, false]), Err(EvalError::NotFinite { index: 1, .. })));
        assert!(matches!(auroc(&[0.1], &[true, false]), Err(EvalError::Length { .. })));
        let keys: [u8; 0] = [];
        let short = clustered_auroc(&[0.1, 0.2], &[true, false], &keys, &Bootstrap::default());
        assert!(matches!(short, Err(EvalError::Length { what: "keys", .. })));
    }

    fn scored() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
        let some = prop::collection::vec((-4_i32..4, any::<bool>()), 2..60);
        some.prop_map(|mut records| {
            records[0].1 = true;
            records[1].1 = false;
            records.into_iter().map(|(score, label)| (f64::from(score), label)).unzip()
        })
    }

    proptest! {
        #[test]
        fn auroc_of_negated_scores_is_one_minus((scores, labels) in scored()) {
            let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
            let sum = auroc(&scores, &labels).unwrap() + auroc(&negated, &labels).unwrap();
            prop_assert!((sum - 1.0).abs() < 1e-12);
        }

        #[test]
        fn auroc_counts_won_pairs((scores, labels) in scored()) {
            let side = |of| scores.iter().zip(&labels).filter(move |&(_, &label)| label == of).map(|(&score, _)| score);
            let won = |a: f64, b: f64| if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
            let pairs: Vec<f64> = side(true).flat_map(|a| side(false).map(move |b| won(a, b))).collect();
            let expected = pairs.iter().sum::<f64>() / pairs.len() as f64;
            prop_assert!((auroc(&scores, &labels).unwrap() - expected).abs() < 1e-12);
        }

        #[test]
        fn auroc_keeps_under_an_increasing_map((scores, labels) in scored()) {
            let mapped: Vec<f64> = scores.iter().map(|score| (score / 3.0).exp()).collect();
            prop_assert_eq!(auroc(&scores, &labels).unwrap(), auroc(&mapped, &labels).unwrap());
        }
    }
}
