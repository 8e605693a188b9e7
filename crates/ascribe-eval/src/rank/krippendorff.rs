//! Krippendorff's alpha: agreement of any number of raters with gaps, on four levels of measurement.
//!
//! ```text
//! alpha = 1 - Do/De,  Do = sum o_ck d(c,k),  De = sum_{c != k} n_c n_k d(c,k)/(n - 1),  o: coincidences of values in items
//! d: nominal 1[c != k]; ordinal (sum_{g=c..k} n_g - (n_c + n_k)/2)^2; interval (c-k)^2; ratio ((c-k)/(c+k))^2, 0/0 = 0
//! ```
//! K. Krippendorff, "Content Analysis", 2004, ch. 11. Items with fewer than two ratings say nothing and are left out.

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
    values.sort_by(f64::total_cmp);
    values.dedup();
    let category = |value: f64| values.partition_point(|&other| other < value);
    // of_item[item]: how often each value was given, for items with two ratings or more.
    let of_item: Vec<Vec<f64>> = (0..items)
        .map(|item| {
            let mut counts = vec![0.0; values.len()];
            ratings.iter().filter_map(|row| row[item]).for_each(|value| counts[category(value)] += 1.0);
            counts
        })
        .filter(|counts| counts.iter().sum::<f64>() >= 2.0)
        .collect();
    bootstrap.metric(of_item.len(), |rows| alpha(&values, &of_item, rows, level))
}

fn alpha(values: &[f64], of_item: &[Vec<f64>], rows: &[usize], level: Level) -> Result<f64, EvalError> {
    let why = "it needs items with two ratings or more, whose values differ";
    let undefined = EvalError::Degenerate { what: "Krippendorff's alpha", why };
    let k = values.len();
    let mut coincidences = vec![0.0; k * k];
    for &row in rows {
        let counts = &of_item[row];
        let ratings: f64 = counts.iter().sum();
        for c in (0..k).filter(|&c| counts[c] > 0.0) {
            for other in 0..k {
                let pairs = counts[c] * (counts[other] - f64::from(u8::from(c == other)));
                coincidences[c * k + other] += pairs / (ratings - 1.0);
            }
        }
    }
    let totals: Vec<f64> = coincidences.chunks(k).map(|row| row.iter().sum()).collect();
    let n: f64 = totals.iter().sum();
    let distance = |c: usize, other: usize| match level {
        Level::Nominal => f64::from(u8::from(c != other)),
        Level::Ordinal => {
            let between: f64 = totals[c.min(other)..=c.max(other)].iter().sum();
            if c == other { 0.0 } else { (between - 0.5 * (totals[c] + totals[other])).powi(2) }
        }
        Level::Interval => (values[c] - values[other]).powi(2),
        Level::Ratio => {
            let (difference, total) = (values[c] - values[other], values[c] + values[other]);
            if difference == 0.0 { 0.0 } else { (difference / total).powi(2) }
        }
    };
    let pairs = || (0..k).flat_map(move |c| (0..k).map(move |other| (c, other)));
    let observed = sum(pairs().map(|(c, other)| coincidences[c * k + other] * distance(c, other)));
    let expected = sum(pairs().map(|(c, other)| totals[c] * totals[other] * distance(c, other))) / (n - 1.0);
    if expected > 0.0 && expected.is_finite() { Ok(1.0 - observed / expected) } else { Err(undefined) }
}

#[cfg(test)]
mod tests {
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
