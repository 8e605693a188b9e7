//! `ascribe train reward`: a head of scores on a decoder, by any loss whose rows a file can hold.
//!
//! | loss | rows | what they say |
//! |---|---|---|
//! | bradley-terry, trajectories, general-preference | pairs | which response is better |
//! | margin, scaled | pairs with `margin` | by how much |
//! | ties | pairs; `margin` 0 is a tie | which is better, or neither |
//! | regression | ratings | each attribute |
//! | concept-energy | ratings of 0 and 1, one of which is `label` | whether the response is good, and which concepts it has |
//! | gaussian-heads | ratings | their mean, which every head learns from its own resample |
//! | k-wise | ratings, or right and wrong replies | the order of all replies to a prompt |
//! | confidence | pairs | a right answer is to be sure of itself, a wrong one not |
//! | weak-to-strong | pairs with `margin` | by how much a weaker model prefers the first, which may be wrong |
//! | machine-text | three rated replies to each prompt | machine text is to score above mixed text, that above human text |

mod chosen;
mod data;
mod meta;
mod replay;
pub(crate) mod written;

use std::path::Path;

use ascribe::lm::{Decoder, Head, LanguageModel, Row};
use ascribe::preference::Encoder;
use ascribe::reward::{
    CARD, MetaLearner, Reading, ReplayLearner, RewardCard, RewardLearner, RewardLoss, RewardModel, RewardRow, Standard,
    joint_energies, rows_hash,
};
use ascribe::train::{FitConfig, Learner};
use serde_json::{Value, json};

use super::fitting::{Run, Trained};
use super::{check_run, finish, fit_config, headed, lora, refuse_other_runs, short, taken};
use crate::Catalog;
use crate::args::TrainArgs;
use crate::device::device;
use crate::output::{print_line, write_whole};
use crate::validate::{say_last, words};
use chosen::Chosen;
use data::{Data, Rows, groups_of};

/// The name of the method.
pub const METHOD: &str = "reward";

/// Share of the concepts that are flipped where the label is learned from them: that of the code of concept bottlenecks.
const FLIPPED: f64 = 0.2;

/// Weight of the replay, where none is given: that of ReMoDetect's code.
const REPLAY: f64 = 0.01;

/// Responses that the scale of a finished model is measured on.
const MEASURED: usize = 256;

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
    taken::refuse(args)?;
    check_run(args)?;
    let groups = args.reward.meta_data.as_deref().map(meta::read).transpose()?;
    let data = Data::load(args, &mut chosen)?;
    let (loss, options) = chosen.make(catalog)?;
    let replayed = replay::read(args, loss.needs().width)?;
    let reading = chosen.reading(args, &options, data.attributes())?;
    let model = headed(args, Head::Sequence { labels: loss.needs().width }, &device)?;
    let mut identity = identity(args, &config, &chosen, &model);
    refuse_other_runs(args, &identity)?;
    let encoder = Encoder::new(&model, args.max_length)?.with_boundary(args.boundary);
    let rows = data.encode(args, &encoder, &chosen, &options)?;
    identity.push(("set of rows", short(&rows_hash(&rows.train))));
    let reading = with_joint_energies(reading, &rows.train)?;
    let card = RewardCard { loss: chosen.name.clone(), reading, ..RewardCard::default() };
    let loss: &dyn RewardLoss = loss.as_ref();
    let own = [rows.train.as_slice(), rows.held_out.as_slice()];
    let trained = match (groups.zip(args.reward.meta_rate), replayed) {
        (None, None) => fit(args, &RewardLearner { loss }, config, &model, identity, own, &card)?,
        (None, Some(pairs)) => {
            let pairs = replay::scored(&model, card.clone(), replay::encoded(args, &encoder, pairs)?)?;
            let weight = args.reward.replay_weight.unwrap_or(REPLAY);
            identity.push(("replay_weight", weight.to_string()));
            identity.push(("set of replayed pairs", short(&rows_hash(&pairs))));
            let [train, held_out] = own.map(|rows| replay::beside(rows, &pairs));
            let learner = ReplayLearner::new(loss, weight)?;
            fit(args, &learner, config, &model, identity, [train.as_slice(), held_out.as_slice()], &card)?
        }
        (Some((groups, rate)), _) => {
            let groups = groups_of(args, &encoder, groups)?;
            identity.push(("meta_rate", rate.to_string()));
            identity.push(("set of groups", short(&rows_hash(&groups))));
            fit(args, &MetaLearner::new(loss, &groups, rate)?, config, &model, identity, own, &card)?
        }
    };
    let Trained { model, tally, best } = trained;
    write_scale(&args.output_dir, &model, card, if rows.held_out.is_empty() { &rows.train } else { &rows.held_out })?;
    finish(args, tally, best)
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

/// Trains by a learner, on some rows and with others held out.
fn fit<L: Learner<Model = Decoder>>(
    args: &TrainArgs,
    learner: &L,
    config: FitConfig,
    model: &LanguageModel,
    identity: Vec<(&'static str, String)>,
    [train, held_out]: [&[L::Row]; 2],
    card: &RewardCard,
) -> anyhow::Result<Trained> {
    let run = Run {
        args,
        config,
        learner,
        judge: learner,
        model,
        identity,
        train,
        held_out,
        source: None,
        beside: Some((CARD, card.to_text())),
    };
    let start = run.start()?;
    run.fit(start)
}

/// Adds to the card what the rewards of some responses are like: mean and deviation, for ensembles.
fn write_scale(folder: &Path, model: &LanguageModel, card: RewardCard, rows: &[RewardRow]) -> anyhow::Result<()> {
    let standard = scale(model, card.clone(), rows)?;
    write_whole(&folder.join(CARD), RewardCard { standard, ..card }.to_text().as_bytes())
}

/// Mean and deviation of the rewards of some responses.
fn scale(model: &LanguageModel, card: RewardCard, rows: &[RewardRow]) -> anyhow::Result<Standard> {
    let reward_model = RewardModel::new(model, card)?;
    let responses = |row: &RewardRow| row.responses.len().max(1);
    let kept = rows.iter().take(MEASURED.div_ceil(rows.first().map_or(1, responses)));
    let texts: Vec<Row> =
        kept.flat_map(|row| row.responses.iter().map(move |response| Row { prompt: &row.prompt, response })).collect();
    let rewards: Vec<f64> = reward_model.scored(&texts)?.into_iter().map(|one| one.reward).collect();
    // Rewards that are all the same have no scale.
    Ok(Standard::fit(&rewards).unwrap_or(Standard::NONE))
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
    let words = words(args)?;
    let groups = args.reward.meta_data.as_deref().map(meta::read).transpose()?;
    let data = Data::load(args, &mut chosen)?;
    let (loss, options) = chosen.make(catalog)?;
    chosen.reading(args, &options, data.attributes())?.check(loss.needs().width)?;
    let limit = words.limit(args.max_length);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?.with_boundary(args.boundary);
    let Rows { train, held_out } = data.encode(args, &encoder, &chosen, &options)?;
    if let Some(pairs) = replay::read(args, loss.needs().width)? {
        replay::encoded(args, &encoder, pairs)?;
        ReplayLearner::new(loss.as_ref(), args.reward.replay_weight.unwrap_or(REPLAY))?;
    }
    if let Some((groups, rate)) = groups.zip(args.reward.meta_rate) {
        MetaLearner::new(loss.as_ref(), &groups_of(args, &encoder, groups)?, rate)?;
    }
    say_last(args)?;
    print_line(&format!(
        "the run can start: {} rows to train on, {} held out, {} steps of {} rows, {} scores a response",
        train.len(),
        held_out.len(),
        config.steps(train.len()),
        config.window(),
        loss.needs().width
    ))
}
