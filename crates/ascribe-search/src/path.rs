//! A text that a search follows.

use ascribe_core::{Candidate, Finish, Seed};

/// What was written after the prompt so far.
///
/// Its seed hangs on its place in the tree of texts (the seed of its parent and its number among the children), so what is
/// drawn after it depends neither on other texts nor on the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    tokens: Vec<u32>,
    logps: Vec<f32>,
    logp: f64,
    ended: bool,
    seed: Seed,
    node: usize,
}

impl Path {
    pub(crate) fn root(seed: Seed) -> Self {
        Self { tokens: Vec::new(), logps: Vec::new(), logp: 0.0, ended: false, seed, node: 0 }
    }

    pub(crate) fn child(&self, index: usize, candidate: &Candidate, node: usize) -> Self {
        Self {
            tokens: [&self.tokens[..], &candidate.tokens[..]].concat(),
            logps: [&self.logps[..], &candidate.logps[..]].concat(),
            logp: self.logp + candidate.logps.iter().map(|logp| f64::from(*logp)).sum::<f64>(),
            ended: candidate.finish == Finish::End,
            seed: self.seed.child("node", index as u64),
            node,
        }
    }

    /// The text `child`, which continues one of the same tokens as this, as child number `index` of this one: what is drawn after
    /// it comes from this one's seed.
    pub(crate) fn reaching(&self, index: usize, child: &Self) -> Self {
        Self { seed: self.seed.child("node", index as u64), ..child.clone() }
    }

    /// The same text, after which other things are drawn: those of draw `index` for the purpose `name`.
    pub fn redrawn(&self, name: &str, index: u64) -> Self {
        Self { seed: self.seed.child(name, index), ..self.clone() }
    }

    /// The tokens after the prompt.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Log-probability of each token.
    pub fn logps(&self) -> &[f32] {
        &self.logps
    }

    /// Log-probability of the text.
    pub fn logp(&self) -> f64 {
        self.logp
    }

    /// Whether the end token was written.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What is drawn after this text comes from this seed.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Its place in the order of creation, and in the tree that is recorded.
    pub fn node(&self) -> usize {
        self.node
    }

    /// The text as a candidate; one that did not end is cut off.
    pub fn candidate(&self) -> Candidate {
        let finish = if self.ended { Finish::End } else { Finish::Length };
        Candidate { tokens: self.tokens.clone().into(), logps: self.logps.clone(), finish }
    }
}

/// Indices of `paths`, best first: by score, then by log-probability, then by age. Scores are numbers.
pub fn ranked(scores: &[f32], paths: &[Path]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..paths.len().min(scores.len())).collect();
    // Adding 0 makes one zero of both.
    order.sort_by(|&left, &right| {
        let by_score = (scores[right] + 0.0).total_cmp(&(scores[left] + 0.0));
        let by_logp = (paths[right].logp + 0.0).total_cmp(&(paths[left].logp + 0.0));
        by_score.then(by_logp).then(paths[left].node.cmp(&paths[right].node))
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_likelier_then_to_the_older() {
        let root = Path::root(Seed(1));
        let path = |node: usize, logp: f32| {
            let candidate = Candidate { tokens: vec![node as u32].into(), logps: vec![logp], finish: Finish::Step };
            root.child(node, &candidate, node)
        };
        let paths = [path(1, -2.0), path(2, -1.0), path(3, -1.0), path(4, -5.0)];
        assert_eq!(ranked(&[0.0, -0.0, 0.0, 1.0], &paths), [3, 1, 2, 0]);
        // A place in the tree is a seed of its own.
        assert_ne!(paths[0].seed(), paths[1].seed());
        assert_eq!(root.child(1, &paths[0].candidate(), 9).seed(), paths[0].seed());
    }
}
