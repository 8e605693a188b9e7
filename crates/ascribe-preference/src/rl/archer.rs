//! A critic of turns that learns off-policy, above a policy of tokens: ArCHer, arXiv:2402.19446.
//!
//! ```text
//! iteration:  play games -> buffer of (o, u, r, o', d, return) -> critic steps on turns of the buffer
//!             -> after the warm-up actor steps on observations of the buffer, each with a fresh u~ ~ pi(. | o)
//! advantage of every token of u~:  min_k Q_k(o, u~) - min_k V_k(o)
//! ```
//! The loss is the rows' advantage times their log-probability ([`Surrogate::Plain`](super::Surrogate), a sum over the tokens of
//! an utterance and a mean over utterances), and critics see the states of texts. During the warm-up no
//! actor step is made, so the first window of a run is that of the first iteration behind it. Departures: no baseline of tokens;
//! one `u~` a turn and step for the critic, drawn once an iteration, in which the policy stands still.

use std::collections::VecDeque;
use std::path::Path;

use ascribe_core::{CoreError, Mode, Request, Sampling, Seed, Tokens, Until};
use ascribe_data::Cursor;
use ascribe_lm::{Decoder, LocalPolicy, Row};
use ascribe_train::{Source, TrainError, Window};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::critics::{Critics, Encoded, Outcomes};
use super::source::Metrics;
use super::writing::written;
use super::{Actor, Game, Rollout, Turn, kept};

/// The file of the buffer in a checkpoint.
const FILE: &str = "archer.json";

/// The largest reward that critics learn without being scaled.
const LARGEST: f64 = 1e3;

/// Options of the loop. [`Default`] has the numbers of the code for twenty questions, with a smaller batch of turns.
#[derive(Clone, Debug, PartialEq)]
pub struct ArcherConfig {
    /// Games of an iteration.
    pub games: usize,
    /// Most utterances of a game; one that is not over by then is broken off.
    pub turns: usize,
    /// Discount from turn to turn.
    pub gamma: f64,
    /// Share by which targets follow after each step.
    pub tau: f64,
    /// Step size of the critics, by Adam.
    pub critic_learning_rate: f64,
    /// Critic steps of an iteration.
    pub critic_steps: usize,
    /// Turns of a critic step.
    pub critic_batch: usize,
    /// Actor steps of an iteration.
    pub actor_steps: usize,
    /// Observations of an actor step.
    pub window: usize,
    /// Iterations in which critics learn alone.
    pub warmup: usize,
    /// Most turns that are kept; the oldest go first.
    pub capacity: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of an utterance.
    pub max_completion_length: usize,
    /// Tokens that end an utterance.
    pub ends: Vec<u32>,
    /// Most tokens of observation and utterance together.
    pub context: usize,
    /// Texts that are encoded at once.
    pub batch: usize,
    /// Root of the random streams.
    pub seed: Seed,
}

impl Default for ArcherConfig {
    fn default() -> Self {
        Self {
            games: 128,
            turns: 20,
            gamma: 0.95,
            tau: 0.1,
            critic_learning_rate: 2e-5,
            critic_steps: 50,
            critic_batch: 32,
            actor_steps: 3,
            window: 32,
            warmup: 20,
            capacity: 100_000,
            sampling: Sampling::default(),
            max_completion_length: 16,
            ends: Vec::new(),
            context: 2048,
            batch: 8,
            seed: Seed(0),
        }
    }
}

impl ArcherConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        self.sampling.check()?;
        let counts = [
            ("games", self.games),
            ("turns", self.turns),
            ("critic_steps", self.critic_steps),
            ("critic_batch", self.critic_batch),
            ("actor_steps", self.actor_steps),
            ("the number of observations of a step", self.window),
            ("buffer_size", self.capacity),
            ("max_completion_length", self.max_completion_length),
            ("the batch of a pass", self.batch),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(CoreError::Range { name, rule: "at least 1", got: 0.0 });
        }
        let range = |name, rule, got: f64, accepted: bool| match accepted {
            true => Ok(()),
            false => Err(CoreError::Range { name, rule, got }),
        };
        range("gamma", "in [0, 1]", self.gamma, (0.0..=1.0).contains(&self.gamma))?;
        range("tau", "in (0, 1]", self.tau, self.tau > 0.0 && self.tau <= 1.0)?;
        let rate = self.critic_learning_rate;
        range("critic_learning_rate", "finite and above 0", rate, rate > 0.0 && rate.is_finite())
    }
}

/// A turn that was played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlayedTurn {
    /// What was seen.
    pub observation: Tokens,
    /// What was said.
    pub utterance: Tokens,
    /// What it earned.
    pub reward: f64,
    /// What was seen then.
    pub next: Tokens,
    /// Whether the game was over then.
    pub done: bool,
    /// The discounted sum of the rewards from here to the end of its game.
    pub to_come: f64,
}

/// Where the loop stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    iteration: u64,
    /// Steps made on the pending utterances.
    used: usize,
    pending: Vec<Rollout>,
    buffer: VecDeque<PlayedTurn>,
    metrics: Vec<(String, f64)>,
}

/// A game that the policy plays, with critics, as a source of utterances and their advantages.
pub struct Archer<'a> {
    game: &'a dyn Game,
    encoder: Decoder,
    critics: Critics,
    config: ArcherConfig,
    state: State,
}

impl<'a> Archer<'a> {
    /// A source of rows for a loss without values, a reference and entropies of the rollout; `encoder` makes states of texts for
    /// the critics, which live on the device `training`.
    ///
    /// # Errors
    /// When an option is out of its range.
    pub fn new(
        game: &'a dyn Game,
        encoder: Decoder,
        config: ArcherConfig,
        training: &Device,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let (hidden, seed) = (encoder.config().hidden_size, config.seed.child("critics", 0));
        let critics = Critics::new(hidden, config.tau, config.critic_learning_rate, seed, training);
        Ok(Self { game, encoder: encoder.valid(), critics, config, state: State::default() })
    }

    /// The turns that are kept.
    pub fn buffer(&self) -> impl Iterator<Item = &PlayedTurn> {
        self.state.buffer.iter()
    }

    /// What the critics expect from observations on, the less of the two.
    ///
    /// # Errors
    /// When an observation is empty or too long for the encoder.
    pub fn values(&self, observations: &[Tokens]) -> Result<Vec<f64>, TrainError> {
        Ok(self.critics.values(&self.encoded(observations)?))
    }

    /// The last hidden states of texts, `[texts, hidden]`.
    fn encoded(&self, texts: &[Tokens]) -> Result<Tensor<2>, TrainError> {
        let mut parts = Vec::new();
        for texts in texts.chunks(self.config.batch) {
            // One token behind a text is predicted by its last state.
            let rows: Vec<Row> = texts.iter().map(|text| Row { prompt: text, response: &[0] }).collect();
            parts.push(self.encoder.predictors(&rows)?.states()); // [n, hidden]
        }
        match parts.is_empty() {
            true => Err(TrainError::NoRows),
            false => Ok(Tensor::cat(parts, 0)),
        }
    }

    /// One utterance after each observation.
    fn say(&self, actor: &Actor, observations: &[Tokens], seed: Seed) -> Result<Vec<Rollout>, TrainError> {
        let config = &self.config;
        if let Some(long) = observations.iter().find(|seen| seen.len() + config.max_completion_length > config.context)
        {
            let rule = "an observation must leave room for an utterance in the context; shorten it from its beginning";
            let got = format!("{} tokens beside {} in {}", long.len(), config.max_completion_length, config.context);
            return Err(CoreError::Shape { rule, got }.into());
        }
        let policy = LocalPolicy::new(&actor.decoder, &config.ends, config.context)?;
        let request = |(at, seen): (usize, &Tokens)| Request {
            prefix: seen.clone(),
            n: 1,
            until: Until::End,
            mode: Mode::Sample(config.sampling),
            max_new: config.max_completion_length,
            seed: seed.child("utterance", at as u64),
        };
        let requests: Vec<Request> = observations.iter().enumerate().map(request).collect();
        let said = written(&policy, &requests, &config.sampling, &config.ends)?;
        if said.len() != observations.len() || said.iter().any(|one| one.response.is_empty()) {
            let rule = "a policy says something at every turn, a token at least";
            return Err(CoreError::Shape { rule, got: "nothing".to_owned() }.into());
        }
        Ok(said)
    }

    /// Plays as many games as an iteration has, side by side, and keeps none.
    ///
    /// # Errors
    /// When the game refuses something, or a reward is larger than critics learn.
    pub fn games(&self, actor: &Actor, seed: Seed) -> Result<Vec<Vec<PlayedTurn>>, TrainError> {
        let game_of = |number: usize| seed.child("game", number as u64);
        let mut said: Vec<Vec<Tokens>> = vec![Vec::new(); self.config.games];
        let mut played: Vec<Vec<PlayedTurn>> = vec![Vec::new(); self.config.games];
        let mut open: Vec<(usize, Turn)> = Vec::new();
        for number in 0..self.config.games {
            let turn = self.game.turn(game_of(number), &[])?;
            if turn.done {
                let (rule, got) = ("a game begins before it is over", format!("game {number}"));
                return Err(CoreError::Shape { rule, got }.into());
            }
            open.push((number, turn));
        }
        for turn in 0..self.config.turns {
            if open.is_empty() {
                break;
            }
            let seen: Vec<Tokens> = open.iter().map(|(_, turn)| turn.observation.clone()).collect();
            let utterances = self.say(actor, &seen, seed.child("turn", turn as u64))?;
            let mut still = Vec::new();
            for ((number, before), utterance) in open.into_iter().zip(utterances) {
                said[number].push(utterance.response.clone());
                let after = self.game.turn(game_of(number), &said[number])?;
                let sound = after.reward.abs() <= LARGEST;
                if !sound {
                    let (name, rule) = ("the reward of a turn", "at most 1000 in size; scale the game's rewards");
                    return Err(CoreError::Range { name, rule, got: after.reward }.into());
                }
                played[number].push(PlayedTurn {
                    observation: before.observation,
                    utterance: utterance.response,
                    reward: after.reward,
                    next: after.observation.clone(),
                    done: after.done,
                    to_come: 0.0,
                });
                if !after.done {
                    still.push((number, after));
                }
            }
            open = still;
        }
        for turns in &mut played {
            let mut to_come = 0.0;
            for turn in turns.iter_mut().rev() {
                to_come = turn.reward + self.config.gamma * to_come;
                turn.to_come = to_come;
            }
        }
        Ok(played)
    }

    /// Plays the games of an iteration and keeps them; gives their returns, without a discount.
    fn play(&mut self, actor: &Actor) -> Result<Vec<f64>, TrainError> {
        let played = self.games(actor, self.config.seed.child("games", self.state.iteration))?;
        let returns = played.iter().map(|turns| turns.iter().map(|turn| turn.reward).sum::<f64>()).collect();
        self.state.buffer.extend(played.into_iter().flatten());
        let over = self.state.buffer.len().saturating_sub(self.config.capacity);
        self.state.buffer.drain(..over);
        Ok(returns)
    }

    /// Places of the buffer, drawn evenly.
    fn drawn(&self, purpose: &str, n: usize) -> Vec<usize> {
        let mut stream = self.config.seed.stream(purpose, self.state.iteration);
        (0..n).map(|_| stream.random_range(0..self.state.buffer.len())).collect()
    }

    /// The critic steps of an iteration; the means of the two losses.
    fn learn(&mut self, actor: &Actor) -> Result<(f64, f64), TrainError> {
        let (steps, n) = (self.config.critic_steps, self.config.critic_batch);
        let places = self.drawn("turns of critics", steps * n);
        let column = |of: fn(&PlayedTurn) -> &Tokens| -> Vec<Tokens> {
            places.iter().map(|at| of(&self.state.buffer[*at]).clone()).collect()
        };
        let observations = column(|turn| &turn.observation);
        let (utterances, next) = (column(|turn| &turn.utterance), column(|turn| &turn.next));
        let seed = self.config.seed.child("fresh for critics", self.state.iteration);
        let fresh: Vec<Tokens> = self.say(actor, &observations, seed)?.into_iter().map(|one| one.response).collect();
        let mut sums = (0.0, 0.0);
        for step in 0..steps {
            let here = step * n..(step + 1) * n;
            let turns = Encoded {
                observations: self.encoded(&observations[here.clone()])?,
                utterances: self.encoded(&utterances[here.clone()])?,
                fresh: self.encoded(&fresh[here.clone()])?,
                next: self.encoded(&next[here.clone()])?,
            };
            let played: Vec<&PlayedTurn> = places[here].iter().map(|at| &self.state.buffer[*at]).collect();
            let discount = |turn: &&PlayedTurn| if turn.done { 0.0 } else { self.config.gamma as f32 };
            let outcomes = Outcomes {
                rewards: played.iter().map(|turn| turn.reward as f32).collect(),
                discounts: played.iter().map(discount).collect(),
            };
            let (q, v) = self.critics.learn(&turns, &outcomes);
            sums = (sums.0 + q, sums.1 + v);
        }
        Ok((sums.0 / steps as f64, sums.1 / steps as f64))
    }

    /// Fresh utterances with their advantages, for all actor steps of an iteration.
    fn judged(&self, actor: &Actor) -> Result<Vec<Rollout>, TrainError> {
        let places = self.drawn("observations of the actor", self.config.actor_steps * self.config.window);
        let observations: Vec<Tokens> = places.iter().map(|at| self.state.buffer[*at].observation.clone()).collect();
        let seed = self.config.seed.child("fresh for the actor", self.state.iteration);
        let mut rollouts = self.say(actor, &observations, seed)?;
        let utterances: Vec<Tokens> = rollouts.iter().map(|rollout| rollout.response.clone()).collect();
        let advantages = self.critics.advantages(&self.encoded(&observations)?, &self.encoded(&utterances)?);
        for (rollout, advantage) in rollouts.iter_mut().zip(advantages) {
            rollout.advantages = vec![advantage as f32; rollout.response.len()];
        }
        Ok(rollouts)
    }

    /// Iterations up to one with actor steps.
    fn iterate(&mut self, actor: &Actor) -> Result<(), TrainError> {
        let actor = actor.valid();
        loop {
            let returns = self.play(&actor)?;
            let (q_loss, v_loss) = self.learn(&actor)?;
            if self.state.iteration < self.config.warmup as u64 {
                self.state.iteration += 1;
                continue;
            }
            self.state.pending = self.judged(&actor)?;
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
            let advantages = self.state.pending.iter().filter_map(|rollout| rollout.advantages.first());
            let advantages: Vec<f64> = advantages.map(|advantage| f64::from(*advantage)).collect();
            let mut metrics = Metrics::default();
            metrics.push("reward", mean(&returns));
            metrics.push("archer/games", ((self.state.iteration + 1) * self.config.games as u64) as f64);
            metrics.push("archer/turns", self.state.buffer.len() as f64);
            metrics.push("archer/advantage", mean(&advantages));
            metrics.push("critic/q_loss", q_loss);
            metrics.push("critic/v_loss", v_loss);
            self.state.metrics = metrics.into_named();
            return Ok(());
        }
    }
}

impl Source<Actor, Rollout> for Archer<'_> {
    fn window(&mut self, actor: &Actor) -> Result<Window<'_, Rollout>, TrainError> {
        if self.state.pending.is_empty() {
            self.iterate(actor)?;
        }
        let (used, window) = (self.state.used, self.config.window);
        let rows = self.state.pending.iter().skip(used * window).take(window).collect();
        Ok(Window { rows, metrics: self.state.metrics.clone() })
    }

    fn advance(&mut self) {
        self.state.used += 1;
        if self.state.used >= self.config.actor_steps {
            self.state.pending = Vec::new();
            self.state.used = 0;
            self.state.iteration += 1;
        }
    }

    fn epoch(&self) -> f64 {
        self.state.iteration as f64
    }

    fn cursor(&self) -> Cursor {
        Cursor { epoch: self.state.iteration, position: 0 }
    }

    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        self.critics.save(folder)?;
        kept::save(folder, FILE, &self.state)
    }

    fn resume(&mut self, folder: &Path, _cursor: Cursor) -> Result<(), TrainError> {
        self.state = kept::read(folder, FILE)?;
        self.critics.resume(folder)
    }
}
