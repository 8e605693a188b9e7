//! Votes on answers, plain and weighted, and the chance of a rank to be the best of n.
//!
//! ```text
//! majority        argmax_g of the number of samples whose answer is g          arXiv:2203.11171
//! weighted        argmax_g sum_{i: g_i ~ g} w_i                                 weighted best-of-n
//! best of n       the item of rank i of N is the best of a random n-subset with probability C(N-i, n-1) / C(N, n)
//! ```
//! An answer joins the first group whose first member it equals, so an equality with a tolerance still gives groups. A
//! sample without an answer forms none. A tie goes to the group whose first member came first.

use serde::{Deserialize, Serialize};

use crate::SearchError;
use crate::error::check;

/// What a score is worth in a vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteWeights {
    /// The score itself, for probabilities: at least 0, because sums of negatives would punish large groups.
    #[default]
    Identity,
    /// Its logistic function, for raw rewards one by one.
    Sigma,
    /// Its share of the softmax over all samples, for raw rewards that compare.
    Softmax,
}

impl VoteWeights {
    /// The weights of `scores`.
    ///
    /// # Errors
    /// When a score is NaN, or negative with [`VoteWeights::Identity`].
    pub fn of(self, scores: &[f32]) -> Result<Vec<f64>, SearchError> {
        for score in scores {
            let (rule, accepted) = match self {
                Self::Identity => ("at least 0 (use the weights `sigma` or `softmax` for rewards)", *score >= 0.0),
                Self::Sigma | Self::Softmax => ("a number", !score.is_nan()),
            };
            check("a score that votes", rule, f64::from(*score), accepted)?;
        }
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |score: &f32| match self {
            Self::Identity => f64::from(*score),
            Self::Sigma => 1.0 / (1.0 + (-f64::from(*score)).exp()),
            Self::Softmax if *score == largest => 1.0,
            Self::Softmax => (f64::from(*score) - f64::from(largest)).exp(),
        };
        let weights: Vec<f64> = scores.iter().map(weight).collect();
        Ok(match self {
            Self::Softmax => {
                let total: f64 = weights.iter().sum();
                weights.iter().map(|weight| weight / total).collect()
            }
            Self::Identity | Self::Sigma => weights,
        })
    }
}

/// Samples with the same answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their indices, increasing.
    pub members: Vec<usize>,
    /// Their joint weight.
    pub weight: f64,
}

/// The groups of equal answers, by their first member; their weights are the numbers of their members.
pub fn groups<A>(answers: &[Option<A>], same: impl Fn(&A, &A) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let equal = |group: &&mut Group| answers[group.members[0]].as_ref().is_some_and(|first| same(first, answer));
        match groups.iter_mut().find(equal) {
            Some(group) => {
                group.members.push(at);
                group.weight += 1.0;
            }
            None => groups.push(Group { members: vec![at], weight: 1.0 }),
        }
    }
    groups
}

/// The groups with the joint weight of their members.
///
/// # Errors
/// When there is not one weight an answer.
pub fn weighted_groups<A>(
    answers: &[Option<A>],
    weights: &[f64],
    same: impl Fn(&A, &A) -> bool,
) -> Result<Vec<Group>, SearchError> {
    if weights.len() != answers.len() {
        return Err(SearchError::Answers { what: "a vote", asked: answers.len(), got: weights.len() });
    }
    let mut groups = groups(answers, same);
    for group in &mut groups {
        group.weight = group.members.iter().map(|member| weights[*member]).sum();
    }
    Ok(groups)
}

/// The group of greatest weight, the first of equals; `None` when there is none.
pub fn winner(groups: &[Group]) -> Option<&Group> {
    let heavier = |best: Option<&Group>, group: &Group| best.is_none_or(|best| group.weight > best.weight);
    groups.iter().fold(None, |best, group| if heavier(best, group) { Some(group) } else { best })
}

/// The chance of each rank, from the best of `total` samples down, to be the best of `n` that are drawn from them.
///
/// # Errors
/// Unless `1 <= n <= total`.
pub fn rank_weights(total: usize, n: usize) -> Result<Vec<f64>, SearchError> {
    check("n", "at least 1 and at most the number of samples", n as f64, (1..=total).contains(&n))?;
    let mut weights = vec![n as f64 / total as f64];
    for rank in 1..total {
        let left = (total - rank + 1).saturating_sub(n) as f64 / (total - rank) as f64;
        weights.push(weights[rank - 1] * left);
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_worked_by_hand() {
        // C(5, 2), C(4, 2), C(3, 2), C(2, 2) of C(6, 3) = 20.
        for (got, expected) in rank_weights(6, 3).unwrap().iter().zip([0.5, 0.3, 0.15, 0.05, 0.0, 0.0]) {
            assert!((got - expected).abs() < 1e-12);
        }
        assert_eq!(rank_weights(3, 3).unwrap(), [1.0, 0.0, 0.0]);
        assert!(rank_weights(3, 0).is_err() && rank_weights(3, 4).is_err() && rank_weights(0, 0).is_err());
    }

    #[test]
    fn weights_worked_by_hand() {
        assert_eq!(VoteWeights::Identity.of(&[0.5, 0.0]).unwrap(), [0.5, 0.0]);
        assert!(VoteWeights::Identity.of(&[0.5, -0.1]).is_err() && VoteWeights::Identity.of(&[f32::NAN]).is_err());
        assert!(VoteWeights::Sigma.of(&[f32::NAN]).is_err());
        assert!((VoteWeights::Sigma.of(&[3f32.ln()]).unwrap()[0] - 0.75).abs() < 1e-6);
        let softmax = VoteWeights::Softmax.of(&[0.0, 3f32.ln()]).unwrap();
        assert!((softmax[0] - 0.25).abs() < 1e-6 && (softmax[1] - 0.75).abs() < 1e-6);
        assert_eq!(VoteWeights::Softmax.of(&[f32::INFINITY, 0.0]).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn near_answers_join_the_first_that_they_equal() {
        // 1.0 ~ 1.4 and 1.4 ~ 1.8, but 1.8 is not near 1.0.
        let answers = [Some(1.0f64), None, Some(1.4), Some(1.8)];
        let groups = groups(&answers, |left, right| (left - right).abs() < 0.5);
        assert_eq!(groups.iter().map(|group| group.members.clone()).collect::<Vec<_>>(), [vec![0, 2], vec![3]]);
        assert_eq!(winner(&groups).unwrap().members, [0, 2]);
        assert!(winner(&[]).is_none());
    }

    /// The answer that a vote by scores chooses.
    fn voted(answers: &[u8], scores: &[f32]) -> u8 {
        let given: Vec<Option<u8>> = answers.iter().map(|answer| Some(*answer)).collect();
        let weights = VoteWeights::Identity.of(scores).unwrap();
        let groups = weighted_groups(&given, &weights, |left, right| left == right).unwrap();
        answers[winner(&groups).unwrap().members[0]]
    }

    proptest! {
        #[test]
        fn rank_weights_sum_to_one(total in 1usize..40, n in 1usize..40) {
            prop_assume!(n <= total);
            let weights = rank_weights(total, n).unwrap();
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(weights.is_sorted_by(|left, right| left >= right) || n == 1);
        }

        #[test]
        fn constant_weights_are_a_majority_and_distinct_answers_are_best_of_n(
            samples in prop::collection::vec((0u8..4, 1u32..1000), 1..12),
            scale in 1u32..50,
        ) {
            let same = |left: &usize, right: &usize| left == right;
            let answers: Vec<Option<usize>> = samples.iter().map(|(answer, _)| Some(usize::from(*answer))).collect();
            let scores: Vec<f32> = samples.iter().map(|(_, score)| *score as f32).collect();
            let vote = |answers: &[Option<usize>], scores: &[f32]| {
                let weights = VoteWeights::Identity.of(scores).unwrap();
                winner(&weighted_groups(answers, &weights, same).unwrap()).unwrap().members.clone()
            };
            let constant = vec![scale as f32; scores.len()];
            let counted = groups(&answers, same);
            prop_assert_eq!(&vote(&answers, &constant), &winner(&counted).unwrap().members);
            let distinct: Vec<Option<usize>> = (0..scores.len()).map(Some).collect();
            let best = (0..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
            prop_assert_eq!(vote(&distinct, &scores), [best]);
            // Whole numbers stay exact under a whole scale.
            let scaled: Vec<f32> = scores.iter().map(|score| score * scale as f32).collect();
            prop_assert_eq!(vote(&answers, &scaled), vote(&answers, &scores));
        }

        #[test]
        fn an_oracle_is_right_whenever_a_sample_is(answers in prop::collection::vec(0u8..4, 1..12), truth in 0u8..4) {
            let scores: Vec<f32> = answers.iter().map(|answer| if *answer == truth { 1.0 } else { 0.0 }).collect();
            let any = answers.contains(&truth);
            let best = (0..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
            let voted = voted(&answers, &scores);
            prop_assert_eq!([answers[best] == truth, voted == truth], [any, any]);
        }

        #[test]
        fn the_order_of_samples_decides_ties_alone(samples in prop::collection::vec((0u8..4, 1u32..1000), 1..12)) {
            let mut totals = [0u32; 4];
            samples.iter().for_each(|(answer, score)| totals[usize::from(*answer)] += score);
            let most = totals.iter().copied().max().unwrap();
            let vote = |samples: &[(u8, u32)]| {
                let answers: Vec<u8> = samples.iter().map(|(answer, _)| *answer).collect();
                let scores: Vec<f32> = samples.iter().map(|(_, score)| *score as f32).collect();
                voted(&answers, &scores)
            };
            let turned: Vec<(u8, u32)> = samples.iter().rev().copied().collect();
            let tied = totals.iter().filter(|total| **total == most).count() > 1;
            prop_assert!(tied || vote(&samples) == vote(&turned));
            prop_assert_eq!(totals[usize::from(vote(&samples))], most);
        }
    }
}
