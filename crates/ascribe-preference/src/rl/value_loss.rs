//! The loss of values: arXiv:1707.06347, eq. 9, with the clipping of the first public code.
//!
//! ```text
//! loss_t = 1/2 max((V - R)^2, (V_old + clip(V - V_old, -e, e) - R)^2)
//! ```
//! Without `e` it is half the squared error.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind, TokenInput};
use burn::tensor::Tensor;

use super::Aggregation;

/// Half the squared error of each token. All shapes are equal.
pub fn value_tokens<const D: usize>(
    values: Tensor<D>,
    old_values: Tensor<D>,
    returns: Tensor<D>,
    clip: Option<f64>,
) -> Tensor<D> {
    let plain = (values.clone() - returns.clone()).square();
    let squares = match clip {
        Some(clip) => {
            let near = (values - old_values.clone()).clamp(-clip, clip) + old_values;
            plain.max_pair((near - returns).square())
        }
        None => plain,
    };
    squares.mul_scalar(0.5)
}

/// 1 where clipping makes the error larger, else 0. All shapes are equal; without gradient.
pub fn value_clipped<const D: usize>(
    values: Tensor<D>,
    old_values: Tensor<D>,
    returns: Tensor<D>,
    clip: Option<f64>,
) -> Tensor<D> {
    let plain = value_tokens(values.clone(), old_values.clone(), returns.clone(), None).detach();
    let clipped = value_tokens(values, old_values, returns, clip).detach();
    plain.zeros_like().mask_fill(clipped.greater(plain), 1.0)
}

/// The loss of values alone, as an objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueLoss {
    /// How far a value may move from what it was before its error counts in full; `None` does not clip.
    pub clip: Option<f64>,
    /// How tokens become one number; one without a length.
    pub aggregation: Aggregation,
}

impl Objective for ValueLoss {
    fn needs(&self) -> Needs {
        Needs::of(RowKind::Single).with_values()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let side = batch.all();
        let [values, old, returns] = [TokenInput::Values, TokenInput::OldValues, TokenInput::Returns]
            .map(|input| side.tokens(input).map(|tokens| side.mask.keep(tokens)));
        let (values, old, returns) = (values?, old?, returns?);
        let clipped = value_clipped(values.clone(), old.clone(), returns.clone(), self.clip); // [rows, seq]
        let tokens = value_tokens(values, old, returns, self.clip); // [rows, seq]
        let (rows, weights) = self.aggregation.of(tokens, &side.mask, 1.0);
        Ok(Loss { rows, weights, stats: Vec::new() }.stat("vf_clipfrac", side.mask.mean(clipped)))
    }
}
