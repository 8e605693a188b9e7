//! Reward models on a decoder: what they learn from, how they learn, and what they say.

mod auxiliary;
mod card;
mod internal;
mod learner;
mod meta;
mod replay;
mod reward_model;
mod row;
mod sources;
mod writing;
mod writing_learner;

pub use auxiliary::{AuxiliaryLearner, ContrastConfig, ContrastItems};
pub use card::{CARD, Reading, RewardCard};
pub use internal::{InternalConfig, InternalLearner, InternalRow};
pub use learner::RewardLearner;
pub use meta::MetaLearner;
pub use replay::{ReplayLearner, ReplayRow};
pub use reward_model::{RewardModel, Scored};
pub use row::{RewardRow, rows_hash};
pub use sources::{SourceLearner, SourcedPair};
pub use writing::{Writing, WrittenText, criticised, given_trace, traced};
pub use writing_learner::{WritingLearner, WrittenRow};
