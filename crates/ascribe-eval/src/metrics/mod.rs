//! The table of scalar metrics: name, columns, range, direction, and the function from named columns to an estimate.
//!
//! It is the only list: a command line, a report and the property tests walk it. Intervals resample rows, or whole clusters
//! when there is a column `cluster`.

mod columns;

use crate::bench::pass_at_k;
use crate::bench::process_bench::process_f1;
use crate::calibrate::{Binning, Half, balance_terms, brier_skill, calibration_error, log_losses, squares};
use crate::classify::{Between, Confusion, Curve, Decision, ZeroDivision, auroc_estimate, clustered_auroc};
use crate::pairs::{Ties, credits};
use crate::rank::{Correlation, KappaWeights, cohen_kappa, pearson};
use crate::stats::sum::{as_numbers, mean};
use crate::{Bootstrap, Estimate, EvalError, accuracy};

pub use columns::{CLUSTER, Column, Columns};

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Larger is better.
    Up,
    /// Smaller is better.
    Down,
    /// Nearer to 0 is better.
    Zero,
}

/// What a column of a metric holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Any numbers.
    Numbers,
    /// Numbers from 0 to 1.
    Shares,
    /// 0 and 1.
    Flags,
    /// Whole numbers from 0 on.
    Counts,
    /// Whole numbers from -1 on; -1 says "none".
    Steps,
}

/// One metric of the table.
#[derive(Clone, Copy, Debug)]
pub struct ScalarMetric {
    /// Its name.
    pub name: &'static str,
    /// The columns it reads, and what they hold.
    pub columns: &'static [(&'static str, Holds)],
    /// The smallest and the largest value; infinite where there is no bound.
    pub range: (f64, f64),
    /// Which way is better.
    pub direction: Direction,
    /// What it measures, in one line.
    pub doc: &'static str,
    compute: Compute,
}

/// How a metric is computed.
#[derive(Clone, Copy, Debug)]
enum Compute {
    /// The mean of one term a row.
    Terms(fn(&Columns) -> Result<Vec<f64>, EvalError>),
    /// Any statistic of rows.
    Value(fn(&Columns) -> Result<f64, EvalError>),
    /// A statistic with a faster or a closed interval; the keys are those of the clusters.
    Own(fn(&Columns, Option<&[String]>, &Bootstrap) -> Result<Estimate, EvalError>),
}

impl ScalarMetric {
    /// Measures named columns.
    ///
    /// # Errors
    /// When a column is missing, of another kind or length, holds a NaN, infinity or value out of range, when there is no row,
    /// and when the metric is not defined for these rows.
    pub fn measure(&self, columns: &Columns, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
        for (name, _) in self.columns {
            columns.get(name)?;
        }
        columns.same_rows()?;
        if columns.rows() == 0 {
            return Err(EvalError::Empty { what: "the columns" });
        }
        let keys = columns.clusters()?;
        match self.compute {
            Compute::Own(own) => own(columns, keys.as_deref(), bootstrap),
            Compute::Terms(terms) => mean_of(&terms(columns)?, keys.as_deref(), bootstrap),
            Compute::Value(value) => statistic_of(columns, keys.as_deref(), bootstrap, |columns| value(columns)),
        }
    }
}

fn mean_of(terms: &[f64], keys: Option<&[String]>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    match keys {
        None => bootstrap.mean(terms),
        Some(keys) => bootstrap.clustered_mean(terms, keys),
    }
}

fn statistic_of(
    columns: &Columns,
    keys: Option<&[String]>,
    bootstrap: &Bootstrap,
    value: impl Fn(&Columns) -> Result<f64, EvalError> + Sync,
) -> Result<Estimate, EvalError> {
    let of_rows = |rows: &[usize]| value(&columns.pick(rows)?);
    match keys {
        None => bootstrap.metric(columns.rows(), of_rows),
        Some(keys) => bootstrap.clustered_metric(keys, of_rows),
    }
}

/// The metric `name`.
///
/// # Errors
/// When there is none; the message names all.
pub fn metric(name: &str) -> Result<&'static ScalarMetric, EvalError> {
    METRICS.iter().find(|metric| metric.name == name).ok_or_else(|| {
        let known = METRICS.iter().map(|metric| metric.name).collect::<Vec<_>>().join(", ");
        EvalError::Missing { what: "the metric", name: name.to_owned(), known }
    })
}

const SHARE: (f64, f64) = (0.0, 1.0);
const SIGNED: (f64, f64) = (-1.0, 1.0);
const POSITIVE: (f64, f64) = (0.0, f64::INFINITY);

const CORRECT: &[(&str, Holds)] = &[("correct", Holds::Flags)];
const PAIR: &[(&str, Holds)] = &[("chosen", Holds::Numbers), ("rejected", Holds::Numbers)];
const SCORED: &[(&str, Holds)] = &[("score", Holds::Numbers), ("label", Holds::Flags)];
const FORECAST: &[(&str, Holds)] = &[("p", Holds::Shares), ("label", Holds::Flags)];
const XY: &[(&str, Holds)] = &[("x", Holds::Numbers), ("y", Holds::Numbers)];
const GRADES: &[(&str, Holds)] = &[("a", Holds::Counts), ("b", Holds::Counts)];
const MARKS: &[(&str, Holds)] = &[("judge", Holds::Numbers), ("teacher", Holds::Numbers)];
const OUTCOME: &[(&str, Holds)] = &[("outcome", Holds::Shares)];
const ATTEMPTS: &[(&str, Holds)] = &[("samples", Holds::Counts), ("correct", Holds::Counts)];
const FIRST_ERROR: &[(&str, Holds)] = &[("prediction", Holds::Steps), ("label", Holds::Steps)];
const TWICE: &[(&str, Holds)] = &[("first", Holds::Flags), ("second", Holds::Flags)];

macro_rules! row {
    ($name:literal, $columns:ident, $range:ident, $direction:ident, $compute:expr, $doc:literal) => {
        ScalarMetric {
            name: $name,
            columns: $columns,
            range: $range,
            direction: Direction::$direction,
            doc: $doc,
            compute: $compute,
        }
    };
}

/// Every scalar metric by name. Thresholds are 0.5, bins ten of equal width.
pub const METRICS: &[ScalarMetric] = &[
    row!("accuracy", CORRECT, SHARE, Up, Compute::Own(share_correct), "share of correct rows"),
    row!(
        "pair-accuracy",
        PAIR,
        SHARE,
        Up,
        Compute::Terms(|c| pair(c, Ties::Strict)),
        "share of pairs with chosen above rejected; a tie is wrong"
    ),
    row!(
        "pair-accuracy-half",
        PAIR,
        SHARE,
        Up,
        Compute::Terms(|c| pair(c, Ties::Half)),
        "the same; a tie is half right"
    ),
    row!("pair-accuracy-loose", PAIR, SHARE, Up, Compute::Terms(|c| pair(c, Ties::Loose)), "the same; a tie is right"),
    row!(
        "pair-loss",
        PAIR,
        POSITIVE,
        Down,
        Compute::Terms(pair_loss),
        "mean Bradley-Terry loss ln(1 + e^-(chosen - rejected))"
    ),
    row!("auroc", SCORED, SHARE, Up, Compute::Own(area), "chance that a positive outranks a negative"),
    row!(
        "average-precision",
        SCORED,
        SHARE,
        Up,
        Compute::Value(|c| Ok(curve(c)?.average_precision())),
        "precision averaged over the recall of distinct thresholds"
    ),
    row!(
        "tpr-at-fpr-1",
        SCORED,
        SHARE,
        Up,
        Compute::Value(|c| curve(c)?.tpr_at_fpr(0.01, Between::Step)),
        "true positive rate at a false positive rate of at most 0.01"
    ),
    row!(
        "precision",
        FORECAST,
        SHARE,
        Up,
        Compute::Value(|c| decided(c, Decision::Precision)),
        "share of true labels among p >= 0.5"
    ),
    row!(
        "recall",
        FORECAST,
        SHARE,
        Up,
        Compute::Value(|c| decided(c, Decision::Recall)),
        "share of the true labels with p >= 0.5"
    ),
    row!(
        "specificity",
        FORECAST,
        SHARE,
        Up,
        Compute::Value(|c| decided(c, Decision::Specificity)),
        "share of the false labels with p < 0.5"
    ),
    row!(
        "f1",
        FORECAST,
        SHARE,
        Up,
        Compute::Value(|c| decided(c, Decision::FBeta(1.0))),
        "harmonic mean of precision and recall"
    ),
    row!(
        "g-mean",
        FORECAST,
        SHARE,
        Up,
        Compute::Value(|c| decided(c, Decision::GMean)),
        "geometric mean of recall and specificity"
    ),
    row!(
        "balanced-accuracy",
        FORECAST,
        SHARE,
        Up,
        Compute::Value(|c| decided(c, Decision::BalancedAccuracy)),
        "mean of recall and specificity"
    ),
    row!(
        "mcc",
        FORECAST,
        SIGNED,
        Up,
        Compute::Value(|c| decided(c, Decision::Mcc)),
        "Matthews' correlation of decision and label"
    ),
    row!("ece", FORECAST, SHARE, Down, Compute::Value(|c| Ok(calibration(c)?.ece)), "expected calibration error"),
    row!("mce", FORECAST, SHARE, Down, Compute::Value(|c| Ok(calibration(c)?.mce)), "largest gap of a bin"),
    row!(
        "rms-calibration-error",
        FORECAST,
        SHARE,
        Down,
        Compute::Value(|c| Ok(calibration(c)?.rms)),
        "root mean square gap of the bins"
    ),
    row!(
        "signed-calibration-error",
        FORECAST,
        SIGNED,
        Zero,
        Compute::Value(|c| Ok(calibration(c)?.signed)),
        "mean p less mean label; positive is over-confident"
    ),
    row!(
        "brier",
        FORECAST,
        SHARE,
        Down,
        Compute::Terms(|c| squares(c.numbers("p")?, &c.flags("label")?)),
        "mean squared error of the forecast"
    ),
    row!(
        "brier-skill",
        FORECAST,
        UP_TO_ONE,
        Up,
        Compute::Value(skill),
        "1 less the Brier score over that of the base rate"
    ),
    row!(
        "log-loss",
        FORECAST,
        POSITIVE,
        Down,
        Compute::Terms(|c| log_losses(c.numbers("p")?, &c.flags("label")?, None)),
        "mean log loss in nats; 0 and 1 on the wrong side are refused"
    ),
    row!(
        "balance",
        FORECAST,
        BALANCE,
        Zero,
        Compute::Terms(|c| balance_terms(c.numbers("p")?, &c.flags("label")?, Half::Positive)),
        "accuracy less mean confidence of the decision"
    ),
    row!("pearson", XY, SIGNED, Up, Compute::Own(linear), "linear correlation"),
    row!(
        "spearman",
        XY,
        SIGNED,
        Up,
        Compute::Value(|c| correlated(c, Correlation::Spearman)),
        "correlation of mid-ranks"
    ),
    row!(
        "kendall-tau-b",
        XY,
        SIGNED,
        Up,
        Compute::Value(|c| correlated(c, Correlation::Kendall)),
        "concordant less discordant pairs, corrected for ties"
    ),
    row!(
        "cohen-kappa",
        GRADES,
        SIGNED,
        Up,
        Compute::Value(|c| kappa(c, KappaWeights::Unweighted)),
        "agreement of two raters beyond chance"
    ),
    row!(
        "quadratic-kappa",
        GRADES,
        SIGNED,
        Up,
        Compute::Value(|c| kappa(c, KappaWeights::Quadratic)),
        "the same with squared distance of grades"
    ),
    row!("mae", MARKS, POSITIVE, Down, Compute::Terms(|c| marks(c, f64::abs)), "mean absolute error of marks"),
    row!(
        "mse",
        MARKS,
        POSITIVE,
        Down,
        Compute::Terms(|c| marks(c, |error| error * error)),
        "mean squared error of marks"
    ),
    row!(
        "rmse",
        MARKS,
        POSITIVE,
        Down,
        Compute::Value(|c| Ok(mean(&marks(c, |error| error * error)?).sqrt())),
        "its root"
    ),
    row!("bias", MARKS, ANY, Zero, Compute::Terms(|c| marks(c, |error| error)), "mean of judge less teacher"),
    row!("win-rate", OUTCOME, SHARE, Up, Compute::Terms(outcomes), "mean outcome; a draw is 0.5"),
    row!(
        "pass-at-1",
        ATTEMPTS,
        SHARE,
        Up,
        Compute::Terms(|c| passes(c, 1)),
        "chance that one sample is correct, mean over problems"
    ),
    row!(
        "pass-at-8",
        ATTEMPTS,
        SHARE,
        Up,
        Compute::Terms(|c| passes(c, 8)),
        "chance that one of eight samples is correct, mean over problems"
    ),
    row!(
        "process-f1",
        FIRST_ERROR,
        SHARE,
        Up,
        Compute::Value(located),
        "harmonic mean of exact first errors and of clean solutions found clean"
    ),
    row!(
        "difference",
        TWICE,
        SIGNED,
        Zero,
        Compute::Terms(difference),
        "accuracy of the first less that of the second, paired"
    ),
];

const UP_TO_ONE: (f64, f64) = (f64::NEG_INFINITY, 1.0);
const BALANCE: (f64, f64) = (-1.0, 0.5);
const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

fn share_correct(columns: &Columns, keys: Option<&[String]>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let correct = columns.flags("correct")?;
    match keys {
        None => accuracy(&correct, bootstrap.level),
        Some(_) => mean_of(&as_numbers(&correct), keys, bootstrap),
    }
}

fn pair(columns: &Columns, ties: Ties) -> Result<Vec<f64>, EvalError> {
    credits(columns.numbers("chosen")?, columns.numbers("rejected")?, ties)
}

fn pair_loss(columns: &Columns) -> Result<Vec<f64>, EvalError> {
    let (chosen, rejected) = (columns.numbers("chosen")?, columns.numbers("rejected")?);
    Ok(chosen.iter().zip(rejected).map(|(chosen, rejected)| crate::stats::sum::softplus(rejected - chosen)).collect())
}

fn area(columns: &Columns, keys: Option<&[String]>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let (scores, labels) = (columns.numbers("score")?, columns.flags("label")?);
    match keys {
        None => auroc_estimate(scores, &labels, bootstrap),
        Some(keys) => clustered_auroc(scores, &labels, keys, bootstrap),
    }
}

fn curve(columns: &Columns) -> Result<Curve, EvalError> {
    Curve::new(columns.numbers("score")?, &columns.flags("label")?)
}

fn decided(columns: &Columns, decision: Decision) -> Result<f64, EvalError> {
    let p = columns.numbers("p")?;
    crate::error::shares("p", p)?;
    Confusion::at(p, &columns.flags("label")?, 0.5)?.measure(decision, ZeroDivision::Refuse)
}

fn calibration(columns: &Columns) -> Result<crate::calibrate::CalibrationError, EvalError> {
    calibration_error(columns.numbers("p")?, &columns.flags("label")?, Binning::default())
}

fn skill(columns: &Columns) -> Result<f64, EvalError> {
    Ok(brier_skill(columns.numbers("p")?, &columns.flags("label")?, &Bootstrap::NONE)?.value)
}

fn correlated(columns: &Columns, kind: Correlation) -> Result<f64, EvalError> {
    kind.of(columns.numbers("x")?, columns.numbers("y")?)
}

fn linear(columns: &Columns, keys: Option<&[String]>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    match keys {
        None => pearson(columns.numbers("x")?, columns.numbers("y")?, bootstrap.level),
        Some(_) => statistic_of(columns, keys, bootstrap, |columns| correlated(columns, Correlation::Pearson)),
    }
}

fn kappa(columns: &Columns, weights: KappaWeights) -> Result<f64, EvalError> {
    let grades = |grades: Vec<i64>| grades.into_iter().map(|grade| grade as u32).collect::<Vec<u32>>();
    let (a, b) = (grades(columns.integers("a", 0)?), grades(columns.integers("b", 0)?));
    let k = a.iter().chain(&b).copied().max().unwrap_or(0) + 1;
    crate::error::option("grades", "below 1000", f64::from(k), k <= 1000)?;
    Ok(cohen_kappa(&a, &b, k.max(2), weights, &Bootstrap::NONE)?.value)
}

fn marks(columns: &Columns, of: fn(f64) -> f64) -> Result<Vec<f64>, EvalError> {
    let (judge, teacher) = (columns.numbers("judge")?, columns.numbers("teacher")?);
    Ok(judge.iter().zip(teacher).map(|(judge, teacher)| of(judge - teacher)).collect())
}

fn outcomes(columns: &Columns) -> Result<Vec<f64>, EvalError> {
    let outcomes = columns.numbers("outcome")?;
    crate::error::shares("outcome", outcomes)?;
    Ok(outcomes.to_vec())
}

fn passes(columns: &Columns, k: usize) -> Result<Vec<f64>, EvalError> {
    let (samples, correct) = (columns.integers("samples", 0)?, columns.integers("correct", 0)?);
    samples.iter().zip(correct).map(|(&samples, correct)| pass_at_k(samples as usize, correct as usize, k)).collect()
}

fn located(columns: &Columns) -> Result<f64, EvalError> {
    let predictions: Vec<Option<i64>> = columns.integers("prediction", -1)?.into_iter().map(Some).collect();
    Ok(process_f1(&predictions, &columns.integers("label", -1)?, &Bootstrap::NONE)?.f1.value)
}

fn difference(columns: &Columns) -> Result<Vec<f64>, EvalError> {
    let (first, second) = (as_numbers(&columns.flags("first")?), as_numbers(&columns.flags("second")?));
    Ok(first.iter().zip(second).map(|(first, second)| first - second).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Rows that every metric of the table is defined on, from raw draws in [0, 1).
    fn table(metric: &ScalarMetric, draws: &[(f64, f64)], poison: Option<f64>) -> Columns {
        let mut columns = Columns::new();
        for (place, &(name, holds)) in metric.columns.iter().enumerate() {
            let mut numbers: Vec<f64> = draws
                .iter()
                .enumerate()
                .map(|(row, &(a, b))| {
                    let draw = if place == 0 { a } else { b };
                    match holds {
                        Holds::Numbers => (8.0 * draw - 4.0).round() + row as f64 * 1e-3,
                        Holds::Shares => 0.01 + 0.98 * draw,
                        // Both classes are there whatever is drawn.
                        Holds::Flags => f64::from(u8::from(match row {
                            0 | 2 => true,
                            1 | 3 => false,
                            _ => draw > 0.5,
                        })),
                        Holds::Counts if metric.columns[0].0 == "samples" => {
                            if place == 0 {
                                12.0
                            } else {
                                (12.0 * draw).floor()
                            }
                        }
                        Holds::Counts if row < 2 => row as f64,
                        Holds::Counts => (4.0 * draw).floor(),
                        Holds::Steps if row < 2 => row as f64 - 1.0,
                        Holds::Steps => (4.0 * draw).floor() - 1.0,
                    }
                })
                .collect();
            // Decisions on both sides, on both classes.
            if holds == Holds::Shares && numbers.len() > 3 {
                numbers[..4].copy_from_slice(&[0.9, 0.1, 0.2, 0.8]);
            }
            if let (Some(poison), 0) = (poison, place) {
                numbers[0] = poison;
            }
            columns = columns.with_numbers(name, numbers);
        }
        columns
    }

    fn draws() -> impl Strategy<Value = Vec<(f64, f64)>> {
        prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 6..30)
    }

    #[test]
    fn names_are_unique_and_rows_are_documented() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(!metric.doc.is_empty() && metric.range.0 < metric.range.1, "{}", metric.name);
            assert!(super::metric(metric.name).is_ok());
        }
        assert!(super::metric("acuracy").unwrap_err().to_string().contains("pair-accuracy"));
    }

    #[test]
    fn every_metric_refuses_empty_columns_nan_and_missing_columns() {
        let draws: Vec<(f64, f64)> =
            (0..12).map(|row| (f64::from(row) / 12.0, f64::from(row * 5 % 12) / 12.0)).collect();
        for metric in METRICS {
            let measure = |columns: &Columns| metric.measure(columns, &Bootstrap::NONE);
            assert!(measure(&table(metric, &draws, None)).is_ok(), "{}", metric.name);
            assert!(matches!(measure(&table(metric, &[], None)), Err(EvalError::Empty { .. })), "{}", metric.name);
            for poison in [f64::NAN, f64::INFINITY] {
                let result = measure(&table(metric, &draws, Some(poison)));
                assert!(matches!(result, Err(EvalError::NotFinite { index: 0, .. })), "{} {result:?}", metric.name);
            }
            assert!(matches!(measure(&Columns::new()), Err(EvalError::Missing { .. })), "{}", metric.name);
            let short = table(metric, &draws, None).with_numbers("cluster", vec![1.0]);
            assert!(matches!(measure(&short), Err(EvalError::Length { .. })), "{}", metric.name);
        }
    }

    #[test]
    fn every_metric_has_an_interval_by_rows_and_by_clusters() {
        let draws: Vec<(f64, f64)> =
            (0..60).map(|row| (f64::from(row) / 60.0, f64::from(row * 7 % 60) / 60.0)).collect();
        let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
        for metric in METRICS {
            let columns = table(metric, &draws, None);
            let rows = metric.measure(&columns, &bootstrap).unwrap();
            let clustered = columns.with_numbers(CLUSTER, (0..60).map(|row| f64::from(row / 2)).collect());
            let clusters = metric.measure(&clustered, &bootstrap).unwrap();
            assert!(rows.interval.is_some() && clusters.interval.is_some(), "{}", metric.name);
            assert!((rows.value - clusters.value).abs() < 1e-12 && clusters.n == 60, "{}", metric.name);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_value_is_in_its_range_and_keeps_when_rows_move(draws in draws(), turn in 1_usize..29) {
            for metric in METRICS {
                let columns = table(metric, &draws, None);
                let value = metric.measure(&columns, &Bootstrap::NONE).unwrap().value;
                prop_assert!(metric.range.0 - 1e-12 <= value && value <= metric.range.1 + 1e-12, "{} {value}", metric.name);
                let n = columns.rows();
                let rows: Vec<usize> = (0..n).rev().map(|row| (row + turn) % n).collect();
                let moved = metric.measure(&columns.pick(&rows).unwrap(), &Bootstrap::NONE).unwrap().value;
                prop_assert!((value - moved).abs() < 1e-9, "{}: {value} and {moved}", metric.name);
            }
        }
    }
}
