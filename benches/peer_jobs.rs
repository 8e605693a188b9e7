//! Our side of `cargo xtask bench peers`, `bench growth`, `bench sharing` and `bench memory`: one job, one process, one line
//! of JSON. The protocol is `xtask/peers/README.md`.

// The allocator of the binary.
#[allow(unsafe_code)]
#[path = "../crates/ascribe-cli/src/allocator.rs"]
mod allocator;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ascribe::burn::tensor::Device;
use ascribe::core::{Continuation, Mode, Objective, Policy, Request, Sampling, Seed, Tokens, Until, Usage};
use ascribe::data::{ColumnMap, Preference, PromptCompletion, Records, Shuffled, Untaught, WindowCursor};
use ascribe::eval::calibrate::{Binning, brier, ece};
use ascribe::eval::classify::average_precision;
use ascribe::eval::rank::{kendall_tau_b, spearman};
use ascribe::eval::{Bootstrap, EvalError, auroc, auroc_estimate};
use ascribe::lm::{
    ChatTemplate, Decoder, DecoderConfig, Engine, Gguf, GgufWeights, Limits, LocalPolicy, LoraConfig, Precision,
    RandomWeights, Safetensors, Tokenizer,
};
use ascribe::preference::objectives::{DpoConfig, Sft};
use ascribe::preference::{Encoded, Encoder, LogpCache, LogpLearner, PreferenceError, TrainRow, reference_logps};
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
    x: Vec<f64>,
    y: Vec<f64>,
    labels: Vec<u8>,
    resamples: usize,
    calls: usize,
    gradient_checkpointing: Option<bool>,
    data: PathBuf,
    window: usize,
    threads: usize,
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
            x: Vec::new(),
            y: Vec::new(),
            labels: Vec::new(),
            resamples: 0,
            calls: 1,
            gradient_checkpointing: None,
            data: PathBuf::new(),
            window: 1,
            threads: 1,
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

/// Seconds of each repeat, the work of one, what the peer must agree on, and what it took where the job asks for that.
struct Answer {
    seconds: Vec<f64>,
    units: usize,
    unit: &'static str,
    checks: Value,
    costs: Option<Value>,
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
        "sharing" => sharing(&input, std::slice::from_ref(&input.prompt), input.samples)?,
        "sharing_apart" => sharing(&input, &input.prompts, 1)?,
        name if name.starts_with("metrics_bootstrap_") => bootstrapped(name, &input)?,
        name if name.starts_with("metrics_") => metric(name, &input)?,
        "read" => read(&input)?,
        "read_stream" => stream(&input)?,
        other => return Err(format!("the job `{other}` is not known here").into()),
    };
    let training = ["step", "train", "lora"].iter().any(|word| job.contains(word));
    let weights = if job.starts_with("read") || job.starts_with("metrics_") {
        "none"
    } else if training {
        "f32"
    } else {
        "as the GGUF file has them (Q4_1)"
    };
    let line = json!({
        "job": job,
        "seconds": answer.seconds,
        "units": answer.units,
        "unit": answer.unit,
        "peak_rss_bytes": peak_bytes(),
        "weights": weights,
        "checks": answer.checks,
        "costs": answer.costs,
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
    let model = match input.gradient_checkpointing {
        Some(on) => model.with_gradient_checkpointing(on),
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
    Ok(Answer { costs: None, seconds, units, unit, checks: json!({ "losses": losses }) })
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
    Ok(Answer { costs: None, seconds, units: given.len(), unit: "responses", checks: json!({ "logps": sums }) })
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
    Ok(Answer { costs: None, seconds, units: n * input.new_tokens, unit: "tokens", checks })
}

/// `n` samples of each prompt, and what they took. The engine shares what prompts have in common, so those that begin with
/// different tokens are read and held apart.
fn sharing(input: &Input, prompts: &[Vec<u32>], n: usize) -> Result<Answer, Error> {
    // Room for all of it, so that nothing is given up and read again.
    let policy = policy(input)?.with_limits(Limits { kv_bytes: 8 << 30, ..Limits::default() });
    let requests = |max_new: usize| -> Vec<Request> {
        let request = |(number, prompt): (usize, &Vec<u32>)| Request {
            prefix: Tokens::from(prompt.as_slice()),
            n,
            until: Until::End,
            mode: Mode::Sample(Sampling::default()),
            max_new,
            seed: Seed(input.seed).child("prompt", number as u64),
        };
        prompts.iter().enumerate().map(request).collect()
    };
    policy.propose(&requests(2))?;
    policy.clear();
    let (mut seconds, mut usage, mut bytes) = (Vec::new(), Usage::default(), 0);
    for _ in 0..input.repeats {
        let asked = requests(input.new_tokens);
        let began = Instant::now();
        let replies = policy.propose(&asked)?;
        seconds.push(began.elapsed().as_secs_f64());
        usage = Usage::default();
        replies.iter().for_each(|reply| usage += reply.usage);
        bytes = policy.kv_usage().ok_or("the policy keeps no keys and values")?.bytes;
        policy.clear();
    }
    // The last token of a text is written and not read.
    let texts = prompts.len() * n;
    let evaluated = usage.scored + usage.generated - texts as u64;
    let costs = Some(json!({ "evaluated": evaluated, "kv_bytes": bytes }));
    let checks = json!({ "tokens": usage.generated });
    Ok(Answer { costs, seconds, units: texts * input.new_tokens, unit: "tokens", checks })
}

/// A metric of columns: one repeat that is not timed, then those that are.
fn metric(name: &str, input: &Input) -> Result<Answer, Error> {
    let (labels, none) = (labels(input), Bootstrap::NONE);
    let p: Vec<f64> = input.x.iter().map(|x| x / f64::from(1 << 20)).collect();
    let (mut seconds, last) = repeated(input.repeats + 1, input.calls, || {
        let (x, y, p) = black_box((input.x.as_slice(), input.y.as_slice(), p.as_slice()));
        match name {
            "metrics_auroc" => auroc(x, &labels),
            "metrics_average_precision" => average_precision(x, &labels, &none).map(|estimate| estimate.value),
            "metrics_brier" => brier(p, &labels, &none).map(|estimate| estimate.value),
            "metrics_ece" => ece(p, &labels, Binning::default(), &none).map(|estimate| estimate.value),
            "metrics_kendall" => kendall_tau_b(x, y, &none).map(|estimate| estimate.value),
            "metrics_spearman" => spearman(x, y, &none).map(|estimate| estimate.value),
            _ => Err(EvalError::Missing { what: "the job", name: name.to_owned(), known: "see the README".to_owned() }),
        }
    })?;
    seconds.remove(0);
    let units = input.x.len() * input.calls;
    Ok(Answer { costs: None, seconds, units, unit: "rows", checks: json!({ "values": [last] }) })
}

/// The percentile interval of a mean or an AUROC.
fn bootstrapped(name: &str, input: &Input) -> Result<Answer, Error> {
    let labels = labels(input);
    let bootstrap = Bootstrap { resamples: input.resamples, seed: Seed(input.seed), ..Bootstrap::default() };
    let (seconds, estimate) = repeated(input.repeats, input.calls, || match name {
        "metrics_bootstrap_mean" => bootstrap.mean(black_box(&input.x)),
        _ => auroc_estimate(black_box(&input.x), &labels, &bootstrap),
    })?;
    let interval = estimate.interval.ok_or("there is no interval")?;
    let units = input.x.len() * input.resamples * input.calls;
    let checks = json!({ "limits": [interval.low, interval.high] });
    Ok(Answer { costs: None, seconds, units, unit: "rows", checks })
}

/// The seconds of each repeat, which is so many calls, and what the last call says.
fn repeated<T>(repeats: usize, calls: usize, call: impl Fn() -> Result<T, EvalError>) -> Result<(Vec<f64>, T), Error> {
    let (mut seconds, mut last) = (Vec::with_capacity(repeats), None);
    for _ in 0..repeats {
        let began = Instant::now();
        for _ in 0..calls {
            last = Some(black_box(call()?));
        }
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok((seconds, last.ok_or("a job takes a repeat and a call at least")?))
}

fn labels(input: &Input) -> Vec<bool> {
    input.labels.iter().map(|label| *label == 1).collect()
}

/// Rows that are read before they are encoded by all threads.
const AT_ONCE: usize = 4096;

/// Conversations in pairs from JSONL to ids: read one after another, then rendered and encoded by all threads.
fn read(input: &Input) -> Result<Answer, Error> {
    let tokenizer = Tokenizer::from_folder(&input.model)?;
    let template = ChatTemplate::from_folder(&input.model, &tokenizer)?;
    let encoder = Encoder::from_parts(&tokenizer, template.as_ref(), usize::MAX)?;
    let (mut seconds, mut rows, mut tokens, mut first) = (Vec::new(), 0, 0, Vec::new());
    for _ in 0..input.repeats {
        (rows, tokens) = (0, 0);
        let began = Instant::now();
        let mut records = Records::<Preference>::open(&input.data, &ColumnMap::default())?;
        loop {
            let mut window = Vec::new();
            for record in records.by_ref().take(AT_ONCE) {
                window.push(record?.map_err(untaught)?);
            }
            if window.is_empty() {
                break;
            }
            for encoded in by_threads(window, encoder, input.threads)? {
                rows += encoded.rows.len();
                for (row, _) in &encoded.rows {
                    tokens += row.prompt.len() + row.responses.iter().map(|one| one.tokens.len()).sum::<usize>();
                }
                if first.is_empty() {
                    first = encoded.rows.first().map(|(row, _)| row.prompt.to_vec()).unwrap_or_default();
                }
            }
        }
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok(Answer { costs: None, seconds, units: rows, unit: "rows", checks: json!({ "tokens": tokens, "ids": first }) })
}

/// The rows of each thread, in the order of the file.
fn by_threads(
    mut rows: Vec<Preference>,
    encoder: Encoder<'_>,
    threads: usize,
) -> Result<Vec<Encoded<Preference>>, Error> {
    let size = rows.len().div_ceil(threads.max(1)).max(1);
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let rest = rows.split_off(size.min(rows.len()));
        parts.push(std::mem::replace(&mut rows, rest));
    }
    let encoded: Vec<Result<Encoded<Preference>, PreferenceError>> = std::thread::scope(|scope| {
        let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || encoder.pairs(part))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that encodes does not panic")).collect()
    });
    Ok(encoded.into_iter().collect::<Result<Vec<_>, _>>()?)
}

/// Rows of a file in a random order within a window, none of which is kept.
fn stream(input: &Input) -> Result<Answer, Error> {
    let (mut seconds, mut rows, mut characters) = (Vec::new(), 0, 0);
    for epoch in 0..input.repeats {
        (rows, characters) = (0, 0);
        let began = Instant::now();
        let records = Records::<PromptCompletion>::open(&input.data, &ColumnMap::default())?;
        let cursor = WindowCursor { epoch: epoch as u64, ..WindowCursor::default() };
        for record in Shuffled::new(records, input.window, Seed(input.seed), cursor)? {
            characters += record?.map_err(untaught)?.completion.chars().count();
            rows += 1;
        }
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok(Answer { costs: None, seconds, units: rows, unit: "rows", checks: json!({ "characters": characters }) })
}

fn untaught(row: Untaught) -> Error {
    format!("row {} cannot teach: {}", row.line, row.why).into()
}

/// The most memory that this process ever held (`VmHWM`); `None` where the system does not say.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
