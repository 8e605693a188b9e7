//! Tensor operations that every family of methods shares. Letters in shape comments: `rows`, `seq`, `vocab`, `hidden`.

mod logps;
mod mask;

pub use logps::{chosen_logps, token_logps};
pub use mask::Mask;
