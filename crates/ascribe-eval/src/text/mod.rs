//! Text: overlap with a reference, repetition, and rankings of items.

mod porter;
mod retrieval;
mod rouge;

pub use retrieval::{Gain, OrderTies, Query, Retrieval, Retrieved, retrieval};
pub use rouge::{Rouge, RougeKind, Stem, cosine, diversity, perplexity, rouge, word_overlap};
