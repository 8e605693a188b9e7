//! How much worse the implicit reward of DPO generalises than an explicit reward model, arXiv:2409.03650.
//!
//! ```text
//! drop_k = accuracy of the explicit model on set k - accuracy of the implicit one, on the same items
//! ```
//! The two must be matched: training accuracies more than 0.02 apart are refused. McNemar per set with Holm over the
//! sets,
//! and a sign test over sets.

use crate::error::{not_empty, option};
use crate::stats::{Adjust, Paired, Test, adjust_p, compare};
use crate::{Bootstrap, EvalError};

/// Accuracies may differ by so much on the training pairs.
const MATCHED: f64 = 0.02;

/// Right and wrong answers of both models on one validation set.
#[derive(Clone, Debug)]
pub struct ShiftedSet<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether the explicit model is right, by item.
    pub explicit: &'a [bool],
    /// Whether the implicit reward is right, by item.
    pub implicit: &'a [bool],
}

/// Drops over the sets.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneralisationDrop {
    /// Of each set: explicit less implicit, with interval and McNemar's p.
    pub sets: Vec<(String, Paired)>,
    /// Those p-values adjusted by Holm over the sets.
    pub adjusted: Vec<f64>,
    /// The mean drop.
    pub mean: f64,
    /// The largest drop.
    pub max: f64,
    /// The sign test over sets; `None` when no set differs.
    pub sign_test: Option<Test>,
}

/// Compares two matched models over validation sets. Drops lie in [-1, 1]; O(B n) for each set.
///
/// # Errors
/// When there is no set, a set is empty or its lengths differ, or the training accuracies are more than 0.02 apart.
pub fn generalisation_drop(
    training_accuracy: (f64, f64),
    sets: &[ShiftedSet<'_>],
    bootstrap: &Bootstrap,
) -> Result<GeneralisationDrop, EvalError> {
    let apart = (training_accuracy.0 - training_accuracy.1).abs();
    option("difference of training accuracies", "at most 0.02: match the models first", apart, apart <= MATCHED)?;
    not_empty("the sets", sets)?;
    let mut compared = Vec::with_capacity(sets.len());
    for set in sets {
        compared.push((set.name.to_owned(), compare(set.explicit, set.implicit, bootstrap)?));
    }
    let p: Vec<f64> = compared.iter().map(|(_, paired)| paired.p).collect();
    let drops: Vec<f64> = compared.iter().map(|(_, paired)| paired.difference.value).collect();
    Ok(GeneralisationDrop {
        adjusted: adjust_p(&p, Adjust::Holm)?,
        mean: crate::stats::sum::mean(&drops),
        max: drops.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        sign_test: crate::stats::sign_test(&drops, &vec![0.0; drops.len()]).ok(),
        sets: compared,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_explicit_less_implicit() {
        let sets = [
            ShiftedSet { name: "prompts", explicit: &[true, true], implicit: &[true, false] },
            ShiftedSet { name: "responses", explicit: &[true, false], implicit: &[true, false] },
        ];
        let drop = generalisation_drop((0.8, 0.81), &sets, &Bootstrap::NONE).unwrap();
        assert_eq!((drop.mean, drop.max), (0.25, 0.5));
        assert_eq!((drop.adjusted, drop.sign_test.unwrap().p), (vec![1.0, 1.0], 1.0));
        let turned =
            sets.each_ref().map(|set| ShiftedSet { name: set.name, explicit: set.implicit, implicit: set.explicit });
        assert_eq!(generalisation_drop((0.81, 0.8), &turned, &Bootstrap::NONE).unwrap().mean, -0.25);
        assert!(matches!(generalisation_drop((0.8, 0.9), &sets, &Bootstrap::NONE), Err(EvalError::Range { .. })));
        assert!(matches!(generalisation_drop((0.8, 0.8), &[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
    }
}
