#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod estimate;

mod normal;
mod proportion;

mod bootstrap;

mod paired;

mod auroc;
mod samples;

pub mod report;

pub use auroc::{auroc, clustered_auroc};
pub use bootstrap::{Bootstrap, BootstrapMethod};
pub use error::EvalError;
pub use estimate::{Estimate, Interval, Metric};
pub use paired::{McNemar, Paired, SignFlip, compare, sign_flip};
pub use proportion::{accuracy, wilson};
pub use samples::{Attempts, mean_pass_at_k, mean_pass_hat_k, pass_at_k, pass_hat_k};
