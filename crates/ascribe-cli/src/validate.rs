//! `ascribe validate`: everything of a training run that can be checked without weights.

use anyhow::bail;
use ascribe::core::{Objective, RowKind};
use ascribe::data::{ColumnMap, Preference, Record, Split};
use ascribe::lm::Safetensors;
use ascribe::preference::objectives::ObjectiveOptions;
use ascribe::preference::{Encoded, Encoder, PreferenceError};
use ascribe::train::Checkpoints;

use crate::Catalog;
use crate::args::TrainArgs;
use crate::device::device;
use crate::hub::resolve;
use crate::output::print_line;
use crate::train::{checked, completions, fit_config, parts, revision, reward};
use crate::words::Words;

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    if args.method == reward::METHOD {
        return reward::validate(args, catalog);
    }
    args.reward.refuse(&args.method)?;
    let objective = catalog.make(&args.method, &ObjectiveOptions { beta: args.beta, alpha: args.alpha })?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    let columns = ColumnMap::parse(&args.columns)?;
    let words = model(args, objective.as_ref())?;
    if args.output_dir.exists() && !args.output_dir.is_dir() {
        bail!("`{}` is a file; name a folder with --output-dir", args.output_dir.display());
    }
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), words.limit(args.max_length))?
        .with_boundary(args.boundary);
    let (train, held_out) = match objective.needs().kind {
        RowKind::Pairs => {
            let split = parts(args, ascribe::data::load::<Preference>(&args.data, &columns)?)?;
            rows(args, split, |records| encoder.pairs(records))?
        }
        RowKind::Single => {
            let split = parts(args, completions(args, &columns)?)?;
            rows(args, split, |records| encoder.completions(records))?
        }
    };
    if let Some((path, _)) = Checkpoints::new(&args.output_dir, args.save_total_limit).last()? {
        eprintln!("the run would go on from {}, if that is a checkpoint of the same run", path.display());
    }
    let (steps, window) = (config.steps(train), config.window());
    print_line(&format!(
        "the run can start: {train} rows to train on, {held_out} held out, {steps} steps of {window} rows"
    ))
}

/// What is read of the model, and of the reference that must have the same text.
fn model(args: &TrainArgs, objective: &dyn Objective) -> anyhow::Result<Words> {
    let words = Words::load(&args.model)?;
    let path = resolve(&args.model)?;
    if path.is_dir() {
        // The headers name every tensor; the weights themselves are left alone.
        Safetensors::open(&path)?;
    }
    if let Some(reference) = &args.reference
        && !Words::load(reference)?.same_as(&words)
    {
        bail!("the reference has another tokenizer or chat template than the model; use models of one family");
    }
    if objective.needs().credit {
        revision(args)?;
    }
    Ok(words)
}

/// Numbers of rows to train on and held out, after encoding.
fn rows<R: Record>(
    args: &TrainArgs,
    split: Split<R>,
    encode: impl Fn(Vec<R>) -> Result<Encoded<R>, PreferenceError>,
) -> anyhow::Result<(usize, usize)> {
    let train = checked(args, "training", encode(split.train)?)?.rows.len();
    let held_out = checked(args, "held-out", encode(split.held_out)?)?.rows.len();
    Ok((train, held_out))
}
