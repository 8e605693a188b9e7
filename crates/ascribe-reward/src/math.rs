//! Small functions on host numbers that several rewards share.

use ascribe_core::Stream;
use burn::tensor::{DType, Tensor, TensorData};
use rand::RngExt;

/// The logistic function.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// `ln sigmoid(x)` without overflow.
pub(crate) fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// `ln sum exp` of the values.
pub(crate) fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// The mean; NaN without any value.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The variance in two passes, divided by `n - ddof`.
pub(crate) fn variance(values: &[f64], ddof: usize) -> f64 {
    let centre = mean(values);
    values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / (values.len() as f64 - ddof as f64)
}

/// Whether two values differ.
pub(crate) fn varies(values: &[f64]) -> bool {
    values.iter().any(|value| *value != values[0])
}

/// The sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The quantile `q` of the values, by linear interpolation between order statistics, as numpy and torch have it.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = q * (sorted.len() as f64 - 1.0);
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

/// A standard normal number: Box and Muller, Ann. Math. Statist. 29, 1958.
pub(crate) fn normal(stream: &mut Stream) -> f64 {
    let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * stream.random::<f64>()).cos()
}

/// The values of a tensor.
pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Half precision as f32: sums are taken in it.
pub(crate) fn widened<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => tensor.cast(DType::F32),
        _ => tensor,
    }
}

/// Values as a tensor on the device and in the precision of `like`.
pub(crate) fn tensor<const D: usize, const E: usize>(
    values: Vec<f64>,
    shape: [usize; D],
    like: &Tensor<E>,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_by_hand() {
        assert!((sigmoid(0.0) - 0.5).abs() < 1e-15 && sigmoid(-1e4) == 0.0 && sigmoid(1e4) == 1.0);
        assert!((log_sigmoid(0.0) + 2f64.ln()).abs() < 1e-15);
        assert_eq!((log_sigmoid(-1e4), log_sigmoid(1e4)), (-1e4, 0.0));
        assert!((log_sum_exp(&[0.0, 0.0]) - 2f64.ln()).abs() < 1e-15);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY]), f64::NEG_INFINITY);
        // 1, 2, 4: squares of -4/3, -1/3, 5/3 are 42/9 in sum.
        assert!((variance(&[1.0, 2.0, 4.0], 0) - 14.0 / 9.0).abs() < 1e-12);
        assert!((variance(&[1.0, 2.0, 4.0], 1) - 7.0 / 3.0).abs() < 1e-12);
        assert_eq!((quantile(&[3.0, 1.0], 0.5), quantile(&[3.0, 1.0, 2.0], 1.0)), (2.0, 3.0));
        assert_eq!(dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
    }
}
