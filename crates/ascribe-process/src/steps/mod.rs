//! Steps of a response: where one ends and the next begins, in bytes and in tokens.
//!
//! The rules are the same for training, scoring and evaluation, so that scores compare: a delimiter belongs to the step that it
//! ends; runs of delimiters are one boundary; a step of blanks alone joins the step before it (the first joins the next); no
//! cut lies inside a fenced block of code or a displayed formula; and a token that straddles a boundary belongs to the step of
//! its first byte. A step without a token of its own has no place for a score, so it joins the step before it too.

mod cuts;

mod placement;

use std::ops::Range;

use ascribe_core::StepSpans;
use serde::{Deserialize, Serialize};

pub use placement::{Labelled, PlacedLabels, TrlPlacement, place_on_spans};

use crate::ProcessError;

/// Where a response is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Segmenter {
    /// Behind each run of this text: `"\n\n"`, or `"\n"`.
    Delimiter(String),
    /// Before each `Step 1:`, `Step 2:` .. that begins the text or follows a blank.
    Headers,
    /// Behind `.`, `!` or `?` and the blanks that follow, outside of formulas, abbreviations and numbers of lists.
    Sentences,
    /// Behind each run of this token, which is reserved for the purpose.
    MarkerToken(u32),
    /// Behind every so many tokens.
    FixedLength(usize),
    /// Into so many parts of nearly the same number of tokens: `j T / parts` tokens, rounded down, stand before cut `j`.
    EqualParts(usize),
}

/// A response with its tokens.
#[derive(Clone, Copy, Debug)]
pub struct Tokenized<'a> {
    /// The text.
    pub text: &'a str,
    /// Token ids.
    pub ids: &'a [u32],
    /// Bytes of each token in `text`.
    pub offsets: &'a [Range<usize>],
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpan {
    /// Bytes of the response.
    pub bytes: Range<usize>,
    /// Tokens of the response; at least one.
    pub tokens: Range<usize>,
}

impl StepSpan {
    /// The last token of the step: where its score is read and its label placed.
    pub fn end_token(&self) -> usize {
        self.tokens.end - 1
    }
}

impl Segmenter {
    /// A name that travels with labels and scores: equal names cut alike.
    pub fn id(&self) -> String {
        match self {
            Self::Delimiter(text) => format!("delimiter {text:?}"),
            Self::Headers => "headers".into(),
            Self::Sentences => "sentences".into(),
            Self::MarkerToken(id) => format!("marker {id}"),
            Self::FixedLength(tokens) => format!("length {tokens}"),
            Self::EqualParts(parts) => format!("parts {parts}"),
        }
    }

    /// The steps of a text, as ranges of bytes that cover it.
    ///
    /// # Errors
    /// When the text is empty, the delimiter is empty, or the segmenter cuts tokens.
    pub fn split(&self, text: &str) -> Result<Vec<Range<usize>>, ProcessError> {
        if text.is_empty() {
            return Err(ProcessError::Empty { what: "a response", remedy: "drop it before it is cut into steps" });
        }
        let cuts = match self {
            Self::Delimiter(delimiter) if delimiter.is_empty() => {
                return Err(ProcessError::Empty { what: "the delimiter of steps", remedy: "use \"\\n\\n\", say" });
            }
            Self::Delimiter(delimiter) => cuts::behind_runs(text, delimiter),
            Self::Headers => cuts::before_headers(text),
            Self::Sentences => cuts::behind_sentences(text),
            Self::MarkerToken(_) | Self::FixedLength(_) | Self::EqualParts(_) => {
                let rule = "by text where there are no tokens";
                return Err(ProcessError::range("the segmenter", rule, self.id()));
            }
        };
        let protected = cuts::protected(text);
        let inside = |cut: usize| protected.iter().any(|region| region.start < cut && cut < region.end);
        let ends = cuts.into_iter().filter(|cut| !inside(*cut)).chain([text.len()]);
        let is_blank = |piece: &Range<usize>| text[piece.clone()].trim().is_empty();
        Ok(joined(ends, is_blank))
    }

    /// The steps of a response with tokens. They cover all tokens and all bytes.
    ///
    /// # Errors
    /// As [`split`](Self::split); when there is no token, when the offsets are not one a token or run backwards, or when a
    /// length or a number of parts is 0.
    pub fn segment(&self, response: &Tokenized) -> Result<Vec<StepSpan>, ProcessError> {
        check(response)?;
        let tokens = response.ids.len();
        let ends: Vec<usize> = match self {
            Self::Delimiter(_) | Self::Headers | Self::Sentences => {
                return Ok(over_tokens(self.split(response.text)?, response.offsets));
            }
            Self::MarkerToken(id) => {
                let is_marker = |at: usize| response.ids.get(at) == Some(id);
                (1..=tokens).filter(|end| *end == tokens || is_marker(end - 1) && !is_marker(*end)).collect()
            }
            Self::FixedLength(0) | Self::EqualParts(0) => {
                return Err(ProcessError::range("the length or number of steps", "at least 1", 0));
            }
            Self::FixedLength(length) => (1..=tokens).filter(|end| *end == tokens || end % length == 0).collect(),
            Self::EqualParts(parts) => {
                let parts = *parts.min(&tokens);
                (1..=parts).map(|part| part * tokens / parts).collect()
            }
        };
        let is_blank = |piece: &Range<usize>| match self {
            Self::MarkerToken(id) => response.ids[piece.clone()].iter().all(|one| one == id),
            _ => false,
        };
        let steps = joined(ends.into_iter(), is_blank);
        let count = steps.len();
        let byte = |token: usize, last: bool| match response.offsets.get(token) {
            _ if last => response.text.len(),
            Some(range) => floor(response.text, range.start),
            None => response.text.len(),
        };
        let mut start = 0;
        let span = |(at, tokens): (usize, Range<usize>)| {
            let end = byte(tokens.end, at + 1 == count);
            let bytes = start..end;
            start = end;
            StepSpan { bytes, tokens }
        };
        Ok(steps.into_iter().enumerate().map(span).collect())
    }
}

/// The steps of a response that somebody else has cut; `ends` are where they end, in bytes of its text.
///
/// # Errors
/// When a step is empty or has no token of its own, or they do not cover the text; and as [`Segmenter::segment`].
pub fn given_steps(response: &Tokenized, ends: &[usize]) -> Result<Vec<StepSpan>, ProcessError> {
    check(response)?;
    let mut start = 0;
    let mut pieces = Vec::with_capacity(ends.len());
    for end in ends {
        if !(start < *end && response.text.is_char_boundary(*end)) {
            return Err(ProcessError::range("a step", "of at least one byte, behind the step before it", start..*end));
        }
        pieces.push(start..*end);
        start = *end;
    }
    if start != response.text.len() {
        let rule = "together the whole response";
        return Err(ProcessError::range("the steps", rule, format!("{start} of {} bytes", response.text.len())));
    }
    let steps = over_tokens(pieces, response.offsets);
    match steps.len() == ends.len() {
        true => Ok(steps),
        false => {
            let got = format!("{} of {} steps", steps.len(), ends.len());
            Err(ProcessError::range("the steps with a token of their own", "all of them", got))
        }
    }
}

/// The steps as ranges of tokens of an episode, whose prompt has `prompt` tokens.
///
/// # Errors
/// When they do not lie one after the other.
pub fn step_spans(steps: &[StepSpan], prompt: usize) -> Result<StepSpans, ProcessError> {
    let end = steps.last().map_or(0, |step| step.tokens.end);
    let moved = steps.iter().map(|step| prompt + step.tokens.start..prompt + step.tokens.end).collect();
    Ok(StepSpans::new(moved, prompt + end)?)
}

/// Ranges between the ends; a blank one joins the one before it, and at the beginning the one behind it.
fn joined(ends: impl Iterator<Item = usize>, is_blank: impl Fn(&Range<usize>) -> bool) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let (mut start, mut whole) = (0, 0);
    for end in ends {
        whole = end;
        let piece = start..end;
        let blank = is_blank(&piece);
        match pieces.last_mut() {
            Some(last) if blank => last.end = end,
            // It keeps its start for the next.
            None if blank => continue,
            _ => pieces.push(piece),
        }
        start = end;
    }
    if pieces.is_empty() {
        pieces.push(0..whole);
    }
    pieces
}

/// Gives each token to the piece that holds its first byte; a piece without one joins the piece before it.
fn over_tokens(pieces: Vec<Range<usize>>, offsets: &[Range<usize>]) -> Vec<StepSpan> {
    let count = pieces.len();
    let mut steps: Vec<StepSpan> = Vec::new();
    let (mut byte, mut token) = (0, 0);
    for (at, piece) in pieces.into_iter().enumerate() {
        let first = token;
        while token < offsets.len() && (offsets[token].start < piece.end || at + 1 == count) {
            token += 1;
        }
        match steps.last_mut() {
            Some(last) if first == token => last.bytes.end = piece.end,
            None if first == token => continue,
            _ => steps.push(StepSpan { bytes: byte..piece.end, tokens: first..token }),
        }
        byte = piece.end;
    }
    steps
}

/// Refuses a response without text or tokens, and offsets that are not those of its tokens.
fn check(response: &Tokenized) -> Result<(), ProcessError> {
    if response.text.is_empty() || response.ids.is_empty() {
        return Err(ProcessError::Empty { what: "a response", remedy: "drop it before it is cut into steps" });
    }
    let (expected, got) = (response.ids.len(), response.offsets.len());
    if expected != got {
        return Err(ProcessError::Length { what: "the offsets", each: "a token", expected, got });
    }
    let (mut start, mut end) = (0, 0);
    for (token, range) in response.offsets.iter().enumerate() {
        let sound =
            start <= range.start && end <= range.end && range.start <= range.end && range.end <= response.text.len();
        if !sound {
            let bytes = response.text.len();
            return Err(ProcessError::Offsets { token, bytes, start: range.start, end: range.end });
        }
        (start, end) = (range.start, range.end);
    }
    Ok(())
}

/// The last boundary of a character at or before a byte.
fn floor(text: &str, byte: usize) -> usize {
    (0..=byte).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
