//! Whether what a model knows of its knowledge, P(IK), carries over to tasks that it was not trained on (Language Models (Mostly)
//! Know What They Know, arXiv:2207.05221). Whether it rises with a source or a hint in the context is a
//! [`sign_test`](crate::stats::sign_test) of the same questions with and without.
//!
//! ```text
//! AUROC, Brier score and ECE (equal mass) of P(IK) on test task j, trained on task i;  loss = mean ECE off the diagonal - on it
//! ```

use super::bins::Binning;
use super::brier::brier;
use super::ece::ece;
use crate::classify::auroc;
use crate::error::{option, same_length};
use crate::stats::sum::mean;
use crate::{Bootstrap, EvalError};

/// P(IK) by the task it was trained on and the task it is tested on: `[train][test]`.
#[derive(Clone, Debug, PartialEq)]
pub struct KnowledgeTransfer {
    /// AUROC for known questions; `None` where a test task has one class alone.
    pub auroc: Vec<Vec<Option<f64>>>,
    /// Brier scores.
    pub brier: Vec<Vec<f64>>,
    /// Calibration errors.
    pub ece: Vec<Vec<f64>>,
    /// Mean calibration error on other tasks less that on the own ones: what is lost by going elsewhere.
    pub calibration_loss: f64,
}

/// How P(IK) carries over: `predicted[train][test]` holds a value for each question of a test task, `known[test]` whether it is
/// answered rightly. Both have the tasks in one order. ECE is over `bins` bins of equal mass. AUROC, Brier score and ECE lie in
/// [0, 1], the loss in [-1, 1]; O(tasks^2 n log n).
///
/// # Errors
/// For fewer than two tasks, when a length does not fit, a task has no question, a value is not in [0, 1], or there is no bin.
pub fn p_ik_transfer(
    predicted: &[Vec<Vec<f64>>],
    known: &[Vec<bool>],
    bins: usize,
) -> Result<KnowledgeTransfer, EvalError> {
    option("tasks", "at least 2", known.len() as f64, known.len() >= 2)?;
    same_length("predicted by training task", known.len(), predicted.len())?;
    let (mut areas, mut scores, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for (train, of_train) in predicted.iter().enumerate() {
        same_length("predicted by test task", known.len(), of_train.len())?;
        let (mut area_row, mut score_row, mut error_row) = (Vec::new(), Vec::new(), Vec::new());
        for (test, (p, y)) in of_train.iter().zip(known).enumerate() {
            score_row.push(brier(p, y, &Bootstrap::NONE)?.value);
            area_row.push(match auroc(p, y) {
                Ok(area) => Some(area),
                Err(EvalError::Degenerate { .. }) => None,
                Err(error) => return Err(error),
            });
            let error = ece(p, y, Binning::Mass(bins), &Bootstrap::NONE)?.value;
            if train == test {
                own.push(error)
            } else {
                other.push(error)
            }
            error_row.push(error);
        }
        areas.push(area_row);
        scores.push(score_row);
        errors.push(error_row);
    }
    Ok(KnowledgeTransfer { auroc: areas, brier: scores, ece: errors, calibration_loss: mean(&other) - mean(&own) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each head is right of its own task and says 0.9 for what the other task does not know: one bin, so that ECE is the
    /// distance of the means.
    #[test]
    fn calibration_falls_off_the_diagonal() {
        let known = [vec![true, true, false, false], vec![true, false, false, false]];
        let predicted = [
            vec![vec![0.7, 0.6, 0.4, 0.3], vec![0.9, 0.8, 0.9, 0.6]],
            vec![vec![0.5, 0.5, 0.5, 0.1], vec![0.6, 0.2, 0.1, 0.1]],
        ];
        let found = p_ik_transfer(&predicted, &known, 1).unwrap();
        // Means 0.5 and 0.8 against 0.5 and 0.25; 0.4 and 0.25 against the same.
        for (row, due) in found.ece.iter().zip([[0.0, 0.55], [0.1, 0.0]]) {
            assert!(row.iter().zip(due).all(|(got, due)| (got - due).abs() < 1e-12), "{row:?}");
        }
        assert!((found.calibration_loss - 0.325).abs() < 1e-12);
        // 0.9 against 0.8, 0.9 (a tie) and 0.6: 2.5 of 3.
        assert_eq!(found.auroc[0], [Some(1.0), Some(2.5 / 3.0)]);
        // (0.09 + 0.16 + 0.16 + 0.09)/4.
        assert!((found.brier[0][0] - 0.125).abs() < 1e-12);
        let all = p_ik_transfer(&predicted, &[known[0].clone(), vec![true; 4]], 1).unwrap();
        assert_eq!(all.auroc[1][1], None);
    }

    #[test]
    fn bad_input_is_refused() {
        let row = || vec![vec![0.5], vec![0.5]];
        let known = [vec![true], vec![false]];
        assert!(p_ik_transfer(&[row(), row()], &known, 1).is_ok());
        assert!(matches!(p_ik_transfer(&[row()], &known[..1], 1), Err(EvalError::Range { name: "tasks", .. })));
        assert!(matches!(p_ik_transfer(&[row()], &known, 1), Err(EvalError::Length { .. })));
        assert!(matches!(p_ik_transfer(&[row(), vec![vec![0.5]]], &known, 1), Err(EvalError::Length { .. })));
        assert!(p_ik_transfer(&[row(), vec![vec![1.5], vec![0.5]]], &known, 1).is_err());
        assert!(p_ik_transfer(&[row(), row()], &known, 0).is_err());
    }
}
