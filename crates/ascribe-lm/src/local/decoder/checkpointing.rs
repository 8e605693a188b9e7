//! Training with the inputs of layers alone: gradient checkpointing, arXiv:1604.06174.
//!
//! ```text
//! there:  y = layer(x; w) without a graph, and x is kept
//! back:   dx, dw = gradients of sum(layer(x; w) * dy),   dx is the dy of the layer below
//! ```
//! One layer has a graph at a time, so for each layer a token keeps `hidden` floats and nothing else. Both passes run the
//! same operations on the same device, and gradients are added in the order of the whole graph: on the CPU they are those
//! of the whole graph to the bit. The price is a second pass forward through the layers.

use ascribe_core::{CoreError, Packing};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor};

use super::{Decoder, Pass, Predictors, Row};

/// States to make a loss of, with the way from the loss back to gradients.
pub struct TrainingPass {
    /// The states that predict the response tokens, as [`Decoder::predictors`] gives them: a loss is made of what
    /// [`Decoder::logps`] and [`Decoder::over_logits`] say of them.
    pub predictors: Predictors,
    /// The way back.
    pub backward: Backward,
}

/// The way from a loss to the gradients of a decoder: one graph, or a graph for each layer.
pub struct Backward(Option<Kept>);

/// What a pass through the layers without a graph keeps.
pub(super) struct Kept {
    ids: Tensor<1, Int>,
    pass: Pass,
    /// What went into each layer: `[n, hidden]`.
    inputs: Vec<Tensor<2>>,
    /// What came out of the last one: the graph of the loss begins with it.
    last: Tensor<2>,
}

impl Decoder {
    /// The same decoder, which while training keeps the inputs of its layers alone and computes each layer again on the
    /// way back, or does not. It is on beside a fresh or loaded adapter, else off.
    pub fn with_gradient_checkpointing(mut self, on: bool) -> Self {
        self.checkpointing = on;
        self
    }

    /// [`predictors`](Self::predictors) for training: gradients come from [`Backward::gradients`].
    ///
    /// # Errors
    /// As [`predictors`](Self::predictors).
    pub fn training_pass(&self, rows: &[Row]) -> Result<TrainingPass, CoreError> {
        let mut kept = None;
        let predictors = self.predictors_by(rows, |ids, packing| self.tracked_states(ids, packing, &mut kept))?;
        Ok(TrainingPass { predictors, backward: Backward::new(kept) })
    }

    /// Final hidden states whose way back is one graph, or goes through what is `kept`.
    pub(super) fn tracked_states(&self, ids: Tensor<1, Int>, packing: &Packing, kept: &mut Option<Kept>) -> Tensor<2> {
        if !(self.checkpointing && self.device().is_autodiff()) {
            return self.states(ids, packing);
        }
        let there = self.through_layers(ids, packing);
        let states = self.normed(there.last.clone(), &self.norm); // [n, hidden]
        *kept = Some(there);
        states
    }

    fn through_layers(&self, ids: Tensor<1, Int>, packing: &Packing) -> Kept {
        let pass = Pass::new(&self.config, packing, &ids.device());
        // Another handle on the same weights: what needs no gradient is not recorded.
        let frozen = self.clone().no_grad();
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut x = frozen.embed(ids.clone(), &pass.positions); // [n, hidden]
        for number in 0..self.layers.len() {
            inputs.push(x.clone());
            x = frozen.packed_layer(number, x, &pass);
        }
        Kept { ids, pass, inputs, last: x.detach().require_grad() }
    }
}

impl Backward {
    pub(super) fn new(kept: Option<Kept>) -> Self {
        Self(kept)
    }

    /// Gradients of `loss`, a sum made of what was predicted or scored, for the weights of `decoder`, which gave it.
    ///
    /// # Panics
    /// When nothing that the loss is made of is trained.
    pub fn gradients(self, decoder: &Decoder, loss: Tensor<1>) -> GradientsParams {
        self.gradients_of(decoder, decoder, loss)
    }

    /// The same for all weights of `model`, of which `decoder` is a part: those of a value head, too.
    ///
    /// # Panics
    /// As [`gradients`](Self::gradients).
    pub fn gradients_of<M: Module>(self, decoder: &Decoder, model: &M, loss: Tensor<1>) -> GradientsParams {
        let mut gradients = loss.backward();
        let Some(Kept { ids, pass, inputs, last }) = self.0 else {
            return GradientsParams::from_grads(gradients, model);
        };
        let mut sums = GradientsAccumulator::new();
        let mut dy = last.grad_remove(&mut gradients); // [n, hidden]
        sums.accumulate(model, GradientsParams::from_grads(gradients, model));
        let embeds = trains(&decoder.embed_tokens) || trains(&decoder.embed_positions);
        // Below the lowest layer with a weight that is trained, nobody asks for a gradient.
        let lowest = match embeds {
            true => 0,
            false => decoder.layers.iter().position(trains).unwrap_or(decoder.layers.len()),
        };
        for (number, input) in inputs.into_iter().enumerate().skip(lowest).rev() {
            let Some(above) = dy else { return sums.grads() };
            let x = input.detach().set_require_grad(embeds || number > lowest); // [n, hidden]
            let y = decoder.packed_layer(number, x.clone(), &pass); // [n, hidden]
            let mut gradients = (y * above).sum().backward();
            dy = x.grad_remove(&mut gradients);
            sums.accumulate(model, GradientsParams::from_grads(gradients, decoder));
        }
        if let (true, Some(above)) = (embeds, dy) {
            let x = decoder.embed(ids, &pass.positions); // [n, hidden]
            sums.accumulate(model, GradientsParams::from_grads((x * above).sum().backward(), decoder));
        }
        sums.grads()
    }
}

/// Whether some weight of the module is trained.
fn trains<M: Module>(module: &M) -> bool {
    struct Any(bool);
    impl ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.val().is_require_grad();
        }
    }
    let mut any = Any(false);
    module.visit(&mut any);
    any.0
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use ascribe_testkit::device::{device, values};
    use ascribe_testkit::golden::close;

    use super::*;
    use crate::{Activation, Biases, DecoderConfig, Family, LoraConfig, Norm, Positions, RandomWeights};

    /// Two responses to one prompt, and a response to another.
    const ROWS: [Row; 3] = [
        Row { prompt: &[1, 5, 9, 4, 12], response: &[2, 30, 7] },
        Row { prompt: &[1, 5, 9, 4, 12], response: &[11, 3] },
        Row { prompt: &[6, 6], response: &[8, 8, 21, 0] },
    ];

    fn llama() -> DecoderConfig {
        DecoderConfig { kv_heads: 2, ..DecoderConfig::tiny(37, 16, 3, 4, 48) }
    }

    /// Norms on both sides of a block, a window, caps, and an embedding that is scaled.
    fn gemma2() -> DecoderConfig {
        DecoderConfig {
            family: Family::Gemma2,
            norm: Norm::RmsPlusOne,
            norm_behind: true,
            embedding_scale: 4.0,
            attention_softcap: Some(2.0),
            windows: vec![Some(3), None, Some(3)],
            activation: Activation::GeluTanh,
            logit_softcap: Some(3.0),
            ..llama()
        }
    }

    /// Layer norms and biases, learned positions, no gate, and a head of its own.
    fn gpt2() -> DecoderConfig {
        DecoderConfig {
            family: Family::Gpt2,
            kv_heads: 4,
            norm: Norm::Layer,
            positions: Positions::Learned,
            activation: Activation::GeluTanh,
            gated: false,
            biases: Biases { qkv: true, output: true, feed_forward: true },
            tied: false,
            ..llama()
        }
    }

    /// A decoder that is trained whole, or by an adapter whose factors are both not 0.
    fn decoder(config: &DecoderConfig, targets: &[&str]) -> Decoder {
        let mut weights = RandomWeights { seed: Seed(3), layers: 3 };
        let whole = Decoder::load(config, &mut weights, &device().autodiff()).unwrap();
        if targets.is_empty() {
            return whole;
        }
        let target_modules = targets.iter().map(|target| (*target).to_owned()).collect();
        let lora = LoraConfig { r: 3, alpha: 6.0, target_modules, use_rslora: false };
        whole.attach(&lora, &mut RandomWeights { seed: Seed(5), layers: 3 }).unwrap()
    }

    /// Sum of squared log-probabilities: each token weighs otherwise.
    fn of_logps(decoder: &Decoder, at: &Predictors) -> Tensor<1> {
        at.mask().sum(decoder.logps(at).square()).sum()
    }

    /// The same, and the mean logit of every token times its log-probability.
    fn of_logits(decoder: &Decoder, at: &Predictors) -> Tensor<1> {
        let means = decoder.over_logits(at, |logits, _| logits.mean_dim(1).squeeze_dim::<1>(1)); // [rows, longest]
        of_logps(decoder, at) + (means * decoder.logps(at)).sum()
    }

    /// Log-probabilities, then the gradient of every weight that has one.
    fn learn(
        decoder: Decoder,
        rows: &[Row],
        checkpointing: bool,
        loss: impl Fn(&Decoder, &Predictors) -> Tensor<1>,
    ) -> Vec<Vec<f64>> {
        struct All<'a> {
            gradients: &'a GradientsParams,
            all: Vec<Vec<f64>>,
        }
        impl ModuleVisitor for All<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.all.extend(self.gradients.get::<D>(param.id).map(values));
            }
        }
        let decoder = decoder.with_gradient_checkpointing(checkpointing);
        let TrainingPass { predictors, backward } = decoder.training_pass(rows).unwrap();
        assert_eq!(backward.0.is_some(), checkpointing);
        let gradients = backward.gradients(&decoder, loss(&decoder, &predictors));
        let mut found = All { gradients: &gradients, all: vec![values(decoder.logps(&predictors))] };
        decoder.visit(&mut found);
        assert_eq!(found.all.len(), 1 + gradients.len());
        found.all
    }

    #[test]
    fn gradients_of_one_layer_after_another_are_those_of_one_graph() {
        let adapters: [&[&str]; 4] = [&[], &["all-linear"], &["q_proj", "v_proj"], &["layers.1.mlp.up_proj"]];
        for (family, config) in [("llama", llama()), ("gemma2", gemma2()), ("gpt2", gpt2())] {
            for targets in adapters {
                let expected = learn(decoder(&config, targets), &ROWS, false, of_logps);
                let got = learn(decoder(&config, targets), &ROWS, true, of_logps);
                assert_eq!(got.len(), expected.len(), "{family}, {targets:?}");
                for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let what = format!("{family}, {targets:?}: {at} (0: log-probabilities)");
                    // Other devices may add up in another order from one call to the next.
                    match decoder(&config, targets).is_on_cpu() {
                        true => assert_eq!(got, expected, "{what}"),
                        false => close(&what, got, expected, 1e-5),
                    }
                }
            }
        }
    }

    /// The gradient of a sum is the sum of the gradients, so a prompt that is read once for two responses gets what it gets
    /// from each of them alone.
    #[test]
    fn gradients_of_a_prompt_that_is_read_once_are_those_of_separate_rows() {
        for (family, config) in [("llama", llama()), ("gemma2", gemma2()), ("gpt2", gpt2())] {
            for checkpointing in [false, true] {
                let gradients = |rows: &[Row]| learn(decoder(&config, &[]), rows, checkpointing, of_logps);
                let together = gradients(&ROWS);
                let apart: Vec<Vec<Vec<f64>>> = ROWS.iter().map(|row| gradients(std::slice::from_ref(row))).collect();
                assert!(apart.iter().all(|row| row.len() == together.len()), "{family}");
                // The first entry is the log-probabilities.
                for (at, together) in together.iter().enumerate().skip(1) {
                    let sum = |k: usize| apart.iter().map(|row| row[at][k]).sum::<f64>();
                    let expected: Vec<f64> = (0..together.len()).map(sum).collect();
                    close(&format!("{family}, checkpointing {checkpointing}: {at}"), together, &expected, 5e-4);
                }
            }
        }
    }

    #[test]
    fn gradients_of_a_loss_of_logits_go_the_same_way() {
        let adapters: [&[&str]; 2] = [&[], &["all-linear"]];
        for (family, config) in [("llama", llama()), ("gemma2", gemma2()), ("gpt2", gpt2())] {
            for targets in adapters {
                let expected = learn(decoder(&config, targets), &ROWS, false, of_logits);
                let got = learn(decoder(&config, targets), &ROWS, true, of_logits);
                assert_eq!(got.len(), expected.len(), "{family}, {targets:?}");
                for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    // A head that is the embedding has three gradients, which may be added in another order.
                    close(&format!("{family}, {targets:?}: {at} (0: log-probabilities)"), got, expected, 1e-5);
                }
            }
        }
    }

    #[test]
    fn rows_that_the_embeddings_do_not_hold_are_refused() {
        let refused = |config: &DecoderConfig, prompt: &[u32], response: &[u32]| {
            decoder(config, &[]).training_pass(&[Row { prompt, response }]).err().map(|error| error.to_string())
        };
        let unknown = refused(&llama(), &[1], &[36, 37]).expect("the ids end at 36");
        assert!(unknown.contains("a token id must be below the vocabulary size, got 37"), "{unknown}");
        // 49 tokens, and 48 positions where they are learned.
        let far = refused(&gpt2(), &[1; 47], &[2, 3]).expect("one token too many");
        assert!(far.contains("49 tokens and the context holds 48"), "{far}");
        assert_eq!(refused(&gpt2(), &[1; 47], &[2]), None);
        assert_eq!(refused(&llama(), &[1; 47], &[2, 3]), None);
    }

    #[test]
    fn beside_an_adapter_it_is_on_and_frozen_weights_get_no_gradient() {
        // Two factors for each of seven projections in three layers.
        let adapted = decoder(&llama(), &["all-linear"]);
        let TrainingPass { predictors, backward } = adapted.training_pass(&ROWS).unwrap();
        assert!(backward.0.is_some());
        assert_eq!(backward.gradients(&adapted, adapted.logps(&predictors).sum()).len(), 2 * 7 * 3);
        assert!(decoder(&llama(), &[]).training_pass(&ROWS).unwrap().backward.0.is_none());
        // Without autodiff there is no way back, and nothing is kept for one.
        assert!(adapted.valid().training_pass(&ROWS).unwrap().backward.0.is_none());
    }
}
