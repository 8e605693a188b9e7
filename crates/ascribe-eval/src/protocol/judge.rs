//! A pairwise judge in both orders, as AlpacaEval weighs it (arXiv:2404.04475): the preference is a probability, read
//! from the letters that name the answers.
//!
//! ```text
//! p = p("A")/(p("A") + p("B"));  preference for the model = mean of p where it is A and 1 - p where it is B
//! ```
//! The words are ours.

use ascribe_core::Policy;

use super::ask::{Question, two_options};
use crate::EvalError;
use crate::calibrate::p_true;
use crate::error::same_length;
use crate::rank::Verdict;

/// Two answers in the order in which the judge reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Called A.
    pub first: &'a str,
    /// Called B.
    pub second: &'a str,
}

/// What the judge is asked.
pub fn judge_prompt(instruction: &str, answers: Shown<'_>) -> String {
    let Shown { first, second } = answers;
    format!(
        "Which of two answers to an instruction is better? Judge how well each does what was asked, not its length or \
         place.\n\n## Instruction\n{instruction}\n\n## Answer A\n{first}\n\n## Answer B\n{second}\n\nReply with one letter, \
         A or B.\nThe better answer is"
    )
}

/// The options that may follow the prompt, in their order.
pub fn judge_options() -> [&'static str; 2] {
    [" A", " B"]
}

/// What a judge says of one pair, as probabilities that the model's answer is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Where the model's answer is shown first.
    pub model_first: f64,
    /// Where the baseline's answer is shown first.
    pub baseline_first: f64,
}

impl Judgement {
    /// The preference for the model: the mean of both orders. In [0, 1]; O(1).
    pub fn outcome(&self) -> f64 {
        0.5 * (self.model_first + self.baseline_first)
    }

    /// The verdicts of both orders by the place shown, as [`both_orders`](crate::rank::both_orders) takes them.
    pub fn verdicts(&self) -> [Verdict; 2] {
        let of = |first: f64| match first {
            first if first > 0.5 => Verdict::First,
            first if first < 0.5 => Verdict::Second,
            _ => Verdict::Tie,
        };
        [of(self.model_first), of(1.0 - self.baseline_first)]
    }
}

/// What a policy judges of each pair, from its questions in both orders, each with the options A and B. One call of the
/// policy for each order.
///
/// # Errors
/// When the lengths differ, there is no question, one has not two options, or the policy cannot score.
pub fn judgements(
    policy: &dyn Policy,
    model_first: &[Question],
    baseline_first: &[Question],
) -> Result<Vec<Judgement>, EvalError> {
    same_length("the questions with the baseline first", model_first.len(), baseline_first.len())?;
    let pairs = two_options(policy, model_first)?.into_iter().zip(two_options(policy, baseline_first)?);
    pairs.map(|([a, b], [c, d])| Ok(Judgement { model_first: p_true(a, b)?, baseline_first: p_true(d, c)? })).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Plain, question};
    use super::*;

    #[test]
    fn a_judge_of_places_prefers_nobody() {
        let asked = [question(&[5], &[&[1], &[2]])];
        let judged = judgements(&Plain, &asked, &asked).unwrap()[0];
        assert!((judged.outcome() - 0.5).abs() < 1e-12);
        assert_eq!(judged.verdicts(), [Verdict::First, Verdict::First]);
        let fair = Judgement { model_first: 0.9, baseline_first: 0.7 };
        assert!((fair.outcome() - 0.8).abs() < 1e-12);
        assert_eq!(fair.verdicts(), [Verdict::First, Verdict::Second]);
    }

    #[test]
    fn the_prompt_shows_both_answers_in_order() {
        let text = judge_prompt("Say hello.", Shown { first: "Hello.", second: "No." });
        assert!(text.contains("## Answer A\nHello.\n") && text.contains("## Answer B\nNo.\n"));
    }
}
