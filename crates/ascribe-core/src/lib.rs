#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod episode;
mod packing;
mod spans;
mod tokens;

mod credit;

mod budget;
mod seed;

pub mod advantage;
mod assign;
mod policy;
mod scorer;
mod world;

#[cfg(feature = "kernels")]
pub mod kernels;
#[cfg(feature = "tensor")]
mod objective;
#[cfg(feature = "tensor")]
pub mod tensor;

pub use assign::{CreditAssigner, Evidence, LogRatio, OutcomeBroadcast, Placed};
pub use budget::{Budget, Meter, Usage};
pub use credit::{Credit, Granularity, Place, Reduce};
pub use episode::{Episode, Text};
pub use error::CoreError;
#[cfg(feature = "tensor")]
pub use objective::{LogpBatch, Loss, Needs, Objective, Pairs, RowKind, Side, TokenInput};
pub use packing::{Packing, Span};
pub use policy::{Candidate, Capabilities, Continuation, Finish, Mode, Policy, Reply, Request, Sampling, Until};
pub use scorer::{Rule, Scorer, rule};
pub use seed::{Seed, Stream};
pub use spans::{StepIndex, StepSpans};
pub use tokens::{ResponseMask, TokenIndex, Tokens};
pub use world::{Transition, World};
