//! Responses that the policy wrote, with how they were drawn and what is known of them.

use ascribe_core::{CoreError, Sampling, Text, Tokens};
use ascribe_lm::Tokenizer;
use serde::{Deserialize, Serialize};

/// What a critic beside the first says of a response. Lists have one entry a response token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CriticTokens {
    /// Values before each token.
    pub values: Vec<f32>,
    /// What they should have been.
    pub returns: Vec<f32>,
}

/// A response that the policy wrote. Lists have one entry a response token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Token ids of the prompt.
    pub prompt: Tokens,
    /// The prompt that it is judged as an answer to, where that is another one.
    pub asked: Option<Tokens>,
    /// Token ids of the response, with the end token if it was written.
    pub response: Tokens,
    /// Number of the prompt within its generation.
    pub group: usize,
    /// False when the length limit cut it.
    pub complete: bool,
    /// How its tokens were drawn.
    pub sampling: Sampling,
    /// Its score; `None` where nothing could judge it.
    pub score: Option<f64>,
    /// Log-probabilities under the model that wrote it, as the engine gave them: temperature 1, nothing cut off.
    pub logps: Vec<f32>,
    /// Log-probabilities under the distribution that was drawn from, after temperature and cuts.
    pub drawn_logps: Option<Vec<f32>>,
    /// Log-probabilities at the sampling temperature, by the code that trains, before the first step on it. Absent where
    /// there is one step alone: then they are those of the step itself.
    pub old_logps: Option<Vec<f32>>,
    /// Log-probabilities under the reference, at the sampling temperature.
    pub ref_logps: Option<Vec<f32>>,
    /// Values before each token.
    pub values: Option<Vec<f32>>,
    /// What the values should have been.
    pub returns: Option<Vec<f32>>,
    /// The same of the critics beside the first, one for each constraint.
    #[serde(default)]
    pub critics: Vec<CriticTokens>,
    /// What each token is multiplied by in the loss.
    pub weights: Option<Vec<f32>>,
    /// What the pull to the reference is multiplied by; 1 where there is none.
    pub pull: Option<f32>,
    /// Whether the reference wrote it, so that nothing is learned from it.
    #[serde(default)]
    pub borrowed: bool,
    /// Whether the values alone learn from it, and the policy stays where it is.
    #[serde(default)]
    pub critic_alone: bool,
    /// 1 where a step begins, else 0.
    pub starts: Option<Vec<f32>>,
    /// Advantages.
    pub advantages: Vec<f32>,
}

/// The tokens up to and with the first that ends a text; all where none does.
///
/// ```
/// use ascribe_preference::rl::up_to_end;
/// assert_eq!(up_to_end(&[5, 3, 7, 3], &[3]), [5, 3]);
/// assert_eq!(up_to_end(&[5, 7], &[3]), [5, 7]);
/// ```
pub fn up_to_end<'a>(tokens: &'a [u32], ends: &[u32]) -> &'a [u32] {
    match tokens.iter().position(|token| ends.contains(token)) {
        Some(at) => &tokens[..=at],
        None => tokens,
    }
}

/// The text of a prompt and its response, without special tokens, and the bytes of each token. A token whose text is held
/// back, as the first bytes of a character are, covers nothing, and the one that completes it covers all.
///
/// # Errors
/// When the tokenizer cannot decode.
pub fn text_of(tokenizer: &Tokenizer, prompt: &[u32], response: &[u32]) -> Result<Text, CoreError> {
    let mut whole = Text::default();
    for part in [prompt, response] {
        let (text, spans) = tokenizer.decode_spans(part).map_err(|error| CoreError::Other(Box::new(error)))?;
        let start = whole.text.len();
        whole.text.push_str(&text);
        whole.spans.extend(spans.into_iter().map(|span| start + span.start..start + span.end));
    }
    Ok(whole)
}
