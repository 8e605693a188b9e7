//! Schedules, optimizers and clipping against transformers and torch: `optim/*`.

use ascribe_testkit::device::{device, floats, golden_floats, precisions, values};
use ascribe_testkit::golden::{Case, close, open};
use ascribe_train::{
    Fit, FitConfig, Learned, Learner, OptimArgs, OptimKind, Schedule, ScheduleKind, ScheduleOptions, Tally, TrainError,
};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

#[test]
fn golden_schedules_agree_with_transformers() {
    const FILE: &str = "optim/schedules.json";
    // Past the end the plain cosines rise again in transformers; here the rate stays where it ended. The file marks the
    // steps past the end by `training_steps`.
    const RISE_AGAIN: [&str; 4] = ["cosine", "cosine_no_warmup", "cosine_1.5_cycles", "cosine_with_min_lr"];
    let plain = ScheduleOptions::default();
    let mut run = 0;
    for case in open(FILE).get("cases").items() {
        let name = case.get("schedule").text();
        let whole = |key: &str| case.get(key).number() as usize;
        let (base, steps) = (case.get("base_lr").number(), whole("training_steps"));
        // The file gives the numbers of a shape in its name; the least rate and the decay are those of its last steps.
        let (kind, options) = match name.as_str() {
            "constant" | "constant_with_warmup" => (ScheduleKind::Constant, plain),
            "linear" | "linear_no_warmup" => (ScheduleKind::Linear, plain),
            "cosine" | "cosine_no_warmup" => (ScheduleKind::Cosine, plain),
            "cosine_1.5_cycles" => (ScheduleKind::Cosine, ScheduleOptions { num_cycles: Some(1.5), ..plain }),
            "cosine_hard_restarts_2" => {
                (ScheduleKind::CosineWithRestarts, ScheduleOptions { num_cycles: Some(2.0), ..plain })
            }
            "polynomial_power2_end1e-5" => {
                (ScheduleKind::Polynomial, ScheduleOptions { power: 2.0, lr_end: 1e-5, ..plain })
            }
            "inverse_sqrt" => (ScheduleKind::InverseSqrt, plain),
            "cosine_with_min_lr" => (ScheduleKind::CosineWithMinLr, ScheduleOptions { min_lr_ratio: 0.1, ..plain }),
            "warmup_stable_decay" => {
                (ScheduleKind::WarmupStableDecay, ScheduleOptions { min_lr_ratio: 0.1, num_decay_steps: 6, ..plain })
            }
            _ => panic!("{case}: the schedule {name} is not known"),
        };
        // transformers' `constant` ignores the warm-up.
        let warmup = if name == "constant" { 0 } else { whole("warmup_steps") };
        let schedule = Schedule { kind, options, base, warmup, steps };
        let expected = case.get("lr_used_at_step").numbers();
        assert!(expected.len() > steps + 1);
        let got: Vec<f64> = (0..expected.len()).map(|step| schedule.at(step)).collect();
        let compared = if RISE_AGAIN.contains(&name.as_str()) { steps + 1 } else { expected.len() };
        // Relative to the base rate, which is far below 1.
        let scaled = |rates: &[f64]| rates.iter().map(|rate| rate / base).collect::<Vec<_>>();
        close(&case.name(), &scaled(&got[..compared]), &scaled(&expected[..compared]), 1e-12);
        assert!(got[compared..].iter().all(|rate| *rate == got[steps]), "{case}");
        run += 1;
    }
    assert_eq!(run, 12);
}

#[test]
fn schedules_end_and_stay_in_their_range() {
    let options = ScheduleOptions { num_decay_steps: 100, lr_end: 0.0, ..ScheduleOptions::default() };
    for kind in [
        ScheduleKind::Constant,
        ScheduleKind::Linear,
        ScheduleKind::Cosine,
        ScheduleKind::CosineWithMinLr,
        ScheduleKind::CosineWithRestarts,
        ScheduleKind::Polynomial,
        ScheduleKind::InverseSqrt,
        ScheduleKind::WarmupStableDecay,
    ] {
        for (warmup, steps) in [(0, 0), (0, 1), (3, 3), (0, 10), (4, 10)] {
            let schedule = Schedule { kind, options, base: 2.0, warmup, steps };
            // More steps of decay than there are: the whole rest decays.
            let rates: Vec<f64> = (0..steps + 3).map(|step| schedule.at(step)).collect();
            assert!(rates.iter().all(|rate| (0.0..=2.0).contains(rate)), "{kind:?} {warmup} {steps}: {rates:?}");
            if steps > warmup {
                assert_eq!(rates[warmup], 2.0, "{kind:?} {warmup} {steps}");
            }
            if !matches!(kind, ScheduleKind::Constant | ScheduleKind::InverseSqrt) && steps > warmup {
                assert!(rates[steps] < 1e-12, "{kind:?} {warmup} {steps}: {rates:?}");
            }
        }
    }
    // Without a warm-up the inverse root falls over 10000 steps: 1 / sqrt(2) there.
    let schedule = Schedule {
        kind: ScheduleKind::InverseSqrt,
        options: ScheduleOptions::default(),
        base: 1.0,
        warmup: 0,
        steps: 20_000,
    };
    close("inverse_sqrt", &[schedule.at(10_000)], &[std::f64::consts::FRAC_1_SQRT_2], 1e-12);
}

#[test]
fn options_are_read_by_the_names_of_transformers() {
    let read = |text: &str| serde_json::from_str::<FitConfig>(text);
    let config = read(
        r#"{"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
            "optim": "sgd", "optim_args": {"momentum": 0.9, "nesterov": true}}"#,
    )
    .expect("known names");
    assert_eq!(config.lr_scheduler_type, ScheduleKind::CosineWithMinLr);
    assert_eq!(config.lr_scheduler_kwargs, ScheduleOptions { min_lr_ratio: 0.1, ..ScheduleOptions::default() });
    assert_eq!(config.optim, OptimKind::Sgd);
    assert_eq!(config.optim_args, OptimArgs { momentum: 0.9, nesterov: true, ..OptimArgs::default() });
    for (name, kind) in [
        ("constant_with_warmup", ScheduleKind::Constant),
        ("cosine_with_restarts", ScheduleKind::CosineWithRestarts),
        ("inverse_sqrt", ScheduleKind::InverseSqrt),
        ("warmup_stable_decay", ScheduleKind::WarmupStableDecay),
    ] {
        let config = read(&format!(r#"{{"lr_scheduler_type": "{name}"}}"#)).expect("known names");
        assert_eq!(config.lr_scheduler_type, kind);
    }
    assert_eq!(read(r#"{"optim": "adamw_torch_fused"}"#).expect("a known name").optim, OptimKind::AdamwTorch);
    assert!(read(r#"{"optim_args": {"beta": 1.0}}"#).is_err());
    assert!(read(r#"{"lr_scheduler_kwargs": {"cycles": 1.0}}"#).is_err());
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

fn config(class: &str, options: &Case, clip: f64, steps: usize) -> FitConfig {
    let number = |key: &str, unset: f64| options.opt(key).map_or(unset, |value| value.number());
    let flag = |key: &str| options.opt(key).is_some_and(|value| value.json().as_bool() == Some(true));
    let betas = options.opt("betas").map_or(vec![0.9, 0.999], |betas| betas.numbers());
    FitConfig {
        learning_rate: options.get("lr").number(),
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: steps,
        max_grad_norm: clip,
        optim: match class {
            "AdamW" => OptimKind::AdamwTorch,
            "Adam" => OptimKind::Adam,
            "SGD" => OptimKind::Sgd,
            "RMSprop" => OptimKind::Rmsprop,
            _ => panic!("the optimizer {class} is not known"),
        },
        optim_args: OptimArgs {
            amsgrad: flag("amsgrad"),
            momentum: number("momentum", 0.0),
            nesterov: flag("nesterov"),
            alpha: number("alpha", 0.99),
        },
        // Without one torch decays by 0.01 with AdamW; the file names it for every AdamW.
        weight_decay: number("weight_decay", 0.0),
        adam_beta1: betas[0],
        adam_beta2: betas[1],
        adam_epsilon: number("eps", 1e-8),
        ..FitConfig::default()
    }
}

#[test]
fn golden_optimizers_agree_with_torch() {
    const FILE: &str = "optim/optimizers.json";
    let file = open(FILE);
    let problem = file.get("problem");
    let mut run = 0;
    for case in file.get("runs").items() {
        let (class, options) = (case.get("class").text(), case.get("options"));
        let known = ["lr", "weight_decay", "betas", "eps", "amsgrad", "momentum", "nesterov", "alpha"];
        assert!(options.keys().iter().all(|key| known.contains(&key.as_str())), "{options}: {:?}", options.keys());
        run += 1;
        let clip = case.opt("clip_grad_norm").map_or(0.0, |clip| clip.number());
        let steps = case.get("steps").items();
        for dtype in precisions() {
            let device = device().autodiff();
            let of = |key: &str| golden_floats::<1>(&problem.get(key), &device, *dtype);
            let learner = Quadratic { a: golden_floats(&problem.get("A"), &device, *dtype), b: of("b") };
            let model = Point { x: Param::from_tensor(of("x0")) };
            let mut fit =
                Fit::new(&learner, model, &[()], config(&class, &options, clip, steps.len())).expect("sound options");
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
    assert_eq!(run, 10);
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
        let args = |args: OptimArgs| FitConfig { optim_args: args, ..base.clone() };
        assert!(refused(args(OptimArgs { momentum: bad, ..OptimArgs::default() })));
        assert!(refused(args(OptimArgs { alpha: bad, ..OptimArgs::default() })));
        let shape = |shape: ScheduleOptions| FitConfig {
            lr_scheduler_type: ScheduleKind::Polynomial,
            lr_scheduler_kwargs: shape,
            ..base.clone()
        };
        assert!(refused(shape(ScheduleOptions { num_cycles: Some(bad), ..ScheduleOptions::default() })));
        assert!(refused(shape(ScheduleOptions { power: bad, ..ScheduleOptions::default() })));
        assert!(refused(shape(ScheduleOptions { lr_end: bad, ..ScheduleOptions::default() })));
        assert!(refused(shape(ScheduleOptions { min_lr_ratio: bad, ..ScheduleOptions::default() })));
    }
    assert!(refused(FitConfig { learning_rate: 0.0, ..base.clone() }));
    assert!(refused(FitConfig { adam_beta1: 1.0, ..base.clone() }));
    assert!(refused(FitConfig { per_device_train_batch_size: 0, ..base.clone() }));
    assert!(refused(FitConfig { gradient_accumulation_steps: 0, ..base.clone() }));
    // A number of another optimizer is no number of this one; a default changes nothing.
    let unused = |optim, optim_args| match (FitConfig { optim, optim_args, ..base.clone() }).check() {
        Err(TrainError::UnusedArg { name, .. }) => Some(name),
        _ => None,
    };
    let given = OptimArgs { amsgrad: false, momentum: 0.5, nesterov: false, alpha: 0.99 };
    assert_eq!(unused(OptimKind::AdamwTorch, given), Some("momentum"));
    assert_eq!(unused(OptimKind::Adam, OptimArgs { alpha: 0.5, ..OptimArgs::default() }), Some("alpha"));
    assert_eq!(unused(OptimKind::Sgd, OptimArgs { amsgrad: true, ..given }), Some("amsgrad"));
    assert_eq!(unused(OptimKind::Rmsprop, OptimArgs { nesterov: true, ..given }), Some("nesterov"));
    assert_eq!([OptimKind::Sgd, OptimKind::Rmsprop].map(|optim| unused(optim, given)), [None, None]);
    // Looking ahead needs a direction, the polynomial an end below its start, and the decay a length.
    let nesterov = OptimArgs { nesterov: true, ..OptimArgs::default() };
    assert!(refused(FitConfig { optim_args: nesterov, ..base.clone() }));
    let kwargs = |kind, options| FitConfig { lr_scheduler_type: kind, lr_scheduler_kwargs: options, ..base.clone() };
    let plain = ScheduleOptions::default();
    assert!(refused(kwargs(ScheduleKind::Polynomial, ScheduleOptions { lr_end: 1.0, ..plain })));
    assert!(refused(kwargs(ScheduleKind::WarmupStableDecay, plain)));
    assert!(refused(kwargs(ScheduleKind::InverseSqrt, ScheduleOptions { timescale: Some(0), ..plain })));
    assert!(!refused(kwargs(ScheduleKind::Polynomial, plain)));
    // A number of another shape is no number of this one; a default changes nothing.
    let idle = |kind, options| match kwargs(kind, options).check() {
        Err(TrainError::UnusedShape { name, .. }) => Some(name),
        _ => None,
    };
    let (cycles, least) = (Some(1.5), 0.1);
    assert_eq!(idle(ScheduleKind::Constant, ScheduleOptions { num_cycles: cycles, ..plain }), Some("num_cycles"));
    assert_eq!(idle(ScheduleKind::Linear, ScheduleOptions { power: 2.0, ..plain }), Some("power"));
    assert_eq!(idle(ScheduleKind::Cosine, ScheduleOptions { min_lr_ratio: least, ..plain }), Some("min_lr_ratio"));
    assert_eq!(idle(ScheduleKind::Cosine, ScheduleOptions { lr_end: 0.0, ..plain }), Some("lr_end"));
    assert_eq!(idle(ScheduleKind::Polynomial, ScheduleOptions { timescale: Some(9), ..plain }), Some("timescale"));
    let decay = ScheduleOptions { num_decay_steps: 6, ..plain };
    assert_eq!(idle(ScheduleKind::InverseSqrt, decay), Some("num_decay_steps"));
    let all = ScheduleOptions { num_cycles: cycles, min_lr_ratio: least, ..decay };
    assert_eq!(idle(ScheduleKind::WarmupStableDecay, all), None);
    assert_eq!(idle(ScheduleKind::Linear, plain), None);
    assert!(!refused(base));
    let model = Point { x: Param::from_tensor(one()) };
    assert!(matches!(Fit::new(&learner, model, &[], FitConfig::default()), Err(TrainError::NoRows)));
}
