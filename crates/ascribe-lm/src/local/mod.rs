//! Models that run here, on Burn.

mod config;
mod decoder;
mod gguf_weights;
mod model;
mod policy;
mod sample;
mod weights;

pub use config::{DecoderConfig, Rope, RopeScaling};
pub use decoder::{Decoder, KvCache, Row};
pub use gguf_weights::GgufWeights;
pub use model::LanguageModel;
pub use policy::LocalPolicy;
pub use weights::{RandomWeights, Safetensors, WeightSource, save_safetensors};
