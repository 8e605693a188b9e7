//! Rollouts of a policy, judged and counted.
//!
//! The seed of a request hangs on the problem and the tokens of the prefix alone, and rollout `i` on `i` besides. So a label
//! depends neither on the order of the questions nor on how they are batched, more rollouts keep the first ones, and two
//! methods that ask about one prefix see the same rollouts. A rollout that was cut by a limit is wrong, not missing, and is
//! counted in a column of its own.

use std::ops::AddAssign;

use ascribe_core::{CoreError, Finish, Mode, Policy, Request, Sampling, Seed, Tokens, Until, Usage};
use serde::{Deserialize, Serialize};

use crate::{ProcessError, Verdict};

/// What says whether a whole response is right. A closure is one.
pub trait Outcome: Send + Sync {
    /// The verdict on `response` to problem number `problem`.
    ///
    /// # Errors
    /// When the response cannot be judged at all.
    fn verdict(&self, problem: u64, response: &[u32]) -> Result<Verdict, CoreError>;
}

impl<F: Fn(u64, &[u32]) -> Result<Verdict, CoreError> + Send + Sync> Outcome for F {
    fn verdict(&self, problem: u64, response: &[u32]) -> Result<Verdict, CoreError> {
        self(problem, response)
    }
}

/// What labelling cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Sequences that the policy advanced: rollouts, and single steps.
    pub policy_calls: u64,
    /// Completions to a stop.
    pub rollouts: u64,
    /// Completions that were cut by a limit.
    pub truncated: u64,
    /// Responses that were judged.
    pub verifier_calls: u64,
    /// Tokens of these responses; what was written down without them had none.
    #[serde(default)]
    pub verifier_tokens: u64,
    /// Tokens of the policy: `scored` and `reused` are its prompts, `generated` is new.
    pub tokens: Usage,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.policy_calls += more.policy_calls;
        self.rollouts += more.rollouts;
        self.truncated += more.truncated;
        self.verifier_calls += more.verifier_calls;
        self.verifier_tokens += more.verifier_tokens;
        self.tokens += more.tokens;
    }
}

impl Spent {
    /// Floating-point operations, `2 P (new + read)`, of a policy with `parameters` parameters.
    pub fn flops(&self, parameters: f64) -> f64 {
        2.0 * parameters * self.tokens.computed() as f64
    }
}

/// Hard caps, held before each batch; `None` is no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most sequences that the policy advances.
    pub policy_calls: Option<u64>,
    /// Most tokens that it may write; a batch counts as its longest possible texts.
    pub new_tokens: Option<u64>,
}

/// A prefix of a response that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Number of the problem.
    pub problem: u64,
    /// Token ids of the problem.
    pub prompt: &'a [u32],
    /// Token ids of the response so far.
    pub prefix: &'a [u32],
    /// Number of rollouts.
    pub n: usize,
    /// Draws another set of rollouts from the same prefix.
    pub again: u64,
}

/// What the rollouts from a prefix came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Rollouts that end right.
    pub correct: u32,
    /// All rollouts.
    pub rollouts: u32,
    /// Rollouts that were cut by a limit.
    pub truncated: u32,
    /// Rollouts whose verdict is not known; they count as wrong.
    pub undecided: u32,
    /// The continuations that end right, in their order.
    pub right: Vec<Tokens>,
    /// The other continuations, in their order.
    pub wrong: Vec<Tokens>,
}

impl Estimate {
    /// The share of rollouts that end right; 0 without any.
    pub fn value(&self) -> f64 {
        f64::from(self.correct) / f64::from(self.rollouts.max(1))
    }

    /// Adds the rollouts of another estimate.
    pub fn join(&mut self, more: Self) {
        self.correct += more.correct;
        self.rollouts += more.rollouts;
        self.truncated += more.truncated;
        self.undecided += more.undecided;
        self.right.extend(more.right);
        self.wrong.extend(more.wrong);
    }
}

/// Texts that a policy wrote for one request, each with why it ended.
pub type Written = Vec<(Tokens, Finish)>;

/// Whether a right continuation counts: problem, prefix, continuation.
type Accepts<'a> = dyn Fn(u64, &[u32], &[u32]) -> bool + Send + Sync + 'a;

/// A policy that completes prefixes, with what judges and what counts.
pub struct Completer<'a> {
    policy: &'a dyn Policy,
    outcome: &'a dyn Outcome,
    accepts: Option<&'a Accepts<'a>>,
    name: String,
    sampling: Sampling,
    max_new: usize,
    seed: Seed,
    limits: Limits,
    spent: Spent,
}

impl<'a> Completer<'a> {
    /// A completer that writes at most `max_new` tokens; `name` travels with the labels.
    pub fn new(policy: &'a dyn Policy, outcome: &'a dyn Outcome, name: &str, max_new: usize, seed: Seed) -> Self {
        Self {
            policy,
            outcome,
            accepts: None,
            name: name.to_owned(),
            sampling: Sampling::default(),
            max_new,
            seed,
            limits: Limits::default(),
            spent: Spent::default(),
        }
    }

    /// The same with another way to sample.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// The same with caps.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same where a right continuation counts only if `accepts` holds of (problem, prefix, continuation): that it uses the
    /// results of the prefix, say.
    pub fn accepting(mut self, accepts: &'a Accepts<'a>) -> Self {
        self.accepts = Some(accepts);
        self
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// The name that travels with the labels.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The root of all randomness.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Most tokens of a problem and its response together.
    pub fn context(&self) -> usize {
        self.policy.capabilities().context
    }

    /// The verdict on a whole response.
    ///
    /// # Errors
    /// When it cannot be judged.
    pub fn judge(&mut self, problem: u64, response: &[u32]) -> Result<Verdict, ProcessError> {
        self.spent.verifier_calls += 1;
        self.spent.verifier_tokens += response.len() as u64;
        Ok(self.outcome.verdict(problem, response)?)
    }

    /// Rollouts from each prefix, to the end of the response; `None` when the caps do not cover them.
    ///
    /// # Errors
    /// When a prefix fills the context, the policy fails or gives another number of candidates, or a response cannot be
    /// judged.
    pub fn estimate(&mut self, asked: &[Asked]) -> Result<Option<Vec<Estimate>>, ProcessError> {
        let Some(replies) = self.ask(asked, Until::End, self.max_new)? else { return Ok(None) };
        let mut estimates = Vec::with_capacity(asked.len());
        for (asked, candidates) in asked.iter().zip(replies) {
            let mut estimate = Estimate::default();
            for (tokens, finish) in candidates {
                let truncated = finish == Finish::Length;
                self.spent.rollouts += 1;
                self.spent.truncated += u64::from(truncated);
                estimate.rollouts += 1;
                estimate.truncated += u32::from(truncated);
                let verdict = match truncated {
                    true => Verdict::Wrong,
                    false => self.judge(asked.problem, &[asked.prefix, &tokens[..]].concat())?,
                };
                estimate.undecided += u32::from(verdict == Verdict::Undecided);
                let accepted = self.accepts.is_none_or(|accepts| accepts(asked.problem, asked.prefix, &tokens[..]));
                if verdict == Verdict::Correct && accepted {
                    estimate.correct += 1;
                    estimate.right.push(tokens);
                } else {
                    estimate.wrong.push(tokens);
                }
            }
            estimates.push(estimate);
        }
        Ok(Some(estimates))
    }

    /// Next steps after a prefix, each with why it ended; `None` when the caps do not cover them.
    ///
    /// # Errors
    /// As [`estimate`](Self::estimate).
    pub fn next_steps(
        &mut self,
        asked: Asked,
        separators: &[u32],
        max_step: usize,
    ) -> Result<Option<Written>, ProcessError> {
        let until = Until::Step(separators.to_vec());
        Ok(self.ask(&[asked], until, max_step)?.and_then(|mut replies| replies.pop()))
    }

    /// Asks the policy, if the caps cover the longest possible answer.
    fn ask(&mut self, asked: &[Asked], until: Until, max_new: usize) -> Result<Option<Vec<Written>>, ProcessError> {
        let calls: u64 = asked.iter().map(|asked| asked.n as u64).sum();
        let within = |cap: Option<u64>, spent: u64, more: u64| cap.is_none_or(|cap| spent.saturating_add(more) <= cap);
        let covered = within(self.limits.policy_calls, self.spent.policy_calls, calls)
            && within(self.limits.new_tokens, self.spent.tokens.generated, calls.saturating_mul(max_new as u64));
        if !covered {
            return Ok(None);
        }
        let context = self.context();
        let mut requests = Vec::with_capacity(asked.len());
        for asked in asked {
            let prefix = Tokens::from(asked.prompt).followed_by(asked.prefix);
            if prefix.len() >= context {
                return Err(CoreError::Context { context, got: prefix.len() }.into());
            }
            let seed = self.seed.child("problem", asked.problem).child("prefix", content(asked.prefix));
            requests.push(Request {
                prefix,
                n: asked.n,
                until: until.clone(),
                mode: Mode::Sample(self.sampling),
                max_new,
                seed: seed.child("rollouts", asked.again),
            });
        }
        let replies = self.policy.propose(&requests)?;
        if replies.len() != requests.len() {
            let (expected, got) = (requests.len(), replies.len());
            return Err(ProcessError::Reply { what: "replies", expected, got });
        }
        let mut answers = Vec::with_capacity(replies.len());
        for (request, reply) in requests.iter().zip(replies) {
            self.spent.tokens += reply.usage;
            self.spent.policy_calls += request.n as u64;
            if reply.candidates.len() != request.n {
                let (expected, got) = (request.n, reply.candidates.len());
                return Err(ProcessError::Reply { what: "candidates", expected, got });
            }
            answers.push(reply.candidates.into_iter().map(|one| (one.tokens, one.finish)).collect());
        }
        Ok(Some(answers))
    }
}

/// A number for the content of a prefix: FNV-1a over the bytes of its ids, which is the same everywhere.
fn content(prefix: &[u32]) -> u64 {
    let bytes = prefix.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
