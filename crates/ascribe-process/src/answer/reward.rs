//! The outcome as a reward: 1 for a right answer and 0 otherwise, as credit of the sequence.
//!
//! A response that was cut by a length limit is wrong, whatever stands in it. What is not known is 0 here as well, so a report
//! has to count it apart, by [`AnswerReward::check`].

use ascribe_core::{CoreError, Credit, Episode, Scorer};

use super::{Checked, Checker, Gold, Verdict, Why};
use crate::ProcessError;

/// Checks the text of episodes against the gold answer that `gold` finds for each.
pub struct AnswerReward<G> {
    /// How answers are compared.
    pub checker: Checker,
    /// The gold answer of an episode, by its prompt say.
    pub gold: G,
}

impl<G: Fn(&Episode) -> Result<Gold, ProcessError> + Send + Sync> AnswerReward<G> {
    /// The verdict on one episode.
    ///
    /// # Errors
    /// When it has no text, or no gold answer.
    pub fn check(&self, episode: &Episode) -> Result<Checked, ProcessError> {
        let remedy = "build the episode with `Episode::with_text`";
        let text = episode.response_text().ok_or(ProcessError::Empty { what: "the text of an episode", remedy })?;
        let gold = (self.gold)(episode)?;
        let checked = self.checker.check(text, &gold);
        let cut = !episode.complete && checked.verdict == Verdict::Correct;
        Ok(if cut { Checked { verdict: Verdict::Wrong, why: Why::Truncated, ..checked } } else { checked })
    }
}

impl<G: Fn(&Episode) -> Result<Gold, ProcessError> + Send + Sync> Scorer for AnswerReward<G> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| Ok(Credit::sequence(self.check(episode)?.verdict.reward() as f32));
        episodes.iter().map(credit).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Text;

    use super::*;

    /// One token for the prompt `q` and one for the whole response.
    fn episode(response: &str, complete: bool) -> Episode {
        let text = Text { text: format!("q{response}"), spans: vec![0..1, 1..1 + response.len()] };
        Episode { complete, ..Episode::new(&[1], &[2]).with_text(text).unwrap() }
    }

    #[test]
    fn right_answers_of_whole_responses_are_rewarded() {
        let checker = Checker::default();
        let reward = AnswerReward { checker, gold: |_: &Episode| checker.gold("12") };
        let episodes = [episode("so 12", true), episode("so 13", true), episode("so 12", false), episode("no", true)];
        let credits = reward.score(&episodes).unwrap();
        let values: Vec<f32> = credits.iter().map(|credit| credit.values()[0]).collect();
        assert_eq!(values, [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(reward.check(&episodes[2]).unwrap().why, Why::Truncated);
        assert_eq!(reward.check(&episodes[3]).unwrap().verdict, Verdict::NoAnswer);
        assert!(reward.score(&[Episode::new(&[1], &[2])]).is_err());
        let unknown = AnswerReward { checker, gold: |_: &Episode| checker.gold("") };
        assert!(unknown.score(&episodes).is_err());
    }
}
