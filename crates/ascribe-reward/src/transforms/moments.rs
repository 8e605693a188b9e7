//! Centring and scaling of rewards, once and for all or as they come.
//!
//! ```text
//! standard: r' = (r - mean) / std
//! running (Chan's merge; the code of ONI): m = 0, v = 1, c = 1e-4 at first; a batch of k with mean mb and variance vb:
//! n = c + k;  delta = mb - m;  m += delta k / n;  v = (v c + vb k + delta^2 c k / n) / n;  c = n
//! ```
//! After training a reward model is shifted so that reference responses score 0 on average (arXiv:2009.01325); mean and
//! standard deviation belong into its checkpoint. Variances divide by n. Neither changes a ranking.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_core::{CoreError, Credit, Episode, Scorer};
use serde::{Deserialize, Serialize};

use super::{change, counted};
use crate::RewardError;
use crate::error::{finite, option, same_length};
use crate::math::{mean, variance, varies};

/// A fixed shift and scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standard {
    /// Subtracted.
    pub mean: f64,
    /// Divides; above 0.
    pub std: f64,
}

impl Standard {
    /// Changes nothing.
    pub const NONE: Self = Self { mean: 0.0, std: 1.0 };

    /// Mean 0 and standard deviation 1 on `rewards`.
    ///
    /// # Errors
    /// When there is no reward, one is NaN or infinite, or all are equal.
    pub fn fit(rewards: &[f64]) -> Result<Self, RewardError> {
        finite("the rewards", rewards)?;
        // The variance of equal rewards need not be 0 to the last digit.
        let std = if varies(rewards) { variance(rewards, 0).sqrt() } else { 0.0 };
        option("the standard deviation of the rewards", "above 0; centre them only", std, std > 0.0)?;
        Ok(Self { mean: mean(rewards), std })
    }

    /// Mean 0 on `rewards`, the scale as it is.
    ///
    /// # Errors
    /// When there is no reward, or one is NaN or infinite.
    pub fn centred(rewards: &[f64]) -> Result<Self, RewardError> {
        finite("the rewards", rewards)?;
        Ok(Self { mean: mean(rewards), std: 1.0 })
    }

    /// The changed reward.
    pub fn apply(&self, reward: f64) -> f64 {
        (reward - self.mean) / self.std
    }
}

/// Mean and variance of everything seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The variance.
    pub variance: f64,
    /// How much was seen.
    pub count: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { mean: 0.0, variance: 1.0, count: 1e-4 }
    }
}

impl Moments {
    /// Takes a batch in.
    ///
    /// # Errors
    /// When it is empty, or a value is NaN or infinite; nothing is taken in then.
    pub fn add(&mut self, batch: &[f64]) -> Result<(), RewardError> {
        finite("the rewards", batch)?;
        self.merge(Self { mean: mean(batch), variance: variance(batch, 0), count: batch.len() as f64 });
        Ok(())
    }

    /// Takes in what others saw.
    pub fn merge(&mut self, other: Self) {
        let (n, delta) = (self.count + other.count, other.mean - self.mean);
        let spread =
            self.variance * self.count + other.variance * other.count + delta * delta * self.count * other.count / n;
        *self = Self { mean: self.mean + delta * other.count / n, variance: spread / n, count: n };
    }

    /// The shift and scale by what was seen.
    pub fn standard(&self) -> Standard {
        Standard { mean: self.mean, std: (self.variance + SMALL).sqrt() }
    }
}

/// Keeps equal rewards from a division by 0.
const SMALL: f64 = 1e-8;

/// A scorer whose rewards are brought to mean 0 and variance 1 by all that it gave so far, the batch at hand included. Of
/// credit by token, that of the response counts.
///
/// So a score depends on what was scored before; [`moments`](Self::moments) is the state that a checkpoint must keep.
pub struct RunningNorm<'a> {
    scorer: &'a dyn Scorer,
    moments: Mutex<Moments>,
}

impl<'a> RunningNorm<'a> {
    /// Normalises `scorer`, going on from `moments`.
    pub fn new(scorer: &'a dyn Scorer, moments: Moments) -> Self {
        Self { scorer, moments: Mutex::new(moments) }
    }

    /// What was seen so far.
    pub fn moments(&self) -> Moments {
        *self.state()
    }

    fn state(&self) -> MutexGuard<'_, Moments> {
        // The state is a plain value and whole at every moment.
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scorer for RunningNorm<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credits = self.scorer.score(episodes)?;
        same_length("the credit of the scorer", episodes.len(), credits.len())?;
        let values = |(credit, episode): (&Credit, &Episode)| -> Vec<f64> {
            counted(credit, episode).into_iter().map(|at| f64::from(credit.values()[at])).collect()
        };
        let values: Vec<f64> = credits.iter().zip(episodes).flat_map(values).collect();
        let standard = {
            let mut moments = self.state();
            moments.add(&values)?;
            moments.standard()
        };
        Ok(credits.iter().map(|credit| change(credit, |x| standard.apply(x))).collect())
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;
    use proptest::prelude::*;

    use super::*;

    /// 1, 3 have mean 2 and variance 1; 5 is 3 above and -1 is 3 below.
    #[test]
    fn a_standard_by_hand() {
        let standard = Standard::fit(&[1.0, 3.0]).unwrap();
        assert_eq!((standard.apply(5.0), standard.apply(-1.0)), (3.0, -3.0));
        assert_eq!(Standard::centred(&[1.0, 3.0]).unwrap().apply(5.0), 3.0);
        // Three times 0.1 has a mean a hair above 0.1.
        assert!(matches!(Standard::fit(&[0.1; 3]), Err(RewardError::Range { .. })));
        assert!(matches!(Standard::fit(&[]), Err(RewardError::Empty { .. })));
        assert!(matches!(Standard::centred(&[1.0, f64::NAN]), Err(RewardError::NotFinite { index: 1, .. })));
    }

    #[test]
    fn running_rewards_have_mean_0_and_variance_1_in_the_end() {
        let length = rule(|episode: &Episode| episode.response_tokens().len() as f32);
        let norm = RunningNorm::new(&length, Moments::default());
        let episodes = [Episode::new(&[1], &[2]), Episode::new(&[1], &[2, 3, 4])];
        let credits = norm.score(&episodes).unwrap();
        // Lengths 1 and 3: mean 2, deviation 1, but for the prior of weight 1e-4.
        for (credit, expected) in credits.iter().zip([-1.0, 1.0]) {
            assert!((f64::from(credit.values()[0]) - expected).abs() < 1e-3, "{credit:?}");
        }
        assert!((norm.moments().count - 2.0001).abs() < 1e-9);
        // Of tokens, those of the response: 1 and 3 again, and not the two of the prompt.
        let tokens = crate::transforms::tests::fixed(Credit::tokens(vec![9.0, 9.0, 1.0, 3.0]));
        let norm = RunningNorm::new(&tokens, Moments::default());
        let credits = norm.score(&[Episode::new(&[1, 2], &[3, 4])]).unwrap();
        assert!((norm.moments().count - 2.0001).abs() < 1e-9);
        assert!((f64::from(credits[0].values()[3]) - 1.0).abs() < 1e-3, "{credits:?}");
        let nothing = rule(|_: &Episode| f32::NAN);
        assert!(RunningNorm::new(&nothing, Moments::default()).score(&episodes).is_err());
    }

    proptest! {
        #[test]
        fn two_halves_equal_one_pass_and_the_data_s_own_moments(
            values in prop::collection::vec(-5.0..5.0f64, 2..60), cut in 0.0..1.0f64,
        ) {
            let at = 1 + (cut * (values.len() - 2) as f64) as usize;
            let (mut whole, mut parts) = (Moments::default(), Moments::default());
            whole.add(&values).unwrap();
            parts.add(&values[..at]).unwrap();
            parts.add(&values[at..]).unwrap();
            prop_assert!((whole.mean - parts.mean).abs() < 1e-9 && (whole.variance - parts.variance).abs() < 1e-9);
            // The prior weighs 1e-4 of one value.
            let bound = 1e-2 / values.len() as f64;
            prop_assert!((whole.mean - mean(&values)).abs() < bound);
            prop_assert!((whole.variance - variance(&values, 0)).abs() < bound);
        }

        #[test]
        fn a_centred_model_has_zero_mean(values in prop::collection::vec(-5.0..5.0f64, 1..40)) {
            let standard = Standard::centred(&values).unwrap();
            let moved: Vec<f64> = values.iter().map(|value| standard.apply(*value)).collect();
            prop_assert!(mean(&moved).abs() < 1e-9);
        }
    }
}
