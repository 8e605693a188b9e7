//! Prompts of several tasks out of the same records, for one model: "Recommendation as Language Processing (P5)",
//! arXiv:2203.13366.
//!
//! ```text
//! loss = sum over tasks k and records x of  -log pi(completion_k(x) | prompt_k(x))
//! ```
//! A task is a template. What stands in braces is a slot, `{user}` say; a brace itself is written twice.

use crate::{DataError, Prompt, PromptCompletion};

/// A prompt and a completion with slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    prompt: Vec<Piece>,
    completion: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Slot(String),
}

impl Template {
    /// A template of these two texts.
    ///
    /// # Errors
    /// When a brace stands alone, or a name is not of letters, digits and `_`.
    pub fn new(prompt: &str, completion: &str) -> Result<Self, DataError> {
        Ok(Self { prompt: pieces(prompt)?, completion: pieces(completion)? })
    }

    /// The row of a record, whose values are given by name; a record may have more than the slots ask for. The row has no line
    /// number.
    ///
    /// ```
    /// use ascribe_data::Template;
    /// let (next, why) = (Template::new("{user} took {last}. Next?", " {item}")?, Template::new("Why {item}?", " {reason}")?);
    /// let record = [("user", "Ann"), ("last", "tea"), ("item", "milk"), ("reason", "it is white")];
    /// assert_eq!(next.row(&record)?.prompt.key(), "Ann took tea. Next?");
    /// assert_eq!(why.row(&record)?.completion, " it is white");
    /// # Ok::<(), ascribe_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// When a slot has no value.
    pub fn row(&self, values: &[(&str, &str)]) -> Result<PromptCompletion, DataError> {
        let prompt = Prompt::Text(filled(&self.prompt, values)?);
        Ok(PromptCompletion { prompt, completion: filled(&self.completion, values)?, line: 0 })
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, DataError> {
    let refused = || {
        let reason =
            "a slot is a name of letters, digits and _ in braces, and a brace itself is written twice".to_owned();
        DataError::Template { template: template.to_owned(), reason }
    };
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let mut rest = template.chars().peekable();
    while let Some(one) = rest.next() {
        let is_brace = one == '{' || one == '}';
        if !is_brace || rest.next_if_eq(&one).is_some() {
            text.push(one);
            continue;
        }
        if one == '}' {
            return Err(refused());
        }
        let mut name = String::new();
        loop {
            match rest.next() {
                Some('}') => break,
                Some(letter) if letter.is_alphanumeric() || letter == '_' => name.push(letter),
                _ => return Err(refused()),
            }
        }
        if name.is_empty() {
            return Err(refused());
        }
        pieces.extend([Piece::Text(std::mem::take(&mut text)), Piece::Slot(name)]);
    }
    pieces.push(Piece::Text(text));
    Ok(pieces)
}

fn filled(pieces: &[Piece], values: &[(&str, &str)]) -> Result<String, DataError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Slot(name) => match values.iter().find(|(known, _)| known == name) {
                Some((_, value)) => text.push_str(value),
                None => {
                    let known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
                    let reason = format!("the record has no such value; it has {}", known.join(", "));
                    return Err(DataError::Template { template: format!("{{{name}}}"), reason });
                }
            },
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tasks_of_one_record_by_hand() {
        let record = [("user", "u1"), ("item", "{i2}")];
        let row = |prompt: &str, completion: &str| {
            let row = Template::new(prompt, completion).unwrap().row(&record).unwrap();
            (row.prompt.key(), row.completion)
        };
        // What a value holds is no slot.
        assert_eq!(row("{user} takes", " {item}"), ("u1 takes".to_owned(), " {i2}".to_owned()));
        assert_eq!(row("{item} goes to", "{user}{user}"), ("{i2} goes to".to_owned(), "u1u1".to_owned()));
        assert_eq!(row("{{user}} }}", "a"), ("{user} }".to_owned(), "a".to_owned()));
    }

    #[test]
    fn what_is_no_slot_is_refused() {
        for template in ["{user", "user}", "{}", "{a b}", "{{user}", "{a{b}}"] {
            let said = Template::new(template, "").err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("a brace itself is written twice"), "{template}: {said}");
        }
        let said = Template::new("{user}", "{price}").unwrap().row(&[("user", "u1")]).err().unwrap().to_string();
        assert_eq!(said, "the template `{price}` cannot be used: the record has no such value; it has user");
    }
}
