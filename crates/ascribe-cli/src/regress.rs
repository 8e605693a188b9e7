//! `ascribe regress`: expressions that explain one column of numbers by others (RSRM, arXiv:2305.14656).

use anyhow::bail;
use ascribe::core::Seed;
use ascribe::search::symbolic::Rsrm;
use ascribe::worlds::{Data, Expression, Grammar, SymbolicTask};
use serde_json::{Value, json};

use crate::args::RegressArgs;
use crate::findings::table;
use crate::output::print_line;
use crate::records::{Records, number};

/// Most edges between the root and a leaf of an expression that tree search writes, as in the paper.
const HEIGHT: usize = 5;

pub fn run(args: &RegressArgs) -> anyhow::Result<()> {
    if let Some(twice) = repeated(&args.operators) {
        bail!("--operators names `{}` twice; name each once", twice.name());
    }
    let records = Records::read(&args.data)?;
    let targets = records.every(&args.target, Records::number)?;
    let variables = variables(args, &records)?;
    let columns: Vec<Vec<f64>> =
        variables.iter().map(|name| records.every(name, Records::number)).collect::<anyhow::Result<_>>()?;
    let points = targets.len();
    let rows = (0..points).map(|at| columns.iter().map(|column| column[at]).collect()).collect();
    let grammar = Grammar::new(&args.operators, variables.len(), args.max_constants, HEIGHT)?;
    // Here a short law counts, too.
    let task = SymbolicTask::new(grammar, Data::new(rows, targets)?)?.with_fewest(1);
    let search = Rsrm { epochs: args.epochs, ..Rsrm::default() };
    let Some(found) = search.search(&task, None, Seed(args.seed))? else {
        bail!("no expression that was tried has a value at every point; allow other --operators, or more --epochs");
    };
    if args.json {
        let one = |(expression, error): &(Expression, f64)| {
            let (text, symbols) = (expression.text(&variables), expression.symbols.len());
            json!({"expression": text, "symbols": symbols, "rmse": error})
        };
        let expressions: Vec<Value> = found.front.iter().map(one).collect();
        let told = json!({
            "target": args.target,
            "variables": variables,
            "points": points,
            "evaluated": found.evaluated,
            "epochs": found.epochs,
            "recovered": found.recovered,
            "expressions": expressions,
        });
        return print_line(&told.to_string());
    }
    let rows = found.front.iter().map(|(expression, error)| {
        vec![expression.symbols.len().to_string(), format!("{error:.4e}"), expression.text(&variables)]
    });
    print_line(&table(&["symbols", "rmse", "expression"], rows.collect()))?;
    print_line(&format!(
        "{} by {} from {points} points: {} expressions in {} epochs; {}",
        args.target,
        variables.join(", "),
        found.evaluated,
        found.epochs,
        if found.recovered { "the last one fits exactly" } else { "none fits exactly" }
    ))
}

/// The columns that explain the target.
fn variables(args: &RegressArgs, records: &Records) -> anyhow::Result<Vec<String>> {
    if args.variables.contains(&args.target) {
        bail!("--variables names the target `{}`, which would explain itself; leave it out", args.target);
    }
    if let Some(twice) = repeated(&args.variables) {
        bail!("--variables names `{twice}` twice; name each once");
    }
    if !args.variables.is_empty() {
        return Ok(args.variables.clone());
    }
    let mut found: Vec<String> = Vec::new();
    for (name, value) in records.rows.iter().flat_map(|row| row.cells()) {
        if *name != args.target && !found.contains(name) && number(value).is_some() {
            found.push(name.clone());
        }
    }
    if found.is_empty() {
        bail!("{} has no column of numbers beside `{}`; add what should explain it", records.name(), args.target);
    }
    Ok(found)
}

/// The first entry that stands there a second time.
fn repeated<T: PartialEq>(names: &[T]) -> Option<&T> {
    names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name)
}
