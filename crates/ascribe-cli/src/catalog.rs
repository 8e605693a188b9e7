//! What the command line knows by name.

use ascribe::core::advantage::AdvantageEstimator;
use ascribe::core::{Objective, Scorer};
use ascribe::preference::PreferenceError;
use ascribe::preference::objectives::{MakeObjective, OBJECTIVES, ObjectiveOptions};
use ascribe::preference::rl::{
    Aggregation, ESTIMATORS, EstimatorOptions, MakeEstimator, MakePolicyLoss, MakeReward, POLICY_LOSSES, PolicyOptions,
    PromptRow, REWARDS,
};

use crate::chain::chain;
use crate::config::closest;

/// Objectives, policy losses, advantage estimators and rewards by name. A value that is handed over: there is no global
/// registry.
///
/// ```no_run
/// # use ascribe::preference::objectives::Sft;
/// fn main() -> std::process::ExitCode {
///     ascribe_cli::run(ascribe_cli::Catalog::builtin().objective("my-loss", |_| Ok(Box::new(Sft))))
/// }
/// ```
pub struct Catalog {
    objectives: Vec<(String, MakeObjective)>,
    policy_losses: Vec<(String, (Aggregation, MakePolicyLoss))>,
    estimators: Vec<(String, MakeEstimator)>,
    rewards: Vec<(String, MakeReward)>,
}

impl Catalog {
    /// Everything that ascribe brings.
    pub fn builtin() -> Self {
        let mut rewards: Vec<(String, MakeReward)> = owned(&REWARDS);
        rewards.push(("chain".to_owned(), chain));
        Self {
            objectives: owned(&OBJECTIVES),
            policy_losses: POLICY_LOSSES
                .iter()
                .map(|(name, mode, make)| ((*name).to_owned(), (*mode, *make)))
                .collect(),
            estimators: owned(&ESTIMATORS),
            rewards,
        }
    }

    /// The same with one more objective, for `ascribe train <name>`; a name that is there is replaced.
    pub fn objective(mut self, name: &str, make: MakeObjective) -> Self {
        put(&mut self.objectives, name, make);
        self
    }

    /// The same with one more policy loss, for `--loss-type <name>`, with the way its tokens become one number unless
    /// `--loss-agg-mode` says otherwise; a name that is there is replaced.
    pub fn policy_loss(mut self, name: &str, mode: Aggregation, make: MakePolicyLoss) -> Self {
        put(&mut self.policy_losses, name, (mode, make));
        self
    }

    /// The same with one more advantage estimator, for `--advantage-estimator <name>`; a name that is there is replaced.
    pub fn estimator(mut self, name: &str, make: MakeEstimator) -> Self {
        put(&mut self.estimators, name, make);
        self
    }

    /// The same with one more reward, for `--reward <name>`; a name that is there is replaced.
    pub fn reward(mut self, name: &str, make: MakeReward) -> Self {
        put(&mut self.rewards, name, make);
        self
    }

    /// Makes the objective `name`.
    pub(crate) fn make(&self, name: &str, options: &ObjectiveOptions) -> anyhow::Result<Box<dyn Objective>> {
        let on_rollouts = crate::train::rollouts::RECIPES.iter().map(|recipe| recipe.name);
        find(&self.objectives, "method", name, on_rollouts)?(options).map_err(|error: PreferenceError| error.into())
    }

    /// Makes the policy loss `name`, and gives its aggregation.
    pub(crate) fn make_policy_loss(
        &self,
        name: &str,
        options: &PolicyOptions,
    ) -> anyhow::Result<(Aggregation, Box<dyn Objective>)> {
        let (mode, make) = find(&self.policy_losses, "policy loss", name, std::iter::empty())?;
        Ok((*mode, make(options)?))
    }

    /// Makes the advantage estimator `name`.
    pub(crate) fn make_estimator(
        &self,
        name: &str,
        options: &EstimatorOptions,
    ) -> anyhow::Result<Box<dyn AdvantageEstimator>> {
        Ok(find(&self.estimators, "advantage estimator", name, std::iter::empty())?(options)?)
    }

    /// Makes the reward `name` for prompts.
    pub(crate) fn make_reward(&self, name: &str, rows: &[PromptRow]) -> anyhow::Result<Box<dyn Scorer>> {
        Ok(find(&self.rewards, "reward", name, std::iter::empty())?(rows)?)
    }

    /// The names of the rewards.
    pub(crate) fn rewards(&self) -> Vec<&str> {
        self.rewards.iter().map(|(name, _)| name.as_str()).collect()
    }
}

fn owned<T: Copy>(table: &[(&str, T)]) -> Vec<(String, T)> {
    table.iter().map(|(name, make)| ((*name).to_owned(), *make)).collect()
}

fn put<T>(table: &mut Vec<(String, T)>, name: &str, make: T) {
    table.retain(|(known, _)| known != name);
    table.push((name.to_owned(), make));
}

/// The entry `name` of a table of `what`s; `others` are names that are known elsewhere.
fn find<'a, T>(
    table: &'a [(String, T)],
    what: &str,
    name: &str,
    others: impl Iterator<Item = &'static str>,
) -> anyhow::Result<&'a T> {
    if let Some((_, make)) = table.iter().find(|(known, _)| known == name) {
        return Ok(make);
    }
    let names: Vec<&str> = table.iter().map(|(name, _)| name.as_str()).chain(others).collect();
    let close = closest(name, names.iter().copied());
    anyhow::bail!("there is no {what} `{name}`{close}; there are {}", names.join(", "))
}
