//! Options of `search`.

use std::path::PathBuf;

use ascribe::core::Reduce;
use ascribe::process::Segmenter;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::process::{CheckerArgs, segmenter};
use super::{CommonArgs, Given, ServedArgs, WeightsName, named, table};

/// What says how good a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScorerName {
    /// 1 where the text has the right `answer` of its row, else 0.
    Answer,
    /// 1 while every step of a solution in chain arithmetic is right, else 0; the prompt is read for the problem.
    Chain,
    /// The mean log-probability of the tokens under the model.
    Logp,
    /// The share of --keywords that stand in the text.
    Keywords,
    /// Less the number of times that one of --keywords stands in the text.
    Forbidden,
    /// Less the number of matches of --pattern in the text.
    Patterns,
    /// How near the length of a text that ended is to --target-length, as a negative share of it.
    Length,
    /// 0 up to --target-length, and less the share of it that a longer text has beyond.
    LengthLimit,
    /// 1 where thinking and answer stand in their tags.
    ThinkFormat,
    /// What the process model of --process says of the last step: with progress where it was trained for it.
    Process,
    /// The value alone that the process model of --process gives.
    ProcessValue,
    /// The reward by the reward model of --reward, which reads the text in its own tokenizer.
    Reward,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct SearchArgs {
    // First: what is read before it is not there any more.
    #[command(flatten)]
    pub given: Given,
    /// How to search; --list shows the names.
    #[arg(long, required_unless_present = "list")]
    pub strategy: Option<String>,
    /// Print the names of the strategies.
    #[arg(long, conflicts_with = "strategy")]
    pub list: bool,
    /// Options of the strategy: `name=value,..`, or JSON.
    #[arg(long, value_parser = table::<Value>, default_value = "", hide_default_value = true)]
    pub strategy_args: Value,
    /// A Hugging Face folder, a GGUF file, an adapter's folder that names its base, or a name on the hub (org/name,
    /// org/name@revision, org/name:file.gguf). With --endpoint only its tokenizer and chat template are read.
    #[arg(long, alias = "model-name-or-path", required_unless_present = "list")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub served: ServedArgs,
    /// An adapter in the layout of peft, for this model.
    #[arg(long, requires = "model")]
    pub adapter: Option<PathBuf>,
    /// How matrices are held on the CPU.
    #[arg(long, value_enum, default_value_t = WeightsName::AsStored)]
    pub weights: WeightsName,
    /// Rows with `prompt` (text or messages), and `answer` where it is known; `id` names a row, else its number does.
    #[arg(long, required_unless_present = "list")]
    pub input: Option<PathBuf>,
    /// The rows with what was found, as JSONL; a run that finds its file here goes on behind the rows that are done.
    #[arg(long, required_unless_present = "list")]
    pub output: Option<PathBuf>,
    /// Read a column from another one, e.g. `prompt=question`. Repeatable.
    #[arg(long = "columns", alias = "column")]
    pub columns: Vec<String>,
    /// Give the prompt to the model as it is, without the chat template.
    #[arg(long)]
    pub raw: bool,
    /// What says how good a text, or its beginning, is.
    #[arg(long, value_enum)]
    pub scorer: Option<ScorerName>,
    /// More that is added to what --scorer says, each with a weight: `length=0.5`. For scorers of whole texts, and not for the
    /// judge. Repeatable.
    #[arg(long = "also", value_name = "SCORER=WEIGHT", value_parser = weighed, requires = "scorer")]
    pub also: Vec<(ScorerName, f32)>,
    /// What has the last word among the texts that were found; by default the scorer.
    #[arg(long, value_enum)]
    pub judge: Option<ScorerName>,
    /// The process model of the scorers `process` and `process-value`: a folder of transformers or peft, or a name on the hub.
    #[arg(long)]
    pub process: Option<PathBuf>,
    /// The reward model of the scorer `reward`: a folder of transformers or peft, or a name on the hub.
    #[arg(long)]
    pub reward: Option<PathBuf>,
    /// The aligned model whose rollouts value a token, for the strategy `transfer-q`: a Hugging Face folder, a GGUF file, an
    /// adapter's folder that names its base, or a name on the hub.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// What --baseline was aligned to, where that is not --scorer; its `beta` stands in --strategy-args.
    #[arg(long, value_enum, requires = "baseline")]
    pub baseline_scorer: Option<ScorerName>,
    /// The other policy of a product, for the strategy `smc` with `target` `product`: a model of the same tokenizer, named as
    /// --baseline is. Its power stands in --strategy-args as `expert_power`, that of --model as `strength`.
    #[arg(long)]
    pub expert: Option<PathBuf>,
    /// What is asked about a text that the judge does not find good enough, for the strategy `paths` with `reflections`; what the
    /// model answers stands before the next attempt.
    #[arg(long)]
    pub reflection: Option<String>,
    /// What writes the refinements of the strategy `refine`: a model that `train sft` made of the rows of `label --method refine`,
    /// with the tokenizer of --model, named as --baseline is. Without it the model itself tries again.
    #[arg(long)]
    pub refiner: Option<PathBuf>,
    /// How several values of a text become one: sum, mean, min, max, prod or last.
    #[arg(long, value_parser = named::<Reduce>, default_value = "last")]
    pub reduce: Reduce,
    /// Words for the scorers `keywords` and `forbidden`, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub keywords: Vec<String>,
    /// Find --keywords by their stem: `running` is `run`, in English.
    #[arg(long)]
    pub stems: bool,
    /// All or nothing, for the scorers `keywords` and `length-limit`: 1 where all words are found, or the limit is kept, else 0.
    #[arg(long)]
    pub hard: bool,
    /// A regular expression for the scorer `patterns`. Repeatable.
    #[arg(long = "pattern", alias = "patterns")]
    pub patterns: Vec<String>,
    /// Tokens for the scorers `length` and `length-limit`.
    #[arg(long, default_value_t = 128)]
    pub target_length: usize,
    /// Where steps end: paragraphs, lines, delimiter:TEXT, marker:ID or length:N.
    #[arg(long, value_parser = segmenter, default_value = "lines")]
    pub segment: Segmenter,
    /// Most tokens of a step; 0 sets no limit.
    #[arg(long, default_value_t = 0)]
    pub max_step_tokens: usize,
    /// Most tokens to sample for a prompt; 0 sets no limit. What was found by then is written.
    #[arg(long, default_value_t = 0)]
    pub budget: u64,
    /// Most continuations to ask of the model for a prompt; 0 sets no limit.
    #[arg(long, default_value_t = 0)]
    pub max_policy_calls: u64,
    /// Most texts to score for a prompt; 0 sets no limit.
    #[arg(long, default_value_t = 0)]
    pub max_scorer_calls: u64,
    /// Most seconds for a prompt; 0 sets no limit. Where it bites, a run is not repeatable.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub max_seconds: f64,
    /// Most tokens of a text.
    #[arg(long, alias = "max-completion-length", default_value_t = 256)]
    pub max_new_tokens: usize,
    /// A text ends with the token that completes this, as with an end token; for models that go on to the next question.
    /// Repeatable.
    #[arg(long = "stop", alias = "stop-strings")]
    pub stop: Vec<String>,
    /// A text ends with the token that closes its first `\boxed{..}`.
    #[arg(long)]
    pub stop_at_boxed: bool,
    /// Divides the logits; 0 takes the most likely token wherever one would be drawn.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
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
    /// Let texts that were cut off by the greatest length be chosen beside those that ended; else they are only where none ended.
    #[arg(long)]
    pub allow_cut: bool,
    /// Prompts that are searched side by side; what they ask at the same time is one batch.
    #[arg(long, default_value_t = 16)]
    pub parallel: usize,
    /// Write the tree of every search, too: each text that was looked at, with values, visits and tokens.
    #[arg(long)]
    pub tree: bool,
    /// Root of all randomness.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub checker: CheckerArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl SearchArgs {
    /// The scorers that are named.
    pub fn scorers(&self) -> impl Iterator<Item = ScorerName> {
        let named = [self.scorer, self.judge, self.baseline_scorer].into_iter().flatten();
        named.chain(self.also.iter().map(|(name, _)| *name))
    }
}

/// A scorer with its weight: `length=0.5`.
fn weighed(text: &str) -> Result<(ScorerName, f32), String> {
    let (name, weight) = text.split_once('=').ok_or("a scorer and its weight are wanted, such as `length=0.5`")?;
    let weight: f32 = weight.parse().map_err(|_| format!("`{weight}` is no weight; give a number"))?;
    match weight.is_finite() {
        true => Ok((ScorerName::from_str(name, false)?, weight)),
        false => Err(format!("a weight must be finite, got {weight}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scorer_comes_with_a_finite_weight() {
        assert_eq!(weighed("length-limit=-0.5"), Ok((ScorerName::LengthLimit, -0.5)));
        for wrong in ["length", "length=", "length=nan", "length=inf", "lengths=1"] {
            assert!(weighed(wrong).is_err(), "{wrong}");
        }
    }
}
