//! Kendall's tau with weights: agreement at the top counts more (S. Vigna, WWW 2015, arXiv:1404.3325).
//!
//! ```text
//! <x, y> = sum over pairs i, j of sign(x_i - x_j) sign(y_i - y_j) (f_i + f_j),   f_i = 1/(1 + rank of i)
//! tau    = <x, y>/sqrt(<x, x> <y, y>),  the mean over ranks by (x, y) and ranks by (y, x), the largest row first, from 0
//! ```
//! That is scipy's `weightedtau` with its defaults. A pair tied in x or y counts 0 above and leaves the scale.

use crate::EvalError;

use super::correlation::paired;
use super::kendall::merge_sort;
use super::ranks::sort_key;

/// The weighted tau of `x` and `y`, hyperbolic and additive. In [-1, 1]; tied pairs count neither way; O(n log n).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, there are fewer than two rows, or a column is constant.
pub fn weighted_tau(x: &[f64], y: &[f64]) -> Result<f64, EvalError> {
    paired(x, y)?;
    Ok(0.5 * (ranked_by_first(x, y)? + ranked_by_first(y, x)?))
}

/// With ranks by `x`, then by `y`.
fn ranked_by_first(x: &[f64], y: &[f64]) -> Result<f64, EvalError> {
    let mut keys: Vec<(u64, u64)> = x.iter().zip(y).map(|(&x, &y)| (sort_key(x), sort_key(y))).collect();
    keys.sort_unstable();
    let n = keys.len();
    // A row's keys and weight; the last one has rank 0.
    let mut rows: Vec<(u64, u64, f64)> =
        keys.into_iter().enumerate().map(|(place, (x, y))| (x, y, 1.0 / (n - place) as f64)).collect();
    let all = pairs(&rows);
    let tied_x: f64 = rows.chunk_by(|a, b| a.0 == b.0).map(pairs).sum();
    let tied_both: f64 = rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).map(pairs).sum();
    let mut discordant = 0.0;
    merge_sort(&mut rows, |row| row.1, |row, _, across| discordant += row.2 * across as f64);
    let tied_y: f64 = rows.chunk_by(|a, b| a.1 == b.1).map(pairs).sum();
    // A column of one value has exactly as many tied pairs as there are pairs.
    let scale = (all - tied_x).sqrt() * (all - tied_y).sqrt();
    if scale > 0.0 {
        return Ok(((all - tied_x - tied_y + tied_both - 2.0 * discordant) / scale).clamp(-1.0, 1.0));
    }
    Err(EvalError::Degenerate {
        what: "the weighted tau",
        why: "both columns must hold two values or more that differ",
    })
}

/// The weight of all pairs of some rows: each row stands in one fewer than there are rows.
fn pairs(rows: &[(u64, u64, f64)]) -> f64 {
    (rows.len() as f64 - 1.0) * rows.iter().map(|row| row.2).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ranks by (x, y): rows 2, 1, 0, weights 1, 1/2, 1/3; pairs weigh 3/2 (2, 1), 4/3 (2, 0) and 5/6 (1, 0), of which
    /// (2, 1) is discordant: (22/6 - 3)/(22/6) = 2/11. By (y, x): rows 1, 2, 0; (2, 1) weighs 3/2, (1, 0) 4/3, (2, 0)
    /// 5/6: the same.
    #[test]
    fn three_rows_by_hand() {
        let tau = weighted_tau(&[0.0, 1.0, 2.0], &[0.0, 2.0, 1.0]).unwrap();
        assert!((tau - 2.0 / 11.0).abs() < 1e-15, "{tau}");
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(weighted_tau(&[1.0, 1.0], &[1.0, 2.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(
            weighted_tau(&[0.1; 7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
            Err(EvalError::Degenerate { .. })
        ));
        assert!(matches!(weighted_tau(&[1.0], &[1.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(weighted_tau(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(weighted_tau(&[1.0], &[1.0, 2.0]), Err(EvalError::Length { .. })));
        assert!(matches!(weighted_tau(&[1.0, f64::NAN], &[1.0, 2.0]), Err(EvalError::NotFinite { .. })));
    }

    /// The definition, pair by pair, with ranks that count the rows that are larger by (x, y). Rows that are equal in
    /// both take ranks in the order of the rows, which changes no sum.
    fn by_pairs(x: &[f64], y: &[f64]) -> f64 {
        let n = x.len();
        let above = |i: usize, j: usize| (x[j], y[j], j) > (x[i], y[i], i);
        let weights: Vec<f64> = (0..n).map(|i| 1.0 / (1.0 + (0..n).filter(|&j| above(i, j)).count() as f64)).collect();
        let sign = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).signum() };
        let [mut xy, mut xx, mut yy] = [0.0; 3];
        for i in 0..n {
            for j in 0..i {
                let (of_x, of_y, weight) = (sign(x[i], x[j]), sign(y[i], y[j]), weights[i] + weights[j]);
                xy += of_x * of_y * weight;
                xx += of_x * of_x * weight;
                yy += of_y * of_y * weight;
            }
        }
        xy / (xx.sqrt() * yy.sqrt())
    }

    proptest! {
        #[test]
        fn the_merge_counts_every_pair(rows in prop::collection::vec((-4_i32..4, -4_i32..4), 2..40)) {
            let (x, y): (Vec<f64>, Vec<f64>) = rows.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).unzip();
            match weighted_tau(&x, &y) {
                Ok(tau) => {
                    let expected = 0.5 * (by_pairs(&x, &y) + by_pairs(&y, &x));
                    prop_assert!((tau - expected).abs() < 1e-12, "{tau} {expected}");
                }
                Err(_) => prop_assert!(x.iter().all(|value| *value == x[0]) || y.iter().all(|value| *value == y[0])),
            }
        }
    }
}
