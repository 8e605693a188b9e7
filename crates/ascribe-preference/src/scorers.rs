//! Scorers made of log-probabilities alone: the implicit reward of a policy, and self-contrast.

use ascribe_core::{
    Continuation, CoreError, Credit, CreditAssigner, Episode, Evidence, LogRatio, Policy, Scorer, Tokens,
};

use crate::{ContrastReward, RevisedPrompts};

/// Log-probabilities of the response tokens of each episode, after the prompt that `prompt` gives for it.
fn response_logps<'a>(
    policy: &dyn Policy,
    episodes: impl Iterator<Item = (&'a Episode, Tokens)>,
) -> Result<Vec<Vec<f32>>, CoreError> {
    let given: Vec<Continuation> =
        episodes.map(|(episode, prefix)| Continuation { prefix, tokens: episode.response_tokens().into() }).collect();
    Ok(policy.score(&given)?.0)
}

/// The implicit reward `beta * (log pi - log pi_ref)` of a policy, by token: arXiv:2305.18290, eq. 5, and
/// arXiv:2404.12358. Episodes have one response after their prompt.
pub struct ImplicitReward<'a> {
    /// The policy that was trained.
    pub policy: &'a dyn Policy,
    /// What it was trained against.
    pub reference: &'a dyn Policy,
    /// The beta that it was trained with.
    pub beta: f32,
}

impl Scorer for ImplicitReward<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let prompts = || episodes.iter().map(|episode| (episode, Tokens::from(episode.prompt_tokens())));
        let ours = response_logps(self.policy, prompts())?;
        let theirs = response_logps(self.reference, prompts())?;
        let pairs = episodes.iter().zip(ours.into_iter().zip(theirs));
        pairs
            .map(|(episode, (logps, ref_logps))| {
                let mut evidence = Evidence::default();
                (evidence.logps, evidence.ref_logps) = (Some(logps), Some(ref_logps));
                LogRatio { beta: self.beta }.assign(episode, &evidence)
            })
            .collect()
    }
}

/// The token rewards of T-REG as a scorer: how much likelier each token is when the evaluator is asked for better.
pub struct Contrast<'a, F> {
    /// The frozen evaluator.
    pub evaluator: &'a dyn Policy,
    /// Revision prompts of an episode.
    pub prompts: F,
}

impl<F: Fn(&Episode) -> Result<RevisedPrompts, CoreError> + Send + Sync> Scorer for Contrast<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let prompts = episodes.iter().map(&self.prompts).collect::<Result<Vec<_>, _>>()?;
        let better = episodes.iter().zip(prompts.iter().map(|prompts| prompts.better.clone()));
        let worse = episodes.iter().zip(prompts.iter().map(|prompts| prompts.worse.clone()));
        let better = response_logps(self.evaluator, better)?;
        let worse = response_logps(self.evaluator, worse)?;
        let pairs = episodes.iter().zip(better.into_iter().zip(worse));
        pairs
            .map(|(episode, (better, worse))| {
                let mut evidence = Evidence::default();
                (evidence.better_logps, evidence.worse_logps) = (Some(better), Some(worse));
                ContrastReward.assign(episode, &evidence)
            })
            .collect()
    }
}
