//! What is trained on: a prompt with one response, a pair, a labelled response, or a group of scored ones.

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

/// A response with what was computed of its tokens before training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Token ids, with the end token when the response ended by itself.
    pub tokens: Tokens,
    /// Which of them count, where not all do: of a continuation of several turns, what the assistant says.
    pub counts: Option<Vec<bool>>,
    /// Log-probability of each token under the reference.
    pub ref_logps: Option<Vec<f32>>,
    /// Credit of each token.
    pub credit: Option<Vec<f32>>,
    /// What the whole response is worth, to whoever scored it.
    pub score: Option<f32>,
}

impl Response {
    /// A response of which nothing is known yet.
    pub fn new(tokens: impl Into<Tokens>) -> Self {
        Self { tokens: tokens.into(), ..Self::default() }
    }
}

/// A prompt with its responses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainRow {
    /// Token ids of the prompt.
    pub prompt: Tokens,
    /// One response; or the chosen one, then the rejected one, then one that is known to be good; or a scored group.
    pub responses: Vec<Response>,
    /// Whether the response is wanted, where it has a label.
    pub label: Option<bool>,
    /// How far the order of a pair can be relied upon, from 0 to 1.
    pub consistency: Option<f32>,
    /// What the label of a pair counts for; at least 0.
    pub weight: Option<f32>,
    /// A response to another prompt, see [`mismatch`](crate::mismatch()).
    pub mismatched: Option<Response>,
    /// Line of the row in its file, for messages; 0 when it has none.
    pub line: usize,
}

impl TrainRow {
    /// A row with one response.
    pub fn single(prompt: impl Into<Tokens>, response: impl Into<Tokens>) -> Self {
        Self { prompt: prompt.into(), responses: vec![Response::new(response)], ..Self::default() }
    }

    /// A pair.
    pub fn pair(prompt: impl Into<Tokens>, chosen: impl Into<Tokens>, rejected: impl Into<Tokens>) -> Self {
        let responses = vec![Response::new(chosen), Response::new(rejected)];
        Self { prompt: prompt.into(), responses, ..Self::default() }
    }

    /// A row with one response that is wanted or not.
    pub fn labelled(prompt: impl Into<Tokens>, response: impl Into<Tokens>, label: bool) -> Self {
        Self { label: Some(label), ..Self::single(prompt, response) }
    }

    /// Every response of which the reference's log-probabilities are wanted: its own, and the mismatched one.
    pub fn all_responses(&self) -> impl Iterator<Item = &Response> {
        self.responses.iter().chain(&self.mismatched)
    }

    /// The same, to be changed.
    pub fn all_responses_mut(&mut self) -> impl Iterator<Item = &mut Response> {
        self.responses.iter_mut().chain(&mut self.mismatched)
    }
}

/// A hash of rows: which tokens they teach, in which order, and what is known of them before training.
#[derive(Default)]
pub struct RowHash(blake3::Hasher);

impl RowHash {
    /// Adds a row.
    pub fn add(&mut self, row: &TrainRow) {
        for ids in std::iter::once(&row.prompt).chain(row.all_responses().map(|response| &response.tokens)) {
            self.0.update(&(ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| {
                self.0.update(&id.to_le_bytes());
            });
        }
        // Nothing is added where nothing is known, so rows of tokens alone keep their hash.
        if let Some(label) = row.label {
            self.0.update(&[u8::from(label)]);
        }
        for known in row.responses.iter().filter_map(|response| response.score).chain(row.consistency) {
            self.0.update(&known.to_le_bytes());
        }
        for counts in row.responses.iter().filter_map(|response| response.counts.as_ref()) {
            counts.iter().for_each(|counts| {
                self.0.update(&[2 + u8::from(*counts)]);
            });
        }
        if let Some(weight) = row.weight {
            // Behind a word of its own, so that a weight is no consistency.
            self.0.update(b"weight").update(&weight.to_le_bytes());
        }
    }

    /// The hash, in hexadecimal.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}
