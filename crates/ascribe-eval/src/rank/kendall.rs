//! Kendall's rank correlation with ties.
//!
//! ```text
//! tau-b = (C - D)/sqrt((n0 - n1)(n0 - n2)),   n0 = n(n-1)/2,  n1, n2 = sum t(t-1)/2 over the ties of x and of y
//! tau-c = 2 (C - D)/(n^2 (m-1)/m),            m = the smaller number of distinct values
//! ```
//! C and D count concordant and discordant pairs by a merge sort (W. R. Knight, JASA 61, 1966): n log n. The merges of
//! a resample take the same sides as those of all rows, so they are recorded once and played again with the counts of
//! its rows, without comparing or sorting. P-values as scipy has them: exact without ties up to 33 records, else normal
//! with the variance of tied ranks (M. Kendall, "Rank Correlation Methods", 1970).

use std::sync::OnceLock;

use crate::stats::normal::erfc;
use crate::{Bootstrap, Estimate, EvalError};

use super::correlation::paired;
use super::ranks::sort_key;

/// Tau-b of `x` and `y`; the interval resamples rows. In [-1, 1]; pairs tied in x or y count neither way and leave the
/// scale; O(n log n) for each resample, without sorting.
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, there are fewer than two rows, or a column is constant.
pub fn kendall_tau_b(x: &[f64], y: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(x.len(), counted_tau(x, y, Concordance::tau_b)?)
}

/// Tau-c of `x` and `y`, for scales of different length; the interval resamples rows. In [-1, 1]; tied pairs count
/// neither way; O(n log n) for each resample, without sorting.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn kendall_tau_c(x: &[f64], y: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(x.len(), counted_tau(x, y, Concordance::tau_c)?)
}

/// A tau as a function of how often each row counts.
pub(crate) fn counted_tau<'a>(
    x: &'a [f64],
    y: &'a [f64],
    tau: fn(&Concordance) -> Result<f64, EvalError>,
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync + 'a, EvalError> {
    paired(x, y)?;
    let merges = OnceLock::new();
    Ok(move |counts: &[u32]| {
        if counts.iter().all(|&count| count == 1) {
            return tau(&Concordance::count(x, y));
        }
        tau(&merges.get_or_init(|| Merges::of(x, y)).count(counts))
    })
}

/// The two-sided p-value of tau: exact without ties up to 33 records, else normal. In [0, 1]; O(n log n).
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
    /// A run of `t` equal values.
    fn add(&mut self, t: f64) {
        self.pairs += t * (t - 1.0) / 2.0;
        self.triples += t * (t - 1.0) * (t - 2.0);
        self.variance += t * (t - 1.0) * (2.0 * t + 5.0);
        self.distinct += usize::from(t > 0.0);
    }
}

/// Concordant less discordant pairs, and the ties. Counts are whole numbers below 2^53, so f64 holds them exactly.
pub(crate) struct Concordance {
    /// Number of rows, as often as they count.
    n: f64,
    discordant: f64,
    concordant: f64,
    x: Ties,
    y: Ties,
}

impl Concordance {
    /// Counts the pairs of two columns of the same length without NaN.
    pub(crate) fn count(x: &[f64], y: &[f64]) -> Self {
        let mut rows: Vec<u128> = x.iter().zip(y).map(|(&x, &y)| both(x, y)).collect();
        rows.sort_unstable();
        let (mut ties_x, mut ties_y, mut joint) = (Ties::default(), Ties::default(), Ties::default());
        for tied in rows.chunk_by(|a, b| a >> 64 == b >> 64) {
            ties_x.add(tied.len() as f64);
            for both in tied.chunk_by(|a, b| a == b) {
                joint.add(both.len() as f64);
            }
        }
        let mut ys: Vec<u64> = rows.into_iter().map(|row| row as u64).collect();
        let mut discordant = 0_u64;
        merge_sort(&mut ys, |y| *y, |_, from_right, across| discordant += if from_right { across as u64 } else { 0 });
        for tied in ys.chunk_by(|a, b| a == b) {
            ties_y.add(tied.len() as f64);
        }
        Self::of(x.len() as f64, discordant as f64, [ties_x, ties_y, joint])
    }

    fn of(n: f64, discordant: f64, [x, y, joint]: [Ties; 3]) -> Self {
        let concordant = n * (n - 1.0) / 2.0 - x.pairs - y.pairs + joint.pairs - discordant;
        Self { n, discordant, concordant, x, y }
    }

    pub(crate) fn tau_b(&self) -> Result<f64, EvalError> {
        let all = self.n * (self.n - 1.0) / 2.0;
        let scale = ((all - self.x.pairs) * (all - self.y.pairs)).sqrt();
        self.varying()?;
        Ok(((self.concordant - self.discordant) / scale).clamp(-1.0, 1.0))
    }

    pub(crate) fn tau_c(&self) -> Result<f64, EvalError> {
        self.varying()?;
        let (n, m) = (self.n, self.x.distinct.min(self.y.distinct) as f64);
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
        let (n, fewer) = (self.n, self.concordant.min(self.discordant));
        if self.x.pairs + self.y.pairs == 0.0 && (n <= 33.0 || fewer <= 1.0) {
            return exact_p(n as usize, fewer as usize);
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

/// A row as one number that sorts by x, then by y.
fn both(x: f64, y: f64) -> u128 {
    (u128::from(sort_key(x)) << 64) | u128::from(sort_key(y))
}

/// Sorts `entries` by merging neighbouring blocks of 1, 2, 4, .. of them; of equal ones the left stays left.
///
/// For every place of every pass, `filled` sees the entry that goes there, whether it comes from the right block, and
/// with how many entries of the other block it stood in the wrong order.
pub(super) fn merge_sort<T: Copy, K: PartialOrd>(
    entries: &mut [T],
    key: impl Fn(&T) -> K,
    mut filled: impl FnMut(&T, bool, usize),
) {
    let n = entries.len();
    let (mut from, mut to) = (entries.to_vec(), entries.to_vec());
    let mut width = 1;
    while width < n {
        for first in (0..n).step_by(2 * width) {
            let (middle, last) = ((first + width).min(n), (first + 2 * width).min(n));
            let (mut left, mut right) = (first, middle);
            // While both blocks wait there is no branch on the comparison, which nobody can predict.
            while left < middle && right < last {
                let from_right = key(&from[right]) < key(&from[left]);
                let (at, across) = if from_right { (right, middle - left) } else { (left, right - middle) };
                to[left + right - middle] = from[at];
                filled(&from[at], from_right, across);
                right += usize::from(from_right);
                left += usize::from(!from_right);
            }
            // One of the two is empty by now.
            let (left_over, right_over) = to[left + right - middle..last].split_at_mut(middle - left);
            for (slot, entry) in left_over.iter_mut().zip(&from[left..middle]) {
                *slot = *entry;
                filled(entry, false, right - middle);
            }
            for (slot, entry) in right_over.iter_mut().zip(&from[right..last]) {
                *slot = *entry;
                filled(entry, true, 0);
            }
        }
        std::mem::swap(&mut from, &mut to);
        width *= 2;
    }
    entries.copy_from_slice(&from);
}

/// The merges that count discordant pairs, to be played again with other counts of the same rows.
struct Merges {
    /// Rows by x, then by y.
    rows: Vec<usize>,
    /// Where runs of equal x end, and of equal x and y, in that order.
    ends_x: Vec<usize>,
    ends_both: Vec<usize>,
    /// Where runs of equal y end after the last merge.
    ends_y: Vec<usize>,
    /// For each place of each pass, whether it is filled from the right block.
    from_right: Vec<bool>,
}

impl Merges {
    fn of(x: &[f64], y: &[f64]) -> Self {
        let mut keyed: Vec<(u128, usize)> = x.iter().zip(y).map(|(&x, &y)| both(x, y)).zip(0..).collect();
        keyed.sort_unstable();
        let ends_x = ends(&keyed, |a, b| a.0 >> 64 == b.0 >> 64);
        let ends_both = ends(&keyed, |a, b| a.0 == b.0);
        let mut ys: Vec<u64> = keyed.iter().map(|&(key, _)| key as u64).collect();
        let mut from_right = Vec::new();
        merge_sort(&mut ys, |y| *y, |_, right, _| from_right.push(right));
        let ends_y = ends(&ys, |a, b| a == b);
        Self { rows: keyed.into_iter().map(|(_, row)| row).collect(), ends_x, ends_both, ends_y, from_right }
    }

    /// The pairs of rows that count `counts[row]` times.
    fn count(&self, counts: &[u32]) -> Concordance {
        let n = self.rows.len();
        let mut from: Vec<u32> = self.rows.iter().map(|&row| counts[row]).collect();
        let (x, joint) = (ties(&from, &self.ends_x), ties(&from, &self.ends_both));
        let (mut to, mut discordant, mut width) = (vec![0; n], 0_u64, 1);
        for pass in self.from_right.chunks(n) {
            for first in (0..n).step_by(2 * width) {
                let (middle, last) = ((first + width).min(n), (first + 2 * width).min(n));
                let (mut left, mut right) = (first, middle);
                // How often the rows of the left block that still wait count.
                let mut waiting: u64 = from[first..middle].iter().map(|&count| u64::from(count)).sum();
                for (slot, &from_right) in to[first..last].iter_mut().zip(&pass[first..last]) {
                    let count = from[if from_right { right } else { left }];
                    *slot = count;
                    // Products with 0 and 1 instead of branches that nobody can predict.
                    let (is_right, count) = (u64::from(from_right), u64::from(count));
                    discordant += is_right * count * waiting;
                    waiting -= (1 - is_right) * count;
                    right += usize::from(from_right);
                    left += usize::from(!from_right);
                }
            }
            std::mem::swap(&mut from, &mut to);
            width *= 2;
        }
        let y = ties(&from, &self.ends_y);
        let rows: u64 = from.iter().map(|&count| u64::from(count)).sum();
        Concordance::of(rows as f64, discordant as f64, [x, y, joint])
    }
}

/// Where the runs of equal entries end.
fn ends<T>(entries: &[T], equal: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    (1..=entries.len()).filter(|&end| end == entries.len() || !equal(&entries[end - 1], &entries[end])).collect()
}

/// The ties of runs whose rows count several times.
fn ties(counts: &[u32], ends: &[usize]) -> Ties {
    let (mut ties, mut first) = (Ties::default(), 0);
    for &end in ends {
        ties.add(counts[first..end].iter().map(|&count| u64::from(count)).sum::<u64>() as f64);
        first = end;
    }
    ties
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::sum::pick;

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

        #[test]
        fn counts_say_what_the_rows_drawn_say(
            rows in prop::collection::vec((-4_i32..4, -4_i32..4, 0_u32..4), 1..50),
        ) {
            let x: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let y: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
            let counts: Vec<u32> = rows.iter().map(|row| row.2).collect();
            let drawn: Vec<usize> = (0..rows.len()).flat_map(|row| vec![row; counts[row] as usize]).collect();
            let slow = Concordance::count(&pick(&x, &drawn), &pick(&y, &drawn));
            let fast = Merges::of(&x, &y).count(&counts);
            prop_assert_eq!((fast.n, fast.concordant, fast.discordant), (slow.n, slow.concordant, slow.discordant));
            for (fast, slow) in [(fast.x, slow.x), (fast.y, slow.y)] {
                prop_assert_eq!((fast.pairs, fast.triples, fast.distinct), (slow.pairs, slow.triples, slow.distinct));
            }
            match (fast.tau_b(), slow.tau_b()) {
                (Ok(fast), Ok(slow)) => prop_assert_eq!(fast, slow),
                (Err(_), Err(_)) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
