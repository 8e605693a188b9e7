//! Intrinsic rewards that are distilled while the agent learns: ONI, arXiv:2410.23022, its code.
//!
//! ```text
//! r_t = a_ext r_ext + a_int r_int(caption) n(caption)^(-beta),   n = occurrences in the episode so far, this one included
//! retrieval:      r_int = the annotator's label, 0 while it is unknown
//! classification: r_int = 1[p(caption) > eta]
//! ranking:        r_int = r 1[r > eps],  r the model's score brought to mean 0 and variance 1 by all that was seen
//! ```
//! Captions without a label wait in a queue, the newest first, of which the oldest fall out; whoever has an annotator takes
//! from it with [`Intrinsic::queries`] and gives labels back when they come, so the learner never waits. Models are retrained
//! after every so many labels. The same captions, labels and order of calls give the same rewards. Defaults of the code: beta
//! 3, eta 0.5, eps -0.5; a_int 0.4, a_ext 0.1 for the score task and 10 for sparse ones.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::CaptionModel;
use crate::error::{option, same_length, within};
use crate::{Moments, RewardError};

/// Where the intrinsic reward comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntrinsicForm {
    /// The labels themselves.
    #[default]
    Retrieval,
    /// A model of the labels, above the probability `eta`.
    Classification {
        /// In (0, 1).
        eta: f64,
    },
    /// A model of comparisons, above the normalised score `eps`.
    Ranking {
        /// Finite.
        eps: f64,
    },
}

/// Options of [`Intrinsic`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntrinsicConfig {
    /// Where the reward comes from.
    pub form: IntrinsicForm,
    /// Weight of the environment's reward; finite.
    pub external: f64,
    /// Weight of the intrinsic reward; finite.
    pub internal: f64,
    /// How fast a caption that comes again loses its worth; finite and at least 0.
    pub beta: f64,
    /// Most captions that wait for the annotator; at least 1.
    pub queue: usize,
    /// Labels after which a model is retrained; at least 1.
    pub retrain: usize,
}

impl Default for IntrinsicConfig {
    fn default() -> Self {
        Self { form: IntrinsicForm::default(), external: 0.1, internal: 0.4, beta: 3.0, queue: 1000, retrain: 100 }
    }
}

impl IntrinsicConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is outside its range.
    pub fn init(&self) -> Result<Intrinsic, RewardError> {
        option("external", "finite", self.external, self.external.is_finite())?;
        option("internal", "finite", self.internal, self.internal.is_finite())?;
        option("beta", "finite and at least 0", self.beta, 0.0 <= self.beta && self.beta.is_finite())?;
        option("queue", "at least 1", self.queue as f64, self.queue >= 1)?;
        option("retrain", "at least 1", self.retrain as f64, self.retrain >= 1)?;
        match self.form {
            IntrinsicForm::Retrieval => {}
            IntrinsicForm::Classification { eta } => option("eta", "above 0 and below 1", eta, 0.0 < eta && eta < 1.0)?,
            IntrinsicForm::Ranking { eps } => option("eps", "finite", eps, eps.is_finite())?,
        }
        Ok(Intrinsic {
            config: *self,
            waiting: Vec::new(),
            asked: HashSet::new(),
            labels: Vec::new(),
            known: HashMap::new(),
            comparisons: Vec::new(),
            model: CaptionModel::default(),
            since: 0,
            moments: Moments::default(),
        })
    }
}

/// What an annotator says of two captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preferred {
    /// The first shows more progress.
    First,
    /// The second does.
    Second,
    /// Neither does.
    Tie,
}

/// Intrinsic rewards with their labels, queue and model.
#[derive(Clone, Debug)]
pub struct Intrinsic {
    config: IntrinsicConfig,
    waiting: Vec<String>,
    asked: HashSet<String>,
    labels: Vec<(String, bool)>,
    known: HashMap<String, usize>,
    comparisons: Vec<(String, String, f64)>,
    model: CaptionModel,
    since: usize,
    moments: Moments,
}

impl Intrinsic {
    /// The rewards of one episode from its captions, in order, and the environment's rewards. An empty caption is no
    /// caption: it has no intrinsic reward.
    ///
    /// # Errors
    /// When the lengths differ, or a reward is NaN or infinite.
    pub fn episode(&mut self, captions: &[&str], external: &[f64]) -> Result<Vec<f64>, RewardError> {
        same_length("the external rewards", captions.len(), external.len())?;
        within("an external reward", external, "finite", f64::is_finite)?;
        let intrinsic = self.values(captions)?;
        let mut counts: HashMap<&str, f64> = HashMap::new();
        let IntrinsicConfig { external: a_ext, internal: a_int, beta, .. } = self.config;
        let rewards = captions.iter().zip(external).zip(intrinsic).map(|((caption, external), intrinsic)| {
            let n = counts.entry(*caption).or_insert(0.0);
            *n += 1.0;
            a_ext * external + a_int * intrinsic * n.powf(-beta)
        });
        Ok(rewards.collect())
    }

    /// Intrinsic rewards before they decay; captions that are not known yet join the queue.
    fn values(&mut self, captions: &[&str]) -> Result<Vec<f64>, RewardError> {
        for caption in captions {
            let new = !caption.is_empty() && !self.known.contains_key(*caption) && !self.asked.contains(*caption);
            if new {
                self.asked.insert((*caption).to_owned());
                self.waiting.push((*caption).to_owned());
                if self.waiting.len() > self.config.queue {
                    let oldest = self.waiting.remove(0);
                    self.asked.remove(&oldest);
                }
            }
        }
        let there = |caption: &&str, value: f64| if caption.is_empty() { 0.0 } else { value };
        Ok(match self.config.form {
            IntrinsicForm::Retrieval => {
                let label = |caption: &&str| self.known.get(*caption).is_some_and(|at| self.labels[*at].1);
                captions.iter().map(|caption| there(caption, f64::from(u8::from(label(caption))))).collect()
            }
            IntrinsicForm::Classification { eta } => {
                let over = |caption: &&str| !self.labels.is_empty() && self.model.probability(caption) > eta;
                captions.iter().map(|caption| there(caption, f64::from(u8::from(over(caption))))).collect()
            }
            IntrinsicForm::Ranking { eps } => {
                if self.comparisons.is_empty() || captions.is_empty() {
                    return Ok(vec![0.0; captions.len()]);
                }
                let scores: Vec<f64> = captions.iter().map(|caption| self.model.score(caption)).collect();
                self.moments.add(&scores)?;
                let standard = self.moments.standard();
                let value = |(caption, score): (&&str, &f64)| {
                    let value = standard.apply(*score);
                    there(caption, if value > eps { value } else { 0.0 })
                };
                captions.iter().zip(&scores).map(value).collect()
            }
        })
    }

    /// Up to `n` captions for the annotator, the newest first. They leave the queue.
    pub fn queries(&mut self, n: usize) -> Vec<String> {
        let from = self.waiting.len().saturating_sub(n);
        let mut newest = self.waiting.split_off(from);
        newest.reverse();
        newest
    }

    /// Captions that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the annotator's label of a caption; a second one replaces the first.
    ///
    /// # Errors
    /// When the caption is empty.
    pub fn label(&mut self, caption: &str, label: bool) -> Result<(), RewardError> {
        captioned(caption)?;
        match self.known.get(caption) {
            Some(at) => self.labels[*at].1 = label,
            None => {
                self.known.insert(caption.to_owned(), self.labels.len());
                self.labels.push((caption.to_owned(), label));
            }
        }
        self.waiting.retain(|waiting| waiting != caption);
        if matches!(self.config.form, IntrinsicForm::Classification { .. }) {
            self.learnt();
        }
        Ok(())
    }

    /// Takes the annotator's comparison of two captions.
    ///
    /// # Errors
    /// When one is empty.
    pub fn compare(&mut self, first: &str, second: &str, preferred: Preferred) -> Result<(), RewardError> {
        captioned(first)?;
        captioned(second)?;
        let p = match preferred {
            Preferred::First => 1.0,
            Preferred::Second => 0.0,
            Preferred::Tie => 0.5,
        };
        self.comparisons.push((first.to_owned(), second.to_owned(), p));
        if matches!(self.config.form, IntrinsicForm::Ranking { .. }) {
            self.learnt();
        }
        Ok(())
    }

    /// Retrains when enough has come since the last time; the first label counts at once.
    fn learnt(&mut self) {
        self.since += 1;
        if self.since >= self.config.retrain || self.labels.len() + self.comparisons.len() == 1 {
            self.retrain();
        }
    }

    /// Retrains the model on all that is known.
    pub fn retrain(&mut self) {
        self.since = 0;
        self.model = match self.config.form {
            IntrinsicForm::Retrieval => CaptionModel::default(),
            IntrinsicForm::Classification { .. } => {
                CaptionModel::on_labels(self.labels.iter().map(|(caption, label)| (caption.as_str(), *label)))
            }
            IntrinsicForm::Ranking { .. } => {
                let comparisons = self.comparisons.iter();
                CaptionModel::on_comparisons(
                    comparisons.map(|(first, second, p)| (first.as_str(), second.as_str(), *p)),
                )
            }
        };
    }
}

fn captioned(caption: &str) -> Result<(), RewardError> {
    option("the length of a caption", "at least 1", caption.len() as f64, !caption.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intrinsic(form: IntrinsicForm) -> Intrinsic {
        let config = IntrinsicConfig { form, external: 10.0, internal: 0.4, retrain: 1, ..IntrinsicConfig::default() };
        config.init().unwrap()
    }

    #[test]
    fn retrieval_by_hand() {
        let mut oni = intrinsic(IntrinsicForm::Retrieval);
        let captions = ["key", "key", "wall", ""];
        // Nothing is known: the environment's reward alone.
        assert_eq!(oni.episode(&captions, &[0.0, 0.0, 0.0, 1.0]).unwrap(), [0.0, 0.0, 0.0, 10.0]);
        // The newest first; the empty caption is none.
        assert_eq!(oni.queries(5), ["wall", "key"]);
        assert_eq!(oni.waiting(), 0);
        oni.label("key", true).unwrap();
        oni.label("wall", false).unwrap();
        // 0.4, then 0.4 / 2^3.
        let rewards = oni.episode(&captions, &[0.0, 0.0, 0.0, 1.0]).unwrap();
        assert!(rewards.iter().zip([0.4, 0.05, 0.0, 10.0]).all(|(got, expected)| (got - expected).abs() < 1e-12));
        // Counts are of the episode.
        assert!((oni.episode(&["key"], &[0.0]).unwrap()[0] - 0.4).abs() < 1e-12);
        // What was asked or labelled is not asked again.
        assert_eq!(oni.waiting(), 0);
    }

    #[test]
    fn without_a_weight_the_environment_speaks_alone() {
        let config = IntrinsicConfig { internal: 0.0, external: 1.0, ..IntrinsicConfig::default() };
        let mut oni = config.init().unwrap();
        oni.label("key", true).unwrap();
        assert_eq!(oni.episode(&["key", "wall"], &[0.25, -1.0]).unwrap(), [0.25, -1.0]);
    }

    #[test]
    fn classification_equals_retrieval_on_what_was_seen_and_goes_beyond() {
        let labels = [("a golden key", true), ("a silver key", true), ("a wall", false), ("a cold wall", false)];
        let seen = labels.map(|(caption, _)| caption);
        let (mut retrieval, mut model) =
            (intrinsic(IntrinsicForm::Retrieval), intrinsic(IntrinsicForm::Classification { eta: 0.5 }));
        for (caption, label) in labels {
            retrieval.label(caption, label).unwrap();
            model.label(caption, label).unwrap();
        }
        assert_eq!(retrieval.episode(&seen, &[0.0; 4]).unwrap(), model.episode(&seen, &[0.0; 4]).unwrap());
        let new = ["a rusty key", "an old wall"];
        assert_eq!(retrieval.episode(&new, &[0.0; 2]).unwrap(), [0.0, 0.0]);
        let generalised = model.episode(&new, &[0.0; 2]).unwrap();
        assert!(generalised[0] > 0.0 && generalised[1] == 0.0);
    }

    #[test]
    fn ranking_rewards_what_is_above_the_rest() {
        let mut oni = intrinsic(IntrinsicForm::Ranking { eps: -0.5 });
        assert_eq!(oni.episode(&["a key"], &[0.0]).unwrap(), [0.0]);
        for _ in 0..3 {
            oni.compare("a key", "a wall", Preferred::First).unwrap();
            oni.compare("a trap", "a wall", Preferred::Second).unwrap();
        }
        let rewards = oni.episode(&["a key", "a wall", "a trap"], &[0.0; 3]).unwrap();
        assert!(rewards[0] > 0.0 && rewards[0] > rewards[1] && rewards[2] == 0.0, "{rewards:?}");
        // A tie says that both are alike.
        let mut tied = intrinsic(IntrinsicForm::Ranking { eps: -0.5 });
        tied.compare("a key", "a wall", Preferred::Tie).unwrap();
        let rewards = tied.episode(&["a key", "a wall"], &[0.0; 2]).unwrap();
        assert_eq!(rewards[0], rewards[1]);
    }

    #[test]
    fn the_queue_keeps_the_newest() {
        let mut oni = IntrinsicConfig { queue: 2, ..IntrinsicConfig::default() }.init().unwrap();
        oni.episode(&["a", "b", "c"], &[0.0; 3]).unwrap();
        assert_eq!(oni.queries(1), ["c"]);
        assert_eq!(oni.queries(9), ["b"]);
        // The one that fell out may come again.
        oni.episode(&["a"], &[0.0]).unwrap();
        assert_eq!(oni.queries(9), ["a"]);
    }

    #[test]
    fn the_same_calls_give_the_same_rewards() {
        let run = || {
            let mut oni = intrinsic(IntrinsicForm::Classification { eta: 0.5 });
            let mut all = Vec::new();
            for _ in 0..3 {
                all.extend(oni.episode(&["a key", "a wall", "a door"], &[0.0; 3]).unwrap());
                for caption in oni.queries(1) {
                    oni.label(&caption, caption.contains("key")).unwrap();
                }
            }
            all
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let plain = IntrinsicConfig::default();
        for beta in [-1.0, f64::NAN] {
            assert!(IntrinsicConfig { beta, ..plain }.init().is_err(), "{beta}");
        }
        assert!(IntrinsicConfig { queue: 0, ..plain }.init().is_err());
        assert!(IntrinsicConfig { retrain: 0, ..plain }.init().is_err());
        assert!(IntrinsicConfig { internal: f64::NAN, ..plain }.init().is_err());
        let form = IntrinsicForm::Classification { eta: 1.0 };
        assert!(IntrinsicConfig { form, ..plain }.init().is_err());
        let mut oni = plain.init().unwrap();
        assert!(oni.label("", true).is_err() && oni.compare("", "a", Preferred::Tie).is_err());
        assert!(oni.episode(&["a"], &[]).is_err() && oni.episode(&["a"], &[f64::NAN]).is_err());
    }
}
