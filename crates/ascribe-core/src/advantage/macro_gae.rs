//! Macro actions: advantage estimation over stretches of tokens instead of single ones. MA-RLHF, arXiv:2410.02743.
//!
//! ```text
//! V_k = sum_i w_i V_{t_k + i},   R_k = sum_i gamma^i r_{t_k + i}
//! delta_k = R_k + gamma^{n_k} V_{k+1} - V_k,   A_k = delta_k + gamma^{n_k} lambda A_{k+1},   return_k = A_k + V_k
//! ```
//! All tokens of a macro action share its advantage and its return. The weights of the value are equal (1/n, the default),
//! those of the last token alone, or 1/(i + 1) normalised. `MacroReward::Sum` is the reward of a semi-Markov process; that
//! the paper means it is unverified. The public code takes the weights of the value for rewards too
//! (`MacroReward::Weighted`), and cuts the last token, where the score is paid, off as a macro action of its own, so that the
//! score is not averaged. With one token a macro action it is [`gae`](super::gae), to the bit.

use std::ops::Range;

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, GradeNeeds, Graded, Normalize, check_all, check_fraction};

/// How the values of the tokens of a macro action become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacroValue {
    /// Their mean.
    #[default]
    Equal,
    /// That of the last token.
    Unit,
    /// Weighed by 1/(i + 1), `i` from 0.
    Position,
}

impl MacroValue {
    fn weights(self, n: usize) -> Vec<f64> {
        match self {
            Self::Equal => vec![1.0 / n as f64; n],
            Self::Unit => (0..n).map(|at| if at + 1 == n { 1.0 } else { 0.0 }).collect(),
            Self::Position => {
                let sum: f64 = (1..=n).map(|at| 1.0 / at as f64).sum();
                (1..=n).map(|at| 1.0 / at as f64 / sum).collect()
            }
        }
    }

    fn of(self, values: &[f64]) -> f64 {
        // One token is itself, without a product that rounds.
        match values {
            [only] => *only,
            _ => self.weights(values.len()).iter().zip(values).map(|(weight, value)| weight * value).sum(),
        }
    }
}

/// How the rewards of the tokens of a macro action become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacroReward {
    /// Their discounted sum.
    #[default]
    Sum,
    /// By the weights of the value, as the public code does; the last token is a macro action of its own.
    Weighted,
}

/// Advantage and return of each macro action.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MacroActions {
    /// Advantages.
    pub advantages: Vec<f64>,
    /// Advantages plus values.
    pub returns: Vec<f64>,
}

/// Generalized advantage estimation over `spans`, which follow one another and cover `rewards` and `values`.
pub fn macro_gae(rewards: &[f64], values: &[f64], spans: &[Range<usize>], options: &MacroGae) -> MacroActions {
    let gamma = options.gamma;
    let (mut ahead, mut next) = (0.0, 0.0);
    let mut actions: Vec<(f64, f64)> = spans
        .iter()
        .rev()
        .map(|span| {
            let (rewards, value) = (&rewards[span.clone()], options.value.of(&values[span.clone()]));
            let reward = match options.reward {
                MacroReward::Sum => rewards.iter().rev().fold(0.0, |sum, reward| reward + gamma * sum),
                MacroReward::Weighted => options.value.of(rewards),
            };
            let discount = (0..span.len()).fold(1.0, |product, _| product * gamma);
            ahead = reward + discount * next - value + discount * options.lambda * ahead;
            next = value;
            (ahead, ahead + value)
        })
        .collect();
    actions.reverse();
    let (advantages, returns) = actions.into_iter().unzip();
    MacroActions { advantages, returns }
}

/// The estimator of MA-PPO: [`Graded::steps`] are the macro actions, and cover the response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MacroGae {
    /// Discount from token to token, in [0, 1].
    pub gamma: f64,
    /// Decay of the trace from macro action to macro action, in [0, 1].
    pub lambda: f64,
    /// How values are pooled.
    pub value: MacroValue,
    /// How rewards are pooled.
    pub reward: MacroReward,
    /// What is done to all advantages at the end.
    pub normalize: Normalize,
}

impl AdvantageEstimator for MacroGae {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds::of_values()
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_fraction("gamma", self.gamma)?;
        check_fraction("lambda", self.lambda)?;
        check_all(rollouts, self.needs())?;
        let mut advantages = Vec::with_capacity(rollouts.len());
        for rollout in rollouts {
            let n = rollout.tokens();
            let covered: usize = rollout.steps.iter().map(Range::len).sum();
            if covered != n {
                let got = format!("{covered} of {n} tokens in macro actions");
                return Err(CoreError::Shape { rule: "macro actions must cover the response", got });
            }
            let Some(score) = rollout.score else {
                advantages.push(Advantage { tokens: vec![0.0; n], returns: rollout.values.clone() });
                continue;
            };
            let spans = match self.reward {
                MacroReward::Sum => rollout.steps.clone(),
                MacroReward::Weighted => last_apart(&rollout.steps),
            };
            let actions = macro_gae(&rollout.paid(score), &rollout.values, &spans, self);
            let mut row = Advantage { tokens: vec![0.0; n], returns: vec![0.0; n] };
            for (number, span) in spans.iter().enumerate() {
                row.tokens[span.clone()].fill(actions.advantages[number]);
                row.returns[span.clone()].fill(actions.returns[number]);
            }
            advantages.push(row);
        }
        let counted: Vec<bool> = rollouts.iter().map(|rollout| rollout.score.is_some()).collect();
        self.normalize.apply(&mut advantages, &counted)?;
        Ok(advantages)
    }
}

/// The spans with the last token as one of its own.
fn last_apart(spans: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut spans = spans.to_vec();
    if let Some(last) = spans.last_mut().filter(|last| last.len() > 1) {
        let end = last.end;
        last.end = end - 1;
        spans.push(end - 1..end);
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gae;
    use super::*;

    const PLAIN: MacroGae = MacroGae {
        gamma: 1.0,
        lambda: 0.95,
        value: MacroValue::Equal,
        reward: MacroReward::Sum,
        normalize: Normalize::No,
    };

    #[test]
    fn macro_actions_by_hand() {
        // Two of two tokens: rewards (0, 1), mean values (0.45, 0.7); deltas 0.25 and 0.3; 0.25 + 0.95 * 0.3 = 0.535.
        let got = macro_gae(&[0.0, 0.0, 0.0, 1.0], &[0.5, 0.4, 0.6, 0.8], &[0..2, 2..4], &PLAIN);
        assert!((got.advantages[0] - 0.535).abs() < 1e-12 && (got.advantages[1] - 0.3).abs() < 1e-12, "{got:?}");
        assert!((got.returns[0] - 0.985).abs() < 1e-12 && (got.returns[1] - 1.0).abs() < 1e-12, "{got:?}");
        // Weights 1 and 1/2, normalised: 2/3 and 1/3.
        let weights = MacroValue::Position.weights(2);
        assert!((weights[0] - 2.0 / 3.0).abs() < 1e-12 && (weights[1] - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(MacroValue::Unit.of(&[3.0, 5.0]), 5.0);
        // The public code weighs rewards as it does values: (0 + 1) / 2.
        let weighted = MacroGae { reward: MacroReward::Weighted, lambda: 0.0, ..PLAIN };
        let got = macro_gae(&[0.0, 1.0], &[0.0, 0.0], std::slice::from_ref(&(0..2)), &weighted);
        assert_eq!(got.advantages, [0.5]);
    }

    #[test]
    fn weighted_rewards_leave_the_score_on_a_token_of_its_own() {
        // One macro action of three tokens becomes two; values are 0, so with lambda 0 the second has the score alone.
        let row = Graded { values: vec![0.0; 3], steps: std::iter::once(0..3).collect(), ..Graded::scored(0, 1.0, 3) };
        let weighted = MacroGae { reward: MacroReward::Weighted, lambda: 0.0, ..PLAIN };
        assert_eq!(weighted.estimate(std::slice::from_ref(&row)).unwrap()[0].tokens, [0.0, 0.0, 1.0]);
        assert_eq!(PLAIN.estimate(std::slice::from_ref(&row)).unwrap()[0].tokens, [1.0; 3]);
        // A last macro action of one token stays.
        assert_eq!(last_apart(&[0..2, 2..3]), [0..2, 2..3]);
        assert_eq!(last_apart(&[]), Vec::<Range<usize>>::new());
    }

    #[test]
    fn macro_actions_that_leave_a_token_out_are_refused() {
        let mut row = Graded { values: vec![0.0; 3], ..Graded::scored(0, 1.0, 3) };
        assert!(PLAIN.estimate(std::slice::from_ref(&row)).is_err());
        row.steps = vec![0..2, 2..3];
        assert!(PLAIN.estimate(std::slice::from_ref(&row)).is_ok());
        row.steps = vec![0..2, 1..3];
        assert!(PLAIN.estimate(&[row]).is_err());
    }

    fn row() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        prop::collection::vec((-3.0..3.0f64, -3.0..3.0f64), 1..9).prop_map(|row| row.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn with_one_token_each_it_is_token_level_estimation(
            (rewards, values) in row(), gamma in 0.5..=1.0f64, lambda in 0.0..=1.0f64,
        ) {
            let spans: Vec<_> = (0..rewards.len()).map(|at| at..at + 1).collect();
            let options = MacroGae { gamma, lambda, ..PLAIN };
            let got = macro_gae(&rewards, &values, &spans, &options).advantages;
            prop_assert_eq!(got, gae(&rewards, &values, gamma, lambda));
        }

        #[test]
        fn one_macro_action_is_a_bandit((rewards, values) in row()) {
            let n = rewards.len();
            let got = macro_gae(&rewards, &values, std::slice::from_ref(&(0..n)), &PLAIN);
            let expected = rewards.iter().sum::<f64>() - values.iter().sum::<f64>() / n as f64;
            prop_assert!((got.advantages[0] - expected).abs() < 1e-9);
        }

        #[test]
        fn a_constant_value_is_pooled_to_itself(value in -3.0..3.0f64, n in 1usize..8) {
            for how in [MacroValue::Equal, MacroValue::Unit, MacroValue::Position] {
                prop_assert!((how.of(&vec![value; n]) - value).abs() < 1e-12);
            }
        }
    }
}
