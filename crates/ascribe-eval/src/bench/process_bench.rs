//! ProcessBench (arXiv:2412.06559): where is the first wrong step?
//!
//! ```text
//! label and prediction: index of the first wrong step, or -1;  F1 = 2 a b/(a + b),
//! a = exact matches over solutions with an error, b = over those without;  both 0 gives 0 by definition
//! ```
//! A model with step scores predicts the first step below a threshold, chosen on other data and frozen.

use crate::error::{finite, not_empty, option, same_length};
use crate::stats::sum::mean;
use crate::stats::wilson;
use crate::{Bootstrap, Estimate, EvalError};

/// ProcessBench's numbers, as fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessF1 {
    /// Share of exact matches among solutions with an error.
    pub accuracy_error: Estimate,
    /// Share of exact matches among solutions without.
    pub accuracy_correct: Estimate,
    /// Their harmonic mean; the interval resamples solutions.
    pub f1: Estimate,
}

/// The numbers of `predictions` (`None`: no answer, which matches nothing) against `labels`. In [0, 1]; matches are
/// exact, so there are no ties, and F1 is 0 by definition where both accuracies are; O(B n).
///
/// # Errors
/// When the lengths differ, there is no solution, a label is below -1, or solutions with or without an error are
/// absent.
pub fn process_f1(predictions: &[Option<i64>], labels: &[i64], bootstrap: &Bootstrap) -> Result<ProcessF1, EvalError> {
    let f1 = bootstrap.weighted_metric(labels.len(), counted_f1(predictions, labels)?)?;
    let matches = matches(predictions, labels);
    let share = |is_error: bool| {
        let of_class = matches.iter().filter(|row| row.0 == is_error);
        let (hits, n) = of_class.fold((0, 0), |(hits, n), row| (hits + usize::from(row.1), n + 1));
        wilson(hits, n, bootstrap.level)
    };
    Ok(ProcessF1 { accuracy_error: share(true)?, accuracy_correct: share(false)?, f1 })
}

/// For each solution, whether it has an error, and whether the prediction matches.
fn matches(predictions: &[Option<i64>], labels: &[i64]) -> Vec<(bool, bool)> {
    predictions.iter().zip(labels).map(|(prediction, &label)| (label != -1, *prediction == Some(label))).collect()
}

/// The F1 as a function of how often each solution counts.
pub(crate) fn counted_f1(
    predictions: &[Option<i64>],
    labels: &[i64],
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync + use<>, EvalError> {
    not_empty("the predictions", predictions)?;
    same_length("labels", predictions.len(), labels.len())?;
    if let Some(index) = labels.iter().position(|&label| label < -1) {
        return Err(EvalError::OutOfRange { what: "labels", rule: "at least -1", index, got: labels[index] as f64 });
    }
    let matches = matches(predictions, labels);
    Ok(move |counts: &[u32]| {
        // By class, without and with an error: solutions, and matches among them.
        let (mut all, mut hits) = ([0_u64; 2], [0_u64; 2]);
        for (&(is_error, is_match), &count) in matches.iter().zip(counts) {
            all[usize::from(is_error)] += u64::from(count);
            hits[usize::from(is_error)] += u64::from(count) * u64::from(is_match);
        }
        harmonic(all, hits.map(|hits| hits as f64))
    })
}

/// The F1 from solutions without and with an error, and the matches among them.
fn harmonic(all: [u64; 2], hits: [f64; 2]) -> Result<f64, EvalError> {
    if all.contains(&0) {
        let why = "it needs solutions with an error and solutions without";
        return Err(EvalError::Degenerate { what: "the process F1", why });
    }
    let [b, a] = [0, 1].map(|class| hits[class] / all[class] as f64);
    Ok(if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) })
}

/// What a guess reaches to which every step and "no error" are equally likely: the F1 of its expected accuracies, the
/// means of `1/(steps + 1)` over solutions with an error and over those without. In (0, 1]; O(n).
///
/// # Errors
/// When the lengths differ, there is no solution, a label is neither -1 nor the index of a step, or solutions with or
/// without an error are absent.
pub fn chance_f1(labels: &[i64], steps: &[usize]) -> Result<f64, EvalError> {
    not_empty("the labels", labels)?;
    same_length("steps", labels.len(), steps.len())?;
    let (mut all, mut hits) = ([0_u64; 2], [0.0; 2]);
    for (index, (&label, &steps)) in labels.iter().zip(steps).enumerate() {
        if label < -1 || label >= steps as i64 {
            let rule = "-1 or the index of a step";
            return Err(EvalError::OutOfRange { what: "labels", rule, index, got: label as f64 });
        }
        let class = usize::from(label != -1);
        all[class] += 1;
        hits[class] += 1.0 / (steps as f64 + 1.0);
    }
    harmonic(all, hits)
}

/// The first step whose score is strictly below `threshold`, or -1. A score of exactly `threshold` is no error;
/// O(steps).
///
/// # Errors
/// When there is no step, a score is NaN or infinite, or the threshold is NaN.
pub fn first_error(scores: &[f64], threshold: f64) -> Result<i64, EvalError> {
    finite("the step scores", scores)?;
    option("threshold", "a number", threshold, !threshold.is_nan())?;
    Ok(scores.iter().position(|&score| score < threshold).map_or(-1, |step| step as i64))
}

/// The step of the smallest score, the first of them on ties: for solutions known to hold an error. O(steps).
///
/// # Errors
/// When there is no step or a score is NaN or infinite.
pub fn weakest_step(scores: &[f64]) -> Result<i64, EvalError> {
    finite("the step scores", scores)?;
    Ok((0..scores.len()).fold(0, |best, step| if scores[step] < scores[best] { step } else { best }) as i64)
}

/// How near predictions come to the first error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Localisation {
    /// Share of exact matches, over all solutions.
    pub exact: Estimate,
    /// Share of predictions at most one step off; "no error" is near nothing but itself.
    pub within_one: Estimate,
    /// Mean distance in steps over solutions with an error for which one was predicted; `None` without any.
    pub mean_offset: Option<f64>,
}

/// Whether a predicted first error is at most one step off; -1 is near nothing but itself.
pub(crate) fn within_one(prediction: i64, label: i64) -> bool {
    prediction == label || (prediction >= 0 && label >= 0 && prediction.abs_diff(label) <= 1)
}

/// Compares predicted with labelled first errors. Shares lie in [0, 1], the offset is at least 0; O(n).
///
/// # Errors
/// As [`process_f1`], but one class may be absent.
pub fn localisation(predictions: &[i64], labels: &[i64], bootstrap: &Bootstrap) -> Result<Localisation, EvalError> {
    not_empty("the predictions", predictions)?;
    same_length("labels", predictions.len(), labels.len())?;
    for (what, entries) in [("predictions", predictions), ("labels", labels)] {
        if let Some(index) = entries.iter().position(|&entry| entry < -1) {
            return Err(EvalError::OutOfRange { what, rule: "at least -1", index, got: entries[index] as f64 });
        }
    }
    let pairs = || predictions.iter().zip(labels).map(|(&prediction, &label)| (prediction, label));
    let count = pairs().filter(|&(prediction, label)| within_one(prediction, label)).count();
    let exact = pairs().filter(|(prediction, label)| prediction == label).count();
    let offsets: Vec<f64> = pairs()
        .filter(|&(prediction, label)| prediction >= 0 && label >= 0)
        .map(|(prediction, label)| prediction.abs_diff(label) as f64)
        .collect();
    Ok(Localisation {
        exact: wilson(exact, labels.len(), bootstrap.level)?,
        within_one: wilson(count, labels.len(), bootstrap.level)?,
        mean_offset: (!offsets.is_empty()).then(|| mean(&offsets)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two of five errors and four of five clean solutions: 2 * 0.4 * 0.8/1.2.
    #[test]
    fn ten_solutions() {
        let labels = [0, 1, 2, 3, 4, -1, -1, -1, -1, -1];
        let mut predictions = [0, 1, 0, -1, 3, -1, -1, -1, -1, 2].map(Some);
        predictions[3] = None;
        let scores = process_f1(&predictions, &labels, &Bootstrap::default()).unwrap();
        assert!((scores.f1.value - 0.533_333_333_3).abs() < 1e-9 && scores.f1.interval.is_some());
        assert_eq!((scores.accuracy_error.value, scores.accuracy_correct.n), (0.4, 5));
        let near = localisation(&[0, 1, 0, -1, 3, -1, -1, -1, -1, 2], &labels, &Bootstrap::NONE).unwrap();
        // Offsets 0, 0, 2, 1 where both name a step.
        assert_eq!((near.exact.value, near.within_one.value, near.mean_offset), (0.6, 0.7, Some(0.75)));
    }

    #[test]
    fn nothing_right_is_zero_and_one_class_is_refused() {
        let f1 = |p: &[Option<i64>], l: &[i64]| process_f1(p, l, &Bootstrap::NONE);
        assert_eq!(f1(&[Some(1), Some(0)], &[0, -1]).unwrap().f1.value, 0.0);
        assert!(matches!(f1(&[Some(1)], &[1]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(f1(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(f1(&[None, None], &[-2, 0]), Err(EvalError::OutOfRange { .. })));
    }

    /// With an error 1/2 and 1/4, a mean of 3/8; without 1/5: 2 * 3/8 * 1/5/(3/8 + 1/5) = 6/23.
    #[test]
    fn a_guess_depends_on_the_number_of_steps() {
        assert!((chance_f1(&[0, 2, -1], &[1, 3, 4]).unwrap() - 6.0 / 23.0).abs() < 1e-15);
        assert!(matches!(chance_f1(&[1, -1], &[1, 1]), Err(EvalError::OutOfRange { index: 0, .. })));
        assert!(matches!(chance_f1(&[-1], &[1]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(chance_f1(&[-1, 0], &[1]), Err(EvalError::Length { .. })));
        assert!(matches!(chance_f1(&[], &[]), Err(EvalError::Empty { .. })));
    }

    #[test]
    fn an_oracle_is_1_and_who_never_finds_an_error_keeps_what_is_right() {
        let labels = [0, 2, -1, 1, -1];
        let found = |predictions: [i64; 5]| {
            let scores = process_f1(&predictions.map(Some), &labels, &Bootstrap::NONE).unwrap();
            [scores.accuracy_error.value, scores.accuracy_correct.value, scores.f1.value]
        };
        assert_eq!(found(labels), [1.0; 3]);
        assert_eq!(found([-1; 5]), [0.0, 1.0, 0.0]);
        // A threshold of 0 is below every probability, and no probability is strictly below it.
        for scores in [&[0.0][..], &[0.3, 0.0, 1.0], &[1.0, 1.0], &[f64::MIN_POSITIVE]] {
            assert_eq!(first_error(scores, 0.0).unwrap(), -1, "{scores:?}");
        }
    }

    #[test]
    fn the_threshold_is_strict() {
        assert_eq!(first_error(&[0.9, 0.5, 0.2], 0.5).unwrap(), 2);
        assert_eq!(first_error(&[0.9, 0.5], 0.5).unwrap(), -1);
        assert_eq!(weakest_step(&[0.9, 0.2, 0.2]).unwrap(), 1);
        assert!(first_error(&[], 0.5).is_err() && first_error(&[0.5], f64::NAN).is_err());
    }
}
