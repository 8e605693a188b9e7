//! What was measured: a table on standard output, the same as one JSON object, or a report.

use std::path::Path;

use anyhow::Context;
use ascribe::eval::report::{Column, Group, Point, Points, Report, Table};
use ascribe::eval::{Bootstrap, Estimate, Interval};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde_json::{Map, Value, json};

use crate::output::{print_line, write_whole};

/// One number that was measured.
pub struct Finding {
    name: String,
    value: f64,
    interval: Option<Interval>,
    right: Option<usize>,
    n: Option<usize>,
}

impl Finding {
    /// An estimate.
    pub fn of(name: impl Into<String>, estimate: &Estimate) -> Self {
        let Estimate { value, interval, n } = *estimate;
        Self { name: name.into(), value, interval, right: None, n: Some(n) }
    }

    /// An estimate that is a share of `n` things: the table shows how many, unless some counted half.
    pub fn share(name: impl Into<String>, estimate: &Estimate) -> Self {
        let count = estimate.value * estimate.n as f64;
        let whole = (count - count.round()).abs() < 1e-6;
        Self { right: whole.then(|| count.round() as usize), ..Self::of(name, estimate) }
    }

    /// A number without an interval.
    pub fn number(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, interval: None, right: None, n: None }
    }
}

/// Everything that one command found.
pub struct Findings {
    title: String,
    facts: Vec<(String, Value)>,
    findings: Vec<Finding>,
    notes: Vec<String>,
    figures: Vec<(String, Points)>,
}

impl Findings {
    /// Nothing yet; `title` names the metric or protocol.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), facts: Vec::new(), findings: Vec::new(), notes: Vec::new(), figures: Vec::new() }
    }

    /// A setting or a count.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// How bootstrap intervals were found. A measure whose interval comes from elsewhere names its own method.
    #[must_use]
    pub fn drawn(self, bootstrap: &Bootstrap) -> Self {
        let method = if bootstrap.resamples > 0 { bootstrap.method.name() } else { "no bootstrap" };
        self.fact("resamples", bootstrap.resamples).fact("seed", bootstrap.seed.0).fact("method", method)
    }

    /// One more number.
    #[must_use]
    pub fn with(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    /// More numbers.
    #[must_use]
    pub fn with_all(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(findings);
        self
    }

    /// A sentence under the table.
    #[must_use]
    pub fn note(mut self, sentence: impl Into<String>) -> Self {
        self.notes.push(sentence.into());
        self
    }

    /// A figure of the report.
    #[must_use]
    pub fn figure(mut self, caption: impl Into<String>, points: Points) -> Self {
        self.figures.push((caption.into(), points));
        self
    }

    /// A figure of estimates side by side.
    #[must_use]
    pub fn forest(self, caption: &str, y_label: &str, estimates: &[(String, Estimate)]) -> Self {
        let points = estimates.iter().enumerate().map(|(at, (name, estimate))| Point {
            x: at as f64 + 1.0,
            y: estimate.value,
            low: estimate.interval.map_or(f64::NAN, |interval| interval.low),
            high: estimate.interval.map_or(f64::NAN, |interval| interval.high),
            label: name.clone(),
        });
        let group = Group { name: y_label.to_owned(), points: points.collect() };
        self.figure(
            caption,
            Points {
                x_label: "place in the table".to_owned(),
                y_label: y_label.to_owned(),
                groups: vec![group],
                ..Points::default()
            },
        )
    }

    /// Prints the table, or one JSON object.
    pub fn print(&self, as_json: bool) -> anyhow::Result<()> {
        print_line(&if as_json { self.json().to_string() } else { self.text() })
    }

    /// Prints, and writes the report if one is wanted.
    pub fn show(&self, as_json: bool, report: Option<&Path>) -> anyhow::Result<()> {
        if let Some(path) = report {
            write_whole(path, self.html().as_bytes()).with_context(|| "no report was written")?;
        }
        self.print(as_json)
    }

    fn text(&self) -> String {
        let facts = self.facts.iter().map(|(name, value)| format!("{name} {}", plain(value)));
        let mut lines = vec![facts.fold(self.title.clone(), |line, fact| format!("{line}, {fact}"))];
        if !self.findings.is_empty() {
            let (header, rows) = self.cells();
            lines.push(table(&header, rows));
        }
        lines.extend(self.notes.iter().cloned());
        lines.join("\n")
    }

    fn cells(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let level = self.findings.iter().find_map(|one| one.interval).map_or(0.95, |interval| interval.level);
        let interval = if (level - 0.95).abs() < 1e-12 { "95 % interval" } else { "interval" };
        let count = |count: Option<usize>| count.map_or_else(String::new, |count| count.to_string());
        let rows = self.findings.iter().map(|one| {
            let limits = one.interval.map_or_else(String::new, |at| format!("[{:.4}, {:.4}]", at.low, at.high));
            vec![one.name.clone(), format!("{:.4}", one.value), limits, count(one.right), count(one.n)]
        });
        (vec!["measure", "value", interval, "count", "n"], rows.collect())
    }

    /// The whole as one object.
    pub fn json(&self) -> Value {
        let mut object = Map::from_iter([("name".to_owned(), json!(self.title))]);
        object.extend(self.facts.iter().cloned());
        let measures = self.findings.iter().map(|one| {
            let mut measure = Map::from_iter([("value".to_owned(), json!(one.value))]);
            if let Some(Interval { low, high, level, method }) = one.interval {
                let entries =
                    [("low", json!(low)), ("high", json!(high)), ("level", json!(level)), ("method", json!(method))];
                measure.extend(entries.map(|(name, value)| (name.to_owned(), value)));
            }
            let counts = [("count", one.right), ("n", one.n)];
            measure.extend(counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?)))));
            (one.name.clone(), Value::Object(measure))
        });
        object.insert("measures".to_owned(), Value::Object(measures.collect()));
        if !self.notes.is_empty() {
            object.insert("notes".to_owned(), json!(self.notes));
        }
        Value::Object(object)
    }

    fn html(&self) -> String {
        let (header, rows) = self.cells();
        let columns = header.iter().enumerate().map(|(at, name)| match at {
            0 => Column::left(*name),
            _ => Column::right(*name),
        });
        let mut report = Report::new(format!("ascribe: {}", self.title))
            .facts(self.facts.iter().map(|(name, value)| (name.clone(), plain(value))))
            .table("What was measured.", Table { columns: columns.collect(), rows });
        for note in &self.notes {
            report = report.text(note.clone());
        }
        for (caption, points) in &self.figures {
            report = report.figure(caption.clone(), points.clone());
        }
        report.to_html()
    }
}

/// A table as text.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    table.to_string()
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
