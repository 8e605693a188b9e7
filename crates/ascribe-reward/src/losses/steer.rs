//! SteerLM 2.0: an attribute-conditioned policy by divergence from a posterior. HelpSteer2, arXiv:2406.08673, section 4;
//! the code of NeMo-Aligner.
//!
//! ```text
//! w_i = softmax_i(log P(a|x,y_i) + log P(y_i|x) - log Q'(y_i|a,x)),   b_i = softmax_i(log Q(y_i|a,x) - log Q'(y_i|a,x))
//! loss = -sum_i (w_i - b_i) log Q(y_i|a,x),  the bracket without gradient
//! KL   = sum_i (w_i + e) log((w_i + e) / (b_i + e)),  e = 1e-8
//! ```
//! Its gradient is that of the divergence from the posterior `P(a|x,y) P(y|x)` on samples of `Q'`; the estimator is BRAIn's
//! (arXiv:2402.02479). `P(a|x,y)` is a density around the prediction of a [`Regression`](super::Regression) head:
//! [`attribute_logp`]. The code divides by the mean number of tokens of the group: `lengths`. Departures: none.

use ascribe_core::Loss;
use burn::tensor::{Tensor, activation::softmax};

use crate::RewardError;
use crate::error::{finite, same_length, within};

/// Log-probabilities of the responses of a group, each `[groups, n]`, summed over response tokens.
#[derive(Clone, Debug)]
pub struct SteerBatch {
    /// Of the attributes, given the response.
    pub attributes: Tensor<2>,
    /// Of the response under the unconditioned model.
    pub prior: Tensor<2>,
    /// Of the response under the model that sampled it, given the attributes.
    pub sampler: Tensor<2>,
    /// Of the response under the policy in training, given the attributes.
    pub policy: Tensor<2>,
}

/// Keeps the logarithm of the divergence finite.
const SMALL: f64 = 1e-8;

/// The loss of each group, a mean over groups, with the divergence as a statistic. `lengths` `[groups, n]`, the response
/// tokens, divide it by their mean in the group.
///
/// # Errors
/// When the shapes differ.
pub fn steer(batch: SteerBatch, lengths: Option<Tensor<2>>) -> Result<Loss, RewardError> {
    let SteerBatch { attributes, prior, sampler, policy } = batch;
    let expected = policy.dims();
    let others = [attributes.dims(), prior.dims(), sampler.dims()];
    let lengths_fit = lengths.as_ref().is_none_or(|lengths| lengths.dims() == expected);
    if !(others.iter().all(|dims| *dims == expected) && lengths_fit && expected[0] > 0 && expected[1] > 0) {
        let rule = "a group needs the log-probabilities of all its responses under every model";
        return Err(RewardError::Shape { rule, got: format!("{others:?} beside {expected:?}") });
    }
    let w = softmax((attributes + prior - sampler.clone()).detach(), 1); // [groups, n]
    let b = softmax((policy.clone() - sampler).detach(), 1); // [groups, n]
    let rows = ((w.clone() - b.clone()) * policy).sum_dim(1).squeeze_dim::<1>(1).neg(); // [groups]
    let rows = match lengths {
        Some(lengths) => rows / lengths.mean_dim(1).squeeze_dim::<1>(1).clamp_min(1.0),
        None => rows,
    }; // [groups]
    let (w, b) = (w.add_scalar(SMALL), b.add_scalar(SMALL)); // [groups, n]
    let kl = (w.clone() * (w.log() - b.log())).sum_dim(1).squeeze_dim::<1>(1); // [groups]
    Ok(Loss::mean_of(rows).stat("steer/kl", kl))
}

/// `log P(a|x,y)` of wanted attributes: independent Gaussians around the predicted ones, with the variances that the head
/// has on held-out rows.
///
/// # Errors
/// When the lengths differ, there is no attribute, a value is NaN or infinite, or a variance is not above 0.
pub fn attribute_logp(wanted: &[f64], predicted: &[f64], variances: &[f64]) -> Result<f64, RewardError> {
    finite("the wanted attributes", wanted)?;
    same_length("the predicted attributes", wanted.len(), predicted.len())?;
    same_length("the variances", wanted.len(), variances.len())?;
    finite("the predicted attributes", predicted)?;
    within("a variance", variances, "finite and above 0", |v| 0.0 < v && v.is_finite())?;
    let term = |((a, p), v): ((&f64, &f64), &f64)| -0.5 * ((a - p).powi(2) / v + (2.0 * std::f64::consts::PI * v).ln());
    Ok(wanted.iter().zip(predicted).zip(variances).map(term).sum())
}
