#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod gguf;
mod hub;
mod sampling;
mod template;
mod tokenizer;

#[cfg(feature = "local")]
mod io;
#[cfg(feature = "local")]
mod local;

#[cfg(feature = "served")]
mod served;

pub use error::LmError;
pub use gguf::{Gguf, GgufValue, RawTensor, TensorInfo, TensorKind};
pub use hub::Hub;
#[cfg(feature = "local")]
pub use local::{
    Activation, Backward, Biases, Decoder, DecoderConfig, Engine, Family, FeaturePass, FrozenModel, GgufWeights, Head,
    HeadInit, JointPass, KvCache, KvUsage, LanguageModel, Limits, LocalPolicy, LoraConfig, NextTokenHead, Norm,
    Pooling, Positions, Precision, Predictors, RandomWeights, Rope, RopeScaling, Row, Safetensors, ScorePass,
    TrainingPass, WeightSource, save_safetensors,
};
pub use sampling::Transform;
#[cfg(feature = "served")]
pub use served::{
    Abilities, ChatChoice, ChatReply, ChatRequest, ChatToken, Dialect, Scoring, ServedChat, ServedOptions, ServedPolicy,
};
pub use template::{ChatTemplate, Date, Ending, MaskedTokens, Message, Render};
pub use tokenizer::{Roles, SpecialTokens, TextStream, Tokenizer};
