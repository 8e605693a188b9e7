//! Kernels on host slices, for engines that run on the CPU without Burn.
//!
//! Every kernel gives a row the same bits, however many rows stand beside it and however many threads share the work.

mod gemm;

pub use gemm::{BlockKind, Packed};
#[cfg(feature = "fused")]
pub(crate) use small::add_product;
