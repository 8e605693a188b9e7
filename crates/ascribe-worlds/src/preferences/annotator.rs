//! Those who compare and rate responses, with the faults that they are known to have.
//!
//! ```text
//! v(x) = gold(x without what they do not see) + tilt x + length bias * x_length
//! first is better where v(first) - v(second) + noise > 0;   a share of the labels is turned around afterwards
//! rating = v + noise, around the middle of the scale, rounded and cut to it
//! ```

use ascribe_core::Stream;
use rand::RngExt;

use super::Taste;
use super::taste::normal;
use crate::WorldError;

/// Somebody who compares and rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotator {
    /// Share of comparisons that are written down the wrong way; in [0, 1].
    pub flips: f64,
    /// Deviation of the noise in each judgement; finite and at least 0.
    pub noise: f64,
    /// A feature that they like for itself, length say, and how much.
    pub length_bias: Option<(usize, f64)>,
    /// Features that they do not see: a blind spot.
    pub blind: Vec<usize>,
    /// What their group likes besides, a weight a feature; empty for nothing.
    pub tilt: Vec<f64>,
}

/// Two responses, and what an annotator said of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Features of the preferred response.
    pub chosen: Vec<f64>,
    /// Features of the other one.
    pub rejected: Vec<f64>,
    /// How clear it was: 1 slightly better, 2 better, 3 much better.
    pub strength: f64,
    /// Whether the gold reward orders the two the other way.
    pub wrong: bool,
}

/// Differences of value from which a response is better, and much better.
const CLEAR: [f64; 2] = [0.5, 1.5];

impl Annotator {
    /// Checks the faults against responses of so many features.
    ///
    /// # Errors
    /// When a share or a deviation is out of range, or a feature is named that there is not.
    pub fn check(&self, features: usize) -> Result<(), WorldError> {
        if !(0.0..=1.0).contains(&self.flips) {
            return Err(WorldError::range("the share of flipped labels", "in [0, 1]", self.flips));
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(WorldError::range("the noise of an annotator", "finite and at least 0", self.noise));
        }
        let named = self.blind.iter().copied().chain(self.length_bias.map(|(feature, _)| feature));
        let mut named = named.chain(self.tilt.len().checked_sub(1));
        match named.find(|feature| *feature >= features) {
            Some(got) => {
                Err(WorldError::range("a feature of an annotator", "below the number of features", got as f64))
            }
            None => Ok(()),
        }
    }

    /// What the response is worth to them.
    pub fn value(&self, taste: &Taste, response: &[f64]) -> f64 {
        let seen: Vec<f64> =
            response.iter().enumerate().map(|(at, x)| if self.blind.contains(&at) { 0.0 } else { *x }).collect();
        let tilt: f64 = self.tilt.iter().zip(response).map(|(w, x)| w * x).sum();
        let bias = self.length_bias.map_or(0.0, |(at, weight)| weight * response.get(at).copied().unwrap_or(0.0));
        taste.gold(&seen) + tilt + bias
    }

    /// What they say of two responses.
    pub fn compare(&self, taste: &Taste, first: Vec<f64>, second: Vec<f64>, stream: &mut Stream) -> Comparison {
        let difference = self.value(taste, &first) - self.value(taste, &second)
            + self.noise * std::f64::consts::SQRT_2 * normal(stream);
        let flipped = stream.random::<f64>() < self.flips;
        let strength = 1.0 + CLEAR.iter().filter(|least| difference.abs() >= **least).count() as f64;
        let (chosen, rejected) = if (difference > 0.0) != flipped { (first, second) } else { (second, first) };
        let wrong = taste.gold(&chosen) < taste.gold(&rejected);
        Comparison { chosen, rejected, strength, wrong }
    }

    /// Their rating of a response on the scale from 0 to 4.
    pub fn rating(&self, taste: &Taste, response: &[f64], stream: &mut Stream) -> f64 {
        (2.0 + self.value(taste, response) + self.noise * normal(stream)).round().clamp(0.0, 4.0)
    }

    /// So many comparisons of responses of the base policy.
    pub fn comparisons(&self, taste: &Taste, count: usize, stream: &mut Stream) -> Vec<Comparison> {
        let one = |_| {
            let (first, second) = (taste.response(stream), taste.response(stream));
            self.compare(taste, first, second, stream)
        };
        (0..count).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    fn taste() -> Taste {
        Taste::new(vec![1.0, 1.0, 0.0], vec![]).unwrap()
    }

    #[test]
    fn faults_by_hand() {
        let response = [2.0, 3.0, 4.0];
        let value = |annotator: Annotator| annotator.value(&taste(), &response);
        assert_eq!(value(Annotator::default()), 5.0);
        assert_eq!(value(Annotator { blind: vec![1], ..Annotator::default() }), 2.0);
        assert_eq!(value(Annotator { length_bias: Some((2, 0.5)), ..Annotator::default() }), 7.0);
        assert_eq!(value(Annotator { tilt: vec![-1.0, 1.0], ..Annotator::default() }), 6.0);
        // They do not see the feature, and like it all the same: a blind spot does not touch the group's taste.
        assert_eq!(value(Annotator { blind: vec![0], tilt: vec![1.0], ..Annotator::default() }), 5.0);
    }

    #[test]
    fn comparisons_without_faults_are_those_of_the_gold_reward() {
        let mut stream = Seed(0).stream("pairs", 0);
        let sure = Annotator::default();
        let pair = sure.compare(&taste(), vec![0.0; 3], vec![1.0, 1.0, 0.0], &mut stream);
        // A difference of 2 is much better.
        assert_eq!(pair.chosen, [1.0, 1.0, 0.0]);
        assert_eq!((pair.strength, pair.wrong), (3.0, false));
        let pair = sure.compare(&taste(), vec![0.3, 0.0, 0.0], vec![0.0; 3], &mut stream);
        assert_eq!((pair.strength, pair.wrong), (1.0, false));
        let contrary = Annotator { flips: 1.0, ..Annotator::default() };
        let pair = contrary.compare(&taste(), vec![1.0, 0.0, 0.0], vec![0.0; 3], &mut stream);
        assert_eq!((pair.strength, pair.wrong), (2.0, true));
        assert!(sure.comparisons(&taste(), 200, &mut stream).iter().all(|pair| !pair.wrong));
    }

    #[test]
    fn the_share_of_wrong_labels_is_the_share_of_flips() {
        let mut stream = Seed(1).stream("pairs", 0);
        let annotator = Annotator { flips: 0.25, ..Annotator::default() };
        let pairs = annotator.comparisons(&taste(), 4000, &mut stream);
        let wrong = pairs.iter().filter(|pair| pair.wrong).count() as f64 / 4000.0;
        // Four standard errors of sqrt(0.25 * 0.75 / 4000).
        assert!((wrong - 0.25).abs() < 0.028, "{wrong}");
    }

    #[test]
    fn ratings_stay_on_their_scale() {
        let mut stream = Seed(2).stream("ratings", 0);
        let rating = |gold: f64, stream: &mut Stream| Annotator::default().rating(&taste(), &[gold, 0.0, 0.0], stream);
        for (gold, expected) in [(-9.0, 0.0), (-0.6, 1.0), (0.2, 2.0), (1.0, 3.0), (7.0, 4.0)] {
            assert_eq!(rating(gold, &mut stream), expected, "{gold}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let none = Annotator::default();
        assert!(none.check(3).is_ok() && none.check(0).is_ok());
        for wrong in [
            Annotator { flips: 1.1, ..none.clone() },
            Annotator { flips: f64::NAN, ..none.clone() },
            Annotator { noise: -1.0, ..none.clone() },
            Annotator { blind: vec![3], ..none.clone() },
            Annotator { length_bias: Some((3, 1.0)), ..none.clone() },
            Annotator { tilt: vec![1.0; 4], ..none },
        ] {
            assert!(wrong.check(3).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_blind_spot_changes_nothing(x in prop::collection::vec(-3.0..3.0f64, 3), other in -3.0..3.0f64) {
            let annotator = Annotator { blind: vec![1], ..Annotator::default() };
            let changed = vec![x[0], other, x[2]];
            prop_assert_eq!(annotator.value(&taste(), &x), annotator.value(&taste(), &changed));
        }
    }
}
