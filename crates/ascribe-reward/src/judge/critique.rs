//! A critique before the score: MM-RLHF, arXiv:2502.10391, at run time.
//!
//! ```text
//! critique = greedy answer to `ask(episode)`;   r = score of [prompt, response, critique], read at its end
//! ```
//! The scorer is any reward model that was trained on such texts, and the writer any policy. A model that is both is trained by
//! [`WritingLearner`](crate::WritingLearner) and writes by itself ([`Writing`](crate::Writing)). Accuracies are to be reported with
//! critiques given and with these.

use ascribe_core::{CoreError, Credit, Episode, Mode, Policy, Reduce, Request, Scorer, Seed, Tokens, Until};

use crate::RewardError;
use crate::error::same_length;

/// A scorer that lets a policy criticise each response first. `ask` renders the tokens after which the critique begins.
pub struct Critiqued<'a, F> {
    /// What writes the critique.
    pub writer: &'a dyn Policy,
    /// The text before the critique.
    pub ask: F,
    /// What scores the response with its critique.
    pub scorer: &'a dyn Scorer,
    /// Most tokens of a critique.
    pub max_new: usize,
}

impl<F: Fn(&Episode) -> Result<Tokens, CoreError> + Send + Sync> Critiqued<'_, F> {
    /// Each episode with its critique behind the response. Texts are token ids alone.
    ///
    /// # Errors
    /// When an episode cannot be rendered, or the writer fails.
    pub fn criticise(&self, episodes: &[Episode]) -> Result<Vec<Episode>, CoreError> {
        let (mode, seed) = (Mode::Greedy, Seed(0));
        let request = |episode: &Episode| -> Result<Request, CoreError> {
            Ok(Request { prefix: (self.ask)(episode)?, n: 1, until: Until::End, mode, max_new: self.max_new, seed })
        };
        let requests = episodes.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let replies = self.writer.propose(&requests)?;
        same_length("the critiques", episodes.len(), replies.len())?;
        let joined = |(episode, reply): (&Episode, &ascribe_core::Reply)| -> Result<Episode, RewardError> {
            episode.response.check(episode.tokens.len())?;
            let critique = reply.candidates.first().map(|candidate| candidate.tokens.to_vec()).unwrap_or_default();
            let tokens = episode.tokens.followed_by(&critique);
            let response = [episode.response.to_vec(), vec![true; critique.len()]].concat().into();
            Ok(Episode { tokens, response, complete: episode.complete, ..Episode::default() })
        };
        Ok(episodes.iter().zip(&replies).map(joined).collect::<Result<Vec<_>, _>>()?)
    }
}

impl<F: Fn(&Episode) -> Result<Tokens, CoreError> + Send + Sync> Scorer for Critiqued<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let joined = self.criticise(episodes)?;
        let credits = self.scorer.score(&joined)?;
        same_length("the scores", joined.len(), credits.len())?;
        let one = |(credit, episode): (&Credit, &Episode)| credit.to_sequence(episode, Reduce::Last);
        credits.iter().zip(&joined).map(|both| one(both).map(Credit::sequence)).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;

    use super::*;
    use crate::text::tests::{Scripted, encode};

    fn critic() -> Scripted<fn(&str) -> String, fn(&str, &str) -> f32> {
        Scripted { answer: |text| if text.contains("wrong") { "bad".into() } else { "fine".into() }, logp: |_, _| 0.0 }
    }

    fn ask(episode: &Episode) -> Result<Tokens, CoreError> {
        Ok(episode.tokens.followed_by(&encode("?")?))
    }

    #[test]
    fn the_critique_decides_the_score() {
        // A model that reads the last letter: d for bad, e for fine.
        let last = rule(|episode: &Episode| match episode.tokens.last().map(|id| *id as u8) {
            Some(b'e') => 1.0,
            _ => -1.0,
        });
        let policy = critic();
        let reward = Critiqued { writer: &policy, ask, scorer: &last, max_new: 9 };
        let episode = |text: &str| Episode::new(&[1], &encode(text).unwrap());
        let episodes = [episode("right"), episode("wrong")];
        assert_eq!(reward.score(&episodes).unwrap(), [1.0, -1.0].map(Credit::sequence));
        let joined = reward.criticise(&episodes).unwrap();
        assert_eq!(joined[1].response_tokens(), &*encode("wrongbad").unwrap());
        assert_eq!(joined[1].response.count(), 8);
    }

    #[test]
    fn an_empty_critique_leaves_the_score_as_it_is() {
        let silent = Scripted { answer: |_: &str| String::new(), logp: |_: &str, _: &str| 0.0_f32 };
        let length = rule(|episode: &Episode| episode.response_tokens().len() as f32);
        let reward = Critiqued { writer: &silent, ask, scorer: &length, max_new: 9 };
        let episodes = [Episode::new(&[1], &[2, 3]), Episode::new(&[1], &[2])];
        assert_eq!(reward.score(&episodes).unwrap(), length.score(&episodes).unwrap());
    }
}
