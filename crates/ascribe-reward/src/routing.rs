//! Which pairs a person should label, and which a model: "Hybrid Preferences", arXiv:2410.19133, its code.
//!
//! ```text
//! z in {0, 1}^N, 1 for a person;  c_f(z) = number of pairs with z_i = 1 and feature f
//! score(z) = b + w c(z), or with squares and products of counts as well; fitted on random mixes and the score of a reward
//!            model trained on each
//! gain_i = score(z with i routed to a person) - score(z);  for the linear form sum_f w_f phi_if
//! ```
//! With a budget of b labels the b largest gains are routed, or random mixes are drawn and the best predicted one is taken.
//! Features are numbers of a pair, mostly 0 or 1: bins of length, similarity of the responses, domain. The scores must come
//! from other pairs than the final evaluation. Ties of gain go to the smaller index.

use ascribe_core::{Seed, Stream};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length};
use crate::linear::solve;
use crate::math::dot;

/// The form of the regression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingForm {
    /// Linear in the counts.
    #[default]
    Linear,
    /// With squares and products of counts.
    Quadratic,
}

/// A mix that was tried: which pairs a person labelled, and how good the reward model became.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Indices of the pairs with a person's label.
    pub human: Vec<usize>,
    /// The score of the reward model.
    pub score: f64,
}

/// A regression of the score on the counts of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    form: RoutingForm,
    features: Vec<Vec<f64>>,
    weights: Vec<f64>,
}

impl Routing {
    /// Fits the regression on mixes of the pairs whose `features` are given, one list a pair. The ridge does not touch the
    /// constant.
    ///
    /// # Errors
    /// When there is no pair or mix, features differ in number, a value is NaN or infinite, a mix names a pair that there is
    /// not, the ridge is not finite or below 0, or the counts are linearly dependent and the ridge is 0.
    pub fn fit(features: Vec<Vec<f64>>, mixes: &[Mix], form: RoutingForm, ridge: f64) -> Result<Self, RewardError> {
        not_empty("the pairs", &features)?;
        not_empty("the mixes", mixes)?;
        option("ridge", "finite and at least 0", ridge, 0.0 <= ridge && ridge.is_finite())?;
        for pair in &features {
            finite("the features of a pair", pair)?;
            same_length("the features of a pair", features[0].len(), pair.len())?;
        }
        let mut routing = Self { form, features, weights: Vec::new() };
        let mut rows = Vec::with_capacity(mixes.len());
        for mix in mixes {
            option("the score of a mix", "finite", mix.score, mix.score.is_finite())?;
            rows.push(routing.terms(&routing.counts(&mix.human)?));
        }
        let width = rows[0].len();
        let mut normal = vec![vec![0.0; width]; width];
        let mut right = vec![0.0; width];
        for (row, mix) in rows.iter().zip(mixes) {
            for (entries, a) in normal.iter_mut().zip(row) {
                entries.iter_mut().zip(row).for_each(|(entry, b)| *entry += a * b);
            }
            right.iter_mut().zip(row).for_each(|(entry, a)| *entry += a * mix.score);
        }
        for (at, entries) in normal.iter_mut().enumerate().skip(1) {
            entries[at] += ridge;
        }
        let Some(weights) = solve(normal, right) else {
            let rule = "the regression needs mixes whose counts are not linearly dependent, or a ridge above 0";
            return Err(RewardError::Shape { rule, got: format!("{} mixes for {width} terms", mixes.len()) });
        };
        routing.weights = weights;
        Ok(routing)
    }

    /// The predicted score of a mix.
    ///
    /// # Errors
    /// When it names a pair that there is not.
    pub fn predict(&self, human: &[usize]) -> Result<f64, RewardError> {
        Ok(dot(&self.weights, &self.terms(&self.counts(human)?)))
    }

    /// What routing each pair to a person adds to the predicted score, when nothing is routed yet.
    ///
    /// # Errors
    /// Never for a fitted routing.
    pub fn gains(&self) -> Result<Vec<f64>, RewardError> {
        let none = self.predict(&[])?;
        (0..self.features.len()).map(|pair| Ok(self.predict(&[pair])? - none)).collect()
    }

    /// The `budget` pairs with the largest gains, by index: the best predicted mix of the linear form.
    ///
    /// # Errors
    /// When the budget is larger than the number of pairs.
    pub fn choose(&self, budget: usize) -> Result<Vec<usize>, RewardError> {
        self.affordable(budget)?;
        let gains = self.gains()?;
        let mut order: Vec<usize> = (0..gains.len()).collect();
        order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]).then(a.cmp(b)));
        order.truncate(budget);
        order.sort_unstable();
        Ok(order)
    }

    /// The best predicted of `draws` random mixes of `budget` pairs (500 in the code), by index.
    ///
    /// # Errors
    /// When the budget is larger than the number of pairs, or nothing is drawn.
    pub fn simulate(&self, budget: usize, draws: usize, seed: Seed) -> Result<Vec<usize>, RewardError> {
        self.affordable(budget)?;
        option("draws", "at least 1", draws as f64, draws >= 1)?;
        let mut best: Option<(f64, Vec<usize>)> = None;
        for draw in 0..draws {
            let order = subset(self.features.len(), budget, &mut seed.stream("routing", draw as u64));
            let score = self.predict(&order)?;
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, order));
            }
        }
        Ok(best.map(|(_, order)| order).unwrap_or_default())
    }

    fn affordable(&self, budget: usize) -> Result<(), RewardError> {
        option("budget", "at most the number of pairs", budget as f64, budget <= self.features.len())
    }

    fn counts(&self, human: &[usize]) -> Result<Vec<f64>, RewardError> {
        let mut counts = vec![0.0; self.features[0].len()];
        for &pair in human {
            let known = pair < self.features.len();
            option("a pair of a mix", "below the number of pairs", pair as f64, known)?;
            counts.iter_mut().zip(&self.features[pair]).for_each(|(count, feature)| *count += feature);
        }
        Ok(counts)
    }

    /// The constant, the counts, and their products.
    fn terms(&self, counts: &[f64]) -> Vec<f64> {
        let mut terms = vec![1.0];
        terms.extend_from_slice(counts);
        if self.form == RoutingForm::Quadratic {
            for (at, a) in counts.iter().enumerate() {
                terms.extend(counts[at..].iter().map(|b| a * b));
            }
        }
        terms
    }
}

/// `n` mixes of so many pairs to be tried, by index, each of a random size from none to all: a reward model is trained on the labels
/// of each.
///
/// # Errors
/// When there is no pair, or no mix is asked for.
pub fn random_mixes(pairs: usize, n: usize, seed: Seed) -> Result<Vec<Vec<usize>>, RewardError> {
    option("pairs", "at least 1", pairs as f64, pairs >= 1)?;
    option("mixes", "at least 1", n as f64, n >= 1)?;
    let mix = |at: usize| {
        let mut stream = seed.stream("mixes", at as u64);
        let size = stream.random_range(0..=pairs);
        subset(pairs, size, &mut stream)
    };
    Ok((0..n).map(mix).collect())
}

/// `size` of `n` indices, increasing.
fn subset(n: usize, size: usize, stream: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    // The first places of a random permutation.
    for at in 0..size {
        let other = stream.random_range(at..n);
        order.swap(at, other);
    }
    order.truncate(size);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mix(human: &[usize], score: f64) -> Mix {
        Mix { human: human.to_vec(), score }
    }

    /// Pairs 0 and 1 have the first feature, 2 and 3 the second; score = 1 + 2 c_1 - c_2.
    fn fitted() -> Routing {
        let features = vec![vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 1.0]];
        let mixes = [mix(&[], 1.0), mix(&[0], 3.0), mix(&[2, 3], -1.0), mix(&[0, 1, 2], 4.0)];
        Routing::fit(features, &mixes, RoutingForm::Linear, 0.0).unwrap()
    }

    #[test]
    fn a_linear_routing_by_hand() {
        let routing = fitted();
        for (got, expected) in routing.gains().unwrap().iter().zip([2.0, 2.0, -1.0, -1.0]) {
            assert!((got - expected).abs() < 1e-9, "{got}");
        }
        assert!((routing.predict(&[1, 3]).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(routing.choose(2).unwrap(), [0, 1]);
        assert_eq!(routing.choose(0).unwrap(), [] as [usize; 0]);
        assert_eq!(routing.choose(4).unwrap(), [0, 1, 2, 3]);
        // Of equal gains the smaller number comes first.
        assert_eq!(routing.choose(1).unwrap(), [0]);
        assert_eq!(routing.choose(3).unwrap(), [0, 1, 2]);
        // Six mixes of two; 500 draws find the best.
        assert_eq!(routing.simulate(2, 500, Seed(1)).unwrap(), [0, 1]);
        assert_eq!(routing.simulate(2, 5, Seed(1)).unwrap(), routing.simulate(2, 5, Seed(1)).unwrap());
    }

    /// score = (c - 2)^2 of the number c of labels: 4 for four of them, and 1 - 4 for the first.
    #[test]
    fn a_quadratic_routing_by_hand() {
        let mixes = [mix(&[], 4.0), mix(&[0], 1.0), mix(&[0, 1], 0.0), mix(&[0, 1, 2], 1.0)];
        let routing = Routing::fit(vec![vec![1.0]; 4], &mixes, RoutingForm::Quadratic, 0.0).unwrap();
        assert!((routing.predict(&[0, 1, 2, 3]).unwrap() - 4.0).abs() < 1e-6);
        assert!((routing.gains().unwrap()[0] + 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let features = || vec![vec![1.0, 1.0]; 2];
        let mixes = [mix(&[], 0.0), mix(&[0], 1.0), mix(&[0, 1], 2.0)];
        assert!(Routing::fit(features(), &mixes, RoutingForm::Linear, 0.0).is_err(), "two equal features");
        assert!(Routing::fit(features(), &mixes, RoutingForm::Linear, 0.1).is_ok());
        for ridge in [-1.0, f64::NAN] {
            assert!(Routing::fit(features(), &mixes, RoutingForm::Linear, ridge).is_err());
        }
        assert!(Routing::fit(vec![], &mixes, RoutingForm::Linear, 0.1).is_err());
        assert!(Routing::fit(features(), &[], RoutingForm::Linear, 0.1).is_err());
        assert!(Routing::fit(features(), &[mix(&[2], 0.0)], RoutingForm::Linear, 0.1).is_err());
        assert!(Routing::fit(features(), &[mix(&[0], f64::NAN)], RoutingForm::Linear, 0.1).is_err());
        assert!(fitted().choose(5).is_err() && fitted().simulate(5, 1, Seed(1)).is_err());
        assert!(fitted().simulate(1, 0, Seed(1)).is_err() && fitted().predict(&[9]).is_err());
    }

    #[test]
    fn mixes_to_try_have_every_size() {
        let mixes = random_mixes(3, 400, Seed(1)).unwrap();
        // Sizes 0 to 3 a quarter each: 100 with a deviation below 9, and each pair is in half of the mixes.
        for size in 0..=3 {
            let count = mixes.iter().filter(|mix| mix.len() == size).count();
            assert!((55..=145).contains(&count), "{size}: {count}");
        }
        for pair in 0..3 {
            let count = mixes.iter().filter(|mix| mix.contains(&pair)).count();
            assert!((150..=250).contains(&count), "{pair}: {count}");
        }
        assert!(mixes.iter().all(|mix| mix.windows(2).all(|two| two[0] < two[1])));
        assert_eq!(random_mixes(3, 400, Seed(1)).unwrap(), mixes);
        assert!(random_mixes(0, 1, Seed(1)).is_err() && random_mixes(1, 0, Seed(1)).is_err());
    }

    proptest! {
        #[test]
        fn the_largest_gains_are_the_best_mix_of_a_linear_routing(
            gains in prop::collection::vec(-3.0..3.0f64, 1..7), budget in 0usize..7,
        ) {
            let n = gains.len();
            let budget = budget.min(n);
            // A feature of its own for every pair, so the gains are the weights.
            let one = |at: usize| (0..n).map(|other| f64::from(u8::from(other == at))).collect::<Vec<f64>>();
            let mut mixes = vec![mix(&[], 0.5)];
            mixes.extend((0..n).map(|at| mix(&[at], 0.5 + gains[at])));
            let routing = Routing::fit((0..n).map(one).collect(), &mixes, RoutingForm::Linear, 0.0).unwrap();
            let chosen = routing.predict(&routing.choose(budget).unwrap()).unwrap();
            for subset in 0u32..1 << n {
                let human: Vec<usize> = (0..n).filter(|at| (subset >> at) & 1 == 1).collect();
                prop_assert!(human.len() != budget || routing.predict(&human).unwrap() <= chosen + 1e-6);
            }
        }
    }
}
