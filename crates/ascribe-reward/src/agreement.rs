//! Does a model that judges itself agree with itself? CREAM, arXiv:2410.12735, its code; SCIR, arXiv:2502.08922.
//!
//! ```text
//! CREAM: C = (tau + 1)/2 of the scores of one prompt's responses under the current and the previous model
//!        r(y) = log pi(y) - log pi_ref(y), or the mean log-probability of a token where there is no reference
//! SCIR:  p_k = P(first is better) by internal reward k: implicit DPO sigmoid(beta (h_1 - h_2)), a judge in both orders
//! ```
//! Ties are ties (tau-b); the code ranks them by position. "Top" is 1 when best and worst response agree, else 0; the code
//! compares the ranks of the responses that happen to be listed first and last. A prompt whose scores are all equal under one
//! model says nothing and has no consistency. The mean over prompts with its interval is
//! `ascribe_eval::rank::ranking_consistency`; the judge is `ascribe_eval::protocol::judgements`.

use ascribe_core::{Continuation, CoreError, Episode, Policy};
use ascribe_eval::EvalError;
use ascribe_eval::rank::Correlation;

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length, within};
use crate::math::sigmoid;

/// How two rankings of the same responses are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Kendall's tau-b, brought to [0, 1].
    #[default]
    Kendall,
    /// Spearman's rho, brought to [0, 1].
    Spearman,
    /// Whether the best and the worst response are the same.
    Top,
}

impl Consistency {
    /// The consistency of two lists of scores of the same responses, in [0, 1]; `None` when the scores of one are all equal.
    ///
    /// # Errors
    /// When the lengths differ, there are fewer than 2 responses, or a score is NaN or infinite.
    pub fn of(self, current: &[f64], previous: &[f64]) -> Result<Option<f64>, RewardError> {
        option("responses", "at least 2 for a ranking", current.len() as f64, current.len() >= 2)?;
        same_length("the previous scores", current.len(), previous.len())?;
        finite("the current scores", current)?;
        finite("the previous scores", previous)?;
        let correlation = match self {
            Self::Kendall => Correlation::Kendall,
            Self::Spearman => Correlation::Spearman,
            Self::Top => {
                let varies = |scores: &[f64]| scores.iter().any(|score| *score != scores[0]);
                let ends = |scores: &[f64]| {
                    let at = |better: fn(f64, f64) -> bool| {
                        (1..scores.len()).fold(0, |best, at| if better(scores[at], scores[best]) { at } else { best })
                    };
                    (at(|a, b| a > b), at(|a, b| a < b))
                };
                let agree = f64::from(u8::from(ends(current) == ends(previous)));
                return Ok((varies(current) && varies(previous)).then_some(agree));
            }
        };
        match correlation.of(current, previous) {
            Ok(value) => Ok(Some(0.5 * (value + 1.0))),
            Err(EvalError::Degenerate { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// CREAM's rewards of episodes under a policy: log-ratios to the reference, or mean log-probabilities without one.
///
/// # Errors
/// When an episode has no response, or a policy cannot score.
pub fn self_rewards(
    policy: &dyn Policy,
    reference: Option<&dyn Policy>,
    episodes: &[Episode],
) -> Result<Vec<f64>, RewardError> {
    not_empty("the episodes", episodes)?;
    let mut given = Vec::with_capacity(episodes.len());
    for episode in episodes {
        let tokens = episode.response_tokens();
        if tokens.is_empty() {
            return Err(CoreError::EmptyResponse.into());
        }
        given.push(Continuation { prefix: episode.prompt_tokens().into(), tokens: tokens.into() });
    }
    let sums = |policy: &dyn Policy| -> Result<Vec<f64>, RewardError> {
        let (logps, _) = policy.score(&given)?;
        same_length("the scores of the responses", given.len(), logps.len())?;
        Ok(logps.iter().map(|logps| logps.iter().map(|logp| f64::from(*logp)).sum::<f64>()).collect())
    };
    let own = sums(policy)?;
    Ok(match reference {
        Some(reference) => own.iter().zip(sums(reference)?).map(|(own, other)| own - other).collect(),
        None => own.iter().zip(&given).map(|(sum, given)| sum / given.tokens.len() as f64).collect(),
    })
}

/// The probability that the first response of each pair is better by the implicit reward: `sigmoid(beta (h_1 - h_2))`, from the
/// log-ratios of both.
///
/// # Errors
/// When the lengths differ, there is no pair, a ratio is NaN or infinite, or beta is not finite and above 0.
pub fn implicit_preferences(first: &[f64], second: &[f64], beta: f64) -> Result<Vec<f64>, RewardError> {
    option("beta", "finite and above 0", beta, 0.0 < beta && beta.is_finite())?;
    finite("the first log-ratios", first)?;
    same_length("the second log-ratios", first.len(), second.len())?;
    finite("the second log-ratios", second)?;
    Ok(first.iter().zip(second).map(|(first, second)| sigmoid(beta * (first - second))).collect())
}

/// Which pairs all internal rewards decide alike, from their probabilities that the first response is better,
/// `[rewards][pairs]`. A probability of one half decides nothing.
///
/// # Errors
/// When there is no reward or pair, the lengths differ, or a probability is not in [0, 1].
pub fn unanimous(probabilities: &[Vec<f64>]) -> Result<Vec<bool>, RewardError> {
    not_empty("the internal rewards", probabilities)?;
    for reward in probabilities {
        not_empty("the pairs", reward)?;
        same_length("the pairs of an internal reward", probabilities[0].len(), reward.len())?;
        within("a probability", reward, "in [0, 1]", |p| (0.0..=1.0).contains(&p))?;
    }
    let agree = |pair: usize| {
        let all = |decided: fn(f64) -> bool| probabilities.iter().all(|reward| decided(reward[pair]));
        all(|p| p > 0.5) || all(|p| p < 0.5)
    };
    Ok((0..probabilities[0].len()).map(agree).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::tests::{Scripted, encode};

    /// Of 5 responses 2 of 10 pairs are turned: tau 0.6, C 0.8.
    #[test]
    fn a_consistency_by_hand() {
        let (current, previous) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 3.0, 5.0, 4.0]);
        assert!((Consistency::Kendall.of(&current, &previous).unwrap().unwrap() - 0.8).abs() < 1e-12);
        // rho = 1 - 6 * 4 / (5 * 24) = 0.8.
        assert!((Consistency::Spearman.of(&current, &previous).unwrap().unwrap() - 0.9).abs() < 1e-12);
        assert_eq!(Consistency::Top.of(&current, &previous).unwrap(), Some(0.0));
        // First and last listed change places, best and worst stay.
        assert_eq!(Consistency::Top.of(&[2.0, 0.0, 9.0, 3.0], &[3.0, 1.0, 8.0, 2.0]).unwrap(), Some(1.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for consistency in [Consistency::Kendall, Consistency::Spearman, Consistency::Top] {
            assert!(consistency.of(&[1.0], &[1.0]).is_err(), "one response");
            assert!(consistency.of(&[1.0, 2.0], &[1.0]).is_err());
            assert!(consistency.of(&[1.0, f64::NAN], &[1.0, 2.0]).is_err());
            assert_eq!(consistency.of(&[1.0, 1.0], &[1.0, 2.0]).unwrap(), None, "all equal");
        }
        assert!(implicit_preferences(&[1.0], &[1.0], 0.0).is_err() && implicit_preferences(&[], &[], 1.0).is_err());
        assert!(unanimous(&[]).is_err() && unanimous(&[vec![]]).is_err() && unanimous(&[vec![1.5]]).is_err());
        assert!(unanimous(&[vec![0.5], vec![0.5, 0.5]]).is_err());
    }

    #[test]
    fn rewards_under_policies_by_hand() {
        let scorer = |good: f32| Scripted {
            answer: |_: &str| String::new(),
            logp: move |_: &str, tokens: &str| if tokens.starts_with('g') { good } else { -8.0 },
        };
        let (policy, reference) = (scorer(-2.0), scorer(-6.0));
        let episode = |text: &str| Episode::new(&[1], &encode(text).unwrap());
        let episodes = [episode("good"), episode("no")];
        assert_eq!(self_rewards(&policy, Some(&reference), &episodes).unwrap(), [4.0, 0.0]);
        // Means over 4 and 2 tokens.
        assert_eq!(self_rewards(&policy, None, &episodes).unwrap(), [-0.5, -4.0]);
        assert!(self_rewards(&policy, None, &[Episode::new(&[1], &[])]).is_err());
        assert_eq!(implicit_preferences(&[4.0, 1.0], &[4.0, 0.0], 2.0).unwrap(), [0.5, sigmoid(2.0)]);
        assert_eq!(
            unanimous(&[vec![0.9, 0.4, 0.6, 0.5], vec![0.8, 0.1, 0.3, 0.5]]).unwrap(),
            [true, true, false, false]
        );
    }

    proptest! {
        #[test]
        fn identical_models_agree_and_a_turned_ranking_does_not(
            scores in prop::collection::btree_set(-1000i32..1000, 2..8),
        ) {
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let turned: Vec<f64> = scores.iter().map(|score| -score).collect();
            for consistency in [Consistency::Kendall, Consistency::Spearman, Consistency::Top] {
                prop_assert!((consistency.of(&scores, &scores).unwrap().unwrap() - 1.0).abs() < 1e-12);
                prop_assert!(consistency.of(&scores, &turned).unwrap().unwrap().abs() < 1e-12);
            }
        }

        #[test]
        fn one_internal_reward_is_always_unanimous(p in prop::collection::vec(0.0..0.49f64, 1..8), up in any::<bool>()) {
            let p: Vec<f64> = p.into_iter().map(|p| if up { 1.0 - p } else { p }).collect();
            prop_assert!(unanimous(&[p]).unwrap().into_iter().all(|kept| kept));
        }
    }
}
