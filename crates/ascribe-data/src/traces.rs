//! Solutions of a teacher as rows for a student, in the formats of "Specializing Smaller Language Models towards Multi-Step
//! Reasoning", arXiv:2301.12726.
//!
//! ```text
//!                              prompt                                    completion
//! answer only                  Question: q  Answer:                      The answer is a.
//! chain of thought             Question: q  Answer:                      s_1 ... s_n  The answer is a.
//! in context, either of them   the same, behind solved examples that are written in the same format
//! ```

use crate::{DataError, Prompt, PromptCompletion};

/// A solution that a teacher wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What was asked.
    pub question: String,
    /// The steps, in order.
    pub steps: Vec<String>,
    /// The answer alone.
    pub answer: String,
}

/// What of a trace a student is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFormat {
    /// The answer.
    AnswerOnly,
    /// The steps, a line each, then the answer.
    ChainOfThought,
}

impl TraceFormat {
    /// The row of a trace behind `examples`; without one, the student learns to answer by itself. The row has no line number.
    ///
    /// ```
    /// use ascribe_data::{Trace, TraceFormat};
    /// let trace = Trace { question: "2+5".into(), steps: vec!["2+5=7".into()], answer: "7".into() };
    /// let row = TraceFormat::ChainOfThought.row(&trace, &[])?;
    /// assert_eq!(row.prompt.key(), "Question: 2+5\nAnswer:");
    /// assert_eq!(row.completion, " 2+5=7\nThe answer is 7.");
    /// # Ok::<(), ascribe_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// When a question, a step or an answer is blank, or steps are wanted and there is none.
    pub fn row(self, trace: &Trace, examples: &[Trace]) -> Result<PromptCompletion, DataError> {
        let mut prompt = String::new();
        for example in examples {
            prompt += &format!("{}{}\n\n", asked(example), self.reply(example)?);
        }
        prompt += &asked(trace);
        Ok(PromptCompletion { prompt: Prompt::Text(prompt), completion: self.reply(trace)?, line: 0 })
    }

    fn reply(self, trace: &Trace) -> Result<String, DataError> {
        let refused = |rule: &'static str| Err(DataError::Trace { rule, question: trace.question.clone() });
        let is_blank = |text: &String| text.trim().is_empty();
        if is_blank(&trace.question) || is_blank(&trace.answer) {
            return refused("a question and an answer");
        }
        let answer = format!("The answer is {}.", trace.answer);
        match self {
            Self::AnswerOnly => Ok(format!(" {answer}")),
            Self::ChainOfThought if trace.steps.is_empty() || trace.steps.iter().any(is_blank) => {
                refused("at least one step, none of which is blank; or take the answer only")
            }
            Self::ChainOfThought => Ok(format!(" {}\n{answer}", trace.steps.join("\n"))),
        }
    }
}

/// The part of a prompt that a reply follows.
fn asked(trace: &Trace) -> String {
    format!("Question: {}\nAnswer:", trace.question)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(question: &str, steps: &[&str], answer: &str) -> Trace {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        Trace { question: question.to_owned(), steps, answer: answer.to_owned() }
    }

    #[test]
    fn four_formats_by_hand() {
        let one = trace("2+5-4", &["2+5=7", "7-4=3"], "3");
        let example = [trace("1+1", &["1+1=2"], "2")];
        let row = |format: TraceFormat, examples: &[Trace]| {
            let row = format.row(&one, examples).unwrap();
            (row.prompt.key(), row.completion)
        };
        let (answer, chain) = (TraceFormat::AnswerOnly, TraceFormat::ChainOfThought);
        let alone = "Question: 2+5-4\nAnswer:";
        let (short, long) = (" The answer is 3.", " 2+5=7\n7-4=3\nThe answer is 3.");
        assert_eq!(row(answer, &[]), (alone.to_owned(), short.to_owned()));
        assert_eq!(row(chain, &[]), (alone.to_owned(), long.to_owned()));
        let behind = |example: &str| format!("Question: 1+1\nAnswer: {example}The answer is 2.\n\n{alone}");
        assert_eq!(row(answer, &example), (behind(""), short.to_owned()));
        assert_eq!(row(chain, &example), (behind("1+1=2\n"), long.to_owned()));
    }

    #[test]
    fn what_is_blank_is_refused() {
        let refused = |format: TraceFormat, trace: &Trace| format.row(trace, &[]).err().unwrap().to_string();
        let without = trace("2+5", &[], "7");
        assert!(TraceFormat::AnswerOnly.row(&without, &[]).is_ok());
        let said = refused(TraceFormat::ChainOfThought, &without);
        assert!(said.contains("a trace must have at least one step") && said.ends_with("got none for `2+5`"), "{said}");
        assert!(refused(TraceFormat::ChainOfThought, &trace("2+5", &[" "], "7")).contains("none of which is blank"));
        assert!(refused(TraceFormat::AnswerOnly, &trace("2+5", &[], " ")).contains("a question and an answer"));
        assert!(
            TraceFormat::ChainOfThought.row(&trace("1", &["1"], "1"), &[without]).is_err(),
            "an example counts too"
        );
    }
}
