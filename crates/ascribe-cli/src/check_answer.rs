//! `ascribe check-answer`: is an answer right?

use anyhow::{Context, bail};
use ascribe::process::{Checked, Checker};
use serde_json::{Value, json};

use crate::args::CheckAnswerArgs;
use crate::config::closest;
use crate::output::print_line;
use crate::records::{Record, Records};

pub fn run(args: &CheckAnswerArgs) -> anyhow::Result<()> {
    let checker = args.checker.checker();
    if let Some((completion, answer)) = args.completion.as_ref().zip(args.answer.as_ref()) {
        let checked = checker.check(completion, &checker.gold(answer)?);
        return print_line(&fields(&checked).to_string());
    }
    let Some(input) = &args.input else { bail!("give --completion with --answer, or rows with --input") };
    let records = Records::read(input)?;
    let [completion, answer] = columns(&args.columns, ["completion", "answer"])?;
    // A row that is refused refuses the file before anything is written.
    let check = |row: &Record| -> anyhow::Result<Value> { checked(&checker, &records, row, [&completion, &answer]) };
    let rows = records.rows.iter().map(check).collect::<anyhow::Result<Vec<Value>>>()?;
    let mut counts: Vec<(String, usize)> = Vec::new();
    for row in rows {
        let verdict = row["verdict"].as_str().unwrap_or_default().to_owned();
        match counts.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, count)) => *count += 1,
            None => counts.push((verdict, 1)),
        }
        print_line(&row.to_string())?;
    }
    let said: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    eprintln!("{} rows: {}", records.rows.len(), said.join(", "));
    Ok(())
}

fn checked(
    checker: &Checker,
    records: &Records,
    row: &Record,
    [completion, answer]: [&String; 2],
) -> anyhow::Result<Value> {
    let gold = checker.gold(&records.label(row, answer)?).with_context(|| records.place(row))?;
    let checked = checker.check(&records.label(row, completion)?, &gold);
    let mut cells = row.cells().clone();
    if let Value::Object(fields) = fields(&checked) {
        cells.extend(fields);
    }
    Ok(Value::Object(cells))
}

fn fields(checked: &Checked) -> Value {
    json!({
        "verdict": checked.verdict,
        "why": checked.why,
        "extracted": checked.answer,
    })
}

/// The columns of the file that stand for `names`.
pub fn columns<const N: usize>(given: &[String], names: [&str; N]) -> anyhow::Result<[String; N]> {
    let mut columns = names.map(str::to_owned);
    for pair in given {
        let Some((name, column)) = pair.split_once('=') else {
            bail!("`--columns {pair}` must be `column=column of the file`, such as `answer=solution`");
        };
        let Some(at) = names.iter().position(|known| *known == name) else {
            let close = closest(name, names.iter().copied());
            bail!("there is no column `{name}`{close}; the columns are {}", names.join(", "));
        };
        columns[at] = column.to_owned();
    }
    Ok(columns)
}
