//! A decoder as a [`Policy`]: batched decoding with a key-value cache, and scoring of given text.

use std::collections::BTreeMap;

use ascribe_core::{
    Candidate, Capabilities, Continuation, CoreError, Finish, Mode, Policy, Reply, Request, Stream, Until, Usage,
};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use super::decoder::{Decoder, KvCache, Row};
use super::sample::{choose, top};

/// Most rows that are decoded together.
const ROWS: usize = 256;
/// Most floats that their keys and values take: 1 GiB.
const CACHED: usize = 1 << 28;
/// Padded tokens that are scored together.
const SCORED_TOKENS: usize = 4096;

/// A decoder that writes and scores, without gradients.
///
/// Prompts of equal length are decoded together, so nothing is padded; a prompt is read once for all its candidates.
pub struct LocalPolicy {
    decoder: Decoder,
    ends: Vec<u32>,
    context: usize,
}

/// A candidate that is being written.
struct Draft {
    request: usize,
    candidate: usize,
    stream: Stream,
    /// What was written; for [`Mode::Top`] the most likely next tokens, of which each is a candidate.
    tokens: Vec<u32>,
    logps: Vec<f32>,
    finish: Option<Finish>,
}

impl LocalPolicy {
    /// A policy that stops at any of the tokens `ends` and reads at most `context` tokens.
    pub fn new(decoder: &Decoder, ends: &[u32], context: usize) -> Self {
        Self { decoder: decoder.clone().valid(), ends: ends.to_vec(), context }
    }

    /// Checks a prefix that is continued by `given` tokens, or by at least one when none is given.
    fn check(&self, prefix: &[u32], given: &[u32]) -> Result<(), CoreError> {
        if prefix.is_empty() {
            let got = "an empty prefix".to_owned();
            return Err(CoreError::Shape { rule: "a prompt needs at least one token (begin with the BOS token)", got });
        }
        let vocab = self.decoder.vocab_size();
        if let Some(id) = prefix.iter().chain(given).find(|id| **id as usize >= vocab) {
            return Err(CoreError::Range {
                name: "a token id",
                rule: "below the vocabulary size",
                got: f64::from(*id),
            });
        }
        let got = prefix.len() + given.len().max(1);
        if got > self.context {
            return Err(CoreError::Context { context: self.context, got });
        }
        Ok(())
    }

    /// Writes all drafts, whose prompts have the same length.
    fn write(&self, requests: &[Request], drafts: &mut [Draft]) {
        let prompt_len = drafts.first().map_or(0, |draft| requests[draft.request].prefix.len());
        let room = |request: &Request| request.max_new.min(self.context - prompt_len);
        let longest = drafts.iter().map(|draft| room(&requests[draft.request])).max().unwrap_or(0);
        let mut prompts: Vec<usize> = drafts.iter().map(|draft| draft.request).collect();
        prompts.dedup();
        let ids = prompts.iter().flat_map(|request| requests[*request].prefix.iter().copied());
        let mut cache = KvCache::new(&self.decoder, prompt_len + longest);
        let mut logits = self.next_logits(ids.collect(), prompts.len(), &mut cache);
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
                    draft.take(&logits[row], request, &self.ends, room(request));
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
            logits = self.next_logits(last, live.len(), &mut cache);
        }
    }

    /// Feeds `ids` (`rows` of equal length) and gives the logits after the last one, a vector a row.
    fn next_logits(&self, ids: Vec<u32>, rows: usize, cache: &mut KvCache) -> Vec<Vec<f32>> {
        let seq = ids.len() / rows.max(1);
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, seq]), &self.decoder.device()); // [rows, seq]
        let hidden = self.decoder.hidden(ids, Some(cache));
        let [_, _, width] = hidden.dims();
        let last = hidden.slice([0..rows, seq - 1..seq, 0..width]).reshape([rows, width]); // [rows, hidden]
        let logits = self.decoder.head(last).into_data().convert::<f32>(); // [rows, vocab]
        let logits: Vec<f32> = logits.try_to_vec().expect("invariant: converted to f32");
        logits.chunks(self.decoder.vocab_size()).map(<[f32]>::to_vec).collect()
    }
}

impl Draft {
    fn take(&mut self, logits: &[f32], request: &Request, ends: &[u32], room: usize) {
        if room == 0 {
            self.finish = Some(Finish::Length);
            return;
        }
        if request.mode == Mode::Top {
            (self.tokens, self.logps) = top(logits, request.n).into_iter().unzip();
            self.finish = Some(Finish::Step);
            return;
        }
        let seen = [&request.prefix[..], &self.tokens[..]];
        let (token, logp) = choose(logits, request.mode, seen, &mut self.stream);
        self.tokens.push(token);
        self.logps.push(logp);
        let step = match &request.until {
            Until::Token => true,
            Until::Step(separators) => separators.contains(&token),
            Until::End => false,
        };
        self.finish = if ends.contains(&token) {
            Some(Finish::End)
        } else if step {
            Some(Finish::Step)
        } else if self.tokens.len() >= room {
            Some(Finish::Length)
        } else {
            None
        };
    }
}

impl Policy for LocalPolicy {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let mut by_length: BTreeMap<usize, Vec<Draft>> = BTreeMap::new();
        for (number, request) in requests.iter().enumerate() {
            self.check(&request.prefix, &[])?;
            request.check()?;
            // The most likely tokens all come from one row.
            let rows = if request.mode == Mode::Top { request.n.min(1) } else { request.n };
            let drafts = by_length.entry(request.prefix.len()).or_default();
            drafts.extend((0..rows).map(|candidate| Draft {
                request: number,
                candidate,
                stream: request.seed.stream("sample", candidate as u64),
                tokens: Vec::new(),
                logps: Vec::new(),
                finish: None,
            }));
        }
        let mut replies: Vec<Reply> =
            requests.iter().map(|_| Reply { candidates: Vec::new(), usage: Usage::default() }).collect();
        for (length, mut drafts) in by_length {
            let longest = drafts.iter().map(|draft| requests[draft.request].max_new).max().unwrap_or(0);
            let kept = (length + longest.min(self.context - length)) * self.decoder.cached_floats();
            let rows = (CACHED / kept.max(1)).clamp(1, ROWS);
            drafts.chunks_mut(rows).for_each(|chunk| self.write(requests, chunk));
            for draft in drafts {
                let prompt = requests[draft.request].prefix.len() as u64;
                let reply = &mut replies[draft.request];
                let read = if draft.candidate == 0 { (prompt, 0) } else { (0, prompt) };
                if requests[draft.request].mode == Mode::Top {
                    reply.usage += Usage { generated: 1, scored: read.0, reused: read.1 };
                    let finish = |token| if self.ends.contains(token) { Finish::End } else { Finish::Step };
                    reply.candidates.extend(draft.tokens.iter().zip(&draft.logps).map(|(token, logp)| Candidate {
                        tokens: vec![*token].into(),
                        logps: vec![*logp],
                        finish: finish(token),
                    }));
                    continue;
                }
                reply.usage += Usage { generated: draft.tokens.len() as u64, scored: read.0, reused: read.1 };
                // Drafts of one request stand in the order of their candidates.
                reply.candidates.push(Candidate {
                    tokens: draft.tokens.into(),
                    logps: draft.logps,
                    finish: draft.finish.unwrap_or(Finish::Length),
                });
            }
        }
        Ok(replies)
    }

    fn score(&self, continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        let length = |given: &Continuation| given.prefix.len() + given.tokens.len();
        let mut order: Vec<usize> = (0..continuations.len()).collect();
        order.sort_by_key(|number| length(&continuations[*number]));
        let mut usage = Usage::default();
        for given in continuations {
            self.check(&given.prefix, &given.tokens)?;
            usage.scored += length(given) as u64;
        }
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
            let (logps, _) = self.decoder.response_logps(&rows)?;
            let [_, longest] = logps.dims();
            let logps: Vec<f32> = logps.into_data().convert::<f32>().try_to_vec().expect("invariant: converted to f32");
            for (row, number) in batch.iter().enumerate() {
                let start = row * longest;
                scores[*number] = logps[start..start + continuations[*number].tokens.len()].to_vec();
            }
            rest = later;
        }
        Ok((scores, usage))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: true, context: self.context }
    }
}
