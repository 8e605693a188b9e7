//! Several rewards for one: "Reward Model Ensembles Help Mitigate Overoptimization", arXiv:2310.02743; "Helping or Herding?",
//! arXiv:2312.09244.
//!
//! ```text
//! mean;  median (mean of the two middle values);  WCO = min_m r_m;  UWO = mean - lambda var;  mean - c std
//! ```
//! The variance divides by M - `ddof`: 0 is the convention of the code for best-of-n, 1 that of its PPO. Members that were
//! trained apart are standardised first ([`Standard`]), or the one with the widest scale decides alone. Bradley-Terry leaves
//! a constant of each prompt free, and order statistics see it: train members with the centring term, or let
//! [`Ensemble::centred_by_prompt`] subtract each member's mean over the candidates of a prompt. Defaults of the papers: 5
//! members, lambda 0.5 for best-of-n and 0.1 for PPO. Members that also share their pretraining agree in their errors, so an
//! ensemble of them helps less; none removes an error that all members share.

use std::collections::HashMap;

use ascribe_core::{CoreError, Credit, Episode, Scorer};
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length};
use crate::math::{mean, quantile, variance};
use crate::transforms::{Standard, counted, credit};

/// How the rewards of the members become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The mean.
    #[default]
    Mean,
    /// The middle value.
    Median,
    /// Worst-case optimization: the smallest.
    Min,
    /// Uncertainty-weighted optimization: the mean less `lambda` variances.
    MeanMinusVariance {
        /// Weight of the variance; finite and at least 0.
        lambda: f64,
        /// Subtracted from M in the variance.
        ddof: usize,
    },
    /// The mean less `c` standard deviations.
    MeanMinusStd {
        /// Weight of the standard deviation; finite and at least 0.
        c: f64,
        /// Subtracted from M in the variance.
        ddof: usize,
    },
}

impl Aggregate {
    /// Uncertainty-weighted optimization with the variance divided by M.
    pub fn uwo(lambda: f64) -> Self {
        Self::MeanMinusVariance { lambda, ddof: 0 }
    }

    /// Checks the options for `members` members.
    ///
    /// # Errors
    /// Without a member, when a weight is not finite or below 0, or the variance is divided by 0.
    pub fn check(self, members: usize) -> Result<(), RewardError> {
        option("members", "at least 1", members as f64, members >= 1)?;
        if let Self::MeanMinusVariance { lambda: weight, ddof } | Self::MeanMinusStd { c: weight, ddof } = self {
            option("the weight of the spread", "finite and at least 0", weight, 0.0 <= weight && weight.is_finite())?;
            option("ddof", "below the number of members", ddof as f64, ddof < members)?;
        }
        Ok(())
    }

    /// The reward of one response from those of the members.
    ///
    /// # Errors
    /// As [`check`](Self::check), and when a reward is NaN or infinite.
    pub fn of(self, rewards: &[f64]) -> Result<f64, RewardError> {
        self.check(rewards.len())?;
        finite("the rewards of the members", rewards)?;
        Ok(match self {
            Self::Mean => mean(rewards),
            Self::Median => quantile(rewards, 0.5),
            Self::Min => rewards.iter().copied().fold(f64::INFINITY, f64::min),
            Self::MeanMinusVariance { lambda, ddof } => mean(rewards) - lambda * variance(rewards, ddof),
            Self::MeanMinusStd { c, ddof } => mean(rewards) - c * variance(rewards, ddof).sqrt(),
        })
    }
}

/// A scorer of several scorers. Their credit must have the same granularity; it is aggregated value by value.
pub struct Ensemble<'a> {
    members: Vec<&'a dyn Scorer>,
    aggregate: Aggregate,
    standards: Vec<Standard>,
    centred: bool,
}

impl<'a> Ensemble<'a> {
    /// An ensemble of `members` as they are.
    ///
    /// # Errors
    /// As [`Aggregate::check`].
    pub fn new(members: Vec<&'a dyn Scorer>, aggregate: Aggregate) -> Result<Self, RewardError> {
        aggregate.check(members.len())?;
        let standards = vec![Standard::NONE; members.len()];
        Ok(Self { members, aggregate, standards, centred: false })
    }

    /// The same with each member brought to its own scale first.
    ///
    /// # Errors
    /// When there is not one standard a member.
    pub fn standardized(mut self, standards: Vec<Standard>) -> Result<Self, RewardError> {
        same_length("the standards", self.members.len(), standards.len())?;
        self.standards = standards;
        Ok(self)
    }

    /// The same with each member's mean over the candidates of a prompt subtracted. Then a reward depends on the other
    /// candidates of its prompt in the call: score all of them at once.
    pub fn centred_by_prompt(mut self) -> Self {
        self.centred = true;
        self
    }

    /// Values of each member, standardised and centred: by member, episode and place.
    fn values(&self, episodes: &[Episode], credits: &[Vec<Credit>]) -> Vec<Vec<Vec<f64>>> {
        let standard = |(credits, standard): (&Vec<Credit>, &Standard)| -> Vec<Vec<f64>> {
            let apply = |value: &f32| standard.apply(f64::from(*value));
            credits.iter().map(|credit| credit.values().iter().map(apply).collect()).collect()
        };
        let mut members: Vec<Vec<Vec<f64>>> = credits.iter().zip(&self.standards).map(standard).collect();
        if self.centred {
            let mut prompts: HashMap<&[u32], Vec<usize>> = HashMap::new();
            for (at, episode) in episodes.iter().enumerate() {
                prompts.entry(episode.prompt_tokens()).or_default().push(at);
            }
            let places: Vec<Vec<usize>> =
                credits[0].iter().zip(episodes).map(|(credit, episode)| counted(credit, episode)).collect();
            for member in &mut members {
                for rows in prompts.values() {
                    let own = &*member;
                    let all = rows.iter().flat_map(|&row| places[row].iter().map(move |&at| own[row][at]));
                    let all: Vec<f64> = all.collect();
                    let centre = mean(&all);
                    rows.iter().for_each(|row| member[*row].iter_mut().for_each(|value| *value -= centre));
                }
            }
        }
        members
    }
}

impl Scorer for Ensemble<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credits = self.members.iter().map(|member| member.score(episodes)).collect::<Result<Vec<_>, _>>()?;
        same_credit(episodes, &credits)?;
        let members = self.values(episodes, &credits);
        let mut scores = Vec::with_capacity(episodes.len());
        for (row, first) in credits[0].iter().enumerate() {
            let places = 0..first.values().len();
            let one = |place: usize| -> Result<f32, RewardError> {
                let rewards: Vec<f64> = members.iter().map(|member| member[row][place]).collect();
                Ok(self.aggregate.of(&rewards)? as f32)
            };
            scores.push(credit(first.granularity(), places.map(one).collect::<Result<_, _>>()?));
        }
        Ok(scores)
    }
}

/// Checks that all members speak of the same things.
pub(crate) fn same_credit(episodes: &[Episode], credits: &[Vec<Credit>]) -> Result<(), RewardError> {
    not_empty("the members", credits)?;
    for member in credits {
        same_length("the credit of a member", episodes.len(), member.len())?;
        for (own, first) in member.iter().zip(&credits[0]) {
            let shape = |credit: &Credit| (credit.granularity(), credit.values().len());
            if shape(own) != shape(first) {
                let rule = "members must give credit of the same granularity and length";
                let got = format!("{:?} beside {:?}", shape(own), shape(first));
                return Err(RewardError::Shape { rule, got });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;
    use proptest::prelude::*;

    use super::*;
    use crate::transforms::tests::fixed;

    fn all(lambda: f64, c: f64) -> [Aggregate; 5] {
        let std = Aggregate::MeanMinusStd { c, ddof: 0 };
        [Aggregate::Mean, Aggregate::Median, Aggregate::Min, Aggregate::uwo(lambda), std]
    }

    /// Of 1, 2, 4: mean 7/3, variance 14/9 or 7/3.
    #[test]
    fn three_members_by_hand() {
        let of = |aggregate: Aggregate| aggregate.of(&[1.0, 2.0, 4.0]).unwrap();
        for (aggregate, expected) in [
            (Aggregate::Mean, 2.333333),
            (Aggregate::Median, 2.0),
            (Aggregate::Min, 1.0),
            (Aggregate::uwo(0.5), 1.555556),
            (Aggregate::MeanMinusVariance { lambda: 0.5, ddof: 1 }, 1.166667),
            (Aggregate::MeanMinusStd { c: 1.0, ddof: 0 }, 1.086114),
        ] {
            assert!((of(aggregate) - expected).abs() < 1e-6, "{aggregate:?}");
        }
        // The two middle ones of an even number.
        assert_eq!(Aggregate::Median.of(&[4.0, 1.0, 2.0, 9.0]).unwrap(), 3.0);
    }

    #[test]
    fn members_are_brought_to_one_scale() {
        let length = rule(|episode: &Episode| episode.response_tokens().len() as f32);
        let wide = rule(|episode: &Episode| -100.0 * episode.response_tokens().len() as f32);
        let episodes = [Episode::new(&[1], &[2]), Episode::new(&[1], &[2, 3, 4])];
        let standards = vec![Standard { mean: 2.0, std: 1.0 }, Standard { mean: -200.0, std: 100.0 }];
        let ensemble = Ensemble::new(vec![&length, &wide], Aggregate::Mean).unwrap();
        assert_eq!(ensemble.score(&episodes).unwrap()[0], Credit::sequence(-49.5));
        // -1 and 1 cancel.
        let ensemble = ensemble.standardized(standards).unwrap();
        assert_eq!(ensemble.score(&episodes).unwrap(), [Credit::sequence(0.0), Credit::sequence(0.0)]);
        // Centred over both candidates, the members say -1, 1 and 100, -100: the smaller one of each.
        let ensemble = Ensemble::new(vec![&length, &wide], Aggregate::Min).unwrap().centred_by_prompt();
        assert_eq!(ensemble.score(&episodes).unwrap(), [Credit::sequence(-1.0), Credit::sequence(-100.0)]);
        // Of tokens, those of the response: 1 and 3, whatever stands at the prompt.
        let tokens = fixed(Credit::tokens(vec![9.0, 1.0, 3.0]));
        let ensemble = Ensemble::new(vec![&tokens], Aggregate::Mean).unwrap().centred_by_prompt();
        assert_eq!(ensemble.score(&[Episode::new(&[1], &[2, 3])]).unwrap()[0].values()[1..], [-1.0, 1.0]);
    }

    #[test]
    fn an_ensemble_of_steps_is_aggregated_step_by_step() {
        let (first, second) = (fixed(Credit::steps(vec![0.5, 1.0])), fixed(Credit::steps(vec![1.0, 0.0])));
        let ensemble = Ensemble::new(vec![&first, &second], Aggregate::Min).unwrap();
        assert_eq!(ensemble.score(&[Episode::new(&[1], &[2])]).unwrap(), [Credit::steps(vec![0.5, 0.0])]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Ensemble::new(vec![], Aggregate::Mean).is_err(), "no member");
        let one = fixed(Credit::sequence(1.0));
        assert!(Ensemble::new(vec![&one], Aggregate::MeanMinusVariance { lambda: 0.5, ddof: 1 }).is_err(), "ddof");
        assert!(Ensemble::new(vec![&one], Aggregate::uwo(f64::NAN)).is_err());
        assert!(Ensemble::new(vec![&one], Aggregate::MeanMinusStd { c: -1.0, ddof: 0 }).is_err());
        assert!(Ensemble::new(vec![&one], Aggregate::Mean).unwrap().standardized(vec![]).is_err());
        let steps = fixed(Credit::steps(vec![1.0]));
        let mixed = Ensemble::new(vec![&one, &steps], Aggregate::Mean).unwrap();
        assert!(mixed.score(&[Episode::new(&[1], &[2])]).is_err(), "another granularity");
        let nothing = fixed(Credit::sequence(f32::NAN));
        assert!(Ensemble::new(vec![&nothing], Aggregate::Mean).unwrap().score(&[Episode::new(&[1], &[2])]).is_err());
        assert!(matches!(Aggregate::Mean.of(&[]), Err(RewardError::Range { .. })));
    }

    proptest! {
        #[test]
        fn an_ensemble_of_one_equals_the_model(reward in -5.0..5.0f64) {
            for aggregate in all(0.5, 1.0) {
                prop_assert_eq!(aggregate.of(&[reward]).unwrap(), reward);
            }
        }

        #[test]
        fn equal_members_give_their_value(reward in -5.0..5.0f64, members in 1usize..7) {
            for aggregate in all(0.5, 1.0) {
                prop_assert!((aggregate.of(&vec![reward; members]).unwrap() - reward).abs() < 1e-9);
            }
        }

        #[test]
        fn the_worst_case_is_below_the_mean_and_the_mean_below_the_best(rewards in prop::collection::vec(-5.0..5.0f64, 1..7)) {
            let [middle, median, worst, ..] = all(0.0, 0.0).map(|aggregate| aggregate.of(&rewards).unwrap());
            let best = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(worst <= middle + 1e-12 && middle <= best + 1e-12 && worst <= median && median <= best);
        }

        #[test]
        fn without_a_weight_the_spread_counts_nothing(rewards in prop::collection::vec(-5.0..5.0f64, 1..7)) {
            let [middle, _, _, uwo, std] = all(0.0, 0.0).map(|aggregate| aggregate.of(&rewards).unwrap());
            prop_assert!(middle == uwo && middle == std);
        }

        #[test]
        fn uwo_never_rises_with_lambda(rewards in prop::collection::vec(-5.0..5.0f64, 1..7), low in 0.0..2.0f64, more in 0.0..2.0f64) {
            let of = |lambda: f64| Aggregate::uwo(lambda).of(&rewards).unwrap();
            prop_assert!(of(low + more) <= of(low) + 1e-12);
        }

        #[test]
        fn the_order_of_the_members_changes_nothing(rewards in prop::collection::vec(-5.0..5.0f64, 1..7)) {
            let mut turned = rewards.clone();
            turned.reverse();
            for aggregate in all(0.5, 1.0) {
                prop_assert!((aggregate.of(&rewards).unwrap() - aggregate.of(&turned).unwrap()).abs() < 1e-9);
            }
        }
    }
}
