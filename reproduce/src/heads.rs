//! Small heads on features, trained by the losses of `ascribe-reward` in the loop of `ascribe-train`.

use anyhow::Result;
use ascribe::core::{Loss, Seed};
use ascribe::data::Curriculum;
use ascribe::reward::{RewardError, RewardLoss, ScoreBatch, Standard};
use ascribe::train::{CurriculumRows, Fit, FitConfig, Learned, Learner, ScheduleKind, Tally, TrainError};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use crate::world::normal;

/// Rows of one step.
pub const BATCH: usize = 32;

/// A linear head, or one with a hidden layer.
#[derive(Module, Debug)]
pub struct Head {
    hidden: Option<Linear>,
    out: Linear,
}

/// Sizes of a head; without hidden units it is linear.
#[derive(Clone, Copy)]
pub struct Widths {
    pub inputs: usize,
    pub hidden: usize,
    pub outputs: usize,
}

/// Features of two responses, of which the first is better.
pub type Pair = [Vec<f64>; 2];

/// A row to learn from: features of each response, and what is known of them.
#[derive(Clone)]
pub struct Sample {
    pub responses: Vec<Vec<f64>>,
    pub labels: Vec<f64>,
}

impl Sample {
    /// A pair without a label.
    pub fn pair(chosen: &[f64], rejected: &[f64]) -> Self {
        Self { responses: vec![chosen.to_vec(), rejected.to_vec()], labels: Vec::new() }
    }
}

/// How a head is trained: by AdamW at a constant rate.
#[derive(Clone, Copy)]
pub struct Training {
    pub steps: usize,
    pub rate: f64,
    pub seed: Seed,
}

impl Head {
    /// A head with fresh weights.
    pub fn fresh(widths: Widths, seed: Seed) -> Self {
        let Widths { inputs, hidden, outputs } = widths;
        match hidden {
            0 => Self { hidden: None, out: layer([inputs, outputs], seed, "out") },
            _ => {
                let out = layer([hidden, outputs], seed, "out");
                Self { hidden: Some(layer([inputs, hidden], seed, "hidden")), out }
            }
        }
    }

    /// The same with fresh weights above its hidden layer, as a reward head is put on a pretrained model.
    pub fn with_fresh_out(self, seed: Seed) -> Self {
        let out = layer(self.out.weight.val().dims(), seed, "out");
        Self { out, ..self }
    }

    /// Where its weights lie.
    pub fn device(&self) -> Device {
        self.out.weight.val().device()
    }

    /// `[rows, inputs]` to `[rows, outputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.hidden {
            Some(hidden) => hidden.forward(x).tanh(),
            None => x,
        };
        self.out.forward(x)
    }

    /// What the head gives each response.
    pub fn outputs(&self, responses: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let rows: Vec<&[f64]> = responses.iter().map(Vec::as_slice).collect();
        let out = self.valid().forward(features(&rows, &Device::flex())); // [rows, outputs]
        let [_, width] = out.dims();
        let flat: Vec<f64> = out.into_data().iter::<f64>().collect();
        flat.chunks(width).map(<[f64]>::to_vec).collect()
    }

    /// The first number of each response.
    pub fn rewards(&self, responses: &[Vec<f64>]) -> Vec<f64> {
        self.outputs(responses).into_iter().map(|outputs| outputs[0]).collect()
    }

    /// Share of pairs whose first response earns more.
    pub fn accuracy(&self, pairs: &[Pair]) -> f64 {
        let side = |at: usize| self.rewards(&pairs.iter().map(|pair| pair[at].clone()).collect::<Vec<_>>());
        let (first, second) = (side(0), side(1));
        first.iter().zip(&second).filter(|(first, second)| first > second).count() as f64 / pairs.len() as f64
    }
}

/// A layer with normal weights of the deviation 1 / sqrt(inputs).
pub fn layer(shape: [usize; 2], seed: Seed, name: &str) -> Linear {
    let [inputs, outputs] = shape;
    let (mut stream, deviation) = (seed.stream(name, 0), 1.0 / (inputs as f64).sqrt());
    let values: Vec<f32> = (0..inputs * outputs).map(|_| (deviation * normal(&mut stream)) as f32).collect();
    let device = Device::flex().autodiff();
    let weight = Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let bias = Tensor::<1>::zeros([outputs], &device);
    Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) }
}

/// Rows of features as a tensor, `[rows, features]`.
pub fn features(rows: &[&[f64]], device: &Device) -> Tensor<2> {
    let width = rows.first().map_or(0, |row| row.len());
    let flat: Vec<f32> = rows.iter().flat_map(|row| row.iter().map(|x| *x as f32)).collect();
    Tensor::from_data(TensorData::new(flat, [rows.len(), width]), device)
}

/// Trains a head by a loss.
pub fn train(head: Head, loss: &dyn RewardLoss, rows: &[Sample], training: Training) -> Result<Head> {
    fit(&OnFeatures { loss }, head, rows, training)
}

/// Trains any small model.
pub fn fit<L: Learner>(learner: &L, model: L::Model, rows: &[L::Row], training: Training) -> Result<L::Model> {
    let config = FitConfig { max_steps: training.steps, seed: training.seed, ..config(training.rate) };
    finished(Fit::new(learner, model, rows, config)?)
}

/// Trains a head by a loss through all epochs of a curriculum over the rows, made for batches of [`BATCH`].
pub fn train_by(curriculum: Curriculum, head: Head, loss: &dyn RewardLoss, rows: &[Sample], rate: f64) -> Result<Head> {
    let (learner, source) = (OnFeatures { loss }, CurriculumRows::new(rows, curriculum, BATCH));
    let steps = source.steps();
    finished(Fit::from_source(&learner, head, Box::new(source), steps, config(rate))?)
}

fn config(learning_rate: f64) -> FitConfig {
    FitConfig {
        learning_rate,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        per_device_train_batch_size: BATCH,
        ..FitConfig::default()
    }
}

/// The model behind the last step.
fn finished<L: Learner>(mut fit: Fit<'_, L>) -> Result<L::Model> {
    for report in &mut fit {
        report?;
    }
    Ok(fit.into_model())
}

/// A loss on the scores that a head gives features.
struct OnFeatures<'a> {
    loss: &'a dyn RewardLoss,
}

impl OnFeatures<'_> {
    /// The loss when so much of training is done.
    fn loss(&self, model: &Head, rows: &[&Sample], progress: f64) -> Result<Loss, RewardError> {
        let needs = self.loss.needs();
        let mut responses: Vec<&[f64]> = Vec::with_capacity(needs.responses * rows.len());
        for at in 0..needs.responses {
            responses.extend(rows.iter().map(|row| row.responses[at].as_slice()));
        }
        let scores = model.forward(features(&responses, &model.device())); // [responses * rows, outputs]
        let mut batch = ScoreBatch::new(needs.responses, scores)?.with_progress(progress)?;
        if needs.labels > 0 {
            batch = batch.with_labels(rows.iter().flat_map(|row| row.labels.iter().copied()).collect())?;
        }
        self.loss.loss(&batch)
    }

    fn learn_at(&self, model: &Head, rows: &[&Sample], progress: f64) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows, progress)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }
}

impl Learner for OnFeatures<'_> {
    type Model = Head;
    type Row = Sample;

    fn learn(&self, model: &Head, rows: &[&Sample]) -> Result<Learned, TrainError> {
        self.learn_at(model, rows, 1.0)
    }

    fn learn_window_at(
        &self,
        model: &Head,
        rows: &[&Sample],
        batch: usize,
        progress: f64,
    ) -> Result<Learned, TrainError> {
        Learned::in_batches(model, rows, batch, |rows| self.learn_at(model, rows, progress))
    }

    fn measure(&self, model: &Head, rows: &[&Sample]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows, 1.0)?, 0))
    }
}

/// Rewards brought to mean 0 and deviation 1.
pub fn standardized(rewards: Vec<f64>) -> Result<Vec<f64>> {
    let standard = Standard::fit(&rewards)?;
    Ok(rewards.into_iter().map(|reward| standard.apply(reward)).collect())
}

/// The place of the largest value; the first of equals.
pub fn best(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best })
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ascribe::reward::ScoreNeeds;
    use ascribe::reward::losses::{BradleyTerry, BradleyTerryConfig};

    use super::*;

    /// Bradley-Terry that notes how far training is.
    struct Noted(BradleyTerry, Mutex<Vec<f64>>);

    impl RewardLoss for Noted {
        fn needs(&self) -> ScoreNeeds {
            self.0.needs()
        }

        fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
            if let Ok(mut noted) = self.1.lock() {
                noted.push(batch.progress());
            }
            self.0.loss(batch)
        }
    }

    #[test]
    fn a_loss_is_told_how_far_training_is() {
        let rows: Vec<Sample> = (0..BATCH).map(|at| Sample::pair(&[at as f64], &[1.0])).collect();
        let loss = Noted(BradleyTerryConfig::default().init().unwrap(), Mutex::default());
        let head = Head::fresh(Widths { inputs: 1, hidden: 0, outputs: 1 }, Seed(1));
        train(head, &loss, &rows, Training { steps: 4, rate: 1e-2, seed: Seed(2) }).unwrap();
        let mut noted = loss.1.into_inner().unwrap();
        // A step may be taken twice, to compare two ways to take it.
        noted.dedup();
        assert_eq!(noted, [0.0, 0.25, 0.5, 0.75]);
    }

    #[test]
    fn a_fresh_output_stands_on_the_same_hidden_layer() {
        let head = Head::fresh(Widths { inputs: 2, hidden: 3, outputs: 1 }, Seed(1));
        let x = [vec![0.5, -1.0]];
        let [one, other] = [2, 3].map(|seed| head.clone().with_fresh_out(Seed(seed)));
        assert_ne!(one.rewards(&x), other.rewards(&x));
        assert_eq!(head.clone().with_fresh_out(Seed(1)).rewards(&x), head.rewards(&x));
    }

    #[test]
    fn a_linear_head_learns_which_feature_wins() {
        // The response whose first feature is larger wins; the second says nothing.
        let mut stream = Seed(0).stream("pairs", 0);
        let pair = |_| {
            let [a, b] = [0, 1].map(|_| vec![normal(&mut stream), normal(&mut stream)]);
            if a[0] > b[0] { [a, b] } else { [b, a] }
        };
        let pairs: Vec<[Vec<f64>; 2]> = (0..200).map(pair).collect();
        let rows: Vec<Sample> = pairs.iter().map(|[a, b]| Sample::pair(a, b)).collect();
        let loss = BradleyTerryConfig::default().init().unwrap();
        let head = Head::fresh(Widths { inputs: 2, hidden: 0, outputs: 1 }, Seed(1));
        let training = Training { steps: 200, rate: 5e-2, seed: Seed(2) };
        let head = train(head, &loss, &rows, training).unwrap();
        assert!(head.accuracy(&pairs) > 0.95, "{}", head.accuracy(&pairs));
        assert_eq!((best(&[1.0, 3.0, 3.0]), mean(&[1.0, 3.0])), (1, 2.0));
    }
}
