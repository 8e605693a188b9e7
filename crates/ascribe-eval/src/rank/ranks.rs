//! The order of rows by a column, and ranks of scores, where equal scores share the mean of their ranks.

/// Rows by increasing value, in runs of equal values: sorted once, it serves every resample of the rows.
pub(crate) struct Order {
    rows: Vec<usize>,
    /// Where each run begins, and the number of rows.
    bounds: Vec<usize>,
}

impl Order {
    /// The order of finite values; -0 and 0 are equal, and equal values keep the order of their rows.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut keyed: Vec<u128> = values
            .iter()
            .zip(0_u64..)
            .map(|(&value, row)| (u128::from(sort_key(value)) << 64) | u128::from(row))
            .collect();
        keyed.sort_unstable();
        let mut bounds = vec![0];
        bounds.extend((1..keyed.len()).filter(|&place| keyed[place] >> 64 != keyed[place - 1] >> 64));
        if !keyed.is_empty() {
            bounds.push(keyed.len());
        }
        Self { rows: keyed.into_iter().map(|key| key as u64 as usize).collect(), bounds }
    }

    /// The rows, the smallest value first.
    pub(crate) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The rows of each run of equal values, the smallest first.
    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = &[usize]> {
        self.bounds.windows(2).map(|bounds| &self.rows[bounds[0]..bounds[1]])
    }
}

/// A whole number that sorts as a finite value does; -0 has the key of 0.
pub(crate) fn sort_key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    // Negative values have the sign bit, and grow as their bits fall.
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

/// Ranks from 1, the smallest value first; equal values get their mean rank.
pub(crate) fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in Order::of(values).runs() {
        let rank = before as f64 + 0.5 * (tied.len() + 1) as f64;
        tied.iter().for_each(|&row| ranks[row] = rank);
        before += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_mean_rank() {
        assert_eq!(mid_ranks(&[3.0, 1.0, 2.0, 2.0]), [4.0, 1.0, 2.5, 2.5]);
        assert_eq!(mid_ranks(&[0.0, -0.0]), [1.5, 1.5]);
        assert!(mid_ranks(&[]).is_empty());
    }

    #[test]
    fn runs_hold_equal_values_and_rise() {
        let order = Order::of(&[0.5, -2.0, 0.0, -0.0, f64::MIN_POSITIVE, -f64::MAX, 0.5]);
        assert_eq!(order.rows(), [5, 1, 2, 3, 4, 0, 6]);
        let runs: Vec<&[usize]> = order.runs().collect();
        assert_eq!(runs, [&[5][..], &[1], &[2, 3], &[4], &[0, 6]]);
    }
}
