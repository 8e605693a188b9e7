//! What a process model says, as credit by token, as credit of an outcome by token, and as credit of progress.
//!
//! ```text
//! tokens:    p_t = sigmoid(logit at token t)                            of models that were taught at every token: TVM, ORM
//! outcome:   omega_t of a right response, -omega_t of a wrong one       OREAL, arXiv:2502.06781: its token rewards
//! progress:  alpha A_h,   A_h = B_h - B_{h-1},  B = 1 - (1 - p)^prover   PAV, arXiv:2410.08146, eq. 2
//! in RL:     R + alpha A_h  on every token of step h                     its eq. 5, where the outcome R is a sample of Q
//! ```
//! Progress is not summed over later steps: that sum is the value at the end less the one before the step, a baseline, which
//! leaves nothing of the prover. Steps by their scores are [`ProcessModel`] itself, on tokens by [`Placed`](ascribe_core::Placed).

use ascribe_core::advantage::{TokenWeighting, token_weights};
use ascribe_core::{CoreError, Credit, CreditAssigner, Episode, Evidence, Place, Reduce, Scorer};
use ascribe_lm::Row;

use super::{ProcessModel, Progress};
use crate::ProcessError;
use crate::credit::effective;

/// The score of every response token, in [0, 1].
#[derive(Clone, Copy)]
pub struct TokenScores<'a>(pub &'a ProcessModel);

impl Scorer for TokenScores<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        self.0.reads_responses()?;
        let tag = &self.0.card().tag;
        if !tag.is_empty() {
            let rule = "empty, as scores that are read at tags are none of tokens";
            return Err(ProcessError::range("the tag of a model that scores tokens", rule, tag).into());
        }
        let asked = |episode: &Episode| -> Vec<usize> {
            let row = row_of(episode);
            episode.response.positions().map(|at| self.0.place(&row, at - row.prompt.len())).collect()
        };
        let rows: Vec<Row> = episodes.iter().map(row_of).collect();
        let places: Vec<Vec<usize>> = episodes.iter().map(asked).collect();
        let scores = self.0.values(&rows, &places)?;
        let credit = |(episode, scores): (&Episode, Vec<f64>)| {
            Credit::over_response(episode, scores.into_iter().map(|score| score as f32))
        };
        episodes.iter().zip(scores).map(credit).collect()
    }
}

/// What an outcome counts for at each token: the evidence `reward`, 1 or 0, by the running mean of the logits of a model that scores
/// tokens ([`token_weights`]). In [0, 1] where the response is right, and in [-1, 0] where it is wrong: 0 where the tokens up to
/// here do not look it.
#[derive(Clone, Copy)]
pub struct OutcomeTokens<'a> {
    /// Scores tokens, as a model of `orm` does.
    pub model: &'a ProcessModel,
    /// The probability from which a token counts; in [0, 1), 0.5 in the paper.
    pub tau: f64,
}

/// Keeps the logit of a score finite that is rounded to 0 or 1.
const LEAST: f64 = 1e-6;

impl CreditAssigner for OutcomeTokens<'_> {
    fn assign(&self, episode: &Episode, evidence: &Evidence) -> Result<Credit, CoreError> {
        if !(0.0..1.0).contains(&self.tau) {
            return Err(ProcessError::range("tau", "in [0, 1), such as 0.5", self.tau).into());
        }
        let reward = evidence.reward.as_ref().ok_or(CoreError::MissingEvidence("reward"))?;
        let outcome = reward.to_sequence(episode, Reduce::Sum)?;
        let (right, sign) = match outcome {
            1.0 => (true, 1.0),
            0.0 => (false, -1.0),
            other => return Err(ProcessError::range("the outcome of a response", "1 or 0", other).into()),
        };
        let scores = TokenScores(self.model).score(std::slice::from_ref(episode))?.pop();
        let scores = scores.ok_or(ProcessError::Reply { what: "credits", expected: 1, got: 0 })?;
        let logit = |at: usize| {
            let p = f64::from(scores.values()[at]).clamp(LEAST, 1.0 - LEAST);
            (p / (1.0 - p)).ln()
        };
        let logits: Vec<f64> = episode.response.positions().map(logit).collect();
        let weights = token_weights(&logits, right, TokenWeighting::Above(self.tau));
        Credit::over_response(episode, weights.into_iter().map(|weight| (sign * weight) as f32))
    }
}

/// Progress of the steps under a prover, of episodes that are cut into steps. As a scorer it says `alpha A_h` of each step; as
/// an assigner it adds the outcome, which is the evidence `reward`.
#[derive(Clone, Copy)]
pub struct StepProgress<'a> {
    /// Reads the values of the policy.
    pub model: &'a ProcessModel,
    /// The prover, and what progress counts for: 3 to 5 in the paper's RL.
    pub progress: Progress,
}

impl Scorer for StepProgress<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let Progress { prover, alpha } = self.progress;
        // Refuses a weight that is none.
        effective(0.5, &[0.5], alpha, prover)?;
        let mut ends: Vec<Vec<usize>> = Vec::with_capacity(episodes.len());
        for episode in episodes {
            if episode.steps.is_empty() {
                return Err(CoreError::Granularity { from: "step", needs: "steps".to_owned(), got: 0 });
            }
            let begin = episode.prompt_len();
            ends.push(episode.steps.iter().map(|step| step.end.saturating_sub(begin)).collect());
        }
        let rows: Vec<Row> = episodes.iter().map(row_of).collect();
        let steps = |steps: Vec<f64>| Credit::steps(steps.into_iter().map(|step| (alpha * step) as f32).collect());
        Ok(self.model.progress(&rows, &ends, prover)?.into_iter().map(steps).collect())
    }
}

impl CreditAssigner for StepProgress<'_> {
    fn assign(&self, episode: &Episode, evidence: &Evidence) -> Result<Credit, CoreError> {
        let reward = evidence.reward.as_ref().ok_or(CoreError::MissingEvidence("reward"))?;
        let outcome = reward.to_sequence(episode, Reduce::Sum)?;
        let bonus = self.score(std::slice::from_ref(episode))?.pop();
        let bonus = bonus.ok_or(ProcessError::Reply { what: "credits", expected: 1, got: 0 })?;
        let credit = Credit::steps(bonus.values().iter().map(|bonus| outcome + bonus).collect());
        credit.to_tokens(episode, Place::Every).map(Credit::tokens)
    }
}

/// Prompt and response of an episode.
fn row_of(episode: &Episode) -> Row<'_> {
    Row { prompt: episode.prompt_tokens(), response: episode.response_tokens() }
}
