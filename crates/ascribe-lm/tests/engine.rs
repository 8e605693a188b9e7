//! The engine on the CPU against the decoder on Burn, and what it promises: the bits of a text depend on that text alone.

use std::path::PathBuf;

use ascribe_core::{Candidate, Continuation, Mode, Policy, Request, Sampling, Seed, Tokens, Until};
use ascribe_lm::{
    Decoder, DecoderConfig, Engine, FrozenModel, Head, LanguageModel, Limits, LocalPolicy, LoraConfig, Positions,
    Precision, RandomWeights, Rope, RopeScaling, Row, Safetensors, SpecialTokens,
};
use ascribe_testkit::device::values;
use ascribe_testkit::golden::{close, root};
use ascribe_testkit::models::smollm2;
use burn::tensor::Device;

const CONTEXT: usize = 400;

fn config() -> DecoderConfig {
    DecoderConfig { kv_heads: 2, tied: false, ..DecoderConfig::tiny(37, 48, 2, 4, CONTEXT) }
}

fn decoder() -> Decoder {
    let mut weights = RandomWeights { seed: Seed(3), layers: 2 };
    Decoder::load(&config(), &mut weights, &Device::flex()).expect("fresh weights fit")
}

fn policy() -> LocalPolicy {
    LocalPolicy::of(Engine::of(&decoder(), Precision::AsStored).expect("finite weights"), &[])
}

fn prompt(seed: u64, length: usize) -> Tokens {
    (0..length as u64).map(|at| ((seed * 31 + at * 17 + at * at) % 36 + 1) as u32).collect()
}

fn request(prefix: Tokens, n: usize, max_new: usize, seed: u64) -> Request {
    let mode = Mode::Sample(Sampling::default());
    Request { prefix, n, until: Until::End, mode, max_new, seed: Seed(seed) }
}

fn widened(logps: &[f32]) -> Vec<f64> {
    logps.iter().map(|logp| f64::from(*logp)).collect()
}

/// Folders of golden language models, with their decoders.
fn golden_models() -> Vec<(PathBuf, Decoder)> {
    let folders = std::fs::read_dir(root().join("lm")).expect("the golden folder is there");
    let mut models = Vec::new();
    for folder in folders.map(|entry| entry.expect("readable").path()).filter(|path| path.join("config.json").exists())
    {
        let config = DecoderConfig::from_json(&folder.join("config.json")).expect("a known config");
        let mut weights = Safetensors::open(&folder).expect("weights");
        let decoder = Decoder::load(&config, &mut weights, &Device::flex()).expect("weights that fit");
        models.push((folder, decoder));
    }
    assert!(models.len() >= 13, "only {} golden models", models.len());
    models
}

#[test]
fn the_engine_gives_the_log_probabilities_of_the_decoder_for_every_golden_model() {
    for (folder, decoder) in golden_models() {
        if decoder.config().head != Head::NextToken {
            continue;
        }
        let ids = |seed: u64, n: usize| -> Vec<u32> {
            prompt(seed, n).iter().map(|id| id * 7 % decoder.vocab_size() as u32).collect()
        };
        let (first, second, short) = (ids(1, 45), ids(2, 7), ids(3, 1));
        let rows = [(&first, ids(4, 40)), (&first, ids(5, 9)), (&second, ids(6, 70)), (&short, ids(7, 1))];
        let context = decoder.config().context;
        let rows: Vec<_> = rows.iter().filter(|(prompt, response)| prompt.len() + response.len() <= context).collect();
        assert!(!rows.is_empty());
        let given: Vec<Continuation> = rows
            .iter()
            .map(|(prompt, response)| Continuation {
                prefix: prompt.as_slice().into(),
                tokens: response.clone().into(),
            })
            .collect();
        let engine = Engine::of(&decoder, Precision::AsStored).expect("finite weights");
        let (got, _) = LocalPolicy::of(engine, &[]).score(&given).expect("they fit");
        let rows: Vec<Row> = rows.iter().map(|(prompt, response)| Row { prompt, response }).collect();
        let (expected, _) = decoder.response_logps(&rows).expect("they fit");
        let [_, longest] = expected.dims();
        for ((got, expected), row) in got.iter().zip(values(expected).chunks(longest)).zip(&rows) {
            close(&folder.display().to_string(), &widened(got), &expected[..row.response.len()], 1e-4);
        }
    }
}

#[test]
fn what_the_engine_cannot_run_is_left_to_the_decoder() {
    let (_, classifier) =
        golden_models().into_iter().find(|(_, decoder)| decoder.config().head != Head::NextToken).expect("one");
    let refused = Engine::of(&classifier, Precision::AsStored).expect_err("a classifier writes no text");
    assert!(refused.to_string().contains("engine"), "{refused}");
    let policy = LocalPolicy::new(&classifier, &[], 64).expect("a policy that refuses");
    assert!(policy.score(&[Continuation { prefix: prompt(1, 3), tokens: prompt(2, 3) }]).is_err());

    // Angles that grow with the text: the same log-probabilities as the decoder, since it is the decoder.
    let rope = Rope { theta: 10_000.0, scaling: RopeScaling::Dynamic { factor: 2.0, original: 64.0 } };
    let config = DecoderConfig { positions: Positions::Rotary { global: rope.clone(), local: rope }, ..config() };
    assert!(!Engine::can_run(&config));
    assert!(Engine::can_run(&DecoderConfig { context: 64, ..config.clone() }));
    let decoder =
        Decoder::load(&config, &mut RandomWeights { seed: Seed(3), layers: 2 }, &Device::flex()).expect("it fits");
    let given = [Continuation { prefix: prompt(1, 90), tokens: prompt(2, 20) }];
    let (got, _) = LocalPolicy::new(&decoder, &[], CONTEXT).expect("finite weights").score(&given).expect("it fits");
    let (expected, _) =
        decoder.response_logps(&[Row { prompt: &given[0].prefix, response: &given[0].tokens }]).expect("it fits");
    close("log-probabilities", &widened(&got[0]), &values(expected), 1e-6);
}

#[test]
fn a_score_has_the_same_bits_alone_in_a_batch_and_after_anything_else() {
    let given: Vec<Continuation> = (0..40)
        .map(|n| Continuation {
            prefix: prompt(n % 5, 1 + (n as usize % 7) * 19),
            tokens: prompt(n + 50, 1 + n as usize * 5),
        })
        .collect();
    let together = policy().score(&given).expect("they fit").0;
    let warm = policy();
    warm.propose(&[request(prompt(3, 100), 5, 60, 1)]).expect("it fits");
    for (one, together) in given.iter().zip(&together) {
        let alone = policy().score(std::slice::from_ref(one)).expect("it fits").0;
        assert_eq!(&alone[0], together);
        assert_eq!(&warm.score(std::slice::from_ref(one)).expect("it fits").0[0], together);
    }
}

#[test]
fn what_was_written_scores_to_the_bits_that_it_was_written_with() {
    let policy = policy();
    let requests: Vec<Request> = (0..7).map(|n| request(prompt(n, 3 + 13 * n as usize), 9, 80, n)).collect();
    let replies = policy.propose(&requests).expect("they fit");
    for (request, reply) in requests.iter().zip(&replies) {
        for Candidate { tokens, logps, .. } in &reply.candidates {
            let given = Continuation { prefix: request.prefix.clone(), tokens: tokens.clone() };
            assert_eq!(&policy.score(&[given]).expect("it fits").0[0], logps);
        }
    }
}

/// A sampler may write `th` and `e` where the tokenizer makes `the` of the text: the ids stand, token by token.
#[test]
fn theme_20_ids_are_scored_as_they_are_whatever_their_text_encodes_to() {
    let folder = root().join("lm/llama_gqa");
    let model = FrozenModel::load(&folder, &Device::flex(), Precision::AsStored).expect("a whole model");
    let text = "the sum of them";
    let whole = model.tokenizer.encode(text).expect("text");
    let apart: Vec<u32> =
        text.chars().flat_map(|letter| model.tokenizer.encode(&letter.to_string()).expect("text")).collect();
    assert!(whole.len() < apart.len());
    assert_eq!(model.tokenizer.decode(&apart, SpecialTokens::Keep).expect("it decodes"), text);

    let prefix = model.tokenizer.encode("what is it?").expect("text");
    let given = |tokens: &[u32]| Continuation { prefix: prefix.as_slice().into(), tokens: tokens.into() };
    let (got, _) = model.policy.score(&[given(&apart), given(&whole)]).expect("they fit");
    assert_eq!([got[0].len(), got[1].len()], [apart.len(), whole.len()]);
    // The chain rule over the ids that were given.
    for (at, id) in apart.iter().enumerate() {
        let read = [&prefix[..], &apart[..at]].concat();
        let (alone, _) =
            model.policy.score(&[Continuation { prefix: read.into(), tokens: vec![*id].into() }]).expect("it fits");
        close("a token", &widened(&alone[0]), &widened(&got[0][at..=at]), 1e-5);
    }
}

#[test]
fn a_candidate_does_not_depend_on_who_is_written_beside_it_nor_on_what_was_read_before() {
    // More candidates than are decoded at once, and prompts with a common beginning.
    let requests: Vec<Request> = (0..30).map(|n| request(prompt(n % 4, 20 + n as usize * 3), 11, 25, n)).collect();
    let together = policy().propose(&requests).expect("they fit");
    let warm = policy();
    for (request, together) in requests.iter().zip(&together) {
        let alone = policy().propose(std::slice::from_ref(request)).expect("it fits");
        assert_eq!(alone[0].candidates, together.candidates);
        let again = warm.propose(std::slice::from_ref(request)).expect("it fits");
        assert_eq!(again[0].candidates, together.candidates);
    }
}

#[test]
fn limits_change_nothing_but_the_work() {
    let mut requests: Vec<Request> = (0..9).map(|n| request(prompt(n % 4, 20 + n as usize * 13), 5, 25, n)).collect();
    requests.push(request(prompt(7, 30), 40, 1, 10));
    requests.push(Request { mode: Mode::Top, until: Until::Token, ..request(prompt(8, 50), 6, 1, 0) });
    requests.push(request(prompt(9, 10), 3, 0, 0));
    let expected = policy().propose(&requests).expect("they fit");
    assert!(requests.iter().zip(&expected).all(|(request, reply)| reply.candidates.len() == request.n));
    let block = 2 * 2 * 32 * (12 + 16) * 4;
    for limits in [
        Limits { kv_bytes: 3 * block, rows: 4, read: 7 },
        Limits { kv_bytes: 40 * block, rows: 2, read: 1 },
        Limits { kv_bytes: 0, rows: 0, read: 0 },
        Limits { kv_bytes: 1000 * block, rows: 1000, read: 100_000 },
    ] {
        let policy = policy().with_limits(limits);
        for _ in 0..2 {
            let got = policy.propose(&requests).expect("they fit");
            for (got, expected) in got.iter().zip(&expected) {
                assert_eq!(got.candidates, expected.candidates, "{limits:?}");
            }
            assert_eq!(policy.kv_usage().expect("it is on the CPU").live, 0, "{limits:?}");
        }
        // Nothing is live, so what is held is what may be kept.
        let usage = policy.kv_usage().expect("it is on the CPU");
        assert!(usage.bytes <= limits.kv_bytes.max(block), "{usage:?} with {limits:?}");
        let given = [Continuation { prefix: prompt(1, 100), tokens: prompt(2, 50) }];
        assert_eq!(policy.score(&given).expect("it fits").0, self::policy().score(&given).expect("it fits").0);
        policy.clear();
        assert_eq!(policy.kv_usage().expect("it is on the CPU").bytes, 0);
    }
}

#[test]
fn more_candidates_than_rows_that_end_at_once_are_all_there() {
    let reply =
        policy().propose(&[Request { until: Until::Token, ..request(prompt(1, 5), 700, 9, 3) }]).expect("it fits");
    assert_eq!(reply[0].candidates.len(), 700);
    assert!(reply[0].candidates.iter().all(|one| one.tokens.len() == 1));
}

#[test]
fn a_prompt_is_read_once_and_found_again() {
    let policy = policy();
    let (prefix, n) = (prompt(1, 100), 6);
    let first = policy.propose(&[request(prefix.clone(), n, 10, 1)]).expect("it fits").remove(0);
    assert_eq!((first.usage.scored, first.usage.reused), (100, 500));
    let second = policy.propose(&[request(prefix.clone(), n, 10, 1)]).expect("it fits").remove(0);
    // The last token is read again: its logits are wanted.
    assert_eq!((second.usage.scored, second.usage.reused), (1, 599));
    assert_eq!(first.candidates, second.candidates);
    let grown = prefix.followed_by(&first.candidates[2].tokens);
    let third = policy.propose(&[request(grown, 1, 1, 1)]).expect("it fits").remove(0);
    // What was written was read, but for the last token, which is read now.
    assert_eq!(third.usage.scored, 1);
}

#[test]
fn keys_and_values_are_accounted_for() {
    let policy = policy();
    let bytes_of_block = 2 * 2 * 32 * (12 + 16) * 4; // layers, key heads, tokens; keys of 12, values of 12 in 16; f32
    policy.propose(&[request(prompt(1, 100), 1, 1, 1)]).expect("it fits");
    let usage = policy.kv_usage().expect("it is on the CPU");
    assert_eq!((usage.live, usage.kept, usage.bytes), (0, 4, 4 * bytes_of_block));
    policy.score(&[Continuation { prefix: prompt(1, 100), tokens: prompt(2, 200) }]).expect("it fits");
    // The response is given up, the prompt is kept.
    let usage = policy.kv_usage().expect("it is on the CPU");
    assert_eq!((usage.live, usage.kept), (0, 4));
}

#[test]
fn weights_rounded_to_f16_change_little() {
    let decoder = decoder();
    let given = [Continuation { prefix: prompt(1, 30), tokens: prompt(2, 60) }];
    let exact = LocalPolicy::of(Engine::of(&decoder, Precision::AsStored).expect("finite"), &[]);
    let rounded = LocalPolicy::of(Engine::of(&decoder, Precision::F16).expect("finite"), &[]);
    assert!(rounded.weight_bytes() < exact.weight_bytes());
    let (exact, rounded) = (exact.score(&given).expect("it fits").0, rounded.score(&given).expect("it fits").0);
    assert_ne!(exact, rounded);
    close("log-probabilities", &widened(&rounded[0]), &widened(&exact[0]), 2e-2);
}

#[test]
fn an_adapter_speaks_through_the_engine() {
    let lora = LoraConfig { r: 4, ..LoraConfig::default() };
    let adapted = decoder().with_lora(&lora, Seed(1)).expect("a Llama has these projections");
    let given = [Continuation { prefix: prompt(1, 30), tokens: prompt(2, 20) }];
    let (got, _) = LocalPolicy::new(&adapted, &[], CONTEXT).expect("finite weights").score(&given).expect("it fits");
    let (expected, _) =
        adapted.response_logps(&[Row { prompt: &given[0].prefix, response: &given[0].tokens }]).expect("it fits");
    close("log-probabilities", &widened(&got[0]), &values(expected), 1e-4);
}

#[test]
fn quantised_weights_as_they_are_stored_are_those_of_f32() {
    let Some(path) = smollm2() else {
        eprintln!("left out: SmolLM2 is not here; cargo xtask fetch-model smollm2 gets it");
        return;
    };
    let stored = FrozenModel::load(&path, &Device::flex(), Precision::AsStored).expect("it loads");
    let bytes = stored.policy.weight_bytes().expect("it is on the CPU");
    assert!(bytes < 200 << 20, "{bytes} bytes of matrices in a file of 4 bits");
    let ids = stored.tokenizer.encode("The capital of France is Paris, and that of Italy is Rome.").expect("text");
    let given = [Continuation { prefix: ids[..4].into(), tokens: ids[4..].into() }];
    let (got, _) = stored.policy.score(&given).expect("it fits");
    let whole = LanguageModel::load(&path, &Device::flex()).expect("it loads").decoder;
    let (expected, _) =
        whole.response_logps(&[Row { prompt: &given[0].prefix, response: &given[0].tokens }]).expect("it fits");
    close("log-probabilities", &widened(&got[0]), &values(expected), 1e-3);
}
