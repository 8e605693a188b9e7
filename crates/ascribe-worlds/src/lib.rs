#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod chain;
mod tree;

pub use chain::{ChainWorld, Check, Operator, Problem, Slips, StepCheck, Verdict, alphabet};
pub use error::WorldError;
pub use tree::{ExactValue, SoftOptimum, TokenTree, TreePolicy};
