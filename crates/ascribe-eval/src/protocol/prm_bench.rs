//! PRMBench-like scoring of process models (arXiv:2501.03124): every step is called right or wrong.
//!
//! ```text
//! F1 of right steps, F1 of wrong steps (the classes swapped), score = their mean; all steps of all solutions pooled
//! ```
//! Equal weights and the pooling over steps are our reading.

use crate::classify::{Confusion, Decision, ZeroDivision};
use crate::error::{finite, not_empty, option};
use crate::{Bootstrap, Estimate, EvalError};

/// One solution with the scores of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct PrmItem {
    /// Scores of the steps.
    pub scores: Vec<f64>,
    /// Indices of the wrong steps, from 0.
    pub wrong: Vec<usize>,
}

/// The numbers of a process model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrmScore {
    /// F1 of right steps.
    pub f1: f64,
    /// F1 of wrong steps.
    pub negative_f1: f64,
    /// Their mean; the interval resamples solutions.
    pub score: Estimate,
    /// Number of steps.
    pub steps: usize,
}

/// Scores step verdicts `score >= threshold`. An F1 without any decision or label of its class is 0. In [0, 1]; a score
/// of exactly `threshold` calls a step right; O(steps + B steps).
///
/// # Errors
/// When there is no solution, one has no step, a score is NaN or infinite, a wrong step is none of its steps, or the
/// threshold is NaN.
pub fn prm_score(items: &[PrmItem], threshold: f64, bootstrap: &Bootstrap) -> Result<PrmScore, EvalError> {
    not_empty("the solutions", items)?;
    option("threshold", "a number", threshold, !threshold.is_nan())?;
    let mut tables = Vec::with_capacity(items.len());
    for item in items {
        finite("the step scores", &item.scores)?;
        if let Some(&step) = item.wrong.iter().find(|&&step| step >= item.scores.len()) {
            return Err(EvalError::Range { name: "a wrong step", rule: "one of the steps", got: step as f64 });
        }
        let right: Vec<bool> = (0..item.scores.len()).map(|step| !item.wrong.contains(&step)).collect();
        tables.push(Confusion::at(&item.scores, &right, threshold)?);
    }
    let pooled = |rows: &[usize]| {
        rows.iter().fold(Confusion::default(), |sum, &row| Confusion {
            true_positive: sum.true_positive + tables[row].true_positive,
            false_positive: sum.false_positive + tables[row].false_positive,
            false_negative: sum.false_negative + tables[row].false_negative,
            true_negative: sum.true_negative + tables[row].true_negative,
        })
    };
    let f1 = |table: Confusion| table.measure(Decision::FBeta(1.0), ZeroDivision::Value(0.0));
    let score = bootstrap.metric(items.len(), |rows| {
        let table = pooled(rows);
        Ok(0.5 * (f1(table)? + f1(table.swapped())?))
    })?;
    let all = pooled(&(0..items.len()).collect::<Vec<_>>());
    let steps = items.iter().map(|item| item.scores.len()).sum();
    Ok(PrmScore { f1: f1(all)?, negative_f1: f1(all.swapped())?, score, steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps right, right, wrong with scores .9, .2, .1; right, wrong with .8, .7: of three right steps two are found
    /// and one wrong step is called right, so F1 = 4/(4+1+1); of two wrong steps one is found with one false:
    /// 2/(2+1+1).
    #[test]
    fn two_solutions() {
        let items = [
            PrmItem { scores: vec![0.9, 0.2, 0.1], wrong: vec![2] },
            PrmItem { scores: vec![0.8, 0.7], wrong: vec![1] },
        ];
        let score = prm_score(&items, 0.5, &Bootstrap::NONE).unwrap();
        assert!((score.f1 - 2.0 / 3.0).abs() < 1e-12 && (score.negative_f1 - 0.5).abs() < 1e-12);
        assert!((score.score.value - 7.0 / 12.0).abs() < 1e-12 && score.steps == 5 && score.score.n == 2);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(prm_score(&[], 0.5, &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        let outside = PrmItem { scores: vec![0.5], wrong: vec![1] };
        assert!(matches!(prm_score(&[outside], 0.5, &Bootstrap::NONE), Err(EvalError::Range { .. })));
    }
}
