//! RewardMATH from its released score files, told apart by their columns:
//!
//! - `score` beside `chosen_position`: the verdicts of a pairwise judge against each wrong solution;
//! - `score` beside `solution_reference`: one number, or the scores of the steps, for each solution, the correct one from
//!   `human_to_GPT-4`; or `rewards`, as `ascribe score --reward` writes them;
//! - `solution_type` chosen or rejected, `problem_id` and `output.step_scores`: one correct solution against one wrong.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use ascribe::eval::Bootstrap;
use ascribe::eval::bench::{OneToMany, RewardMath, StepReduction, Unparsed, one_to_many, pairwise_one_to_many};
use ascribe::eval::pairs::{Ties, pair_accuracy};
use serde_json::Value;

use crate::args::RewardMathArgs;
use crate::findings::{Finding, Findings};
use crate::records::{self, Record, Records};

/// The source of the correct solution.
const CORRECT: &str = "human_to_GPT-4";

pub fn run(args: &RewardMathArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let reduction = args.aggregate.map(|name| name.reduction());
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let findings = if records.has("chosen_position") {
        if reduction.is_some() {
            bail!("these are verdicts of a judge, without step scores; leave out --aggregate");
        }
        judged(args, &records, &bootstrap)?
    } else if args.unparsed.is_some() {
        bail!("--unparsed says what verdicts of a judge count as, and these are scores; leave it out");
    } else if records.has("solution_type") {
        one_to_one(&records, reduction, &bootstrap)?
    } else {
        scored(&records, reduction, &bootstrap)?
    };
    findings.show(args.measure.json, args.file.report.as_deref())
}

fn start(records: &Records, reduction: Option<StepReduction>, bootstrap: &Bootstrap) -> Findings {
    let findings = Findings::new("rewardmath").fact("input", records.name()).drawn(bootstrap);
    match reduction {
        Some(reduction) => findings.fact("aggregate", format!("{reduction:?}")),
        None => findings,
    }
}

/// One number for a solution: its score, or its reduced step scores.
fn one_score(
    records: &Records,
    row: &Record,
    column: &str,
    value: &Value,
    reduction: Option<StepReduction>,
) -> anyhow::Result<f64> {
    let Some(steps) = value.as_array() else {
        if reduction.is_some() {
            bail!("{}: `{column}` has no step scores; leave out --aggregate", records.place(row));
        }
        return records::number(value).ok_or_else(|| records.wrong(row, column, "finite numbers", value));
    };
    let reduction = reduction.with_context(|| {
        format!("{}: `{column}` has step scores; say how they become one with --aggregate", records.place(row))
    })?;
    let steps: Option<Vec<f64>> = steps.iter().map(records::number).collect();
    let steps = steps.ok_or_else(|| records.wrong(row, column, "finite numbers", value))?;
    reduction.of(&steps).with_context(|| records.place(row))
}

fn scored(records: &Records, reduction: Option<StepReduction>, bootstrap: &Bootstrap) -> anyhow::Result<Findings> {
    let column = records.either("score", "rewards");
    let mut problems = Vec::with_capacity(records.rows.len());
    for row in &records.rows {
        let (sources, scores) = (records.list(row, "solution_reference")?, records.list(row, column)?);
        same_length(records, row, sources, scores)?;
        let mut problem = OneToMany { correct: Vec::new(), wrong: Vec::new() };
        for (source, score) in sources.iter().zip(scores) {
            let side = if source == CORRECT { &mut problem.correct } else { &mut problem.wrong };
            side.push(one_score(records, row, column, score, reduction)?);
        }
        if problem.correct.is_empty() || problem.wrong.is_empty() {
            bail!("{}: it needs a solution of `{CORRECT}` and one of another source", records.place(row));
        }
        problems.push(problem);
    }
    let scores = one_to_many(&problems, bootstrap)?;
    Ok(numbers(start(records, reduction, bootstrap), &scores))
}

fn judged(args: &RewardMathArgs, records: &Records, bootstrap: &Bootstrap) -> anyhow::Result<Findings> {
    let mut verdicts = Vec::with_capacity(records.rows.len());
    for row in &records.rows {
        let (places, said) = (records.list(row, "chosen_position")?, records.list(row, "score")?);
        same_length(records, row, places, said)?;
        let read = |(said, place): (&Value, &Value)| said.as_str().map(|said| place == said);
        verdicts.push(said.iter().zip(places).map(read).collect::<Vec<Option<bool>>>());
    }
    let pairs: usize = verdicts.iter().map(Vec::len).sum();
    let unparsed = args.unparsed.map_or(Unparsed::Loss, |name| name.policy());
    let (scores, unparsed) = pairwise_one_to_many(&verdicts, unparsed, bootstrap)?;
    let findings = start(records, None, bootstrap).fact("pairs", pairs).fact("unparsed", unparsed);
    Ok(numbers(findings, &scores))
}

fn numbers(findings: Findings, scores: &RewardMath) -> Findings {
    findings
        .with(Finding::share("accuracy", &scores.accuracy))
        .with(Finding::share("accuracy, ties right", &scores.accuracy_with_ties))
        .with(Finding::of("MRR", &scores.mrr))
        .with(Finding::number("pair accuracy", scores.pair_accuracy))
}

fn one_to_one(records: &Records, reduction: Option<StepReduction>, bootstrap: &Bootstrap) -> anyhow::Result<Findings> {
    let column = if records.has("output.step_scores") { "output.step_scores" } else { "score" };
    let mut problems: BTreeMap<String, [Option<f64>; 2]> = BTreeMap::new();
    for row in &records.rows {
        let side = match records.text(row, "solution_type")? {
            "chosen" => 0,
            "rejected" => 1,
            _ => {
                let value = records.value(row, "solution_type")?;
                return Err(records.wrong(row, "solution_type", "`chosen` or `rejected`", value));
            }
        };
        let id = records.label(row, "problem_id")?;
        let score = one_score(records, row, column, records.value(row, column)?, reduction)?;
        if problems.entry(id.clone()).or_default()[side].replace(score).is_some() {
            bail!("{}: problem_id `{id}` has this solution_type already; keep one row a solution", records.place(row));
        }
    }
    let (mut chosen, mut rejected) = (Vec::new(), Vec::new());
    for (id, sides) in problems {
        let [Some(right), Some(wrong)] = sides else {
            bail!("{}: problem_id `{id}` has one solution only; it needs a chosen and a rejected one", records.name());
        };
        chosen.push(right);
        rejected.push(wrong);
    }
    let pairs = pair_accuracy(&chosen, &rejected, Ties::Strict, bootstrap)?;
    Ok(start(records, reduction, bootstrap)
        .fact("ties", pairs.ties)
        .with(Finding::share("pair accuracy", &pairs.accuracy)))
}

fn same_length(records: &Records, row: &Record, names: &[Value], scores: &[Value]) -> anyhow::Result<()> {
    if names.len() == scores.len() && !scores.is_empty() {
        return Ok(());
    }
    let (names, scores) = (names.len(), scores.len());
    bail!("{}: {scores} scores for {names} solutions; both lists must be equally long", records.place(row))
}
