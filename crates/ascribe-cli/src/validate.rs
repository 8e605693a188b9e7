//! `ascribe validate`: everything of a training run that can be checked without weights.

use anyhow::bail;
use ascribe::lm::Safetensors;
use ascribe::preference::Encoder;
use ascribe::train::Checkpoints;

use crate::Catalog;
use crate::args::TrainArgs;
use crate::device::device;
use crate::hub::resolve;
use crate::output::print_line;
use crate::train::{
    Data, archer, check_options, curriculum, fit_config, offline, process, recipes, revision, reward, rollouts, rounds,
    scir,
};
use crate::words::Words;

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    if let Some(kind) = process::kind(&args.method) {
        return process::validate(args, kind);
    }
    let (method, objective) = process::objective(args)?;
    if args.method == reward::METHOD {
        return reward::validate(args, catalog);
    }
    if reward::written::is_written(&args.method) {
        return reward::written::validate(args, catalog);
    }
    if args.method == scir::METHOD {
        return scir::validate(args, catalog);
    }
    if let Some(recipe) = recipes::recipe(&args.method) {
        fit_config(args).check()?;
        device(&args.common.device)?;
        let (train, held_out, said) = rollouts::validate(args, recipe, catalog, &words(args)?)?;
        eprintln!("{said}");
        say_last(args)?;
        return print_line(&format!("the run can start: {train} prompts to train on, {held_out} held out"));
    }
    if args.method == archer::METHOD {
        device(&args.common.device)?;
        let best = archer::validate(args, catalog)?;
        say_last(args)?;
        return print_line(&format!("the run can start: the best return of a game is {best:.4} in the mean"));
    }
    if args.method == offline::METHOD {
        fit_config(args).check()?;
        device(&args.common.device)?;
        let (train, held_out) = offline::validate(args, &words(args)?)?;
        say_last(args)?;
        return print_line(&format!("the run can start: {train} rows to train on, {held_out} held out"));
    }
    if let Some(rounds) = rounds::rounds(&args.method) {
        fit_config(args).check()?;
        device(&args.common.device)?;
        let (train, held_out) = rounds::validate(args, rounds, catalog, &words(args)?)?;
        say_last(args)?;
        return print_line(&format!("the run can start: {train} prompts to train on, {held_out} held out"));
    }
    let chosen = catalog.make(&method, &objective)?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    check_options(args, &chosen)?;
    let words = words(args)?;
    if chosen.needs().credit && args.dpo_model.is_none() {
        revision(args)?;
    }
    let (needs, limit) = (chosen.needs(), words.limit(args.max_length));
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?.with_boundary(args.boundary);
    let rows = Data::load(args, &needs)?.encode(args, &encoder, &needs, limit)?;
    say_last(args)?;
    let steps = match curriculum::steps(args, &config, rows.train.len())? {
        Some(steps) => steps,
        None => config.steps(rows.train.len()),
    };
    let window = config.window();
    print_line(&format!(
        "the run can start: {} rows to train on, {} held out, {steps} steps of {window} rows",
        rows.train.len(),
        rows.held_out.len()
    ))
}

/// What is read of the model, of the models that must have the same text, and of the output folder.
pub(crate) fn words(args: &TrainArgs) -> anyhow::Result<Words> {
    let words = Words::load(&args.model)?;
    let path = resolve(&args.model)?;
    if path.is_dir() {
        // The headers name every tensor; the weights themselves are left alone.
        Safetensors::open(&path)?;
    }
    if args.output_dir.exists() && !args.output_dir.is_dir() {
        bail!("`{}` is a file; name a folder with --output-dir", args.output_dir.display());
    }
    let others = [
        ("reference", &args.reference),
        ("model of dpo_model", &args.dpo_model),
        ("model of curriculum_model", &args.curriculum.curriculum_model),
    ];
    for (name, other) in others {
        if let Some(other) = other
            && !Words::load(other)?.same_as(&words)
        {
            bail!("the {name} has another tokenizer or chat template than the model; use models of one family");
        }
    }
    Ok(words)
}

/// Says which checkpoint the run would go on from, if there is one.
pub(crate) fn say_last(args: &TrainArgs) -> anyhow::Result<()> {
    if let Some((path, _)) = Checkpoints::new(&args.output_dir, args.save_total_limit).last()? {
        eprintln!("the run would go on from {}, if that is a checkpoint of the same run", path.display());
    }
    Ok(())
}
