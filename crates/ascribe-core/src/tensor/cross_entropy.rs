//! Cross-entropy with label smoothing (arXiv:1512.00567, section 7), as in torch.
//!
//! ```text
//! loss = -(1 - s) log p_target - s mean_v log p_v
//!      = log sum_v exp(x_v) - (1 - s) x_target - s mean_v x_v
//! ```
//! The mass `s` is spread over the whole vocabulary, the target included.

use burn::tensor::{Int, Tensor};

use super::token_logps;

/// Cross-entropy of each row, in nats; summing or averaging is left to the caller, who knows which rows count.
///
/// # Shapes
/// - logits: `[n, vocab]`, all finite unless `smoothing` is 0; targets: `[n]`, each in `0..vocab`; result: `[n]`.
/// - smoothing: in `[0, 1]`; 0 is the negative log-probability of the target.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let hard = token_logps(logits.clone(), targets.clone()).neg(); // [n]
    if smoothing == 0.0 {
        return hard;
    }
    // log sum exp cancels in the difference: x_target - mean x is all that smoothing adds.
    let picked = logits.clone().gather(1, targets.unsqueeze_dim::<2>(1)); // [n, 1]
    let lead = (picked - logits.mean_dim(1)).squeeze_dim::<1>(1); // [n]
    hard + lead.mul_scalar(smoothing)
}
