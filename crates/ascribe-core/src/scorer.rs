//! The seam to anything that judges episodes.

use crate::{CoreError, Credit, Episode};

/// Anything that gives credit: reward models, process models, rules, verifiers, judges, log-ratios.
pub trait Scorer: Send + Sync {
    /// Credit of each episode, at the scorer's own granularity, in the order of `episodes`. A NaN says that nobody can judge the
    /// episode: training leaves it out and counts it, search refuses it. A number that went wrong is an error instead.
    ///
    /// # Errors
    /// What the scorer says.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError>;

    /// What is remembered from batch to batch, such as a running mean, for a checkpoint.
    fn memory(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Takes back what [`Scorer::memory`] gave.
    ///
    /// # Errors
    /// When it is the memory of another scorer.
    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        match memory {
            [] => Ok(()),
            _ => Err(CoreError::Shape {
                rule: "a scorer without memory takes none back",
                got: format!("{} numbers", memory.len()),
            }),
        }
    }
}

/// A closure as a [`Scorer`] of whole responses; see [`rule`].
pub struct Rule<F>(F);

/// Makes a scorer of whole responses from a closure.
pub fn rule<F: Fn(&Episode) -> f32 + Send + Sync>(judge: F) -> Rule<F> {
    Rule(judge)
}

impl<F: Fn(&Episode) -> f32 + Send + Sync> Scorer for Rule<F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|episode| Credit::sequence((self.0)(episode))).collect())
    }
}
