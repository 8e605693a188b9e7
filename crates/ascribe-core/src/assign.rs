//! The seam that turns evidence into one credit a token.

use crate::{CoreError, Credit, Episode, Place, Scorer};

/// What an assigner may look at. An assigner refuses when a field that it needs is absent.
///
/// Log-probabilities are natural, one for each *response* token, in order.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Evidence {
    /// An outcome or process score that is to be spread.
    pub reward: Option<Credit>,
    /// Log-probabilities under the policy.
    pub logps: Option<Vec<f32>>,
    /// Log-probabilities under the reference.
    pub ref_logps: Option<Vec<f32>>,
    /// Log-probabilities under the evaluator when it is asked for a better response.
    pub better_logps: Option<Vec<f32>>,
    /// Log-probabilities under the evaluator when it is asked for a worse response.
    pub worse_logps: Option<Vec<f32>>,
}

/// A way to say which token earned what.
pub trait CreditAssigner: Send + Sync {
    /// One credit a token of `episode`, 0 where the response mask ignores the token.
    fn assign(&self, episode: &Episode, evidence: &Evidence) -> Result<Credit, CoreError>;
}

/// Pays a score out to tokens: the outcome to every token, or a step's score where the step ends.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeBroadcast(pub Place);

impl CreditAssigner for OutcomeBroadcast {
    fn assign(&self, episode: &Episode, evidence: &Evidence) -> Result<Credit, CoreError> {
        let reward = evidence.reward.as_ref().ok_or(CoreError::MissingEvidence("reward"))?;
        reward.to_tokens(episode, self.0).map(Credit::tokens)
    }
}

/// What a scorer says, paid out to tokens: process models and their progress, implicit rewards, clipped scores and their
/// differences, verifiers and rules all say where credit belongs in this way. It looks at no evidence.
///
/// Episodes are scored one at a time. Many are scored together by the scorer itself, and each credit then handed to
/// [`OutcomeBroadcast`] as evidence.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    /// Scores the episode, at its own granularity.
    pub scorer: &'a dyn Scorer,
    /// Where a value that belongs to several tokens is put.
    pub place: Place,
}

impl CreditAssigner for Placed<'_> {
    fn assign(&self, episode: &Episode, _evidence: &Evidence) -> Result<Credit, CoreError> {
        match self.scorer.score(std::slice::from_ref(episode))?.as_slice() {
            [credit] => credit.to_tokens(episode, self.place).map(Credit::tokens),
            credits => {
                let got = format!("{} credits for 1 response", credits.len());
                Err(CoreError::Shape { rule: "a scorer gives one credit a response", got })
            }
        }
    }
}

/// The implicit reward of a token, `beta * (log pi - log pi_ref)`: arXiv:2404.12358 (From r to Q*), section 4.
#[derive(Clone, Copy, Debug)]
pub struct LogRatio {
    /// Weight of the divergence from the reference.
    pub beta: f32,
}

impl CreditAssigner for LogRatio {
    fn assign(&self, episode: &Episode, evidence: &Evidence) -> Result<Credit, CoreError> {
        let logps = evidence.logps.as_ref().ok_or(CoreError::MissingEvidence("logps"))?;
        let ref_logps = evidence.ref_logps.as_ref().ok_or(CoreError::MissingEvidence("ref_logps"))?;
        Credit::over_response(
            episode,
            logps.iter().zip(ref_logps).map(|(policy, reference)| self.beta * (policy - reference)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule;

    /// Says of every episode the same.
    struct Says(Vec<Credit>);

    impl Scorer for Says {
        fn score(&self, _: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(self.0.clone())
        }
    }

    fn placed(scorer: &dyn Scorer, place: Place) -> Result<Vec<f32>, CoreError> {
        let episode = Episode::new(&[1, 2], &[3, 4, 5, 6]).with_steps(vec![2..4, 4..6])?;
        let credit = Placed { scorer, place }.assign(&episode, &Evidence::default())?;
        Ok(credit.values().to_vec())
    }

    #[test]
    fn what_any_scorer_says_lies_on_the_tokens() {
        let whole = rule(|episode: &Episode| episode.tokens.len() as f32);
        assert_eq!(placed(&whole, Place::LastToken).unwrap(), [0.0, 0.0, 0.0, 0.0, 0.0, 6.0]);
        let steps = Says(vec![Credit::steps(vec![0.5, -1.0])]);
        assert_eq!(placed(&steps, Place::LastToken).unwrap(), [0.0, 0.0, 0.0, 0.5, 0.0, -1.0]);
        assert_eq!(placed(&steps, Place::Every).unwrap(), [0.0, 0.0, 0.5, 0.5, -1.0, -1.0]);
        let tokens = Says(vec![Credit::tokens(vec![9.0, 9.0, 1.0, 2.0, 3.0, 4.0])]);
        assert_eq!(placed(&tokens, Place::Spread).unwrap(), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        // It is what the outcome broadcast makes of the same credit as evidence.
        let evidence = Evidence { reward: Some(steps.0[0].clone()), ..Evidence::default() };
        let episode = Episode::new(&[1, 2], &[3, 4, 5, 6]).with_steps(vec![2..4, 4..6]).unwrap();
        let broadcast = OutcomeBroadcast(Place::Every).assign(&episode, &evidence).unwrap();
        assert_eq!(broadcast.values(), placed(&steps, Place::Every).unwrap());
    }

    #[test]
    fn a_scorer_that_says_nothing_or_too_much_is_refused() {
        for credits in [vec![], vec![Credit::sequence(1.0); 2]] {
            let said = placed(&Says(credits), Place::Every).unwrap_err().to_string();
            assert!(said.starts_with("a scorer gives one credit a response, got "), "{said}");
        }
        let steps = Says(vec![Credit::steps(vec![1.0])]);
        assert!(matches!(placed(&steps, Place::Every), Err(CoreError::Granularity { .. })));
    }
}
