#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;

mod columns;
mod read;

mod hh;
mod record;
mod teach;

mod load;

mod shuffle;
mod split;
mod write;

pub use ascribe_lm::Message;
pub use columns::{ColumnMap, Kind};
pub use error::DataError;
pub use load::{Loaded, load};
pub use read::{Place, Rows, decompressed};
pub use record::{LanguageModelling, Preference, Prompt, PromptCompletion, Record};
pub use shuffle::{Batch, Cursor, Epochs};
pub use split::{HeldOut, Split, split_by_prompt};
pub use teach::{Skipped, Untaught, Why};
pub use write::write_jsonl;
