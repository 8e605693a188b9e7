//! Credit, and its conversion between sequence, turn, step and token.
//!
//! Credit by token has one value for each token of the *episode* (prompt included) and is 0 where the response mask
//! ignores a token, so it lies over the tokens without an offset.

use serde::{Deserialize, Serialize};

use crate::{CoreError, Episode, StepSpans};

/// What one value of a [`Credit`] refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// The whole response.
    Sequence,
    /// One turn of the policy.
    Turn,
    /// One step of the response.
    Step,
    /// One token of the episode.
    Token,
}

impl Granularity {
    fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Turn => "turn",
            Self::Step => "step",
            Self::Token => "token",
        }
    }
}

/// Where a value that belongs to several tokens is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of it on the last token, where an outcome or process reward is paid. Keeps the sum.
    LastToken,
    /// In equal parts on every token. Keeps the sum.
    Spread,
    /// The whole value on every token, as an advantage is.
    Every,
}

/// How several values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduce {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Product.
    Prod,
    /// The last value.
    Last,
}

impl Reduce {
    /// The one value; `None` of none.
    pub fn of(self, values: &[f32]) -> Option<f32> {
        let (last, n) = (*values.last()?, values.len() as f32);
        Some(match self {
            Self::Sum => values.iter().sum(),
            Self::Mean => values.iter().sum::<f32>() / n,
            Self::Min => values.iter().copied().fold(f32::INFINITY, f32::min),
            Self::Max => values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            Self::Prod => values.iter().product(),
            Self::Last => last,
        })
    }
}

/// Credit of one episode at one granularity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credit {
    granularity: Granularity,
    values: Vec<f32>,
}

impl Credit {
    /// One value for the whole response.
    pub fn sequence(value: f32) -> Self {
        Self { granularity: Granularity::Sequence, values: vec![value] }
    }

    /// One value a turn.
    pub fn turns(values: Vec<f32>) -> Self {
        Self { granularity: Granularity::Turn, values }
    }

    /// One value a step.
    pub fn steps(values: Vec<f32>) -> Self {
        Self { granularity: Granularity::Step, values }
    }

    /// One value a token of the episode; values of tokens that do not count are ignored.
    pub fn tokens(values: Vec<f32>) -> Self {
        Self { granularity: Granularity::Token, values }
    }

    /// Token credit from one value for each *response* token, in order.
    ///
    /// # Errors
    /// When there are more or fewer values than response tokens.
    pub fn over_response(episode: &Episode, values: impl IntoIterator<Item = f32>) -> Result<Self, CoreError> {
        let values: Vec<f32> = values.into_iter().collect();
        let expected = episode.response.count();
        if values.len() != expected {
            return Err(CoreError::Length { what: "credit over the response", expected, got: values.len() });
        }
        let mut tokens = vec![0.0; episode.tokens.len()];
        for (at, value) in episode.response.positions().zip(values) {
            tokens[at] = value;
        }
        Ok(Self::tokens(tokens))
    }

    /// What a value refers to.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The values, in order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One value a token, 0 where the mask ignores the token.
    ///
    /// # Errors
    /// When the number of values does not fit the episode, or the episode has no response token.
    pub fn to_tokens(&self, episode: &Episode, place: Place) -> Result<Vec<f32>, CoreError> {
        let mut tokens = vec![0.0; episode.tokens.len()];
        let groups = self.groups(episode)?;
        if self.granularity == Granularity::Token {
            // Already in place: only what the mask ignores is dropped.
            groups.iter().for_each(|group| tokens[group[0]] = self.values[group[0]]);
            return Ok(tokens);
        }
        for (value, group) in self.values.iter().zip(groups) {
            match place {
                Place::LastToken => tokens[group[group.len() - 1]] = *value,
                Place::Spread => group.iter().for_each(|at| tokens[*at] = value / group.len() as f32),
                Place::Every => group.iter().for_each(|at| tokens[*at] = *value),
            }
        }
        Ok(tokens)
    }

    /// One value a step: the reduction of what lies on its tokens.
    ///
    /// # Errors
    /// When the credit is coarser than a step, or does not fit the episode.
    pub fn to_steps(&self, episode: &Episode, reduce: Reduce) -> Result<Vec<f32>, CoreError> {
        match self.granularity {
            Granularity::Step => {
                self.groups(episode)?;
                Ok(self.values.clone())
            }
            Granularity::Token => {
                self.groups(episode)?;
                let steps = by_span(episode, &episode.steps)?;
                let at_step = |at: &Vec<usize>| at.iter().map(|at| self.values[*at]).collect::<Vec<_>>();
                Ok(steps.iter().filter_map(|step| reduce.of(&at_step(step))).collect())
            }
            coarse => Err(CoreError::Granularity {
                from: coarse.name(),
                needs: "credit by step or token (place it on tokens first)".into(),
                got: self.values.len(),
            }),
        }
    }

    /// One value for the response: the reduction of all values that count.
    ///
    /// # Errors
    /// When the number of values does not fit the episode, or the episode has no response token.
    pub fn to_sequence(&self, episode: &Episode, reduce: Reduce) -> Result<f32, CoreError> {
        let groups = self.groups(episode)?;
        let counted = match self.granularity {
            Granularity::Token => groups.iter().map(|group| self.values[group[0]]).collect(),
            _ => self.values.clone(),
        };
        reduce.of(&counted).ok_or(CoreError::EmptyResponse)
    }

    /// Token positions that each value covers; for token credit, the positions that count.
    fn groups(&self, episode: &Episode) -> Result<Vec<Vec<usize>>, CoreError> {
        episode.response.check(episode.tokens.len())?;
        let counted: Vec<usize> = episode.response.positions().collect();
        if counted.is_empty() {
            return Err(CoreError::EmptyResponse);
        }
        let groups = match self.granularity {
            Granularity::Token if self.values.len() == episode.tokens.len() => {
                return Ok(counted.into_iter().map(|at| vec![at]).collect());
            }
            Granularity::Token => {
                let (expected, got) = (episode.tokens.len(), self.values.len());
                return Err(CoreError::Length { what: "credit by token", expected, got });
            }
            Granularity::Step => by_span(episode, &episode.steps)?,
            Granularity::Turn if !episode.turns.is_empty() => by_span(episode, &episode.turns)?,
            Granularity::Sequence | Granularity::Turn => vec![counted],
        };
        if groups.len() != self.values.len() {
            let needs = format!("{} of them", self.values.len());
            return Err(CoreError::Granularity { from: self.granularity.name(), needs, got: groups.len() });
        }
        Ok(groups)
    }
}

/// Positions that count, by span.
fn by_span(episode: &Episode, spans: &StepSpans) -> Result<Vec<Vec<usize>>, CoreError> {
    spans
        .iter()
        .map(|span| {
            let counted: Vec<usize> = span.filter(|at| episode.response.get(*at) == Some(&true)).collect();
            if counted.is_empty() { Err(CoreError::EmptyResponse) } else { Ok(counted) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn episode() -> Episode {
        Episode::new(&[1, 2], &[3, 4, 5, 6]).with_steps(vec![2..4, 4..6]).unwrap()
    }

    #[test]
    fn step_credit_is_paid_on_the_last_token_of_its_step() {
        let credit = Credit::steps(vec![0.5, -1.0]);
        assert_eq!(credit.to_tokens(&episode(), Place::LastToken).unwrap(), [0.0, 0.0, 0.0, 0.5, 0.0, -1.0]);
        assert_eq!(credit.to_tokens(&episode(), Place::Spread).unwrap(), [0.0, 0.0, 0.25, 0.25, -0.5, -0.5]);
        assert_eq!(credit.to_sequence(&episode(), Reduce::Min).unwrap(), -1.0);
    }

    #[test]
    fn token_credit_of_the_prompt_is_ignored() {
        let credit = Credit::tokens(vec![9.0, 9.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(credit.to_tokens(&episode(), Place::Every).unwrap(), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(credit.to_sequence(&episode(), Reduce::Sum).unwrap(), 10.0);
        assert_eq!(credit.to_steps(&episode(), Reduce::Mean).unwrap(), [1.5, 3.5]);
    }

    #[test]
    fn credit_that_does_not_fit_is_refused() {
        assert!(Credit::steps(vec![1.0]).to_tokens(&episode(), Place::Every).is_err());
        assert!(Credit::tokens(vec![1.0; 5]).to_sequence(&episode(), Reduce::Sum).is_err());
        assert!(Credit::sequence(1.0).to_steps(&episode(), Reduce::Sum).is_err());
        assert!(Credit::sequence(1.0).to_sequence(&Episode::new(&[1], &[]), Reduce::Sum).is_err());
    }

    proptest! {
        #[test]
        fn placing_keeps_the_sum(
            steps in prop::collection::vec((1usize..5, -3f32..3.0), 1..6),
            prompt in 0usize..4,
            spread in any::<bool>(),
        ) {
            let mut at = prompt;
            let spans = steps.iter().map(|(n, _)| { at += n; at - n..at }).collect();
            let response = vec![7; at - prompt];
            let episode = Episode::new(&vec![1; prompt], &response).with_steps(spans).unwrap();
            let credit = Credit::steps(steps.iter().map(|(_, value)| *value).collect());
            let place = if spread { Place::Spread } else { Place::LastToken };
            let tokens = Credit::tokens(credit.to_tokens(&episode, place).unwrap());
            let (before, after) = (credit.to_sequence(&episode, Reduce::Sum).unwrap(), tokens.to_sequence(&episode, Reduce::Sum).unwrap());
            prop_assert!((before - after).abs() < 1e-4, "{before} became {after}");
        }
    }
}
