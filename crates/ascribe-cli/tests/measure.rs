//! What measures: `metric`, `compare` and `eval`, with values by hand, and the published tables.

mod support;

use std::path::PathBuf;

use ascribe::eval::METRICS;
use serde_json::{Value, json};
use support::Bench;

/// Standard output of a run with `--json`.
#[track_caller]
fn measured(bench: &Bench, line: &str) -> Value {
    let ran = bench.run(&format!("{line} --json")).succeeded();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

/// The value of a measure.
#[track_caller]
fn value(found: &Value, name: &str) -> f64 {
    found["measures"][name]["value"].as_f64().unwrap_or_else(|| panic!("no `{name}` in {found}"))
}

#[track_caller]
fn check(found: &Value, name: &str, expected: f64) {
    let got = value(found, name);
    assert!((got - expected).abs() < 1e-6, "{name}: {got}, expected {expected}");
}

/// Chosen above rejected in rows 1 and 4, a tie in row 2.
const PAIRS: &str = "good,bad,id\n2,1,a\n1,1,a\n0,1,b\n5,-1,b\n";

#[test]
fn a_metric_reads_json_and_csv_by_column_names() {
    let bench = Bench::new();
    bench.write("pairs.csv", PAIRS);
    bench.rows(
        "scores.jsonl",
        [(0.9, true), (0.4, false), (0.6, false), (0.8, true)]
            .map(|(score, label)| json!({"score": score, "label": label})),
    );
    let line = "metric pair-accuracy --input pairs.csv --columns chosen=good,rejected=bad";
    let found = measured(&bench, line);
    check(&found, "pair-accuracy", 0.5);
    assert_eq!(found["measures"]["pair-accuracy"]["n"], 4);
    check(&measured(&bench, &format!("{line} --cluster id")), "pair-accuracy", 0.5);
    check(&measured(&bench, &line.replace("pair-accuracy", "pair-accuracy-half")), "pair-accuracy-half", 0.625);
    check(&measured(&bench, "metric auroc --input scores.jsonl"), "auroc", 1.0);
    let table = bench.run(line).succeeded().stdout;
    assert!(
        table.contains("0.5000") && table.contains("95 % interval") && table.contains("larger is better"),
        "{table}"
    );
}

/// Rows that test goals of three levels: 40 instructions, of which 30 are right, 30 values, of which 6 are, and one preference.
#[test]
fn a_metric_is_given_by_tag() {
    let bench = Bench::new();
    let row = |level: &str, correct: bool| json!({"level": level, "correct": correct});
    let instructions = (0..40).map(|at| row("instructions", at < 30));
    let values = (0..30).map(|at| row("values", at < 6));
    bench.rows("tagged.jsonl", instructions.chain(values).chain([row("preferences", true)]));
    let found = measured(&bench, "metric accuracy --input tagged.jsonl --by level");
    check(&found, "accuracy", 37.0 / 71.0);
    check(&found, "accuracy of level=instructions", 0.75);
    check(&found, "accuracy of level=values", 0.2);
    check(&found, "accuracy of level=preferences", 1.0);
    check(&found, "accuracy, mean over level", (0.75 + 0.2 + 1.0) / 3.0);
    assert_eq!(found["measures"]["accuracy of level=values"]["n"], 30);
    let notes = found["notes"].to_string();
    assert!(notes.contains("values has the lowest value (0.2000) and instructions the highest (0.7500)"), "{notes}");
    // A tag whose rows have no such metric is named, and the others are given.
    bench.write("one.csv", "score,label,level\n0.9,1,a\n0.1,0,a\n0.8,1,b\n");
    let found = measured(&bench, "metric auroc --input one.csv --by level");
    check(&found, "auroc of level=a", 1.0);
    assert!(found["measures"].get("auroc, mean over level").is_none(), "{found}");
    assert!(found["notes"].to_string().contains("auroc of level=b, 1 of 3 rows"), "{found}");
    bench.run("metric accuracy --input tagged.jsonl --by levl").refused(&["did you mean `level`?"]);
    bench.run("metric --list --by level").refused(&["--by"]);
}

/// What it takes to find the interval again: seed, resamples and method, and the method of every interval.
#[test]
fn the_settings_of_intervals_are_said() {
    let bench = Bench::new();
    bench.write("pairs.csv", PAIRS);
    let line = "metric pair-accuracy --input pairs.csv --columns chosen=good,rejected=bad";
    let found = measured(&bench, line);
    assert_eq!((&found["seed"], &found["resamples"]), (&json!(0), &json!(10_000)));
    assert_eq!(found["method"], "percentile bootstrap");
    assert_eq!(found["measures"]["pair-accuracy"]["method"], "percentile bootstrap");
    let found = measured(&bench, &format!("{line} --seed 7 --resamples 500"));
    assert_eq!((&found["seed"], &found["resamples"]), (&json!(7), &json!(500)));
    let found = measured(&bench, &format!("{line} --resamples 0"));
    assert_eq!((&found["method"], found["measures"]["pair-accuracy"].get("low")), (&json!("no bootstrap"), None));
    bench.write("right.csv", "correct\n1\n0\n1\n");
    let found = measured(&bench, "metric accuracy --input right.csv");
    assert_eq!(found["measures"]["accuracy"]["method"], "Wilson");
    bench.write("counts.csv", "samples,correct\n10,3\n10,4\n");
    let found = measured(&bench, "eval samples --input counts.csv --seed 3 --resamples 200");
    assert_eq!((&found["seed"], &found["resamples"]), (&json!(3), &json!(200)));
    assert_eq!(found["measures"]["pass@1"]["method"], "percentile bootstrap");
    assert!(bench.run(line).succeeded().stdout.contains("resamples 10000, seed 0, method percentile bootstrap"));
}

/// Two of three words: a precision of 1 and a recall of 2/3. A number is a text here.
#[test]
fn a_metric_reads_texts() {
    let bench = Bench::new();
    bench
        .rows("texts.jsonl", [json!({"gold": "the cat sat", "answer": "The cat!"}), json!({"gold": 7, "answer": "7"})]);
    let line = "metric rouge-1 --input texts.jsonl --columns target=gold,prediction=answer";
    check(&measured(&bench, line), "rouge-1", 0.9);
    bench.rows("texts.jsonl", [json!({"gold": null, "answer": "The cat!"})]);
    bench.run(line).refused(&["texts.jsonl, line 1", "`gold` must be a string or a number"]);
}

#[test]
fn the_list_has_every_metric() {
    let bench = Bench::new();
    let table = bench.run("metric --list").succeeded().stdout;
    let found: Value = serde_json::from_str(&bench.run("metric --list --json").succeeded().stdout).unwrap();
    let names: Vec<&str> = found.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, METRICS.iter().map(|metric| metric.name).collect::<Vec<_>>());
    assert!(names.iter().all(|name| table.contains(name)));
}

#[test]
fn what_a_metric_cannot_read_is_named() {
    let bench = Bench::new();
    bench.write("pairs.csv", PAIRS);
    bench.run("metric pair-acuracy --input pairs.csv").refused(&["`pair-acuracy`; did you mean `pair-accuracy`?"]);
    bench.run("metric pair-accuracy --input pairs.csv --columns chosn=good").refused(&["did you mean `chosen`?"]);
    bench.run("metric pair-accuracy --input pairs.csv --columns chosen").refused(&["column=column of the file"]);
    bench
        .run("metric pair-accuracy --input pairs.csv --columns chosen=goood")
        .refused(&["pairs.csv, line 2: column `goood` is missing", "did you mean `good`?"]);
    bench.run("metric pair-accuracy --input nowhere.csv").refused(&["nowhere.csv"]);
    bench.run("metric").refused(&["--input"]);
    bench.write("holes.csv", "chosen,rejected\n1,2\n,1\n");
    bench
        .run("metric pair-accuracy --input holes.csv")
        .refused(&["line 3: `chosen` must be a finite number, got none"]);
    bench.write("words.jsonl", "{\"score\":1,\"label\":1}\n\n{\"score\":\"high\",\"label\":0}\n");
    bench.run("metric auroc --input words.jsonl").refused(&["line 3: `score` must be a finite number, got \"high\""]);
    bench.write("labels.jsonl", "{\"score\":1,\"label\":1}\n{\"score\":2,\"label\":7}\n");
    bench.run("metric auroc --input labels.jsonl").refused(&["labels.jsonl, line 2: label must be 0 or 1, got 7"]);
    bench.write("empty.csv", "score,label\n");
    bench.run("metric auroc --input empty.csv").refused(&["holds no rows"]);
}

/// Writes two files of 0 and 1: the first alone right on `wins`, the second alone on `losses`, both on `ties`. The
/// second file stands in reverse order.
fn systems(bench: &Bench, wins: usize, losses: usize, ties: usize) {
    let kinds = [(wins, 1, 0), (losses, 0, 1), (ties, 1, 1)];
    let rows: Vec<(i32, i32)> =
        kinds.iter().flat_map(|&(count, one, other)| std::iter::repeat_n((one, other), count)).collect();
    let row = |id: usize, score: i32| json!({"id": id, "score": score, "prompt": id / 2});
    bench.rows("a.jsonl", rows.iter().enumerate().map(|(id, &(score, _))| row(id, score)));
    bench.rows("b.jsonl", rows.iter().enumerate().rev().map(|(id, &(_, score))| row(id, score)));
}

/// Six wins and two ties: 2/64 by McNemar. The differences have mean 3/4 and sum of squares about it 1.5, so the error
/// is sqrt(8/7 * 1.5)/8, and 1.959964 + 0.841621 errors could have been seen.
#[test]
fn a_better_system_is_called_so() {
    let bench = Bench::new();
    systems(&bench, 6, 0, 2);
    let found = measured(&bench, "compare a.jsonl b.jsonl --on score --key id");
    check(&found, "difference", 0.75);
    check(&found, "p", 0.03125);
    check(&found, "smallest detectable effect", 2.801_585 * (8.0_f64 / 7.0 * 1.5).sqrt() / 8.0);
    assert_eq!((&found["verdict"], &found["test"]), (&json!("the first is better"), &json!("exact McNemar")));
    let text = bench.run("compare a.jsonl b.jsonl --on score --key id").succeeded().stdout;
    assert!(
        text.contains("a.jsonl is better than b.jsonl: +0.7500") && text.contains("exact McNemar p = 0.031"),
        "{text}"
    );
    let found = measured(&bench, "compare a.jsonl b.jsonl --on score --key id --lower-is-better");
    assert_eq!(found["verdict"], "the second is better");
    // Clusters with sums 2, 2, 2 and 0: two of sixteen sign vectors reach 6, on either side.
    let found = measured(&bench, "compare a.jsonl b.jsonl --on score --key id --cluster prompt");
    check(&found, "p", 0.25);
    assert_eq!(found["test"], "exact sign-flip");
}

/// Nine wins and three losses: exact p of 0.1459960938.
#[test]
fn no_difference_is_said_in_words() {
    let bench = Bench::new();
    systems(&bench, 9, 3, 0);
    let found = measured(&bench, "compare a.jsonl b.jsonl --on score --key id");
    check(&found, "p", 0.145_996_093_8);
    assert_eq!(found["verdict"], "no difference shown");
    let text = bench.run("compare a.jsonl b.jsonl --on score --key id").succeeded().stdout;
    assert!(text.contains("No difference is shown between a.jsonl and b.jsonl: +0.5000"), "{text}");
    assert!(text.contains("larger on 9 records, smaller on 3, equal on 0"), "{text}");
    assert!(text.contains("would have been seen with a power of 80 %"), "{text}");
}

/// Differences 1, 2 and 3, paired by order: two of eight sign vectors are as extreme.
#[test]
fn scores_are_compared_by_sign_flips_or_ranks() {
    let bench = Bench::new();
    bench.write("a.csv", "loss\n2\n4\n6\n");
    bench.write("b.csv", "loss\n1\n2\n3\n");
    for (test, name) in [("auto", "exact sign-flip"), ("wilcoxon", "exact Wilcoxon")] {
        let found = measured(&bench, &format!("compare a.csv b.csv --on loss --test {test}"));
        check(&found, "p", 0.25);
        check(&found, "difference", 2.0);
        assert_eq!(found["test"], name);
    }
    bench.run("compare a.csv b.csv --on loss --test mcnemar").refused(&["0 and 1", "--test sign-flip"]);
}

/// Of 201 differences all are positive, so no draw is as extreme: p = 2/(1 + draws).
#[test]
fn a_test_of_many_records_says_that_it_drew_and_how_often() {
    let bench = Bench::new();
    let column = |shift: u32| (0..201).map(|row: u32| format!("{}\n", 2 * row + shift)).collect::<String>();
    bench.write("a.csv", format!("loss\n{}", column(1)));
    bench.write("b.csv", format!("loss\n{}", column(0)));
    for (test, name) in [("sign-flip", "sampled sign-flip"), ("wilcoxon", "sampled Wilcoxon")] {
        let found = measured(&bench, &format!("compare a.csv b.csv --on loss --test {test} --resamples 1999 --seed 5"));
        check(&found, "p", 0.001);
        assert_eq!((&found["test"], &found["draws"], &found["seed"]), (&json!(name), &json!(1999), &json!(5)));
        assert_eq!((&found["resamples"], &found["method"]), (&json!(1999), &json!("percentile bootstrap")));
    }
}

#[test]
fn unpaired_files_are_refused() {
    let bench = Bench::new();
    systems(&bench, 2, 1, 1);
    bench.rows("c.jsonl", [json!({"id": 0, "score": 1}), json!({"id": 9, "score": 1})]);
    bench.run("compare a.jsonl c.jsonl --on score").refused(&["4 rows", "2", "--key"]);
    bench.run("compare a.jsonl c.jsonl --on score --key id").refused(&["a.jsonl, line 2: id `1` is not in c.jsonl"]);
    bench.rows("d.jsonl", (0..5).map(|id| json!({"id": id, "score": 1})));
    bench.run("compare a.jsonl d.jsonl --on score --key id").refused(&["d.jsonl, line 5: id `4` is not in a.jsonl"]);
    bench.rows("e.jsonl", [json!({"id": 0, "score": 1}), json!({"id": 0, "score": 1})]);
    bench.run("compare e.jsonl a.jsonl --on score --key id").refused(&["e.jsonl, line 2", "line 1 already"]);
    bench.run("compare a.jsonl b.jsonl --on scor --key id").refused(&["did you mean `score`?"]);
}

/// Problem 1: 2 against 1 and 0. Problem 2: 1 against 1 and 0, a tie: rank 2, and 1.5 of two pairs.
#[test]
fn rewardmath_in_its_three_formats() {
    let bench = Bench::new();
    let sources = json!(["human_to_GPT-4", "x", ""]);
    bench.rows(
        "scores.jsonl",
        [[2.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
            .map(|score| json!({"problem": "?", "solution_reference": sources, "score": score})),
    );
    let found = measured(&bench, "eval rewardmath --input scores.jsonl --report report.html");
    check(&found, "accuracy", 0.5);
    check(&found, "accuracy, ties right", 1.0);
    check(&found, "MRR", 0.75);
    check(&found, "pair accuracy", 3.5 / 4.0);
    assert_eq!(found["measures"]["accuracy"]["count"], 1);
    assert!(bench.read("report.html").contains("<svg"));
    bench.run("eval rewardmath --input scores.jsonl --aggregate min").refused(&["leave out --aggregate"]);
    bench.run("eval rewardmath --input scores.jsonl --unparsed half").refused(&["these are scores", "leave it out"]);
    // Steps of the right solution .5 and .25: the smallest loses to .3, the mean .375 wins.
    bench.rows("steps.jsonl", [json!({"solution_reference": sources, "score": [[0.5, 0.25], [0.3], [0.1]]})]);
    check(&measured(&bench, "eval rewardmath --input steps.jsonl --aggregate min"), "accuracy", 0.0);
    check(&measured(&bench, "eval rewardmath --input steps.jsonl --aggregate mean"), "accuracy", 1.0);
    bench.run("eval rewardmath --input steps.jsonl").refused(&["steps.jsonl, line 1", "--aggregate"]);
    bench.run("eval rewardmath --input steps.jsonl --aggregate median").refused(&["median"]);
    bench.rows(
        "judge.jsonl",
        [json!(["A", "A"]), json!(["A", null])]
            .map(|score| json!({"solution_reference": ["x", "y"], "score": score, "chosen_position": ["A", "A"]})),
    );
    let found = measured(&bench, "eval rewardmath --input judge.jsonl");
    check(&found, "accuracy", 0.5);
    check(&found, "MRR", 0.75);
    check(&found, "pair accuracy", 0.75);
    assert_eq!(found["unparsed"], 1);
    bench.run("eval rewardmath --input judge.jsonl --unparsed refuse").refused(&["could not be read"]);
    let row = |id: u32, side: &str, steps: [f64; 2]| json!({"problem_id": id, "solution_type": side, "output": {"step_scores": steps}});
    bench.rows(
        "pairs.jsonl",
        [
            row(0, "rejected", [0.9, 0.2]),
            row(0, "chosen", [0.3, 0.3]),
            row(1, "chosen", [0.1, 0.9]),
            row(1, "rejected", [0.2, 0.8]),
        ],
    );
    check(&measured(&bench, "eval rewardmath --input pairs.jsonl --aggregate min"), "pair accuracy", 0.5);
    check(&measured(&bench, "eval rewardmath --input pairs.jsonl --aggregate last"), "pair accuracy", 1.0);
}

/// The folder of published tables; the test says so where there is none.
#[allow(clippy::print_stdout)]
fn published() -> Option<PathBuf> {
    let folder = std::env::var_os("ASCRIBE_SHARED_DATA");
    if folder.is_none() {
        println!("left out: ASCRIBE_SHARED_DATA is not set");
    }
    Some(PathBuf::from(folder?).join("rewardmath"))
}

#[test]
fn published_tables_by_one_command_each() {
    let Some(folder) = published() else { return };
    let bench = Bench::new();
    let table = |file: &str, options: &str| {
        let path = folder.join(format!("{file}.json.gz"));
        measured(&bench, &format!("eval rewardmath --resamples 0 --input {} {options}", path.display()))
    };
    let found = table("internlm2_reward", "");
    check(&found, "accuracy", 180.0 / 483.0);
    check(&found, "MRR", 0.551_713);
    let found = table("Eurus-RM_reward", "");
    check(&found, "accuracy", 82.0 / 483.0);
    check(&found, "MRR", 0.383_027);
    for (reduction, many, mrr, one) in [
        ("last", 88.0, 0.388_345, 294.0),
        ("min", 74.0, 0.346_686, 371.0),
        ("prod", 83.0, 0.346_792, 422.0),
        ("max", 19.0, 0.218_233, 307.0),
        ("geometric-mean", 76.0, 0.336_121, 364.0),
        ("mean", 73.0, 0.327_777, 363.0),
        ("mean-logit", 71.0, 0.319_227, 361.0),
        ("mean-odds", 45.0, 0.263_561, 351.0),
    ] {
        let options = format!("--aggregate {reduction}");
        let found = table("Math_Shepherd_reward", &options);
        check(&found, "accuracy", many / 483.0);
        check(&found, "MRR", mrr);
        check(&table("rewardbench_Math_Shepherd", &options), "pair accuracy", one / 447.0);
    }
    let found = table("gpt4_pairwise_reward", "");
    check(&found, "accuracy", 144.0 / 483.0);
    check(&found, "MRR", 0.519_168);
    check(&found, "pair accuracy", 3367.0 / 4347.0);
    assert_eq!(found["unparsed"], 35);
}

/// One right and one wrong code set of equal weight: a half.
#[test]
fn rewardbench_from_scores() {
    let bench = Bench::new();
    bench.write("rows.csv", "subset,scores_chosen,scores_rejected\nhep-cpp,2,1\nhep-go,1,1\n");
    let found = measured(&bench, "eval rewardbench --input rows.csv --allow-partial");
    check(&found, "Reasoning", 0.5);
    check(&found, "overall", 0.5);
    check(&found, "hep-cpp", 1.0);
    assert!(found["measures"].get("Chat").is_none(), "{found}");
    bench.run("eval rewardbench --input rows.csv").refused(&["alpacaeval-easy"]);
    bench
        .write("columns.json", json!({"model": "m", "subset": ["hep-cpp", "hep-go"], "results": [1, 0.5]}).to_string());
    check(&measured(&bench, "eval rewardbench --input columns.json --allow-partial"), "overall", 0.75);
}

/// Credits 1 and 1/2 in one subset; the Ties example has score 0.6486724965.
#[test]
fn rewardbench2_from_scores() {
    let bench = Bench::new();
    let ties = |id: &str, correct: usize, scores: &[f64]| json!({"subset": "Ties", "id": id, "num_correct": correct, "scores": scores});
    bench.rows(
        "rows.jsonl",
        [
            json!({"subset": "Math", "scores": [3, 1, 2, 0]}),
            json!({"subset": "Math", "scores": [3, 3, 2, 0]}),
            ties("ref:1", 1, &[2.0, 1.0, 0.5]),
            ties("ref:2", 1, &[1.0, 1.2, 0.0]),
            ties("tied:1", 3, &[3.0, 2.5, 2.4, 1.0, 0.2]),
            ties("tied:2", 2, &[1.0, 0.2, 0.1, -0.5]),
        ],
    );
    let found = measured(&bench, "eval rewardbench2 --input rows.jsonl");
    check(&found, "Math", 0.75);
    check(&found, "Ties", 0.648_672_496_5);
    check(&found, "overall", (0.75 + 0.648_672_496_5) / 2.0);
    // Two prompts of Math and two ids of Ties, drawn within their subsets.
    let overall = &found["measures"]["overall"];
    let of = |name: &str| overall[name].as_f64().unwrap();
    assert!(overall["n"] == 4 && of("low") < of("value") && of("value") < of("high"), "{overall}");
    let said = "Without Factuality, Precise IF, Safety, Focus: overall is the mean of the subsets that are there.";
    assert_eq!(found["notes"], json!([said]));
    let of = |subset: &str| json!({"subset": subset, "scores": [1, 0]});
    let five = ["Factuality", "Precise IF", "Math", "Safety", "Focus"].map(of);
    bench.rows(
        "all.jsonl",
        five.into_iter().chain([ties("ref:1", 1, &[1.0, 0.0]), ties("tied:1", 2, &[2.0, 1.0, 0.0])]),
    );
    assert_eq!(measured(&bench, "eval rewardbench2 --input all.jsonl").get("notes"), None);
    // One correct completion is what the other subsets are of.
    let math = |correct: u32| json!({"subset": "Math", "num_correct": correct, "scores": [3, 1, 2, 0]});
    bench.rows("rows.jsonl", [math(1), math(1)]);
    check(&measured(&bench, "eval rewardbench2 --input rows.jsonl"), "Math", 1.0);
    bench.rows("rows.jsonl", [math(1), math(2)]);
    bench.run("eval rewardbench2 --input rows.jsonl").refused(&["line 2", "`num_correct`", "1 outside of Ties, got 2"]);
    bench.rows("rows.jsonl", [ties("other", 1, &[1.0, 0.0])]);
    bench.run("eval rewardbench2 --input rows.jsonl").refused(&["line 1", "`id`", "tied:<number>"]);
}

/// Two of five errors and four of five correct solutions: 2 * .4 * .8/1.2.
#[test]
fn processbench_from_predictions_and_step_scores() {
    let bench = Bench::new();
    let rows = [(0, json!(0)), (1, json!(1)), (2, json!(-1)), (3, json!(null)), (4, json!(0))];
    let clean = [-1, -1, -1, -1, 2].map(|prediction| (-1, json!(prediction)));
    let all = rows.into_iter().chain(clean);
    bench.rows("rows.jsonl", all.map(|(label, prediction)| json!({"label": label, "prediction": prediction})));
    let found = measured(&bench, "eval processbench --input rows.jsonl");
    check(&found, "all, with an error", 0.4);
    check(&found, "all, correct", 0.8);
    check(&found, "all, F1", 0.533_333_333);
    // One of the five errors is in the first step; without step scores nothing says how many steps there are.
    check(&found, "all, with an error, always the first step", 0.2);
    assert!(found["measures"].get("all, F1 by chance").is_none(), "{found}");
    assert_eq!(found["unread"], 1);
    bench.rows(
        "steps.jsonl",
        [
            json!({"label": 1, "step_scores": [0.9, 0.2], "subset": "x"}),
            json!({"label": -1, "step_scores": [0.9, 0.5], "subset": "x"}),
        ],
    );
    let found = measured(&bench, "eval processbench --input steps.jsonl --threshold 0.5");
    check(&found, "x, F1", 1.0);
    // One of two steps or none: 1/3 with an error and without.
    check(&found, "x, F1 by chance", 1.0 / 3.0);
    check(&found, "x, with an error, always the first step", 0.0);
    bench.run("eval processbench --input steps.jsonl").refused(&["column `prediction` is missing"]);
    bench.rows("wrong.jsonl", [json!({"label": 2, "step_scores": [0.9, 0.2]})]);
    bench.run("eval processbench --input wrong.jsonl --threshold 0.5").refused(&["wrong.jsonl, line 1", "`label`"]);
}

/// On `gsm8k` 0.6 finds the error and keeps both right solutions, and no lower score does. By it the error of `math` is missed,
/// at 0.7, and its right solution is kept: F1 is 0 there.
#[test]
fn the_threshold_of_one_subset_is_that_of_all() {
    let bench = Bench::new();
    let row =
        |subset: &str, label: i64, scores: [f64; 2]| json!({"subset": subset, "label": label, "step_scores": scores});
    let rows = || {
        [
            row("gsm8k", 1, [0.9, 0.2]),
            row("gsm8k", -1, [0.8, 0.7]),
            row("gsm8k", -1, [0.6, 0.9]),
            row("math", 0, [0.7, 0.7]),
            row("math", -1, [0.9, 0.9]),
        ]
    };
    bench.rows("steps.jsonl", rows());
    let found = measured(&bench, "eval processbench --input steps.jsonl --threshold-on gsm8k");
    assert_eq!(found["threshold"], json!(0.6));
    check(&found, "gsm8k, F1", 1.0);
    check(&found, "math, with an error", 0.0);
    check(&found, "math, correct", 1.0);
    let other = measured(&bench, "eval processbench --input steps.jsonl --threshold-on math");
    assert_eq!(other["threshold"], json!(0.9));
    check(&other, "math, F1", 1.0);
    let run = |rest: &str| bench.run(&format!("eval processbench --input steps.jsonl {rest}"));
    run("--threshold-on omni").refused(&["none has the `subset` omni"]);
    run("--threshold-on math --threshold 0.5").refused(&["--threshold"]);
    bench.rows("steps.jsonl", rows().into_iter().skip(1));
    run("--threshold-on gsm8k").refused(&["subset `gsm8k`", "a threshold needs responses with an error"]);
}

/// Of three right steps two are found and one wrong step is called right: 4/6; the classes swapped: 2/4.
#[test]
fn prmbench_from_step_scores() {
    let bench = Bench::new();
    bench.rows(
        "rows.jsonl",
        [
            json!({"step_scores": [0.9, 0.2, 0.1], "error_steps": [3], "classification": "redundancy"}),
            json!({"step_scores": [0.8, 0.7], "error_steps": [2], "classification": "deception"}),
        ],
    );
    let found = measured(&bench, "eval prmbench --input rows.jsonl");
    check(&found, "F1 of right steps", 2.0 / 3.0);
    check(&found, "F1 of wrong steps", 0.5);
    check(&found, "score, all", 7.0 / 12.0);
    bench.rows("rows.jsonl", [json!({"step_scores": [0.9], "error_steps": [0]})]);
    bench.run("eval prmbench --input rows.jsonl").refused(&["line 1", "from 1 to 1, got 0"]);
}

/// Three of ten: .3 and 11/12. Votes: 3 has two of three, and is right once of twice.
#[test]
fn samples_and_votes() {
    let bench = Bench::new();
    bench.write("counts.csv", "samples,correct\n10,3\n");
    let found = measured(&bench, "eval samples --input counts.csv --k 1,5");
    check(&found, "pass@1", 0.3);
    check(&found, "pass@5", 11.0 / 12.0);
    bench.run("eval samples --input counts.csv --k 11").refused(&["line 2", "at most its 10 samples, got 11"]);
    bench.run("eval samples --input counts.csv --split-ties").refused(&["`answers`", "leave out --split-ties"]);
    bench.rows(
        "votes.jsonl",
        [json!({"answers": ["3", null, "3"], "answer": "3"}), json!({"answers": ["3", "4", "3"], "answer": 4})],
    );
    let found = measured(&bench, "eval samples --input votes.jsonl --k 3");
    check(&found, "maj@3", 0.5);
    check(&found, "pass@3", 1.0);
    // By pairs: the first sample is picked twice, the wrong one once.
    bench.rows("scored.jsonl", [json!({"correct": [1, 0, 1], "scores": [0.9, 0.5, 0.1]})]);
    let found = measured(&bench, "eval samples --input scored.jsonl --k 1,2,3");
    check(&found, "best@1", 2.0 / 3.0);
    check(&found, "best@2", 2.0 / 3.0);
    check(&found, "best@3", 1.0);
    bench.rows("short.jsonl", [json!({"correct": [1, 0], "scores": [0.9]})]);
    bench.run("eval samples --input short.jsonl --k 1").refused(&["line 1", "a score for each of 2 samples, got 1"]);
    bench.rows("counted.jsonl", [json!({"samples": 2, "correct": 1, "scores": [0.9, 0.1]})]);
    bench.run("eval samples --input counted.jsonl --k 1").refused(&["line 1", "`correct` must be a list"]);
}

/// Preferences 1, 2 and 1.5 are a loss, a win and a draw; null is none.
#[test]
fn stored_preferences_and_beliefs() {
    let bench = Bench::new();
    bench.rows(
        "rows.jsonl",
        [json!(1), json!(2), json!(1.5), json!(null)].map(|preference| json!({"preference": preference})),
    );
    let found = measured(&bench, "eval alpacaeval --input rows.jsonl");
    check(&found, "win rate", 0.5);
    assert_eq!((&found["wins"], &found["draws"], &found["without verdict"]), (&json!(1), &json!(1), &json!(1)));
    bench.rows("beliefs.jsonl", [json!({"p": 0.5, "correct": true}), json!({"p": 1.0, "correct": 0})]);
    let found = measured(&bench, "eval p-true --input beliefs.jsonl --report belief.html");
    check(&found, "Brier", 0.625);
    check(&found, "AUROC", 0.0);
    assert!(bench.read("belief.html").contains("Reliability"));
    bench.rows("rows.jsonl", [json!({"correct": true})]);
    bench.run("eval p-true --input rows.jsonl").refused(&["--model"]);
    bench.run("eval bose --input rows.jsonl").refused(&["--model"]);
}

/// A tiny model whose context holds the words of every protocol.
fn with_model() -> Bench {
    let bench = Bench::new();
    let mut config = bench.json("model/config.json");
    config["max_position_embeddings"] = json!(2048);
    bench.write("model/config.json", config.to_string());
    bench
}

/// The accuracy is that of the summed log-probabilities of `score`; a model that is its own reference ties everywhere.
#[test]
fn rewardbench_by_log_probabilities_and_by_a_classifier() {
    let bench = with_model();
    let rows: Vec<Value> = (0..6)
        .map(|n| json!({"subset": "hep-go", "prompt": format!("what is {n}?"), "chosen": "the sum", "rejected": format!("{n}")}))
        .collect();
    bench.rows("rows.jsonl", rows.clone());
    let logps = |side: &str| -> Vec<f64> {
        bench.rows("side.jsonl", rows.iter().map(|row| json!({"prompt": row["prompt"], "completion": row[side]})));
        let ran = bench.run("score --model model --input side.jsonl").succeeded();
        let row = |line: &str| serde_json::from_str::<Value>(line).unwrap()["logp_sum"].as_f64().unwrap();
        ran.stdout.lines().map(row).collect()
    };
    let right = logps("chosen").iter().zip(logps("rejected")).filter(|(chosen, rejected)| *chosen > rejected).count();
    let line = "eval rewardbench --input rows.jsonl --allow-partial --model model --raw";
    let found = measured(&bench, line);
    check(&found, "hep-go", right as f64 / 6.0);
    assert_eq!(found["by"], "log-probability");
    let found = measured(&bench, &format!("{line} --reference model"));
    check(&found, "hep-go", 0.0);
    assert_eq!(found["by"], "implicit reward");
    bench.copy_model("llama_seqcls", "judge");
    let found = measured(&bench, "eval rewardbench --input rows.jsonl --allow-partial --model judge --raw");
    assert_eq!((&found["by"], &found["measures"]["hep-go"]["n"]), (&json!("classifier"), &json!(6)));
    bench.run("eval bose --input rows.jsonl --model judge").refused(&["is a classifier"]);
    bench.run("eval rewardbench --input rows.jsonl --reference model").refused(&["--model"]);
}

/// The games of the library's example: a beats b 7 to 3 and c 6 to 4, b and c draw level.
#[test]
fn a_board_from_games() {
    let bench = Bench::new();
    let games = |a: &str, b: &str, won: usize, lost: usize| {
        let row = |winner: &str| json!({"model_a": a, "model_b": b, "winner": winner});
        [vec![row("model_a"); won], vec![row("model_b"); lost]].concat()
    };
    let rows = [games("a", "b", 7, 3), games("c", "a", 4, 6), games("b", "c", 5, 5)].concat();
    bench.rows("games.jsonl", rows);
    let found = measured(&bench, "eval arena --input games.jsonl --resamples 200");
    for (name, expected) in [("a", 1071.7744), ("b", 952.1586), ("c", 976.0670)] {
        assert!((value(&found, name) - expected).abs() < 1e-3, "{name}: {found}");
        assert_eq!(found["measures"][name]["n"], 20);
    }
    assert!(found["measures"]["a"]["low"].as_f64().unwrap() < 1071.0, "{found}");
    assert!(found["notes"][0].as_str().unwrap().starts_with("Ranks, shared where intervals overlap: a 1, "), "{found}");
    let anchored = measured(&bench, "eval arena --input games.jsonl --resamples 200 --anchor b");
    assert!((value(&anchored, "b") - 1000.0).abs() < 1e-6, "{anchored}");
    bench.run("eval arena --input games.jsonl --anchor d").refused(&["anchor `d` is none of the models"]);
    // Draws, and a model that only wins.
    bench.write("outcomes.csv", "model_a,model_b,outcome\na,b,0.5\na,b,1\nb,a,1\nc,a,1\n");
    bench.run("eval arena --input outcomes.csv").refused(&["`c` and back", "--ridge"]);
    let ridged = measured(&bench, "eval arena --input outcomes.csv --ridge 0.1 --resamples 0");
    assert!(value(&ridged, "c") > value(&ridged, "a") && ridged["draws"] == 1, "{ridged}");
    bench.write("outcomes.csv", "model_a,model_b,outcome\na,b,0.3\n");
    bench.run("eval arena --input outcomes.csv").refused(&["line 2", "`outcome`", "1, 0.5 or 0"]);
    bench.write("outcomes.csv", "model_a,model_b,outcome\na,a,1\n");
    bench.run("eval arena --input outcomes.csv").refused(&["line 2", "against itself"]);
    bench.rows("games.jsonl", [json!({"model_a": "a", "model_b": "b", "winner": "a"})]);
    bench.run("eval arena --input games.jsonl").refused(&["line 1", "`winner`", "tie (bothbad)"]);
}

/// The library's example of Fleiss' kappa as ratings, and that of Krippendorff's alpha with gaps.
#[test]
fn agreement_of_raters() {
    let bench = Bench::new();
    let items = [["a"; 3], ["a", "b", "b"], ["b"; 3], ["b", "c", "c"], ["c"; 3], ["a", "a", "b"]];
    bench.rows("items.jsonl", items.map(|ratings| json!({"ratings": ratings})));
    let found = measured(&bench, "eval agreement --input items.jsonl");
    check(&found, "Fleiss' kappa", 0.495_327_102_8);
    // Agreement 12/18: 1, 1/3, 1, 1/3, 1, 1/3 in the mean 2/3, against 1/3 by chance.
    check(&found, "Randolph's kappa", 0.5);
    bench.run("eval agreement --input items.jsonl --scale ordinal").refused(&["nominal", "leave out --scale"]);
    let rows: [[Option<u32>; 10]; 3] = [
        [Some(1), Some(2), Some(3), Some(3), Some(2), Some(1), Some(4), Some(1), Some(2), None],
        [Some(1), Some(2), Some(3), Some(3), Some(2), Some(2), Some(4), Some(1), Some(2), Some(5)],
        [None, Some(3), Some(3), Some(3), Some(2), Some(3), Some(4), Some(2), Some(2), Some(5)],
    ];
    bench.rows("gaps.jsonl", (0..10).map(|item| json!({"ratings": rows.map(|row| row[item])})));
    for (scale, expected) in [
        ("nominal", 0.675_257_732),
        ("ordinal", 0.804_860_524_1),
        ("interval", 0.862_104_187_9),
        ("ratio", 0.744_556_681_2),
    ] {
        let found = measured(&bench, &format!("eval agreement --input gaps.jsonl --scale {scale}"));
        check(&found, "Krippendorff's alpha", expected);
        assert!(found["measures"].get("Fleiss' kappa").is_none(), "{found}");
    }
    // Every rating a number of its own: both the observed and the expected disagreement are all there can be. A table of 3200 items
    // and 6400 categories is not made.
    bench.rows("items.jsonl", (0..3200).map(|item| json!({"ratings": [2 * item, 2 * item + 1]})));
    let found = measured(&bench, "eval agreement --input items.jsonl --resamples 0");
    check(&found, "Krippendorff's alpha", 0.0);
    let said = "No kappas: a table of 3200 items and 6400 categories is above 10000000 cells; round the ratings, or take \
                --scale interval.";
    assert!(found["notes"] == json!([said]) && found["measures"].get("Fleiss' kappa").is_none(), "{found}");
    // Both zeros are one category: all ratings of an item agree, and there are two categories.
    bench.write("items.jsonl", "{\"ratings\": [0.0, -0.0]}\n{\"ratings\": [1, 1]}\n");
    check(&measured(&bench, "eval agreement --input items.jsonl"), "Fleiss' kappa", 1.0);
    bench.rows("items.jsonl", [json!({"ratings": [1, [2]]})]);
    bench.run("eval agreement --input items.jsonl").refused(&["line 1", "`ratings`", "got a list"]);
}

/// Five problems: two stay right, one breaks, one is mended, one stays wrong.
#[test]
fn self_correction_from_two_attempts() {
    let bench = Bench::new();
    bench.write("rows.csv", "first,second,edited\n1,1,0\n1,1,0\n1,0,1\n0,1,1\n0,0,1\n");
    let found = measured(&bench, "eval correction --input rows.csv");
    for (name, expected) in [
        ("right at first", 0.6),
        ("right afterwards", 0.6),
        ("change", 0.0),
        ("mended", 0.2),
        ("broken", 0.2),
        ("mended of the wrong", 0.5),
        ("broken of the right", 1.0 / 3.0),
        ("edited", 0.6),
        ("McNemar's p", 1.0),
    ] {
        check(&found, name, expected);
    }
    bench.write("rows.csv", "first,second\n1,1\n1,2\n");
    bench.run("eval correction --input rows.csv").refused(&["line 3", "`second`"]);
}

/// Only the richer style wins in chat; everything is right in math.
#[test]
fn rmbench_from_scores() {
    let bench = Bench::new();
    let row =
        |domain: &str, chosen: [u32; 3]| json!({"domain": domain, "score_chosen": chosen, "score_rejected": [0, 1, 2]});
    bench.rows("rows.jsonl", [row("chat", [0, 1, 2]), row("math", [9, 9, 9])]);
    let found = measured(&bench, "eval rmbench --input rows.jsonl");
    for (name, expected) in
        [("hard", 0.5), ("normal", 0.5), ("easy", 1.0), ("total", 2.0 / 3.0), ("chat", 1.0 / 3.0), ("math", 1.0)]
    {
        check(&found, name, expected);
    }
    bench.rows("rows.jsonl", [json!({"domain": "chat", "score_chosen": [1, 2], "score_rejected": [0, 1, 2]})]);
    bench.run("eval rmbench --input rows.jsonl").refused(&["line 1", "`score_chosen`", "three scores"]);
}

/// The judge gives 4, 3 and no mark where the teacher gives 5, 3 and 0, and the second one 5, 2 and 1: errors 1 and 0, bias
/// -1/2. One mark for all, 4, is off by 1.
#[test]
fn marks_of_a_judge_beside_teachers() {
    let bench = Bench::new();
    let rows = |second: [u32; 3]| {
        let reply = ["Well.\nScore: 4/5", "Score: 3/5", "I would give 0."];
        let row = |at: usize| {
            let mark = [5, 3, 0][at];
            json!({"reply": reply[at], "mark": mark, "second_mark": second[at], "peer_mark": 5})
        };
        [0, 1, 2].map(row)
    };
    bench.rows("rows.jsonl", rows([5, 2, 1]));
    let found = measured(&bench, "eval grade --input rows.jsonl --max-mark 5");
    assert_eq!((&found["without a mark"], &found["measures"]["bias"]["n"]), (&json!(1), &json!(2)));
    for (name, expected) in [
        ("mean absolute error", 0.5),
        ("mean squared error", 0.5),
        ("bias", -0.5),
        ("the same mark", 0.5),
        ("at most 1 apart", 1.0),
        ("mean absolute error, peers", 1.0),
        ("mean absolute error, one mark for all", 1.0),
    ] {
        check(&found, name, expected);
    }
    // Teachers 5, 3 and 5, 2: sum w O = 1, sum w E = (0 + 9 + 4 + 1)/2. Judge 4, 3 and 5, 3: 1 and (1 + 1 + 4 + 0)/2.
    check(&found, "quadratic kappa, teachers", 1.0 - 1.0 / 7.0);
    check(&found, "quadratic kappa", 1.0 - 1.0 / 3.0);
    // Teachers who turn each other around.
    bench.rows("rows.jsonl", rows([3, 5, 1]));
    let found = measured(&bench, "eval grade --input rows.jsonl --max-mark 5");
    assert!(found["measures"].get("mean absolute error").is_none(), "{found}");
    assert!(found["notes"][0].as_str().unwrap().contains("below 0.4"), "{found}");
    bench.run("eval grade --input rows.jsonl --max-mark 4").refused(&["line 1", "`mark`", "from 0 to 4, got 5"]);
    bench.run("eval grade --input rows.jsonl --max-mark 0").refused(&["max_mark", "above 0"]);
    let ran = bench.run("eval grade --input rows.jsonl --max-mark 5 --own-rubric");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    bench.rows("rows.jsonl", [json!({"mark": 1, "answer": "4"})]);
    bench.run("eval grade --input rows.jsonl --max-mark 5").refused(&["--model", "`reply`"]);
}

/// A tiny model reads every prompt and writes no mark.
#[test]
fn a_judge_is_asked_for_marks() {
    let bench = with_model();
    let row = |answer: &str| json!({"question": "2+2?", "reference": "4", "answer": answer, "mark": 1});
    bench.rows("rows.jsonl", [row("4"), row("5")]);
    bench.rows("shown.jsonl", [json!({"answer": "four", "reasons": "It is right.", "mark": 2})]);
    let line = "eval grade --input rows.jsonl --max-mark 2 --model model --max-new-tokens 4";
    for more in ["", "--own-rubric", "--gradings shown.jsonl"] {
        bench.run(&format!("{line} {more}")).refused(&["no reply ends with `Score: <mark>/2`"]);
    }
    bench.rows("shown.jsonl", [json!({"answer": "four", "reasons": "It is right.", "mark": 3})]);
    bench.run(&format!("{line} --gradings shown.jsonl")).refused(&["shown.jsonl, line 1", "from 0 to 2, got 3"]);
    bench.rows(
        "rows.jsonl",
        [json!({"question": "2+2?", "reference": "4", "answer": "4", "mark": 1, "rubric": "2: the sum"})],
    );
    bench.run(line).refused(&["no reply ends with"]);
    bench.run(&format!("{line} --own-rubric")).refused(&["`rubric`", "own_rubric does nothing"]);
}

/// Equal answers: whatever the letters are worth, both orders cancel. Equal choices share the credit.
#[test]
fn a_model_is_asked() {
    let bench = with_model();
    bench.rows(
        "pairs.jsonl",
        (0..3).map(|n| json!({"instruction": format!("say {n}"), "output_1": "yes", "output_2": "yes"})),
    );
    let found = measured(&bench, "eval alpacaeval --input pairs.jsonl --model model");
    check(&found, "win rate", 0.5);
    check(&found, "inconsistent over orders", 1.0);
    assert!([0.0, 1.0].contains(&value(&found, "verdicts for the first place")), "{found}");
    bench.rows(
        "choices.jsonl",
        [json!({"question": "two and two is ____ today", "choices": ["four", "four"], "answer": 0})],
    );
    for options in ["", "--following"] {
        let found = measured(&bench, &format!("eval bose --input choices.jsonl --model model {options}"));
        check(&found, "accuracy", 0.5);
    }
    for option in ["--examples choices.jsonl", "--instruction answer", "--max-new-tokens 4"] {
        let name = option.split(' ').next().unwrap();
        let ran = bench.run(&format!("eval bose --input choices.jsonl --model model {option}"));
        ran.refused(&[name, "with choices; leave it out"]);
    }
    bench.rows("choices.jsonl", [json!({"question": "no blank", "choices": ["a"], "answer": 0})]);
    bench.run("eval bose --input choices.jsonl --model model").refused(&["choices.jsonl, line 1", "____"]);
    bench.rows("open.jsonl", [json!({"question": "2+2?", "answer": "no model says this"})]);
    check(&measured(&bench, "eval bose --input open.jsonl --model model --max-new-tokens 4"), "accuracy", 0.0);
    let ran = bench.run("eval bose --input open.jsonl --model model --following");
    ran.refused(&["--following", "without choices; leave it out"]);
    bench.rows(
        "answers.jsonl",
        [true, false].map(|correct| json!({"question": "2+2?", "answer": "4", "correct": correct})),
    );
    let found = measured(&bench, "eval p-true --input answers.jsonl --model model");
    let (p, gap) = (value(&found, "mean P(True)"), value(&found, "gap between orders"));
    assert!(0.0 < p && p < 1.0 && (0.0..=1.0).contains(&gap), "{found}");
    check(&found, "AUROC", 0.5);
    check(&found, "share right", 0.5);
}
