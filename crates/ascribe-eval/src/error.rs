use ascribe_core::CoreError;
use thiserror::Error;

/// Why a metric or a test has no value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Nothing to measure.
    #[error("{what} must hold at least one record, got none; check the filter that selected them")]
    Empty {
        /// The empty argument.
        what: &'static str,
    },
    /// Two arguments that describe the same records have different lengths.
    #[error("{what} must have one entry a record: expected {expected}, got {got}; pair the records by their id first")]
    Length {
        /// The argument of the wrong length.
        what: &'static str,
        /// Number of records.
        expected: usize,
        /// Number of entries received.
        got: usize,
    },
    /// A value that is NaN or infinite.
    #[error("{what} must be finite, got {got} at record {index}; drop or mend that record, and count it")]
    NotFinite {
        /// The argument.
        what: &'static str,
        /// Index of the first such value.
        index: usize,
        /// The value received.
        got: f64,
    },
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
    /// A record whose value lies outside the range of its column.
    #[error("{what} must be {rule}, got {got} at record {index}")]
    OutOfRange {
        /// The argument.
        what: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// Index of the first such value.
        index: usize,
        /// The value received.
        got: f64,
    },
    /// Something named that was not given, or that nobody knows.
    #[error("{what} `{name}` is missing or unknown; known: {known}")]
    Missing {
        /// The kind of thing, such as `the column`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The names that would be accepted.
        known: String,
    },
    /// Records for which the quantity is not defined.
    #[error("{what} is not defined here: {why}")]
    Degenerate {
        /// The quantity.
        what: &'static str,
        /// What the records lack, and what to do.
        why: &'static str,
    },
    /// A model that could not be asked.
    #[error(transparent)]
    Model(#[from] CoreError),
    /// An error of an implementation behind the [`Metric`](crate::Metric) seam.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// One entry a record.
pub(crate) fn same_length(what: &'static str, expected: usize, got: usize) -> Result<(), EvalError> {
    if expected == got { Ok(()) } else { Err(EvalError::Length { what, expected, got }) }
}

/// At least one record, and no NaN or infinity.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), EvalError> {
    if values.is_empty() {
        return Err(EvalError::Empty { what });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(EvalError::NotFinite { what, index, got: values[index] }),
        None => Ok(()),
    }
}

/// Values that keep `accepted`, after [`finite`].
pub(crate) fn within(
    what: &'static str,
    values: &[f64],
    rule: &'static str,
    accepted: impl Fn(f64) -> bool,
) -> Result<(), EvalError> {
    finite(what, values)?;
    match values.iter().position(|&value| !accepted(value)) {
        Some(index) => Err(EvalError::OutOfRange { what, rule, index, got: values[index] }),
        None => Ok(()),
    }
}

/// Values in [0, 1], after [`finite`].
pub(crate) fn shares(what: &'static str, values: &[f64]) -> Result<(), EvalError> {
    within(what, values, "between 0 and 1", |value| (0.0..=1.0).contains(&value))
}

/// At least one entry.
pub(crate) fn not_empty<T>(what: &'static str, entries: &[T]) -> Result<(), EvalError> {
    if entries.is_empty() { Err(EvalError::Empty { what }) } else { Ok(()) }
}

/// An option that must keep a rule; `accepted` says whether it does.
pub(crate) fn option(name: &'static str, rule: &'static str, got: f64, accepted: bool) -> Result<(), EvalError> {
    if accepted { Ok(()) } else { Err(EvalError::Range { name, rule, got }) }
}

/// A confidence level strictly between 0 and 1.
pub(crate) fn checked_level(level: f64) -> Result<(), EvalError> {
    if 0.0 < level && level < 1.0 {
        return Ok(());
    }
    Err(EvalError::Range { name: "level", rule: "above 0 and below 1, such as 0.95", got: level })
}
