//! Confidence that a model states in words, and what a reward model thinks of it.
//!
//! Taming Overconfidence, arXiv:2410.09724, and its release. The last `Confidence: <number>` of a response counts, on a
//! scale of 0 to 10. P(True) and P(IK): Language Models (Mostly) Know What They Know, arXiv:2207.05221.
//!
//! ```text
//! P(True) = p("True")/(p("True") + p("False"));   MPCE = mean confidence * (1 - correct)
//! PPO-C:  difference  r + w (r - D)(s - 1/2)
//!         threshold   r + w |r|(s - 1/2) where r >= D, else r - w |r|(s - 1/2);   D <- a mean(batch) + (1 - a) D first
//! ```

use super::bins::Binning;
use super::brier::brier;
use super::ece::ece;
use crate::classify::{auroc_estimate, average_precision};
use crate::error::{option, same_length, shares, within};
use crate::rank::{pearson, spearman};
use crate::stats::accuracy;
use crate::stats::sum::{as_numbers, number, sigmoid};
use crate::{Bootstrap, Estimate, EvalError};

/// What happens to confidences that are out of scale or missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfidencePolicy {
    /// They are absent.
    #[default]
    Reject,
    /// As the release does: up to 10 divided by 10, up to 100 by 100, above 1; a missing one takes the most common
    /// stated
    /// value (the first seen on ties, 5 without any) divided by 10.
    ReleaseCompat,
}

/// The stated value of a response, as written: the number after the last `Confidence:`. At least 0; the last one wins;
/// O(characters).
pub fn stated_confidence(text: &str) -> Option<f64> {
    let mark = "confidence:";
    // Lowering ASCII letters keeps the bytes where they are.
    let at = text.to_ascii_lowercase().rfind(mark)? + mark.len();
    let rest = text[at..].trim_start_matches(|letter: char| letter.is_whitespace() || letter == '*');
    let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    rest[..digits].trim_end_matches('.').parse().ok()
}

/// The confidences of a run in [0, 1], and how many responses stated none that the policy reads. O(characters), and
/// times the number of distinct values.
///
/// # Errors
/// Under [`ConfidencePolicy::ReleaseCompat`], when the most common stated value is above 10 and has to stand in.
pub fn parse_confidences(texts: &[&str], policy: ConfidencePolicy) -> Result<(Vec<Option<f64>>, usize), EvalError> {
    let stated: Vec<Option<f64>> = texts.iter().map(|text| stated_confidence(text)).collect();
    if policy == ConfidencePolicy::Reject {
        let confidences: Vec<Option<f64>> =
            stated.into_iter().map(|value| value.filter(|value| *value <= 10.0).map(|value| value / 10.0)).collect();
        let missing = confidences.iter().filter(|value| value.is_none()).count();
        return Ok((confidences, missing));
    }
    let missing = stated.iter().filter(|value| value.is_none()).count();
    let mut counts: Vec<(f64, usize)> = Vec::new();
    for &value in stated.iter().flatten() {
        match counts.iter_mut().find(|(other, _)| *other == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().rev().max_by_key(|(_, count)| *count).map_or(5.0, |&(value, _)| value) / 10.0;
    if missing > 0 {
        let rule = "at most 10 where a missing confidence takes it";
        option("the most common confidence", rule, 10.0 * most, most <= 1.0)?;
    }
    let scaled = |value: f64| match value {
        value if value <= 10.0 => value / 10.0,
        value if value <= 100.0 => value / 100.0,
        _ => 1.0,
    };
    Ok((stated.into_iter().map(|value| Some(value.map_or(most, scaled))).collect(), missing))
}

/// How stated confidences go with correctness.
#[derive(Debug)]
pub struct VerbalReport {
    /// Share of right answers.
    pub accuracy: Estimate,
    /// Expected calibration error.
    pub ece: Estimate,
    /// Brier score.
    pub brier: Estimate,
    /// Mean of confidence on wrong answers, over all answers.
    pub mpce: Estimate,
    /// AUROC of confidence for right answers; an error when all are right or wrong.
    pub auroc: Result<Estimate, EvalError>,
    /// Average precision of confidence for right answers.
    pub auprc_right: Result<Estimate, EvalError>,
    /// Average precision of `1 - confidence` for wrong answers.
    pub auprc_wrong: Result<Estimate, EvalError>,
    /// Pearson correlation; an error also when the confidence is constant.
    pub pearson: Result<Estimate, EvalError>,
    /// Spearman correlation.
    pub spearman: Result<Estimate, EvalError>,
    /// How often each confidence was stated, smallest first.
    pub histogram: Vec<(f64, usize)>,
}

/// The report of confidences in [0, 1]; the release bins with [`Binning::WidthLeftClosed`] of 10. Ranges and ties are
/// those of the metrics in it; O(n log n + B n).
///
/// # Errors
/// When the lengths differ, there is no row, or a confidence is not in [0, 1].
pub fn verbal_report(
    confidence: &[f64],
    correct: &[bool],
    binning: Binning,
    bootstrap: &Bootstrap,
) -> Result<VerbalReport, EvalError> {
    shares("confidence", confidence)?;
    same_length("correct", confidence.len(), correct.len())?;
    let wrong: Vec<bool> = correct.iter().map(|right| !right).collect();
    let doubt: Vec<f64> = confidence.iter().map(|confidence| 1.0 - confidence).collect();
    let lost: Vec<f64> = confidence.iter().zip(&wrong).map(|(confidence, &wrong)| confidence * number(wrong)).collect();
    let right = as_numbers(correct);
    let mut sorted = confidence.to_vec();
    sorted.sort_by(f64::total_cmp);
    let histogram = sorted.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len())).collect();
    Ok(VerbalReport {
        accuracy: accuracy(correct, bootstrap.level)?,
        ece: ece(confidence, correct, binning, bootstrap)?,
        brier: brier(confidence, correct, bootstrap)?,
        mpce: bootstrap.mean(&lost)?,
        auroc: auroc_estimate(confidence, correct, bootstrap),
        auprc_right: average_precision(confidence, correct, bootstrap),
        auprc_wrong: average_precision(&doubt, &wrong, bootstrap),
        pearson: pearson(confidence, &right, bootstrap.level),
        spearman: spearman(confidence, &right, bootstrap),
        histogram,
    })
}

/// P(True) from the log-probabilities of the two options. In [0, 1]; equal log-probabilities give 1/2; O(1).
///
/// # Errors
/// When a log-probability is above 0, NaN or infinite.
pub fn p_true(log_true: f64, log_false: f64) -> Result<f64, EvalError> {
    within("the log-probabilities", &[log_true, log_false], "at most 0", |logp| logp <= 0.0)?;
    Ok(sigmoid(log_true - log_false))
}

/// Cross-entropy of P(IK) with the share of sampled answers that were right, in nats; the interval resamples questions.
/// At least 0; O(B n).
///
/// # Errors
/// When the lengths differ, there is no question, a value is not in [0, 1], or a prediction of 0 or 1 meets another
/// share.
pub fn p_ik_cross_entropy(predicted: &[f64], share: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.mean(&knowledge_losses(predicted, share)?)
}

/// The losses whose mean is [`p_ik_cross_entropy`].
pub(crate) fn knowledge_losses(predicted: &[f64], share: &[f64]) -> Result<Vec<f64>, EvalError> {
    shares("predicted", predicted)?;
    same_length("share", predicted.len(), share.len())?;
    shares("share", share)?;
    let term = |weight: f64, log: f64| if weight == 0.0 { 0.0 } else { -weight * log };
    let losses: Vec<f64> =
        predicted.iter().zip(share).map(|(p, t)| term(*t, p.ln()) + term(1.0 - t, (-p).ln_1p())).collect();
    within("the losses", &losses, "finite; predict neither 0 nor 1", f64::is_finite)?;
    Ok(losses)
}

/// Share of responses whose reward is higher with high stated confidence: ideal 1 for chosen and 0 for rejected. In
/// [0, 1]; a tie is not higher; O(B n).
///
/// # Errors
/// When the lengths differ, there is no response, or a reward is NaN or infinite.
pub fn confidence_bias(high: &[f64], low: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    within("high", high, "finite", f64::is_finite)?;
    same_length("low", high.len(), low.len())?;
    within("low", low, "finite", f64::is_finite)?;
    bootstrap.mean(&high.iter().zip(low).map(|(high, low)| number(high > low)).collect::<Vec<_>>())
}

/// How PPO-C moves a reward by the stated confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PpoC {
    /// By the distance of the reward from its running mean.
    Difference,
    /// By the size of the reward, up or down by the side of the running mean.
    #[default]
    Threshold,
}

impl PpoC {
    /// The rewards of a batch after the move, and the running mean after it. Rewards are first cut to [-10, 10].
    /// Finite; a reward of exactly the mean is on its upper side; O(n).
    ///
    /// # Errors
    /// When the lengths differ, there is no reward, one is NaN or infinite, or `stated` or `rate` is not in [0, 1].
    pub fn adjust(
        self,
        rewards: &[f64],
        stated: &[f64],
        weight: f64,
        mean: f64,
        rate: f64,
    ) -> Result<(Vec<f64>, f64), EvalError> {
        option("weight", "finite", weight, weight.is_finite())?;
        option("mean", "finite", mean, mean.is_finite())?;
        option("rate", "between 0 and 1", rate, (0.0..=1.0).contains(&rate))?;
        within("rewards", rewards, "finite", f64::is_finite)?;
        same_length("stated", rewards.len(), stated.len())?;
        shares("stated", stated)?;
        let cut: Vec<f64> = rewards.iter().map(|reward| reward.clamp(-10.0, 10.0)).collect();
        let mean = rate * crate::stats::sum::mean(&cut) + (1.0 - rate) * mean;
        let adjust = |(&reward, &stated): (&f64, &f64)| {
            reward
                + weight
                    * (stated - 0.5)
                    * match self {
                        Self::Difference => reward - mean,
                        Self::Threshold if reward >= mean => reward.abs(),
                        Self::Threshold => -reward.abs(),
                    }
        };
        Ok((cut.iter().zip(stated).map(adjust).collect(), mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stated_confidence_counts() {
        assert_eq!(stated_confidence("Confidence: 3 ... so Confidence: 8."), Some(8.0));
        assert_eq!(stated_confidence("**confidence:** 7.5/10"), Some(7.5));
        assert_eq!(stated_confidence("I am sure"), None);
        assert_eq!(stated_confidence("Confidence: high"), None);
    }

    /// 9 is stated twice, so the response without a number takes 0.9 under the rule of the release.
    #[test]
    fn policies_for_what_is_out_of_scale() {
        let texts = ["Confidence: 9", "none", "Confidence: 85", "Confidence: 9", "Confidence: 400"];
        let (strict, missing) = parse_confidences(&texts, ConfidencePolicy::Reject).unwrap();
        assert_eq!((strict, missing), (vec![Some(0.9), None, None, Some(0.9), None], 3));
        let (release, missing) = parse_confidences(&texts, ConfidencePolicy::ReleaseCompat).unwrap();
        assert_eq!((release, missing), (vec![Some(0.9), Some(0.9), Some(0.85), Some(0.9), Some(1.0)], 1));
        assert!(parse_confidences(&["Confidence: 80", "none"], ConfidencePolicy::ReleaseCompat).is_err());
        let (none, _) = parse_confidences(&["a"], ConfidencePolicy::ReleaseCompat).unwrap();
        assert_eq!(none, [Some(0.5)]);
    }

    #[test]
    fn a_report_keeps_what_one_class_defines() {
        let report = verbal_report(&[0.9, 0.5], &[true, true], Binning::default(), &Bootstrap::NONE).unwrap();
        assert!(report.auroc.is_err() && report.pearson.is_err() && report.spearman.is_err());
        assert!(report.auprc_right.is_err() && report.auprc_wrong.is_err());
        assert_eq!((report.accuracy.value, report.mpce.value), (1.0, 0.0));
        assert_eq!(report.histogram, [(0.5, 1), (0.9, 1)]);
        let both = verbal_report(&[0.9, 0.5], &[true, false], Binning::default(), &Bootstrap::NONE).unwrap();
        assert_eq!((both.auroc.unwrap().value, both.mpce.value), (1.0, 0.25));
    }

    #[test]
    fn p_true_compares_two_options() {
        assert_eq!(p_true(-1.0, -1.0).unwrap(), 0.5);
        assert!((p_true(0.6_f64.ln(), 0.2_f64.ln()).unwrap() - 0.75).abs() < 1e-12);
        assert!(p_true(0.1, -1.0).is_err() && p_true(f64::NAN, -1.0).is_err());
    }

    /// P(IK) of the share itself is the entropy: ln 2 at one half.
    #[test]
    fn p_ik_is_a_cross_entropy() {
        let loss = p_ik_cross_entropy(&[0.5], &[0.5], &Bootstrap::NONE).unwrap();
        assert!((loss.value - 2_f64.ln()).abs() < 1e-12);
        assert_eq!(p_ik_cross_entropy(&[0.0], &[0.0], &Bootstrap::NONE).unwrap().value, 0.0);
        assert!(p_ik_cross_entropy(&[0.0], &[0.1], &Bootstrap::NONE).is_err());
    }

    /// s = 0.9, D = 0.8, w = 1/2; the rate of 0 keeps D.
    #[test]
    fn ppo_c_by_hand() {
        let moved = |kind: PpoC, reward| kind.adjust(&[reward], &[0.9], 0.5, 0.8, 0.0).unwrap().0[0];
        for (kind, reward, expected) in [
            (PpoC::Difference, 1.2, 1.28),
            (PpoC::Threshold, 1.2, 1.44),
            (PpoC::Difference, 0.3, 0.20),
            (PpoC::Threshold, 0.3, 0.24),
        ] {
            assert!((moved(kind, reward) - expected).abs() < 1e-12, "{kind:?} {reward}");
        }
        assert_eq!(PpoC::Threshold.adjust(&[20.0], &[0.5], 0.5, 0.0, 0.1).unwrap(), (vec![10.0], 1.0));
        assert_eq!(confidence_bias(&[1.0, 2.0], &[0.0, 2.0], &Bootstrap::NONE).unwrap().value, 0.5);
    }
}
