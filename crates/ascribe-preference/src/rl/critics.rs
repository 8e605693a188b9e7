//! Critics of turns: two of what an utterance is worth after an observation, two of the observation alone, and their targets.
//!
//! ```text
//! Q_k(o, u) = mlp([e_o, e_u]),   V_k(o) = mlp(e_o),   mlp: D -> D -> D -> 1 with rectifiers
//! L_Q = sum_k mean (Q_k(o, u) - (r + gamma (1 - d) V'_k(o')))^2,   L_V = sum_k mean (V_k(o) - Q'_k(o, u~))^2
//! targets:  theta' <- (1 - tau) theta' + tau theta   after each step
//! ```
//! ArCHer, arXiv:2402.19446, its code. `e` is the last hidden state of a text, observation and utterance each by themselves.
//! Departure: the encoder is the decoder that the run began with and stays as it is, where the code trains one of its own.

use std::collections::HashMap;
use std::path::Path;

use ascribe_core::Seed;
use ascribe_lm::{LmError, Safetensors, WeightSource, save_safetensors};
use ascribe_train::TrainError;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::actor::id;

/// The folder of critics and targets in a checkpoint, its file, and that of their optimizer.
const FOLDER: &str = "critics";
const FILE: &str = "model.safetensors";
const OPTIMIZER: &str = "critics_optimizer";

/// Layers with rectifiers between them.
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

/// Critics, or their targets.
#[derive(Module, Debug)]
struct Heads {
    q: Vec<Mlp>,
    v: Vec<Mlp>,
}

/// The numbers of a layer: `[in, out]` and `[out]`.
struct Layer {
    shape: [usize; 2],
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Turns that critics learn from, encoded: `[turns, hidden]` each.
pub(super) struct Encoded {
    /// What was seen.
    pub(super) observations: Tensor<2>,
    /// What was said.
    pub(super) utterances: Tensor<2>,
    /// What the policy would say now.
    pub(super) fresh: Tensor<2>,
    /// What was seen then.
    pub(super) next: Tensor<2>,
}

/// What a target is made of beside the value of what comes next, one a turn: the reward, and the discount, 0 at the end.
pub(super) struct Outcomes {
    pub(super) rewards: Vec<f32>,
    pub(super) discounts: Vec<f32>,
}

/// Two critics of each kind, with targets and optimizer.
pub(super) struct Critics {
    heads: Heads,
    targets: Heads,
    optimizer: ModuleOptimizer,
    tau: f64,
    rate: f64,
    device: Device,
}

impl Critics {
    /// Fresh critics of texts whose states have this width, on a device that trains.
    pub(super) fn new(hidden: usize, tau: f64, rate: f64, seed: Seed, device: &Device) -> Self {
        let heads = Heads::new(hidden, seed, device);
        let targets = heads.valid();
        Self { heads, targets, optimizer: AdamConfig::new().init(), tau, rate, device: device.clone() }
    }

    /// One step on turns; the two losses.
    pub(super) fn learn(&mut self, turns: &Encoded, outcomes: &Outcomes) -> (f64, f64) {
        let wanted_q = self.wanted_q(turns, outcomes); // [turns] by critic
        let said_now = pairs(&turns.observations, &turns.fresh); // [turns, 2 hidden]
        let wanted_v: Vec<Tensor<1>> = self.targets.q.iter().map(|target| target.forward(said_now.clone())).collect();
        let said = pairs(&turns.observations, &turns.utterances).autodiff(); // [turns, 2 hidden]
        let seen = turns.observations.clone().autodiff(); // [turns, hidden]
        let error = |heads: &[Mlp], x: &Tensor<2>, wanted: Vec<Tensor<1>>| {
            let mut sum = Tensor::<1>::zeros([1], &self.device);
            for (head, wanted) in heads.iter().zip(wanted) {
                sum = sum + (head.forward(x.clone()) - wanted.autodiff()).square().mean();
            }
            sum
        };
        let (q, v) = (error(&self.heads.q, &said, wanted_q), error(&self.heads.v, &seen, wanted_v)); // [1]
        let losses = (host(q.clone()).iter().sum(), host(v.clone()).iter().sum());
        let gradients = GradientsParams::from_grads((q + v).backward(), &self.heads);
        self.heads = self.optimizer.step(self.rate, self.heads.clone(), gradients);
        self.targets = self.targets.toward(&self.heads.valid(), self.tau);
        losses
    }

    /// `r + gamma (1 - d) V'_k(o')`, for each critic `[turns]`.
    fn wanted_q(&self, turns: &Encoded, outcomes: &Outcomes) -> Vec<Tensor<1>> {
        let column = |values: &[f32]| {
            Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &turns.next.device())
        };
        let (rewards, discounts) = (column(&outcomes.rewards), column(&outcomes.discounts)); // [turns]
        let wanted = |target: &Mlp| rewards.clone() + discounts.clone() * target.forward(turns.next.clone());
        self.targets.v.iter().map(wanted).collect()
    }

    /// The value of each observation, the less of two critics; observations `[n, hidden]`.
    pub(super) fn values(&self, observations: &Tensor<2>) -> Vec<f64> {
        let heads = self.heads.valid();
        least(heads.v.iter().map(|head| host(head.forward(observations.clone()))))
    }

    /// What an utterance adds to the value of its observation: the less of two critics each; `[n, hidden]` both.
    pub(super) fn advantages(&self, observations: &Tensor<2>, utterances: &Tensor<2>) -> Vec<f64> {
        let heads = self.heads.valid();
        let said = pairs(observations, utterances); // [n, 2 hidden]
        let worth = least(heads.q.iter().map(|head| host(head.forward(said.clone()))));
        worth.iter().zip(self.values(observations)).map(|(q, v)| q - v).collect()
    }

    /// Writes critics, targets and optimizer into the folder of a checkpoint.
    pub(super) fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(OPTIMIZER);
        self.optimizer.save(&path).map_err(|error| TrainError::Checkpoint { path, why: error.to_string() })?;
        let own = folder.join(FOLDER);
        std::fs::create_dir_all(&own).map_err(|source| TrainError::Io { path: own.clone(), source })?;
        let mut named = Vec::new();
        for (whose, heads) in [("critics", &self.heads), ("targets", &self.targets)] {
            for (number, Layer { shape, weight, bias }) in heads.layers().into_iter().enumerate() {
                named.push((format!("{whose}.{number}.weight"), shape.to_vec(), weight));
                named.push((format!("{whose}.{number}.bias"), vec![bias.len()], bias));
            }
        }
        Ok(save_safetensors(&own.join(FILE), &named, HashMap::new())?)
    }

    /// Reads them back.
    pub(super) fn resume(&mut self, folder: &Path) -> Result<(), TrainError> {
        let torn = |why: String| TrainError::Checkpoint { path: folder.to_owned(), why };
        let mut saved = Safetensors::open(&folder.join(FOLDER))?;
        self.heads = self.heads.with(&mut saved, "critics")?.set_require_grad(true);
        self.targets = self.targets.with(&mut saved, "targets")?;
        let optimizer = AdamConfig::new().init().load(folder.join(OPTIMIZER));
        self.optimizer = optimizer.map_err(|error| torn(error.to_string()))?;
        Ok(())
    }
}

/// `[n, a]` and `[n, b]` to `[n, a + b]`.
fn pairs(one: &Tensor<2>, other: &Tensor<2>) -> Tensor<2> {
    Tensor::cat(vec![one.clone(), other.clone()], 1)
}

fn host(values: Tensor<1>) -> Vec<f64> {
    values.into_data().iter::<f64>().collect()
}

/// The least of the lists at each place.
fn least(lists: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    lists.reduce(|one, other| one.iter().zip(&other).map(|(a, b)| a.min(*b)).collect()).unwrap_or_default()
}

impl Heads {
    fn new(hidden: usize, seed: Seed, device: &Device) -> Self {
        let two = |name: &str, inputs: usize| {
            (0..2).map(|number| Mlp::new(&format!("{name}.{number}"), [inputs, hidden], seed, device)).collect()
        };
        Self { q: two("critic.q", 2 * hidden), v: two("critic.v", hidden) }
    }

    fn all(&self) -> impl Iterator<Item = &Linear> {
        self.q.iter().chain(&self.v).flat_map(|head| &head.layers)
    }

    /// These weights, moved towards others by a share.
    fn toward(&self, others: &Self, share: f64) -> Self {
        let mut moved = self.clone();
        let layers = moved.q.iter_mut().chain(&mut moved.v).flat_map(|head| &mut head.layers);
        for (layer, other) in layers.zip(others.all()) {
            let weight = other.weight.val().mul_scalar(share); // [in, out]
            layer.weight = layer.weight.clone().map(|own| own.mul_scalar(1.0 - share) + weight);
            let biases = layer.bias.take().zip(other.bias.as_ref());
            layer.bias = biases.map(|(own, other)| {
                let bias = other.val().mul_scalar(share); // [out]
                own.map(|own| own.mul_scalar(1.0 - share) + bias)
            });
        }
        moved
    }

    fn layers(&self) -> Vec<Layer> {
        let floats = |data: TensorData| data.iter::<f32>().collect::<Vec<f32>>();
        let one = |layer: &Linear| Layer {
            shape: layer.weight.val().dims(),
            weight: floats(layer.weight.val().into_data()),
            bias: layer.bias.as_ref().map(|bias| floats(bias.val().into_data())).unwrap_or_default(),
        };
        self.all().map(one).collect()
    }

    /// The same with the numbers that a file has under a name.
    fn with(&self, saved: &mut Safetensors, whose: &str) -> Result<Self, LmError> {
        let mut changed = self.clone();
        let layers = changed.q.iter_mut().chain(&mut changed.v).flat_map(|head| &mut head.layers);
        for (number, layer) in layers.enumerate() {
            let [inputs, outputs] = layer.weight.val().dims();
            let weight = saved.tensor(&format!("{whose}.{number}.weight"), &[inputs, outputs])?;
            let bias = saved.tensor(&format!("{whose}.{number}.bias"), &[outputs])?;
            let data = TensorData::new(weight, [inputs, outputs]);
            layer.weight = layer.weight.clone().map(|own| Tensor::from_data(data, &own.device()));
            let data = TensorData::new(bias, [outputs]);
            layer.bias = layer.bias.take().map(|own| own.map(|own| Tensor::from_data(data, &own.device())));
        }
        Ok(changed)
    }
}

impl Mlp {
    /// Weights as torch draws them: even, up to the root of one over the number of inputs.
    fn new(name: &str, [inputs, width]: [usize; 2], seed: Seed, device: &Device) -> Self {
        let mut layers = Vec::with_capacity(3);
        for (number, [inputs, outputs]) in [[inputs, width], [width, width], [width, 1]].into_iter().enumerate() {
            let name = format!("{name}.{number}");
            let (mut stream, bound) = (seed.stream(&name, 0), 1.0 / (inputs as f64).sqrt());
            let mut draw = |n: usize| -> Vec<f32> {
                (0..n).map(|_| (bound * (2.0 * stream.random::<f64>() - 1.0)) as f32).collect()
            };
            let weight = Tensor::<2>::from_data(TensorData::new(draw(inputs * outputs), [inputs, outputs]), device);
            let bias = Tensor::<1>::from_data(TensorData::new(draw(outputs), [outputs]), device);
            layers.push(Linear {
                weight: Param::initialized(id(&format!("{name}.weight")), weight).set_require_grad(true),
                bias: Some(Param::initialized(id(&format!("{name}.bias")), bias).set_require_grad(true)),
            });
        }
        Self { layers }
    }

    /// `[n, inputs]` to `[n]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<1> {
        let mut x = x;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if number + 1 < self.layers.len() {
                x = relu(x);
            }
        }
        x.squeeze_dim::<1>(1)
    }
}

#[cfg(test)]
mod tests {
    use ascribe_testkit::device::{device, values};

    use super::*;

    fn critics(tau: f64) -> Critics {
        Critics::new(2, tau, 1e-2, Seed(3), &device().autodiff())
    }

    fn tensor(rows: &[[f32; 2]]) -> Tensor<2> {
        let flat: Vec<f32> = rows.iter().flatten().copied().collect();
        Tensor::from_data(TensorData::new(flat, [rows.len(), 2]), &device())
    }

    fn turns() -> (Encoded, Outcomes) {
        let encoded = Encoded {
            observations: tensor(&[[1.0, 0.0], [0.0, 1.0]]),
            utterances: tensor(&[[0.5, 0.5], [1.0, -1.0]]),
            fresh: tensor(&[[1.0, 1.0], [0.0, 0.0]]),
            next: tensor(&[[0.0, 1.0], [2.0, 2.0]]),
        };
        (encoded, Outcomes { rewards: vec![-1.0, 3.0], discounts: vec![0.95, 0.0] })
    }

    /// `relu` layers by hand, in f64.
    fn by_hand(layers: &[Layer], x: &[f64]) -> f64 {
        let mut x = x.to_vec();
        for (number, Layer { weight, bias, .. }) in layers.iter().enumerate() {
            let outputs = bias.len();
            let output = |out: usize| {
                let sum: f64 = x.iter().enumerate().map(|(at, x)| x * f64::from(weight[at * outputs + out])).sum();
                let sum = sum + f64::from(bias[out]);
                if number + 1 < layers.len() { sum.max(0.0) } else { sum }
            };
            x = (0..outputs).map(output).collect();
        }
        x[0]
    }

    #[test]
    fn targets_are_the_reward_and_the_discounted_value_of_what_comes_next() {
        let (critics, (turns, outcomes)) = (critics(0.1), turns());
        let layers = critics.targets.layers();
        for (number, wanted) in critics.wanted_q(&turns, &outcomes).into_iter().enumerate() {
            // Behind the six layers of the Qs.
            let own = &layers[6 + 3 * number..9 + 3 * number];
            let got = values(wanted);
            assert!((got[0] - (-1.0 + 0.95 * by_hand(own, &[0.0, 1.0]))).abs() < 1e-5);
            // At the end what comes next does not matter.
            assert_eq!(got[1], 3.0);
        }
        let q: Vec<f64> = [0, 3].map(|at| by_hand(&layers[at..at + 3], &[1.0, 0.0, 0.5, 0.5])).to_vec();
        let v: Vec<f64> = [6, 9].map(|at| by_hand(&layers[at..at + 3], &[1.0, 0.0])).to_vec();
        let expected = q[0].min(q[1]) - v[0].min(v[1]);
        let got = critics.advantages(&turns.observations, &turns.utterances)[0];
        assert!((got - expected).abs() < 1e-5, "{got} and {expected}");
    }

    #[test]
    fn targets_follow_by_a_share_and_a_share_of_1_copies() {
        let flat = |heads: &Heads| -> Vec<f32> { heads.layers().into_iter().flat_map(|layer| layer.weight).collect() };
        let (turns, outcomes) = turns();
        for tau in [0.1, 1.0] {
            let mut critics = critics(tau);
            let before = flat(&critics.targets);
            assert_eq!(before, flat(&critics.heads));
            critics.learn(&turns, &outcomes);
            let (after, heads) = (flat(&critics.targets), flat(&critics.heads));
            assert_ne!(before, heads);
            for ((before, after), head) in before.iter().zip(&after).zip(&heads) {
                let expected = (1.0 - tau) * f64::from(*before) + tau * f64::from(*head);
                assert!((f64::from(*after) - expected).abs() < 1e-6);
            }
            if tau == 1.0 {
                assert_eq!(after, heads);
            }
        }
    }

    #[test]
    fn a_game_of_one_turn_is_reinforce_with_a_learned_baseline() {
        // Four times as wide as elsewhere: critics of two units may have none left that is above 0.
        let mut critics = Critics::new(8, 0.5, 1e-2, Seed(3), &device().autodiff());
        let wide = |of: Tensor<2>| Tensor::cat(vec![of; 4], 1); // [turns, 8]
        let (Encoded { observations, utterances, fresh, next }, outcomes) = turns();
        let (observations, utterances) = (wide(observations), wide(utterances));
        let turns = Encoded { observations, utterances, fresh: wide(fresh), next: wide(next) };
        // The turn ends the game, so a Q that has learned is the reward, whatever comes next.
        let outcomes = Outcomes { discounts: vec![0.0; 2], ..outcomes };
        for _ in 0..1000 {
            critics.learn(&turns, &outcomes);
        }
        let baseline = critics.values(&turns.observations);
        let got = critics.advantages(&turns.observations, &turns.utterances);
        for ((got, reward), baseline) in got.iter().zip(&outcomes.rewards).zip(&baseline) {
            let expected = f64::from(*reward) - baseline;
            assert!((got - expected).abs() < 0.1, "{got} and {expected}");
        }
    }

    #[test]
    fn the_loss_falls_and_critics_that_were_saved_go_on_alike() {
        let (mut whole, (turns, outcomes)) = (critics(0.5), turns());
        let first = whole.learn(&turns, &outcomes);
        let folder = tempfile::tempdir().unwrap();
        whole.save(folder.path()).unwrap();
        let mut resumed = Critics::new(2, 0.5, 1e-2, Seed(4), &device().autodiff());
        resumed.resume(folder.path()).unwrap();
        let mut last = first;
        for _ in 0..300 {
            last = whole.learn(&turns, &outcomes);
            assert_eq!(resumed.learn(&turns, &outcomes), last);
        }
        assert!(last.0 < first.0, "{first:?} and {last:?}");
        assert!(Critics::new(3, 0.5, 1e-2, Seed(4), &device().autodiff()).resume(folder.path()).is_err());
    }
}
