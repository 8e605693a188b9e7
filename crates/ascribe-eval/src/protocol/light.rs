//! In-context light-instruction prompts, BOSE's form of open tasks (arXiv:2503.00812): solved examples and one short
//! instruction, which base and instruct models both follow. The words are ours.

/// A solved example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is asked.
    pub question: String,
    /// Its answer.
    pub answer: String,
}

/// What is asked: the instruction, the examples, and the question without its answer.
pub fn light_prompt(instruction: &str, examples: &[Example], question: &str) -> String {
    let mut prompt = format!("{instruction}\n\n");
    for example in examples {
        prompt.push_str(&format!("Question: {}\nAnswer: {}\n\n", example.question, example.answer));
    }
    prompt + &format!("Question: {question}\nAnswer:")
}

/// Whether the first line of a reply is the answer, but for case, white space around and a full stop behind.
pub fn same_answer(reply: &str, answer: &str) -> bool {
    let line = reply.trim_start().lines().next().unwrap_or_default();
    normal(line) == normal(answer)
}

fn normal(text: &str) -> String {
    text.trim().trim_end_matches('.').trim_end().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_stands_last() {
        let examples = [Example { question: "1+1?".into(), answer: "2".into() }];
        assert_eq!(
            light_prompt("Answer briefly.", &examples, "2+3?"),
            "Answer briefly.\n\nQuestion: 1+1?\nAnswer: 2\n\nQuestion: 2+3?\nAnswer:"
        );
    }

    #[test]
    fn the_first_line_is_the_answer() {
        assert!(same_answer(" Paris.\nQuestion: next", "paris") && same_answer("5", " 5 "));
        assert!(!same_answer("It is Paris", "Paris") && !same_answer("", "5"));
    }
}
