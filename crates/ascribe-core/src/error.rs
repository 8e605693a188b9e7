use thiserror::Error;

/// What can go wrong at a seam.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CoreError {
    /// Two things that describe the same tokens have different lengths.
    #[error("{what} must have one entry a token: {expected} tokens, got {got} entries")]
    Length {
        /// What has the wrong length.
        what: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Number of entries received.
        got: usize,
    },
    /// Spans that overlap, run backwards or leave the episode.
    #[error(
        "spans must be non-empty, increasing and inside {tokens} tokens, got {start}..{end}; check the segmentation"
    )]
    Span {
        /// Number of tokens of the episode.
        tokens: usize,
        /// Start of the offending span.
        start: usize,
        /// End of the offending span.
        end: usize,
    },
    /// A conversion that needs something the episode does not have.
    #[error("credit by {from} needs an episode with {needs}, and this one has {got}; segment it first")]
    Granularity {
        /// Granularity of the credit.
        from: &'static str,
        /// What the episode must have.
        needs: String,
        /// What it has.
        got: usize,
    },
    /// An episode without a token that counts.
    #[error("an episode needs at least one response token, and this one has none; drop it before scoring")]
    EmptyResponse,
    /// Evidence that a method needs is absent.
    #[error("this credit assigner needs the evidence `{0}`, which is absent; compute it and set the field")]
    MissingEvidence(&'static str),
    /// Input that an objective needs is absent from the batch.
    #[error(
        "the objective needs `{0}`, which the batch does not carry; name it in `needs()` so that the learner computes it"
    )]
    MissingInput(&'static str),
    /// A batch of the wrong kind, or tensors of different shapes.
    #[error("{rule}, got {got}")]
    Shape {
        /// The rule.
        rule: &'static str,
        /// The value received.
        got: String,
    },
    /// A number outside its range.
    #[error("{name} must be {rule}, got {got}")]
    Range {
        /// Name of the option or value.
        name: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// The value received.
        got: f64,
    },
    /// A policy was asked for something it cannot do.
    #[error("this policy cannot {what}; use one whose `capabilities()` include it")]
    Unsupported {
        /// What was asked.
        what: &'static str,
    },
    /// A prompt that leaves no room in the context.
    #[error("the prompt has {got} tokens and the context holds {context}; shorten the prompt")]
    Context {
        /// Length of the context in tokens.
        context: usize,
        /// Length of the prompt in tokens.
        got: usize,
    },
    /// The budget of a search is spent.
    #[error("the budget of {budget} tokens is spent ({spent} used); raise it or lower n")]
    Spent {
        /// Tokens allowed.
        budget: u64,
        /// Tokens used.
        spent: u64,
    },
    /// An error of an implementation behind a seam.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}
