//! Thresholds that are searched for while a policy is trained under them: the simplex search within one run of
//! arXiv:2310.04373's code.
//!
//! ```text
//! value of thresholds theta = mean of an outside metric over `hold` generations under theta
//! ```
//! The multipliers go on from point to point, and so does the policy: values are those of one run, not of one training each.
//! When the search is over, the best thresholds stay.

use ascribe_core::advantage::Constraints;
use ascribe_core::{CoreError, Stream};

use super::{Lagrange, LagrangeConfig, NelderMead};
use crate::RewardError;
use crate::error::{finite, not_empty, option};

/// Options of [`Adaptive`]. [`Default`] has the numbers of the code for the search, and no thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveConfig {
    /// The multipliers; their thresholds are where the search starts.
    pub lagrange: LagrangeConfig,
    /// How far the other corners of the first simplex are away; finite and above 0.
    pub step: f64,
    /// Generations by which thresholds are judged; at least 1.
    pub hold: usize,
    /// The search ends when the values of its corners differ by less; finite and above 0.
    pub tolerance: f64,
    /// Most rounds of the search.
    pub iterations: usize,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { lagrange: LagrangeConfig::default(), step: 0.1, hold: 10, tolerance: 0.01, iterations: 10 }
    }
}

impl AdaptiveConfig {
    /// Checks the options and starts the multipliers, as [`LagrangeConfig::init`].
    ///
    /// # Errors
    /// When an option is out of range, or there is no threshold.
    pub fn init(&self, stream: &mut Stream) -> Result<Adaptive, RewardError> {
        not_empty("the thresholds", &self.lagrange.thresholds)?;
        option("constraint_hold", "at least 1", self.hold as f64, self.hold >= 1)?;
        let adaptive = Adaptive { lagrange: self.lagrange.init(stream)?, config: self.clone() };
        adaptive.search(&[])?;
        Ok(adaptive)
    }
}

/// Multipliers whose thresholds follow an outside metric.
///
/// What is kept is multipliers and velocities, the generations under the thresholds as they are with the sum of the metric, and the
/// values of all thresholds so far, by which the search is made again.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    lagrange: Lagrange,
    config: AdaptiveConfig,
}

/// What is kept, in its parts.
struct Kept<'k> {
    multipliers: &'k [f64],
    generations: f64,
    sum: f64,
    values: &'k [f64],
}

impl Adaptive {
    fn parts<'k>(&self, kept: &'k [f64]) -> Result<Kept<'k>, CoreError> {
        let expected = 2 * self.components() + 2;
        match kept.split_at_checked(expected) {
            Some((head, values)) => Ok(Kept {
                multipliers: &head[..expected - 2],
                generations: head[expected - 2],
                sum: head[expected - 1],
                values,
            }),
            None => Err(CoreError::Length { what: "the numbers of constraints that adapt", expected, got: kept.len() }),
        }
    }

    /// The search after these values.
    fn search(&self, values: &[f64]) -> Result<NelderMead, RewardError> {
        let AdaptiveConfig { lagrange, step, tolerance, iterations, .. } = &self.config;
        let mut search = NelderMead::new(&lagrange.thresholds, *step, *tolerance, *iterations)?;
        values.iter().try_for_each(|value| search.tell(*value))?;
        Ok(search)
    }
}

/// The thresholds that a search asks for, or the best ones where it is over.
fn asked(search: &NelderMead) -> Vec<f64> {
    match search.wanted() {
        Some(point) => point.to_vec(),
        None => search.simplex().points.first().cloned().unwrap_or_default(),
    }
}

impl Constraints for Adaptive {
    fn components(&self) -> usize {
        self.lagrange.components()
    }

    fn start(&self) -> Vec<f64> {
        [self.lagrange.start().as_slice(), &[0.0, 0.0]].concat()
    }

    fn weights(&self, kept: &[f64]) -> Result<Vec<f64>, CoreError> {
        Constraints::weights(&self.lagrange, self.parts(kept)?.multipliers)
    }

    fn thresholds(&self, kept: &[f64]) -> Result<Vec<f64>, CoreError> {
        Ok(asked(&self.search(self.parts(kept)?.values)?))
    }

    fn mix(&self, kept: &[f64], free: &[f64], components: &[Vec<f64>]) -> Result<Vec<f64>, CoreError> {
        Constraints::mix(&self.lagrange, self.parts(kept)?.multipliers, free, components)
    }

    fn next(&self, _kept: &[f64], _means: &[f64]) -> Result<Vec<f64>, CoreError> {
        Err(CoreError::MissingInput("the metric that thresholds follow"))
    }

    fn adapts(&self) -> bool {
        true
    }

    fn next_by(&self, kept: &[f64], means: &[f64], metric: f64) -> Result<Vec<f64>, CoreError> {
        let Kept { multipliers, generations, sum, values } = self.parts(kept)?;
        let search = self.search(values)?;
        if search.wanted().is_some() {
            // At once, and not when the generations of these thresholds are over: a checkpoint could not hold it.
            finite("the metric that thresholds follow", &[metric])?;
        }
        let moved = self.lagrange.with_thresholds(asked(&search)).next(multipliers, means)?;
        let (mut generations, mut sum, mut values) = (generations + 1.0, sum + metric, values.to_vec());
        if search.wanted().is_none() {
            (generations, sum) = (0.0, 0.0);
        } else if generations >= self.config.hold as f64 {
            values.push(sum / generations);
            (generations, sum) = (0.0, 0.0);
        }
        Ok([moved.as_slice(), &[generations, sum], &values].concat())
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;

    use super::*;

    fn adaptive(thresholds: &[f64], hold: usize, iterations: usize) -> Result<Adaptive, RewardError> {
        let lagrange = LagrangeConfig { thresholds: thresholds.to_vec(), ..LagrangeConfig::default() };
        let config = AdaptiveConfig { lagrange, step: 0.2, hold, iterations, ..AdaptiveConfig::default() };
        config.init(&mut Seed(1).stream("multipliers", 0))
    }

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} beside {expected:?}");
    }

    #[test]
    fn thresholds_move_by_the_metric_and_multipliers_by_the_thresholds() {
        let adaptive = adaptive(&[0.4], 2, 10).unwrap();
        let mut kept = adaptive.start();
        let mut thresholds = Vec::new();
        // Means of 2 at 0.4 and 5 at 0.6: the worse corner is mirrored to 0.8.
        for metric in [1.0, 3.0, 5.0, 5.0] {
            thresholds.extend(adaptive.thresholds(&kept).unwrap());
            kept = adaptive.next_by(&kept, &[0.5], metric).unwrap();
        }
        thresholds.extend(adaptive.thresholds(&kept).unwrap());
        close(&thresholds, &[0.4, 0.4, 0.6, 0.6, 0.8]);
        // The multipliers are those of fixed thresholds, two generations each.
        let mut by_hand = adaptive.lagrange.start();
        for threshold in &thresholds[..4] {
            by_hand = adaptive.lagrange.with_thresholds(vec![*threshold]).next(&by_hand, &[0.5]).unwrap();
        }
        assert_eq!(kept[..2], by_hand[..]);
        assert_eq!(adaptive.weights(&kept).unwrap(), Constraints::weights(&adaptive.lagrange, &by_hand).unwrap());
        close(&kept[2..], &[0.0, 0.0, 2.0, 5.0]);
    }

    #[test]
    fn the_peak_of_a_metric_is_found_and_stays() {
        let adaptive = adaptive(&[0.0, 0.0], 1, 60).unwrap();
        let mut kept = adaptive.start();
        for _ in 0..300 {
            let at = adaptive.thresholds(&kept).unwrap();
            let metric = -(at[0] - 0.7).powi(2) - (at[1] + 0.3).powi(2);
            kept = adaptive.next_by(&kept, &[0.0, 0.0], 100.0 * metric).unwrap();
        }
        let at = adaptive.thresholds(&kept).unwrap();
        assert!((at[0] - 0.7).abs() < 0.02 && (at[1] + 0.3).abs() < 0.02, "{at:?}");
        // The search is over, so nothing is added any more.
        let later = adaptive.next_by(&kept, &[0.0, 0.0], -1e3).unwrap();
        assert_eq!((later.len(), adaptive.thresholds(&later).unwrap()), (kept.len(), at));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(adaptive(&[], 1, 1).is_err() && adaptive(&[0.5], 0, 1).is_err());
        let config = |step, tolerance| {
            let lagrange = LagrangeConfig { thresholds: vec![0.5], ..LagrangeConfig::default() };
            let config = AdaptiveConfig { lagrange, step, tolerance, ..AdaptiveConfig::default() };
            config.init(&mut Seed(1).stream("multipliers", 0)).is_err()
        };
        assert!(config(0.0, 0.1) && config(f64::NAN, 0.1) && config(0.1, 0.0) && !config(0.1, 0.1));
        let one = adaptive(&[0.5], 1, 5).unwrap();
        let start = one.start();
        assert!(one.adapts() && one.next(&start, &[0.1]).is_err(), "a metric is needed");
        assert!(one.next_by(&start, &[0.1], f64::NAN).is_err() && one.next_by(&start[1..], &[0.1], 1.0).is_err());
        let two = adaptive(&[0.5], 2, 5).unwrap();
        assert!(two.next_by(&two.start(), &[0.1], f64::INFINITY).is_err(), "in the first of two generations");
        assert!(one.next_by(&start, &[0.1, 0.2], 1.0).is_err());
    }
}
