//! Token-supervised value targets: TVM, arXiv:2407.12863.
//!
//! ```text
//! v(y_{1:t}) = right samples that begin with y_{1:t} / samples that begin with y_{1:t}
//! ```
//! Counted over the samples of one problem, in a trie with two counters. Given that a prefix was drawn, the expectation of its
//! target is the value of the policy there, exactly. At a high temperature prefixes part in a few tokens, and what is unique
//! carries its own outcome alone, so the share of tokens with a shared prefix belongs beside the targets.

use std::collections::HashMap;

use ascribe_core::Tokens;

use crate::ProcessError;

/// Samples of one problem by their prefixes.
#[derive(Clone, Debug)]
pub struct TokenTrie {
    nodes: Vec<Counted>,
    /// The node behind each token of each sample.
    paths: Vec<Vec<usize>>,
}

#[derive(Clone, Debug, Default)]
struct Counted {
    children: HashMap<u32, usize>,
    right: u32,
    all: u32,
    /// Samples that end here.
    ends: u32,
    right_ends: u32,
}

impl TokenTrie {
    /// The trie of samples with their outcomes.
    ///
    /// # Errors
    /// When there are fewer than `min_samples` of them, or none, or one is empty.
    pub fn new(samples: &[(Tokens, bool)], min_samples: usize) -> Result<Self, ProcessError> {
        if samples.len() < min_samples.max(1) {
            let rule = "at least `min_samples`, and 1";
            return Err(ProcessError::range("the samples of a problem", rule, samples.len()));
        }
        let mut trie = Self { nodes: vec![Counted::default()], paths: Vec::with_capacity(samples.len()) };
        for (tokens, right) in samples {
            if tokens.is_empty() {
                return Err(ProcessError::Empty { what: "a sample", remedy: "drop it" });
            }
            trie.count(0, *right);
            let (mut node, mut path) = (0, Vec::with_capacity(tokens.len()));
            for token in tokens.iter() {
                let fresh = trie.nodes.len();
                node = *trie.nodes[node].children.entry(*token).or_insert(fresh);
                if node == fresh {
                    trie.nodes.push(Counted::default());
                }
                trie.count(node, *right);
                path.push(node);
            }
            trie.nodes[node].ends += 1;
            trie.nodes[node].right_ends += u32::from(*right);
            trie.paths.push(path);
        }
        Ok(trie)
    }

    fn count(&mut self, node: usize, right: bool) {
        self.nodes[node].all += 1;
        self.nodes[node].right += u32::from(right);
    }

    /// The mean outcome.
    pub fn root(&self) -> f64 {
        self.value_of(0)
    }

    /// The target of a prefix; `None` where no sample begins with it.
    pub fn value(&self, prefix: &[u32]) -> Option<f64> {
        let node = prefix.iter().try_fold(0, |node: usize, token| self.nodes[node].children.get(token).copied());
        node.map(|node| self.value_of(node))
    }

    /// The targets of the tokens of sample `sample`, in its order of [`new`](Self::new); empty beyond the samples.
    pub fn targets(&self, sample: usize) -> Vec<f64> {
        self.paths.get(sample).map_or_else(Vec::new, |path| path.iter().map(|node| self.value_of(*node)).collect())
    }

    /// The share of tokens whose prefix another sample has too.
    pub fn shared(&self) -> f64 {
        let tokens: usize = self.paths.iter().map(Vec::len).sum();
        let shared = self.paths.iter().flatten().filter(|node| self.nodes[**node].all > 1).count();
        shared as f64 / tokens.max(1) as f64
    }

    fn value_of(&self, node: usize) -> f64 {
        f64::from(self.nodes[node].right) / f64::from(self.nodes[node].all.max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_worked_by_hand() {
        // A = 1, B = 2, C = 3, D = 4.
        let samples =
            [([1, 2], true), ([1, 3], false), ([1, 3], true)].map(|(ids, right)| (Tokens::from(&ids[..]), right));
        let samples = [&samples[..], &[(Tokens::from(vec![4]), false)]].concat();
        let trie = TokenTrie::new(&samples, 2).unwrap();
        assert_eq!(trie.root(), 0.5);
        let values = [&[1][..], &[1, 2], &[1, 3], &[4]].map(|prefix| trie.value(prefix).unwrap());
        assert_eq!(values, [2.0 / 3.0, 1.0, 0.5, 0.0]);
        assert_eq!((trie.targets(1), trie.targets(9)), (vec![2.0 / 3.0, 0.5], vec![]));
        assert_eq!(trie.value(&[2]), None);
        // Of seven tokens, five have a prefix that another sample has too.
        assert_eq!(trie.shared(), 5.0 / 7.0);
    }

    #[test]
    fn one_sample_carries_its_own_outcome() {
        let trie = TokenTrie::new(&[(vec![5, 6, 7].into(), true)], 1).unwrap();
        assert_eq!((trie.targets(0), trie.shared()), (vec![1.0; 3], 0.0));
    }

    #[test]
    fn too_few_samples_and_empty_ones_are_refused() {
        assert!(TokenTrie::new(&[], 0).is_err());
        assert!(TokenTrie::new(&[(vec![1].into(), true)], 2).is_err());
        assert!(TokenTrie::new(&[(vec![].into(), true)], 1).is_err());
    }

    fn any_samples() -> impl Strategy<Value = Vec<(Tokens, bool)>> {
        let sample = (prop::collection::vec(0u32..3, 1..5), any::<bool>());
        prop::collection::vec(sample.prop_map(|(ids, right)| (Tokens::from(ids), right)), 1..20)
    }

    proptest! {
        #[test]
        fn a_value_is_the_mean_of_its_children_and_its_ends(samples in any_samples()) {
            let trie = TokenTrie::new(&samples, 1).unwrap();
            for node in &trie.nodes {
                let inside = node.children.values().map(|child| trie.nodes[*child].right).sum::<u32>();
                let all = node.children.values().map(|child| trie.nodes[*child].all).sum::<u32>();
                prop_assert_eq!((inside + node.right_ends, all + node.ends), (node.right, node.all));
            }
            let mean = samples.iter().filter(|(_, right)| *right).count() as f64 / samples.len() as f64;
            prop_assert!((trie.root() - mean).abs() < 1e-12);
        }

        #[test]
        fn the_order_of_samples_does_not_matter(samples in any_samples()) {
            let back: Vec<(Tokens, bool)> = samples.iter().rev().cloned().collect();
            let (trie, other) = (TokenTrie::new(&samples, 1).unwrap(), TokenTrie::new(&back, 1).unwrap());
            for at in 0..samples.len() {
                prop_assert_eq!(trie.targets(at), other.targets(samples.len() - 1 - at));
            }
            prop_assert_eq!(trie.shared(), other.shared());
        }

        #[test]
        fn what_is_unique_carries_its_own_outcome(samples in any_samples()) {
            let trie = TokenTrie::new(&samples, 1).unwrap();
            for (at, (tokens, right)) in samples.iter().enumerate() {
                for (end, target) in (1..=tokens.len()).zip(trie.targets(at)) {
                    let sharing = samples.iter().filter(|(other, _)| other.starts_with(&tokens[..end])).count();
                    let own = if *right { 1.0 } else { 0.0 };
                    prop_assert!(sharing > 1 || target == own);
                }
            }
        }
    }
}
