use ascribe_core::CoreError;
use thiserror::Error;

/// What can go wrong where steps are cut, answers checked, labels made and process models trained.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A gold answer that is none.
    #[error("a gold answer {why}, got `{got}`; mend or drop the row")]
    Gold {
        /// The rule that it breaks.
        why: &'static str,
        /// The answer, cut to 80 characters.
        got: String,
    },
    /// An option or a value outside its range.
    #[error("{name} must be {rule}, got {got}")]
    Range {
        /// Name of the option or value.
        name: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// The value received.
        got: String,
    },
    /// Two things that belong together have different lengths.
    #[error("{what} must have one entry {each}: expected {expected}, got {got}; pair them before")]
    Length {
        /// What has the wrong length.
        what: &'static str,
        /// What there is one entry for, such as `a step`.
        each: &'static str,
        /// Number of entries that are needed.
        expected: usize,
        /// Number of entries received.
        got: usize,
    },
    /// Nothing where something is needed.
    #[error("{what} must not be empty; {remedy}")]
    Empty {
        /// What is empty.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Bytes of tokens that do not lie one after the other over the text.
    #[error(
        "the bytes of token {token} must not begin before those of the token before it and must stay inside {bytes} bytes, got {start}..{end}; \
         take them from the tokenizer that made the ids"
    )]
    Offsets {
        /// Number of the token.
        token: usize,
        /// Bytes of the text.
        bytes: usize,
        /// Where its bytes begin.
        start: usize,
        /// Where they end.
        end: usize,
    },
    /// Labels of one segmentation where another is used.
    #[error(
        "labels were made for the segmentation `{got}` and are used with `{expected}`; label again, or segment alike"
    )]
    Segmentation {
        /// The segmentation in use.
        expected: String,
        /// The segmentation of the labels.
        got: String,
    },
    /// A policy that answers otherwise than it was asked.
    #[error("the policy gave {got} {what}, asked for {expected}; mend the policy")]
    Reply {
        /// What was counted.
        what: &'static str,
        /// How many were asked for.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// Shards that do not make one run.
    #[error("the shards do not fit together: {why}; give every shard of one run once")]
    Shards {
        /// What does not fit.
        why: String,
    },
    /// The card of a process model that cannot be read.
    #[cfg(feature = "model")]
    #[error("`{path}`: {why}; correct it, or train the process model again")]
    Card {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An error of a model.
    #[cfg(feature = "model")]
    #[error(transparent)]
    Lm(#[from] ascribe_lm::LmError),
    /// An error behind a seam.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl ProcessError {
    pub(crate) fn range(name: &'static str, rule: &'static str, got: impl std::fmt::Debug) -> Self {
        Self::Range { name, rule, got: format!("{got:?}") }
    }
}

#[cfg(feature = "model")]
impl From<ProcessError> for ascribe_train::TrainError {
    fn from(error: ProcessError) -> Self {
        Self::Other(Box::new(error))
    }
}

impl From<ProcessError> for CoreError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Core(error) => error,
            other => Self::Other(Box::new(other)),
        }
    }
}
