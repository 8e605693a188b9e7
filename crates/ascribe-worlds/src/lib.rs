#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod chain;
mod preferences;
mod tree;

pub use chain::{ChainWorld, Check, Operator, Problem, Slips, StepCheck, Verdict, alphabet};
pub use error::WorldError;
pub use preferences::{Annotator, Comparison, Cycle, Taste};
pub use tree::{ExactValue, SoftOptimum, TokenTree, TreePolicy};
