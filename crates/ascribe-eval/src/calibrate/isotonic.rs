//! Isotonic regression: the rising step function nearest to the labels, a calibration map without parameters.
//!
//! Pool adjacent violators (M. Ayer et al., Ann. Math. Statist. 26, 1955); rows of equal probability are pooled first.
//! B. Zadrozny and C. Elkan, KDD 2002. Cost: n log n.

use crate::EvalError;
use crate::error::{finite, same_length};

/// The fitted value of every row: non-decreasing in `scores`, nearest to `targets` in squares. Between the smallest and
/// the largest target; equal scores have one value; O(n log n).
///
/// # Errors
/// When the lengths differ, there is no row, or a value is NaN or infinite.
pub fn isotonic_fit(scores: &[f64], targets: &[f64]) -> Result<Vec<f64>, EvalError> {
    finite("scores", scores)?;
    same_length("targets", scores.len(), targets.len())?;
    finite("targets", targets)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // Blocks of rows with one value: their sum and their number.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        blocks.push((tied.iter().map(|&row| targets[row]).sum(), tied.len()));
        while let [.., (before, rows_before), (last, rows)] = blocks[..] {
            if before * rows as f64 <= last * rows_before as f64 {
                break;
            }
            blocks.pop();
            blocks.pop();
            blocks.push((before + last, rows_before + rows));
        }
    }
    let mut fitted = vec![0.0; scores.len()];
    let mut rest = &order[..];
    for (total, rows) in blocks {
        let (block, after) = rest.split_at(rows);
        block.iter().for_each(|&row| fitted[row] = total / rows as f64);
        rest = after;
    }
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, then 0 and 1 at one score (mean 1/2), then 1: the first two groups pool to 2/3.
    #[test]
    fn violators_pool() {
        let fitted = isotonic_fit(&[0.1, 0.5, 0.5, 0.9], &[1.0, 0.0, 1.0, 1.0]).unwrap();
        let third = 2.0 / 3.0;
        assert_eq!(fitted, [third, third, third, 1.0]);
        assert!(matches!(isotonic_fit(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(isotonic_fit(&[0.1], &[f64::NAN]), Err(EvalError::NotFinite { .. })));
    }
}
