//! Optimizers under the names of transformers: Burn's own, with the formulas and defaults of torch.
//!
//! ```text
//! adamw_torch   x -= lr wd x;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  x -= lr m' / (sqrt(v') + eps)
//! adam          the same, with g + wd x for g and no decay of x
//! sgd           g += wd x;  u = momentum u + g;  x -= lr u, or lr (g + momentum u) with nesterov
//! rmsprop       g += wd x;  v = alpha v + (1 - alpha) g^2;  u = momentum u + g / (sqrt(v) + eps);  x -= lr u
//! ```
//! `m'` and `v'` are `m / (1 - b1^t)` and `v / (1 - b2^t)`; with `amsgrad` the largest `v` so far stands for `v`. Where
//! Burn's defaults are others than torch's (epsilon 1e-5, dampening 0.1, momentum 0.9 of RMSprop) they are set here.
//! Betas, momentum and epsilon are kept in f32. Burn's Nesterov, AMSGrad and the place of epsilon are torch's.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, RmsPropConfig, SgdConfig};
use serde::{Deserialize, Serialize};

use crate::{FitConfig, TrainError};

/// Which optimizer makes a step of the gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimKind {
    /// Adam with decoupled weight decay (arXiv:1711.05101).
    #[default]
    #[serde(alias = "adamw_torch_fused")]
    AdamwTorch,
    /// Adam (arXiv:1412.6980), its weight decay part of the gradient.
    Adam,
    /// Stochastic gradient descent.
    Sgd,
    /// RMSprop.
    Rmsprop,
}

impl OptimKind {
    /// The name in transformers.
    fn name(self) -> &'static str {
        match self {
            Self::AdamwTorch => "adamw_torch",
            Self::Adam => "adam",
            Self::Sgd => "sgd",
            Self::Rmsprop => "rmsprop",
        }
    }

    /// The numbers of [`OptimArgs`] that it uses.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::AdamwTorch | Self::Adam => &["amsgrad"],
            Self::Sgd => &["momentum", "nesterov"],
            Self::Rmsprop => &["momentum", "alpha"],
        }
    }
}

/// Numbers that some optimizers use: `optim_args` of transformers, with the names and defaults of torch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimArgs {
    /// The largest second moment so far divides the step (`adamw_torch`, `adam`).
    pub amsgrad: bool,
    /// What stays of the direction from step to step (`sgd`, `rmsprop`).
    pub momentum: f64,
    /// Looks ahead along the direction (`sgd`, with a momentum).
    pub nesterov: bool,
    /// Decay of the mean square (`rmsprop`).
    pub alpha: f64,
}

impl Default for OptimArgs {
    fn default() -> Self {
        Self { amsgrad: false, momentum: 0.0, nesterov: false, alpha: 0.99 }
    }
}

impl OptimArgs {
    /// Refuses a number that `optim` does not use. One that has its default changes nothing, and passes.
    pub(crate) fn check(&self, optim: OptimKind) -> Result<(), TrainError> {
        // Taken apart whole, so that no number can be forgotten here.
        let Self { amsgrad, momentum, nesterov, alpha } = *self;
        let plain = Self::default();
        let set = [
            ("amsgrad", amsgrad != plain.amsgrad),
            ("momentum", momentum != plain.momentum),
            ("nesterov", nesterov != plain.nesterov),
            ("alpha", alpha != plain.alpha),
        ];
        let unused = set.into_iter().find(|(name, set)| *set && !optim.takes().contains(name));
        match unused {
            Some((name, _)) => {
                Err(TrainError::UnusedArg { name, optim: optim.name(), takes: optim.takes().join(", ") })
            }
            None => Ok(()),
        }
    }
}

/// Adam, its weight decay part of the gradient.
pub(crate) fn adam(config: &FitConfig) -> ModuleOptimizer {
    AdamConfig::new()
        .with_beta_1(config.adam_beta1 as f32)
        .with_beta_2(config.adam_beta2 as f32)
        .with_epsilon(config.adam_epsilon as f32)
        .with_amsgrad(config.optim_args.amsgrad)
        .with_weight_decay(decay(config))
        .init()
}

/// Stochastic gradient descent.
pub(crate) fn sgd(config: &FitConfig) -> ModuleOptimizer {
    let OptimArgs { momentum, nesterov, .. } = config.optim_args;
    let momentum = (momentum > 0.0)
        .then(|| MomentumConfig::new().with_momentum(momentum).with_dampening(0.0).with_nesterov(nesterov));
    SgdConfig::new().with_momentum(momentum).with_weight_decay(decay(config)).init()
}

/// RMSprop.
pub(crate) fn rmsprop(config: &FitConfig) -> ModuleOptimizer {
    RmsPropConfig::new()
        .with_alpha(config.optim_args.alpha as f32)
        .with_momentum(config.optim_args.momentum as f32)
        .with_epsilon(config.adam_epsilon as f32)
        .with_weight_decay(decay(config))
        .init()
}

fn decay(config: &FitConfig) -> Option<WeightDecayConfig> {
    (config.weight_decay > 0.0).then(|| WeightDecayConfig::new(config.weight_decay as f32))
}
