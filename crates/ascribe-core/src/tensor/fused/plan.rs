//! Which keys meet which queries: a packing cut into tiles of keys and blocks of queries.
//!
//! Tiles and blocks never cross the border of a span, and depend on the packing alone.

use std::ops::Range;

use crate::{Packing, Span};

/// Most keys of a tile.
pub(super) const TILE: usize = 32;
/// Most queries of a block.
const BLOCK: usize = 32;

/// Neighbouring tokens of one span.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub rows: Range<usize>,
    /// Position of the first one in its sequence.
    pub position: usize,
}

/// Queries with the numbers of the tiles that hold what they see, in the order of positions.
#[derive(Debug)]
pub(super) struct Block {
    pub queries: Stretch,
    pub tiles: Vec<usize>,
}

/// Who sees whom, for attention without an `L x L` matrix.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) tokens: usize,
    pub(super) tiles: Vec<Stretch>,
    /// Together they hold every row once, in order.
    pub(super) blocks: Vec<Block>,
    window: Option<usize>,
}

impl Plan {
    pub(crate) fn new(packing: &Packing, window: Option<usize>) -> Self {
        let (mut tiles, mut of_span) = (Vec::new(), Vec::new());
        for span in packing.spans() {
            let first = tiles.len();
            tiles.extend(cut(span, TILE));
            of_span.push(first..tiles.len());
        }
        let mut blocks = Vec::new();
        for (number, span) in packing.spans().iter().enumerate() {
            let mut path = vec![number];
            let mut parent = span.parent;
            while let Some(number) = parent {
                path.push(number);
                parent = packing.span(number).parent;
            }
            let seen: Vec<usize> = path.iter().rev().flat_map(|number| of_span[*number].clone()).collect();
            for queries in cut(span, BLOCK) {
                let tiles = seen.iter().copied().filter(|tile| meet(&tiles[*tile], &queries, window)).collect();
                blocks.push(Block { queries, tiles });
            }
        }
        Self { tokens: packing.tokens(), tiles, blocks, window }
    }

    /// Which queries of a block, counted from its first, see a key at this position.
    #[inline(always)]
    pub(super) fn seeing(&self, position: usize, queries: &Stretch) -> Range<usize> {
        let from = position.saturating_sub(queries.position);
        let to = match self.window {
            Some(window) => (position + window).saturating_sub(queries.position).min(queries.rows.len()),
            None => queries.rows.len(),
        };
        from.min(to)..to
    }

    /// Number of pairs of a block and a tile.
    pub(super) fn pairs(&self) -> usize {
        self.blocks.iter().map(|block| block.tiles.len()).sum()
    }

    /// The blocks in at most `parts` runs of about equal work.
    pub(super) fn runs(&self, parts: usize) -> Vec<Range<usize>> {
        let all = self.pairs();
        let (mut runs, mut start, mut done) = (Vec::new(), 0, 0);
        for (at, block) in self.blocks.iter().enumerate() {
            done += block.tiles.len();
            if done * parts >= all * (runs.len() + 1) || at + 1 == self.blocks.len() {
                runs.push(start..at + 1);
                start = at + 1;
            }
        }
        runs
    }

    /// Rows of a run of blocks.
    pub(super) fn rows(&self, run: &Range<usize>) -> Range<usize> {
        self.blocks[run.start].queries.rows.start..self.blocks[run.end - 1].queries.rows.end
    }
}

fn cut(span: &Span, most: usize) -> impl Iterator<Item = Stretch> {
    let Range { start, end } = span.rows;
    let position = span.position;
    (start..end)
        .step_by(most)
        .map(move |at| Stretch { rows: at..(at + most).min(end), position: position + at - start })
}

/// Whether some query sees some key.
fn meet(keys: &Stretch, queries: &Stretch, window: Option<usize>) -> bool {
    let last = |tokens: &Stretch| tokens.position + tokens.rows.len() - 1;
    keys.position <= last(queries) && window.is_none_or(|window| last(keys) + window > queries.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(packing: &Packing, window: Option<usize>) {
        let plan = Plan::new(packing, window);
        let mut seen = vec![Vec::new(); packing.tokens()];
        for block in &plan.blocks {
            for tile in &block.tiles {
                let tile = &plan.tiles[*tile];
                for key in 0..tile.rows.len() {
                    for query in plan.seeing(tile.position + key, &block.queries) {
                        seen[block.queries.rows.start + query].push(tile.rows.start + key);
                    }
                }
            }
        }
        for (number, span) in packing.spans().iter().enumerate() {
            let path: Vec<usize> = packing.seen(number).into_iter().flatten().collect();
            for (at, row) in (span.position..).zip(span.rows.clone()) {
                let from = window.map_or(0, |window| (at + 1).saturating_sub(window));
                assert_eq!(seen[row], path[from..=at], "row {row}, window {window:?}");
            }
        }
        for parts in [1, 2, 3, 8] {
            let runs = plan.runs(parts);
            assert!(runs.len() <= parts.max(1));
            assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), (0..plan.blocks.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_token_meets_what_it_sees_once_and_in_order() {
        let mut packing = Packing::default();
        check(&packing, None);
        for (len, parent) in
            [(70, None), (33, Some(0)), (0, Some(0)), (5, Some(1)), (64, Some(2)), (1, None), (40, None)]
        {
            packing.push(len, parent).expect("parents come first");
        }
        for window in [None, Some(1), Some(5), Some(32), Some(50), Some(1000)] {
            check(&packing, window);
        }
    }
}
