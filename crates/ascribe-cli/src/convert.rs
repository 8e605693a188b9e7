//! `ascribe convert`: data of any layout as JSONL with the columns of TRL.

use anyhow::bail;
use ascribe::data::{ColumnMap, Loaded, Preference, load, write_jsonl};
use ascribe::reward::with_confidence;

use crate::args::ConvertArgs;
use crate::output::print_line;

pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    if args.input == args.output {
        bail!("input and output are both `{}`; write to another file", args.input.display());
    }
    if args.confidence {
        return confident(args);
    }
    let done = ascribe::data::convert(&args.input, &args.output, &ColumnMap::parse(&args.columns)?, args.kind)?;
    done.notes.iter().for_each(|note| eprintln!("{note}"));
    if !done.skipped.is_empty() {
        eprintln!("{}", done.skipped);
    }
    if done.written == 0 {
        bail!(
            "no row of `{}` can be written as {}; look at what was left out above",
            args.input.display(),
            done.kind.name()
        );
    }
    let (columns, path) = (done.kind.columns(), args.output.display());
    print_line(&format!("{} rows ({}: {columns}) written to {path}", done.written, done.kind.name()))
}

/// A high and a low confidence on a scale from 0 to 10.
const CONFIDENCES: [f64; 2] = [10.0, 0.0];

/// The pairs of CDPO, arXiv:2410.09724: each response with a high and a low confidence behind it.
fn confident(args: &ConvertArgs) -> anyhow::Result<()> {
    let Loaded { rows, skipped, notes } = load::<Preference>(&args.input, &ColumnMap::parse(&args.columns)?)?;
    notes.iter().for_each(|note| eprintln!("{note}"));
    if rows.is_empty() {
        return Err(skipped.refuse().into());
    }
    if !skipped.is_empty() {
        eprintln!("{skipped}");
    }
    let mut pairs = Vec::with_capacity(2 * rows.len());
    for Preference { prompt, chosen, rejected, line, .. } in rows {
        let [high, low] = CONFIDENCES;
        for (text, better, worse) in [(chosen, high, low), (rejected, low, high)] {
            let (chosen, rejected) = (with_confidence(&text, better)?, with_confidence(&text, worse)?);
            let prompt = prompt.clone();
            let (margin, reference, consistency, weight) = (None, None, None, None);
            pairs.push(Preference { prompt, chosen, rejected, margin, reference, consistency, weight, line });
        }
    }
    write_jsonl(&args.output, &pairs)?;
    print_line(&format!("{} pairs that differ in confidence written to {}", pairs.len(), args.output.display()))
}
