//! Statistics: intervals, tests and resampling.

pub(crate) mod beta;
pub(crate) mod linear_program;
pub(crate) mod normal;
pub(crate) mod solve;
pub(crate) mod sum;

pub(crate) mod bootstrap;
pub(crate) mod proportion;

mod classical;
mod multiplicity;
pub(crate) mod paired;
pub(crate) mod permutation;
mod power;
mod student;

pub use bootstrap::{Bootstrap, BootstrapMethod};
pub use classical::{Test, mann_whitney, paired_t, sign_test, welch_t, wilcoxon};
pub use multiplicity::{Adjust, adjust_p};
pub use paired::{McNemar, Paired, SignFlip, compare, sign_flip};
pub use permutation::{Permutation, permutation_two_sample};
pub use power::{Design, minimum_detectable_effect};
pub use proportion::{ProportionMethod, accuracy, proportion, wilson};
pub use student::student_mean;
