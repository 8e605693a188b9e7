//! A tree of steps that a policy proposes: what two searches over steps share.

use ascribe_core::{Finish, Tokens};

use super::{Asked, Completer};
use crate::ProcessError;

/// How steps are proposed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps<'a> {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the problem.
    pub prompt: &'a [u32],
    /// Token ids that end a step.
    pub separators: &'a [u32],
    /// Most tokens of a step.
    pub max_step: usize,
}

/// A state: the steps so far.
#[derive(Clone, Debug)]
pub(super) struct StepNode {
    pub prefix: Tokens,
    pub parent: Option<usize>,
    pub children: Vec<usize>,
    pub depth: usize,
    /// The outcome, where the response has ended.
    pub outcome: Option<f64>,
    pub visits: u64,
    /// Sum of what was backed up, or a value that is set.
    pub total: f64,
}

impl StepNode {
    /// Mean of what was backed up; 0 without a visit.
    pub fn mean(&self) -> f64 {
        self.total / self.visits.max(1) as f64
    }
}

/// States by number; the first is the question.
#[derive(Clone, Debug)]
pub(super) struct StepTree {
    pub nodes: Vec<StepNode>,
}

impl StepTree {
    pub fn new() -> Self {
        let root = StepNode {
            prefix: Tokens::default(),
            parent: None,
            children: Vec::new(),
            depth: 0,
            outcome: None,
            visits: 0,
            total: 0.0,
        };
        Self { nodes: vec![root] }
    }

    /// Proposes `n` next steps and makes a child of each that is new; false when the caps do not cover them. A state without
    /// any next step has ended wrong.
    pub fn expand(
        &mut self,
        node: usize,
        n: usize,
        steps: &Steps,
        completer: &mut Completer,
    ) -> Result<bool, ProcessError> {
        let prefix = self.nodes[node].prefix.clone();
        let asked = Asked { problem: steps.problem, prompt: steps.prompt, prefix: &prefix, n, again: 0 };
        let Some(proposed) = completer.next_steps(asked, steps.separators, steps.max_step)? else { return Ok(false) };
        let mut seen: Vec<Tokens> = Vec::new();
        for (tokens, finish) in proposed {
            if tokens.is_empty() || seen.contains(&tokens) {
                continue;
            }
            self.child(node, prefix.followed_by(&tokens), finish, steps, completer)?;
            seen.push(tokens);
        }
        if self.nodes[node].children.is_empty() {
            self.nodes[node].outcome = Some(0.0);
        }
        Ok(true)
    }

    /// Adds a child; its number.
    pub fn child(
        &mut self,
        parent: usize,
        prefix: Tokens,
        finish: Finish,
        steps: &Steps,
        completer: &mut Completer,
    ) -> Result<usize, ProcessError> {
        let full = steps.prompt.len() + prefix.len() >= completer.context();
        let outcome = match finish {
            Finish::End => Some(completer.judge(steps.problem, &prefix)?.reward()),
            // Nothing can follow, and nothing has ended.
            _ if full => Some(0.0),
            _ => None,
        };
        let (at, depth) = (self.nodes.len(), self.nodes[parent].depth + 1);
        let (children, parent_of) = (Vec::new(), Some(parent));
        self.nodes.push(StepNode { prefix, parent: parent_of, children, depth, outcome, visits: 0, total: 0.0 });
        self.nodes[parent].children.push(at);
        Ok(at)
    }

    /// A node and its ancestors, up to the question.
    pub fn ancestry(&self, node: usize) -> Vec<usize> {
        std::iter::successors(Some(node), |at| self.nodes[*at].parent).collect()
    }
}
