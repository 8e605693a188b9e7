//! Runs of the binary.
