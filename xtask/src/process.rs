//! Running other programs, with errors that say what to do.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, anyhow, bail};

/// The command line was not understood: the usage text helps.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The root of the workspace. Cargo names it when it runs us: a path compiled in would be another clone's where clones
/// share a target folder.
pub fn root() -> PathBuf {
    let ours = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&ours).parent().expect("xtask lies in the workspace").to_owned()
}

/// A program that runs in the root of the workspace.
pub struct Process(Command);

/// The cargo that runs us.
pub fn cargo(arguments: &[&str]) -> Process {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Process::new(&program).args(arguments)
}

impl Process {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Self(command)
    }

    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn log_to(mut self, file: std::fs::File) -> Result<Self> {
        self.0.stdout(file.try_clone()?).stderr(file);
        Ok(self)
    }

    /// Runs it with our own output; anything but success is an error.
    pub fn run(mut self) -> Result<()> {
        let status = self.0.stdin(Stdio::null()).status().map_err(|error| self.not_started(&error))?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.line());
        }
        Ok(())
    }

    /// Runs it and returns what it wrote to standard output; anything but success is an error.
    pub fn read(mut self) -> Result<Vec<u8>> {
        let Output { status, stdout, stderr } =
            self.0.stdin(Stdio::null()).output().map_err(|error| self.not_started(&error))?;
        if !status.success() {
            let stderr = String::from_utf8_lossy(&stderr);
            let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            bail!("`{}` failed ({status}): {last}", self.line());
        }
        Ok(stdout)
    }

    /// The command as one would type it.
    pub fn line(&self) -> String {
        let program = Path::new(self.0.get_program()).file_stem().unwrap_or_default();
        let words = std::iter::once(program).chain(self.0.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    fn not_started(&self, error: &std::io::Error) -> anyhow::Error {
        let program = self.0.get_program().to_string_lossy();
        match error.kind() {
            ErrorKind::NotFound => anyhow!(NotFound(program.into_owned())),
            _ => anyhow!("{program} did not start: {error}"),
        }
    }
}

/// A program that is not installed.
#[derive(Debug)]
pub struct NotFound(String);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was not found; install it, or put it on the PATH", self.0)
    }
}

impl std::error::Error for NotFound {}

/// Cargo's target folder, whoever set it.
pub fn target_folder() -> Result<PathBuf> {
    let metadata: serde_json::Value =
        serde_json::from_slice(&cargo(&["metadata", "--no-deps", "--format-version", "1"]).read()?)?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder.ok_or_else(|| anyhow!("cargo metadata names no target_directory"))?.into())
}
