//! `ascribe train orm`, `prm`, `tvm` and `pav`: a head of tokens on a decoder that says of each step how likely all is
//! right so far; `p-ik`: one that says of a question how likely it will be answered rightly. `implicit-prm` trains a policy,
//! whose log-ratios say so.
//!
//! | method | rows | what they say |
//! |---|---|---|
//! | orm | responses that are right or wrong, or pairs | whether the response is right, at every token |
//! | prm | steps with labels | whether each step is right, or how likely a right answer is behind it |
//! | prm --step-loss pairwise | pairs of steps behind one state | which is better |
//! | pav | steps with labels, several responses to a prompt | the same as prm, and the value of each prompt: the mean of its first labels |
//! | tvm | several responses to a prompt, right or wrong | the share of them that is right behind each token |
//! | p-ik | questions with a `share`, or what tvm takes | the share of right responses, from the prompt alone |

mod data;

use anyhow::bail;
use ascribe::core::Seed;
use ascribe::eval::calibrate::brier;
use ascribe::eval::{Bootstrap, clustered_auroc};
use ascribe::lm::{LanguageModel, Row, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::process::model::{
    CARD, OutcomeAt, ProcessCard, ProcessHead, ProcessKind, ProcessLearner, ProcessLoss, ProcessModel, ProcessRow,
    Progress, rows_hash,
};
use serde_json::{Map, json};

use super::fitting::{Run, Trained};
use super::{base, check_run, finish_with, fit_config, headed, identity_of_head, refuse_other_runs, short, taken};
use crate::args::{FormName, ObjectiveArgs, StepHeadName, StepLossName, TrainArgs};
use crate::device::device;
use crate::output::print_line;
use crate::validate::{say_last, words};
use crate::words::Words;
use data::{Data, Rows};
pub(crate) use data::{joined, separator_of};

/// The methods that train a head of tokens, each with what it is in one line.
pub const METHODS: [(&str, ProcessKind, &str); 5] = [
    ("orm", ProcessKind::Orm, "An outcome reward model: at every token, whether the response is right."),
    ("prm", ProcessKind::Prm, "A process reward model: whether each step is right, by labels of steps."),
    (
        "pav",
        ProcessKind::Pav,
        "A process advantage verifier: values of steps, scored with their progress under a prover.",
    ),
    (
        "tvm",
        ProcessKind::Tvm,
        "A token-level value model: the share of a prompt's responses that is right from there on.",
    ),
    ("p-ik", ProcessKind::PIk, "P(IK): the share of a question's responses that is right, from the question alone."),
];

/// The method that trains a policy on outcomes.
pub const IMPLICIT: &str = "implicit-prm";
/// What it is, in one line.
pub const IMPLICIT_ABOUT: &str =
    "An implicit process model: a policy that is trained on outcomes, whose log-ratios score steps.";

/// What log-ratios of implicit process models are multiplied by while training.
const IMPLICIT_BETA: f64 = 0.05;

/// The kind of a method that trains a head of tokens.
pub fn kind(method: &str) -> Option<ProcessKind> {
    METHODS.iter().find(|(name, ..)| *name == method).map(|(_, kind, _)| *kind)
}

/// The objective that a method trains a policy with, and its options.
pub fn objective(args: &TrainArgs) -> anyhow::Result<(String, ObjectiveArgs)> {
    if args.method != IMPLICIT {
        return Ok((args.method.clone(), args.objective.clone()));
    }
    if let [name, ..] = args.objective.loss_type.as_slice() {
        bail!("loss_type {name} is an option of other methods; name the loss of implicit-prm with --form");
    }
    let beta = args.objective.beta.or(Some(IMPLICIT_BETA));
    let name = args.process.form.unwrap_or(FormName::Ce).objective();
    Ok((name.to_owned(), ObjectiveArgs { beta, ..args.objective.clone() }))
}

/// The card of the model, but for the ids of its words and of its tag.
fn card(args: &TrainArgs, kind: ProcessKind) -> anyhow::Result<ProcessCard> {
    taken::refuse(args)?;
    if let Some(name) = args.objective.given().keys().next() {
        bail!("{name} does nothing with {}; leave it out", args.method);
    }
    if args.reference.is_some() {
        bail!("a process model has no reference; drop it");
    }
    let given = &args.process;
    let loss = match (given.step_loss.unwrap_or(StepLossName::CrossEntropy), given.zeta) {
        (StepLossName::Ranking, _) if kind != ProcessKind::Prm => {
            bail!("step_loss ranking orders right and wrong steps, which {} has not; choose another one", args.method)
        }
        (StepLossName::Pairwise, _) if kind != ProcessKind::Prm => {
            bail!(
                "step_loss pairwise compares two steps behind one state, which {} has not; choose another one",
                args.method
            )
        }
        (StepLossName::TemporalDifference, _) if kind != ProcessKind::Orm => {
            bail!(
                "step_loss temporal-difference learns one outcome from token to token, and {} has other labels; use orm, or \
                 choose another one",
                args.method
            )
        }
        (StepLossName::TemporalDifference, _) if given.outcome_at == Some(OutcomeAt::Last) => {
            bail!(
                "step_loss temporal-difference goes from token to token, and outcome_at last has one; drop one of them"
            )
        }
        (StepLossName::Ranking, zeta) => ProcessLoss::Ranking { zeta: zeta.unwrap_or(4.0) },
        (_, Some(_)) => bail!("zeta is the margin of step_loss ranking; drop it with the others"),
        (StepLossName::CrossEntropy, None) => ProcessLoss::CrossEntropy,
        (StepLossName::Squared, None) => ProcessLoss::Squared,
        (StepLossName::TemporalDifference, None) => ProcessLoss::TemporalDifference,
        (StepLossName::Pairwise, None) => ProcessLoss::Pairwise,
    };
    let idle = [
        ("balance", given.balance),
        ("step_separator", given.step_separator.is_some()),
        ("step_tag", given.step_tag.is_some()),
        ("after_error", given.after_error.is_some()),
        ("neutral_steps", given.neutral_steps.is_some()),
    ];
    if let Some((name, _)) = idle.into_iter().find(|(_, given)| *given && loss == ProcessLoss::Pairwise) {
        bail!("{name} does nothing with step_loss pairwise, whose rows are pairs; leave it out");
    }
    if given.max_samples_per_prompt == Some(0) {
        bail!("max_samples_per_prompt must be at least 1, got 0");
    }
    let head = match given.step_head.unwrap_or(StepHeadName::Classes) {
        StepHeadName::Classes => ProcessHead::Classes,
        StepHeadName::Score => ProcessHead::Score,
        // The ids are put in when the tokenizer is known.
        StepHeadName::Words => ProcessHead::Words { good: 0, bad: 0 },
    };
    let worded = matches!(head, ProcessHead::Words { .. });
    if worded != (given.step_words.len() == 2) {
        bail!("step_words are the two tokens of step_head words; give both options or none");
    }
    if worded && args.reward.head_init.is_some() {
        bail!("head_init draws a fresh head, and step_head words has that of the next token; drop it");
    }
    let progress = (kind == ProcessKind::Pav).then(|| {
        let usual = Progress::default();
        Progress { prover: given.prover.unwrap_or(usual.prover), alpha: given.progress_weight.unwrap_or(usual.alpha) }
    });
    let usual = ProcessCard::default();
    let card = ProcessCard {
        kind,
        head,
        loss,
        segmenter: given.steps.clone().unwrap_or(usual.segmenter),
        tag: Vec::new(),
        aggregate: given.aggregate.unwrap_or_default(),
        progress,
    };
    card.check()?;
    Ok(card)
}

/// The head with the ids of its words.
fn worded(args: &TrainArgs, head: ProcessHead, tokenizer: &Tokenizer) -> anyhow::Result<ProcessHead> {
    let ([good, bad], ProcessHead::Words { .. }) = (args.process.step_words.as_slice(), head) else { return Ok(head) };
    let id = |word: &String| -> anyhow::Result<u32> {
        match tokenizer.encode(word)?.as_slice() {
            [id] => Ok(*id),
            ids => bail!(
                "step_words must be single tokens of this model, and `{word}` is {}; choose another word",
                ids.len()
            ),
        }
    };
    Ok(ProcessHead::Words { good: id(good)?, bad: id(bad)? })
}

/// The ids of what stands behind each step.
fn tag(args: &TrainArgs, tokenizer: &Tokenizer) -> anyhow::Result<Vec<u32>> {
    let Some(text) = &args.process.step_tag else { return Ok(Vec::new()) };
    let ids = tokenizer.encode(&text.replace("\\n", "\n"))?;
    if ids.is_empty() {
        bail!("step_tag `{text}` has no token of this model; choose another one");
    }
    Ok(ids)
}

pub fn run(args: &TrainArgs, kind: ProcessKind) -> anyhow::Result<()> {
    let mut card = card(args, kind)?;
    let config = fit_config(args);
    config.check()?;
    let device = device(&args.common.device)?;
    check_run(args)?;
    let data = Data::load(args, &card)?;
    if matches!(card.head, ProcessHead::Words { .. }) || args.process.step_tag.is_some() {
        let tokenizer = Words::load(&args.model)?.tokenizer;
        card.head = worded(args, card.head, &tokenizer)?;
        card.tag = tag(args, &tokenizer)?;
    }
    let model = match card.head.decoder_head() {
        Some(wanted) => headed(args, wanted, &device)?,
        None => base(args, &device)?,
    };
    card.head.check(&model.config)?;
    let mut identity = identity_of_head(args, &config, &model);
    identity.push(("card", json!(card).to_string()));
    refuse_other_runs(args, &identity)?;
    let limit = super::length_limit(args, model.config.context);
    let encoder = Encoder::new(&model, limit)?;
    let Rows { train, held_out } = data.encode(args, &card, &encoder, &model.tokenizer, limit)?;
    identity.push(("set of rows", short(&rows_hash(&train))));
    let learner = ProcessLearner { head: card.head, loss: card.loss };
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
        source: None,
    };
    let start = run.start()?;
    let Trained { model, tally, best } = run.fit(start)?;
    // What is said of pairs is how often the better side wins.
    let told = !held_out.is_empty() && card.loss != ProcessLoss::Pairwise;
    let figures = if told { told_apart(args, &model, card, &held_out)? } else { Map::new() };
    finish_with(args, tally, best, figures)
}

/// How well right places of held-out rows are told from wrong ones, and of questions how far their probabilities are off; an
/// interval resamples whole responses.
fn told_apart(
    args: &TrainArgs,
    model: &LanguageModel,
    card: ProcessCard,
    rows: &[ProcessRow],
) -> anyhow::Result<Map<String, serde_json::Value>> {
    let questions = card.kind == ProcessKind::PIk;
    let judge = ProcessModel::new(model, card)?;
    let (texts, places): (Vec<Row>, Vec<Vec<usize>>) = rows.iter().flat_map(ProcessRow::read).unzip();
    let (mut scores, mut right, mut responses) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (values, row)) in judge.values(&texts, &places)?.into_iter().zip(rows).enumerate() {
        for (value, label) in values.into_iter().zip(&row.labels) {
            scores.push(value);
            right.push(*label >= 0.5);
            responses.push(at);
        }
    }
    let bootstrap = Bootstrap { seed: Seed(args.seed), ..Bootstrap::default() };
    let mut figures = Map::new();
    if questions {
        let brier = brier(&scores, &right, &bootstrap)?;
        print_line(&format!("held-out Brier score {brier}"))?;
        figures.insert("brier".to_owned(), serde_json::to_value(brier)?);
    }
    let count = right.iter().filter(|right| **right).count();
    if count == 0 || count == right.len() {
        print_line("the held-out labels are all of one kind, so nothing is told apart; hold out more rows")?;
        return Ok(figures);
    }
    let auroc = clustered_auroc(&scores, &right, &responses, &bootstrap)?;
    let (what, wrong) = (if questions { "questions" } else { "places" }, right.len() - count);
    print_line(&format!("held-out AUROC {auroc}: {count} {what} that are right, {wrong} that are not"))?;
    figures.insert("auroc".to_owned(), serde_json::to_value(auroc)?);
    Ok(figures)
}

/// Everything of the run that can be checked without weights.
pub fn validate(args: &TrainArgs, kind: ProcessKind) -> anyhow::Result<()> {
    let mut card = card(args, kind)?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    check_run(args)?;
    let words = words(args)?;
    card.head = worded(args, card.head, &words.tokenizer)?;
    card.tag = tag(args, &words.tokenizer)?;
    let limit = words.limit(args.max_length);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?;
    let data = Data::load(args, &card)?;
    let Rows { train, held_out } = data.encode(args, &card, &encoder, &words.tokenizer, limit)?;
    say_last(args)?;
    let places: usize = train.iter().map(|row| row.labels.len()).sum();
    print_line(&format!(
        "the run can start: {} rows to train on, {} held out, {} steps of {} rows, {places} labels",
        train.len(),
        held_out.len(),
        config.steps(train.len()),
        config.window()
    ))
}
