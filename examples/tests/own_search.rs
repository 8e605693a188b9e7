//! The strategy of `own_search.rs` by its binary, with the tiny golden model `llama_gqa`.

use std::fs;
use std::path::Path;
use std::process::Command;

use ascribe_testkit::golden;
use serde_json::Value;

/// Exit code, standard output and standard error.
fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_own_search"));
    let output = command.args(words).current_dir(folder).env_remove("ASCRIBE_DEVICE").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_strategy_of_another_crate_runs_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden::root().join("lm").join("llama_gqa");
    let model = model.to_str().unwrap();
    fs::write(
        folder.path().join("prompts.jsonl"),
        "{\"id\":\"a\",\"prompt\":\"one\"}\n{\"id\":\"b\",\"prompt\":\"two\"}\n",
    )
    .unwrap();
    let search = |args: &str, output: &str| {
        let words = ["search", "--strategy", "until-content", "--strategy-args", args, "--model", model, "--input"];
        let more = ["prompts.jsonl", "--output", output, "--scorer", "logp", "--segment", "length:3"];
        run(folder.path(), &[&words[..], &more[..], &["--max-new-tokens", "6"]].concat())
    };
    let rows = |output: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path().join(output)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (code, names, _) = run(folder.path(), &["search", "--list"]);
    assert!(code == Some(0) && names.lines().any(|name| name == "until-content"), "{names}");
    // Log-probabilities are below 0.5, so it never is content; and above -1000, so it is at once.
    for (args, samples) in [(r#"{"enough":0.5,"most":3}"#, 3), (r#"{"enough":-1000,"most":3}"#, 1)] {
        let output = format!("found-{samples}.jsonl");
        let (code, _, error) = search(args, &output);
        assert_eq!(code, Some(0), "{error}");
        let found = rows(&output);
        assert_eq!(found.iter().map(|row| row["id"].as_str()).collect::<Vec<_>>(), [Some("a"), Some("b")]);
        for row in &found {
            let scores: Vec<f64> = row["scores"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
            let chosen = row["chosen"].as_u64().unwrap() as usize;
            assert_eq!((scores.len(), row["completions"].as_array().unwrap().len()), (samples, samples));
            assert!(scores.iter().all(|score| *score <= scores[chosen]));
            assert_eq!(row["completion"], row["completions"][chosen]);
        }
        // What is done is not done again.
        let (code, said, error) = search(args, &output);
        assert!(code == Some(0) && said.contains("0 of them new"), "{said} {error}");
        assert_eq!(rows(&output), found);
    }
    let (code, _, error) = search(r#"{"enuff":1}"#, "none.jsonl");
    assert!(code == Some(2) && error.contains("unknown field `enuff`"), "{error}");
    assert!(!folder.path().join("none.jsonl").exists());
}
