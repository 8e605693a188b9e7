//! Step rewards of an implicit process model: "Free Process Rewards without Process Labels", arXiv:2412.01981.
//!
//! ```text
//! q_t = beta sum_{i <= t} (log pi(y_i|.) - log ref(y_i|.)) = beta log E_ref[exp(r(y) / beta) | y_{1:t}],   r(y) = q_T
//! reward of a step = q at its end - q at the end of the step before,  q_0 = 0
//! ```
//! The identity holds wherever the reference gives every text of the policy a chance. Sums, never means: a mean would no longer
//! telescope.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::ProcessError;

/// What a step is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImplicitForm {
    /// What it adds.
    #[default]
    Single,
    /// All up to its end.
    Accumulative,
}

/// Step rewards from the log-probabilities of the response's tokens; `steps` are ranges of these, and tokens between them are
/// counted to the step behind them.
///
/// # Errors
/// When the log-probabilities are not one a token each or one is not finite, `beta` is not finite and above 0, or a step lies
/// outside or begins before the one before it has ended.
pub fn implicit_steps(
    logps: &[f32],
    ref_logps: &[f32],
    steps: &[Range<usize>],
    beta: f64,
    form: ImplicitForm,
) -> Result<Vec<f64>, ProcessError> {
    let (expected, got) = (logps.len(), ref_logps.len());
    if expected != got {
        return Err(ProcessError::Length { what: "the reference's log-probabilities", each: "a token", expected, got });
    }
    if !(beta > 0.0 && beta.is_finite()) {
        return Err(ProcessError::range("beta", "finite and above 0, such as 0.05", beta));
    }
    if let Some(wrong) = logps.iter().chain(ref_logps).find(|logp| !logp.is_finite()) {
        return Err(ProcessError::range("a log-probability", "finite", wrong));
    }
    let mut q = 0.0;
    let cumulative: Vec<f64> = logps
        .iter()
        .zip(ref_logps)
        .map(|(policy, reference)| {
            q += beta * (f64::from(*policy) - f64::from(*reference));
            q
        })
        .collect();
    let (mut before, mut end) = (0.0, 0);
    let mut rewards = Vec::with_capacity(steps.len());
    for step in steps {
        let last = step.end.checked_sub(1).and_then(|last| cumulative.get(last));
        let Some(&here) = last.filter(|_| end <= step.start && step.start < step.end) else {
            let rule = "of at least one token of the response, behind the step before it";
            return Err(ProcessError::range("a step", rule, step));
        };
        rewards.push(match form {
            ImplicitForm::Single => here - before,
            ImplicitForm::Accumulative => here,
        });
        (before, end) = (here, step.end);
    }
    Ok(rewards)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rewards_worked_by_hand() {
        // Ratios 1, -0.5, 0.25 and beta 2: q = 2, 1, 1.5.
        let (policy, reference) = ([-1.0, -1.5, -0.75], [-2.0, -1.0, -1.0]);
        let rewards = |form| implicit_steps(&policy, &reference, &[0..2, 2..3], 2.0, form).unwrap();
        assert_eq!(rewards(ImplicitForm::Single), [1.0, 0.5]);
        assert_eq!(rewards(ImplicitForm::Accumulative), [1.0, 1.5]);
    }

    /// One step.
    fn step(start: usize, end: usize) -> [Range<usize>; 1] {
        std::array::from_fn(|_| start..end)
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let single = ImplicitForm::Single;
        assert!(implicit_steps(&[0.0], &[], &step(0, 1), 1.0, single).is_err());
        assert!(implicit_steps(&[f32::NAN], &[0.0], &step(0, 1), 1.0, single).is_err());
        assert!(implicit_steps(&[0.0], &[0.0], &step(0, 2), 1.0, single).is_err());
        assert!(implicit_steps(&[0.0], &[0.0], &step(0, 0), 1.0, single).is_err());
        assert!(implicit_steps(&[0.0], &[0.0], &step(0, 1), 0.0, single).is_err());
        assert!(implicit_steps(&[0.0; 2], &[0.0; 2], &[1..2, 0..1], 1.0, single).is_err());
    }

    proptest! {
        #[test]
        fn step_rewards_sum_to_the_response(
            logps in prop::collection::vec((-5.0..0.0f32, -5.0..0.0f32), 2..12), cut in 1usize..12, beta in 0.01..2.0f64,
        ) {
            let (policy, reference): (Vec<f32>, Vec<f32>) = logps.into_iter().unzip();
            let cut = cut.min(policy.len() - 1);
            let steps = [0..cut, cut..policy.len()];
            let of = |a: &[f32], b: &[f32], beta| implicit_steps(a, b, &steps, beta, ImplicitForm::Single).unwrap();
            let rewards = of(&policy, &reference, beta);
            let all: f64 = policy.iter().zip(&reference).map(|(a, b)| f64::from(*a) - f64::from(*b)).sum();
            prop_assert!((rewards.iter().sum::<f64>() - beta * all).abs() < 1e-9);
            // Equal models give nothing, exchanged models the negative, and beta is a factor.
            prop_assert!(of(&policy, &policy, beta).iter().all(|reward| *reward == 0.0));
            for ((forth, back), twice) in rewards.iter().zip(of(&reference, &policy, beta)).zip(of(&policy, &reference, 2.0 * beta)) {
                prop_assert!((forth + back).abs() < 1e-9 && (2.0 * forth - twice).abs() < 1e-9);
            }
        }
    }
}
