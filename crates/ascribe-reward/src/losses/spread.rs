//! How far a reward model tells responses of the current policy apart: MetaRM in Secrets of RLHF II, arXiv:2401.06080,
//! eq. 11.
//!
//! ```text
//! J = (2 / k^2) sum over i < j of sigmoid(|r_i - r_j|), in [(k-1)/(2k), (k-1)/k)
//! ```
//! It needs no labels and is to be *raised*: `theta' = theta + eta grad J`, then the gradient of the Bradley-Terry loss at
//! `theta'` is applied to `theta`. Where all scores of a prompt are equal it has no gradient; the statistic to watch is J at
//! its lower bound.

use burn::tensor::{Tensor, activation::sigmoid};

use crate::RewardError;
use crate::error::option;

/// J of each prompt, `[prompts]`, from scores `[prompts, k]`.
///
/// # Errors
/// For fewer than 2 responses.
pub fn spread(scores: Tensor<2>) -> Result<Tensor<1>, RewardError> {
    let [prompts, k] = scores.dims();
    option("responses", "at least 2 for a spread", k as f64, k >= 2)?;
    let apart = scores.clone().unsqueeze_dim::<3>(2) - scores.unsqueeze_dim::<3>(1); // [prompts, k, k]
    // Each pair stands twice, and the k diagonal entries are sigmoid(0) = 1/2.
    let sums = sigmoid(apart.abs()).sum_dim(2).sum_dim(1).reshape([prompts]); // [prompts]
    Ok(sums.sub_scalar(0.5 * k as f64).div_scalar((k * k) as f64))
}
