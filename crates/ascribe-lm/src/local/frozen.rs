//! A language model that writes and scores, and is not trained.

use std::path::Path;

use burn::tensor::Device;

use super::adapter;
use super::config::DecoderConfig;
use super::engine::{Engine, Precision};
use super::model::{Files, LanguageModel, text_hash};
use super::policy::LocalPolicy;
use crate::{ChatTemplate, LmError, Tokenizer};

/// A language model that writes and scores, and is not trained. On the CPU its matrices are held as they are stored where
/// they can be computed with (Q4_0, Q4_1, Q8_0, F16), so such a file takes its own size of memory; other kinds become f32.
pub struct FrozenModel {
    /// What writes and scores.
    pub policy: LocalPolicy,
    /// What the weights look like.
    pub config: DecoderConfig,
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text; a base model has none.
    pub template: Option<ChatTemplate>,
}

impl FrozenModel {
    /// Loads a Hugging Face folder, a `.gguf` file, or a folder of peft's with its base. `precision` is that of the
    /// CPU; other devices hold f32.
    ///
    /// # Errors
    /// When something is missing, truncated, of an unknown kind, or does not fit together.
    pub fn load(path: &Path, device: &Device, precision: Precision) -> Result<Self, LmError> {
        if adapter::is_adapter(path) || !on_cpu(device) {
            return Self::of(&LanguageModel::load(path, device)?, precision);
        }
        let Files { config, tokenizer, template, mut weights } = Files::open(path)?;
        if !Engine::can_run(&config) {
            return Self::of(&LanguageModel::load(path, device)?, precision);
        }
        let engine = weights.read(|source| Engine::load(&config, source, precision))?;
        Ok(Self { policy: LocalPolicy::of(engine, tokenizer.eos()), config, tokenizer, template })
    }

    /// The model as it is now, an adapter merged into it.
    ///
    /// # Errors
    /// As [`LocalPolicy::new`].
    pub fn of(model: &LanguageModel, precision: Precision) -> Result<Self, LmError> {
        let LanguageModel { decoder, config, tokenizer, template, .. } = model;
        let policy = match precision {
            Precision::F16 if decoder.is_on_cpu() && Engine::can_run(config) => {
                LocalPolicy::of(Engine::of(decoder, precision)?, tokenizer.eos())
            }
            _ => model.policy()?,
        };
        Ok(Self { policy, config: config.clone(), tokenizer: tokenizer.clone(), template: template.clone() })
    }

    /// A hash of the tokenizer and the chat template.
    pub fn text_hash(&self) -> String {
        text_hash(&self.tokenizer, self.template.as_ref())
    }
}

/// Whether tensors of `device` are on the CPU, where the kernels for host slices can take them over.
pub(super) fn on_cpu(device: &Device) -> bool {
    #[cfg(feature = "fused")]
    let on_cpu = *device == Device::flex();
    #[cfg(not(feature = "fused"))]
    let on_cpu = {
        let _ = device;
        false
    };
    on_cpu
}
