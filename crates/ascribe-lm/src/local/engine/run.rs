//! Writing and scoring with an [`Engine`]: rows come and go as they begin and finish, and prompts are read once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_core::kernels::BLOCK;
use ascribe_core::{Continuation, Request};
use rayon::prelude::*;

use super::super::draft::Draft;
use super::tree::{Batch, Branch, KvTree};
use super::{Engine, KvUsage};

/// What a policy on the CPU may hold and do at once. None of it changes a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of keys and values, those included that are kept for later calls. What one text needs is held in any case.
    pub kv_bytes: usize,
    /// Texts that are written together.
    pub rows: usize,
    /// Given tokens that are read in one pass.
    pub read: usize,
}

impl Default for Limits {
    /// 1 GiB, 256 texts, 1024 tokens.
    fn default() -> Self {
        Self { kv_bytes: 1 << 30, rows: 256, read: 1024 }
    }
}

/// An engine with what it has read so far.
pub(in super::super) struct Runner {
    engine: Engine,
    limits: Limits,
    tree: Mutex<KvTree>,
}

/// A prompt whose candidates are not all begun.
struct Prompt {
    request: usize,
    branch: Branch,
    /// Logits after the prompt, once it is read.
    logits: Vec<f32>,
}

/// A candidate that is decoded.
struct Row {
    draft: Draft,
    branch: Branch,
}

impl Row {
    /// Blocks that it may still need.
    fn blocks(&self) -> usize {
        blocks(self.draft.room - self.draft.tokens.len())
    }
}

/// Blocks that `tokens` more tokens may need: the first may be a copy, and the last is begun.
fn blocks(tokens: usize) -> usize {
    tokens / BLOCK + 2
}

impl Runner {
    pub(in super::super) fn new(engine: Engine, limits: Limits) -> Self {
        let limits = Limits { rows: limits.rows.max(1), read: limits.read.max(1), ..limits };
        let tree = Mutex::new(engine.tree(limits.kv_bytes));
        Self { engine, limits, tree }
    }

    pub(in super::super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(in super::super) fn into_engine(self) -> Engine {
        self.engine
    }

    /// What the tree of keys and values holds.
    pub(in super::super) fn usage(&self) -> KvUsage {
        self.tree().usage()
    }

    /// Gives up what is kept.
    pub(in super::super) fn clear(&self) {
        self.tree().clear();
    }

    /// After a panic elsewhere the tree may hold keys that were never written, so it begins anew.
    fn tree(&self) -> MutexGuard<'_, KvTree> {
        self.tree.lock().unwrap_or_else(|poisoned: PoisonError<MutexGuard<'_, KvTree>>| {
            self.tree.clear_poison();
            let mut tree = poisoned.into_inner();
            *tree = self.engine.tree(self.limits.kv_bytes);
            tree
        })
    }

    /// Writes all drafts, which stand in the order of their requests; gives them back in that order, with the number of
    /// prompt tokens that had to be read for each request.
    pub(in super::super) fn write(
        &self,
        requests: &[Request],
        drafts: Vec<Draft>,
        ends: &[u32],
    ) -> (Vec<Draft>, Vec<u64>) {
        let mut tree = self.tree();
        let vocab = self.engine.config().outputs();
        let mut read = vec![0; requests.len()];
        let (mut done, open): (Vec<Draft>, Vec<Draft>) = drafts.into_iter().partition(|draft| draft.finish.is_some());
        let mut asked: Vec<usize> = open.iter().map(|draft| draft.request).collect();
        asked.dedup();
        let (mut waiting, mut asked) = (VecDeque::from(open), VecDeque::from(asked));
        let (mut reading, mut ready): (VecDeque<Prompt>, VecDeque<Prompt>) = (VecDeque::new(), VecDeque::new());
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let begun = self.begin(&mut waiting, &mut ready, &rows, &mut tree, requests, ends);
            for (draft, branch) in begun {
                match branch {
                    Some(branch) => rows.push(Row { draft, branch }),
                    None => done.push(draft),
                }
            }
            // Every row reads its last token; what is left of the pass reads prompts.
            let (mut batch, mut wanted) = (Batch::default(), Vec::new());
            for row in &mut rows {
                let last = row.draft.tokens[row.draft.tokens.len() - 1];
                tree.append(&mut row.branch, &[last], &mut batch);
                wanted.push(batch.rows() - 1);
            }
            let (mut left, mut finished) = (self.limits.read, 0);
            while left > 0 {
                if reading.len() == finished {
                    let Some(request) = asked.front().copied() else { break };
                    let prefix = &requests[request].prefix;
                    let promised: usize = rows.iter().map(Row::blocks).sum();
                    let under_way = rows.len() + ready.len() + reading.len();
                    let fits = tree.usage().live + promised + blocks(prefix.len()) <= tree.capacity();
                    if under_way >= self.limits.rows || (under_way > 0 && !fits) {
                        break;
                    }
                    asked.pop_front();
                    // The last token is read in any case: its logits are wanted.
                    let branch = tree.find(&prefix[..prefix.len() - 1]);
                    read[request] = (prefix.len() - branch.len()) as u64;
                    reading.push_back(Prompt { request, branch, logits: Vec::new() });
                }
                let prompt = &mut reading[finished];
                let rest = &requests[prompt.request].prefix[prompt.branch.len()..];
                let taken = rest.len().min(left);
                tree.append(&mut prompt.branch, &rest[..taken], &mut batch);
                left -= taken;
                if taken == rest.len() {
                    wanted.push(batch.rows() - 1);
                    finished += 1;
                }
            }
            if batch.rows() == 0 {
                if ready.is_empty() {
                    break;
                }
                // All that were begun ended with their first token; there is room for more.
                continue;
            }
            let states = self.engine.read(&mut tree, &batch, &wanted);
            let logits = self.engine.head(&states); // [wanted, vocab]
            rows.par_iter_mut().zip(logits.par_chunks(vocab)).for_each(|(row, logits)| {
                row.draft.take(logits, &requests[row.draft.request], ends);
            });
            for (mut prompt, logits) in reading.drain(..finished).zip(logits.chunks(vocab).skip(rows.len())) {
                prompt.logits = logits.to_vec();
                ready.push_back(prompt);
            }
            let (over, open): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.draft.finish.is_some());
            rows = open;
            for row in over {
                tree.release(row.branch);
                done.push(row.draft);
            }
        }
        tree.settle();
        done.sort_by_key(|draft| (draft.request, draft.candidate));
        (done, read)
    }

    /// Begins candidates of prompts that are read, as many as have room, at least one where nothing else goes on. Each gets
    /// its first token, and a branch of its own unless that was its last.
    fn begin(
        &self,
        waiting: &mut VecDeque<Draft>,
        ready: &mut VecDeque<Prompt>,
        rows: &[Row],
        tree: &mut KvTree,
        requests: &[Request],
        ends: &[u32],
    ) -> Vec<(Draft, Option<Branch>)> {
        let promised: usize = rows.iter().map(Row::blocks).sum();
        let mut room = tree.capacity().saturating_sub(tree.usage().live + promised);
        let mut begun: Vec<(usize, Draft)> = Vec::new(); // with the place of its prompt
        for (place, prompt) in ready.iter().enumerate() {
            while let Some(draft) = waiting.front().filter(|draft| draft.request == prompt.request) {
                let (count, need) = (rows.len() + begun.len(), blocks(draft.room));
                if count > 0 && (count >= self.limits.rows || need > room) {
                    break;
                }
                room = room.saturating_sub(need);
                begun.extend(waiting.pop_front().map(|draft| (place, draft)));
            }
            if waiting.front().is_some_and(|draft| draft.request == prompt.request) {
                break;
            }
        }
        begun.par_iter_mut().for_each(|(place, draft)| {
            let prompt = &ready[*place];
            draft.take(&prompt.logits, &requests[prompt.request], ends);
        });
        let begun = begun
            .into_iter()
            .map(|(place, draft)| match draft.finish {
                Some(_) => (draft, None),
                None => {
                    let branch = tree.fork(&ready[place].branch);
                    (draft, Some(branch))
                }
            })
            .collect();
        // Drafts wait in the order of their prompts, so the ones that are all begun stand in front.
        let left = waiting.front().map(|draft| draft.request);
        while ready.front().is_some_and(|prompt| left.is_none_or(|left| prompt.request < left)) {
            if let Some(prompt) = ready.pop_front() {
                tree.release(prompt.branch);
            }
        }
        begun
    }

    /// Log-probabilities of each continuation's tokens, in order, and the number of prompt tokens that had to be read.
    ///
    /// Continuations of one prompt are read together, and the prompt once.
    pub(in super::super) fn score(&self, continuations: &[Continuation]) -> (Vec<Vec<f32>>, u64) {
        let mut tree = self.tree();
        let mut order: Vec<usize> =
            (0..continuations.len()).filter(|at| !continuations[*at].tokens.is_empty()).collect();
        order.sort_by(|a, b| continuations[*a].prefix.cmp(&continuations[*b].prefix).then(a.cmp(b)));
        let mut scores = vec![Vec::new(); continuations.len()];
        let mut read = 0;
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut pass = Pass::default();
            let taken =
                rest.iter().take_while(|number| pass.take(**number, continuations, &mut tree, self.limits.read));
            let taken = taken.count();
            read += pass.read;
            pass.run(&self.engine, &mut tree, &mut scores);
            rest = &rest[taken..];
        }
        tree.settle();
        (scores, read)
    }
}

/// Continuations that are scored in one pass.
#[derive(Default)]
struct Pass<'a> {
    batch: Batch,
    /// Rows whose states are wanted.
    wanted: Vec<usize>,
    /// For each scored token, the place of its state among `wanted`, and the token.
    targets: Vec<(usize, u32)>,
    /// Number of each continuation, and its tokens.
    counts: Vec<(usize, usize)>,
    prompts: Vec<Branch>,
    /// Branch of each continuation, with the length of its prompt.
    branches: Vec<(Branch, usize)>,
    /// The prompt that was read last, and the place of its last state.
    last: Option<(&'a [u32], usize)>,
    /// Prompt tokens that were read.
    read: u64,
}

impl<'a> Pass<'a> {
    /// Adds a continuation, unless the pass would get longer than `most` tokens and has another one already.
    fn take(&mut self, number: usize, continuations: &'a [Continuation], tree: &mut KvTree, most: usize) -> bool {
        let Continuation { prefix, tokens } = &continuations[number];
        let known = self.last.filter(|(prompt, _)| *prompt == &prefix[..]);
        let more = tokens.len() + if known.is_some() { 0 } else { prefix.len() };
        if !self.counts.is_empty() && self.batch.rows() + more > most {
            return false;
        }
        let state = match known {
            Some((_, state)) => state,
            None => {
                let mut branch = tree.find(&prefix[..prefix.len() - 1]);
                let begin = branch.len();
                tree.append(&mut branch, &prefix[begin..], &mut self.batch);
                self.read += (prefix.len() - begin) as u64;
                self.prompts.push(branch);
                self.wanted.push(self.batch.rows() - 1);
                self.last = Some((&prefix[..], self.wanted.len() - 1));
                self.wanted.len() - 1
            }
        };
        let mut branch = tree.fork(&self.prompts[self.prompts.len() - 1]);
        let first = self.batch.rows();
        // The last token predicts nothing that is wanted, so it is not read.
        tree.append(&mut branch, &tokens[..tokens.len() - 1], &mut self.batch);
        self.branches.push((branch, prefix.len()));
        self.counts.push((number, tokens.len()));
        self.targets.push((state, tokens[0]));
        for (row, token) in (first..self.batch.rows()).zip(&tokens[1..]) {
            self.targets.push((self.wanted.len(), *token));
            self.wanted.push(row);
        }
        true
    }

    fn run(self, engine: &Engine, tree: &mut KvTree, scores: &mut [Vec<f32>]) {
        let states = engine.read(tree, &self.batch, &self.wanted);
        // The head takes states in their order; a prompt's state may be wanted late again.
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        order.sort_by_key(|at| self.targets[*at].0);
        let in_order: Vec<(usize, u32)> = order.iter().map(|at| self.targets[*at]).collect();
        let mut logps = vec![0.0; self.targets.len()];
        for (at, logp) in order.into_iter().zip(engine.logps(&states, &in_order)) {
            logps[at] = logp;
        }
        let mut logps = logps.as_slice();
        for (number, count) in self.counts {
            let (own, after) = logps.split_at(count);
            scores[number] = own.to_vec();
            logps = after;
        }
        self.branches.into_iter().for_each(|(branch, kept)| tree.forget(branch, kept));
        self.prompts.into_iter().for_each(|branch| tree.release(branch));
    }
}
