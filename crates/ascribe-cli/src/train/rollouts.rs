//! `ascribe train grpo` and its relatives: prompts, rewards that judge what the policy writes, and the loop on rollouts.

use anyhow::{Context, bail};
use ascribe::burn::module::Module;
use ascribe::core::advantage::AdvantageEstimator;
use ascribe::core::tensor::KlGradient;
use ascribe::core::{Episode, Mode, Policy, Request, Scorer, Seed, Tokens, Until};
use ascribe::data::{ColumnMap, PromptOnly, Split};
use ascribe::eval::{Bootstrap, Estimate};
use ascribe::lm::LanguageModel;
use ascribe::preference::Encoder;
use ascribe::preference::rl::{
    Actor, AdaptiveKl, Correction, CorrectionKind, DeadGroups, EstimatorOptions, KlPlace, KlReward, LengthPenalty,
    OnPolicy, Overlong, PolicyOptions, PromptRow, RolloutConfig, RolloutLearner, Segmentation, ValueTerm,
    WeightedRewards, text_of,
};
use ascribe::train::{Checkpoints, Fit, FitConfig, Progress as RunProgress, StepReport, TrainError};
use serde_json::{Value, json};

use super::fitting::{RunLog, run_of};
use super::rows::parts;
use super::{base, check_run, fit_config, identity, load, refuse_other_runs, short, start};
use crate::Catalog;
use crate::args::{CorrectionName, DeadGroupsName, TrainArgs};
use crate::catalog::Chosen;
use crate::device::device;
use crate::output::{Progress, print_line, write_whole};
use crate::words::Words;

/// What a method on rollouts is made of, unless options say otherwise.
pub struct Recipe {
    /// The name of the method.
    pub name: &'static str,
    estimator: &'static str,
    loss: &'static str,
    epsilon_high: Option<f64>,
    /// Strength and place of the penalty for leaving the reference in the reward.
    kl: (f64, KlPlace),
    segment: Option<&'static str>,
}

const PLAIN: Recipe = Recipe {
    name: "grpo",
    estimator: "grpo",
    loss: "dapo",
    epsilon_high: None,
    kl: (0.0, KlPlace::Tokens),
    segment: None,
};

/// Every method on rollouts.
pub static RECIPES: [Recipe; 11] = [
    PLAIN,
    Recipe { name: "dr_grpo", estimator: "dr_grpo", loss: "dr_grpo", ..PLAIN },
    Recipe { name: "dapo", epsilon_high: Some(0.28), ..PLAIN },
    Recipe { name: "gspo", loss: "gspo", ..PLAIN },
    Recipe { name: "cispo", loss: "cispo", ..PLAIN },
    Recipe { name: "rloo", estimator: "rloo", loss: "rloo", kl: (0.05, KlPlace::Score), ..PLAIN },
    Recipe { name: "reinforce", estimator: "reinforce", loss: "reinforce", ..PLAIN },
    Recipe { name: "reinforce_plus_plus", estimator: "reinforce_plus_plus", loss: "ppo", ..PLAIN },
    Recipe { name: "remax", estimator: "remax", loss: "reinforce", ..PLAIN },
    Recipe { name: "ppo", estimator: "gae", loss: "ppo", kl: (0.05, KlPlace::Tokens), ..PLAIN },
    Recipe {
        name: "ma_ppo",
        estimator: "macro_gae",
        loss: "ppo",
        kl: (0.05, KlPlace::Tokens),
        segment: Some("fixed:5"),
        ..PLAIN
    },
];

/// The method `name`, if it is one on rollouts.
pub fn recipe(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

/// What a run is made of, as far as it can be made without weights and data.
struct Setup {
    estimator: Box<dyn AdvantageEstimator>,
    /// The policy loss, with what tells this run from others.
    chosen: Chosen,
    config: RolloutConfig,
    said: String,
}

impl Setup {
    fn new(args: &TrainArgs, recipe: &Recipe, catalog: &Catalog, fit: &FitConfig) -> anyhow::Result<Self> {
        let rl = &args.rl;
        let estimator_name = rl.advantage_estimator.as_deref().unwrap_or(recipe.estimator);
        let estimator = catalog.rollouts.estimators.get(estimator_name)?(&EstimatorOptions {
            gamma: rl.gamma,
            lambda: rl.lam,
            scale_rewards: rl.scale_rewards,
            epsilon: rl.advantage_epsilon,
            whiten_advantages: rl.whiten_advantages,
        })?;
        let config = rollout_config(args, recipe, fit)?;
        config.check()?;
        let loss_name = loss_name(args, recipe)?;
        let clip = (rl.cliprange_value > 0.0).then_some(rl.cliprange_value);
        let options = PolicyOptions {
            epsilon: rl.epsilon,
            epsilon_high: rl.epsilon_high.or(recipe.epsilon_high),
            delta: args.objective.delta,
            dual_clip: rl.dual_clip,
            beta: args.objective.beta.unwrap_or(0.0),
            kl: rl.kl_loss_estimator,
            kl_gradient: if rl.use_bias_correction_kl { KlGradient::Unbiased } else { KlGradient::Direct },
            loss_agg_mode: rl.loss_agg_mode,
            max_completion_length: rl.max_completion_length,
            entropy_coef: rl.entropy_coef,
            weighted: config.correction.is_some() || config.top_entropy.is_some(),
            off_policy_threshold: rl.off_policy_mask_threshold,
            value: estimator.needs().values.then_some(ValueTerm { coef: rl.vf_coef, clip }),
        };
        let (mode, make) = catalog.rollouts.policy_losses.get(loss_name)?;
        let objective = make(&options)?;
        let mode = rl.loss_agg_mode.unwrap_or(mode);
        let said = format!(
            "{}: advantages {estimator_name}, loss {loss_name} aggregated by {mode}, beta {} in the loss, kl_coef {} in the \
             reward, {} prompts x {} responses a generation",
            recipe.name,
            options.beta,
            config.kl_reward.map_or(0.0, |kl| kl.coef),
            config.prompts,
            config.num_generations
        );
        let mut told = args.objective.given();
        told.insert("beta".to_owned(), Value::from(options.beta));
        told.insert("loss_type".to_owned(), Value::from(loss_name));
        told.insert("rollouts".to_owned(), Value::from(format!("{rl:?}")));
        let chosen = Chosen { name: recipe.name.to_owned(), objective, judge: None, options: told };
        let setup = Self { estimator, chosen, config, said };
        if args.reference.is_some() && !setup.needs_reference() {
            bail!("reference does nothing with {}, which has none; leave it out", setup.chosen.name);
        }
        check_run(args)?;
        Ok(setup)
    }

    fn needs_reference(&self) -> bool {
        let segmentation = self.config.segmentation.as_ref();
        self.chosen.needs().ref_logps
            || self.config.kl_reward.is_some()
            || segmentation.is_some_and(Segmentation::needs_reference)
    }
}

/// The policy loss that is asked for. What else there is of options of objectives belongs to other methods.
fn loss_name<'a>(args: &'a TrainArgs, recipe: &Recipe) -> anyhow::Result<&'a str> {
    let given = args.objective.given();
    if let Some(name) = given.keys().find(|name| !["beta", "delta"].contains(&name.as_str())) {
        bail!("{name} does nothing with {}; leave it out", recipe.name);
    }
    if !args.objective.loss_weights.is_empty() {
        bail!("loss_weights weighs losses that are added, and {} has one; leave it out", recipe.name);
    }
    match args.objective.loss_type.as_slice() {
        [] => Ok(recipe.loss),
        [one] => Ok(one.as_str()),
        types => bail!("{} has one policy loss, and loss_type names {}; name one", recipe.name, types.len()),
    }
}

fn rollout_config(args: &TrainArgs, recipe: &Recipe, fit: &FitConfig) -> anyhow::Result<RolloutConfig> {
    let rl = &args.rl;
    let responses = fit.window().saturating_mul(rl.steps_per_generation);
    if rl.num_generations == 0 || !responses.is_multiple_of(rl.num_generations) {
        bail!(
            "a generation has {responses} responses (per_device_train_batch_size x gradient_accumulation_steps x \
             steps_per_generation), which num_generations {} must divide; change one of them",
            rl.num_generations
        );
    }
    let coef = rl.kl_coef.unwrap_or(recipe.kl.0);
    let adaptive = rl.kl_target.map(|target| AdaptiveKl { target, horizon: rl.kl_horizon });
    let kind = match rl.importance_sampling_correction {
        CorrectionName::None => None,
        CorrectionName::Truncate => Some(CorrectionKind::Truncate),
        CorrectionName::MaskTokens => Some(CorrectionKind::MaskTokens),
        CorrectionName::MaskSequences => Some(CorrectionKind::MaskSequences),
    };
    let range = |values: &[f64]| match values {
        [least, most] => Some((*least, *most)),
        _ => None,
    };
    let (least, most) = range(&rl.importance_sampling_range).context("importance_sampling_range takes two numbers")?;
    let segment = rl.segment.as_deref().or(recipe.segment);
    Ok(RolloutConfig {
        prompts: responses / rl.num_generations,
        num_generations: rl.num_generations,
        sampling: rl.sampling(),
        max_completion_length: rl.max_completion_length,
        steps_per_generation: rl.steps_per_generation,
        num_iterations: rl.num_iterations,
        batch: fit.per_device_train_batch_size,
        kl_reward: (coef != 0.0).then_some(KlReward {
            coef,
            estimator: rl.kl_reward_estimator,
            place: recipe.kl.1,
            adaptive,
        }),
        reward_clip: range(&rl.reward_clip_range),
        whiten_rewards: rl.whiten_rewards,
        length: LengthPenalty {
            overlong: (rl.overlong_buffer > 0)
                .then_some(Overlong { buffer: rl.overlong_buffer, factor: rl.overlong_penalty_factor }),
            stop_properly: None,
            missing_end: rl.missing_eos_penalty,
        },
        mask_truncated: rl.mask_truncated_completions,
        dead_groups: match rl.dead_groups {
            DeadGroupsName::Keep => DeadGroups::Keep,
            DeadGroupsName::Mask => DeadGroups::Mask,
        },
        correction: kind.map(|kind| Correction { kind, least, most }),
        top_entropy: (rl.top_entropy_quantile != 1.0).then_some(rl.top_entropy_quantile),
        segmentation: segment.map(|text| segmentation(text, Seed(args.seed))).transpose()?,
        seed: Seed(args.seed).child("rollouts", 0),
        ..RolloutConfig::default()
    })
}

/// Where responses are cut, by name.
fn segmentation(text: &str, seed: Seed) -> anyhow::Result<Segmentation> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let number = || value.parse().with_context(|| format!("segment `{text}` needs a whole number behind the colon"));
    Ok(match name {
        "separator" if !value.is_empty() => Segmentation::Separator(value.replace("\\n", "\n")),
        "fixed" => Segmentation::Fixed(number()?),
        "random" => Segmentation::Randomised { repeats: number()?, seed },
        "perplexity" => Segmentation::Perplexity,
        "parsing" => Segmentation::Parsing { most: number()? },
        _ => bail!("segment must be separator:TEXT, fixed:N, random:N, perplexity or parsing:N, got `{text}`"),
    })
}

/// Prompts with their rows, and how many left no room for a response.
fn encoded(
    encoder: &Encoder,
    records: Vec<PromptOnly>,
    context: usize,
    longest: usize,
) -> anyhow::Result<(Vec<PromptRow>, usize)> {
    let before = records.len();
    let mut rows = Vec::with_capacity(before);
    for record in records {
        let prompt = encoder.prompt(&record.prompt)?;
        if !prompt.is_empty() && prompt.len() + longest <= context {
            rows.push((prompt, record));
        }
    }
    let left_out = before - rows.len();
    Ok((rows, left_out))
}

/// Prompts to train on and to evaluate on.
fn prompts(
    args: &TrainArgs,
    encoder: &Encoder,
    split: Split<PromptOnly>,
    context: usize,
) -> anyhow::Result<[Vec<PromptRow>; 2]> {
    let longest = args.rl.max_completion_length;
    let (train, left_out) = encoded(encoder, split.train, context, longest)?;
    let (held_out, more) = encoded(encoder, split.held_out, context, longest)?;
    if left_out + more > 0 {
        let said = format!("{} prompts leave no room for {longest} tokens in a context of {context}", left_out + more);
        if args.strict || train.is_empty() {
            bail!("{said}; lower max_completion_length, or leave out --strict");
        }
        eprintln!("{said}: left out");
    }
    Ok([train, held_out])
}

/// The rewards that the options name, as one.
fn rewards(args: &TrainArgs, catalog: &Catalog, rows: &[PromptRow]) -> anyhow::Result<WeightedRewards> {
    let (names, weights) = (&args.rl.reward, &args.rl.reward_weights);
    if names.is_empty() {
        bail!(
            "{} needs a reward: name one with --reward ({})",
            args.method,
            catalog.rollouts.rewards.names().join(", ")
        );
    }
    if !weights.is_empty() && weights.len() != names.len() {
        bail!("reward_weights has {} numbers for {} rewards; give one each", weights.len(), names.len());
    }
    let weight = |at: usize| weights.get(at).copied().unwrap_or(1.0);
    let mut made = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        made.push((catalog.rollouts.rewards.get(name)?(rows)?, weight(at)));
    }
    Ok(WeightedRewards::new(made)?)
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
    let [train, held_out] = prompts(args, &encoder, split, context)?;
    let (n, m) = (train.len(), held_out.len());
    rewards(args, catalog, &[train, held_out].concat())?;
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
    if other.as_ref().is_some_and(|other| other.text_hash() != model.text_hash()) {
        bail!("the reference has another tokenizer or chat template than the model; use models of one family");
    }
    let mut run = identity(args, &config, &model, other.as_ref(), &setup.chosen)?;
    refuse_other_runs(args, &run)?;
    let context = model.config.context;
    let [train, held_out] = prompts(args, &Encoder::new(&model, context)?, split, context)?;
    let scorer = rewards(args, catalog, &[train.as_slice(), held_out.as_slice()].concat())?;
    let asked: Vec<Tokens> = train.iter().map(|(prompt, _)| prompt.clone()).collect();
    setup.config.ends = model.tokenizer.eos().to_vec();
    setup.config.context = context;
    eprintln!("{}", setup.said);
    if setup.config.sampling.top_p < 1.0 || setup.config.sampling.top_k.is_some() {
        eprintln!(
            "what is drawn is not the policy itself where its distribution is cut: ratios are the policy's, and \
             --importance-sampling-correction weighs tokens by how they were drawn"
        );
    }

    run.push(("set of prompts", prompts_hash(&asked)));
    let checkpoints = Checkpoints::new(&args.output_dir, args.save_total_limit);
    let last = checkpoints.last()?;
    let critic = setup.estimator.needs().values;
    let training = model.decoder.device().autodiff();
    let decoder = match &last {
        None if args.use_peft => start(args, &model)?.train(),
        None => model.decoder.clone().on(&training),
        Some((path, progress)) => {
            progress.check_run(path, &run)?;
            match args.use_peft {
                true => model.with_adapter(path)?.decoder.train(),
                false => LanguageModel::load(path, &training)?.decoder,
            }
        }
    };
    let decoder = decoder.with_gradient_checkpointing(args.gradient_checkpointing.unwrap_or(args.use_peft));
    let actor = match &last {
        _ if !critic => Actor::new(decoder),
        None => Actor::with_critic(decoder),
        Some((path, _)) => Actor::with_saved_critic(decoder, path)?,
    };
    let mut source =
        OnPolicy::new(&asked, &scorer, setup.estimator.as_ref(), setup.chosen.needs(), setup.config.clone())?
            .with_tokenizer(&model.tokenizer);
    if setup.needs_reference() {
        source = source.with_reference(other.as_ref().unwrap_or(&model).decoder.clone());
    }
    let steps = if args.max_steps > 0 { args.max_steps } else { source.steps(args.num_train_epochs) };
    let learner = RolloutLearner {
        objective: setup.chosen.objective.as_ref(),
        temperature: f64::from(setup.config.sampling.temperature),
    };
    let mut fit = Fit::from_source(&learner, actor, Box::new(source), steps, config)?;
    if let Some((path, progress)) = &last {
        fit.resume(path, progress)?;
        eprintln!("going on from {} ({} of {} steps done)", path.display(), fit.step(), fit.steps());
    }
    let mut log = RunLog::open(&args.output_dir, fit.step())?;
    let mut progress = Progress::new(&format!("train {}", args.method), fit.steps());
    progress.at(fit.step());
    let due = |every: usize, step: usize| step == steps || (every > 0 && step.is_multiple_of(every));
    while let Some(report) = fit.next() {
        let report = report?;
        let step = fit.step();
        progress.at(step);
        if due(args.logging_steps, step) || step == 1 {
            progress.line(&line(&report, steps, progress.seconds()));
        }
        log.write(&report, &[])?;
        if due(args.save_steps, step) {
            let now = RunProgress { run: run_of(&run), ..fit.progress() };
            let weights = model.with_decoder(fit.model().decoder.valid());
            checkpoints.save(&fit, &now, |folder| {
                weights.save(folder).map_err(TrainError::from)?;
                fit.model().save_value_head(folder)
            })?;
        }
    }
    drop(progress);
    let trained = model.with_decoder(fit.into_model().decoder.valid());
    trained.save(&args.output_dir)?;
    print_line(&format!("model written to {}", args.output_dir.display()))?;
    if held_out.is_empty() {
        return print_line("no prompts were held out, so nothing is known about others; use --held-out");
    }
    let before = held_out_reward(args, &model, &setup.config, &scorer, &held_out)?;
    let after = held_out_reward(args, &trained, &setup.config, &scorer, &held_out)?;
    print_line(&format!("held-out reward {after}; before {before}"))?;
    let summary = json!({"reward": after, "reward_before": before});
    write_whole(&args.output_dir.join("summary.json"), serde_json::to_string_pretty(&summary)?.as_bytes())
}

/// Mean reward of responses to prompts that nothing was trained on: a mean over prompts, with its interval.
fn held_out_reward(
    args: &TrainArgs,
    model: &LanguageModel,
    config: &RolloutConfig,
    scorer: &dyn Scorer,
    rows: &[PromptRow],
) -> anyhow::Result<Estimate> {
    let policy = model.policy()?;
    let seed = Seed(args.seed).child("held out", 0);
    let request = |(at, (prompt, _)): (usize, &PromptRow)| Request {
        prefix: prompt.clone(),
        n: config.num_generations,
        until: Until::End,
        mode: Mode::Sample(config.sampling),
        max_new: config.max_completion_length,
        seed: seed.child("prompt", at as u64),
    };
    let requests: Vec<Request> = rows.iter().enumerate().map(request).collect();
    let mut means = Vec::with_capacity(rows.len());
    for (request, reply) in requests.iter().zip(policy.propose(&requests)?) {
        let episodes = reply.candidates.iter().map(|candidate| {
            let text = text_of(&model.tokenizer, &request.prefix, &candidate.tokens)?;
            Episode::new(&request.prefix, &candidate.tokens).with_text(text)
        });
        let episodes = episodes.collect::<Result<Vec<_>, _>>()?;
        let mut scores = Vec::with_capacity(episodes.len());
        for (credit, episode) in scorer.score(&episodes)?.iter().zip(&episodes) {
            scores.push(f64::from(credit.to_sequence(episode, ascribe::core::Reduce::Sum)?));
        }
        scores.retain(|score| !score.is_nan());
        if !scores.is_empty() {
            means.push(scores.iter().sum::<f64>() / scores.len() as f64);
        }
    }
    Ok(Bootstrap { seed: Seed(args.seed), ..Bootstrap::default() }.mean(&means)?)
}

fn prompts_hash(prompts: &[Tokens]) -> String {
    let mut hash = ascribe::preference::RowHash::default();
    prompts
        .iter()
        .for_each(|prompt| hash.add(&ascribe::preference::TrainRow::single(prompt.clone(), Tokens::default())));
    short(&hash.finish())
}

/// One step as a line for people.
fn line(report: &StepReport, steps: usize, seconds: f64) -> String {
    let show =
        |name: &str, label: &str| report.metric(name).map(|value| format!("  {label} {value:.4}")).unwrap_or_default();
    let rate = report.metric("learning_rate").unwrap_or(0.0);
    format!(
        "step {}/{steps}  epoch {:.2}{}{}{}{}{}{}{}  learning_rate {rate:.2e}  {}",
        report.step,
        report.epoch,
        show("reward", "reward"),
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
    use ascribe::preference::rl::{ESTIMATORS, POLICY_LOSSES};

    #[test]
    fn every_method_names_what_there_is() {
        for recipe in &RECIPES {
            assert!(ESTIMATORS.iter().any(|(name, _)| *name == recipe.estimator), "{}", recipe.name);
            assert!(POLICY_LOSSES.iter().any(|(name, ..)| *name == recipe.loss), "{}", recipe.name);
            if let Some(segment) = recipe.segment {
                assert!(segmentation(segment, Seed(0)).is_ok(), "{}", recipe.name);
            }
        }
    }

    #[test]
    fn cuts_are_read_by_name() {
        let read = |text| segmentation(text, Seed(1)).ok();
        assert_eq!(read("fixed:5"), Some(Segmentation::Fixed(5)));
        assert_eq!(read("separator:\\n"), Some(Segmentation::Separator("\n".into())));
        assert_eq!(read("perplexity"), Some(Segmentation::Perplexity));
        for wrong in ["fixed", "fixed:x", "separator", "parsing:", "words"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
