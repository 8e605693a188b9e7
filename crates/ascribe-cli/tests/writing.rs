//! Reward models that write before they score: `ascribe train critique`, `ascribe train themis`, and `ascribe score --reward` with
//! them.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Bench, Ran, SHORT};

/// Standard output as JSONL.
#[track_caller]
fn written(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Twelve pairs with critiques, of which every fourth is a tie.
fn critiques(bench: &Bench) {
    let row = |n: usize| {
        json!({"prompt": format!("what is {n}?"), "chosen": format!("the sum of {n}"), "rejected": format!("the rest of {n}"),
               "chosen_critique": "right", "rejected_critique": "wrong", "margin": n % 4})
    };
    bench.rows("critiques.jsonl", (0..12).map(row));
}

/// Twelve sums with a right and a wrong answer, each behind what a calculator says of it.
fn traces(bench: &Bench) {
    let trace = |n: usize, answer: usize, said: &str, so: &str| {
        format!("Thought: t\nAction: Calculator\nAction Input: {n}+{n}={answer}\nObservation: {said}\nRationale: {so}")
    };
    let row = |n: usize| {
        let (right, wrong) = (2 * n, 2 * n + 1);
        json!({"prompt": format!("{n}+{n}"), "chosen": right.to_string(), "rejected": wrong.to_string(),
               "chosen_trace": trace(n, right, "right", "yes"),
               "rejected_trace": trace(n, wrong, &format!("wrong, it is {right}"), "no")})
    };
    bench.rows("traces.jsonl", (0..12).map(row));
}

fn questions(bench: &Bench) {
    bench.rows(
        "rows.jsonl",
        [
            json!({"prompt": "what is 1?", "completion": "the sum"}),
            json!({"prompt": "what is 2?", "completions": ["the sum", "the rest", "no"]}),
            json!({"prompt": "what is 3?", "chosen": "the sum", "rejected": "the rest"}),
        ],
    );
}

/// A statistic of every training step.
fn logged(bench: &Bench, folder: &str, name: &str) -> Vec<f64> {
    let rows = bench.read(&format!("{folder}/log.jsonl"));
    rows.lines().filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON")[name].as_f64()).collect()
}

/// The option that leaves room for a prompt in the context of the tiny model, and one for what is written.
const ROOM: &str = "--max-completion-length 12 --max-length 200";

#[test]
fn a_critique_is_learned_written_and_scored() {
    let bench = Bench::new();
    critiques(&bench);
    questions(&bench);
    let line = format!(
        "train critique --model model --data critiques.jsonl --output-dir out {SHORT} {ROOM} --learning-rate 1e-2 --num-train-epochs 8"
    );
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("8 rows to train on, 4 held out"), "{}", ran.stderr);
    assert!(ran.stdout.contains("held-out reward accuracy behind what the model itself writes"), "{}", ran.stdout);
    assert!(ran.stdout.contains("held-out reward margin"), "{}", ran.stdout);
    // Of ties nobody says who is better.
    let tie = |n: usize| {
        json!({"prompt": format!("what is {n}?"), "chosen": "the sum", "rejected": "the rest", "chosen_critique": "so",
               "rejected_critique": "so", "margin": 0})
    };
    bench.rows("ties.jsonl", (0..12).map(tie));
    let tied = line.replace("critiques.jsonl", "ties.jsonl").replace("--output-dir out", "--output-dir ties");
    let ran = bench.run(&tied.replace("--num-train-epochs 8", "--max-steps 1")).succeeded();
    assert!(!ran.stdout.contains("behind what the model itself writes"), "{}", ran.stdout);
    let summary = bench.json("ties/summary.json");
    assert!(summary["self_written_accuracy"].is_null() && summary["eval_nll_loss"].is_number(), "{summary}");
    let [losses, nll] = ["loss", "nll_loss"].map(|name| logged(&bench, "out", name));
    assert_eq!((losses.len(), nll.len()), (32, 32));
    assert!(losses[31] < losses[0] && nll[31] < 0.7 * nll[0], "{losses:?} and {nll:?}");
    let config = bench.json("out/config.json");
    assert_eq!((&config["architectures"], &config["sequence_scores"]), (&json!(["LlamaForCausalLM"]), &json!(1)));
    let card = bench.json("out/reward.json");
    assert_eq!((&card["loss"], &card["writes"]), (&json!("ties"), &json!({"critique": {"max_new": 12}})));
    let summary = bench.json("out/summary.json");
    assert!(summary["self_written_accuracy"].is_object() && summary["eval_nll_loss"].is_number(), "{summary}");

    let rows = written(&bench.run("score --reward out --input rows.jsonl").succeeded());
    assert!(rows[0]["reward"].is_number() && rows[0]["critique"].is_string(), "{}", rows[0]);
    assert_eq!(rows[1]["critiques"].as_array().map(Vec::len), Some(3), "{}", rows[1]);
    assert!(rows[2]["critique_chosen"].is_string() && rows[2]["critique_rejected"].is_string(), "{}", rows[2]);
    // With others it is one of several, and the text is still its own.
    let both = written(&bench.run("score --reward out,out --combine min --input rows.jsonl").succeeded());
    assert_eq!(both[0]["reward"], rows[0]["reward"]);
    assert_eq!(both[0]["critique"], json!([rows[0]["critique"], rows[0]["critique"]]));
    // It is a language model as well, and training goes on from both heads.
    bench.run("generate --model out --prompt what --max-new-tokens 4").succeeded();
    let more = line.replace("--output-dir out", "--output-dir more").replace("--model model", "--model out");
    let ran = bench.run(&more.replace("--num-train-epochs 8", "--max-steps 1")).succeeded();
    assert!(ran.stderr.contains("a head of 1 scores beside the next token"), "{}", ran.stderr);
}

#[test]
fn an_adapter_that_writes_is_resumed_merged_and_scored() {
    let bench = Bench::new();
    critiques(&bench);
    questions(&bench);
    let line = format!(
        "train critique --model model --data critiques.jsonl --output-dir out {SHORT} {ROOM} --use-peft --lora-r 4 \
         --learning-rate 1e-2 --save-steps 2"
    );
    bench.run(&line).succeeded();
    let whole = bench.equal_files("out");
    fs::remove_dir_all(bench.path("out/checkpoint-4")).expect("the last checkpoint");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("going on from out/checkpoint-2"), "{}", ran.stderr);
    assert!(bench.equal_files("out") == whole);
    bench.run(&format!("{line} --lm-weight 0.5")).refused(&["another weights of the losses"]);
    bench.run("merge --adapter out --output-dir merged").succeeded();
    let rewards = |model: &str| -> Vec<f64> {
        let rows = written(&bench.run(&format!("score --reward {model} --input rows.jsonl")).succeeded());
        rows.iter().filter_map(|row| row["reward"].as_f64()).collect()
    };
    let (apart, merged) = (rewards("out"), rewards("merged"));
    assert_eq!(apart.len(), 1);
    assert!((apart[0] - merged[0]).abs() < 1e-3 * (1.0 + apart[0].abs()), "{apart:?} beside {merged:?}");
}

#[test]
fn traces_of_tools_are_learned_written_and_scored() {
    let bench = Bench::new();
    traces(&bench);
    questions(&bench);
    bench.write("facts.json", "{\"France\": \"Paris\"}");
    let line = format!(
        "train themis --model model --data traces.jsonl --output-dir out {SHORT} {ROOM} --learning-rate 1e-2 --num-train-epochs 6 \
         --facts facts.json --n-calls 2"
    );
    bench.run(&line).succeeded();
    let [losses, nll] = ["loss", "nll_loss"].map(|name| logged(&bench, "out", name));
    assert!(losses[23] < losses[0] && nll[23] < 0.8 * nll[0], "{losses:?} and {nll:?}");
    let trace = json!({"tools": ["Calculator", "Calendar", "Table"], "facts": {"France": "Paris"}, "n_calls": 2, "max_new": 12});
    assert_eq!(bench.json("out/reward.json")["writes"]["trace"], trace);
    let rows = written(&bench.run("score --reward out --input rows.jsonl").succeeded());
    for name in ["trace_chosen", "trace_rejected"] {
        let text = rows[2][name].as_str().unwrap_or_default();
        assert!(text.contains("Rationale:"), "{}", rows[2]);
    }
    assert!(rows[2]["reward_chosen"].is_number() && rows[1]["traces"].is_array(), "{rows:?}");
}

#[test]
fn a_run_that_writes_can_be_checked_without_weights() {
    let bench = Bench::new();
    critiques(&bench);
    traces(&bench);
    for (method, data) in [("critique", "critiques"), ("themis", "traces")] {
        let line = format!("validate {method} --model model --data {data}.jsonl --output-dir out {SHORT} {ROOM}");
        let ran = bench.run(&line).succeeded();
        assert!(ran.stdout.contains("8 rows to train on, 4 held out, 4 steps of 2 rows"), "{}", ran.stdout);
        assert!(ran.stdout.contains("tokens to write") && !bench.path("out").exists());
    }
    let believed = |n: usize| {
        json!({"prompt": format!("what is {n}?"), "chosen": "the sum", "rejected": "the rest", "margin": n % 4,
               "consistency": 0.9, "chosen_critique": "right", "rejected_critique": "wrong"})
    };
    bench.rows("believed.jsonl", (0..12).map(believed));
    let line = format!("validate critique --model model --data believed.jsonl --output-dir out {SHORT} {ROOM}");
    let ran = bench.run(&format!("{line} --loss soft-margin")).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out"), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let bench = Bench::new();
    critiques(&bench);
    traces(&bench);
    let refused = |method: &str, data: &str, rest: &str, said: &[&str]| {
        for command in ["train", "validate"] {
            let line =
                format!("{command} {method} --model model --data {data}.jsonl --output-dir out {SHORT} {ROOM} {rest}");
            bench.run(&line).refused(said);
            assert!(bench.files("out").is_empty(), "{line}");
        }
    };
    refused("critique", "pairs", "", &["no pair has a critique", "chosen_critique"]);
    refused("themis", "pairs", "", &["a pair needs `chosen_trace`"]);
    refused("critique", "critiques", "--loss regression", &["regression is no loss on pairs as they are"]);
    refused("critique", "critiques", "--loss soft-margin", &["soft-margin needs a `consistency` for every pair"]);
    refused(
        "critique",
        "critiques",
        "--loss gpm --loss-kwargs tau_rate=0.1",
        &["a temperature is learned by the loss alone"],
    );
    refused("critique", "critiques", "--score-weight -1", &["score_weight must be finite and at least 0"]);
    refused("critique", "critiques", "--tools Calculator", &["tools does nothing with critique", "use themis"]);
    refused("themis", "traces", "--single-critiques", &["single_critiques does nothing with themis"]);
    refused("themis", "traces", "--tools Shell", &["a tool must be Calculator, Calendar or Table"]);
    refused("themis", "traces", "--tools Calendar", &["tool `Calculator`: there is no such tool; known: Calendar"]);
    refused("themis", "traces", "--n-calls 65", &["n_calls must be at most 64"]);
    refused("critique", "critiques", "--max-length 28", &["longer than 28 tokens with what is written"]);
    refused("critique", "critiques", "--beta 0.1", &["beta is an option of other methods"]);
    // It reads the end of what it wrote, and learns its own language already.
    for (option, name) in [("--pooling mean", "pooling"), ("--lm-coef 0.1", "lm_coef"), ("--contrast swav", "contrast")]
    {
        let said = format!("{name} does nothing with critique; leave it out, or use reward");
        refused("critique", "critiques", option, &[said.as_str()]);
    }
    let dpo = format!("train dpo --model model --data pairs.jsonl --output-dir out {SHORT} --lm-weight 1");
    bench.run(&dpo).refused(&["lm_weight does nothing with dpo", "use critique, themis"]);
    let sum = format!("train critique+dpo --model model --data pairs.jsonl --output-dir out {SHORT}");
    bench.run(&sum).refused(&["critique trains a model of rewards"]);
    // As many tokens as the context has leave no room for a prompt.
    let long = format!("train critique --model model --data critiques.jsonl --output-dir out {SHORT}");
    bench.run(&long).refused(&["at most the context of the model, got 272"]);

    let one_sided = |n: usize| json!({"prompt": format!("what is {n}?"), "chosen": "the sum", "rejected": "the rest", "chosen_critique": "right"});
    bench.rows("sided.jsonl", (0..12).map(one_sided));
    refused("critique", "sided", "", &["one side of the pair alone has a critique", "--single-critiques"]);
    let line = format!(
        "validate critique --model model --data sided.jsonl --output-dir out {SHORT} {ROOM} --single-critiques"
    );
    bench.run(&line).succeeded();
    let broken = |n: usize| json!({"prompt": format!("{n}"), "chosen": "a", "rejected": "b", "chosen_trace": "It is right.", "rejected_trace": 7});
    bench.rows("broken.jsonl", (0..12).map(broken));
    refused("themis", "broken", "", &["column `rejected_trace` must hold a text, got 7"]);
    let loose = |n: usize| json!({"prompt": format!("{n}"), "chosen": "a", "rejected": "b", "chosen_trace": "It is right.", "rejected_trace": "x"});
    bench.rows("loose.jsonl", (0..12).map(loose));
    refused("themis", "loose", "", &["begins with neither `Thought:` nor `Rationale:`"]);
}
