//! The table of scalar metrics: name, columns, range, direction, and the function from named columns to an estimate.
//!
//! It is the only list: a command line, a report and the property tests walk it. Intervals resample rows, or whole
//! clusters when there is a column `cluster`.

mod columns;
#[cfg(test)]
mod policies;
mod table;

use crate::{Bootstrap, Estimate, EvalError};

pub use columns::{CLUSTER, Column, Columns};
pub use table::METRICS;

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
    /// Texts, as a column of labels.
    Texts,
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

/// A metric that finds its own interval, from columns and, where rows come in groups, the group of each.
type OwnInterval = fn(&Columns, Option<&[String]>, &Bootstrap) -> Result<Estimate, EvalError>;

/// A statistic as a function of how often each row counts; what had to be checked and sorted is done.
type Counted<'a> = Box<dyn Fn(&[u32]) -> Result<f64, EvalError> + Sync + 'a>;

/// How a metric is computed.
#[derive(Clone, Copy, Debug)]
enum Compute {
    /// The mean of one term a row.
    Terms(fn(&Columns) -> Result<Vec<f64>, EvalError>),
    /// Any statistic of rows.
    Counted(for<'a> fn(&'a Columns) -> Result<Counted<'a>, EvalError>),
    /// A statistic with a closed interval where rows are independent; the keys are those of the clusters.
    Own(OwnInterval),
}

impl ScalarMetric {
    /// Measures named columns. Range and direction stand in the fields, ties in [`doc`](Self::doc); O(n log n + B n),
    /// for Kendall's tau O(B n log n).
    ///
    /// # Errors
    /// When a column is missing, of another kind or length, holds a NaN, infinity or value out of range, when there is
    /// no row, and when the metric is not defined for these rows.
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
            Compute::Counted(counted) => statistic_of(columns.rows(), counted(columns)?, keys.as_deref(), bootstrap),
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
    rows: usize,
    counted: impl Fn(&[u32]) -> Result<f64, EvalError> + Sync,
    keys: Option<&[String]>,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    match keys {
        None => bootstrap.weighted_metric(rows, counted),
        Some(keys) => bootstrap.clustered_weighted_metric(keys, counted),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Rows that every metric of the table is defined on, from raw draws in [0, 1).
    pub(super) fn table(metric: &ScalarMetric, draws: &[(f64, f64)]) -> Columns {
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
                        Holds::Texts => (4.0 * draw).floor(),
                    }
                })
                .collect();
            // Decisions on both sides, on both classes.
            if holds == Holds::Shares && numbers.len() > 3 {
                numbers[..4].copy_from_slice(&[0.9, 0.1, 0.2, 0.8]);
            }
            columns = if holds == Holds::Texts {
                let texts = ["the cat", "the dog sat", "a cat sat", "rain"];
                columns.with_labels(name, numbers.iter().map(|&draw| texts[draw as usize].to_owned()).collect())
            } else {
                columns.with_numbers(name, numbers)
            };
        }
        columns
    }

    pub(super) fn draws() -> impl Strategy<Value = Vec<(f64, f64)>> {
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
    fn every_metric_has_an_interval_by_rows_and_by_clusters() {
        let draws: Vec<(f64, f64)> =
            (0..60).map(|row| (f64::from(row) / 60.0, f64::from(row * 7 % 60) / 60.0)).collect();
        let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
        for metric in METRICS {
            let columns = table(metric, &draws);
            let rows = metric.measure(&columns, &bootstrap).unwrap();
            let clustered = columns.with_numbers(CLUSTER, (0..60).map(|row| f64::from(row / 2)).collect());
            let clusters = metric.measure(&clustered, &bootstrap).unwrap();
            assert!(rows.interval.is_some() && clusters.interval.is_some(), "{}", metric.name);
            assert!((rows.value - clusters.value).abs() < 1e-12 && clusters.n == 60, "{}", metric.name);
        }
    }

    /// Expected values by hand.
    #[test]
    fn small_columns_have_the_values_of_the_formulas() {
        let measured = |name: &str, columns: &[(&str, &[f64])]| {
            let with =
                |columns: Columns, &(name, numbers): &(&str, &[f64])| columns.with_numbers(name, numbers.to_vec());
            let columns = columns.iter().fold(Columns::new(), with);
            super::metric(name).unwrap().measure(&columns, &Bootstrap::NONE)
        };
        let check = |name: &str, columns: &[(&str, &[f64])], expected: f64| {
            let got = measured(name, columns).unwrap().value;
            assert!((got - expected).abs() < 1e-12, "{name}: {got}");
        };
        let ranks: [(&str, &[f64]); 1] = [("rank", &[1.0, 3.0, 11.0, 0.0])];
        check("mrr", &ranks, (1.0 + 1.0 / 3.0 + 1.0 / 11.0) / 4.0);
        check("hit-rate-at-10", &ranks, 0.5);
        // log2(1 + 3) = 2.
        check("ndcg-at-10", &ranks, 1.5 / 4.0);
        // Log-ratios ln 2, 0 and -ln 2: k3 has the terms 1/2 - 1 + ln 2, 0 and 2 - 1 - ln 2.
        let ln2 = 2_f64.ln();
        let logps: [(&str, &[f64]); 2] = [("logp", &[ln2 - 3.0, -3.0, -3.0 - ln2]), ("reference", &[-3.0; 3])];
        check("kl-k1", &logps, 0.0);
        check("kl-k2", &logps, ln2 * ln2 / 3.0);
        check("kl-k3", &logps, 0.5 / 3.0);
        let far: [(&str, &[f64]); 2] = [("logp", &[-1.0]), ("reference", &[-702.0])];
        let error = measured("kl-k3", &far).unwrap_err().to_string();
        assert!(error.contains("between -700 and 700 for k3, got 701"), "{error}");
        // Two of three words and one of two pairs of words are in the prediction, which holds nothing else.
        let text = |text: &str| vec![text.to_owned()];
        let texts =
            Columns::new().with_labels("target", text("the cat sat")).with_labels("prediction", text("The cat!"));
        for (name, expected) in [("rouge-1", 0.8), ("rouge-2", 2.0 / 3.0), ("rouge-l", 0.8)] {
            let got = super::metric(name).unwrap().measure(&texts, &Bootstrap::NONE).unwrap().value;
            assert!((got - expected).abs() < 1e-12, "{name}: {got}");
        }
        // 9 of the 45 ways to draw eight of ten leave out the wrong one.
        check("pass-hat-8", &[("samples", &[10.0]), ("correct", &[9.0])], 0.2);
        let first: [(&str, &[f64]); 2] = [("prediction", &[0.0, 2.0, -1.0, 3.0]), ("label", &[0.0, 1.0, -1.0, -1.0])];
        check("first-error-exact", &first, 0.5);
        check("first-error-within-one", &first, 0.75);
        // Both positives are called so from 2 on, and with them one of the two negatives.
        check("fpr-at-tpr-95", &[("score", &[4.0, 3.0, 2.0, 1.0]), ("label", &[1.0, 0.0, 1.0, 0.0])], 0.5);
        // Two pairs agree and one does not; of three values each, (9 * 2/3)/2 = 3 pairs could.
        check("kendall-tau-c", &[("x", &[1.0, 2.0, 3.0]), ("y", &[1.0, 3.0, 2.0])], 1.0 / 3.0);
        check("p-ik-cross-entropy", &[("p", &[0.25]), ("share", &[0.5])], -0.5 * (0.25_f64.ln() + 0.75_f64.ln()));
        // The mean distance is 2/3, by chance (4 * 1 + 2 * 2)/9.
        check("linear-kappa", &[("a", &[0.0, 1.0, 2.0]), ("b", &[0.0, 2.0, 1.0])], 0.25);
        // Two deciles of p are one row each, whatever p is; ten bins of equal width hold both in one, where gaps cancel.
        let close: [(&str, &[f64]); 2] = [("p", &[0.41, 0.49]), ("label", &[0.0, 1.0])];
        check("ece-equal-mass", &close, 0.46);
        check("ece", &close, 0.05);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_value_is_in_its_range_and_keeps_when_rows_move(draws in draws(), turn in 1_usize..29) {
            for metric in METRICS {
                let columns = table(metric, &draws);
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
