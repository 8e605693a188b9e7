//! Tensor operations that every family of methods shares. Letters in shape comments: `rows`, `seq`, `vocab`, `hidden`.

mod attention;
mod logps;
mod mask;
mod rows;

pub use attention::{AttentionShape, Sight, attend, attention, by_head, hidden};
pub use logps::{chosen_logps, token_logps};
pub use mask::Mask;
pub use rows::{geglu, gelu_tanh, layer_norm, rms_norm, rope, swiglu};
