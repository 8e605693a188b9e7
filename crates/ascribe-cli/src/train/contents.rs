//! Hashes of the models that a run asks beside its own: a run that goes on must find in their folders what it found before.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::rollouts::folder_of;
use super::short;
use super::step_rewards::log_ratios_of;
use crate::Catalog;
use crate::args::TrainArgs;
use crate::hub::resolve;

/// What training writes beside a model, and what says nothing of it.
const BESIDE: [&str; 2] = ["log.jsonl", "summary.json"];

/// A hash of the files of a model, and of those of its base where it is an adapter; "none" where there is nothing: whoever loads
/// it says so.
pub(super) fn of_model(path: &Path) -> anyhow::Result<String> {
    let path = resolve(path)?;
    if !path.exists() {
        return Ok("none".to_owned());
    }
    let mut hash = blake3::Hasher::new();
    add(&path, &mut hash)?;
    if let Some(base) = base(&path)? {
        add(&base, &mut hash)?;
    }
    Ok(short(&hash.finalize().to_hex()))
}

/// The reward and process models that judge a run, each with the hash of its files.
pub(super) fn of_judges(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<(&'static str, String)> {
    let constraints = args.constraints.constraint.iter().map(|(name, _)| name);
    let bounds = constraints.chain(&args.constraints.constraint_metric);
    let mut told = Vec::new();
    for name in args.rl.reward.iter().chain(&args.rounds.gold).chain(bounds) {
        if let Some(folder) = log_ratios_of(name).or_else(|| folder_of(name, catalog)) {
            told.push(format!("{name} {}", of_model(folder)?));
        }
    }
    if let Some(reference) = &args.rl.implicit_reference {
        told.push(format!("implicit_reference {}", of_model(reference)?));
    }
    Ok(("set of judges", if told.is_empty() { "none".to_owned() } else { told.join(", ") }))
}

/// Adds a file, or the files of a folder by their names.
fn add(path: &Path, hash: &mut blake3::Hasher) -> anyhow::Result<()> {
    let failed = || format!("cannot read `{}`", path.display());
    let mut files: Vec<PathBuf> = vec![path.to_owned()];
    if path.is_dir() {
        files.clear();
        for entry in std::fs::read_dir(path).with_context(failed)? {
            files.push(entry.with_context(failed)?.path());
        }
        files.retain(|file| file.is_file());
        files.sort();
    }
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if BESIDE.contains(&name.as_str()) {
            continue;
        }
        let cannot = || format!("cannot read `{}`", file.display());
        let mut contents = File::open(&file).with_context(cannot)?;
        // With lengths, so that no name runs into contents.
        let length = contents.metadata().with_context(cannot)?.len();
        hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(&length.to_le_bytes());
        std::io::copy(&mut contents, hash).with_context(cannot)?;
    }
    Ok(())
}

/// Where the base of an adapter lies, if this is one and its base is found.
fn base(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let config = folder.join("adapter_config.json");
    if !config.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&config).with_context(|| format!("cannot read `{}`", config.display()))?;
    // What cannot be read is refused by whoever loads the adapter.
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(name) = config["base_model_name_or_path"].as_str() else { return Ok(None) };
    let beside = folder.join(name);
    let found = if beside.exists() { beside } else { resolve(Path::new(name))? };
    Ok(found.exists().then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_its_files_and_those_of_its_base() {
        let root = tempfile::tempdir().unwrap();
        let (model, adapter) = (root.path().join("model"), root.path().join("adapter"));
        let write = |folder: &Path, name: &str, text: &str| {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        write(&model, "config.json", "{}");
        write(&model, "model.safetensors", "one");
        let first = of_model(&model).unwrap();
        assert_eq!(of_model(&model).unwrap(), first);
        // What a run says of itself is no part of a model.
        write(&model, "log.jsonl", "{}");
        write(&model.join("checkpoint-2"), "model.safetensors", "two");
        assert_eq!(of_model(&model).unwrap(), first);
        write(&adapter, "adapter_config.json", r#"{"base_model_name_or_path": "../model"}"#);
        let adapted = of_model(&adapter).unwrap();
        write(&model, "model.safetensors", "two");
        assert_ne!(of_model(&model).unwrap(), first);
        assert_ne!(of_model(&adapter).unwrap(), adapted);
        // The same bytes under another name, or cut elsewhere, are other files.
        write(&model, "model.safetensors", "one");
        std::fs::rename(model.join("config.json"), model.join("other.json")).unwrap();
        assert_ne!(of_model(&model).unwrap(), first);
        assert_eq!(of_model(&root.path().join("absent")).unwrap(), "none");
    }
}
