#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod limits;
mod path;
mod steps;
mod tree;

mod context;
mod join;
mod prompt;
mod search;

mod beam;
mod best_of_n;
mod greedy;
mod majority;
pub mod votes;

mod dvts;
mod step_beam;

pub mod mcts;

mod controlled;
mod deal;
pub mod heuristics;
mod stem;
mod tilt;
mod transfer_q;

mod smc;

mod compute_optimal;
mod path_selection;
mod refine;
mod revise;

mod strategies;

pub mod plan;
pub mod symbolic;

pub use beam::{Beam, EarlyStopping, Likelihood};
pub use best_of_n::BestOfN;
pub use compute_optimal::{ComputeOptimal, compute_optimal, difficulty_levels};
pub use context::{AnswerOf, SameAnswer, SearchCtx, StopOf, TextOf};
pub use controlled::Controlled;
pub use deal::Deal;
pub use dvts::DiverseTrees;
pub use error::SearchError;
pub use greedy::Greedy;
pub use join::side_by_side;
pub use limits::{Calls, Limits};
pub use majority::{Majority, Vote, vote};
pub use mcts::Mcts;
pub use path::{Path, ranked};
pub use path_selection::{PathOptions, PathSelection, Reflection};
pub use prompt::{PromptCtx, Reach};
pub use refine::{Refine, RefineOptions, Refinements, Refiner, RefinerPrompt};
pub use revise::{Revise, ReviseOptions, RevisionPrompt};
pub use search::{Found, Needs, Search, Stopped};
pub use smc::{Grain, Particles, PickParticle, Resampler, Schedule, Smc, SmcOptions, Target, effective_size};
pub use step_beam::{Pick, StepBeam, WhenFinished};
pub use steps::Steps;
pub use strategies::{MakeSearch, STRATEGIES, options_of, smc_of, strategy};
pub use tilt::{Choose, RolloutValue, rollout_value, tilted};
pub use transfer_q::{TransferOptions, TransferQ};
pub use tree::{Estimate, NodeState, SearchTree, TreeNode, kv_bytes_per_token};
pub use votes::VoteWeights;
