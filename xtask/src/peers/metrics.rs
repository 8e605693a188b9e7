//! Metrics beside scikit-learn and scipy, each at several numbers of rows.

use anyhow::Result;
use serde_json::{Value, json};

use super::environment::Environment;
use super::jobs::{Ids, input};

/// One metric, whose peer is in `metrics_peer.py`.
pub struct Metric {
    pub name: &'static str,
    /// The work, in words.
    pub what: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// Resamples of its interval; 0 for the number alone.
    resamples: usize,
    /// The numbers of rows at which it is measured, the largest last.
    sizes: &'static [usize],
}

/// Numbers of rows, the largest last.
const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];

/// The columns of their table, with one for each number of rows.
pub const COLUMNS: &[&str] =
    &["job", "work", "peer", "10^4 rows", "10^5 rows", "10^6 rows", "our peak / theirs, most rows"];

/// Every metric.
pub const METRICS: &[Metric] = &[
    number("metrics_auroc", "AUROC", "scikit-learn"),
    number("metrics_average_precision", "average precision", "scikit-learn"),
    number("metrics_brier", "Brier score", "scikit-learn"),
    number("metrics_ece", "ECE, 10 bins", "scikit-learn"),
    number("metrics_kendall", "Kendall's tau-b, with ties", "scipy"),
    number("metrics_spearman", "Spearman's rho, with ties", "scipy"),
    Metric {
        name: "metrics_bootstrap_mean",
        what: "bootstrap of the mean, 1,000 resamples, percentile limits",
        peer: "scipy",
        resamples: 1000,
        sizes: &SIZES,
    },
    Metric {
        name: "metrics_bootstrap_auroc",
        what: "bootstrap of the AUROC, 1,000 resamples, percentile limits",
        peer: "scipy and scikit-learn",
        resamples: 1000,
        // A million rows would take the peer about five minutes for each call.
        sizes: &[10_000, 100_000],
    },
];

const fn number(name: &'static str, what: &'static str, peer: &'static str) -> Metric {
    Metric { name, what, peer, resamples: 0, sizes: &SIZES }
}

impl Metric {
    /// The content of `job.json` for `size` rows. A repeat measures as many rows at every size, by calls one after another:
    /// one call on few rows is too short for a clock.
    pub fn input(&self, environment: &Environment, size: usize) -> Result<Value> {
        let mut more = columns(size);
        more["calls"] = json!(self.calls(size));
        more["resamples"] = json!(self.resamples);
        input(environment, if self.resamples == 0 { 5 } else { 1 }, more)
    }

    /// Calls of a repeat.
    fn calls(&self, size: usize) -> usize {
        self.sizes.iter().max().map_or(1, |most| most / size)
    }

    /// A row of the table but its last cell; `ratio` measures one number of rows.
    pub fn row(&self, mut ratio: impl FnMut(usize) -> String) -> Vec<String> {
        let mut cells = vec![format!("`{}`", self.name), self.what.into(), self.peer.into()];
        cells.extend(SIZES.map(|size| if self.sizes.contains(&size) { ratio(size) } else { "not run".into() }));
        cells
    }
}

/// `n` rows: `x` below 2^20, a label that is true with probability `x / 2^20`, and `y` half way between `x` and noise.
/// They are whole numbers, so that both sides read the same.
fn columns(n: usize) -> Value {
    let mut draw = Ids::new(20);
    let [x, noise, other] = [(); 3].map(|()| draw.of(0..1 << 20, n));
    let labels: Vec<u8> = x.iter().zip(&noise).map(|(x, noise)| u8::from(noise < x)).collect();
    let y: Vec<u64> = x.iter().zip(&other).map(|(x, other)| (x + other) / 2).collect();
    json!({"x": x, "y": y, "labels": labels})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_likely_as_x_says() {
        let rows = columns(10_000);
        let of =
            |name: &str| rows[name].as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap()).collect::<Vec<_>>();
        let (x, labels) = (of("x"), of("labels"));
        // A label less its probability has mean 0 and a variance of at most 1/4, here 1/6: three errors are 0.012.
        let error = x.iter().zip(&labels).map(|(x, label)| label - x / f64::from(1 << 20)).sum::<f64>() / 10_000.0;
        assert!(error.abs() < 0.0123, "{error}");
        assert_eq!(of("y").len(), 10_000);
    }

    /// What is published: every metric at 10^4, 10^5 and 10^6 rows, the bootstrap of AUROC at the first two.
    #[test]
    fn every_metric_is_measured_at_every_size_that_its_peer_can_bear() {
        for metric in METRICS {
            let mut measured = Vec::new();
            let row = metric.row(|size| {
                measured.push(size);
                size.to_string()
            });
            let last = if metric.name == "metrics_bootstrap_auroc" { "not run" } else { "1000000" };
            assert_eq!(row[3..], ["10000", "100000", last], "{}", metric.name);
            assert_eq!(row.len() + 1, COLUMNS.len());
            assert!(metric.name.starts_with("metrics_"), "{}", metric.name);
            // As many rows in a repeat, whatever their number in a call.
            let most = measured[measured.len() - 1];
            assert!(measured.iter().all(|&size| metric.calls(size) * size == most), "{}", metric.name);
        }
    }

    #[test]
    fn a_column_says_its_number_of_rows() {
        let said = SIZES.map(|size| format!("10^{} rows", size.ilog10()));
        assert_eq!(COLUMNS[3..6], said);
    }
}
