//! The jobs, in the order of the table, and the inputs that both sides get.

use std::ops::Range;

use anyhow::Result;
use serde_json::{Value, json};

use super::THREADS;
use super::environment::Environment;
use super::reading::write_pairs;

/// One comparison with one peer.
pub struct Job {
    pub name: &'static str,
    /// The work, in words.
    pub what: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// Its script, without folder and ending.
    pub peer_script: &'static str,
    /// What the ratios should be.
    pub wanted: &'static str,
    /// Builds the content of `job.json`.
    pub input: fn(&Environment) -> Result<Value>,
}

/// Every job but the metrics.
pub const JOBS: &[Job] = &[
    Job {
        name: "dpo_step",
        what: "DPO step, 4 pairs, prompt 256, responses 64 + 64, reference cached",
        peer: "TRL",
        peer_script: "trl_peer",
        wanted: "at least 2.5; memory at most 0.35",
        input: |environment| {
            let mut draw = Ids::new(1);
            let mut pair = || json!({"prompt": draw.text(256), "chosen": draw.text(64), "rejected": draw.text(64)});
            let pairs: Vec<Value> = (0..4).map(|_| pair()).collect();
            let more = json!({"pairs": pairs, "beta": 0.1, "learning_rate": 1e-5, "max_grad_norm": 1.0});
            input(environment, 2, more)
        },
    },
    Job {
        name: "sft_step",
        what: "next-token training step, 4 x 128, AdamW",
        peer: "transformers",
        peer_script: "transformers_peer",
        wanted: "at least 1.1",
        input: |environment| {
            let mut draw = Ids::new(2);
            let rows: Vec<_> = (0..4).map(|_| draw.text(128)).collect();
            input(environment, 4, json!({"rows": rows, "learning_rate": 1e-5}))
        },
    },
    Job {
        name: "tiny_step",
        what: "the same on a tiny model (d 128, 4 layers), 64 x 64",
        peer: "transformers",
        peer_script: "transformers_peer",
        wanted: "at least 1.0",
        input: |environment| {
            let mut draw = Ids::new(3);
            let rows: Vec<_> = (0..64).map(|_| draw.of(0..64, 64)).collect();
            input(environment, 30, json!({"model": environment.tiny, "rows": rows, "learning_rate": 1e-5}))
        },
    },
    Job {
        name: "score",
        what: "log-probs of responses, prompt 256, response 64: 16 prompts",
        peer: "transformers",
        peer_script: "transformers_peer",
        wanted: "at least 1.3",
        input: |environment| input(environment, 3, json!({"rows": responses(16, 1)})),
    },
    Job {
        name: "score_shared",
        what: "the same: 4 prompts with 4 responses each",
        peer: "transformers",
        peer_script: "transformers_peer",
        wanted: "at least 2.5",
        input: |environment| input(environment, 3, json!({"rows": responses(4, 4)})),
    },
    Job {
        name: "decode",
        what: "greedy decoding, batch 1, 128 tokens after 32",
        peer: "transformers",
        peer_script: "transformers_peer",
        wanted: "at least 3.0",
        input: |environment| input(environment, 3, json!({"prompt": Ids::new(6).text(32), "new_tokens": 128})),
    },
    Job {
        name: "samples",
        what: "64 samples of one 512-token prompt, 64 tokens each",
        peer: "transformers",
        peer_script: "transformers_peer",
        wanted: "at least 6.0",
        input: |environment| {
            let more = json!({"prompt": Ids::new(7).text(512), "samples": 64, "new_tokens": 64});
            input(environment, 1, more)
        },
    },
    Job {
        name: "samples_llamacpp",
        what: "16 samples of one 256-token prompt, 64 tokens each, same GGUF",
        peer: "llama.cpp server",
        peer_script: "llamacpp_peer",
        wanted: "at least 1.0",
        input: |environment| {
            let mut draw = Ids::new(8);
            // One prompt a repeat and one to warm up: the server remembers those that it has seen.
            let prompts: Vec<_> = (0..4).map(|_| draw.text(256)).collect();
            input(environment, 3, json!({"prompts": prompts, "samples": 16, "new_tokens": 64}))
        },
    },
    Job {
        name: "read",
        what: "20 000 conversations in pairs from JSONL to ids: read, chat template, tokenizer",
        peer: "datasets, transformers",
        peer_script: "read_peer",
        wanted: "at least 1.0",
        input: |environment| input(environment, 2, json!({"data": write_pairs(20_000)?})),
    },
];

/// The fields that every job has, then those of one job; SmolLM2 where `more` names no model.
pub fn input(environment: &Environment, repeats: usize, more: Value) -> Result<Value> {
    let mut all = json!({
        "model": environment.smollm2, "gguf": environment.gguf, "threads": THREADS, "repeats": repeats, "seed": 0,
    });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    Ok(all)
}

/// `group` responses of 64 tokens to each of `prompts` prompts of 256.
fn responses(prompts: usize, group: usize) -> Vec<Value> {
    let mut draw = Ids::new(4);
    let mut rows = Vec::new();
    for _ in 0..prompts {
        let prompt = draw.text(256);
        rows.extend((0..group).map(|_| json!({"prompt": prompt, "response": draw.text(64)})));
    }
    rows
}

/// Token ids from a fixed seed (SplitMix64, Steele et al. 2014).
pub struct Ids(u64);

/// SmolLM2's ids without its 17 special tokens.
const TEXT: Range<u64> = 17..49_152;

impl Ids {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `n` ids of SmolLM2 that are no special tokens.
    pub fn text(&mut self, n: usize) -> Vec<u64> {
        self.of(TEXT, n)
    }

    /// `n` ids of the range.
    pub fn of(&mut self, range: Range<u64>, n: usize) -> Vec<u64> {
        (0..n).map(|_| range.start + self.next() % (range.end - range.start)).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_splitmix64() {
        // The first output for seed 0, as in the generator's published test vectors.
        assert_eq!(Ids::new(0).next(), 0xE220_A839_7B1D_CDAF);
        let ids = Ids::new(1).text(1000);
        assert!(ids.iter().all(|id| TEXT.contains(id)));
    }

    #[test]
    fn a_group_shares_its_prompt() {
        let rows = responses(2, 3);
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[0]["prompt"], rows[2]["prompt"]);
        assert_ne!(rows[2]["prompt"], rows[3]["prompt"]);
        assert_ne!(rows[0]["response"], rows[1]["response"]);
    }
}
