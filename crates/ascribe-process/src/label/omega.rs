//! OmegaPRM: first errors by halving, in a tree of prefixes. Luo et al., arXiv:2406.06592.
//!
//! ```text
//! MC(s) = right rollouts / rollouts from s
//! Q(s, r) = alpha^(1 - MC(s)) beta^(len(r) / L)      U(s) = c_puct sqrt(max(1, sum N)) / (1 + N(s))
//! select  argmax Q + U over the pool of wrong rollouts r from states s with 0 < MC(s) < 1, ties to the earliest
//! halve   r has M steps; s is known good and s + r known bad: probe the middle until the first bad step is alone
//! ```
//! `N(s)` counts selections, the length is in tokens of the rollout, and Q is computed from the present MC. A prefix that is
//! probed becomes a node, and a node is never probed again. The whole wrong rollout, where nothing before it is bad, is a node
//! with MC = 0 that no rollout was spent on. Departures from the first code: right rollouts are no nodes, since one sample is no
//! estimate; answers are checked, not searched for; `confirm` probes a boundary that was found once more, with twice the
//! rollouts, because few of them miss a good prefix with probability `(1 - p)^k`.

use std::collections::HashMap;

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use super::{Asked, Completer, Estimate, LabelRow};
use crate::ProcessError;

/// Options of a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OmegaConfig {
    /// Base of the term for the state's value, in (0, 1].
    pub alpha: f64,
    /// Base of the term for the rollout's length, in (0, 1].
    pub beta: f64,
    /// Length at which that term is `beta`, in tokens.
    pub length: f64,
    /// Weight of the term for states that were selected seldom.
    pub c_puct: f64,
    /// Rollouts of one estimate.
    pub rollouts: usize,
    /// Rollouts from the question alone.
    pub root_rollouts: usize,
    /// Most selections.
    pub searches: usize,
    /// Probe each boundary once more with twice the rollouts.
    pub confirm: bool,
}

impl Default for OmegaConfig {
    fn default() -> Self {
        Self {
            alpha: 0.5,
            beta: 0.9,
            length: 500.0,
            c_puct: 0.125,
            rollouts: 8,
            root_rollouts: 8,
            searches: 100,
            confirm: false,
        }
    }
}

impl OmegaConfig {
    /// A search with these options.
    ///
    /// # Errors
    /// When a base is not in (0, 1], the length is not above 0, the weight is below 0, or there are no rollouts.
    pub fn init(&self) -> Result<Omega, ProcessError> {
        for (name, base) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(base > 0.0 && base <= 1.0) {
                return Err(ProcessError::range(name, "in (0, 1]", base));
            }
        }
        if !(self.length > 0.0 && self.length.is_finite()) {
            return Err(ProcessError::range("length", "finite and above 0", self.length));
        }
        if !(self.c_puct >= 0.0 && self.c_puct.is_finite()) {
            return Err(ProcessError::range("c_puct", "finite and at least 0", self.c_puct));
        }
        for (name, rollouts) in [("rollouts", self.rollouts), ("root_rollouts", self.root_rollouts)] {
            if rollouts == 0 {
                return Err(ProcessError::range(name, "at least 1", rollouts));
            }
        }
        Ok(Omega { config: *self })
    }
}

/// A checked search.
#[derive(Clone, Copy, Debug)]
pub struct Omega {
    config: OmegaConfig,
}

/// A question to be searched.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the problem.
    pub prompt: &'a [u32],
    /// Where the steps of a whole response end: increasing, and the last at its end.
    pub cut: &'a dyn Fn(&[u32]) -> Result<Vec<usize>, ProcessError>,
    /// How that cuts: [`Segmenter::id`](crate::Segmenter::id).
    pub segmentation: &'a str,
}

/// A prefix with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// Token ids of the response so far.
    pub prefix: Tokens,
    /// Its rollouts.
    pub estimate: Estimate,
    /// How often it was selected.
    pub selected: u64,
    /// A whole wrong rollout: its value is 0, and no rollout was spent on it.
    pub terminal: bool,
}

/// A first wrong step that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundError {
    /// The whole wrong response.
    pub response: Tokens,
    /// Steps behind the selected state up to the first wrong one, which is this one, counted from 1.
    pub step: usize,
    /// Steps of the rollout.
    pub steps: usize,
    /// Tokens of the response up to the end of the first wrong step.
    pub end: usize,
    /// Estimates that were made to find it.
    pub probes: usize,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Every rollout from the question is right, so nothing is to be found.
    TooEasy,
    /// No rollout from the question is right, so no state is known to be good.
    TooHard,
    /// No wrong rollout is left in the pool.
    EmptyPool,
    /// The searches are done.
    Searched,
    /// The caps do not cover another estimate.
    Exhausted,
}

/// What a search made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OmegaTree {
    /// The question first, then prefixes in the order in which they were probed.
    pub nodes: Vec<TreeNode>,
    /// The first wrong steps, in the order in which they were found.
    pub found: Vec<FoundError>,
    /// Why the search ended.
    pub ended: Ended,
}

/// A wrong rollout that may be selected.
struct Pooled {
    node: usize,
    rollout: Tokens,
}

struct Search<'a, 'b, 'c> {
    config: OmegaConfig,
    question: Question<'a>,
    completer: &'b mut Completer<'c>,
    nodes: Vec<TreeNode>,
    by_prefix: HashMap<Tokens, usize>,
    pool: Vec<Pooled>,
    found: Vec<FoundError>,
}

impl Omega {
    /// `Q(s, r)` of a state of value `mc` with a rollout of `tokens` tokens.
    pub fn quality(&self, mc: f64, tokens: usize) -> f64 {
        self.config.alpha.powf(1.0 - mc) * self.config.beta.powf(tokens as f64 / self.config.length)
    }

    /// `U(s)` of a state that was selected `selected` times, of `all` selections.
    pub fn novelty(&self, selected: u64, all: u64) -> f64 {
        self.config.c_puct * (all.max(1) as f64).sqrt() / (1 + selected) as f64
    }

    /// Searches one question.
    ///
    /// # Errors
    /// When a prefix fills the context, a response cannot be cut, or the policy or the outcome fails.
    pub fn search(&self, question: Question, completer: &mut Completer) -> Result<OmegaTree, ProcessError> {
        let config = self.config;
        let (nodes, by_prefix) = (Vec::new(), HashMap::new());
        let mut search = Search { config, question, completer, nodes, by_prefix, pool: Vec::new(), found: Vec::new() };
        let ended = search.run(self)?;
        Ok(OmegaTree { nodes: search.nodes, found: search.found, ended })
    }
}

impl Search<'_, '_, '_> {
    fn run(&mut self, omega: &Omega) -> Result<Ended, ProcessError> {
        let Some(root) = self.probe(&[], self.config.root_rollouts, 0)? else { return Ok(Ended::Exhausted) };
        let root = self.add(Tokens::default(), root, false);
        let value = self.nodes[root].estimate.value();
        if value == 0.0 || value == 1.0 {
            return Ok(if value == 0.0 { Ended::TooHard } else { Ended::TooEasy });
        }
        for searches in 0..self.config.searches {
            let Some(Pooled { node, rollout }) = self.select(omega, searches as u64) else {
                return Ok(Ended::EmptyPool);
            };
            self.nodes[node].selected += 1;
            if !self.halve(node, &rollout)? {
                return Ok(Ended::Exhausted);
            }
        }
        Ok(if self.pool.is_empty() { Ended::EmptyPool } else { Ended::Searched })
    }

    /// Takes the best of the pool; the earliest of equals.
    fn select(&mut self, omega: &Omega, all: u64) -> Option<Pooled> {
        let score = |pooled: &Pooled| {
            let node = &self.nodes[pooled.node];
            omega.quality(node.estimate.value(), pooled.rollout.len()) + omega.novelty(node.selected, all)
        };
        let mut best: Option<(usize, f64)> = None;
        for (at, pooled) in self.pool.iter().enumerate() {
            let score = score(pooled);
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((at, score));
            }
        }
        best.map(|(at, _)| self.pool.remove(at))
    }

    /// Finds the first wrong step of a rollout; false when the caps end it.
    fn halve(&mut self, node: usize, rollout: &Tokens) -> Result<bool, ProcessError> {
        let state = self.nodes[node].prefix.clone();
        let response = state.followed_by(rollout);
        let ends = (self.question.cut)(&response[..])?;
        let sound = ends.is_sorted_by(|left, right| left < right) && ends.last() == Some(&response.len());
        if !sound {
            let rule = "increasing, and the last the length of the response";
            return Err(ProcessError::range("the ends of steps", rule, ends));
        }
        // The steps behind the state; a cut inside of it is no step of the rollout.
        let ends: Vec<usize> = ends.into_iter().filter(|end| *end > state.len()).collect();
        let (mut good, mut bad, mut probes) = (0, ends.len(), 0);
        let mut confirmed = !self.config.confirm;
        loop {
            while bad - good > 1 {
                let middle = (good + bad) / 2;
                let prefix = &response[..ends[middle - 1]];
                let known = self.by_prefix.get(&Tokens::from(prefix)).copied();
                let at = match known {
                    Some(at) => at,
                    None => {
                        let Some(estimate) = self.probe(prefix, self.config.rollouts, 0)? else { return Ok(false) };
                        probes += 1;
                        self.add(prefix.into(), estimate, false)
                    }
                };
                if self.nodes[at].estimate.correct > 0 { good = middle } else { bad = middle }
            }
            if confirmed || bad == ends.len() {
                break;
            }
            // The step before `bad` was good; is `bad` bad for sure?
            confirmed = true;
            let prefix = &response[..ends[bad - 1]];
            // A boundary that was confirmed before is not asked again.
            let asked = |at: &usize| self.nodes[*at].estimate.rollouts as usize > self.config.rollouts;
            if self.by_prefix.get(&Tokens::from(prefix)).is_some_and(asked) {
                break;
            }
            let Some(more) = self.probe(prefix, 2 * self.config.rollouts, 1)? else { break };
            probes += 1;
            if self.join(prefix, more) {
                (good, bad) = (bad, ends.len());
                confirmed = false;
            }
        }
        if bad == ends.len() && !self.by_prefix.contains_key(&response) {
            self.add(response.clone(), Estimate::default(), true);
        }
        let (step, steps, end) = (bad, ends.len(), ends[bad - 1]);
        self.found.push(FoundError { response, step, steps, end, probes });
        Ok(true)
    }

    /// Rollouts from a prefix, if the caps cover them.
    fn probe(&mut self, prefix: &[u32], n: usize, again: u64) -> Result<Option<Estimate>, ProcessError> {
        let Question { problem, prompt, .. } = self.question;
        let estimates = self.completer.estimate(&[Asked { problem, prompt, prefix, n, again }])?;
        Ok(estimates.and_then(|mut estimates| estimates.pop()))
    }

    /// Makes a node of a prefix, and puts its wrong rollouts into the pool if it also has right ones.
    fn add(&mut self, prefix: Tokens, estimate: Estimate, terminal: bool) -> usize {
        let at = self.nodes.len();
        self.by_prefix.insert(prefix.clone(), at);
        self.nodes.push(TreeNode { prefix, estimate, selected: 0, terminal });
        self.fill(at);
        at
    }

    /// Adds rollouts to a node; whether it is good now.
    fn join(&mut self, prefix: &[u32], more: Estimate) -> bool {
        let Some(&at) = self.by_prefix.get(&Tokens::from(prefix)) else { return more.correct > 0 };
        self.nodes[at].estimate.join(more);
        let good = self.nodes[at].estimate.correct > 0;
        if good {
            self.fill(at);
        }
        good
    }

    fn fill(&mut self, node: usize) {
        let estimate = &self.nodes[node].estimate;
        if estimate.correct > 0 {
            // A rollout that writes nothing has no step to be wrong.
            let wrong = estimate.wrong.iter().filter(|rollout| !rollout.is_empty()).cloned();
            self.pool.extend(wrong.map(|rollout| Pooled { node, rollout }));
        }
    }
}

/// Two steps behind one state, of which the first is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPair {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the response before both.
    pub prefix: Tokens,
    /// Token ids of the better step.
    pub chosen: Tokens,
    /// Token ids of the other.
    pub rejected: Tokens,
    /// The values behind them.
    pub values: [f64; 2],
}

impl OmegaTree {
    /// The longest proper prefix of a node among the others; `None` for the question.
    pub fn parent(&self, node: usize) -> Option<usize> {
        let prefix = &self.nodes[node].prefix;
        let shorter = |other: &Tokens| other.len() < prefix.len() && prefix.starts_with(other);
        let parents = (0..self.nodes.len()).filter(|at| shorter(&self.nodes[*at].prefix));
        parents.max_by_key(|at| self.nodes[*at].prefix.len())
    }

    /// One row for each node but the question: what lies behind its parent is the step.
    pub fn rows(&self, question: &Question, completer: &Completer) -> Vec<LabelRow> {
        let row = |at: usize| {
            let node = &self.nodes[at];
            let start = self.nodes[self.parent(at)?].prefix.len();
            let row = LabelRow {
                problem: question.problem,
                segmentation: question.segmentation.to_owned(),
                completer: completer.name().to_owned(),
                prefix: node.prefix.clone(),
                step: start..node.prefix.len(),
                correct: 0,
                rollouts: 1,
                truncated: 0,
                undecided: 0,
                exact: true,
                seed: completer.seed().0,
            };
            Some(if node.terminal { row } else { LabelRow { exact: false, ..row.with(&node.estimate) } })
        };
        (0..self.nodes.len()).filter_map(row).collect()
    }

    /// Pairs of siblings with different values, in the order of the nodes.
    pub fn pairs(&self, problem: u64) -> Vec<StepPair> {
        let parents: Vec<Option<usize>> = (0..self.nodes.len()).map(|at| self.parent(at)).collect();
        let value = |at: usize| self.nodes[at].estimate.value();
        let mut pairs = Vec::new();
        for one in 0..parents.len() {
            for other in one + 1..parents.len() {
                let Some(parent) = parents[one].filter(|_| parents[one] == parents[other]) else { continue };
                let start = self.nodes[parent].prefix.len();
                let step = |at: usize| Tokens::from(&self.nodes[at].prefix[start..]);
                let (better, worse) = if value(one) > value(other) { (one, other) } else { (other, one) };
                if value(better) > value(worse) {
                    pairs.push(StepPair {
                        problem,
                        prefix: self.nodes[parent].prefix.clone(),
                        chosen: step(better),
                        rejected: step(worse),
                        values: [value(better), value(worse)],
                    });
                }
            }
        }
        pairs
    }
}
