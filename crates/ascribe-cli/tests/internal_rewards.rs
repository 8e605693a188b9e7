//! Reward models beyond pairs and ratings: a detector that is held to its first scores.

mod support;

use serde_json::{Value, json};
use support::{Bench, SHORT};

/// Every value of a statistic in the log of a run.
fn logged(bench: &Bench, folder: &str, name: &str) -> Vec<f64> {
    let rows = bench.read(&format!("{folder}/log.jsonl"));
    rows.lines().filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON")[name].as_f64()).collect()
}

#[test]
fn a_detector_is_held_to_the_scores_of_the_pairs_before() {
    let bench = Bench::new();
    let ranked = |n: usize| json!({"prompt": format!("what is {}?", n % 12), "completion": format!("the {n}"), "ratings": {"x": n}});
    bench.rows("texts.jsonl", (0..36).map(ranked));
    bench
        .run(&format!("train reward --model model --data pairs.jsonl --output-dir judge {SHORT} --head-init wide"))
        .succeeded();
    let line = |model: &str, out: &str, rest: &str| {
        format!("train reward --model {model} --data texts.jsonl --output-dir {out} {SHORT} --loss machine-text {rest}")
    };
    let replay = "--replay-data pairs.jsonl --num-train-epochs 3 --learning-rate 2e-3";
    let ran = bench.run(&line("judge", "out", replay)).succeeded();
    assert!(ran.stderr.contains("from which training goes on"), "{}", ran.stderr);
    let drift = logged(&bench, "out", "replay/loss");
    // Nothing has moved before the first step.
    assert!(drift.len() == 12 && drift[0].abs() < 1e-9 && drift[11] > drift[0], "{drift:?}");
    bench.run(&line("judge", "held", &format!("{replay} --replay-weight 10"))).succeeded();
    let held = logged(&bench, "held", "replay/loss");
    // The same squares, weighed by 10 and by 0.01.
    assert!(held[11] / 10.0 < drift[11] / 0.01, "{held:?} beside {drift:?}");

    let refused = |line: String, said: &[&str]| {
        bench.run(&line).refused(said);
        bench.run(&line.replacen("train", "validate", 1)).refused(said);
    };
    refused(line("model", "no", "--replay-data pairs.jsonl"), &["the model has no head of 1 scores yet"]);
    refused(line("judge", "no", "--replay-data pairs.jsonl --replay-weight -1"), &["the replay weight must be finite"]);
    refused(line("judge", "no", "--replay-weight 1"), &["--replay-data"]);
    let group = |n: usize| json!({"prompt": format!("what is {n}?"), "completions": ["the sum", "the rest"]});
    bench.rows("groups.jsonl", (0..3).map(group));
    let both = "--replay-data pairs.jsonl --meta-data groups.jsonl --meta-rate 1";
    refused(line("judge", "no", both), &["replay_data and meta_data are two ways", "give one of them"]);
    let dpo = format!("train dpo --model model --data pairs.jsonl --output-dir no {SHORT} --replay-data pairs.jsonl");
    bench.run(&dpo).refused(&["replay_data does nothing with dpo", "use reward"]);
}
