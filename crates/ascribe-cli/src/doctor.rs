//! `ascribe doctor`: the faults of data, as a table or as JSON, and as an exit code.

use std::process::ExitCode;

use anyhow::bail;
use ascribe::core::Seed;
use ascribe::data::{ColumnMap, Diagnosis, Doctor, Finding, ModelText, NearDuplicates};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde_json::{Value, json};

use crate::args::DoctorArgs;
use crate::output::print_line;
use crate::words::Words;

pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    if args.max_length < 2 {
        bail!("max_length must be at least 2 (one prompt token and one response token), got {}", args.max_length);
    }
    if args.similarity.is_some() && args.test_set.is_none() && !args.near_duplicates {
        bail!("similarity does nothing without --test-set or --near-duplicates; name one, or leave it out");
    }
    let similarity = args.similarity.unwrap_or(0.8);
    let columns = ColumnMap::parse(&args.columns)?;
    let words = args.model.as_deref().map(Words::load).transpose()?;
    let text = words.as_ref().map(|words| ModelText {
        tokenizer: &words.tokenizer,
        template: words.template.as_ref(),
        max_length: words.limit(args.max_length),
    });
    let test_set = match &args.test_set {
        // The map of the data, where it fits the test set too.
        Some(path) => Some(
            NearDuplicates::of_prompts(path, &columns, similarity, Seed(0))
                .or_else(|_| NearDuplicates::of_prompts(path, &ColumnMap::default(), similarity, Seed(0)))?,
        ),
        None => None,
    };
    let near_duplicates = args.near_duplicates.then_some(similarity);
    let diagnosis = Doctor { text, test_set, near_duplicates }.examine(&args.data, &columns, args.kind)?;
    match args.json {
        true => print_line(&json(&diagnosis)?.to_string())?,
        false => print_table(&diagnosis, words.is_some())?,
    }
    Ok(if diagnosis.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn json(diagnosis: &Diagnosis) -> anyhow::Result<Value> {
    let finding = |finding: &Finding| {
        json!({
            "check": finding.check.name(),
            "rows": finding.rows,
            "lines": finding.lines,
            "detail": finding.detail,
            "advice": finding.check.advice(),
        })
    };
    let mut figures = serde_json::Map::new();
    for figure in &diagnosis.figures {
        figures.insert(figure.name.to_owned(), serde_json::to_value(figure.estimate)?);
    }
    Ok(json!({
        "kind": diagnosis.kind.name(),
        "rows": diagnosis.rows,
        "unit": diagnosis.unit,
        "notes": diagnosis.notes,
        "findings": diagnosis.findings.iter().map(finding).collect::<Vec<_>>(),
        "figures": figures,
    }))
}

fn print_table(diagnosis: &Diagnosis, looked_into_text: bool) -> anyhow::Result<()> {
    diagnosis.notes.iter().for_each(|note| eprintln!("{note}"));
    print_line(&format!("{} rows of the kind {}", diagnosis.rows, diagnosis.kind.name()))?;
    for figure in &diagnosis.figures {
        print_line(&format!("{}: {}", figure.name, figure.estimate))?;
    }
    if !looked_into_text {
        eprintln!("tokens, templates and truncation were not looked into; name a --model");
    }
    if diagnosis.findings.is_empty() {
        return print_line("no findings");
    }
    let mut table = comfy_table::Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(vec!["check", "rows", diagnosis.unit, "what to do"]);
    for finding in &diagnosis.findings {
        let rows = if finding.rows == 0 { "-".to_owned() } else { finding.rows.to_string() };
        let lines: Vec<String> = finding.lines.iter().map(usize::to_string).collect();
        let more = if finding.rows > lines.len() { ", .." } else { "" };
        let advice = match finding.detail.as_str() {
            "" => finding.check.advice().to_owned(),
            detail => format!("{}: {detail}", finding.check.advice()),
        };
        table.add_row(vec![finding.check.name().to_owned(), rows, lines.join(", ") + more, advice]);
    }
    print_line(&table.to_string())
}
