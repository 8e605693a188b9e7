//! What losses on pairs share.

use ascribe_core::Loss;
use burn::tensor::{Tensor, activation::log_sigmoid};

/// `-log sigmoid(x)`, of the shape of `x`.
pub(super) fn nll<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    log_sigmoid(x).neg()
}

/// Cross-entropy of `sigmoid(x)` with the probability `p`, of the shape of both.
pub(super) fn cross_entropy<const D: usize>(x: Tensor<D>, p: Tensor<D>) -> Tensor<D> {
    let other = p.clone().neg().add_scalar(1.0);
    p * nll(x.clone()) + other * nll(x.neg())
}

/// 1 for a positive margin, 1/2 for a tie, 0 for a negative margin: `[rows]`, without gradient.
pub(super) fn accuracies(margins: &Tensor<1>) -> Tensor<1> {
    margins.clone().detach().sign().add_scalar(1.0).div_scalar(2.0)
}

/// `loss` with the statistics that all losses on pairs share; a tie counts one half in `rewards/accuracies`.
pub(super) fn with_stats(loss: Loss, chosen: Tensor<1>, rejected: Tensor<1>) -> Loss {
    let margins = chosen.clone() - rejected.clone(); // [rows]
    let accuracies = accuracies(&margins);
    // 1 for a tie and 0 else.
    let ties = margins.clone().detach().sign().abs().neg().add_scalar(1.0); // [rows]
    loss.stat("rewards/chosen", chosen)
        .stat("rewards/rejected", rejected)
        .stat("rewards/margins", margins)
        .stat("rewards/accuracies", accuracies)
        .stat("rewards/ties", ties)
}
