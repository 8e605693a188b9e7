//! Advantages by turn or by step: what came from a stretch on, held against the group.
//!
//! ```text
//! r_k = sum of the rewards of stretch k,   G_k = sum_{j >= k} gamma^(j - k) r_j
//! turns:  A_k = G_k - mean over the group of the G_k of its k-th turns
//! steps:  A_k = sum_{j >= k} (r_j - mean) / (std + epsilon), over all steps of the group   (arXiv:2402.03300, section 4.1.3)
//! own:    A_k = r_k - mean, over all steps of the group   (arXiv:2410.08146, section 3, whose r_k = Q_k + alpha A_k)
//! ```
//! Own rewards are for values of steps, whose sum over later steps would count the same future again and again; that the mean of
//! the group is their baseline is ours.
//! The score is paid on the last token. All tokens of a stretch share its advantage, and tokens of none get that of the next
//! stretch. A turn that only one response of the group has is compared with nothing and gets 0. Turn-level credit with a
//! baseline by place is our reading of the multi-turn forms of GRPO; the baseline is unverified.

use std::ops::Range;

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, GradeNeeds, Graded, Variance, check_all, check_fraction, groups, mean};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Returns of turns, with those of the turns in the same place.
    Turns {
        /// Discount from turn to turn, in [0, 1].
        gamma: f64,
    },
    /// Rewards of steps, with those of all steps of the group.
    Steps {
        /// Added to the standard deviation.
        epsilon: f64,
    },
    /// Rewards of steps, each for itself, with those of all steps of the group.
    Own,
}

/// Advantages by turn or by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segments(pub Level);

impl Segments {
    fn spans(&self, rollout: &Graded) -> Vec<Range<usize>> {
        let spans = match self.0 {
            Level::Turns { .. } => &rollout.turns,
            Level::Steps { .. } | Level::Own => &rollout.steps,
        };
        if spans.is_empty() { std::iter::once(0..rollout.tokens()).collect() } else { spans.clone() }
    }

    /// Rewards of each stretch; what lies between two belongs to the later one.
    fn rewards(rollout: &Graded, score: f64, spans: &[Range<usize>]) -> Vec<f64> {
        let paid = rollout.paid(score);
        let mut begin = 0;
        let mut rewards: Vec<f64> = spans
            .iter()
            .map(|span| {
                let sum: f64 = paid[begin..span.end].iter().sum();
                begin = span.end;
                sum
            })
            .collect();
        if let Some(last) = rewards.last_mut() {
            *last += paid[begin..].iter().sum::<f64>();
        }
        rewards
    }
}

impl AdvantageEstimator for Segments {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds { group: true, placed: true, ..GradeNeeds::default() }
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        if let Level::Turns { gamma } = self.0 {
            check_fraction("gamma", gamma)?;
        }
        check_all(rollouts, self.needs())?;
        let mut advantages: Vec<Advantage> = rollouts
            .iter()
            .map(|rollout| Advantage { tokens: vec![0.0; rollout.tokens()], returns: Vec::new() })
            .collect();
        for members in groups(rollouts) {
            if members.len() < 2 {
                let (name, rule) = ("the number of responses to a prompt", "at least 2 with a baseline of the group");
                return Err(CoreError::Range { name, rule, got: members.len() as f64 });
            }
            let scored = members.iter().filter_map(|at| rollouts[*at].score.map(|score| (*at, score)));
            let rows: Vec<(usize, Vec<Range<usize>>, Vec<f64>)> = scored
                .map(|(at, score)| {
                    let spans = self.spans(&rollouts[at]);
                    let rewards = Self::rewards(&rollouts[at], score, &spans);
                    (at, spans, rewards)
                })
                .collect();
            let of_stretches = self.compare(&rows.iter().map(|row| row.2.as_slice()).collect::<Vec<_>>());
            for ((at, spans, _), stretches) in rows.iter().zip(of_stretches) {
                let mut begin = 0;
                for (span, advantage) in spans.iter().zip(&stretches) {
                    advantages[*at].tokens[begin..span.end].fill(*advantage);
                    begin = span.end;
                }
                if let Some(last) = stretches.last() {
                    advantages[*at].tokens[begin..].fill(*last);
                }
            }
        }
        Ok(advantages)
    }
}

impl Segments {
    /// Advantage of each stretch of each response of one group, given its rewards.
    fn compare(&self, rewards: &[&[f64]]) -> Vec<Vec<f64>> {
        match self.0 {
            Level::Turns { gamma } => {
                let returns: Vec<Vec<f64>> = rewards.iter().map(|row| super::returns_to_go(row, gamma)).collect();
                let at_place =
                    |place: usize| -> Vec<f64> { returns.iter().filter_map(|row| row.get(place).copied()).collect() };
                let longest = returns.iter().map(Vec::len).max().unwrap_or(0);
                let baselines: Vec<Vec<f64>> = (0..longest).map(at_place).collect();
                let against = |(place, value): (usize, &f64)| value - mean(&baselines[place]);
                returns.iter().map(|row| row.iter().enumerate().map(against).collect()).collect()
            }
            Level::Steps { epsilon } => {
                let all: Vec<f64> = rewards.iter().flat_map(|row| row.iter().copied()).collect();
                if all.iter().all(|reward| *reward == all[0]) {
                    return rewards.iter().map(|row| vec![0.0; row.len()]).collect();
                }
                let (centre, spread) = (mean(&all), Variance::Unbiased.of(&all).sqrt());
                let normalized = |row: &&[f64]| -> Vec<f64> {
                    row.iter().map(|reward| (reward - centre) / (spread + epsilon)).collect()
                };
                rewards.iter().map(|row| super::returns_to_go(&normalized(row), 1.0)).collect()
            }
            Level::Own => {
                let all: Vec<f64> = rewards.iter().flat_map(|row| row.iter().copied()).collect();
                let centre = mean(&all);
                rewards.iter().map(|row| row.iter().map(|reward| reward - centre).collect()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Baseline, Outcome};
    use super::*;

    #[test]
    fn turns_by_hand() {
        // Two turns of two tokens: returns (1 + 0.5 * 2, 2) and (0, 0); the means by place are 1 and 1.
        let mut one = Graded { turns: vec![0..2, 2..4], ..Graded::scored(0, 2.0, 4) };
        one.rewards[1] = 1.0;
        let other = Graded { turns: vec![0..2, 2..4], ..Graded::scored(0, 0.0, 4) };
        let got = Segments(Level::Turns { gamma: 0.5 }).estimate(&[one, other]).unwrap();
        assert_eq!(got[0].tokens, [1.0; 4]);
        assert_eq!(got[1].tokens, [-1.0; 4]);
    }

    #[test]
    fn steps_by_hand() {
        // Rewards of steps 1, 0 | 0, 1 (the score ends the second): mean 1/2, std sqrt(1/3).
        let mut one = Graded { steps: vec![0..1, 1..3], ..Graded::scored(0, 0.0, 3) };
        one.rewards[0] = 1.0;
        let other = Graded { steps: vec![0..1, 1..3], ..Graded::scored(0, 1.0, 3) };
        let got = Segments(Level::Steps { epsilon: 0.0 }).estimate(&[one, other]).unwrap();
        let unit = 0.5 / (1.0f64 / 3.0).sqrt();
        let close = |got: &[f64], expected: [f64; 3]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(&got[0].tokens, [0.0, -unit, -unit]), "{got:?}");
        assert!(close(&got[1].tokens, [0.0, unit, unit]), "{got:?}");
    }

    #[test]
    fn own_rewards_by_hand() {
        // Rewards 1 and 0.25 | 0.5 and 0.25 (the score ends the second): the mean is 1/2.
        let mut one = Graded { steps: vec![0..1, 1..3], ..Graded::scored(0, 0.0, 3) };
        (one.rewards[0], one.rewards[2]) = (1.0, 0.25);
        let mut other = Graded { steps: vec![0..2, 2..3], ..Graded::scored(0, 0.25, 3) };
        other.rewards[1] = 0.5;
        let got = Segments(Level::Own).estimate(&[one, other]).unwrap();
        // No step is told what comes after it.
        assert_eq!(got[0].tokens, [0.5, -0.25, -0.25]);
        assert_eq!(got[1].tokens, [0.0, 0.0, -0.25]);
        // Of one step a response, it is the centred score.
        let rows: Vec<Graded> = [1.0, 0.0, 0.25].iter().map(|score| Graded::scored(3, *score, 2)).collect();
        assert_eq!(
            Segments(Level::Own).estimate(&rows).unwrap(),
            Outcome::new(Baseline::GroupMean).estimate(&rows).unwrap()
        );
    }

    #[test]
    fn one_turn_is_the_centred_score() {
        let rows: Vec<Graded> = [1.0, 0.0, 0.25].iter().map(|score| Graded::scored(3, *score, 2)).collect();
        let turns = Segments(Level::Turns { gamma: 0.9 }).estimate(&rows).unwrap();
        assert_eq!(turns, Outcome::new(Baseline::GroupMean).estimate(&rows).unwrap());
        let dead: Vec<Graded> = (0..3).map(|_| Graded::scored(0, 0.1, 2)).collect();
        let got = Segments(Level::Steps { epsilon: 1e-4 }).estimate(&dead).unwrap();
        assert!(got.iter().all(|row| row.tokens == [0.0, 0.0]));
        assert!(Segments(Level::Turns { gamma: 1.0 }).estimate(&rows[..1]).is_err());
    }
}
