//! The training loop.

use ascribe_core::Seed;
use ascribe_data::{Epochs, batches_by_tokens};
use burn::optim::{AdamW, AdamWConfig, ModuleOptimizer};
use serde::{Deserialize, Serialize};

use crate::gradients::{scaled, squared_norm};
use crate::source::{Dataset, Source, Window};
use crate::{
    FusedCheck, Learned, Learner, OptimArgs, OptimKind, Schedule, ScheduleKind, ScheduleOptions, Tally, TrainError,
    optim,
};

/// Options of a run, under the names of TRL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Shape of the learning rate.
    pub lr_scheduler_type: ScheduleKind,
    /// Numbers of that shape.
    pub lr_scheduler_kwargs: ScheduleOptions,
    /// Share of the steps that warm up.
    pub warmup_ratio: f64,
    /// Passes over the rows.
    pub num_train_epochs: f64,
    /// Stop after so many optimizer steps; 0 leaves it to the epochs.
    pub max_steps: usize,
    /// Rows that go through the model at once.
    pub per_device_train_batch_size: usize,
    /// Batches of one optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Tokens that go through the model at once, where given: an optimizer step learns the same rows, `per_device_train_batch_size
    /// x gradient_accumulation_steps`, in batches of at most so many tokens, or of one row. What rows share counts once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_tokens: Option<usize>,
    /// Largest joint norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// The optimizer.
    pub optim: OptimKind,
    /// Numbers of that optimizer.
    pub optim_args: OptimArgs,
    /// Weight decay: decoupled with `adamw_torch`, added to the gradient with the other optimizers.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment (of the mean square, with `rmsprop`).
    pub adam_epsilon: f64,
    /// Root of the random streams: the order of the rows.
    pub seed: Seed,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            lr_scheduler_type: ScheduleKind::Linear,
            lr_scheduler_kwargs: ScheduleOptions::default(),
            warmup_ratio: 0.1,
            num_train_epochs: 1.0,
            max_steps: 0,
            per_device_train_batch_size: 8,
            gradient_accumulation_steps: 1,
            max_batch_tokens: None,
            max_grad_norm: 1.0,
            optim: OptimKind::AdamwTorch,
            optim_args: OptimArgs::default(),
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            seed: Seed(0),
        }
    }
}

impl FitConfig {
    /// Checks every option, so that a run can be refused before any work is done.
    ///
    /// # Errors
    /// [`TrainError::Option`] names the first option that is out of its range, [`TrainError::UnusedArg`] a number that the
    /// optimizer does not use.
    pub fn check(&self) -> Result<(), TrainError> {
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let finite = |x: f64| x >= 0.0 && x.is_finite();
        let (shape, args) = (&self.lr_scheduler_kwargs, &self.optim_args);
        let decays = self.lr_scheduler_type != ScheduleKind::WarmupStableDecay || shape.num_decay_steps > 0;
        let rules = [
            (
                "learning_rate",
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
                "finite and above 0",
                self.learning_rate,
            ),
            ("warmup_ratio", fraction(self.warmup_ratio), "in [0, 1)", self.warmup_ratio),
            (
                "num_train_epochs",
                self.num_train_epochs > 0.0 && self.num_train_epochs.is_finite(),
                "above 0",
                self.num_train_epochs,
            ),
            ("per_device_train_batch_size", self.per_device_train_batch_size > 0, "at least 1", 0.0),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps > 0, "at least 1", 0.0),
            ("max_batch_tokens", self.max_batch_tokens != Some(0), "at least 1", 0.0),
            ("max_grad_norm", finite(self.max_grad_norm), "0 (no clipping) or above", self.max_grad_norm),
            ("weight_decay", finite(self.weight_decay), "0 or above", self.weight_decay),
            ("adam_beta1", fraction(self.adam_beta1), "in [0, 1)", self.adam_beta1),
            ("adam_beta2", fraction(self.adam_beta2), "in [0, 1)", self.adam_beta2),
            ("adam_epsilon", self.adam_epsilon > 0.0 && self.adam_epsilon.is_finite(), "above 0", self.adam_epsilon),
            ("momentum", fraction(args.momentum), "in [0, 1)", args.momentum),
            ("momentum", !args.nesterov || args.momentum > 0.0, "above 0 with nesterov", args.momentum),
            ("alpha", fraction(args.alpha), "in [0, 1)", args.alpha),
            (
                "num_cycles",
                shape.num_cycles.is_none_or(|cycles| cycles > 0.0 && cycles.is_finite()),
                "finite and above 0",
                shape.num_cycles.unwrap_or_default(),
            ),
            ("power", shape.power > 0.0 && shape.power.is_finite(), "finite and above 0", shape.power),
            (
                "lr_end",
                self.lr_scheduler_type != ScheduleKind::Polynomial
                    || (0.0..=self.learning_rate).contains(&shape.lr_end),
                "in [0, learning_rate]",
                shape.lr_end,
            ),
            ("min_lr_ratio", (0.0..=1.0).contains(&shape.min_lr_ratio), "in [0, 1]", shape.min_lr_ratio),
            ("timescale", shape.timescale != Some(0), "at least 1", 0.0),
            ("num_decay_steps", decays, "at least 1 with warmup_stable_decay", 0.0),
        ];
        match rules.into_iter().find(|(_, accepted, ..)| !accepted) {
            Some((name, _, rule, got)) => Err(TrainError::Option { name, rule, got }),
            None => {
                shape.check(self.lr_scheduler_type)?;
                args.check(self.optim)
            }
        }
    }

    /// Rows of one optimizer step.
    pub fn window(&self) -> usize {
        self.per_device_train_batch_size.saturating_mul(self.gradient_accumulation_steps)
    }

    /// Optimizer steps of a run over `rows` rows. The last window of an epoch may be smaller.
    pub fn steps(&self, rows: usize) -> usize {
        match self.max_steps {
            0 => ((rows.div_ceil(self.window()) as f64) * self.num_train_epochs).ceil() as usize,
            steps => steps,
        }
    }

    pub(crate) fn adamw(&self) -> AdamW {
        AdamWConfig::new()
            .with_beta_1(self.adam_beta1 as f32)
            .with_beta_2(self.adam_beta2 as f32)
            .with_epsilon(self.adam_epsilon as f32)
            .with_weight_decay(self.weight_decay as f32)
            .with_amsgrad(self.optim_args.amsgrad)
            .build()
    }

    pub(crate) fn optimizer(&self) -> ModuleOptimizer {
        match self.optim {
            #[cfg(feature = "fused")]
            OptimKind::AdamwTorch if !self.optim_args.amsgrad => crate::adamw::InPlace::new(self).into(),
            OptimKind::AdamwTorch => self.adamw().into(),
            OptimKind::Adam => optim::adam(self),
            OptimKind::Sgd => optim::sgd(self),
            OptimKind::Rmsprop => optim::rmsprop(self),
        }
    }
}

/// What one optimizer step did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps done, from 1.
    pub step: usize,
    /// Passes over the rows so far.
    pub epoch: f64,
    /// Tokens that went through the model in this step.
    pub tokens: u64,
    /// `loss`, the objective's statistics, `grad_norm` (before clipping) and `learning_rate`.
    pub metrics: Vec<(String, f64)>,
}

impl StepReport {
    /// One metric by name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// A run: an iterator of step reports.
pub struct Fit<'a, L: Learner> {
    learner: &'a L,
    pub(crate) source: Box<dyn Source<L::Model, L::Row> + 'a>,
    config: FitConfig,
    schedule: Schedule,
    pub(crate) step: usize,
    pub(crate) optimizer: ModuleOptimizer,
    model: Option<L::Model>,
    /// Whether the next step is checked first.
    verify: bool,
    fused: Option<FusedCheck>,
    long_rows: usize,
}

impl<'a, L: Learner> Fit<'a, L> {
    /// A run that trains `model`, which lives on an autodiff device.
    ///
    /// # Errors
    /// When an option is out of range or there is no row.
    pub fn new(learner: &'a L, model: L::Model, rows: &'a [L::Row], config: FitConfig) -> Result<Self, TrainError> {
        config.check()?;
        if rows.is_empty() {
            return Err(TrainError::NoRows);
        }
        let order = Epochs::new(rows.len(), config.seed)?;
        let (steps, window) = (config.steps(rows.len()), config.window());
        Self::from_source(learner, model, Box::new(Dataset::new(rows, order, window)), steps, config)
    }

    /// A run of `steps` optimizer steps over rows that `source` gives as the model is trained.
    ///
    /// # Errors
    /// When an option is out of range, or tokens are limited and the learner does not count them ([`Learner::tokens`]).
    pub fn from_source(
        learner: &'a L,
        model: L::Model,
        source: Box<dyn Source<L::Model, L::Row> + 'a>,
        steps: usize,
        config: FitConfig,
    ) -> Result<Self, TrainError> {
        config.check()?;
        if let Some(most) = config.max_batch_tokens
            && learner.tokens(&[]).is_none()
        {
            let rule = "left out with a learner whose windows are not cut by tokens";
            return Err(TrainError::Option { name: "max_batch_tokens", rule, got: most as f64 });
        }
        // Rounded up, as transformers does.
        let warmup = (config.warmup_ratio * steps as f64).ceil() as usize;
        Ok(Self {
            learner,
            source,
            schedule: Schedule {
                kind: config.lr_scheduler_type,
                options: config.lr_scheduler_kwargs,
                base: config.learning_rate,
                warmup,
                steps,
            },
            step: 0,
            optimizer: config.optimizer(),
            model: Some(model),
            config,
            verify: false,
            fused: None,
            long_rows: 0,
        })
    }

    /// Before its first step the run learns the rows of that step by the plain forms of all fused operations too, and ends with
    /// [`TrainError::Fused`] where loss or gradients differ. What is trained does not change.
    pub fn with_fused_check(mut self) -> Self {
        self.verify = true;
        self
    }

    /// What that check found, once.
    pub fn take_fused_check(&mut self) -> Option<FusedCheck> {
        self.fused.take()
    }

    /// Rows of more than `max_batch_tokens` that went through the model alone, since the run was begun or resumed; a row counts in
    /// every pass over the data.
    pub fn long_rows(&self) -> usize {
        self.long_rows
    }

    /// The model as it is now.
    pub fn model(&self) -> &L::Model {
        self.model.as_ref().expect("invariant: the model is only out during a step")
    }

    /// Ends the run and hands the model over.
    pub fn into_model(self) -> L::Model {
        self.model.expect("invariant: the model is only out during a step")
    }

    /// Optimizer steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Optimizer steps of the whole run.
    pub fn steps(&self) -> usize {
        self.schedule.steps
    }

    pub(crate) fn config(&self) -> &FitConfig {
        &self.config
    }

    pub(crate) fn learner(&self) -> &'a L {
        self.learner
    }

    fn advance(&mut self) -> Result<StepReport, TrainError> {
        let model = self.model.take().expect("invariant: the model is only out during a step");
        let Window { rows, metrics: of_source } = match self.source.window(&model) {
            Ok(window) => window,
            Err(error) => {
                self.model = Some(model);
                return Err(error);
            }
        };
        let progress = self.step as f64 / self.schedule.steps.max(1) as f64;
        let (learner, batch) = (self.learner, self.config.per_device_train_batch_size);
        let most = self.config.max_batch_tokens;
        let batches = most.map(|most| batches_by_tokens(&rows, most, |rows| learner.tokens(rows).unwrap_or(0)));
        let learn = || match &batches {
            None => learner.learn_window_at(&model, &rows, batch, progress),
            Some(batches) => learner.learn_batches(&model, batches, progress),
        };
        let before = self.verify.then(|| learner.memory());
        let learned = learn().and_then(|learned| {
            if let Some(before) = &before {
                self.fused = Some(FusedCheck::of(learner, &model, learn, before, &learned)?);
                self.verify = false;
            }
            Ok(learned)
        });
        let Learned { gradients, tally } = match learned {
            Ok(learned) => learned,
            Err(error) => {
                self.model = Some(model);
                return Err(error);
            }
        };
        let counts = tally.weight > 0.0;
        if !counts {
            self.model = Some(model);
            return Err(TrainError::NoWeight { step: self.step + 1 });
        }
        let norm = squared_norm(&model, &gradients).sqrt() / tally.weight;
        for (what, got) in [("loss", tally.loss / tally.weight), ("grad_norm", norm)] {
            if !got.is_finite() {
                self.model = Some(model);
                return Err(TrainError::NotFinite { what, got, step: self.step + 1 });
            }
        }
        // The one division, and the clipping of torch's `clip_grad_norm_`, in one pass.
        let limit = self.config.max_grad_norm;
        let clip = if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let gradients = scaled(&model, gradients, clip / tally.weight);
        let rate = self.schedule.at(self.step);
        if let Some((most, batches)) = most.zip(batches) {
            self.long_rows += batches.into_iter().filter(|rows| learner.tokens(rows) > Some(most)).count();
        }
        // The model is moved in: a second handle would make every weight be copied.
        self.model = Some(self.optimizer.step(rate, model, gradients));
        self.step += 1;
        let mut metrics = tally.means("");
        self.source.told(&metrics);
        self.source.advance();
        metrics.extend(of_source);
        metrics.extend([("grad_norm".to_owned(), norm), ("learning_rate".to_owned(), rate)]);
        Ok(StepReport { step: self.step, epoch: self.source.epoch(), tokens: tally.tokens, metrics })
    }
}

impl<L: Learner> Iterator for Fit<'_, L> {
    type Item = Result<StepReport, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.step < self.schedule.steps).then(|| self.advance())
    }
}

/// Losses and statistics of `rows`, `batch` at a time, without gradients.
///
/// # Errors
/// When there is no row, or the learner refuses one.
pub fn evaluate<L: Learner>(learner: &L, model: &L::Model, rows: &[L::Row], batch: usize) -> Result<Tally, TrainError> {
    if rows.is_empty() {
        return Err(TrainError::NoRows);
    }
    let rows: Vec<&L::Row> = rows.iter().collect();
    learner.measure_window(model, &rows, batch)
}
