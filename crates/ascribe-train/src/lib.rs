#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod learner;
mod optim;
mod schedule;
mod source;

mod curriculum;
mod strata;

#[cfg(feature = "fused")]
mod adamw;
mod fit;
mod gradients;
mod verify;

mod checkpoint;

pub use checkpoint::{Checkpoints, Progress};
pub use curriculum::CurriculumRows;
pub use error::TrainError;
pub use fit::{Fit, FitConfig, StepReport, evaluate};
pub use gradients::scaled;
pub use learner::{Learned, Learner, Tally};
pub use optim::{OptimArgs, OptimKind};
pub use schedule::{Schedule, ScheduleKind, ScheduleOptions};
pub use source::{LabelledRows, Source, Window};
pub use strata::StratifiedRows;
pub use verify::FusedCheck;
