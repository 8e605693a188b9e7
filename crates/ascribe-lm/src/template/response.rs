//! Which tokens of a conversation the assistant wrote.
//!
//! A template with `{% generation %}` tags says so itself. Jinja has no such tag here, so each pair is made a filter block,
//! which keeps the rules of white space as they are; the filter sets marks around its text, and the marks are taken out
//! again. Without tags, the conversation is rendered up to each of the assistant's messages, with and without it.

use std::ops::Range;

use ascribe_core::{ResponseMask, Tokens};
use minijinja::State;

use super::answer::empty_thought;
use super::{ChatTemplate, Ending, Message, Render};
use crate::{LmError, Tokenizer};

/// The filter that stands for the tags.
pub(super) const FILTER: &str = "ascribe_generation";
/// The variable that holds the two marks.
pub(super) const MARKS: &str = "ascribe_generation_marks";

/// A conversation in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedTokens {
    /// The whole conversation.
    pub ids: Tokens,
    /// True for what the assistant wrote, one flag a token.
    pub response: ResponseMask,
}

impl ChatTemplate {
    /// The conversation as tokens, with a mask of what the assistant wrote: the ids of [`render`](Self::render), encoded
    /// as a whole.
    ///
    /// With `{% generation %}` tags in the template, a token counts when any of its characters lies inside the tags, as in
    /// transformers' `return_assistant_tokens_mask`; departure: of a last character that takes several tokens, all count.
    /// Without tags, what counts begins where the generation prompt ends, behind an empty thought that the template itself
    /// writes there, and goes up to the end token of the message, or to the end of the message when there is none.
    ///
    /// # Errors
    /// [`LmError::Template`] when the template fails, or when it has no tags and writes a message otherwise once others
    /// follow, so that where the message stands cannot be told; [`LmError::Tokenizer`].
    pub fn encode_masked(
        &self,
        messages: &[Message],
        options: &Render,
        tokenizer: &Tokenizer,
    ) -> Result<MaskedTokens, LmError> {
        let text = self.render(messages, options)?;
        let written = if self.has_tags {
            self.tagged(&text, messages, options)?
        } else {
            self.between(&text, messages, options)?
        };
        let (ids, spans) = tokenizer.encode_spans(&text)?;
        let mut response = vec![false; ids.len()];
        for written in written {
            let touches = |span: &Range<usize>| span.start < written.end && written.start < span.end;
            let Some(first) = spans.iter().position(touches) else { continue };
            let mut last = spans.iter().rposition(touches).unwrap_or(first);
            if !self.has_tags {
                // What a template writes after the end token (a line break, say) is not the model's to write.
                let end = (first..=last).rev().find(|at| tokenizer.eos().contains(&ids[*at]));
                last = end.unwrap_or(last);
            }
            response[first..=last].fill(true);
        }
        Ok(MaskedTokens { ids: ids.into(), response: response.into() })
    }

    /// Bytes of `text` inside generation tags.
    fn tagged(&self, text: &str, messages: &[Message], options: &Render) -> Result<Vec<Range<usize>>, LmError> {
        // Code points that never stand for a character; of these, two that the conversation does not have.
        let mut free = ('\u{fdd0}'..='\u{fdef}').filter(|mark| !text.contains(*mark));
        let (Some(open), Some(close)) = (free.next(), free.next()) else {
            return Err(fail("the messages hold all of U+FDD0 to U+FDEF, which are no characters; take them out"));
        };
        let marked = self.write(messages, options, Some([open, close]))?;
        let (mut plain, mut start, mut spans) = (String::with_capacity(text.len()), None, Vec::new());
        for character in marked.chars() {
            match start {
                None if character == open => start = Some(plain.len()),
                Some(from) if character == close => {
                    spans.push(from..plain.len());
                    start = None;
                }
                _ if character == open || character == close => {
                    return Err(fail("generation tags may not stand inside each other; correct the template"));
                }
                _ => plain.push(character),
            }
        }
        if plain != text || start.is_some() {
            let why = "the template works on the text that its generation tags enclose, so the tags mark no tokens; \
                       move the tags outwards";
            return Err(fail(why));
        }
        Ok(spans)
    }

    /// Bytes of `text` from the end of each generation prompt to the end of the message that follows.
    fn between(&self, text: &str, messages: &[Message], options: &Render) -> Result<Vec<Range<usize>>, LmError> {
        let mut spans = Vec::new();
        for (at, message) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            if at == 0 {
                return Err(fail(
                    "a conversation that begins with the assistant needs a template with generation tags; add a message",
                ));
            }
            let until = |count: usize, ending: Ending| {
                let options = Render { ending, ..options.clone() };
                self.render(&messages[..count], &options)
            };
            let opened = until(at, Ending::GenerationPrompt)?;
            let unopened = until(at, Ending::LastMessage)?;
            let closed = until(at + 1, Ending::LastMessage)?;
            if !closed.starts_with(&opened) || !text.starts_with(&closed) {
                let which = if closed.starts_with(&opened) {
                    "is written otherwise once messages follow it"
                } else {
                    "does not begin as the generation prompt does"
                };
                let why = format!(
                    "message {at} {which}, so its tokens cannot be told; use a template with generation tags, or cut the \
                     conversation after it"
                );
                return Err(fail(&why));
            }
            // Without a generation prompt, only the message itself shows where it begins.
            if opened == unopened && !closed[opened.len()..].trim_start().starts_with(message.content.trim()) {
                let why = "the template has no generation prompt, and writes more than the assistant's words; use one with \
                           generation tags";
                return Err(fail(why));
            }
            let thought = empty_thought(&closed[opened.len()..], &message.content);
            spans.push(opened.len() + thought..closed.len());
        }
        Ok(spans)
    }
}

/// Sets the marks around the text of a generation block, if there are any.
pub(super) fn mark(state: &State, text: String) -> String {
    let marks = state.lookup(MARKS);
    match marks.as_ref().and_then(|marks| marks.as_str()).map(|marks| marks.chars().collect::<Vec<_>>()).as_deref() {
        Some([open, close]) => format!("{open}{text}{close}"),
        _ => text,
    }
}

/// Makes generation tags a filter block, and says whether there were any. Comments, raw blocks and texts in quotes are
/// left alone.
pub(super) fn without_tags(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut found, mut raw) = (String::with_capacity(source.len()), source, false, false);
    while let Some(at) = rest.find('{') {
        let (text, from) = rest.split_at(at);
        out.push_str(text);
        let end = match from.as_bytes().get(1) {
            Some(b'#') if !raw => from.find("#}").map(|end| end + 2),
            Some(b'{') if !raw => end_of_code(from, "}}"),
            Some(b'%') => end_of_code(from, "%}"),
            _ => Some(1),
        };
        let Some(end) = end else {
            rest = from;
            break;
        };
        let tag = &from[..end];
        if tag.starts_with("{%") && end > 3 {
            let word = tag[2..end - 2].trim_matches(['-', '+', ' ', '\t', '\r', '\n']);
            raw = word == "raw" || raw && word != "endraw";
            match word {
                "generation" if !raw => {
                    found = true;
                    out.push_str(&tag.replacen(word, &format!("filter {FILTER}"), 1));
                }
                "endgeneration" if !raw => out.push_str(&tag.replacen(word, "endfilter", 1)),
                _ => out.push_str(tag),
            }
        } else {
            out.push_str(tag);
        }
        rest = &from[end..];
    }
    (out + rest, found)
}

/// Where the code that begins `from` ends, past `closing`; a closing within quotes does not count.
fn end_of_code(from: &str, closing: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in from.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if from[at..].starts_with(closing) => return Some(at + closing.len()),
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None => {}
        }
    }
    None
}

fn fail(why: &str) -> LmError {
    LmError::Template { why: why.to_owned() }
}
