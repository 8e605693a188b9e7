#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod linear;
mod math;
mod text;

mod batch;
pub mod losses;

mod model;

pub mod weights;

mod combine;
mod ensemble;
mod robust;
mod transforms;

pub mod constrain;

mod detect;
mod follow_up;
mod rules;
mod trajectories;

mod judge;
pub mod tools;

pub mod shaping;

mod agreement;
mod concepts;
mod routing;
pub mod soup;

pub use agreement::{Consistency, implicit_preferences, self_rewards, unanimous};
pub use batch::{RewardLoss, ScoreBatch, ScoreNeeds};
pub use combine::{Merge, Sum, Verified};
pub use concepts::{ConceptEnergies, Inferred, joint_energies, perturbed, split_energies};
pub use detect::{Detector, usable_texts};
pub use ensemble::{Aggregate, Ensemble};
pub use error::RewardError;
pub use follow_up::{FollowUpLikelihood, FollowUps, OverTokens};
pub use judge::{BetterThanReference, Critiqued, RubricJudge, RubricPrompt, rubric_prompt};
pub use model::{
    AuxiliaryLearner, CARD, ContrastConfig, ContrastItems, InternalConfig, InternalLearner, InternalRow, MetaLearner,
    Reading, ReplayLearner, ReplayRow, RewardCard, RewardLearner, RewardModel, RewardRow, Scored, SourceLearner,
    SourcedPair, Writing, WritingLearner, WrittenRow, WrittenText, criticised, given_trace, rows_hash, traced,
};
pub use robust::{Heads, Robust};
pub use routing::{Mix, Routing, RoutingForm, random_mixes};
pub use rules::{
    Bm25, Direction, Extract, Feature, FeatureRange, FeatureReward, NGrams, NetworkConfig, QueryKind, Relevance,
    RelevanceOptions, RelevanceReward, Switch, aspect_coverage, conciseness, repetition_penalty,
    soft_overlong_punishment, supported_words, think_format,
};
pub use text::{Decode, Encode, TextPolicy};
pub use trajectories::{Kept, Triplet, UntilEnd, keep_triplets};
pub use transforms::{
    Calibrated, ClipDelta, ClipDeltaConfig, LastStep, LogSigmoid, Mapped, Moments, PromptReferences, Reference,
    RunningNorm, Standard, TamedSteps, WithoutConfidence, mapped, split_confidence, with_confidence,
};
