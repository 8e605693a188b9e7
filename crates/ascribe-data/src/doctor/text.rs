//! What a model would be taught from a prompt and its replies, in tokens.
//!
//! The tokens are those of training: a plain prompt gets what the tokenizer adds, a conversation what its template writes, a
//! reply ends with an end token, and the length limit takes from the prompt's left and then from the replies' right.

use ascribe_lm::{ChatTemplate, LmError, Render, SpecialTokens, Tokenizer};

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
    /// Tokens of the prompt with the longest reply: what the length limit is held against.
    pub longest: usize,
}

impl ModelText<'_> {
    /// Looks at a prompt with its replies. A prompt without any is one that will be answered.
    pub(super) fn look(&self, prompt: &Prompt, replies: &[&str]) -> Seen {
        let mut seen = Seen::default();
        match self.tokens(prompt, replies, &mut seen) {
            Ok(opening) => self.limit(opening, &mut seen),
            Err(error) => seen.faults.push((Check::Template, error.to_string())),
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
        match content {
            Prompt::Text(_) => self.bos(false, &ids, &[], &mut seen),
            Prompt::Messages(_) => {
                let written = ids.iter().zip(&learned).filter(|(_, learned)| **learned).map(|(id, _)| *id);
                self.bos(true, &ids, &written.collect::<Vec<u32>>(), &mut seen);
            }
        }
        if !learned.iter().take(self.max_length).any(|counts| *counts) {
            seen.faults.push((Check::EmptyMask, String::new()));
        }
        seen.tokens = ids.len();
        seen.longest = ids.len();
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

    /// Number of tokens of a prompt; those of its replies, their end tokens counted, are noted.
    fn tokens(&self, prompt: &Prompt, replies: &[&str], seen: &mut Seen) -> Result<usize, LmError> {
        let (opening, rests): (String, Vec<String>) = match prompt {
            Prompt::Text(text) => (text.clone(), replies.iter().map(|reply| (*reply).to_owned()).collect()),
            Prompt::Messages(messages) => self.template()?.opened(messages, replies, &Render::default())?,
        };
        let chat = matches!(prompt, Prompt::Messages(_));
        let ids = if chat { self.tokenizer.encode(&opening)? } else { self.tokenizer.encode_with_special(&opening)? };
        if rests.is_empty() {
            self.round_trip(&opening, seen)?;
            self.bos(chat, &ids, &[], seen);
        }
        let ends = self.tokenizer.eos();
        for rest in &rests {
            let parts = Boundary::Apart.split(&opening, rest, |text| self.tokenizer.encode(text))?;
            if parts.merged > 0 {
                seen.fault(Check::BoundaryMerge);
            }
            self.round_trip(&format!("{opening}{rest}"), seen)?;
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
            self.bos(chat, &ids, inside, seen);
            seen.replies.push(reply);
        }
        Ok(ids.len())
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

    /// Looks for a second token that begins a text. A template may begin every turn with one, so in a conversation two must
    /// stand side by side, or one inside the reply; a plain text has one at most.
    fn bos(&self, chat: bool, prompt: &[u32], reply: &[u32], seen: &mut Seen) {
        // Where one token begins and ends texts, the ends are no fault.
        let Some(bos) = self.tokenizer.bos().filter(|bos| !self.tokenizer.eos().contains(bos)) else { return };
        let twice = match chat {
            true => prompt.windows(2).any(|pair| pair == [bos, bos]) || reply.contains(&bos),
            false => prompt.iter().chain(reply).filter(|id| **id == bos).count() > 1,
        };
        if twice {
            seen.fault(Check::DoubleBos);
        }
    }

    /// What the length limit takes: from the prompt's left, then from the right of each reply.
    fn limit(&self, prompt: usize, seen: &mut Seen) {
        let longest = seen.replies.iter().copied().max().unwrap_or(0);
        seen.longest = prompt + longest;
        // An answer that is still to come needs room for a token.
        let longest = longest.max(1);
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
