//! Options of rollouts: how they are written, what becomes of their scores, and how long they are used.

use ascribe_core::tensor::KlEstimator;
use ascribe_core::{CoreError, Sampling, Seed};

use super::{AdaptiveKl, Correction, LengthPenalty, SecondAttempt, Segmentation, Stage};

/// Where a penalty for leaving the reference is put, when it is part of the reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KlPlace {
    /// On each token (PPO).
    Tokens,
    /// On the score (RLOO).
    Score,
}

/// A penalty for leaving the reference as a part of the reward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlReward {
    /// Its strength, in the beginning where it follows the divergence.
    pub coef: f64,
    /// How the divergence is estimated.
    pub estimator: KlEstimator,
    /// Where it is put.
    pub place: KlPlace,
    /// Follows the divergence.
    pub adaptive: Option<AdaptiveKl>,
}

/// What becomes of groups in which no two scores differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadGroups {
    /// They are trained on: without advantages, but with the pull to the reference.
    #[default]
    Keep,
    /// They are left out, unless all are dead.
    Mask,
}

/// When the steps on a generation end before all are made, because the policy has gone too far from the one that wrote it:
/// PPO's early stopping. A step that goes too far is the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EarlyStop {
    /// Most nats a token between the two, as `approx_kl` of the log.
    pub approx_kl: Option<f64>,
    /// Largest share of tokens whose ratio was cut, as `clip_ratio/low` and `clip_ratio/high` of the log together.
    pub clip_fraction: Option<f64>,
}

impl EarlyStop {
    /// Checks the bounds, with so many steps on a generation.
    ///
    /// # Errors
    /// When a bound is not finite and above 0, or there is one step alone.
    pub fn check(&self, steps: usize) -> Result<(), CoreError> {
        for (name, bound) in [("stop_kl", self.approx_kl), ("stop_clip_fraction", self.clip_fraction)] {
            let Some(got) = bound else { continue };
            if !(got > 0.0 && got.is_finite()) {
                return Err(CoreError::Range { name, rule: "finite and above 0", got });
            }
            if steps < 2 {
                let rule =
                    "left out where one step alone is made on a generation (num_iterations, steps_per_generation)";
                return Err(CoreError::Range { name, rule, got });
            }
        }
        Ok(())
    }

    /// Whether a step with these statistics is the last one on its generation.
    pub(super) fn says(&self, stats: &[(String, f64)]) -> bool {
        let stat = |name: &str| stats.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let clipped = stat("clip_ratio/low").unwrap_or(0.0) + stat("clip_ratio/high").unwrap_or(0.0);
        let above = |value: f64, bound: Option<f64>| bound.is_some_and(|bound| value > bound);
        above(stat("approx_kl").unwrap_or(0.0), self.approx_kl) || above(clipped, self.clip_fraction)
    }
}

/// Options of rollouts.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutConfig {
    /// Prompts of a generation.
    pub prompts: usize,
    /// Responses to each prompt.
    pub num_generations: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Temperature of the log-probabilities that are learned from, finite and above 0; `None` is that of `sampling`, as ratios to
    /// what was drawn need it. What imitates alone has no ratio and takes 1, as supervised fine-tuning does.
    pub fit_temperature: Option<f64>,
    /// Most tokens of a response.
    pub max_completion_length: usize,
    /// Tokens that end a response.
    pub ends: Vec<u32>,
    /// Most tokens of prompt and response together.
    pub context: usize,
    /// Optimizer steps that share the responses of a generation among them.
    pub steps_per_generation: usize,
    /// Passes over a generation.
    pub num_iterations: usize,
    /// When the steps on a generation end before all are made.
    pub early_stop: EarlyStop,
    /// Generations in the beginning from which the values alone learn.
    pub critic_warmup: usize,
    /// Responses that go through the model at once, outside of training.
    pub batch: usize,
    /// A penalty for leaving the reference as a part of the reward.
    pub kl_reward: Option<KlReward>,
    /// Scores are brought to mean 0 and variance 1 by all scores so far, those of the generation included, before all else.
    pub normalize_rewards: bool,
    /// Gain and bias of scores, behind penalties for length: `gain score + bias`. Rewards of parts have the gain.
    pub reward_scale: (f64, f64),
    /// Scores are cut to this range at last.
    pub reward_clip: Option<(f64, f64)>,
    /// Rewards of tokens are whitened, their mean kept.
    pub whiten_rewards: bool,
    /// Penalties for length.
    pub length: LengthPenalty,
    /// Responses that the length limit cut are no part of the loss, but of the baseline.
    pub mask_truncated: bool,
    /// What becomes of dead groups.
    pub dead_groups: DeadGroups,
    /// Weights of tokens for how they were drawn.
    pub correction: Option<Correction>,
    /// Only this share of the tokens, those of highest entropy, is trained on.
    pub top_entropy: Option<f64>,
    /// Where responses are cut into steps or macro actions.
    pub segmentation: Option<Segmentation>,
    /// A second attempt at each prompt, behind the first.
    pub second: Option<SecondAttempt>,
    /// Root of the random streams.
    pub seed: Seed,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            prompts: 1,
            num_generations: 8,
            sampling: Sampling::default(),
            fit_temperature: None,
            max_completion_length: 256,
            ends: Vec::new(),
            context: 2048,
            steps_per_generation: 1,
            num_iterations: 1,
            early_stop: EarlyStop::default(),
            critic_warmup: 0,
            batch: 8,
            kl_reward: None,
            normalize_rewards: false,
            reward_scale: (1.0, 0.0),
            reward_clip: None,
            whiten_rewards: false,
            length: LengthPenalty::default(),
            mask_truncated: false,
            dead_groups: DeadGroups::Keep,
            correction: None,
            top_entropy: None,
            segmentation: None,
            second: None,
            seed: Seed(0),
        }
    }
}

impl RolloutConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        self.sampling.check()?;
        self.length.check(self.max_completion_length)?;
        if let Some(got) = self.fit_temperature.filter(|got| !(*got > 0.0 && got.is_finite())) {
            return Err(CoreError::Range { name: "fit_temperature", rule: "finite and above 0", got });
        }
        let counts = [
            ("the number of prompts of a generation", self.prompts),
            ("num_generations", self.num_generations),
            ("max_completion_length", self.max_completion_length),
            ("steps_per_generation", self.steps_per_generation),
            ("num_iterations", self.num_iterations),
            ("the batch of a pass", self.batch),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(CoreError::Range { name, rule: "at least 1", got: 0.0 });
        }
        if let Some(second) = &self.second {
            second.check()?;
            if second.stage == Stage::First && self.dead_groups == DeadGroups::Mask {
                let rule =
                    "the first stage holds first attempts by the pull alone: their groups are dead and must be kept";
                return Err(CoreError::Shape { rule, got: "dead groups that are left out".to_owned() });
            }
        }
        if let Some(correction) = &self.correction {
            correction.check()?;
        }
        if let Some(share) = self.top_entropy.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return Err(CoreError::Range { name: "top_entropy_quantile", rule: "in (0, 1]", got: share });
        }
        self.early_stop.check(self.steps())?;
        for (name, got) in [("reward_gain", self.reward_scale.0), ("reward_bias", self.reward_scale.1)] {
            if !got.is_finite() {
                return Err(CoreError::Range { name, rule: "finite", got });
            }
        }
        if let Some((least, most)) = self.reward_clip {
            let accepted = least < most;
            if !accepted {
                let rule = "a range that is not empty";
                return Err(CoreError::Range { name: "reward_clip_range", rule, got: most - least });
            }
        }
        if let Some(kl) = &self.kl_reward {
            if !(kl.coef >= 0.0 && kl.coef.is_finite()) {
                return Err(CoreError::Range { name: "kl_coef", rule: "finite and at least 0", got: kl.coef });
            }
            if let Some(adaptive) = &kl.adaptive {
                adaptive.check()?;
                let attempts = 1 + usize::from(self.second.is_some());
                let responses = self.prompts.saturating_mul(self.num_generations).saturating_mul(attempts);
                if adaptive.horizon <= 0.2 * responses as f64 {
                    let rule = "above a fifth of the responses of a generation, or the strength may fall below 0";
                    return Err(CoreError::Range { name: "kl_horizon", rule, got: adaptive.horizon });
                }
            }
        }
        Ok(())
    }

    /// Temperature of the log-probabilities that are learned from.
    pub fn temperature(&self) -> f64 {
        self.fit_temperature.unwrap_or(f64::from(self.sampling.temperature))
    }

    /// Optimizer steps of a generation.
    pub fn steps(&self) -> usize {
        self.steps_per_generation.saturating_mul(self.num_iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_goes_too_far_is_the_last() {
        let stats = |kl: f64, low: f64, high: f64| {
            [("approx_kl", kl), ("clip_ratio/low", low), ("clip_ratio/high", high)]
                .map(|(name, x)| (name.to_owned(), x))
        };
        let both = EarlyStop { approx_kl: Some(0.1), clip_fraction: Some(0.2) };
        assert!(!both.says(&stats(0.1, 0.1, 0.1)));
        assert!(both.says(&stats(0.11, 0.0, 0.0)) && both.says(&stats(0.0, 0.15, 0.06)));
        assert!(!EarlyStop::default().says(&stats(9.0, 1.0, 1.0)) && !both.says(&[]));
    }

    #[test]
    fn bounds_that_cannot_be_are_refused() {
        let stop = |approx_kl, clip_fraction| EarlyStop { approx_kl, clip_fraction };
        assert!(stop(Some(0.1), Some(0.2)).check(2).is_ok() && EarlyStop::default().check(1).is_ok());
        assert!(stop(Some(0.1), None).check(1).is_err());
        assert!(stop(Some(0.0), None).check(2).is_err() && stop(None, Some(f64::NAN)).check(2).is_err());
        for reward_scale in [(f64::NAN, 0.0), (1.0, f64::INFINITY)] {
            assert!(RolloutConfig { reward_scale, ..RolloutConfig::default() }.check().is_err());
        }
    }
}
