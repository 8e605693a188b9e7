//! Rewards as the chance to be better than most of what the model wrote before training, `--log-sigmoid-quantile`: "Transforming
//! and Combining Rewards for Aligning Large Language Models", arXiv:2402.00742.
//!
//! ```text
//! u_i(x, y) = log sigmoid(r_i(x, y) - r_ref,i(x)),   r_ref,i(x) the quantile of r_i over responses of the model to x
//! ```
//! A sum of several is a logical AND, whose parts need not be on one scale. The responses are written anew at each start, with
//! the same seeds, so that a resumed run finds the same references. A prompt of which fewer than two responses have a reward takes
//! the quantile over all.

use anyhow::bail;
use ascribe::core::{Scorer, Seed, Tokens};
use ascribe::lm::LanguageModel;
use ascribe::preference::rl::{PromptRow, WeightedRewards};
use ascribe::reward::{PromptReferences, Reference};

use super::combined::{LogSigmoidOf, scores_of};
use super::rollouts::{reward, weights_of, written};
use crate::Catalog;
use crate::args::TrainArgs;

/// The rewards of --reward, each as its log-sigmoid above what `model` wrote; as they are without a model, for a check.
pub(super) fn rewards(
    args: &TrainArgs,
    catalog: &Catalog,
    rows: &[PromptRow],
    model: Option<&LanguageModel>,
    quantile: f64,
) -> anyhow::Result<WeightedRewards> {
    let rl = &args.rl;
    if !(0.0 < quantile && quantile < 1.0) {
        bail!("log_sigmoid_quantile must be above 0 and below 1, such as 0.85, got {quantile}");
    }
    if rl.combine.is_some() {
        bail!("log_sigmoid_quantile adds rewards up, as a logical AND; drop combine");
    }
    if rl.num_generations < 2 {
        bail!("log_sigmoid_quantile needs at least 2 responses to a prompt; raise num_generations");
    }
    let weights = weights_of(&rl.reward, &rl.reward_weights)?;
    if let Some(weight) = weights.iter().find(|weight| !(**weight > 0.0 && weight.is_finite())) {
        bail!("a logical AND has weights that are finite and above 0, got {weight}; correct reward_weights");
    }
    let drawn = match model {
        None => Vec::new(),
        Some(model) => {
            eprintln!("references: {} responses to each of {} prompts", rl.num_generations, rows.len());
            written(args, model, rows, Seed(args.seed).child("references", 0))?
        }
    };
    let mut parts: Vec<(Box<dyn Scorer>, f64)> = Vec::with_capacity(rl.reward.len());
    for (name, weight) in rl.reward.iter().zip(weights) {
        let scorer = reward(args, name, catalog, rows)?;
        let mut samples: Vec<(Tokens, Vec<f64>)> = Vec::with_capacity(rows.len());
        for ((prompt, _), episodes) in rows.iter().zip(&drawn) {
            let mut rewards = scores_of(&*scorer, episodes)?;
            rewards.retain(|reward| !reward.is_nan());
            if rewards.len() > 1 {
                samples.push((prompt.clone(), rewards));
            }
        }
        if model.is_none() {
            parts.push((scorer, weight));
            continue;
        }
        if samples.is_empty() {
            bail!(
                "{name} judges fewer than two responses of the model to every prompt, so there is no quantile; drop log_sigmoid_quantile"
            );
        }
        let centre = Reference::PerPrompt(PromptReferences::quantile(&samples, quantile)?);
        parts.push((Box::new(LogSigmoidOf { scorer, centre }), weight));
    }
    let rewards = WeightedRewards::new(parts)?;
    Ok(if rl.reward.len() > 1 { rewards.with_names(rl.reward.clone())? } else { rewards })
}
