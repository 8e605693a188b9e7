//! `ascribe route`: which pairs a person should label, and which a model (Hybrid Preferences, arXiv:2410.19133).
//!
//! Without `--mixes` it draws mixes of the pairs to train a reward model on each; with the score of each such model it says which
//! pairs to give to a person.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::Seed;
use ascribe::reward::{Mix, Routing, RoutingForm, random_mixes};
use serde_json::{Map, Value, json};

use crate::args::{FormOfCounts, RouteArgs};
use crate::output::print_line;
use crate::records::{Record, Records};

/// The features of a pair, by name or by place.
fn features(row: &Record) -> anyhow::Result<BTreeMap<String, f64>> {
    let number = |value: &Value| match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        other => other.as_f64(),
    };
    let named: Option<BTreeMap<String, f64>> = match row.cells().get("features") {
        Some(Value::Object(fields)) => {
            fields.iter().map(|(name, value)| Some((name.clone(), number(value)?))).collect()
        }
        // Places keep their order among names of equal length.
        Some(Value::Array(values)) => {
            values.iter().enumerate().map(|(at, value)| Some((format!("{at:05}"), number(value)?))).collect()
        }
        _ => None,
    };
    named.context("a pair needs `features`: numbers or flags by name, or a list of them")
}

/// The features of all pairs, each in the same order.
fn read_pairs(path: &Path) -> anyhow::Result<(Records, Vec<Vec<f64>>)> {
    let records = Records::read(path)?;
    let mut rows: Vec<BTreeMap<String, f64>> = Vec::with_capacity(records.rows.len());
    for row in &records.rows {
        let features = features(row).with_context(|| records.place(row))?;
        if rows.first().is_some_and(|first| !first.keys().eq(features.keys())) {
            bail!("{}: every pair needs the same features", records.place(row));
        }
        rows.push(features);
    }
    let values = rows.into_iter().map(|row| row.into_values().collect()).collect();
    Ok((records, values))
}

fn read_mixes(path: &Path) -> anyhow::Result<Vec<Mix>> {
    let records = Records::read(path)?;
    let mix = |row: &Record| -> anyhow::Result<Mix> {
        let human: Vec<usize> = serde_json::from_value(row.cells().get("human").cloned().unwrap_or_default())
            .context("a mix needs `human`, a list of numbers of pairs, from 0")?;
        let score = row.cells().get("score").and_then(Value::as_f64).context("a mix needs a number `score`")?;
        Ok(Mix { human, score })
    };
    records.rows.iter().map(|row| mix(row).with_context(|| records.place(row))).collect()
}

/// Refuses pairs with a prompt of the rows that mixes are scored on.
fn check_apart(pairs: &Records, path: &Path) -> anyhow::Result<()> {
    let prompt = |records: &Records, row: &Record| -> anyhow::Result<String> {
        let prompt = row.cells().get("prompt").filter(|prompt| !prompt.is_null());
        let prompt = prompt
            .with_context(|| format!("{}: a row needs a `prompt` to be held against evaluation", records.place(row)))?;
        Ok(prompt.to_string())
    };
    let evaluation = Records::read(path)?;
    let known: HashSet<String> =
        evaluation.rows.iter().map(|row| prompt(&evaluation, row)).collect::<anyhow::Result<_>>()?;
    for row in &pairs.rows {
        if known.contains(&prompt(pairs, row)?) {
            bail!(
                "{}: mixes are scored on this prompt of `{}`; drop the pair, or score them on other prompts",
                pairs.place(row),
                path.display()
            );
        }
    }
    Ok(())
}

pub fn run(args: &RouteArgs) -> anyhow::Result<()> {
    let (records, features) = read_pairs(&args.input)?;
    if let Some(path) = &args.evaluation {
        check_apart(&records, path)?;
    }
    let pairs = features.len();
    let Some(path) = &args.mixes else {
        let Some(draw) = args.draw_mixes else {
            bail!("name what was tried with --mixes, or draw what is to be tried with --draw-mixes");
        };
        for human in random_mixes(pairs, draw, Seed(args.seed))? {
            print_line(&json!({"human": human}).to_string())?;
        }
        return Ok(());
    };
    let Some(budget) = args.budget else {
        bail!("--budget says how many pairs a person can label; give it with --mixes");
    };
    let form = match args.form {
        FormOfCounts::Linear => RoutingForm::Linear,
        FormOfCounts::Quadratic => RoutingForm::Quadratic,
    };
    let routing = Routing::fit(features, &read_mixes(path)?, form, args.ridge)?;
    let human = match args.draws {
        None => routing.choose(budget)?,
        Some(draws) => routing.simulate(budget, draws, Seed(args.seed))?,
    };
    let (none, all) = (routing.predict(&[])?, routing.predict(&(0..pairs).collect::<Vec<_>>())?);
    eprintln!(
        "predicted score: {:.4} with {budget} of {pairs} labels of a person, {none:.4} with none, {all:.4} with all",
        routing.predict(&human)?
    );
    for (at, (row, gain)) in records.rows.iter().zip(routing.gains()?).enumerate() {
        let mut told: Map<String, Value> = row.cells().clone();
        told.insert("gain".to_owned(), json!(gain));
        told.insert("human".to_owned(), json!(human.binary_search(&at).is_ok()));
        print_line(&Value::Object(told).to_string())?;
    }
    Ok(())
}
