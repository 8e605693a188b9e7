//! `ascribe report`: one HTML file from what runs leave. A folder of `ascribe train` gives learning curves (`log.jsonl`) and
//! held-out figures (`summary.json`); a file gives what `eval`, `metric` and `compare` print with `--json`, several objects
//! one after another where they were appended, or the rows that `ascribe search` wrote.

mod searches;

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::eval::report::{Column, Forest, ForestRow, Lines, Report, Series, Table, number};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::args::ReportArgs;
use crate::findings::Findings;
use crate::output::{print_line, write_whole};
use searches::{Searched, searched};

/// What a line of the log says about itself and not about learning.
const BOOKKEEPING: [&str; 4] = ["step", "epoch", "num_tokens", "seconds"];

pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let (mut runs, mut results, mut searches) = (Vec::new(), Vec::new(), Vec::new());
    for path in &args.paths {
        if path.is_dir() {
            runs.push(Run::read(path)?);
            continue;
        }
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if serde_json::from_str::<Map<String, Value>>(first).is_ok_and(|first| Searched::begins_with(&first)) {
            searches.push(Searched::read(&name, &text)?);
        } else {
            results.extend(findings(&name, &text)?.into_iter().map(|one| (name.clone(), one)));
        }
    }
    let title = match &args.paths[..] {
        [path] => format!("ascribe: {}", path.display()),
        _ => "ascribe".to_owned(),
    };
    let mut report = Report::new(title);
    if !runs.is_empty() {
        report = training(report, &runs);
    }
    for (name, one) in &results {
        report = one.onto(report.section(format!("{}: {name}", one.title())))?;
    }
    if !searches.is_empty() {
        report = searched(report, &searches);
    }
    write_whole(&args.out, report.to_html().as_bytes())?;
    print_line(&format!("report: {}", args.out.display()))
}

/// What one or more commands printed with `--json`.
fn findings(name: &str, text: &str) -> anyhow::Result<Vec<Findings>> {
    let wanted = "it must hold what `ascribe eval`, `metric` or `compare` print with --json, or what `search` writes";
    let mut found = Vec::new();
    for object in serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>() {
        let object = object.with_context(|| format!("`{name}` is no result; {wanted}"))?;
        if !(object.contains_key("name") && object.contains_key("measures")) {
            bail!("`{name}` has no `name` and `measures`; {wanted} (a training run is named by its folder)");
        }
        found.push(Findings::from_json(object).with_context(|| format!("`{name}` is no result; {wanted}"))?);
    }
    if found.is_empty() {
        bail!("`{name}` is empty; {wanted}");
    }
    Ok(found)
}

/// What a training run left.
struct Run {
    name: String,
    /// Lines of the log.
    steps: Vec<Map<String, Value>>,
    /// Lines that could not be read: a killed run may end in the middle of one.
    unread: usize,
    /// Figures on held-out rows; empty where none were held out, or before the end.
    summary: Map<String, Value>,
}

/// A figure of the summary: a number, or one with its interval.
#[derive(Deserialize)]
#[serde(untagged)]
enum Held {
    Number(f64),
    Estimate { value: f64, interval: Option<Ends>, n: usize },
}

/// The ends of an interval.
#[derive(Deserialize)]
struct Ends {
    low: f64,
    high: f64,
}

impl Run {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let name = folder.display().to_string();
        let text = std::fs::read_to_string(folder.join("log.jsonl")).with_context(|| {
            format!("`{name}` holds no log.jsonl; name the output folder of `ascribe train`, or a file of results")
        })?;
        let lines: Vec<Option<Map<String, Value>>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        let unread = lines.iter().filter(|line| line.is_none()).count();
        let path = folder.join("summary.json");
        let mut summary = Map::new();
        if path.exists() {
            let unreadable = || format!("cannot read `{}`", path.display());
            let text = std::fs::read_to_string(&path).with_context(unreadable)?;
            summary = serde_json::from_str(&text).with_context(unreadable)?;
        }
        Ok(Self { name, steps: lines.into_iter().flatten().collect(), unread, summary })
    }

    /// The largest number under `key` in the log.
    fn last(&self, key: &str) -> f64 {
        self.steps.iter().filter_map(|line| line.get(key)?.as_f64()).fold(0.0, f64::max)
    }

    /// The step of the best checkpoint.
    fn best(&self) -> Option<f64> {
        self.summary.get("best_checkpoint")?.as_f64()
    }

    fn held(&self, name: &str) -> Option<Held> {
        serde_json::from_value(self.summary.get(name)?.clone()).ok()
    }
}

/// Adds the section of the training runs.
fn training(report: Report, runs: &[Run]) -> Report {
    let mut columns = vec![Column::left("run")];
    columns.extend(["steps", "epochs", "tokens"].map(Column::right));
    let row = |run: &Run| -> Vec<String> {
        let counts = ["step", "epoch", "num_tokens"].map(|key| number(run.last(key))).into_iter();
        [run.name.clone()].into_iter().chain(counts).collect()
    };
    let rows = runs.iter().map(row).collect();
    let mut report = report.section("Training").table("What was trained on.", Table { columns, rows });
    for run in runs.iter().filter(|run| run.unread > 0) {
        let noun = if run.unread == 1 { "line" } else { "lines" };
        report = report.text(format!("{}: {} {noun} of the log could not be read.", run.name, run.unread));
    }
    report = held_out(report, runs);
    for (statistic, series) in curves(runs) {
        let ring = if series.iter().any(|one| one.best.is_some()) { " A ring marks the best checkpoint." } else { "" };
        let caption = format!("{statistic}, by optimizer step.{ring}");
        report = report.figure(caption, Lines { x_label: "optimizer step".into(), y_label: statistic, series });
    }
    report
}

/// Adds the figures on held-out rows: a table, and for those with intervals the runs one below another.
fn held_out(mut report: Report, runs: &[Run]) -> Report {
    let (mut rows, mut forests) = (Vec::new(), Vec::<Forest>::new());
    for run in runs {
        for measure in run.summary.keys() {
            let Some(held) = run.held(measure) else { continue };
            let (value, interval, n) = match held {
                Held::Number(value) => (value, None, None),
                Held::Estimate { value, interval, n } => (value, interval, Some(n)),
            };
            let ends = interval.as_ref().map_or_else(String::new, |ends| {
                let [low, high] = [ends.low, ends.high].map(number);
                format!("[{low}, {high}]")
            });
            let n_text = n.map_or_else(String::new, |n| n.to_string());
            rows.push(vec![run.name.clone(), measure.clone(), number(value), ends, n_text]);
            let Some(Ends { low, high }) = interval else { continue };
            let row = ForestRow { name: run.name.clone(), value, low, high, n };
            match forests.iter_mut().find(|forest| forest.label == *measure) {
                Some(forest) => forest.rows.push(row),
                None => {
                    forests.push(Forest { label: measure.clone(), rows: vec![row], reference: chance(measure) });
                }
            }
        }
    }
    if rows.is_empty() {
        return report.text("No figures on held-out rows: none were held out, or the runs have not ended.");
    }
    let mut columns = ["run", "measure"].map(Column::left).to_vec();
    columns.extend(["value", "interval", "n"].map(Column::right));
    report = report.table("Held-out rows, at the end.", Table { columns, rows });
    for forest in forests {
        report = report.figure(format!("{} on held-out rows, with its interval.", forest.label), forest);
    }
    report
}

/// What a figure is where nothing was learned.
fn chance(measure: &str) -> Option<f64> {
    match measure {
        "reward_accuracy" => Some(0.5),
        "reward_margin" => Some(0.0),
        _ => None,
    }
}

/// For each statistic of the logs, in the order of the logs, a line for training and one for the held-out rows of each run.
fn curves(runs: &[Run]) -> Vec<(String, Vec<Series>)> {
    let mut curves: Vec<(String, Vec<Series>)> = Vec::new();
    for run in runs {
        let of = |side: &str| if runs.len() == 1 { side.to_owned() } else { format!("{}, {side}", run.name) };
        let sides = [of("training"), of("held out")];
        for line in &run.steps {
            let Some(step) = line.get("step").and_then(Value::as_f64) else { continue };
            for (key, value) in line.iter().filter(|(key, _)| !BOOKKEEPING.contains(&key.as_str())) {
                let value = match value {
                    Value::Number(value) => value.as_f64().unwrap_or(f64::NAN),
                    // JSON has no other word for what is not finite.
                    Value::Null => f64::NAN,
                    _ => continue,
                };
                let held_out = key.strip_prefix("eval_");
                let (statistic, side) = (held_out.unwrap_or(key), &sides[usize::from(held_out.is_some())]);
                let at = curves.iter().position(|(name, _)| name == statistic).unwrap_or_else(|| {
                    curves.push((statistic.to_owned(), Vec::new()));
                    curves.len() - 1
                });
                let series = &mut curves[at].1;
                let at = series.iter().position(|one| one.name == *side).unwrap_or_else(|| {
                    series.push(Series { name: side.clone(), ..Series::default() });
                    series.len() - 1
                });
                series[at].points.push((step, value));
                if held_out.is_some() && run.best() == Some(step) {
                    series[at].best = Some((step, value));
                }
            }
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(name: &str, lines: &[Value], summary: Value) -> Run {
        let map = |value: &Value| value.as_object().unwrap().clone();
        Run { name: name.into(), steps: lines.iter().map(map).collect(), unread: 0, summary: map(&summary) }
    }

    #[test]
    fn a_statistic_has_a_line_for_each_run_and_side() {
        let lines = [
            json!({"step": 1, "epoch": 0.5, "loss": 0.7, "seconds": 1.0}),
            json!({"step": 1, "epoch": 0.5, "eval_loss": 0.6, "seconds": 1.0}),
            json!({"step": 2, "epoch": 1.0, "loss": null, "grad_norm": 3.0}),
        ];
        let one = run("a", &lines, json!({"best_checkpoint": 1}));
        let found = curves(&[one]);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["loss", "grad_norm"]);
        let [training, held_out] = &found[0].1[..] else { panic!("{found:?}") };
        assert_eq!((training.name.as_str(), held_out.name.as_str()), ("training", "held out"));
        assert!(training.points[0] == (1.0, 0.7) && training.points[1].1.is_nan() && training.best.is_none());
        assert_eq!((held_out.points.clone(), held_out.best), (vec![(1.0, 0.6)], Some((1.0, 0.6))));
        let two = [run("a", &lines[..1], json!({})), run("b", &lines[..1], json!({}))];
        let names: Vec<String> = curves(&two)[0].1.iter().map(|series| series.name.clone()).collect();
        assert_eq!(names, ["a, training", "b, training"]);
    }
}
