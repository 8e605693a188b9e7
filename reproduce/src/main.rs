//! The small experiments that show each published system at work, and one table of what they showed.

// The allocator of the binary.
#[allow(unsafe_code)]
#[path = "../../crates/ascribe-cli/src/allocator.rs"]
mod allocator;

mod cache;
mod chain;
mod heads;
mod judge;
mod language;
mod planted;
mod reward_table;
mod rollouts;
mod rooms;
mod row;
mod rows;
mod solver;
mod step_policy;
mod step_table;
mod table;
mod tabular;
mod world;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ascribe::core::Seed;
use clap::Parser;

use cache::{Cache, Outcome};
use row::Row;

/// Runs the experiments and prints what they showed of each published direction, with paired intervals over seeds.
#[derive(Parser)]
#[command(name = "reproduce")]
struct Options {
    /// Rows to run, by name; all when none is named.
    rows: Vec<String>,
    /// Lists the rows and what each claims.
    #[arg(long)]
    list: bool,
    /// Seeds a row; the row's own number by default.
    #[arg(long)]
    seeds: Option<u64>,
    /// Seeds at a time.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, |cores| cores.get() as u64))]
    jobs: u64,
    /// Where results are kept, so that a run that was stopped goes on.
    #[arg(long, default_value = "target/reproduce")]
    folder: PathBuf,
    /// Takes results of other builds too; the page says how many builds it rests on.
    #[arg(long)]
    any_build: bool,
    /// Also writes the table, as Markdown, and beside it a drawing of each row that has one, where it is run.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    allocator::keep_pages();
    let options = Options::parse();
    let rows = chosen(&options.rows)?;
    if options.list {
        for row in &rows {
            println!("{:22} {}", row.name, row.paper);
            row.claims.iter().for_each(|claim| println!("{:22}   {}", "", claim.says));
        }
        return Ok(());
    }
    if options.seeds == Some(0) || options.jobs == 0 {
        bail!("--seeds and --jobs are at least 1");
    }
    let cache = Cache::of_this_program(&options.folder, options.any_build)?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let began = Instant::now();
        match run(row, options.seeds.unwrap_or(row.seeds), options.jobs, &cache) {
            Ok(outcomes) => {
                eprintln!("[{}/{}] {} in {:.0} s", at + 1, rows.len(), row.name, began.elapsed().as_secs_f64());
                done.push((*row, outcomes));
            }
            // The other rows are not lost with it.
            Err(error) => {
                eprintln!("[{}/{}] {error:#}", at + 1, rows.len());
                failed.push(row.name);
            }
        }
    }
    print!("{}", table::text(&done)?);
    if !failed.is_empty() {
        bail!("{} of {} rows failed: {}", failed.len(), rows.len(), failed.join(", "));
    }
    if let Some(path) = &options.out {
        std::fs::write(path, table::markdown(&done)?).with_context(|| format!("cannot write {}", path.display()))?;
        for (drawing, svg) in table::drawings(&done) {
            let path = path.with_file_name(drawing.file);
            std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(rows::ROWS.to_vec());
    }
    let find = |name: &String| {
        rows::ROWS.iter().copied().find(|row| row.name == name).with_context(|| {
            let known: Vec<&str> = rows::ROWS.iter().map(|row| row.name).collect();
            format!("no row is called `{name}`; there are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

/// All seeds of a row, `jobs` at a time; those that are cached are not run again. In the order of seeds.
fn run(row: &Row, seeds: u64, jobs: u64, cache: &Cache) -> Result<Vec<Outcome>> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return done;
            }
            done.push((seed, one(row, seed, cache)));
        }
    };
    let mut outcomes: Vec<(u64, Result<Outcome>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.min(seeds)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    outcomes.sort_by_key(|outcome| outcome.0);
    outcomes
        .into_iter()
        .map(|(seed, outcome)| outcome.with_context(|| format!("row {}, seed {seed}", row.name)))
        .collect()
}

fn one(row: &Row, seed: u64, cache: &Cache) -> Result<Outcome> {
    if let Some(outcome) = cache.get(row.name, seed) {
        return Ok(outcome);
    }
    let began = Instant::now();
    let figures = (row.run)(Seed(seed))?;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("  {} seed {seed}: {seconds:.1} s", row.name);
    cache.put(row.name, seed, seconds, figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_every_row_has_five_seeds_and_a_claim() {
        for (at, row) in rows::ROWS.iter().enumerate() {
            assert!(rows::ROWS[..at].iter().all(|other| other.name != row.name), "{} stands twice", row.name);
            assert!(row.seeds >= 5 && !row.claims.is_empty(), "{}", row.name);
        }
        assert!(chosen(&["nothing".into()]).err().unwrap().to_string().contains("no row is called `nothing`"));
    }

    /// One row whole: the published direction of RewardMATH, from the cache the second time.
    #[test]
    fn a_row_runs_and_is_taken_from_the_cache_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of_this_program(folder.path(), false).unwrap();
        let row = chosen(&["reward-math".into()]).unwrap()[0];
        let first = run(row, 5, 2, &cache).unwrap();
        assert_eq!(first, run(row, 5, 1, &cache).unwrap(), "the second run reads the cache, seconds included");
        let text = table::text(&[(row, first)]).unwrap();
        assert!(text.contains("holds"), "{text}");
    }
}
