//! The probability that a response beats a reference answer, by a judge in both orders: the protocol of
//! `ascribe_eval::protocol::judgements` (arXiv:2404.04475) as a reward.
//!
//! ```text
//! r = (P(A) where the response is A + P(B) where it is B) / 2
//! ```
//! The mean over both orders takes the judge's love of a place out: a judge of places alone gives 1/2.

use ascribe_core::{CoreError, Credit, Episode, Policy, Scorer, Tokens};
use ascribe_eval::protocol::{Question, Shown, judge_options, judge_prompt, judgements};

use crate::RewardError;
use crate::text::{Encode, parts};

/// The reward; `reference` gives the reference answer of an episode.
pub struct BetterThanReference<'a, F> {
    /// The judge.
    pub policy: &'a dyn Policy,
    /// A text as the judge's prompt: with its template, and the tokens that begin a text.
    pub render: &'a Encode<'a>,
    /// An option to token ids, with nothing added.
    pub encode: &'a Encode<'a>,
    /// The reference answer of an episode.
    pub reference: F,
}

impl<F: Fn(&Episode) -> Result<String, CoreError> + Send + Sync> Scorer for BetterThanReference<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        if episodes.is_empty() {
            return Ok(Vec::new());
        }
        let options = judge_options().iter().map(|text| (self.encode)(text)).collect::<Result<Vec<Tokens>, _>>()?;
        let (mut own_first, mut reference_first) = (Vec::new(), Vec::new());
        for episode in episodes {
            let (instruction, response) = parts(episode)?;
            let (instruction, response, reference) = (instruction.trim(), response.trim(), (self.reference)(episode)?);
            let ask = |first: &str, second: &str| -> Result<Question, CoreError> {
                let prefix = (self.render)(&judge_prompt(instruction, Shown { first, second }))?;
                Ok(Question { prefix, options: options.clone() })
            };
            own_first.push(ask(response, reference.trim())?);
            reference_first.push(ask(reference.trim(), response)?);
        }
        let judged = judgements(self.policy, &own_first, &reference_first).map_err(RewardError::from)?;
        Ok(judged.iter().map(|judgement| Credit::sequence(judgement.outcome() as f32)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::{Scripted, encode, episode};

    fn rewards(logp: fn(&str, &str) -> f32) -> Vec<f32> {
        let policy = Scripted { answer: |_: &str| String::new(), logp };
        let reference = |_: &Episode| -> Result<String, CoreError> { Ok("x".to_owned()) };
        let judge = BetterThanReference { policy: &policy, render: &encode, encode: &encode, reference };
        let episodes = [episode("Q? ", "xx"), episode("Q? ", "y")];
        judge.score(&episodes).unwrap().iter().map(|credit| credit.values()[0]).collect()
    }

    #[test]
    fn a_judge_of_places_prefers_nobody() {
        let rewards = rewards(|_, option| if option == " A" { -0.1 } else { -3.0 });
        assert!(rewards.iter().all(|reward| (reward - 0.5).abs() < 1e-6), "{rewards:?}");
    }

    /// A judge who likes the answer with more letters x, nine to one.
    #[test]
    fn a_judge_of_answers_is_the_same_in_both_orders() {
        let rewards = rewards(|before, option| {
            let count = |mark: &str, end: &str| {
                let from = before.find(mark).map_or(0, |at| at + mark.len());
                let until = before[from..].find(end).map_or(before.len(), |at| from + at);
                before[from..until].matches('x').count()
            };
            let (a, b) = (count("## Answer A\n", "\n\n"), count("## Answer B\n", "\n\n"));
            let better = if a > b { " A" } else { " B" };
            if option == better { 0.9f32.ln() } else { 0.1f32.ln() }
        });
        assert!((rewards[0] - 0.9).abs() < 1e-5 && (rewards[1] - 0.1).abs() < 1e-5, "{rewards:?}");
    }

    #[test]
    fn no_episode_is_no_question() {
        let policy = Scripted { answer: |_: &str| String::new(), logp: |_: &str, _: &str| 0.0_f32 };
        let reference = |_: &Episode| -> Result<String, CoreError> { Ok(String::new()) };
        let judge = BetterThanReference { policy: &policy, render: &encode, encode: &encode, reference };
        assert!(judge.score(&[]).unwrap().is_empty());
        assert!(judge.score(&[Episode::new(&[1], &[2])]).is_err());
    }
}
