//! Models that run here, on Burn.

mod config;
mod decoder;
mod model;
mod policy;
mod sample;
mod weights;

pub use config::{DecoderConfig, Rope, RopeScaling};
pub use decoder::{Decoder, KvCache, Row};
pub use model::LanguageModel;
pub use policy::LocalPolicy;
pub use weights::{RandomWeights, Safetensors, WeightSource, save_safetensors};
