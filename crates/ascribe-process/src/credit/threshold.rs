//! The threshold below which a step is wrong: ProcessBench, arXiv:2412.06559, section 4.
//!
//! ```text
//! prediction = first step with p < tau, else -1        tau = what maximises F1 on one subset, frozen for all others
//! ```
//! Candidates are the distinct scores and one value above them all; ties in F1 go to the lowest.

use crate::ProcessError;

/// The best threshold on one subset, and its F1 as a fraction. `labels` are the first wrong step, counted from 0, or -1.
///
/// # Errors
/// When there is not one label a response, a response has no step, a score is not in [0, 1], a label names no step, or
/// responses with or without an error are absent.
pub fn best_threshold(scores: &[Vec<f64>], labels: &[i64]) -> Result<(f64, f64), ProcessError> {
    if scores.len() != labels.len() {
        let (expected, got) = (scores.len(), labels.len());
        return Err(ProcessError::Length { what: "the labels", each: "a response", expected, got });
    }
    for (steps, label) in scores.iter().zip(labels) {
        if let Some(wrong) = steps.iter().find(|score| !(0.0..=1.0).contains(*score)) {
            return Err(ProcessError::range("a step score", "in [0, 1]", wrong));
        }
        if steps.is_empty() || !(-1..steps.len() as i64).contains(label) {
            return Err(ProcessError::range("a label", "-1 or the number of a step, from 0", label));
        }
    }
    let errors = labels.iter().filter(|label| **label != -1).count();
    let clean = labels.len() - errors;
    if errors == 0 || clean == 0 {
        let remedy = "a threshold needs responses with an error and responses without";
        return Err(ProcessError::Empty { what: "one of the two classes", remedy });
    }
    let mut candidates: Vec<f64> = scores.iter().flatten().copied().collect();
    candidates.sort_by(f64::total_cmp);
    candidates.dedup();
    candidates.push(2.0);
    let f1 = |tau: f64| {
        let (mut found, mut kept) = (0, 0);
        for (steps, label) in scores.iter().zip(labels) {
            let prediction = steps.iter().position(|score| *score < tau).map_or(-1, |step| step as i64);
            let hit = usize::from(prediction == *label);
            if *label == -1 { kept += hit } else { found += hit }
        }
        let (a, b) = (found as f64 / errors as f64, kept as f64 / clean as f64);
        if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) }
    };
    let mut best = (candidates[0], f1(candidates[0]));
    for &tau in &candidates[1..] {
        let value = f1(tau);
        if value > best.1 {
            best = (tau, value);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_best_threshold_by_hand() {
        let scores = [vec![0.9, 0.2], vec![0.8, 0.7], vec![0.6, 0.9]];
        // tau = .6 finds the error and keeps both others; .7 would lose the third.
        assert_eq!(best_threshold(&scores, &[1, -1, -1]).unwrap(), (0.6, 1.0));
        // Whatever tau: step 1 of the first is below step 0, so label 0 is never predicted with the others kept.
        let (tau, f1) = best_threshold(&scores, &[0, -1, -1]).unwrap();
        assert_eq!((tau, f1), (0.2, 0.0));
    }

    #[test]
    fn the_harmonic_mean_by_hand() {
        // Two errors of which one is found, five clean of which four are kept: 2 * .5 * .8 / 1.3.
        let mut scores = vec![vec![0.1], vec![1.0]];
        let mut labels = vec![0, 0];
        scores.extend([vec![0.9], vec![0.9], vec![0.9], vec![0.9], vec![0.05]]);
        labels.extend([-1; 5]);
        let (tau, f1) = best_threshold(&scores, &labels).unwrap();
        assert!((tau, (f1 - 0.615_385).abs() < 1e-6) == (0.9, true), "{tau} {f1}");
    }

    #[test]
    fn what_has_no_threshold_is_refused() {
        assert!(best_threshold(&[vec![0.5]], &[]).is_err());
        assert!(best_threshold(&[vec![0.5]], &[0]).is_err() && best_threshold(&[vec![0.5]], &[-1]).is_err());
        assert!(best_threshold(&[vec![0.5], vec![0.5]], &[1, -1]).is_err());
        assert!(best_threshold(&[vec![], vec![0.5]], &[-1, 0]).is_err());
        assert!(best_threshold(&[vec![f64::NAN], vec![0.5]], &[-1, 0]).is_err());
    }

    proptest! {
        #[test]
        fn a_monotone_transform_moves_the_threshold_alone(
            rows in prop::collection::vec((prop::collection::vec(0.0..=1.0f64, 1..5), -1i64..4), 2..12),
        ) {
            let (scores, labels): (Vec<Vec<f64>>, Vec<i64>) =
                rows.into_iter().map(|(steps, label)| { let last = steps.len() as i64 - 1; (steps, label.min(last)) }).unzip();
            let squared: Vec<Vec<f64>> = scores.iter().map(|steps| steps.iter().map(|p| p * p).collect()).collect();
            if let Ok((tau, f1)) = best_threshold(&scores, &labels) {
                let (moved, same) = best_threshold(&squared, &labels).unwrap();
                prop_assert_eq!(f1, same);
                prop_assert!(tau == 2.0 && moved == 2.0 || (moved - tau * tau).abs() < 1e-12);
            }
        }
    }
}
