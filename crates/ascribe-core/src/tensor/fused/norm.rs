//! Root mean square norm.
//!
//! ```text
//! y  = x r w,   r = 1 / sqrt(mean(x^2) + epsilon)
//! dx = r (dy w) - x r^3 mean(dy w x),   dw = sum over rows of dy x r
//! ```

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use pulp::Arch;

use super::{contiguous, floats, tensor};
use crate::kernels::vector::{dot, parallel, piece, sum};

/// `x`: `[n, d]`; weight: `[d]`. Both contiguous.
pub(super) fn forward(x: &FlexTensor, weight: &FlexTensor, epsilon: f32) -> FlexTensor {
    let (shape, x, weight) = (x.layout().shape(), floats(x), floats(weight));
    let width = weight.len().max(1);
    let mut y = vec![0.0; x.len()];
    parallel(x.len(), y.chunks_mut(piece(width)).zip(x.chunks(piece(width))), |(y, x)| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let r = inverse(x, epsilon);
                    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                        *y = x * r * weight;
                    }
                }
            },
        );
    });
    tensor(y, shape)
}

/// `1 / sqrt(mean(x^2) + epsilon)`
#[inline(always)]
fn inverse(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(x, |x| x * x) / x.len() as f32 + epsilon).sqrt()
}

/// Gradients of `x` and, where it is `wanted`, of the weight; that of `x` takes the place of `dy`.
pub(super) fn backward(
    x: &FlexTensor,
    weight: &FlexTensor,
    epsilon: f32,
    dy: FlexTensor,
    wanted: bool,
) -> (FlexTensor, FlexTensor) {
    let mut dx = contiguous(dy);
    let (shape, x, weight) = (weight.layout().shape(), floats(x), floats(weight));
    let width = weight.len().max(1);
    let pieces = dx.storage_mut::<f32>().chunks_mut(piece(width)).zip(x.chunks(piece(width)));
    let partial = parallel(x.len(), pieces, |(dy, x)| {
        let mut dweight = vec![0.0f32; weight.len()];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (dy, x) in dy.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let r = inverse(x, epsilon);
                    if wanted {
                        for ((dy, x), dweight) in dy.iter().zip(x).zip(&mut dweight) {
                            *dweight += *dy * x * r;
                        }
                    }
                    dy.iter_mut().zip(weight).for_each(|(dy, weight)| *dy *= weight);
                    let pull = dot(dy, x) / width as f32 * r * r * r;
                    for (dy, x) in dy.iter_mut().zip(x) {
                        *dy = *dy * r - x * pull;
                    }
                }
            },
        );
        dweight
    });
    let mut dweight = vec![0.0f32; weight.len()];
    for partial in partial {
        for (sum, partial) in dweight.iter_mut().zip(partial) {
            *sum += partial;
        }
    }
    let dweight = tensor(dweight, shape);
    (dx, dweight)
}

#[derive(Debug)]
pub(super) struct RmsNorm;

impl Backward<Flex, 2> for RmsNorm {
    /// Input, weight, epsilon.
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let [x_parent, weight_parent] = ops.parents;
        let (dx, dweight) = backward(&x, &weight, epsilon, dy, weight_parent.is_some());
        if let Some(parent) = x_parent {
            grads.register::<Flex>(parent.id, dx);
        }
        if let Some(parent) = weight_parent {
            grads.register::<Flex>(parent.id, dweight);
        }
    }
}
