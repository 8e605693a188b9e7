//! Operations that treat every token alike. Tensors are token-major: `[n, width]`, a row a token.

use burn::tensor::{Tensor, activation};

#[cfg(feature = "fused")]
use super::fused;

/// Root mean square norm (arXiv:1910.07467): `x / sqrt(mean(x^2) + epsilon) * weight`.
///
/// # Shapes
/// - x: `[n, d]`; weight: `[d]`; result: `[n, d]`.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&x) {
        return fused::rms_norm(x, weight, epsilon);
    }
    let square = x.clone().square().mean_dim(1); // [n, 1]
    x / square.add_scalar(epsilon).sqrt() * weight.unsqueeze()
}

/// Norm by mean and variance (arXiv:1607.06450): `(x - mean) / sqrt(variance + epsilon) * weight + bias`.
///
/// # Shapes
/// - x: `[n, d]`; weight and bias: `[d]`; result: `[n, d]`.
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1); // [n, d]
    let variance = centred.clone().square().mean_dim(1); // [n, 1]
    centred / variance.add_scalar(epsilon).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

/// Rotary position embedding (arXiv:2104.09864), rotate-half layout: the two halves of a head are the two coordinates.
///
/// Cosines and sines are constants: no gradient of theirs is promised.
///
/// # Shapes
/// - x: `[n, heads * head]`; cos and sin: `[n, head / 2]`; result: `[n, heads * head]`.
pub fn rope(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&x) {
        return fused::rope(x, cos, sin);
    }
    let [n, width] = x.dims();
    let [_, half] = cos.dims();
    let heads = width / (2 * half);
    let x = x.reshape([n, heads, 2 * half]);
    let first = x.clone().slice([0..n, 0..heads, 0..half]); // [n, heads, half]
    let second = x.slice([0..n, 0..heads, half..2 * half]);
    let (cos, sin) = (cos.unsqueeze_dim::<3>(1), sin.unsqueeze_dim::<3>(1)); // [n, 1, half]
    let turned = [first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin];
    Tensor::cat(turned.into(), 2).reshape([n, width])
}

/// `silu(gate) * up` (arXiv:2002.05202). All shapes are equal.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&gate) {
        return fused::swiglu(gate, up);
    }
    activation::silu(gate) * up
}

/// `gelu(gate) * up` by the tanh formula. All shapes are equal.
pub fn geglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&gate) {
        return fused::geglu(gate, up);
    }
    gelu_tanh(gate) * up
}

/// `rms_norm(x) weight`: the beginning of a block.
///
/// # Shapes
/// - x: `[n, d]`; norm: `[d]`; weight: `[d, m]`; result: `[n, m]`.
pub fn rms_norm_product(x: Tensor<2>, norm: Tensor<1>, epsilon: f64, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&x) {
        return fused::rms_norm_product(x, norm, epsilon, weight);
    }
    rms_norm(x, norm, epsilon).matmul(weight)
}

/// `swiglu(gate, up) weight`: the end of a gated feed-forward block.
///
/// # Shapes
/// - gate and up: `[n, wide]`; weight: `[wide, narrow]`; result: `[n, narrow]`.
pub fn swiglu_product(gate: Tensor<2>, up: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&gate) {
        return fused::swiglu_product(gate, up, weight);
    }
    swiglu(gate, up).matmul(weight)
}

/// `geglu(gate, up) weight`; shapes as in [`swiglu_product`].
pub fn geglu_product(gate: Tensor<2>, up: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "fused")]
    if fused::accepts(&gate) {
        return fused::geglu_product(gate, up, weight);
    }
    geglu(gate, up).matmul(weight)
}

/// GELU by its tanh formula (arXiv:1606.08415): `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh(x: Tensor<2>) -> Tensor<2> {
    let cubic = x.clone().powi_scalar(3).mul_scalar(0.044_715); // [n, d]
    let inner = (x.clone() + cubic).mul_scalar((2.0 / std::f64::consts::PI).sqrt());
    x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
}
