//! Rewards out of a model that judges: a grade by a rubric, a preference over a reference answer, a critique before a score.
//!
//! What the judge reads is text; whoever has the tokenizer and the chat template renders it. Judges in pairs and the boards
//! made of them are protocols of `ascribe-eval`.

mod critique;
mod reference;
mod rubric;

pub use critique::Critiqued;
pub use reference::BetterThanReference;
pub use rubric::{RubricJudge, RubricPrompt, rubric_prompt};
