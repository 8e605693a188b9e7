//! How spread out a next-token distribution is.
//!
//! ```text
//! entropy          = -sum_v p_v log p_v = log S - sum_v e_v x_v / S
//! log sum_v p_v^2  = log sum_v e_v^2 - 2 log S,     x = logits - largest logit, e = exp(x), S = sum_v e_v
//! ```
//! `p` is the softmax of the logits. Entropy is what policy losses and logs of reinforcement learning use; `log sum p^2`,
//! the negative collision entropy, is what WPO (arXiv:2406.11827) compares a token's log-probability with.
//!
//! As for [`token_logps`](crate::tensor::token_logps), no gradient flows through the largest logit, and rows stand alone,
//! so they can be given some at a time: while training, a few tensors as large as the logits are held for those rows. At a temperature `t`, all of
//! them want the logits divided by `t`: `logits.div_scalar(t)`. A token may be ruled out by a logit of minus infinity.

use burn::tensor::Tensor;

/// Entropy of the distribution that each row of logits stands for.
///
/// # Shapes
/// - logits: `[n, vocab]`; result: `[n]`, in nats.
pub fn entropy(logits: Tensor<2>) -> Tensor<1> {
    // `exp` is 0 long before this limit, in f64 as well; it makes 0 * log 0 a 0 for a token that is ruled out.
    let shifted = below_largest(logits).clamp_min(-1e4); // [n, vocab]
    let weights = shifted.clone().exp(); // [n, vocab]
    let sum = weights.clone().sum_dim(1); // [n, 1]
    let mean = (weights * shifted).sum_dim(1) / sum.clone(); // [n, 1]
    (sum.log() - mean).squeeze_dim::<1>(1) // [n]
}

/// `log sum_v p_v^2`: the log of the probability that two draws agree.
///
/// # Shapes
/// - logits: `[n, vocab]`; result: `[n]`, at most 0.
pub fn log_sum_sq_probs(logits: Tensor<2>) -> Tensor<1> {
    let weights = below_largest(logits).exp(); // [n, vocab]
    let squares = weights.clone().square().sum_dim(1); // [n, 1]
    (squares.log() - weights.sum_dim(1).log().mul_scalar(2.0)).squeeze_dim::<1>(1) // [n]
}

/// Logits minus the largest of their row, through which no gradient flows.
fn below_largest(logits: Tensor<2>) -> Tensor<2> {
    let largest = logits.clone().detach().max_dim(1); // [n, 1]
    logits - largest
}
