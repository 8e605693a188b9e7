//! Pearson's and Spearman's correlation, and permutation tests of any correlation.
//!
//! ```text
//! Pearson   sum (x - mx)(y - my)/sqrt(sum (x - mx)^2 sum (y - my)^2);   interval tanh(atanh r +- z/sqrt(n-3))
//! Spearman  Pearson of the mid-ranks
//! p         share of the permutations of y with a statistic as extreme: all of them up to 9 rows, else drawn
//! ```
//! R. A. Fisher, Metron 1, 1921; C. Spearman, Am. J. Psychol. 15, 1904. [`student_p`] is the p-value that scipy prints.
//! All lie in [-1, 1]; equal values share their mean rank. Pearson costs O(n); Spearman sorts once, O(n log n), and
//! each of its resamples is O(n).

use ascribe_core::Seed;

use super::kendall::Concordance;
use super::ranks::{Order, mid_ranks};
use crate::error::{checked_level, finite, option, same_length};
use crate::stats::beta::t_two_sided;
use crate::stats::bootstrap::shuffle;
use crate::stats::normal;
use crate::stats::permutation::Tally;
use crate::stats::sum::{Total, counted_mean, mean, sum};
use crate::stats::{Bootstrap, Permutation};
use crate::{Estimate, EvalError, Interval};

/// A measure of how two columns go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// Of the values.
    Pearson,
    /// Of their mid-ranks.
    Spearman,
    /// Tau-b, of their order.
    Kendall,
}

impl Correlation {
    /// The correlation alone. In [-1, 1]; equal values share their mean rank for Spearman and leave the scale for
    /// Kendall; O(n) for Pearson, else O(n log n).
    ///
    /// # Errors
    /// When the lengths differ, a value is NaN or infinite, there are fewer than two rows, or a column is constant.
    pub fn of(self, x: &[f64], y: &[f64]) -> Result<f64, EvalError> {
        paired(x, y)?;
        match self {
            Self::Pearson => linear(x, y),
            Self::Spearman => linear(&mid_ranks(x), &mid_ranks(y)),
            Self::Kendall => Concordance::count(x, y).tau_b(),
        }
    }
}

/// Pearson's r with Fisher's interval, which needs four rows and `|r| < 1`. In [-1, 1]; O(n).
///
/// # Errors
/// As [`Correlation::of`], and when `level` is not inside (0, 1).
pub fn pearson(x: &[f64], y: &[f64], level: f64) -> Result<Estimate, EvalError> {
    checked_level(level)?;
    let (value, n) = (Correlation::Pearson.of(x, y)?, x.len());
    let interval = (n >= 4 && value.abs() < 1.0).then(|| {
        let half = normal::quantile(0.5 + 0.5 * level) / (n as f64 - 3.0).sqrt();
        let (low, high) = ((value.atanh() - half).tanh(), (value.atanh() + half).tanh());
        Interval { low, high, level, method: "Fisher" }
    });
    Ok(Estimate { value, interval, n })
}

/// Spearman's rho; the interval resamples rows. In [-1, 1]; equal values share their mean rank; O(n log n + B n).
///
/// # Errors
/// As [`Correlation::of`].
pub fn spearman(x: &[f64], y: &[f64], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(x.len(), counted_spearman(x, y)?)
}

/// Spearman's rho as a function of how often each row counts.
pub(crate) fn counted_spearman(
    x: &[f64],
    y: &[f64],
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync + use<>, EvalError> {
    paired(x, y)?;
    let (of_x, of_y) = (Order::of(x), Order::of(y));
    Ok(move |counts: &[u32]| {
        let n: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        // The mean of the mid-ranks, whatever the ties.
        let centre = 0.5 * (n + 1) as f64;
        let mut ranks = vec![0.0; counts.len()];
        let [mut xx, mut yy, mut xy] = [Total::default(); 3];
        let mut before = 0;
        for tied in of_x.runs() {
            let (rank, count) = counted_rank(tied, counts, &mut before);
            tied.iter().for_each(|&row| ranks[row] = rank - centre);
            xx.add(count * (rank - centre).powi(2));
        }
        before = 0;
        for tied in of_y.runs() {
            let (rank, count) = counted_rank(tied, counts, &mut before);
            yy.add(count * (rank - centre).powi(2));
            tied.iter().for_each(|&row| xy.add(f64::from(counts[row]) * ranks[row] * (rank - centre)));
        }
        correlation(xx.value(), yy.value(), xy.value())
    })
}

/// The mid-rank of tied rows after `before` others, and how often they count; `before` moves on.
fn counted_rank(tied: &[usize], counts: &[u32], before: &mut u64) -> (f64, f64) {
    let count: u64 = tied.iter().map(|&row| u64::from(counts[row])).sum();
    let rank = *before as f64 + 0.5 * (count + 1) as f64;
    *before += count;
    (rank, count as f64)
}

/// Pearson's r as a function of how often each row counts.
pub(crate) fn counted_pearson<'a>(
    x: &'a [f64],
    y: &'a [f64],
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync + 'a, EvalError> {
    paired(x, y)?;
    Ok(move |counts: &[u32]| {
        let (mx, my) = (counted_mean(x, counts), counted_mean(y, counts));
        let [mut xx, mut yy, mut xy] = [Total::default(); 3];
        let mut seen: Option<(f64, f64)> = None;
        let (mut x_varies, mut y_varies) = (false, false);
        for ((&x, &y), &count) in x.iter().zip(y).zip(counts).filter(|(_, count)| **count > 0) {
            let (first_x, first_y) = *seen.get_or_insert((x, y));
            (x_varies, y_varies) = (x_varies || x != first_x, y_varies || y != first_y);
            let (count, x, y) = (f64::from(count), x - mx, y - my);
            xx.add(count * x * x);
            yy.add(count * y * y);
            xy.add(count * x * y);
        }
        // Values that are equal may differ from their mean by a rounding error.
        let part = |varies: bool, square: f64| if varies { square } else { 0.0 };
        correlation(part(x_varies, xx.value()), part(y_varies, yy.value()), xy.value())
    })
}

/// The correlation from sums of squares and of products about the means.
fn correlation(xx: f64, yy: f64, xy: f64) -> Result<f64, EvalError> {
    if xx > 0.0 && yy > 0.0 {
        return Ok((xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0));
    }
    Err(EvalError::Degenerate { what: "a correlation", why: "both columns must hold values that differ" })
}

/// Two-sided p-value of a Pearson or Spearman correlation `r` of `n` rows by Student's t with n - 2 degrees. In [0, 1];
/// O(1).
///
/// # Errors
/// Unless `n >= 3` and `r` lies in [-1, 1].
pub fn student_p(r: f64, n: usize) -> Result<f64, EvalError> {
    option("n", "at least 3", n as f64, n >= 3)?;
    option("r", "between -1 and 1", r, (-1.0..=1.0).contains(&r))?;
    let freedom = n as f64 - 2.0;
    if r.abs() == 1.0 {
        return Ok(0.0);
    }
    Ok(t_two_sided(r * (freedom / ((1.0 - r) * (1.0 + r))).sqrt(), freedom))
}

/// The permutation test of a correlation: `y` is permuted, all ways up to 9 rows, else `draws` times. P-values lie in
/// (0, 1]; a correlation that equals the observed one counts as extreme; O(draws n), times log n for Kendall.
///
/// # Errors
/// As [`Correlation::of`], and when `draws` is below 100.
pub fn correlation_test(
    x: &[f64],
    y: &[f64],
    kind: Correlation,
    draws: usize,
    seed: Seed,
) -> Result<Permutation, EvalError> {
    option("draws", "at least 100", draws as f64, draws >= 100)?;
    let observed = kind.of(x, y)?;
    // Ranks move with their rows, so those of Spearman are found once.
    let (kind, x, mut y) = match kind {
        Correlation::Spearman => (Correlation::Pearson, mid_ranks(x), mid_ranks(y)),
        kind => (kind, x.to_vec(), y.to_vec()),
    };
    let statistic = |y: &[f64]| kind.of(&x, y).unwrap_or(0.0);
    let (mut tally, n) = (Tally::new(observed, 1.0), y.len());
    if n > 9 {
        let mut stream = seed.stream("permutation", 0);
        for _ in 0..draws {
            shuffle(&mut stream, &mut y);
            tally.add(statistic(&y));
        }
        return Ok(tally.finish(false));
    }
    // Heap's algorithm (B. R. Heap, The Computer Journal 6, 1963).
    tally.add(statistic(&y));
    let (mut swaps, mut place) = (vec![0; n], 0);
    while place < n {
        if swaps[place] < place {
            y.swap(if place % 2 == 0 { 0 } else { swaps[place] }, place);
            tally.add(statistic(&y));
            swaps[place] += 1;
            place = 0;
        } else {
            swaps[place] = 0;
            place += 1;
        }
    }
    Ok(tally.finish(true))
}

/// Two columns of the same length, finite, with one row at least.
pub(super) fn paired(x: &[f64], y: &[f64]) -> Result<(), EvalError> {
    finite("x", x)?;
    same_length("y", x.len(), y.len())?;
    finite("y", y)
}

fn linear(x: &[f64], y: &[f64]) -> Result<f64, EvalError> {
    let (mx, my) = (mean(x), mean(y));
    let dot = |a: &[f64], ma: f64, b: &[f64], mb: f64| sum(a.iter().zip(b).map(|(a, b)| (a - ma) * (b - mb)));
    let (xx, yy) = (dot(x, mx, x, mx), dot(y, my, y, my));
    let part = |values: &[f64], square: f64| if values.iter().all(|value| *value == values[0]) { 0.0 } else { square };
    correlation(part(x, xx), part(y, yy), dot(x, mx, y, my))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::sum::pick;

    /// With scipy 1.17.1.
    #[test]
    fn six_rows_with_ties() {
        let (x, z) = ([1.0, 2.0, 2.0, 3.0, 4.0, 4.0], [1.0, 3.0, 2.0, 2.0, 5.0, 4.0]);
        assert!((spearman(&x, &z, &Bootstrap::default()).unwrap().value - 0.850_841_043_5).abs() < 1e-9);
        let pearson = pearson(&x, &z, 0.95).unwrap();
        assert!((pearson.value - 0.860_151_230_8).abs() < 1e-9 && !pearson.excludes(pearson.value));
    }

    /// Arena scores and hard-prompt accuracies of nine reward models, as lmarena published them; all 9! permutations.
    #[test]
    fn nine_published_reward_models() {
        let arena = [1216.0, 1209.0, 1204.0, 1200.0, 1189.0, 1176.0, 1173.0, 1173.0, 1172.0];
        let hard = [66.56, 64.59, 62.05, 59.12, 60.57, 62.37, 56.62, 61.00, 59.28];
        for (kind, expected) in
            [(Correlation::Pearson, 0.706_466), (Correlation::Spearman, 0.669_462), (Correlation::Kendall, 0.535_264)]
        {
            assert!((kind.of(&arena, &hard).unwrap() - expected).abs() < 1e-6, "{kind:?}");
        }
        let test = correlation_test(&arena, &hard, Correlation::Pearson, 100, Seed(0)).unwrap();
        assert!((test.p_abs - 0.033_548).abs() < 1e-6 && (test.p - 0.035_692).abs() < 1e-6, "{test:?}");
        let model_level = [93.23, 90.53, 76.09, 69.02, 89.17, 88.12, 95.49, 76.39, 86.02];
        assert!((Correlation::Pearson.of(&arena, &model_level).unwrap() + 0.050_654).abs() < 1e-6);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(pearson(&[1.0, 1.0], &[1.0, 2.0], 0.95), Err(EvalError::Degenerate { .. })));
        assert!(matches!(pearson(&[], &[], 0.95), Err(EvalError::Empty { .. })));
        assert!(matches!(pearson(&[1.0, 2.0], &[f64::NAN, 2.0], 0.95), Err(EvalError::NotFinite { what: "y", .. })));
        assert!(matches!(spearman(&[1.0], &[1.0, 2.0], &Bootstrap::NONE), Err(EvalError::Length { .. })));
        assert!(matches!(student_p(0.5, 2), Err(EvalError::Range { name: "n", .. })));
    }

    fn columns() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        prop::collection::vec((-5_i32..5, -5_i32..5), 2..40).prop_map(|mut rows| {
            (rows[0], rows[1]) = ((-6, -6), (6, 6));
            rows.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).unzip()
        })
    }

    proptest! {
        #[test]
        fn counts_say_what_the_rows_drawn_say((x, y) in columns(), draws in prop::collection::vec(0_usize..40, 1..60)) {
            let mut rows: Vec<usize> = draws.into_iter().map(|draw| draw % x.len()).collect();
            rows.extend([0, 1]);
            let mut counts = vec![0_u32; x.len()];
            rows.iter().for_each(|&row| counts[row] += 1);
            let (x_drawn, y_drawn) = (pick(&x, &rows), pick(&y, &rows));
            let slow = |kind: Correlation| kind.of(&x_drawn, &y_drawn).unwrap();
            let spearman = counted_spearman(&x, &y).unwrap()(&counts).unwrap();
            prop_assert!((spearman - slow(Correlation::Spearman)).abs() < 1e-12);
            let pearson = counted_pearson(&x, &y).unwrap()(&counts).unwrap();
            prop_assert!((pearson - slow(Correlation::Pearson)).abs() < 1e-12);
        }

        #[test]
        fn correlations_flip_under_negation_and_keep_under_increasing_maps((x, y) in columns()) {
            for kind in [Correlation::Pearson, Correlation::Spearman, Correlation::Kendall] {
                let value = kind.of(&x, &y).unwrap();
                let negated: Vec<f64> = y.iter().map(|y| -y).collect();
                prop_assert!((value + kind.of(&x, &negated).unwrap()).abs() < 1e-12);
                prop_assert!((kind.of(&x, &x).unwrap() - 1.0).abs() < 1e-12);
                let map = |y: &f64| if kind == Correlation::Pearson { 2.0 * y + 1.0 } else { y.exp() };
                let mapped: Vec<f64> = y.iter().map(map).collect();
                prop_assert!((value - kind.of(&x, &mapped).unwrap()).abs() < 1e-12);
            }
        }
    }
}
