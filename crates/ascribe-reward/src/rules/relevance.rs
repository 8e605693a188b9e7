//! R^3, regularised relevance: "Preference-free Alignment Learning with Regularized Relevance Reward", arXiv:2402.03469, its
//! code.
//!
//! ```text
//! open:        r = LI(y) rel(q, y) RP(y)
//! constrained: r = max_len / 100 * rel(reference, y) / 3.5 * RP(y)
//! LI = words / 100;  RP = distinct 3-grams of words / 3-grams, 1 without any;  rel cut from below at 0
//! ```
//! Open questions reward length that stays relevant and does not repeat itself; constrained ones have a reference answer and
//! no length incentive. A word is a run of letters and digits or a run of punctuation. Text behind a role marker or a long
//! blank is not counted, so run-on turns earn nothing. The relevance is a dot product of mean-pooled retriever embeddings in
//! the paper (Contriever, about 0 to 3.5): give it as a [`Relevance`]. [`NGrams`] and [`Bm25`](super::Bm25) need no model; their
//! scales differ, so state which one a reward used. An empty response has reward 0.

use std::collections::{HashMap, HashSet};

use ascribe_core::{CoreError, Credit, Episode, Scorer};

use crate::RewardError;
use crate::error::option;
use crate::text::{parts, word_punct};

/// How much a text has to do with another. Batch first, so that an embedder runs once.
pub trait Relevance: Send + Sync {
    /// The relevance of the second text of each pair to the first.
    fn relevance(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>, CoreError>;
}

impl<F: Fn(&str, &str) -> f64 + Send + Sync> Relevance for F {
    fn relevance(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>, CoreError> {
        Ok(pairs.iter().map(|(a, b)| self(a, b)).collect())
    }
}

/// Cosine of the counts of character n-grams, times `scale`: the fallback that needs no model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NGrams {
    /// Characters of an n-gram; at least 1.
    pub n: usize,
    /// What equal texts score; the embeddings of the paper reach about 3.5.
    pub scale: f64,
}

impl Default for NGrams {
    fn default() -> Self {
        Self { n: 3, scale: 3.5 }
    }
}

impl NGrams {
    fn counts(&self, text: &str) -> HashMap<Vec<char>, f64> {
        let letters: Vec<char> = text.to_lowercase().chars().collect();
        let mut counts = HashMap::new();
        for gram in letters.windows(self.n.max(1)) {
            *counts.entry(gram.to_vec()).or_insert(0.0) += 1.0;
        }
        counts
    }
}

impl Relevance for NGrams {
    fn relevance(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>, CoreError> {
        let one = |(a, b): &(&str, &str)| {
            let (a, b) = (self.counts(a), self.counts(b));
            // Summed over sorted terms, so that no order of a hash map shows.
            let sum = |mut terms: Vec<f64>| {
                terms.sort_by(f64::total_cmp);
                terms.iter().sum::<f64>()
            };
            let shared = sum(a.iter().filter_map(|(gram, count)| Some(count * b.get(gram)?)).collect());
            let square = |counts: &HashMap<Vec<char>, f64>| sum(counts.values().map(|count| count * count).collect());
            let length = (square(&a) * square(&b)).sqrt();
            if length > 0.0 { self.scale * shared / length } else { 0.0 }
        };
        Ok(pairs.iter().map(one).collect())
    }
}

/// What kind of answer a query wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryKind {
    /// A free one.
    Open,
    /// One that agrees with a reference.
    Constrained {
        /// The reference answer.
        reference: String,
    },
}

/// Whether a part of the reward takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// It does.
    #[default]
    On,
    /// It counts as 1.
    Off,
}

/// Options of [`RelevanceReward`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelevanceOptions {
    /// `LI`.
    pub length_incentive: Switch,
    /// `RP`.
    pub repetition_penalty: Switch,
    /// `rel`.
    pub relevance: Switch,
    /// Whether constrained queries are treated in their own way; else all are open.
    pub branching: Switch,
    /// Length that a relevance of 3.5 is worth, in tokens.
    pub max_len: usize,
    /// Marks behind which nothing counts.
    pub stops: Vec<String>,
}

impl Default for RelevanceOptions {
    fn default() -> Self {
        let stops = ["\nHuman:", "\nUser:", "\nAssistant:", "<|im_start|>", "<|user|>", "\n\n\n\n"];
        Self {
            length_incentive: Switch::On,
            repetition_penalty: Switch::On,
            relevance: Switch::On,
            branching: Switch::On,
            max_len: 512,
            stops: stops.map(String::from).to_vec(),
        }
    }
}

/// The relevance that the paper's embeddings reach.
const MOST_RELEVANT: f64 = 3.5;

/// R^3 as a scorer; `kind` says what kind of answer the prompt of an episode wants.
pub struct RelevanceReward<'a, F> {
    relevance: &'a dyn Relevance,
    kind: F,
    options: RelevanceOptions,
}

impl<'a, F: Fn(&Episode) -> QueryKind + Send + Sync> RelevanceReward<'a, F> {
    /// The reward with these options.
    ///
    /// # Errors
    /// When `max_len` is 0, or a stop mark is empty.
    pub fn new(relevance: &'a dyn Relevance, kind: F, options: RelevanceOptions) -> Result<Self, RewardError> {
        option("max_len", "at least 1", options.max_len as f64, options.max_len >= 1)?;
        if options.stops.iter().any(String::is_empty) {
            let rule = "a stop mark needs a character; leave empty ones out";
            return Err(RewardError::Shape { rule, got: "an empty one".to_owned() });
        }
        Ok(Self { relevance, kind, options })
    }

    /// The response up to the first stop mark.
    fn counted<'t>(&self, response: &'t str) -> &'t str {
        let ends = self.options.stops.iter().filter_map(|stop| response.find(stop.as_str()));
        response[..ends.min().unwrap_or(response.len())].trim()
    }

    /// The reward of a response of this relevance.
    fn reward(&self, response: &str, kind: &QueryKind, relevance: f64) -> f64 {
        let words = word_punct(response);
        if words.is_empty() {
            return 0.0;
        }
        let on = |switch: Switch, value: f64| if switch == Switch::On { value } else { 1.0 };
        let options = &self.options;
        let repetition = {
            let grams = words.windows(3);
            let all = grams.len();
            if all == 0 { 1.0 } else { grams.collect::<HashSet<_>>().len() as f64 / all as f64 }
        };
        let repetition = on(options.repetition_penalty, repetition);
        let relevance = relevance.max(0.0);
        match kind {
            QueryKind::Constrained { .. } if options.branching == Switch::On => {
                on(options.relevance, relevance / MOST_RELEVANT * options.max_len as f64 / 100.0) * repetition
            }
            _ => {
                let length = on(options.length_incentive, words.len() as f64 / 100.0);
                length * on(options.relevance, relevance) * repetition
            }
        }
    }
}

impl<F: Fn(&Episode) -> QueryKind + Send + Sync> Scorer for RelevanceReward<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let texts = episodes.iter().map(parts).collect::<Result<Vec<_>, _>>()?;
        let kinds: Vec<QueryKind> = episodes.iter().map(&self.kind).collect();
        let pairs: Vec<(&str, &str)> = texts
            .iter()
            .zip(&kinds)
            .map(|(&(query, response), kind)| match kind {
                QueryKind::Constrained { reference } if self.options.branching == Switch::On => {
                    (reference.as_str(), self.counted(response))
                }
                _ => (query, self.counted(response)),
            })
            .collect();
        let relevance = self.relevance.relevance(&pairs)?;
        crate::error::same_length("the relevances", pairs.len(), relevance.len())?;
        let mut credits = Vec::with_capacity(episodes.len());
        for (((_, response), kind), relevance) in pairs.iter().zip(&kinds).zip(relevance) {
            option("a relevance", "finite", relevance, relevance.is_finite()).map_err(CoreError::from)?;
            credits.push(Credit::sequence(self.reward(response, kind, relevance) as f32));
        }
        Ok(credits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::episode;

    fn score(relevance: f64, kind: QueryKind, options: RelevanceOptions, response: &str) -> f64 {
        let constant = move |_: &str, _: &str| relevance;
        let reward = RelevanceReward::new(&constant, |_: &Episode| kind.clone(), options).unwrap();
        f64::from(reward.score(&[episode("Q? ", response)]).unwrap()[0].values()[0])
    }

    fn constrained() -> QueryKind {
        QueryKind::Constrained { reference: "42".to_owned() }
    }

    /// 12 words with 9 distinct 3-grams of 10; 120 words of the same kind would be worth ten times as much, 1.62.
    #[test]
    fn open_and_constrained_by_hand() {
        // a b c d e f g h a b c i: the 3-gram a b c stands twice, so 9 of 10.
        let text = "a b c d e f g h a b c i";
        let open = score(1.5, QueryKind::Open, RelevanceOptions::default(), text);
        assert!((open - 0.12 * 1.5 * 0.9).abs() < 1e-6, "{open}");
        // 1.5 / 3.5 * 5.12 * 0.9, whatever the length.
        let got = score(1.5, constrained(), RelevanceOptions::default(), text);
        assert!((got - 1.974857).abs() < 1e-6, "{got}");
        // 120 words without a repetition.
        let long: Vec<String> = (0..120).map(|at| if at == 119 { "w0".into() } else { format!("w{at}") }).collect();
        let open = score(1.5, QueryKind::Open, RelevanceOptions::default(), &long.join(" "));
        assert!((open - 1.2 * 1.5).abs() < 1e-6, "{open}");
    }

    #[test]
    fn with_all_switches_off_the_reward_is_1() {
        let off = RelevanceOptions {
            length_incentive: Switch::Off,
            repetition_penalty: Switch::Off,
            relevance: Switch::Off,
            branching: Switch::Off,
            ..RelevanceOptions::default()
        };
        assert_eq!(score(0.3, QueryKind::Open, off.clone(), "some words"), 1.0);
        assert_eq!(score(0.3, constrained(), off, "some words"), 1.0);
    }

    #[test]
    fn repetition_topic_and_length_count_as_they_should() {
        let open = |relevance: f64, text: &str| score(relevance, QueryKind::Open, RelevanceOptions::default(), text);
        assert!(open(1.0, "no no no no no no") < open(1.0, "one two three four five six"));
        assert_eq!(open(0.0, "a long text on something else"), 0.0);
        assert_eq!(open(-2.0, "a long text on something else"), 0.0, "cut from below");
        let constrained = |text: &str| score(1.0, constrained(), RelevanceOptions::default(), text);
        assert!((constrained("one two three") - constrained("one two three four five")).abs() < 1e-6);
        // A run-on turn is not counted, and nothing at all is worth nothing.
        assert_eq!(open(1.0, "one two\nHuman: three four five"), open(1.0, "one two"));
        assert_eq!(open(1.0, "  "), 0.0);
    }

    #[test]
    fn n_grams_know_equal_and_disjoint_texts() {
        let relevance = |a: &str, b: &str| NGrams::default().relevance(&[(a, b)]).unwrap()[0];
        assert!((relevance("the cat", "The cat") - 3.5).abs() < 1e-12);
        assert_eq!((relevance("abc", "xyz"), relevance("ab", "ab")), (0.0, 0.0));
        // abca and abcb share abc of two 3-grams each: cosine 1/2.
        assert!((relevance("abca", "abcb") - 1.75).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let relevance = NGrams::default();
        let new = |options| RelevanceReward::new(&relevance, |_: &Episode| QueryKind::Open, options).is_err();
        assert!(new(RelevanceOptions { max_len: 0, ..RelevanceOptions::default() }));
        assert!(new(RelevanceOptions { stops: vec![String::new()], ..RelevanceOptions::default() }));
        let reward =
            RelevanceReward::new(&relevance, |_: &Episode| QueryKind::Open, RelevanceOptions::default()).unwrap();
        assert!(reward.score(&[Episode::new(&[1], &[2])]).is_err(), "no text");
        let nothing = |_: &str, _: &str| f64::NAN;
        let reward =
            RelevanceReward::new(&nothing, |_: &Episode| QueryKind::Open, RelevanceOptions::default()).unwrap();
        assert!(reward.score(&[episode("Q? ", "A.")]).is_err());
    }
}
