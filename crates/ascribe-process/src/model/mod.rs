//! Process models on a decoder: what they learn from, how they learn, and what they say of the steps of a response.
//!
//! | kind | rows | learns | source |
//! |---|---|---|---|
//! | ORM | [`ProcessRow::of_outcome`] | whether the response is right, at every token or at the last | GLoRe, arXiv:2402.10963 |
//! | PRM | [`ProcessRow::of_steps`] | hard or soft labels, at the last token of each step | arXiv:2406.06592 |
//! | PRM by pairs | [`ProcessRow::of_pair`] | which of two steps behind one state is better | arXiv:2412.15904 |
//! | PAV | labels of steps, with the value of the question ([`ProcessRow::with_start`]) | soft labels; steps are scored by progress | arXiv:2410.08146 |
//! | TVM | [`ProcessRow::of_tokens`] | the share of samples that go on to be right, at every token | arXiv:2407.12863 |
//! | P(IK) | [`ProcessRow::of_question`] | the share of samples that are right, at the last token of the question | arXiv:2207.05221 |
//!
//! A decoder reads a text from left to right, so one pass gives the scores of all steps. What follows a step has no effect
//! on its score.

mod card;
mod credit;
mod head;
mod learner;
mod loss;
mod process_model;
mod row;

pub use card::{CARD, ProcessCard, ProcessKind, Progress};
pub use credit::{OutcomeTokens, StepProgress, TokenScores};
pub use head::ProcessHead;
pub use learner::ProcessLearner;
pub use loss::ProcessLoss;
pub use process_model::ProcessModel;
pub use row::{OutcomeAt, ProcessRow, at_most, balanced, rows_hash, tagged};
