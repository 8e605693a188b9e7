//! AlpacaEval-like judging: rows with `instruction`, the baseline's `output_1` and the model's `output_2`. With a judge
//! (`--model`) every pair is asked in both orders; without, the stored `preference` in [1, 2] is read, and what is none
//! is counted apart.

use anyhow::{Context, bail};
use ascribe::eval::board::{LengthRow, alpaca_outcome, length_controlled_win_rate, win_rate};
use ascribe::eval::protocol::{Judgement, Question, Shown, judge_options, judge_prompt, judgements};
use ascribe::eval::rank::{Verdict, both_orders};

use super::model::{Asked, each_row};
use crate::args::AlpacaArgs;
use crate::drawing::Drawing;
use crate::findings::{Finding, Findings};
use crate::records::{self, Record, Records};

pub fn run(args: &AlpacaArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let mut findings = Findings::new("alpacaeval").fact("input", records.name()).drawn(&bootstrap);
    let outcomes: Vec<Option<f64>> = match Asked::load(&args.model)? {
        Some(asked) => {
            let judged = judge(&asked, &records)?;
            let (original, swapped): (Vec<_>, Vec<_>) =
                judged.iter().map(Judgement::verdicts).map(|[one, other]| (one, other)).unzip();
            let orders = both_orders(&original, &swapped, &bootstrap)?;
            findings = findings
                .with(Finding::of("win rate by agreed verdicts", &orders.win_rate))
                .with(Finding::share("inconsistent over orders", &orders.inconsistent))
                .with(Finding::of("verdicts for the first place", &orders.first_position))
                .figure(orders_agree(&original, &swapped));
            judged.iter().map(|one| Some(one.outcome())).collect()
        }
        None if records.has("preference") => {
            let mut outcomes = Vec::with_capacity(records.rows.len());
            for row in &records.rows {
                outcomes.push(alpaca_outcome(records::number(records.value(row, "preference")?)));
            }
            outcomes
        }
        None => bail!("there is no judge; give --model, or rows with the column `preference`"),
    };
    let valid: Vec<f64> = outcomes.iter().copied().flatten().collect();
    if valid.is_empty() {
        bail!("{}: no row has a preference from 1 to 2, so there is nothing to count", records.name());
    }
    let rate = win_rate(&valid, &bootstrap)?;
    findings = findings
        .fact("wins", rate.wins)
        .fact("draws", rate.draws)
        .fact("losses", rate.losses)
        .fact("without verdict", outcomes.len() - valid.len())
        .with(Finding::of("win rate", &rate.rate))
        .with(Finding::number("win rate, discrete", rate.discrete));
    if records.has("output_1") && records.has("output_2") {
        let rows = lengths(&records, &outcomes)?;
        // The fit has five folds.
        findings = if rows.len() < 5 {
            findings.note("Fewer than five verdicts: no length-controlled win rate.")
        } else {
            let controlled = length_controlled_win_rate(&rows, &[], &bootstrap)?;
            let warning = "Length control moved the win rate far; look at the lengths.";
            let findings = findings.with(Finding::of("win rate, length-controlled", &controlled.win_rate));
            if controlled.extreme { findings.note(warning) } else { findings }
        };
    }
    findings.show(args.measure.json, args.file.report.as_deref())
}

fn judge(asked: &Asked, records: &Records) -> anyhow::Result<Vec<Judgement>> {
    let ask = |row: &Record| -> anyhow::Result<[Question; 2]> {
        let instruction = records.text(row, "instruction")?;
        let (baseline, model) = (records.text(row, "output_1")?, records.text(row, "output_2")?);
        let of = |first, second| asked.question(&judge_prompt(instruction, Shown { first, second }), judge_options());
        Ok([of(model, baseline)?, of(baseline, model)?])
    };
    each_row(records, "judge", ask, |batch| {
        let (model_first, baseline_first): (Vec<Question>, Vec<Question>) =
            batch.iter().cloned().map(|[one, other]| (one, other)).unzip();
        Ok(judgements(&asked.model.policy, &model_first, &baseline_first)?)
    })
}

/// For whom the judge was in the one order, and for whom in the other.
fn orders_agree(original: &[Verdict], swapped: &[Verdict]) -> Drawing {
    let place = |verdict: &Verdict| -> usize {
        match verdict {
            Verdict::First => 0,
            Verdict::Tie => 1,
            Verdict::Second => 2,
        }
    };
    let mut counts = vec![vec![0; 3]; 3];
    for (one, other) in original.iter().zip(swapped) {
        // In the other order the baseline is the first.
        counts[place(one)][2 - place(other)] += 1;
    }
    let sides = ["model", "tie", "baseline"];
    let caption = "Verdicts of the judge in both orders: off the diagonal it follows the place.";
    Drawing::counts(caption, ("model shown first", &sides), ("baseline shown first", &sides), counts)
}

/// The rows with a verdict, with the lengths of both answers.
fn lengths(records: &Records, outcomes: &[Option<f64>]) -> anyhow::Result<Vec<LengthRow>> {
    let mut rows = Vec::new();
    for (row, outcome) in records.rows.iter().zip(outcomes) {
        let length = |column| -> anyhow::Result<u32> {
            u32::try_from(records.text(row, column)?.chars().count()).context("an answer is too long")
        };
        let (baseline_length, model_length) = (length("output_1")?, length("output_2")?);
        rows.extend(outcome.map(|outcome| LengthRow { outcome, baseline_length, model_length, difficulty: 0.0 }));
    }
    Ok(rows)
}
