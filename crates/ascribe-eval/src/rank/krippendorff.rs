//! Krippendorff's alpha: agreement of any number of raters with gaps, on four levels of measurement.
//!
//! ```text
//! alpha = 1 - Do/De,  Do = sum o_ck d(c,k),  De = sum_{c != k} n_c n_k d(c,k)/(n - 1),  o: coincidences of values in items
//! d: nominal 1[c != k]; ordinal (sum_{g=c..k} n_g - (n_c + n_k)/2)^2; interval (c-k)^2; ratio ((c-k)/(c+k))^2, 0/0 = 0
//! ```
//! K. Krippendorff, "Content Analysis", 2004, ch. 11. Items with fewer than two ratings say nothing and are left out.
//!
//! The coincidences are never written down: an item brings its own share of Do, over the pairs of values that it was
//! given, and De needs the totals n_c alone. Ordinal distance is that of places p_c = sum_{g<c} n_g + n_c/2, squared, so
//! as for intervals De is `2 n sum n_c (p_c - mean p)^2`; ratios need every pair of distinct values.

use crate::error::{finite, not_empty, same_length};
use crate::stats::sum::sum;
use crate::{Bootstrap, Estimate, EvalError};

/// What differences between values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Equal or not.
    Nominal,
    /// Their order.
    Ordinal,
    /// Their distance.
    Interval,
    /// Their distance in proportion.
    Ratio,
}

/// Alpha of `ratings[rater][item]`, with `None` where a rater skipped an item; the interval resamples items.
///
/// At most 1, and 0 is what chance gives; equal ratings agree, whatever the level. Cost O(N r^2) for N items with r
/// ratings each, for ratios O(N r^2 + K^2) with K distinct values; the same for each resample.
///
/// # Errors
/// When there is no rater or item, the rows differ in length, a rating is NaN or infinite, or the values that can be
/// compared are all equal.
pub fn krippendorff_alpha(
    ratings: &[Vec<Option<f64>>],
    level: Level,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    not_empty("the raters", ratings)?;
    let items = ratings[0].len();
    not_empty("the items", &ratings[0])?;
    for row in ratings {
        same_length("a row of ratings", items, row.len())?;
    }
    let mut values: Vec<f64> = ratings.iter().flatten().copied().flatten().collect();
    finite("the ratings", &values)?;
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    let items: Vec<Item> = (0..items)
        .map(|item| Item::of(ratings.iter().filter_map(|row| row[item]), &values))
        .filter(|item| item.ratings >= 2.0)
        .collect();
    bootstrap.weighted_metric(items.len(), |counts| alpha(&values, &items, counts, level))
}

/// What one item was given.
struct Item {
    /// Number of a value, and how often it was given.
    given: Vec<(usize, f64)>,
    /// Number of ratings.
    ratings: f64,
}

impl Item {
    fn of(ratings: impl Iterator<Item = f64>, values: &[f64]) -> Self {
        let mut numbers: Vec<usize> = ratings.map(|rating| values.partition_point(|&value| value < rating)).collect();
        numbers.sort_unstable();
        let given = numbers.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as f64)).collect();
        Self { given, ratings: numbers.len() as f64 }
    }
}

/// Alpha of items that count several times.
fn alpha(values: &[f64], items: &[Item], counts: &[u32], level: Level) -> Result<f64, EvalError> {
    let mut totals = vec![0.0; values.len()];
    for (item, &count) in items.iter().zip(counts) {
        for &(value, times) in &item.given {
            totals[value] += f64::from(count) * times;
        }
    }
    let n: f64 = totals.iter().sum();
    let places = places(values, &totals, level);
    let distance = |a: usize, b: usize| match level {
        _ if a == b => 0.0,
        Level::Nominal => 1.0,
        Level::Ordinal | Level::Interval => (places[a] - places[b]).powi(2),
        Level::Ratio => ((places[a] - places[b]) / (places[a] + places[b])).powi(2),
    };
    let disagreement = |item: &Item| {
        let pairs = item.given.iter().flat_map(|a| item.given.iter().map(move |b| (a, b)));
        sum(pairs.map(|(a, b)| a.1 * b.1 * distance(a.0, b.0))) / (item.ratings - 1.0)
    };
    let observed = sum(items.iter().zip(counts).map(|(item, &count)| f64::from(count) * disagreement(item)));
    let given: Vec<usize> = (0..values.len()).filter(|&value| totals[value] > 0.0).collect();
    let expected = match level {
        Level::Nominal => n * n - sum(totals.iter().map(|total| total * total)),
        Level::Ordinal | Level::Interval => {
            let centre = sum(places.iter().zip(&totals).map(|(place, total)| place * total)) / n;
            2.0 * n * sum(places.iter().zip(&totals).map(|(place, total)| total * (place - centre).powi(2)))
        }
        Level::Ratio => {
            let pairs = given.iter().flat_map(|&a| given.iter().map(move |&b| (a, b)));
            sum(pairs.map(|(a, b)| totals[a] * totals[b] * distance(a, b)))
        }
    } / (n - 1.0);
    if given.len() > 1 && expected > 0.0 && expected.is_finite() {
        return Ok(1.0 - observed / expected);
    }
    let why = "it needs items with two ratings or more, whose values differ, and for ratios values of one sign";
    Err(EvalError::Degenerate { what: "Krippendorff's alpha", why })
}

/// Where each value lies: at the middle of its ranks for an order, at itself otherwise.
fn places(values: &[f64], totals: &[f64], level: Level) -> Vec<f64> {
    if level != Level::Ordinal {
        return values.to_vec();
    }
    let mut below = 0.0;
    let middle = |&total: &f64| {
        below += total;
        below - 0.5 * total
    };
    totals.iter().map(middle).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With krippendorff 0.9.0.
    #[test]
    fn ten_items_with_gaps() {
        let row = |text: &str| text.chars().map(|mark| mark.to_digit(10).map(f64::from)).collect::<Vec<_>>();
        let ratings = [row("123321412-"), row("1233224125"), row("-333234225")];
        let expected = [0.675_257_732_0, 0.804_860_524_1, 0.862_104_187_9, 0.744_556_681_2];
        let levels = [Level::Nominal, Level::Ordinal, Level::Interval, Level::Ratio];
        for (level, expected) in levels.into_iter().zip(expected) {
            let alpha = krippendorff_alpha(&ratings, level, &Bootstrap::NONE).unwrap();
            assert!((alpha.value - expected).abs() < 1e-9 && alpha.n == 10, "{level:?} {alpha}");
        }
    }

    /// The coincidence matrix as the definition has it, dense.
    fn by_coincidences(ratings: &[Vec<Option<f64>>], level: Level) -> f64 {
        let known = |item: usize| ratings.iter().filter_map(|row| row[item]).collect::<Vec<f64>>();
        let items: Vec<Vec<f64>> = (0..ratings[0].len()).map(known).filter(|item| item.len() > 1).collect();
        let mut values: Vec<f64> = items.iter().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let k = values.len();
        let place = |rating: f64| values.iter().position(|value| *value == rating).unwrap();
        let mut o = vec![vec![0.0; k]; k];
        for item in &items {
            for (i, a) in item.iter().enumerate() {
                for (_, b) in item.iter().enumerate().filter(|(j, _)| *j != i) {
                    o[place(*a)][place(*b)] += 1.0 / (item.len() as f64 - 1.0);
                }
            }
        }
        let totals: Vec<f64> = o.iter().map(|row| row.iter().sum()).collect();
        let n: f64 = totals.iter().sum();
        let distance = |c: usize, d: usize| match level {
            Level::Nominal => f64::from(u8::from(c != d)),
            Level::Ordinal => (totals[c.min(d)..=c.max(d)].iter().sum::<f64>() - 0.5 * (totals[c] + totals[d])).powi(2),
            Level::Interval => (values[c] - values[d]).powi(2),
            Level::Ratio => ((values[c] - values[d]) / (values[c] + values[d])).powi(2),
        };
        let (mut observed, mut expected) = (0.0, 0.0);
        for (c, d) in (0..k).flat_map(|c| (0..k).map(move |d| (c, d))).filter(|(c, d)| c != d) {
            observed += o[c][d] * distance(c, d);
            expected += totals[c] * totals[d] * distance(c, d) / (n - 1.0);
        }
        1.0 - observed / expected
    }

    proptest! {
        #[test]
        fn items_alone_give_what_the_dense_coincidences_give(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of(1_u32..6), 9), 2..6),
        ) {
            let of = |rating: Option<u32>| rating.map(|rating| f64::from(rating) / 3.0);
            let ratings: Vec<Vec<Option<f64>>> =
                rows.into_iter().map(|row| row.into_iter().map(of).collect()).collect();
            for level in [Level::Nominal, Level::Ordinal, Level::Interval, Level::Ratio] {
                if let Ok(alpha) = krippendorff_alpha(&ratings, level, &Bootstrap::NONE) {
                    let expected = by_coincidences(&ratings, level);
                    prop_assert!((alpha.value - expected).abs() < 1e-10, "{level:?} {alpha} {expected}");
                }
            }
        }
    }

    /// Ten thousand items of three distinct ratings each: a matrix over their values would hold 9e8 cells. Neighbours
    /// differ by little, so raters agree.
    #[test]
    fn many_distinct_values_need_no_matrix() {
        let row = |rater: u32| (0..10_000).map(|item| Some(f64::from(item) + 0.1 * f64::from(rater))).collect();
        let ratings: Vec<Vec<Option<f64>>> = (0..3).map(row).collect();
        let alpha = krippendorff_alpha(&ratings, Level::Interval, &Bootstrap::NONE).unwrap();
        // Within an item a pair differs by 0.1, 0.1 or 0.2: mean square 0.02. Over all values the mean square is
        // 2 * (10000^2 - 1)/12.
        let share = 0.02 / (2.0 * (1e8 - 1.0) / 12.0);
        assert!(((1.0 - alpha.value) / share - 1.0).abs() < 1e-3 && alpha.n == 10_000, "{alpha}");
    }

    #[test]
    fn bad_input_is_refused() {
        let alpha = |ratings: &[Vec<Option<f64>>]| krippendorff_alpha(ratings, Level::Interval, &Bootstrap::NONE);
        assert!(matches!(alpha(&[]), Err(EvalError::Empty { .. })));
        assert!(matches!(alpha(&[vec![Some(1.0)], vec![]]), Err(EvalError::Length { .. })));
        assert!(matches!(alpha(&[vec![Some(f64::NAN)], vec![Some(1.0)]]), Err(EvalError::NotFinite { .. })));
        assert!(matches!(alpha(&[vec![Some(1.0)], vec![Some(1.0)]]), Err(EvalError::Degenerate { .. })));
        assert!(alpha(&[vec![Some(1.0), None], vec![None, Some(2.0)]]).is_err());
    }
}
