//! Tensor operations that every family of methods shares. Letters in shape comments: `rows`, `seq`, `vocab`, `hidden`.

mod attention;
#[cfg(feature = "fused")]
pub mod fused;
mod gradients;
mod logps;
mod mask;
mod rows;

pub use attention::{AttentionShape, Sight, attend, attention, by_head, hidden};
pub use gradients::{sum_of_squares, times};
pub use logps::{chosen_logps, token_logps};
pub use mask::Mask;
pub use rows::{geglu, gelu_tanh, layer_norm, rms_norm, rope, swiglu};
