//! `ascribe route`: pairs for a person, from what mixes of labels were worth.

mod support;

use serde_json::{Value, json};
use support::Bench;

/// Six pairs of two kinds.
fn pairs(bench: &Bench) {
    let row = |n: usize| json!({"id": n, "features": {"long": n % 2, "safety": n.is_multiple_of(2)}});
    bench.rows("pairs.jsonl", (0..6).map(row));
}

#[test]
fn pairs_are_routed_by_what_mixes_were_worth() {
    let bench = Bench::new();
    pairs(&bench);
    let lines = |rest: &str| -> Vec<Value> {
        let ran = bench.run(&format!("route --input pairs.jsonl {rest}")).succeeded();
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    // Mixes to try, and their scores in a world where a label of a long pair is worth 2, and one of a safe pair costs 1.
    let mixes = lines("--draw-mixes 40");
    assert_eq!((mixes.len(), lines("--draw-mixes 40 --seed 1") == mixes), (40, false));
    let scored = mixes.iter().map(|mix| {
        let human: Vec<usize> = serde_json::from_value(mix["human"].clone()).expect("numbers");
        let score: f64 = human.iter().map(|pair| if pair % 2 == 1 { 2.0 } else { -1.0 }).sum();
        json!({"human": human, "score": 5.0 + score})
    });
    bench.rows("mixes.jsonl", scored.collect::<Vec<_>>());
    for rest in ["--ridge 0", "--draws 500", "--form quadratic --ridge 1e-6"] {
        let routed = lines(&format!("--mixes mixes.jsonl --budget 2 {rest}"));
        let human: Vec<u64> =
            routed.iter().filter(|row| row["human"] == true).filter_map(|row| row["id"].as_u64()).collect();
        assert!(human.len() == 2 && human.iter().all(|id| id % 2 == 1), "{rest}: {routed:?}");
        let gains: Vec<f64> = routed.iter().filter_map(|row| row["gain"].as_f64()).collect();
        assert!(gains[1] > gains[0] && gains.len() == 6, "{gains:?}");
    }
    let plain = lines("--mixes mixes.jsonl --budget 2 --ridge 0");
    for (at, row) in plain.iter().enumerate() {
        let gain = row["gain"].as_f64().expect("a number");
        assert!((gain - if at % 2 == 1 { 2.0 } else { -1.0 }).abs() < 1e-6, "{row}");
    }
    let ran = bench.run("route --input pairs.jsonl --mixes mixes.jsonl --budget 2 --ridge 0").succeeded();
    // 5 with none, 5 + 2 * 2 with two long ones, 5 + 3 * 2 - 3 with all.
    assert!(ran.stderr.contains("9.0000 with 2 of 6") && ran.stderr.contains("5.0000 with none"), "{}", ran.stderr);
    assert!(ran.stderr.contains("8.0000 with all"), "{}", ran.stderr);
    assert!(lines("--mixes mixes.jsonl --budget 0").iter().all(|row| row["human"] == false));
    assert!(lines("--mixes mixes.jsonl --budget 6").iter().all(|row| row["human"] == true));
}

#[test]
fn what_does_not_fit_is_refused() {
    let bench = Bench::new();
    pairs(&bench);
    bench.rows("mixes.jsonl", [json!({"human": [], "score": 1}), json!({"human": [0], "score": 2})]);
    bench.rows("odd.jsonl", [json!({"human": [9], "score": 1})]);
    bench.rows("half.jsonl", [json!({"human": [1]})]);
    bench.rows("other.jsonl", [json!({"features": {"a": 1}}), json!({"features": {"b": 1}})]);
    bench.rows("none.jsonl", [json!({"prompt": "a"})]);
    bench.rows("asked.jsonl", ["a", "b"].map(|prompt| json!({"prompt": prompt, "features": [1]})));
    bench.rows("seen.jsonl", ["c", "b"].map(|prompt| json!({"prompt": prompt, "chosen": "x", "rejected": "y"})));
    bench.rows("unseen.jsonl", [json!({"prompt": "c"})]);
    for (rest, said) in [
        ("--input pairs.jsonl", "name what was tried with --mixes"),
        ("--input pairs.jsonl --mixes mixes.jsonl", "--budget says how many pairs"),
        ("--input pairs.jsonl --mixes mixes.jsonl --budget 7", "budget must be at most the number of pairs"),
        ("--input pairs.jsonl --mixes mixes.jsonl --budget 1 --ridge 0", "linearly dependent"),
        ("--input pairs.jsonl --mixes mixes.jsonl --budget 1 --ridge -1", "ridge must be finite"),
        ("--input pairs.jsonl --mixes odd.jsonl --budget 1", "a pair of a mix must be below the number of pairs"),
        ("--input pairs.jsonl --mixes half.jsonl --budget 1", "half.jsonl, line 1: a mix needs a number `score`"),
        ("--input pairs.jsonl --draw-mixes 0", "mixes must be at least 1"),
        ("--input pairs.jsonl --draw-mixes 5 --mixes mixes.jsonl", "--mixes"),
        ("--input other.jsonl --draw-mixes 5", "other.jsonl, line 2: every pair needs the same features"),
        ("--input none.jsonl --draw-mixes 5", "a pair needs `features`"),
        (
            "--input asked.jsonl --draw-mixes 5 --evaluation seen.jsonl",
            "asked.jsonl, line 2: mixes are scored on this prompt of `seen.jsonl`",
        ),
        ("--input pairs.jsonl --draw-mixes 5 --evaluation seen.jsonl", "pairs.jsonl, line 1: a row needs a `prompt`"),
        ("--input asked.jsonl --draw-mixes 5 --evaluation mixes.jsonl", "mixes.jsonl, line 1: a row needs a `prompt`"),
    ] {
        bench.run(&format!("route {rest}")).refused(&[said]);
    }
    let ran = bench.run("route --input asked.jsonl --draw-mixes 5 --evaluation unseen.jsonl").succeeded();
    assert_eq!(ran.stdout.lines().count(), 5);
}
