//! Rewards out of rewards: weighted sums of scorers, a model beside a verifier, and the merge of attributes.
//!
//! ```text
//! sum:      r = sum_i w_i r_i;   of log-sigmoid rewards it is a logical AND (arXiv:2402.00742)
//! verified: r = sigmoid(alpha r_m) + (v - 1),   v = 1 for a right response, 0 for a wrong one (Qwen2.5-Math, arXiv:2409.12122)
//! merge:    r = sum_k w_k a_k of the attributes of a regression head (HelpSteer2, arXiv:2406.08673)
//! ```
//! A merge is best fitted: logistic regression of the pair label on differences of attributes, without an intercept, because
//! differences change sign with the pair. Attributes must be on the scale that they were fitted on.

use ascribe_core::{CoreError, Credit, Episode, Reduce, Scorer};
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::ensemble::same_credit;
use crate::error::{finite, not_empty, option, same_length, within};
use crate::linear::logistic;
use crate::math::{dot, sigmoid};
use crate::transforms::credit;

/// A weighted sum of scorers: a reward with a price, a rule beside a model, several properties at once.
pub struct Sum<'a> {
    parts: Vec<(f64, &'a dyn Scorer)>,
}

impl<'a> Sum<'a> {
    /// The sum of these scorers with their weights.
    ///
    /// # Errors
    /// Without a part, or when a weight is NaN or infinite.
    pub fn new(parts: Vec<(f64, &'a dyn Scorer)>) -> Result<Self, RewardError> {
        finite("the weights of the parts", &parts.iter().map(|(weight, _)| *weight).collect::<Vec<_>>())?;
        Ok(Self { parts })
    }

    /// The logical AND of log-probabilities to be good: weights of 1.
    ///
    /// # Errors
    /// Without a part.
    pub fn and(parts: Vec<&'a dyn Scorer>) -> Result<Self, RewardError> {
        Self::new(parts.into_iter().map(|part| (1.0, part)).collect())
    }

    /// The AND with weights, each of which says how often its property counts.
    ///
    /// # Errors
    /// Without a part, or unless every weight is finite and above 0.
    pub fn weighted_and(parts: Vec<(f64, &'a dyn Scorer)>) -> Result<Self, RewardError> {
        let weights: Vec<f64> = parts.iter().map(|(weight, _)| *weight).collect();
        within("the weight of a property", &weights, "finite and above 0", |w| 0.0 < w && w.is_finite())?;
        Self::new(parts)
    }
}

impl Scorer for Sum<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credits = self.parts.iter().map(|(_, part)| part.score(episodes)).collect::<Result<Vec<_>, _>>()?;
        same_credit(episodes, &credits)?;
        let sum = |(row, first): (usize, &Credit)| -> Result<Credit, RewardError> {
            let place = |place: usize| -> f64 {
                let parts = self.parts.iter().zip(&credits);
                parts.map(|((weight, _), part)| weight * f64::from(part[row].values()[place])).sum()
            };
            let sums: Vec<f64> = (0..first.values().len()).map(place).collect();
            within("a sum of rewards", &sums, "finite", f64::is_finite)?;
            Ok(credit(first.granularity(), sums.into_iter().map(|sum| sum as f32).collect()))
        };
        Ok(credits[0].iter().enumerate().map(sum).collect::<Result<Vec<_>, _>>()?)
    }
}

/// A reward model that orders right responses among themselves, and wrong ones; every right response is above every wrong one.
pub struct Verified<'a> {
    model: &'a dyn Scorer,
    verifier: &'a dyn Scorer,
    alpha: f64,
}

impl<'a> Verified<'a> {
    /// Joins a reward model, of whose credit the last value counts, with a verifier, which says 1 of a right response and 0 of a
    /// wrong one. The published `alpha` is 0.5.
    ///
    /// # Errors
    /// When `alpha` is not finite and above 0.
    pub fn new(model: &'a dyn Scorer, verifier: &'a dyn Scorer, alpha: f64) -> Result<Self, RewardError> {
        option("alpha", "finite and above 0, such as 0.5", alpha, 0.0 < alpha && alpha.is_finite())?;
        Ok(Self { model, verifier, alpha })
    }
}

impl Scorer for Verified<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let (rewards, verdicts) = (self.model.score(episodes)?, self.verifier.score(episodes)?);
        same_length("the rewards of the model", episodes.len(), rewards.len())?;
        same_length("the verdicts", episodes.len(), verdicts.len())?;
        let mut credits = Vec::with_capacity(episodes.len());
        for ((episode, reward), verdict) in episodes.iter().zip(&rewards).zip(&verdicts) {
            let reward = f64::from(reward.to_sequence(episode, Reduce::Last)?);
            let verdict = f64::from(verdict.to_sequence(episode, Reduce::Last)?);
            within("a reward", &[reward], "finite", f64::is_finite)?;
            within("a verdict", &[verdict], "1 for right or 0 for wrong", |verdict| verdict == 0.0 || verdict == 1.0)?;
            credits.push(Credit::sequence((sigmoid(self.alpha * reward) + verdict - 1.0) as f32));
        }
        Ok(credits)
    }
}

/// Weights that make one reward of the attributes of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// One weight an attribute.
    pub weights: Vec<f64>,
}

impl Merge {
    /// Llama3-70B-SteerLM-RM: helpfulness, correctness, coherence, complexity, verbosity.
    pub const LLAMA3_70B_STEERLM: [f64; 5] = [0.65, 0.8, 0.45, 0.55, -0.4];

    /// Nemotron-4-340B-Reward: helpfulness, correctness, coherence, complexity, verbosity.
    pub const NEMOTRON_4_340B: [f64; 5] = [0.3, 0.74, 0.46, 0.47, -0.33];

    /// Given weights.
    ///
    /// # Errors
    /// Without a weight, or when one is NaN or infinite.
    pub fn new(weights: &[f64]) -> Result<Self, RewardError> {
        finite("the weights of the attributes", weights)?;
        Ok(Self { weights: weights.to_vec() })
    }

    /// The weights under which the chosen responses of pairs score higher: attributes of each chosen and rejected response.
    /// `ridge` keeps them finite when the attributes separate the pairs; where `non_negative` says so a weight stays at least 0,
    /// for attributes of which more is better.
    ///
    /// # Errors
    /// When there is no pair, the lengths differ, a value is NaN or infinite, the ridge is not finite or below 0, or the
    /// attributes are copies of each other and the ridge is 0.
    pub fn fit(pairs: &[[Vec<f64>; 2]], ridge: f64, non_negative: &[bool]) -> Result<Self, RewardError> {
        not_empty("the pairs", pairs)?;
        not_empty("the attributes", non_negative)?;
        option("ridge", "finite and at least 0", ridge, 0.0 <= ridge && ridge.is_finite())?;
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(pairs.len());
        for [chosen, rejected] in pairs {
            for side in [chosen, rejected] {
                same_length("the attributes of a response", non_negative.len(), side.len())?;
                finite("the attributes of a response", side)?;
            }
            rows.push(chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen - rejected).collect());
        }
        Ok(Self { weights: logistic(&rows, ridge, non_negative)? })
    }

    /// The reward of a response with these attributes.
    ///
    /// # Errors
    /// When there is not one attribute a weight, or one is NaN or infinite.
    pub fn apply(&self, attributes: &[f64]) -> Result<f64, RewardError> {
        same_length("the attributes", self.weights.len(), attributes.len())?;
        finite("the attributes", attributes)?;
        Ok(dot(&self.weights, attributes))
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sum_with_a_price_by_hand() {
        let good = rule(|episode: &Episode| episode.response_tokens()[0] as f32);
        let length = rule(|episode: &Episode| episode.response_tokens().len() as f32);
        let sum = Sum::new(vec![(1.0, &good), (-0.5, &length)]).unwrap();
        // 7 - 0.5 * 3.
        assert_eq!(sum.score(&[Episode::new(&[1], &[7, 8, 9])]).unwrap(), [Credit::sequence(5.5)]);
        let both = Sum::and(vec![&good, &length]).unwrap();
        assert_eq!(both.score(&[Episode::new(&[1], &[7, 8, 9])]).unwrap(), [Credit::sequence(10.0)]);
        assert!(Sum::new(vec![]).is_err() && Sum::and(vec![]).is_err() && Sum::new(vec![(f64::NAN, &good)]).is_err());
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Sum::weighted_and(vec![(weight, &good)]).is_err(), "{weight}");
        }
        assert!(Sum::weighted_and(vec![(2.0, &good)]).is_ok());
        let nothing = rule(|_: &Episode| f32::NAN);
        assert!(Sum::and(vec![&good, &nothing]).unwrap().score(&[Episode::new(&[1], &[7])]).is_err());
    }

    #[test]
    fn a_verified_reward_by_hand() {
        // alpha 0.5 and rewards 0 and 2 ln 3: sigmoid(0) = 0.5, sigmoid(ln 3) = 0.75; wrong ones are 1 lower.
        let model = rule(|episode: &Episode| if episode.response_tokens()[0] == 3 { 2.0 * 3f32.ln() } else { 0.0 });
        let verifier = rule(|episode: &Episode| if episode.response_tokens()[1] == 1 { 1.0 } else { 0.0 });
        let reward = Verified::new(&model, &verifier, 0.5).unwrap();
        let episodes = [[0, 1], [3, 1], [0, 0], [3, 0]].map(|response: [u32; 2]| Episode::new(&[1], &response));
        let rewards = reward.score(&episodes).unwrap();
        for (credit, expected) in rewards.iter().zip([0.5, 0.75, -0.5, -0.25]) {
            assert!((credit.values()[0] - expected).abs() < 1e-6, "{credit:?}");
        }
        let unsure = rule(|_: &Episode| 0.5);
        let refused = Verified::new(&model, &unsure, 0.5).unwrap().score(&episodes).err().unwrap().to_string();
        assert!(refused.contains("a verdict must be 1 for right or 0 for wrong, got 0.5"), "{refused}");
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Verified::new(&model, &verifier, alpha).is_err(), "{alpha}");
        }
    }

    /// Of 5 pairs with a difference of 1 four are won: ln 4.
    #[test]
    fn a_fitted_merge_is_the_log_odds() {
        let pair = |high: f64, low: f64| [vec![high], vec![low]];
        let pairs = [pair(2.0, 1.0), pair(3.0, 2.0), pair(1.0, 0.0), pair(4.0, 3.0), pair(0.0, 1.0)];
        let merge = Merge::fit(&pairs, 0.0, &[false]).unwrap();
        assert!((merge.weights[0] - 4f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let merge = Merge::new(&Merge::NEMOTRON_4_340B).unwrap();
        assert!(matches!(merge.apply(&[1.0; 4]), Err(RewardError::Length { expected: 5, got: 4, .. })));
        assert!(merge.apply(&[f64::NAN; 5]).is_err() && Merge::new(&[]).is_err() && Merge::new(&[f64::NAN]).is_err());
        assert!(Merge::fit(&[], 0.0, &[false]).is_err());
        let pair = [[vec![1.0], vec![0.0]]];
        assert!(Merge::fit(&pair, f64::NAN, &[false]).is_err() && Merge::fit(&pair, 0.1, &[false; 2]).is_err());
        assert!(Merge::fit(&[[vec![f64::NAN], vec![0.0]]], 0.1, &[false]).is_err());
    }

    proptest! {
        #[test]
        fn the_merged_margin_is_linear(
            rows in prop::collection::vec((-3.0..3.0f64, -3.0..3.0f64, -3.0..3.0f64), 1..6),
        ) {
            let column = |of: fn(&(f64, f64, f64)) -> f64| rows.iter().map(of).collect::<Vec<_>>();
            let (weights, chosen, rejected) = (column(|row| row.0), column(|row| row.1), column(|row| row.2));
            let merge = Merge::new(&weights).unwrap();
            let difference: Vec<f64> = chosen.iter().zip(&rejected).map(|(c, r)| c - r).collect();
            let margin = merge.apply(&chosen).unwrap() - merge.apply(&rejected).unwrap();
            prop_assert!((margin - merge.apply(&difference).unwrap()).abs() < 1e-9);
            // One weight alone is its attribute, and turning both around changes nothing.
            let mut one = vec![0.0; rows.len()];
            one[rows.len() - 1] = 1.0;
            prop_assert_eq!(Merge::new(&one).unwrap().apply(&chosen).unwrap(), chosen[rows.len() - 1]);
            let turned = |values: &[f64]| values.iter().rev().copied().collect::<Vec<_>>();
            let moved = Merge::new(&turned(&weights)).unwrap().apply(&turned(&chosen)).unwrap();
            prop_assert!((moved - merge.apply(&chosen).unwrap()).abs() < 1e-9);
        }
    }
}
