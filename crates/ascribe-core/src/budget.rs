//! What a policy spent, and what it may spend.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::CoreError;

/// Tokens that a policy worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens sampled.
    pub generated: u64,
    /// Tokens read because they were given: prompts and continuations to be scored.
    pub scored: u64,
    /// Tokens whose state was taken from a cache instead of being read again.
    pub reused: u64,
}

impl Usage {
    /// Tokens that cost a forward pass.
    pub fn computed(&self) -> u64 {
        self.generated + self.scored
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.generated += more.generated;
        self.scored += more.scored;
        self.reused += more.reused;
    }
}

/// Sampled tokens that a search may spend; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget(pub Option<u64>);

/// Usage held against a budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    budget: Budget,
    spent: Usage,
}

impl Meter {
    /// A meter that has not counted anything.
    pub fn new(budget: Budget) -> Self {
        Self { budget, spent: Usage::default() }
    }

    /// What was spent so far.
    pub fn spent(&self) -> Usage {
        self.spent
    }

    /// Sampled tokens that are left; `None` is no limit.
    pub fn left(&self) -> Option<u64> {
        self.budget.0.map(|budget| budget.saturating_sub(self.spent.generated))
    }

    /// Counts `usage`.
    pub fn charge(&mut self, usage: Usage) {
        self.spent += usage;
    }

    /// Checks, before they are sampled, that `tokens` more may be spent.
    ///
    /// # Errors
    /// [`CoreError::Spent`] when they may not.
    pub fn allow(&self, tokens: u64) -> Result<(), CoreError> {
        match self.budget.0 {
            Some(budget) if self.spent.generated + tokens > budget => {
                Err(CoreError::Spent { budget, spent: self.spent.generated })
            }
            _ => Ok(()),
        }
    }
}
