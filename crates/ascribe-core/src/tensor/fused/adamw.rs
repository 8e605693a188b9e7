//! What the optimizer does to each parameter, in place and on all threads. These tensors are outside of any graph.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use pulp::Arch;

use super::{accepts, contiguous, floats};
use crate::kernels::vector::{PIECE, parallel, sum};

/// Floats that are summed in f32 before they are added in f64.
const STRETCH: usize = 256;

/// One step of AdamW (arXiv:1711.05101) for one parameter, with the arithmetic of Burn's own:
///
/// ```text
/// m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
/// p = p (1 - rate decay) - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Number of this step, from 1.
    pub time: usize,
}

impl AdamWStep {
    /// Whether [`apply`](Self::apply) takes `x`: f32 on Burn's CPU backend, without autodiff.
    pub fn accepts<const D: usize>(x: &Tensor<D>) -> bool {
        accepts(x) && !x.device().is_autodiff()
    }

    /// Parameter, first and second moment after the step. Buffers that nobody else holds are written in place.
    ///
    /// # Panics
    /// When a tensor is not accepted, or the shapes differ.
    pub fn apply<const D: usize>(&self, [p, m, v]: [Tensor<D>; 3], gradient: Tensor<D>) -> [Tensor<D>; 3] {
        assert!(
            [&m, &v, &gradient].iter().all(|x| x.dims() == p.dims()),
            "a parameter, its gradient and its moments have one shape"
        );
        let (mut p, mut m, mut v, gradient) = (host(p), host(m), host(v), host(gradient));
        let step = Factors::new(self);
        let slices = (p.storage_mut::<f32>(), m.storage_mut::<f32>(), v.storage_mut::<f32>(), floats(&gradient));
        let work = slices.3.len();
        let moments = slices.1.chunks_mut(PIECE).zip(slices.2.chunks_mut(PIECE));
        let pieces = slices.0.chunks_mut(PIECE).zip(moments).zip(slices.3.chunks(PIECE));
        parallel(work, pieces, |((p, (m, v)), gradient)| {
            Arch::new().dispatch(
                #[inline(always)]
                || step.apply(p, m, v, gradient),
            );
        });
        [p, m, v].map(Tensor::<D>::from_primitive::<Flex>)
    }
}

/// The step's constants, rounded as Burn rounds them.
struct Factors {
    rate: f32,
    keep: f32,
    beta1: f32,
    beta2: f32,
    correction1: f32,
    correction2: f32,
    epsilon: f32,
}

impl Factors {
    fn new(step: &AdamWStep) -> Self {
        let time = step.time as i32;
        Self {
            rate: step.rate as f32,
            keep: (1.0 - step.rate * f64::from(step.weight_decay)) as f32,
            beta1: step.beta1,
            beta2: step.beta2,
            correction1: 1.0 - step.beta1.powi(time),
            correction2: 1.0 - step.beta2.powi(time),
            epsilon: step.epsilon,
        }
    }

    #[inline(always)]
    fn apply(&self, p: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32]) {
        let (new1, new2) = (1.0 - self.beta1, 1.0 - self.beta2);
        for (((p, m), v), gradient) in p.iter_mut().zip(m).zip(v).zip(gradient) {
            *m = *m * self.beta1 + gradient * new1;
            *v = *v * self.beta2 + gradient * gradient * new2;
            let delta = (*m / self.correction1) / ((*v / self.correction2).sqrt() + self.epsilon);
            *p = *p * self.keep - delta * self.rate;
        }
    }
}

/// Sum of the squares, in f64; `x` must be accepted by [`AdamWStep::accepts`].
pub(in crate::tensor) fn sum_of_squares<const D: usize>(x: Tensor<D>) -> f64 {
    let x = host(x);
    let x = floats(&x);
    let partial = parallel(x.len(), x.chunks(PIECE), |piece| {
        Arch::new().dispatch(
            #[inline(always)]
            || piece.chunks(STRETCH).map(|stretch| f64::from(sum(stretch, |x| x * x))).sum::<f64>(),
        )
    });
    partial.iter().sum()
}

/// `x * factor`, in place where nobody else holds `x`; `x` must be accepted by [`AdamWStep::accepts`].
pub(in crate::tensor) fn times<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    let (mut x, factor) = (host(x), factor as f32);
    let work = x.layout().num_elements();
    parallel(work, x.storage_mut::<f32>().chunks_mut(PIECE), |piece| {
        Arch::new().dispatch(
            #[inline(always)]
            || piece.iter_mut().for_each(|x| *x *= factor),
        );
    });
    Tensor::from_primitive::<Flex>(x)
}

fn host<const D: usize>(x: Tensor<D>) -> FlexTensor {
    contiguous(x.try_into_primitive::<Flex>().expect("invariant: the caller asked whether the tensor is accepted"))
}
