//! `ascribe label`: labels of steps, and of whole responses, made by a model that completes.
//!
//! The output has one line for the run and one for each item, written when the item is done. The same command goes on from
//! where it stopped, and `--merge` makes one file of rows out of the outputs of all shards. What is made for an item hangs on
//! its number and the seed alone.

mod methods;
pub mod texts;
mod work;

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Sampling, Seed, Tokens};
use ascribe::data::{Message, Prompt};
use ascribe::lm::{FrozenModel, SpecialTokens};
use ascribe::preference::Encoder;
use ascribe::process::label::{Completer, Limits, Spent, miss_probability};
use ascribe::process::{Gold, Verdict};
use serde_json::{Value, json};

use crate::args::{LabelArgs, LabelMethod, RowsName};
use crate::check_answer::columns;
use crate::device::device;
use crate::generate::{check_room, frozen};
use crate::interrupt::{self, Interrupted};
use crate::output::{Progress, print_line};
use crate::records::{Record, Records};
use texts::Texts;
use work::Work;

/// A problem with its right answer.
struct Item {
    /// The prompt as it is asked, for the rows: a text that a chat template renders is a message there, too, so that whoever
    /// learns from the rows reads the same ids.
    prompt: Value,
    /// The right answer as the file has it.
    answer: Value,
    /// The prompt as it is asked.
    asked: Prompt,
    /// Token ids of the prompt.
    ids: Tokens,
    gold: Gold,
    completion: Option<String>,
    /// The first wrong step by a judge, or -1; where consensus is asked for.
    judged: Option<i64>,
}

/// Options of making labels, which say nothing of rows that are made.
const OF_MAKING: [&str; 34] = [
    "model",
    "adapter",
    "weights",
    "shard",
    "columns",
    "raw",
    "segment",
    "rows",
    "view",
    "labels",
    "after_error",
    "consensus",
    "first_pit",
    "consistent",
    "rollouts",
    "root_rollouts",
    "searches",
    "confirm",
    "simulations",
    "children",
    "threshold",
    "method_args",
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "max_policy_calls",
    "seed",
    "preset",
    "extraction",
    "answer_kind",
    "percent_lenient",
    // clap itself refuses these.
    "method",
    "input",
];

pub fn run(args: &LabelArgs) -> anyhow::Result<()> {
    if !args.merge.is_empty() {
        if let Some(name) = OF_MAKING.into_iter().find(|name| args.given.has(name)) {
            bail!("{name} does nothing with --merge, which puts finished rows together; leave it out");
        }
        return work::merge(&args.merge, &args.output);
    }
    let (Some(method), Some(path), Some(input)) = (args.method, &args.model, &args.input) else {
        bail!("a labelling run needs --method, --model and --input; shards are put together by --merge");
    };
    let rows = kind_of_rows(method, args.rows)?;
    refuse_idle(args, method)?;
    if args.view.is_some() && rows != RowsName::Pairs {
        bail!("view is what rows of pairs show; add --rows pairs, or drop it");
    }
    methods::check(args, method)?;
    let sampling = sampling(args)?;
    let records = Records::read(input)?;
    let model = frozen(path, args.adapter.as_deref(), args.weights, &device(&args.common.device)?)?;
    let items = items(args, method, &records, &model)?;
    let mut work = Work::open(&args.output, header(args, method, rows, &records)?)?;
    let checker = args.checker.checker();
    let outcome = |problem: u64, response: &[u32]| -> Result<Verdict, CoreError> {
        let text = model.tokenizer.decode(response, SpecialTokens::Skip);
        let text = text.map_err(|error| CoreError::Other(Box::new(error)))?;
        Ok(items.get(problem as usize).map_or(Verdict::Undecided, |item| checker.check(&text, &item.gold).verdict))
    };
    let name = path.display().to_string();
    let limits =
        Limits { policy_calls: (args.max_policy_calls > 0).then_some(args.max_policy_calls), new_tokens: None };
    let texts = Texts { tokenizer: &model.tokenizer, segmenter: &args.segment };
    let accepts = methods::consistent(&texts);
    let mine: Vec<usize> = (0..items.len()).filter(|item| args.shard.holds(*item)).collect();
    let mut progress = Progress::new("label", mine.len());
    let (began, mut spent, mut written) = (Instant::now(), Spent::default(), 0);
    let (mut right, mut rollouts, mut pits) = (0, 0, [0; 3]);
    let cancel = interrupt::flag()?;
    for (at, number) in mine.iter().enumerate() {
        progress.at(at);
        if work.has(*number) {
            continue;
        }
        if cancel.load(Ordering::Relaxed) {
            let done = mine.iter().filter(|item| work.has(**item)).count();
            let (all, output) = (mine.len(), args.output.display());
            let words = format!("{done} of {all} items are done in {output}; the same command goes on behind them");
            return Err(Interrupted(words).into());
        }
        let mut completer = Completer::new(&model.policy, &outcome, &name, args.max_new_tokens, Seed(args.seed))
            .with_sampling(sampling)
            .with_limits(limits);
        if args.consistent {
            completer = completer.accepting(&accepts);
        }
        let place = || records.place(&records.rows[*number]);
        let item = &items[*number];
        let job = methods::Job { args, kind: rows, problem: *number as u64, item, texts: &texts };
        let labelled = methods::label(job, method, &model, &mut completer).with_context(place)?;
        written += labelled.rows.len();
        let [more_right, more] = labelled.rollouts;
        (right, rollouts) = (right + more_right, rollouts + more);
        pits.iter_mut().zip(labelled.pits).for_each(|(sum, more)| *sum += more);
        spent += completer.spent();
        work.write(*number, &labelled.rows, &labelled.ended, &completer.spent())?;
    }
    drop(progress);
    if rollouts > 0 {
        let share = right as f64 / rollouts as f64;
        let each = args.rollouts.unwrap_or(methods::ROLLOUTS);
        eprintln!(
            "{share:.3} of {rollouts} rollouts from steps are right; where that is the chance, none of {each} is with {:.4}",
            miss_probability(share, each as u32)?
        );
    }
    if let Some(above) = args.first_pit {
        let [wrong, found, steps] = pits;
        let place =
            if found > 0 { format!(", at step {:.2} in the mean", steps as f64 / found as f64) } else { String::new() };
        eprintln!("first pits: {found} of {wrong} new wrong completions fall from a value above {above} to 0{place}");
    }
    print_line(&format!(
        "{} items in {}, {written} new rows in {:.1} s: {} policy calls, {} tokens read and {} written, {} answers checked",
        mine.len(),
        args.output.display(),
        began.elapsed().as_secs_f64(),
        spent.policy_calls,
        spent.tokens.scored,
        spent.tokens.generated,
        spent.verifier_calls
    ))
}

/// The kind of rows that a method writes.
fn kind_of_rows(method: LabelMethod, wanted: Option<RowsName>) -> anyhow::Result<RowsName> {
    let kinds: &[RowsName] = match method {
        LabelMethod::MonteCarlo | LabelMethod::Sorm => &[RowsName::Steps],
        LabelMethod::Omega => &[RowsName::Steps, RowsName::Pairs],
        LabelMethod::Mcts => &[RowsName::Pairs],
        LabelMethod::Evolve => &[RowsName::Steps, RowsName::Completions],
        LabelMethod::Refine | LabelMethod::SelfCorrect => &[RowsName::Completions],
        LabelMethod::Outcomes => &[RowsName::Outcomes],
    };
    match wanted {
        None => Ok(kinds[0]),
        Some(wanted) if kinds.contains(&wanted) => Ok(wanted),
        Some(wanted) => bail!("this method writes no rows of the kind `{wanted:?}`; leave out --rows"),
    }
}

/// Refuses an option that the method does not heed.
fn refuse_idle(args: &LabelArgs, method: LabelMethod) -> anyhow::Result<()> {
    use LabelMethod::{Evolve, Mcts, MonteCarlo, Omega, Outcomes, Refine, SelfCorrect, Sorm};
    let numbers = args.method_args.as_object().is_some_and(|numbers| !numbers.is_empty());
    let options: [(&str, bool, &[LabelMethod]); 14] = [
        ("--first-pit", args.first_pit.is_some(), &[MonteCarlo]),
        ("--view", args.view.is_some(), &[Omega, Mcts]),
        ("--labels", args.labels.is_some(), &[MonteCarlo, Omega, Evolve]),
        ("--after-error", args.after_error.is_some(), &[MonteCarlo]),
        ("--consensus", args.consensus, &[MonteCarlo]),
        ("--consistent", args.consistent, &[Sorm]),
        ("--rollouts", args.rollouts.is_some(), &[MonteCarlo, Sorm, Omega, Refine, SelfCorrect, Outcomes]),
        ("--root-rollouts", args.root_rollouts.is_some(), &[Omega]),
        ("--searches", args.searches.is_some(), &[Omega]),
        ("--confirm", args.confirm, &[Omega]),
        ("--simulations", args.simulations.is_some(), &[Mcts]),
        ("--children", args.children.is_some(), &[Mcts, Evolve]),
        ("--threshold", args.threshold.is_some(), &[Mcts]),
        ("--method-args", numbers, &[Omega, Mcts, Evolve]),
    ];
    for (name, given, methods) in options {
        if given && !methods.contains(&method) {
            bail!("{name} is no option of this method; leave it out (`ascribe label --help` says whose it is)");
        }
    }
    Ok(())
}

fn sampling(args: &LabelArgs) -> anyhow::Result<Sampling> {
    let top_k = (args.top_k > 0).then_some(args.top_k);
    let sampling = Sampling { temperature: args.temperature, top_k, top_p: args.top_p, ..Sampling::default() };
    sampling.check()?;
    Ok(sampling)
}

/// What a run is: a file that was made otherwise is not gone on with, and shards of one run have all of it in common.
fn header(args: &LabelArgs, method: LabelMethod, rows: RowsName, records: &Records) -> anyhow::Result<Value> {
    let checker = serde_json::to_value(args.checker.checker())?;
    let fields = [
        ("ascribe_label", json!(1)),
        ("method", json!(format!("{method:?}"))),
        ("rows", json!(format!("{rows:?}"))),
        ("items", json!(records.rows.len())),
        ("content", json!(digest(records)?)),
        ("model", json!(args.model)),
        ("adapter", json!(args.adapter)),
        ("weights", json!(format!("{:?}", args.weights))),
        ("input", json!(args.input)),
        ("columns", json!(args.columns)),
        ("raw", json!(args.raw)),
        ("segmentation", json!(args.segment.id())),
        ("view", json!(args.view)),
        ("labels", json!(args.labels.unwrap_or_default())),
        ("after_error", json!(args.after_error.unwrap_or_default())),
        ("consensus", json!(args.consensus)),
        ("first_pit", json!(args.first_pit)),
        ("consistent", json!(args.consistent)),
        ("rollouts", json!(args.rollouts.unwrap_or(methods::ROLLOUTS))),
        ("root_rollouts", json!(args.root_rollouts)),
        ("searches", json!(args.searches)),
        ("confirm", json!(args.confirm)),
        ("simulations", json!(args.simulations)),
        ("children", json!(args.children)),
        ("threshold", json!(args.threshold)),
        ("method_args", args.method_args.clone()),
        ("max_new_tokens", json!(args.max_new_tokens)),
        ("temperature", json!(args.temperature)),
        ("top_k", json!(args.top_k)),
        ("top_p", json!(args.top_p)),
        ("max_policy_calls", json!(args.max_policy_calls)),
        ("seed", json!(args.seed)),
        ("checker", checker),
        ("shard", json!(args.shard.to_string())),
    ];
    Ok(Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

/// A number for the content of all rows (FNV-1a), so that a run does not go on with another file of the same name.
fn digest(records: &Records) -> anyhow::Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for row in &records.rows {
        for byte in serde_json::to_string(row.cells())?.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(format!("{hash:016x}"))
}

/// Reads every row, so that a broken one refuses the run before anything is asked.
fn items(args: &LabelArgs, method: LabelMethod, records: &Records, model: &FrozenModel) -> anyhow::Result<Vec<Item>> {
    let names = ["prompt", "answer", "completion", "judged"];
    let [prompt, answer, completion, judged] = columns(&args.columns, names)?;
    let (checker, encoder) = (args.checker.checker(), Encoder::frozen(model)?);
    let chat = !args.raw && model.template.is_some();
    let given = matches!(method, LabelMethod::MonteCarlo | LabelMethod::Sorm);
    let read = |row: &Record| -> anyhow::Result<Item> {
        let value = records.value(row, &prompt)?;
        let asked = match value {
            Value::String(text) if chat => Prompt::Messages(vec![Message::new("user", text.as_str())]),
            Value::String(text) => Prompt::Text(text.clone()),
            messages @ Value::Array(_) => {
                let messages: Vec<Message> = serde_json::from_value(messages.clone())
                    .context("messages must have the strings `role` and `content`")?;
                Prompt::Messages(messages)
            }
            other => return Err(records.wrong(row, &prompt, "a text or messages", other)),
        };
        let ids = encoder.prompt(&asked)?;
        check_room(&ids, model.config.context)?;
        let completion = if given { Some(records.text(row, &completion)?.to_owned()) } else { None };
        if let Some(completion) = &completion {
            let (length, context) = (ids.len() + model.tokenizer.encode(completion)?.len(), model.config.context);
            if length > context {
                bail!("{length} tokens do not fit the context of {context}; shorten the completion, or drop the row");
            }
        }
        let gold = checker.gold(&records.label(row, &answer)?)?;
        let answer = records.value(row, &answer)?.clone();
        let judged = match args.consensus {
            true => Some(records.integer(row, &judged)?),
            false => None,
        };
        if let Some(step) = judged.filter(|step| *step < -1) {
            bail!("`judged` must be the number of a step, from 0, or -1, got {step}; correct or drop the row");
        }
        Ok(Item { prompt: serde_json::to_value(&asked)?, answer, asked, ids, gold, completion, judged })
    };
    records.rows.iter().map(|row| read(row).with_context(|| records.place(row))).collect()
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn every_option_is_one_of_making_labels_or_of_merging() {
        let of_merging = ["merge", "output", "device", "config"];
        let command = LabelArgs::augment_args(clap::Command::new("options"));
        let mut typed: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        let mut known = [of_merging.as_slice(), OF_MAKING.as_slice()].concat();
        typed.sort_unstable();
        known.sort_unstable();
        assert_eq!(typed, known);
    }
}
