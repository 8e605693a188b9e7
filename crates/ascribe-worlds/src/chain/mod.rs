//! Chain arithmetic: a start digit and a chain of operations, each result taken modulo 10.

mod problem;

mod check;

mod careless;

mod world;

pub use careless::Slips;
pub use check::{Check, StepCheck, Verdict};
pub use problem::{Operator, Problem, alphabet};
pub use world::ChainWorld;
