//! Diverse verifier tree search: independent step searches of one text each.
//!
//! ```text
//! n / expand sub-trees; each keeps one text, writes `expand` next steps of it, and goes on from the best of its own
//! found: of each sub-tree, the text before with each of its last `expand` steps
//! ```
//! Sub-trees never compete, so they stay apart; nor does a place move from one that fails to another. A sub-tree ends where
//! its best text ends. Found are those that ended, sub-tree by sub-tree.
//!
//! Source: Hugging Face's search-and-learn, "Scaling test-time compute with open models" (2024). Lookahead is that of
//! [`StepBeam`](crate::StepBeam).

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use crate::step_beam::{best_unfinished, last_choice, looked_ahead};
use crate::{
    Found, Needs, NodeState, Path, Pick, PromptCtx, Reach, Search, SearchCtx, SearchError, StepBeam, Stopped, ranked,
};

/// Diverse verifier tree search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiverseTrees {
    /// Candidates of a level over all sub-trees; a multiple of `expand`.
    pub n: usize,
    /// Candidates of each sub-tree; at least 1.
    pub expand: usize,
    /// Most levels; at least 1.
    pub levels: usize,
    /// Steps that are looked ahead before a candidate is scored.
    pub lookahead: usize,
    /// How the last choice is made.
    pub pick: Pick,
}

impl Default for DiverseTrees {
    fn default() -> Self {
        Self { n: 4, expand: 2, levels: 40, lookahead: 0, pick: Pick::Best }
    }
}

/// One sub-tree.
struct Tree {
    kept: Path,
    /// The last candidates, with their scores.
    last: Vec<(Path, f32)>,
    open: bool,
}

impl DiverseTrees {
    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let root = ctx.root();
        // The first sub-tree is the search of a `StepBeam` that keeps one text.
        let begin = |number: usize| if number == 0 { root.clone() } else { root.redrawn("tree", number as u64) };
        let tree = |number| Tree { kept: begin(number), last: Vec::new(), open: ctx.room() > 0 };
        let mut trees: Vec<Tree> = (0..self.n / self.expand).map(tree).collect();
        for level in 0..self.levels {
            let open: Vec<usize> = (0..trees.len()).filter(|number| trees[*number].open).collect();
            if open.is_empty() {
                break;
            }
            let from: Vec<Path> = open.iter().map(|number| trees[*number].kept.clone()).collect();
            let reach = if level + 1 == self.levels { Reach::End } else { Reach::Step };
            let Some(children) = ctx.write(&from, self.expand, reach)? else { break };
            let Some(ahead) = looked_ahead(ctx, &children.concat(), self.lookahead)? else { break };
            let mut scores = ahead.scores.into_iter();
            for (number, children) in open.into_iter().zip(children) {
                let scores: Vec<f32> = scores.by_ref().take(children.len()).collect();
                let tree = &mut trees[number];
                let Some(best) = ranked(&scores, &children).first().copied() else {
                    ctx.stop(Stopped::Nothing);
                    tree.open = false;
                    continue;
                };
                tree.kept = children[best].clone();
                tree.open = ctx.is_open(&tree.kept);
                ctx.mark([&tree.kept], NodeState::Kept);
                tree.last = children.into_iter().zip(scores).collect();
            }
        }
        let (mut ended, mut subtrees, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (number, tree) in trees.into_iter().enumerate() {
            for one in tree.last {
                if ctx.competes(&one.0) {
                    ended.push(one);
                    subtrees.push(number);
                } else {
                    open.push(one);
                }
            }
        }
        if ended.is_empty() {
            let (paths, scores): (Vec<Path>, Vec<f32>) = open.into_iter().unzip();
            return best_unfinished(ctx, &paths, &scores);
        }
        Ok(Found { subtrees: Some(subtrees), ..last_choice(ctx, ended, self.pick)? })
    }
}

impl Search for DiverseTrees {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        StepBeam { n: self.n, expand: self.expand, levels: self.levels, ..StepBeam::default() }.check()?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, answers: self.pick.needs_answers(), top: false }
    }
}
