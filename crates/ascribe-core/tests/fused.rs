//! Fused operations against their plain forms, values and gradients: the same public function takes the fused path with f32
//! and the plain one with f64, in which inputs and rounding leave nothing to chance.

use ascribe_core::Packing;
use ascribe_core::tensor::{
    AttentionShape, HeadLayout, HeadShape, Sight, attention, fused, geglu, geglu_product, head_logps, plainly,
    rms_norm, rms_norm_product, rope, sum_of_squares, swiglu, swiglu_product, times, token_logps,
};
use ascribe_testkit::device::{floats, integers, values};
use burn::tensor::{DType, Device, Tensor};
use proptest::prelude::*;

/// Multiples of 1/16 in -2..2: exact in both precisions.
fn numbers(n: usize, salt: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 37 + salt * 101 + i * i * 7) % 64) as f64 / 16.0 - 2.0).collect()
}

/// The result of `operation` on tensors of these shapes, then the gradient of each under a weighted sum of the result.
fn run<const N: usize>(
    shapes: [[usize; 2]; N],
    dtype: DType,
    operation: &dyn Fn([Tensor<2>; N]) -> Tensor<2>,
) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let mut salt = 0;
    let inputs = shapes.map(|shape| {
        salt += 1;
        floats(&numbers(shape[0] * shape[1], salt), shape, &device, dtype).require_grad()
    });
    let result = operation(inputs.clone());
    let shape = result.dims();
    let weights = floats(&numbers(shape[0] * shape[1], 9), shape, &device, dtype);
    let grads = (result.clone() * weights).sum().backward();
    let gradients = inputs.iter().map(|input| values(input.grad(&grads).expect("inputs are tracked")));
    std::iter::once(values(result)).chain(gradients).collect()
}

/// Fused is plain, relative to the largest value; and the number of threads does not show in the bits.
fn check<const N: usize>(what: &str, shapes: [[usize; 2]; N], operation: impl Fn([Tensor<2>; N]) -> Tensor<2> + Sync) {
    let got = run(shapes, DType::F32, &operation);
    let expected = run(shapes, DType::F64, &operation);
    assert_eq!(got.len(), 1 + N);
    for (which, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert_eq!(got.len(), expected.len(), "{what}, {which}");
        let scale = expected.iter().fold(1.0f64, |scale, x| scale.max(x.abs()));
        for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
            let near = (got - expected).abs() <= 2e-5 * scale;
            assert!(near, "{what}: element {at} of {which} (0: result) is {got}, expected {expected}");
        }
    }
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        assert_eq!(pool.install(|| run(shapes, DType::F32, &operation)), got, "{what} on {threads} threads");
    }
}

#[test]
fn f32_on_the_cpu_is_accepted_and_nothing_else() {
    let device = Device::flex();
    for device in [device.clone(), device.autodiff()] {
        assert!(fused::accepts(&floats(&[1.0], [1, 1], &device, DType::F32)));
        assert!(!fused::accepts(&floats(&[1.0], [1, 1], &device, DType::F64)));
    }
}

#[test]
fn plainly_turns_fused_forms_off_on_this_thread_until_it_ends() {
    let row = |n: usize| floats(&numbers(4 * n, 1), [n, 4], &Device::flex(), DType::F32);
    let weight = || floats(&[1.0, 0.5, -0.5, 2.0], [4], &Device::flex(), DType::F32);
    let accepted = move || fused::accepts(&row(1));
    let norm = || values(rms_norm(row(3), weight(), 1e-5));
    let (inside, elsewhere) = plainly(|| {
        let elsewhere = std::thread::spawn(accepted).join().expect("no panic");
        // Nested, and still plain afterwards.
        assert!(!plainly(accepted) && !accepted());
        (norm(), elsewhere)
    });
    assert!(elsewhere && accepted());
    for (plain, other) in inside.iter().zip(norm()) {
        assert!((plain - other).abs() < 1e-5, "{plain} {other}");
    }
    let failed: std::thread::Result<()> = std::panic::catch_unwind(|| plainly(|| panic!("as a test")));
    assert!(failed.is_err() && accepted(), "a panic ends it too");
}

#[test]
fn rms_norm_is_plain() {
    for [n, width] in [[1, 1], [3, 7], [5, 33], [700, 50], [2, 20000]] {
        check("rms_norm", [[n, width], [1, width]], |[x, weight]| rms_norm(x, weight.reshape([width]), 1e-5));
    }
}

#[test]
fn rope_is_plain() {
    for [n, heads, half] in [[1, 1, 1], [5, 3, 5], [90, 9, 24]] {
        let angles = numbers(n * half, 5);
        check("rope", [[n, heads * 2 * half]], |[x]| {
            let table = |of: fn(f64) -> f64| {
                let values: Vec<f64> = angles.iter().map(|angle| of(*angle)).collect();
                floats(&values, [n, half], &x.device(), x.dtype())
            };
            let (cos, sin) = (table(f64::cos), table(f64::sin));
            rope(x, cos, sin)
        });
    }
}

#[test]
fn gated_activations_are_plain() {
    for shape in [[1, 1], [3, 17], [70, 700]] {
        // Also far out, where the gate is open or shut.
        for factor in [1.0, 20.0] {
            check("swiglu", [shape, shape], |[gate, up]| swiglu(gate.mul_scalar(factor), up));
            check("geglu", [shape, shape], |[gate, up]| geglu(gate.mul_scalar(factor), up));
        }
    }
}

#[test]
fn products_with_normalised_rows_are_plain() {
    for [n, width, outputs] in [[1, 1, 1], [3, 7, 20], [70, 300, 40]] {
        check("rms_norm_product", [[n, width], [1, width], [width, outputs]], |[x, norm, weight]| {
            rms_norm_product(x, norm.reshape([width]), 1e-5, weight.mul_scalar(0.125))
        });
    }
}

#[test]
fn products_with_gated_activations_are_plain() {
    for [n, wide, narrow] in [[1, 1, 1], [3, 17, 5], [70, 300, 90]] {
        check("swiglu_product", [[n, wide], [n, wide], [wide, narrow]], |[gate, up, weight]| {
            swiglu_product(gate, up, weight.mul_scalar(0.125))
        });
        check("geglu_product", [[n, wide], [n, wide], [wide, narrow]], |[gate, up, weight]| {
            geglu_product(gate, up, weight.mul_scalar(0.125))
        });
    }
}

#[test]
fn log_probabilities_of_a_head_are_plain_whatever_the_chunk() {
    for [n, hidden, vocab] in [[1, 1, 1], [3, 5, 7], [37, 33, 203]] {
        let targets: Vec<i64> = (0..n).map(|row| ((row * 31) % vocab) as i64).collect();
        for (chunk, softcap) in [(1, None), (4, None), (1000, None), (4, Some(2.0)), (1000, Some(30.0))] {
            for (layout, weights) in [(HeadLayout::Embedding, [vocab, hidden]), (HeadLayout::Linear, [hidden, vocab])] {
                check("head_logps", [[n, hidden], weights], |[states, weight]| {
                    let targets = integers(&targets, [n], &states.device());
                    head_logps(states, weight, &HeadShape { layout, softcap }, targets, chunk).reshape([1, n])
                });
            }
        }
    }
}

#[test]
fn token_logps_are_plain() {
    for [n, vocab] in [[1, 1], [3, 7], [37, 1003]] {
        let targets: Vec<i64> = (0..n).map(|row| ((row * 31) % vocab) as i64).collect();
        for factor in [1.0, 50.0] {
            check("token_logps", [[n, vocab]], |[logits]| {
                let targets = integers(&targets, [n], &logits.device());
                token_logps(logits.mul_scalar(factor), targets).reshape([1, n])
            });
        }
    }
}

/// A packing from the length and the parent of each span.
fn packed(spans: &[(usize, Option<usize>)]) -> Packing {
    let mut packing = Packing::default();
    for (len, parent) in spans {
        packing.push(*len, *parent).expect("parents come first");
    }
    packing
}

fn check_attention(what: &str, packing: &Packing, window: Option<usize>, shape: AttentionShape) {
    let n = packing.tokens();
    let (width, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    check(what, [[n, width], [n, keys], [n, keys]], |[q, k, v]| {
        let sight = Sight::new(packing, window, &q.device());
        attention(q, k, v, &sight, &shape)
    });
}

fn heads(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f64).sqrt(), softcap: None }
}

#[test]
fn attention_is_plain() {
    let packings = [
        ("one token", packed(&[(1, None)])),
        ("a prompt and two responses", packed(&[(37, None), (5, Some(0)), (70, Some(0))])),
        ("a group of four", packed(&[(64, None), (3, Some(0)), (32, Some(0)), (0, Some(0)), (33, Some(0))])),
        ("a tree", packed(&[(9, None), (40, Some(0)), (0, Some(1)), (17, Some(2)), (1, Some(1)), (35, Some(3))])),
        ("several sequences", packed(&[(0, None), (50, None), (31, None), (1, None), (6, Some(2)), (96, None)])),
    ];
    for (what, packing) in &packings {
        for shape in [heads(1, 1, 4), heads(3, 1, 16), heads(4, 4, 10), heads(6, 2, 24)] {
            for (window, softcap) in [(None, None), (Some(20), None), (None, Some(2.0)), (Some(1), Some(1.5))] {
                let case = format!("{what}, {} of {} heads, {window:?}, {softcap:?}", shape.kv_heads, shape.heads);
                check_attention(&case, packing, window, AttentionShape { softcap, ..shape });
            }
        }
    }
}

#[test]
fn a_graph_is_recorded_where_one_is_asked_for() {
    let device = Device::flex();
    let x = floats(&numbers(12, 1), [3, 4], &device, DType::F32);
    let y = swiglu(x.clone(), x.clone());
    assert!(!y.device().is_autodiff());
    // A tensor that is outside of the graph is a constant beside one that is in it.
    let up = floats(&numbers(12, 2), [3, 4], &device.autodiff(), DType::F32).require_grad();
    let grads = swiglu(x.clone(), up.clone()).sum().backward();
    let gradient = values(up.grad(&grads).expect("it is tracked"));
    // d/du of silu(x) u is silu(x), the result for u = 1.
    assert_eq!(gradient, values(swiglu(x.clone(), x.ones_like())));
}

#[test]
fn the_layout_of_a_tensor_changes_nothing() {
    let x = floats(&numbers(12, 1), [3, 4], &Device::flex(), DType::F32);
    let expected = values(swiglu(x.clone(), x.clone()));
    let turned = x.clone().transpose();
    assert_eq!(values(swiglu(turned.clone(), turned).transpose()), expected);
    let rows = x.slice([1..3, 0..4]);
    assert_eq!(values(swiglu(rows.clone(), rows)), expected[4..]);
}

#[test]
fn squares_and_products_are_those_of_f64() {
    let numbers = numbers(40_000, 3);
    let x = || floats(&numbers, [400, 100], &Device::flex(), DType::F32);
    // Multiples of 1/256 below 4: f64 holds their sum exactly, and so does f32 for 256 of them.
    assert_eq!(sum_of_squares(x()), numbers.iter().map(|x| x * x).sum::<f64>());
    assert_eq!(values(times(x(), 0.5)), numbers.iter().map(|x| x * 0.5).collect::<Vec<_>>());
    let kept = x();
    times(kept.clone(), 2.0);
    assert_eq!(values(kept), numbers, "a shared tensor is not written");
}

/// Spans of up to 40 tokens, each with a parent among the earlier ones or none.
fn any_packing() -> impl Strategy<Value = Packing> {
    prop::collection::vec((0..40usize, any::<prop::sample::Index>(), any::<bool>()), 1..8).prop_map(|spans| {
        let mut packing = Packing::default();
        for (number, (len, parent, root)) in spans.into_iter().enumerate() {
            let parent = (number > 0 && !root).then(|| parent.index(number));
            packing.push(len, parent).expect("parents come first");
        }
        packing.push(1, None).expect("a new sequence");
        packing
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fused_attention_is_plain_on_any_packing(
        packing in any_packing(),
        window in prop::option::of(1..50usize),
        softcap in prop::option::of(1.0..4.0f64),
        group in 1..4usize,
        kv_heads in 1..3usize,
        head_dim in 1..20usize,
    ) {
        let shape = AttentionShape { softcap, ..heads(group * kv_heads, kv_heads, head_dim) };
        check_attention("any packing", &packing, window, shape);
    }
}
