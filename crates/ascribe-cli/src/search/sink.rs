//! The output of a search: the rows that are done, in their order, and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ascribe::core::Usage;
use serde_json::Value;

use super::Item;
use crate::output::write_whole;
use crate::records::Records;

/// Why a search ended, where a signal ended it.
const CANCELLED: &str = "cancelled";

/// A file that rows are added to in their order.
pub struct Sink {
    path: PathBuf,
    file: File,
    rows: usize,
    /// Rows that were in the file before.
    there: usize,
    /// Rows that are in the file, or failed.
    done: BTreeSet<usize>,
    /// Rows that wait for one before them; `None` failed.
    waiting: BTreeMap<usize, Option<Value>>,
    next: usize,
    failed: BTreeMap<usize, anyhow::Error>,
    summary: Summary,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub rows: usize,
    pub usage: Usage,
    /// Texts that were scored.
    pub scored: u64,
    /// Searches that a limit ended early.
    pub stopped: usize,
    /// Rows whose search was cancelled, of `rows`.
    pub cancelled: usize,
    /// Rows of the file that are done, those that were there before included.
    pub finished: usize,
}

impl Sink {
    /// Opens the output of a run. What is there must be of the same run and the same rows; a line that was cut off at the end is
    /// dropped, and so are rows whose search was cancelled.
    pub fn open(path: &Path, run: &Value, items: &[Item]) -> anyhow::Result<Self> {
        let failed = || format!("cannot write `{}`", path.display());
        let numbers: BTreeMap<String, usize> =
            items.iter().enumerate().map(|(number, item)| (item.id.to_string(), number)).collect();
        let mut done = BTreeSet::new();
        if path.exists() {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            let mut kept = String::new();
            for (number, written) in text[..whole].lines().enumerate() {
                let place = || format!("{}, line {}", path.display(), number + 1);
                let line: Value = serde_json::from_str(written).with_context(place)?;
                if line["run"] != *run {
                    bail!("{}: it was found by another run; write to another file, or delete this one", place());
                }
                let Some(row) = numbers.get(&line["id"].to_string()) else {
                    bail!("{}: the input has no row with the id {}; write to another file", place(), line["id"]);
                };
                if let Some(column) = items[*row].differs(&line) {
                    let id = &line["id"];
                    bail!("{}: the row {id} had another `{column}` when it was found; write to another file", place());
                }
                if line["stopped"] != CANCELLED {
                    done.insert(*row);
                    kept.push_str(written);
                    kept.push('\n');
                }
            }
            if kept.len() < text.len() {
                write_whole(path, kept.as_bytes())?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            rows: items.len(),
            there: done.len(),
            done,
            waiting: BTreeMap::new(),
            next: 0,
            failed: BTreeMap::new(),
            summary: Summary::default(),
        })
    }

    /// Whether a row is in the file, or failed.
    pub fn has(&self, row: usize) -> bool {
        self.done.contains(&row)
    }

    /// Rows that are done or failed.
    pub fn finished(&self) -> usize {
        self.done.len() + self.waiting.len()
    }

    /// Takes what was found for a row, and writes what need not wait any more.
    pub fn done(&mut self, row: usize, found: anyhow::Result<Value>) -> anyhow::Result<()> {
        let line = match found {
            Ok(line) => Some(line),
            Err(error) => {
                self.failed.insert(row, error);
                None
            }
        };
        self.waiting.insert(row, line);
        while self.next < self.rows {
            if !self.done.contains(&self.next) {
                match self.waiting.remove(&self.next) {
                    None => return Ok(()),
                    Some(None) => {}
                    Some(Some(line)) => self.write(&line)?,
                }
                self.done.insert(self.next);
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Notes that a row could not be written.
    pub fn fail(&mut self, row: usize, error: anyhow::Error) {
        self.failed.insert(row, error);
    }

    /// Whether so many rows failed, and none was found.
    pub fn is_hopeless(&self, many: usize) -> bool {
        self.failed.len() >= many.max(1) && self.summary.rows == 0 && self.waiting.values().all(Option::is_none)
    }

    /// What was done.
    ///
    /// # Errors
    /// The first row that failed, with the number of those that did. The others are written.
    pub fn summary(mut self, records: &Records) -> anyhow::Result<Summary> {
        // Rows behind one that was given up.
        for line in std::mem::take(&mut self.waiting).into_values().flatten() {
            self.write(&line)?;
        }
        self.summary.finished = self.there + self.summary.rows - self.summary.cancelled;
        let missing = self.rows - self.summary.finished;
        match self.failed.into_iter().next() {
            None => Ok(self.summary),
            Some((row, error)) => {
                let place = records.rows.get(row).map_or_else(String::new, |row| records.place(row));
                Err(error.context(format!("{missing} rows are missing from the output, the first of them {place}")))
            }
        }
    }

    fn write(&mut self, line: &Value) -> anyhow::Result<()> {
        let failed = || format!("cannot write `{}`", self.path.display());
        self.file.write_all(format!("{line}\n").as_bytes()).with_context(failed)?;
        self.file.flush().with_context(failed)?;
        self.summary.rows += 1;
        self.summary.usage += serde_json::from_value::<Usage>(line["usage"].clone()).unwrap_or_default();
        self.summary.scored += line["calls"]["scorer"].as_u64().unwrap_or(0);
        let stopped = &line["stopped"];
        self.summary.cancelled += usize::from(*stopped == CANCELLED);
        self.summary.stopped += usize::from(!stopped.is_null() && *stopped != CANCELLED);
        Ok(())
    }
}
