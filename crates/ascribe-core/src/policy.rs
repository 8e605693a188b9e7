//! The seam to anything that writes tokens: local models, served models, enumerable worlds.
//!
//! A candidate carries the log-probabilities of the model itself and not those of the distribution that it was drawn from (after
//! temperature and cuts). Few servers tell the second, and those who need them have them: particles propose from the policy as it
//! is, or from what they normalize themselves, so that their weights are exact; rollouts of reinforcement learning compute them
//! from the weights that wrote them, where a correction or a loss asks for them.

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

/// How the next token is drawn from the distribution. Names, meaning and order are those of transformers: the repetition
/// penalty and the n-grams, the temperature, then the cuts from `top_k` to `eta_cutoff` as they stand here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Keep the k most likely tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keep the smallest set of most likely tokens whose probability reaches this; in (0, 1].
    pub top_p: f32,
    /// Keep the tokens with at least this share of the highest probability; in [0, 1].
    pub min_p: Option<f32>,
    /// Keep the tokens whose surprise is nearest to the entropy, up to this probability; in (0, 1].
    pub typical_p: Option<f32>,
    /// Keep the tokens with at least this probability; in (0, 1).
    pub epsilon_cutoff: Option<f32>,
    /// Keep the tokens with at least the probability `min(eta, sqrt(eta) exp(-entropy))`; in (0, 1).
    pub eta_cutoff: Option<f32>,
    /// Divides the positive logits of tokens that were seen, and multiplies their negative ones; above 0.
    pub repetition_penalty: Option<f32>,
    /// No sequence of so many tokens is written twice; at least 1.
    pub no_repeat_ngram_size: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: None,
            typical_p: None,
            epsilon_cutoff: None,
            eta_cutoff: None,
            repetition_penalty: None,
            no_repeat_ngram_size: None,
        }
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
        if let Some(got) = self.min_p.filter(|p| !(0.0..=1.0).contains(p)) {
            return range("min_p", "in [0, 1]", got.into());
        }
        if let Some(got) = self.typical_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return range("typical_p", "in (0, 1]", got.into());
        }
        for (name, cutoff) in [("epsilon_cutoff", self.epsilon_cutoff), ("eta_cutoff", self.eta_cutoff)] {
            if let Some(got) = cutoff.filter(|p| !(*p > 0.0 && *p < 1.0)) {
                return range(name, "in (0, 1)", got.into());
            }
        }
        if let Some(got) = self.repetition_penalty.filter(|penalty| !(*penalty > 0.0 && penalty.is_finite())) {
            return range("repetition_penalty", "finite and above 0 (1 changes nothing)", got.into());
        }
        if self.no_repeat_ngram_size == Some(0) {
            return range("no_repeat_ngram_size", "at least 1", 0.0);
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
    /// Candidate `i` is the `i`-th most likely next token; ties go to the smaller id, and tokens of probability 0 are left
    /// out, so there may be fewer than `n`. For [`Until::Token`] alone. Counts as one token generated, however many are named.
    Top,
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

impl Request {
    /// Checks the ranges of the sampling, and that most likely tokens are asked for one at a time.
    pub fn check(&self) -> Result<(), CoreError> {
        match self.mode {
            Mode::Greedy => Ok(()),
            Mode::Sample(sampling) => sampling.check(),
            Mode::Top if self.until == Until::Token && self.max_new > 0 => Ok(()),
            Mode::Top => Err(CoreError::Shape {
                rule: "the most likely next tokens need `Until::Token` and a `max_new` of at least 1",
                got: format!("{:?} and {}", self.until, self.max_new),
            }),
        }
    }
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
    /// `n` candidates, in the order of their streams; with [`Mode::Top`] in the order of their probabilities.
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
    /// It can name the most likely next tokens ([`Mode::Top`]).
    pub top: bool,
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

    /// Whether it ever writes an end token; `false` where its texts go on until they are cut off.
    fn ends(&self) -> bool {
        true
    }

    /// Number of its token ids, where that is known. What multiplies policies refuses those that differ in it.
    fn vocabulary(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused() {
        let plain = Sampling::default();
        for sound in [
            plain,
            Sampling { min_p: Some(0.0), typical_p: Some(1.0), epsilon_cutoff: Some(1e-3), ..plain },
            Sampling { eta_cutoff: Some(0.5), repetition_penalty: Some(0.8), no_repeat_ngram_size: Some(1), ..plain },
        ] {
            assert!(sound.check().is_ok(), "{sound:?}");
        }
        for wrong in [f32::NAN, -0.1, 1.5] {
            for sampling in [
                Sampling { min_p: Some(wrong), ..plain },
                Sampling { typical_p: Some(wrong), ..plain },
                Sampling { epsilon_cutoff: Some(wrong), ..plain },
                Sampling { eta_cutoff: Some(wrong), ..plain },
            ] {
                assert!(sampling.check().is_err(), "{sampling:?}");
            }
        }
        for wrong in [f32::NAN, 0.0, f32::INFINITY] {
            assert!(Sampling { repetition_penalty: Some(wrong), ..plain }.check().is_err(), "{wrong}");
        }
        assert!(Sampling { no_repeat_ngram_size: Some(0), ..plain }.check().is_err());
    }

    #[test]
    fn most_likely_tokens_are_asked_for_one_at_a_time() {
        let top = Request {
            prefix: Tokens::default(),
            n: 2,
            until: Until::Token,
            mode: Mode::Top,
            max_new: 1,
            seed: Seed(0),
        };
        assert!(top.check().is_ok());
        assert!(Request { until: Until::End, ..top.clone() }.check().is_err());
        assert!(Request { max_new: 0, ..top }.check().is_err());
    }
}
