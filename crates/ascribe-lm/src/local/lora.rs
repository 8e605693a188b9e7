//! Low-rank adapters beside frozen projections: LoRA, arXiv:2106.09685.
//!
//! ```text
//! y = base(x) + s (x a) b,   s = alpha / r,   or alpha / sqrt(r) (arXiv:2312.03732)
//! ```
//! `x a` has `r` columns, so no matrix of the size of the weight is made. `b` begins at 0: a fresh adapter changes
//! nothing. There is no dropout.

use ascribe_core::Seed;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt;

use super::config::Head;
use super::decoder::{Build, Decoder, of_linear};
use super::parts::Product;
use super::weights::{Named, WeightSource};
use crate::LmError;

/// Options of an adapter, under the names of peft (there `alpha` is `lora_alpha`).
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the product.
    pub r: usize,
    /// The product is multiplied by `alpha / r`.
    pub alpha: f64,
    /// Which projections are adapted, by the end of their names: `q_proj` in all layers, `layers.3.mlp.up_proj` in one,
    /// [`ALL_LINEAR`](Self::ALL_LINEAR) for every projection of attention and feed-forward.
    pub target_modules: Vec<String>,
    /// Multiply by `alpha / sqrt(r)` instead.
    pub use_rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let target_modules = ["q_proj", "v_proj"].map(str::to_owned).to_vec();
        Self { r: 16, alpha: 32.0, target_modules, use_rslora: false }
    }
}

impl LoraConfig {
    /// The target that stands for every projection.
    pub const ALL_LINEAR: &'static str = "all-linear";

    /// Checks every option but whether the model has the targets, which [`Decoder::with_lora`] does.
    ///
    /// # Errors
    /// [`LmError::Lora`] names the first option that is out of its range.
    pub fn check(&self) -> Result<(), LmError> {
        if self.r == 0 {
            return Err(lora("r must be at least 1, got 0"));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(lora(format!("alpha must be finite and above 0, got {}", self.alpha)));
        }
        if self.target_modules.is_empty() {
            return Err(lora("target_modules must name a projection, such as q_proj, or be `all-linear`; it is empty"));
        }
        Ok(())
    }

    fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    fn adapts(&self, name: &str) -> bool {
        self.target_modules.iter().any(|target| ends_with(name, target))
    }
}

/// Whether the projection `name` is meant by `target`: peft's rule for lists.
fn ends_with(name: &str, target: &str) -> bool {
    let behind_a_point = |rest: &str| rest.is_empty() || rest.ends_with('.');
    target == LoraConfig::ALL_LINEAR || name.strip_suffix(target).is_some_and(behind_a_point)
}

fn lora(why: impl Into<String>) -> LmError {
    LmError::Lora { why: why.into() }
}

/// The two factors of an adapter.
#[derive(Module, Debug)]
struct LoraPair {
    /// Weight `[in, r]`.
    a: Linear,
    /// Weight `[r, out]`.
    b: Linear,
    #[module(skip)]
    scale: f64,
}

/// A linear layer of a block, with its adapter.
#[derive(Module, Debug)]
pub(super) struct Projection {
    pub(super) base: Linear,
    lora: Option<LoraPair>,
}

impl Projection {
    pub(super) fn plain(base: Linear) -> Self {
        Self { base, lora: None }
    }

    /// Weight `[in, out]` and bias `[out]`, where there is no adapter beside them.
    pub(super) fn base_alone(&self) -> Option<(Tensor<2>, Option<Tensor<1>>)> {
        let Linear { weight, bias } = &self.base;
        self.lora.is_none().then(|| (weight.val(), bias.as_ref().map(|bias| bias.val())))
    }

    /// `[n, in]` to `[n, out]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let Some(pair) = &self.lora else { return self.base.forward(x) };
        let narrow = pair.a.forward(x.clone()).mul_scalar(pair.scale); // [n, r]
        self.base.forward(x) + pair.b.forward(narrow)
    }
}

/// What peft draws: `a` uniform within `1 / sqrt(in)` (Kaiming's with a slope of the root of 5), `b` at 0.
struct FreshPairs(Seed);

impl WeightSource for FreshPairs {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let n: usize = shape.iter().product();
        if name.ends_with("lora_B.weight") {
            return Ok(vec![0.0; n]);
        }
        let bound = 1.0 / (shape[1] as f64).sqrt();
        let mut stream = self.0.stream(name, 0);
        let mut uniform = || {
            let unit: f64 = stream.random(); // [0, 1)
            (bound * (2.0 * unit - 1.0)) as f32
        };
        Ok((0..n).map(|_| uniform()).collect())
    }
}

/// Log-probabilities `x` of the merged weights and those of the adapter apart may differ by this times `1 + |x|`.
///
/// Rounding a merged weight moves it by less than 1e-7 of its size, and log-probabilities move by 1e-5 or so then, as
/// they do when sums are taken in another order. A factor that is wrong or transposed moves them by far more.
const MERGE_TOLERANCE: f32 = 1e-3;

impl Decoder {
    /// The same weights, frozen, with a fresh adapter beside them: only the adapter gets gradients and optimizer state, and
    /// the head of a classifier, which is trained whole.
    /// The weights are shared, not copied. Gradient checkpointing is on, because what layers keep is then most of the
    /// memory; [`with_gradient_checkpointing`](Self::with_gradient_checkpointing) turns it off.
    ///
    /// # Errors
    /// [`LmError::Lora`] for an option out of its range, a target that the model does not have (it lists those that it
    /// has), or a decoder that has an adapter already.
    pub fn with_lora(&self, config: &LoraConfig, seed: Seed) -> Result<Self, LmError> {
        self.attach(config, &mut FreshPairs(seed))
    }

    /// The same weights, frozen, with the adapter that `source` holds: `<projection>.lora_A.weight` as `[r, in]` and
    /// `<projection>.lora_B.weight` as `[out, r]`.
    pub(super) fn attach(&self, config: &LoraConfig, source: &mut dyn WeightSource) -> Result<Self, LmError> {
        self.attach_by(config, source, str::to_owned)
    }

    /// The same where targets are those of the modules that `module` names: it takes the name of a projection.
    pub(super) fn attach_by(
        &self,
        config: &LoraConfig,
        source: &mut dyn WeightSource,
        module: impl Fn(&str) -> String,
    ) -> Result<Self, LmError> {
        config.check()?;
        if self.lora.is_some() {
            return Err(lora("the model has an adapter already; merge that one first"));
        }
        let mut decoder = self.clone().no_grad().with_trained_head();
        let projections = decoder.projections();
        let modules: Vec<String> = projections.iter().map(|(name, _)| module(name)).collect();
        let mut known: Vec<&str> = Vec::new();
        for name in &modules {
            let part = name.rsplit('.').next().unwrap_or(name);
            if !known.contains(&part) {
                known.push(part);
            }
        }
        let is_there = |target: &String| modules.iter().any(|name| ends_with(name, target));
        if let Some(target) = config.target_modules.iter().find(|target| !is_there(target)) {
            let has = known.join(", ");
            return Err(lora(format!("the model has no projection `{target}`; it has {has}, or name `all-linear`")));
        }
        let mut config = config.clone();
        if config.target_modules.iter().any(|target| target == LoraConfig::ALL_LINEAR) {
            config.target_modules = known.into_iter().map(str::to_owned).collect();
        }
        let device = self.device();
        let mut build = Build { source, device: &device, norm: self.config().norm };
        for ((name, projection), module) in projections.into_iter().zip(&modules) {
            if config.adapts(module) {
                let [inputs, outputs] = projection.base.weight.val().dims();
                let mut factor = |which: &str, inputs: usize, outputs: usize| {
                    build.linear(&Product { name: format!("{name}.lora_{which}"), inputs, outputs, bias: false })
                };
                let (a, b) = (factor("A", inputs, config.r)?, factor("B", config.r, outputs)?);
                projection.lora = Some(LoraPair { a, b, scale: config.scale() });
            }
        }
        decoder.lora = Some(config);
        decoder.checkpointing = true;
        Ok(decoder)
    }

    /// How the adapter was made, if there is one; `all-linear` is spelled out.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// The same decoder with the adapter off: the reference of a policy that is trained by LoRA. The weights are
    /// shared, not copied, and stay frozen.
    pub fn without_lora(&self) -> Self {
        let mut decoder = self.clone();
        for (_, projection) in decoder.projections() {
            projection.lora = None;
        }
        decoder.lora = None;
        decoder
    }

    /// The adapter added into the weights, `W + s a b`, in a decoder without gradients whose weights can be trained
    /// again.
    ///
    /// # Errors
    /// [`LmError::Lora`] when there is no adapter; [`LmError::Merge`] when what the merged decoder says of fixed tokens
    /// is not what the adapter says apart.
    pub fn merged(&self) -> Result<Self, LmError> {
        if self.lora.is_none() {
            return Err(lora("there is no adapter to merge"));
        }
        let apart = self.valid();
        let mut merged = apart.clone();
        for (_, projection) in merged.projections() {
            if let Some(pair) = projection.lora.take() {
                let product = pair.a.weight.val().matmul(pair.b.weight.val()); // [in, out]
                let weight = projection.base.weight.clone();
                projection.base.weight = weight.map(|weight| weight + product.mul_scalar(pair.scale));
            }
        }
        merged.lora = None;
        merged.checkpointing = false;
        for (before, after) in probe(&apart).into_iter().zip(probe(&merged)) {
            let near = (after - before).abs() <= MERGE_TOLERANCE * (1.0 + before.abs());
            if !(near && before.is_finite()) {
                return Err(LmError::Merge { before, after, tolerance: MERGE_TOLERANCE });
            }
        }
        Ok(merged.set_require_grad(true))
    }

    /// Freezes all but the adapter and the head of a classifier; without an adapter, nothing.
    pub(super) fn frozen_beside_lora(mut self) -> Self {
        if self.lora.is_none() {
            return self;
        }
        let pairs: Vec<Option<LoraPair>> = self.projections().into_iter().map(|(_, it)| it.lora.take()).collect();
        let mut frozen = self.no_grad().with_trained_head();
        for ((_, projection), pair) in frozen.projections().into_iter().zip(pairs) {
            projection.lora = pair;
        }
        frozen
    }

    /// The factors of the adapter in the layouts of [`attach`](Self::attach); none without an adapter.
    pub(super) fn lora_named(&self) -> Vec<Named> {
        let mut named = Vec::new();
        let mut same = self.clone(); // another handle on the same weights
        for (name, projection) in same.projections() {
            if let Some(pair) = &projection.lora {
                of_linear(&pair.a, format!("{name}.lora_A"), &mut named);
                of_linear(&pair.b, format!("{name}.lora_B"), &mut named);
            }
        }
        named
    }
}

/// What a decoder says of two short rows of fixed tokens: log-probabilities of all next tokens, or a classifier's
/// scores.
fn probe(decoder: &Decoder) -> Vec<f32> {
    let (ids, length) = (decoder.vocab_size() as i64, decoder.config().context.min(16));
    // A prime far apart from any vocabulary size spreads them.
    let rows: Vec<i64> = (0..2 * length as i64).map(|at| (at * 7919 + 13) % ids).collect();
    let rows = Tensor::<2, Int>::from_data(TensorData::new(rows, [2, length]), &decoder.device());
    let logits = decoder.logits(rows); // [2, length, outputs]
    let said = match decoder.config().head {
        Head::NextToken => log_softmax(logits, 2),
        Head::Sequence { .. } | Head::Token { .. } => logits,
    };
    said.into_data().convert::<f32>().try_to_vec().expect("invariant: converted to f32")
}

#[cfg(test)]
mod tests {
    use ascribe_testkit::device::{device, integers, values};
    use ascribe_testkit::golden::close;
    use burn::optim::{AdamWConfig, GradientsParams};
    use burn::tensor::Device;

    use super::super::config::DecoderConfig;
    use super::super::decoder::Row;
    use super::super::weights::RandomWeights;
    use super::*;

    const R: usize = 3;

    fn plain(device: &Device) -> Decoder {
        let config = DecoderConfig { kv_heads: 2, ..DecoderConfig::tiny(37, 16, 2, 4, 48) };
        Decoder::load(&config, &mut RandomWeights { seed: Seed(3), layers: 2 }, device).unwrap()
    }

    fn config(targets: &[&str]) -> LoraConfig {
        let target_modules = targets.iter().map(|target| (*target).to_owned()).collect();
        LoraConfig { r: R, alpha: 6.0, target_modules, use_rslora: false }
    }

    fn adapted(targets: &[&str], device: &Device) -> Decoder {
        plain(device).with_lora(&config(targets), Seed(5)).unwrap()
    }

    /// The names of the projections that have a pair.
    fn names(decoder: &Decoder) -> Vec<String> {
        let named = decoder.lora_named().into_iter();
        named.filter_map(|(name, ..)| name.strip_suffix(".lora_A.weight").map(str::to_owned)).collect()
    }

    /// The logits as bits: equal means equal to the last one.
    fn bits(decoder: &Decoder) -> Vec<u32> {
        let ids = integers(&[1, 5, 9, 2, 30, 7, 7, 11], [2, 4], &decoder.device());
        let logits: Vec<f32> = decoder.logits(ids).into_data().try_to_vec().unwrap();
        logits.into_iter().map(f32::to_bits).collect()
    }

    /// One AdamW step on the log-probability of a response; the decoder after it and the tensors of optimizer state.
    fn step(decoder: Decoder) -> (Decoder, usize, usize) {
        let rows = [Row { prompt: &[1, 5, 9], response: &[2, 30, 7] }];
        let (logps, mask) = decoder.response_logps(&rows).unwrap();
        let gradients = GradientsParams::from_grads(mask.sum(logps).neg().sum().backward(), &decoder);
        let count = gradients.len();
        let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
        let after = optimizer.step(1e-2, decoder, gradients);
        (after, count, optimizer.to_record().len())
    }

    #[test]
    fn a_fresh_adapter_and_one_that_is_off_are_the_plain_forward_to_the_bit() {
        let base = plain(&device());
        let lora = adapted(&["all-linear"], &device());
        assert_eq!(bits(&lora), bits(&base));
        let (trained, ..) = step(adapted(&["all-linear"], &device().autodiff()));
        assert_ne!(bits(&trained), bits(&base));
        assert_eq!(bits(&trained.without_lora()), bits(&base));
        assert_eq!(trained.without_lora().hash(), base.hash());
        assert!(trained.without_lora().lora().is_none());
    }

    #[test]
    fn targets_say_what_is_trained() {
        let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        for (targets, expected) in [
            (&["all-linear"][..], 14),
            (&all, 14),
            (&["q_proj", "v_proj"], 4),
            (&["mlp.up_proj"], 2),
            (&["layers.1.self_attn.o_proj"], 1),
            (&["model.layers.0.mlp.down_proj", "k_proj"], 3),
        ] {
            let decoder = adapted(targets, &device().autodiff());
            let found = names(&decoder);
            assert_eq!(found.len(), expected, "{targets:?}: {found:?}");
            let before = decoder.lora_named();
            let (after, gradients, state) = step(decoder);
            // Two factors a pair; the first step moves `b` alone, because a gradient of `a` goes through `b`, which is 0.
            assert_eq!(gradients, 2 * expected, "{targets:?}");
            assert_eq!(state, step_state(2 * expected), "{targets:?}");
            for ((name, _, before), (_, _, after)) in before.into_iter().zip(after.lora_named()) {
                assert_eq!(before != after, name.ends_with("lora_B.weight"), "{name}");
            }
        }
    }

    /// Tensors of optimizer state for `n` trained tensors, as AdamW keeps them for a model of that many.
    fn step_state(n: usize) -> usize {
        let (_, gradients, state) = step(plain(&device().autodiff()));
        assert_eq!(state % gradients, 0);
        n * (state / gradients)
    }

    #[test]
    fn the_base_is_frozen_however_the_decoder_was_moved() {
        let training = device().autodiff();
        let here = adapted(&["q_proj"], &device());
        for decoder in [
            here.clone().on(&training),
            here.clone().train(),
            adapted(&["q_proj"], &training),
            adapted(&["q_proj"], &training).valid().train(),
        ] {
            let before = decoder.without_lora().hash();
            let (after, gradients, _) = step(decoder);
            let (after, ..) = step(after);
            assert_eq!(gradients, 4);
            assert_eq!(after.without_lora().hash(), before);
            assert_eq!(after.named().len(), plain(&device()).named().len());
            // Both factors move once `b` is not 0.
            for ((name, _, before), (_, _, after)) in here.lora_named().into_iter().zip(after.lora_named()) {
                assert_ne!(before, after, "{name}");
            }
        }
    }

    #[test]
    fn merging_says_the_same_and_can_be_trained_again() {
        let (trained, ..) = step(adapted(&["all-linear"], &device().autodiff()));
        let merged = trained.merged().unwrap();
        assert!(merged.lora().is_none() && merged.lora_named().is_empty());
        assert_ne!(merged.hash(), plain(&device()).hash());
        let ids = || integers::<2>(&[4, 8, 15, 16, 23], [1, 5], &device());
        close("logits", &values(merged.logits(ids())), &values(trained.valid().logits(ids())), 1e-5);
        let (_, gradients, _) = step(merged.train());
        assert_eq!(gradients, step(plain(&device().autodiff())).1);
        assert!(matches!(plain(&device()).merged(), Err(LmError::Lora { .. })));
    }

    #[test]
    fn factors_are_drawn_as_peft_draws_them() {
        let drawn = |seed: u64, targets: &[&str]| plain(&device()).with_lora(&config(targets), Seed(seed)).unwrap();
        let named = drawn(5, &["all-linear"]).lora_named();
        for (name, shape, values) in &named {
            if name.ends_with("lora_B.weight") {
                assert_eq!(shape[1], R);
                assert!(values.iter().all(|value| *value == 0.0), "{name}");
            } else {
                // Uniform within 1 / sqrt(in): 1/4 for a width of 16, 1/8 for one of 64.
                assert_eq!(shape[0], R);
                let bound = 1.0 / (shape[1] as f32).sqrt();
                let largest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                assert!(largest <= bound && largest > 0.8 * bound, "{name}: {largest}");
            }
        }
        // A factor depends on the seed and its name alone.
        let one = drawn(5, &["layers.1.mlp.up_proj"]).lora_named();
        assert!(named.contains(&one[0]) && named.contains(&one[1]));
        assert_ne!(drawn(6, &["layers.1.mlp.up_proj"]).lora_named()[0], one[0]);
    }

    #[test]
    fn options_out_of_their_range_are_refused() {
        let refused = |config: LoraConfig| plain(&device()).with_lora(&config, Seed(0)).unwrap_err().to_string();
        let sound = config(&["q_proj"]);
        for (config, said) in [
            (LoraConfig { r: 0, ..sound.clone() }, "r must be at least 1"),
            (LoraConfig { alpha: 0.0, ..sound.clone() }, "alpha must be finite"),
            (LoraConfig { alpha: f64::NAN, ..sound.clone() }, "alpha must be finite"),
            (config(&[]), "must name a projection"),
            (config(&["q_proj", "c_attn"]), "no projection `c_attn`; it has q_proj, k_proj, v_proj, o_proj, gate_proj"),
            (config(&["proj"]), "no projection `proj`"),
            (config(&[""]), "no projection ``"),
        ] {
            let got = refused(config);
            assert!(got.contains(said), "{got}");
        }
        let twice = adapted(&["q_proj"], &device()).with_lora(&sound, Seed(0)).unwrap_err().to_string();
        assert!(twice.contains("already"), "{twice}");
        // alpha / r = 2, alpha / sqrt(r) = 6 / 1.732.
        assert_eq!(sound.scale(), 2.0);
        let stabilised = LoraConfig { use_rslora: true, ..sound };
        assert!((stabilised.scale() - 3.464_101_615).abs() < 1e-9);
    }
}
