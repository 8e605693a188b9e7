//! ArCHer: a critic of whole turns above a policy of tokens, on twenty questions, against REINFORCE by the return of a game.
//!
//! A turn is two tokens, a verb and a number. What is seen is a token for each turn with its answer. Both arms begin with the
//! same small decoder, which has imitated moves at random, and play as many games between two updates. The critics read texts by
//! the states of a fresh decoder. REINFORCE has the mean return of the other games for a baseline, and the better of two rates.

use std::path::Path;

use anyhow::{Context, Result};
use ascribe::core::advantage::{AdvantageEstimator, Baseline, Graded, Outcome};
use ascribe::core::{CoreError, Seed, Tokens, World};
use ascribe::data::Cursor;
use ascribe::eval::curve::{Reached, Reading, steps_to};
use ascribe::lm::{Decoder, DecoderConfig, RandomWeights};
use ascribe::preference::rl::{
    Actor, Aggregation, Archer, ArcherConfig, Game, PlayedTurn, PolicyLoss, RatioLevel, Rollout, RolloutLearner,
    Surrogate, Turn,
};
use ascribe::train::{Fit, FitConfig, ScheduleKind, Source, TrainError, Window};
use ascribe::worlds::{TwentyMove, TwentyQuestions, TwentyState};
use burn::module::Module;
use burn::tensor::Device;
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};

/// The logarithm of the number of things, and the number of questions.
const BITS: usize = 2;
const THINGS: usize = 1 << BITS;
const TURNS: usize = 6;

const ASK: u32 = 0;
const GUESS: u32 = 1;
/// The number 0, then the others.
const NUMBERS: u32 = 2;
/// Behind what is seen.
const SAY: u32 = NUMBERS + THINGS as u32;
/// What was said was no move.
const WHAT: u32 = SAY + 1;
/// For each move its answers, no and yes.
const ANSWERS: u32 = WHAT + 1;
const VOCABULARY: usize = ANSWERS as usize + 2 * (BITS + THINGS);

const WIDTH: usize = 32;
const GAMES: usize = 16;
const ITERATIONS: usize = 48;
const WARMUP: usize = 6;
const ACTOR_STEPS: usize = 4;
/// Games that a policy is judged by.
const HELD_OUT: usize = 512;
/// Iterations that a point of a curve is the mean of.
const SMOOTHED: usize = 10;

/// The claims of ArCHer.
pub const ROW: Row = Row {
    name: "archer",
    paper: "ArCHer: Training Language Model Agents via Hierarchical Multi-Turn RL, arXiv:2402.19446",
    setting: "twenty questions about 4 things by 2 questions in at most 6 turns of two tokens, a decoder of width 32 that has \
              imitated moves at random; 48 iterations of 16 games for both arms, of which ArCHer's first 6 teach the critics \
              alone; 30 critic steps on 64 turns and 4 actor steps on 128 an iteration; REINFORCE by the return of the game less \
              that of the others, at the better of two rates; half the way from the start to the best return, in the mean of 10 \
              iterations; returns and shares of things found over 512 new games",
    seeds: 6,
    claims: &[
        Claim {
            says: "ArCHer comes half the way to the best return in fewer games",
            more: "games of REINFORCE",
            less: "games of ArCHer",
        },
        Claim {
            says: "after as many games its return is higher",
            more: "return of ArCHer",
            less: "return of REINFORCE",
        },
        Claim { says: "it finds more things", more: "found by ArCHer", less: "found by REINFORCE" },
        Claim { says: "ArCHer plays better than the start", more: "return of ArCHer", less: "return of the start" },
        Claim { says: "so does REINFORCE", more: "return of REINFORCE", less: "return of the start" },
    ],
    tried: "In a model of this row with 8 things both arms came to guess at once, or lost all. With 4 things ArCHer led at \
            one choice of its rates and was level or scattered at three of five choices near it, so it was tuned more than \
            REINFORCE, and still does not lead here. The paper plays longer games with pretrained models; in six turns the \
            return of a whole game has little noise that a critic could take away.",
    run,
};

/// Twenty questions in tokens.
struct Twenty {
    world: TwentyQuestions,
}

impl Twenty {
    fn new() -> Result<Self> {
        Ok(Self { world: TwentyQuestions::of_bits(BITS, TURNS)? })
    }

    /// The move that two tokens are.
    fn read(&self, utterance: &[u32]) -> Option<u32> {
        let [verb, number] = utterance else { return None };
        let number = number.checked_sub(NUMBERS)? as usize;
        let mv = match *verb {
            ASK if number < BITS => TwentyMove::Ask(number),
            GUESS if number < THINGS => TwentyMove::Guess(number),
            _ => return None,
        };
        Some(self.world.id(mv))
    }

    /// A token for each turn and its answer, out of the game's own words: `ask 2? yes.`, or `what?`.
    fn seen(&self, state: &TwentyState) -> Tokens {
        let text = self.world.observation(state);
        let (mut seen, mut asked) = (Vec::new(), 0);
        for words in text.split(['.', '?']).skip(1) {
            match words.trim() {
                "" => {}
                "what" => seen.push(WHAT),
                "no" => seen.push(ANSWERS + 2 * asked),
                "yes" => seen.push(ANSWERS + 2 * asked + 1),
                mv => asked = TwentyMove::parse(mv).map_or(asked, |mv| self.world.id(mv)),
            }
        }
        seen.push(SAY);
        seen.into()
    }

    /// Every turn of games that are played by moves at random, to be imitated.
    fn at_random(&self, games: u64, seed: Seed) -> Result<Vec<Rollout>> {
        let mut turns = Vec::new();
        for number in 0..games {
            let mut stream = seed.stream("moves at random", number);
            let (game, mut said, mut done) = (seed.child("game", number), Vec::<Tokens>::new(), false);
            while !done {
                let prompt = self.turn(game, &said)?.observation;
                let (verb, numbers) = if stream.random::<bool>() { (ASK, BITS) } else { (GUESS, THINGS) };
                let response = Tokens::from(vec![verb, NUMBERS + stream.random_range(0..numbers as u32)]);
                said.push(response.clone());
                done = self.turn(game, &said)?.done;
                turns.push(Rollout { prompt, response, advantages: vec![1.0; 2], ..Rollout::default() });
            }
        }
        Ok(turns)
    }
}

impl Game for Twenty {
    fn turn(&self, game: Seed, said: &[Tokens]) -> Result<Turn, CoreError> {
        let mut state = self.world.reset(game);
        let (mut reward, mut done) = (0.0, false);
        for utterance in said {
            let next = match self.read(utterance) {
                Some(mv) => self.world.step(&state, mv)?,
                None => self.world.waste(&state)?,
            };
            (state, reward, done) = (next.state, next.reward, next.done);
        }
        Ok(Turn { observation: self.seen(&state), reward, done })
    }
}

/// What came of a training.
struct Played {
    /// The mean return of each iteration's games, from the first behind the warm-up on.
    returns: Vec<f64>,
    actor: Actor,
}

fn run(seed: Seed) -> Result<Figures> {
    let game = Twenty::new()?;
    let start = imitating(&game, seed)?;
    let judge = archer(&game, HELD_OUT, seed)?;
    let judged = |actor: &Actor| -> Result<[f64; 2]> {
        let games = judge.games(&actor.valid(), seed.child("held out", 0))?;
        let found = games.iter().filter(|turns| turns.last().is_some_and(|last| last.reward == 0.0)).count();
        Ok([mean(&returns(&games)), found as f64 / games.len() as f64])
    };
    let best = game.world.value(&game.world.about(0)?).context("the best return of twenty questions is known")?;
    let [of_start, found_by_start] = judged(&start)?;
    let target = f64::midpoint(of_start, best);

    let steps = (ITERATIONS - WARMUP) * ACTOR_STEPS;
    let ours = learned(Box::new(archer(&game, GAMES, seed)?), &start, steps, ACTOR_STEPS, 7e-4)?;
    let [of_archer, found_by_archer] = judged(&ours.actor)?;
    let mut flat: Option<(Played, [f64; 2])> = None;
    for rate in [1e-3, 3e-3] {
        let source = Flat { player: archer(&game, GAMES, seed)?, seed, pending: Vec::new(), reward: 0.0, number: 0 };
        let played = learned(Box::new(source), &start, ITERATIONS, 1, rate)?;
        let result = judged(&played.actor)?;
        if flat.as_ref().is_none_or(|(_, known)| known[0] < result[0]) {
            flat = Some((played, result));
        }
    }
    let (flat, [of_flat, found_by_flat]) = flat.context("REINFORCE has a rate")?;
    Ok(vec![
        ("games of ArCHer".into(), games_to(target, &ours.returns, WARMUP)?),
        ("games of REINFORCE".into(), games_to(target, &flat.returns, 0)?),
        ("return of ArCHer".into(), of_archer),
        ("return of REINFORCE".into(), of_flat),
        ("return of the start".into(), of_start),
        ("best return".into(), best),
        ("found by ArCHer".into(), found_by_archer),
        ("found by REINFORCE".into(), found_by_flat),
        ("found by the start".into(), found_by_start),
    ])
}

/// Fresh weights.
fn decoder(seed: Seed) -> Result<Decoder> {
    let config = DecoderConfig::tiny(VOCABULARY, WIDTH, 1, 2, TURNS + 3);
    Ok(Decoder::load(&config, &mut RandomWeights { seed, layers: 1 }, &Device::flex().autodiff())?)
}

/// A policy that moves at random, and knows how moves are said.
fn imitating(game: &Twenty, seed: Seed) -> Result<Actor> {
    let rows = game.at_random(256, seed.child("random games", 0))?;
    let loss = loss();
    let learner = RolloutLearner::new(&loss, 1.0);
    let config = FitConfig {
        lr_scheduler_type: ScheduleKind::Linear,
        max_steps: 150,
        per_device_train_batch_size: 64,
        seed,
        ..fit_config(1e-2)
    };
    let mut fit = Fit::new(&learner, Actor::new(decoder(seed.child("policy", 0))?), &rows, config)?;
    for report in &mut fit {
        report?;
    }
    Ok(fit.into_model())
}

/// `-A log pi`, a sum over the tokens of an utterance and a mean over utterances.
fn loss() -> PolicyLoss {
    PolicyLoss::new(Surrogate::Plain, RatioLevel::Token, Aggregation::SeqMeanTokenSum)
}

fn fit_config(learning_rate: f64) -> FitConfig {
    FitConfig {
        learning_rate,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        per_device_train_batch_size: 128,
        ..FitConfig::default()
    }
}

/// ArCHer's loop with so many games an iteration.
fn archer(game: &Twenty, games: usize, seed: Seed) -> Result<Archer<'_>> {
    let config = ArcherConfig {
        games,
        turns: TURNS,
        critic_learning_rate: 3e-3,
        critic_steps: 30,
        critic_batch: 64,
        actor_steps: ACTOR_STEPS,
        window: 128,
        warmup: WARMUP,
        max_completion_length: 2,
        context: TURNS + 3,
        batch: 1024,
        seed: seed.child("archer", 0),
        ..ArcherConfig::default()
    };
    Ok(Archer::new(game, decoder(seed.child("critics", 0))?, config, &Device::flex().autodiff())?)
}

/// The policy behind so many steps, of which each iteration has `each`.
fn learned(
    source: Box<dyn Source<Actor, Rollout> + '_>,
    start: &Actor,
    steps: usize,
    each: usize,
    rate: f64,
) -> Result<Played> {
    let loss = loss();
    let learner = RolloutLearner::new(&loss, 1.0);
    let mut fit = Fit::from_source(&learner, start.clone(), source, steps, fit_config(rate))?;
    let mut returns = Vec::with_capacity(steps / each);
    for report in &mut fit {
        let report = report?;
        if report.step.is_multiple_of(each) {
            returns.push(report.metric("reward").context("the return of games is reported")?);
        }
    }
    Ok(Played { returns, actor: fit.into_model() })
}

/// Games until the smoothed return is there; all games where it never is. The curve begins behind `before` iterations.
fn games_to(target: f64, returns: &[f64], before: usize) -> Result<f64> {
    let smoothed = |at: usize| mean(&returns[(at + 1).saturating_sub(SMOOTHED)..=at]);
    let curve: Vec<f64> = (0..returns.len()).map(smoothed).collect();
    let games: Vec<f64> = (0..returns.len()).map(|at| ((before + at + 1) * GAMES) as f64).collect();
    let (Reached::At(x) | Reached::Censored(x)) = steps_to(&games, &curve, target, 0, Reading::Interpolated)?;
    Ok(x)
}

/// The sum of the rewards of each game.
fn returns(games: &[Vec<PlayedTurn>]) -> Vec<f64> {
    games.iter().map(|turns| turns.iter().map(|turn| turn.reward).sum()).collect()
}

/// Games of the policy as it is, each of whose turns is credited with the return of the whole.
struct Flat<'a> {
    player: Archer<'a>,
    seed: Seed,
    pending: Vec<Rollout>,
    reward: f64,
    number: u64,
}

impl Flat<'_> {
    fn played(&mut self, actor: &Actor) -> Result<(), TrainError> {
        let games = self.player.games(&actor.valid(), self.seed.child("flat games", self.number))?;
        let returns = returns(&games);
        let graded: Vec<Graded> = returns.iter().map(|earned| Graded::scored(0, *earned, 1)).collect();
        let advantages = Outcome::new(Baseline::LeaveOneOut).estimate(&graded)?;
        self.reward = mean(&returns);
        for (turns, advantage) in games.into_iter().zip(advantages) {
            let earned = advantage.tokens[0] as f32;
            self.pending.extend(turns.into_iter().map(|turn| Rollout {
                prompt: turn.observation,
                advantages: vec![earned; turn.utterance.len()],
                response: turn.utterance,
                ..Rollout::default()
            }));
        }
        Ok(())
    }
}

impl Source<Actor, Rollout> for Flat<'_> {
    fn window(&mut self, actor: &Actor) -> Result<Window<'_, Rollout>, TrainError> {
        if self.pending.is_empty() {
            self.played(actor)?;
        }
        Ok(Window { rows: self.pending.iter().collect(), metrics: vec![("reward".to_owned(), self.reward)] })
    }

    fn advance(&mut self) {
        self.pending.clear();
        self.number += 1;
    }

    fn epoch(&self) -> f64 {
        self.number as f64
    }

    fn cursor(&self) -> Cursor {
        Cursor { epoch: self.number, position: 0 }
    }

    fn resume(&mut self, _folder: &Path, _cursor: Cursor) -> Result<(), TrainError> {
        Err(CoreError::Unsupported { what: "go on from a checkpoint" }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_name_the_thing_and_what_is_no_move_is_lost() {
        let game = Twenty::new().unwrap();
        let said = |verb: u32, number: u32| Tokens::from(vec![verb, NUMBERS + number]);
        for number in 0..8 {
            let mut all: Vec<Tokens> = (0..2).map(|question| said(ASK, question)).collect();
            let seen = game.turn(Seed(number), &all).unwrap().observation;
            assert_eq!((seen.len(), seen[2]), (3, SAY));
            // Answers to the question of a bit stand two by two, no before yes.
            let bit = |at: u32| seen[at as usize] - ANSWERS - 2 * at;
            all.push(said(GUESS, bit(0) + 2 * bit(1)));
            let end = game.turn(Seed(number), &all).unwrap();
            assert_eq!((end.reward, end.done), (0.0, true));
        }
        let lost = game.turn(Seed(0), &[said(ASK, 3), said(SAY, 0)]).unwrap();
        assert_eq!((lost.observation.to_vec(), lost.reward, lost.done), (vec![WHAT, WHAT, SAY], -1.0, false));
    }

    #[test]
    fn games_are_counted_up_to_the_target() {
        // Means -4, -4, -3.75: half the way from the second point to the third, which stand behind 5 and 6 iterations.
        let returns = [-4.0, -4.0, -3.25];
        assert_eq!(games_to(-3.875, &returns, 3).unwrap(), 5.5 * GAMES as f64);
        assert_eq!(games_to(-1.0, &returns, 3).unwrap(), 6.0 * GAMES as f64);
    }
}
