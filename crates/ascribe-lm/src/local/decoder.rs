//! The Llama decoder: arXiv:2302.13971, with grouped-query attention (arXiv:2305.13245).
//!
//! ```text
//! x += o_proj(attention(rope(q), rope(k), v)),   q, k, v = projections of rms_norm(x)
//! x += down(silu(gate(h)) * up(h)),              h = rms_norm(x)
//! ```
//! Batches are padded on the right and attention is causal, so a real token never sees padding and no padding mask is
//! needed. Field names are those of Hugging Face.

use ascribe_core::CoreError;
use ascribe_core::tensor::{Mask, chosen_logps};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};

use super::config::DecoderConfig;
use super::weights::{Named, WeightSource};
use crate::LmError;

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

#[derive(Module, Debug)]
struct FeedForward {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

#[derive(Module, Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: FeedForward,
}

/// Shapes that the forward pass needs.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
}

/// A decoder with its head.
#[derive(Module, Debug)]
pub struct Decoder {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Option<Linear>,
    #[module(skip)]
    sizes: Sizes,
    #[module(skip)]
    inverse_frequencies: Vec<f32>,
}

/// A prompt with the response whose log-probabilities are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Token ids of the prompt; at least one.
    pub prompt: &'a [u32],
    /// Token ids of the response.
    pub response: &'a [u32],
}

/// Most logits that are held at once, in floats: 64 MiB.
const LOGITS_AT_ONCE: usize = 1 << 24;

impl Decoder {
    /// Builds the decoder with weights from `source`.
    ///
    /// Parameters get ids that depend on their names alone, so that optimizer state that was saved finds them again.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or holds a NaN or an infinity.
    pub fn load(config: &DecoderConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self, LmError> {
        let mut build = Build { source, device };
        let c = config;
        let (queries, keys) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let mut layers = Vec::with_capacity(c.layers);
        for number in 0..c.layers {
            let name = |part: &str| format!("model.layers.{number}.{part}.weight");
            layers.push(Layer {
                input_layernorm: build.norm(&name("input_layernorm"), c)?,
                self_attn: Attention {
                    q_proj: build.linear(&name("self_attn.q_proj"), c.hidden_size, queries)?,
                    k_proj: build.linear(&name("self_attn.k_proj"), c.hidden_size, keys)?,
                    v_proj: build.linear(&name("self_attn.v_proj"), c.hidden_size, keys)?,
                    o_proj: build.linear(&name("self_attn.o_proj"), queries, c.hidden_size)?,
                },
                post_attention_layernorm: build.norm(&name("post_attention_layernorm"), c)?,
                mlp: FeedForward {
                    gate_proj: build.linear(&name("mlp.gate_proj"), c.hidden_size, c.intermediate_size)?,
                    up_proj: build.linear(&name("mlp.up_proj"), c.hidden_size, c.intermediate_size)?,
                    down_proj: build.linear(&name("mlp.down_proj"), c.intermediate_size, c.hidden_size)?,
                },
            });
        }
        let embedding = build.floats("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size])?;
        let embedding = Tensor::from_data(TensorData::new(embedding, [c.vocab_size, c.hidden_size]), device);
        let lm_head = match c.tied {
            true => None,
            false => Some(build.linear("lm_head.weight", c.hidden_size, c.vocab_size)?),
        };
        Ok(Self {
            embed_tokens: Embedding { weight: trainable(id("model.embed_tokens.weight"), embedding) },
            layers,
            norm: build.norm("model.norm.weight", c)?,
            lm_head,
            sizes: Sizes { heads: c.heads, kv_heads: c.kv_heads, head_dim: c.head_dim, vocab: c.vocab_size },
            inverse_frequencies: c.inverse_frequencies(),
        })
    }

    /// Final hidden states of every position.
    ///
    /// # Shapes
    /// - ids: `[rows, seq]`; result: `[rows, seq, hidden]`.
    /// - with a cache, `ids` continue what the cache holds.
    ///
    /// # Panics
    /// When the cache has no room for `ids`: make it as long as prompt and response together.
    pub fn hidden(&self, ids: Tensor<2, Int>, mut cache: Option<&mut KvCache>) -> Tensor<3> {
        let [_, seq] = ids.dims();
        let start = cache.as_ref().map_or(0, |cache| cache.len);
        let places = Places::new(&self.inverse_frequencies, start, seq, &ids.device());
        let mut x = self.embed_tokens.forward(ids); // [rows, seq, hidden]
        for (number, layer) in self.layers.iter().enumerate() {
            let slot = cache.as_mut().map(|cache| cache.slot(number));
            let h = layer.input_layernorm.forward(x.clone());
            x = x + layer.self_attn.forward(h, self.sizes, &places, slot); // [rows, seq, hidden]
            let h = layer.post_attention_layernorm.forward(x.clone());
            x = x + layer.mlp.forward(h); // [rows, seq, hidden]
        }
        if let Some(cache) = cache {
            cache.len += seq;
        }
        self.norm.forward(x)
    }

    /// Logits of the given states. `[n, hidden]` to `[n, vocab]`.
    pub fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.embed_tokens.weight.val().transpose()),
        }
    }

    /// Logits of every position: for comparison with other implementations. `[rows, seq]` to `[rows, seq, vocab]`.
    pub fn logits(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden(ids, None);
        let [rows, seq, width] = hidden.dims();
        self.head(hidden.reshape([rows * seq, width])).reshape([rows, seq, self.sizes.vocab])
    }

    /// Log-probability of every response token, and the mask that says which columns are real.
    ///
    /// The head runs on the positions that predict a response token and on no other.
    ///
    /// # Shapes
    /// - result: `[rows, longest response]`; column `j` is response token `j`.
    ///
    /// # Errors
    /// When a prompt is empty: nothing would predict the first response token.
    pub fn response_logps(&self, rows: &[Row]) -> Result<(Tensor<2>, Mask), CoreError> {
        let device = self.device();
        if let Some(row) = rows.iter().position(|row| row.prompt.is_empty()) {
            let got = format!("an empty prompt in row {row}");
            return Err(CoreError::Shape { rule: "a prompt needs at least one token (begin with the BOS token)", got });
        }
        let longest = rows.iter().map(|row| row.response.len()).max().unwrap_or(0);
        let flags: Vec<Vec<bool>> = rows.iter().map(|row| vec![true; row.response.len()]).collect();
        let mask = Mask::from_rows(&flags, &device);
        if longest == 0 {
            return Ok((Tensor::zeros([rows.len(), 0], &device), mask));
        }
        // The last response token predicts nothing that is wanted, so it is not fed.
        let fed = |row: &Row| row.prompt.len() + row.response.len().saturating_sub(1);
        let seq = rows.iter().map(fed).max().unwrap_or(0);
        let (mut ids, mut from, mut targets) = (Vec::with_capacity(rows.len() * seq), Vec::new(), Vec::new());
        let mut place = vec![0i64; rows.len() * longest];
        for (number, row) in rows.iter().enumerate() {
            let tokens = row.prompt.iter().chain(row.response).map(|id| i64::from(*id)).take(fed(row));
            ids.extend(tokens.chain(std::iter::repeat(0)).take(seq));
            for (column, target) in row.response.iter().enumerate() {
                place[number * longest + column] = from.len() as i64;
                from.push((number * seq + row.prompt.len() - 1 + column) as i64);
                targets.push(i64::from(*target));
            }
        }
        let ids = Tensor::from_data(TensorData::new(ids, [rows.len(), seq]), &device); // [rows, seq]
        let hidden = self.hidden(ids, None);
        let [_, _, width] = hidden.dims();
        let wanted = Tensor::from_data(TensorData::new(from, [targets.len()]), &device); // [n]
        let states = hidden.reshape([rows.len() * seq, width]).select(0, wanted); // [n, hidden]
        let targets = Tensor::from_data(TensorData::new(targets.clone(), [targets.len()]), &device); // [n]
        let chunk = (LOGITS_AT_ONCE / self.sizes.vocab).max(1);
        let logps = chosen_logps(states, targets, chunk, |states| self.head(states)); // [n]
        let place = Tensor::from_data(TensorData::new(place, [rows.len() * longest]), &device); // [rows * longest]
        let logps = mask.keep(logps.select(0, place).reshape([rows.len(), longest])); // [rows, longest]
        Ok((logps, mask))
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.val().device()
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        self.sizes.vocab
    }

    /// Floats that a [`KvCache`] holds for one token.
    pub(super) fn cached_floats(&self) -> usize {
        2 * self.layers.len() * self.sizes.kv_heads * self.sizes.head_dim
    }

    /// The same weights on `device`.
    pub fn on(self, device: &Device) -> Self {
        self.map(&mut Move(device))
    }

    /// All weights under their Hugging Face names and in their layouts.
    pub(super) fn named(&self) -> Vec<Named> {
        let mut named = vec![of(&self.embed_tokens.weight, "model.embed_tokens.weight".into())];
        for (number, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("model.layers.{number}.{part}.weight");
            let (attention, mlp) = (&layer.self_attn, &layer.mlp);
            named.push(of(&layer.input_layernorm.gamma, name("input_layernorm")));
            named.push(of_linear(&attention.q_proj, name("self_attn.q_proj")));
            named.push(of_linear(&attention.k_proj, name("self_attn.k_proj")));
            named.push(of_linear(&attention.v_proj, name("self_attn.v_proj")));
            named.push(of_linear(&attention.o_proj, name("self_attn.o_proj")));
            named.push(of(&layer.post_attention_layernorm.gamma, name("post_attention_layernorm")));
            named.push(of_linear(&mlp.gate_proj, name("mlp.gate_proj")));
            named.push(of_linear(&mlp.up_proj, name("mlp.up_proj")));
            named.push(of_linear(&mlp.down_proj, name("mlp.down_proj")));
        }
        named.push(of(&self.norm.gamma, "model.norm.weight".into()));
        named.extend(self.lm_head.as_ref().map(|head| of_linear(head, "lm_head.weight".into())));
        named
    }

    /// A hash of all weights, in hexadecimal.
    pub fn hash(&self) -> String {
        struct Hash(blake3::Hasher);
        impl ModuleVisitor for Hash {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.update(param.val().into_data().as_bytes());
            }
        }
        let mut hash = Hash(blake3::Hasher::new());
        self.visit(&mut hash);
        hash.0.finalize().to_hex().to_string()
    }
}

/// Keys and values of the tokens read so far, for a batch of rows of equal length. Written in place.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    len: usize,
    capacity: usize,
}

struct Slot<'a> {
    kept: &'a mut Option<(Tensor<4>, Tensor<4>)>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `capacity` tokens a row.
    pub fn new(decoder: &Decoder, capacity: usize) -> Self {
        Self { layers: vec![None; decoder.layers.len()], len: 0, capacity }
    }

    /// Keeps the rows named by `rows`, in that order; a row may be named several times.
    pub fn select(&mut self, rows: &[usize]) {
        let index: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        for kept in self.layers.iter_mut().flatten() {
            let index = Tensor::<1, Int>::from_data(TensorData::new(index.clone(), [index.len()]), &kept.0.device());
            *kept = (kept.0.clone().select(0, index.clone()), kept.1.clone().select(0, index));
        }
    }

    fn slot(&mut self, layer: usize) -> Slot<'_> {
        Slot { kept: &mut self.layers[layer], len: self.len, capacity: self.capacity }
    }
}

impl Slot<'_> {
    /// Appends keys and values `[rows, kv, seq, head]`; gives all so far, `[rows, kv, total, head]`.
    fn push(self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [rows, kv, seq, width] = k.dims();
        let (start, end) = (self.len, self.len + seq);
        let empty = || Tensor::zeros([rows, kv, self.capacity, width], &k.device());
        // Taken out of the slot, so that the assignment finds one owner and writes in place.
        let (keys, values) = self.kept.take().unwrap_or_else(|| (empty(), empty()));
        let keys = keys.slice_assign([0..rows, 0..kv, start..end, 0..width], k);
        let values = values.slice_assign([0..rows, 0..kv, start..end, 0..width], v);
        *self.kept = Some((keys.clone(), values.clone()));
        (keys.slice([0..rows, 0..kv, 0..end, 0..width]), values.slice([0..rows, 0..kv, 0..end, 0..width]))
    }
}

/// Rotary angles and the causal mask of the positions `start..start + seq`.
struct Places {
    cos: Tensor<4>,
    sin: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
}

impl Places {
    fn new(inverse_frequencies: &[f32], start: usize, seq: usize, device: &Device) -> Self {
        let (half, width) = (inverse_frequencies.len(), 2 * inverse_frequencies.len());
        let angles: Vec<f32> = (start..start + seq)
            .flat_map(|at| (0..width).map(move |i| at as f32 * inverse_frequencies[i % half]))
            .collect();
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle)).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, width]), device) // [1, 1, seq, head]
        };
        let hidden = (seq > 1).then(|| {
            let flags: Vec<bool> = (0..seq).flat_map(|q| (0..start + seq).map(move |k| k > start + q)).collect();
            Tensor::from_data(TensorData::new(flags, [1, 1, seq, start + seq]), device) // [1, 1, seq, total]
        });
        Self { cos: table(f32::cos), sin: table(f32::sin), hidden }
    }

    /// Rotates `[rows, heads, seq, head]`.
    fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [rows, heads, seq, width] = x.dims();
        let half = width / 2;
        let first = x.clone().slice([0..rows, 0..heads, 0..seq, 0..half]);
        let second = x.clone().slice([0..rows, 0..heads, 0..seq, half..width]);
        let turned = Tensor::cat(vec![second.neg(), first], 3); // [rows, heads, seq, head]
        x * self.cos.clone() + turned * self.sin.clone()
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, sizes: Sizes, places: &Places, slot: Option<Slot>) -> Tensor<3> {
        let [rows, seq, _] = x.dims();
        let Sizes { heads, kv_heads, head_dim, .. } = sizes;
        let split = |y: Tensor<3>, n: usize| y.reshape([rows, seq, n, head_dim]).swap_dims(1, 2);
        let q = places.rotate(split(self.q_proj.forward(x.clone()), heads)) / (head_dim as f64).sqrt();
        let k = places.rotate(split(self.k_proj.forward(x.clone()), kv_heads)); // [rows, kv, seq, head]
        let v = split(self.v_proj.forward(x), kv_heads); // [rows, kv, seq, head]
        let (k, v) = match slot {
            Some(slot) => slot.push(k, v),
            None => (k, v),
        };
        let total = k.dims()[2];
        // The query heads of one key head become rows of one product, so keys are never repeated.
        let grouped = heads / kv_heads * seq;
        let scores = q.reshape([rows, kv_heads, grouped, head_dim]).matmul(k.swap_dims(2, 3)); // [rows, kv, g * seq, total]
        let scores = match &places.hidden {
            Some(hidden) => scores
                .reshape([rows, heads, seq, total])
                .mask_fill(hidden.clone(), f32::NEG_INFINITY)
                .reshape([rows, kv_heads, grouped, total]),
            None => scores,
        };
        let mixed = activation::softmax(scores, 3).matmul(v); // [rows, kv, g * seq, head]
        let mixed = mixed.reshape([rows, heads, seq, head_dim]).swap_dims(1, 2); // [rows, seq, heads, head]
        self.o_proj.forward(mixed.reshape([rows, seq, heads * head_dim]))
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = activation::silu(self.gate_proj.forward(x.clone())); // [rows, seq, intermediate]
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}

struct Build<'a> {
    source: &'a mut dyn WeightSource,
    device: &'a Device,
}

impl Build<'_> {
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let values = self.source.tensor(name, shape)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(LmError::NotFinite { name: name.to_owned() }),
        }
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, LmError> {
        let values = transposed(&self.floats(name, &[outputs, inputs])?, inputs);
        let weight = Tensor::from_data(TensorData::new(values, [inputs, outputs]), self.device); // [in, out]
        Ok(Linear { weight: trainable(id(name), weight), bias: None })
    }

    fn norm(&mut self, name: &str, config: &DecoderConfig) -> Result<RmsNorm, LmError> {
        let values = self.floats(name, &[config.hidden_size])?;
        let gamma = Tensor::from_data(TensorData::new(values, [config.hidden_size]), self.device);
        Ok(RmsNorm { gamma: trainable(id(name), gamma), epsilon: config.norm_epsilon })
    }
}

/// A parameter that gets gradients wherever its device keeps them: a plain `Param::initialized` would stay frozen.
fn trainable<const D: usize>(id: ParamId, tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(id, tensor).set_require_grad(true)
}

/// Rows of `width` values, as columns.
fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    let height = values.len() / width.max(1);
    let mut turned = vec![0.0; values.len()];
    for (row, line) in values.chunks_exact(width).enumerate() {
        for (column, value) in line.iter().enumerate() {
            turned[column * height + row] = *value;
        }
    }
    turned
}

fn id(name: &str) -> ParamId {
    let hash = blake3::hash(name.as_bytes());
    let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().expect("invariant: a hash has 32 bytes");
    ParamId::from(u64::from_le_bytes(bytes))
}

fn of<const D: usize>(param: &Param<Tensor<D>>, name: String) -> Named {
    let tensor = param.val();
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().convert::<f32>().try_to_vec().expect("invariant: converted to f32");
    (name, shape, values)
}

fn of_linear(linear: &Linear, name: String) -> Named {
    let (name, shape, values) = of(&linear.weight, name);
    (name, vec![shape[1], shape[0]], transposed(&values, shape[1]))
}

struct Move<'a>(&'a Device);

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let data = param.val().into_data();
        trainable(param.id, Tensor::from_data(data, self.0))
    }
}
