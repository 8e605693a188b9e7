//! `ascribe score`: log-probabilities of given completions, row by row.

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use ascribe::core::{Capabilities, Continuation, Policy, Seed, Tokens};
use ascribe::data::{Message, Prompt, Rows};
use ascribe::lm::{ChatTemplate, FrozenModel, ServedOptions, ServedPolicy, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::preference::objectives::DpoConfig;
use serde_json::{Map, Value, json};

use crate::args::ScoreArgs;
use crate::device::device;
use crate::follow_ups::Reader;
use crate::generate::frozen;
use crate::interrupt::{self, Interrupted};
use crate::output::{Progress, print_line};
use crate::words::Words;

/// Rows that are scored and written together, so that memory stays constant.
const ROWS: usize = 64;

/// What scores, here or at an endpoint, and what its ids mean.
struct Model {
    policy: Box<dyn Policy>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    context: usize,
    vocabulary: usize,
}

impl Model {
    fn load(path: &Path, adapter: Option<&Path>, args: &ScoreArgs) -> anyhow::Result<Self> {
        let FrozenModel { policy, config, tokenizer, template } =
            frozen(path, adapter, args.weights, &device(&args.common.device)?)?;
        let (context, vocabulary) = (config.context, config.vocab_size);
        Ok(Self { policy: Box::new(policy), tokenizer, template, context, vocabulary })
    }

    fn connect(mut options: ServedOptions, model: &Path) -> anyhow::Result<Self> {
        let words = Words::load(model)?;
        options.context = words.context_with(options.context);
        let Words { tokenizer, template, .. } = words;
        let policy = ServedPolicy::connect(options, Some(tokenizer.clone()))?;
        let Capabilities { score, context, .. } = policy.capabilities();
        if !score {
            bail!(
                "the endpoint cannot score given completions (docs/served.md says which servers can); ask another one, or \
                 leave out --endpoint and load the model"
            );
        }
        let vocabulary = tokenizer.vocabulary_size();
        Ok(Self { policy: Box::new(policy), tokenizer, template, context, vocabulary })
    }

    fn encoder(&self) -> anyhow::Result<Encoder<'_>> {
        Ok(Encoder::from_parts(&self.tokenizer, self.template.as_ref(), self.context)?)
    }

    /// True if both give the same ids for every conversation.
    fn reads_as(&self, other: &Self) -> bool {
        let template = |model: &Self| model.template.as_ref().map(ChatTemplate::hash);
        self.tokenizer.hash() == other.tokenizer.hash() && template(self) == template(other)
    }
}

pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    if args.process.is_some() {
        return crate::process_scores::run(args);
    }
    let of_steps = args.steps.is_some() || args.view.is_some() || args.aggregate.is_some();
    if args.implicit || !args.replies.is_empty() || of_steps {
        bail!(
            "implicit, replies, steps, view and aggregate belong to scores of steps; name a process model with --process, or \
             drop them"
        );
    }
    if args.vote.is_some() && args.rewarded.reward.is_empty() {
        bail!("a vote is one of reward models; name several with --reward, or drop vote");
    }
    if args.pairs.is_some() && args.follow_ups.is_none() && args.rewarded.reward.is_empty() {
        bail!("pairs are made by rewards; name where they come from with --reward or --follow-ups");
    }
    if args.pairs.is_some_and(|least| !(0.0 <= least && least.is_finite())) {
        bail!("pairs needs a difference of rewards that is finite and at least 0");
    }
    let Some(path) = &args.model else { return crate::rewarded::run(args) };
    DpoConfig { beta: args.beta, ..DpoConfig::default() }.init()?;
    if args.given.has("beta") && args.reference.is_none() {
        bail!("beta does nothing without --reference, against which rewards are; leave it out, or name the reference");
    }
    let model = match args.served.options(Seed(0))? {
        Some(options) => Model::connect(options, path)?,
        None => Model::load(path, args.adapter.as_deref(), args)?,
    };
    if let Some(path) = &args.follow_ups {
        let Model { policy, tokenizer, template, context, .. } = &model;
        let reader = Reader { policy: policy.as_ref(), tokenizer, template: template.as_ref(), context: *context };
        return crate::follow_ups::run(args, path, &reader);
    }
    let reference = args.reference.as_deref().map(|path| Model::load(path, None, args)).transpose()?;
    if reference.as_ref().is_some_and(|reference| !reference.reads_as(&model)) {
        bail!("the reference has another tokenizer or chat template than the model; use models of one family");
    }
    // A broken line anywhere refuses the whole file, before the first line is written.
    let total = check(&args.input, &model)?;
    let encoder = model.encoder()?;
    let mut rows = Rows::open(&args.input)?;
    let mut progress = Progress::new("score", total);
    let mut done = 0;
    loop {
        let batch = next_batch(&mut rows, done, total)?;
        if batch.is_empty() {
            return Ok(());
        }
        let given: Vec<Vec<Continuation>> = batch
            .iter()
            .map(|(number, row)| parts(row, &encoder).with_context(|| place(&args.input, *number)))
            .collect::<anyhow::Result<_>>()?;
        let flat: Vec<Continuation> = given.iter().flatten().cloned().collect();
        let logps = joined(&model.policy.score(&flat)?.0, &given);
        let ref_logps = match &reference {
            Some(reference) => Some(joined(&reference.policy.score(&flat)?.0, &given)),
            None => None,
        };
        done += batch.len();
        for (at, (_, mut row)) in batch.into_iter().enumerate() {
            let sum = |logps: &[f32]| logps.iter().map(|logp| f64::from(*logp)).sum::<f64>();
            let ours = &logps[at];
            row.insert("token_logps".into(), json!(ours));
            row.insert("logp_sum".into(), json!(sum(ours)));
            row.insert("logp_mean".into(), json!(sum(ours) / ours.len() as f64));
            if let Some(theirs) = &ref_logps {
                row.insert("implicit_reward".into(), json!(args.beta * (sum(ours) - sum(&theirs[at]))));
            }
            print_line(&Value::Object(row).to_string())?;
        }
        progress.at(done);
    }
}

/// The next rows that are scored together, with their numbers; none at the end. Behind a signal it is an error that says how
/// many are done.
pub(crate) fn next_batch(
    rows: &mut Rows,
    done: usize,
    total: usize,
) -> anyhow::Result<Vec<(usize, Map<String, Value>)>> {
    let batch: Vec<(usize, Map<String, Value>)> = rows.by_ref().take(ROWS).collect::<Result<_, _>>()?;
    if !batch.is_empty() && interrupt::flag()?.load(Ordering::Relaxed) {
        let words = format!("the first {done} of {total} rows are scored; give those behind them as --input to go on");
        return Err(Interrupted(words).into());
    }
    Ok(batch)
}

pub(crate) fn place(path: &Path, number: usize) -> String {
    format!("{}, row {number}", path.display())
}

/// Reads every row once; the number of rows.
fn check(path: &Path, model: &Model) -> anyhow::Result<usize> {
    let encoder = model.encoder()?;
    let (context, ids) = (model.context, model.vocabulary);
    let mut total = 0;
    for row in Rows::open(path)? {
        let (number, row) = row?;
        for part in parts(&row, &encoder).with_context(|| place(path, number))? {
            let length = part.prefix.len() + part.tokens.len();
            if length > context {
                bail!(
                    "{}: {length} tokens do not fit the context of {context}; shorten the prompt",
                    place(path, number)
                );
            }
            if let Some(id) = part.prefix.iter().chain(&*part.tokens).find(|id| **id as usize >= ids) {
                bail!(
                    "{}: token id {id} must be below the vocabulary size {ids}; use ids of this model",
                    place(path, number)
                );
            }
        }
        total += 1;
    }
    Ok(total)
}

/// The log-probabilities of each row, its parts one after the other.
fn joined(flat: &[Vec<f32>], given: &[Vec<Continuation>]) -> Vec<Vec<f32>> {
    let mut flat = flat.iter();
    given.iter().map(|parts| flat.by_ref().take(parts.len()).flatten().copied().collect()).collect()
}

/// What is scored of a row: one continuation, or one for each stretch of the mask.
fn parts(row: &Map<String, Value>, encoder: &Encoder) -> anyhow::Result<Vec<Continuation>> {
    let one = |prompt: Prompt, completion: &str| -> anyhow::Result<Vec<Continuation>> {
        let (prefix, responses) = encoder.parts(&prompt, &[completion])?;
        Ok(responses.into_iter().map(|tokens| Continuation { prefix: prefix.clone(), tokens }).collect())
    };
    if let Some(ids) = row.get("input_ids") {
        return masked(ids, row.get("completion_mask"));
    }
    if let Some(messages) = row.get("messages") {
        let mut messages = messages_of(messages)?;
        let reply = messages
            .pop_if(|message| message.role == "assistant")
            .context("the last message must be the assistant's")?;
        return one(Prompt::Messages(messages), &reply.content);
    }
    let (Some(prompt), Some(completion)) = (row.get("prompt"), row.get("completion")) else {
        let found: Vec<&str> = row.keys().map(String::as_str).collect();
        bail!(
            "a row needs `prompt` and `completion`, or `messages`, or `input_ids` and `completion_mask`; it has {}",
            found.join(", ")
        );
    };
    let prompt = match prompt {
        Value::String(text) => Prompt::Text(text.clone()),
        messages => Prompt::Messages(messages_of(messages)?),
    };
    let completion = match completion {
        Value::String(text) => text.clone(),
        messages => messages_of(messages)?.pop().context("`completion` must not be empty")?.content,
    };
    one(prompt, &completion)
}

pub(crate) fn messages_of(value: &Value) -> anyhow::Result<Vec<Message>> {
    serde_json::from_value(value.clone())
        .context("messages must be a list of objects with the strings `role` and `content`")
}

fn masked(ids: &Value, mask: Option<&Value>) -> anyhow::Result<Vec<Continuation>> {
    let ids: Vec<u32> = serde_json::from_value(ids.clone()).context("`input_ids` must be a list of whole numbers")?;
    let flag = |value: &Value| match value {
        Value::Bool(flag) => Some(*flag),
        other => other.as_u64().filter(|number| *number < 2).map(|number| number == 1),
    };
    let flags: Option<Vec<bool>> = mask.and_then(Value::as_array).and_then(|mask| mask.iter().map(flag).collect());
    let flags = flags.context("`completion_mask` must be a list of 0 and 1 beside `input_ids`")?;
    if flags.len() != ids.len() {
        bail!("`completion_mask` has {} entries and `input_ids` {}; they must be equally long", flags.len(), ids.len());
    }
    if flags.first() == Some(&true) {
        bail!("the first token has nothing before it and cannot be scored; begin `completion_mask` with 0");
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(start) = (at..ids.len()).find(|at| flags[*at]) {
        let end = (start..ids.len()).find(|at| !flags[*at]).unwrap_or(ids.len());
        parts.push(Continuation { prefix: ids[..start].into(), tokens: Tokens::from(&ids[start..end]) });
        at = end;
    }
    if parts.is_empty() {
        bail!("`completion_mask` counts no token; set 1 where a token is to be scored");
    }
    Ok(parts)
}
