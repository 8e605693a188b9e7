//! Fused operations for training on the CPU: each is one pass forward and a hand-written pass backward.
//!
//! On Burn's backend `Flex` every plain operation walks the memory by itself, on one thread, and keeps its result for the
//! backward pass. The functions of [`tensor`](super) come here with tensors that [`accepts`] takes; everything else, such
//! as f64 and GPUs, takes their plain form, which the tests hold these against.
//!
//! Kernels are plain loops over slices that the compiler turns into vectors for the processor found at run time. Work is
//! cut by its shape alone and partial sums are added in order, so the number of threads does not show in the bits.

mod adamw;
mod attention;
mod gated;
mod head;
mod logps;
mod norm;
mod plan;
mod product;
mod rope;

use std::cell::Cell;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Device, Int, Shape, Tensor, TensorData};

pub use adamw::AdamWStep;
pub(super) use adamw::{sum_of_squares, times};
use attention::{PackedAttention, State, Task};
use gated::{Gate, Gated};
use head::{Head, HeadLogps};
use logps::TokenLogps;
use norm::RmsNorm;
pub(super) use plan::Plan;
use product::{GatedProduct, NormedProduct};
use rope::{Rope, Way};

use super::{AttentionShape, HeadShape};

thread_local! {
    /// Whether this thread computes by the plain forms.
    static PLAIN: Cell<bool> = const { Cell::new(false) };
}

/// Whether there is a fused form for `x`: f32 on Burn's CPU backend, with or without autodiff; not inside
/// [`plainly`](super::plainly).
pub fn accepts<const D: usize>(x: &Tensor<D>) -> bool {
    !PLAIN.get() && x.dtype() == DType::F32 && x.device() == Device::flex()
}

/// [`plainly`](super::plainly), where there is something to turn off.
pub(super) fn plainly<T>(work: impl FnOnce() -> T) -> T {
    /// Puts back what was before, also when `work` panics.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            PLAIN.set(self.0);
        }
    }
    let _back = Back(PLAIN.replace(true));
    work()
}

/// The operations as Burn's extension mechanism wants them: plain tensors on `Flex`, recorded ones on `Autodiff`.
#[backend_extension(Flex, Autodiff)]
trait FusedOps: Backend {
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;

    fn fused_rope(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, kind: Gate) -> FloatTensor<Self>;

    fn fused_normed_product(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    fn fused_gated_product(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        kind: Gate,
    ) -> FloatTensor<Self>;

    fn fused_token_logps(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;

    fn fused_head_logps(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        head: Head,
    ) -> FloatTensor<Self>;

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        task: Task,
    ) -> FloatTensor<Self>;
}

impl FusedOps for Flex {
    fn fused_rms_norm(x: FlexTensor, weight: FlexTensor, epsilon: f32) -> FlexTensor {
        norm::forward(&contiguous(x), &contiguous(weight), epsilon)
    }

    fn fused_rope(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        rope::turn(x, &contiguous(cos), &contiguous(sin), Way::Forth)
    }

    fn fused_gated(gate: FlexTensor, up: FlexTensor, kind: Gate) -> FlexTensor {
        gated::forward(&contiguous(gate), &contiguous(up), kind)
    }

    fn fused_normed_product(x: FlexTensor, norm: FlexTensor, weight: FlexTensor, epsilon: f32) -> FlexTensor {
        product::normed(&contiguous(x), &contiguous(norm), epsilon, &weight)
    }

    fn fused_gated_product(gate: FlexTensor, up: FlexTensor, weight: FlexTensor, kind: Gate) -> FlexTensor {
        product::gated(&contiguous(gate), &contiguous(up), &weight, kind)
    }

    fn fused_head_logps(states: FlexTensor, weight: FlexTensor, targets: FlexTensor, head: Head) -> FlexTensor {
        head::forward(&states, &weight, &logps::indices(targets), &head).0
    }

    fn fused_token_logps(logits: FlexTensor, targets: FlexTensor) -> FlexTensor {
        logps::forward(&contiguous(logits), &logps::indices(targets)).0
    }

    fn fused_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, task: Task) -> FlexTensor {
        attention::forward(&contiguous(q), &contiguous(k), &contiguous(v), &task).0
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (x, weight) = (contiguous(x), contiguous(weight));
        let y = norm::forward(&x, &weight, epsilon);
        match Backward::<Flex, 2>::prepare::<C>(RmsNorm, [x_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, weight, epsilon), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_rope(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (cos, sin) = (contiguous(cos.into_primitive()), contiguous(sin.into_primitive()));
        let y = rope::turn(x, &cos, &sin, Way::Forth);
        match Backward::<Flex, 1>::prepare::<C>(Rope, [node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos, sin), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, kind: Gate) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        let (gate, up) = (contiguous(gate), contiguous(up));
        let y = gated::forward(&gate, &up, kind);
        match Backward::<Flex, 2>::prepare::<C>(Gated, [gate_node, up_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((gate, up, kind), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_normed_product(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (norm, norm_node)) = (x.into_parts(), norm.into_parts());
        let (weight, weight_node) = weight.into_parts();
        let (x, norm) = (contiguous(x), contiguous(norm));
        let y = product::normed(&x, &norm, epsilon, &weight);
        let nodes = [x_node, norm_node, weight_node];
        match Backward::<Flex, 3>::prepare::<C>(NormedProduct, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, norm, epsilon, weight), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_gated_product(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        kind: Gate,
    ) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        let (weight, weight_node) = weight.into_parts();
        let (gate, up) = (contiguous(gate), contiguous(up));
        let y = product::gated(&gate, &up, &weight, kind);
        let nodes = [gate_node, up_node, weight_node];
        match Backward::<Flex, 3>::prepare::<C>(GatedProduct, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((gate, up, weight, kind), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_head_logps(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        head: Head,
    ) -> FloatTensor<Self> {
        let ((states, states_node), (weight, weight_node)) = (states.into_parts(), weight.into_parts());
        let targets = logps::indices(targets);
        let (y, kept) = head::forward(&states, &weight, &targets, &head);
        match Backward::<Flex, 2>::prepare::<C>(HeadLogps, [states_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((states, weight, targets, kept, head), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_token_logps(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let (logits, targets) = (contiguous(logits), logps::indices(targets));
        let (y, normalizers) = logps::forward(&logits, &targets);
        match Backward::<Flex, 1>::prepare::<C>(TokenLogps, [node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((logits, targets, normalizers), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        task: Task,
    ) -> FloatTensor<Self> {
        let ((q, q_node), (k, k_node), (v, v_node)) = (q.into_parts(), k.into_parts(), v.into_parts());
        let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
        let (y, lse) = attention::forward(&q, &k, &v, &task);
        match Backward::<Flex, 3>::prepare::<C>(PackedAttention, [q_node, k_node, v_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(State { q, k, v, mixed: y.clone(), lse, task }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

pub(super) fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let y = <Dispatch as FusedOps>::fused_rms_norm(x.into_dispatch(), weight.into_dispatch(), epsilon as f32);
    Tensor::from_dispatch(y)
}

pub(super) fn rope(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
    let y = <Dispatch as FusedOps>::fused_rope(x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch());
    Tensor::from_dispatch(y)
}

pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let y = <Dispatch as FusedOps>::fused_gated(gate.into_dispatch(), up.into_dispatch(), Gate::Silu);
    Tensor::from_dispatch(y)
}

pub(super) fn geglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let y = <Dispatch as FusedOps>::fused_gated(gate.into_dispatch(), up.into_dispatch(), Gate::Gelu);
    Tensor::from_dispatch(y)
}

pub(super) fn rms_norm_product(x: Tensor<2>, norm: Tensor<1>, epsilon: f64, weight: Tensor<2>) -> Tensor<2> {
    let (x, norm, weight) = (x.into_dispatch(), norm.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_normed_product(x, norm, weight, epsilon as f32))
}

pub(super) fn swiglu_product(gate: Tensor<2>, up: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    gated_product(gate, up, weight, Gate::Silu)
}

pub(super) fn geglu_product(gate: Tensor<2>, up: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    gated_product(gate, up, weight, Gate::Gelu)
}

fn gated_product(gate: Tensor<2>, up: Tensor<2>, weight: Tensor<2>, kind: Gate) -> Tensor<2> {
    let (gate, up, weight) = (gate.into_dispatch(), up.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gated_product(gate, up, weight, kind))
}

pub(super) fn head_logps(
    states: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    shape: &HeadShape,
    chunk: usize,
) -> Tensor<1> {
    let (states, weight, targets) = (states.into_dispatch(), weight.into_dispatch(), targets.into_dispatch());
    let head = Head { shape: *shape, chunk };
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_head_logps(states, weight, targets, head))
}

pub(super) fn token_logps(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let y = <Dispatch as FusedOps>::fused_token_logps(logits.into_dispatch(), targets.into_dispatch());
    Tensor::from_dispatch(y)
}

pub(super) fn attention([q, k, v]: [Tensor<2>; 3], plan: &Arc<Plan>, shape: &AttentionShape) -> Tensor<2> {
    let task = Task { plan: Arc::clone(plan), shape: *shape };
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(q, k, v, task))
}

/// `x` with its elements in order and nothing else in its buffer.
fn contiguous(x: FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

/// The elements of a contiguous tensor.
fn floats(x: &FlexTensor) -> &[f32] {
    x.storage::<f32>()
}

fn tensor(values: Vec<f32>, shape: &Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.clone()))
}
