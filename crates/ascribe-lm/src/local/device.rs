//! Writing and scoring with a decoder on any device: batches of rows of equal length, with a key-value cache.

use std::collections::BTreeMap;

use ascribe_core::{Continuation, CoreError, Request};
use burn::tensor::{Int, Tensor, TensorData};

use super::decoder::{Decoder, KvCache, Row};
use super::draft::Draft;

/// Most rows that are decoded together.
const ROWS: usize = 256;
/// Most floats that their keys and values take: 1 GiB.
const CACHED: usize = 1 << 28;
/// Padded tokens that are scored together.
const SCORED_TOKENS: usize = 4096;

/// Writes all drafts. Prompts of equal length are decoded together, so nothing is padded; a prompt is read once for all its
/// candidates.
pub(super) fn write(decoder: &Decoder, requests: &[Request], drafts: Vec<Draft>, ends: &[u32]) -> Vec<Draft> {
    let mut by_length: BTreeMap<usize, Vec<Draft>> = BTreeMap::new();
    for draft in drafts {
        by_length.entry(requests[draft.request].prefix.len()).or_default().push(draft);
    }
    for (length, drafts) in &mut by_length {
        let longest = drafts.iter().map(|draft| draft.room).max().unwrap_or(0);
        let kept = (length + longest) * decoder.cached_floats();
        let rows = (CACHED / kept.max(1)).clamp(1, ROWS);
        drafts.chunks_mut(rows).for_each(|chunk| write_together(decoder, requests, chunk, ends));
    }
    let mut drafts: Vec<Draft> = by_length.into_values().flatten().collect();
    drafts.sort_by_key(|draft| (draft.request, draft.candidate));
    drafts
}

/// Writes drafts whose prompts have the same length.
fn write_together(decoder: &Decoder, requests: &[Request], drafts: &mut [Draft], ends: &[u32]) {
    let prompt_len = drafts.first().map_or(0, |draft| requests[draft.request].prefix.len());
    let longest = drafts.iter().map(|draft| draft.room).max().unwrap_or(0);
    if longest == 0 {
        return;
    }
    let mut prompts: Vec<usize> = drafts.iter().map(|draft| draft.request).collect();
    prompts.dedup();
    let ids = prompts.iter().flat_map(|request| requests[*request].prefix.iter().copied());
    let mut cache = KvCache::new(decoder, prompt_len + longest);
    let mut logits = next_logits(decoder, ids.collect(), prompts.len(), &mut cache);
    // One row a prompt becomes one row a draft.
    let row_of = |draft: &Draft| prompts.iter().position(|request| *request == draft.request).unwrap_or(0);
    let rows: Vec<usize> = drafts.iter().map(row_of).collect();
    cache.select(&rows);
    logits = rows.iter().map(|row| logits[*row].clone()).collect();
    let mut live: Vec<usize> = (0..drafts.len()).collect(); // draft of each row; finished ones may linger
    loop {
        for (row, number) in live.iter().enumerate() {
            let draft = &mut drafts[*number];
            if draft.finish.is_none() {
                let request = &requests[draft.request];
                draft.take(&logits[row], request, ends);
            }
        }
        let open: Vec<usize> = (0..live.len()).filter(|row| drafts[live[*row]].finish.is_none()).collect();
        if open.is_empty() {
            return;
        }
        // Copying the cache pays once half of the rows are finished.
        if 2 * open.len() <= live.len() {
            cache.select(&open);
            live = open.iter().map(|row| live[*row]).collect();
        }
        let last = live.iter().map(|number| drafts[*number].tokens.last().copied().unwrap_or(0)).collect();
        logits = next_logits(decoder, last, live.len(), &mut cache);
    }
}

/// Feeds `ids` (`rows` of equal length) and gives the logits after the last one, a vector a row.
fn next_logits(decoder: &Decoder, ids: Vec<u32>, rows: usize, cache: &mut KvCache) -> Vec<Vec<f32>> {
    let seq = ids.len() / rows.max(1);
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, seq]), &decoder.device()); // [rows, seq]
    let hidden = decoder.hidden(ids, Some(cache));
    let [_, _, width] = hidden.dims();
    let last = hidden.slice([0..rows, seq - 1..seq, 0..width]).reshape([rows, width]); // [rows, hidden]
    let logits = decoder.head(last).into_data().convert::<f32>(); // [rows, vocab]
    let logits: Vec<f32> = logits.try_to_vec().expect("invariant: converted to f32");
    logits.chunks(decoder.vocab_size()).map(<[f32]>::to_vec).collect()
}

/// Log-probabilities of each continuation's tokens, in order.
///
/// # Errors
/// When the decoder is a classifier.
pub(super) fn score(decoder: &Decoder, continuations: &[Continuation]) -> Result<Vec<Vec<f32>>, CoreError> {
    let length = |given: &Continuation| given.prefix.len() + given.tokens.len();
    let mut order: Vec<usize> = (0..continuations.len()).collect();
    order.sort_by_key(|number| length(&continuations[*number]));
    let mut scores = vec![Vec::new(); continuations.len()];
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        // Rows are sorted, so the longest of the first n is the n-th.
        let fits = |n: usize| n * length(&continuations[rest[n - 1]]) <= SCORED_TOKENS;
        let n = (1..=rest.len()).take_while(|n| *n == 1 || fits(*n)).last().unwrap_or(1);
        let (batch, later) = rest.split_at(n);
        let rows: Vec<Row> = batch
            .iter()
            .map(|number| Row { prompt: &continuations[*number].prefix, response: &continuations[*number].tokens })
            .collect();
        let (logps, _) = decoder.response_logps(&rows)?;
        let [_, longest] = logps.dims();
        let logps: Vec<f32> = logps.into_data().convert::<f32>().try_to_vec().expect("invariant: converted to f32");
        for (row, number) in batch.iter().enumerate() {
            let start = row * longest;
            scores[*number] = logps[start..start + continuations[*number].tokens.len()].to_vec();
        }
        rest = later;
    }
    Ok(scores)
}
