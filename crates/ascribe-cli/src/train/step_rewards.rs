//! Rewards of steps while a policy writes: process models, log-ratios of a policy that was trained on outcomes, their
//! refinement, so that neither can be farmed, and progress under a prover.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Credit, Episode, Policy, Scorer, Seed};
use ascribe::lm::{FrozenModel, LocalPolicy};
use ascribe::preference::rl::{PromptRow, Segmentation, WeightedRewards};
use ascribe::process::Segmenter;
use ascribe::process::credit::{ImplicitForm, ImplicitProcess};
use ascribe::process::model::{CARD, ProcessModel, Progress};
use ascribe::reward::ClipDeltaConfig;

use super::combined::{ProgressOf, Refined, WithSuccess};
use super::rollouts::{weighted, weights_of};
use super::setup::segmentation;
use crate::Catalog;
use crate::args::{StepRewards, TrainArgs, WeightsName};
use crate::device::device;
use crate::generate::frozen;
use crate::process_scores::check_steps;
use crate::words::Words;

/// What stands before the folder of a policy whose log-ratios are the reward.
const LOG_RATIOS: &str = "implicit:";

/// Scores that have no bounds of their own.
const WIDE: [f64; 2] = [-1e9, 1e9];

/// The folder of the policy whose log-ratios are the reward `name`, if it is one of these.
pub(super) fn log_ratios_of(name: &str) -> Option<&Path> {
    name.strip_prefix(LOG_RATIOS).map(Path::new)
}

/// Whether the reward `name` may judge steps.
fn judges_steps(name: &str, catalog: &Catalog) -> bool {
    let known = catalog.rollouts.rewards.names().contains(&name);
    !known && (log_ratios_of(name).is_some() || Path::new(name).join(CARD).is_file())
}

/// The reward `name`, if it is one that judges steps.
pub(super) fn step_reward(args: &TrainArgs, name: &str, catalog: &Catalog) -> anyhow::Result<Option<Box<dyn Scorer>>> {
    if !judges_steps(name, catalog) {
        return Ok(None);
    }
    if args.rl.standardize {
        bail!("standardize is for reward models, and `{name}` judges steps; drop it");
    }
    let scorer: Box<dyn Scorer> = match log_ratios_of(name) {
        Some(folder) => Box::new(LogRatios::open(args, folder)?),
        None => Box::new(process_model(args, Path::new(name))?),
    };
    Ok(Some(scorer))
}

/// Refuses options of log-ratios where none of `names` are any.
pub(super) fn check<'a>(args: &TrainArgs, names: impl IntoIterator<Item = &'a String>) -> anyhow::Result<()> {
    let given = ["implicit_reference", "implicit_beta"].into_iter().find(|name| args.given.has(name));
    let Some(option) = given else { return Ok(()) };
    if names.into_iter().any(|name| log_ratios_of(name).is_some()) {
        return Ok(());
    }
    bail!("{option} is for log-ratios as a reward; name them as --reward {LOG_RATIOS}FOLDER")
}

/// The refined scores of steps, or their progress, by the one among the rewards that judges them, at its weight, and what the
/// others pay for success.
pub(super) fn refined(
    args: &TrainArgs,
    how: StepRewards,
    catalog: &Catalog,
    rows: &[PromptRow],
) -> anyhow::Result<WeightedRewards> {
    let names = &args.rl.reward;
    let weights = weights_of(names, &args.rl.reward_weights)?;
    let (process, success): (Vec<usize>, Vec<usize>) =
        (0..names.len()).partition(|at| judges_steps(&names[*at], catalog));
    let [at] = process.as_slice() else {
        bail!(
            "step_rewards refines the scores of one process model, or of {LOG_RATIOS}FOLDER, and reward names {}; \
             name one",
            process.len()
        );
    };
    if success.is_empty() {
        bail!("step_rewards pays success as well; name a reward of it beside the process model, such as exact");
    }
    let (name, alpha) = (&names[*at], weights[*at]);
    let others: Vec<String> = success.iter().map(|at| names[*at].clone()).collect();
    let of_others: Vec<f64> = success.iter().map(|at| weights[*at]).collect();
    let success = || weighted(args, &others, &of_others, None, catalog, rows).map(Box::new);
    let refined: Box<dyn Scorer> = match (how, log_ratios_of(name)) {
        (StepRewards::Refined(rule), Some(_)) if rule.eta.is_some() && args.rl.step_eta.is_none() => {
            bail!("log-ratios have no bounds, so nobody knows where to cut them off; say it with --step-eta, such as 0")
        }
        (StepRewards::Refined(rule), Some(folder)) => {
            let rule = ClipDeltaConfig { alpha, range: WIDE, ..rule }.init()?;
            Box::new(Refined { process: Box::new(LogRatios::open(args, folder)?), success: success()?, rule })
        }
        (StepRewards::Refined(rule), None) => {
            let rule = ClipDeltaConfig { alpha, ..rule }.init()?;
            // Values and not what progress makes of them, which may leave [0, 1].
            let process = process_model(args, Path::new(name))?.with_progress(None)?;
            Box::new(Refined { process: Box::new(process), success: success()?, rule })
        }
        (StepRewards::Progress, Some(_)) => {
            bail!("progress is what a step adds to a chance of success, and log-ratios are none; name a process model")
        }
        (StepRewards::Progress, None) => {
            let model = process_model(args, Path::new(name))?;
            let prover = model.card().progress.unwrap_or_default().prover;
            let model = model.with_progress(Some(Progress { prover, alpha }))?;
            Box::new(WithSuccess { bonus: Box::new(ProgressOf(model)), success: success()? })
        }
    };
    Ok(WeightedRewards::new(vec![(refined, 1.0)])?)
}

/// A process model that reads the tokens of the policy: it scores steps where responses are cut into them, which are to
/// end as those that it learned, else the whole.
fn process_model(args: &TrainArgs, folder: &Path) -> anyhow::Result<ProcessModel> {
    eprintln!("loading {}", folder.display());
    let model = ProcessModel::load(folder, &device(&args.common.device)?);
    let model = model.with_context(|| format!("the process model `{}`", folder.display()))?;
    model.reads_responses().with_context(|| format!("the process model `{}`", folder.display()))?;
    if model.model().tokenizer.hash() != Words::load(&args.model)?.tokenizer.hash() {
        bail!("the process model has another tokenizer than the model that is trained; use models of one family");
    }
    if let Some(text) = &args.rl.segment {
        let cut = match segmentation(text, Seed(args.seed))? {
            Segmentation::Separator(separator) => Some(Segmenter::Delimiter(separator)),
            Segmentation::Fixed(tokens) => Some(Segmenter::FixedLength(tokens)),
            Segmentation::Randomised { .. } | Segmentation::Perplexity | Segmentation::Parsing { .. } => None,
        };
        check_steps(folder, text, cut.as_ref())?;
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
