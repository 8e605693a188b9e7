//! What was measured: a table on standard output, the same as one JSON object, or a report.

use std::path::Path;

use anyhow::Context;
use ascribe::eval::report::{Column, Forest, ForestRow, Report, Table};
use ascribe::eval::{Bootstrap, Estimate, Interval};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::drawing::Drawing;
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
    figures: Vec<Drawing>,
}

/// A measure as JSON holds it.
#[derive(Deserialize)]
struct Measure {
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    level: Option<f64>,
    count: Option<usize>,
    n: Option<usize>,
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
    pub fn figure(mut self, figure: Drawing) -> Self {
        self.figures.push(figure);
        self
    }

    /// What [`json`](Self::json) wrote.
    pub fn from_json(object: Map<String, Value>) -> anyhow::Result<Self> {
        let mut findings = Self::new("");
        for (key, value) in object {
            match key.as_str() {
                "name" => findings.title = plain(&value),
                "measures" => {
                    let measures: Map<String, Value> = serde_json::from_value(value).context("`measures`")?;
                    for (name, measure) in measures {
                        let measure: Measure =
                            serde_json::from_value(measure).with_context(|| format!("measure `{name}`"))?;
                        findings.findings.push(measure.finding(name));
                    }
                }
                "notes" => findings.notes = serde_json::from_value(value).context("`notes`")?,
                "figures" => findings.figures = serde_json::from_value(value).context("`figures`")?,
                _ => findings.facts.push((key, value)),
            }
        }
        Ok(findings)
    }

    /// The metric or protocol.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Prints the table, or one JSON object.
    pub fn print(&self, as_json: bool) -> anyhow::Result<()> {
        print_line(&if as_json { self.json().to_string() } else { self.text() })
    }

    /// Prints, and writes the report if one is wanted.
    pub fn show(&self, as_json: bool, report: Option<&Path>) -> anyhow::Result<()> {
        if let Some(path) = report {
            let html = self.onto(Report::new(format!("ascribe: {}", self.title)))?.to_html();
            write_whole(path, html.as_bytes()).context("no report was written")?;
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

    /// What its intervals are called.
    fn interval(&self) -> &'static str {
        let level = self.findings.iter().find_map(|one| one.interval).map_or(0.95, |interval| interval.level);
        if (level - 0.95).abs() < 1e-12 { "95 % interval" } else { "interval" }
    }

    fn cells(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let interval = self.interval();
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
        if !self.figures.is_empty() {
            object.insert("figures".to_owned(), json!(self.figures));
        }
        Value::Object(object)
    }

    /// Adds all of it to a report.
    pub fn onto(&self, mut report: Report) -> anyhow::Result<Report> {
        if !self.facts.is_empty() {
            report = report.facts(self.facts.iter().map(|(name, value)| (name.clone(), plain(value))));
        }
        if !self.findings.is_empty() {
            let (header, rows) = self.cells();
            let columns = header.iter().enumerate().map(|(at, name)| match at {
                0 => Column::left(*name),
                _ => Column::right(*name),
            });
            report = report.table("What was measured.", Table { columns: columns.collect(), rows });
        }
        for note in &self.notes {
            report = report.text(note);
        }
        if let Some(forest) = self.forest() {
            report = report.figure("The measures that have an interval.", forest);
        }
        for figure in &self.figures {
            report = figure.onto(report)?;
        }
        Ok(report)
    }

    /// The measures with an interval, one below another; a difference is held against 0.
    fn forest(&self) -> Option<Forest> {
        let row = |one: &Finding| {
            let Interval { low, high, .. } = one.interval?;
            Some(ForestRow { name: one.name.clone(), value: one.value, low, high, n: one.n })
        };
        let rows: Vec<ForestRow> = self.findings.iter().filter_map(row).collect();
        let reference = rows.iter().any(|row| row.name == "difference").then_some(0.0);
        (!rows.is_empty()).then(|| Forest { label: format!("value ({})", self.interval()), rows, reference })
    }
}

impl Measure {
    fn finding(self, name: String) -> Finding {
        let Self { value, low, high, level, count, n } = self;
        let interval =
            low.zip(high).map(|(low, high)| Interval { low, high, level: level.unwrap_or(0.95), method: "as written" });
        Finding { name, value, interval, right: count, n }
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
