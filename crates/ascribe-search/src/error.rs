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
    /// Candidates that cannot be shared out evenly.
    #[error("n must be a multiple of `expand` (each kept text has as many children), got n {n} and expand {expand}")]
    Uneven {
        /// Candidates of a level.
        n: usize,
        /// Children of a kept text.
        expand: usize,
    },
    /// A decoder that needs a scorer, without one.
    #[error("this decoder needs a scorer; give one with `SearchCtx::with_scorer`")]
    NoScorer,
    /// A decoder that needs to know the answer of a text, without a way to.
    #[error("this decoder votes on answers; say how to read one with `SearchCtx::with_answers`")]
    NoAnswers,
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
    /// Something behind a seam answered fewer or more questions than it was asked.
    #[error("{what} must answer each question, got {got} answers to {asked}; mend it")]
    Answers {
        /// Who was asked.
        what: &'static str,
        /// Number of questions.
        asked: usize,
        /// Number of answers.
        got: usize,
    },
    /// A step of a particle search after which no particle is possible.
    #[error("at step {step} the target gives no particle any weight; check the scorer, or use more particles")]
    Dead {
        /// The step, from 1.
        step: usize,
    },
    /// Options that a strategy does not take.
    #[error("strategy `{name}`: {message}")]
    Options {
        /// Name of the strategy.
        name: &'static str,
        /// What is wrong.
        message: String,
    },
    /// An error of the policy, the scorer or the budget, or a number outside its range.
    #[error(transparent)]
    Core(#[from] CoreError),
}

/// Accepts a number, or says what is accepted.
pub(crate) fn check(name: &'static str, rule: &'static str, got: f64, accepted: bool) -> Result<(), SearchError> {
    if accepted { Ok(()) } else { Err(CoreError::Range { name, rule, got }.into()) }
}
