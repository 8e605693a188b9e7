//! The decoder: one description whose parts the config chooses, for Llama (arXiv:2302.13971) and its relatives and GPT-2.
//!
//! ```text
//! x += [norm] o_proj(attention(rope(q), rope(k), v)),   q, k, v = projections of norm(x)
//! x += [norm] down(act(gate(h)) * up(h)),               h = norm(x)
//! ```
//! Tokens of all sequences stand one after another, a row a token, without padding ([`Packing`]). Field names are those
//! of Hugging Face.

mod checkpointing;
mod head;
mod tokens;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ascribe_core::tensor::{
    AttentionShape, HeadShape, Mask, Sight, attend, attention, by_head, geglu, geglu_product, gelu_tanh, head_logps,
    hidden, layer_norm, rms_norm, rms_norm_product, rope, swiglu, swiglu_product,
};
use ascribe_core::{CoreError, Packing};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::nn::{Embedding, Linear};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

pub use self::checkpointing::{Backward, TrainingPass};
pub use self::head::{FeaturePass, HeadInit, JointPass, NextTokenHead, Pooling, ScorePass};
use super::config::{Activation, DecoderConfig, Family, Head, Norm, Positions};
use super::frozen::on_cpu;
use super::gpt2::{Gpt2, to_gpt2};
use super::lora::{LoraConfig, Projection};
use super::parts::{LayerParts, NormPart, Product, head, last_norm, score_head};
use super::predictors::Predictors;
use super::weights::{Named, Safetensors, WeightSource, save_safetensors};
use crate::LmError;

/// Weights of a norm; the bias is that of a layer norm.
#[derive(Module, Debug)]
struct NormWeights {
    weight: Param<Tensor<1>>,
    bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    q_norm: Option<NormWeights>,
    k_norm: Option<NormWeights>,
}

#[derive(Module, Debug)]
struct FeedForward {
    gate_proj: Option<Projection>,
    up_proj: Projection,
    down_proj: Projection,
}

#[derive(Module, Debug)]
struct Layer {
    before_attention: NormWeights,
    self_attn: Attention,
    behind_attention: Option<NormWeights>,
    before_mlp: NormWeights,
    mlp: FeedForward,
    behind_mlp: Option<NormWeights>,
}

/// A decoder with its head.
#[derive(Module, Debug)]
pub struct Decoder {
    embed_tokens: Embedding,
    embed_positions: Option<Embedding>,
    layers: Vec<Layer>,
    norm: NormWeights,
    /// The head of the next token, unless that is the embedding; else the scores of a classifier.
    head: Option<Linear>,
    /// Scores of sequences beside the head of the next token.
    score_head: Option<Linear>,
    #[module(skip)]
    config: DecoderConfig,
    /// How the adapter of the projections was made, if they have one.
    #[module(skip)]
    pub(super) lora: Option<LoraConfig>,
    /// Whether training keeps the inputs of layers alone.
    #[module(skip)]
    pub(super) checkpointing: bool,
    /// Which states a head of sequences reads.
    #[module(skip)]
    pooling: Pooling,
}

/// A prompt with the response whose log-probabilities are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Token ids of the prompt; at least one.
    pub prompt: &'a [u32],
    /// Token ids of the response.
    pub response: &'a [u32],
}

impl<'a> Row<'a> {
    /// Rows in their order, in parts of at most so many tokens together, or of one row.
    pub fn batches<'r>(rows: &'r [Row<'a>], tokens: usize) -> Vec<&'r [Row<'a>]> {
        let (mut batches, mut start, mut held) = (Vec::new(), 0, 0usize);
        for (at, row) in rows.iter().enumerate() {
            let more = row.prompt.len() + row.response.len();
            if at > start && held + more > tokens {
                batches.push(&rows[start..at]);
                (start, held) = (at, 0);
            }
            held += more;
        }
        if start < rows.len() {
            batches.push(&rows[start..]);
        }
        batches
    }

    /// Tokens of rows that go through the layers at once: a prompt that several of them share counts once. Where responses are
    /// predicted their last tokens are not fed, and count all the same.
    pub fn packed_tokens(rows: &[Row]) -> usize {
        let prompts: HashSet<&[u32]> = rows.iter().map(|row| row.prompt).collect();
        let prompts: usize = prompts.into_iter().map(<[u32]>::len).sum();
        prompts + rows.iter().map(|row| row.response.len()).sum::<usize>()
    }
}

/// Most logits that are held at once, in floats: 128 MiB.
const LOGITS_AT_ONCE: usize = 1 << 25;

impl Decoder {
    /// Builds the decoder with weights from `source`.
    ///
    /// Parameters get ids that depend on their names alone, so that optimizer state that was saved finds them again.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or holds a NaN or an infinity.
    pub fn load(config: &DecoderConfig, source: &mut dyn WeightSource, device: &Device) -> Result<Self, LmError> {
        let mut gpt2;
        let source: &mut dyn WeightSource = match config.family {
            Family::Gpt2 => {
                gpt2 = Gpt2(source);
                &mut gpt2
            }
            _ => source,
        };
        let mut build = Build { source, device, norm: config.norm };
        let c = config;
        let mut layers = Vec::with_capacity(c.layers);
        for number in 0..c.layers {
            let parts = LayerParts::new(c, number);
            layers.push(Layer {
                before_attention: build.norm(&parts.before_attention)?,
                self_attn: Attention {
                    q_proj: build.projection(&parts.q_proj)?,
                    k_proj: build.projection(&parts.k_proj)?,
                    v_proj: build.projection(&parts.v_proj)?,
                    o_proj: build.projection(&parts.o_proj)?,
                    q_norm: parts.q_norm.map(|part| build.norm(&part)).transpose()?,
                    k_norm: parts.k_norm.map(|part| build.norm(&part)).transpose()?,
                },
                behind_attention: parts.behind_attention.map(|part| build.norm(&part)).transpose()?,
                before_mlp: build.norm(&parts.before_mlp)?,
                mlp: FeedForward {
                    gate_proj: parts.gate_proj.map(|part| build.projection(&part)).transpose()?,
                    up_proj: build.projection(&parts.up_proj)?,
                    down_proj: build.projection(&parts.down_proj)?,
                },
                behind_mlp: parts.behind_mlp.map(|part| build.norm(&part)).transpose()?,
            });
        }
        Ok(Self {
            embed_tokens: build.embedding("model.embed_tokens", [c.vocab_size, c.hidden_size])?,
            embed_positions: match c.positions {
                Positions::Learned => Some(build.embedding("model.embed_positions", [c.context, c.hidden_size])?),
                Positions::Rotary { .. } => None,
            },
            layers,
            norm: build.norm(&last_norm(c))?,
            head: head(c).map(|part| build.linear(&part)).transpose()?,
            score_head: score_head(c).map(|part| build.linear(&part)).transpose()?,
            config: config.clone(),
            lora: None,
            checkpointing: false,
            pooling: Pooling::Last,
        })
    }

    /// Final hidden states of packed sequences.
    ///
    /// # Shapes
    /// - ids: `[n]`, the tokens of `packing`; result: `[n, hidden]`.
    pub fn states(&self, ids: Tensor<1, Int>, packing: &Packing) -> Tensor<2> {
        let pass = Pass::new(&self.config, packing, &ids.device());
        let mut x = self.embed(ids, &pass.positions); // [n, hidden]
        for number in 0..self.layers.len() {
            x = self.packed_layer(number, x, &pass);
        }
        self.normed(x, &self.norm)
    }

    /// Final hidden states of rows of equal length.
    ///
    /// # Shapes
    /// - ids: `[rows, seq]`; result: `[rows, seq, hidden]`.
    /// - with a cache, `ids` continue what the cache holds.
    ///
    /// # Panics
    /// When the cache has no room for `ids`: make it as long as prompt and response together.
    pub fn hidden(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        let [rows, seq] = ids.dims();
        let width = self.config.hidden_size;
        let flat = ids.reshape([rows * seq]);
        let Some(cache) = cache else {
            let mut packing = Packing::default();
            for _ in 0..rows {
                packing.push(seq, None).expect("invariant: a span without a parent is always accepted");
            }
            return self.states(flat, &packing).reshape([rows, seq, width]);
        };
        let (start, device) = (cache.len, flat.device());
        let positions: Vec<usize> = (0..rows).flat_map(|_| start..start + seq).collect();
        let mut unseen = HashMap::new();
        for window in &self.config.windows {
            unseen.entry(*window).or_insert_with(|| hidden(seq, start, *window, &device));
        }
        let (shape, turns) = (self.attention_shape(), Turns::new(&self.config, &positions, &device));
        let mut x = self.embed(flat, &positions); // [n, hidden]
        for number in 0..self.layers.len() {
            x = self.layer(number, x, &turns, |q, k, v| {
                let (k, v) = cache.push(number, by_head(k, rows, shape.kv_heads), by_head(v, rows, shape.kv_heads));
                attend(by_head(q, rows, shape.heads), k, v, unseen[&self.config.windows[number]].clone(), &shape)
            });
        }
        cache.len += seq;
        self.normed(x, &self.norm).reshape([rows, seq, width])
    }

    /// What goes into the first layer: `[n]` to `[n, hidden]`.
    fn embed(&self, ids: Tensor<1, Int>, positions: &[usize]) -> Tensor<2> {
        let (device, [n]) = (ids.device(), ids.dims());
        let mut x = self.embed_tokens.weight.val().select(0, ids); // [n, hidden]
        if self.config.embedding_scale != 1.0 {
            x = x.mul_scalar(self.config.embedding_scale);
        }
        if let Some(embedding) = &self.embed_positions {
            let at: Vec<i64> = positions.iter().map(|at| *at as i64).collect();
            x = x + embedding.weight.val().select(0, Tensor::from_data(TensorData::new(at, [n]), &device));
        }
        x
    }

    /// A layer over packed sequences: `[n, hidden]` to `[n, hidden]`.
    fn packed_layer(&self, number: usize, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        self.layer(number, x, &pass.turns, |q, k, v| {
            attention(q, k, v, &pass.sights[&self.config.windows[number]], &self.attention_shape())
        })
    }

    /// A layer around an attention of `(q, k, v)`: `[n, hidden]` to `[n, hidden]`.
    fn layer(
        &self,
        number: usize,
        x: Tensor<2>,
        turns: &Turns,
        attention: impl FnOnce(Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let (c, layer) = (&self.config, &self.layers[number]);
        // Adapters take the normed states themselves, so one copy serves all projections.
        let apart = self.is_on_cpu() && self.lora().is_none();
        let (q, k, v) = layer.self_attn.project(&Entry::new(x.clone(), &layer.before_attention, c, apart), c);
        let turn = |x: Tensor<2>| turns.turn(x, c.windows[number].is_some());
        let mixed = attention(turn(q), turn(k), v); // [n, heads * head]
        let mixed = layer.self_attn.o_proj.forward(mixed);
        let x = x + self.normed_behind(mixed, &layer.behind_attention); // [n, hidden]
        let inner = layer.mlp.forward(&Entry::new(x.clone(), &layer.before_mlp, c, apart), c.activation);
        x + self.normed_behind(inner, &layer.behind_mlp) // [n, hidden]
    }

    fn normed(&self, x: Tensor<2>, weights: &NormWeights) -> Tensor<2> {
        weights.forward(x, &self.config)
    }

    fn normed_behind(&self, x: Tensor<2>, weights: &Option<NormWeights>) -> Tensor<2> {
        match weights {
            Some(weights) => self.normed(x, weights),
            None => x,
        }
    }

    fn attention_shape(&self) -> AttentionShape {
        let c = &self.config;
        AttentionShape {
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            scale: c.attention_scale,
            softcap: c.attention_softcap,
        }
    }

    /// What the head says of the given states: logits of the next token, or a classifier's scores. `[n, hidden]` to
    /// `[n, outputs]`.
    pub fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        let logits = match &self.head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.embed_tokens.weight.val().transpose()),
        };
        // The scores of a classifier are not capped.
        match self.config.logit_softcap.filter(|_| self.config.head == Head::NextToken) {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    }

    /// The head at every position: for comparison with other implementations. `[rows, seq]` to `[rows, seq, outputs]`.
    pub fn logits(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden(ids, None);
        let [rows, seq, width] = hidden.dims();
        self.head(hidden.reshape([rows * seq, width])).reshape([rows, seq, self.config.outputs()])
    }

    /// Log-probability of every response token, and the mask that says which columns are real.
    ///
    /// A prompt that several rows share is read once. The head runs on the positions that predict a response token and on
    /// no other.
    ///
    /// # Shapes
    /// - result: `[rows, longest response]`; column `j` is response token `j`.
    ///
    /// # Errors
    /// When a prompt is empty: nothing would predict the first response token. When an id is none of the vocabulary, or a
    /// row is longer than learned positions reach. When the model is a classifier.
    pub fn response_logps(&self, rows: &[Row]) -> Result<(Tensor<2>, Mask), CoreError> {
        self.can_score(rows)?;
        if rows.iter().all(|row| row.response.is_empty()) {
            let device = self.device();
            let nothing: Vec<Vec<bool>> = vec![Vec::new(); rows.len()];
            let mask = Mask::from_rows(&nothing, &device);
            return Ok((Tensor::zeros([rows.len(), 0], &device), mask));
        }
        let at = self.predictors(rows)?;
        Ok((self.logps(&at), at.mask().clone()))
    }

    /// The states that predict the response tokens of `rows`: for what needs more of them than log-probabilities.
    ///
    /// # Errors
    /// As [`Decoder::response_logps`], and when no row has a response token.
    pub fn predictors(&self, rows: &[Row]) -> Result<Predictors, CoreError> {
        self.predictors_by(rows, |ids, packing| self.states(ids, packing))
    }

    /// [`predictors`](Self::predictors) by final hidden states that come from `states`.
    fn predictors_by(
        &self,
        rows: &[Row],
        states: impl FnOnce(Tensor<1, Int>, &Packing) -> Tensor<2>,
    ) -> Result<Predictors, CoreError> {
        self.can_score(rows)?;
        let device = self.device();
        let longest = rows.iter().map(|row| row.response.len()).max().unwrap_or(0);
        if longest == 0 {
            return Err(CoreError::EmptyResponse);
        }
        let flags: Vec<Vec<bool>> = rows.iter().map(|row| vec![true; row.response.len()]).collect();
        let mask = Mask::from_rows(&flags, &device);
        let (mut ids, mut packing, mut prompts) = (Vec::new(), Packing::default(), HashMap::new());
        let (mut from, mut targets) = (Vec::new(), Vec::new());
        let mut place = vec![0i64; rows.len() * longest];
        for (number, row) in rows.iter().enumerate() {
            let prompt = match prompts.get(row.prompt) {
                Some(span) => *span,
                None => {
                    let span = packing.push(row.prompt.len(), None)?;
                    ids.extend_from_slice(row.prompt);
                    prompts.insert(row.prompt, span);
                    span
                }
            };
            // The last response token predicts nothing that is wanted, so it is not fed.
            let fed = row.response.len().saturating_sub(1);
            let own = packing.push(fed, Some(prompt))?;
            ids.extend_from_slice(&row.response[..fed]);
            let predictors = std::iter::once(packing.span(prompt).rows.end - 1).chain(packing.span(own).rows.clone());
            for (column, (target, predictor)) in row.response.iter().zip(predictors).enumerate() {
                place[number * longest + column] = from.len() as i64;
                from.push(predictor as i64);
                targets.push(i64::from(*target));
            }
        }
        let integers = |values: Vec<i64>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
        };
        let ids = integers(ids.into_iter().map(i64::from).collect()); // [tokens]
        let states = states(ids, &packing).select(0, integers(from)); // [n, hidden]
        Ok(Predictors::new(states, integers(targets), integers(place), mask))
    }

    /// Log-probability of every token that is predicted, `[rows, longest response]`.
    pub fn logps(&self, at: &Predictors) -> Tensor<2> {
        at.placed(self.next_token_logps(at.states(), at.targets())) // [rows, longest]
    }

    /// Log-probability of each of the next tokens by the states that predict them: `[n, hidden]` and `[n]` to `[n]`.
    fn next_token_logps(&self, states: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let (weight, layout) = self.head_weight();
        let shape = HeadShape { layout, softcap: self.config.logit_softcap };
        head_logps(states, weight, &shape, targets, self.positions_at_once()) // [n]
    }

    /// What `of` says of the logits at every token that is predicted, `[rows, longest response]`. The head runs over some
    /// positions at a time: `of` gets `[m, vocab]` and the number of the first position, and gives `[m]`.
    pub fn over_logits(&self, at: &Predictors, of: impl Fn(Tensor<2>, usize) -> Tensor<1>) -> Tensor<2> {
        let states = at.states(); // [n, hidden]
        let ([n, _], chunk) = (states.dims(), self.positions_at_once());
        let pieces = (0..n).step_by(chunk).map(|start| {
            let end = (start + chunk).min(n);
            of(self.head(states.clone().slice(start..end)), start)
        });
        at.placed(Tensor::cat(pieces.collect(), 0))
    }

    /// Positions that the head runs over at once.
    fn positions_at_once(&self) -> usize {
        (LOGITS_AT_ONCE / self.config.vocab_size).max(1)
    }

    fn can_score(&self, rows: &[Row]) -> Result<(), CoreError> {
        if self.config.head != Head::NextToken {
            return Err(CoreError::Unsupported { what: "score text: its head is a classifier's" });
        }
        if let Some(row) = rows.iter().position(|row| row.prompt.is_empty()) {
            let got = format!("an empty prompt in row {row}");
            return Err(CoreError::Shape { rule: "a prompt needs at least one token (begin with the BOS token)", got });
        }
        self.holds(rows)
    }

    /// Checks that every id has an embedding, and every position where these are learned.
    fn holds(&self, rows: &[Row]) -> Result<(), CoreError> {
        let vocab = self.config.vocab_size;
        let ids = rows.iter().flat_map(|row| row.prompt.iter().chain(row.response));
        if let Some(id) = ids.copied().find(|id| *id as usize >= vocab) {
            return Err(CoreError::Range { name: "a token id", rule: "below the vocabulary size", got: f64::from(id) });
        }
        // Positions that were not learned have no embedding.
        let longest = rows.iter().map(|row| row.prompt.len() + row.response.len()).max().unwrap_or(0);
        if self.embed_positions.is_some() && longest > self.config.context {
            return Err(CoreError::Context { context: self.config.context, got: longest });
        }
        Ok(())
    }

    /// The scores of a classifier: of every sequence at its last token, or of every token.
    ///
    /// # Shapes
    /// - result: `[rows, labels]` for a head of sequences; `[tokens of all rows, labels]`, row after row, for one of tokens.
    ///
    /// # Errors
    /// When a row is empty, or the head is that of the next token.
    pub fn scores(&self, rows: &[&[u32]]) -> Result<Tensor<2>, CoreError> {
        if self.config.head == Head::NextToken {
            return Err(CoreError::Unsupported { what: "classify: its head is that of the next token" });
        }
        if let Some(row) = rows.iter().position(|row| row.is_empty()) {
            let got = format!("an empty row {row}");
            return Err(CoreError::Shape { rule: "a sequence to classify needs at least one token", got });
        }
        let (mut packing, mut last) = (Packing::default(), Vec::with_capacity(rows.len()));
        for row in rows {
            let span = packing.push(row.len(), None)?;
            last.push(packing.span(span).rows.end as i64 - 1);
        }
        let ids: Vec<i64> = rows.iter().flat_map(|row| row.iter().map(|id| i64::from(*id))).collect();
        let integers = |values: Vec<i64>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &self.device())
        };
        let states = self.states(integers(ids), &packing); // [tokens, hidden]
        let states = match self.config.head {
            Head::Sequence { .. } => states.select(0, integers(last)), // [rows, hidden]
            Head::NextToken | Head::Token { .. } => states,
        };
        Ok(self.head(states))
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.val().device()
    }

    /// Whether the weights are f32 on the CPU, where the kernels for host slices can take them over.
    pub(super) fn is_on_cpu(&self) -> bool {
        on_cpu(&self.device()) && self.embed_tokens.weight.val().dtype() == DType::F32
    }

    /// What the decoder looks like.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    /// Floats that a [`KvCache`] holds for one token.
    pub(super) fn cached_floats(&self) -> usize {
        2 * self.layers.len() * self.config.kv_heads * self.config.head_dim
    }

    /// The same weights on `device`.
    pub fn on(self, device: &Device) -> Self {
        self.map(&mut Move(device)).frozen_beside_lora()
    }

    /// Every projection of the blocks under its Hugging Face name, layer by layer.
    pub(super) fn projections(&mut self) -> Vec<(String, &mut Projection)> {
        let mut all = Vec::new();
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
            let parts = LayerParts::new(&self.config, number);
            all.push((parts.q_proj.name, &mut attention.q_proj));
            all.push((parts.k_proj.name, &mut attention.k_proj));
            all.push((parts.v_proj.name, &mut attention.v_proj));
            all.push((parts.o_proj.name, &mut attention.o_proj));
            all.extend(parts.gate_proj.map(|part| part.name).zip(mlp.gate_proj.as_mut()));
            all.push((parts.up_proj.name, &mut mlp.up_proj));
            all.push((parts.down_proj.name, &mut mlp.down_proj));
        }
        all
    }

    /// All weights under their Hugging Face names and in their layouts, without the adapter.
    pub(super) fn named(&self) -> Vec<Named> {
        let mut named = vec![of(&self.embed_tokens.weight, "model.embed_tokens.weight".into())];
        named.extend(self.embed_positions.as_ref().map(|it| of(&it.weight, "model.embed_positions.weight".into())));
        for (number, layer) in self.layers.iter().enumerate() {
            let (attention, mlp) = (&layer.self_attn, &layer.mlp);
            let parts = LayerParts::new(&self.config, number);
            layer.before_attention.named(parts.before_attention.name, &mut named);
            of_linear(&attention.q_proj.base, parts.q_proj.name, &mut named);
            of_linear(&attention.k_proj.base, parts.k_proj.name, &mut named);
            of_linear(&attention.v_proj.base, parts.v_proj.name, &mut named);
            of_linear(&attention.o_proj.base, parts.o_proj.name, &mut named);
            let norms = [
                (parts.q_norm, attention.q_norm.as_ref()),
                (parts.k_norm, attention.k_norm.as_ref()),
                (parts.behind_attention, layer.behind_attention.as_ref()),
                (Some(parts.before_mlp), Some(&layer.before_mlp)),
                (parts.behind_mlp, layer.behind_mlp.as_ref()),
            ];
            for (part, norm) in norms {
                if let (Some(part), Some(norm)) = (part, norm) {
                    norm.named(part.name, &mut named);
                }
            }
            if let (Some(part), Some(gate)) = (parts.gate_proj, &mlp.gate_proj) {
                of_linear(&gate.base, part.name, &mut named);
            }
            of_linear(&mlp.up_proj.base, parts.up_proj.name, &mut named);
            of_linear(&mlp.down_proj.base, parts.down_proj.name, &mut named);
        }
        self.norm.named(last_norm(&self.config).name, &mut named);
        let heads = [(head(&self.config), &self.head), (score_head(&self.config), &self.score_head)];
        for (part, linear) in heads {
            if let (Some(part), Some(linear)) = (part, linear) {
                of_linear(linear, part.name, &mut named);
            }
        }
        match self.config.family {
            Family::Gpt2 => to_gpt2(named),
            _ => named,
        }
    }

    /// Writes the weights alone into `folder`, which is made, as `model.safetensors`; those of an adapter are merged first.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_weights(&self, folder: &Path) -> Result<(), LmError> {
        std::fs::create_dir_all(folder).map_err(LmError::io(folder))?;
        let named = match self.lora {
            Some(_) => self.merged()?.named(),
            None => self.named(),
        };
        save_safetensors(&folder.join("model.safetensors"), &named, HashMap::new())
    }

    /// A decoder of the same kind on the same device, without an adapter, with the weights that lie in `folder`.
    ///
    /// # Errors
    /// When they are not there, or belong to a decoder of another shape.
    pub fn with_weights(&self, folder: &Path) -> Result<Self, LmError> {
        Self::load(&self.config, &mut Safetensors::open(folder)?, &self.device())
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

impl NormWeights {
    fn forward(&self, x: Tensor<2>, config: &DecoderConfig) -> Tensor<2> {
        let (weight, epsilon) = (self.weight.val(), config.norm_epsilon);
        match (config.norm, &self.bias) {
            (Norm::RmsPlusOne, _) => rms_norm(x, weight.add_scalar(1.0), epsilon),
            (_, Some(bias)) => layer_norm(x, weight, bias.val(), epsilon),
            (_, None) => rms_norm(x, weight, epsilon),
        }
    }

    /// Each head of `[n, heads * head]` by itself.
    fn by_head(&self, x: Tensor<2>, config: &DecoderConfig) -> Tensor<2> {
        let [n, width] = x.dims();
        let heads = width / config.head_dim;
        self.forward(x.reshape([n * heads, config.head_dim]), config).reshape([n, width])
    }

    fn named(&self, name: String, named: &mut Vec<Named>) {
        named.push(of(&self.weight, format!("{name}.weight")));
        named.extend(self.bias.as_ref().map(|bias| of(bias, format!("{name}.bias"))));
    }
}

/// What the layers share while packed sequences go through them.
struct Pass {
    positions: Vec<usize>,
    sights: HashMap<Option<usize>, Sight>,
    turns: Turns,
}

impl Pass {
    fn new(config: &DecoderConfig, packing: &Packing, device: &Device) -> Self {
        let positions = packing.positions();
        let mut sights = HashMap::new();
        for window in &config.windows {
            sights.entry(*window).or_insert_with(|| Sight::new(packing, *window, device));
        }
        Self { turns: Turns::new(config, &positions, device), sights, positions }
    }
}

/// Sine and cosine of the positions, in layers that see everything and in those with a window; none where positions are
/// learned.
struct Turns([Option<(Tensor<2>, Tensor<2>)>; 2]);

impl Turns {
    fn new(config: &DecoderConfig, positions: &[usize], device: &Device) -> Self {
        let Positions::Rotary { global, local } = &config.positions else { return Self([None, None]) };
        let table = |rope: &super::rope::Rope| {
            let shape = [positions.len(), config.head_dim / 2];
            let [cos, sin] = rope.table(positions, config.head_dim);
            let tensor = |values| Tensor::from_data(TensorData::new(values, shape), device); // [n, head / 2]
            (tensor(cos), tensor(sin))
        };
        let everywhere = table(global);
        let windowed = if local == global { everywhere.clone() } else { table(local) };
        Self([Some(everywhere), Some(windowed)])
    }

    fn turn(&self, x: Tensor<2>, windowed: bool) -> Tensor<2> {
        match &self.0[usize::from(windowed)] {
            Some((cos, sin)) => rope(x, cos.clone(), sin.clone()),
            None => x,
        }
    }
}

/// What a block begins with: hidden states and the norm in front.
struct Entry<'a> {
    x: Tensor<2>,
    norm: &'a NormWeights,
    config: &'a DecoderConfig,
    /// The normed states, where every projection takes them as they are.
    ready: Option<Tensor<2>>,
}

impl<'a> Entry<'a> {
    /// `apart`: every product computes its norm by itself, so that nobody holds the normed states.
    fn new(x: Tensor<2>, norm: &'a NormWeights, config: &'a DecoderConfig, apart: bool) -> Self {
        let apart = apart && config.norm != Norm::Layer;
        let ready = (!apart).then(|| norm.forward(x.clone(), config));
        Self { x, norm, config, ready }
    }

    fn through(&self, projection: &Projection) -> Tensor<2> {
        if let Some(ready) = &self.ready {
            return projection.forward(ready.clone());
        }
        let Some((weight, bias)) = projection.base_alone() else {
            return projection.forward(self.norm.forward(self.x.clone(), self.config));
        };
        let norm = match self.config.norm {
            Norm::RmsPlusOne => self.norm.weight.val().add_scalar(1.0),
            Norm::Rms | Norm::Layer => self.norm.weight.val(),
        };
        let y = rms_norm_product(self.x.clone(), norm, self.config.norm_epsilon, weight); // [n, out]
        match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        }
    }
}

impl Attention {
    /// Queries `[n, heads * head]`, keys and values `[n, kv * head]`.
    fn project(&self, x: &Entry<'_>, config: &DecoderConfig) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let (q, k) = (x.through(&self.q_proj), x.through(&self.k_proj));
        let normed = |x, norm: &Option<NormWeights>| match norm {
            Some(norm) => norm.by_head(x, config),
            None => x,
        };
        (normed(q, &self.q_norm), normed(k, &self.k_norm), x.through(&self.v_proj))
    }
}

impl FeedForward {
    fn forward(&self, x: &Entry<'_>, activation: Activation) -> Tensor<2> {
        let up = x.through(&self.up_proj); // [n, intermediate]
        if let (Some(gate), Some((weight, None))) = (&self.gate_proj, self.down_proj.base_alone()) {
            let gate = x.through(gate); // [n, intermediate]
            return match activation {
                Activation::Silu => swiglu_product(gate, up, weight),
                Activation::GeluTanh => geglu_product(gate, up, weight),
            };
        }
        let wide = match (&self.gate_proj, activation) {
            (Some(gate), Activation::Silu) => swiglu(x.through(gate), up),
            (Some(gate), Activation::GeluTanh) => geglu(x.through(gate), up),
            (None, Activation::Silu) => burn::tensor::activation::silu(up),
            (None, Activation::GeluTanh) => gelu_tanh(up),
        };
        self.down_proj.forward(wide)
    }
}

/// Keys and values of the tokens read so far, for a batch of rows of equal length. Written in place.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
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

    /// Appends keys and values `[rows, kv, seq, head]` of a layer; gives all so far, `[rows, kv, total, head]`.
    fn push(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [rows, kv, seq, width] = k.dims();
        let (start, end) = (self.len, self.len + seq);
        let empty = || Tensor::zeros([rows, kv, self.capacity, width], &k.device());
        let kept = &mut self.layers[layer];
        // Taken out of its place, so that the assignment finds one owner and writes in place.
        let (keys, values) = kept.take().unwrap_or_else(|| (empty(), empty()));
        let keys = keys.slice_assign([0..rows, 0..kv, start..end, 0..width], k);
        let values = values.slice_assign([0..rows, 0..kv, start..end, 0..width], v);
        *kept = Some((keys.clone(), values.clone()));
        (keys.slice([0..rows, 0..kv, 0..end, 0..width]), values.slice([0..rows, 0..kv, 0..end, 0..width]))
    }
}

pub(super) struct Build<'a> {
    pub(super) source: &'a mut dyn WeightSource,
    pub(super) device: &'a Device,
    pub(super) norm: Norm,
}

impl Build<'_> {
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let values = self.source.tensor(name, shape)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(LmError::NotFinite { name: name.to_owned() }),
        }
    }

    fn vector(&mut self, name: String, width: usize) -> Result<Param<Tensor<1>>, LmError> {
        let values = self.floats(&name, &[width])?;
        Ok(trainable(id(&name), Tensor::from_data(TensorData::new(values, [width]), self.device)))
    }

    fn projection(&mut self, part: &Product) -> Result<Projection, LmError> {
        Ok(Projection::plain(self.linear(part)?))
    }

    pub(super) fn linear(&mut self, part: &Product) -> Result<Linear, LmError> {
        let Product { name, inputs, outputs, bias } = part;
        let weight = format!("{name}.weight");
        let values = transposed(&self.floats(&weight, &[*outputs, *inputs])?, *inputs);
        let values = Tensor::from_data(TensorData::new(values, [*inputs, *outputs]), self.device); // [in, out]
        let bias = match bias {
            true => Some(self.vector(format!("{name}.bias"), *outputs)?),
            false => None,
        };
        Ok(Linear { weight: trainable(id(&weight), values), bias })
    }

    fn embedding(&mut self, name: &str, shape: [usize; 2]) -> Result<Embedding, LmError> {
        let name = format!("{name}.weight");
        let values = self.floats(&name, &shape)?;
        let values = Tensor::from_data(TensorData::new(values, shape), self.device);
        Ok(Embedding { weight: trainable(id(&name), values) })
    }

    fn norm(&mut self, part: &NormPart) -> Result<NormWeights, LmError> {
        let NormPart { name, width } = part;
        let bias = match self.norm {
            Norm::Layer => Some(self.vector(format!("{name}.bias"), *width)?),
            Norm::Rms | Norm::RmsPlusOne => None,
        };
        Ok(NormWeights { weight: self.vector(format!("{name}.weight"), *width)?, bias })
    }
}

/// A parameter that gets gradients wherever its device keeps them: a plain `Param::initialized` would stay frozen.
fn trainable<const D: usize>(id: ParamId, tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(id, tensor).set_require_grad(true)
}

/// Rows of `width` values, as columns.
pub(super) fn transposed(values: &[f32], width: usize) -> Vec<f32> {
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

pub(super) fn of_linear(linear: &Linear, name: String, named: &mut Vec<Named>) {
    let (weight, shape, values) = of(&linear.weight, format!("{name}.weight"));
    named.push((weight, vec![shape[1], shape[0]], transposed(&values, shape[1])));
    named.extend(linear.bias.as_ref().map(|bias| of(bias, format!("{name}.bias"))));
}

struct Move<'a>(&'a Device);

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let data = param.val().into_data();
        trainable(param.id, Tensor::from_data(data, self.0))
    }
}
