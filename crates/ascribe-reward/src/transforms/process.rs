//! Process rewards that cannot be farmed: Clip and Delta, "On Designing Effective RL Reward at Training Time",
//! arXiv:2410.15115.
//!
//! ```text
//! clip:  c_k = min(p_k - eta, 0)
//! delta: d_k = p_k - p_{k+1} for k < K-1,  d_{K-1} = p_{K-1},  d_K = 0      (the last step has the success reward alone)
//!        d_k = p_k - gamma p_{k+1} for k < K,  d_K = p_K                    (with `LastStep::Keeps`)
//! r_k = alpha d_k + [k = K] success
//! ```
//! Both together are clip, then delta. The sum of deltas from a step on is the score of that step, so repeating a step of
//! equal score earns nothing, while raw scores grow with every step. That sum telescopes for gamma = 1; a smaller gamma
//! discounts the next score. Indices at the end are our reading of notes on the paper; eta is best the 0.3 quantile of
//! scores of right training steps, so that most steps get 0.

use ascribe_core::{CoreError, Credit, Episode, Reduce, Scorer};
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::{option, same_length, within};

/// What the last step gets besides the success reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastStep {
    /// Nothing.
    #[default]
    SuccessOnly,
    /// Its own score.
    Keeps,
}

/// Options of [`ClipDelta`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipDeltaConfig {
    /// Scores are cut from above at this; `None` does not clip.
    pub eta: Option<f64>,
    /// Whether each step gets the difference to the next one.
    pub delta: bool,
    /// What the last step gets.
    pub last: LastStep,
    /// Discount of the next score; in (0, 1].
    pub gamma: f64,
    /// Weight of the process reward; finite.
    pub alpha: f64,
    /// Lowest and highest score that the process model may give.
    pub range: [f64; 2],
}

impl Default for ClipDeltaConfig {
    fn default() -> Self {
        Self { eta: None, delta: true, last: LastStep::default(), gamma: 1.0, alpha: 1.0, range: [0.0, 1.0] }
    }
}

impl ClipDeltaConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is outside its range.
    pub fn init(&self) -> Result<ClipDelta, RewardError> {
        if let Some(eta) = self.eta {
            option("eta", "finite", eta, eta.is_finite())?;
        }
        option("gamma", "above 0 and at most 1", self.gamma, 0.0 < self.gamma && self.gamma <= 1.0)?;
        option("alpha", "finite", self.alpha, self.alpha.is_finite())?;
        let [low, high] = self.range;
        option("the highest score", "finite and above the lowest", high, low < high && (high - low).is_finite())?;
        Ok(ClipDelta { config: *self })
    }
}

/// The rule that turns scores of steps into rewards of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipDelta {
    config: ClipDeltaConfig,
}

impl ClipDelta {
    /// Rewards of the steps of one response with these scores and this success reward.
    ///
    /// # Errors
    /// When there is no step, or a score is outside the declared range.
    pub fn rewards(&self, scores: &[f64], success: f64) -> Result<Vec<f64>, RewardError> {
        let ClipDeltaConfig { eta, delta, last, gamma, alpha, range: [low, high] } = self.config;
        crate::error::not_empty("the steps", scores)?;
        within("the score of a step", scores, "inside the declared range", |p| (low..=high).contains(&p))?;
        option("the success reward", "finite", success, success.is_finite())?;
        let clipped: Vec<f64> = scores.iter().map(|p| eta.map_or(*p, |eta| (p - eta).min(0.0))).collect();
        let end = clipped.len() - 1;
        let changed = |k: usize| match last {
            _ if !delta => clipped[k],
            LastStep::Keeps if k == end => clipped[k],
            LastStep::SuccessOnly if k == end => 0.0,
            LastStep::SuccessOnly if k + 1 == end => clipped[k],
            _ => clipped[k] - gamma * clipped[k + 1],
        };
        let mut rewards: Vec<f64> = (0..=end).map(|k| alpha * changed(k)).collect();
        rewards[end] += success;
        Ok(rewards)
    }
}

/// A scorer of steps out of a process scorer and, where there is one, a scorer of success.
///
/// Token credit of the process scorer is read at the last token of each step.
pub struct TamedSteps<'a> {
    /// Scores steps.
    pub process: &'a dyn Scorer,
    /// Scores whole responses.
    pub success: Option<&'a dyn Scorer>,
    /// The rule.
    pub rule: ClipDelta,
}

impl Scorer for TamedSteps<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let process = self.process.score(episodes)?;
        let success: Vec<f32> = match self.success {
            Some(scorer) => {
                let credits = scorer.score(episodes)?;
                same_length("the success rewards", episodes.len(), credits.len())?;
                let pairs = credits.iter().zip(episodes);
                pairs.map(|(credit, episode)| credit.to_sequence(episode, Reduce::Sum)).collect::<Result<_, _>>()?
            }
            None => vec![0.0; episodes.len()],
        };
        same_length("the process scores", episodes.len(), process.len())?;
        let taming = |((credit, episode), success): ((&Credit, &Episode), f32)| -> Result<Credit, CoreError> {
            let scores: Vec<f64> = credit.to_steps(episode, Reduce::Last)?.into_iter().map(f64::from).collect();
            let rewards = self.rule.rewards(&scores, f64::from(success))?;
            Ok(Credit::steps(rewards.into_iter().map(|reward| reward as f32).collect()))
        };
        process.iter().zip(episodes).zip(success).map(taming).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::{CreditAssigner, Evidence, Place, Placed, rule};
    use proptest::prelude::*;

    use super::*;

    const P: [f64; 4] = [0.9, 0.4, 0.8, 0.6];

    fn rewards(config: ClipDeltaConfig, scores: &[f64], success: f64) -> Vec<f64> {
        config.init().unwrap().rewards(scores, success).unwrap()
    }

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-12), "{got:?}");
    }

    #[test]
    fn four_steps_by_hand() {
        let plain = ClipDeltaConfig::default();
        let clip = ClipDeltaConfig { eta: Some(0.7), delta: false, ..plain };
        close(&rewards(clip, &P, 0.0), &[0.0, -0.3, 0.0, -0.1]);
        close(&rewards(plain, &P, 0.0), &[0.5, -0.4, 0.8, 0.0]);
        close(&rewards(plain, &P, 1.0), &[0.5, -0.4, 0.8, 1.0]);
        close(&rewards(ClipDeltaConfig { eta: Some(0.7), ..plain }, &P, 0.0), &[0.3, -0.3, 0.0, 0.0]);
        close(&rewards(ClipDeltaConfig { last: LastStep::Keeps, ..plain }, &P, 0.0), &[0.5, -0.4, 0.2, 0.6]);
        close(&rewards(ClipDeltaConfig { alpha: 2.0, ..plain }, &P, 1.0), &[1.0, -0.8, 1.6, 1.0]);
        // One step: only the success reward.
        close(&rewards(plain, &[0.9], 1.0), &[1.0]);
        // 0.9 - 0.5 * 0.4, 0.4 - 0.5 * 0.8.
        close(&rewards(ClipDeltaConfig { gamma: 0.5, ..plain }, &P, 0.0), &[0.7, 0.0, 0.8, 0.0]);
    }

    #[test]
    fn refinements_of_four_other_scores_by_hand() {
        let scores = [0.95, 0.6, 0.92, 0.4];
        let keeps = ClipDeltaConfig { last: LastStep::Keeps, ..ClipDeltaConfig::default() };
        let both = ClipDeltaConfig { eta: Some(0.9), ..keeps };
        // min(r - 0.9, 0); then each less the next, the last its own.
        close(&rewards(ClipDeltaConfig { delta: false, ..both }, &scores, 0.0), &[0.0, -0.3, 0.0, -0.5]);
        close(&rewards(keeps, &scores, 0.0), &[0.35, -0.32, 0.52, 0.4]);
        close(&rewards(both, &scores, 0.0), &[0.3, -0.3, 0.5, -0.5]);
        // Without a score of its own the last step leaves the one before it whole.
        let drops = ClipDeltaConfig::default();
        close(&rewards(drops, &scores, 0.0), &[0.35, -0.32, 0.92, 0.0]);
        close(&rewards(ClipDeltaConfig { eta: Some(0.9), ..drops }, &scores, 0.0), &[0.3, -0.3, 0.0, 0.0]);
    }

    #[test]
    fn refined_scores_are_credit_of_tokens() {
        let process = crate::transforms::tests::fixed(Credit::steps(vec![0.9, 0.4, 0.8]));
        let episode = Episode::new(&[1], &[2, 3, 4, 5]).with_steps(vec![1..3, 3..4, 4..5]).unwrap();
        let rule = ClipDeltaConfig { last: LastStep::Keeps, ..ClipDeltaConfig::default() }.init().unwrap();
        let tamed = TamedSteps { process: &process, success: None, rule };
        let assigner = Placed { scorer: &tamed, place: Place::LastToken };
        let credit = assigner.assign(&episode, &Evidence::default()).unwrap();
        let paid: Vec<f64> = credit.values().iter().map(|value| f64::from(*value)).collect();
        // What is earned from the first token of a step on is the score of the step.
        let from = |token: usize| paid[token..].iter().sum::<f64>();
        for (token, score) in [(1, 0.9), (2, 0.9), (3, 0.4), (4, 0.8)] {
            assert!((from(token) - score).abs() < 1e-6, "{paid:?}");
        }
    }

    #[test]
    fn padding_pays_with_raw_scores_and_not_with_deltas() {
        let (short, long) = ([0.8, 0.8, 0.5], [0.8, 0.8, 0.8, 0.8, 0.5]);
        assert!(long.iter().sum::<f64>() > short.iter().sum::<f64>() + 1.5);
        let total = |scores: &[f64]| rewards(ClipDeltaConfig::default(), scores, 1.0).iter().sum::<f64>();
        assert!((total(&long) - total(&short)).abs() < 1e-12);
    }

    #[test]
    fn a_scorer_of_steps_and_success() {
        let process = crate::transforms::tests::fixed(Credit::steps(vec![0.9, 0.4]));
        let success = rule(|_: &Episode| 1.0);
        let episode = Episode::new(&[1], &[2, 3, 4]).with_steps(vec![1..3, 3..4]).unwrap();
        let rule = ClipDeltaConfig::default().init().unwrap();
        let tamed = TamedSteps { process: &process, success: Some(&success), rule };
        // Two steps: the first keeps its score, the last has the success reward.
        assert_eq!(tamed.score(std::slice::from_ref(&episode)).unwrap(), [Credit::steps(vec![0.9, 1.0])]);
        let tokens = crate::transforms::tests::fixed(Credit::tokens(vec![0.0, 0.1, 0.9, 0.4]));
        let tamed = TamedSteps { process: &tokens, success: None, rule };
        assert_eq!(tamed.score(&[episode]).unwrap(), [Credit::steps(vec![0.9, 0.0])]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let rule = ClipDeltaConfig::default().init().unwrap();
        assert!(matches!(rule.rewards(&[], 0.0), Err(RewardError::Empty { .. })));
        for wrong in [1.5, -0.1, f64::NAN] {
            assert!(matches!(rule.rewards(&[wrong], 0.0), Err(RewardError::Range { .. })), "{wrong}");
        }
        assert!(rule.rewards(&[0.5], f64::NAN).is_err());
        for gamma in [0.0, 1.5, f64::NAN] {
            assert!(ClipDeltaConfig { gamma, ..ClipDeltaConfig::default() }.init().is_err(), "{gamma}");
        }
        assert!(ClipDeltaConfig { eta: Some(f64::NAN), ..ClipDeltaConfig::default() }.init().is_err());
        assert!(ClipDeltaConfig { range: [1.0, 0.0], ..ClipDeltaConfig::default() }.init().is_err());
    }

    proptest! {
        #[test]
        fn deltas_from_a_step_on_sum_to_its_score(scores in prop::collection::vec(0.0..=1.0f64, 1..8), clip in any::<bool>()) {
            let eta = clip.then_some(0.6);
            let clipped: Vec<f64> = scores.iter().map(|p| if clip { (p - 0.6).min(0.0) } else { *p }).collect();
            let k = scores.len();
            for (last, keeps) in [(LastStep::SuccessOnly, false), (LastStep::Keeps, true)] {
                let got = rewards(ClipDeltaConfig { eta, last, ..ClipDeltaConfig::default() }, &scores, 0.0);
                for from in 0..k {
                    let expected = if from + 1 == k && !keeps { 0.0 } else { clipped[from] };
                    let sum: f64 = got[from..].iter().sum();
                    prop_assert!((sum - expected).abs() < 1e-9, "{from} of {k}: {sum} beside {expected}");
                    prop_assert!(!clip || sum <= 1e-9);
                }
            }
        }

        #[test]
        fn a_low_eta_leaves_success_alone_and_a_high_one_only_shifts(
            scores in prop::collection::vec(0.1..=0.9f64, 1..8), success in 0.0..=1.0f64,
        ) {
            let clip = |eta: f64| ClipDeltaConfig { eta: Some(eta), delta: false, ..ClipDeltaConfig::default() };
            let low = rewards(clip(0.1), &scores, success);
            prop_assert!(low[..low.len() - 1].iter().all(|reward| *reward == 0.0));
            prop_assert!((low[low.len() - 1] - success).abs() < 1e-12);
            let high = rewards(clip(0.9), &scores, 0.0);
            prop_assert!(high.iter().zip(&scores).all(|(reward, score)| (reward - (score - 0.9)).abs() < 1e-12));
        }
    }
}
