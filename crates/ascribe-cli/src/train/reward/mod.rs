//! `ascribe train reward`: a head of scores on a decoder, by any loss whose rows a file can hold.
//!
//! | loss | rows | what they say |
//! |---|---|---|
//! | bradley-terry, trajectories, general-preference | pairs | which response is better |
//! | margin, scaled | pairs with `margin` | by how much |
//! | soft-margin | pairs with `margin` and `consistency` | by how much, and how likely the label is right |
//! | ties | pairs; `margin` 0 is a tie | which is better, or neither |
//! | regression | ratings | each attribute |
//! | concept-energy | ratings of 0 and 1, one of which is `label` | whether the response is good, and which concepts it has |
//! | gaussian-heads | ratings | their mean, which every head learns from its own resample |
//! | k-wise | ratings, or right and wrong replies | the order of all replies to a prompt |
//! | confidence | pairs | a right answer is to be sure of itself, a wrong one not |
//! | weak-to-strong | pairs with `margin` | by how much a weaker model prefers the first, which may be wrong |
//! | machine-text | three rated replies to each prompt | machine text is to score above mixed text, that above human text |
//!
//! Beside a loss on pairs may stand the language of the chosen response and a contrast of responses (`beside`), or, with plain
//! Bradley-Terry, weights of the sources that pairs come from (`sources`).

mod beside;
mod chosen;
mod data;
mod meta;
mod replay;
mod sources;
pub(crate) mod written;

use std::path::Path;

use anyhow::bail;
use ascribe::lm::{Decoder, Head, LanguageModel, Pooling, Row};
use ascribe::preference::Encoder;
use ascribe::reward::losses::{GeneralPreference, UNRATED};
use ascribe::reward::{
    CARD, Merge, MetaLearner, Reading, ReplayLearner, RewardCard, RewardLearner, RewardLoss, RewardModel, RewardRow,
    Scored, Standard, joint_energies, rows_hash,
};
use ascribe::train::{FitConfig, Learner, Source};
use serde_json::{Value, json};

use super::fitting::{Run, Trained};
use super::{base, check_run, finish, fit_config, identity_of_head, refuse_other_runs, short, taken, under_head};
use crate::Catalog;
use crate::args::TrainArgs;
use crate::device::device;
use crate::hub::resolve;
use crate::output::{print_line, write_whole};
use crate::validate::{say_last, words};
use beside::Beside;
use chosen::Chosen;
pub(crate) use chosen::loss_names;
use data::{Data, groups_of, merge_pairs};
use sources::{Sourced, Sources};

/// The name of the method.
pub const METHOD: &str = "reward";
/// What it is, in one line.
pub const ABOUT: &str = "A reward model: a head of scores on the model, by a loss on pairs or ratings (`--loss`).";

/// Share of the concepts that are flipped where the label is learned from them: that of the code of concept bottlenecks.
const FLIPPED: f64 = 0.2;

/// Weight of the replay, where none is given: that of ReMoDetect's code.
const REPLAY: f64 = 0.01;

/// Responses that the scale of a finished model is measured on.
const MEASURED: usize = 256;

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let mut chosen = Chosen::of(args, catalog)?;
    chosen.options()?;
    let config = fit_config(args);
    config.check()?;
    let device = device(&args.common.device)?;
    taken::refuse(args)?;
    check_run(args)?;
    let beside = Beside::of(args, &chosen)?;
    let sources = Sources::of(args, &chosen)?;
    let groups = args.reward.meta_data.as_deref().map(meta::read).transpose()?;
    let data = Data::load(args, &mut chosen)?;
    let (loss, options) = chosen.make(catalog)?;
    let replayed = replay::read(args, loss.needs().width)?;
    let reading = chosen.reading(args, &options, data.attributes())?;
    reading.check(loss.needs().width)?;
    let loss: &dyn RewardLoss = loss.as_ref();
    beside.check(args, loss)?;
    check_cut(args, &chosen, loss)?;
    let started = base(args, &device)?;
    let auxiliary = if beside.is_nothing() { None } else { Some(beside.learner(args, loss, &started)?) };
    let model = under_head(args, started, Head::Sequence { labels: loss.needs().width })?;
    let pooling = pooling(args)?;
    let model = model.with_decoder(model.decoder.clone().with_pooling(pooling));
    let mut identity = identity(args, &config, &chosen, &model);
    identity.push(("pooling", json!(model.decoder.pooling()).to_string()));
    identity.push(beside.identity());
    refuse_other_runs(args, &identity)?;
    let encoder = Encoder::new(&model, args.max_length)?.with_boundary(args.boundary);
    let rows = data.encode(args, &encoder, &chosen, &options)?;
    let merge = args.reward.merge_data.as_deref().map(|path| merge_pairs(args, &encoder, path)).transpose()?;
    identity.push(("set of rows", short(&rows_hash(&rows.train))));
    let reading = with_joint_energies(reading, &rows.train)?;
    let card = RewardCard { loss: chosen.name.clone(), pooling, reading, ..RewardCard::default() };
    // What the scale and the errors of the finished model are measured on.
    let unseen = !rows.held_out.is_empty();
    let measured = if unseen { &rows.held_out } else { &rows.train };
    let measured: Vec<RewardRow> = measured.iter().take(MEASURED).cloned().collect();
    let job = Job { args, config, model: &model, card: &card };
    let trained = match (sources, groups.zip(args.reward.meta_rate), auxiliary, replayed) {
        (Some(mut sources), ..) => {
            let Sourced { train, held_out } = sources.name(rows)?;
            identity.push(sources.identity(&train));
            let source = sources::source(&train, args, &job.config)?;
            job.fit(&sources.learner()?, identity, [train.as_slice(), held_out.as_slice()], source)?
        }
        (None, Some((groups, rate)), ..) => {
            let groups = groups_of(args, &encoder, groups)?;
            identity.push(("meta_rate", rate.to_string()));
            identity.push(("set of groups", short(&rows_hash(&groups))));
            job.fit(&MetaLearner::new(loss, &groups, rate)?, identity, rows.parts(), None)?
        }
        (None, None, Some(learner), _) => job.fit(&learner, identity, rows.parts(), None)?,
        (None, None, None, Some(pairs)) => {
            let pairs = replay::scored(&model, card.clone(), replay::encoded(args, &encoder, pairs)?)?;
            let weight = args.reward.replay_weight.unwrap_or(REPLAY);
            identity.push(("replay_weight", weight.to_string()));
            identity.push(("set of replayed pairs", short(&rows_hash(&pairs))));
            let [train, held_out] = rows.parts().map(|rows| replay::beside(rows, &pairs));
            let learner = ReplayLearner::new(loss, weight)?;
            job.fit(&learner, identity, [train.as_slice(), held_out.as_slice()], None)?
        }
        (None, None, None, None) => job.fit(&RewardLearner { loss }, identity, rows.parts(), None)?,
    };
    let Trained { model, tally, best } = trained;
    let card = tempered(card, &loss.memory());
    let card = match merge {
        None => card,
        Some(pairs) => merged(&model, card, &pairs)?,
    };
    write_scale(&args.output_dir, &model, card, &measured, unseen)?;
    finish(args, tally, best)
}

/// Refuses to cut steps by tokens where their rows go through the model together, or others beside them.
fn check_cut(args: &TrainArgs, chosen: &Chosen<'_>, loss: &dyn RewardLoss) -> anyhow::Result<()> {
    if args.max_batch_tokens.is_none() {
        return Ok(());
    }
    if loss.needs().coupled {
        bail!(
            "max_batch_tokens does not go with the loss {}, whose rows depend on each other and go through the model at once; \
             leave it out",
            chosen.name
        );
    }
    let reward = &args.reward;
    let beside = [
        ("contrast", reward.contrast.is_some()),
        ("meta_data", reward.meta_data.is_some()),
        ("replay_data", reward.replay_data.is_some()),
        ("source_column", reward.source_column.is_some()),
    ];
    match beside.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => {
            bail!("max_batch_tokens does not go with {name}, which weighs all rows of a step together; leave it out")
        }
        None => Ok(()),
    }
}

/// How the scores become a reward, with the energies of the label given the concepts where these are its parts.
fn with_joint_energies(reading: Reading, rows: &[RewardRow]) -> anyhow::Result<Reading> {
    let Reading::Concepts { names, weights, .. } = reading else { return Ok(reading) };
    let flags = |row: &RewardRow| {
        let mut flags = row.labels.iter().map(|label| *label == 1.0);
        (flags.next().unwrap_or(false), flags.collect::<Vec<bool>>())
    };
    let joint = joint_energies(&rows.iter().map(flags).collect::<Vec<_>>(), FLIPPED)?;
    Ok(Reading::Concepts { names, joint, weights })
}

/// What must be the same for a resumed run, but for its rows.
fn identity(
    args: &TrainArgs,
    config: &FitConfig,
    chosen: &Chosen<'_>,
    model: &LanguageModel,
) -> Vec<(&'static str, String)> {
    let mut identity = identity_of_head(args, config, model);
    identity.push(("loss", chosen.name.clone()));
    identity.push(("loss_kwargs", Value::Object(chosen.kwargs.clone()).to_string()));
    identity.push(("boundary", args.boundary.to_string()));
    identity
}

/// Which states the head of the model reads, as its card says.
fn own_pooling(args: &TrainArgs) -> anyhow::Result<Pooling> {
    Ok(RewardCard::read(&resolve(&args.model)?)?.map_or(Pooling::Last, |card| card.pooling))
}

/// The card with the temperature that the loss of a general preference model has learned.
fn tempered(mut card: RewardCard, memory: &[f64]) -> RewardCard {
    if let (Reading::Preference(config), [t]) = (&mut card.reading, memory) {
        config.tau = GeneralPreference::temperature(*t);
        eprintln!("the temperature is {:.4} now", config.tau);
    }
    card
}

/// Which states the head reads: as asked, or as the model says that it does.
fn pooling(args: &TrainArgs) -> anyhow::Result<Pooling> {
    let pooling = args.reward.pooling.map_or_else(|| own_pooling(args), |name| Ok(name.into()))?;
    if pooling == Pooling::Mean {
        eprintln!(
            "the head reads the mean over all tokens; other software reads the last token, and finds other scores"
        );
    }
    Ok(pooling)
}

/// What training needs whatever the learner.
struct Job<'a> {
    args: &'a TrainArgs,
    config: FitConfig,
    model: &'a LanguageModel,
    card: &'a RewardCard,
}

/// Where the rows of a step come from, where it is not shuffled epochs, and how many steps there are.
type Given<'s, R> = Option<(Box<dyn Source<Decoder, R> + 's>, usize)>;

impl Job<'_> {
    /// Trains by a learner on rows, and measures those that are held out.
    fn fit<L: Learner<Model = Decoder>>(
        self,
        learner: &L,
        identity: Vec<(&'static str, String)>,
        [train, held_out]: [&[L::Row]; 2],
        source: Given<'_, L::Row>,
    ) -> anyhow::Result<Trained> {
        let Self { args, config, model, card } = self;
        let beside = Some((CARD, card.to_text()));
        let run = Run { args, config, learner, judge: learner, model, identity, train, held_out, source, beside };
        let start = run.start()?;
        run.fit(start)
    }
}

/// Adds to the card what the rewards of some responses are like: mean and deviation, for ensembles; and how far attributes are
/// off on rows that training has not seen.
fn write_scale(
    folder: &Path,
    model: &LanguageModel,
    card: RewardCard,
    rows: &[RewardRow],
    unseen: bool,
) -> anyhow::Result<()> {
    let (standard, scored) = scale(model, card.clone(), rows)?;
    let variances = match card.reading {
        Reading::Attributes { .. } if unseen => errors(&scored, rows),
        _ => Vec::new(),
    };
    write_whole(&folder.join(CARD), RewardCard { standard, variances, ..card }.to_text().as_bytes())
}

/// Mean and deviation of the rewards of the first responses, and what is said of them.
fn scale(model: &LanguageModel, card: RewardCard, rows: &[RewardRow]) -> anyhow::Result<(Standard, Vec<Scored>)> {
    let reward_model = RewardModel::new(model, card)?;
    let responses = |row: &RewardRow| row.responses.len().max(1);
    let kept = rows.iter().take(MEASURED.div_ceil(rows.first().map_or(1, responses)));
    let texts: Vec<Row> =
        kept.flat_map(|row| row.responses.iter().map(move |response| Row { prompt: &row.prompt, response })).collect();
    let scored = reward_model.scored(&texts)?;
    let rewards: Vec<f64> = scored.iter().map(|one| one.reward).collect();
    // Rewards that are all the same have no scale.
    Ok((Standard::fit(&rewards).unwrap_or(Standard::NONE), scored))
}

/// Keeps the weights of a merge finite where attributes separate the pairs.
const RIDGE: f64 = 1e-2;

/// The card with the weights under which the chosen responses of these pairs score higher.
fn merged(model: &LanguageModel, card: RewardCard, pairs: &[RewardRow]) -> anyhow::Result<RewardCard> {
    let Reading::Attributes { names, .. } = card.reading.clone() else { return Ok(card) };
    let side = |at: usize| pairs.iter().map(move |row| Row { prompt: &row.prompt, response: &row.responses[at] });
    let outputs = RewardModel::new(model, card.clone())?.outputs(&side(0).chain(side(1)).collect::<Vec<Row>>())?;
    let (chosen, rejected) = outputs.split_at(pairs.len());
    let pairs: Vec<[Vec<f64>; 2]> = chosen.iter().cloned().zip(rejected.iter().cloned()).map(<[_; 2]>::from).collect();
    let Merge { weights } = Merge::fit(&pairs, RIDGE, &vec![false; names.len()])?;
    let said: Vec<String> = names.iter().zip(&weights).map(|(name, weight)| format!("{name} {weight:.3}")).collect();
    eprintln!("weights by {} pairs: {}", pairs.len(), said.join(", "));
    Ok(RewardCard { reading: Reading::Attributes { names, weights }, ..card })
}

/// The mean squared error of each attribute; nothing where one has no rating or no error.
fn errors(scored: &[Scored], rows: &[RewardRow]) -> Vec<f64> {
    let attributes = rows.first().map_or(0, |row| row.labels.len());
    let error = |attribute: usize| {
        let pairs = scored.iter().zip(rows).map(|(one, row)| (one.outputs[attribute], row.labels[attribute]));
        let squares: Vec<f64> =
            pairs.filter(|(_, rating)| *rating != UNRATED).map(|(got, rating)| (got - rating).powi(2)).collect();
        squares.iter().sum::<f64>() / squares.len() as f64
    };
    let errors: Vec<f64> = (0..attributes).map(error).collect();
    if errors.iter().all(|error| *error > 0.0) { errors } else { Vec::new() }
}

/// Everything of the run that can be checked without weights.
pub fn validate(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let mut chosen = Chosen::of(args, catalog)?;
    chosen.options()?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    taken::refuse(args)?;
    check_run(args)?;
    let beside = Beside::of(args, &chosen)?;
    let sources = Sources::of(args, &chosen)?;
    let words = words(args)?;
    let groups = args.reward.meta_data.as_deref().map(meta::read).transpose()?;
    let data = Data::load(args, &mut chosen)?;
    let (loss, options) = chosen.make(catalog)?;
    beside.check(args, loss.as_ref())?;
    check_cut(args, &chosen, loss.as_ref())?;
    chosen.reading(args, &options, data.attributes())?.check(loss.needs().width)?;
    let limit = words.limit(args.max_length);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?.with_boundary(args.boundary);
    let rows = data.encode(args, &encoder, &chosen, &options)?;
    if let Some(path) = &args.reward.merge_data {
        merge_pairs(args, &encoder, path)?;
    }
    if let Some(pairs) = replay::read(args, loss.needs().width)? {
        replay::encoded(args, &encoder, pairs)?;
        ReplayLearner::new(loss.as_ref(), args.reward.replay_weight.unwrap_or(REPLAY))?;
    }
    let (train, held_out) = (rows.train.len(), rows.held_out.len());
    let steps = match sources {
        None => config.steps(train),
        Some(mut sources) => {
            let sourced = sources.name(rows)?;
            sources.learner()?;
            sources::source(&sourced.train, args, &config)?.map_or(config.steps(train), |(_, steps)| steps)
        }
    };
    if let Some((groups, rate)) = groups.zip(args.reward.meta_rate) {
        MetaLearner::new(loss.as_ref(), &groups_of(args, &encoder, groups)?, rate)?;
    }
    say_last(args)?;
    print_line(&format!(
        "the run can start: {train} rows to train on, {held_out} held out, {steps} steps of {} rows, {} scores a response",
        config.window(),
        loss.needs().width
    ))
}
