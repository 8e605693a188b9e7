//! Tensor operations that every family of methods shares. Letters in shape comments: `rows`, `seq`, `vocab`, `hidden`.

mod attention;
mod cross_entropy;
mod divergence;
mod entropy;
#[cfg(feature = "fused")]
pub mod fused;
mod gradients;
mod kl;
mod logits;
mod logps;
mod mask;
mod rows;

pub use attention::{AttentionShape, Sight, attend, attention, by_head, hidden};
pub use cross_entropy::cross_entropy;
pub use divergence::generalized_jsd;
pub use entropy::{entropy, log_sum_sq_probs};
pub use gradients::{sum_of_squares, times};
pub use kl::{KlEstimator, KlGradient};
pub use logits::{is_top1, mean_logits};
pub use logps::{HeadLayout, HeadShape, chosen_logps, head_logps, token_logps};
pub use mask::Mask;
pub use rows::{geglu, geglu_product, gelu_tanh, layer_norm, rms_norm, rms_norm_product, rope, swiglu, swiglu_product};

/// What `work` gives when every operation that it calls on this thread takes its plain form, as if the feature `fused` were off:
/// to hold fused operations against. Without that feature `work` as it is.
pub fn plainly<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "fused")]
    let done = fused::plainly(work);
    #[cfg(not(feature = "fused"))]
    let done = work();
    done
}
