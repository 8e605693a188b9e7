//! Log-probabilities of chosen tokens straight from hidden states: logits exist for a chunk of rows at a time. The backward
//! pass finds those of a single chunk as they were, in a buffer that it needs anyway, and computes those of several again, so
//! that memory does not grow with rows times vocabulary.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::TensorData;

use super::logps::{self, Normalizer};
use super::{contiguous, floats};
use crate::tensor::{HeadLayout, HeadShape};

/// What a head is, and how many rows of logits are held.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub shape: HeadShape,
    pub chunk: usize,
}

impl Head {
    /// Logits of rows `[m, hidden]`, contiguous.
    fn logits(&self, states: FlexTensor, weight: &FlexTensor) -> FlexTensor {
        let logits = contiguous(match self.shape.layout {
            HeadLayout::Embedding => Flex::float_matmul(states, weight.transpose(0, 1)),
            HeadLayout::Linear => Flex::float_matmul(states, weight.clone()),
        });
        match self.softcap() {
            Some(cap) => logps::capped(logits, cap),
            None => logits,
        }
    }

    fn softcap(&self) -> Option<f32> {
        self.shape.softcap.map(|cap| cap as f32)
    }

    /// Rows of each chunk, with the chunk itself.
    fn chunks<'a>(&self, states: &'a FlexTensor) -> impl Iterator<Item = (std::ops::Range<usize>, FlexTensor)> + 'a {
        let rows = states.layout().shape()[0];
        let chunk = self.chunk.max(1);
        (0..rows).step_by(chunk).map(move |start| {
            let end = (start + chunk).min(rows);
            (start..end, contiguous(states.narrow(0, start, end - start)))
        })
    }
}

/// What the backward pass needs beside the inputs: what the rows are normalized by, and the logits of a single chunk.
pub(super) type Kept = (Vec<Normalizer>, Option<FlexTensor>);

/// States: `[n, hidden]`; result: `[n]`.
pub(super) fn forward(states: &FlexTensor, weight: &FlexTensor, targets: &[usize], head: &Head) -> (FlexTensor, Kept) {
    if (1..=head.chunk).contains(&targets.len()) {
        let logits = head.logits(contiguous(states.clone()), weight);
        let (logps, normalizers) = logps::forward(&logits, targets);
        return (logps, (normalizers, Some(logits)));
    }
    let (mut logps, mut normalizers) = (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
    for (rows, states) in head.chunks(states) {
        let (some, normalized) = logps::forward(&head.logits(states, weight), &targets[rows]);
        logps.extend_from_slice(floats(&some));
        normalizers.extend(normalized);
    }
    let n = logps.len();
    (FlexTensor::from_data(TensorData::new(logps, [n])), (normalizers, None))
}

#[derive(Debug)]
pub(super) struct HeadLogps;

impl Backward<Flex, 2> for HeadLogps {
    /// States and weight, targets, what was kept, and the head.
    type State = (FlexTensor, FlexTensor, Vec<usize>, Kept, Head);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let (states, weight, targets, (normalizers, mut kept), head) = ops.state;
        let [states_parent, weight_parent] = ops.parents;
        let (mut dstates, mut dweight) = (Vec::new(), None);
        for (rows, states) in head.chunks(&states) {
            let logits = kept.take().unwrap_or_else(|| head.logits(states.clone(), &weight));
            let dy = contiguous(dy.narrow(0, rows.start, rows.len()));
            let (targets, normalizers) = (&targets[rows.clone()], &normalizers[rows]);
            let dlogits = logps::backward(logits, targets, normalizers, dy, head.softcap()); // [m, vocab]
            if states_parent.is_some() {
                let some = match head.shape.layout {
                    HeadLayout::Embedding => Flex::float_matmul(dlogits.clone(), weight.clone()),
                    HeadLayout::Linear => Flex::float_matmul(dlogits.clone(), weight.transpose(0, 1)),
                };
                dstates.extend_from_slice(floats(&contiguous(some)));
            }
            if weight_parent.is_some() {
                let some = match head.shape.layout {
                    HeadLayout::Embedding => Flex::float_matmul(dlogits.transpose(0, 1), states),
                    HeadLayout::Linear => Flex::float_matmul(states.transpose(0, 1), dlogits),
                };
                dweight = Some(match dweight {
                    Some(sum) => Flex::float_add(sum, some),
                    None => some,
                });
            }
        }
        if let Some(parent) = states_parent {
            let shape = states.layout().shape().clone();
            grads.register::<Flex>(parent.id, FlexTensor::from_data(TensorData::new(dstates, shape)));
        }
        if let (Some(parent), Some(dweight)) = (weight_parent, dweight) {
            grads.register::<Flex>(parent.id, dweight);
        }
    }
}
