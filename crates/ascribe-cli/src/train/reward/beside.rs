//! What is learned beside a loss on pairs: the language of chosen responses, and a contrast of responses under dropout.

use anyhow::{Context, bail};
use ascribe::core::Seed;
use ascribe::lm::{Head, LanguageModel};
use ascribe::reward::{AuxiliaryLearner, ContrastConfig, RewardLoss};
use serde_json::{Map, Value, json};

use super::chosen::{Chosen, Teaches};
use crate::args::{ContrastName, TrainArgs};

/// Prototypes of SwAV where their number is not given.
const PROTOTYPES: usize = 64;

/// What stands beside the loss.
pub(super) struct Beside {
    language: Option<f64>,
    contrast: Option<ContrastConfig>,
}

impl Beside {
    pub(super) fn of(args: &TrainArgs, chosen: &Chosen) -> anyhow::Result<Self> {
        let margins = matches!(chosen.teaches, Teaches::Margin | Teaches::SoftMargin | Teaches::Strength);
        let ordered = margins || chosen.teaches == Teaches::Order;
        let pairs = ordered || matches!(chosen.teaches, Teaches::Ties | Teaches::Teacher);
        if args.reward.lm_coef.is_some() && !ordered {
            bail!(
                "lm_coef weighs the language of the better response of a pair, which {} does not have; drop it",
                chosen.name
            );
        }
        if args.reward.contrast.is_some() && !pairs {
            bail!("contrast stands beside losses on pairs, and {} is none; drop it", chosen.name);
        }
        let beside = Self { language: args.reward.lm_coef, contrast: contrast(args)? };
        if !beside.is_nothing() && args.reward.meta_data.is_some() {
            bail!("lm_coef and contrast do nothing with a meta step; drop them, or meta_data and meta_rate");
        }
        Ok(beside)
    }

    /// Whether the loss stands alone.
    pub(super) fn is_nothing(&self) -> bool {
        self.language.is_none() && self.contrast.is_none()
    }

    /// What tells this run from others.
    pub(super) fn identity(&self) -> (&'static str, String) {
        let said = match self.is_nothing() {
            true => "none".to_owned(),
            false => json!({"lm_coef": self.language, "contrast": self.contrast}).to_string(),
        };
        ("set of auxiliary losses", said)
    }

    /// The learner of `loss`; `model` is what training begins with, under its own head.
    pub(super) fn learner<'a>(
        &self,
        args: &TrainArgs,
        loss: &'a dyn RewardLoss,
        model: &LanguageModel,
    ) -> anyhow::Result<AuxiliaryLearner<'a>> {
        let mut learner = AuxiliaryLearner::new(loss)?;
        if let Some(weight) = self.language {
            if model.config.head != Head::NextToken {
                bail!(
                    "lm_coef needs a model that predicts tokens, and `{}` is a classifier; begin with the language model, or \
                     drop it",
                    args.model.display()
                );
            }
            learner = learner.with_language(model.decoder.next_token_head()?, weight)?;
        }
        if let Some(config) = self.contrast {
            if config.dropout == 0.0 {
                eprintln!(
                    "warning: without dropout both sides of every item of the contrast are the same, which is trivial"
                );
            }
            learner = learner.with_contrast(config, Seed(args.seed))?;
        }
        Ok(learner)
    }

    /// Checks the options without a model.
    pub(super) fn check(&self, args: &TrainArgs, loss: &dyn RewardLoss) -> anyhow::Result<()> {
        let more = !self.is_nothing() || args.reward.meta_data.is_some();
        if more && !loss.memory().is_empty() {
            bail!(
                "a temperature is learned by the loss alone; drop tau_rate from loss_kwargs, or lm_coef, contrast and meta_data"
            );
        }
        if self.is_nothing() {
            return Ok(());
        }
        AuxiliaryLearner::new(loss)?;
        if let Some(weight) = self.language
            && !(0.0 <= weight && weight.is_finite())
        {
            bail!("lm_coef must be finite and at least 0, such as 0.01, got {weight}");
        }
        if let Some(config) = self.contrast {
            config.check()?;
        }
        match args.reward.source_column.is_some() {
            true => bail!("lm_coef and contrast do nothing with sources; drop them, or source_column"),
            false => Ok(()),
        }
    }
}

/// The contrast that is asked for.
fn contrast(args: &TrainArgs) -> anyhow::Result<Option<ContrastConfig>> {
    let Some(name) = args.reward.contrast else { return Ok(None) };
    let given: Map<String, Value> = args.reward.contrast_kwargs.clone().unwrap_or_default();
    if given.contains_key("items") {
        bail!("items are named by contrast_items; drop them from contrast_kwargs");
    }
    let of_swav = given.keys().find(|key| key.starts_with("prototype"));
    if let (ContrastName::SimCse, Some(key)) = (name, of_swav) {
        bail!("{key} does nothing with simcse, which has no prototypes; drop it, or use swav");
    }
    let few = given.get("prototypes").is_some_and(|number| number.as_u64().is_some_and(|number| number < 2));
    if few {
        bail!("swav needs at least 2 prototypes; raise prototypes in contrast_kwargs");
    }
    let fresh: ContrastConfig = serde_json::from_value(Value::Object(given.clone())).context("contrast_kwargs")?;
    let prototypes = match name {
        ContrastName::Swav if !given.contains_key("prototypes") => PROTOTYPES,
        _ => fresh.prototypes,
    };
    let items = args.reward.contrast_items.map_or(fresh.items, Into::into);
    Ok(Some(ContrastConfig { items, prototypes, ..fresh }))
}
