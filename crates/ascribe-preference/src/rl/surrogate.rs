//! What a token contributes to a policy loss, given its ratio and its advantage.
//!
//! ```text
//! rho = exp(log pi - log pi_old), of the token, or of the response (mean or sum of its log-ratios)
//!
//! clip     max(-A min(rho, cap), -A clip(rho, 1 - low, 1 + high));  dual: at most -A c where A < 0
//!          PPO, arXiv:1707.06347; clip-higher, arXiv:2503.14476; dual clip, arXiv:1912.09729; the cap is TRL's delta
//! cispo    -clip(rho, least, most) A log pi, no gradient through rho         arXiv:2506.13585
//! sapo     -A (4 / tau) sigmoid(tau (rho - 1)), tau by the sign of A         arXiv:2511.20347
//! vespo    -phi(W) A log pi, phi = exp(lambda + k log W - lambda W), W = exp(sum of log-ratios), no gradient through phi
//! gmpo     -A exp(mean of s min(s l, s clip(l, -low, high))), l the log-ratio of a token, s the sign of A
//!          arXiv:2507.20673
//! plain    -A log pi                                                         REINFORCE; GPG, arXiv:2504.02546
//! ```
//! GSPO (arXiv:2507.18071) is `clip` over the mean log-ratio of the response. Log-ratios are cut at 20 either way before `exp`.

use ascribe_core::CoreError;
use ascribe_core::tensor::Mask;
use burn::tensor::{Tensor, activation::sigmoid};

/// Log-ratios are cut here: beyond it nothing is a step of the same policy, and `exp` stays finite.
const LARGEST: f64 = 20.0;

/// What a ratio is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RatioLevel {
    /// Each token.
    #[default]
    Token,
    /// The response: its mean log-ratio (GSPO).
    SequenceMean,
    /// The response: the sum of its log-ratios (TRL's RLOO).
    SequenceSum,
}

/// What a token contributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrogate {
    /// The clipped ratio of PPO.
    Clip {
        /// Room below 1.
        low: f64,
        /// Room above 1.
        high: f64,
        /// The ratio itself is at most this.
        cap: Option<f64>,
        /// The loss of a token with a negative advantage is at most this times its size; above 1.
        dual: Option<f64>,
    },
    /// A clipped ratio as a weight of the log-probability.
    Cispo {
        /// Least weight.
        least: f64,
        /// Largest weight.
        most: f64,
    },
    /// A gate that closes smoothly.
    Sapo {
        /// Temperature for positive advantages.
        positive: f64,
        /// Temperature for others.
        negative: f64,
    },
    /// A weight by the ratio of the whole response that falls off on both sides.
    Vespo {
        /// Power and decay for advantages of 0 and above.
        positive: [f64; 2],
        /// Power and decay for negative advantages.
        negative: [f64; 2],
    },
    /// The geometric mean of clipped ratios.
    GeometricMean {
        /// Room for the log-ratio below 0.
        low: f64,
        /// Room above 0.
        high: f64,
    },
    /// No ratio at all.
    Plain,
}

/// What a surrogate sees; all `[rows, seq]`, 0 where the mask ignores a token.
pub(super) struct Terms<'a> {
    pub(super) logps: Tensor<2>,
    /// The same as constants.
    pub(super) still: Tensor<2>,
    pub(super) old_logps: Tensor<2>,
    pub(super) advantages: Tensor<2>,
    /// What each token is multiplied by; 0 leaves it out.
    pub(super) weights: Option<Tensor<2>>,
    pub(super) mask: &'a Mask,
    pub(super) level: RatioLevel,
}

impl Terms<'_> {
    /// One value a row on every token of it.
    fn spread(&self, rows: Tensor<1>) -> Tensor<2> {
        rows.unsqueeze_dim::<2>(1).expand(self.logps.dims())
    }

    /// Log-ratios at the level that is wanted.
    pub(super) fn log_ratios(&self) -> Tensor<2> {
        self.log_ratios_of(&self.logps)
    }

    fn log_ratios_of(&self, logps: &Tensor<2>) -> Tensor<2> {
        let tokens = logps.clone() - self.old_logps.clone(); // [rows, seq]
        let ratios = match self.level {
            RatioLevel::Token => tokens,
            RatioLevel::SequenceMean => self.spread(self.mask.mean(tokens)),
            RatioLevel::SequenceSum => self.spread(self.mask.sum(tokens)),
        };
        ratios.clamp(-LARGEST, LARGEST)
    }

    /// `positive` where the advantage is above 0, or `negative`.
    fn by_sign(&self, positive: f64, negative: f64) -> Tensor<2> {
        let above = self.advantages.clone().greater_elem(0.0);
        self.advantages.ones_like().mul_scalar(negative).mask_fill(above, positive)
    }
}

impl Surrogate {
    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), CoreError> {
        let rule =
            |name, rule, accepted: bool, got| if accepted { Ok(()) } else { Err(CoreError::Range { name, rule, got }) };
        let above = |name, got: f64| rule(name, "finite and above 0", got > 0.0 && got.is_finite(), got);
        match *self {
            Self::Clip { low, high, cap, dual } => {
                rule("epsilon", "in (0, 1]", low > 0.0 && low <= 1.0, low)?;
                above("epsilon_high", high)?;
                cap.map_or(Ok(()), |cap| above("delta", cap))?;
                dual.map_or(Ok(()), |dual| rule("dual_clip", "above 1", dual > 1.0 && dual.is_finite(), dual))
            }
            Self::Cispo { least, most } => {
                rule("epsilon", "at least 0", least >= 0.0 && least.is_finite(), least)?;
                rule("epsilon_high", "above the least weight", most > least && most.is_finite(), most)
            }
            Self::Sapo { positive, negative } => {
                above("sapo_temperature_pos", positive)?;
                above("sapo_temperature_neg", negative)
            }
            Self::Vespo { positive, negative } => {
                [positive, negative].into_iter().flatten().try_for_each(|got| above("vespo", got))
            }
            Self::GeometricMean { low, high } => {
                above("epsilon", low)?;
                above("epsilon_high", high)
            }
            Self::Plain => Ok(()),
        }
    }

    /// Loss of each token, `[rows, seq]`; weights are in it. `log_ratios` are those of the terms.
    pub(super) fn tokens(&self, terms: &Terms, log_ratios: &Tensor<2>) -> Tensor<2> {
        let Terms { logps, advantages, weights, mask, .. } = terms;
        let weighed = |tokens: Tensor<2>| match weights {
            Some(weights) => tokens * weights.clone(),
            None => tokens,
        };
        let advantages = advantages.clone();
        let tokens = match *self {
            Self::Clip { low, high, cap, dual } => {
                let ratios = log_ratios.clone().exp(); // [rows, seq]
                let clipped = ratios.clone().clamp(1.0 - low, 1.0 + high);
                let capped = match cap {
                    Some(cap) => ratios.clamp_max(cap),
                    None => ratios,
                };
                let against = advantages.clone().neg();
                let tokens = (against.clone() * capped).max_pair(against.clone() * clipped);
                match dual {
                    Some(dual) => {
                        let least = tokens.clone().min_pair(against.mul_scalar(dual));
                        tokens.mask_where(advantages.lower_elem(0.0), least)
                    }
                    None => tokens,
                }
            }
            Self::Cispo { least, most } => {
                let ratios = terms.log_ratios_of(&terms.still).exp().clamp(least, most);
                (ratios * advantages * logps.clone()).neg()
            }
            Self::Sapo { positive, negative } => {
                let temperature = terms.by_sign(positive, negative);
                let gate = sigmoid(temperature * log_ratios.clone().exp().sub_scalar(1.0));
                (advantages * gate * terms.by_sign(4.0 / positive, 4.0 / negative)).neg()
            }
            Self::Vespo { positive, negative } => {
                let mut sums = mask.sum(terms.still.clone() - terms.old_logps.clone()); // [rows]
                if let Some(weights) = weights {
                    sums = sums + mask.sum(weights.clone().clamp_min(1e-8).log());
                }
                let log_w = terms.spread(sums.clamp(-LARGEST, LARGEST)); // [rows, seq]
                // By the sign of the advantage, with 0 on the positive side.
                let below = advantages.clone().lower_elem(0.0);
                let pick =
                    |at: usize| advantages.ones_like().mul_scalar(positive[at]).mask_fill(below.clone(), negative[at]);
                let (power, decay) = (pick(0), pick(1));
                let phi = (decay.clone() + power * log_w.clone() - decay * log_w.exp()).exp();
                // The weights are in phi.
                return (phi * advantages * logps.clone()).neg();
            }
            Self::GeometricMean { low, high } => {
                // The sign is +1 at 0, as there is nothing to tell apart.
                let sign = advantages.ones_like().mask_fill(advantages.clone().lower_elem(0.0), -1.0);
                let ratios = (logps.clone() - terms.old_logps.clone()).clamp(-LARGEST, LARGEST);
                let clipped = ratios.clone().clamp(-low, high);
                let least = sign.clone() * (sign.clone() * ratios).min_pair(sign * clipped); // [rows, seq]
                let mean = match weights {
                    Some(weights) => mask.sum(least * weights.clone()) / mask.sum(weights.clone()).clamp_min(1.0),
                    None => mask.mean(least),
                }; // [rows]
                return (advantages * terms.spread(mean.exp())).neg();
            }
            Self::Plain => (advantages * logps.clone()).neg(),
        };
        weighed(tokens)
    }
}
