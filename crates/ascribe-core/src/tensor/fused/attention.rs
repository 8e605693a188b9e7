//! Attention over a packing that never holds an `L x L` matrix (arXiv:2205.14135).
//!
//! Scores live in tiles of up to 32 keys by the queries of a block; the query heads of one key head stand side by side as
//! columns, query after query. Forward keeps a running softmax for each column; backward computes the tiles again:
//! ```text
//! s = scale q k,  (s = c tanh(s / c),)  p = exp(s - lse),  o = sum_keys p v
//! dv = p do,  ds = p (do v - do o) (1 - tanh^2),  dq = scale ds k,  dk = scale ds q
//! ```
//! The work is cut by the packing alone and partial sums are added in order, so threads do not show in the bits.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};

use super::plan::{Block, Plan, TILE};
use super::{contiguous, floats, tensor};
use crate::kernels::add_product;
use crate::kernels::vector::{LANES, dot, exp, parallel, piece, tanh};
use crate::tensor::AttentionShape;

/// Runs of blocks that keep sums of their own in the backward pass, over all key heads. A constant, so that the order of
/// the sums is one whatever the machine.
const PARTS: usize = 8;

/// What attention needs to know besides queries, keys and values.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub plan: Arc<Plan>,
    pub shape: AttentionShape,
}

impl Task {
    /// Floats of work, roughly.
    fn work(&self) -> usize {
        self.plan.pairs() * TILE * self.shape.heads * self.shape.head_dim
    }
}

#[derive(Clone, Copy)]
struct Inputs<'a> {
    plan: &'a Plan,
    shape: &'a AttentionShape,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

impl<'a> Inputs<'a> {
    fn new(task: &'a Task, [q, k, v]: [&'a FlexTensor; 3]) -> Self {
        Self { plan: &task.plan, shape: &task.shape, q: floats(q), k: floats(k), v: floats(v) }
    }

    /// Query heads of a key head.
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    fn key_width(&self) -> usize {
        self.shape.kv_heads * self.shape.head_dim
    }

    /// The columns of `block` for one key head: its vectors out of `x`, which is laid out as the queries are.
    fn columns<'b>(&self, x: &'b [f32], block: &Block, own: usize) -> impl Iterator<Item = &'b [f32]> {
        let (width, head) = (self.shape.heads * self.shape.head_dim, self.shape.head_dim);
        let heads = own * self.group() * head..(own + 1) * self.group() * head;
        let rows = &block.queries.rows;
        let tokens = x[rows.start * width..rows.end * width].chunks_exact(width);
        tokens.flat_map(move |token| token[heads.clone()].chunks_exact(head))
    }

    /// The queries of `block` that see the key at `position`, as columns.
    #[inline(always)]
    fn seeing(&self, position: usize, block: &Block) -> Range<usize> {
        let queries = self.plan.seeing(position, &block.queries);
        queries.start * self.group()..queries.end * self.group()
    }

    /// Tiles of keys or values with the tokens as columns: `[tiles, kv_heads, head, TILE]`.
    fn turned(&self, x: &[f32]) -> Vec<f32> {
        let width = self.key_width();
        let mut turned = vec![0.0; self.plan.tiles.len() * width * TILE];
        let jobs = turned.chunks_mut((width * TILE).max(1)).zip(&self.plan.tiles);
        parallel(x.len(), jobs, |(turned, tile)| {
            for (key, token) in x[tile.rows.start * width..tile.rows.end * width].chunks_exact(width).enumerate() {
                for (turned, value) in turned.chunks_exact_mut(TILE).zip(token) {
                    turned[key] = *value;
                }
            }
        });
        turned
    }

    /// One turned tile of one key head: `[head, TILE]`.
    fn turned_tile<'b>(&self, turned: &'b [f32], tile: usize, own: usize) -> &'b [f32] {
        let size = self.shape.head_dim * TILE;
        &turned[(tile * self.shape.kv_heads + own) * size..][..size]
    }
}

/// `y += x w`, compiled once for all its places.
struct Product<'a> {
    x: &'a [f32],
    x_width: usize,
    rows: usize,
    inner: usize,
    w: &'a [f32],
    /// Width of `w` and of `y`.
    outputs: usize,
    y: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, x_width, rows, inner, w, outputs, y } = self;
        add_product(simd, x, x_width, rows, inner, w, outputs, outputs, y, outputs);
    }
}

/// q: `[n, heads * head]`; k and v: `[n, kv_heads * head]`, all contiguous. Result: `[n, heads * head]`, and the logarithm
/// of the sum of exponentials for each token and head.
pub(super) fn forward(q: &FlexTensor, k: &FlexTensor, v: &FlexTensor, task: &Task) -> (FlexTensor, Vec<f32>) {
    let inputs = Inputs::new(task, [q, k, v]);
    let heads = task.shape.heads;
    let width = heads * task.shape.head_dim;
    let turned = inputs.turned(inputs.v);
    let mut mixed = vec![0.0; inputs.plan.tokens * width];
    let mut lse = vec![0.0; inputs.plan.tokens * heads];
    let mut jobs = Vec::with_capacity(inputs.plan.blocks.len());
    let (mut mixed_rest, mut lse_rest) = (mixed.as_mut_slice(), lse.as_mut_slice());
    for block in &inputs.plan.blocks {
        let rows = block.queries.rows.len();
        let (mixed, rest) = std::mem::take(&mut mixed_rest).split_at_mut(rows * width);
        mixed_rest = rest;
        let (lse, rest) = std::mem::take(&mut lse_rest).split_at_mut(rows * heads);
        lse_rest = rest;
        jobs.push(Forward { inputs, block, turned: &turned, mixed, lse });
    }
    parallel(task.work(), jobs.into_iter(), |job| Arch::new().dispatch(job));
    (tensor(mixed, q.layout().shape()), lse)
}

/// One block of queries, for all heads.
struct Forward<'a> {
    inputs: Inputs<'a>,
    block: &'a Block,
    /// Values, turned.
    turned: &'a [f32],
    /// Rows of the block in the results.
    mixed: &'a mut [f32],
    lse: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { inputs, block, turned, mixed, lse } = self;
        let shape = inputs.shape;
        let (head, group, key_width) = (shape.head_dim, inputs.group(), inputs.key_width());
        let wide = (block.queries.rows.len() * group).next_multiple_of(LANES);
        let mut queries = vec![0.0; head * wide]; // [head, columns]
        let mut scores = vec![0.0; TILE * wide]; // [keys, columns]
        let mut running = Running::new(head, wide);
        for own in 0..shape.kv_heads {
            for (column, query) in inputs.columns(inputs.q, block, own).enumerate() {
                put_column(&mut queries, wide, column, query, shape.scale as f32);
            }
            running.reset();
            for number in &block.tiles {
                let tile = &inputs.plan.tiles[*number];
                let keys = tile.rows.len();
                let scores = &mut scores[..keys * wide];
                scores.fill(0.0);
                simd.vectorize(Product {
                    x: &inputs.k[tile.rows.start * key_width + own * head..],
                    x_width: key_width,
                    rows: keys,
                    inner: head,
                    w: &queries,
                    outputs: wide,
                    y: &mut *scores,
                });
                let seeing = |key: usize| inputs.seeing(tile.position + key, block);
                if let Some(cap) = shape.softcap {
                    let cap = cap as f32;
                    for score in scores.iter_mut() {
                        *score = cap * tanh(*score / cap);
                    }
                }
                running.take(scores, seeing);
                simd.vectorize(Product {
                    x: inputs.turned_tile(turned, *number, own),
                    x_width: TILE,
                    rows: head,
                    inner: keys,
                    w: scores,
                    outputs: wide,
                    y: &mut running.sums,
                });
            }
            let rows = mixed.chunks_exact_mut(shape.heads * head).zip(lse.chunks_exact_mut(shape.heads));
            for (row, (mixed, lse)) in rows.enumerate() {
                let mixed = mixed[own * group * head..][..group * head].chunks_exact_mut(head);
                for (of_group, (mixed, lse)) in mixed.zip(&mut lse[own * group..][..group]).enumerate() {
                    let column = row * group + of_group;
                    let share = 1.0 / running.totals[column];
                    for (mixed, sums) in mixed.iter_mut().zip(running.sums.chunks_exact(wide)) {
                        *mixed = sums[column] * share;
                    }
                    *lse = running.largest[column] + running.totals[column].ln();
                }
            }
        }
    }
}

/// Writes `values * factor` down one column of `[.., wide]`.
#[inline(always)]
fn put_column(matrix: &mut [f32], wide: usize, column: usize, values: &[f32], factor: f32) {
    for (line, value) in matrix.chunks_exact_mut(wide).zip(values) {
        line[column] = value * factor;
    }
}

/// Softmax over keys that come a tile at a time (arXiv:1805.02867), for each column.
struct Running {
    wide: usize,
    /// The largest score so far, the sum of `exp(score - largest)`, and what rescales older sums.
    largest: Vec<f32>,
    totals: Vec<f32>,
    factors: Vec<f32>,
    /// Weighted sums of the values: `[head, columns]`.
    sums: Vec<f32>,
}

impl Running {
    fn new(head: usize, wide: usize) -> Self {
        let line = || vec![0.0; wide];
        Self { wide, largest: line(), totals: line(), factors: line(), sums: vec![0.0; head * wide] }
    }

    fn reset(&mut self) {
        // Not an infinity: the difference of two of them is not a number.
        self.largest.fill(f32::MIN);
        self.totals.fill(0.0);
        self.sums.fill(0.0);
    }

    /// Turns the scores of one tile into weights, 0 where a column does not see a key, and rescales what was summed.
    #[inline(always)]
    fn take(&mut self, scores: &mut [f32], seeing: impl Fn(usize) -> Range<usize>) {
        let Self { wide, largest, totals, factors, sums } = self;
        factors.copy_from_slice(largest);
        for (key, scores) in scores.chunks_exact(*wide).enumerate() {
            let seen = seeing(key);
            for (largest, score) in largest[seen.clone()].iter_mut().zip(&scores[seen]) {
                *largest = if *score > *largest { *score } else { *largest };
            }
        }
        for (factor, largest) in factors.iter_mut().zip(largest.iter()) {
            *factor = exp(*factor - *largest);
        }
        if factors.iter().any(|factor| *factor != 1.0) {
            for line in std::iter::once(&mut totals[..]).chain(sums.chunks_exact_mut(*wide)) {
                for (sum, factor) in line.iter_mut().zip(factors.iter()) {
                    *sum *= factor;
                }
            }
        }
        for (key, scores) in scores.chunks_exact_mut(*wide).enumerate() {
            let seen = seeing(key);
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            let seen_scores = scores[seen.clone()].iter_mut().zip(&largest[seen.clone()]);
            for ((score, largest), total) in seen_scores.zip(&mut totals[seen]) {
                *score = exp(*score - largest);
                *total += *score;
            }
        }
    }
}

/// Gradients of queries, keys and values, shaped as these are.
fn backward(state: &State, dy: &FlexTensor) -> [FlexTensor; 3] {
    let State { q, k, v, mixed, lse, task } = state;
    let inputs = Inputs::new(task, [q, k, v]);
    let (plan, head, kv_heads) = (inputs.plan, task.shape.head_dim, task.shape.kv_heads);
    let width = inputs.group() * head;
    let turned = inputs.turned(inputs.k);
    let runs = plan.runs(PARTS.div_ceil(kv_heads));
    let mut by_head = vec![0.0; plan.tokens * kv_heads * width]; // [kv_heads, n, group * head]
    let mut jobs = Vec::with_capacity(kv_heads * runs.len());
    for (own, mut rest) in by_head.chunks_mut((plan.tokens * width).max(1)).enumerate() {
        for run in &runs {
            let (dq, behind) = std::mem::take(&mut rest).split_at_mut(plan.rows(run).len() * width);
            rest = behind;
            let (mixed, dy) = (floats(mixed), floats(dy));
            jobs.push(Gradient { inputs, own, run: run.clone(), turned: &turned, mixed, lse, dy, dq });
        }
    }
    let partial = parallel(task.work(), jobs.into_iter(), |job| Arch::new().dispatch(job));

    let mut dq = vec![0.0; plan.tokens * kv_heads * width];
    for (row, dq) in dq.chunks_exact_mut((kv_heads * width).max(1)).enumerate() {
        for (own, dq) in dq.chunks_exact_mut(width).enumerate() {
            dq.copy_from_slice(&by_head[(own * plan.tokens + row) * width..][..width]);
        }
    }
    let deep = head.next_multiple_of(LANES);
    let keys = |of: fn(&Partial) -> &Vec<f32>| {
        let key_width = inputs.key_width();
        let rows = piece(key_width) / key_width.max(1);
        let mut sums = vec![0.0; plan.tokens * key_width];
        let jobs = sums.chunks_mut(rows * key_width.max(1)).enumerate();
        parallel(plan.tokens * key_width * runs.len(), jobs, |(at, sums)| {
            for (row, sums) in (at * rows..).zip(sums.chunks_exact_mut(key_width)) {
                for (own, sums) in sums.chunks_exact_mut(head).enumerate() {
                    for partial in &partial[own * runs.len()..][..runs.len()] {
                        // A run holds the rows up to its own last one: its queries see no later ones.
                        let part = of(partial).get(row * deep..row * deep + head).unwrap_or(&[]);
                        for (sum, part) in sums.iter_mut().zip(part) {
                            *sum += part;
                        }
                    }
                }
            }
        });
        sums
    };
    let (dk, dv) = (keys(|partial| &partial.dk), keys(|partial| &partial.dv));
    [tensor(dq, q.layout().shape()), tensor(dk, k.layout().shape()), tensor(dv, v.layout().shape())]
}

/// One run of blocks, for one key head.
struct Gradient<'a> {
    inputs: Inputs<'a>,
    own: usize,
    run: Range<usize>,
    /// Keys, turned.
    turned: &'a [f32],
    mixed: &'a [f32],
    lse: &'a [f32],
    dy: &'a [f32],
    /// `[rows of the run, group * head]`
    dq: &'a mut [f32],
}

/// What a run adds to the gradients of keys and values: `[rows, head padded to whole vectors]`.
struct Partial {
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl WithSimd for Gradient<'_> {
    type Output = Partial;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Partial {
        let Self { inputs, own, run, turned, mixed, lse, dy, dq } = self;
        let shape = inputs.shape;
        let (head, group, key_width) = (shape.head_dim, inputs.group(), inputs.key_width());
        let deep = head.next_multiple_of(LANES);
        let rows = inputs.plan.rows(&run);
        let mut partial = Partial { dk: vec![0.0; rows.end * deep], dv: vec![0.0; rows.end * deep] };
        for block in &inputs.plan.blocks[run] {
            let columns = block.queries.rows.len() * group;
            let mut it = Columns::new(head, columns);
            let wide = it.wide;
            let vectors = inputs.columns(inputs.q, block, own).zip(inputs.columns(dy, block, own));
            for (column, ((q, dy), mixed)) in vectors.zip(inputs.columns(mixed, block, own)).enumerate() {
                put_column(&mut it.q, wide, column, q, shape.scale as f32);
                put_column(&mut it.dy, wide, column, dy, 1.0);
                for (line, q) in it.q_rows[column * deep..].iter_mut().zip(q) {
                    *line = q * shape.scale as f32;
                }
                it.dy_rows[column * deep..][..head].copy_from_slice(dy);
                it.pull[column] = dot(dy, mixed);
            }
            let sums = lse[block.queries.rows.start * shape.heads..].chunks_exact(shape.heads);
            let sums = sums.flat_map(|token| &token[own * group..][..group]);
            for (lse, sum) in it.lse[..columns].iter_mut().zip(sums) {
                *lse = *sum;
            }
            for number in &block.tiles {
                let tile = &inputs.plan.tiles[*number];
                let keys = tile.rows.len();
                let (p, ds) = (&mut it.p[..keys * wide], &mut it.ds[..keys * wide]);
                for (x, w, y) in [(inputs.k, &it.q, &mut *p), (inputs.v, &it.dy, &mut *ds)] {
                    y.fill(0.0);
                    let x = &x[tile.rows.start * key_width + own * head..];
                    simd.vectorize(Product { x, x_width: key_width, rows: keys, inner: head, w, outputs: wide, y });
                }
                for (key, (p, ds)) in p.chunks_exact_mut(wide).zip(ds.chunks_exact_mut(wide)).enumerate() {
                    let seen = inputs.seeing(tile.position + key, block);
                    for line in [&mut *p, &mut *ds] {
                        line[..seen.start].fill(0.0);
                        line[seen.end..].fill(0.0);
                    }
                    let (p, ds) = (&mut p[seen.clone()], &mut ds[seen.clone()]);
                    let (lse, pull) = (&it.lse[seen.clone()], &it.pull[seen]);
                    match shape.softcap {
                        Some(cap) => {
                            let cap = cap as f32;
                            let capped = |score: f32| {
                                let t = tanh(score / cap);
                                (cap * t, 1.0 - t * t)
                            };
                            slopes(p, ds, lse, pull, capped);
                        }
                        None => slopes(p, ds, lse, pull, |score| (score, 1.0)),
                    }
                }
                let gradients = [(&*p, &it.dy_rows, &mut partial.dv), (&*ds, &it.q_rows, &mut partial.dk)];
                for (x, w, y) in gradients {
                    let y = &mut y[tile.rows.start * deep..];
                    simd.vectorize(Product { x, x_width: wide, rows: keys, inner: columns, w, outputs: deep, y });
                }
                simd.vectorize(Product {
                    x: inputs.turned_tile(turned, *number, own),
                    x_width: TILE,
                    rows: head,
                    inner: keys,
                    w: ds,
                    outputs: wide,
                    y: &mut it.dq,
                });
            }
            let from = (block.queries.rows.start - rows.start) * group;
            for (column, dq) in dq[from * head..].chunks_exact_mut(head).take(columns).enumerate() {
                for (dq, line) in dq.iter_mut().zip(it.dq.chunks_exact(wide)) {
                    *dq = line[column] * shape.scale as f32;
                }
            }
        }
        partial
    }
}

/// Scores become weights, and the gradients of weights those of scores; `cap` gives a score its value and slope.
#[inline(always)]
fn slopes(p: &mut [f32], ds: &mut [f32], lse: &[f32], pull: &[f32], cap: impl Fn(f32) -> (f32, f32)) {
    for (((p, ds), lse), pull) in p.iter_mut().zip(ds).zip(lse).zip(pull) {
        let (score, slope) = cap(*p);
        *p = exp(score - lse);
        *ds = *p * (*ds - pull) * slope;
    }
}

/// What the backward pass holds of a block for one key head.
struct Columns {
    /// Columns, padded to whole vectors.
    wide: usize,
    /// Queries times scale, gradients of the result, and gradients of the queries: `[head, columns]`.
    q: Vec<f32>,
    dy: Vec<f32>,
    dq: Vec<f32>,
    /// The first two again, a column a row: `[columns, head padded]`.
    q_rows: Vec<f32>,
    dy_rows: Vec<f32>,
    /// `[columns]`; `pull` is the product of result and gradient.
    lse: Vec<f32>,
    pull: Vec<f32>,
    /// Weights and gradients of scores: `[TILE, columns]`.
    p: Vec<f32>,
    ds: Vec<f32>,
}

impl Columns {
    fn new(head: usize, columns: usize) -> Self {
        let wide = columns.next_multiple_of(LANES);
        let zeros = |height: usize, width: usize| vec![0.0; height * width];
        let deep = head.next_multiple_of(LANES);
        Self {
            wide,
            q: zeros(head, wide),
            dy: zeros(head, wide),
            dq: zeros(head, wide),
            q_rows: zeros(columns, deep),
            dy_rows: zeros(columns, deep),
            lse: zeros(1, wide),
            pull: zeros(1, wide),
            p: zeros(TILE, wide),
            ds: zeros(TILE, wide),
        }
    }
}

/// What the backward pass needs; the scores are not in it.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub q: FlexTensor,
    pub k: FlexTensor,
    pub v: FlexTensor,
    pub mixed: FlexTensor,
    pub lse: Vec<f32>,
    pub task: Task,
}

#[derive(Debug)]
pub(super) struct PackedAttention;

impl Backward<Flex, 3> for PackedAttention {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        for (parent, gradient) in ops.parents.into_iter().zip(backward(&ops.state, &dy)) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
