//! ROC and precision-recall curves over thresholds, and the areas and points read from them.
//!
//! ```text
//! average precision = sum_k (R_k - R_{k-1}) P_k over the distinct thresholds, highest first; chance level = prevalence
//! TPR at FPR f      = largest TPR among thresholds with FPR <= f, or interpolated on the ROC curve
//! ```
//! Equal scores enter together, and a row of weight 0 is as if it were not there. Rates, precision and areas lie in
//! [0, 1]; both classes are needed. Cost O(n log n) for the sort, O(n) for each resample. The trapezoid area under the
//! precision-recall curve is a different number, too kind between points (J. Davis and M. Goadrich, ICML 2006), and
//! never stands in for average precision.

use super::scored::Scored;
use crate::error::{finite, option, same_length, within};
use crate::stats::sum::sum;
use crate::{Bootstrap, Estimate, EvalError};

/// One threshold of a curve: rows with a score of at least `threshold` are called positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The threshold; infinite where nothing is called positive.
    pub threshold: f64,
    /// Weight of the positives called positive.
    pub true_positive: f64,
    /// Weight of the negatives called positive.
    pub false_positive: f64,
}

/// A curve over all distinct thresholds, highest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The thresholds: the first calls nothing positive, the last everything.
    pub points: Vec<Threshold>,
    /// Weight of all positives.
    pub positives: f64,
    /// Weight of all negatives.
    pub negatives: f64,
}

/// How a rate between two thresholds is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Between {
    /// The best threshold that keeps the limit.
    #[default]
    Step,
    /// On the straight line between its neighbours.
    Interpolated,
}

impl Curve {
    /// The curve of `scores` for `labels`. O(n log n).
    ///
    /// # Errors
    /// When the lengths differ, there is no score, one is NaN or infinite, or a class is absent.
    pub fn new(scores: &[f64], labels: &[bool]) -> Result<Self, EvalError> {
        Self::of(&Scored::new(scores, labels.to_vec())?, |_| 1.0)
    }

    /// The curve with a weight of at least 0 for every row. O(n log n).
    ///
    /// # Errors
    /// As [`new`](Self::new), when a weight is negative, and when a class has no weight.
    pub fn weighted(scores: &[f64], labels: &[bool], weights: &[f64]) -> Result<Self, EvalError> {
        let scored = Scored::new(scores, labels.to_vec())?;
        same_length("weights", scores.len(), weights.len())?;
        within("weights", weights, "at least 0", |weight| weight >= 0.0)?;
        Self::of(&scored, |row| weights[row])
    }

    /// The curve of sorted scores.
    fn of(scored: &Scored<'_>, weight: impl Fn(usize) -> f64) -> Result<Self, EvalError> {
        let mut last = Threshold { threshold: f64::INFINITY, true_positive: 0.0, false_positive: 0.0 };
        let mut points = Vec::with_capacity(scored.labels.len() + 1);
        points.push(last);
        for tied in scored.order.runs().rev() {
            last.threshold = scored.scores[tied[0]];
            for &row in tied {
                *(if scored.labels[row] { &mut last.true_positive } else { &mut last.false_positive }) += weight(row);
            }
            points.push(last);
        }
        if last.true_positive > 0.0 && last.false_positive > 0.0 {
            return Ok(Self { points, positives: last.true_positive, negatives: last.false_positive });
        }
        let why = "the labels must hold both classes, with some weight";
        Err(EvalError::Degenerate { what: "a curve over thresholds", why })
    }

    /// False and true positive rate at a point.
    fn rates(&self, point: &Threshold) -> (f64, f64) {
        (point.false_positive / self.negatives, point.true_positive / self.positives)
    }

    /// False and true positive rate of every threshold, from (0, 0) to (1, 1). O(n).
    pub fn roc(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| self.rates(point)).collect()
    }

    /// Precision and recall at a point; precision is 1 where nothing is called positive.
    fn precision_and_recall(&self, point: &Threshold) -> (f64, f64) {
        let called = point.true_positive + point.false_positive;
        let precision = if called > 0.0 { point.true_positive / called } else { 1.0 };
        (precision, point.true_positive / self.positives)
    }

    /// Precision and recall of every threshold, from precision 1 at recall 0 on. O(n).
    pub fn precision_recall(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| self.precision_and_recall(point)).collect()
    }

    /// What each step from a threshold to the next adds to an area over recall.
    fn area_over_recall(&self, height: impl Fn(f64, f64) -> f64) -> f64 {
        sum(self.points.windows(2).map(|pair| {
            let (before, after) = (self.precision_and_recall(&pair[0]), self.precision_and_recall(&pair[1]));
            (after.1 - before.1) * height(before.0, after.0)
        }))
    }

    /// Average precision. In (0, 1]; equal scores enter together; O(n).
    pub fn average_precision(&self) -> f64 {
        self.area_over_recall(|_, after| after)
    }

    /// The area under the precision-recall curve by trapezoids: not average precision. In (0, 1]; O(n).
    pub fn pr_auc_trapezoid(&self) -> f64 {
        self.area_over_recall(|before, after| 0.5 * (before + after))
    }

    /// The true positive rate that is possible at a false positive rate of at most `limit`. In [0, 1]; a rate of
    /// exactly `limit` is allowed; O(log n).
    ///
    /// # Errors
    /// Unless `limit` lies in [0, 1].
    pub fn tpr_at_fpr(&self, limit: f64, between: Between) -> Result<f64, EvalError> {
        option("limit", "between 0 and 1", limit, (0.0..=1.0).contains(&limit))?;
        let kept = self.points.partition_point(|point| self.rates(point).0 <= limit);
        let (fpr, tpr) = self.rates(&self.points[kept - 1]);
        Ok(match (between, self.points.get(kept)) {
            (Between::Interpolated, Some(next)) => {
                let (next_fpr, next_tpr) = self.rates(next);
                tpr + (limit - fpr) / (next_fpr - fpr) * (next_tpr - tpr)
            }
            _ => tpr,
        })
    }

    /// The false positive rate that has to be borne for a true positive rate of at least `wanted`. In [0, 1]; O(log n).
    ///
    /// # Errors
    /// Unless `wanted` lies in [0, 1].
    pub fn fpr_at_tpr(&self, wanted: f64, between: Between) -> Result<f64, EvalError> {
        option("wanted", "between 0 and 1", wanted, (0.0..=1.0).contains(&wanted))?;
        let first = self.points.partition_point(|point| self.rates(point).1 < wanted).min(self.points.len() - 1);
        let (fpr, tpr) = self.rates(&self.points[first]);
        if between == Between::Step || first == 0 {
            return Ok(fpr);
        }
        let (last_fpr, last_tpr) = self.rates(&self.points[first - 1]);
        Ok(last_fpr + (wanted - last_tpr) / (tpr - last_tpr) * (fpr - last_fpr))
    }
}

impl Scored<'_> {
    /// The curve of rows that count `counts[row]` times.
    pub(crate) fn curve(&self, counts: &[u32]) -> Result<Curve, EvalError> {
        Curve::of(self, |row| f64::from(counts[row]))
    }
}

/// Average precision of `scores` for `labels`; the interval resamples rows. In (0, 1]; equal scores enter together;
/// O(n log n + B n).
///
/// # Errors
/// As [`Curve::new`].
pub fn average_precision(scores: &[f64], labels: &[bool], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let scored = Scored::new(scores, labels.to_vec())?;
    bootstrap.weighted_metric(scores.len(), |counts| Ok(scored.curve(counts)?.average_precision()))
}

/// The true positive rate at a false positive rate of at most `limit`; the interval resamples rows. In [0, 1]; equal
/// scores enter together; O(n log n + B n).
///
/// # Errors
/// As [`Curve::new`] and [`Curve::tpr_at_fpr`].
pub fn tpr_at_fpr(
    scores: &[f64],
    labels: &[bool],
    limit: f64,
    between: Between,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    let scored = Scored::new(scores, labels.to_vec())?;
    bootstrap.weighted_metric(scores.len(), |counts| scored.curve(counts)?.tpr_at_fpr(limit, between))
}

/// Share of triples whose scores stand in the order machine > mixed > human text. In [0, 1]; a tie is out of order;
/// O(n + B n).
///
/// # Errors
/// When the lengths differ, there is no triple, or a score is NaN or infinite.
pub fn triples_in_order(
    machine: &[f64],
    mixed: &[f64],
    human: &[f64],
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    same_length("mixed", machine.len(), mixed.len())?;
    same_length("human", machine.len(), human.len())?;
    for (what, scores) in [("machine", machine), ("mixed", mixed), ("human", human)] {
        finite(what, scores)?;
    }
    let in_order = |row: usize| f64::from(u8::from(machine[row] > mixed[row] && mixed[row] > human[row]));
    bootstrap.mean(&(0..machine.len()).map(in_order).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P: [f64; 8] = [0.1, 0.35, 0.4, 0.8, 0.65, 0.9, 0.55, 0.2];
    const Y: [bool; 8] = [false, false, true, true, true, true, false, false];

    /// Highest first: + + + - + - - -. AP = 3/4 + (1/4)(4/5) = 0.95.
    #[test]
    fn eight_rows_by_hand() {
        let curve = Curve::new(&P, &Y).unwrap();
        assert!((curve.average_precision() - 0.95).abs() < 1e-12);
        assert_eq!(curve.tpr_at_fpr(0.0, Between::Step).unwrap(), 0.75);
        assert_eq!(curve.tpr_at_fpr(0.25, Between::Step).unwrap(), 1.0);
        assert_eq!(curve.tpr_at_fpr(0.125, Between::Step).unwrap(), 0.75);
        assert_eq!(curve.fpr_at_tpr(0.8, Between::Step).unwrap(), 0.25);
        let estimate = average_precision(&P, &Y, &Bootstrap::default()).unwrap();
        assert!(!estimate.excludes(0.95) && estimate.n == 8, "{estimate}");
        assert_eq!(tpr_at_fpr(&P, &Y, 0.0, Between::Step, &Bootstrap::NONE).unwrap().value, 0.75);
    }

    #[test]
    fn triples_count_strict_order() {
        let share = triples_in_order(&[3.0, 3.0], &[2.0, 3.0], &[1.0, 1.0], &Bootstrap::NONE).unwrap();
        assert_eq!(share.value, 0.5);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(Curve::new(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(Curve::new(&[0.1], &[true]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(Curve::new(&[f64::NAN], &[true]), Err(EvalError::NotFinite { .. })));
        assert!(matches!(Curve::weighted(&P, &Y, &[0.0; 8]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(Curve::weighted(&P, &Y, &[-1.0; 8]), Err(EvalError::OutOfRange { .. })));
        assert!(Curve::new(&P, &Y).unwrap().tpr_at_fpr(1.5, Between::Step).is_err());
    }

    proptest! {
        #[test]
        fn counts_say_what_the_rows_drawn_say(
            rows in prop::collection::vec((-4_i32..4, any::<bool>()), 2..50),
            draws in prop::collection::vec(0_usize..50, 2..60), limit in 0.0..=1.0_f64,
        ) {
            let (scores, mut labels): (Vec<f64>, Vec<bool>) =
                rows.into_iter().map(|(score, label)| (f64::from(score), label)).unzip();
            (labels[0], labels[1]) = (true, false);
            let mut rows: Vec<usize> = draws.into_iter().map(|draw| draw % scores.len()).collect();
            rows.extend([0, 1]);
            let mut counts = vec![0_u32; scores.len()];
            rows.iter().for_each(|&row| counts[row] += 1);
            let (drawn, classes): (Vec<f64>, Vec<bool>) = rows.iter().map(|&row| (scores[row], labels[row])).unzip();
            let slow = Curve::new(&drawn, &classes).unwrap();
            let fast = Scored::new(&scores, labels).unwrap().curve(&counts).unwrap();
            prop_assert!((fast.average_precision() - slow.average_precision()).abs() < 1e-12);
            prop_assert!((fast.pr_auc_trapezoid() - slow.pr_auc_trapezoid()).abs() < 1e-12);
            for between in [Between::Step, Between::Interpolated] {
                let rate = |curve: &Curve| curve.tpr_at_fpr(limit, between).unwrap();
                prop_assert!((rate(&fast) - rate(&slow)).abs() < 1e-12);
                let rate = |curve: &Curve| curve.fpr_at_tpr(limit, between).unwrap();
                prop_assert!((rate(&fast) - rate(&slow)).abs() < 1e-12);
            }
        }

        #[test]
        fn rates_rise_and_the_step_is_below_the_line(
            rows in prop::collection::vec((-4_i32..4, any::<bool>()), 2..50), limit in 0.0..=1.0_f64,
        ) {
            let (scores, mut labels): (Vec<f64>, Vec<bool>) =
                rows.into_iter().map(|(score, label)| (f64::from(score), label)).unzip();
            (labels[0], labels[1]) = (true, false);
            let curve = Curve::new(&scores, &labels).unwrap();
            prop_assert!(curve.roc().windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
            let step = curve.tpr_at_fpr(limit, Between::Step).unwrap();
            prop_assert!(step <= curve.tpr_at_fpr(limit, Between::Interpolated).unwrap() + 1e-12);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&curve.average_precision()));
        }
    }
}
