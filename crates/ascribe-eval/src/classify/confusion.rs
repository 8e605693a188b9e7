//! Measures of right and wrong decisions of two classes, from their counts.
//!
//! ```text
//! precision tp/(tp+fp), recall tp/(tp+fn), specificity tn/(tn+fp), balanced accuracy (recall + specificity)/2
//! F_b = (1+b^2) tp/((1+b^2) tp + b^2 fn + fp),  g-mean = sqrt(recall * specificity)
//! MCC = (tp tn - fp fn)/sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn))
//! ```
//! B. W. Matthews, 1975; M. Kubat and S. Matwin, ICML 1997 (g-mean). 0/0 is an error, or the value that the caller
//! names. All lie in [0, 1], but MCC and kappa in [-1, 1]. A score of exactly the threshold is called positive.
//! Counting costs O(n), a measure of the counts O(1).

use crate::error::{finite, not_empty, option, same_length};
use crate::{Bootstrap, Estimate, EvalError};

/// How often each decision met each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Positives called positive.
    pub true_positive: u64,
    /// Negatives called positive.
    pub false_positive: u64,
    /// Positives called negative.
    pub false_negative: u64,
    /// Negatives called negative.
    pub true_negative: u64,
}

/// A measure of a [`Confusion`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Share of right decisions.
    Accuracy,
    /// Share of positives among what is called positive.
    Precision,
    /// Share of positives that are called positive.
    Recall,
    /// Share of negatives that are called negative.
    Specificity,
    /// The weighted harmonic mean of precision and recall; beta above 1 favours recall.
    FBeta(f64),
    /// The geometric mean of recall and specificity.
    GMean,
    /// Their arithmetic mean.
    BalancedAccuracy,
    /// Matthews' correlation of decision and class.
    Mcc,
    /// Cohen's kappa of decision and class.
    Kappa,
    /// The mean of F1 for either class as the positive one.
    F1Macro,
}

/// What 0/0 is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ZeroDivision {
    /// An error.
    #[default]
    Refuse,
    /// This value.
    Value(f64),
}

impl Confusion {
    /// Counts decisions: positive where the score is at least `threshold`. O(n).
    ///
    /// # Errors
    /// When the lengths differ, there is no score, or one is NaN or infinite.
    pub fn at(scores: &[f64], labels: &[bool], threshold: f64) -> Result<Self, EvalError> {
        finite("scores", scores)?;
        option("threshold", "a number", threshold, !threshold.is_nan())?;
        Self::of(&scores.iter().map(|&score| score >= threshold).collect::<Vec<_>>(), labels)
    }

    /// Counts decisions. O(n).
    ///
    /// # Errors
    /// When the lengths differ or there is no decision.
    pub fn of(decisions: &[bool], labels: &[bool]) -> Result<Self, EvalError> {
        not_empty("the decisions", decisions)?;
        same_length("labels", decisions.len(), labels.len())?;
        Ok(Self::tally(decisions, labels, |_| 1))
    }

    /// Counts checked decisions of rows that count several times.
    fn tally(decisions: &[bool], labels: &[bool], count: impl Fn(usize) -> u64) -> Self {
        // By decision, then label.
        let mut cells = [0_u64; 4];
        for (row, (&decision, &label)) in decisions.iter().zip(labels).enumerate() {
            cells[2 * usize::from(decision) + usize::from(label)] += count(row);
        }
        let [true_negative, false_negative, false_positive, true_positive] = cells;
        Self { true_positive, false_positive, false_negative, true_negative }
    }

    /// The same decisions with the classes swapped. O(1).
    pub fn swapped(self) -> Self {
        Self {
            true_positive: self.true_negative,
            false_positive: self.false_negative,
            false_negative: self.false_positive,
            true_negative: self.true_positive,
        }
    }

    /// The value of a measure. In [0, 1], MCC and kappa in [-1, 1]; O(1).
    ///
    /// # Errors
    /// When it is 0/0 and `zero` is [`ZeroDivision::Refuse`], and when the beta of F is not above 0.
    pub fn measure(&self, decision: Decision, zero: ZeroDivision) -> Result<f64, EvalError> {
        let [tp, fp, fneg, tn] = [self.true_positive, self.false_positive, self.false_negative, self.true_negative]
            .map(|count| count as f64);
        let n = tp + fp + fneg + tn;
        let ratio = |part: f64, whole: f64| match zero {
            _ if whole > 0.0 => Ok(part / whole),
            ZeroDivision::Value(value) => Ok(value),
            ZeroDivision::Refuse => Err(EvalError::Degenerate {
                what: "this measure of decisions",
                why: "a class or a decision never occurs (0/0); name a value for 0/0 or collect such records",
            }),
        };
        match decision {
            Decision::Accuracy => ratio(tp + tn, n),
            Decision::Precision => ratio(tp, tp + fp),
            Decision::Recall => ratio(tp, tp + fneg),
            Decision::Specificity => ratio(tn, tn + fp),
            Decision::FBeta(beta) => {
                option("beta", "finite and above 0", beta, 0.0 < beta && beta.is_finite())?;
                let square = beta * beta;
                ratio((1.0 + square) * tp, (1.0 + square) * tp + square * fneg + fp)
            }
            Decision::GMean => Ok((ratio(tp, tp + fneg)? * ratio(tn, tn + fp)?).sqrt()),
            Decision::BalancedAccuracy => Ok(0.5 * (ratio(tp, tp + fneg)? + ratio(tn, tn + fp)?)),
            Decision::Mcc => {
                let scale = (tp + fp).sqrt() * (tp + fneg).sqrt() * (tn + fp).sqrt() * (tn + fneg).sqrt();
                ratio(tp * tn - fp * fneg, scale)
            }
            Decision::Kappa => {
                let chance = ((tp + fp) * (tp + fneg) + (tn + fp) * (tn + fneg)) / n;
                ratio(tp + tn - chance, n - chance)
            }
            Decision::F1Macro => {
                let f1 = |counts: Self| counts.measure(Decision::FBeta(1.0), zero);
                Ok(0.5 * (f1(*self)? + f1(self.swapped())?))
            }
        }
    }

    /// The counts to expect when labels are wrong: a negative is labelled positive with `r0`, a positive negative with
    /// `r1`, whatever its score. The counts (tp, fp, fn, tn) are shares in [0, 1] that sum to 1; O(1).
    ///
    /// # Errors
    /// Unless `prevalence` lies in [0, 1], both rates are at least 0 and their sum is below 1.
    pub fn under_noise(prevalence: f64, tpr: f64, fpr: f64, r0: f64, r1: f64) -> Result<[f64; 4], EvalError> {
        for (name, share) in [("prevalence", prevalence), ("tpr", tpr), ("fpr", fpr), ("r0", r0), ("r1", r1)] {
            option(name, "between 0 and 1", share, (0.0..=1.0).contains(&share))?;
        }
        option("r0 + r1", "below 1", r0 + r1, r0 + r1 < 1.0)?;
        let (positive, negative) = (prevalence, 1.0 - prevalence);
        let part = |called: [f64; 2]| {
            let labelled = positive * (1.0 - r1) * called[0] + negative * r0 * called[1];
            (labelled, positive * called[0] + negative * called[1] - labelled)
        };
        let (tp, fp) = part([tpr, fpr]);
        let (fneg, tn) = part([1.0 - tpr, 1.0 - fpr]);
        Ok([tp, fp, fneg, tn])
    }
}

/// A measure of decisions at a threshold; the interval resamples rows. In [0, 1], MCC and kappa in [-1, 1]; a score of
/// exactly `threshold` is called positive; O(n + B n).
///
/// # Errors
/// As [`Confusion::at`] and [`Confusion::measure`].
pub fn decision_at(
    scores: &[f64],
    labels: &[bool],
    threshold: f64,
    decision: Decision,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(scores.len(), counted_decisions(scores, labels.to_vec(), threshold, decision)?)
}

/// The measure as a function of how often each row counts.
pub(crate) fn counted_decisions(
    scores: &[f64],
    labels: Vec<bool>,
    threshold: f64,
    decision: Decision,
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync, EvalError> {
    Confusion::at(scores, &labels, threshold)?;
    let decisions: Vec<bool> = scores.iter().map(|&score| score >= threshold).collect();
    Ok(move |counts: &[u32]| {
        Confusion::tally(&decisions, &labels, |row| u64::from(counts[row])).measure(decision, ZeroDivision::Refuse)
    })
}

/// AUROC as noisy labels show it: `(1 - a - b) AUROC + (a + b)/2`, with `a` the share of true negatives among those
/// labelled positive and `b` of true positives among those labelled negative. In [0, 1]; O(1).
///
/// # Errors
/// Unless `a` and `b` are at least 0 and sum to at most 1, and `auroc` lies in [0, 1].
pub fn auroc_under_noise(auroc: f64, a: f64, b: f64) -> Result<f64, EvalError> {
    option("auroc", "between 0 and 1", auroc, (0.0..=1.0).contains(&auroc))?;
    option("a and b", "at least 0 with a sum of at most 1", a + b, a >= 0.0 && b >= 0.0 && a + b <= 1.0)?;
    Ok((1.0 - a - b) * auroc + 0.5 * (a + b))
}

/// The order of models by F1, where F1 values that differ by at most `tolerance` from their neighbour form a block that
/// g-mean orders: indices, best first. Equal models keep their order. O(n log n).
///
/// # Errors
/// When the lengths differ, there is no model, a value is NaN, or `tolerance` is negative.
pub fn order_by_f1_then_g_mean(f1: &[f64], g_mean: &[f64], tolerance: f64) -> Result<Vec<usize>, EvalError> {
    finite("f1", f1)?;
    same_length("g_mean", f1.len(), g_mean.len())?;
    finite("g_mean", g_mean)?;
    option("tolerance", "at least 0", tolerance, tolerance >= 0.0)?;
    let mut order: Vec<usize> = (0..f1.len()).collect();
    order.sort_by(|&a, &b| f1[b].total_cmp(&f1[a]));
    let mut ordered = Vec::with_capacity(order.len());
    for block in order.chunk_by(|&a, &b| f1[a] - f1[b] <= tolerance) {
        let mut block = block.to_vec();
        block.sort_by(|&a, &b| g_mean[b].total_cmp(&g_mean[a]));
        ordered.extend(block);
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RARE: Confusion =
        Confusion { true_positive: 80, false_positive: 40, false_negative: 20, true_negative: 9860 };

    /// With scikit-learn 1.9.1 and imbalanced-learn.
    #[test]
    fn a_rare_class() {
        let expected = [
            (Decision::FBeta(1.0), 0.727_272_727_3),
            (Decision::GMean, 0.892_618_438_5),
            (Decision::BalancedAccuracy, 0.897_979_798_0),
            (Decision::Mcc, 0.727_343_437_7),
            (Decision::Precision, 80.0 / 120.0),
            (Decision::Recall, 0.8),
        ];
        for (decision, expected) in expected {
            let got = RARE.measure(decision, ZeroDivision::Refuse).unwrap();
            assert!((got - expected).abs() < 1e-9, "{decision:?} {got}");
        }
    }

    #[test]
    fn zero_over_zero_is_refused_or_named() {
        let never = Confusion { true_negative: 5, false_negative: 1, ..Confusion::default() };
        for decision in [Decision::Precision, Decision::Mcc] {
            assert!(matches!(never.measure(decision, ZeroDivision::Refuse), Err(EvalError::Degenerate { .. })));
            assert_eq!(never.measure(decision, ZeroDivision::Value(0.0)).unwrap(), 0.0);
        }
        assert!(never.measure(Decision::FBeta(f64::NAN), ZeroDivision::Refuse).is_err());
        assert!(matches!(Confusion::at(&[], &[], 0.5), Err(EvalError::Empty { .. })));
        assert!(matches!(Confusion::at(&[f64::NAN], &[true], 0.5), Err(EvalError::NotFinite { .. })));
        let one_class = decision_at(&[0.9, 0.2], &[true, true], 0.5, Decision::GMean, &Bootstrap::NONE);
        assert!(matches!(one_class, Err(EvalError::Degenerate { .. })));
    }

    /// prevalence 0.5, perfect scores, r0 = 0.2, r1 = 0: observed positives 0.5 + 0.1, of which 0.5 are called
    /// positive.
    #[test]
    fn noise_moves_counts() {
        let [tp, fp, fneg, tn] = Confusion::under_noise(0.5, 1.0, 0.0, 0.2, 0.0).unwrap();
        assert!((tp - 0.5).abs() < 1e-15 && fp.abs() < 1e-15 && (fneg - 0.1).abs() < 1e-15 && (tn - 0.4).abs() < 1e-15);
        assert!(Confusion::under_noise(0.5, 1.0, 0.0, 0.6, 0.4).is_err());
        assert!((auroc_under_noise(1.0, 0.2, 0.1).unwrap() - 0.85).abs() < 1e-15);
    }

    /// 0.80, 0.797 and 0.794 form one block although the ends differ by more than 0.005.
    #[test]
    fn blocks_of_close_f1_are_ordered_by_g_mean() {
        let order = order_by_f1_then_g_mean(&[0.794, 0.80, 0.5, 0.797], &[0.9, 0.7, 0.99, 0.8], 0.005).unwrap();
        assert_eq!(order, [0, 3, 1, 2]);
    }

    proptest! {
        #[test]
        fn mcc_keeps_under_a_swap_of_classes_and_g_mean_is_at_most_balanced_accuracy(
            counts in prop::array::uniform4(1_u64..500),
        ) {
            let [true_positive, false_positive, false_negative, true_negative] = counts;
            let counts = Confusion { true_positive, false_positive, false_negative, true_negative };
            let measure = |counts: Confusion, decision| counts.measure(decision, ZeroDivision::Refuse).unwrap();
            let (one, other) = (measure(counts, Decision::Mcc), measure(counts.swapped(), Decision::Mcc));
            prop_assert!((one - other).abs() < 1e-12 && one.abs() <= 1.0 + 1e-12);
            let (g_mean, balanced) = (measure(counts, Decision::GMean), measure(counts, Decision::BalancedAccuracy));
            prop_assert!(g_mean <= balanced + 1e-12);
            // How common the positives are plays no part in these two.
            let common =
                Confusion { true_positive: 10 * true_positive, false_negative: 10 * false_negative, ..counts };
            prop_assert!((measure(common, Decision::GMean) - g_mean).abs() < 1e-12);
            prop_assert!((measure(common, Decision::BalancedAccuracy) - balanced).abs() < 1e-12);
        }
    }
}
