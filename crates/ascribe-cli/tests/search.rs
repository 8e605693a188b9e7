//! Search strategies by the binary, with a tiny model.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::Bench;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Three prompts, of which two have an answer.
fn with_prompts() -> Bench {
    let bench = Bench::new();
    bench.rows(
        "prompts.jsonl",
        [
            json!({"id": "a", "prompt": "what is 2+3?", "answer": 5}),
            json!({"id": "b", "prompt": "what is 4+4?", "answer": 8}),
            json!({"id": "c", "prompt": "say something"}),
        ],
    );
    bench
}

const SEARCH: &str = "search --model model --input prompts.jsonl --segment length:3 --max-new-tokens 9 --seed 3";

#[test]
fn every_strategy_writes_a_row_for_each_prompt() {
    let bench = with_prompts();
    let names = bench.run("search --list").succeeded().stdout;
    assert!(names.lines().count() >= 17, "{names}");
    for (number, name) in names.lines().enumerate() {
        let alone = ["greedy", "beam", "likelihood", "majority"].contains(&name);
        // The scores of paths are probabilities.
        let scorer = if alone {
            ""
        } else if name == "paths" {
            "--scorer think-format"
        } else {
            "--scorer logp"
        };
        // Mean log-probabilities are far below 0, and only some strategies ask for probabilities.
        let args = match name {
            "mcts" => r#"{"tree":{"range":[-100,0],"simulations":3},"levels":3}"#,
            "smc" => "n=3",
            "deal" => "k=2,lookahead=2",
            "transfer-q" => "k=2",
            _ => "",
        };
        let args = if args.is_empty() { String::new() } else { format!("--strategy-args {args}") };
        let out = format!("out-{number}.jsonl");
        bench.run(&format!("{SEARCH} --strategy {name} {scorer} {args} --output {out}")).succeeded();
        let rows = lines(&bench.read(&out));
        assert_eq!(rows.iter().map(|row| row["id"].as_str()).collect::<Vec<_>>(), [Some("a"), Some("b"), Some("c")]);
        for row in &rows {
            let texts = row["completions"].as_array().expect("a list");
            assert_eq!(row["completion"], texts[row["chosen"].as_u64().expect("an index") as usize], "{name}");
            assert!(row["usage"]["generated"].as_u64().expect("a number") > 0, "{name}");
        }
        assert!(rows[0]["correct"].is_number() && rows[2].get("correct").is_none(), "{name}");
        assert!(name == "dvts" || rows.iter().all(|row| row.get("subtrees").is_none()), "{name}");
    }
}

#[test]
fn greedy_search_writes_what_generate_writes() {
    let bench = with_prompts();
    bench.run(&format!("{SEARCH} --strategy greedy --output out.jsonl")).succeeded();
    let generated = bench.run("generate --model model --input prompts.jsonl --max-new-tokens 9").succeeded();
    for (found, generated) in lines(&bench.read("out.jsonl")).iter().zip(lines(&generated.stdout)) {
        assert_eq!(found["completions"], generated["completions"]);
    }
}

#[test]
fn a_run_goes_on_behind_the_rows_that_are_done_whatever_runs_side_by_side() {
    let bench = with_prompts();
    let line = |out: &str, more: &str| {
        bench.run(&format!("{SEARCH} --strategy best-of-n --strategy-args n=3 --scorer logp --output {out} {more}"))
    };
    line("whole.jsonl", "--tree").succeeded();
    let whole = bench.read("whole.jsonl");
    let tree = &lines(&whole)[0]["tree"]["nodes"];
    assert_eq!(tree.as_array().expect("nodes").len(), 4);
    assert_eq!(tree[1]["parent"], 0);
    line("alone.jsonl", "--tree --parallel 1").succeeded();
    // What is read and what is found in the cache depends on what else was read before; their sum does not. A time is no result.
    let told = |text: &str| -> Vec<Value> {
        let joined = |mut line: Value| {
            let seconds = line.as_object_mut().expect("a row").remove("seconds");
            assert!(seconds.and_then(|seconds| seconds.as_f64()).is_some_and(|seconds| seconds >= 0.0), "{line}");
            let usage = |name: &str| line["usage"][name].as_u64().expect("a count");
            line["usage"] = json!([usage("generated"), usage("scored") + usage("reused")]);
            line
        };
        lines(text).into_iter().map(joined).collect()
    };
    assert_eq!(told(&bench.read("alone.jsonl")), told(&whole));
    // The first row, and a second one that was cut off.
    let first = whole.find('\n').expect("a line") + 1;
    bench.write("cut.jsonl", &whole[..first + 30]);
    let ran = line("cut.jsonl", "--tree").succeeded();
    assert!(ran.stdout.contains("3 rows in cut.jsonl, 2 of them new"), "{}", ran.stdout);
    assert_eq!(told(&bench.read("cut.jsonl")), told(&whole));
    let ran = line("cut.jsonl", "--tree").succeeded();
    assert!(ran.stdout.contains("0 of them new"), "{}", ran.stdout);
    // A row whose search was cancelled is no row that is done, and is found again.
    let mut rows = lines(&whole);
    (rows[1]["stopped"], rows[1]["completion"]) = (json!("cancelled"), json!("half of it"));
    bench.rows("half.jsonl", rows);
    let ran = line("half.jsonl", "--tree").succeeded();
    assert!(ran.stdout.contains("3 rows in half.jsonl, 1 of them new"), "{}", ran.stdout);
    let mut again = told(&bench.read("half.jsonl"));
    again.sort_by_key(|row| row["id"].to_string());
    assert_eq!(again, told(&whole));
    line("cut.jsonl", "--temperature 0.5").refused(&["cut.jsonl, line 1", "another run"]);
    bench.rows("prompts.jsonl", [json!({"id": "a", "prompt": "what is 2+4?", "answer": 5})]);
    line("cut.jsonl", "--tree").refused(&["cut.jsonl, line 1", "the row \"a\" had another `prompt`"]);
    bench.rows("prompts.jsonl", [json!({"id": "z", "prompt": "what?"})]);
    line("cut.jsonl", "--tree").refused(&["no row with the id \"a\""]);
}

#[test]
fn limits_are_kept_and_said() {
    let bench = with_prompts();
    let line =
        format!("{SEARCH} --strategy best-of-n --strategy-args n=4 --scorer logp --output out.jsonl --budget 20");
    let ran = bench.run(&line).succeeded();
    assert!(ran.stdout.contains("3 searches were cut short"), "{}", ran.stdout);
    for row in lines(&bench.read("out.jsonl")) {
        assert_eq!((row["stopped"].as_str(), row["completions"].as_array().map(Vec::len)), (Some("budget"), Some(2)));
        assert!(row["usage"]["generated"].as_u64().expect("a number") <= 20);
    }
}

#[test]
fn a_chain_is_followed_by_its_checker_and_a_vote_by_its_answers() {
    let bench = with_prompts();
    bench.rows("prompts.jsonl", [json!({"prompt": "((3+5)*2-4)%10=", "answer": 2})]);
    let line = format!("{SEARCH} --strategy step-beam --scorer chain --output out.jsonl");
    bench.run(&line).succeeded();
    assert_eq!(lines(&bench.read("out.jsonl"))[0]["id"], 0);
    let line = format!("{SEARCH} --strategy majority --strategy-args n=5 --output votes.jsonl");
    bench.run(&line).succeeded();
    assert_eq!(lines(&bench.read("votes.jsonl"))[0]["completions"].as_array().map(Vec::len), Some(5));
    bench.rows("prompts.jsonl", [json!({"prompt": "no chain"})]);
    bench
        .run(&format!("{SEARCH} --strategy step-beam --scorer chain --output no.jsonl"))
        .refused(&["`((3+5)*2-4)%10`"]);
    assert!(!bench.path("no.jsonl").exists());
}

#[test]
fn a_reward_model_says_which_text_is_the_best() {
    let bench = with_prompts();
    bench.copy_model("llama_seqcls", "judge");
    for (number, strategy) in ["best-of-n --strategy-args n=4", "step-beam"].into_iter().enumerate() {
        let out = format!("out-{number}.jsonl");
        // The best of all, whether or not it ended.
        let line = format!("{SEARCH} --strategy {strategy} --scorer reward --reward judge --allow-cut --output {out}");
        assert!(bench.run(&line).succeeded().stderr.contains("loading judge"));
        for row in lines(&bench.read(&out)) {
            let scores: Vec<f64> = row["scores"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
            let chosen = scores[row["chosen"].as_u64().expect("an index") as usize];
            assert!(scores.iter().all(|score| *score <= chosen), "{scores:?}");
        }
    }
    let refused = |options: &str, said: &str| {
        bench.run(&format!("{SEARCH} --strategy best-of-n --output no.jsonl {options}")).refused(&[said]);
    };
    refused("--scorer reward", "name it with --reward");
    refused("--scorer logp --reward judge", "reward does nothing without --scorer reward");
    refused("--scorer reward --reward model", "a head that scores sequences");
}

#[test]
fn an_aligned_model_values_tokens() {
    let bench = with_prompts();
    bench.copy_model("llama_gqa", "aligned");
    let search = |out: &str, options: &str| {
        let line = format!("{SEARCH} --strategy transfer-q --scorer keywords --keywords e --output {out} {options}");
        assert_eq!(bench.run(&line).succeeded().stderr.contains("loading aligned"), options.contains("--baseline"));
        lines(&bench.read(out)).iter().map(|row| row["completion"].clone()).collect::<Vec<_>>()
    };
    // The model itself, in a folder of its own, is what stands in for a baseline where there is none.
    let args = "--strategy-args k=2,rollouts=2,greedy=false";
    let own = search("own.jsonl", args);
    assert_eq!(search("aligned.jsonl", &format!("{args} --baseline aligned")), own);
    // A reward that the baseline was aligned to already needs no weights.
    let same = format!("{args} --baseline aligned --baseline-scorer keywords");
    assert_eq!(search("same.jsonl", &same), own);
    search("other.jsonl", &format!("{args} --baseline aligned --baseline-scorer length"));
    let refused = |options: &str, said: &str| {
        bench.run(&format!("{SEARCH} --output no.jsonl {options}")).refused(&[said]);
        assert!(!bench.path("no.jsonl").exists(), "{options}");
    };
    refused("--strategy greedy --baseline aligned", "--baseline does nothing with the strategy `greedy`");
    refused("--strategy transfer-q --baseline aligned", "the strategy `transfer-q` needs a scorer");
    refused("--strategy transfer-q --scorer logp --baseline-scorer logp", "--baseline");
}

#[test]
fn texts_are_scored_by_words_stems_patterns_and_length() {
    let bench = with_prompts();
    let scores = |name: &str, options: &str| -> Vec<f64> {
        let out = format!("{name}.jsonl");
        let line = format!("{SEARCH} --strategy best-of-n --strategy-args n=4 {options} --output {out}");
        bench.run(&line).succeeded();
        let rows = lines(&bench.read(&out));
        rows.iter().flat_map(|row| row["scores"].as_array().expect("a list")).filter_map(Value::as_f64).collect()
    };
    // Nine tokens beside four: each text is five quarters of the limit too long, unless it ended before.
    let limit = scores("limit", "--scorer length-limit --target-length 4");
    assert!(limit.len() == 12 && limit.contains(&-1.25) && limit.iter().all(|one| (-1.25..=0.0).contains(one)));
    let hard = scores("hard", "--scorer length-limit --target-length 4 --hard");
    assert!(limit.iter().zip(&hard).all(|(soft, hard)| (*hard == 1.0) == (*soft == 0.0)), "{limit:?} {hard:?}");
    // Every text has some character, and as many matches as characters.
    let patterns = scores("patterns", r"--scorer patterns --pattern (?s).");
    assert!(patterns.iter().all(|one| *one <= 0.0 && one.fract() == 0.0) && patterns.iter().any(|one| *one < 0.0));
    let twice = scores("twice", "--scorer patterns --pattern (?s). --also patterns=1 --also length-limit=0");
    assert!(patterns.iter().zip(&twice).all(|(one, two)| 2.0 * one == *two), "{patterns:?} {twice:?}");
    let words = scores("words", "--scorer keywords --keywords e,t,a --stems");
    let all = scores("all", "--scorer keywords --keywords e,t,a --stems --hard");
    assert!(words.iter().zip(&all).all(|(soft, hard)| (*hard == 1.0) == (*soft == 1.0)), "{words:?} {all:?}");
    let refused = |options: &str, said: &str| {
        bench.run(&format!("{SEARCH} --strategy best-of-n --output no.jsonl {options}")).refused(&[said]);
        assert!(!bench.path("no.jsonl").exists(), "{options}");
    };
    refused("--also length=1", "--scorer");
    refused("--scorer logp --also length", "a scorer and its weight are wanted");
    refused("--scorer patterns", "at least one regular expression");
    refused("--scorer patterns --pattern (a", "must be a regular expression, got `(a`");
    refused("--scorer logp --pattern a", "--pattern does nothing without the scorer patterns");
    refused("--scorer patterns --pattern a --stems", "--stems does nothing without the scorer keywords or forbidden");
    refused("--scorer logp --keywords a", "--keywords does nothing without the scorer keywords or forbidden");
    refused(
        "--scorer logp --target-length 9",
        "--target-length does nothing without the scorer length or length-limit",
    );
    refused("--reduce mean", "--reduce does nothing without a scorer");
    refused("--scorer length --hard", "--hard does nothing without the scorer keywords or length-limit");
    refused("--scorer length-limit --target-length 0", "a length limit must be at least 1");
}

#[test]
fn texts_stop_where_they_are_told_to() {
    let bench = with_prompts();
    let run = |out: &str, options: &str| {
        bench.run(&format!("{SEARCH} --strategy majority --strategy-args n=8 --output {out} {options}")).succeeded();
        lines(&bench.read(out))
    };
    let texts = |row: &Value| -> Vec<String> {
        let texts = row["completions"].as_array().expect("a list").iter();
        texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let free = run("free.jsonl", "");
    // The letter that is written most: texts are what they were up to it.
    let letters = free.iter().flat_map(&texts).collect::<String>();
    let written = letters.chars().filter(char::is_ascii_alphanumeric);
    let letter = written.max_by_key(|letter| letters.matches(*letter).count()).expect("a letter");
    let told = run("told.jsonl", &format!("--stop {letter}"));
    let mut stopped = 0;
    for (free, told) in free.iter().zip(&told) {
        for (free, told) in texts(free).iter().zip(texts(told)) {
            assert!(free.starts_with(&told), "{free:?} {told:?}");
            assert!(told == *free || told.contains(letter), "{free:?} {told:?}");
            // A token may say more than the letter, but no other token follows.
            stopped += usize::from(told.len() < free.len());
        }
    }
    assert!(stopped > 0);
    // This model boxes nothing.
    let boxed = run("boxed.jsonl", "--stop-at-boxed");
    assert!(boxed.iter().zip(&free).all(|(boxed, free)| boxed["completions"] == free["completions"]));
    let line = format!("{SEARCH} --strategy greedy --output no.jsonl");
    let empty = [&support::words(&line)[..], &["--stop", ""]].concat();
    support::ran(bench.command(&empty)).refused(&["--stop needs some text"]);
}

#[test]
fn a_choice_is_reflected_on_in_rounds() {
    let bench = with_prompts();
    // Nothing that this model writes has the tags, so every round finds something to mend.
    let run = |out: &str, options: &str| {
        let line = format!("{SEARCH} --strategy paths --scorer think-format --output {out} {options}");
        bench.run(&line).succeeded();
        lines(&bench.read(out))
    };
    let written = |rows: &[Value]| -> Vec<(usize, u64)> {
        let texts = |row: &Value| row["completions"].as_array().expect("a list").len();
        rows.iter().map(|row| (texts(row), row["usage"]["generated"].as_u64().expect("a count"))).collect()
    };
    for more in ["", "--raw"] {
        let name = more.trim_start_matches('-');
        let plain = written(&run(&format!("plain{name}.jsonl"), &format!("--strategy-args n=2 {more}")));
        let mute = run(&format!("mute{name}.jsonl"), &format!("--strategy-args n=2,reflections=2 {more}"));
        let asked = format!("--strategy-args n=2,reflections=2 --reflection Wrong? {more}");
        let asked = written(&run(&format!("asked{name}.jsonl"), &asked));
        for ((plain, mute), asked) in plain.iter().zip(written(&mute)).zip(asked) {
            assert_eq!((plain.0, mute.0, asked.0), (1, 3, 3));
            // A revision is at least a token, and so is an answer to the question.
            assert!(plain.1 + 2 <= mute.1 && plain.1 + 4 <= asked.1, "{plain:?} {mute:?} {asked:?}");
        }
    }
    let refused = |options: &str, said: &str| {
        bench.run(&format!("{SEARCH} --scorer think-format --output no.jsonl {options}")).refused(&[said]);
    };
    refused("--strategy best-of-n --reflection Wrong?", "--reflection does nothing with the strategy `best-of-n`");
    refused("--strategy paths --reflection Wrong?", "set `reflections` in --strategy-args");
}

/// A policy that is right in every second attempt or so, what `label` makes of its attempts, and a refiner that learned it.
#[test]
fn a_refiner_learns_the_rows_of_a_labelling_run_and_mends_drafts() {
    let bench = Bench::new();
    let question = json!([{"role": "user", "content": "what is 2+3?"}]);
    let attempt = |n: usize| json!({"prompt": question, "completion": format!("2+3 is it.\nso {}", 4 + n % 2)});
    bench.rows("attempts.jsonl", (0..16).map(attempt));
    let fit = "--per-device-train-batch-size 4 --gradient-accumulation-steps 1 --learning-rate 1e-2 --max-steps 60";
    let train = |method: &str, model: &str, data: &str, out: &str, options: &str| {
        let line = format!("train {method} --model {model} --data {data} --output-dir {out} {fit} {options}");
        bench.run(&line).succeeded();
    };
    train("sft", "model", "attempts.jsonl", "policy", "");
    bench.rows("problems.jsonl", [json!({"prompt": "what is 2+3?", "answer": 5})]);
    let label = "label --method refine --model policy --input problems.jsonl --segment lines --max-new-tokens 24";
    bench.run(&format!("{label} --rollouts 12 --output work.jsonl")).succeeded();
    bench.run("label --merge work.jsonl --output refinements.jsonl").succeeded();
    let rows = lines(&bench.read("refinements.jsonl"));
    for row in &rows {
        let turns = row["prompt"].as_array().expect("a conversation");
        assert_eq!((turns.len(), &turns[0], &turns[1]["content"]), (3, &question[0], &row["draft"]), "{row}");
        let marked = row["draft"].as_str().is_some_and(|draft| draft.contains("[BAD]"));
        assert_eq!(row["local"], marked, "{row}");
        assert!(row["completion"].as_str().is_some_and(|text| text.contains('5')), "{row}");
    }
    let locals = rows.iter().filter(|row| row["local"] == true).count();
    assert!(0 < locals && locals < rows.len(), "{locals} of {}", rows.len());
    train("sft", "policy", "refinements.jsonl", "refiner", "");

    let asked = |n: usize| json!({"id": n, "prompt": "what is 2+3?", "answer": 5});
    bench.rows("prompts.jsonl", (0..24).map(asked));
    let search = "search --strategy refine --model policy --input prompts.jsonl --segment lines --max-new-tokens 24";
    // Each draft that is wrong and was refined, with its refinement, and whether that is right.
    let refined = |out: &str, options: &str| -> Vec<(String, String, bool)> {
        bench.run(&format!("{search} --output {out} {options}")).succeeded();
        let rows = lines(&bench.read(out));
        let of = |row: &Value| {
            let text = |at: usize| row["completions"][at].as_str().map(str::to_owned);
            let right = |at: usize| row["scores"][at].as_f64().map(|score| score == 1.0);
            (right(0) == Some(false)).then_some((text(0)?, text(1)?, right(1)?))
        };
        rows.iter().filter_map(of).collect()
    };
    let right = |found: &[(String, String, bool)]| found.iter().filter(|(_, _, right)| *right).count();
    let global = r#"--scorer answer --strategy-args {"refinements":"global"}"#;
    let again = refined("again.jsonl", global);
    let mended = refined("mended.jsonl", &format!("{global} --refiner refiner"));
    // The drafts are the same; the model itself is right as often as before, and the refiner mostly.
    let drafts = |found: &[(String, String, bool)]| found.iter().map(|(draft, ..)| draft.clone()).collect::<Vec<_>>();
    assert_eq!(drafts(&again), drafts(&mended));
    assert!(again.len() > 4 && right(&again) < right(&mended), "{again:?} {mended:?}");
    assert!(5 * right(&mended) >= 4 * mended.len(), "{mended:?}");

    // A model of steps says where a draft goes wrong: what stands before is kept, and the refiner goes on from there.
    let steps = |n: usize| json!({"prompt": question, "completions": ["2+3 is it.\n", format!("so {}", 4 + n % 2)], "labels": [1, n % 2]});
    bench.rows("steps.jsonl", (0..16).map(steps));
    train("prm", "policy", "steps.jsonl", "prm", "--steps lines");
    let local =
        r#"--scorer process --process prm --judge answer --strategy-args {"refinements":"local"} --refiner refiner"#;
    let mended = refined("local.jsonl", local);
    assert!(!mended.is_empty() && mended.iter().all(|(_, text, _)| text.starts_with("2+3 is it.\n")), "{mended:?}");
    assert!(5 * right(&mended) >= 4 * mended.len(), "{mended:?}");

    bench
        .run("search --strategy best-of-n --model policy --input prompts.jsonl --output no.jsonl --refiner refiner")
        .refused(&["--refiner does nothing with the strategy `best-of-n`", "take --strategy refine"]);
    bench
        .run(&format!("{search} --scorer answer --output no.jsonl --refiner refiner --strategy-args rounds=0"))
        .refused(&["--refiner is asked in rounds", "set `rounds`"]);
    // Another refiner is another run.
    bench.run(&format!("{search} --output mended.jsonl {global}")).refused(&["found by another run"]);
}

#[test]
fn particles_follow_a_product_with_another_model() {
    let bench = with_prompts();
    bench.copy_model("llama_gqa", "expert");
    let run = |out: &str, options: &str| {
        let ran = bench.run(&format!("{SEARCH} --strategy smc --output {out} {options}")).succeeded();
        assert_eq!(ran.stderr.contains("loading expert"), options.contains("--expert"));
        lines(&bench.read(out)).iter().map(|row| row["completions"].clone()).collect::<Vec<_>>()
    };
    // Guidance by the model itself is the model itself: p^2 / p.
    let guided = r#"--strategy-args {"n":3,"target":"product","strength":2.0,"grain":{"tokens":4}} --expert expert"#;
    let plain = r#"--strategy-args {"n":3,"target":"power","grain":{"tokens":4}}"#;
    assert_eq!(run("guided.jsonl", guided), run("plain.jsonl", plain));
    let refused = |options: &str, said: &str| {
        bench.run(&format!("{SEARCH} --output no.jsonl {options}")).refused(&[said]);
        assert!(!bench.path("no.jsonl").exists(), "{options}");
    };
    refused("--strategy greedy --expert expert", "--expert does nothing with the strategy `greedy`");
    refused(r#"--strategy smc --strategy-args {"target":"product"}"#, "needs another policy");
    refused(r#"--strategy smc --strategy-args {"target":"power"} --expert expert"#, "is for the target `product`");
}

#[test]
fn options_of_sampling_and_choice_are_heeded_or_refused() {
    let bench = with_prompts();
    let run = |out: &str, options: &str| {
        bench.run(&format!("{SEARCH} --output {out} {options}")).succeeded();
        lines(&bench.read(out)).iter().map(|row| row["completions"].clone()).collect::<Vec<_>>()
    };
    // Where only what is as likely as the likeliest token may be drawn, that is drawn.
    let greedy = run("greedy.jsonl", "--strategy greedy");
    let cut = run("cut.jsonl", "--strategy majority --strategy-args n=1 --min-p 1");
    assert_eq!(greedy, cut);
    let likely = run("likely.jsonl", "--strategy likelihood --strategy-args beams=2");
    assert!(likely.iter().all(|texts| texts.as_array().is_some_and(|texts| (1..=2).contains(&texts.len()))));
    let refused = |options: &str, said: &str| {
        bench.run(&format!("{SEARCH} --output no.jsonl {options}")).refused(&[said]);
    };
    refused("--strategy greedy --min-p 1.5", "min_p must be in [0, 1]");
    refused("--strategy greedy --min-p 0.5 --temperature 0", "temperature 0");
    let particles = r#"smc --strategy-args {"target":"power","grain":{"tokens":4}}"#;
    for strategy in ["greedy", "beam", "likelihood", particles] {
        for option in ["temperature 0", "top-k 3", "top-p 0.9", "min-p 0.1"] {
            let name = option.split(' ').next().unwrap_or_default();
            refused(&format!("--strategy {strategy} --{option}"), &format!("--{name} does nothing with the strategy"));
        }
    }
    for name in ["deal", "transfer-q", "controlled"] {
        refused(&format!("--strategy {name} --scorer logp --top-k 3"), "--top-k does nothing with the strategy");
    }
    refused("--strategy majority --max-scorer-calls 3", "--max-scorer-calls does nothing without a scorer");
    for name in ["greedy", "beam", "likelihood", "smc"] {
        refused(&format!("--strategy {name} --allow-cut"), "--allow-cut does nothing with the strategy");
    }
}

#[test]
fn what_is_no_search_is_refused_before_anything_is_written() {
    let bench = with_prompts();
    let refused = |options: &str, said: &[&str]| {
        bench.run(&format!("{SEARCH} --output out.jsonl {options}")).refused(said);
        assert!(!bench.path("out.jsonl").exists(), "{options}");
    };
    refused("--strategy step-beem", &["did you mean `step-beam`?"]);
    refused("--strategy best-of-n --strategy-args k=3", &["best-of-n", "unknown field `k`"]);
    refused("--strategy best-of-n --scorer keywords", &["at least one word"]);
    refused("--strategy best-of-n --scorer answer", &["prompts.jsonl, line 3", "answer"]);
    refused("--strategy greedy --segment sentences", &["by lines, by a delimiter"]);
    refused("--strategy greedy --temperature 0 --top-k 3", &["temperature 0"]);
    refused("--strategy greedy --max-seconds nan", &["--max-seconds"]);
    refused("--strategy greedy --scorer guess", &["guess"]);
    for name in ["best-of-n", "deal", "smc"] {
        refused(&format!("--strategy {name}"), &[name, "needs a scorer", "--scorer"]);
    }
    // Who would not be asked, or not be enough.
    for (name, asked) in [
        ("greedy", "--scorer logp"),
        ("likelihood", "--scorer logp"),
        ("majority", "--judge logp"),
        ("deal", "--scorer logp --judge logp"),
        ("smc", "--strategy-args target=\"power\" --scorer logp"),
    ] {
        let option = if asked.contains("--judge") { "--judge" } else { "--scorer" };
        refused(&format!("--strategy {name} {asked}"), &[&format!("{option} does nothing with the strategy `{name}`")]);
    }
    for name in ["step-beam", "paths"] {
        refused(&format!("--strategy {name} --judge logp"), &[name, "needs a scorer"]);
    }
    refused(
        "--strategy best-of-n --scorer logp --keywords a",
        &["--keywords does nothing without the scorer keywords"],
    );
    bench.rows("prompts.jsonl", [json!({"id": 1, "prompt": "a"}), json!({"id": 1, "prompt": "b"})]);
    refused("--strategy greedy", &["prompts.jsonl, line 2", "another row with the id 1"]);
    // What fails for every row is said once.
    bench.rows("prompts.jsonl", (0..3).map(|n| json!({"prompt": format!("{n}")})));
    let ran = bench
        .run(&format!("{SEARCH} --output out.jsonl --strategy step-beam --strategy-args n=3,expand=2 --scorer logp"));
    ran.refused(&["3 rows are missing", "prompts.jsonl, line 1", "n must be a multiple of `expand`"]);
    assert_eq!(fs::read_to_string(bench.path("out.jsonl")).expect("a file"), "");
}
