//! Classifiers of more than two classes.
//!
//! ```text
//! micro, macro, weighted    from the summed counts | mean over classes | mean weighted by true counts
//! MCC                       covariance of decisions and classes over the roots of their variances (J. Gorodkin, 2004)
//! one against rest | one    mean AUROC of each class against the others | of each ordered pair of classes
//! top-k                     share of rows whose class is among the k most probable; ties by the lower class number
//! ```
//! Classes are 0..k. The means and ties are those of scikit-learn, except that 0/0 is an error unless named.

use super::auroc::auroc;
use super::confusion::{Confusion, Decision, ZeroDivision};
use crate::EvalError;
use crate::error::{finite, not_empty, option, same_length, shares};
use crate::stats::sum::sum;

/// Decisions against classes: row = true class, column = decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    counts: Vec<u64>,
    k: usize,
}

/// How a measure of single classes becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// Of the summed counts.
    Micro,
    /// Every class alike.
    Macro,
    /// By the true count of each class.
    Weighted,
}

/// Which classes an AUROC holds against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Each class against all others.
    Rest,
    /// Each class against each other class.
    One,
}

impl ConfusionMatrix {
    /// Counts decisions and classes, both below `k`. O(n + k^2).
    ///
    /// # Errors
    /// When the lengths differ, there is no row, `k < 2`, or an entry is not below `k`.
    pub fn new(decisions: &[u32], classes: &[u32], k: u32) -> Result<Self, EvalError> {
        option("k", "at least 2", f64::from(k), k >= 2)?;
        not_empty("the decisions", decisions)?;
        same_length("classes", decisions.len(), classes.len())?;
        for (what, entries) in [("decisions", decisions), ("classes", classes)] {
            if let Some(index) = entries.iter().position(|&entry| entry >= k) {
                return Err(EvalError::OutOfRange { what, rule: "below k", index, got: f64::from(entries[index]) });
            }
        }
        let k = k as usize;
        let mut counts = vec![0; k * k];
        for (&decision, &class) in decisions.iter().zip(classes) {
            counts[class as usize * k + decision as usize] += 1;
        }
        Ok(Self { counts, k })
    }

    /// The two-class counts of `class` against the rest. O(k^2).
    fn one_against_rest(&self, class: usize) -> Confusion {
        let true_positive = self.counts[class * self.k + class];
        let (of_class, called) = (self.true_count(class), self.called(class));
        let all: u64 = self.counts.iter().sum();
        Confusion {
            true_positive,
            false_positive: called - true_positive,
            false_negative: of_class - true_positive,
            true_negative: all + true_positive - of_class - called,
        }
    }

    /// A measure averaged over classes. Classes that neither occur nor are called leave the mean of [`Mean::Macro`] and
    /// [`Mean::Weighted`]. In [0, 1], MCC and kappa in [-1, 1]; O(k^3).
    ///
    /// # Errors
    /// When the measure of a class is 0/0 and `zero` refuses.
    pub fn measure(&self, decision: Decision, mean: Mean, zero: ZeroDivision) -> Result<f64, EvalError> {
        let present: Vec<usize> = (0..self.k).filter(|&c| self.true_count(c) + self.called(c) > 0).collect();
        if mean == Mean::Micro {
            let mut total = Confusion::default();
            for part in present.iter().map(|&class| self.one_against_rest(class)) {
                total.true_positive += part.true_positive;
                total.false_positive += part.false_positive;
                total.false_negative += part.false_negative;
                total.true_negative += part.true_negative;
            }
            return total.measure(decision, zero);
        }
        let (mut total, mut weights) = (0.0, 0.0);
        for class in present {
            let weight = if mean == Mean::Macro { 1.0 } else { self.true_count(class) as f64 };
            total += weight * self.one_against_rest(class).measure(decision, zero)?;
            weights += weight;
        }
        Ok(total / weights)
    }

    /// The mean recall over the classes that occur. In [0, 1]; O(k^2).
    pub fn balanced_accuracy(&self) -> f64 {
        let classes: Vec<usize> = (0..self.k).filter(|&class| self.true_count(class) > 0).collect();
        let recall = |&class: &usize| self.counts[class * self.k + class] as f64 / self.true_count(class) as f64;
        sum(classes.iter().map(recall)) / classes.len() as f64
    }

    /// Matthews' correlation for several classes. In [-1, 1]; O(k^2).
    ///
    /// # Errors
    /// When all decisions, or all classes, are one and `zero` refuses.
    pub fn mcc(&self, zero: ZeroDivision) -> Result<f64, EvalError> {
        let n: f64 = self.counts.iter().sum::<u64>() as f64;
        let right = sum((0..self.k).map(|class| self.counts[class * self.k + class] as f64));
        let margins: Vec<(f64, f64)> =
            (0..self.k).map(|class| (self.true_count(class) as f64, self.called(class) as f64)).collect();
        let both = right * n - sum(margins.iter().map(|(of, called)| of * called));
        let classes = n * n - sum(margins.iter().map(|(of, _)| of * of));
        let decisions = n * n - sum(margins.iter().map(|(_, called)| called * called));
        if classes > 0.0 && decisions > 0.0 {
            return Ok(both / (classes.sqrt() * decisions.sqrt()));
        }
        match zero {
            ZeroDivision::Value(value) => Ok(value),
            ZeroDivision::Refuse => Err(EvalError::Degenerate {
                what: "MCC",
                why: "decisions and classes must each take two values or more",
            }),
        }
    }

    fn true_count(&self, class: usize) -> u64 {
        self.counts[class * self.k..(class + 1) * self.k].iter().sum()
    }

    fn called(&self, class: usize) -> u64 {
        self.counts.iter().skip(class).step_by(self.k).sum()
    }
}

/// The class of largest probability in every row of `probabilities` (`n` rows of `k`); the lowest class on ties.
/// O(n k).
///
/// # Errors
/// When a probability is NaN or infinite, or the rows are not of `k` entries.
pub fn top_label(probabilities: &[f64], k: usize) -> Result<Vec<u32>, EvalError> {
    let rows = rows(probabilities, k)?;
    let top = |row: &[f64]| (0..k).fold(0, |best, class| if row[class] > row[best] { class } else { best }) as u32;
    Ok(rows.map(top).collect())
}

/// Share of rows whose class is among the `top` most probable. In [0, 1]; of equal probabilities the lower class comes
/// first; O(n k).
///
/// # Errors
/// As [`top_label`], when the lengths differ or a class is not below `k`, and unless `1 <= top <= k`.
pub fn top_k_accuracy(probabilities: &[f64], k: usize, classes: &[u32], top: usize) -> Result<f64, EvalError> {
    option("top", "at least 1 and at most k", top as f64, (1..=k).contains(&top))?;
    let rows = with_classes(probabilities, k, classes)?;
    let hits = rows.zip(classes).filter(|&(row, &class)| {
        let class = class as usize;
        let before = |other: &usize| row[*other] > row[class] || (row[*other] == row[class] && *other < class);
        (0..k).filter(before).count() < top
    });
    Ok(hits.count() as f64 / classes.len() as f64)
}

/// Mean over rows of `sum over classes of (p - y)^2`, in [0, 2]. O(n k).
///
/// # Errors
/// As [`top_k_accuracy`], and when a probability is not in [0, 1].
pub fn brier_multiclass(probabilities: &[f64], k: usize, classes: &[u32]) -> Result<f64, EvalError> {
    let rows = with_classes(probabilities, k, classes)?;
    shares("probabilities", probabilities)?;
    let terms = rows.zip(classes).map(|(row, &class)| {
        let squares = row.iter().enumerate().map(|(c, p)| (p - f64::from(u8::from(c == class as usize))).powi(2));
        squares.sum::<f64>()
    });
    Ok(sum(terms) / classes.len() as f64)
}

/// Mean over rows of `-ln p` of the class, with p at least `clip`. At least 0; O(n).
///
/// # Errors
/// As [`brier_multiclass`], when a class has probability 0 and `clip` is `None`, and when `clip` is not inside (0, 0.5).
pub fn log_loss_multiclass(
    probabilities: &[f64],
    k: usize,
    classes: &[u32],
    clip: Option<f64>,
) -> Result<f64, EvalError> {
    if let Some(clip) = clip {
        option("clip", "above 0 and below 0.5", clip, 0.0 < clip && clip < 0.5)?;
    }
    let rows = with_classes(probabilities, k, classes)?;
    shares("probabilities", probabilities)?;
    let mut total = Vec::with_capacity(classes.len());
    for (index, (row, &class)) in rows.zip(classes).enumerate() {
        let p = row[class as usize];
        let p = clip.map_or(p, |clip| p.max(clip));
        let accepted = p > 0.0;
        if !accepted {
            let rule = "above 0 for the class that occurred, or clipped";
            return Err(EvalError::OutOfRange { what: "probabilities", rule, index, got: p });
        }
        total.push(-p.ln());
    }
    Ok(sum(total) / classes.len() as f64)
}

/// The unweighted mean AUROC of all classes. In [0, 1]; ties count half; O(k n log n), and times k for pairs of
/// classes.
///
/// # Errors
/// As [`top_k_accuracy`], and when a class below `k` never occurs.
pub fn auroc_multiclass(probabilities: &[f64], k: usize, classes: &[u32], against: Against) -> Result<f64, EvalError> {
    let rows: Vec<&[f64]> = with_classes(probabilities, k, classes)?.collect();
    let mut areas = Vec::new();
    for one in 0..k {
        let others: Vec<Option<usize>> = match against {
            Against::Rest => vec![None],
            Against::One => (0..k).filter(|&other| other != one).map(Some).collect(),
        };
        for other in others {
            let kept = rows.iter().zip(classes).filter(|&(_, &class)| {
                let class = class as usize;
                class == one || other.is_none_or(|other| class == other)
            });
            let (scores, labels): (Vec<f64>, Vec<bool>) =
                kept.map(|(row, &class)| (row[one], class as usize == one)).unzip();
            areas.push(auroc(&scores, &labels)?);
        }
    }
    Ok(sum(areas.iter().copied()) / areas.len() as f64)
}

fn rows(probabilities: &[f64], k: usize) -> Result<std::slice::ChunksExact<'_, f64>, EvalError> {
    option("k", "at least 2", k as f64, k >= 2)?;
    finite("probabilities", probabilities)?;
    if probabilities.len().is_multiple_of(k) {
        return Ok(probabilities.chunks_exact(k));
    }
    let got = probabilities.len();
    Err(EvalError::Length { what: "probabilities, k for each row,", expected: got.next_multiple_of(k), got })
}

fn with_classes<'a>(
    probabilities: &'a [f64],
    k: usize,
    classes: &[u32],
) -> Result<std::slice::ChunksExact<'a, f64>, EvalError> {
    let rows = rows(probabilities, k)?;
    same_length("classes", rows.len(), classes.len())?;
    if let Some(index) = classes.iter().position(|&class| class as usize >= k) {
        return Err(EvalError::OutOfRange { what: "classes", rule: "below k", index, got: f64::from(classes[index]) });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 6] = [0.8, 0.1, 0.1, 0.3, 0.3, 0.4];

    /// Row 1 names class 0 rightly; row 2, of class 1, ties 0 and 1 behind 2.
    #[test]
    fn two_rows_of_three() {
        assert_eq!(top_label(&P, 3).unwrap(), [0, 2]);
        let hits = [1, 2, 3].map(|top| top_k_accuracy(&P, 3, &[0, 1], top).unwrap());
        assert_eq!(hits, [0.5, 0.5, 1.0]);
        // (0.04 + 0.01 + 0.01 + 0.09 + 0.49 + 0.16)/2
        assert!((brier_multiclass(&P, 3, &[0, 1]).unwrap() - 0.4).abs() < 1e-12);
        let loss = log_loss_multiclass(&P, 3, &[0, 1], None).unwrap();
        assert!((loss + 0.5 * (0.8_f64.ln() + 0.3_f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn micro_f1_is_accuracy_and_a_perfect_matrix_has_mcc_one() {
        let matrix = ConfusionMatrix::new(&[0, 1, 2, 2], &[0, 1, 1, 2], 3).unwrap();
        let f1 = matrix.measure(Decision::FBeta(1.0), Mean::Micro, ZeroDivision::Refuse).unwrap();
        assert_eq!(f1, 0.75);
        // Class 1 has two rows, of which one is called so, and nothing else is.
        let expected = Confusion { true_positive: 1, false_positive: 0, false_negative: 1, true_negative: 2 };
        assert_eq!(matrix.one_against_rest(1), expected);
        assert!((matrix.balanced_accuracy() - (1.0 + 0.5 + 1.0) / 3.0).abs() < 1e-15);
        let perfect = ConfusionMatrix::new(&[0, 1, 2], &[0, 1, 2], 3).unwrap();
        assert!((perfect.mcc(ZeroDivision::Refuse).unwrap() - 1.0).abs() < 1e-15);
        let constant = ConfusionMatrix::new(&[0, 0], &[0, 1], 2).unwrap();
        assert!(matches!(constant.mcc(ZeroDivision::Refuse), Err(EvalError::Degenerate { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(top_label(&[], 3), Err(EvalError::Empty { .. })));
        assert!(matches!(top_label(&[0.5; 4], 3), Err(EvalError::Length { .. })));
        assert!(matches!(brier_multiclass(&P, 3, &[0, 3]), Err(EvalError::OutOfRange { index: 1, .. })));
        assert!(matches!(auroc_multiclass(&P, 3, &[0, 1], Against::Rest), Err(EvalError::Degenerate { .. })));
        assert!(log_loss_multiclass(&[1.0, 0.0], 2, &[1], None).is_err());
        // Scores that are no probabilities, which would give a loss below 0.
        let said = log_loss_multiclass(&[3.0, 0.5], 2, &[0], None).unwrap_err().to_string();
        assert_eq!(said, "probabilities must be between 0 and 1, got 3 at record 0");
        assert!(matches!(brier_multiclass(&[3.0, 0.5], 2, &[0]), Err(EvalError::OutOfRange { .. })));
        for clip in [0.0, -1.0, f64::NAN, 0.5] {
            let clipped = log_loss_multiclass(&[1.0, 0.0], 2, &[1], Some(clip));
            assert!(matches!(clipped, Err(EvalError::Range { name: "clip", .. })), "{clip}");
        }
    }
}
