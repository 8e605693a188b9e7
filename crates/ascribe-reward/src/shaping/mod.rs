//! Rewards on the way, from an annotator who knows what progress looks like.

mod annotator_thread;
mod captions;
mod intrinsic;
mod subgoals;

pub use annotator_thread::AnnotatorThread;
pub use captions::CaptionModel;
pub use intrinsic::{Intrinsic, IntrinsicConfig, IntrinsicForm, Preferred};
pub use subgoals::{Attempt, Auxiliary, SubgoalAnnotator, Subgoals, annotate, confusions, potential};
