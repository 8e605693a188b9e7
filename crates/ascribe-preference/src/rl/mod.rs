//! Reinforcement learning: advantages and policy losses by name, rollouts, and the on-policy loop.
//!
//! Estimators say what each token earned ([`ESTIMATORS`]; the seam is
//! [`AdvantageEstimator`](ascribe_core::advantage::AdvantageEstimator)), policy losses make a loss of it
//! ([`POLICY_LOSSES`]; the seam is [`Objective`](ascribe_core::Objective)). Each goes with each.

mod aggregation;
mod surrogate;
mod value_loss;

mod brain;
mod oreo;
mod policy_loss;
mod table;

mod correction;
mod kl_control;
mod segments;
mod shaping;

mod actor;
mod config;
mod learner;
mod rollout;

mod archer;
mod attempts;
mod constrained;
mod critics;
mod game;
mod judging;
mod kept;
mod pairs;
mod reward;
mod scir;
mod source;
mod writing;

pub use actor::Actor;
pub use aggregation::Aggregation;
pub use archer::{Archer, ArcherConfig, PlayedTurn};
pub use attempts::{SecondAttempt, Stage};
pub use brain::{Brain, Goodness};
pub use config::{DeadGroups, EarlyStop, KlPlace, KlReward, RolloutConfig};
pub use correction::{Correction, CorrectionKind, most_uncertain};
pub use game::{Game, Turn};
pub use kl_control::AdaptiveKl;
pub use learner::RolloutLearner;
pub use oreo::{Oreo, OreoLevel};
pub use pairs::{Agree, Agreement, Decide, Divided, Earned, Labeler, OnlinePairs, PairConfig};
pub use policy_loss::{PolicyLoss, ValueTerm};
pub use reward::{MakeReward, PromptRow, REWARDS, TextReward, WeightedRewards, credits, last_number, of_text};
pub use rollout::{CriticTokens, Rollout, text_of, up_to_end};
pub use scir::Scir;
pub use segments::{Sample, Segmentation};
pub use shaping::{LengthPenalty, Overlong};
pub use source::OnPolicy;
pub use surrogate::{RatioLevel, Surrogate};
pub use table::{
    ESTIMATORS, EstimatorOptions, MadeEstimator, MadePolicyLoss, MakeEstimator, MakePolicyLoss, OTHER_LOSSES,
    POLICY_LOSSES, PolicyOptions, ScaleRewards,
};
pub use value_loss::{ValueLoss, value_clipped, value_tokens};
