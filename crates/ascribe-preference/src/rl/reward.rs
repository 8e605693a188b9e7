//! Rewards that can be checked: a judge of the text of a response that knows the row of its prompt.
//!
//! A scorer sees episodes. Which answer belongs to one is found by the tokens of its prompt, so any [`Scorer`] goes with any
//! data, and a reward over rows is a closure.

use std::collections::HashMap;

use ascribe_core::{CoreError, Credit, Episode, Granularity, Place, Reduce, Scorer, Tokens};
use ascribe_data::PromptOnly;
use serde_json::Value;

use super::source::Metrics;
use crate::PreferenceError;

/// A prompt as the policy sees it, with the row that it came from.
pub type PromptRow = (Tokens, PromptOnly);

/// Makes a scorer for prompts.
pub type MakeReward = fn(&[PromptRow]) -> Result<Box<dyn Scorer>, PreferenceError>;

/// Columns that hold the right answer, the first of them that is there.
const ANSWERS: [&str; 4] = ["answer", "ground_truth", "solution", "label"];

/// Every reward by the name that the command line uses.
pub const REWARDS: [(&str, MakeReward); 2] = [
    ("arithmetic", |rows| {
        let number = |line, answer: String| last_number(&answer).ok_or(PreferenceError::NoNumber { line, answer });
        let answers = answers(rows, number)?;
        let right = move |row: &PromptOnly, response: &str| {
            let wanted = answers.get(&row.line).copied();
            f32::from(u8::from(wanted.is_some() && last_number(response) == wanted))
        };
        Ok(Box::new(of_text(rows, right)?))
    }),
    ("exact", |rows| {
        let answers = answers(rows, |_, answer| Ok(answer))?;
        let right = move |row: &PromptOnly, response: &str| {
            f32::from(u8::from(answers.get(&row.line).is_some_and(|answer| answer.trim() == response.trim())))
        };
        Ok(Box::new(of_text(rows, right)?))
    }),
];

/// The answer of each row as it is `read`, by its line.
fn answers<T>(
    rows: &[PromptRow],
    read: impl Fn(usize, String) -> Result<T, PreferenceError>,
) -> Result<HashMap<usize, T>, PreferenceError> {
    let answer = |row: &PromptOnly| {
        let found = ANSWERS.iter().find_map(|column| row.others.get(*column))?;
        match found {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    let one = |(_, row): &PromptRow| {
        let found = answer(row).ok_or(PreferenceError::Answer { line: row.line, columns: ANSWERS.join(", ") })?;
        Ok((row.line, read(row.line, found)?))
    };
    rows.iter().map(one).collect()
}

/// The last number in a text, with thousands marked by commas or not.
///
/// ```
/// use ascribe_preference::rl::last_number;
/// assert_eq!(last_number("3 + 4 = 7, so it is #### 1,234.5."), Some(1234.5));
/// assert_eq!(last_number("x = -2"), Some(-2.0));
/// assert_eq!(last_number("none"), None);
/// ```
pub fn last_number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let last = bytes.iter().rposition(u8::is_ascii_digit)?;
    let part_of = |at: usize| {
        let between = at > 0 && bytes[at - 1].is_ascii_digit() && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        bytes[at].is_ascii_digit() || (between && matches!(bytes[at], b',' | b'.'))
    };
    let first = (0..=last).rev().take_while(|at| part_of(*at)).last()?;
    let negative = first > 0 && bytes[first - 1] == b'-' && !(first > 1 && bytes[first - 2].is_ascii_digit());
    let number: f64 = text[first..=last].replace(',', "").parse().ok()?;
    Some(if negative { -number } else { number })
}

/// A scorer of response texts by a judge; see [`of_text`].
pub struct TextReward<J> {
    rows: HashMap<Tokens, PromptOnly>,
    judge: J,
}

/// A scorer whose judge is told the row of the prompt and the text of the response. It gives a number, or an `Option` of one,
/// which is `None` where nobody can judge; a number that is not finite is an error which names the row.
///
/// # Errors
/// [`PreferenceError::SamePrompt`] when two rows with the same prompt differ: nobody could tell which one is meant.
pub fn of_text<J, S>(rows: &[PromptRow], judge: J) -> Result<TextReward<J>, PreferenceError>
where
    J: Fn(&PromptOnly, &str) -> S + Send + Sync,
    S: Into<Option<f32>>,
{
    let mut by_prompt: HashMap<Tokens, PromptOnly> = HashMap::with_capacity(rows.len());
    for (prompt, row) in rows {
        let known = by_prompt.entry(prompt.clone()).or_insert_with(|| row.clone());
        if known.others != row.others {
            return Err(PreferenceError::SamePrompt { first: known.line, second: row.line });
        }
    }
    Ok(TextReward { rows: by_prompt, judge })
}

impl<J, S> Scorer for TextReward<J>
where
    J: Fn(&PromptOnly, &str) -> S + Send + Sync,
    S: Into<Option<f32>>,
{
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| {
            let prompt = Tokens::from(episode.prompt_tokens());
            let row = self.rows.get(&prompt).ok_or(CoreError::MissingEvidence("the row of the prompt"))?;
            let text = episode.response_text().ok_or(CoreError::MissingEvidence("text"))?;
            let score: Option<f32> = (self.judge)(row, text).into();
            if let Some(got) = score.filter(|score| !score.is_finite()) {
                return Err(CoreError::Other(Box::new(PreferenceError::Reward { line: row.line, got })));
            }
            Ok(Credit::sequence(score.unwrap_or(f32::NAN)))
        };
        episodes.iter().map(one).collect()
    }
}

/// The credits of a scorer, one an episode. A NaN is none.
///
/// # Errors
/// What the scorer says, and when there are more or fewer credits than episodes or one that counts is infinite.
pub fn credits(scorer: &dyn Scorer, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
    let credits = scorer.score(episodes)?;
    if credits.len() != episodes.len() {
        let got = format!("{} credits for {} responses", credits.len(), episodes.len());
        return Err(CoreError::Shape { rule: "a scorer gives one credit a response", got });
    }
    for (at, (credit, episode)) in credits.iter().zip(episodes).enumerate() {
        let by_token = credit.granularity() == Granularity::Token;
        let counts = |place: usize| !by_token || episode.response.positions().any(|at| at == place);
        let infinite = credit.values().iter().enumerate().find(|(place, value)| value.is_infinite() && counts(*place));
        if let Some((_, value)) = infinite {
            let rule = "a reward must be finite, or a NaN where nobody can judge the response";
            let got = format!("{value} for response {} of {}", at + 1, credits.len());
            return Err(CoreError::Shape { rule, got });
        }
    }
    Ok(credits)
}

/// Several scorers as one: the sum of their scores, each times its weight. Scores of steps or tokens stay in their places, and
/// one of the whole response is paid at its last token then. A score that is a NaN is none and is left out; where all are, so
/// is the sum.
pub struct WeightedRewards {
    parts: Vec<(Box<dyn Scorer>, f64)>,
    names: Vec<String>,
}

impl WeightedRewards {
    /// The sum of `parts`, each with its weight.
    ///
    /// # Errors
    /// When there is none, or a weight is not finite.
    pub fn new(parts: Vec<(Box<dyn Scorer>, f64)>) -> Result<Self, PreferenceError> {
        if parts.is_empty() {
            let (name, rule) = ("the number of rewards", "at least 1");
            return Err(CoreError::Range { name, rule, got: 0.0 }.into());
        }
        match parts.iter().find(|(_, weight)| !weight.is_finite()) {
            Some((_, got)) => Err(CoreError::Range { name: "reward_weights", rule: "finite", got: *got }.into()),
            None => Ok(Self { parts, names: Vec::new() }),
        }
    }

    /// The same with a name of each part, under which its mean is logged.
    ///
    /// # Errors
    /// When there is not one name a part.
    pub fn with_names(self, names: Vec<String>) -> Result<Self, PreferenceError> {
        let (expected, got) = (self.parts.len(), names.len());
        if expected != got {
            return Err(CoreError::Length { what: "the names of rewards", expected, got }.into());
        }
        Ok(Self { names, ..self })
    }

    /// The credits of each part, a list a part.
    fn columns(&self, episodes: &[Episode]) -> Result<Vec<Vec<Credit>>, CoreError> {
        self.parts.iter().map(|(scorer, _)| credits(scorer.as_ref(), episodes)).collect()
    }

    /// The sums of the columns.
    fn summed(&self, columns: Vec<Vec<Credit>>, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        if let ([(_, weight)], [only]) = (self.parts.as_slice(), columns.as_slice())
            && *weight == 1.0
        {
            // One alone is what it is.
            return Ok(only.clone());
        }
        let parts =
            |at: usize| columns.iter().zip(&self.parts).map(move |(column, (_, weight))| (&column[at], *weight));
        let one = |(at, episode): (usize, &Episode)| -> Result<Credit, CoreError> {
            if parts(at).all(|(credit, _)| credit.granularity() == Granularity::Sequence) {
                let mut sum = f64::NAN;
                for (credit, weight) in parts(at) {
                    let score = weight * f64::from(credit.to_sequence(episode, Reduce::Sum)?);
                    if !score.is_nan() {
                        sum = if sum.is_nan() { score } else { sum + score };
                    }
                }
                return Ok(Credit::sequence(sum as f32));
            }
            let mut sums: Option<Vec<f32>> = None;
            for (credit, weight) in parts(at) {
                let tokens = credit.to_tokens(episode, Place::LastToken)?;
                if tokens.iter().any(|token| token.is_nan()) {
                    continue;
                }
                let sums = sums.get_or_insert_with(|| vec![0.0; tokens.len()]);
                sums.iter_mut().zip(tokens).for_each(|(sum, token)| *sum += (weight * f64::from(token)) as f32);
            }
            Ok(sums.map_or(Credit::sequence(f32::NAN), Credit::tokens))
        };
        episodes.iter().enumerate().map(one).collect()
    }

    /// The sums, and the mean of each part that has a name in the log, whatever its weight.
    pub(super) fn scored_and_told(
        &self,
        episodes: &[Episode],
        metrics: &mut Metrics,
    ) -> Result<Vec<Credit>, CoreError> {
        let columns = self.columns(episodes)?;
        for (name, column) in self.names.iter().zip(&columns) {
            let mut scores = Vec::with_capacity(episodes.len());
            for (credit, episode) in column.iter().zip(episodes) {
                scores.push(f64::from(credit.to_sequence(episode, Reduce::Sum)?));
            }
            scores.retain(|score| !score.is_nan());
            if !scores.is_empty() {
                metrics.push(&format!("rewards/{name}/mean"), scores.iter().sum::<f64>() / scores.len() as f64);
            }
        }
        self.summed(columns, episodes)
    }
}

impl Scorer for WeightedRewards {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        self.summed(self.columns(episodes)?, episodes)
    }

    fn memory(&self) -> Vec<f64> {
        self.parts.iter().flat_map(|(scorer, _)| scorer.memory()).collect()
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        let lengths: Vec<usize> = self.parts.iter().map(|(scorer, _)| scorer.memory().len()).collect();
        let (expected, got) = (lengths.iter().sum::<usize>(), memory.len());
        if expected != got {
            return Err(CoreError::Length { what: "the memory of rewards", expected, got });
        }
        let mut rest = memory;
        for ((scorer, _), length) in self.parts.iter().zip(lengths) {
            let (own, behind) = rest.split_at(length);
            scorer.remember(own)?;
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::{Text, rule};
    use ascribe_data::Prompt;
    use serde_json::Map;

    use super::*;

    #[test]
    fn a_number_that_is_none_is_an_error_of_its_row_and_no_verdict_is_none() {
        let row = PromptOnly { prompt: Prompt::Text("q".to_owned()), others: Map::new(), line: 4 };
        let rows = [(Tokens::from(vec![1u32]), row)];
        let text = Text { spans: vec![0..1, 1..2], text: "qa".to_owned() };
        let episode = Episode::new(&[1], &[2]).with_text(text).unwrap();
        let judged = |score: Option<f32>| {
            let scorer = of_text(&rows, move |_, _| score).unwrap();
            credits(&scorer, std::slice::from_ref(&episode)).map(|credits| credits[0].values()[0])
        };
        assert_eq!(judged(Some(2.0)).unwrap(), 2.0);
        assert!(judged(None).unwrap().is_nan());
        for (wrong, said) in [(f32::NAN, "got NaN"), (f32::INFINITY, "got inf"), (f32::NEG_INFINITY, "got -inf")] {
            let error = judged(Some(wrong)).unwrap_err().to_string();
            let rule = format!("a reward must be finite, {said} for a response to the prompt of line 4");
            assert!(error.starts_with(&rule) && error.contains("give None"), "{error}");
        }
        // A judge may give plain numbers.
        let scorer = of_text(&rows, |_, text| text.len() as f32).unwrap();
        assert_eq!(scorer.score(std::slice::from_ref(&episode)).unwrap(), [Credit::sequence(1.0)]);
    }

    #[test]
    fn an_infinite_reward_is_refused_and_what_does_not_count_may_be_anything() {
        /// The credit of every episode.
        struct Fixed(Credit);
        impl Scorer for Fixed {
            fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
                Ok(vec![self.0.clone(); episodes.len()])
            }
        }
        let two = [Episode::new(&[1], &[2]), Episode::new(&[1], &[3])];
        let last = rule(|episode: &Episode| if episode.tokens[1] == 3 { f32::NEG_INFINITY } else { f32::NAN });
        let error = credits(&last, &two).unwrap_err().to_string();
        assert_eq!(
            error,
            "a reward must be finite, or a NaN where nobody can judge the response, got -inf for response 2 of 2"
        );
        assert!(credits(&Fixed(Credit::tokens(vec![0.0, f32::INFINITY])), &two).is_err());
        assert!(credits(&Fixed(Credit::tokens(vec![f32::INFINITY, 0.0])), &two).is_ok());
        // Two infinities would add up to a NaN, which says something else.
        let parts: Vec<(Box<dyn Scorer>, f64)> =
            vec![(Box::new(Fixed(Credit::sequence(f32::INFINITY))), 1.0), (Box::new(last), 1.0)];
        assert!(WeightedRewards::new(parts).unwrap().score(&two).is_err());
    }

    /// Forgets all episodes but the first.
    struct One;

    impl Scorer for One {
        fn score(&self, _: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(vec![Credit::sequence(1.0)])
        }
    }

    #[test]
    fn a_part_that_forgets_an_episode_is_told_so() {
        let two = [Episode::new(&[1], &[2]), Episode::new(&[1], &[3])];
        let sum = |part: Box<dyn Scorer>| {
            let half: Box<dyn Scorer> = Box::new(rule(|episode: &Episode| episode.response_tokens()[0] as f32 / 2.0));
            let sum = WeightedRewards::new(vec![(half, 2.0), (part, 1.0)]).unwrap();
            let credits = sum.score(&two)?;
            let scores = credits.iter().zip(&two).map(|(credit, episode)| credit.to_sequence(episode, Reduce::Sum));
            scores.collect::<Result<Vec<f32>, CoreError>>()
        };
        assert_eq!(sum(Box::new(rule(|_: &Episode| -1.0))).unwrap(), [1.0, 2.0]);
        assert!(matches!(sum(Box::new(One)), Err(CoreError::Shape { .. })));
    }

    /// Remembers one number.
    struct Remembers(std::sync::Mutex<f64>);

    impl Scorer for Remembers {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            let number = *self.0.lock().expect("nobody panics");
            Ok(vec![Credit::sequence(number as f32); episodes.len()])
        }

        fn memory(&self) -> Vec<f64> {
            vec![*self.0.lock().expect("nobody panics")]
        }

        fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
            *self.0.lock().expect("nobody panics") = memory[0];
            Ok(())
        }
    }

    #[test]
    fn each_part_takes_its_own_memory_back() {
        let part =
            |number: f64| -> (Box<dyn Scorer>, f64) { (Box::new(Remembers(std::sync::Mutex::new(number))), 1.0) };
        let plain: Box<dyn Scorer> = Box::new(rule(|_: &Episode| 0.0));
        let sum = WeightedRewards::new(vec![part(1.0), (plain, 1.0), part(2.0)]).unwrap();
        assert_eq!(sum.memory(), [1.0, 2.0]);
        sum.remember(&[5.0, 7.0]).unwrap();
        assert_eq!(sum.memory(), [5.0, 7.0]);
        let score = sum.score(&[Episode::new(&[1], &[2])]).unwrap();
        assert_eq!(score, [Credit::sequence(12.0)]);
        assert!(sum.remember(&[1.0]).is_err() && One.remember(&[1.0]).is_err() && One.remember(&[]).is_ok());
    }

    /// Three tokens of a response in two steps, worth 1 and 2.
    struct Steps;

    impl Scorer for Steps {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(episodes.iter().map(|_| Credit::steps(vec![1.0, 2.0])).collect())
        }
    }

    #[test]
    fn rewards_of_steps_stay_in_their_places_beside_one_of_the_whole() {
        let episode = Episode::new(&[1], &[2, 3, 4]).with_steps(vec![1..2, 2..4]).unwrap();
        let episodes = std::slice::from_ref(&episode);
        let summed = |whole: f32| {
            let whole: Box<dyn Scorer> = Box::new(rule(move |_: &Episode| whole));
            let steps: Box<dyn Scorer> = Box::new(Steps);
            let names = ["steps", "whole"].map(str::to_owned).to_vec();
            WeightedRewards::new(vec![(steps, 0.5), (whole, 4.0)]).unwrap().with_names(names).unwrap()
        };
        // Half of 1 at the end of the first step; half of 2, and 4 times 10, at the end of the second.
        assert_eq!(summed(10.0).score(episodes).unwrap(), [Credit::tokens(vec![0.0, 0.5, 0.0, 41.0])]);
        // What the whole is worth nobody can say.
        assert_eq!(summed(f32::NAN).score(episodes).unwrap(), [Credit::tokens(vec![0.0, 0.5, 0.0, 1.0])]);
        let mut metrics = Metrics::default();
        let told = summed(10.0).scored_and_told(episodes, &mut metrics).unwrap();
        assert_eq!(told, [Credit::tokens(vec![0.0, 0.5, 0.0, 41.0])]);
        let mean = |name: &str| metrics.get(name);
        assert_eq!([mean("rewards/steps/mean"), mean("rewards/whole/mean")], [Some(3.0), Some(10.0)]);
        assert!(summed(1.0).with_names(vec!["one".to_owned()]).is_err());
    }
}
