//! Learning rates by step, as in transformers: a linear warm-up, then constant, linear or cosine.
//!
//! ```text
//! linear: lr * (steps - step) / (steps - warmup)
//! cosine: lr * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2
//! ```
//! Past the last step the rate stays 0 (transformers' cosine rises again).

use serde::{Deserialize, Serialize};

/// The shape of a schedule after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Stays at the base rate.
    Constant,
    /// Falls to 0 in a straight line.
    #[default]
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
}

/// Learning rates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Highest rate.
    pub base: f64,
    /// Steps in which the rate rises from 0.
    pub warmup: usize,
    /// All steps of the run.
    pub steps: usize,
}

impl Schedule {
    /// The rate that step `step` (from 0) uses.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.base * step as f64 / self.warmup as f64;
        }
        let falling = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / falling).min(1.0);
        match self.kind {
            ScheduleKind::Constant => self.base,
            ScheduleKind::Linear => self.base * (1.0 - done),
            ScheduleKind::Cosine => self.base * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}
