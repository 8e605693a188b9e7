//! What the command line knows by name.

use ascribe::core::Objective;
use ascribe::preference::PreferenceError;
use ascribe::preference::objectives::{MakeObjective, OBJECTIVES, ObjectiveOptions};
use ascribe::reward::RewardLoss;
use ascribe::reward::losses::{LOSSES, LossOptions, MakeLoss};

/// Objectives by name. A value that is handed over: there is no global registry.
///
/// ```no_run
/// # use ascribe::preference::objectives::Sft;
/// fn main() -> std::process::ExitCode {
///     ascribe_cli::run(ascribe_cli::Catalog::builtin().objective("my-loss", |_| Ok(Box::new(Sft))))
/// }
/// ```
pub struct Catalog {
    objectives: Vec<(String, MakeObjective)>,
    rewards: Vec<(String, MakeLoss)>,
}

impl Catalog {
    /// Everything that ascribe brings.
    pub fn builtin() -> Self {
        let objectives = OBJECTIVES.iter().map(|(name, make)| ((*name).to_owned(), *make)).collect();
        Self { objectives, rewards: Vec::new() }
    }

    /// The same with one more objective, for `ascribe train <name>`; a name that is there is replaced.
    pub fn objective(mut self, name: &str, make: MakeObjective) -> Self {
        self.objectives.retain(|(known, _)| known != name);
        self.objectives.push((name.to_owned(), make));
        self
    }

    /// The same with one more loss of reward models, for `ascribe train reward --loss <name>`: one on pairs, without labels.
    pub fn reward_loss(mut self, name: &str, make: MakeLoss) -> Self {
        self.rewards.retain(|(known, _)| known != name);
        self.rewards.push((name.to_owned(), make));
        self
    }

    /// The losses of reward models that were added.
    pub(crate) fn reward_names(&self) -> impl Iterator<Item = &str> {
        self.rewards.iter().map(|(name, _)| name.as_str())
    }

    /// Makes the loss `name` of a reward model: one that was added, or one of the library.
    pub(crate) fn make_reward(&self, name: &str, options: &LossOptions) -> anyhow::Result<Box<dyn RewardLoss>> {
        let own = self.rewards.iter().map(|(known, make)| (known.as_str(), *make));
        match own.chain(LOSSES).find(|(known, _)| *known == name) {
            Some((_, make)) => Ok(make(options)?),
            None => anyhow::bail!("there is no loss `{name}`"),
        }
    }

    /// Makes the objective `name`.
    pub(crate) fn make(&self, name: &str, options: &ObjectiveOptions) -> anyhow::Result<Box<dyn Objective>> {
        let known = self.objectives.iter().find(|(known, _)| known == name);
        let Some((_, make)) = known else {
            let names: Vec<&str> = self.objectives.iter().map(|(name, _)| name.as_str()).chain(["reward"]).collect();
            let close = crate::config::closest(name, names.iter().copied());
            anyhow::bail!("there is no method `{name}`{close}; the methods are {}", names.join(", "));
        };
        make(options).map_err(|error: PreferenceError| error.into())
    }
}
