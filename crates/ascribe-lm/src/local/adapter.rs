//! Adapters in the layout of peft: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Factors are named `base_model.model.<projection>.lora_A.weight`, `[r, in]`, and `.lora_B.weight`, `[out, r]`; beside
//! them stands the head of a classifier, `base_model.model.score.weight`. What an adapter asks for beyond LoRA is refused
//! by name, because without it the numbers would be wrong.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::config::{DecoderConfig, Family, Head};
use super::decoder::Decoder;
use super::gpt2::{Gpt2Factors, module};
use super::lora::LoraConfig;
use super::weights::{Safetensors, WeightSource, save_safetensors};
use crate::{Hub, LmError, io};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// What must be absent, empty, false or "none".
const UNKNOWN: [&str; 12] = [
    "alpha_pattern",
    "bias",
    "exclude_modules",
    "fan_in_fan_out",
    "layer_replication",
    "layers_to_transform",
    "lora_bias",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_dora",
    "use_qalora",
];
/// Heads of classifiers, which peft trains and saves whole beside an adapter; those of the decoders here are called `score`.
const HEADS: [&str; 2] = ["classifier", "score"];
/// Ways to begin that leave the weights of the base as they were.
const STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// How many scores an adapter brings along beside the head of the next token: a key of ours, which peft does not write.
const SCORES: &str = "sequence_scores";

/// Whether the folder holds an adapter.
pub(super) fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Refuses models whose adapters peft could not read: queries, keys and values of GPT-2 have factors of their own here.
pub(super) fn check_layout(config: &DecoderConfig) -> Result<(), LmError> {
    match config.family {
        Family::Gpt2 => Err(LmError::unsupported(
            "an adapter of GPT-2, whose queries, keys and values are one module `c_attn` in peft,",
            "train all of its weights, or take a model of another family",
        )),
        _ => Ok(()),
    }
}

/// Where the base of the adapter in `folder` lies: beside the adapter, at a path as it stands, or in the hub's cache.
pub(super) fn base(folder: &Path) -> Result<PathBuf, LmError> {
    if folder.join("model.safetensors").exists() || folder.join("model.safetensors.index.json").exists() {
        let what = format!("a folder with both an adapter and the weights of a model (`{}`)", folder.display());
        return Err(LmError::unsupported(what, format!("move `{CONFIG}` and `{WEIGHTS}` to a folder of their own")));
    }
    let (path, config) = config(folder)?;
    let name = config.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(LmError::config(&path)(
            "`base_model_name_or_path` must name the base; load the base, then the adapter",
        ));
    }
    let beside = folder.join(name);
    let base = if beside.exists() { beside } else { Hub::from_env()?.resolve(name)? };
    match is_adapter(&base) {
        true => Err(LmError::config(&path)(format!("the base `{name}` is an adapter itself; merge that one first"))),
        false => Ok(base),
    }
}

fn config(folder: &Path) -> Result<(PathBuf, Map<String, Value>), LmError> {
    let path = folder.join(CONFIG);
    let config = serde_json::from_str(&io::read_to_string(&path)?).map_err(LmError::config(&path))?;
    Ok((path, config))
}

/// The decoder with the adapter in `folder` beside its weights.
pub(super) fn attach(decoder: &Decoder, folder: &Path) -> Result<Decoder, LmError> {
    let (path, config) = config(folder)?;
    let family = decoder.config().family;
    let lora = options(&path, &config, family)?;
    let mut weights = Factors(Safetensors::of(folder, &[WEIGHTS.to_owned()])?);
    let headed = match head(&path, &config, &weights.0)? {
        Some((Head::NextToken, scores)) => Some(decoder.with_scores_of(scores, &mut weights)?),
        Some((head, _)) => Some(decoder.with_head_of(head, &mut weights)?),
        None => None,
    };
    let headed = headed.as_ref().unwrap_or(decoder);
    let adapted = match family {
        Family::Gpt2 => headed.attach_by(&lora, &mut Gpt2Factors(&mut weights), module)?,
        _ => headed.attach(&lora, &mut weights)?,
    };
    weights.0.all_taken()?;
    Ok(adapted)
}

/// The head of a classifier, or of scores beside the next token, with the number of its scores, where the adapter brings it along.
fn head(path: &Path, config: &Map<String, Value>, weights: &Safetensors) -> Result<Option<(Head, usize)>, LmError> {
    let get = |name: &str| config.get(name).unwrap_or(&Value::Null);
    let beyond = |name: &str| {
        let what = format!("an adapter with `{name}`: {} (`{}`)", get(name), path.display());
        LmError::unsupported(what, "use an adapter that saves no module but the head of a classifier")
    };
    let modules = match get("modules_to_save") {
        Value::Null => Vec::new(),
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap_or_default()).collect(),
        _ => return Err(beyond("modules_to_save")),
    };
    if modules.iter().any(|name| !HEADS.contains(name)) {
        return Err(beyond("modules_to_save"));
    }
    let name = format!("{PREFIX}score.weight");
    let Some(shape) = weights.shape(&name).filter(|_| modules.contains(&"score")) else { return Ok(None) };
    let labels = shape.first().copied().unwrap_or(0);
    match get("task_type").as_str() {
        Some("SEQ_CLS") => Ok(Some((Head::Sequence { labels }, labels))),
        Some("TOKEN_CLS") => Ok(Some((Head::Token { labels }, labels))),
        Some("CAUSAL_LM") if get(SCORES) == labels => Ok(Some((Head::NextToken, labels))),
        _ => Err(beyond("task_type")),
    }
}

/// The options of LoRA in `config`, which lies at `path`.
fn options(path: &Path, config: &Map<String, Value>, family: Family) -> Result<LoraConfig, LmError> {
    let get = |name: &str| config.get(name).unwrap_or(&Value::Null);
    let wrong = |name: &str, rule: &str| LmError::config(path)(format!("`{name}` must be {rule}, got {}", get(name)));
    let beyond = |name: &str| {
        let what = format!("an adapter with `{name}`: {} (`{}`)", get(name), path.display());
        LmError::unsupported(what, "use a plain LoRA adapter, or merge it with peft")
    };
    if get("peft_type") != "LORA" {
        return Err(beyond("peft_type"));
    }
    let absent = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
        Value::String(text) => text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    };
    // GPT-2's weights lie the other way, which peft notes, and its factors do not.
    let noted = |name: &str| name == "fan_in_fan_out" && family == Family::Gpt2;
    if let Some(name) = UNKNOWN.into_iter().find(|name| !absent(get(name)) && !noted(name)) {
        return Err(beyond(name));
    }
    if get("init_lora_weights").as_str().is_some_and(|start| !STARTS.contains(&start)) {
        return Err(beyond("init_lora_weights"));
    }
    let r = get("r").as_u64().ok_or_else(|| wrong("r", "a whole number"))?;
    let alpha = get("lora_alpha").as_f64().ok_or_else(|| wrong("lora_alpha", "a number"))?;
    let rule = "`all-linear` or a list of names";
    let target_modules: Vec<String> = match get("target_modules") {
        Value::String(all) if all == LoraConfig::ALL_LINEAR => vec![all.clone()],
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            names.ok_or_else(|| wrong("target_modules", rule))?
        }
        _ => return Err(wrong("target_modules", rule)),
    };
    let use_rslora = get("use_rslora").as_bool().unwrap_or(false);
    Ok(LoraConfig { r: r as usize, alpha, target_modules, use_rslora })
}

/// The factors under our names.
struct Factors(Safetensors);

impl WeightSource for Factors {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let name = format!("{PREFIX}{name}");
        // In the state of a running model, the name of the adapter stands in it.
        let with_default = name.replace(".weight", ".default.weight");
        let name = if self.0.has(&with_default) { with_default } else { name };
        self.0.tensor(&name, shape)
    }
}

/// Writes the adapter of `decoder`, whose base is called `base`.
pub(super) fn write(folder: &Path, decoder: &Decoder, lora: &LoraConfig, base: &str) -> Result<(), LmError> {
    check_layout(decoder.config())?;
    let path = folder.join(CONFIG);
    if base.is_empty() {
        return Err(LmError::config(&path)(
            "the base of the adapter must be a model that was loaded; save the base first",
        ));
    }
    let task = match decoder.config().head {
        Head::NextToken => "CAUSAL_LM",
        Head::Sequence { .. } => "SEQ_CLS",
        Head::Token { .. } => "TOKEN_CLS",
    };
    let head = decoder.head_named();
    let saved = if head.is_empty() { Value::Null } else { json!(["score"]) };
    // peft's own files have a whole number here.
    let alpha = if lora.alpha.fract() == 0.0 { json!(lora.alpha as i64) } else { json!(lora.alpha) };
    let mut config = json!({
        "peft_type": "LORA", "task_type": task, "base_model_name_or_path": base, "inference_mode": true,
        "r": lora.r, "lora_alpha": alpha, "lora_dropout": 0.0, "use_rslora": lora.use_rslora,
        "target_modules": lora.target_modules, "bias": "none", "fan_in_fan_out": false, "init_lora_weights": true,
        "use_dora": false, "modules_to_save": saved, "rank_pattern": {}, "alpha_pattern": {},
    });
    if decoder.config().scores > 0 {
        config[SCORES] = json!(decoder.config().scores);
    }
    let text = serde_json::to_string_pretty(&config).map_err(LmError::config(&path))?;
    std::fs::write(&path, text).map_err(LmError::io(&path))?;
    let named: Vec<_> = decoder
        .lora_named()
        .into_iter()
        .chain(head)
        .map(|(name, shape, values)| (format!("{PREFIX}{name}"), shape, values))
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    save_safetensors(&folder.join(WEIGHTS), &named, metadata)
}
