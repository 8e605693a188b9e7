//! Our side of `cargo xtask bench peers` and `bench growth`: one job, one process, one line of JSON. The protocol is
//! `xtask/peers/README.md`.

// The allocator of the binary.
#[allow(unsafe_code)]
#[path = "../crates/ascribe-cli/src/allocator.rs"]
mod allocator;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ascribe::burn::tensor::Device;
use ascribe::core::{Continuation, Mode, Objective, Policy, Request, Sampling, Seed, Tokens, Until};
use ascribe::lm::{
    Decoder, DecoderConfig, Engine, Gguf, GgufWeights, LocalPolicy, LoraConfig, Precision, RandomWeights, Safetensors,
};
use ascribe::preference::objectives::{DpoConfig, Sft};
use ascribe::preference::{LogpCache, LogpLearner, TrainRow, reference_logps};
use ascribe::train::{Fit, FitConfig, ScheduleKind};
use serde::Deserialize;
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error>;

/// What a job reads; each uses some of it.
#[derive(Deserialize)]
#[serde(default)]
struct Input {
    model: PathBuf,
    repeats: usize,
    seed: u64,
    learning_rate: f64,
    beta: f64,
    max_grad_norm: f64,
    pairs: Vec<Pair>,
    rows: Value,
    prompt: Vec<u32>,
    prompts: Vec<Vec<u32>>,
    samples: usize,
    new_tokens: usize,
    vocabulary: Option<usize>,
    gguf: PathBuf,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            repeats: 1,
            seed: 0,
            learning_rate: 1e-6,
            beta: 0.1,
            max_grad_norm: 0.0,
            pairs: Vec::new(),
            rows: Value::Null,
            prompt: Vec::new(),
            prompts: Vec::new(),
            samples: 1,
            new_tokens: 1,
            vocabulary: None,
            gguf: PathBuf::new(),
        }
    }
}

#[derive(Deserialize)]
struct Pair {
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
}

#[derive(Deserialize)]
struct Scored {
    prompt: Vec<u32>,
    response: Vec<u32>,
}

/// Seconds of each repeat, the work of one, and what the peer must agree on.
struct Answer {
    seconds: Vec<f64>,
    units: usize,
    unit: &'static str,
    checks: Value,
}

fn main() -> Result<(), Error> {
    allocator::keep_pages();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [job, flag, path] = arguments.as_slice() else { return Err("usage: peer_jobs <job> --input job.json".into()) };
    if flag != "--input" {
        return Err(format!("`{flag}` is not understood: the input is given by --input").into());
    }
    let input: Input = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let answer = match job.as_str() {
        "dpo_step" => dpo_step(&input, None)?,
        "growth_lora" => {
            dpo_step(&input, Some(LoraConfig { target_modules: vec!["all-linear".into()], ..LoraConfig::default() }))?
        }
        "sft_step" | "tiny_step" | "growth_train" => sft_step(&input)?,
        "score" | "score_shared" | "growth_score" => score(&input)?,
        "decode" => write(&input, Mode::Greedy)?,
        "samples" | "samples_llamacpp" | "growth_decode" => write(&input, Mode::Sample(Sampling::default()))?,
        other => return Err(format!("the job `{other}` is not known here").into()),
    };
    let training = ["step", "train", "lora"].iter().any(|word| job.contains(word));
    let line = json!({
        "job": job,
        "seconds": answer.seconds,
        "units": answer.units,
        "unit": answer.unit,
        "peak_rss_bytes": peak_bytes(),
        "weights": if training { "f32" } else { "as the GGUF file has them (Q4_1)" },
        "checks": answer.checks,
    });
    println!("{line}");
    Ok(())
}

fn decoder(input: &Input, device: &Device) -> Result<Decoder, Error> {
    if let Some(vocabulary) = input.vocabulary {
        let config = DecoderConfig::tiny(vocabulary, 128, 4, 4, 4096);
        let mut weights = RandomWeights { seed: Seed(input.seed), layers: config.layers };
        return Ok(Decoder::load(&config, &mut weights, device)?);
    }
    let config = DecoderConfig::from_json(&input.model.join("config.json"))?;
    Ok(Decoder::load(&config, &mut Safetensors::open(Path::new(&input.model))?, device)?)
}

/// The weights as the GGUF file stores them; nothing ends a text, so that both sides do the same work.
fn policy(input: &Input) -> Result<LocalPolicy, Error> {
    let gguf = Gguf::open(&input.gguf)?;
    let engine = Engine::load(&DecoderConfig::from_gguf(&gguf)?, &mut GgufWeights::new(&gguf)?, Precision::AsStored)?;
    Ok(LocalPolicy::of(engine, &[]))
}

fn dpo_step(input: &Input, lora: Option<LoraConfig>) -> Result<Answer, Error> {
    let mut rows: Vec<TrainRow> = input
        .pairs
        .iter()
        .map(|pair| TrainRow::pair(pair.prompt.as_slice(), pair.chosen.as_slice(), pair.rejected.as_slice()))
        .collect();
    reference_logps(&mut rows, &policy(input)?, "start", &mut LogpCache::in_memory(), &mut |_, _| ())?;
    let objective = DpoConfig { beta: input.beta, ..DpoConfig::default() }.init()?;
    let model = decoder(input, &Device::flex().autodiff())?;
    let model = match lora {
        Some(config) => model.with_lora(&config, Seed(input.seed))?,
        None => model,
    };
    steps(input, model, &rows, &objective, (rows.len(), "pairs"))
}

fn sft_step(input: &Input) -> Result<Answer, Error> {
    let ids: Vec<Vec<u32>> = serde_json::from_value(input.rows.clone())?;
    let rows: Vec<TrainRow> = ids.iter().map(|row| TrainRow::single(&row[..1], &row[1..])).collect();
    let model = decoder(input, &Device::flex().autodiff())?;
    steps(input, model, &rows, &Sft, (ids.iter().map(Vec::len).sum(), "tokens"))
}

/// One step that is not timed, then `repeats` that are, all on the same rows.
fn steps(
    input: &Input,
    model: Decoder,
    rows: &[TrainRow],
    objective: &dyn Objective,
    (units, unit): (usize, &'static str),
) -> Result<Answer, Error> {
    let config = FitConfig {
        learning_rate: input.learning_rate,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: input.repeats + 1,
        per_device_train_batch_size: rows.len(),
        max_grad_norm: input.max_grad_norm,
        ..FitConfig::default()
    };
    let learner = LogpLearner::new(objective);
    let mut fit = Fit::new(&learner, model, rows, config)?;
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for step in 0..=input.repeats {
        let began = Instant::now();
        let report = fit.next().ok_or("the steps ended early")??;
        if step > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
        losses.push(report.metric("loss"));
    }
    Ok(Answer { seconds, units, unit, checks: json!({ "losses": losses }) })
}

fn score(input: &Input) -> Result<Answer, Error> {
    let rows: Vec<Scored> = serde_json::from_value(input.rows.clone())?;
    let given: Vec<Continuation> =
        rows.into_iter().map(|row| Continuation { prefix: row.prompt.into(), tokens: row.response.into() }).collect();
    let policy = policy(input)?;
    let (mut seconds, mut sums) = (Vec::new(), Vec::new());
    for step in 0..=input.repeats {
        let began = Instant::now();
        let (logps, _) = policy.score(&given)?;
        policy.clear();
        if step > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
        sums = logps.iter().map(|row| row.iter().map(|logp| f64::from(*logp)).sum::<f64>()).collect();
    }
    Ok(Answer { seconds, units: given.len(), unit: "responses", checks: json!({ "logps": sums }) })
}

fn write(input: &Input, mode: Mode) -> Result<Answer, Error> {
    let policy = policy(input)?;
    let n = if mode == Mode::Greedy { 1 } else { input.samples };
    let request = |prompt: &[u32], repeat: usize, max_new: usize| Request {
        prefix: Tokens::from(prompt),
        n,
        until: Until::End,
        mode,
        max_new,
        seed: Seed(input.seed).child("repeat", repeat as u64),
    };
    let last = input.prompts.last().unwrap_or(&input.prompt);
    policy.propose(&[request(last, 0, 2)])?;
    policy.clear();
    let (mut seconds, mut tokens, mut logps, mut first) = (Vec::new(), 0, 0.0, Vec::new());
    for repeat in 0..input.repeats {
        let prompt = input.prompts.get(repeat).unwrap_or(&input.prompt);
        let began = Instant::now();
        let reply = policy.propose(&[request(prompt, repeat, input.new_tokens)])?.remove(0);
        seconds.push(began.elapsed().as_secs_f64());
        policy.clear();
        tokens = reply.candidates.iter().map(|candidate| candidate.tokens.len()).sum();
        logps = reply.candidates.iter().flat_map(|candidate| &candidate.logps).map(|logp| f64::from(*logp)).sum();
        first = reply.candidates[0].tokens.to_vec();
    }
    let checks = match mode {
        Mode::Greedy | Mode::Top => json!({ "ids": first }),
        Mode::Sample(_) if !input.prompts.is_empty() => json!({ "tokens": tokens }),
        Mode::Sample(_) => json!({ "tokens": tokens, "mean_logp": logps / tokens.max(1) as f64 }),
    };
    Ok(Answer { seconds, units: n * input.new_tokens, unit: "tokens", checks })
}

/// The most memory that this process ever held (`VmHWM`); `None` where the system does not say.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
