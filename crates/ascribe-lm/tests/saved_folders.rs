//! Folders that are written here, read by transformers. Left out where no Python has it.

use std::path::PathBuf;
use std::process::Command;

use ascribe_lm::{Decoder, DecoderConfig, LanguageModel, Safetensors, Tokenizer};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::root;
use ascribe_testkit::python;
use serde_json::{Value, json};

/// Every golden model: all families and heads.
fn models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("lm")).expect("the golden models are here");
    let folders = entries.map(|entry| entry.expect("the entry can be read").path());
    folders.filter(|folder| folder.join("config.json").is_file()).collect()
}

#[test]
fn transformers_reads_what_is_saved_of_every_family() {
    let Some(python) = python::with_module("transformers") else { return };
    let written = tempfile::tempdir().expect("a folder");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../xtask/peers/same_peer.py");
    // Their vocabularies differ, and this is the smallest; what it says of padding and ends is all that is read.
    let tokenizer = Tokenizer::from_folder(root().join("lm/tokenizer_gpt2")).expect("the golden tokenizer");
    let mut command = Command::new(python);
    command.arg(script).env("HF_HUB_OFFLINE", "1");
    let models = models();
    for folder in &models {
        let config = DecoderConfig::from_json(&folder.join("config.json")).expect("the config is known");
        let mut weights = Safetensors::open(folder).expect("the weights can be read");
        let decoder = Decoder::load(&config, &mut weights, &device()).expect("the weights fit the config");
        let (tokenizer, name) = (tokenizer.clone(), String::new());
        let model = LanguageModel { decoder, config, tokenizer, template: None, name };
        let after = written.path().join(folder.file_name().expect("a folder has a name"));
        std::fs::create_dir(&after).expect("created");
        model.save(&after).expect("written");
        command.arg(folder).arg(after);
    }
    let ran = command.output().expect("Python starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said: Vec<Value> = String::from_utf8_lossy(&ran.stdout)
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(said.len(), models.len());
    for (folder, said) in models.iter().zip(said) {
        let what = format!("{}: {said}", folder.display());
        assert_eq!(said["classes"][0], said["classes"][1], "{what}");
        assert_eq!(said["odd"], json!([]), "{what}");
        let (difference, size) = (said["difference"].as_f64(), said["size"].as_f64());
        assert!(difference.zip(size).is_some_and(|(difference, size)| difference <= 1e-6 * (1.0 + size)), "{what}");
    }
}
