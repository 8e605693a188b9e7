//! Linear systems of a few hundred unknowns: elimination with row pivoting.

/// The `x` with `matrix x = right`, for a row-major square matrix. A column without a pivot gives 0.
pub(crate) fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        let pivot = (column..n).fold(column, |best, row| {
            if matrix[row * n + column].abs() > matrix[best * n + column].abs() { row } else { best }
        });
        if matrix[pivot * n + column] == 0.0 {
            continue;
        }
        if pivot != column {
            (0..n).for_each(|entry| matrix.swap(pivot * n + entry, column * n + entry));
            right.swap(pivot, column);
        }
        for row in column + 1..n {
            let factor = matrix[row * n + column] / matrix[column * n + column];
            if factor != 0.0 {
                for entry in column..n {
                    matrix[row * n + entry] -= factor * matrix[column * n + entry];
                }
                right[row] -= factor * right[column];
            }
        }
    }
    for column in (0..n).rev() {
        let known: f64 = (column + 1..n).map(|entry| matrix[column * n + entry] * right[entry]).sum();
        let diagonal = matrix[column * n + column];
        right[column] = if diagonal == 0.0 { 0.0 } else { (right[column] - known) / diagonal };
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x + y = 3, x - y = 1; and a system whose first pivot is 0.
    #[test]
    fn two_unknowns() {
        assert_eq!(solve(vec![1.0, 1.0, 1.0, -1.0], vec![3.0, 1.0]), [2.0, 1.0]);
        assert_eq!(solve(vec![0.0, 2.0, 1.0, 0.0], vec![4.0, 5.0]), [5.0, 2.0]);
    }
}
