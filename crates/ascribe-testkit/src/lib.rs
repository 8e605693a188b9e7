//! What the tests of ascribe share: golden reference values, made by published Python libraries (see `golden/README.md`).
//!
//! This crate is for tests alone and is never published, so it panics where a library would return an error.
#![forbid(unsafe_code)]

#[cfg(feature = "tensor")]
pub mod device;
pub mod golden;
pub mod models;
