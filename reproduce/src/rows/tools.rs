//! Themis: a reward model that may call a calculator before it scores.
//!
//! Right and wrong answers to arithmetic questions. Both arms are linear heads on the words of a text, trained by Bradley-Terry:
//! without tools the text is question and answer, with tools it is the trace that the runtime makes of them, whose calls are
//! parsed and run by the calculator. A rule writes the calls, where the paper has a tuned model.

use anyhow::Result;
use ascribe::core::{Candidate, Capabilities, CoreError, Finish, Policy, Reply, Request, Seed, Tokens, Usage};
use ascribe::reward::TextPolicy;
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::reward::tools::{Calculator, Tool, Tools, Tracer};
use rand::RngExt;

use crate::heads::{Head, Pair, Sample, Training, Widths, train};
use crate::row::{Claim, Figures, Row};

const PAIRS: usize = 300;
const BUCKETS: usize = 512;

/// Themis's claims.
pub const ROW: Row = Row {
    name: "tools",
    paper: "Tool-Augmented Reward Modeling, arXiv:2310.01045",
    setting: "300 pairs of a right and a wrong answer to sums, differences and products of two-digit numbers, 300 held out; linear \
              heads on hashed words; calls are written by a rule and run by the calculator",
    seeds: 5,
    claims: &[
        Claim { says: "with the calculator more pairs are ordered", more: "with tools", less: "without tools" },
        Claim { says: "with the calculator nearly all pairs are ordered", more: "with tools", less: "95 %" },
        Claim { says: "without it a reward model hardly beats chance", more: "60 %", less: "without tools" },
    ],
    tried: "",
    run,
};

/// Writes the calls of a trace: one to the calculator, then no more, then what it said.
struct Checks;

impl Checks {
    fn write(text: &str) -> String {
        let field = |mark: &str| {
            let (_, rest) = text.rsplit_once(mark).unwrap_or_default();
            rest.lines().next().unwrap_or_default().trim().to_owned()
        };
        if text.ends_with("Rationale:") {
            return format!("The answer is {}.", field("\nObservation:"));
        }
        if text.contains("\nObservation:") {
            return "Thought: It is settled.\nAction: Finished".to_owned();
        }
        let (question, answer) = (field("Question:"), field("\nAnswer:"));
        format!("Thought: I check.\nAction: Calculator\nAction Input: {question} = {answer}")
    }
}

impl Policy for Checks {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| -> Result<Reply, CoreError> {
            let tokens = encode(&Self::write(&decode(&request.prefix)?))?;
            let logps = vec![0.0; tokens.len()];
            let candidates = vec![Candidate { tokens, logps, finish: Finish::End }];
            Ok(Reply { candidates, usage: Usage::default() })
        };
        requests.iter().map(reply).collect()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: usize::MAX }
    }
}

/// A token a byte.
fn encode(text: &str) -> Result<Tokens, CoreError> {
    Ok(text.bytes().map(u32::from).collect())
}

fn decode(ids: &[u32]) -> Result<String, CoreError> {
    Ok(ids.iter().map(|id| char::from(*id as u8)).collect())
}

/// How often each word occurs, by the bucket of its hash.
fn words(text: &str) -> Vec<f64> {
    let mut counts = vec![0.0; BUCKETS];
    for word in text.split_whitespace() {
        // FNV-1a.
        let hash = word
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        counts[(hash % BUCKETS as u64) as usize] += 1.0;
    }
    counts
}

/// A question, its answer, and a wrong one.
fn question(stream: &mut impl rand::Rng) -> (String, i64, i64) {
    let (a, b): (i64, i64) = (stream.random_range(10..100), stream.random_range(10..100));
    let (operator, right) = match stream.random_range(0..3) {
        0 => ('+', a + b),
        1 => ('-', a - b),
        _ => ('*', a * b),
    };
    let off: i64 = stream.random_range(1..10);
    let wrong = if stream.random::<f64>() < 0.5 { right + off } else { right - off };
    (format!("{a} {operator} {b}"), right, wrong)
}

fn run(seed: Seed) -> Result<Figures> {
    let tools = Tools::new(vec![("Calculator", &Calculator as &dyn Tool)])?;
    let writer = TextPolicy { policy: &Checks, encode: &encode, decode: &decode, max_new: 256 };
    let tracer = Tracer::new(writer, &tools, 4)?;
    let pairs = |name: &str| -> Result<[Vec<Pair>; 2]> {
        let mut stream = seed.stream(name, 0);
        let (mut plain, mut traced) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let (question, right, wrong) = question(&mut stream);
            let answers = [right.to_string(), wrong.to_string()];
            plain.push([0, 1].map(|side: usize| words(&format!("Question: {question}\nAnswer: {}", answers[side]))));
            let given = [0, 1].map(|side: usize| (question.as_str(), answers[side].as_str()));
            let traces = tracer.trace(&given)?;
            traced.push([0, 1].map(|side: usize| words(&traces[side].text)));
        }
        Ok([plain, traced])
    };
    let (training, held_out) = (pairs("training")?, pairs("held out")?);
    let loss = BradleyTerryConfig::default().init()?;
    let mut figures = vec![("95 %".to_owned(), 0.95), ("60 %".to_owned(), 0.6)];
    for (arm, name) in ["without tools", "with tools"].into_iter().enumerate() {
        let rows: Vec<Sample> = training[arm].iter().map(|[right, wrong]| Sample::pair(right, wrong)).collect();
        let head = Head::fresh(Widths { inputs: BUCKETS, hidden: 0, outputs: 1 }, seed.child("head", 0));
        let head = train(head, &loss, &rows, Training { steps: 200, rate: 1e-2, seed })?;
        figures.push((name.to_owned(), head.accuracy(&held_out[arm])));
    }
    Ok(figures)
}
