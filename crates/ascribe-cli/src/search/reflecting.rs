//! What is asked about a text before it is written again: `--reflection` of the strategy `paths`.

use anyhow::{Context, bail};
use ascribe::core::Tokens;
use ascribe::data::{Message, Prompt};
use ascribe::lm::{SpecialTokens, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::search::PathOptions;

use super::{Item, Model};
use crate::args::SearchArgs;

/// What is asked about a text before it is written again.
pub struct Reflecting<'a> {
    encoder: Encoder<'a>,
    tokenizer: &'a Tokenizer,
    question: &'a str,
    /// Its tokens, where prompts are no conversations.
    ids: Vec<u32>,
    pub options: PathOptions,
}

impl<'a> Reflecting<'a> {
    /// The question of --reflection, if there is one.
    pub(super) fn open(args: &'a SearchArgs, model: &'a Model) -> anyhow::Result<Option<Self>> {
        let Some(question) = &args.reflection else { return Ok(None) };
        let options: PathOptions =
            serde_json::from_value(args.strategy_args.clone()).context("the options of paths")?;
        if options.reflections == 0 {
            bail!("--reflection is asked in rounds, of which there are none; set `reflections` in --strategy-args");
        }
        let context = model.policy.capabilities().context;
        let encoder = Encoder::from_parts(&model.tokenizer, model.template.as_ref(), context)?;
        let ids = model.tokenizer.encode(question)?;
        Ok(Some(Self { encoder, tokenizer: &model.tokenizer, question, ids, options }))
    }

    /// The prompt, a text that answers it, and the question; with what was said to that, and the prompt once more.
    pub fn prompt(&self, item: &Item, text: &[u32], said: Option<&[u32]>) -> Tokens {
        let plain = |ids: &[u32]| self.tokenizer.decode(ids, SpecialTokens::Skip).unwrap_or_default();
        match &item.asked {
            Prompt::Messages(messages) => {
                let mut turns = messages.clone();
                turns.push(Message::new("assistant", plain(text)));
                turns.push(Message::new("user", self.question));
                if let Some(said) = said {
                    turns.push(Message::new("assistant", plain(said)));
                    turns.extend(messages.last().cloned());
                }
                // Nothing is written after what cannot be encoded: the policy refuses it.
                self.encoder.prompt(&Prompt::Messages(turns)).unwrap_or_default()
            }
            Prompt::Text(_) => {
                let asked = item.ids.followed_by(text).followed_by(&self.ids);
                match said {
                    None => asked,
                    Some(said) => asked.followed_by(said).followed_by(&item.ids),
                }
            }
        }
    }
}
