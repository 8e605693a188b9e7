//! `ascribe train scir`: a policy that learns to agree with itself as a judge, on pairs whose order teaches nothing.

use anyhow::{Context, bail};
use ascribe::core::Tokens;
use ascribe::data::{ColumnMap, Prompt};
use ascribe::lm::Tokenizer;
use ascribe::preference::rl::text_of;
use ascribe::preference::{Encoder, TrainRow};
use ascribe::reward::{InternalConfig, InternalLearner, InternalRow, RewardRow};
use serde_json::{Value, json};

use super::fitting::{Run, Trained};
use super::rounds::question;
use super::rows::{Data, Rows, parts};
use super::{add_reference, base, check_options, finish, fit_config, identity, load, refuse_other_runs, rows_hash};
use crate::Catalog;
use crate::args::TrainArgs;
use crate::catalog::Chosen;
use crate::device::device;
use crate::output::print_line;
use crate::validate::{say_last, words};

/// The name of the method.
pub const METHOD: &str = "scir";
/// What it is, in one line.
pub const ABOUT: &str = "Self-consistent internal rewards: the policy learns to agree with itself as a judge of pairs.";

/// The objective that says what rows need, and the options of the learner.
fn plan(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<(Chosen, InternalConfig)> {
    if let Some(name) = args.objective.given().keys().find(|name| *name != "beta") {
        bail!("{name} does nothing with {METHOD}; leave it out");
    }
    let chosen = Chosen { name: METHOD.to_owned(), ..catalog.make("dpo", &args.objective)? };
    let mut options = args.reward.loss_kwargs.clone().unwrap_or_default();
    if options.contains_key("beta") {
        bail!("beta is an option of its own; give it as --beta");
    }
    options.extend(chosen.number("beta").map(|beta| ("beta".to_owned(), json!(beta))));
    let config: InternalConfig = serde_json::from_value(Value::Object(options)).context("loss_kwargs of scir")?;
    check_options(args, &chosen)?;
    Ok((chosen, config))
}

/// The verdicts of the judge: that the first reply is better, and that the second one is.
fn verdicts(tokenizer: &Tokenizer) -> anyhow::Result<[Tokens; 2]> {
    Ok([tokenizer.encode("1")?.into(), tokenizer.encode("2")?.into()])
}

/// The pairs of the file; a judge reads single replies, so those of several turns are left out.
fn pairs(args: &TrainArgs) -> anyhow::Result<Data> {
    Ok(Data::Pairs(parts(args, ascribe::data::load(&args.data, &ColumnMap::parse(&args.columns)?)?)?))
}

/// Pairs with what a judge is asked about them; those that leave it no room in the context are left out.
fn asked(
    args: &TrainArgs,
    what: &str,
    tokenizer: &Tokenizer,
    encoder: &Encoder,
    context: usize,
    rows: Vec<TrainRow>,
) -> anyhow::Result<Vec<InternalRow>> {
    let words = |tokens: &Tokens| text_of(tokenizer, &[], tokens).map(|text| text.text);
    let longest = verdicts(tokenizer)?.iter().map(|verdict| verdict.len()).max().unwrap_or(0);
    let before = rows.len();
    let mut asked = Vec::with_capacity(before);
    for row in rows {
        let [first, second] = row.responses.as_slice() else {
            bail!("{METHOD} compares two responses, and line {} has {}", row.line, row.responses.len());
        };
        let sum = |logps: &Option<Vec<f32>>| logps.iter().flatten().map(|logp| f64::from(*logp)).sum::<f64>();
        let ref_logps = [sum(&first.ref_logps), sum(&second.ref_logps)];
        let (prompt, one, other) = (words(&row.prompt)?, words(&first.tokens)?, words(&second.tokens)?);
        let ask = |first: &str, second: &str| encoder.prompt(&Prompt::Text(question(&prompt, first, second)));
        let questions = [ask(&one, &other)?, ask(&other, &one)?];
        if questions.iter().all(|question| question.len() + longest <= context) {
            let responses = vec![first.tokens.clone(), second.tokens.clone()];
            let pair = RewardRow { prompt: row.prompt.clone(), responses, labels: Vec::new(), line: row.line };
            asked.push(InternalRow { pair, ref_logps, questions });
        }
    }
    if asked.len() < before {
        let said = format!("{} {what} pairs leave a judge no room in a context of {context}", before - asked.len());
        if args.strict || asked.is_empty() {
            bail!("{said}; drop the longest ones, or leave out --strict");
        }
        eprintln!("{said}: left out");
    }
    Ok(asked)
}

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let (chosen, internal) = plan(args, catalog)?;
    let config = fit_config(args);
    config.check()?;
    let device = device(&args.common.device)?;
    let data = pairs(args)?;
    let model = base(args, &device)?;
    let other = args.reference.as_deref().map(|path| load(path, &device)).transpose()?;
    let reference = other.as_ref().unwrap_or(&model);
    let mut identity = identity(args, &config, &model, other.as_ref(), &chosen)?;
    identity.push(("loss_kwargs", json!(internal).to_string()));
    refuse_other_runs(args, &identity)?;
    let learner = InternalLearner::new(internal, verdicts(&model.tokenizer)?)?;
    let encoder = Encoder::new(&model, args.max_length)?.with_boundary(args.boundary);
    let limit = super::length_limit(args, model.config.context);
    let mut rows = data.encode(args, &encoder, &chosen.needs(), limit)?;
    add_reference(args, &model, reference, &mut rows)?;
    identity.push(("set of rows", rows_hash(&rows.train)));
    // A judge reads whole replies, however short the rows are.
    let judge = Encoder::new(&model, model.config.context)?;
    let Rows { train, held_out, .. } = rows;
    let context = model.config.context;
    let train = asked(args, "training", &model.tokenizer, &judge, context, train)?;
    let held_out = asked(args, "held-out", &model.tokenizer, &judge, context, held_out)?;
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
        beside: None,
    };
    let start = run.start()?;
    let Trained { tally, best, .. } = run.fit(start)?;
    finish(args, tally, best)
}

/// Everything of the run that can be checked without weights.
pub fn validate(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let (chosen, internal) = plan(args, catalog)?;
    let config = fit_config(args);
    config.check()?;
    device(&args.common.device)?;
    let words = words(args)?;
    InternalLearner::new(internal, verdicts(&words.tokenizer)?)?;
    let (limit, context) = (words.limit(args.max_length), words.limit(usize::MAX));
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), limit)?.with_boundary(args.boundary);
    let rows = pairs(args)?.encode(args, &encoder, &chosen.needs(), limit)?;
    let judge = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), context)?;
    let train = asked(args, "training", &words.tokenizer, &judge, context, rows.train)?;
    let held_out = asked(args, "held-out", &words.tokenizer, &judge, context, rows.held_out)?;
    say_last(args)?;
    print_line(&format!(
        "the run can start: {} pairs to train on, {} held out, {} steps of {} pairs",
        train.len(),
        held_out.len(),
        config.steps(train.len()),
        config.window()
    ))
}
