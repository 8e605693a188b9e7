//! Resampling: which particles live on, in how many copies. Each index is taken `n W_i` times on average.
//!
//! ```text
//! a point u takes the i with C_{i-1} <= u < C_i,   C the cumulative weights
//! multinomial  n points, each anywhere in [0, 1)        stratified   one point in each of n cells
//! systematic   one u in [0, 1/n), points u + k/n        residual     floor(n W_i) copies, the rest multinomial
//! ```
//! Douc and Cappé, "Comparison of resampling schemes for particle filtering", 2005.

use ascribe_core::Stream;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// How particles are resampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampler {
    /// Independent draws.
    Multinomial,
    /// One draw in each cell.
    Stratified,
    /// One draw for all cells: the number of copies is `n W_i` rounded down or up.
    #[default]
    Systematic,
    /// Whole copies first.
    Residual,
}

impl Resampler {
    /// The particle that each of `weights.len()` places goes to; `weights` sum to 1.
    pub fn ancestors(self, weights: &[f64], stream: &mut Stream) -> Vec<usize> {
        let n = weights.len();
        let cell = |k: usize, within: f64| (k as f64 + within) / n as f64;
        match self {
            Self::Multinomial => taken(weights, (0..n).map(|_| stream.random::<f64>())),
            Self::Stratified => taken(weights, (0..n).map(|k| cell(k, stream.random::<f64>()))),
            Self::Systematic => {
                let within = stream.random::<f64>();
                taken(weights, (0..n).map(|k| cell(k, within)))
            }
            Self::Residual => {
                let (mut places, rest) = whole_copies(weights);
                let left = n - places.len();
                places.extend(taken(&rest, (0..left).map(|_| stream.random::<f64>())));
                places.sort_unstable();
                places
            }
        }
    }
}

/// The particles whose cells the points fall into.
fn taken(weights: &[f64], points: impl Iterator<Item = f64>) -> Vec<usize> {
    let mut sums = Vec::with_capacity(weights.len());
    let mut sum = 0.0;
    for weight in weights {
        sum += weight;
        sums.push(sum);
    }
    // Rounding can leave the last sum a little below 1: the last particle of any weight takes what is above.
    let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
    points.map(|point| sums.partition_point(|sum| *sum <= point).min(last)).collect()
}

/// The particles that are kept for certain, as often as they are, and the weights of what is left to draw.
fn whole_copies(weights: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let n = weights.len() as f64;
    // A product that should be whole may lie a little below.
    let copies: Vec<f64> = weights.iter().map(|weight| (n * weight + 1e-9).floor()).collect();
    let rest: Vec<f64> = weights.iter().zip(&copies).map(|(weight, copies)| (n * weight - copies).max(0.0)).collect();
    let total: f64 = rest.iter().sum();
    let rest = rest.iter().map(|rest| if total > 0.0 { rest / total } else { 0.0 }).collect();
    let places = copies.iter().enumerate().flat_map(|(at, copies)| std::iter::repeat_n(at, *copies as usize));
    (places.take(weights.len()).collect(), rest)
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    const ALL: [Resampler; 4] =
        [Resampler::Multinomial, Resampler::Stratified, Resampler::Systematic, Resampler::Residual];

    #[test]
    fn systematic_worked_by_hand() {
        let points = |u: f64| taken(&[0.7, 0.1, 0.1, 0.1], (0..4).map(|k| u + f64::from(k) / 4.0));
        assert_eq!(points(0.1), [0, 0, 0, 2]);
        assert_eq!(points(0.24), [0, 0, 1, 3]);
    }

    #[test]
    fn residual_worked_by_hand() {
        let (places, rest) = whole_copies(&[0.7, 0.1, 0.1, 0.1]);
        assert_eq!(places, [0, 0]);
        // Remainders 0.8, 0.4, 0.4, 0.4 of 2.
        assert!(rest.iter().zip([0.4, 0.2, 0.2, 0.2]).all(|(got, expected)| (got - expected).abs() < 1e-9));
        assert_eq!(whole_copies(&[0.25; 4]).0, [0, 1, 2, 3]);
    }

    #[test]
    fn copies_are_right_on_average() {
        let weights = [0.05, 0.4, 0.0, 0.3, 0.25];
        for resampler in ALL {
            let trials = 4000;
            let mut copies = [0usize; 5];
            for trial in 0..trials {
                let mut stream = Seed(3).stream("resample", trial);
                resampler.ancestors(&weights, &mut stream).into_iter().for_each(|at| copies[at] += 1);
            }
            assert_eq!(copies[2], 0);
            for (copies, weight) in copies.iter().zip(weights) {
                let (mean, expected) = (*copies as f64 / trials as f64, 5.0 * weight);
                // Multinomial varies most: its standard error is below sqrt(5 / 4 / trials) = 0.018.
                assert!((mean - expected).abs() < 0.08, "{resampler:?}: {mean} beside {expected}");
            }
        }
    }

    proptest! {
        #[test]
        fn there_are_as_many_as_before(parts in prop::collection::vec(0.0..1.0f64, 1..12), seed in any::<u64>()) {
            let total: f64 = parts.iter().sum();
            prop_assume!(total > 1e-6);
            let weights: Vec<f64> = parts.iter().map(|part| part / total).collect();
            let n = weights.len() as f64;
            for resampler in ALL {
                let places = resampler.ancestors(&weights, &mut Seed(seed).stream("resample", 0));
                prop_assert_eq!(places.len(), weights.len());
                prop_assert!(places.is_sorted() || resampler == Resampler::Multinomial);
                if resampler == Resampler::Systematic {
                    for (at, weight) in weights.iter().enumerate() {
                        let copies = places.iter().filter(|place| **place == at).count() as f64;
                        prop_assert!((n * weight - 1e-6).floor() <= copies && copies <= (n * weight + 1e-6).ceil());
                    }
                }
            }
        }
    }
}
