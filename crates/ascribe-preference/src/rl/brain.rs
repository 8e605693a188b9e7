//! BRAIn: distillation of the posterior of good responses, arXiv:2402.02479.
//!
//! ```text
//! A = softmax over the responses to a prompt of (log p + log g - log q'),   B = softmax of (log q - log q')
//! loss = -sum_i [A_i - B_i] log q(y_i | x),   a mean over prompts
//! g = exp(r / gamma), or sigmoid(r - r_ref)
//! ```
//! `p` is the reference, `q'` the policy that wrote the responses, `q` the policy; the bracket has no gradient, and
//! log-probabilities are sums over tokens. With `exp(r / gamma)` the target is the optimum of the reward with a divergence
//! of strength gamma; with a prompt that names attributes, the log-probability of these for r, and a reference that reads
//! the prompt alone it is SteerLM 2.0 (HelpSteer2, arXiv:2406.08673). The statistic `brain/kl` is the divergence of B from A
//! on the samples, `sum_i (A_i + e) log((A_i + e) / (B_i + e))` with e = 1e-8. Two responses of which one is certain, with
//! `q' = p`, have the gradient of DPO at a beta of 1.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind, TokenInput};
use burn::tensor::{Tensor, TensorData};

/// How good a response is, given its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goodness {
    /// `exp(r / gamma)`, with a gamma above 0.
    Exponential {
        /// Strength of the divergence at the optimum.
        gamma: f64,
    },
    /// `sigmoid(r - reference)`, which saturates for good responses.
    Sigmoid {
        /// The score of a response that is as good as not.
        reference: f64,
    },
}

impl Goodness {
    fn log(self, score: f64) -> f64 {
        match self {
            Self::Exponential { gamma } => score / gamma,
            Self::Sigmoid { reference } => {
                let lead = score - reference;
                // The exponent is at most 0 either way.
                lead.min(0.0) - (-lead.abs()).exp().ln_1p()
            }
        }
    }
}

/// The loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brain {
    /// How good a response is.
    pub goodness: Goodness,
    /// Whether the loss of a prompt is divided by the mean number of tokens of its responses, as in the code of NeMo-Aligner for
    /// SteerLM 2.0.
    pub token_scaled: bool,
}

impl Default for Brain {
    fn default() -> Self {
        Self { goodness: Goodness::Exponential { gamma: 1.0 }, token_scaled: false }
    }
}

impl Brain {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        match self.goodness {
            Goodness::Exponential { gamma } if !(gamma > 0.0 && gamma.is_finite()) => {
                Err(CoreError::Range { name: "brain_gamma", rule: "finite and above 0", got: gamma })
            }
            Goodness::Sigmoid { reference } if !reference.is_finite() => {
                Err(CoreError::Range { name: "brain_reference", rule: "finite", got: reference })
            }
            _ => Ok(()),
        }
    }
}

fn host(values: Tensor<1>) -> Vec<f64> {
    values.into_data().iter::<f64>().collect()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Keeps the logarithm of the divergence finite.
const SMALL: f64 = 1e-8;

impl Objective for Brain {
    fn needs(&self) -> Needs {
        Needs::of(RowKind::Groups).with_ref_logps().with_old_logps().with_scores().coupled()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let side = batch.all();
        let old = side.tokens(TokenInput::OldLogps)?; // [rows, seq]
        let lengths = host(side.mask.count(&old));
        let of_writer = host(side.mask.sum(old));
        let (prior, now, scores) = (host(side.ref_sum()?), host(batch.frozen().all().sum()), host(side.scores()?));
        let n = scores.len();
        // Numbers without a gradient, in f64: they may be hundreds of nats apart.
        let target: Vec<f64> = (0..n).map(|at| prior[at] + self.goodness.log(scores[at]) - of_writer[at]).collect();
        let moved: Vec<f64> = (0..n).map(|at| now[at] - of_writer[at]).collect();
        let sums = side.sum(); // [rows]
        let options = (&sums.device(), sums.dtype());
        let column = |values: Vec<f64>| {
            let n = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [n]), options)
        };
        let (mut losses, mut effective, mut divergences) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for size in batch.groups()? {
            let rows = start..start + size;
            start = rows.end;
            if rows.is_empty() {
                continue;
            }
            let (a, b) = (softmax(&target[rows.clone()]), softmax(&moved[rows.clone()]));
            effective.push(1.0 / a.iter().map(|weight| weight * weight).sum::<f64>());
            let kl = |(a, b): (&f64, &f64)| (a + SMALL) * ((a + SMALL) / (b + SMALL)).ln();
            divergences.push(a.iter().zip(&b).map(kl).sum::<f64>());
            let leads = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            let tokens = match self.token_scaled {
                true => lengths[rows.clone()].iter().sum::<f64>() / *size as f64,
                false => 1.0,
            };
            losses.push((column(leads) * sums.clone().slice(rows)).sum().neg().div_scalar(tokens.max(1.0))); // [1]
        }
        if losses.is_empty() {
            let rule = "a batch of groups needs a prompt with a response";
            return Err(CoreError::Shape { rule, got: "none".to_owned() });
        }
        let loss = Loss::mean_of(Tensor::cat(losses, 0)); // [prompts]
        Ok(loss.stat("brain/effective_samples", column(effective)).stat("brain/kl", column(divergences)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodness_by_hand() {
        let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-12, "{got} beside {expected}");
        close(Goodness::Exponential { gamma: 0.5 }.log(3.0), 6.0);
        // sigmoid(0) = 1/2, and far out the logarithm is the lead itself, or 0.
        close(Goodness::Sigmoid { reference: 2.0 }.log(2.0), -std::f64::consts::LN_2);
        close(Goodness::Sigmoid { reference: 0.0 }.log(-800.0), -800.0);
        close(Goodness::Sigmoid { reference: 0.0 }.log(800.0), 0.0);
        for goodness in [
            Goodness::Exponential { gamma: 0.0 },
            Goodness::Exponential { gamma: f64::NAN },
            Goodness::Sigmoid { reference: f64::INFINITY },
        ] {
            assert!(Brain { goodness, ..Brain::default() }.check().is_err(), "{goodness:?}");
        }
        assert!(Brain::default().check().is_ok());
    }
}
