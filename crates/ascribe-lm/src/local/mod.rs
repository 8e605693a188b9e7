//! Models that run here: decoders on Burn, which are trained, and an engine on the CPU, which writes and scores.

mod adapter;
mod config;
mod decoder;
mod device;
mod draft;
mod engine;
mod frozen;
mod gguf_weights;
mod gpt2;
mod lora;
mod model;
mod parts;
mod policy;
mod predictors;
mod rope;
mod sample;
mod soup;
mod weights;

pub use config::{Activation, Biases, DecoderConfig, Family, Head, Norm, Positions};
pub use decoder::{
    Backward, Decoder, FeaturePass, HeadInit, JointPass, KvCache, NextTokenHead, Pooling, Row, ScorePass, TrainingPass,
};
pub use engine::{Engine, KvUsage, Limits, Precision};
pub use frozen::FrozenModel;
pub use gguf_weights::GgufWeights;
pub use lora::LoraConfig;
pub use model::LanguageModel;
pub use policy::LocalPolicy;
pub use predictors::Predictors;
pub use rope::{Rope, RopeScaling};
pub use weights::{RandomWeights, Safetensors, WeightSource, save_safetensors};
