//! What is trained on: a prompt with one response, or with a chosen and a rejected one.

use ascribe_core::Tokens;

/// A response with what was computed of its tokens before training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// Token ids, with the end token when the response ended by itself.
    pub tokens: Tokens,
    /// Log-probability of each token under the reference.
    pub ref_logps: Option<Vec<f32>>,
    /// Credit of each token.
    pub credit: Option<Vec<f32>>,
}

impl Response {
    /// A response of which nothing is known yet.
    pub fn new(tokens: impl Into<Tokens>) -> Self {
        Self { tokens: tokens.into(), ..Self::default() }
    }
}

/// A prompt with its responses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainRow {
    /// Token ids of the prompt.
    pub prompt: Tokens,
    /// One response; or the chosen one, then the rejected one.
    pub responses: Vec<Response>,
    /// Line of the row in its file, for messages; 0 when it has none.
    pub line: usize,
}

impl TrainRow {
    /// A row with one response.
    pub fn single(prompt: impl Into<Tokens>, response: impl Into<Tokens>) -> Self {
        Self { prompt: prompt.into(), responses: vec![Response::new(response)], line: 0 }
    }

    /// A pair.
    pub fn pair(prompt: impl Into<Tokens>, chosen: impl Into<Tokens>, rejected: impl Into<Tokens>) -> Self {
        Self { prompt: prompt.into(), responses: vec![Response::new(chosen), Response::new(rejected)], line: 0 }
    }
}

/// A hash of rows: which tokens they teach, in which order.
#[derive(Default)]
pub struct RowHash(blake3::Hasher);

impl RowHash {
    /// Adds the tokens of a row.
    pub fn add(&mut self, row: &TrainRow) {
        for ids in std::iter::once(&row.prompt).chain(row.responses.iter().map(|response| &response.tokens)) {
            self.0.update(&(ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| {
                self.0.update(&id.to_le_bytes());
            });
        }
    }

    /// The hash, in hexadecimal.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}
