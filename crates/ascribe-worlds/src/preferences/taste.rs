//! The gold reward of responses that are vectors of features.
//!
//! ```text
//! gold(x) = w x + sum over bends (a, b, c) of c x_a x_b,   |w| = 1
//! ```
//! Responses are drawn from the standard normal distribution, so the linear part has mean 0 and deviation 1. Drawn bends have a
//! joint deviation near 1 as well: no linear reward model is right.

use ascribe_core::{Seed, Stream};
use rand::RngExt;

use crate::WorldError;

/// A gold reward.
#[derive(Clone, Debug, PartialEq)]
pub struct Taste {
    weights: Vec<f64>,
    bends: Vec<(usize, usize, f64)>,
}

impl Taste {
    /// The reward with these weights, a feature each, and these bends: two features, and what their product counts for.
    ///
    /// # Errors
    /// When there is no feature, a number is NaN or infinite, or a bend names a feature that there is not.
    pub fn new(weights: Vec<f64>, bends: Vec<(usize, usize, f64)>) -> Result<Self, WorldError> {
        let features = weights.len();
        if features == 0 {
            return Err(WorldError::range("the number of features", "at least 1", 0.0));
        }
        if let Some(got) = weights.iter().chain(bends.iter().map(|(_, _, c)| c)).find(|number| !number.is_finite()) {
            return Err(WorldError::range("a weight of the gold reward", "finite", *got));
        }
        match bends.iter().flat_map(|(a, b, _)| [*a, *b]).find(|feature| *feature >= features) {
            Some(got) => Err(WorldError::range("a bent feature", "below the number of features", got as f64)),
            None => Ok(Self { weights, bends }),
        }
    }

    /// A reward drawn at random, with weights of length 1.
    ///
    /// # Errors
    /// Without a feature.
    pub fn draw(features: usize, bends: usize, seed: Seed) -> Result<Self, WorldError> {
        let mut stream = seed.stream("taste", 0);
        let mut weights: Vec<f64> = (0..features).map(|_| normal(&mut stream)).collect();
        let length = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        weights.iter_mut().for_each(|w| *w /= length);
        let share = 1.0 / (bends.max(1) as f64).sqrt();
        let mut drawn = Vec::with_capacity(bends);
        for _ in 0..bends {
            let (a, b) = (stream.random_range(0..features.max(1)), stream.random_range(0..features.max(1)));
            drawn.push((a, b, share * normal(&mut stream)));
        }
        Self::new(weights, drawn)
    }

    /// The same with its linear part turned, so that the cosine of the two linear parts is `cosine`: a taste that agrees or
    /// conflicts with `other`.
    ///
    /// # Errors
    /// Unless the cosine is in [-1, 1] and both have as many features.
    pub fn turned_to(&self, other: &Self, cosine: f64) -> Result<Self, WorldError> {
        if !(-1.0..=1.0).contains(&cosine) {
            return Err(WorldError::range("the cosine of two tastes", "in [-1, 1]", cosine));
        }
        if self.features() != other.features() {
            let got = other.features() as f64;
            return Err(WorldError::range("the features of the other taste", "as many as of this one", got));
        }
        // What of these weights is not along the other's.
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let along = dot(&self.weights, &other.weights) / dot(&other.weights, &other.weights);
        let mut across: Vec<f64> = self.weights.iter().zip(&other.weights).map(|(w, o)| w - along * o).collect();
        let lengths = [dot(&across, &across).sqrt(), dot(&other.weights, &other.weights).sqrt()];
        across.iter_mut().for_each(|w| *w /= lengths[0]);
        let sine = (1.0 - cosine * cosine).sqrt();
        let weights = across.iter().zip(&other.weights).map(|(a, o)| sine * a + cosine * o / lengths[1]).collect();
        Self::new(weights, self.bends.clone())
    }

    /// Number of features of a response.
    pub fn features(&self) -> usize {
        self.weights.len()
    }

    /// The gold reward of a response with these features; absent ones count nothing.
    pub fn gold(&self, response: &[f64]) -> f64 {
        let at = |feature: usize| response.get(feature).copied().unwrap_or(0.0);
        let linear: f64 = self.weights.iter().zip(response).map(|(w, x)| w * x).sum();
        linear + self.bends.iter().map(|(a, b, c)| c * at(*a) * at(*b)).sum::<f64>()
    }

    /// A response of the base policy.
    pub fn response(&self, stream: &mut Stream) -> Vec<f64> {
        (0..self.features()).map(|_| normal(stream)).collect()
    }
}

/// A standard normal draw, by Box and Muller.
pub(super) fn normal(stream: &mut Stream) -> f64 {
    let (u, v): (f64, f64) = (stream.random(), stream.random());
    // 1 - u is in (0, 1], so the logarithm is finite.
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gold_reward_by_hand() {
        let taste = Taste::new(vec![1.0, -2.0], vec![(0, 1, 3.0), (0, 0, 0.5)]).unwrap();
        // 2 - 6 + 3 * 2 * 3 + 0.5 * 4.
        assert_eq!(taste.gold(&[2.0, 3.0]), 16.0);
        assert_eq!(taste.gold(&[2.0]), 4.0);
        for wrong in [
            Taste::new(vec![], vec![]),
            Taste::new(vec![f64::NAN], vec![]),
            Taste::new(vec![1.0], vec![(0, 1, 1.0)]),
            Taste::new(vec![1.0], vec![(0, 0, f64::INFINITY)]),
        ] {
            assert!(matches!(wrong, Err(WorldError::Range { .. })));
        }
        assert!(Taste::draw(0, 0, Seed(0)).is_err());
    }

    #[test]
    fn responses_have_mean_0_and_deviation_1() {
        let taste = Taste::draw(4, 0, Seed(3)).unwrap();
        let mut stream = Seed(1).stream("responses", 0);
        let golds: Vec<f64> = (0..4000).map(|_| taste.gold(&taste.response(&mut stream))).collect();
        let mean = golds.iter().sum::<f64>() / 4000.0;
        let deviation = (golds.iter().map(|gold| (gold - mean).powi(2)).sum::<f64>() / 4000.0).sqrt();
        // Four standard errors: 1 / sqrt(4000) and 1 / sqrt(8000).
        assert!(mean.abs() < 0.064 && (deviation - 1.0).abs() < 0.045, "{mean} {deviation}");
    }

    proptest! {
        #[test]
        fn a_turned_taste_has_its_cosine(features in 2usize..9, cosine in -1.0..=1.0f64, seed in any::<u64>()) {
            let (one, other) = (Taste::draw(features, 2, Seed(seed)).unwrap(), Taste::draw(features, 0, Seed(!seed)).unwrap());
            let turned = one.turned_to(&other, cosine).unwrap();
            let got: f64 = turned.weights.iter().zip(&other.weights).map(|(a, b)| a * b).sum();
            let length: f64 = turned.weights.iter().map(|w| w * w).sum();
            prop_assert!((got - cosine).abs() < 1e-6 && (length - 1.0).abs() < 1e-6, "{got} {length}");
            prop_assert_eq!(turned.bends, one.bends);
        }
    }
}
