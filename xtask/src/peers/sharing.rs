//! `cargo xtask bench sharing`: what samples of one prompt take where it is read once, where it is read for each, and in
//! transformers, as ratios of one run.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::answer::Answer;
use super::document::{Section, machine, number};
use super::environment::Environment;
use super::jobs::{Ids, input};
use super::{our_program, run_ours, write_input};

/// Samples that are drawn.
const SIZES: [usize; 4] = [1, 4, 16, 64];
/// Tokens of the prompt.
const PROMPT: usize = 512;
/// Tokens of a sample.
const NEW: usize = 64;

const COLUMNS: &[&str] = &[
    "samples",
    "who",
    "tokens through the layers",
    "seconds",
    "keys and values, MiB",
    "tokens / ours",
    "seconds / ours",
    "bytes / ours",
];

/// Measures every size, and writes the table.
pub fn sharing() -> Result<()> {
    let environment = Environment::ready()?;
    let ours = our_program()?;
    let mut table = Vec::new();
    for samples in SIZES {
        let path = write_input("sharing", &input(&environment, 1, job(samples))?)?;
        let shared = run_ours(&ours, "sharing", &path)?;
        let apart = run_ours(&ours, "sharing_apart", &path)?;
        let theirs = environment.run("transformers_peer", "sharing", &path)?;
        for answer in [&shared, &apart] {
            answer.agrees_with(&theirs).context("all must write as much")?;
        }
        for (who, answer) in [("ours", &shared), ("ours, nothing shared", &apart), ("transformers", &theirs)] {
            let cells = row(samples, who, answer, &shared)?;
            println!("{}", cells.join(" | "));
            table.push(cells);
        }
    }
    let facts = format!(
        "{}. {NEW} tokens each after {PROMPT}, SmolLM2-135M, keys and values as f32. Versions: {}.",
        machine()?,
        environment.versions
    );
    Section::new("sharing", "cargo xtask bench sharing", &facts, COLUMNS).set_rows(&table)
}

/// One prompt, and as many that differ from it and from one another in their first token.
fn job(samples: usize) -> Value {
    let prompt = Ids::new(15).text(PROMPT);
    let apart = |first: usize| -> Vec<u64> {
        // Ids from 17 on are no special tokens.
        [17 + first as u64].into_iter().chain(prompt[1..].iter().copied()).collect()
    };
    let prompts: Vec<Vec<u64>> = (0..samples).map(apart).collect();
    json!({"prompt": prompt, "prompts": prompts, "samples": samples, "new_tokens": NEW})
}

/// What `answer` took, and how often what `ours` did.
fn row(samples: usize, who: &str, answer: &Answer, ours: &Answer) -> Result<Vec<String>> {
    let told = |answer: &Answer| answer.costs.with_context(|| format!("{who} told no `costs`"));
    let (costs, base) = (told(answer)?, told(ours)?);
    let (seconds, base_seconds) = (answer.median_seconds(), ours.median_seconds());
    Ok(vec![
        samples.to_string(),
        who.into(),
        format!("{:.0}", costs.evaluated),
        number(seconds),
        number(costs.kv_bytes / f64::from(1 << 20)),
        number(costs.evaluated / base.evaluated),
        number(seconds / base_seconds),
        number(costs.kv_bytes / base.kv_bytes),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_no_beginning_in_common() {
        let job = job(64);
        let prompts: Vec<Vec<u64>> = serde_json::from_value(job["prompts"].clone()).unwrap();
        let mut first: Vec<u64> = prompts.iter().map(|prompt| prompt[0]).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!((first.len(), prompts.len()), (64, 64));
        let prompt: Vec<u64> = serde_json::from_value(job["prompt"].clone()).unwrap();
        assert!(prompt.len() == PROMPT && prompts.iter().all(|other| other[1..] == prompt[1..]));
    }

    #[test]
    fn a_row_worked_by_hand() {
        let answer = |seconds: f64, evaluated: u64, bytes: u64| {
            let costs = json!({"evaluated": evaluated, "kv_bytes": bytes});
            let said = json!({"job": "a", "seconds": [seconds], "units": 1, "unit": "tokens", "peak_rss_bytes": 1,
                              "checks": {}, "costs": costs});
            Answer::parse("a", &said.to_string()).unwrap()
        };
        let (ours, theirs) = (answer(2.0, 1000, 1 << 20), answer(9.0, 2500, 3 << 20));
        let cells = row(4, "transformers", &theirs, &ours).unwrap();
        assert_eq!(cells, ["4", "transformers", "2500", "9.00", "3.00", "2.50", "4.50", "3.00"]);
    }
}
