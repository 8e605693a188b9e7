//! Writing and scoring with an [`Engine`]: rows come and go as they begin and finish, and prompts are read once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_core::kernels::BLOCK;
use ascribe_core::{Continuation, Request};
use rayon::prelude::*;

use super::super::draft::Draft;
use super::{Batch, Branch, Engine, KvTree, KvUsage};

/// Most rows that are decoded together.
const ROWS: usize = 256;
/// Most floats of keys and values: 1 GiB.
const CAPACITY: usize = 1 << 28;
/// Share of them that is kept for later calls.
const KEPT: usize = 4;
/// Given tokens that are read in one pass.
const READ: usize = 1024;

/// An engine with what it has read so far.
pub(in super::super) struct Runner {
    engine: Engine,
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

impl Runner {
    pub(in super::super) fn new(engine: Engine) -> Self {
        let tree = Mutex::new(engine.tree(CAPACITY));
        Self { engine, tree }
    }

    pub(in super::super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the tree of keys and values holds.
    pub(in super::super) fn usage(&self) -> KvUsage {
        self.tree().usage()
    }

    /// Gives up what is kept.
    pub(in super::super) fn clear(&self) {
        self.tree().trim(0);
    }

    /// After a panic elsewhere the tree may hold keys that were never written, so it begins anew.
    fn tree(&self) -> MutexGuard<'_, KvTree> {
        self.tree.lock().unwrap_or_else(|poisoned: PoisonError<MutexGuard<'_, KvTree>>| {
            self.tree.clear_poison();
            let mut tree = poisoned.into_inner();
            *tree = self.engine.tree(CAPACITY);
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
        let mut read = vec![0; requests.len()];
        let (mut done, open): (Vec<Draft>, Vec<Draft>) = drafts.into_iter().partition(|draft| draft.finish.is_some());
        let mut waiting: VecDeque<Draft> = open.into();
        let mut asked: Vec<usize> = waiting.iter().map(|draft| draft.request).collect();
        asked.dedup();
        let mut asked = VecDeque::from(asked);
        let (mut reading, mut ready): (Vec<Prompt>, VecDeque<Prompt>) = (Vec::new(), VecDeque::new());
        let mut rows: Vec<Row> = Vec::new();
        let blocks = |draft: &Draft| draft.room / BLOCK + 2;
        loop {
            // Begin candidates of prompts that are read, as many as have room.
            while let Some(prompt) = ready.front() {
                let promised: usize = rows.iter().map(|row| blocks(&row.draft)).sum();
                let mut room = tree.capacity().saturating_sub(promised);
                let mut begun = Vec::new();
                while let Some(draft) = waiting.front().filter(|draft| draft.request == prompt.request) {
                    let fits = rows.len() + begun.len() < ROWS && blocks(draft) <= room;
                    if !fits && rows.len() + begun.len() > 0 {
                        break;
                    }
                    room = room.saturating_sub(blocks(draft));
                    begun.extend(waiting.pop_front());
                }
                if begun.is_empty() && waiting.front().is_some_and(|draft| draft.request == prompt.request) {
                    break;
                }
                let request = &requests[prompt.request];
                begun.par_iter_mut().for_each(|draft: &mut Draft| draft.take(&prompt.logits, request, ends));
                for draft in begun {
                    match draft.finish {
                        Some(_) => done.push(draft),
                        None => rows.push(Row { draft, branch: tree.fork(&prompt.branch) }),
                    }
                }
                if waiting.front().is_some_and(|draft| draft.request == prompt.request) {
                    break;
                }
                tree.release(ready.pop_front().expect("invariant: it was at the front").branch);
            }
            // Every row reads its last token; what is left of the pass reads prompts.
            let (mut batch, mut wanted) = (Batch::default(), Vec::new());
            for row in &mut rows {
                let last = row.draft.tokens[row.draft.tokens.len() - 1];
                tree.append(&mut row.branch, &[last], &mut batch);
                wanted.push(batch.rows() - 1);
            }
            let decoded = rows.len();
            let mut left = READ;
            let mut finished = 0;
            while left > 0 {
                if reading.len() == finished {
                    let more = rows.len() + ready.len() + reading.len() < ROWS;
                    if !more && !rows.is_empty() {
                        break;
                    }
                    let Some(request) = asked.pop_front() else { break };
                    let prefix = &requests[request].prefix;
                    // The last token is read in any case: its logits are wanted.
                    let branch = tree.find(&prefix[..prefix.len() - 1]);
                    read[request] = (prefix.len() - branch.len()) as u64;
                    reading.push(Prompt { request, branch, logits: Vec::new() });
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
                break;
            }
            let states = self.engine.read(&mut tree, &batch, &wanted);
            let logits = self.engine.head(&states); // [wanted, vocab]
            let vocab = self.engine.config().outputs();
            rows.par_iter_mut().zip(logits.par_chunks(vocab)).for_each(|(row, logits)| {
                row.draft.take(logits, &requests[row.draft.request], ends);
            });
            for (mut prompt, logits) in reading.drain(..finished).zip(logits.chunks(vocab).skip(decoded)) {
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
        let kept = tree.capacity() / KEPT;
        tree.trim(kept);
        done.sort_by_key(|draft| (draft.request, draft.candidate));
        (done, read)
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
            let (mut batch, mut wanted, mut targets) = (Batch::default(), Vec::new(), Vec::new());
            let (mut prompts, mut branches, mut counts): (Vec<Branch>, Vec<(Branch, usize)>, Vec<(usize, usize)>) =
                (Vec::new(), Vec::new(), Vec::new());
            let mut last: Option<(&[u32], usize)> = None; // the prompt that was read last, and where its last state is
            let mut taken = 0;
            for number in rest {
                let Continuation { prefix, tokens } = &continuations[*number];
                let known = last.filter(|(prompt, _)| *prompt == &prefix[..]);
                let more = tokens.len() + if known.is_some() { 0 } else { prefix.len() };
                if taken > 0 && batch.rows() + more > READ {
                    break;
                }
                taken += 1;
                let state = match known {
                    Some((_, state)) => state,
                    None => {
                        let mut branch = tree.find(&prefix[..prefix.len() - 1]);
                        let begin = branch.len();
                        tree.append(&mut branch, &prefix[begin..], &mut batch);
                        read += (prefix.len() - begin) as u64;
                        prompts.push(branch);
                        wanted.push(batch.rows() - 1);
                        last = Some((&prefix[..], wanted.len() - 1));
                        wanted.len() - 1
                    }
                };
                let mut branch = tree.fork(&prompts[prompts.len() - 1]);
                let first = batch.rows();
                // The last token predicts nothing that is wanted, so it is not read.
                tree.append(&mut branch, &tokens[..tokens.len() - 1], &mut batch);
                branches.push((branch, prefix.len()));
                counts.push((*number, tokens.len()));
                targets.push((state, tokens[0]));
                for (row, token) in (first..batch.rows()).zip(&tokens[1..]) {
                    targets.push((wanted.len(), *token));
                    wanted.push(row);
                }
            }
            let states = self.engine.read(&mut tree, &batch, &wanted);
            // The head takes states in their order; a prompt's state may be wanted late again.
            let mut sorted: Vec<usize> = (0..targets.len()).collect();
            sorted.sort_by_key(|at| targets[*at].0);
            let in_order: Vec<(usize, u32)> = sorted.iter().map(|at| targets[*at]).collect();
            let mut logps = vec![0.0; targets.len()];
            for (at, logp) in sorted.into_iter().zip(self.engine.logps(&states, &in_order)) {
                logps[at] = logp;
            }
            let mut logps = logps.as_slice();
            for (number, count) in counts {
                let (own, after) = logps.split_at(count);
                scores[number] = own.to_vec();
                logps = after;
            }
            branches.into_iter().for_each(|(branch, kept)| tree.forget(branch, kept));
            prompts.into_iter().for_each(|branch| tree.release(branch));
            rest = &rest[taken..];
        }
        let kept = tree.capacity() / KEPT;
        tree.trim(kept);
        (scores, read)
    }
}
