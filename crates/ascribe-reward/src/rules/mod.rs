//! Rewards that nothing is trained for. Any closure is one: `ascribe_core::rule`.

mod bm25;
mod features;
mod format;
mod network;
mod relevance;

pub use bm25::Bm25;
pub use features::{
    Direction, Extract, Feature, FeatureRange, FeatureReward, aspect_coverage, conciseness, supported_words,
};
pub use format::{repetition_penalty, soft_overlong_punishment, think_format};
pub use network::NetworkConfig;
pub use relevance::{NGrams, QueryKind, Relevance, RelevanceOptions, RelevanceReward, Switch};
