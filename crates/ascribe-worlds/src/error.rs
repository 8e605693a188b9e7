//! The errors of this crate.

use ascribe_core::CoreError;
use thiserror::Error;

/// What a world refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A text that is no chain problem.
    #[error("a problem reads like `((3+5)*2-4)%10`: write {expected} at byte {at}, where {got} stands")]
    Problem {
        /// Byte of the text at which it stops being a problem.
        at: usize,
        /// What must stand there.
        expected: &'static str,
        /// What stands there.
        got: String,
    },
    /// A path that leaves its token tree.
    #[error(
        "{what} has at most {most} tokens, each below {vocabulary}, got {got:?}; shorten it or draw its ids from the tree"
    )]
    Path {
        /// What the path stands for.
        what: &'static str,
        /// Most tokens that it may have.
        most: usize,
        /// Number of tokens in the vocabulary.
        vocabulary: usize,
        /// The path received.
        got: Vec<u32>,
    },
    /// A policy over a tree of another shape.
    #[error(
        "the policy must be over a tree of {vocabulary} tokens and depth {depth}, got {got}; build it from this tree"
    )]
    Shape {
        /// Vocabulary of the tree.
        vocabulary: usize,
        /// Depth of the tree.
        depth: usize,
        /// Shape of the policy.
        got: String,
    },
    /// A value outside its range.
    #[error("{name} must be {rule}, got {got}")]
    Range {
        /// Name of the value.
        name: &'static str,
        /// The condition that is accepted.
        rule: &'static str,
        /// The value received.
        got: String,
    },
}

impl WorldError {
    pub(crate) fn range(name: &'static str, rule: &'static str, got: impl std::fmt::Debug) -> Self {
        Self::Range { name, rule, got: format!("{got:?}") }
    }
}

impl From<WorldError> for CoreError {
    fn from(error: WorldError) -> Self {
        Self::Other(Box::new(error))
    }
}
