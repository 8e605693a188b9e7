//! Rotary position embedding, in place where nobody else holds the input. Cosines and sines get no gradient.
//!
//! ```text
//! y1 = x1 cos - x2 sin,   y2 = x2 cos + x1 sin;   backward is the same turn by the opposite angle
//! ```

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use pulp::Arch;

use super::{contiguous, floats};
use crate::kernels::vector::{PIECE, parallel};

/// Which way to turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Forth,
    Back,
}

/// `x`: `[n, heads * head]`; cos and sin: `[n, head / 2]`, contiguous.
pub(super) fn turn(x: FlexTensor, cos: &FlexTensor, sin: &FlexTensor, way: Way) -> FlexTensor {
    let mut x = contiguous(x);
    let (width, half) = (x.layout().shape()[1].max(1), cos.layout().shape()[1].max(1));
    let sign = match way {
        Way::Forth => 1.0,
        Way::Back => -1.0,
    };
    let rows = (PIECE / width).max(1);
    let angles = floats(cos).chunks(rows * half).zip(floats(sin).chunks(rows * half));
    let work = x.layout().num_elements();
    parallel(work, x.storage_mut::<f32>().chunks_mut(rows * width).zip(angles), |(x, (cos, sin))| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
                for (x, (cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
                    for head in x.chunks_exact_mut(2 * half) {
                        turn_head(head, cos, sin, sign);
                    }
                }
            },
        );
    });
    x
}

#[inline(always)]
fn turn_head(head: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (a, b, sin) = (*first, *second, sign * sin);
        *first = a * cos - b * sin;
        *second = b * cos + a * sin;
    }
}

#[derive(Debug)]
pub(super) struct Rope;

impl Backward<Flex, 1> for Rope {
    /// Cosines and sines.
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (cos, sin) = ops.state;
        let [x] = ops.parents;
        if let Some(x) = x {
            grads.register::<Flex>(x.id, turn(dy, &cos, &sin, Way::Back));
        }
    }
}
