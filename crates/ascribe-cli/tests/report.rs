//! `ascribe report`: what it makes of training folders, of results and of searches, and what it refuses.

mod support;

use serde_json::json;
use support::Bench;

/// A run of three steps that was killed while it wrote the fourth, with held-out rows after the second.
fn run(bench: &Bench, name: &str) {
    std::fs::create_dir_all(bench.path(name)).expect("a folder");
    let lines = [
        json!({"step": 1, "epoch": 0.25, "loss": 0.69, "rewards/margins": 0.0, "num_tokens": 100, "seconds": 1.0}),
        json!({"step": 2, "epoch": 0.5, "loss": null, "rewards/margins": 0.1, "num_tokens": 200, "seconds": 2.0}),
        json!({"step": 2, "epoch": 0.5, "eval_loss": 0.66, "num_tokens": 200, "seconds": 2.5}),
        json!({"step": 3, "epoch": 0.75, "loss": 0.6, "rewards/margins": 0.2, "num_tokens": 300, "seconds": 3.0}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    bench.write(&format!("{name}/log.jsonl"), text + "{\"step\": 4, \"lo");
    let summary = json!({
        "eval_loss": 0.66,
        "reward_accuracy": {
            "value": 0.75,
            "interval": {"low": 0.3, "high": 0.95, "level": 0.95, "method": "Wilson"},
            "n": 4,
        },
        "best_checkpoint": 2,
    });
    bench.write(&format!("{name}/summary.json"), summary.to_string());
}

/// Runs a line with `--json` and keeps what it prints.
fn keep(bench: &Bench, line: &str, file: &str) {
    bench.write(file, bench.run(&format!("{line} --json")).succeeded().stdout);
}

#[test]
fn a_report_shows_runs_and_results() {
    let bench = Bench::new();
    run(&bench, "out");
    bench.write("p.csv", "p,label\n0.9,1\n0.2,0\n0.6,1\n0.4,0\n");
    keep(&bench, "metric ece --input p.csv", "ece.json");
    bench.write("q.csv", "label\n1\n1\n0\n0\n");
    keep(&bench, "compare p.csv q.csv --on label", "compare.json");
    let rows = [([0.9, 0.2, 0.1], [3]), ([0.8, 0.7, 0.6], [2])];
    bench.rows("prm.jsonl", rows.map(|(scores, wrong)| json!({"step_scores": scores, "error_steps": wrong})));
    keep(&bench, "eval prmbench --input prm.jsonl", "prm.json");
    // Results that were appended to one file stand one after another.
    bench.write("both.json", bench.read("compare.json") + &bench.read("prm.json"));
    let ran = bench.run("report out ece.json both.json --out all.html").succeeded();
    assert!(ran.stdout.contains("report: all.html"), "{}", ran.stdout);
    let html = bench.read("all.html");
    for part in [
        "out: 1 line of the log could not be read.",
        "Held-out rows, at the end.",
        "reward_accuracy on held-out rows, with its interval.",
        "The dashed line stands at 0.5.",
        "loss, by optimizer step. A ring marks the best checkpoint.",
        "1 point not finite: the line has a gap there.",
        "rewards/margins, by optimizer step.",
        "ece: ece.json",
        "Reliability over bins of equal width, with 95 % intervals.",
        "compare: both.json",
        "Records by both systems.",
        "prmbench: both.json",
        "Verdicts on steps, all classes together.",
        // Of two wrong steps one is called so.
        "<td class=\"right p\" style=\"--w:0.50\">1<span class=\"share\">50.0 %</span></td>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("seconds, by optimizer step"));
}

/// What a result draws from JSON is what `--report` draws.
#[test]
fn json_and_report_hold_the_same_figures() {
    let bench = Bench::new();
    bench.rows("p.jsonl", [(0.9, 1), (0.2, 0), (0.6, 1), (0.4, 1)].map(|(p, right)| json!({"p": p, "correct": right})));
    bench.write("p.json", bench.run("eval p-true --input p.jsonl --report direct.html --json").succeeded().stdout);
    bench.run("report p.json --out later.html").succeeded();
    let figures = |file: &str| -> Vec<String> {
        let html = bench.read(file);
        html.split("<figure ")
            .skip(1)
            .map(|rest| rest.split("</figure>").next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(figures("later.html"), figures("direct.html"));
    assert_eq!(figures("later.html").len(), 2);
}

#[test]
fn a_report_shows_searches_and_their_trees() {
    let bench = Bench::new();
    bench
        .rows("prompts.jsonl", (0..10).map(|n| json!({"id": n, "prompt": format!("what is {n}+1?"), "answer": n + 1})));
    let search = "search --model model --input prompts.jsonl --segment length:3 --max-new-tokens 6";
    bench.run(&format!("{search} --strategy greedy --output greedy.jsonl")).succeeded();
    let best = format!("{search} --strategy best-of-n --scorer length --output best-");
    for n in [2, 3] {
        bench.run(&format!("{best}{n}.jsonl --strategy-args n={n} --tree")).succeeded();
    }
    bench.run("report greedy.jsonl best-2.jsonl best-3.jsonl --out all.html").succeeded();
    let html = bench.read("all.html");
    for part in [
        "<h2>Searches</h2>",
        "Accuracy against sampled tokens, with 95 % intervals (Wilson).",
        "<h2>Search trees: best-2.jsonl</h2>",
        "<h2>Search trees: best-3.jsonl</h2>",
        "best-of-n from row 7: 3 texts of ",
        "2 more trees stand in the file.",
        "<details open><summary><span class=\"said\">what is 0+1?</span>",
        "<b>chosen</b>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("Search trees: greedy.jsonl") && !html.contains("do not hold the same"));
    // Eight trees of each of two files; of n samples one is chosen.
    assert_eq!(html.matches("<div class=\"tree\"").count(), 16);
    assert_eq!(html.matches("<b>chosen</b>").count(), 16);
    // A group for each strategy, a point for each run: the values below the figure.
    assert_eq!(html.matches(">best-of-n</th><td>n=").count(), 2);

    // What was found in one file alone has rows that the others lack.
    bench.write(
        "part.jsonl",
        bench.read("best-2.jsonl").lines().take(3).map(|line| format!("{line}\n")).collect::<String>(),
    );
    bench.run("report greedy.jsonl part.jsonl --out part.html").succeeded();
    assert!(bench.read("part.html").contains("The files do not hold the same checked rows"));
}

/// d (1.5 - 0.3 d) is highest at 2.5, with 1.875; the front of four points has a hypervolume of 6.
#[test]
fn figures_that_were_written_by_hand_are_drawn() {
    let bench = Bench::new();
    let gold: Vec<[f64; 2]> = [0.0, 0.5, 1.0, 2.0, 4.0].map(|d| [d, d * (1.5 - 0.3 * d)]).to_vec();
    let point = |name: &str, x: f64, y: f64| json!({"name": name, "x": x, "y": y});
    let curves = json!({
        "kind": "over-optimization", "caption": "Gold against distance.", "x": "sqrt(KL)", "y": "reward",
        "form": "best-of-n", "curves": [{"name": "gold", "points": gold}],
    });
    let front = json!({
        "kind": "pareto", "caption": "Two goals.", "x": "helpful", "y": "harmless", "reference": [0, 0],
        "points": [point("a", 1.0, 3.0), point("b", 3.0, 1.0), point("c", 2.0, 2.0), point("d", 1.0, 1.0)],
    });
    let credit = json!({
        "kind": "credit", "caption": "Credit by token.",
        "rows": [{"label": "T-REG", "tokens": [["3+5", 0.2], [" = ", 0.0], ["9", -0.4]], "planted": [2, 3]}],
    });
    let result =
        |figures: &[&serde_json::Value]| json!({"name": "mine", "measures": {}, "figures": figures}).to_string();
    bench.write("mine.json", result(&[&curves, &front, &credit]));
    bench.run("report mine.json --out mine.html").succeeded();
    let html = bench.read("mine.html");
    for part in [
        "gold: d (1.5 \u{2212} 0.3 d) over 4 points, ",
        "; its peak is 1.875 at 2.5.",
        "3 of 4 points on the front. Hypervolume above the reference (0, 0): 6.",
        "<p class=\"label\">T-REG</p>",
        "planted first wrong step",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("What was measured."));
    let mut short = curves.clone();
    short["curves"][0]["points"] = json!([[0, 0], [1, 1], [2, 1]]);
    bench.write("short.json", result(&[&short]));
    bench.run("report short.json").refused(&["the curve `gold`", "at least 3; measure more", "got 2"]);
    bench.write("other.json", result(&[&json!({"kind": "pie", "caption": "c"})]));
    bench.run("report other.json").refused(&["`other.json` is no result", "figures"]);
}

#[test]
fn what_is_no_result_is_refused() {
    let bench = Bench::new();
    run(&bench, "out");
    bench.run("report").refused(&["<PATHS>"]);
    bench.run("report nowhere.json").refused(&["nowhere.json"]);
    bench.run("report model").refused(&["`model` holds no log.jsonl", "ascribe train"]);
    bench.run("report out/log.jsonl").refused(&["has no `name` and `measures`", "named by its folder"]);
    bench.write("list.json", "[1]");
    bench.run("report list.json").refused(&["`list.json` is no result"]);
    bench.write("empty.json", "\n");
    bench.run("report empty.json").refused(&["`empty.json` is empty"]);
    bench.write("broken.json", json!({"name": "x", "measures": {"a": {"low": 1}}}).to_string());
    bench.run("report broken.json").refused(&["measure `a`", "value"]);
}
