//! Questions with given options: the log-probability of every option says what a model would choose.

use ascribe_core::{Continuation, Policy, Tokens};

use crate::EvalError;
use crate::error::not_empty;
use crate::stats::sum::sum;

/// A prefix with the options that may follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What the model reads.
    pub prefix: Tokens,
    /// What may follow, two options at least.
    pub options: Vec<Tokens>,
}

/// The log-probability of every token of every option of every question.
///
/// # Errors
/// When there is no question, an option has no token, or the policy cannot score.
pub fn option_logps(policy: &dyn Policy, questions: &[Question]) -> Result<Vec<Vec<Vec<f64>>>, EvalError> {
    not_empty("the questions", questions)?;
    let mut given = Vec::new();
    for question in questions {
        not_empty("the options", &question.options)?;
        for option in &question.options {
            not_empty("the tokens of an option", option)?;
            given.push(Continuation { prefix: question.prefix.clone(), tokens: option.clone() });
        }
    }
    let (logps, _) = policy.score(&given)?;
    // Rounding may leave a certain token a hair above 0.
    let number = |logps: Vec<f32>| -> Vec<f64> { logps.into_iter().map(|logp| f64::from(logp).min(0.0)).collect() };
    let mut logps = logps.into_iter().map(number);
    Ok(questions.iter().map(|question| logps.by_ref().take(question.options.len()).collect()).collect())
}

/// For each question with two options, their log-probabilities summed over tokens.
pub(super) fn two_options(policy: &dyn Policy, questions: &[Question]) -> Result<Vec<[f64; 2]>, EvalError> {
    for question in questions {
        crate::error::same_length("the options of a choice between two", 2, question.options.len())?;
    }
    let logps = option_logps(policy, questions)?;
    let total = |tokens: &Vec<f64>| sum(tokens.iter().copied());
    Ok(logps.iter().map(|options| [total(&options[0]), total(&options[1])]).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use ascribe_core::{Capabilities, CoreError, Reply, Request, Usage};

    use super::*;

    /// Token `t` has log-probability `-t`, whatever stands before it; after a prefix that ends in 9 it is twice that.
    pub struct Plain;

    impl Policy for Plain {
        fn propose(&self, _: &[Request]) -> Result<Vec<Reply>, CoreError> {
            Err(CoreError::Unsupported { what: "write" })
        }

        fn score(&self, given: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
            let logps = given.iter().map(|one| {
                let times = if one.prefix.last() == Some(&9) { 2.0 } else { 1.0 };
                one.tokens.iter().map(|&token| -times * token as f32).collect()
            });
            Ok((logps.collect(), Usage::default()))
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { score: true, top: false, context: 100 }
        }
    }

    pub fn tokens(ids: &[u32]) -> Tokens {
        ids.into()
    }

    pub fn question(prefix: &[u32], options: &[&[u32]]) -> Question {
        Question { prefix: tokens(prefix), options: options.iter().map(|ids| tokens(ids)).collect() }
    }

    #[test]
    fn options_come_back_in_their_places() {
        let questions = [question(&[1], &[&[1, 2], &[3]]), question(&[9], &[&[4]])];
        let logps = option_logps(&Plain, &questions).unwrap();
        assert_eq!(logps, [vec![vec![-1.0, -2.0], vec![-3.0]], vec![vec![-8.0]]]);
        assert_eq!(two_options(&Plain, &questions[..1]).unwrap(), [[-3.0, -3.0]]);
    }

    #[test]
    fn bad_questions_are_refused() {
        assert!(matches!(option_logps(&Plain, &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(option_logps(&Plain, &[question(&[1], &[])]), Err(EvalError::Empty { .. })));
        assert!(matches!(option_logps(&Plain, &[question(&[1], &[&[]])]), Err(EvalError::Empty { .. })));
        assert!(matches!(two_options(&Plain, &[question(&[1], &[&[1]])]), Err(EvalError::Length { .. })));
    }
}
