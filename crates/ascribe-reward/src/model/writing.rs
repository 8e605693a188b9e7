//! What a reward model writes before it scores: a critique (MM-RLHF, arXiv:2502.10391), or calls of tools with a rationale
//! (Themis, arXiv:2310.01045).
//!
//! ```text
//! critique:  [prompt, response without its end, "\n\nCritique:", critique, end]
//! trace:     ["Question: ..\n", "Answer: ..\n", (thought, action, input -> observation) .., "Rationale:", rationale, end]
//! r = the score head at the end
//! ```
//! The parts are encoded apart, a trace line by line, so a text that was written and one that is learned have the same ids.
//! Question and answer of a trace are the texts of the prompt's and of the response's tokens, without special tokens, so that a
//! trace can be made wherever there are tokens to score. A prompt that leaves no room loses tokens on its left.

use std::collections::BTreeMap;

use ascribe_core::{CoreError, Mode, Policy, Request, Seed, Tokens, Until};
use ascribe_lm::{LanguageModel, LmError, LocalPolicy, Row, SpecialTokens, Tokenizer};
use serde::{Deserialize, Serialize};

use super::reward_model::within;
use crate::RewardError;
use crate::error::{option, same_length};
use crate::text::TextPolicy;
use crate::tools::{Calculator, Calendar, Table, Tool, Tools, Trace, TraceWeights, Tracer};

/// What stands between a response and its critique.
const CRITIQUE: &str = "\n\nCritique:";
/// What a rationale begins with.
const RATIONALE: &str = "Rationale:";
/// Tokens of a prompt that are kept at least.
const PROMPT: usize = 16;

/// What a reward model writes before it scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Writing {
    /// A critique of the response.
    Critique {
        /// Most tokens of a critique.
        max_new: usize,
    },
    /// Calls of tools, and a rationale.
    Trace {
        /// The tools that it may call: `Calculator`, `Calendar`, `Table`.
        tools: Vec<String>,
        /// What the table holds, by key.
        facts: BTreeMap<String, String>,
        /// Most calls; 4 in the paper.
        n_calls: usize,
        /// Most tokens of a call, and of the rationale.
        max_new: usize,
    },
}

/// The tools that can be named.
const TOOLS: [&str; 3] = ["Calculator", "Calendar", "Table"];

impl Writing {
    /// Checks that the tools are known, and that there is something to write.
    ///
    /// # Errors
    /// For a tool that there is not, a table without facts or facts without the table, and limits out of their range.
    pub fn check(&self) -> Result<(), RewardError> {
        let (Self::Critique { max_new } | Self::Trace { max_new, .. }) = self;
        option("max_new", "at least 1", *max_new as f64, *max_new >= 1)?;
        let Self::Trace { tools, facts, n_calls, .. } = self else { return Ok(()) };
        option("n_calls", "at most 64", *n_calls as f64, *n_calls <= 64)?;
        if let Some(unknown) = tools.iter().find(|tool| !TOOLS.contains(&tool.as_str())) {
            let rule = "a tool must be Calculator, Calendar or Table";
            return Err(RewardError::Shape { rule, got: format!("`{unknown}`") });
        }
        if tools.iter().any(|tool| tool == "Table") == facts.is_empty() {
            let rule = "the tool Table needs facts, and facts need the tool Table";
            return Err(RewardError::Shape { rule, got: format!("{} facts and {}", facts.len(), tools.join(", ")) });
        }
        with_tools(tools, facts, |_| Ok(()))
    }

    /// Checks that what is written leaves room for a prompt in a context of so many tokens.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_context(&self, context: usize) -> Result<(), RewardError> {
        let (Self::Critique { max_new } | Self::Trace { max_new, .. }) = self;
        let asked = max_new.saturating_add(PROMPT);
        let name = "max_new with 16 tokens of a prompt";
        option(name, "at most the context of the model", asked as f64, asked <= context)
    }
}

fn with_tools<T>(
    names: &[String],
    facts: &BTreeMap<String, String>,
    of: impl FnOnce(&Tools<'_>) -> Result<T, RewardError>,
) -> Result<T, RewardError> {
    let rows: Vec<(&str, &str)> = facts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let table = match rows.is_empty() {
        true => None,
        false => Some(Table::new(&rows)?),
    };
    let mut tools: Vec<(&str, &dyn Tool)> = Vec::with_capacity(names.len());
    for name in names {
        match (name.as_str(), &table) {
            ("Calculator", _) => tools.push((name.as_str(), &Calculator as &dyn Tool)),
            ("Calendar", _) => tools.push((name.as_str(), &Calendar as &dyn Tool)),
            ("Table", Some(table)) => tools.push((name.as_str(), table as &dyn Tool)),
            _ => {
                let rule = "a tool must be Calculator, Calendar, or Table with its facts";
                return Err(RewardError::Shape { rule, got: format!("`{name}`") });
            }
        }
    }
    of(&Tools::new(tools)?)
}

/// Token ids of a text with what was written, and what each token of its response counts for in a language-model loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenText {
    /// The part that responses to one prompt share.
    pub prompt: Vec<u32>,
    /// The rest, up to where the score is read.
    pub response: Vec<u32>,
    /// One weight for each token of the rest: 0 where it was given.
    pub weights: Vec<f32>,
}

/// A response with its critique behind it; every token of the critique counts, and the end token.
///
/// # Errors
/// When the text cannot be encoded, or the tokenizer has no end token.
pub fn criticised(
    tokenizer: &Tokenizer,
    prompt: &[u32],
    response: &[u32],
    critique: &str,
) -> Result<WrittenText, RewardError> {
    let mut text = WrittenText { prompt: prompt.to_vec(), response: opened(tokenizer, response)?, weights: Vec::new() };
    text.weights.resize(text.response.len(), 0.0);
    text.response.extend(tokenizer.encode(&format!(" {}", critique.trim()))?);
    text.response.push(end(tokenizer)?);
    text.weights.resize(text.response.len(), 1.0);
    Ok(text)
}

/// A trace up to its end.
///
/// # Errors
/// As [`criticised`].
pub fn traced(tokenizer: &Tokenizer, trace: &Trace, weights: &TraceWeights) -> Result<WrittenText, RewardError> {
    // The question is the part that all answers to it share.
    let mut start = question(&trace.text);
    let mut text =
        WrittenText { prompt: tokenizer.encode_with_special(&trace.text[..start])?, ..WrittenText::default() };
    for piece in pieces(&trace.text[start..]) {
        let ids = tokenizer.encode(piece)?;
        let span = start..start + piece.len();
        start = span.end;
        let weight = weights.of(trace, std::slice::from_ref(&span)).first().copied().unwrap_or(0.0);
        text.weights.extend(std::iter::repeat_n(weight, ids.len()));
        text.response.extend(ids);
    }
    text.response.push(end(tokenizer)?);
    text.weights.push(weights.rationale);
    Ok(text)
}

/// The bytes of the question of a trace, with its line break.
fn question(text: &str) -> usize {
    text.find("\nAnswer: ").map_or(text.len(), |at| at + 1)
}

/// The lines of a text with their breaks; the mark of a rationale stands alone.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').flat_map(|line| {
        let cut = if line.starts_with(RATIONALE) { RATIONALE.len() } else { 0 };
        let (mark, rest) = line.split_at(cut);
        [mark, rest].into_iter().filter(|piece| !piece.is_empty())
    })
}

/// A response without its end tokens, and the words behind which the critique begins.
fn opened(tokenizer: &Tokenizer, response: &[u32]) -> Result<Vec<u32>, RewardError> {
    let mut ids = without_end(tokenizer, response).to_vec();
    ids.extend(tokenizer.encode(CRITIQUE)?);
    Ok(ids)
}

fn without_end<'r>(tokenizer: &Tokenizer, ids: &'r [u32]) -> &'r [u32] {
    let kept = ids.iter().rposition(|id| !tokenizer.eos().contains(id)).map_or(0, |at| at + 1);
    &ids[..kept]
}

fn end(tokenizer: &Tokenizer) -> Result<u32, RewardError> {
    let rule = "a model that writes before it scores needs an end token; name one in its tokenizer_config.json";
    tokenizer.eos().first().copied().ok_or_else(|| RewardError::Shape { rule, got: "none".to_owned() })
}

/// The trace of a prompt and a response without any call: their texts, escaped.
///
/// # Errors
/// When the ids cannot be decoded.
pub fn given_trace(tokenizer: &Tokenizer, prompt: &[u32], response: &[u32]) -> Result<Trace, RewardError> {
    let text = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Skip);
    Ok(Trace::new(&text(prompt)?, &text(response)?))
}

/// A model that writes, with what it writes.
pub(super) struct Writer {
    writing: Writing,
    policy: LocalPolicy,
}

impl Writer {
    /// # Errors
    /// When what is to be written leaves no room for a prompt in the context.
    pub(super) fn new(model: &LanguageModel, writing: Writing) -> Result<Self, RewardError> {
        writing.check()?;
        end(&model.tokenizer)?;
        writing.check_context(model.config.context)?;
        Ok(Self { writing, policy: model.policy()? })
    }

    /// What is scored of each row, what was written, and whether a response lost tokens.
    pub(super) fn write(
        &self,
        model: &LanguageModel,
        rows: &[Row],
    ) -> Result<Vec<(WrittenText, String, bool)>, RewardError> {
        match &self.writing {
            Writing::Critique { max_new } => self.criticise(model, rows, *max_new),
            Writing::Trace { tools, facts, n_calls, max_new } => {
                with_tools(tools, facts, |tools| self.trace(model, rows, tools, *n_calls, *max_new))
            }
        }
    }

    fn criticise(
        &self,
        model: &LanguageModel,
        rows: &[Row],
        max_new: usize,
    ) -> Result<Vec<(WrittenText, String, bool)>, RewardError> {
        let tokenizer = &model.tokenizer;
        let words = tokenizer.encode(CRITIQUE)?.len() + 1; // and the end
        let room = model.config.context.saturating_sub(max_new + words).max(2);
        let mut requests = Vec::with_capacity(rows.len());
        let mut given = Vec::with_capacity(rows.len());
        for row in rows {
            let own = Row { prompt: row.prompt, response: without_end(tokenizer, row.response) };
            let (kept, cut) = within(own, room);
            let response = opened(tokenizer, kept.response)?;
            let prefix = Tokens::from([kept.prompt, &response].concat());
            let (until, mode, seed) = (Until::End, Mode::Greedy, Seed(0));
            requests.push(Request { prefix, n: 1, until, mode, max_new, seed });
            given.push((kept.prompt.to_vec(), response, cut));
        }
        let replies = self.policy.propose(&requests)?;
        same_length("the critiques", rows.len(), replies.len())?;
        let mut written = Vec::with_capacity(rows.len());
        for ((prompt, mut response, cut), reply) in given.into_iter().zip(&replies) {
            let mut weights = vec![0.0; response.len()];
            if let Some(candidate) = reply.candidates.first() {
                response.extend(without_end(tokenizer, &candidate.tokens));
            }
            let critique = tokenizer.decode(&response[weights.len()..], SpecialTokens::Skip)?;
            response.push(end(tokenizer)?);
            weights.resize(response.len(), 1.0);
            written.push((WrittenText { prompt, response, weights }, critique.trim().to_owned(), cut));
        }
        Ok(written)
    }

    fn trace(
        &self,
        model: &LanguageModel,
        rows: &[Row],
        tools: &Tools<'_>,
        n_calls: usize,
        max_new: usize,
    ) -> Result<Vec<(WrittenText, String, bool)>, RewardError> {
        let tokenizer = &model.tokenizer;
        let room = model.config.context.saturating_sub(max_new);
        // As in training: the question with what the tokenizer begins a text with, then a line at a time.
        let encode = |text: &str| -> Result<Tokens, CoreError> { Ok(lines(tokenizer, text, room)?.into()) };
        let decode = |ids: &[u32]| -> Result<String, CoreError> {
            tokenizer.decode(ids, SpecialTokens::Skip).map_err(|error| CoreError::Other(Box::new(error)))
        };
        let writer = TextPolicy { policy: &self.policy, encode: &encode, decode: &decode, max_new };
        let texts: Vec<(String, String)> = rows
            .iter()
            .map(|row| Ok((decode(row.prompt)?, decode(row.response)?)))
            .collect::<Result<_, CoreError>>()?;
        let given: Vec<(&str, &str)> = texts.iter().map(|(asked, said)| (asked.as_str(), said.as_str())).collect();
        let traces = Tracer::new(writer, tools, n_calls)?.trace(&given)?;
        let one = |trace: Trace| -> Result<(WrittenText, String, bool), RewardError> {
            let text = traced(tokenizer, &trace, &TraceWeights::default())?;
            let start = trace.segments.first().map_or(0, |(_, bytes)| bytes.end);
            Ok((text, trace.text[start..].to_owned(), false))
        };
        traces.into_iter().map(one).collect()
    }
}

/// The ids of the beginning of a trace, the last `room` of them.
fn lines(tokenizer: &Tokenizer, text: &str, room: usize) -> Result<Vec<u32>, CoreError> {
    let other = |error: LmError| CoreError::Other(Box::new(error));
    let start = question(text);
    let mut ids = tokenizer.encode_with_special(&text[..start]).map_err(other)?;
    for piece in pieces(&text[start..]) {
        ids.extend(tokenizer.encode(piece).map_err(other)?);
    }
    Ok(ids.split_off(ids.len().saturating_sub(room)))
}
