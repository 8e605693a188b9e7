//! Runs that go well: training, what it writes, being killed, and reading it back.

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ascribe::lm::Tokenizer;
use ascribe::preference::objectives::OBJECTIVES;
use ascribe_testkit::{golden, models};
use serde_json::{Value, json};
use support::{Bench, Ran, SHORT, ran, words};

/// The log, without the one figure that is a time.
fn log(bench: &Bench, folder: &str) -> Vec<Value> {
    let text = bench.read(&format!("{folder}/log.jsonl"));
    let rows = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    rows.map(|mut row: Value| {
        assert!(row["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{row}");
        row.as_object_mut().expect("an object").remove("seconds");
        row
    })
    .collect()
}

/// Standard output as JSONL.
#[track_caller]
fn written(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("`{name}` is no number in {row}"))
}

/// The folder is a model that every command reads.
#[track_caller]
fn is_a_model(bench: &Bench, folder: &str) {
    for file in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        assert!(bench.path(folder).join(file).is_file(), "{folder}/{file}");
    }
    bench.run(&format!("generate --model {folder} --prompt what --max-new-tokens 4")).succeeded();
    bench.rows("rows.jsonl", [json!({"prompt": "what", "completion": "the sum"})]);
    let rows = written(&bench.run(&format!("score --model {folder} --input rows.jsonl")).succeeded());
    assert!(number(&rows[0], "logp_sum") < 0.0);
}

/// The rows of the first step go through fused and plain operations, which agree, and what is trained stays the same to the bit.
#[test]
fn theme_13_fused_operations_are_verified_before_the_first_step() {
    let bench = Bench::new();
    let train = |method: &str, folder: &str, more: &str| {
        let line = format!("train {method} --model model --data pairs.jsonl --output-dir {folder} {SHORT} {more}");
        bench.run(&line).succeeded().stderr
    };
    let said = "fused operations agree with their plain forms on the rows of the first step";
    for (method, more) in [("dpo", ""), ("dpo", "--use-peft"), ("reward", "")] {
        let (checked, plain) = (format!("{method}{more}-checked"), format!("{method}{more}-plain"));
        let heard = train(method, &checked, &format!("{more} --verify-fused"));
        assert_eq!(heard.matches(said).count(), 1, "{heard}");
        assert!(!train(method, &plain, more).contains(said));
        assert_eq!(bench.equal_files(&checked), bench.equal_files(&plain), "{method} {more}");
        assert_eq!(log(&bench, &checked), log(&bench, &plain));
    }
}

#[test]
fn pairs_train_by_every_objective_on_pairs() {
    let bench = Bench::new();
    bench.write("revision.toml", "better = \"more {prompt} {response}\"\nworse = \"less {prompt} {response}\"\n");
    for (method, own) in [("dpo", ""), ("ipo", ""), ("apo-zero", ""), ("t-reg", "--revision revision.toml")] {
        let out = format!("out-{method}");
        let line =
            format!("train {method} --model model --data pairs.jsonl --output-dir {out} {SHORT} --eval-steps 2 {own}");
        let ran = bench.run(&line).succeeded();
        assert!(ran.stderr.contains("8 rows to train on, 4 held out"), "{}", ran.stderr);
        assert!(ran.stderr.contains("step 0: DPO loss 0.693147 (ln 2 = 0.693147)"), "{}", ran.stderr);
        assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);

        let log = log(&bench, &out);
        let (evaluated, trained): (Vec<&Value>, Vec<&Value>) =
            log.iter().partition(|row| row.get("eval_loss").is_some());
        let steps = |rows: &[&Value]| rows.iter().map(|row| row["step"].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(steps(&trained), [1, 2, 3, 4]);
        assert_eq!(steps(&evaluated), [2, 4]);
        let names = [
            "loss",
            "rewards/chosen",
            "rewards/rejected",
            "rewards/margins",
            "rewards/accuracies",
            "logps/chosen",
            "logps/rejected",
            "logps/chosen_displacement",
            "logps/chosen_per_token",
            "rankings/accuracies",
            "lengths/rejected",
        ];
        for row in &trained {
            for name in names.iter().chain(&["grad_norm", "learning_rate", "epoch", "num_tokens"]) {
                assert!(number(row, name).is_finite(), "{name}");
            }
            let margin = number(row, "rewards/chosen") - number(row, "rewards/rejected");
            assert!((margin - number(row, "rewards/margins")).abs() < 1e-6, "{row}");
        }
        for row in &evaluated {
            assert!(names.iter().all(|name| number(row, &format!("eval_{name}")).is_finite()));
            let [low, middle, high] =
                ["p05", "p50", "p95"].map(|at| number(row, &format!("eval_rewards/margins_{at}")));
            assert!(low <= middle && middle <= high, "{row}");
        }
        // Before the first step there is nothing between the policy and its reference.
        assert!(number(trained[0], "rewards/margins").abs() < 1e-5);
        assert_eq!(number(trained[3], "epoch"), 1.0);
        assert!(number(trained[3], "num_tokens") > number(trained[0], "num_tokens"));
        let summary = bench.json(&format!("{out}/summary.json"));
        assert_eq!(number(&summary, "eval_rewards/margins"), number(evaluated[1], "eval_rewards/margins"));
        is_a_model(&bench, &out);
    }
    bench.run("report out-dpo out-ipo --out runs.html").succeeded();
    let html = bench.read("runs.html");
    for part in ["rewards/margins, by optimizer step.", "out-ipo, held out", "reward_accuracy on held-out rows"] {
        assert!(html.contains(part), "{part}");
    }
    // The same start and the same rows: only the objective differs.
    let weights = |method| fs::read(bench.path(&format!("out-{method}/model.safetensors"))).unwrap();
    for other in ["ipo", "apo-zero", "t-reg"] {
        assert!(weights("dpo") != weights(other), "{other}");
    }
}

/// Rows for objectives of every kind: `full.jsonl` has pairs with all columns, `labelled.jsonl` and `rated.jsonl` replies.
fn rows_of_every_kind(bench: &Bench) {
    let asked = |n: usize| format!("what is {n}?");
    let pair = |n: usize| {
        json!({
            "prompt": asked(n), "chosen": format!("the sum of {n}"), "rejected": format!("the rest of {n}"),
            "reference": format!("the answer to {n}"), "margin": 0.5 + n as f64, "consistency": 0.8
        })
    };
    bench.rows("full.jsonl", (0..10).map(pair));
    let reply =
        |n: usize| json!({"prompt": asked(n), "completion": format!("the sum of {n}"), "label": n.is_multiple_of(2)});
    bench.rows("labelled.jsonl", (0..10).map(reply));
    let rated = |n: usize| {
        let text = ["the sum", "the rest", "none"][n % 3];
        json!({"prompt": asked(n / 3), "completion": text, "ratings": {"help": n % 3, "truth": (n + 1) % 2}})
    };
    bench.rows("rated.jsonl", (0..30).map(rated));
}

#[test]
fn every_method_trains_on_the_rows_that_it_needs() {
    let bench = Bench::new();
    rows_of_every_kind(&bench);
    bench.write("revision.toml", "better = \"more {prompt} {response}\"\nworse = \"less {prompt} {response}\"\n");
    for row in &OBJECTIVES {
        let (data, own) = match row.name {
            "rrhf" => ("rated", ""),
            "kto" | "bco" | "apo-zero-unpaired" | "outcome-ce" => ("labelled", ""),
            "t-reg" | "simpo-reg" => ("full", "--revision revision.toml"),
            _ => ("full", ""),
        };
        let (name, out) = (row.name, format!("out-{}", row.name));
        let options = format!("{SHORT} --held-out 2 --gradient-accumulation-steps 2 --max-steps 2 {own}");
        let words = format!("{name} --model model --data {data}.jsonl --output-dir {out} {options}");
        bench.run(&format!("train {words}")).succeeded();
        let trained: Vec<Value> = log(&bench, &out).into_iter().filter(|row| row.get("loss").is_some()).collect();
        assert_eq!(trained.len(), 2, "{name}");
        for row in &trained {
            assert!(number(row, "loss").is_finite() && number(row, "grad_norm") > 0.0, "{name}: {row}");
        }
        assert!(number(&bench.json(&format!("{out}/summary.json")), "eval_loss").is_finite(), "{name}");
    }
    // A sum of which one loss needs token rewards and the other a third answer, which gets some as well.
    let options = format!("{SHORT} --held-out 2 --max-steps 2 --revision revision.toml");
    bench.run(&format!("train t-reg+tpo --model model --data full.jsonl --output-dir out-sum {options}")).succeeded();
    assert!(number(&log(&bench, "out-sum")[0], "t_reg/weight") > 0.0);
}

#[test]
fn pairs_are_labels_and_groups_as_well() {
    let bench = Bench::new();
    for (method, said) in [("kto", "chosen responses are wanted"), ("bco", "chosen responses are wanted"), ("rrhf", "")]
    {
        let line = format!("{method} --model model --data pairs.jsonl --output-dir out-{method} {SHORT} --max-steps 1");
        bench.run(&format!("validate {line}")).succeeded();
        let ran = bench.run(&format!("train {line}")).succeeded();
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    // Four in five wanted: the weights that would balance them are named.
    let reply = |n: usize| json!({"prompt": format!("q {n}"), "completion": "a", "label": !n.is_multiple_of(5)});
    bench.rows("rows.jsonl", (0..10).map(reply));
    let line = format!("train kto --model model --data rows.jsonl --output-dir out {SHORT} --held-out 0 --max-steps 1");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("set desirable_weight between 0.25 and 0.33"), "{}", ran.stderr);
}

#[test]
fn a_sum_of_losses_is_written_in_three_ways() {
    let bench = Bench::new();
    let options = format!("--model model --data pairs.jsonl {SHORT} --max-steps 2");
    let weights = "--loss-weights 0.8 0.2 1";
    for (method, out) in [("sigmoid+bco_pair+sft", "sum"), ("dpo --loss-type sigmoid bco_pair sft", "types")] {
        bench.run(&format!("train {method} {weights} {options} --output-dir {out}")).succeeded();
    }
    bench.write("options.toml", "loss_type = [\"sigmoid\", \"bco_pair\", \"sft\"]\nloss_weights = [0.8, 0.2, 1.0]\n");
    bench.run(&format!("train dpo --config options.toml {options} --output-dir file")).succeeded();
    for other in ["types", "file"] {
        assert_eq!(log(&bench, other), log(&bench, "sum"), "{other}");
    }
    // A window that is split is the same window.
    let split = format!("{options} --per-device-train-batch-size 1 --gradient-accumulation-steps 2");
    bench.run(&format!("train sigmoid+bco_pair+sft {weights} {split} --output-dir split")).succeeded();
    for (split, whole) in log(&bench, "split").iter().zip(&log(&bench, "sum")) {
        for name in ["loss", "eval_loss", "rewards/margins"].into_iter().filter(|name| whole.get(*name).is_some()) {
            assert!((number(split, name) - number(whole, name)).abs() < 1e-4, "{name}: {split} {whole}");
        }
    }
}

#[test]
fn a_limit_of_tokens_cuts_steps_in_another_way_and_changes_no_figure() {
    let bench = Bench::new();
    let line = |method: &str, out: &str, more: &str| {
        format!(
            "train {method} --model model --data pairs.jsonl --output-dir {out} {SHORT} --gradient-accumulation-steps 2 \
             --num-train-epochs 2 --save-steps 1 --save-total-limit 0 {more}"
        )
    };
    // KTO is measured over the whole window.
    for method in ["dpo", "sft", "kto", "reward"] {
        let (plain, limited) = (format!("{method}-plain"), format!("{method}-limited"));
        bench.run(&line(method, &plain, "")).succeeded();
        bench.run(&line(method, &limited, "--max-batch-tokens 60")).succeeded();
        let (limited_log, plain_log) = (log(&bench, &limited), log(&bench, &plain));
        assert_eq!(limited_log.len(), plain_log.len(), "{method}");
        for (got, expected) in limited_log.iter().zip(&plain_log) {
            assert_eq!(got["num_tokens"], expected["num_tokens"], "{method}");
            for name in ["loss", "grad_norm", "eval_loss"].into_iter().filter(|name| expected.get(*name).is_some()) {
                let (got, expected) = (number(got, name), number(expected, name));
                assert!((got - expected).abs() <= 1e-3 * (1.0 + expected.abs()), "{method} {name}: {got} {expected}");
            }
        }
        let [got, expected] =
            [&limited, &plain].map(|out| number(&bench.json(&format!("{out}/summary.json")), "eval_loss"));
        assert!((got - expected).abs() <= 1e-3 * (1.0 + expected.abs()), "{method}: {got} {expected}");
    }
    // Every row alone: 8 rows, twice.
    let ran = bench.run(&line("dpo", "alone", "--max-batch-tokens 1")).succeeded();
    let said = "16 times a row had more than max_batch_tokens 1, and went through the model alone";
    assert_eq!(ran.stderr.matches(said).count(), 1, "{}", ran.stderr);
    // A run that was stopped goes on to the same bits, and another limit is another run.
    fs::create_dir_all(bench.path("again/checkpoint-2")).unwrap();
    for entry in fs::read_dir(bench.path("dpo-limited/checkpoint-2")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), bench.path("again/checkpoint-2").join(entry.file_name())).unwrap();
    }
    let ran = bench.run(&line("dpo", "again", "--max-batch-tokens 60")).succeeded();
    assert!(ran.stderr.contains("going on from again/checkpoint-2"), "{}", ran.stderr);
    let weights = |folder: &str| fs::read(bench.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("again") == weights("dpo-limited"));
    bench.run(&line("dpo", "again", "--max-batch-tokens 61")).refused(&["another max_batch_tokens (60, here 61)"]);
    bench.run(&line("dpo", "again", "")).refused(&["another max_batch_tokens (60, here none)"]);
    bench.run(&line("reward", "reward-limited", "")).refused(&["another options of training"]);
}

#[test]
fn a_running_mean_goes_on_where_it_was() {
    let bench = Bench::new();
    rows_of_every_kind(&bench);
    let line = |out: &str| {
        format!(
            "train bco --model model --data labelled.jsonl --output-dir {out} {SHORT} --held-out 2 --save-steps 1 --save-total-limit 0"
        )
    };
    bench.run(&line("whole")).succeeded();
    fs::create_dir_all(bench.path("again/checkpoint-2")).unwrap();
    for entry in fs::read_dir(bench.path("whole/checkpoint-2")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), bench.path("again/checkpoint-2").join(entry.file_name())).unwrap();
    }
    let ran = bench.run(&line("again")).succeeded();
    assert!(ran.stderr.contains("going on from again/checkpoint-2"), "{}", ran.stderr);
    let memory = |step: usize| bench.json(&format!("whole/checkpoint-{step}/trainer_state.json"))["memory"].clone();
    assert!(memory(1) != memory(2) && memory(2).as_array().is_some_and(|numbers| numbers.len() == 2));
    let after = |folder: &str| -> Vec<Value> {
        log(&bench, folder).into_iter().filter(|row| row["step"].as_u64().is_some_and(|step| step > 2)).collect()
    };
    let without_tokens = |mut rows: Vec<Value>| {
        // Tokens are counted from the log, which was left behind.
        rows.iter_mut().for_each(|row| {
            row.as_object_mut().expect("an object").remove("num_tokens");
        });
        rows
    };
    assert_eq!(without_tokens(after("again")), without_tokens(after("whole")));
    let weights = |folder: &str| fs::read(bench.path(folder).join("model.safetensors")).unwrap();
    assert!(weights("again") == weights("whole"));
}

#[test]
fn conversations_that_part_early_train_by_all_that_the_assistant_says() {
    let bench = Bench::new();
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let talk = |n: usize, first: &str, last: &str| {
        let asked = says("user", &format!("what is {n}?"));
        json!([asked, says("assistant", first), says("user", "are you sure?"), says("assistant", last)])
    };
    let row = |n: usize| json!({"chosen": talk(n, "the sum", "yes"), "rejected": talk(n, "the rest", "no")});
    bench.rows("talks.jsonl", (0..8).map(row));
    let line = |method: &str| {
        format!(
            "train {method} --model model --data talks.jsonl --output-dir out-{method} {SHORT} --held-out 2 --max-length 128"
        )
    };
    let ran = bench.run(&line("dpo")).succeeded();
    assert!(ran.stderr.contains("6 rows to train on, 2 held out"), "{}", ran.stderr);
    assert!(ran.stderr.contains("step 0: DPO loss 0.693147"), "{}", ran.stderr);
    let log = log(&bench, "out-dpo");
    // The words of the assistant alone: without those of the user and the openings of turns.
    let tokenizer = Tokenizer::from_folder(bench.path("model")).expect("a tokenizer");
    let tokens = |reply: &str| tokenizer.encode(reply).expect("words").len() as f64 + 1.0;
    let expected = tokens("the sum") + tokens("yes");
    assert!((number(&log[0], "lengths/chosen") - expected).abs() < 1e-9, "{} and {expected}", log[0]);
    // Revision prompts quote one reply, so token rewards need pairs that share all before it.
    bench.run(&line("t-reg")).refused(&["chosen and rejected part before their last reply (lines 1, 2"]);
    // A label is that of the last reply of a side.
    let ran = bench.run(&line("kto")).succeeded();
    assert!(ran.stderr.contains("8 pairs part before their last reply: that of each side is judged"), "{}", ran.stderr);
    assert!(ran.stderr.contains("14 rows to train on, 2 held out"), "{}", ran.stderr);
    // A reward model reads both conversations whole, but learns no language from what the user says.
    let ran = bench.run(&format!("{} --head-init wide", line("reward"))).succeeded();
    assert!(ran.stderr.contains("6 rows to train on, 2 held out"), "{}", ran.stderr);
    let said = ["lm_coef weighs the language of the chosen response", "line ", "part before their last reply"];
    bench.run(&format!("{} --lm-coef 0.01", line("reward").replace("out-reward", "out-lm"))).refused(&said);
    let line = line("dpo").replacen("train", "validate", 1);
    assert!(bench.run(&line).succeeded().stdout.contains("6 rows to train on"));
}

#[test]
fn labels_are_weighed_by_their_column() {
    let bench = Bench::new();
    let pair = |n: usize| json!({"prompt": format!("what is {n}?"), "chosen": "the sum", "rejected": "no", "trust": 1 + n % 2});
    bench.rows("weighed.jsonl", (0..8).map(pair));
    let line = |how: &str| {
        format!(
            "train dpo --label-weights {how} --model model --data weighed.jsonl --output-dir {how} {SHORT} --held-out 2 \
             --max-steps 1 --columns weight=trust"
        )
    };
    let first = |how: &str| {
        bench.run(&line(how)).succeeded();
        let log = log(&bench, how);
        (number(&log[0], "loss"), number(&log[0], "label_weight"))
    };
    // At the reference every pair says ln 2; the pairs of a step weigh 1 or 2 each.
    let ((mean, weight), (weighted, same)) = (first("mean"), first("weighted_mean"));
    assert!((1.0..=2.0).contains(&weight) && weight == same, "{weight} and {same}");
    assert!((mean - weight * std::f64::consts::LN_2).abs() < 1e-4, "{mean}");
    assert!((weighted - std::f64::consts::LN_2).abs() < 1e-4, "{weighted}");
}

#[test]
fn token_rewards_come_from_a_model_that_dpo_trained() {
    let bench = Bench::new();
    let line = |method: &str, out: &str| {
        format!("{method} --model model --data pairs.jsonl --output-dir {out} {SHORT} --max-steps 2")
    };
    bench.run(&format!("train {}", line("dpo", "dpo"))).succeeded();
    for method in ["t-reg", "simpo-reg"] {
        let own = line(&format!("{method} --credit dpo_reward --dpo-model dpo"), method);
        bench.run(&format!("validate {own}")).succeeded();
        let ran = bench.run(&format!("train {own}")).succeeded();
        assert!(ran.stderr.contains("token rewards: mean size"), "{}", ran.stderr);
        assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);
    }
    // Another model at the same path has other rewards.
    let config = bench.read("dpo/config.json");
    bench.write("dpo/config.json", format!("{config}\n"));
    let own = line("t-reg --credit dpo_reward --dpo-model dpo", "t-reg");
    bench.run(&format!("train {own}")).refused(&["another dpo_model"]);
}

#[test]
fn completions_conversations_and_pairs_train_by_sft() {
    let bench = Bench::new();
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let texts = (0..8).map(|n| json!({"prompt": format!("what is {n}?"), "completion": format!("the sum of {n}")}));
    bench.rows("texts.jsonl", texts);
    let chats =
        (0..8).map(|n| json!({"messages": [says("user", &format!("what is {n}?")), says("assistant", "the sum")]}));
    bench.rows("chats.jsonl", chats);
    for data in ["texts", "chats", "pairs"] {
        let out = format!("out-{data}");
        let line = format!(
            "train sft --model model --data {data}.jsonl --output-dir {out} {SHORT} --held-out 2 --num-train-epochs 3"
        );
        let ran = bench.run(&line).succeeded();
        assert!(ran.stdout.contains("held-out loss"), "{}", ran.stdout);
        let log = log(&bench, &out);
        let trained: Vec<&Value> = log.iter().filter(|row| row.get("loss").is_some()).collect();
        assert!(number(trained[trained.len() - 1], "loss") < number(trained[0], "loss"), "{data}");
        assert!(number(&log[log.len() - 1], "eval_loss").is_finite());
        assert!(trained.iter().all(|row| row.get("rewards/chosen").is_none()));
        is_a_model(&bench, &out);
    }
}

#[test]
fn hh_rlhf_dialogues_train_with_the_chat_template() {
    let bench = Bench::new();
    let talk = |n: usize, reply: &str| {
        format!("\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: what is {n}?\n\nAssistant: {reply}")
    };
    let pairs: Vec<Value> = (0..6).map(|n| json!({"chosen": talk(n, "the sum"), "rejected": talk(n, "no")})).collect();
    bench.rows("hh.jsonl", pairs);
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let turns = |n: usize| vec![says("user", "hi"), says("assistant", "yes?"), says("user", &format!("what is {n}?"))];
    let chats = (0..6).map(|n| json!({"prompt": turns(n), "chosen": [says("assistant", "the sum")], "rejected": [says("assistant", "no")]}));
    bench.rows("chats.jsonl", chats);
    for data in ["hh", "chats"] {
        let line = format!(
            "train dpo --model model --data {data}.jsonl --output-dir out-{data} {SHORT} --held-out 2 --max-length 128"
        );
        let ran = bench.run(&line).succeeded();
        assert_eq!(ran.stderr.contains("no `prompt` column in 6 rows"), data == "hh", "{}", ran.stderr);
        assert!(!ran.stderr.contains("cut"), "{}", ran.stderr);
    }
    // The dialogues are the same conversations in another spelling, so every step is the same.
    assert_eq!(log(&bench, "out-hh"), log(&bench, "out-chats"));
}

#[test]
fn a_killed_run_goes_on_to_the_same_numbers() {
    let bench = Bench::new();
    let options = "--num-train-epochs 8 --save-steps 2 --eval-steps 3";
    let line = |out: &str| format!("train dpo --model model --data pairs.jsonl --output-dir {out} {SHORT} {options}");
    bench.run(&line("whole")).succeeded();
    assert!(bench.folders("whole").len() <= 2, "{:?}", bench.folders("whole"));
    assert!(bench.folders("whole").contains(&"checkpoint-32".to_owned()));
    // What is called the best is there, though it is not every figure that has a checkpoint.
    let best = format!("checkpoint-{}", bench.json("whole/summary.json")["best_checkpoint"]);
    assert!(bench.folders("whole").contains(&best), "{best}");

    let started = Instant::now();
    let mut child = bench.command(&words(&line("killed"))).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !bench.path("killed/checkpoint-4").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "the run was over before it was killed");
    assert!(!bench.path("killed/model.safetensors").exists());
    // What a death in the middle of a line or a checkpoint leaves behind is no hindrance.
    let torn = format!("{}{{\"step\": 9", bench.read("killed/log.jsonl"));
    bench.write("killed/log.jsonl", torn);
    fs::create_dir_all(bench.path("killed/part-6")).unwrap();
    bench.write("killed/part-6/config.json", "{");

    let ran = bench.run(&line("killed")).succeeded();
    assert!(ran.stderr.contains("going on from killed/checkpoint-"), "{}", ran.stderr);
    assert_eq!(log(&bench, "killed"), log(&bench, "whole"));
    assert_eq!(bench.folders("killed"), bench.folders("whole"));
    let whole = bench.equal_files("whole");
    assert!(bench.equal_files("killed") == whole, "{:?}", bench.equal_files("killed").keys());

    // A run that is over is evaluated and written again, to the same bytes.
    bench.run(&line("killed")).succeeded();
    assert!(bench.equal_files("killed") == whole);
    assert_eq!(log(&bench, "killed"), log(&bench, "whole"));
}

#[test]
fn an_adapter_is_trained_continued_used_and_merged() {
    let bench = Bench::new();
    let lora = "--use-peft --lora-r 4 --lora-alpha 8 --lora-target-modules q_proj v_proj --learning-rate 1e-2";
    let line = |out: &str, method: &str| {
        format!("train {method} --model model --data pairs.jsonl --output-dir {out} {SHORT} {lora}")
    };
    bench.write("revision.toml", "better = \"more {prompt} {response}\"\nworse = \"less {prompt} {response}\"\n");
    for method in ["sft", "t-reg --revision revision.toml", "dpo --save-steps 2"] {
        let ran = bench.run(&line("out", method)).succeeded();
        assert_eq!(ran.stderr.contains("step 0: DPO loss 0.693147"), !method.starts_with("sft"), "{}", ran.stderr);
        let files: Vec<String> = bench.files("out").into_keys().filter(|name| !name.contains('/')).collect();
        assert_eq!(
            files,
            ["adapter_config.json", "adapter_model.safetensors", "log.jsonl", "summary.json"],
            "{method}"
        );
        if !method.starts_with("dpo") {
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
    let config = bench.json("out/adapter_config.json");
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(4), &json!(8)));
    assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));

    // The same from a file in which TRL's names stand, and with one graph for all layers.
    let file = "use_peft = true\nlora_r = 4\nlora_alpha = 8\nlora_target_modules = [\"q_proj\", \"v_proj\"]\nlearning_rate = 9.0\n";
    bench.write("options.toml", format!("{file}gradient_checkpointing = false\n"));
    let typed = format!("{SHORT} --save-steps 2 --learning-rate 1e-2");
    bench
        .run(&format!("train dpo --model model --data pairs.jsonl --output-dir file --config options.toml {typed}"))
        .succeeded();
    assert!(bench.equal_files("file") == bench.equal_files("out"));

    // From the checkpoint in the middle, as if the run had been killed behind it: the same bytes.
    let whole = bench.equal_files("out");
    fs::remove_dir_all(bench.path("out/checkpoint-4")).unwrap();
    let ran = bench.run(&line("out", "dpo --save-steps 2")).succeeded();
    assert!(ran.stderr.contains("going on from out/checkpoint-2"), "{}", ran.stderr);
    assert!(bench.equal_files("out") == whole);
    assert_eq!(log(&bench, "out"), log(&bench, "file"));
    let other = line("out", "dpo").replace("--lora-alpha 8", "--lora-alpha 9");
    bench.run(&other).refused(&["another lora", "r 4, alpha 8, q_proj v_proj", "alpha 9"]);

    // The adapter by itself, beside its base, and merged: one model.
    let merge = bench.run("merge --model model --adapter out --output-dir merged").succeeded();
    assert!(merge.stdout.contains("merged model written to merged"), "{}", merge.stdout);
    is_a_model(&bench, "merged");
    bench.rows("rows.jsonl", (0..3).map(|n| json!({"prompt": format!("what is {n}?"), "completion": "the sum"})));
    let score = |line: &str| written(&bench.run(&format!("score --input rows.jsonl {line}")).succeeded());
    let (plain, adapted) = (score("--model model"), score("--model model --adapter out"));
    for (at, row) in adapted.iter().enumerate() {
        assert_ne!(row["logp_sum"], plain[at]["logp_sum"]);
    }
    assert_eq!(score("--model out"), adapted);
    for (row, merged) in adapted.iter().zip(score("--model merged")) {
        assert!((number(row, "logp_sum") - number(&merged, "logp_sum")).abs() < 1e-4, "{merged}");
    }
    let rewards = score("--model model --adapter out --reference model --beta 0.5");
    for (at, row) in rewards.iter().enumerate() {
        let expected = 0.5 * (number(&adapted[at], "logp_sum") - number(&plain[at], "logp_sum"));
        assert!((number(row, "implicit_reward") - expected).abs() < 1e-9, "{row}");
    }
    let texts = ["--model out", "--model model --adapter out", "--model merged"]
        .map(|model| bench.run(&format!("generate {model} --prompt what --max-new-tokens 4")).succeeded().stdout);
    assert!(texts[0] == texts[1] && texts[1] == texts[2], "{texts:?}");
    bench.run("merge --adapter out --output-dir merged-2").succeeded();
    assert!(bench.files("merged-2") == bench.files("merged"));
}

#[test]
fn a_config_file_flags_and_the_names_of_trl_say_the_same() {
    let bench = Bench::new();
    let flags = "--num-train-epochs 2 --per-device-train-batch-size 2 --gradient-accumulation-steps 2 --learning-rate 0.002 \
                 --beta 0.3 --lr-scheduler-type cosine_with_min_lr --lr-scheduler-kwargs min_lr_rate=0.5 --optim sgd \
                 --optim-args momentum=0.5,nesterov=true --max-length 40 --held-out 4 --columns prompt=question";
    let pairs = bench.read("pairs.jsonl").replace("\"prompt\"", "\"question\"");
    bench.write("pairs.jsonl", pairs);
    bench.run(&format!("train dpo --model model --data pairs.jsonl --output-dir flags {flags}")).succeeded();
    let file = "model_name_or_path = \"model\"\ndataset_name = \"pairs.jsonl\"\nnum_train_epochs = 2\n\
                per_device_train_batch_size = 2\ngradient_accumulation_steps = 2\nlearning_rate = 2e-3\nbeta = 9.0\n\
                lr_scheduler_type = \"cosine_with_min_lr\"\nlr_scheduler_kwargs = '{\"min_lr_rate\": 0.5}'\n\
                optim = \"sgd\"\noptim_args = { momentum = 0.5, nesterov = true }\nmax_length = 40\n\
                max_eval_samples = 4\ncolumns = [\"prompt=question\"]\n";
    bench.write("options.toml", file);
    // The rate ends above half of the highest one, and falls.
    let rates: Vec<f64> = log(&bench, "flags").iter().filter_map(|row| row["learning_rate"].as_f64()).collect();
    assert!(rates[rates.len() - 1] >= 0.001 && rates[rates.len() - 1] < 0.002, "{rates:?}");
    // What is typed wins over the file.
    bench.run("train dpo --config options.toml --beta 0.3 --output_dir file").succeeded();
    let trl = flags
        .replace("--columns", "--column")
        .replace("--held-out", "--max_eval_samples")
        .replace('-', "_")
        .replace("__", "--");
    bench
        .run(&format!("train dpo --model_name_or_path model --dataset_name pairs.jsonl --output_dir trl {trl}"))
        .succeeded();
    for other in ["file", "trl"] {
        assert_eq!(log(&bench, other), log(&bench, "flags"), "{other}");
        let weights = |folder| fs::read(bench.path(folder).join("model.safetensors")).unwrap();
        assert!(weights(other) == weights("flags"), "{other}");
    }
}

#[test]
fn scores_of_golden_rows() {
    let bench = Bench::new();
    let expected = golden::open("lm/llama_gqa/expected.json");
    let batch = expected.get("batches").get("right");
    let logps = batch.get("token_logps");
    let [_, width] = logps.shape()[..] else { panic!("a matrix") };
    let (logps, sums) = (logps.numbers(), batch.get("seq_logp_sum").numbers());
    let prompts: Vec<Vec<i64>> = expected.get("prompts").items().iter().map(|row| row.integers()).collect();
    // Every token but the first is scored.
    let mask = |ids: &[i64]| (0..ids.len()).map(|at| usize::from(at > 0)).collect::<Vec<_>>();
    bench.rows(
        "rows.jsonl",
        prompts.iter().map(|ids| json!({"id": "x", "input_ids": ids, "completion_mask": mask(ids)})),
    );
    let rows = written(&bench.run("score --model model --input rows.jsonl").succeeded());
    assert_eq!(rows.len(), prompts.len());
    for (at, row) in rows.iter().enumerate() {
        let got: Vec<f64> = row["token_logps"].as_array().unwrap().iter().map(|logp| logp.as_f64().unwrap()).collect();
        let count = prompts[at].len() - 1;
        golden::close("token_logps", &got, &logps[at * width..at * width + count], 2e-5);
        golden::close("logp_sum", &[number(row, "logp_sum")], &[sums[at]], 2e-5);
        golden::close("logp_mean", &[number(row, "logp_mean")], &[sums[at] / count as f64], 2e-5);
        // The row itself comes along.
        assert_eq!((row["id"].as_str(), row["input_ids"] == json!(prompts[at])), (Some("x"), true));
    }
    // A mask with a gap scores what it names, given all that stands before.
    let ids = &prompts[1];
    let gap: Vec<usize> = (0..ids.len()).map(|at| usize::from(at == 2 || at == 5 || at == 6)).collect();
    bench.rows("rows.jsonl", [json!({"input_ids": ids, "completion_mask": gap})]);
    let rows = written(&bench.run("score --model model --input rows.jsonl").succeeded());
    let got: Vec<f64> = rows[0]["token_logps"].as_array().unwrap().iter().map(|logp| logp.as_f64().unwrap()).collect();
    golden::close("gap", &got, &[1, 4, 5].map(|at: usize| logps[width + at]), 2e-5);
}

#[test]
fn the_three_kinds_of_rows_agree() {
    let bench = Bench::new();
    let tokenizer = Tokenizer::from_folder(bench.path("model")).unwrap();
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    // What the chat template of the model writes, by hand.
    let opening = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nwhat is 1?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
    let (prefix, reply) = (tokenizer.encode(opening).unwrap(), tokenizer.encode("the sum<|eot_id|>").unwrap());
    let mask = [vec![0; prefix.len()], vec![1; reply.len()]].concat();
    let ids = [prefix, reply.clone()].concat();
    bench.rows(
        "rows.jsonl",
        [
            json!({"messages": [says("user", "what is 1?"), says("assistant", "the sum")]}),
            json!({"prompt": [says("user", "what is 1?")], "completion": [says("assistant", "the sum")]}),
            json!({"input_ids": ids, "completion_mask": mask}),
        ],
    );
    let rows = written(&bench.run("score --model model --input rows.jsonl").succeeded());
    assert_eq!(rows[0]["token_logps"].as_array().unwrap().len(), reply.len());
    for row in &rows[1..] {
        assert!((number(row, "logp_sum") - number(&rows[0], "logp_sum")).abs() < 1e-4, "{row}");
    }
    // Faults of single rows.
    for (row, said) in [
        (json!({"input_ids": [1, 2], "completion_mask": [0]}), "must be equally long"),
        (json!({"input_ids": [1, 2], "completion_mask": [1, 1]}), "begin `completion_mask` with 0"),
        (json!({"input_ids": [1, 2], "completion_mask": [0, 0]}), "counts no token"),
        (json!({"input_ids": [1, 402], "completion_mask": [0, 1]}), "token id 402 must be below"),
        (json!({"messages": [says("user", "a")]}), "the last message must be the assistant's"),
    ] {
        bench.rows("rows.jsonl", [row]);
        bench.run("score --model model --input rows.jsonl").refused(&["rows.jsonl, row 1", said]);
    }
}

#[test]
fn implicit_rewards() {
    let bench = Bench::new();
    bench.run(&format!("train dpo --model model --data pairs.jsonl --output-dir out {SHORT}")).succeeded();
    bench.rows("rows.jsonl", (0..3).map(|n| json!({"prompt": format!("what is {n}?"), "completion": "the sum"})));
    let score = |line: &str| written(&bench.run(&format!("score --input rows.jsonl {line}")).succeeded());
    let (ours, theirs) = (score("--model out"), score("--model model"));
    assert!(ours.iter().all(|row| row.get("implicit_reward").is_none()));
    let rewards = score("--model out --reference model --beta 0.5");
    for (at, row) in rewards.iter().enumerate() {
        let expected = 0.5 * (number(&ours[at], "logp_sum") - number(&theirs[at], "logp_sum"));
        assert!((number(row, "implicit_reward") - expected).abs() < 1e-9 && expected != 0.0, "{row}");
    }
    assert!(score("--model model --reference model").iter().all(|row| number(row, "implicit_reward") == 0.0));
}

#[test]
fn candidates_are_written_beside_their_rows() {
    let bench = Bench::new();
    bench.rows("rows.jsonl", [json!({"prompt": "what is 1?", "id": 7}), json!({"prompt": "what is 2?", "id": 8})]);
    let line = "generate --model model --input rows.jsonl -n 3 --temperature 1 --max-new-tokens 5 --seed 4";
    let ran = bench.run(line).succeeded();
    let rows = written(&ran);
    assert_eq!(rows.iter().map(|row| row["id"].as_u64()).collect::<Vec<_>>(), [Some(7), Some(8)]);
    assert!(rows.iter().all(|row| row["completions"].as_array().is_some_and(|texts| texts.len() == 3)));
    // The seed decides.
    assert_eq!(bench.run(line).stdout, ran.stdout);
    assert_ne!(bench.run(&line.replace("--seed 4", "--seed 5")).stdout, ran.stdout);
}

#[test]
fn a_model_in_the_cache_of_the_hub_is_found_by_its_name() {
    let bench = Bench::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    bench.copy_model("llama_gqa", &format!("hub/models--org--tiny/snapshots/{commit}"));
    fs::create_dir_all(bench.path("hub/models--org--tiny/refs")).expect("a folder");
    bench.write("hub/models--org--tiny/refs/main", commit);
    let run = |line: &str| {
        let mut command = bench.command(&words(line));
        command.env("HF_HUB_CACHE", bench.path("hub")).env("HF_HUB_OFFLINE", "1");
        ran(command)
    };
    let by_path = bench.run("generate --model model --prompt what --max-new-tokens 5").succeeded();
    let by_name = run("generate --model org/tiny --prompt what --max-new-tokens 5").succeeded();
    assert_eq!(by_name.stdout, by_path.stdout);
    let line = format!("train dpo --model org/tiny@{commit} --data pairs.jsonl --output-dir out --max-steps 1 {SHORT}");
    run(&line).succeeded();
    let missing = run("generate --model org/other --prompt what");
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("org/other") && missing.stderr.contains("offline"), "{}", missing.stderr);
}

#[test]
fn a_streamed_answer_is_the_greedy_one() {
    let bench = Bench::new();
    for options in ["--max-new-tokens 1", "--max-new-tokens 12", "--max-new-tokens 60 --repetition-penalty 1.5"] {
        let whole = bench.run(&format!("generate --model model --prompt what {options}")).succeeded();
        let streamed = bench.run(&format!("generate --model model --chat what {options}")).succeeded();
        assert_eq!(streamed.stdout, whole.stdout, "{options}");
    }
    // What the system says is in the prompt.
    let rows = json!({"messages": [{"role": "system", "content": "short"}, {"role": "user", "content": "what"}]});
    bench.rows("rows.jsonl", [rows]);
    let whole = bench.run("generate --model model --input rows.jsonl --max-new-tokens 9").succeeded();
    let streamed = bench.run("generate --model model --system short --chat what --max-new-tokens 9").succeeded();
    assert_eq!(streamed.stdout.strip_suffix('\n'), written(&whole)[0]["completions"][0].as_str());
    // The seed decides what is drawn.
    let drawn = |seed: u32| {
        let line = format!("generate --model model --chat what --max-new-tokens 9 --temperature 1 --seed {seed}");
        bench.run(&line).succeeded().stdout
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

/// The words of transformers on the same weights, up to the end of the turn. Left out where the model is not at hand.
#[test]
fn smollm2_answers_a_chat() {
    let Some(model) = models::smollm2() else { return };
    let model = model.display().to_string();
    let bench = Bench::new();
    let case = golden::open("smollm2/expected.json").get("cases").items().remove(0);
    let greedy = case.get("greedy_text").text();
    let (expected, _) = greedy.split_once("<|im_end|>").expect("the turn ends");
    let question = "What is the capital of France?";
    let line = ["generate", "--model", &model, "--chat", question, "--max-new-tokens", "24"];
    assert_eq!(ran(bench.command(&line)).succeeded().stdout, format!("{expected}\n"));
    assert!(expected.contains("Paris"));
}

#[test]
fn a_conversation_is_kept_until_the_end_of_input() {
    let bench = Bench::new();
    bench.write("turns.txt", "what\n\nand then\n");
    let mut command = bench.command(&words("generate --model model --chat --max-new-tokens 5"));
    command.stdin(fs::File::open(bench.path("turns.txt")).unwrap());
    let talk = ran(command).succeeded().stdout;
    let first = bench.run("generate --model model --chat what --max-new-tokens 5").succeeded().stdout;
    let rest = talk.strip_prefix(first.as_str()).expect("the first answer is that to the first line");
    // The second answer is that to the whole conversation.
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let answer = first.strip_suffix('\n').expect("a line");
    bench.rows(
        "rows.jsonl",
        [json!({"messages": [says("user", "what"), says("assistant", answer), says("user", "and then")]})],
    );
    let second = written(&bench.run("generate --model model --input rows.jsonl --max-new-tokens 5").succeeded());
    assert_eq!(rest.strip_suffix('\n'), second[0]["completions"][0].as_str());
}

#[test]
fn sampling_and_beams_by_flag_and_by_config() {
    let bench = Bench::new();
    let flags = "--temperature 0.9 --top-k 50 --min-p 0.01 --typical-p 0.9 --epsilon-cutoff 0.0001 --eta-cutoff 0.0002 \
                 --repetition-penalty 1.3 --no-repeat-ngram-size 2";
    let line = "generate --model model --prompt what --max-new-tokens 8 --seed 3";
    let typed = bench.run(&format!("{line} {flags}")).succeeded().stdout;
    let file = "temperature = 0.9\ntop_k = 50\nmin_p = 0.01\ntypical_p = 0.9\nepsilon_cutoff = 0.0001\n\
                eta_cutoff = 0.0002\nrepetition_penalty = 1.3\nno_repeat_ngram_size = 2\n";
    bench.write("options.toml", file);
    assert_eq!(bench.run(&format!("{line} --config options.toml")).succeeded().stdout, typed);

    bench.rows("rows.jsonl", [json!({"prompt": "what"}), json!({"prompt": "and then"})]);
    let beams = |more: &str| bench.run(&format!("generate --model model --input rows.jsonl --max-new-tokens 6 {more}"));
    let two = written(&beams("--num-beams 4 -n 2 --early-stopping true --length-penalty 0").succeeded());
    let one = written(&beams("--num-beams 4 --early-stopping true --length-penalty 0").succeeded());
    for (two, one) in two.iter().zip(&one) {
        assert_eq!(two["completions"].as_array().map(Vec::len), Some(2));
        // The best comes first, however many are written.
        assert_eq!((&two["completions"][0], &two["usage"]), (&one["completions"][0], &one["usage"]));
    }
    bench.write("options.toml", "num_beams = 4\nn = 2\nearly_stopping = true\nlength_penalty = 0\n");
    assert_eq!(written(&beams("--config options.toml").succeeded()), two);
    beams("--num-beams 2 -n 3").refused(&["returns 1 to 2", "got 3"]);
    beams("--num-beams 2 --temperature 1").refused(&["leave out --temperature"]);
}

#[test]
fn the_doctor_says_what_it_finds_by_its_exit_code() {
    let bench = Bench::new();
    let row = |number: usize| json!({"prompt": [{"role": "user", "content": format!("what is {number}?")}], "completion": "the sum"});
    bench.rows("sound.jsonl", (0..4).map(row));
    let sound = bench.run("doctor --data sound.jsonl --model model").succeeded();
    assert!(sound.stdout.contains("4 rows of the kind prompt-completion"), "{}", sound.stdout);
    assert!(sound.stdout.ends_with("no findings\n"), "{}", sound.stdout);

    bench.rows("twice.jsonl", [row(0), row(1), row(0)]);
    let table = bench.run("doctor --data twice.jsonl");
    assert_eq!(table.code, Some(1), "{}", table.stderr);
    assert!(table.stdout.contains("duplicate") && table.stderr.contains("name a --model"), "{}", table.stdout);
    let found = bench.run("doctor --data twice.jsonl --model model --max-length 12 --json");
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let found: Value = serde_json::from_str(&found.stdout).expect("JSON");
    let checks: Vec<&str> =
        found["findings"].as_array().into_iter().flatten().filter_map(|one| one["check"].as_str()).collect();
    assert_eq!(checks, ["duplicate", "prompt-cut"]);
    assert_eq!(found["findings"][0]["lines"], json!([3]));
    assert!(found["figures"]["tokens lost to the length limit"]["value"].as_f64().is_some_and(|share| share > 0.0));
    // Weights are not needed.
    fs::remove_file(bench.path("model/model.safetensors")).expect("the weights");
    bench.run("doctor --data sound.jsonl --model model").succeeded();
}

#[test]
fn a_run_is_validated_without_being_started() {
    let bench = Bench::new();
    bench.write(
        "c.toml",
        "model = \"model\"\ndata = \"pairs.jsonl\"\noutput_dir = \"out\"\nheld_out = 4\nmax_length = 48\n",
    );
    let ran = bench.run("validate dpo --config c.toml").succeeded();
    // 8 rows in windows of 16, once.
    let said = "the run can start: 8 rows to train on, 4 held out, 1 steps of 16 rows";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
    assert!(!bench.path("out").exists());
    bench.run("validate dpo --config c.toml --beta -1").refused(&["beta"]);
    bench.run("validate dpoo --config c.toml").refused(&["dpoo", "did you mean `dpo`?"]);
    bench.run("validate dpo --config c.toml --held-out 12").refused(&["the held-out part", "hold out less"]);
    bench.run("validate dpo --config c.toml --use-peft --lora-r 0").refused(&["r must be at least 1"]);
    bench.run("validate simpo --config c.toml --reference model").refused(&["reference does nothing with simpo"]);
    bench.write("c.toml", "modle = \"model\"\n");
    bench.run("validate dpo --config c.toml").refused(&["unknown key `modle`; did you mean `model`?"]);
}

#[test]
fn data_is_converted_and_trained_on() {
    let bench = Bench::new();
    bench
        .rows("alpaca.jsonl", (0..4).map(|n| json!({"instruction": "Add.", "input": format!("{n}"), "output": "sum"})));
    let ran = bench.run("convert alpaca.jsonl rows.jsonl.gz").succeeded();
    assert!(ran.stdout.starts_with("4 rows (prompt-completion: prompt, completion) written to"), "{}", ran.stdout);
    assert!(ran.stderr.contains("read as Alpaca"), "{}", ran.stderr);
    bench.run("convert rows.jsonl.gz again.jsonl").succeeded();
    assert_eq!(bench.read("again.jsonl").lines().next(), Some("{\"prompt\":\"Add.\\n0\",\"completion\":\"sum\"}"));
    bench.run("convert rows.jsonl.gz rows.jsonl.gz").refused(&["write to another file"]);
    bench.run("convert alpaca.jsonl out.jsonl --kind prefrence").refused(&["did you mean `preference`?"]);
    bench.run("convert alpaca.jsonl out.jsonl --kind preference").refused(&["`chosen` is missing"]);
}
