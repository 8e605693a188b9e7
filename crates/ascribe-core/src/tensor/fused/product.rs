//! The end of a gated feed-forward block, `(f(gate) * up) W`, which holds nothing for the backward pass but its inputs:
//! the product in front of `W` is cheap to compute again, and as wide as everything else that a layer holds of a token.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;

use super::contiguous;
use super::gated::{self, Gate};

/// Gate and up: `[n, wide]`, contiguous; weight: `[wide, narrow]`.
pub(super) fn forward(gate: &FlexTensor, up: &FlexTensor, weight: &FlexTensor, kind: Gate) -> FlexTensor {
    Flex::float_matmul(gated::forward(gate, up, kind), weight.clone())
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
