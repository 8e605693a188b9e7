#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "tensor")]
pub mod device;
pub mod golden;
pub mod llama_cpp;
pub mod models;
pub mod python;
pub mod server;
