//! Contrastive losses beside a reward loss: Secrets of RLHF II, arXiv:2401.06080; SimCSE, arXiv:2104.08821; SwAV,
//! arXiv:2006.09882.
//!
//! ```text
//! SimCSE: loss_i = -log( exp(cos(s_i, t_i)/tau) / sum_j exp(cos(s_i, t_j)/tau) )
//! SwAV:   p = softmax(h c / tau);  loss_i = -sum_k q_k(s_i) log p_k(t_i) - sum_k q_k(t_i) log p_k(s_i)
//! q = codes of Sinkhorn-Knopp on exp(h c / epsilon), without gradient; rows sum to 1, prototypes share the rows evenly
//! ```
//! `s` and `t` are the features of the same items under two dropout masks. Items are the responses of all pairs, or the
//! [`differences`] of their two sides. Features and prototypes are brought to length 1. The total is the reward loss plus
//! `beta` times the mean of these rows; every row sees all others, so the window must be one batch. With equal features the
//! positive pair is trivial: dropout must be on in training.

use burn::tensor::{Tensor, activation::log_softmax};

use crate::RewardError;
use crate::error::{option, within};
use crate::math::{host, log_sum_exp, tensor};

/// Items from the features of chosen and rejected responses, `[pairs, width]` each: `h_c - h_r`, then `h_r - h_c`.
///
/// # Errors
/// When the shapes differ.
pub fn differences(chosen: Tensor<2>, rejected: Tensor<2>) -> Result<Tensor<2>, RewardError> {
    same_shape(&chosen, &rejected, 1)?;
    let difference = chosen - rejected; // [pairs, width]
    Ok(Tensor::cat(vec![difference.clone(), difference.neg()], 0)) // [2 pairs, width]
}

/// The SimCSE loss of each item, `[items]`.
///
/// # Errors
/// When the shapes differ, there are fewer than 2 items, a feature has length 0 or holds a NaN or infinity, or tau is not
/// finite and above 0.
pub fn sim_cse(first: Tensor<2>, second: Tensor<2>, tau: f64) -> Result<Tensor<1>, RewardError> {
    option("tau", "finite and above 0, such as 0.05", tau, 0.0 < tau && tau.is_finite())?;
    same_shape(&first, &second, 2)?;
    let (first, second) = (unit(first)?, unit(second)?); // [items, width]
    let own = (first.clone() * second.clone()).sum_dim(1).squeeze_dim::<1>(1).div_scalar(tau); // [items]
    let logits = first.matmul(second.transpose()).div_scalar(tau); // [items, items]
    // Cosines over tau reach 20: the largest is taken out before `exp`.
    let largest = logits.clone().detach().max_dim(1); // [items, 1]
    let sums = (logits - largest.clone()).exp().sum_dim(1).log() + largest; // [items, 1]
    Ok(sums.squeeze_dim::<1>(1) - own)
}

/// Options of [`swav`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swav {
    /// Temperature of the assignments that are trained; finite and above 0.
    pub tau: f64,
    /// Temperature of the codes; finite and above 0.
    pub epsilon: f64,
    /// Rounds of Sinkhorn-Knopp; at least 1.
    pub iterations: usize,
}

impl Default for Swav {
    fn default() -> Self {
        Self { tau: 0.05, epsilon: 0.05, iterations: 3 }
    }
}

/// The SwAV loss of each item, `[items]`, with prototypes `[k, width]`.
///
/// # Errors
/// As [`sim_cse`], and when there is no prototype, or one has another width or length 0.
pub fn swav(
    first: Tensor<2>,
    second: Tensor<2>,
    prototypes: Tensor<2>,
    options: Swav,
) -> Result<Tensor<1>, RewardError> {
    let Swav { tau, epsilon, iterations } = options;
    option("tau", "finite and above 0, such as 0.05", tau, 0.0 < tau && tau.is_finite())?;
    option("epsilon", "finite and above 0, such as 0.05", epsilon, 0.0 < epsilon && epsilon.is_finite())?;
    option("iterations", "at least 1", iterations as f64, iterations >= 1)?;
    same_shape(&first, &second, 2)?;
    let ([items, width], [k, got]) = (first.dims(), prototypes.dims());
    crate::error::same_length("a prototype", width, got)?;
    option("prototypes", "at least 1", k as f64, k >= 1)?;
    let prototypes = unit(prototypes)?.transpose(); // [width, k]
    let scores = |h: Tensor<2>| -> Result<Tensor<2>, RewardError> { Ok(unit(h)?.matmul(prototypes.clone())) };
    let (first, second) = (scores(first)?, scores(second)?); // [items, k]
    let codes = |scores: &Tensor<2>| {
        let logits: Vec<f64> = host(scores.clone().detach()).iter().map(|score| score / epsilon).collect();
        tensor(sinkhorn(logits, k, iterations), [items, k], scores) // [items, k]
    };
    let term = |codes: Tensor<2>, scores: Tensor<2>| {
        (codes * log_softmax(scores.div_scalar(tau), 1)).sum_dim(1).squeeze_dim::<1>(1).neg() // [items]
    };
    let (first_codes, second_codes) = (codes(&first), codes(&second));
    Ok(term(first_codes, second) + term(second_codes, first))
}

/// Codes of `n` items over `k` prototypes from logits, row-major: each round gives the prototypes equal mass, then the items.
///
/// Computed in log space. Rows sum to 1 after any number of rounds; prototypes have mass `n / k` in the limit.
pub fn sinkhorn(mut logits: Vec<f64>, k: usize, iterations: usize) -> Vec<f64> {
    for _ in 0..iterations {
        for prototype in 0..k {
            let column: Vec<f64> = logits.iter().skip(prototype).step_by(k).copied().collect();
            let mass = log_sum_exp(&column);
            logits.iter_mut().skip(prototype).step_by(k).for_each(|logit| *logit -= mass);
        }
        for row in logits.chunks_mut(k.max(1)) {
            let mass = log_sum_exp(row);
            row.iter_mut().for_each(|logit| *logit -= mass);
        }
    }
    logits.into_iter().map(f64::exp).collect()
}

/// Features of the same shape, with `least` items or more.
fn same_shape(first: &Tensor<2>, second: &Tensor<2>, least: usize) -> Result<(), RewardError> {
    let (first, second) = (first.dims(), second.dims());
    if first == second && first[0] >= least {
        return Ok(());
    }
    let rule = "contrastive losses need two features of every item, and two items to contrast";
    Err(RewardError::Shape { rule, got: format!("features of {first:?} and {second:?}") })
}

/// Rows of length 1.
fn unit(x: Tensor<2>) -> Result<Tensor<2>, RewardError> {
    let squares = x.clone().square().sum_dim(1); // [rows, 1]
    let lengths = host(squares.clone().detach());
    within("the squared length of a feature", &lengths, "finite and above 0", |x| 0.0 < x && x.is_finite())?;
    Ok(x / squares.sqrt())
}
