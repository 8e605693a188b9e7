//! pass@k and pass^k from `n` samples a problem, `c` of them correct (M. Chen et al., arXiv:2107.03374, eq. 1).
//!
//! ```text
//! pass@k = 1 - C(n-c, k)/C(n, k) = 1 - prod_{i = n-c+1..n} (1 - k/i)     at least one of k samples is correct
//! pass^k = C(c, k)/C(n, k)                                               all k samples are correct
//! ```
//! Both are unbiased for independent samples. The product is symmetric in `c` and `k`, so the shorter one is taken,
//! as a
//! sum of `ln(1 - x)`, which neither overflows nor loses small values.

use crate::{Bootstrap, Estimate, EvalError};

/// How often one problem was tried, and how often it was solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Number of samples.
    pub samples: usize,
    /// Number of correct samples, at most `samples`.
    pub correct: usize,
}

/// Probability that at least one of `k` samples is correct, when `c` of `n` were. In [0, 1]; O(c).
///
/// # Errors
/// Unless `1 <= k <= n` and `c <= n`.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> Result<f64, EvalError> {
    check(n, c, k)?;
    if n - c < k {
        return Ok(1.0);
    }
    let (factors, share) = (c.min(k), c.max(k) as f64);
    let log_none: f64 = (n - factors + 1..=n).map(|i| (-share / i as f64).ln_1p()).sum();
    Ok(-log_none.exp_m1())
}

/// Probability that all of `k` samples are correct, when `c` of `n` were. In [0, 1]; O(k).
///
/// # Errors
/// Unless `1 <= k <= n` and `c <= n`.
pub fn pass_hat_k(n: usize, c: usize, k: usize) -> Result<f64, EvalError> {
    check(n, c, k)?;
    if c < k {
        return Ok(0.0);
    }
    let log_all: f64 = (0..k).map(|j| (-((n - c) as f64) / (n - j) as f64).ln_1p()).sum();
    Ok(log_all.exp())
}

/// The mean of pass@k over problems, each with as many samples as it has; the interval resamples problems. In [0, 1];
/// O(samples + B n).
///
/// # Errors
/// When there is no problem, when one has fewer than `k` samples, or when a setting of the bootstrap is out of range.
pub fn mean_pass_at_k(problems: &[Attempts], k: usize, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    over_problems(problems, k, bootstrap, pass_at_k)
}

/// The mean of pass^k over problems, as [`mean_pass_at_k`]. In [0, 1]; O(samples + B n).
///
/// # Errors
/// As [`mean_pass_at_k`].
pub fn mean_pass_hat_k(problems: &[Attempts], k: usize, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    over_problems(problems, k, bootstrap, pass_hat_k)
}

fn over_problems(
    problems: &[Attempts],
    k: usize,
    bootstrap: &Bootstrap,
    one: impl Fn(usize, usize, usize) -> Result<f64, EvalError>,
) -> Result<Estimate, EvalError> {
    let values: Result<Vec<f64>, _> = problems.iter().map(|problem| one(problem.samples, problem.correct, k)).collect();
    bootstrap.mean(&values?)
}

fn check(n: usize, c: usize, k: usize) -> Result<(), EvalError> {
    if !(1..=n).contains(&k) {
        return Err(EvalError::Range {
            name: "k",
            rule: "at least 1 and at most the samples of a problem",
            got: k as f64,
        });
    }
    if c > n {
        return Err(EvalError::Range { name: "correct", rule: "at most the samples of the problem", got: c as f64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// C(7,5)/C(10,5) = 21/252, so pass@5 is 11/12; C(3,2)/C(10,2) = 3/45.
    #[test]
    fn three_of_ten_by_hand() {
        assert!((pass_at_k(10, 3, 5).unwrap() - 11.0 / 12.0).abs() < 1e-15);
        assert!((pass_hat_k(10, 3, 2).unwrap() - 1.0 / 15.0).abs() < 1e-15);
    }

    #[test]
    fn a_million_samples_neither_overflow_nor_vanish() {
        assert!((pass_at_k(1_000_000, 1, 1).unwrap() / 1e-6 - 1.0).abs() < 1e-12);
        assert!((pass_at_k(1_000_000, 1, 500_000).unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_mean_over_problems_counts_problems() {
        let problems = [Attempts { samples: 4, correct: 1 }, Attempts { samples: 8, correct: 6 }];
        let estimate = mean_pass_at_k(&problems, 1, &Bootstrap::default()).unwrap();
        assert_eq!((estimate.value, estimate.n), (0.5, 2));
        assert_eq!(mean_pass_hat_k(&problems, 1, &Bootstrap::default()).unwrap().value, 0.5);
        assert!(matches!(mean_pass_at_k(&[], 1, &Bootstrap::default()), Err(EvalError::Empty { .. })));
        assert!(matches!(mean_pass_at_k(&problems, 5, &Bootstrap::default()), Err(EvalError::Range { .. })));
    }

    #[test]
    fn bad_counts_are_refused() {
        for (n, c, k) in [(10, 3, 0), (10, 3, 11), (10, 11, 1), (0, 0, 1)] {
            assert!(pass_at_k(n, c, k).is_err() && pass_hat_k(n, c, k).is_err(), "{n} {c} {k}");
        }
    }

    proptest! {
        #[test]
        fn pass_at_k_grows_with_k(n in 2_usize..300, part in 0_usize..300, k in 1_usize..300) {
            let (c, k) = (part.min(n), k.min(n - 1));
            let (now, next) = (pass_at_k(n, c, k).unwrap(), pass_at_k(n, c, k + 1).unwrap());
            prop_assert!((0.0..=1.0).contains(&now) && now <= next + 1e-12);
            prop_assert!(pass_hat_k(n, c, k).unwrap() + 1e-12 >= pass_hat_k(n, c, k + 1).unwrap());
        }

        #[test]
        fn pass_at_one_is_the_share_of_correct_samples(n in 1_usize..300, part in 0_usize..300) {
            let c = part.min(n);
            prop_assert!((pass_at_k(n, c, 1).unwrap() - c as f64 / n as f64).abs() < 1e-12);
        }

        #[test]
        fn all_k_correct_is_none_of_k_wrong(n in 1_usize..300, part in 0_usize..300, k in 1_usize..300) {
            let (c, k) = (part.min(n), k.min(n));
            let all_right = pass_hat_k(n, c, k).unwrap();
            let any_wrong = pass_at_k(n, n - c, k).unwrap();
            prop_assert!((all_right + any_wrong - 1.0).abs() < 1e-12);
        }
    }
}
