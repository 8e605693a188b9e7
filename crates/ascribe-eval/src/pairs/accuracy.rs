//! How often a reward model scores the chosen response above the rejected one.
//!
//! ```text
//! strict = mean 1[c > r],  loose = mean 1[c >= r],  half = (strict + loose)/2,  tie rate = loose - strict
//! margin m = c - r,  Bradley-Terry loss = mean ln(1 + e^-m)
//! group accuracy: a group counts only when every pair of it is strictly right (MM-RLHF calls it Acc+)
//! ```
//! RewardBench (`run_rm.py`) counts ties as losses; judges get half. Equal means `a == b`: there is no hidden
//! tolerance.

use std::hash::Hash;

use crate::error::{finite, same_length, within};
use crate::stats::bootstrap::clusters;
use crate::stats::sum::{mean, number, softplus, sum, variance};
use crate::stats::wilson;
use crate::{Bootstrap, Estimate, EvalError};

/// What a tie of two scores is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ties {
    /// Nothing: for reward models.
    #[default]
    Strict,
    /// A half: for judges.
    Half,
    /// A win.
    Loose,
}

impl Ties {
    /// What the pair is worth.
    pub(crate) fn credit(self, chosen: f64, rejected: f64) -> f64 {
        match self {
            _ if chosen > rejected => 1.0,
            _ if chosen < rejected => 0.0,
            Self::Strict => 0.0,
            Self::Half => 0.5,
            Self::Loose => 1.0,
        }
    }
}

/// How a reward model ranks pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairAccuracy {
    /// Share of pairs with chosen above rejected, under the tie policy; Wilson interval for strict and loose.
    pub accuracy: Estimate,
    /// Pairs with equal scores.
    pub ties: usize,
    /// Mean of chosen less rejected.
    pub margin: f64,
    /// Its standard deviation, with n - 1; `None` for one pair.
    pub margin_sd: Option<f64>,
    /// Mean Bradley-Terry loss.
    pub loss: f64,
}

/// Whether each pair is right: 1, 0, or what a tie is worth.
pub(crate) fn credits(chosen: &[f64], rejected: &[f64], ties: Ties) -> Result<Vec<f64>, EvalError> {
    finite("chosen", chosen)?;
    same_length("rejected", chosen.len(), rejected.len())?;
    finite("rejected", rejected)?;
    Ok(chosen.iter().zip(rejected).map(|(&chosen, &rejected)| ties.credit(chosen, rejected)).collect())
}

/// The accuracy and margins of independent pairs. In [0, 1], the loss at least 0; a tie is worth what `ties` says;
/// O(n), with half credit O(B n).
///
/// # Errors
/// When the lengths differ, there is no pair, a score is NaN or infinite, or a setting of the bootstrap is out of
/// range.
pub fn pair_accuracy(
    chosen: &[f64],
    rejected: &[f64],
    ties: Ties,
    bootstrap: &Bootstrap,
) -> Result<PairAccuracy, EvalError> {
    let credits = credits(chosen, rejected, ties)?;
    let margins: Vec<f64> = chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen - rejected).collect();
    let accuracy = if ties == Ties::Half {
        bootstrap.mean(&credits)?
    } else {
        wilson(credits.iter().filter(|&&credit| credit == 1.0).count(), credits.len(), bootstrap.level)?
    };
    let losses: Vec<f64> = margins.iter().map(|margin| softplus(-margin)).collect();
    Ok(PairAccuracy {
        accuracy,
        ties: chosen.iter().zip(rejected).filter(|(chosen, rejected)| chosen == rejected).count(),
        margin: mean(&margins),
        margin_sd: (margins.len() > 1).then(|| variance(&margins).sqrt()),
        loss: mean(&losses),
    })
}

/// The accuracy of pairs with weights of at least 0. In [0, 1]; a tie is worth what `ties` says, a pair of weight 0 is
/// as if it were not there; O(n).
///
/// # Errors
/// As [`pair_accuracy`], when a weight is negative, and when all are 0.
pub fn weighted_pair_accuracy(chosen: &[f64], rejected: &[f64], weights: &[f64], ties: Ties) -> Result<f64, EvalError> {
    let credits = credits(chosen, rejected, ties)?;
    same_length("weights", chosen.len(), weights.len())?;
    within("weights", weights, "at least 0", |weight| weight >= 0.0)?;
    let total = sum(weights.iter().copied());
    if total > 0.0 {
        return Ok(sum(credits.iter().zip(weights).map(|(credit, weight)| credit * weight)) / total);
    }
    Err(EvalError::Degenerate { what: "a weighted accuracy", why: "every weight is 0" })
}

/// Share of groups of which every pair is strictly right; the interval resamples groups. In [0, 1]; a tie fails its
/// group; O(n + B groups).
///
/// # Errors
/// As [`pair_accuracy`].
pub fn group_accuracy<K: Hash + Eq>(
    chosen: &[f64],
    rejected: &[f64],
    groups: &[K],
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    let credits = credits(chosen, rejected, Ties::Strict)?;
    same_length("groups", chosen.len(), groups.len())?;
    let (group_of, count) = clusters(groups);
    let mut right = vec![1.0; count];
    for (&group, credit) in group_of.iter().zip(credits) {
        right[group] *= credit;
    }
    bootstrap.mean(&right)
}

/// Accuracy over all pairs of a list whose human scores differ; entries with a negative human score are padding. The
/// interval resamples lists; lists without such a pair are an error. In [0, 1]; a tie of scores is worth what `ties`
/// says; O(sum of squared lengths + B lists).
///
/// # Errors
/// When the lengths differ, there is no list, a value is NaN or infinite, or a list has no pair to rank.
pub fn list_accuracy(
    scores: &[Vec<f64>],
    human: &[Vec<f64>],
    ties: Ties,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    same_length("human", scores.len(), human.len())?;
    let mut totals = Vec::with_capacity(scores.len());
    for (scores, human) in scores.iter().zip(human) {
        finite("scores", scores)?;
        same_length("the human scores of a list", scores.len(), human.len())?;
        finite("human", human)?;
        let kept: Vec<usize> = (0..human.len()).filter(|&entry| human[entry] >= 0.0).collect();
        let (mut right, mut pairs) = (0.0, 0.0);
        for (&a, &b) in kept.iter().flat_map(|a| kept.iter().map(move |b| (a, b))) {
            if human[a] > human[b] {
                right += ties.credit(scores[a], scores[b]);
                pairs += 1.0;
            }
        }
        if pairs == 0.0 {
            return Err(EvalError::Degenerate { what: "the accuracy of a list", why: "no two human scores differ" });
        }
        totals.push((right, pairs));
    }
    bootstrap.metric(totals.len(), |rows| {
        let of = |part: fn(&(f64, f64)) -> f64| sum(rows.iter().map(|&row| part(&totals[row])));
        if rows.is_empty() {
            return Err(EvalError::Empty { what: "the lists" });
        }
        Ok(of(|total| total.0) / of(|total| total.1))
    })
}

/// Share of pairs with `sigmoid(margin)` on both orders, for calibration: probabilities and whether the first was
/// chosen. In [0, 1]; a tie gives 1/2; O(n).
///
/// # Errors
/// As [`pair_accuracy`].
pub fn pair_probabilities(chosen: &[f64], rejected: &[f64]) -> Result<(Vec<f64>, Vec<bool>), EvalError> {
    credits(chosen, rejected, Ties::Strict)?;
    let both = chosen.iter().zip(rejected).flat_map(|(chosen, rejected)| {
        let p = crate::stats::sum::sigmoid(chosen - rejected);
        [(p, true), (1.0 - p, false)]
    });
    Ok(both.unzip())
}

/// How often the length of text ranks pairs, and how many pairs are the same text: what a reward model has to beat.
/// Lengths count Unicode scalar values. In [0, 1]; equal lengths are wrong, and counted; O(characters).
///
/// # Errors
/// As [`pair_accuracy`].
pub fn length_baseline(
    chosen: &[&str],
    rejected: &[&str],
    bootstrap: &Bootstrap,
) -> Result<(PairAccuracy, usize), EvalError> {
    same_length("rejected", chosen.len(), rejected.len())?;
    let lengths = |texts: &[&str]| texts.iter().map(|text| text.chars().count() as f64).collect::<Vec<_>>();
    let identical = chosen.iter().zip(rejected).map(|(chosen, rejected)| number(chosen == rejected));
    let identical = sum(identical) as usize;
    Ok((pair_accuracy(&lengths(chosen), &lengths(rejected), Ties::Strict, bootstrap)?, identical))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Margins 1, 0, -1, 2: strict 2/4, loose 3/4.
    #[test]
    fn four_pairs() {
        let (c, r) = ([1.0, 0.5, 0.0, 2.0], [0.0, 0.5, 1.0, 0.0]);
        let of = |ties| pair_accuracy(&c, &r, ties, &Bootstrap::default()).unwrap();
        let values = [Ties::Strict, Ties::Half, Ties::Loose].map(|ties| of(ties).accuracy.value);
        assert_eq!(values, [0.5, 0.625, 0.75]);
        let strict = of(Ties::Strict);
        assert_eq!((strict.ties, strict.margin, strict.accuracy.n), (1, 0.5, 4));
        // Deviations 0.5, -0.5, -1.5, 1.5: variance 5/3.
        assert!((strict.margin_sd.unwrap() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        let loss = [-1.0_f64, 0.0, 1.0, -2.0].map(|x| (1.0 + x.exp()).ln()).iter().sum::<f64>() / 4.0;
        assert!((strict.loss - loss).abs() < 1e-12);
        assert_eq!(group_accuracy(&c, &r, &["a", "b", "b", "a"], &Bootstrap::NONE).unwrap().value, 0.5);
        let weighted = weighted_pair_accuracy(&c, &r, &[0.0, 2.0, 1.0, 1.0], Ties::Half).unwrap();
        assert_eq!(weighted, 0.5);
        assert_eq!(pair_accuracy(&[1.0], &[0.0], Ties::Strict, &Bootstrap::NONE).unwrap().margin_sd, None);
    }

    /// Human 3 > 2 = 2, one padding: two pairs to rank, one right and one tied.
    #[test]
    fn a_list_with_ties_and_padding() {
        let scores = [vec![1.0, 0.0, 1.0, 9.0]];
        let human = [vec![3.0, 2.0, 2.0, -1.0]];
        assert_eq!(list_accuracy(&scores, &human, Ties::Half, &Bootstrap::NONE).unwrap().value, 0.75);
        assert_eq!(list_accuracy(&scores, &human, Ties::Strict, &Bootstrap::NONE).unwrap().value, 0.5);
        let equal = list_accuracy(&[vec![1.0, 2.0]], &[vec![2.0, 2.0]], Ties::Half, &Bootstrap::NONE);
        assert!(matches!(equal, Err(EvalError::Degenerate { .. })));
    }

    #[test]
    fn length_ranks_pairs() {
        let (accuracy, same) = length_baseline(&["ab", "\u{fc}"], &["a", "\u{fc}"], &Bootstrap::NONE).unwrap();
        assert_eq!((accuracy.accuracy.value, accuracy.ties, same), (0.5, 1, 1));
    }

    /// With a cycle a > b > c > a every scalar score gets at most 2 of 3 pairs right; a score of pairs gets all.
    #[test]
    fn a_cycle_leaves_a_scalar_score_at_two_thirds() {
        for scores in [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.3, 0.1, 0.2]] {
            let [a, b, c] = scores;
            let accuracy = pair_accuracy(&[a, b, c], &[b, c, a], Ties::Strict, &Bootstrap::NONE).unwrap();
            assert!(accuracy.accuracy.value <= 2.0 / 3.0);
        }
        let skew = pair_accuracy(&[1.0; 3], &[-1.0; 3], Ties::Strict, &Bootstrap::NONE).unwrap();
        assert_eq!(skew.accuracy.value, 1.0);
    }

    #[test]
    fn a_score_that_says_nothing_is_worth_its_tie_rule() {
        let of = |ties| pair_accuracy(&[3.0; 5], &[3.0; 5], ties, &Bootstrap::NONE).unwrap().accuracy.value;
        assert_eq!([Ties::Strict, Ties::Half, Ties::Loose].map(of), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn bad_input_is_refused() {
        let of = |c: &[f64], r: &[f64]| pair_accuracy(c, r, Ties::Strict, &Bootstrap::NONE);
        assert!(matches!(of(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(of(&[1.0], &[]), Err(EvalError::Length { .. })));
        assert!(matches!(of(&[1.0], &[f64::NAN]), Err(EvalError::NotFinite { what: "rejected", .. })));
        let zero = weighted_pair_accuracy(&[1.0], &[0.0], &[0.0], Ties::Strict);
        assert!(matches!(zero, Err(EvalError::Degenerate { .. })));
        assert!(matches!(list_accuracy(&[], &[], Ties::Half, &Bootstrap::NONE), Err(EvalError::Empty { .. })));
    }

    proptest! {
        #[test]
        fn scores_of_a_prompt_count_from_any_zero(
            pairs in prop::collection::vec((-4_i32..4, -4_i32..4, -9_i32..9), 1..40),
        ) {
            let column = |of: fn(&(i32, i32, i32)) -> i32| pairs.iter().map(|row| f64::from(of(row))).collect::<Vec<_>>();
            let (c, r) = (column(|row| row.0), column(|row| row.1));
            let (c_moved, r_moved) = (column(|row| row.0 + row.2), column(|row| row.1 + row.2));
            for ties in [Ties::Strict, Ties::Half, Ties::Loose] {
                let of = |c: &[f64], r: &[f64]| pair_accuracy(c, r, ties, &Bootstrap::NONE).unwrap();
                // Whole numbers, so even the margins are the same.
                prop_assert_eq!(of(&c, &r), of(&c_moved, &r_moved));
            }
        }

        #[test]
        fn swapping_sides_mirrors_strict_and_loose(
            pairs in prop::collection::vec((-4_i32..4, -4_i32..4), 1..40), groups in 1_usize..6,
        ) {
            let (c, r): (Vec<f64>, Vec<f64>) = pairs.into_iter().map(|(c, r)| (f64::from(c), f64::from(r))).unzip();
            let of = |c: &[f64], r: &[f64], ties| pair_accuracy(c, r, ties, &Bootstrap::NONE).unwrap().accuracy.value;
            prop_assert!((of(&c, &r, Ties::Strict) + of(&r, &c, Ties::Loose) - 1.0).abs() < 1e-12);
            prop_assert!((of(&c, &r, Ties::Half) + of(&r, &c, Ties::Half) - 1.0).abs() < 1e-12);
            let map = |values: &[f64]| values.iter().map(|value| value.exp()).collect::<Vec<_>>();
            prop_assert_eq!(of(&c, &r, Ties::Strict), of(&map(&c), &map(&r), Ties::Strict));
            let keys: Vec<usize> = (0..c.len()).map(|row| row % groups).collect();
            let whole = group_accuracy(&c, &r, &keys, &Bootstrap::NONE).unwrap().value;
            let mut means = vec![(0.0, 0.0); groups.min(c.len())];
            for (row, credit) in credits(&c, &r, Ties::Strict).unwrap().into_iter().enumerate() {
                means[keys[row]].0 += credit;
                means[keys[row]].1 += 1.0;
            }
            let mean = means.iter().map(|(right, pairs)| right / pairs).sum::<f64>() / means.len() as f64;
            prop_assert!(whole <= mean + 1e-12);
        }
    }
}
