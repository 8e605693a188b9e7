//! `ascribe train` on rollouts: what it writes, what it goes on from, and what it refuses.

mod support;

use serde_json::{Value, json};
use support::Bench;

const SHORT: &str = "--held-out 2 --per-device-train-batch-size 4 --gradient-accumulation-steps 1 --num-generations 4 \
                     --max-completion-length 6 --learning-rate 1e-3 --logging-steps 1 --reward arithmetic";

fn bench() -> Bench {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n} + 1?"), "answer": (n + 1).to_string()});
    bench.rows("prompts.jsonl", (0..6).map(row));
    bench
}

fn train(bench: &Bench, method: &str, out: &str, more: &str) -> support::Ran {
    bench.run(&format!("train {method} --model model --data prompts.jsonl --output-dir {out} {SHORT} {more}"))
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
fn every_method_on_rollouts_trains_and_says_what_it_is_made_of() {
    let bench = bench();
    let methods =
        "grpo dr_grpo dapo gspo cispo rloo reinforce reinforce_plus_plus remax ppo ma_ppo raft oreal oreo brain score";
    for method in methods.split(' ') {
        let out = format!("out-{method}");
        let more = if method == "score" { "--second-attempt again:" } else { "" };
        let ran = train(&bench, method, &out, &format!("--max-steps 2 {more}")).succeeded();
        assert!(ran.stderr.contains(&format!("{method}: advantages ")), "{}", ran.stderr);
        let surrogate = !["oreo", "brain"].contains(&method);
        assert_eq!(ran.stderr.contains("aggregated by "), surrogate, "{}", ran.stderr);
        assert!(ran.stdout.contains("held-out reward "), "{}", ran.stdout);
        let log = log(&bench, &out);
        assert_eq!(log.len(), 2, "{method}");
        for name in ["loss", "reward", "frac_reward_zero_std", "completions/complete_ratio", "grad_norm"] {
            assert!(log.iter().all(|row| row[name].as_f64().is_some_and(f64::is_finite)), "{method}: {name}");
        }
        assert_eq!(log[0]["ratio"].as_f64().is_some(), surrogate, "{method}");
        assert_eq!(log[0]["attempts/gain"].as_f64().is_some(), method == "score", "{method}");
        assert!(bench.path(&out).join("model.safetensors").is_file());
    }
}

#[test]
fn theme_18_a_batch_counts_responses_and_a_run_says_how_many_prompts_that_is() {
    let bench = bench();
    // A step has 4 responses, which is one prompt, and a generation of three steps has 12, which is three.
    for (out, more, said) in [
        ("one", "--max-steps 1", "1 prompts x 4 responses a generation"),
        ("three", "--max-steps 3 --steps-per-generation 3", "3 prompts x 4 responses a generation"),
    ] {
        let ran = train(&bench, "grpo", out, more).succeeded();
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    let uneven = SHORT.replace("--num-generations 4", "--num-generations 3");
    bench
        .run(&format!("train grpo --model model --data prompts.jsonl --output-dir out {uneven}"))
        .refused(&["a generation has 4 responses", "which num_generations 3 must divide"]);
    assert!(bench.files("out").is_empty());
}

#[test]
fn fused_operations_are_verified_on_rollouts() {
    let bench = bench();
    let ran = train(&bench, "ppo", "checked", "--max-steps 2 --verify-fused").succeeded();
    assert!(ran.stderr.contains("fused operations agree with their plain forms"), "{}", ran.stderr);
    train(&bench, "ppo", "plain", "--max-steps 2").succeeded();
    assert_eq!(log(&bench, "checked"), log(&bench, "plain"));
}

#[test]
fn a_limit_of_tokens_cuts_the_rollouts_of_a_step_and_changes_no_figure() {
    let bench = bench();
    // The loss of brain is one over all responses to a prompt.
    for method in ["ppo", "brain"] {
        let (plain, limited) = (format!("{method}-plain"), format!("{method}-limited"));
        train(&bench, method, &plain, "--max-steps 1").succeeded();
        let ran = train(&bench, method, &limited, "--max-steps 1 --max-batch-tokens 1").succeeded();
        assert!(ran.stderr.contains("4 times a row had more than max_batch_tokens 1"), "{}", ran.stderr);
        let (got, expected) = (&log(&bench, &limited)[0], &log(&bench, &plain)[0]);
        for name in ["loss", "grad_norm", "reward", "num_tokens"] {
            let [got, expected] = [got, expected].map(|row| row[name].as_f64().expect("a number"));
            assert!((got - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{method} {name}: {got} {expected}");
        }
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_with_its_rollouts() {
    let bench = bench();
    let options = "--num-iterations 3 --max-steps 6 --save-steps 2 --save-total-limit 0";
    train(&bench, "ppo", "whole", options).succeeded();
    train(&bench, "ppo", "cut", options).succeeded();
    // As if it had been killed behind the second step, in the middle of a generation.
    for step in ["4", "6"] {
        std::fs::remove_dir_all(bench.path("cut").join(format!("checkpoint-{step}"))).expect("a checkpoint");
    }
    let ran = train(&bench, "ppo", "cut", options).succeeded();
    assert!(ran.stderr.contains("2 of 6 steps done"), "{}", ran.stderr);
    assert_eq!(log(&bench, "cut"), log(&bench, "whole"));
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    // Another temperature is another run.
    train(&bench, "ppo", "cut", &format!("{options} --temperature 0.5")).refused(&["rollouts"]);
    // So are other answers to the same prompts.
    let row = |n: usize| json!({"prompt": format!("what is {n} + 1?"), "answer": (n + 2).to_string()});
    bench.rows("prompts.jsonl", (0..6).map(row));
    train(&bench, "ppo", "cut", options).refused(&["set of prompts"]);
}

#[test]
fn every_kind_of_method_goes_on_where_it_was_stopped() {
    let bench = bench();
    for (method, more) in [
        ("ma_ppo", ""),
        ("raft", ""),
        ("oreal", "--token-rewards"),
        ("oreo", ""),
        ("brain", ""),
        ("score", "--second-attempt again:"),
    ] {
        // Killed behind the first of two steps on the second generation.
        let options = format!("--num-iterations 2 --max-steps 4 --save-steps 1 --save-total-limit 0 {more}");
        let (whole, cut) = (format!("whole-{method}"), format!("cut-{method}"));
        train(&bench, method, &whole, &options).succeeded();
        train(&bench, method, &cut, &options).succeeded();
        std::fs::remove_dir_all(bench.path(&cut).join("checkpoint-4")).expect("a checkpoint");
        let ran = train(&bench, method, &cut, &options).succeeded();
        assert!(ran.stderr.contains("3 of 4 steps done"), "{method}: {}", ran.stderr);
        let steps = log(&bench, &whole);
        assert_eq!(steps.len(), 4, "{method}");
        assert_eq!(log(&bench, &cut), steps, "{method}");
        assert!(bench.equal_files(&cut) == bench.equal_files(&whole), "{method}: the files differ");
    }
}

#[test]
fn multipliers_of_constraints_are_logged_and_wait_in_checkpoints() {
    let bench = bench();
    let options = "--constraint exact=0.5 --constraint-kind mu --max-steps 4 --save-steps 2 --save-total-limit 0";
    train(&bench, "ppo", "whole", options).succeeded();
    train(&bench, "ppo", "cut", options).succeeded();
    std::fs::remove_dir_all(bench.path("cut").join("checkpoint-4")).expect("a checkpoint");
    let ran = train(&bench, "ppo", "cut", options).succeeded();
    assert!(ran.stderr.contains("2 of 4 steps done"), "{}", ran.stderr);
    let whole = log(&bench, "whole");
    assert_eq!(log(&bench, "cut"), whole);
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    // A model of random weights is not right half of the time, so what is asked of it weighs more and more.
    let weight = |row: &Value| row["constraint_0/weight"].as_f64().expect("it is logged");
    assert!(whole.windows(2).all(|rows| weight(&rows[0]) < weight(&rows[1])));
    train(&bench, "ppo", "cut", &options.replace("0.5", "0.4")).refused(&["constraint"]);
    // Bounds that follow a metric are part of the log.
    let follow = "--constraint exact=0.5 --constraint-metric arithmetic --constraint-hold 1 --max-steps 3";
    let ran = train(&bench, "ppo", "follow", follow).succeeded();
    assert!(ran.stdout.contains("held-out constraint_metric "), "{}", ran.stdout);
    let bounds: Vec<f64> = log(&bench, "follow").iter().filter_map(|row| row["constraint_0/bound"].as_f64()).collect();
    assert!(bounds.len() == 3 && bounds[0] == 0.5 && (bounds[1] - 0.6).abs() < 1e-12, "{bounds:?}");
    let hold = "--constraint exact=0.5 --constraint-metric arithmetic --constraint-hold 0";
    train(&bench, "ppo", "out", hold).refused(&["constraint_hold", "at least 1"]);
    train(&bench, "ppo", "out", "--constraint exact=0.5 --constraint-hold 2").refused(&["--constraint-metric"]);
    train(&bench, "ppo", "out", "--constraint exact").refused(&["exact=0.5"]);
    train(&bench, "ppo", "out", "--constraint mine=1").refused(&["there is no reward `mine`"]);
    train(&bench, "grpo", "out", "--constraint exact=1").refused(&["constraint does nothing with grpo", "ppo"]);
    let plain = "--constraint exact=1 --constraint-kind xi --constraint-multiplier plain";
    train(&bench, "ppo", "out", plain).refused(&["equality"]);
}

#[test]
fn rewards_are_brought_to_one_scale_as_they_come() {
    let bench = bench();
    let options = "--normalize-rewards --reward-clip-range -5 5 --max-steps 4 --save-steps 2 --save-total-limit 0";
    train(&bench, "ppo", "whole", options).succeeded();
    train(&bench, "ppo", "cut", options).succeeded();
    std::fs::remove_dir_all(bench.path("cut").join("checkpoint-4")).expect("a checkpoint");
    train(&bench, "ppo", "cut", options).succeeded();
    let whole = log(&bench, "whole");
    assert_eq!(log(&bench, "cut"), whole);
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    for row in &whole {
        let number = |name: &str| row[name].as_f64().expect("it is logged");
        assert!(number("reward/running_std") > 0.0 && number("reward").abs() <= 5.0, "{row}");
        assert!((0.0..=1.0).contains(&number("reward/running_mean")), "{row}");
    }
    train(&bench, "ppo", "cut", "--reward-clip-range -5 5 --max-steps 4").refused(&["rollouts"]);
    train(&bench, "brain", "out", "--normalize-rewards").refused(&["normalize_rewards does nothing with brain", "ppo"]);
}

#[test]
fn reward_models_are_brought_to_their_own_scales() {
    let bench = bench();
    for seed in [0, 1] {
        let line = format!(
            "train reward --model model --data pairs.jsonl --output-dir m{seed} {} --seed {seed} --head-init wide",
            support::SHORT
        );
        bench.run(&line).succeeded();
    }
    let options = SHORT.replace("--reward arithmetic", "--reward m0,m1 --combine mean --max-steps 1");
    let run = |out: &str, more: &str| {
        let line = format!("train grpo --model model --data prompts.jsonl --output-dir {out} {options} {more}");
        bench.run(&line).succeeded();
        log(&bench, out)[0]["reward"].as_f64().expect("it is logged")
    };
    // The same responses; their mean reward is moved by the mean of what both models were moved by.
    let (raw, standard) = (run("raw", ""), run("standard", "--standardize"));
    assert!(raw.is_finite() && standard.is_finite() && raw != standard, "{raw} {standard}");
    train(&bench, "grpo", "no", "--standardize")
        .refused(&["standardize brings reward models", "`arithmetic` has none"]);
    // Log-odds divided by a deviation are none of the temperature 1, and ratings are none at all.
    let no = |more: &str| {
        bench.run(&format!("train grpo --model model --data prompts.jsonl --output-dir no {options} {more}"))
    };
    no("--standardize --log-sigmoid 0").refused(&["log-odds of the temperature 1", "drop standardize"]);
    bench.write("m1/reward.json", "{\"reading\": {\"heads\": {\"lambda\": 0.5}}}");
    no("--log-sigmoid 0").refused(&["takes rewards for log-odds, and `m1` gives ratings", "drop log_sigmoid"]);
    no("").refused(&["`m1` gives ratings and `m0` log-odds", "standardize"]);
}

#[test]
fn rewards_are_held_against_what_the_model_wrote_before() {
    let bench = bench();
    let options = "--log-sigmoid-quantile 0.85 --max-steps 2 --save-steps 1 --save-total-limit 0";
    let ran = train(&bench, "grpo", "whole", options).succeeded();
    assert!(ran.stderr.contains("references: 4 responses to each of 6 prompts"), "{}", ran.stderr);
    // Rewards are 0 or 1 and so are references, so a log-sigmoid lies between those of -1 and 1.
    for row in log(&bench, "whole") {
        let reward = row["reward"].as_f64().expect("it is logged");
        assert!((-1.3133..=-0.3132).contains(&reward), "{row}");
    }
    train(&bench, "grpo", "cut", options).succeeded();
    std::fs::remove_dir_all(bench.path("cut").join("checkpoint-2")).expect("a checkpoint");
    train(&bench, "grpo", "cut", options).succeeded();
    assert_eq!(log(&bench, "cut"), log(&bench, "whole"));
    for (rest, said) in [
        ("--log-sigmoid-quantile 1", "log_sigmoid_quantile must be above 0 and below 1"),
        ("--log-sigmoid-quantile 0.5 --log-sigmoid 1", "--log-sigmoid"),
        ("--log-sigmoid-quantile 0.5 --combine min", "drop combine"),
        ("--log-sigmoid-quantile 0.5 --reward-weights -1", "finite and above 0"),
    ] {
        train(&bench, "grpo", "no", rest).refused(&[said]);
    }
    let one = "--log-sigmoid-quantile 0.5 --num-generations 1";
    train(&bench, "reinforce", "no", one).refused(&["at least 2 responses to a prompt"]);
}

#[test]
fn rewards_under_constraints_are_told_of_held_out_prompts() {
    let bench = bench();
    let options = SHORT.replace("--reward arithmetic", "--constraint exact=0.5,arithmetic=0.5 --max-steps 1");
    let ran =
        bench.run(&format!("train ppo --model model --data prompts.jsonl --output-dir out {options}")).succeeded();
    assert!(ran.stdout.contains("held-out constraint_0 ") && ran.stdout.contains("held-out constraint_1 "));
    // Nothing else was asked for, so there is no other reward to be told of.
    assert!(!ran.stdout.contains("held-out reward"), "{}", ran.stdout);
    let summary = bench.json("out/summary.json");
    assert!(summary["constraint_0"].is_object() && summary["constraint_1_before"].is_object(), "{summary}");
}

#[test]
fn a_reward_model_judges_what_a_policy_writes() {
    let bench = bench();
    bench.copy_model("llama_seqcls", "judge");
    let short = SHORT.replace("--reward arithmetic", "--reward judge");
    let train = |method: &str, out: &str, more: &str| {
        bench.run(&format!("train {method} --model model --data prompts.jsonl --output-dir {out} {short} {more}"))
    };
    for method in ["ppo", "grpo"] {
        let ran = train(method, method, "--max-steps 2").succeeded();
        assert!(ran.stderr.contains("loading judge") && ran.stdout.contains("held-out reward "), "{}", ran.stderr);
        // A head of real numbers is neither right nor wrong.
        let rewards: Vec<f64> = log(&bench, method).iter().filter_map(|row| row["reward"].as_f64()).collect();
        assert!(rewards.len() == 2 && rewards.iter().all(|reward| reward.is_finite() && *reward != 0.0), "{rewards:?}");
    }
    train("ppo", "bounded", "--constraint judge=0.5 --max-steps 1").succeeded();
    // Twice the same model is the model, and the log-sigmoid of it is another reward, below 0.
    let reward = |out: &str| log(&bench, out)[0]["reward"].as_f64().expect("a number");
    train("grpo", "twice", "--reward judge,judge --combine uwo --max-steps 1").succeeded();
    train("grpo", "tamed", "--log-sigmoid 0.5 --max-steps 1").succeeded();
    assert!((reward("twice") - reward("grpo")).abs() < 1e-6);
    assert!(reward("tamed") < 0.0 && reward("tamed") != reward("grpo"));
    assert!(log(&bench, "bounded")[0]["constraint_0/reward"].as_f64().is_some_and(f64::is_finite));
    // A language model gives no rewards.
    let short = short.replace("--reward judge", "--reward model");
    bench
        .run(&format!("train grpo --model model --data prompts.jsonl --output-dir out {short}"))
        .refused(&["the reward model `model`", "a head that scores sequences"]);
}

#[test]
fn imitation_is_watched_and_may_end_early() {
    let bench = bench();
    bench.rows("texts.jsonl", (0..3).map(|n| json!({"prompt": format!("what is {n}?"), "completion": "the sum"})));
    // The reward is the same in every generation.
    let options = "--temperature 0.7 --num-iterations 2 --max-steps 8 --save-steps 2 --perplexity-data texts.jsonl \
                   --reward-clip-range -1 -0.5";
    train(&bench, "raft", "whole", options).succeeded();
    let whole = log(&bench, "whole");
    assert_eq!(whole.len(), 8);
    let scored = bench.run("score --model model --input texts.jsonl").succeeded().stdout;
    let row = |line: &str| -> Vec<f64> {
        let row: Value = serde_json::from_str(line).expect("a line of JSON");
        row["token_logps"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
    };
    let logps: Vec<f64> = scored.lines().flat_map(row).collect();
    let expected = (-logps.iter().sum::<f64>() / logps.len() as f64).exp();
    let got = |at: usize, name: &str| whole[at][name].as_f64().expect("it is logged");
    assert!((got(0, "perplexity") / expected - 1.0).abs() < 1e-3, "{} and {expected}", got(0, "perplexity"));
    // Two steps of a generation say the same of it, and then the policy has moved.
    assert_eq!(got(1, "perplexity"), got(0, "perplexity"));
    assert_ne!(got(2, "perplexity"), got(0, "perplexity"));
    for name in ["completions/distinct_1", "completions/distinct_2"] {
        assert!((0..8).all(|at| got(at, name) > 0.0 && got(at, name) <= 1.0), "{name}");
    }
    // It is over behind the first step of the third generation, and stays over.
    let patient = format!("{options} --early-stopping-patience 2");
    for _ in 0..2 {
        let ran = train(&bench, "raft", "patient", &patient).succeeded();
        let said = "stopped after step 5 of 8: the reward of 2 generations was not above the best before, -0.5000";
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        assert_eq!(log(&bench, "patient"), whole[..5]);
        assert!(bench.path("patient/checkpoint-5").is_dir() && bench.path("patient/model.safetensors").is_file());
    }
    let bounded = format!("{options} --early-stopping-perplexity 1.5");
    let ran = train(&bench, "raft", "bounded", &bounded).succeeded();
    assert!(ran.stderr.contains("stopped after step 1 of 8: the perplexity of the texts is "), "{}", ran.stderr);
    // Other texts make another run.
    bench.rows("texts.jsonl", [json!({"prompt": "what is it?", "completion": "a rest"})]);
    train(&bench, "raft", "whole", options).refused(&["another set of texts"]);
    let refused = |method: &str, more: &str, words: &[&str]| train(&bench, method, "out", more).refused(words);
    refused("raft", "--early-stopping-perplexity 2", &["early_stopping_perplexity does nothing without texts"]);
    let low = "--perplexity-data texts.jsonl --early-stopping-perplexity 1";
    refused("raft", low, &["early_stopping_perplexity must be finite and above 1", "got 1"]);
    refused("raft", "--perplexity-data prompts.jsonl", &["`completion` is missing"]);
    bench
        .run("train dpo --model model --data pairs.jsonl --output-dir out --early-stopping-patience 2")
        .refused(&["early_stopping_patience does nothing with dpo", "raft"]);
}

#[test]
fn a_reward_model_that_has_changed_makes_another_run() {
    let bench = bench();
    bench.copy_model("llama_seqcls", "judge");
    let short = SHORT.replace("--reward arithmetic", "--reward judge");
    let line = format!("train grpo --model model --data prompts.jsonl --output-dir out {short} --max-steps 2");
    bench.run(&line).succeeded();
    let config = bench.read("judge/config.json");
    bench.write("judge/config.json", format!("{config}\n"));
    bench.run(&line).refused(&["another set of judges", "judge "]);
    // What a run leaves beside a model does not change it.
    bench.write("judge/config.json", config);
    bench.write("judge/log.jsonl", "{}\n");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("2 of 2 steps done"), "{}", ran.stderr);
}

#[test]
fn both_attempts_are_told_of_held_out_prompts() {
    let bench = bench();
    let ran =
        train(&bench, "score", "out", "--max-steps 1 --second-attempt again: --borrowed-attempts 0.5").succeeded();
    // Two of four first attempts are the reference's, and six of eight responses are learned from.
    assert_eq!(log(&bench, "out")[0]["rollouts/kept"].as_f64(), Some(0.75));
    let summary = bench.json("out/summary.json");
    let value = |name: &str| summary[name]["value"].as_f64().expect("a number");
    for name in ["reward", "reward_first", "reward_gain", "reward_corrected", "reward_spoiled"] {
        assert!(ran.stdout.contains(&format!("held-out {name} ")), "{}", ran.stdout);
        assert!(value(name).is_finite() && value(&format!("{name}_before")).is_finite());
    }
    assert!((value("reward_gain") - (value("reward") - value("reward_first"))).abs() < 1e-9);
}

#[test]
fn log_ratios_of_a_policy_are_rewards_of_steps() {
    let bench = bench();
    let row = |n: usize| json!({"prompt": format!("what is {n} + 1?"), "completion": format!("{}", n + 1)});
    bench.rows("sums.jsonl", (0..6).map(row));
    bench
        .run("train sft --model model --data sums.jsonl --output-dir moved --max-steps 2 --learning-rate 1e-2")
        .succeeded();
    let short = SHORT.replace("--reward arithmetic", "--reward implicit:moved --segment fixed:2 --max-steps 1");
    let train = |out: &str, more: &str| {
        bench.run(&format!("train ppo --model model --data prompts.jsonl --output-dir {out} {short} {more}"))
    };
    let reward = |out: &str| log(&bench, out)[0]["reward"].as_f64().expect("it is logged");
    train("plain", "").succeeded();
    assert!(reward("plain") != 0.0);
    // Log-ratios are multiplied by beta, and a policy beside itself has none.
    train("twice", "--implicit-beta 0.1").succeeded();
    assert!((reward("twice") - 2.0 * reward("plain")).abs() < 1e-5 * reward("plain").abs().max(1.0));
    train("none", "--implicit-reference moved").succeeded();
    assert_eq!(reward("none"), 0.0);
    // Beside a success that weighs nothing, what is cut from above is not above 0, and twice of it at twice the weight.
    let refined = |weight: usize| format!("--reward exact --reward-weights {weight},0 --step-rewards");
    train("cut", &format!("{} clip --step-eta 0", refined(1))).succeeded();
    assert!(reward("cut") <= 0.0);
    train("double", &format!("{} clip --step-eta 0", refined(2))).succeeded();
    assert!((reward("double") - 2.0 * reward("cut")).abs() < 1e-5 * reward("cut").abs().max(1.0));
    // Differences add up to the first of what they are of, or to 0 where it is the only one.
    train("delta", &format!("{} clip-delta --step-eta 0", refined(1))).succeeded();
    assert!(reward("delta") <= 0.0 && reward("delta") >= reward("cut") - 1e-6);
    train("out", "--step-rewards delta --gamma 0.9").refused(&["telescopes where gamma is 1, and it is 0.9"]);
    train("out", "--step-rewards delta").refused(&["name a reward of it beside the process model"]);
    train("out", &format!("{} clip", refined(1))).refused(&["log-ratios have no bounds", "--step-eta"]);
    let whole = format!("{} delta --confidence-weight 1", refined(1));
    train("out", &whole).refused(&["confidence_weight moves the reward of a whole response", "step_rewards"]);
    train("out", "--implicit-beta 0").refused(&["implicit_beta must be finite and above 0"]);
    train("out", "--standardize").refused(&["standardize is for reward models", "`implicit:moved` judges steps"]);
    train("out", "--reward implicit:nowhere").refused(&["nowhere"]);
    // Other contents under the same name are another reward.
    let config = bench.read("moved/config.json");
    bench.write("moved/config.json", format!("{config}\n"));
    train("plain", "").refused(&["another set of judges", "implicit:moved "]);
}

#[test]
fn confidence_moves_rewards_and_its_mean_waits_in_checkpoints() {
    let bench = bench();
    // Nothing that a random model writes states a confidence, and then nothing is moved.
    let options = "--confidence-weight 2 --confidence-mean 1 --max-steps 3 --save-steps 1 --save-total-limit 0";
    train(&bench, "ppo", "plain", "--max-steps 3 --save-steps 1 --save-total-limit 0").succeeded();
    train(&bench, "ppo", "whole", options).succeeded();
    assert_eq!(log(&bench, "whole"), log(&bench, "plain"));
    let memory = |step: usize| bench.json(&format!("whole/checkpoint-{step}/rollouts.json"))["scorers"][0].clone();
    assert_eq!(memory(1).as_array().map(Vec::len), Some(1));
    assert_ne!(memory(1), memory(2));
    train(&bench, "ppo", "cut", options).succeeded();
    for step in ["2", "3"] {
        std::fs::remove_dir_all(bench.path("cut").join(format!("checkpoint-{step}"))).expect("a checkpoint");
    }
    train(&bench, "ppo", "cut", options).succeeded();
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    train(&bench, "ppo", "out", "--confidence-weight -1").refused(&["weight must be finite and at least 0"]);
    train(&bench, "ppo", "out", "--confidence-rate 0.5").refused(&["--confidence-weight"]);
    train(&bench, "iterative-dpo", "out", "--confidence-weight 1").refused(&["confidence_weight does nothing"]);
}

#[test]
fn prompts_that_are_rarely_solved_are_asked_more_often() {
    let bench = bench();
    // Four prompts to train on, one a step, each twice.
    let row = |n: usize| json!({"prompt": format!("what is {n} + 1?"), "answer": n + 1, "solved": 0.7});
    bench.rows("prompts.jsonl", (0..6).map(row));
    let ran = train(&bench, "grpo", "out", "--repeat-by-pass-rate solved").succeeded();
    assert!(ran.stderr.contains("step 1/8 "), "{}", ran.stderr);
    train(&bench, "grpo", "other", "--repeat-by-pass-rate rate").refused(&["repeat_by_pass_rate", "column `rate`"]);
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("{n}?"), "answer": n, "solved": 1.5})));
    train(&bench, "grpo", "other", "--repeat-by-pass-rate solved").refused(&["a number from 0 to 1"]);
}

#[test]
fn rewards_penalties_and_options_of_methods_reach_the_run() {
    let bench = bench();
    train(&bench, "grpo", "two", "--reward arithmetic,exact --max-steps 1").succeeded();
    let two = &log(&bench, "two")[0];
    let number = |name: &str| two[name].as_f64().expect("it is logged");
    let sum = number("rewards/arithmetic/mean") + number("rewards/exact/mean");
    assert!((number("reward") - sum).abs() < 1e-6 && number("sampling/entropy") > 0.0);
    // A response without an end has -10, then 2 * -10 + 1; others have 1 or 3.
    let options = "--stop-properly-penalty-coef -10 --reward-gain 2 --reward-bias 1 --num-iterations 2 --stop-kl 0.5 \
                   --stop-clip-fraction 0.9 --whiten-epsilon 1e-8 --advantage-ddof 0 --critic-warmup 1 --max-steps 2";
    train(&bench, "ppo", "ppo", options).succeeded();
    let row = &log(&bench, "ppo")[0];
    let (reward, cut) = (row["reward"].as_f64().expect("a number"), row["completions/clipped_ratio"].as_f64());
    let cut = cut.expect("a share");
    assert!((1.0 - cut - 19.0 * cut..=3.0 - 3.0 * cut - 19.0 * cut).contains(&reward), "{reward} with {cut}");
    for (method, options) in [
        ("ma_ppo", "--macro-value position --macro-reward code"),
        ("oreal", "--oreal-positive 2 --oreal-negative 0 --token-rewards --oreal-top 0.25"),
        ("oreo", "--oreo-level one-step --oreo-kl 0.02 --oreo-weight 2 --num-iterations 2"),
    ] {
        train(&bench, method, method, &format!("{options} --max-steps 2")).succeeded();
    }
}

#[test]
fn what_cannot_run_is_refused_before_any_work() {
    let bench = bench();
    let refused = |method: &str, more: &str, words: &[&str]| train(&bench, method, "out", more).refused(words);
    refused("grpo", "--reward mine", &["there is no reward `mine`", "arithmetic", "chain"]);
    refused("grpo", "--reward chain", &["chain", "line"]);
    refused("grpo", "--loss-type gropo", &["policy loss `gropo`", "grpo"]);
    refused("grpo", "--loss-type grpo dapo", &["grpo has one policy loss"]);
    refused("grpo", "--label-smoothing 0.1", &["label_smoothing does nothing with grpo"]);
    refused("grpo+sft", "", &["grpo learns from its own rollouts"]);
    refused("grpo", "--advantage-estimator gea", &["advantage estimator `gea`", "gae"]);
    refused("grpo", "--num-generations 3", &["num_generations 3", "divide"]);
    refused("grpo", "--num-generations 1", &["num_generations", "at least 2"]);
    refused("grpo", "--epsilon 0", &["epsilon"]);
    refused("grpo", "--temperature 0", &["temperature"]);
    refused("grpo", "--max-completion-length 1000", &["leave no room"]);
    refused("grpo", "--reward-weights 1,2", &["reward_weights"]);
    refused("grpo", "--reward-weights 2 --combine min", &["reward_weights belong to a sum"]);
    refused("grpo", "--combine-weight 1 --combine min", &["combine_weight weighs the spread"]);
    refused("grpo", "--combine uwo --combine-weight -1", &["the weight of the spread"]);
    refused("grpo", "--combine uwo", &["ddof"]);
    refused("grpo", "--log-sigmoid inf", &["log_sigmoid must be finite"]);
    refused("ma_ppo", "--segment words", &["segment"]);
    refused("score", "", &["--second-attempt"]);
    refused("grpo", "--second-attempt again", &["second_attempt does nothing with grpo"]);
    refused("score", "--second-attempt again --progress-bonus -1", &["progress_bonus"]);
    refused("score", "--second-attempt again --borrowed-attempts 1", &["borrowed_attempts", "in [0, 1)"]);
    refused("score", "--second-attempt again --stage first --borrowed-attempts 0.5", &["0 in the first stage"]);
    refused("grpo", "--borrowed-attempts 0.5", &["borrowed_attempts does nothing with grpo"]);
    let second = |more: &str| format!("--second-attempt again {more}");
    refused("score", &second("--second-pull 0.5"), &["second_pull does nothing without the stage", "--stage first"]);
    refused("score", &second("--stage first --progress-bonus 2"), &["progress_bonus does nothing without the stage"]);
    let pull = "does nothing without a pull to the reference in the loss, whose strength is 0; raise --beta";
    refused(
        "score",
        &second("--stage first --beta 0 --second-pull 0.5"),
        &[&format!("second_pull {pull}, or leave second_pull out")],
    );
    refused("grpo", "--kl-loss-estimator k2", &[&format!("kl_loss_estimator {pull}")]);
    refused("grpo", "--use-bias-correction-kl", &[&format!("use_bias_correction_kl {pull}")]);
    refused("oreal", "--beta 0 --kl-loss-estimator k2", &[&format!("kl_loss_estimator {pull}")]);
    refused("brain", "--brain-reference 0 --brain-gamma 2", &["brain_gamma does nothing", "drop that, or leave"]);
    let scales = "advantage_epsilon does nothing without a standard deviation";
    refused("grpo", "--scale-rewards none --advantage-epsilon 1e-6", &[scales]);
    refused("oreal", "--vf-coef 0.5", &["vf_coef does nothing without a critic", "--token-rewards"]);
    refused("ppo", "--vf-coef 0 --cliprange-value 0.1", &["cliprange_value does nothing without a loss of values"]);
    refused("raft", "--keep-top 0", &["keep_top"]);
    let penalty =
        "does nothing without a penalty for leaving the reference in the reward, whose strength is 0; raise --kl-coef";
    refused("grpo", "--kl-target 1", &[&format!("kl_target {penalty}, or leave kl_target out")]);
    refused("ppo", "--kl-coef 0 --kl-target 1", &[&format!("kl_target {penalty}")]);
    refused("grpo", "--kl-reward-estimator k2", &[&format!("kl_reward_estimator {penalty}")]);
    refused("ppo", "--kl-horizon 100", &["kl_horizon does nothing without a divergence to follow", "--kl-target"]);
    let buffer = "--overlong-buffer 2 --overlong-penalty-factor -1";
    refused("grpo", buffer, &["overlong_penalty_factor must be finite and at least 0, got -1"]);
    refused("grpo", "--overlong-penalty-factor 2", &["overlong_penalty_factor does nothing", "--overlong-buffer"]);
    let range = "--importance-sampling-range 0 1";
    refused("grpo", range, &["importance_sampling_range does nothing", "--importance-sampling-correction"]);
    refused("oreo", "--oreo-level step", &["steps"]);
    refused("oreo", "--loss-agg-mode token-mean", &["loss_agg_mode does nothing"]);
    refused("brain", "--brain-gamma 0", &["brain_gamma"]);
    refused("brain", "--steps-per-generation 2", &["steps_per_generation"]);
    refused("ppo", "--stop-kl 0.1", &["stop_kl", "one step alone"]);
    refused("ppo", "--num-iterations 2 --stop-kl 0", &["stop_kl", "above 0"]);
    refused("brain", "--stop-kl 0.1", &["stop_kl does nothing with brain"]);
    refused("ppo", "--whiten-epsilon -1", &["whiten_epsilon"]);
    refused("ppo", "--advantage-ddof 2", &["advantage-ddof"]);
    refused("ppo", "--reward-gain nan", &["reward_gain"]);
    refused("grpo", "--critic-warmup 1", &["critic_warmup does nothing with grpo", "ppo"]);
    refused("oreal", "--critic-warmup 1", &["critic_warmup is for values"]);
    refused("oreal", "--oreal-positive -1", &["oreal_positive"]);
    refused("oreal", "--token-rewards --oreal-top 0", &["oreal_top"]);
    refused("oreal", "--oreal-top 0.5", &["--token-rewards"]);
    refused("oreo", "--oreo-weight 0 --num-iterations 2", &["oreo_weight", "finite and above 0"]);
    refused("oreo", "--oreo-weight 2", &["oreo_weight does nothing without a second step", "--num-iterations"]);
    let steps = "--step-rewards delta --segment fixed:2";
    refused("ppo", steps, &["one process model, or of implicit:FOLDER, and reward names 0"]);
    refused("ppo", &format!("{steps} --log-sigmoid-quantile 0.5"), &["which step_rewards keeps apart"]);
    refused("grpo", "--implicit-beta 0.1", &["implicit_beta is for log-ratios"]);
    refused("ppo", "--macro-value unit", &["macro_value does nothing with ppo", "ma_ppo"]);
    refused("raft", "--epsilon 0.1", &["epsilon does nothing with raft", "leave it out, or use grpo", "ppo"]);
    refused("ppo", "--keep-top 0.5", &["keep_top does nothing with ppo", "raft"]);
    refused("brain", "--beta 0.1", &["beta does nothing with brain"]);
    refused("grpo", "--eval-steps 2", &["eval_steps does nothing with grpo"]);
    refused("grpo", "--max-length 64", &["max_length does nothing with grpo"]);
    refused("dpo", "", &["reward does nothing with dpo", "grpo"]);
    refused("gropo", "", &["there is no method `gropo`", "grpo"]);
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?")})));
    refused("grpo", "", &["no answer to check", "line"]);
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?"), "answer": "a few"})));
    refused("grpo", "", &["`a few` has no number", "line"]);
}

#[test]
fn validate_checks_a_run_on_rollouts_without_weights() {
    let bench = bench();
    let line = format!("validate grpo --model model --data prompts.jsonl --output-dir out {SHORT}");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("4 prompts to train on, 2 held out"), "{}", ran.stdout);
    bench.run(&format!("{line} --loss-type x")).refused(&["policy loss"]);
}
