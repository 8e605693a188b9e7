//! Scores of steps by a language model that replies to each of them in a turn of a chat: process models in the form of RLHFlow,
//! as the code of ProcessBench (arXiv:2412.06559) asks them.
//!
//! ```text
//! user: question, blank line, step 1      assistant: +      user: step 2      assistant: + ...
//! p_h = p(right) / (p(right) + p(wrong)) = sigmoid(log p(right) - log p(wrong))   for the token that replies to step h
//! ```
//! It is read where the reply is predicted, not at the reply. Replies to earlier steps are the one that says right, so the score of
//! a step does not depend on those before it. Each step is read by itself, and a policy that keeps prefixes reads it once.

use ascribe_core::{Continuation, Policy, Tokens};

use crate::ProcessError;

/// What a model reads before it replies to a step, and the tokens of which its reply is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTurn {
    /// Everything before the reply; at least one token.
    pub prefix: Tokens,
    /// The token that says right.
    pub right: u32,
    /// The token that says wrong.
    pub wrong: u32,
}

/// How likely each step is right, in [0, 1].
///
/// # Errors
/// When both tokens of a turn are the same, or the policy cannot score, or gives other log-probabilities than two for each turn.
pub fn reply_scores(policy: &dyn Policy, turns: &[StepTurn]) -> Result<Vec<f64>, ProcessError> {
    let mut given = Vec::with_capacity(2 * turns.len());
    for turn in turns {
        if turn.right == turn.wrong {
            return Err(ProcessError::range("the replies to a step", "two different tokens", [turn.right, turn.wrong]));
        }
        let reply = |token: u32| Continuation { prefix: turn.prefix.clone(), tokens: [token].as_slice().into() };
        given.extend([reply(turn.right), reply(turn.wrong)]);
    }
    let logps: Vec<f32> = policy.score(&given)?.0.into_iter().flatten().collect();
    if logps.len() != given.len() {
        return Err(ProcessError::Reply { what: "log-probabilities", expected: given.len(), got: logps.len() });
    }
    let score = |pair: &[f32]| 1.0 / (1.0 + (f64::from(pair[1]) - f64::from(pair[0])).exp());
    Ok(logps.chunks_exact(2).map(score).collect())
}

#[cfg(test)]
mod tests {
    use ascribe_core::{Capabilities, CoreError, Reply, Request, Usage};

    use super::*;

    /// Token `t` behind a prefix of `n` tokens has the log-probability `-n t`.
    struct Plain;

    impl Policy for Plain {
        fn propose(&self, _: &[Request]) -> Result<Vec<Reply>, CoreError> {
            Err(CoreError::Unsupported { what: "write" })
        }

        fn score(&self, given: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
            let logps = |one: &Continuation| -> Vec<f32> {
                let n = one.prefix.len() as f32;
                one.tokens.iter().map(|token| -n * *token as f32).collect()
            };
            Ok((given.iter().map(logps).collect(), Usage::default()))
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { score: true, top: false, context: 100 }
        }
    }

    fn turn(prefix: &[u32], right: u32, wrong: u32) -> StepTurn {
        StepTurn { prefix: prefix.into(), right, wrong }
    }

    #[test]
    fn replies_are_weighed_against_each_other() {
        // Log-probabilities -2 and -3 behind one token, -4 and -2 behind two.
        let scores = reply_scores(&Plain, &[turn(&[7], 2, 3), turn(&[7, 7], 2, 1)]).unwrap();
        let expected = [1.0, -2.0].map(|logit: f64| 1.0 / (1.0 + (-logit).exp()));
        assert!(scores.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-12), "{scores:?}");
        // Words that change places give the rest to 1.
        let turned = reply_scores(&Plain, &[turn(&[7], 3, 2)]).unwrap();
        assert!((scores[0] + turned[0] - 1.0).abs() < 1e-12);
        assert_eq!(reply_scores(&Plain, &[]).unwrap(), [0.0; 0]);
    }

    #[test]
    fn one_word_is_no_choice() {
        let said = reply_scores(&Plain, &[turn(&[7], 2, 2)]).unwrap_err().to_string();
        assert!(said.contains("the replies to a step must be two different tokens, got [2, 2]"), "{said}");
    }
}
