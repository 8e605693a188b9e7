//! Where step labels stand among the tokens that a model is trained on.
//!
//! | way | tokens | label of a step |
//! |---|---|---|
//! | [`place_on_spans`], the default | the joint tokenisation of the response | on the last token of the step |
//! | [`TrlPlacement`], as TRL's `PRMTrainer.tokenize_row` | each step alone, and the separator behind each | on the last token of its separator |
//!
//! Tokens of two steps can merge across their boundary, so the two ways may differ, and which one was used has to be recorded
//! with the labels.

use serde::{Deserialize, Serialize};

use super::StepSpan;
use crate::ProcessError;

/// Which steps keep their labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labelled {
    /// All of them.
    #[default]
    Every,
    /// The last one alone: `train_on_last_step_only`.
    Last,
}

/// Tokens with a label where a step ends.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedLabels {
    /// Token ids.
    pub ids: Vec<u32>,
    /// One label a token; `None` where no step ends, or where nobody says. In other toolkits this is -100.
    pub labels: Vec<Option<f32>>,
}

/// Labels on the last token of each step, over the tokens of the response.
///
/// # Errors
/// When there is not one label a step, or a step has no token or lies outside of the response.
pub fn place_on_spans(
    ids: &[u32],
    steps: &[StepSpan],
    labels: &[Option<f32>],
    labelled: Labelled,
) -> Result<PlacedLabels, ProcessError> {
    let count = same_length(steps.len(), labels)?;
    let mut placed = vec![None; ids.len()];
    for (at, (step, label)) in steps.iter().zip(labels).enumerate() {
        let last = step.tokens.clone().next_back();
        let Some(place) = last.and_then(|last| placed.get_mut(last)) else {
            let rule = "of at least one token, inside the response";
            return Err(ProcessError::range("a step", rule, &step.tokens));
        };
        *place = label.filter(|_| labelled == Labelled::Every || at + 1 == count);
    }
    Ok(PlacedLabels { ids: ids.to_vec(), labels: placed })
}

/// TRL's way, with its limits.
#[derive(Clone, Debug, Default)]
pub struct TrlPlacement {
    /// Ids of the separator behind each step; at least one.
    pub separator: Vec<u32>,
    /// Id that begins the prompt, where the tokenizer has one.
    pub bos: Option<u32>,
    /// Most tokens of all; the end goes.
    pub max_length: Option<usize>,
    /// Most tokens of the prompt; its beginning goes.
    pub max_prompt_length: Option<usize>,
    /// Most tokens of the completion; its end goes.
    pub max_completion_length: Option<usize>,
    /// Which steps keep their labels.
    pub labelled: Labelled,
}

impl TrlPlacement {
    /// The tokens of a prompt and its steps, each tokenised alone.
    ///
    /// # Errors
    /// When the separator is empty or there is not one label a step.
    pub fn place(
        &self,
        prompt: &[u32],
        steps: &[Vec<u32>],
        labels: &[Option<f32>],
    ) -> Result<PlacedLabels, ProcessError> {
        if self.separator.is_empty() {
            return Err(ProcessError::Empty { what: "the separator of steps", remedy: "use the ids of \"\\n\", say" });
        }
        let count = same_length(steps.len(), labels)?;
        let mut completion: Vec<u32> = Vec::new();
        let mut placed: Vec<Option<f32>> = Vec::new();
        for (at, (step, label)) in steps.iter().zip(labels).enumerate() {
            completion.extend(step.iter().chain(&self.separator));
            placed.resize(completion.len() - 1, None);
            placed.push(label.filter(|_| self.labelled == Labelled::Every || at + 1 == count));
        }
        completion.truncate(self.max_completion_length.unwrap_or(usize::MAX));
        let prompt: Vec<u32> = self.bos.into_iter().chain(prompt.iter().copied()).collect();
        let dropped = prompt.len().saturating_sub(self.max_prompt_length.unwrap_or(usize::MAX));
        let prompt = &prompt[dropped..];
        let mut ids = [prompt, &completion[..]].concat();
        let mut labels = vec![None; prompt.len()];
        labels.extend(placed.into_iter().take(completion.len()));
        ids.truncate(self.max_length.unwrap_or(usize::MAX));
        labels.truncate(ids.len());
        Ok(PlacedLabels { ids, labels })
    }
}

/// The number of steps, if each has a label.
fn same_length(steps: usize, labels: &[Option<f32>]) -> Result<usize, ProcessError> {
    if steps == labels.len() {
        return Ok(steps);
    }
    Err(ProcessError::Length { what: "the labels", each: "a step", expected: steps, got: labels.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(bytes: std::ops::Range<usize>, tokens: std::ops::Range<usize>) -> StepSpan {
        StepSpan { bytes, tokens }
    }

    #[test]
    fn labels_stand_where_steps_end() {
        let steps = [step(0..2, 0..2), step(2..5, 2..3)];
        let labels = [Some(1.0), Some(0.25)];
        let placed = place_on_spans(&[7, 8, 9], &steps, &labels, Labelled::Every).unwrap();
        assert_eq!(placed.labels, [None, Some(1.0), Some(0.25)]);
        let placed = place_on_spans(&[7, 8, 9], &steps, &labels, Labelled::Last).unwrap();
        assert_eq!(placed.labels, [None, None, Some(0.25)]);
        assert!(place_on_spans(&[7, 8], &steps, &labels, Labelled::Every).is_err());
        assert!(place_on_spans(&[7, 8], &[step(0..0, 0..0)], &labels[..1], Labelled::Every).is_err());
        assert!(place_on_spans(&[7, 8, 9], &steps, &labels[..1], Labelled::Every).is_err());
    }

    #[test]
    fn both_ways_agree_where_tokens_do_not_merge() {
        // Steps [5, 6] and [7], each with the separator 10 behind it.
        let (one, two) = (vec![5, 6], vec![7]);
        let labels = [Some(1.0), None];
        let trl = TrlPlacement { separator: vec![10], ..TrlPlacement::default() };
        let alone = trl.place(&[], &[one, two], &labels).unwrap();
        let steps = [step(0..3, 0..3), step(3..5, 3..5)];
        assert_eq!(place_on_spans(&[5, 6, 10, 7, 10], &steps, &labels, Labelled::Every).unwrap(), alone);
        assert!(TrlPlacement::default().place(&[], &[], &[]).is_err());
    }
}
