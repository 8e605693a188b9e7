//! Keeping rewards at their useful points.

mod adaptive;
mod lagrange;
mod nelder_mead;

pub use adaptive::{Adaptive, AdaptiveConfig};
pub use lagrange::{Constraint, Lagrange, LagrangeConfig, MixWeights, Multiplier};
pub use nelder_mead::{NelderMead, Simplex};
