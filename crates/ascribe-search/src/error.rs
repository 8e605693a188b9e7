use ascribe_core::CoreError;
use thiserror::Error;

/// What can go wrong in a search.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A number of samples that is no number of samples.
    #[error("n must be at least 1, got 0")]
    NoSamples,
    /// A beam search that cannot return what it should.
    #[error("a beam search needs at least 1 beam and returns 1 to {beams} of them, got {returned}; raise `beams`")]
    Beams {
        /// Texts that are followed at once.
        beams: usize,
        /// Candidates to return.
        returned: usize,
    },
    /// A decoder that needs a scorer, without one.
    #[error("this decoder needs a scorer; give one with `SearchCtx::with_scorer`")]
    NoScorer,
    /// A score that cannot be compared.
    #[error("a score must be a number, got {got} for candidate {candidate} of prompt {prompt}; mend the scorer")]
    NotANumber {
        /// Index of the prompt.
        prompt: usize,
        /// Index of the candidate.
        candidate: usize,
        /// The score.
        got: f32,
    },
    /// An error of the policy, the scorer or the budget.
    #[error(transparent)]
    Core(#[from] CoreError),
}
