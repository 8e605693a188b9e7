//! ArCHer: a critic of whole turns above a policy of tokens, on twenty questions, against REINFORCE by the return of a game and
//! filtered imitation.
//!
//! A turn is two tokens, a verb and a number. What is seen is a token for each turn with its answer. All arms begin with the
//! same small decoder, which has imitated moves at random, and play as many games between two updates. The critics read texts by
//! the states of a fresh decoder, and learn from all games so far. REINFORCE has the mean return of the other games for a
//! baseline. Filtered imitation takes the games so far whose return is in the top tenth. Each arm has the better of two rates, by
//! games of their own; Adam moves all by as much an iteration, so that of an arm with more steps is as much smaller.

use std::cell::RefCell;
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
/// Observations of an actor step.
const WINDOW: usize = 128;
/// Rates of an iteration; a step has its share.
const RATES: [f64; 2] = [1e-3, 3e-3];
/// The share of things found that games are counted to.
const TARGET: f64 = 0.75;
/// Games that a policy is judged by.
const HELD_OUT: usize = 512;
/// Iterations that a point of a curve is the mean of.
const SMOOTHED: usize = 10;

/// The claims of ArCHer.
pub const ROW: Row = Row {
    name: "archer",
    paper: "ArCHer: Training Language Model Agents via Hierarchical Multi-Turn RL, arXiv:2402.19446",
    setting: "twenty questions about 4 things by 2 questions in at most 6 turns of two tokens, a decoder of width 32 that has \
              imitated moves at random; 48 iterations of 16 games for all arms, of which ArCHer's first 6 teach the critics \
              alone; 30 critic steps on 64 turns of all games so far and 4 actor steps on 128 an iteration; REINFORCE by the return \
              of the game less that of the others; filtered imitation of 128 turns of the tenth of all games so far with the \
              largest return; each arm at the better of two rates, 0.001 and 0.003 an iteration, by the return of 512 games; \
              games until 3 of 4 things are found, in the mean of 10 iterations, the warm-up counted; returns and shares of \
              things found over 512 other games",
    seeds: 16,
    claims: &[
        Claim {
            says: "ArCHer finds three of four things after fewer games than REINFORCE",
            more: "games of REINFORCE",
            less: "games of ArCHer",
        },
        Claim { says: "and than filtered imitation", more: "games of filtered imitation", less: "games of ArCHer" },
        Claim {
            says: "after as many games its return is higher than that of REINFORCE",
            more: "return of ArCHer",
            less: "return of REINFORCE",
        },
        Claim { says: "it finds more things", more: "found by ArCHer", less: "found by REINFORCE" },
        Claim { says: "ArCHer plays better than the start", more: "return of ArCHer", less: "return of the start" },
        Claim { says: "so does REINFORCE", more: "return of REINFORCE", less: "return of the start" },
    ],
    tried: "This row once had 6 seeds and one rate for ArCHer, and for REINFORCE the better of two on the very games that it was \
            judged by: half the way to the best return took 485 games and 540, a difference of 55 [-304, +414], and ArCHer ended \
            behind in return, -0.286 [-0.577, +0.005], and things found, -0.095 [-0.189, -0.001]. The paper plays longer games \
            with pretrained models; in six turns the return of a whole game has little noise that a critic could take away.",
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

/// The game, and of each game that was played to its end, in order, whether the thing was found.
struct Counted<'g> {
    game: &'g Twenty,
    found: RefCell<Vec<f64>>,
}

impl Game for Counted<'_> {
    fn turn(&self, game: Seed, said: &[Tokens]) -> Result<Turn, CoreError> {
        let turn = self.game.turn(game, said)?;
        if turn.done {
            self.found.borrow_mut().push(f64::from(u8::from(turn.reward == 0.0)));
        }
        Ok(turn)
    }
}

/// How a game teaches.
#[derive(Clone, Copy)]
enum Lesson {
    /// By critics of turns.
    Critics,
    /// By its return.
    Return,
    /// By its moves, where its return is in the top tenth.
    Moves,
}

fn run(seed: Seed) -> Result<Figures> {
    let game = Twenty::new()?;
    let start = imitating(&game, seed)?;
    let judge = archer(&game, HELD_OUT, seed)?;
    let judged = |actor: &Actor, purpose: &str| -> Result<[f64; 2]> {
        let games = judge.games(&actor.valid(), seed.child(purpose, 0))?;
        let found = games.iter().filter(|turns| turns.last().is_some_and(|last| last.reward == 0.0)).count();
        Ok([mean(&returns(&games)), found as f64 / games.len() as f64])
    };
    let best = game.world.value(&game.world.about(0)?).context("the best return of twenty questions is known")?;
    let [of_start, found_by_start] = judged(&start, "held out")?;
    let mut figures: Figures = vec![
        ("return of the start".into(), of_start),
        ("best return".into(), best),
        ("found by the start".into(), found_by_start),
    ];
    for (name, lesson) in
        [("ArCHer", Lesson::Critics), ("REINFORCE", Lesson::Return), ("filtered imitation", Lesson::Moves)]
    {
        let mut better: Option<(f64, Actor, f64)> = None;
        for rate in RATES {
            let (actor, games) = learned(&game, lesson, &start, rate, seed)?;
            let [earned, _] = judged(&actor, "choice of a rate")?;
            if better.as_ref().is_none_or(|(known, ..)| *known < earned) {
                better = Some((earned, actor, games));
            }
        }
        let (_, actor, games) = better.context("an arm has a rate")?;
        let [earned, found] = judged(&actor, "held out")?;
        figures.extend([
            (format!("games of {name}"), games),
            (format!("return of {name}"), earned),
            (format!("found by {name}"), found),
        ]);
    }
    Ok(figures)
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
        per_device_train_batch_size: WINDOW,
        ..FitConfig::default()
    }
}

/// ArCHer's loop with so many games an iteration.
fn archer(game: &dyn Game, games: usize, seed: Seed) -> Result<Archer<'_>> {
    let config = ArcherConfig {
        games,
        turns: TURNS,
        critic_learning_rate: 3e-3,
        critic_steps: 30,
        critic_batch: 64,
        actor_steps: ACTOR_STEPS,
        window: WINDOW,
        warmup: WARMUP,
        max_completion_length: 2,
        context: TURNS + 3,
        batch: 1024,
        seed: seed.child("archer", 0),
        ..ArcherConfig::default()
    };
    Ok(Archer::new(game, decoder(seed.child("critics", 0))?, config, &Device::flex().autodiff())?)
}

/// The policy behind all iterations, and the games until it found enough; `rate` is that of an iteration.
fn learned(game: &Twenty, lesson: Lesson, start: &Actor, rate: f64, seed: Seed) -> Result<(Actor, f64)> {
    let counted = Counted { game, found: RefCell::new(Vec::new()) };
    let player = archer(&counted, GAMES, seed)?;
    let (source, iterations, each): (Box<dyn Source<Actor, Rollout> + '_>, usize, usize) = match lesson {
        Lesson::Critics => (Box::new(player), ITERATIONS - WARMUP, ACTOR_STEPS),
        Lesson::Return | Lesson::Moves => {
            (Box::new(Flat { player, lesson, seed, games: Vec::new(), pending: Vec::new(), number: 0 }), ITERATIONS, 1)
        }
    };
    let loss = loss();
    let learner = RolloutLearner::new(&loss, 1.0);
    let config = fit_config(rate / each as f64);
    let mut fit = Fit::from_source(&learner, start.clone(), source, iterations * each, config)?;
    for report in &mut fit {
        report?;
    }
    let actor = fit.into_model();
    let found: Vec<f64> = counted.found.borrow().chunks(GAMES).map(mean).collect();
    Ok((actor, games_to(TARGET, &found)?))
}

/// Games until so large a share of things is found in the mean of some iterations; all games where it never is.
fn games_to(target: f64, found: &[f64]) -> Result<f64> {
    let curve: Vec<f64> = found.windows(SMOOTHED).map(mean).collect();
    let games: Vec<f64> = (0..curve.len()).map(|at| ((SMOOTHED + at) * GAMES) as f64).collect();
    let (Reached::At(x) | Reached::Censored(x)) = steps_to(&games, &curve, target, 0, Reading::Interpolated)?;
    Ok(x)
}

/// The sum of the rewards of each game.
fn returns(games: &[Vec<PlayedTurn>]) -> Vec<f64> {
    games.iter().map(|turns| turns.iter().map(|turn| turn.reward).sum()).collect()
}

/// Games of the policy as it is, each of whose turns is credited with the return of the whole, or turns of the best games so far.
struct Flat<'a> {
    player: Archer<'a>,
    lesson: Lesson,
    seed: Seed,
    /// All games so far, where the best are imitated.
    games: Vec<Vec<PlayedTurn>>,
    pending: Vec<Rollout>,
    number: u64,
}

impl Flat<'_> {
    fn played(&mut self, actor: &Actor) -> Result<(), TrainError> {
        let games = self.player.games(&actor.valid(), self.seed.child("flat games", self.number))?;
        if matches!(self.lesson, Lesson::Moves) {
            self.games.extend(games);
            let turns = best_tenth(&self.games);
            let mut stream = self.seed.stream("turns of the best", self.number);
            let mut drawn = || turns[stream.random_range(0..turns.len())].clone();
            self.pending = (0..WINDOW).map(|_| taught(drawn(), 1.0)).collect();
            return Ok(());
        }
        let returns = returns(&games);
        let graded: Vec<Graded> = returns.iter().map(|earned| Graded::scored(0, *earned, 1)).collect();
        let advantages = Outcome::new(Baseline::LeaveOneOut).estimate(&graded)?;
        for (turns, advantage) in games.into_iter().zip(advantages) {
            let earned = advantage.tokens[0] as f32;
            self.pending.extend(turns.into_iter().map(|turn| taught(turn, earned)));
        }
        Ok(())
    }
}

/// A turn with the same advantage at each token.
fn taught(turn: PlayedTurn, advantage: f32) -> Rollout {
    Rollout {
        prompt: turn.observation,
        advantages: vec![advantage; turn.utterance.len()],
        response: turn.utterance,
        ..Rollout::default()
    }
}

/// The turns of the tenth of games with the largest return, and of those that are level with it.
fn best_tenth(games: &[Vec<PlayedTurn>]) -> Vec<&PlayedTurn> {
    let returns = returns(games);
    let mut order = returns.clone();
    order.sort_by(|one, other| other.total_cmp(one));
    let bar = order[order.len().div_ceil(10) - 1];
    games.iter().zip(&returns).filter(|(_, earned)| **earned >= bar).flat_map(|(turns, _)| turns).collect()
}

impl Source<Actor, Rollout> for Flat<'_> {
    fn window(&mut self, actor: &Actor) -> Result<Window<'_, Rollout>, TrainError> {
        if self.pending.is_empty() {
            self.played(actor)?;
        }
        Ok(Window { rows: self.pending.iter().collect(), metrics: Vec::new() })
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
        // Nothing is found in ten iterations, then all: the mean of ten is 0.7 behind 17 iterations and 0.8 behind 18.
        let found = [vec![0.0; 10], vec![1.0; 10]].concat();
        assert!((games_to(0.75, &found).unwrap() - 17.5 * GAMES as f64).abs() < 1e-9);
        assert_eq!(games_to(0.0, &found).unwrap(), 10.0 * GAMES as f64, "no mean of ten stands before");
        assert_eq!(games_to(1.5, &found).unwrap(), 20.0 * GAMES as f64);
    }

    #[test]
    fn games_are_told_by_their_ends() {
        let game = Twenty::new().unwrap();
        let counted = Counted { game: &game, found: RefCell::new(Vec::new()) };
        // Each thing is guessed until one is right; then one question is asked for as long as there are moves.
        let guesses: Vec<Tokens> = (0..THINGS as u32).map(|number| vec![GUESS, NUMBERS + number].into()).collect();
        for said in 0..=THINGS {
            let turn = counted.turn(Seed(3), &guesses[..said]).unwrap();
            if turn.done {
                break;
            }
        }
        let asked: Vec<Tokens> = vec![vec![ASK, NUMBERS].into(); TURNS];
        assert!(counted.turn(Seed(3), &asked).unwrap().done, "no move is left");
        assert_eq!(*counted.found.borrow(), [1.0, 0.0]);
    }

    #[test]
    fn the_best_tenth_is_imitated() {
        let turn = |reward: f64| PlayedTurn { reward, ..PlayedTurn::default() };
        // Returns -1, -2, ... -20: a tenth are the first two.
        let games: Vec<Vec<PlayedTurn>> = (1..=20).map(|at| vec![turn(-f64::from(at)), turn(0.0)]).collect();
        let best: Vec<f64> = best_tenth(&games).iter().map(|turn| turn.reward).collect();
        assert_eq!(best, [-1.0, 0.0, -2.0, 0.0]);
        assert_eq!(best_tenth(&games[..1]).len(), 2, "one game is the best");
    }
}
