//! Process verification by the binary: answers that are checked, and labels by a tiny model.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::Bench;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Three problems with a completion of two lines each.
fn with_problems() -> Bench {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}+{n}?"), "completion": format!("{n}+{n} is it.\nso {}", n + n), "answer": n + n});
    bench.rows("problems.jsonl", (1..4).map(row));
    bench
}

const LABEL: &str = "label --model model --input problems.jsonl --segment lines --max-new-tokens 6 --seed 3";

#[test]
fn an_answer_is_checked_alone_and_by_rows() {
    let bench = Bench::new();
    let ran = bench.run("check-answer --completion \\boxed{\\frac{2}{4}} --answer 0.5").succeeded();
    let checked = &lines(&ran.stdout)[0];
    assert_eq!((checked["verdict"].as_str(), checked["extracted"].as_str()), (Some("correct"), Some("\\frac{2}{4}")));
    let strict = bench.run("check-answer --completion \\frac{2}{4} --answer \\frac{1}{2} --preset prm800k").succeeded();
    assert_eq!(lines(&strict.stdout)[0]["why"], "form");
    bench.rows(
        "rows.jsonl",
        [
            json!({"id": 1, "solution": "so\n#### 12", "answer": 12}),
            json!({"id": 2, "solution": "I do not know", "answer": "12"}),
        ],
    );
    let ran = bench.run("check-answer --input rows.jsonl --columns completion=solution").succeeded();
    let rows = lines(&ran.stdout);
    assert_eq!((rows[0]["verdict"].as_str(), rows[1]["verdict"].as_str()), (Some("correct"), Some("no_answer")));
    assert_eq!(rows[1]["id"], 2);
    assert!(ran.stderr.contains("2 rows: 1 correct, 1 no_answer"), "{}", ran.stderr);
}

#[test]
fn answers_that_cannot_be_checked_are_refused_by_row() {
    let bench = Bench::new();
    bench.rows("rows.jsonl", [json!({"completion": "5", "answer": "5"}), json!({"completion": "5", "answer": ""})]);
    bench.run("check-answer --input rows.jsonl").refused(&["rows.jsonl, line 2", "must not be empty"]);
    bench.run("check-answer --input rows.jsonl --columns completions=x").refused(&["did you mean `completion`?"]);
    bench.run("check-answer --completion 5").refused(&["--answer"]);
    bench.run("check-answer --completion 5 --answer 5 --preset theirs").refused(&["theirs", "math_verify"]);
    bench.run("check-answer --completion 5 --answer x --answer-kind integer").refused(&["kind"]);
}

#[test]
fn labels_by_monte_carlo_are_whole_in_shards_and_after_a_kill() {
    let bench = with_problems();
    let method = format!("{LABEL} --method monte-carlo --rollouts 2 --after-error keep");
    let said = bench.run(&format!("{method} --output whole.jsonl")).succeeded().stderr;
    bench.run("label --merge whole.jsonl --output rows.jsonl").succeeded();
    let rows = lines(&bench.read("rows.jsonl"));
    assert_eq!(rows.len(), 3);
    // Two rollouts from the first step of each; a hard label misses where both are wrong.
    let right: u64 = rows.iter().filter_map(|row| row["correct"][0].as_u64()).sum();
    let share = right as f64 / 6.0;
    let missed = (1.0 - share) * (1.0 - share);
    assert!(
        said.contains(&format!("{share:.3} of 6 rollouts")) && said.contains(&format!("with {missed:.4}")),
        "{said}"
    );
    for (at, row) in rows.iter().enumerate() {
        let n = at + 1;
        assert_eq!(row["completions"], json!([format!("{n}+{n} is it.\n"), format!("so {}", n + n)]));
        // The last step is judged by its own outcome, which is right.
        assert_eq!((row["rollouts"].clone(), row["labels"][1].as_f64()), (json!([2, 1]), Some(1.0)));
        assert!(row["labels"][0].as_f64().is_some_and(|label| (0.0..=1.0).contains(&label)));
    }
    // What was written is data to train on.
    bench.run("convert rows.jsonl steps.jsonl --kind stepwise").succeeded();

    for shard in [2, 1] {
        bench.run(&format!("{method} --shard {shard}/2 --output part{shard}.jsonl")).succeeded();
    }
    bench.run("label --merge part2.jsonl part1.jsonl --output merged.jsonl").succeeded();
    assert_eq!(bench.read("merged.jsonl"), bench.read("rows.jsonl"));
    bench.run("label --merge part1.jsonl --output merged.jsonl").refused(&["item 1 is missing"]);
    let idle = "label --merge part2.jsonl part1.jsonl --output no.jsonl --rollouts 4";
    bench.run(idle).refused(&["rollouts does nothing with --merge, which puts finished rows together; leave it out"]);
    bench.run("label --merge part1.jsonl part1.jsonl --output merged.jsonl").refused(&["twice"]);

    // Cut within the last item: that item alone is done again.
    let whole = bench.read("whole.jsonl");
    bench.write("killed.jsonl", &whole[..whole.len() - 20]);
    bench.run(&format!("{method} --output killed.jsonl")).succeeded();
    bench.run("label --merge killed.jsonl --output again.jsonl").succeeded();
    assert_eq!(bench.read("again.jsonl"), bench.read("rows.jsonl"));
    let other = format!("{method} --output whole.jsonl").replace("--rollouts 2", "--rollouts 3");
    bench.run(&other).refused(&["was made with rollouts 2", "here it is 3"]);
    // The same name and as many rows, and another answer.
    let problems = bench.read("problems.jsonl");
    bench.write("problems.jsonl", problems.replace("\"answer\":2}", "\"answer\":3}"));
    bench.run(&format!("{method} --output whole.jsonl")).refused(&["was made with content"]);
    bench.write("problems.jsonl", &problems);
    bench.run(&format!("{method} --output problems.jsonl")).refused(&["no output of `ascribe label`"]);
    assert!(fs::metadata(bench.path("problems.jsonl")).is_ok_and(|file| file.len() > 0));
}

#[test]
fn falls_of_wrong_completions_are_said() {
    let bench = with_problems();
    let mut problems = lines(&bench.read("problems.jsonl"));
    // Two of three are wrong.
    problems[1]["answer"] = json!(99);
    problems[2]["answer"] = json!(98);
    bench.rows("problems.jsonl", problems);
    let method = format!("{LABEL} --method monte-carlo --rollouts 2 --after-error keep");
    let ran = bench.run(&format!("{method} --first-pit 0.4 --output work.jsonl")).succeeded();
    bench.run("label --merge work.jsonl --output rows.jsonl").succeeded();
    let rows = lines(&bench.read("rows.jsonl"));
    let mut found = 0;
    for (at, row) in rows.iter().enumerate() {
        // Of two steps, the outcome is behind the second; the first has a value above 0.4 if one rollout of two is right.
        let falls = at > 0 && row["correct"][0].as_u64().is_some_and(|right| right > 0);
        found += usize::from(falls);
        assert_eq!(row["first_pit"], if falls { json!(1) } else { Value::Null }, "{row}");
    }
    let said = format!("first pits: {found} of 2 new wrong completions fall from a value above 0.4 to 0");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    bench.run(&format!("{method} --output work.jsonl")).refused(&["was made with first_pit 0.4"]);
    bench.run(&format!("{method} --first-pit 1 --output no.jsonl")).refused(&["first_pit must be a value in [0, 1)"]);
    bench
        .run(&format!("{LABEL} --method sorm --first-pit 0.4 --output no.jsonl"))
        .refused(&["--first-pit", "leave it out"]);
}

#[test]
fn only_completions_on_which_a_judge_agrees_are_kept() {
    let bench = with_problems();
    let method = format!("{LABEL} --method monte-carlo --rollouts 2");
    bench.run(&format!("{method} --output plain.jsonl")).succeeded();
    bench.run("label --merge plain.jsonl --output rows.jsonl").succeeded();
    // The first step from which no rollout is right, or -1.
    let first = |row: &Value| {
        let correct = row["correct"].as_array().expect("counts");
        correct.iter().position(|count| *count == 0).map_or(-1, |step| step as i64)
    };
    let firsts: Vec<i64> = lines(&bench.read("rows.jsonl")).iter().map(first).collect();
    let problems = lines(&bench.read("problems.jsonl"));
    let judged = |at: usize, step: i64| {
        let mut row = problems[at].clone();
        row["judge"] = json!(step);
        row
    };
    // Of the second problem the judge says something else.
    bench.rows("problems.jsonl", [judged(0, firsts[0]), judged(1, firsts[1] + 1), judged(2, firsts[2])]);
    let line = format!("{method} --consensus --columns judged=judge");
    bench.run(&format!("{line} --output work.jsonl")).succeeded();
    let done = lines(&bench.read("work.jsonl"));
    let ended: Vec<Option<&str>> = done[1..].iter().map(|item| item["ended"].as_str()).collect();
    assert_eq!(ended, [Some("done"), Some("no consensus"), Some("done")]);
    bench.run("label --merge work.jsonl --output kept.jsonl").succeeded();
    assert_eq!(lines(&bench.read("kept.jsonl")).len(), 2);
    bench.run(&format!("{method} --consensus --output no.jsonl")).refused(&["`judged`"]);
    bench
        .run(&format!("{LABEL} --method sorm --consensus --output no.jsonl"))
        .refused(&["--consensus", "leave it out"]);
    bench.rows("problems.jsonl", [judged(0, -2)]);
    bench.run(&format!("{line} --output no.jsonl")).refused(&["line 1", "from 0, or -1, got -2"]);
}

#[test]
fn every_method_labels_and_keeps_to_its_caps() {
    let bench = with_problems();
    for (method, options) in [
        ("sorm", "--rollouts 2 --consistent"),
        ("omega", "--rollouts 2 --searches 2 --method-args alpha=0.6,c_puct=1"),
        ("omega", "--rollouts 2 --searches 2 --rows pairs --confirm --view math_only"),
        ("mcts", "--simulations 4 --children 2 --threshold 0 --method-args exploration=0.5,min_visits=1"),
        ("evolve", "--children 2 --labels hard --method-args max_nodes=9,back_up=\"half\""),
        ("evolve", "--children 2 --rows completions"),
        ("refine", "--rollouts 2"),
        ("self-correct", "--rollouts 2"),
        ("outcomes", "--rollouts 2"),
    ] {
        let line = format!("{LABEL} --method {method} {options} --max-policy-calls 9 --output labels.jsonl");
        let ran = bench.run(&line).succeeded();
        assert!(ran.stdout.contains("3 items in labels.jsonl"), "{}", ran.stdout);
        let done = lines(&bench.read("labels.jsonl"));
        assert_eq!(done.len(), 4, "{method}: a line for the run and one for each item");
        for item in &done[1..] {
            assert!(item["spent"]["policy_calls"].as_u64().is_some_and(|calls| calls <= 9), "{item}");
        }
        bench.run("label --merge labels.jsonl --output rows.jsonl").succeeded();
        fs::remove_file(bench.path("labels.jsonl")).expect("the labels");
    }
}

/// Six tokens of this model hold no such number, so the one path of each item ends wrong: no row for a policy.
#[test]
fn items_without_a_right_path_give_the_policy_no_rows() {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}+{n}?"), "answer": "987654321"});
    bench.rows("problems.jsonl", (1..3).map(row));
    let line = format!("{LABEL} --method evolve --rows completions --method-args max_depth=1 --output policy.jsonl");
    bench.run(&line).succeeded();
    let done = lines(&bench.read("policy.jsonl"));
    assert_eq!(done.len(), 3, "a line for the run and one for each item");
    for item in &done[1..] {
        assert_eq!(item["rows"], json!([]), "{item}");
        assert!(item["spent"]["policy_calls"].as_u64().is_some_and(|calls| calls > 1), "{item}");
    }
}

#[test]
fn attempts_with_their_outcomes_are_rows_to_learn_from() {
    let bench = with_problems();
    bench.run(&format!("{LABEL} --method outcomes --rollouts 4 --output work.jsonl")).succeeded();
    bench.run("label --merge work.jsonl --output rows.jsonl").succeeded();
    let rows = lines(&bench.read("rows.jsonl"));
    // The model has a chat template, so that it was asked in a message, and so are those who learn from the rows.
    assert_eq!(rows.len(), 12);
    assert_eq!(rows[0]["prompt"], json!([{"role": "user", "content": "what is 1+1?"}]));
    assert_eq!(rows[11]["prompt"][0]["content"], "what is 3+3?");
    assert!(rows.iter().all(|row| row["label"].is_boolean()));
    let written = |row: &&Value| row["completion"].as_str().is_some_and(|text| !text.trim().is_empty());
    for row in rows.iter().filter(written) {
        // Only what the checker calls right is right.
        bench.rows("one.jsonl", [json!({"completion": row["completion"], "answer": row["answer"]})]);
        let checked = bench.run("check-answer --input one.jsonl").succeeded();
        let right = lines(&checked.stdout)[0]["verdict"] == "correct";
        // And an attempt that was cut is wrong, whatever stands in it.
        assert!(right || row["label"] == false, "{row}");
    }
    assert_eq!((&rows[0]["answer"], &rows[11]["answer"]), (&json!(2), &json!(6)));
    bench.run("convert rows.jsonl unpaired.jsonl --kind unpaired").succeeded();
    let raw = format!("{LABEL} --raw --method outcomes --rollouts 1 --output raw.jsonl");
    bench.run(&raw).succeeded();
    bench.run("label --merge raw.jsonl --output rows.jsonl").succeeded();
    assert_eq!(lines(&bench.read("rows.jsonl"))[0]["prompt"], "what is 1+1?");
    bench.run(&format!("{LABEL} --method outcomes --rollouts 0 --output no.jsonl")).refused(&["at least 1"]);
    bench.run(&format!("{LABEL} --method outcomes --rows steps --output no.jsonl")).refused(&["--rows"]);
}

#[test]
fn labelling_runs_that_cannot_be_are_refused() {
    let bench = with_problems();
    bench.run("label --output out.jsonl").refused(&["--method"]);
    bench.run(&format!("{LABEL} --method monte-carlo --output out.jsonl --shard 3/2")).refused(&["i/n"]);
    bench.run(&format!("{LABEL} --method monte-carlo --output out.jsonl --rollouts 0")).refused(&["at least 1"]);
    bench.run(&format!("{LABEL} --method mcts --rows steps --output out.jsonl")).refused(&["--rows"]);
    bench
        .run(&format!("{LABEL} --method omega --view math_only --output out.jsonl"))
        .refused(&["view is what rows of pairs show; add --rows pairs"]);
    for (method, option) in [
        ("mcts", "--rollouts 2"),
        ("omega", "--consistent"),
        ("monte-carlo", "--threshold 0.5"),
        ("monte-carlo", "--view math_only"),
    ] {
        let name = option.split(' ').next().unwrap_or_default();
        bench.run(&format!("{LABEL} --method {method} {option} --output out.jsonl")).refused(&[name, "leave it out"]);
    }
    for (method, numbers, said) in [
        ("omega", "alpha=2", "alpha must be in (0, 1], got 2"),
        ("omega", "alpah=0.5", "unknown field `alpah`"),
        ("omega", "rollouts=4", "rollouts is no number of method_args"),
        ("mcts", "exploration=-1", "exploration must be finite and at least 0"),
        ("evolve", "bear_ratio=2", "bear_ratio must be in [0, 1]"),
        ("monte-carlo", "alpha=0.5", "--method-args is no option of this method"),
    ] {
        let line = format!("{LABEL} --method {method} --method-args {numbers} --output none.jsonl");
        bench.run(&line).refused(&[said]);
        assert!(!bench.path("none.jsonl").exists(), "{line}");
    }
    // A file of somebody else is kept, with a line break and without.
    for kept in ["{}", "{}\n", "mine"] {
        bench.write("mine.json", kept);
        bench.run(&format!("{LABEL} --method monte-carlo --output mine.json")).refused(&["mine.json"]);
        assert_eq!(bench.read("mine.json"), kept);
    }
    let words = LABEL.replace("--segment lines", "--segment words");
    bench.run(&format!("{words} --method monte-carlo --output out.jsonl")).refused(&["words", "paragraphs"]);
    bench.run(&format!("{LABEL} --method monte-carlo --temperature 0 --output out.jsonl")).refused(&["temperature"]);
    bench.rows("problems.jsonl", [json!({"prompt": "what?", "answer": "5", "completion": "five\n".repeat(9999)})]);
    bench
        .run(&format!("{LABEL} --method monte-carlo --output out.jsonl"))
        .refused(&["line 1", "do not fit the context"]);
    bench.rows("problems.jsonl", [json!({"prompt": "what?", "answer": "5"})]);
    bench.run(&format!("{LABEL} --method sorm --output out.jsonl")).refused(&["completion"]);
}
