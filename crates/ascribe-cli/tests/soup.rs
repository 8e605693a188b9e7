//! `ascribe soup`: a model for a preference over objectives, and what cannot be combined.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Bench, SHORT};

/// Two models that were trained from one start, on chosen and on rejected responses, and the adapter of a third.
fn bench() -> Bench {
    let bench = Bench::new();
    let row =
        |n: usize, word: &str| json!({"prompt": format!("what is {n}?"), "completion": format!("the {word} of {n}")});
    bench.rows("sums.jsonl", (0..12).map(|n| row(n, "sum")));
    bench.rows("rests.jsonl", (0..12).map(|n| row(n, "rest")));
    let short = SHORT.replace("--learning-rate 1e-3", "--learning-rate 1e-2");
    for (data, out, more) in [
        ("sums", "sums", ""),
        ("rests", "rests", ""),
        ("sums", "adapter", "--use-peft --lora-r 4 --lora-alpha 8 --lora-target-modules all-linear"),
    ] {
        let line =
            format!("train sft --model model --data {data}.jsonl --output-dir {out} {short} --max-steps 4 {more}");
        bench.run(&line).succeeded();
    }
    bench
}

fn weights(bench: &Bench, folder: &str) -> Vec<u8> {
    fs::read(bench.path(folder).join("model.safetensors")).expect("a model")
}

/// Offset of the data of a file of safetensors, and the places of a tensor's bytes.
fn place(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let end = |at: usize| header[name]["data_offsets"][at].as_u64().expect("an offset") as usize;
    8 + length + end(0)..8 + length + end(1)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect()
}

#[test]
fn models_are_mixed_by_a_preference() {
    let bench = bench();
    let soup = |models: &str, weights: &str, out: &str| {
        bench.run(&format!("soup --models {models} --weights {weights} --output-dir {out}")).succeeded()
    };
    // All of one objective is its model.
    soup("sums rests", "1 0", "one");
    assert!(weights(&bench, "one") == weights(&bench, "sums"));
    let ran = soup("sums,rests", "0.25,0.75", "mixed");
    assert!(ran.stdout.contains("0.25 of sums, 0.75 of rests: written to mixed"), "{}", ran.stdout);
    let name = "model.norm.weight";
    let [a, b, mixed] = ["sums", "rests", "mixed"].map(|folder| {
        let bytes = weights(&bench, folder);
        floats(&bytes[place(&bytes, name)])
    });
    assert!(a != b && mixed.len() == a.len());
    for ((a, b), got) in a.iter().zip(&b).zip(&mixed) {
        assert!((0.25 * a + 0.75 * b - got).abs() < 1e-6, "{a} {b}: {got}");
    }
    // An adapter is merged first, and what was mixed is a model.
    soup("adapter rests", "0.5 0.5", "merged");
    bench.run("score --model merged --input sums.jsonl").succeeded();
    // Of two reward models the scales differ, and that of a mixture is not known.
    for (folder, mean) in [("sums", 1.0), ("rests", 2.0)] {
        let card = json!({"loss": "margin", "standard": {"mean": mean, "std": 3.0}});
        bench.write(&format!("{folder}/reward.json"), card.to_string());
    }
    soup("sums rests", "0.5 0.5", "rewards");
    let card = fs::read_to_string(bench.path("rewards/reward.json")).expect("a card");
    let card: Value = serde_json::from_str(&card).expect("an object");
    assert_eq!((&card["loss"], &card["standard"]), (&json!("margin"), &json!({"mean": 0.0, "std": 1.0})));
}

#[test]
fn what_cannot_be_combined_is_refused() {
    let bench = bench();
    let refused = |more: &str, words: &[&str]| {
        bench.run(&format!("soup --output-dir out {more}")).refused(words);
        assert!(!bench.path("out").exists(), "{more}");
    };
    refused("--models sums --weights 1", &["at least two models, got 1"]);
    refused("--models sums rests --weights 1", &["1 numbers for 2 models"]);
    refused("--models sums rests --weights 0.5 0.6", &["weights sum to 1.1", "use weights that sum to 1"]);
    refused("--models sums rests --weights 1.5 -0.5", &["the weight 1.5", "from 0 to 1"]);
    refused("--models sums rests --weights 0.5 0.5 --tolerance 1", &["check-data"]);
    let checked = "--models sums rests --weights 0.5 0.5 --check-data sums.jsonl";
    refused(&format!("{checked} --check-points 2"), &["check_points", "at least 3, got 2"]);
    refused(&format!("{checked} --tolerance -1"), &["tolerance must be finite and at least 0"]);
    bench.run("soup --models sums rests --weights 0.5 0.5 --output-dir sums").refused(&["`sums` is one of the models"]);
    bench
        .run("soup --models sums rests --weights 0.5 0.5 --output-dir adapter")
        .refused(&["`adapter` holds an adapter"]);
    bench.copy_model("llama_gqa", "other");
    bench.write("other/chat_template.jinja", "{{ messages }}");
    refused("--models sums other --weights 0.5 0.5", &["`other` has another tokenizer or chat template than `sums`"]);
    bench.write("sums/reward.json", "{}");
    refused("--models sums rests --weights 0.5 0.5", &["the models differ in `reward.json`"]);
}

#[test]
fn a_way_with_a_hill_between_two_models_is_refused() {
    let bench = bench();
    let check = |models: &str, out: &str| {
        bench.run(&format!(
            "soup --models {models} --weights 0.5 0.5 --output-dir {out} --check-data sums.jsonl --tolerance 0.01 --check-points 3"
        ))
    };
    let ran = check("sums sums", "same").succeeded();
    assert!(ran.stdout.contains("loss from sums to sums: "), "{}", ran.stdout);
    // The last norm and the head with the other sign say the same together, and half way to them is nothing: ln 402 a token.
    fs::create_dir_all(bench.path("turned")).expect("a folder");
    for entry in fs::read_dir(bench.path("sums")).expect("a model") {
        let entry = entry.expect("a file");
        if entry.path().is_file() {
            fs::copy(entry.path(), bench.path("turned").join(entry.file_name())).expect("a copy");
        }
    }
    let mut bytes = weights(&bench, "sums");
    for name in ["model.norm.weight", "lm_head.weight"] {
        // The sign of a float is the highest bit of its last byte.
        place(&bytes, name).skip(3).step_by(4).for_each(|at| bytes[at] ^= 0x80);
    }
    bench.write("turned/model.safetensors", bytes);
    let ran = check("sums turned", "hill");
    ran.refused(&["the loss from `sums` to `turned` rises above the worse end", "5.9965", "raise --tolerance"]);
    assert!(!bench.path("hill").exists());
}
