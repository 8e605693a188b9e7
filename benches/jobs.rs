//! Jobs that a user waits for, on a tiny decoder (4 layers, width 128, 64 token ids) and on the CPU: `cargo xtask bench`.
//!
//! A name says the job, its size and the device; set-up stands outside the timed body.

// The allocator of the binary.
#[allow(unsafe_code)]
#[path = "../crates/ascribe-cli/src/allocator.rs"]
mod allocator;

use std::hint::black_box;

use ascribe::burn::tensor::Device;
use ascribe::core::{Continuation, Mode, Policy, Request, Seed, Tokens, Until};
use ascribe::eval::Bootstrap;
use ascribe::lm::{Decoder, DecoderConfig, LocalPolicy, RandomWeights};
use ascribe::preference::objectives::DpoConfig;
use ascribe::preference::{LogpCache, LogpLearner, TrainRow, reference_logps};
use ascribe::train::{Fit, FitConfig, ScheduleKind};
use criterion::{Criterion, criterion_group};

const VOCABULARY: u32 = 64;
const CONTEXT: usize = 128;
const PROMPT: u32 = 16;

fn decoder(device: &Device) -> Decoder {
    let config = DecoderConfig::tiny(VOCABULARY as usize, 128, 4, 4, CONTEXT);
    let mut weights = RandomWeights { seed: Seed(0), layers: config.layers };
    Decoder::load(&config, &mut weights, device).expect("fresh weights fit")
}

/// A policy that never stops by itself, so that every run does the same work.
fn policy() -> LocalPolicy {
    LocalPolicy::new(&decoder(&Device::flex()), &[], CONTEXT).expect("finite weights")
}

fn tokens(row: u32, n: u32) -> Tokens {
    (0..n).map(|at| (row * 31 + at * 17 + at * at) % VOCABULARY).collect()
}

/// Log-probabilities of 32 completions; a prompt of 16 and a completion of 48 tokens each.
fn score_completions(criterion: &mut Criterion) {
    let policy = policy();
    let row = |row| Continuation { prefix: tokens(row, PROMPT), tokens: tokens(row + 100, 64 - PROMPT) };
    let given: Vec<Continuation> = (0..32).map(row).collect();
    criterion.bench_function("score_completions/32x64tok/flex", |bencher| {
        bencher.iter(|| policy.score(black_box(&given)).expect("it fits the context"));
    });
}

/// One optimizer step of DPO on 16 pairs; a prompt of 16 and two responses of 48 tokens each.
fn train_step_dpo(criterion: &mut Criterion) {
    let response = |row| tokens(row, 64 - PROMPT);
    let row = |row| TrainRow::pair(tokens(row, PROMPT), response(row + 100), response(row + 200));
    let mut rows: Vec<TrainRow> = (0..16).map(row).collect();
    reference_logps(&mut rows, &policy(), "start", &mut LogpCache::in_memory(), &mut |_, _| ()).expect("it fits");
    let objective = DpoConfig::default().init().expect("the defaults are sound");
    let learner = LogpLearner::new(&objective);
    let config = FitConfig {
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: usize::MAX,
        per_device_train_batch_size: 16,
        ..FitConfig::default()
    };
    let mut fit =
        Fit::new(&learner, decoder(&Device::flex().autodiff()), &rows, config).expect("the options are sound");
    criterion.bench_function("train_step_dpo/16x64tok/flex", |bencher| {
        bencher.iter(|| fit.next().expect("steps are left").expect("the loss is finite"));
    });
}

/// 32 new tokens for each of 32 prompts of 16 tokens.
fn greedy_decode(criterion: &mut Criterion) {
    let policy = policy();
    let request = |row| Request {
        prefix: tokens(row, PROMPT),
        n: 1,
        until: Until::End,
        mode: Mode::Greedy,
        max_new: 32,
        seed: Seed(0),
    };
    let requests: Vec<Request> = (0..32).map(request).collect();
    criterion.bench_function("greedy_decode/32x32tok/flex", |bencher| {
        bencher.iter(|| policy.propose(black_box(&requests)).expect("it fits the context"));
    });
}

/// The interval of a paired difference over 500 records, from 10,000 resamples.
fn bootstrap_paired(criterion: &mut Criterion) {
    let flags = |every: usize| (0..500).map(|at| f64::from(u8::from(at % every == 0))).collect::<Vec<f64>>();
    let (first, second) = (flags(2), flags(3));
    let bootstrap = Bootstrap { resamples: 10_000, ..Bootstrap::default() };
    criterion.bench_function("bootstrap_paired/500x10000", |bencher| {
        bencher.iter(|| bootstrap.paired_difference(black_box(&first), black_box(&second)).expect("values are finite"));
    });
}

criterion_group! {
    name = jobs;
    config = Criterion::default().sample_size(20);
    targets = score_completions, train_step_dpo, greedy_decode, bootstrap_paired
}

fn main() {
    allocator::keep_pages();
    jobs();
    Criterion::default().configure_from_args().final_summary();
}
