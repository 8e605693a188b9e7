//! Several rewards as one, besides their sum: an ensemble, rewards as the chance to be good, refined scores of steps beside
//! success, or rewards moved by a stated confidence.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe::core::{CoreError, Credit, Episode, Reduce, Scorer, Tokens};
use ascribe::eval::calibrate::PpoC;
use ascribe::preference::rl::credits;
use ascribe::reward::{Aggregate, Calibrated, ClipDelta, Reference, RewardError, TamedSteps};

/// Rewards of whole responses; a NaN is none.
pub(super) fn scores_of(scorer: &dyn Scorer, episodes: &[Episode]) -> Result<Vec<f64>, CoreError> {
    let reward = |(credit, episode): (&Credit, &Episode)| credit.to_sequence(episode, Reduce::Sum).map(f64::from);
    credits(scorer, episodes)?.iter().zip(episodes).map(reward).collect()
}

/// An ensemble of rewards; a response that one of them has no reward for has none.
pub struct Combined {
    pub members: Vec<Box<dyn Scorer>>,
    pub aggregate: Aggregate,
}

impl Scorer for Combined {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let members: Vec<Vec<f64>> =
            self.members.iter().map(|member| scores_of(&**member, episodes)).collect::<Result<_, _>>()?;
        let one = |at: usize| -> Result<Credit, CoreError> {
            let rewards: Vec<f64> = members.iter().map(|rewards| rewards[at]).collect();
            let none = rewards.iter().any(|reward| reward.is_nan());
            Ok(Credit::sequence(if none { f32::NAN } else { self.aggregate.of(&rewards)? as f32 }))
        };
        (0..episodes.len()).map(one).collect()
    }
}

/// `log sigmoid(reward - centre)`, arXiv:2402.00742: a sum of several is a logical AND.
pub struct LogSigmoidOf {
    pub scorer: Box<dyn Scorer>,
    pub centre: Reference,
}

impl Scorer for LogSigmoidOf {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let log_sigmoid = |x: f64| x.min(0.0) - (-x.abs()).exp().ln_1p();
        let centre = |episode: &Episode| match &self.centre {
            Reference::Global(centre) => *centre,
            Reference::PerPrompt(references) => references.of(&Tokens::from(episode.prompt_tokens())),
        };
        let one = |(reward, episode): (f64, &Episode)| match reward.is_nan() {
            true => Credit::sequence(f32::NAN),
            false => Credit::sequence(log_sigmoid(reward - centre(episode)) as f32),
        };
        Ok(scores_of(&*self.scorer, episodes)?.into_iter().zip(episodes).map(one).collect())
    }
}

/// Refined scores of steps, and success at the last one. Responses that were not cut into steps are judged by their success
/// alone.
pub struct Refined {
    pub process: Box<dyn Scorer>,
    pub success: Box<dyn Scorer>,
    pub rule: ClipDelta,
}

impl Scorer for Refined {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        if episodes.iter().all(|episode| episode.steps.is_empty()) {
            return self.success.score(episodes);
        }
        TamedSteps { process: &*self.process, success: Some(&*self.success), rule: self.rule }.score(episodes)
    }
}

/// A reward moved by the confidence that a response states: PPO-C, arXiv:2410.09724. Its running mean waits in checkpoints.
pub struct Confident {
    scorer: Box<dyn Scorer>,
    rule: PpoC,
    weight: f64,
    rate: f64,
    mean: Mutex<f64>,
}

impl Confident {
    /// Moves the rewards of `scorer` by `rule` with `weight`; a batch counts for `rate` in the running mean, which starts at `mean`.
    pub fn new(scorer: Box<dyn Scorer>, rule: PpoC, [weight, rate, mean]: [f64; 3]) -> Result<Self, RewardError> {
        Calibrated::new(&*scorer, rule, weight, mean)?.with_rate(rate)?;
        Ok(Self { scorer, rule, weight, rate, mean: Mutex::new(mean) })
    }

    fn state(&self) -> MutexGuard<'_, f64> {
        // A number is whole at every moment.
        self.mean.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scorer for Confident {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut mean = self.state();
        let calibrated = Calibrated::new(&*self.scorer, self.rule, self.weight, *mean)?.with_rate(self.rate)?;
        let credits = calibrated.score(episodes)?;
        *mean = calibrated.mean();
        Ok(credits)
    }

    fn memory(&self) -> Vec<f64> {
        vec![*self.state()]
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        let [mean] = memory else {
            let rule = "rewards by confidence remember one number";
            return Err(CoreError::Shape { rule, got: format!("{}", memory.len()) });
        };
        *self.state() = *mean;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::rule;
    use ascribe::reward::{ClipDeltaConfig, PromptReferences};

    use super::*;

    /// The last token of the response is its reward; 0 has none.
    fn last(factor: f32) -> Box<dyn Scorer> {
        Box::new(rule(move |episode: &Episode| match episode.tokens[episode.tokens.len() - 1] {
            0 => f32::NAN,
            token => factor * token as f32,
        }))
    }

    fn scores(scorer: &dyn Scorer) -> Vec<f32> {
        let episodes = [3, 2, 0].map(|token| Episode::new(&[7], &[token]));
        scorer.score(&episodes).unwrap().iter().map(|credit| credit.values()[0]).collect()
    }

    #[test]
    fn rewards_become_one() {
        let combined = |aggregate| scores(&Combined { members: vec![last(1.0), last(3.0)], aggregate });
        let [min, mean] = [Aggregate::Min, Aggregate::Mean].map(combined);
        assert!(min[..2] == [3.0, 2.0] && min[2].is_nan(), "{min:?}");
        assert!(mean[..2] == [6.0, 4.0] && mean[2].is_nan(), "{mean:?}");
        // Variances 18 and 8 with one member less.
        let uwo = combined(Aggregate::MeanMinusVariance { lambda: 0.5, ddof: 1 });
        assert_eq!(uwo[..2], [-3.0, 0.0]);
    }

    /// Scores every step one half.
    struct Half;

    impl Scorer for Half {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(episodes.iter().map(|episode| Credit::steps(vec![0.5; episode.steps.len()])).collect())
        }
    }

    #[test]
    fn refined_steps_by_hand() {
        let rule = ClipDeltaConfig { eta: Some(0.75), delta: false, alpha: 2.0, ..ClipDeltaConfig::default() };
        let refined = Refined { process: Box::new(Half), success: last(1.0), rule: rule.init().unwrap() };
        let cut = Episode::new(&[7], &[1, 3]).with_steps(vec![1..2, 2..3]).unwrap();
        // Each step misses a quarter, twice; the last one is paid 3 for success.
        assert_eq!(refined.score(std::slice::from_ref(&cut)).unwrap(), [Credit::steps(vec![-0.5, 2.5])]);
        assert_eq!(scores(&refined)[..2], [3.0, 2.0]);
    }

    #[test]
    fn a_confidence_moves_a_reward_and_the_mean_goes_on() {
        // One token a text, and each is worth its number of tokens, 1, without the one that states the confidence.
        let worth: Box<dyn Scorer> = Box::new(rule(|episode: &Episode| episode.response_tokens().len() as f32));
        let confident = Confident::new(worth, PpoC::Difference, [2.0, 0.5, 0.0]).unwrap();
        let said = |text: &str| {
            let whole = format!("Q?A{text}");
            let spans = vec![0..2, 2..3, 3..whole.len()];
            let text = ascribe::core::Text { text: whole, spans };
            Episode::new(&[1], &[2, 3]).with_text(text).unwrap()
        };
        let score = |text: &str| confident.score(&[said(text)]).unwrap()[0].values()[0];
        // The mean becomes 1/2, so 1 + 2 (1 - 1/2) (1 - 1/2), and then 3/4.
        assert!((score(" Confidence: 10") - 1.5).abs() < 1e-6);
        assert_eq!(confident.memory(), [0.5]);
        assert!((score(" Confidence: 10") - 1.25).abs() < 1e-6);
        confident.remember(&[0.0]).unwrap();
        assert!((score(" Confidence: 10") - 1.5).abs() < 1e-6);
        assert!(confident.remember(&[]).is_err());
        let wrong = |numbers| Confident::new(last(1.0), PpoC::Threshold, numbers).is_err();
        assert!(wrong([-1.0, 0.1, 0.0]) && wrong([1.0, 1.1, 0.0]) && wrong([1.0, 0.1, f64::NAN]));
    }

    #[test]
    fn a_log_sigmoid_by_hand() {
        // ln sigmoid(0.5) and ln sigmoid(-0.5).
        let got = scores(&LogSigmoidOf { scorer: last(1.0), centre: Reference::Global(2.5) });
        assert!((got[0] + 0.474077).abs() < 1e-6 && (got[1] + 0.974077).abs() < 1e-6 && got[2].is_nan(), "{got:?}");
        // The prompt of all is 7, whose two samples have the mean 2.5.
        let samples = [(Tokens::from(vec![7u32]), vec![2.0, 3.0])];
        let centre = Reference::PerPrompt(PromptReferences::quantile(&samples, 0.5).unwrap());
        assert_eq!(scores(&LogSigmoidOf { scorer: last(1.0), centre })[..2], got[..2]);
        // Far off it neither overflows nor vanishes.
        let far = scores(&LogSigmoidOf { scorer: last(1e6), centre: Reference::Global(2.5e6) });
        assert!(far[0] == 0.0 && (far[1] + 5e5).abs() < 1.0, "{far:?}");
    }
}
