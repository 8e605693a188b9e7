//! The seam that every decoder implements.

use ascribe_core::{Candidate, Tokens, Usage};
use serde::{Deserialize, Serialize};

use crate::{Calls, Path, SearchCtx, SearchError, SearchTree};

/// Why a search ended before it was done. What it had by then is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// A limit did not cover what was to be asked next.
    Budget,
    /// The time was up.
    Time,
    /// The flag of the context was raised.
    Cancelled,
    /// The policy wrote nothing to go on from.
    Nothing,
}

/// What a decoder found for one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// All candidates, in the order in which they were begun; those of a beam search best first. There is always one: where
    /// nothing was finished it is the best unfinished text (`Finish::Length`), which may be empty.
    pub candidates: Vec<Candidate>,
    /// Score of each candidate, when a scorer was asked or the decoder has scores of its own.
    pub scores: Option<Vec<f32>>,
    /// Index of the candidate that was chosen.
    pub chosen: usize,
    /// What this prompt cost in tokens.
    pub usage: Usage,
    /// How often policies and scorers were asked for this prompt.
    pub calls: Calls,
    /// Why the search ended early; `None` when it did not.
    pub stopped: Option<Stopped>,
    /// Values that hung on too few of the texts they were estimated from ([`TransferOptions::floor`](crate::TransferOptions)).
    pub doubtful: u64,
    /// Number of the sub-tree that each candidate is of, where sub-trees were searched apart
    /// ([`DiverseTrees`](crate::DiverseTrees)).
    pub subtrees: Option<Vec<usize>>,
    /// What was looked at, when the context records it.
    pub tree: Option<SearchTree>,
}

impl Found {
    /// The candidates `paths`, of which `chosen` was chosen. What they cost is filled in by [`SearchCtx::each`].
    pub fn of(paths: &[Path], scores: Option<Vec<f32>>, chosen: usize) -> Self {
        Self {
            candidates: paths.iter().map(Path::candidate).collect(),
            scores,
            chosen,
            usage: Usage::default(),
            calls: Calls::default(),
            stopped: None,
            doubtful: 0,
            subtrees: None,
            tree: None,
        }
    }

    /// The candidate that was chosen.
    pub fn best(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }
}

/// What a decoder asks for besides texts that a policy writes. None has given tokens scored; that is up to its scorer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A scorer ([`SearchCtx::with_scorer`]); for those that score whole texts alone a judge will do.
    pub scorer: bool,
    /// A way to read answers ([`SearchCtx::with_answers`]).
    pub answers: bool,
    /// A policy that names the most likely next tokens ([`Capabilities::top`](ascribe_core::Capabilities::top)).
    pub top: bool,
}

/// A way to decode. Batch first: what is found is placed by the index of its prompt, and depends on that prompt alone.
pub trait Search: Send + Sync {
    /// Decodes each prompt; every token passes through `ctx`. A search that its limits cut short is no error.
    ///
    /// # Errors
    /// When the policy or the scorer fails, a score is NaN, or an option is out of range.
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError>;

    /// What it asks for, so that a caller can refuse before anything is written. A need that is not declared is refused
    /// where it is asked for.
    fn needs(&self) -> Needs {
        Needs::default()
    }
}
