//! Monte Carlo tree search over the steps of a text.
//!
//! A node is a text, its continuations are `expand` sampled steps (equal ones merged), and their priors are the softmax of
//! the mean log-probability of their tokens. A node is worth what the scorer says of it, or the mean outcome of rollouts, or
//! a mixture; a text that ended is worth what the judge says (the scorer, where there is none), and so is one that was cut off
//! where rollouts alone count. The prompt itself cannot be scored, so without rollouts its own value is the middle of the range.
//!
//! Sources: openr and OmegaPRM (arXiv:2406.06592) for `puct`, From r to Q* (arXiv:2404.12358) and "What Are Step-Level
//! Reward Models Rewarding?" (arXiv:2412.15904) for `uct`, ARMAP (arXiv:2502.12130) for its own. See [`tree`] for the search
//! itself, which other states can use.

pub mod rule;
pub mod tree;

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use self::tree::{Domain, Grown, Tree, TreeOptions};
use crate::error::check;
use crate::step_beam::{best_unfinished, pick_among};
use crate::{Found, Needs, NodeState, Path, Pick, PromptCtx, Reach, Search, SearchCtx, SearchError, Stopped};

/// What a text is worth before it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// What the scorer says.
    #[default]
    Score,
    /// The mean of what the judge says of so many texts that are written to the end.
    Rollouts(usize),
    /// `lambda` times the score and the rest of the rollouts.
    Mixed {
        /// Share of the score; in [0, 1].
        lambda: f64,
        /// Number of rollouts.
        rollouts: usize,
    },
}

impl Worth {
    fn rollouts(self) -> usize {
        match self {
            Self::Score => 0,
            Self::Rollouts(rollouts) | Self::Mixed { rollouts, .. } => rollouts,
        }
    }

    /// Share of the score.
    fn share(self) -> f64 {
        match self {
            Self::Score => 1.0,
            Self::Rollouts(_) => 0.0,
            Self::Mixed { lambda, .. } => lambda,
        }
    }
}

/// What comes out of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Move by move: the child that was visited most becomes the root, until the text ends.
    #[default]
    Commit,
    /// One search from the prompt, and the best of all texts that ended in it, rollouts included; or a vote on them.
    Best(Pick),
}

/// Monte Carlo tree search over steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mcts {
    /// Numbers of the tree search.
    pub tree: TreeOptions,
    /// What a text is worth.
    pub worth: Worth,
    /// Most steps of a text; at least 1. What is longer is written to the end at once.
    pub levels: usize,
    /// What comes out.
    pub outcome: Outcome,
}

impl Default for Mcts {
    fn default() -> Self {
        Self { tree: TreeOptions::default(), worth: Worth::Score, levels: 40, outcome: Outcome::Commit }
    }
}

/// A text and the number of its steps.
type Place = (Path, usize);

/// Texts as a [`Domain`].
struct Texts<'d, 'c> {
    ctx: &'d mut PromptCtx<'c>,
    options: Mcts,
    /// Texts that ended, with what the judge says.
    ended: Vec<(Path, f32)>,
}

impl Domain for Texts<'_, '_> {
    type State = Place;

    fn expand(&mut self, state: &Place, n: usize, drawn: usize) -> Result<Option<Vec<Grown<Place>>>, SearchError> {
        let (path, depth) = state;
        let from = if drawn == 0 { path.clone() } else { path.redrawn("widen", drawn as u64) };
        let reach = if depth + 1 >= self.options.levels { Reach::End } else { Reach::Step };
        let Some(children) = self.ctx.write(&[from], n, reach)? else { return Ok(None) };
        let grown = |child: Path| {
            let added = child.tokens().len() - path.tokens().len();
            let logit = (child.logp() - path.logp()) / added as f64;
            Grown { state: (child, depth + 1), logit }
        };
        Ok(Some(children.concat().into_iter().map(grown).collect()))
    }

    fn evaluate(&mut self, states: &[Place]) -> Result<Option<Vec<f64>>, SearchError> {
        let (worth, range) = (self.options.worth, self.options.tree.range);
        let (mut values, mut own) = (vec![range.0; states.len()], Vec::new());
        let mut judged = Vec::new();
        for (at, (path, _)) in states.iter().enumerate() {
            // What was cut off is its own rollout.
            let is_cut = !self.ctx.is_open(path) && !path.tokens().is_empty();
            if self.ctx.competes(path) || (is_cut && worth.share() == 0.0) {
                judged.push(at);
            } else if path.tokens().is_empty() {
                values[at] = (range.0 + range.1) / 2.0;
            } else {
                own.push(at);
            }
        }
        let open: Vec<usize> = (0..states.len()).filter(|at| self.ctx.is_open(&states[*at].0)).collect();
        if worth.rollouts() > 0 && !open.is_empty() {
            let from: Vec<Path> = open.iter().map(|at| states[*at].0.redrawn("rollout", 0)).collect();
            let Some(written) = self.ctx.write(&from, worth.rollouts(), Reach::End)? else { return Ok(None) };
            let counts: Vec<usize> = written.iter().map(Vec::len).collect();
            let written = written.concat();
            let Some(outcomes) = self.ctx.judge(&written)? else { return Ok(None) };
            let mut from = 0;
            for (at, count) in open.iter().zip(counts) {
                let part = &outcomes[from..from + count];
                from += count;
                if count > 0 {
                    values[*at] = part.iter().map(|one| f64::from(*one)).sum::<f64>() / count as f64;
                }
            }
            let whole = written.into_iter().zip(outcomes).filter(|(path, _)| self.ctx.competes(path));
            self.ended.extend(whole);
            if worth.share() == 0.0 {
                own.retain(|at| !open.contains(at));
            }
        }
        let paths: Vec<Path> = own.iter().map(|at| states[*at].0.clone()).collect();
        let Some(scores) = self.ctx.score(&paths)? else { return Ok(None) };
        for (at, score) in own.into_iter().zip(scores) {
            let share = if worth.rollouts() > 0 && open.contains(&at) { worth.share() } else { 1.0 };
            values[at] = share * f64::from(score) + (1.0 - share) * values[at];
        }
        let paths: Vec<Path> = judged.iter().map(|at| states[*at].0.clone()).collect();
        let Some(outcomes) = self.ctx.judge(&paths)? else { return Ok(None) };
        for (at, outcome) in judged.into_iter().zip(&outcomes) {
            values[at] = f64::from(*outcome);
        }
        let ended = paths.into_iter().zip(outcomes).filter(|(path, _)| self.ctx.competes(path));
        self.ended.extend(ended);
        Ok(Some(values))
    }

    fn is_over(&self, state: &Place) -> bool {
        !self.ctx.is_open(&state.0)
    }

    fn same(&self, left: &Place, right: &Place) -> bool {
        left.0.tokens() == right.0.tokens()
    }
}

impl Mcts {
    fn check(&self) -> Result<(), SearchError> {
        self.tree.check()?;
        check("levels", "at least 1", self.levels as f64, self.levels > 0)?;
        let share = self.worth.share();
        check("lambda", "in [0, 1]", share, (0.0..=1.0).contains(&share))?;
        let rollouts = self.worth.rollouts();
        check("rollouts", "at least 1", rollouts as f64, self.worth == Worth::Score || rollouts > 0)
    }

    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let mut tree = Tree::new((ctx.root(), 0), self.tree, ctx.seed())?;
        let mut texts = Texts { ctx, options: *self, ended: Vec::new() };
        let mut root = 0;
        loop {
            let done = tree.simulate(&mut texts, root)?;
            let next = tree.most_visited(root);
            root = match (self.outcome, next) {
                (Outcome::Commit, Some(next)) if done => next,
                // Nothing follows: the text has ended, or the policy wrote nothing.
                _ => break,
            };
            if texts.is_over(&tree.nodes()[root].state) {
                break;
            }
        }
        let Texts { ctx, mut ended, .. } = texts;
        for node in tree.nodes() {
            ctx.visits(&node.state.0, node.visits);
            if node.visits > 0 {
                ctx.value(&node.state.0, node.value);
            }
        }
        // Rollouts of the same leaf may be equal to one another, and to its children.
        let mut seen = std::collections::HashSet::new();
        ended.retain(|(path, _)| seen.insert(path.tokens().to_vec()));
        let committed = tree.nodes()[root].state.0.clone();
        if let Outcome::Commit = self.outcome {
            let mut line = Some(root);
            while let Some(at) = line {
                ctx.mark([&tree.nodes()[at].state.0], NodeState::Kept);
                line = tree.nodes()[at].parent;
            }
            if ctx.competes(&committed)
                && let Some(chosen) = ended.iter().position(|(path, _)| path.tokens() == committed.tokens())
            {
                let (paths, scores): (Vec<Path>, Vec<f32>) = ended.into_iter().unzip();
                return Ok(ctx.found(&paths, Some(scores), chosen));
            }
        }
        if !ended.is_empty() {
            let pick = if let Outcome::Best(pick) = self.outcome { pick } else { Pick::Best };
            return pick_among(ctx, ended, pick);
        }
        if tree.nodes()[0].children.is_empty() && ctx.room() > 0 {
            ctx.stop(Stopped::Nothing);
        }
        // Nothing ended: the line of most visits from the prompt.
        let mut at = root;
        while let Some(next) = tree.most_visited(at) {
            at = next;
        }
        let node = &tree.nodes()[at];
        best_unfinished(ctx, std::slice::from_ref(&node.state.0), &[node.value as f32])
    }
}

impl Search for Mcts {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        self.check()?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        let votes = matches!(self.outcome, Outcome::Best(pick) if pick.needs_answers());
        Needs { scorer: true, answers: votes, top: false }
    }
}
