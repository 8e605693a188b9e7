//! Kernels on host slices, for engines that run on the CPU without Burn.
//!
//! Every kernel gives a row the same bits, however many rows stand beside it and however many threads share the work.

mod attention;
mod gemm;
mod rows;
mod small;
pub(crate) mod vector;

pub use attention::{BLOCK, Heads, Plan};
pub use gemm::{BlockKind, Packed};
pub use rows::{Gate, RowNorm, activate, boltzmann, gated, log_sum_exp, normalize, rotate, soft_cap};
#[cfg(feature = "fused")]
pub(crate) use small::add_product;
