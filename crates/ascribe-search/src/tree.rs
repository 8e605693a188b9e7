//! A record of a search: every text that was looked at, as a tree.

use serde::{Deserialize, Serialize};

/// What became of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It was written; nothing more is known.
    #[default]
    Open,
    /// The search went on from it.
    Kept,
    /// The search gave it up.
    Pruned,
    /// It is one of the candidates that were found.
    Found,
    /// It is the candidate that was chosen.
    Chosen,
}

/// What a value by rollouts was estimated from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Rollouts; 0 where nothing can follow the text, so that its value is known.
    pub rollouts: u64,
    /// How many of them are in effect under their weights.
    pub effective: f64,
    /// Standard error of the value; `None` for a single rollout, which has no spread.
    pub error: Option<f64>,
}

/// A piece of text that was written after its parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Its place in [`SearchTree::nodes`], in the order of creation.
    pub id: usize,
    /// The text that it continues; `None` for the prompt.
    pub parent: Option<usize>,
    /// The tokens that it adds.
    pub tokens: Vec<u32>,
    /// These as text, where somebody filled it in.
    pub text: Option<String>,
    /// Log-probability of these tokens.
    pub logp: f64,
    /// The value that the search gave it, if it did.
    pub value: Option<f64>,
    /// What the value was estimated from, where it is that of rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// How often the search came by.
    pub visits: u64,
    /// What became of it.
    pub state: NodeState,
}

/// All nodes of a search from one prompt; the first is the prompt itself, without tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchTree {
    /// The nodes, parents before children.
    pub nodes: Vec<TreeNode>,
}

impl SearchTree {
    /// Tokens of all nodes: what is held and read where texts share what they have in common.
    pub fn tokens(&self) -> u64 {
        self.nodes.iter().map(|node| node.tokens.len() as u64).sum()
    }

    /// Tokens of all whole texts, each from the prompt to a leaf: what is held and read without sharing.
    pub fn unshared_tokens(&self) -> u64 {
        let mut length = vec![0u64; self.nodes.len()];
        let mut leaf = vec![true; self.nodes.len()];
        for node in &self.nodes {
            length[node.id] = node.tokens.len() as u64;
            if let Some(parent) = node.parent {
                length[node.id] += length[parent];
                leaf[parent] = false;
            }
        }
        length.iter().zip(leaf).filter_map(|(length, leaf)| leaf.then_some(*length)).sum()
    }
}

/// Bytes of keys and values that one token needs: `2 layers kv_heads head_dim bytes`.
pub fn kv_bytes_per_token(layers: usize, kv_heads: usize, head_dim: usize, bytes: usize) -> usize {
    2 * layers * kv_heads * head_dim * bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_worked_by_hand() {
        // A prompt of 200, 4 first steps of 50, 3 children of 40 each: 200 + 200 + 480, against 12 texts of 290.
        let mut nodes = vec![TreeNode { tokens: vec![0; 200], ..TreeNode::default() }];
        let mut add = |parent: usize, tokens: usize| {
            let id = nodes.len();
            nodes.push(TreeNode { id, parent: Some(parent), tokens: vec![0; tokens], ..TreeNode::default() });
            id
        };
        for _ in 0..4 {
            let step = add(0, 50);
            (0..3).for_each(|_| {
                add(step, 40);
            });
        }
        let tree = SearchTree { nodes };
        assert_eq!((tree.tokens(), tree.unshared_tokens()), (880, 3480));
        assert!((3480.0 / 880.0 - 3.955f64).abs() < 5e-4);
        assert_eq!(kv_bytes_per_token(24, 2, 64, 2), 12288);
    }
}
