//! Symbolic regression: an expression is written symbol by symbol, and is as good as it fits the data.

mod expression;

mod grammar;

mod fit;

mod task;

pub use expression::{Expression, Operation, Symbol, merge_constants};
pub use grammar::Grammar;
pub use task::{Data, SymbolicTask};
