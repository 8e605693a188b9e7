//! What can be typed. Every option is also a key of `--config file.toml`, and `_` may stand for `-`.

mod archer;
mod constraint;
mod given;
mod measure;
mod objective;
mod process;
mod process_model;
mod regress;
mod reward;
mod rl;
mod rounds;
mod route;
mod search;
mod served;
mod writing;

use std::path::PathBuf;

use ascribe::data::{Boundary, Kind, Neutral};
use ascribe::lm::Precision;
use ascribe::process::Segmenter;
use ascribe::process::credit::StepView;
use ascribe::train::{OptimArgs, OptimKind, ScheduleKind, ScheduleOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;

use crate::config::closest;
pub use archer::ArcherArgs;
pub use constraint::ConstraintArgs;
pub use given::Given;
pub use measure::{
    AgreementArgs, AlpacaArgs, ArenaArgs, BoseArgs, CompareArgs, CorrectionArgs, EvalArgs, EvalCommand, GradeArgs,
    MetricArgs, ModelArgs, PTrueArgs, PrmBenchArgs, ProcessBenchArgs, ReportArgs, RewardBench2Args, RewardBenchArgs,
    RewardMathArgs, RmBenchArgs, SamplesArgs, ScaleName, TestName,
};
pub use objective::ObjectiveArgs;
pub use process::{CheckAnswerArgs, LabelArgs, LabelMethod, RowsName};
pub use process_model::{FormName, ProcessArgs, StepHeadName, StepLossName};
pub use regress::RegressArgs;
pub use reward::{CombineName, ContrastName, HeadInitName, RewardArgs, RewardedArgs, VoteName};
pub use rl::{CorrectionName, DeadGroupsName, OreoLevelName, RlArgs, StageName, StepRewards};
pub use rounds::{CurriculumArgs, CurriculumName, EaseName, LabelsName, RoundArgs};
pub use route::{FormOfCounts, RouteArgs};
pub use search::{ScorerName, SearchArgs};
pub use served::ServedArgs;
pub use writing::WritingArgs;

/// Align language models: preference optimisation, search and evaluation, with credit in one vocabulary.
#[derive(Debug, Parser)]
#[command(name = "ascribe", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a tiny model from nothing, align it with DPO and T-REG, and write a report: under three minutes.
    Demo(DemoArgs),
    /// Train a model: `ascribe train <method>`, such as sft, dpo, kto, simpo, orpo, t-reg, reward or prm, or on its own rollouts
    /// grpo, rloo or ppo.
    Train(Box<TrainArgs>),
    /// Continue prompts, or talk: `--chat`.
    Generate(Box<GenerateArgs>),
    /// Search for texts: `ascribe search --strategy <name>`; `--list` shows the names.
    Search(Box<SearchArgs>),
    /// Log-probabilities, and implicit rewards, of given completions; rewards by a reward model: `--reward`; scores of steps by a
    /// process model: `--process`.
    Score(Box<ScoreArgs>),
    /// One metric of the table, from the columns of a file: `ascribe metric --list` shows the table.
    Metric(MetricArgs),
    /// Two systems on the same records: which is better, by how much, and what could have been seen.
    Compare(CompareArgs),
    /// A benchmark, from files in its published format or by asking a model: `ascribe eval <protocol>`.
    Eval(EvalArgs),
    /// One HTML file from what runs leave: learning curves, held-out figures, and what was measured with `--json`.
    Report(ReportArgs),
    /// Labels of steps, made by a model that completes: Monte Carlo, OmegaPRM, tree search, refinement, self-correction.
    Label(Box<LabelArgs>),
    /// Which pairs a person should label, and which a model: from the scores of reward models on mixes of both labels.
    Route(RouteArgs),
    /// Is an answer right? One completion, or every row of a file.
    CheckAnswer(CheckAnswerArgs),
    /// Expressions that explain one column of numbers by others: symbolic regression.
    Regress(RegressArgs),
    /// Add an adapter into the weights of its base, and write a whole model.
    Merge(MergeArgs),
    /// One model for a preference over objectives, out of one that was trained for each: a weighed mean of their weights.
    Soup(SoupArgs),
    /// Look for faults in data: exit code 0 without findings, 1 with them, 2 for an error.
    Doctor(DoctorArgs),
    /// Check a training run without starting it: `ascribe validate <method> --config file.toml`.
    Validate(Box<TrainArgs>),
    /// Write data of any layout as JSONL with the columns of TRL.
    Convert(ConvertArgs),
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct DemoArgs {
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where `report.html` and `demo.json` go.
    #[arg(long, default_value = ".")]
    pub output_dir: PathBuf,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// Where to compute: flex (CPU), wgpu, cuda or cuda:N; a build may lack some.
    #[arg(long, env = "ASCRIBE_DEVICE", default_value = "flex")]
    pub device: String,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct TrainArgs {
    // First: what is read before it is not there any more.
    #[command(flatten)]
    pub given: Given,
    /// The objective by name, such as sft, dpo, kto, simpo or t-reg, or a sum of some, such as dpo+sft; on rollouts grpo, dr_grpo,
    /// dapo, gspo, cispo, rloo, reinforce, reinforce_plus_plus, remax, ppo, ma_ppo, raft, oreal, oreo, brain, steer-lm or score; in
    /// rounds of pairs that it writes iterative-dpo, iterative-gpo, iterative-cream or iterative-scir; on judged responses of a file
    /// offline-oreo; on pairs whose order teaches nothing scir; on games in turns archer; or reward, for a reward model; or critique
    /// or themis, for one that writes before it scores; or orm, prm, pav, tvm, p-ik or implicit-prm, for a process model.
    pub method: String,
    /// A Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:file.gguf).
    #[arg(help_heading = "Model", long, alias = "model-name-or-path")]
    pub model: PathBuf,
    /// JSONL, JSON, CSV or Parquet, packed by gzip or zstd or not, with the columns of TRL or of a published layout.
    #[arg(help_heading = "Data", long, alias = "dataset-name")]
    pub data: PathBuf,
    /// Checkpoints, log and the final model go here. A run that finds its checkpoints here goes on from the last.
    #[arg(help_heading = "Output", long)]
    pub output_dir: PathBuf,
    /// Read a column from another one, e.g. `prompt=question`. Repeatable.
    #[arg(help_heading = "Data", long = "columns", alias = "column")]
    pub columns: Vec<String>,
    /// Refuse the run when a row cannot teach, instead of leaving it out.
    #[arg(help_heading = "Data", long)]
    pub strict: bool,
    /// Rows kept for evaluation; no prompt stands on both sides.
    #[arg(help_heading = "Data", long, alias = "max-eval-samples", default_value_t = 0)]
    pub held_out: usize,
    /// Use at most this many rows for training; 0 uses all.
    #[arg(help_heading = "Data", long, default_value_t = 0)]
    pub max_train_samples: usize,
    /// Longest prompt and response together, in tokens.
    #[arg(help_heading = "Data", long, default_value_t = 512)]
    pub max_length: usize,
    /// Where prompt and response meet in tokens: `apart`, each is encoded by itself; `shared-prefix`, their text is encoded as a
    /// whole, and tokens that merge belong to the response.
    #[arg(help_heading = "Data", long, value_parser = named::<Boundary>, default_value = "apart")]
    pub boundary: Boundary,
    #[command(flatten)]
    pub objective: ObjectiveArgs,
    #[command(flatten)]
    pub reward: RewardArgs,
    #[command(flatten)]
    pub writing: WritingArgs,
    #[command(flatten)]
    pub process: ProcessArgs,
    /// The reference, when it is not the model that training starts from.
    #[arg(help_heading = "Model", long)]
    pub reference: Option<PathBuf>,
    /// Revision prompts of t-reg: `quote`, `no_quote`, or a TOML file with `better` and `worse`.
    #[arg(help_heading = "Objective", long, default_value = "quote")]
    pub revision: String,
    /// The model that DPO trained, whose rewards are the token rewards with `--credit dpo_reward`.
    #[arg(help_heading = "Objective", long)]
    pub dpo_model: Option<PathBuf>,
    /// Train a low-rank adapter (LoRA) beside frozen weights, and write it in the layout of peft.
    #[arg(help_heading = "Adapter", long)]
    pub use_peft: bool,
    /// Rank of the adapter.
    #[arg(help_heading = "Adapter", long, default_value_t = 16, requires = "use_peft")]
    pub lora_r: usize,
    /// The adapter is multiplied by `lora_alpha / lora_r`.
    #[arg(
        help_heading = "Adapter",
        long,
        default_value_t = 32.0,
        requires = "use_peft",
        allow_negative_numbers = true
    )]
    pub lora_alpha: f64,
    /// What is adapted: `all-linear`, or projections such as `q_proj,v_proj`, separated by spaces or commas.
    #[arg(help_heading = "Adapter", long, num_args(1..), value_delimiter = ',', default_values = ["q_proj", "v_proj"], requires = "use_peft")]
    pub lora_target_modules: Vec<String>,
    /// Multiply by `lora_alpha / sqrt(lora_r)` instead.
    #[arg(help_heading = "Adapter", long, requires = "use_peft")]
    pub use_rslora: bool,
    /// Keep the inputs of layers alone and compute each layer again for the backward pass: much less memory, more time, the
    /// same numbers. On with --use-peft unless it is `false`, else off.
    #[arg(help_heading = "Model", long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub gradient_checkpointing: Option<bool>,
    /// Learn the rows of the first step by the plain forms of all fused operations too, and refuse to go on where the loss differs
    /// by more than 1e-3 or the gradients by more than 1e-2 of their size. For the device flex.
    #[arg(help_heading = "Model", long)]
    pub verify_fused: bool,
    /// Highest learning rate.
    #[arg(help_heading = "Optimizer", long, default_value_t = 1e-6, allow_negative_numbers = true)]
    pub learning_rate: f64,
    /// constant, linear, cosine, cosine_with_min_lr, cosine_with_restarts, polynomial, inverse_sqrt or
    /// warmup_stable_decay.
    #[arg(help_heading = "Optimizer", long, value_parser = named::<ScheduleKind>, default_value = "linear")]
    pub lr_scheduler_type: ScheduleKind,
    /// Numbers of that shape: num_cycles, power, lr_end, min_lr_ratio, timescale, num_decay_steps; as `name=value,..` or as
    /// JSON.
    #[arg(help_heading = "Optimizer", long, value_parser = table::<ScheduleOptions>, default_value = "", hide_default_value = true)]
    pub lr_scheduler_kwargs: ScheduleOptions,
    /// Share of the steps that warm up.
    #[arg(help_heading = "Optimizer", long, default_value_t = 0.1, allow_negative_numbers = true)]
    pub warmup_ratio: f64,
    /// Passes over the rows.
    #[arg(help_heading = "Steps", long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub num_train_epochs: f64,
    /// Stop after so many optimizer steps; 0 leaves it to the epochs.
    #[arg(help_heading = "Steps", long, default_value_t = 0)]
    pub max_steps: usize,
    /// Rows (pairs) that go through the model at once.
    #[arg(help_heading = "Steps", long, default_value_t = 4)]
    pub per_device_train_batch_size: usize,
    /// Rows (pairs) that are evaluated at once.
    #[arg(help_heading = "Steps", long, default_value_t = 4)]
    pub per_device_eval_batch_size: usize,
    /// Batches of one optimizer step.
    #[arg(help_heading = "Steps", long, default_value_t = 4)]
    pub gradient_accumulation_steps: usize,
    /// Tokens that go through the model at once: the rows of an optimizer step stay the same, and are cut into batches of at most so
    /// many tokens, or of one row, instead of by --per-device-train-batch-size. A prompt that rows share counts once.
    #[arg(help_heading = "Steps", long)]
    pub max_batch_tokens: Option<usize>,
    /// Largest joint norm of the gradients; 0 does not clip.
    #[arg(help_heading = "Optimizer", long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub max_grad_norm: f64,
    /// adamw_torch, adam, sgd or rmsprop.
    #[arg(help_heading = "Optimizer", long, value_parser = named::<OptimKind>, default_value = "adamw_torch")]
    pub optim: OptimKind,
    /// Numbers of the optimizer: amsgrad, momentum, nesterov, alpha; as `name=value,..` or as JSON.
    #[arg(help_heading = "Optimizer", long, value_parser = table::<OptimArgs>, default_value = "", hide_default_value = true)]
    pub optim_args: OptimArgs,
    /// Weight decay: decoupled with adamw_torch, added to the gradient with the others.
    #[arg(help_heading = "Optimizer", long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub weight_decay: f64,
    /// Decay of the first moment.
    #[arg(help_heading = "Optimizer", long, default_value_t = 0.9, allow_negative_numbers = true)]
    pub adam_beta1: f64,
    /// Decay of the second moment.
    #[arg(help_heading = "Optimizer", long, default_value_t = 0.999, allow_negative_numbers = true)]
    pub adam_beta2: f64,
    /// Added to the root of the second moment (of the mean square, with rmsprop).
    #[arg(help_heading = "Optimizer", long, default_value_t = 1e-8, allow_negative_numbers = true)]
    pub adam_epsilon: f64,
    /// Root of all randomness.
    #[arg(help_heading = "Steps", long, default_value_t = 0)]
    pub seed: u64,
    /// Print every so many steps.
    #[arg(help_heading = "Output", long, default_value_t = 5)]
    pub logging_steps: usize,
    /// Evaluate on the held-out rows every so many steps; 0 evaluates at the end alone.
    #[arg(help_heading = "Output", long, default_value_t = 0)]
    pub eval_steps: usize,
    /// Write a checkpoint every so many steps; 0 writes one at the end alone.
    #[arg(help_heading = "Output", long, default_value_t = 0)]
    pub save_steps: usize,
    /// Keep at most so many checkpoints: the best and the last always stay. 0 keeps all.
    #[arg(help_heading = "Output", long, default_value_t = 2)]
    pub save_total_limit: usize,
    #[command(flatten, next_help_heading = "Run")]
    pub common: CommonArgs,
    #[command(flatten)]
    pub rl: RlArgs,
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    #[command(flatten)]
    pub rounds: RoundArgs,
    #[command(flatten)]
    pub archer: ArcherArgs,
    #[command(flatten)]
    pub curriculum: CurriculumArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct DoctorArgs {
    /// JSONL, JSON, CSV or Parquet, packed by gzip or zstd or not, with the columns of TRL or of a published layout.
    #[arg(long, alias = "dataset-name")]
    pub data: PathBuf,
    /// The model that will learn: a Hugging Face folder or a GGUF file, of which tokenizer and chat template are read.
    #[arg(long, alias = "model-name-or-path")]
    pub model: Option<PathBuf>,
    /// Read a column from another one, e.g. `prompt=question`. Repeatable.
    #[arg(long = "columns", alias = "column")]
    pub columns: Vec<String>,
    /// The kind of the rows, where the columns leave a choice.
    #[arg(long, value_parser = kind)]
    pub kind: Option<Kind>,
    /// Longest prompt and response together, in tokens.
    #[arg(long, default_value_t = 512)]
    pub max_length: usize,
    /// A test set of any layout: rows whose prompt is nearly one of its prompts are findings.
    #[arg(long)]
    pub test_set: Option<PathBuf>,
    /// Look for rows that are nearly the same, prompt and replies together.
    #[arg(long)]
    pub near_duplicates: bool,
    /// Share of runs of words from which two prompts, or two rows, are nearly the same; 0.8 unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub similarity: Option<f64>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct ConvertArgs {
    /// JSONL, JSON, CSV or Parquet, packed by gzip or zstd or not, with the columns of TRL or of a published layout.
    pub input: PathBuf,
    /// The JSONL file to write; packed by gzip if its name ends in `.gz`.
    pub output: PathBuf,
    /// Read a column from another one, e.g. `prompt=question`. Repeatable.
    #[arg(long = "columns", alias = "column")]
    pub columns: Vec<String>,
    /// The kind of the rows to write, where the layout leaves a choice.
    #[arg(long, value_parser = kind)]
    pub kind: Option<Kind>,
    /// What the neutral steps of PRM800K are: wrong (unless it is given) or right.
    #[arg(long, value_parser = named::<Neutral>)]
    pub neutral_steps: Option<Neutral>,
    /// Make two pairs of each, whose sides differ in a stated confidence alone: the chosen response is to be sure of itself, the
    /// rejected one is not (CDPO).
    #[arg(long, conflicts_with_all = ["kind", "neutral_steps"])]
    pub confidence: bool,
    /// A TOML file with options by name; the command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// A kind of rows, by its name.
fn kind(text: &str) -> Result<Kind, String> {
    let names = Kind::ALL.map(Kind::name);
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| format!("the kinds are {}{}", names.join(", "), closest(text, names.into_iter())))
}

/// One of the names that the library knows.
fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Named values: `name=value,..`, or a JSON object.
fn table<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    toml::from_str(&text.replace(',', "\n")).map_err(|error: toml::de::Error| error.message().trim().to_owned())
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct GenerateArgs {
    /// A Hugging Face folder, a GGUF file, an adapter's folder that names its base, or a name on the hub (org/name,
    /// org/name@revision, org/name:file.gguf). With --endpoint only its tokenizer and chat template are read.
    #[arg(long, alias = "model-name-or-path", required_unless_present = "endpoints")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub served: ServedArgs,
    /// An adapter in the layout of peft, for this model.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// How matrices are held on the CPU.
    #[arg(long, value_enum, default_value_t = WeightsName::AsStored)]
    pub weights: WeightsName,
    /// The prompt; with a chat template it is a user's message.
    #[arg(long, required_unless_present_any = ["input", "chat"], conflicts_with = "input")]
    pub prompt: Option<String>,
    /// Answer this message through the chat template, text as it comes; without a message, every line of standard input is
    /// the next turn of a conversation.
    #[arg(long, num_args = 0..=1, conflicts_with_all = ["prompt", "input", "raw", "n", "num_beams"])]
    pub chat: Option<Option<String>>,
    /// What the system says before a chat.
    #[arg(long, requires = "chat")]
    pub system: Option<String>,
    /// Rows with `prompt` (text or messages); the same rows with `completions` are written as JSONL.
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// Give the prompt to the model as it is, without the chat template.
    #[arg(long)]
    pub raw: bool,
    /// Candidates of each prompt.
    #[arg(short, long, alias = "num-generations", default_value_t = 1)]
    pub n: usize,
    #[command(flatten)]
    pub rewarded: RewardedArgs,
    /// Most tokens to write.
    #[arg(long, alias = "max-completion-length", default_value_t = 128)]
    pub max_new_tokens: usize,
    /// Divides the logits; 0 is greedy decoding.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Keep the most likely tokens up to this probability.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f32,
    /// Keep tokens with at least this share of the highest probability; 0 keeps all.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub min_p: f32,
    /// Keep the most typical tokens up to this probability; 1 keeps all.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub typical_p: f32,
    /// Keep tokens with at least this probability; 0 keeps all.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub epsilon_cutoff: f32,
    /// Keep tokens with at least a probability that falls with the entropy; 0 keeps all.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub eta_cutoff: f32,
    /// Make tokens that were seen less likely, above 1; greedy decoding heeds it too.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub repetition_penalty: f32,
    /// Write no sequence of so many tokens twice; 0 allows it. Greedy decoding heeds it too.
    #[arg(long, default_value_t = 0)]
    pub no_repeat_ngram_size: usize,
    /// Beams of a beam search, whose best `n` texts are written; 1 is none.
    #[arg(long, default_value_t = 1)]
    pub num_beams: usize,
    /// Exponent of the length in the score of a beam.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub length_penalty: f64,
    /// When a beam search ends.
    #[arg(long, value_enum, default_value_t = EarlyStoppingName::False)]
    pub early_stopping: EarlyStoppingName,
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// How matrices are held on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsName {
    /// As the file has them (f32, f16, or quantised blocks that can be computed with), else f32: no value changes.
    AsStored,
    /// Rounded to f16: faster than f32, with small differences.
    F16,
}

impl WeightsName {
    pub fn precision(self) -> Precision {
        match self {
            Self::AsStored => Precision::AsStored,
            Self::F16 => Precision::F16,
        }
    }
}

/// When a beam search ends, in the words of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EarlyStoppingName {
    /// When the finished texts are ahead of the best beam.
    False,
    /// As soon as enough texts are finished.
    True,
    /// When nothing better can come.
    Never,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct ScoreArgs {
    // First: what is read before it is not there any more.
    #[command(flatten)]
    pub given: Given,
    /// A Hugging Face folder, a GGUF file, an adapter's folder that names its base, or a name on the hub (org/name,
    /// org/name@revision, org/name:file.gguf). With --endpoint only its tokenizer and chat template are read.
    #[arg(long, alias = "model-name-or-path", required_unless_present_any = ["reward", "process"], conflicts_with = "reward")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub rewarded: RewardedArgs,
    /// A vote of several reward models on the order of each pair (--reward a,b,c --standardize): the mean and the deviation of their
    /// margins are added, and the pair is treated by them.
    #[arg(long, value_enum, requires = "reward", conflicts_with = "pairs")]
    pub vote: Option<VoteName>,
    /// Scores of steps by this process model (a folder of transformers or peft, or a name on the hub), or with --implicit by the
    /// log-ratios of this policy. A model of `train p-ik` reads prompts alone.
    #[arg(long, conflicts_with_all = ["model", "reward"])]
    pub process: Option<PathBuf>,
    /// Score steps by `beta * (log pi - log pi_ref)` of a policy that was trained on outcomes, against --reference.
    #[arg(long)]
    pub implicit: bool,
    /// Score steps by a language model that replies to each of them in a turn of a chat, as RLHFlow's do: the word that says right
    /// and the word that says wrong, such as `+ -`.
    #[arg(long, num_args = 2, allow_hyphen_values = true, conflicts_with = "implicit")]
    pub replies: Vec<String>,
    /// Where steps end: paragraphs, lines, headers, sentences, delimiter:TEXT, marker:ID, length:N or parts:N; as the process model
    /// says unless it is given. Rows whose column `segmentation` says otherwise are refused.
    #[arg(long, value_parser = process::segmenter)]
    pub steps: Option<Segmenter>,
    /// What the process model is shown of the steps up to each that it scores: full_context (unless it is given), math_only,
    /// single_step_math_only, next_thought or thoughts_only.
    #[arg(long, value_parser = named::<StepView>)]
    pub view: Option<StepView>,
    /// How the scores of steps become one: min, prod, last, mean, geo-mean, max, sum-logit or sum-log; as the process model says
    /// unless it is given. With --implicit: sum, mean, min (unless it is given), max, prod or last.
    #[arg(long)]
    pub aggregate: Option<String>,
    #[command(flatten)]
    pub served: ServedArgs,
    /// An adapter in the layout of peft, for this model.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// How matrices are held on the CPU.
    #[arg(long, value_enum, default_value_t = WeightsName::AsStored)]
    pub weights: WeightsName,
    /// Rows with `prompt` and `completion`, with `messages`, or with `input_ids` and `completion_mask`; with --reward also rows
    /// with `completions`, or with `chosen` and `rejected`; with --process also rows whose `completions` or `steps` are the steps of
    /// one response, those of ProcessBench and PRMBench among them.
    #[arg(long)]
    pub input: PathBuf,
    /// Adds `implicit_reward = beta * (log pi - log pi_ref)` against this model.
    #[arg(long)]
    pub reference: Option<PathBuf>,
    /// Rewards by how likely users go on as in this file, under the model: a JSON object of categories, each with the lists
    /// `positive` and `negative` of what users say after good and after bad answers.
    #[arg(long, requires = "model", conflicts_with_all = ["reward", "process", "reference"])]
    pub follow_ups: Option<PathBuf>,
    /// Write pairs instead, for training: of each row with `completions` the one of the highest reward and the one of the lowest, with
    /// the difference as `margin`, where it is above 0 and at least this much.
    #[arg(long, allow_negative_numbers = true, conflicts_with = "process")]
    pub pairs: Option<f64>,
    /// Add up the log-probabilities of the tokens of a follow-up, instead of taking their mean.
    #[arg(long, requires = "follow_ups")]
    pub sum_follow_ups: bool,
    /// Strength of the pull to the reference.
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    pub beta: f64,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct SoupArgs {
    /// Folders of models or of adapters, at least two, that were trained from one start, each for an objective of its own.
    #[arg(long, required = true, num_args(1..), value_delimiter = ',')]
    pub models: Vec<PathBuf>,
    /// What each objective counts for: from 0 to 1, and 1 together.
    #[arg(long, required = true, num_args(1..), value_delimiter = ',', allow_negative_numbers = true)]
    pub weights: Vec<f64>,
    /// Where the model goes, as a Hugging Face folder.
    #[arg(long)]
    pub output_dir: PathBuf,
    /// Rows with `prompt` and `completion`: their loss must not rise between any two of the models, or nothing is written.
    #[arg(long)]
    pub check_data: Option<PathBuf>,
    /// Read a column from another one, e.g. `prompt=question`. Repeatable.
    #[arg(long = "columns", alias = "column", requires = "check_data")]
    pub columns: Vec<String>,
    /// How far the loss may rise above that of the worse end, in nats a token.
    #[arg(long, default_value_t = 0.0, requires = "check_data", allow_negative_numbers = true)]
    pub tolerance: f64,
    /// Places between two models at which the loss is taken, both ends included.
    #[arg(long, default_value_t = 5, requires = "check_data")]
    pub check_points: usize,
    /// Longest prompt and completion together, in tokens.
    #[arg(long, default_value_t = 512, requires = "check_data")]
    pub max_length: usize,
    /// Rows that go through a model at once.
    #[arg(long, default_value_t = 4, requires = "check_data")]
    pub batch_size: usize,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct MergeArgs {
    /// The adapter, in the layout of peft.
    #[arg(long)]
    pub adapter: PathBuf,
    /// The base, when it does not lie where the adapter says.
    #[arg(long, alias = "model-name-or-path")]
    pub model: Option<PathBuf>,
    /// Where the merged model goes, as a Hugging Face folder.
    #[arg(long)]
    pub output_dir: PathBuf,
    #[command(flatten)]
    pub common: CommonArgs,
}
