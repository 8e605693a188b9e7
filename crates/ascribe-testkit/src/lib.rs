#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "tensor")]
pub mod device;
pub mod golden;
pub mod models;
