//! The seam that every decoder implements.

use ascribe_core::{Candidate, Tokens, Usage};

use crate::{SearchCtx, SearchError};

/// What a decoder found for one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// All candidates, in the order of their random streams; those of a beam search best first.
    pub candidates: Vec<Candidate>,
    /// Score of each candidate, when a scorer was asked or the decoder has scores of its own.
    pub scores: Option<Vec<f32>>,
    /// Index of the candidate that was chosen.
    pub chosen: usize,
    /// What this prompt cost.
    pub usage: Usage,
}

impl Found {
    /// The candidate that was chosen.
    pub fn best(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }
}

/// A way to decode. Batch first: what is found is placed by the index of its prompt.
pub trait Search: Send + Sync {
    /// Decodes each prompt; every token passes through `ctx`.
    ///
    /// # Errors
    /// When the policy or the scorer fails, or the budget does not reach.
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError>;
}
