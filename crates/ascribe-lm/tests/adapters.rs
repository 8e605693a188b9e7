//! Adapters against dense weights, and in and out in the layout of peft.

use std::path::{Path, PathBuf};

use ascribe_core::Seed;
use ascribe_lm::{
    Head, HeadInit, LanguageModel, LmError, LoraConfig, Roles, Row, Safetensors, Tokenizer, WeightSource,
    save_safetensors,
};
use ascribe_testkit::device::{device, integers, values};
use ascribe_testkit::golden::{close, root};
use serde_json::{Value, json};

type Named = (String, Vec<usize>, Vec<f32>);
type Tensors = Vec<Named>;

const R: usize = 4;
/// `llama_gqa`: 2 layers, 32 wide, 64 inside the feed-forward block, 16 for keys and values.
const SHAPES: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", 32, 32),
    ("self_attn.k_proj", 32, 16),
    ("self_attn.v_proj", 32, 16),
    ("self_attn.o_proj", 32, 32),
    ("mlp.gate_proj", 32, 64),
    ("mlp.up_proj", 32, 64),
    ("mlp.down_proj", 64, 32),
];

fn golden() -> PathBuf {
    root().join("lm/llama_gqa")
}

fn base() -> LanguageModel {
    LanguageModel::load(&golden(), &device()).expect("the golden model loads")
}

/// A factor with entries within 0.1, which no random stream made.
fn factor(seed: usize, rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| ((at * 37 + seed * 11) % 101) as f32 / 505.0 - 0.1).collect()
}

/// The tensors of an adapter on the projections `parts` of both layers; `middle` stands before `.weight`.
fn factors(parts: &[&str], middle: &str) -> Tensors {
    let mut tensors = Tensors::new();
    for layer in 0..2 {
        for (at, (part, inputs, outputs)) in
            SHAPES.into_iter().enumerate().filter(|(_, (part, ..))| parts.contains(part))
        {
            let name = |side: &str| format!("base_model.model.model.layers.{layer}.{part}.lora_{side}{middle}.weight");
            tensors.push((name("A"), vec![R, inputs], factor(10 * layer + at, R, inputs)));
            tensors.push((name("B"), vec![outputs, R], factor(10 * layer + at + 50, outputs, R)));
        }
    }
    tensors
}

fn all_parts() -> Vec<&'static str> {
    SHAPES.iter().map(|(part, ..)| *part).collect()
}

/// What peft 0.17 writes for these targets.
fn peft_config(targets: Value) -> Value {
    json!({
        "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": golden().to_str(), "bias": "none",
        "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "layers_pattern": null,
        "layers_to_transform": null, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.05, "modules_to_save": null,
        "peft_type": "LORA", "r": R, "rank_pattern": {}, "revision": null, "target_modules": targets,
        "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": false,
    })
}

fn write(folder: &Path, config: &Value, tensors: &[Named]) {
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).expect("written");
    save_safetensors(&folder.join("adapter_model.safetensors"), tensors, Default::default()).expect("written");
}

fn logits(model: &LanguageModel) -> Vec<f64> {
    let ids: Vec<i64> = (0..2 * 9).map(|at| (at * 53 + 17) % 402).collect();
    values(model.decoder.logits(integers::<2>(&ids, [2, 9], &device())))
}

/// `llama_gqa` with `W + s B A` written into its file: the products are made here, in f64.
fn dense(folder: &Path, parts: &[&str], scale: f64) -> LanguageModel {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden().join(file), folder.join(file)).expect("copied");
    }
    let mut weights = Safetensors::open(&golden()).expect("golden");
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![402, 32]),
        ("model.norm.weight".into(), vec![32]),
        ("lm_head.weight".into(), vec![402, 32]),
    ];
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        shapes.extend(["input_layernorm", "post_attention_layernorm"].map(|part| (name(part), vec![32])));
        shapes.extend(SHAPES.map(|(part, inputs, outputs)| (name(part), vec![outputs, inputs])));
    }
    let mut all: Tensors = shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = weights.tensor(&name, &shape).expect(&name);
            (name, shape, values)
        })
        .collect();
    let factors = factors(parts, "");
    for pair in factors.chunks(2) {
        let ((name, _, a), (_, _, b)) = (&pair[0], &pair[1]);
        let name = name.replace("base_model.model.", "").replace(".lora_A", "");
        let (_, shape, weight) = all.iter_mut().find(|(known, ..)| *known == name).expect("the projection is there");
        let inputs = shape[1];
        for (at, value) in weight.iter_mut().enumerate() {
            let (row, column) = (at / inputs, at % inputs);
            let product = |k: usize| f64::from(b[row * R + k]) * f64::from(a[k * inputs + column]);
            *value = (f64::from(*value) + scale * (0..R).map(product).sum::<f64>()) as f32;
        }
    }
    save_safetensors(&folder.join("model.safetensors"), &all, Default::default()).expect("written");
    LanguageModel::load(folder, &device()).expect("the same shapes")
}

#[test]
fn an_adapter_is_the_dense_sum() {
    let plain = logits(&base());
    let all = all_parts();
    // lora_alpha 8 and r 4: 8 / 4 = 2, or 8 / sqrt(4) = 4.
    for (parts, targets, rslora, scale) in [
        (&all[..], json!("all-linear"), false, 2.0),
        (&all[..2], json!(["q_proj", "k_proj"]), false, 2.0),
        (&all[5..], json!(["up_proj", "mlp.down_proj"]), true, 4.0),
    ] {
        let (sums, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let expected = logits(&dense(sums.path(), parts, scale));
        let mut config = peft_config(targets);
        config["use_rslora"] = json!(rslora);
        for middle in ["", ".default"] {
            write(folder.path(), &config, &factors(parts, middle));
            let adapted = LanguageModel::load(folder.path(), &device()).expect("the adapter and its base load");
            close("logits", &logits(&adapted), &expected, 1e-5);
            let merged = adapted.with_decoder(adapted.decoder.merged().expect("the self-check agrees"));
            close("merged", &logits(&merged), &expected, 1e-5);
            // The adapter can be taken off to the last bit.
            assert_eq!(logits(&adapted.with_decoder(adapted.decoder.without_lora())), plain);
            let apart = base().with_adapter(folder.path()).expect("the same adapter");
            assert_eq!(apart.decoder.hash(), adapted.decoder.hash());
        }
        assert!(plain.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-3), "the adapter says something");
    }
}

#[test]
fn saving_and_loading_keeps_every_bit() {
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(first.path(), &peft_config(json!("all-linear")), &factors(&all_parts(), ""));
    let before = base().with_adapter(first.path()).expect("it fits");
    before.save(second.path()).expect("written");
    let mut names: Vec<_> =
        std::fs::read_dir(second.path()).expect("there").flatten().map(|it| it.file_name()).collect();
    names.sort();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
    let after = LanguageModel::load(second.path(), &device()).expect("what was saved loads");
    assert_eq!(after.decoder.hash(), before.decoder.hash());
    assert_eq!(after.decoder.lora(), before.decoder.lora());

    // peft's names, layouts and entries.
    let mut weights = Safetensors::open(&golden()).expect("golden");
    assert!(weights.tensor("model.layers.0.self_attn.q_proj.lora_A.weight", &[R, 32]).is_err());
    let bytes = std::fs::read(second.path().join("adapter_model.safetensors")).expect("written");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    for (name, shape, expected) in factors(&all_parts(), "") {
        let view = file.tensor(&name).expect(&name);
        let got: Vec<f32> = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!((view.shape(), &got), (&shape[..], &expected), "{name}");
    }
    assert_eq!(file.len(), 28);
    let text = std::fs::read_to_string(second.path().join("adapter_config.json")).expect("written");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let theirs = peft_config(json!(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]));
    for key in
        ["peft_type", "task_type", "r", "lora_alpha", "target_modules", "bias", "fan_in_fan_out", "inference_mode"]
    {
        assert_eq!(config[key], theirs[key], "{key}");
    }
    assert_eq!(config["base_model_name_or_path"], theirs["base_model_name_or_path"]);
}

#[test]
fn a_base_beside_the_adapter_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, adapter) = (folder.path().join("base"), folder.path().join("adapter"));
    base().save(&model).expect("written");
    std::fs::create_dir(&adapter).expect("made");
    let mut config = peft_config(json!(["q_proj"]));
    let load = |config: &Value| {
        write(&adapter, config, &factors(&["self_attn.q_proj"], ""));
        LanguageModel::load(&adapter, &device())
    };
    config["base_model_name_or_path"] = json!("../base");
    assert!(load(&config).expect("the base is there").decoder.lora().is_some());
    for (name, said) in [(json!(null), "must name the base"), (json!("../adapter"), "is an adapter itself")] {
        config["base_model_name_or_path"] = name;
        let refused = load(&config).err().expect("no base").to_string();
        assert!(refused.contains(said), "{refused}");
    }
    std::fs::write(adapter.join("model.safetensors"), "").expect("written");
    let refused = load(&config).err().expect("two models").to_string();
    assert!(refused.contains("both an adapter and the weights"), "{refused}");
    // An adapter of a model that lies nowhere cannot name it.
    let fresh = LanguageModel { name: String::new(), ..base() };
    let adapted = fresh.with_lora(&LoraConfig::default(), Seed(0)).expect("it fits");
    let refused = adapted.save(&folder.path().join("out")).unwrap_err().to_string();
    assert!(refused.contains("save the base first"), "{refused}");
}

#[test]
fn what_is_more_than_lora_or_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = ["self_attn.q_proj", "self_attn.v_proj"];
    let sound = || (peft_config(json!(["q_proj", "v_proj"])), factors(&parts, ""));
    let refused = |config: &Value, tensors: &[Named]| {
        write(folder.path(), config, tensors);
        base().with_adapter(folder.path()).err().expect("it does not fit").to_string()
    };
    for (key, value, said) in [
        ("peft_type", json!("IA3"), "`peft_type`: \"IA3\""),
        ("use_dora", json!(true), "`use_dora`"),
        ("bias", json!("lora_only"), "`bias`: \"lora_only\""),
        ("modules_to_save", json!(["lm_head"]), "`modules_to_save`"),
        ("rank_pattern", json!({"q_proj": 2}), "`rank_pattern`"),
        ("fan_in_fan_out", json!(true), "`fan_in_fan_out`"),
        ("layers_to_transform", json!([1]), "`layers_to_transform`"),
        ("init_lora_weights", json!("pissa"), "`init_lora_weights`"),
        ("r", json!("four"), "`r` must be a whole number"),
        ("r", json!(0), "r must be at least 1"),
        ("lora_alpha", json!(null), "`lora_alpha` must be a number, got null"),
        ("target_modules", json!(".*_proj"), "`target_modules` must be `all-linear` or a list"),
        ("target_modules", json!(["q_proj", 3]), "`target_modules` must be"),
        ("target_modules", json!(["q_proj", "c_attn"]), "no projection `c_attn`; it has q_proj, k_proj, v_proj"),
        ("target_modules", json!(["q_proj", "v_proj", "o_proj"]), "o_proj.lora_A.weight"),
        ("target_modules", json!(["q_proj"]), "v_proj.lora_A.weight` (4 such)"),
        ("r", json!(8), "must have the shape [8, 32], got [4, 32]"),
    ] {
        let (mut config, tensors) = sound();
        config[key] = value;
        let refused = refused(&config, &tensors);
        assert!(refused.contains(said) && !refused.contains('\n'), "{key}: {refused}");
    }
    let (config, mut tensors) = sound();
    let (name, ..) = tensors.remove(1);
    assert!(refused(&config, &tensors).contains(&name));
    let (_, mut tensors) = sound();
    tensors[1].1.reverse();
    assert!(refused(&config, &tensors).contains("must have the shape [32, 4], got [4, 32]"));
    let (_, mut tensors) = sound();
    tensors[2].2[3] = f32::NAN;
    assert!(refused(&config, &tensors).contains("NaN"));

    // What leaves f32 cannot be merged: 1e60 is infinite there.
    let (_, mut tensors) = sound();
    tensors[0].2.fill(1e30);
    tensors[1].2.fill(1e30);
    write(folder.path(), &config, &tensors);
    let adapted = base().with_adapter(folder.path()).expect("every factor is finite");
    assert!(matches!(adapted.decoder.merged(), Err(LmError::Merge { .. })));
}

/// The head of a classifier is trained beside an adapter, and lies in its file as peft has it.
#[test]
fn the_head_of_a_classifier_comes_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = base();
    let head = Head::Sequence { labels: 2 };
    let decoder = model.decoder.with_head(head, HeadInit::Wide, Seed(3)).expect("a head");
    let before = model.with_decoder(decoder).with_lora(&LoraConfig::default(), Seed(4)).expect("it fits");
    before.save(folder.path()).expect("written");
    let text = std::fs::read_to_string(folder.path().join("adapter_config.json")).expect("written");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&json!("SEQ_CLS"), &json!(["score"])));
    let bytes = std::fs::read(folder.path().join("adapter_model.safetensors")).expect("written");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.tensor("base_model.model.score.weight").expect("the head").shape(), [2, 32]);

    // The base is a language model; the adapter makes the classifier of it.
    let scores = |model: &LanguageModel| {
        values(model.decoder.row_scores(&[Row { prompt: &[5, 6], response: &[7, 8] }]).expect("a classifier"))
    };
    let after = LanguageModel::load(folder.path(), &device()).expect("what was saved loads");
    assert_eq!((after.config.head, after.decoder.config().head), (head, head));
    assert_eq!(after.decoder.hash(), before.decoder.hash());
    assert_eq!(scores(&after), scores(&before));
    // What peft writes names both heads that transformers knows.
    let mut write = |key: &str, value: Value| {
        config[key] = value;
        std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).expect("written");
        LanguageModel::load(folder.path(), &device())
    };
    assert!(write("modules_to_save", json!(["classifier", "score"])).is_ok());
    let refused = write("task_type", json!("CAUSAL_LM")).err().expect("no classifier").to_string();
    assert!(refused.contains("`task_type`"), "{refused}");

    // Merged, it is a folder that transformers reads: the padding token ends no text.
    let merged = tempfile::tempdir().expect("a folder");
    let whole = after.with_decoder(after.decoder.merged().expect("the self-check agrees"));
    whole.save(merged.path()).expect("written");
    close("merged", &scores(&LanguageModel::load(merged.path(), &device()).expect("it loads")), &scores(&after), 1e-5);
    let text = std::fs::read_to_string(merged.path().join("config.json")).expect("written");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(config["architectures"], json!(["LlamaForSequenceClassification"]));
    assert_eq!(config["id2label"].as_object().map(|labels| labels.len()), Some(2));
    let pad = config["pad_token_id"].as_u64().expect("a padding token") as u32;
    let tokenizer = Tokenizer::from_folder(merged.path()).expect("it loads");
    assert!(!tokenizer.eos().contains(&pad) && tokenizer.pad() == Some(pad));
}

#[test]
fn the_padding_of_scores_ends_no_text() {
    let of = |roles: Roles<'_>| Tokenizer::characters("ab", &["<s>", "</s>", "<pad>"], roles).expect("a vocabulary");
    let pad = |pad, bos| of(Roles { bos, eos: Some("</s>"), pad }).padded_for_scores().pad();
    // Ids: <s> 0, </s> 1, <pad> 2, a 3, b 4.
    assert_eq!(pad(Some("<pad>"), Some("<s>")), Some(2));
    assert_eq!(pad(Some("</s>"), Some("<s>")), Some(0));
    assert_eq!(pad(None, Some("<s>")), Some(0));
    assert_eq!(pad(Some("</s>"), Some("</s>")), Some(4));
}

#[test]
fn adapters_of_gpt2_stay_here() {
    // peft has one module where this decoder has three, so what is trained here cannot be written.
    let model = LanguageModel::load(&root().join("lm/gpt2"), &device()).expect("golden");
    let decoder = model.decoder.with_lora(&LoraConfig::default(), Seed(0)).expect("the projections are there");
    assert_eq!(decoder.lora(), Some(&LoraConfig::default()));
    let folder = tempfile::tempdir().expect("a folder");
    for refused in [
        model.with_decoder(decoder).save(&folder.path().join("out")).err(),
        model.with_lora(&LoraConfig::default(), Seed(0)).err(),
    ] {
        let refused = refused.expect("not in peft's layout").to_string();
        assert!(refused.contains("GPT-2") && refused.contains("c_attn"), "{refused}");
    }
}

/// GPT-2's modules in peft: one pair of factors for queries, keys and values, beside weights that are `[in, out]`.
#[test]
fn an_adapter_of_gpt2_is_the_dense_sum() {
    let modules = [("attn.c_attn", 32, 96), ("attn.c_proj", 32, 32), ("mlp.c_fc", 32, 128), ("mlp.c_proj", 128, 32)];
    let golden = root().join("lm/gpt2");
    let bytes = std::fs::read(golden.join("model.safetensors")).expect("golden");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let said = |model: &LanguageModel| {
        let ids: Vec<i64> = (0..2 * 9).map(|at| (at * 53 + 17) % 354).collect();
        values(model.decoder.logits(integers::<2>(&ids, [2, 9], &device())))
    };
    let plain = LanguageModel::load(&golden, &device()).expect("golden");
    let folder = tempfile::tempdir().expect("a folder");
    let config = |targets: Value| {
        let mut config = peft_config(targets);
        config["fan_in_fan_out"] = json!(true);
        config["base_model_name_or_path"] = json!(golden.to_str());
        config
    };
    for (targets, adapted) in [
        (json!("all-linear"), &modules[..]),
        (json!(["c_attn"]), &modules[..1]),
        (json!(["attn.c_proj", "c_fc"]), &modules[1..3]),
    ] {
        let mut whole: Tensors = Tensors::new();
        for (name, view) in file.tensors() {
            let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            whole.push((name, view.shape().to_vec(), floats.collect()));
        }
        let mut factors = Tensors::new();
        for layer in 0..2 {
            for (at, (module, inputs, outputs)) in adapted.iter().copied().enumerate() {
                let (a, b) = (factor(10 * layer + at, R, inputs), factor(10 * layer + at + 50, outputs, R));
                let own = format!("transformer.h.{layer}.{module}");
                let weight = format!("{own}.weight");
                let (_, _, weight) = whole.iter_mut().find(|(known, ..)| *known == weight).expect("it is there");
                for (place, value) in weight.iter_mut().enumerate() {
                    let (row, column) = (place / outputs, place % outputs);
                    let product = |k: usize| f64::from(b[column * R + k]) * f64::from(a[k * inputs + row]);
                    *value = (f64::from(*value) + 2.0 * (0..R).map(product).sum::<f64>()) as f32;
                }
                factors.push((format!("base_model.model.{own}.lora_A.weight"), vec![R, inputs], a));
                factors.push((format!("base_model.model.{own}.lora_B.weight"), vec![outputs, R], b));
            }
        }
        let sums = tempfile::tempdir().expect("a folder");
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(golden.join(name), sums.path().join(name)).expect("copied");
        }
        save_safetensors(&sums.path().join("model.safetensors"), &whole, Default::default()).expect("written");
        let expected = said(&LanguageModel::load(sums.path(), &device()).expect("the same shapes"));
        write(folder.path(), &config(targets), &factors);
        let loaded = LanguageModel::load(folder.path(), &device()).expect("the adapter and its base load");
        close("logits", &said(&loaded), &expected, 1e-5);
        let merged = loaded.with_decoder(loaded.decoder.merged().expect("the self-check agrees"));
        close("merged", &said(&merged), &expected, 1e-5);
        assert_eq!(said(&loaded.with_decoder(loaded.decoder.without_lora())), said(&plain));
        assert!(said(&plain).iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-3), "the adapter says something");
        // Queries, keys and values have factors of their own now, which peft does not know.
        let refused = loaded.save(&folder.path().join("out")).expect_err("not in peft's layout").to_string();
        assert!(refused.contains("GPT-2") && refused.contains("c_attn"), "{refused}");
    }
    let stray =
        ("base_model.model.transformer.h.0.attn.q_proj.lora_A.weight".to_owned(), vec![R, 32], factor(0, R, 32));
    write(folder.path(), &config(json!(["q_proj"])), &[stray]);
    let refused = plain.with_adapter(folder.path()).err().expect("no such module").to_string();
    assert!(refused.contains("no projection `q_proj`; it has c_attn, c_proj, c_fc"), "{refused}");
}

/// A model that writes and scores keeps both heads: whole, and as an adapter of a plain language model.
#[test]
fn scores_beside_the_next_token_come_along() {
    let rows = [Row { prompt: &[5, 6], response: &[7, 8] }];
    let said = |model: &LanguageModel| {
        let logps = model.decoder.response_logps(&rows).expect("it writes").0;
        [values(model.decoder.row_scores(&rows).expect("it scores")), values(logps)].concat()
    };
    let model = base();
    let both = model.with_decoder(model.decoder.with_scores(2, HeadInit::Wide, Seed(3)).expect("a language model"));
    let folder = tempfile::tempdir().expect("a folder");
    both.save(folder.path()).expect("written");
    let text = std::fs::read_to_string(folder.path().join("config.json")).expect("written");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&config["architectures"], &config["sequence_scores"]), (&json!(["LlamaForCausalLM"]), &json!(2)));
    let again = LanguageModel::load(folder.path(), &device()).expect("what was saved loads");
    assert_eq!((again.config.scores, again.decoder.hash()), (2, both.decoder.hash()));
    assert_eq!(said(&again), said(&both));
    // What writes alone leaves the scores aside.
    let frozen = ascribe_lm::FrozenModel::load(folder.path(), &device(), ascribe_lm::Precision::AsStored);
    assert_eq!(frozen.expect("a language model").config.scores, 2);

    let adapted = both.with_lora(&LoraConfig::default(), Seed(4)).expect("it fits");
    let folder = tempfile::tempdir().expect("a folder");
    adapted.save(folder.path()).expect("written");
    let after = LanguageModel::load(folder.path(), &device()).expect("the base is a language model");
    assert_eq!((after.config.scores, after.decoder.hash()), (2, adapted.decoder.hash()));
    assert_eq!(said(&after), said(&adapted));
    // Another head takes both away.
    let classifier = after.decoder.with_head(Head::Sequence { labels: 1 }, HeadInit::Wide, Seed(5)).expect("a head");
    assert_eq!((classifier.config().scores, classifier.config().sequence_scores()), (0, Some(1)));
}
