//! Distances between reward functions: STARC (arXiv:2309.15257) and EPIC (arXiv:2006.13900).
//!
//! ```text
//! STARC-VAL   c(R)(s,a,s') = E_{S'}[R(s,a,S') + g V(S')] - V(s), the advantage of a fixed policy;  s = c/|c|,  d = |s1 - s2|
//! EPIC        c(R) = R + g E[R(s',A,S')] - E[R(s,A,S')] - g E[R(S,A,S')];  d = sqrt((1 - rho)/2), rho Pearson of both
//! ```
//! Shaping by potentials, positive scale and moving reward between next states leave STARC at 0; EPIC does not see
//! through the
//! last. Norms weigh all entries alike. A reward whose canonical form is at most 1e-12 of `|R|/(1-g)` is trivial and
//! has
//! s = 0. [`Canon::Potential`] and [`Canon::Raw`] are the weaker baselines of the release.

use super::mdp::Mdp;
use crate::EvalError;
use crate::error::{finite, option};
use crate::stats::sum::sum;

/// How rewards are brought to one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canon {
    /// The advantage of the policy.
    #[default]
    Advantage,
    /// `R + g V(s') - V(s)`: no canonical form, next states are not averaged.
    Potential,
    /// As they are.
    Raw,
}

/// A norm over all entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norm {
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    #[default]
    L2,
    /// Largest absolute value.
    Max,
}

impl Norm {
    fn of(self, values: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::L1 => sum(values.map(f64::abs)),
            Self::L2 => sum(values.map(|value| value * value)).sqrt(),
            Self::Max => values.map(f64::abs).fold(0.0, f64::max),
        }
    }
}

/// The STARC distance of two rewards `R[s][a][s']`, in [0, 2], for the values of `policy`. Entries of terminal states
/// do not count. O(S^3 + S^2 A).
///
/// # Errors
/// As [`Mdp::values`].
pub fn starc_distance(
    mdp: &Mdp,
    one: &[f64],
    other: &[f64],
    policy: &[f64],
    canon: Canon,
    norm: Norm,
) -> Result<f64, EvalError> {
    let one = standard(mdp, one, policy, canon, norm)?;
    let other = standard(mdp, other, policy, canon, norm)?;
    Ok(norm.of(one.iter().zip(&other).map(|(one, other)| one - other)))
}

fn standard(mdp: &Mdp, rewards: &[f64], policy: &[f64], canon: Canon, norm: Norm) -> Result<Vec<f64>, EvalError> {
    let values = mdp.values(rewards, policy)?;
    let (states, actions, g) = (mdp.states(), mdp.actions(), mdp.discount());
    let entry = |index: usize| {
        let (pair, next) = (index / states, index % states);
        if mdp.is_terminal(pair / actions) {
            return 0.0;
        }
        match canon {
            Canon::Advantage => values.advantage[pair],
            Canon::Potential => rewards[index] + g * values.state[next] - values.state[pair / actions],
            Canon::Raw => rewards[index],
        }
    };
    let canonical: Vec<f64> = (0..rewards.len()).map(entry).collect();
    let size = norm.of(canonical.iter().copied());
    let horizon = if g < 1.0 { 1.0 / (1.0 - g) } else { states as f64 };
    if size <= 1e-12 * horizon * norm.of(rewards.iter().copied()) {
        return Ok(vec![0.0; rewards.len()]);
    }
    Ok(canonical.into_iter().map(|value| value / size).collect())
}

/// The EPIC distance of two rewards `R[s][a][s']` of `states` states, in [0, 1], for laws of states and actions.
/// O(S^2 A).
///
/// # Errors
/// When a length does not fit, a value is NaN or infinite, a law does not sum to 1, the discount is not in [0, 1], or a
/// canonical reward is constant.
pub fn epic_distance(
    one: &[f64],
    other: &[f64],
    discount: f64,
    of_states: &[f64],
    of_actions: &[f64],
) -> Result<f64, EvalError> {
    option("discount", "between 0 and 1", discount, (0.0..=1.0).contains(&discount))?;
    crate::curve::entropy(of_states)?;
    crate::curve::entropy(of_actions)?;
    let (states, actions) = (of_states.len(), of_actions.len());
    let canonical = |what: &'static str, rewards: &[f64]| {
        finite(what, rewards)?;
        crate::error::same_length(what, states * actions * states, rewards.len())?;
        let from = |state: usize| {
            let rows = (0..actions).flat_map(move |a| (0..states).map(move |next| (a, next)));
            sum(rows.map(|(a, next)| of_actions[a] * of_states[next] * rewards[(state * actions + a) * states + next]))
        };
        let means: Vec<f64> = (0..states).map(from).collect();
        let all = sum(means.iter().zip(of_states).map(|(mean, p)| mean * p));
        let entry = |index: usize| {
            let (state, next) = (index / (states * actions), index % states);
            rewards[index] + discount * means[next] - means[state] - discount * all
        };
        Ok::<Vec<f64>, EvalError>((0..rewards.len()).map(entry).collect())
    };
    let (one, other) = (canonical("the first reward", one)?, canonical("the second reward", other)?);
    let weight = |index: usize| {
        of_states[index / (states * actions)] * of_actions[index / states % actions] * of_states[index % states]
    };
    let mean = |values: &dyn Fn(usize) -> f64| sum((0..one.len()).map(|index| weight(index) * values(index)));
    let (first, second) = (mean(&|index| one[index]), mean(&|index| other[index]));
    let covariance = mean(&|index| (one[index] - first) * (other[index] - second));
    let (a, b) = (mean(&|index| (one[index] - first).powi(2)), mean(&|index| (other[index] - second).powi(2)));
    let scale = one.iter().chain(&other).map(|value| value.abs()).fold(0.0, f64::max);
    if a.min(b) <= 1e-24 * scale * scale {
        return Err(EvalError::Degenerate { what: "the EPIC distance", why: "a canonical reward is constant" });
    }
    let rho = (covariance / (a.sqrt() * b.sqrt())).clamp(-1.0, 1.0);
    Ok((0.5 * (1.0 - rho)).sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAU: [f64; 8] = [1.0, 0.0, 0.2, 0.8, 0.5, 0.5, 0.0, 1.0];
    const R: [f64; 8] = [0.0, 0.0, 1.0, 2.0, 0.0, -1.0, 3.0, 0.5];

    fn mdp() -> Mdp {
        Mdp::new(2, TAU.to_vec(), vec![false; 2], 0.9).unwrap()
    }

    fn distance(one: &[f64], other: &[f64]) -> f64 {
        let mdp = mdp();
        starc_distance(&mdp, one, other, &mdp.uniform(), Canon::Advantage, Norm::L2).unwrap()
    }

    fn epic(one: &[f64], other: &[f64]) -> f64 {
        epic_distance(one, other, 0.9, &[0.5; 2], &[0.5; 2]).unwrap()
    }

    #[test]
    fn two_states() {
        let values = mdp().values(&R, &mdp().uniform()).unwrap();
        let expected = [4.270_072_99, 2.956_204_38];
        assert!(values.state.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-8), "{values:?}");
        let expected = [-0.427_007_30, 0.427_007_30, -0.204_379_56, 0.204_379_56];
        assert!(values.advantage.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-8));
        let arrive = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        assert!((distance(&R, &arrive) - 0.112_132_547_5).abs() < 1e-9);
        assert!((epic(&R, &arrive) - 0.807_572_341_4).abs() < 1e-9);
        // Moving reward between next states of (0, 1): 0.2 * 2.4 - 0.8 * 0.6 = 0.
        let mut moved = R;
        moved[2] += 2.4;
        moved[3] -= 0.6;
        assert!((epic(&R, &moved) - 0.308_256_267_3).abs() < 1e-9 && distance(&R, &moved) < 1e-9);
    }

    #[test]
    fn trivial_rewards_and_bad_input() {
        let zero = [0.0; 8];
        assert!(distance(&zero, &zero) == 0.0 && (distance(&R, &zero) - 1.0).abs() < 1e-12);
        assert!(matches!(epic_distance(&zero, &R, 0.9, &[0.5; 2], &[0.5; 2]), Err(EvalError::Degenerate { .. })));
        assert!(epic_distance(&R, &R, 0.9, &[0.5, 0.6], &[0.5; 2]).is_err());
        assert!(epic_distance(&R[1..], &R, 0.9, &[0.5; 2], &[0.5; 2]).is_err());
    }

    proptest! {
        #[test]
        fn starc_is_a_pseudometric_blind_to_shaping_and_scale(
            a in prop::array::uniform8(-3.0..3.0_f64), b in prop::array::uniform8(-3.0..3.0_f64),
            phi in prop::array::uniform2(-5.0..5.0_f64), scale in 0.1..9.0_f64,
        ) {
            let shaped: Vec<f64> =
                a.iter().enumerate().map(|(i, r)| scale * r + 0.9 * phi[i % 2] - phi[i / 4]).collect();
            prop_assert!(distance(&a, &shaped) < 1e-7);
            prop_assert!((distance(&a, &b) - distance(&b, &a)).abs() < 1e-12);
            prop_assert!(distance(&a, &b) <= distance(&a, &R) + distance(&R, &b) + 1e-12);
            prop_assert!((distance(&a, &a.map(|r| -r)) - 2.0).abs() < 1e-9);
        }
    }
}
