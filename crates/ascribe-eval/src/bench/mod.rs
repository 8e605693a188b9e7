//! Scoring rules of published benchmarks.

pub(crate) mod samples;
