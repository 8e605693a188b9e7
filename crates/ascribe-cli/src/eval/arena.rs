//! A board of models from games between two of them: rows with `model_a`, `model_b` and the `winner` of Chatbot Arena's files
//! (`model_a`, `model_b`, or a draw: `tie`, `tie (bothbad)`), or the `outcome` for the first: 1, 0, or 0.5.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use ascribe::eval::board::{Anchor, Game, Rating, rating_board};
use ascribe::eval::{Estimate, EvalError};

use crate::args::ArenaArgs;
use crate::config::closest;
use crate::findings::{Finding, Findings};
use crate::records::{Record, Records};

pub fn run(args: &ArenaArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for column in ["model_a", "model_b"] {
        for name in records.every(column, Records::label)? {
            numbers.entry(name).or_default();
        }
    }
    numbers.values_mut().enumerate().for_each(|(at, number)| *number = at);
    let names: Vec<&String> = numbers.keys().collect();
    // Equal games are one cell, so that a fit costs cells and not games. Outcomes are halves.
    let mut cells: BTreeMap<(usize, usize, u8), f64> = BTreeMap::new();
    let (mut played, mut draws) = (vec![0_usize; names.len()], 0_usize);
    let named = records.has("winner");
    for row in &records.rows {
        let (a, b) = (records.label(row, "model_a")?, records.label(row, "model_b")?);
        if a == b {
            bail!("{}: `{a}` plays against itself; fix or delete the row", records.place(row));
        }
        let (a, b, halves) = (numbers[&a], numbers[&b], outcome(&records, row, named)?);
        *cells.entry((a, b, halves)).or_default() += 1.0;
        draws += usize::from(halves == 1);
        played[a] += 1;
        played[b] += 1;
    }
    let game = |(&(a, b, halves), &weight): (&(usize, usize, u8), &f64)| Game {
        a,
        b,
        outcome: 0.5 * f64::from(halves),
        weight,
    };
    let games: Vec<Game> = cells.iter().map(game).collect();
    let anchor = match &args.anchor {
        None => Anchor::Mean,
        Some(name) => Anchor::Player(*numbers.get(name).ok_or_else(|| {
            let close = closest(name, numbers.keys().map(String::as_str));
            anyhow!("anchor `{name}` is none of the models{close}")
        })?),
    };
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let board = rating_board(&games, names.len(), anchor, args.ridge, &bootstrap).map_err(|error| match error {
        EvalError::Missing { name, .. } => {
            let apart =
                name.parse().ok().and_then(|at: usize| names.get(at)).map_or(name.as_str(), |name| name.as_str());
            anyhow!(
                "no chain of wins and draws leads from `{}` to `{apart}` and back; add games, or give --ridge",
                names[0]
            )
        }
        error => error.into(),
    })?;
    let rating = |(player, rating): &(usize, Rating)| {
        let estimate = Estimate { value: rating.rating, interval: rating.interval, n: played[*player] };
        Finding::of(names[*player].as_str(), &estimate)
    };
    let ranks: Vec<String> = board.iter().map(|(player, one)| format!("{} {}", names[*player], one.rank)).collect();
    Findings::new("arena")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("models", names.len())
        .fact("draws", draws)
        .with_all(board.iter().map(rating))
        .note(format!("Ranks, shared where intervals overlap: {}.", ranks.join(", ")))
        .show(args.measure.json, args.file.report.as_deref())
}

/// The outcome for the first model, in halves; `named` if the file has a `winner`.
fn outcome(records: &Records, row: &Record, named: bool) -> anyhow::Result<u8> {
    if named {
        let winner = records.text(row, "winner")?;
        return match winner {
            "model_a" => Ok(2),
            "model_b" => Ok(0),
            "tie" | "tie (bothbad)" => Ok(1),
            _ => {
                let value = records.value(row, "winner")?;
                Err(records.wrong(row, "winner", "`model_a`, `model_b`, `tie` or `tie (bothbad)`", value))
            }
        };
    }
    match 2.0 * records.number(row, "outcome")? {
        0.0 => Ok(0),
        1.0 => Ok(1),
        2.0 => Ok(2),
        _ => Err(records.wrong(row, "outcome", "1, 0.5 or 0", records.value(row, "outcome")?)),
    }
}
