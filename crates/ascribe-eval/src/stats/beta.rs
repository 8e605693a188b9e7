//! The incomplete beta function and what follows from it: quantiles of the beta law and the tails of Student's t.
//!
//! ```text
//! I_x(a, b) = x^a (1-x)^b / (a B(a, b)) * 1/(1 + d1/(1 + d2/(1 + ..       below x = (a+1)/(a+b+2), else by symmetry
//! P(|T_v| > t) = I_{v/(v + t^2)}(v/2, 1/2)
//! ```
//! NIST Digital Library of Mathematical Functions, 8.17.22; ln Gamma by Lanczos' series with g = 7.

use std::f64::consts::PI;

const LANCZOS: [f64; 8] = [
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// The natural logarithm of the gamma function, for `x > 0`.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    if x < 0.5 {
        return (PI / (PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let terms = LANCZOS.iter().enumerate().map(|(index, term)| term / (x + index as f64 + 1.0));
    let series = 0.999_999_999_999_809_9 + terms.sum::<f64>();
    let t = x + 7.5;
    0.5 * (2.0 * PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// `I_x(a, b)`, the distribution function of the beta law.
pub(crate) fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    if x < (a + 1.0) / (a + b + 2.0) {
        front.exp() * continued_fraction(x, a, b) / a
    } else {
        1.0 - front.exp() * continued_fraction(1.0 - x, b, a) / b
    }
}

/// Lentz's evaluation, as W. J. Thompson and A. R. Barnett give it (J. Comput. Phys. 64, 1986).
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in (1..2000).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for step in [even, odd] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            fraction *= d * c;
        }
        if (fraction - before).abs() <= 1e-16 * fraction.abs() {
            break;
        }
    }
    fraction
}

/// The `x` with `I_x(a, b) = p`, by bisection.
pub(crate) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if beta_cdf(middle, a, b) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Two-sided p-value of Student's t with `freedom` degrees of freedom.
pub(crate) fn t_two_sided(t: f64, freedom: f64) -> f64 {
    beta_cdf(freedom / (freedom + t * t), 0.5 * freedom, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gamma(5) = 24, Gamma(1/2) = sqrt(pi); I_x(1, b) = 1 - (1-x)^b; I_x(2, 2) = 3x^2 - 2x^3; t with one degree is
    /// Cauchy.
    #[test]
    fn closed_forms() {
        assert!((ln_gamma(5.0) - 24_f64.ln()).abs() < 1e-14);
        assert!((ln_gamma(0.5) - 0.5 * PI.ln()).abs() < 1e-14);
        for x in [0.01, 0.3, 0.5, 0.9] {
            assert!((beta_cdf(x, 1.0, 7.0) - (1.0 - (1.0 - x).powi(7))).abs() < 1e-14);
            assert!((beta_cdf(x, 2.0, 2.0) - (3.0 - 2.0 * x) * x * x).abs() < 1e-14);
            assert!((beta_quantile(beta_cdf(x, 3.5, 0.5), 3.5, 0.5) - x).abs() < 1e-12);
        }
        let cauchy = 1.0 - 2.0 * 3_f64.atan() / PI;
        assert!((t_two_sided(3.0, 1.0) - cauchy).abs() < 1e-13);
    }
}
