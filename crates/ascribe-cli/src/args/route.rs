//! Options of `ascribe route`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which pairs a person should label.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RouteArgs {
    /// Pairs with `features`: numbers or flags by name, or a list of them.
    #[arg(long)]
    pub input: PathBuf,
    /// What was tried: rows with `human`, the numbers of the pairs (from 0) that a person labelled, and `score`, how good the reward
    /// model became that was trained on the labels of both.
    #[arg(long, conflicts_with = "draw_mixes")]
    pub mixes: Option<PathBuf>,
    /// Draw so many mixes of random sizes to be tried, and print their `human`; 200 in the paper.
    #[arg(long)]
    pub draw_mixes: Option<usize>,
    /// The rows that the mixes are scored on: a pair of --input with a prompt of theirs is refused, since labels for it would be
    /// chosen for the evaluation.
    #[arg(long)]
    pub evaluation: Option<PathBuf>,
    /// How many pairs a person can label.
    #[arg(long, requires = "mixes")]
    pub budget: Option<usize>,
    /// What the score is a function of: the counts of features among the pairs of a person, or their squares and products as well.
    #[arg(long, value_enum, default_value_t = FormOfCounts::Linear, requires = "mixes")]
    pub form: FormOfCounts,
    /// Weight of the squared coefficients.
    #[arg(long, default_value_t = 1e-3, allow_negative_numbers = true, requires = "mixes")]
    pub ridge: f64,
    /// Take the best predicted one of so many random mixes (500 in the code), instead of the pairs with the largest gains.
    #[arg(long, requires = "mixes")]
    pub draws: Option<usize>,
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// What a score is a function of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormOfCounts {
    /// The counts.
    Linear,
    /// The counts, their squares and their products.
    Quadratic,
}
