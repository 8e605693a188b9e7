//! Pairs of several sources, of which none is to lose (MORE): which source each comes from, by a column of the file.

use std::collections::HashMap;

use anyhow::{Context, bail};
use ascribe::core::Seed;
use ascribe::data::Rows as FileRows;
use ascribe::lm::Decoder;
use ascribe::reward::{RewardRow, SourceLearner, SourcedPair};
use ascribe::train::{FitConfig, Source, StratifiedRows};
use serde_json::Value;

use super::chosen::{Chosen, Teaches};
use super::data::Rows;
use crate::args::TrainArgs;
use crate::score::place;
use crate::train::short;

/// The sources of a run, where a column names them.
pub(super) struct Sources {
    names: Vec<String>,
    /// The source of every row of the file, by its number there.
    of_line: HashMap<usize, String>,
    share: f64,
}

/// Rows with their sources.
pub(super) struct Sourced {
    pub(super) train: Vec<SourcedPair>,
    pub(super) held_out: Vec<SourcedPair>,
}

impl Sources {
    /// Reads the column, if one is named.
    pub(super) fn of(args: &TrainArgs, chosen: &Chosen) -> anyhow::Result<Option<Self>> {
        let Some(column) = &args.reward.source_column else { return Ok(None) };
        if chosen.known != "bradley-terry" || chosen.teaches != Teaches::Order || !chosen.kwargs.is_empty() {
            bail!(
                "sources are weighed under the plain loss bradley-terry; drop source_column, or the loss and its numbers"
            );
        }
        if args.reward.meta_data.is_some() {
            bail!("a meta step knows no sources; drop source_column, or meta_data and meta_rate");
        }
        let mut of_line = HashMap::new();
        for row in FileRows::open(&args.data)? {
            let (number, row) = row?;
            let source = match row.get(column) {
                Some(Value::String(name)) => name.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                _ => {
                    let found: Vec<&str> = row.keys().map(String::as_str).collect();
                    let found = found.join(", ");
                    bail!("{}: no source in column `{column}`; the row has {found}", place(&args.data, number))
                }
            };
            of_line.insert(number, source);
        }
        let share = args.reward.source_share.unwrap_or(1.0);
        Ok(Some(Self { names: Vec::new(), of_line, share }))
    }

    /// The rows with their sources, numbered in the order in which training rows name them.
    pub(super) fn name(&mut self, rows: Rows) -> anyhow::Result<Sourced> {
        let train = self.sourced(rows.train)?;
        let n = self.names.len();
        if n < 2 {
            bail!("one source alone is plain Bradley-Terry; drop source_column, or name a column with several values");
        }
        let held_out = self.sourced(rows.held_out)?;
        if let Some(unseen) = self.names.get(n) {
            bail!("the source `{unseen}` stands in held-out rows alone; hold out fewer rows, or leave that source out");
        }
        let count = |source: usize| train.iter().filter(|row| row.source == source).count();
        let said: Vec<String> =
            self.names.iter().enumerate().map(|(at, name)| format!("{name} {}", count(at))).collect();
        eprintln!("pairs by source: {}", said.join(", "));
        Ok(Sourced { train, held_out })
    }

    fn sourced(&mut self, rows: Vec<RewardRow>) -> anyhow::Result<Vec<SourcedPair>> {
        let mut sourced = Vec::with_capacity(rows.len());
        for pair in rows {
            let name =
                self.of_line.get(&pair.line).context("a row is not where it was when it was read; start again")?;
            let source = match self.names.iter().position(|known| known == name) {
                Some(source) => source,
                None => {
                    self.names.push(name.clone());
                    self.names.len() - 1
                }
            };
            sourced.push(SourcedPair { pair, source });
        }
        Ok(sourced)
    }

    /// The learner.
    pub(super) fn learner(&self) -> anyhow::Result<SourceLearner> {
        Ok(SourceLearner::new(self.names.len(), self.share)?)
    }

    /// What tells this run from others; `train` says which row has which source.
    pub(super) fn identity(&self, train: &[SourcedPair]) -> (&'static str, String) {
        let mut hash = blake3::Hasher::new();
        for row in train {
            hash.update(&(row.source as u64).to_le_bytes());
        }
        let order = short(&hash.finalize().to_hex());
        ("set of sources", format!("{}; share {}; rows {order}", self.names.join(", "), self.share))
    }
}

/// Where the rows of a step come from, and how many steps there are.
pub(super) type Steps<'a> = (Box<dyn Source<Decoder, SourcedPair> + 'a>, usize);

/// Steps with rows of every source.
pub(super) fn source<'a>(rows: &'a [SourcedPair], args: &TrainArgs, config: &FitConfig) -> anyhow::Result<Steps<'a>> {
    let source = StratifiedRows::new(rows, |row| row.source, config.window(), Seed(args.seed))?;
    let steps = if config.max_steps > 0 { config.max_steps } else { source.steps(config.num_train_epochs) };
    Ok((Box::new(source), steps))
}
