//! Kullback-Leibler divergence by samples and by sums, and its relatives. All in nats.
//!
//! ```text
//! x ~ q, l = ln q(x) - ln p(x), target KL(q||p):   k1 = l,  k2 = l^2/2,  k3 = e^-l - 1 + l
//! KL = sum q ln(q/p),  JS = (KL(p||m) + KL(q||m))/2 with m = (p+q)/2,  total variation = sum |p - q|/2
//! ```
//! J. Schulman, "Approximating KL Divergence" (2020). k1 and k3 are unbiased, k2 is not; k2 and k3 are never
//! negative. Sums
//! of `l` over the tokens of a sequence give the KL of sequences; a mean over tokens is another number.

use crate::error::{same_length, within};
use crate::stats::sum::sum;
use crate::{Bootstrap, Estimate, EvalError};

/// An estimator from samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KlEstimate {
    /// Unbiased; single terms may be negative.
    K1,
    /// Biased, of low variance near 0.
    K2,
    /// Unbiased where p's mass lies inside q's, never negative.
    K3,
}

/// Beyond, `e^-l` leaves the range of f64.
const LARGEST: f64 = 700.0;

/// KL(q||p) from log-ratios `ln q(x) - ln p(x)` of samples of q; the interval resamples samples. At least 0 for k2 and
/// k3, any number for k1; O(B n).
///
/// # Errors
/// When there is no sample, a ratio is NaN or infinite, or, for [`KlEstimate::K3`], beyond 700 either way.
pub fn kl_estimate(log_ratios: &[f64], kind: KlEstimate, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.mean(&kl_terms(log_ratios, kind)?)
}

/// The terms whose mean is [`kl_estimate`].
pub(crate) fn kl_terms(log_ratios: &[f64], kind: KlEstimate) -> Result<Vec<f64>, EvalError> {
    if kind == KlEstimate::K3 {
        within("the log-ratios", log_ratios, "between -700 and 700 for k3", |l| l.abs() <= LARGEST)?;
    }
    let term = |&l: &f64| match kind {
        KlEstimate::K1 => l,
        KlEstimate::K2 => 0.5 * l * l,
        KlEstimate::K3 => (-l).exp_m1() + l,
    };
    Ok(log_ratios.iter().map(term).collect())
}

/// A distribution: at least 0, summing to 1 within 1e-9.
pub(super) fn distribution(what: &'static str, p: &[f64]) -> Result<(), EvalError> {
    within(what, p, "at least 0", |p| p >= 0.0)?;
    let total = sum(p.iter().copied());
    crate::error::option(what, "a distribution: its sum must be 1 within 1e-9", total, (total - 1.0).abs() <= 1e-9)
}

/// KL(q||p) of two distributions. At least 0; 0 ln 0 is 0; O(n).
///
/// # Errors
/// When one is no distribution, the lengths differ, or q has mass where p has none.
pub fn kl_exact(q: &[f64], p: &[f64]) -> Result<f64, EvalError> {
    distribution("q", q)?;
    same_length("p", q.len(), p.len())?;
    distribution("p", p)?;
    if q.iter().zip(p).any(|(&q, &p)| q > 0.0 && p == 0.0) {
        return Err(EvalError::Degenerate { what: "KL(q||p)", why: "q has mass where p has none: it is infinite" });
    }
    Ok(divergence(q, p))
}

fn divergence(q: &[f64], p: &[f64]) -> f64 {
    sum(q.iter().zip(p).filter(|&(&q, _)| q > 0.0).map(|(q, p)| q * (q / p).ln())).max(0.0)
}

/// The entropy of a distribution. At least 0 and at most ln n; 0 ln 0 is 0; O(n).
///
/// # Errors
/// When it is no distribution.
pub fn entropy(p: &[f64]) -> Result<f64, EvalError> {
    distribution("p", p)?;
    Ok(sum(p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln())))
}

/// The Jensen-Shannon divergence; its square root is a distance. At least 0 and at most ln 2; O(n).
///
/// # Errors
/// When one is no distribution or the lengths differ.
pub fn js_divergence(q: &[f64], p: &[f64]) -> Result<f64, EvalError> {
    distribution("q", q)?;
    same_length("p", q.len(), p.len())?;
    distribution("p", p)?;
    let middle: Vec<f64> = q.iter().zip(p).map(|(q, p)| 0.5 * (q + p)).collect();
    Ok(0.5 * (divergence(q, &middle) + divergence(p, &middle)))
}

/// Half the sum of absolute differences: the largest difference in the chance of any event. In [0, 1]; O(n).
///
/// # Errors
/// As [`js_divergence`].
pub fn total_variation(q: &[f64], p: &[f64]) -> Result<f64, EvalError> {
    distribution("q", q)?;
    same_length("p", q.len(), p.len())?;
    distribution("p", p)?;
    Ok(0.5 * sum(q.iter().zip(p).map(|(q, p)| (q - p).abs())))
}

/// The law of best-of-n and its divergence from the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct BestOfNLaw {
    /// Probability of each outcome.
    pub law: Vec<f64>,
    /// KL from the policy.
    pub kl: f64,
    /// `ln n - (n-1)/n`, which the KL never exceeds.
    pub bound: f64,
}

/// Best of `n` draws from `p` by `rewards`, ties broken evenly among draws: `pi_n(y) = p(y)/p_c (F_c^n - F_{c-}^n)`
/// with `F` the mass of rewards up to the class of y (A. Beirami et al., arXiv:2401.01879). Probabilities in [0, 1],
/// the KL from 0 to `bound`; O(k log k) for k outcomes.
///
/// # Errors
/// When `p` is no distribution, the lengths differ, a reward is NaN or infinite, or `n` is 0.
pub fn best_of_n_law(p: &[f64], rewards: &[f64], n: u32) -> Result<BestOfNLaw, EvalError> {
    crate::error::option("n", "at least 1", f64::from(n), n >= 1)?;
    distribution("p", p)?;
    same_length("rewards", p.len(), rewards.len())?;
    crate::error::finite("rewards", rewards)?;
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| rewards[a].total_cmp(&rewards[b]));
    let (n, mut below, mut law, mut kl) = (f64::from(n), 0.0_f64, vec![0.0; p.len()], Vec::new());
    for class in order.chunk_by(|&a, &b| rewards[a] == rewards[b]) {
        let mass = sum(class.iter().map(|&outcome| p[outcome]));
        if mass == 0.0 {
            continue;
        }
        let at_most = (below + mass).min(1.0);
        // F^n - F_-^n without cancellation.
        let chosen =
            if below == 0.0 { at_most.powf(n) } else { at_most.powf(n) * -(n * (below / at_most).ln()).exp_m1() };
        class.iter().for_each(|&outcome| law[outcome] = p[outcome] / mass * chosen);
        kl.push(if chosen > 0.0 { chosen * (chosen / mass).ln() } else { 0.0 });
        below = at_most;
    }
    Ok(BestOfNLaw { law, kl: sum(kl).max(0.0), bound: n.ln() - (n - 1.0) / n })
}

/// The estimate of the KL of best-of-n from `masses`, the mass under the policy of the class of each selected output;
/// the interval resamples prompts (arXiv:2401.01879). At least 0; O(B n).
///
/// # Errors
/// When there is no mass, one is not in (0, 1], or `n` is 0.
pub fn best_of_n_kl(masses: &[f64], n: u32, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    crate::error::option("n", "at least 1", f64::from(n), n >= 1)?;
    within("masses", masses, "above 0 and at most 1", |mass| 0.0 < mass && mass <= 1.0)?;
    let n = f64::from(n);
    let term = |&eps: &f64| {
        // The chance that none of n draws is of the class, and that one is: 1 less the other would be 0 for the mass of a text.
        let log_none = n * (-eps).ln_1p();
        let (none, some) = (log_none.exp(), -log_none.exp_m1());
        let never = if none > 0.0 { none * (n.ln() + (n - 1.0) * (-eps).ln_1p() - (n - 1.0) / n) } else { 0.0 };
        never + some * (some / eps).ln()
    };
    bootstrap.mean(&masses.iter().map(term).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Moments of the estimators by exact sums over three outcomes.
    #[test]
    fn three_outcomes() {
        let (q, p) = ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2]);
        assert!((kl_exact(&q, &p).unwrap() - 0.025_267_153_9).abs() < 1e-9);
        let ratios: Vec<f64> = q.iter().zip(p).map(|(q, p)| (q / p).ln()).collect();
        let terms = |kind| {
            let one = |ratio: &f64| kl_estimate(&[*ratio], kind, &Bootstrap::NONE).unwrap().value;
            ratios.iter().map(one).collect::<Vec<_>>()
        };
        let expect = |values: &[f64]| q.iter().zip(values).map(|(q, value)| q * value).sum::<f64>();
        let variance = |values: &[f64]| {
            let centre = expect(values);
            expect(&values.iter().map(|value| (value - centre).powi(2)).collect::<Vec<_>>())
        };
        let (k1, k2, k3) = (terms(KlEstimate::K1), terms(KlEstimate::K2), terms(KlEstimate::K3));
        for (got, expected) in [
            (expect(&k1), 0.025_267_153_9),
            (expect(&k2), 0.024_862_407_3),
            (expect(&k3), 0.025_267_153_9),
            (variance(&k1), 0.049_086_385_6),
            (variance(&k3), 0.000_254_594_2),
        ] {
            assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        }
    }

    #[test]
    fn best_of_four() {
        let p = [0.5, 0.3, 0.2];
        let best = best_of_n_law(&p, &[0.0, 1.0, 2.0], 4).unwrap();
        for (got, expected) in best.law.iter().zip([0.0625, 0.3471, 0.5904]) {
            assert!((got - expected).abs() < 1e-12, "{best:?}");
        }
        assert!((best.kl - 0.559_750_560_4).abs() < 1e-9 && (best.bound - 0.636_294_361_1).abs() < 1e-9);
        let tied = best_of_n_law(&p, &[0.0, 1.0, 1.0], 4).unwrap();
        for (got, expected) in tied.law.iter().zip([0.0625, 0.5625, 0.375]) {
            assert!((got - expected).abs() < 1e-12, "{tied:?}");
        }
        assert!((tied.kl - 0.459_355_521_9).abs() < 1e-9);
        // The mean of the estimator over what best-of-4 selects.
        let of = |eps: f64| best_of_n_kl(&[eps], 4, &Bootstrap::NONE).unwrap().value;
        let mean: f64 = best.law.iter().zip(p).map(|(chance, eps)| chance * of(eps)).sum();
        assert!((mean - 0.609_499_729_7).abs() < 1e-9);
        assert_eq!(of(1.0), 0.0);
        // A text of little mass: the limit is ln 4 - 3/4, which the next term 4 eps ln 4 does not reach.
        for eps in [1e-14, 1e-17, 1e-40, 1e-300] {
            assert!((of(eps) - (4_f64.ln() - 0.75)).abs() < 1e-12, "{eps}: {}", of(eps));
        }
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(kl_exact(&[0.5, 0.5], &[1.0, 0.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(kl_exact(&[0.5, 0.4], &[0.5, 0.5]), Err(EvalError::Range { name: "q", .. })));
        assert!(matches!(kl_exact(&[1.0], &[0.5, 0.5]), Err(EvalError::Length { .. })));
        assert!(matches!(entropy(&[]), Err(EvalError::Empty { .. })));
        assert!(kl_estimate(&[800.0], KlEstimate::K3, &Bootstrap::NONE).is_err());
        assert!(kl_estimate(&[f64::NAN], KlEstimate::K1, &Bootstrap::NONE).is_err());
        assert!(best_of_n_law(&[1.0], &[0.0], 0).is_err() && best_of_n_kl(&[0.0], 2, &Bootstrap::NONE).is_err());
    }

    proptest! {
        #[test]
        fn best_of_n_is_a_law_within_its_bound(
            rows in prop::collection::vec((0.01..1.0_f64, 0_u8..4), 1..8), n in 1_u32..30,
        ) {
            let total: f64 = rows.iter().map(|row| row.0).sum();
            let p: Vec<f64> = rows.iter().map(|row| row.0 / total).collect();
            let rewards: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
            let best = best_of_n_law(&p, &rewards, n).unwrap();
            prop_assert!((best.law.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(best.kl <= best.bound + 1e-9 && (n > 1 || best.kl < 1e-12));
            prop_assert!((best.kl - divergence(&best.law, &p)).abs() < 1e-9);
            prop_assert!(best_of_n_kl(&[p[0]], n, &Bootstrap::NONE).unwrap().value <= best.bound + 1e-9);
            // One draw more leads no nearer to the policy.
            prop_assert!(best_of_n_law(&p, &rewards, n + 1).unwrap().kl >= best.kl - 1e-9);
        }
    }
}
