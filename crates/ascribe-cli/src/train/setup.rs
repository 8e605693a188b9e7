//! From options to what a run on rollouts is made of.

use anyhow::{Context, bail};
use ascribe::core::Seed;
use ascribe::core::advantage::{AdvantageEstimator, Constraints, TokenWeighting, Variance};
use ascribe::core::tensor::KlGradient;
use ascribe::lm::Tokenizer;
use ascribe::preference::rl::{
    AdaptiveKl, Correction, CorrectionKind, DeadGroups, EarlyStop, EstimatorOptions, Goodness, KlReward, LengthPenalty,
    Overlong, PolicyOptions, RolloutConfig, ScaleRewards, SecondAttempt, Segmentation, Stage, ValueTerm,
};
use ascribe::reward::constrain::{AdaptiveConfig, LagrangeConfig};
use ascribe::train::FitConfig;
use serde_json::Value;

use super::recipes::Recipe;
use super::stopping::Stopping;
use super::{check_run, taken};
use crate::Catalog;
use crate::args::{CorrectionName, DeadGroupsName, RlArgs, StageName, StepRewards, TrainArgs};
use crate::catalog::Chosen;

/// What a run is made of, as far as it can be made without weights and data.
pub struct Setup {
    pub estimator: Box<dyn AdvantageEstimator>,
    /// The policy loss, with what tells this run from others.
    pub chosen: Chosen,
    pub config: RolloutConfig,
    /// What weighs the rewards under constraints, if there are any.
    pub constraints: Option<Box<dyn Constraints>>,
    /// What it is, in words.
    pub said: String,
}

impl Setup {
    pub fn new(args: &TrainArgs, recipe: &Recipe, catalog: &Catalog, fit: &FitConfig) -> anyhow::Result<Self> {
        taken::refuse(args)?;
        let rl = &args.rl;
        let estimator_name = rl.advantage_estimator.as_deref().unwrap_or(recipe.estimator);
        let estimator = catalog.rollouts.estimators.get(estimator_name)?(&EstimatorOptions {
            gamma: rl.gamma,
            lambda: rl.lam,
            scale_rewards: rl.scale_rewards,
            epsilon: rl.advantage_epsilon,
            whiten_advantages: rl.whiten_advantages,
            whiten_epsilon: rl.whiten_epsilon,
            variance: if rl.advantage_ddof == 0 { Variance::Biased } else { Variance::Unbiased },
            macro_value: rl.macro_value.into(),
            macro_reward: rl.macro_reward.into(),
            keep_top: rl.keep_top,
            token_rewards: rl.token_rewards,
            oreal_positive: rl.oreal_positive,
            oreal_negative: rl.oreal_negative,
            oreal_weighting: rl.oreal_top.map_or(TokenWeighting::default(), TokenWeighting::Top),
        })?;
        alone(args, recipe, estimator_name, estimator.needs().values)?;
        let mut config = rollout_config(args, recipe, fit)?;
        if config.critic_warmup > 0 && !estimator.needs().values {
            bail!("critic_warmup is for values, and {estimator_name} has none here; leave it out");
        }
        let loss_name = loss_name(args, recipe)?;
        // Likelihood of what is kept is supervised fine-tuning, whatever it was drawn with; a ratio is to what was drawn.
        let imitates = estimator_name == "raft" && ["reinforce", "gpg"].contains(&loss_name);
        config.fit_temperature = imitates.then_some(1.0);
        config.check()?;
        let refinement = rl.refinement()?;
        if refinement.is_some() && config.segmentation.is_none() {
            bail!("step_rewards refines the scores of steps; say with --segment where they end");
        }
        match refinement {
            Some(StepRewards::Progress) if taken::PLACED.contains(&estimator_name) => bail!(
                "step_rewards progress pays every step success, and {estimator_name} adds up what later steps are paid; use \
                 --advantage-estimator own_step"
            ),
            Some(StepRewards::Refined(_)) if estimator_name == "own_step" => bail!(
                "step_rewards clip and delta count on what later steps are paid, which own_step leaves out; use \
                 --advantage-estimator step_level, or --step-rewards progress"
            ),
            _ => {}
        }
        Stopping::new(rl)?;
        let clip = (rl.cliprange_value > 0.0).then_some(rl.cliprange_value);
        let options = PolicyOptions {
            epsilon: rl.epsilon,
            epsilon_high: rl.epsilon_high.or(recipe.epsilon_high),
            delta: args.objective.delta,
            dual_clip: rl.dual_clip,
            beta: beta(args, recipe),
            kl: rl.kl_loss_estimator,
            kl_gradient: if rl.use_bias_correction_kl { KlGradient::Unbiased } else { KlGradient::Direct },
            loss_agg_mode: rl.loss_agg_mode.or(recipe.aggregation),
            max_completion_length: rl.max_completion_length,
            entropy_coef: rl.entropy_coef,
            weighted: config.correction.is_some() || config.top_entropy.is_some(),
            off_policy_threshold: rl.off_policy_mask_threshold,
            value: estimator.needs().values.then_some(ValueTerm { coef: rl.vf_coef.unwrap_or(recipe.vf_coef), clip }),
            pull: recipe.twice && rl.stage == StageName::First,
            critics: args.constraints.constraint.len(),
            oreo_level: rl.oreo_level.into(),
            oreo_kl: rl.oreo_kl,
            oreo_weight: rl.oreo_weight,
            token_scaled: rl.token_scaled,
            goodness: match rl.brain_reference {
                Some(reference) => Goodness::Sigmoid { reference },
                None => Goodness::Exponential { gamma: rl.brain_gamma },
            },
        };
        let (mode, make) = catalog.rollouts.policy_losses.get(loss_name)?;
        let objective = make(&options)?;
        let aggregated = match (mode, options.loss_agg_mode) {
            (Some(mode), given) => format!(" aggregated by {}", given.unwrap_or(mode)),
            (None, None) => String::new(),
            (None, Some(_)) => bail!("loss_agg_mode does nothing with the loss {loss_name}; leave it out"),
        };
        let said = format!(
            "{}: advantages {estimator_name}, loss {loss_name}{aggregated}, beta {} in the loss, kl_coef {} in the reward, \
             {} prompts x {} responses a generation",
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
        if config.critic_warmup > 0 {
            told.insert("critic_warmup".to_owned(), Value::from(config.critic_warmup));
        }
        if !args.constraints.constraint.is_empty() {
            told.insert("constraints".to_owned(), Value::from(format!("{:?}", args.constraints)));
        }
        let chosen = Chosen { name: recipe.name.to_owned(), objective, judge: None, options: told };
        let constraints = constraints(args)?;
        let setup = Self { estimator, chosen, config, constraints, said };
        if args.reference.is_some() && !setup.needs_reference() && rl.borrowed_attempts == 0.0 {
            bail!("reference does nothing with {}, which has none; leave it out", setup.chosen.name);
        }
        check_run(args)?;
        Ok(setup)
    }

    pub fn needs_reference(&self) -> bool {
        let segmentation = self.config.segmentation.as_ref();
        self.chosen.needs().ref_logps
            || self.config.kl_reward.is_some()
            || segmentation.is_some_and(Segmentation::needs_reference)
            || self.config.second.as_ref().is_some_and(|second| second.borrowed > 0.0)
    }
}

/// The multipliers of the constraints that are asked for.
fn constraints(args: &TrainArgs) -> anyhow::Result<Option<Box<dyn Constraints>>> {
    let options = &args.constraints;
    if options.constraint.is_empty() {
        return Ok(None);
    }
    let config = LagrangeConfig {
        thresholds: options.constraint.iter().map(|(_, bound)| *bound).collect(),
        constraint: options.constraint_kind.into(),
        multiplier: options.constraint_multiplier.into(),
        learning_rate: options.constraint_learning_rate,
        momentum: options.constraint_momentum,
        ..LagrangeConfig::default()
    };
    let stream = &mut Seed(args.seed).stream("multipliers", 0);
    if options.constraint_metric.is_empty() {
        return Ok(Some(Box::new(config.init(stream)?)));
    }
    let adaptive = AdaptiveConfig {
        lagrange: config,
        step: options.constraint_step,
        hold: options.constraint_hold,
        tolerance: options.constraint_tolerance,
        iterations: options.constraint_iterations,
    };
    Ok(Some(Box::new(adaptive.init(stream)?)))
}

/// Strength of the pull to the reference: as asked for, or that of the method.
fn beta(args: &TrainArgs, recipe: &Recipe) -> f64 {
    // The first attempt is to stay where it is while the second learns.
    let own = if recipe.twice && args.rl.stage == StageName::First { 0.1 } else { recipe.beta };
    args.objective.beta.unwrap_or(own)
}

/// The second attempt of methods that have one.
pub fn second_attempt(rl: &RlArgs, recipe: &Recipe, tokenizer: &Tokenizer) -> anyhow::Result<Option<SecondAttempt>> {
    let text = match (&rl.second_attempt, recipe.twice) {
        (Some(text), true) => text,
        (None, false) => return Ok(None),
        (Some(_), false) => bail!("second_attempt does nothing with {}; leave it out", recipe.name),
        (None, true) => bail!(
            "{} attempts each prompt twice; say with --second-attempt what stands between the two responses",
            recipe.name
        ),
    };
    let stage = match rl.stage {
        StageName::First => Stage::First,
        StageName::Second => Stage::Second,
    };
    let between = tokenizer.encode(&text.replace("\\n", "\n"))?;
    Ok(Some(SecondAttempt {
        progress: rl.progress_bonus,
        pull: rl.second_pull,
        borrowed: rl.borrowed_attempts,
        ..SecondAttempt::new(between, stage)
    }))
}

/// The policy loss that is asked for. What else there is of options of objectives belongs to other methods.
fn loss_name<'a>(args: &'a TrainArgs, recipe: &Recipe) -> anyhow::Result<&'a str> {
    let given = args.objective.given();
    if let Some(name) = given.keys().find(|name| !["beta", "delta"].contains(&name.as_str())) {
        bail!("{name} does nothing with {}; leave it out", recipe.name);
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
        // The default is that of games.
        critic_warmup: if args.given.has("critic_warmup") { args.archer.critic_warmup } else { 0 },
        early_stop: EarlyStop { approx_kl: rl.stop_kl, clip_fraction: rl.stop_clip_fraction },
        batch: fit.per_device_train_batch_size,
        kl_reward: (coef != 0.0).then_some(KlReward {
            coef,
            estimator: rl.kl_reward_estimator,
            place: recipe.kl.1,
            adaptive,
        }),
        normalize_rewards: rl.normalize_rewards,
        reward_scale: (rl.reward_gain, rl.reward_bias),
        reward_clip: range(&rl.reward_clip_range),
        whiten_rewards: rl.whiten_rewards,
        length: LengthPenalty {
            overlong: (rl.overlong_buffer > 0)
                .then_some(Overlong { buffer: rl.overlong_buffer, factor: rl.overlong_penalty_factor }),
            stop_properly: rl.stop_properly_penalty_coef,
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

/// Refuses options whose partner is absent, without which they change nothing. `critic`: whether the estimator has one.
fn alone(args: &TrainArgs, recipe: &Recipe, estimator: &str, critic: bool) -> anyhow::Result<()> {
    let rl = &args.rl;
    let penalised = rl.kl_coef.unwrap_or(recipe.kl.0) != 0.0;
    let pulled = beta(args, recipe) != 0.0;
    let first = rl.stage == StageName::First;
    let scaled = rl.scale_rewards != ScaleRewards::None || !["grpo", "grpo_passk"].contains(&estimator);
    let penalty = "a penalty for leaving the reference in the reward, whose strength is 0; raise --kl-coef";
    let pull = "a pull to the reference in the loss, whose strength is 0; raise --beta";
    let partners = [
        ("kl_target", penalised, penalty),
        ("kl_reward_estimator", penalised, penalty),
        ("kl_horizon", rl.kl_target.is_some(), "a divergence to follow; name it with --kl-target"),
        ("kl_loss_estimator", pulled, pull),
        ("use_bias_correction_kl", pulled, pull),
        ("second_pull", first, "the stage in which second attempts are pulled less than first ones; add --stage first"),
        ("second_pull", pulled, pull),
        ("progress_bonus", !first, "the stage in which progress is paid; take --stage second"),
        (
            "brain_gamma",
            rl.brain_reference.is_none(),
            "a response that is good as exp(reward / brain_gamma), and --brain-reference says otherwise; drop that",
        ),
        ("advantage_epsilon", scaled, "a standard deviation to be added to; take --scale-rewards group or batch"),
        (
            "oreo_weight",
            rl.steps_per_generation.saturating_mul(rl.num_iterations) > 1,
            "a second step on a generation, before which every ratio is 1; raise --num-iterations",
        ),
        ("vf_coef", critic, "a critic; take an estimator that has one, or with oreal --token-rewards"),
        (
            "cliprange_value",
            rl.vf_coef.unwrap_or(recipe.vf_coef) != 0.0,
            "a loss of values, whose weight is 0; raise --vf-coef",
        ),
        (
            "early_stopping_perplexity",
            rl.perplexity_data.is_some(),
            "texts to measure; name them with --perplexity-data",
        ),
        ("overlong_penalty_factor", rl.overlong_buffer > 0, "tokens in which the score falls; give --overlong-buffer"),
        (
            "importance_sampling_range",
            rl.importance_sampling_correction != CorrectionName::None,
            "a correction; name it with --importance-sampling-correction",
        ),
    ];
    match partners.into_iter().find(|(name, is_there, _)| args.given.has(name) && !is_there) {
        Some((name, _, lacking)) => bail!("{name} does nothing without {lacking}, or leave {name} out"),
        None => Ok(()),
    }
}

/// Where responses are cut, by name.
pub fn segmentation(text: &str, seed: Seed) -> anyhow::Result<Segmentation> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipes::RECIPES;

    #[test]
    fn cuts_are_read_by_name() {
        let read = |text| segmentation(text, Seed(1)).ok();
        assert_eq!(read("fixed:5"), Some(Segmentation::Fixed(5)));
        assert_eq!(read("separator:\\n"), Some(Segmentation::Separator("\n".into())));
        assert_eq!(read("perplexity"), Some(Segmentation::Perplexity));
        for wrong in ["fixed", "fixed:x", "separator", "parsing:", "words"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(RECIPES.iter().filter_map(|recipe| recipe.segment).all(|text| read(text).is_some()));
    }
}
