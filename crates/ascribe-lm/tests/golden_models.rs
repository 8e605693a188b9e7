//! Decoder models against transformers: `lm/*` (see `golden/README.md`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ascribe_core::tensor::token_logps;
use ascribe_core::{Continuation, Finish, Mode, Policy, Request, Seed, Until};
use ascribe_lm::{
    Decoder, DecoderConfig, LanguageModel, LmError, LocalPolicy, Norm, Positions, RopeScaling, Row, Safetensors,
    WeightSource,
};
use ascribe_testkit::device::{device, integers, values};
use ascribe_testkit::golden::{Case, close, open, root};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// The language models among the golden models.
const MODELS: [&str; 11] = [
    "lm/gemma2",
    "lm/gemma3_text",
    "lm/gpt2",
    "lm/llama_gqa",
    "lm/llama_linear_rope_bias",
    "lm/llama_ref",
    "lm/llama_tied_rope_llama3",
    "lm/mistral_full",
    "lm/mistral_sliding",
    "lm/qwen2",
    "lm/qwen3",
];
/// The classifiers: of sequences, of tokens.
const CLASSIFIERS: [&str; 2] = ["lm/llama_seqcls", "lm/qwen2_tokcls"];
/// Logits, log-probabilities and hidden states; losses; gradient norms.
const TOLERANCE: f64 = 2e-4;
const LOSS: f64 = 1e-4;
const GRADIENT: f64 = 1e-3;

fn folder(model: &str) -> PathBuf {
    root().join(model)
}

fn config(folder: &Path) -> DecoderConfig {
    DecoderConfig::from_json(&folder.join("config.json")).expect("the config is known")
}

fn load(folder: &Path, device: &Device) -> Decoder {
    let mut weights = Safetensors::open(folder).expect("the weights can be read");
    Decoder::load(&config(folder), &mut weights, device).expect("the weights fit the config")
}

fn ids(case: &Case) -> Vec<u32> {
    case.integers().into_iter().map(|id| id as u32).collect()
}

/// The real tokens of each row of a padded batch, and where they begin.
fn unpadded(batch: &Case) -> Vec<(usize, Vec<u32>)> {
    let width = batch.get("attention_mask").shape()[1];
    let (tokens, mask) = (ids(&batch.get("input_ids")), batch.get("attention_mask").integers());
    let row = |(tokens, mask): (&[u32], &[i64])| {
        let start = mask.iter().position(|flag| *flag == 1).expect("no row is all padding");
        (start, tokens.iter().zip(mask).filter(|(_, flag)| **flag == 1).map(|(id, _)| *id).collect())
    };
    tokens.chunks(width).zip(mask.chunks(width)).map(row).collect()
}

/// Logits of every position of every row: `[position][vocab]` a row. With `together`, the rows are one batch that is
/// padded on the right; else each row stands alone.
fn logits(decoder: &Decoder, rows: &[Vec<u32>], together: bool) -> Vec<Vec<Vec<f64>>> {
    let device = decoder.device();
    let run = |rows: &[Vec<u32>]| -> Vec<Vec<Vec<f64>>> {
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        // Token 7 is the padding of these models; what stands there must not matter.
        let padded = rows.iter().flat_map(|row| {
            row.iter().copied().chain(std::iter::repeat(7)).take(longest).map(i64::from).collect::<Vec<_>>()
        });
        let ids = integers(&padded.collect::<Vec<_>>(), [rows.len(), longest], &device);
        let all = values(decoder.logits(ids));
        let per_row = longest * decoder.vocab_size();
        let cut = |(row, ids): (&[f64], &Vec<u32>)| {
            row.chunks(decoder.vocab_size()).take(ids.len()).map(<[f64]>::to_vec).collect()
        };
        all.chunks(per_row).zip(rows).map(cut).collect()
    };
    if together { run(rows) } else { rows.iter().flat_map(|row| run(std::slice::from_ref(row))).collect() }
}

fn log_sum_exp(row: &[f64]) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

fn argmax(row: &[f64]) -> i64 {
    row.iter().enumerate().fold(0, |best, (at, x)| if *x > row[best] { at } else { best }) as i64
}

#[test]
fn golden_models_are_all_run() {
    let entries = std::fs::read_dir(root().join("lm")).expect("the golden models are here");
    let paths = entries.map(|entry| entry.expect("the entry can be read").path());
    let mut found: Vec<String> = paths
        .filter(|path| path.join("config.json").is_file())
        .map(|path| format!("lm/{}", path.file_name().and_then(|name| name.to_str()).expect("names are text")))
        .collect();
    found.sort();
    let mut run = [MODELS.as_slice(), CLASSIFIERS.as_slice()].concat();
    run.sort_unstable();
    assert_eq!(found, run);
}

#[test]
fn golden_logits_agree_with_transformers() {
    for model in MODELS {
        let file = open(&format!("{model}/expected.json"));
        let decoder = load(&folder(model), &device());
        for (side, together) in [("right", true), ("left", false)] {
            let batch = file.get("batches").get(side);
            let rows = unpadded(&batch);
            let tokens: Vec<Vec<u32>> = rows.iter().map(|(_, ids)| ids.clone()).collect();
            let got = logits(&decoder, &tokens, together);

            let columns = batch.get("logits_first_vocab_columns");
            let (shape, expected) = (columns.get("shape").integers(), columns.get("data").numbers());
            let (seq, kept) = (shape[1] as usize, shape[2] as usize);
            for (row, (start, ids)) in rows.iter().enumerate() {
                for (at, logits) in got[row].iter().enumerate().take(ids.len()) {
                    let from = (row * seq + start + at) * kept;
                    let what = format!("{columns}: row {row}, position {at}");
                    close(&what, &logits[..kept], &expected[from..from + kept], TOLERANCE);
                }
                let largest: Vec<i64> = got[row].iter().map(|logits| argmax(logits)).collect();
                assert_eq!(largest, batch.get("argmax_at_valid").items()[row].integers(), "{batch}");
                let sums: Vec<f64> = got[row].iter().map(|logits| log_sum_exp(logits)).collect();
                close("logsumexp", &sums, &batch.get("logsumexp_at_valid").items()[row].numbers(), TOLERANCE);
                assert_eq!((start + ids.len() - 1) as i64, batch.get("last_token_index").integers()[row]);
            }
            if let Some(last) = batch.opt("last_token_logits_seq0") {
                close(&last.name(), got[0].last().expect("a prompt has a token"), &last.numbers(), TOLERANCE);
            }
            let all: Vec<f64> = got.iter().flatten().flatten().copied().collect();
            let sums = batch.get("checksums_valid");
            // Sums of n terms: the tolerance of one term, times n, bounds the error; relative to the sum it is smaller.
            let total = |f: fn(f64) -> f64| all.iter().map(|x| f(*x)).sum::<f64>();
            for (key, value) in [("sum_abs", total(f64::abs)), ("sum_sq", total(|x| x * x))] {
                close(&format!("{sums}.{key}"), &[value], &[sums.get(key).number()], TOLERANCE);
            }
            let off = (total(|x| x) - sums.get("sum").number()).abs() / all.len() as f64;
            assert!(off < TOLERANCE, "{sums}.sum is off by {off:e} a logit");
            let extreme = |pick: fn(f64, f64) -> f64| all.iter().copied().reduce(pick).expect("there are logits");
            close("max", &[extreme(f64::max)], &[sums.get("max").number()], TOLERANCE);
            close("min", &[extreme(f64::min)], &[sums.get("min").number()], TOLERANCE);
        }
    }
}

/// The model without its later layers.
fn cut(config: &DecoderConfig, layers: usize) -> DecoderConfig {
    DecoderConfig { layers, windows: config.windows[..layers].to_vec(), ..config.clone() }
}

#[test]
fn golden_hidden_states_agree_with_transformers() {
    for model in MODELS {
        let file = open(&format!("{model}/expected.json"));
        let (folder, device) = (folder(model), device());
        let mut weights = Safetensors::open(&folder).expect("the weights can be read");
        let full = config(&folder);
        let end = if model == "lm/gpt2" { "transformer.ln_f" } else { "model.norm" };
        let width = [full.hidden_size];
        let gamma = weights.tensor(&format!("{end}.weight"), &width).expect("the norm is there");
        let bias = match full.norm {
            Norm::Layer => weights.tensor(&format!("{end}.bias"), &width).expect("a layer norm has a bias"),
            Norm::Rms | Norm::RmsPlusOne => vec![0.0; full.hidden_size],
        };
        let batch = file.get("batches").get("right");
        let prompt: Vec<i64> = unpadded(&batch)[0].1.iter().map(|id| i64::from(*id)).collect();
        let states = batch.get("hidden_states_seq0_last_token").items();
        assert_eq!(states.len(), full.layers + 1);
        for (layers, expected) in states.iter().enumerate() {
            // A decoder cut after `layers` layers ends with the final norm; the file has it on the last state alone.
            let decoder = Decoder::load(&cut(&full, layers), &mut weights, &device).expect("cut");
            let hidden = values(decoder.hidden(integers(&prompt, [1, prompt.len()], &device), None));
            let last = &hidden[hidden.len() - full.hidden_size..];
            let mut expected = expected.numbers();
            if layers < full.layers {
                let n = expected.len() as f64;
                let mean = if full.norm == Norm::Layer { expected.iter().sum::<f64>() / n } else { 0.0 };
                let square = expected.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
                let root = (square + full.norm_epsilon).sqrt();
                let plus = if full.norm == Norm::RmsPlusOne { 1.0 } else { 0.0 };
                for (x, (gamma, bias)) in expected.iter_mut().zip(gamma.iter().zip(&bias)) {
                    *x = (*x - mean) / root * (plus + f64::from(*gamma)) + f64::from(*bias);
                }
            }
            close(&format!("{batch}: after {layers} layers"), last, &expected, TOLERANCE);
        }
    }
}

/// The id of a parameter, which depends on its name alone: optimizer state that was saved relies on it.
fn id(name: &str) -> ParamId {
    let hash = blake3::hash(name.as_bytes());
    ParamId::from(u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes")))
}

#[test]
fn golden_losses_and_gradient_norms_agree_with_transformers() {
    for model in MODELS {
        let file = open(&format!("{model}/expected.json"));
        let decoder = load(&folder(model), &device().autodiff());
        for side in ["right", "left"] {
            let batch = file.get("batches").get(side);
            let rows = unpadded(&batch);
            // The first token is the prompt, so every later token is predicted.
            let split: Vec<Row> = rows.iter().map(|(_, ids)| Row { prompt: &ids[..1], response: &ids[1..] }).collect();
            let (logps, mask) = decoder.response_logps(&split).expect("no prompt is empty");
            let [_, longest] = logps.dims();
            let got = values(logps.clone());
            let width = batch.get("token_logps").shape()[1];
            let mut expected = batch.get("token_logps").numbers();
            if side == "left" {
                rows.iter().zip(expected.chunks_mut(width)).for_each(|((start, _), row)| row.rotate_left(*start));
            }
            assert_eq!(longest, width);
            close(&format!("{batch} token_logps"), &got, &expected, TOLERANCE);
            let sums = values(mask.sum(logps.clone()));
            close(&format!("{batch} seq_logp_sum"), &sums, &batch.get("seq_logp_sum").numbers(), TOLERANCE);

            let count: usize = split.iter().map(|row| row.response.len()).sum();
            let loss = logps.sum().neg().div_scalar(count as f64);
            close(&batch.name(), &values(loss.clone()), &[batch.get("causal_lm_loss").number()], LOSS);

            let gradients = GradientsParams::from_grads(loss.backward(), &decoder);
            check_gradient_norms(&gradients, &batch);
        }
    }
}

/// Every parameter of the file, and the norm of all together.
fn check_gradient_norms(gradients: &GradientsParams, batch: &Case) {
    let norms = batch.get("grad_norms");
    let square = |name: &str| {
        let missing = "every parameter has a gradient";
        let vector = name.contains("norm") || name.ends_with(".bias");
        let values = match vector {
            true => values::<1>(gradients.get(id(name)).expect(missing)),
            false => values::<2>(gradients.get(id(name)).expect(missing)),
        };
        values.iter().map(|x| x * x).sum::<f64>()
    };
    let (mut total, mut count) = (0.0, 0);
    for name in norms.keys() {
        let ours = ours(&name);
        count += ours.len();
        let sum: f64 = ours.iter().map(|name| square(name)).sum();
        total += sum;
        close(&format!("{norms}.{name}"), &[sum.sqrt()], &[norms.get(&name).number()], GRADIENT);
    }
    assert_eq!(gradients.len(), count, "{norms}: parameters with a gradient");
    close(&norms.name(), &[total.sqrt()], &[batch.get("grad_norm").number()], GRADIENT);
}

/// Our names for a parameter: GPT-2 has others, and one for queries, keys and values.
fn ours(name: &str) -> Vec<String> {
    let Some(rest) = name.strip_prefix("transformer.") else { return vec![name.to_owned()] };
    let pairs = [
        ("wte.", "model.embed_tokens."),
        ("wpe.", "model.embed_positions."),
        ("ln_f.", "model.norm."),
        (".ln_1.", ".input_layernorm."),
        (".ln_2.", ".post_attention_layernorm."),
        (".attn.c_proj.", ".self_attn.o_proj."),
        (".mlp.c_fc.", ".mlp.up_proj."),
        (".mlp.c_proj.", ".mlp.down_proj."),
    ];
    let layer = rest.strip_prefix("h.").map(|rest| format!("model.layers.{rest}")).unwrap_or_else(|| rest.to_owned());
    match pairs.iter().find(|(theirs, _)| layer.contains(theirs)) {
        Some((theirs, ours)) => vec![layer.replacen(theirs, ours, 1)],
        None => {
            ["q", "k", "v"].map(|one| layer.replacen(".attn.c_attn.", &format!(".self_attn.{one}_proj."), 1)).into()
        }
    }
}

#[test]
fn golden_classifiers_agree_with_transformers() {
    for model in CLASSIFIERS {
        let file = open(&format!("{model}/expected.json"));
        let decoder = load(&folder(model), &device().autodiff());
        for side in ["right", "left"] {
            let batch = file.get("batches").get(side);
            let rows: Vec<Vec<u32>> = unpadded(&batch).into_iter().map(|(_, ids)| ids).collect();
            let given: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let scores = decoder.scores(&given).expect("no row is empty");
            let got = values(scores.clone());
            let loss = match batch.opt("scores") {
                Some(expected) => {
                    close(&expected.name(), &got, &expected.numbers(), TOLERANCE);
                    let margin = scores.clone().slice([0..1, 0..1]) - scores.slice([1..2, 0..1]);
                    (log_sigmoid(margin).neg().sum(), batch.get("bt_loss_seq0_over_seq1"))
                }
                None => {
                    let expected = batch.get("token_logits_at_valid").items();
                    let expected: Vec<f64> = expected.iter().flat_map(|row| row.get("data").numbers()).collect();
                    close(&batch.name(), &got, &expected, TOLERANCE);
                    // Real tokens alone, in the order of the rows; -100 carries no label.
                    let labels = batch.get("labels").integers();
                    let mask = batch.get("attention_mask").integers();
                    let labels = labels.iter().zip(&mask).filter(|(_, real)| **real == 1).map(|(label, _)| *label);
                    let labelled: Vec<(i64, i64)> = (0..).zip(labels).filter(|(_, label)| *label != -100).collect();
                    let n = labelled.len();
                    let index = |values: Vec<i64>| integers(&values, [n], &device().autodiff());
                    let places = index(labelled.iter().map(|(place, _)| *place).collect());
                    let targets = index(labelled.iter().map(|(_, label)| *label).collect());
                    (token_logps(scores.select(0, places), targets).mean().neg(), batch.get("loss"))
                }
            };
            close(&loss.1.name(), &values(loss.0.clone()), &[loss.1.number()], LOSS);
            let gradients = GradientsParams::from_grads(loss.0.backward(), &decoder);
            if batch.opt("grad_norms").is_some() {
                check_gradient_norms(&gradients, &batch);
            } else {
                let mut total = Squares { gradients: &gradients, sum: 0.0 };
                decoder.visit(&mut total);
                close("grad_norm", &[total.sum.sqrt()], &[batch.get("grad_norm").number()], GRADIENT);
            }
        }
    }
}

/// The squared norm of all gradients together.
struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id).expect("every parameter has a gradient");
        self.sum += values(gradient).iter().map(|x| x * x).sum::<f64>();
    }
}

fn request(prefix: &[u32], max_new: usize) -> Request {
    Request { prefix: prefix.into(), n: 1, until: Until::End, mode: Mode::Greedy, max_new, seed: Seed(0) }
}

#[test]
fn golden_greedy_decoding_writes_the_same_tokens() {
    for model in MODELS {
        let file = open(&format!("{model}/expected.json"));
        let decoder = load(&folder(model), &device());
        let context = config(&folder(model)).context;
        let prompts: Vec<Vec<u32>> = file.get("prompts").items().iter().map(ids).collect();
        let expected: Vec<Vec<u32>> = file.get("greedy_16_tokens").items().iter().map(ids).collect();

        let endless = LocalPolicy::new(&decoder, &[], context).expect("finite weights");
        let requests: Vec<Request> = prompts.iter().map(|prompt| request(prompt, 16)).collect();
        let replies = endless.propose(&requests).expect("the prompts fit");
        for ((reply, prompt), expected) in replies.iter().zip(&prompts).zip(&expected) {
            let candidate = &reply.candidates[0];
            assert_eq!(candidate.tokens[..], expected[..], "{file}");
            assert_eq!(candidate.finish, Finish::Length);
            let given = Continuation { prefix: prompt.as_slice().into(), tokens: candidate.tokens.clone() };
            let scored: Vec<f64> =
                endless.score(&[given]).expect("it fits").0[0].iter().map(|x| f64::from(*x)).collect();
            let written: Vec<f64> = candidate.logps.iter().map(|x| f64::from(*x)).collect();
            close(&format!("{file} log-probs while writing"), &written, &scored, 1e-5);
        }

        let stop = file.get("greedy_with_eos");
        let policy =
            LocalPolicy::new(&decoder, &[stop.get("eos_token_id").number() as u32], context).expect("finite weights");
        let prompt = &prompts[stop.get("prompt_index").number() as usize];
        let reply = policy.propose(&[request(prompt, 16)]).expect("the prompt fits").remove(0);
        assert_eq!(reply.candidates[0].tokens[..], ids(&stop.get("new_tokens"))[..], "{stop}");
        assert_eq!(reply.candidates[0].finish, Finish::End);
    }
}

#[test]
fn golden_folder_with_a_tokenizer_loads_whole() {
    let model = LanguageModel::load(&folder("lm/llama_gqa"), &device()).expect("config, weights, tokenizer, template");
    assert!(model.template.is_some());
    assert_eq!(model.decoder.hash(), load(&folder("lm/llama_gqa"), &device()).hash());
    // llama_ref has the same shapes and other weights.
    assert_ne!(model.decoder.hash(), load(&folder("lm/llama_ref"), &device()).hash());
}

#[test]
fn golden_configs_of_both_spellings_are_the_same_model() {
    let path = folder("lm/llama_tied_rope_llama3").join("config.json");
    let old = DecoderConfig::from_json(&path).expect("transformers 4");
    let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 32.0 };
    let Positions::Rotary { global, .. } = old.positions.clone() else { panic!("a Llama's positions are rotary") };
    assert_eq!((global.theta, global.scaling, old.tied, old.kv_heads), (5000.0, scaling, true, 1));

    let text = std::fs::read_to_string(&path).expect("the config is here");
    let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("it is JSON");
    let mut rope = json.remove("rope_scaling").expect("transformers 4 has it");
    rope["rope_theta"] = json.remove("rope_theta").expect("transformers 4 has it");
    json.insert("rope_parameters".into(), rope);
    let dtype = json.remove("torch_dtype").expect("transformers 4 has it");
    json.insert("dtype".into(), dtype);
    let temporary = tempfile::tempdir().expect("a folder");
    let path = temporary.path().join("config.json");
    std::fs::write(&path, serde_json::Value::Object(json).to_string()).expect("it can be written");
    assert_eq!(DecoderConfig::from_json(&path).expect("transformers 5"), old);
}

/// Name, shape and f32 values of every tensor of a golden model.
fn tensors(model: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(folder(model).join("model.safetensors")).expect("the weights are here");
    let file = SafeTensors::deserialize(&bytes).expect("they are safetensors");
    let floats = |view: &TensorView| {
        assert_eq!(view.dtype(), Dtype::F32);
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec(), floats(&view))).collect()
}

fn write(path: &Path, dtype: Dtype, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let convert = |value: &f32| match dtype {
        Dtype::F16 => half::f16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::BF16 => half::bf16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| values.iter().flat_map(convert).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).expect("the bytes fill the shape"))
    });
    safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, path).expect("it can be written");
}

fn copy_config(model: &str, to: &Path) {
    std::fs::copy(folder(model).join("config.json"), to.join("config.json")).expect("the config can be copied");
}

#[test]
fn golden_weights_in_shards_are_the_same_model() {
    let all = tensors("lm/llama_gqa");
    let temporary = tempfile::tempdir().expect("a folder");
    copy_config("lm/llama_gqa", temporary.path());
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut map = HashMap::new();
    for (part, name) in [&all[..all.len() / 2], &all[all.len() / 2..]].into_iter().zip(names) {
        write(&temporary.path().join(name), Dtype::F32, part);
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), name)));
    }
    let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
    std::fs::write(temporary.path().join("model.safetensors.index.json"), index.to_string()).expect("written");
    let sharded = load(temporary.path(), &device());
    assert_eq!(sharded.hash(), load(&folder("lm/llama_gqa"), &device()).hash());

    // A shard that is not there is named.
    std::fs::remove_file(temporary.path().join(names[1])).expect("removed");
    match Safetensors::open(temporary.path()).err() {
        Some(LmError::Io { path, .. }) => assert!(path.ends_with(names[1])),
        other => panic!("{other:?}"),
    }
}

/// Weights as a file of another precision holds them.
struct Rounded {
    inner: Safetensors,
    round: fn(f32) -> f32,
}

impl WeightSource for Rounded {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        Ok(self.inner.tensor(name, shape)?.into_iter().map(self.round).collect())
    }
}

#[test]
fn golden_weights_of_half_precision_are_the_rounded_weights() {
    let all = tensors("lm/llama_gqa");
    type Round = fn(f32) -> f32;
    let rounds: [(Dtype, Round); 2] =
        [(Dtype::F16, |x| half::f16::from_f32(x).to_f32()), (Dtype::BF16, |x| half::bf16::from_f32(x).to_f32())];
    for (dtype, round) in rounds {
        let temporary = tempfile::tempdir().expect("a folder");
        copy_config("lm/llama_gqa", temporary.path());
        write(&temporary.path().join("model.safetensors"), dtype, &all);
        let inner = Safetensors::open(&folder("lm/llama_gqa")).expect("the weights are here");
        let expected = Decoder::load(&config(temporary.path()), &mut Rounded { inner, round }, &device());
        let got = load(temporary.path(), &device());
        assert_eq!(got.hash(), expected.expect("rounded weights are finite").hash(), "{dtype:?}");
        assert_ne!(got.hash(), load(&folder("lm/llama_gqa"), &device()).hash());
    }
    // A precision that is not read is refused by name.
    let temporary = tempfile::tempdir().expect("a folder");
    let view = TensorView::new(Dtype::F64, vec![1], &[0; 8]).expect("8 bytes");
    safetensors::serialize_to_file([("x", view)], None, &temporary.path().join("model.safetensors")).expect("written");
    let mut weights = Safetensors::open(temporary.path()).expect("it is safetensors");
    assert!(matches!(weights.tensor("x", &[1]), Err(LmError::Unsupported { .. })));
}

#[test]
fn padding_and_other_rows_change_no_logit() {
    let decoder = load(&folder("lm/llama_gqa"), &device());
    let rows: Vec<Vec<u32>> = vec![vec![5, 9, 4], (20..41).collect(), vec![300]];
    let (together, alone) = (logits(&decoder, &rows, true), logits(&decoder, &rows, false));
    for (together, alone) in together.iter().flatten().zip(alone.iter().flatten()) {
        close("logits", together, alone, 1e-5);
    }
}

#[test]
fn rows_without_a_prompt_are_refused_and_empty_responses_are_not() {
    let decoder = load(&folder("lm/llama_gqa"), &device());
    assert!(decoder.response_logps(&[Row { prompt: &[], response: &[1] }]).is_err());
    let rows = [Row { prompt: &[1, 2], response: &[] }, Row { prompt: &[1], response: &[2, 3] }];
    let (logps, mask): (Tensor<2>, _) = decoder.response_logps(&rows).expect("an empty response has no log-probs");
    assert_eq!(logps.dims(), [2, 2]);
    let sums = values(mask.sum(logps));
    assert!(sums[0] == 0.0 && sums[1] < 0.0);
    let (none, _) = decoder.response_logps(&rows[..1]).expect("nothing to score");
    assert_eq!(none.dims(), [1, 0]);
}
