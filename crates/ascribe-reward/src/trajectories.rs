//! Data and scoring of agent trajectories: ARMAP, arXiv:2502.12130. The training loss is
//! [`Trajectories`](crate::losses::Trajectories); a price or a length enters by [`Sum`](crate::Sum).
//!
//! An annotator proposes an intent that a random trajectory fulfils, and a similar trajectory that fails. Where the
//! environment shows its final state, the intent is checked against it. Then intents are taken once, and tasks are balanced:
//! each has as many triplets as the task with the fewest.

use std::collections::{HashMap, HashSet};

use ascribe_core::{CoreError, Credit, Episode, Reduce, Scorer, Tokens};

/// An intent with a trajectory that fulfils it and one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triplet<T> {
    /// The kind of task.
    pub task: String,
    /// What is wanted, in words.
    pub intent: String,
    /// What fulfils it.
    pub positive: T,
    /// What does not.
    pub negative: T,
    /// Whether the final state agrees with the intent; `None` where the environment does not say.
    pub verified: Option<bool>,
}

/// What became of the triplets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Indices of the triplets to train on, increasing.
    pub kept: Vec<usize>,
    /// Triplets whose intent the final state contradicts.
    pub contradicted: usize,
    /// Triplets with the same trajectory twice.
    pub equal: usize,
    /// Triplets without an intent.
    pub blank: usize,
    /// Triplets whose intent came before.
    pub repeated: usize,
    /// Triplets of tasks that have more than others.
    pub surplus: usize,
}

/// Chooses the triplets to train on. One that says nothing, with equal trajectories or a blank intent, is no error: annotators
/// write such triplets, so they are left out and counted.
pub fn keep_triplets<T: PartialEq>(triplets: &[Triplet<T>]) -> Kept {
    let mut report = Kept::default();
    let mut seen = HashSet::new();
    let mut tasks: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, triplet) in triplets.iter().enumerate() {
        if triplet.verified == Some(false) {
            report.contradicted += 1;
        } else if triplet.positive == triplet.negative {
            report.equal += 1;
        } else if triplet.intent.trim().is_empty() {
            report.blank += 1;
        } else if !seen.insert((triplet.task.as_str(), triplet.intent.trim().to_lowercase())) {
            report.repeated += 1;
        } else {
            tasks.entry(&triplet.task).or_default().push(at);
        }
    }
    let fewest = tasks.values().map(Vec::len).min().unwrap_or(0);
    for rows in tasks.values() {
        report.surplus += rows.len() - fewest;
        report.kept.extend(&rows[..fewest]);
    }
    report.kept.sort_unstable();
    report
}

/// A scorer that does not see what stands behind the first of these end tokens, which stays.
pub struct UntilEnd<'a> {
    /// What scores the rest.
    pub scorer: &'a dyn Scorer,
    /// Tokens that end a response.
    pub end: Vec<u32>,
}

impl UntilEnd<'_> {
    fn cut(&self, episode: &Episode) -> Episode {
        let mut places = episode.response.positions();
        let Some(last) = places.find(|&at| episode.tokens.get(at).is_some_and(|token| self.end.contains(token))) else {
            return episode.clone();
        };
        let mut short = Episode {
            tokens: Tokens::from(&episode.tokens[..=last]),
            response: episode.response[..=last].to_vec().into(),
            complete: episode.complete,
            ..Episode::default()
        };
        short.text = episode.text.clone().filter(|text| last < text.spans.len());
        if let Some(text) = &mut short.text {
            text.spans.truncate(last + 1);
            let end = text.spans[last].end.min(text.text.len());
            // A token may end inside a character of several; the text then keeps the whole of it.
            let end = (end..=text.text.len()).find(|&at| text.text.is_char_boundary(at)).unwrap_or(end);
            text.text.truncate(end);
        }
        short
    }
}

impl Scorer for UntilEnd<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let short: Vec<Episode> = episodes.iter().map(|episode| self.cut(episode)).collect();
        let credits = self.scorer.score(&short)?;
        let reward = |(credit, episode): (&Credit, &Episode)| credit.to_sequence(episode, Reduce::Sum);
        credits.iter().zip(&short).map(|both| reward(both).map(Credit::sequence)).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;

    use super::*;
    use crate::text::tests::episode;

    fn triplet(task: &str, intent: &str, negative: u8, verified: Option<bool>) -> Triplet<u8> {
        Triplet { task: task.into(), intent: intent.into(), positive: 1, negative, verified }
    }

    #[test]
    fn triplets_are_checked_and_balanced() {
        let triplets = [
            triplet("shop", "a red cup", 0, Some(true)),
            triplet("shop", "A red cup ", 0, None),
            triplet("shop", "a blue cup", 0, Some(false)),
            triplet("shop", "a green cup", 1, None),
            triplet("shop", "a large cup", 0, None),
            triplet("grid", "the key", 0, None),
            triplet("grid", " ", 0, None),
        ];
        let expected = Kept { kept: vec![0, 5], contradicted: 1, equal: 1, blank: 1, repeated: 1, surplus: 1 };
        assert_eq!(keep_triplets(&triplets), expected);
        assert_eq!(keep_triplets::<u8>(&[]), Kept::default());
    }

    #[test]
    fn what_follows_the_end_token_is_not_scored() {
        let length = rule(|episode: &Episode| episode.response_tokens().len() as f32);
        let scorer = UntilEnd { scorer: &length, end: vec![0] };
        let episodes = [Episode::new(&[0, 1], &[5, 0, 9, 9]), Episode::new(&[1], &[5, 6]), Episode::new(&[1], &[0])];
        let expected = [2.0, 2.0, 1.0].map(Credit::sequence);
        assert_eq!(scorer.score(&episodes).unwrap(), expected);
        let text = scorer.cut(&Episode { tokens: vec![1, 5, 0, 9].into(), ..episode("q", "abc") });
        assert_eq!(text.response_text(), Some("ab"));
    }
}
