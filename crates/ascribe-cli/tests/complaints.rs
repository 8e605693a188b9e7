//! What users of other toolkits complain about, on the command line. A test is named after its theme in
//! `docs/peers-complaints.md`.

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Bench, SHORT, ran, words};

#[test]
fn theme_01_what_truncation_took_is_said_before_the_first_step() {
    let bench = Bench::new();
    let line = format!("train dpo --model model --data pairs.jsonl --output-dir out {SHORT} --max-length 8");
    let ran = bench.run(&line).succeeded();
    let said = ran.stderr.find("training prompts cut on the left").expect("the truncation is said");
    let step = ran.stderr.find("step 1/").expect("the first step is said");
    assert!(said < step, "{}", ran.stderr);
}

#[test]
fn theme_02_the_boundary_is_an_option_of_the_run() {
    let bench = Bench::new();
    // The space of the prompt merges with the first word of either reply.
    let row = |n: usize| json!({"prompt": format!("{n}: it is "), "chosen": "the sum", "rejected": "the rest"});
    bench.rows("rows.jsonl", (0..12).map(row));
    let line = |boundary: &str| {
        format!("train dpo --model model --data rows.jsonl --output-dir out {SHORT} --max-steps 1 {boundary}")
    };
    let tokens = |bench: &Bench| {
        let log = bench.read("out/log.jsonl");
        let first: Value = serde_json::from_str(log.lines().next().expect("a step")).expect("JSON");
        first["num_tokens"].as_u64().expect("a count")
    };
    bench.run(&line("")).succeeded();
    let apart = tokens(&bench);
    bench.run(&line("--boundary shared-prefix")).refused(&["another boundary (apart, here shared-prefix)"]);
    fs::remove_dir_all(bench.path("out")).expect("the run");
    bench.write("options.toml", "boundary = \"shared-prefix\"\n");
    bench.run(&line("--config options.toml")).succeeded();
    // What merged is one token of each of the four responses less.
    assert!(tokens(&bench) < apart, "{} and {apart}", tokens(&bench));
    bench.run(&line("")).refused(&["another boundary (shared-prefix, here apart)"]);
    bench.run(&line("--boundary shared-prefix").replacen("train", "validate", 1)).succeeded();
}

/// The note stands where the last step of the log has fallen, and only there.
#[test]
fn theme_23_chosen_replies_that_became_less_likely_are_explained() {
    let bench = Bench::new();
    for (out, method) in [("plain", "dpo"), ("held", "dpo+sft")] {
        let line = format!("train {method} --model model --data pairs.jsonl --output-dir {out} {SHORT} --max-steps 3");
        let ran = bench.run(&line).succeeded();
        let log = bench.read(&format!("{out}/log.jsonl"));
        let rows = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let moved = rows.filter_map(|row| row["logps/chosen_displacement"].as_f64()).next_back().expect("it is logged");
        assert_eq!(ran.stderr.contains("less likely than under the reference"), moved < 0.0, "{moved}: {}", ran.stderr);
    }
}

#[test]
fn theme_35_a_run_starts_no_other_program_and_is_built_without_python() {
    let bench = Bench::new();
    let line = format!("train dpo --model model --data pairs.jsonl --output-dir out {SHORT} --max-steps 1");
    let mut command = bench.command(&words(&line));
    command.env("PATH", "").env("PYTHONHOME", "nowhere");
    ran(command).succeeded();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lock = fs::read_to_string(root.join("Cargo.lock")).expect("the crates that it is built from");
    let name = |line: &str| line.strip_prefix("name = ").map(|name| name.trim_matches('"').to_owned());
    let names: Vec<String> = lock.lines().filter_map(name).collect();
    assert!(names.iter().any(|name| name == "tokenizers"), "{} crates", names.len());
    for python in ["pyo3", "pyo3-ffi", "cpython", "python3-sys", "numpy"] {
        assert!(names.iter().all(|name| name != python), "{python}");
    }
}

#[test]
fn tables_and_lines_of_json_train_alike() {
    let bench = Bench::new();
    let lines = bench.read("pairs.jsonl");
    let cells = lines.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let cell = |name: &str| row[name].as_str().expect("a text").to_owned();
        format!("\"{}\",{},{}\n", cell("prompt"), cell("chosen"), cell("rejected"))
    });
    bench.write("pairs.csv", format!("question,chosen,rejected\n{}", cells.collect::<String>()));
    let train = |data: &str, out: &str| {
        bench.run(&format!("train dpo --model model --data {data} --output-dir {out} {SHORT}")).succeeded();
    };
    train("pairs.jsonl", "lines");
    train("pairs.csv --columns prompt=question", "table");
    assert!(bench.equal_files("table") == bench.equal_files("lines"));
    bench.write("broken.csv", "prompt,chosen,rejected\nq,a,b\nq,a\n");
    let broken = "train dpo --model model --data broken.csv --output-dir out";
    bench.run(broken).refused(&["broken.csv", "as CSV", "line: 3", "fix or delete the row"]);
}

#[test]
fn prompts_alone_are_examined() {
    let bench = Bench::new();
    let row = |content: &str| json!({"prompt": [{"role": "user", "content": content}], "ground_truth": 4});
    bench.rows("prompts.jsonl", [row("what is 2 + 2?"), row("what is 3 + 1?")]);
    let found = bench.run("doctor --data prompts.jsonl --model model --json").succeeded();
    let found: Value = serde_json::from_str(&found.stdout).expect("JSON");
    assert_eq!((&found["kind"], &found["findings"]), (&json!("prompt-only"), &json!([])));
    let longest = found["figures"]["tokens of the longest row"]["value"].as_f64().expect("a number");
    let limit =
        |limit: f64| bench.run(&format!("doctor --data prompts.jsonl --model model --max-length {limit} --json"));
    // Room for one token of an answer, and for none.
    limit(longest + 1.0).succeeded();
    let cut = limit(longest);
    assert_eq!(cut.code, Some(1), "{}", cut.stderr);
    assert!(cut.stdout.contains("\"prompt-cut\""), "{}", cut.stdout);
    bench.rows("prompts.jsonl", [row("what?"), row("what?"), json!({"prompt": " "})]);
    let ran = bench.run("doctor --data prompts.jsonl --model model --test-set prompts.jsonl");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for check in ["untaught", "duplicate", "contaminated"] {
        assert!(ran.stdout.contains(check), "{check}: {}", ran.stdout);
    }
}

#[test]
fn rows_that_are_nearly_the_same_are_an_option_of_the_doctor() {
    let bench = Bench::new();
    let words: String = (0..60).map(|at| format!("w{at} ")).collect();
    let row = |last: &str| json!({"prompt": "what?", "completion": format!("{words}{last}")});
    bench.rows("rows.jsonl", [row("end"), row("stop")]);
    bench.run("doctor --data rows.jsonl").succeeded();
    let found = bench.run("doctor --data rows.jsonl --near-duplicates --json");
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let found: Value = serde_json::from_str(&found.stdout).expect("JSON");
    assert_eq!(found["findings"][0]["check"], "near-duplicate");
    assert_eq!((&found["findings"][0]["lines"], &found["findings"][1]), (&json!([2]), &Value::Null));
    bench
        .run("doctor --data rows.jsonl --near-duplicates --similarity 0.3")
        .refused(&["the similarity of near-duplicates must be between 0.5 and 1, got 0.3"]);
    bench
        .run("doctor --data rows.jsonl --similarity 0.9")
        .refused(&["similarity does nothing without --test-set or --near-duplicates"]);
}

/// All themes are in the table, and all tests that it names are there.
#[test]
fn every_theme_is_listed_with_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let table = fs::read_to_string(root.join("docs/peers-complaints.md")).expect("the table");
    let mut themes = Vec::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, tests, verdict] = cells[..] else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        themes.push(number);
        assert!(!tests.is_empty() || verdict.starts_with("not yet"), "theme {number} has no test");
        for name in names(tests) {
            assert!(is_test(&root, name), "theme {number}: there is no test {name}");
        }
    }
    assert_eq!(themes, (1..=38).collect::<Vec<_>>());
}

/// All published systems are in the table, and all files, tests, rows and commands that it names are there.
#[test]
fn every_system_is_listed_with_tests_and_commands_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bench = Bench::new();
    let table = fs::read_to_string(root.join("docs/systems.md")).expect("the table");
    let rows: String = fs::read_dir(root.join("reproduce/src/rows"))
        .expect("the rows")
        .map(|row| fs::read_to_string(row.expect("a row").path()).expect("a row"))
        .collect();
    let (mut systems, mut equations) = (Vec::new(), 0);
    for line in table.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, here, equation, files, test, commands] = cells[..] else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        systems.push(number);
        assert!(!test.is_empty() || here.contains("not built"), "system {number} has no test");
        let given = equation.len() > 2 && equation.starts_with('`') && equation.ends_with('`');
        assert!(given || equation.is_empty(), "system {number}: an equation stands between backticks: {equation}");
        equations += usize::from(given);
        for file in names(files) {
            assert!(root.join(file).is_file(), "system {number}: there is no file {file}");
        }
        for test in names(test) {
            assert!(is_test(&root, test), "system {number}: there is no test {test}");
        }
        for command in names(commands) {
            let known = match command.strip_prefix("cargo xtask reproduce ") {
                Some(row) => rows.contains(&format!("name: \"{row}\"")),
                None => is_command(&bench, command),
            };
            assert!(known, "system {number}: there is no command {command}");
        }
    }
    assert_eq!(systems, (1..=87).collect::<Vec<_>>());
    assert!(equations >= 75, "only {equations} systems have an equation");
    for command in ["ascribe train dpoo", "ascribe train reward --loss gpn", "ascribe eval ece", "ascribe metric bose"]
    {
        assert!(!is_command(&bench, command), "{command}");
    }
}

/// What stands in a cell, with commas or semicolons between.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split([',', ';']).map(|name| name.trim().trim_matches('`')).filter(|name| !name.is_empty())
}

/// Whether `file::function` is there.
fn is_test(root: &Path, name: &str) -> bool {
    let Some((file, function)) = name.split_once("::") else { return false };
    fs::read_to_string(root.join(file)).is_ok_and(|source| source.contains(&format!("fn {function}(")))
}

/// Whether every word of a command is known: it is run on files that are not there.
fn is_command(bench: &Bench, command: &str) -> bool {
    let Some(line) = command.strip_prefix("ascribe ") else { return false };
    let files = match line.split(' ').next() {
        Some("train") => "--model nowhere --data nowhere --output-dir out",
        Some("search" | "label") => "--model nowhere --input nowhere --output out",
        Some("regress") => "--data nowhere",
        Some("soup") => "--models nowhere nowhere --weights 0.5 0.5 --output-dir out",
        _ => "--input nowhere",
    };
    let said = bench.run(&format!("{line} {files}")).stderr;
    ![
        "there is no method",
        "there is no loss",
        "there is no strategy",
        "there is no metric",
        "invalid value",
        "unrecognized subcommand",
        "unexpected argument",
    ]
    .iter()
    .any(|unknown| said.contains(unknown))
}
