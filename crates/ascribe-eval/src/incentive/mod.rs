//! Elicitation: scoring rules under which honesty pays, and games in which effort does.

mod acquisition;
mod scoring;

pub use acquisition::{AcquisitionGame, Agent, regret_exponent};
pub use scoring::{ScoringRule, properness_gap, rule_gap};
