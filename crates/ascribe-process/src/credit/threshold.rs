//! The threshold below which a step is wrong: ProcessBench, arXiv:2412.06559, section 4.
//!
//! ```text
//! prediction = first step with p < tau, else -1        tau = what maximises F1 on one subset, frozen for all others
//! ```
//! Candidates are the distinct scores and one value above them all; ties in F1 go to the lowest.

use crate::ProcessError;

/// The best threshold on one subset, and its F1 as a fraction. `labels` are the first wrong step, counted from 0, or -1.
/// O(steps log steps).
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
    // Step h is predicted for tau in (p_h, least p before h], and none for tau up to the least p of all. What enters and leaves at
    // each candidate:
    let beyond = |score: f64| candidates.partition_point(|tau| *tau <= score);
    let (mut found, mut kept) = (vec![0_i64; candidates.len() + 1], vec![0_i64; candidates.len() + 1]);
    for (steps, label) in scores.iter().zip(labels) {
        let least = |steps: &[f64]| steps.iter().copied().fold(f64::INFINITY, f64::min);
        match usize::try_from(*label) {
            Err(_) => {
                kept[0] += 1;
                kept[beyond(least(steps))] -= 1;
            }
            Ok(step) => {
                let (enters, leaves) = (beyond(steps[step]), beyond(least(&steps[..step])));
                if enters < leaves {
                    found[enters] += 1;
                    found[leaves] -= 1;
                }
            }
        }
    }
    let mut best: Option<(f64, f64)> = None;
    let (mut hits, mut clean_hits) = (0_i64, 0_i64);
    for (&tau, (more, more_clean)) in candidates.iter().zip(found.iter().zip(&kept)) {
        (hits, clean_hits) = (hits + more, clean_hits + more_clean);
        let (a, b) = (hits as f64 / errors as f64, clean_hits as f64 / clean as f64);
        let f1 = if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) };
        if best.is_none_or(|(_, highest)| f1 > highest) {
            best = Some((tau, f1));
        }
    }
    best.ok_or(ProcessError::Empty { what: "the step scores", remedy: "cut the responses" })
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

    /// Every response of one step; those below the middle are wrong, so the middle one is the threshold.
    #[test]
    fn many_distinct_scores_are_swept_once() {
        let n = 40_000_u32;
        let scores: Vec<Vec<f64>> = (0..n).map(|at| vec![f64::from(at) / f64::from(n)]).collect();
        let labels: Vec<i64> = (0..n).map(|at| if at < n / 2 { 0 } else { -1 }).collect();
        assert_eq!(best_threshold(&scores, &labels).unwrap(), (0.5, 1.0));
    }

    /// The best of all candidates by the definition.
    fn by_trying_all(scores: &[Vec<f64>], labels: &[i64]) -> (f64, f64) {
        let mut candidates: Vec<f64> = scores.iter().flatten().copied().chain([2.0]).collect();
        candidates.sort_by(f64::total_cmp);
        let share = |tau: f64, clean: bool| {
            let rows: Vec<bool> = scores
                .iter()
                .zip(labels)
                .filter(|(_, label)| (**label == -1) == clean)
                .map(|(steps, label)| {
                    steps.iter().position(|score| *score < tau).map_or(-1, |step| step as i64) == *label
                })
                .collect();
            rows.iter().filter(|hit| **hit).count() as f64 / rows.len() as f64
        };
        let f1 = |tau: f64| {
            let (a, b) = (share(tau, false), share(tau, true));
            if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) }
        };
        let first = (candidates[0], f1(candidates[0]));
        candidates.iter().fold(first, |best, tau| if f1(*tau) > best.1 { (*tau, f1(*tau)) } else { best })
    }

    proptest! {
        #[test]
        fn one_sweep_finds_what_trying_all_finds(
            rows in prop::collection::vec((prop::collection::vec(0_u8..6, 1..5), -1i64..4), 2..12),
        ) {
            let of = |(steps, label): (Vec<u8>, i64)| {
                let last = steps.len() as i64 - 1;
                (steps.into_iter().map(|score| f64::from(score) / 5.0).collect::<Vec<f64>>(), label.min(last))
            };
            let (scores, labels): (Vec<Vec<f64>>, Vec<i64>) = rows.into_iter().map(of).unzip();
            if let Ok(best) = best_threshold(&scores, &labels) {
                prop_assert_eq!(best, by_trying_all(&scores, &labels));
            }
        }

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
