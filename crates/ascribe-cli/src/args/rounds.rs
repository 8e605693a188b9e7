//! Options of rounds, in which the policy writes, someone labels, and the pairs are learned from; and of curricula.

use std::path::PathBuf;

use ascribe::data::{Ease, Pacing};
use ascribe::reward::Consistency;
use clap::{Args, ValueEnum};

/// Options of `ascribe train iterative-dpo` and its relatives, beside those of writing and of their loss.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rounds")]
pub struct RoundArgs {
    /// Who says which response is better: `reward` (those of `--reward`), `implicit` (what the policy has learned to prefer
    /// over the reference), or `both`, which keeps the pairs where they agree. By `--reward` unless there is none.
    #[arg(long, value_enum)]
    pub labels: Option<LabelsName>,
    /// Prompts of a round.
    #[arg(long, default_value_t = 64)]
    pub round_prompts: usize,
    /// Least difference of the labels of a pair.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub label_margin: f64,
    /// Learn every round against the first reference, and not against the policy that wrote it.
    #[arg(long)]
    pub keep_reference: bool,
    /// Let a loss on scores learn how often a response wins against those to its prompt, by their labels as Bradley and Terry have
    /// it, less one half, as SPPO does, and not by how much it is above their mean.
    #[arg(long)]
    pub win_rates: bool,
    /// Rewards that are the truth: how often they agree with the labels is logged, and nothing learned from it.
    #[arg(long, num_args(1..), value_delimiter = ',')]
    pub gold: Vec<String>,
    /// How the rankings of a policy and of the one before it are compared: `kendall`, `spearman` or `top`.
    #[arg(long, value_enum, default_value_t = AgreementName::Kendall)]
    pub agreement: AgreementName,
    /// Rely on each pair as far as the rankings of its prompt agree, and not as far as they do in the mean.
    #[arg(long)]
    pub agreement_per_prompt: bool,
    /// iterative-scir: weight of the penalty where what the policy prefers and what it says as a judge disagree, on all pairs. With
    /// 0 here and in scir_confidence the others are left out.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub scir_consistency: f64,
    /// iterative-scir: weight of the entropy of what the policy prefers.
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    pub scir_confidence: f64,
}

/// Who says which response is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabelsName {
    /// A reward.
    Reward,
    /// The policy.
    Implicit,
    /// A reward, where the policy agrees.
    Both,
}

/// How two rankings are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgreementName {
    /// By Kendall's tau.
    Kendall,
    /// By Spearman's rho.
    Spearman,
    /// By their best and worst response.
    Top,
}

impl From<AgreementName> for Consistency {
    fn from(name: AgreementName) -> Self {
        match name {
            AgreementName::Kendall => Self::Kendall,
            AgreementName::Spearman => Self::Spearman,
            AgreementName::Top => Self::Top,
        }
    }
}

/// How much of the data an epoch has, and which rows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Curriculum")]
pub struct CurriculumArgs {
    /// Epochs that have a part of the rows, easy ones more often: `cyclical`, a part that grows and shrinks, `up`, one that grows,
    /// `down`, one that shrinks, or `sharp`, the least and the largest in turn.
    #[arg(long, value_enum)]
    pub curriculum: Option<CurriculumName>,
    /// The least part, and the first.
    #[arg(long, default_value_t = 0.25, requires = "curriculum", allow_negative_numbers = true)]
    pub curriculum_start: f64,
    /// The largest part.
    #[arg(long, default_value_t = 1.0, requires = "curriculum", allow_negative_numbers = true)]
    pub curriculum_end: f64,
    /// What the part is divided by while it grows.
    #[arg(long, default_value_t = 0.5, requires = "curriculum", allow_negative_numbers = true)]
    pub curriculum_alpha: f64,
    /// What makes a row easy: a small `loss` or a large `margin` under `--curriculum-model`, or a small `length`.
    #[arg(long, value_enum, default_value_t = EaseName::Loss, requires = "curriculum")]
    pub curriculum_ease: EaseName,
    /// A model that was trained without a curriculum.
    #[arg(long, requires = "curriculum")]
    pub curriculum_model: Option<PathBuf>,
    /// Draw hard rows more often instead.
    #[arg(long, requires = "curriculum")]
    pub curriculum_anti: bool,
}

/// A curriculum by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CurriculumName {
    /// Cyclical curriculum learning.
    Cyclical,
    /// A part that grows.
    Up,
    /// A part that shrinks.
    Down,
    /// The least and the largest part in turn.
    Sharp,
}

impl From<CurriculumName> for Pacing {
    fn from(name: CurriculumName) -> Self {
        match name {
            CurriculumName::Cyclical => Self::Cyclical,
            CurriculumName::Up => Self::Up,
            CurriculumName::Down => Self::Down,
            CurriculumName::Sharp => Self::Sharp,
        }
    }
}

/// What makes a row easy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EaseName {
    /// A small loss.
    Loss,
    /// A large margin of a pair.
    Margin,
    /// Few tokens.
    Length,
}

impl From<EaseName> for Ease {
    fn from(name: EaseName) -> Self {
        match name {
            EaseName::Loss => Self::Loss,
            EaseName::Margin => Self::Margin,
            EaseName::Length => Self::Length,
        }
    }
}
