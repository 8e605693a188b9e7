//! The robust reward of several uncertain heads: "Reward-Robust RLHF in LLMs", arXiv:2409.15360.
//!
//! ```text
//! r_lambda = lambda r_nominal + (1 - lambda) min_m mu_m,   r_nominal = mu of the head with the smallest s
//! ```
//! That is the objective `lambda J_perf + (1 - lambda) J_rob` by sample, with the usual penalty on the divergence from the
//! reference in both. lambda 1 trusts the most certain head, 0 is the worst case over heads. The heads are trained by
//! [`GaussianHeads`](crate::losses::GaussianHeads), which also gives `s = softplus(z) + 1e-4`. lambda 0.5 is our default.

use crate::RewardError;
use crate::error::{finite, option, same_length, within};
use crate::losses::FLOOR;

/// What the heads say of one response.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// Mean of each head.
    pub means: Vec<f64>,
    /// Standard deviation of each head; above 0.
    pub deviations: Vec<f64>,
}

/// The robust reward of a response, and what to watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Robust {
    /// The reward.
    pub reward: f64,
    /// Largest less smallest mean.
    pub spread: f64,
    /// The most certain head.
    pub nominal: usize,
    /// Whether the most certain head is also the most cautious one.
    pub agrees: bool,
}

impl Heads {
    /// Heads from the `2 M` numbers that the model gives a response: M means, then M values `z`.
    ///
    /// # Errors
    /// When the number is odd or 0, or a value is NaN or infinite.
    pub fn from_output(output: &[f64]) -> Result<Self, RewardError> {
        finite("the output of the heads", output)?;
        let half = output.len() / 2;
        same_length("the output of the heads, a mean and a deviation each,", 2 * half, output.len())?;
        // The bounds of ln s are those of training.
        let deviation = |z: &f64| {
            let s = z.max(0.0) + (-z.abs()).exp().ln_1p() + FLOOR;
            s.clamp((-7f64).exp(), 4f64.exp())
        };
        Ok(Self { means: output[..half].to_vec(), deviations: output[half..].iter().map(deviation).collect() })
    }

    /// The robust reward with weight `lambda` on the nominal head.
    ///
    /// # Errors
    /// When `lambda` is not in [0, 1], there is no head, the lengths differ, or a value is out of range.
    pub fn reward(&self, lambda: f64) -> Result<Robust, RewardError> {
        option("lambda", "in [0, 1]", lambda, (0.0..=1.0).contains(&lambda))?;
        finite("the means of the heads", &self.means)?;
        same_length("the deviations of the heads", self.means.len(), self.deviations.len())?;
        within("the deviation of a head", &self.deviations, "finite and above 0", |s| 0.0 < s && s.is_finite())?;
        let smallest = |values: &[f64]| (1..values.len()).fold(0, |at, m| if values[m] < values[at] { m } else { at });
        let (nominal, cautious) = (smallest(&self.deviations), smallest(&self.means));
        let worst = self.means[cautious];
        let best = self.means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let reward = lambda * self.means[nominal] + (1.0 - lambda) * worst;
        Ok(Robust { reward, spread: best - worst, nominal, agrees: self.means[nominal] == worst })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads(means: &[f64], deviations: &[f64]) -> Heads {
        Heads { means: means.to_vec(), deviations: deviations.to_vec() }
    }

    #[test]
    fn three_heads_by_hand() {
        let robust = heads(&[1.0, 3.0, 2.0], &[0.5, 0.1, 0.3]).reward(0.25).unwrap();
        // 0.25 * 3 + 0.75 * 1
        assert_eq!(robust, Robust { reward: 1.5, spread: 2.0, nominal: 1, agrees: false });
        // softplus(0) = ln 2.
        let read = Heads::from_output(&[1.0, 2.0, 0.0, -100.0]).unwrap();
        assert_eq!(read.means, [1.0, 2.0]);
        assert!((read.deviations[0] - (2f64.ln() + 1e-4)).abs() < 1e-12);
        assert!((read.deviations[1] - (-7f64).exp()).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sound = heads(&[1.0], &[0.5]);
        for lambda in [-0.1, 1.1, f64::NAN] {
            assert!(sound.reward(lambda).is_err(), "{lambda}");
        }
        assert!(heads(&[], &[]).reward(0.5).is_err() && heads(&[1.0], &[]).reward(0.5).is_err());
        assert!(heads(&[1.0], &[0.0]).reward(0.5).is_err() && heads(&[f64::NAN], &[1.0]).reward(0.5).is_err());
        assert!(Heads::from_output(&[]).is_err() && Heads::from_output(&[1.0; 3]).is_err());
    }

    /// A constant reward teaches nothing: its advantage is 0 for every response.
    #[test]
    fn a_constant_reward_has_no_advantage() {
        let rewards: Vec<f64> = (0..4).map(|_| heads(&[2.0; 3], &[0.5; 3]).reward(0.5).unwrap().reward).collect();
        let baseline = rewards.iter().sum::<f64>() / 4.0;
        assert!(rewards.iter().all(|reward| reward - baseline == 0.0));
    }

    fn any_heads() -> impl Strategy<Value = Heads> {
        prop::collection::vec((-5.0..5.0f64, 0.1..2.0f64), 1..6).prop_map(|heads| Heads {
            means: heads.iter().map(|head| head.0).collect(),
            deviations: heads.iter().map(|head| head.1).collect(),
        })
    }

    proptest! {
        #[test]
        fn lambda_goes_from_the_worst_case_to_the_nominal_head(heads in any_heads(), lambda in 0.0..=1.0f64) {
            let worst = heads.means.iter().copied().fold(f64::INFINITY, f64::min);
            let nominal = heads.reward(1.0).unwrap();
            prop_assert_eq!(nominal.reward, heads.means[nominal.nominal]);
            prop_assert_eq!(heads.reward(0.0).unwrap().reward, worst);
            prop_assert!(heads.reward(lambda).unwrap().reward <= nominal.reward + 1e-12);
        }

        #[test]
        fn equal_heads_are_free_of_lambda(mu in -5.0..5.0f64, m in 1usize..6, lambda in 0.0..=1.0f64) {
            let robust = heads(&vec![mu; m], &vec![0.5; m]).reward(lambda).unwrap();
            prop_assert!((robust.reward - mu).abs() < 1e-12 && robust.spread == 0.0 && robust.agrees);
        }
    }
}
