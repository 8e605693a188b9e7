//! How well a benchmark of reward models or judges predicts people, after PPE (arXiv:2410.14872) and Arena-Hard
//! (arXiv:2406.11939); and the matrix of objective mismatch (arXiv:2311.00168).
//!
//! ```text
//! separability   share of model pairs whose intervals are disjoint
//! agreement      over pairs that the reference separates: +1 same order, -1 opposite order, 0 not separated; mean
//! pair Brier     mean (chance that a is above b - 1[reference has a above b])^2, chances from bootstrap replicates
//! ```
//! The pair Brier and the reading of rows are ours.

use crate::error::{finite, not_empty, option, same_length, shares};
use crate::rank::Correlation;
use crate::stats::bootstrap::sorted_quantile;
use crate::stats::sum::{mean, number, variance};
use crate::{Estimate, EvalError};

/// Which of two intervals is above the other: 1, -1, or 0 when they overlap.
fn order(a: &Estimate, b: &Estimate) -> Result<i8, EvalError> {
    let (Some(a), Some(b)) = (a.interval, b.interval) else {
        return Err(EvalError::Degenerate { what: "separability", why: "every model needs an interval" });
    };
    Ok(i8::from(a.low > b.high) - i8::from(b.low > a.high))
}

fn pairs(models: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..models).flat_map(|a| (0..a).map(move |b| (a, b)))
}

/// Share of model pairs with disjoint intervals. In [0, 1]; intervals that touch are not disjoint; O(m^2) for m models.
///
/// # Errors
/// When there are fewer than two models or one has no interval.
pub fn separability(models: &[Estimate]) -> Result<f64, EvalError> {
    option("models", "at least 2", models.len() as f64, models.len() >= 2)?;
    let mut apart = Vec::new();
    for (a, b) in pairs(models.len()) {
        apart.push(number(order(&models[a], &models[b])? != 0));
    }
    Ok(mean(&apart))
}

/// How far the benchmark separates the pairs that the reference separates, and in its order; in [-1, 1]. Pairs that the
/// benchmark does not separate count 0; O(m^2) for m models.
///
/// # Errors
/// When the lengths differ, a model has no interval, or the reference separates no pair.
pub fn confidence_agreement(benchmark: &[Estimate], reference: &[Estimate]) -> Result<f64, EvalError> {
    same_length("reference", benchmark.len(), reference.len())?;
    let mut agreements = Vec::new();
    for (a, b) in pairs(benchmark.len()) {
        let wanted = order(&reference[a], &reference[b])?;
        if wanted != 0 {
            agreements.push(f64::from(wanted * order(&benchmark[a], &benchmark[b])?));
        }
    }
    if agreements.is_empty() {
        return Err(EvalError::Degenerate {
            what: "confidence agreement",
            why: "the reference separates no two models",
        });
    }
    Ok(mean(&agreements))
}

/// Brier score of the chances that one model is above the other. `replicates[model]` are bootstrap values drawn on the
/// same resamples for all models; `reference` orders the models, pairs that it ties are left out. In [0, 1]; equal
/// replicates count half; O(m^2 B).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, a list is empty, or the reference ties every pair.
pub fn pair_brier(replicates: &[Vec<f64>], reference: &[f64]) -> Result<f64, EvalError> {
    finite("reference", reference)?;
    same_length("replicates", reference.len(), replicates.len())?;
    for list in replicates {
        finite("the replicates of a model", list)?;
        same_length("the replicates of a model", replicates[0].len(), list.len())?;
    }
    let mut errors = Vec::new();
    for (a, b) in pairs(reference.len()).filter(|&(a, b)| reference[a] != reference[b]) {
        let above = |(a, b): (&f64, &f64)| number(a > b) + 0.5 * number(a == b);
        let chance = mean(&replicates[a].iter().zip(&replicates[b]).map(above).collect::<Vec<_>>());
        errors.push((chance - number(reference[a] > reference[b])).powi(2));
    }
    if errors.is_empty() {
        return Err(EvalError::Degenerate { what: "the pair Brier score", why: "the reference ties every two models" });
    }
    Ok(mean(&errors))
}

/// The mean correlation of the rows of two model x model win-rate matrices, without the diagonal. In [-1, 1]; ties as
/// in `kind`; O(m^2), for ranks and order times log m.
///
/// # Errors
/// When a matrix is not square or not of the size of the other, or a row is constant.
pub fn row_wise_correlation(one: &[Vec<f64>], other: &[Vec<f64>], kind: Correlation) -> Result<f64, EvalError> {
    not_empty("the models", one)?;
    same_length("other", one.len(), other.len())?;
    let mut values = Vec::with_capacity(one.len());
    for (row, (a, b)) in one.iter().zip(other).enumerate() {
        same_length("a row of the first matrix", one.len(), a.len())?;
        same_length("a row of the second matrix", one.len(), b.len())?;
        let off_diagonal = |values: &[f64]| {
            values.iter().enumerate().filter(|&(column, _)| column != row).map(|(_, value)| *value).collect::<Vec<_>>()
        };
        values.push(kind.of(&off_diagonal(a), &off_diagonal(b))?);
    }
    Ok(mean(&values))
}

/// The mean win rate of each model against every other one, from the model x model matrix of predicted win rates without
/// its diagonal: what is correlated with ratings by people. In [0, 1]; O(m^2) for m models.
///
/// # Errors
/// When there are fewer than two models, the matrix is not square, or a rate is not in [0, 1].
pub fn mean_win_rates(rates: &[Vec<f64>]) -> Result<Vec<f64>, EvalError> {
    option("models", "at least 2", rates.len() as f64, rates.len() >= 2)?;
    let mut means = Vec::with_capacity(rates.len());
    for (row, rates_of) in rates.iter().enumerate() {
        same_length("a row of win rates", rates.len(), rates_of.len())?;
        shares("a row of win rates", rates_of)?;
        let others = rates_of.iter().enumerate().filter(|&(column, _)| column != row);
        means.push(mean(&others.map(|(_, rate)| *rate).collect::<Vec<_>>()));
    }
    Ok(means)
}

/// `scores[model][domain]` with every domain on its own scale, less its mean over models and divided by its standard
/// deviation (n - 1), before a mean or a quantile over domains is taken. Unbounded; O(models domains).
///
/// # Errors
/// When there are fewer than two models, they differ in their number of domains or have none, a score is NaN or infinite,
/// or a domain is constant.
pub fn standardised_domains(scores: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, EvalError> {
    option("models", "at least 2", scores.len() as f64, scores.len() >= 2)?;
    for model in scores {
        same_length("the scores of a model", scores[0].len(), model.len())?;
        finite("the scores of a model", model)?;
    }
    let mut standardised = scores.to_vec();
    for domain in 0..scores[0].len() {
        let column: Vec<f64> = scores.iter().map(|model| model[domain]).collect();
        let (centre, sd) = (mean(&column), variance(&column).sqrt());
        if sd == 0.0 {
            return Err(EvalError::Degenerate { what: "a standardised domain", why: "every model scores the same" });
        }
        standardised.iter_mut().for_each(|model| model[domain] = (model[domain] - centre) / sd);
    }
    Ok(standardised)
}

/// A quantile over domains (type 7), 0 for the smallest: low quantiles predict a tuned policy better than means.
/// Between the smallest and the largest value; O(n log n).
///
/// # Errors
/// When there is no domain, a value is NaN or infinite, or `quantile` is not in [0, 1].
pub fn quantile_over_domains(values: &[f64], quantile: f64) -> Result<f64, EvalError> {
    finite("values", values)?;
    shares("quantile", &[quantile])?;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted_quantile(&sorted, quantile))
}

/// Tau-b of every two columns of runs; `None` where a column is constant, which is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct MismatchMatrix {
    /// Names of the columns, in their order.
    pub columns: Vec<String>,
    /// `tau[i][j]`.
    pub tau: Vec<Vec<Option<f64>>>,
    /// Columns that are constant.
    pub constant: Vec<String>,
    /// The pair of neighbours along the chain with the smallest tau; `None` if no link is defined.
    pub weakest_link: Option<(String, String, f64)>,
    /// Links of the chain with a negative tau.
    pub flipped: Vec<(String, String)>,
}

/// The matrix of `columns` (name and one value a run); the chain goes through the columns in the order given, say RM
/// accuracy, RL reward, downstream score. Taus lie in [-1, 1], tied runs leave the scale; O(c^2 n log n) for c columns.
///
/// # Errors
/// When there are fewer than two columns or five runs, lengths differ, or a value is NaN or infinite.
pub fn mismatch_matrix(columns: &[(&str, &[f64])]) -> Result<MismatchMatrix, EvalError> {
    option("columns", "at least 2", columns.len() as f64, columns.len() >= 2)?;
    let runs = columns[0].1.len();
    option("runs", "at least 5", runs as f64, runs >= 5)?;
    for (_, values) in columns {
        same_length("a column", runs, values.len())?;
        finite("a column", values)?;
    }
    let tau: Vec<Vec<Option<f64>>> = columns
        .iter()
        .map(|(_, a)| columns.iter().map(|(_, b)| Correlation::Kendall.of(a, b).ok()).collect())
        .collect();
    let name = |column: usize| columns[column].0.to_owned();
    let links: Vec<(usize, f64)> =
        (1..columns.len()).filter_map(|column| Some((column, tau[column - 1][column]?))).collect();
    let weakest = links.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    Ok(MismatchMatrix {
        columns: (0..columns.len()).map(name).collect(),
        constant: (0..columns.len()).filter(|&column| tau[column][column].is_none()).map(name).collect(),
        weakest_link: weakest.map(|&(column, tau)| (name(column - 1), name(column), tau)),
        flipped: links.iter().filter(|link| link.1 < 0.0).map(|link| (name(link.0 - 1), name(link.0))).collect(),
        tau,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interval;

    fn model(low: f64, high: f64) -> Estimate {
        let interval = Some(Interval { low, high, level: 0.95, method: "given" });
        Estimate { value: 0.5 * (low + high), interval, n: 1 }
    }

    /// Reference separates a < b < c: three pairs. The benchmark agrees on two and leaves b and c open.
    #[test]
    fn three_models() {
        let reference = [model(0.0, 1.0), model(2.0, 3.0), model(4.0, 5.0)];
        let benchmark = [model(0.0, 1.0), model(2.0, 3.0), model(2.5, 3.5)];
        assert!((separability(&benchmark).unwrap() - 2.0 / 3.0).abs() < 1e-15);
        assert!((confidence_agreement(&benchmark, &reference).unwrap() - 2.0 / 3.0).abs() < 1e-15);
        let reversed = [model(4.0, 5.0), model(2.0, 3.0), model(0.0, 1.0)];
        assert_eq!(confidence_agreement(&reversed, &reference).unwrap(), -1.0);
        let same = [model(0.0, 1.0), model(0.0, 1.0)];
        assert!(matches!(confidence_agreement(&same, &same), Err(EvalError::Degenerate { .. })));
        assert!(separability(&benchmark[..1]).is_err());
        assert!(separability(&[model(0.0, 1.0), Estimate { interval: None, ..model(0.0, 1.0) }]).is_err());
    }

    /// Model 1 is above model 0 in three of four replicates, and in the reference: (3/4 - 1)^2.
    #[test]
    fn chances_against_the_reference() {
        let replicates = [vec![0.0, 0.0, 0.0, 2.0], vec![1.0, 1.0, 1.0, 1.0]];
        assert_eq!(pair_brier(&replicates, &[0.0, 1.0]).unwrap(), 0.0625);
        assert!(matches!(pair_brier(&replicates, &[1.0, 1.0]), Err(EvalError::Degenerate { .. })));
        assert_eq!(quantile_over_domains(&[3.0, 1.0, 2.0], 0.25).unwrap(), 1.5);
    }

    #[test]
    fn win_rates_leave_out_the_diagonal_and_domains_get_scales() {
        let rates = [vec![0.5, 0.9, 0.7], vec![0.1, 0.5, 0.4], vec![0.3, 0.6, 0.5]];
        for (got, expected) in mean_win_rates(&rates).unwrap().into_iter().zip([0.8, 0.25, 0.45]) {
            assert!((got - expected).abs() < 1e-15, "{got}");
        }
        assert!(matches!(mean_win_rates(&rates[..2]), Err(EvalError::Length { .. })));
        assert!(matches!(mean_win_rates(&[]), Err(EvalError::Range { .. })));
        // Mean 2 and deviation 1; mean 20 and deviation 10.
        let scores = [vec![1.0, 30.0], vec![2.0, 20.0], vec![3.0, 10.0]];
        assert_eq!(standardised_domains(&scores).unwrap(), [[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]]);
        assert!(matches!(standardised_domains(&[vec![1.0], vec![1.0]]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(standardised_domains(&[vec![], vec![]]), Err(EvalError::Empty { .. })));
        assert!(matches!(standardised_domains(&[vec![1.0], vec![f64::NAN]]), Err(EvalError::NotFinite { .. })));
    }

    /// Beside the diagonal each row has two rates: those of the first and the last go together, those of the second do not.
    #[test]
    fn rows_of_win_rates_are_compared_one_by_one() {
        let one = [vec![0.5, 0.9, 0.7], vec![0.1, 0.5, 0.4], vec![0.3, 0.6, 0.5]];
        let other = [vec![0.5, 0.8, 0.6], vec![0.5, 0.5, 0.2], vec![0.1, 0.2, 0.5]];
        for kind in [Correlation::Pearson, Correlation::Spearman, Correlation::Kendall] {
            let mean = row_wise_correlation(&one, &other, kind).unwrap();
            assert!((mean - 1.0 / 3.0).abs() < 1e-12, "{kind:?} {mean}");
        }
        let of = |one: &[Vec<f64>], other: &[Vec<f64>]| row_wise_correlation(one, other, Correlation::Pearson);
        assert!(matches!(of(&one, &other[..2]), Err(EvalError::Length { .. })));
        assert!(matches!(of(&one[..2], &other[..2]), Err(EvalError::Length { .. })));
        assert!(matches!(of(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(of(&one, &[0.5; 3].map(|rate| vec![rate; 3])), Err(EvalError::Degenerate { .. })));
    }

    #[test]
    fn a_flipped_link_is_found() {
        let (up, down) = ([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0]);
        let matrix = mismatch_matrix(&[("rm", &up), ("rl", &up), ("downstream", &down), ("kl", &[1.0; 5])]).unwrap();
        assert_eq!((matrix.tau[0][1], matrix.tau[0][2], matrix.tau[0][3]), (Some(1.0), Some(-1.0), None));
        assert_eq!(matrix.constant, ["kl"]);
        assert_eq!(matrix.flipped, [("rl".to_owned(), "downstream".to_owned())]);
        assert_eq!(matrix.weakest_link, Some(("rl".to_owned(), "downstream".to_owned(), -1.0)));
        assert!(mismatch_matrix(&[("a", &up[..4]), ("b", &up[..4])]).is_err());
    }
}
