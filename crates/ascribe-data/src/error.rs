use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong between a file and a batch. Where a row is at fault, `place` names file and line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// A compressed file that stops in the middle.
    #[error("{} ends before its compressed stream does: the file is truncated; fetch or write it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file that is broken, or holds what cannot be read.
    #[error("cannot read {} as Parquet: {words}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// A CSV file that is no table of cells.
    #[error("cannot read {} as CSV: {words}; fix or delete the row, or give JSONL", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// Columns that can be read in more than one way.
    #[error("{place}: two readings fit: {}; choose with --columns, or drop the columns that are not meant", readings.join(", or "))]
    Ambiguous {
        /// File and line.
        place: String,
        /// What the columns could mean.
        readings: Vec<String>,
    },
    /// A file without rows.
    #[error("{} holds no rows; give JSONL, a JSON array, CSV with a header, or Parquet", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line that is not JSON.
    #[error("{place}: not JSON ({words}); fix or delete the row")]
    Json {
        /// File and line.
        place: String,
        /// The parser's words.
        words: String,
    },
    /// A row that is JSON, but has no named columns.
    #[error("{place}: a row must be an object with named columns, got {got}")]
    NotAnObject {
        /// File and line.
        place: String,
        /// What stands there.
        got: &'static str,
    },
    /// A column that the kind of data needs is absent.
    #[error("{place}: column `{missing}` is missing; wanted {wanted}, found {found}{hint}")]
    MissingColumn {
        /// File and line.
        place: String,
        /// The absent column.
        missing: String,
        /// The columns that are wanted.
        wanted: &'static str,
        /// The columns of the row.
        found: String,
        /// What to do; names the closest column, if one is close.
        hint: String,
    },
    /// A column that holds something else than it should.
    #[error("{place}: column `{column}` must hold {rule}, got {got}")]
    Column {
        /// File and line.
        place: String,
        /// The column.
        column: &'static str,
        /// What is accepted.
        rule: &'static str,
        /// What stands there.
        got: String,
    },
    /// A pair whose prompt cannot be told from its replies.
    #[error(
        "{place}: chosen and rejected are plain texts without a prompt; add a `prompt` column, or name the one that holds \
         it with --columns prompt=NAME (found {found})"
    )]
    NoPrompt {
        /// File and line.
        place: String,
        /// The columns of the row.
        found: String,
    },
    /// A column map that makes no sense.
    #[error("--columns takes NAME=COLUMN, such as prompt=question, got `{got}`: {reason}")]
    ColumnMap {
        /// The offending pair.
        got: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Neutral steps where there are none.
    #[error(
        "neutral steps are steps of PRM800K with the rating 0, and `{path}` has another layout; drop neutral_steps"
    )]
    NoNeutral {
        /// The file.
        path: PathBuf,
    },
    /// Rows that cannot teach, where none is allowed or none is left.
    #[error("refused: {summary}; fix or delete these rows")]
    Untaught {
        /// Counts and lines by reason.
        summary: String,
    },
    /// A held-out part that the rows cannot give.
    #[error("the held-out part must be {rule}, got {got} with {rows} rows of {prompts} prompts; hold out less")]
    HeldOut {
        /// What is accepted.
        rule: &'static str,
        /// What was asked for.
        got: String,
        /// Number of rows.
        rows: usize,
        /// Number of different prompts.
        prompts: usize,
    },
    /// A sampler without rows, an empty batch, or a cursor of other data.
    #[error("{name} must be {rule}, got {got}{remedy}")]
    Sampler {
        /// What was given.
        name: &'static str,
        /// What is accepted.
        rule: String,
        /// The value received.
        got: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// A number of a curriculum out of its range.
    #[error("{name} must be {rule}, got {got}")]
    Curriculum {
        /// What was given.
        name: &'static str,
        /// What is accepted.
        rule: &'static str,
        /// The value received.
        got: f64,
    },
    /// A solution of a teacher that lacks what its format shows.
    #[error("a trace must have {rule}, got none for `{question}`")]
    Trace {
        /// What is accepted.
        rule: &'static str,
        /// The question of the trace.
        question: String,
    },
    /// A template that is none, or that a record cannot fill.
    #[error("the template `{template}` cannot be used: {reason}")]
    Template {
        /// The template, or its slot.
        template: String,
        /// What is wrong.
        reason: String,
    },
    /// A similarity that near-duplicates cannot be found by.
    #[error("the similarity of near-duplicates must be between 0.5 and 1, got {got}; 0.8 is a usual choice")]
    Threshold {
        /// The value received.
        got: f64,
    },
    /// A file that cannot be written. What stood there before is untouched.
    #[error("cannot write {}: {source}; what stood there before is unchanged", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
