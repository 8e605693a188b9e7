//! Elicitation: scoring rules under which honesty pays, games in which effort does, and contracts for them.

mod acquisition;
mod online;
mod scoring;

pub use acquisition::{AcquisitionGame, Mechanism};
pub use online::{OnlineHiring, explore_then_commit, regret_exponent};
pub use scoring::{ScoringRule, properness_gap, rule_gap};
