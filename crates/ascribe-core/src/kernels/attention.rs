//! Attention over keys and values that stand in blocks of 32 tokens, which rows may share.
//!
//! ```text
//! a block, of one layer and one key head:   keys [head, 32], then values [32, wide]
//! wide = head, rounded up to a multiple of 16
//! ```
//! A query meets its blocks in the order of their tokens and keeps a running maximum and sum (arXiv:1805.02867), so what it
//! gets depends on its own sequence alone, to the bit: neither on the rows beside it, nor on how many tokens are read at
//! once. A block that stands in the path of several rows is read once for all of them.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::small::add_product;
use super::vector::{exp, largest, sum, tanh};

/// Tokens of a block.
pub const BLOCK: usize = 32;
/// Rows that one task takes, at most: their queries and sums fit a cache beside a block.
const ROWS: usize = 64;
/// Multiply-adds below which a second thread costs more than it saves.
const ALONE: usize = 1 << 17;

/// Sizes of attention, and what it does to scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Number of query heads.
    pub queries: usize,
    /// Number of key and value heads; query head `h` uses key head `h / (queries / keys)`.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Scores `s` become `c tanh(s / c)`.
    pub softcap: Option<f32>,
}

impl Heads {
    fn wide(&self) -> usize {
        self.width.next_multiple_of(16)
    }

    /// Floats of a block of one layer: all its key heads.
    pub fn block_floats(&self) -> usize {
        self.keys * BLOCK * (self.width + self.wide())
    }

    /// Puts the keys and values of one token, `[keys * width]` each, at `slot` of a layer's part of a block.
    pub fn store(&self, block: &mut [f32], slot: usize, keys: &[f32], values: &[f32]) {
        let heads = block.chunks_exact_mut(self.block_floats() / self.keys);
        for (head, (keys, values)) in heads.zip(keys.chunks_exact(self.width).zip(values.chunks_exact(self.width))) {
            let (panel, rows) = head.split_at_mut(self.width * BLOCK);
            panel.chunks_exact_mut(BLOCK).zip(keys).for_each(|(line, key)| line[slot] = *key);
            rows[slot * self.wide()..][..self.width].copy_from_slice(values);
        }
    }

    /// Copies the first `tokens` of a layer's part of a block into another block.
    pub fn copy(&self, from: &[f32], to: &mut [f32], tokens: usize) {
        let each = self.block_floats() / self.keys;
        for (from, to) in from.chunks_exact(each).zip(to.chunks_exact_mut(each)) {
            let ((from, from_rows), (to, to_rows)) =
                (from.split_at(self.width * BLOCK), to.split_at_mut(self.width * BLOCK));
            for (from, to) in from.chunks_exact(BLOCK).zip(to.chunks_exact_mut(BLOCK)) {
                to[..tokens].copy_from_slice(&from[..tokens]);
            }
            to_rows[..tokens * self.wide()].copy_from_slice(&from_rows[..tokens * self.wide()]);
        }
    }
}

/// Consecutive rows that see the same block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    rows: Range<usize>,
    block: usize,
    /// Position of the first token of the block.
    base: usize,
}

/// Who sees which block, for some rows: made once, used by every layer.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    positions: Vec<usize>,
    tasks: Vec<(Range<usize>, Vec<Run>)>,
    work: usize,
}

impl Plan {
    /// Rows in stretches, each with the position of its first row and its blocks in order: row `i` of a stretch stands at
    /// position `first + i`, sees all positions up to its own, and position `p` is in block `p / 32`.
    pub fn new<'a>(stretches: impl IntoIterator<Item = (usize, usize, &'a [usize])>) -> Self {
        let mut plan = Self::default();
        let mut paths: Vec<&[usize]> = Vec::new(); // of each row
        for (rows, first, blocks) in stretches {
            plan.positions.extend(first..first + rows);
            paths.extend(std::iter::repeat_n(blocks, rows));
        }
        let n = plan.positions.len();
        plan.work = plan.positions.iter().map(|at| at + 1).sum();
        let threads = if plan.work * 64 < ALONE { 1 } else { 2 * rayon::current_num_threads() };
        let tasks = n.div_ceil(ROWS).max(threads.min(n.div_ceil(4)));
        for task in 0..tasks {
            let rows = n * task / tasks..n * (task + 1) / tasks;
            let mut runs: Vec<Run> = Vec::new();
            let deepest = plan.positions[rows.clone()].iter().max().map_or(0, |at| at / BLOCK + 1);
            for depth in 0..deepest {
                for row in rows.clone().filter(|row| plan.positions[*row] / BLOCK >= depth) {
                    let Some(block) = paths[row].get(depth).copied() else { continue };
                    let base = depth * BLOCK;
                    match runs.last_mut() {
                        Some(run) if run.block == block && run.base == base && run.rows.end == row => run.rows.end += 1,
                        _ => runs.push(Run { rows: row..row + 1, block, base }),
                    }
                }
            }
            plan.tasks.push((rows, runs));
        }
        plan
    }

    /// Position of each row in its sequence.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Every row mixes the values of the tokens that it sees. With a window, a token sees that many tokens, itself
    /// included.
    ///
    /// # Shapes
    /// - q: rows of `width` floats that begin with the queries, `[queries * head]`; out: `[rows, queries * head]`, overwritten
    /// - `block(number)`: the part of a block that belongs to this layer, as [`Heads::store`] writes it
    pub fn attend<'a>(
        &self,
        heads: &Heads,
        window: Option<usize>,
        q: &[f32],
        width: usize,
        block: &(impl Fn(usize) -> &'a [f32] + Sync),
        out: &mut [f32],
    ) {
        let group = heads.queries / heads.keys.max(1);
        let alone = self.work * heads.queries * heads.width * 2 < ALONE;
        let pieces: Vec<(usize, usize)> =
            (0..self.tasks.len()).flat_map(|task| (0..heads.keys).map(move |head| (task, head))).collect();
        let run = |(task, head): (usize, usize)| {
            let (rows, runs) = &self.tasks[task];
            let positions = &self.positions[rows.clone()];
            Arch::new().dispatch(Task { heads, head, window, q, width, block, rows: rows.clone(), runs, positions })
        };
        let mixed: Vec<Vec<f32>> = match alone {
            true => pieces.into_iter().map(run).collect(),
            false => pieces.into_par_iter().with_max_len(1).map(run).collect(),
        };
        let (line, part) = (heads.queries * heads.width, group * heads.width);
        for (mixed, (rows, _)) in mixed.chunks(heads.keys.max(1)).zip(&self.tasks) {
            for (head, mixed) in mixed.iter().enumerate() {
                for (row, mixed) in rows.clone().zip(mixed.chunks_exact(part)) {
                    out[row * line + head * part..][..part].copy_from_slice(mixed);
                }
            }
        }
    }
}

/// One key head for some rows.
struct Task<'a, B> {
    heads: &'a Heads,
    head: usize,
    window: Option<usize>,
    q: &'a [f32],
    width: usize,
    block: &'a B,
    rows: Range<usize>,
    runs: &'a [Run],
    positions: &'a [usize],
}

impl<'b, B: Fn(usize) -> &'b [f32]> WithSimd for Task<'_, B> {
    /// `[rows, group * head]`
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Heads { keys, width: head, scale, softcap, .. } = *self.heads;
        let (group, wide) = (self.heads.queries / keys, self.heads.wide());
        let rows = self.rows.len() * group;
        let mut queries = vec![0.0; rows * head];
        for (row, queries) in self.rows.clone().zip(queries.chunks_exact_mut(group * head)) {
            let from = &self.q[row * self.width + self.head * group * head..][..group * head];
            queries.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
        }
        let mut scores = vec![0.0f32; rows * BLOCK];
        let mut mixed = vec![0.0f32; rows * wide];
        let mut most = vec![f32::NEG_INFINITY; rows];
        let mut total = vec![0.0f32; rows];
        let each = self.heads.block_floats() / keys;
        for run in self.runs {
            let from = run.rows.start - self.rows.start;
            let positions = &self.positions[from..from + run.rows.len()];
            let first_seen = |at: usize| self.window.map_or(0, |window| (at + 1).saturating_sub(window));
            // Positions grow within a sequence and may be anything across them, so all are looked at.
            if positions.iter().all(|at| first_seen(*at) >= run.base + BLOCK) {
                continue;
            }
            let (panel, values) = (self.block)(run.block)[self.head * each..][..each].split_at(head * BLOCK);
            let taken = from * group..(from + run.rows.len()) * group;
            let scores = &mut scores[..taken.len() * BLOCK];
            scores.fill(0.0);
            add_product(
                simd,
                &queries[taken.start * head..],
                head,
                taken.len(),
                head,
                panel,
                BLOCK,
                BLOCK,
                scores,
                BLOCK,
            );
            for (number, scores) in scores.chunks_exact_mut(BLOCK).enumerate() {
                let at = positions[number / group];
                let seen = first_seen(at).saturating_sub(run.base)..(at + 1 - run.base).min(BLOCK);
                if seen.is_empty() {
                    scores.fill(0.0);
                    continue;
                }
                // What is not seen counts nothing, whatever stands there.
                scores[..seen.start].fill(0.0);
                scores[seen.end..].fill(0.0);
                let visible = &mut scores[seen];
                if let Some(cap) = softcap {
                    visible.iter_mut().for_each(|score| *score = cap * tanh(*score / cap));
                }
                let row = taken.start + number;
                let before = most[row];
                let now = largest(visible).max(before);
                visible.iter_mut().for_each(|score| *score = exp(*score - now));
                let added = sum(scores, |score| score);
                if now > before {
                    let kept = exp(before - now);
                    most[row] = now;
                    total[row] = total[row] * kept + added;
                    mixed[row * wide..][..wide].iter_mut().for_each(|value| *value *= kept);
                } else {
                    total[row] += added;
                }
            }
            let mixed = &mut mixed[taken.start * wide..taken.end * wide];
            add_product(simd, scores, BLOCK, taken.len(), BLOCK, values, wide, wide, mixed, wide);
        }
        let mut out = vec![0.0; rows * head];
        for ((out, mixed), total) in out.chunks_exact_mut(head).zip(mixed.chunks_exact(wide)).zip(total) {
            out.iter_mut().zip(mixed).for_each(|(out, mixed)| *out = mixed / total);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = Heads { queries: 4, keys: 2, width: 8, scale: 0.5, softcap: None };

    fn number(at: usize) -> f32 {
        ((at * 37 + at / 11 * 5) % 101) as f32 / 25.0 - 2.0
    }

    /// Queries, keys and values of the tokens of one sequence.
    fn tokens(n: usize, seed: usize) -> [Vec<f32>; 3] {
        let (queries, keys) = (HEADS.queries * HEADS.width, HEADS.keys * HEADS.width);
        [(queries, 0), (keys, 1000), (keys, 2000)]
            .map(|(width, from)| (0..n * width).map(|at| number(at + from + seed)).collect())
    }

    fn blocks(keys: &[f32], values: &[f32], n: usize) -> Vec<Vec<f32>> {
        let width = HEADS.keys * HEADS.width;
        let mut blocks = vec![vec![0.0; HEADS.block_floats()]; n.div_ceil(BLOCK)];
        for at in 0..n {
            let (keys, values) = (&keys[at * width..][..width], &values[at * width..][..width]);
            HEADS.store(&mut blocks[at / BLOCK], at % BLOCK, keys, values);
        }
        blocks
    }

    /// Softmax over the visible scores, in f64.
    fn by_definition(heads: &Heads, window: Option<usize>, [q, k, v]: &[Vec<f32>; 3], n: usize) -> Vec<f64> {
        let (width, group) = (heads.width, heads.queries / heads.keys);
        let mut out = Vec::new();
        for at in 0..n {
            for head in 0..heads.queries {
                let query = &q[(at * heads.queries + head) * width..][..width];
                let of = |x: &'_ [f32], key: usize| x[(key * heads.keys + head / group) * width..][..width].to_vec();
                let seen: Vec<usize> = (0..=at).filter(|key| window.is_none_or(|window| key + window > at)).collect();
                let score = |key: &usize| {
                    let dot: f64 = query.iter().zip(of(k, *key)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
                    let score = dot * f64::from(heads.scale);
                    heads.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                };
                let weights: Vec<f64> = seen.iter().map(|key| score(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                for lane in 0..width {
                    let value = seen.iter().zip(&weights).map(|(key, weight)| weight * f64::from(of(v, *key)[lane]));
                    out.push(value.sum::<f64>() / total);
                }
            }
        }
        out
    }

    fn attend(plan: &Plan, heads: &Heads, window: Option<usize>, q: &[f32], blocks: &[Vec<f32>]) -> Vec<f32> {
        let mut out = vec![f32::NAN; q.len()];
        plan.attend(heads, window, q, heads.queries * heads.width, &|block| blocks[block].as_slice(), &mut out);
        out
    }

    #[test]
    fn attention_is_the_softmax_of_what_is_seen() {
        for n in [1, 5, 32, 33, 100] {
            let tokens = tokens(n, 7);
            let blocks = blocks(&tokens[1], &tokens[2], n);
            let path: Vec<usize> = (0..blocks.len()).collect();
            let plan = Plan::new([(n, 0, path.as_slice())]);
            for (window, softcap) in [(None, None), (Some(7), None), (Some(40), Some(3.0)), (None, Some(1.5))] {
                let heads = Heads { softcap, ..HEADS };
                let got = attend(&plan, &heads, window, &tokens[0], &blocks);
                for (got, expected) in got.iter().zip(by_definition(&heads, window, &tokens, n)) {
                    assert!(
                        (f64::from(*got) - expected).abs() < 2e-5,
                        "{got} and not {expected}: {n} {window:?} {softcap:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_beside_others() {
        let (n, window) = (70, Some(40));
        let [q, k, v] = tokens(n, 3);
        let width = HEADS.queries * HEADS.width;
        let blocks = blocks(&k, &v, n);
        let path: Vec<usize> = (0..blocks.len()).collect();
        let whole = attend(&Plan::new([(n, 0, path.as_slice())]), &HEADS, window, &q, &blocks);
        for at in 0..n {
            let alone =
                attend(&Plan::new([(1, at, path.as_slice())]), &HEADS, window, &q[at * width..][..width], &blocks);
            assert_eq!(alone, whole[at * width..][..width], "row {at}");
        }
        // Rows of several sequences, out of order.
        let mixed: Vec<f32> = [60, 5, 69, 33].iter().flat_map(|at| q[at * width..][..width].to_vec()).collect();
        let plan = Plan::new([60, 5, 69, 33].map(|at| (1, at, path.as_slice())));
        let mixed = attend(&plan, &HEADS, window, &mixed, &blocks);
        for (row, at) in [60, 5, 69, 33].into_iter().enumerate() {
            assert_eq!(mixed[row * width..][..width], whole[at * width..][..width], "row {at}");
        }
    }

    #[test]
    fn a_copied_beginning_is_the_beginning() {
        let [_, k, v] = tokens(20, 1);
        let from = blocks(&k, &v, 20);
        let expected = blocks(&k, &v, 11);
        let mut to = vec![0.0; HEADS.block_floats()];
        HEADS.copy(&from[0], &mut to, 11);
        assert_eq!(to, expected[0]);
    }
}
