//! Order and agreement: correlations, kappas, marks and judges.

pub(crate) mod ranks;

pub(crate) mod correlation;
pub(crate) mod kendall;

mod consistency;

pub(crate) mod grading;
mod judge;
pub(crate) mod kappa;
mod krippendorff;
mod weighted_tau;

pub use consistency::ranking_consistency;
pub use correlation::{Correlation, correlation_test, pearson, spearman, student_p};
pub use grading::{GatedAgreement, GradingError, TEACHERS_AGREE, gated_agreement, grading_error, nearest_mark};
pub use judge::{BothOrders, Verdict, both_orders};
pub use kappa::{Chance, KappaWeights, cohen_kappa, fleiss_kappa};
pub use kendall::{kendall_p, kendall_tau_b, kendall_tau_c};
pub use krippendorff::{Level, krippendorff_alpha};
pub use weighted_tau::weighted_tau;
