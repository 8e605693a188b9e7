//! Rewards of steps while a policy writes: process models, log-ratios of a policy that was trained on outcomes, and rules that
//! keep either from being farmed.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Credit, Episode, Policy, Scorer};
use ascribe::lm::{FrozenModel, LocalPolicy};
use ascribe::process::credit::{ImplicitForm, ImplicitProcess};
use ascribe::process::model::{CARD, ProcessModel};
use ascribe::reward::{ClipDelta, ClipDeltaConfig, LastStep, TamedSteps};

use super::recipes::recipe;
use crate::args::{TrainArgs, WeightsName};
use crate::device::device;
use crate::generate::frozen;
use crate::words::Words;

/// What stands before the folder of a policy whose log-ratios are the reward.
const LOG_RATIOS: &str = "implicit:";

/// Scores that have no bounds of their own.
const WIDE: [f64; 2] = [-1e9, 1e9];

/// Whether the reward `name` may judge steps.
fn judges_steps(name: &str) -> bool {
    name.starts_with(LOG_RATIOS) || Path::new(name).join(CARD).is_file()
}

/// The reward `name`, if it is one that judges steps.
pub fn step_reward(args: &TrainArgs, name: &str) -> anyhow::Result<Option<Box<dyn Scorer>>> {
    if !judges_steps(name) {
        return Ok(None);
    }
    let (process, range): (Box<dyn Scorer>, [f64; 2]) = match name.strip_prefix(LOG_RATIOS) {
        Some(folder) => (Box::new(LogRatios::open(args, Path::new(folder))?), WIDE),
        None => {
            let model = process_model(args, Path::new(name))?;
            let range = if model.card().progress.is_some() { WIDE } else { [0.0, 1.0] };
            (Box::new(model), range)
        }
    };
    Ok(Some(match rule(args, range)? {
        Some(rule) => Box::new(Tamed { process, rule }),
        None => process,
    }))
}

/// Refuses options of rewards of steps where there is none among `names`, and rules for steps where nothing is cut into any.
pub fn check<'a>(args: &TrainArgs, names: impl IntoIterator<Item = &'a str>) -> anyhow::Result<()> {
    let names: Vec<&str> = names.into_iter().collect();
    let rl = &args.rl;
    let taming = [
        ("process_clip", rl.process_clip.is_some()),
        ("process_delta", rl.process_delta),
        ("process_last", rl.process_last),
    ];
    let taming = taming.into_iter().find(|(_, given)| *given).map(|(name, _)| name);
    if let Some(option) = taming {
        if !names.iter().any(|name| judges_steps(name)) {
            bail!("{option} is for rewards of steps; name a process model, or {LOG_RATIOS}FOLDER, with --reward");
        }
        let cut = rl.segment.is_some() || recipe(&args.method).is_some_and(|recipe| recipe.segment.is_some());
        if !cut {
            bail!("{option} is for steps, and responses are not cut into any; add --segment, such as separator:\\n");
        }
        if rl.confidence_weight.is_some() {
            bail!(
                "{option} is for steps, and confidence_weight moves the reward of a whole response; leave one of them out"
            );
        }
        if rl.process_last && !rl.process_delta {
            bail!("process_last is about the last difference; add --process-delta, or leave it out");
        }
        if rl.process_delta && rl.gamma != 1.0 {
            bail!(
                "the differences of process_delta add up to a score without a discount alone, and gamma is {}; leave it out",
                rl.gamma
            );
        }
    }
    let given = ["implicit_reference", "implicit_beta"].into_iter().find(|name| args.given.has(name));
    match given.filter(|_| !names.iter().any(|name| name.starts_with(LOG_RATIOS))) {
        Some(option) => bail!("{option} is for log-ratios as a reward; name them as --reward {LOG_RATIOS}FOLDER"),
        None => Ok(()),
    }
}

/// Clip and Delta, where they are asked for, of scores in `range`.
fn rule(args: &TrainArgs, range: [f64; 2]) -> anyhow::Result<Option<ClipDelta>> {
    let rl = &args.rl;
    if rl.process_clip.is_none() && !rl.process_delta {
        return Ok(None);
    }
    let last = if rl.process_last { LastStep::Keeps } else { LastStep::SuccessOnly };
    let config =
        ClipDeltaConfig { eta: rl.process_clip, delta: rl.process_delta, last, range, ..ClipDeltaConfig::default() };
    Ok(Some(config.init()?))
}

/// A process model that reads the tokens of the policy: it scores steps where responses are cut into them, else the whole.
fn process_model(args: &TrainArgs, folder: &Path) -> anyhow::Result<ProcessModel> {
    eprintln!("loading {}", folder.display());
    let model = ProcessModel::load(folder, &device(&args.common.device)?);
    let model = model.with_context(|| format!("the process model `{}`", folder.display()))?;
    if model.model().tokenizer.hash() != Words::load(&args.model)?.tokenizer.hash() {
        bail!("the process model has another tokenizer than the model that is trained; use models of one family");
    }
    Ok(model)
}

/// Steps by the log-ratios of a policy that was trained on outcomes and what it was trained from.
struct LogRatios {
    policy: LocalPolicy,
    reference: LocalPolicy,
    beta: f64,
}

impl LogRatios {
    fn open(args: &TrainArgs, folder: &Path) -> anyhow::Result<Self> {
        let beta = args.rl.implicit_beta;
        let accepted = beta > 0.0 && beta.is_finite();
        if !accepted {
            bail!("implicit_beta must be finite and above 0, got {beta}");
        }
        let device = device(&args.common.device)?;
        let words = Words::load(&args.model)?.tokenizer.hash();
        let load = |folder: &Path| -> anyhow::Result<LocalPolicy> {
            eprintln!("loading {}", folder.display());
            let FrozenModel { policy, tokenizer, .. } = frozen(folder, None, WeightsName::AsStored, &device)
                .with_context(|| format!("the policy `{}`, whose log-ratios are a reward", folder.display()))?;
            if tokenizer.hash() != words {
                bail!(
                    "`{}` has another tokenizer than the model that is trained; use models of one family",
                    folder.display()
                );
            }
            Ok(policy)
        };
        let reference = args.rl.implicit_reference.as_deref().unwrap_or(&args.model);
        Ok(Self { policy: load(folder)?, reference: load(reference)?, beta })
    }
}

impl Scorer for LogRatios {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let reference: &dyn Policy = &self.reference;
        let (reference, form) = (Some(reference), ImplicitForm::Single);
        ImplicitProcess { policy: &self.policy, reference, beta: self.beta, form }.score(episodes)
    }
}

/// Rewards of steps that cannot be farmed.
struct Tamed {
    process: Box<dyn Scorer>,
    rule: ClipDelta,
}

impl Scorer for Tamed {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        // Held-out responses, and what is left of one without a step, are not cut.
        if episodes.iter().all(|episode| episode.steps.is_empty()) {
            return self.process.score(episodes);
        }
        TamedSteps { process: &*self.process, success: None, rule: self.rule }.score(episodes)
    }
}
