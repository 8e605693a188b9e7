//! Estimates of the divergence from a reference, token by token: Schulman, "Approximating KL divergence", 2020.
//!
//! ```text
//! h = log pi(y_t) - log pi_ref(y_t)
//! k1 = h,   k2 = h^2 / 2,   k3 = exp(-h) - 1 + h,   abs = |h|
//! ```
//! For tokens drawn from pi, k1 and k3 are unbiased estimates of KL(pi || pi_ref) in value; k3 is never negative. As a *loss*
//! only the gradient of k2 is that of the divergence; k1 has none in expectation. Times the ratio `pi / pi_old`
//! ([`KlGradient::Unbiased`]), k1 and k3 have the right gradient too (DeepSeek-V3.2, TRL's `use_bias_correction_kl`).

use burn::tensor::Tensor;

/// Which estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// The log-ratio itself.
    K1,
    /// Half its square.
    K2,
    /// `exp(-h) - 1 + h`.
    #[default]
    K3,
    /// The size of the log-ratio.
    Abs,
}

/// What a gradient flows through where the estimate is a part of the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KlGradient {
    /// The estimate.
    #[default]
    Direct,
    /// The estimate times the ratio of policy and old policy, which is the gradient of the divergence itself.
    Unbiased,
}

/// Exponents are cut here, so that one token that the policy finds impossible does not become an infinity.
const LARGEST: f64 = 20.0;

impl KlEstimator {
    /// The estimate of each token. All shapes are equal; the gradient flows through `logps`.
    pub fn of<const D: usize>(self, logps: Tensor<D>, ref_logps: Tensor<D>) -> Tensor<D> {
        let h = logps - ref_logps;
        match self {
            Self::K1 => h,
            Self::K2 => h.square().mul_scalar(0.5),
            Self::K3 => {
                let back = h.neg().clamp(-LARGEST, LARGEST);
                back.clone().exp().sub_scalar(1.0) - back
            }
            Self::Abs => h.abs(),
        }
    }

    /// 1 for each token whose exponent [`KlEstimator::of`] cuts, which is beyond 20 either way and for k3 alone; 0 for all others.
    /// All shapes are equal, and no gradient flows.
    pub fn cut<const D: usize>(self, logps: Tensor<D>, ref_logps: Tensor<D>) -> Tensor<D> {
        let h = (logps - ref_logps).detach();
        let none = h.zeros_like();
        match self {
            Self::K3 => none.mask_fill(h.abs().greater_elem(LARGEST), 1.0),
            Self::K1 | Self::K2 | Self::Abs => none,
        }
    }

    /// The estimate of one token on the host.
    pub fn of_token(self, logp: f64, ref_logp: f64) -> f64 {
        let h = logp - ref_logp;
        match self {
            Self::K1 => h,
            Self::K2 => h * h / 2.0,
            Self::K3 => {
                let back = (-h).clamp(-LARGEST, LARGEST);
                back.exp() - 1.0 - back
            }
            Self::Abs => h.abs(),
        }
    }
}
