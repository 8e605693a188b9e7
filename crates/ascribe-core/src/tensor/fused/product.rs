//! Products whose left side is cheap to compute again, `norm(x) W` and `(f(gate) * up) W`: the backward pass finds their
//! inputs alone, and those are held by their neighbours anyway.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;

use super::contiguous;
use super::gated::{self, Gate};
use super::norm;

/// Gate and up: `[n, wide]`, contiguous; weight: `[wide, narrow]`.
pub(super) fn gated(gate: &FlexTensor, up: &FlexTensor, weight: &FlexTensor, kind: Gate) -> FlexTensor {
    Flex::float_matmul(gated::forward(gate, up, kind), weight.clone())
}

/// x: `[n, d]` and the norm's weight `[d]`, contiguous; weight: `[d, m]`.
pub(super) fn normed(x: &FlexTensor, norm: &FlexTensor, epsilon: f32, weight: &FlexTensor) -> FlexTensor {
    Flex::float_matmul(norm::forward(x, norm, epsilon), weight.clone())
}

#[derive(Debug)]
pub(super) struct NormedProduct;

impl Backward<Flex, 3> for NormedProduct {
    /// Input, weight of the norm, epsilon, and weight.
    type State = (FlexTensor, FlexTensor, f32, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let (x, norm, epsilon, weight) = ops.state;
        let [x_parent, norm_parent, weight_parent] = ops.parents;
        if let Some(parent) = weight_parent {
            let normed = norm::forward(&x, &norm, epsilon);
            grads.register::<Flex>(parent.id, Flex::float_matmul(normed.transpose(0, 1), dy.clone()));
        }
        if x_parent.is_none() && norm_parent.is_none() {
            return;
        }
        let normed = Flex::float_matmul(dy, weight.transpose(0, 1));
        let (dx, dnorm) = norm::backward(&x, &norm, epsilon, normed, norm_parent.is_some());
        if let Some(parent) = x_parent {
            grads.register::<Flex>(parent.id, dx);
        }
        if let Some(parent) = norm_parent {
            grads.register::<Flex>(parent.id, dnorm);
        }
    }
}

#[derive(Debug)]
pub(super) struct GatedProduct;

impl Backward<Flex, 3> for GatedProduct {
    /// Gate, up and weight, and what the gate goes through.
    type State = (FlexTensor, FlexTensor, FlexTensor, Gate);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let (gate, up, weight, kind) = ops.state;
        let [gate_parent, up_parent, weight_parent] = ops.parents;
        if let Some(parent) = weight_parent {
            let inner = gated::forward(&gate, &up, kind);
            grads.register::<Flex>(parent.id, Flex::float_matmul(inner.transpose(0, 1), dy.clone()));
        }
        if gate_parent.is_none() && up_parent.is_none() {
            return;
        }
        let inner = Flex::float_matmul(dy, weight.transpose(0, 1));
        let (gate, up) = gated::backward(gate, up, &contiguous(inner), kind);
        if let Some(parent) = gate_parent {
            grads.register::<Flex>(parent.id, gate);
        }
        if let Some(parent) = up_parent {
            grads.register::<Flex>(parent.id, up);
        }
    }
}
