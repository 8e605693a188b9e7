//! `ascribe metric`: one metric of the table from the columns of a file.

use anyhow::{Context, anyhow, bail};
use ascribe::eval::calibrate::Binning;
use ascribe::eval::slices::{GroupMask, MIN_GROUP, by_group};
use ascribe::eval::{Bootstrap, CLUSTER, Column, Columns, Direction, EvalError, Holds, METRICS, ScalarMetric};
use serde_json::{Value, json};

use crate::args::MetricArgs;
use crate::config::closest;
use crate::drawing::Drawing;
use crate::findings::{Finding, Findings, table};
use crate::output::print_line;
use crate::records::Records;

pub fn run(args: &MetricArgs) -> anyhow::Result<()> {
    if args.list {
        return list(args.measure.json);
    }
    let (name, input) = args.name.as_deref().zip(args.input.as_deref()).context("name a metric and give --input")?;
    let metric = named(name)?;
    let sources = sources(metric, &args.columns)?;
    let records = Records::read(input)?;
    let mut columns = Columns::new();
    for ((column, source), (_, holds)) in sources.iter().zip(metric.columns) {
        columns = match holds {
            Holds::Texts => columns.with_labels(column, records.every(source, Records::label)?),
            _ => columns.with_numbers(column, records.every(source, Records::number)?),
        };
    }
    if let Some(cluster) = &args.cluster {
        columns = columns.with_labels(CLUSTER, records.every(cluster, Records::label)?);
    }
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let estimate = metric.measure(&columns, &bootstrap).map_err(|error| located(error, &records))?;
    let findings = Findings::new(metric.name)
        .fact("input", records.name())
        .drawn(&bootstrap)
        .with(Finding::of(metric.name, &estimate))
        .note(format!("{}; {}", metric.doc, better(metric.direction)));
    let findings = match (columns.get("p"), columns.get("label")) {
        // Probabilities and what came true.
        (Ok(Column::Numbers(p)), Ok(Column::Numbers(label))) => {
            let came_true: Vec<bool> = label.iter().map(|label| *label == 1.0).collect();
            findings.figure(Drawing::reliability("mean p", p, &came_true, Binning::default())?)
        }
        _ => findings,
    };
    let findings = match &args.by {
        Some(by) => {
            let tags = records.every(by, Records::label)?;
            by_tag(findings, metric, &columns, by, &tags, &bootstrap)?
        }
        None => findings,
    };
    findings.print(args.measure.json)
}

/// The same with the metric of the rows of each tag, their plain mean over the tags that have one, and the tags with the smallest and the largest value.
fn by_tag(
    mut findings: Findings,
    metric: &ScalarMetric,
    columns: &Columns,
    by: &str,
    tags: &[String],
    bootstrap: &Bootstrap,
) -> anyhow::Result<Findings> {
    let groups = GroupMask::of_tags(tags)?;
    let found = by_group(columns.rows(), &groups, MIN_GROUP, |rows| metric.measure(&columns.pick(rows)?, bootstrap))?;
    let mut values = Vec::new();
    for (tag, rows, result) in &found.groups {
        values.extend(result.as_ref().ok().map(|estimate| estimate.value));
        let name = format!("{} of {by}={tag}", metric.name);
        findings = match result {
            Ok(estimate) => findings.with(Finding::of(name, estimate)),
            Err(error) => findings.note(format!("{name}, {rows} of {} rows: {error}", tags.len())),
        };
    }
    if values.len() > 1 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        findings = findings.with(Finding::number(format!("{}, mean over {by}", metric.name), mean));
    }
    if let (Some((lowest, low)), Some((highest, high))) = (&found.lowest, &found.highest) {
        let of = format!("of the tags with at least {MIN_GROUP} rows");
        findings = findings
            .note(format!("{of}, {lowest} has the lowest value ({low:.4}) and {highest} the highest ({high:.4})"));
    }
    Ok(findings)
}

/// The metric, or the nearest name.
fn named(name: &str) -> anyhow::Result<&'static ScalarMetric> {
    METRICS.iter().find(|metric| metric.name == name).ok_or_else(|| {
        let close = closest(name, METRICS.iter().map(|metric| metric.name));
        anyhow!("there is no metric `{name}`{close}; `ascribe metric --list` shows all")
    })
}

/// For each column of the metric, the column of the file that it is read from.
fn sources(metric: &ScalarMetric, given: &[String]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut sources: Vec<(&str, String)> = metric.columns.iter().map(|&(name, _)| (name, name.to_owned())).collect();
    for pair in given {
        let Some((column, source)) = pair.split_once('=') else {
            bail!("`--columns {pair}` must be `column=column of the file`, such as `score=reward`");
        };
        let names: Vec<&str> = metric.columns.iter().map(|&(name, _)| name).collect();
        match sources.iter_mut().find(|(name, _)| *name == column) {
            Some((_, place)) => *place = source.to_owned(),
            None => {
                let close = closest(column, names.iter().copied());
                bail!("the metric `{}` reads no column `{column}`{close}; it reads {}", metric.name, names.join(", "));
            }
        }
    }
    Ok(sources)
}

/// An error of the library with the line of the file instead of the index of the record.
fn located(error: EvalError, records: &Records) -> anyhow::Error {
    let EvalError::OutOfRange { what, rule, index, got } = error else { return error.into() };
    match records.rows.get(index) {
        Some(row) => anyhow!("{}: {what} must be {rule}, got {got}; fix or delete the row", records.place(row)),
        None => EvalError::OutOfRange { what, rule, index, got }.into(),
    }
}

fn better(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "larger is better",
        Direction::Down => "smaller is better",
        Direction::Zero => "nearer to 0 is better",
    }
}

fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Numbers => "number",
        Holds::Shares => "0..1",
        Holds::Flags => "0 or 1",
        Holds::Counts => "count",
        Holds::Steps => "step or -1",
        Holds::Texts => "text",
    }
}

fn list(as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let bound = |bound: f64| bound.is_finite().then_some(bound);
        let metrics: Vec<Value> = METRICS
            .iter()
            .map(|metric| {
                let columns: Vec<&str> = metric.columns.iter().map(|(name, _)| *name).collect();
                json!({
                    "name": metric.name,
                    "columns": columns,
                    "low": bound(metric.range.0),
                    "high": bound(metric.range.1),
                    "better": better(metric.direction),
                    "doc": metric.doc,
                })
            })
            .collect();
        return print_line(&Value::Array(metrics).to_string());
    }
    let rows = METRICS.iter().map(|metric| {
        let columns: Vec<String> =
            metric.columns.iter().map(|(name, what)| format!("{name} ({})", holds(*what))).collect();
        let range = format!("{}..{}", metric.range.0, metric.range.1);
        vec![
            metric.name.to_owned(),
            columns.join(", "),
            range,
            better(metric.direction).to_owned(),
            metric.doc.to_owned(),
        ]
    });
    print_line(&table(&["metric", "columns", "range", "direction", "measures"], rows.collect()))
}
