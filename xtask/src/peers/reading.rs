//! Files of rows for the jobs that read, and `cargo xtask bench memory`: what a stream of rows holds, however long it is.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::document::{Section, machine, number};
use super::jobs::Ids;
use super::{our_program, run_ours, write_input};
use crate::process::target_folder;

/// Rows of the streams that are measured.
const SIZES: [usize; 3] = [10_000, 1_000_000, 10_000_000];
/// Rows that are shuffled among each other.
const WINDOW: usize = 10_000;

/// A file that goes with this value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Takes care of the file at `path`.
    pub fn of(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that stays is no reason to fail: it lies in the target folder, and the next run replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes that many preference rows of conversations, the same in every run; returns where they lie.
pub fn write_pairs(rows: usize) -> Result<PathBuf> {
    let mut draw = Ids::new(9);
    write_rows("pairs.jsonl", rows, |_| {
        let mut says = |role: &str, words: usize| json!({"role": role, "content": text(&mut draw, words)});
        let prompt = [says("user", 30), says("assistant", 40), says("user", 20)];
        json!({"prompt": prompt, "chosen": [says("assistant", 50)], "rejected": [says("assistant", 50)]})
    })
}

/// Measures every size, and writes the table.
pub fn memory() -> Result<()> {
    let ours = our_program()?;
    let mut table = Vec::new();
    for rows in SIZES {
        let path = write_rows(
            "stream.jsonl",
            rows,
            |at| json!({"prompt": format!("what is {at} and one?"), "completion": format!("it is {}.", at + 1)}),
        )?;
        let _file = Scratch::of(&path);
        let bytes = fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?.len();
        let input = write_input("read_stream", &json!({"data": path, "window": WINDOW, "repeats": 1, "seed": 0}))?;
        let answer = run_ours(&ours, "read_stream", &input)?;
        ensure!(answer.units == rows as f64, "{rows} rows were written and {} were read", answer.units);
        let mebibytes = |bytes: f64| number(bytes / f64::from(1 << 20));
        let cells = [
            rows.to_string(),
            mebibytes(bytes as f64),
            number(answer.units / answer.median_seconds()),
            mebibytes(answer.peak_rss_bytes),
        ];
        println!("{}", cells.join(" | "));
        table.push(cells.to_vec());
    }
    let facts = format!("{}, one thread, rows shuffled within a window of {WINDOW}.", machine()?);
    let columns = ["rows", "file, MiB", "rows/s", "peak of resident memory, MiB"];
    Section::new("memory", "cargo xtask bench memory", &facts, &columns).set_rows(&table)
}

/// Writes a row for each number into a file of the target folder.
fn write_rows(name: &str, rows: usize, mut row: impl FnMut(usize) -> Value) -> Result<PathBuf> {
    let folder = target_folder()?.join("peers");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(name);
    let mut write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&path)?);
        for at in 0..rows {
            writeln!(file, "{}", row(at))?;
        }
        file.flush()
    };
    if let Err(error) = write() {
        drop(Scratch::of(&path));
        return Err(error)
            .with_context(|| format!("cannot write {rows} rows to {}; is the disk full?", path.display()));
    }
    Ok(path)
}

/// Words, numbers and marks as a sentence has them.
fn text(draw: &mut Ids, words: usize) -> String {
    const WORDS: [&str; 32] = [
        "the", "answer", "is", "not", "always", "what", "people", "expect", "because", "a", "model", "learns", "from",
        "examples", "and", "then", "writes", "them", "again", "naïve", "café", "12", "2026", "3.5", "I", "you",
        "don't", "question", "about", "of", "to", "in",
    ];
    const MARKS: [&str; 8] = [" ", " ", " ", " ", " ", ", ", ". ", "\n"];
    let drawn = draw.of(0..(WORDS.len() * MARKS.len()) as u64, words);
    let piece = |id: u64| {
        let id = id as usize;
        [WORDS[id % WORDS.len()], MARKS[id / WORDS.len()]].concat()
    };
    drawn.into_iter().map(piece).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_in_every_run_and_have_their_words() {
        let [one, other] = [text(&mut Ids::new(1), 40), text(&mut Ids::new(1), 40)];
        assert_eq!(one, other);
        assert_eq!(one.split_whitespace().count(), 40);
    }

    #[test]
    fn a_scratch_file_goes_with_its_owner() {
        let path = std::env::temp_dir().join(format!("xtask-scratch-{}", std::process::id()));
        fs::write(&path, "x").expect("a temporary file");
        drop(Scratch::of(&path));
        assert!(!path.exists());
    }
}
