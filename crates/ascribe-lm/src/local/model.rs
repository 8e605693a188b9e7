//! A decoder with its tokenizer and chat template: what a folder or a GGUF file holds.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Device;
use serde_json::json;

use super::adapter;
use super::config::{DecoderConfig, Head};
use super::decoder::Decoder;
use super::gguf_weights::GgufWeights;
use super::lora::LoraConfig;
use super::policy::LocalPolicy;
use super::weights::{RandomWeights, Safetensors, WeightSource, save_safetensors};
use crate::gguf::Gguf;
use crate::{ChatTemplate, LmError, Tokenizer};

/// A language model, whole.
pub struct LanguageModel {
    /// The weights.
    pub decoder: Decoder,
    /// What they look like.
    pub config: DecoderConfig,
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text; a base model has none.
    pub template: Option<ChatTemplate>,
    /// What an adapter calls the model that it belongs to: the absolute path that the weights were loaded from, unless
    /// a caller puts the name on the hub here. Empty for a fresh model.
    pub name: String,
}

impl LanguageModel {
    /// Loads a Hugging Face folder, or a `.gguf` file; a folder of peft's with its base, which is looked up beside the
    /// folder, at an absolute path, or in the hub's cache.
    ///
    /// # Errors
    /// When something is missing, truncated, of an unknown kind, or does not fit together.
    pub fn load(path: &Path, device: &Device) -> Result<Self, LmError> {
        if adapter::is_adapter(path) {
            return Self::load(&adapter::base(path)?, device)?.with_adapter(path);
        }
        let name = std::path::absolute(path).map_err(LmError::io(path))?.to_string_lossy().into_owned();
        let Files { config, tokenizer, template, mut weights } = Files::open(path)?;
        let decoder = weights.read(|source| Decoder::load(&config, source, device))?;
        Ok(Self { decoder, config, tokenizer, template, name })
    }

    /// A model with fresh weights.
    ///
    /// # Errors
    /// When the tokenizer writes ids that the model does not have.
    pub fn fresh(
        config: DecoderConfig,
        tokenizer: Tokenizer,
        seed: ascribe_core::Seed,
        device: &Device,
    ) -> Result<Self, LmError> {
        let decoder = Decoder::load(&config, &mut RandomWeights { seed, layers: config.layers }, device)?;
        check_vocabulary(&tokenizer, &config)?;
        Ok(Self { decoder, config, tokenizer, template: None, name: String::new() })
    }

    /// The model with a fresh adapter; see [`Decoder::with_lora`].
    ///
    /// # Errors
    /// For GPT-2 too, whose adapters cannot be written.
    pub fn with_lora(&self, config: &LoraConfig, seed: ascribe_core::Seed) -> Result<Self, LmError> {
        adapter::check_layout(&self.config)?;
        Ok(self.with_decoder(self.decoder.with_lora(config, seed)?))
    }

    /// The model with the adapter in `folder`, in the layout of peft, beside its weights, which are frozen and shared.
    ///
    /// # Errors
    /// When the adapter is more than LoRA, does not fit the model, or cannot be read.
    pub fn with_adapter(&self, folder: &Path) -> Result<Self, LmError> {
        Ok(self.with_decoder(adapter::attach(&self.decoder, folder)?))
    }

    /// Writes a Hugging Face folder (config, f32 safetensors, tokenizer, chat template) that transformers loads; of a
    /// model with an adapter the adapter alone, in the layout of peft. A classifier of sequences gets a padding token that
    /// ends no text ([`Tokenizer::padded_for_scores`]).
    ///
    /// All files are written into a folder inside it and moved out when the last one is whole, so that a full disk
    /// leaves what was there, and no half of a model.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), LmError> {
        let part = folder.join("part-model");
        let moved = || {
            // What a killed run left behind must not get into this one.
            if part.exists() {
                std::fs::remove_dir_all(&part).map_err(LmError::io(&part))?;
            }
            std::fs::create_dir_all(&part).map_err(LmError::io(&part))?;
            self.write(&part)?;
            for entry in std::fs::read_dir(&part).map_err(LmError::io(&part))? {
                let entry = entry.map_err(LmError::io(&part))?;
                let path = folder.join(entry.file_name());
                std::fs::rename(entry.path(), &path).map_err(LmError::io(&path))?;
            }
            Ok(())
        };
        let saved = moved();
        // On success it is empty; after an error, the first one is the one that matters.
        let _ = std::fs::remove_dir_all(&part);
        saved
    }

    fn write(&self, folder: &Path) -> Result<(), LmError> {
        if let Some(lora) = self.decoder.lora() {
            return adapter::write(folder, &self.decoder, lora, &self.name);
        }
        let mut config = self.config.to_json();
        config.insert("bos_token_id".into(), json!(self.tokenizer.bos()));
        config.insert("eos_token_id".into(), json!(self.tokenizer.eos().first()));
        let tokenizer = match self.config.head {
            Head::Sequence { .. } => self.tokenizer.clone().padded_for_scores(),
            Head::NextToken | Head::Token { .. } => self.tokenizer.clone(),
        };
        config.insert("pad_token_id".into(), json!(tokenizer.pad()));
        let path = folder.join("config.json");
        let text = serde_json::to_string_pretty(&config).map_err(LmError::config(&path))?;
        std::fs::write(&path, text).map_err(LmError::io(&path))?;
        // Generation stops at any of the end tokens; the tokenizer's own file has room for one.
        let path = folder.join("generation_config.json");
        let ends = json!({"bos_token_id": self.tokenizer.bos(), "eos_token_id": self.tokenizer.eos(), "pad_token_id": tokenizer.pad()});
        std::fs::write(&path, ends.to_string()).map_err(LmError::io(&path))?;
        tokenizer.save(folder)?;
        if let Some(template) = &self.template {
            template.save(folder)?;
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        save_safetensors(&folder.join("model.safetensors"), &self.decoder.named(), metadata)
    }

    /// A policy over these weights.
    ///
    /// # Errors
    /// As [`LocalPolicy::new`].
    pub fn policy(&self) -> Result<LocalPolicy, LmError> {
        LocalPolicy::new(&self.decoder, self.tokenizer.eos(), self.config.context)
    }

    /// The same tokenizer and template around other weights.
    pub fn with_decoder(&self, decoder: Decoder) -> Self {
        let (config, tokenizer, template) = (decoder.config().clone(), self.tokenizer.clone(), self.template.clone());
        Self { decoder, config, tokenizer, template, name: self.name.clone() }
    }

    /// A hash of the tokenizer and the chat template.
    pub fn text_hash(&self) -> String {
        text_hash(&self.tokenizer, self.template.as_ref())
    }
}

/// What a Hugging Face folder or a GGUF file holds, with the weights not yet read.
pub(super) struct Files {
    pub(super) config: DecoderConfig,
    pub(super) tokenizer: Tokenizer,
    pub(super) template: Option<ChatTemplate>,
    pub(super) weights: Weights,
}

/// Weights in a folder or a file.
pub(super) enum Weights {
    Folder(Safetensors),
    Gguf(Gguf),
}

impl Files {
    pub(super) fn open(path: &Path) -> Result<Self, LmError> {
        let files = if path.is_dir() {
            let config = DecoderConfig::from_json(&path.join("config.json"))?;
            let tokenizer = Tokenizer::from_folder(path)?;
            Self {
                config,
                template: ChatTemplate::from_folder(path, &tokenizer)?,
                tokenizer,
                weights: Weights::Folder(Safetensors::open(path)?),
            }
        } else {
            let gguf = Gguf::open(path)?;
            let config = DecoderConfig::from_gguf(&gguf)?;
            let tokenizer = Tokenizer::from_gguf(&gguf)?;
            Self {
                config,
                template: ChatTemplate::from_gguf(&gguf, &tokenizer)?,
                tokenizer,
                weights: Weights::Gguf(gguf),
            }
        };
        check_vocabulary(&files.tokenizer, &files.config)?;
        Ok(files)
    }
}

impl Weights {
    /// Reads all of them by `load`; a tensor that nobody asked for is an error.
    pub(super) fn read<T>(
        &mut self,
        load: impl FnOnce(&mut dyn WeightSource) -> Result<T, LmError>,
    ) -> Result<T, LmError> {
        match self {
            Self::Folder(weights) => {
                let loaded = load(weights)?;
                weights.all_taken()?;
                Ok(loaded)
            }
            Self::Gguf(gguf) => {
                let mut weights = GgufWeights::new(gguf)?;
                let loaded = load(&mut weights)?;
                weights.all_taken()?;
                Ok(loaded)
            }
        }
    }
}

fn check_vocabulary(tokenizer: &Tokenizer, config: &DecoderConfig) -> Result<(), LmError> {
    let (ids, embeddings) = (tokenizer.vocabulary_size(), config.vocab_size);
    match ids > embeddings {
        true => Err(LmError::Vocabulary { highest: ids - 1, embeddings }),
        false => Ok(()),
    }
}

/// A hash of the tokenizer and the chat template.
pub(super) fn text_hash(tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> String {
    let template = template.map(ChatTemplate::hash).unwrap_or_default();
    blake3::hash(format!("{}:{template}", tokenizer.hash()).as_bytes()).to_hex().to_string()
}
