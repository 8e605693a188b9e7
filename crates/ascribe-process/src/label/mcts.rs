//! Pairs of sibling steps from a tree search: "What Are Step-Level Reward Models Rewarding?", arXiv:2412.15904.
//!
//! ```text
//! select    argmax over children  W/N + w sqrt(ln N_s / N),  an unvisited child first, in the order of creation
//! evaluate  one rollout from a state that is new; its outcome where the response has ended
//! expand    n steps at the second visit, equal ones merged          back up  N += 1, W += outcome, up to the question
//! pairs     siblings with N >= min_visits each and |difference of W/N| > threshold
//! ```
//! Departures: visits have a least number, because a mean of few visits says little.

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use super::omega::StepPair;
use super::step_tree::{StepTree, Steps};
use super::{Asked, Completer};
use crate::ProcessError;

/// Options of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MctsConfig {
    /// Steps that are proposed at each state.
    pub children: usize,
    /// Simulations of one problem.
    pub simulations: usize,
    /// Weight of the term for states that were visited seldom.
    pub exploration: f64,
    /// Difference of values above which two siblings are a pair.
    pub threshold: f64,
    /// Fewest visits of each side of a pair.
    pub min_visits: u64,
    /// Token ids that end a step.
    pub separators: Vec<u32>,
    /// Most tokens of a step.
    pub max_step: usize,
}

impl Default for MctsConfig {
    fn default() -> Self {
        Self {
            children: 6,
            simulations: 500,
            exploration: 1.0,
            threshold: 0.7,
            min_visits: 8,
            separators: Vec::new(),
            max_step: 256,
        }
    }
}

impl MctsConfig {
    /// A search with these options.
    ///
    /// # Errors
    /// When a number is 0, a weight is below 0, or the threshold is not in [0, 1].
    pub fn init(self) -> Result<Mcts, ProcessError> {
        let counts = [
            ("children", self.children as u64),
            ("simulations", self.simulations as u64),
            ("min_visits", self.min_visits),
            ("max_step", self.max_step as u64),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ProcessError::range(name, "at least 1", 0));
        }
        if !(self.exploration >= 0.0 && self.exploration.is_finite()) {
            return Err(ProcessError::range("exploration", "finite and at least 0", self.exploration));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(ProcessError::range("threshold", "in [0, 1]", self.threshold));
        }
        Ok(Mcts { config: self })
    }
}

/// A checked search.
#[derive(Clone, Debug)]
pub struct Mcts {
    config: MctsConfig,
}

/// A state of a finished search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// Token ids of the response so far.
    pub prefix: Tokens,
    /// Number of the state before it; none for the question.
    pub parent: Option<usize>,
    /// Simulations that went through it.
    pub visits: u64,
    /// Mean of their outcomes.
    pub value: f64,
    /// The outcome, where the response has ended.
    pub outcome: Option<f64>,
}

/// What a search made.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchedSteps {
    /// The question first, then states in the order of their creation.
    pub states: Vec<StepState>,
    /// Sibling steps whose values differ.
    pub pairs: Vec<StepPair>,
    /// The caps ended the search early.
    pub exhausted: bool,
}

/// `mean + w sqrt(ln N_s / N)`; infinite without a visit.
pub fn uct(mean: f64, visits: u64, parent_visits: u64, exploration: f64) -> f64 {
    if visits == 0 {
        return f64::INFINITY;
    }
    mean + exploration * ((parent_visits.max(1) as f64).ln() / visits as f64).sqrt()
}

impl Mcts {
    /// Searches one problem.
    ///
    /// # Errors
    /// When the problem fills the context, or the policy or the outcome fails.
    pub fn search(
        &self,
        problem: u64,
        prompt: &[u32],
        completer: &mut Completer,
    ) -> Result<SearchedSteps, ProcessError> {
        let steps = Steps { problem, prompt, separators: &self.config.separators, max_step: self.config.max_step };
        let mut tree = StepTree::new();
        let mut exhausted = false;
        for _ in 0..self.config.simulations {
            if !self.simulate(&mut tree, &steps, completer)? {
                exhausted = true;
                break;
            }
        }
        let state = |node: &super::step_tree::StepNode| StepState {
            prefix: node.prefix.clone(),
            parent: node.parent,
            visits: node.visits,
            value: node.mean(),
            outcome: node.outcome,
        };
        let pairs = self.pairs(&tree, problem);
        Ok(SearchedSteps { states: tree.nodes.iter().map(state).collect(), pairs, exhausted })
    }

    /// One simulation; false when the caps do not cover it.
    fn simulate(&self, tree: &mut StepTree, steps: &Steps, completer: &mut Completer) -> Result<bool, ProcessError> {
        let mut node = 0;
        let value = loop {
            if let Some(outcome) = tree.nodes[node].outcome {
                break outcome;
            }
            if tree.nodes[node].children.is_empty() {
                if tree.nodes[node].visits == 0 {
                    let prefix = &tree.nodes[node].prefix[..];
                    let asked = Asked { problem: steps.problem, prompt: steps.prompt, prefix, n: 1, again: 0 };
                    let Some(estimates) = completer.estimate(&[asked])? else { return Ok(false) };
                    break estimates.first().map_or(0.0, |estimate| estimate.value());
                }
                if !tree.expand(node, self.config.children, steps, completer)? {
                    return Ok(false);
                }
                // A state without a next step has an outcome now.
                continue;
            }
            node = self.best_child(tree, node);
        };
        for at in tree.ancestry(node) {
            tree.nodes[at].visits += 1;
            tree.nodes[at].total += value;
        }
        Ok(true)
    }

    /// The child of greatest `uct`; the first of equals.
    fn best_child(&self, tree: &StepTree, node: usize) -> usize {
        let all = tree.nodes[node].visits;
        let score = |child: usize| {
            let child = &tree.nodes[child];
            uct(child.mean(), child.visits, all, self.config.exploration)
        };
        let children = &tree.nodes[node].children;
        children.iter().copied().fold(children[0], |best, child| if score(child) > score(best) { child } else { best })
    }

    fn pairs(&self, tree: &StepTree, problem: u64) -> Vec<StepPair> {
        let mut pairs = Vec::new();
        for node in &tree.nodes {
            let known = |child: &&usize| tree.nodes[**child].visits >= self.config.min_visits;
            let children: Vec<usize> = node.children.iter().filter(known).copied().collect();
            for (at, one) in children.iter().enumerate() {
                for other in &children[at + 1..] {
                    let (one, other) = (&tree.nodes[*one], &tree.nodes[*other]);
                    let (better, worse) = if one.mean() >= other.mean() { (one, other) } else { (other, one) };
                    if better.mean() - worse.mean() > self.config.threshold {
                        let start = node.prefix.len();
                        pairs.push(StepPair {
                            problem,
                            prefix: node.prefix.clone(),
                            chosen: better.prefix[start..].into(),
                            rejected: worse.prefix[start..].into(),
                            values: [better.mean(), worse.mean()],
                        });
                    }
                }
            }
        }
        pairs
    }
}
