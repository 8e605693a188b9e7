//! Text to training rows.
//!
//! Prompt and response are encoded apart, so their ids never merge at the boundary and `prompt + response` is exactly the
//! two lists one after the other. A conversation is rendered by the chat template, which writes all special tokens itself;
//! a plain prompt gets what the tokenizer adds (BOS). A response ends with the model's end token, except when it was cut.
//! Truncation takes the prompt's left first and then the response's right, and both are counted.

use ascribe_core::Tokens;
use ascribe_data::{Message, Preference, Prompt, PromptCompletion, Skipped, Untaught, Why};
use ascribe_lm::{ChatTemplate, Ending, FrozenModel, LanguageModel, LmError, Render, Tokenizer};

use crate::{PreferenceError, Response, RevisedPrompts, RevisionTemplate, TrainRow};

/// What truncation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncation {
    /// Rows whose prompt lost tokens on the left.
    pub prompts: usize,
    /// Responses that lost tokens on the right, and with them their end token.
    pub responses: usize,
}

/// Rows ready for training.
#[derive(Clone, Debug, Default)]
pub struct Encoded<R> {
    /// The rows, with the record that each came from.
    pub rows: Vec<(TrainRow, R)>,
    /// Records that cannot teach.
    pub skipped: Skipped,
    /// What truncation took.
    pub truncation: Truncation,
}

/// Encodes records for one model.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
    max_length: usize,
}

impl<'a> Encoder<'a> {
    /// An encoder for `model` that gives rows of at most `max_length` tokens.
    ///
    /// # Errors
    /// When `max_length` is below 2.
    pub fn new(model: &'a LanguageModel, max_length: usize) -> Result<Self, PreferenceError> {
        Self::from_parts(&model.tokenizer, model.template.as_ref(), max_length.min(model.config.context))
    }

    /// An encoder for `model` that gives rows of as many tokens as its context holds.
    ///
    /// # Errors
    /// When the context is below 2.
    pub fn frozen(model: &'a FrozenModel) -> Result<Self, PreferenceError> {
        Self::from_parts(&model.tokenizer, model.template.as_ref(), model.config.context)
    }

    /// An encoder without a model, of what turns text into ids.
    ///
    /// # Errors
    /// When `max_length` is below 2.
    pub fn from_parts(
        tokenizer: &'a Tokenizer,
        template: Option<&'a ChatTemplate>,
        max_length: usize,
    ) -> Result<Self, PreferenceError> {
        match max_length < 2 {
            true => Err(PreferenceError::MaxLength { got: max_length }),
            false => Ok(Self { tokenizer, template, max_length }),
        }
    }

    /// Token ids of a prompt, up to where the response begins.
    ///
    /// # Errors
    /// When it is a conversation and the model has no chat template.
    pub fn prompt(&self, prompt: &Prompt) -> Result<Tokens, LmError> {
        match prompt {
            Prompt::Text(text) => Ok(self.tokenizer.encode_with_special(text)?.into()),
            Prompt::Messages(messages) => {
                Ok(self.tokenizer.encode(&self.render(messages, Ending::GenerationPrompt)?)?.into())
            }
        }
    }

    /// Token ids of a response, with its end token.
    ///
    /// # Errors
    /// When the chat template writes the opening of an answer otherwise than the answer itself.
    pub fn response(&self, prompt: &Prompt, response: &str) -> Result<Tokens, LmError> {
        let ends = self.tokenizer.eos();
        let mut ids = match prompt {
            Prompt::Text(_) => self.tokenizer.encode(response)?,
            Prompt::Messages(messages) => {
                let opening = self.render(messages, Ending::GenerationPrompt)?;
                let answered = [messages.as_slice(), &[Message::new("assistant", response)]].concat();
                let whole = self.render(&answered, Ending::LastMessage)?;
                let rest = whole.strip_prefix(&opening).ok_or_else(|| LmError::Template {
                    why: "a finished answer does not begin as the generation prompt does; use a template whose \
                          generation prompt opens the assistant's message"
                        .into(),
                })?;
                self.tokenizer.encode(rest)?
            }
        };
        // What a template writes after the end token (a line break, say) is not the model's to write.
        match ids.iter().rposition(|id| ends.contains(id)) {
            Some(at) if matches!(prompt, Prompt::Messages(_)) => ids.truncate(at + 1),
            _ => ids.extend(ends.first()),
        }
        Ok(ids.into())
    }

    fn render(&self, messages: &[Message], ending: Ending) -> Result<String, LmError> {
        let template = self.template.ok_or_else(|| LmError::Unsupported {
            what: "a conversation with a model that has no chat template".into(),
            remedy: "give the prompt as plain text".into(),
        })?;
        template.render(messages, &Render { ending, ..Render::default() })
    }

    /// Pairs. Records that cannot teach are left out and named.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn pairs(&self, records: Vec<Preference>) -> Result<Encoded<Preference>, PreferenceError> {
        self.encode(records, |record| (&record.prompt, vec![&record.chosen, &record.rejected], record.line))
    }

    /// Prompts with one completion each.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn completions(&self, records: Vec<PromptCompletion>) -> Result<Encoded<PromptCompletion>, PreferenceError> {
        self.encode(records, |record| (&record.prompt, vec![&record.completion], record.line))
    }

    fn encode<R>(
        &self,
        records: Vec<R>,
        parts: impl Fn(&R) -> (&Prompt, Vec<&String>, usize),
    ) -> Result<Encoded<R>, PreferenceError> {
        let mut encoded = Encoded { rows: Vec::new(), skipped: Skipped::default(), truncation: Truncation::default() };
        for record in records {
            let (prompt, responses, line) = parts(&record);
            let mut row = TrainRow { prompt: self.prompt(prompt)?, responses: Vec::new(), line };
            for response in responses {
                row.responses.push(Response::new(self.response(prompt, response)?));
            }
            let cut = self.truncate(&mut row);
            match teaches(&row) {
                Err(why) => encoded.skipped.push(Untaught { line, why }),
                Ok(()) => {
                    encoded.truncation.prompts += cut.prompts;
                    encoded.truncation.responses += cut.responses;
                    encoded.rows.push((row, record));
                }
            }
        }
        Ok(encoded)
    }

    /// Cuts a row to `max_length`: the prompt from the left, then the responses from the right.
    fn truncate(&self, row: &mut TrainRow) -> Truncation {
        let mut cut = Truncation::default();
        let longest = row.responses.iter().map(|response| response.tokens.len()).max().unwrap_or(0);
        let room = self.max_length.saturating_sub(longest).max(1);
        if row.prompt.len() > room {
            row.prompt = row.prompt[row.prompt.len() - room..].into();
            cut.prompts = 1;
        }
        let room = self.max_length - row.prompt.len().min(self.max_length);
        for response in &mut row.responses {
            if response.tokens.len() > room {
                response.tokens = response.tokens[..room].into();
                cut.responses += 1;
            }
        }
        cut
    }

    /// The revision prompts of each response of `record`, for a row that was made from it.
    ///
    /// # Errors
    /// When the template lacks `{prompt}` or cannot be encoded.
    pub fn revised(
        &self,
        record: &Preference,
        template: &RevisionTemplate,
    ) -> Result<Vec<RevisedPrompts>, PreferenceError> {
        let asked = match &record.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Messages(messages) => spoken(messages),
        };
        let ask = |text: String| match self.template {
            Some(_) => self.prompt(&Prompt::Messages(vec![Message::new("user", text)])),
            None => self.prompt(&Prompt::Text(text)),
        };
        [&record.chosen, &record.rejected]
            .into_iter()
            .map(|response| {
                let (better, worse) = template.fill(&asked, response)?;
                Ok(RevisedPrompts { better: ask(better)?, worse: ask(worse)? })
            })
            .collect()
    }
}

/// A conversation as one text; a single message stands alone.
fn spoken(messages: &[Message]) -> String {
    match messages {
        [only] => only.content.clone(),
        _ => messages.iter().map(|one| format!("{}: {}", one.role, one.content)).collect::<Vec<_>>().join("\n"),
    }
}

fn teaches(row: &TrainRow) -> Result<(), Why> {
    if row.prompt.is_empty() {
        return Err(Why::EmptyPrompt);
    }
    if row.responses.iter().any(|response| response.tokens.is_empty()) {
        return Err(Why::NoTokenLeft);
    }
    match row.responses.as_slice() {
        // Different texts may be cut to the same tokens.
        [chosen, rejected] if chosen.tokens == rejected.tokens => Err(Why::EqualPair),
        _ => Ok(()),
    }
}
