//! Everything that is checked without running a test, cheapest first.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{Process, cargo};
use crate::tidy;

/// How much is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All but the feature checks.
    Fast,
    /// All but the wgpu check: a later step builds with that feature.
    WithoutWgpu,
    /// Everything.
    Full,
}

/// Crates that work on host data alone (with their default features off).
const HOST_CRATES: [&str; 7] = [
    "ascribe-core",
    "ascribe-eval",
    "ascribe-worlds",
    "ascribe-search",
    "ascribe-lm",
    "ascribe-data",
    "ascribe-process",
];

/// Runs the stages in order and stops at the first that fails.
pub fn check(depth: Depth) -> Result<()> {
    let started = Instant::now();
    stage("house rules", tidy::tidy)?;
    command(cargo(&["fmt", "--all", "--check"]))?;
    stage("host crates depend on no Burn", host_crates_depend_on_no_burn)?;
    command(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    command(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings"))?;
    if depth == Depth::Full {
        command(cargo(&["check", "-p", "ascribe-preference", "--features", "testing"]))?;
        command(cargo(&["check", "-p", "ascribe-cli", "--features", "wgpu"]))?;
    }
    if depth != Depth::Fast {
        command(cargo(&["check", "-p", "ascribe-core", "-p", "ascribe-lm", "--no-default-features"]))?;
        command(cargo(&["check", "-p", "ascribe-process", "--no-default-features"]))?;
        command(cargo(&["check", "-p", "ascribe-lm", "--no-default-features", "--features", "served"]))?;
        // With DOCS_RS the CUDA bindings build where no CUDA is installed.
        command(cargo(&["check", "-p", "ascribe-cli", "--features", "cuda"]).env("DOCS_RS", "1"))?;
    }
    println!("check passed in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn command(process: Process) -> Result<()> {
    stage(&process.line(), || process.run())
}

fn stage(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("-- {name}");
    let started = Instant::now();
    let outcome = run();
    let seconds = started.elapsed().as_secs_f64();
    outcome.with_context(|| format!("check stopped at \"{name}\" after {seconds:.1} s"))?;
    println!("   {seconds:.1} s");
    Ok(())
}

/// What the manifests say directly is a house rule; this sees what comes in through other crates.
fn host_crates_depend_on_no_burn() -> Result<()> {
    for name in HOST_CRATES {
        let tree = cargo(&["tree", "-p", name, "--no-default-features", "--edges", "normal,build", "--prefix", "none"]);
        let tree = String::from_utf8(tree.read()?)?;
        if let Some(found) = tree.lines().find(|line| line.starts_with("burn")) {
            bail!("{name} without default features depends on {found}; take the feature away that brings it in");
        }
    }
    Ok(())
}
