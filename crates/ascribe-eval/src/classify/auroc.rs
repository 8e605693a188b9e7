//! Area under the receiver operating characteristic: the chance that a positive outranks a negative.
//!
//! ```text
//! AUROC = P(s+ > s-) + P(s+ = s-)/2 = (sum of mid-ranks of the positives - n1(n1+1)/2) / (n1 n0)
//! ```
//! J. A. Hanley and B. J. McNeil, Radiology 143, 1982. Only the order of scores matters. Range [0, 1], 0.5 for scores
//! that say nothing; a tie of a positive and a negative counts half. Cost O(n log n) for the sort, O(n) for each
//! resample.

use std::hash::Hash;

use super::scored::Scored;
use crate::error::{not_empty, same_length, within};
use crate::{Averaged, Bootstrap, Estimate, EvalError};

/// The AUROC of `scores` for `labels` (true = positive, expected to score high). In [0, 1]; ties count half;
/// O(n log n).
///
/// # Errors
/// When the lengths differ, when there is no score, when one is NaN or infinite, or when a class is absent.
pub fn auroc(scores: &[f64], labels: &[bool]) -> Result<f64, EvalError> {
    Scored::new(scores, labels.to_vec())?.area(|_| 1.0)
}

/// The AUROC with an interval that resamples single rows. In [0, 1]; ties count half. Scores are sorted once; a
/// resample is one pass over them: O(n log n + B n).
///
/// # Errors
/// As [`auroc`], and when a setting of the bootstrap is out of range.
pub fn auroc_estimate(scores: &[f64], labels: &[bool], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let scored = Scored::new(scores, labels.to_vec())?;
    bootstrap.weighted_metric(scores.len(), |counts| scored.auroc(counts))
}

/// The AUROC with an interval that resamples whole clusters: scores with the same key (the tokens of a response, say)
/// are not independent. Resamples without one of the classes are left out. In [0, 1]; ties count half;
/// O(n log n + B n).
///
/// # Errors
/// As [`auroc`], and when a setting of the bootstrap is out of range.
pub fn clustered_auroc<K: Hash + Eq>(
    scores: &[f64],
    labels: &[bool],
    keys: &[K],
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    let scored = Scored::new(scores, labels.to_vec())?;
    same_length("keys", scores.len(), keys.len())?;
    bootstrap.clustered_weighted_metric(keys, |counts| scored.auroc(counts))
}

/// The mean of the AUROCs of groups of scores that are not compared with each other: a reward against correctness by prompt (PPE's
/// correctness metric), or a detector by domain and generator (arXiv:2405.17382). Groups without one of the classes are skipped
/// and counted; the interval resamples groups. In [0, 1]; ties count half; O(n log n + B groups).
///
/// # Errors
/// When there is no group, no group has both classes, the lengths of one differ, or a score is NaN or infinite.
pub fn mean_auroc(groups: &[(&[f64], &[bool])], bootstrap: &Bootstrap) -> Result<Averaged, EvalError> {
    not_empty("the groups", groups)?;
    let mut areas = Vec::with_capacity(groups.len());
    for (scores, labels) in groups {
        areas.push(match auroc(scores, labels) {
            Ok(area) => Some(area),
            Err(EvalError::Degenerate { .. }) => None,
            Err(error) => return Err(error),
        });
    }
    Averaged::new(&areas, bootstrap, "a mean AUROC", "no group has both classes")
}

/// The AUROC of rows with weights of at least 0; a row of weight 0 is as if it were not there. In [0, 1]; ties count
/// half; O(n log n).
///
/// # Errors
/// As [`auroc`], when a weight is negative, and when a class has no weight.
pub fn weighted_auroc(scores: &[f64], labels: &[bool], weights: &[f64]) -> Result<f64, EvalError> {
    let scored = Scored::new(scores, labels.to_vec())?;
    same_length("weights", scores.len(), weights.len())?;
    within("weights", weights, "at least 0", |weight| weight >= 0.0)?;
    scored.area(|row| weights[row])
}

impl Scored<'_> {
    /// The AUROC of rows that count `counts[row]` times.
    pub(crate) fn auroc(&self, counts: &[u32]) -> Result<f64, EvalError> {
        self.area(|row| f64::from(counts[row]))
    }

    /// The weighted AUROC in one pass over the sorted scores.
    fn area(&self, weight: impl Fn(usize) -> f64) -> Result<f64, EvalError> {
        let (mut pairs, mut positives, mut negatives) = (0.0, 0.0, 0.0);
        for tied in self.order.runs() {
            let (mut tied_positives, mut tied_negatives) = (0.0, 0.0);
            for &row in tied {
                let (weight, label) = (weight(row), self.labels[row]);
                tied_positives += if label { weight } else { 0.0 };
                tied_negatives += if label { 0.0 } else { weight };
            }
            pairs += tied_positives * (negatives + 0.5 * tied_negatives);
            positives += tied_positives;
            negatives += tied_negatives;
        }
        let area = pairs / (positives * negatives);
        if area.is_finite() {
            return Ok(area);
        }
        Err(EvalError::Degenerate {
            what: "AUROC",
            why: "the labels must hold both classes; collect records of the other",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1 and 1/2 (a tie), and a group of right answers alone.
    #[test]
    fn groups_are_not_compared_with_each_other() {
        let groups: [(&[f64], &[bool]); 3] =
            [(&[0.9, 0.1], &[true, false]), (&[5.0, 5.0], &[true, false]), (&[1.0, 2.0], &[true, true])];
        let mean = mean_auroc(&groups, &Bootstrap::NONE).unwrap();
        assert_eq!((mean.mean.value, mean.mean.n, mean.skipped), (0.75, 2, 1));
        assert!(matches!(mean_auroc(&groups[2..], &Bootstrap::NONE), Err(EvalError::Degenerate { .. })));
        assert!(matches!(mean_auroc(&[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        let uneven: [(&[f64], &[bool]); 1] = [(&[1.0], &[true, false])];
        assert!(matches!(mean_auroc(&uneven, &Bootstrap::NONE), Err(EvalError::Length { .. })));
    }

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
        assert_eq!(estimate, clustered);
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
        fn counts_say_what_the_rows_drawn_say((scores, labels) in scored(), draws in prop::collection::vec(0_usize..60, 2..60)) {
            let mut rows: Vec<usize> = draws.into_iter().map(|draw| draw % scores.len()).collect();
            rows.extend([0, 1]);
            let mut counts = vec![0_u32; scores.len()];
            rows.iter().for_each(|&row| counts[row] += 1);
            let (drawn, classes): (Vec<f64>, Vec<bool>) = rows.iter().map(|&row| (scores[row], labels[row])).unzip();
            let fast = Scored::new(&scores, labels).unwrap().auroc(&counts).unwrap();
            prop_assert!((fast - auroc(&drawn, &classes).unwrap()).abs() < 1e-12);
        }

        #[test]
        fn auroc_keeps_under_an_increasing_map((scores, labels) in scored()) {
            let mapped: Vec<f64> = scores.iter().map(|score| (score / 3.0).exp()).collect();
            prop_assert_eq!(auroc(&scores, &labels).unwrap(), auroc(&mapped, &labels).unwrap());
        }
    }
}
