//! What a search may spend on one prompt, and what it spent beside tokens.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What may be spent on one prompt; `None` is no limit.
///
/// A batch is asked for only if the most that it can cost fits, so no limit is ever passed. Seconds are the exception: they
/// are looked at before a batch, and a batch that has begun is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tokens sampled.
    pub generated: Option<u64>,
    /// Continuations asked of policies.
    pub policy_calls: Option<u64>,
    /// Texts given to scorers.
    pub scorer_calls: Option<u64>,
    /// Seconds on the clock of the context, which then has to have one.
    pub seconds: Option<f64>,
}

/// How often policies and scorers were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Continuations asked of policies. A reading that names the most likely next tokens is one.
    pub policy: u64,
    /// Texts given to scorers.
    pub scorer: u64,
    /// Tokens of these texts, prompts included.
    pub scorer_tokens: u64,
}

impl AddAssign for Calls {
    fn add_assign(&mut self, more: Self) {
        self.policy += more.policy;
        self.scorer += more.scorer;
        self.scorer_tokens += more.scorer_tokens;
    }
}
