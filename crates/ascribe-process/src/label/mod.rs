//! Labels of steps, made by a policy that completes prefixes and an outcome that judges whole responses.
//!
//! | method | gives |
//! |---|---|
//! | [`MonteCarlo`] | counts for every prefix of a response |
//! | [`Omega`] | a tree of prefixes around first errors, found by halving |
//! | [`Mcts`] | pairs of sibling steps whose values differ |
//! | [`sorm_labels`], [`local_refinements`], [`global_refinements`] | whether any continuation is right; drafts with their refinements |
//! | [`traces`] | two attempts each, with shaped rewards |
//! | [`Evolve`] | right paths for the policy, and values along all paths for a process model |
//!
//! All of them draw from named streams, keep to the caps of their [`Completer`] and return what they have when these are
//! reached. [`Shard`] cuts a run into parts that give the same together.

mod completer;

mod row;

mod monte_carlo;

mod omega;

mod step_tree;

mod mcts;

mod evolve;

mod sorm;

mod self_correction;

mod shard;

pub use completer::{Asked, Completer, Estimate, Limits, Outcome, Spent, Written};
pub use evolve::{BackUp, Evolve, EvolveConfig, Evolved, PathLabels, ValuedPath, path_labels};
pub use mcts::{Mcts, MctsConfig, SearchedSteps, StepState, uct};
pub use monte_carlo::{MonteCarlo, Solution, StepLabels};
pub use omega::{Ended, FoundError, Omega, OmegaConfig, OmegaTree, Question, StepPair, TreeNode};
pub use row::{AfterError, LabelRow, Softness, after_first_error, consensus, first_error, miss_probability, targets};
pub use self_correction::{Imitate, Trace, imitated, paired, traces};
pub use shard::{Shard, merged};
pub use sorm::{Refinement, balanced, global_refinements, local_refinements, propagated, sorm_labels, uses_results};
