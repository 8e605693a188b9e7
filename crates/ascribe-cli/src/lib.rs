#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod catalog;

mod args;
mod config;
mod help;

mod device;
mod hub;
mod interrupt;
mod judge;
mod output;

mod drawing;
mod findings;
mod records;

mod chain;
mod chat;
mod check_answer;
mod compare;
mod convert;
mod demo;
mod doctor;
mod eval;
mod follow_ups;
mod generate;
mod label;
mod merge;
mod metric;
mod process_scores;
mod refiner;
mod regress;
mod relevance;
mod report;
mod rewarded;
mod route;
mod score;
mod search;
mod soup;
mod train;
mod validate;
mod words;
mod writer;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use catalog::Catalog;

use args::{Cli, Command};
use interrupt::Interrupted;

/// Runs the command line with the objectives and search strategies of `catalog`.
///
/// Every error is one line on standard error and exit code 2; 1 says that `ascribe doctor` found faults, and 130 that a signal
/// ended the work early.
pub fn run(catalog: Catalog) -> ExitCode {
    match dispatch(&catalog) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(interrupted) => {
                eprintln!("{interrupted}");
                ExitCode::from(interrupt::EXIT_CODE)
            }
            None => {
                eprintln!("error: {}", output::one_line(&error));
                ExitCode::from(2)
            }
        },
    }
}

fn dispatch(catalog: &Catalog) -> anyhow::Result<ExitCode> {
    let words = config::expand(std::env::args_os().collect())?;
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayHelp && help::print(&words, catalog)? => {
            return Ok(ExitCode::SUCCESS);
        }
        // Help and version are no errors: clap prints them.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => anyhow::bail!(config::usage_error(&error)),
    };
    match cli.command {
        Command::Demo(args) => demo::run(&args)?,
        Command::Train(args) => train::run(&args, catalog)?,
        Command::Generate(args) => generate::run(&args)?,
        Command::Search(args) => search::run(&args, catalog)?,
        Command::Score(args) => score::run(&args)?,
        Command::Metric(args) => metric::run(&args)?,
        Command::Compare(args) => compare::run(&args)?,
        Command::Eval(args) => eval::run(&args.protocol)?,
        Command::Report(args) => report::run(&args)?,
        Command::Label(args) => label::run(&args)?,
        Command::Route(args) => route::run(&args)?,
        Command::CheckAnswer(args) => check_answer::run(&args)?,
        Command::Regress(args) => regress::run(&args)?,
        Command::Merge(args) => merge::run(&args)?,
        Command::Soup(args) => soup::run(&args)?,
        Command::Doctor(args) => return doctor::run(&args),
        Command::Validate(args) => validate::run(&args, catalog)?,
        Command::Convert(args) => convert::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
