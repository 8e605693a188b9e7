//! Synthetic preferences: responses are vectors of features, their gold reward is known, and so are the faults of those who
//! compare them.

mod annotator;
mod cycle;
mod taste;

pub use annotator::{Annotator, Comparison};
pub use cycle::Cycle;
pub use taste::Taste;
