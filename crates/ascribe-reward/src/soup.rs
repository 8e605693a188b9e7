//! Parameters for a preference over objectives without training: IBCL, arXiv:2305.14782, its code; with a deviation of 0,
//! "rewarded soups", arXiv:2306.04488.
//!
//! ```text
//! q_w = N( sum_ij (w_i / n) mu_ij, ( sum_ij (w_i / n) sigma_ij )^2 ),  n posteriors j of each objective i
//! parameters: uniform in mu +- z sigma;  z = 2.5758 leaves out a hundredth of the mass, as in the code
//! ```
//! Means and *standard deviations* are combined, as the code does. All models must have the same shape and come from the
//! same start, or a mean of parameters means nothing. Posteriors nearer than a distance to one that is known are dropped and
//! stand for it.

use ascribe_core::Stream;
use rand::RngExt;

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length, within};

/// A Gaussian over parameters, each by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations; at least 0.
    pub std: Vec<f64>,
}

impl Posterior {
    /// A point: the parameters of a model that was fine-tuned on an objective.
    pub fn point(parameters: &[f64]) -> Self {
        Self { mean: parameters.to_vec(), std: vec![0.0; parameters.len()] }
    }

    fn check(&self, width: usize) -> Result<(), RewardError> {
        finite("the means of a posterior", &self.mean)?;
        same_length("the parameters of a posterior", width, self.mean.len())?;
        same_length("the deviations of a posterior", width, self.std.len())?;
        within("a deviation", &self.std, "finite and at least 0", |std| 0.0 <= std && std.is_finite())
    }

    /// The largest distance of a mean or a deviation.
    fn distance(&self, other: &Self) -> f64 {
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
        apart(&self.mean, &other.mean).max(apart(&self.std, &other.std))
    }
}

/// Posteriors of several objectives, near-duplicates kept once.
#[derive(Clone, Debug, PartialEq)]
pub struct KnowledgeBase {
    kept: Vec<Posterior>,
    objectives: Vec<Vec<usize>>,
    distance: f64,
}

impl KnowledgeBase {
    /// An empty base that takes posteriors nearer than `distance` for the same (0.01 in the code; 0 keeps all).
    ///
    /// # Errors
    /// Unless the distance is finite and at least 0.
    pub fn new(distance: f64) -> Result<Self, RewardError> {
        option("distance", "finite and at least 0", distance, 0.0 <= distance && distance.is_finite())?;
        Ok(Self { kept: Vec::new(), objectives: Vec::new(), distance })
    }

    /// Adds the posteriors of an objective.
    ///
    /// # Errors
    /// When there is none, a number is out of range, or they have not the shape of those before.
    pub fn add(&mut self, posteriors: Vec<Posterior>) -> Result<(), RewardError> {
        not_empty("the posteriors of an objective", &posteriors)?;
        let width = self.kept.first().unwrap_or(&posteriors[0]).mean.len();
        posteriors.iter().try_for_each(|posterior| posterior.check(width))?;
        let mut objective = Vec::with_capacity(posteriors.len());
        for posterior in posteriors {
            let known = self.kept.iter().position(|kept| kept.distance(&posterior) < self.distance);
            objective.push(known.unwrap_or(self.kept.len()));
            if known.is_none() {
                self.kept.push(posterior);
            }
        }
        self.objectives.push(objective);
        Ok(())
    }

    /// Posteriors that are held.
    pub fn kept(&self) -> &[Posterior] {
        &self.kept
    }

    /// The posterior for a preference over the objectives.
    ///
    /// # Errors
    /// When there is not one weight an objective, one is below 0 or NaN, or they do not sum to 1 within 1e-3.
    pub fn combine(&self, preference: &[f64]) -> Result<Posterior, RewardError> {
        not_empty("the objectives", &self.objectives)?;
        same_length("the preference", self.objectives.len(), preference.len())?;
        within("a weight of the preference", preference, "in [0, 1]", |w| (0.0..=1.0).contains(&w))?;
        let sum: f64 = preference.iter().sum();
        option("the sum of the preference", "1 within 0.001", sum, (sum - 1.0).abs() <= 1e-3)?;
        let width = self.kept[0].mean.len();
        let mut combined = Posterior { mean: vec![0.0; width], std: vec![0.0; width] };
        for (weight, objective) in preference.iter().zip(&self.objectives) {
            let share = weight / objective.len() as f64;
            for &at in objective {
                let add = |(sum, x): (&mut f64, &f64)| *sum += share * x;
                combined.mean.iter_mut().zip(&self.kept[at].mean).for_each(add);
                combined.std.iter_mut().zip(&self.kept[at].std).for_each(add);
            }
        }
        Ok(combined)
    }
}

/// Parameters drawn uniformly from the interval of `z` deviations around each mean.
///
/// # Errors
/// Unless `z` is finite and at least 0 and the posterior is sound.
pub fn draw(posterior: &Posterior, z: f64, stream: &mut Stream) -> Result<Vec<f64>, RewardError> {
    option("z", "finite and at least 0, such as 2.5758", z, 0.0 <= z && z.is_finite())?;
    posterior.check(posterior.mean.len())?;
    let one = |(mean, std): (&f64, &f64)| mean + std * z * (2.0 * stream.random::<f64>() - 1.0);
    Ok(posterior.mean.iter().zip(&posterior.std).map(one).collect())
}

/// Whether the way between two models is free: no loss along the segment between their parameters, both ends included, is
/// above that of the worse end by more than `tolerance`. Where one is, a mean of parameters means nothing; mix what the models
/// say instead.
///
/// # Errors
/// For fewer than 3 losses, a NaN or an infinity, or unless the tolerance is finite and at least 0.
pub fn connected(losses: &[f64], tolerance: f64) -> Result<bool, RewardError> {
    option("the losses along a segment", "at least 3, both ends included", losses.len() as f64, losses.len() >= 3)?;
    finite("the losses along a segment", losses)?;
    option("the tolerance", "finite and at least 0", tolerance, 0.0 <= tolerance && tolerance.is_finite())?;
    let worse = losses[0].max(losses[losses.len() - 1]);
    Ok(losses.iter().all(|loss| *loss <= worse + tolerance))
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    fn posterior(mean: f64, std: f64) -> Posterior {
        Posterior { mean: vec![mean], std: vec![std] }
    }

    fn base(objectives: &[&[Posterior]]) -> KnowledgeBase {
        let mut base = KnowledgeBase::new(0.01).unwrap();
        objectives.iter().for_each(|objective| base.add(objective.to_vec()).unwrap());
        base
    }

    #[test]
    fn a_combination_by_hand() {
        let base = base(&[&[posterior(1.0, 0.1), posterior(3.0, 0.3)], &[posterior(10.0, 1.0)]]);
        // Means 2 and 10, deviations 0.2 and 1, with weights 3/4 and 1/4.
        let combined = base.combine(&[0.75, 0.25]).unwrap();
        assert!((combined.mean[0] - 4.0).abs() < 1e-12 && (combined.std[0] - 0.4).abs() < 1e-12);
        // One posterior of one objective is itself.
        assert_eq!(base.combine(&[0.0, 1.0]).unwrap(), posterior(10.0, 1.0));
    }

    #[test]
    fn near_duplicates_are_kept_once() {
        let base = base(&[&[posterior(1.0, 0.1)], &[posterior(1.005, 0.1), posterior(2.0, 0.1)]]);
        assert_eq!(base.kept().len(), 2);
        assert_eq!(base.combine(&[0.0, 1.0]).unwrap().mean, [1.5]);
    }

    #[test]
    fn what_is_drawn_stays_in_the_interval() {
        // 0.5 * 2.5758 is 1.288.
        let mut stream = Seed(3).stream("soup", 0);
        let drawn: Vec<f64> = (0..500).map(|_| draw(&posterior(1.0, 0.5), 2.5758, &mut stream).unwrap()[0]).collect();
        let (low, high) = drawn.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
        assert!(1.0 - 1.288 < low && low < 0.0 && 2.0 < high && high < 1.0 + 1.288, "{low} {high}");
        assert_eq!(draw(&Posterior::point(&[7.0]), 2.5758, &mut stream).unwrap(), [7.0]);
        assert!(draw(&posterior(1.0, 0.5), f64::NAN, &mut stream).is_err());
    }

    #[test]
    fn a_way_with_a_hill_is_not_free() {
        assert!(connected(&[1.0, 0.5, 0.75], 0.0).unwrap());
        // The worse end is 1.
        assert!(!connected(&[1.0, 1.25, 0.75], 0.0).unwrap() && connected(&[0.75, 1.25, 1.0], 0.25).unwrap());
        assert!(connected(&[1.0, 1.0], 0.0).is_err() && connected(&[1.0, f64::NAN, 1.0], 0.0).is_err());
        assert!(connected(&[1.0; 3], -0.1).is_err() && connected(&[1.0; 3], f64::NAN).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut one = base(&[&[posterior(1.0, 0.1)]]);
        assert!(one.add(vec![Posterior::point(&[1.0, 2.0])]).is_err(), "another shape");
        assert!(one.add(vec![]).is_err() && one.add(vec![posterior(1.0, -1.0)]).is_err());
        assert!(one.add(vec![posterior(f64::NAN, 0.1)]).is_err());
        assert!(one.combine(&[0.9]).is_err() && one.combine(&[0.5, 0.5]).is_err() && one.combine(&[f64::NAN]).is_err());
        assert!(KnowledgeBase::new(f64::NAN).is_err() && KnowledgeBase::new(0.0).unwrap().combine(&[]).is_err());
    }

    proptest! {
        #[test]
        fn points_are_interpolated_and_means_stay_in_their_hull(
            a in -3.0..3.0f64, b in -3.0..3.0f64, w in 0.0..=1.0f64,
        ) {
            let mut base = KnowledgeBase::new(0.0).unwrap();
            base.add(vec![Posterior::point(&[a])]).unwrap();
            base.add(vec![Posterior::point(&[b])]).unwrap();
            let combined = base.combine(&[w, 1.0 - w]).unwrap();
            prop_assert!((combined.mean[0] - (w * a + (1.0 - w) * b)).abs() < 1e-12 && combined.std == [0.0]);
            prop_assert!(a.min(b) - 1e-12 <= combined.mean[0] && combined.mean[0] <= a.max(b) + 1e-12);
        }

        #[test]
        fn equal_posteriors_give_themselves(mean in -3.0..3.0f64, std in 0.0..1.0f64, n in 1usize..4, w in 0.0..=1.0f64) {
            let mut base = KnowledgeBase::new(0.0).unwrap();
            base.add(vec![posterior(mean, std); n]).unwrap();
            base.add(vec![posterior(mean, std)]).unwrap();
            let combined = base.combine(&[w, 1.0 - w]).unwrap();
            prop_assert!((combined.mean[0] - mean).abs() < 1e-9 && (combined.std[0] - std).abs() < 1e-9);
        }
    }
}
