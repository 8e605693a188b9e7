//! Replies to one prompt, each with a score: made of right and wrong replies, of ratings, or of a pair.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::{Choices, DataError, Kind, Place, Preference, Prompt, Rated, Record, Untaught};

/// Replies to one prompt, each with a score.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// What the replies follow.
    pub prompt: Prompt,
    /// The replies with their scores.
    pub replies: Vec<(String, f64)>,
    /// Number of the first row that they come from, from 1.
    pub line: usize,
}

impl Ranked {
    /// The rated replies of each prompt, in the order in which the prompts come; a score is the mean of the ratings.
    pub fn of_ratings(rows: Vec<Rated>) -> Vec<Self> {
        let (mut ranked, mut places) = (Vec::<Self>::new(), HashMap::<String, usize>::new());
        for Rated { prompt, completion, ratings, line } in rows {
            let score = ratings.iter().map(|(_, rating)| rating).sum::<f64>() / ratings.len() as f64;
            let place = *places.entry(prompt.key()).or_insert_with(|| {
                ranked.push(Self { prompt, replies: Vec::new(), line });
                ranked.len() - 1
            });
            ranked[place].replies.push((completion, score));
        }
        ranked
    }
}

impl From<Choices> for Ranked {
    fn from(Choices { prompt, chosen, rejected, line, .. }: Choices) -> Self {
        let side = |replies: Vec<String>, score: f64| replies.into_iter().map(move |reply| (reply, score));
        Self { prompt, replies: side(chosen, 1.0).chain(side(rejected, 0.0)).collect(), line }
    }
}

impl From<Preference> for Ranked {
    /// The chosen reply leads by the margin, or by 1.
    fn from(Preference { prompt, chosen, rejected, margin, line, .. }: Preference) -> Self {
        Self { prompt, replies: vec![(chosen, margin.map_or(1.0, f64::from)), (rejected, 0.0)], line }
    }
}

impl Record for Ranked {
    const KIND: Kind = Kind::Choices;

    fn from_row(place: Place<'_>, row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        Ok(Choices::from_row(place, row)?.map(Self::from))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_of_a_prompt_stand_together() {
        let rated = |prompt: &str, completion: &str, ratings: &[f64], line| Rated {
            prompt: Prompt::Text(prompt.into()),
            completion: completion.into(),
            ratings: ratings.iter().map(|rating| ("x".to_owned(), *rating)).collect(),
            line,
        };
        let rows = vec![rated("p", "a", &[1.0, 4.0], 1), rated("q", "b", &[3.0], 2), rated("p", "c", &[5.0], 3)];
        let ranked = Ranked::of_ratings(rows);
        assert_eq!(ranked[0].replies, [("a".to_owned(), 2.5), ("c".to_owned(), 5.0)]);
        assert_eq!((ranked[1].replies.len(), ranked[1].line, ranked.len()), (1, 2, 2));
    }

    #[test]
    fn right_replies_lead_wrong_ones() {
        let prompt = Prompt::Text("q".into());
        let (chosen, rejected) = (vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]);
        let ranked = Ranked::from(Choices { prompt: prompt.clone(), chosen, rejected, subset: None, line: 3 });
        assert_eq!(ranked.replies.iter().map(|(_, score)| *score).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
        let (chosen, rejected) = ("a".to_owned(), "b".to_owned());
        let (margin, reference, consistency, weight) = (Some(0.5), None, None, None);
        let pair = Preference { prompt, chosen, rejected, margin, reference, consistency, weight, line: 1 };
        assert_eq!(Ranked::from(pair).replies, [("a".to_owned(), 0.5), ("b".to_owned(), 0.0)]);
    }
}
