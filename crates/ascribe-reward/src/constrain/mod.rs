//! Keeping rewards at their useful points.

mod lagrange;
mod nelder_mead;

pub use lagrange::{Constraint, Lagrange, LagrangeConfig, MixWeights, Multiplier};
pub use nelder_mead::{NelderMead, Simplex};
