#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod estimate;

pub mod stats;

pub mod bench;
pub mod board;
pub mod calibrate;
pub mod classify;
pub mod credit;
pub mod curve;
pub mod incentive;
pub mod pairs;
pub mod rank;
pub mod reward_distance;
pub mod slices;
pub mod text;

mod metrics;

pub mod protocol;

pub mod report;

pub use bench::{Attempts, mean_pass_at_k, mean_pass_hat_k, pass_at_k, pass_hat_k};
pub use classify::{auroc, auroc_estimate, clustered_auroc};
pub use error::EvalError;
pub use estimate::{Averaged, Estimate, Interval, Metric};
pub use metrics::{CLUSTER, Column, Columns, Direction, Holds, METRICS, ScalarMetric, metric};
pub use stats::{Bootstrap, BootstrapMethod, McNemar, Paired, SignFlip, accuracy, compare, sign_flip, wilson};
