//! Rewards of a model that may use tools before it scores: Themis, "Tool-Augmented Reward Modeling", arXiv:2310.01045.
//!
//! A trace is the question and the answer, then rounds of thought, call and observation, then a rationale, at whose end the
//! head is read. Tools are local functions of text: no network, no shell; the work of those here is bounded by the length of
//! their input, and a call that took too long counts as one that failed.

mod calculator;
mod calendar;
mod call;
mod table;
mod trace;

pub use calculator::Calculator;
pub use calendar::Calendar;
pub use call::{Call, FINISHED, escape, parse_call};
pub use table::Table;
pub use trace::{Segment, ToolReward, Trace, TraceWeights, Tracer};

use std::time::{Duration, Instant};

use crate::RewardError;

/// A local function of text that a model may call by name.
pub trait Tool: Send + Sync {
    /// The result for this input.
    ///
    /// # Errors
    /// When the input is not understood, or there is no result.
    fn run(&self, input: &str) -> Result<String, RewardError>;
}

impl<F: Fn(&str) -> Result<String, RewardError> + Send + Sync> Tool for F {
    fn run(&self, input: &str) -> Result<String, RewardError> {
        self(input)
    }
}

/// Most bytes of an input, unless other limits are set.
pub const LONGEST_INPUT: usize = 256;
/// Most bytes of a result, unless other limits are set.
pub const LONGEST_OUTPUT: usize = 1024;

/// Most time of a call, unless another limit is set.
pub const LONGEST_CALL: Duration = Duration::from_secs(10);

/// The tools that a model may call.
pub struct Tools<'a> {
    tools: Vec<(&'a str, &'a dyn Tool)>,
    longest_input: usize,
    longest_output: usize,
    longest_call: Duration,
}

impl<'a> Tools<'a> {
    /// These tools by name, with inputs of at most 256 bytes ([`LONGEST_INPUT`]), results of at most 1024
    /// ([`LONGEST_OUTPUT`]), and calls of at most 10 seconds ([`LONGEST_CALL`]).
    ///
    /// # Errors
    /// When a name is empty, stands twice, has a line break, or is the word that ends a trace.
    pub fn new(tools: Vec<(&'a str, &'a dyn Tool)>) -> Result<Self, RewardError> {
        for (at, (name, _)) in tools.iter().enumerate() {
            let twice = tools[..at].iter().any(|(other, _)| other == name);
            if twice || name.trim().is_empty() || name.trim() != *name || name.contains('\n') || *name == FINISHED {
                let rule = "a tool needs a name of its own, on one line, which is not `Finished`";
                return Err(RewardError::Shape { rule, got: format!("`{name}`") });
            }
        }
        let (longest_input, longest_output) = (LONGEST_INPUT, LONGEST_OUTPUT);
        Ok(Self { tools, longest_input, longest_output, longest_call: LONGEST_CALL })
    }

    /// The same with other limits, in bytes.
    pub fn with_limits(mut self, input: usize, output: usize) -> Self {
        (self.longest_input, self.longest_output) = (input, output);
        self
    }

    /// The same with another limit on the time of a call. A call runs to its end, and its result is dropped when it comes late.
    pub fn with_time_limit(mut self, longest: Duration) -> Self {
        self.longest_call = longest;
        self
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.tools.iter().map(|(name, _)| *name)
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// When there is no such tool, input or result are too long, the tool fails, or its result comes late.
    pub fn run(&self, name: &str, input: &str) -> Result<String, RewardError> {
        let fault = |why: String| RewardError::Tool { tool: name.to_owned(), why };
        let Some((_, tool)) = self.tools.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = self.names().collect();
            return Err(fault(format!("there is no such tool; known: {}", names.join(", "))));
        };
        if input.len() > self.longest_input {
            return Err(fault(format!(
                "the input has {} bytes, at most {} are taken",
                input.len(),
                self.longest_input
            )));
        }
        let start = Instant::now();
        let result = tool.run(input)?;
        if start.elapsed() > self.longest_call {
            let most = self.longest_call.as_secs_f64();
            return Err(fault(format!("the call took longer than {most} seconds, so its result is dropped")));
        }
        if result.len() > self.longest_output {
            return Err(fault(format!(
                "the result has {} bytes, at most {} are given",
                result.len(),
                self.longest_output
            )));
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_held_to_names_and_limits() {
        let echo = |input: &str| -> Result<String, RewardError> { Ok(input.repeat(2)) };
        let tools = Tools::new(vec![("Echo", &echo)]).unwrap().with_limits(4, 6);
        assert_eq!(tools.run("Echo", "abc").unwrap(), "abcabc");
        for (name, input, why) in [
            ("echo", "a", "tool `echo`: there is no such tool; known: Echo"),
            ("Echo", "abcde", "tool `Echo`: the input has 5 bytes, at most 4 are taken"),
            ("Echo", "abcd", "tool `Echo`: the result has 8 bytes, at most 6 are given"),
        ] {
            assert_eq!(tools.run(name, input).unwrap_err().to_string(), why);
        }
        let late = |input: &str| -> Result<String, RewardError> {
            std::thread::sleep(Duration::from_millis(30));
            Ok(input.to_owned())
        };
        let tools = |limit| Tools::new(vec![("Late", &late as &dyn Tool)]).unwrap().with_time_limit(limit);
        assert_eq!(tools(Duration::from_secs(3600)).run("Late", "a").unwrap(), "a");
        assert_eq!(
            tools(Duration::from_millis(5)).run("Late", "a").unwrap_err().to_string(),
            "tool `Late`: the call took longer than 0.005 seconds, so its result is dropped"
        );
        for names in [vec![""], vec!["A", "A"], vec!["Finished"], vec!["a\nb"], vec![" a"]] {
            let tools: Vec<(&str, &dyn Tool)> = names.into_iter().map(|name| (name, &echo as &dyn Tool)).collect();
            assert!(Tools::new(tools).is_err());
        }
    }
}
