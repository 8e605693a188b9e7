//! Rewards beyond pairs and ratings: a detector that is held to its first scores, and a policy that agrees with itself.

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

#[test]
fn a_policy_learns_to_agree_with_itself_whatever_the_order_of_the_pairs() {
    let bench = Bench::new();
    let line = |data: &str, out: &str, rest: &str| {
        format!("train scir --model model --data {data}.jsonl --output-dir {out} {SHORT} --learning-rate 3e-3 {rest}")
    };
    let ran =
        bench.run(&line("pairs", "out", "--num-train-epochs 4 --loss-kwargs confidence=0,preference=0")).succeeded();
    assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);
    let apart = logged(&bench, "out", "consistency/divergence");
    let [first, last] = [&apart[..4], &apart[12..]].map(|part| part.iter().sum::<f64>());
    assert!(apart.len() == 16 && last < first, "{apart:?}");
    let summary = bench.json("out/summary.json");
    assert!(summary["reward_accuracy"].is_object() && summary["eval_judge/accuracies"].is_number(), "{summary}");
    bench.run("generate --model out --prompt what --max-new-tokens 4").succeeded();

    // Chosen and rejected turned: the same losses.
    let turned = |n: usize| json!({"prompt": format!("what is {n}?"), "chosen": format!("the rest of {n}"), "rejected": format!("the sum of {n}")});
    bench.rows("turned.jsonl", (0..12).map(turned));
    let losses = |data: &str, out: &str| {
        bench.run(&line(data, out, "--beta 0.5 --max-steps 3")).succeeded();
        logged(&bench, out, "loss")
    };
    let (one, other) = (losses("pairs", "one"), losses("turned", "other"));
    assert_eq!(one.len(), 3);
    assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())), "{one:?} and {other:?}");

    let refused = |rest: &str, said: &[&str]| {
        bench.run(&line("pairs", "no", rest)).refused(said);
        bench.run(&line("pairs", "no", rest).replacen("train", "validate", 1)).refused(said);
        assert!(bench.files("no").is_empty(), "{rest}");
    };
    refused("--label-smoothing 0.1", &["label_smoothing does nothing with scir"]);
    refused("--loss-kwargs tau=1", &["loss_kwargs of scir", "tau"]);
    refused("--loss-kwargs beta=1", &["give it as --beta"]);
    refused("--loss-kwargs preference=-1", &["preference must be finite and at least 0"]);
    refused("--loss gpm", &["loss does nothing with scir"]);
    refused("--curriculum cyclical", &["curriculum does nothing with scir"]);
    let sum = format!("train scir+sft --model model --data pairs.jsonl --output-dir no {SHORT}");
    bench.run(&sum).refused(&["scir learns from pairs whose order teaches nothing"]);
    let ran = bench.run(&line("pairs", "no", "").replacen("train", "validate", 1)).succeeded();
    assert!(ran.stdout.contains("8 pairs to train on, 4 held out, 4 steps of 2 pairs"), "{}", ran.stdout);
}
