//! What a decoder looks like, read from a Hugging Face `config.json` (the spellings of transformers 4 and 5) or from the
//! metadata of a GGUF file.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::gguf::{Gguf, GgufValue as Value};
use crate::{LmError, io};

/// How rotary frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    Plain,
    /// Llama 3: low frequencies divided by `factor`, high ones kept, those between interpolated.
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low` are low frequencies.
        low: f64,
        /// Wavelengths below `original / high` are high frequencies.
        high: f64,
        /// Context length that the model was first trained with.
        original: f64,
    },
}

/// Rotary position embedding in the rotate-half layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: RopeScaling,
}

/// A Llama decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
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
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
    /// Positions.
    pub rope: Rope,
    /// Longest sequence in tokens.
    pub context: usize,
    /// True when the head is the embedding.
    pub tied: bool,
}

impl DecoderConfig {
    /// A small model for tasks with a small vocabulary: tied embeddings, as many key as query heads.
    pub fn tiny(vocab_size: usize, hidden_size: usize, layers: usize, heads: usize, context: usize) -> Self {
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: 4 * hidden_size,
            layers,
            heads,
            kv_heads: heads,
            head_dim: hidden_size / heads.max(1),
            norm_epsilon: 1e-5,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::Plain },
            context,
            tied: true,
        }
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// When the file is missing or not JSON, a key is missing, or the model is not a Llama decoder without biases.
    pub fn from_json(path: &Path) -> Result<Self, LmError> {
        let text = io::read_to_string(path)?;
        let json: Map<String, Json> = serde_json::from_str(&text).map_err(LmError::config(path))?;
        let fields = Fields { json: &json, path };
        let kind = json.get("model_type").and_then(Json::as_str).unwrap_or("none");
        if kind != "llama" {
            let what = format!("model_type `{kind}` in {}", path.display());
            return Err(LmError::unsupported(what, "use a model of type `llama`"));
        }
        // A classifier has another head, and would load as a language model where the embedding is tied.
        let architecture = json.get("architectures").and_then(|names| names.get(0)).and_then(Json::as_str);
        if let Some(other) = architecture.filter(|name| *name != "LlamaForCausalLM") {
            let what = format!("architecture `{other}` in {}", path.display());
            return Err(LmError::unsupported(what, "use a language model (`LlamaForCausalLM`)"));
        }
        for bias in ["attention_bias", "mlp_bias"] {
            if json.get(bias).and_then(Json::as_bool) == Some(true) {
                let what = format!("`{bias}: true` in {}", path.display());
                return Err(LmError::unsupported(what, "use a Llama model without biases"));
            }
        }
        if fields.number_or("partial_rotary_factor", 1.0)? != 1.0 {
            let what = format!("`partial_rotary_factor` in {}", path.display());
            return Err(LmError::unsupported(what, "use a model that rotates whole heads"));
        }
        let activation = json.get("hidden_act").and_then(Json::as_str).unwrap_or("silu");
        if activation != "silu" {
            let what = format!("hidden_act `{activation}` in {}", path.display());
            return Err(LmError::unsupported(what, "use a model with `silu`"));
        }
        let (hidden_size, heads) = (fields.whole("hidden_size")?, fields.whole("num_attention_heads")?);
        let config = Self {
            vocab_size: fields.whole("vocab_size")?,
            hidden_size,
            intermediate_size: fields.whole("intermediate_size")?,
            layers: fields.whole("num_hidden_layers")?,
            heads,
            kv_heads: fields.whole_or("num_key_value_heads", heads)?,
            head_dim: fields.whole_or("head_dim", hidden_size / heads.max(1))?,
            norm_epsilon: fields.number_or("rms_norm_eps", 1e-6)?,
            rope: fields.rope()?,
            context: fields.whole_or("max_position_embeddings", 2048)?,
            tied: json.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(false),
        };
        config.check(path)
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// When a key is missing or the architecture is not `llama`.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LmError> {
        let whole_of = |value: &Value| value.as_unsigned().and_then(|number| usize::try_from(number).ok());
        let architecture = gguf.need("general.architecture", Value::as_text)?;
        if architecture != "llama" {
            let what = format!("architecture `{architecture}` in {}", gguf.path().display());
            return Err(LmError::unsupported(what, "use a GGUF file of architecture `llama`"));
        }
        let whole = |key: &str| gguf.need(&format!("llama.{key}"), whole_of);
        let (hidden_size, heads) = (whole("embedding_length")?, whole("attention.head_count")?);
        if gguf.tensors().any(|tensor| tensor.name == "rope_freqs.weight") {
            let what = format!("stretched rotary frequencies in {}", gguf.path().display());
            return Err(LmError::unsupported(what, "use the safetensors folder of this model"));
        }
        let head_dim = whole("attention.key_length").unwrap_or(hidden_size / heads.max(1));
        let stretched = gguf.metadata("llama.rope.scaling.type").and_then(Value::as_text).unwrap_or("none");
        let rotated = whole("rope.dimension_count").unwrap_or(head_dim);
        if stretched != "none" || rotated != head_dim {
            let what = format!(
                "rope scaling `{stretched}` over {rotated} of {head_dim} dimensions in {}",
                gguf.path().display()
            );
            return Err(LmError::unsupported(
                what,
                "use a model with plain rotary positions, or its safetensors folder",
            ));
        }
        if let Some(bias) = gguf.tensors().find(|tensor| tensor.name.ends_with(".bias")) {
            let what = format!("the bias `{}` in {}", bias.name, gguf.path().display());
            return Err(LmError::unsupported(what, "use a Llama model without biases"));
        }
        let tokens = gguf.tensors().find(|tensor| tensor.name == "token_embd.weight").map(|tensor| tensor.shape[0]);
        let config = Self {
            vocab_size: tokens.or_else(|| whole("vocab_size").ok()).unwrap_or(0),
            hidden_size,
            intermediate_size: whole("feed_forward_length")?,
            layers: whole("block_count")?,
            heads,
            kv_heads: whole("attention.head_count_kv").unwrap_or(heads),
            head_dim,
            norm_epsilon: gguf.need("llama.attention.layer_norm_rms_epsilon", Value::as_float)?,
            rope: Rope {
                theta: gguf.metadata("llama.rope.freq_base").and_then(Value::as_float).unwrap_or(10_000.0),
                scaling: RopeScaling::Plain,
            },
            context: whole("context_length")?,
            tied: !gguf.tensors().any(|tensor| tensor.name == "output.weight"),
        };
        config.check(gguf.path())
    }

    fn check(self, path: &Path) -> Result<Self, LmError> {
        let sizes = [self.vocab_size, self.hidden_size, self.intermediate_size, self.layers, self.heads, self.context];
        let sound = sizes.iter().all(|size| *size > 0)
            && self.kv_heads > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head_dim > 0
            && self.head_dim.is_multiple_of(2);
        if sound { Ok(self) } else { Err(LmError::config(path)(format!("sizes that do not fit together: {self:?}"))) }
    }

    /// The inverse frequencies of the rotary embedding, `head_dim / 2` of them.
    pub(super) fn inverse_frequencies(&self) -> Vec<f32> {
        let half = self.head_dim / 2;
        let stretch = |frequency: f64| match self.rope.scaling {
            RopeScaling::Plain => frequency,
            RopeScaling::Llama3 { factor, low, high, original } => {
                let wavelength = std::f64::consts::TAU / frequency;
                if wavelength < original / high {
                    frequency
                } else if wavelength > original / low {
                    frequency / factor
                } else {
                    let smooth = (original / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        };
        let plain = |i: usize| self.rope.theta.powf(-2.0 * i as f64 / self.head_dim as f64);
        (0..half).map(|i| stretch(plain(i)) as f32).collect()
    }

    /// The `config.json` that transformers reads; ids of special tokens are added by the caller.
    pub(super) fn to_json(&self) -> Map<String, Json> {
        let mut json = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.norm_epsilon,
            "rope_theta": self.rope.theta,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": self.tied,
            "attention_bias": false,
            "mlp_bias": false,
            "torch_dtype": "float32",
        });
        if let RopeScaling::Llama3 { factor, low, high, original } = self.rope.scaling {
            json["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original as u64,
            });
        }
        match json {
            Json::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// Typed access to `config.json`.
struct Fields<'a> {
    json: &'a Map<String, Json>,
    path: &'a Path,
}

impl Fields<'_> {
    fn whole(&self, key: &str) -> Result<usize, LmError> {
        let got = self.json.get(key).and_then(Json::as_u64).and_then(|value| usize::try_from(value).ok());
        got.ok_or_else(|| LmError::config(self.path)(format!("`{key}` must be a whole number")))
    }

    fn whole_or(&self, key: &str, default: usize) -> Result<usize, LmError> {
        match self.json.get(key) {
            None | Some(Json::Null) => Ok(default),
            Some(_) => self.whole(key),
        }
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, LmError> {
        number_or(self.json, key, default)
            .ok_or_else(|| LmError::config(self.path)(format!("`{key}` must be a number")))
    }

    /// transformers 4: `rope_theta` and `rope_scaling`; transformers 5: both inside `rope_parameters`.
    fn rope(&self) -> Result<Rope, LmError> {
        let object = |key: &str| self.json.get(key).and_then(Json::as_object);
        let scaling = object("rope_parameters").or_else(|| object("rope_scaling"));
        let theta = match object("rope_parameters") {
            Some(parameters) => number_or(parameters, "rope_theta", 10_000.0),
            None => number_or(self.json, "rope_theta", 10_000.0),
        };
        let theta = theta.ok_or_else(|| LmError::config(self.path)("`rope_theta` must be a number"))?;
        let Some(map) = scaling else { return Ok(Rope { theta, scaling: RopeScaling::Plain }) };
        let kind = map.get("rope_type").or_else(|| map.get("type")).and_then(Json::as_str).unwrap_or("default");
        let need = |key: &str| {
            let got = map.get(key).and_then(Json::as_f64);
            got.ok_or_else(|| LmError::config(self.path)(format!("rope scaling `llama3` needs the number `{key}`")))
        };
        let scaling = match kind {
            "default" => RopeScaling::Plain,
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: need("original_max_position_embeddings")?,
            },
            other => {
                let what = format!("rope scaling `{other}` in {}", self.path.display());
                return Err(LmError::unsupported(what, "use a model with plain or `llama3` rotary positions"));
            }
        };
        Ok(Rope { theta, scaling })
    }
}

fn number_or(map: &Map<String, Json>, key: &str, default: f64) -> Option<f64> {
    match map.get(key) {
        None | Some(Json::Null) => Some(default),
        Some(value) => value.as_f64(),
    }
}
