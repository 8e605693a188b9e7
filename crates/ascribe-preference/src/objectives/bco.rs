//! Binary classifier optimization (BCO): arXiv:2404.04656, on labelled responses and on pairs.
//!
//! ```text
//! wanted:    loss = -log sigmoid(r - delta),      unwanted:  loss = -log sigmoid(delta - r),      r = beta h
//! pair:      loss = -log sigmoid(r_chosen - delta) - log sigmoid(delta - r_rejected)
//! ```
//! With `reward_shift` off on labelled responses, the loss is the cross-entropy of outcomes with which implicit process models
//! are trained (arXiv:2412.01981): `outcome-ce`, whose beta is 0.05.
//!
//! `delta` is the mean reward of all responses that were trained on so far, those of this optimizer window included. It is
//! kept in checkpoints and does not move while measuring. On pairs it is left out unless `reward_shift` is set, as TRL does
//! from version 1 on. The paper's weighing of unwanted responses by a classifier of prompts is not built.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::labelled::Labelled;
use super::scoring::{Scorer, Scoring, check_beta};
use crate::PreferenceError;

/// A mean of everything that was seen.
#[derive(Debug, Default)]
struct Running(Mutex<Mean>);

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    value: f64,
    count: f64,
}

impl Running {
    fn now(&self) -> MutexGuard<'_, Mean> {
        // A mean is whole between any two statements, so a panic elsewhere leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mean(&self) -> f64 {
        self.now().value
    }

    fn add(&self, values: Tensor<1>) {
        let values: Vec<f64> = values.into_data().iter::<f64>().collect();
        let mut mean = self.now();
        mean.count += values.len() as f64;
        let off: f64 = values.iter().map(|value| value - mean.value).sum();
        mean.value += off / mean.count.max(1.0);
    }

    fn memory(&self) -> Vec<f64> {
        let mean = *self.now();
        vec![mean.value, mean.count]
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        let [value, count] = *memory else {
            let rule = "a running mean is remembered as its value and its count";
            return Err(CoreError::Shape { rule, got: format!("{} numbers", memory.len()) });
        };
        *self.now() = Mean { value, count };
        Ok(())
    }
}

/// Options of [`Bco`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BcoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Shift rewards by their running mean.
    pub reward_shift: bool,
}

impl Default for BcoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, reward_shift: true }
    }
}

impl BcoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0.
    pub fn init(&self) -> Result<Bco, PreferenceError> {
        check_beta(self.beta)?;
        Ok(Bco { beta: self.beta, delta: self.reward_shift.then(Running::default) })
    }
}

/// The BCO loss on labelled responses.
#[derive(Debug)]
pub struct Bco {
    beta: f64,
    delta: Option<Running>,
}

impl Objective for Bco {
    fn needs(&self) -> Needs {
        let needs = Needs::of(RowKind::Labelled).with_ref_logps();
        if self.delta.is_some() { needs.coupled() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let rows = Labelled::of(batch)?;
        let delta = self.delta.as_ref().map_or(0.0, Running::mean);
        let gained = rows.ratios.clone().mul_scalar(self.beta).sub_scalar(delta) * rows.signs.clone(); // [rows]
        let seen = rows.ratios.clone().detach().zeros_like().add_scalar(delta); // [rows]
        let loss = rows.finish(log_sigmoid(gained).neg(), self.beta);
        Ok(if self.delta.is_some() { loss.stat("bco/delta", seen) } else { loss })
    }

    fn observe(&self, window: &LogpBatch) -> Result<(), CoreError> {
        if let Some(delta) = &self.delta {
            delta.add(Labelled::of(window)?.ratios.mul_scalar(self.beta));
        }
        Ok(())
    }

    fn memory(&self) -> Vec<f64> {
        self.delta.as_ref().map_or_else(Vec::new, Running::memory)
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        match &self.delta {
            Some(delta) => delta.remember(memory),
            None if memory.is_empty() => Ok(()),
            None => {
                let rule = "without reward_shift there is nothing to remember";
                Err(CoreError::Shape { rule, got: format!("{} numbers", memory.len()) })
            }
        }
    }
}

/// Options of [`BcoPair`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BcoPairConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Shift rewards by their running mean.
    pub reward_shift: bool,
    /// How responses are scored; by the reverse KL divergence.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for BcoPairConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, reward_shift: false, scoring: Scoring::default() }
    }
}

impl BcoPairConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for what does not go together.
    pub fn init(&self) -> Result<BcoPair, PreferenceError> {
        let scorer = Scorer::by_sides("bco-pair", self.beta, self.scoring)?;
        Ok(BcoPair { scorer, delta: self.reward_shift.then(Running::default) })
    }
}

/// The BCO loss on pairs.
#[derive(Debug)]
pub struct BcoPair {
    scorer: Scorer,
    delta: Option<Running>,
}

impl Objective for BcoPair {
    fn needs(&self) -> Needs {
        let needs = self.scorer.needs();
        if self.delta.is_some() { needs.coupled() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (chosen, rejected) = self.scorer.rewards(&scored); // [pairs]
        let delta = self.delta.as_ref().map_or(0.0, Running::mean);
        let seen = chosen.clone().detach().zeros_like().add_scalar(delta); // [pairs]
        let rows = log_sigmoid(chosen.sub_scalar(delta)) + log_sigmoid(rejected.sub_scalar(delta).neg()); // [pairs]
        let loss = self.scorer.finish(&scored, rows.neg())?;
        Ok(if self.delta.is_some() { loss.stat("bco/delta", seen) } else { loss })
    }

    fn observe(&self, window: &LogpBatch) -> Result<(), CoreError> {
        if let Some(delta) = &self.delta {
            let (chosen, rejected) = self.scorer.rewards(&self.scorer.score(window)?);
            delta.add(Tensor::cat(vec![chosen, rejected], 0));
        }
        Ok(())
    }

    fn memory(&self) -> Vec<f64> {
        self.delta.as_ref().map_or_else(Vec::new, Running::memory)
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        match &self.delta {
            Some(delta) => delta.remember(memory),
            None if memory.is_empty() => Ok(()),
            None => {
                let rule = "without reward_shift there is nothing to remember";
                Err(CoreError::Shape { rule, got: format!("{} numbers", memory.len()) })
            }
        }
    }
}
