//! Whitening: mean 0 and variance 1 over all values that count.
//!
//! ```text
//! x <- (x - mean) / sqrt(var + epsilon) [+ mean]
//! ```
//! The variance divides by n - 1 (unbiased: TRL, verl) or by n (OpenRLHF).

use crate::CoreError;

use super::{Advantage, mean};

/// What becomes of the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// It is 0 afterwards.
    Remove,
    /// It stays: the spread alone is changed, as for rewards.
    Keep,
}

/// What a sum of squares is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variance {
    /// One less than the number of values.
    #[default]
    Unbiased,
    /// The number of values.
    Biased,
}

impl Variance {
    /// The variance of `values`; 0 of a single one.
    pub fn of(self, values: &[f64]) -> f64 {
        let n = values.len() as f64;
        let divisor = if self == Self::Unbiased { n - 1.0 } else { n };
        let centre = mean(values);
        let squares: f64 = values.iter().map(|value| (value - centre) * (value - centre)).sum();
        if divisor > 0.0 { squares / divisor } else { 0.0 }
    }
}

/// Whitens `values` in place.
///
/// # Errors
/// When there are fewer than two values, of which nothing can be said.
pub fn whiten(values: &mut [f64], what: Mean, variance: Variance, epsilon: f64) -> Result<(), CoreError> {
    if values.len() < 2 {
        let (name, rule) = ("the number of tokens that are whitened", "at least 2 (take a larger batch)");
        return Err(CoreError::Range { name, rule, got: values.len() as f64 });
    }
    let (centre, scale) = (mean(values), (variance.of(values) + epsilon).sqrt());
    let kept = if what == Mean::Keep { centre } else { 0.0 };
    values.iter_mut().for_each(|value| *value = (*value - centre) / scale + kept);
    Ok(())
}

/// What is done to the advantages of all tokens of a batch at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Normalize {
    /// Nothing.
    #[default]
    No,
    /// Their mean is taken off.
    Mean,
    /// They are whitened.
    Whiten {
        /// How their variance is taken.
        variance: Variance,
        /// Added to the variance.
        epsilon: f64,
    },
}

impl Normalize {
    /// Applies it to the tokens of the rows whose flag is set, as one batch.
    pub(super) fn apply(self, advantages: &mut [Advantage], counted: &[bool]) -> Result<(), CoreError> {
        if self == Self::No {
            return Ok(());
        }
        let rows = advantages.iter().zip(counted).filter(|(_, counts)| **counts);
        let mut all: Vec<f64> = rows.flat_map(|(row, _)| row.tokens.iter().copied()).collect();
        match self {
            Self::No => {}
            Self::Mean if all.is_empty() => {}
            Self::Mean => {
                let centre = mean(&all);
                all.iter_mut().for_each(|value| *value -= centre);
            }
            Self::Whiten { variance, epsilon } => whiten(&mut all, Mean::Remove, variance, epsilon)?,
        }
        let mut all = all.into_iter();
        for (row, _) in advantages.iter_mut().zip(counted).filter(|(_, counts)| **counts) {
            row.tokens.iter_mut().zip(&mut all).for_each(|(token, value)| *token = value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitening_by_hand() {
        // Mean 2, squares 4 + 0 + 4: variance 4 unbiased, 8/3 biased.
        let whitened = |what, variance| {
            let mut values = [0.0, 2.0, 4.0];
            whiten(&mut values, what, variance, 0.0).unwrap();
            values
        };
        assert_eq!(whitened(Mean::Remove, Variance::Unbiased), [-1.0, 0.0, 1.0]);
        assert_eq!(whitened(Mean::Keep, Variance::Unbiased), [1.0, 2.0, 3.0]);
        let biased = whitened(Mean::Remove, Variance::Biased);
        assert!((biased[2] - 2.0 / (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(whiten(&mut [1.0], Mean::Remove, Variance::Biased, 1e-8).is_err());
        // Equal values have no spread, and stay finite.
        let mut equal = [3.0, 3.0];
        whiten(&mut equal, Mean::Remove, Variance::Unbiased, 1e-8).unwrap();
        assert_eq!(equal, [0.0, 0.0]);
    }

    #[test]
    fn rows_that_do_not_count_are_left_alone() {
        let row = |tokens: &[f64]| Advantage { tokens: tokens.to_vec(), returns: Vec::new() };
        let mut rows = [row(&[1.0, 3.0]), row(&[0.0]), row(&[5.0])];
        Normalize::Mean.apply(&mut rows, &[true, false, true]).unwrap();
        assert_eq!(rows, [row(&[-2.0, 0.0]), row(&[0.0]), row(&[2.0])]);
    }
}
