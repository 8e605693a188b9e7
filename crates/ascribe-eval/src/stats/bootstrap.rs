//! Bootstrap intervals: percentile, basic and BCa (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
//! ch. 14).
//!
//! ```text
//! percentile  [q(alpha), q(1 - alpha)],  alpha = (1 - level)/2, q = linear quantile of the resampled statistics t*
//! basic       [2t - q(1 - alpha), 2t - q(alpha)]
//! BCa         [q(a1), q(a2)],  a_i = Phi(z0 + (z0 + z_i)/(1 - a(z0 + z_i))),  z_i = Phi^-1(alpha), Phi^-1(1 - alpha)
//!             z0 = Phi^-1((#{t* < t} + #{t* <= t})/2B),  a = sum u^3 / (6 (sum u^2)^1.5),  u = mean(jackknife) - jackknife
//! ```
//! The unit of resampling is the independent one: where several records share a prompt, use the clustered forms. One
//! unit alone says nothing about spread, so its interval is absent.
//!
//! A statistic is a function of the rows drawn, or of how often each row was drawn: the second form sorts its rows once
//! for all resamples, so that AUROC, average precision, calibration and rank correlation of a resample are one pass
//! over sorted rows (Kendall's tau a pass for each doubling). B resamples of n rows cost O(B n) beside the statistic,
//! shared out over all cores.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZero;
use std::thread::available_parallelism;

use ascribe_core::{Seed, Stream};
use rand::Rng;

use crate::error::{checked_level, finite, same_length};
use crate::stats::normal;
use crate::{Estimate, EvalError, Interval};

/// Settings of a bootstrap: 10,000 resamples, level 0.95, percentile limits and seed 0 by default.
///
/// The same seed draws the same resamples, so two statistics of the same records are compared on the same draws.
/// Resample `i` has a stream of its own, so that the number of threads changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples: at least 100, or 0 for no interval.
    pub resamples: usize,
    /// Confidence level, inside (0, 1).
    pub level: f64,
    /// Seed of the resamples.
    pub seed: Seed,
    /// How limits are read from the resampled statistics.
    pub method: BootstrapMethod,
}

/// How limits are read from the resampled statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootstrapMethod {
    /// Quantiles of the resampled statistics.
    #[default]
    Percentile,
    /// Those quantiles reflected at the estimate.
    Basic,
    /// Quantiles corrected for bias and skewness; needs at least 8 units. Above 1,000 units the jackknife leaves out
    /// one of 200 random groups at a time, and the interval says so.
    Bca,
}

impl BootstrapMethod {
    /// What an interval found so is called in [`Interval::method`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Percentile => "percentile bootstrap",
            Self::Basic => "basic bootstrap",
            Self::Bca => "BCa bootstrap",
        }
    }
}

/// Share of resamples on which a statistic may be undefined (NaN) before the interval is given up.
const UNDEFINED_SHARE: f64 = 0.05;

/// Up to so many units BCa leaves out one at a time.
const SINGLE_JACKKNIFE: usize = 1000;

/// Beyond, it leaves out one of so many groups. Skewness falls with the root of the size of a group as the acceleration
/// rises with it, so both estimate the same number.
const JACKKNIFE_GROUPS: usize = 200;

/// Below so many draws in all, threads cost more than they save.
const DRAWS_FOR_THREADS: usize = 200_000;

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, level: 0.95, seed: Seed(0), method: BootstrapMethod::default() }
    }
}

impl Bootstrap {
    /// No resamples: the value alone, without an interval.
    pub const NONE: Self = Self { resamples: 0, level: 0.95, seed: Seed(0), method: BootstrapMethod::Percentile };

    /// The mean of independent values. In the range of the values; O(B n).
    ///
    /// # Errors
    /// When a setting is out of range, when `values` is empty or holds a NaN or infinity, or when BCa is not defined.
    pub fn mean(&self, values: &[f64]) -> Result<Estimate, EvalError> {
        finite("values", values)?;
        self.statistic(values.len(), |units| mean_of(values, units))
    }

    /// The mean of `first - second` over records that both systems answered: positive where the first is better.
    ///
    /// For clustered records take the differences and call [`clustered_mean`](Self::clustered_mean). O(B n).
    ///
    /// # Errors
    /// As [`mean`](Self::mean), and when the lengths differ.
    pub fn paired_difference(&self, first: &[f64], second: &[f64]) -> Result<Estimate, EvalError> {
        same_length("second", first.len(), second.len())?;
        finite("first", first)?;
        finite("second", second)?;
        self.mean(&first.iter().zip(second).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    /// The mean over all values, resampling whole clusters: values with the same key are not independent. In the range
    /// of the values; O(n + B clusters).
    ///
    /// # Errors
    /// As [`mean`](Self::mean), and when the lengths differ.
    pub fn clustered_mean<K: Hash + Eq>(&self, values: &[f64], keys: &[K]) -> Result<Estimate, EvalError> {
        same_length("keys", values.len(), keys.len())?;
        finite("values", values)?;
        let (cluster_of, clusters) = clusters(keys);
        let (mut sums, mut sizes) = (vec![0.0; clusters], vec![0.0; clusters]);
        for (&value, &cluster) in values.iter().zip(&cluster_of) {
            sums[cluster] += value;
            sizes[cluster] += 1.0;
        }
        let total = |of: &[f64], units: &[usize]| units.iter().map(|&unit| of[unit]).sum::<f64>();
        let estimate = self.statistic(clusters, |units| total(&sums, units) / total(&sizes, units))?;
        Ok(Estimate { n: values.len(), ..estimate })
    }

    /// A metric of `n` independent rows, as a function of the rows drawn (with repetition). It must be defined on all
    /// rows; resamples on which it is an error are left out. O(B n) beside the metric.
    ///
    /// # Errors
    /// What the metric says of all rows, and as [`statistic`](Self::statistic).
    pub fn metric(
        &self,
        n: usize,
        metric: impl Fn(&[usize]) -> Result<f64, EvalError> + Sync,
    ) -> Result<Estimate, EvalError> {
        let value = metric(&without(n, &[]))?;
        self.of_rows(n, value, |rows| metric(rows).unwrap_or(f64::NAN))
    }

    /// As [`metric`](Self::metric), resampling whole clusters of rows. O(B n) beside the metric.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn clustered_metric<K: Hash + Eq>(
        &self,
        keys: &[K],
        metric: impl Fn(&[usize]) -> Result<f64, EvalError> + Sync,
    ) -> Result<Estimate, EvalError> {
        let value = metric(&without(keys.len(), &[]))?;
        let (cluster_of, clusters) = clusters(keys);
        let mut members = vec![Vec::new(); clusters];
        for (row, &cluster) in cluster_of.iter().enumerate() {
            members[cluster].push(row);
        }
        let estimate = self.of_rows(clusters, value, |units| {
            let rows: Vec<usize> = units.iter().flat_map(|&unit| members[unit].iter().copied()).collect();
            metric(&rows).unwrap_or(f64::NAN)
        })?;
        Ok(Estimate { n: keys.len(), ..estimate })
    }

    /// As [`metric`](Self::metric), resampling within each stratum: the subsets of a benchmark keep their numbers of rows.
    /// The interval is absent where a stratum has one row, which says nothing about spread. O(B n) beside the metric.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn stratified_metric<K: Hash + Eq>(
        &self,
        strata: &[K],
        metric: impl Fn(&[usize]) -> Result<f64, EvalError> + Sync,
    ) -> Result<Estimate, EvalError> {
        let n = strata.len();
        let value = metric(&without(n, &[]))?;
        self.checked(n)?;
        let (stratum_of, count) = clusters(strata);
        let mut members = vec![Vec::new(); count];
        for (row, &stratum) in stratum_of.iter().enumerate() {
            members[stratum].push(row);
        }
        let measured = |rows: &[usize]| metric(rows).unwrap_or(f64::NAN);
        let replicates = if members.iter().any(|rows| rows.len() < 2) {
            Vec::new()
        } else {
            self.replicates(
                n,
                || vec![0_usize; n],
                |stream, drawn| {
                    let mut first = 0;
                    for rows in &members {
                        let part = &mut drawn[first..first + rows.len()];
                        draw_below(stream, rows.len() as u32, part);
                        part.iter_mut().for_each(|unit| *unit = rows[*unit]);
                        first += rows.len();
                    }
                    measured(drawn)
                },
            )
        };
        self.estimate(n, value, replicates, |left_out| measured(&without(n, left_out)))
    }

    /// As [`metric`](Self::metric), as a function of how often each row counts: for metrics that would otherwise sort
    /// every resample. The draws are those of [`metric`](Self::metric). O(B n) beside the metric.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn weighted_metric(
        &self,
        n: usize,
        metric: impl Fn(&[u32]) -> Result<f64, EvalError> + Sync,
    ) -> Result<Estimate, EvalError> {
        let value = metric(&vec![1; n])?;
        self.of_counts(n, value, |counts| metric(counts).unwrap_or(f64::NAN))
    }

    /// As [`weighted_metric`](Self::weighted_metric), resampling whole clusters of rows. O(B n) beside the metric.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn clustered_weighted_metric<K: Hash + Eq>(
        &self,
        keys: &[K],
        metric: impl Fn(&[u32]) -> Result<f64, EvalError> + Sync,
    ) -> Result<Estimate, EvalError> {
        let value = metric(&vec![1; keys.len()])?;
        let (cluster_of, clusters) = clusters(keys);
        let estimate = self.of_counts(clusters, value, |counts| {
            let of_rows: Vec<u32> = cluster_of.iter().map(|&cluster| counts[cluster]).collect();
            metric(&of_rows).unwrap_or(f64::NAN)
        })?;
        Ok(Estimate { n: keys.len(), ..estimate })
    }

    /// Any statistic of `n` independent units, as a function of the indices of the units drawn (with repetition).
    ///
    /// The statistic may be NaN where a resample does not define it; such resamples are left out, and above 5 % of them
    /// the interval is absent. O(B n) beside the statistic.
    ///
    /// # Errors
    /// When a setting is out of range, when `n` is 0, when the statistic of all units is not finite, or when BCa is not
    /// defined.
    pub fn statistic(&self, n: usize, statistic: impl Fn(&[usize]) -> f64 + Sync) -> Result<Estimate, EvalError> {
        self.checked(n)?;
        self.of_rows(n, statistic(&without(n, &[])), statistic)
    }

    /// As [`statistic`](Self::statistic), as a function of how often each unit was drawn: for statistics that would
    /// otherwise sort every resample. O(B n) beside the statistic.
    ///
    /// # Errors
    /// As [`statistic`](Self::statistic).
    pub fn weighted_statistic(
        &self,
        n: usize,
        statistic: impl Fn(&[u32]) -> f64 + Sync,
    ) -> Result<Estimate, EvalError> {
        self.checked(n)?;
        self.of_counts(n, statistic(&vec![1; n]), statistic)
    }

    /// The interval of a statistic of rows whose value on all of them is known.
    fn of_rows(&self, n: usize, value: f64, statistic: impl Fn(&[usize]) -> f64 + Sync) -> Result<Estimate, EvalError> {
        let bound = self.checked(n)?;
        let replicates = self.replicates(
            n,
            || vec![0_usize; n],
            |stream, drawn| {
                draw_below(stream, bound, drawn);
                statistic(drawn)
            },
        );
        self.estimate(n, value, replicates, |left_out| statistic(&without(n, left_out)))
    }

    /// The interval of a statistic of counts whose value on all rows is known.
    fn of_counts(&self, n: usize, value: f64, statistic: impl Fn(&[u32]) -> f64 + Sync) -> Result<Estimate, EvalError> {
        let bound = self.checked(n)?;
        let replicates = self.replicates(
            n,
            || vec![0_u32; n],
            |stream, counts| {
                counts.fill(0);
                let mut block = [0; 1024];
                for first in (0..n).step_by(block.len()) {
                    let drawn = &mut block[..(n - first).min(1024)];
                    draw_below(stream, bound, drawn);
                    drawn.iter().for_each(|&unit| counts[unit] += 1);
                }
                statistic(counts)
            },
        );
        self.estimate(n, value, replicates, |left_out| {
            let mut counts = vec![1_u32; n];
            left_out.iter().for_each(|&unit| counts[unit] = 0);
            statistic(&counts)
        })
    }

    /// The quantiles of a statistic that may be infinite, as a time that was never reached is; none of one unit alone, or
    /// without resamples.
    pub(crate) fn limits(
        &self,
        n: usize,
        statistic: impl Fn(&[usize]) -> f64 + Sync,
    ) -> Result<Option<[f64; 2]>, EvalError> {
        let bound = self.checked(n)?;
        let mut replicates = self.replicates(
            n,
            || vec![0_usize; n],
            |stream, drawn| {
                draw_below(stream, bound, drawn);
                statistic(drawn)
            },
        );
        if replicates.is_empty() {
            return Ok(None);
        }
        replicates.sort_unstable_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - self.level);
        Ok(Some([tail, 1.0 - tail].map(|probability| sorted_quantile(&replicates, probability))))
    }

    /// As [`statistic`](Self::statistic) with resamples that the caller drew; `resamples` and `seed` play no part. O(1)
    /// for each resample beside the statistic.
    ///
    /// # Errors
    /// As [`statistic`](Self::statistic), and when an index is not below `n`.
    pub fn statistic_over(
        &self,
        n: usize,
        resamples: &[Vec<usize>],
        statistic: impl Fn(&[usize]) -> f64,
    ) -> Result<Estimate, EvalError> {
        if let Some(&unit) = resamples.iter().flatten().find(|&&unit| unit >= n) {
            return Err(EvalError::Range { name: "an index of a resample", rule: "below n", got: unit as f64 });
        }
        self.defined(n)?;
        let replicates = resamples.iter().map(|drawn| statistic(drawn)).collect();
        self.estimate(n, statistic(&without(n, &[])), replicates, |left_out| statistic(&without(n, left_out)))
    }

    /// The settings and the number of units, checked.
    fn checked(&self, n: usize) -> Result<u32, EvalError> {
        if self.resamples != 0 && self.resamples < 100 {
            let rule = "at least 100, or 0 for no interval";
            return Err(EvalError::Range { name: "resamples", rule, got: self.resamples as f64 });
        }
        self.defined(n)?;
        u32::try_from(n).map_err(|_| EvalError::Range { name: "n", rule: "below 2^32", got: n as f64 })
    }

    /// What every interval needs, however its resamples are drawn.
    fn defined(&self, n: usize) -> Result<(), EvalError> {
        checked_level(self.level)?;
        if n == 0 { Err(EvalError::Empty { what: "the units" }) } else { Ok(()) }
    }

    /// The statistic of every resample, by its number; none where there is no interval to find.
    fn replicates<W>(
        &self,
        n: usize,
        start: impl Fn() -> W + Sync,
        one: impl Fn(&mut Stream, &mut W) -> f64 + Sync,
    ) -> Vec<f64> {
        if n < 2 || self.resamples == 0 {
            return Vec::new();
        }
        let many = n.saturating_mul(self.resamples) >= DRAWS_FOR_THREADS;
        self.shared_out(if many { available_parallelism().map_or(1, NonZero::get) } else { 1 }, start, one)
    }

    /// Threads share the resamples out in blocks; `start` makes the working memory of one, `one` measures one resample
    /// from its own stream.
    fn shared_out<W>(
        &self,
        threads: usize,
        start: impl Fn() -> W + Sync,
        one: impl Fn(&mut Stream, &mut W) -> f64 + Sync,
    ) -> Vec<f64> {
        let mut replicates = vec![0.0; self.resamples];
        let work = |first: usize, part: &mut [f64]| {
            let mut space = start();
            for (offset, replicate) in part.iter_mut().enumerate() {
                let mut stream = self.seed.stream("bootstrap", (first + offset) as u64);
                *replicate = one(&mut stream, &mut space);
            }
        };
        if threads <= 1 {
            work(0, &mut replicates);
            return replicates;
        }
        let share = self.resamples.div_ceil(threads);
        std::thread::scope(|scope| {
            for (index, part) in replicates.chunks_mut(share).enumerate() {
                let work = &work;
                scope.spawn(move || work(index * share, part));
            }
        });
        replicates
    }

    /// The interval from the replicates; `leaving_out` is the statistic without some units.
    fn estimate(
        &self,
        n: usize,
        value: f64,
        mut replicates: Vec<f64>,
        leaving_out: impl Fn(&[usize]) -> f64,
    ) -> Result<Estimate, EvalError> {
        if !value.is_finite() {
            return Err(EvalError::Degenerate { what: "the statistic", why: "it is not finite on all the records" });
        }
        let drawn = replicates.len();
        replicates.retain(|replicate| !replicate.is_nan());
        if replicates.is_empty() || (drawn - replicates.len()) as f64 > UNDEFINED_SHARE * drawn as f64 {
            return Ok(Estimate { value, interval: None, n });
        }
        replicates.sort_unstable_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - self.level);
        let (low, high, method) = match self.method {
            BootstrapMethod::Percentile => {
                (sorted_quantile(&replicates, tail), sorted_quantile(&replicates, 1.0 - tail), self.method.name())
            }
            BootstrapMethod::Basic => {
                let (low, high) = (sorted_quantile(&replicates, tail), sorted_quantile(&replicates, 1.0 - tail));
                (2.0 * value - high, 2.0 * value - low, self.method.name())
            }
            BootstrapMethod::Bca => {
                let (groups, method) = self.jackknife_groups(n);
                let jackknife: Vec<f64> = groups.iter().map(|group| leaving_out(group)).collect();
                let (low, high) = bca_tails(value, &replicates, &jackknife, tail)?;
                (sorted_quantile(&replicates, low), sorted_quantile(&replicates, high), method)
            }
        };
        Ok(Estimate { value, interval: Some(Interval { low, high, level: self.level, method }), n })
    }

    /// What the jackknife leaves out, one entry at a time: single units, or random groups of about the same size.
    fn jackknife_groups(&self, n: usize) -> (Vec<Vec<usize>>, &'static str) {
        let mut order: Vec<usize> = (0..n).collect();
        if n <= SINGLE_JACKKNIFE {
            return (order.into_iter().map(|unit| vec![unit]).collect(), self.method.name());
        }
        shuffle(&mut self.seed.stream("jackknife", 0), &mut order);
        let cut = |group: usize| group * n / JACKKNIFE_GROUPS;
        let groups = (0..JACKKNIFE_GROUPS).map(|group| order[cut(group)..cut(group + 1)].to_vec()).collect();
        (groups, "BCa bootstrap, grouped jackknife")
    }
}

/// The units below `n` that are not left out.
fn without(n: usize, left_out: &[usize]) -> Vec<usize> {
    let mut kept = vec![true; n];
    left_out.iter().for_each(|&unit| kept[unit] = false);
    (0..n).filter(|&unit| kept[unit]).collect()
}

/// The number of the cluster of each record, by first appearance, and how many clusters there are.
pub(crate) fn clusters<K: Hash + Eq>(keys: &[K]) -> (Vec<usize>, usize) {
    let mut numbers = HashMap::new();
    let cluster_of = keys.iter().map(|key| {
        let next = numbers.len();
        *numbers.entry(key).or_insert(next)
    });
    let cluster_of = cluster_of.collect();
    (cluster_of, numbers.len())
}

/// Puts `entries` in a uniformly random order (Fisher and Yates); at most 2^32 of them.
pub(crate) fn shuffle<T>(stream: &mut Stream, entries: &mut [T]) {
    for last in (1..entries.len()).rev() {
        let mut drawn = [0];
        draw_below(stream, last as u32 + 1, &mut drawn);
        entries.swap(last, drawn[0]);
    }
}

/// Fills `drawn` with uniform numbers below `bound` (D. Lemire, "Fast random integer generation in an interval", 2019).
pub(crate) fn draw_below(stream: &mut impl Rng, bound: u32, drawn: &mut [usize]) {
    let excess = bound.wrapping_neg() % bound; // 2^32 mod bound: so many low parts would favour some numbers
    let mut bytes = [[0; 4]; 256];
    for block in drawn.chunks_mut(bytes.len()) {
        let bytes = &mut bytes[..block.len()];
        stream.fill_bytes(bytes.as_flattened_mut());
        for (number, bytes) in block.iter_mut().zip(bytes) {
            let mut product = u64::from(u32::from_le_bytes(*bytes)) * u64::from(bound);
            while (product as u32) < excess {
                product = u64::from(stream.next_u32()) * u64::from(bound);
            }
            *number = (product >> 32) as usize;
        }
    }
}

/// The mean of the drawn values, summed in four lanes: additions in a row would wait for each other.
fn mean_of(values: &[f64], units: &[usize]) -> f64 {
    let (blocks, rest) = units.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &unit)| *lane += values[unit]);
    }
    let sum = lanes.iter().sum::<f64>() + rest.iter().map(|&unit| values[unit]).sum::<f64>();
    sum / units.len() as f64
}

/// Linear interpolation between order statistics (type 7 of Hyndman and Fan).
pub(crate) fn sorted_quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let (index, share) = (position.floor() as usize, position.fract());
    let (below, above) = (sorted[index], sorted[(index + 1).min(sorted.len() - 1)]);
    if share == 0.0 { below } else { below + share * (above - below) }
}

/// The tail probabilities of BCa.
fn bca_tails(value: f64, replicates: &[f64], jackknife: &[f64], tail: f64) -> Result<(f64, f64), EvalError> {
    let why = "BCa needs 8 units or more that differ, and resamples on both sides of the estimate; use Percentile";
    let undefined = EvalError::Degenerate { what: "the BCa interval", why };
    let smaller = replicates.iter().filter(|&&replicate| replicate < value).count();
    let at_most = replicates.iter().filter(|&&replicate| replicate <= value).count();
    let bias = normal::quantile((smaller + at_most) as f64 / (2 * replicates.len()) as f64);
    let acceleration = acceleration(jackknife);
    if jackknife.len() < 8 || !bias.is_finite() || !acceleration.is_finite() {
        return Err(undefined);
    }
    let corrected = |z: f64| normal::cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)));
    Ok((corrected(normal::quantile(tail)), corrected(normal::quantile(1.0 - tail))))
}

/// The acceleration of BCa, `sum u^3/(6 (sum u^2)^1.5)` with `u` the mean of the values that leave one unit out less
/// each of them; not finite where they are all equal.
fn acceleration(jackknife: &[f64]) -> f64 {
    let centre = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let (squares, cubes) = jackknife
        .iter()
        .map(|value| centre - value)
        .fold((0.0, 0.0), |(squares, cubes), u| (squares + u * u, cubes + u * u * u));
    cubes / (6.0 * squares.powf(1.5))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quick(method: BootstrapMethod) -> Bootstrap {
        Bootstrap { resamples: 500, method, ..Bootstrap::default() }
    }

    fn limits(estimate: Estimate) -> (f64, f64) {
        let interval = estimate.interval.unwrap();
        (interval.low, interval.high)
    }

    /// Reference limits with scipy 1.17.1 at 10,000 resamples; the tolerance covers the random draws.
    #[test]
    fn ten_differences_agree_with_scipy() {
        let values = [1.2, 0.4, 3.1, 2.2, 0.9, 5.0, 1.7, 0.3, 2.8, 1.1];
        let (low, high) = limits(Bootstrap::default().mean(&values).unwrap());
        assert!((low - 1.09).abs() < 0.03 && (high - 2.78).abs() < 0.03, "{low} {high}");
        let (low, high) =
            limits(Bootstrap { method: BootstrapMethod::Bca, ..Bootstrap::default() }.mean(&values).unwrap());
        assert!((low - 1.19).abs() < 0.03 && (high - 2.96).abs() < 0.03, "{low} {high}");
    }

    /// Of a mean that leaves out one of n values, `u` is the value less the mean over n - 1: the n - 1 drops out.
    #[test]
    fn the_acceleration_of_ten_differences() {
        let values = [1.2, 0.4, 3.1, 2.2, 0.9, 5.0, 1.7, 0.3, 2.8, 1.1];
        let total: f64 = values.iter().sum();
        let left_out: Vec<f64> = values.iter().map(|value| (total - value) / 9.0).collect();
        assert!((acceleration(&left_out) - 0.049_905_296_6).abs() < 1e-9);
        assert!(!acceleration(&[1.0; 8]).is_finite());
    }

    /// The standard error of a mean of 0/1 values is sqrt(p(1-p)/n); with clusters of c equal values, n counts
    /// clusters.
    #[test]
    fn clusters_of_equal_values_widen_the_interval_by_the_root_of_their_size() {
        let values: Vec<f64> = (0..400).map(|index| f64::from(u8::from(index / 4 % 2 == 0))).collect();
        let keys: Vec<usize> = (0..400).map(|index| index / 4).collect();
        let (low, high) = limits(Bootstrap::default().clustered_mean(&values, &keys).unwrap());
        let expected = 2.0 * 1.96 * (0.25_f64 / 100.0).sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.05, "{low} {high}");
    }

    #[test]
    fn clusters_of_one_are_independent_values() {
        let values = [0.5, 0.25, 2.0, 1.0];
        let bootstrap = quick(BootstrapMethod::Percentile);
        assert_eq!(bootstrap.clustered_mean(&values, &["a", "b", "c", "d"]).unwrap(), bootstrap.mean(&values).unwrap());
    }

    /// Constant strata have no spread of their own; one stratum is no stratum; one row alone says nothing.
    #[test]
    fn strata_keep_their_numbers_of_rows() {
        let values = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let mean = |rows: &[usize]| Ok(mean_of(&values, rows));
        let bootstrap = quick(BootstrapMethod::Percentile);
        let constant = ["a", "a", "b", "a", "b", "b", "b", "b"];
        let estimate = bootstrap.stratified_metric(&constant, mean).unwrap();
        assert_eq!((estimate.value, estimate.n), (0.375, 8));
        assert_eq!(limits(estimate), (0.375, 0.375));
        assert_eq!(bootstrap.stratified_metric(&["a"; 8], mean).unwrap(), bootstrap.metric(8, mean).unwrap());
        let alone = ["a", "b", "b", "b", "b", "b", "b", "b"];
        assert_eq!(bootstrap.stratified_metric(&alone, mean).unwrap().interval, None);
        assert!(matches!(bootstrap.stratified_metric(&[0; 0], |_| Ok(0.0)), Err(EvalError::Empty { .. })));
    }

    #[test]
    fn one_unit_gives_no_interval() {
        let estimate = Bootstrap::default().clustered_mean(&[1.0, 2.0], &["same", "same"]).unwrap();
        assert_eq!((estimate.value, estimate.interval, estimate.n), (1.5, None, 2));
    }

    #[test]
    fn a_statistic_that_resamples_seldom_define_gives_no_interval() {
        let estimate = quick(BootstrapMethod::Percentile)
            .statistic(3, |units| if units == [0, 1, 2] { 1.0 } else { f64::NAN })
            .unwrap();
        assert_eq!(estimate.interval, None);
    }

    #[test]
    fn no_resamples_give_no_interval() {
        assert_eq!(Bootstrap::NONE.mean(&[1.0, 2.0]).unwrap(), Estimate { value: 1.5, interval: None, n: 2 });
    }

    #[test]
    fn counts_of_units_say_what_the_units_say() {
        let values: Vec<f64> = (0..3000).map(|index| f64::from(index * 37 % 101)).collect();
        let by_count = |counts: &[u32]| {
            let n: u32 = counts.iter().sum();
            counts.iter().zip(&values).map(|(&count, value)| f64::from(count) * value).sum::<f64>() / f64::from(n)
        };
        for method in [BootstrapMethod::Percentile, BootstrapMethod::Bca] {
            let (one, other) = (quick(method).mean(&values).unwrap(), quick(method).weighted_statistic(3000, by_count));
            let (one, other) = (limits(one), limits(other.unwrap()));
            assert!((one.0 - other.0).abs() < 1e-9 && (one.1 - other.1).abs() < 1e-9, "{one:?} {other:?}");
        }
    }

    #[test]
    fn rows_and_their_counts_are_the_same_draws_by_row_and_by_cluster() {
        let values: Vec<f64> = (0..300).map(|index| f64::from(index * 37 % 101)).collect();
        let keys: Vec<usize> = (0..300).map(|index| index / 7).collect();
        let bootstrap = quick(BootstrapMethod::Percentile);
        let by_rows = |rows: &[usize]| Ok(rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64);
        let by_counts = |counts: &[u32]| Ok(crate::stats::sum::counted_mean(&values, counts));
        for (one, other) in [
            (bootstrap.metric(300, by_rows), bootstrap.weighted_metric(300, by_counts)),
            (bootstrap.clustered_metric(&keys, by_rows), bootstrap.clustered_weighted_metric(&keys, by_counts)),
        ] {
            let (one, other) = (one.unwrap(), other.unwrap());
            let ((low, high), (other_low, other_high)) = (limits(one), limits(other));
            assert!((low - other_low).abs() < 1e-9 && (high - other_high).abs() < 1e-9, "{one} {other}");
            assert!((one.value - other.value).abs() < 1e-12 && one.n == 300 && other.n == 300);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let sum_of_draw = |stream: &mut Stream, drawn: &mut Vec<usize>| {
            draw_below(stream, 50, drawn);
            drawn.iter().sum::<usize>() as f64
        };
        let of = |threads| quick(BootstrapMethod::Percentile).shared_out(threads, || vec![0_usize; 50], sum_of_draw);
        let one = of(1);
        assert!([2, 3, 64].into_iter().all(|threads| of(threads) == one));
    }

    /// Exponential values have skewness 2, so the acceleration is 2/(6 sqrt n) for any grouping.
    #[test]
    fn the_grouped_jackknife_is_named_and_agrees_with_single_units() {
        let values: Vec<f64> = (0..1200).map(|index| -((f64::from(index) + 0.5) / 1200.0).ln()).collect();
        let bootstrap = Bootstrap { method: BootstrapMethod::Bca, ..Bootstrap::default() };
        let grouped = bootstrap.mean(&values).unwrap().interval.unwrap();
        let single = bootstrap.mean(&values[..1000]).unwrap().interval.unwrap();
        assert_eq!((grouped.method, single.method), ("BCa bootstrap, grouped jackknife", "BCa bootstrap"));
        // Standard error 1/sqrt(1200) = 0.029; the bias of the percentile limits would be about 0.002.
        assert!((grouped.low - (1.0 - 1.96 * 0.0289)).abs() < 0.006, "{grouped:?}");
    }

    #[test]
    fn bad_input_is_refused() {
        let bootstrap = quick(BootstrapMethod::Percentile);
        assert!(matches!(bootstrap.mean(&[]), Err(EvalError::Empty { .. })));
        assert!(matches!(bootstrap.mean(&[0.0, f64::NAN]), Err(EvalError::NotFinite { index: 1, .. })));
        assert!(matches!(bootstrap.paired_difference(&[0.0], &[]), Err(EvalError::Length { .. })));
        assert!(matches!(Bootstrap { resamples: 9, ..bootstrap }.mean(&[0.0]), Err(EvalError::Range { .. })));
        assert!(matches!(Bootstrap { level: f64::NAN, ..bootstrap }.mean(&[0.0]), Err(EvalError::Range { .. })));
        assert!(matches!(quick(BootstrapMethod::Bca).mean(&[1.0; 20]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(bootstrap.statistic_over(2, &[vec![0, 2]], |_| 0.0), Err(EvalError::Range { .. })));
    }

    #[test]
    fn draws_are_uniform() {
        let mut stream = Seed(3).stream("bootstrap", 0);
        let mut drawn = vec![0; 70_000];
        draw_below(&mut stream, 7, &mut drawn);
        let mut counts = [0_i32; 7];
        drawn.iter().for_each(|&number| counts[number] += 1);
        // Standard deviation of a count: sqrt(70000 * 6/49) = 93.
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 400), "{counts:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn swapping_systems_flips_the_difference(pairs in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 2..40)) {
            let (first, second): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let bootstrap = quick(BootstrapMethod::Percentile);
            let one = bootstrap.paired_difference(&first, &second).unwrap();
            let other = bootstrap.paired_difference(&second, &first).unwrap();
            let ((low, high), (low_other, high_other)) = (limits(one), limits(other));
            prop_assert!((one.value + other.value).abs() < 1e-12);
            prop_assert!((low + high_other).abs() < 1e-12 && (high + low_other).abs() < 1e-12);
        }

        #[test]
        fn the_interval_moves_with_an_affine_map(
            values in prop::collection::vec(-1.0..1.0_f64, 8..40), scale in 0.1..10.0_f64, shift in -5.0..5.0_f64,
        ) {
            for method in [BootstrapMethod::Percentile, BootstrapMethod::Basic] {
                let mapped: Vec<f64> = values.iter().map(|value| scale * value + shift).collect();
                let (low, high) = limits(quick(method).mean(&values).unwrap());
                let (low_mapped, high_mapped) = limits(quick(method).mean(&mapped).unwrap());
                prop_assert!((scale * low + shift - low_mapped).abs() < 1e-9);
                prop_assert!((scale * high + shift - high_mapped).abs() < 1e-9);
            }
        }
    }
}
