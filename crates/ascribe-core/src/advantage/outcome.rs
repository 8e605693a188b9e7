//! Advantages from the score of a whole response: REINFORCE with a baseline, RLOO, GRPO and their relatives.
//!
//! ```text
//! A_t = sum_{u >= t} gamma^(u - t) (r_u + [u is last] a),   a = what the baseline leaves of the score
//!
//! none                a = R                                       REINFORCE; whitened: REINFORCE++, arXiv:2501.03262
//! group mean          a = R - mean of the group                   Dr. GRPO, arXiv:2503.20783
//! group normalised    a = (R - mean) / (std + epsilon)            GRPO, arXiv:2402.03300
//! batch normalised    the mean of the group, the std of the batch
//! leave one out       a = R - mean of the others                  RLOO, arXiv:2402.14740
//! length weighted     a = R - sum n R / sum n                     OPO, arXiv:2505.23585
//! best of group       a = best - second, for the best alone       Pass@k training, [/ (std + epsilon)]
//! greedy              a = R - score of the most likely response   ReMax, arXiv:2310.10505
//! scaled              a = (R - mean) * batch / scores that are not 0     GPG, arXiv:2504.02546
//! ```
//! `R` is the score, `r` the other rewards. Standard deviations are unbiased unless they are asked to be biased. A response
//! without a score gets 0 and is no part of any baseline. With equal scores in a group its advantages are 0, not noise over
//! epsilon.

use crate::CoreError;

use super::{
    Advantage, AdvantageEstimator, GradeNeeds, Graded, Normalize, Variance, check_all, check_fraction, groups, mean,
    returns_to_go,
};

/// What is taken off the score of a response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Baseline {
    /// Nothing.
    None,
    /// The mean of its group.
    GroupMean,
    /// The mean of its group; then it is divided by the group's standard deviation plus `epsilon`.
    GroupNormalized {
        /// Added to the standard deviation.
        epsilon: f64,
    },
    /// The mean of its group; then it is divided by the standard deviation of the whole batch plus `epsilon`.
    BatchNormalized {
        /// Added to the standard deviation.
        epsilon: f64,
    },
    /// The mean of the others of its group.
    LeaveOneOut,
    /// The mean of its group, each score weighed by the number of tokens.
    LengthWeighted,
    /// The second best score of its group, for the best; others get 0. Divided by the group's standard deviation plus
    /// `epsilon` where there is one.
    BestOfGroup {
        /// Added to the standard deviation; `None` does not divide.
        epsilon: Option<f64>,
    },
    /// The score of the most likely response to the same prompt.
    Greedy,
    /// The mean of its group; then all are multiplied by the number of responses over those whose score is not 0.
    Scaled,
}

/// Advantages from scores and a baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// What is taken off the score.
    pub baseline: Baseline,
    /// Then, over all responses of the batch: minus the mean, divided by the standard deviation plus this.
    pub standardize: Option<f64>,
    /// How standard deviations of scores are taken.
    pub variance: Variance,
    /// Discount from token to token, in [0, 1].
    pub gamma: f64,
    /// What is done to the advantages of all tokens at the end.
    pub normalize: Normalize,
}

impl Outcome {
    /// A baseline alone: unbiased deviations, no discount, and nothing is done behind it.
    pub fn new(baseline: Baseline) -> Self {
        Self { baseline, standardize: None, variance: Variance::Unbiased, gamma: 1.0, normalize: Normalize::No }
    }

    /// What the baseline leaves of each score; `None` where there is no score.
    ///
    /// # Errors
    /// When the baseline is a group's and a group has one response, or a greedy score is absent.
    pub fn scores(&self, rollouts: &[Graded]) -> Result<Vec<Option<f64>>, CoreError> {
        let mut left: Vec<Option<f64>> = rollouts.iter().map(|rollout| rollout.score).collect();
        let all: Vec<f64> = left.iter().copied().flatten().collect();
        if self.baseline == Baseline::None {
            return Ok(left);
        }
        if self.baseline == Baseline::Greedy {
            for (left, rollout) in left.iter_mut().zip(rollouts) {
                let greedy = rollout.greedy.ok_or(CoreError::MissingEvidence("greedy"))?;
                *left = left.map(|score| score - greedy);
            }
            return Ok(left);
        }
        let spread_of_all = self.variance.of(&all).sqrt();
        for members in groups(rollouts) {
            if members.len() < 2 {
                let (name, rule) = ("the number of responses to a prompt", "at least 2 with a baseline of the group");
                return Err(CoreError::Range { name, rule, got: members.len() as f64 });
            }
            let scored: Vec<(usize, f64)> =
                members.iter().filter_map(|at| left[*at].map(|score| (*at, score))).collect();
            let scores: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
            if scores.is_empty() {
                continue;
            }
            let spread = self.variance.of(&scores).sqrt();
            let equal = scores.iter().all(|score| *score == scores[0]);
            let centre = mean(&scores);
            let weights: Vec<f64> = scored.iter().map(|(at, _)| rollouts[*at].tokens() as f64).collect();
            for (at, score) in &scored {
                let lead = score - centre;
                let advantage = match self.baseline {
                    Baseline::None | Baseline::Greedy => *score,
                    _ if equal => 0.0,
                    Baseline::GroupMean | Baseline::Scaled => lead,
                    Baseline::GroupNormalized { epsilon } => lead / (spread + epsilon),
                    Baseline::BatchNormalized { epsilon } => lead / (spread_of_all + epsilon),
                    Baseline::LeaveOneOut => {
                        let others = scores.iter().sum::<f64>() - score;
                        score - others / (scores.len() - 1) as f64
                    }
                    Baseline::LengthWeighted => {
                        let weighed: f64 = scores.iter().zip(&weights).map(|(score, weight)| score * weight).sum();
                        score - weighed / weights.iter().sum::<f64>()
                    }
                    Baseline::BestOfGroup { epsilon } => {
                        // The first of the best, so that a tie has one winner.
                        let best = scored.iter().fold(scored[0], |best, one| if one.1 > best.1 { *one } else { best });
                        let others = scored.iter().filter(|one| one.0 != best.0).map(|one| one.1);
                        let second = others.fold(f64::NEG_INFINITY, f64::max);
                        let ahead = best.1 - second;
                        let scale = epsilon.map_or(1.0, |epsilon| spread + epsilon);
                        if *at == best.0 { ahead / scale } else { 0.0 }
                    }
                };
                left[*at] = Some(advantage);
            }
        }
        if self.baseline == Baseline::Scaled {
            let scale = all.len() as f64 / all.iter().filter(|score| **score != 0.0).count().max(1) as f64;
            left.iter_mut().flatten().for_each(|advantage| *advantage *= scale);
        }
        Ok(left)
    }
}

impl AdvantageEstimator for Outcome {
    fn needs(&self) -> GradeNeeds {
        let group = !matches!(self.baseline, Baseline::None | Baseline::Greedy);
        GradeNeeds { group, greedy: self.baseline == Baseline::Greedy, ..GradeNeeds::default() }
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_fraction("gamma", self.gamma)?;
        check_all(rollouts, GradeNeeds::default())?;
        let mut left = self.scores(rollouts)?;
        if let Some(epsilon) = self.standardize {
            standardize(&mut left, epsilon);
        }
        let mut advantages: Vec<Advantage> = rollouts
            .iter()
            .zip(&left)
            .map(|(rollout, left)| {
                let tokens = match left {
                    Some(score) => returns_to_go(&rollout.paid(*score), self.gamma),
                    None => vec![0.0; rollout.tokens()],
                };
                Advantage { tokens, returns: Vec::new() }
            })
            .collect();
        let counted: Vec<bool> = left.iter().map(Option::is_some).collect();
        self.normalize.apply(&mut advantages, &counted)?;
        Ok(advantages)
    }
}

/// One score a response from several: the sum of those that are there, each times its weight; `None` where none is.
pub fn weighted_sum(columns: &[Vec<Option<f64>>], weights: &[f64]) -> Vec<Option<f64>> {
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let score = |row: usize| {
        let there =
            columns.iter().zip(weights).filter_map(|(column, weight)| Some(column.get(row)?.as_ref()? * weight));
        there.reduce(|sum, score| sum + score)
    };
    (0..rows).map(score).collect()
}

/// Minus the mean, divided by the standard deviation plus `epsilon`, over the scores that are there; one alone becomes 0.
pub fn standardize(scores: &mut [Option<f64>], epsilon: f64) {
    let all: Vec<f64> = scores.iter().copied().flatten().collect();
    if all.is_empty() {
        return;
    }
    let (centre, spread) = (mean(&all), Variance::Unbiased.of(&all).sqrt());
    scores.iter_mut().flatten().for_each(|score| *score = (*score - centre) / (spread + epsilon));
}

/// For each response, whether its group is dead: no two of its scores differ and no token earned anything, so it says nothing
/// about what is better.
///
/// Scores are compared exactly: a standard deviation of rounding noise is not taken for a signal.
pub fn dead_groups(rollouts: &[Graded]) -> Vec<bool> {
    let mut dead = vec![false; rollouts.len()];
    for members in groups(rollouts) {
        let mut scores = members.iter().filter_map(|at| rollouts[*at].score);
        let first = scores.next();
        let earned = members.iter().any(|at| rollouts[*at].rewards.iter().any(|reward| *reward != 0.0));
        if !earned && scores.all(|score| Some(score) == first) {
            members.iter().for_each(|at| dead[*at] = true);
        }
    }
    dead
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(scores: &[f64]) -> Vec<Graded> {
        scores.iter().map(|score| Graded::scored(7, *score, 2)).collect()
    }

    fn advantages(baseline: Baseline, rollouts: &[Graded]) -> Vec<f64> {
        let rows = Outcome::new(baseline).estimate(rollouts).unwrap();
        rows.iter().for_each(|row| assert!(row.tokens.iter().all(|token| *token == row.tokens[0])));
        rows.iter().map(|row| row.tokens[0]).collect()
    }

    fn close(got: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance), "{got:?} beside {expected:?}");
    }

    #[test]
    fn baselines_by_hand() {
        let four = group(&[1.0, 0.0, 0.0, 1.0]);
        // std of four with two ones is sqrt(1/3) = 0.57735; 0.5 / 0.57745 = 0.865875.
        let grpo = advantages(Baseline::GroupNormalized { epsilon: 1e-4 }, &four);
        close(&grpo, &[0.865875, -0.865875, -0.865875, 0.865875], 1e-6);
        let rloo = advantages(Baseline::LeaveOneOut, &four);
        close(&rloo, &[2.0 / 3.0, -2.0 / 3.0, -2.0 / 3.0, 2.0 / 3.0], 1e-12);
        close(&advantages(Baseline::GroupMean, &four), &[0.5, -0.5, -0.5, 0.5], 0.0);
        // Two of four scores are not 0.
        close(&advantages(Baseline::Scaled, &four), &[1.0, -1.0, -1.0, 1.0], 0.0);
        close(&advantages(Baseline::BestOfGroup { epsilon: None }, &group(&[1.0, 3.0, 2.5])), &[0.0, 0.5, 0.0], 0.0);
        // Biased the standard deviation is 1/2.
        let biased = Outcome { variance: Variance::Biased, ..Outcome::new(Baseline::GroupNormalized { epsilon: 0.0 }) };
        let biased: Vec<f64> = biased.estimate(&four).unwrap().iter().map(|row| row.tokens[0]).collect();
        close(&biased, &[1.0, -1.0, -1.0, 1.0], 1e-12);
        let mut greedy = group(&[1.0, 0.0]);
        greedy.iter_mut().for_each(|one| one.greedy = Some(0.25));
        close(&advantages(Baseline::Greedy, &greedy), &[0.75, -0.25], 0.0);
        // Scores 1 over one token and 0 over three: the baseline is 1/4.
        let lengths = [Graded::scored(0, 1.0, 1), Graded::scored(0, 0.0, 3)];
        close(&advantages(Baseline::LengthWeighted, &lengths), &[0.75, -0.25], 0.0);
    }

    #[test]
    fn rewards_of_tokens_are_discounted() {
        let mut one = Graded::scored(0, 4.0, 3);
        one.rewards = vec![1.0, 0.0, 0.0];
        let got = Outcome { gamma: 0.5, ..Outcome::new(Baseline::None) }.estimate(&[one]).unwrap();
        assert_eq!(got[0].tokens, [2.0, 2.0, 4.0]);
    }

    #[test]
    fn a_response_without_a_score_is_no_part_of_its_group() {
        let mut three = group(&[1.0, 0.0, 0.0]);
        three[2].score = None;
        close(&advantages(Baseline::LeaveOneOut, &three), &[1.0, -1.0, 0.0], 0.0);
        assert_eq!(dead_groups(&three), [false; 3]);
        three[1].score = None;
        close(&advantages(Baseline::GroupNormalized { epsilon: 1e-4 }, &three), &[0.0; 3], 0.0);
        assert_eq!(dead_groups(&three), [true; 3]);
    }

    #[test]
    fn rewards_of_tokens_keep_a_group_alive() {
        // No outcome tells the two apart, but a step of one of them earned something.
        let mut two = group(&[0.0, 0.0]);
        assert_eq!(dead_groups(&two), [true; 2]);
        two[0].rewards[0] = 0.5;
        assert_eq!(dead_groups(&two), [false; 2]);
        // The same sum, earned at another place.
        two[1].rewards[1] = 0.5;
        assert_eq!(dead_groups(&two), [false; 2]);
    }

    #[test]
    fn a_group_of_one_is_refused_and_a_dead_one_is_zero() {
        let estimator = Outcome::new(Baseline::LeaveOneOut);
        assert!(estimator.estimate(&group(&[1.0])).is_err());
        assert!(Outcome::new(Baseline::None).estimate(&group(&[1.0])).is_ok());
        assert!(Outcome::new(Baseline::Greedy).estimate(&group(&[1.0])).is_err());
        for baseline in [
            Baseline::GroupMean,
            Baseline::GroupNormalized { epsilon: 1e-4 },
            Baseline::LeaveOneOut,
            Baseline::LengthWeighted,
        ] {
            close(&advantages(baseline, &group(&[0.1, 0.1, 0.1])), &[0.0; 3], 0.0);
        }
        assert_eq!(dead_groups(&[group(&[0.1, 0.1]), group(&[0.3])].concat()), [false; 3]);
    }

    proptest! {
        #[test]
        fn leave_one_out_is_the_centred_score_enlarged(scores in prop::collection::vec(-3.0..3.0f64, 2..9)) {
            let (n, rows) = (scores.len() as f64, group(&scores));
            let centred = advantages(Baseline::GroupMean, &rows);
            let expected: Vec<f64> = centred.iter().map(|lead| lead * n / (n - 1.0)).collect();
            close(&advantages(Baseline::LeaveOneOut, &rows), &expected, 1e-9);
            prop_assert!(centred.iter().sum::<f64>().abs() < 1e-9);
        }

        #[test]
        fn a_scale_and_a_shift_of_the_scores_change_nothing_where_they_are_normalised(
            scores in prop::collection::vec(-3.0..3.0f64, 2..9), scale in 0.5..4.0f64, shift in -2.0..2.0f64,
        ) {
            let moved: Vec<f64> = scores.iter().map(|score| scale * score + shift).collect();
            let grpo = Baseline::GroupNormalized { epsilon: 1e-12 };
            prop_assume!(Variance::Unbiased.of(&scores) > 1e-6);
            close(&advantages(grpo, &group(&moved)), &advantages(grpo, &group(&scores)), 1e-6);
            let centred: Vec<f64> =
                advantages(Baseline::LeaveOneOut, &group(&scores)).iter().map(|a| a * scale).collect();
            close(&advantages(Baseline::LeaveOneOut, &group(&moved)), &centred, 1e-9);
        }

        #[test]
        fn groups_do_not_touch_each_other(
            one in prop::collection::vec(-3.0..3.0f64, 2..5), other in prop::collection::vec(-3.0..3.0f64, 2..5),
        ) {
            let mut second = group(&other);
            second.iter_mut().for_each(|rollout| rollout.group = 8);
            let both = [group(&one), second].concat();
            let expected = [advantages(Baseline::LeaveOneOut, &group(&one)), advantages(Baseline::LeaveOneOut, &group(&other))];
            close(&advantages(Baseline::LeaveOneOut, &both), &expected.concat(), 0.0);
        }
    }
}
