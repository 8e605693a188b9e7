//! `ascribe generate`: continuations of prompts.

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use ascribe::core::{Mode, Sampling, Seed};
use ascribe::data::{Message, Prompt, Rows};
use ascribe::lm::{FrozenModel, LanguageModel, LmError};
use burn::tensor::Device;
use serde_json::{Map, Value, json};

use crate::args::{EarlyStoppingName, GenerateArgs, WeightsName};
use crate::hub::resolve;
use crate::interrupt::{self, Interrupted};
use crate::output::{Progress, print_line};
use crate::rewarded::Judges;
use crate::writer::{Asked, Writer};

/// Prompts that are continued together.
const ROWS: usize = 256;

pub fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    if let Some(text) = &args.chat {
        if !args.rewarded.reward.is_empty() {
            bail!("a chat shows its text as it comes, and --reward chooses among several; use --prompt or --input");
        }
        return crate::chat::run(args, text.as_deref());
    }
    // clap forgives a missing `--chat`, because it would not go with `--prompt`.
    if args.system.is_some() {
        bail!("--system opens a conversation; use it with --chat, or give --input rows with `messages`");
    }
    let mode = mode(args)?;
    if args.num_beams != 1 && mode != Mode::Greedy {
        bail!("a beam search follows the most likely texts; leave out --temperature, --repetition-penalty and n-grams");
    }
    let writer = Writer::open(args)?;
    let judges = Judges::open(&args.rewarded, &args.common.device)?;
    let rows = match &args.input {
        None => vec![(1, Map::from_iter([("prompt".to_owned(), json!(args.prompt))]))],
        Some(path) => Rows::open(path)?.collect::<Result<Vec<_>, _>>()?,
    };
    let asked: Vec<Asked> = rows
        .iter()
        .enumerate()
        .map(|(number, (line, row))| {
            let seed = Seed(args.seed).child("generate", number as u64);
            let prompt = prompt(row, writer.is_raw(args));
            let asked = prompt.and_then(|prompt| writer.ask(args, mode, seed, prompt));
            match &args.input {
                None => asked,
                Some(path) => asked.with_context(|| format!("{}, row {line}", path.display())),
            }
        })
        .collect::<anyhow::Result<_>>()?;
    // Batch by batch, so that what is done is written; the seed of a row hangs on its number.
    let total = rows.len();
    let mut progress = (total > ROWS).then(|| Progress::new("generate", total));
    let (mut done, mut unanswered) = (0, Vec::new());
    let mut rows = rows.into_iter();
    let cancel = args.input.as_ref().map(|_| interrupt::flag()).transpose()?;
    let cancelled = || cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
    for asked in asked.chunks(ROWS) {
        if cancelled() {
            break;
        }
        let before = unanswered.len();
        for (reply, (line, mut row)) in writer.write(args, asked)?.into_iter().zip(rows.by_ref()) {
            let mut written = match reply {
                Ok(written) => written,
                Err(error) => {
                    unanswered.push((line, error));
                    continue;
                }
            };
            let rewards = match &judges {
                Some(judges) => Some(judges.rank(prompt(&row, writer.is_raw(args))?, &mut written.texts)?),
                None => None,
            };
            match args.input {
                // Of several that were judged, the best alone is the answer.
                None => {
                    let shown = if rewards.is_some() { 1 } else { written.texts.len() };
                    written.texts.iter().take(shown).try_for_each(|text| print_line(text))?;
                }
                Some(_) => {
                    row.insert("completions".into(), json!(written.texts));
                    if let Some(rewards) = rewards {
                        row.insert("rewards".into(), json!(rewards));
                    }
                    row.insert("usage".into(), serde_json::to_value(written.usage)?);
                    print_line(&Value::Object(row).to_string())?;
                }
            }
        }
        done += asked.len();
        if let Some(progress) = &mut progress {
            progress.at(done);
        }
        // Where nothing was answered at all, nothing will be.
        if unanswered.len() - before == asked.len() {
            break;
        }
    }
    let written = done - unanswered.len();
    if written < total && cancelled() {
        let words = format!("{written} of {total} rows are written; give the others as --input to go on");
        return Err(Interrupted(words).into());
    }
    answered(args, done, total, unanswered)
}

/// The error that tells which rows are missing, if some are.
fn answered(args: &GenerateArgs, asked: usize, total: usize, unanswered: Vec<(usize, LmError)>) -> anyhow::Result<()> {
    let missing = unanswered.len();
    let rest = match total - asked {
        0 => String::new(),
        rest => format!(" (the {rest} after them were not asked)"),
    };
    let Some((line, error)) = unanswered.into_iter().next() else { return Ok(()) };
    match &args.input {
        None => Err(error.into()),
        Some(path) => bail!(
            "{missing} of the {asked} rows that were asked are missing from the output{rest}, the first of them {}, row \
             {line}: {error}",
            path.display()
        ),
    }
}

/// A model that writes and scores, with its adapter if there is one.
pub fn frozen(
    model: &Path,
    adapter: Option<&Path>,
    weights: WeightsName,
    device: &Device,
) -> anyhow::Result<FrozenModel> {
    let path = resolve(model)?;
    Ok(match adapter {
        Some(folder) => {
            let adapted = LanguageModel::load(&path, device)?.with_adapter(&resolve(folder)?)?;
            FrozenModel::of(&adapted, weights.precision())?
        }
        None => FrozenModel::load(&path, device, weights.precision())?,
    })
}

/// How the options say that a token is chosen. A temperature of 0 takes the most likely one, of what a penalty leaves.
pub fn mode(args: &GenerateArgs) -> anyhow::Result<Mode> {
    // What changes nothing is absent; a NaN stays, and is refused.
    let unless = |neutral: f32, value: f32| (value != neutral).then_some(value);
    let some = |value: usize| (value > 0).then_some(value);
    let greedy = args.temperature == 0.0;
    let sampling = Sampling {
        temperature: if greedy { 1.0 } else { args.temperature },
        top_k: some(args.top_k),
        top_p: args.top_p,
        min_p: unless(0.0, args.min_p),
        typical_p: unless(1.0, args.typical_p),
        epsilon_cutoff: unless(0.0, args.epsilon_cutoff),
        eta_cutoff: unless(0.0, args.eta_cutoff),
        repetition_penalty: unless(1.0, args.repetition_penalty),
        no_repeat_ngram_size: some(args.no_repeat_ngram_size),
    };
    sampling.check()?;
    let looks_back = sampling.repetition_penalty.is_some() || sampling.no_repeat_ngram_size.is_some();
    let cuts = Sampling { repetition_penalty: None, no_repeat_ngram_size: None, ..sampling };
    if greedy && cuts != Sampling::default() {
        bail!("at temperature 0 only the most likely token is taken, so nothing is cut off; set --temperature 1");
    }
    if greedy && args.n > 1 && args.num_beams == 1 {
        bail!("at temperature 0 all {} texts would be the same; set --temperature 1, or --num-beams", args.n);
    }
    if args.num_beams == 1 && (args.length_penalty != 1.0 || args.early_stopping != EarlyStoppingName::False) {
        bail!("--length-penalty and --early-stopping are options of a beam search; set --num-beams above 1");
    }
    Ok(match (greedy, looks_back) {
        (false, _) => Mode::Sample(sampling),
        (true, true) => Mode::Sample(Sampling { top_k: Some(1), ..sampling }),
        (true, false) => Mode::Greedy,
    })
}

/// Refuses a prompt that leaves no token of the context for the answer.
pub fn check_room(prefix: &[u32], context: usize) -> anyhow::Result<()> {
    if prefix.len() >= context {
        bail!("the prompt has {} tokens and the context holds {context}; shorten the prompt", prefix.len());
    }
    Ok(())
}

/// The prompt of a row; a text becomes a user's message unless it is to be used as it is.
fn prompt(row: &Map<String, Value>, raw: bool) -> anyhow::Result<Prompt> {
    match row.get("prompt").or_else(|| row.get("messages")) {
        Some(Value::String(text)) if raw => Ok(Prompt::Text(text.clone())),
        Some(Value::String(text)) => Ok(Prompt::Messages(vec![Message::new("user", text)])),
        Some(messages @ Value::Array(_)) => {
            let messages = serde_json::from_value(messages.clone());
            Ok(Prompt::Messages(messages.context("messages must have the strings `role` and `content`")?))
        }
        _ => bail!("a row needs the column `prompt` (text or messages) or `messages`"),
    }
}
