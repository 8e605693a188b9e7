//! The standard normal distribution, to about fourteen digits.
//!
//! ```text
//! erf(x)  = 2/sqrt(pi) e^(-x^2) sum_k 2^k x^(2k+1) / (2k+1)!!          below 2: all terms positive
//! erfc(x) = e^(-x^2)/sqrt(pi) * 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ..   from 2 on: continued fraction
//! ```
//! The quantile starts from Acklam's rational approximation (relative error 1.15e-9) and takes one Halley step.

use std::f64::consts::{PI, SQRT_2};

/// `1 - erf(x)`, without cancellation for large `x`.
pub(crate) fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let density = (-x * x).exp() / PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum, mut k) = (x, x, 1.0);
        while term > sum * 1e-17 {
            term *= 2.0 * x * x / (2.0 * k + 1.0);
            sum += term;
            k += 1.0;
        }
        return 1.0 - 2.0 * density * sum;
    }
    let fraction = (1..=100).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
    density / fraction
}

/// Probability that a standard normal variable is at most `x`.
pub(crate) fn cdf(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// The `x` with `cdf(x) = p`; -inf at 0 and inf at 1.
pub(crate) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    let x = acklam(p);
    let u = (cdf(x) - p) * (2.0 * PI).sqrt() * (0.5 * x * x).exp();
    x - u / (1.0 + 0.5 * x * u)
}

/// P. J. Acklam, "An algorithm for computing the inverse normal cumulative distribution function" (2003), lower half.
fn acklam(p: f64) -> f64 {
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(
            &[
                -7.784894002430293e-03,
                -3.223964580411365e-01,
                -2.400758277161838,
                -2.549732539343734,
                4.374664141464968,
                2.938163982698783,
            ],
            q,
        ) / polynomial(
            &[7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996, 3.754408661907416, 1.0],
            q,
        );
    }
    let q = p - 0.5;
    let r = q * q;
    q * polynomial(
        &[
            -3.969683028665376e+01,
            2.209460984245205e+02,
            -2.759285104469687e+02,
            1.38357751867269e+02,
            -3.066479806614716e+01,
            2.506628277459239,
        ],
        r,
    ) / polynomial(
        &[
            -5.447609879822406e+01,
            1.615858368580409e+02,
            -1.556989798598866e+02,
            6.680131188771972e+01,
            -1.328068155288572e+01,
            1.0,
        ],
        r,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `math.erfc` and `statistics.NormalDist().inv_cdf` of Python 3.11.7.
    #[test]
    fn table_values() {
        let erfc_table = [
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 4.677_734_981_047_266e-3),
            (3.0, 2.209_049_699_858_544e-5),
            (5.0, 1.537_459_794_428_035e-12),
        ];
        for (x, expected) in erfc_table {
            assert!((erfc(x) / expected - 1.0).abs() < 1e-13, "erfc({x}) = {:e}", erfc(x));
            assert!((erfc(-x) - (2.0 - expected)).abs() < 1e-15, "erfc(-{x})");
        }
        let quantiles =
            [(0.975, 1.959_963_984_540_054), (0.95, 1.644_853_626_951_472_7), (0.001, -3.090_232_306_167_813_5)];
        for (p, expected) in quantiles {
            assert!((quantile(p) - expected).abs() < 1e-13, "quantile({p}) = {}", quantile(p));
        }
        assert_eq!(quantile(0.5), 0.0);
        assert_eq!(quantile(1.0), f64::INFINITY);
    }

    proptest::proptest! {
        #[test]
        fn quantile_inverts_cdf(x in -7.0..7.0_f64) {
            let back = quantile(cdf(x));
            // Above 0 the probability itself carries an error of 1e-16, which the flat tail magnifies.
            let tail = 1e-16 / (-0.5 * x.max(0.0).powi(2)).exp();
            proptest::prop_assert!((back - x).abs() < 1e-12 + 10.0 * tail, "{x} became {back}");
        }
    }
}
