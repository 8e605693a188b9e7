//! The seam that turns evidence into one credit a token.

use crate::{CoreError, Credit, Episode, Place};

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
