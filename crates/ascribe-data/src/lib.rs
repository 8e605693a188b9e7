#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod columns;
mod formats;
mod read;

mod hh;
mod labelled;
mod ranked;
mod record;
mod teach;
mod template;
mod traces;

mod load;

mod budget;
mod curriculum;
mod fold;
mod shuffle;
mod split;
mod task_order;
mod window;

mod boundary;
mod duplicates;

mod doctor;

mod convert;
mod write;

pub use ascribe_lm::Message;
pub use boundary::{Boundary, Parts};
pub use budget::batches_by_tokens;
pub use columns::{ColumnMap, Kind};
pub use convert::{Converted, convert};
pub use curriculum::{Curriculum, Cyclical, Ease, Pacing};
pub use doctor::{Check, Diagnosis, Doctor, Figure, Finding, ModelText};
pub use duplicates::{Match, NearDuplicates};
pub use error::DataError;
pub use fold::{Folded, fold_by_key};
pub use formats::Format;
pub use labelled::{Choices, PromptOnly, Rated, Stepwise, Unpaired};
pub use load::{Loaded, Records, load};
pub use ranked::Ranked;
pub use read::{Place, Rows, decompressed};
pub use record::{Dialogues, LanguageModelling, Preference, Prompt, PromptCompletion, Record};
pub use shuffle::{Batch, Cursor, Epochs, spread_labels};
pub use split::{HeldOut, Split, is_held_out, split_by_prompt};
pub use task_order::{TaskOrder, similarities, task_orders};
pub use teach::{Skipped, Untaught, Why};
pub use template::Template;
pub use traces::{Trace, TraceFormat};
pub use window::{Shuffled, WindowCursor};
pub use write::{try_write_jsonl, write_jsonl};
