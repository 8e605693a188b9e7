//! Two systems on the same records: McNemar's test, the sign-flip permutation test, and one summary of both outcomes.
//!
//! ```text
//! b = records that only the first gets right, c = only the second
//! exact      p = min(1, 2 P(X <= min(b, c))),  X ~ Binomial(b + c, 1/2)
//! chi2       (b - c)^2/(b + c),  corrected (|b - c| - 1)^2/(b + c),  one degree of freedom
//! sign flip  the share of sign vectors s with sum s_i d_i at least (at most) sum d_i;  p = min(1, 2 min of the two)
//! ```
//! Q. McNemar, Psychometrika 12, 1947; R. A. Fisher, "The Design of Experiments", 1935, section 21.

use std::fmt::{Display, Formatter, Result as FmtResult};

use ascribe_core::Seed;
use rand::Rng;
use serde::Serialize;

use crate::error::{finite, not_empty, same_length};
use crate::stats::normal;
use crate::{Bootstrap, Estimate, EvalError};

/// A paired comparison of two systems by right and wrong answers.
///
/// Printed as `+0.042 [+0.011, +0.073] (n = 500), 61 wins, 40 losses, 399 ties, p = 0.0456`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Accuracy of the first minus accuracy of the second, with its paired bootstrap interval.
    pub difference: Estimate,
    /// Records that only the first gets right.
    pub wins: usize,
    /// Records that only the second gets right.
    pub losses: usize,
    /// Records that both get right or both get wrong.
    pub ties: usize,
    /// McNemar's exact two-sided p-value.
    pub p: f64,
}

impl Display for Paired {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FmtResult {
        let Self { difference, wins, losses, ties, p } = self;
        write!(formatter, "{difference:+}, {wins} wins, {losses} losses, {ties} ties, p = {p:.4}")
    }
}

/// Compares two systems on the same records, entry by entry. The difference lies in [-1, 1], p in [0, 1]; records on
/// which both are right or both wrong are ties and leave the test; O(B n).
///
/// # Errors
/// When the lengths differ, when there is no record, or when a setting of the bootstrap is out of range.
pub fn compare(first: &[bool], second: &[bool], bootstrap: &Bootstrap) -> Result<Paired, EvalError> {
    let test = McNemar::new(first, second)?;
    let score = |correct: &[bool]| correct.iter().map(|&right| f64::from(u8::from(right))).collect::<Vec<_>>();
    let difference = bootstrap.paired_difference(&score(first), &score(second))?;
    let (wins, losses) = (test.only_first, test.only_second);
    Ok(Paired { difference, wins, losses, ties: first.len() - wins - losses, p: test.exact() })
}

/// McNemar's test: do two systems differ on the records where exactly one of them is right?
///
/// Without such a record every p-value is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McNemar {
    /// Records that only the first gets right.
    pub only_first: usize,
    /// Records that only the second gets right.
    pub only_second: usize,
}

impl McNemar {
    /// Counts the discordant records. O(n).
    ///
    /// # Errors
    /// When the lengths differ.
    pub fn new(first: &[bool], second: &[bool]) -> Result<Self, EvalError> {
        same_length("second", first.len(), second.len())?;
        not_empty("the pairs", first)?;
        let count = |of: bool| first.iter().zip(second).filter(|&(&a, &b)| a != b && a == of).count();
        Ok(Self { only_first: count(true), only_second: count(false) })
    }

    /// The exact two-sided p-value. In (0, 1]; O(discordant records).
    pub fn exact(&self) -> f64 {
        let (smaller, n) = (self.only_first.min(self.only_second), self.only_first + self.only_second);
        (2.0 * half_binomial_tail(smaller, n)).min(1.0)
    }

    /// The two-sided mid-p value, which counts half of the observed table: less conservative than the exact one. In
    /// (0, 1]; O(discordant records).
    pub fn mid_p(&self) -> f64 {
        let (smaller, n) = (self.only_first.min(self.only_second), self.only_first + self.only_second);
        let below = if smaller == 0 { 0.0 } else { half_binomial_tail(smaller - 1, n) };
        (half_binomial_tail(smaller, n) + below).min(1.0)
    }

    /// The chi-square statistic and its p-value; good from about 25 discordant records on. The statistic is at least 0,
    /// p in [0, 1]; O(1).
    pub fn chi2(&self) -> (f64, f64) {
        self.chi2_less(0.0)
    }

    /// The chi-square statistic with Edwards' continuity correction, and its p-value. As [`chi2`](Self::chi2).
    pub fn chi2_corrected(&self) -> (f64, f64) {
        self.chi2_less(1.0)
    }

    fn chi2_less(&self, correction: f64) -> (f64, f64) {
        let n = (self.only_first + self.only_second) as f64;
        if n == 0.0 {
            return (0.0, 1.0);
        }
        let statistic = (self.only_first.abs_diff(self.only_second) as f64 - correction).powi(2) / n;
        (statistic, normal::erfc((statistic / 2.0).sqrt()))
    }
}

/// `P(X <= m)` for `X ~ Binomial(n, 1/2)`: the term at `m`, in logarithms, times the sum of the ratios of the terms
/// below.
pub(crate) fn half_binomial_tail(m: usize, n: usize) -> f64 {
    let log_term: f64 = (1..=m).map(|j| ((n - m + j) as f64 / j as f64).ln()).sum::<f64>() - n as f64 * 2_f64.ln();
    let (mut ratio, mut sum) = (1.0, 1.0);
    for i in (1..=m).rev() {
        ratio *= i as f64 / (n - i + 1) as f64;
        sum += ratio;
    }
    log_term.exp() * sum
}

/// The sign-flip permutation test of a mean difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SignFlip {
    /// The mean difference, first minus second.
    pub difference: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// One-sided p-value of "the first is better".
    pub p_greater: f64,
    /// One-sided p-value of "the second is better".
    pub p_less: f64,
    /// Whether all sign vectors were counted, as they are up to 20 records; beyond that they are drawn.
    pub exact: bool,
}

/// Up to this many records all sign vectors are counted.
const EXACT_RECORDS: usize = 20;

/// Tests whether the mean of `first - second` differs from 0 when the two systems are exchangeable on each record.
///
/// Above 20 records it draws `draws` sign vectors and returns `(1 + extreme)/(1 + draws)` for each side. P-values lie
/// in (0, 1]; a sum that equals the observed one counts as extreme; O(2^n) up to 20 records, then O(draws n).
///
/// # Errors
/// When the lengths differ, when there is no record, when a score is NaN or infinite, or when `draws` is below 100.
pub fn sign_flip(first: &[f64], second: &[f64], draws: usize, seed: Seed) -> Result<SignFlip, EvalError> {
    same_length("second", first.len(), second.len())?;
    finite("first", first)?;
    finite("second", second)?;
    if draws < 100 {
        return Err(EvalError::Range { name: "draws", rule: "at least 100", got: draws as f64 });
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let observed: f64 = differences.iter().sum();
    // Sums that are equal but for rounding count as extreme.
    let slack = 1e-12 * differences.iter().map(|difference| difference.abs()).sum::<f64>();
    let (mut greater, mut less) = (0_u64, 0_u64);
    let mut count = |sum: f64| {
        greater += u64::from(sum >= observed - slack);
        less += u64::from(sum <= observed + slack);
    };
    let exact = differences.len() <= EXACT_RECORDS;
    let (extra, total) = if exact {
        every_flip(&differences, 0.0, &mut count);
        (0.0, (1_u64 << differences.len()) as f64)
    } else {
        let mut stream = seed.stream("sign-flip", 0);
        for _ in 0..draws {
            count(random_flip(&differences, &mut stream));
        }
        (1.0, 1.0 + draws as f64)
    };
    let (p_greater, p_less) = ((greater as f64 + extra) / total, (less as f64 + extra) / total);
    let p = (2.0 * p_greater.min(p_less)).min(1.0);
    Ok(SignFlip { difference: observed / differences.len() as f64, p, p_greater, p_less, exact })
}

fn every_flip(differences: &[f64], sum: f64, count: &mut impl FnMut(f64)) {
    match differences {
        [] => count(sum),
        [first, rest @ ..] => {
            every_flip(rest, sum + first, count);
            every_flip(rest, sum - first, count);
        }
    }
}

fn random_flip(differences: &[f64], stream: &mut impl Rng) -> f64 {
    let signed =
        |(bit, difference): (usize, &f64), bits: u64| if bits >> bit & 1 == 1 { *difference } else { -difference };
    let block = |block: &[f64]| {
        let bits = stream.next_u64();
        block.iter().enumerate().map(|entry| signed(entry, bits)).sum::<f64>()
    };
    differences.chunks(64).map(block).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of 2^8 sign vectors 12 reach the sum 1.8 and 12 reach -1.8, so p = 24/256.
    #[test]
    fn eight_sign_flips_by_enumeration() {
        let scores = [0.3, -0.1, 0.4, 0.2, 0.5, -0.2, 0.1, 0.3];
        let test = sign_flip(&scores, &[0.0; 8], 100, Seed(0)).unwrap();
        assert_eq!((test.p, test.p_greater, test.exact), (24.0 / 256.0, 12.0 / 256.0, true));
    }

    /// For n equal differences every draw has all signs alike with probability 2^(1-n), so only the identity is
    /// extreme.
    #[test]
    fn many_equal_differences_leave_the_smallest_p() {
        let test = sign_flip(&[1.0; 40], &[0.0; 40], 999, Seed(0)).unwrap();
        assert!(!test.exact);
        assert!((test.p - 0.002).abs() < 1e-15 && test.p_less == 1.0, "{test:?}");
    }

    /// The 6B-verification and 175B-finetuning systems of GSM8K; p in exact fractions.
    #[test]
    fn mcnemar_on_gsm8k() {
        let test = McNemar { only_first: 209, only_second: 152 };
        assert!((test.exact() - 0.003_150_656_9).abs() < 1e-9, "{}", test.exact());
    }

    /// 9 against 3, with statsmodels 0.15.0.
    #[test]
    fn mcnemar_of_nine_and_three() {
        let test = McNemar { only_first: 9, only_second: 3 };
        let got = [test.exact(), test.mid_p(), test.chi2_corrected().1, test.chi2().1];
        for (got, expected) in got.iter().zip([0.145_996_093_8, 0.092_285_156_3, 0.148_914_673_2, 0.083_264_516_7]) {
            assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        }
    }

    #[test]
    fn systems_that_never_differ_have_p_one() {
        let test = McNemar::new(&[true, false], &[true, false]).unwrap();
        assert_eq!((test.exact(), test.chi2(), test.chi2_corrected()), (1.0, (0.0, 1.0), (0.0, 1.0)));
    }

    #[test]
    fn a_large_table_does_not_underflow() {
        let p = McNemar { only_first: 5000, only_second: 5000 }.exact();
        assert!((p - 1.0).abs() < 1e-12, "{p}");
        let p = McNemar { only_first: 5200, only_second: 4800 }.exact();
        // The normal approximation with continuity correction: z = 399/100.
        assert!((p / normal::erfc(3.99 / 2_f64.sqrt()) - 1.0).abs() < 0.01, "{p}");
    }

    /// 3 wins and 1 loss of 8: exact p = 2 * (1 + 4)/16.
    #[test]
    fn a_comparison_prints_what_a_report_needs() {
        let first = [true, true, true, false, true, true, false, false];
        let second = [false, false, false, true, true, true, false, false];
        let paired = compare(&first, &second, &Bootstrap::default()).unwrap();
        assert_eq!((paired.wins, paired.losses, paired.ties, paired.p), (3, 1, 4, 0.625));
        assert_eq!(paired.difference.value, 0.25);
        let text = paired.to_string();
        assert!(
            text.starts_with("+0.250 [-0.") && text.ends_with("(n = 8), 3 wins, 1 losses, 4 ties, p = 0.6250"),
            "{text}"
        );
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(compare(&[true], &[], &Bootstrap::default()), Err(EvalError::Length { .. })));
        assert!(matches!(compare(&[], &[], &Bootstrap::default()), Err(EvalError::Empty { .. })));
        assert!(matches!(sign_flip(&[f64::NAN], &[0.0], 100, Seed(0)), Err(EvalError::NotFinite { .. })));
        assert!(matches!(sign_flip(&[1.0], &[0.0], 0, Seed(0)), Err(EvalError::Range { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn swapping_systems_keeps_p(pairs in prop::collection::vec((any::<bool>(), any::<bool>()), 1..60)) {
            let (first, second): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
            let (one, other) = (compare(&first, &second, &bootstrap).unwrap(), compare(&second, &first, &bootstrap).unwrap());
            prop_assert_eq!(one.p, other.p);
            prop_assert_eq!((one.wins, one.losses, one.ties), (other.losses, other.wins, other.ties));
            prop_assert_eq!(one.difference.value, -other.difference.value);
            prop_assert!((0.0..=1.0).contains(&one.p));
        }

        #[test]
        fn sign_flip_sides_mirror(differences in prop::collection::vec(-1.0..1.0_f64, 1..12)) {
            let zeros = vec![0.0; differences.len()];
            let one = sign_flip(&differences, &zeros, 100, Seed(0)).unwrap();
            let other = sign_flip(&zeros, &differences, 100, Seed(0)).unwrap();
            prop_assert_eq!((one.p, one.p_greater, one.p_less), (other.p, other.p_less, other.p_greater));
        }
    }
}
