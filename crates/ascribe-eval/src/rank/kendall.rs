//! Kendall's rank correlation with ties.
//!
//! ```text
//! tau-b = (C - D)/sqrt((n0 - n1)(n0 - n2)),   n0 = n(n-1)/2,  n1, n2 = sum t(t-1)/2 over the ties of x and of y
//! tau-c = 2 (C - D)/(n^2 (m-1)/m),            m = the smaller number of distinct values
//! ```
//! C and D count concordant and discordant pairs by a merge sort (W. R. Knight, JASA 61, 1966): n log n. P-values as
//! scipy has them: exact without ties up to 33 records, else normal with the variance of tied ranks (M. Kendall, "Rank
//! Correlation Methods", 1970).

use crate::stats::normal::erfc;
use crate::stats::sum::pick;
use crate::{Bootstrap, Estimate, EvalError};

use super::correlation::paired;

/// Tau-b of `x` and `y`; the interval resamples rows.
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, there are fewer than two rows, or a column is constant.
pub fn kendall_tau_b(x: &[f64], y: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    paired(x, y)?;
    bootstrap.metric(x.len(), |rows| Concordance::count(&pick(x, rows), &pick(y, rows)).tau_b())
}

/// Tau-c of `x` and `y`, for scales of different length; the interval resamples rows.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn kendall_tau_c(x: &[f64], y: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    paired(x, y)?;
    bootstrap.metric(x.len(), |rows| Concordance::count(&pick(x, rows), &pick(y, rows)).tau_c())
}

/// The two-sided p-value of tau: exact without ties up to 33 records, else normal.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn kendall_p(x: &[f64], y: &[f64]) -> Result<f64, EvalError> {
    paired(x, y)?;
    let counts = Concordance::count(x, y);
    counts.tau_b()?;
    Ok(counts.p())
}

/// The sums over ties that tau and its variance need.
#[derive(Clone, Copy, Default)]
struct Ties {
    /// sum t(t-1)/2
    pairs: f64,
    /// sum t(t-1)(t-2)
    triples: f64,
    /// sum t(t-1)(2t+5)
    variance: f64,
    /// Number of distinct values.
    distinct: usize,
}

impl Ties {
    fn add(&mut self, count: usize) {
        let t = count as f64;
        self.pairs += t * (t - 1.0) / 2.0;
        self.triples += t * (t - 1.0) * (t - 2.0);
        self.variance += t * (t - 1.0) * (2.0 * t + 5.0);
        self.distinct += 1;
    }
}

/// Concordant less discordant pairs, and the ties. Counts are whole numbers below 2^53, so f64 holds them exactly.
pub(crate) struct Concordance {
    n: usize,
    discordant: f64,
    concordant: f64,
    x: Ties,
    y: Ties,
}

impl Concordance {
    /// Counts the pairs of two columns of the same length without NaN.
    pub(crate) fn count(x: &[f64], y: &[f64]) -> Self {
        let n = x.len();
        let mut rows: Vec<(f64, f64)> = x.iter().zip(y).map(|(&x, &y)| (x + 0.0, y + 0.0)).collect();
        rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (mut ties_x, mut ties_y, mut joint) = (Ties::default(), Ties::default(), 0.0);
        for tied in rows.chunk_by(|a, b| a.0 == b.0) {
            ties_x.add(tied.len());
            for both in tied.chunk_by(|a, b| a.1 == b.1) {
                joint += (both.len() * (both.len() - 1) / 2) as f64;
            }
        }
        let mut ys: Vec<f64> = rows.into_iter().map(|(_, y)| y).collect();
        let discordant = inversions(&mut ys) as f64;
        for tied in ys.chunk_by(|a, b| a == b) {
            ties_y.add(tied.len());
        }
        let all = n as f64 * (n as f64 - 1.0) / 2.0;
        let concordant = all - ties_x.pairs - ties_y.pairs + joint - discordant;
        Self { n, discordant, concordant, x: ties_x, y: ties_y }
    }

    pub(crate) fn tau_b(&self) -> Result<f64, EvalError> {
        let all = self.n as f64 * (self.n as f64 - 1.0) / 2.0;
        let scale = (all - self.x.pairs).sqrt() * (all - self.y.pairs).sqrt();
        self.varying()?;
        Ok(((self.concordant - self.discordant) / scale).clamp(-1.0, 1.0))
    }

    fn tau_c(&self) -> Result<f64, EvalError> {
        self.varying()?;
        let (n, m) = (self.n as f64, self.x.distinct.min(self.y.distinct) as f64);
        Ok(2.0 * (self.concordant - self.discordant) / (n * n * (m - 1.0) / m))
    }

    fn varying(&self) -> Result<(), EvalError> {
        if self.x.distinct > 1 && self.y.distinct > 1 {
            return Ok(());
        }
        Err(EvalError::Degenerate {
            what: "Kendall's tau",
            why: "both columns must hold two values or more that differ",
        })
    }

    fn p(&self) -> f64 {
        let (n, fewer) = (self.n as f64, self.concordant.min(self.discordant));
        if self.x.pairs + self.y.pairs == 0.0 && (self.n <= 33 || fewer <= 1.0) {
            return exact_p(self.n, fewer as usize);
        }
        let m = n * (n - 1.0);
        let variance = (m * (2.0 * n + 5.0) - self.x.variance - self.y.variance) / 18.0
            + 2.0 * self.x.pairs * self.y.pairs / m
            + self.x.triples * self.y.triples / (9.0 * m * (n - 2.0));
        erfc((self.concordant - self.discordant).abs() / variance.sqrt() / 2_f64.sqrt())
    }
}

/// Twice the chance that a random permutation of `n` has at most `few` inversions: the i-th entry brings 0..i of them.
fn exact_p(n: usize, few: usize) -> f64 {
    let mut share = vec![0.0; few + 1];
    share[0] = 1.0;
    for size in 2..=n {
        let mut window = 0.0;
        let mut next = vec![0.0; few + 1];
        for (inversions, next) in next.iter_mut().enumerate() {
            window += share[inversions];
            if inversions >= size {
                window -= share[inversions - size];
            }
            *next = window / size as f64;
        }
        share = next;
    }
    (2.0 * share.iter().sum::<f64>()).min(1.0)
}

/// Sorts `values` and counts the pairs that stood in the wrong order.
fn inversions(values: &mut [f64]) -> u64 {
    let n = values.len();
    let (mut from, mut to) = (values.to_vec(), vec![0.0; n]);
    let (mut count, mut width) = (0_u64, 1);
    while width < n {
        for first in (0..n).step_by(2 * width) {
            let (middle, last) = ((first + width).min(n), (first + 2 * width).min(n));
            let (mut left, mut right) = (first, middle);
            for slot in &mut to[first..last] {
                if left < middle && (right >= last || from[left] <= from[right]) {
                    *slot = from[left];
                    left += 1;
                } else {
                    *slot = from[right];
                    right += 1;
                    count += (middle - left) as u64;
                }
            }
        }
        std::mem::swap(&mut from, &mut to);
        width *= 2;
    }
    values.copy_from_slice(&from);
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With scipy 1.17.1.
    #[test]
    fn six_rows_with_ties() {
        let tau =
            kendall_tau_b(&[1.0, 2.0, 2.0, 3.0, 4.0, 4.0], &[1.0, 3.0, 2.0, 2.0, 5.0, 4.0], &Bootstrap::default());
        assert!((tau.unwrap().value - 0.741_249_316_7).abs() < 1e-9);
    }

    /// Three rows in order: one of six permutations has no inversion, so p = 2/6.
    #[test]
    fn three_rows_in_order() {
        assert!((kendall_p(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]).unwrap() - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn bad_input_is_refused() {
        let none = Bootstrap::NONE;
        assert!(matches!(kendall_tau_b(&[1.0, 1.0], &[1.0, 2.0], &none), Err(EvalError::Degenerate { .. })));
        assert!(matches!(kendall_tau_b(&[], &[], &none), Err(EvalError::Empty { .. })));
        assert!(matches!(kendall_tau_b(&[1.0], &[1.0, 2.0], &none), Err(EvalError::Length { .. })));
        assert!(matches!(kendall_tau_c(&[1.0, f64::NAN], &[1.0, 2.0], &none), Err(EvalError::NotFinite { .. })));
    }

    proptest! {
        #[test]
        fn concordance_counts_pairs(rows in prop::collection::vec((-4_i32..4, -4_i32..4), 2..50)) {
            let (x, y): (Vec<f64>, Vec<f64>) = rows.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).unzip();
            let (mut up, mut down) = (0.0, 0.0);
            for i in 0..x.len() {
                for j in 0..i {
                    let sign = (x[i] - x[j]) * (y[i] - y[j]);
                    up += f64::from(u8::from(sign > 0.0));
                    down += f64::from(u8::from(sign < 0.0));
                }
            }
            let counts = Concordance::count(&x, &y);
            prop_assert_eq!((counts.concordant, counts.discordant), (up, down));
        }
    }
}
