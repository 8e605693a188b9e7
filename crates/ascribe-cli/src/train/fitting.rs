//! The loop around any learner of decoders: from the last checkpoint, with log, evaluations and checkpoints.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use ascribe::burn::module::Module;
use ascribe::lm::{Decoder, LanguageModel};
use ascribe::train::{
    Checkpoints, Fit, FitConfig, Learner, Progress as RunProgress, Source, StepReport, Tally, TrainError, evaluate,
};
use serde_json::{Map, Value, json};

use super::{ACCURACY, fused_words, say_long_rows, start};
use crate::args::TrainArgs;
use crate::interrupt::{self, Interrupted};
use crate::output::{Progress, write_whole};

/// A run.
pub(super) struct Run<'a, L: Learner<Model = Decoder>> {
    pub args: &'a TrainArgs,
    pub config: FitConfig,
    pub learner: &'a L,
    /// Measures the held-out rows.
    pub judge: &'a L,
    /// What training starts from, without the adapter.
    pub model: &'a LanguageModel,
    /// What must be the same for a resumed run.
    pub identity: Vec<(&'static str, String)>,
    pub train: &'a [L::Row],
    pub held_out: &'a [L::Row],
    /// Where the rows of a step come from, and how many steps there are, where it is not `train` in shuffled epochs.
    pub source: Option<(Box<dyn Source<Decoder, L::Row> + 'a>, usize)>,
    /// Name and contents of a file that lies beside the weights.
    pub beside: Option<(&'static str, String)>,
}

/// Where a run begins.
pub(super) struct Start {
    pub decoder: Decoder,
    last: Option<(PathBuf, RunProgress)>,
}

impl Start {
    /// Whether no step is done.
    pub fn is_fresh(&self) -> bool {
        self.last.is_none()
    }
}

/// What a run ends with.
pub(super) struct Trained {
    pub model: LanguageModel,
    /// The held-out rows at the end, if there are any.
    pub tally: Option<Tally>,
    /// Step and figure of the best checkpoint.
    pub best: Option<(usize, f64)>,
}

impl<L: Learner<Model = Decoder>> Run<'_, L> {
    /// The weights of the last checkpoint, or those that training starts from.
    pub fn start(&self) -> anyhow::Result<Start> {
        let Self { args, model, .. } = self;
        let last = Checkpoints::new(&args.output_dir, args.save_total_limit).last()?;
        let training = model.decoder.device().autodiff();
        let decoder = match &last {
            // Beside an adapter, the weights are those of the reference and not copied.
            None if args.use_peft => start(args, model)?.train(),
            None => model.decoder.clone().on(&training),
            Some((path, progress)) => {
                progress.check_run(path, &self.identity)?;
                match args.use_peft {
                    true => model.with_adapter(path)?.decoder.train(),
                    false => LanguageModel::load(path, &training)?.decoder,
                }
            }
        };
        let decoder = decoder.with_gradient_checkpointing(args.gradient_checkpointing.unwrap_or(args.use_peft));
        Ok(Start { decoder: decoder.with_pooling(model.decoder.pooling()), last })
    }

    /// The loop, and the model in the output folder.
    pub fn fit(self, start: Start) -> anyhow::Result<Trained> {
        let Self { args, config, learner, judge, model, identity, train, held_out, source, beside } = self;
        let save = |weights: &LanguageModel, folder: &Path| -> Result<(), TrainError> {
            weights.save(folder)?;
            match &beside {
                Some((name, text)) => {
                    std::fs::write(folder.join(name), text).map_err(|error| TrainError::Other(Box::new(error)))
                }
                None => Ok(()),
            }
        };
        let checkpoints = Checkpoints::new(&args.output_dir, args.save_total_limit);
        let mut fit = match source {
            Some((source, steps)) => Fit::from_source(learner, start.decoder, source, steps, config)?,
            None => Fit::new(learner, start.decoder, train, config)?,
        };
        if args.verify_fused {
            fit = fit.with_fused_check();
        }
        let (mut best, mut measured, mut moved) = (None, None, None);
        if let Some((path, progress)) = &start.last {
            fit.resume(path, progress)?;
            best = progress.best;
            eprintln!("going on from {} ({} of {} steps done)", path.display(), fit.step(), fit.steps());
        }
        let mut log = RunLog::open(&args.output_dir, fit.step())?;
        let mut progress = Progress::new(&format!("train {}", args.method), fit.steps());
        progress.at(fit.step());
        let due = |every: usize, step: usize, steps: usize| step == steps || (every > 0 && step.is_multiple_of(every));
        let cancel: &AtomicBool = interrupt::flag()?;
        while let Some(report) = fit.next() {
            let report = report?;
            let (step, steps) = (fit.step(), fit.steps());
            let cancelled = cancel.load(Ordering::Relaxed) && step < steps;
            progress.at(step);
            if let Some(check) = fit.take_fused_check() {
                progress.line(&fused_words(check));
            }
            if due(args.logging_steps, step, steps) || step == 1 {
                progress.line(&line(&report, steps, progress.seconds()));
            }
            log.write(&report, &[])?;
            moved = report.metric(DISPLACEMENT);
            let mut score = None;
            if !held_out.is_empty() && (due(args.eval_steps, step, steps) || due(args.save_steps, step, steps)) {
                let tally = evaluate(judge, &fit.model().valid(), held_out, args.per_device_eval_batch_size)?;
                let means = tally.means("eval_");
                let shown: Vec<String> = means.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                progress.line(&format!("step {step}/{steps}  {}", shown.join("  ")));
                log.write(&report, &[means, spread(tally.values(MARGINS))].concat())?;
                let value = match tally.values(ACCURACY) {
                    [] => -tally.loss / tally.weight,
                    values => values.iter().sum::<f64>() / values.len() as f64,
                };
                score = Some(value);
                measured = Some((step, tally));
            }
            if due(args.save_steps, step, steps) || cancelled {
                // Of the steps that have a checkpoint.
                if let Some(value) = score.filter(|value| best.is_none_or(|(_, most)| *value > most)) {
                    best = Some((step, value));
                }
                let now = RunProgress { run: run_of(&identity), score, best, ..fit.progress() };
                let weights = model.with_decoder(fit.model().valid());
                checkpoints.save(&fit, &now, |folder| save(&weights, folder))?;
            }
            if cancelled {
                return Err(interrupted(step, steps).into());
            }
        }
        drop(progress);
        say_long_rows(args, fit.long_rows());
        if let Some(words) = moved.and_then(fallen) {
            eprintln!("{words}");
        }
        let steps = fit.steps();
        let trained = model.with_decoder(fit.into_model().valid());
        save(&trained, &args.output_dir)?;
        let tally = match measured {
            _ if held_out.is_empty() => None,
            Some((step, tally)) if step == steps => Some(tally),
            // The run was resumed after its last step.
            _ => Some(evaluate(judge, &trained.decoder, held_out, args.per_device_eval_batch_size)?),
        };
        Ok(Trained { model: trained, tally, best })
    }
}

/// A run that a signal ended behind a step, whose checkpoint is written.
pub(super) fn interrupted(step: usize, steps: usize) -> Interrupted {
    Interrupted(format!("step {step} of {steps} is done and has a checkpoint; the same command goes on from it"))
}

/// What must be the same for a resumed run, as a checkpoint keeps it.
pub(super) fn run_of(identity: &[(&'static str, String)]) -> Vec<(String, String)> {
    identity.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// By how much chosen responses are ahead.
const MARGINS: &str = "rewards/margins";

/// The 5 %, 50 % and 95 % quantiles of held-out margins, of which a mean says little where a few are far out.
fn spread(margins: &[f64]) -> Vec<(String, f64)> {
    let of = |(at, value): (&str, f64)| (format!("eval_{MARGINS}_{at}"), value);
    ["p05", "p50", "p95"].into_iter().zip(quantiles(margins, [0.05, 0.5, 0.95])).map(of).collect()
}

/// The quantiles of values at these shares, interpolated between two ranks; none of no values.
pub(super) fn quantiles<const N: usize>(values: &[f64], shares: [f64; N]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    let of = |share: f64| {
        let rank = share * last as f64;
        let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
        below + (above - below) * rank.fract()
    };
    shares.map(of).to_vec()
}

/// How far chosen responses have moved from the reference, in nats a token.
const DISPLACEMENT: &str = "logps/chosen_displacement";

/// What it means that chosen responses have become less likely than under the reference, and what to do.
fn fallen(moved: f64) -> Option<String> {
    (moved < 0.0).then(|| {
        format!(
            "note: chosen responses are less likely than under the reference ({DISPLACEMENT} {moved:.4}, nats a token). A \
             loss on pairs asks for a gap, and both sides may fall while it grows. Where this goes on, add sft to the loss \
             (such as dpo+sft), raise beta, or lower the learning rate"
        )
    })
}

/// One step as a line for people.
fn line(report: &StepReport, steps: usize, seconds: f64) -> String {
    let show =
        |name: &str, label: &str| report.metric(name).map(|value| format!("  {label} {value:.4}")).unwrap_or_default();
    let rate = report.metric("learning_rate").unwrap_or(0.0);
    format!(
        "step {}/{steps}  epoch {:.2}{}{}{}{}{}{}{}  learning_rate {rate:.2e}  {}",
        report.step,
        report.epoch,
        show("round", "round"),
        show("reward", "reward"),
        show("loss", "loss"),
        show(ACCURACY, ACCURACY),
        show("rewards/margins", "rewards/margins"),
        show(DISPLACEMENT, DISPLACEMENT),
        show("grad_norm", "grad_norm"),
        crate::output::duration(seconds)
    )
}

/// `log.jsonl`: one object a step, with the metric names of TRL.
pub(super) struct RunLog {
    file: File,
    path: std::path::PathBuf,
    started: std::time::Instant,
    tokens: u64,
}

impl RunLog {
    /// Opens the log; lines behind step `done` belong to steps that will be done again, and go.
    pub fn open(folder: &Path, done: usize) -> anyhow::Result<Self> {
        let path = folder.join("log.jsonl");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let (mut kept, mut tokens) = (String::new(), 0);
        for text in std::fs::read_to_string(&path).unwrap_or_default().lines() {
            let Ok(row) = serde_json::from_str::<Value>(text) else { continue };
            if row["step"].as_u64().is_some_and(|step| step as usize <= done) {
                tokens = row["num_tokens"].as_u64().unwrap_or(tokens);
                kept.push_str(text);
                kept.push('\n');
            }
        }
        write_whole(&path, kept.as_bytes())?;
        let file =
            File::options().append(true).open(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Self { file, path, started: std::time::Instant::now(), tokens })
    }

    /// The metrics of a step, or of the evaluation after it.
    pub fn write(&mut self, report: &StepReport, evaluation: &[(String, f64)]) -> anyhow::Result<()> {
        let mut row = Map::new();
        row.insert("step".into(), json!(report.step));
        row.insert("epoch".into(), json!(report.epoch));
        if evaluation.is_empty() {
            self.tokens += report.tokens;
        }
        let metrics = if evaluation.is_empty() { &report.metrics[..] } else { evaluation };
        metrics.iter().for_each(|(name, value)| {
            row.insert(name.clone(), json!(value));
        });
        row.insert("num_tokens".into(), json!(self.tokens));
        row.insert("seconds".into(), json!(self.started.elapsed().as_secs_f64()));
        let mut text = Value::Object(row).to_string();
        text.push('\n');
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::has_fused;
    use super::*;

    #[test]
    fn quantiles_of_margins_by_hand() {
        // 0, 1, .., 20 in another order: ranks 1, 10 and 19.
        let margins: Vec<f64> = (0..21).map(|n| f64::from(n * 8 % 21)).collect();
        let names = ["p05", "p50", "p95"].map(|name| format!("eval_rewards/margins_{name}"));
        let expected: Vec<(String, f64)> = names.into_iter().zip([1.0, 10.0, 19.0]).collect();
        assert_eq!(spread(&margins), expected);
        // Half-way between two.
        assert_eq!(spread(&[3.0, 1.0])[1].1, 2.0);
        assert_eq!(spread(&[4.0]).iter().map(|one| one.1).collect::<Vec<_>>(), [4.0; 3]);
        assert!(spread(&[]).is_empty());
    }

    #[test]
    fn nothing_is_fused_on_a_gpu() {
        assert!(has_fused("flex").is_ok());
        let said = has_fused("cuda:1").unwrap_err().to_string();
        let due = "verify_fused does nothing on cuda:1, where no operation is fused; leave it out, or use flex";
        assert_eq!(said, due);
    }

    #[test]
    fn what_falls_is_said_and_what_rises_is_not() {
        let words = fallen(-0.25).unwrap();
        assert!(words.contains("-0.2500") && words.contains("dpo+sft"), "{words}");
        assert_eq!((fallen(0.0), fallen(0.25), fallen(f64::NAN)), (None, None, None));
    }
}
