//! Which strategy for which difficulty: the compute-optimal choice of arXiv:2408.03314, chosen on one half of the prompts and
//! measured on the other.
//!
//! ```text
//! level of a prompt    its quintile by pass rate (of the policy, or the mean score of a verifier), 1 the easiest
//! choice               for each level the strategy of greatest mean outcome on fold A; reported on fold B, and the other way
//! ```

use crate::SearchError;
use crate::error::check;

/// Number of levels.
const LEVELS: usize = 5;

/// The level of each prompt, 1 (easiest) to 5, by the quintile of its pass rate. Equal pass rates have equal levels.
///
/// # Errors
/// When a pass rate is NaN.
pub fn difficulty_levels(pass_rates: &[f64]) -> Result<Vec<usize>, SearchError> {
    for rate in pass_rates {
        check("a pass rate", "a number", *rate, !rate.is_nan())?;
    }
    let mut falling = pass_rates.to_vec();
    falling.sort_by(|left, right| right.total_cmp(left));
    let level = |rate: &f64| 1 + falling.partition_point(|other| other > rate) * LEVELS / pass_rates.len();
    Ok(pass_rates.iter().map(level).collect())
}

/// What the choice by level comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputeOptimal {
    /// The strategy of each level, as chosen on the first fold (`false`) and on the second.
    pub choices: Vec<[usize; 2]>,
    /// Mean outcome of the prompts, each under the choice of the fold that it is not in.
    pub mean: f64,
    /// Mean outcome of each strategy on all prompts.
    pub fixed: Vec<f64>,
}

/// Chooses a strategy for each level on one fold, and measures it on the other. `outcomes[strategy][prompt]` is, say, whether
/// the strategy solved the prompt within the budget. A level without prompts in a fold takes the strategy that is best on
/// the whole fold; a tie goes to the first.
///
/// # Errors
/// When the lengths differ, there is no strategy, a fold is empty, or an outcome is NaN.
pub fn compute_optimal(levels: &[usize], folds: &[bool], outcomes: &[Vec<f64>]) -> Result<ComputeOptimal, SearchError> {
    let asked = levels.len();
    for got in outcomes.iter().map(Vec::len).chain([folds.len()]) {
        if got != asked {
            return Err(SearchError::Answers { what: "a list over prompts", asked, got });
        }
    }
    check("the number of strategies", "at least 1", outcomes.len() as f64, !outcomes.is_empty())?;
    let wrong = outcomes.iter().flatten().find(|outcome| outcome.is_nan());
    check("an outcome", "a number", wrong.copied().unwrap_or(0.0), wrong.is_none())?;
    let first = folds.iter().filter(|fold| !**fold).count();
    check("the prompts of the first fold", "some, but not all", first as f64, 0 < first && first < asked)?;
    let most = levels.iter().copied().max().unwrap_or(0);
    let choice = |level: usize, fold: bool| {
        let of_level = |at: &usize| levels[*at] == level && folds[*at] == fold;
        let own: Vec<usize> = (0..asked).filter(of_level).collect();
        if own.is_empty() {
            best(outcomes, &(0..asked).filter(|at| folds[*at] == fold).collect::<Vec<_>>())
        } else {
            best(outcomes, &own)
        }
    };
    let choices: Vec<[usize; 2]> = (0..=most).map(|level| [choice(level, false), choice(level, true)]).collect();
    let outcome = |at: usize| outcomes[choices[levels[at]][usize::from(!folds[at])]][at];
    let mean = (0..asked).map(outcome).sum::<f64>() / asked as f64;
    let fixed = outcomes.iter().map(|row| row.iter().sum::<f64>() / asked as f64).collect();
    Ok(ComputeOptimal { choices, mean, fixed })
}

/// The strategy of greatest total on these prompts, the first of equals.
fn best(outcomes: &[Vec<f64>], prompts: &[usize]) -> usize {
    let total = |strategy: usize| prompts.iter().map(|at| outcomes[strategy][*at]).sum::<f64>();
    (1..outcomes.len()).fold(0, |best, strategy| if total(strategy) > total(best) { strategy } else { best })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_worked_by_hand() {
        assert_eq!(difficulty_levels(&[0.1, 0.9, 0.5, 0.7, 0.3]).unwrap(), [5, 1, 3, 2, 4]);
        assert_eq!(difficulty_levels(&[0.5, 0.5, 0.1, 0.1]).unwrap(), [1, 1, 3, 3]);
        assert!(difficulty_levels(&[f64::NAN]).is_err() && difficulty_levels(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_choice_worked_by_hand() {
        // Level 1 prompts 0 to 3, level 2 prompts 4 to 7; even prompts are the first fold.
        let levels = [1, 1, 1, 1, 2, 2, 2, 2];
        let folds = [false, true, false, true, false, true, false, true];
        let revise = vec![1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let sample = vec![1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        let optimal = compute_optimal(&levels, &folds, &[revise, sample]).unwrap();
        // On the first fold: level 1 revise (2 : 1), level 2 sample (0 : 1). On the second: revise (2 : 0), a tie of 1 : 1.
        assert_eq!(optimal.choices[1..], [[0, 0], [1, 0]]);
        // Odd prompts by the first fold's choice: 1, 1 and (sample) 1, 0; even ones by the second's: 1, 1 and (revise) 0, 0.
        assert_eq!((optimal.mean, optimal.fixed), (5.0 / 8.0, vec![5.0 / 8.0, 3.0 / 8.0]));
    }

    #[test]
    fn what_cannot_be_halved_is_refused() {
        assert!(compute_optimal(&[1, 1], &[true, true], &[vec![0.0; 2]]).is_err());
        assert!(compute_optimal(&[1, 1], &[true, false], &[vec![0.0; 3]]).is_err());
        assert!(compute_optimal(&[1, 1], &[true, false], &[]).is_err());
        assert!(compute_optimal(&[1, 1], &[true, false], &[vec![0.0, f64::NAN]]).is_err());
    }

    proptest! {
        #[test]
        fn on_its_own_fold_the_choice_is_at_least_any_fixed_strategy(
            rows in prop::collection::vec((1usize..4, any::<bool>(), 0u8..2, 0u8..2, 0u8..2), 4..40),
        ) {
            let folds: Vec<bool> = rows.iter().map(|row| row.1).collect();
            prop_assume!(folds.iter().any(|fold| *fold) && folds.iter().any(|fold| !*fold));
            let levels: Vec<usize> = rows.iter().map(|row| row.0).collect();
            let column = |pick: fn(&(usize, bool, u8, u8, u8)) -> u8| rows.iter().map(|row| f64::from(pick(row))).collect();
            let outcomes: [Vec<f64>; 3] = [column(|row| row.2), column(|row| row.3), column(|row| row.4)];
            let optimal = compute_optimal(&levels, &folds, &outcomes).unwrap();
            for fold in [false, true] {
                let own: Vec<usize> = (0..rows.len()).filter(|at| folds[*at] == fold).collect();
                let chosen: f64 = own.iter().map(|at| outcomes[optimal.choices[levels[*at]][usize::from(fold)]][*at]).sum();
                for fixed in &outcomes {
                    prop_assert!(chosen >= own.iter().map(|at| fixed[*at]).sum::<f64>());
                }
            }
        }
    }
}
