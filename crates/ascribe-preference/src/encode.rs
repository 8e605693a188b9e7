//! Text to training rows.
//!
//! Prompt and response are encoded apart, so their ids never merge at the boundary, or by the longest shared prefix, so
//! that `prompt + response` are the ids of the whole text ([`Boundary`]). A conversation is rendered by the chat template,
//! which writes all special tokens itself; a plain prompt gets what the tokenizer adds (BOS). A response ends with the
//! model's end token, except when it was cut. Truncation takes the prompt's left first and then the response's right, and
//! both are counted.

use ascribe_core::{Needs, Tokens};
use ascribe_data::{
    Boundary, Dialogues, Message, Parts, Preference, Prompt, PromptCompletion, Ranked, Rated, Skipped, Unpaired,
    Untaught, Why,
};
use ascribe_lm::{ChatTemplate, Ending, FrozenModel, LanguageModel, LmError, MaskedTokens, Render, Tokenizer};

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

impl<R> Encoded<R> {
    /// The same, with rows left out and named that lack a score, a consistency or a weight which an objective needs.
    pub fn needing(mut self, needs: &Needs) -> Self {
        let mut kept = Vec::with_capacity(self.rows.len());
        for (row, record) in self.rows {
            let unscored = needs.scores && row.responses.iter().any(|response| response.score.is_none());
            let why = if unscored || (needs.consistency && row.consistency.is_none()) {
                Why::NoScore
            } else if needs.label_weights && row.weight.is_none() {
                Why::NoWeight
            } else {
                kept.push((row, record));
                continue;
            };
            self.skipped.push(Untaught { line: row.line, why });
        }
        self.rows = kept;
        self
    }
}

/// Encodes records for one model.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
    max_length: usize,
    boundary: Boundary,
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
            false => Ok(Self { tokenizer, template, max_length, boundary: Boundary::Apart }),
        }
    }

    /// The same with another boundary between prompt and response; apart unless it is set.
    #[must_use]
    pub fn with_boundary(self, boundary: Boundary) -> Self {
        Self { boundary, ..self }
    }

    /// Token ids of a prompt that somebody is to answer, up to where the answer begins.
    ///
    /// # Errors
    /// When it is a conversation and the model has no chat template.
    pub fn prompt(&self, prompt: &Prompt) -> Result<Tokens, LmError> {
        let (opening, _) = self.texts(prompt, &[])?;
        Ok(self.at_start(prompt, &opening)?.into())
    }

    /// Token ids of a prompt and of its responses, these with their end token. With a shared prefix, what merges with any of
    /// the responses belongs to all of them.
    ///
    /// # Errors
    /// When it is a conversation and the model has no chat template, or one that writes the opening of an answer otherwise
    /// than the answer itself.
    pub fn parts(&self, prompt: &Prompt, responses: &[&str]) -> Result<(Tokens, Vec<Tokens>), LmError> {
        let (opening, rests) = self.texts(prompt, responses)?;
        let (ids, responses) = match self.boundary {
            Boundary::SharedPrefix if !rests.is_empty() => {
                let mut parts: Vec<Parts> = Vec::with_capacity(rests.len());
                for rest in &rests {
                    parts.push(Boundary::SharedPrefix.split(&opening, rest, |text| self.at_start(prompt, text))?);
                }
                // The responses share one prompt: it ends where the first of them merges.
                let shared = parts.iter().map(|one| one.prompt.len()).min().unwrap_or(0);
                let ids = parts.first().map(|one| one.prompt[..shared].to_vec()).unwrap_or_default();
                let rest = |one: &Parts| [&one.prompt[shared..], one.completion.as_slice()].concat();
                (ids, parts.iter().map(rest).collect::<Vec<Vec<u32>>>())
            }
            _ => {
                let apart: Result<Vec<Vec<u32>>, LmError> =
                    rests.iter().map(|rest| self.tokenizer.encode(rest)).collect();
                (self.at_start(prompt, &opening)?, apart?)
            }
        };
        Ok((ids.into(), responses.into_iter().map(|ids| self.ended(prompt, ids)).collect()))
    }

    /// The text of a prompt, and what follows it with each response.
    fn texts(&self, prompt: &Prompt, responses: &[&str]) -> Result<(String, Vec<String>), LmError> {
        match prompt {
            Prompt::Text(text) => Ok((text.clone(), responses.iter().map(|one| (*one).to_owned()).collect())),
            Prompt::Messages(messages) => {
                let template = self.template.ok_or_else(without_template)?;
                template.opened(messages, responses, &Render::default())
            }
        }
    }

    /// Ids of a text that begins where the prompt does: a template has written its special tokens already.
    fn at_start(&self, prompt: &Prompt, text: &str) -> Result<Vec<u32>, LmError> {
        match prompt {
            Prompt::Text(_) => self.tokenizer.encode_with_special(text),
            Prompt::Messages(_) => self.tokenizer.encode(text),
        }
    }

    /// A response up to its end token.
    fn ended(&self, prompt: &Prompt, mut ids: Vec<u32>) -> Tokens {
        let ends = self.tokenizer.eos();
        // What a template writes after the end token (a line break, say) is not the model's to write.
        match ids.iter().rposition(|id| ends.contains(id)) {
            Some(at) if matches!(prompt, Prompt::Messages(_)) => ids.truncate(at + 1),
            _ => ids.extend(ends.first()),
        }
        ids.into()
    }

    /// Pairs. Records that cannot teach are left out and named.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn pairs(&self, records: Vec<Preference>) -> Result<Encoded<Preference>, PreferenceError> {
        self.encode(
            records,
            |record| (&record.prompt, vec![record.chosen.as_str(), record.rejected.as_str()], record.line),
            of_pair,
        )
    }

    /// Pairs whose sides may have several turns behind what they share: a template writes each conversation as a whole, so nothing
    /// merges otherwise than in the text, whatever the boundary; their prompt ends where the ids of both part from it, and of what
    /// follows, what the assistant says counts. Records that cannot teach are left out and named.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn dialogues(&self, records: Vec<Dialogues>) -> Result<Encoded<Dialogues>, PreferenceError> {
        let mut encoded = Encoded { rows: Vec::new(), skipped: Skipped::default(), truncation: Truncation::default() };
        for record in records {
            let pair = &record.pair;
            let (prompt, responses) = match (&pair.prompt, record.between.iter().all(Vec::is_empty)) {
                (Prompt::Messages(messages), false) => self.turns(messages, &record)?,
                (Prompt::Text(_), false) => {
                    let what = "several turns behind a prompt of plain text".to_owned();
                    return Err(LmError::Unsupported { what, remedy: "give the prompt as messages".into() }.into());
                }
                (prompt, true) => {
                    let (prompt, sides) = self.parts(prompt, &[&pair.chosen, &pair.rejected])?;
                    (prompt, sides.into_iter().map(Response::new).collect())
                }
            };
            let row = TrainRow { prompt, responses, line: pair.line, ..TrainRow::default() };
            self.add(&mut encoded, row, record, |record, row| of_pair(&record.pair, row));
        }
        Ok(encoded)
    }

    /// The prompt that both conversations share, and what follows on each side.
    fn turns(&self, messages: &[Message], record: &Dialogues) -> Result<(Tokens, Vec<Response>), LmError> {
        let template = self.template.ok_or_else(without_template)?;
        let mut sides = Vec::with_capacity(2);
        for (turns, reply) in record.between.iter().zip([&record.pair.chosen, &record.pair.rejected]) {
            let reply = Message::new("assistant", reply.as_str());
            let whole = [messages, &turns[..], &[reply][..]].concat();
            sides.push(template.encode_masked(&whole, &Render::default(), self.tokenizer)?);
        }
        let opening = Render { ending: Ending::GenerationPrompt, ..Render::default() };
        let opening = self.tokenizer.encode(&template.render(messages, &opening)?)?;
        let shared = |side: &MaskedTokens| opening.iter().zip(side.ids.iter()).take_while(|(a, b)| a == b).count();
        let prompt = sides.iter().map(shared).min().unwrap_or(0);
        let response = |side: &MaskedTokens| {
            let counts = &side.response[prompt..];
            // What a template writes behind the last reply is nobody's.
            let end = counts.iter().rposition(|counts| *counts).map_or(0, |last| last + 1);
            let tokens = Response::new(&side.ids[prompt..prompt + end]);
            Response { counts: Some(counts[..end].to_vec()), ..tokens }
        };
        Ok((opening[..prompt].into(), sides.iter().map(response).collect()))
    }

    /// Pairs with a third response. Records that cannot teach, or have none, are left out and named.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn triples(&self, records: Vec<Preference>) -> Result<Encoded<Preference>, PreferenceError> {
        let third = |record: &Preference, row: &mut TrainRow| {
            if record.reference.is_none() {
                return Err(Why::NoReference);
            }
            of_pair(record, row)
        };
        self.encode(
            records,
            |record| {
                let sides = [record.chosen.as_str(), record.rejected.as_str()].into_iter();
                (&record.prompt, sides.chain(record.reference.as_deref()).collect(), record.line)
            },
            third,
        )
    }

    /// Responses that are wanted or not. Records that cannot teach are left out and named.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn labelled(&self, records: Vec<Unpaired>) -> Result<Encoded<Unpaired>, PreferenceError> {
        let labelled = |record: &Unpaired, row: &mut TrainRow| {
            row.label = Some(record.label);
            Ok(())
        };
        self.encode(records, |record| (&record.prompt, vec![record.completion.as_str()], record.line), labelled)
    }

    /// Prompts with scored responses. Records that cannot teach, and those whose scores are all the same, are left out and
    /// named.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn groups(&self, records: Vec<Ranked>) -> Result<Encoded<Ranked>, PreferenceError> {
        let scored = |record: &Ranked, row: &mut TrainRow| {
            for (response, (_, score)) in row.responses.iter_mut().zip(&record.replies) {
                response.score = Some(*score as f32);
            }
            let same = row.responses.windows(2).all(|pair| pair[0].score == pair[1].score);
            if same && row.responses.len() > 1 { Err(Why::Tied) } else { Ok(()) }
        };
        self.encode(
            records,
            |record| {
                let replies = record.replies.iter().map(|(reply, _)| reply.as_str());
                (&record.prompt, replies.collect(), record.line)
            },
            scored,
        )
    }

    /// Prompts with one completion each.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn completions(&self, records: Vec<PromptCompletion>) -> Result<Encoded<PromptCompletion>, PreferenceError> {
        self.encode(records, |record| (&record.prompt, vec![record.completion.as_str()], record.line), |_, _| Ok(()))
    }

    /// Prompts with one rated completion each.
    ///
    /// # Errors
    /// When a record cannot be encoded at all.
    pub fn rated(&self, records: Vec<Rated>) -> Result<Encoded<Rated>, PreferenceError> {
        self.encode(records, |record| (&record.prompt, vec![record.completion.as_str()], record.line), |_, _| Ok(()))
    }

    fn encode<R>(
        &self,
        records: Vec<R>,
        parts: impl Fn(&R) -> (&Prompt, Vec<&str>, usize),
        complete: impl Fn(&R, &mut TrainRow) -> Result<(), Why>,
    ) -> Result<Encoded<R>, PreferenceError> {
        let mut encoded = Encoded { rows: Vec::new(), skipped: Skipped::default(), truncation: Truncation::default() };
        for record in records {
            let (prompt, responses, line) = parts(&record);
            let (prompt, responses) = self.parts(prompt, &responses)?;
            let responses = responses.into_iter().map(Response::new).collect();
            let row = TrainRow { prompt, responses, line, ..TrainRow::default() };
            self.add(&mut encoded, row, record, &complete);
        }
        Ok(encoded)
    }

    /// Adds a row, cut to the longest there may be, or names it where it cannot teach.
    fn add<R>(
        &self,
        encoded: &mut Encoded<R>,
        mut row: TrainRow,
        record: R,
        complete: impl Fn(&R, &mut TrainRow) -> Result<(), Why>,
    ) {
        let (line, cut) = (row.line, self.truncate(&mut row));
        match teaches(&row).and_then(|()| complete(&record, &mut row)) {
            Err(why) => encoded.skipped.push(Untaught { line, why }),
            Ok(()) => {
                encoded.truncation.prompts += cut.prompts;
                encoded.truncation.responses += cut.responses;
                encoded.rows.push((row, record));
            }
        }
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
                if let Some(counts) = &mut response.counts {
                    counts.truncate(room);
                }
                cut.responses += 1;
            }
        }
        cut
    }

    /// The revision prompts of each response of `record`, its third one last, for a row that was made from it.
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
        // Up to where the response begins that is then scored, with what the template writes before it.
        let apart = self.with_boundary(Boundary::Apart);
        let ask = |text: String, response: &str| -> Result<Tokens, LmError> {
            let prompt = match self.template {
                Some(_) => Prompt::Messages(vec![Message::new("user", text)]),
                None => Prompt::Text(text),
            };
            Ok(apart.parts(&prompt, &[response])?.0)
        };
        [&record.chosen, &record.rejected]
            .into_iter()
            .chain(&record.reference)
            .map(|response| {
                let (better, worse) = template.fill(&asked, response)?;
                Ok(RevisedPrompts { better: ask(better, response)?, worse: ask(worse, response)? })
            })
            .collect()
    }
}

fn without_template() -> LmError {
    LmError::Unsupported {
        what: "a conversation with a model that has no chat template".into(),
        remedy: "give the prompt as plain text".into(),
    }
}

/// A conversation as one text; a single message stands alone.
fn spoken(messages: &[Message]) -> String {
    match messages {
        [only] => only.content.clone(),
        _ => messages.iter().map(|one| format!("{}: {}", one.role, one.content)).collect::<Vec<_>>().join("\n"),
    }
}

/// What a pair says of itself: its scores are half of the margin and its negative.
fn of_pair(record: &Preference, row: &mut TrainRow) -> Result<(), Why> {
    if let [chosen, rejected, ..] = row.responses.as_slice()
        && chosen.tokens == rejected.tokens
    {
        // Different texts may be cut to the same tokens.
        return Err(Why::EqualPair);
    }
    if let Some(margin) = record.margin {
        for (response, score) in row.responses.iter_mut().zip([margin / 2.0, -margin / 2.0]) {
            response.score = Some(score);
        }
    }
    (row.consistency, row.weight) = (record.consistency, record.weight);
    Ok(())
}

fn teaches(row: &TrainRow) -> Result<(), Why> {
    if row.prompt.is_empty() {
        return Err(Why::EmptyPrompt);
    }
    let is_counted = |response: &Response| match &response.counts {
        Some(counts) => counts.contains(&true),
        None => !response.tokens.is_empty(),
    };
    if !row.responses.iter().all(is_counted) {
        return Err(Why::NoTokenLeft);
    }
    Ok(())
}
