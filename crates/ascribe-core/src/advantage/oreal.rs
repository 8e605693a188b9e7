//! Right and wrong responses with weights of their own: OREAL, arXiv:2502.06781, and its public code.
//!
//! ```text
//! a   = R - mean of the others to the prompt
//! A_t = positive a w_t N / N+   for a right response,   negative a w_t N / N-   for a wrong one
//! V_t = sigmoid(mean of s_u, u <= t),   c_t = V_t for a right response, 1 - V_t for a wrong one
//! w_t = max(0, (c_t - tau) / (1 - tau)), tau 1/2;   or of the share of tokens with the largest c, (c_t - min) / (max - min)
//! ```
//! One right and one wrong response to each prompt are learned from, the first of each; the others, and prompts whose
//! responses are all right or all wrong, are left out. N+, N- and N are the tokens of the right ones, of the wrong ones and of
//! both, so a loss that is the mean over tokens of `-A log pi` has the two terms of the paper with their own divisors, where a
//! generation is one step. `s` are token rewards, a critic's, which learn whether a response is right; without them `w = 1`.
//! They are told so of responses that are left out as well, should a caller keep them. One that is learned from counts in N
//! even where the caller leaves it out afterwards, as one that was cut off may be.
//! Right is a score above 0: labels of 1 and 0, or of 1 and -1, which double every `a`.

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, Baseline, GradeNeeds, Graded, Outcome, check_all, groups};

/// The estimator. [`Default`] has the strengths of the public code and no token rewards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Oreal {
    /// Strength of what right responses teach.
    pub positive: f64,
    /// Strength of what wrong responses teach.
    pub negative: f64,
    /// Weigh tokens by token rewards: [`Graded::values`].
    pub token_rewards: bool,
    /// How token rewards become weights.
    pub weighting: TokenWeighting,
}

/// How the chance that a response is what it is judged to be, as it looks up to a token, becomes the token's weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TokenWeighting {
    /// What it is above this, in [0, 1), scaled to 1; 0 below.
    Above(f64),
    /// Of this share of the tokens, in (0, 1], those of the largest chances: scaled from 0 for the least to 1; 0 for the rest. The
    /// public code's other way, with 0.25.
    Top(f64),
}

impl Default for TokenWeighting {
    fn default() -> Self {
        Self::Above(0.5)
    }
}

impl TokenWeighting {
    fn check(self) -> Result<(), CoreError> {
        match self {
            Self::Above(got) if !(0.0..1.0).contains(&got) => {
                Err(CoreError::Range { name: "oreal_threshold", rule: "in [0, 1)", got })
            }
            Self::Top(got) if !(got > 0.0 && got <= 1.0) => {
                Err(CoreError::Range { name: "oreal_top", rule: "in (0, 1]", got })
            }
            _ => Ok(()),
        }
    }
}

impl Default for Oreal {
    fn default() -> Self {
        Self { positive: 1.0, negative: 0.5, token_rewards: false, weighting: TokenWeighting::default() }
    }
}

impl Oreal {
    /// Checks the strengths and the weighting.
    ///
    /// # Errors
    /// When one is not finite or below 0, or a share or threshold is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        for (name, got) in [("oreal_positive", self.positive), ("oreal_negative", self.negative)] {
            let accepted = got >= 0.0 && got.is_finite();
            if !accepted {
                return Err(CoreError::Range { name, rule: "finite and at least 0", got });
            }
        }
        self.weighting.check()
    }
}

/// Weights of the tokens of a response from their token rewards: of a right one, or of a wrong one.
pub fn token_weights(rewards: &[f64], right: bool, weighting: TokenWeighting) -> Vec<f64> {
    let mut sum = 0.0;
    let chance = |(at, reward): (usize, &f64)| {
        sum += reward;
        let value = 1.0 / (1.0 + (-sum / (at + 1) as f64).exp());
        if right { value } else { 1.0 - value }
    };
    let chances: Vec<f64> = rewards.iter().enumerate().map(chance).collect();
    match weighting {
        TokenWeighting::Above(tau) => chances.iter().map(|chance| ((chance - tau) / (1.0 - tau)).max(0.0)).collect(),
        TokenWeighting::Top(share) => {
            let mut order: Vec<usize> = (0..chances.len()).collect();
            order.sort_by(|a, b| chances[*b].total_cmp(&chances[*a]));
            order.truncate((share * chances.len() as f64).ceil() as usize);
            let mut weights = vec![0.0; chances.len()];
            let (Some(first), Some(last)) = (order.first(), order.last()) else { return weights };
            let (most, least) = (chances[*first], chances[*last]);
            for at in order {
                // Where all are alike, none counts less.
                weights[at] = if most > least { (chances[at] - least) / (most - least) } else { 1.0 };
            }
            weights
        }
    }
}

impl AdvantageEstimator for Oreal {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds { group: true, values: self.token_rewards, ..GradeNeeds::default() }
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_all(rollouts, self.needs())?;
        self.check()?;
        if let Some(got) = rollouts.iter().flat_map(|rollout| &rollout.rewards).find(|reward| **reward != 0.0) {
            let (name, rule) =
                ("a reward of a token", "0 where right and wrong are all that counts (pull the loss instead)");
            return Err(CoreError::Range { name, rule, got: *got });
        }
        let mut labels = Vec::with_capacity(rollouts.len());
        for rollout in rollouts {
            match rollout.score {
                None | Some(0.0 | 1.0 | -1.0) => labels.push(rollout.score.map(|score| score > 0.0)),
                Some(got) => {
                    let (name, rule) = ("a score that says right or wrong", "1, 0 or -1");
                    return Err(CoreError::Range { name, rule, got });
                }
            }
        }
        let leads = Outcome::new(Baseline::LeaveOneOut).scores(rollouts)?;
        let mut chosen = Vec::new();
        for members in groups(rollouts) {
            let first = |label: bool| members.iter().find(|at| labels[**at] == Some(label));
            if let (Some(right), Some(wrong)) = (first(true), first(false)) {
                chosen.extend([(*right, true), (*wrong, false)]);
            }
        }
        let tokens = |of: Option<bool>| -> f64 {
            let counted = chosen.iter().filter(|(_, right)| of.is_none_or(|of| of == *right));
            counted.map(|(at, _)| rollouts[*at].tokens()).sum::<usize>() as f64
        };
        let all = tokens(None);
        let told = |(rollout, label): (&Graded, &Option<bool>)| match label {
            Some(right) if self.token_rewards => vec![f64::from(u8::from(*right)); rollout.tokens()],
            _ => Vec::new(),
        };
        let told = rollouts.iter().zip(&labels).map(told);
        let mut advantages: Vec<Advantage> = told.map(|returns| Advantage { tokens: Vec::new(), returns }).collect();
        for (at, right) in &chosen {
            let (rollout, strength) = (&rollouts[*at], if *right { self.positive } else { self.negative });
            let scale = strength * leads[*at].unwrap_or(0.0) * all / tokens(Some(*right));
            let weights = match self.token_rewards {
                true => token_weights(&rollout.values, *right, self.weighting),
                false => vec![1.0; rollout.tokens()],
            };
            advantages[*at].tokens = weights.iter().map(|weight| weight * scale).collect();
        }
        Ok(advantages)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-12), "{got:?} beside {expected:?}");
    }

    #[test]
    fn weights_by_hand() {
        let token_weights = |rewards: &[f64], right| super::token_weights(rewards, right, TokenWeighting::default());
        // logit(0.8) = ln 4 and logit(0.3) = ln(3/7), then what keeps the running mean there.
        let (high, low) = (4.0f64.ln(), (3.0f64 / 7.0).ln());
        close(&token_weights(&[high, high], true), &[0.6, 0.6]);
        close(&token_weights(&[low], false), &[0.4]);
        close(&token_weights(&[high], false), &[0.0]);
        close(&token_weights(&[low], true), &[0.0]);
        // The mean of ln 4 and -ln 4 is 0, a value of one half.
        close(&token_weights(&[high, -high], true), &[0.6, 0.0]);
        close(&token_weights(&[0.0], false), &[0.0]);
        // Running means ln 4, 0 and ln 4 / 3: chances 0.8, 0.5 and a third one.
        let three = [high, -high, high];
        let third = 1.0 / (1.0 + (-high / 3.0).exp());
        let of = |weighting| super::token_weights(&three, true, weighting);
        close(&of(TokenWeighting::Above(0.0)), &[0.8, 0.5, third]);
        close(&of(TokenWeighting::Above(0.6)), &[0.5, 0.0, ((third - 0.6) / 0.4).max(0.0)]);
        close(&of(TokenWeighting::Top(1.0)), &[1.0, 0.0, (third - 0.5) / 0.3]);
        // Half of three is two, and of them the lesser counts for nothing; one alone counts in full.
        close(&of(TokenWeighting::Top(0.5)), &[1.0, 0.0, 0.0]);
        close(&of(TokenWeighting::Top(0.1)), &[1.0, 0.0, 0.0]);
        close(&super::token_weights(&[0.0, 0.0], false, TokenWeighting::Top(1.0)), &[1.0, 1.0]);
        assert_eq!(super::token_weights(&[], true, TokenWeighting::Top(0.5)), Vec::<f64>::new());
    }

    #[test]
    fn running_chances_and_weights_of_four_tokens() {
        // Token rewards 2, 0, -1, 3: running means 2, 1, 1/3 and 1.
        let near = |weighting, right, expected: [f64; 4]| {
            let got = token_weights(&[2.0, 0.0, -1.0, 3.0], right, weighting);
            assert!(got.len() == 4 && got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        };
        // A threshold of 0 leaves the chance itself.
        near(TokenWeighting::Above(0.0), true, [0.880_797, 0.731_059, 0.582_570, 0.731_059]);
        near(TokenWeighting::Above(0.0), false, [0.119_203, 0.268_941, 0.417_430, 0.268_941]);
        near(TokenWeighting::default(), true, [0.761_594, 0.462_117, 0.165_140, 0.462_117]);
        near(TokenWeighting::default(), false, [0.0; 4]);
    }

    #[test]
    fn the_last_chance_is_that_of_the_mean_reward() {
        let chances = |rewards: &[f64]| token_weights(rewards, true, TokenWeighting::Above(0.0));
        // The mean of 2, 0, -1, 3 is 1, and cross-entropy with a right outcome is ln(1 + e^-1) = 0.313262.
        let last = chances(&[2.0, 0.0, -1.0, 3.0])[3];
        assert!((-last.ln() - 0.313_262).abs() < 1e-6, "{last}");
        // In whatever order, and as one token has it, whose running mean is its reward.
        close(&chances(&[3.0, -1.0, 2.0, 0.0])[3..], &[last]);
        close(&chances(&[1.0]), &[last]);
    }

    proptest! {
        #[test]
        fn weights_are_shares(
            rewards in prop::collection::vec(-5.0..5.0f64, 1..9), right in any::<bool>(), number in 0.01..0.99f64,
        ) {
            for weighting in [TokenWeighting::Above(number), TokenWeighting::Top(number)] {
                let weights = token_weights(&rewards, right, weighting);
                prop_assert!(weights.len() == rewards.len() && weights.iter().all(|w| (0.0..=1.0).contains(w)), "{:?}", weights);
            }
        }
    }

    #[test]
    fn one_right_and_one_wrong_response_by_hand() {
        // 1, 0, 0 leave 1 and -1/2 over the others: the first wrong one has 3 tokens, the right one has 2.
        let mut rows = vec![Graded::scored(3, 1.0, 2), Graded::scored(3, 0.0, 3), Graded::scored(3, 0.0, 4)];
        // A prompt without a wrong response is left out.
        rows.extend([Graded::scored(5, 1.0, 1), Graded::scored(5, 1.0, 1)]);
        let got = Oreal::default().estimate(&rows).unwrap();
        close(&got[0].tokens, &[2.5; 2]); // 1 * 1 * 5 / 2
        close(&got[1].tokens, &[-0.5 * 0.5 * 5.0 / 3.0; 3]);
        assert!(got[2..].iter().all(|advantage| advantage.tokens.is_empty()));
        // Cloning alone.
        let cloning = Oreal { negative: 0.0, ..Oreal::default() }.estimate(&rows).unwrap();
        close(&cloning[1].tokens, &[0.0; 3]);
        // Labels of 1 and -1 double every lead.
        let signed: Vec<Graded> =
            rows.iter().map(|row| Graded { score: row.score.map(|score| 2.0 * score - 1.0), ..row.clone() }).collect();
        close(&Oreal::default().estimate(&signed).unwrap()[0].tokens, &[5.0; 2]);
    }

    #[test]
    fn token_rewards_weigh_and_are_told_the_label() {
        let half = |group, score| Graded { values: vec![0.0], ..Graded::scored(group, score, 1) };
        let sure = Graded { values: vec![4.0f64.ln()], ..Graded::scored(0, 1.0, 1) };
        let estimator = Oreal { token_rewards: true, ..Oreal::default() };
        let got = estimator.estimate(&[sure, half(0, 0.0)]).unwrap();
        close(&got[0].tokens, &[0.6 * 2.0]);
        close(&got[1].tokens, &[0.0]);
        assert_eq!((got[0].returns.as_slice(), got[1].returns.as_slice()), ([1.0].as_slice(), [0.0].as_slice()));
        assert!(estimator.estimate(&[Graded::scored(0, 1.0, 1), Graded::scored(0, 0.0, 1)]).is_err());
        // Nothing tells two right responses apart, but right they are.
        let got = estimator.estimate(&[half(0, 1.0), half(0, 1.0)]).unwrap();
        assert!(got.iter().all(|advantage| advantage.tokens.is_empty() && advantage.returns == [1.0]));
    }

    #[test]
    fn wrong_responses_push_the_same_way_as_right_ones_pull() {
        // A softmax over three arms of which the first is right: E[A grad log pi] = p g+, g+ the gradient of its log.
        let p = [0.5f64, 0.3, 0.2];
        let gradient = |arm: usize| -> Vec<f64> { (0..3).map(|at| f64::from(u8::from(at == arm)) - p[at]).collect() };
        let mut all = [0.0; 3];
        for (arm, probability) in p.iter().enumerate() {
            // Against the mean of all others, which is p of the first arm in expectation.
            let lead = f64::from(u8::from(arm == 0)) - p[0];
            gradient(arm).iter().enumerate().for_each(|(at, slope)| all[at] += probability * lead * slope);
        }
        let right: Vec<f64> = gradient(0).iter().map(|slope| p[0] * slope).collect();
        close(&all, &right);
    }

    #[test]
    fn what_says_neither_right_nor_wrong_is_refused() {
        assert!(Oreal::default().estimate(&[Graded::scored(0, 0.5, 1), Graded::scored(0, 0.0, 1)]).is_err());
        assert!(Oreal::default().estimate(&[Graded::scored(0, 1.0, 1)]).is_err());
        assert!(Oreal::default().estimate(&[Graded::scored(0, 1.0, 0), Graded::scored(0, 0.0, 1)]).is_err());
        let mut rows = [Graded::scored(0, 1.0, 1), Graded::scored(0, 0.0, 1)];
        assert!(Oreal::default().estimate(&rows).is_ok());
        assert!(Oreal { negative: f64::NAN, ..Oreal::default() }.estimate(&rows).is_err());
        for weighting in [
            TokenWeighting::Above(1.0),
            TokenWeighting::Above(f64::NAN),
            TokenWeighting::Top(0.0),
            TokenWeighting::Top(1.5),
        ] {
            assert!(Oreal { weighting, ..Oreal::default() }.check().is_err(), "{weighting:?}");
        }
        // A penalty on a token would count for nothing.
        rows[1].rewards[0] = -0.1;
        assert!(Oreal::default().estimate(&rows).is_err());
    }
}
