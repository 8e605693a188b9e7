//! The seam to anything that writes tokens: local models, served models, enumerable worlds.

use serde::{Deserialize, Serialize};

use crate::{CoreError, Seed, Tokens, Usage};

/// When a candidate is finished, besides `max_new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// After one token.
    Token,
    /// After the first of these separator tokens (which is kept), or the end.
    Step(Vec<u32>),
    /// At the end token.
    End,
}

/// How the next token is drawn from the distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Keep the k most likely tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keep the smallest set of most likely tokens whose probability reaches this; in (0, 1].
    pub top_p: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0 }
    }
}

impl Sampling {
    /// Checks the ranges.
    pub fn check(&self) -> Result<(), CoreError> {
        let range = |name, rule, got| Err(CoreError::Range { name, rule, got });
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return range("temperature", "finite and above 0 (use greedy decoding for 0)", self.temperature.into());
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return range("top_p", "in (0, 1]", self.top_p.into());
        }
        if self.top_k == Some(0) {
            return range("top_k", "at least 1", 0.0);
        }
        Ok(())
    }
}

/// How a candidate is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The most likely token; ties go to the smaller id.
    Greedy,
    /// Drawn at random.
    Sample(Sampling),
}

/// A wish for `n` candidates that continue `prefix`.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids so far.
    pub prefix: Tokens,
    /// Number of candidates.
    pub n: usize,
    /// Where a candidate ends.
    pub until: Until,
    /// Greedy or sampled.
    pub mode: Mode,
    /// Most tokens to write for each candidate.
    pub max_new: usize,
    /// Candidate `i` draws from `seed.stream("sample", i)`.
    pub seed: Seed,
}

/// Why a candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The end token was written (it is the last token).
    End,
    /// A step separator, or the one token that was asked for, was written.
    Step,
    /// `max_new` was reached or the context was full.
    Length,
}

/// One continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The new tokens, with the end token if it was written.
    pub tokens: Tokens,
    /// Natural log-probability of each new token under the model itself: temperature 1, nothing cut off.
    pub logps: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// `n` candidates, in the order of their streams.
    pub candidates: Vec<Candidate>,
    /// What the request cost.
    pub usage: Usage,
}

/// A given continuation, to be scored.
#[derive(Clone, Debug)]
pub struct Continuation {
    /// Token ids before it.
    pub prefix: Tokens,
    /// The tokens to score.
    pub tokens: Tokens,
}

/// What a policy can do besides proposing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It can score given continuations.
    pub score: bool,
    /// Longest prefix and continuation together, in tokens.
    pub context: usize,
}

/// Anything that writes tokens. Blocking and batch first: replies are placed by index.
pub trait Policy: Send + Sync {
    /// Candidates for each request.
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError>;

    /// Natural log-probability of each token of each continuation, and what it cost.
    ///
    /// # Errors
    /// [`CoreError::Unsupported`] when the engine cannot score given text.
    fn score(&self, _continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        Err(CoreError::Unsupported { what: "score given continuations" })
    }

    /// What it can do.
    fn capabilities(&self) -> Capabilities;
}
