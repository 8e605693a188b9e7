//! What a decoder is made of: products and norms by their Hugging Face names, with their sizes.

use super::config::{DecoderConfig, Head};

/// A product with weights `[outputs, inputs]`.
pub(super) struct Product {
    /// Its name, without `.weight`.
    pub(super) name: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) bias: bool,
}

/// A norm over `width` values.
pub(super) struct NormPart {
    /// Its name, without `.weight`.
    pub(super) name: String,
    pub(super) width: usize,
}

/// The parts of one layer.
pub(super) struct LayerParts {
    pub(super) before_attention: NormPart,
    pub(super) q_proj: Product,
    pub(super) k_proj: Product,
    pub(super) v_proj: Product,
    pub(super) o_proj: Product,
    pub(super) q_norm: Option<NormPart>,
    pub(super) k_norm: Option<NormPart>,
    pub(super) behind_attention: Option<NormPart>,
    pub(super) before_mlp: NormPart,
    pub(super) gate_proj: Option<Product>,
    pub(super) up_proj: Product,
    pub(super) down_proj: Product,
    pub(super) behind_mlp: Option<NormPart>,
}

impl LayerParts {
    /// The parts of layer `number`.
    pub(super) fn new(config: &DecoderConfig, number: usize) -> Self {
        let c = config;
        let (queries, keys) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let (wide, narrow) = (c.intermediate_size, c.hidden_size);
        let name = |part: &str| format!("model.layers.{number}.{part}");
        let product = |part: &str, inputs, outputs, bias| Product { name: name(part), inputs, outputs, bias };
        let norm = |part: &str, width| NormPart { name: name(part), width };
        // With norms on both sides, the one before the feed-forward block has another name.
        let (behind_attention, before_mlp) = match c.norm_behind {
            true => (Some("post_attention_layernorm"), "pre_feedforward_layernorm"),
            false => (None, "post_attention_layernorm"),
        };
        Self {
            before_attention: norm("input_layernorm", narrow),
            q_proj: product("self_attn.q_proj", narrow, queries, c.biases.qkv),
            k_proj: product("self_attn.k_proj", narrow, keys, c.biases.qkv),
            v_proj: product("self_attn.v_proj", narrow, keys, c.biases.qkv),
            o_proj: product("self_attn.o_proj", queries, narrow, c.biases.output),
            q_norm: c.norm_heads.then(|| norm("self_attn.q_norm", c.head_dim)),
            k_norm: c.norm_heads.then(|| norm("self_attn.k_norm", c.head_dim)),
            behind_attention: behind_attention.map(|part| norm(part, narrow)),
            before_mlp: norm(before_mlp, narrow),
            gate_proj: c.gated.then(|| product("mlp.gate_proj", narrow, wide, c.biases.feed_forward)),
            up_proj: product("mlp.up_proj", narrow, wide, c.biases.feed_forward),
            down_proj: product("mlp.down_proj", wide, narrow, c.biases.feed_forward),
            behind_mlp: c.norm_behind.then(|| norm("post_feedforward_layernorm", narrow)),
        }
    }
}

/// The norm behind the last layer.
pub(super) fn last_norm(config: &DecoderConfig) -> NormPart {
    NormPart { name: "model.norm".into(), width: config.hidden_size }
}

/// The head; `None` where it is the embedding.
pub(super) fn head(config: &DecoderConfig) -> Option<Product> {
    // transformers gives the scores of tokens a bias, and those of sequences none.
    let (name, bias) = match config.head {
        Head::NextToken if config.tied => return None,
        Head::NextToken => ("lm_head", false),
        Head::Sequence { .. } => ("score", false),
        Head::Token { .. } => ("score", true),
    };
    Some(Product { name: name.into(), inputs: config.hidden_size, outputs: config.outputs(), bias })
}

/// The head of scores beside that of the next token.
pub(super) fn score_head(config: &DecoderConfig) -> Option<Product> {
    let there = config.head == Head::NextToken && config.scores > 0;
    let part = || Product { name: "score".into(), inputs: config.hidden_size, outputs: config.scores, bias: false };
    there.then(part)
}
