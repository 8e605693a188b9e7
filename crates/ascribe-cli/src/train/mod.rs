//! `ascribe train <method>`: data to rows, what the objective needs, the loop, and the figures at the end.

pub(crate) mod archer;
mod combined;
mod contents;
pub(crate) mod curriculum;
mod fitting;
pub(crate) mod offline;
pub(crate) mod process;
pub(crate) mod recipes;
mod references;
pub(crate) mod reward;
pub(crate) mod rollouts;
pub(crate) mod rounds;
mod rows;
pub(crate) mod scir;
mod setup;
mod steer;
mod step_rewards;
mod stopping;
pub(crate) mod taken;

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::burn::tensor::Device;
use ascribe::core::{RowKind, Seed};
use ascribe::eval::{Bootstrap, Estimate, wilson};
use ascribe::lm::{Decoder, Head, LanguageModel, Limits, LocalPolicy, LoraConfig};
use ascribe::preference::objectives::{DpoConfig, KtoConfig};
use ascribe::preference::{
    Encoder, LogpCache, LogpLearner, RevisionTemplate, TrainRow, fingerprint, implicit_token_rewards, reference_logps,
    self_test, token_rewards,
};
use ascribe::train::{Checkpoints, FitConfig, FusedCheck, OptimKind, Tally};
use serde_json::{Map, Value, json};

use crate::Catalog;
use crate::args::{HeadInitName, TrainArgs};
use crate::catalog::Chosen;
use crate::device::device;
use crate::hub::resolve;
use crate::output::{Progress, print_line, write_whole};
use fitting::{Run, Trained, quantiles};
pub(crate) use rows::Data;
use rows::Rows;

/// The statistic that tells the best checkpoint of a run on pairs.
const ACCURACY: &str = "rewards/accuracies";
/// The revision prompts that quote the response: those of `--revision` where it is not given.
const QUOTE: &str = "quote";

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    if let Some(kind) = process::kind(&args.method) {
        return process::run(args, kind);
    }
    let (method, objective) = process::objective(args)?;
    if args.method == reward::METHOD {
        return reward::run(args, catalog);
    }
    if reward::written::is_written(&args.method) {
        return reward::written::run(args, catalog);
    }
    if args.method == scir::METHOD {
        return scir::run(args, catalog);
    }
    if let Some(recipe) = recipes::recipe(&args.method) {
        return rollouts::run(args, recipe, catalog);
    }
    if args.method == archer::METHOD {
        return archer::run(args, catalog);
    }
    if args.method == offline::METHOD {
        return offline::run(args);
    }
    if let Some(rounds) = rounds::rounds(&args.method) {
        return rounds::run(args, rounds, catalog);
    }
    let chosen = catalog.make(&method, &objective)?;
    let needs = chosen.needs();
    let config = fit_config(args);
    config.check()?;
    let device = device(&args.common.device)?;
    check_options(args, &chosen)?;
    let data = Data::load(args, &needs)?;
    let model = base(args, &device)?;
    let other = args.reference.as_deref().map(|path| load(path, &device)).transpose()?;
    let reference = other.as_ref().unwrap_or(&model);
    let identity = identity(args, &config, &model, other.as_ref(), &chosen)?;
    refuse_other_runs(args, &identity)?;
    let encoder = Encoder::new(&model, args.max_length)?.with_boundary(args.boundary);
    let mut rows = data.encode(args, &encoder, &needs, length_limit(args, model.config.context))?;
    if needs.kind == RowKind::Labelled {
        warn_of_imbalance(&chosen, &rows.train);
    }
    if needs.ref_logps {
        add_reference(args, &model, reference, &mut rows)?;
    }
    if needs.credit {
        add_token_rewards(args, &chosen, &model, reference, &encoder, &device, &mut rows)?;
    }
    fit(args, config, &chosen, &model, reference, identity, &rows)
}

pub(crate) fn fit_config(args: &TrainArgs) -> FitConfig {
    FitConfig {
        learning_rate: args.learning_rate,
        lr_scheduler_type: args.lr_scheduler_type,
        lr_scheduler_kwargs: args.lr_scheduler_kwargs,
        warmup_ratio: args.warmup_ratio,
        num_train_epochs: args.num_train_epochs,
        max_steps: args.max_steps,
        per_device_train_batch_size: args.per_device_train_batch_size,
        gradient_accumulation_steps: args.gradient_accumulation_steps,
        max_batch_tokens: args.max_batch_tokens,
        max_grad_norm: args.max_grad_norm,
        optim: args.optim,
        optim_args: args.optim_args,
        weight_decay: args.weight_decay,
        adam_beta1: args.adam_beta1,
        adam_beta2: args.adam_beta2,
        adam_epsilon: args.adam_epsilon,
        seed: Seed(args.seed),
    }
}

fn load(path: &Path, device: &Device) -> anyhow::Result<LanguageModel> {
    eprintln!("loading {}", path.display());
    let found = resolve(path)?;
    let mut model = LanguageModel::load(&found, device)?;
    if found != *path {
        // An adapter then calls its base by the name on the hub, which is the same everywhere.
        model.name = path.to_string_lossy().into_owned();
    }
    Ok(model)
}

/// The model that is trained, or adapted: one without an adapter, and with the projections that are asked for.
fn base(args: &TrainArgs, device: &Device) -> anyhow::Result<LanguageModel> {
    let model = load(&args.model, device)?;
    if model.decoder.lora().is_some() {
        let adapter = args.model.display();
        bail!(
            "`{adapter}` is an adapter, and training starts from whole weights; ascribe merge --adapter {adapter} makes them"
        );
    }
    start(args, &model)?;
    Ok(model)
}

/// The model under this head of scores: its own, or a fresh one.
fn headed(args: &TrainArgs, wanted: Head, device: &Device) -> anyhow::Result<LanguageModel> {
    under_head(args, base(args, device)?, wanted)
}

/// `model` under this head of scores: its own, or a fresh one.
fn under_head(args: &TrainArgs, model: LanguageModel, wanted: Head) -> anyhow::Result<LanguageModel> {
    match model.config.head {
        Head::NextToken => {}
        Head::Sequence { labels } | Head::Token { labels } if model.config.head == wanted => {
            if args.reward.head_init.is_some() {
                bail!(
                    "head_init draws a fresh head, and `{}` has one of {labels} scores, from which training goes on; leave it out",
                    args.model.display()
                );
            }
            eprintln!("the model has a head of {labels} scores, from which training goes on");
            return Ok(model);
        }
        Head::Sequence { labels } | Head::Token { labels } => {
            eprintln!("the model's head of {labels} scores gives way to a fresh one");
        }
    }
    let init = args.reward.head_init.unwrap_or(HeadInitName::Narrow);
    Ok(model.with_decoder(model.decoder.with_head(wanted, init.into(), Seed(args.seed))?))
}

/// The weights that training starts from: those of the model, with a fresh adapter if one is trained.
fn start(args: &TrainArgs, model: &LanguageModel) -> anyhow::Result<Decoder> {
    Ok(match lora(args) {
        Some(config) => model.with_lora(&config, Seed(args.seed))?.decoder,
        None => model.decoder.clone(),
    })
}

fn lora(args: &TrainArgs) -> Option<LoraConfig> {
    args.use_peft.then(|| LoraConfig {
        r: args.lora_r,
        alpha: args.lora_alpha,
        target_modules: args.lora_target_modules.clone(),
        use_rslora: args.use_rslora,
    })
}

fn cache(args: &TrainArgs) -> anyhow::Result<LogpCache> {
    Ok(LogpCache::open(&args.output_dir.join("cache").join("logps.bin"))?)
}

/// What scores given texts with `model`. No text comes twice, so keys and values are kept for one prompt and its responses
/// and not for later calls.
fn scorer(model: &LanguageModel) -> anyhow::Result<LocalPolicy> {
    Ok(model.policy()?.with_limits(Limits { kv_bytes: 1 << 27, ..Limits::default() }))
}

/// Refuses a reference that reads texts in another way than the model.
fn check_words(model: &LanguageModel, reference: &LanguageModel) -> anyhow::Result<()> {
    if reference.text_hash() != model.text_hash() {
        bail!("the reference has another tokenizer or chat template than the model; use models of one family");
    }
    Ok(())
}

fn add_reference(
    args: &TrainArgs,
    model: &LanguageModel,
    reference: &LanguageModel,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    check_words(model, reference)?;
    let name = fingerprint(&reference.decoder.hash(), &reference.text_hash());
    let (policy, mut cache) = (scorer(reference)?, cache(args)?);
    for rows in [&mut rows.train, &mut rows.held_out] {
        let responses = rows.iter().map(|row| row.all_responses().count()).sum();
        let mut progress = Progress::new("reference log-probabilities", responses);
        reference_logps(rows, &policy, &name, &mut cache, &mut |done, _| progress.at(done))?;
    }
    Ok(())
}

/// Says how to weigh the two labels, when one outweighs the other.
fn warn_of_imbalance(chosen: &Chosen, rows: &[TrainRow]) {
    let weights = (chosen.number("desirable_weight"), chosen.number("undesirable_weight"));
    if let (Some(desirable_weight), Some(undesirable_weight)) = weights {
        let config = KtoConfig { desirable_weight, undesirable_weight, ..KtoConfig::default() };
        let wanted = rows.iter().filter(|row| row.label == Some(true)).count();
        if let Some(warning) = config.imbalance(wanted, rows.len() - wanted) {
            eprintln!("warning: {warning}");
        }
    }
}

/// Whether token rewards come from a model that DPO trained.
fn is_dpo_reward(chosen: &Chosen) -> bool {
    chosen.option("credit").as_deref() == Some("dpo_reward")
}

/// Refuses what would change nothing: a model or a wording that nobody asks, evaluations without rows; and the absence of the
/// model that token rewards are made of.
pub(crate) fn check_options(args: &TrainArgs, chosen: &Chosen) -> anyhow::Result<()> {
    taken::refuse(args)?;
    curriculum::check(args)?;
    let (needs, dpo_reward) = (chosen.needs(), is_dpo_reward(chosen));
    if dpo_reward && args.dpo_model.is_none() {
        bail!("credit dpo_reward takes the rewards of a model that DPO trained; name it with --dpo-model");
    }
    if !dpo_reward && args.dpo_model.is_some() {
        bail!("dpo_model does nothing without --credit dpo_reward; leave it out");
    }
    if args.reference.is_some() && !(needs.ref_logps || dpo_reward) {
        bail!("reference does nothing with {}, which has none; leave it out", chosen.name);
    }
    if args.given.has("revision") && (!needs.credit || dpo_reward) {
        bail!("revision does nothing where no token rewards are made by revision prompts; leave it out");
    }
    check_run(args)
}

/// What holds for runs of every method: evaluations have rows, an adapter has a shape, and the output folder fits.
fn check_run(args: &TrainArgs) -> anyhow::Result<()> {
    if args.held_out == 0 {
        let evaluating = [
            ("eval_steps", args.eval_steps > 0),
            ("per_device_eval_batch_size", args.given.has("per_device_eval_batch_size")),
        ];
        if let Some((name, _)) = evaluating.into_iter().find(|(_, given)| *given) {
            bail!("{name} does nothing without rows to evaluate on; hold some out with --held-out");
        }
    }
    let idle: &[&str] = match args.optim {
        OptimKind::AdamwTorch | OptimKind::Adam => &[],
        OptimKind::Rmsprop => &["adam_beta1", "adam_beta2"],
        OptimKind::Sgd => &["adam_beta1", "adam_beta2", "adam_epsilon"],
    };
    if let Some(name) = idle.iter().find(|name| args.given.has(name)) {
        let optim = format!("{:?}", args.optim).to_lowercase();
        bail!("{name} does nothing with --optim {optim}, which has no moments of Adam; leave it out");
    }
    if let Some(config) = lora(args) {
        config.check()?;
    }
    if args.verify_fused {
        has_fused(&args.common.device)?;
    }
    refuse_mixed_folder(args)
}

/// Refuses a device on which nothing is fused.
fn has_fused(device: &str) -> anyhow::Result<()> {
    match device.split(':').next() {
        Some("flex") => Ok(()),
        _ => bail!("verify_fused does nothing on {device}, where no operation is fused; leave it out, or use flex"),
    }
}

/// What the check of fused operations found, in words.
fn fused_words(check: FusedCheck) -> String {
    format!(
        "fused operations agree with their plain forms on the rows of the first step: the loss within {:.1e}, the gradients within \
         {:.1e} of their size",
        check.loss, check.gradient
    )
}

/// What is said of rows that alone are more than may go through the model at once.
fn say_long_rows(args: &TrainArgs, rows: usize) {
    if let Some(most) = args.max_batch_tokens
        && rows > 0
    {
        eprintln!("{rows} times a row had more than max_batch_tokens {most}, and went through the model alone");
    }
}

/// The longest row, which the context of the model limits.
fn length_limit(args: &TrainArgs, context: usize) -> usize {
    if args.max_length > context {
        eprintln!("max_length {} is more than the context of the model, {context}, which is used", args.max_length);
    }
    args.max_length.min(context)
}

/// The revision prompts of T-REG.
pub(crate) fn revision(args: &TrainArgs) -> anyhow::Result<RevisionTemplate> {
    Ok(match args.revision.as_str() {
        QUOTE => RevisionTemplate::default(),
        "no_quote" => RevisionTemplate::no_quote(),
        path => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("revision must be `quote`, `no_quote` or a TOML file, and `{path}` is none")
            })?;
            toml::from_str(&text).with_context(|| format!("revision file `{path}`"))?
        }
    })
}

fn add_token_rewards(
    args: &TrainArgs,
    chosen: &Chosen,
    model: &LanguageModel,
    reference: &LanguageModel,
    encoder: &Encoder,
    device: &Device,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let responses: usize = rows.train.iter().map(|row| row.responses.len()).sum();
    let report = match &args.dpo_model {
        Some(path) => {
            let trained = load(path, device)?;
            if trained.text_hash() != model.text_hash() {
                bail!("the model of dpo_model has another tokenizer or chat template; use models of one family");
            }
            // SimPO needs no log-probabilities under a reference, but these token rewards do.
            if !chosen.needs().ref_logps {
                add_reference(args, model, reference, rows)?;
            }
            let name = fingerprint(&trained.decoder.hash(), &trained.text_hash());
            let beta = DpoConfig::default().beta as f32;
            let mut progress = Progress::new("token rewards", responses);
            let told = &mut |done, _| progress.at(done);
            implicit_token_rewards(&mut rows.train, &scorer(&trained)?, &name, beta, &mut cache(args)?, told)?
        }
        None => {
            let template = revision(args)?;
            let prompts: Vec<_> =
                rows.pairs.iter().map(|record| encoder.revised(record, &template)).collect::<Result<_, _>>()?;
            let name = fingerprint(&model.decoder.hash(), &format!("{}:{}", model.text_hash(), template.hash()));
            let mut progress = Progress::new("token rewards", 2 * responses);
            let told = &mut |done, _| progress.at(done);
            token_rewards(&mut rows.train, prompts, &scorer(model)?, &name, &mut cache(args)?, told)?
        }
    };
    if report.left_out > 0 {
        eprintln!("{} rows left out: their revision prompts do not fit the context", report.left_out);
    }
    eprintln!(
        "token rewards: mean size {:.4}, chosen minus rejected {:+.5}",
        report.mean_size, report.chosen_minus_rejected
    );
    if let Some(warning) = report.warning() {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

/// The loop, from the last checkpoint if there is one.
fn fit(
    args: &TrainArgs,
    config: FitConfig,
    chosen: &Chosen,
    model: &LanguageModel,
    reference: &LanguageModel,
    mut identity: Vec<(&'static str, String)>,
    rows: &Rows,
) -> anyhow::Result<()> {
    let (train, held_out, needs) = (&rows.train, &rows.held_out, chosen.needs());
    let learner = LogpLearner::new(chosen.objective.as_ref()).with_reference(&reference.decoder);
    // Token rewards cost more than the reference itself, so held-out pairs go without: those of T-REG are measured by DPO's
    // loss and rewards, which are also the same for both.
    let judge = LogpLearner::new(chosen.judge()).with_reference(&reference.decoder);
    identity.push(("set of rows", rows_hash(train)));
    identity.push(curriculum::identity(args)?);
    let source = match curriculum::source(args, &config, &judge, model, train)? {
        None => curriculum::by_label(&config, train)?,
        some => some,
    };
    let run =
        Run { args, config, learner: &learner, judge: &judge, model, identity, train, held_out, source, beside: None };
    let start = run.start()?;
    if start.is_fresh() && needs.ref_logps && args.reference.is_none() {
        let test = self_test(&start.decoder, &train[..train.len().min(8)], DpoConfig::default().beta)?;
        eprintln!(
            "step 0: DPO loss {:.6} (ln 2 = {:.6}), policy and reference differ by at most {:.1e} nats a token",
            test.loss,
            std::f64::consts::LN_2,
            test.difference
        );
    }
    let Trained { tally, best, .. } = run.fit(start)?;
    finish(args, tally, best)
}

/// Means with intervals on the held-out rows, in words.
fn finish(args: &TrainArgs, tally: Option<Tally>, best: Option<(usize, f64)>) -> anyhow::Result<()> {
    finish_with(args, tally, best, Map::new())
}

/// [`finish`] with figures that the summary has beside.
fn finish_with(
    args: &TrainArgs,
    tally: Option<Tally>,
    best: Option<(usize, f64)>,
    mut summary: Map<String, Value>,
) -> anyhow::Result<()> {
    print_line(&format!("model written to {}", args.output_dir.display()))?;
    let Some(tally) = tally else {
        return print_line("no rows were held out, so nothing is known about other prompts; use --held-out");
    };
    for (name, value) in tally.means("eval_") {
        summary.insert(name, json!(value));
    }
    let accuracies = tally.values(ACCURACY);
    if accuracies.is_empty() {
        print_line(&format!("held-out loss {:.4}", tally.loss / tally.weight))?;
    } else {
        let accuracy = reward_accuracy(accuracies, args.seed)?;
        let verdict = match accuracy.interval {
            Some(interval) if interval.low > 0.5 => "above 50 %",
            Some(interval) if interval.high < 0.5 => "below 50 %",
            _ => "not distinguishable from 50 %",
        };
        print_line(&format!("held-out reward accuracy {accuracy}: {verdict}"))?;
        summary.insert("reward_accuracy".into(), serde_json::to_value(accuracy)?);
        // A ranking of several has no margin.
        let margins = tally.values("rewards/margins");
        if !margins.is_empty() {
            let margin = Bootstrap { seed: Seed(args.seed), ..Bootstrap::default() }.mean(margins)?;
            print_line(&format!("held-out reward margin {margin:+.4}"))?;
            summary.insert("reward_margin".into(), serde_json::to_value(margin)?);
            let spread = ["0.1", "0.5", "0.9"].into_iter().zip(quantiles(margins, [0.1, 0.5, 0.9]));
            let spread: Map<String, Value> = spread.map(|(at, value)| (at.to_owned(), json!(value))).collect();
            summary.insert("reward_margin_quantiles".into(), Value::Object(spread));
        }
    }
    if let Some((step, _)) = best {
        print_line(&format!("best checkpoint by held-out figure: checkpoint-{step}"))?;
        summary.insert("best_checkpoint".into(), json!(step));
    }
    write_whole(&args.output_dir.join("summary.json"), serde_json::to_string_pretty(&summary)?.as_bytes())
}

/// Share of pairs whose chosen response earns more, with Wilson's interval; with ties (one half) a bootstrap interval.
fn reward_accuracy(values: &[f64], seed: u64) -> anyhow::Result<Estimate> {
    let wins = values.iter().filter(|value| **value == 1.0).count();
    if values.iter().all(|value| *value == 0.0 || *value == 1.0) {
        return Ok(wilson(wins, values.len(), 0.95)?);
    }
    Ok(Bootstrap { seed: Seed(seed), ..Bootstrap::default() }.mean(values)?)
}

/// What must be the same for a resumed run, but for the rows; `other` is the reference, where it is not the model itself.
fn identity(
    args: &TrainArgs,
    config: &FitConfig,
    model: &LanguageModel,
    other: Option<&LanguageModel>,
    chosen: &Chosen,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    // Taken apart whole, so that no option can be forgotten here.
    let FitConfig {
        learning_rate,
        lr_scheduler_type,
        lr_scheduler_kwargs,
        warmup_ratio,
        num_train_epochs,
        max_steps,
        per_device_train_batch_size,
        gradient_accumulation_steps,
        max_batch_tokens,
        max_grad_norm,
        optim,
        optim_args,
        weight_decay,
        adam_beta1,
        adam_beta2,
        adam_epsilon,
        seed,
    } = config;
    let adapter = lora(args).map(|LoraConfig { r, alpha, target_modules, use_rslora }| {
        let scaled = if use_rslora { ", use_rslora" } else { "" };
        format!("r {r}, alpha {alpha}, {}{scaled}", target_modules.join(" "))
    });
    // The words and not the name of their file.
    let revision = match chosen.needs().credit && args.dpo_model.is_none() {
        true => short(&revision(args)?.hash()),
        false => "none".to_owned(),
    };
    Ok(vec![
        ("method", chosen.name.clone()),
        ("model", short(&model.decoder.hash())),
        ("reference", other.map_or_else(|| "the model itself".to_owned(), |other| short(&other.decoder.hash()))),
        ("beta", chosen.option("beta").unwrap_or_else(|| "none".to_owned())),
        ("set of options", json!(chosen.options).to_string()),
        ("revision", revision),
        ("dpo_model", args.dpo_model.as_deref().map_or_else(|| Ok("none".to_owned()), contents::of_model)?),
        ("boundary", args.boundary.to_string()),
        ("learning_rate", learning_rate.to_string()),
        ("lr_scheduler_type", format!("{lr_scheduler_type:?}").to_lowercase()),
        ("lr_scheduler_kwargs", json!(lr_scheduler_kwargs).to_string()),
        ("warmup_ratio", warmup_ratio.to_string()),
        ("num_train_epochs", num_train_epochs.to_string()),
        ("max_steps", max_steps.to_string()),
        ("per_device_train_batch_size", per_device_train_batch_size.to_string()),
        ("gradient_accumulation_steps", gradient_accumulation_steps.to_string()),
        ("max_batch_tokens", max_batch_tokens.map_or_else(|| "none".to_owned(), |most| most.to_string())),
        ("max_grad_norm", max_grad_norm.to_string()),
        ("optim", format!("{optim:?}").to_lowercase()),
        ("optim_args", json!(optim_args).to_string()),
        ("weight_decay", weight_decay.to_string()),
        ("adam_beta1", adam_beta1.to_string()),
        ("adam_beta2", adam_beta2.to_string()),
        ("adam_epsilon", adam_epsilon.to_string()),
        ("seed", seed.0.to_string()),
        ("lora", adapter.unwrap_or_else(|| "none".to_owned())),
    ])
}

/// What must be the same for a resumed run of a head of scores, but for its loss and its rows.
fn identity_of_head(args: &TrainArgs, config: &FitConfig, model: &LanguageModel) -> Vec<(&'static str, String)> {
    vec![
        ("method", args.method.clone()),
        ("model", short(&model.decoder.hash())),
        ("options of training", json!(config).to_string()),
        ("lora", lora(args).map_or_else(|| "none".to_owned(), |config| format!("{config:?}"))),
    ]
}

fn rows_hash(rows: &[TrainRow]) -> String {
    let mut hash = ascribe::preference::RowHash::default();
    rows.iter().for_each(|row| hash.add(row));
    short(&hash.finish())
}

/// Refuses an output folder with the checkpoints of another run before any work is done for this one.
fn refuse_other_runs(args: &TrainArgs, run: &[(&'static str, String)]) -> anyhow::Result<()> {
    if let Some((path, progress)) = Checkpoints::new(&args.output_dir, args.save_total_limit).last()? {
        progress.check_run(&path, run)?;
    }
    Ok(())
}

/// Refuses an output folder that would end with both a model and an adapter, which could not be told apart.
fn refuse_mixed_folder(args: &TrainArgs) -> anyhow::Result<()> {
    let (other, what, kind) = match args.use_peft {
        true => ("model.safetensors", "a whole model", "an adapter"),
        false => ("adapter_config.json", "an adapter", "a whole model"),
    };
    if args.output_dir.join(other).exists() {
        bail!("`{}` holds {what}, and this run writes {kind}; use another --output-dir", args.output_dir.display());
    }
    Ok(())
}

fn short(hash: &str) -> String {
    hash.chars().take(16).collect()
}
