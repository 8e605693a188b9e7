//! Where a model is served, and how patiently it is asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ascribe_core::Seed;

use super::Dialect;
use crate::LmError;

/// Where a model is served, and how patiently it is asked.
///
/// A request that fails in a way that may pass (no connection, no whole answer, 408, 429, 5xx, half a JSON) is asked again,
/// at the endpoint that failed it least. An endpoint that fails rests before anything is asked of it again: as long as its
/// `Retry-After` says, or `backoff` doubled at each failure in a row and shortened by up to half, at random.
#[derive(Clone, Debug)]
pub struct ServedOptions {
    /// Addresses such as `http://127.0.0.1:8080`, with or without `/v1` at the end. All are asked at once and have to serve
    /// the same model.
    pub endpoints: Vec<String>,
    /// Name of the model at the endpoints; `None` takes the only one that is served there.
    pub model: Option<String>,
    /// The environment variable that holds the key. The key itself stands in no option, message or log.
    pub key_variable: String,
    /// What the servers understand; `None` asks them.
    pub dialect: Option<Dialect>,
    /// Longest prefix and continuation together, where a server does not say it or less is wanted.
    pub context: Option<usize>,
    /// Requests in flight at one endpoint, at most 1024: each has a thread.
    pub concurrency: usize,
    /// How often a request is tried at one endpoint. An endpoint that fails so often in a row is given up for this call.
    pub attempts: usize,
    /// Longest time for one answer.
    pub timeout: Duration,
    /// Nothing is asked after this, and nothing in flight lasts longer.
    pub deadline: Option<Instant>,
    /// First rest of an endpoint that failed.
    pub backoff: Duration,
    /// Longest rest; an endpoint that asks for a longer one is given up for this call.
    pub longest_rest: Duration,
    /// Sampled candidates that one HTTP request asks for. With 1, a candidate depends on its own stream alone; more of them
    /// cost a server less where it bills or reads the prompt for each request.
    pub choices_per_request: usize,
    /// Root of the random part of rests.
    pub seed: Seed,
    /// Set it to end all calls: what is in flight ends by its time limit, the rest is not asked.
    pub cancel: Arc<AtomicBool>,
}

impl Default for ServedOptions {
    /// No endpoint, the key in `OPENAI_API_KEY` if it is set, 4 requests in flight, 4 attempts, 120 s an answer.
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            model: None,
            key_variable: KEY_VARIABLE.into(),
            dialect: None,
            context: None,
            concurrency: 4,
            attempts: 4,
            timeout: Duration::from_secs(120),
            deadline: None,
            backoff: Duration::from_millis(500),
            longest_rest: Duration::from_secs(60),
            choices_per_request: 1,
            seed: Seed(0),
            cancel: Arc::default(),
        }
    }
}

/// Where the key stands unless another variable is named.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// Most requests in flight at one endpoint. More threads than the machine gives would be a panic.
const MOST_AT_ONCE: usize = 1024;

impl ServedOptions {
    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), LmError> {
        let refuse = |why: String| Err(LmError::Served { why });
        if self.endpoints.is_empty() {
            return refuse("at least one endpoint is needed; give an address such as http://127.0.0.1:8080".into());
        }
        for (name, value) in [
            ("concurrency", self.concurrency),
            ("attempts", self.attempts),
            ("choices_per_request", self.choices_per_request),
        ] {
            if value == 0 {
                return refuse(format!("{name} must be at least 1, got 0"));
            }
        }
        if self.concurrency > MOST_AT_ONCE {
            let got = self.concurrency;
            return refuse(format!("concurrency must be at most {MOST_AT_ONCE} (a thread each), got {got}; lower it"));
        }
        if self.timeout.is_zero() {
            return refuse("timeout must be above 0 s, got 0; nothing could be answered".into());
        }
        if self.context.is_some_and(|context| context < 2) {
            return refuse("context must be at least 2 (a token of the prompt and one that is written)".into());
        }
        Ok(())
    }

    /// The key, if there is one.
    pub(super) fn key(&self) -> Result<Option<String>, LmError> {
        let key = std::env::var(&self.key_variable).ok();
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        if key.is_none() && self.key_variable != KEY_VARIABLE {
            let why =
                format!("the environment variable {} holds no key; set it, or name another one", self.key_variable);
            return Err(LmError::Served { why });
        }
        Ok(key)
    }
}
