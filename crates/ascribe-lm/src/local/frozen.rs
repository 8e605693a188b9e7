//! A language model that writes and scores, and is not trained.

use std::path::Path;

use burn::tensor::Device;

use super::adapter;
use super::config::DecoderConfig;
use super::engine::{Engine, Precision};
use super::model::{Files, LanguageModel, text_hash};
use super::policy::LocalPolicy;
use crate::{ChatTemplate, LmError, Tokenizer};

/// A language model that writes and scores, and is not trained. On the CPU its weights are held as they are stored, so a
/// quantised file takes the memory of the file and not four times as much.
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
            return Ok(LanguageModel::load(path, device)?.into());
        }
        let Files { config, tokenizer, template, mut weights } = Files::open(path)?;
        let engine = weights.read(|source| Engine::load(&config, source, precision))?;
        Ok(Self { policy: LocalPolicy::of(engine, tokenizer.eos()), config, tokenizer, template })
    }

    /// A hash of the tokenizer and the chat template.
    pub fn text_hash(&self) -> String {
        text_hash(&self.tokenizer, self.template.as_ref())
    }
}

impl From<LanguageModel> for FrozenModel {
    fn from(model: LanguageModel) -> Self {
        let policy = model.policy();
        let LanguageModel { config, tokenizer, template, .. } = model;
        Self { policy, config, tokenizer, template }
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
