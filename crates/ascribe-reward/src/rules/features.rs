//! Rewards out of named features: "Leveraging Domain Knowledge for Efficient Reward Modelling in RLHF", arXiv:2402.15473.
//!
//! ```text
//! f in R^F = features of (x, y), each with a declared range and direction
//! linear: r = sum_k w_k (f_k - mean_k) / std_k;   network: r = v . relu(W (f - mean) / std + b)
//! ```
//! The linear map from features to reward is fitted on pairs by [`Merge::fit`](crate::Merge::fit), with weights of at
//! least 0 on features of which more is better where `monotone` is asked for; a few hundred pairs suffice. A network
//! ([`FeatureReward::fit_network`]) may see that one feature counts only beside another. Means and deviations
//! come from the training responses alone. The paper's seven features are judgements of opinion summaries; the ones here
//! can be computed from text. A feature that is constant on the training responses says nothing: it gets weight 0 and is
//! named in [`FeatureReward::constant`].

use std::collections::HashSet;

use ascribe_core::{CoreError, Credit, Episode, Scorer};

use super::network::{Network, NetworkConfig};
use crate::error::{not_empty, option, same_length};
use crate::math::{mean, variance, varies};
use crate::text::{parts, word_punct};
use crate::{Merge, RewardError, Standard};

/// Which way a feature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// The values that a feature may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureRange {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// A function of prompt and response.
pub type Extract = dyn Fn(&str, &str) -> f64 + Send + Sync;

/// A named judgement of a response.
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The values that it may have.
    pub range: FeatureRange,
    /// Which way it is good.
    pub direction: Direction,
    /// Its value, given the texts of prompt and response.
    pub extract: Box<Extract>,
}

impl Feature {
    fn value(&self, prompt: &str, response: &str) -> Result<f64, RewardError> {
        let value = (self.extract)(prompt, response);
        let FeatureRange { low, high } = self.range;
        if !(low..=high).contains(&value) {
            let rule = "a feature must stay inside its declared range";
            return Err(RewardError::Shape { rule, got: format!("{value} for `{}` in {low}..={high}", self.name) });
        }
        Ok(value)
    }
}

/// A reward of standardised features.
pub struct FeatureReward {
    features: Vec<Feature>,
    standards: Vec<Standard>,
    map: Map,
    constant: Vec<&'static str>,
}

/// From standardised features to the reward.
enum Map {
    Linear(Merge),
    /// Of the features that vary, by their places.
    Network(Network, Vec<usize>),
}

/// Features of the training pairs, before anything is fitted.
struct Columns {
    /// The chosen response of a pair, then the rejected one.
    rows: Vec<Vec<f64>>,
    standards: Vec<Standard>,
    varying: Vec<usize>,
    constant: Vec<&'static str>,
}

impl Columns {
    fn of(features: &[Feature], pairs: &[(&str, &str, &str)]) -> Result<Self, RewardError> {
        not_empty("the features", features)?;
        not_empty("the pairs", pairs)?;
        let all = |prompt: &str, response: &str| -> Result<Vec<f64>, RewardError> {
            features.iter().map(|feature| feature.value(prompt, response)).collect()
        };
        let mut rows = Vec::with_capacity(2 * pairs.len());
        for (prompt, chosen, rejected) in pairs {
            rows.push(all(prompt, chosen)?);
            rows.push(all(prompt, rejected)?);
        }
        let (mut standards, mut varying, mut constant) = (Vec::new(), Vec::new(), Vec::new());
        for (at, feature) in features.iter().enumerate() {
            let column: Vec<f64> = rows.iter().map(|row| row[at]).collect();
            // The variance of equal values need not be 0 to the last digit, and would blow up a value that differs later.
            let std = if varies(&column) { variance(&column, 0).sqrt() } else { 0.0 };
            if std > 0.0 {
                varying.push(at);
            } else {
                constant.push(feature.name);
            }
            standards.push(Standard { mean: mean(&column), std: if std > 0.0 { std } else { 1.0 } });
        }
        option("the features that vary", "at least 1", varying.len() as f64, !varying.is_empty())?;
        Ok(Self { rows, standards, varying, constant })
    }

    /// The standardised features that vary, each times its sign, of both sides of every pair.
    fn pairs(&self, sign: impl Fn(usize) -> f64) -> Vec<[Vec<f64>; 2]> {
        let side = |row: &Vec<f64>| -> Vec<f64> {
            self.varying.iter().map(|&at| sign(at) * self.standards[at].apply(row[at])).collect()
        };
        self.rows.chunks_exact(2).map(|pair| [side(&pair[0]), side(&pair[1])]).collect()
    }
}

impl FeatureReward {
    /// Fits the weights on pairs of (prompt, chosen, rejected). With `monotone` no feature counts against its direction.
    ///
    /// # Errors
    /// When there is no feature or pair, a feature leaves its range (NaN does), or the merge cannot be fitted.
    pub fn fit(
        features: Vec<Feature>,
        pairs: &[(&str, &str, &str)],
        ridge: f64,
        monotone: bool,
    ) -> Result<Self, RewardError> {
        let columns = Columns::of(&features, pairs)?;
        // Turned so that more is better everywhere; the fitted weights are turned back.
        let sign = |at: usize| if features[at].direction == Direction::Higher { 1.0 } else { -1.0 };
        let fitted = Merge::fit(&columns.pairs(sign), ridge, &vec![monotone; columns.varying.len()])?;
        let mut weights = vec![0.0; features.len()];
        for (&at, weight) in columns.varying.iter().zip(&fitted.weights) {
            weights[at] = sign(at) * weight;
        }
        let Columns { standards, constant, .. } = columns;
        Ok(Self { standards, map: Map::Linear(Merge::new(&weights)?), constant, features })
    }

    /// Fits a network of one hidden layer on pairs of (prompt, chosen, rejected). It heeds no declared direction.
    ///
    /// # Errors
    /// When there is no feature or pair, a feature leaves its range (NaN does), or an option is out of its range.
    pub fn fit_network(
        features: Vec<Feature>,
        pairs: &[(&str, &str, &str)],
        config: &NetworkConfig,
    ) -> Result<Self, RewardError> {
        let columns = Columns::of(&features, pairs)?;
        let network = Network::fit(&columns.pairs(|_| 1.0), config)?;
        let Columns { standards, constant, varying, .. } = columns;
        Ok(Self { standards, map: Map::Network(network, varying), constant, features })
    }

    /// The weight of each standardised feature, in order; none of a network.
    pub fn weights(&self) -> &[f64] {
        match &self.map {
            Map::Linear(merge) => &merge.weights,
            Map::Network(..) => &[],
        }
    }

    /// Features that did not vary on the training responses; check how they are computed.
    pub fn constant(&self) -> &[&'static str] {
        &self.constant
    }

    /// The reward of a response.
    ///
    /// # Errors
    /// When a feature leaves its range.
    pub fn reward(&self, prompt: &str, response: &str) -> Result<f64, RewardError> {
        let value = |(feature, standard): (&Feature, &Standard)| -> Result<f64, RewardError> {
            Ok(standard.apply(feature.value(prompt, response)?))
        };
        let values = self.features.iter().zip(&self.standards).map(value).collect::<Result<Vec<f64>, _>>()?;
        match &self.map {
            Map::Linear(merge) => merge.apply(&values),
            Map::Network(network, varying) => {
                network.apply(&varying.iter().map(|at| values[*at]).collect::<Vec<f64>>())
            }
        }
    }
}

impl Scorer for FeatureReward {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| -> Result<Credit, RewardError> {
            let (prompt, response) = parts(episode)?;
            Ok(Credit::sequence(self.reward(prompt, response)? as f32))
        };
        Ok(episodes.iter().map(one).collect::<Result<Vec<_>, _>>()?)
    }
}

/// Share of `terms` that the response names, whatever their case.
///
/// # Errors
/// When there is no term, or one is empty.
pub fn aspect_coverage(terms: &[&str], response: &str) -> Result<f64, RewardError> {
    not_empty("the terms", terms)?;
    same_length("the terms with a letter", terms.len(), terms.iter().filter(|term| !term.trim().is_empty()).count())?;
    let response = response.to_lowercase();
    let named = terms.iter().filter(|term| response.contains(&term.to_lowercase())).count();
    Ok(named as f64 / terms.len() as f64)
}

/// How far a response stays below `longest` words: 1 for none, 0 at that length and beyond.
///
/// # Errors
/// When `longest` is 0.
pub fn conciseness(response: &str, longest: usize) -> Result<f64, RewardError> {
    option("longest", "at least 1", longest as f64, longest >= 1)?;
    Ok(1.0 - (word_punct(response).len() as f64 / longest as f64).min(1.0))
}

/// Share of the response's content words that stand in `source`; words of fewer than four letters do not count. 1 without any.
pub fn supported_words(source: &str, response: &str) -> f64 {
    let content = |text: &str| -> HashSet<String> {
        let words = word_punct(text).into_iter().filter(|word| word.chars().filter(|l| l.is_alphabetic()).count() >= 4);
        words.map(str::to_lowercase).collect()
    };
    let (source, response) = (content(source), content(response));
    if response.is_empty() { 1.0 } else { response.intersection(&source).count() as f64 / response.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::episode;

    fn feature(name: &'static str, direction: Direction, extract: fn(&str, &str) -> f64) -> Feature {
        Feature { name, range: FeatureRange { low: 0.0, high: 100.0 }, direction, extract: Box::new(extract) }
    }

    fn words() -> Feature {
        feature("words", Direction::Higher, |_, response| word_punct(response).len() as f64)
    }

    /// Of four pairs that differ by one word three are won: with a deviation of s the weight is s ln 3.
    #[test]
    fn one_feature_is_a_logistic_regression_on_the_difference() {
        let pairs = [("q", "a b", "a"), ("q", "a b", "a"), ("q", "a b", "a"), ("q", "a", "a b")];
        let reward = FeatureReward::fit(vec![words()], &pairs, 0.0, false).unwrap();
        // One word and two words, four times each: deviation 1/2.
        assert!((reward.weights()[0] - 0.5 * 3f64.ln()).abs() < 1e-9);
        let margin = reward.reward("q", "a b c").unwrap() - reward.reward("q", "a b").unwrap();
        assert!((margin - 3f64.ln()).abs() < 1e-9);
        let scored = reward.score(&[episode("q ", "a b")]).unwrap()[0].values()[0];
        assert!((f64::from(scored) - 0.5 * 3f64.ln()).abs() < 1e-6, "half a word above the mean");
    }

    #[test]
    fn the_order_of_features_changes_nothing() {
        let letters = || feature("letters", Direction::Lower, |_, response| response.len() as f64);
        let pairs = [("q", "a b", "abc"), ("q", "a b c", "ab"), ("q", "abcd", "a b"), ("q", "a", "abcdef")];
        let there = FeatureReward::fit(vec![words(), letters()], &pairs, 0.1, false).unwrap();
        let back = FeatureReward::fit(vec![letters(), words()], &pairs, 0.1, false).unwrap();
        assert!((there.weights()[0] - back.weights()[1]).abs() < 1e-9);
        assert!((there.weights()[1] - back.weights()[0]).abs() < 1e-9);
        let reward = |fitted: &FeatureReward| fitted.reward("q", "a bc").unwrap();
        assert!((reward(&there) - reward(&back)).abs() < 1e-9);
    }

    /// Two words are right, one and three are not: a network sees it, whatever the constant feature beside, and a line does not.
    #[test]
    fn a_network_of_features_learns_what_no_line_can() {
        let same = || feature("same", Direction::Higher, |_, _| 0.1);
        let pairs = [("q", "a b", "a"), ("q", "a b", "a b c")];
        let config = NetworkConfig::default();
        let network = FeatureReward::fit_network(vec![same(), words()], &pairs, &config).unwrap();
        let reward = |fitted: &FeatureReward, text: &str| fitted.reward("q", text).unwrap();
        assert!(reward(&network, "a b") > reward(&network, "a") && reward(&network, "a b") > reward(&network, "a b c"));
        assert_eq!((network.constant(), network.weights().len()), (&["same"][..], 0));
        let line = FeatureReward::fit(vec![words()], &pairs, 0.1, false).unwrap();
        assert!(reward(&line, "a b") <= reward(&line, "a").max(reward(&line, "a b c")) + 1e-12);
        let scored = network.score(&[episode("q ", "a b")]).unwrap()[0].values()[0];
        assert!((f64::from(scored) - network.reward("q ", "a b").unwrap()).abs() < 1e-5);
        let wrong = NetworkConfig { hidden: 0, ..config };
        assert!(FeatureReward::fit_network(vec![words()], &pairs, &wrong).is_err());
        assert!(FeatureReward::fit_network(vec![], &pairs, &config).is_err());
    }

    #[test]
    fn a_monotone_reward_never_counts_against_a_direction() {
        // Fewer words win, which is against the declared direction.
        let pairs = [("q", "a", "a b"), ("q", "a", "a b c")];
        let free = FeatureReward::fit(vec![words()], &pairs, 0.1, false).unwrap();
        let monotone = FeatureReward::fit(vec![words()], &pairs, 0.1, true).unwrap();
        assert!(free.weights()[0] < 0.0 && monotone.weights() == [0.0]);
    }

    #[test]
    fn constant_features_are_named_and_wrong_ones_refused() {
        let pairs = [("q", "a b", "a")];
        // The mean of equal numbers may be another one: of three times 0.1 it is.
        let pairs = [pairs[0]; 3];
        let same = feature("same", Direction::Higher, |_, _| 0.1);
        let reward = FeatureReward::fit(vec![words(), same], &pairs, 0.1, false).unwrap();
        assert_eq!((reward.constant(), reward.weights()[1]), (&["same"][..], 0.0));
        let outside: [fn(&str, &str) -> f64; 3] = [|_, _| f64::NAN, |_, _| 101.0, |_, _| -1.0];
        for extract in outside {
            let wrong = feature("wrong", Direction::Higher, extract);
            assert!(FeatureReward::fit(vec![words(), wrong], &pairs, 0.1, false).is_err());
        }
        assert!(FeatureReward::fit(vec![], &pairs, 0.1, false).is_err());
        assert!(FeatureReward::fit(vec![words()], &[], 0.1, false).is_err());
    }

    #[test]
    fn text_features_by_hand() {
        assert_eq!(aspect_coverage(&["battery", "screen"], "Great Battery.").unwrap(), 0.5);
        assert!(aspect_coverage(&[], "x").is_err() && aspect_coverage(&[" "], "x").is_err());
        assert_eq!((conciseness("a b", 8).unwrap(), conciseness("a b c", 2).unwrap()), (0.75, 0.0));
        assert_eq!(supported_words("The battery lasts long.", "battery lasts forever"), 2.0 / 3.0);
        assert_eq!(supported_words("x", "so it is"), 1.0);
    }
}
