//! The programs lie beside this folder; run one with `cargo run -p ascribe-examples --bin 01_credit`.
//!
//! This library holds the README of the workspace, so that its examples are compiled and run with the other tests.
#![forbid(unsafe_code)]

/// See the README of the workspace.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
