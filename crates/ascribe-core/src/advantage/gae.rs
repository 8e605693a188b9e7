//! Generalized advantage estimation: arXiv:1506.02438, eq. 16, over the tokens of a response.
//!
//! ```text
//! delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lambda A_{t+1},   return_t = A_t + V_t
//! ```
//! The score is paid on the last token, and the value behind it is 0. Advantages are normalised over all tokens of the
//! batch afterwards; returns are not.

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, GradeNeeds, Graded, Normalize, check_all, check_fraction};

/// Advantage of each token. `rewards` and `values` have one entry a token.
///
/// ```
/// use ascribe_core::advantage::gae;
/// // gamma 1, lambda 0.5, values 0: deltas are [0, 0, 1].
/// assert_eq!(gae(&[0.0, 0.0, 1.0], &[0.0; 3], 1.0, 0.5), [0.25, 0.5, 1.0]);
/// ```
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    let (mut ahead, mut next) = (0.0, 0.0);
    let mut advantages: Vec<f64> = rewards
        .iter()
        .zip(values)
        .rev()
        .map(|(reward, value)| {
            ahead = reward + gamma * next - value + gamma * lambda * ahead;
            next = *value;
            ahead
        })
        .collect();
    advantages.reverse();
    advantages
}

/// Sum of the rewards from each token on, those further ahead discounted.
pub fn returns_to_go(rewards: &[f64], gamma: f64) -> Vec<f64> {
    let mut ahead = 0.0;
    let mut returns: Vec<f64> = rewards
        .iter()
        .rev()
        .map(|reward| {
            ahead = reward + gamma * ahead;
            ahead
        })
        .collect();
    returns.reverse();
    returns
}

/// The estimator of PPO. A response without a score is left at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gae {
    /// Discount from token to token, in [0, 1].
    pub gamma: f64,
    /// Decay of the trace: 0 is one step of temporal difference, 1 is the return minus the value. In [0, 1].
    pub lambda: f64,
    /// What is done to all advantages at the end.
    pub normalize: Normalize,
}

impl AdvantageEstimator for Gae {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds::of_values()
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_fraction("gamma", self.gamma)?;
        check_fraction("lambda", self.lambda)?;
        check_all(rollouts, self.needs())?;
        let one = |rollout: &Graded| {
            let Some(score) = rollout.score else {
                // Its value is its own target: nothing is learned of it.
                return Advantage { tokens: vec![0.0; rollout.tokens()], returns: rollout.values.clone() };
            };
            let tokens = gae(&rollout.paid(score), &rollout.values, self.gamma, self.lambda);
            let returns = tokens.iter().zip(&rollout.values).map(|(advantage, value)| advantage + value).collect();
            Advantage { tokens, returns }
        };
        let mut advantages: Vec<Advantage> = rollouts.iter().map(one).collect();
        let counted: Vec<bool> = rollouts.iter().map(|rollout| rollout.score.is_some()).collect();
        self.normalize.apply(&mut advantages, &counted)?;
        Ok(advantages)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance), "{got:?} beside {expected:?}");
    }

    #[test]
    fn gae_by_hand() {
        // Deltas: -0.1, 0.2, 0.2, 0.2; from the end 0.2, 0.2 + 0.95 * 0.2 = 0.39, 0.2 + 0.95 * 0.39, ..
        let got = gae(&[0.0, 0.0, 0.0, 1.0], &[0.5, 0.4, 0.6, 0.8], 1.0, 0.95);
        close(&got, &[0.441975, 0.5705, 0.39, 0.2], 1e-12);
        assert_eq!(returns_to_go(&[1.0, 0.0, 4.0], 0.5), [2.0, 2.0, 4.0]);
    }

    #[test]
    fn what_is_missing_is_refused() {
        let estimator = Gae { gamma: 1.0, lambda: 0.95, normalize: Normalize::No };
        let plain = Graded::scored(0, 1.0, 3);
        assert!(estimator.estimate(std::slice::from_ref(&plain)).is_err(), "no values");
        let sound = Graded { values: vec![0.0; 3], ..plain };
        assert!(estimator.estimate(std::slice::from_ref(&sound)).is_ok());
        assert!(estimator.estimate(&[Graded { score: Some(f64::NAN), ..sound.clone() }]).is_err());
        assert!(Gae { gamma: 1.5, ..estimator }.estimate(std::slice::from_ref(&sound)).is_err());
        assert!(Gae { lambda: f64::NAN, ..estimator }.estimate(std::slice::from_ref(&sound)).is_err());
        let unscored = Graded { score: None, values: vec![0.5; 3], ..sound };
        let got = estimator.estimate(&[unscored]).unwrap();
        assert_eq!(got[0], Advantage { tokens: vec![0.0; 3], returns: vec![0.5; 3] });
    }

    fn row() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        prop::collection::vec((-3.0..3.0f64, -3.0..3.0f64), 1..9).prop_map(|row| row.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn with_lambda_one_it_is_the_return_minus_the_value((rewards, values) in row(), gamma in 0.5..=1.0f64) {
            let returns = returns_to_go(&rewards, gamma);
            let expected: Vec<f64> = returns.iter().zip(&values).map(|(r, v)| r - v).collect();
            close(&gae(&rewards, &values, gamma, 1.0), &expected, 1e-9);
        }

        #[test]
        fn with_lambda_zero_it_is_one_step((rewards, values) in row(), gamma in 0.0..=1.0f64) {
            let next = values.iter().skip(1).copied().chain([0.0]);
            let expected: Vec<f64> =
                rewards.iter().zip(&values).zip(next).map(|((r, v), next)| r + gamma * next - v).collect();
            close(&gae(&rewards, &values, gamma, 0.0), &expected, 1e-9);
        }

        #[test]
        fn a_value_that_is_right_everywhere_leaves_no_advantage(score in -2.0..2.0f64, n in 1usize..6, rows in 1usize..4) {
            let rows: Vec<Graded> =
                (0..rows).map(|group| Graded { values: vec![score; n], ..Graded::scored(group, score, n) }).collect();
            let estimator = Gae { gamma: 1.0, lambda: 0.95, normalize: Normalize::No };
            for advantage in estimator.estimate(&rows).unwrap() {
                close(&advantage.tokens, &vec![0.0; n], 1e-12);
                close(&advantage.returns, &vec![score; n], 1e-12);
            }
        }
    }
}
