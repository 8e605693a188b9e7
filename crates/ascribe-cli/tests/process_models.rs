//! Process models from data to scores of steps: `ascribe train orm | prm | pav | tvm | p-ik | implicit-prm`, `ascribe score
//! --process`, `ascribe search --scorer process`.

mod support;

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

fn numbers(row: &Value, name: &str) -> Vec<f64> {
    let list = row[name].as_array().unwrap_or_else(|| panic!("`{name}` is no list in {row}"));
    list.iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("`{name}` is no number in {row}"))
}

/// Twelve replies in two steps, the first right and the second wrong; and rows to score.
fn with_steps() -> Bench {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}?"), "completions": [format!("the sum of {n}"), "is none"], "labels": [1, 0]});
    bench.rows("steps.jsonl", (0..12).map(row));
    bench.rows(
        "rows.jsonl",
        [
            json!({"id": 1, "prompt": "what is 1?", "completion": "the sum of 1\n\nis 2"}),
            json!({"id": 2, "prompt": "what is 2?", "completions": ["the sum", "of it", "is 4"]}),
            json!({"id": 3, "problem": "what is 3?", "steps": ["the sum", "is 7"], "label": 1}),
        ],
    );
    bench
}

fn train(bench: &Bench, method: &str, data: &str, out: &str, rest: &str) -> Ran {
    bench.run(&format!("train {method} --model model --data {data} --output-dir {out} {SHORT} {rest}"))
}

#[test]
fn every_kind_trains_and_scores_steps() {
    let bench = with_steps();
    for (method, data, options, labels) in [
        ("prm", "steps.jsonl", "--eval-steps 2", 2),
        ("prm", "steps.jsonl", "--step-loss ranking --zeta 2 --step-head score --aggregate min", 1),
        ("pav", "steps.jsonl", "--prover 2 --progress-weight 0.25", 2),
        ("orm", "pairs.jsonl", "--outcome-at last --step-head score --head-init wide", 1),
        ("orm", "pairs.jsonl", "--step-loss temporal-difference", 2),
        ("tvm", "pairs.jsonl", "--step-loss squared --min-samples 2", 2),
    ] {
        let out = format!("{method}-{labels}");
        let ran = train(&bench, method, data, &out, options).succeeded();
        assert!(ran.stdout.contains("held-out AUROC"), "{}", ran.stdout);
        let said = ran.stderr.contains("2.00 steps a response in the mean of training rows");
        assert_eq!(said, data == "steps.jsonl", "{}", ran.stderr);
        let config = bench.json(&format!("{out}/config.json"));
        assert_eq!(config["architectures"], json!(["LlamaForTokenClassification"]), "{out}");
        assert_eq!(config["id2label"].as_object().map(|names| names.len()), Some(labels), "{out}");
        let card = bench.json(&format!("{out}/process.json"));
        assert_eq!(card["kind"], json!(method));
        let summary = bench.json(&format!("{out}/summary.json"));
        assert!(number(&summary, "eval_loss").is_finite() && summary["auroc"].is_object(), "{summary}");

        let ran = bench.run(&format!("score --process {out} --input rows.jsonl")).succeeded();
        // Two, three and two.
        assert!(ran.stderr.contains("2.33 steps a response in the mean"), "{}", ran.stderr);
        let rows = written(&ran);
        let steps: Vec<usize> = rows.iter().map(|row| numbers(row, "step_scores").len()).collect();
        assert_eq!(steps, [2, 3, 2], "{out}");
        for row in &rows {
            let scores = numbers(row, "step_scores");
            assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{row}");
            let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
            let expected = if labels == 1 && method == "prm" { least } else { scores[scores.len() - 1] };
            assert_eq!(number(row, "score"), expected, "{row}");
            assert_eq!(row.get("step_progress").is_some(), method == "pav", "{row}");
        }
        assert_eq!(rows[0]["steps"], json!(["the sum of 1\n\n", "is 2"]));
        assert_eq!(rows[2]["steps"], json!(["the sum", "is 7"]));
        let mean =
            written(&bench.run(&format!("score --process {out} --input rows.jsonl --aggregate mean")).succeeded());
        let scores = numbers(&mean[0], "step_scores");
        assert!((number(&mean[0], "score") - (scores[0] + scores[1]) / 2.0).abs() < 1e-9, "{}", mean[0]);
    }
}

/// What is written beside the rows of a benchmark is what it is scored by, at a threshold above every score or below it:
/// then the first step is the first wrong one, or no step is wrong; and every step is called wrong, or right.
#[test]
fn what_is_scored_is_what_benchmarks_read() {
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "prm", "--max-steps 1").succeeded();
    let solution = |label: i64| json!({"problem": "what is 3?", "steps": ["the sum", "is 7"], "label": label});
    bench.rows("process.jsonl", [solution(0), solution(1), solution(-1)]);
    let modified = |wrong: usize| {
        json!({"original_question": "what is 3?", "modified_question": "what is 4?", "original_process": ["the sum"],
               "modified_process": ["the sum", "is 7"], "error_steps": [wrong], "classification": "redundency"})
    };
    bench.rows("prm.jsonl", [modified(1), modified(2)]);
    let found = |protocol: &str, name: &str, threshold: f64| -> Value {
        let rows = written(&bench.run(&format!("score --process prm --input {name}.jsonl")).succeeded());
        assert!(rows.iter().all(|row| numbers(row, "step_scores").len() == 2), "{rows:?}");
        bench.rows("scored.jsonl", rows);
        let line = format!("eval {protocol} --input scored.jsonl --threshold {threshold} --resamples 0 --json");
        serde_json::from_str(&bench.run(&line).succeeded().stdout).expect("JSON")
    };
    let value = |found: &Value, name: &str| number(&found["measures"][name], "value");
    let first = found("processbench", "process", 1.5);
    assert_eq!([value(&first, "all, with an error"), value(&first, "all, correct")], [0.5, 0.0]);
    let none = found("processbench", "process", 0.0);
    assert_eq!([value(&none, "all, with an error"), value(&none, "all, correct")], [0.0, 1.0]);
    // Two right steps of four: called right, all four have F1 2 * 2/(2 * 2 + 2) on the right ones and 0 on the wrong ones.
    let right = found("prmbench", "prm", 0.0);
    assert!((value(&right, "F1 of right steps") - 2.0 / 3.0).abs() < 1e-9, "{right}");
    assert_eq!(value(&right, "F1 of wrong steps"), 0.0);
}

#[test]
fn an_adapter_and_two_words_are_process_models_too() {
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "adapter", "--use-peft --learning-rate 1e-2").succeeded();
    let rows = written(&bench.run("score --process adapter --input rows.jsonl").succeeded());
    assert_eq!(numbers(&rows[1], "step_scores").len(), 3);
    // The plus and the minus of the vocabulary.
    train(&bench, "prm", "steps.jsonl", "words", "--step-head words --step-words + -").succeeded();
    assert_eq!(bench.json("words/config.json")["architectures"], json!(["LlamaForCausalLM"]));
    assert!(bench.json("words/process.json")["head"]["words"]["good"].is_number());
    let rows = written(&bench.run("score --process words --input rows.jsonl").succeeded());
    assert!(numbers(&rows[0], "step_scores").iter().all(|score| (0.0..=1.0).contains(score)));
    // Two words at a tag behind each step.
    train(&bench, "prm", "steps.jsonl", "tagged", "--step-head words --step-words + - --step-tag *").succeeded();
    assert_eq!(bench.json("tagged/process.json")["tag"].as_array().map(Vec::len), Some(1));
    let rows = written(&bench.run("score --process tagged --input rows.jsonl").succeeded());
    assert_eq!(rows.iter().map(|row| numbers(row, "step_scores").len()).collect::<Vec<_>>(), [2, 3, 2]);
    train(&bench, "orm", "pairs.jsonl", "out", "--step-tag *").refused(&["step_tag does nothing with orm", "prm, pav"]);
}

#[test]
fn labels_that_a_model_made_are_learned() {
    let bench = with_steps();
    let row = |n: usize| json!({"prompt": format!("what is {n}+{n}?"), "completion": format!("{n}+{n} is it.\nso {}", n + n), "answer": n + n});
    bench.rows("problems.jsonl", (1..4).map(row));
    let label = "label --model model --input problems.jsonl --segment lines --max-new-tokens 6 --seed 3";
    let method = "--method monte-carlo --rollouts 2 --after-error keep";
    bench.run(&format!("{label} {method} --output work.jsonl")).succeeded();
    bench.run("label --merge work.jsonl --output labels.jsonl").succeeded();
    let options = "--held-out 0 --max-steps 1 --max-length 96";
    for method in ["prm", "pav"] {
        let ran = train(&bench, method, "labels.jsonl", method, &format!("{options} --steps lines")).succeeded();
        assert!(!ran.stderr.contains("warning: the steps"), "{}", ran.stderr);
        assert_eq!(bench.json(&format!("{method}/process.json"))["segmenter"], json!({"delimiter": "\n"}));
    }
    train(&bench, "prm", "labels.jsonl", "out", options).refused(&["labels.jsonl, row 1", "segmentation", "delimiter"]);
    train(&bench, "prm", "work.jsonl", "out", options).refused(&["work of ascribe label", "--merge work.jsonl"]);
    // Outcomes may be called correct.
    let row =
        |n: usize| json!({"prompt": format!("what is {n}?"), "completion": format!("it is {n}"), "correct": n % 2});
    bench.rows("outcomes.jsonl", (0..8).map(row));
    let ran = train(&bench, "orm", "outcomes.jsonl", "orm", options).succeeded();
    assert!(ran.stderr.contains("label is read from `correct`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("4 of 8 responses to learn from are right"), "{}", ran.stderr);
    // As many of either kind: the two that are right, and two of the six that are not.
    let row = |n: usize| json!({"prompt": format!("what is {n}?"), "completion": format!("it is {n}"), "label": n < 2});
    bench.rows("few.jsonl", (0..8).map(row));
    let ran = train(&bench, "orm", "few.jsonl", "few", &format!("{options} --balance")).succeeded();
    assert!(ran.stderr.contains("4 of 8 rows are learned from"), "{}", ran.stderr);
    // Steps that the segmenter would cut otherwise are said.
    let ran = train(&bench, "prm", "steps.jsonl", "other", "--max-steps 1 --steps headers").succeeded();
    assert!(ran.stderr.contains("warning: the steps of 8 training rows"), "{}", ran.stderr);
}

#[test]
fn pairs_of_steps_are_learned_and_score_steps() {
    let bench = with_steps();
    let pair = |n: usize| {
        let so_far = format!("the sum of {n}");
        json!({"prompt": format!("what is {n}?"), "chosen": format!("{so_far}\nis {n}\n"),
               "rejected": format!("{so_far}\nis none\n"), "margin": 0.75, "values": [0.75, 0.0],
               "segmentation": "delimiter \"\\n\""})
    };
    bench.rows("steps-of.jsonl", (0..12).map(pair));
    let options = "--step-loss pairwise --steps lines --eval-steps 2";
    let ran = train(&bench, "prm", "steps-of.jsonl", "pairs", options).succeeded();
    assert!(ran.stdout.contains("held-out reward accuracy") && !ran.stdout.contains("AUROC"), "{}", ran.stdout);
    let summary = bench.json("pairs/summary.json");
    assert!(summary["reward_accuracy"].is_object() && number(&summary, "eval_loss") > 0.0, "{summary}");
    assert_eq!(bench.json("pairs/process.json")["loss"], json!("pairwise"));
    let rows = written(&bench.run("score --process pairs --input rows.jsonl").succeeded());
    assert!(rows.iter().all(|row| numbers(row, "step_scores").iter().all(|score| (0.0..=1.0).contains(score))));
    let line = format!("validate prm --model model --data steps-of.jsonl --output-dir out {SHORT} {options}");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out, 4 steps of 2 rows, 16 labels"), "{}", ran.stdout);
    for (method, data, rest, said) in [
        ("orm", "pairs.jsonl", "", "step_loss pairwise compares two steps behind one state, which orm has not"),
        ("prm", "steps.jsonl", "", "steps.jsonl"),
        ("prm", "steps-of.jsonl", "--balance", "balance does nothing with step_loss pairwise"),
        ("prm", "steps-of.jsonl", "--step-separator x", "step_separator does nothing with step_loss pairwise"),
        ("prm", "steps-of.jsonl", "--zeta 1", "zeta is the margin of step_loss ranking"),
        ("prm", "steps-of.jsonl", "--steps headers", "segmentation"),
    ] {
        train(&bench, method, data, "out", &format!("--step-loss pairwise {rest}")).refused(&[said]);
    }
}

#[test]
fn neutral_steps_are_right_or_wrong_as_asked() {
    let bench = with_steps();
    let row = |n: usize| {
        let step = |text: &str, rating: i64| json!({"completions": [{"text": text, "rating": rating}], "human_completion": null, "chosen_completion": 0});
        json!({"question": {"problem": format!("what is {n}?")},
               "label": {"steps": [step("the sum", 1), step("let us see", 0), step("is none", -1)]}})
    };
    bench.rows("rated.jsonl", (0..12).map(row));
    for (option, labels) in
        [("", [1.0, 0.0, 0.0]), ("--neutral-steps wrong", [1.0, 0.0, 0.0]), ("--neutral-steps right", [1.0, 1.0, 0.0])]
    {
        let ran = bench.run(&format!("convert rated.jsonl steps-of.jsonl {option}")).succeeded();
        assert_eq!(ran.stderr.contains("its rating is 1 or 0"), labels[1] == 1.0, "{}", ran.stderr);
        let rows: Vec<Value> =
            bench.read("steps-of.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(rows.len() == 12 && rows.iter().all(|row| numbers(row, "labels") == labels), "{option}: {rows:?}");
    }
    // Behind the first wrong step there are no labels: two of each row, or all three.
    let line = format!("validate prm --model model --data rated.jsonl --output-dir out {SHORT} --after-error mask");
    for (option, labels) in [("wrong", 16), ("right", 24)] {
        let ran = bench.run(&format!("{line} --neutral-steps {option}")).succeeded();
        assert!(ran.stdout.contains(&format!("rows, {labels} labels")), "{option}: {}", ran.stdout);
    }
    bench.run("convert rated.jsonl no.jsonl --neutral-steps other").refused(&["`wrong` or `right`"]);
    bench.run("convert pairs.jsonl no.jsonl --neutral-steps right").refused(&["another layout; drop neutral_steps"]);
    bench.run("convert pairs.jsonl no.jsonl --confidence --neutral-steps right").refused(&["--neutral-steps"]);
    let prm = |data: &str, rest: &str| train(&bench, "prm", data, "out", &format!("--neutral-steps right {rest}"));
    prm("steps.jsonl", "").refused(&["`steps.jsonl` has another layout; drop neutral_steps"]);
    prm("pairs.jsonl", "--step-loss pairwise").refused(&["neutral_steps does nothing with step_loss pairwise"]);
    train(&bench, "orm", "pairs.jsonl", "out", "--neutral-steps right")
        .refused(&["neutral_steps does nothing with orm"]);
}

#[test]
fn questions_are_learned_from_shares_or_from_samples() {
    let bench = with_steps();
    let share = |n: usize| json!({"prompt": format!("what is {n}?"), "share": (n % 3) as f64 / 2.0});
    bench.rows("shares.jsonl", (0..12).map(share));
    let ran = train(&bench, "p-ik", "shares.jsonl", "shares", "").succeeded();
    assert!(ran.stdout.contains("held-out Brier score"), "{}", ran.stdout);
    assert_eq!(bench.json("shares/process.json")["kind"], json!("p-ik"));
    assert!(bench.json("shares/summary.json")["brier"].is_object());
    // Three samples to a prompt, of which none, one, two or all are right.
    let sample = |n: usize| {
        let (question, which) = (n / 3, n % 3);
        json!({"prompt": format!("what is {question}?"), "completion": format!("it is {which}"),
               "correct": which < question % 4})
    };
    bench.rows("samples.jsonl", (0..36).map(sample));
    let line = format!("validate p-ik --model model --data samples.jsonl --output-dir out {SHORT} --min-samples 3");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out, 4 steps of 2 rows, 8 labels"), "{}", ran.stdout);
    train(&bench, "p-ik", "samples.jsonl", "samples", "--step-head score --step-loss squared").succeeded();

    // The prompt alone is read, whatever answer stands in the row.
    bench.rows(
        "asked.jsonl",
        [
            json!({"id": 1, "prompt": "what is 1?", "completion": "the sum"}),
            json!({"id": 2, "question": "what is 1?"}),
            json!({"id": 3, "prompt": "what is 2?"}),
        ],
    );
    let rows = written(&bench.run("score --process samples --input asked.jsonl").succeeded());
    let known: Vec<f64> = rows.iter().map(|row| number(row, "p_ik")).collect();
    assert!((known[0] - known[1]).abs() < 1e-6 && known[0] != known[2], "{known:?}");
    assert!(known.iter().all(|p| (0.0..=1.0).contains(p)), "{known:?}");

    bench
        .run("score --process samples --input asked.jsonl --aggregate min")
        .refused(&["steps, view and aggregate do nothing"]);
    bench.rows("asked.jsonl", [json!({"answer": "1"})]);
    bench.run("score --process samples --input asked.jsonl").refused(&["asked.jsonl, row 1", "`question`"]);
    bench.rows("prompts.jsonl", (0..2).map(|n| json!({"prompt": format!("what is {n}?")})));
    let search = "search --model model --input prompts.jsonl --strategy best-of-n --output no.jsonl --segment length:3";
    bench.run(&format!("{search} --scorer process --process samples")).refused(&["orm, prm, pav or tvm"]);
    let grpo = "train grpo --model model --data prompts.jsonl --output-dir no --reward samples --held-out 0 --num-generations 4 \
                --per-device-train-batch-size 4 --gradient-accumulation-steps 1 --max-completion-length 4 --max-steps 1";
    bench.run(grpo).refused(&["orm, prm, pav or tvm"]);
    for (data, rest, said) in [
        ("samples.jsonl", "--min-samples 4", "the prompt of line 1 has 3 samples, and min_samples is 4"),
        ("shares.jsonl", "--min-samples 2", "min_samples counts responses"),
        ("same.jsonl", "", "the shares to learn from are all 0.5"),
        ("wrong.jsonl", "", "`share` of line 2 must be a number from 0 to 1, got 1.5"),
        ("shares.jsonl", "--steps lines", "steps does nothing with p-ik; leave it out, or use orm, prm, pav, tvm"),
        ("shares.jsonl", "--step-loss ranking", "orders right and wrong steps, which p-ik has not"),
        ("shares.jsonl", "--max-samples-per-prompt 1", "max_samples_per_prompt does nothing with p-ik"),
    ] {
        bench.rows("same.jsonl", (0..12).map(|n| json!({"prompt": format!("what is {n}?"), "share": 0.5})));
        bench.rows("wrong.jsonl", (0..12).map(|n| json!({"prompt": format!("what is {n}?"), "share": 1.5 * n as f64})));
        train(&bench, "p-ik", data, "out", rest).refused(&[said]);
    }
}

#[test]
fn a_prompt_gives_at_most_so_many_rows() {
    let bench = with_steps();
    let sample = |n: usize| json!({"prompt": format!("what is {}?", n / 4), "completion": format!("it is {n}"), "label": n.is_multiple_of(4)});
    bench.rows("samples.jsonl", (0..24).map(sample));
    let ran = |rest: &str| train(&bench, "orm", "samples.jsonl", "out", &format!("--held-out 0 --max-steps 1 {rest}"));
    let said = ran("--max-samples-per-prompt 2").succeeded().stderr;
    assert!(said.contains("12 of 24 rows are learned from, at most 2 to a prompt"), "{said}");
    assert!(said.contains("6 of 12 responses to learn from are right"), "{said}");
    ran("--max-samples-per-prompt 0").refused(&["max_samples_per_prompt must be at least 1"]);
    let line = format!("validate prm --model model --data steps.jsonl --output-dir no {SHORT}");
    let said = bench.run(&format!("{line} --max-samples-per-prompt 1")).succeeded().stderr;
    assert!(said.contains("8 of 8 rows are learned from, at most 1 to a prompt"), "{said}");
}

#[test]
fn what_stands_behind_an_answer_is_left_out() {
    let bench = with_steps();
    let sample = |n: usize, behind: &str| {
        let completion = format!("the answer is {n}.{behind}");
        json!({"prompt": format!("what is {n}?"), "completion": completion, "label": n.is_multiple_of(2)})
    };
    // Every second response goes on behind its answer.
    bench.rows("long.jsonl", (0..12_usize).map(|n| sample(n, if n.is_multiple_of(2) { " what is that?" } else { "" })));
    bench.rows("short.jsonl", (0..12).map(|n| sample(n, "")));
    let options = "--held-out 0";
    for method in ["orm", "tvm"] {
        let cut = format!("{options} --cut-after-answer");
        let ran = train(&bench, method, "long.jsonl", &format!("{method}-cut"), &cut).succeeded();
        assert!(ran.stderr.contains("12 of 12 responses mark their answer, and 6 lose what"), "{}", ran.stderr);
        train(&bench, method, "short.jsonl", &format!("{method}-short"), options).succeeded();
        // It learns what it learns of responses without anything behind their answers, and not what it learns of the others.
        train(&bench, method, "long.jsonl", &format!("{method}-long"), options).succeeded();
        let weights = |out: &str| bench.files(&format!("{method}-{out}")).remove("model.safetensors");
        assert!(weights("cut").is_some() && weights("cut") == weights("short") && weights("cut") != weights("long"));
    }
    let unmarked = train(&bench, "orm", "pairs.jsonl", "out", "--cut-after-answer");
    unmarked.refused(&["cut_after_answer looks for answers", "no response has one; drop it"]);
    train(&bench, "prm", "steps.jsonl", "out", "--cut-after-answer")
        .refused(&["cut_after_answer does nothing with prm"]);
}

#[test]
fn implicit_process_models_are_policies_whose_log_ratios_score() {
    let bench = with_steps();
    for form in ["ce", "dpo", "kto", "nca"] {
        train(&bench, "implicit-prm", "pairs.jsonl", form, &format!("--form {form} --max-steps 2")).succeeded();
        assert_eq!(bench.json(&format!("{form}/config.json"))["architectures"], json!(["LlamaForCausalLM"]));
    }
    let score = |policy: &str, rest: &str| {
        written(&bench.run(&format!("score --process {policy} --implicit --input rows.jsonl {rest}")).succeeded())
    };
    for row in score("model", "--reference model") {
        assert!(numbers(&row, "step_rewards").iter().all(|reward| *reward == 0.0), "{row}");
        assert!(numbers(&row, "step_scores").iter().all(|score| *score == 0.5), "{row}");
    }
    for row in score("ce", "--reference model --beta 0.5 --aggregate sum") {
        let rewards = numbers(&row, "step_rewards");
        assert!(rewards.iter().any(|reward| *reward != 0.0), "{row}");
        let sum: f64 = rewards.iter().sum();
        assert!((number(&row, "score") - sum).abs() < 1e-4, "{row}");
        let last = *numbers(&row, "step_scores").last().expect("a step");
        assert!((last - 1.0 / (1.0 + (-sum).exp())).abs() < 1e-6, "{row}");
    }
    // Of the policy alone, every token costs.
    assert!(score("ce", "").iter().all(|row| number(row, "score") < 0.0));
    // Pairs are needed where there are two sides.
    bench.rows(
        "outcomes.jsonl",
        (0..12).map(|n| json!({"prompt": format!("{n}"), "completion": "a b", "label": n % 2 == 0})),
    );
    train(&bench, "implicit-prm", "outcomes.jsonl", "one", "--max-steps 1").succeeded();
    train(&bench, "implicit-prm", "outcomes.jsonl", "two", "--form dpo").refused(&["outcomes.jsonl"]);
}

/// What a view shows of each step is scored like a response of one step with that text.
#[test]
fn a_process_model_may_be_shown_a_part_of_the_steps() {
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "prm", "").succeeded();
    let steps = ["add $1+1$ now\n\n", "so $2+2$ it is"];
    bench.rows("rows.jsonl", [json!({"prompt": "what is 1?", "completions": steps})]);
    let score = |rest: &str| {
        let rows = written(&bench.run(&format!("score --process prm --input rows.jsonl {rest}")).succeeded());
        rows.iter().map(|row| numbers(row, "step_scores")).collect::<Vec<_>>()
    };
    let whole = score("");
    assert_eq!(score("--view full_context"), whole);
    let views = ["math_only", "single_step_math_only", "next_thought", "thoughts_only"];
    let of_views: Vec<Vec<f64>> = views.map(|view| score(&format!("--view {view} --aggregate min")).concat()).to_vec();
    let shown = [
        ["$1+1$", "$1+1$\n$2+2$"],
        ["$1+1$", "$2+2$"],
        ["add now", "add $1+1$ now\n\nso it is"],
        ["add now", "add now\nso it is"],
    ];
    for ((view, got), shown) in views.iter().zip(&of_views).zip(shown) {
        bench.rows("rows.jsonl", shown.map(|text| json!({"prompt": "what is 1?", "completions": [text]})));
        close(view, got, &score("").concat(), 1e-5);
    }
    assert!(of_views.iter().all(|scores| *scores != whole[0]), "{of_views:?}");
    bench.rows("rows.jsonl", [json!({"prompt": "what is 1?", "completion": "the sum"})]);
    train(&bench, "pav", "steps.jsonl", "pav", "--max-steps 1").succeeded();
    for (line, said) in [
        ("--process pav --view math_only", "progress is from step to step"),
        ("--process model --implicit --view math_only", "drop it with --implicit and --replies"),
        ("--process model --replies + - --view math_only", "drop it with --implicit and --replies"),
        ("--process prm --view words", "`thoughts_only`"),
        ("--model model --view math_only", "name a process model with --process"),
    ] {
        bench.run(&format!("score --input rows.jsonl {line}")).refused(&[said]);
    }
    // What stands for a formula that is not there takes more room than these steps.
    bench.rows("rows.jsonl", [json!({"prompt": "what is 1?", "completions": vec!["a"; 60]})]);
    assert_eq!(score("")[0].len(), 60);
    bench
        .run("score --process prm --input rows.jsonl --view math_only")
        .refused(&["rows.jsonl, row 1", "tokens with a view do not fit the context"]);
}

#[test]
fn a_model_that_replies_to_steps_scores_them() {
    let bench = with_steps();
    let score = |rest: &str| {
        written(&bench.run(&format!("score --process model --input rows.jsonl --replies {rest}")).succeeded())
    };
    let rows = score("+ -");
    assert_eq!(rows.iter().map(|row| numbers(row, "step_scores").len()).collect::<Vec<_>>(), [2, 3, 2]);
    assert_eq!(rows[0]["steps"], json!(["the sum of 1\n\n", "is 2"]));
    // The conversation as it is, with either reply: p = 1/(1 + exp(log p(-) - log p(+))) of the first token of the reply.
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let (first, second) = (says("user", "what is 1?\n\nthe sum of 1"), says("user", "is 2"));
    let before = [vec![first.clone()], vec![first, says("assistant", "+"), second]];
    let talks = before.iter().flat_map(|turns| {
        ["+", "-"].map(|reply| {
            let messages = [turns.as_slice(), &[says("assistant", reply)]].concat();
            json!({"messages": messages})
        })
    });
    bench.rows("talks.jsonl", talks);
    let logps: Vec<f64> = written(&bench.run("score --model model --input talks.jsonl").succeeded())
        .iter()
        .map(|row| numbers(row, "token_logps")[0])
        .collect();
    let expected: Vec<f64> = logps.chunks(2).map(|pair| 1.0 / (1.0 + (pair[1] - pair[0]).exp())).collect();
    close("replies", &numbers(&rows[0], "step_scores"), &expected, 1e-5);
    assert_eq!(number(&rows[0], "score"), numbers(&rows[0], "step_scores")[1]);
    let least = score("+ - --aggregate min --weights as-stored");
    assert_eq!(number(&least[0], "score"), numbers(&rows[0], "step_scores").into_iter().fold(1.0, f64::min));
    // The words change places, and so does what is said of the first step.
    close("turned", &[numbers(&score("- +")[0], "step_scores")[0]], &[1.0 - expected[0]], 1e-5);
    for (rest, said) in [
        ("+ +", "replies must be two words that this model tells apart"),
        ("+ - --implicit", "--implicit"),
        ("+ - --beta 0.1", "beta belongs to log-ratios"),
        ("+ - --reference model", "reference belongs to log-ratios"),
    ] {
        bench.run(&format!("score --process model --input rows.jsonl --replies {rest}")).refused(&[said]);
    }
    bench.run("score --model model --input rows.jsonl --replies + -").refused(&["name a process model with --process"]);
    bench.rows("rows.jsonl", [json!({"prompt": "what is 1?", "completions": vec!["a"; 40]})]);
    bench
        .run("score --process model --input rows.jsonl --replies + -")
        .refused(&["rows.jsonl, row 1", "tokens of turns do not fit the context"]);
}

/// The folder is a classifier of tokens to transformers too, on either side of padding. Left out where no Python has it.
#[test]
fn transformers_loads_the_folder_and_gives_the_same_scores() {
    let Some(python) = python::with_module("transformers") else { return };
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "whole", "--head-init wide").succeeded();
    train(&bench, "prm", "steps.jsonl", "adapter", "--step-head score --use-peft --learning-rate 1e-2").succeeded();
    bench.run("merge --adapter adapter --output-dir merged").succeeded();
    let answers = ["the sum", "the rest\n\nof it all", "no"];
    bench.rows("rows.jsonl", answers.map(|answer| json!({"prompt": "what is 1?", "completion": answer})));
    assert_eq!(bench.read("merged/process.json"), bench.read("adapter/process.json"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/peers/process_peer.py");
    for folder in ["whole", "merged"] {
        let rows = written(&bench.run(&format!("score --process {folder} --input rows.jsonl")).succeeded());
        let ours: Vec<f64> = rows.iter().map(|row| *numbers(row, "step_scores").last().expect("a step")).collect();
        let mut command = Command::new(&python);
        command.arg(&script).arg(bench.path(folder)).arg("--input").arg(bench.path("rows.jsonl"));
        let said = support::ran(command).succeeded();
        let theirs: Value = serde_json::from_str(said.stdout.lines().last().unwrap_or_default()).expect("JSON");
        assert_eq!(theirs["class"], json!("LlamaForTokenClassification"));
        for side in ["right", "left"] {
            close(&format!("{folder}, padded on the {side}"), &ours, &numbers(&theirs, side), 1e-4);
        }
    }
}

/// Says in the card of a model that its steps are so many tokens each; `None`: nothing of steps.
fn cut_by(bench: &Bench, model: &str, tokens: Option<usize>) {
    let name = format!("{model}/process.json");
    let mut card = bench.json(&name);
    let entries = card.as_object_mut().expect("an object");
    entries.remove("segmenter");
    if let Some(tokens) = tokens {
        entries.insert("segmenter".to_owned(), json!({"fixed_length": tokens}));
    }
    bench.write(&name, card.to_string());
}

#[test]
fn a_search_is_led_by_a_process_model() {
    let bench = with_steps();
    train(&bench, "pav", "steps.jsonl", "pav", "--max-steps 2").succeeded();
    cut_by(&bench, "pav", Some(3));
    bench.rows("prompts.jsonl", (0..2).map(|n| json!({"prompt": format!("what is {n}?")})));
    let search = "search --model model --input prompts.jsonl --segment length:3 --max-new-tokens 9 --seed 3";
    let line = format!("{search} --strategy best-of-n --strategy-args n=3 --output out.jsonl --process pav");
    bench.run(&format!("{line} --scorer process --judge process-value")).succeeded();
    for row in bench.read("out.jsonl").lines() {
        let row: Value = serde_json::from_str(row).expect("a line of JSON");
        assert_eq!(numbers(&row, "scores").len(), 3, "{row}");
    }
    let line = format!("{search} --strategy best-of-n --output no.jsonl");
    bench.run(&format!("{line} --scorer process")).refused(&["name it with --process"]);
    bench
        .run(&format!("{line} --scorer logp --process pav"))
        .refused(&["process does nothing without --scorer process"]);
    bench.run(&format!("{line} --scorer process --process model")).refused(&["two classes"]);
    // Steps of the search are those of the card, where it speaks of steps.
    cut_by(&bench, "pav", Some(4));
    bench.run(&format!("{line} --scorer process --process pav")).refused(&[
        "segment must cut where the steps of the process model `pav` end, by length 4, got length 3",
        "change --segment, or name a model that learned such steps",
    ]);
    assert!(!bench.path("no.jsonl").exists());
    cut_by(&bench, "pav", None);
    bench.run(&format!("{line} --strategy-args n=2 --scorer process --process pav")).succeeded();
}

#[test]
fn steps_that_were_cut_otherwise_are_scored_where_that_is_said_alone() {
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "prm", "--max-steps 1").succeeded();
    train(&bench, "orm", "pairs.jsonl", "orm", "--max-steps 1").succeeded();
    let row = |by: &str| json!({"prompt": "what is 1?", "completions": ["the sum", "is 2"], "segmentation": by});
    bench.rows("lines.jsonl", [row(r#"delimiter "\n""#)]);
    bench.rows("paragraphs.jsonl", [row(r#"delimiter "\n\n""#)]);
    let score = |line: &str| bench.run(&format!("score --process {line}"));
    score("prm --input paragraphs.jsonl").succeeded();
    score("prm --input lines.jsonl").refused(&[
        "lines.jsonl, row 1",
        r#"were cut by delimiter "\n", and here they are to end by delimiter "\n\n""#,
        "say with --steps how they were cut",
    ]);
    score("prm --input lines.jsonl --steps lines").succeeded();
    score("prm --input paragraphs.jsonl --steps lines").refused(&["paragraphs.jsonl, row 1", "cut them alike"]);
    // A model that learned every token takes any steps.
    score("orm --input lines.jsonl").succeeded();
}

/// Where progress counts for nothing, a beam by effective rewards is a beam by the value, to the last bit.
#[test]
fn a_beam_without_progress_is_one_by_the_value() {
    let bench = with_steps();
    train(&bench, "pav", "steps.jsonl", "pav", "--max-steps 2").succeeded();
    cut_by(&bench, "pav", Some(3));
    bench.rows("prompts.jsonl", (0..3).map(|n| json!({"prompt": format!("what is {n}?")})));
    // The rows without their time and without the settings, which name the scorer.
    let found = |scorer: &str, output: &str| -> Vec<Value> {
        let search = "search --model model --input prompts.jsonl --segment length:3 --max-new-tokens 9 --seed 3";
        let beam = "--strategy step-beam --strategy-args n=4,expand=2 --tree --process pav";
        bench.run(&format!("{search} {beam} --scorer {scorer} --output {output}")).succeeded();
        let text = bench.read(output);
        let bare = |line: &str| -> Value {
            let mut row: Value = serde_json::from_str(line).unwrap();
            let fields = row.as_object_mut().unwrap();
            assert!(fields.remove("seconds").is_some() && fields.remove("run").is_some(), "{line}");
            row
        };
        text.lines().map(bare).collect()
    };
    let by_value = found("process-value", "value.jsonl");
    assert_ne!(found("process", "effective.jsonl"), by_value);
    let mut card = bench.json("pav/process.json");
    card["progress"]["alpha"] = json!(0.0);
    bench.write("pav/process.json", card.to_string());
    assert_eq!(found("process", "plain.jsonl"), by_value);
}

/// Controlled decoding by prefix scorers that learned outcomes at every token, outcomes from token to token, and values of tokens.
#[test]
fn tokens_are_decoded_by_a_scorer_of_prefixes() {
    let bench = with_steps();
    bench.rows("prompts.jsonl", (0..2).map(|n| json!({"prompt": format!("what is {n}?")})));
    let search = |out: &str, options: &str| -> Vec<Value> {
        let line = format!("search --model model --input prompts.jsonl --max-new-tokens 6 --output {out} {options}");
        bench.run(&line).succeeded();
        bench.read(out).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let texts = |rows: &[Value]| rows.iter().map(|row| row["completion"].clone()).collect::<Vec<_>>();
    let greedy = texts(&search("greedy.jsonl", "--strategy greedy"));
    for (name, method, loss) in
        [("fudge", "orm", "squared"), ("q", "orm", "temporal-difference"), ("values", "tvm", "squared")]
    {
        train(&bench, method, "pairs.jsonl", name, &format!("--step-loss {loss}")).succeeded();
        let led = |weight: &str| {
            let by = format!("--strategy controlled --scorer process-value --process {name} --tree");
            search(&format!("{name}-{weight}.jsonl"), &format!("{by} --strategy-args k=3,weight={weight}"))
        };
        assert_eq!(texts(&led("0.0")), greedy, "{name}");
        // With so much weight every token is the one of three whose prefix has the highest value.
        for row in led("1e12") {
            let nodes = row["tree"]["nodes"].as_array().expect("nodes");
            let value = |node: &Value| node["value"].as_f64().expect("a value");
            let mut followed = 0;
            for node in nodes.iter().filter(|node| node["state"] == "kept" || node["state"] == "chosen") {
                let mut siblings = nodes.iter().filter(|other| other["parent"] == node["parent"]);
                assert!(siblings.all(|other| value(other) <= value(node)), "{name}: {node}");
                assert!((0.0..=1.0).contains(&value(node)), "{name}: {node}");
                followed += 1;
            }
            assert!((1..=6).contains(&followed), "{name}: {followed}");
        }
    }
}

#[test]
fn a_process_run_can_be_checked_without_weights() {
    let bench = with_steps();
    let ran = bench.run(&format!("validate prm --model model --data steps.jsonl --output-dir out {SHORT}")).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out, 4 steps of 2 rows, 16 labels"), "{}", ran.stdout);
    // Of the second prompt one response is held out, and the other one left out.
    let line = format!("validate tvm --model model --data pairs.jsonl --output-dir out {SHORT}");
    let ran = bench.run(&format!("{line} --min-samples 2 --held-out 3")).succeeded();
    assert!(ran.stdout.contains("20 rows to train on, 3 held out"), "{}", ran.stdout);
    // Of labels 0 and 1 the second goes, or is none to begin with.
    let wrong =
        |n: usize| json!({"prompt": format!("what is {n}?"), "completions": ["the sum", "is none"], "labels": [0, 1]});
    bench.rows("wrong.jsonl", (0..12).map(wrong));
    let line = format!("validate prm --model model --data wrong.jsonl --output-dir out {SHORT}");
    for (after, labels) in [("", 16), ("--after-error keep", 16), ("--after-error zero", 16), ("--after-error mask", 8)]
    {
        let ran = bench.run(&format!("{line} {after}")).succeeded();
        assert!(ran.stdout.contains(&format!("rows, {labels} labels")), "{after}: {}", ran.stdout);
    }
    let line = format!("validate implicit-prm --model model --data pairs.jsonl --output-dir out {SHORT}");
    assert!(bench.run(&line).succeeded().stdout.contains("rows to train on"));
    assert!(!bench.path("out").exists());
}

#[test]
fn a_policy_learns_from_a_process_model() {
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "prm", "").succeeded();
    cut_by(&bench, "prm", Some(3));
    bench.rows("prompts.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?")})));
    let line = "train grpo --model model --data prompts.jsonl --reward prm --held-out 2 --per-device-train-batch-size 4 \
                --gradient-accumulation-steps 1 --num-generations 4 --max-completion-length 6 --max-steps 2 --logging-steps 1";
    // Of whole responses, of every step with what comes after it, and of every step by itself.
    for (out, more) in [
        ("whole", ""),
        ("steps", "--advantage-estimator step_level --segment fixed:3"),
        ("own", "--advantage-estimator own_step --segment fixed:3"),
    ] {
        let ran = bench.run(&format!("{line} --output-dir {out} {more}")).succeeded();
        assert!(ran.stderr.contains("loading prm") && ran.stdout.contains("held-out reward "), "{}", ran.stderr);
        let log = bench.read(&format!("{out}/log.jsonl"));
        let rewards: Vec<f64> = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok().and_then(|row| row["reward"].as_f64()))
            .collect();
        // Probabilities of at most two steps.
        assert!(rewards.len() == 2 && rewards.iter().all(|reward| 0.0 < *reward && *reward < 2.0), "{rewards:?}");
    }
    // Steps end where those of the card do.
    let line = format!("{line} --output-dir no --advantage-estimator step_level");
    for (segment, got) in [("fixed:2", "got fixed:2"), (r"separator:\n", r"got separator:\n")] {
        bench.run(&format!("{line} --segment {segment}")).refused(&["`prm` end, by length 3", got, "change --segment"]);
    }
    let mut card = bench.json("prm/process.json");
    card["segmenter"] = json!({"delimiter": "\n"});
    bench.write("prm/process.json", card.to_string());
    bench.run(&format!("{line} --segment fixed:3")).refused(&[r#"by delimiter "\n", got fixed:3"#]);
    assert!(bench.files("no").is_empty());
    bench.run(&format!(r"{line} --segment separator:\n")).succeeded();
}

#[test]
fn a_policy_learns_from_refined_scores_of_steps_beside_success() {
    let bench = with_steps();
    train(&bench, "prm", "steps.jsonl", "prm", "").succeeded();
    cut_by(&bench, "prm", Some(3));
    bench.rows("sums.jsonl", (0..6).map(|n| json!({"prompt": format!("what is {n}?"), "answer": n.to_string()})));
    let line = |more: &str| {
        format!(
            "train grpo --model model --data sums.jsonl --held-out 2 --per-device-train-batch-size 4 \
             --gradient-accumulation-steps 1 --num-generations 4 --max-completion-length 6 --max-steps 2 \
             --logging-steps 1 {more}"
        )
    };
    let estimator = "--advantage-estimator step_level --segment fixed:3";
    for how in ["clip --step-eta 0.5", "delta", "clip-delta"] {
        let out = how.split(' ').next().unwrap_or_default();
        let options = format!("--output-dir {out} --reward arithmetic,prm --reward-weights 1,0.1 --step-rewards {how}");
        let ran = bench.run(&line(&format!("{options} {estimator}"))).succeeded();
        // Held-out responses are judged by their success: none, of a model that writes no numbers, or all.
        assert!(ran.stdout.contains("held-out reward "), "{}", ran.stdout);
        let log = bench.read(&format!("{out}/log.jsonl"));
        let rewards: Vec<f64> = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok().and_then(|row| row["reward"].as_f64()))
            .collect();
        // A tenth of what clipping takes from two steps, or of the first score, and at most 1 for success.
        assert!(rewards.len() == 2 && rewards.iter().all(|reward| (-0.2..=1.1).contains(reward)), "{rewards:?}");
        assert!(how != "delta" || rewards.iter().all(|reward| *reward >= 0.0), "{rewards:?}");
    }
    // Success and three times their progress at each of at most two steps: A sums to a number in [-1, 1].
    train(&bench, "pav", "steps.jsonl", "pav", "").succeeded();
    cut_by(&bench, "pav", Some(3));
    let own = "--advantage-estimator own_step --segment fixed:3";
    let progress = "--reward arithmetic,pav --reward-weights 1,3 --step-rewards progress";
    let ran = bench.run(&line(&format!("--output-dir progress {progress} {own}"))).succeeded();
    assert!(ran.stdout.contains("held-out reward "), "{}", ran.stdout);
    let log = bench.read("progress/log.jsonl");
    let rewards: Vec<f64> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok().and_then(|row| row["reward"].as_f64()))
        .collect();
    assert!(rewards.len() == 2 && rewards.iter().all(|reward| (-3.0..=5.0).contains(reward)), "{rewards:?}");
    assert!(rewards.iter().any(|reward| reward.fract() != 0.0), "{rewards:?}");
    let refined = |more: &str| line(&format!("--output-dir out {more}"));
    let both = "--reward arithmetic,prm";
    for (options, said) in [
        (format!("{both} --step-rewards clip --advantage-estimator step_level"), "say with --segment where they end"),
        (format!("{both} --step-rewards clip"), "step_rewards does nothing with grpo"),
        (format!("{both} --step-eta 0.5 {estimator}"), "step_eta is where --step-rewards clip cuts"),
        (format!("{both} --step-rewards delta --step-eta 0.5 {estimator}"), "step_eta belongs to step_rewards clip"),
        (format!("{both} --step-rewards clip --combine min {estimator}"), "which step_rewards keeps apart"),
        (
            format!("{both} --step-rewards clip --log-sigmoid-quantile 0.5 {estimator}"),
            "log_sigmoid_quantile make one reward of several",
        ),
        (
            format!("{both} --step-rewards clip {own}"),
            "which own_step leaves out; use --advantage-estimator step_level",
        ),
        (format!("{both} --step-rewards progress {estimator}"), "step_level adds up what later steps are paid"),
        (format!("{both} --step-rewards progress"), "step_rewards does nothing with grpo"),
        (format!("{both} --step-rewards progress --step-eta 0.5 {own}"), "step_eta does nothing with grpo"),
        (format!("{both} --step-rewards progress --reward-weights 1,-1 {own}"), "alpha must be finite and at least 0"),
        (
            format!("--reward arithmetic,implicit:model --step-rewards progress {own}"),
            "log-ratios are none; name a process model",
        ),
        (format!("--reward prm --step-rewards progress {own}"), "name a reward of it beside the process model"),
        (format!("--reward prm --step-rewards clip {estimator}"), "name a reward of it beside the process model"),
        (format!("--reward arithmetic --step-rewards clip {estimator}"), "reward names 0; name one"),
        (format!("--reward prm,arithmetic,prm --step-rewards clip {estimator}"), "reward names 2; name one"),
        (format!("{both} --reward-weights 1 --step-rewards clip {estimator}"), "1 numbers for 2 rewards"),
        (
            format!("{both} --step-rewards delta --advantage-estimator turn_level --gamma 0.9 --segment fixed:3"),
            "telescopes where gamma is 1, and it is 0.9",
        ),
    ] {
        bench.run(&refined(&options)).refused(&[said]);
    }
    assert!(bench.files("out").is_empty());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let bench = with_steps();
    for (method, data, rest, said) in [
        ("prm", "steps.jsonl", "--beta 0.2", "beta does nothing with prm"),
        ("prm", "steps.jsonl", "--prover 4", "prover does nothing with prm; leave it out, or use pav"),
        ("prm", "steps.jsonl", "--loss gpm", "loss does nothing with prm; leave it out, or use reward"),
        ("prm", "steps.jsonl", "--loss-type sigmoid", "loss_type does nothing with prm"),
        ("prm", "steps.jsonl", "--gamma 0.5", "gamma does nothing with prm"),
        ("prm", "steps.jsonl", "--label-smoothing 0.1", "label_smoothing does nothing with prm; leave it out"),
        ("orm", "pairs.jsonl", "--dpo-model model", "dpo_model does nothing with orm"),
        ("tvm", "pairs.jsonl", "--curriculum cyclical", "curriculum does nothing with tvm"),
        ("prm", "steps.jsonl", "--zeta 2", "zeta is the margin of step_loss ranking"),
        ("prm", "steps.jsonl", "--step-loss ranking --zeta nan", "zeta must be finite"),
        ("prm", "steps.jsonl", "--step-head words", "step_words are the two tokens"),
        ("prm", "steps.jsonl", "--step-head words --step-words + xyzzyq", "single tokens of this model"),
        ("prm", "steps.jsonl", "--reference model", "a process model has no reference"),
        ("prm", "steps.jsonl", "--boundary shared-prefix", "boundary does nothing with prm"),
        ("pav", "steps.jsonl", "--progress-weight -1", "alpha must be finite and at least 0"),
        ("pav", "steps.jsonl", "--step-loss ranking", "orders right and wrong steps"),
        ("tvm", "pairs.jsonl", "--step-loss temporal-difference", "and tvm has other labels; use orm"),
        ("orm", "pairs.jsonl", "--step-loss temporal-difference --outcome-at last", "outcome_at last has one"),
        (
            "orm",
            "pairs.jsonl",
            "--step-loss temporal-difference --zeta 1",
            "zeta does nothing with orm; leave it out, or use prm",
        ),
        ("orm", "right.jsonl", "", "all right"),
        ("tvm", "pairs.jsonl", "--min-samples 3", "the prompt of line 1 has 2 samples, and min_samples is 3"),
        ("dpo", "pairs.jsonl", "--form ce", "form does nothing with dpo; leave it out, or use implicit-prm"),
        ("implicit-prm", "pairs.jsonl", "--loss-type sigmoid", "with --form"),
        ("dpo+prm", "pairs.jsonl", "", "trains a process model"),
    ] {
        bench.rows("right.jsonl", (0..12).map(|n| json!({"prompt": format!("{n}"), "completion": "a", "label": true})));
        for command in ["train", "validate"] {
            let line = format!("{command} {method} --model model --data {data} --output-dir out {SHORT} {rest}");
            bench.run(&line).refused(&[said]);
            assert!(bench.files("out").is_empty(), "{line}");
        }
    }
    // A label outside of [0, 1] is refused where it stands.
    bench.rows("steps.jsonl", [json!({"prompt": "a", "completions": ["b"], "labels": [1.5]})]);
    train(&bench, "prm", "steps.jsonl", "out", "").refused(&["steps.jsonl", "labels"]);
    bench.run("score --process model --input rows.jsonl").refused(&["the process model `model`", "two classes"]);
    bench.run("score --process model --reference model --input rows.jsonl").refused(&["add --implicit"]);
    bench.run("score --model model --implicit --input rows.jsonl").refused(&["--process"]);
    for option in ["--beta 0.1", "--weights f16"] {
        let name = option.split(' ').next().unwrap_or_default().trim_start_matches('-');
        let line = format!("score --process model --input rows.jsonl {option}");
        bench.run(&line).refused(&[&format!("{name} belongs to log-ratios; with --process add --implicit")]);
        let line = format!("score --reward model --input rows.jsonl {option}");
        bench.run(&line).refused(&[&format!("{name} belongs to log-probabilities; drop it with --reward")]);
    }
    let implicit = "score --process model --implicit --input rows.jsonl";
    bench.run(&format!("{implicit} --aggregate middle")).refused(&["sum, mean, min, max, prod or last"]);
    for (row, said) in [
        (json!({"prompt": "a"}), "a row needs `prompt`"),
        (json!({"prompt": "a", "completions": ["b", ""]}), "a step must be"),
        (json!({"prompt": "a", "completion": ""}), "a response must not be empty"),
        (json!({"prompt": "what is", "completion": "the sum of ".repeat(200)}), "do not fit the context"),
    ] {
        bench.rows("rows.jsonl", [row]);
        bench.run(implicit).refused(&["rows.jsonl, row 1", said]);
    }
}
