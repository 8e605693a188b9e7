//! A decoder as a [`Policy`]: it writes and scores, without gradients.

use ascribe_core::{Capabilities, Continuation, CoreError, Mode, Policy, Reply, Request, Usage};
use burn::module::Module;

use super::config::{DecoderConfig, Head, Positions};
use super::decoder::Decoder;
use super::device;
use super::draft::Draft;
use super::engine::{Engine, KvUsage, Limits, Precision, Runner};
use crate::LmError;

/// A decoder that writes and scores, without gradients.
///
/// On the CPU it is an [`Engine`], which keeps what it has read as a tree by content: a prefix that was read or written
/// before is found again, and the bits of a log-probability depend on its own text alone. One call runs at a time, on all
/// threads of rayon's pool, and others wait for it: call it from plain threads, not from rayon's. On other devices, and
/// where [`Engine::can_run`] says no, it is the [`Decoder`] itself, in batches of prompts of equal length.
pub struct LocalPolicy {
    runs_on: RunsOn,
    config: DecoderConfig,
    ends: Vec<u32>,
    context: usize,
}

enum RunsOn {
    Cpu(Box<Runner>),
    Device(Box<Decoder>),
}

impl LocalPolicy {
    /// A policy over the weights of `decoder` as they are now. It stops at any of the tokens `ends` and reads at most
    /// `context` tokens.
    ///
    /// # Errors
    /// When a weight is a NaN or an infinity, or an adapter says something else once it is merged.
    pub fn new(decoder: &Decoder, ends: &[u32], context: usize) -> Result<Self, LmError> {
        if decoder.is_on_cpu() && Engine::can_run(decoder.config()) {
            let policy = Self::of(Engine::of(decoder, Precision::AsStored)?, ends);
            return Ok(policy.with_context(context));
        }
        let config = decoder.config().clone();
        let runs_on = RunsOn::Device(Box::new(decoder.clone().valid()));
        Ok(Self { runs_on, config, ends: ends.to_vec(), context: 0 }.with_context(context))
    }

    /// A policy over `engine`, which stops at any of the tokens `ends` and reads what the context of the model holds.
    pub fn of(engine: Engine, ends: &[u32]) -> Self {
        let config = engine.config().clone();
        let context = config.context;
        let runs_on = RunsOn::Cpu(Box::new(Runner::new(engine, Limits::default())));
        Self { runs_on, config, ends: ends.to_vec(), context }
    }

    /// The same policy that reads at most `context` tokens; a model whose positions are learned has no more than its own.
    pub fn with_context(mut self, context: usize) -> Self {
        self.context = match self.config.positions {
            Positions::Learned => context.min(self.config.context),
            Positions::Rotary { .. } => context,
        };
        self
    }

    /// The same policy within other limits; on a device other than the CPU they change nothing.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        if let RunsOn::Cpu(runner) = self.runs_on {
            self.runs_on = RunsOn::Cpu(Box::new(Runner::new(runner.into_engine(), limits)));
        }
        self
    }

    /// What the tree of keys and values holds; `None` on a device that keeps none between calls.
    pub fn kv_usage(&self) -> Option<KvUsage> {
        match &self.runs_on {
            RunsOn::Cpu(runner) => Some(runner.usage()),
            RunsOn::Device(_) => None,
        }
    }

    /// Gives up all keys and values that are kept for later calls.
    pub fn clear(&self) {
        if let RunsOn::Cpu(runner) = &self.runs_on {
            runner.clear();
        }
    }

    /// Bytes of the matrices on the CPU; `None` on another device.
    pub fn weight_bytes(&self) -> Option<usize> {
        match &self.runs_on {
            RunsOn::Cpu(runner) => Some(runner.engine().bytes()),
            RunsOn::Device(_) => None,
        }
    }

    /// Checks a prefix that is continued by `given` tokens, or by at least one when none is given.
    fn check(&self, prefix: &[u32], given: &[u32]) -> Result<(), CoreError> {
        if self.config.head != Head::NextToken {
            return Err(CoreError::Unsupported { what: "write or score text: its head is a classifier's" });
        }
        if prefix.is_empty() {
            let got = "an empty prefix".to_owned();
            return Err(CoreError::Shape { rule: "a prompt needs at least one token (begin with the BOS token)", got });
        }
        let vocab = self.config.vocab_size;
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
}

impl Policy for LocalPolicy {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let mut drafts = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            self.check(&request.prefix, &[])?;
            request.check()?;
            // The most likely tokens all come from one row.
            let rows = if request.mode == Mode::Top { request.n.min(1) } else { request.n };
            drafts.extend((0..rows).map(|candidate| Draft::new(number, request, candidate, self.context)));
        }
        let (drafts, read) = match &self.runs_on {
            RunsOn::Cpu(runner) => runner.write(requests, drafts, &self.ends),
            RunsOn::Device(decoder) => {
                let read = requests.iter().map(|request| request.prefix.len() as u64).collect();
                (device::write(decoder, requests, drafts, &self.ends), read)
            }
        };
        let mut replies: Vec<Reply> =
            requests.iter().map(|_| Reply { candidates: Vec::new(), usage: Usage::default() }).collect();
        for draft in drafts {
            let (request, reply) = (&requests[draft.request], &mut replies[draft.request]);
            let scored = if draft.candidate == 0 { read[draft.request] } else { 0 };
            let generated = if request.mode == Mode::Top { 1 } else { draft.tokens.len() as u64 };
            reply.usage += Usage { generated, scored, reused: request.prefix.len() as u64 - scored };
            // Drafts of one request stand in the order of their candidates.
            let candidates = draft.candidates(request.mode, &self.ends);
            if let Some(logp) = candidates.iter().flat_map(|one| &one.logps).find(|logp| !logp.is_finite()) {
                return Err(CoreError::Range {
                    name: "the log-probability of a token that was written",
                    rule: "finite (the logits of this model are too large, or no numbers; take an earlier checkpoint)",
                    got: f64::from(*logp),
                });
            }
            reply.candidates.extend(candidates);
        }
        Ok(replies)
    }

    fn score(&self, continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        let (mut prompts, mut tokens) = (0, 0);
        for given in continuations {
            self.check(&given.prefix, &given.tokens)?;
            prompts += given.prefix.len() as u64;
            tokens += given.tokens.len() as u64;
        }
        let (scores, read) = match &self.runs_on {
            RunsOn::Cpu(runner) => runner.score(continuations),
            RunsOn::Device(decoder) => (device::score(decoder, continuations)?, prompts),
        };
        Ok((scores, Usage { generated: 0, scored: read + tokens, reused: prompts - read }))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: true, top: true, context: self.context }
    }

    fn ends(&self) -> bool {
        !self.ends.is_empty()
    }

    fn vocabulary(&self) -> Option<usize> {
        Some(self.config.vocab_size)
    }
}
