//! Slices: metrics by group, regret by group, individual fairness, one-sided feedback.

mod fairness;
mod groups;

pub use fairness::{FairnessViolations, fairness_violations};
pub use groups::{
    ByGroup, GroupMask, GroupRegret, MIN_GROUP, OneSided, by_group, group_regret, linear_group_regret, one_sided,
};
