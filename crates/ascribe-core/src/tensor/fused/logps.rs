//! Log-probabilities of chosen tokens; backward writes into the buffer of the logits where nobody else holds it.
//!
//! ```text
//! logp = logits[t] - m - log z,   m = max_v logits[v],   z = sum_v exp(logits[v] - m)
//! dlogits[v] = dy ([v = t] - exp(logits[v] - m) / z),   times 1 - (logits[v] / c)^2 where logits are c tanh(. / c)
//! ```

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use pulp::Arch;

use super::{contiguous, floats};
use crate::kernels::vector::{PIECE, exp, largest, parallel, sum, tanh};

/// What a row needs to be normalized again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizer {
    largest: f32,
    total: f32,
}

/// Each target on the host.
pub(super) fn indices(targets: FlexTensor) -> Vec<usize> {
    targets.into_data().iter::<i64>().map(|target| target as usize).collect()
}

/// `logits`: `[n, vocab]`, contiguous; result: `[n]`.
pub(super) fn forward(logits: &FlexTensor, targets: &[usize]) -> (FlexTensor, Vec<Normalizer>) {
    let vocab = logits.layout().shape()[1].max(1);
    let logits = floats(logits);
    let rows = (PIECE / vocab).max(1);
    let pieces = parallel(
        logits.len(),
        logits.chunks(rows * vocab).zip(targets.chunks(rows)),
        |(logits, targets)| -> Vec<(f32, Normalizer)> {
            logits.chunks_exact(vocab).zip(targets).map(|(row, target)| logp(row, *target)).collect()
        },
    );
    let (logps, normalizers): (Vec<f32>, Vec<Normalizer>) = pieces.into_iter().flatten().unzip();
    let n = logps.len();
    (FlexTensor::from_data(TensorData::new(logps, [n])), normalizers)
}

fn logp(row: &[f32], target: usize) -> (f32, Normalizer) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let largest = largest(row);
            let total = sum(row, |x| exp(x - largest));
            (row[target] - largest - total.ln(), Normalizer { largest, total })
        },
    )
}

/// `c tanh(z / c)` in the place of contiguous logits `z`.
pub(super) fn capped(mut logits: FlexTensor, cap: f32) -> FlexTensor {
    let work = logits.layout().num_elements();
    parallel(work, logits.storage_mut::<f32>().chunks_mut(PIECE), |piece| {
        Arch::new().dispatch(
            #[inline(always)]
            || piece.iter_mut().for_each(|x| *x = cap * tanh(*x / cap)),
        );
    });
    logits
}

/// Slope of `c tanh(z / c)`, from its value.
#[inline(always)]
fn slope(capped: f32, cap: f32) -> f32 {
    let t = capped / cap;
    1.0 - t * t
}

/// The gradient of the logits, in their place; with a cap, that of what was [`capped`].
pub(super) fn backward(
    logits: FlexTensor,
    targets: &[usize],
    normalizers: &[Normalizer],
    dy: FlexTensor,
    cap: Option<f32>,
) -> FlexTensor {
    let (mut logits, dy) = (contiguous(logits), contiguous(dy));
    let vocab = logits.layout().shape()[1].max(1);
    let work = logits.layout().num_elements();
    let rows = (PIECE / vocab).max(1);
    let pieces = logits
        .storage_mut::<f32>()
        .chunks_mut(rows * vocab)
        .zip(targets.chunks(rows))
        .zip(normalizers.chunks(rows).zip(floats(&dy).chunks(rows)));
    parallel(work, pieces, |((logits, targets), (normalizers, dy))| {
        let rows = logits.chunks_exact_mut(vocab).zip(targets).zip(normalizers.iter().zip(dy));
        for ((row, target), (normalizer, dy)) in rows {
            let (largest, share) = (normalizer.largest, -dy / normalizer.total);
            let at_target = cap.map_or(*dy, |cap| dy * slope(row[*target], cap));
            Arch::new().dispatch(
                #[inline(always)]
                || match cap {
                    Some(cap) => {
                        for x in row.iter_mut() {
                            *x = share * exp(*x - largest) * slope(*x, cap);
                        }
                    }
                    None => {
                        for x in row.iter_mut() {
                            *x = share * exp(*x - largest);
                        }
                    }
                },
            );
            row[*target] += at_target;
        }
    });
    logits
}

#[derive(Debug)]
pub(super) struct TokenLogps;

impl Backward<Flex, 1> for TokenLogps {
    /// Logits, targets, and what the rows are normalized by.
    type State = (FlexTensor, Vec<usize>, Vec<Normalizer>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (logits, targets, normalizers) = ops.state;
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<Flex>(parent.id, backward(logits, &targets, &normalizers, dy, None));
        }
    }
}
