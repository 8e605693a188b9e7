//! Rewards as the chance to be good: the log-sigmoid of the centred reward. "Transforming and Combining Rewards for
//! Aligning Large Language Models", arXiv:2402.00742.
//!
//! ```text
//! u(x, y) = log sigmoid(r(x, y) - r_ref(x))
//! ```
//! `exp(u)` is the probability that y beats the reference, so a sum of several `u` is the logarithm of "all are good": a
//! logical AND ([`Sum`](crate::Sum)). Bad responses keep a slope near 1 and good ones gain little more. `r_ref(x)` is a
//! quantile of the rewards of the base policy's samples for `x` (0.85 is our reading), or the reward of a canned answer. The
//! reward must be on Bradley-Terry's scale: one trained with a temperature is divided by it first.

use std::collections::HashMap;

use ascribe_core::{CoreError, Credit, Episode, Scorer, Tokens};

use super::change;
use crate::RewardError;
use crate::error::{finite, option, within};
use crate::math::{log_sigmoid, quantile};

/// Where the reference reward of a prompt comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    /// The same for every prompt.
    Global(f64),
    /// That of the prompt.
    PerPrompt(PromptReferences),
}

/// The reference reward of each prompt, with one for prompts that were not sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptReferences {
    references: HashMap<Tokens, f64>,
    global: f64,
}

impl PromptReferences {
    /// The quantile `q` of the rewards of each prompt's samples, which may come in several lists; a prompt without samples
    /// takes that of all of them.
    ///
    /// # Errors
    /// When there is no prompt, one has fewer than 2 samples, a reward is NaN or infinite, or `q` is not in (0, 1).
    pub fn quantile(samples: &[(Tokens, Vec<f64>)], q: f64) -> Result<Self, RewardError> {
        option("the quantile of the reference", "above 0 and below 1, such as 0.85", q, 0.0 < q && q < 1.0)?;
        let all: Vec<f64> = samples.iter().flat_map(|(_, rewards)| rewards.iter().copied()).collect();
        finite("the rewards of the samples", &all)?;
        let mut by_prompt: HashMap<&Tokens, Vec<f64>> = HashMap::with_capacity(samples.len());
        for (prompt, rewards) in samples {
            by_prompt.entry(prompt).or_default().extend(rewards);
        }
        let mut references = HashMap::with_capacity(by_prompt.len());
        for (prompt, rewards) in by_prompt {
            option("the samples of a prompt", "at least 2", rewards.len() as f64, rewards.len() >= 2)?;
            references.insert(prompt.clone(), quantile(&rewards, q));
        }
        Ok(Self { references, global: quantile(&all, q) })
    }

    /// The reference reward of a prompt.
    pub fn of(&self, prompt: &Tokens) -> f64 {
        self.references.get(prompt).copied().unwrap_or(self.global)
    }
}

/// A scorer of log-probabilities to be good.
pub struct LogSigmoid<'a> {
    scorer: &'a dyn Scorer,
    reference: Reference,
    tau: f64,
}

impl<'a> LogSigmoid<'a> {
    /// Centres `scorer` on `reference`; `tau` is the temperature that it was trained with, 1 for plain Bradley-Terry.
    ///
    /// # Errors
    /// When the reference is NaN or infinite, or the temperature is not finite and above 0.
    pub fn new(scorer: &'a dyn Scorer, reference: Reference, tau: f64) -> Result<Self, RewardError> {
        option("tau", "finite and above 0", tau, 0.0 < tau && tau.is_finite())?;
        if let Reference::Global(reward) = reference {
            option("the reference reward", "finite", reward, reward.is_finite())?;
        }
        Ok(Self { scorer, reference, tau })
    }

    fn reference(&self, episode: &Episode) -> f64 {
        match &self.reference {
            Reference::Global(reward) => *reward,
            Reference::PerPrompt(prompts) => prompts.of(&Tokens::from(episode.prompt_tokens())),
        }
    }
}

impl Scorer for LogSigmoid<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credits = self.scorer.score(episodes)?;
        let centred = |(credit, episode): (&Credit, &Episode)| -> Result<Credit, RewardError> {
            let rewards: Vec<f64> = credit.values().iter().map(|value| f64::from(*value)).collect();
            within("a reward", &rewards, "finite", f64::is_finite)?;
            let reference = self.reference(episode);
            Ok(change(credit, |reward| log_sigmoid((reward - reference) / self.tau)))
        };
        Ok(credits.iter().zip(episodes).map(centred).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;
    use proptest::prelude::*;

    use super::*;

    fn at(reward: f64, reference: f64, tau: f64) -> f64 {
        let scorer = rule(move |_: &Episode| reward as f32);
        let transformed = LogSigmoid::new(&scorer, Reference::Global(reference), tau).unwrap();
        f64::from(transformed.score(&[Episode::new(&[1], &[2])]).unwrap()[0].values()[0])
    }

    #[test]
    fn the_utility_by_hand() {
        // ln sigmoid(0.5) and ln sigmoid(-2.5).
        assert!((at(1.0, 0.5, 1.0) + 0.474077).abs() < 1e-6);
        assert!((at(-2.0, 0.5, 1.0) + 2.578890).abs() < 1e-6);
        assert!((at(1.0, 0.5, 1.0) + at(-2.0, 0.5, 1.0) + 3.052967).abs() < 1e-6);
        // A temperature of 2 halves the logit.
        assert!((at(2.0, 1.0, 2.0) - at(1.0, 0.5, 1.0)).abs() < 1e-6);
    }

    #[test]
    fn the_reference_is_a_quantile_of_the_prompt_s_samples() {
        let samples = [(Tokens::from(vec![1]), vec![0.0, 1.0]), (Tokens::from(vec![2]), vec![10.0, 20.0, 30.0])];
        let references = PromptReferences::quantile(&samples, 0.5).unwrap();
        let scorer = rule(|_: &Episode| 20.0);
        let transformed = LogSigmoid::new(&scorer, Reference::PerPrompt(references), 1.0).unwrap();
        let episodes = [Episode::new(&[1], &[9]), Episode::new(&[2], &[9]), Episode::new(&[3], &[9])];
        let got: Vec<f32> = transformed.score(&episodes).unwrap().iter().map(|credit| credit.values()[0]).collect();
        // 20 against 0.5, against 20, and against 10, the median of all.
        let expected = [-(-19.5f64).exp().ln_1p(), -(2f64.ln()), -(-10f64).exp().ln_1p()];
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} beside {expected}");
        }
        assert!(PromptReferences::quantile(&[(Tokens::from(vec![1]), vec![0.0])], 0.5).is_err(), "one sample");
        assert!(PromptReferences::quantile(&samples, 1.0).is_err() && PromptReferences::quantile(&[], 0.5).is_err());
        assert!(LogSigmoid::new(&scorer, Reference::Global(f64::NAN), 1.0).is_err());
        let nothing = rule(|_: &Episode| f32::NAN);
        assert!(LogSigmoid::new(&nothing, Reference::Global(0.0), 1.0).unwrap().score(&episodes).is_err());
        // Two lists of one prompt are one list.
        let parts = [(Tokens::from(vec![1]), vec![0.0]), (Tokens::from(vec![1]), vec![1.0])];
        let whole = [(Tokens::from(vec![1]), vec![0.0, 1.0])];
        assert_eq!(PromptReferences::quantile(&parts, 0.5).unwrap(), PromptReferences::quantile(&whole, 0.5).unwrap());
        for tau in [0.0, -1.0, f64::NAN] {
            assert!(LogSigmoid::new(&scorer, Reference::Global(0.0), tau).is_err(), "{tau}");
        }
    }

    proptest! {
        #[test]
        fn the_utility_is_negative_rises_and_flattens(reward in -8.0..8.0f64, reference in -3.0..3.0f64) {
            let step = 0.125;
            let (low, high) = (at(reward, reference, 1.0), at(reward + step, reference, 1.0));
            prop_assert!(high < 0.0 && low < high);
            // The slope is sigmoid(reference - r), between its values at both ends.
            let slope = |r: f64| 1.0 / (1.0 + (r - reference).exp());
            let got = (high - low) / step;
            prop_assert!(slope(reward + step) - 1e-4 <= got && got <= slope(reward) + 1e-4);
        }

        #[test]
        fn a_far_reference_gives_the_raw_reward_back(reward in -3.0..3.0f64) {
            prop_assert!((at(reward, 30.0, 1.0) - (reward - 30.0)).abs() < 1e-5);
            // And a property that is satisfied adds about nothing.
            prop_assert!(at(reward, -30.0, 1.0).abs() < 1e-6);
        }
    }
}
