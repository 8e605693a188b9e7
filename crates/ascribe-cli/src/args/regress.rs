//! Options of `ascribe regress`.

use std::path::PathBuf;

use ascribe::worlds::Operation;
use clap::Args;

/// Which expressions are sought, and of what.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RegressArgs {
    /// Points, a row each: JSONL, a JSON array, or CSV with a header; gzip or not.
    #[arg(long)]
    pub data: PathBuf,
    /// The column that is explained.
    #[arg(long, default_value = "y")]
    pub target: String,
    /// The columns that explain it, separated by commas; without it every other column that has a number in it.
    #[arg(long, value_delimiter = ',')]
    pub variables: Vec<String>,
    /// What expressions are made of beside variables and constants, separated by commas: +, -, *, /, exp, log, cos, sin, sqrt.
    #[arg(long, value_delimiter = ',', value_parser = operator, default_values = ["+", "-", "*", "/"], allow_hyphen_values = true)]
    pub operators: Vec<Operation>,
    /// Most constants that are fitted in an expression. With some the search takes much longer.
    #[arg(long, default_value_t = 0)]
    pub max_constants: usize,
    /// Most epochs, each of a tree search and of an evolution. The search ends before where an expression fits with an error of at
    /// most 1e-10.
    #[arg(long, default_value_t = 20)]
    pub epochs: usize,
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// An operator as expressions write it.
fn operator(text: &str) -> Result<Operation, String> {
    Operation::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| {
        let names = Operation::ALL.map(Operation::name).join(", ");
        format!("`{text}` is no operator; give some of {names}")
    })
}
