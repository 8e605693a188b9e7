//! What the kernels share: `exp` and `tanh` of f32 that the compiler turns into vectors, sums in sixteen chains, and
//! work cut into pieces.

use rayon::prelude::*;

/// Sums run in so many chains, one a lane.
pub(crate) const LANES: usize = 16;
/// Floats that one job treats.
pub(crate) const PIECE: usize = 1 << 14;
/// Floats below which a second thread costs more than it saves.
const ALONE: usize = 1 << 15;

/// Part of ln 2 whose product with a small whole number is exact in f32, and the rest.
const LN_2: [f32; 2] = [0.693_359_4, (std::f64::consts::LN_2 - 0.693_359_375) as f32];
/// A float of this size has steps of 1, so adding it rounds to a whole number, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x` with a relative error of about 1e-7, for `x` in -87..88; beyond them the value at the nearer end.
///
/// `e^x = 2^n e^r` with whole `n` and `|r| <= ln 2 / 2`, where seven terms of the power series are enough.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let p = 1.0f32 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * power
}

/// `tanh x` with a relative error of about 2e-7: a continued fraction near 0, where `1 - 2 / (e^2x + 1)` would cancel.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let above = 10395.0 + square * (1260.0 + square * 21.0);
    let below = 10395.0 + square * (4725.0 + square * (210.0 + square));
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.6 { x * above / below } else { far }
}

/// `sum_i term(a[i])`.
#[inline(always)]
pub(crate) fn sum(a: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (whole, rest) = a.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for a in whole {
        for (sum, a) in sums.iter_mut().zip(a) {
            *sum += term(*a);
        }
    }
    let rest: f32 = rest.iter().map(|a| term(*a)).sum();
    sums.iter().sum::<f32>() + rest
}

/// `sum_i a[i] * b[i]`; the slices are equally long.
#[cfg(any(test, feature = "fused"))]
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The largest value; the lowest f32 for none.
#[inline(always)]
pub(crate) fn largest(a: &[f32]) -> f32 {
    let (whole, rest) = a.as_chunks::<LANES>();
    let mut most = [f32::MIN; LANES];
    for a in whole {
        for (most, a) in most.iter_mut().zip(a) {
            *most = if *a > *most { *a } else { *most };
        }
    }
    most.iter().chain(rest).copied().fold(f32::MIN, f32::max)
}

/// Length of a piece of whole rows.
pub(crate) fn piece(width: usize) -> usize {
    let width = width.max(1);
    (PIECE / width).max(1) * width
}

/// Runs every job, on several threads when the work, in floats, is worth it; results stand in the order of the jobs.
pub(crate) fn parallel<J: Send, R: Send>(
    work: usize,
    jobs: impl Iterator<Item = J>,
    run: impl Fn(J) -> R + Send + Sync,
) -> Vec<R> {
    let jobs: Vec<J> = jobs.collect();
    if jobs.len() < 2 || work < ALONE {
        jobs.into_iter().map(run).collect()
    } else {
        jobs.into_par_iter().map(run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_tanh_agree_with_f64() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 3e-7, "exp {x}");
            let x = x / 8.0;
            let error = f64::from(tanh(x)) - f64::from(x).tanh();
            assert!(error.abs() <= 4e-7 * f64::from(x).tanh().abs(), "tanh {x}");
        }
        assert_eq!((exp(0.0), tanh(0.0)), (1.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY) > 1e38);
    }

    #[test]
    fn sums_take_every_element_once() {
        // Whole numbers are exact: 0 + 1 + .. + 36 = 666, and 37 terms are two chunks and a rest.
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum(&a, |a| a), 666.0);
        assert_eq!(dot(&a, &[2.0; 37]), 1332.0);
        assert_eq!(largest(&a), 36.0);
        assert_eq!(largest(&[-3.0, -2.0]), -2.0);
    }
}
