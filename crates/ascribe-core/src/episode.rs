//! What credit is given to: a prompt and a response, as token ids and as text.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{CoreError, ResponseMask, StepSpans, Tokens};

/// The text of an episode, with the bytes of each token, so that a scorer with another tokenizer can encode it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The whole text, prompt and response.
    pub text: String,
    /// Byte range of each token in `text`, one a token.
    pub spans: Vec<Range<usize>>,
}

/// A prompt with a response, the unit that scorers score.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// All token ids, prompt first.
    pub tokens: Tokens,
    /// Which of `tokens` the policy wrote, including the end token if it wrote one.
    pub response: ResponseMask,
    /// Steps of the response; empty when it was not segmented.
    pub steps: StepSpans,
    /// Turns of the policy; empty means that the response is one turn.
    pub turns: StepSpans,
    /// The text behind the tokens, where it is known.
    pub text: Option<Text>,
    /// False when the response was cut by a length limit.
    pub complete: bool,
}

impl Episode {
    /// A single-turn episode: everything after the prompt is response.
    pub fn new(prompt: &[u32], response: &[u32]) -> Self {
        Self {
            tokens: [prompt, response].concat().into(),
            response: ResponseMask::from_start(prompt.len(), prompt.len() + response.len()),
            complete: true,
            ..Self::default()
        }
    }

    /// The same episode with steps, given as ranges of positions in `tokens`.
    pub fn with_steps(mut self, spans: Vec<Range<usize>>) -> Result<Self, CoreError> {
        self.steps = StepSpans::new(spans, self.tokens.len())?;
        Ok(self)
    }

    /// The same episode with its text; `text.spans` has one range a token.
    pub fn with_text(mut self, text: Text) -> Result<Self, CoreError> {
        if text.spans.len() != self.tokens.len() {
            return Err(CoreError::Length { what: "a text", expected: self.tokens.len(), got: text.spans.len() });
        }
        self.text = Some(text);
        Ok(self)
    }

    /// Number of tokens before the first one that counts.
    pub fn prompt_len(&self) -> usize {
        self.response.positions().next().unwrap_or(self.tokens.len())
    }

    /// Tokens before the first response token.
    pub fn prompt_tokens(&self) -> &[u32] {
        &self.tokens[..self.prompt_len()]
    }

    /// Tokens from the first response token on.
    pub fn response_tokens(&self) -> &[u32] {
        &self.tokens[self.prompt_len()..]
    }

    /// Text of the tokens from the first response token on, where the text is known.
    pub fn response_text(&self) -> Option<&str> {
        let text = self.text.as_ref()?;
        let start = text.spans.get(self.prompt_len()).map_or(text.text.len(), |span| span.start);
        text.text.get(start..)
    }
}
