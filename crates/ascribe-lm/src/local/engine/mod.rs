//! The decoder on the CPU, for writing and scoring: no gradients, no Burn, weights as they are stored.
//!
//! Products run on packed weights ([`Packed`]), keys and values stand in a tree by content ([`KvTree`]), and every kernel
//! gives a row the same bits whatever stands beside it. So a log-probability depends neither on the batch, nor on what
//! was cached, nor on how a prompt was cut into passes: reproducible is not a slower mode here.
//!
//! The formulas are those of [`Decoder`](super::Decoder), part by part, and a test holds the two together.

mod run;
mod tree;

use std::collections::HashMap;
use std::ops::Range;

use ascribe_core::kernels::{
    BlockKind, Gate, Heads, Packed, Plan, RowNorm, activate, gated, log_sum_exp, normalize, rotate, soft_cap,
};
use rayon::prelude::*;

pub use self::run::Limits;
pub(super) use self::run::Runner;
pub use self::tree::KvUsage;
use self::tree::{Batch, KvTree};
use super::config::{Activation, DecoderConfig, Family, Head, Norm, Positions};
use super::decoder::Decoder;
use super::gpt2::Gpt2;
use super::parts::{LayerParts, NormPart, Product, head, last_norm, score_head};
use super::rope::{Rope, RopeScaling};
use super::weights::WeightSource;
use crate::LmError;
use crate::gguf::{RawTensor, TensorKind};

/// How an [`Engine`] holds its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are stored where blocks of the file can be computed with (Q4_0, Q4_1, Q8_0, F16), else f32: no value changes.
    #[default]
    AsStored,
    /// Matrices rounded to f16: half the memory and near twice the speed of f32 where few rows are decoded.
    F16,
}

/// A decoder that computes on the CPU, without Burn.
#[derive(Debug)]
pub struct Engine {
    config: DecoderConfig,
    embedding: Packed,
    positions: Option<Vec<f32>>,
    layers: Vec<Layer>,
    norm: NormRow,
    /// `None` where the embedding is the head.
    head: Option<Linear>,
    heads: Heads,
}

#[derive(Debug)]
struct Linear {
    weight: Packed,
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
struct NormRow {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
struct Layer {
    before_attention: NormRow,
    /// Queries, keys and values in one product.
    qkv: Linear,
    q_norm: Option<NormRow>,
    k_norm: Option<NormRow>,
    output: Linear,
    behind_attention: Option<NormRow>,
    before_mlp: NormRow,
    /// Gate and values in one product, where there is a gate.
    up: Linear,
    down: Linear,
    behind_mlp: Option<NormRow>,
}

impl Engine {
    /// Reads the weights from `source`.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or holds a NaN or an infinity; when the head is a classifier's; and
    /// when positions turn by angles that depend on the length of the whole text (see [`Engine::can_run`]).
    pub fn load(config: &DecoderConfig, source: &mut dyn WeightSource, precision: Precision) -> Result<Self, LmError> {
        if !Self::can_run(config) {
            return Err(LmError::unsupported("a decoder of this kind on the engine", "use a `Decoder`"));
        }
        let mut gpt2;
        let source: &mut dyn WeightSource = match config.family {
            Family::Gpt2 => {
                gpt2 = Gpt2(source);
                &mut gpt2
            }
            _ => source,
        };
        let mut build = Build { source, norm: config.norm, precision };
        let c = config;
        let mut layers = Vec::with_capacity(c.layers);
        for number in 0..c.layers {
            let parts = LayerParts::new(c, number);
            let up: Vec<&Product> = parts.gate_proj.iter().chain([&parts.up_proj]).collect();
            layers.push(Layer {
                before_attention: build.norm(&parts.before_attention)?,
                qkv: build.linear(&[&parts.q_proj, &parts.k_proj, &parts.v_proj])?,
                q_norm: parts.q_norm.as_ref().map(|part| build.norm(part)).transpose()?,
                k_norm: parts.k_norm.as_ref().map(|part| build.norm(part)).transpose()?,
                output: build.linear(&[&parts.o_proj])?,
                behind_attention: parts.behind_attention.as_ref().map(|part| build.norm(part)).transpose()?,
                before_mlp: build.norm(&parts.before_mlp)?,
                up: build.linear(&up)?,
                down: build.linear(&[&parts.down_proj])?,
                behind_mlp: parts.behind_mlp.as_ref().map(|part| build.norm(part)).transpose()?,
            });
        }
        let embedding =
            Product { name: "model.embed_tokens".into(), inputs: c.hidden_size, outputs: c.vocab_size, bias: false };
        if let Some(part) = score_head(c) {
            // What scores is no part of what writes; it counts as read.
            build.floats(&format!("{}.weight", part.name), &[part.outputs, part.inputs])?;
        }
        Ok(Self {
            head: head(c).map(|part| build.linear(&[&part])).transpose()?,
            embedding: build.matrix(&[&embedding])?,
            positions: match c.positions {
                Positions::Learned => Some(build.floats("model.embed_positions.weight", &[c.context, c.hidden_size])?),
                Positions::Rotary { .. } => None,
            },
            layers,
            norm: build.norm(&last_norm(c))?,
            heads: Heads {
                queries: c.heads,
                keys: c.kv_heads,
                width: c.head_dim,
                scale: c.attention_scale as f32,
                softcap: c.attention_softcap.map(|cap| cap as f32),
            },
            config: config.clone(),
        })
    }

    /// Whether a decoder writes text and its keys do not change as the text grows. Dynamic and long rotary scalings turn
    /// every position by another angle once the text is longer than the model was trained for, so what was read before
    /// could not be kept.
    pub fn can_run(config: &DecoderConfig) -> bool {
        let grows = |rope: &Rope| match &rope.scaling {
            RopeScaling::Dynamic { original, .. } | RopeScaling::Long { original, .. } => {
                config.context as f64 > *original
            }
            _ => false,
        };
        let grows = match &config.positions {
            Positions::Rotary { global, local } => grows(global) || grows(local),
            Positions::Learned => false,
        };
        config.head == Head::NextToken && !grows
    }

    /// The weights of `decoder` as they are now, an adapter merged into them.
    ///
    /// # Errors
    /// When a weight is a NaN or an infinity, or the merged weights say something else than the adapter.
    pub fn of(decoder: &Decoder, precision: Precision) -> Result<Self, LmError> {
        struct Named(HashMap<String, Vec<f32>>);
        impl WeightSource for Named {
            fn tensor(&mut self, name: &str, _shape: &[usize]) -> Result<Vec<f32>, LmError> {
                // GPT-2's one matrix for queries, keys and values is asked for three times.
                let values = match name.contains(".c_attn.") {
                    true => self.0.get(name).cloned(),
                    false => self.0.remove(name),
                };
                Ok(values.expect("invariant: a decoder names all tensors that its config asks for"))
            }
        }
        let merged;
        let decoder = match decoder.lora() {
            Some(_) => {
                merged = decoder.merged()?;
                &merged
            }
            None => decoder,
        };
        let named = decoder.named().into_iter().map(|(name, _, values)| (name, values)).collect();
        Self::load(decoder.config(), &mut Named(named), precision)
    }

    /// What the decoder looks like.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// A tree for its keys and values, of `bytes`.
    pub(super) fn tree(&self, bytes: usize) -> KvTree {
        KvTree::new(self.heads, self.layers.len(), bytes)
    }

    /// Bytes of the matrices.
    pub fn bytes(&self) -> usize {
        let of = |linear: &Linear| linear.weight.bytes();
        let layers =
            self.layers.iter().map(|layer| of(&layer.qkv) + of(&layer.output) + of(&layer.up) + of(&layer.down));
        self.embedding.bytes() + self.head.as_ref().map_or(0, of) + layers.sum::<usize>()
    }

    /// Reads the tokens of `batch`, and gives the final hidden states of the rows `wanted`.
    ///
    /// # Shapes
    /// - result: `[wanted, hidden]`
    pub(super) fn read(&self, tree: &mut KvTree, batch: &Batch, wanted: &[usize]) -> Vec<f32> {
        let c = &self.config;
        let (n, hidden) = (batch.rows(), c.hidden_size);
        let (queries, keys) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let width = queries + 2 * keys;
        let plan = Plan::new(batch.spans.iter().map(|(rows, first, path)| (rows.len(), *first, path.as_slice())));
        let mut x = self.embed(&batch.ids, plan.positions());
        let turns = Turns::new(c, batch);
        let mut h = vec![0.0; n * hidden];
        let mut qkv = vec![0.0; n * width];
        let mut mixed = vec![0.0; n * queries];
        let mut inner = vec![0.0; n * self.layers.first().map_or(0, |layer| layer.up.weight.outputs())];
        let mut gate = vec![0.0; if c.gated { n * c.intermediate_size } else { 0 }];
        let activation = match c.activation {
            Activation::Silu => Gate::Silu,
            Activation::GeluTanh => Gate::GeluTanh,
        };
        for (number, layer) in self.layers.iter().enumerate() {
            self.normed(&x, &layer.before_attention, &mut h);
            layer.qkv.forward(&h, &mut qkv); // [n, queries + keys + values]
            for (norm, part) in [(&layer.q_norm, 0..queries), (&layer.k_norm, queries..queries + keys)] {
                if let Some(norm) = norm {
                    self.norm_heads(&mut qkv, width, part, norm);
                }
            }
            if let Some((cos, sin)) = turns.of(c.windows[number].is_some()) {
                rotate(&mut qkv, width, c.heads + c.kv_heads, cos, sin, c.head_dim / 2);
            }
            tree.store(number, batch, |row| qkv[row * width..][queries..width].split_at(keys));
            let tree = &*tree;
            plan.attend(&self.heads, c.windows[number], &qkv, width, &|block| tree.part(block, number), &mut mixed);
            layer.output.forward(&mixed, &mut h);
            self.add(&mut x, &mut h, &layer.behind_attention);
            self.normed(&x, &layer.before_mlp, &mut h);
            layer.up.forward(&h, &mut inner);
            if c.gated {
                gated(activation, &inner, &mut gate, c.intermediate_size);
                layer.down.forward(&gate, &mut h);
            } else {
                activate(activation, &mut inner, c.intermediate_size);
                layer.down.forward(&inner, &mut h);
            }
            self.add(&mut x, &mut h, &layer.behind_mlp);
        }
        let kept: Vec<f32> = wanted.iter().flat_map(|row| &x[row * hidden..(row + 1) * hidden]).copied().collect();
        let mut states = vec![0.0; kept.len()];
        self.normed(&kept, &self.norm, &mut states);
        states
    }

    /// Logits of the next token after each hidden state.
    ///
    /// # Shapes
    /// - states: `[n, hidden]`; result: `[n, outputs]`
    pub(super) fn head(&self, states: &[f32]) -> Vec<f32> {
        let outputs = self.config.outputs();
        let mut logits = vec![0.0; states.len() / self.config.hidden_size * outputs];
        match &self.head {
            Some(head) => head.forward(states, &mut logits),
            None => self.embedding.matmul(states, &mut logits),
        }
        if let Some(cap) = self.config.logit_softcap {
            soft_cap(cap as f32, &mut logits, outputs);
        }
        logits
    }

    /// Log-probability of a token after each state, in nats; the head runs on a few states at a time.
    ///
    /// # Shapes
    /// - states: `[n, hidden]`; tokens: `(row of states, token)` in the order of the rows; result: one each
    pub(super) fn logps(&self, states: &[f32], tokens: &[(usize, u32)]) -> Vec<f32> {
        // 32 MiB of logits at a time, and enough rows to be worth the pass over the weights.
        let together = ((1 << 23) / self.config.outputs()).max(16);
        let mut logps = Vec::with_capacity(tokens.len());
        let mut rest = tokens;
        for (piece, states) in states.chunks(together * self.config.hidden_size).enumerate() {
            let logits = self.head(states);
            let end = (piece + 1) * together;
            let (here, after) = rest.split_at(rest.partition_point(|(row, _)| *row < end));
            rest = after;
            let logp = |(row, token): &(usize, u32)| {
                let logits = &logits[(row - piece * together) * self.config.outputs()..][..self.config.outputs()];
                logits[*token as usize] - log_sum_exp(logits)
            };
            logps.extend(here.par_iter().map(logp).collect::<Vec<f32>>());
        }
        logps
    }

    fn embed(&self, ids: &[u32], positions: &[usize]) -> Vec<f32> {
        let hidden = self.config.hidden_size;
        let scale = self.config.embedding_scale as f32;
        let mut x = vec![0.0; ids.len() * hidden];
        for ((id, at), x) in ids.iter().zip(positions).zip(x.chunks_exact_mut(hidden)) {
            self.embedding.row(*id as usize, x);
            if scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= scale);
            }
            if let Some(table) = &self.positions {
                x.iter_mut().zip(&table[at * hidden..]).for_each(|(x, more)| *x += more);
            }
        }
        x
    }

    fn normed(&self, x: &[f32], norm: &NormRow, y: &mut [f32]) {
        let row = match &norm.bias {
            Some(bias) => RowNorm::Layer { weight: &norm.weight, bias },
            None => RowNorm::Rms { weight: &norm.weight },
        };
        normalize(x, row, self.config.norm_epsilon as f32, y);
    }

    /// Normalises each head in the columns `part` of rows that are `width` wide.
    fn norm_heads(&self, rows: &mut [f32], width: usize, part: Range<usize>, norm: &NormRow) {
        let heads = |rows: &[f32]| rows.chunks_exact(width).flat_map(|row| &row[part.clone()]).copied().collect();
        let before: Vec<f32> = heads(rows);
        let mut after = vec![0.0; before.len()];
        self.normed(&before, norm, &mut after);
        for (row, after) in rows.chunks_exact_mut(width).zip(after.chunks_exact(part.len())) {
            row[part.clone()].copy_from_slice(after);
        }
    }

    /// `x += [norm] h`; `h` is left as something else.
    fn add(&self, x: &mut [f32], h: &mut [f32], norm: &Option<NormRow>) {
        if let Some(norm) = norm {
            let before = h.to_vec();
            self.normed(&before, norm, h);
        }
        x.iter_mut().zip(h).for_each(|(x, h)| *x += *h);
    }
}

impl Linear {
    fn forward(&self, x: &[f32], y: &mut [f32]) {
        self.weight.matmul(x, y);
        if let Some(bias) = &self.bias {
            for y in y.chunks_exact_mut(bias.len()) {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }
}

/// Cosines and sines of all rows, `[n, head / 2]`, in layers that see everything and in those with a window.
struct Turns([Option<(Vec<f32>, Vec<f32>)>; 2]);

impl Turns {
    fn new(config: &DecoderConfig, batch: &Batch) -> Self {
        let Positions::Rotary { global, local } = &config.positions else { return Self([None, None]) };
        let table = |rope: &Rope| {
            let (mut cos, mut sin) = (Vec::new(), Vec::new());
            for (rows, first, _) in &batch.spans {
                let positions: Vec<usize> = (*first..first + rows.len()).collect();
                let [c, s] = rope.table(&positions, config.head_dim);
                cos.extend(c);
                sin.extend(s);
            }
            (cos, sin)
        };
        let windowed = (local != global && config.windows.iter().any(Option::is_some)).then(|| table(local));
        Self([Some(table(global)), windowed])
    }

    fn of(&self, windowed: bool) -> Option<(&[f32], &[f32])> {
        let table = self.0[usize::from(windowed)].as_ref().or(self.0[0].as_ref());
        table.map(|(cos, sin)| (cos.as_slice(), sin.as_slice()))
    }
}

struct Build<'a> {
    source: &'a mut dyn WeightSource,
    norm: Norm,
    precision: Precision,
}

impl Build<'_> {
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        finite(self.source.tensor(name, shape)?, name)
    }

    fn norm(&mut self, part: &NormPart) -> Result<NormRow, LmError> {
        let NormPart { name, width } = part;
        let mut weight = self.floats(&format!("{name}.weight"), &[*width])?;
        if self.norm == Norm::RmsPlusOne {
            weight.iter_mut().for_each(|weight| *weight += 1.0);
        }
        let bias = match self.norm {
            Norm::Layer => Some(self.floats(&format!("{name}.bias"), &[*width])?),
            Norm::Rms | Norm::RmsPlusOne => None,
        };
        Ok(NormRow { weight, bias })
    }

    /// One product out of several layers with the same inputs: their outputs one after another.
    fn linear(&mut self, parts: &[&Product]) -> Result<Linear, LmError> {
        let weight = self.matrix(parts)?;
        let mut biases = Vec::new();
        for part in parts.iter().filter(|part| part.bias) {
            biases.extend(self.floats(&format!("{}.bias", part.name), &[part.outputs])?);
        }
        Ok(Linear { weight, bias: (!biases.is_empty()).then_some(biases) })
    }

    fn matrix(&mut self, parts: &[&Product]) -> Result<Packed, LmError> {
        let (inputs, outputs) = (parts[0].inputs, parts.iter().map(|part| part.outputs).sum());
        let mut stored: Vec<RawTensor> = Vec::new();
        for part in parts {
            stored.extend(self.source.blocks(&format!("{}.weight", part.name), &[part.outputs, inputs])?);
        }
        let kind = stored.first().map(|raw| raw.kind).filter(|kind| {
            stored.len() == parts.len()
                && stored.iter().all(|raw| raw.kind == *kind)
                && self.precision == Precision::AsStored
        });
        let blocks = match kind {
            Some(TensorKind::Q4_0) => Some(BlockKind::Q4_0),
            Some(TensorKind::Q4_1) => Some(BlockKind::Q4_1),
            Some(TensorKind::Q8_0) => Some(BlockKind::Q8_0),
            _ => None,
        };
        if let Some(blocks) = blocks {
            let bytes: Vec<u8> = stored.into_iter().flat_map(|raw| raw.bytes).collect();
            return Packed::blocks(blocks, &bytes, outputs, inputs).map_err(|error| {
                LmError::unsupported(format!("tensor `{}.weight`", parts[0].name), error.to_string())
            });
        }
        let values = match stored.len() == parts.len() {
            true => finite(stored.iter().flat_map(RawTensor::to_f32).collect(), &parts[0].name)?,
            false => {
                let mut values = Vec::with_capacity(outputs * inputs);
                for part in parts {
                    values.extend(self.floats(&format!("{}.weight", part.name), &[part.outputs, inputs])?);
                }
                values
            }
        };
        match self.precision == Precision::F16 || kind == Some(TensorKind::F16) {
            true => Ok(Packed::f16(&values, outputs, inputs)),
            false => Ok(Packed::f32(&values, outputs, inputs)),
        }
    }
}

fn finite(values: Vec<f32>, name: &str) -> Result<Vec<f32>, LmError> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(LmError::NotFinite { name: name.to_owned() }),
    }
}
