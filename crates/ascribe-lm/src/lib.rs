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

pub use error::LmError;
pub use gguf::{Gguf, GgufValue, RawTensor, TensorInfo, TensorKind};
pub use hub::Hub;
#[cfg(feature = "local")]
pub use local::{
    Activation, Backward, Biases, Decoder, DecoderConfig, Engine, Family, FrozenModel, GgufWeights, Head, HeadInit,
    KvCache, KvUsage, LanguageModel, Limits, LocalPolicy, LoraConfig, Norm, Positions, Precision, RandomWeights, Rope,
    RopeScaling, Row, Safetensors, ScorePass, TrainingPass, WeightSource, save_safetensors,
};
pub use sampling::Transform;
pub use template::{ChatTemplate, Date, Ending, MaskedTokens, Message, Render};
pub use tokenizer::{Roles, SpecialTokens, TextStream, Tokenizer};
