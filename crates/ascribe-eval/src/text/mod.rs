//! Text: overlap with a reference, repetition, rankings of items, and matches through an ontology.

mod ontology;
mod porter;
mod retrieval;
mod rouge;

pub use ontology::{Ontology, Traced, traced_score};
pub use retrieval::{Gain, OrderTies, Query, Retrieval, Retrieved, retrieval};
pub use rouge::{Rouge, RougeKind, Stem, cosine, diversity, perplexity, rouge, word_overlap};
