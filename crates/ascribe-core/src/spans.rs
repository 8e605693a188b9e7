//! Steps (or turns) as ranges of tokens.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{CoreError, TokenIndex};

/// Number of a step within an episode, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepIndex(pub usize);

/// Ranges of token positions, increasing and disjoint; tokens between them belong to no step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpans(Vec<Range<usize>>);

impl StepSpans {
    /// Checks that `spans` are non-empty, increasing and inside `tokens` tokens.
    pub fn new(spans: Vec<Range<usize>>, tokens: usize) -> Result<Self, CoreError> {
        let mut end = 0;
        for span in &spans {
            let sound = end <= span.start && span.start < span.end && span.end <= tokens;
            if !sound {
                return Err(CoreError::Span { tokens, start: span.start, end: span.end });
            }
            end = span.end;
        }
        Ok(Self(spans))
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no step.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token positions of `step`.
    pub fn get(&self, step: StepIndex) -> Option<Range<usize>> {
        self.0.get(step.0).cloned()
    }

    /// Last token of `step`: where a process reward is paid.
    pub fn last_token(&self, step: StepIndex) -> Option<TokenIndex> {
        self.0.get(step.0).map(|span| TokenIndex(span.end - 1))
    }

    /// All spans, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.0.iter().cloned()
    }
}
