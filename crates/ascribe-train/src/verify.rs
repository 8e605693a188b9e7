//! Fused operations held against their plain forms inside a run: the same rows are learned twice, and what came of it is
//! compared.

use ascribe_core::tensor::{plainly, sum_of_squares};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::{Learned, Learner, TrainError};

/// How far the losses may be apart.
const LOSS: f64 = 1e-3;

/// How far the gradients may be apart. Both forms round in f32, and differ by 1e-5 to 1e-3; a wrong kernel by far more.
const GRADIENT: f64 = 1e-2;

/// How far fused operations are from their plain forms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedCheck {
    /// Difference of the summed losses, over the larger of the plain one and its weight. At least 0.
    pub loss: f64,
    /// Norm of the difference of the gradients over the norm of the plain ones. At least 0.
    pub gradient: f64,
}

impl FusedCheck {
    /// Learns again by the plain forms, as `learn` does, and compares with what was learned, from a learner that remembered
    /// `before`; what it remembers now stays. Costs one learning; where nothing is fused, both are the same.
    ///
    /// # Errors
    /// As `learn`, and when the losses differ by more than 1e-3 or the gradients by more than 1e-2.
    pub(crate) fn of<L: Learner>(
        learner: &L,
        model: &L::Model,
        learn: impl FnOnce() -> Result<Learned, TrainError>,
        before: &[u64],
        fused: &Learned,
    ) -> Result<Self, TrainError> {
        let after = learner.memory();
        learner.remember(before)?;
        let plain = plainly(learn);
        learner.remember(&after)?;
        let plain = plain?;
        let check = plainly(|| Self::between(model, fused, &plain));
        // What is no number by either form is the fault of rows or model, which the step tells.
        let spoilt = !fused.tally.loss.is_finite() && !plain.tally.loss.is_finite();
        if spoilt || (check.loss <= LOSS && check.gradient <= GRADIENT) {
            return Ok(check);
        }
        Err(TrainError::Fused { loss: check.loss, gradient: check.gradient })
    }

    fn between<M: Module>(model: &M, fused: &Learned, plain: &Learned) -> Self {
        let mut sums = Sums { fused: &fused.gradients, plain: &plain.gradients, apart: 0.0, whole: 0.0 };
        model.visit(&mut sums);
        let over = |difference: f64, whole: f64| if difference == 0.0 { 0.0 } else { difference / whole };
        Self {
            loss: over((fused.tally.loss - plain.tally.loss).abs(), plain.tally.loss.abs().max(plain.tally.weight)),
            gradient: over(sums.apart.sqrt(), sums.whole.sqrt()),
        }
    }
}

/// Sums of squares over all parameters.
struct Sums<'a> {
    fused: &'a GradientsParams,
    plain: &'a GradientsParams,
    /// Of the differences.
    apart: f64,
    /// Of the plain gradients.
    whole: f64,
}

impl ModuleVisitor for Sums<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (fused, plain) = (self.fused.get::<D>(param.id), self.plain.get::<D>(param.id));
        if let Some(plain) = &plain {
            self.whole += sum_of_squares(plain.clone());
        }
        // A gradient that one of them lacks is a difference of its whole size.
        let apart = match (fused, plain) {
            (Some(fused), Some(plain)) => Some(fused - plain),
            (one, other) => one.or(other),
        };
        self.apart += apart.map_or(0.0, sum_of_squares);
    }
}

#[cfg(all(test, feature = "fused"))]
mod tests {
    use ascribe_core::tensor::{fused, rms_norm};
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::{Fit, FitConfig, Tally};

    #[derive(Module, Debug)]
    struct Weight {
        weight: Param<Tensor<1>>,
    }

    /// The sum of a norm of the row, times something where operations are fused: a kernel that is wrong by so much.
    struct Norm {
        wrong: f64,
    }

    impl Learner for Norm {
        type Model = Weight;
        type Row = [f32; 4];

        fn learn(&self, model: &Weight, rows: &[&[f32; 4]]) -> Result<Learned, TrainError> {
            let weight = model.weight.val();
            let values: Vec<f32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
            let x = Tensor::<2>::from_data(TensorData::new(values, [rows.len(), 4]), &weight.device());
            let factor = if fused::accepts(&x) { self.wrong } else { 1.0 };
            let loss = rms_norm(x, weight, 1e-5).sum().mul_scalar(factor);
            let tally = Tally {
                loss: loss.clone().into_data().iter::<f64>().sum(),
                weight: rows.len() as f64,
                ..Tally::default()
            };
            let gradients = GradientsParams::from_grads(loss.backward(), model);
            Ok(Learned { gradients, tally })
        }

        fn measure(&self, model: &Weight, rows: &[&[f32; 4]]) -> Result<Tally, TrainError> {
            Ok(self.learn(model, rows)?.tally)
        }
    }

    static ROWS: [[f32; 4]; 2] = [[1.0, -2.0, 0.5, 3.0], [0.25, 1.5, -1.0, 2.0]];

    fn model() -> Weight {
        let device = Device::flex().autodiff();
        let values = TensorData::new(vec![1.0f32, 0.5, -0.5, 2.0], [4]);
        Weight { weight: Param::from_tensor(Tensor::from_data(values, &device)) }
    }

    fn check(wrong: f64) -> Result<FusedCheck, TrainError> {
        let (learner, model, rows) = (Norm { wrong }, model(), [&ROWS[0], &ROWS[1]]);
        let fused = learner.learn(&model, &rows)?;
        FusedCheck::of(&learner, &model, || learner.learn_window(&model, &rows, 1), &[], &fused)
    }

    /// A run of two steps of one row.
    fn run_over<'a>(rows: &'static [[f32; 4]], learner: &'a Norm, checked: bool) -> Fit<'a, Norm> {
        let config = FitConfig { max_steps: 2, per_device_train_batch_size: 1, ..FitConfig::default() };
        let fit = Fit::new(learner, model(), rows, config).expect("the options are sound");
        if checked { fit.with_fused_check() } else { fit }
    }

    fn fit(learner: &Norm, checked: bool) -> Fit<'_, Norm> {
        run_over(&ROWS, learner, checked)
    }

    #[test]
    fn fused_operations_agree_with_their_plain_forms() {
        let check = check(1.0).unwrap();
        assert!(check.loss < 1e-6 && check.gradient < 1e-6, "{check:?}");
        assert!(fused::accepts(&model().weight.val()), "what is compared ends with the comparison");
    }

    /// Twice the plain loss and gradients: the gradients differ by their whole size.
    #[test]
    fn a_kernel_that_is_wrong_ends_the_run() {
        let error = check(2.0).unwrap_err();
        assert!(matches!(error, TrainError::Fused { gradient, .. } if (gradient - 1.0).abs() < 1e-5), "{error}");
        assert!(error.to_string().contains("--device"), "{error}");
        assert!(check(f64::NAN).is_err() && check(1.05).is_err());
        let wrong = Norm { wrong: 2.0 };
        assert!(fit(&wrong, false).all(|report| report.is_ok()));
        let mut run = fit(&wrong, true);
        assert!(matches!(run.next(), Some(Err(TrainError::Fused { .. }))));
        assert_eq!((run.step(), run.take_fused_check()), (0, None));
        // Rows that give no number by either form are told as such.
        static SPOILT: [[f32; 4]; 1] = [[f32::NAN; 4]];
        let spoilt = run_over(&SPOILT, &Norm { wrong: 1.0 }, true).next();
        assert!(matches!(spoilt, Some(Err(TrainError::NotFinite { what: "loss", .. }))), "{spoilt:?}");
        // A sound one is told once, and learns what it learns without.
        let sound = Norm { wrong: 1.0 };
        let (mut run, mut other) = (fit(&sound, true), fit(&sound, false));
        assert_eq!(run.next().unwrap().unwrap(), other.next().unwrap().unwrap());
        assert!(run.take_fused_check().is_some_and(|check| check.gradient < 1e-6));
        assert_eq!(run.take_fused_check(), None);
        assert_eq!(run.next().unwrap().unwrap(), other.next().unwrap().unwrap());
    }
}
