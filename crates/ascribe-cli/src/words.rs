//! What turns text into ids, without weights.

use std::path::Path;

use anyhow::bail;
use ascribe::lm::{ChatTemplate, DecoderConfig, Gguf, Tokenizer};

use crate::hub::resolve;

/// The tokenizer and the chat template of a model.
pub struct Words {
    pub tokenizer: Tokenizer,
    pub template: Option<ChatTemplate>,
    context: Option<usize>,
}

impl Words {
    /// Reads them from a Hugging Face folder, with or without its weights, or from a GGUF file.
    pub fn load(model: &Path) -> anyhow::Result<Self> {
        let path = resolve(model)?;
        if path.join("adapter_config.json").exists() {
            bail!("`{}` is an adapter, which has no text of its own; name its base", path.display());
        }
        if !path.is_dir() {
            let file = Gguf::open(&path)?;
            let tokenizer = Tokenizer::from_gguf(&file)?;
            let template = ChatTemplate::from_gguf(&file, &tokenizer)?;
            let context = Some(DecoderConfig::from_gguf(&file)?.context);
            return Ok(Self { tokenizer, template, context });
        }
        let tokenizer = Tokenizer::from_folder(&path)?;
        let template = ChatTemplate::from_folder(&path, &tokenizer)?;
        let config = path.join("config.json");
        let context = match config.exists() {
            true => Some(DecoderConfig::from_json(&config)?.context),
            false => None,
        };
        Ok(Self { tokenizer, template, context })
    }

    /// `max_length`, or the context of the model if that is shorter.
    pub fn limit(&self, max_length: usize) -> usize {
        self.context.map_or(max_length, |context| context.min(max_length))
    }

    /// The context that a server is held to: what was `asked` for, or that of the model, if it is known.
    pub fn context_with(&self, asked: Option<usize>) -> Option<usize> {
        asked.or(self.context)
    }

    /// True if both give the same ids for every conversation.
    pub fn same_as(&self, other: &Self) -> bool {
        let template = |words: &Self| words.template.as_ref().map(ChatTemplate::hash);
        self.tokenizer.hash() == other.tokenizer.hash() && template(self) == template(other)
    }
}
