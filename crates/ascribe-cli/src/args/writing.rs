//! Options of reward models that write before they score: `ascribe train critique` and `ascribe train themis`.

use std::path::PathBuf;

use clap::Args;

/// What is written before the score, and what it counts for.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Reward model that writes")]
pub struct WritingArgs {
    /// Weight of the loss on the scores of a pair: 1 for critique and 0.5 for themis, unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub score_weight: Option<f64>,
    /// Weight of the language-model loss of what is written, added up over both sides of a pair: 1 for critique and 0.5 for themis,
    /// unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub lm_weight: Option<f64>,
    /// Take pairs in which one side alone has a critique.
    #[arg(long)]
    pub single_critiques: bool,
    /// Tools that traces may call: Calculator, Calendar, Table. The first two, and the third with --facts, unless they are given.
    #[arg(long, num_args(1..), value_delimiter = ',')]
    pub tools: Vec<String>,
    /// What the tool Table holds: a JSON file with an object of texts by key.
    #[arg(long)]
    pub facts: Option<PathBuf>,
    /// Most calls before a score; 4 unless it is given.
    #[arg(long)]
    pub n_calls: Option<usize>,
}
