//! The two-sample permutation test of a difference of means.
//!
//! ```text
//! p_greater = share of ways to pick n1 of all n values whose mean difference is at least the observed one
//! ```
//! R. A. Fisher, "The Design of Experiments", 1935; E. J. G. Pitman, 1937. Every choice is counted up to a million of
//! them, by the smaller sample, so at most about ten million additions; beyond, choices are drawn and a side is
//! `(1 + extreme)/(1 + draws)`. Ties but for rounding count as extreme. P-values lie in (0, 1].

use ascribe_core::Seed;

use crate::EvalError;
use crate::error::{finite, option};
use crate::stats::bootstrap::shuffle;
use crate::stats::sum::sum;

/// Up to so many choices all are counted.
const EXACT_CHOICES: f64 = 1e6;

/// The result of a permutation test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Permutation {
    /// The statistic on the records as they are.
    pub observed: f64,
    /// Two-sided p-value: twice the smaller side, at most 1.
    pub p: f64,
    /// Share of permutations whose statistic is at least the observed one.
    pub p_greater: f64,
    /// Share of permutations whose statistic is at most the observed one.
    pub p_less: f64,
    /// Share of permutations whose statistic is at least as far from 0.
    pub p_abs: f64,
    /// Whether all permutations were counted.
    pub exact: bool,
}

/// Counts permutations by their statistic.
pub(crate) struct Tally {
    observed: f64,
    slack: f64,
    counts: [u64; 3],
    total: u64,
}

impl Tally {
    pub(crate) fn new(observed: f64, scale: f64) -> Self {
        Self { observed, slack: 1e-12 * scale, counts: [0; 3], total: 0 }
    }

    pub(crate) fn add(&mut self, statistic: f64) {
        let extreme = [
            statistic >= self.observed - self.slack,
            statistic <= self.observed + self.slack,
            statistic.abs() >= self.observed.abs() - self.slack,
        ];
        self.counts.iter_mut().zip(extreme).for_each(|(count, extreme)| *count += u64::from(extreme));
        self.total += 1;
    }

    /// Shares; drawn permutations count the records as they are once more.
    pub(crate) fn finish(&self, exact: bool) -> Permutation {
        let extra = u64::from(!exact);
        let [p_greater, p_less, p_abs] = self.counts.map(|count| (count + extra) as f64 / (self.total + extra) as f64);
        let p = (2.0 * p_greater.min(p_less)).min(1.0);
        Permutation { observed: self.observed, p, p_greater, p_less, p_abs, exact }
    }
}

/// Tests whether `first` and `second` come from one law, by the difference of their means. P-values lie in (0, 1]; a
/// choice that equals the observed one counts as extreme; O(1e7) where exact, else O(draws n).
///
/// # Errors
/// When a sample is empty or holds a NaN or infinity, or when `draws` is below 100.
pub fn permutation_two_sample(
    first: &[f64],
    second: &[f64],
    draws: usize,
    seed: Seed,
) -> Result<Permutation, EvalError> {
    option("draws", "at least 100", draws as f64, draws >= 100)?;
    finite("first", first)?;
    finite("second", second)?;
    let (n1, n2) = (first.len(), second.len());
    let mut pooled = [first, second].concat();
    let total = sum(pooled.iter().copied());
    let difference = |first: f64| first / n1 as f64 - (total - first) / n2 as f64;
    let scale = pooled.iter().map(|value| value.abs()).fold(0.0, f64::max);
    let mut tally = Tally::new(difference(sum(first.iter().copied())), scale);
    let smaller = n1.min(n2);
    let choices: f64 = (1..=smaller).map(|i| (n1.max(n2) + i) as f64 / i as f64).product();
    let exact = choices <= EXACT_CHOICES * (1.0 + 1e-9);
    if exact {
        // All subsets of the size of the smaller sample, in lexicographic order.
        let mut chosen: Vec<usize> = (0..smaller).collect();
        loop {
            let of_chosen = sum(chosen.iter().map(|&index| pooled[index]));
            tally.add(difference(if n1 == smaller { of_chosen } else { total - of_chosen }));
            let Some(place) = (0..smaller).rev().find(|&place| chosen[place] < n1.max(n2) + place) else { break };
            chosen[place] += 1;
            for next in place + 1..smaller {
                chosen[next] = chosen[next - 1] + 1;
            }
        }
    } else {
        let mut stream = seed.stream("permutation", 0);
        for _ in 0..draws {
            shuffle(&mut stream, &mut pooled);
            tally.add(difference(sum(pooled[..n1].iter().copied())));
        }
    }
    Ok(tally.finish(exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (3, 4) against (1, 2): of the six choices one reaches the difference 2, and one -2.
    #[test]
    fn two_against_two() {
        let test = permutation_two_sample(&[3.0, 4.0], &[1.0, 2.0], 100, Seed(0)).unwrap();
        assert_eq!((test.observed, test.p_greater, test.p_less), (2.0, 1.0 / 6.0, 1.0));
        assert_eq!((test.p, test.p_abs, test.exact), (2.0 / 6.0, 2.0 / 6.0, true));
    }

    /// One value against many: as many choices as values, each of one addition, whichever side the one stands on. Of
    /// 100,000 places one is as high as the observed.
    #[test]
    fn one_against_many_is_exact_from_either_side() {
        let many: Vec<f64> = (0..99_999).map(f64::from).collect();
        let test = permutation_two_sample(&[1e6], &many, 100, Seed(0)).unwrap();
        assert!(test.exact && (test.p_greater - 1e-5).abs() < 1e-15 && test.p_less == 1.0, "{test:?}");
        let test = permutation_two_sample(&many, &[1e6], 100, Seed(0)).unwrap();
        assert!(test.exact && (test.p_less - 1e-5).abs() < 1e-15 && test.p_greater == 1.0, "{test:?}");
    }

    #[test]
    fn large_samples_are_drawn() {
        let first: Vec<f64> = (0..40).map(f64::from).collect();
        let test = permutation_two_sample(&first, &first, 200, Seed(0)).unwrap();
        assert!(!test.exact && test.p > 0.5, "{test:?}");
        let far: Vec<f64> = first.iter().map(|value| value + 100.0).collect();
        assert_eq!(permutation_two_sample(&far, &first, 199, Seed(0)).unwrap().p, 0.01);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(permutation_two_sample(&[], &[1.0], 100, Seed(0)), Err(EvalError::Empty { .. })));
        assert!(matches!(permutation_two_sample(&[f64::NAN], &[1.0], 100, Seed(0)), Err(EvalError::NotFinite { .. })));
        assert!(matches!(permutation_two_sample(&[1.0], &[1.0], 9, Seed(0)), Err(EvalError::Range { .. })));
    }
}
