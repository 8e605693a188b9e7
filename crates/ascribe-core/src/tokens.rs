//! Token ids and the mask that says which of them count.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::CoreError;

/// Position of a token within an episode, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenIndex(pub usize);

/// Token ids. Text is a view of them, never the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(Vec<u32>);

impl Tokens {
    /// The ids as a vector.
    pub fn into_vec(self) -> Vec<u32> {
        self.0
    }

    /// These tokens followed by `more`.
    pub fn followed_by(&self, more: &[u32]) -> Self {
        Self([&self.0, more].concat())
    }
}

impl Deref for Tokens {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        &self.0
    }
}

impl From<Vec<u32>> for Tokens {
    fn from(ids: Vec<u32>) -> Self {
        Self(ids)
    }
}

impl From<&[u32]> for Tokens {
    fn from(ids: &[u32]) -> Self {
        Self(ids.to_vec())
    }
}

impl FromIterator<u32> for Tokens {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// One flag a token: true means that the token counts. It has this meaning everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResponseMask(Vec<bool>);

impl ResponseMask {
    /// A mask of `tokens` flags in which everything from `start` on counts.
    pub fn from_start(start: usize, tokens: usize) -> Self {
        Self((0..tokens).map(|at| at >= start).collect())
    }

    /// Number of tokens that count.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|counts| **counts).count()
    }

    /// Positions of the tokens that count, increasing.
    pub fn positions(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter_map(|(at, counts)| counts.then_some(at))
    }

    /// Checks that the mask has one flag a token.
    pub fn check(&self, tokens: usize) -> Result<(), CoreError> {
        if self.0.len() != tokens {
            return Err(CoreError::Length { what: "a response mask", expected: tokens, got: self.0.len() });
        }
        Ok(())
    }
}

impl Deref for ResponseMask {
    type Target = [bool];
    fn deref(&self) -> &[bool] {
        &self.0
    }
}

impl From<Vec<bool>> for ResponseMask {
    fn from(flags: Vec<bool>) -> Self {
        Self(flags)
    }
}
