//! Ctrl-C: what is under way ends with what it has, the exit code is 130, and the same command goes on.
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ascribe_testkit::server::{Does, Server};
use serde_json::{Value, json};
use support::{Bench, Ran, SHORT, words};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Sends a signal by its name.
#[track_caller]
fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success(), "{kill}");
}

/// Waits until something has happened, while the process goes on.
#[track_caller]
fn wait(child: &mut Child, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        let over = child.try_wait().expect("a process of ours");
        assert!(over.is_none() && started.elapsed() < Duration::from_secs(120), "it never came: {over:?}");
        sleep(Duration::from_millis(2));
    }
}

fn ended(child: Child) -> Ran {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the end of the binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs a line until `begun`, and sends a signal. What it says last, which is why it ended.
#[track_caller]
fn interrupted(bench: &Bench, signal: &str, line: &str, begun: impl Fn() -> bool) -> String {
    let mut child = bench.command(&words(line)).spawn().expect("the binary starts");
    wait(&mut child, begun);
    send(signal, &child);
    last(&ended(child))
}

/// The last line on standard error of work that was interrupted.
#[track_caller]
fn last(ran: &Ran) -> String {
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    let last = ran.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("interrupted: ") && !ran.stderr.contains("error: "), "{}", ran.stderr);
    last
}

/// Whether a file has at least so many lines.
fn has_lines(bench: &Bench, name: &str, least: usize) -> bool {
    std::fs::read_to_string(bench.path(name)).is_ok_and(|text| text.matches('\n').count() >= least)
}

#[test]
fn a_search_keeps_what_is_finished_and_searches_again_what_was_cancelled() {
    let bench = Bench::new();
    bench.rows("prompts.jsonl", (0..48).map(|n| json!({"id": n, "prompt": format!("what is {n}?")})));
    let line = |out: &str| {
        format!(
            "search --model model --input prompts.jsonl --strategy step-beam --strategy-args n=4,expand=2 --scorer logp \
             --segment length:3 --max-new-tokens 90 --parallel 2 --seed 3 --output {out}"
        )
    };
    bench.run(&line("whole.jsonl")).succeeded();
    let said = interrupted(&bench, "INT", &line("out.jsonl"), || has_lines(&bench, "out.jsonl", 1));
    let rows = lines(&bench.read("out.jsonl"));
    let cancelled = rows.iter().filter(|row| row["stopped"] == "cancelled").count();
    let finished = rows.len() - cancelled;
    // The first row was there, and two are searched at a time.
    assert!(0 < finished && finished < 48 && cancelled <= 2, "{finished} and {cancelled}");
    assert!(said.contains(&format!("{finished} of 48 prompts are finished in out.jsonl")), "{said}");
    assert!(said.ends_with("the same command goes on"), "{said}");
    let half_way = format!("({cancelled} more were cancelled half-way");
    assert_eq!(said.contains(&half_way), cancelled > 0, "{said}");

    let ran = bench.run(&line("out.jsonl")).succeeded();
    let new = format!("48 rows in out.jsonl, {} of them new", 48 - finished);
    assert!(ran.stdout.contains(&new), "{}", ran.stdout);
    let found = |name: &str| {
        let mut rows = lines(&bench.read(name));
        rows.sort_by_key(|row| row["id"].as_u64());
        let told = |row: Value| [row["id"].clone(), row["completions"].clone(), row["stopped"].clone()];
        rows.into_iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(found("out.jsonl"), found("whole.jsonl"));
}

#[test]
fn a_training_run_writes_a_checkpoint_and_goes_on_to_the_same_numbers() {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n} + 1?"), "answer": (n + 1).to_string()});
    bench.rows("prompts.jsonl", (0..6).map(row));
    let rollouts = "--data prompts.jsonl --held-out 2 --per-device-train-batch-size 4 --num-generations 4 \
                    --gradient-accumulation-steps 1 --max-completion-length 6 --learning-rate 1e-3 --reward arithmetic \
                    --max-steps 60";
    let pairs = format!("--data pairs.jsonl {SHORT} --num-train-epochs 20");
    for (method, signal, options, steps) in [("dpo", "INT", pairs.as_str(), 80), ("grpo", "TERM", rollouts, 60)] {
        let (whole, cut) = (format!("whole-{method}"), format!("cut-{method}"));
        let line =
            |out: &str| format!("train {method} --model model --output-dir {out} {options} --save-total-limit 1");
        bench.run(&line(&whole)).succeeded();
        let log = format!("{cut}/log.jsonl");
        let said = interrupted(&bench, signal, &line(&cut), || has_lines(&bench, &log, 2));
        // The one checkpoint is that of the step that was under way.
        let folders = bench.folders(&cut);
        let step: usize = folders[0].trim_start_matches("checkpoint-").parse().expect("a step");
        assert!(folders.len() == 1 && (2..steps).contains(&step), "{folders:?}");
        assert!(said.contains(&format!("step {step} of {steps} is done and has a checkpoint")), "{said}");
        assert!(!bench.path(&cut).join("model.safetensors").exists());

        let ran = bench.run(&line(&cut)).succeeded();
        assert!(ran.stderr.contains(&format!("{step} of {steps} steps done")), "{}", ran.stderr);
        let log = |out: &str| {
            let mut rows = lines(&bench.read(&format!("{out}/log.jsonl")));
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove("seconds")));
            rows
        };
        assert_eq!(log(&cut), log(&whole), "{method}");
        assert!(bench.equal_files(&cut) == bench.equal_files(&whole), "{method}: the files differ");
    }
}

#[test]
fn labels_go_on_behind_the_items_that_are_done() {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}+{n}?"), "completion": format!("{n}+{n} is it.\nso {}", n + n), "answer": n + n});
    bench.rows("problems.jsonl", (1..41).map(row));
    let line = |out: &str| {
        format!(
            "label --method monte-carlo --model model --input problems.jsonl --segment lines --rollouts 8 \
             --max-new-tokens 48 --output {out}"
        )
    };
    bench.run(&line("whole.jsonl")).succeeded();
    let said = interrupted(&bench, "INT", &line("out.jsonl"), || has_lines(&bench, "out.jsonl", 2));
    // The first line is that of the run.
    let done = bench.read("out.jsonl").lines().count() - 1;
    assert!(0 < done && done < 40, "{done}");
    assert!(said.contains(&format!("{done} of 40 items are done in out.jsonl")), "{said}");
    bench.run(&line("out.jsonl")).succeeded();
    for name in ["whole", "out"] {
        bench.run(&format!("label --merge {name}.jsonl --output {name}-rows.jsonl")).succeeded();
    }
    assert_eq!(bench.read("out-rows.jsonl"), bench.read("whole-rows.jsonl"));
}

#[test]
fn rows_that_are_printed_are_whole_batches() {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}?"), "completion": format!(" the sum of {n}")});
    bench.rows("rows.jsonl", (0..2048).map(row));
    for (line, batch) in [
        ("score --model model --input rows.jsonl", 64),
        ("generate --model model --input rows.jsonl --max-new-tokens 2", 256),
    ] {
        let mut child = bench.command(&words(line)).spawn().expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut text = String::new();
        // Behind the first line the pipe is soon full, and the binary waits until it is read.
        out.read_line(&mut text).expect("a line");
        send("INT", &child);
        out.read_to_string(&mut text).expect("UTF-8");
        let said = last(&ended(child));
        let rows = lines(&text).len();
        assert!(rows < 2048 && rows.is_multiple_of(batch), "{rows}");
        assert!(said.contains(&format!("{rows} of 2048 rows are ")), "{said}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let bench = Bench::new();
    let is_chat = |path: &str| path == "/v1/chat/completions";
    let server = Server::start(move |asked| match is_chat(&asked.path) {
        true => Does::Hangs,
        false => Does::json(json!({"data": [{"id": "tiny", "owned_by": "somebody", "max_model_len": 256}]})),
    });
    bench.rows("rows.jsonl", [json!({"prompt": "what?"})]);
    let line = format!("generate --endpoint {} --input rows.jsonl", server.address);
    let started = Instant::now();
    let mut child = bench.command(&words(&line)).spawn().expect("the binary starts");
    wait(&mut child, || server.asked().iter().any(|one| is_chat(&one.path)));
    send("INT", &child);
    // What is asked is waited for: two minutes, where nothing is answered.
    sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("a process of ours").is_none());
    send("INT", &child);
    assert_eq!(ended(child).code, Some(130));
    assert!(started.elapsed() < Duration::from_secs(100), "{:?}", started.elapsed());
}
