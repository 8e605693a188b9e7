//! What pairs count for: strength by a vote, sources by their gradients, margins of an explicit reward.

mod dynamic_beta;
mod more;
mod strength;

pub use dynamic_beta::{DynamicBeta, DynamicBetaConfig, NegativeMargin};
pub use more::{More, min_norm, source_gradients, source_labels};
pub use strength::{Strength, Treated, Treatment, flip, lowest, strengths, treat};
