use std::path::{Path, PathBuf};

use ascribe_core::CoreError;
use thiserror::Error;

/// What can go wrong with tokenizers, templates, weights and models.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LmError {
    /// A file that cannot be read or written.
    #[error("cannot use `{path}`: {source}; check the path, its permissions and the space left on the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A truncated or corrupt file.
    #[error("`{path}` is truncated or corrupt: {why}; download or export it again")]
    Format {
        /// The file.
        path: PathBuf,
        /// The rule and the value that breaks it.
        why: String,
    },
    /// A tensor that the model needs is absent.
    #[error("`{path}` has no tensor `{name}`; check that config and weights belong to the same model")]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor of the wrong shape.
    #[error(
        "tensor `{name}` must have the shape {expected:?}, got {got:?}; check that config and weights belong to the same model"
    )]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape that the config asks for.
        expected: Vec<usize>,
        /// Shape in the file.
        got: Vec<usize>,
    },
    /// NaN or infinity among the weights.
    #[error(
        "tensor `{name}` holds NaN or infinity; the weights are spoilt: take an earlier checkpoint or download them again"
    )]
    NotFinite {
        /// Name of the tensor.
        name: String,
    },
    /// A config that lacks an entry or has one that cannot be used.
    #[error("config `{path}`: {why}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The rule, the value and the remedy.
        why: String,
    },
    /// Something that other software can read and this crate cannot.
    #[error("{what} is not supported; {remedy}")]
    Unsupported {
        /// What was found.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// A tokenizer whose ids do not fit the model's embedding.
    #[error(
        "the tokenizer writes ids up to {highest} and the model has {embeddings} embeddings; use the tokenizer that belongs to the model"
    )]
    Vocabulary {
        /// Highest id of the tokenizer.
        highest: usize,
        /// Rows of the model's embedding.
        embeddings: usize,
    },
    /// A tokenizer that cannot be built, or text that it cannot encode.
    #[error("tokenizer: {why}")]
    Tokenizer {
        /// The rule, the value and the remedy.
        why: String,
    },
    /// A chat template that cannot be read, or that refuses the messages.
    #[error("chat template: {why}")]
    Template {
        /// What the template engine, or the template itself, said.
        why: String,
    },
    /// A model that is neither here nor in the hub's cache, or cannot be had from the hub.
    #[error("model `{model}`: {why}")]
    Hub {
        /// What was asked for.
        model: String,
        /// What is missing, and what to do.
        why: String,
    },
    /// Options of an adapter that cannot be used, or do not fit the model.
    #[error("LoRA: {why}")]
    Lora {
        /// The rule, the value and the remedy.
        why: String,
    },
    /// An adapter that says something else once it is merged.
    #[error(
        "merged into the weights, the adapter must give what it gives apart, within {tolerance:e} times 1 + |x|; got {after} for {before}: use the adapter without merging it"
    )]
    Merge {
        /// A log-probability (of a classifier: a score) with the adapter apart.
        before: f32,
        /// The same of the merged weights.
        after: f32,
        /// What is accepted.
        tolerance: f32,
    },
    /// Tokens that do not fit the model's context.
    #[error("{got} tokens do not fit the model's context of {context}; shorten the prompt or ask for fewer new tokens")]
    Context {
        /// Length of the context in tokens.
        context: usize,
        /// Number of tokens received.
        got: usize,
    },
    /// Options of a served model that cannot be used.
    #[error("served model: {why}")]
    Served {
        /// The rule, the value and the remedy.
        why: String,
    },
    /// An endpoint that cannot be asked at all.
    #[error("endpoint {endpoint}: {why}")]
    Endpoint {
        /// Its address.
        endpoint: String,
        /// What it did or lacks, and what to do.
        why: String,
    },
    /// A request that no endpoint answered as it has to be answered.
    #[error("request {request} was not answered ({attempts} attempts, the last at {endpoint}): {why}")]
    Unanswered {
        /// Its place in the list of requests, from 0.
        request: usize,
        /// Address of the endpoint that was asked last, or would have been.
        endpoint: String,
        /// How often it was asked.
        attempts: usize,
        /// What happened last, and what to do.
        why: String,
    },
    /// An error of the core.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl LmError {
    /// For `map_err`: an error of the operating system about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// For `map_err`: an error about the contents of `path`.
    pub(crate) fn format<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |why| Self::Format { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn tokenizer(why: impl Into<String>) -> Self {
        Self::Tokenizer { why: why.into() }
    }
}
