//! `ascribe train archer`: games about the things of a file, what is kept of them, and what is refused.

mod support;

use serde_json::{Value, json};
use support::Bench;

const GAMES: &str = "--data things.jsonl --max-steps 4 --games 3 --turns 3 --critic-steps 2 --critic-batch-size 4 \
                     --actor-steps 2 --critic-warmup 1 --max-completion-length 4 --per-device-train-batch-size 2 \
                     --gradient-accumulation-steps 1 --learning-rate 1e-4 --logging-steps 1";

fn bench() -> Bench {
    let bench = Bench::new();
    let thing = |name: &str, barks: bool, legs: bool| json!({"thing": name, "barks": barks, "has legs": legs});
    bench.rows("things.jsonl", [thing("dog", true, true), thing("cat", false, true), thing("fish", false, false)]);
    bench
}

fn train(bench: &Bench, out: &str, more: &str) -> support::Ran {
    bench.run(&format!("train archer --model model --output-dir {out} {GAMES} {more}"))
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
fn games_are_played_and_a_run_that_was_stopped_goes_on() {
    let bench = bench();
    let options = "--save-steps 1 --save-total-limit 0";
    let ran = train(&bench, "whole", options).succeeded();
    // Of three things two are told apart by a guess at -1/2 and three at 2/3 (-1 - 1/2).
    assert!(ran.stderr.contains("the best return is -1.0000 in the mean"), "{}", ran.stderr);
    assert!(ran.stdout.contains("return of 3 new games "), "{}", ran.stdout);
    let best = bench.json("whole/summary.json")["best_return"].as_f64().expect("a number");
    assert!((best + 1.0).abs() < 1e-12, "{best}");
    let whole = log(&bench, "whole");
    assert_eq!(whole.len(), 4);
    for name in ["loss", "reward", "critic/q_loss", "critic/v_loss", "archer/advantage", "archer/games"] {
        assert!(whole.iter().all(|row| row[name].as_f64().is_some_and(f64::is_finite)), "{name}");
    }
    assert!(whole.iter().all(|row| (-3.0..=0.0).contains(&row["reward"].as_f64().expect("a return"))));
    train(&bench, "cut", options).succeeded();
    // As if it had been killed between the two actor steps of an iteration.
    for step in ["2", "3", "4"] {
        std::fs::remove_dir_all(bench.path("cut").join(format!("checkpoint-{step}"))).expect("a checkpoint");
    }
    let ran = train(&bench, "cut", options).succeeded();
    assert!(ran.stderr.contains("1 of 4 steps done"), "{}", ran.stderr);
    assert_eq!(log(&bench, "cut"), whole);
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    train(&bench, "cut", &format!("{options} --tau 0.5")).refused(&["games"]);
}

#[test]
fn what_is_no_game_is_refused() {
    let bench = bench();
    let refused = |more: &str, words: &[&str]| train(&bench, "out", more).refused(words);
    refused("--max-steps 0", &["--max-steps"]);
    refused("--held-out 1", &["held_out"]);
    refused("--beta 0.1", &["beta does nothing with archer"]);
    refused("--num-train-epochs 2", &["num_train_epochs does nothing with archer", "grpo"]);
    refused("--loss-type ppo", &["loss_type does nothing with archer", "grpo"]);
    refused("--reward exact", &["reward does nothing with archer", "grpo"]);
    refused("--tau 0", &["tau"]);
    refused("--max-completion-length 1000", &["an observation must leave room"]);
    bench.run("train grpo --model model --data things.jsonl --output-dir out --games 2").refused(&["archer"]);
    let line = format!("validate archer --model model --output-dir out {GAMES}");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("best return of a game is -1.0000"), "{}", ran.stdout);
    let file = |rows: &[Value], words: &[&str]| {
        bench.rows("things.jsonl", rows.to_vec());
        bench.run(&line).refused(words);
    };
    file(&[json!({"name": "dog"})], &["line 1", "`thing`"]);
    file(&[json!({"thing": "dog", "barks": 1})], &["`barks` must be true or false"]);
    file(&[json!({"thing": "dog", "barks": true}), json!({"thing": "cat"})], &["line 2", "same questions"]);
    file(&[json!({"thing": "dog"}), json!({"thing": "cat", "barks": false})], &["line 2", "same questions"]);
    file(&[], &["the number of things"]);
}
