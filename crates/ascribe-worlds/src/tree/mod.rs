//! The enumerable token tree: every text of `depth` tokens over a small vocabulary, each with a known reward.
//!
//! ```text
//! state s = path of tokens,  action a = next token,  s' = s a,  r(s, a) = reward(s') at a leaf and 0 before
//! ```
//! Nodes are numbered as in a heap: the root is 0 and token `a` leads from node `n` to `n * vocabulary + 1 + a`, so the
//! leaves come last, in the order of their paths.

mod exact;

mod policy;

use ascribe_core::{CoreError, Credit, Episode, Scorer, Seed, Transition, World};
use rand::RngExt;

use crate::WorldError;

pub use exact::{ExactValue, SoftOptimum};
pub use policy::TreePolicy;

/// Most leaves of a tree: everything is enumerated and held in memory.
const MOST_LEAVES: usize = 1 << 20;

/// A token tree with a reward at each leaf.
///
/// As a [`World`] its state is the path, its moves are all tokens and its value is the best reward below. As a [`Scorer`]
/// it gives a whole path (prompt and response together) its reward, as credit of the sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenTree {
    shape: Shape,
    rewards: Vec<f64>, // [leaves]
}

impl TokenTree {
    /// A tree whose leaf at `path` has the reward `reward(path)`.
    ///
    /// # Errors
    /// When `vocabulary` is 0, `depth` is not in 1..=20, there are more than 1,048,576 leaves, or a reward is not finite.
    pub fn new(vocabulary: usize, depth: usize, reward: impl Fn(&[u32]) -> f64) -> Result<Self, WorldError> {
        let shape = Shape::new(vocabulary, depth)?;
        let rewards: Vec<f64> = (shape.inner..shape.nodes).map(|leaf| reward(&shape.path(leaf))).collect();
        match rewards.iter().find(|reward| !reward.is_finite()) {
            Some(got) => Err(WorldError::range("the reward of a leaf", "finite", got)),
            None => Ok(Self { shape, rewards }),
        }
    }

    /// A tree with rewards drawn uniformly from [0, 1).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn drawn(vocabulary: usize, depth: usize, seed: Seed) -> Result<Self, WorldError> {
        let shape = Shape::new(vocabulary, depth)?;
        let mut stream = seed.stream("tree rewards", 0);
        Ok(Self { shape, rewards: (shape.inner..shape.nodes).map(|_| stream.random()).collect() })
    }

    /// Number of tokens in the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.shape.vocabulary
    }

    /// Number of tokens of a whole path.
    pub fn depth(&self) -> usize {
        self.shape.depth
    }

    /// All whole paths with their rewards, in the order of the paths.
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = (Vec<u32>, f64)> + '_ {
        self.rewards.iter().enumerate().map(|(leaf, reward)| (self.shape.path(self.shape.inner + leaf), *reward))
    }

    /// The reward of a whole path.
    ///
    /// # Errors
    /// When the path is too short, too long, or has a token outside the vocabulary.
    pub fn reward(&self, path: &[u32]) -> Result<f64, WorldError> {
        if path.len() < self.shape.depth {
            return Err(WorldError::range(
                "the number of tokens of a rewarded path",
                "the depth of the tree",
                path.len(),
            ));
        }
        Ok(self.rewards[self.shape.node(path)? - self.shape.inner])
    }
}

impl World for TokenTree {
    type State = Vec<u32>;

    /// The empty path. The seed changes nothing.
    fn reset(&self, _seed: Seed) -> Vec<u32> {
        Vec::new()
    }

    fn moves(&self, state: &Vec<u32>) -> Vec<u32> {
        if state.len() < self.shape.depth { (0..self.shape.vocabulary as u32).collect() } else { Vec::new() }
    }

    fn step(&self, state: &Vec<u32>, mv: u32) -> Result<Transition<Vec<u32>>, CoreError> {
        let state = [state.as_slice(), &[mv]].concat();
        self.shape.node(&state)?;
        let done = state.len() == self.shape.depth;
        let reward = if done { self.reward(&state)? } else { 0.0 };
        Ok(Transition { state, reward, done })
    }

    /// The best reward below; 0 at a leaf, where no reward is left, and `None` outside the tree.
    fn value(&self, state: &Vec<u32>) -> Option<f64> {
        let mut below = self.shape.node(state).ok().map(|node| node..node + 1)?;
        if below.start >= self.shape.inner {
            return Some(0.0);
        }
        // The first leaf below, and the one past the last.
        while below.start < self.shape.inner {
            below = self.shape.children(below.start).start..self.shape.children(below.end - 1).end;
        }
        below.map(|leaf| self.rewards[leaf - self.shape.inner]).reduce(f64::max)
    }
}

impl Scorer for TokenTree {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        episodes.iter().map(|episode| Ok(Credit::sequence(self.reward(&episode.tokens)? as f32))).collect()
    }
}

/// The numbering of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    vocabulary: usize,
    depth: usize,
    /// Number of nodes with children; the first leaf.
    inner: usize,
    /// Number of all nodes.
    nodes: usize,
}

impl Shape {
    fn new(vocabulary: usize, depth: usize) -> Result<Self, WorldError> {
        if vocabulary == 0 {
            return Err(WorldError::range("the vocabulary of a tree", "at least 1", vocabulary));
        }
        if !(1..=20).contains(&depth) {
            return Err(WorldError::range("the depth of a tree", "in 1..=20", depth));
        }
        let (mut inner, mut leaves) = (0, 1usize);
        for _ in 0..depth {
            inner += leaves;
            leaves = leaves.saturating_mul(vocabulary);
            if leaves > MOST_LEAVES {
                let rule = "such that vocabulary^depth is at most 1048576";
                return Err(WorldError::range("the size of a tree", rule, (vocabulary, depth)));
            }
        }
        Ok(Self { vocabulary, depth, inner, nodes: inner + leaves })
    }

    /// The node at the end of `path`.
    fn node(&self, path: &[u32]) -> Result<usize, WorldError> {
        self.find("a path of the tree", self.depth, path)
    }

    /// The node at the end of `path`, which must have children.
    fn inner_node(&self, path: &[u32]) -> Result<usize, WorldError> {
        self.find("a path to a node with children", self.depth - 1, path)
    }

    fn find(&self, what: &'static str, most: usize, path: &[u32]) -> Result<usize, WorldError> {
        if path.len() > most || path.iter().any(|token| *token as usize >= self.vocabulary) {
            return Err(WorldError::Path { what, most, vocabulary: self.vocabulary, got: path.to_vec() });
        }
        Ok(path.iter().fold(0, |node, token| node * self.vocabulary + 1 + *token as usize))
    }

    /// The tokens that lead to `node`.
    fn path(&self, mut node: usize) -> Vec<u32> {
        let mut path = Vec::new();
        while node > 0 {
            path.push(((node - 1) % self.vocabulary) as u32);
            node = (node - 1) / self.vocabulary;
        }
        path.reverse();
        path
    }

    /// The nodes that the tokens lead to from `node`, in the order of the tokens.
    fn children(&self, node: usize) -> std::ops::Range<usize> {
        let first = node * self.vocabulary + 1;
        first..first + self.vocabulary
    }

    /// The same range in a table of one entry an edge, which leaves out the root.
    fn edges(&self, node: usize) -> std::ops::Range<usize> {
        let children = self.children(node);
        children.start - 1..children.end - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tree_is_walked_to_its_leaves() {
        // Reward 10 * first + second.
        let tree = TokenTree::new(3, 2, |path| f64::from(10 * path[0] + path[1])).unwrap();
        let leaves: Vec<f64> = tree.leaves().map(|(_, reward)| reward).collect();
        assert_eq!(leaves, [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0]);
        let first = tree.step(&tree.reset(Seed(0)), 1).unwrap();
        assert_eq!(first, Transition { state: vec![1], reward: 0.0, done: false });
        let end = tree.step(&first.state, 2).unwrap();
        assert_eq!(end, Transition { state: vec![1, 2], reward: 12.0, done: true });
        assert_eq!((tree.moves(&first.state), tree.moves(&end.state)), (vec![0, 1, 2], vec![]));
        let values = [vec![], vec![0], vec![1], vec![1, 2], vec![3]].map(|path| tree.value(&path));
        assert_eq!(values, [Some(22.0), Some(2.0), Some(12.0), Some(0.0), None]);
        assert_eq!(tree.score(&[Episode::new(&[2], &[1])]).unwrap(), [Credit::sequence(21.0)]);
    }

    #[test]
    fn what_is_no_tree_or_path_is_refused() {
        let tree = |vocabulary, depth| TokenTree::new(vocabulary, depth, |_| 0.0);
        assert!(tree(0, 2).is_err() && tree(2, 0).is_err());
        assert!(
            tree(2, 21).is_err()
                && tree(3, 13).is_err()
                && tree(usize::MAX, 3).is_err()
                && tree(1, usize::MAX).is_err()
        );
        assert!(TokenTree::new(2, 2, |_| f64::NAN).is_err());
        let tree = tree(2, 2).unwrap();
        assert!(tree.reward(&[0]).is_err() && tree.reward(&[0, 2]).is_err() && tree.reward(&[0, 0, 0]).is_err());
        assert!(
            tree.step(&vec![0, 0], 0).is_err() && tree.step(&vec![0], 2).is_err() && tree.step(&vec![5], 0).is_err()
        );
    }

    #[test]
    fn drawn_rewards_are_a_function_of_the_seed() {
        let drawn = |seed| TokenTree::drawn(3, 3, Seed(seed)).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!(drawn(1).leaves().all(|(_, reward)| (0.0..1.0).contains(&reward)));
    }

    proptest! {
        #[test]
        fn paths_and_nodes_are_one_to_one(vocabulary in 1usize..5, depth in 1usize..5) {
            let shape = Shape::new(vocabulary, depth).unwrap();
            for node in 0..shape.nodes {
                prop_assert_eq!(shape.node(&shape.path(node)).unwrap(), node);
            }
            prop_assert_eq!(shape.nodes - shape.inner, vocabulary.pow(depth as u32));
        }

        #[test]
        fn the_value_is_the_best_over_moves(vocabulary in 1usize..4, depth in 1usize..5, seed in any::<u64>()) {
            let tree = TokenTree::drawn(vocabulary, depth, Seed(seed)).unwrap();
            for node in 0..tree.shape.inner {
                let state = tree.shape.path(node);
                let ahead = tree.moves(&state).into_iter().map(|mv| {
                    let next = tree.step(&state, mv).unwrap();
                    next.reward + tree.value(&next.state).unwrap()
                });
                prop_assert_eq!(tree.value(&state), ahead.reduce(f64::max));
            }
        }
    }
}
