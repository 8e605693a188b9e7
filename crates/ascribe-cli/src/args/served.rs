//! Options of a model that is served elsewhere.

use std::time::{Duration, Instant};

use anyhow::Context;
use ascribe::core::Seed;
use ascribe::lm::ServedOptions;
use clap::Args;

/// A model that is served elsewhere.
#[derive(Clone, Debug, Args)]
pub struct ServedArgs {
    /// Ask the server at this address (http://host:port), which speaks OpenAI's API, instead of loading a model. Repeatable:
    /// all are asked at once.
    #[arg(long = "endpoint", conflicts_with_all = ["adapter", "weights"])]
    pub endpoints: Vec<String>,
    /// Name of the model at the endpoint; may be left out where there is one.
    #[arg(long, requires = "endpoints")]
    pub served_model: Option<String>,
    /// The environment variable that holds the key of the endpoint.
    #[arg(long, default_value = "OPENAI_API_KEY", requires = "endpoints")]
    pub api_key_env: String,
    /// Requests in flight at each endpoint.
    #[arg(long, default_value_t = 4, requires = "endpoints")]
    pub concurrency: usize,
    /// How often a request is tried at each endpoint.
    #[arg(long, default_value_t = 4, requires = "endpoints")]
    pub attempts: usize,
    /// Longest time for one answer, in seconds.
    #[arg(long, default_value_t = 120.0, requires = "endpoints", allow_negative_numbers = true)]
    pub timeout: f64,
    /// Ask for nothing more after so many seconds; 0 is no limit.
    #[arg(long, default_value_t = 0.0, requires = "endpoints", allow_negative_numbers = true)]
    pub deadline: f64,
    /// Context of the served model in tokens, where its server does not say it or less is wanted.
    #[arg(long, requires = "endpoints")]
    pub context: Option<usize>,
}

impl ServedArgs {
    /// What they say; `None` where no endpoint is named.
    pub fn options(&self, seed: Seed) -> anyhow::Result<Option<ServedOptions>> {
        if self.endpoints.is_empty() {
            return Ok(None);
        }
        let seconds = |name: &str, value: f64| {
            let rule = || format!("{name} must be a number of seconds from 0 up, got {value}");
            Duration::try_from_secs_f64(value).with_context(rule)
        };
        let allowed = seconds("deadline", self.deadline)?;
        let deadline = match allowed.is_zero() {
            true => None,
            false => Some(Instant::now().checked_add(allowed).context("deadline is too far away; leave it out")?),
        };
        Ok(Some(ServedOptions {
            endpoints: self.endpoints.clone(),
            model: self.served_model.clone(),
            key_variable: self.api_key_env.clone(),
            context: self.context,
            concurrency: self.concurrency,
            attempts: self.attempts,
            timeout: seconds("timeout", self.timeout)?,
            deadline,
            seed,
            ..ServedOptions::default()
        }))
    }
}
