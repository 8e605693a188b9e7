//! The peers' Python: a virtual environment in the user's cache folder, and the models both sides read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::answer::Answer;
use super::ask;
use crate::model::{cache_folder, fetch_smollm2};
use crate::process::{Process, root};

/// An environment in which every package and model is in place.
pub struct Environment {
    python: PathBuf,
    /// `torch 2.15.0, ..`
    pub versions: String,
    /// SmolLM2-135M-Instruct, Q4_1.
    pub gguf: PathBuf,
    /// The same weights as f32, in a folder as transformers writes it.
    pub smollm2: PathBuf,
    /// A Llama of width 128 with seeded weights, likewise.
    pub tiny: PathBuf,
}

impl Environment {
    /// Installs and writes what is missing.
    pub fn ready() -> Result<Self> {
        let folder = cache_folder()?.join("ascribe").join("peers");
        let python = folder.join("venv").join("bin").join("python");
        let requirements = root().join("xtask").join("peers").join("requirements.txt");
        let wanted = fs::read_to_string(&requirements).context("xtask/peers/requirements.txt")?;
        // Written last, so an installation that was cut short is done again.
        let installed = folder.join("installed.txt");
        if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            Process::new("python3").args(["-m", "venv"]).args([&folder.join("venv")]).run()?;
            let pip = Process::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]);
            pip.args([&requirements]).run().context("pip could not install the peers; is the network there?")?;
            fs::write(&installed, &wanted)?;
        }
        let gguf = fetch_smollm2()?;
        let models = folder.join("models");
        let (smollm2, tiny) = (models.join("smollm2"), models.join("tiny"));
        // The last file that the script writes.
        if !tiny.join("model.safetensors").exists() {
            Process::new(&python).args([script("prepare")]).args([&gguf, &models]).run()?;
        }
        Ok(Self { python, versions: versions(&wanted), gguf, smollm2, tiny })
    }

    /// Runs one job of one peer.
    pub fn run(&self, peer: &str, job: &str, input: &Path) -> Result<Answer> {
        let process = Process::new(&self.python).args([script(peer)]).args([job, "--input"]).args([input]);
        let quiet = [("HF_HUB_OFFLINE", "1"), ("TQDM_DISABLE", "1"), ("CUDA_VISIBLE_DEVICES", "")];
        ask(quiet.iter().fold(process, |process, (name, value)| process.env(name, value)), job)
    }
}

fn script(name: &str) -> PathBuf {
    root().join("xtask").join("peers").join(format!("{name}.py"))
}

/// The pinned packages of the requirements: `torch 2.15.0, transformers 5.23.0`.
fn versions(requirements: &str) -> String {
    let pinned = requirements.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once("=="));
    pinned.map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_requirements() {
        assert_eq!(versions("# a==1\ntorch==2.15.0\n\ntrl==1.16.0\n"), "torch 2.15.0, trl 1.16.0");
    }
}
