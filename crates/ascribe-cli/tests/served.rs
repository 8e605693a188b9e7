//! `generate`, `score` and `search` over an endpoint: what is asked, what is written, and that the key stands nowhere.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ascribe::lm::{SpecialTokens, Tokenizer};
use ascribe_testkit::llama_cpp::LlamaCpp;
use ascribe_testkit::server::{Asked, Does, Server};
use serde_json::{Value, json};
use support::{Bench, Ran, ran, words};

fn models(owner: &str) -> Does {
    Does::json(json!({"data": [{"id": "tiny", "owned_by": owner, "max_model_len": 256}]}))
}

/// A server of chats that repeats the last message in capitals; a message with `poison` in it is refused.
fn chat(asked: &Asked) -> Does {
    if asked.path != "/v1/chat/completions" {
        return models("somebody");
    }
    let said = asked.body["messages"].as_array().expect("the test is well made").last().expect("the test is well made")
        ["content"]
        .as_str()
        .expect("the test is well made")
        .to_uppercase();
    if said.contains("POISON") {
        return Does::Says(400, vec![], json!({"error": {"message": "not this"}}).to_string());
    }
    if asked.body["stream"] == true {
        let piece = |text: &str| json!({"choices": [{"delta": {"content": text}}]}).to_string();
        let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string();
        return Does::streams(&[piece(&said[..1]), piece(&said[1..]), last, "[DONE]".into()]);
    }
    let choice = json!({"index": 0, "message": {"content": said}, "finish_reason": "stop"});
    Does::json(json!({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}))
}

/// A server of tokens: it writes ` the sum`, and every token has the log-probability -1/2.
fn tokens(tokenizer: Tokenizer) -> impl Fn(&Asked) -> Does + Send + Sync {
    move |asked| {
        if asked.path != "/v1/completions" {
            return models("vllm");
        }
        let prompt: Vec<u64> = asked.body["prompt"]
            .as_array()
            .expect("the test is well made")
            .iter()
            .map(|id| id.as_u64().expect("the test is well made"))
            .collect();
        let mut written = tokenizer.encode(" the sum").expect("the test is well made");
        written.truncate(asked.body["max_tokens"].as_u64().expect("the test is well made") as usize);
        let name = |id: u64| format!("token_id:{id}");
        let text = tokenizer.decode(&written, SpecialTokens::Skip).expect("the test is well made");
        let echo: &[u64] = if asked.body["echo"] == true { prompt.as_slice() } else { &[] };
        let told: Vec<u64> = echo.iter().copied().chain(written.iter().map(|id| u64::from(*id))).collect();
        let mut logps = vec![json!(-0.5); told.len()];
        if !echo.is_empty() {
            logps[0] = Value::Null;
        }
        let top: Vec<Value> = told.iter().map(|id| json!({name(*id): -0.5})).collect();
        let names: Vec<String> = told.iter().map(|id| name(*id)).collect();
        let logprobs = json!({"tokens": names, "token_logprobs": logps, "top_logprobs": top});
        let choice = json!({"index": 0, "text": text, "finish_reason": "length", "logprobs": logprobs});
        Does::json(json!({
            "choices": [choice],
            "usage": {"prompt_tokens": prompt.len(), "completion_tokens": written.len()},
        }))
    }
}

fn tokenizer(bench: &Bench) -> Tokenizer {
    Tokenizer::from_folder(bench.path("model")).expect("a tokenizer")
}

#[track_caller]
fn written(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn rows_are_answered_in_their_order_and_one_that_is_not_is_named() {
    let (bench, server) = (Bench::new(), Server::start(chat));
    // More rows than are asked together.
    let rows = |poisoned: usize| {
        (0..300).map(
            move |n| json!({"id": n, "prompt": if n == poisoned { "poison".to_owned() } else { format!("row {n}") }}),
        )
    };
    bench.rows("rows.jsonl", rows(1000));
    let line = format!("generate --endpoint {} --input rows.jsonl --concurrency 8", server.address);
    let lines = written(&bench.run(&line).succeeded());
    assert_eq!(lines.len(), 300);
    for (n, row) in lines.iter().enumerate() {
        assert_eq!((&row["id"], &row["completions"]), (&json!(n), &json!([format!("ROW {n}")])));
        assert_eq!(row["usage"]["generated"], 2);
    }
    bench.rows("rows.jsonl", rows(7));
    let failed = bench.run(&line);
    failed.refused(&["1 of the 300 rows", "row 8", "refuses the request (400): not this", &server.address]);
    let ids: Vec<u64> = written(&failed).iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..300).filter(|n| *n != 7).collect::<Vec<u64>>());
    // Where none of 256 is answered, the rest is not asked, and that is said.
    bench.rows("rows.jsonl", (0..300).map(|n| json!({"id": n, "prompt": "poison"})));
    bench.run(&line).refused(&["256 of the 256 rows", "the 44 after them were not asked", "row 1:"]);
}

#[test]
fn prompts_and_chats_are_answered_over_an_endpoint() {
    let (bench, server) = (Bench::new(), Server::start(chat));
    let run = |rest: &str| bench.run(&format!("generate --endpoint {} {rest}", server.address));
    assert_eq!(run("--prompt hey").succeeded().stdout, "HEY\n");
    assert_eq!(run("--prompt hey -n 2 --temperature 1").succeeded().stdout, "HEY\nHEY\n");
    assert_eq!(run("--chat hey --system shout").succeeded().stdout, "HEY\n");
    run("--prompt poison").refused(&["request 0", "not this"]);
    run("--prompt hey --temperature 1 --top-k 5").refused(&["top_k", "OpenAI"]);
    let asked = server.asked();
    let last = asked.iter().rfind(|asked| asked.body["stream"] == true).unwrap();
    assert_eq!(last.body["messages"][0], json!({"role": "system", "content": "shout"}));
    assert_eq!((&last.body["model"], &last.body["temperature"]), (&json!("tiny"), &json!(0.0)));
}

#[test]
fn token_ids_are_written_and_scored_over_an_endpoint() {
    let bench = Bench::new();
    let server = Server::start(tokens(tokenizer(&bench)));
    let endpoint = format!("--endpoint {} --model model", server.address);
    let expected = tokenizer(&bench).encode(" the sum").unwrap();
    let most = expected.len();
    let ran = bench.run(&format!("generate {endpoint} --prompt what --max-new-tokens {most}")).succeeded();
    assert_eq!(ran.stdout.trim(), "the sum");
    // The prompt went through the chat template here, as ids.
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.method == "GET" || asked.body["prompt"].is_array()));

    bench.rows("given.jsonl", [json!({"prompt": "what", "completion": "the sum"})]);
    let rows = written(&bench.run(&format!("score {endpoint} --input given.jsonl")).succeeded());
    let logps = rows[0]["token_logps"].as_array().unwrap();
    assert!(logps.len() > 1 && logps.iter().all(|logp| *logp == json!(-0.5)));
    assert_eq!(rows[0]["logp_sum"], json!(-0.5 * logps.len() as f64));
    let against = bench.run(&format!("score {endpoint} --input given.jsonl --reference model")).succeeded();
    assert!(written(&against)[0]["implicit_reward"].as_f64().unwrap().is_finite());
}

#[test]
fn an_endpoint_that_cannot_score_is_refused_before_the_first_row() {
    let bench = Bench::new();
    let full = tokens(tokenizer(&bench));
    let server = Server::start(move |asked| match asked.body["echo"] == true {
        true => Does::Says(400, vec![], "{}".into()),
        false => full(asked),
    });
    bench.rows("given.jsonl", [json!({"prompt": "what", "completion": "the sum"})]);
    let ran = bench.run(&format!("score --endpoint {} --model model --input given.jsonl", server.address));
    ran.refused(&["cannot score given completions", "docs/served.md"]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_best_of_n_is_found_over_an_endpoint() {
    let bench = Bench::new();
    let answer = tokens(tokenizer(&bench));
    let most = tokenizer(&bench).encode(" the sum").unwrap().len() as u64;
    // As long as the seed says: from one token to all of them.
    let server = Server::start(move |asked| {
        let mut asked = asked.clone();
        let is_sample = asked.body["max_tokens"] == json!(most);
        if let Some(seed) = asked.body["seed"].as_u64().filter(|_| is_sample) {
            asked.body["max_tokens"] = json!(1 + seed % most);
        }
        answer(&asked)
    });
    bench.rows("rows.jsonl", (0..2).map(|n| json!({"id": n, "prompt": format!("what is {n}?")})));
    let line = format!("search --endpoint {} --model model --input rows.jsonl --output out.jsonl", server.address);
    let search = "--strategy best-of-n --strategy-args n=16 --scorer length-limit --target-length 1";
    bench.run(&format!("{line} {search} --max-new-tokens {most}")).succeeded();
    let found = bench.read("out.jsonl");
    assert_eq!(found.lines().count(), 2);
    for line in found.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let lengths: Vec<u64> = row["tokens"].as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).collect();
        assert!(lengths.len() == 16 && lengths.iter().any(|length| *length != lengths[0]), "{lengths:?}");
        // One token is what is wished for, and each further one costs 1.
        let scores: Vec<f64> = row["scores"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
        assert_eq!(scores, lengths.iter().map(|length| 1.0 - *length as f64).collect::<Vec<f64>>());
        let chosen = row["chosen"].as_u64().unwrap() as usize;
        assert_eq!(Some(&lengths[chosen]), lengths.iter().min());
        assert_eq!(row["completion"], row["completions"][chosen]);
        assert_eq!(row["usage"]["generated"], json!(lengths.iter().sum::<u64>()));
    }
}

#[test]
fn a_server_that_stops_in_the_middle_of_a_search_is_named_and_what_was_found_is_kept() {
    let bench = Bench::new();
    let answer = tokens(tokenizer(&bench));
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let (state, refused) = (Arc::clone(&left), Arc::new(AtomicUsize::new(0)));
    let failures = Arc::clone(&refused);
    let server = Server::start(move |asked| {
        let written = asked.path == "/v1/completions";
        let one_less = |left: usize| left.checked_sub(1);
        if written && state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            failures.fetch_add(1, Ordering::SeqCst);
            return Does::Says(503, vec![], "gone for good".into());
        }
        answer(asked)
    });
    let search = "--strategy step-beam --strategy-args n=2,expand=2,levels=2 --segment length:2 --max-new-tokens 4 \
                  --scorer length --target-length 3 --parallel 1 --attempts 2 --concurrency 1";
    let run = |output: &str| {
        let line = format!("search --endpoint {} --model model --input rows.jsonl", server.address);
        bench.run(&format!("{line} --output {output} {search}"))
    };
    bench.rows("rows.jsonl", (0..3).map(|n| json!({"id": n, "prompt": format!("what is {n}?")})));
    // The rows, without the one figure that is a time.
    let found = |output: &str| -> Vec<Value> {
        let row = |line: &str| {
            let mut row: Value = serde_json::from_str(line).expect("a line of JSON");
            row.as_object_mut().expect("a row").remove("seconds");
            row
        };
        bench.read(output).lines().map(row).collect()
    };
    // Over a server that goes on. A second run has nothing to do, and asks alone what the server can do.
    let completions = || server.asked().iter().filter(|one| one.path == "/v1/completions").count();
    run("whole.jsonl").succeeded();
    let all = completions();
    run("whole.jsonl").succeeded();
    let first = completions() - all;
    let (whole, each) = (found("whole.jsonl"), (all - first) / 3);
    assert!(whole.len() == 3 && each > 1, "{all} requests, {first} of them in the beginning");

    // It stops before the last request of the second row.
    left.store(first + 2 * each - 1, Ordering::SeqCst);
    let failed = run("found.jsonl");
    failed.refused(&["2 rows are missing", "rows.jsonl, line 2", "503", "gone for good", &server.address]);
    // Two attempts for each row that is missing.
    assert_eq!(refused.load(Ordering::SeqCst), 4);
    assert_eq!(found("found.jsonl"), whole[..1]);

    // The run goes on when the server is there again.
    left.store(usize::MAX, Ordering::SeqCst);
    let ran = run("found.jsonl").succeeded();
    assert!(ran.stdout.contains("2 of them new"), "{}", ran.stdout);
    assert_eq!(found("found.jsonl"), whole);
}

#[test]
fn what_a_server_cannot_do_is_refused_before_the_first_row() {
    let bench = Bench::new();
    let full = tokens(tokenizer(&bench));
    // It names tokens by texts alone, and repeats nothing.
    let server = Server::start(move |asked| match (asked.path == "/v1/completions", asked.body["echo"] == true) {
        (false, _) => models("somebody"),
        (true, true) => Does::Says(400, vec![], "{}".into()),
        (true, false) => {
            let Does::Says(status, headers, body) = full(asked) else { return Does::Hangs };
            let mut body: Value = serde_json::from_str(&body).expect("the test is well made");
            let choice = &mut body["choices"][0];
            let text = choice["text"].as_str().expect("a text").to_owned();
            let count = choice["logprobs"]["tokens"].as_array().expect("a list").len();
            // The first is told to spell all of it.
            let told = |at: usize| {
                let bytes: &[u8] = if at == 0 { text.as_bytes() } else { &[] };
                let rivals = [json!({"token": "x", "logprob": -0.5})];
                json!({"token": "x", "bytes": bytes, "logprob": -0.5, "top_logprobs": rivals})
            };
            choice["logprobs"] = json!({"content": (0..count).map(told).collect::<Vec<_>>()});
            Does::Says(status, headers, body.to_string())
        }
    });
    bench.rows("rows.jsonl", [json!({"prompt": "what"})]);
    let run = |options: &str| {
        let line = format!("search --endpoint {} --model model --input rows.jsonl --output out.jsonl", server.address);
        bench.run(&format!("{line} {options}"))
    };
    for name in ["beam", "likelihood", "deal", "transfer-q", "controlled"] {
        let said = [name, "most likely next tokens", "docs/served.md"];
        run(&format!("--strategy {name} --scorer length")).refused(&said);
    }
    run("--strategy best-of-n --scorer logp").refused(&["`logp` reads given tokens", "another --scorer"]);
    assert!(!bench.path("out.jsonl").exists());
}

#[test]
fn the_key_is_sent_and_stands_nowhere_else() {
    const KEY: &str = "sk-very-secret";
    let bench = Bench::new();
    // The worst a server can do: it repeats the key.
    let server = Server::start(|asked| {
        if asked.path == "/v1/models" {
            return models("somebody");
        }
        let told = asked.headers.iter().find(|line| line.to_lowercase().starts_with("authorization"));
        Does::Says(401, vec![], json!({"error": {"message": format!("wrong: {told:?}")}}).to_string())
    });
    for (variable, options) in [("OPENAI_API_KEY", ""), ("MY_KEY", "--api-key-env MY_KEY")] {
        let line = format!("generate --endpoint {} --prompt hey {options}", server.address);
        let mut command = bench.command(&words(&line));
        let said = ran({
            command.env_remove("OPENAI_API_KEY").env(variable, KEY).env("RUST_LOG", "trace");
            command
        });
        said.refused(&["refuses the key (401)", variable, "[the key]"]);
        assert!(!said.stderr.contains(KEY) && !said.stdout.contains(KEY), "{}", said.stderr);
        let header = format!("authorization: bearer {KEY}");
        assert!(server.asked().iter().all(|asked| asked.headers.iter().any(|line| line.to_lowercase() == header)));
    }
    let mut command = bench.command(&words(&format!("generate --endpoint {} --prompt hey", server.address)));
    command.env_remove("OPENAI_API_KEY");
    ran(command).refused(&["asks for a key (401)", "OPENAI_API_KEY"]);
    let mut command = bench.command(&words("generate --endpoint http://127.0.0.1:1 --prompt hey --api-key-env NO_KEY"));
    command.env_remove("NO_KEY");
    ran(command).refused(&["NO_KEY holds no key"]);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let bench = Bench::new();
    let nowhere = Server::nowhere();
    for (line, said) in [
        ("generate --prompt x".to_owned(), vec!["--model"]),
        (format!("generate --endpoint {nowhere} --prompt x --adapter a"), vec!["--endpoint", "--adapter"]),
        (format!("generate --endpoint {nowhere} --prompt x --weights f16"), vec!["--endpoint", "--weights"]),
        ("generate --model model --prompt x --served-model y".to_owned(), vec!["--endpoint"]),
        (format!("generate --endpoint {nowhere} --model model --chat x"), vec!["leave out --model"]),
        (format!("generate --endpoint {nowhere} --prompt x --num-beams 2"), vec!["--model", "--raw"]),
        (format!("generate --endpoint {nowhere} --prompt x --timeout nan"), vec!["timeout", "NaN"]),
        (format!("generate --endpoint {nowhere} --prompt x --deadline -1"), vec!["deadline", "-1"]),
        (format!("generate --endpoint {nowhere} --prompt x --timeout 0"), vec!["timeout must be above 0"]),
        (format!("generate --endpoint {nowhere} --prompt x --attempts 0"), vec!["attempts must be at least 1"]),
        ("generate --endpoint localhost --prompt x".to_owned(), vec!["localhost", "http://"]),
        (format!("generate --endpoint {nowhere} --prompt x --attempts 1"), vec!["nothing listens there", &nowhere]),
    ] {
        bench.run(&line).refused(&said);
    }
}

/// With llama.cpp's server, where it is installed.
#[test]
fn a_real_server_writes_and_scores() {
    let Some(server) = LlamaCpp::start() else { return };
    let bench = Bench::new();
    let run = |rest: &str| bench.run(rest).succeeded();
    let endpoint = format!("--endpoint {}", server.address);
    let model = format!("--model {}", server.model.display());
    let one = run(&format!("generate {endpoint} --prompt Hello --max-new-tokens 8"));
    let same = run(&format!("generate {endpoint} {model} --prompt Hello --max-new-tokens 8"));
    let streamed = run(&format!("generate {endpoint} --chat Hello --max-new-tokens 8"));
    assert!(!one.stdout.trim().is_empty() && one.stdout == same.stdout, "{} {}", one.stdout, same.stdout);
    assert_eq!(one.stdout, streamed.stdout);
    let raw = run(&format!("generate {endpoint} --raw --prompt Hello -n 3 --temperature 1 --max-new-tokens 4"));
    assert!(raw.stdout.lines().count() >= 3, "{}", raw.stdout);
    run(&format!("generate {endpoint} {model} --prompt Hello --num-beams 2 -n 2 --max-new-tokens 4"));
    bench.rows("given.jsonl", [json!({"prompt": "The capital of France is", "completion": " Paris"})]);
    let rows = written(&run(&format!("score {endpoint} {model} --input given.jsonl")));
    let logps = rows[0]["token_logps"].as_array().unwrap();
    // Paris, then the end of the text.
    assert_eq!(logps.len(), 2);
    assert!(logps[0].as_f64().unwrap() > -1.0 && logps[1].as_f64().unwrap() < 0.0);
}
