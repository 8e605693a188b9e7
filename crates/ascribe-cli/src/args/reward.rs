//! Options of reward models: how they learn, and how several become one.

use std::path::PathBuf;

use anyhow::bail;
use ascribe::lm::{HeadInit, Pooling};
use ascribe::reward::{Aggregate, ContrastItems};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

/// How a reward model learns: `ascribe train reward`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Reward model")]
pub struct RewardArgs {
    /// The loss of a reward model: bradley-terry (unless it is given; ties for critique), margin, soft-margin, scaled, ties,
    /// trajectories, general-preference (gpm), confidence, weak-to-strong, k-wise, machine-text, regression, gaussian-heads or
    /// concept-energy.
    #[arg(long)]
    pub loss: Option<String>,
    /// Numbers of that loss, by the names of the library, such as `tau=0.05,dim=8`; or as JSON.
    #[arg(long, value_parser = super::table::<Map<String, Value>>)]
    pub loss_kwargs: Option<Map<String, Value>>,
    /// Weight of the squared sum of the two rewards of a pair, which keeps rewards near 0; 0.01 is usual.
    #[arg(long, allow_negative_numbers = true)]
    pub center_rewards_coefficient: Option<f64>,
    /// How the weights of a fresh head are drawn.
    #[arg(long, value_enum)]
    pub head_init: Option<HeadInitName>,
    /// Which states of a text the head reads: last, its last token alone, as other software does, unless the model says otherwise
    /// in its `reward.json`; or mean, all of its tokens.
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingName>,
    /// Weight of the negative log-likelihood of the chosen response, a mean over its tokens, beside a loss on pairs; 0.01 is usual.
    #[arg(long, allow_negative_numbers = true)]
    pub lm_coef: Option<f64>,
    /// Tell responses apart under two dropout masks beside a loss on pairs.
    #[arg(long, value_enum)]
    pub contrast: Option<ContrastName>,
    /// What is told apart: every response (unless it is given), or the differences of the two responses of each pair.
    #[arg(long, value_enum, requires = "contrast")]
    pub contrast_items: Option<ContrastItemsName>,
    /// Numbers of the contrast: weight (1), tau (0.05), dropout (0.1), and with swav prototypes (64) and prototype_rate (0.1); as
    /// `name=value,..` or as JSON.
    #[arg(long, value_parser = super::table::<Map<String, Value>>, requires = "contrast")]
    pub contrast_kwargs: Option<Map<String, Value>>,
    /// The column that says where a pair comes from (MORE): every step has pairs of every source, and weighs the sources by the
    /// gradients of the head so that none loses.
    #[arg(long)]
    pub source_column: Option<String>,
    /// The share of the new gradient of a source in what is remembered of it, above 0 and at most 1; 1 unless it is given.
    #[arg(long, requires = "source_column", allow_negative_numbers = true)]
    pub source_share: Option<f64>,
    /// Take pairs of several sources as they come: a step may lack sources, and weighs those that it has.
    #[arg(long, requires = "source_column")]
    pub no_resampling: bool,
    /// What each attribute counts for in the reward (regression), in the order of the file.
    #[arg(long, num_args(1..), value_delimiter = ',', allow_negative_numbers = true)]
    pub attribute_weights: Vec<f64>,
    /// What the surest of several uncertain heads counts for in the reward (gaussian-heads), in [0, 1]; the rest is that of the most
    /// cautious one. 0.5 unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub heads_lambda: Option<f64>,
    /// Pairs by which the weights of the attributes are fitted once they are learned (regression): those under which the chosen
    /// responses score higher, by logistic regression.
    #[arg(long, conflicts_with = "attribute_weights")]
    pub merge_data: Option<PathBuf>,
    /// Responses of the policy that the model is to judge (MetaRM), several to each prompt, as `generate` writes them: every step
    /// learns from the weights that spread their rewards more.
    #[arg(long, requires = "meta_rate")]
    pub meta_data: Option<PathBuf>,
    /// How far those weights are away: the rate of a step up the spread.
    #[arg(long, requires = "meta_data", allow_negative_numbers = true)]
    pub meta_rate: Option<f64>,
    /// Pairs that the model learned from before, to whose scores by the model as it is now it is held (ReMoDetect); with a model
    /// that `train reward` has written.
    #[arg(long)]
    pub replay_data: Option<PathBuf>,
    /// What these pairs count for; 0.01 unless it is given.
    #[arg(long, requires = "replay_data", allow_negative_numbers = true)]
    pub replay_weight: Option<f64>,
}

/// How the weights of a fresh head are drawn, by the width D of the hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeadInitName {
    /// With the standard deviation 1 / (D + 1).
    Narrow,
    /// With the variance 1 / (D + 1).
    Wide,
}

impl From<HeadInitName> for HeadInit {
    fn from(name: HeadInitName) -> Self {
        match name {
            HeadInitName::Narrow => Self::Narrow,
            HeadInitName::Wide => Self::Wide,
        }
    }
}

/// Which states of a text a head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingName {
    /// That of the last token.
    Last,
    /// The mean over all tokens.
    Mean,
}

impl From<PoolingName> for Pooling {
    fn from(name: PoolingName) -> Self {
        match name {
            PoolingName::Last => Self::Last,
            PoolingName::Mean => Self::Mean,
        }
    }
}

/// How responses are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContrastName {
    /// Each response is closer to itself than to the others.
    #[value(name = "simcse", alias = "sim-cse")]
    SimCse,
    /// Both masks of a response lead to the same prototypes.
    Swav,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContrastItemsName {
    /// Every response.
    Responses,
    /// The differences of the two responses of each pair.
    Differences,
}

impl From<ContrastItemsName> for ContrastItems {
    fn from(name: ContrastItemsName) -> Self {
        match name {
            ContrastItemsName::Responses => Self::Responses,
            ContrastItemsName::Differences => Self::Differences,
        }
    }
}

/// Reward models that score, or choose the best of `n`.
#[derive(Clone, Debug, Args)]
pub struct RewardedArgs {
    /// Rewards by this reward model (a folder of transformers or peft, or a name on the hub), or by several, with commas between
    /// them.
    #[arg(long, num_args(1..), value_delimiter = ',')]
    pub reward: Vec<PathBuf>,
    /// How the rewards of several models become one.
    #[arg(long, value_enum, default_value_t = CombineName::Mean, requires = "reward")]
    pub combine: CombineName,
    /// What the spread of the models counts for: 0.5 for uwo and 1 for mean-minus-std, unless it is given.
    #[arg(long, requires = "reward", allow_negative_numbers = true)]
    pub combine_weight: Option<f64>,
    /// A concept that is known to be there or not, as `NAME=1` or `NAME=0`: the label and the other concepts are inferred anew
    /// (models of concept-energy). Repeatable.
    #[arg(long = "concept", value_parser = concept, requires = "reward")]
    pub concepts: Vec<(String, bool)>,
    /// Bring each model to its own scale first, which stands in its `reward.json`.
    #[arg(long, requires = "reward")]
    pub standardize: bool,
}

/// What a vote does with a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VoteName {
    /// Nothing: it is only told.
    Tell,
    /// Chosen and rejected change places where the mean is against the label.
    Flip,
    /// The mean becomes the margin, from 0 to 3.
    Margin,
    /// The same, and the labels that the mean is against are right with the probability 0.9 alone, which becomes the consistency.
    SoftMargin,
}

/// `NAME=1` or `NAME=0`.
fn concept(text: &str) -> Result<(String, bool), String> {
    match text.rsplit_once('=') {
        Some((name, "1")) => Ok((name.to_owned(), true)),
        Some((name, "0")) => Ok((name.to_owned(), false)),
        _ => Err("a concept is NAME=1 where it is there, and NAME=0 where it is not".to_owned()),
    }
}

/// How the rewards of several models become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CombineName {
    /// The mean.
    Mean,
    /// The middle one.
    Median,
    /// The smallest: worst-case optimization.
    #[value(alias = "wco")]
    Min,
    /// The mean less the variance: uncertainty-weighted optimization.
    Uwo,
    /// The mean less the standard deviation.
    MeanMinusStd,
}

impl RewardedArgs {
    /// How the rewards become one.
    pub fn aggregate(&self) -> anyhow::Result<Aggregate> {
        let aggregate = match (self.combine, self.combine_weight) {
            (CombineName::Uwo, weight) => Aggregate::uwo(weight.unwrap_or(0.5)),
            (CombineName::MeanMinusStd, weight) => Aggregate::MeanMinusStd { c: weight.unwrap_or(1.0), ddof: 0 },
            (CombineName::Mean, None) => Aggregate::Mean,
            (CombineName::Median, None) => Aggregate::Median,
            (CombineName::Min, None) => Aggregate::Min,
            (_, Some(_)) => {
                bail!("combine_weight weighs the spread of uwo and mean-minus-std; drop it with the others")
            }
        };
        aggregate.check(self.reward.len())?;
        Ok(aggregate)
    }
}
