//! The data of self-evolution: MedS^3, arXiv:2501.12051. A tree of steps for each item gives right paths to the policy and the
//! values along all paths to a process model.
//!
//! ```text
//! select   argmax over open children  V + 2 sqrt(ln N_p / N)                 a state is open until all below it has ended
//! expand   3 next steps; a state with V >= bear_ratio is completed at once
//! value    of an end: its outcome; else the share of max(20 div (depth + 1), 5) completions that end right
//! back up  N = sum of N of the children;  `mean`: V = mean of V of the children, weighted by N;  `half`: half of that, half of before
//! stop     at 60 states, at depth 6, at 4 right ends, or when nothing is open
//! ```
//! Departures: values are clamped to [0, 1]; there is no child that reflects on a bad end, which needs a prompt of its own.

use ascribe_core::{Finish, Tokens};
use serde::{Deserialize, Serialize};

use super::mcts::uct;
use super::step_tree::{StepTree, Steps};
use super::{Asked, Completer};
use crate::ProcessError;

/// Completions that a deep state has at least, where a state of depth 0 has so many.
const FEWEST: usize = 5;

/// How the value of a state follows from its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackUp {
    /// Their mean, weighted by visits.
    #[default]
    Mean,
    /// Half of that, and half of what it was.
    Half,
}

/// Options of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvolveConfig {
    /// Most states.
    pub max_nodes: usize,
    /// Most steps of a path; what is open there is completed at once.
    pub max_depth: usize,
    /// Right ends at which the search stops.
    pub right_ends: usize,
    /// Steps that are proposed at each state.
    pub children: usize,
    /// Weight of the term for states that were visited seldom.
    pub exploration: f64,
    /// Completions of a state of depth 0; a state of depth `d` has a `d + 1`-th of them, but 5 where there are so many.
    pub simulations: usize,
    /// Value from which a state is completed at once.
    pub bear_ratio: f64,
    /// How values go up.
    pub back_up: BackUp,
    /// Token ids that end a step.
    pub separators: Vec<u32>,
    /// Most tokens of a step.
    pub max_step: usize,
}

impl Default for EvolveConfig {
    fn default() -> Self {
        Self {
            max_nodes: 60,
            max_depth: 6,
            right_ends: 4,
            children: 3,
            exploration: 2.0,
            simulations: 20,
            bear_ratio: 0.9,
            back_up: BackUp::Mean,
            separators: Vec::new(),
            max_step: 256,
        }
    }
}

impl EvolveConfig {
    /// A search with these options.
    ///
    /// # Errors
    /// When a number is 0, a weight is below 0, or the ratio is not in [0, 1].
    pub fn init(self) -> Result<Evolve, ProcessError> {
        let counts = [
            ("max_nodes", self.max_nodes),
            ("max_depth", self.max_depth),
            ("right_ends", self.right_ends),
            ("children", self.children),
            ("simulations", self.simulations),
            ("max_step", self.max_step),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ProcessError::range(name, "at least 1", 0));
        }
        if !(self.exploration >= 0.0 && self.exploration.is_finite()) {
            return Err(ProcessError::range("exploration", "finite and at least 0", self.exploration));
        }
        if !(0.0..=1.0).contains(&self.bear_ratio) {
            return Err(ProcessError::range("bear_ratio", "in [0, 1]", self.bear_ratio));
        }
        Ok(Evolve { config: self })
    }
}

/// A checked search.
#[derive(Clone, Debug)]
pub struct Evolve {
    config: EvolveConfig,
}

/// A whole response with the values along it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValuedPath {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the steps, in order.
    pub steps: Vec<Tokens>,
    /// The value behind each step; the last is the outcome.
    pub values: Vec<f64>,
    /// Whether it ends right: only such paths teach the policy.
    pub right: bool,
}

/// What a search made.
#[derive(Clone, Debug, PartialEq)]
pub struct Evolved {
    /// Every path that ended, in the order of the ends.
    pub paths: Vec<ValuedPath>,
    /// The value of the question.
    pub value: f64,
    /// States that were made.
    pub nodes: usize,
    /// The caps ended the search early.
    pub exhausted: bool,
}

impl Evolve {
    /// Searches one item.
    ///
    /// # Errors
    /// When the item fills the context, or the policy or the outcome fails.
    pub fn search(&self, problem: u64, prompt: &[u32], completer: &mut Completer) -> Result<Evolved, ProcessError> {
        let config = &self.config;
        let steps = Steps { problem, prompt, separators: &config.separators, max_step: config.max_step };
        let mut tree = StepTree::new();
        let mut exhausted = !self.evaluate(&mut tree, 0, &steps, completer)?;
        while !exhausted && tree.nodes.len() < config.max_nodes && right_ends(&tree) < config.right_ends {
            let Some(leaf) = self.select(&tree) else { break };
            let first = tree.nodes.len();
            exhausted = !self.grow(&mut tree, leaf, &steps, completer)?;
            for child in first..tree.nodes.len() {
                if !exhausted {
                    exhausted = !self.evaluate(&mut tree, child, &steps, completer)?;
                }
            }
            self.back_up(&mut tree, leaf);
        }
        let ends = (0..tree.nodes.len()).filter(|at| tree.nodes[*at].outcome.is_some() && *at > 0);
        let paths = ends.map(|end| path(&tree, end, problem)).collect();
        Ok(Evolved { paths, value: tree.nodes[0].total, nodes: tree.nodes.len(), exhausted })
    }

    /// The open state without children that the rule leads to.
    fn select(&self, tree: &StepTree) -> Option<usize> {
        let mut node = 0;
        if !is_open(tree, node) {
            return None;
        }
        while !tree.nodes[node].children.is_empty() {
            let all = tree.nodes[node].visits;
            let score = |child: usize| {
                let child = &tree.nodes[child];
                uct(child.total, child.visits, all, self.config.exploration)
            };
            let open = tree.nodes[node].children.iter().copied().filter(|child| is_open(tree, *child));
            node = open.reduce(|best, child| if score(child) > score(best) { child } else { best })?;
        }
        Some(node)
    }

    /// Makes children of a state: next steps, or one end.
    fn grow(
        &self,
        tree: &mut StepTree,
        node: usize,
        steps: &Steps,
        completer: &mut Completer,
    ) -> Result<bool, ProcessError> {
        let config = &self.config;
        let good = node > 0 && tree.nodes[node].total >= config.bear_ratio;
        if !good && tree.nodes[node].depth + 1 < config.max_depth {
            let room = config.max_nodes - tree.nodes.len();
            return tree.expand(node, config.children.min(room), steps, completer);
        }
        let prefix = tree.nodes[node].prefix.clone();
        let asked = Asked { problem: steps.problem, prompt: steps.prompt, prefix: &prefix, n: 1, again: 1 };
        let Some(mut estimates) = completer.estimate(&[asked])? else { return Ok(false) };
        let estimate = estimates.pop().unwrap_or_default();
        let rest = estimate.right.first().or(estimate.wrong.first()).cloned().unwrap_or_default();
        // It was judged as a rollout, so it is made as if it were open, and not judged twice.
        let child = tree.child(node, prefix.followed_by(&rest), Finish::Length, steps, completer)?;
        tree.nodes[child].outcome = Some(estimate.value());
        Ok(true)
    }

    /// Gives a new state its value; false when the caps do not cover it.
    fn evaluate(
        &self,
        tree: &mut StepTree,
        node: usize,
        steps: &Steps,
        completer: &mut Completer,
    ) -> Result<bool, ProcessError> {
        let state = &tree.nodes[node];
        let value = match state.outcome {
            Some(outcome) => outcome,
            None => {
                let all = self.config.simulations;
                let n = (all / (state.depth + 1)).max(all.min(FEWEST));
                let asked = Asked { problem: steps.problem, prompt: steps.prompt, prefix: &state.prefix, n, again: 0 };
                let Some(estimates) = completer.estimate(&[asked])? else { return Ok(false) };
                estimates.first().map_or(0.0, |estimate| estimate.value())
            }
        };
        tree.nodes[node].visits = 1;
        tree.nodes[node].total = value;
        Ok(true)
    }

    /// Renews visits and values from a state up.
    fn back_up(&self, tree: &mut StepTree, from: usize) {
        for at in tree.ancestry(from) {
            let children =
                || tree.nodes[at].children.iter().map(|child| &tree.nodes[*child]).filter(|one| one.visits > 0);
            let visits: u64 = children().map(|child| child.visits).sum();
            if visits == 0 {
                continue;
            }
            let mean = children().map(|child| child.total * child.visits as f64).sum::<f64>() / visits as f64;
            let value = match self.config.back_up {
                BackUp::Mean => mean,
                BackUp::Half => (tree.nodes[at].total + mean) / 2.0,
            };
            tree.nodes[at].visits = visits;
            tree.nodes[at].total = value.clamp(0.0, 1.0);
        }
    }
}

/// Whether something below a state, or it itself, has not ended.
fn is_open(tree: &StepTree, node: usize) -> bool {
    let state = &tree.nodes[node];
    state.outcome.is_none() && (state.children.is_empty() || state.children.iter().any(|child| is_open(tree, *child)))
}

fn right_ends(tree: &StepTree) -> usize {
    tree.nodes.iter().filter(|node| node.outcome == Some(1.0)).count()
}

fn path(tree: &StepTree, end: usize, problem: u64) -> ValuedPath {
    let mut states = tree.ancestry(end);
    states.reverse();
    let step = |pair: &[usize]| Tokens::from(&tree.nodes[pair[1]].prefix[tree.nodes[pair[0]].prefix.len()..]);
    ValuedPath {
        problem,
        steps: states.windows(2).map(step).collect(),
        values: states[1..].iter().map(|at| tree.nodes[*at].outcome.unwrap_or(tree.nodes[*at].total)).collect(),
        right: tree.nodes[end].outcome == Some(1.0),
    }
}

/// What a process model is taught of the values along a path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathLabels {
    /// The values.
    Soft,
    /// 1 where a value is above the threshold.
    Hard {
        /// The threshold, such as 0.5.
        above: f64,
        /// And not below the value before it; the first step is then 0.
        rising: bool,
    },
}

/// Labels of the steps of a path. `look_back` sharpens changes first, from the third step on:
/// `v_i <- v_i - f (v_{i-1} - v_i)`, clamped to [0, 1].
///
/// # Errors
/// When a value is not in [0, 1], or a factor or threshold is not finite.
pub fn path_labels(values: &[f64], labels: PathLabels, look_back: Option<f64>) -> Result<Vec<f32>, ProcessError> {
    if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(ProcessError::range("a value along a path", "in [0, 1]", value));
    }
    let factor = look_back.unwrap_or(0.0);
    if !factor.is_finite() {
        return Err(ProcessError::range("look_back", "finite", factor));
    }
    if let PathLabels::Hard { above, .. } = labels
        && !above.is_finite()
    {
        return Err(ProcessError::range("the threshold of a hard label", "finite, such as 0.5", above));
    }
    let mut values = values.to_vec();
    for at in 2..values.len() {
        values[at] = (values[at] - factor * (values[at - 1] - values[at])).clamp(0.0, 1.0);
    }
    let label = |at: usize| match labels {
        PathLabels::Soft => values[at] as f32,
        PathLabels::Hard { above, rising } => {
            let rises = !rising || (at > 0 && values[at] >= values[at - 1]);
            if values[at] > above && rises { 1.0 } else { 0.0 }
        }
    };
    Ok((0..values.len()).map(label).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::step_tree::StepNode;
    use super::*;

    fn child(tree: &mut StepTree, parent: usize, value: f64) -> usize {
        let (at, depth) = (tree.nodes.len(), tree.nodes[parent].depth + 1);
        tree.nodes.push(StepNode {
            prefix: Tokens::default(),
            parent: Some(parent),
            children: Vec::new(),
            depth,
            outcome: None,
            visits: 1,
            total: value,
        });
        tree.nodes[parent].children.push(at);
        at
    }

    #[test]
    fn half_of_a_value_stays_by_hand() {
        let half = EvolveConfig { back_up: BackUp::Half, ..EvolveConfig::default() }.init().unwrap();
        let mut tree = StepTree::new();
        tree.nodes[0].total = 0.2;
        child(&mut tree, 0, 1.0);
        child(&mut tree, 0, 0.0);
        half.back_up(&mut tree, 0);
        // (0.2 + 1/2) / 2.
        assert!((tree.nodes[0].total - 0.35).abs() < 1e-12 && tree.nodes[0].visits == 2);
    }

    proptest! {
        #[test]
        fn a_mean_is_that_of_all_that_was_visited(
            left in prop::collection::vec(0.0..=1.0f64, 1..5), right in prop::collection::vec(0.0..=1.0f64, 1..5),
        ) {
            let evolve = EvolveConfig::default().init().unwrap();
            let mut tree = StepTree::new();
            for values in [&left, &right] {
                let state = child(&mut tree, 0, 0.5);
                for value in values {
                    child(&mut tree, state, *value);
                }
                evolve.back_up(&mut tree, state);
            }
            let all = [left, right].concat();
            prop_assert_eq!(tree.nodes[0].visits, all.len() as u64);
            prop_assert!((tree.nodes[0].total - all.iter().sum::<f64>() / all.len() as f64).abs() < 1e-12);
        }
    }
}
