//! What the user sees while work goes on, and files that are written whole.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Progress of a long piece of work: a bar with rate and remaining time on a terminal, plain lines elsewhere.
pub struct Progress {
    title: String,
    total: usize,
    bar: Option<ProgressBar>,
    started: Instant,
    last: Instant,
    first: Option<usize>,
}

impl Progress {
    /// Progress of `total` pieces.
    pub fn new(title: &str, total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} ETA {eta}");
            let bar = ProgressBar::new(total as u64).with_message(title.to_owned());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self { title: title.to_owned(), total, bar, started: now, last: now, first: None }
    }

    /// `done` pieces of the total are done.
    pub fn at(&mut self, done: usize) {
        // What was done before the first call (a cache, a checkpoint) says nothing about the rate.
        let first = *self.first.get_or_insert(done);
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            return;
        }
        if self.last.elapsed() < LINE_EVERY || done == 0 {
            return;
        }
        self.last = Instant::now();
        let rate = (done - first) as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = if rate > 0.0 { duration((self.total.saturating_sub(done)) as f64 / rate) } else { "?".into() };
        eprintln!("{} {done}/{} ({rate:.2}/s, {left} left)", self.title, self.total);
    }

    /// A line that stays, above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `75 s`, `12 min`, `2.5 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// An error and its causes on one line, each said once.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

/// Writes a file beside `path` and renames it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = std::fs::remove_file(&part);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// A line on standard output; a closed pipe ends the program quietly, as for other filters.
pub fn print_line(text: &str) -> anyhow::Result<()> {
    print_piece(&format!("{text}\n"))
}

/// A piece of a line on standard output, at once.
pub fn print_piece(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("cannot write to standard output"),
    }
}
