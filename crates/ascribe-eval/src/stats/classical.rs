//! Classical two-sample and paired tests: Student, Welch, Wilcoxon, Mann-Whitney and the sign test. All two-sided.
//!
//! ```text
//! paired t   mean(d)/(sd(d)/sqrt n), n - 1 degrees
//! Welch      (mean a - mean b)/sqrt(va/na + vb/nb), Welch-Satterthwaite degrees
//! Wilcoxon   W = min of the rank sums of |d| over positive and negative d; exact over all 2^n signs
//! U          #{a > b} + #{a = b}/2; exact over all ways to pick the first sample
//! sign       positives among the differences that are not 0, against a fair coin
//! ```
//! Student, 1908; B. L. Welch, Biometrika 34, 1947; F. Wilcoxon, Biometrics Bulletin 1, 1945; H. B. Mann and D. R.
//! Whitney, Ann. Math. Statist. 18, 1947. Tied ranks are mid-ranks, and the exact laws keep them; differences of 0
//! leave the Wilcoxon and sign tests. The exact laws are counted by dynamic programming over doubled ranks, up to 200
//! records; beyond, signs or choices of ranks are drawn, and the result names that.

use ascribe_core::Seed;

use crate::EvalError;
use crate::error::{finite, option, same_length};
use crate::rank::ranks::mid_ranks;
use crate::stats::beta::t_two_sided;
use crate::stats::paired::{half_binomial_tail, sign_flip};
use crate::stats::permutation::permutation_two_sample;
use crate::stats::sum::{mean, variance};

/// A statistic and its two-sided p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// The statistic.
    pub statistic: f64,
    /// Its two-sided p-value.
    pub p: f64,
    /// How the p-value was found, such as `exact Wilcoxon` or `sampled Wilcoxon`.
    pub method: &'static str,
}

/// Most records of an exact rank test: it takes at most some hundred million additions.
const EXACT: usize = 200;

/// Spread below so many times the largest value is what rounding leaves of equal differences.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// Student's paired t-test of `first - second`. P lies in [0, 1]; O(n).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, there are fewer than two records, or the differences have no
/// variance beyond rounding: then no test can say more than that they are all the same.
pub fn paired_t(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    let d = differences(first, second)?;
    let n = d.len() as f64;
    let (spread, largest) =
        (variance(&d).sqrt(), first.iter().chain(second).fold(0.0_f64, |most, x| most.max(x.abs())));
    if n > 1.0 && spread <= ROUNDING * largest {
        let why = "the differences have zero variance: every record differs by the same amount; report that amount";
        return Err(EvalError::Degenerate { what: "the paired t-test", why });
    }
    t_test(mean(&d), spread / n.sqrt(), n - 1.0, "Student's paired t")
}

/// Welch's test of two means, for samples of unequal variance. P lies in [0, 1]; O(n).
///
/// # Errors
/// When a sample holds a NaN or infinity, has fewer than two values, or when neither varies beyond
/// rounding.
pub fn welch_t(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    finite("first", first)?;
    finite("second", second)?;
    let part = |values: &[f64]| variance(values) / values.len() as f64;
    let (a, b) = (part(first), part(second));
    let largest = first.iter().chain(second).fold(0.0_f64, |most, x| most.max(x.abs()));
    if variance(first).max(variance(second)).sqrt() <= ROUNDING * largest {
        let why = "neither sample has variance beyond rounding; report the difference of the two values";
        return Err(EvalError::Degenerate { what: "Welch's test", why });
    }
    let below = |part: f64, values: &[f64]| part * part / (values.len() as f64 - 1.0);
    let freedom = (a + b).powi(2) / (below(a, first) + below(b, second));
    t_test(mean(first) - mean(second), (a + b).sqrt(), freedom, "Welch's t")
}

/// Wilcoxon's signed-rank test: exact up to 200 differences that are not 0, else from `draws` draws of the signs. P
/// lies in (0, 1]; equal sizes share their mean rank; O(n^3) where exact, else O(draws n).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, no difference is left, or `draws` is below 100.
pub fn wilcoxon(first: &[f64], second: &[f64], draws: usize, seed: Seed) -> Result<Test, EvalError> {
    option("draws", "at least 100", draws as f64, draws >= 100)?;
    let d: Vec<f64> = differences(first, second)?.into_iter().filter(|&d| d != 0.0).collect();
    if d.is_empty() {
        return Err(EvalError::Degenerate { what: "the rank test", why: "every difference is 0" });
    }
    let ranks = mid_ranks(&d.iter().map(|d| d.abs()).collect::<Vec<_>>());
    if d.len() > EXACT {
        let signed: Vec<f64> = d.iter().zip(&ranks).map(|(d, rank)| rank.copysign(*d)).collect();
        let sum_of = |sign: f64| signed.iter().map(|rank| (sign * rank).max(0.0)).sum::<f64>();
        let p = sign_flip(&signed, &vec![0.0; signed.len()], draws, seed)?.p;
        return Ok(Test { statistic: sum_of(1.0).min(sum_of(-1.0)), p, method: "sampled Wilcoxon" });
    }
    let doubled = doubled(&ranks);
    let positive: usize = d.iter().zip(&doubled).filter(|&(&d, _)| d > 0.0).map(|(_, &rank)| rank).sum();
    let total: usize = doubled.iter().sum();
    // share[s]: probability that the doubled ranks of the positive differences sum to s.
    let mut share = vec![0.0; total + 1];
    share[0] = 1.0;
    for &rank in &doubled {
        for s in (0..=total).rev() {
            share[s] = 0.5 * (share[s] + if s >= rank { share[s - rank] } else { 0.0 });
        }
    }
    Ok(two_sided(positive.min(total - positive) as f64 / 2.0, positive, &share, "exact Wilcoxon"))
}

/// The Mann-Whitney U test: exact up to 200 values in both samples together or a million ways to choose, else from
/// `draws` draws of the first sample. The statistic counts the pairs that the first sample wins, ties half. P lies in
/// (0, 1]; equal values share their mean rank; O(n^4) where exact, else O(draws n).
///
/// # Errors
/// When a sample is empty or holds a NaN or infinity, or `draws` is below 100.
pub fn mann_whitney(first: &[f64], second: &[f64], draws: usize, seed: Seed) -> Result<Test, EvalError> {
    option("draws", "at least 100", draws as f64, draws >= 100)?;
    finite("first", first)?;
    finite("second", second)?;
    let ranks = mid_ranks(&[first, second].concat());
    let (of_first, of_second) = ranks.split_at(first.len());
    let u = of_first.iter().sum::<f64>() - (first.len() * (first.len() + 1)) as f64 / 2.0;
    if ranks.len() > EXACT {
        let test = permutation_two_sample(of_first, of_second, draws, seed)?;
        let method = if test.exact { "exact Mann-Whitney" } else { "sampled Mann-Whitney" };
        return Ok(Test { statistic: u, p: test.p, method });
    }
    // Both samples say the same; the smaller takes fewer steps.
    let smaller = if of_first.len() <= of_second.len() { of_first } else { of_second };
    let (picks, doubled_all) = (smaller.len(), doubled(&ranks));
    let (observed, total) = (doubled(smaller).iter().sum::<usize>(), doubled_all.iter().sum::<usize>());
    // ways[k][s]: ways to pick k values whose doubled ranks sum to s, scaled at the end.
    let mut ways = vec![vec![0.0; total + 1]; picks + 1];
    ways[0][0] = 1.0;
    for &rank in &doubled_all {
        for k in (1..=picks).rev() {
            let (fewer, rest) = ways.split_at_mut(k);
            let with_rank = &fewer[k - 1][..=total - rank];
            rest[0][rank..].iter_mut().zip(with_rank).for_each(|(ways, more)| *ways += more);
        }
    }
    let all: f64 = ways[picks].iter().sum();
    let share: Vec<f64> = ways[picks].iter().map(|ways| ways / all).collect();
    Ok(two_sided(u, observed, &share, "exact Mann-Whitney"))
}

/// The sign test; the statistic is the number of positive differences. P lies in (0, 1]; differences of 0 are left out;
/// O(n).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, or every difference is 0.
pub fn sign_test(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    let d = differences(first, second)?;
    let (up, down) = (d.iter().filter(|&&d| d > 0.0).count(), d.iter().filter(|&&d| d < 0.0).count());
    if up + down == 0 {
        return Err(EvalError::Degenerate { what: "the sign test", why: "every difference is 0" });
    }
    let p = (2.0 * half_binomial_tail(up.min(down), up + down)).min(1.0);
    Ok(Test { statistic: up as f64, p, method: "exact sign test" })
}

fn differences(first: &[f64], second: &[f64]) -> Result<Vec<f64>, EvalError> {
    same_length("second", first.len(), second.len())?;
    finite("first", first)?;
    finite("second", second)?;
    Ok(first.iter().zip(second).map(|(a, b)| a - b).collect())
}

fn t_test(difference: f64, error: f64, freedom: f64, method: &'static str) -> Result<Test, EvalError> {
    if error > 0.0 && freedom > 0.0 {
        let statistic = difference / error;
        return Ok(Test { statistic, p: t_two_sided(statistic, freedom), method });
    }
    Err(EvalError::Degenerate { what: "the t-test", why: "it needs two values or more that differ" })
}

/// Twice the mid-ranks: whole numbers, for an exact law.
fn doubled(ranks: &[f64]) -> Vec<usize> {
    ranks.iter().map(|rank| (2.0 * rank) as usize).collect()
}

/// Twice the smaller tail of the law `share` at `observed`, at most 1.
fn two_sided(statistic: f64, observed: usize, share: &[f64], method: &'static str) -> Test {
    let (below, above): (f64, f64) = (share[..=observed].iter().sum(), share[observed..].iter().sum());
    Test { statistic, p: (2.0 * below.min(above)).min(1.0), method }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// d = 1, 2, 3: t = 2/(1/sqrt 3) = 3.4641 with two degrees, p = 1 - t/sqrt(t^2 + 2). Ranks 1, 2, 3 all positive:
    /// 2/8.
    #[test]
    fn three_positive_differences() {
        let (first, zeros) = ([1.0, 2.0, 3.0], [0.0; 3]);
        let t = paired_t(&first, &zeros).unwrap();
        assert!((t.p - (1.0 - t.statistic / (t.statistic.powi(2) + 2.0).sqrt())).abs() < 1e-12);
        let test = wilcoxon(&first, &zeros, 100, Seed(0)).unwrap();
        assert_eq!(test, Test { statistic: 0.0, p: 0.25, method: "exact Wilcoxon" });
        let sign = sign_test(&first, &zeros).unwrap();
        assert!(sign.statistic == 3.0 && (sign.p - 0.25).abs() < 1e-15);
    }

    /// (3, 4) against (1, 2): U = 4, one of six choices reaches it. Three values against two have U = 6 or 0, and one
    /// of ten choices.
    #[test]
    fn two_against_two() {
        let test = mann_whitney(&[3.0, 4.0], &[1.0, 2.0], 100, Seed(0)).unwrap();
        assert!(test.statistic == 4.0 && (test.p - 1.0 / 3.0).abs() < 1e-15, "{test:?}");
        let test = mann_whitney(&[3.0, 4.0, 5.0], &[1.0, 2.0], 100, Seed(0)).unwrap();
        assert!(test.statistic == 6.0 && (test.p - 0.2).abs() < 1e-15, "{test:?}");
    }

    /// The normal laws of W and U, with continuity correction: W has mean n(n+1)/4 and variance n(n+1)(2n+1)/24, U mean
    /// n1 n2/2 and variance n1 n2 (n1+n2+1)/12. Both p are near 0.02, where 20,000 draws have a standard error of
    /// 0.0014.
    #[test]
    fn beyond_two_hundred_records_signs_and_choices_are_drawn() {
        let normal = |distance: f64, variance: f64| {
            crate::stats::normal::erfc((distance.abs() - 0.5) / variance.sqrt() / 2.0_f64.sqrt())
        };
        // Sizes 1 to 300; every third is negative up to 200, every other beyond.
        let signed = |size: u32| {
            let every = if size <= 200 { 3 } else { 2 };
            if size.is_multiple_of(every) { -f64::from(size) } else { f64::from(size) }
        };
        let d: Vec<f64> = (1..=300).map(signed).collect();
        let negative: f64 = d.iter().filter(|d| **d < 0.0).map(|d| -d).sum();
        let test = wilcoxon(&d, &[0.0; 300], 20_000, Seed(0)).unwrap();
        let expected = normal(negative - 300.0 * 301.0 / 4.0, 300.0 * 301.0 * 601.0 / 24.0);
        assert_eq!((test.statistic, test.method), (negative, "sampled Wilcoxon"));
        assert!((test.p - expected).abs() < 0.006, "{test:?} {expected}");
        // 110 even numbers, and the same moved up by 21.
        let first: Vec<f64> = (0..110_u32).map(|n| f64::from(2 * n)).collect();
        let second: Vec<f64> = first.iter().map(|n| n + 21.0).collect();
        let won: usize = first.iter().map(|a| second.iter().filter(|b| a > b).count()).sum();
        let test = mann_whitney(&first, &second, 20_000, Seed(0)).unwrap();
        let expected = normal(won as f64 - 110.0 * 110.0 / 2.0, 110.0 * 110.0 * 221.0 / 12.0);
        assert_eq!((test.statistic, test.method), (won as f64, "sampled Mann-Whitney"));
        assert!((test.p - expected).abs() < 0.006, "{test:?} {expected}");
        // One against many has few choices, so all of them are counted.
        let test = mann_whitney(&first[..1], &[&first[..], &second].concat(), 100, Seed(0)).unwrap();
        assert_eq!(test.method, "exact Mann-Whitney");
    }

    /// 0.3 - 0.2 and 0.2 - 0.1 differ in their last bit alone.
    #[test]
    fn differences_that_differ_by_rounding_have_no_variance() {
        let error = paired_t(&[0.3, 0.2, 0.4], &[0.2, 0.1, 0.3]).unwrap_err().to_string();
        assert!(error.contains("zero variance"), "{error}");
        let error = paired_t(&[1.0, 1.0], &[0.0, 0.0]).unwrap_err().to_string();
        assert!(error.contains("zero variance"), "{error}");
        assert!(paired_t(&[1.0 + 1e-9, 1.0], &[0.0, 0.0]).is_ok());
    }

    #[test]
    fn bad_input_is_refused() {
        let wilcoxon = |first: &[f64], draws| wilcoxon(first, &[1.0], draws, Seed(0));
        assert!(matches!(paired_t(&[1.0], &[0.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(welch_t(&[1.0], &[0.0, 2.0]), Err(EvalError::Degenerate { .. })));
        // The mean of three times 0.1 is not 0.1, so the variance is not 0.
        let said = welch_t(&[0.1; 3], &[0.2; 3]).unwrap_err().to_string();
        assert!(said.contains("neither sample has variance beyond rounding"), "{said}");
        assert!(matches!(wilcoxon(&[1.0], 100), Err(EvalError::Degenerate { .. })));
        assert!(matches!(sign_test(&[1.0], &[1.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(mann_whitney(&[], &[1.0], 100, Seed(0)), Err(EvalError::Empty { .. })));
        assert!(matches!(mann_whitney(&[2.0], &[1.0], 99, Seed(0)), Err(EvalError::Range { .. })));
        assert!(matches!(wilcoxon(&[f64::NAN], 100), Err(EvalError::NotFinite { .. })));
        assert!(matches!(wilcoxon(&[2.0], 99), Err(EvalError::Range { .. })));
    }
}
