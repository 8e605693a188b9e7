//! Fetching the server that some tests talk to: llama.cpp's, out of the PyPI package `xllamacpp`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::model::cache_folder;
use crate::process::{Process, root};

const NAME: &str = "xllamacpp";

/// Installs the server into a virtual environment of its own in the cache folder, unless it, or that of the peers, has it.
pub fn fetch_llama_cpp() -> Result<()> {
    let ascribe = cache_folder()?.join("ascribe");
    let own = ascribe.join("llama-cpp");
    for folder in [&own, &ascribe.join("peers")] {
        let python = folder.join("venv").join("bin").join("python");
        if serves(&python) {
            println!("{} has {NAME} already", python.display());
            return Ok(());
        }
    }
    let requirements = fs::read_to_string(root().join("xtask").join("peers").join("requirements.txt"))?;
    let package = pinned(&requirements).context("xtask/peers/requirements.txt pins no xllamacpp")?;
    fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
    let venv = own.join("venv");
    Process::new("python3").args(["-m", "venv"]).args([&venv]).run().context("is python3-venv installed?")?;
    let python = venv.join("bin").join("python");
    let pip = Process::new(&python).args(["-m", "pip", "install", "--quiet", package]);
    pip.run().with_context(|| format!("pip could not install {package}; is the network there?"))?;
    if !serves(&python) {
        bail!(
            "{package} was installed and cannot be imported; see what `{} -c 'import {NAME}'` says",
            python.display()
        );
    }
    println!("{} has {NAME} now", python.display());
    Ok(())
}

/// Whether this Python has the package.
fn serves(python: &Path) -> bool {
    Process::new(python).args(["-c", &format!("import {NAME}")]).read().is_ok()
}

/// The package with its version, as the benches pin it.
fn pinned(requirements: &str) -> Option<&str> {
    requirements.lines().find(|line| line.starts_with(&format!("{NAME}==")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_benches() {
        assert_eq!(pinned("# xllamacpp==1\ntorch==2\nxllamacpp==3.4\n"), Some("xllamacpp==3.4"));
        assert_eq!(pinned("torch==2\n"), None);
    }
}
