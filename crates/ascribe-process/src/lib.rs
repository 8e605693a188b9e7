#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

pub mod answer;

pub mod steps;

pub mod label;

pub mod credit;

#[cfg(feature = "model")]
pub mod model;

pub use answer::{AnswerKind, AnswerReward, Checked, Checker, Extraction, Gold, Preset, Verdict, Why};
pub use credit::Aggregate;
pub use error::ProcessError;
pub use label::{Completer, LabelRow, MonteCarlo, Omega, OmegaConfig, Shard, Solution};
pub use steps::{Segmenter, StepSpan, Tokenized, step_spans};
