//! Progress under a prover: process advantage verifiers, Setlur et al., arXiv:2410.08146, eq. 2 and 5 and appendix D.
//!
//! ```text
//! A_h = Q^mu(s_h, a_h) - Q^mu(s_{h-1}, a_{h-1}),  Q^mu(s_0, .) = V^mu(x)        e_h = Q^pi_h + alpha A^mu_h
//! best of K:  Q^BoK = 1 - (1 - Q^pi)^K,  without another rollout
//! provers rank by  D + G,   D = E_s Var_{a ~ pi} A^mu,   G = E_s E_{a ~ pi}[A^mu A^pi]
//! ```
//! In search rank by `e` and choose the final solution by `Q`. In RL the credit of step `h` is `R + alpha A_h`, on its own
//! tokens; never sum `A` over later steps, because that sum is `R - V(s_h)`, a baseline.

use crate::ProcessError;

/// The value of best-of-`k` of a policy whose value is `q`.
///
/// # Errors
/// When `q` is not in [0, 1] or `k` is 0.
pub fn best_of(q: f64, k: u32) -> Result<f64, ProcessError> {
    probability("a value", q)?;
    if k == 0 {
        return Err(ProcessError::range("k", "at least 1, such as 4", k));
    }
    // 1 - (1 - q)^k without cancellation.
    Ok(if q == 1.0 { 1.0 } else { -(f64::from(k) * (-q).ln_1p()).exp_m1() })
}

/// What each step adds to the prover's value: `values[h]` is its value behind step `h`, `start` that of the question.
///
/// # Errors
/// When a value is not in [0, 1].
pub fn progress(start: f64, values: &[f64]) -> Result<Vec<f64>, ProcessError> {
    for value in values.iter().chain([&start]) {
        probability("a value", *value)?;
    }
    let before = std::iter::once(&start).chain(values);
    Ok(values.iter().zip(before).map(|(after, before)| after - before).collect())
}

/// Effective rewards `Q^pi + alpha A^mu` of the steps, with best-of-`k` of the policy as the prover.
///
/// # Errors
/// When a value is not in [0, 1], `k` is 0 or `alpha` is not finite and at least 0.
pub fn effective(start: f64, values: &[f64], alpha: f64, k: u32) -> Result<Vec<f64>, ProcessError> {
    if !(alpha >= 0.0 && alpha.is_finite()) {
        return Err(ProcessError::range("alpha", "finite and at least 0, such as 0.5", alpha));
    }
    let prover = values.iter().map(|value| best_of(*value, k)).collect::<Result<Vec<f64>, ProcessError>>()?;
    let advantages = progress(best_of(start, k)?, &prover)?;
    Ok(values.iter().zip(advantages).map(|(value, advantage)| value + alpha * advantage).collect())
}

/// What steps of one state are worth, for ranking provers.
#[derive(Clone, Debug, PartialEq)]
pub struct StateAdvantages {
    /// How likely the policy takes each step; they sum to 1.
    pub policy: Vec<f64>,
    /// Advantage of each step under the prover.
    pub prover: Vec<f64>,
    /// Advantage of each step under the policy itself.
    pub own: Vec<f64>,
}

/// How useful a prover is: `D`, how well it tells steps apart, and `G`, how well it agrees with the policy. Larger sums are
/// better.
///
/// # Errors
/// When there is no state, or one has not one entry a step or no distribution, or an advantage is not in [-1, 1].
pub fn prover_quality(states: &[StateAdvantages]) -> Result<[f64; 2], ProcessError> {
    if states.is_empty() {
        return Err(ProcessError::Empty { what: "the states", remedy: "hold some out" });
    }
    let (mut apart, mut agree) = (0.0, 0.0);
    for state in states {
        let expected = state.policy.len();
        for (what, got) in [("the prover's advantages", state.prover.len()), ("the advantages", state.own.len())] {
            if expected != got {
                return Err(ProcessError::Length { what, each: "a step", expected, got });
            }
        }
        if let Some(wrong) = state.prover.iter().chain(&state.own).find(|advantage| !(-1.0..=1.0).contains(*advantage))
        {
            return Err(ProcessError::range("an advantage", "in [-1, 1]", wrong));
        }
        let sum: f64 = state.policy.iter().sum();
        let sound = state.policy.iter().all(|p| *p >= 0.0) && (sum - 1.0).abs() < 1e-6;
        if !sound {
            return Err(ProcessError::range("the probabilities of steps", "at least 0, with the sum 1", &state.policy));
        }
        let mean = |of: &dyn Fn(usize) -> f64| (0..expected).map(|at| state.policy[at] * of(at)).sum::<f64>();
        let average = mean(&|at| state.prover[at]);
        apart += mean(&|at| (state.prover[at] - average).powi(2));
        agree += mean(&|at| state.prover[at] * state.own[at]);
    }
    let count = states.len() as f64;
    Ok([apart / count, agree / count])
}

/// Prefixes up to the first pit: those of a wrong continuation up to the first whose value is 0, behind a state whose value is
/// above `above`. `values` are those behind each step; the number of prefixes to keep, or none when there is no such pit.
pub fn first_pit(start: f64, values: &[f64], above: f64) -> Option<usize> {
    let pit = values.iter().position(|value| *value == 0.0)?;
    let before = pit.checked_sub(1).map_or(start, |before| values[before]);
    (before > above).then_some(pit + 1)
}

fn probability(name: &'static str, value: f64) -> Result<(), ProcessError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(ProcessError::range(name, "in [0, 1]", value)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6), "{got:?}");
    }

    #[test]
    fn progress_worked_by_hand() {
        let (start, values) = (0.25, [0.3, 0.5, 0.2, 0.6]);
        close(&progress(start, &values).unwrap(), &[0.05, 0.2, -0.3, 0.4]);
        // Best of four: 1 - .75^4, 1 - .7^4, 1 - .5^4, 1 - .8^4, 1 - .4^4.
        let prover = [0.683_593_75, 0.7599, 0.9375, 0.5904, 0.9744];
        close(&[start, 0.3, 0.5, 0.2, 0.6].map(|q| best_of(q, 4).unwrap()), &prover);
        close(&progress(prover[0], &prover[1..]).unwrap(), &[0.076_306_25, 0.1776, -0.3471, 0.384]);
        close(&effective(start, &values, 0.5, 4).unwrap(), &[0.338_153_125, 0.5888, 0.02645, 0.792]);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for wrong in [f64::NAN, -0.1, 1.1] {
            assert!(best_of(wrong, 4).is_err() && progress(wrong, &[0.5]).is_err() && progress(0.5, &[wrong]).is_err());
        }
        assert!(best_of(0.5, 0).is_err());
        assert!(effective(0.5, &[0.5], f64::NAN, 4).is_err() && effective(0.5, &[0.5], -1.0, 4).is_err());
        assert!(prover_quality(&[]).is_err());
        let state = StateAdvantages { policy: vec![0.5, 0.4], prover: vec![0.0; 2], own: vec![0.0; 2] };
        assert!(prover_quality(std::slice::from_ref(&state)).is_err());
        for wrong in [f64::NAN, 1.5] {
            let sure = StateAdvantages { policy: vec![0.5; 2], ..state.clone() };
            assert!(prover_quality(&[StateAdvantages { prover: vec![0.0, wrong], ..sure.clone() }]).is_err());
            assert!(prover_quality(&[StateAdvantages { own: vec![wrong, 0.0], ..sure }]).is_err());
        }
        assert!(prover_quality(&[StateAdvantages { prover: vec![], ..state }]).is_err());
    }

    #[test]
    fn provers_rank_by_hand() {
        // One state, two steps of chance 1/2. Advantages 1 and -1 of both: variance 1, agreement 1.
        let state =
            |prover: [f64; 2]| StateAdvantages { policy: vec![0.5; 2], prover: prover.into(), own: vec![1.0, -1.0] };
        assert_eq!(prover_quality(&[state([1.0, -1.0])]).unwrap(), [1.0, 1.0]);
        assert_eq!(prover_quality(&[state([-1.0, 1.0])]).unwrap(), [1.0, -1.0]);
        // A prover that succeeds from everywhere tells nothing apart.
        assert_eq!(prover_quality(&[state([0.0, 0.0])]).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn the_first_pit_lies_behind_a_good_state() {
        assert_eq!(first_pit(0.5, &[0.4, 0.0, 0.0], 0.3), Some(2));
        assert_eq!(first_pit(0.5, &[0.0], 0.3), Some(1));
        assert_eq!(first_pit(0.5, &[0.2, 0.0], 0.3), None);
        assert_eq!(first_pit(0.5, &[0.2, 0.1], 0.3), None);
    }

    proptest! {
        #[test]
        fn progress_telescopes(start in 0.0..=1.0f64, values in prop::collection::vec(0.0..=1.0f64, 1..9)) {
            let advantages = progress(start, &values).unwrap();
            prop_assert!((advantages.iter().sum::<f64>() - (values[values.len() - 1] - start)).abs() < 1e-9);
            prop_assert!(advantages.iter().all(|advantage| (-1.0..=1.0).contains(advantage)));
        }

        #[test]
        fn alpha_zero_is_the_value_alone(start in 0.0..=1.0f64, values in prop::collection::vec(0.0..=1.0f64, 1..9), k in 1u32..9) {
            prop_assert_eq!(effective(start, &values, 0.0, k).unwrap(), values);
        }

        #[test]
        fn best_of_one_is_the_policy_and_more_is_never_worse(q in 0.0..=1.0f64, k in 1u32..40) {
            prop_assert!((best_of(q, 1).unwrap() - q).abs() < 1e-12);
            prop_assert!(best_of(q, k).unwrap() <= best_of(q, k + 1).unwrap() + 1e-15);
        }

        #[test]
        fn a_restating_step_gains_nothing(start in 0.0..=1.0f64, value in 0.0..=1.0f64, k in 1u32..9) {
            let values = [value, value].map(|q| best_of(q, k).unwrap());
            prop_assert_eq!(progress(start, &values).unwrap()[1], 0.0);
        }

        #[test]
        fn best_of_k_expects_no_progress_of_the_policy(
            qs in prop::collection::vec((0.0..=1.0f64, 0.01..1.0f64), 1..6), k in 1u32..9,
        ) {
            // V^pi = E Q^pi, and 1 - (1 - q)^k is concave.
            let total: f64 = qs.iter().map(|(_, weight)| weight).sum();
            let mean = |of: &dyn Fn(f64) -> f64| qs.iter().map(|(q, weight)| of(*q) * weight / total).sum::<f64>();
            let v = mean(&|q| q).clamp(0.0, 1.0);
            let expected = mean(&|q| best_of(q, k).unwrap()) - best_of(v, k).unwrap();
            prop_assert!(expected <= 1e-9, "{}", expected);
            prop_assert!(k > 1 || expected.abs() < 1e-9);
        }

        #[test]
        fn a_strong_prover_sees_no_progress(q in 0.05..=1.0f64, start in 0.05..=1.0f64) {
            let values = [start, q].map(|q| best_of(q, 1000).unwrap());
            prop_assert!(progress(values[0], &values[1..]).unwrap()[0].abs() < 1e-9);
        }
    }
}
