//! Learning rates by step, under the names of transformers: a linear warm-up, then one of these shapes.
//!
//! ```text
//! d = (step - warmup) / (steps - warmup), at most 1;   c(x) = (1 + cos(2 pi x)) / 2
//!
//! constant               1
//! linear                 1 - d
//! cosine                 c(cycles d)                               cycles 1/2
//! cosine_with_min_lr     m + (1 - m) c(cycles d)                   cycles 1/2
//! cosine_with_restarts   c(frac(cycles d) / 2), 0 at the end       cycles 1
//! polynomial             e + (1 - e) (1 - d)^power                 e = lr_end / learning_rate
//! inverse_sqrt           sqrt(timescale / (step - warmup + timescale))
//! warmup_stable_decay    1, then m + (1 - m) c(cycles q)           q = share of the last num_decay_steps that is done
//! ```
//! times the base rate. `m` is `min_lr_ratio`, and the warm-up of `warmup_stable_decay` begins there, as it does in
//! transformers. Departures: `constant` warms up too, so it is also read from `constant_with_warmup`; past the last step the
//! cosines stay where they ended (in transformers they rise again).

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The shape of a schedule after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Stays at the base rate.
    #[serde(alias = "constant_with_warmup")]
    Constant,
    /// Falls to 0 in a straight line.
    #[default]
    Linear,
    /// Falls to 0 along half a cosine, or goes through `num_cycles` of them.
    Cosine,
    /// The same, but to `min_lr_ratio` of the base rate.
    CosineWithMinLr,
    /// Falls to 0 along half a cosine `num_cycles` times, each from the base rate.
    CosineWithRestarts,
    /// Falls to `lr_end` by a power of what is left.
    Polynomial,
    /// Falls with the root of the steps, without an end.
    InverseSqrt,
    /// Stays at the base rate and falls along half a cosine in the last `num_decay_steps` steps.
    WarmupStableDecay,
}

impl ScheduleKind {
    /// The name in transformers.
    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::CosineWithMinLr => "cosine_with_min_lr",
            Self::CosineWithRestarts => "cosine_with_restarts",
            Self::Polynomial => "polynomial",
            Self::InverseSqrt => "inverse_sqrt",
            Self::WarmupStableDecay => "warmup_stable_decay",
        }
    }

    /// The numbers of [`ScheduleOptions`] that it uses.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Constant | Self::Linear => &[],
            Self::Cosine | Self::CosineWithRestarts => &["num_cycles"],
            Self::CosineWithMinLr => &["num_cycles", "min_lr_ratio"],
            Self::Polynomial => &["power", "lr_end"],
            Self::InverseSqrt => &["timescale"],
            Self::WarmupStableDecay => &["num_cycles", "min_lr_ratio", "num_decay_steps"],
        }
    }
}

/// Numbers that some shapes use: `lr_scheduler_kwargs` of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleOptions {
    /// Turns of the cosine; 1/2 unless given, and 1 with restarts.
    pub num_cycles: Option<f64>,
    /// Power of the polynomial.
    pub power: f64,
    /// Rate at the end of the polynomial, at most the base rate.
    pub lr_end: f64,
    /// Least share of the base rate: of `cosine_with_min_lr` (where it is also called `min_lr_rate`) and of
    /// `warmup_stable_decay`.
    #[serde(alias = "min_lr_rate")]
    pub min_lr_ratio: f64,
    /// Steps after which the inverse root has fallen by the root of 2; the warm-up unless given, 10000 without one.
    pub timescale: Option<usize>,
    /// Last steps, in which `warmup_stable_decay` falls; at most those behind the warm-up are used.
    pub num_decay_steps: usize,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        Self { num_cycles: None, power: 1.0, lr_end: 1e-7, min_lr_ratio: 0.0, timescale: None, num_decay_steps: 0 }
    }
}

impl ScheduleOptions {
    /// Refuses a number that the shape `kind` does not use. One that has its default changes nothing, and passes.
    pub(crate) fn check(&self, kind: ScheduleKind) -> Result<(), TrainError> {
        // Taken apart whole, so that no number can be forgotten here.
        let Self { num_cycles, power, lr_end, min_lr_ratio, timescale, num_decay_steps } = *self;
        let plain = Self::default();
        let set = [
            ("num_cycles", num_cycles != plain.num_cycles),
            ("power", power != plain.power),
            ("lr_end", lr_end != plain.lr_end),
            ("min_lr_ratio", min_lr_ratio != plain.min_lr_ratio),
            ("timescale", timescale != plain.timescale),
            ("num_decay_steps", num_decay_steps != plain.num_decay_steps),
        ];
        let takes = kind.takes();
        match set.into_iter().find(|(name, set)| *set && !takes.contains(name)) {
            Some((name, _)) => {
                let takes = if takes.is_empty() { "none".to_owned() } else { takes.join(", ") };
                Err(TrainError::UnusedShape { name, kind: kind.name(), takes })
            }
            None => Ok(()),
        }
    }
}

/// Learning rates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Numbers of the shape.
    pub options: ScheduleOptions,
    /// Highest rate.
    pub base: f64,
    /// Steps in which the rate rises.
    pub warmup: usize,
    /// All steps of the run.
    pub steps: usize,
}

impl Schedule {
    /// The rate that step `step` (from 0) uses.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            let risen = self.base * step as f64 / self.warmup as f64;
            return match self.kind {
                ScheduleKind::WarmupStableDecay => {
                    let least = self.options.min_lr_ratio;
                    risen * (1.0 - least) + self.base * least
                }
                _ => risen,
            };
        }
        self.base * self.after_warmup(step)
    }

    /// Share of the base rate after the warm-up.
    fn after_warmup(&self, step: usize) -> f64 {
        let options = &self.options;
        let falling = self.steps.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / falling as f64).min(1.0);
        let cosine = |turns: f64| 0.5 * (1.0 + (TAU * turns).cos());
        let cycles = options.num_cycles.unwrap_or(0.5);
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => 1.0 - done,
            ScheduleKind::Cosine => cosine(cycles * done),
            ScheduleKind::CosineWithMinLr => self.above_least(cosine(cycles * done)),
            // The last restart would stand at the end itself.
            ScheduleKind::CosineWithRestarts if done >= 1.0 => 0.0,
            ScheduleKind::CosineWithRestarts => cosine((options.num_cycles.unwrap_or(1.0) * done).fract() / 2.0),
            ScheduleKind::Polynomial => {
                let end = options.lr_end / self.base;
                end + (1.0 - end) * (1.0 - done).powf(options.power)
            }
            ScheduleKind::InverseSqrt => {
                let unset = if self.warmup > 0 { self.warmup } else { 10_000 };
                let timescale = options.timescale.unwrap_or(unset) as f64;
                (timescale / ((step - self.warmup) as f64 + timescale)).sqrt()
            }
            ScheduleKind::WarmupStableDecay => {
                let decay = options.num_decay_steps.clamp(1, falling) as f64;
                let left = self.steps.saturating_sub(step) as f64;
                self.above_least(cosine(cycles * (1.0 - left / decay).max(0.0)))
            }
        }
    }

    /// `share` of the way from the least rate to the base rate, as a share of the base rate.
    fn above_least(&self, share: f64) -> f64 {
        let least = self.options.min_lr_ratio;
        share * (1.0 - least) + least
    }
}
