//! Small linear systems and the logistic regression that merges attributes.

use crate::RewardError;
use crate::math::{dot, sigmoid};

/// The `x` with `matrix x = right`, for a square matrix of rows; `None` when it is singular.
pub(crate) fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let n = right.len();
    // A pivot this far below the largest entry is rounding.
    let largest = matrix.iter().flatten().fold(0.0f64, |most, entry| most.max(entry.abs()));
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        let sound = matrix[pivot][column].abs() > 1e-12 * largest;
        if !sound {
            return None;
        }
        matrix.swap(pivot, column);
        right.swap(pivot, column);
        let (above, below) = matrix.split_at_mut(column + 1);
        for (row, entries) in below.iter_mut().enumerate() {
            let factor = entries[column] / above[column][column];
            entries.iter_mut().zip(&above[column]).for_each(|(entry, pivot)| *entry -= factor * pivot);
            right[column + 1 + row] -= factor * right[column];
        }
    }
    for column in (0..n).rev() {
        let known = dot(&matrix[column][column + 1..], &right[column + 1..]);
        right[column] = (right[column] - known) / matrix[column][column];
    }
    Some(right)
}

/// Weights `w` that make `sum_i log sigmoid(w x_i) - ridge |w|^2 / 2` largest, each at least 0 where `non_negative` says so.
///
/// Newton's method; weights that would fall below 0 are held there, which is exact in the limit.
pub(crate) fn logistic(rows: &[Vec<f64>], ridge: f64, non_negative: &[bool]) -> Result<Vec<f64>, RewardError> {
    let width = non_negative.len();
    let mut weights = vec![0.0; width];
    for _ in 0..100 {
        let mut slope: Vec<f64> = weights.iter().map(|weight| -ridge * weight).collect();
        let mut curve = vec![vec![0.0; width]; width];
        for (at, row) in curve.iter_mut().enumerate() {
            row[at] = ridge;
        }
        for x in rows {
            let miss = sigmoid(-dot(&weights, x));
            slope.iter_mut().zip(x).for_each(|(slope, x)| *slope += miss * x);
            for (row, a) in curve.iter_mut().zip(x) {
                row.iter_mut().zip(x).for_each(|(entry, b)| *entry += miss * (1.0 - miss) * a * b);
            }
        }
        // A weight that is held at 0 and would go below takes no part in the step.
        let free: Vec<usize> =
            (0..width).filter(|&at| !(non_negative[at] && weights[at] == 0.0 && slope[at] <= 0.0)).collect();
        let small = free.iter().map(|&a| free.iter().map(|&b| curve[a][b]).collect()).collect();
        let Some(step) = solve(small, free.iter().map(|&at| slope[at]).collect()) else {
            let rule = "a fitted merge needs attributes that are not copies of each other, or a ridge above 0";
            return Err(RewardError::Shape { rule, got: "a singular design".to_owned() });
        };
        // A full step can overshoot on separable rows; the objective is concave, so halving ends.
        let objective = |weights: &[f64]| {
            let fit: f64 = rows.iter().map(|x| crate::math::log_sigmoid(dot(weights, x))).sum();
            fit - 0.5 * ridge * dot(weights, weights)
        };
        let before = objective(&weights);
        let mut share = 1.0;
        let moved = loop {
            let mut moved = weights.clone();
            for (at, step) in free.iter().zip(&step) {
                moved[*at] += share * step;
                if non_negative[*at] {
                    moved[*at] = moved[*at].max(0.0);
                }
            }
            if objective(&moved) >= before || share < 1e-6 {
                break moved;
            }
            share *= 0.5;
        };
        let change = moved.iter().zip(&weights).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
        weights = moved;
        if change < 1e-10 {
            break;
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x + y = 3, x - y = 1; a first pivot of 0; a copy.
    #[test]
    fn two_unknowns() {
        assert_eq!(solve(vec![vec![1.0, 1.0], vec![1.0, -1.0]], vec![3.0, 1.0]), Some(vec![2.0, 1.0]));
        assert_eq!(solve(vec![vec![0.0, 2.0], vec![1.0, 0.0]], vec![4.0, 5.0]), Some(vec![5.0, 2.0]));
        assert_eq!(solve(vec![vec![1.0, 1.0], vec![2.0, 2.0]], vec![1.0, 2.0]), None);
    }

    /// Three wins and one loss by 1: sigmoid(w) = 3/4, so w = ln 3. Without the right sign it is held at 0.
    #[test]
    fn one_weight_by_hand() {
        let rows = [[1.0], [1.0], [1.0], [-1.0]].map(|row| row.to_vec());
        let weights = logistic(&rows, 0.0, &[false]).unwrap();
        assert!((weights[0] - 3f64.ln()).abs() < 1e-9);
        let turned: Vec<Vec<f64>> = rows.iter().map(|row| vec![-row[0]]).collect();
        assert_eq!(logistic(&turned, 0.0, &[true]).unwrap(), [0.0]);
        // A copy of the attribute needs a ridge, and shares the weight then.
        let copied: Vec<Vec<f64>> = rows.iter().map(|row| vec![row[0]; 2]).collect();
        assert!(logistic(&copied, 0.0, &[false; 2]).is_err());
        let shared = logistic(&copied, 1e-6, &[false; 2]).unwrap();
        assert!((shared[0] - shared[1]).abs() < 1e-9 && (shared[0] + shared[1] - 3f64.ln()).abs() < 1e-4);
    }
}
