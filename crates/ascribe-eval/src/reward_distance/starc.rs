//! Distances between reward functions: STARC (arXiv:2309.15257) and EPIC (arXiv:2006.13900).
//!
//! ```text
//! STARC-VAL   c(R)(s,a,s') = E_{S'}[R(s,a,S') + g V(S')] - V(s), the advantage of a fixed policy;  s = n(c) > 0 ? c/n(c) : 0,
//!             d = m(s1 - s2)
//! minimal     c(R) = the member of smallest Euclidean norm of { R' : R' = R + g Phi(s') - Phi(s) + D, E_{S'}[D] = 0 }
//!                  = w(s,a) tau(s'|s,a) (E_{S'}[R + g Phi(S')] - Phi(s)),  w = 1/sum tau^2,  Phi by least squares
//! DARD        c(R) = R + g p(s') - p(s) - g E[R(S',A,S'')],  p(s) = E[R(s,A,S')],  S' ~ tau(s,A), S'' ~ tau(s',A)
//! EPIC        c(R) = R + g E[R(s',A,S')] - E[R(s,A,S')] - g E[R(S,A,S')];  d = sqrt((1 - rho)/2), rho Pearson of both
//! ```
//! Shaping by potentials, positive scale and moving reward between next states leave STARC at 0 by the advantage and by the
//! minimal form; EPIC and DARD (arXiv:2201.10081) do not see through the last. A reward whose canonical form is at most 1e-12
//! of `|R|/(1-g)` is trivial and has s = 0. [`Canon::Dard`], [`Canon::Potential`] and [`Canon::Raw`] are the weaker baselines
//! of the release.

use super::mdp::Mdp;
use crate::EvalError;
use crate::error::{finite, option};
use crate::stats::solve::solve;
use crate::stats::sum::sum;

/// How rewards are brought to one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canon {
    /// The advantage of the policy.
    #[default]
    Advantage,
    /// The form of smallest Euclidean norm; the policy plays no part.
    Minimal,
    /// Dynamics-aware, with uniform actions: next states are moved but not averaged.
    Dard,
    /// `R + g V(s') - V(s)`: no canonical form, next states are not averaged.
    Potential,
    /// As they are.
    Raw,
}

/// A norm over all entries, which count alike or by the chance of their transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norm {
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    #[default]
    L2,
    /// Largest absolute value.
    Max,
    /// `sum tau |x|`.
    ExpectedL1,
    /// `sqrt(sum tau x^2)`.
    ExpectedL2,
}

impl Norm {
    /// Of an array over states, actions and next states.
    fn of(self, mdp: &Mdp, values: impl Iterator<Item = f64>) -> f64 {
        let chances = mdp.chances();
        match self {
            Self::L1 => sum(values.map(f64::abs)),
            Self::L2 => sum(values.map(|value| value * value)).sqrt(),
            Self::Max => values.map(f64::abs).fold(0.0, f64::max),
            Self::ExpectedL1 => sum(values.zip(chances).map(|(value, p)| p * value.abs())),
            Self::ExpectedL2 => sum(values.zip(chances).map(|(value, p)| p * value * value)).sqrt(),
        }
    }
}

/// The STARC distance of two rewards `R[s][a][s']` by the norm that standardises them and the one that measures their
/// difference, for the values of `policy`. In [0, 2] where both norms are the same, half of it then lies in [0, 1]. Entries
/// of terminal states do not count. O(S^3 + S^2 A), with [`Canon::Dard`] O(S^3 A).
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
    metric: Norm,
) -> Result<f64, EvalError> {
    let one = standard(mdp, one, policy, canon, norm)?;
    let other = standard(mdp, other, policy, canon, norm)?;
    Ok(metric.of(mdp, one.iter().zip(&other).map(|(one, other)| one - other)))
}

fn standard(mdp: &Mdp, rewards: &[f64], policy: &[f64], canon: Canon, norm: Norm) -> Result<Vec<f64>, EvalError> {
    let values = mdp.values(rewards, policy)?;
    let (states, actions, g) = (mdp.states(), mdp.actions(), mdp.discount());
    let mut canonical: Vec<f64> = match canon {
        Canon::Advantage => (0..rewards.len()).map(|index| values.advantage[index / states]).collect(),
        Canon::Minimal => minimal(mdp, rewards),
        Canon::Dard => dard(mdp, rewards),
        Canon::Potential => {
            let entry = |index: usize| {
                rewards[index] + g * values.state[index % states] - values.state[index / states / actions]
            };
            (0..rewards.len()).map(entry).collect()
        }
        Canon::Raw => rewards.to_vec(),
    };
    for (index, value) in canonical.iter_mut().enumerate() {
        if mdp.is_terminal(index / states / actions) {
            *value = 0.0;
        }
    }
    let size = norm.of(mdp, canonical.iter().copied());
    let horizon = if g < 1.0 { 1.0 / (1.0 - g) } else { states as f64 };
    if size <= 1e-12 * horizon * norm.of(mdp, rewards.iter().copied()) {
        return Ok(vec![0.0; rewards.len()]);
    }
    Ok(canonical.into_iter().map(|value| value / size).collect())
}

/// The form of smallest Euclidean norm. With potentials `Phi` (0 at terminal states) the mean of a state and action is
/// `m = r - (Phi(s) - g E[Phi(S')])`, and moving it between next states makes its norm smallest where the entries are
/// proportional to `tau`: `m tau/sum tau^2`, of squared norm `m^2/sum tau^2`. So `Phi` is a weighted least-squares fit.
fn minimal(mdp: &Mdp, rewards: &[f64]) -> Vec<f64> {
    let (states, actions, g) = (mdp.states(), mdp.actions(), mdp.discount());
    let means = mdp.mean_rewards(rewards);
    let row = |state: usize, action: usize| {
        let mut row: Vec<f64> = mdp.next(state, action).iter().map(|p| -g * p).collect();
        row[state] += 1.0;
        (0..states).filter(|&other| mdp.is_terminal(other)).for_each(|other| row[other] = 0.0);
        row
    };
    let weight = |state: usize, action: usize| 1.0 / sum(mdp.next(state, action).iter().map(|p| p * p));
    let live = || (0..states).filter(move |&state| !mdp.is_terminal(state));
    let pairs = || live().flat_map(move |state| (0..actions).map(move |action| (state, action)));
    let (mut matrix, mut right) = (vec![0.0; states * states], vec![0.0; states]);
    for (state, action) in pairs() {
        let (row, weight) = (row(state, action), weight(state, action));
        for (i, a) in row.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            right[i] += weight * a * means[state * actions + action];
            row.iter().enumerate().for_each(|(j, b)| matrix[i * states + j] += weight * a * b);
        }
    }
    let potential = solve(matrix, right);
    let mut canonical = vec![0.0; rewards.len()];
    for (state, action) in pairs() {
        let shaped = sum(row(state, action).iter().zip(&potential).map(|(a, potential)| a * potential));
        let mean = means[state * actions + action] - shaped;
        let start = (state * actions + action) * states;
        for (next, p) in mdp.next(state, action).iter().enumerate() {
            canonical[start + next] = weight(state, action) * p * mean;
        }
    }
    canonical
}

/// The dynamics-aware form, with uniform actions. What follows a terminal state is worth nothing.
fn dard(mdp: &Mdp, rewards: &[f64]) -> Vec<f64> {
    let (states, actions, g) = (mdp.states(), mdp.actions(), mdp.discount());
    let share = 1.0 / actions as f64;
    let means = mdp.mean_rewards(rewards);
    let value: Vec<f64> = means.chunks(actions).map(|means| share * sum(means.iter().copied())).collect();
    let mut later = vec![0.0; states * states]; // [s, s']: E[R(S', A, S'')]
    for action in 0..actions {
        let mut between = vec![0.0; states * states]; // [S', s']: E[R(S', A, S'')]
        for (at, entry) in between.iter_mut().enumerate() {
            let (first, next) = (at / states, at % states);
            if !(mdp.is_terminal(first) || mdp.is_terminal(next)) {
                let start = (first * actions + action) * states;
                let chances = mdp.next(next, action).iter();
                *entry = sum(chances.zip(&rewards[start..]).map(|(p, reward)| p * reward));
            }
        }
        for (at, entry) in later.iter_mut().enumerate() {
            let (state, next) = (at / states, at % states);
            if !mdp.is_terminal(state) {
                let firsts = mdp.next(state, action).iter().enumerate();
                *entry += share * sum(firsts.map(|(first, p)| p * between[first * states + next]));
            }
        }
    }
    let entry = |(index, reward): (usize, &f64)| {
        let (state, next) = (index / states / actions, index % states);
        reward + g * value[next] - value[state] - g * later[state * states + next]
    };
    rewards.iter().enumerate().map(entry).collect()
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
    use rand::Rng;

    use super::*;

    const TAU: [f64; 8] = [1.0, 0.0, 0.2, 0.8, 0.5, 0.5, 0.0, 1.0];
    const R: [f64; 8] = [0.0, 0.0, 1.0, 2.0, 0.0, -1.0, 3.0, 0.5];

    fn mdp() -> Mdp {
        Mdp::new(2, TAU.to_vec(), vec![false; 2], 0.9).unwrap()
    }

    fn distance(one: &[f64], other: &[f64]) -> f64 {
        let mdp = mdp();
        starc_distance(&mdp, one, other, &mdp.uniform(), Canon::Advantage, Norm::L2, Norm::L2).unwrap()
    }

    fn by(canon: Canon, norm: Norm, one: &[f64], other: &[f64]) -> f64 {
        let mdp = mdp();
        starc_distance(&mdp, one, other, &mdp.uniform(), canon, norm, norm).unwrap()
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
        assert!(by(Canon::Minimal, Norm::L2, &R, &moved) < 1e-9);
        // Numbers of a Python program: least squares over potentials and moves at once, and DARD's sums term by term.
        assert!((by(Canon::Minimal, Norm::L2, &R, &arrive) - 0.166_849_383_1).abs() < 1e-9);
        assert!((by(Canon::Dard, Norm::L2, &R, &arrive) - 1.753_062_686_8).abs() < 1e-9);
        assert!((by(Canon::Dard, Norm::L2, &R, &moved) - 0.538_992_243).abs() < 1e-9);
    }

    /// The same Python program: by the smallest form itself, and by other norms.
    #[test]
    fn the_smallest_form_and_other_norms() {
        let mdp = mdp();
        let expected = [-0.438_710_813_7, 0.0, 0.020_958_083_8, 0.083_832_335_3, 0.046_730_069_3, 0.046_730_069_3, 0.0];
        let canonical = minimal(&mdp, &R);
        assert!(canonical.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-9), "{canonical:?}");
        assert!((canonical[7] - 0.240_460_256).abs() < 1e-9);
        let arrive = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let norms = [(Norm::L1, 0.121_831_925_3), (Norm::Max, 0.146_367_521_4), (Norm::ExpectedL2, 0.112_132_547_5)];
        for (norm, expected) in norms {
            assert!((by(Canon::Advantage, norm, &R, &arrive) - expected).abs() < 1e-9, "{norm:?}");
        }
        // An advantage is the same for all next states, whose chances sum to 1.
        let (all, expected) = (Norm::L1, Norm::ExpectedL1);
        assert!((by(Canon::Advantage, all, &R, &arrive) - by(Canon::Advantage, expected, &R, &arrive)).abs() < 1e-12);
        let uniform = mdp.uniform();
        let (canon, norm) = (Canon::Advantage, Norm::ExpectedL2);
        let mixed = starc_distance(&mdp, &R, &arrive, &uniform, canon, norm, Norm::Max).unwrap();
        assert!((mixed - 0.069_487_855_1).abs() < 1e-9);
    }

    /// Two actions that lead from the first state to an end: what stands behind the end is nobody's reward.
    #[test]
    fn ends_are_worth_nothing() {
        let mdp = Mdp::new(2, vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], vec![false, true], 1.0).unwrap();
        let of = |canon, one: &[f64], other: &[f64]| {
            starc_distance(&mdp, one, other, &mdp.uniform(), canon, Norm::L2, Norm::L2).unwrap()
        };
        let (one, behind) = ([0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 4.0, 9.0, 9.0, 9.0, 9.0]);
        // Means 1 and 3 of both actions become -1 and 1 by a potential, and so do 2 and 4.
        for canon in [Canon::Advantage, Canon::Minimal] {
            assert!(of(canon, &one, &behind) < 1e-9, "{canon:?}");
            assert!((of(canon, &one, &one.map(|reward| -reward)) - 2.0).abs() < 1e-9, "{canon:?}");
        }
        assert!(minimal(&mdp, &one).iter().zip([0.0, -1.0, 0.0, 1.0]).all(|(got, due)| (got - due).abs() < 1e-12));
    }

    /// A process of six states, and proxies that are shares of the true reward and of noise.
    #[test]
    fn regret_follows_starc_and_not_epic() {
        const STATES: usize = 6;
        let mut stream = ascribe_core::Seed(7).stream("starc", 0);
        let mut number = || stream.next_u64() as f64 / 2_f64.powi(64);
        let mut transitions = vec![0.0; STATES * 2 * STATES];
        for row in transitions.chunks_mut(STATES) {
            let (one, other) = ((number() * 6.0) as usize, (number() * 6.0) as usize);
            row[one] += 0.7;
            row[other] += 0.3;
        }
        let mdp = Mdp::new(2, transitions.clone(), vec![false; STATES], 0.9).unwrap();
        let gold: Vec<f64> = transitions.iter().map(|_| number() - 0.5).collect();
        let start = [1.0 / STATES as f64; STATES];
        let (mut regrets, mut by_distance) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        for _ in 0..60 {
            // Apart where a transition can happen and where it cannot.
            let shares = [number(), number()];
            let mixed = |(reward, chance): (&f64, &f64)| {
                let share = shares[usize::from(*chance > 0.0)];
                share * reward + (1.0 - share) * (number() - 0.5)
            };
            let proxy: Vec<f64> = gold.iter().zip(&transitions).map(mixed).collect();
            regrets.push(mdp.regret(&gold, &proxy, &start).unwrap());
            let starc = |canon| starc_distance(&mdp, &gold, &proxy, &mdp.uniform(), canon, Norm::L2, Norm::L2).unwrap();
            by_distance[0].push(starc(Canon::Advantage));
            by_distance[1].push(starc(Canon::Minimal));
            by_distance[2].push(epic_distance(&gold, &proxy, 0.9, &start, &[0.5; 2]).unwrap());
        }
        let rho = by_distance
            .map(|distances| crate::rank::spearman(&distances, &regrets, &crate::Bootstrap::NONE).unwrap().value);
        // By a Python program over 60 seeds the differences are 0.48 at the median and 0.19 at the least.
        assert!(rho[0] > rho[2] + 0.1 && rho[1] > rho[2] + 0.1, "{rho:?}");
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
            let minimal = |one: &[f64], other: &[f64]| by(Canon::Minimal, Norm::L2, one, other);
            prop_assert!(minimal(&a, &shaped) < 1e-7 && (minimal(&a, &a.map(|r| -r)) - 2.0).abs() < 1e-9);
            prop_assert!(by(Canon::Dard, Norm::L2, &a, &shaped) < 1e-7);
        }

        /// The advantage and the reward itself are no smaller, and moving reward between next states is not seen.
        #[test]
        fn the_minimal_form_is_the_smallest_and_blind_to_moves(
            a in prop::array::uniform8(-3.0..3.0_f64), moved in prop::array::uniform4(-2.0..2.0_f64),
        ) {
            let mdp = mdp();
            let advantage = mdp.values(&a, &mdp.uniform()).unwrap().advantage;
            let size = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
            let canonical = minimal(&mdp, &a);
            // The advantage stands at both next states.
            prop_assert!(size(&canonical) <= 2.0 * size(&advantage) + 1e-9 && size(&canonical) <= size(&a) + 1e-9);
            let mut other = a;
            for (pair, by) in moved.iter().enumerate() {
                other[2 * pair] += by * TAU[2 * pair + 1];
                other[2 * pair + 1] -= by * TAU[2 * pair];
            }
            let far = canonical.iter().zip(minimal(&mdp, &other)).map(|(one, other)| (one - other).abs());
            prop_assert!(far.fold(0.0, f64::max) < 1e-9);
        }
    }
}
