//! What training does with gradients, outside of any graph.

use burn::tensor::Tensor;

#[cfg(feature = "fused")]
use super::fused::{self, AdamWStep};

/// Sum of the squares of all elements.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> f64 {
    #[cfg(feature = "fused")]
    if AdamWStep::accepts(&x) {
        return fused::sum_of_squares(x);
    }
    let sum = (x.clone() * x).sum().into_data().convert::<f64>();
    sum.iter::<f64>().next().unwrap_or(0.0)
}

/// `x * factor`, in place where nobody else holds `x`.
pub fn times<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if AdamWStep::accepts(&x) {
        return fused::times(x, factor);
    }
    x.mul_scalar(factor)
}
