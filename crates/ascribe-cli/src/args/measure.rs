//! Options of what measures, `metric`, `compare` and `eval`, and of `report`.

use std::path::PathBuf;

use ascribe::core::Seed;
use ascribe::eval::bench::{StepReduction, Unparsed};
use ascribe::eval::rank::Level;
use ascribe::eval::{Bootstrap, BootstrapMethod};
use clap::{Args, Subcommand, ValueEnum};

use super::WeightsName;

/// Options of every measurement.
#[derive(Clone, Debug, Args)]
pub struct MeasureArgs {
    /// Confidence level of the intervals.
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    pub level: f64,
    /// Resamples of a bootstrap interval; 0 gives no interval. Without it 10000, and 1000 for more than 100000 rows.
    #[arg(long)]
    pub resamples: Option<usize>,
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Above so many rows a bootstrap has a tenth of the resamples unless asked otherwise: limits move by a few per cent of
/// the width of the interval, and nobody waits for minutes.
const MANY_ROWS: usize = 100_000;

impl MeasureArgs {
    /// The bootstrap of a file of so many rows.
    pub fn bootstrap(&self, rows: usize) -> Bootstrap {
        Bootstrap {
            resamples: self.resamples.unwrap_or(if rows > MANY_ROWS { 1_000 } else { 10_000 }),
            level: self.level,
            seed: Seed(self.seed),
            method: BootstrapMethod::Percentile,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct MetricArgs {
    /// Name of the metric.
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,
    /// Print every metric: name, columns, range, and which way is better.
    #[arg(long, conflicts_with = "name")]
    pub list: bool,
    /// JSONL, a JSON array, or CSV with a header; gzip or not.
    #[arg(long, required_unless_present = "list")]
    pub input: Option<PathBuf>,
    /// Read a column of the metric from one of the file, e.g. `score=reward,label=correct`. Repeatable.
    #[arg(long, alias = "column", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Rows with equal values in this column are not independent; intervals resample its values.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Also the metric of the rows of each tag in this column, such as the level of the goal that a row tests.
    #[arg(long, conflicts_with = "list")]
    pub by: Option<String>,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct CompareArgs {
    /// Rows of the first system.
    pub first: PathBuf,
    /// Rows of the second system.
    pub second: PathBuf,
    /// The column that is compared, in both files.
    #[arg(long)]
    pub on: String,
    /// The column that names a record in both files; without it, rows are paired by their order.
    #[arg(long)]
    pub key: Option<String>,
    /// Records with equal values in this column of the first file are not independent.
    #[arg(long)]
    pub cluster: Option<String>,
    /// The test.
    #[arg(long, value_enum, default_value_t = TestName::Auto)]
    pub test: TestName,
    /// Smaller values are better.
    #[arg(long)]
    pub lower_is_better: bool,
    /// Power of the smallest effect that could have been seen.
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    pub power: f64,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// A paired test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestName {
    /// McNemar for columns of 0 and 1, else sign flips.
    Auto,
    /// Exact, for columns of 0 and 1.
    Mcnemar,
    /// Sign flips of the differences, by cluster if there are clusters.
    SignFlip,
    /// Wilcoxon's signed ranks, exact up to 200 differences that are not 0, else sampled.
    Wilcoxon,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct ReportArgs {
    /// Output folders of `ascribe train`, files with what `eval`, `metric` or `compare` print with `--json`, and outputs of
    /// `search` (with `--tree`: its trees, too).
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// The HTML file to write.
    #[arg(long, default_value = "report.html")]
    pub out: PathBuf,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    pub protocol: EvalCommand,
}

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// RewardMATH: one correct solution against many wrong ones, from released score files.
    #[command(name = "rewardmath")]
    RewardMath(RewardMathArgs),
    /// RewardBench 1: section scores, from scores of pairs or with a model.
    #[command(name = "rewardbench")]
    RewardBench(RewardBenchArgs),
    /// RewardBench 2: best of four and the Ties subset, from scores.
    #[command(name = "rewardbench2")]
    RewardBench2(RewardBench2Args),
    /// ProcessBench: the first wrong step, from predictions or step scores.
    #[command(name = "processbench")]
    ProcessBench(ProcessBenchArgs),
    /// PRMBench-like: which steps are wrong, from step scores.
    #[command(name = "prmbench")]
    PrmBench(PrmBenchArgs),
    /// pass@k, pass^k and majority votes, from several samples a problem.
    Samples(SamplesArgs),
    /// P(True): does a model know which answers are right?
    PTrue(PTrueArgs),
    /// AlpacaEval-like: a judge's preferences for a model over a baseline, stored or asked for in both orders.
    #[command(name = "alpacaeval")]
    AlpacaEval(AlpacaArgs),
    /// BOSE: choices by the perplexity of a filled blank, open answers by a light instruction with examples.
    Bose(BoseArgs),
    /// A judge that marks answers against a teacher: errors and agreement, from its replies or by asking it.
    Grade(GradeArgs),
    /// Bradley-Terry ratings of models with intervals and ranks, from games between two of them.
    Arena(ArenaArgs),
    /// RM-Bench: chosen and rejected in three styles each, from scores.
    #[command(name = "rmbench")]
    RmBench(RmBenchArgs),
    /// Agreement of any number of raters: Krippendorff's alpha, Fleiss' and Randolph's kappa.
    Agreement(AgreementArgs),
    /// Self-correction: what a second attempt mended and broke.
    Correction(CorrectionArgs),
}

/// A model that is asked.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A Hugging Face folder, a GGUF file, or an adapter's folder that names its base.
    #[arg(long, alias = "model-name-or-path")]
    pub model: Option<PathBuf>,
    /// An adapter in the layout of peft, for this model.
    #[arg(long, requires = "model")]
    pub adapter: Option<PathBuf>,
    /// How matrices are held on the CPU.
    #[arg(long, value_enum, default_value_t = WeightsName::AsStored)]
    pub weights: WeightsName,
    /// Give texts to the model as they are, without the chat template.
    #[arg(long, requires = "model")]
    pub raw: bool,
    /// Where to compute: flex (CPU), wgpu, cuda or cuda:N; a build may lack some.
    #[arg(long, env = "ASCRIBE_DEVICE", default_value = "flex")]
    pub device: String,
}

/// What every protocol reads and writes.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// JSONL, a JSON array, or CSV with a header; gzip or not.
    #[arg(long)]
    pub input: PathBuf,
    /// Write the figures as one HTML file too.
    #[arg(long)]
    pub report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RewardMathArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// How step scores become one score.
    #[arg(long, value_enum)]
    pub aggregate: Option<ReductionName>,
    /// What a verdict of a judge that could not be read counts as. Without it lost, as in the release.
    #[arg(long, value_enum)]
    pub unparsed: Option<UnparsedName>,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// How the step scores of a process model become one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReductionName {
    /// The last.
    Last,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The product.
    #[value(alias = "product")]
    Prod,
    /// The mean.
    Mean,
    /// The geometric mean.
    GeometricMean,
    /// The sigmoid of the mean logit.
    MeanLogit,
    /// The mean of p/(1-p).
    MeanOdds,
}

impl ReductionName {
    pub fn reduction(self) -> StepReduction {
        match self {
            Self::Last => StepReduction::Last,
            Self::Min => StepReduction::Min,
            Self::Max => StepReduction::Max,
            Self::Prod => StepReduction::Product,
            Self::Mean => StepReduction::Mean,
            Self::GeometricMean => StepReduction::GeometricMean,
            Self::MeanLogit => StepReduction::MeanLogit,
            Self::MeanOdds => StepReduction::MeanOdds,
        }
    }
}

/// What a verdict that could not be read counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnparsedName {
    /// An error.
    Refuse,
    /// A lost comparison.
    Loss,
    /// Half a win.
    Half,
}

impl UnparsedName {
    pub fn policy(self) -> Unparsed {
        match self {
            Self::Refuse => Unparsed::Refuse,
            Self::Loss => Unparsed::Loss,
            Self::Half => Unparsed::Half,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RewardBenchArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Score sections from the subsets that are there.
    #[arg(long)]
    pub allow_partial: bool,
    /// Reward by the log-ratio to this model instead of the log-probability.
    #[arg(long, requires = "model")]
    pub reference: Option<PathBuf>,
    /// Divide log-probabilities and log-ratios by the number of tokens.
    #[arg(long, requires = "model")]
    pub per_token: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RewardBench2Args {
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct ProcessBenchArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Predict the first step whose score is below this; without it the column `prediction` is read.
    #[arg(long, allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Take the threshold with the highest F1 on this subset (gsm8k, say) for all of them.
    #[arg(long, conflicts_with = "threshold")]
    pub threshold_on: Option<String>,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct PrmBenchArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Steps with at least this score are called right.
    #[arg(long, default_value_t = 0.5, allow_negative_numbers = true)]
    pub threshold: f64,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct SamplesArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Numbers of samples.
    #[arg(long, value_delimiter = ',', default_values_t = [1_usize])]
    pub k: Vec<usize>,
    /// Share the credit among tied answers of a vote (rows with `answers`); else the first to appear wins.
    #[arg(long)]
    pub split_ties: bool,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct PTrueArgs {
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct AlpacaArgs {
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct BoseArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Count the tokens behind the blank of a question with choices too.
    #[arg(long)]
    pub following: bool,
    /// Rows with `question` and `answer` that an open question shows first.
    #[arg(long)]
    pub examples: Option<PathBuf>,
    /// What an open question asks for, in one short line. Without it: "Answer the question briefly."
    #[arg(long)]
    pub instruction: Option<String>,
    /// Most tokens of an open answer. Without it 32.
    #[arg(long, alias = "max-completion-length")]
    pub max_new_tokens: Option<usize>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct GradeArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// The largest mark; 0 is the smallest.
    #[arg(long, allow_negative_numbers = true)]
    pub max_mark: f64,
    /// Rows with `answer`, `reasons` and `mark` that the judge is shown before every answer.
    #[arg(long, requires = "model")]
    pub gradings: Option<PathBuf>,
    /// Ask the judge for a rubric of its own before it marks.
    #[arg(long, requires = "model")]
    pub own_rubric: bool,
    /// Most tokens of a reply. Without it 512.
    #[arg(long, alias = "max-completion-length", requires = "model")]
    pub max_new_tokens: Option<usize>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct ArenaArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// The model whose rating is 1000; without it the mean of all is.
    #[arg(long)]
    pub anchor: Option<String>,
    /// Pull strengths to 0 by so much, for models that do not all hang together by wins.
    #[arg(long, allow_negative_numbers = true)]
    pub ridge: Option<f64>,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RmBenchArgs {
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct AgreementArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// What differences between ratings mean.
    #[arg(long, value_enum, default_value_t = ScaleName::Nominal)]
    pub scale: ScaleName,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// What differences between ratings mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScaleName {
    /// Equal or not.
    Nominal,
    /// Their order.
    Ordinal,
    /// Their distance.
    Interval,
    /// Their distance in proportion.
    Ratio,
}

impl ScaleName {
    pub fn level(self) -> Level {
        match self {
            Self::Nominal => Level::Nominal,
            Self::Ordinal => Level::Ordinal,
            Self::Interval => Level::Interval,
            Self::Ratio => Level::Ratio,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct CorrectionArgs {
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_get_fewer_resamples_unless_they_are_asked_for() {
        let args = |resamples| MeasureArgs { level: 0.95, resamples, seed: 7, json: false, config: None };
        let resamples = |asked, rows| args(asked).bootstrap(rows).resamples;
        assert_eq!([resamples(None, 100_000), resamples(None, 100_001)], [10_000, 1_000]);
        assert_eq!([resamples(Some(500), 10), resamples(Some(10_000), 1_000_000)], [500, 10_000]);
        assert_eq!(resamples(Some(0), 10), 0);
    }
}
