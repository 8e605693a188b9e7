//! Rewards of a model that may use tools before it scores: Themis, "Tool-Augmented Reward Modeling", arXiv:2310.01045.
//!
//! A trace is the question and the answer, then rounds of thought, call and observation, then a rationale, at whose end the
//! head is read. Tools are local functions of text: no network, no shell, no clock; the work of those here is bounded by the
//! length of their input. For tools of one's own the caller may bring a clock and a limit on the time of a call.

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

use crate::RewardError;
use crate::error::option;

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

/// A limit on the time of a call, in seconds, and the clock that it is held to.
type TimeLimit<'a> = (f64, &'a (dyn Fn() -> f64 + Sync));

/// The tools that a model may call.
pub struct Tools<'a> {
    tools: Vec<(&'a str, &'a dyn Tool)>,
    longest_input: usize,
    longest_output: usize,
    longest_call: Option<TimeLimit<'a>>,
}

impl<'a> Tools<'a> {
    /// These tools by name, with inputs of at most 256 bytes ([`LONGEST_INPUT`]) and results of at most 1024
    /// ([`LONGEST_OUTPUT`]).
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
        Ok(Self { tools, longest_input, longest_output, longest_call: None })
    }

    /// The same with other limits, in bytes.
    pub fn with_limits(mut self, input: usize, output: usize) -> Self {
        (self.longest_input, self.longest_output) = (input, output);
        self
    }

    /// The same with a limit on the time of a call, in seconds of `clock`. A call runs to its end, and one that took longer
    /// counts as one that failed.
    ///
    /// # Errors
    /// When the limit is not finite and above 0.
    pub fn with_time_limit(mut self, seconds: f64, clock: &'a (dyn Fn() -> f64 + Sync)) -> Result<Self, RewardError> {
        option("the time limit of a call", "finite and above 0", seconds, 0.0 < seconds && seconds.is_finite())?;
        self.longest_call = Some((seconds, clock));
        Ok(self)
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
        let start = self.longest_call.map_or(0.0, |(_, clock)| clock());
        let result = tool.run(input)?;
        if let Some((most, clock)) = self.longest_call {
            let took = clock() - start;
            if took > most {
                return Err(fault(format!("the call took {took} seconds, at most {most} are given")));
            }
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
    use std::sync::Mutex;

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
        for names in [vec![""], vec!["A", "A"], vec!["Finished"], vec!["a\nb"], vec![" a"]] {
            let tools: Vec<(&str, &dyn Tool)> = names.into_iter().map(|name| (name, &echo as &dyn Tool)).collect();
            assert!(Tools::new(tools).is_err());
        }
    }

    #[test]
    fn a_call_that_takes_too_long_has_failed() {
        // A clock that a call of `n` seconds moves by n.
        let now = Mutex::new(5.0_f64);
        let clock = || *now.lock().unwrap();
        let wait = |input: &str| -> Result<String, RewardError> {
            *now.lock().unwrap() += input.parse::<f64>().unwrap();
            Ok("done".to_owned())
        };
        let tools = Tools::new(vec![("Wait", &wait)]).unwrap().with_time_limit(2.5, &clock).unwrap();
        assert_eq!(tools.run("Wait", "2.5").unwrap(), "done");
        let late = tools.run("Wait", "3").unwrap_err().to_string();
        assert_eq!(late, "tool `Wait`: the call took 3 seconds, at most 2.5 are given");
        assert_eq!(Tools::new(vec![("Wait", &wait)]).unwrap().run("Wait", "1000").unwrap(), "done");
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let tools = Tools::new(vec![("Wait", &wait)]).unwrap();
            let refused = tools.with_time_limit(seconds, &clock).err().unwrap().to_string();
            assert!(refused.contains("the time limit of a call must be finite and above 0"), "{refused}");
        }
    }
}
