use std::path::PathBuf;

use ascribe_core::CoreError;
use ascribe_eval::EvalError;
use ascribe_lm::LmError;
use ascribe_train::TrainError;
use thiserror::Error;

/// What can go wrong with rewards.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RewardError {
    /// An option or a value outside its range.
    #[error("{name} must be {rule}, got {got}")]
    Range {
        /// Name of the option or value.
        name: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// The value received.
        got: f64,
    },
    /// Nothing to work on.
    #[error("{what} must hold at least one entry, got none; check the filter that selected them")]
    Empty {
        /// The empty argument.
        what: &'static str,
    },
    /// Two arguments that describe the same rows have different lengths.
    #[error("{what} must have {expected} entries, got {got}; give one for each")]
    Length {
        /// The argument of the wrong length.
        what: &'static str,
        /// The length that fits.
        expected: usize,
        /// The length received.
        got: usize,
    },
    /// A value that is NaN or infinite.
    #[error("{what} must be finite, got {got} at entry {index}; drop or mend that row, and count it")]
    NotFinite {
        /// The argument.
        what: &'static str,
        /// Index of the first such value.
        index: usize,
        /// The value received.
        got: f64,
    },
    /// Things of the wrong kind, or that do not fit each other.
    #[error("{rule}, got {got}")]
    Shape {
        /// The rule.
        rule: &'static str,
        /// What was received.
        got: String,
    },
    /// An episode of token ids alone, where text is read.
    #[error("this reward reads text, and the episode has token ids alone; attach it with `Episode::with_text`")]
    NoText,
    /// A call of a tool that is refused or fails.
    #[error("tool `{tool}`: {why}")]
    Tool {
        /// The tool that was called.
        tool: String,
        /// Why it gave no result.
        why: String,
    },
    /// The card of a reward model that cannot be read.
    #[error("`{path}`: {why}; correct it, or train the reward model again")]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An error of a model.
    #[error(transparent)]
    Lm(#[from] LmError),
    /// An error at a seam.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// An error of a metric.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An error of an implementation behind a seam of this crate.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl From<RewardError> for CoreError {
    fn from(error: RewardError) -> Self {
        match error {
            RewardError::Core(error) => error,
            error => Self::Other(Box::new(error)),
        }
    }
}

impl From<RewardError> for TrainError {
    fn from(error: RewardError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// An option or value that must keep a rule; `accepted` says whether it does.
pub(crate) fn option(name: &'static str, rule: &'static str, got: f64, accepted: bool) -> Result<(), RewardError> {
    if accepted { Ok(()) } else { Err(RewardError::Range { name, rule, got }) }
}

/// At least one entry.
pub(crate) fn not_empty<T>(what: &'static str, entries: &[T]) -> Result<(), RewardError> {
    if entries.is_empty() { Err(RewardError::Empty { what }) } else { Ok(()) }
}

/// One entry for each of `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, got: usize) -> Result<(), RewardError> {
    if expected == got { Ok(()) } else { Err(RewardError::Length { what, expected, got }) }
}

/// At least one value, and no NaN or infinity.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), RewardError> {
    not_empty(what, values)?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(RewardError::NotFinite { what, index, got: values[index] }),
        None => Ok(()),
    }
}

/// Values that keep `accepted`.
pub(crate) fn within(
    name: &'static str,
    values: &[f64],
    rule: &'static str,
    accepted: impl Fn(f64) -> bool,
) -> Result<(), RewardError> {
    match values.iter().find(|value| !accepted(**value)) {
        Some(got) => Err(RewardError::Range { name, rule, got: *got }),
        None => Ok(()),
    }
}
