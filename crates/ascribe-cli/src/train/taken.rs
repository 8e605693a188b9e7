//! Which methods take which options of rollouts, constraints, rounds, games, curricula, reward models and process models: one table.
//! What a method does not take is refused, never left lying.

use anyhow::bail;
use ascribe::preference::rl::{ESTIMATORS, OTHER_LOSSES, POLICY_LOSSES};

use super::process::{IMPLICIT, kind};
use super::recipes::{RECIPES, recipe};
use super::reward::written::is_written;
use super::rounds::rounds;
use super::{archer, offline, reward, scir};
use crate::args::TrainArgs;

/// Which methods on rollouts take an option.
enum Takers {
    /// None of them.
    None,
    /// All of them.
    All,
    /// These methods.
    Methods(&'static [&'static str]),
    /// Methods whose advantages come from one of these estimators.
    Estimators(&'static [&'static str]),
    /// Methods with one of these policy losses.
    Losses(&'static [&'static str]),
}

/// Estimators that see a penalty for leaving the reference, and other rewards of tokens.
const OF_REWARDS: [&str; 16] = [
    "grpo",
    "dr_grpo",
    "rloo",
    "reinforce",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "opo",
    "gpg",
    "remax",
    "grpo_passk",
    "gae",
    "macro_gae",
    "turn_level",
    "step_level",
    "own_step",
    "raft",
];
/// Estimators that hand rewards of steps to what leads to them.
pub(super) const PLACED: [&str; 4] = ["gae", "macro_gae", "turn_level", "step_level"];
const DISCOUNTED: [&str; 13] = [
    "grpo",
    "dr_grpo",
    "rloo",
    "reinforce",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "opo",
    "gpg",
    "remax",
    "grpo_passk",
    "gae",
    "macro_gae",
    "turn_level",
];
/// Estimators that divide by a spread.
const SPREAD: [&str; 6] =
    ["grpo", "grpo_passk", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "gae", "macro_gae"];
const WHITENED: [&str; 4] = ["reinforce_plus_plus", "reinforce_plus_plus_baseline", "gae", "macro_gae"];
/// Losses that cut the ratio.
const CUT: [&str; 8] = ["ppo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "gspo", "rloo"];
/// The same and those that cut something else.
const BOUNDED: [&str; 10] = ["ppo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "gspo", "rloo", "gmpo", "cispo"];
/// Losses with a pull to the reference.
const PULLED: [&str; 16] = [
    "ppo",
    "grpo",
    "bnpo",
    "dr_grpo",
    "dapo",
    "luspo",
    "gspo",
    "cispo",
    "sapo",
    "vespo",
    "gmpo",
    "rloo",
    "reinforce",
    "gpg",
    "oreal",
    // The last one: no surrogate.
    "oreo",
];
/// Losses that are a surrogate times an advantage.
const SURROGATES: &[&str] = PULLED.split_at(PULLED.len() - 1).0;

/// Every objective on rows of a file.
const OBJECTIVES: &str = "the objectives on rows of a file";
/// Methods of rounds.
const IN_ROUNDS: [&str; 4] = ["iterative-dpo", "iterative-gpo", "iterative-cream", "iterative-scir"];
/// Methods of rounds whose labels may come from a reward.
const REWARDED: [&str; 2] = ["iterative-dpo", "iterative-gpo"];
/// Methods of rounds and of games.
const WRITING: [&str; 5] = ["iterative-dpo", "iterative-gpo", "iterative-cream", "iterative-scir", "archer"];
/// The same, and those whose model writes before it scores.
const TEXTS: [&str; 7] =
    ["iterative-dpo", "iterative-gpo", "iterative-cream", "iterative-scir", "archer", "critique", "themis"];
const PULLED_TOO: [&str; 5] = [OBJECTIVES, "iterative-dpo", "iterative-gpo", "iterative-cream", "iterative-scir"];
/// The same, and what has a strength of the pull alone.
const WITH_BETA: [&str; 7] =
    [OBJECTIVES, "iterative-dpo", "iterative-gpo", "iterative-cream", "iterative-scir", "scir", "offline-oreo"];

/// Methods that train a process model.
const PROCESS: [&str; 5] = ["orm", "prm", "pav", "tvm", "p-ik"];
/// Those of them whose models read responses.
const RESPONSES: &[&str] = PROCESS.split_at(PROCESS.len() - 1).0;
/// Methods that train a head of scores.
const HEADS: [&str; 8] = ["reward", "critique", "themis", "orm", "prm", "pav", "tvm", "p-ik"];
/// Methods that train a model of rewards.
const REWARDS: [&str; 3] = ["reward", "critique", "themis"];
/// Methods whose loss has numbers.
const NUMBERED: [&str; 4] = ["reward", "critique", "themis", "scir"];
/// Methods that train a model of rewards that writes.
const WRITTEN: [&str; 2] = ["critique", "themis"];
/// Methods that learn from the rows of a file as they are.
const ON_ROWS: [&str; 10] = [OBJECTIVES, "reward", "critique", "themis", "scir", "orm", "prm", "pav", "tvm", "p-ik"];
/// The same and OREO on judged responses.
const ON_RESPONSES: [&str; 11] =
    [OBJECTIVES, "reward", "critique", "themis", "scir", "orm", "prm", "pav", "tvm", "p-ik", "offline-oreo"];
/// Methods that read rows of prompts, whatever else these have.
const READING: [&str; 15] = [
    OBJECTIVES,
    "reward",
    "critique",
    "themis",
    "scir",
    "orm",
    "prm",
    "pav",
    "tvm",
    "p-ik",
    "iterative-dpo",
    "iterative-gpo",
    "iterative-cream",
    "iterative-scir",
    "offline-oreo",
];

/// Every option by the name of its field, with the methods on rollouts that take it, and the others that do.
static OPTIONS: &[(&str, Takers, &[&str])] = &[
    ("reward", Takers::All, &REWARDED),
    ("reward_weights", Takers::All, &REWARDED),
    ("combine", Takers::All, &REWARDED),
    ("combine_weight", Takers::All, &REWARDED),
    ("standardize", Takers::All, &REWARDED),
    ("log_sigmoid", Takers::All, &REWARDED),
    ("log_sigmoid_quantile", Takers::All, &[]),
    ("step_rewards", Takers::Estimators(&["gae", "macro_gae", "turn_level", "step_level", "own_step"]), &[]),
    ("step_eta", Takers::Estimators(&PLACED), &[]),
    ("implicit_reference", Takers::All, &REWARDED),
    ("implicit_beta", Takers::All, &REWARDED),
    ("confidence_weight", Takers::All, &[]),
    ("confidence_rule", Takers::All, &[]),
    ("confidence_mean", Takers::All, &[]),
    ("confidence_rate", Takers::All, &[]),
    ("repeat_by_pass_rate", Takers::All, &[]),
    ("num_generations", Takers::All, &IN_ROUNDS),
    ("max_completion_length", Takers::All, &TEXTS),
    ("temperature", Takers::All, &WRITING),
    ("top_p", Takers::All, &WRITING),
    ("top_k", Takers::All, &WRITING),
    ("min_p", Takers::All, &WRITING),
    ("steps_per_generation", Takers::All, &[]),
    ("num_iterations", Takers::All, &IN_ROUNDS),
    ("stop_kl", Takers::Losses(SURROGATES), &[]),
    ("stop_clip_fraction", Takers::Losses(&BOUNDED), &[]),
    ("advantage_estimator", Takers::All, &[]),
    ("loss_agg_mode", Takers::Losses(SURROGATES), &[]),
    ("scale_rewards", Takers::Estimators(&["grpo", "grpo_passk"]), &[]),
    ("advantage_epsilon", Takers::Estimators(&["grpo", "grpo_passk", "step_level"]), &[]),
    ("whiten_advantages", Takers::Estimators(&WHITENED), &[]),
    ("whiten_epsilon", Takers::Estimators(&WHITENED), &[]),
    ("advantage_ddof", Takers::Estimators(&SPREAD), &[]),
    ("epsilon", Takers::Losses(&["ppo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "gspo", "rloo", "gmpo"]), &[]),
    ("epsilon_high", Takers::Losses(&BOUNDED), &[]),
    ("dual_clip", Takers::Losses(&CUT), &[]),
    ("delta", Takers::Losses(&CUT), &[OBJECTIVES, "iterative-dpo", "iterative-scir"]),
    ("beta", Takers::Losses(&PULLED), &WITH_BETA),
    ("off_policy_mask_threshold", Takers::Losses(SURROGATES), &[]),
    ("entropy_coef", Takers::Losses(SURROGATES), &[]),
    ("top_entropy_quantile", Takers::Losses(SURROGATES), &[]),
    ("kl_loss_estimator", Takers::Losses(SURROGATES), &[]),
    ("use_bias_correction_kl", Takers::Losses(SURROGATES), &[]),
    ("importance_sampling_correction", Takers::Losses(SURROGATES), &[]),
    ("importance_sampling_range", Takers::Losses(SURROGATES), &[]),
    ("kl_coef", Takers::Estimators(&OF_REWARDS), &[]),
    ("kl_reward_estimator", Takers::Estimators(&OF_REWARDS), &[]),
    ("kl_target", Takers::Estimators(&OF_REWARDS), &[]),
    ("kl_horizon", Takers::Estimators(&OF_REWARDS), &[]),
    ("gamma", Takers::Estimators(&DISCOUNTED), &["archer"]),
    ("lam", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("vf_coef", Takers::Estimators(&["gae", "macro_gae", "oreal", "oreo"]), &["offline-oreo"]),
    ("cliprange_value", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("whiten_rewards", Takers::Estimators(&OF_REWARDS), &[]),
    ("normalize_rewards", Takers::Estimators(&OF_REWARDS), &[]),
    ("reward_gain", Takers::All, &[]),
    ("reward_bias", Takers::All, &[]),
    ("reward_clip_range", Takers::All, &[]),
    ("mask_truncated_completions", Takers::All, &[]),
    ("missing_eos_penalty", Takers::All, &[]),
    ("stop_properly_penalty_coef", Takers::All, &[]),
    ("overlong_buffer", Takers::All, &[]),
    ("overlong_penalty_factor", Takers::All, &[]),
    ("dead_groups", Takers::All, &[]),
    // A reward of one's own may judge steps, whatever is made of its scores.
    ("segment", Takers::All, &["offline-oreo"]),
    ("perplexity_data", Takers::All, &[]),
    ("early_stopping_perplexity", Takers::All, &[]),
    ("early_stopping_patience", Takers::All, &[]),
    ("macro_value", Takers::Estimators(&["macro_gae"]), &[]),
    ("macro_reward", Takers::Estimators(&["macro_gae"]), &[]),
    ("keep_top", Takers::Estimators(&["raft"]), &[]),
    ("token_rewards", Takers::Estimators(&["oreal"]), &[]),
    ("oreal_positive", Takers::Estimators(&["oreal"]), &[]),
    ("oreal_negative", Takers::Estimators(&["oreal"]), &[]),
    ("oreal_top", Takers::Estimators(&["oreal"]), &[]),
    ("oreo_level", Takers::Losses(&["oreo"]), &["offline-oreo"]),
    ("oreo_kl", Takers::Losses(&["oreo"]), &["offline-oreo"]),
    ("oreo_weight", Takers::Losses(&["oreo"]), &[]),
    ("brain_gamma", Takers::Losses(&["brain"]), &[]),
    ("brain_reference", Takers::Losses(&["brain"]), &[]),
    ("token_scaled", Takers::Losses(&["brain"]), &[]),
    ("attributes", Takers::Methods(&["steer-lm"]), &[]),
    ("second_attempt", Takers::Methods(&["score"]), &[]),
    ("stage", Takers::Methods(&["score"]), &[]),
    ("progress_bonus", Takers::Methods(&["score"]), &[]),
    ("second_pull", Takers::Methods(&["score"]), &[]),
    ("borrowed_attempts", Takers::Methods(&["score"]), &[]),
    ("constraint", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_kind", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_multiplier", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_learning_rate", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_momentum", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_metric", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_step", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_hold", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_tolerance", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("constraint_iterations", Takers::Estimators(&["gae", "macro_gae"]), &[]),
    ("labels", Takers::None, &REWARDED),
    ("round_prompts", Takers::None, &IN_ROUNDS),
    ("label_margin", Takers::None, &IN_ROUNDS),
    ("keep_reference", Takers::None, &IN_ROUNDS),
    ("win_rates", Takers::None, &REWARDED),
    ("gold", Takers::None, &IN_ROUNDS),
    ("agreement", Takers::None, &["iterative-cream"]),
    ("agreement_per_prompt", Takers::None, &["iterative-cream"]),
    ("scir_consistency", Takers::None, &["iterative-scir"]),
    ("scir_confidence", Takers::None, &["iterative-scir"]),
    ("games", Takers::None, &["archer"]),
    ("turns", Takers::None, &["archer"]),
    ("critic_learning_rate", Takers::None, &["archer"]),
    ("critic_steps", Takers::None, &["archer"]),
    ("critic_batch_size", Takers::None, &["archer"]),
    ("actor_steps", Takers::None, &["archer"]),
    ("critic_warmup", Takers::Estimators(&["gae", "macro_gae", "oreal", "oreo"]), &["archer"]),
    ("tau", Takers::None, &["archer"]),
    ("buffer_size", Takers::None, &["archer"]),
    ("curriculum", Takers::None, &[OBJECTIVES]),
    ("curriculum_start", Takers::None, &[OBJECTIVES]),
    ("curriculum_end", Takers::None, &[OBJECTIVES]),
    ("curriculum_alpha", Takers::None, &[OBJECTIVES]),
    ("curriculum_ease", Takers::None, &[OBJECTIVES]),
    ("curriculum_model", Takers::None, &[OBJECTIVES]),
    ("curriculum_anti", Takers::None, &[OBJECTIVES]),
    ("loss", Takers::None, &REWARDS),
    ("loss_kwargs", Takers::None, &NUMBERED),
    ("center_rewards_coefficient", Takers::None, &REWARDS),
    ("head_init", Takers::None, &HEADS),
    ("attribute_weights", Takers::None, &["reward"]),
    ("heads_lambda", Takers::None, &["reward"]),
    ("merge_data", Takers::None, &["reward"]),
    ("pooling", Takers::None, &["reward"]),
    ("lm_coef", Takers::None, &["reward"]),
    ("contrast", Takers::None, &["reward"]),
    ("contrast_items", Takers::None, &["reward"]),
    ("contrast_kwargs", Takers::None, &["reward"]),
    ("source_column", Takers::None, &["reward"]),
    ("source_share", Takers::None, &["reward"]),
    ("no_resampling", Takers::None, &["reward"]),
    ("meta_data", Takers::None, &["reward"]),
    ("meta_rate", Takers::None, &["reward"]),
    ("replay_data", Takers::None, &["reward"]),
    ("replay_weight", Takers::None, &["reward"]),
    ("score_weight", Takers::None, &WRITTEN),
    ("lm_weight", Takers::None, &WRITTEN),
    ("single_critiques", Takers::None, &["critique"]),
    ("tools", Takers::None, &["themis"]),
    ("facts", Takers::None, &["themis"]),
    ("n_calls", Takers::None, &["themis"]),
    ("form", Takers::None, &[IMPLICIT]),
    ("step_loss", Takers::None, &PROCESS),
    ("zeta", Takers::None, &["prm"]),
    ("step_head", Takers::None, &PROCESS),
    ("step_words", Takers::None, &PROCESS),
    ("outcome_at", Takers::None, &["orm"]),
    ("cut_after_answer", Takers::None, &["orm", "tvm"]),
    ("steps", Takers::None, RESPONSES),
    ("step_separator", Takers::None, &["prm", "pav"]),
    ("after_error", Takers::None, &["prm", "pav"]),
    ("neutral_steps", Takers::None, &["prm", "pav"]),
    ("step_tag", Takers::None, &["prm", "pav"]),
    ("aggregate", Takers::None, RESPONSES),
    ("prover", Takers::None, &["pav"]),
    ("progress_weight", Takers::None, &["pav"]),
    ("balance", Takers::None, &PROCESS),
    ("max_samples_per_prompt", Takers::None, RESPONSES),
    ("min_samples", Takers::None, &["tvm", "p-ik"]),
    ("loss_type", Takers::All, &PULLED_TOO),
    ("loss_weights", Takers::None, &PULLED_TOO),
    ("columns", Takers::All, &READING),
    ("strict", Takers::All, &READING),
    ("max_train_samples", Takers::All, &READING),
    ("num_train_epochs", Takers::All, &ON_RESPONSES),
    ("eval_steps", Takers::None, &ON_ROWS),
    ("per_device_eval_batch_size", Takers::None, &ON_RESPONSES),
    ("max_length", Takers::None, &ON_RESPONSES),
    ("boundary", Takers::None, &[OBJECTIVES, "reward", "scir", "offline-oreo"]),
    ("dpo_model", Takers::None, &[OBJECTIVES]),
    ("revision", Takers::None, &[OBJECTIVES]),
];

impl Takers {
    /// Whether a method takes the option with this estimator and this loss. What one's own estimator or loss does with it is
    /// not known here, so it is theirs.
    fn take(&self, method: &str, estimator: &str, loss: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Methods(names) => names.contains(&method),
            Self::Estimators(names) => names.contains(&estimator) || !is_estimator(estimator),
            Self::Losses(names) => names.contains(&loss) || !is_loss(loss),
        }
    }
}

fn is_estimator(name: &str) -> bool {
    ESTIMATORS.iter().any(|(known, _)| *known == name)
}

fn is_loss(name: &str) -> bool {
    let others = OTHER_LOSSES.iter().map(|(known, ..)| *known);
    POLICY_LOSSES.iter().map(|(known, ..)| *known).chain(others).any(|known| known == name)
}

/// Whether a method that is not on rollouts, by the name that it has here, takes an option that `others` take.
fn takes_elsewhere(method: &str, others: &[&str]) -> bool {
    let named = [archer::METHOD, offline::METHOD, reward::METHOD, scir::METHOD].contains(&method)
        || is_written(method)
        || kind(method).is_some();
    let on_rows = !named && rounds(method).is_none();
    others.contains(&method) || (on_rows && others.contains(&OBJECTIVES))
}

/// Whether a method takes an option of this row; on rollouts with this estimator and this loss, or with its own where there is none.
fn takes_row(
    method: &str,
    estimator: Option<&str>,
    loss: Option<&str>,
    takers: &Takers,
    others: &[&'static str],
) -> bool {
    match recipe(method) {
        Some(recipe) => takers.take(recipe.name, estimator.unwrap_or(recipe.estimator), loss.unwrap_or(recipe.loss)),
        None => takes_elsewhere(rounds(method).map_or(method, |rounds| rounds.name), others),
    }
}

/// Whether `method` takes the option of this name; on rollouts with this estimator and this loss, or with its own where there is
/// none. What has no row is taken by all.
pub fn takes(method: &str, estimator: Option<&str>, loss: Option<&str>, option: &str) -> bool {
    let mut rows = OPTIONS.iter().filter(|(name, ..)| *name == option);
    rows.all(|(_, takers, others)| takes_row(method, estimator, loss, takers, others))
}

/// Refuses an option that was given to a method that does nothing with it.
pub fn refuse(args: &TrainArgs) -> anyhow::Result<()> {
    let estimator = args.rl.advantage_estimator.as_deref();
    let loss = args.objective.loss_type.first().map(String::as_str);
    let mut given = OPTIONS.iter().filter(|(name, ..)| args.given.has(name));
    let refused = given.find(|(_, takers, others)| !takes_row(&args.method, estimator, loss, takers, others));
    let Some((name, takers, others)) = refused else { return Ok(()) };
    let made = recipe(&args.method).map(|recipe| {
        let (estimator, loss) = (estimator.unwrap_or(recipe.estimator), loss.unwrap_or(recipe.loss));
        format!(" (advantages {estimator}, loss {loss})")
    });
    let made = made.unwrap_or_default();
    bail!("{name} does nothing with {}{made}; leave it out, or use {}", args.method, methods(takers, others))
}

/// The methods that take an option as they are.
fn methods(takers: &Takers, others: &[&str]) -> String {
    let mut names = Vec::new();
    for recipe in RECIPES.iter().filter(|recipe| takers.take(recipe.name, recipe.estimator, recipe.loss)) {
        names.push(recipe.name);
    }
    names.extend(others);
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{Args, Parser};

    use super::*;
    use crate::Catalog;
    use crate::args::{
        ArcherArgs, Cli, Command, ConstraintArgs, CurriculumArgs, ProcessArgs, RewardArgs, RlArgs, RoundArgs,
        WritingArgs,
    };
    use crate::help::{Asked, page};
    use crate::train::process::METHODS;
    use crate::train::rounds::ROUNDS;

    /// Options of runs, or of objectives, that some methods do nothing with.
    const OF_RUNS: [&str; 14] = [
        "beta",
        "delta",
        "loss_type",
        "loss_weights",
        "columns",
        "strict",
        "max_train_samples",
        "num_train_epochs",
        "eval_steps",
        "per_device_eval_batch_size",
        "max_length",
        "boundary",
        "dpo_model",
        "revision",
    ];

    /// The words of a run with this method, this option and whatever value it accepts.
    fn parsed(method: &str, name: &str) -> Box<TrainArgs> {
        let value: &[&str] = match name {
            "use_bias_correction_kl" | "whiten_rewards" | "mask_truncated_completions" | "token_rewards" => &[],
            "normalize_rewards" | "standardize" | "token_scaled" | "single_critiques" => &[],
            "attributes" => &["x=1"],
            "keep_reference" | "agreement_per_prompt" | "balance" | "strict" | "win_rates" => &[],
            "confidence_rule" => &["threshold", "--confidence-weight", "1"],
            "confidence_mean" | "confidence_rate" => &["1", "--confidence-weight", "1"],
            "macro_value" => &["unit"],
            "oreal_top" => &["1", "--token-rewards"],
            "macro_reward" => &["code"],
            "cut_after_answer" => &[],
            "loss_kwargs" => &["tau=1"],
            "head_init" => &["narrow"],
            "pooling" => &["mean"],
            "merge_data" => &["x"],
            "contrast" => &["simcse"],
            "contrast_items" => &["responses", "--contrast", "simcse"],
            "contrast_kwargs" => &["tau=1", "--contrast", "simcse"],
            "source_column" => &["x"],
            "source_share" => &["1", "--source-column", "x"],
            "no_resampling" => &["--source-column", "x"],
            "form" => &["ce"],
            "step_loss" => &["squared"],
            "step_head" => &["score"],
            "step_words" => &["+", "-"],
            "outcome_at" => &["last"],
            "steps" => &["lines"],
            "aggregate" => &["min"],
            "boundary" => &["apart"],
            "reward" | "gold" | "advantage_estimator" | "second_attempt" | "loss_type" => &["x"],
            "labels" => &["both"],
            "combine" => &["min"],
            "step_rewards" => &["clip"],
            "after_error" => &["mask"],
            "neutral_steps" => &["right"],
            "meta_data" => &["x", "--meta-rate", "1"],
            "meta_rate" => &["1", "--meta-data", "x"],
            "replay_weight" => &["1", "--replay-data", "x"],
            "agreement" => &["top"],
            "constraint" => &["x=1"],
            "constraint_kind" => &["xi", "--constraint", "x=1"],
            "constraint_multiplier" => &["plain", "--constraint", "x=1"],
            "constraint_step" | "constraint_hold" | "constraint_tolerance" | "constraint_iterations" => {
                &["1", "--constraint", "x=1", "--constraint-metric", "x"]
            }
            name if name.starts_with("constraint_") => &["0.5", "--constraint", "x=1"],
            "curriculum" => &["cyclical"],
            "curriculum_anti" => &["--curriculum", "cyclical"],
            "curriculum_ease" => &["length", "--curriculum", "cyclical"],
            name if name.starts_with("curriculum_") => &["1", "--curriculum", "cyclical"],
            "loss_agg_mode" => &["token-mean"],
            "scale_rewards" => &["batch"],
            "whiten_advantages" => &["false"],
            "kl_loss_estimator" | "kl_reward_estimator" => &["k2"],
            "reward_clip_range" => &["-1", "1"],
            "importance_sampling_range" => &["0", "1"],
            "importance_sampling_correction" => &["truncate"],
            "dead_groups" => &["mask"],
            "segment" => &["fixed:2"],
            "oreo_level" => &["response"],
            "stage" => &["first"],
            _ => &["1"],
        };
        let option = format!("--{}", name.replace('_', "-"));
        let run = ["ascribe", "train", method, "--model", "m", "--data", "d", "--output-dir", "o", option.as_str()];
        let cli =
            Cli::try_parse_from(run.iter().chain(value).copied()).unwrap_or_else(|error| panic!("{name}: {error}"));
        match cli.command {
            Command::Train(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_option_has_a_row_and_every_row_an_option() {
        let command = RlArgs::augment_args(clap::Command::new("options"));
        let command = CurriculumArgs::augment_args(RoundArgs::augment_args(ConstraintArgs::augment_args(command)));
        let command = ProcessArgs::augment_args(RewardArgs::augment_args(ArcherArgs::augment_args(command)));
        let command = WritingArgs::augment_args(command);
        let typed: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        for name in &typed {
            assert_eq!(OPTIONS.iter().filter(|(known, ..)| known == name).count(), 1, "{name}");
        }
        for (name, ..) in OPTIONS {
            assert!(typed.contains(name) || OF_RUNS.contains(name), "{name}");
        }
    }

    #[test]
    fn rows_name_what_there_is_and_every_option_has_a_taker() {
        for (name, takers, others) in OPTIONS {
            let known = match takers {
                Takers::None => !others.is_empty(),
                Takers::All => true,
                Takers::Methods(names) => names.iter().all(|name| recipe(name).is_some()),
                Takers::Estimators(names) => names.iter().all(|name| is_estimator(name)),
                Takers::Losses(names) => names.iter().all(|name| is_loss(name)),
            };
            assert!(known && !methods(takers, others).is_empty(), "{name}");
            let named = [OBJECTIVES, archer::METHOD, offline::METHOD, reward::METHOD, IMPLICIT, scir::METHOD];
            let head = |name: &&str| kind(name).is_some() || is_written(name);
            let known = |name: &&str| rounds(name).is_some() || head(name) || named.contains(name);
            assert!(others.iter().all(known), "{name}");
        }
        assert_eq!(SURROGATES, POLICY_LOSSES.map(|(name, ..)| name));
        assert_eq!(PROCESS, METHODS.map(|(name, ..)| name));
        assert_eq!(WRITTEN, reward::written::METHODS.map(|(name, ..)| name));
    }

    #[test]
    fn an_option_is_refused_exactly_where_it_does_nothing() {
        for (name, takers, others) in OPTIONS {
            let mut args = parsed("grpo", name);
            // The value `x` is no estimator.
            args.rl.advantage_estimator = None;
            for one in &RECIPES {
                one.name.clone_into(&mut args.method);
                let said = refuse(&args).err().map(|error| error.to_string());
                let taken = takers.take(one.name, one.estimator, one.loss);
                assert_eq!(said.is_none(), taken, "{name} with {}: {said:?}", one.name);
                if let Some(said) = said {
                    // Some take another one with them, which is refused first.
                    let with =
                        ["curriculum", "constraint", "contrast"].into_iter().find(|with| name.starts_with(*with));
                    let name = match *name {
                        "meta_rate" => "meta_data",
                        "replay_weight" => "replay_data",
                        "source_share" | "no_resampling" => "source_column",
                        "oreal_top" => "token_rewards",
                        name => with.unwrap_or(name),
                    };
                    assert!(said.starts_with(&format!("{name} does nothing with {} (", one.name)), "{said}");
                    assert!(said.ends_with(&methods(takers, others)), "{said}");
                }
            }
            let mut elsewhere = |method: &str, taken: bool| {
                method.clone_into(&mut args.method);
                let said = refuse(&args).err().map(|error| error.to_string());
                assert_eq!(said.is_none(), taken, "{name} with {method}: {said:?}");
            };
            ROUNDS.iter().for_each(|one| elsewhere(one.name, others.contains(&one.name)));
            elsewhere("dpo", others.contains(&OBJECTIVES));
            elsewhere("dpo+sft", others.contains(&OBJECTIVES));
            elsewhere(archer::METHOD, others.contains(&archer::METHOD));
            elsewhere(offline::METHOD, others.contains(&offline::METHOD));
            elsewhere(IMPLICIT, others.contains(&OBJECTIVES) || others.contains(&IMPLICIT));
            METHODS.iter().for_each(|&(one, ..)| elsewhere(one, others.contains(&one)));
            elsewhere(reward::METHOD, others.contains(&reward::METHOD));
            elsewhere(scir::METHOD, others.contains(&scir::METHOD));
            WRITTEN.iter().for_each(|&one| elsewhere(one, others.contains(&one)));
        }
    }

    #[test]
    fn help_shows_what_is_not_refused() {
        let catalog = Catalog::builtin();
        let names: Vec<String> = catalog
            .families()
            .into_iter()
            .flat_map(|(_, methods)| methods)
            .map(|(name, _)| name.to_owned())
            .chain(["dpo+sft".to_owned(), "iterative_dpo".to_owned()])
            .collect();
        for method in names {
            let asked = Asked { command: "train", method: Some(method.clone()), ..Asked::default() };
            let page = page(&asked, &catalog).unwrap();
            let shown: Vec<&str> = page
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
                .map(|argument| argument.get_id().as_str())
                .collect();
            assert!(["model", "data", "output_dir", "config"].iter().all(|name| shown.contains(name)), "{method}");
            let (mut on, mut off) = (0, 0);
            for (name, takers, others) in OPTIONS {
                let taken = takes_row(&method, None, None, takers, others);
                // Objectives leave out what their own table does not have.
                assert!(taken || !shown.contains(name), "{name} is shown with {method}, which refuses it");
                on += usize::from(shown.contains(name));
                off += usize::from(!shown.contains(name));
            }
            assert!(on > 0 && off > on / 2, "{method} shows {on} of the table and hides {off}");
        }
    }

    #[test]
    fn what_help_shows_can_be_given() {
        let catalog = Catalog::builtin();
        for method in
            ["grpo", "ppo", "dpo", "sft", "iterative-dpo", "offline-oreo", "archer", "reward", "themis", "prm"]
        {
            let asked = Asked { command: "validate", method: Some(method.to_owned()), ..Asked::default() };
            let page = page(&asked, &catalog).unwrap();
            let shown = |name: &str| page.get_arguments().any(|one| one.get_id() == name && !one.is_hide_set());
            for (name, ..) in OPTIONS.iter().filter(|(name, ..)| shown(name)) {
                let mut args = parsed(method, name);
                // The value `x` is no estimator and no loss.
                args.rl.advantage_estimator = None;
                args.objective.loss_type.clear();
                assert!(refuse(&args).is_ok(), "{name} with {method}: {:?}", refuse(&args).err());
            }
        }
    }

    #[test]
    fn process_models_refuse_what_others_take() {
        let refused = |method: &str, name: &str, said: &str| {
            let error = refuse(&parsed(method, name)).unwrap_err().to_string();
            assert_eq!(error, format!("{name} does nothing with {method}{said}"));
        };
        refused("prm", "prover", "; leave it out, or use pav");
        refused("orm", "zeta", "; leave it out, or use prm");
        refused("dpo", "form", "; leave it out, or use implicit-prm");
        refused("pav", "loss", "; leave it out, or use reward, critique, themis");
        refused("tvm", "curriculum", "; leave it out, or use the objectives on rows of a file");
        let on_pairs =
            "the objectives on rows of a file, iterative-dpo, iterative-gpo, iterative-cream, iterative-scir";
        refused("prm", "loss_weights", &format!("; leave it out, or use {on_pairs}"));
        refused("prm", "games", "; leave it out, or use archer");
        assert!(refuse(&parsed("prm", "gamma")).is_err() && refuse(&parsed("implicit-prm", "reward")).is_err());
        assert!(refuse(&parsed("implicit-prm", "curriculum_anti")).is_ok());
    }

    #[test]
    fn options_follow_the_estimator_and_the_loss_that_are_asked_for() {
        let mut args = parsed("grpo", "lam");
        let said = refuse(&args).unwrap_err().to_string();
        assert_eq!(said, "lam does nothing with grpo (advantages grpo, loss dapo); leave it out, or use ppo, ma_ppo");
        args.rl.advantage_estimator = Some("gae".to_owned());
        assert!(refuse(&args).is_ok());
        let mut args = parsed("raft", "epsilon");
        assert!(refuse(&args).is_err());
        args.objective.loss_type = vec!["ppo".to_owned()];
        assert!(refuse(&args).is_ok());
        // Of a loss of one's own nothing is known.
        args.objective.loss_type = vec!["mine".to_owned()];
        assert!(refuse(&args).is_ok());
    }
}
