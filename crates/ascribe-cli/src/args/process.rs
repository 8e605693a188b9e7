//! Options of process verification: `label` and `check-answer`.

use std::path::PathBuf;

use ascribe::process::label::{AfterError, Softness};
use ascribe::process::{AnswerKind, Checker, Extraction, Preset, Segmenter, Shard};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{CommonArgs, Given, WeightsName, named, table};

/// How answers are compared.
#[derive(Clone, Debug, Args)]
pub struct CheckerArgs {
    /// Whose idea of equivalence: ours, math_verify or prm800k.
    #[arg(long, value_parser = named::<Preset>, default_value = "ours")]
    pub preset: Preset,
    /// How far an answer is looked for: gsm8k (behind ####), strict (where it is marked) or flexible.
    #[arg(long, value_parser = named::<Extraction>, default_value = "flexible")]
    pub extraction: Extraction,
    /// The kind that right answers must have: integer, numeric, expr, choice, tuple or text.
    #[arg(long, value_parser = named::<AnswerKind>)]
    pub answer_kind: Option<AnswerKind>,
    /// Accept 100 times or 1/100 of the right number without a percent sign.
    #[arg(long)]
    pub percent_lenient: bool,
}

impl CheckerArgs {
    pub fn checker(&self) -> Checker {
        Checker {
            preset: self.preset,
            extraction: self.extraction,
            kind: self.answer_kind,
            percent_lenient: self.percent_lenient,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct CheckAnswerArgs {
    /// One completion, or a bare answer.
    #[arg(long, required_unless_present = "input", requires = "answer", allow_hyphen_values = true)]
    pub completion: Option<String>,
    /// Its right answer.
    #[arg(long, requires = "completion", allow_hyphen_values = true)]
    pub answer: Option<String>,
    /// Rows with `completion` and `answer`; the same rows with `verdict`, `why` and `extracted` are written as JSONL.
    #[arg(long, conflicts_with = "completion")]
    pub input: Option<PathBuf>,
    /// Read a column from another one, e.g. `completion=solution`. Repeatable.
    #[arg(long = "columns", alias = "column")]
    pub columns: Vec<String>,
    #[command(flatten)]
    pub checker: CheckerArgs,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// How labels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabelMethod {
    /// Rollouts from every prefix of a given completion.
    MonteCarlo,
    /// Whether any rollout from a prefix of a given completion is right.
    Sorm,
    /// First errors of the model's own completions, found by halving: OmegaPRM.
    Omega,
    /// Pairs of sibling steps from a tree search.
    Mcts,
    /// Right paths and values along paths, from a tree search: self-evolution.
    Evolve,
    /// Wrong drafts of the model's own with what they should become: GLoRe.
    Refine,
    /// Two attempts each, of which the second mends the first: SCoRe.
    SelfCorrect,
    /// Attempts of the model's own, right or wrong: what orm, tvm, p-ik and implicit-prm learn from.
    Outcomes,
}

/// What rows a method writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowsName {
    /// Steps with labels.
    Steps,
    /// A better and a worse continuation.
    Pairs,
    /// Completions to imitate.
    Completions,
    /// Completions that are right or wrong.
    Outcomes,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct LabelArgs {
    // First: what is read before it is not there any more.
    #[command(flatten)]
    pub given: Given,
    /// How labels are made.
    #[arg(long, value_enum, required_unless_present = "merge")]
    pub method: Option<LabelMethod>,
    /// Who completes: a Hugging Face folder, a GGUF file, an adapter's folder that names its base, or a name on the hub.
    #[arg(long, alias = "model-name-or-path", required_unless_present = "merge")]
    pub model: Option<PathBuf>,
    /// An adapter in the layout of peft, for this model.
    #[arg(long, requires = "model")]
    pub adapter: Option<PathBuf>,
    /// How matrices are held on the CPU.
    #[arg(long, value_enum, default_value_t = WeightsName::AsStored)]
    pub weights: WeightsName,
    /// Rows with `prompt` (text or messages) and the right `answer`; monte-carlo and sorm also need a `completion`.
    #[arg(long, required_unless_present = "merge")]
    pub input: Option<PathBuf>,
    /// One line an item goes here, as it is done; a run that finds it goes on from there. With --merge: the rows.
    #[arg(long)]
    pub output: PathBuf,
    /// Make one file of rows out of the outputs of all shards.
    #[arg(long, num_args(1..), conflicts_with_all = ["method", "input"])]
    pub merge: Vec<PathBuf>,
    /// Do the items of shard i of n alone, such as 2/8.
    #[arg(long, default_value = "1/1")]
    pub shard: Shard,
    /// Read a column from another one, e.g. `answer=solution`. Repeatable.
    #[arg(long = "columns", alias = "column")]
    pub columns: Vec<String>,
    /// Give the prompt to the model as it is, without the chat template.
    #[arg(long)]
    pub raw: bool,
    /// Where steps end: paragraphs, lines, headers, sentences, delimiter:TEXT, marker:ID, length:N or parts:N.
    #[arg(long, value_parser = segmenter, default_value = "paragraphs")]
    pub segment: Segmenter,
    /// Rows to write, where a method has several kinds.
    #[arg(long, value_enum)]
    pub rows: Option<RowsName>,
    /// soft labels (shares, the default) or hard ones, 0 and 1 (monte-carlo, omega, evolve).
    #[arg(long, value_parser = named::<Softness>)]
    pub labels: Option<Softness>,
    /// Labels behind the first wrong step: mask (the default), zero or keep (monte-carlo).
    #[arg(long, value_parser = named::<AfterError>)]
    pub after_error: Option<AfterError>,
    /// Keep a completion only if rollouts and a judge name the same first wrong step, or both none: the column `judged` has the
    /// judge's, counted from 0, or -1 (monte-carlo).
    #[arg(long)]
    pub consensus: bool,
    /// Count a right rollout only if it uses the results of its prefix (sorm).
    #[arg(long)]
    pub consistent: bool,
    /// Rollouts from a prefix (monte-carlo, sorm, omega); attempts at a problem (refine, self-correct, outcomes). 8 unless it is
    /// given.
    #[arg(long)]
    pub rollouts: Option<usize>,
    /// Rollouts from the question alone (omega); --rollouts unless it is given.
    #[arg(long)]
    pub root_rollouts: Option<usize>,
    /// Searches of a question (omega); 100 unless it is given.
    #[arg(long)]
    pub searches: Option<usize>,
    /// Probe each boundary that was found once more, with twice the rollouts (omega).
    #[arg(long)]
    pub confirm: bool,
    /// Simulations of a problem (mcts); 500 unless it is given.
    #[arg(long)]
    pub simulations: Option<usize>,
    /// Steps that are proposed at a state (mcts 6, evolve 3, unless it is given).
    #[arg(long)]
    pub children: Option<usize>,
    /// Difference of values above which siblings are a pair (mcts); 0.7 unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Numbers of a search without an option of their own, as `name=value,..` or as JSON: alpha, beta, length, c_puct (omega);
    /// exploration, min_visits (mcts); exploration, simulations, max_nodes, max_depth, right_ends, bear_ratio, back_up (evolve).
    #[arg(long, value_parser = table::<Value>, default_value = "", hide_default_value = true)]
    pub method_args: Value,
    /// Most tokens of a rollout.
    #[arg(long, alias = "max-completion-length", default_value_t = 256)]
    pub max_new_tokens: usize,
    /// Divides the logits; above 0.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Keep the most likely tokens up to this probability.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f32,
    /// Most sequences that the model advances for one item; 0 is no cap. What is done by then is kept.
    #[arg(long, default_value_t = 0)]
    pub max_policy_calls: u64,
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub checker: CheckerArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// A segmenter by its name.
pub(super) fn segmenter(text: &str) -> Result<Segmenter, String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` must be a whole number"));
    Ok(match text.split_once(':') {
        None => match text {
            "paragraphs" => Segmenter::Delimiter("\n\n".into()),
            "lines" => Segmenter::Delimiter("\n".into()),
            "headers" => Segmenter::Headers,
            "sentences" => Segmenter::Sentences,
            other => return Err(unknown(other)),
        },
        Some(("delimiter", text)) => Segmenter::Delimiter(text.replace("\\n", "\n").replace("\\t", "\t")),
        Some(("marker", id)) => {
            Segmenter::MarkerToken(id.parse().map_err(|_| format!("`{id}` must be the id of a token"))?)
        }
        Some(("length", tokens)) => Segmenter::FixedLength(number(tokens)?),
        Some(("parts", parts)) => Segmenter::EqualParts(number(parts)?),
        Some((other, _)) => return Err(unknown(other)),
    })
}

fn unknown(name: &str) -> String {
    let names = "paragraphs, lines, headers, sentences, delimiter:TEXT, marker:ID, length:N and parts:N";
    format!("there is no segmenter `{name}`; the segmenters are {names}")
}
