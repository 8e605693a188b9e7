//! P(True): rows with `question`, `answer`, whether it is `correct`, and brainstormed `ideas` if there are any; or with
//! `p` and `correct` from an earlier run.

use anyhow::bail;
use ascribe::eval::auroc_estimate;
use ascribe::eval::calibrate::{Binning, brier, ece};
use ascribe::eval::protocol::{OptionOrder, Question, TrueBelief, p_true_prompt, true_beliefs, true_options};

use super::model::{Asked, each_row};
use crate::args::PTrueArgs;
use crate::drawing::Drawing;
use crate::findings::{Finding, Findings};
use crate::records::{Record, Records};

/// Bins of equal mass.
const BINNING: Binning = Binning::Mass(10);

pub fn run(args: &PTrueArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let correct = records.every("correct", Records::flag)?;
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let mut findings = Findings::new("p-true").fact("input", records.name()).drawn(&bootstrap);
    let p: Vec<f64> = match Asked::load(&args.model)? {
        Some(asked) => {
            let beliefs = ask(&asked, &records)?;
            let gaps: Vec<f64> = beliefs.iter().map(TrueBelief::gap).collect();
            findings = findings.with(Finding::of("gap between orders", &bootstrap.mean(&gaps)?));
            beliefs.iter().map(TrueBelief::p).collect()
        }
        None if records.has("p") => records.every("p", Records::number)?,
        None => bail!("there is nobody to ask; give --model, or rows with the column `p`"),
    };
    let right: Vec<f64> = correct.iter().map(|right| f64::from(u8::from(*right))).collect();
    findings = findings
        .with(Finding::share("share right", &bootstrap.mean(&right)?))
        .with(Finding::of("mean P(True)", &bootstrap.mean(&p)?))
        .with(Finding::of("Brier", &brier(&p, &correct, &bootstrap)?))
        .with(Finding::of("ECE, equal mass", &ece(&p, &correct, BINNING, &bootstrap)?));
    findings = match auroc_estimate(&p, &correct, &bootstrap) {
        Ok(auroc) => findings.with(Finding::of("AUROC", &auroc)),
        Err(error) => findings.note(format!("AUROC: {error}.")),
    };
    findings
        .figure(Drawing::reliability("mean P(True)", &p, &correct, BINNING)?)
        .show(args.measure.json, args.file.report.as_deref())
}

fn ask(asked: &Asked, records: &Records) -> anyhow::Result<Vec<TrueBelief>> {
    let has_ideas = records.has("ideas");
    let ask = |row: &Record| -> anyhow::Result<[Question; 2]> {
        let (question, answer) = (records.text(row, "question")?, records.text(row, "answer")?);
        let ideas: Option<Vec<&str>> = match has_ideas {
            true => records.list(row, "ideas")?.iter().map(|idea| idea.as_str()).collect(),
            false => Some(Vec::new()),
        };
        let Some(ideas) = ideas else {
            return Err(records.wrong(row, "ideas", "a list of strings", records.value(row, "ideas")?));
        };
        let of = |order| asked.question(&p_true_prompt(question, answer, &ideas, order), true_options());
        Ok([of(OptionOrder::TrueFirst)?, of(OptionOrder::FalseFirst)?])
    };
    each_row(records, "ask", ask, |batch| {
        let (first, second): (Vec<Question>, Vec<Question>) =
            batch.iter().cloned().map(|[one, other]| (one, other)).unzip();
        Ok(true_beliefs(&asked.model.policy, &first, &second)?)
    })
}
