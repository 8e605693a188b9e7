//! The demo over many seeds: for how many does each alignment beat the starting model beyond doubt?

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::process::{Process, UsageError, cargo, target_folder};

/// The comparisons that have to be won, and one that is only reported.
const WON: [&str; 2] = ["dpo - base", "t-reg - base"];
const REPORTED: &str = "t-reg - dpo";

/// Seeds `from` to `to`, both included; `jobs` at a time; `more` goes to every demo.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    from: u64,
    to: u64,
    jobs: usize,
    more: Vec<String>,
}

impl Options {
    /// Reads the options of the command line.
    pub fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self { from: 0, to: 9, jobs: 1, more: Vec::new() };
        let mut rest = arguments;
        while let [name, tail @ ..] = rest {
            if *name == "--" {
                options.more = tail.iter().map(|word| word.to_string()).collect();
                break;
            }
            let [value, tail @ ..] = tail else {
                return Err(UsageError(format!("`{name}` needs a value")).into());
            };
            let number: u64 = value
                .parse()
                .map_err(|_| UsageError(format!("`{name}` takes a whole number from 0 up, got `{value}`")))?;
            match *name {
                "--from" => options.from = number,
                "--to" => options.to = number,
                "--jobs" => options.jobs = usize::try_from(number)?,
                _ => return Err(UsageError(format!("seeds does not know `{name}`")).into()),
            }
            rest = tail;
        }
        if options.from > options.to || options.jobs == 0 {
            return Err(UsageError("--to must not be below --from, and --jobs is at least 1".into()).into());
        }
        Ok(options)
    }
}

/// One comparison of accuracies: the difference and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Difference {
    difference: f64,
    low: f64,
    high: f64,
}

impl Difference {
    /// True where the interval lies above zero; a NaN is no win.
    fn is_won(&self) -> bool {
        self.low > 0.0
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:+.3} [{:+.3}, {:+.3}]", self.difference, self.low, self.high)
    }
}

/// What one demo showed, in the order of [`WON`] and then [`REPORTED`].
#[derive(Debug, PartialEq)]
struct Outcome([Difference; 3]);

impl Outcome {
    fn is_won(&self) -> bool {
        self.0[..WON.len()].iter().all(Difference::is_won)
    }
}

/// Runs the demos, prints the table, and fails when more than one seed in ten is not won.
pub fn seeds(options: &Options) -> Result<()> {
    let folder = target_folder()?.join("seeds");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Built once and set aside: every seed runs the same program, whatever is edited or built meanwhile.
    cargo(&["build", "--release"]).run()?;
    let program = folder.join(format!("ascribe{}", std::env::consts::EXE_SUFFIX));
    fs::copy(target_folder()?.join("release").join(format!("ascribe{}", std::env::consts::EXE_SUFFIX)), &program)?;

    let next = AtomicU64::new(options.from);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > options.to {
                return done;
            }
            let started = Instant::now();
            let outcome = demo(&program, seed, &folder, &options.more);
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("seed {seed} done in {seconds:.0} s");
            done.push((seed, seconds, outcome));
        }
    };
    let mut rows: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    rows.sort_by_key(|row| row.0);

    println!("{:>6} {:>8}  {:26} {:26} {:26} won", "seed", "seconds", WON[0], WON[1], REPORTED);
    for (seed, seconds, outcome) in &rows {
        match outcome {
            Ok(outcome) => {
                let [first, second, third] = outcome.0.map(|difference| difference.to_string());
                let won = if outcome.is_won() { "yes" } else { "no" };
                println!("{seed:>6} {seconds:>8.0}  {first:26} {second:26} {third:26} {won}");
            }
            Err(error) => println!("{seed:>6} {seconds:>8.0}  {error:#}"),
        }
    }
    let won = rows.iter().filter(|(_, _, outcome)| outcome.as_ref().is_ok_and(Outcome::is_won)).count();
    println!("both aligned models beat the starting model, interval above zero: {won} of {} seeds", rows.len());
    if !is_enough(won, rows.len()) {
        bail!("at most one seed in ten may fail, and {} of {} did", rows.len() - won, rows.len());
    }
    Ok(())
}

/// At most one seed in ten fails.
fn is_enough(won: usize, seeds: usize) -> bool {
    (seeds - won) * 10 <= seeds
}

fn demo(program: &Path, seed: u64, folder: &Path, more: &[String]) -> Result<Outcome> {
    let output = folder.join(seed.to_string());
    let json = output.join("demo.json");
    // An older result must not stand in for a run that fails.
    if json.exists() {
        fs::remove_file(&json)?;
    }
    let log = folder.join(format!("{seed}.log"));
    Process::new(program)
        .args(["demo", "--seed", &seed.to_string(), "--output-dir"])
        .args([&output])
        .args(more)
        .log_to(File::create(&log)?)?
        .run()
        .with_context(|| format!("see {}", log.display()))?;
    let text = fs::read_to_string(&json).with_context(|| format!("the demo wrote no {}", json.display()))?;
    read_outcome(&text).with_context(|| format!("{} is not as expected", json.display()))
}

/// Reads `comparisons: [{name, difference, low, high}, ..]`.
fn read_outcome(text: &str) -> Result<Outcome> {
    let demo: Value = serde_json::from_str(text)?;
    let comparisons = demo["comparisons"].as_array().context("`comparisons` is missing")?;
    let find = |name: &str| {
        let found = comparisons.iter().find(|comparison| comparison["name"] == name);
        let found = found.with_context(|| format!("no comparison is named `{name}`"))?;
        let number = |field: &str| {
            found[field].as_f64().ok_or_else(|| anyhow!("`{field}` of `{name}` is {}, not a number", found[field]))
        };
        Ok::<_, anyhow::Error>(Difference {
            difference: number("difference")?,
            low: number("low")?,
            high: number("high")?,
        })
    };
    Ok(Outcome([find(WON[0])?, find(WON[1])?, find(REPORTED)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo_json(dpo_low: &str, t_reg_low: &str) -> String {
        format!(
            r#"{{"seed": 3, "comparisons": [
                {{"name": "t-reg - dpo", "difference": -0.01, "low": -0.03, "high": 0.01, "n": 500}},
                {{"name": "dpo - base", "difference": 0.1, "low": {dpo_low}, "high": 0.15}},
                {{"name": "t-reg - base", "difference": 0.09, "low": {t_reg_low}, "high": 0.14}}]}}"#
        )
    }

    #[test]
    fn a_seed_is_won_when_both_intervals_lie_above_zero() {
        let won = |dpo, t_reg| read_outcome(&demo_json(dpo, t_reg)).unwrap().is_won();
        assert!(won("0.05", "0.04"));
        assert!(!won("0.05", "0.0"));
        assert!(!won("-0.01", "0.04"));
    }

    #[test]
    fn comparisons_are_found_by_name() {
        let outcome = read_outcome(&demo_json("0.05", "0.04")).unwrap();
        assert_eq!(outcome.0[2], Difference { difference: -0.01, low: -0.03, high: 0.01 });
        assert_eq!(outcome.0[0].to_string(), "+0.100 [+0.050, +0.150]");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| format!("{:#}", read_outcome(text).unwrap_err());
        assert!(error(r#"{"comparisons": []}"#).contains("dpo - base"));
        assert!(error(&demo_json("null", "0.1")).contains("`low` of `dpo - base` is null"));
        assert!(error("{}").contains("comparisons"));
    }

    #[test]
    fn at_most_one_seed_in_ten_fails() {
        assert!(is_enough(9, 10) && is_enough(18, 20) && is_enough(1, 1));
        assert!(!is_enough(8, 10) && !is_enough(4, 5) && !is_enough(17, 20));
    }

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        let defaults = Options { from: 0, to: 9, jobs: 1, more: vec![] };
        assert_eq!(Options::parse(&[]).unwrap(), defaults);
        let all = Options::parse(&["--to", "4", "--from", "2", "--jobs", "2", "--", "--device", "flex"]).unwrap();
        assert_eq!(all, Options { from: 2, to: 4, jobs: 2, more: vec!["--device".into(), "flex".into()] });
        for wrong in
            [&["--from"][..], &["--to", "x"], &["--seeds", "3"], &["--from", "5", "--to", "4"], &["--jobs", "0"]]
        {
            assert!(Options::parse(wrong).unwrap_err().is::<UsageError>(), "{wrong:?}");
        }
    }
}
