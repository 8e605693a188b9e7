//! `process.json`, which lies beside the weights of a process model and says what its scores mean and where steps end. Other
//! software leaves it alone: the weights are a classifier of tokens.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ProcessHead, ProcessLoss};
use crate::credit::effective;
use crate::{Aggregate, ProcessError, Segmenter};

/// The name of the file.
pub const CARD: &str = "process.json";

/// What a process model learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessKind {
    /// Whether responses are right.
    Orm,
    /// Labels of steps.
    #[default]
    Prm,
    /// Values of steps and of questions.
    Pav,
    /// Values of tokens.
    Tvm,
    /// How likely questions are answered right, from the questions alone: P(IK).
    PIk,
}

/// Progress of the steps under a prover, which is best-of-`prover` of the policy whose values the model learned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Progress {
    /// Samples that the prover takes the best of; at least 1.
    pub prover: u32,
    /// What progress counts for beside the value; finite and at least 0.
    pub alpha: f64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { prover: 4, alpha: 0.5 }
    }
}

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessCard {
    /// What it learned from.
    pub kind: ProcessKind,
    /// The head.
    pub head: ProcessHead,
    /// The loss.
    pub loss: ProcessLoss,
    /// Where steps end.
    pub segmenter: Segmenter,
    /// Token ids that are put behind each step, at the last of which it is read, as published models want it (Math-Shepherd's
    /// `ки`, with the words `+` and `-`); empty where steps are read at their own last tokens.
    pub tag: Vec<u32>,
    /// How the scores of steps become that of the response, unless somebody says otherwise.
    pub aggregate: Aggregate,
    /// With it, a step is scored by its value and its progress.
    pub progress: Option<Progress>,
}

impl Default for ProcessCard {
    fn default() -> Self {
        Self {
            kind: ProcessKind::Prm,
            head: ProcessHead::default(),
            loss: ProcessLoss::default(),
            segmenter: Segmenter::Delimiter("\n\n".to_owned()),
            tag: Vec::new(),
            aggregate: Aggregate::default(),
            progress: None,
        }
    }
}

impl ProcessCard {
    /// Checks the options.
    ///
    /// # Errors
    /// When the margin of the loss, the prover or the weight of progress is out of its range.
    pub fn check(&self) -> Result<(), ProcessError> {
        self.loss.check()?;
        if let Some(Progress { prover, alpha }) = self.progress {
            effective(0.5, &[0.5], alpha, prover)?;
        }
        Ok(())
    }

    /// The card in `folder`; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or has an entry that is not known or out of its range.
    pub fn read(folder: &Path) -> Result<Option<Self>, ProcessError> {
        let path = folder.join(CARD);
        if !path.is_file() {
            return Ok(None);
        }
        let refuse = |why: String| ProcessError::Card { path: path.clone(), why };
        let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
        let card: Self = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        card.check().map_err(|error| refuse(error.to_string()))?;
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

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ProcessCard::read(folder.path()).unwrap(), None);
        let cards = [
            ProcessCard::default(),
            ProcessCard {
                kind: ProcessKind::Pav,
                head: ProcessHead::Score,
                loss: ProcessLoss::Squared,
                segmenter: Segmenter::EqualParts(4),
                tag: vec![7, 8],
                aggregate: Aggregate::GeoMean,
                progress: Some(Progress { prover: 2, alpha: 0.25 }),
            },
            ProcessCard {
                head: ProcessHead::Words { good: 3, bad: 4 },
                loss: ProcessLoss::Ranking { zeta: 2.5 },
                segmenter: Segmenter::Headers,
                ..ProcessCard::default()
            },
            ProcessCard { kind: ProcessKind::PIk, loss: ProcessLoss::Pairwise, ..ProcessCard::default() },
            ProcessCard { kind: ProcessKind::Orm, loss: ProcessLoss::TemporalDifference, ..ProcessCard::default() },
        ];
        for card in cards {
            std::fs::write(folder.path().join(CARD), card.to_text()).unwrap();
            assert_eq!(ProcessCard::read(folder.path()).unwrap(), Some(card));
        }
        for wrong in [
            "{",
            "{\"loss_of\": 1}",
            "{\"progress\": {\"prover\": 0}}",
            "{\"progress\": {\"alpha\": -1}}",
            "{\"aggregate\": \"middle\"}",
        ] {
            std::fs::write(folder.path().join(CARD), wrong).unwrap();
            let error = ProcessCard::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("process.json") && !error.contains('\n'), "{error}");
        }
    }
}
