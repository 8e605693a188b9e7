//! Slices: metrics by group, regret by group and a learner without it, individual fairness, one-sided feedback and a learner
//! under both.

mod fair_learner;
mod fairness;
mod groups;
mod sleeping;

pub use fair_learner::{FairLearner, FairRun};
pub use fairness::{FairnessViolations, fairness_violations};
pub use groups::{
    ByGroup, GroupMask, GroupRegret, MIN_GROUP, OneSided, by_group, group_regret, linear_group_regret, one_sided,
};
pub use sleeping::groupwise_ridge;
