//! `reward.json`, which lies beside the weights of a reward model and says what its scores mean. Other software leaves it
//! alone: the weights are a classifier of sequences.

use std::path::Path;

use ascribe_lm::Pooling;
use serde::{Deserialize, Serialize};

use crate::error::{finite, option, same_length, within};
use crate::losses::GeneralPreferenceConfig;
use crate::{RewardError, Standard, Writing};

/// The name of the file.
pub const CARD: &str = "reward.json";

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardCard {
    /// The loss that the head learned from, by its name.
    pub loss: String,
    /// Which states of a text the head reads; other software reads the last one alone.
    pub pooling: Pooling,
    /// How the scores of a response become its reward.
    pub reading: Reading,
    /// Mean squared error of each attribute on responses that were held out; empty where it was not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variances: Vec<f64>,
    /// Mean and deviation of the rewards of responses like those that it learned from: for ensembles, whose members are
    /// brought to one scale. The reward itself is not changed by it.
    pub standard: Standard,
    /// What is written before a response is scored; nothing for most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<Writing>,
}

impl Default for RewardCard {
    fn default() -> Self {
        Self {
            loss: "bradley-terry".to_owned(),
            pooling: Pooling::Last,
            reading: Reading::Score,
            variances: Vec::new(),
            standard: Standard::NONE,
            writes: None,
        }
    }
}

/// How the scores of a response become its reward.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The only score is the reward.
    #[default]
    Score,
    /// Each score is an attribute, and the reward their weighted sum.
    Attributes {
        /// Names of the attributes.
        names: Vec<String>,
        /// What each counts for.
        weights: Vec<f64>,
    },
    /// The scores are a preference vector; the reward is the mean log-odds of winning against the other responses to the
    /// prompt that are scored in the same call.
    Preference(GeneralPreferenceConfig),
    /// The scores are the energies of label and concepts given the text ([`ConceptEnergy`](crate::losses::ConceptEnergy)); the
    /// reward is the log-odds of the good label, inferred together with the concepts.
    Concepts {
        /// Names of the concepts; at most 16.
        names: Vec<String>,
        /// Energies of the label (bad, good) given each set of concepts, whose bits are its index.
        joint: Vec<[f64; 2]>,
        /// What the energies of the label, of the concepts, and of the label given the concepts count for.
        weights: [f64; 3],
    },
    /// Mean and deviation of several heads; the reward is the robust one.
    Heads {
        /// Weight of the most certain head; the rest is that of the most cautious one. In [0, 1].
        lambda: f64,
    },
}

impl Reading {
    /// Checks that a head with so many scores can be read so.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self, labels: usize) -> Result<(), RewardError> {
        match self {
            Self::Score => {
                option("the scores of a reward model without `reward.json`", "1", labels as f64, labels == 1)
            }
            Self::Attributes { names, weights } => {
                same_length("the attributes", labels, names.len())?;
                same_length("the weights of the attributes", labels, weights.len())?;
                finite("the weights of the attributes", weights)
            }
            Self::Preference(config) => {
                let width = crate::RewardLoss::needs(&config.init()?).width;
                same_length("the scores of a preference vector", width, labels)
            }
            Self::Concepts { names, joint, weights } => {
                let count = names.len();
                option("concepts", "from 1 to 16", count as f64, (1..=16).contains(&count))?;
                same_length("the scores of a head of concepts", 2 * count + 4, labels)?;
                same_length("the joint energies", 1 << count, joint.len())?;
                finite("the joint energies", joint.as_flattened())?;
                within("the weight of an energy", weights, "finite and at least 0", |w| 0.0 <= w && w.is_finite())
            }
            Self::Heads { lambda } => {
                option("lambda", "in [0, 1]", *lambda, (0.0..=1.0).contains(lambda))?;
                let even = labels >= 2 && labels.is_multiple_of(2);
                option("the scores of uncertain heads", "even and at least 2", labels as f64, even)
            }
        }
    }
}

impl RewardCard {
    /// The card in `folder`; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or has an entry that is not known.
    pub fn read(folder: &Path) -> Result<Option<Self>, RewardError> {
        let path = folder.join(CARD);
        if !path.is_file() {
            return Ok(None);
        }
        let refuse = |why: String| RewardError::Card { path: path.clone(), why };
        let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
        let card: Self = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        let above_0 = |x: f64| 0.0 < x && x.is_finite();
        if !(card.standard.mean.is_finite() && above_0(card.standard.std)) {
            return Err(refuse("`standard` must have a finite mean and a finite std above 0".to_owned()));
        }
        if !card.variances.iter().copied().all(above_0) {
            return Err(refuse("`variances` must be finite and above 0".to_owned()));
        }
        Ok(Some(card))
    }

    /// What is written into the file.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("invariant: a card is plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards() -> [RewardCard; 5] {
        let of = |reading: Reading| RewardCard {
            loss: "x".to_owned(),
            pooling: Pooling::Mean,
            reading,
            variances: vec![0.5, 1.5],
            standard: Standard { mean: 1.5, std: 2.0 },
            writes: Some(Writing::Critique { max_new: 7 }),
        };
        [
            RewardCard::default(),
            of(Reading::Attributes { names: vec!["a".into(), "b".into()], weights: vec![0.5, -1.0] }),
            of(Reading::Preference(GeneralPreferenceConfig { dim: 4, ..GeneralPreferenceConfig::default() })),
            of(Reading::Heads { lambda: 0.25 }),
            of(Reading::Concepts {
                names: vec!["polite".into()],
                joint: vec![[0.5, 1.0], [1.0, 0.25]],
                weights: [1.0, 1.0, 0.01],
            }),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RewardCard::read(folder.path()).unwrap(), None);
        for card in cards() {
            std::fs::write(folder.path().join(CARD), card.to_text()).unwrap();
            assert_eq!(RewardCard::read(folder.path()).unwrap(), Some(card));
        }
        // A card of which less is known reads the last token.
        std::fs::write(folder.path().join(CARD), "{\"loss\": \"ties\"}").unwrap();
        let known = RewardCard { loss: "ties".to_owned(), ..RewardCard::default() };
        assert_eq!(RewardCard::read(folder.path()).unwrap(), Some(known));
        let wrong = ["{", "{\"lambda\": 1}", "{\"standard\": {\"mean\": 0, \"std\": 0}}"];
        for wrong in wrong.into_iter().chain(["{\"pooling\": \"first\"}", "{\"variances\": [1, 0]}"]) {
            std::fs::write(folder.path().join(CARD), wrong).unwrap();
            let error = RewardCard::read(folder.path()).unwrap_err();
            assert!(matches!(error, RewardError::Card { .. }) && error.to_string().contains("reward.json"), "{error}");
        }
    }

    #[test]
    fn a_reading_fits_its_head_alone() {
        for (card, labels) in cards().into_iter().zip([1, 2, 4, 6, 6]) {
            assert!(card.reading.check(labels).is_ok(), "{card:?}");
            assert!(card.reading.check(labels + 1).is_err(), "{card:?}");
        }
        assert!(
            Reading::Heads { lambda: f64::NAN }.check(2).is_err() && Reading::Heads { lambda: 0.5 }.check(0).is_err()
        );
        let none = Reading::Attributes { names: vec!["a".into()], weights: vec![f64::NAN] };
        assert!(none.check(1).is_err());
    }
}
