//! `ascribe train archer`: twenty questions about the things of a file, by a critic of turns above a policy of tokens.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Seed, Tokens, World};
use ascribe::data::Prompt;
use ascribe::eval::{Bootstrap, Estimate};
use ascribe::lm::{LanguageModel, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::preference::rl::{
    Actor, Aggregation, Archer, ArcherConfig, Game, PolicyOptions, RolloutLearner, Turn, text_of,
};
use ascribe::train::{Checkpoints, Fit};
use ascribe::worlds::{TwentyMove, TwentyQuestions};
use serde_json::{Map, Value, json};

use super::rollouts::{actor_of, drive};
use super::{base, check_run, fit_config, identity, refuse_other_runs, taken};
use crate::Catalog;
use crate::args::TrainArgs;
use crate::catalog::Chosen;
use crate::device::device;
use crate::output::{print_line, write_whole};
use crate::validate::words;

/// The name of the method.
pub const METHOD: &str = "archer";
/// What it is, in one line.
pub const ABOUT: &str = "ArCHer: twenty questions in turns, by a critic of turns above the policy of tokens.";

/// Games about the things of a file, in words.
struct Twenty<'a> {
    world: TwentyQuestions,
    /// What is said before the first question: the questions and the things, by their numbers.
    intro: String,
    encoder: Encoder<'a>,
    tokenizer: &'a Tokenizer,
}

/// A row a thing: `thing`, and whether each of its other columns is true of it. Columns are questions, by their names.
fn read(path: &Path, turns: usize) -> anyhow::Result<(TwentyQuestions, String)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let (mut things, mut questions): (Vec<String>, Vec<(String, u32)>) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("`{}`, line {}", path.display(), at + 1);
        let row: Map<String, Value> = serde_json::from_str(line).with_context(place)?;
        let Some(Value::String(thing)) = row.get("thing") else { bail!("{}: `thing` must be a text", place()) };
        for (column, value) in row.iter().filter(|(column, _)| *column != "thing") {
            let Value::Bool(yes) = value else { bail!("{}: `{column}` must be true or false", place()) };
            match questions.iter_mut().find(|(known, _)| known == column) {
                Some((_, of)) => *of |= u32::from(*yes).checked_shl(things.len() as u32).unwrap_or(0),
                None if things.is_empty() => questions.push((column.clone(), u32::from(*yes))),
                None => bail!("{}: the first row has no `{column}`; every row answers the same questions", place()),
            }
        }
        if row.len() != questions.len() + 1 {
            bail!(
                "{}: every row answers the same questions, {}, and this one {}",
                place(),
                questions.len(),
                row.len() - 1
            );
        }
        things.push(thing.clone());
    }
    let world = TwentyQuestions::new(things.len(), questions.iter().map(|(_, of)| *of).collect(), turns)?;
    let asked = listed(questions.iter().map(|(name, _)| name.as_str()));
    let intro = format!("Questions: {asked}. Things: {}. ", listed(things.iter().map(String::as_str)));
    Ok((world, intro))
}

/// Names with their numbers.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.enumerate().map(|(at, name)| format!("{at} {name}")).collect::<Vec<_>>().join(", ")
}

impl Game for Twenty<'_> {
    fn turn(&self, game: Seed, said: &[Tokens]) -> Result<Turn, CoreError> {
        let mut state = self.world.reset(game);
        let (mut reward, mut done) = (0.0, false);
        for utterance in said {
            let text = text_of(self.tokenizer, &[], utterance)?.text;
            let mv = TwentyMove::parse(&text).filter(|mv| self.world.read(self.world.id(*mv)) == Some(*mv));
            let next = match mv {
                Some(mv) => self.world.step(&state, self.world.id(mv))?,
                None => self.world.waste(&state)?,
            };
            (state, reward, done) = (next.state, next.reward, next.done);
        }
        let text = format!("{}{} You say:", self.intro, self.world.observation(&state));
        let observation =
            self.encoder.prompt(&Prompt::Text(text)).map_err(|error| CoreError::Other(Box::new(error)))?;
        Ok(Turn { observation, reward, done })
    }
}

/// Checks what can be checked without weights.
fn check(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<(Chosen, ArcherConfig)> {
    taken::refuse(args)?;
    check_run(args)?;
    let given = args.objective.given();
    if let Some(name) = given.keys().next() {
        bail!("{name} does nothing with {METHOD}; leave it out");
    }
    if args.held_out > 0 || args.reference.is_some() {
        bail!("{METHOD} learns from games alone; leave held_out and reference out");
    }
    if args.max_steps == 0 {
        bail!("games have no end to their number, so {METHOD} needs --max-steps");
    }
    let (archer, fit) = (&args.archer, fit_config(args));
    let config = ArcherConfig {
        games: archer.games,
        turns: archer.turns,
        gamma: if args.given.has("gamma") { args.rl.gamma } else { ArcherConfig::default().gamma },
        tau: archer.tau,
        critic_learning_rate: archer.critic_learning_rate,
        critic_steps: archer.critic_steps,
        critic_batch: archer.critic_batch_size,
        actor_steps: archer.actor_steps,
        window: fit.window(),
        warmup: archer.critic_warmup,
        capacity: archer.buffer_size,
        sampling: args.rl.sampling(),
        max_completion_length: match args.given.has("max_completion_length") {
            true => args.rl.max_completion_length,
            false => ArcherConfig::default().max_completion_length,
        },
        batch: fit.per_device_train_batch_size,
        seed: Seed(args.seed).child("archer", 0),
        ..ArcherConfig::default()
    };
    config.check()?;
    let (_, make) = catalog.rollouts.policy_losses.get("reinforce")?;
    let options = PolicyOptions { loss_agg_mode: Some(Aggregation::SeqMeanTokenSum), ..PolicyOptions::default() };
    let mut told = Map::new();
    told.insert("games".to_owned(), Value::from(format!("{:?} {:?}", args.archer, args.rl)));
    Ok((Chosen { name: METHOD.to_owned(), objective: make(&options)?, judge: None, options: told }, config))
}

/// Checks a run without weights; gives the best return of a game.
pub fn validate(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<f64> {
    fit_config(args).check()?;
    check(args, catalog)?;
    words(args)?;
    best(&read(&args.data, args.archer.turns)?.0)
}

/// The best mean return of an agent, over all things.
fn best(world: &TwentyQuestions) -> anyhow::Result<f64> {
    world.value(&world.about(0)?).context("the best return of twenty questions is known")
}

pub fn run(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<()> {
    let config = fit_config(args);
    config.check()?;
    let (chosen, mut archer) = check(args, catalog)?;
    let device = device(&args.common.device)?;
    let (world, intro) = read(&args.data, args.archer.turns)?;
    let best = best(&world)?;
    let model = base(args, &device)?;
    let mut run = identity(args, &config, &model, None, &chosen)?;
    run.push(("set of things", format!("{intro}{world:?}")));
    refuse_other_runs(args, &run)?;
    archer.ends = model.tokenizer.eos().to_vec();
    archer.context = model.config.context;
    let encoder = Encoder::new(&model, archer.context)?;
    let game = Twenty { world, intro, encoder, tokenizer: &model.tokenizer };
    eprintln!("{METHOD}: {} games an iteration, the best return is {best:.4} in the mean", archer.games);
    let last = Checkpoints::new(&args.output_dir, args.save_total_limit).last()?;
    let actor = actor_of(args, &model, &run, last.as_ref(), None)?;
    let training = model.decoder.device().autodiff();
    let make = || Archer::new(&game, model.decoder.clone(), archer.clone(), &training);
    let learner = RolloutLearner::new(chosen.objective.as_ref(), f64::from(args.rl.temperature));
    let fit = Fit::from_source(&learner, actor, Box::new(make()?), args.max_steps, config)?;
    let (trained, _) = drive(args, &model, &run, fit, last.as_ref())?;
    let played = make()?;
    let returns = |model: &LanguageModel| -> anyhow::Result<Estimate> {
        let games = played.games(&Actor::new(model.decoder.clone()), Seed(args.seed).child("held out", 0))?;
        let returns: Vec<f64> = games.iter().map(|turns| turns.iter().map(|turn| turn.reward).sum()).collect();
        Ok(Bootstrap { seed: Seed(args.seed), ..Bootstrap::default() }.mean(&returns)?)
    };
    let (before, after) = (returns(&model)?, returns(&trained)?);
    print_line(&format!("return of {} new games {after}; before {before}; the best is {best:.4}", archer.games))?;
    let summary = json!({"return": after, "return_before": before, "best_return": best});
    write_whole(&args.output_dir.join("summary.json"), serde_json::to_string_pretty(&summary)?.as_bytes())
}
