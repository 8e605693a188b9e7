//! What runs on rollouts know by name: policy losses, advantage estimators and rewards.

use ascribe::preference::rl::{
    Aggregation, ESTIMATORS, MakeEstimator, MakePolicyLoss, MakeReward, OTHER_LOSSES, POLICY_LOSSES, REWARDS,
};

use crate::chain::chain;
use crate::config::closest;
use crate::relevance::relevance;

/// The tables of a run on rollouts.
pub struct RolloutTables {
    /// Policy losses, each with the way its tokens become one number, where there is a choice.
    pub policy_losses: Table<(Option<Aggregation>, MakePolicyLoss)>,
    /// Advantage estimators.
    pub estimators: Table<MakeEstimator>,
    /// Rewards.
    pub rewards: Table<MakeReward>,
}

impl RolloutTables {
    /// Everything that ascribe brings.
    pub fn builtin() -> Self {
        let mut tables = Self {
            policy_losses: Table::new("policy loss"),
            estimators: Table::new("advantage estimator"),
            rewards: Table::new("reward"),
        };
        for (name, mode, make) in &POLICY_LOSSES {
            tables.policy_losses.put(name, (Some(*mode), *make));
        }
        for (name, _, make) in &OTHER_LOSSES {
            tables.policy_losses.put(name, (None, *make));
        }
        for (name, make) in &ESTIMATORS {
            tables.estimators.put(name, *make);
        }
        for (name, make) in &REWARDS {
            tables.rewards.put(name, *make);
        }
        tables.rewards.put("chain", chain);
        tables.rewards.put("relevance", relevance);
        tables
    }
}

/// Makers by name.
pub struct Table<T> {
    what: &'static str,
    entries: Vec<(String, T)>,
}

impl<T: Copy> Table<T> {
    fn new(what: &'static str) -> Self {
        Self { what, entries: Vec::new() }
    }

    /// Adds an entry; one of the same name is replaced.
    pub fn put(&mut self, name: &str, make: T) {
        self.entries.retain(|(known, _)| known != name);
        self.entries.push((name.to_owned(), make));
    }

    /// The names, in the order of the table.
    pub fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The entry `name`.
    pub fn get(&self, name: &str) -> anyhow::Result<T> {
        if let Some((_, make)) = self.entries.iter().find(|(known, _)| known == name) {
            return Ok(*make);
        }
        let names = self.names();
        let close = closest(name, names.iter().copied());
        anyhow::bail!("there is no {} `{name}`{close}; there are {}", self.what, names.join(", "))
    }
}
