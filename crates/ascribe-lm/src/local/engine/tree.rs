//! Keys and values of everything that was read, as a tree by content.
//!
//! A node is a block of up to 32 tokens with their keys and values in all layers; its path from the root is what came
//! before. Blocks begin at multiples of 32 tokens, so a sequence is cut in the same way whoever reads it, and two
//! sequences share the blocks of their common beginning. A branch is one sequence: a path, and how many tokens of it count.
//! Only full nodes have children, so what a branch sees never changes under it: another token in a full node's place, or
//! in the middle of a node, begins a copy of that node's beginning (copy on write).
//!
//! Nodes that no branch needs stay, and are found again by content, until their room is wanted: the ones used longest ago go first.

use std::collections::HashMap;
use std::ops::Range;

use ascribe_core::kernels::{BLOCK, Heads};

/// One sequence in the tree.
#[derive(Debug, Default)]
pub struct Branch {
    path: Vec<usize>,
    len: usize,
}

impl Branch {
    /// Number of its tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    fn slot(&self) -> usize {
        self.len % BLOCK
    }
}

#[derive(Debug, Default)]
struct Node {
    tokens: Vec<u32>,
    parent: Option<usize>,
    children: Vec<usize>,
    /// Branches that go through it.
    branches: usize,
    /// When a branch last went through it or left it.
    used: u64,
    /// Whether a branch was released that went through it: it is then kept when a branch is forgotten.
    wanted: bool,
    /// Of each layer, [`Heads::block_floats`].
    floats: Vec<f32>,
}

/// Blocks of keys and values, 32 tokens each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvUsage {
    /// Blocks that branches go through.
    pub live: usize,
    /// Blocks that are kept in case that they are wanted again.
    pub kept: usize,
    /// Bytes of all blocks, those included that wait to be used again.
    pub bytes: usize,
}

/// Keys and values, as a tree by content.
#[derive(Debug)]
pub struct KvTree {
    heads: Heads,
    layers: usize,
    capacity: usize,
    nodes: Vec<Node>,
    roots: Vec<usize>,
    unused: Vec<usize>,
    clock: u64,
}

/// Tokens that are read in one pass.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) ids: Vec<u32>,
    /// Rows of one branch each, with the position of the first and the path.
    pub(super) spans: Vec<(Range<usize>, usize, Vec<usize>)>,
    /// Row, and the node and slot that its keys and values go to.
    writes: Vec<(usize, usize, usize)>,
    /// Of nodes that are written in this pass: slot and row.
    pending: HashMap<usize, Vec<(usize, usize)>>,
}

impl Batch {
    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    fn write(&mut self, row: usize, node: usize, slot: usize) {
        self.writes.push((row, node, slot));
        self.pending.entry(node).or_default().push((slot, row));
    }
}

impl KvTree {
    /// An empty tree that holds `bytes` of keys and values, or what live branches need if that is more.
    pub fn new(heads: Heads, layers: usize, bytes: usize) -> Self {
        let block = heads.block_floats() * layers * size_of::<f32>();
        let capacity = (bytes / block.max(1)).max(1);
        Self { heads, layers, capacity, nodes: Vec::new(), roots: Vec::new(), unused: Vec::new(), clock: 0 }
    }

    /// Most blocks that it holds, unless live branches need more.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What is held.
    pub fn usage(&self) -> KvUsage {
        let live = self.nodes.iter().filter(|node| node.branches > 0).count();
        let floats: usize = self.nodes.iter().map(|node| node.floats.len()).sum();
        KvUsage { live, kept: self.held() - live, bytes: floats * size_of::<f32>() }
    }

    fn held(&self) -> usize {
        self.nodes.len() - self.unused.len()
    }

    /// The longest beginning of `ids` that is held.
    pub fn find(&mut self, ids: &[u32]) -> Branch {
        let mut branch = Branch::default();
        while branch.len < ids.len() {
            let rest = &ids[branch.len..];
            let common = |node: &usize| self.nodes[*node].tokens.iter().zip(rest).take_while(|(a, b)| a == b).count();
            let next = self.children(branch.path.last()).iter().map(|node| (common(node), *node)).max();
            let Some((common, node)) = next.filter(|(common, _)| *common > 0) else { break };
            self.enter(&mut branch, node);
            branch.len += common;
            if common < BLOCK {
                break;
            }
        }
        branch
    }

    /// A second branch with the same tokens; nothing is copied until one of them goes on.
    pub fn fork(&mut self, branch: &Branch) -> Branch {
        self.clock += 1;
        for node in &branch.path {
            self.nodes[*node].branches += 1;
            self.nodes[*node].used = self.clock;
        }
        Branch { path: branch.path.clone(), len: branch.len }
    }

    /// Appends `ids` to a branch; the tokens become rows of `batch`, whose pass writes their keys and values.
    pub fn append(&mut self, branch: &mut Branch, ids: &[u32], batch: &mut Batch) {
        let first = branch.len;
        let rows = batch.rows()..batch.rows() + ids.len();
        for (id, row) in ids.iter().zip(rows.clone()) {
            self.push(branch, *id, row, batch);
        }
        batch.ids.extend_from_slice(ids);
        if !ids.is_empty() {
            batch.spans.push((rows, first, branch.path.clone()));
        }
    }

    /// Ends a branch; its blocks are kept while there is room.
    pub fn release(&mut self, branch: Branch) {
        self.clock += 1;
        for node in &branch.path {
            self.nodes[*node].branches -= 1;
            self.nodes[*node].used = self.clock;
            self.nodes[*node].wanted = true;
        }
    }

    /// Ends a branch and gives up the blocks behind its first `kept` tokens, unless another branch has them or they were
    /// used before.
    pub fn forget(&mut self, mut branch: Branch, kept: usize) {
        let tail = branch.path.split_off((kept / BLOCK).min(branch.path.len()));
        self.release(branch);
        for node in tail.into_iter().rev() {
            self.nodes[node].branches -= 1;
            let Node { branches, children, wanted, .. } = &self.nodes[node];
            if *branches == 0 && children.is_empty() && !wanted {
                self.drop_node(node);
            }
        }
    }

    /// Gives up kept blocks beyond the capacity, which live branches may have needed, and their memory.
    pub fn settle(&mut self) {
        while self.held() > self.capacity && self.drop_oldest(self.held() - self.capacity) > 0 {}
    }

    /// Gives up all kept blocks, and their memory.
    pub fn clear(&mut self) {
        while self.drop_oldest(usize::MAX) > 0 {}
        self.unused.iter().for_each(|node| self.nodes[*node].floats = Vec::new());
    }

    /// The part of a block that belongs to `layer`.
    pub(super) fn part(&self, node: usize, layer: usize) -> &[f32] {
        let each = self.heads.block_floats();
        &self.nodes[node].floats[layer * each..(layer + 1) * each]
    }

    /// Stores what `row` gives, keys and values, for every token of the batch.
    pub(super) fn store<'a>(&mut self, layer: usize, batch: &Batch, row: impl Fn(usize) -> (&'a [f32], &'a [f32])) {
        let each = self.heads.block_floats();
        for (from, node, slot) in &batch.writes {
            let (keys, values) = row(*from);
            let part = &mut self.nodes[*node].floats[layer * each..(layer + 1) * each];
            self.heads.store(part, *slot, keys, values);
        }
    }

    fn children(&self, of: Option<&usize>) -> &[usize] {
        match of {
            Some(node) => &self.nodes[*node].children,
            None => &self.roots,
        }
    }

    fn enter(&mut self, branch: &mut Branch, node: usize) {
        self.clock += 1;
        self.nodes[node].branches += 1;
        self.nodes[node].used = self.clock;
        branch.path.push(node);
    }

    fn push(&mut self, branch: &mut Branch, id: u32, row: usize, batch: &mut Batch) {
        let slot = branch.slot();
        if slot == 0 {
            let begins = |node: &&usize| self.nodes[**node].tokens.first() == Some(&id);
            let known = self.children(branch.path.last()).iter().find(begins).copied();
            let node = known.unwrap_or_else(|| {
                let node = self.new_node(branch.path.last().copied(), &[id]);
                batch.write(row, node, 0);
                node
            });
            self.enter(branch, node);
        } else {
            let tail = branch.path[branch.path.len() - 1];
            let tokens = &self.nodes[tail].tokens;
            if tokens.len() == slot {
                self.nodes[tail].tokens.push(id);
                batch.write(row, tail, slot);
            } else if tokens[slot] != id {
                let mut wanted = tokens[..slot].to_vec();
                wanted.push(id);
                let parent = self.nodes[tail].parent;
                let same = |node: &&usize| self.nodes[**node].tokens.starts_with(&wanted);
                let known = self.children(parent.as_ref()).iter().find(same).copied();
                let node = known.unwrap_or_else(|| {
                    let node = self.new_node(parent, &wanted);
                    self.copy_beginning(tail, node, slot, batch);
                    batch.write(row, node, slot);
                    node
                });
                branch.path.pop();
                self.enter(branch, node);
                self.nodes[tail].branches -= 1;
            }
        }
        branch.len += 1;
    }

    /// The keys and values of the first `tokens` tokens: those that exist now, and those that this pass will write.
    fn copy_beginning(&mut self, from: usize, to: usize, tokens: usize, batch: &mut Batch) {
        let floats = std::mem::take(&mut self.nodes[from].floats);
        let each = self.heads.block_floats();
        for (from, to) in floats.chunks_exact(each).zip(self.nodes[to].floats.chunks_exact_mut(each)) {
            self.heads.copy(from, to, tokens);
        }
        self.nodes[from].floats = floats;
        let pending = batch.pending.get(&from).cloned().unwrap_or_default();
        pending.into_iter().filter(|(slot, _)| *slot < tokens).for_each(|(slot, row)| batch.write(row, to, slot));
    }

    fn new_node(&mut self, parent: Option<usize>, tokens: &[u32]) -> usize {
        if self.held() >= self.capacity {
            self.drop_oldest((self.capacity / 8).max(1));
        }
        let number = self.unused.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        let node = &mut self.nodes[number];
        // An unwritten value is multiplied by 0, so it has to be a number.
        node.floats.clear();
        node.floats.resize(self.layers * self.heads.block_floats(), 0.0);
        node.tokens.extend_from_slice(tokens);
        node.parent = parent;
        match parent {
            Some(parent) => self.nodes[parent].children.push(number),
            None => self.roots.push(number),
        }
        number
    }

    /// Gives up to `most` kept nodes without children up; says how many.
    fn drop_oldest(&mut self, most: usize) -> usize {
        let idle = |node: &Node| node.branches == 0 && node.children.is_empty() && !node.tokens.is_empty();
        let mut leaves: Vec<(u64, usize)> =
            (0..self.nodes.len()).filter(|at| idle(&self.nodes[*at])).map(|at| (self.nodes[at].used, at)).collect();
        leaves.sort_unstable();
        leaves.truncate(most);
        leaves.iter().for_each(|(_, node)| self.drop_node(*node));
        leaves.len()
    }

    fn drop_node(&mut self, node: usize) {
        let siblings = match self.nodes[node].parent.take() {
            Some(parent) => &mut self.nodes[parent].children,
            None => &mut self.roots,
        };
        siblings.retain(|sibling| *sibling != node);
        self.nodes[node].tokens.clear();
        self.nodes[node].wanted = false;
        if self.nodes.len() - self.unused.len() > self.capacity {
            // It was made for live branches alone.
            self.nodes[node].floats = Vec::new();
        }
        self.unused.push(node);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ascribe_core::Seed;
    use rand::RngExt;

    use super::*;

    const HEADS: Heads = Heads { queries: 1, keys: 1, width: 2, scale: 1.0, softcap: None };

    fn tree(blocks: usize) -> KvTree {
        KvTree::new(HEADS, 1, blocks * 4 * HEADS.block_floats())
    }

    /// Reads `ids` behind `branch`; the key of token `t` at position `p` is `[t, p]`.
    fn read(tree: &mut KvTree, branch: &mut Branch, ids: &[u32]) -> usize {
        let mut batch = Batch::default();
        tree.append(branch, ids, &mut batch);
        write(tree, &batch);
        batch.writes.len()
    }

    fn write(tree: &mut KvTree, batch: &Batch) {
        let mut keys = vec![[0.0; 2]; batch.rows()];
        for (rows, first, _) in &batch.spans {
            for (at, row) in rows.clone().enumerate() {
                keys[row] = [batch.ids[row] as f32, (first + at) as f32];
            }
        }
        tree.store(0, batch, |row| (&keys[row], &keys[row]));
    }

    /// The tokens that the stored keys of a branch say, position by position.
    fn stored(tree: &KvTree, branch: &Branch) -> Vec<u32> {
        (0..branch.len)
            .map(|at| {
                let part = tree.part(branch.path[at / BLOCK], 0);
                assert_eq!(part[BLOCK + at % BLOCK], at as f32, "the position of token {at}");
                part[at % BLOCK] as u32
            })
            .collect()
    }

    fn ids(n: u32, from: u32) -> Vec<u32> {
        (from..from + n).collect()
    }

    #[test]
    fn what_was_read_is_found_again_and_nothing_else() {
        let mut tree = tree(100);
        let mut first = Branch::default();
        read(&mut tree, &mut first, &ids(70, 0));
        assert_eq!(stored(&tree, &first), ids(70, 0));
        tree.release(first);
        assert_eq!(tree.usage().live, 0);
        let found = tree.find(&ids(100, 0));
        assert_eq!(found.len(), 70);
        let other = tree.find(&[ids(40, 0), vec![500]].concat());
        assert_eq!(other.len(), 40);
        assert_eq!(stored(&tree, &other), ids(40, 0));
        assert_eq!(tree.find(&[9]).len(), 0);
    }

    #[test]
    fn forks_share_their_beginning_and_never_disturb_each_other() {
        let mut tree = tree(100);
        let mut prompt = Branch::default();
        read(&mut tree, &mut prompt, &ids(40, 0));
        let mut branches: Vec<Branch> = (0..5).map(|_| tree.fork(&prompt)).collect();
        assert_eq!(tree.usage().live, 2);
        for (number, branch) in branches.iter_mut().enumerate() {
            read(&mut tree, branch, &ids(30, 100 * (1 + number as u32)));
        }
        for (number, branch) in branches.iter().enumerate() {
            assert_eq!(stored(&tree, branch), [ids(40, 0), ids(30, 100 * (1 + number as u32))].concat());
        }
        assert_eq!(stored(&tree, &prompt), ids(40, 0));
        // One shared full block; each branch has the rest of the prompt with 24 of its own, and 6 more.
        assert_eq!(tree.usage().live, 1 + 5 * 2);
        branches.drain(..).for_each(|branch| tree.forget(branch, 40));
        assert_eq!(stored(&tree, &prompt), ids(40, 0));
        tree.release(prompt);
        assert_eq!(tree.usage().live, 0);
    }

    #[test]
    fn forks_within_one_pass_get_what_the_pass_writes() {
        let mut tree = tree(100);
        let mut batch = Batch::default();
        let mut prompt = Branch::default();
        tree.append(&mut prompt, &ids(10, 0), &mut batch);
        let mut branches: Vec<Branch> = (0..3).map(|_| tree.fork(&prompt)).collect();
        for (number, branch) in branches.iter_mut().enumerate() {
            tree.append(branch, &[700 + number as u32, 1], &mut batch);
        }
        write(&mut tree, &batch);
        for (number, branch) in branches.iter().enumerate() {
            assert_eq!(stored(&tree, branch), [ids(10, 0), vec![700 + number as u32, 1]].concat());
        }
        assert_eq!(batch.rows(), 16);
    }

    #[test]
    fn a_beam_reordered_by_handles_is_one_reordered_by_index() {
        let mut stream = Seed(5).stream("beam", 0);
        let mut tree = tree(1000);
        let mut prompt = Branch::default();
        read(&mut tree, &mut prompt, &ids(45, 0));
        let mut branches: Vec<Branch> = (0..4).map(|_| tree.fork(&prompt)).collect();
        tree.forget(prompt, 0);
        let mut texts = vec![ids(45, 0); 4];
        let mut most = 0;
        for step in 0..20 {
            let from: Vec<usize> = (0..4).map(|_| stream.random_range(0..4)).collect();
            texts = from.iter().map(|at| texts[*at].clone()).collect();
            let chosen: Vec<Branch> = from.iter().map(|at| tree.fork(&branches[*at])).collect();
            std::mem::replace(&mut branches, chosen).into_iter().for_each(|branch| tree.forget(branch, 0));
            for (place, (branch, text)) in (0..).zip(branches.iter_mut().zip(&mut texts)) {
                let added = ids(7, 1000 + 7 * (4 * step + place));
                read(&mut tree, branch, &added);
                text.extend(added);
            }
            for (branch, text) in branches.iter().zip(&texts) {
                assert_eq!(stored(&tree, branch), *text, "step {step}");
            }
            // Four texts are seven runs of tokens at most. A run may end inside a block, and where it begins inside one, what
            // stands before it there is copied.
            let begun = |text: &Vec<u32>| (1..=text.len()).map(|end| text[..end].to_vec()).collect::<Vec<_>>();
            let shared: HashSet<Vec<u32>> = texts.iter().flat_map(begun).collect();
            most = most.max(shared.len() + 7 * 2 * (BLOCK - 1));
            let of_token = 4 * HEADS.block_floats() / BLOCK;
            assert!(tree.usage().kept == 0 && tree.usage().bytes <= most * of_token, "{step}: {:?}", tree.usage());
        }
        branches.into_iter().for_each(|branch| tree.forget(branch, 0));
        assert_eq!((tree.usage().live, tree.usage().kept), (0, 0));
    }

    #[test]
    fn equal_tokens_are_stored_once() {
        let mut tree = tree(100);
        let mut first = Branch::default();
        assert_eq!(read(&mut tree, &mut first, &ids(50, 0)), 50);
        let mut second = Branch::default();
        assert_eq!(read(&mut tree, &mut second, &ids(50, 0)), 0);
        assert_eq!(stored(&tree, &second), ids(50, 0));
        assert_eq!(tree.usage(), KvUsage { live: 2, kept: 0, bytes: 2 * 4 * HEADS.block_floats() });
    }

    #[test]
    fn room_is_made_by_giving_up_what_was_used_longest_ago() {
        let mut tree = tree(4);
        for from in [0, 1000, 2000, 3000] {
            let mut branch = Branch::default();
            read(&mut tree, &mut branch, &ids(20, from));
            tree.release(branch);
        }
        let again = tree.find(&ids(20, 0));
        tree.release(again);
        let mut branch = Branch::default();
        read(&mut tree, &mut branch, &ids(20, 4000));
        assert_eq!(tree.usage().bytes, 4 * 4 * HEADS.block_floats());
        assert_eq!(tree.find(&ids(20, 0)).len(), 20);
        assert_eq!(tree.find(&ids(20, 1000)).len(), 0);
        // What is alive stays, even beyond the capacity.
        let mut branches = Vec::new();
        for from in 5..12 {
            let mut branch = Branch::default();
            read(&mut tree, &mut branch, &ids(5, 1000 * from));
            branches.push((branch, from));
        }
        for (branch, from) in &branches {
            assert_eq!(stored(&tree, branch), ids(5, 1000 * from));
        }
        branches.into_iter().for_each(|(branch, _)| tree.release(branch));
        let held = tree.usage();
        tree.clear();
        let left = tree.usage();
        assert_eq!((left.kept, left.live), (0, held.live));
        assert_eq!(left.bytes, held.live * 4 * HEADS.block_floats());
    }
}
