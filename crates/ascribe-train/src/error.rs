use std::path::{Path, PathBuf};

use ascribe_core::CoreError;
use ascribe_data::DataError;
use ascribe_lm::LmError;
use thiserror::Error;

/// What can go wrong while training.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option outside its range.
    #[error("{name} must be {rule}, got {got}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// The value received.
        got: f64,
    },
    /// A number that the optimizer does not use.
    #[error("{optim} does not use {name}, which would change nothing; its optim_args are {takes}")]
    UnusedArg {
        /// Name of the number.
        name: &'static str,
        /// Name of the optimizer.
        optim: &'static str,
        /// The numbers that it uses.
        takes: String,
    },
    /// A number that the shape of the learning rate does not use.
    #[error("{kind} does not use {name}, which would change nothing; its lr_scheduler_kwargs are {takes}")]
    UnusedShape {
        /// Name of the number.
        name: &'static str,
        /// Name of the shape.
        kind: &'static str,
        /// The numbers that it uses.
        takes: String,
    },
    /// Nothing to train on.
    #[error("no row is left to train on; check the data and what was left out")]
    NoRows,
    /// A window that teaches nothing.
    #[error(
        "no row of step {step} counts, so there is no mean to learn from; leave such rows out, or raise \
         gradient_accumulation_steps, then resume from the last checkpoint"
    )]
    NoWeight {
        /// The optimizer step.
        step: usize,
    },
    /// A loss or gradient that is no longer a number.
    #[error(
        "{what} is {got} at step {step}; lower learning_rate (or check the data), then resume from the last checkpoint"
    )]
    NotFinite {
        /// What is not finite.
        what: &'static str,
        /// Its value.
        got: f64,
        /// The optimizer step.
        step: usize,
    },
    /// Fused operations that do not agree with their plain forms.
    #[error(
        "fused operations differ from their plain forms on the rows of the first step: the loss by {loss:.1e} (at most 1e-3), the \
         gradients by {gradient:.1e} of their size (at most 1e-2); train on another --device, and report it with the \
         model's config.json"
    )]
    Fused {
        /// Difference of the losses.
        loss: f64,
        /// Difference of the gradients.
        gradient: f64,
    },
    /// A checkpoint that belongs to another run.
    #[error(
        "`{path}` was written by a run with another {what} ({theirs}, here {ours}); use its own settings or another output_dir"
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Its value in the checkpoint.
        theirs: String,
        /// Its value in this run.
        ours: String,
    },
    /// A checkpoint that cannot be used.
    #[error("checkpoint `{path}`: {why}; delete the folder to go on from an earlier one")]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot write or read `{path}`: {source}; check its permissions and the space left on the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
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
    /// An error of a learner of another crate.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl TrainError {
    /// For `map_err`: an error of the operating system about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
