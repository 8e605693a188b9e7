use std::path::PathBuf;

use ascribe_core::CoreError;
use ascribe_data::DataError;
use ascribe_lm::LmError;
use ascribe_train::TrainError;
use thiserror::Error;

/// What can go wrong in preference optimisation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PreferenceError {
    /// Strength of the pull to the reference.
    #[error("beta must be finite and above 0, got {got}; start from 0.1")]
    Beta {
        /// The value received.
        got: f64,
    },
    /// Strength of the token-level regulariser.
    #[error("alpha must be finite and at least 0, got {got}; start from 0.25")]
    Alpha {
        /// The value received.
        got: f64,
    },
    /// An option of an objective outside its range.
    #[error("{name} must be {rule}, got {got}; {remedy}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// The value received.
        got: f64,
        /// What to do.
        remedy: &'static str,
    },
    /// Options of an objective that cannot be used together.
    #[error("{what}; {remedy}")]
    Conflict {
        /// What does not go together.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An option that the objective does not have.
    #[error("`{name}` is no option of {objective}, whose options are {known}; leave it out")]
    UnknownOption {
        /// The option received.
        name: String,
        /// The objective.
        objective: String,
        /// Its options.
        known: String,
    },
    /// An option whose value cannot be read.
    #[error("an option of {objective} cannot be read: {why}; correct it or leave it out")]
    Unreadable {
        /// The objective.
        objective: String,
        /// What is wrong.
        why: String,
    },
    /// Rows that a method cannot learn from.
    #[error("{rule}, got {got}; {remedy}")]
    Rows {
        /// The condition that is accepted.
        rule: &'static str,
        /// What was received.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A length that leaves no room for a response.
    #[error("max_length must be at least 2 (one prompt token and one response token), got {got}")]
    MaxLength {
        /// The value received.
        got: usize,
    },
    /// A revision template without its placeholder.
    #[error("a revision template must contain `{{prompt}}`, got `{got}`")]
    Template {
        /// The template received.
        got: String,
    },
    /// The policy does not start at the reference.
    #[error(
        "at step 0 the policy must equal the reference, but their log-probabilities differ by {difference:.2e} and the DPO loss is {loss:.6} instead of ln 2; pass the model that the reference log-probabilities came from"
    )]
    SelfTest {
        /// Largest difference of a response's log-probability, per token.
        difference: f64,
        /// DPO loss at step 0.
        loss: f64,
    },
    /// A cache file that cannot be read or written.
    #[error("cache `{path}`: {why}; delete it to compute it again")]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A row without the answer that a reward checks.
    #[error(
        "line {line} has no answer to check (a text or a number in one of {columns}); name its column with --columns"
    )]
    Answer {
        /// The row.
        line: usize,
        /// Columns that were looked for.
        columns: String,
    },
    /// An answer that no response can match, as only numbers are compared.
    #[error("line {line}: the answer `{answer}` has no number to compare; drop the row, or take the reward `exact`")]
    NoNumber {
        /// The row.
        line: usize,
        /// Its answer.
        answer: String,
    },
    /// A reward that is no number.
    #[error(
        "a reward must be finite, got {got} for a response to the prompt of line {line}; mend the reward, or give None where \
         nobody can judge the response"
    )]
    Reward {
        /// The row of the prompt.
        line: usize,
        /// The value received.
        got: f32,
    },
    /// Two rows with one prompt that say different things.
    #[error("lines {first} and {second} have the same prompt and other columns that differ; drop one of them")]
    SamePrompt {
        /// The first row.
        first: usize,
        /// The other.
        second: usize,
    },
    /// An error of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An error of a model.
    #[error(transparent)]
    Lm(#[from] LmError),
    /// An error at a seam.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl From<PreferenceError> for TrainError {
    fn from(error: PreferenceError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// An error for an option that was given and would change nothing.
pub(crate) fn unused(name: &'static str, why: &str, remedy: &'static str) -> PreferenceError {
    PreferenceError::Conflict { what: format!("{name} does nothing {why}"), remedy }
}

/// An error that names the option unless it is accepted.
pub(crate) fn check(
    accepted: bool,
    name: &'static str,
    rule: &'static str,
    got: f64,
    remedy: &'static str,
) -> Result<(), PreferenceError> {
    if accepted {
        return Ok(());
    }
    Err(PreferenceError::Option { name, rule, got, remedy })
}
