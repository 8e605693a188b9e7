//! Planning by an agent with a reward of whole trajectories: ARMAP, arXiv:2502.12130.
//!
//! ```text
//! greedy      the likeliest move, always
//! best of n   n trajectories drawn at a temperature; the best by the reward
//! reflexion   trial after trial, each with what was written about the ones before, until the reward is enough
//! tree        Monte Carlo tree search over moves; a leaf is played to the end by the proposer, and is worth what the reward
//!             says of that trajectory
//! ```
//! The reward is a function of a trajectory, `f(intent, trajectory)` with the intent inside it: a model that was trained on
//! pairs of trajectories, or the world's own. States of a [`World`] are values, so going back costs nothing; what is counted
//! is steps taken in the world. Search only in a simulator: what was done in earnest is not undone by a tree.

use ascribe_core::{Seed, World};

use crate::error::check;
use crate::mcts::tree::{Domain, Grown, Tree, TreeOptions};
use crate::tilt::{draw, largest, log_sum_exp};
use crate::{SearchError, Stopped};

/// What was done and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory<S> {
    /// The states, one more than moves.
    pub states: Vec<S>,
    /// The moves.
    pub moves: Vec<u32>,
    /// The world's reward of each move.
    pub rewards: Vec<f64>,
    /// Whether the world ended.
    pub done: bool,
}

impl<S> Trajectory<S> {
    /// Where it stands.
    pub fn last(&self) -> &S {
        &self.states[self.states.len() - 1]
    }

    /// The sum of the world's rewards.
    pub fn total(&self) -> f64 {
        self.rewards.iter().sum()
    }
}

/// How likely each legal move is, as logits: from the trajectory so far, the moves, and what was written about earlier trials.
pub type Propose<'a, S> = &'a dyn Fn(&Trajectory<S>, &[u32], &[String]) -> Vec<f64>;

/// What a trajectory is worth.
pub type Judge<'a, S> = &'a dyn Fn(&Trajectory<S>) -> f64;

/// What is written about a trial that was not enough.
pub type Reflect<'a, S> = &'a dyn Fn(&Trajectory<S>) -> String;

/// An agent in a world.
pub struct Agent<'a, W: World> {
    /// The world.
    pub world: &'a W,
    /// Who proposes moves.
    pub propose: Propose<'a, W::State>,
    /// Who judges trajectories.
    pub judge: Judge<'a, W::State>,
    /// Most moves of a trajectory; at least 1.
    pub horizon: usize,
    /// Most steps in the world; `None` is no limit.
    pub steps: Option<u64>,
    /// Root of all randomness.
    pub seed: Seed,
}

/// What was planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<S> {
    /// Every trajectory that was played to its end, with what it is worth, in the order of playing.
    pub trajectories: Vec<(Trajectory<S>, f64)>,
    /// Index of the best, the first of equals; `None` where the steps did not reach for one.
    pub best: Option<usize>,
    /// Steps taken in the world.
    pub steps: u64,
    /// Why planning ended early, if it did.
    pub stopped: Option<Stopped>,
}

impl<S> Plan<S> {
    /// The best trajectory and its worth.
    pub fn found(&self) -> Option<&(Trajectory<S>, f64)> {
        self.best.and_then(|best| self.trajectories.get(best))
    }
}

/// Counts steps, and collects trajectories.
struct Walk<'w, 'a, W: World> {
    agent: &'w Agent<'a, W>,
    played: Vec<(Trajectory<W::State>, f64)>,
    spent: u64,
    stopped: Option<Stopped>,
}

impl<W: World> Agent<'_, W> {
    /// The trajectory of the likeliest moves.
    ///
    /// # Errors
    /// When the world refuses a legal move, or a worth is NaN.
    pub fn greedy(&self) -> Result<Plan<W::State>, SearchError> {
        self.best_of_n(1, 0.0)
    }

    /// The best of `n` trajectories, drawn at a temperature; 0 takes the likeliest move.
    ///
    /// # Errors
    /// As [`greedy`](Self::greedy), and unless n is at least 1 and the temperature finite and at least 0.
    pub fn best_of_n(&self, n: usize, temperature: f64) -> Result<Plan<W::State>, SearchError> {
        self.check(temperature)?;
        if n == 0 {
            return Err(SearchError::NoSamples);
        }
        let mut walk = self.walk();
        for trial in 0..n {
            let start = self.start();
            if walk.play(start, temperature, self.seed.child("trial", trial as u64), &[])?.is_none() {
                break;
            }
        }
        Ok(walk.plan())
    }

    /// Trials until one is worth `enough`, at most `trials`; each sees what `reflect` wrote about those before.
    ///
    /// # Errors
    /// As [`best_of_n`](Self::best_of_n).
    pub fn reflexion(
        &self,
        trials: usize,
        temperature: f64,
        enough: f64,
        reflect: Reflect<W::State>,
    ) -> Result<Plan<W::State>, SearchError> {
        self.check(temperature)?;
        if trials == 0 {
            return Err(SearchError::NoSamples);
        }
        let (mut walk, mut notes) = (self.walk(), Vec::new());
        for trial in 0..trials {
            let seed = self.seed.child("trial", trial as u64);
            let Some(worth) = walk.play(self.start(), temperature, seed, &notes)? else { break };
            if worth >= enough {
                break;
            }
            notes.extend(walk.played.last().map(|(trajectory, _)| reflect(trajectory)));
        }
        Ok(walk.plan())
    }

    /// The best trajectory that a tree search played. `options.range` holds the worths; rollouts are drawn at a temperature.
    ///
    /// # Errors
    /// As [`best_of_n`](Self::best_of_n), when an option is out of range, or a worth is outside `options.range`.
    pub fn tree(&self, options: TreeOptions, temperature: f64) -> Result<Plan<W::State>, SearchError> {
        self.check(temperature)?;
        let mut tree = Tree::new(self.start(), options, self.seed.child("tree", 0))?;
        let mut moves = Moves { walk: self.walk(), temperature };
        tree.simulate(&mut moves, 0)?;
        Ok(moves.walk.plan())
    }

    fn check(&self, temperature: f64) -> Result<(), SearchError> {
        check("horizon", "at least 1", self.horizon as f64, self.horizon > 0)?;
        let sound = temperature >= 0.0 && temperature.is_finite();
        check("temperature", "finite and at least 0", temperature, sound)
    }

    fn start(&self) -> Trajectory<W::State> {
        let state = self.world.reset(self.seed);
        let done = self.world.moves(&state).is_empty();
        Trajectory { states: vec![state], moves: Vec::new(), rewards: Vec::new(), done }
    }

    fn walk(&self) -> Walk<'_, '_, W> {
        Walk { agent: self, played: Vec::new(), spent: 0, stopped: None }
    }
}

impl<W: World> Walk<'_, '_, W> {
    fn is_over(&self, trajectory: &Trajectory<W::State>) -> bool {
        trajectory.done || trajectory.moves.len() >= self.agent.horizon
    }

    /// The legal moves with their log-probabilities.
    fn proposed(
        &self,
        trajectory: &Trajectory<W::State>,
        notes: &[String],
    ) -> Result<(Vec<u32>, Vec<f64>), SearchError> {
        let moves = self.agent.world.moves(trajectory.last());
        let logits = (self.agent.propose)(trajectory, &moves, notes);
        if logits.len() != moves.len() {
            return Err(SearchError::Answers { what: "a proposer", asked: moves.len(), got: logits.len() });
        }
        let total = log_sum_exp(&logits);
        check("the logits of moves", "below infinity, and not all negative infinity", total, total.is_finite())?;
        Ok((moves, logits.iter().map(|logit| logit - total).collect()))
    }

    /// One move more; `None` when the steps are spent.
    fn step(
        &mut self,
        trajectory: &Trajectory<W::State>,
        mv: u32,
    ) -> Result<Option<Trajectory<W::State>>, SearchError> {
        if self.agent.steps.is_some_and(|most| self.spent >= most) {
            self.stopped = Some(Stopped::Budget);
            return Ok(None);
        }
        self.spent += 1;
        let next = self.agent.world.step(trajectory.last(), mv)?;
        let mut trajectory = trajectory.clone();
        trajectory.states.push(next.state);
        trajectory.moves.push(mv);
        trajectory.rewards.push(next.reward);
        trajectory.done = next.done;
        Ok(Some(trajectory))
    }

    /// Plays to the end and judges; `None` when the steps are spent before.
    fn play(
        &mut self,
        mut trajectory: Trajectory<W::State>,
        temperature: f64,
        seed: Seed,
        notes: &[String],
    ) -> Result<Option<f64>, SearchError> {
        while !self.is_over(&trajectory) {
            let (moves, logps) = self.proposed(&trajectory, notes)?;
            let chosen = if temperature == 0.0 {
                largest(&logps)
            } else {
                let cooled: Vec<f64> = logps.iter().map(|logp| logp / temperature).collect();
                let total = log_sum_exp(&cooled);
                let normalized: Vec<f64> = cooled.iter().map(|logp| logp - total).collect();
                draw(&normalized, &mut seed.stream("move", trajectory.moves.len() as u64))
            };
            let Some(next) = self.step(&trajectory, moves[chosen])? else { return Ok(None) };
            trajectory = next;
        }
        let worth = (self.agent.judge)(&trajectory);
        check("the worth of a trajectory", "a number", worth, !worth.is_nan())?;
        self.played.push((trajectory, worth));
        Ok(Some(worth))
    }

    fn plan(self) -> Plan<W::State> {
        let better = |best: usize, at: usize| if self.played[at].1 > self.played[best].1 { at } else { best };
        let best = (0..self.played.len()).reduce(better);
        Plan { best, trajectories: self.played, steps: self.spent, stopped: self.stopped }
    }
}

/// Trajectories as the [`Domain`] of a tree search.
struct Moves<'w, 'a, W: World> {
    walk: Walk<'w, 'a, W>,
    temperature: f64,
}

impl<W: World> Domain for Moves<'_, '_, W> {
    type State = Trajectory<W::State>;

    /// The likeliest moves that were not drawn yet.
    fn expand(
        &mut self,
        state: &Self::State,
        n: usize,
        drawn: usize,
    ) -> Result<Option<Vec<Grown<Self::State>>>, SearchError> {
        let (moves, logps) = self.walk.proposed(state, &[])?;
        let mut order: Vec<usize> = (0..moves.len()).collect();
        order.sort_by(|left, right| logps[*right].total_cmp(&logps[*left]));
        let mut grown = Vec::new();
        for at in order.into_iter().skip(drawn).take(n) {
            let Some(state) = self.walk.step(state, moves[at])? else { return Ok(None) };
            grown.push(Grown { state, logit: logps[at] });
        }
        Ok(Some(grown))
    }

    fn evaluate(&mut self, states: &[Self::State]) -> Result<Option<Vec<f64>>, SearchError> {
        let mut values = Vec::with_capacity(states.len());
        for state in states {
            // A rollout hangs on its moves, not on the order of the questions.
            let root = self.walk.agent.seed.child("rollout", 0);
            let seed = state.moves.iter().fold(root, |seed, mv| seed.child("after", u64::from(*mv)));
            let Some(worth) = self.walk.play(state.clone(), self.temperature, seed, &[])? else { return Ok(None) };
            values.push(worth);
        }
        Ok(Some(values))
    }

    fn is_over(&self, state: &Self::State) -> bool {
        self.walk.is_over(state)
    }

    fn same(&self, left: &Self::State, right: &Self::State) -> bool {
        left.moves == right.moves
    }
}

#[cfg(test)]
mod tests {
    use ascribe_worlds::{Shop, ShopState};

    use super::*;

    #[test]
    fn a_rollout_depends_on_its_moves_and_not_on_the_order_of_the_questions() {
        let shop = Shop::drawn(Seed(9), 12, 8).unwrap();
        let propose = |_: &Trajectory<ShopState>, moves: &[u32], _: &[String]| vec![0.0; moves.len()];
        // Other moves have other worths.
        let judge = |trajectory: &Trajectory<ShopState>| {
            trajectory.moves.iter().fold(0.0, |code: f64, mv| 0.7 * code + f64::from(*mv))
        };
        let agent = Agent { world: &shop, propose: &propose, judge: &judge, horizon: 8, steps: None, seed: Seed(2) };
        let moves = || Moves { walk: agent.walk(), temperature: 1.0 };
        let grown = moves().expand(&agent.start(), 4, 0).unwrap().unwrap();
        let states: Vec<Trajectory<ShopState>> = grown.into_iter().map(|one| one.state).collect();
        let back: Vec<Trajectory<ShopState>> = states.iter().rev().cloned().collect();
        let forth = moves().evaluate(&states).unwrap().unwrap();
        let mut other = moves().evaluate(&back).unwrap().unwrap();
        other.reverse();
        assert!(forth.len() > 1);
        assert_eq!(forth, other);
    }
}
