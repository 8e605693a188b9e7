//! The metadata of a GGUF file.

use super::{Biases, DecoderConfig, Family, Positions};
use crate::LmError;
use crate::gguf::{Gguf, GgufValue as Value};
use crate::local::rope::{Rope, RopeScaling};

/// Families by the name that GGUF files have for them. A Mistral calls itself a Llama.
const ARCHITECTURES: [(&str, Family); 6] = [
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("gpt2", Family::Gpt2),
];

impl DecoderConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// When a key is missing, or the architecture or one of its parts is not known here.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LmError> {
        let refuse = |what: String, remedy: String| {
            Err(LmError::unsupported(format!("{what} in {}", gguf.path().display()), remedy))
        };
        let architecture = gguf.need("general.architecture", Value::as_text)?;
        let Some((_, family)) = ARCHITECTURES.into_iter().find(|(name, _)| *name == architecture) else {
            let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
            return refuse(
                format!("architecture `{architecture}`"),
                format!("use a GGUF file of architecture {known}"),
            );
        };
        let key = |key: &str| format!("{architecture}.{key}");
        let whole_of = |value: &Value| value.as_unsigned().and_then(|number| usize::try_from(number).ok());
        let whole = |name: &str| gguf.need(&key(name), whole_of);
        let number = |name: &str| gguf.metadata(&key(name)).and_then(Value::as_float);
        let tensor = |name: &str| gguf.tensors().find(|tensor| tensor.name == name);

        let (hidden_size, heads, layers) =
            (whole("embedding_length")?, whole("attention.head_count")?, whole("block_count")?);
        let head_dim = whole("attention.key_length").unwrap_or(hidden_size / heads.max(1));
        let rotated = whole("rope.dimension_count").unwrap_or(head_dim);
        if rotated != head_dim && family != Family::Gpt2 {
            let remedy = "use a model that rotates whole heads".to_owned();
            return refuse(format!("rotary positions over {rotated} of {head_dim} dimensions"), remedy);
        }
        let context = whole("context_length")?;
        let kind = gguf.metadata(&key("rope.scaling.type")).and_then(Value::as_text).unwrap_or("none");
        let divisors = gguf.rope_factors()?.map(|factors| factors.into_iter().map(f64::from).collect::<Vec<_>>());
        let scaling = match (divisors, kind) {
            (Some(divisors), _) => {
                if divisors.len() != head_dim / 2 {
                    let why = format!("`rope_freqs.weight` must have {} numbers, got {}", head_dim / 2, divisors.len());
                    return Err(LmError::config(gguf.path())(why));
                }
                RopeScaling::Long { short: divisors.clone(), long: divisors, original: context as f64, magnitude: 1.0 }
            }
            (None, "none") => RopeScaling::Plain,
            (None, "linear") => RopeScaling::Linear { factor: number("rope.scaling.factor").unwrap_or(1.0) },
            (None, "yarn") => {
                let factor = number("rope.scaling.factor").unwrap_or(1.0).max(1.0);
                RopeScaling::Yarn {
                    factor,
                    fast: 32.0,
                    slow: 1.0,
                    original: whole("rope.scaling.original_context_length").unwrap_or(context) as f64,
                    magnitude: 0.1 * factor.ln() + 1.0,
                    truncate: true,
                }
            }
            (None, other) => {
                let remedy =
                    "use a model with plain, linear or yarn rotary positions, or its safetensors folder".to_owned();
                return refuse(format!("rope scaling `{other}`"), remedy);
            }
        };
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        let usual = if family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 };
        let global = Rope { theta: number("rope.freq_base").unwrap_or(usual), scaling };
        let local = if family == Family::Gemma3 { Rope::plain(10_000.0) } else { global.clone() };
        let epsilon = match family {
            Family::Gpt2 => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        };
        let config = Self {
            vocab_size: tensor("token_embd.weight").map(|tensor| tensor.shape[0]).unwrap_or(0),
            intermediate_size: whole("feed_forward_length")?,
            kv_heads: whole("attention.head_count_kv").unwrap_or(heads),
            context,
            norm_epsilon: gguf.need(&key(epsilon), Value::as_float)?,
            norm_heads: family == Family::Qwen3,
            positions: Positions::Rotary { global, local },
            biases: Biases {
                qkv: tensor("blk.0.attn_q.bias").is_some(),
                output: tensor("blk.0.attn_output.bias").is_some(),
                feed_forward: tensor("blk.0.ffn_down.bias").is_some(),
            },
            tied: tensor("output.weight").is_none(),
            ..Self::plain(family, hidden_size, layers, heads, head_dim)
        };
        let config = match family {
            Family::Gpt2 => config.gpt2(),
            _ if gemma => {
                let softcap = |name: &str| number(name).filter(|cap| *cap > 0.0);
                let softcaps = [softcap("attn_logit_softcapping"), softcap("final_logit_softcapping")];
                // The files do not say what scales the scores: the 27-billion models are the ones that differ.
                let largest = (family == Family::Gemma2 && layers == 46) || (family == Family::Gemma3 && layers == 62);
                let scale_by = if largest { hidden_size / heads.max(1) } else { head_dim };
                let pattern = if family == Family::Gemma2 { 2 } else { 6 };
                config.gemma(scale_by as f64, softcaps, whole("attention.sliding_window").ok(), pattern)
            }
            _ => config,
        };
        config.check(gguf.path())
    }
}
