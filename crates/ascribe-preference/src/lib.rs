#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod encode;
mod row;

mod cache;
mod mismatch;
mod reference;
mod revision;

pub mod objectives;

pub mod rl;

mod learner;
mod scorers;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::{LogpCache, fingerprint};
pub use encode::{Encoded, Encoder, Truncation};
pub use error::PreferenceError;
pub use learner::{LogpLearner, SelfTest, self_test};
pub use mismatch::mismatch;
pub use reference::reference_logps;
pub use revision::{
    ContrastLogps, ContrastReport, ContrastReward, RevisedPrompts, RevisionTemplate, contrast_logps,
    implicit_token_rewards, token_rewards,
};
pub use row::{Response, RowHash, TrainRow};
pub use scorers::{Contrast, ImplicitReward};
