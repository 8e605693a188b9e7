//! Where an answer begins: the text that is given to a model, and what the model is to write after it.
//!
//! Some templates put an empty thought, `<think></think>`, before an answer that has no thought of its own. Nobody wrote it,
//! and a model that learns it learns to think nothing, so it belongs to what is given and not to the answer.

use super::{ChatTemplate, Ending, Message, Render};
use crate::LmError;

impl ChatTemplate {
    /// The text up to the assistant's next message, and what follows it with each of `answers`, up to the end of the
    /// message. Texts are made for [`Tokenizer::encode`](crate::Tokenizer::encode), as by [`render`](Self::render); the
    /// ending of `options` is not looked at.
    ///
    /// An empty thought that the template writes before every one of the answers belongs to the first text.
    ///
    /// ```
    /// use ascribe_lm::{ChatTemplate, Message, Render, Roles, Tokenizer};
    /// let roles = Roles { eos: Some("</s>"), ..Roles::default() };
    /// let tokenizer = Tokenizer::characters("abc?: \n", &["</s>"], roles)?;
    /// let source = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}\
    ///               {% if add_generation_prompt %}assistant: {% endif %}";
    /// let template = ChatTemplate::new(source, &tokenizer)?;
    /// let (opening, rests) = template.opened(&[Message::new("a", "b?")], &["c", "a"], &Render::default())?;
    /// assert_eq!((opening.as_str(), rests), ("a: b?</s>assistant: ", vec!["c</s>".to_owned(), "a</s>".to_owned()]));
    /// # Ok::<(), ascribe_lm::LmError>(())
    /// ```
    ///
    /// # Errors
    /// [`LmError::Template`] when the template fails, or begins an answer otherwise than its generation prompt does.
    pub fn opened(
        &self,
        messages: &[Message],
        answers: &[&str],
        options: &Render,
    ) -> Result<(String, Vec<String>), LmError> {
        let written =
            |messages: &[Message], ending: Ending| self.render(messages, &Render { ending, ..options.clone() });
        let mut opening = written(messages, Ending::GenerationPrompt)?;
        let mut rests = Vec::with_capacity(answers.len());
        for answer in answers {
            let mut answered = messages.to_vec();
            answered.push(Message::new("assistant", *answer));
            let whole = written(&answered, Ending::LastMessage)?;
            let rest = whole.strip_prefix(&opening).ok_or_else(|| LmError::Template {
                why: "a finished answer does not begin as the generation prompt does; use a template whose generation \
                      prompt opens the assistant's message"
                    .into(),
            })?;
            rests.push(rest.to_owned());
        }
        let thoughts = rests.iter().zip(answers).map(|(rest, answer)| &rest[..empty_thought(rest, answer)]);
        let mut thoughts: Vec<String> = thoughts.map(str::to_owned).collect();
        thoughts.dedup();
        if let [thought] = thoughts.as_slice() {
            opening.push_str(thought);
            for rest in &mut rests {
                rest.drain(..thought.len());
            }
        }
        Ok((opening, rests))
    }
}

/// How many bytes at the beginning of `text` are a thought without words that `answer` does not have itself.
pub(super) fn empty_thought(text: &str, answer: &str) -> usize {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    if answer.trim_start().starts_with(OPEN) {
        return 0;
    }
    let behind = text.strip_prefix(OPEN).and_then(|inside| inside.trim_start().strip_prefix(CLOSE));
    behind.map_or(0, |behind| text.len() - behind.trim_start().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_without_words_is_measured_unless_it_is_the_answers_own() {
        assert_eq!(empty_thought("<think>\n\n</think>\n\nyes", "yes"), "<think>\n\n</think>\n\n".len());
        assert_eq!(empty_thought("<think></think>yes", "yes"), "<think></think>".len());
        assert_eq!(empty_thought("<think>a</think>yes", "yes"), 0);
        assert_eq!(empty_thought("<think>\n\n</think>\n\nyes", "<think>\n\n</think>\n\nyes"), 0);
        assert_eq!(empty_thought("yes <think></think>", "yes <think></think>"), 0);
        assert_eq!(empty_thought("", ""), 0);
    }
}
