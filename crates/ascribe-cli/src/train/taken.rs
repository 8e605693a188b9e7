//! Which methods take which options of rollouts: one table. What a method does not take is refused, never left lying.

use anyhow::bail;
use ascribe::preference::rl::{ESTIMATORS, OTHER_LOSSES, POLICY_LOSSES};

use super::recipes::{RECIPES, Recipe, recipe};
use crate::args::TrainArgs;

/// Who takes an option.
enum Takers {
    /// Every method on rollouts.
    All,
    /// These methods.
    Methods(&'static [&'static str]),
    /// Methods whose advantages come from one of these estimators.
    Estimators(&'static [&'static str]),
    /// Methods with one of these policy losses.
    Losses(&'static [&'static str]),
}

/// Estimators that see a penalty for leaving the reference, and other rewards of tokens.
const OF_REWARDS: [&str; 15] = [
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
    "raft",
];
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
const WHITENED: [&str; 4] = ["reinforce_plus_plus", "reinforce_plus_plus_baseline", "gae", "macro_gae"];
/// Losses that cut the ratio.
const CUT: [&str; 8] = ["ppo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "gspo", "rloo"];
/// Losses that are a surrogate times an advantage.
const SURROGATES: [&str; 15] = [
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
];

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
    "oreo",
];

/// Every option of rollouts, by the name of its field.
static OPTIONS: [(&str, Takers); 52] = [
    ("reward", Takers::All),
    ("reward_weights", Takers::All),
    ("num_generations", Takers::All),
    ("max_completion_length", Takers::All),
    ("temperature", Takers::All),
    ("top_p", Takers::All),
    ("top_k", Takers::All),
    ("min_p", Takers::All),
    ("steps_per_generation", Takers::All),
    ("num_iterations", Takers::All),
    ("advantage_estimator", Takers::All),
    ("loss_agg_mode", Takers::Losses(&SURROGATES)),
    ("scale_rewards", Takers::Estimators(&["grpo", "grpo_passk"])),
    ("advantage_epsilon", Takers::Estimators(&["grpo", "grpo_passk", "step_level"])),
    ("whiten_advantages", Takers::Estimators(&WHITENED)),
    ("epsilon", Takers::Losses(&["ppo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "gspo", "rloo", "gmpo"])),
    (
        "epsilon_high",
        Takers::Losses(&["ppo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "gspo", "rloo", "gmpo", "cispo"]),
    ),
    ("dual_clip", Takers::Losses(&CUT)),
    ("delta", Takers::Losses(&CUT)),
    ("beta", Takers::Losses(&PULLED)),
    ("off_policy_mask_threshold", Takers::Losses(&SURROGATES)),
    ("entropy_coef", Takers::Losses(&SURROGATES)),
    ("top_entropy_quantile", Takers::Losses(&SURROGATES)),
    ("kl_loss_estimator", Takers::Losses(&SURROGATES)),
    ("use_bias_correction_kl", Takers::Losses(&SURROGATES)),
    ("importance_sampling_correction", Takers::Losses(&SURROGATES)),
    ("importance_sampling_range", Takers::Losses(&SURROGATES)),
    ("kl_coef", Takers::Estimators(&OF_REWARDS)),
    ("kl_reward_estimator", Takers::Estimators(&OF_REWARDS)),
    ("kl_target", Takers::Estimators(&OF_REWARDS)),
    ("kl_horizon", Takers::Estimators(&OF_REWARDS)),
    ("gamma", Takers::Estimators(&DISCOUNTED)),
    ("lam", Takers::Estimators(&["gae", "macro_gae"])),
    ("vf_coef", Takers::Estimators(&["gae", "macro_gae", "oreal", "oreo"])),
    ("cliprange_value", Takers::Estimators(&["gae", "macro_gae"])),
    ("whiten_rewards", Takers::Estimators(&OF_REWARDS)),
    ("reward_clip_range", Takers::All),
    ("mask_truncated_completions", Takers::All),
    ("missing_eos_penalty", Takers::All),
    ("overlong_buffer", Takers::All),
    ("overlong_penalty_factor", Takers::All),
    ("dead_groups", Takers::All),
    // A reward of one's own may judge steps, whatever is made of its scores.
    ("segment", Takers::All),
    ("keep_top", Takers::Estimators(&["raft"])),
    ("token_rewards", Takers::Estimators(&["oreal"])),
    ("oreo_level", Takers::Losses(&["oreo"])),
    ("brain_gamma", Takers::Losses(&["brain"])),
    ("brain_reference", Takers::Losses(&["brain"])),
    ("second_attempt", Takers::Methods(&["score"])),
    ("stage", Takers::Methods(&["score"])),
    ("progress_bonus", Takers::Methods(&["score"])),
    ("second_pull", Takers::Methods(&["score"])),
];

impl Takers {
    /// Whether a method takes the option with this estimator and this loss. What one's own estimator or loss does with it is
    /// not known here, so it is theirs.
    fn take(&self, method: &str, estimator: &str, loss: &str) -> bool {
        match self {
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

/// Refuses an option of rollouts that was given to a method that does nothing with it.
pub fn refuse(args: &TrainArgs) -> anyhow::Result<()> {
    match recipe(&args.method) {
        Some(recipe) => refuse_on_rollouts(args, recipe),
        None => {
            // Objectives have a beta and a delta of their own.
            let mut rows = OPTIONS.iter().filter(|(name, _)| !["beta", "delta"].contains(name));
            match rows.find(|(name, _)| args.given.has(name)) {
                Some((name, takers)) => bail!(
                    "{name} does nothing with {}, which learns from no rollouts; leave it out, or use {}",
                    args.method,
                    methods(takers)
                ),
                None => Ok(()),
            }
        }
    }
}

fn refuse_on_rollouts(args: &TrainArgs, recipe: &Recipe) -> anyhow::Result<()> {
    let estimator = args.rl.advantage_estimator.as_deref().unwrap_or(recipe.estimator);
    let loss = args.objective.loss_type.first().map_or(recipe.loss, String::as_str);
    let mut rows = OPTIONS.iter().filter(|(name, _)| args.given.has(name));
    match rows.find(|(_, takers)| !takers.take(recipe.name, estimator, loss)) {
        Some((name, takers)) => bail!(
            "{name} does nothing with {} (advantages {estimator}, loss {loss}); leave it out, or use {}",
            recipe.name,
            methods(takers)
        ),
        None => Ok(()),
    }
}

/// The methods that take an option as they are.
fn methods(takers: &Takers) -> String {
    let mut names = Vec::new();
    for recipe in RECIPES.iter().filter(|recipe| takers.take(recipe.name, recipe.estimator, recipe.loss)) {
        names.push(recipe.name);
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{Args, Parser};

    use super::*;
    use crate::args::{Cli, Command, RlArgs};

    /// The words of a run with this method, this option and whatever value it accepts.
    fn parsed(method: &str, name: &str) -> Box<TrainArgs> {
        let value: &[&str] = match name {
            "use_bias_correction_kl" | "whiten_rewards" | "mask_truncated_completions" | "token_rewards" => &[],
            "reward" | "advantage_estimator" | "second_attempt" => &["x"],
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
        let typed: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        for name in &typed {
            assert_eq!(OPTIONS.iter().filter(|(known, _)| known == name).count(), 1, "{name}");
        }
        for (name, _) in &OPTIONS {
            // The last two are options of objectives as well.
            assert!(typed.contains(name) || ["beta", "delta"].contains(name), "{name}");
        }
    }

    #[test]
    fn rows_name_what_there_is_and_every_option_has_a_taker() {
        for (name, takers) in &OPTIONS {
            let known = match takers {
                Takers::All => true,
                Takers::Methods(names) => names.iter().all(|name| recipe(name).is_some()),
                Takers::Estimators(names) => names.iter().all(|name| is_estimator(name)),
                Takers::Losses(names) => names.iter().all(|name| is_loss(name)),
            };
            assert!(known && !methods(takers).is_empty(), "{name}");
        }
        assert_eq!(SURROGATES, POLICY_LOSSES.map(|(name, ..)| name));
    }

    #[test]
    fn an_option_is_refused_exactly_where_it_does_nothing() {
        for (name, takers) in &OPTIONS {
            let mut args = parsed("grpo", name);
            // The value `x` is no estimator.
            args.rl.advantage_estimator = None;
            for one in &RECIPES {
                one.name.clone_into(&mut args.method);
                let said = refuse(&args).err().map(|error| error.to_string());
                let taken = takers.take(one.name, one.estimator, one.loss);
                assert_eq!(said.is_none(), taken, "{name} with {}: {said:?}", one.name);
                if let Some(said) = said {
                    assert!(said.starts_with(&format!("{name} does nothing with {} (", one.name)), "{said}");
                    assert!(said.contains(&methods(takers)), "{said}");
                }
            }
            let elsewhere = refuse(&parsed("dpo", name)).err().map(|error| error.to_string());
            assert_eq!(elsewhere.is_none(), ["beta", "delta"].contains(name), "{name}: {elsewhere:?}");
        }
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
