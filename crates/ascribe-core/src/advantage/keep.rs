//! What is worth imitating: the best response to each prompt, or the best of all. RAFT, arXiv:2304.06767.
//!
//! ```text
//! A = 1 for a response that is kept; the others are left out
//! ```
//! With a loss that is the log-probability at temperature 1 times the advantage this is supervised fine-tuning on what is kept.
//! Penalties that are part of the rewards are part of the ranking: `r - beta h` with a divergence. Only the order of the scores
//! counts. Of equal ones the first is taken, and a response without a score is never kept.

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, GradeNeeds, Graded, check_all, groups};

/// Which responses are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// The best to each prompt.
    Best,
    /// This share of all responses, in (0, 1]: at least one.
    Top(f64),
}

impl AdvantageEstimator for Keep {
    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_all(rollouts, GradeNeeds::default())?;
        let mut kept = vec![false; rollouts.len()];
        match *self {
            Self::Best => {
                for members in groups(rollouts) {
                    if let Some(best) = ranked(rollouts, members).first() {
                        kept[*best] = true;
                    }
                }
            }
            Self::Top(share) => {
                if !(share > 0.0 && share <= 1.0) {
                    return Err(CoreError::Range { name: "keep_top", rule: "in (0, 1]", got: share });
                }
                let all = ranked(rollouts, (0..rollouts.len()).collect());
                let n = (share * all.len() as f64).ceil() as usize;
                all.iter().take(n).for_each(|at| kept[*at] = true);
            }
        }
        let one = |(rollout, kept): (&Graded, &bool)| match kept {
            true => Advantage { tokens: vec![1.0; rollout.tokens()], returns: Vec::new() },
            false => Advantage::default(),
        };
        Ok(rollouts.iter().zip(&kept).map(one).collect())
    }
}

/// Places of those that have a score, the best first.
fn ranked(rollouts: &[Graded], mut places: Vec<usize>) -> Vec<usize> {
    let score = |at: &usize| rollouts[*at].total();
    places.retain(|at| score(at).is_some());
    places.sort_by(|a, b| score(b).unwrap_or(f64::NAN).total_cmp(&score(a).unwrap_or(f64::NAN)));
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(scores: &[(usize, Option<f64>)]) -> Vec<Graded> {
        scores.iter().map(|(group, score)| Graded { score: *score, ..Graded::scored(*group, 0.0, 2) }).collect()
    }

    fn kept(keep: Keep, rollouts: &[Graded]) -> Vec<bool> {
        keep.estimate(rollouts).unwrap().iter().map(|advantage| advantage.tokens == [1.0, 1.0]).collect()
    }

    #[test]
    fn the_best_are_kept_and_of_equal_ones_the_first() {
        let two = rows(&[(4, Some(1.0)), (4, Some(3.0)), (4, Some(3.0)), (9, None), (9, Some(-2.0))]);
        assert_eq!(kept(Keep::Best, &two), [false, true, false, false, true]);
        // Half of four scores, and at least one.
        assert_eq!(kept(Keep::Top(0.5), &two), [false, true, true, false, false]);
        assert_eq!(kept(Keep::Top(0.01), &two), [false, true, false, false, false]);
        assert_eq!(kept(Keep::Best, &rows(&[(0, None)])), [false]);
        for share in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(Keep::Top(share).estimate(&two).is_err(), "{share}");
        }
        assert!(Keep::Best.estimate(&rows(&[(0, Some(f64::NAN))])).is_err());
    }

    #[test]
    fn one_response_a_prompt_and_a_share_of_one_keep_all() {
        let alone = rows(&[(0, Some(0.0)), (1, Some(5.0)), (2, Some(-1.0))]);
        assert_eq!(kept(Keep::Best, &alone), [true; 3]);
        assert_eq!(kept(Keep::Top(1.0), &alone), [true; 3]);
    }

    proptest! {
        #[test]
        fn only_the_order_counts_and_what_is_kept_is_no_worse(
            scores in prop::collection::vec((0usize..3, -3.0..3.0f64), 1..12), share in 0.05..1.0f64,
        ) {
            let plain = rows(&scores.iter().map(|(group, score)| (*group, Some(*score))).collect::<Vec<_>>());
            let bent = rows(&scores.iter().map(|(group, score)| (*group, Some(score.exp() + 2.0))).collect::<Vec<_>>());
            for keep in [Keep::Best, Keep::Top(share)] {
                let flags = kept(keep, &plain);
                prop_assert_eq!(&flags, &kept(keep, &bent));
                let mean = |chosen: &dyn Fn(usize) -> bool| {
                    let picked: Vec<f64> = (0..scores.len()).filter(|at| chosen(*at)).map(|at| scores[at].1).collect();
                    picked.iter().sum::<f64>() / picked.len() as f64
                };
                if let Keep::Top(_) = keep {
                    prop_assert!(mean(&|at| flags[at]) >= mean(&|_| true) - 1e-12);
                }
                for group in 0..3 {
                    let of_group = |at: usize| scores[at].0 == group;
                    if keep == Keep::Best && scores.iter().any(|(own, _)| *own == group) {
                        prop_assert!(mean(&|at| of_group(at) && flags[at]) >= mean(&of_group) - 1e-12);
                    }
                }
            }
        }
    }
}
