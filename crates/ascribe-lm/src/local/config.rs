//! What a decoder looks like, part by part, read from a Hugging Face `config.json` (the spellings of transformers 4 and 5)
//! or from the metadata of a GGUF file.

mod gguf;
mod json;

use std::path::Path;

use super::rope::Rope;
use crate::LmError;

/// The family of a model: how its files spell what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, SmolLM2, TinyLlama, ..
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3, dense.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text alone.
    Gemma3,
    /// GPT-2.
    Gpt2,
}

impl Family {
    /// Every family, as error messages list them.
    pub const ALL: [Family; 7] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Gemma2, Self::Gemma3, Self::Gpt2];

    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Gpt2 => "gpt2",
        }
    }

    /// How the class names of transformers begin.
    fn class(self) -> &'static str {
        match self {
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Gemma2 => "Gemma2",
            Self::Gemma3 => "Gemma3",
            Self::Gpt2 => "GPT2",
        }
    }
}

/// How hidden states are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Root mean square, times a weight (arXiv:1910.07467).
    Rms,
    /// Root mean square, times one plus a weight: Gemma.
    RmsPlusOne,
    /// Mean and variance, with weight and bias (arXiv:1607.06450): GPT-2.
    Layer,
}

/// What stands between the two products of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by its tanh formula (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
}

/// How a token knows its position.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Queries and keys are rotated.
    Rotary {
        /// In layers that see everything.
        global: Rope,
        /// In layers with a window; the same as `global` in all families but Gemma 3.
        local: Rope,
    },
    /// An embedding a position is added to that of the token.
    Learned,
}

/// Which linear layers have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The output of attention.
    pub output: bool,
    /// The feed-forward block.
    pub feed_forward: bool,
}

/// What is read off the final hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Logits of the next token.
    NextToken,
    /// Scores of a whole sequence, read at its last token: a reward model.
    Sequence {
        /// Number of scores.
        labels: usize,
    },
    /// Scores of every token: a process model, or a value model with one label.
    Token {
        /// Number of scores.
        labels: usize,
    },
}

/// A decoder, part by part.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The family, which names the tensors.
    pub family: Family,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// How hidden states are normalised.
    pub norm: Norm,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
    /// True when attention and feed-forward are normalised behind as well as before: Gemma.
    pub norm_behind: bool,
    /// True when queries and keys are normalised, head by head: Qwen 3, Gemma 3.
    pub norm_heads: bool,
    /// Multiplies the embeddings: the root of the width in Gemma, else 1.
    pub embedding_scale: f64,
    /// Positions.
    pub positions: Positions,
    /// Multiplies the scores of queries and keys.
    pub attention_scale: f64,
    /// Scores `s` become `c tanh(s / c)`.
    pub attention_softcap: Option<f64>,
    /// Of each layer: how many tokens it sees, itself included; `None` sees all.
    pub windows: Vec<Option<usize>>,
    /// Activation of the feed-forward block.
    pub activation: Activation,
    /// True when one product gates another (SwiGLU); false in GPT-2.
    pub gated: bool,
    /// Which linear layers have a bias.
    pub biases: Biases,
    /// True when the head of the next token is the embedding.
    pub tied: bool,
    /// Logits `z` become `c tanh(z / c)`.
    pub logit_softcap: Option<f64>,
    /// What is read off the final hidden states.
    pub head: Head,
    /// Scores of a whole sequence that a second head gives beside the next token: a model that writes before it scores. 0
    /// without such a head.
    pub scores: usize,
}

impl DecoderConfig {
    /// A small Llama for tasks with a small vocabulary: tied embeddings, as many key as query heads.
    pub fn tiny(vocab_size: usize, hidden_size: usize, layers: usize, heads: usize, context: usize) -> Self {
        let head_dim = hidden_size / heads.max(1);
        Self {
            vocab_size,
            intermediate_size: 4 * hidden_size,
            context,
            norm_epsilon: 1e-5,
            tied: true,
            ..Self::plain(Family::Llama, hidden_size, layers, heads, head_dim)
        }
    }

    /// What most families share; sizes that are not given are 0.
    fn plain(family: Family, hidden_size: usize, layers: usize, heads: usize, head_dim: usize) -> Self {
        let rope = Rope::plain(10_000.0);
        Self {
            family,
            vocab_size: 0,
            hidden_size,
            intermediate_size: 0,
            layers,
            heads,
            kv_heads: heads,
            head_dim,
            context: 0,
            norm: Norm::Rms,
            norm_epsilon: 1e-6,
            norm_behind: false,
            norm_heads: false,
            embedding_scale: 1.0,
            positions: Positions::Rotary { global: rope.clone(), local: rope },
            attention_scale: (head_dim.max(1) as f64).sqrt().recip(),
            attention_softcap: None,
            windows: vec![None; layers],
            activation: Activation::Silu,
            gated: true,
            biases: Biases::default(),
            tied: false,
            logit_softcap: None,
            head: Head::NextToken,
            scores: 0,
        }
    }

    /// What makes a Gemma one: every second layer (Gemma 3: all but every sixth) looks through a window.
    fn gemma(self, scale_by: f64, softcaps: [Option<f64>; 2], window: Option<usize>, pattern: usize) -> Self {
        let windows = (1..=self.layers).map(|layer| window.filter(|_| !layer.is_multiple_of(pattern.max(1))));
        Self {
            norm: Norm::RmsPlusOne,
            norm_behind: true,
            norm_heads: self.family == Family::Gemma3,
            embedding_scale: (self.hidden_size as f64).sqrt(),
            attention_scale: scale_by.sqrt().recip(),
            attention_softcap: softcaps[0],
            logit_softcap: softcaps[1],
            windows: windows.collect(),
            activation: Activation::GeluTanh,
            ..self
        }
    }

    /// What makes a GPT-2 one.
    fn gpt2(self) -> Self {
        Self {
            norm: Norm::Layer,
            positions: Positions::Learned,
            activation: Activation::GeluTanh,
            gated: false,
            biases: Biases { qkv: true, output: true, feed_forward: true },
            ..self
        }
    }

    /// Number of scores of the head: the vocabulary, or the labels.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::NextToken => self.vocab_size,
            Head::Sequence { labels } | Head::Token { labels } => labels,
        }
    }

    /// Number of scores that a whole sequence is given: by a head of sequences, or by one beside that of the next token; `None`
    /// where there is neither.
    pub fn sequence_scores(&self) -> Option<usize> {
        match self.head {
            Head::Sequence { labels } => Some(labels),
            Head::NextToken => Some(self.scores).filter(|scores| *scores > 0),
            Head::Token { .. } => None,
        }
    }

    fn check(self, path: &Path) -> Result<Self, LmError> {
        let sizes = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.layers,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.context,
            self.outputs(),
        ];
        let rotary = matches!(self.positions, Positions::Rotary { .. });
        // A model of 2^31 in any direction, or of 2^40 weights in a matrix, is a broken file and not a model.
        let sound = sizes.iter().all(|size| (1..1 << 31).contains(size))
            && self.heads.is_multiple_of(self.kv_heads)
            && (!rotary || self.head_dim.is_multiple_of(2))
            && self.hidden_size.saturating_mul(self.vocab_size.max(self.intermediate_size).max(self.scores)) < 1 << 40
            && self.windows.len() == self.layers
            && self.windows.iter().all(|window| *window != Some(0));
        if sound { Ok(self) } else { Err(LmError::config(path)(format!("sizes that do not fit together: {self:?}"))) }
    }
}
