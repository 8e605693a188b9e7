#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod chain;
mod key_door;
mod preferences;
mod shop;
mod symbolic;
mod tree;
mod twenty_questions;

pub use chain::{ChainWorld, Check, Operator, Problem, Slips, StepCheck, Verdict, alphabet};
pub use error::WorldError;
pub use key_door::{Cell, KeyDoor, KeyDoorMove, KeyDoorState, Room};
pub use preferences::{Annotator, Comparison, Cycle, Taste};
pub use shop::{Item, Shop, ShopMove, ShopState};
pub use symbolic::{Data, Expression, Grammar, Operation, Symbol, SymbolicTask, merge_constants};
pub use tree::{ExactValue, SoftOptimum, TokenTree, TreePolicy};
pub use twenty_questions::{TwentyMove, TwentyQuestions, TwentyState};
