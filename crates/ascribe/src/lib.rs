#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use ascribe_core as core;
pub use ascribe_data as data;
pub use ascribe_eval as eval;
pub use ascribe_lm as lm;
pub use ascribe_preference as preference;
pub use ascribe_process as process;
pub use ascribe_reward as reward;
pub use ascribe_search as search;
pub use ascribe_train as train;
pub use ascribe_worlds as worlds;
pub use burn;

/// What most programs use.
pub mod prelude {
    pub use ascribe_core::{
        Budget, CoreError, Credit, CreditAssigner, Episode, Evidence, LogpBatch, Loss, Needs, Objective, Place, Policy,
        Reduce, Request, RowKind, Scorer, Seed, Tokens, rule,
    };
    pub use ascribe_eval::{Bootstrap, Estimate, accuracy, compare};
    pub use ascribe_lm::{Decoder, LanguageModel, LocalPolicy};
    pub use ascribe_preference::objectives::{DpoConfig, Sft, TRegConfig};
    pub use ascribe_preference::{ImplicitReward, LogpLearner, TrainRow};
    pub use ascribe_process::model::{ProcessLearner, ProcessModel, ProcessRow};
    pub use ascribe_reward::{
        Aggregate, Ensemble, LogSigmoid, Reference, RewardLearner, RewardLoss, RewardModel, RewardRow, ScoreBatch,
        Standard, Sum,
    };
    pub use ascribe_search::{Beam, BestOfN, Found, Greedy, Majority, Search, SearchCtx};
    pub use ascribe_train::{Fit, FitConfig, Learner, evaluate};
}
