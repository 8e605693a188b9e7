//! Reward models from data to rewards: `ascribe train reward`, `ascribe score --reward`.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use ascribe_testkit::golden::close;
use ascribe_testkit::python;
use serde_json::{Value, json};
use support::{Bench, Ran, SHORT};

/// Standard output as JSONL.
#[track_caller]
fn written(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("`{name}` is no number in {row}"))
}

/// Twelve pairs with margins 1, 2 and 3.
fn strong(bench: &Bench) {
    let row = |n: usize| {
        json!({"prompt": format!("what is {n}?"), "chosen": format!("the sum of {n}"), "rejected": format!("the rest of {n}"),
               "margin": 1 + n % 3})
    };
    bench.rows("strong.jsonl", (0..12).map(row));
}

/// Twelve rated replies; the second attribute is not rated everywhere.
fn rated(bench: &Bench) {
    let row = |n: usize| {
        let ratings = if n.is_multiple_of(4) {
            json!({"helpfulness": 3})
        } else {
            json!({"helpfulness": n % 5, "verbosity": 1.5})
        };
        json!({"prompt": format!("what is {n}?"), "completion": format!("the sum of {n}"), "ratings": ratings})
    };
    bench.rows("rated.jsonl", (0..12).map(row));
}

/// Rows to score: one reply, several, a pair, and a conversation.
fn questions(bench: &Bench) {
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    bench.rows(
        "rows.jsonl",
        [
            json!({"id": 1, "prompt": "what is 1?", "completion": "the sum"}),
            json!({"id": 2, "prompt": "what is 2?", "completions": ["the sum", "the rest", "no"]}),
            json!({"id": 3, "prompt": "what is 3?", "chosen": "the sum", "rejected": "the rest"}),
            json!({"id": 4, "messages": [says("user", "what is 4?"), says("assistant", "the sum")]}),
        ],
    );
}

/// Every reward in the rows, in order.
fn rewards(rows: &[Value]) -> Vec<f64> {
    let list = |row: &Value| row["rewards"].as_array().cloned().unwrap_or_default();
    let names = ["reward", "reward_chosen", "reward_rejected"];
    rows.iter()
        .flat_map(|row| {
            names
                .iter()
                .filter_map(|name| row[*name].as_f64())
                .chain(list(row).iter().filter_map(Value::as_f64))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn pairs_train_by_every_loss_on_pairs() {
    let bench = Bench::new();
    strong(&bench);
    questions(&bench);
    for (loss, options, labels) in [
        ("bradley-terry", "--center-rewards-coefficient 0.01 --head-init wide", 1),
        ("margin", "", 1),
        ("scaled", "", 1),
        ("ties", "--loss-kwargs tie_weight=0.5", 1),
        ("trajectories", "", 1),
        ("gpm", "--loss-kwargs dim=4,tau=0.2", 4),
        ("confidence", "--loss-kwargs combined=true", 1),
        ("weak-to-strong", "--loss-kwargs confidence=0.25,alpha=0.5", 1),
    ] {
        let out = format!("out-{loss}");
        let line = format!(
            "train reward --loss {loss} {options} --model model --data strong.jsonl --output-dir {out} {SHORT} --eval-steps 2"
        );
        let ran = bench.run(&line).succeeded();
        assert!(ran.stderr.contains("8 rows to train on, 4 held out"), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("which bradley-terry leaves alone"), loss == "bradley-terry", "{}", ran.stderr);
        assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);
        let config = bench.json(&format!("{out}/config.json"));
        assert_eq!(config["architectures"], json!(["LlamaForSequenceClassification"]), "{loss}");
        assert_eq!(config["id2label"].as_object().map(|names| names.len()), Some(labels));
        let card = bench.json(&format!("{out}/reward.json"));
        assert_eq!(card["loss"], json!(loss));
        assert!(number(&card["standard"], "std") > 0.0, "{card}");
        let summary = bench.json(&format!("{out}/summary.json"));
        assert!(number(&summary, "eval_loss").is_finite() && summary["reward_accuracy"].is_object(), "{summary}");

        let score = bench.run(&format!("score --reward {out} --input rows.jsonl"));
        if loss == "gpm" {
            score.refused(&["rows.jsonl, row 1", "compares responses"]);
            continue;
        }
        let rows = written(&score.succeeded());
        assert_eq!(rows.iter().map(|row| row["id"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(rewards(&rows).len(), 1 + 3 + 2 + 1, "{rows:?}");
        assert!(rows[0].get("member_reward").is_none() && rows[0].get("cut").is_none(), "{}", rows[0]);
    }
    // A preference model compares: the preferences of two are opposite.
    bench.rows("rows.jsonl", [json!({"prompt": "what is 3?", "chosen": "the sum", "rejected": "the rest"})]);
    let rows = written(&bench.run("score --reward out-gpm --input rows.jsonl").succeeded());
    assert!((number(&rows[0], "reward_chosen") + number(&rows[0], "reward_rejected")).abs() < 1e-4, "{}", rows[0]);
}

#[test]
fn ratings_train_attributes_and_uncertain_heads() {
    let bench = Bench::new();
    rated(&bench);
    questions(&bench);
    let train = |rest: &str| {
        bench.run(&format!("train reward --model model --data rated.jsonl {SHORT} --num-train-epochs 2 {rest}"))
    };
    let ran = train("--loss regression --output-dir one --attribute-weights 1 -0.5").succeeded();
    assert!(ran.stderr.contains("attributes: "), "{}", ran.stderr);
    let card = bench.json("one/reward.json");
    assert_eq!(card["reading"]["attributes"]["weights"], json!([1.0, -0.5]), "{card}");
    train("--loss gaussian-heads --loss-kwargs heads=3 --output-dir two").succeeded();
    assert_eq!(bench.json("two/config.json")["id2label"].as_object().map(|names| names.len()), Some(6));
    // Two replies to each prompt, and a third one to some.
    let ranked = |n: usize| json!({"prompt": format!("what is {}?", n % 12), "completion": format!("the {n}"), "ratings": {"x": n}});
    bench.rows("ranked.jsonl", (0..28).map(ranked));
    let line = format!("train reward --model model --data ranked.jsonl --output-dir ranks {SHORT} --loss k-wise");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);
    let line =
        format!("train reward --data ranked.jsonl --model model --output-dir origin {SHORT} --loss machine-text");
    bench.run(&line).refused(&["machine-text needs three replies to every prompt"]);
    bench.rows("ranked.jsonl", (0..36).map(ranked));
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);
    for out in ["one", "two", "ranks", "origin"] {
        let rows = written(&bench.run(&format!("score --reward {out} --input rows.jsonl")).succeeded());
        assert!(rewards(&rows).len() == 7 && rewards(&rows).iter().all(|reward| reward.is_finite()), "{rows:?}");
    }
    // Log-odds, a weighted sum of attributes, and ratings are on no common scale.
    let both = |names: &str| bench.run(&format!("score --reward {names} --input rows.jsonl"));
    both("ranks,one").refused(&["`one` gives a weighted sum of ", "`ranks` log-odds", "standardize"]);
    both("one,two").refused(&["`two` gives ratings and `one` a weighted sum of ", "standardize"]);
    both("ranks,origin").succeeded();
    train("--loss regression --output-dir three --attribute-weights 1").refused(&["1 numbers for 2 attributes"]);
    bench.rows(
        "rated.jsonl",
        (0..12).map(|n| json!({"prompt": format!("{n}"), "completion": "a", "ratings": {"x": n}})),
    );
    train("--loss regression --output-dir three").refused(&["a rating must be in [0, 4]", "as x in line"]);
}

#[test]
fn a_model_that_learns_from_pairs_goes_on_telling_the_responses_of_a_policy_apart() {
    let bench = Bench::new();
    let group = |n: usize| {
        let texts = [format!("the sum of {n}"), format!("the rest of {n}"), format!("{n}")];
        json!({"prompt": format!("what is {n}?"), "completions": texts})
    };
    bench.rows("groups.jsonl", (0..3).map(group));
    let line = |out: &str, more: &str| {
        format!("train reward --model model --data pairs.jsonl --output-dir {out} {SHORT} --max-steps 2 {more}")
    };
    let loss = |out: &str, more: &str| {
        bench.run(&line(out, more)).succeeded();
        number(&bench.json(&format!("{out}/summary.json")), "eval_loss")
    };
    let plain = loss("plain", "");
    close("no rate", &[loss("still", "--meta-data groups.jsonl --meta-rate 0")], &[plain], 1e-6);
    loss("meta", "--meta-data groups.jsonl --meta-rate 0.5");
    assert!(
        bench.read("meta/log.jsonl").contains("meta/spread") && !bench.read("plain/log.jsonl").contains("meta/spread")
    );
    let refused = |options: &str, said: &str| {
        bench.run(&line("no", options)).refused(&[said]);
    };
    refused("--meta-data groups.jsonl --meta-rate -1", "the rate of the meta step");
    refused("--meta-data groups.jsonl", "--meta-rate");
    refused("--meta-data pairs.jsonl --meta-rate 1", "a group needs `completions`");
    bench
        .run("train dpo --model model --data pairs.jsonl --output-dir no --meta-data groups.jsonl --meta-rate 1")
        .refused(&["meta_data does nothing with dpo", "use reward"]);
}

#[test]
fn an_adapter_with_its_head_is_trained_continued_merged_and_scored() {
    let bench = Bench::new();
    questions(&bench);
    let line = format!(
        "train reward --model model --data pairs.jsonl --output-dir out {SHORT} --use-peft --lora-r 4 --learning-rate 1e-2 --save-steps 2"
    );
    bench.run(&line).succeeded();
    let files: Vec<String> = bench.files("out").into_keys().filter(|name| !name.contains('/')).collect();
    let expected = ["adapter_config.json", "adapter_model.safetensors", "log.jsonl", "reward.json", "summary.json"];
    assert_eq!(files, expected);
    // From the checkpoint in the middle, as if the run had been killed behind it: the same bytes.
    let whole = bench.equal_files("out");
    fs::remove_dir_all(bench.path("out/checkpoint-4")).unwrap();
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("going on from out/checkpoint-2"), "{}", ran.stderr);
    assert!(bench.equal_files("out") == whole);
    bench.run(&line.replace("--lora-r 4", "--lora-r 5")).refused(&["another lora"]);
    bench.run(&format!("{line} --loss-kwargs centre=0.1")).refused(&["another loss_kwargs"]);

    bench.run("merge --adapter out --output-dir merged").succeeded();
    assert_eq!(bench.json("merged/reward.json"), bench.json("out/reward.json"));
    let score =
        |model: &str| rewards(&written(&bench.run(&format!("score --reward {model} --input rows.jsonl")).succeeded()));
    for (apart, merged) in score("out").iter().zip(score("merged")) {
        assert!((apart - merged).abs() < 1e-3 * (1.0 + apart.abs()), "{apart} beside {merged}");
    }
    // Training can go on from the merged one, head and all.
    let ran =
        bench.run(&format!("train reward --model merged --data pairs.jsonl --output-dir more {SHORT}")).succeeded();
    assert!(ran.stderr.contains("a head of 1 scores, from which training goes on"), "{}", ran.stderr);
    let line = format!("train reward --model merged --data pairs.jsonl --output-dir again {SHORT} --head-init wide");
    bench.run(&line).refused(&["head_init draws a fresh head, and `merged` has one of 1 scores"]);
}

#[test]
fn several_reward_models_become_one() {
    let bench = Bench::new();
    questions(&bench);
    for seed in 0..3 {
        let line = format!(
            "train reward --model model --data pairs.jsonl --output-dir m{seed} {SHORT} --seed {seed} --head-init wide"
        );
        bench.run(&line).succeeded();
    }
    let score = |line: &str| written(&bench.run(&format!("score --input rows.jsonl {line}")).succeeded());
    let alone: Vec<Vec<f64>> = (0..3).map(|seed| rewards(&score(&format!("--reward m{seed}")))).collect();
    assert_eq!(rewards(&score("--reward m1 --combine min")), alone[1], "an ensemble of one equals the model");
    let of = |at: usize| [alone[0][at], alone[1][at], alone[2][at]];
    let mean = |x: [f64; 3]| x.iter().sum::<f64>() / 3.0;
    let variance = |x: [f64; 3]| x.iter().map(|one| (one - mean(x)).powi(2)).sum::<f64>() / 3.0;
    let checks: [(&str, &dyn Fn([f64; 3]) -> f64); 5] = [
        ("", &|x: [f64; 3]| mean(x)),
        ("--combine wco", &|x: [f64; 3]| x.into_iter().fold(f64::INFINITY, f64::min)),
        ("--combine uwo", &|x: [f64; 3]| mean(x) - 0.5 * variance(x)),
        ("--combine uwo --combine-weight 2", &|x: [f64; 3]| mean(x) - 2.0 * variance(x)),
        ("--combine mean-minus-std", &|x: [f64; 3]| mean(x) - variance(x).sqrt()),
    ];
    for (line, expected) in checks {
        let rows = score(&format!("--reward m0,m1,m2 {line}"));
        for (at, got) in rewards(&rows).into_iter().enumerate() {
            assert!((got - expected(of(at))).abs() < 1e-9, "{line}: {got}");
        }
        assert_eq!(rows[0]["member_reward"].as_array().map(Vec::len), Some(3));
    }
    // On their own scales.
    let standard = |seed: usize, reward: f64| {
        let card = bench.json(&format!("m{seed}/reward.json"));
        (reward - number(&card["standard"], "mean")) / number(&card["standard"], "std")
    };
    let got = rewards(&score("--reward m0,m1,m2 --standardize"));
    for (at, got) in got.into_iter().enumerate() {
        let expected = (0..3).map(|seed| standard(seed, of(at)[seed])).sum::<f64>() / 3.0;
        assert!((got - expected).abs() < 1e-9, "{got} beside {expected}");
    }
    // The scale of a mixture is that of neither.
    bench.run("soup --models m0 m1 --weights 0.5 0.5 --output-dir mixed").succeeded();
    assert!(rewards(&score("--reward mixed")).iter().all(|reward| reward.is_finite()));
    bench
        .run("score --input rows.jsonl --reward m0,mixed --standardize")
        .refused(&["the reward.json of `mixed` says nothing of its scale", "drop standardize"]);
}

#[test]
fn members_with_another_tokenizer_are_named() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        bench.copy_model("llama_seqcls", name);
    }
    let tokenizer = bench.read("b/tokenizer.json");
    let lowered = tokenizer.replace("\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}");
    assert_ne!(lowered, tokenizer);
    bench.write("b/tokenizer.json", lowered);
    bench.rows("rows.jsonl", [json!({"prompt": "what", "completion": "the sum"})]);
    let said = |names: &str| bench.run(&format!("score --reward {names} --input rows.jsonl")).succeeded().stderr;
    assert!(said("a,b").contains("`b` has another tokenizer than `a`"));
    assert!(!said("a,a").contains("another tokenizer"));
}

#[test]
fn the_best_of_several_comes_first() {
    let bench = Bench::new();
    bench
        .run(&format!("train reward --model model --data pairs.jsonl --output-dir judge {SHORT} --head-init wide"))
        .succeeded();
    let asked = |n: usize| json!([{"role": "user", "content": format!("what is {n}?")}]);
    bench.rows("rows.jsonl", (0..3).map(|n| json!({"prompt": asked(n)})));
    let sampling = "--temperature 1 --max-new-tokens 6 -n 5";
    let plain = written(&bench.run(&format!("generate --model model --input rows.jsonl {sampling}")).succeeded());
    let best = written(
        &bench.run(&format!("generate --model model --input rows.jsonl {sampling} --reward judge")).succeeded(),
    );
    bench.rows("written.jsonl", plain.iter().cloned());
    let scored = written(&bench.run("score --reward judge --input written.jsonl").succeeded());
    for ((plain, best), scored) in plain.iter().zip(&best).zip(&scored) {
        let list = |row: &Value, name: &str| row[name].as_array().expect("a list").clone();
        let mut expected: Vec<(f64, Value)> = list(scored, "rewards")
            .iter()
            .map(|reward| reward.as_f64().unwrap())
            .zip(list(plain, "completions"))
            .collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        for ((reward, text), expected) in list(best, "rewards").iter().zip(list(best, "completions")).zip(&expected) {
            assert!((reward.as_f64().unwrap() - expected.0).abs() < 1e-4, "{best} beside {expected:?}");
            assert_eq!(text, expected.1, "{best}");
        }
    }
    let one = bench.run(&format!("generate --model model --prompt what {sampling} --reward judge,judge --combine min"));
    assert_eq!(one.succeeded().stdout.lines().count(), 1);
    bench.run("generate --model model --chat hey --reward judge").refused(&["a chat shows its text as it comes"]);
}

/// What is written beside the rows of a benchmark is what it is scored by: pairs, one right reply of several, and one
/// correct solution of several.
#[test]
fn what_is_scored_is_what_benchmarks_read() {
    let bench = Bench::new();
    bench
        .run(&format!("train reward --model model --data pairs.jsonl --output-dir judge {SHORT} --head-init wide"))
        .succeeded();
    let replies = ["the sum", "the rest", "no", "it is"];
    let asked = |n: usize| format!("what is {n}?");
    bench.rows(
        "pair.jsonl",
        (0..4).map(|n| json!({"subset": "hep-go", "prompt": asked(n), "chosen": "the sum", "rejected": "the rest"})),
    );
    bench.rows(
        "four.jsonl",
        (0..4).map(|n| {
            json!({"subset": "Math", "prompt": asked(n), "chosen": [replies[n]],
                   "rejected": (1..4).map(|other| replies[(n + other) % 4]).collect::<Vec<_>>(), "num_correct": 1})
        }),
    );
    let sources = ["human_to_GPT-4", "a", "b", "c"];
    bench.rows(
        "many.jsonl",
        (0..4).map(|n| json!({"prompt": asked(n), "completions": replies, "solution_reference": sources})),
    );
    let score = |name: &str| {
        let rows = written(&bench.run(&format!("score --reward judge --input {name}.jsonl")).succeeded());
        bench.rows(&format!("{name}-scored.jsonl"), rows.iter().cloned());
        rows
    };
    let found = |line: &str, name: &str| {
        let ran = bench.run(&format!("eval {line} --resamples 0 --json")).succeeded();
        let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        number(&found["measures"][name], "value")
    };
    // The share of rows in which the first score is above the others; scores of other texts are never equal here.
    let first_is_best = |rows: &[Value]| {
        let best = |scores: &[f64]| scores[1..].iter().all(|other| scores[0] > *other);
        rows.iter().filter(|row| best(&rewards(std::slice::from_ref(*row)))).count() as f64 / rows.len() as f64
    };
    let rows = score("pair");
    let got = found("rewardbench --input pair-scored.jsonl --allow-partial", "hep-go");
    assert!((got - first_is_best(&rows)).abs() < 1e-9, "{got}");
    let rows = score("four");
    assert_eq!(rewards(&rows).len(), 16, "{rows:?}");
    let got = found("rewardbench2 --input four-scored.jsonl", "Math");
    assert!((got - first_is_best(&rows)).abs() < 1e-9, "{got}");
    let rows = score("many");
    let got = found("rewardmath --input many-scored.jsonl", "accuracy");
    assert!((got - first_is_best(&rows)).abs() < 1e-9, "{got}");
    bench.rows("samples.jsonl", rows.iter().map(|row| json!({"correct": [1, 0, 0, 0], "rewards": row["rewards"]})));
    let got = found("samples --input samples.jsonl --k 4", "best@4");
    assert!((got - first_is_best(&rows)).abs() < 1e-9, "{got}");
}

/// The folder is a classifier of sequences to transformers too, on either side of padding. Left out where no Python has it.
#[test]
fn transformers_loads_the_folder_and_gives_the_same_scores() {
    let Some(python) = python::with_module("transformers") else { return };
    let bench = Bench::new();
    let train = |out: &str, rest: &str| {
        let line =
            format!("train reward --model model --data pairs.jsonl --output-dir {out} {SHORT} --head-init wide {rest}");
        bench.run(&line).succeeded();
    };
    train("whole", "");
    train("adapter", "--use-peft --learning-rate 1e-2");
    bench.run("merge --adapter adapter --output-dir merged").succeeded();
    let answers = ["the sum", "the rest of it all", "no"];
    bench.rows("rows.jsonl", answers.map(|answer| json!({"prompt": "what is 1?", "completion": answer})));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/peers/reward_peer.py");
    for folder in ["whole", "merged"] {
        let ours = rewards(&written(&bench.run(&format!("score --reward {folder} --input rows.jsonl")).succeeded()));
        let mut command = Command::new(&python);
        command.arg(&script).arg(bench.path(folder)).arg("--input").arg(bench.path("rows.jsonl"));
        let said = support::ran(command).succeeded();
        let last = said.stdout.lines().last().unwrap_or_default();
        let theirs: Value = serde_json::from_str(last).expect("a line of JSON");
        assert_eq!(theirs["class"], json!("LlamaForSequenceClassification"));
        for side in ["right", "left"] {
            let scores = theirs[side].as_array().expect("a list").iter();
            let scores: Vec<f64> = scores.map(|score| score.as_f64().expect("a number")).collect();
            close(&format!("{folder}, padded on the {side}"), &ours, &scores, 1e-4);
        }
    }
}

#[test]
fn a_reward_run_can_be_checked_without_weights() {
    let bench = Bench::new();
    let ran =
        bench.run(&format!("validate reward --model model --data pairs.jsonl --output-dir out {SHORT} --loss gpm"));
    let ran = ran.succeeded();
    assert!(
        ran.stdout.contains("8 rows to train on, 4 held out, 4 steps of 2 rows, 6 scores a response"),
        "{}",
        ran.stdout
    );
    assert!(!bench.path("out").exists());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    strong(&bench);
    rated(&bench);
    questions(&bench);
    for (method, rest, said) in [
        ("reward", "--loss bradley-tery", &["no loss `bradley-tery`", "did you mean `bradley-terry`?"][..]),
        ("reward", "--loss triplet", &["no loss `triplet`"]),
        ("reward", "--beta 0.2", &["beta is an option of other methods"]),
        ("reward", "--loss margin", &["needs a `margin` for every pair"]),
        ("reward", "--loss-kwargs tau=1", &["loss_kwargs of bradley-terry", "tau"]),
        ("reward", "--loss gpm --loss-kwargs dim=3", &["dim must be even"]),
        ("reward", "--loss gpm --center-rewards-coefficient 0.01", &["centres pairs of scores"]),
        ("reward", "--center-rewards-coefficient -1", &["centre must be finite and at least 0"]),
        ("reward", "--attribute-weights 1", &["those of the loss regression"]),
        ("reward", "--loss regression", &["pairs.jsonl"]),
        (
            "reward",
            "--loss trajectories --max-batch-tokens 64",
            &["max_batch_tokens does not go with the loss trajectories"],
        ),
        ("critique", "--loss trajectories --max-batch-tokens 64", &["max_batch_tokens does not go with the loss traj"]),
        ("reward", "--contrast simcse --max-batch-tokens 64", &["max_batch_tokens does not go with contrast"]),
        ("dpo", "--loss gpm", &["loss does nothing with dpo; leave it out, or use reward"]),
    ] {
        for command in ["train", "validate"] {
            let line = format!("{command} {method} --model model --data pairs.jsonl --output-dir out {SHORT} {rest}");
            bench.run(&line).refused(said);
            assert!(bench.files("out").is_empty(), "{line}");
        }
    }
    bench.run("score --reward model --input rows.jsonl").refused(&["the reward model `model`", "scores sequences"]);
    bench
        .run("score --reward model --combine-weight 1 --input rows.jsonl")
        .refused(&["combine_weight weighs the spread"]);
    bench.run("score --reward model --model model --input rows.jsonl").refused(&["--reward"]);
    bench.run("score --input rows.jsonl").refused(&["--model"]);
    bench.copy_model("llama_seqcls", "judge");
    for (row, said) in [
        (json!({"prompt": "a"}), "a row needs `prompt` and `completion`"),
        (json!({"prompt": "a", "completions": []}), "must not be empty"),
        (json!({"messages": [{"role": "user", "content": "a"}]}), "must be the assistant's"),
    ] {
        bench.rows("rows.jsonl", [row]);
        bench.run("score --reward judge --input rows.jsonl").refused(&["rows.jsonl, row 1", said]);
    }
    // A text longer than the context is scored at its last kept token, and says so.
    bench.rows("rows.jsonl", [json!({"prompt": "what is", "completion": "the sum of ".repeat(200)})]);
    let rows = written(&bench.run("score --reward judge --input rows.jsonl").succeeded());
    assert_eq!(rows[0]["cut"], json!(true));
}
