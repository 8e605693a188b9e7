//! Sums with the rounding errors carried along (A. Neumaier, ZAMM 54, 1974).

/// A sum that grows, with its rounding errors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    sum: f64,
    lost: f64,
}

impl Total {
    /// One term more.
    pub(crate) fn add(&mut self, value: f64) {
        let next = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() { (self.sum - next) + value } else { (value - next) + self.sum };
        self.sum = next;
    }

    /// The sum so far.
    pub(crate) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

/// The sum of `values`.
pub(crate) fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut total = Total::default();
    values.into_iter().for_each(|value| total.add(value));
    total.value()
}

/// The mean of `values`; NaN without any.
pub(crate) fn mean(values: &[f64]) -> f64 {
    sum(values.iter().copied()) / values.len() as f64
}

/// The sample variance, with `n - 1`; NaN for fewer than two values.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    sum(values.iter().map(|value| (value - centre).powi(2))) / (values.len() as f64 - 1.0)
}

/// The share of true entries; NaN without any.
pub(crate) fn share(flags: &[bool]) -> f64 {
    flags.iter().filter(|&&flag| flag).count() as f64 / flags.len() as f64
}

/// 1 for true and 0 for false.
pub(crate) fn as_numbers(flags: &[bool]) -> Vec<f64> {
    flags.iter().map(|&flag| number(flag)).collect()
}

/// 1 for true and 0 for false.
pub(crate) fn number(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

/// The entries of `values` at `rows`: the slow twin of counts.
#[cfg(test)]
pub(crate) fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().map(|&row| values[row]).collect()
}

/// The mean of `values` when the value at each row counts `counts[row]` times; NaN when none counts.
pub(crate) fn counted_mean(values: &[f64], counts: &[u32]) -> f64 {
    let n: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    sum(values.iter().zip(counts).map(|(value, &count)| f64::from(count) * value)) / n as f64
}

/// `ln(1 + e^x)` without overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The logistic function.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_a_large_one() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!((mean(&[1.0, 2.0]), variance(&[1.0, 3.0])), (1.5, 2.0));
        assert_eq!(counted_mean(&[1.0, 2.0, 9.0], &[3, 1, 0]), 1.25);
        assert!(counted_mean(&[1.0], &[0]).is_nan());
    }
}
