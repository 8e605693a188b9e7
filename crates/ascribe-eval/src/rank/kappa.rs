//! Agreement beyond chance: Cohen's kappa of two raters, Fleiss' and Randolph's of several.
//!
//! ```text
//! Cohen     1 - sum w O/sum w E,  w = 1[i != j] | |i-j|/(k-1) | (i-j)^2/(k-1)^2,  E from the two margins
//! Fleiss    (P - Pe)/(1 - Pe),  P = mean over items of (sum n_ij^2 - r)/(r(r-1)),  Pe = sum p_j^2
//! Randolph  the same with Pe = 1/k
//! ```
//! J. Cohen, Educ. Psychol. Meas. 20, 1960; J. L. Fleiss, Psychol. Bull. 76, 1971; J. J. Randolph, 2005. The categories
//! are 0..k: an unused grade between used ones keeps its place, which matters for weights. Kappa is at most 1, and 0 is
//! what chance gives. Grades are categories, so there are no ties.

use crate::error::{not_empty, option, same_length};
use crate::stats::sum::sum;
use crate::{Bootstrap, Estimate, EvalError};

/// How far apart two grades are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KappaWeights {
    /// Equal or not.
    #[default]
    Unweighted,
    /// By their distance.
    Linear,
    /// By its square: QWK.
    Quadratic,
}

/// What chance agreement of several raters is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chance {
    /// From the share of each category: Fleiss.
    #[default]
    Shares,
    /// All categories alike: Randolph.
    Uniform,
}

/// Cohen's kappa of two raters whose grades are below `k`; the interval resamples items. In [-1, 1] unweighted, at most
/// 1 with weights; O(n + k^2) for each resample.
///
/// # Errors
/// When the lengths differ, there is no item, `k < 2`, a grade is not below `k`, or one grade has all the items.
pub fn cohen_kappa(
    a: &[u32],
    b: &[u32],
    k: u32,
    weights: KappaWeights,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(a.len(), counted_cohen(a.to_vec(), b.to_vec(), k, weights)?)
}

/// Cohen's kappa as a function of how often each item counts.
pub(crate) fn counted_cohen(
    a: Vec<u32>,
    b: Vec<u32>,
    k: u32,
    weights: KappaWeights,
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync, EvalError> {
    option("k", "at least 2", f64::from(k), k >= 2)?;
    not_empty("the grades", &a)?;
    same_length("b", a.len(), b.len())?;
    for (what, grades) in [("a", &a), ("b", &b)] {
        if let Some(index) = grades.iter().position(|&grade| grade >= k) {
            return Err(EvalError::OutOfRange { what, rule: "below k", index, got: f64::from(grades[index]) });
        }
    }
    Ok(move |counts: &[u32]| cohen(&a, &b, counts, k as usize, weights))
}

fn cohen(a: &[u32], b: &[u32], counts: &[u32], k: usize, weights: KappaWeights) -> Result<f64, EvalError> {
    let mut table = vec![0.0; k * k];
    let (mut of_a, mut of_b) = (vec![0.0; k], vec![0.0; k]);
    for ((&a, &b), &count) in a.iter().zip(b).zip(counts) {
        let count = f64::from(count);
        table[a as usize * k + b as usize] += count;
        of_a[a as usize] += count;
        of_b[b as usize] += count;
    }
    let n: f64 = of_a.iter().sum();
    let weight = |i: usize, j: usize| {
        let distance = i.abs_diff(j) as f64 / (k as f64 - 1.0);
        match weights {
            KappaWeights::Unweighted => f64::from(u8::from(i != j)),
            KappaWeights::Linear => distance,
            KappaWeights::Quadratic => distance * distance,
        }
    };
    let cells = || (0..k).flat_map(move |i| (0..k).map(move |j| (i, j)));
    let observed = sum(cells().map(|(i, j)| weight(i, j) * table[i * k + j]));
    let expected = sum(cells().map(|(i, j)| weight(i, j) * of_a[i] * of_b[j])) / n;
    if expected > 0.0 {
        return Ok(1.0 - observed / expected);
    }
    Err(EvalError::Degenerate { what: "Cohen's kappa", why: "both raters gave every item the same grade" })
}

/// Kappa of several raters from `counts[item][category]`; every item has the same number of ratings, two at least. The
/// interval resamples items. In [-1/(r - 1), 1] for r ratings and shares of categories; O(items k) for each resample.
///
/// # Errors
/// When there is no item, the rows differ in length or in ratings, there are fewer than two categories or ratings, or
/// all ratings fall into one category (for [`Chance::Shares`]).
pub fn fleiss_kappa(counts: &[Vec<u32>], chance: Chance, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    not_empty("the items", counts)?;
    let k = counts[0].len();
    option("categories", "at least 2", k as f64, k >= 2)?;
    let raters: u32 = counts[0].iter().sum();
    option("ratings of an item", "at least 2", f64::from(raters), raters >= 2)?;
    for (index, row) in counts.iter().enumerate() {
        same_length("a row of counts", k, row.len())?;
        let got: u32 = row.iter().sum();
        if got != raters {
            let rule = "the same for every item";
            return Err(EvalError::OutOfRange { what: "the ratings", rule, index, got: f64::from(got) });
        }
    }
    let r = f64::from(raters);
    bootstrap.metric(counts.len(), |rows| {
        let n = rows.len() as f64;
        let squares = |row: usize| counts[row].iter().map(|&count| f64::from(count).powi(2)).sum::<f64>();
        let agreement = sum(rows.iter().map(|&row| (squares(row) - r) / (r * (r - 1.0)))) / n;
        let expected: f64 = match chance {
            Chance::Uniform => 1.0 / k as f64,
            Chance::Shares => (0..k)
                .map(|category| rows.iter().map(|&row| f64::from(counts[row][category])).sum::<f64>() / (n * r))
                .map(|share| share * share)
                .sum(),
        };
        if expected < 1.0 {
            return Ok((agreement - expected) / (1.0 - expected));
        }
        Err(EvalError::Degenerate { what: "Fleiss' kappa", why: "every rating is the same category" })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With scikit-learn 1.9.1.
    #[test]
    fn eight_items() {
        let (a, b) = ([0, 1, 2, 2, 1, 0, 3, 3], [0, 2, 2, 1, 1, 0, 3, 2]);
        let expected = [0.5, 0.684_210_526_3, 0.833_333_333_3];
        let kinds = [KappaWeights::Unweighted, KappaWeights::Linear, KappaWeights::Quadratic];
        for (weights, expected) in kinds.into_iter().zip(expected) {
            let kappa = cohen_kappa(&a, &b, 4, weights, &Bootstrap::default()).unwrap();
            assert!((kappa.value - expected).abs() < 1e-9 && !kappa.excludes(kappa.value), "{weights:?} {kappa}");
        }
        let same = cohen_kappa(&a, &a, 4, KappaWeights::Unweighted, &Bootstrap::NONE).unwrap();
        assert_eq!(same.value, 1.0);
    }

    /// With statsmodels 0.15.0.
    #[test]
    fn six_items_by_three_raters() {
        let rows = [[3, 0, 0], [1, 2, 0], [0, 3, 0], [0, 1, 2], [0, 0, 3], [2, 1, 0]].map(|row| row.to_vec());
        let kappa = fleiss_kappa(&rows, Chance::Shares, &Bootstrap::NONE).unwrap();
        assert!((kappa.value - 0.495_327_102_8).abs() < 1e-9);
    }

    #[test]
    fn items_that_count_twice_or_not_at_all() {
        let (a, b) = (vec![0, 1, 2, 2, 1], vec![0, 2, 2, 1, 1]);
        let counted = counted_cohen(a, b, 3, KappaWeights::Quadratic).unwrap();
        let drawn = cohen_kappa(&[0, 0, 1, 2, 2, 2], &[0, 0, 2, 2, 2, 2], 3, KappaWeights::Quadratic, &Bootstrap::NONE);
        assert!((counted(&[2, 1, 3, 0, 0]).unwrap() - drawn.unwrap().value).abs() < 1e-12);
        assert!(matches!(counted(&[0; 5]), Err(EvalError::Degenerate { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let kappa = |a: &[u32], b: &[u32], k| cohen_kappa(a, b, k, KappaWeights::Linear, &Bootstrap::NONE);
        assert!(matches!(kappa(&[], &[], 2), Err(EvalError::Empty { .. })));
        assert!(matches!(kappa(&[0], &[0, 1], 2), Err(EvalError::Length { .. })));
        assert!(matches!(kappa(&[0, 2], &[0, 1], 2), Err(EvalError::OutOfRange { index: 1, .. })));
        assert!(matches!(kappa(&[1, 1], &[1, 1], 2), Err(EvalError::Degenerate { .. })));
        assert!(matches!(kappa(&[0], &[0], 1), Err(EvalError::Range { name: "k", .. })));
        let unequal = [vec![2, 0], vec![1, 2]];
        let fleiss = fleiss_kappa(&unequal, Chance::Shares, &Bootstrap::NONE);
        assert!(matches!(fleiss, Err(EvalError::OutOfRange { index: 1, .. })));
    }

    proptest! {
        #[test]
        fn kappa_is_one_for_equal_grades_alone(rows in prop::collection::vec((0_u32..4, 0_u32..4), 2..40)) {
            let (mut a, mut b): (Vec<u32>, Vec<u32>) = rows.into_iter().unzip();
            // Two grades at least, without which kappa is not defined.
            (a[0], a[1], b[0], b[1]) = (0, 1, 0, 1);
            for weights in [KappaWeights::Unweighted, KappaWeights::Linear, KappaWeights::Quadratic] {
                let of = |a: &[u32], b: &[u32]| cohen_kappa(a, b, 4, weights, &Bootstrap::NONE).unwrap().value;
                let kappa = of(&a, &b);
                prop_assert_eq!(of(&a, &a), 1.0);
                prop_assert_eq!(kappa == 1.0, a == b);
                prop_assert!(kappa <= 1.0 && (kappa >= -1.0 || weights != KappaWeights::Unweighted));
                prop_assert!((kappa - of(&b, &a)).abs() < 1e-12);
            }
        }
    }
}
