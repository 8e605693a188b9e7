//! The core operators on every device: `ASCRIBE_DEVICE` chooses it. Expected values are worked by hand or in f64 on the
//! host, never by the operator under test.

use ascribe_core::tensor::{Mask, chosen_logps, token_logps};
use ascribe_testkit::device::{device, floats, integers, precisions, values};
use ascribe_testkit::golden::close;
use burn::tensor::DType;

fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-12 } else { 1e-5 }
}

/// The same log-probability on the host.
fn on_host(logits: &[f64], target: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits[target] - largest - logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

fn sample_logits() -> Vec<f64> {
    (0..7 * 11).map(|i| f64::from((i * 37) % 101) / 16.0 - 3.0).collect()
}

#[test]
fn token_logps_agree_with_a_log_softmax() {
    let (logits, targets) = (sample_logits(), [0i64, 10, 3, 5, 5, 1, 9]);
    let expected: Vec<f64> =
        logits.chunks(11).zip(targets).map(|(row, target)| on_host(row, target as usize)).collect();
    for dtype in precisions() {
        let device = device();
        let got = token_logps(floats(&logits, [7, 11], &device, *dtype), integers(&targets, [7], &device));
        close("token_logps", &values(got), &expected, tolerance(*dtype));
    }
}

#[test]
fn token_logps_stay_finite_for_extreme_logits() {
    for dtype in precisions() {
        let device = device();
        let logits = floats(&[1000.0, -1000.0, 0.0, -5000.0, -5000.0, -5000.0], [2, 3], &device, *dtype);
        let got = values(token_logps(logits, integers(&[1, 0], [2], &device)));
        // exp(-2000) and exp(-1000) vanish beside 1, and three equal logits share the mass.
        close("extreme", &got, &[-2000.0, -(3.0f64).ln()], tolerance(*dtype));
    }
}

#[test]
fn chunks_of_the_head_change_nothing() {
    let device = device();
    let states = floats(&sample_logits(), [11, 7], &device, DType::F32);
    let targets = integers(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0], [11], &device);
    let weights = floats(&sample_logits()[..35], [7, 5], &device, DType::F32);
    let with = |chunk| values(chosen_logps(states.clone(), targets.clone(), chunk, |h| h.matmul(weights.clone())));
    let whole = with(11);
    for chunk in [1, 2, 3, 4, 10, 100] {
        close("chunk", &with(chunk), &whole, 1e-5);
    }
}

#[test]
fn the_gradient_of_a_logp_is_one_hot_minus_the_softmax() {
    for dtype in precisions() {
        let device = device().autodiff();
        let row = [0.5, -1.0, 2.0];
        let logits = floats(&row, [1, 3], &device, *dtype).require_grad();
        let grads = token_logps(logits.clone(), integers(&[1], [1], &device)).sum().backward();
        let got = values(logits.grad(&grads).expect("logits are tracked"));
        let softmax: Vec<f64> = (0..3).map(|v| on_host(&row, v).exp()).collect();
        close("gradient", &got, &[-softmax[0], 1.0 - softmax[1], -softmax[2]], tolerance(*dtype));
    }
}

#[test]
fn masked_reductions_ignore_what_does_not_count() {
    let device = device();
    let mask = Mask::from_rows(&[vec![true, false, true], vec![false, true], vec![]], &device);
    assert_eq!(mask.dims(), [3, 3]);
    for dtype in precisions() {
        let inf = f64::NEG_INFINITY;
        let x = || floats(&[1.0, inf, 3.0, inf, 5.0, 7.0, inf, inf, inf], [3, 3], &device, *dtype);
        close("sum", &values(mask.sum(x())), &[4.0, 5.0, 0.0], tolerance(*dtype));
        close("mean", &values(mask.mean(x())), &[2.0, 5.0, 0.0], tolerance(*dtype));
        close("count", &values(mask.count(&x())), &[2.0, 1.0, 0.0], 0.0);
    }
}
