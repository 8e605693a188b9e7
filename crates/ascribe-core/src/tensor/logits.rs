//! Statistics of logits that are logged beside a loss.

use burn::tensor::{Int, Tensor};

/// Mean logit of each row. When it drifts, the scale of the head drifts, which no probability shows.
///
/// # Shapes
/// - logits: `[n, vocab]`; result: `[n]`.
pub fn mean_logits(logits: Tensor<2>) -> Tensor<1> {
    logits.mean_dim(1).squeeze_dim::<1>(1)
}

/// 1 where no logit is larger than the target's, else 0: its mean is the accuracy of the next token. Without gradient.
///
/// # Shapes
/// - logits: `[n, vocab]`; targets: `[n]`, each in `0..vocab`; result: `[n]`.
pub fn is_top1(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let logits = logits.detach();
    let picked = logits.clone().gather(1, targets.unsqueeze_dim::<2>(1)); // [n, 1]
    let zeros = picked.zeros_like(); // [n, 1]
    zeros.mask_fill(picked.greater_equal(logits.max_dim(1)), 1.0).squeeze_dim::<1>(1) // [n]
}
