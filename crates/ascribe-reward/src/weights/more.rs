//! Several sources of preferences, weighed by their gradients: MORE, arXiv:2312.07401, its code.
//!
//! ```text
//! g_i = gradient of the mean Bradley-Terry loss of source i with respect to the head, on detached embeddings
//! g_i <- (1 - a) g_i + a gradient, from 0, then brought to length 1;   lambda = argmin over the simplex of |sum_i lambda_i g_i|^2
//! loss = m sum_i lambda_i sum over the pairs of i of -log sigmoid(d) / number of all pairs
//! ```
//! So the weight of a pair of source i is `m lambda_i`, a [`PairLabel`] like any other. The smallest point of the hull is a
//! direction in which no source loses. Two sources have a closed form, cut to [0.001, 0.999]; more are solved by steps that
//! move weight from the worst to the best source (pairwise Frank-Wolfe, which converges faster than the plain one of the
//! code and to the same point). a is 0.99 in the paper's run, 1 by default.

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length};
use crate::losses::PairLabel;
use crate::math::{dot, sigmoid};

/// Rounds of the solver.
const ROUNDS: usize = 1000;

/// The solver ends when no source is better than the mean by more than this.
const TOLERANCE: f64 = 1e-5;

/// The weights of the smallest point in the convex hull of gradients: at least 0, summing to 1.
///
/// # Errors
/// When there is no gradient, they differ in length, or one holds a NaN or infinity.
pub fn min_norm(gradients: &[Vec<f64>]) -> Result<Vec<f64>, RewardError> {
    not_empty("the gradients", gradients)?;
    for gradient in gradients {
        finite("a gradient", gradient)?;
        same_length("a gradient", gradients[0].len(), gradient.len())?;
    }
    let m = gradients.len();
    let gram: Vec<Vec<f64>> = gradients.iter().map(|a| gradients.iter().map(|b| dot(a, b)).collect()).collect();
    if m == 2 {
        let apart = gram[0][0] - 2.0 * gram[0][1] + gram[1][1];
        // Equal gradients: every point is the smallest.
        let first = if apart > 0.0 { ((gram[1][1] - gram[0][1]) / apart).clamp(0.001, 0.999) } else { 0.5 };
        return Ok(vec![first, 1.0 - first]);
    }
    let mut lambda = vec![1.0 / m as f64; m];
    for _ in 0..ROUNDS {
        let slopes: Vec<f64> = gram.iter().map(|row| dot(row, &lambda)).collect();
        let best = (0..m).fold(0, |best, at| if slopes[at] < slopes[best] { at } else { best });
        let active = (0..m).filter(|&at| lambda[at] > 0.0);
        let worst = active.fold(best, |worst, at| if slopes[at] > slopes[worst] { at } else { worst });
        let gap = dot(&lambda, &slopes) - slopes[best];
        let curve = gram[best][best] - 2.0 * gram[best][worst] + gram[worst][worst];
        if gap <= TOLERANCE || curve <= 0.0 {
            break;
        }
        let step = ((slopes[worst] - slopes[best]) / curve).min(lambda[worst]);
        lambda[best] += step;
        lambda[worst] -= step;
    }
    Ok(lambda)
}

/// The gradient of each source's mean Bradley-Terry loss with respect to a linear head, from `h_chosen - h_rejected` of each
/// pair, its margin and its source.
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, a source is not below `sources`, or one has no pair.
pub fn source_gradients(
    differences: &[Vec<f64>],
    margins: &[f64],
    source: &[usize],
    sources: usize,
) -> Result<Vec<Vec<f64>>, RewardError> {
    finite("the margins", margins)?;
    same_length("the differences of embeddings", margins.len(), differences.len())?;
    let counts = count(source, margins.len(), sources)?;
    let width = differences[0].len();
    let mut gradients = vec![vec![0.0; width]; sources];
    for ((difference, margin), &source) in differences.iter().zip(margins).zip(source) {
        finite("a difference of embeddings", difference)?;
        same_length("a difference of embeddings", width, difference.len())?;
        let slope = -sigmoid(-margin) / counts[source];
        gradients[source].iter_mut().zip(difference).for_each(|(sum, x)| *sum += slope * x);
    }
    Ok(gradients)
}

/// The label of each pair under these weights of the sources.
///
/// # Errors
/// When a source has no weight.
pub fn source_labels(source: &[usize], lambda: &[f64]) -> Result<Vec<PairLabel>, RewardError> {
    count(source, source.len(), lambda.len())?;
    let m = lambda.len() as f64;
    Ok(source.iter().map(|&source| PairLabel::scaled(m * lambda[source])).collect())
}

/// Pairs of each source; a batch without one of them is refused.
fn count(source: &[usize], pairs: usize, sources: usize) -> Result<Vec<f64>, RewardError> {
    same_length("the sources of the pairs", pairs, source.len())?;
    let mut counts = vec![0.0; sources];
    for &at in source {
        option("a source", "below the number of sources", at as f64, at < sources)?;
        counts[at] += 1.0;
    }
    if let Some(absent) = counts.iter().position(|count| *count == 0.0) {
        let rule = "a batch needs pairs of every source; sample by source";
        return Err(RewardError::Shape { rule, got: format!("none of source {absent}") });
    }
    Ok(counts)
}

/// The weights of the sources, with the memory of their gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct More {
    share: f64,
    memory: Vec<Vec<f64>>,
}

impl More {
    /// Weights by gradients of which each new one has the share `a`.
    ///
    /// # Errors
    /// Unless `a` is in (0, 1].
    pub fn new(a: f64) -> Result<Self, RewardError> {
        option("the share of a new gradient", "above 0 and at most 1", a, 0.0 < a && a <= 1.0)?;
        Ok(Self { share: a, memory: Vec::new() })
    }

    /// What is remembered, as bits: the number of sources, then their gradients one after another.
    pub fn memory(&self) -> Vec<u64> {
        let numbers = self.memory.iter().flatten().map(|number| number.to_bits());
        std::iter::once(self.memory.len() as u64).chain(numbers).collect()
    }

    /// Takes back what [`memory`](Self::memory) gave.
    ///
    /// # Errors
    /// When it is none.
    pub fn remember(&mut self, memory: &[u64]) -> Result<(), RewardError> {
        let (sources, numbers) = match memory {
            [sources, numbers @ ..] => (*sources as usize, numbers),
            [] => (1, memory),
        };
        let numbers: Vec<f64> = numbers.iter().map(|bits| f64::from_bits(*bits)).collect();
        let whole = match sources {
            0 => numbers.is_empty(),
            _ => sources <= numbers.len() && numbers.len().is_multiple_of(sources),
        };
        if !whole {
            let rule = "a memory of sources has as many numbers for each of them";
            return Err(RewardError::Shape { rule, got: format!("{} numbers for {sources}", numbers.len()) });
        }
        let width = numbers.len().checked_div(sources).unwrap_or(0);
        self.memory = numbers.chunks(width.max(1)).map(<[f64]>::to_vec).collect();
        Ok(())
    }

    /// The weights of the sources after these gradients.
    ///
    /// # Errors
    /// As [`min_norm`], and when the number or length of the gradients changes.
    pub fn weights(&mut self, gradients: &[Vec<f64>]) -> Result<Vec<f64>, RewardError> {
        let gradients: Vec<Option<&[f64]>> = gradients.iter().map(|gradient| Some(gradient.as_slice())).collect();
        self.weights_of_present(&gradients)
    }

    /// The same where sources without a pair in the batch have no gradient: their weight is 0, and what is remembered of them
    /// stays.
    ///
    /// # Errors
    /// As [`weights`](Self::weights), and where no source has a gradient.
    pub fn weights_of_present(&mut self, gradients: &[Option<&[f64]>]) -> Result<Vec<f64>, RewardError> {
        if self.memory.is_empty() {
            let width = gradients.iter().flatten().next().map_or(0, |gradient| gradient.len());
            self.memory = vec![vec![0.0; width]; gradients.len()];
        }
        same_length("the gradients of the sources", self.memory.len(), gradients.len())?;
        let unit = |gradient: &[f64]| -> Vec<f64> {
            let norm = dot(gradient, gradient).sqrt();
            let norm = if norm > 0.0 { norm } else { 1.0 };
            gradient.iter().map(|x| x / norm).collect()
        };
        let (share, mut present) = (self.share, Vec::new());
        for (memory, gradient) in self.memory.iter_mut().zip(gradients) {
            let Some(gradient) = *gradient else { continue };
            finite("a gradient", gradient)?;
            same_length("a gradient", memory.len(), gradient.len())?;
            memory.iter_mut().zip(gradient).for_each(|(old, new)| *old = (1.0 - share) * *old + share * new);
            present.push(unit(memory));
        }
        let mut lambda = min_norm(&present)?.into_iter();
        let of = |gradient: &Option<&[f64]>| gradient.and_then(|_| lambda.next()).unwrap_or(0.0);
        Ok(gradients.iter().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_gradients_by_hand() {
        // Opposite: they cancel. At a right angle, lengths 1 and 2: 4/5 and 1/5.
        assert_eq!(min_norm(&[vec![1.0, 0.0], vec![-1.0, 0.0]]).unwrap(), [0.5, 0.5]);
        let weights = min_norm(&[vec![1.0, 0.0], vec![0.0, 2.0]]).unwrap();
        assert!((weights[0] - 0.8).abs() < 1e-12 && (weights[1] - 0.2).abs() < 1e-12);
        // The longer of two alike counts nothing, but for the cut.
        assert_eq!(min_norm(&[vec![1.0], vec![3.0]]).unwrap(), [0.999, 1.0 - 0.999]);
        assert_eq!(min_norm(&[vec![1.0], vec![1.0]]).unwrap(), [0.5, 0.5]);
        assert_eq!(min_norm(&[vec![7.0]]).unwrap(), [1.0]);
    }

    #[test]
    fn gradients_of_the_head_by_hand() {
        // Margins 0: the slope is -1/2. Source 0 has two pairs, source 1 one.
        let differences = [vec![1.0, 0.0], vec![3.0, 2.0], vec![0.0, 4.0]];
        let gradients = source_gradients(&differences, &[0.0; 3], &[0, 0, 1], 2).unwrap();
        assert_eq!(gradients, [vec![-1.0, -0.5], vec![0.0, -2.0]]);
        let labels = source_labels(&[0, 0, 1], &[0.25, 0.75]).unwrap();
        assert_eq!(labels.iter().map(|label| label.weight).collect::<Vec<_>>(), [0.5, 0.5, 1.5]);
        // One source alone is plain Bradley-Terry.
        assert_eq!(source_labels(&[0, 0], &min_norm(&[vec![3.0]]).unwrap()).unwrap(), [PairLabel::PLAIN; 2]);
    }

    #[test]
    fn gradients_are_remembered() {
        let mut more = More::new(0.5).unwrap();
        // Halved, then brought to length 1: opposite, so even.
        assert_eq!(more.weights(&[vec![4.0], vec![-2.0]]).unwrap(), [0.5, 0.5]);
        // Memories 0.5 * 2 + 0.5 * -2 = 0 and 0.5 * -1 + 0.5 * -2 = -1.5: the first is the smallest point already.
        assert_eq!(more.weights(&[vec![-2.0], vec![-2.0]]).unwrap(), [0.999, 1.0 - 0.999]);
        assert!(more.weights(&[vec![1.0]]).is_err() && more.weights(&[vec![1.0], vec![f64::NAN]]).is_err());
        assert!(More::new(0.0).is_err() && More::new(f64::NAN).is_err());
        // What is taken back goes on alike, and a fresh one has nothing.
        let mut other = More::new(0.5).unwrap();
        assert_eq!(other.memory(), [0]);
        other.remember(&more.memory()).unwrap();
        assert_eq!(other, more);
        for wrong in [&[][..], &[0, 1], &[2, 1, 2, 3], &[3, 1]] {
            assert!(other.remember(wrong).is_err(), "{wrong:?}");
        }
        other.remember(&[0]).unwrap();
        assert_eq!(other, More::new(0.5).unwrap());
    }

    #[test]
    fn an_absent_source_counts_nothing_and_is_remembered() {
        let mut more = More::new(0.5).unwrap();
        // Of the two that are there, opposite and so even.
        let (up, down, across) = ([4.0, 0.0], [-2.0, 0.0], [0.0, 3.0]);
        assert_eq!(more.weights_of_present(&[Some(&up), None, Some(&down)]).unwrap(), [0.5, 0.0, 0.5]);
        // Alone, all of it; its memory is (0, 1.5), and the others keep theirs.
        assert_eq!(more.weights_of_present(&[None, Some(&across), None]).unwrap(), [0.0, 1.0, 0.0]);
        // (1, 0), which is half of (2, 0), and (0, 2.25): at a right angle, and both brought to length 1.
        let weights = more.weights_of_present(&[Some(&[0.0, 0.0]), Some(&across), None]).unwrap();
        assert_eq!(weights, [0.5, 0.5, 0.0]);
        assert!(more.weights_of_present(&[None, None, None]).is_err());
        assert!(more.weights_of_present(&[None, Some(&[1.0]), None]).is_err());
    }

    #[test]
    fn a_batch_without_a_source_is_refused() {
        assert!(source_gradients(&[vec![1.0]], &[0.0], &[0], 2).is_err());
        assert!(source_gradients(&[vec![1.0]], &[0.0], &[2], 2).is_err());
        assert!(source_gradients(&[], &[], &[], 1).is_err() && source_labels(&[0], &[0.5, 0.5]).is_err());
        assert!(min_norm(&[]).is_err() && min_norm(&[vec![1.0], vec![1.0, 2.0]]).is_err());
    }

    proptest! {
        #[test]
        fn no_source_loses_by_the_combined_direction(
            gradients in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 4), 1..6),
        ) {
            let weights = min_norm(&gradients).unwrap();
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9 && weights.iter().all(|weight| *weight >= 0.0));
            let combined: Vec<f64> =
                (0..4).map(|at| weights.iter().zip(&gradients).map(|(w, g)| w * g[at]).sum()).collect();
            // The gap of the solver, and for two sources the cut of a thousandth, which is worth the square of a length at most.
            let bound = if gradients.len() == 2 { 0.02 } else { 1e-3 };
            for gradient in &gradients {
                prop_assert!(dot(&combined, gradient) >= dot(&combined, &combined) - bound);
                prop_assert!(dot(&combined, gradient) >= -bound);
            }
        }
    }
}
