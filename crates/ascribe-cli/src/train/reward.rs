//! `ascribe train reward`: a head of scores on a decoder, by any loss whose rows a file can hold.
//!
//! | loss | rows | what they say |
//! |---|---|---|
//! | bradley-terry, trajectories, general-preference | pairs | which response is better |
//! | margin, scaled | pairs with `margin` | by how much |
//! | ties | pairs; `margin` 0 is a tie | which is better, or neither |
//! | regression | ratings | each attribute |
//! | gaussian-heads | ratings | their mean, which every head learns from its own resample |

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{Seed, Tokens};
use ascribe::data::{ColumnMap, Preference, Rated, Split};
use ascribe::lm::{Head, LanguageModel, Row, Safetensors};
use ascribe::preference::{Encoder, TrainRow};
use ascribe::reward::losses::{LossOptions, PairLabel, UNRATED, bootstrap_weights};
use ascribe::reward::{
    CARD, Merge, Reading, RewardCard, RewardLearner, RewardLoss, RewardModel, RewardRow, Standard, rows_hash,
};
use ascribe::train::{Checkpoints, FitConfig};
use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::fitting::{Run, Trained};
use super::{base, checked, finish, fit_config, lora, parts, refuse_other_runs, short};
use crate::Catalog;
use crate::args::{HeadInitName, TrainArgs};
use crate::config::closest;
use crate::device::device;
use crate::hub::resolve;
use crate::output::{print_line, write_whole};
use crate::words::Words;

/// The name of the method.
pub const METHOD: &str = "reward";

/// Responses that the scale of a finished model is measured on.
const MEASURED: usize = 256;

/// Weight of the most certain one of uncertain heads, where nothing else is known.
const LAMBDA: f64 = 0.5;

/// What the rows of a loss say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teaches {
    /// Which response of a pair is better.
    Order,
    /// The same, with a margin that it has to be better by.
    Margin,
    /// The same, with what the pair counts for.
    Strength,
    /// The same, or that neither is.
    Ties,
    /// Ratings by attribute.
    Attributes,
    /// The mean of the ratings.
    Rating,
}

/// The losses of the command line: name, name in the library, and what their rows say.
const LOSSES: [(&str, &str, Teaches); 9] = [
    ("bradley-terry", "bradley-terry", Teaches::Order),
    ("margin", "bradley-terry", Teaches::Margin),
    ("scaled", "bradley-terry", Teaches::Strength),
    ("ties", "ties", Teaches::Ties),
    ("trajectories", "trajectories", Teaches::Order),
    ("general-preference", "general-preference", Teaches::Order),
    ("gpm", "general-preference", Teaches::Order),
    ("regression", "regression", Teaches::Attributes),
    ("gaussian-heads", "gaussian-heads", Teaches::Rating),
];

/// A loss by name, before the rows are known.
struct Chosen<'a> {
    name: String,
    known: &'a str,
    teaches: Teaches,
    kwargs: Map<String, Value>,
}

impl<'a> Chosen<'a> {
    fn of(args: &TrainArgs, catalog: &'a Catalog) -> anyhow::Result<Self> {
        let name = args.reward.loss.clone().unwrap_or_else(|| "bradley-terry".to_owned());
        let kwargs = args.reward.loss_kwargs.clone().unwrap_or_default();
        let listed = LOSSES.into_iter().find(|(known, ..)| *known == name).map(|(_, known, teaches)| (known, teaches));
        let own = catalog.reward_names().find(|known| *known == name).map(|known| (known, Teaches::Order));
        let Some((known, teaches)) = own.or(listed) else {
            let names: Vec<&str> = LOSSES.iter().map(|(name, ..)| *name).chain(catalog.reward_names()).collect();
            let close = closest(&name, names.iter().copied());
            bail!("there is no loss `{name}`{close}; those whose rows a file can hold are {}", names.join(", "));
        };
        let mut chosen = Self { name, known, teaches, kwargs };
        if let Some(weight) = args.reward.center_rewards_coefficient {
            if !["bradley-terry", "trajectories"].contains(&chosen.known) {
                bail!("center_rewards_coefficient centres pairs of scores, which {} has not; drop it", chosen.name);
            }
            chosen.kwargs.insert("centre".to_owned(), json!(weight));
        }
        if matches!(teaches, Teaches::Margin | Teaches::Strength) {
            chosen.kwargs.insert("labelled".to_owned(), json!(true));
        }
        if !args.reward.attribute_weights.is_empty() && teaches != Teaches::Attributes {
            bail!("attribute_weights are those of the loss regression; drop them with {}", chosen.name);
        }
        Ok(chosen)
    }

    /// The options of the library's loss.
    fn options(&self) -> anyhow::Result<LossOptions> {
        let field = self.known.replace('-', "_");
        let known = LOSSES.iter().any(|(_, known, _)| *known == self.known);
        match (known, self.kwargs.is_empty()) {
            (true, _) => {
                let options = Map::from_iter([(field, Value::Object(self.kwargs.clone()))]);
                serde_json::from_value(Value::Object(options)).with_context(|| format!("loss_kwargs of {}", self.name))
            }
            (false, true) => Ok(LossOptions::default()),
            (false, false) => {
                bail!("loss_kwargs are those of the built-in losses, and {} is none; drop them", self.name)
            }
        }
    }

    /// The loss, checked against what a file can give it.
    fn make(&self, args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<(Box<dyn RewardLoss>, LossOptions)> {
        let options = self.options()?;
        let loss = catalog.make_reward(self.known, &options)?;
        let needs = loss.needs();
        let responses = if matches!(self.teaches, Teaches::Attributes | Teaches::Rating) { 1 } else { 2 };
        let labels = match self.teaches {
            Teaches::Order => 0,
            Teaches::Margin | Teaches::Strength => PairLabel::columns(&[PairLabel::PLAIN]).len(),
            Teaches::Ties => 1,
            Teaches::Attributes => options.regression.attributes,
            Teaches::Rating => 1 + options.gaussian_heads.heads,
        };
        if (needs.responses, needs.labels) != (responses, labels) {
            bail!(
                "{} with these loss_kwargs needs rows of {} responses and {} labels, which no file holds; train it by the library",
                self.name,
                needs.responses,
                needs.labels
            );
        }
        if needs.coupled && args.gradient_accumulation_steps != 1 {
            bail!(
                "{} looks at all rows of an optimizer step together; set gradient_accumulation_steps to 1, not {}",
                self.name,
                args.gradient_accumulation_steps
            );
        }
        Ok((loss, options))
    }

    /// How the scores become a reward.
    fn reading(&self, args: &TrainArgs, options: &LossOptions, attributes: &[String]) -> anyhow::Result<Reading> {
        Ok(match self.teaches {
            Teaches::Attributes => {
                let given = &args.reward.attribute_weights;
                let weights = match given.is_empty() {
                    true => usual_weights(attributes),
                    false => given.clone(),
                };
                if weights.len() != attributes.len() {
                    let (n, names) = (attributes.len(), attributes.join(", "));
                    bail!(
                        "attribute_weights has {} numbers for {n} attributes ({names}); give one for each",
                        weights.len()
                    );
                }
                Reading::Attributes { names: attributes.to_vec(), weights }
            }
            Teaches::Rating => Reading::Heads { lambda: LAMBDA },
            _ if self.known == "general-preference" => Reading::Preference(options.general_preference),
            _ => Reading::Score,
        })
    }
}

/// The attributes of HelpSteer2 have published weights; others count alike.
fn usual_weights(attributes: &[String]) -> Vec<f64> {
    let published = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];
    match attributes.iter().map(String::as_str).eq(published) {
        true => Merge::LLAMA3_70B_STEERLM.to_vec(),
        false => vec![1.0 / attributes.len() as f64; attributes.len()],
    }
}

/// The records of a run, split by prompt.
enum Data {
    Pairs(Split<Preference>),
    Ratings(Split<Rated>, Vec<String>),
}

/// Rows with what is known of them.
struct Rows {
    train: Vec<RewardRow>,
    held_out: Vec<RewardRow>,
}

impl Data {
    fn load(args: &TrainArgs, chosen: &mut Chosen) -> anyhow::Result<Self> {
        let columns = ColumnMap::parse(&args.columns)?;
        if !matches!(chosen.teaches, Teaches::Attributes | Teaches::Rating) {
            return Ok(Self::Pairs(parts(args, ascribe::data::load(&args.data, &columns)?)?));
        }
        let split = parts(args, ascribe::data::load::<Rated>(&args.data, &columns)?)?;
        let mut attributes: Vec<String> = Vec::new();
        for (name, _) in split.train.iter().chain(&split.held_out).flat_map(|row| &row.ratings) {
            if !attributes.contains(name) {
                attributes.push(name.clone());
            }
        }
        if chosen.teaches == Teaches::Attributes {
            eprintln!("attributes: {}", attributes.join(", "));
            chosen.kwargs.insert("attributes".to_owned(), json!(attributes.len()));
        }
        Ok(Self::Ratings(split, attributes))
    }

    fn attributes(&self) -> &[String] {
        match self {
            Self::Pairs(_) => &[],
            Self::Ratings(_, attributes) => attributes,
        }
    }

    fn encode(
        self,
        args: &TrainArgs,
        encoder: &Encoder,
        chosen: &Chosen,
        options: &LossOptions,
    ) -> anyhow::Result<Rows> {
        match self {
            Self::Pairs(split) => {
                let part = |what: &str, records: Vec<Preference>| -> anyhow::Result<PairRows> {
                    of_pairs(args, chosen, checked(args, what, encoder.pairs(records)?)?.rows)
                };
                let (train, held_out) = (part("training", split.train)?, part("held-out", split.held_out)?);
                if chosen.known == "bradley-terry" && chosen.teaches == Teaches::Order && train.margins > 0 {
                    eprintln!("the pairs have margins, which bradley-terry leaves alone; margin and scaled heed them");
                }
                Ok(Rows { train: train.rows, held_out: held_out.rows })
            }
            Self::Ratings(split, attributes) => {
                let part = |what: &str, records: Vec<Rated>| -> anyhow::Result<Vec<RewardRow>> {
                    of_ratings(args, chosen, options, &attributes, checked(args, what, encoder.rated(records)?)?.rows)
                };
                Ok(Rows { train: part("training", split.train)?, held_out: part("held-out", split.held_out)? })
            }
        }
    }
}

/// Rows of pairs, and how many of them have a margin.
struct PairRows {
    rows: Vec<RewardRow>,
    margins: usize,
}

fn of_pairs(args: &TrainArgs, chosen: &Chosen, encoded: Vec<(TrainRow, Preference)>) -> anyhow::Result<PairRows> {
    let (mut rows, mut margins, mut weightless) = (Vec::with_capacity(encoded.len()), 0, 0);
    for (row, record) in encoded {
        margins += usize::from(record.margin.is_some());
        let margin = || -> anyhow::Result<f64> {
            let margin = record.margin.with_context(|| {
                format!("{} needs a `margin` for every pair, and line {} has none", chosen.name, record.line)
            })?;
            match margin >= 0.0 {
                true => Ok(f64::from(margin)),
                false => bail!("the margin of a pair must be at least 0, got {margin} in line {}", record.line),
            }
        };
        let labels = match chosen.teaches {
            Teaches::Margin => PairLabel::columns(&[PairLabel::margin(margin()?)]),
            Teaches::Strength => {
                let strength = margin()?;
                if strength == 0.0 {
                    weightless += 1;
                    continue;
                }
                PairLabel::columns(&[PairLabel::scaled(strength)])
            }
            Teaches::Ties => vec![f64::from(u8::from(record.margin == Some(0.0)))],
            Teaches::Order | Teaches::Attributes | Teaches::Rating => Vec::new(),
        };
        rows.push(reward_row(row, labels));
    }
    if weightless > 0 {
        if args.strict || rows.is_empty() {
            bail!("{weightless} pairs have the strength 0 and teach nothing; drop them");
        }
        eprintln!("{weightless} rows left out: pairs of the strength 0");
    }
    Ok(PairRows { rows, margins })
}

fn of_ratings(
    args: &TrainArgs,
    chosen: &Chosen,
    options: &LossOptions,
    attributes: &[String],
    encoded: Vec<(TrainRow, Rated)>,
) -> anyhow::Result<Vec<RewardRow>> {
    let [low, high] = options.regression.scale;
    let one = |(at, (row, record)): (usize, (TrainRow, Rated))| -> anyhow::Result<RewardRow> {
        let labels: Vec<f64> = match chosen.teaches {
            Teaches::Attributes => {
                if let Some((name, got)) = record.ratings.iter().find(|(_, rating)| !(low..=high).contains(rating)) {
                    let line = record.line;
                    bail!(
                        "a rating must be in [{low}, {high}], got {got} as {name} in line {line}; declare another scale by \
                         --loss-kwargs '{{\"scale\": [lowest, highest]}}'"
                    );
                }
                let rating = |name: &String| record.ratings.iter().find(|(known, _)| known == name).map(|(_, x)| *x);
                attributes.iter().map(|name| rating(name).unwrap_or(UNRATED)).collect()
            }
            _ => {
                let mean = record.ratings.iter().map(|(_, x)| x).sum::<f64>() / record.ratings.len() as f64;
                let mut stream = Seed(args.seed).stream("bootstrap", at as u64);
                [vec![mean], bootstrap_weights(options.gaussian_heads.heads, &mut stream)].concat()
            }
        };
        Ok(reward_row(row, labels))
    };
    encoded.into_iter().enumerate().map(one).collect()
}

fn reward_row(row: TrainRow, labels: Vec<f64>) -> RewardRow {
    let responses: Vec<Tokens> = row.responses.into_iter().map(|response| response.tokens).collect();
    RewardRow { prompt: row.prompt, responses, labels, line: row.line }
}

/// The model under a head of so many scores: its own, or a fresh one.
fn headed(args: &TrainArgs, labels: usize, device: &Device) -> anyhow::Result<LanguageModel> {
    let model = base(args, device)?;
    let wanted = Head::Sequence { labels };
    match model.config.head {
        head if head == wanted => {
            eprintln!("the model has a head of {labels} scores, from which training goes on");
            return Ok(model);
        }
        Head::NextToken => {}
        Head::Sequence { labels: had } | Head::Token { labels: had } => {
            eprintln!("the model's head of {had} scores gives way to a fresh one of {labels}");
        }
    }
    let init = args.reward.head_init.unwrap_or(HeadInitName::Narrow);
    Ok(model.with_decoder(model.decoder.with_head(wanted, init.into(), Seed(args.seed))?))
}

/// What must be the same for a resumed run, but for the rows.
fn identity(
    args: &TrainArgs,
    config: &FitConfig,
    chosen: &Chosen,
    model: &LanguageModel,
) -> Vec<(&'static str, String)> {
    vec![
        ("method", args.method.clone()),
        ("model", short(&model.decoder.hash())),
        ("loss", chosen.name.clone()),
        ("loss_kwargs", Value::Object(chosen.kwargs.clone()).to_string()),
        ("boundary", args.boundary.to_string()),
        ("options of training", json!(config).to_string()),
        ("lora", lora(args).map_or_else(|| "none".to_owned(), |config| format!("{config:?}"))),
    ]
}

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let mut chosen = Chosen::of(args, catalog)?;
    chosen.options()?;
    let config = fit_config(args);
    config.check()?;
    let device = device(&args.common.device)?;
    let data = Data::load(args, &mut chosen)?;
    let (loss, options) = chosen.make(args, catalog)?;
    let reading = chosen.reading(args, &options, data.attributes())?;
    let model = headed(args, loss.needs().width, &device)?;
    let mut identity = identity(args, &config, &chosen, &model);
    refuse_other_runs(args, &identity)?;
    let encoder = Encoder::new(&model, args.max_length)?.with_boundary(args.boundary);
    let Rows { train, held_out } = data.encode(args, &encoder, &chosen, &options)?;
    identity.push(("set of rows", short(&rows_hash(&train))));
    let card = RewardCard { loss: chosen.name.clone(), reading, standard: Standard::NONE };
    let learner = RewardLearner { loss: loss.as_ref() };
    let run = Run {
        args,
        config,
        learner: &learner,
        judge: &learner,
        model: &model,
        identity,
        train: &train,
        held_out: &held_out,
        beside: Some((CARD, card.to_text())),
    };
    let start = run.start(&device)?;
    let Trained { model, tally, best } = run.fit(start)?;
    write_scale(&args.output_dir, &model, card, if held_out.is_empty() { &train } else { &held_out })?;
    finish(args, tally, best)
}

/// Adds to the card what the rewards of some responses are like: mean and deviation, for ensembles.
fn write_scale(folder: &Path, model: &LanguageModel, card: RewardCard, rows: &[RewardRow]) -> anyhow::Result<()> {
    let reward_model = RewardModel::new(model, card.clone())?;
    let responses = |row: &RewardRow| row.responses.len().max(1);
    let kept = rows.iter().take(MEASURED.div_ceil(rows.first().map_or(1, responses)));
    let texts: Vec<Row> =
        kept.flat_map(|row| row.responses.iter().map(move |response| Row { prompt: &row.prompt, response })).collect();
    let rewards: Vec<f64> = reward_model.scored(&texts)?.into_iter().map(|one| one.reward).collect();
    // Rewards that are all the same have no scale.
    let standard = Standard::fit(&rewards).unwrap_or(Standard::NONE);
    write_whole(&folder.join(CARD), RewardCard { standard, ..card }.to_text().as_bytes())
}

/// Everything of the run that can be checked without weights.
pub fn validate(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let mut chosen = Chosen::of(args, catalog)?;
    chosen.options()?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    let words = Words::load(&args.model)?;
    let path = resolve(&args.model)?;
    if path.is_dir() {
        // The headers name every tensor; the weights themselves are left alone.
        Safetensors::open(&path)?;
    }
    if args.output_dir.exists() && !args.output_dir.is_dir() {
        bail!("`{}` is a file; name a folder with --output-dir", args.output_dir.display());
    }
    let data = Data::load(args, &mut chosen)?;
    let (loss, options) = chosen.make(args, catalog)?;
    chosen.reading(args, &options, data.attributes())?.check(loss.needs().width)?;
    let limit = words.limit(args.max_length);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?.with_boundary(args.boundary);
    let Rows { train, held_out } = data.encode(args, &encoder, &chosen, &options)?;
    if let Some((path, _)) = Checkpoints::new(&args.output_dir, args.save_total_limit).last()? {
        eprintln!("the run would go on from {}, if that is a checkpoint of the same run", path.display());
    }
    print_line(&format!(
        "the run can start: {} rows to train on, {} held out, {} steps of {} rows, {} scores a response",
        train.len(),
        held_out.len(),
        config.steps(train.len()),
        config.window(),
        loss.needs().width
    ))
}
