//! Self-correction between two attempts on the same problems, as in SCoRe (arXiv:2409.12917).
//!
//! ```text
//! delta = accuracy of the second - of the first = mean (1-c1) c2 - mean c1 (1-c2)
//! ```
//! The conditional rates are absent at 0/0. The test is McNemar's.

use crate::error::{finite, not_empty, option, same_length};
use crate::stats::sum::{number, share};
use crate::stats::{McNemar, Paired, accuracy, compare};
use crate::{Bootstrap, Estimate, EvalError};

/// What the second attempt changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfCorrection {
    /// Accuracy of the first attempt.
    pub first: Estimate,
    /// Accuracy of the second.
    pub second: Estimate,
    /// Second less first; the interval resamples problems.
    pub delta: Estimate,
    /// Share of all problems that became right.
    pub mended: f64,
    /// Share of all problems that became wrong.
    pub broken: f64,
    /// Share of the wrong ones that became right; `None` when none was wrong.
    pub mend_rate: Option<f64>,
    /// Share of the right ones that became wrong; `None` when none was right.
    pub break_rate: Option<f64>,
    /// Share of problems with another final answer, where the answers are known.
    pub edited: Option<f64>,
    /// McNemar's exact p-value.
    pub p: f64,
}

/// Compares two attempts; `edited` says where the final answer changed. Shares lie in [0, 1], the change in [-1, 1];
/// O(B n).
///
/// # Errors
/// When the lengths differ or there is no problem.
pub fn self_correction(
    first: &[bool],
    second: &[bool],
    edited: Option<&[bool]>,
    bootstrap: &Bootstrap,
) -> Result<SelfCorrection, EvalError> {
    not_empty("the problems", first)?;
    let test = McNemar::new(first, second)?;
    if let Some(edited) = edited {
        same_length("edited", first.len(), edited.len())?;
    }
    let n = first.len() as f64;
    let right = first.iter().filter(|&&right| right).count();
    let rate = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let deltas: Vec<f64> = first.iter().zip(second).map(|(&first, &second)| number(second) - number(first)).collect();
    Ok(SelfCorrection {
        first: accuracy(first, bootstrap.level)?,
        second: accuracy(second, bootstrap.level)?,
        delta: bootstrap.mean(&deltas)?,
        mended: test.only_second as f64 / n,
        broken: test.only_first as f64 / n,
        mend_rate: rate(test.only_second, first.len() - right),
        break_rate: rate(test.only_first, right),
        edited: edited.map(share),
        p: test.exact(),
    })
}

/// [`self_correction`] from each attempt to each later one: `table[later - 1][earlier]`, of attempts on the same problems.
/// O(attempts^2 B n).
///
/// # Errors
/// As [`self_correction`], and for fewer than two attempts.
pub fn attempt_table(attempts: &[Vec<bool>], bootstrap: &Bootstrap) -> Result<Vec<Vec<SelfCorrection>>, EvalError> {
    option("attempts", "at least 2", attempts.len() as f64, attempts.len() >= 2)?;
    let row = |later: usize| -> Result<Vec<SelfCorrection>, EvalError> {
        let earlier = attempts[..later].iter();
        earlier.map(|first| self_correction(first, &attempts[later], None, bootstrap)).collect()
    };
    (1..attempts.len()).map(row).collect()
}

/// What choosing among a draft, its global and its local refinement gains over choosing among three samples of the same
/// problem (GLoRe, arXiv:2402.10963). Each attempt is a score and whether it is right; the highest score is chosen, the
/// first of them on ties. The difference lies in [-1, 1]; O(B n).
///
/// # Errors
/// When the numbers of problems differ, there is no problem, or a score is NaN or infinite.
pub fn reranked_refinements(
    refined: &[[(f64, bool); 3]],
    sampled: &[[(f64, bool); 3]],
    bootstrap: &Bootstrap,
) -> Result<Paired, EvalError> {
    let chosen = |what: &'static str, problems: &[[(f64, bool); 3]]| -> Result<Vec<bool>, EvalError> {
        let scores: Vec<f64> = problems.iter().flatten().map(|attempt| attempt.0).collect();
        finite(what, &scores)?;
        let best = |&[first, second, third]: &[(f64, bool); 3]| {
            let better = if second.0 > first.0 { second } else { first };
            if third.0 > better.0 { third.1 } else { better.1 }
        };
        Ok(problems.iter().map(best).collect())
    };
    compare(&chosen("the scores of refinements", refined)?, &chosen("the scores of samples", sampled)?, bootstrap)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// GSM8K, the 6B finetuning and verification systems as two attempts: 286 and 515 of 1319 right, 293 mended, 64
    /// broken.
    #[test]
    fn gsm8k_systems_as_attempts() {
        let mut pairs = vec![(false, true); 293];
        pairs.extend(vec![(true, false); 64]);
        pairs.extend(vec![(true, true); 222]);
        pairs.extend(vec![(false, false); 740]);
        let (first, second): (Vec<bool>, Vec<bool>) = pairs.into_iter().unzip();
        let shown = self_correction(&first, &second, None, &Bootstrap::NONE).unwrap();
        let got = [shown.first.value, shown.second.value, shown.delta.value, shown.mended, shown.broken];
        let expected = [0.216_830_932_5, 0.390_447_308_6, 0.173_616_376_0, 0.222_137_983_3, 0.048_521_607_3];
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-9), "{shown:?}");
    }

    #[test]
    fn a_copy_changes_nothing_and_rates_can_be_absent() {
        let same = self_correction(&[true, true], &[true, true], Some(&[false, false]), &Bootstrap::NONE).unwrap();
        assert_eq!((same.delta.value, same.mended, same.broken, same.edited), (0.0, 0.0, 0.0, Some(0.0)));
        assert_eq!((same.mend_rate, same.break_rate, same.p), (None, Some(0.0), 1.0));
        assert!(matches!(self_correction(&[], &[], None, &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        assert!(matches!(self_correction(&[true], &[], None, &Bootstrap::NONE), Err(EvalError::Length { .. })));
    }

    /// Refinements: the local one, the draft on a tie, and the global one are chosen: right, right, wrong. Samples: wrong,
    /// right, wrong.
    #[test]
    fn refinements_are_chosen_by_score() {
        let refined = [
            [(0.1, false), (0.2, false), (0.3, true)],
            [(0.5, true), (0.5, false), (0.5, false)],
            [(0.1, true), (0.9, false), (0.2, true)],
        ];
        let sampled = [
            [(0.9, false), (0.2, true), (0.3, true)],
            [(0.1, false), (0.2, true), (0.1, false)],
            [(0.1, true), (0.2, true), (0.3, false)],
        ];
        let gain = reranked_refinements(&refined, &sampled, &Bootstrap::NONE).unwrap();
        assert!((gain.difference.value - 1.0 / 3.0).abs() < 1e-15, "{gain}");
        assert!((gain.wins, gain.losses, gain.ties) == (1, 0, 2) && (gain.p - 1.0).abs() < 1e-12, "{gain}");
        let of = |refined: &[[(f64, bool); 3]]| reranked_refinements(refined, &sampled, &Bootstrap::NONE);
        assert!(matches!(of(&refined[..2]), Err(EvalError::Length { .. })));
        assert!(matches!(of(&[]), Err(EvalError::Empty { .. })));
        let unknown = [[(f64::NAN, true); 3]; 3];
        let error = of(&unknown).unwrap_err().to_string();
        assert!(error.contains("the scores of refinements must be finite"), "{error}");
    }

    proptest! {
        #[test]
        fn delta_is_mended_less_broken(pairs in prop::collection::vec((any::<bool>(), any::<bool>()), 1..40)) {
            let (first, second): (Vec<bool>, Vec<bool>) = pairs.into_iter().unzip();
            let shown = self_correction(&first, &second, None, &Bootstrap::NONE).unwrap();
            prop_assert!((shown.delta.value - (shown.mended - shown.broken)).abs() < 1e-12);
        }
    }

    /// Three attempts at two problems, right 1, 2 and 1 times: changes +1/2 and 0 from the first, -1/2 from the second.
    #[test]
    fn attempts_are_compared_in_pairs() {
        let attempts = [vec![true, false], vec![true, true], vec![false, true]];
        let table = attempt_table(&attempts, &Bootstrap::NONE).unwrap();
        let deltas: Vec<Vec<f64>> = table.iter().map(|row| row.iter().map(|one| one.delta.value).collect()).collect();
        assert_eq!(deltas, [vec![0.5], vec![0.0, -0.5]]);
        assert_eq!((table[1][0].mended, table[1][0].broken), (0.5, 0.5));
        assert!(matches!(attempt_table(&attempts[..1], &Bootstrap::NONE), Err(EvalError::Range { .. })));
        assert!(attempt_table(&[vec![true], vec![]], &Bootstrap::NONE).is_err());
    }
}
