//! ProcessBench and PRMBench-like files.
//!
//! ProcessBench rows have `label`, the index of the first wrong step or -1, and `prediction`, which is null where no
//! answer could be read; or `step_scores` with `--threshold`, or with `--threshold-on` the subset that it is chosen on. With
//! a column `subset` every subset is scored, and the average is the plain mean of their F1. Beside them stands what answers
//! reach that look at no solution. PRMBench rows have `step_scores` and `error_steps`, counted from 1 as in the release, and
//! may have a `classification`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use ascribe::eval::bench::{chance_f1, first_error, process_f1};
use ascribe::eval::protocol::{PrmItem, prm_score};
use ascribe::process::credit::best_threshold;
use serde_json::Value;

use crate::args::{PrmBenchArgs, ProcessBenchArgs};
use crate::drawing::Drawing;
use crate::findings::{Finding, Findings};
use crate::records::Records;

/// By subset: the predicted and the labelled first wrong steps, and the numbers of steps where scores say them.
type Subsets = BTreeMap<String, (Vec<Option<i64>>, Vec<i64>, Vec<usize>)>;

pub fn process_bench(args: &ProcessBenchArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let mut subsets = Subsets::new();
    let mut unread = 0;
    let has_subsets = records.has("subset");
    let threshold = match &args.threshold_on {
        Some(subset) => Some(best_on(&records, subset)?),
        None => args.threshold,
    };
    for row in &records.rows {
        let mut steps = None;
        let prediction = match threshold {
            Some(threshold) => {
                let scores = records.numbers(row, "step_scores")?;
                steps = Some(scores.len());
                Some(first_error(&scores, threshold).with_context(|| records.place(row))?)
            }
            None => match records.value(row, "prediction")? {
                Value::Null => None,
                _ => Some(records.integer(row, "prediction")?),
            },
        };
        unread += usize::from(prediction.is_none());
        let label = records.integer(row, "label")?;
        if label < -1 || steps.is_some_and(|steps| label >= steps as i64) {
            return Err(records.wrong(row, "label", "-1 or the index of a step", records.value(row, "label")?));
        }
        let subset = if has_subsets { records.label(row, "subset")? } else { "all".to_owned() };
        let (predictions, labels, lengths) = subsets.entry(subset).or_default();
        predictions.push(prediction);
        labels.push(label);
        lengths.extend(steps);
    }
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let mut findings =
        Findings::new("processbench").fact("input", records.name()).drawn(&bootstrap).fact("unread", unread);
    if let Some(threshold) = threshold {
        findings = findings.fact("threshold", threshold);
    }
    if let Some(subset) = &args.threshold_on {
        findings =
            findings.note(format!("The threshold is the best one of `{subset}`, whose own figures it flatters."));
    }
    let mut estimates = Vec::new();
    for (subset, (predictions, labels, lengths)) in &subsets {
        let scores = process_f1(predictions, labels, &bootstrap).with_context(|| format!("subset `{subset}`"))?;
        findings = findings
            .with(Finding::share(format!("{subset}, with an error"), &scores.accuracy_error))
            .with(Finding::share(format!("{subset}, correct"), &scores.accuracy_correct))
            .with(Finding::of(format!("{subset}, F1"), &scores.f1));
        let first = labels.iter().filter(|&&label| label == 0).count() as f64 / scores.accuracy_error.n as f64;
        findings = findings.with(Finding::number(format!("{subset}, with an error, always the first step"), first));
        if !lengths.is_empty() {
            findings = findings.with(Finding::number(format!("{subset}, F1 by chance"), chance_f1(labels, lengths)?));
        }
        estimates.push((subset.clone(), scores.f1));
    }
    if estimates.len() > 1 {
        let mean = estimates.iter().map(|(_, f1)| f1.value).sum::<f64>() / estimates.len() as f64;
        findings = findings.with(Finding::number("average F1", mean));
    }
    findings
        .note("To call every solution correct, or every first step wrong, has an F1 of 0.")
        .figure(verdicts(&subsets))
        .show(args.measure.json, args.file.report.as_deref())
}

/// The threshold with the highest F1 on one subset.
fn best_on(records: &Records, subset: &str) -> anyhow::Result<f64> {
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for row in &records.rows {
        if records.label(row, "subset")? == subset {
            scores.push(records.numbers(row, "step_scores")?);
            labels.push(records.integer(row, "label")?);
        }
    }
    if labels.is_empty() {
        bail!("threshold_on names a subset of the rows, and none has the `subset` {subset}; name one that is there");
    }
    Ok(best_threshold(&scores, &labels).with_context(|| format!("subset `{subset}`"))?.0)
}

/// What was said of solutions with and without a wrong step.
fn verdicts(subsets: &Subsets) -> Drawing {
    let mut counts = vec![vec![0; 4]; 2];
    for (predictions, labels, _) in subsets.values() {
        for (prediction, label) in predictions.iter().zip(labels) {
            let verdict = match prediction {
                None => 3,
                Some(-1) => 2,
                Some(step) if step == label => 0,
                Some(_) => 1,
            };
            counts[usize::from(*label == -1)][verdict] += 1;
        }
    }
    Drawing::counts(
        "Verdicts on solutions, all subsets together.",
        ("solution", &["with an error", "correct"]),
        ("verdict", &["its first wrong step", "another step", "no wrong step", "unread"]),
        counts,
    )
}

pub fn prm_bench(args: &PrmBenchArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let mut classes: BTreeMap<String, Vec<PrmItem>> = BTreeMap::new();
    let mut all = Vec::with_capacity(records.rows.len());
    let has_classes = records.has("classification");
    for row in &records.rows {
        let scores = records.numbers(row, "step_scores")?;
        let mut wrong = Vec::new();
        for step in records.numbers(row, "error_steps")? {
            if !(step.fract() == 0.0 && 1.0 <= step && step <= scores.len() as f64) {
                let place = records.place(row);
                bail!(
                    "{place}: `error_steps` must number steps from 1 to {}, got {step}; fix or delete the row",
                    scores.len()
                );
            }
            wrong.push(step as usize - 1);
        }
        let item = PrmItem { scores, wrong };
        if has_classes {
            classes.entry(records.label(row, "classification")?).or_default().push(item.clone());
        }
        all.push(item);
    }
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let total = prm_score(&all, args.threshold, &bootstrap)?;
    let mut estimates = Vec::new();
    for (class, items) in &classes {
        estimates.push((class.clone(), prm_score(items, args.threshold, &bootstrap)?.score));
    }
    estimates.push(("all".to_owned(), total.score));
    Findings::new("prmbench")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("threshold", args.threshold)
        .fact("steps", total.steps)
        .with(Finding::number("F1 of right steps", total.f1))
        .with(Finding::number("F1 of wrong steps", total.negative_f1))
        .with_all(estimates.iter().map(|(class, score)| Finding::of(format!("score, {class}"), score)))
        .figure(steps(&all, args.threshold))
        .show(args.measure.json, args.file.report.as_deref())
}

/// What was said of right and of wrong steps.
fn steps(items: &[PrmItem], threshold: f64) -> Drawing {
    let mut counts = vec![vec![0; 2]; 2];
    for item in items {
        for (step, score) in item.scores.iter().enumerate() {
            counts[usize::from(item.wrong.contains(&step))][usize::from(*score < threshold)] += 1;
        }
    }
    let sides = ["right", "wrong"];
    Drawing::counts("Verdicts on steps, all classes together.", ("step", &sides), ("called", &sides), counts)
}
