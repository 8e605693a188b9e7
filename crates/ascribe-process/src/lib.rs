#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

pub mod answer;

pub mod steps;

pub use answer::{AnswerKind, Checked, Checker, Extraction, Gold, Preset, Verdict, Why};
pub use error::ProcessError;
pub use steps::{Segmenter, StepSpan, Tokenized, step_spans};
