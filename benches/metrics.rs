//! Metrics and bootstraps of 10^4, 10^5 and 10^6 rows: `cargo xtask bench --bench metrics`.
//!
//! A name says the metric and the number of rows; a bootstrap has 1,000 resamples. `cargo xtask bench peers --only
//! metrics` measures the same beside scikit-learn and scipy.

// The allocator of the binary.
#[allow(unsafe_code)]
#[path = "../crates/ascribe-cli/src/allocator.rs"]
mod allocator;

use std::hint::black_box;

use ascribe::eval::calibrate::{Binning, brier, ece};
use ascribe::eval::classify::average_precision;
use ascribe::eval::rank::{kendall_tau_b, spearman};
use ascribe::eval::{Bootstrap, auroc, auroc_estimate};
use criterion::{Criterion, criterion_group};

const ROWS: [usize; 3] = [10_000, 100_000, 1_000_000];

/// Numbers in [0, 1) with some ties, another column that goes along with them, and labels as likely as they say.
struct Rows {
    p: Vec<f64>,
    y: Vec<f64>,
    labels: Vec<bool>,
}

impl Rows {
    fn new(n: usize) -> Self {
        let share = |row: u64, stream: u64| mixed(3 * row + stream) as f64 / (1_u64 << 20) as f64;
        let rows = || 0..n as u64;
        Self {
            p: rows().map(|row| share(row, 0)).collect(),
            y: rows().map(|row| share(row, 0) + share(row, 1)).collect(),
            labels: rows().map(|row| share(row, 2) < share(row, 0)).collect(),
        }
    }
}

/// A number below 2^20 for each counter (SplitMix64, Steele et al. 2014).
fn mixed(counter: u64) -> u64 {
    let z = counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 44
}

/// A number each, without an interval.
fn values(criterion: &mut Criterion) {
    for n in ROWS {
        let Rows { p, y, labels } = Rows::new(n);
        criterion.bench_function(&format!("auroc/{n}"), |bencher| {
            bencher.iter(|| auroc(black_box(&p), &labels).expect("both classes"));
        });
        criterion.bench_function(&format!("average_precision/{n}"), |bencher| {
            bencher.iter(|| average_precision(black_box(&p), &labels, &Bootstrap::NONE).expect("both classes"));
        });
        criterion.bench_function(&format!("brier/{n}"), |bencher| {
            bencher.iter(|| brier(black_box(&p), &labels, &Bootstrap::NONE).expect("shares"));
        });
        criterion.bench_function(&format!("spearman/{n}"), |bencher| {
            bencher.iter(|| spearman(black_box(&p), &y, &Bootstrap::NONE).expect("values differ"));
        });
        criterion.bench_function(&format!("kendall_tau/{n}"), |bencher| {
            bencher.iter(|| kendall_tau_b(black_box(&p), &y, &Bootstrap::NONE).expect("values differ"));
        });
        criterion.bench_function(&format!("ece/{n}"), |bencher| {
            bencher.iter(|| ece(black_box(&p), &labels, Binning::default(), &Bootstrap::NONE).expect("shares"));
        });
    }
}

/// Percentile intervals from 1,000 resamples.
fn intervals(criterion: &mut Criterion) {
    let bootstrap = Bootstrap { resamples: 1000, ..Bootstrap::default() };
    for n in ROWS {
        let Rows { p, labels, .. } = Rows::new(n);
        criterion.bench_function(&format!("bootstrap_mean/{n}x1000"), |bencher| {
            bencher.iter(|| bootstrap.mean(black_box(&p)).expect("values are finite"));
        });
        criterion.bench_function(&format!("bootstrap_auroc/{n}x1000"), |bencher| {
            bencher.iter(|| auroc_estimate(black_box(&p), &labels, &bootstrap).expect("both classes"));
        });
    }
}

criterion_group! {
    name = metrics;
    config = Criterion::default().sample_size(10);
    targets = values, intervals
}

fn main() {
    allocator::keep_pages();
    metrics();
    Criterion::default().configure_from_args().final_summary();
}
