//! Gradients of a whole model: divided once, and clipped by their joint norm.

use ascribe_core::tensor::{sum_of_squares, times};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Sum of the squares of all gradients, in f64.
pub(crate) fn squared_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    struct Sum<'a> {
        gradients: &'a GradientsParams,
        total: f64,
    }
    impl ModuleVisitor for Sum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.total += sum_of_squares(gradient);
            }
        }
    }
    let mut sum = Sum { gradients, total: 0.0 };
    model.visit(&mut sum);
    sum.total
}

/// Every gradient times `factor`: for learners that weigh what they add up.
pub fn scaled<M: Module>(model: &M, gradients: GradientsParams, factor: f64) -> GradientsParams {
    struct Scale {
        gradients: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register(param.id, times(gradient, self.factor));
            }
        }
    }
    let mut scale = Scale { gradients, factor };
    model.visit(&mut scale);
    scale.gradients
}
