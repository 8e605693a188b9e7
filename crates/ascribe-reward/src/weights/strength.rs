//! The strength of preferences by a vote of reward models, and what to do with weak or wrong labels: Secrets of RLHF II,
//! arXiv:2401.06080.
//!
//! ```text
//! mu = mean_m (r_m(c) - r_m(r)),   sd = sqrt(sum_m (d_m - mu)^2 / (M - ddof))
//! ```
//! The lowest fifth of pairs by mu is mostly labelled wrongly, the next is ambiguous, and the strongest tenth over-fits fast.
//! Pairs are flipped, smoothed, or given their mean vote as a margin; each treatment yields a [`PairLabel`] for the
//! Bradley-Terry loss. Members must be standardised, or one decides the vote. Margins are cut to [floor, cap], 0 and 3 by
//! default, our choice: a negative margin rewards the wrong order, an unbounded one follows outliers; the paper takes mu
//! itself. The smoothing of 0.1 is a guess of ours as well.

use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length};
use crate::losses::PairLabel;
use crate::math::{mean, variance};

/// The vote on one pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strength {
    /// Mean margin of the members.
    pub mean: f64,
    /// Its standard deviation over members.
    pub std: f64,
}

/// The vote on each pair, from the rewards of chosen and rejected responses by member, `[members][pairs]` each.
///
/// # Errors
/// When there is no member or pair, the lengths differ, a reward is NaN or infinite, or `ddof` is not below the members.
pub fn strengths(chosen: &[Vec<f64>], rejected: &[Vec<f64>], ddof: usize) -> Result<Vec<Strength>, RewardError> {
    not_empty("the members", chosen)?;
    same_length("the members of the rejected rewards", chosen.len(), rejected.len())?;
    option("ddof", "below the number of members", ddof as f64, ddof < chosen.len())?;
    let pairs = chosen[0].len();
    for member in chosen.iter().chain(rejected) {
        finite("the rewards of a member", member)?;
        same_length("the rewards of a member", pairs, member.len())?;
    }
    let vote = |pair: usize| {
        let margins: Vec<f64> =
            chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen[pair] - rejected[pair]).collect();
        Strength { mean: mean(&margins), std: variance(&margins, ddof).sqrt() }
    };
    Ok((0..pairs).map(vote).collect())
}

/// What is done with pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// Chosen and rejected change places where the vote is against the label.
    Flip,
    /// Every label is wrong with this probability; in [0, 1].
    Smooth(f64),
    /// The mean vote is the margin, between these.
    Margin {
        /// Smallest margin; at least 0.
        floor: f64,
        /// Largest margin.
        cap: f64,
    },
    /// Labels that the vote is against are smoothed, and all pairs have a margin.
    SmoothAndMargin {
        /// The smoothing; in [0, 1].
        a: f64,
        /// Smallest margin; at least 0.
        floor: f64,
        /// Largest margin.
        cap: f64,
    },
}

/// A pair after its treatment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Treated {
    /// Whether chosen and rejected change places.
    pub flipped: bool,
    /// What the loss is told of the pair.
    pub label: PairLabel,
}

/// The treatment of each pair by its vote.
///
/// # Errors
/// When a vote is NaN or infinite, or an option is out of range.
pub fn treat(strengths: &[Strength], treatment: Treatment) -> Result<Vec<Treated>, RewardError> {
    let means: Vec<f64> = strengths.iter().map(|strength| strength.mean).collect();
    finite("the votes", &means)?;
    let smoothing = |a: f64| option("the smoothing", "in [0, 1]", a, (0.0..=1.0).contains(&a));
    let margins = |floor: f64, cap: f64| {
        option("the smallest margin", "at least 0", floor, floor >= 0.0)?;
        option("the largest margin", "finite and at least the smallest", cap, floor <= cap && cap.is_finite())
    };
    match treatment {
        Treatment::Flip => {}
        Treatment::Smooth(a) => smoothing(a)?,
        Treatment::Margin { floor, cap } => margins(floor, cap)?,
        Treatment::SmoothAndMargin { a, floor, cap } => {
            smoothing(a)?;
            margins(floor, cap)?;
        }
    }
    let one = |mu: &f64| {
        let label = match treatment {
            Treatment::Flip => PairLabel::PLAIN,
            Treatment::Smooth(a) => PairLabel::smoothed(a),
            Treatment::Margin { floor, cap } => PairLabel::margin(mu.clamp(floor, cap)),
            Treatment::SmoothAndMargin { a, floor, cap } => {
                let probability = if *mu < 0.0 { 1.0 - a } else { 1.0 };
                PairLabel { probability, margin: mu.clamp(floor, cap), weight: 1.0 }
            }
        };
        Treated { flipped: treatment == Treatment::Flip && *mu < 0.0, label }
    };
    Ok(means.iter().map(one).collect())
}

/// Indices of the `share` of pairs with the lowest votes, lowest first; equal votes keep their order. For flips by a
/// quantile, or for training on a slice.
///
/// # Errors
/// When a vote is NaN or infinite, or the share is not in [0, 1].
pub fn lowest(strengths: &[Strength], share: f64) -> Result<Vec<usize>, RewardError> {
    option("the share of pairs", "in [0, 1]", share, (0.0..=1.0).contains(&share))?;
    finite("the votes", &strengths.iter().map(|strength| strength.mean).collect::<Vec<_>>())?;
    let mut order: Vec<usize> = (0..strengths.len()).collect();
    order.sort_by(|a, b| strengths[*a].mean.total_cmp(&strengths[*b].mean));
    order.truncate((share * strengths.len() as f64).round() as usize);
    Ok(order)
}

/// Changes places of the two responses of the pairs named by `at`.
pub fn flip<T>(pairs: &mut [[T; 2]], at: &[usize]) {
    for index in at {
        if let Some(pair) = pairs.get_mut(*index) {
            pair.swap(0, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vote_by_hand() {
        // Margins 1 and 3, then -1 and 0.
        let votes = strengths(&[vec![2.0, 0.0], vec![4.0, 1.0]], &[vec![1.0, 1.0], vec![1.0, 1.0]], 0).unwrap();
        assert_eq!(votes, [Strength { mean: 2.0, std: 1.0 }, Strength { mean: -0.5, std: 0.5 }]);
        let treated = |treatment| treat(&votes, treatment).unwrap();
        let flips: Vec<bool> = treated(Treatment::Flip).iter().map(|treated| treated.flipped).collect();
        assert_eq!(flips, [false, true]);
        assert_eq!(treated(Treatment::Smooth(0.1))[0].label, PairLabel { probability: 0.9, ..PairLabel::PLAIN });
        let margins = treated(Treatment::Margin { floor: 0.0, cap: 1.5 });
        assert_eq!([margins[0].label.margin, margins[1].label.margin], [1.5, 0.0]);
        let both = treated(Treatment::SmoothAndMargin { a: 0.25, floor: 0.0, cap: 3.0 });
        assert_eq!(both[0].label, PairLabel { margin: 2.0, ..PairLabel::PLAIN });
        assert_eq!(both[1].label, PairLabel { probability: 0.75, ..PairLabel::PLAIN });
        assert_eq!(lowest(&votes, 0.5).unwrap(), [1]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(strengths(&[], &[], 0).is_err() && strengths(&[vec![1.0]], &[], 0).is_err());
        assert!(strengths(&[vec![1.0]], &[vec![f64::NAN]], 0).is_err());
        assert!(strengths(&[vec![1.0]], &[vec![1.0, 2.0]], 0).is_err());
        assert!(strengths(&[vec![1.0]], &[vec![1.0]], 1).is_err(), "ddof");
        let votes = [Strength { mean: 1.0, std: 0.0 }];
        for treatment in [
            Treatment::Smooth(1.5),
            Treatment::Smooth(f64::NAN),
            Treatment::Margin { floor: -1.0, cap: 1.0 },
            Treatment::Margin { floor: 2.0, cap: 1.0 },
            Treatment::Margin { floor: 0.0, cap: f64::INFINITY },
        ] {
            assert!(treat(&votes, treatment).is_err(), "{treatment:?}");
        }
        assert!(treat(&[], Treatment::Flip).is_err() && lowest(&votes, 1.5).is_err());
        assert!(treat(&[Strength { mean: f64::NAN, std: 0.0 }], Treatment::Flip).is_err());
    }

    proptest! {
        #[test]
        fn flipping_twice_is_the_identity(
            pairs in prop::collection::vec(prop::array::uniform2(any::<u8>()), 1..8), at in prop::collection::vec(0usize..10, 0..8),
        ) {
            let mut twice = pairs.clone();
            flip(&mut twice, &at);
            flip(&mut twice, &at);
            prop_assert_eq!(twice, pairs);
        }

        #[test]
        fn a_flipped_pair_has_the_opposite_vote(margins in prop::collection::vec(-3.0..3.0f64, 1..6)) {
            let zero = vec![0.0; margins.len()];
            let (ahead, behind) = ([margins.clone()], [zero]);
            let (votes, turned) = (strengths(&ahead, &behind, 0).unwrap(), strengths(&behind, &ahead, 0).unwrap());
            prop_assert!(votes.iter().zip(&turned).all(|(vote, turned)| vote.mean == -turned.mean));
        }

        #[test]
        fn identical_members_are_of_one_mind(margin in -3.0..3.0f64, members in 1usize..6) {
            let side = |reward: f64| vec![vec![reward]; members];
            let votes = strengths(&side(margin), &side(0.0), 0).unwrap();
            prop_assert!((votes[0].mean - margin).abs() < 1e-12 && votes[0].std < 1e-12);
        }
    }
}
