//! The seam to tasks whose rules, and sometimes whose true credit, are known.

use crate::{CoreError, Seed};

/// What a move leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition<S> {
    /// The state after the move.
    pub state: S,
    /// The reward of the move.
    pub reward: f64,
    /// True when no move is left.
    pub done: bool,
}

/// A task with states and moves. States are values: a clone is a snapshot, and nothing changes in place.
pub trait World: Send + Sync {
    /// A position in the task.
    type State: Clone + Send + Sync;

    /// A first state, drawn from the seed where there are several.
    fn reset(&self, seed: Seed) -> Self::State;

    /// Legal moves, as token ids; empty at the end.
    fn moves(&self, state: &Self::State) -> Vec<u32>;

    /// What `mv` leads to.
    ///
    /// # Errors
    /// When the move is not legal.
    fn step(&self, state: &Self::State, mv: u32) -> Result<Transition<Self::State>, CoreError>;

    /// The best expected sum of rewards from here, where the world knows it.
    fn value(&self, _state: &Self::State) -> Option<f64> {
        None
    }
}
