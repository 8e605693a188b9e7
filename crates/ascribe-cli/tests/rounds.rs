//! `ascribe train iterative-dpo` and its relatives, and `--curriculum`: what they write, what they go on from, and what
//! they refuse.

mod support;

use serde_json::{Value, json};
use support::Bench;

const ROUND: &str = "--data prompts.jsonl --max-steps 6 --round-prompts 3 --num-generations 4 --max-completion-length 6 \
                     --per-device-train-batch-size 2 --gradient-accumulation-steps 1 --learning-rate 1e-3 --logging-steps 1";

/// A bench with prompts, and with `moved`: the model after two steps of DPO, which prefers something.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?"), "answer": n})));
    let line = "train dpo --model model --data pairs.jsonl --output-dir moved --learning-rate 1e-2 --max-steps 2 \
                --per-device-train-batch-size 2 --gradient-accumulation-steps 1 --warmup-ratio 0";
    bench.run(line).succeeded();
    bench
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
fn a_policy_labels_what_it_writes() {
    let bench = bench();
    let line = format!("train iterative-dpo --model moved --reference model --output-dir out {ROUND}");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("labels Implicit, 3 prompts x 4 responses a round, loss dpo"), "{}", ran.stderr);
    let log = log(&bench, "out");
    assert_eq!(log.len(), 6);
    for name in ["loss", "pairs/kept", "pairs/margin", "kl_to_reference", "round"] {
        assert!(log.iter().all(|row| row[name].as_f64().is_some_and(f64::is_finite)), "{name}");
    }
    // What was not cut has ended.
    for row in &log {
        let [length, cut, complete] = ["mean_length", "clipped_ratio", "complete_ratio"]
            .map(|name| row[format!("completions/{name}").as_str()].as_f64().expect("it is logged"));
        assert!((1.0..=6.0).contains(&length) && (cut + complete - 1.0).abs() < 1e-12, "{row}");
    }
    // A round begins at its own policy, unless the reference stays the first one.
    let first = log[0]["loss"].as_f64().expect("a loss");
    assert!((first - std::f64::consts::LN_2).abs() < 1e-4, "{first}");
    assert!(bench.path("out/model.safetensors").is_file());
    bench.run(&line.replacen("train", "validate", 1)).succeeded();
}

#[test]
fn what_two_policies_agree_on_is_relied_upon_and_waits_in_checkpoints() {
    let bench = bench();
    let line = |out: &str| {
        format!(
            "train iterative-cream --model moved --reference model --output-dir {out} {ROUND} --save-steps 2 \
             --save-total-limit 0"
        )
    };
    bench.run(&line("whole")).succeeded();
    bench.run(&line("cut")).succeeded();
    for step in ["4", "6"] {
        std::fs::remove_dir_all(bench.path("cut").join(format!("checkpoint-{step}"))).expect("a checkpoint");
    }
    let ran = bench.run(&line("cut")).succeeded();
    assert!(ran.stderr.contains("2 of 6 steps done"), "{}", ran.stderr);
    let whole = log(&bench, "whole");
    assert_eq!(log(&bench, "cut"), whole);
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    for row in &whole {
        let agreement = row["pairs/consistency"].as_f64().expect("it is logged");
        assert!((0.0..=1.0).contains(&agreement), "{agreement}");
    }
    bench.run(&format!("{} --agreement top", line("cut"))).refused(&["options of rounds"]);
}

#[test]
fn what_a_policy_decides_alike_in_two_ways_is_learned() {
    let bench = bench();
    bench.rows("prompts.jsonl", (0..24).map(|n| json!({"prompt": format!("what is {n}?")})));
    let line = |out: &str, more: &str| {
        format!("train iterative-scir --model moved --reference model --output-dir {out} {ROUND} --max-steps 3 {more}")
    };
    let ran = bench.run(&line("out", "--scir-consistency 0 --scir-confidence 0")).succeeded();
    assert!(ran.stderr.contains("iterative-scir: labels Implicit"), "{}", ran.stderr);
    let filtered = log(&bench, "out");
    assert_eq!(filtered.len(), 3);
    // Some pair of every round that is learned from was decided alike.
    let number = |row: &Value, name: &str| row[name].as_f64().expect("it is logged");
    let share = |row: &Value| number(row, "pairs/unanimous");
    assert!(filtered.iter().all(|row| share(row) > 0.0 && share(row) <= 1.0));
    // With a penalty all pairs stay, so no round is passed over.
    bench.run(&line("all", "")).succeeded();
    let all = log(&bench, "all");
    assert!(all.iter().all(|row| number(row, "scir/divergence") > -1e-6 && number(row, "scir/entropy") > 0.0));
    assert_eq!(number(&all[0], "round"), 0.0);
    bench.run(&line("none", "--scir-consistency -1")).refused(&["scir_consistency", "at least 0"]);
}

#[test]
fn preferences_in_a_table_are_learned_from_in_rounds() {
    let bench = Bench::new();
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?")})));
    let short = "--learning-rate 1e-3 --max-steps 2 --per-device-train-batch-size 2 --gradient-accumulation-steps 1";
    let line = "train reward --loss gpm --model model --data pairs.jsonl --output-dir gpm";
    bench.run(&format!("{line} {short} --head-init wide")).succeeded();
    let line = format!("train iterative-gpo --model model --output-dir out --reward gpm {ROUND}");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stderr.contains("iterative-gpo: labels Reward, 3 prompts x 4 responses"), "{}", ran.stderr);
    let log = log(&bench, "out");
    assert_eq!(log.len(), 6);
    for row in &log {
        // A skew-symmetric table sums up to 0, whoever wins.
        let [reward, margin] = ["reward", "pairs/margin"].map(|name| row[name].as_f64().expect("it is logged"));
        assert!(margin > 0.0 && reward.abs() < 1e-4 * (1.0 + margin), "{row}");
    }
    bench.run(&line.replacen("train", "validate", 1)).succeeded();
    // By the margins of a reward, another loss on scores.
    let other = format!("train iterative-dpo --loss-type mm-dpo --model model --output-dir mm --reward gpm {ROUND}");
    bench.run(&other).succeeded();
    // Of other prompts it says nothing, as it compares the responses of one policy.
    let held =
        line.replace("--output-dir out", "--output-dir held").replace("--reward gpm", "--reward gpm --held-out 2");
    let said =
        "`gpm` compares the responses of one policy with each other, so its mean says nothing of held-out prompts";
    let ran = bench.run(&held).succeeded();
    assert!(ran.stdout.contains(said) && ran.stdout.contains("use --gold"), "{}", ran.stdout);
    assert!(!bench.path("held/summary.json").exists());
    // By how often a response wins: another run.
    bench.run(&format!("{line} --win-rates")).refused(&["options of rounds"]);
    let other = format!("train iterative-gpo --model model --output-dir sppo --reward gpm --win-rates {ROUND}");
    bench.run(&other).succeeded();
    for row in &self::log(&bench, "sppo") {
        // Chances less one half: of four, itself included, at most 3/8 above and below.
        let [reward, margin] = ["reward", "pairs/margin"].map(|name| row[name].as_f64().expect("it is logged"));
        assert!(margin > 0.0 && margin <= 0.75 && reward.abs() < 1e-6, "{row}");
    }
    for more in ["--standardize", "--log-sigmoid 0", "--reward-weights 2", "--reward gpm,gpm"] {
        let line = format!("train iterative-gpo --model model --output-dir no --reward gpm --win-rates {ROUND} {more}");
        bench.run(&line).refused(&["win_rates of the general preference model `gpm`", "name it alone with --reward"]);
    }
}

#[test]
fn rounds_refuse_what_does_nothing() {
    let bench = Bench::new();
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?"), "answer": n})));
    let refused = |method: &str, more: &str, words: &[&str]| {
        bench.run(&format!("train {method} --model model --output-dir out {ROUND} {more}")).refused(words);
    };
    // The policy is the reference, and prefers nothing.
    refused("iterative-dpo", "", &["implicit labels need a policy that has learned something"]);
    refused("iterative-dpo", "--labels reward", &["--reward"]);
    refused("iterative-dpo", "--labels implicit --reward exact", &["reward does nothing"]);
    refused("iterative-dpo", "--labels implicit --standardize", &["standardize does nothing without a reward"]);
    refused("iterative-dpo", "--labels implicit --reward-weights 1", &["1 numbers for 0 rewards"]);
    refused("iterative-cream", "--reward exact", &["reward does nothing with iterative-cream", "iterative-dpo"]);
    refused("iterative-scir", "--reward exact", &["reward does nothing with iterative-scir", "iterative-dpo"]);
    refused("iterative-dpo", "--max-steps 0", &["--max-steps"]);
    refused("iterative-dpo", "--loss-type cream", &["iterative-cream"]);
    refused("iterative-gpo", "", &["gpo learns the scores of a reward; name it with --reward"]);
    refused("iterative-gpo", "--labels implicit", &["gpo learns the scores of a reward"]);
    refused("iterative-dpo", "--loss-type mm-dpo", &["mm-dpo learns the scores of a reward"]);
    refused("iterative-dpo", "--win-rates", &["win_rates does nothing with dpo, which learns no scores"]);
    refused("iterative-cream", "--win-rates", &["win_rates does nothing with iterative-cream", "iterative-gpo"]);
    refused("iterative-gpo", "--agreement top", &["agreement does nothing with iterative-gpo", "iterative-cream"]);
    refused("iterative-dpo", "--loss-type kto", &["loss_type"]);
    refused("iterative-dpo", "--label-weights mean", &["its loss asks for more"]);
    refused("iterative-dpo", "--loss-type tdpo2", &["tdpo2 goes by the whole distributions", "--keep-reference"]);
    refused("iterative-dpo", "--num-generations 1", &["num_generations"]);
    refused("iterative-dpo", "--gamma 0.5", &["gamma does nothing with iterative-dpo", "ppo"]);
    refused("iterative-dpo", "--agreement top", &["agreement does nothing with iterative-dpo", "iterative-cream"]);
    refused("iterative-cream", "--labels both", &["labels does nothing with iterative-cream"]);
    refused(
        "iterative-cream",
        "--scir-consistency 1",
        &["scir_consistency does nothing with iterative-cream", "iterative-scir"],
    );
    refused("iterative-scir", "--max-completion-length 120", &["two replies", "its context is 256"]);
    let line = format!("validate iterative-scir --model model --output-dir out {ROUND} --max-completion-length 120");
    bench.run(&line).refused(&["two replies", "its context is 256"]);
    refused("iterative-dpo+sft", "", &["learns in rounds"]);
    bench.copy_model("llama_gqa", "other");
    bench.write("other/chat_template.jinja", "{{ messages }}");
    for command in ["train", "validate"] {
        let line = format!("{command} iterative-dpo --model model --output-dir out {ROUND} --reference other");
        bench.run(&line).refused(&["the reference has another tokenizer or chat template than the model"]);
    }
}

#[test]
fn a_curriculum_has_parts_of_the_rows_and_goes_on() {
    let bench = bench();
    let line = |out: &str, more: &str| {
        format!(
            "train dpo --model model --data pairs.jsonl --output-dir {out} --per-device-train-batch-size 3 \
             --gradient-accumulation-steps 1 --learning-rate 1e-3 --curriculum cyclical --num-train-epochs 1.5 {more}"
        )
    };
    // 12 rows in parts of 1/4, 1/2 and 1, which are 1.75 passes: 3, 6 and 12 rows.
    let more = "--curriculum-model moved --save-steps 2 --save-total-limit 0";
    bench.run(&line("whole", more)).succeeded();
    let whole = log(&bench, "whole");
    let parts: Vec<f64> = whole.iter().map(|row| row["data_fraction"].as_f64().expect("it is logged")).collect();
    assert_eq!(parts, [0.25, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]);
    bench.run(&line("cut", more)).succeeded();
    for step in ["4", "6", "7"] {
        std::fs::remove_dir_all(bench.path("cut").join(format!("checkpoint-{step}"))).expect("a checkpoint");
    }
    let ran = bench.run(&line("cut", more)).succeeded();
    assert!(ran.stderr.contains("2 of 7 steps done"), "{}", ran.stderr);
    assert_eq!(log(&bench, "cut"), whole);
    assert_eq!(bench.equal_files("cut"), bench.equal_files("whole"));
    let anti = format!("{more} --curriculum-anti");
    bench.run(&line("cut", &anti)).refused(&["options of the curriculum"]);
    // The same path with another model in it is another run, and another path with the same model is none.
    bench.copy_model("llama_gqa", "kept");
    std::fs::rename(bench.path("moved"), bench.path("vanilla")).expect("a folder of that name");
    std::fs::rename(bench.path("kept"), bench.path("moved")).expect("a folder of that name");
    bench.run(&line("cut", more)).refused(&["options of the curriculum"]);
    std::fs::remove_dir_all(bench.path("moved")).expect("a folder of that name");
    bench.run(&line("cut", &more.replace("moved", "vanilla"))).succeeded();
    std::fs::rename(bench.path("vanilla"), bench.path("moved")).expect("a folder of that name");
    bench.run(&line("length", "--curriculum-ease length")).succeeded();
    // All rows and then half of them are 1.5 passes: 12 and 6 rows in steps of 3.
    let down = line("down", "--curriculum-ease length").replace("cyclical", "down");
    bench.run(&down).succeeded();
    let fraction = |row: &Value| row["data_fraction"].as_f64().expect("it is logged");
    let parts: Vec<f64> = log(&bench, "down").iter().map(fraction).collect();
    assert_eq!(parts, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]);
    let sharp = line("sharp", "--curriculum-ease length --curriculum-alpha 0.5").replace("cyclical", "sharp");
    bench.run(&sharp).refused(&["curriculum_alpha does nothing with --curriculum sharp"]);
    bench.run(&line("margin", "--curriculum-ease margin --curriculum-model moved")).succeeded();
    let refused = |more: &str, words: &[&str]| bench.run(&line("out", more)).refused(words);
    refused("", &["--curriculum-model"]);
    refused("--curriculum-ease length --curriculum-model moved", &["curriculum_model does nothing"]);
    refused("--curriculum-ease length --curriculum-alpha 1", &["alpha"]);
    refused("--curriculum-ease length --curriculum-start 0.1", &["rows of an epoch", "3 of a batch"]);
    refused("--curriculum-ease length --max-steps 99", &["7 steps in all"]);
    let checked = |more: &str| bench.run(&line("unmade", more).replacen("train", "validate", 1));
    let said = checked("--curriculum-model moved").succeeded().stdout;
    assert!(said.contains("12 rows to train on, 0 held out, 7 steps of 3 rows"), "{said}");
    checked("--curriculum-ease length --max-steps 99").refused(&["7 steps in all"]);
    bench.copy_model("llama_gqa", "other");
    bench.write("other/chat_template.jinja", "{{ messages }}");
    checked("--curriculum-model other").refused(&["model of curriculum_model has another tokenizer or chat template"]);
    bench
        .run("train dpo --model model --data pairs.jsonl --output-dir out --curriculum-alpha 0.5")
        .refused(&["curriculum"]);
}
