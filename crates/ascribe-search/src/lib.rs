#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod context;
mod search;

mod beam;
mod best_of_n;
mod greedy;
mod majority;

pub use beam::{Beam, EarlyStopping};
pub use best_of_n::BestOfN;
pub use context::SearchCtx;
pub use error::SearchError;
pub use greedy::Greedy;
pub use majority::{Majority, vote};
pub use search::{Found, Search};
