//! `ascribe train steer-lm`: from ratings to a policy of responses with the attributes that are asked for.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Bench, Ran, SHORT};

const RUN: &str = "--per-device-train-batch-size 8 --gradient-accumulation-steps 1 --num-generations 4 --held-out 2 \
                   --max-completion-length 6 --learning-rate 1e-3 --logging-steps 1";

/// A model of two attributes in `judge`, one without held-out rows in `unmeasured`, and six prompts.
fn bench() -> Bench {
    let bench = Bench::new();
    let row = |n: usize| {
        let ratings = json!({"helpfulness": n % 5, "verbosity": (n + 2) % 4});
        json!({"prompt": format!("what is {n}?"), "completion": format!("the sum of {n}"), "ratings": ratings})
    };
    bench.rows("rated.jsonl", (0..12).map(row));
    let line = format!("train reward --loss regression --model model --data rated.jsonl --output-dir judge {SHORT}");
    bench.run(&line).succeeded();
    bench.run(&line.replace("--held-out 4", "").replace("dir judge", "dir unmeasured")).succeeded();
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?")})));
    bench
}

fn train(bench: &Bench, out: &str, more: &str) -> Ran {
    bench.run(&format!("train steer-lm --model model --data prompts.jsonl --output-dir {out} {RUN} {more}"))
}

fn log(bench: &Bench, out: &str) -> Vec<Value> {
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).expect("a line of JSON");
        row.as_object_mut().expect("an object").remove("seconds");
        row
    };
    bench.read(&format!("{out}/log.jsonl")).lines().map(row).collect()
}

#[test]
fn a_policy_is_drawn_to_responses_with_the_wanted_attributes() {
    let bench = bench();
    let options = "--reward judge --attributes helpfulness=4,verbosity=1 --num-iterations 2 --max-steps 4 --save-steps 2 \
                   --save-total-limit 0";
    let ran = train(&bench, "whole", options).succeeded();
    assert!(ran.stderr.contains("steer-lm: advantages brain, loss brain"), "{}", ran.stderr);
    assert!(ran.stdout.contains("held-out reward "), "{}", ran.stdout);
    let whole = log(&bench, "whole");
    assert_eq!(whole.len(), 4);
    for row in &whole {
        let number = |name: &str| row[name].as_f64().expect("it is logged");
        assert!(number("brain/kl") >= 0.0 && (1.0..=4.0).contains(&number("brain/effective_samples")), "{row}");
        assert!(number("reward").is_finite() && number("grad_norm") > 0.0, "{row}");
    }
    // Another wish is another score of the same kind of responses.
    train(&bench, "other", &options.replace("helpfulness=4", "helpfulness=0")).succeeded();
    assert!(log(&bench, "other")[0]["reward"] != whole[0]["reward"]);
    train(&bench, "whole", &options.replace("helpfulness=4", "helpfulness=0")).refused(&["rollouts"]);
    // The same loss by the tokens of a response is smaller and pulls less, before gradients are cut.
    train(&bench, "scaled", &format!("{options} --token-scaled")).succeeded();
    let pull = |out: &str| log(&bench, out)[0]["grad_norm"].as_f64().expect("it is logged");
    assert!(pull("scaled") <= pull("whole"));
    // A run that was stopped goes on with its responses.
    train(&bench, "cut", options).succeeded();
    fs::remove_dir_all(bench.path("cut/checkpoint-4")).unwrap();
    train(&bench, "cut", options).succeeded();
    assert_eq!(log(&bench, "cut"), whole);
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
}

#[test]
fn rows_may_say_what_is_wanted_of_them() {
    let bench = bench();
    let row =
        |n: usize| json!({"prompt": format!("what is {n}?"), "attributes": {"helpfulness": 4, "verbosity": n % 4}});
    bench.rows("prompts.jsonl", (0..6).map(row));
    train(&bench, "out", "--reward judge --max-steps 1").succeeded();
    assert!(bench.path("out/model.safetensors").is_file());
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?"), "attributes": {"wit": 4}})));
    train(&bench, "no", "--reward judge --max-steps 1")
        .refused(&["knows no attribute `wit`", "helpfulness, verbosity"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let bench = bench();
    let wish = "--attributes helpfulness=4";
    bench.run(&format!("train reward --model model --data pairs.jsonl --output-dir plain {SHORT}")).succeeded();
    for (rest, said) in [
        ("--reward judge".to_owned(), "say what is wanted with --attributes"),
        (wish.to_owned(), "asks one model of attributes"),
        (format!("{wish} --reward arithmetic"), "`arithmetic` is no folder"),
        (format!("{wish} --reward judge,judge"), "asks one model of attributes"),
        (format!("{wish} --reward judge --confidence-weight 1"), "log-probability of attributes, as it is"),
        (format!("{wish} --reward plain"), "`plain` predicts no attributes"),
        (format!("{wish} --reward unmeasured"), "does not say how far its attributes are off"),
        (format!("{wish} --reward judge --brain-reference 0"), "drop reward_weights"),
        (format!("{wish} --reward judge --loss-type grpo"), "has a loss of its own"),
        (format!("{wish} --reward judge --kl-coef 0.1"), "kl_coef does nothing with steer-lm"),
        ("--reward judge --attributes helpfulness=much".to_owned(), "attributes"),
    ] {
        train(&bench, "no", &rest).refused(&[said]);
        assert!(bench.files("no").is_empty(), "{rest}");
    }
    let line = format!("train brain --model model --data prompts.jsonl --output-dir no {RUN} --reward judge {wish}");
    bench.run(&line).refused(&["attributes does nothing with brain", "use steer-lm"]);
}
