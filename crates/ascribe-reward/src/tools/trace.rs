//! The rounds of a trace and the score at its end.
//!
//! ```text
//! Question, Answer -> (Thought, Action, Action Input -> Observation) x at most n_calls -> Rationale -> score
//! loss of training: CE over the trace's tokens with these weights + 0.5 Bradley-Terry   (the code's 0.5)
//! ```
//! A call that is refused or fails becomes `Observation: error: ...`, so a score comes out in every case; a segment that is no
//! call ends the rounds. What a model goes on to write behind a call is dropped. In training the observations come from the
//! stored trace and no tool runs; they are not taught, because they are the tool's words. Which segments the paper weighs how
//! is our reading of its switches.

use std::ops::Range;

use ascribe_core::{CoreError, Credit, Episode, Reduce, Scorer, Text, Tokens};
use serde::{Deserialize, Serialize};

use super::{Call, FINISHED, LONGEST_INPUT, LONGEST_OUTPUT, Tools, escape, parse_call};
use crate::RewardError;
use crate::error::{option, same_length};
use crate::text::{Encode, TextPolicy, parts};

const OBSERVATION: &str = "Observation:";
const RATIONALE: &str = "Rationale:";
/// What the parts of a trace begin with.
const PARTS: [&str; 3] = ["Thought:", OBSERVATION, RATIONALE];

/// What a part of a trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Segment {
    /// Question and answer.
    Given,
    /// Thought, action and input.
    Call,
    /// What a tool said.
    Observation,
    /// What the model makes of it.
    Rationale,
}

/// A text in segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The whole text.
    pub text: String,
    /// The bytes of each segment, in order and without gaps.
    pub segments: Vec<(Segment, Range<usize>)>,
    /// Calls that gave a result.
    pub calls: usize,
    /// Calls that were refused or failed.
    pub failures: usize,
}

impl Trace {
    /// The start of a trace: a question and the answer that is scored, both escaped.
    pub fn new(question: &str, answer: &str) -> Self {
        let mut trace = Self::default();
        trace.push(Segment::Given, format!("Question: {}\nAnswer: {}\n", escape(question), escape(answer)));
        trace
    }

    /// The same with what was written behind question and answer: calls with what the tools said, and a rationale, each part
    /// under its mark. Text of a thought, an observation and the rationale is escaped, as it is when a model writes them.
    ///
    /// # Errors
    /// When a call is malformed or calls none of `tools`, an input or an observation is longer than tools take or give, an
    /// observation stands behind no call or is missing, something is called after `Finished`, or there is no rationale at the end.
    pub fn followed_by(mut self, written: &str, tools: &[&str]) -> Result<Self, RewardError> {
        let malformed = |why: &str| RewardError::Tool { tool: "trace".to_owned(), why: why.to_owned() };
        let mut parts: Vec<String> = Vec::new();
        for line in written.trim().lines() {
            let begins = PARTS.iter().any(|mark| line.trim_start().starts_with(mark));
            // The rationale goes on to the end.
            let ended = parts.last().is_some_and(|part| part.starts_with(RATIONALE));
            if begins && !ended {
                parts.push(line.trim_start().to_owned());
            } else if let Some(part) = parts.last_mut() {
                part.push('\n');
                part.push_str(line);
            } else {
                return Err(malformed("it begins with neither `Thought:` nor `Rationale:`"));
            }
        }
        let (mut open, mut finished, mut complete) = (false, false, false);
        for part in parts {
            if let Some(text) = part.strip_prefix(RATIONALE) {
                if open {
                    return Err(malformed("a call has no `Observation:` behind it"));
                }
                self.push(Segment::Rationale, format!("Rationale: {}", escape(text.trim())));
                complete = true;
            } else if let Some(text) = part.strip_prefix(OBSERVATION) {
                if !open {
                    return Err(malformed("an `Observation:` stands behind no call"));
                }
                if text.trim().len() > LONGEST_OUTPUT {
                    return Err(malformed("an `Observation:` has more than 1024 bytes"));
                }
                let failed = text.trim_start().starts_with("error:");
                self.calls += usize::from(!failed);
                self.failures += usize::from(failed);
                self.push(Segment::Observation, format!("Observation: {}\n", escape(text.trim())));
                open = false;
            } else {
                if open || finished {
                    return Err(malformed("a call stands where an `Observation:` or the `Rationale:` belongs"));
                }
                let call = parse_call(&part)?;
                match &call {
                    Call::Tool { name, .. } if !tools.contains(&name.as_str()) => {
                        let why = format!("there is no such tool; known: {}", tools.join(", "));
                        return Err(RewardError::Tool { tool: name.clone(), why });
                    }
                    Call::Tool { input, .. } if input.len() > LONGEST_INPUT => {
                        return Err(malformed("an `Action Input:` has more than 256 bytes"));
                    }
                    Call::Tool { .. } => open = true,
                    Call::Finished { .. } => finished = true,
                }
                self.push_call(&call);
            }
        }
        match complete {
            true => Ok(self),
            false => Err(malformed("there is no `Rationale:` at its end")),
        }
    }

    fn push_call(&mut self, call: &Call) {
        let text = match call {
            Call::Finished { thought } => format!("Thought: {}\nAction: Finished\n", escape(thought)),
            Call::Tool { thought, name, input } => {
                let lines = [("Thought", thought), ("Action", name), ("Action Input", input)];
                lines.map(|(mark, text)| format!("{mark}: {}\n", escape(text))).concat()
            }
        };
        self.push(Segment::Call, text);
    }

    fn push(&mut self, segment: Segment, text: String) {
        let start = self.text.len();
        self.text.push_str(&text);
        self.segments.push((segment, start..self.text.len()));
    }
}

/// What each token of a trace counts for in the language-model loss, by its segment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceWeights {
    /// Of thoughts and calls.
    pub call: f32,
    /// Of observations.
    pub observation: f32,
    /// Of the rationale.
    pub rationale: f32,
}

impl Default for TraceWeights {
    fn default() -> Self {
        Self { call: 1.0, observation: 0.0, rationale: 1.0 }
    }
}

impl TraceWeights {
    /// The weight of each token, from the bytes of each; a token belongs to the segment in which it begins.
    pub fn of(&self, trace: &Trace, spans: &[Range<usize>]) -> Vec<f32> {
        let weight = |span: &Range<usize>| {
            let inside = |(_, bytes): &&(Segment, Range<usize>)| bytes.contains(&span.start);
            match trace.segments.iter().find(inside) {
                Some((Segment::Call, _)) => self.call,
                Some((Segment::Observation, _)) => self.observation,
                Some((Segment::Rationale, _)) => self.rationale,
                Some((Segment::Given, _)) | None => 0.0,
            }
        };
        spans.iter().map(weight).collect()
    }
}

/// Writes traces: a model, its tools, and the limit of rounds.
pub struct Tracer<'a> {
    writer: TextPolicy<'a>,
    tools: &'a Tools<'a>,
    n_calls: usize,
}

impl<'a> Tracer<'a> {
    /// A tracer with at most `n_calls` rounds (4 in the paper).
    ///
    /// # Errors
    /// When more than 64 rounds are asked for.
    pub fn new(writer: TextPolicy<'a>, tools: &'a Tools<'a>, n_calls: usize) -> Result<Self, RewardError> {
        option("n_calls", "at most 64", n_calls as f64, n_calls <= 64)?;
        Ok(Self { writer, tools, n_calls })
    }

    /// The trace of each (question, answer).
    ///
    /// # Errors
    /// When the model cannot be asked. A tool that fails is no error.
    pub fn trace(&self, given: &[(&str, &str)]) -> Result<Vec<Trace>, CoreError> {
        let mut traces: Vec<Trace> = given.iter().map(|(question, answer)| Trace::new(question, answer)).collect();
        let mut open: Vec<usize> = (0..traces.len()).collect();
        for _ in 0..self.n_calls {
            if open.is_empty() {
                break;
            }
            let prompts: Vec<String> = open.iter().map(|&at| traces[at].text.clone()).collect();
            let written = self.writer.answer(&prompts)?;
            same_length("the segments", open.len(), written.len())?;
            let mut left = Vec::with_capacity(open.len());
            for (&at, segment) in open.iter().zip(&written) {
                if self.round(&mut traces[at], segment) {
                    left.push(at);
                }
            }
            open = left;
        }
        let prompts: Vec<String> = traces.iter().map(|trace| format!("{}Rationale:", trace.text)).collect();
        let rationales = if prompts.is_empty() { Vec::new() } else { self.writer.answer(&prompts)? };
        same_length("the rationales", traces.len(), rationales.len())?;
        for (trace, rationale) in traces.iter_mut().zip(rationales) {
            trace.push(Segment::Rationale, format!("Rationale: {}", escape(rationale.trim())));
        }
        Ok(traces)
    }

    /// Takes what the model wrote; whether it may call again.
    fn round(&self, trace: &mut Trace, written: &str) -> bool {
        let observation = match parse_call(first_call(written)) {
            Ok(call) => {
                trace.push_call(&call);
                match &call {
                    Call::Finished { .. } => return false,
                    Call::Tool { name, input, .. } => self.tools.run(name, input),
                }
            }
            Err(error) => {
                trace.push(Segment::Call, format!("{}\n", escape(written.trim())));
                trace.failures += 1;
                trace.push(Segment::Observation, format!("Observation: error: {}\n", escape(&error.to_string())));
                return false;
            }
        };
        let observation = match observation {
            Ok(result) => {
                trace.calls += 1;
                result
            }
            Err(error) => {
                trace.failures += 1;
                format!("error: {error}")
            }
        };
        trace.push(Segment::Observation, format!("Observation: {}\n", escape(&observation)));
        true
    }
}

/// What was written, up to the end of its first call: what stands behind it is for the tool to say.
fn first_call(written: &str) -> &str {
    let mut end = 0;
    for line in written.split_inclusive('\n') {
        end += line.len();
        let line = line.trim();
        let done = line.strip_prefix("Action:").is_some_and(|name| name.trim() == FINISHED);
        if done || line.starts_with("Action Input:") {
            return &written[..end];
        }
    }
    written
}

/// A scorer that writes a trace for each response and scores the trace.
pub struct ToolReward<'a> {
    /// Writes the traces.
    pub tracer: Tracer<'a>,
    /// Text to token ids, for the scorer, with nothing added: the two parts of a trace are encoded apart, and a token that
    /// begins a text would stand in the middle.
    pub encode: &'a Encode<'a>,
    /// What scores a trace: an episode whose prompt is the given part and whose response is the rest.
    pub scorer: &'a dyn Scorer,
}

impl Scorer for ToolReward<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let given = episodes.iter().map(parts).collect::<Result<Vec<_>, _>>()?;
        let traces = self.tracer.trace(&given)?;
        let read = |trace: &Trace| -> Result<Episode, CoreError> {
            let start = trace.segments.first().map_or(0, |(_, bytes)| bytes.end);
            let encode = |text: &str| -> Result<Tokens, CoreError> { (self.encode)(text) };
            let (prompt, response) = (encode(&trace.text[..start])?, encode(&trace.text[start..])?);
            // A reader of text finds the two parts; where a token ends inside them is not known here.
            let of_prompt = std::iter::repeat_n(0..start, prompt.len());
            let spans = of_prompt.chain(std::iter::repeat_n(start..trace.text.len(), response.len())).collect();
            Episode::new(&prompt, &response).with_text(Text { text: trace.text.clone(), spans })
        };
        let read = traces.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let credits = self.scorer.score(&read)?;
        same_length("the scores", read.len(), credits.len())?;
        let one = |(credit, episode): (&Credit, &Episode)| credit.to_sequence(episode, Reduce::Last);
        credits.iter().zip(&read).map(|both| one(both).map(Credit::sequence)).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;

    use super::super::{Calculator, Table, Tool};
    use super::*;
    use crate::text::tests::{Scripted, decode, encode, episode};

    /// A model that checks the answer by the calculator, once, and repeats what it said.
    fn checks(text: &str) -> String {
        let field = |mark: &str| {
            let (_, rest) = text.rsplit_once(mark).unwrap_or_default();
            rest.lines().next().unwrap_or_default().trim().to_owned()
        };
        if text.ends_with("Rationale:") {
            return format!("The tool says {}.", field("\nObservation:"));
        }
        if text.contains("\nObservation:") {
            return "Thought: It is settled.\nAction: Finished".to_owned();
        }
        let (question, answer) = (field("Question:"), field("\nAnswer:"));
        format!("Thought: I check.\nAction: Calculator\nAction Input: {question}={answer}")
    }

    fn trace(answer: fn(&str) -> String, n_calls: usize, given: (&str, &str)) -> Trace {
        let policy = Scripted { answer, logp: |_: &str, _: &str| 0.0_f32 };
        let writer = TextPolicy { policy: &policy, encode: &encode, decode: &decode, max_new: 99 };
        let table = Table::new(&[("France", "Paris")]).unwrap();
        let tools = Tools::new(vec![("Calculator", &Calculator), ("Table", &table as &dyn Tool)]).unwrap();
        let traces = Tracer::new(writer, &tools, n_calls).unwrap().trace(&[given]).unwrap();
        traces.into_iter().next().unwrap()
    }

    #[test]
    fn a_trace_by_hand() {
        let trace = trace(checks, 4, ("17 * 3", "51"));
        let expected = "Question: 17 * 3\nAnswer: 51\nThought: I check.\nAction: Calculator\nAction Input: 17 * 3=51\n\
                        Observation: right\nThought: It is settled.\nAction: Finished\nRationale: The tool says right.";
        assert_eq!((trace.text.as_str(), trace.calls, trace.failures), (expected, 1, 0));
        let kinds: Vec<Segment> = trace.segments.iter().map(|(segment, _)| *segment).collect();
        use Segment::{Call, Given, Observation, Rationale};
        assert_eq!(kinds, [Given, Call, Observation, Call, Rationale]);
        // Segments lie end to end, and tokens count by the one in which they begin.
        let ends: Vec<usize> = trace.segments.iter().map(|(_, bytes)| bytes.end).collect();
        assert!(trace.segments.iter().skip(1).zip(&ends).all(|((_, bytes), end)| bytes.start == *end));
        let spans: Vec<_> = trace.segments.iter().map(|(_, bytes)| bytes.start..bytes.start + 1).collect();
        assert_eq!(TraceWeights::default().of(&trace, &spans), [0.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_failure_is_an_observation() {
        let unknown = |text: &str| match text.ends_with("Rationale:") {
            true => "unsure".to_owned(),
            false => "Thought: a\nAction: Shell\nAction Input: ls".to_owned(),
        };
        let shell = trace(unknown, 2, ("q", "a"));
        assert!(
            shell.text.contains("Observation: error: tool `Shell`: there is no such tool; known: Calculator, Table")
        );
        assert_eq!((shell.calls, shell.failures), (0, 2), "and it may try again, up to the limit");
        let malformed = trace(|_| "I just think.".to_owned(), 4, ("q", "a"));
        assert!(malformed.text.contains("Observation: error:") && malformed.text.ends_with("Rationale: I just think."));
        assert_eq!(malformed.failures, 1, "a segment that is no call ends the rounds");
    }

    #[test]
    fn what_stands_behind_a_call_is_for_the_tool_to_say() {
        let eager = |text: &str| match text.ends_with("Rationale:") {
            true => "enough".to_owned(),
            false => {
                "Thought: a\nAction: Calculator\nAction Input: 1 + 1\nObservation: 3\nRationale: it is 3".to_owned()
            }
        };
        let trace = trace(eager, 1, ("q", "a"));
        assert!(trace.text.contains("Observation: 2\n") && !trace.text.contains('3'), "{}", trace.text);
    }

    #[test]
    fn a_stored_trace_is_the_trace_that_was_written() {
        let written = trace(checks, 4, ("17 * 3", "51"));
        let given = || Trace::new("17 * 3", "51");
        let start = given().text.len();
        let read = given().followed_by(&written.text[start..], &["Calculator"]).unwrap();
        assert_eq!(read, written);
        // Without any call, and with breaks and brackets in the texts.
        let read = given().followed_by("Rationale: 5 < 6\nThought: so", &[]).unwrap();
        assert!(read.text.ends_with("\nRationale: 5 &lt; 6\nThought&#58; so"), "{}", read.text);
        let call = "Thought: a\nAction: Calculator\nAction Input: 1 + 1\n";
        let done = "Thought: b\nAction: Finished\n";
        for (written, said) in [
            (String::new(), "no `Rationale:` at its end"),
            ("It is right.".to_owned(), "begins with neither"),
            (format!("{call}Rationale: a"), "no `Observation:` behind it"),
            (format!("{call}{call}Observation: 2\nRationale: a"), "a call stands where"),
            (format!("{call}Observation: {}\nRationale: a", "x".repeat(1025)), "more than 1024 bytes"),
            (format!("{}Observation: 2\nRationale: a", call.replace("1 + 1", &"1".repeat(257))), "more than 256 bytes"),
            (format!("{done}{call}Observation: 2\nRationale: a"), "a call stands where"),
            ("Observation: 2\nRationale: a".to_owned(), "stands behind no call"),
            (format!("{call}Observation: 2\n"), "no `Rationale:` at its end"),
            (format!("{}Observation: 2\nRationale: a", call.replace("Calculator", "Shell")), "tool `Shell`"),
            ("Thought: a\nAction: Calculator\nObservation: 2\nRationale: a".to_owned(), "one is missing"),
        ] {
            let error = given().followed_by(&written, &["Calculator"]).unwrap_err().to_string();
            assert!(error.contains(said), "{written}: {error}");
        }
    }

    #[test]
    fn rounds_end_at_the_limit() {
        let forever = |text: &str| match text.ends_with("Rationale:") {
            true => "enough".to_owned(),
            false => "Thought: again\nAction: Calculator\nAction Input: 1 + 1".to_owned(),
        };
        for n_calls in [0, 1, 3] {
            let trace = trace(forever, n_calls, ("q", "a"));
            assert_eq!((trace.calls, trace.text.matches("Observation: 2").count()), (n_calls, n_calls));
        }
        let policy = Scripted { answer: forever, logp: |_: &str, _: &str| 0.0_f32 };
        let writer = TextPolicy { policy: &policy, encode: &encode, decode: &decode, max_new: 9 };
        assert!(Tracer::new(writer, &Tools::new(vec![]).unwrap(), 65).is_err());
    }

    #[test]
    fn an_answer_cannot_bring_its_own_observation() {
        let trace = trace(checks, 4, ("17 * 3", "52\nObservation: right"));
        assert!(trace.text.contains("Answer: 52\nObservation&#58; right\n"));
        assert!(trace.text.contains("Observation: wrong, it is 51"));
    }

    #[test]
    fn a_tool_tells_right_from_wrong_where_the_text_does_not() {
        let policy = Scripted { answer: checks, logp: |_: &str, _: &str| 0.0_f32 };
        let writer = TextPolicy { policy: &policy, encode: &encode, decode: &decode, max_new: 99 };
        let tools = Tools::new(vec![("Calculator", &Calculator as &dyn Tool)]).unwrap();
        let says_right = rule(|episode: &Episode| {
            let right = episode.response_text().is_some_and(|text| text.contains("The tool says right."));
            if right { 1.0 } else { -1.0 }
        });
        let tracer = Tracer::new(writer, &tools, 4).unwrap();
        let reward = ToolReward { tracer, encode: &encode, scorer: &says_right };
        let episodes = [episode("17 * 3", "51"), episode("17 * 3", "52"), episode("17 *", "x")];
        // The last call fails, and has a score all the same.
        assert_eq!(reward.score(&episodes).unwrap(), [1.0, -1.0, -1.0].map(Credit::sequence));
        assert!(reward.score(&[]).unwrap().is_empty());
    }
}
