//! A judge that marks answers: rows with the teacher's `mark` and the judge's `reply`, whose last line gives a mark. With a
//! judge (`--model`) rows have `question`, `reference` and `answer`, and `rubric` if there is one; `--own-rubric` asks the
//! judge for one before it marks, and `--gradings` shows worked gradings first. With a `second_mark` the judge is held against
//! the teachers where these agree; with a `peer_mark` peers stand beside it.

use std::collections::BTreeMap;

use anyhow::bail;
use ascribe::core::Tokens;
use ascribe::eval::protocol::{Assignment, WorkedGrading, grade_prompt, read_mark, rubric_request};
use ascribe::eval::rank::{KappaWeights, TEACHERS_AGREE, cohen_kappa, gated_agreement, grading_error};
use ascribe::eval::{Bootstrap, EvalError};

use super::model::{Asked, each_row};
use crate::args::GradeArgs;
use crate::findings::{Finding, Findings};
use crate::records::{Record, Records};

/// Most grades of a scale whose kappa is measured.
const GRADES: f64 = 1000.0;

pub fn run(args: &GradeArgs) -> anyhow::Result<()> {
    let (records, max_mark) = (Records::read(&args.file.input)?, args.max_mark);
    if !(0.0 < max_mark && max_mark.is_finite()) {
        bail!("max_mark must be finite and above 0, got {max_mark}");
    }
    let column = |name: &str| records.has(name).then(|| marks(&records, name, max_mark)).transpose();
    let (teacher, second, peers) = (marks(&records, "mark", max_mark)?, column("second_mark")?, column("peer_mark")?);
    let replies = match Asked::load(&args.model)? {
        Some(asked) => ask(args, &asked, &records)?,
        None if records.has("reply") => records.every("reply", Records::label)?,
        None => bail!("there is no judge; give --model, or rows with the column `reply`"),
    };
    let given: Vec<Option<f64>> = replies.iter().map(|reply| read_mark(reply, max_mark)).collect();
    let judge: Vec<f64> = given.iter().copied().flatten().collect();
    if judge.is_empty() {
        bail!(
            "{}: no reply ends with `Score: <mark>/{max_mark}`, so there is nothing to measure; give the judge more tokens, \
             or another judge",
            records.name()
        );
    }
    // Rows without a mark are counted, and nothing is put in its place.
    let of = |marks: &[f64]| -> Vec<f64> {
        marks.iter().zip(&given).filter(|(_, given)| given.is_some()).map(|(mark, _)| *mark).collect()
    };
    let teacher = of(&teacher);
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let mut findings = Findings::new("grade")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("max_mark", max_mark)
        .fact("without a mark", given.len() - judge.len());
    if let Some(second) = second {
        let grades = (grades(&judge, max_mark), grades(&teacher, max_mark), grades(&of(&second), max_mark));
        let (Some(judge), Some(one), Some(other)) = grades else {
            bail!(
                "agreement with second_mark is of whole marks up to {GRADES}; round the marks, or leave the column out"
            );
        };
        let agreement = gated_agreement(&judge, [&one, &other], max_mark as u32 + 1, TEACHERS_AGREE, &bootstrap)?;
        findings = findings.with(Finding::of("quadratic kappa, teachers", &agreement.teachers));
        let Some([_, with_second]) = agreement.judge else {
            let note = format!("The teachers' kappa is below {TEACHERS_AGREE}, so the judge is not held against them.");
            return findings.note(note).show(args.measure.json, args.file.report.as_deref());
        };
        findings = findings.with(Finding::of("quadratic kappa, second teacher", &with_second));
    }
    findings = agreement(findings, &judge, &teacher, max_mark, &bootstrap)?;
    let errors = grading_error(&judge, &teacher, max_mark, &bootstrap)?;
    findings = findings
        .with(Finding::of("mean absolute error", &errors.mae))
        .with(Finding::of("mean squared error", &errors.mse))
        .with(Finding::of("bias", &errors.bias))
        .with(Finding::share("the same mark", &errors.exact))
        .with(Finding::share("at most 1 apart", &errors.within_one));
    if let Some(peers) = peers {
        let errors = grading_error(&of(&peers), &teacher, max_mark, &bootstrap)?;
        findings = findings.with(Finding::of("mean absolute error, peers", &errors.mae));
    }
    let usual = vec![teacher.iter().sum::<f64>() / teacher.len() as f64; teacher.len()];
    let errors = grading_error(&usual, &teacher, max_mark, &bootstrap)?;
    findings
        .with(Finding::of("mean absolute error, one mark for all", &errors.mae))
        .show(args.measure.json, args.file.report.as_deref())
}

/// Kappas with the teacher, where marks are grades and not all alike.
fn agreement(
    mut findings: Findings,
    judge: &[f64],
    teacher: &[f64],
    max_mark: f64,
    bootstrap: &Bootstrap,
) -> anyhow::Result<Findings> {
    let (Some(judge), Some(teacher)) = (grades(judge, max_mark), grades(teacher, max_mark)) else {
        return Ok(findings.note("Not all marks are whole: no kappa."));
    };
    let kinds = [("Cohen's kappa", KappaWeights::Unweighted), ("quadratic kappa", KappaWeights::Quadratic)];
    for (name, weights) in kinds {
        findings = match cohen_kappa(&judge, &teacher, max_mark as u32 + 1, weights, bootstrap) {
            Ok(kappa) => findings.with(Finding::of(name, &kappa)),
            Err(error @ EvalError::Degenerate { .. }) => return Ok(findings.note(format!("No kappa: {error}."))),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(findings)
}

/// Marks of a column, each inside the scale.
fn marks(records: &Records, column: &str, max_mark: f64) -> anyhow::Result<Vec<f64>> {
    records.every(column, |records, row, column| {
        let mark = records.number(row, column)?;
        if (0.0..=max_mark).contains(&mark) {
            return Ok(mark);
        }
        Err(records.wrong(row, column, &format!("a mark from 0 to {max_mark}"), records.value(row, column)?))
    })
}

/// Whole marks as grades; `None` where one is not whole, or there are too many.
fn grades(marks: &[f64], max_mark: f64) -> Option<Vec<u32>> {
    let whole = |mark: f64| mark.fract() == 0.0;
    let small = whole(max_mark) && max_mark <= GRADES;
    (small && marks.iter().all(|mark| whole(*mark))).then(|| marks.iter().map(|mark| *mark as u32).collect())
}

/// The judge's reply to every row.
fn ask(args: &GradeArgs, asked: &Asked, records: &Records) -> anyhow::Result<Vec<String>> {
    let shown = args.gradings.as_deref().map(Records::read).transpose()?;
    let mut gradings = Vec::new();
    if let Some(shown) = &shown {
        let marks = marks(shown, "mark", args.max_mark)?;
        for (row, mark) in shown.rows.iter().zip(marks) {
            let (answer, reasons) = (shown.text(row, "answer")?, shown.text(row, "reasons")?);
            gradings.push(WorkedGrading { answer, reasons, mark });
        }
    }
    let own = own_rubrics(args, asked, records)?;
    let given = records.has("rubric");
    let prompt = |row: &Record| -> anyhow::Result<Tokens> {
        let (question, reference) = (records.text(row, "question")?, records.text(row, "reference")?);
        let rubric = match own.get(&(question, reference)) {
            Some(rubric) => Some(rubric.as_str()),
            None if given => Some(records.text(row, "rubric")?),
            None => None,
        };
        let assignment = Assignment { question, reference, rubric, max_mark: args.max_mark, gradings: &gradings };
        asked.short_prompt(&grade_prompt(assignment, records.text(row, "answer")?))
    };
    each_row(records, "grade", prompt, |prompts| asked.write(prompts, most(args), args.measure.seed))
}

/// Most tokens of a reply.
fn most(args: &GradeArgs) -> usize {
    args.max_new_tokens.unwrap_or(512)
}

/// What the judge wrote when it was asked for a rubric, by question and reference; nothing where it is not asked.
fn own_rubrics<'r>(
    args: &GradeArgs,
    asked: &Asked,
    records: &'r Records,
) -> anyhow::Result<BTreeMap<(&'r str, &'r str), String>> {
    let mut rubrics = BTreeMap::new();
    if !args.own_rubric {
        return Ok(rubrics);
    }
    if records.has("rubric") {
        bail!("the rows have a `rubric`, so own_rubric does nothing; leave out the one or the other");
    }
    for row in &records.rows {
        rubrics.insert((records.text(row, "question")?, records.text(row, "reference")?), String::new());
    }
    for ((question, reference), rubric) in &mut rubrics {
        let prompt = asked.short_prompt(&rubric_request(question, reference, args.max_mark))?;
        *rubric = asked.write(&[prompt], most(args), args.measure.seed)?.swap_remove(0);
    }
    Ok(rubrics)
}
