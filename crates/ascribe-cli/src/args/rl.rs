//! Options of training on rollouts, under the names of TRL and verl.

use std::path::PathBuf;

use anyhow::bail;
use ascribe::core::Sampling;
use ascribe::core::advantage::{MacroReward, MacroValue};
use ascribe::core::tensor::KlEstimator;
use ascribe::eval::calibrate::PpoC;
use ascribe::preference::rl::{Aggregation, OreoLevel, ScaleRewards};
use ascribe::reward::{Aggregate, ClipDeltaConfig};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::{CombineName, named};

/// Options of `ascribe train grpo`, `rloo`, `ppo` and their relatives; a method refuses those that it does nothing with. The
/// policy loss is `--loss-type`, the pull to the reference in it `--beta`, and the largest ratio `--delta`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reinforcement learning")]
pub struct RlArgs {
    /// What judges a response: `arithmetic` (its last number is that of the column `answer`), `exact`, `chain`, `relevance`, a
    /// reward of one's own from the catalogue, the folder of a reward model or of a process model, or `implicit:FOLDER`, the
    /// log-ratios of a policy that was trained on outcomes. Several are added up, unless --combine says otherwise.
    #[arg(help_heading = "Rewards", long, alias = "reward-funcs", num_args(1..), value_delimiter = ',')]
    pub reward: Vec<String>,
    /// The weight of each reward; 1 unless given.
    #[arg(help_heading = "Rewards", long, num_args(1..), value_delimiter = ',', allow_negative_numbers = true)]
    pub reward_weights: Vec<f64>,
    /// Make an ensemble of the rewards instead of their sum; they must be on one scale, or be brought to it by --standardize.
    #[arg(help_heading = "Rewards", long, value_enum)]
    pub combine: Option<CombineName>,
    /// What the spread of the rewards counts for: 0.1 for uwo and 1 for mean-minus-std, unless it is given.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true)]
    pub combine_weight: Option<f64>,
    /// Bring each reward model to its own scale first, which stands in its `reward.json`: members of an ensemble that were trained
    /// apart need it.
    #[arg(help_heading = "Rewards", long)]
    pub standardize: bool,
    /// Make each reward the log-sigmoid of what it is above this number, a good answer's reward: their sum is a logical AND.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true)]
    pub log_sigmoid: Option<f64>,
    /// The same with a number for each prompt and reward: this quantile of the rewards of responses that the model writes before
    /// training; 0.85 is usual.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true, conflicts_with = "log_sigmoid")]
    pub log_sigmoid_quantile: Option<f64>,
    /// Refine the scores of steps by the process model, or by the log-ratios, among the rewards, so that repeating good steps
    /// earns nothing: clip, delta or clip-delta. The other rewards are of success, and the last step is paid them. Or progress,
    /// with --advantage-estimator own_step: every step is paid success and, times the weight of the process model (3 to 5 in PAV's
    /// paper), what it adds to the value under the prover.
    #[arg(help_heading = "Rewards", long, value_enum)]
    pub step_rewards: Option<StepRewardsName>,
    /// clip: where scores are cut off, so that most steps get 0; of a process model 0.9 unless it is given.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true)]
    pub step_eta: Option<f64>,
    /// What the policy of `implicit:FOLDER` was trained from; the model that is trained unless it is given.
    #[arg(help_heading = "Rewards", long)]
    pub implicit_reference: Option<PathBuf>,
    /// What these log-ratios are multiplied by.
    #[arg(help_heading = "Rewards", long, default_value_t = 0.05, allow_negative_numbers = true)]
    pub implicit_beta: f64,
    /// Move rewards by the confidence that a response states at its end, `Confidence: 0` to `10`, with this weight (PPO-C; 2 in
    /// the paper's run); what judges does not see it.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true)]
    pub confidence_weight: Option<f64>,
    /// PPO-C: `difference`, by how far the reward is from its running mean, or `threshold`, by its size.
    #[arg(help_heading = "Rewards", long, value_enum, default_value_t = ConfidenceName::Difference, requires = "confidence_weight")]
    pub confidence_rule: ConfidenceName,
    /// PPO-C: where the running mean of rewards starts.
    #[arg(
        help_heading = "Rewards",
        long,
        default_value_t = 0.0,
        requires = "confidence_weight",
        allow_negative_numbers = true
    )]
    pub confidence_mean: f64,
    /// PPO-C: what a batch counts for in the running mean.
    #[arg(
        help_heading = "Rewards",
        long,
        default_value_t = 0.1,
        requires = "confidence_weight",
        allow_negative_numbers = true
    )]
    pub confidence_rate: f64,
    /// Repeat prompts by how rarely they are solved, a column from 0 to 1: 6 times below 0.2, 4 times below 0.6, twice below 0.8.
    #[arg(help_heading = "Rollouts", long, value_name = "COLUMN")]
    pub repeat_by_pass_rate: Option<String>,
    /// Responses to each prompt.
    #[arg(help_heading = "Rollouts", long, default_value_t = 8)]
    pub num_generations: usize,
    /// Most tokens of a response.
    #[arg(help_heading = "Rollouts", long, default_value_t = 256)]
    pub max_completion_length: usize,
    /// Divides the logits while responses are drawn, and in every ratio.
    #[arg(help_heading = "Rollouts", long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Keep the most likely tokens up to this probability.
    #[arg(help_heading = "Rollouts", long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    #[arg(help_heading = "Rollouts", long, default_value_t = 0)]
    pub top_k: usize,
    /// Keep tokens with at least this share of the highest probability; 0 keeps all.
    #[arg(help_heading = "Rollouts", long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub min_p: f32,
    /// Optimizer steps that share the responses of a generation among them.
    #[arg(help_heading = "Rollouts", long, default_value_t = 1)]
    pub steps_per_generation: usize,
    /// Passes over the responses of a generation.
    #[arg(help_heading = "Rollouts", long, alias = "num-ppo-epochs", default_value_t = 1)]
    pub num_iterations: usize,
    /// End the passes over a generation once the policy is this many nats a token from the one that wrote it.
    #[arg(help_heading = "Rollouts", long, allow_negative_numbers = true)]
    pub stop_kl: Option<f64>,
    /// End them once this share of the tokens is cut.
    #[arg(help_heading = "Rollouts", long, allow_negative_numbers = true)]
    pub stop_clip_fraction: Option<f64>,
    /// The advantage estimator; each method has its own default.
    #[arg(long, alias = "adv-estimator")]
    pub advantage_estimator: Option<String>,
    /// token-mean, seq-mean-token-mean, seq-mean-token-sum or seq-mean-token-sum-norm; each loss has its own default.
    #[arg(long)]
    pub loss_agg_mode: Option<Aggregation>,
    /// What group-relative advantages are divided by: group, batch or none.
    #[arg(long, value_parser = named::<ScaleRewards>, default_value = "group")]
    pub scale_rewards: ScaleRewards,
    /// Added to standard deviations of scores.
    #[arg(long, default_value_t = 1e-4, allow_negative_numbers = true)]
    pub advantage_epsilon: f64,
    /// Whiten the advantages of all tokens, where the estimator leaves the choice.
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub whiten_advantages: bool,
    /// Added to the variance where advantages are whitened.
    #[arg(long, default_value_t = 1e-6, allow_negative_numbers = true)]
    pub whiten_epsilon: f64,
    /// What is taken off the number of values in variances: 1, or 0 as OpenRLHF has it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub advantage_ddof: u8,
    /// Room of the ratio below 1.
    #[arg(long, alias = "cliprange", default_value_t = 0.2, allow_negative_numbers = true)]
    pub epsilon: f64,
    /// Room of the ratio above 1 (cispo: the largest weight); the same as below unless given.
    #[arg(long, allow_negative_numbers = true)]
    pub epsilon_high: Option<f64>,
    /// The loss of a token with a negative advantage is at most this times its size.
    #[arg(long, alias = "clip-ratio-c", allow_negative_numbers = true)]
    pub dual_clip: Option<f64>,
    /// Leave out bad responses that the policy has moved away from by more nats a token.
    #[arg(long, allow_negative_numbers = true)]
    pub off_policy_mask_threshold: Option<f64>,
    /// Strength of the entropy bonus.
    #[arg(long, alias = "entropy-coeff", default_value_t = 0.0, allow_negative_numbers = true)]
    pub entropy_coef: f64,
    /// Train on this share of the tokens alone, those of highest entropy.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_entropy_quantile: f64,
    /// How the divergence in the loss is estimated: k1, k2, k3 or abs.
    #[arg(long, alias = "kl-loss-type", value_parser = named::<KlEstimator>, default_value = "k3")]
    pub kl_loss_estimator: KlEstimator,
    /// Weigh the divergence in the loss by the ratio, so that its gradient is unbiased.
    #[arg(long)]
    pub use_bias_correction_kl: bool,
    /// Strength of the penalty for leaving the reference in the reward; each method has its own default.
    #[arg(long, allow_negative_numbers = true)]
    pub kl_coef: Option<f64>,
    /// How the divergence in the reward is estimated: k1, k2, k3 or abs.
    #[arg(long, alias = "kl-estimator", value_parser = named::<KlEstimator>, default_value = "k1")]
    pub kl_reward_estimator: KlEstimator,
    /// Let the strength of that penalty follow the divergence, towards this many nats a response.
    #[arg(long, alias = "target-kl", allow_negative_numbers = true)]
    pub kl_target: Option<f64>,
    /// Responses in which that strength may change by a fifth.
    #[arg(long, default_value_t = 10_000.0, allow_negative_numbers = true)]
    pub kl_horizon: f64,
    /// Discount from token to token.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub gamma: f64,
    /// Decay of the trace of advantages.
    #[arg(long, alias = "gae-lambda", default_value_t = 0.95, allow_negative_numbers = true)]
    pub lam: f64,
    /// Weight of the loss of values; each method has its own default.
    #[arg(long, allow_negative_numbers = true)]
    pub vf_coef: Option<f64>,
    /// How far a value may move before its error counts in full; 0 does not clip.
    #[arg(long, default_value_t = 0.2, allow_negative_numbers = true)]
    pub cliprange_value: f64,
    /// Whiten the rewards of all tokens, their mean kept.
    #[arg(help_heading = "Rewards", long)]
    pub whiten_rewards: bool,
    /// Bring scores to mean 0 and variance 1 by all scores so far, before all else; the log then shows these.
    #[arg(help_heading = "Rewards", long)]
    pub normalize_rewards: bool,
    /// Multiply scores, behind penalties for length.
    #[arg(help_heading = "Rewards", long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub reward_gain: f64,
    /// Added to scores behind that.
    #[arg(help_heading = "Rewards", long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub reward_bias: f64,
    /// Cut scores to a range at last: two numbers.
    #[arg(help_heading = "Rewards", long, num_args = 2, allow_negative_numbers = true, value_delimiter = ',')]
    pub reward_clip_range: Vec<f64>,
    /// Leave responses that the length limit cut out of the loss; they stay in the baseline.
    #[arg(long)]
    pub mask_truncated_completions: bool,
    /// Taken off the score of a response without an end.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true)]
    pub missing_eos_penalty: Option<f64>,
    /// What becomes of the score of a response without an end: it is multiplied by this number, or replaced by it where it is
    /// below 0, such as -10.
    #[arg(help_heading = "Rewards", long, allow_negative_numbers = true)]
    pub stop_properly_penalty_coef: Option<f64>,
    /// Tokens before the limit in which the score falls by as much as `overlong_penalty_factor`; 0 is none.
    #[arg(help_heading = "Rewards", long, default_value_t = 0)]
    pub overlong_buffer: usize,
    /// What a response at the limit loses.
    #[arg(help_heading = "Rewards", long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub overlong_penalty_factor: f64,
    /// What becomes of groups in which no two scores differ.
    #[arg(long, value_enum, default_value_t = DeadGroupsName::Keep)]
    pub dead_groups: DeadGroupsName,
    /// Weigh tokens by how they were drawn.
    #[arg(long, value_enum, default_value_t = CorrectionName::None)]
    pub importance_sampling_correction: CorrectionName,
    /// Least and largest weight of that correction: two numbers.
    #[arg(long, num_args = 2, allow_negative_numbers = true, value_delimiter = ',', default_values_t = [0.0, 2.0])]
    pub importance_sampling_range: Vec<f64>,
    /// Cut responses into steps or macro actions: `separator:TEXT`, `fixed:N`, `random:N`, `perplexity` or `parsing:N`.
    #[arg(long)]
    pub segment: Option<String>,
    /// Log the perplexity of these completions, of which nothing is learned, with each generation: a file with the columns
    /// `prompt` and `completion`.
    #[arg(help_heading = "Rollouts", long)]
    pub perplexity_data: Option<PathBuf>,
    /// End where that perplexity is above this number.
    #[arg(help_heading = "Rollouts", long, allow_negative_numbers = true)]
    pub early_stopping_perplexity: Option<f64>,
    /// End where the mean reward of so many generations, one after another, was not above the best before them; 0 goes on.
    #[arg(help_heading = "Rollouts", long, default_value_t = 0)]
    pub early_stopping_patience: usize,
    /// ma_ppo: how the values of a macro action become one: their mean, that of the last token, or weighed by place.
    #[arg(long, value_enum, default_value_t = MacroValueName::Equal)]
    pub macro_value: MacroValueName,
    /// ma_ppo: how the rewards of a macro action become one: `sum`, or `code`, by the weights of the value with the last token
    /// apart.
    #[arg(long, value_enum, default_value_t = MacroRewardName::Sum)]
    pub macro_reward: MacroRewardName,
    /// raft: keep this share of all responses; without it, the best to each prompt.
    #[arg(long, allow_negative_numbers = true)]
    pub keep_top: Option<f64>,
    /// oreal: learn token rewards, and weigh tokens by them.
    #[arg(long)]
    pub token_rewards: bool,
    /// oreal: strength of what right responses teach.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub oreal_positive: f64,
    /// oreal: strength of what wrong responses teach.
    #[arg(long, default_value_t = 0.5, allow_negative_numbers = true)]
    pub oreal_negative: f64,
    /// oreal: with --token-rewards, weigh this share of the tokens alone, those that say most clearly what the response is.
    #[arg(long, requires = "token_rewards", allow_negative_numbers = true)]
    pub oreal_top: Option<f64>,
    /// oreo: what a state is; steps are those of `--segment`.
    #[arg(long, value_enum, default_value_t = OreoLevelName::Token)]
    pub oreo_level: OreoLevelName,
    /// oreo: strength of the pull to the reference beside the Bellman equation; a third of beta unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub oreo_kl: Option<f64>,
    /// oreo: weigh responses by the ratio of their probability to that of their writer, at most this; from the second step on a
    /// generation on.
    #[arg(long, allow_negative_numbers = true)]
    pub oreo_weight: Option<f64>,
    /// brain: a response is good as `exp(reward / brain_gamma)`.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub brain_gamma: f64,
    /// brain: a response is good as `sigmoid(reward - brain_reference)` instead.
    #[arg(long, allow_negative_numbers = true)]
    pub brain_reference: Option<f64>,
    /// brain and steer-lm: divide the loss of a prompt by the mean number of tokens of its responses.
    #[arg(long)]
    pub token_scaled: bool,
    /// steer-lm: the attributes that are wanted of a response, such as `helpfulness=4,verbosity=2`, unless a row has its own in the
    /// column `attributes`. They stand in a line in front of the prompt, which the reference does not see.
    #[arg(long, value_parser = super::table::<Map<String, Value>>)]
    pub attributes: Option<Map<String, Value>>,
    /// score: what stands between the first response and the second, which it asks for, with all that the chat template would
    /// write there; `\n` is a line break.
    #[arg(long)]
    pub second_attempt: Option<String>,
    /// score: the first stage teaches second attempts and holds the first ones, the second teaches both.
    #[arg(long, value_enum, default_value_t = StageName::Second)]
    pub stage: StageName,
    /// score: what progress from the first attempt to the second is paid in the second stage.
    #[arg(long, default_value_t = 10.0, allow_negative_numbers = true)]
    pub progress_bonus: f64,
    /// score: the pull on second attempts in the first stage, as a share of that on first ones.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub second_pull: f64,
    /// score: the share of first attempts in the second stage that the reference writes, so that second attempts see others' faults.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub borrowed_attempts: f64,
}

impl RlArgs {
    /// How the rewards become one, where they are not added up.
    pub fn aggregate(&self) -> anyhow::Result<Option<Aggregate>> {
        let tamed = self.log_sigmoid.is_some() || self.log_sigmoid_quantile.is_some();
        if self.reward.is_empty() && (self.combine.is_some() || tamed) {
            bail!("combine, log_sigmoid and log_sigmoid_quantile change rewards; name some with --reward");
        }
        Ok(Some(match (self.combine, self.combine_weight) {
            (None, None) => return Ok(None),
            (Some(CombineName::Uwo), weight) => Aggregate::MeanMinusVariance { lambda: weight.unwrap_or(0.1), ddof: 1 },
            (Some(CombineName::MeanMinusStd), weight) => Aggregate::MeanMinusStd { c: weight.unwrap_or(1.0), ddof: 1 },
            (Some(CombineName::Mean), None) => Aggregate::Mean,
            (Some(CombineName::Median), None) => Aggregate::Median,
            (Some(CombineName::Min), None) => Aggregate::Min,
            (_, Some(_)) => {
                bail!("combine_weight weighs the spread of --combine uwo and mean-minus-std; drop it with the others")
            }
        }))
    }

    /// What is made of scores of steps, where something is; the weight of the process model is not known here.
    pub fn refinement(&self) -> anyhow::Result<Option<StepRewards>> {
        let Some(how) = self.step_rewards else {
            if self.step_eta.is_some() {
                bail!("step_eta is where --step-rewards clip cuts scores off; name both, or drop it");
            }
            return Ok(None);
        };
        if self.reward.is_empty() {
            bail!("step_rewards refines rewards of steps; name some with --reward");
        }
        let clips = matches!(how, StepRewardsName::Clip | StepRewardsName::ClipDelta);
        if self.step_eta.is_some() && !clips {
            bail!("step_eta belongs to step_rewards clip and clip-delta; drop it with the others");
        }
        if self.combine.is_some() || self.log_sigmoid.is_some() || self.log_sigmoid_quantile.is_some() {
            bail!(
                "combine, log_sigmoid and log_sigmoid_quantile make one reward of several, which step_rewards keeps apart; \
                 drop them"
            );
        }
        if self.confidence_weight.is_some() {
            bail!("confidence_weight moves the reward of a whole response, and step_rewards is of steps; drop one");
        }
        if how == StepRewardsName::Progress {
            return Ok(Some(StepRewards::Progress));
        }
        let delta = how != StepRewardsName::Clip;
        if delta && self.gamma != 1.0 {
            bail!("step_rewards delta telescopes where gamma is 1, and it is {}; drop gamma, or use clip", self.gamma);
        }
        let eta = clips.then_some(self.step_eta.unwrap_or(ETA));
        let config = ClipDeltaConfig { eta, delta, ..ClipDeltaConfig::default() };
        config.init()?;
        Ok(Some(StepRewards::Refined(config)))
    }

    /// How tokens are drawn.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: (self.top_k > 0).then_some(self.top_k),
            top_p: self.top_p,
            min_p: (self.min_p != 0.0).then_some(self.min_p),
            ..Sampling::default()
        }
    }
}

/// How scores of steps are refined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StepRewardsName {
    /// What is above --step-eta counts as nothing, what is below it as what is missing.
    Clip,
    /// Each step gets its score less that of the next one.
    Delta,
    /// Clip, then delta.
    ClipDelta,
    /// Each step gets success and its progress under the prover: PAV.
    Progress,
}

/// What steps are paid.
#[derive(Clone, Copy, Debug)]
pub enum StepRewards {
    /// Refined scores, and the last one success.
    Refined(ClipDeltaConfig),
    /// Success and progress.
    Progress,
}

/// Where scores are cut off, unless it is said.
const ETA: f64 = 0.9;

/// What becomes of groups in which no two scores differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeadGroupsName {
    /// They are trained on, with the pull to the reference alone.
    Keep,
    /// They are left out.
    Mask,
}

/// What is done with the ratio of a token's probability while training and when it was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CorrectionName {
    /// Nothing.
    None,
    /// It is cut to the range and weighs the token.
    Truncate,
    /// Tokens out of the range are left out.
    MaskTokens,
    /// Responses whose mean is out of the range are left out.
    MaskSequences,
}

/// What a state of OREO is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OreoLevelName {
    /// Each token.
    Token,
    /// The beginning of each step.
    Step,
    /// The beginning of the response.
    Response,
    /// Each token, against the value of the next one alone.
    OneStep,
}

impl From<OreoLevelName> for OreoLevel {
    fn from(name: OreoLevelName) -> Self {
        match name {
            OreoLevelName::Token => Self::Token,
            OreoLevelName::Step => Self::Step,
            OreoLevelName::Response => Self::Response,
            OreoLevelName::OneStep => Self::OneStep,
        }
    }
}

/// How a stated confidence moves a reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConfidenceName {
    /// By how far the reward is from its running mean.
    Difference,
    /// By the size of the reward.
    Threshold,
}

impl From<ConfidenceName> for PpoC {
    fn from(name: ConfidenceName) -> Self {
        match name {
            ConfidenceName::Difference => Self::Difference,
            ConfidenceName::Threshold => Self::Threshold,
        }
    }
}

/// How the values of a macro action become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MacroValueName {
    /// Their mean.
    Equal,
    /// That of the last token.
    Unit,
    /// Weighed by 1 / place.
    Position,
}

impl From<MacroValueName> for MacroValue {
    fn from(name: MacroValueName) -> Self {
        match name {
            MacroValueName::Equal => Self::Equal,
            MacroValueName::Unit => Self::Unit,
            MacroValueName::Position => Self::Position,
        }
    }
}

/// How the rewards of a macro action become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MacroRewardName {
    /// Their sum.
    Sum,
    /// As the public code of MA-RLHF has it.
    Code,
}

impl From<MacroRewardName> for MacroReward {
    fn from(name: MacroRewardName) -> Self {
        match name {
            MacroRewardName::Sum => Self::Sum,
            MacroRewardName::Code => Self::Weighted,
        }
    }
}

/// A stage of SCoRe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    /// Second attempts learn.
    First,
    /// Both learn.
    Second,
}
