//! What decoders must do, on languages that are small enough to be enumerated.

mod faults;
mod mcts;
mod noise;
mod plan;
mod refine;
mod smc;
mod steps;
mod support;
mod tokens;
mod traces;
