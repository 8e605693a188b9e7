//! `cargo xtask bench peers`: ours and theirs, alternately, on the same weights and inputs; ratios go to
//! `docs/performance.md`, those of metrics into a table of their own.
//!
//! Each measurement is one process: `python xtask/peers/<peer>.py <job> --input <job.json>` and
//! `peer_jobs <job> --input <job.json>`. `xtask/peers/README.md` defines what they read and print.

mod answer;
mod document;
mod environment;
mod growth;
mod jobs;
mod metrics;
mod reading;
mod sharing;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Process, UsageError, cargo, target_folder};
use answer::{Answer, Spread};
use document::{Section, machine};
use environment::Environment;
use jobs::JOBS;
use metrics::METRICS;
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
                    let all: Vec<_> = names().collect();
                    return wrong(format!("no job is called `{name}`; there are {}", all.join(", ")));
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

/// The names of all jobs, in the order of the tables.
fn names() -> impl Iterator<Item = &'static str> {
    JOBS.iter().map(|job| job.name).chain(METRICS.iter().map(|metric| metric.name))
}

/// The jobs that `only` names: one, or all whose names begin with it and `_`.
fn named(only: &str) -> Vec<&'static str> {
    if let Some(one) = names().find(|name| *name == only) {
        return vec![one];
    }
    let family = format!("{only}_");
    names().filter(|name| name.starts_with(&family)).collect()
}

/// Runs the jobs and writes a row of a table after each, so that a run that is cut short keeps what it has.
pub fn peers(options: &Options) -> Result<()> {
    let bench = Bench { environment: Environment::ready()?, ours: our_program()?, rounds: options.rounds };
    let wanted = options.only.as_deref().map_or_else(|| names().collect(), named);
    let mut failed = Vec::new();
    // An older ratio must not stand for a run that failed. The reason may name paths of this machine.
    let mut fail = |work: String, error: anyhow::Error| {
        eprintln!("{work}: {error:#}");
        failed.push(work);
    };
    let (machine, versions) = (machine()?, &bench.environment.versions);
    let facts = format!("{machine}. Versions: {versions}.");
    let table = Section::new("peers", "cargo xtask bench peers", &facts, COLUMNS);
    for job in JOBS.iter().filter(|job| wanted.contains(&job.name)) {
        let measured = (job.input)(&bench.environment).and_then(|input| bench.run(job.name, job.peer_script, &input));
        let found = match measured {
            Ok(rounds) => rounds.cells(),
            Err(error) => {
                fail(job.name.into(), error);
                ["none", "", "", "", ""].map(str::to_owned)
            }
        };
        let head = [format!("`{}`", job.name), job.what.into(), job.peer.into()];
        let row: Vec<String> = head.into_iter().chain(found).chain([job.wanted.into()]).collect();
        println!("{}", row.join(" | "));
        table.set_row(&row)?;
    }
    let facts = format!("{machine}. Ratios: median (min..max), wanted at least 1.0. Versions: {versions}.");
    let table = Section::new("metrics", "cargo xtask bench peers --only metrics", &facts, metrics::COLUMNS);
    for metric in METRICS.iter().filter(|metric| wanted.contains(&metric.name)) {
        let mut memory = String::new();
        let mut row = metric.row(|size| {
            let work = format!("{}, {size} rows", metric.name);
            let input = metric.input(&bench.environment, size);
            let [ratio, ours, theirs, peak, _] =
                match input.and_then(|input| bench.run(metric.name, "metrics_peer", &input)) {
                    Ok(rounds) => rounds.cells(),
                    Err(error) => {
                        fail(work.clone(), error);
                        ["none", "", "", "", ""].map(str::to_owned)
                    }
                };
            println!("{work}: {ratio}, {ours}, {theirs}");
            memory = peak;
            ratio
        });
        row.push(memory);
        table.set_row(&row)?;
    }
    if !failed.is_empty() {
        bail!("no ratio for {}; each reason is named above", failed.join("; "));
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

/// What every measurement needs.
struct Bench {
    environment: Environment,
    /// Our program.
    ours: PathBuf,
    rounds: usize,
}

impl Bench {
    /// Runs both sides alternately, and holds their answers against each other.
    fn run(&self, name: &str, peer_script: &str, input: &Value) -> Result<Rounds> {
        // The rows of a job that reads go with the last measurement.
        let _rows = input["data"].as_str().map(Scratch::of);
        let input = write_input(name, input)?;
        let mut answers = Rounds { ours: Vec::new(), theirs: Vec::new() };
        for round in 0..self.rounds {
            println!("{name}: round {} of {}", round + 1, self.rounds);
            answers.ours.push(run_ours(&self.ours, name, &input)?);
            answers.theirs.push(self.environment.run(peer_script, name, &input)?);
        }
        for (mine, theirs) in answers.ours.iter().zip(&answers.theirs) {
            mine.agrees_with(theirs).context("both sides must compute the same thing")?;
        }
        Ok(answers)
    }
}

/// The answers of both sides, one of each for a round.
struct Rounds {
    ours: Vec<Answer>,
    theirs: Vec<Answer>,
}

impl Rounds {
    /// How many times faster ours is, both rates, our peak of memory as a share of theirs, and our weights.
    fn cells(&self) -> [String; 5] {
        let pairs = || self.ours.iter().zip(&self.theirs);
        let speed = Spread::of(pairs().map(|(mine, theirs)| theirs.median_seconds() / mine.median_seconds()));
        let memory = Spread::of(pairs().map(|(mine, theirs)| mine.peak_rss_bytes / theirs.peak_rss_bytes));
        let weights = self.ours[0].weights.clone().unwrap_or_else(|| "not said".into());
        [speed.to_string(), rate(&self.ours), rate(&self.theirs), memory.to_string(), weights]
    }
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

fn write_input(job: &str, input: &Value) -> Result<PathBuf> {
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
    fn a_name_is_one_job_or_a_family() {
        assert_eq!(named("score"), ["score"]);
        let metrics: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(named("metrics"), metrics);
        assert_eq!(named("metrics_bootstrap"), ["metrics_bootstrap_mean", "metrics_bootstrap_auroc"]);
        assert_eq!(named("metrics_auroc"), ["metrics_auroc"]);
        assert!(named("metric").is_empty() && named("").is_empty());
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), JOBS.len() + METRICS.len());
    }

    /// Two rounds: theirs take 6 and 10 seconds for 12 rows, ours 2 each, and a half and a quarter of the memory.
    #[test]
    fn cells_worked_by_hand() {
        let answer = |seconds: f64, bytes: u32| {
            let said = format!(
                r#"{{"job":"a","seconds":[{seconds}],"units":12,"unit":"rows","peak_rss_bytes":{bytes},"checks":{{}}}}"#
            );
            Answer::parse("a", &said).unwrap()
        };
        let rounds =
            Rounds { ours: vec![answer(2.0, 4), answer(2.0, 4)], theirs: vec![answer(6.0, 8), answer(10.0, 16)] };
        let expected = ["4.00 (3.00..5.00)", "6.00 rows/s", "1.60 rows/s", "0.38 (0.25..0.50)", "not said"];
        assert_eq!(rounds.cells(), expected);
    }

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
