//! Credit against the exact advantage of a small process.
//!
//! ```text
//! agreement at a state: tau-b over its actions, averaged by discounted visits
//! pi'(a|s) ~ pi(a|s) e^{u(s,a)/eta} with KL(pi'(.|s) || pi(.|s)) = kappa at every state
//! improvement ratio = (J(pi'_u) - J(pi))/(J(pi'_A) - J(pi))
//! ```
//! Ratio 1 is as good as the exact advantage, negative is harmful. Where the credit of a state is constant, or kappa
//! is out of
//! reach, the state keeps pi and is counted.

use crate::EvalError;
use crate::error::{finite, option, same_length};
use crate::rank::Correlation;
use crate::reward_distance::Mdp;
use crate::stats::sum::sum;

/// How good credit is on a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CreditQuality {
    /// Mean over visited states of tau-b of credit and advantage over actions; `None` when no state defines it.
    pub tau_by_state: Option<f64>,
    /// Visited states that do not define it.
    pub constant_states: usize,
    /// Tau-b over all visited states and actions; `None` when credit or advantage is constant.
    pub tau_pooled: Option<f64>,
    /// Spearman's rho over the same.
    pub spearman_pooled: Option<f64>,
    /// The improvement ratio.
    pub improvement: f64,
    /// Visited states that kept the policy under the credit.
    pub kept_states: usize,
}

/// The usual size of a step, in nats at each state.
pub const KAPPA: f64 = 0.02;

/// Compares `credit[s][a]` with the advantage of `policy` for `rewards[s][a][s']`, from the law `start` of first
/// states. Correlations lie in [-1, 1] with ties off the scale, the improvement is 1 for the exact advantage and may
/// pass it; O(S^3 + S^2 A).
///
/// # Errors
/// As [`Mdp::values`]; when a length does not fit, credit is NaN or infinite, `kappa` is not in (0, 0.05], or the
/// policy cannot be improved.
pub fn credit_vs_exact(
    mdp: &Mdp,
    rewards: &[f64],
    policy: &[f64],
    credit: &[f64],
    start: &[f64],
    kappa: f64,
) -> Result<CreditQuality, EvalError> {
    option("kappa", "above 0 and at most 0.05", kappa, 0.0 < kappa && kappa <= 0.05)?;
    crate::curve::entropy(start)?;
    same_length("start", mdp.states(), start.len())?;
    let values = mdp.values(rewards, policy)?;
    finite("credit", credit)?;
    same_length("credit", policy.len(), credit.len())?;
    let actions = mdp.actions();
    let visits = visits(mdp, policy, start);
    let visited: Vec<usize> =
        (0..mdp.states()).filter(|&state| visits[state] > 0.0 && !mdp.is_terminal(state)).collect();
    let row = |of: &[f64], state: usize| of[state * actions..(state + 1) * actions].to_vec();
    let (mut tau, mut weight, mut constant_states) = (Vec::new(), 0.0, 0);
    for &state in &visited {
        match Correlation::Kendall.of(&row(credit, state), &row(&values.advantage, state)) {
            Ok(value) => {
                tau.push(visits[state] * value);
                weight += visits[state];
            }
            Err(_) => constant_states += 1,
        }
    }
    let pooled = |of: &[f64]| visited.iter().flat_map(|&state| row(of, state)).collect::<Vec<f64>>();
    let (u, a) = (pooled(credit), pooled(&values.advantage));
    let outcome = |policy: &[f64]| -> Result<f64, EvalError> {
        let values = mdp.values(rewards, policy)?.state;
        Ok(sum(values.iter().zip(start).map(|(value, p)| value * p)))
    };
    let before = outcome(policy)?;
    let (by_credit, kept) = tilted(mdp, policy, credit, kappa);
    let (by_advantage, _) = tilted(mdp, policy, &values.advantage, kappa);
    let gain = outcome(&by_advantage)? - before;
    if gain <= 1e-12 * (1.0 + before.abs()) {
        let why = "the exact advantage does not improve this policy";
        return Err(EvalError::Degenerate { what: "the improvement ratio", why });
    }
    Ok(CreditQuality {
        tau_by_state: (weight > 0.0).then(|| sum(tau) / weight),
        constant_states,
        tau_pooled: Correlation::Kendall.of(&u, &a).ok(),
        spearman_pooled: Correlation::Spearman.of(&u, &a).ok(),
        improvement: (outcome(&by_credit)? - before) / gain,
        kept_states: visited.iter().filter(|&&state| kept[state]).count(),
    })
}

/// Discounted expected visits of each state, up to rounding.
fn visits(mdp: &Mdp, policy: &[f64], start: &[f64]) -> Vec<f64> {
    let n = mdp.states();
    let (mut total, mut now) = (start.to_vec(), start.to_vec());
    for _ in 0..100_000 {
        let mut next = vec![0.0; n];
        for state in (0..n).filter(|&state| now[state] > 0.0 && !mdp.is_terminal(state)) {
            for action in 0..mdp.actions() {
                let mass = mdp.discount() * now[state] * policy[state * mdp.actions() + action];
                next.iter_mut().zip(mdp.next(state, action)).for_each(|(next, p)| *next += mass * p);
            }
        }
        total.iter_mut().zip(&next).for_each(|(total, mass)| *total += mass);
        let left: f64 = (0..n).filter(|&state| !mdp.is_terminal(state)).map(|state| next[state]).sum();
        now = next;
        if left < 1e-15 {
            break;
        }
    }
    total
}

/// The policy tilted by `credit` to divergence `kappa` at every state, and the states that kept it.
fn tilted(mdp: &Mdp, policy: &[f64], credit: &[f64], kappa: f64) -> (Vec<f64>, Vec<bool>) {
    let actions = mdp.actions();
    let mut result = policy.to_vec();
    let mut kept = vec![true; mdp.states()];
    for (state, kept) in kept.iter_mut().enumerate() {
        let range = state * actions..(state + 1) * actions;
        let (pi, u) = (&policy[range.clone()], &credit[range.clone()]);
        let supported = || u.iter().zip(pi).filter(|&(_, &p)| p > 0.0).map(|(u, _)| *u);
        let (low, high) = (supported().fold(f64::INFINITY, f64::min), supported().fold(f64::NEG_INFINITY, f64::max));
        let spread = high - low;
        // The sharpness 1/eta, in units of the spread of the credit.
        let at = |sharpness: f64| {
            let raw: Vec<f64> = u
                .iter()
                .zip(pi)
                .map(|(u, p)| if *p > 0.0 { p * (sharpness * (u - high) / spread).exp() } else { 0.0 })
                .collect();
            let total = sum(raw.iter().copied());
            raw.into_iter().map(|mass| mass / total).collect::<Vec<f64>>()
        };
        let divergence =
            |law: &[f64]| sum(law.iter().zip(pi).filter(|&(&q, _)| q > 0.0).map(|(q, p)| q * (q / p).ln()));
        if spread.is_finite() && spread > 0.0 && divergence(&at(1e6)) >= kappa {
            let (mut less, mut more) = (0.0, 1e6);
            for _ in 0..200 {
                let middle = 0.5 * (less + more);
                if divergence(&at(middle)) < kappa {
                    less = middle;
                } else {
                    more = middle;
                }
            }
            result[range].copy_from_slice(&at(more));
            *kept = false;
        }
    }
    (result, kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One choice between rewards 1, 0 and 0.25, then the end.
    fn bandit() -> (Mdp, Vec<f64>) {
        let tau = vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let rewards = vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        (Mdp::new(3, tau, vec![false, true], 1.0).unwrap(), rewards)
    }

    fn quality(credit: &[f64]) -> Result<CreditQuality, EvalError> {
        let (mdp, rewards) = bandit();
        credit_vs_exact(&mdp, &rewards, &mdp.uniform(), credit, &[1.0, 0.0], KAPPA)
    }

    #[test]
    fn the_advantage_is_as_good_as_itself() {
        let (mdp, rewards) = bandit();
        let advantage = mdp.values(&rewards, &mdp.uniform()).unwrap().advantage;
        let same = quality(&advantage).unwrap();
        assert!((same.improvement - 1.0).abs() < 1e-9 && same.tau_by_state == Some(1.0), "{same:?}");
        let negated: Vec<f64> = advantage.iter().map(|a| -a).collect();
        let worse = quality(&negated).unwrap();
        assert!(worse.improvement < 0.0 && worse.tau_pooled == Some(-1.0), "{worse:?}");
        let constant = quality(&[0.5; 6]).unwrap();
        assert_eq!((constant.improvement, constant.tau_by_state, constant.constant_states), (0.0, None, 1));
        assert_eq!(constant.kept_states, 1);
    }

    /// The divergence from even odds is p ln 2p + (1-p) ln 2(1-p).
    #[test]
    fn the_tilt_has_the_wanted_divergence() {
        let mdp = Mdp::new(2, vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], vec![false, true], 1.0).unwrap();
        let (policy, _) = tilted(&mdp, &mdp.uniform(), &[1.0, 0.0, 0.0, 0.0], KAPPA);
        let p = policy[0];
        assert!((p * (2.0 * p).ln() + (1.0 - p) * (2.0 * (1.0 - p)).ln() - KAPPA).abs() < 1e-9);
        assert!(p > 0.5);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(quality(&[0.0; 3]), Err(EvalError::Length { .. })));
        assert!(matches!(quality(&[f64::NAN; 6]), Err(EvalError::NotFinite { .. })));
        let (mdp, rewards) = bandit();
        let kappa = |kappa| credit_vs_exact(&mdp, &rewards, &mdp.uniform(), &[0.0; 6], &[1.0, 0.0], kappa);
        assert!(matches!(kappa(0.1), Err(EvalError::Range { name: "kappa", .. })));
        let best = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let optimal = credit_vs_exact(&mdp, &rewards, &best, &[0.0; 6], &[1.0, 0.0], KAPPA);
        assert!(matches!(optimal, Err(EvalError::Degenerate { .. })));
    }

    proptest! {
        #[test]
        fn the_ratio_keeps_under_scale_and_state_shift(
            credit in prop::array::uniform3(-2.0..2.0_f64), scale in 0.1..9.0_f64, shift in -3.0..3.0_f64,
        ) {
            let full = |row: [f64; 3]| [row[0], row[1], row[2], 0.0, 0.0, 0.0];
            let one = quality(&full(credit)).unwrap().improvement;
            let other = quality(&full(credit.map(|u| scale * u + shift))).unwrap().improvement;
            prop_assert!((one - other).abs() < 1e-6);
        }
    }
}
