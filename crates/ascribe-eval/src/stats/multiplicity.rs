//! P-values of a family of tests, adjusted so that each may be held against the level alone.
//!
//! ```text
//! Bonferroni          min(1, m p)
//! Holm                running maximum over rising p of (m - i + 1) p_(i)
//! Benjamini-Hochberg  running minimum from the largest p of m/i p_(i)
//! Benjamini-Yekutieli the same times sum_{i <= m} 1/i
//! ```
//! S. Holm, Scand. J. Statist. 6, 1979; Y. Benjamini and Y. Hochberg, J. R. Stat. Soc. B 57, 1995; Y. Benjamini and
//! D. Yekutieli, Ann. Statist. 29, 2001. The first two bound the chance of any false claim, the others the share of
//! false
//! claims. Cost: m log m.

use crate::EvalError;
use crate::error::shares;

/// How p-values are adjusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// Every p-value times the number of tests.
    Bonferroni,
    /// Holm's step-down form, never less powerful than Bonferroni.
    Holm,
    /// False discovery rate for independent tests.
    BenjaminiHochberg,
    /// False discovery rate for tests of any dependence.
    BenjaminiYekutieli,
}

/// The adjusted p-values, in the order given. In [0, 1] and never below the p-value; equal p-values stay equal;
/// O(m log m).
///
/// # Errors
/// When there is no p-value, or one is not inside [0, 1].
pub fn adjust_p(p: &[f64], adjust: Adjust) -> Result<Vec<f64>, EvalError> {
    shares("p", p)?;
    let m = p.len() as f64;
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    match adjust {
        Adjust::Bonferroni => adjusted.iter_mut().zip(p).for_each(|(adjusted, p)| *adjusted = (m * p).min(1.0)),
        Adjust::Holm => {
            let mut so_far = 0.0_f64;
            for (index, &test) in order.iter().enumerate() {
                so_far = so_far.max((m - index as f64) * p[test]).min(1.0);
                adjusted[test] = so_far;
            }
        }
        Adjust::BenjaminiHochberg | Adjust::BenjaminiYekutieli => {
            let harmonic: f64 = (1..=p.len()).map(|i| 1.0 / i as f64).sum();
            let factor = if adjust == Adjust::BenjaminiYekutieli { m * harmonic } else { m };
            let mut so_far = 1.0_f64;
            for (index, &test) in order.iter().enumerate().rev() {
                so_far = so_far.min(factor / (index + 1) as f64 * p[test]);
                adjusted[test] = so_far;
            }
        }
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Adjust; 4] = [Adjust::Bonferroni, Adjust::Holm, Adjust::BenjaminiHochberg, Adjust::BenjaminiYekutieli];

    /// With statsmodels 0.15.0.
    #[test]
    fn five_p_values() {
        let p = [0.01, 0.04, 0.03, 0.005, 0.2];
        let expected = [
            [0.05, 0.2, 0.15, 0.025, 1.0],
            [0.04, 0.09, 0.09, 0.025, 0.2],
            [0.025, 0.05, 0.05, 0.025, 0.2],
            [0.057_083_3, 0.114_166_7, 0.114_166_7, 0.057_083_3, 0.456_666_7],
        ];
        for (adjust, expected) in ALL.into_iter().zip(expected) {
            let got = adjust_p(&p, adjust).unwrap();
            assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-7), "{got:?}");
        }
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(adjust_p(&[], Adjust::Holm), Err(EvalError::Empty { .. })));
        assert!(matches!(adjust_p(&[0.1, 1.5], Adjust::Holm), Err(EvalError::OutOfRange { index: 1, .. })));
    }

    proptest! {
        #[test]
        fn holm_is_between_raw_and_bonferroni_and_bh_below_holm(p in prop::collection::vec(0.0..=1.0_f64, 1..20)) {
            let [bonferroni, holm, hochberg, yekutieli] = ALL.map(|adjust| adjust_p(&p, adjust).unwrap());
            for i in 0..p.len() {
                prop_assert!(p[i] <= hochberg[i] + 1e-12 && hochberg[i] <= holm[i] + 1e-12);
                prop_assert!(holm[i] <= bonferroni[i] + 1e-12 && hochberg[i] <= yekutieli[i] + 1e-12);
                prop_assert!((0..p.len()).all(|j| p[i] > p[j] || holm[i] <= holm[j]));
            }
        }
    }
}
