//! Schedules, AdamW and clipping against transformers and torch: `optim/*`.

use ascribe_testkit::device::{device, floats, golden_floats, precisions, values};
use ascribe_testkit::golden::{Case, close, open, require_pending};
use ascribe_train::{Fit, FitConfig, Learned, Learner, Schedule, ScheduleKind, Tally, TrainError};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

#[test]
fn golden_schedules_agree_with_transformers() {
    const FILE: &str = "optim/schedules.json";
    let mut run = 0;
    for case in open(FILE).get("cases").items() {
        let name = case.get("schedule").text();
        let whole = |key: &str| case.get(key).number() as usize;
        let (base, steps) = (case.get("base_lr").number(), whole("training_steps"));
        let (kind, warmup) = match name.as_str() {
            // transformers' `constant` ignores the warm-up.
            "constant" => (ScheduleKind::Constant, 0),
            "constant_with_warmup" => (ScheduleKind::Constant, whole("warmup_steps")),
            "linear" | "linear_no_warmup" => (ScheduleKind::Linear, whole("warmup_steps")),
            "cosine" | "cosine_no_warmup" => (ScheduleKind::Cosine, whole("warmup_steps")),
            _ => {
                require_pending(FILE, &format!("cases: schedule={name}"));
                continue;
            }
        };
        let schedule = Schedule { kind, base, warmup, steps };
        let expected = case.get("lr_used_at_step").numbers();
        assert!(expected.len() > steps);
        let got: Vec<f64> = (0..expected.len()).map(|step| schedule.at(step)).collect();
        // Relative to the base rate, which is far below 1.
        let scaled = |rates: &[f64]| rates.iter().map(|rate| rate / base).collect::<Vec<_>>();
        close(&case.name(), &scaled(&got[..=steps]), &scaled(&expected[..=steps]), 1e-12);
        // Past the end transformers' cosine rises again; here the rate stays where it ended.
        assert!(got[steps..].iter().all(|rate| *rate == got[steps]), "{case}");
        run += 1;
    }
    assert_eq!(run, 6);
}

/// `x'Ax / 2 - b'x`.
struct Quadratic {
    a: Tensor<2>,
    b: Tensor<1>,
}

#[derive(Module, Debug)]
struct Point {
    x: Param<Tensor<1>>,
}

impl Quadratic {
    fn loss(&self, model: &Point) -> Tensor<1> {
        let x = model.x.val();
        let ax = self.a.clone().matmul(x.clone().unsqueeze_dim::<2>(1)).squeeze_dim::<1>(1);
        (x.clone() * ax).sum().mul_scalar(0.5) - (self.b.clone() * x).sum()
    }
}

impl Learner for Quadratic {
    type Model = Point;
    type Row = ();

    fn learn(&self, model: &Point, _: &[&()]) -> Result<Learned, TrainError> {
        let loss = self.loss(model);
        let gradients = GradientsParams::from_grads(loss.clone().backward(), model);
        Ok(Learned { gradients, tally: Tally { loss: values(loss)[0], weight: 1.0, ..Tally::default() } })
    }

    fn measure(&self, model: &Point, _: &[&()]) -> Result<Tally, TrainError> {
        Ok(Tally { loss: values(self.loss(model))[0], weight: 1.0, ..Tally::default() })
    }
}

fn config(options: &Case, clip: f64, steps: usize) -> FitConfig {
    let betas = options.opt("betas").map_or(vec![0.9, 0.999], |betas| betas.numbers());
    FitConfig {
        learning_rate: options.get("lr").number(),
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: steps,
        max_grad_norm: clip,
        weight_decay: options.get("weight_decay").number(),
        adam_beta1: betas[0],
        adam_beta2: betas[1],
        adam_epsilon: options.opt("eps").map_or(1e-8, |eps| eps.number()),
        ..FitConfig::default()
    }
}

#[test]
fn golden_adamw_agrees_with_torch() {
    const FILE: &str = "optim/optimizers.json";
    let file = open(FILE);
    let problem = file.get("problem");
    let mut run = 0;
    for case in file.get("runs").items() {
        let (name, options) = (case.get("optimizer").text(), case.get("options"));
        if case.get("class").text() != "AdamW" || options.opt("amsgrad").is_some() {
            require_pending(FILE, &format!("runs: optimizer={name}"));
            continue;
        }
        run += 1;
        let clip = case.opt("clip_grad_norm").map_or(0.0, |clip| clip.number());
        let steps = case.get("steps").items();
        for dtype in precisions() {
            let device = device().autodiff();
            let of = |key: &str| golden_floats::<1>(&problem.get(key), &device, *dtype);
            let learner = Quadratic { a: golden_floats(&problem.get("A"), &device, *dtype), b: of("b") };
            let model = Point { x: Param::from_tensor(of("x0")) };
            let mut fit = Fit::new(&learner, model, &[()], config(&options, clip, steps.len())).expect("sound options");
            // Burn keeps betas and epsilon in f32 whatever the weights are, so f64 weights get no closer than f32 ones.
            let tolerance = 1e-5;
            for step in &steps {
                let report = fit.next().expect("steps are left").expect("the numbers are finite");
                let what = |key: &str| format!("{step}.{key} {dtype:?}");
                for key in ["loss", "grad_norm"] {
                    let got = report.metric(key).expect("it is reported");
                    close(&what(key), &[got], &[step.get(key).number()], tolerance);
                }
                let got = values(fit.model().x.val());
                close(&what("x_after"), &got, &step.get("x_after").numbers(), tolerance);
            }
            assert!(fit.next().is_none());
        }
    }
    assert_eq!(run, 4);
}

#[derive(Module, Debug)]
struct Three {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
    cube: Param<Tensor<3>>,
}

/// A loss whose gradient is given: the sum of `gradient * parameter`.
struct Given {
    matrix: Tensor<2>,
    vector: Tensor<1>,
    cube: Tensor<3>,
}

impl Learner for Given {
    type Model = Three;
    type Row = ();

    fn learn(&self, model: &Three, _: &[&()]) -> Result<Learned, TrainError> {
        let loss = (model.matrix.val() * self.matrix.clone()).sum()
            + (model.vector.val() * self.vector.clone()).sum()
            + (model.cube.val() * self.cube.clone()).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), model);
        Ok(Learned { gradients, tally: Tally { weight: 1.0, ..Tally::default() } })
    }

    fn measure(&self, _: &Three, _: &[&()]) -> Result<Tally, TrainError> {
        Ok(Tally::default())
    }
}

#[test]
fn golden_clipping_agrees_with_torch() {
    for case in open("optim/optimizers.json").get("clip_grad_norm").items() {
        let grads = case.get("grads").items();
        for dtype in precisions() {
            let device = device().autodiff();
            let learner = Given {
                matrix: golden_floats(&grads[0], &device, *dtype),
                vector: golden_floats(&grads[1], &device, *dtype),
                cube: golden_floats(&grads[2], &device, *dtype),
            };
            let model = Three {
                matrix: Param::from_tensor(learner.matrix.zeros_like()),
                vector: Param::from_tensor(learner.vector.zeros_like()),
                cube: Param::from_tensor(learner.cube.zeros_like()),
            };
            // Without memory and with a huge epsilon an AdamW step is -rate * g / (|g| + epsilon): -g to nine digits.
            let huge = 1e9;
            let config = FitConfig {
                learning_rate: huge,
                lr_scheduler_type: ScheduleKind::Constant,
                warmup_ratio: 0.0,
                max_steps: 1,
                max_grad_norm: case.get("max_norm").number(),
                adam_beta1: 0.0,
                adam_beta2: 0.0,
                adam_epsilon: huge,
                ..FitConfig::default()
            };
            let mut fit = Fit::new(&learner, model, &[()], config).expect("sound options");
            let report = fit.next().expect("one step").expect("the numbers are finite");
            let tolerance = if *dtype == DType::F64 { 1e-8 } else { 1e-5 };
            let norm = report.metric("grad_norm").expect("it is reported");
            close(&format!("{case} norm"), &[norm], &[case.get("total_norm").number()], tolerance);
            let after = fit.into_model();
            let moved = [values(after.matrix.val()), values(after.vector.val()), values(after.cube.val())];
            for (moved, expected) in moved.iter().zip(case.get("clipped").items()) {
                let clipped: Vec<f64> = moved.iter().map(|x| -x).collect();
                close(&format!("{expected} {dtype:?}"), &clipped, &expected.numbers(), tolerance);
            }
        }
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let device = device().autodiff();
    let one = || floats(&[1.0], [1], &device, DType::F32);
    let learner = Quadratic { a: floats(&[1.0], [1, 1], &device, DType::F32), b: one() };
    let refused = |config: FitConfig| {
        let model = Point { x: Param::from_tensor(one()) };
        matches!(Fit::new(&learner, model, &[()], config), Err(TrainError::Option { .. }))
    };
    let base = FitConfig::default();
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(refused(FitConfig { learning_rate: bad, ..base.clone() }));
        assert!(refused(FitConfig { warmup_ratio: bad, ..base.clone() }));
        assert!(refused(FitConfig { num_train_epochs: bad, ..base.clone() }));
        assert!(refused(FitConfig { max_grad_norm: bad, ..base.clone() }));
        assert!(refused(FitConfig { weight_decay: bad, ..base.clone() }));
        assert!(refused(FitConfig { adam_beta1: bad, ..base.clone() }));
        assert!(refused(FitConfig { adam_beta2: bad, ..base.clone() }));
        assert!(refused(FitConfig { adam_epsilon: bad, ..base.clone() }));
    }
    assert!(refused(FitConfig { learning_rate: 0.0, ..base.clone() }));
    assert!(refused(FitConfig { adam_beta1: 1.0, ..base.clone() }));
    assert!(refused(FitConfig { per_device_train_batch_size: 0, ..base.clone() }));
    assert!(refused(FitConfig { gradient_accumulation_steps: 0, ..base.clone() }));
    assert!(!refused(base));
    let model = Point { x: Param::from_tensor(one()) };
    assert!(matches!(Fit::new(&learner, model, &[], FitConfig::default()), Err(TrainError::NoRows)));
}
