//! Several rewards at once, each with a bound: their advantages become one, by weights that follow how far each bound is met.

use crate::CoreError;

/// Weights of component rewards that are to reach their bounds, beside a reward that is not bounded.
///
/// What changes from generation to generation is a list of numbers that the caller keeps, and writes into checkpoints.
pub trait Constraints {
    /// Number of component rewards.
    fn components(&self) -> usize;

    /// The numbers in the beginning.
    fn start(&self) -> Vec<f64>;

    /// The weight of each component.
    ///
    /// # Errors
    /// When the numbers belong to other constraints.
    fn weights(&self, kept: &[f64]) -> Result<Vec<f64>, CoreError>;

    /// The bound of each component.
    ///
    /// # Errors
    /// When the numbers belong to other constraints.
    fn thresholds(&self, kept: &[f64]) -> Result<Vec<f64>, CoreError>;

    /// One advantage a token, from those by the reward that is not bounded and those by each component.
    ///
    /// # Errors
    /// When lengths differ, a number is not finite, or the numbers belong to other constraints.
    fn mix(&self, kept: &[f64], free: &[f64], components: &[Vec<f64>]) -> Result<Vec<f64>, CoreError>;

    /// The numbers of the next generation, given the mean of each component over this one.
    ///
    /// # Errors
    /// When there is not one mean a component, or one is not finite.
    fn next(&self, kept: &[f64], means: &[f64]) -> Result<Vec<f64>, CoreError>;

    /// Whether the bounds follow an outside metric.
    fn adapts(&self) -> bool {
        false
    }

    /// The numbers of the next generation, given also the mean of the outside metric over this one.
    ///
    /// # Errors
    /// As [`Constraints::next`].
    fn next_by(&self, kept: &[f64], means: &[f64], _metric: f64) -> Result<Vec<f64>, CoreError> {
        self.next(kept, means)
    }
}
