//! Gated activations `y = f(gate) up`; backward computes `f` again and writes into the buffers of the inputs.
//!
//! ```text
//! silu:  f = x s,               f' = s (1 + x (1 - s)),                          s = 1 / (1 + e^-x)
//! gelu:  f = x / 2 (1 + t),     f' = (1 + t) / 2 + x / 2 (1 - t^2) c (1 + 3 a x^2),   t = tanh(c (x + a x^3))
//! ```

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use pulp::Arch;

use super::{contiguous, floats, tensor};
use crate::kernels::vector::{PIECE, exp, parallel, tanh};

/// What the gate goes through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gate {
    Silu,
    Gelu,
}

/// Value and slope.
#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = 1.0 / (1.0 + exp(-x));
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// Value and slope, by the tanh formula.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    /// `sqrt(2 / pi)`
    const C: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
    const A: f32 = 0.044_715;
    let t = tanh(C * (x + A * x * x * x));
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * C * (1.0 + 3.0 * A * x * x))
}

/// All shapes are equal; both inputs contiguous.
pub(super) fn forward(gate: &FlexTensor, up: &FlexTensor, kind: Gate) -> FlexTensor {
    let y = match kind {
        Gate::Silu => times(floats(gate), floats(up), silu),
        Gate::Gelu => times(floats(gate), floats(up), gelu),
    };
    tensor(y, gate.layout().shape())
}

fn times(gate: &[f32], up: &[f32], f: impl Fn(f32) -> (f32, f32) + Send + Sync) -> Vec<f32> {
    let mut y = vec![0.0; gate.len()];
    parallel(gate.len(), y.chunks_mut(PIECE).zip(gate.chunks(PIECE)).zip(up.chunks(PIECE)), |((y, gate), up)| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                    *y = f(*gate).0 * up;
                }
            },
        );
    });
    y
}

/// Gradients in the places of the inputs.
fn slopes(gate: &mut [f32], up: &mut [f32], dy: &[f32], f: impl Fn(f32) -> (f32, f32) + Send + Sync) {
    let pieces = gate.chunks_mut(PIECE).zip(up.chunks_mut(PIECE)).zip(dy.chunks(PIECE));
    parallel(dy.len(), pieces, |((gate, up), dy)| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((gate, up), dy) in gate.iter_mut().zip(up.iter_mut()).zip(dy) {
                    let (value, slope) = f(*gate);
                    *gate = dy * *up * slope;
                    *up = dy * value;
                }
            },
        );
    });
}

/// Gradients of gate and up, in their places; `dy` is contiguous.
pub(super) fn backward(
    mut gate: FlexTensor,
    mut up: FlexTensor,
    dy: &FlexTensor,
    kind: Gate,
) -> (FlexTensor, FlexTensor) {
    let (into_gate, into_up) = (gate.storage_mut::<f32>(), up.storage_mut::<f32>());
    match kind {
        Gate::Silu => slopes(into_gate, into_up, floats(dy), silu),
        Gate::Gelu => slopes(into_gate, into_up, floats(dy), gelu),
    }
    (gate, up)
}

#[derive(Debug)]
pub(super) struct Gated;

impl Backward<Flex, 2> for Gated {
    /// Gate and up, and what the gate goes through.
    type State = (FlexTensor, FlexTensor, Gate);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let (gate, up, kind) = ops.state;
        let (dgate, dup) = backward(gate, up, &dy, kind);
        let [gate, up] = ops.parents;
        if let Some(gate) = gate {
            grads.register::<Flex>(gate.id, dgate);
        }
        if let Some(up) = up {
            grads.register::<Flex>(up.id, dup);
        }
    }
}
