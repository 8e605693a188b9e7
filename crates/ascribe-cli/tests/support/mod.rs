//! Runs of the binary, each in a folder of its own that holds a tiny model (`model`, golden `llama_gqa`: 2 layers, 402
//! ids, a chat template, a context of 256) and twelve pairs (`pairs.jsonl`).
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ascribe_testkit::golden;
use serde_json::{Value, json};

/// Options of a short run: 8 pairs to train on, 4 steps an epoch, every step different from the one before.
pub const SHORT: &str = "--held-out 4 --per-device-train-batch-size 2 --gradient-accumulation-steps 1 \
                         --learning-rate 1e-3 --max-length 48 --logging-steps 1";

/// A folder to work in.
pub struct Bench {
    folder: tempfile::TempDir,
}

/// What a run left behind.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        bench.copy_model("llama_gqa", "model");
        let reply = |number: usize, word: &str| format!("the {word} of {number}");
        bench.rows(
            "pairs.jsonl",
            (0..12).map(
                |n| json!({"prompt": format!("what is {n}?"), "chosen": reply(n, "sum"), "rejected": reply(n, "rest")}),
            ),
        );
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies the golden model `name` to the folder `to`; files that are there already are replaced.
    pub fn copy_model(&self, name: &str, to: &str) {
        fs::create_dir_all(self.path(to)).expect("a folder for the model");
        for entry in fs::read_dir(golden::root().join("lm").join(name)).expect("a golden model") {
            let entry = entry.expect("a file of the golden model");
            if entry.file_name() != "expected.json" {
                fs::copy(entry.path(), self.path(to).join(entry.file_name())).expect("a copy");
            }
        }
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a file in the temporary folder");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }

    /// Writes JSONL.
    pub fn rows(&self, name: &str, rows: impl IntoIterator<Item = Value>) {
        self.write(name, rows.into_iter().map(|row| format!("{row}\n")).collect::<String>());
    }

    /// The binary with these words, in this folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ascribe"));
        self.set(&mut command, words);
        command
    }

    /// Gives `command` these words, this folder and no device of the user's.
    pub fn set(&self, command: &mut Command, words: &[&str]) {
        command.args(words).current_dir(self.folder.path()).env_remove("ASCRIBE_DEVICE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Runs a line, whose words have no spaces in them.
    pub fn run(&self, line: &str) -> Ran {
        ran(self.command(&words(line)))
    }

    /// Every file below the folder `name` with its bytes, but for the cache, which may always grow. Empty when there is none.
    pub fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        fn below(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    below(root, &path, found);
                } else {
                    let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                    found.insert(name, fs::read(&path).expect("a file"));
                }
            }
        }
        let mut found = BTreeMap::new();
        below(&self.path(name), &self.path(name), &mut found);
        found.retain(|name, _| !name.starts_with("cache/"));
        found
    }

    /// The same, but for what is not equal between equal runs: the log with its seconds, and the optimizer's file, whose
    /// entries stand in the order of a hash map.
    pub fn equal_files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files(name);
        files.retain(|name, _| name != "log.jsonl" && !name.ends_with("optimizer.bpk"));
        files
    }

    /// The folders in `name`, sorted, but for the cache.
    pub fn folders(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != "cache");
        names.sort();
        names
    }
}

pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

pub fn ran(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Exit code 2 and one line that begins with `error: `, the last one, with all of `words` in it.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(2), "exit code; standard error:\n{}", self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one line of error expected:\n{}", self.stderr);
        assert_eq!(self.stderr.lines().last(), Some(errors[0]), "the error comes last:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(errors[0].contains(word), "`{word}` is not said: {}", errors[0]);
        }
    }
}
