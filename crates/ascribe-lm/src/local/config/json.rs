//! `config.json`, in the spellings of transformers 4 and 5.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{Activation, Biases, DecoderConfig, Family, Head, Positions};
use crate::local::rope::{Rope, RopeScaling};
use crate::{LmError, io};

/// The key of the scores beside the next token. It is ours: other software reads the language model and leaves them alone.
const SCORES: &str = "sequence_scores";

impl DecoderConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// When the file is missing or not JSON, a key is missing, or the model has a part that is not known here.
    pub fn from_json(path: &Path) -> Result<Self, LmError> {
        let text = io::read_to_string(path)?;
        let json: Map<String, Json> = serde_json::from_str(&text).map_err(LmError::config(path))?;
        let fields = Fields { json: &json, path };
        let name = fields.text("model_type").unwrap_or("none");
        let Some(family) = Family::ALL.into_iter().find(|family| family.model_type() == name) else {
            let known: Vec<_> = Family::ALL.iter().map(|family| family.model_type()).collect();
            return fields.refuse(format!("model_type `{name}`"), format!("use a model of type {}", known.join(", ")));
        };
        let config = match family {
            Family::Gpt2 => fields.gpt2()?,
            _ => fields.rotary(family)?,
        };
        let head = fields.head(family)?;
        let scores = match head {
            Head::NextToken => fields.whole_or(SCORES, 0)?,
            Head::Sequence { .. } | Head::Token { .. } => 0,
        };
        Self { head, scores, ..config }.check(path)
    }

    /// The `config.json` that transformers reads; ids of special tokens are added by the caller.
    pub(in crate::local) fn to_json(&self) -> Map<String, Json> {
        let class = match self.head {
            Head::NextToken if self.family == Family::Gpt2 => "LMHeadModel",
            Head::NextToken => "ForCausalLM",
            Head::Sequence { .. } => "ForSequenceClassification",
            Head::Token { .. } => "ForTokenClassification",
        };
        let mut json = json!({
            "architectures": [format!("{}{class}", self.family.class())],
            "model_type": self.family.model_type(),
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
        });
        let mut set = |more: Json| {
            if let (Json::Object(json), Json::Object(more)) = (&mut json, more) {
                json.extend(more);
            }
        };
        if let Head::Sequence { labels } | Head::Token { labels } = self.head {
            let names: Map<String, Json> = (0..labels).map(|n| (n.to_string(), json!(format!("LABEL_{n}")))).collect();
            let numbers: Map<String, Json> = (0..labels).map(|n| (format!("LABEL_{n}"), json!(n))).collect();
            set(json!({"id2label": names, "label2id": numbers}));
        }
        if self.scores > 0 {
            set(json!({SCORES: self.scores}));
        }
        if self.family == Family::Gpt2 {
            set(json!({
                "n_embd": self.hidden_size,
                "n_layer": self.layers,
                "n_head": self.heads,
                "n_inner": self.intermediate_size,
                "n_positions": self.context,
                "layer_norm_epsilon": self.norm_epsilon,
                "activation_function": "gelu_new",
            }));
        } else {
            let activation = match self.activation {
                Activation::Silu => "silu",
                Activation::GeluTanh => "gelu_pytorch_tanh",
            };
            set(json!({
                "hidden_size": self.hidden_size,
                "intermediate_size": self.intermediate_size,
                "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads,
                "head_dim": self.head_dim,
                "hidden_act": activation,
                "rms_norm_eps": self.norm_epsilon,
                "max_position_embeddings": self.context,
                "attention_bias": self.biases.qkv && self.family != Family::Qwen2,
                "mlp_bias": self.biases.feed_forward,
            }));
        }
        if let Positions::Rotary { global, local } = &self.positions {
            set(json!({"rope_theta": global.theta}));
            if let Some(scaling) = scaling_to_json(&global.scaling) {
                set(json!({"rope_scaling": scaling}));
            }
            if self.family == Family::Gemma3 {
                set(json!({"rope_local_base_freq": local.theta}));
            }
        }
        if let Some(window) = self.windows.iter().flatten().next() {
            let layer = |window: &Option<usize>| if window.is_some() { "sliding_attention" } else { "full_attention" };
            let layers: Vec<_> = self.windows.iter().map(layer).collect();
            set(json!({"sliding_window": window, "use_sliding_window": true, "layer_types": layers}));
        } else {
            set(json!({"sliding_window": null, "use_sliding_window": false}));
        }
        if self.norm_behind {
            set(json!({
                "hidden_activation": "gelu_pytorch_tanh",
                "query_pre_attn_scalar": whole(self.attention_scale.powi(-2)),
                "attn_logit_softcapping": self.attention_softcap,
                "final_logit_softcapping": self.logit_softcap,
            }));
        }
        match json {
            Json::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// Without a fraction where there is none but for rounding: transformers takes no 256.0 for a whole number.
fn whole(value: f64) -> Json {
    if (value - value.round()).abs() < 1e-6 { json!(value.round() as u64) } else { json!(value) }
}

fn scaling_to_json(scaling: &RopeScaling) -> Option<Json> {
    Some(match scaling {
        RopeScaling::Plain => return None,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Dynamic { factor, original } => json!({
            "rope_type": "dynamic", "factor": factor, "original_max_position_embeddings": *original as u64,
        }),
        RopeScaling::Yarn { factor, fast, slow, original, magnitude, truncate } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": fast,
            "beta_slow": slow,
            "original_max_position_embeddings": *original as u64,
            "attention_factor": magnitude,
            "truncate": truncate,
        }),
        RopeScaling::Long { short, long, original, magnitude } => json!({
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "original_max_position_embeddings": *original as u64,
            "attention_factor": magnitude,
        }),
        RopeScaling::Llama3 { factor, low, high, original } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": *original as u64,
        }),
    })
}

/// Typed access to `config.json`.
struct Fields<'a> {
    json: &'a Map<String, Json>,
    path: &'a Path,
}

impl Fields<'_> {
    fn rotary(&self, family: Family) -> Result<DecoderConfig, LmError> {
        if number_or(self.json, "partial_rotary_factor", 1.0) != Some(1.0) {
            return self.refuse("`partial_rotary_factor`", "use a model that rotates whole heads");
        }
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        let (hidden_size, heads) = (self.whole("hidden_size")?, self.whole("num_attention_heads")?);
        let by_family = if gemma { 256 } else { hidden_size / heads.max(1) };
        let head_dim = self.whole_or("head_dim", by_family)?;
        let layers = self.whole("num_hidden_layers")?;
        let (global, local) = self.ropes(family)?;
        let plain = DecoderConfig::plain(family, hidden_size, layers, heads, head_dim);
        let attention_bias = match family {
            Family::Llama | Family::Qwen3 | Family::Gemma2 | Family::Gemma3 => self.flag("attention_bias"),
            Family::Mistral | Family::Qwen2 | Family::Gpt2 => false,
        };
        let config = DecoderConfig {
            vocab_size: self.whole("vocab_size")?,
            intermediate_size: self.whole("intermediate_size")?,
            kv_heads: self.whole_or("num_key_value_heads", heads)?,
            context: self.whole_or("max_position_embeddings", 2048)?,
            norm_epsilon: self.number_or("rms_norm_eps", 1e-6)?,
            norm_heads: family == Family::Qwen3,
            positions: Positions::Rotary { global, local },
            windows: self.windows(family, layers)?,
            biases: Biases {
                qkv: attention_bias || family == Family::Qwen2,
                output: attention_bias,
                feed_forward: family == Family::Llama && self.flag("mlp_bias"),
            },
            tied: self.json.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(gemma),
            ..plain
        };
        if !gemma {
            self.activation("hidden_act", "silu", &["silu", "swish"])?;
            return Ok(config);
        }
        let key = if self.json.contains_key("hidden_activation") { "hidden_activation" } else { "hidden_act" };
        self.activation(key, "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
        let windows = config.windows.clone();
        let softcaps = [self.positive("attn_logit_softcapping")?, self.positive("final_logit_softcapping")?];
        let scale_by = self.number_or("query_pre_attn_scalar", 256.0)?;
        Ok(DecoderConfig { windows, ..config.gemma(scale_by, softcaps, None, 1) })
    }

    fn gpt2(&self) -> Result<DecoderConfig, LmError> {
        let (hidden_size, heads) = (self.whole("n_embd")?, self.whole("n_head")?);
        if self.flag("scale_attn_by_inverse_layer_idx") || self.json.get("scale_attn_weights") == Some(&json!(false)) {
            return self
                .refuse("attention that is scaled by layer, or not at all,", "use a GPT-2 with the usual scale");
        }
        self.activation("activation_function", "gelu_new", &["gelu_new", "gelu_pytorch_tanh"])?;
        let layers = self.whole("n_layer")?;
        let plain = DecoderConfig::plain(Family::Gpt2, hidden_size, layers, heads, hidden_size / heads.max(1));
        let config = DecoderConfig {
            vocab_size: self.whole("vocab_size")?,
            intermediate_size: self.whole_or("n_inner", 4 * hidden_size)?,
            context: self.whole_or("n_positions", 1024)?,
            norm_epsilon: self.number_or("layer_norm_epsilon", 1e-5)?,
            tied: self.json.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(true),
            ..plain
        };
        Ok(config.gpt2())
    }

    /// By the name of the class: `..ForCausalLM`, `..ForSequenceClassification`, `..ForTokenClassification`.
    fn head(&self, family: Family) -> Result<Head, LmError> {
        let Some(name) = self.json.get("architectures").and_then(|names| names.get(0)).and_then(Json::as_str) else {
            return Ok(Head::NextToken);
        };
        let labels = || match (self.json.get("id2label").and_then(Json::as_object), self.json.get("num_labels")) {
            (Some(labels), _) => Ok(labels.len()),
            (None, Some(_)) => self.whole("num_labels"),
            (None, None) => Ok(2), // what transformers takes
        };
        match name.strip_prefix(family.class()) {
            Some("ForCausalLM" | "LMHeadModel") => Ok(Head::NextToken),
            Some("ForSequenceClassification") => Ok(Head::Sequence { labels: labels()? }),
            Some("ForTokenClassification") => Ok(Head::Token { labels: labels()? }),
            _ => self.refuse(
                format!("architecture `{name}`"),
                format!(
                    "use a {0}ForCausalLM, {0}ForSequenceClassification or {0}ForTokenClassification",
                    family.class()
                ),
            ),
        }
    }

    /// Rotary positions of layers that see everything, and of those with a window.
    ///
    /// transformers 4: `rope_theta`, `rope_scaling`, `rope_local_base_freq`; transformers 5: all in `rope_parameters`, which
    /// Gemma 3 has once for each kind of layer.
    fn ropes(&self, family: Family) -> Result<(Rope, Rope), LmError> {
        let object = |key: &str| self.json.get(key).and_then(Json::as_object);
        let theta_of = |map: &Map<String, Json>, key: &str, default| {
            let theta = number_or(map, key, default).filter(|theta| *theta > 0.0);
            theta.ok_or_else(|| LmError::config(self.path)(format!("`{key}` must be a number above 0")))
        };
        let usual = if family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 };
        let new = object("rope_parameters");
        let by_layer = |kind: &str| new.and_then(|map| map.get(kind)).and_then(Json::as_object);
        if let (Some(full), Some(sliding)) = (by_layer("full_attention"), by_layer("sliding_attention")) {
            let rope = |map: &Map<String, Json>| {
                Ok::<_, LmError>(Rope { theta: theta_of(map, "rope_theta", usual)?, scaling: self.scaling(map)? })
            };
            return Ok((rope(full)?, rope(sliding)?));
        }
        let theta = theta_of(new.unwrap_or(self.json), "rope_theta", usual)?;
        let scaling = match new.or_else(|| object("rope_scaling")) {
            Some(map) => self.scaling(map)?,
            None => RopeScaling::Plain,
        };
        let global = Rope { theta, scaling };
        let local = match family {
            Family::Gemma3 => Rope::plain(theta_of(self.json, "rope_local_base_freq", 10_000.0)?),
            _ => global.clone(),
        };
        Ok((global, local))
    }

    fn scaling(&self, map: &Map<String, Json>) -> Result<RopeScaling, LmError> {
        let kind = map.get("rope_type").or_else(|| map.get("type")).and_then(Json::as_str).unwrap_or("default");
        let wrong = |what: String| LmError::config(self.path)(format!("rope scaling `{kind}` needs {what}"));
        let need = |key: &str| {
            let got = map.get(key).and_then(Json::as_f64).filter(|value| *value > 0.0);
            got.ok_or_else(|| wrong(format!("the number `{key}`, above 0")))
        };
        let or = |key: &str, default: f64| match map.get(key) {
            None | Some(Json::Null) => Ok(default),
            Some(_) => need(key),
        };
        let context = self.whole_or("max_position_embeddings", 2048)? as f64;
        // Some files have it outside.
        let outside = number_or(self.json, "original_max_position_embeddings", context).unwrap_or(context);
        let original = or("original_max_position_embeddings", outside)?;
        Ok(match kind {
            "default" => RopeScaling::Plain,
            "linear" => RopeScaling::Linear { factor: need("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: need("factor")?, original: context },
            "yarn" => {
                let factor = need("factor")?;
                let growth = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
                let usual = match (number_or(map, "mscale", 0.0), number_or(map, "mscale_all_dim", 0.0)) {
                    (Some(one), Some(all)) if one > 0.0 && all > 0.0 => growth(one) / growth(all),
                    _ => growth(1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    fast: or("beta_fast", 32.0)?,
                    slow: or("beta_slow", 1.0)?,
                    original,
                    magnitude: or("attention_factor", usual)?,
                    truncate: map.get("truncate").and_then(Json::as_bool).unwrap_or(true),
                }
            }
            "longrope" => {
                let half = self
                    .whole_or("head_dim", self.whole("hidden_size")? / self.whole("num_attention_heads")?.max(1))?
                    / 2;
                let list = |key: &str| {
                    let list = map.get(key).and_then(Json::as_array);
                    let list: Option<Vec<f64>> = list.and_then(|list| list.iter().map(Json::as_f64).collect());
                    let sound = |list: &Vec<f64>| list.len() == half && list.iter().all(|divisor| *divisor > 0.0);
                    list.filter(sound).ok_or_else(|| wrong(format!("the list `{key}` of {half} numbers above 0")))
                };
                let factor = or("factor", context / original)?;
                let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
                let magnitude = or("attention_factor", usual)?;
                RopeScaling::Long { short: list("short_factor")?, long: list("long_factor")?, original, magnitude }
            }
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: need("original_max_position_embeddings")?,
            },
            other => {
                let known = "use a model with default, linear, dynamic, yarn, longrope or llama3 rotary positions";
                return self.refuse(format!("rope scaling `{other}`"), known);
            }
        })
    }

    /// How far each layer looks: `layer_types`, or the rule of the family.
    fn windows(&self, family: Family, layers: usize) -> Result<Vec<Option<usize>>, LmError> {
        let window = match self.json.get("sliding_window") {
            None | Some(Json::Null) => None,
            Some(_) => Some(self.whole("sliding_window")?),
        };
        let used = match family {
            Family::Qwen2 | Family::Qwen3 => self.flag("use_sliding_window"),
            Family::Llama | Family::Gpt2 => false,
            Family::Mistral | Family::Gemma2 | Family::Gemma3 => true,
        };
        let Some(window) = window.filter(|_| used) else { return Ok(vec![None; layers]) };
        if let Some(types) = self.json.get("layer_types").and_then(Json::as_array) {
            let sees = |kind: &Json| match kind.as_str() {
                Some("sliding_attention") => Ok(Some(window)),
                Some("full_attention") => Ok(None),
                _ => Err(LmError::config(self.path)(format!(
                    "`layer_types` must be sliding or full attention, got {kind}"
                ))),
            };
            let windows: Vec<_> = types.iter().map(sees).collect::<Result<_, _>>()?;
            if windows.len() != layers {
                let why = format!("`layer_types` must have {layers} entries, got {}", windows.len());
                return Err(LmError::config(self.path)(why));
            }
            return Ok(windows);
        }
        let pattern = self.whole_or("sliding_window_pattern", self.whole_or("_sliding_window_pattern", 6)?)?.max(1);
        let first = self.whole_or("max_window_layers", 28)?;
        let sliding = |layer: usize| match family {
            Family::Gemma2 => layer.is_multiple_of(2),
            Family::Gemma3 => !(layer + 1).is_multiple_of(pattern),
            Family::Qwen2 | Family::Qwen3 => layer >= first,
            Family::Mistral | Family::Llama | Family::Gpt2 => true,
        };
        Ok((0..layers).map(|layer| sliding(layer).then_some(window)).collect())
    }

    fn activation(&self, key: &str, usual: &str, known: &[&str]) -> Result<(), LmError> {
        let got = self.text(key).unwrap_or(usual);
        if known.contains(&got) {
            return Ok(());
        }
        self.refuse(format!("{key} `{got}`"), format!("use a model with `{usual}`"))
    }

    fn refuse<T>(&self, what: impl std::fmt::Display, remedy: impl Into<String>) -> Result<T, LmError> {
        Err(LmError::unsupported(format!("{what} in {}", self.path.display()), remedy))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.json.get(key).and_then(Json::as_str)
    }

    fn flag(&self, key: &str) -> bool {
        self.json.get(key).and_then(Json::as_bool).unwrap_or(false)
    }

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
        let got = number_or(self.json, key, default);
        got.ok_or_else(|| LmError::config(self.path)(format!("`{key}` must be a number")))
    }

    /// A number above 0, where there is one.
    fn positive(&self, key: &str) -> Result<Option<f64>, LmError> {
        match self.json.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => match value.as_f64().filter(|value| *value > 0.0) {
                Some(value) => Ok(Some(value)),
                None => Err(LmError::config(self.path)(format!("`{key}` must be a number above 0, got {value}"))),
            },
        }
    }
}

fn number_or(map: &Map<String, Json>, key: &str, default: f64) -> Option<f64> {
    match map.get(key) {
        None | Some(Json::Null) => Some(default),
        Some(value) => value.as_f64(),
    }
}
