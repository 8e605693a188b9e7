//! AdamW that writes parameters and moments in place, where they are f32 on the CPU; Burn's own elsewhere.
//!
//! The arithmetic and the state are those of Burn's AdamW, so each reads what the other saved.

use ascribe_core::tensor::fused::AdamWStep;
use burn::optim::{AdamW, AdamWState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

use crate::FitConfig;

#[derive(Clone)]
pub(crate) struct InPlace {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    elsewhere: AdamW,
}

impl InPlace {
    pub(crate) fn new(config: &FitConfig) -> Self {
        Self {
            beta1: config.adam_beta1 as f32,
            beta2: config.adam_beta2 as f32,
            epsilon: config.adam_epsilon as f32,
            weight_decay: config.weight_decay as f32,
            elsewhere: config.adamw(),
        }
    }
}

impl Optimizer for InPlace {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let moments = state.iter().flat_map(|state| [&state.momentum.moment_1, &state.momentum.moment_2]);
        if !moments.chain([&parameter, &gradient]).all(AdamWStep::accepts) {
            return self.elsewhere.step(rate, parameter, gradient, state);
        }
        let (done, first, second) = match state {
            Some(AdamWState { momentum }) => (momentum.time, momentum.moment_1, momentum.moment_2),
            None => (0, parameter.zeros_like(), parameter.zeros_like()),
        };
        let step = AdamWStep {
            rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            time: done + 1,
        };
        let [parameter, first, second] = step.apply([parameter, first, second], gradient);
        (parameter, Some(AdamWState::new(AdaptiveMomentumState::new(step.time, first, second))))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        <AdamW as Optimizer>::to_device::<D>(state, device)
    }
}

#[cfg(test)]
mod tests {
    use ascribe_testkit::device::{floats, values};
    use ascribe_testkit::golden::close;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{GradientsParams, ModuleOptimizer};
    use burn::tensor::DType;

    use super::*;

    const STEPS: usize = 5;

    fn config() -> FitConfig {
        FitConfig { weight_decay: 0.1, ..FitConfig::default() }
    }

    /// One step on a loss that differs from step to step.
    fn step(optimizer: &mut ModuleOptimizer, model: Linear, number: usize) -> Linear {
        let device = Device::flex().autodiff();
        let x: Vec<f64> = (0..14).map(|at| ((at * 5 + number * 3) % 11) as f64 / 4.0 - 1.0).collect();
        let loss = model.forward(floats(&x, [2, 7], &device, DType::F32)).square().sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        optimizer.step(0.01, model, gradients)
    }

    fn same(what: &str, got: &Linear, expected: &Linear) {
        let all = |model: &Linear| {
            let bias = model.bias.as_ref().expect("the layer has a bias").val();
            [values(model.weight.val()), values(bias)].concat()
        };
        close(what, &all(got), &all(expected), 1e-6);
    }

    #[test]
    fn in_place_is_the_adamw_of_burn_and_reads_its_state() {
        let start = LinearConfig::new(7, 5).init(&Device::flex().autodiff());
        let burns = || -> ModuleOptimizer { config().adamw().into() };
        let ours = || -> ModuleOptimizer { InPlace::new(&config()).into() };
        for switch in 1..=STEPS {
            for (from, to) in [(burns(), ours()), (ours(), burns())] {
                let (mut whole, mut first, mut second) = (burns(), from, Some(to));
                let (mut expected, mut got) = (start.clone(), start.clone());
                for number in 0..STEPS {
                    if number == switch
                        && let Some(next) = second.take()
                    {
                        first = next.from_bytes(first.into_bytes().expect("saved")).expect("loaded");
                    }
                    expected = step(&mut whole, expected, number);
                    got = step(&mut first, got, number);
                    same(&format!("switch at {switch}, step {number}"), &got, &expected);
                }
            }
        }
    }
}
