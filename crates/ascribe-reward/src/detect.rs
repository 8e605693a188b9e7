//! A detector of machine text out of a reward: ReMoDetect, arXiv:2405.17382. The training loss is
//! [`MachineText`](crate::losses::MachineText).
//!
//! ```text
//! machine where r(text) > threshold;   threshold = the smallest under which human texts are taken for machine at most `fpr` of the time
//! ```
//! AUROC and TPR at an FPR are metrics of `ascribe_eval::classify`. The human texts of the threshold must not be those of the
//! training, or of the test.

use crate::RewardError;
use crate::error::{finite, option};

/// A threshold on rewards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detector {
    threshold: f64,
}

impl Detector {
    /// The threshold that takes at most the share `fpr` of these human texts for machine text.
    ///
    /// # Errors
    /// When there is no reward, one is NaN or infinite, or `fpr` is not in [0, 1).
    pub fn fit(human: &[f64], fpr: f64) -> Result<Self, RewardError> {
        finite("the rewards of human texts", human)?;
        option("fpr", "at least 0 and below 1", fpr, (0.0..1.0).contains(&fpr))?;
        let mut falling = human.to_vec();
        falling.sort_by(|a, b| b.total_cmp(a));
        // So many may lie above it.
        let allowed = (fpr * falling.len() as f64).floor() as usize;
        Ok(Self { threshold: falling[allowed.min(falling.len() - 1)] })
    }

    /// The threshold.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Whether a text of this reward is taken for machine text.
    pub fn is_machine(&self, reward: f64) -> bool {
        reward > self.threshold
    }
}

/// Indices of texts that can teach and be tested: not blank, and not the same as an earlier one or one of `other`, the texts
/// of the other split. The rest leaks or says nothing; count and report it.
pub fn usable_texts(texts: &[&str], other: &[&str]) -> Vec<usize> {
    let mut seen: std::collections::HashSet<&str> = other.iter().map(|text| text.trim()).collect();
    (0..texts.len()).filter(|&at| !texts[at].trim().is_empty() && seen.insert(texts[at].trim())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_threshold_by_hand() {
        let human = [0.1, 0.9, 0.5, 0.3];
        assert_eq!(Detector::fit(&human, 0.0).unwrap().threshold(), 0.9);
        // One of four may lie above.
        let detector = Detector::fit(&human, 0.25).unwrap();
        assert_eq!((detector.threshold(), detector.is_machine(0.5), detector.is_machine(0.6)), (0.5, false, true));
        assert!(Detector::fit(&[], 0.1).is_err() && Detector::fit(&[f64::NAN], 0.1).is_err());
        assert!(Detector::fit(&human, 1.0).is_err() && Detector::fit(&human, f64::NAN).is_err());
    }

    #[test]
    fn blank_and_leaking_texts_are_left_out() {
        assert_eq!(usable_texts(&["a", " ", "b", "a ", "c"], &["b"]), [0, 4]);
    }

    proptest! {
        #[test]
        fn no_more_human_texts_are_taken_than_allowed(human in prop::collection::vec(-3.0..3.0f64, 1..40), fpr in 0.0..0.99f64) {
            let detector = Detector::fit(&human, fpr).unwrap();
            let taken = human.iter().filter(|reward| detector.is_machine(**reward)).count();
            prop_assert!(taken as f64 <= fpr * human.len() as f64);
        }
    }
}
