//! What a refiner reads: a question with a draft of its answer. `label --method refine` writes it as the prompt of its rows, so
//! that `train sft` makes a refiner of them, and `search --refiner` asks the refiner the same.

use ascribe::data::{Message, Prompt};

/// What stands before the first bad step of a draft.
const MARK: &str = "[BAD]";

/// What is said behind a draft that is to be refined as a whole.
const WHOLE: &str = "This may be wrong. Write a right solution.";

/// What is said behind a draft with a mark.
const MARKED: &str = "This is right up to [BAD]. Keep that, and go on rightly from there.";

/// A draft as a refiner reads it.
pub struct Draft {
    /// Its text, with the mark where there is one.
    pub text: String,
    told: &'static str,
}

impl Draft {
    /// A draft that is to be refined as a whole: a global refinement.
    pub fn whole(text: String) -> Self {
        Self { text, told: WHOLE }
    }

    /// A draft of which `right` is to be kept: a local refinement.
    pub fn marked(right: &str, rest: &str) -> Self {
        Self { text: format!("{right}{MARK}{rest}"), told: MARKED }
    }

    /// The prompt of the refiner.
    pub fn asked(&self, question: &Prompt) -> Prompt {
        match question {
            Prompt::Text(text) => Prompt::Text(format!("{text}{}\n\n{}\n\n", self.text, self.told)),
            Prompt::Messages(messages) => {
                let turns = [Message::new("assistant", self.text.as_str()), Message::new("user", self.told)];
                Prompt::Messages([messages.as_slice(), &turns].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refiner_reads_question_draft_and_what_is_wanted() {
        let text = Prompt::Text("what is 2+3?\n".to_owned());
        let whole = Draft::whole("so 4".to_owned());
        let asked = "what is 2+3?\nso 4\n\nThis may be wrong. Write a right solution.\n\n";
        assert_eq!(whole.asked(&text), Prompt::Text(asked.to_owned()));
        let marked = Draft::marked("add\n", "so 4");
        assert_eq!(marked.text, "add\n[BAD]so 4");
        let Prompt::Messages(turns) = marked.asked(&Prompt::Messages(vec![Message::new("user", "what is 2+3?")]))
        else {
            panic!("a conversation");
        };
        let said: Vec<(&str, &str)> = turns.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
        let told = "This is right up to [BAD]. Keep that, and go on rightly from there.";
        assert_eq!(said, [("user", "what is 2+3?"), ("assistant", "add\n[BAD]so 4"), ("user", told)]);
    }
}
