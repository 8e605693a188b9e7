//! Scorers made of a scorer: what it says, changed. They nest, because each is a [`Scorer`] again.

mod confidence;
mod log_sigmoid;
mod moments;
mod process;

use ascribe_core::{CoreError, Credit, Episode, Granularity, Scorer};

pub use confidence::{Calibrated, WithoutConfidence, split_confidence, with_confidence};
pub use log_sigmoid::{LogSigmoid, PromptReferences, Reference};
pub use moments::{Moments, RunningNorm, Standard};
pub use process::{ClipDelta, ClipDeltaConfig, LastStep, TamedSteps};

/// A scorer whose values pass through a function; see [`mapped`].
pub struct Mapped<'a, F> {
    scorer: &'a dyn Scorer,
    function: F,
}

/// Changes every value of `scorer` by `function`: a [`Standard`], a clip, a sign, a unit.
///
/// ```
/// use ascribe_core::{Credit, Episode, Scorer, rule};
/// use ascribe_reward::mapped;
/// let length = rule(|episode: &Episode| episode.response_tokens().len() as f32);
/// let clipped = mapped(&length, |reward| reward.clamp(-2.5, 2.5));
/// assert_eq!(clipped.score(&[Episode::new(&[1], &[2, 3, 4])])?, [Credit::sequence(2.5)]);
/// # Ok::<(), ascribe_core::CoreError>(())
/// ```
pub fn mapped<F: Fn(f64) -> f64 + Send + Sync>(scorer: &dyn Scorer, function: F) -> Mapped<'_, F> {
    Mapped { scorer, function }
}

impl<F: Fn(f64) -> f64 + Send + Sync> Scorer for Mapped<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credits = self.scorer.score(episodes)?;
        Ok(credits.iter().map(|credit| change(credit, &self.function)).collect())
    }
}

/// Values at a granularity.
pub(crate) fn credit(granularity: Granularity, values: Vec<f32>) -> Credit {
    match granularity {
        Granularity::Sequence => Credit::sequence(values.first().copied().unwrap_or(f32::NAN)),
        Granularity::Turn => Credit::turns(values),
        Granularity::Step => Credit::steps(values),
        Granularity::Token => Credit::tokens(values),
    }
}

/// Places of the values that count: of credit by token, those of the response.
pub(crate) fn counted(credit: &Credit, episode: &Episode) -> Vec<usize> {
    let n = credit.values().len();
    match credit.granularity() {
        Granularity::Token => episode.response.positions().filter(|at| *at < n).collect(),
        _ => (0..n).collect(),
    }
}

/// `old` with every value changed.
pub(crate) fn change(old: &Credit, function: impl Fn(f64) -> f64) -> Credit {
    credit(old.granularity(), old.values().iter().map(|value| function(f64::from(*value)) as f32).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Gives every episode the same credit.
    pub(crate) struct Fixed(Credit);

    pub(crate) fn fixed(credit: Credit) -> Fixed {
        Fixed(credit)
    }

    impl Scorer for Fixed {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(vec![self.0.clone(); episodes.len()])
        }
    }

    #[test]
    fn every_value_is_changed_at_its_granularity() {
        for credit in [Credit::sequence(1.0), Credit::turns(vec![1.0, 2.0]), Credit::tokens(vec![0.0, 3.0])] {
            let doubled = mapped(&fixed(credit.clone()), |x| 2.0 * x).score(&[Episode::new(&[1], &[2])]).unwrap();
            assert_eq!(doubled[0].granularity(), credit.granularity());
            let expected: Vec<f32> = credit.values().iter().map(|x| 2.0 * x).collect();
            assert_eq!(doubled[0].values(), expected);
        }
    }
}
