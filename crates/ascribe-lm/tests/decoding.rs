//! Decoding, scoring, saving and loading of local models.

use std::path::Path;

use ascribe_core::{Candidate, Continuation, CoreError, Finish, Mode, Policy, Request, Sampling, Seed, Tokens, Until};
use ascribe_lm::{
    Decoder, DecoderConfig, KvCache, LanguageModel, LmError, LocalPolicy, RandomWeights, Safetensors, Tokenizer,
    WeightSource, save_safetensors,
};
use ascribe_testkit::device::{device, integers, values};
use ascribe_testkit::golden::{Case, close, open, root};
use ascribe_testkit::models::smollm2;
use burn::tensor::Tensor;

const CONTEXT: usize = 48;

fn config() -> DecoderConfig {
    DecoderConfig { kv_heads: 2, tied: false, ..DecoderConfig::tiny(37, 16, 2, 4, CONTEXT) }
}

fn decoder() -> Decoder {
    let mut weights = RandomWeights { seed: Seed(3), layers: 2 };
    Decoder::load(&config(), &mut weights, &device()).expect("fresh weights fit")
}

fn policy() -> LocalPolicy {
    LocalPolicy::new(&decoder(), &[0], CONTEXT).expect("finite weights")
}

fn prompt(seed: u64, length: usize) -> Tokens {
    (0..length as u64).map(|at| ((seed * 31 + at * 17 + at * at) % 36 + 1) as u32).collect()
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn cached_decoding_equals_the_full_forward() {
    let decoder = decoder();
    let ids: Vec<i64> = (0..2 * 12).map(|at| (at * 7 + at * at) % 37).collect();
    let rows = integers::<2>(&ids, [2, 12], &device());
    let full = decoder.hidden(rows.clone(), None);
    for pieces in [vec![12], vec![5, 1, 1, 1, 4], vec![1; 12]] {
        let mut cache = KvCache::new(&decoder, 15);
        let mut start = 0;
        let mut parts = Vec::new();
        for piece in pieces {
            let ids = rows.clone().slice([0..2, start..start + piece]);
            parts.push(decoder.hidden(ids, Some(&mut cache)));
            start += piece;
        }
        close("hidden states", &values(Tensor::cat(parts, 1)), &values(full.clone()), 1e-5);
    }
}

#[test]
fn a_cache_follows_the_rows_that_are_kept() {
    let decoder = decoder();
    let rows = integers::<2>(&[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3], &device());
    let mut cache = KvCache::new(&decoder, 4);
    decoder.hidden(rows, Some(&mut cache));
    cache.select(&[2, 0, 2]);
    let next = decoder.hidden(integers(&[10, 11, 12], [3, 1], &device()), Some(&mut cache));
    let whole = integers::<2>(&[7, 8, 9, 10, 1, 2, 3, 11, 7, 8, 9, 12], [3, 4], &device());
    let expected = decoder.hidden(whole, None).slice([0..3, 3..4, 0..16]);
    close("hidden states", &values(next), &values(expected), 1e-5);
}

#[test]
fn scores_of_a_batch_equal_scores_one_by_one() {
    let policy = policy();
    let given: Vec<Continuation> = (0..9)
        .map(|n| Continuation { prefix: prompt(n, 1 + (n as usize * 5) % 20), tokens: prompt(n + 50, n as usize * 3) })
        .collect();
    let (together, usage) = policy.score(&given).expect("they fit");
    // Prompts with a common beginning are read once.
    let all = given.iter().map(|one| one.prefix.len() + one.tokens.len()).sum::<usize>();
    assert_eq!((usage.scored + usage.reused) as usize, all);
    for (one, together) in given.iter().zip(&together) {
        assert_eq!(together.len(), one.tokens.len());
        let (alone, _) = policy.score(std::slice::from_ref(one)).expect("it fits");
        close("scores", &widened(together), &widened(&alone[0]), 1e-5);
    }
    assert!(policy.score(&[]).expect("nothing to score").0.is_empty());
}

#[test]
fn a_long_list_is_scored_in_several_batches_in_its_own_order() {
    let policy = policy();
    let given: Vec<Continuation> = (0..300)
        .map(|n| Continuation {
            prefix: prompt(n, 3 + (n as usize * 7) % 25),
            tokens: prompt(n + 9, 1 + n as usize % 20),
        })
        .collect();
    let (scores, _) = policy.score(&given).expect("they fit");
    for at in [0, 77, 150, 299] {
        let (alone, _) = policy.score(&given[at..=at]).expect("it fits");
        close("scores", &widened(&scores[at]), &widened(&alone[0]), 1e-5);
    }
}

fn sampled(prefix: Tokens, n: usize, seed: u64) -> Request {
    let mode = Mode::Sample(Sampling { temperature: 0.9, top_k: Some(20), top_p: 0.95, ..Sampling::default() });
    Request { prefix, n, until: Until::End, mode, max_new: 12, seed: Seed(seed) }
}

fn same(got: &[Candidate], expected: &[Candidate]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!((&got.tokens, got.finish), (&expected.tokens, expected.finish));
        close("log-probs", &widened(&got.logps), &widened(&expected.logps), 1e-5);
    }
}

#[test]
fn a_candidate_does_not_depend_on_the_other_requests() {
    let policy = policy();
    let requests = [
        sampled(prompt(1, 6), 3, 11),
        sampled(prompt(2, 6), 2, 11),
        sampled(prompt(3, 9), 4, 12),
        Request { mode: Mode::Greedy, ..sampled(prompt(4, 6), 1, 0) },
        Request { n: 0, ..sampled(prompt(5, 6), 0, 0) },
        Request { max_new: 3, ..sampled(prompt(1, 6), 3, 11) },
    ];
    let together = policy.propose(&requests).expect("they fit");
    for (request, reply) in requests.iter().zip(&together) {
        let alone = policy.propose(std::slice::from_ref(request)).expect("it fits").remove(0);
        same(&reply.candidates, &alone.candidates);
        assert_eq!(reply.usage.generated, alone.usage.generated);
        assert_eq!(reply.usage.scored + reply.usage.reused, alone.usage.scored + alone.usage.reused);
        assert_eq!(reply.candidates.len(), request.n);
    }
    // The first candidates do not depend on how many more are asked for.
    let more = policy.propose(&[Request { n: 300, ..requests[0].clone() }]).expect("it fits").remove(0);
    same(&more.candidates[..3], &together[0].candidates);
    // More than one internal batch: the candidates still differ and stand in order.
    let last = policy.propose(&[Request { n: 299, ..requests[0].clone() }]).expect("it fits").remove(0);
    same(&more.candidates[..299], &last.candidates);
}

#[test]
fn log_probs_while_sampling_equal_the_scores() {
    let policy = policy();
    let reply = policy.propose(&[sampled(prompt(8, 10), 20, 5)]).expect("it fits").remove(0);
    let given: Vec<Continuation> = reply
        .candidates
        .iter()
        .map(|candidate| Continuation { prefix: prompt(8, 10), tokens: candidate.tokens.clone() })
        .collect();
    let (scores, _) = policy.score(&given).expect("they fit");
    for (candidate, scores) in reply.candidates.iter().zip(&scores) {
        // The log-probs are the model's own: temperature, top-k and top-p do not show in them.
        close("log-probs", &widened(&candidate.logps), &widened(scores), 1e-5);
        assert!(candidate.tokens.len() <= 12 && candidate.logps.len() == candidate.tokens.len());
        let ended = candidate.tokens.last() == Some(&0);
        assert_eq!(candidate.finish, if ended { Finish::End } else { Finish::Length });
        assert!(candidate.tokens[..candidate.tokens.len() - 1].iter().all(|id| *id != 0));
    }
    assert_eq!(reply.usage.generated as usize, given.iter().map(|one| one.tokens.len()).sum::<usize>());
    assert_eq!((reply.usage.scored, reply.usage.reused), (10, 190));
}

#[test]
fn the_most_likely_tokens_agree_with_greedy_decoding_and_with_scores() {
    let policy = policy();
    let top = |n| Request { until: Until::Token, mode: Mode::Top, ..sampled(prompt(3, 7), n, 0) };
    let requests = [top(5), Request { mode: Mode::Greedy, ..sampled(prompt(3, 7), 1, 0) }, top(99), top(0)];
    let replies = policy.propose(&requests).expect("they fit");
    let [five, greedy, all, none] = &replies[..] else { panic!("four replies") };
    assert_eq!(five.candidates[0].tokens[0], greedy.candidates[0].tokens[0]);
    assert_eq!((five.usage.generated, five.usage.scored, five.usage.reused), (1, 7, 0));
    // The vocabulary has 37 tokens.
    assert_eq!((all.candidates.len(), none.candidates.len()), (37, 0));
    same(&all.candidates[..5], &five.candidates);
    assert!(all.candidates.is_sorted_by(|left, right| left.logps[0] >= right.logps[0]));
    let given: Vec<Continuation> =
        all.candidates.iter().map(|one| Continuation { prefix: prompt(3, 7), tokens: one.tokens.clone() }).collect();
    let (scores, _) = policy.score(&given).expect("they fit");
    for (one, scores) in all.candidates.iter().zip(&scores) {
        close("log-probs", &widened(&one.logps), &widened(scores), 1e-5);
        assert_eq!(one.finish, if one.tokens[0] == 0 { Finish::End } else { Finish::Step });
    }
    assert!(policy.propose(&[Request { until: Until::End, ..top(1) }]).is_err());
}

#[test]
fn what_was_read_or_written_is_not_repeated() {
    let endless = LocalPolicy::new(&decoder(), &[], CONTEXT).expect("finite weights");
    let mode = Mode::Sample(Sampling { no_repeat_ngram_size: Some(1), ..Sampling::default() });
    let reply = endless.propose(&[Request { mode, ..sampled(prompt(1, 6), 4, 2) }]).expect("it fits").remove(0);
    for candidate in &reply.candidates {
        let mut ids = prompt(1, 6).followed_by(&candidate.tokens).into_vec();
        let read = prompt(1, 6).iter().collect::<std::collections::BTreeSet<_>>().len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), read + 12);
    }
}

#[test]
fn candidates_end_where_they_should() {
    let policy = policy();
    let ask = |request: Request| policy.propose(&[request]).expect("it fits").remove(0).candidates.remove(0);
    let one = ask(Request { until: Until::Token, ..sampled(prompt(1, 4), 1, 1) });
    assert_eq!(one.tokens.len(), 1);
    let separators: Vec<u32> = (1..37).collect();
    let step = ask(Request { until: Until::Step(separators), ..sampled(prompt(1, 4), 1, 1) });
    assert_eq!(step.tokens, one.tokens);
    assert!(step.finish == Finish::Step || step.tokens[0] == 0);
    let none = ask(Request { max_new: 0, ..sampled(prompt(1, 4), 1, 1) });
    assert_eq!((none.tokens.len(), none.finish), (0, Finish::Length));

    // Nothing ends it, so it is the context that does.
    let endless = LocalPolicy::new(&decoder(), &[], CONTEXT).expect("finite weights");
    assert!(policy.ends() && !endless.ends());
    assert_eq!(policy.vocabulary(), Some(37));
    let long = Request { max_new: 1000, ..sampled(prompt(1, CONTEXT - 3), 2, 1) };
    for candidate in endless.propose(&[long]).expect("three tokens fit").remove(0).candidates {
        assert_eq!((candidate.tokens.len(), candidate.finish), (3, Finish::Length));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let policy = policy();
    let propose = |prefix: Tokens| policy.propose(&[sampled(prefix, 1, 1)]).err();
    let score = |prefix: Tokens, tokens: Tokens| policy.score(&[Continuation { prefix, tokens }]).err();
    let full = |error| matches!(error, Some(CoreError::Context { context: CONTEXT, .. }));
    assert!(full(propose(prompt(1, CONTEXT + 1))));
    assert!(full(propose(prompt(1, CONTEXT))), "no room for one new token");
    assert!(propose(prompt(1, CONTEXT - 1)).is_none());
    assert!(full(score(prompt(1, 40), prompt(2, 9))));
    assert!(score(prompt(1, 40), prompt(2, 8)).is_none());
    assert!(matches!(propose(Tokens::default()), Some(CoreError::Shape { .. })));
    assert!(matches!(score(Tokens::default(), prompt(1, 2)), Some(CoreError::Shape { .. })));
    assert!(matches!(propose(vec![37].into()), Some(CoreError::Range { .. })));
    assert!(matches!(score(vec![1].into(), vec![37].into()), Some(CoreError::Range { .. })));
    let hot = Mode::Sample(Sampling { temperature: f32::NAN, ..Sampling::default() });
    assert!(policy.propose(&[Request { mode: hot, ..sampled(prompt(1, 2), 1, 1) }]).is_err());
}

/// Fresh weights whose last norm is so large that logits overflow, though each weight is finite.
struct Overflowing(RandomWeights);

impl WeightSource for Overflowing {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let mut values = self.0.tensor(name, shape)?;
        if name == "model.norm.weight" {
            values.fill(f32::MAX);
        }
        Ok(values)
    }
}

#[test]
fn nothing_is_written_from_logits_that_are_no_numbers() {
    let mut weights = Overflowing(RandomWeights { seed: Seed(3), layers: 2 });
    let decoder = Decoder::load(&config(), &mut weights, &device()).expect("finite weights fit");
    let policy = LocalPolicy::new(&decoder, &[0], CONTEXT).expect("finite weights");
    for mode in [Mode::Greedy, Mode::Sample(Sampling::default())] {
        let error = policy.propose(&[Request { mode, ..sampled(prompt(1, 5), 1, 3) }]).expect_err("no numbers");
        assert!(error.to_string().contains("the logits of this model are too large, or no numbers"), "{error}");
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_folder(root().join("lm/tokenizer_llama3")).expect("the golden tokenizer can be read")
}

/// A small model that the golden tokenizer fits, in a folder of its own.
fn saved(folder: &Path) -> LanguageModel {
    let config = DecoderConfig { tied: false, ..DecoderConfig::tiny(402, 16, 1, 2, 64) };
    let model = LanguageModel::fresh(config, tokenizer(), Seed(1), &device()).expect("the tokenizer fits");
    model.save(folder).expect("the folder can be written");
    model
}

fn load(folder: &Path) -> Result<LanguageModel, LmError> {
    LanguageModel::load(folder, &device())
}

#[test]
fn saving_and_loading_keeps_every_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    for model in ["lm/llama_gqa", "fresh"] {
        let before = match model {
            "fresh" => saved(folder.path()),
            model => load(&root().join(model)).expect("the golden model loads"),
        };
        let path = folder.path().join(model);
        before.save(&path).expect("the folder can be written");
        let after = load(&path).expect("what was saved loads");
        assert_eq!(after.decoder.hash(), before.decoder.hash());
        assert_eq!(after.config, before.config);
        assert_eq!(after.text_hash(), before.text_hash());
        // Bytes, not only values: a second save writes the same file.
        let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).expect("written");
        let again = folder.path().join("again");
        after.save(&again).expect("the folder can be written");
        assert_eq!(weights(&again), weights(&path));
        let parts = std::fs::read_dir(&path).expect("the folder is there");
        assert!(parts.flatten().all(|entry| !entry.file_name().to_string_lossy().ends_with(".part")));
    }
    // The tensors of a golden file survive, in name, layout and value.
    let mut theirs = Safetensors::open(&root().join("lm/llama_gqa")).expect("golden");
    let mut ours = Safetensors::open(&folder.path().join("lm/llama_gqa")).expect("saved");
    for (name, shape) in [
        ("model.layers.1.self_attn.k_proj.weight", [16, 32]),
        ("lm_head.weight", [402, 32]),
        ("model.layers.0.mlp.down_proj.weight", [32, 64]),
    ] {
        assert_eq!(ours.tensor(name, &shape).expect(name), theirs.tensor(name, &shape).expect(name));
    }
}

#[test]
fn a_truncated_file_is_an_error_wherever_it_is_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    saved(folder.path());
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).expect("written");
    let header = u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    for cut in
        [0, 1, 7, 8, 9, 8 + header / 2, 8 + header - 1, 8 + header, 8 + header + 1, whole.len() / 2, whole.len() - 1]
    {
        std::fs::write(&path, &whole[..cut]).expect("written");
        match load(folder.path()).err() {
            Some(LmError::Format { path: named, .. }) => assert_eq!(named, path),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).expect("written");
    assert!(matches!(load(folder.path()), Err(LmError::Format { .. })), "a byte too many");
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(load(folder.path()), Err(LmError::Io { .. })));
}

#[test]
fn spoilt_weights_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = saved(folder.path());
    let path = folder.path().join("model.safetensors");
    let mut weights = Safetensors::open(folder.path()).expect("just written");
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let mut named: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![402, 16]),
        ("model.norm.weight".into(), vec![16]),
        ("lm_head.weight".into(), vec![402, 16]),
        (layer("input_layernorm"), vec![16]),
        (layer("post_attention_layernorm"), vec![16]),
        (layer("mlp.gate_proj"), vec![64, 16]),
        (layer("mlp.up_proj"), vec![64, 16]),
        (layer("mlp.down_proj"), vec![16, 64]),
    ];
    named.extend(
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|part| (layer(&format!("self_attn.{part}")), vec![16, 16])),
    );
    let all: Vec<(String, Vec<usize>, Vec<f32>)> = named
        .into_iter()
        .map(|(name, shape)| {
            let values = weights.tensor(&name, &shape).expect(&name);
            (name, shape, values)
        })
        .collect();
    type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = all.clone();
        change(&mut tensors);
        save_safetensors(&path, &tensors, Default::default()).expect("written");
        load(folder.path())
    };
    let untouched = with(&|_| ()).map(|model| model.decoder.hash());
    assert_eq!(untouched.expect("nothing was changed"), model.decoder.hash());
    for at in 0..all.len() {
        let name = all[at].0.as_str();
        let missing = with(&|tensors| drop(tensors.remove(at)));
        assert!(matches!(missing, Err(LmError::MissingTensor { name: named, .. }) if named == name));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let spoilt = with(&|tensors| *tensors[at].2.last_mut().expect("not empty") = bad);
            assert!(matches!(spoilt, Err(LmError::NotFinite { name: named }) if named == name));
        }
        let shape = all[at].1.clone();
        let turned = with(&|tensors| tensors[at].1.insert(0, 1));
        match turned.err() {
            Some(LmError::Shape { name: named, expected, got }) => {
                assert_eq!((named.as_str(), &expected, got), (name, &shape, [vec![1], shape.clone()].concat()));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    // 402 rows of 16 are not 16 rows of 402, though they are as many values.
    let transposed = with(&|tensors| tensors[0].1.reverse());
    assert!(matches!(transposed, Err(LmError::Shape { .. })));
}

#[test]
fn a_tokenizer_with_more_ids_than_embeddings_is_refused() {
    let too_small = DecoderConfig::tiny(100, 16, 1, 2, 64);
    let fresh = LanguageModel::fresh(too_small.clone(), tokenizer(), Seed(1), &device());
    assert!(matches!(fresh, Err(LmError::Vocabulary { embeddings: 100, .. })));

    let folder = tempfile::tempdir().expect("a folder");
    let mut weights = RandomWeights { seed: Seed(1), layers: 1 };
    let decoder = Decoder::load(&too_small, &mut weights, &device()).expect("fresh weights fit");
    let name = String::new();
    let model = LanguageModel { decoder, config: too_small, tokenizer: tokenizer(), template: None, name };
    model.save(folder.path()).expect("saving does not check");
    assert!(matches!(load(folder.path()), Err(LmError::Vocabulary { embeddings: 100, .. })));
}

#[test]
fn configs_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let base = std::fs::read_to_string(root().join("lm/llama_gqa/config.json")).expect("golden");
    let with = |key: &str, value: serde_json::Value| {
        let mut json: serde_json::Value = serde_json::from_str(&base).expect("JSON");
        json[key] = value;
        std::fs::write(&path, json.to_string()).expect("written");
        DecoderConfig::from_json(&path)
    };
    for (key, value) in [
        ("num_key_value_heads", 3.into()),
        ("num_key_value_heads", 0.into()),
        ("head_dim", 7.into()),
        ("vocab_size", serde_json::Value::Null),
        ("vocab_size", (-5).into()),
        ("hidden_size", "32".into()),
        ("rms_norm_eps", "small".into()),
        ("rope_theta", "large".into()),
        ("num_attention_heads", 0.into()),
        ("rope_scaling", serde_json::json!({"rope_type": "llama3"})),
        ("rope_scaling", serde_json::json!({"rope_type": "linear", "factor": 0})),
        ("rope_scaling", serde_json::json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]})),
    ] {
        let got = with(key, value.clone());
        assert!(matches!(got, Err(LmError::Config { .. })), "{key} = {value}: {got:?}");
    }
    for (key, value) in [
        ("model_type", "mamba".into()),
        ("model_type", serde_json::Value::Null),
        ("architectures", serde_json::json!(["LlamaForQuestionAnswering"])),
        ("architectures", serde_json::json!(["MistralForCausalLM"])),
        ("hidden_act", "gelu".into()),
        ("partial_rotary_factor", 0.5.into()),
        ("rope_scaling", serde_json::json!({"type": "mrope", "factor": 2.0})),
    ] {
        let got = with(key, value.clone());
        assert!(matches!(got, Err(LmError::Unsupported { .. })), "{key} = {value}: {got:?}");
    }
    // An unknown architecture is named, with all that are known.
    let unknown = with("model_type", "mamba".into()).expect_err("it is not known").to_string();
    let known = "use a model of type llama, mistral, qwen2, qwen3, gemma2, gemma3_text, gpt2";
    assert!(unknown.contains("model_type `mamba`") && unknown.ends_with(known), "{unknown}");
    std::fs::write(&path, "{").expect("written");
    assert!(matches!(DecoderConfig::from_json(&path), Err(LmError::Config { .. })));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(DecoderConfig::from_json(&path), Err(LmError::Io { .. })));
}

fn ids(case: &Case) -> Tokens {
    case.integers().into_iter().map(|id| id as u32).collect()
}

#[test]
fn golden_smollm2_writes_and_scores_as_in_transformers() {
    let Some(path) = smollm2() else { return };
    let model = load(&path).expect("the GGUF file loads whole");
    // EOS is ignored in the file.
    let policy = LocalPolicy::new(&model.decoder, &[], model.config.context).expect("finite weights");
    for case in open("smollm2/expected.json").get("cases").items() {
        let prompt = ids(&case.get("ids"));
        let tokens: Vec<i64> = prompt.iter().map(|id| i64::from(*id)).collect();
        let hidden = model.decoder.hidden(integers(&tokens, [1, tokens.len()], &device()), None);
        let [_, seq, width] = hidden.dims();
        let last = hidden.slice([0..1, seq - 1..seq, 0..width]).reshape([1, width]);
        let logits = values(model.decoder.head(last));
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let top: Vec<f64> = case.get("top10_ids").integers().iter().map(|id| logits[*id as usize]).collect();
        close(&format!("{case} top 10"), &top, &case.get("top10_logits").numbers(), 5e-3);
        // The ten largest are the same ten; two that lie within the tolerance may change places.
        let mut expected = case.get("top10_ids").integers();
        let mut got: Vec<i64> = order[..10].iter().map(|id| *id as i64).collect();
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, expected, "{case}");
        let largest = logits[order[0]];
        let sum = largest + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
        close(&format!("{case} logsumexp"), &[sum], &[case.get("logsumexp").number()], 5e-3);
        let mean = logits.iter().sum::<f64>() / logits.len() as f64;
        close(&format!("{case} mean"), &[mean], &[case.get("logits_mean").number()], 5e-3);
        let entropy: f64 = logits.iter().map(|x| (sum - x) * (x - sum).exp()).sum();
        close(&format!("{case} entropy"), &[entropy], &[case.get("next_token_entropy").number()], 5e-3);

        let request = Request { until: Until::End, mode: Mode::Greedy, max_new: 24, ..sampled(prompt.clone(), 1, 0) };
        let reply = policy.propose(&[request]).expect("it fits").remove(0);
        assert_eq!(reply.candidates[0].tokens, ids(&case.get("greedy_24")), "{case}");

        let completions = ["completion", "other_completion"].map(|key| case.get(key));
        let given: Vec<Continuation> = completions
            .iter()
            .map(|completion| Continuation { prefix: prompt.clone(), tokens: ids(&completion.get("ids")) })
            .collect();
        let (scores, _) = policy.score(&given).expect("they fit");
        for (completion, scores) in completions.iter().zip(&scores) {
            close(&completion.name(), &widened(scores), &completion.get("token_logps").numbers(), 5e-3);
            let sum = widened(scores).iter().sum::<f64>();
            close(&completion.name(), &[sum], &[completion.get("sum_logp").number()], 1e-2);
        }
    }
}
