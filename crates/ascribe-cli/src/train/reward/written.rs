//! `ascribe train critique` and `ascribe train themis`: reward models that write before they score. The language model keeps its
//! head, has one of scores beside it, and both learn from one pass.
//!
//! | method | columns beside those of a pair | what is learned |
//! |---|---|---|
//! | critique | `chosen_critique`, `rejected_critique` | the critiques, and the score behind each |
//! | themis | `chosen_trace`, `rejected_trace` | calls of tools and rationales, and the score behind each; not what tools say |

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail};
use ascribe::burn::tensor::Device;
use ascribe::core::Seed;
use ascribe::data::{ColumnMap, DataError, Dialogues, Kind, Place, Preference, Record, Split, Untaught};
use ascribe::eval::Estimate;
use ascribe::lm::{Head, LanguageModel, Row, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::reward::losses::LossOptions;
use ascribe::reward::tools::TraceWeights;
use ascribe::reward::{
    CARD, Reading, RewardCard, RewardLoss, RewardModel, RewardRow, Writing, WritingLearner, WrittenRow, WrittenText,
    criticised, given_trace, rows_hash, traced,
};
use serde_json::{Map, Value, json};

use super::chosen::{Chosen, Teaches};
use super::data::of_pairs;
use super::{check_cut, identity, scale};
use crate::Catalog;
use crate::args::{HeadInitName, TrainArgs};
use crate::device::device;
use crate::output::{Progress, print_line, write_whole};
use crate::train::fitting::{Run, Trained};
use crate::train::rows::{checked, parts};
use crate::train::{base, check_run, finish_with, fit_config, refuse_other_runs, reward_accuracy, short, taken};
use crate::validate::{say_last, words};

/// The methods, with the usual weight of each of their two losses, and what they are in one line.
pub const METHODS: [(&str, f64, &str); 2] = [
    ("critique", 1.0, "A reward model that writes a critique before it scores."),
    ("themis", 0.5, "A reward model that calls tools and gives reasons before it scores."),
];

/// Tools that a trace may call, where none are named.
const TOOLS: [&str; 2] = ["Calculator", "Calendar"];

/// Calls before a score, where no number is given.
const CALLS: usize = 4;

/// Pairs that are scored together, behind what the model itself writes.
const TOGETHER: usize = 16;

/// Whether a method trains a reward model that writes.
pub fn is_written(method: &str) -> bool {
    METHODS.iter().any(|(name, ..)| *name == method)
}

/// A pair with what stands behind its responses.
struct WrittenPair {
    pair: Preference,
    critiques: [Option<String>; 2],
    traces: [Option<String>; 2],
}

impl Record for WrittenPair {
    const KIND: Kind = Kind::Preference;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        let mut text = |column: &'static str| match row.shift_remove(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(got) => {
                Err(DataError::Column { place: place.to_string(), column, rule: "a text", got: got.to_string() })
            }
        };
        let critiques = [text("chosen_critique")?, text("rejected_critique")?];
        let traces = [text("chosen_trace")?, text("rejected_trace")?];
        Ok(Preference::from_row(place, row)?.map(|pair| Self { pair, critiques, traces }))
    }

    fn key(&self) -> String {
        self.pair.key()
    }
}

/// Rows to learn from, and the held-out pairs as they are without anything written.
struct Rows {
    train: Vec<WrittenRow>,
    held_out: Vec<WrittenRow>,
    bare: Vec<RewardRow>,
}

/// What the options make of a run, before its rows are known.
struct Plan<'a> {
    chosen: Chosen<'a>,
    loss: Box<dyn RewardLoss>,
    options: LossOptions,
    card: RewardCard,
    /// Of the loss on scores, and of the language-model loss.
    weights: [f64; 2],
}

impl<'a> Plan<'a> {
    fn new(args: &TrainArgs, catalog: &'a Catalog) -> anyhow::Result<Self> {
        let chosen = Chosen::of(args, catalog)?;
        let pairs = [Teaches::Order, Teaches::Margin, Teaches::SoftMargin, Teaches::Ties, Teaches::Teacher];
        if !pairs.contains(&chosen.teaches) {
            bail!(
                "{} scores pairs behind what it writes, and {} is no loss on pairs as they are; use bradley-terry, margin, \
                 soft-margin, ties, trajectories, general-preference or weak-to-strong",
                args.method,
                chosen.name
            );
        }
        let (loss, options) = chosen.make(catalog)?;
        if !loss.memory().is_empty() {
            bail!(
                "a temperature is learned by the loss alone, and {} writes as well; drop tau_rate from loss_kwargs",
                args.method
            );
        }
        check_cut(args, &chosen, loss.as_ref())?;
        let reading = chosen.reading(args, &options, &[])?;
        reading.check(loss.needs().width)?;
        let writes = writing(args)?;
        writes.check()?;
        let card = RewardCard { loss: chosen.name.clone(), reading, writes: Some(writes), ..RewardCard::default() };
        let usual = METHODS.iter().find(|(name, ..)| *name == args.method).map_or(1.0, |(_, weight, _)| *weight);
        let given = &args.writing;
        let weights = [given.score_weight.unwrap_or(usual), given.lm_weight.unwrap_or(usual)];
        WritingLearner::new(loss.as_ref(), weights[0], weights[1])?;
        Ok(Self { chosen, loss, options, card, weights })
    }
}

/// What the model writes before it scores.
fn writing(args: &TrainArgs) -> anyhow::Result<Writing> {
    let max_new = args.rl.max_completion_length;
    if args.method == "critique" {
        return Ok(Writing::Critique { max_new });
    }
    let given = &args.writing;
    let facts: BTreeMap<String, String> = match &given.facts {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            serde_json::from_str(&text)
                .with_context(|| format!("`{}` must hold a JSON object of texts by key", path.display()))?
        }
        None => BTreeMap::new(),
    };
    let tools = match given.tools.is_empty() {
        true => TOOLS.iter().copied().chain(given.facts.as_ref().map(|_| "Table")).map(str::to_owned).collect(),
        false => given.tools.clone(),
    };
    Ok(Writing::Trace { tools, facts, n_calls: given.n_calls.unwrap_or(CALLS), max_new })
}

fn load(args: &TrainArgs) -> anyhow::Result<Split<WrittenPair>> {
    parts(args, ascribe::data::load::<WrittenPair>(&args.data, &ColumnMap::parse(&args.columns)?)?)
}

/// Which row of the file a pair is, and what stands behind its sides.
type Behind = HashMap<(usize, String, String), [Option<String>; 2]>;

fn encode(
    args: &TrainArgs,
    plan: &Plan<'_>,
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    limit: usize,
    split: Split<WrittenPair>,
) -> anyhow::Result<Rows> {
    let part = |what: &str, records: Vec<WrittenPair>| -> anyhow::Result<(Vec<WrittenRow>, Vec<RewardRow>)> {
        let before = records.len();
        let (mut behind, mut pairs) = (Behind::new(), Vec::with_capacity(before));
        for WrittenPair { pair, critiques, traces } in records {
            let texts = if args.method == "critique" { critiques } else { traces };
            behind.insert((pair.line, pair.chosen.clone(), pair.rejected.clone()), texts);
            pairs.push(pair);
        }
        let encoded = checked(args, what, encoder.pairs(pairs)?)?.rows;
        let (mut rows, mut bare, mut long) = (Vec::with_capacity(encoded.len()), Vec::new(), 0);
        for (row, record) in encoded {
            let line = record.line;
            let texts =
                behind.get(&(line, record.chosen.clone(), record.rejected.clone())).cloned().unwrap_or_default();
            let pair = Dialogues { pair: record, between: [Vec::new(), Vec::new()] };
            for one in of_pairs(args, &plan.chosen, &plan.options, vec![(row, pair)])?.rows {
                let row = written(args, plan, tokenizer, &one, &texts).with_context(|| format!("line {line}"))?;
                let longest = row.row.responses.iter().map(|response| response.len()).max().unwrap_or(0);
                match row.row.prompt.len() + longest > limit {
                    true => long += 1,
                    false => {
                        rows.push(row);
                        bare.push(one);
                    }
                }
            }
        }
        if long > 0 {
            let said = format!("{long} {what} rows are longer than {limit} tokens with what is written");
            if args.strict || rows.is_empty() {
                bail!("{said}; raise max_length, or leave out --strict");
            }
            eprintln!("{said}: left out");
        }
        Ok((rows, bare))
    };
    let (train, _) = part("training", split.train)?;
    let (held_out, bare) = part("held-out", split.held_out)?;
    let taught = |row: &WrittenRow| row.weights.iter().flatten().any(|weight| *weight > 0.0);
    let silent = train.iter().filter(|row| !taught(row)).count();
    if silent == train.len() {
        bail!("no pair has a critique; give `chosen_critique` and `rejected_critique`, or use train reward");
    }
    if silent > 0 {
        eprintln!("{silent} of {} pairs have no critique, and teach their scores alone", train.len());
    }
    Ok(Rows { train, held_out, bare })
}

/// A pair up to where its scores are read.
fn written(
    args: &TrainArgs,
    plan: &Plan<'_>,
    tokenizer: &Tokenizer,
    row: &RewardRow,
    texts: &[Option<String>; 2],
) -> anyhow::Result<WrittenRow> {
    let count = texts.iter().flatten().count();
    let tools: Vec<&str> = match &plan.card.writes {
        Some(Writing::Trace { tools, .. }) => tools.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let mut sides = Vec::with_capacity(texts.len());
    for (response, text) in row.responses.iter().zip(texts) {
        sides.push(match (args.method.as_str(), text) {
            ("critique", _) if count == 1 && !args.writing.single_critiques => {
                bail!(
                    "one side of the pair alone has a critique; complete it, or take such pairs with --single-critiques"
                )
            }
            ("critique", Some(text)) => criticised(tokenizer, &row.prompt, response, text)?,
            ("critique", None) => WrittenText {
                prompt: row.prompt.to_vec(),
                response: response.to_vec(),
                weights: vec![0.0; response.len()],
            },
            (_, Some(text)) => {
                let trace = given_trace(tokenizer, &row.prompt, response)?.followed_by(text, &tools)?;
                traced(tokenizer, &trace, &TraceWeights::default())?
            }
            (_, None) => bail!("a pair needs `chosen_trace` and `rejected_trace`; drop it, or complete it"),
        });
    }
    Ok(WrittenRow::new(sides, row.labels.clone(), row.line)?)
}

/// The model with a head of scores beside that of the next token: its own, or a fresh one.
fn with_scores(args: &TrainArgs, scores: usize, device: &Device) -> anyhow::Result<LanguageModel> {
    let model = base(args, device)?;
    if model.config.head != Head::NextToken {
        bail!("{} writes before it scores, and the model is a classifier; name a language model", args.method);
    }
    if model.config.scores == scores {
        eprintln!("the model has a head of {scores} scores beside the next token, from which training goes on");
        return Ok(model);
    }
    let init = args.reward.head_init.unwrap_or(HeadInitName::Narrow);
    Ok(model.with_decoder(model.decoder.with_scores(scores, init.into(), Seed(args.seed))?))
}

fn hash(rows: &[WrittenRow]) -> String {
    // The labels of a row, then the weights of its tokens.
    let weighed = |row: &WrittenRow| {
        let weights = row.weights.iter().flatten().map(|weight| f64::from(*weight));
        RewardRow { labels: row.row.labels.iter().copied().chain(weights).collect(), ..row.row.clone() }
    };
    short(&rows_hash(&rows.iter().map(weighed).collect::<Vec<_>>()))
}

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let plan = Plan::new(args, catalog)?;
    let config = fit_config(args);
    config.check()?;
    let device = device(&args.common.device)?;
    taken::refuse(args)?;
    check_run(args)?;
    let split = load(args)?;
    let model = with_scores(args, plan.loss.needs().width, &device)?;
    if let Some(writes) = &plan.card.writes {
        writes.check_context(model.config.context)?;
    }
    let mut identity = identity(args, &config, &plan.chosen, &model);
    identity.push(("card", plan.card.to_text()));
    identity.push(("weights of the losses", json!(plan.weights).to_string()));
    refuse_other_runs(args, &identity)?;
    let limit = crate::train::length_limit(args, model.config.context);
    let encoder = Encoder::new(&model, limit)?;
    let Rows { train, held_out, mut bare } = encode(args, &plan, &encoder, &model.tokenizer, limit, split)?;
    identity.push(("set of rows", hash(&train)));
    let learner = WritingLearner::new(plan.loss.as_ref(), plan.weights[0], plan.weights[1])?;
    let run = Run {
        args,
        config,
        learner: &learner,
        judge: &learner,
        model: &model,
        identity,
        train: &train,
        held_out: &held_out,
        source: None,
        beside: Some((CARD, plan.card.to_text())),
    };
    let start = run.start()?;
    let Trained { model, tally, best } = run.fit(start)?;
    let measured = if held_out.is_empty() { &train } else { &held_out };
    let measured: Vec<RewardRow> = measured.iter().map(|row| row.row.clone()).collect();
    // Measured behind what is given: rewards behind what the model writes are like these once it has learned to write.
    let (standard, _) = scale(&model, RewardCard { writes: None, ..plan.card.clone() }, &measured)?;
    let card = RewardCard { standard, ..plan.card.clone() };
    write_whole(&args.output_dir.join(CARD), card.to_text().as_bytes())?;
    let mut summary = Map::new();
    // A tie has no better side to find.
    bare.retain(|row| plan.chosen.teaches != Teaches::Ties || row.labels != [1.0]);
    if !bare.is_empty() {
        let accuracy = self_written(args, &model, card, &bare)?;
        print_line(&format!("held-out reward accuracy behind what the model itself writes {accuracy}"))?;
        summary.insert("self_written_accuracy".to_owned(), serde_json::to_value(accuracy)?);
    }
    finish_with(args, tally, best, summary)
}

/// How often the chosen response earns more, each behind what the model itself writes; a tie counts one half.
fn self_written(
    args: &TrainArgs,
    model: &LanguageModel,
    card: RewardCard,
    rows: &[RewardRow],
) -> anyhow::Result<Estimate> {
    // A preference model compares all responses to a prompt that it is given together, and a pair is two of them.
    let together = if matches!(card.reading, Reading::Preference(_)) { 1 } else { TOGETHER };
    let judge = RewardModel::new(model, card)?;
    let (mut right, mut progress) = (Vec::with_capacity(rows.len()), Progress::new("write and score", rows.len()));
    for part in rows.chunks(together) {
        let texts: Vec<Row> = part
            .iter()
            .flat_map(|row| row.responses.iter().map(|response| Row { prompt: &row.prompt, response }))
            .collect();
        for pair in judge.scored(&texts)?.chunks(2) {
            let [chosen, rejected] = pair else { bail!("a pair has two rewards, got {}", pair.len()) };
            right.push(match chosen.reward.total_cmp(&rejected.reward) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            });
        }
        progress.at(right.len());
    }
    reward_accuracy(&right, args.seed)
}

/// Everything of the run that can be checked without weights.
pub fn validate(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let plan = Plan::new(args, catalog)?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    taken::refuse(args)?;
    check_run(args)?;
    let words = words(args)?;
    if let Some(writes) = &plan.card.writes {
        writes.check_context(words.limit(usize::MAX))?;
    }
    let split = load(args)?;
    let limit = words.limit(args.max_length);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?;
    let Rows { train, held_out, .. } = encode(args, &plan, &encoder, &words.tokenizer, limit, split)?;
    say_last(args)?;
    let taught: usize =
        train.iter().map(|row| row.weights.iter().flatten().filter(|weight| **weight > 0.0).count()).sum();
    print_line(&format!(
        "the run can start: {} rows to train on, {} held out, {} steps of {} rows, {taught} tokens to write",
        train.len(),
        held_out.len(),
        config.steps(train.len()),
        config.window()
    ))
}
