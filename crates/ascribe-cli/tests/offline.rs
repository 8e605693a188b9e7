//! `ascribe train offline-oreo`: values and a policy from judged responses, runs that go on, and what is refused.

mod support;

use serde_json::{Value, json};
use support::{Bench, SHORT};

fn bench() -> Bench {
    let bench = Bench::new();
    let row = |n: usize| {
        let word = if n.is_multiple_of(2) { "sum" } else { "rest" };
        json!({"prompt": format!("what is {n}?"), "completion": format!("the {word}. It is {n}."), "label": n.is_multiple_of(2)})
    };
    bench.rows("rows.jsonl", (0..12).map(row));
    bench
}

fn line(out: &str, more: &str) -> String {
    format!("train offline-oreo --model model --data rows.jsonl --output-dir {out} {SHORT} {more}")
}

fn log(bench: &Bench, out: &str) -> Vec<Value> {
    let text = bench.read(&format!("{out}/log.jsonl"));
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).expect("a line of JSON");
        row.as_object_mut().expect("an object").remove("seconds");
        row
    };
    text.lines().map(row).collect()
}

#[test]
fn values_learn_who_is_right_from_the_responses_of_a_file() {
    let bench = bench();
    let ran = bench.run(&line("out", "--learning-rate 3e-3 --num-train-epochs 4")).succeeded();
    assert!(ran.stdout.contains("held-out value_loss ") && ran.stdout.contains("held-out policy_loss "));
    let log = log(&bench, "out");
    // Eight rows in steps of two: four steps an epoch.
    assert_eq!(log.len(), 16);
    let number = |row: &Value, name: &str| row[name].as_f64().expect("it is logged");
    let mean = |rows: &[Value]| rows.iter().map(|row| number(row, "value_loss")).sum::<f64>() / rows.len() as f64;
    assert!(mean(&log[12..]) < mean(&log[..4]), "{} and {}", mean(&log[12..]), mean(&log[..4]));
    // At the reference, and with values of 0, both losses are the mean of squared scores: those of the first two rows.
    let first = number(&log[0], "value_loss");
    assert!([0.0, 0.5, 1.0].iter().any(|scores| (first - scores).abs() < 1e-4), "{first}");
    assert!((first - number(&log[0], "policy_loss")).abs() < 1e-4 && number(&log[0], "kl").abs() < 1e-5);
    assert!(bench.path("out/model.safetensors").is_file());
    // The values are a process model.
    let ran = bench.run("score --process out/value --input rows.jsonl").succeeded();
    let scored: Vec<Value> = ran.stdout.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    assert_eq!(scored.len(), 12);
    assert!(scored.iter().all(|row| row["score"].as_f64().is_some_and(|score| score > 0.0 && score < 1.0)));
    assert!(bench.json("out/summary.json")["value_loss"]["value"].as_f64().is_some_and(f64::is_finite));
}

#[test]
fn a_run_on_judged_responses_that_was_stopped_goes_on() {
    let bench = bench();
    let options = "--save-steps 2 --save-total-limit 0 --oreo-level step --segment separator:.";
    bench.run(&line("whole", options)).succeeded();
    bench.run(&line("cut", options)).succeeded();
    std::fs::remove_dir_all(bench.path("cut/checkpoint-4")).expect("a checkpoint");
    let ran = bench.run(&line("cut", options)).succeeded();
    assert!(ran.stderr.contains("2 of 4 steps done"), "{}", ran.stderr);
    assert_eq!(log(&bench, "cut"), log(&bench, "whole"));
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    bench.run(&line("cut", &options.replace("separator:.", "fixed:2"))).refused(&["loss"]);
}

#[test]
fn what_does_not_go_with_judged_responses_is_refused() {
    let bench = bench();
    let refused = |more: &str, words: &[&str]| bench.run(&line("out", more)).refused(words);
    refused("--oreo-level step", &["--oreo-level step belongs to --segment"]);
    refused("--segment fixed:2", &["--oreo-level step belongs to --segment"]);
    refused("--oreo-kl -1", &["oreo_kl must be finite and at least 0"]);
    refused("--beta nan", &["beta"]);
    refused("--label-smoothing 0.1", &["label_smoothing does nothing with offline-oreo"]);
    refused("--num-generations 2", &["num_generations does nothing with offline-oreo"]);
    refused("--reward exact", &["reward does nothing with offline-oreo"]);
    refused("--oreo-weight 2", &["oreo_weight does nothing with offline-oreo"]);
    bench.run(&line("out", "").replace("offline-oreo", "offline-oreo+sft")).refused(&["learns values beside a policy"]);
    let validate = line("out", "").replacen("train", "validate", 1);
    let ran = bench.run(&validate).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out"), "{}", ran.stdout);
    let right = |n: usize| json!({"prompt": format!("what is {n}?"), "completion": "the sum", "label": true});
    bench.rows("rows.jsonl", (0..12).map(right));
    refused("", &["learns from right and wrong responses, and 8 of 8 are right"]);
    bench.run(&validate).refused(&["right and wrong responses"]);
}
