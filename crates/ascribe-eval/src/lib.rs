#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod estimate;

mod stats;

mod bench;
mod classify;

pub mod report;

pub use bench::samples::{Attempts, mean_pass_at_k, mean_pass_hat_k, pass_at_k, pass_hat_k};
pub use classify::auroc::{auroc, clustered_auroc};
pub use error::EvalError;
pub use estimate::{Estimate, Interval, Metric};
pub use stats::bootstrap::{Bootstrap, BootstrapMethod};
pub use stats::paired::{McNemar, Paired, SignFlip, compare, sign_flip};
pub use stats::proportion::{accuracy, wilson};
