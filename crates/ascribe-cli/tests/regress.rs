//! `ascribe regress`: laws that are found, and what is refused.

mod support;

use serde_json::{Value, json};
use support::Bench;

/// x^2 + x from -3 to 3.
const SQUARE: [(i32, i32); 7] = [(-3, 6), (-2, 2), (-1, 0), (0, 0), (1, 2), (2, 6), (3, 12)];

fn found(bench: &Bench, options: &str) -> Value {
    let ran = bench.run(&format!("regress --json {options}")).succeeded();
    serde_json::from_str(&ran.stdout).expect("one JSON object")
}

#[test]
fn a_square_with_a_line_is_found_behind_shorter_expressions() {
    let bench = Bench::new();
    let rows: String = SQUARE.iter().map(|(x, y)| format!("{x},{y}\n")).collect();
    bench.write("points.csv", format!("x,y\n{rows}"));
    let told = found(&bench, "--data points.csv --operators +,* --seed 2");
    let facts = (&told["target"], &told["variables"], &told["points"], &told["recovered"]);
    assert_eq!(facts, (&json!("y"), &json!(["x"]), &json!(7), &json!(true)));
    let expressions = told["expressions"].as_array().expect("a list");
    let symbols: Vec<u64> = expressions.iter().filter_map(|one| one["symbols"].as_u64()).collect();
    assert_eq!(symbols, [1, 3, 5], "{told}");
    // x is off by x^2, whose squares are 81, 16, 1, 0, 1, 16 and 81; x * x is off by x, and 28 / 7 = 4; no sum is nearer.
    let errors: Vec<f64> = expressions.iter().filter_map(|one| one["rmse"].as_f64()).collect();
    for (error, expected) in errors.iter().zip([28f64.sqrt(), 2.0, 0.0]) {
        assert!((error - expected).abs() < 1e-12, "{errors:?}");
    }
    let texts: Vec<&str> = expressions.iter().filter_map(|one| one["expression"].as_str()).collect();
    assert_eq!(texts[..2], ["x", "(x * x)"]);
    assert!(["((x * x) + x)", "(x + (x * x))"].contains(&texts[2]), "{texts:?}");
    // The same points as JSON, with a name that is no number; and the same command again.
    bench.rows("points.jsonl", SQUARE.map(|(x, y)| json!({"name": format!("at {x}"), "x": x, "y": y})));
    let again = found(&bench, "--data points.jsonl --operators +,* --seed 2");
    assert_eq!(again, told);
    let table = bench.run("regress --data points.csv --operators +,* --seed 2").succeeded().stdout;
    assert!(table.contains("2.0000e0") && table.contains(texts[2]), "{table}");
    assert!(table.contains("y by x from 7 points: ") && table.contains("the last one fits exactly"), "{table}");
}

#[test]
fn variables_are_chosen_and_constants_fitted() {
    let bench = Bench::new();
    let row = |n: i32| json!({"id": n, "a": n % 3, "b": n % 4 - 1, "area": (n % 3) * (n % 4 - 1)});
    bench.rows("points.jsonl", (0..12).map(row));
    let told = found(&bench, "--data points.jsonl --target area --variables a,b --operators -,*");
    let last = told["expressions"].as_array().and_then(|all| all.last()).expect("an expression");
    assert!(["(a * b)", "(b * a)"].map(Value::from).contains(&last["expression"]), "{told}");
    // A line through 0: one constant does it.
    bench.rows("line.jsonl", (1..5).map(|x| json!({"x": x, "y": 2.5 * f64::from(x)})));
    let told = found(&bench, "--data line.jsonl --operators * --max-constants 1 --epochs 1");
    let is_law = |one: &Value| one["symbols"] == 3 && one["rmse"].as_f64().is_some_and(|error| error < 1e-3);
    assert!(told["expressions"].as_array().expect("a list").iter().any(is_law), "{told}");
}

#[test]
fn what_is_no_table_of_points_is_refused() {
    let bench = Bench::new();
    bench.write("points.csv", "x,y\n1,2\n2,6\n3,12\n");
    bench.write("hole.csv", "x,y\n1,2\nNaN,6\n3,12\n");
    bench.write("words.csv", "x,y\na,2\nb,6\n");
    bench.write("one.csv", "x,y\n1,2\n");
    bench.write("text.csv", "x,y\n1,much\n2,6\n");
    for (options, said) in [
        ("--data hole.csv", "hole.csv, line 3: `x` must be a finite number, got \"NaN\""),
        ("--data text.csv", "text.csv, line 2: `y` must be a finite number, got \"much\""),
        ("--data words.csv", "words.csv has no column of numbers beside `y`"),
        ("--data words.csv --variables x", "words.csv, line 2: `x` must be a finite number"),
        ("--data one.csv", "the number of points must be at least 2"),
        ("--data points.csv --target z", "column `z` is missing; found x, y"),
        ("--data points.csv --variables x,y", "--variables names the target `y`"),
        ("--data points.csv --variables x,x", "--variables names `x` twice"),
        ("--data points.csv --operators +,*,+", "--operators names `+` twice"),
        ("--data points.csv --operators +,pow", "`pow` is no operator"),
        ("--data points.csv --epochs 0", "epochs must be at least 1"),
        ("--data none.csv", "none.csv"),
    ] {
        bench.run(&format!("regress {options}")).refused(&[said]);
    }
}
