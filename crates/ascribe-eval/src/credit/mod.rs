//! How good credit is: against known errors, and against exact advantages.

mod exact;
mod tokens;

pub use exact::{CreditQuality, KAPPA, credit_vs_exact};
pub use tokens::{
    MarkedCredit, StepAgreement, StepCredit, StepPay, ablation_drop, conservation_error, step_agreement,
    token_auroc_macro, token_auroc_micro, widened,
};
