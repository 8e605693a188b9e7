//! What a model would be taught from a prompt and its replies, in tokens.
//!
//! The tokens are those of training: a plain prompt gets what the tokenizer adds, a conversation what its template writes, a
//! reply ends with an end token, and the length limit takes from the prompt's left and then from the replies' right.

use ascribe_lm::{ChatTemplate, Ending, LmError, Message, Render, SpecialTokens, Tokenizer};

use super::Check;
use crate::{Boundary, Prompt};

/// The tokenizer, the template and the length limit of a run.
#[derive(Clone, Copy)]
pub struct ModelText<'a> {
    /// Text to ids and back.
    pub tokenizer: &'a Tokenizer,
    /// Messages to text; a base model has none.
    pub template: Option<&'a ChatTemplate>,
    /// Longest prompt and reply together, in tokens.
    pub max_length: usize,
}

/// What was seen of one row.
#[derive(Default)]
pub(super) struct Seen {
    /// Faults, each with words where there are some.
    pub faults: Vec<(Check, String)>,
    /// Tokens of each reply.
    pub replies: Vec<usize>,
    /// Tokens of the row, and those of them that the length limit takes.
    pub tokens: usize,
    pub lost: usize,
}

impl ModelText<'_> {
    /// Looks at a prompt with its replies.
    pub(super) fn look(&self, prompt: &Prompt, replies: &[&str]) -> Seen {
        let mut seen = Seen::default();
        let mut opening = 0;
        for reply in replies {
            match self.reply(prompt, reply, &mut seen) {
                Ok((prompt, reply)) => {
                    opening = prompt;
                    seen.replies.push(reply);
                }
                Err(error) => seen.faults.push((Check::Template, error.to_string())),
            }
        }
        if !seen.replies.is_empty() {
            self.limit(opening, &mut seen);
        }
        seen
    }

    /// Looks at a text or a conversation that is learned as a whole.
    pub(super) fn look_whole(&self, content: &Prompt) -> Seen {
        let mut seen = Seen::default();
        let (ids, learned) = match self.whole(content, &mut seen) {
            Ok(whole) => whole,
            Err(error) => {
                seen.faults.push((Check::Template, error.to_string()));
                return seen;
            }
        };
        self.count_bos(&ids, &mut seen);
        if !learned.iter().take(self.max_length).any(|counts| *counts) {
            seen.faults.push((Check::EmptyMask, String::new()));
        }
        seen.tokens = ids.len();
        seen.lost = ids.len().saturating_sub(self.max_length);
        if seen.lost > 0 {
            seen.faults.push((Check::ReplyCut, String::new()));
        }
        seen
    }

    /// The ids of a whole text, and which of them are learned.
    fn whole(&self, content: &Prompt, seen: &mut Seen) -> Result<(Vec<u32>, Vec<bool>), LmError> {
        match content {
            Prompt::Text(text) => {
                let ids = self.tokenizer.encode_with_special(text)?;
                self.round_trip(text, seen)?;
                let learned = vec![true; ids.len()];
                Ok((ids, learned))
            }
            Prompt::Messages(messages) => {
                let template = self.template()?;
                let options = Render::default();
                self.round_trip(&template.render(messages, &options)?, seen)?;
                let masked = template.encode_masked(messages, &options, self.tokenizer)?;
                Ok((masked.ids.to_vec(), masked.response.to_vec()))
            }
        }
    }

    /// Numbers of tokens of a prompt and of one reply, its end token counted.
    fn reply(&self, prompt: &Prompt, reply: &str, seen: &mut Seen) -> Result<(usize, usize), LmError> {
        let (opening, rest) = match prompt {
            Prompt::Text(text) => (text.clone(), reply.to_owned()),
            Prompt::Messages(messages) => self.rendered(messages, reply)?,
        };
        let chat = matches!(prompt, Prompt::Messages(_));
        let parts = Boundary::Apart.split(&opening, &rest, |text| self.tokenizer.encode(text))?;
        if parts.merged > 0 {
            seen.fault(Check::BoundaryMerge);
        }
        self.round_trip(&format!("{opening}{rest}"), seen)?;
        let ids = if chat { parts.prompt } else { self.tokenizer.encode_with_special(&opening)? };
        let ends = self.tokenizer.eos();
        let last = parts.completion.iter().rposition(|id| ends.contains(id));
        // A plain reply gets its end token from the encoder; a template writes it.
        let (reply, inside) = match (chat, last) {
            (true, Some(last)) => (last + 1, &parts.completion[..last]),
            (true, None) => {
                seen.fault(Check::NoEnd);
                (parts.completion.len() + 1, &parts.completion[..])
            }
            (false, _) => (parts.completion.len() + 1, &parts.completion[..]),
        };
        if inside.iter().any(|id| ends.contains(id)) {
            seen.fault(Check::EndInside);
        }
        self.count_bos(&[ids.as_slice(), inside].concat(), seen);
        Ok((ids.len(), reply))
    }

    /// The text up to a reply, and what follows it.
    fn rendered(&self, messages: &[Message], reply: &str) -> Result<(String, String), LmError> {
        let template = self.template()?;
        let opening = template.render(messages, &Render { ending: Ending::GenerationPrompt, ..Render::default() })?;
        let answered = [messages, &[Message::new("assistant", reply)]].concat();
        let whole = template.render(&answered, &Render::default())?;
        match whole.strip_prefix(&opening) {
            Some(rest) => Ok((opening, rest.to_owned())),
            None => Err(LmError::Template {
                why: "a finished answer does not begin as the generation prompt does; use a template whose generation \
                      prompt opens the assistant's message"
                    .into(),
            }),
        }
    }

    fn template(&self) -> Result<&ChatTemplate, LmError> {
        self.template.ok_or_else(|| LmError::Unsupported {
            what: "a conversation with a model that has no chat template".into(),
            remedy: "give the prompt as plain text".into(),
        })
    }

    /// Ids must give the text back; spaces do not count, because some tokenizers put them beside special tokens.
    fn round_trip(&self, text: &str, seen: &mut Seen) -> Result<(), LmError> {
        let back = self.tokenizer.decode(&self.tokenizer.encode(text)?, SpecialTokens::Keep)?;
        let letters = |text: &str| text.chars().filter(|letter| *letter != ' ').collect::<String>();
        if letters(&back) != letters(text) {
            seen.fault(Check::RoundTrip);
        }
        Ok(())
    }

    fn count_bos(&self, ids: &[u32], seen: &mut Seen) {
        // Where one token begins and ends texts, the ends are no fault.
        let bos = self.tokenizer.bos().filter(|bos| !self.tokenizer.eos().contains(bos));
        if bos.is_some_and(|bos| ids.iter().filter(|id| **id == bos).count() > 1) {
            seen.fault(Check::DoubleBos);
        }
    }

    /// What the length limit takes: from the prompt's left, then from the right of each reply.
    fn limit(&self, prompt: usize, seen: &mut Seen) {
        let longest = seen.replies.iter().copied().max().unwrap_or(0);
        let kept = prompt.min(self.max_length.saturating_sub(longest).max(1));
        let room = self.max_length.saturating_sub(kept);
        seen.tokens = prompt + seen.replies.iter().sum::<usize>();
        seen.lost = prompt - kept;
        if kept < prompt {
            seen.fault(Check::PromptCut);
        }
        for reply in seen.replies.clone() {
            let lost = reply.saturating_sub(room);
            seen.lost += lost;
            if lost > 0 {
                seen.fault(Check::ReplyCut);
            }
            // The end token alone teaches no word of the reply.
            if room == 0 || reply < 2 {
                seen.fault(Check::EmptyMask);
            }
        }
    }

    /// True if no token has letters of two steps that stand on lines of their own.
    pub(super) fn steps_are_apart(&self, steps: &[String]) -> Result<bool, LmError> {
        let (_, spans) = self.tokenizer.encode_spans(&steps.join("\n"))?;
        let mut end = 0;
        for step in steps {
            end += step.len();
            // The line break is one byte.
            if spans.iter().any(|span| span.start < end && end + 1 < span.end) {
                return Ok(false);
            }
            end += 1;
        }
        Ok(true)
    }
}

impl Seen {
    /// Notes a fault once a row.
    pub(super) fn fault(&mut self, check: Check) {
        if self.faults.iter().all(|(known, _)| *known != check) {
            self.faults.push((check, String::new()));
        }
    }
}
