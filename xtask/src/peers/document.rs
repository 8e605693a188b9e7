//! `docs/performance.md`: tables between markers, which a run replaces and nothing else touches.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};

use crate::process::root;

/// The part of the document between `<!-- name:begin -->` and `<!-- name:end -->`: a command, facts and a table.
pub struct Section {
    path: PathBuf,
    name: &'static str,
    head: String,
}

impl Section {
    pub fn new(name: &'static str, command: &str, facts: &str, columns: &[&str]) -> Self {
        let rule = "---|".repeat(columns.len());
        let head = format!("`{command}` on {facts}\n\n| {} |\n|{rule}\n", columns.join(" | "));
        Self { path: root().join("docs").join("performance.md"), name, head }
    }

    /// Puts the row where one with the same first cell stands, or at the end. Rows that were measured under another
    /// head, so on another machine or with other versions, are dropped.
    pub fn set_row(&self, cells: &[String]) -> Result<()> {
        let document = self.read()?;
        let mut rows: Vec<&str> = match between(&document, self.name).and_then(|old| old.strip_prefix(&self.head)) {
            Some(rows) => rows.lines().collect(),
            None => Vec::new(),
        };
        let row = format!("| {} |", cells.join(" | "));
        let key = |row: &str| row.split('|').nth(1).map(str::to_owned);
        match rows.iter_mut().find(|old| key(old) == key(&row)) {
            Some(old) => *old = &row,
            None => rows.push(&row),
        }
        self.write(&document, &rows)
    }

    /// Replaces every row.
    pub fn set_rows(&self, rows: &[Vec<String>]) -> Result<()> {
        let rows: Vec<String> = rows.iter().map(|cells| format!("| {} |", cells.join(" | "))).collect();
        self.write(&self.read()?, &rows.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn read(&self) -> Result<String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("# Performance\n".into()),
            Err(error) => Err(error).context("docs/performance.md"),
        }
    }

    fn write(&self, document: &str, rows: &[&str]) -> Result<()> {
        let content = format!("{}{}\n", self.head, rows.join("\n"));
        fs::write(&self.path, replaced(document, self.name, &content)).context("docs/performance.md")
    }
}

fn markers(name: &str) -> [String; 2] {
    ["begin", "end"].map(|side| format!("<!-- {name}:{side} -->\n"))
}

fn between<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let [begin, end] = markers(name);
    let (_, rest) = document.split_once(&begin)?;
    Some(rest.split_once(&end)?.0)
}

/// The document with `content` between the markers, which are added at the end where they are missing.
fn replaced(document: &str, name: &str, content: &str) -> String {
    let [begin, end] = markers(name);
    match between(document, name) {
        Some(old) => document.replacen(&format!("{begin}{old}{end}"), &format!("{begin}{content}{end}"), 1),
        None => format!("{document}\n{begin}{content}{end}"),
    }
}

/// `AMD EPYC 7R13 (2 cores), 23.5 GiB of memory`, as Linux says it.
pub fn machine() -> Result<String> {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(Path::new("/proc").join(file)).context("the peers are measured on Linux")?;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned()).with_context(|| format!("/proc/{file} has no `{name}`"))
    };
    let kibibytes: f64 = field("meminfo", "MemTotal")?.trim_end_matches(" kB").parse()?;
    let cores = thread::available_parallelism()?;
    let model = field("cpuinfo", "model name")?;
    Ok(format!("{model} ({cores} cores), {:.1} GiB of memory", kibibytes / 1024.0 / 1024.0))
}

/// Three digits: `0.123`, `12.3`, `1234`.
pub fn number(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-6).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let document = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n";
        assert_eq!(replaced(document, "x", "new\n"), "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n");
        let longer = format!("{document}\n<!-- y:begin -->\nnew\n<!-- y:end -->\n");
        assert_eq!(replaced(document, "y", "new\n"), longer);
    }

    #[test]
    fn a_row_takes_the_place_of_its_older_self() {
        let path = std::env::temp_dir().join(format!("xtask-document-{}.md", std::process::id()));
        let section = |facts: &str| Section { path: path.clone(), ..Section::new("x", "c", facts, &["a", "b"]) };
        let row = |cells: [&str; 2]| cells.map(str::to_owned);
        let rows = || {
            let text = fs::read_to_string(&path).unwrap();
            text.lines().filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        for cells in [["1", "x"], ["2", "y"], ["1", "z"]] {
            section("f").set_row(&row(cells)).unwrap();
        }
        let replaced = rows();
        section("other facts").set_row(&row(["3", "w"])).unwrap();
        let dropped = rows();
        fs::remove_file(&path).unwrap();
        assert_eq!(replaced, ["| 1 | z |", "| 2 | y |"]);
        assert_eq!(dropped, ["| 3 | w |"]);
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.1234, 12.34, 1234.5, 1.0, 0.0].map(number), ["0.123", "12.3", "1234", "1.00", "0.000000"]);
    }
}
