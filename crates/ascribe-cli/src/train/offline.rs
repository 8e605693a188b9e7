//! `ascribe train offline-oreo`: OREO on responses that were judged, of whoever wrote them. The values that it learns are written
//! as a process model beside the policy, so that a search can go by them.

use anyhow::{Context, bail};
use ascribe::burn::module::Module;
use ascribe::burn::tensor::TensorData;
use ascribe::core::Seed;
use ascribe::data::{ColumnMap, Split, Unpaired};
use ascribe::eval::Bootstrap;
use ascribe::lm::{Head, LanguageModel, LmError, Tokenizer, WeightSource};
use ascribe::preference::rl::{Actor, Oreo, Rollout, RolloutLearner, Sample, Segmentation, text_of};
use ascribe::preference::{Encoder, TrainRow};
use ascribe::process::model::{CARD, ProcessCard, ProcessHead, ProcessKind};
use ascribe::train::{Checkpoints, Fit, evaluate};
use serde_json::{Map, Value, json};

use super::rollouts::{actor_of, drive};
use super::rows::{Rows, checked, labelled, parts};
use super::setup::segmentation;
use super::{
    add_reference, base, check_run, fit_config, identity, length_limit, load, refuse_other_runs, rows_hash, taken,
};
use crate::args::{OreoLevelName, TrainArgs};
use crate::catalog::Chosen;
use crate::device::device;
use crate::output::{print_line, write_whole};
use crate::words::Words;

/// The name of the method.
pub const METHOD: &str = "offline-oreo";
/// What it is, in one line.
pub const ABOUT: &str = "OREO on judged responses of a file; the values that it learns become a process model.";

/// The folder of the values in that of the policy.
const VALUES: &str = "value";

/// Strength of the pull to the reference unless it is given.
const BETA: f64 = 0.03;

/// What can be checked before anything is loaded: the loss, and where responses are cut into steps.
fn check(args: &TrainArgs) -> anyhow::Result<(Chosen, Option<Segmentation>)> {
    taken::refuse(args)?;
    check_run(args)?;
    if let Some(name) = args.objective.given().keys().find(|name| *name != "beta") {
        bail!("{name} does nothing with {METHOD}; leave it out");
    }
    let rl = &args.rl;
    let steps = rl.segment.as_deref().map(|text| segmentation(text, Seed(args.seed))).transpose()?;
    if (rl.oreo_level == OreoLevelName::Step) != steps.is_some() {
        bail!("--oreo-level step belongs to --segment, which says where steps end; give both, or neither");
    }
    let beta = args.objective.beta.unwrap_or(BETA);
    let loss = Oreo {
        beta,
        kl: rl.oreo_kl.unwrap_or(beta / 3.0),
        value_coef: rl.vf_coef.unwrap_or(1.0),
        level: rl.oreo_level.into(),
        largest_weight: None,
    };
    loss.check()?;
    let mut told = Map::new();
    told.insert("loss".to_owned(), Value::from(format!("{loss:?}, steps by {steps:?}")));
    Ok((Chosen { name: METHOD.to_owned(), objective: Box::new(loss), judge: None, options: told }, steps))
}

/// The rows to train on and those that are held out; right and wrong responses among the first.
fn encoded(args: &TrainArgs, split: Split<Unpaired>, encoder: &Encoder) -> anyhow::Result<Rows> {
    let rows = |what: &str, records: Vec<Unpaired>| -> anyhow::Result<Vec<TrainRow>> {
        let encoded = checked(args, what, encoder.labelled(records)?)?;
        Ok(encoded.rows.into_iter().map(|(row, _)| row).collect())
    };
    let train = rows("training", split.train)?;
    let held_out = if split.held_out.is_empty() { Vec::new() } else { rows("held-out", split.held_out)? };
    let right = train.iter().filter(|row| row.label == Some(true)).count();
    if right == 0 || right == train.len() {
        bail!("{METHOD} learns from right and wrong responses, and {right} of {} are right; add others", train.len());
    }
    Ok(Rows { train, held_out, pairs: Vec::new() })
}

/// Rows as responses with their scores, 1 or 0.
fn judged(tokenizer: &Tokenizer, rows: &[TrainRow], steps: Option<&Segmentation>) -> anyhow::Result<Vec<Rollout>> {
    let mut judged = Vec::with_capacity(rows.len());
    for (number, row) in rows.iter().enumerate() {
        let [response] = row.responses.as_slice() else {
            bail!("a row has one response, and line {} others", row.line)
        };
        let (n, tokens) = (response.tokens.len(), response.tokens.clone());
        let score = if row.label == Some(true) { 1.0 } else { 0.0 };
        let mut starts = None;
        if let Some(steps) = steps {
            let text = text_of(tokenizer, &row.prompt, &tokens)?;
            let ref_logps = response.ref_logps.as_deref();
            let spans = steps.spans(&Sample { tokens: n, text: Some(&text), ref_logps, number: number as u64 })?;
            let mut flags = vec![0.0; n];
            spans.iter().for_each(|span| flags[span.start] = 1.0);
            starts = Some(flags);
        }
        judged.push(Rollout {
            prompt: row.prompt.clone(),
            complete: tokens.last().is_some_and(|last| tokenizer.eos().contains(last)),
            response: tokens,
            group: number,
            score: Some(f64::from(score)),
            advantages: vec![score; n],
            values: Some(vec![0.0; n]),
            returns: Some(vec![score; n]),
            ref_logps: response.ref_logps.clone(),
            starts,
            ..Rollout::default()
        });
    }
    Ok(judged)
}

/// The head of a process model whose logit is `4 (V - 1/2)`: its probability has the order of the values, and near 1/2 their size.
struct ValueHead {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl WeightSource for ValueHead {
    fn tensor(&mut self, name: &str, _shape: &[usize]) -> Result<Vec<f32>, LmError> {
        Ok(if name.ends_with(".bias") { self.bias.clone() } else { self.weight.clone() })
    }
}

/// Writes the values as a process model.
fn save_values(args: &TrainArgs, trained: &LanguageModel, actor: &Actor) -> anyhow::Result<()> {
    let head = actor.value.as_ref().context("the run has no values")?;
    let numbers = |data: TensorData| data.iter::<f32>().collect::<Vec<f32>>();
    let weight = numbers(head.weight.val().into_data()).into_iter().map(|weight| 4.0 * weight).collect();
    let bias = head.bias.as_ref().map(|bias| numbers(bias.val().into_data())).unwrap_or_default();
    let bias = bias.into_iter().map(|bias| 4.0 * (bias - 0.5)).collect();
    let decoder = trained.decoder.with_head_of(Head::Token { labels: 1 }, &mut ValueHead { weight, bias })?;
    let folder = args.output_dir.join(VALUES);
    trained.with_decoder(decoder).save(&folder)?;
    let card = ProcessCard { kind: ProcessKind::Tvm, head: ProcessHead::Score, ..ProcessCard::default() };
    write_whole(&folder.join(CARD), card.to_text().as_bytes())?;
    print_line(&format!("values written to {}, a process model", folder.display()))
}

/// Checks a run without weights; gives numbers of rows to train on and held out.
pub fn validate(args: &TrainArgs, words: &Words) -> anyhow::Result<(usize, usize)> {
    check(args)?;
    let split = parts(args, labelled(args, &ColumnMap::parse(&args.columns)?)?)?;
    let limit = words.limit(args.max_length);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?.with_boundary(args.boundary);
    let rows = encoded(args, split, &encoder)?;
    Ok((rows.train.len(), rows.held_out.len()))
}

pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let config = fit_config(args);
    config.check()?;
    let (chosen, steps) = check(args)?;
    let device = device(&args.common.device)?;
    let split = parts(args, labelled(args, &ColumnMap::parse(&args.columns)?)?)?;
    let model = base(args, &device)?;
    let other = args.reference.as_deref().map(|path| load(path, &device)).transpose()?;
    let reference: &LanguageModel = other.as_ref().unwrap_or(&model);
    let mut run = identity(args, &config, &model, other.as_ref(), &chosen)?;
    refuse_other_runs(args, &run)?;
    let encoder = Encoder::new(&model, length_limit(args, model.config.context))?.with_boundary(args.boundary);
    let mut rows = encoded(args, split, &encoder)?;
    add_reference(args, &model, reference, &mut rows)?;
    run.push(("set of rows", rows_hash(&rows.train)));
    let train = judged(&model.tokenizer, &rows.train, steps.as_ref())?;
    let held_out = judged(&model.tokenizer, &rows.held_out, steps.as_ref())?;
    let last = Checkpoints::new(&args.output_dir, args.save_total_limit).last()?;
    let actor = actor_of(args, &model, &run, last.as_ref(), Some(0))?;
    let learner = RolloutLearner::new(chosen.objective.as_ref(), 1.0).with_reference(&reference.decoder);
    let fit = Fit::new(&learner, actor, &train, config)?;
    let (trained, actor) = drive(args, &model, &run, fit, last.as_ref())?;
    save_values(args, &trained, &actor)?;
    if held_out.is_empty() {
        return print_line("no rows were held out, so nothing is known about other prompts; use --held-out");
    }
    let tally = evaluate(&learner, &actor.valid(), &held_out, args.per_device_eval_batch_size)?;
    let bootstrap = Bootstrap { seed: Seed(args.seed), ..Bootstrap::default() };
    let mut summary = Map::new();
    for name in ["value_loss", "policy_loss"] {
        let estimate = bootstrap.mean(tally.values(name))?;
        print_line(&format!("held-out {name} {estimate}"))?;
        summary.insert(name.to_owned(), json!(estimate));
    }
    write_whole(&args.output_dir.join("summary.json"), serde_json::to_string_pretty(&summary)?.as_bytes())
}
