//! Step rewards of an implicit process model: "Free Process Rewards without Process Labels", arXiv:2412.01981.
//!
//! ```text
//! q_t = beta sum_{i <= t} (log pi(y_i|.) - log ref(y_i|.)) = beta log E_ref[exp(r(y) / beta) | y_{1:t}],   r(y) = q_T
//! reward of a step = q at its end - q at the end of the step before,  q_0 = 0
//! ```
//! The identity holds wherever the reference gives every text of the policy a chance. Sums, never means: a mean would no longer
//! telescope.

use std::ops::Range;

use ascribe_core::{Continuation, CoreError, Credit, Episode, Policy, Scorer, Tokens};
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

/// Step rewards of a policy that was trained on outcomes, against what it was trained from. An episode that was not cut is one
/// step. Both must have the same tokens.
#[derive(Clone, Copy)]
pub struct ImplicitProcess<'a> {
    /// The policy that was trained.
    pub policy: &'a dyn Policy,
    /// What it was trained from; without one, the log-probabilities of the policy alone.
    pub reference: Option<&'a dyn Policy>,
    /// What log-ratios are multiplied by; any positive number ranks alike.
    pub beta: f64,
    /// What a step is given.
    pub form: ImplicitForm,
}

impl ImplicitProcess<'_> {
    /// The rewards of the steps of each response; `ends[i][h]` is where step `h` of response `i` ends in its tokens.
    ///
    /// # Errors
    /// When a model cannot score, and as [`implicit_steps`].
    pub fn steps(&self, given: &[Continuation], ends: &[Vec<usize>]) -> Result<Vec<Vec<f64>>, ProcessError> {
        let (expected, got) = (given.len(), ends.len());
        if expected != got {
            return Err(ProcessError::Length { what: "the ends of steps", each: "a response", expected, got });
        }
        let logps = self.policy.score(given)?.0;
        let ref_logps = match self.reference {
            Some(reference) => reference.score(given)?.0,
            None => logps.iter().map(|logps| vec![0.0; logps.len()]).collect(),
        };
        let one = |((logps, ref_logps), ends): ((&Vec<f32>, &Vec<f32>), &Vec<usize>)| {
            let starts = std::iter::once(&0).chain(ends);
            let steps: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| *start..*end).collect();
            implicit_steps(logps, ref_logps, &steps, self.beta, self.form)
        };
        logps.iter().zip(&ref_logps).zip(ends).map(one).collect()
    }
}

impl Scorer for ImplicitProcess<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let given: Vec<Continuation> = episodes
            .iter()
            .map(|episode| Continuation {
                prefix: Tokens::from(episode.prompt_tokens()),
                tokens: Tokens::from(episode.response_tokens()),
            })
            .collect();
        let ends: Vec<Vec<usize>> = episodes
            .iter()
            .map(|episode| match episode.steps.is_empty() {
                true => vec![episode.response_tokens().len()],
                false => episode.steps.iter().map(|step| step.end.saturating_sub(episode.prompt_len())).collect(),
            })
            .collect();
        let rewards = self.steps(&given, &ends)?;
        let credit = |(episode, rewards): (&Episode, Vec<f64>)| {
            let rewards: Vec<f32> = rewards.into_iter().map(|reward| reward as f32).collect();
            match (episode.steps.is_empty(), rewards.as_slice()) {
                (true, [whole]) => Credit::sequence(*whole),
                _ => Credit::steps(rewards),
            }
        };
        Ok(episodes.iter().zip(rewards).map(credit).collect())
    }
}

#[cfg(test)]
mod tests {
    use ascribe_worlds::{TokenTree, TreePolicy};
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

    #[test]
    fn a_scorer_gives_what_the_log_ratios_give() {
        let tree = TokenTree::new(2, 3, |_| 0.0).unwrap();
        let uniform = TreePolicy::uniform(&tree);
        let scored = |reference: Option<&dyn Policy>, episode: &Episode, form| {
            let scorer = ImplicitProcess { policy: &uniform, reference, beta: 2.0, form };
            scorer.score(std::slice::from_ref(episode)).unwrap().remove(0)
        };
        let cut = Episode::new(&[], &[1, 0, 1]).with_steps(vec![0..1, 1..3]).unwrap();
        // Each of the three tokens has the probability 1/2; without a reference a step of n tokens has -2 n ln 2.
        let near = |credit: Credit, expected: &[f64]| {
            assert_eq!(credit.values().len(), expected.len());
            for (got, expected) in credit.values().iter().zip(expected) {
                assert!((f64::from(*got) - expected * 2f64.ln()).abs() < 1e-5, "{got} beside {expected} ln 2");
            }
        };
        near(scored(None, &cut, ImplicitForm::Single), &[-2.0, -4.0]);
        near(scored(None, &cut, ImplicitForm::Accumulative), &[-2.0, -6.0]);
        near(scored(Some(&uniform), &cut, ImplicitForm::Single), &[0.0, 0.0]);
        let whole = scored(None, &Episode::new(&[], &[1, 0, 1]), ImplicitForm::Single);
        assert_eq!(whole, Credit::sequence(whole.values()[0]));
        near(whole, &[-6.0]);
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
