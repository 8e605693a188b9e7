//! Policy losses and advantage estimators by name: the only lists.

use ascribe_core::advantage::{
    AdvantageEstimator, Baseline, Gae, Keep, LeaveOneStepOut, Level, MacroGae, MacroReward, MacroValue, Normalize,
    Oreal, Outcome, Segments, TokenWeighting, Variance, Verdict,
};
use ascribe_core::tensor::{KlEstimator, KlGradient};
use ascribe_core::{CoreError, Objective};

use super::surrogate::{RatioLevel, Surrogate};
use super::{Aggregation, Brain, Goodness, Oreo, OreoLevel, PolicyLoss, ValueTerm};
use crate::PreferenceError;

/// Options that policy losses made by name may use, under the names of TRL and verl.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyOptions {
    /// Room of the ratio below 1.
    pub epsilon: f64,
    /// Room above 1, the largest weight of cispo; `None` is the default of the loss.
    pub epsilon_high: Option<f64>,
    /// The ratio itself is at most this.
    pub delta: Option<f64>,
    /// Bound of dual clipping.
    pub dual_clip: Option<f64>,
    /// Strength of the pull to the reference in the loss.
    pub beta: f64,
    /// How the divergence is estimated.
    pub kl: KlEstimator,
    /// What its gradient flows through.
    pub kl_gradient: KlGradient,
    /// How tokens become one number; `None` is the default of the loss.
    pub loss_agg_mode: Option<Aggregation>,
    /// Most tokens of a response.
    pub max_completion_length: usize,
    /// Strength of the entropy bonus.
    pub entropy_coef: f64,
    /// Whether tokens have weights.
    pub weighted: bool,
    /// Leave out bad responses that the policy has moved away from.
    pub off_policy_threshold: Option<f64>,
    /// The part of values, where there is a critic.
    pub value: Option<ValueTerm>,
    /// Whether the pull to the reference is multiplied by something, for each token.
    pub pull: bool,
    /// Number of critics beside the first.
    pub critics: usize,
    /// What a state of oreo is.
    pub oreo_level: OreoLevel,
    /// Strength of oreo's pull beside the Bellman equation; `None` is a third of `beta`, as in the public code.
    pub oreo_kl: Option<f64>,
    /// The largest weight of a response in oreo; `None` weighs all alike.
    pub oreo_weight: Option<f64>,
    /// How good a response is, for brain.
    pub goodness: Goodness,
    /// Whether the loss of brain is divided by the tokens of a response.
    pub token_scaled: bool,
}

impl Default for PolicyOptions {
    fn default() -> Self {
        Self {
            epsilon: 0.2,
            epsilon_high: None,
            delta: None,
            dual_clip: None,
            beta: 0.0,
            kl: KlEstimator::K3,
            kl_gradient: KlGradient::Direct,
            loss_agg_mode: None,
            max_completion_length: 256,
            entropy_coef: 0.0,
            weighted: false,
            off_policy_threshold: None,
            value: None,
            pull: false,
            critics: 0,
            oreo_level: OreoLevel::Token,
            oreo_kl: None,
            oreo_weight: None,
            goodness: Goodness::Exponential { gamma: 1.0 },
            token_scaled: false,
        }
    }
}

impl PolicyOptions {
    fn clip(&self, high: f64) -> Surrogate {
        let high = self.epsilon_high.unwrap_or(high);
        Surrogate::Clip { low: self.epsilon, high, cap: self.delta, dual: self.dual_clip }
    }

    fn make(&self, surrogate: Surrogate, level: RatioLevel, mode: Aggregation) -> MadePolicyLoss {
        let loss = self.loss(surrogate, level, mode);
        loss.check()?;
        Ok(Box::new(loss))
    }

    fn loss(&self, surrogate: Surrogate, level: RatioLevel, mode: Aggregation) -> PolicyLoss {
        PolicyLoss {
            length: self.max_completion_length as f64,
            beta: self.beta,
            kl: self.kl,
            kl_gradient: self.kl_gradient,
            entropy_coef: self.entropy_coef,
            weighted: self.weighted,
            off_policy_threshold: self.off_policy_threshold,
            value: self.value,
            pull: self.pull,
            critics: self.critics,
            ..PolicyLoss::new(surrogate, level, self.loss_agg_mode.unwrap_or(mode))
        }
    }
}

/// What making a policy loss gives.
pub type MadePolicyLoss = Result<Box<dyn Objective>, PreferenceError>;

/// Makes a policy loss from options. Its default aggregation stands beside it in the table.
pub type MakePolicyLoss = fn(&PolicyOptions) -> MadePolicyLoss;

/// Every policy loss by the name that the command line uses, with the way its tokens become one number unless
/// `loss_agg_mode` says otherwise.
pub const POLICY_LOSSES: [(&str, Aggregation, MakePolicyLoss); 15] = [
    ("ppo", Aggregation::TokenMean, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("grpo", Aggregation::SeqMeanTokenMean, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::Token, Aggregation::SeqMeanTokenMean)
    }),
    ("bnpo", Aggregation::TokenMean, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("dr_grpo", Aggregation::SeqMeanTokenSumNorm, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::Token, Aggregation::SeqMeanTokenSumNorm)
    }),
    ("dapo", Aggregation::TokenMean, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("luspo", Aggregation::SeqMeanTokenSum, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::SequenceMean, Aggregation::SeqMeanTokenSum)
    }),
    ("gspo", Aggregation::SeqMeanTokenMean, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::SequenceMean, Aggregation::SeqMeanTokenMean)
    }),
    ("cispo", Aggregation::TokenMean, |options| {
        let surrogate = Surrogate::Cispo { least: 0.0, most: options.epsilon_high.unwrap_or(5.0) };
        options.make(surrogate, RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("sapo", Aggregation::SeqMeanTokenMean, |options| {
        let surrogate = Surrogate::Sapo { positive: 1.0, negative: 1.05 };
        options.make(surrogate, RatioLevel::Token, Aggregation::SeqMeanTokenMean)
    }),
    ("vespo", Aggregation::TokenMean, |options| {
        let surrogate = Surrogate::Vespo { positive: [2.0, 3.0], negative: [3.0, 2.0] };
        options.make(surrogate, RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("gmpo", Aggregation::SeqMeanTokenMean, |options| {
        let high = options.epsilon_high.unwrap_or(options.epsilon);
        let surrogate = Surrogate::GeometricMean { low: options.epsilon, high };
        options.make(surrogate, RatioLevel::Token, Aggregation::SeqMeanTokenMean)
    }),
    ("rloo", Aggregation::SeqMeanTokenMean, |options| {
        options.make(options.clip(options.epsilon), RatioLevel::SequenceSum, Aggregation::SeqMeanTokenMean)
    }),
    ("reinforce", Aggregation::TokenMean, |options| {
        options.make(Surrogate::Plain, RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("gpg", Aggregation::TokenMean, |options| {
        options.make(Surrogate::Plain, RatioLevel::Token, Aggregation::TokenMean)
    }),
    ("oreal", Aggregation::TokenMean, |options| {
        // A critic of it learns token rewards.
        let loss = options.loss(Surrogate::Plain, RatioLevel::Token, Aggregation::TokenMean);
        let loss = PolicyLoss { value: None, outcome: options.value.map(|value| value.coef), ..loss };
        loss.check()?;
        Ok(Box::new(loss))
    }),
];

/// Losses on rollouts that are no surrogate times an advantage, by name, each with the name of the estimator that it goes with.
pub const OTHER_LOSSES: [(&str, &str, MakePolicyLoss); 2] = [
    ("oreo", "oreo", |options| {
        let value_coef = options.value.map_or(1.0, |value| value.coef);
        let loss = Oreo {
            beta: options.beta,
            kl: options.oreo_kl.unwrap_or(options.beta / 3.0),
            value_coef,
            level: options.oreo_level,
            largest_weight: options.oreo_weight,
        };
        loss.check()?;
        Ok(Box::new(loss))
    }),
    ("brain", "brain", |options| {
        let loss = Brain { goodness: options.goodness, token_scaled: options.token_scaled };
        loss.check()?;
        Ok(Box::new(loss))
    }),
];

/// What group-relative advantages are divided by: TRL's `scale_rewards`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRewards {
    /// The standard deviation of the group.
    #[default]
    Group,
    /// The standard deviation of the batch.
    Batch,
    /// Nothing.
    None,
}

/// Options that advantage estimators made by name may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EstimatorOptions {
    /// Discount from token to token.
    pub gamma: f64,
    /// Decay of the trace.
    pub lambda: f64,
    /// What group-relative advantages are divided by.
    pub scale_rewards: ScaleRewards,
    /// Added to standard deviations.
    pub epsilon: f64,
    /// Whiten the advantages of all tokens, where the estimator leaves the choice.
    pub whiten_advantages: bool,
    /// Added to the variance where advantages are whitened: 1e-6 in EasyLM, 1e-8 in TRL.
    pub whiten_epsilon: f64,
    /// How variances and standard deviations are taken.
    pub variance: Variance,
    /// How the values of a macro action become one.
    pub macro_value: MacroValue,
    /// How the rewards of a macro action become one.
    pub macro_reward: MacroReward,
    /// The share of all responses that raft keeps; `None` keeps the best to each prompt.
    pub keep_top: Option<f64>,
    /// Whether oreal weighs tokens by token rewards.
    pub token_rewards: bool,
    /// Strength of what right responses teach oreal.
    pub oreal_positive: f64,
    /// Strength of what wrong responses teach oreal.
    pub oreal_negative: f64,
    /// How token rewards of oreal become weights.
    pub oreal_weighting: TokenWeighting,
}

impl Default for EstimatorOptions {
    fn default() -> Self {
        Self {
            gamma: 1.0,
            lambda: 0.95,
            scale_rewards: ScaleRewards::Group,
            epsilon: 1e-4,
            whiten_advantages: true,
            whiten_epsilon: 1e-6,
            variance: Variance::Unbiased,
            macro_value: MacroValue::Equal,
            macro_reward: MacroReward::Sum,
            keep_top: None,
            token_rewards: false,
            oreal_positive: 1.0,
            oreal_negative: 0.5,
            oreal_weighting: TokenWeighting::default(),
        }
    }
}

impl EstimatorOptions {
    /// Whitening, unless it is off.
    fn whiten(&self) -> Normalize {
        match self.whiten_advantages {
            true => Normalize::Whiten { variance: self.variance, epsilon: self.whiten_epsilon },
            false => Normalize::No,
        }
    }

    fn check(&self) -> Result<(), CoreError> {
        let fraction = |name, got: f64| match (0.0..=1.0).contains(&got) {
            true => Ok(()),
            false => Err(CoreError::Range { name, rule: "in [0, 1]", got }),
        };
        fraction("gamma", self.gamma)?;
        fraction("lam", self.lambda)?;
        let added = [("advantage_epsilon", self.epsilon), ("whiten_epsilon", self.whiten_epsilon)];
        match added.into_iter().find(|(_, got)| !(*got >= 0.0 && got.is_finite())) {
            None => Ok(()),
            Some((name, got)) => Err(CoreError::Range { name, rule: "finite and at least 0", got }),
        }
    }

    fn outcome(&self, baseline: Baseline, normalize: Normalize) -> MadeEstimator {
        self.check()?;
        let (gamma, variance) = (self.gamma, self.variance);
        Ok(Box::new(Outcome { gamma, normalize, variance, ..Outcome::new(baseline) }))
    }
}

/// What making an estimator gives.
pub type MadeEstimator = Result<Box<dyn AdvantageEstimator>, PreferenceError>;

/// Makes an advantage estimator from options.
pub type MakeEstimator = fn(&EstimatorOptions) -> MadeEstimator;

/// Every advantage estimator by the name that the command line uses.
pub const ESTIMATORS: [(&str, MakeEstimator); 20] = [
    ("grpo", |options| {
        let epsilon = options.epsilon;
        let baseline = match options.scale_rewards {
            ScaleRewards::Group => Baseline::GroupNormalized { epsilon },
            ScaleRewards::Batch => Baseline::BatchNormalized { epsilon },
            ScaleRewards::None => Baseline::GroupMean,
        };
        options.outcome(baseline, Normalize::No)
    }),
    ("dr_grpo", |options| options.outcome(Baseline::GroupMean, Normalize::No)),
    ("rloo", |options| options.outcome(Baseline::LeaveOneOut, Normalize::No)),
    ("reinforce", |options| options.outcome(Baseline::None, Normalize::No)),
    ("reinforce_plus_plus", |options| options.outcome(Baseline::None, options.whiten())),
    ("reinforce_plus_plus_baseline", |options| options.outcome(Baseline::GroupMean, options.whiten())),
    ("opo", |options| options.outcome(Baseline::LengthWeighted, Normalize::No)),
    ("gpg", |options| options.outcome(Baseline::Scaled, Normalize::No)),
    ("remax", |options| options.outcome(Baseline::Greedy, Normalize::No)),
    ("grpo_passk", |options| {
        let epsilon = (options.scale_rewards != ScaleRewards::None).then_some(options.epsilon);
        options.outcome(Baseline::BestOfGroup { epsilon }, Normalize::No)
    }),
    ("gae", |options| {
        options.check()?;
        Ok(Box::new(Gae { gamma: options.gamma, lambda: options.lambda, normalize: options.whiten() }))
    }),
    ("macro_gae", |options| {
        options.check()?;
        Ok(Box::new(MacroGae {
            gamma: options.gamma,
            lambda: options.lambda,
            value: options.macro_value,
            reward: options.macro_reward,
            normalize: options.whiten(),
        }))
    }),
    ("turn_level", |options| {
        options.check()?;
        Ok(Box::new(Segments(Level::Turns { gamma: options.gamma })))
    }),
    ("step_level", |options| {
        options.check()?;
        Ok(Box::new(Segments(Level::Steps { epsilon: options.epsilon })))
    }),
    ("own_step", |_| Ok(Box::new(Segments(Level::Own)))),
    ("leave_one_step_out", |_| Ok(Box::new(LeaveOneStepOut))),
    ("raft", |options| match options.keep_top {
        None => Ok(Box::new(Keep::Best)),
        Some(share) => {
            check_share(share)?;
            Ok(Box::new(Keep::Top(share)))
        }
    }),
    ("oreal", |options| {
        let oreal = Oreal {
            positive: options.oreal_positive,
            negative: options.oreal_negative,
            token_rewards: options.token_rewards,
            weighting: options.oreal_weighting,
        };
        oreal.check()?;
        Ok(Box::new(oreal))
    }),
    ("oreo", |_| Ok(Box::new(Verdict { range: (0.0, 1.0), critic: true }))),
    ("brain", |_| Ok(Box::new(Verdict { range: (f64::MIN, f64::MAX), critic: false }))),
];

fn check_share(share: f64) -> Result<(), CoreError> {
    match share > 0.0 && share <= 1.0 {
        true => Ok(()),
        false => Err(CoreError::Range { name: "keep_top", rule: "in (0, 1]", got: share }),
    }
}
