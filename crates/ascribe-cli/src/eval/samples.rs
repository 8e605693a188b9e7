//! pass@k, pass^k, maj@k and best@k from several samples a problem.
//!
//! Rows have `samples` and `correct` as counts, or `correct` as a list of 0 and 1; or `answers`, null where none could
//! be read, with the right `answer`: then votes are counted too. With `scores`, one a sample (or `rewards`, as
//! `ascribe score --reward` writes them), the best of k by score is picked.

use anyhow::bail;
use ascribe::eval::bench::{Attempts, PickTies, VoteTies, best_of_k, maj_at_k, mean_pass_at_k, mean_pass_hat_k};
use serde_json::Value;

use crate::args::SamplesArgs;
use crate::findings::{Finding, Findings};
use crate::records::{self, Record, Records};

pub fn run(args: &SamplesArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let voted = records.has("answers");
    if args.split_ties && !voted {
        bail!("there are no votes whose ties could be split; give rows with `answers`, or leave out --split-ties");
    }
    let column = records.either("scores", "rewards");
    let scored = records.has(column);
    let (mut problems, mut votes, mut picks) = (Vec::new(), Vec::new(), Vec::new());
    for row in &records.rows {
        let right = if voted {
            let (answers, gold) = answers(&records, row)?;
            let right: Vec<bool> = answers.iter().map(|answer| answer.as_deref() == Some(gold.as_str())).collect();
            votes.push((answers, gold));
            Some(right)
        } else {
            flags(&records, row)?
        };
        let counted = |right: &Vec<bool>| {
            Ok(Attempts { samples: right.len(), correct: right.iter().filter(|right| **right).count() })
        };
        problems.push(right.as_ref().map_or_else(|| counts(&records, row), counted)?);
        if scored {
            let (scores, place) = (records.numbers(row, column)?, records.place(row));
            let Some(right) = right else {
                bail!(
                    "{place}: `{column}` say which sample is picked, so `correct` must be a list, or `answers` be there"
                );
            };
            if scores.len() != right.len() {
                bail!("{place}: there must be a score for each of {} samples, got {}", right.len(), scores.len());
            }
            picks.push((scores, right.into_iter().map(f64::from).collect::<Vec<f64>>()));
        }
        let samples = problems[problems.len() - 1].samples;
        if let Some(k) = args.k.iter().find(|k| !(1..=samples).contains(*k)) {
            bail!("{}: k must be at least 1 and at most its {samples} samples, got {k}", records.place(row));
        }
    }
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let ties = if args.split_ties { VoteTies::Split } else { VoteTies::First };
    let mut estimates = Vec::new();
    for &k in &args.k {
        estimates.push((format!("pass@{k}"), mean_pass_at_k(&problems, k, &bootstrap)?));
        estimates.push((format!("pass^{k}"), mean_pass_hat_k(&problems, k, &bootstrap)?));
        if voted {
            let mut credits = Vec::with_capacity(votes.len());
            for (answers, gold) in &votes {
                let answers: Vec<Option<&str>> = answers.iter().map(Option::as_deref).collect();
                credits.push(maj_at_k(&answers, gold, k, ties)?);
            }
            estimates.push((format!("maj@{k}"), bootstrap.mean(&credits)?));
        }
        if scored {
            let picked: Result<Vec<f64>, _> =
                picks.iter().map(|(scores, right)| best_of_k(scores, right, k, PickTies::Split)).collect();
            estimates.push((format!("best@{k}"), bootstrap.mean(&picked?)?));
        }
    }
    let samples: usize = problems.iter().map(|problem| problem.samples).sum();
    Findings::new("samples")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("samples", samples)
        .with_all(estimates.iter().map(|(name, estimate)| Finding::of(name.as_str(), estimate)))
        .show(args.measure.json, args.file.report.as_deref())
}

/// Which samples of a row are right; `None` where they are only counted.
fn flags(records: &Records, row: &Record) -> anyhow::Result<Option<Vec<bool>>> {
    let value = records.value(row, "correct")?;
    let Some(list) = value.as_array() else { return Ok(None) };
    let flags: Option<Vec<bool>> = list.iter().map(records::flag).collect();
    flags.map(Some).ok_or_else(|| records.wrong(row, "correct", "a list of 0 and 1", value))
}

fn counts(records: &Records, row: &Record) -> anyhow::Result<Attempts> {
    let (samples, correct) = (records.integer(row, "samples")?, records.integer(row, "correct")?);
    if !(0 <= correct && correct <= samples) {
        bail!("{}: `correct` must be from 0 to its {samples} samples, got {correct}", records.place(row));
    }
    Ok(Attempts { samples: samples as usize, correct: correct as usize })
}

/// The answers of a row, `None` where none could be read, and the right one.
fn answers(records: &Records, row: &Record) -> anyhow::Result<(Vec<Option<String>>, String)> {
    let gold = records.label(row, "answer")?;
    let list = records.list(row, "answers")?;
    let mut answers = Vec::with_capacity(list.len());
    for answer in list {
        answers.push(match answer {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            other => return Err(records.wrong(row, "answers", "strings, numbers or null", other)),
        });
    }
    Ok((answers, gold))
}
