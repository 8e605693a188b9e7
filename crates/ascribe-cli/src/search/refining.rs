//! What writes refinements: `--refiner` of the strategy `refine`.

use anyhow::{Context, bail};
use ascribe::core::{Policy, Tokens};
use ascribe::lm::{SpecialTokens, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::search::RefineOptions;

use super::{Item, Model, relative};
use crate::args::SearchArgs;
use crate::refiner::Draft;

/// A model that writes refinements of drafts.
pub struct Refining<'a> {
    encoder: Encoder<'a>,
    tokenizer: &'a Tokenizer,
    pub policy: Box<dyn Policy>,
    pub options: RefineOptions,
}

impl<'a> Refining<'a> {
    /// The model of --refiner, if there is one; it has the tokens of the model that writes.
    pub(super) fn open(args: &SearchArgs, model: &'a Model) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.refiner else { return Ok(None) };
        let options: RefineOptions =
            serde_json::from_value(args.strategy_args.clone()).context("the options of refine")?;
        if options.rounds == 0 {
            bail!(
                "--refiner is asked in rounds, of which there are none; set `rounds` in --strategy-args to at least 1"
            );
        }
        let policy = relative(path, "--refiner", args, &model.tokenizer)?;
        let context = policy.capabilities().context;
        let encoder = Encoder::from_parts(&model.tokenizer, model.template.as_ref(), context)?;
        Ok(Some(Self { encoder, tokenizer: &model.tokenizer, policy, options }))
    }

    /// The question with the draft; of a local refinement with what is kept of the draft behind them, so that the refiner goes on
    /// from there.
    pub fn prompt(&self, item: &Item, draft: &[u32], kept: Option<usize>) -> Tokens {
        let plain = |ids: &[u32]| self.tokenizer.decode(ids, SpecialTokens::Skip).unwrap_or_default();
        let (right, rest) = draft.split_at(kept.unwrap_or(0).min(draft.len()));
        let draft = match kept {
            None => Draft::whole(plain(rest)),
            Some(_) => Draft::marked(&plain(right), &plain(rest)),
        };
        match self.encoder.prompt(&draft.asked(&item.asked)) {
            Ok(asked) => asked.followed_by(right),
            // Nothing is written after what cannot be encoded: the policy refuses it.
            Err(_) => Tokens::default(),
        }
    }
}
