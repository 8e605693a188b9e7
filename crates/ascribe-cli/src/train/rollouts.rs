//! `ascribe train grpo` and its relatives: prompts, rewards that judge what the policy writes, and the loop on rollouts.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{anyhow, bail};
use ascribe::burn::module::Module;
use ascribe::core::{Candidate, CoreError, Episode, Finish, Mode, Policy, Request, Scorer, Seed, Tokens, Until, rule};
use ascribe::data::{ColumnMap, Loaded, PromptCompletion, PromptOnly, Split};
use ascribe::eval::{Bootstrap, Estimate};
use ascribe::lm::LanguageModel;
use ascribe::preference::rl::{
    Actor, OnPolicy, PromptRow, RolloutLearner, SecondAttempt, WeightedRewards, text_of, up_to_end,
};
use ascribe::preference::{Encoded, Encoder, TrainRow};
use ascribe::reward::{Reading, Reference, RewardCard};
use ascribe::train::{Checkpoints, Fit, Progress as RunProgress, StepReport, TrainError};
use serde_json::{Map, json};

use super::combined::{Combined, Confident, LogSigmoidOf, scores_of};
use super::fitting::{RunLog, interrupted, run_of};
use super::recipes::Recipe;
use super::references;
use super::rows::{parts, say_skipped};
use super::setup::{Setup, second_attempt};
use super::steer;
use super::step_rewards::{self, refined, step_reward};
use super::stopping::Stopping;
use super::{
    base, check_words, contents, fit_config, fused_words, identity, load, refuse_other_runs, rows_hash, say_long_rows,
    short, start,
};
use crate::Catalog;
use crate::args::TrainArgs;
use crate::device::device;
use crate::interrupt;
use crate::judge::{Judge, on_one_scale};
use crate::output::{Progress, print_line, write_whole};
use crate::words::Words;

/// Prompts with their rows, and how many left no room for a response.
fn encoded(
    args: &TrainArgs,
    encoder: &Encoder,
    records: Vec<PromptOnly>,
    context: usize,
    longest: usize,
) -> anyhow::Result<(Vec<PromptRow>, usize)> {
    let before = records.len();
    let mut rows = Vec::with_capacity(before);
    for record in records {
        let prompt = encoder.prompt(&steer::asked(args, &record)?)?;
        if !prompt.is_empty() && prompt.len() + longest <= context {
            rows.push((prompt, record));
        }
    }
    let left_out = before - rows.len();
    Ok((rows, left_out))
}

/// Prompts to train on and to evaluate on.
pub(super) fn prompts(
    args: &TrainArgs,
    encoder: &Encoder,
    split: Split<PromptOnly>,
    context: usize,
    second: Option<&SecondAttempt>,
) -> anyhow::Result<[Vec<PromptRow>; 2]> {
    let longest =
        second.map_or(1, |_| 2) * args.rl.max_completion_length + second.map_or(0, |second| second.between.len());
    let (train, left_out) = encoded(args, encoder, split.train, context, longest)?;
    let (held_out, more) = encoded(args, encoder, split.held_out, context, longest)?;
    if left_out + more > 0 {
        let said = format!("{} prompts leave no room for {longest} tokens in a context of {context}", left_out + more);
        if args.strict || train.is_empty() {
            bail!("{said}; lower max_completion_length, or leave out --strict");
        }
        eprintln!("{said}: left out");
    }
    Ok([train, held_out])
}

/// The completions whose perplexity is logged.
fn texts(args: &TrainArgs, encoder: &Encoder) -> anyhow::Result<Vec<TrainRow>> {
    let Some(path) = &args.rl.perplexity_data else { return Ok(Vec::new()) };
    let Loaded { rows, skipped, notes } = ascribe::data::load::<PromptCompletion>(path, &ColumnMap::default())?;
    notes.iter().for_each(|note| eprintln!("{note}"));
    say_skipped(args, &skipped, rows.len())?;
    let Encoded { rows, skipped, .. } = encoder.completions(rows)?;
    say_skipped(args, &skipped, rows.len())?;
    if rows.is_empty() {
        bail!("perplexity_data `{}` holds no completion", path.display());
    }
    Ok(rows.into_iter().map(|(row, _)| row).collect())
}

/// The rewards that the options name, as one.
fn rewards(
    args: &TrainArgs,
    catalog: &Catalog,
    rows: &[PromptRow],
    model: Option<&LanguageModel>,
) -> anyhow::Result<WeightedRewards> {
    args.rl.aggregate()?;
    let bounded = args.constraints.constraint.iter().map(|(name, _)| name);
    step_rewards::check(args, args.rl.reward.iter().chain(bounded).chain(&args.constraints.constraint_metric))?;
    if args.method == steer::METHOD {
        return steer::rewards(args, rows);
    }
    let unnamed = args.rl.reward.is_empty() && args.rl.reward_weights.is_empty();
    if unnamed && !args.constraints.constraint.is_empty() {
        // Nothing is maximised but the rewards under constraints.
        if args.rl.confidence_weight.is_some() {
            bail!("confidence_weight moves what --reward names, and nothing is; leave it out");
        }
        let nothing: Box<dyn Scorer> = Box::new(rule(|_: &Episode| 0.0));
        return Ok(WeightedRewards::new(vec![(nothing, 1.0)])?);
    }
    if args.rl.reward.is_empty() {
        bail!(
            "{} needs a reward: name one with --reward ({}, or the folder of a reward or process model)",
            args.method,
            catalog.rollouts.rewards.names().join(", ")
        );
    }
    log_odds(args, catalog)?;
    let rewards = match args.rl.log_sigmoid_quantile {
        Some(quantile) => references::rewards(args, catalog, rows, model, quantile)?,
        None => combined(args, catalog, rows)?,
    };
    let Some(weight) = args.rl.confidence_weight else { return Ok(rewards) };
    let numbers = [weight, args.rl.confidence_rate, args.rl.confidence_mean];
    let confident: Box<dyn Scorer> =
        Box::new(Confident::new(Box::new(rewards), args.rl.confidence_rule.into(), numbers)?);
    Ok(WeightedRewards::new(vec![(confident, 1.0)])?)
}

/// The reward `name`: one of the table, one of steps, or a reward model in the folder of that name.
pub(super) fn reward(
    args: &TrainArgs,
    name: &str,
    catalog: &Catalog,
    rows: &[PromptRow],
) -> anyhow::Result<Box<dyn Scorer>> {
    if let Some(scorer) = step_reward(args, name, catalog)? {
        return Ok(scorer);
    }
    if let Some(folder) = folder_of(name, catalog) {
        let prompts = rows.iter().map(|(tokens, row)| (tokens.clone(), row.prompt.clone()));
        let judge = Judge::open(folder, &device(&args.common.device)?, prompts)?;
        return Ok(Box::new(if args.rl.standardize { judge.standardized()? } else { judge }));
    }
    if args.rl.standardize {
        bail!("standardize brings reward models to their own scales, and `{name}` has none; drop it");
    }
    Ok(catalog.rollouts.rewards.get(name)?(rows)?)
}

/// The folder of the model that the reward `name` is, if it is none of the table.
pub(super) fn folder_of<'a>(name: &'a str, catalog: &Catalog) -> Option<&'a Path> {
    let folder = Path::new(name);
    (!catalog.rollouts.rewards.names().contains(&name) && folder.is_dir()).then_some(folder)
}

/// The reward models among the rewards that say what their scores mean, by name.
fn cards(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<Vec<(String, RewardCard)>> {
    let mut cards = Vec::new();
    for folder in args.rl.reward.iter().filter_map(|name| folder_of(name, catalog)) {
        if let Some(card) = RewardCard::read(folder)? {
            cards.push((folder.display().to_string(), card));
        }
    }
    Ok(cards)
}

/// Refuses a log-sigmoid of rewards that are not on the scale of Bradley and Terry, whose temperature is 1.
fn log_odds(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    if args.rl.log_sigmoid.is_none() && args.rl.log_sigmoid_quantile.is_none() {
        return Ok(());
    }
    if args.rl.standardize {
        bail!(
            "a log-sigmoid takes rewards for log-odds of the temperature 1, and standardize divides them by their deviation; drop \
             standardize, or log_sigmoid and log_sigmoid_quantile"
        );
    }
    for (name, card) in cards(args, catalog)? {
        if matches!(card.reading, Reading::Heads { .. }) {
            bail!(
                "a log-sigmoid takes rewards for log-odds, and `{name}` gives ratings; train it by a loss on pairs, or drop \
                 log_sigmoid and log_sigmoid_quantile"
            );
        }
    }
    Ok(())
}

/// The folder of a general preference model among the rewards, if one is there.
pub(super) fn preference_model<'a>(args: &'a TrainArgs, catalog: &Catalog) -> anyhow::Result<Option<&'a Path>> {
    for folder in args.rl.reward.iter().filter_map(|name| folder_of(name, catalog)) {
        if RewardCard::read(folder)?.is_some_and(|card| matches!(card.reading, Reading::Preference(_))) {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// Whether the only reward compares responses to one prompt with each other, so that its mean says nothing of a policy; says so.
pub(super) fn only_compares(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<bool> {
    let Some(folder) = preference_model(args, catalog)?.filter(|_| args.rl.reward.len() == 1) else { return Ok(false) };
    print_line(&format!(
        "`{}` compares the responses of one policy with each other, so its mean says nothing of held-out prompts",
        folder.display()
    ))?;
    Ok(true)
}

/// The rewards under constraints.
fn bounded(args: &TrainArgs, catalog: &Catalog, rows: &[PromptRow]) -> anyhow::Result<Vec<Box<dyn Scorer>>> {
    let mut scorers = Vec::new();
    for (name, _) in &args.constraints.constraint {
        scorers.push(reward(args, name, catalog, rows)?);
    }
    Ok(scorers)
}

/// What bounds follow, if they follow anything.
fn metric(args: &TrainArgs, catalog: &Catalog, rows: &[PromptRow]) -> anyhow::Result<Option<WeightedRewards>> {
    let names = &args.constraints.constraint_metric;
    (!names.is_empty()).then(|| weighted(args, names, &[], None, catalog, rows)).transpose()
}

/// The rewards of --reward as one: added up, or as an ensemble.
pub(super) fn combined(args: &TrainArgs, catalog: &Catalog, rows: &[PromptRow]) -> anyhow::Result<WeightedRewards> {
    let (names, centre) = (&args.rl.reward, args.rl.log_sigmoid);
    if let Some(centre) = centre.filter(|centre| !centre.is_finite()) {
        bail!("log_sigmoid must be finite, got {centre}");
    }
    if let Some(how) = args.rl.refinement()? {
        return refined(args, how, catalog, rows);
    }
    let Some(aggregate) = args.rl.aggregate()? else {
        return weighted(args, names, &args.rl.reward_weights, centre, catalog, rows);
    };
    if !args.rl.reward_weights.is_empty() {
        bail!("reward_weights belong to a sum; drop them, or drop combine");
    }
    aggregate.check(names.len())?;
    if !args.rl.standardize {
        on_one_scale(&cards(args, catalog)?)?;
    }
    let member = |name: &String| tamed(args, name, centre, catalog, rows);
    let members = names.iter().map(member).collect::<anyhow::Result<_>>()?;
    let ensemble: Box<dyn Scorer> = Box::new(Combined { members, aggregate });
    Ok(WeightedRewards::new(vec![(ensemble, 1.0)])?)
}

/// The reward `name`, or the log-sigmoid of what it is above a centre.
fn tamed(
    args: &TrainArgs,
    name: &str,
    centre: Option<f64>,
    catalog: &Catalog,
    rows: &[PromptRow],
) -> anyhow::Result<Box<dyn Scorer>> {
    let scorer = reward(args, name, catalog, rows)?;
    let Some(centre) = centre else { return Ok(scorer) };
    Ok(Box::new(LogSigmoidOf { scorer, centre: Reference::Global(centre) }))
}

/// The rewards `names` as one, each with its weight, or all with 1.
pub(super) fn weighted(
    args: &TrainArgs,
    names: &[String],
    weights: &[f64],
    centre: Option<f64>,
    catalog: &Catalog,
    rows: &[PromptRow],
) -> anyhow::Result<WeightedRewards> {
    let weights = weights_of(names, weights)?;
    let mut made = Vec::with_capacity(names.len());
    for (name, weight) in names.iter().zip(weights) {
        made.push((tamed(args, name, centre, catalog, rows)?, weight));
    }
    let named = WeightedRewards::new(made)?;
    // The mean of one alone is the reward.
    Ok(if names.len() > 1 { named.with_names(names.to_vec())? } else { named })
}

/// Prompts, those that are rarely solved several times: OREAL's schedule by pass rate, arXiv:2502.06781, its code.
fn repeated(args: &TrainArgs, rows: &[PromptRow]) -> anyhow::Result<Vec<Tokens>> {
    let Some(column) = &args.rl.repeat_by_pass_rate else {
        return Ok(rows.iter().map(|(prompt, _)| prompt.clone()).collect());
    };
    let mut asked = Vec::new();
    for (prompt, row) in rows {
        let rate = row.others.get(column).and_then(serde_json::Value::as_f64);
        let Some(rate) = rate.filter(|rate| (0.0..=1.0).contains(rate)) else {
            bail!(
                "line {}: repeat_by_pass_rate needs a number from 0 to 1 in the column `{column}` of every row; add it, or leave \
                 the option out",
                row.line
            );
        };
        asked.extend(std::iter::repeat_n(prompt.clone(), times(rate)));
    }
    Ok(asked)
}

/// How often a prompt with this pass rate is asked.
fn times(rate: f64) -> usize {
    match rate {
        rate if rate < 0.2 => 6,
        rate if rate < 0.6 => 4,
        rate if rate < 0.8 => 2,
        _ => 1,
    }
}

/// The weight of each reward `names`: those that are given, or 1.
pub(super) fn weights_of(names: &[String], weights: &[f64]) -> anyhow::Result<Vec<f64>> {
    if weights.is_empty() {
        return Ok(vec![1.0; names.len()]);
    }
    if weights.len() != names.len() {
        bail!("reward_weights has {} numbers for {} rewards; give one each", weights.len(), names.len());
    }
    Ok(weights.to_vec())
}

/// Checks a run without weights; gives numbers of prompts to train on and held out, and what the run is made of.
pub fn validate(
    args: &TrainArgs,
    recipe: &Recipe,
    catalog: &Catalog,
    words: &Words,
) -> anyhow::Result<(usize, usize, String)> {
    let setup = Setup::new(args, recipe, catalog, &fit_config(args))?;
    let split = parts(args, ascribe::data::load::<PromptOnly>(&args.data, &ColumnMap::parse(&args.columns)?)?)?;
    let context = words.limit(usize::MAX);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), context)?;
    let second = second_attempt(&args.rl, recipe, &words.tokenizer)?;
    let [train, held_out] = prompts(args, &encoder, split, context, second.as_ref())?;
    let (n, m) = (train.len(), held_out.len());
    texts(args, &encoder)?;
    repeated(args, &train)?;
    let rows = [train, held_out].concat();
    rewards(args, catalog, &rows, None)?;
    bounded(args, catalog, &rows)?;
    metric(args, catalog, &rows)?;
    Ok((n, m, setup.said))
}

pub fn run(args: &TrainArgs, recipe: &Recipe, catalog: &Catalog) -> anyhow::Result<()> {
    let config = fit_config(args);
    config.check()?;
    let mut setup = Setup::new(args, recipe, catalog, &config)?;
    let device = device(&args.common.device)?;
    let split = parts(args, ascribe::data::load::<PromptOnly>(&args.data, &ColumnMap::parse(&args.columns)?)?)?;
    let model = base(args, &device)?;
    let other = args.reference.as_deref().map(|path| load(path, &device)).transpose()?;
    if let Some(other) = &other {
        check_words(&model, other)?;
    }
    let mut run = identity(args, &config, &model, other.as_ref(), &setup.chosen)?;
    run.push(contents::of_judges(args, catalog)?);
    refuse_other_runs(args, &run)?;
    let context = model.config.context;
    setup.config.second = second_attempt(&args.rl, recipe, &model.tokenizer)?;
    let second = setup.config.second.clone();
    let [train, held_out] = prompts(args, &Encoder::new(&model, context)?, split, context, second.as_ref())?;
    let rows = [train.as_slice(), held_out.as_slice()].concat();
    let scorer = rewards(args, catalog, &rows, Some(&model))?;
    let bounded = bounded(args, catalog, &rows)?;
    let metric = metric(args, catalog, &rows)?;
    let asked = repeated(args, &train)?;
    setup.config.ends = model.tokenizer.eos().to_vec();
    setup.config.context = context;
    eprintln!("{}", setup.said);
    if setup.config.sampling.top_p < 1.0 || setup.config.sampling.top_k.is_some() {
        eprintln!(
            "what is drawn is not the policy itself where its distribution is cut: ratios are the policy's, and \
             --importance-sampling-correction weighs tokens by how they were drawn"
        );
    }

    run.push(("set of prompts", prompts_hash(&train)));
    let texts = texts(args, &Encoder::new(&model, context)?)?;
    run.push(("set of texts", if texts.is_empty() { "none".to_owned() } else { rows_hash(&texts) }));
    let checkpoints = Checkpoints::new(&args.output_dir, args.save_total_limit);
    let last = checkpoints.last()?;
    let critic = setup.estimator.needs().values;
    let critics = critic.then_some(bounded.len());
    let actor = actor_of(args, &model, &run, last.as_ref(), critics)?;
    let reference = setup.needs_reference().then(|| other.as_ref().unwrap_or(&model).decoder.clone());
    let mut source =
        OnPolicy::new(&asked, &scorer, setup.estimator.as_ref(), setup.chosen.needs(), setup.config.clone())?
            .with_tokenizer(&model.tokenizer)
            .with_rewards(&scorer)
            .with_texts(&texts);
    if args.method == steer::METHOD {
        source = source.with_reference_prompts(steer::plain(&Encoder::new(&model, context)?, &train)?);
    }
    if let Some(constraints) = &setup.constraints {
        source = source.with_constraints(bounded.iter().map(|scorer| &**scorer).collect(), &**constraints)?;
    }
    if let Some(metric) = &metric {
        source = source.with_metric(metric)?;
    }
    if let Some(reference) = &reference {
        source = source.with_reference(reference.clone());
    }
    let steps = if args.max_steps > 0 { args.max_steps } else { source.steps(args.num_train_epochs) };
    let mut learner = RolloutLearner::new(setup.chosen.objective.as_ref(), setup.config.temperature());
    if let Some(reference) = &reference {
        learner = learner.with_reference(reference);
    }
    let fit = Fit::from_source(&learner, actor, Box::new(source), steps, config)?;
    let (trained, _) = drive(args, &model, &run, fit, last.as_ref())?;
    if held_out.is_empty() {
        return print_line("no prompts were held out, so nothing is known about others; use --held-out");
    }
    let mut judges: Vec<(String, &dyn Scorer)> = Vec::new();
    if !(args.rl.reward.is_empty() || only_compares(args, catalog)?) {
        judges.push(("reward".to_owned(), &scorer));
    }
    for (at, scorer) in bounded.iter().enumerate() {
        judges.push((format!("constraint_{at}"), &**scorer));
    }
    if let Some(metric) = &metric {
        judges.push(("constraint_metric".to_owned(), metric));
    }
    match judges.is_empty() {
        true => Ok(()),
        false => tell_held_out(args, [&model, &trained], &judges, &held_out, second.as_ref()),
    }
}

/// A checkpoint, with what it says of its run.
type Last = (PathBuf, RunProgress);

/// What training begins with: the weights of the last checkpoint or of the model, and critics beside the first, if there is one.
pub(super) fn actor_of(
    args: &TrainArgs,
    model: &LanguageModel,
    run: &[(&'static str, String)],
    last: Option<&Last>,
    critics: Option<usize>,
) -> anyhow::Result<Actor> {
    let training = model.decoder.device().autodiff();
    let decoder = match last {
        None if args.use_peft => start(args, model)?.train(),
        None => model.decoder.clone().on(&training),
        Some((path, progress)) => {
            progress.check_run(path, run)?;
            match args.use_peft {
                true => model.with_adapter(path)?.decoder.train(),
                false => LanguageModel::load(path, &training)?.decoder,
            }
        }
    };
    let decoder = decoder.with_gradient_checkpointing(args.gradient_checkpointing.unwrap_or(args.use_peft));
    Ok(match (critics, last) {
        (None, _) => Actor::new(decoder),
        (Some(others), None) => Actor::with_critics(decoder, others),
        (Some(_), Some((path, _))) => Actor::with_saved_critic(decoder, path)?,
    })
}

/// The loop, from the last checkpoint if there is one, with log and checkpoints; the model in the output folder, and all that was
/// trained.
pub(super) fn drive(
    args: &TrainArgs,
    model: &LanguageModel,
    run: &[(&'static str, String)],
    mut fit: Fit<RolloutLearner>,
    last: Option<&Last>,
) -> anyhow::Result<(LanguageModel, Actor)> {
    let (checkpoints, steps) = (Checkpoints::new(&args.output_dir, args.save_total_limit), fit.steps());
    if args.verify_fused {
        fit = fit.with_fused_check();
    }
    if let Some((path, progress)) = last {
        fit.resume(path, progress)?;
        eprintln!("going on from {} ({} of {steps} steps done)", path.display(), fit.step());
    }
    let mut log = RunLog::open(&args.output_dir, fit.step())?;
    let mut stopping = Stopping::new(&args.rl)?.after(&args.output_dir.join("log.jsonl"));
    let mut progress = Progress::new(&format!("train {}", args.method), steps);
    progress.at(fit.step());
    let due = |every: usize, step: usize| step == steps || (every > 0 && step.is_multiple_of(every));
    let cancel: &AtomicBool = interrupt::flag()?;
    while stopping.why().is_none() {
        let Some(report) = fit.next() else { break };
        let report = report?;
        let step = fit.step();
        stopping.see(|name| report.metric(name));
        let cancelled = cancel.load(Ordering::Relaxed) && step < steps && stopping.why().is_none();
        progress.at(step);
        if let Some(check) = fit.take_fused_check() {
            progress.line(&fused_words(check));
        }
        if due(args.logging_steps, step) || step == 1 {
            progress.line(&line(&report, steps, progress.seconds()));
        }
        log.write(&report, &[])?;
        if due(args.save_steps, step) || stopping.why().is_some() || cancelled {
            let now = RunProgress { run: run_of(run), ..fit.progress() };
            let weights = model.with_decoder(fit.model().decoder.valid());
            checkpoints.save(&fit, &now, |folder| {
                weights.save(folder).map_err(TrainError::from)?;
                fit.model().save_value_head(folder)
            })?;
        }
        if cancelled {
            return Err(interrupted(step, steps).into());
        }
    }
    drop(progress);
    say_long_rows(args, fit.long_rows());
    if let Some(why) = stopping.why() {
        eprintln!("stopped after step {} of {steps}: {why}", fit.step());
    }
    let actor = fit.into_model();
    let trained = model.with_decoder(actor.decoder.valid());
    trained.save(&args.output_dir)?;
    print_line(&format!("model written to {}", args.output_dir.display()))?;
    Ok((trained, actor))
}

/// Says, in words and in the summary, what the judges think of responses to prompts that nothing was trained on: of those of
/// the model, and of the one that was trained. Where there is a second attempt it is the one that counts.
pub(super) fn tell_held_out(
    args: &TrainArgs,
    [model, trained]: [&LanguageModel; 2],
    judges: &[(String, &dyn Scorer)],
    rows: &[PromptRow],
    second: Option<&SecondAttempt>,
) -> anyhow::Result<()> {
    let (before, after) = (judged(args, model, judges, rows, second)?, judged(args, trained, judges, rows, second)?);
    let mut summary = Map::new();
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        print_line(&format!("held-out {name} {after}; before {before}"))?;
        summary.insert(name.clone(), json!(after));
        summary.insert(format!("{name}_before"), json!(before));
    }
    write_whole(&args.output_dir.join("summary.json"), serde_json::to_string_pretty(&summary)?.as_bytes())
}

/// A request for `n` responses behind `prefix`, drawn as in training.
fn request(args: &TrainArgs, prefix: Tokens, n: usize, seed: Seed) -> Request {
    Request {
        prefix,
        n,
        until: Until::End,
        mode: Mode::Sample(args.rl.sampling()),
        max_new: args.rl.max_completion_length,
        seed,
    }
}

/// A response to the prompt `asked`, as a scorer sees it.
fn heard(model: &LanguageModel, asked: &Tokens, candidate: &Candidate) -> Result<Episode, CoreError> {
    let text = text_of(&model.tokenizer, asked, &candidate.tokens)?;
    let mut episode = Episode::new(asked, &candidate.tokens).with_text(text)?;
    episode.complete = candidate.finish == Finish::End;
    Ok(episode)
}

/// Responses of a model to each prompt, as a scorer sees them.
pub(super) fn written(
    args: &TrainArgs,
    model: &LanguageModel,
    rows: &[PromptRow],
    seed: Seed,
) -> anyhow::Result<Vec<Vec<Episode>>> {
    let one = |(at, (prompt, _)): (usize, &PromptRow)| {
        request(args, prompt.clone(), args.rl.num_generations, seed.child("prompt", at as u64))
    };
    let requests: Vec<Request> = rows.iter().enumerate().map(one).collect();
    let mut written = Vec::with_capacity(rows.len());
    for (request, reply) in requests.iter().zip(model.policy()?.propose(&requests)?) {
        let episodes = reply.candidates.iter().map(|candidate| heard(model, &request.prefix, candidate));
        written.push(episodes.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(written)
}

/// A second attempt of a model behind each first one, as a scorer sees it.
fn written_again(
    args: &TrainArgs,
    model: &LanguageModel,
    second: &SecondAttempt,
    first: &[Vec<Episode>],
    seed: Seed,
) -> anyhow::Result<Vec<Episode>> {
    let first: Vec<&Episode> = first.iter().flatten().collect();
    let prompts: Vec<Tokens> = first.iter().map(|episode| Tokens::from(episode.prompt_tokens())).collect();
    let behind = |(at, (episode, prompt)): (usize, (&&Episode, &Tokens))| {
        let first = up_to_end(episode.response_tokens(), model.tokenizer.eos());
        request(args, second.prompt(prompt, first), 1, seed.child("second attempt", at as u64))
    };
    let requests: Vec<Request> = first.iter().zip(&prompts).enumerate().map(behind).collect();
    let mut again = Vec::with_capacity(first.len());
    for (prompt, reply) in prompts.iter().zip(model.policy()?.propose(&requests)?) {
        let candidate = reply.candidates.first();
        again.push(heard(model, prompt, candidate.ok_or_else(|| anyhow!("a second attempt was not written"))?)?);
    }
    Ok(again)
}

/// Mean scores of responses by each judge, by name: means over prompts, with their intervals. With a second attempt they are
/// those of the second, then of the first, their difference, and how often the second alone is right, or the first alone.
fn judged(
    args: &TrainArgs,
    model: &LanguageModel,
    judges: &[(String, &dyn Scorer)],
    rows: &[PromptRow],
    second: Option<&SecondAttempt>,
) -> anyhow::Result<Vec<(String, Estimate)>> {
    let seed = Seed(args.seed).child("held out", 0);
    let written = written(args, model, rows, seed)?;
    let again = match second {
        Some(second) => written_again(args, model, second, &written, seed)?,
        None => Vec::new(),
    };
    let ends: &[&str] = if second.is_some() { &["", "_first", "_gain", "_corrected", "_spoiled"] } else { &[""] };
    let mut columns: Vec<(String, Vec<f64>)> = Vec::new();
    for (name, scorer) in judges {
        let memory = scorer.memory();
        let mut own: Vec<(String, Vec<f64>)> = ends.iter().map(|end| (format!("{name}{end}"), Vec::new())).collect();
        let mut start = 0;
        for episodes in &written {
            let end = start + episodes.len();
            let first = scores_of(*scorer, episodes)?;
            let mut told: Vec<Vec<f64>> = match second {
                None => first.into_iter().map(|score| vec![score]).collect(),
                Some(_) => {
                    let second = scores_of(*scorer, &again[start..end])?;
                    first.into_iter().zip(second).map(both).collect()
                }
            };
            start = end;
            told.retain(|row| row.iter().all(|number| !number.is_nan()));
            if !told.is_empty() {
                for (at, (_, means)) in own.iter_mut().enumerate() {
                    means.push(told.iter().map(|row| row[at]).sum::<f64>() / told.len() as f64);
                }
            }
        }
        // What was heard here is no part of the run.
        scorer.remember(&memory)?;
        columns.extend(own);
    }
    let bootstrap = Bootstrap { seed: Seed(args.seed), ..Bootstrap::default() };
    let estimate = |(name, means): (String, Vec<f64>)| -> anyhow::Result<(String, Estimate)> {
        Ok((name, bootstrap.mean(&means)?))
    };
    columns.into_iter().map(estimate).collect()
}

/// What is told of the scores of a first and a second attempt; right is a score above one half.
fn both((first, second): (f64, f64)) -> Vec<f64> {
    let (was, is) = (first > 0.5, second > 0.5);
    let flag = |flag: bool| f64::from(u8::from(flag));
    vec![second, first, second - first, flag(!was && is), flag(was && !is)]
}

/// Prompts, and what else their rows have: rewards check against it.
pub(super) fn prompts_hash(rows: &[PromptRow]) -> String {
    let mut hash = ascribe::preference::RowHash::default();
    for (prompt, row) in rows {
        let columns: Vec<u32> = json!(row.others).to_string().bytes().map(u32::from).collect();
        hash.add(&ascribe::preference::TrainRow::single(prompt.clone(), columns));
    }
    short(&hash.finish())
}

/// One step as a line for people.
fn line(report: &StepReport, steps: usize, seconds: f64) -> String {
    let show =
        |name: &str, label: &str| report.metric(name).map(|value| format!("  {label} {value:.4}")).unwrap_or_default();
    let rate = report.metric("learning_rate").unwrap_or(0.0);
    format!(
        "step {}/{steps}  epoch {:.2}{}{}{}{}{}{}{}{}{}  learning_rate {rate:.2e}  {}",
        report.step,
        report.epoch,
        show("reward", "reward"),
        show("constraint_0/reward", "constrained"),
        show("constraint_0/weight", "weight"),
        show("frac_reward_zero_std", "dead groups"),
        show("completions/mean_length", "length"),
        show("kl_to_reference", "kl"),
        show("loss", "loss"),
        show("ratio", "ratio"),
        show("grad_norm", "grad_norm"),
        crate::output::duration(seconds)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_that_are_rarely_solved_come_more_often() {
        assert_eq!([0.0, 0.19, 0.2, 0.59, 0.6, 0.79, 0.8, 1.0].map(times), [6, 6, 4, 4, 2, 2, 1, 1]);
    }

    #[test]
    fn what_is_told_of_two_attempts() {
        assert_eq!(both((0.0, 1.0)), [1.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(both((1.0, 0.25)), [0.25, 1.0, -0.75, 0.0, 1.0]);
        assert_eq!(both((1.0, 1.0)), [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(both((f64::NAN, 1.0))[2].is_nan());
    }
}
