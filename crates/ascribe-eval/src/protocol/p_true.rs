//! P(True): does a model believe a proposed answer? Language Models (Mostly) Know What They Know, arXiv:2207.05221,
//! section 3.
//!
//! ```text
//! P(True) = p(" (A)")/(p(" (A)") + p(" (B)"))  where (A) is True;  asked in both orders of the options, and averaged
//! ```
//! Departures: the second order of the options, whose gap shows how much the letter counts. Brainstormed answers are
//! shown if there are any.

use ascribe_core::Policy;

use super::ask::{Question, two_options};
use crate::EvalError;
use crate::calibrate::p_true;
use crate::error::same_length;

/// Which option comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionOrder {
    /// (A) is True.
    TrueFirst,
    /// (A) is False.
    FalseFirst,
}

/// What is asked; `ideas` are brainstormed answers, or none.
pub fn p_true_prompt(question: &str, answer: &str, ideas: &[&str], order: OptionOrder) -> String {
    let ideas = match ideas {
        [] => String::new(),
        ideas => format!("Here are some brainstormed ideas: {}\n", ideas.join("\n")),
    };
    let [a, b] = match order {
        OptionOrder::TrueFirst => ["True", "False"],
        OptionOrder::FalseFirst => ["False", "True"],
    };
    format!(
        "Question: {question}\n{ideas}Possible Answer: {answer}\nIs the possible answer:\n (A) {a}\n (B) {b}\nThe possible \
         answer is:"
    )
}

/// The options that may follow the prompt, in their order.
pub fn true_options() -> [&'static str; 2] {
    [" (A)", " (B)"]
}

/// What a model believes of one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrueBelief {
    /// P(True) with True first.
    pub true_first: f64,
    /// P(True) with False first.
    pub false_first: f64,
}

impl TrueBelief {
    /// The mean of both orders. In [0, 1]; O(1).
    pub fn p(&self) -> f64 {
        0.5 * (self.true_first + self.false_first)
    }

    /// How much the order changes it: 0 for a model that reads the words alone. In [0, 1]; O(1).
    pub fn gap(&self) -> f64 {
        (self.true_first - self.false_first).abs()
    }
}

/// What a policy believes of each answer, from its questions in both orders, each with the options (A) and (B).
///
/// # Errors
/// When the lengths differ, there is no question, one has not two options, or the policy cannot score.
pub fn true_beliefs(
    policy: &dyn Policy,
    true_first: &[Question],
    false_first: &[Question],
) -> Result<Vec<TrueBelief>, EvalError> {
    same_length("the questions with False first", true_first.len(), false_first.len())?;
    let pairs = two_options(policy, true_first)?.into_iter().zip(two_options(policy, false_first)?);
    pairs.map(|([a, b], [c, d])| Ok(TrueBelief { true_first: p_true(a, b)?, false_first: p_true(d, c)? })).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Plain, question};
    use super::*;

    #[test]
    fn the_prompt_names_both_options() {
        let text = p_true_prompt("2+3?", "5", &[], OptionOrder::FalseFirst);
        assert_eq!(
            text,
            "Question: 2+3?\nPossible Answer: 5\nIs the possible answer:\n (A) False\n (B) True\nThe possible answer is:"
        );
        let text = p_true_prompt("2+3?", "5", &["4", "6"], OptionOrder::TrueFirst);
        assert!(text.contains("ideas: 4\n6\nPossible Answer: 5") && text.contains("(A) True"));
    }

    /// Options of log-probability -1 and -2: sigmoid(1) with True first. A model that likes (A) says the opposite when
    /// False comes first: the mean is a half.
    #[test]
    fn a_taste_for_a_letter_cancels() {
        let asked = [question(&[5], &[&[1], &[2]])];
        let beliefs = true_beliefs(&Plain, &asked, &asked).unwrap();
        let likes = 1.0 / (1.0 + (-1.0_f64).exp());
        assert!((beliefs[0].true_first - likes).abs() < 1e-12 && (beliefs[0].p() - 0.5).abs() < 1e-12);
        assert!((beliefs[0].gap() - (2.0 * likes - 1.0)).abs() < 1e-12);
        assert!(matches!(true_beliefs(&Plain, &asked, &[]), Err(EvalError::Length { .. })));
    }
}
