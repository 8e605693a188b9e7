//! The core operators on every device: `ASCRIBE_DEVICE` chooses it. Expected values are worked by hand or in f64 on the
//! host, never by the operator under test.

use ascribe_core::Packing;
use ascribe_core::tensor::{
    AttentionShape, Mask, Sight, attention, chosen_logps, cross_entropy, entropy, geglu, generalized_jsd, is_top1,
    layer_norm, log_sum_sq_probs, mean_logits, rms_norm, rope, swiglu, token_logps,
};
use ascribe_testkit::device::{device, floats, integers, precisions, values};
use ascribe_testkit::golden::close;
use burn::tensor::{DType, Tensor};

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
fn statistics_of_a_distribution_worked_by_hand() {
    // Probabilities 1/2, 1/4, 1/4; four equal ones; one token alone, the others far below or ruled out.
    let inf = f64::NEG_INFINITY;
    let logits = [2.0f64.ln(), 0.0, 0.0, inf, 3.0, 3.0, 3.0, 3.0, 5000.0, -5000.0, 0.0, inf];
    let two = 2.0f64.ln();
    for dtype in precisions() {
        let device = device();
        let logits = || floats(&logits, [3, 4], &device, *dtype);
        let check =
            |what: &str, got: Tensor<1>, expected: [f64; 3]| close(what, &values(got), &expected, tolerance(*dtype));
        check("entropy", entropy(logits()), [1.5 * two, 2.0 * two, 0.0]);
        // 1/4 + 1/16 + 1/16 = 3/8; 4 / 16; 1.
        check("log_sum_sq_probs", log_sum_sq_probs(logits()), [(3.0f64 / 8.0).ln(), -2.0 * two, 0.0]);
        check("is_top1", is_top1(logits(), integers(&[1, 2, 0], [3], &device)), [0.0, 1.0, 1.0]);
        let finite = floats(&[1.0, 2.0, -6.0, 0.5, 0.5, 2.0], [2, 3], &device, *dtype);
        close("mean_logits", &values(mean_logits(finite)), &[-1.0, 1.0], tolerance(*dtype));
    }
}

#[test]
fn the_gradient_of_the_entropy_is_minus_p_times_log_p_plus_entropy() {
    for dtype in precisions() {
        let device = device().autodiff();
        let row = [0.5, -1.0, 2.0, f64::NEG_INFINITY];
        let logits = floats(&row, [1, 4], &device, *dtype).require_grad();
        let grads = entropy(logits.clone()).sum().backward();
        let got = values(logits.grad(&grads).expect("logits are tracked"));
        let logs: Vec<f64> = (0..3).map(|v| on_host(&row, v)).collect();
        let whole: f64 = logs.iter().map(|log| -log.exp() * log).sum();
        let slopes = logs.iter().map(|log| -log.exp() * (log + whole));
        let expected: Vec<f64> = slopes.chain([0.0]).collect();
        close("gradient", &got, &expected, tolerance(*dtype));
    }
}

#[test]
fn label_smoothing_spreads_mass_over_the_whole_vocabulary() {
    let (logits, targets) = (sample_logits(), [0i64, 10, 3, 5, 5, 1, 9]);
    for smoothing in [0.0, 0.1, 0.5, 1.0] {
        let row = |(row, target): (&[f64], i64)| {
            let mean = (0..11).map(|v| on_host(row, v)).sum::<f64>() / 11.0;
            -(1.0 - smoothing) * on_host(row, target as usize) - smoothing * mean
        };
        let expected: Vec<f64> = logits.chunks(11).zip(targets).map(row).collect();
        for dtype in precisions() {
            let device = device();
            let (logits, targets) = (floats(&logits, [7, 11], &device, *dtype), integers(&targets, [7], &device));
            close("cross_entropy", &values(cross_entropy(logits, targets, smoothing)), &expected, tolerance(*dtype));
        }
    }
}

#[test]
fn divergences_are_zero_for_equals_and_at_most_the_entropy_of_the_mixture() {
    for dtype in precisions() {
        let device = device();
        // The same distribution in every pair of rows: logits may differ by a constant.
        let one = || floats(&sample_logits(), [7, 11], &device, *dtype);
        // Apart: each puts all mass where the other has none.
        let apart = |first: f64| floats(&[first, -first], [1, 2], &device, *dtype);
        for beta in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let same = generalized_jsd(one(), one().add_scalar(3.0), beta);
            close("equal", &values(same), &[0.0; 7], tolerance(*dtype));
            if beta > 0.0 && beta < 1.0 {
                // KL(teacher || m) = -ln b and KL(student || m) = -ln(1 - b).
                let most = -beta * f64::ln(beta) - (1.0 - beta) * f64::ln(1.0 - beta);
                let got = generalized_jsd(apart(500.0), apart(-500.0), beta);
                close("apart", &values(got), &[most], tolerance(*dtype));
            }
        }
        // KL((1/2, 1/2) || (3/4, 1/4)) = ln(2/3) / 2 + ln 2 / 2 = ln(4/3) / 2, whichever side is the teacher.
        let (even, odd) = ([0.0, 0.0], [3.0f64.ln(), 0.0]);
        let row = |x: &[f64; 2]| floats(x, [1, 2], &device, *dtype);
        let expected = [(4.0f64 / 3.0).ln() / 2.0];
        close("forward", &values(generalized_jsd(row(&odd), row(&even), 0.0)), &expected, tolerance(*dtype));
        close("reverse", &values(generalized_jsd(row(&even), row(&odd), 1.0)), &expected, tolerance(*dtype));
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

/// Multiples of 1/16 in -2..2 without a pattern that a wrong index would hit.
fn numbers(n: usize, salt: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 37 + salt * 101 + i * i * 7) % 64) as f64 / 16.0 - 2.0).collect()
}

/// A prompt with two responses, one of which is continued twice; a sequence of its own; an empty span.
fn tree() -> Packing {
    let mut packing = Packing::default();
    for (len, parent) in [(4, None), (3, Some(0)), (2, Some(0)), (2, Some(1)), (1, Some(1)), (5, None), (0, Some(5))] {
        packing.push(len, parent).expect("parents come first");
    }
    packing
}

/// Attention of one token after another, in f64.
fn attention_on_host(
    [q, k, v]: [&[f64]; 3],
    packing: &Packing,
    window: Option<usize>,
    shape: &AttentionShape,
) -> Vec<f64> {
    let AttentionShape { heads, kv_heads, head_dim, scale, softcap } = *shape;
    let mut mixed = Vec::new();
    for (number, span) in packing.spans().iter().enumerate() {
        let path: Vec<usize> = packing.seen(number).into_iter().flatten().collect();
        for at in span.position..span.position + span.rows.len() {
            let from = window.map_or(0, |window| (at + 1).saturating_sub(window));
            let seen = &path[from..=at];
            for head in 0..heads {
                let own = head * kv_heads / heads;
                let query = &q[(path[at] * heads + head) * head_dim..][..head_dim];
                let part = |x: &[f64], row: usize| x[(row * kv_heads + own) * head_dim..][..head_dim].to_vec();
                let score = |row: &usize| {
                    let score = scale * query.iter().zip(part(k, *row)).map(|(a, b)| a * b).sum::<f64>();
                    softcap.map_or(score, |cap| cap * (score / cap).tanh())
                };
                let weights: Vec<f64> = seen.iter().map(|row| score(row).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..head_dim {
                    let sum: f64 = seen.iter().zip(&weights).map(|(row, weight)| weight * part(v, *row)[i]).sum();
                    mixed.push(sum / total);
                }
            }
        }
    }
    mixed
}

#[test]
fn attention_sees_its_ancestors_and_itself() {
    let packing = tree();
    let n = packing.tokens();
    let base = AttentionShape { heads: 4, kv_heads: 2, head_dim: 4, scale: 0.5, softcap: None };
    let (q, k, v) = (numbers(n * 16, 1), numbers(n * 8, 2), numbers(n * 8, 3));
    for dtype in precisions() {
        let device = device();
        for (window, softcap) in [(None, None), (Some(3), None), (None, Some(2.0)), (Some(1), Some(1.5))] {
            let shape = AttentionShape { softcap, ..base };
            let expected = attention_on_host([&q, &k, &v], &packing, window, &shape);
            let got = attention(
                floats(&q, [n, 16], &device, *dtype),
                floats(&k, [n, 8], &device, *dtype),
                floats(&v, [n, 8], &device, *dtype),
                &Sight::new(&packing, window, &device),
                &shape,
            );
            close("attention", &values(got), &expected, tolerance(*dtype));
        }
    }
}

#[test]
fn attention_over_nothing_is_nothing() {
    let device = device();
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 2, scale: 1.0, softcap: None };
    let none = || floats(&[], [0, 2], &device, precisions()[0]);
    let sight = Sight::new(&Packing::default(), None, &device);
    assert_eq!(attention(none(), none(), none(), &sight, &shape).dims(), [0, 2]);
}

#[test]
fn operations_on_rows_agree_with_their_formulas() {
    let (x, y, weight, bias) = (numbers(12, 4), numbers(12, 5), numbers(4, 6), numbers(4, 7));
    let by_row = |f: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<f64> { x.chunks(4).flat_map(f).collect() };
    let rms = by_row(&|row| {
        let root = (row.iter().map(|x| x * x).sum::<f64>() / 4.0 + 1e-5).sqrt();
        row.iter().zip(&weight).map(|(x, weight)| x / root * weight).collect()
    });
    let layer = by_row(&|row| {
        let mean = row.iter().sum::<f64>() / 4.0;
        let root = (row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 4.0 + 1e-5).sqrt();
        row.iter().zip(weight.iter().zip(&bias)).map(|(x, (w, b))| (x - mean) / root * w + b).collect()
    });
    let pairs = |f: fn(f64) -> f64| x.iter().zip(&y).map(|(x, y)| f(*x) * y).collect::<Vec<f64>>();
    let silu = pairs(|x| x / (1.0 + (-x).exp()));
    let gelu = pairs(|x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()));
    // Two heads of width 2: every pair of a row is turned by the row's angle.
    let angles = [0.0f64, 0.5, 2.0];
    let turned: Vec<f64> = x
        .chunks(2)
        .enumerate()
        .flat_map(|(at, pair)| {
            let (cos, sin) = (angles[at / 2].cos(), angles[at / 2].sin());
            [pair[0] * cos - pair[1] * sin, pair[1] * cos + pair[0] * sin]
        })
        .collect();
    for dtype in precisions() {
        let device = device();
        let tensor = |values: &[f64]| floats(values, [3, 4], &device, *dtype);
        let vector = |values: &[f64]| floats(values, [4], &device, *dtype);
        let table = |f: fn(f64) -> f64| floats(&angles.map(f), [3, 1], &device, *dtype);
        let results = [
            ("rms_norm", rms_norm(tensor(&x), vector(&weight), 1e-5), &rms),
            ("layer_norm", layer_norm(tensor(&x), vector(&weight), vector(&bias), 1e-5), &layer),
            ("swiglu", swiglu(tensor(&x), tensor(&y)), &silu),
            ("geglu", geglu(tensor(&x), tensor(&y)), &gelu),
            ("rope", rope(tensor(&x), table(f64::cos), table(f64::sin)), &turned),
        ];
        for (name, got, expected) in results {
            close(name, &values(got), expected, tolerance(*dtype));
        }
    }
}
