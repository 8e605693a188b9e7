//! Classical two-sample and paired tests: Student, Welch, Wilcoxon, Mann-Whitney and the sign test. All two-sided.
//!
//! ```text
//! paired t   mean(d)/(sd(d)/sqrt n), n - 1 degrees
//! Welch      (mean a - mean b)/sqrt(va/na + vb/nb), Welch-Satterthwaite degrees
//! Wilcoxon   W = min of the rank sums of |d| over positive and negative d; exact over all 2^n signs
//! U          #{a > b} + #{a = b}/2; exact over all ways to pick the first sample
//! sign       positives among the differences that are not 0, against a fair coin
//! ```
//! Student, 1908; B. L. Welch, Biometrika 34, 1947; F. Wilcoxon, Biometrics Bulletin 1, 1945; H. B. Mann and
//! D. R. Whitney, Ann. Math. Statist. 18, 1947. Tied ranks are mid-ranks, and the exact laws keep them; differences
//! of 0
//! leave the Wilcoxon and sign tests. The exact laws are counted by dynamic programming over doubled ranks.

use crate::EvalError;
use crate::error::{finite, same_length};
use crate::rank::ranks::mid_ranks;
use crate::stats::beta::t_two_sided;
use crate::stats::paired::half_binomial_tail;
use crate::stats::sum::{mean, variance};

/// A statistic and its two-sided p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// The statistic.
    pub statistic: f64,
    /// Its two-sided p-value.
    pub p: f64,
}

/// Most records of an exact rank test; beyond, use [`sign_flip`](crate::sign_flip) or
/// [`permutation_two_sample`](crate::stats::permutation_two_sample).
const EXACT: usize = 200;

/// Student's paired t-test of `first - second`.
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, or the differences do not vary (two at least are needed).
pub fn paired_t(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    let d = differences(first, second)?;
    let n = d.len() as f64;
    t_test(mean(&d), (variance(&d) / n).sqrt(), n - 1.0)
}

/// Welch's test of two means, for samples of unequal variance.
///
/// # Errors
/// When a sample holds a NaN or infinity, has fewer than two values, or when neither varies.
pub fn welch_t(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    finite("first", first)?;
    finite("second", second)?;
    let part = |values: &[f64]| variance(values) / values.len() as f64;
    let (a, b) = (part(first), part(second));
    let below = |part: f64, values: &[f64]| part * part / (values.len() as f64 - 1.0);
    let freedom = (a + b).powi(2) / (below(a, first) + below(b, second));
    t_test(mean(first) - mean(second), (a + b).sqrt(), freedom)
}

/// Wilcoxon's signed-rank test, exact.
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, no difference is left, or more than 200 are.
pub fn wilcoxon(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    let d: Vec<f64> = differences(first, second)?.into_iter().filter(|&d| d != 0.0).collect();
    let sizes: Vec<f64> = d.iter().map(|d| d.abs()).collect();
    let doubled = exact_ranks(&sizes)?;
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
    Ok(two_sided(positive.min(total - positive) as f64 / 2.0, positive, &share))
}

/// The Mann-Whitney U test, exact; the statistic counts the pairs that the first sample wins, ties half.
///
/// # Errors
/// When a sample is empty or holds a NaN or infinity, or when both hold more than 200 values together.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    finite("first", first)?;
    finite("second", second)?;
    let doubled = exact_ranks(&[first, second].concat())?;
    let (n1, total) = (first.len(), doubled.iter().sum::<usize>());
    let observed: usize = doubled[..n1].iter().sum();
    // share[k][s]: ways to pick k values whose doubled ranks sum to s, scaled at the end.
    let mut ways = vec![vec![0.0; total + 1]; n1 + 1];
    ways[0][0] = 1.0;
    for &rank in &doubled {
        for k in (1..=n1).rev() {
            let (fewer, rest) = ways.split_at_mut(k);
            for s in (rank..=total).rev() {
                rest[0][s] += fewer[k - 1][s - rank];
            }
        }
    }
    let all: f64 = ways[n1].iter().sum();
    let share: Vec<f64> = ways[n1].iter().map(|ways| ways / all).collect();
    let u = observed as f64 / 2.0 - (n1 * (n1 + 1)) as f64 / 2.0;
    Ok(two_sided(u, observed, &share))
}

/// The sign test; the statistic is the number of positive differences.
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, or every difference is 0.
pub fn sign_test(first: &[f64], second: &[f64]) -> Result<Test, EvalError> {
    let d = differences(first, second)?;
    let (up, down) = (d.iter().filter(|&&d| d > 0.0).count(), d.iter().filter(|&&d| d < 0.0).count());
    if up + down == 0 {
        return Err(EvalError::Degenerate { what: "the sign test", why: "every difference is 0" });
    }
    Ok(Test { statistic: up as f64, p: (2.0 * half_binomial_tail(up.min(down), up + down)).min(1.0) })
}

fn differences(first: &[f64], second: &[f64]) -> Result<Vec<f64>, EvalError> {
    same_length("second", first.len(), second.len())?;
    finite("first", first)?;
    finite("second", second)?;
    Ok(first.iter().zip(second).map(|(a, b)| a - b).collect())
}

fn t_test(difference: f64, error: f64, freedom: f64) -> Result<Test, EvalError> {
    if error > 0.0 && freedom > 0.0 {
        let statistic = difference / error;
        return Ok(Test { statistic, p: t_two_sided(statistic, freedom) });
    }
    Err(EvalError::Degenerate { what: "the t-test", why: "it needs two values or more that differ" })
}

/// Twice the mid-ranks, whole numbers, for an exact law.
fn exact_ranks(values: &[f64]) -> Result<Vec<usize>, EvalError> {
    if values.is_empty() {
        return Err(EvalError::Degenerate { what: "the rank test", why: "every difference is 0" });
    }
    if values.len() > EXACT {
        let got = values.len() as f64;
        return Err(EvalError::Range { name: "records of an exact rank test", rule: "at most 200", got });
    }
    Ok(mid_ranks(values).into_iter().map(|rank| (2.0 * rank) as usize).collect())
}

/// Twice the smaller tail of the law `share` at `observed`, at most 1.
fn two_sided(statistic: f64, observed: usize, share: &[f64]) -> Test {
    let (below, above): (f64, f64) = (share[..=observed].iter().sum(), share[observed..].iter().sum());
    Test { statistic, p: (2.0 * below.min(above)).min(1.0) }
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
        assert_eq!(wilcoxon(&first, &zeros).unwrap(), Test { statistic: 0.0, p: 0.25 });
        assert_eq!(sign_test(&first, &zeros).unwrap(), Test { statistic: 3.0, p: 0.25 });
    }

    /// (3, 4) against (1, 2): U = 4, one of six choices reaches it.
    #[test]
    fn two_against_two() {
        let test = mann_whitney(&[3.0, 4.0], &[1.0, 2.0]).unwrap();
        assert!(test.statistic == 4.0 && (test.p - 1.0 / 3.0).abs() < 1e-15, "{test:?}");
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(paired_t(&[1.0, 1.0], &[0.0, 0.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(welch_t(&[1.0], &[0.0, 2.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(wilcoxon(&[1.0], &[1.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(sign_test(&[1.0], &[1.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(mann_whitney(&[], &[1.0]), Err(EvalError::Empty { .. })));
        assert!(matches!(wilcoxon(&[f64::NAN], &[1.0]), Err(EvalError::NotFinite { .. })));
    }
}
