//! Log-probabilities of chosen tokens.
//!
//! ```text
//! logp(t) = logits[t] - log sum_v exp(logits[v])
//! ```
//! The picked logit minus the log of the sum, so no log-softmax over the vocabulary is held. [`chosen_logps`] also runs
//! the language-model head on the given positions alone, a chunk at a time.

use burn::tensor::{Int, Tensor};

#[cfg(feature = "fused")]
use super::fused;

/// Log-probability of `targets` under `logits`.
///
/// # Shapes
/// - logits: `[n, vocab]`; targets: `[n]`, each in `0..vocab`; result: `[n]`, in nats.
pub fn token_logps(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "fused")]
    if fused::accepts(&logits) {
        return fused::token_logps(logits, targets);
    }
    let picked = logits.clone().gather(1, targets.unsqueeze_dim::<2>(1)); // [n, 1]
    // The largest logit only keeps `exp` in range: it cancels, so no gradient flows through it.
    let largest = logits.clone().detach().max_dim(1); // [n, 1]
    let sum = (logits - largest.clone()).exp().sum_dim(1); // [n, 1]
    (picked - largest - sum.log()).squeeze_dim::<1>(1) // [n]
}

/// Log-probability of `targets`, with the head run over `chunk` positions at a time.
///
/// Positions that are not wanted (prompt, padding) are simply not given, so the head never sees them.
///
/// # Shapes
/// - hidden: `[n, hidden]`, the states that predict `targets`; targets: `[n]`; result: `[n]`, in nats.
/// - head: `[m, hidden]` to logits `[m, vocab]` for any `m <= chunk`.
pub fn chosen_logps(
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    chunk: usize,
    head: impl Fn(Tensor<2>) -> Tensor<2>,
) -> Tensor<1> {
    let [n, _] = hidden.dims();
    let chunk = chunk.max(1);
    let pieces = (0..n.max(1)).step_by(chunk).map(|start| {
        let end = (start + chunk).min(n);
        token_logps(head(hidden.clone().slice(start..end)), targets.clone().slice(start..end))
    });
    Tensor::cat(pieces.collect(), 0)
}

/// How the weights of a head lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayout {
    /// `[vocab, hidden]`: an embedding that is the head as well.
    Embedding,
    /// `[hidden, vocab]`.
    Linear,
}

/// What a head is besides its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadShape {
    /// How the weights lie.
    pub layout: HeadLayout,
    /// Logits `z` become `c tanh(z / c)`.
    pub softcap: Option<f64>,
}

/// [`chosen_logps`] with a head that is one product, and a cap on its logits if there is one.
///
/// With the feature `fused`, on the CPU, logits are held for at most `chunk` rows while training too: those of more rows are
/// computed again by the backward pass, for a few hundredths of the time of a step.
///
/// # Shapes
/// - hidden: `[n, hidden]`; weight: as the layout says; targets: `[n]`; result: `[n]`, in nats.
pub fn head_logps(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    shape: &HeadShape,
    targets: Tensor<1, Int>,
    chunk: usize,
) -> Tensor<1> {
    #[cfg(feature = "fused")]
    if fused::accepts(&hidden) {
        return fused::head_logps(hidden, weight, targets, shape, chunk);
    }
    chosen_logps(hidden, targets, chunk, |hidden| {
        let logits = match shape.layout {
            HeadLayout::Embedding => hidden.matmul(weight.clone().transpose()),
            HeadLayout::Linear => hidden.matmul(weight.clone()),
        }; // [m, vocab]
        match shape.softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    })
}
