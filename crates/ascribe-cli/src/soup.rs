//! `ascribe soup`: one model for a preference over objectives, out of one that was trained for each: IBCL, rewarded soups.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::burn::tensor::Device;
use ascribe::core::Objective;
use ascribe::data::{ColumnMap, PromptCompletion};
use ascribe::lm::{Decoder, LanguageModel};
use ascribe::preference::objectives::Sft;
use ascribe::preference::{Encoder, LogpLearner, TrainRow};
use ascribe::reward::soup::connected;
use ascribe::reward::{RewardCard, Standard};
use ascribe::train::evaluate;
use ascribe::{process, reward};

use crate::args::SoupArgs;
use crate::device::device;
use crate::hub::resolve;
use crate::output::{print_line, write_whole};

pub fn run(args: &SoupArgs) -> anyhow::Result<()> {
    check(args)?;
    let device = device(&args.common.device)?;
    let models = args.models.iter().map(|path| whole(path, &device)).collect::<anyhow::Result<Vec<_>>>()?;
    let [first, ..] = models.as_slice() else { bail!("a soup needs models; name at least two with --models") };
    for (path, model) in args.models.iter().zip(&models) {
        if model.text_hash() != first.text_hash() {
            bail!(
                "`{}` has another tokenizer or chat template than `{}`; combine models that were trained from one start",
                path.display(),
                args.models[0].display()
            );
        }
    }
    let cards = cards(args)?;
    if let Some(data) = &args.check_data {
        check_ways(args, &models, &rows(args, data, first)?)?;
    }
    let parts: Vec<(&Decoder, f64)> =
        models.iter().zip(&args.weights).map(|(model, weight)| (&model.decoder, *weight)).collect();
    let mixed = Decoder::weighted_sum(&parts)?;
    std::fs::create_dir_all(&args.output_dir)
        .with_context(|| format!("cannot make `{}`", args.output_dir.display()))?;
    first.with_decoder(mixed).save(&args.output_dir)?;
    for (name, text) in cards {
        write_whole(&args.output_dir.join(name), text.as_bytes())?;
    }
    let of: Vec<String> =
        args.models.iter().zip(&args.weights).map(|(path, weight)| format!("{weight} of {}", path.display())).collect();
    print_line(&format!("{}: written to {}", of.join(", "), args.output_dir.display()))
}

/// What can be checked before anything is loaded.
fn check(args: &SoupArgs) -> anyhow::Result<()> {
    let (models, weights) = (args.models.len(), args.weights.len());
    if models < 2 {
        bail!("a soup needs at least two models, got {models}; name them with --models");
    }
    if models != weights {
        bail!("weights has {weights} numbers for {models} models; give one each, which sum to 1");
    }
    if args.output_dir.join("adapter_config.json").exists() {
        bail!(
            "`{}` holds an adapter, and a model beside it could not be told apart; use another folder",
            args.output_dir.display()
        );
    }
    let place = |path: &Path| path.canonicalize().ok();
    let own = place(&args.output_dir);
    if let Some(path) = args.models.iter().find(|path| own.is_some() && place(path) == own) {
        bail!("`{}` is one of the models, which would be overwritten; use another folder", path.display());
    }
    if args.check_points < 3 {
        bail!("check_points counts both ends and what lies between, so it is at least 3, got {}", args.check_points);
    }
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        bail!("tolerance must be finite and at least 0, got {}", args.tolerance);
    }
    Ok(())
}

/// A model, its adapter merged if it has one.
fn whole(path: &Path, device: &Device) -> anyhow::Result<LanguageModel> {
    eprintln!("loading {}", path.display());
    let model = LanguageModel::load(&resolve(path)?, device)?;
    Ok(match model.decoder.lora() {
        Some(_) => model.with_decoder(model.decoder.merged()?),
        None => model,
    })
}

/// What the scores of reward models, or of process models, mean: the same of all, or of none. What was measured of the rewards of
/// one model, their scale and the errors of attributes, says nothing of a mixture and is left out.
fn cards(args: &SoupArgs) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (mut of_rewards, mut of_processes) = (Vec::new(), Vec::new());
    let unmeasured =
        |card: RewardCard| RewardCard { standard: Standard::NONE, variances: Vec::new(), ..card }.to_text();
    for path in &args.models {
        let folder = resolve(path)?;
        of_rewards.push(RewardCard::read(&folder)?.map(unmeasured));
        of_processes.push(std::fs::read_to_string(folder.join(process::model::CARD)).ok());
    }
    let mut cards = Vec::new();
    for (name, texts) in [(reward::CARD, of_rewards), (process::model::CARD, of_processes)] {
        if texts.iter().any(|text| *text != texts[0]) {
            bail!("the models differ in `{name}`, which says what their scores mean; combine models with equal ones");
        }
        cards.extend(texts.into_iter().next().flatten().map(|text| (name, text)));
    }
    Ok(cards)
}

/// Rows whose completions the models are measured by.
fn rows(args: &SoupArgs, data: &Path, model: &LanguageModel) -> anyhow::Result<Vec<TrainRow>> {
    let loaded = ascribe::data::load::<PromptCompletion>(data, &ColumnMap::parse(&args.columns)?)?;
    if !loaded.skipped.is_empty() {
        eprintln!("{}", loaded.skipped);
    }
    let encoder = Encoder::new(model, args.max_length.min(model.config.context))?;
    let encoded = encoder.completions(loaded.rows)?.needing(&Sft.needs());
    if !encoded.skipped.is_empty() {
        eprintln!("{}", encoded.skipped);
    }
    Ok(encoded.rows.into_iter().map(|(row, _)| row).collect())
}

/// Refuses models between which the loss rises: a mean of their parameters means nothing.
fn check_ways(args: &SoupArgs, models: &[LanguageModel], rows: &[TrainRow]) -> anyhow::Result<()> {
    let learner = LogpLearner::new(&Sft);
    for one in 0..models.len() {
        for other in one + 1..models.len() {
            let mut losses = Vec::with_capacity(args.check_points);
            for point in 0..args.check_points {
                let share = point as f64 / (args.check_points - 1) as f64;
                let ends = [(&models[one].decoder, 1.0 - share), (&models[other].decoder, share)];
                let tally = evaluate(&learner, &Decoder::weighted_sum(&ends)?, rows, args.batch_size)?;
                losses.push(tally.loss / tally.weight);
            }
            let (from, to) = (args.models[one].display(), args.models[other].display());
            let said: Vec<String> = losses.iter().map(|loss| format!("{loss:.4}")).collect();
            let said = said.join(", ");
            if !connected(&losses, args.tolerance)? {
                bail!(
                    "the loss from `{from}` to `{to}` rises above the worse end by more than {}: {said}; a mean of their \
                     parameters means nothing. Train both from one start for a shorter time, or raise --tolerance",
                    args.tolerance
                );
            }
            print_line(&format!("loss from {from} to {to}: {said}"))?;
        }
    }
    Ok(())
}
