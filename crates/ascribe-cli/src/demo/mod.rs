//! `ascribe demo`: the whole path on a task whose true credit is known, from nothing to a report.
//!
//! A tiny decoder learns chain arithmetic from the work of a careful and a careless solver, so it imitates common mistakes.
//! Its own samples are checked and become pairs; DPO and T-REG align it from the same start; both are decoded in three ways
//! on problems that nothing was trained on; and the credit that each method gives to tokens is held against the step where
//! a solution first went wrong.

mod credit;
mod decode;
mod figures;
mod task;

use std::time::Instant;

use ascribe::burn::module::Module;
use ascribe::burn::tensor::Device;
use ascribe::core::{Objective, Policy, Seed};
use ascribe::lm::{Decoder, DecoderConfig, LanguageModel, LocalPolicy};
use ascribe::preference::objectives::{DpoConfig, Sft, TRegConfig};
use ascribe::preference::{
    LogpCache, LogpLearner, RevisedPrompts, TrainRow, fingerprint, reference_logps, self_test, token_rewards,
};
use ascribe::train::{Fit, FitConfig, ScheduleKind, evaluate};

use crate::args::DemoArgs;
use crate::device::device;
use crate::output::{Progress, print_line, write_whole};
use task::Task;

/// Rows of the first training, one epoch.
const CORPUS: usize = 48_000;
/// Problems that are sampled for pairs.
const SAMPLED: usize = 1_000;
/// Problems that nothing is trained on.
const HELD_OUT: usize = 500;
/// Samples of each problem, for pairs and for decoding.
const SAMPLES: usize = 8;
/// Pairs that are only evaluated on.
const HELD_OUT_PAIRS: usize = 200;
/// Strength of the pull to the reference.
const BETA: f64 = 0.1;
/// Strength of T-REG's regulariser.
const ALPHA: f64 = 0.25;

/// A learning curve: (step, value).
type Curve = Vec<(f64, f64)>;

/// A model that was aligned, with how it went.
struct Aligned {
    name: &'static str,
    policy: LocalPolicy,
    accuracy: Curve,
    displacement: Curve,
    seconds: f64,
}

pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let (device, seed) = (device(&args.common.device)?, Seed(args.seed));
    std::fs::create_dir_all(&args.output_dir)
        .map_err(|error| anyhow::anyhow!("cannot make `{}`: {error}", args.output_dir.display()))?;
    let began = Instant::now();
    let task = Task::draw(seed, CORPUS, SAMPLED, HELD_OUT)?;
    let (start, losses, sft_seconds) = pretrain(&task, seed, &device)?;
    let pairs = pairs(&task, &start, seed)?;
    anyhow::ensure!(pairs.len() > 2 * HELD_OUT_PAIRS, "only {} problems gave a right and a wrong sample", pairs.len());
    let (rows, report) = with_evidence(&task, &start, pairs)?;
    let (held_out, train) = rows.split_at(HELD_OUT_PAIRS);
    let objectives: [(&'static str, Box<dyn Objective>); 2] = [
        ("DPO", Box::new(DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?)),
        ("T-REG", Box::new(TRegConfig { beta: BETA, alpha: ALPHA, ..TRegConfig::default() }.init()?)),
    ];
    let aligned = objectives
        .iter()
        .map(|(name, objective)| align(name, objective.as_ref(), &start.decoder, train, held_out, seed, &device, &task))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let base = start.policy()?;
    let mut policies: Vec<(&str, &LocalPolicy)> = vec![("start", &base)];
    policies.extend(aligned.iter().map(|one| (one.name, &one.policy)));
    let results = decode::all(&task, &policies, &base, seed)?;
    let credit = credit::measure(&task, &base, &aligned, seed)?;
    let outcome = figures::Outcome {
        seed: args.seed,
        device: args.common.device.clone(),
        losses,
        sft_seconds,
        pairs: train.len(),
        contrast: report,
        aligned: &aligned,
        results: &results,
        credit: &credit,
        seconds: began.elapsed().as_secs_f64(),
    };
    print_line(&outcome.tables()?)?;
    write_whole(&args.output_dir.join("demo.json"), outcome.json()?.as_bytes())?;
    let report = args.output_dir.join("report.html");
    write_whole(&report, outcome.html()?.as_bytes())?;
    print_line(&format!("report: {}", report.display()))
}

/// Trains a decoder on the corpus; its loss by step, and the seconds.
fn pretrain(task: &Task, seed: Seed, device: &Device) -> anyhow::Result<(LanguageModel, Curve, f64)> {
    let tokenizer = task.tokenizer.clone();
    let config = DecoderConfig::tiny(tokenizer.vocabulary_size(), 64, 2, 4, 96);
    let model = LanguageModel::fresh(config, tokenizer, seed.child("weights", 0), &device.clone().autodiff())?;
    let fit_config = FitConfig {
        learning_rate: 3e-3,
        lr_scheduler_type: ScheduleKind::Cosine,
        warmup_ratio: 0.05,
        per_device_train_batch_size: 64,
        seed: seed.child("sft order", 0),
        ..FitConfig::default()
    };
    let learner = LogpLearner::new(&Sft);
    let (decoder, curve, seconds) =
        fit("learn arithmetic", &learner, model.decoder.clone(), &task.corpus, fit_config, |_, report| {
            Ok(report.metric("loss"))
        })?;
    Ok((model.with_decoder(decoder), curve, seconds))
}

/// Runs a fit to its end; what `watch` says of each step becomes a curve.
fn fit(
    title: &str,
    learner: &LogpLearner,
    model: Decoder,
    rows: &[TrainRow],
    config: FitConfig,
    mut watch: impl FnMut(&Decoder, &ascribe::train::StepReport) -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<(Decoder, Curve, f64)> {
    let mut fit = Fit::new(learner, model, rows, config)?;
    let mut progress = Progress::new(title, fit.steps());
    let mut curve = Curve::new();
    while let Some(report) = fit.next() {
        let report = report?;
        progress.at(report.step);
        if let Some(value) = watch(fit.model(), &report)? {
            curve.push((report.step as f64, value));
        }
    }
    let seconds = progress.seconds();
    progress.line(&format!("{title}: {} steps, {}", fit.steps(), crate::output::duration(seconds)));
    Ok((fit.into_model().valid(), curve, seconds))
}

/// Samples solutions of the start, checks them, and pairs a right one with a wrong one of the same problem.
fn pairs(task: &Task, start: &LanguageModel, seed: Seed) -> anyhow::Result<Vec<(TrainRow, Vec<RevisedPrompts>)>> {
    let requests = task.requests(&task.sampled, SAMPLES, seed, "rollouts")?;
    let replies = start.policy()?.propose(&requests)?;
    let mut pairs = Vec::new();
    for ((problem, request), reply) in task.sampled.iter().zip(requests).zip(replies) {
        let judged = reply.candidates.iter().map(|one| Ok((one, task.check(problem, &one.tokens)?)));
        let judged = judged.collect::<anyhow::Result<Vec<_>>>()?;
        let right = judged.iter().find(|(_, check)| check.correct && check.first_wrong.is_none());
        let wrong = judged.iter().find(|(_, check)| !check.correct);
        if let (Some((right, _)), Some((wrong, _))) = (right, wrong) {
            let row = TrainRow::pair(request.prefix, right.tokens.clone(), wrong.tokens.clone());
            let prompts = task.revised(problem)?;
            pairs.push((row, vec![prompts.clone(), prompts]));
        }
    }
    Ok(pairs)
}

/// Adds the reference's log-probabilities and T-REG's token rewards.
fn with_evidence(
    task: &Task,
    start: &LanguageModel,
    pairs: Vec<(TrainRow, Vec<RevisedPrompts>)>,
) -> anyhow::Result<(Vec<TrainRow>, ascribe::preference::ContrastReport)> {
    let (mut rows, prompts): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (policy, name) = (start.policy()?, fingerprint(&start.decoder.hash(), &task.tokenizer.hash()));
    let mut cache = LogpCache::in_memory();
    reference_logps(&mut rows, &policy, &name, &mut cache, &mut |_, _| ())?;
    let report = token_rewards(&mut rows, prompts, &policy, &name, &mut cache, &mut |_, _| ())?;
    Ok((rows, report))
}

/// Aligns the start by one objective.
#[allow(clippy::too_many_arguments)]
fn align(
    name: &'static str,
    objective: &dyn Objective,
    start: &Decoder,
    train: &[TrainRow],
    held_out: &[TrainRow],
    seed: Seed,
    device: &Device,
    task: &Task,
) -> anyhow::Result<Aligned> {
    self_test(start, &held_out[..8], BETA)?;
    let config = FitConfig {
        learning_rate: 5e-5,
        lr_scheduler_type: ScheduleKind::Linear,
        warmup_ratio: 0.1,
        num_train_epochs: 2.0,
        per_device_train_batch_size: 32,
        seed: seed.child("preference order", 0),
        ..FitConfig::default()
    };
    let learner = LogpLearner::new(objective);
    let mut displacement = Curve::new();
    let model = start.clone().on(&device.clone().autodiff());
    let (decoder, accuracy, seconds) =
        fit(&format!("align with {name}"), &learner, model, train, config, |model, report| {
            if report.step % 5 != 0 {
                return Ok(None);
            }
            let tally = evaluate(&learner, &model.valid(), held_out, HELD_OUT_PAIRS)?;
            let means = tally.means("");
            let mean = |name: &str| means.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
            displacement.extend(mean("logps/chosen_displacement").map(|value| (report.step as f64, value)));
            Ok(mean("rewards/accuracies"))
        })?;
    let policy = LocalPolicy::new(&decoder, task.tokenizer.eos(), task::CONTEXT)?;
    Ok(Aligned { name, policy, accuracy, displacement, seconds })
}
