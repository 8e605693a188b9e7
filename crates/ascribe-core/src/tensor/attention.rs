//! Causal attention over packed sequences.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};

#[cfg(feature = "fused")]
use super::fused;
use crate::Packing;

/// What attention needs to know besides queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; query head `h` uses key head `h / (heads / kv_heads)` (arXiv:2305.13245).
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Multiplies the scores.
    pub scale: f64,
    /// Scores `s` become `c tanh(s / c)`.
    pub softcap: Option<f64>,
}

/// Who sees whom in a packed batch: made once, used by every layer. Clones share it.
#[derive(Clone, Debug)]
pub struct Sight {
    packing: Arc<Packing>,
    window: Option<usize>,
    device: Device,
    /// Made when it is first asked for: its mask is as long as the longest span times the most tokens seen.
    padded: Arc<OnceLock<Padded>>,
    #[cfg(feature = "fused")]
    plan: Arc<fused::Plan>,
}

impl Sight {
    /// What `packing` lets its tokens see. With a window, a token sees that many tokens, itself included.
    pub fn new(packing: &Packing, window: Option<usize>, device: &Device) -> Self {
        Self {
            packing: Arc::new(packing.clone()),
            window,
            device: device.clone(),
            padded: Arc::new(OnceLock::new()),
            #[cfg(feature = "fused")]
            plan: Arc::new(fused::Plan::new(packing, window)),
        }
    }
}

/// The spans as rows of one batch, padded on the right.
#[derive(Clone, Debug)]
struct Padded {
    rows: usize,
    /// Rows of the packing that are queries, and keys; `None` when they are all rows as they stand.
    queries: Option<Tensor<1, Int>>,
    keys: Option<Tensor<1, Int>>,
    /// Where the tokens of the packing stand among the padded queries.
    places: Option<Tensor<1, Int>>,
    /// `[spans, 1, longest, most seen]`
    hidden: Tensor<4, Bool>,
}

impl Padded {
    fn new(packing: &Packing, window: Option<usize>, device: &Device) -> Self {
        let n = packing.tokens();
        let spans: Vec<usize> =
            (0..packing.spans().len()).filter(|span| !packing.span(*span).rows.is_empty()).collect();
        let longest = spans.iter().map(|span| packing.span(*span).rows.len()).max().unwrap_or(0);
        let seen: Vec<Vec<usize>> =
            spans.iter().map(|span| packing.seen(*span).into_iter().flatten().collect()).collect();
        let most = seen.iter().map(Vec::len).max().unwrap_or(0);
        let (mut queries, mut keys, mut places, mut hidden) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, (number, seen)) in spans.iter().zip(&seen).enumerate() {
            let span = packing.span(*number);
            let own = span.rows.len();
            queries.extend(span.rows.clone().chain(std::iter::repeat(0)).take(longest));
            keys.extend(seen.iter().copied().chain(std::iter::repeat(0)).take(most));
            places.extend((0..own).map(|at| row * longest + at));
            for query in 0..longest {
                // What stands in for a missing query sees everything, so that its softmax is finite; nobody reads it.
                let at = span.position + query;
                let outside = |key: usize| key > at || window.is_some_and(|window| key + window <= at);
                hidden.extend((0..most).map(|key| query < own && outside(key)));
            }
        }
        // Rows `0..all` of `all` need no gathering.
        let index = |rows: Vec<usize>, all: usize| {
            let whole = rows.len() == all && rows.iter().enumerate().all(|(at, row)| at == *row);
            let rows: Vec<i64> = rows.into_iter().map(|row| row as i64).collect();
            (!whole).then(|| Tensor::from_data(TensorData::new(rows.clone(), [rows.len()]), device))
        };
        let hidden = Tensor::from_data(TensorData::new(hidden, [spans.len(), 1, longest, most]), device);
        let padded = queries.len();
        Self {
            rows: spans.len(),
            queries: index(queries, n),
            keys: index(keys, n),
            places: index(places, padded),
            hidden,
        }
    }
}

/// Causal attention: every token mixes the values of the tokens that it sees.
///
/// # Shapes
/// - q: `[n, heads * head]`; k and v: `[n, kv_heads * head]`, where `n` is the number of tokens of the packing.
/// - result: `[n, heads * head]`.
pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, sight: &Sight, shape: &AttentionShape) -> Tensor<2> {
    if sight.packing.tokens() == 0 {
        return q;
    }
    #[cfg(feature = "fused")]
    if fused::accepts(&q) {
        return fused::attention([q, k, v], &sight.plan, shape);
    }
    let padded = sight.padded.get_or_init(|| Padded::new(&sight.packing, sight.window, &sight.device));
    let take = |x: Tensor<2>, rows: &Option<Tensor<1, Int>>| match rows {
        Some(rows) => x.select(0, rows.clone()),
        None => x,
    };
    let q = by_head(take(q, &padded.queries), padded.rows, shape.heads); // [spans, heads, longest, head]
    let k = by_head(take(k, &padded.keys), padded.rows, shape.kv_heads); // [spans, kv, most seen, head]
    let v = by_head(take(v, &padded.keys), padded.rows, shape.kv_heads);
    take(attend(q, k, v, Some(padded.hidden.clone()), shape), &padded.places)
}

/// `[rows * seq, heads * head]` as `[rows, heads, seq, head]`.
pub fn by_head(x: Tensor<2>, rows: usize, heads: usize) -> Tensor<4> {
    let [n, width] = x.dims();
    x.reshape([rows, n / rows.max(1), heads, width / heads]).swap_dims(1, 2)
}

/// True where a key must not be seen: the keys are at the positions `0..start + queries`, the queries are the last of
/// them. `None` when all may be seen. `[1, 1, queries, start + queries]`.
pub fn hidden(queries: usize, start: usize, window: Option<usize>, device: &Device) -> Option<Tensor<4, Bool>> {
    let total = start + queries;
    if queries == 1 && window.is_none_or(|window| total <= window) {
        return None;
    }
    let outside = |query: usize, key: usize| key > query || window.is_some_and(|window| key + window <= query);
    let flags: Vec<bool> = (start..total).flat_map(|query| (0..total).map(move |key| outside(query, key))).collect();
    Some(Tensor::from_data(TensorData::new(flags, [1, 1, queries, total]), device))
}

/// Attention of a batch of rows of equal length.
///
/// # Shapes
/// - q: `[rows, heads, seq, head]`; k and v: `[rows, kv_heads, total, head]`; hidden: `[rows or 1, 1, seq, total]`.
/// - result: `[rows * seq, heads * head]`.
pub fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    shape: &AttentionShape,
) -> Tensor<2> {
    let [rows, heads, seq, head_dim] = q.dims();
    let [_, kv_heads, total, _] = k.dims();
    // The query heads of one key head become rows of one product, so keys are never repeated.
    let grouped = heads / kv_heads * seq;
    let q = q.mul_scalar(shape.scale).reshape([rows, kv_heads, grouped, head_dim]);
    let scores = q.matmul(k.swap_dims(2, 3)); // [rows, kv, group * seq, total]
    let scores = match shape.softcap {
        Some(cap) => scores.div_scalar(cap).tanh().mul_scalar(cap),
        None => scores,
    };
    let scores = match hidden {
        Some(hidden) => scores
            .reshape([rows, heads, seq, total])
            .mask_fill(hidden, f32::NEG_INFINITY)
            .reshape([rows, kv_heads, grouped, total]),
        None => scores,
    };
    let mixed = activation::softmax(scores, 3).matmul(v); // [rows, kv, group * seq, head]
    let mixed = mixed.reshape([rows, heads, seq, head_dim]).swap_dims(1, 2); // [rows, seq, heads, head]
    mixed.reshape([rows * seq, heads * head_dim])
}
