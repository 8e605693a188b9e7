//! One score out of the scores of the steps.
//!
//! ```text
//! prod = exp sum log p (0 where a p is 0)      geometric mean = prod^(1/H)      sum of logits = sum log(p / (1 - p))
//! ```
//! Logits and logarithms take p from [1e-6, 1 - 1e-6]. `last` is what a search over partial solutions wants, `min` and `prod`
//! what finds one fatal step; the mean hides it, and products and sums favour short chains.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ProcessError;

/// Keeps logits and logarithms finite.
const EDGE: f64 = 1e-6;

/// How step scores become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// The smallest.
    Min,
    /// The product.
    Prod,
    /// The last.
    #[default]
    Last,
    /// The mean.
    Mean,
    /// The geometric mean.
    GeoMean,
    /// The largest.
    Max,
    /// The sum of the logits.
    SumLogit,
    /// The sum of the logarithms.
    SumLog,
}

impl Aggregate {
    /// Every way, with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("min", Self::Min),
        ("prod", Self::Prod),
        ("last", Self::Last),
        ("mean", Self::Mean),
        ("geo-mean", Self::GeoMean),
        ("max", Self::Max),
        ("sum-logit", Self::SumLogit),
        ("sum-log", Self::SumLog),
    ];

    /// The score of a response from the scores of its steps, each in [0, 1].
    ///
    /// # Errors
    /// When there is no step, or a score is not in [0, 1].
    pub fn of(self, scores: &[f64]) -> Result<f64, ProcessError> {
        let last = *scores.last().ok_or(ProcessError::Empty { what: "the step scores", remedy: "cut the response" })?;
        if let Some(score) = scores.iter().find(|score| !(0.0..=1.0).contains(*score)) {
            return Err(ProcessError::range("a step score", "in [0, 1]", score));
        }
        let count = scores.len() as f64;
        let logs = || scores.iter().map(|score| score.ln()).sum::<f64>();
        let logit = |score: &f64| {
            let score = score.clamp(EDGE, 1.0 - EDGE);
            score.ln() - (-score).ln_1p()
        };
        Ok(match self {
            Self::Min => scores.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Prod => logs().exp(),
            Self::Last => last,
            Self::Mean => scores.iter().sum::<f64>() / count,
            Self::GeoMean => (logs() / count).exp(),
            Self::Max => scores.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::SumLogit => scores.iter().map(logit).sum(),
            Self::SumLog => scores.iter().map(|score| score.max(EDGE).ln()).sum(),
        })
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, known)| known == self);
        f.write_str(name.map_or("", |(name, _)| *name))
    }
}

impl FromStr for Aggregate {
    type Err = ProcessError;
    fn from_str(text: &str) -> Result<Self, ProcessError> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        let rule = "min, prod, last, mean, geo-mean, max, sum-logit or sum-log";
        known.map(|(_, aggregate)| *aggregate).ok_or_else(|| ProcessError::range("an aggregation", rule, text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(aggregate: Aggregate, scores: &[f64]) -> f64 {
        aggregate.of(scores).unwrap()
    }

    #[test]
    fn aggregations_worked_by_hand() {
        // .9 * .8 * .5 = .36; its cube root; 2.2 / 3; ln 9 + ln 4 + ln 1.
        let expected = [0.5, 0.36, 0.5, 2.2 / 3.0, 0.711_379, 0.9, 36.0_f64.ln(), 0.36_f64.ln()];
        for ((name, aggregate), expected) in Aggregate::ALL.into_iter().zip(expected) {
            assert!((of(aggregate, &[0.9, 0.8, 0.5]) - expected).abs() < 1e-6, "{name}");
            assert_eq!((name.parse::<Aggregate>().unwrap(), aggregate.to_string().as_str()), (aggregate, name));
        }
        assert!((of(Aggregate::SumLogit, &[0.9, 0.8, 0.5]) - 3.583_519).abs() < 1e-6);
        assert_eq!(of(Aggregate::Prod, &[0.0, 0.5]), 0.0);
        assert!("average".parse::<Aggregate>().is_err());
    }

    #[test]
    fn what_is_no_score_is_refused() {
        for (_, aggregate) in Aggregate::ALL {
            for scores in [&[][..], &[f64::NAN], &[-0.1], &[1.1], &[0.5, f64::INFINITY]] {
                assert!(aggregate.of(scores).is_err(), "{aggregate} of {scores:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn aggregations_are_ordered(scores in prop::collection::vec(0.0..=1.0f64, 1..9)) {
            let order = [Aggregate::Prod, Aggregate::Min, Aggregate::GeoMean, Aggregate::Mean, Aggregate::Max];
            let values = order.map(|aggregate| of(aggregate, &scores));
            prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12), "{values:?}");
        }

        #[test]
        fn one_step_is_its_own_score(score in 0.0..=1.0f64) {
            for aggregate in [Aggregate::Min, Aggregate::Prod, Aggregate::Last, Aggregate::Mean, Aggregate::GeoMean, Aggregate::Max] {
                prop_assert!((of(aggregate, &[score]) - score).abs() < 1e-12);
            }
            let sigmoid = 1.0 / (1.0 + (-of(Aggregate::SumLogit, &[score])).exp());
            prop_assert!((sigmoid - score.clamp(EDGE, 1.0 - EDGE)).abs() < 1e-9);
        }

        #[test]
        fn a_step_of_one_keeps_min_and_prod(scores in prop::collection::vec(0.0..=1.0f64, 1..9)) {
            let more = [&scores[..], &[1.0]].concat();
            for aggregate in [Aggregate::Min, Aggregate::Prod] {
                prop_assert!((of(aggregate, &scores) - of(aggregate, &more)).abs() < 1e-12);
            }
        }

        #[test]
        fn only_last_looks_at_the_order(scores in prop::collection::vec(0.0..=1.0f64, 1..9)) {
            let back: Vec<f64> = scores.iter().rev().copied().collect();
            for (name, aggregate) in Aggregate::ALL.into_iter().filter(|(_, aggregate)| *aggregate != Aggregate::Last) {
                prop_assert!((of(aggregate, &scores) - of(aggregate, &back)).abs() < 1e-9, "{}", name);
            }
        }

        #[test]
        fn a_better_step_is_never_worse(
            scores in prop::collection::vec(0.0..=1.0f64, 1..9), at in any::<prop::sample::Index>(), more in 0.0..=1.0f64,
        ) {
            let mut better = scores.clone();
            let at = at.index(scores.len());
            better[at] = better[at].max(more);
            for (name, aggregate) in Aggregate::ALL {
                prop_assert!(of(aggregate, &scores) <= of(aggregate, &better) + 1e-12, "{}", name);
            }
        }

        #[test]
        fn product_and_sum_of_logarithms_rank_alike(
            one in prop::collection::vec(1e-6..=1.0f64, 1..9), other in prop::collection::vec(1e-6..=1.0f64, 1..9),
        ) {
            let by_prod = of(Aggregate::Prod, &one) - of(Aggregate::Prod, &other);
            let by_log = of(Aggregate::SumLog, &one) - of(Aggregate::SumLog, &other);
            prop_assert!(by_prod * by_log >= -1e-12);
        }
    }
}
