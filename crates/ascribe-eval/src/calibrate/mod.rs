//! Calibration: do probabilities mean what they say?

mod balance;
mod bins;
mod brier;
mod ece;
mod isotonic;
mod knowledge;
mod verbal;

pub use balance::{Half, balance};
pub use bins::{Bin, Binning, reliability};
pub use brier::{BrierParts, brier, brier_decomposition, brier_skill, log_loss};
pub use ece::{CalibrationError, calibration_error, classwise_error, ece, mce, sweep_ece};
pub use isotonic::isotonic_fit;
pub use knowledge::{KnowledgeTransfer, p_ik_transfer};
pub use verbal::{
    ConfidencePolicy, PpoC, VerbalReport, confidence_bias, p_ik_cross_entropy, p_true, parse_confidences,
    stated_confidence, verbal_report,
};

pub(crate) use balance::balance_terms;
pub(crate) use brier::{counted_skill, log_losses, squares};
pub(crate) use ece::counted_calibration;
pub(crate) use verbal::knowledge_losses;
