//! `cargo xtask bench peers`: ours and theirs, alternately, on the same weights and inputs; ratios go to
//! `docs/performance.md`.
//!
//! Each measurement is one process: `python xtask/peers/<peer>.py <job> --input <job.json>` and
//! `peer_jobs <job> --input <job.json>`. `xtask/peers/README.md` defines what they read and print.

mod answer;
mod document;
mod environment;
mod growth;
mod jobs;
mod reading;
mod sharing;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{Process, UsageError, cargo, target_folder};
use answer::{Answer, Spread};
use document::{Section, machine};
use environment::Environment;
use jobs::{JOBS, Job, named};
use reading::Scratch;

pub use growth::growth;
pub use reading::memory;
pub use sharing::sharing;

/// Threads that either side may use.
const THREADS: usize = 2;

/// What is measured and how often.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    only: Option<String>,
    rounds: usize,
}

impl Options {
    /// Reads the options of the command line.
    pub fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self { only: None, rounds: 3 };
        let wrong = |what: String| Err(UsageError(what).into());
        for pair in arguments.chunks(2) {
            match *pair {
                ["--only", name] if !named(name).is_empty() => options.only = Some(name.into()),
                ["--only", name] => {
                    let names: Vec<_> = JOBS.iter().map(|job| job.name).collect();
                    return wrong(format!("no job is called `{name}`; there are {}", names.join(", ")));
                }
                ["--rounds", count] => match count.parse() {
                    Ok(rounds) if rounds > 0 => options.rounds = rounds,
                    _ => return wrong(format!("`--rounds` takes a whole number from 1 up, got `{count}`")),
                },
                _ => return wrong(format!("bench peers does not understand `{}`", pair.join(" "))),
            }
        }
        Ok(options)
    }
}

/// Runs the jobs and writes a row of the table after each, so that a run that is cut short keeps what it has.
pub fn peers(options: &Options) -> Result<()> {
    let environment = Environment::ready()?;
    let ours = our_program()?;
    let facts = format!("{}. Versions: {}.", machine()?, environment.versions);
    let section = Section::new("peers", "cargo xtask bench peers", &facts, COLUMNS);
    let mut failed = Vec::new();
    let wanted = options.only.as_deref().map_or_else(|| JOBS.iter().collect(), named);
    for job in wanted {
        let row = match measure(job, &environment, &ours, options.rounds) {
            Ok(row) => row,
            Err(error) => {
                eprintln!("{}: {error:#}", job.name);
                failed.push(job.name);
                // An older ratio must not stand for a run that failed. The reason may name paths of this machine.
                let head = [format!("`{}`", job.name), job.what.into(), job.peer.into(), "none".into()];
                let empty = vec![String::new(); COLUMNS.len() - head.len() - 1];
                head.into_iter().chain(empty).chain([job.wanted.into()]).collect()
            }
        };
        println!("{}", row.join(" | "));
        section.set_row(&row)?;
    }
    if !failed.is_empty() {
        bail!("no ratio for {}; each reason is named above", failed.join(", "));
    }
    Ok(())
}

const COLUMNS: &[&str] = &[
    "job",
    "work",
    "peer",
    "ratio (median, min..max)",
    "ours",
    "theirs",
    "our peak / theirs",
    "our weights",
    "wanted",
];

/// Builds our side once; every round runs the same program.
fn our_program() -> Result<PathBuf> {
    cargo(&["build", "--release", "-p", "ascribe-benches", "--bin", "peer_jobs"]).run()?;
    Ok(target_folder()?.join("release").join(format!("peer_jobs{}", std::env::consts::EXE_SUFFIX)))
}

fn measure(job: &Job, environment: &Environment, ours: &Path, rounds: usize) -> Result<Vec<String>> {
    let input = (job.input)(environment)?;
    // The rows of a job that reads go with the last measurement.
    let _rows = input["data"].as_str().map(Scratch::of);
    let input = write_input(job.name, &input)?;
    let (mut our_answers, mut their_answers) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        println!("{}: round {} of {rounds}", job.name, round + 1);
        our_answers.push(run_ours(ours, job.name, &input)?);
        their_answers.push(environment.run(job.peer_script, job.name, &input)?);
    }
    for (mine, theirs) in our_answers.iter().zip(&their_answers) {
        mine.agrees_with(theirs).context("both sides must compute the same thing")?;
    }
    let pairs = || our_answers.iter().zip(&their_answers);
    let speed = Spread::of(pairs().map(|(mine, theirs)| theirs.median_seconds() / mine.median_seconds()));
    let memory = Spread::of(pairs().map(|(mine, theirs)| mine.peak_rss_bytes / theirs.peak_rss_bytes));
    Ok(vec![
        format!("`{}`", job.name),
        job.what.into(),
        job.peer.into(),
        speed.to_string(),
        rate(&our_answers),
        rate(&their_answers),
        memory.to_string(),
        our_answers[0].weights.clone().unwrap_or_else(|| "not said".into()),
        job.wanted.into(),
    ])
}

/// The median rate over all rounds: `0.42 pairs/s`.
fn rate(answers: &[Answer]) -> String {
    let rates = Spread::of(answers.iter().map(|answer| answer.units / answer.median_seconds()));
    format!("{} {}/s", document::number(rates.median), answers[0].unit)
}

fn run_ours(program: &Path, job: &str, input: &Path) -> Result<Answer> {
    ask(Process::new(program).args([job, "--input"]).args([input]), job)
}

/// Runs one side with its threads limited and reads the last line that it prints.
fn ask(process: Process, job: &str) -> Result<Answer> {
    let threads = THREADS.to_string();
    let process = process.env("RAYON_NUM_THREADS", &threads).env("OMP_NUM_THREADS", &threads);
    let line = process.line();
    let said = String::from_utf8(process.read()?)?;
    Answer::parse(job, &said).with_context(|| format!("`{line}` gave no answer"))
}

fn write_input(job: &str, input: &serde_json::Value) -> Result<PathBuf> {
    let folder = target_folder()?.join("peers");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{job}.json"));
    fs::write(&path, serde_json::to_string(input)?).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        assert_eq!(Options::parse(&[]).unwrap(), Options { only: None, rounds: 3 });
        let all = Options::parse(&["--rounds", "5", "--only", "decode"]).unwrap();
        assert_eq!(all, Options { only: Some("decode".into()), rounds: 5 });
        assert_eq!(Options::parse(&["--only", "metrics"]).unwrap().only.as_deref(), Some("metrics"));
        for wrong in [&["--only"][..], &["--only", "x"], &["--rounds", "0"], &["--rounds", "x"], &["decode", "x"]] {
            assert!(Options::parse(wrong).unwrap_err().is::<UsageError>(), "{wrong:?}");
        }
    }
}
