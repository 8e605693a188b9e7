//! How far two reward functions are apart, on processes with every number known.

mod mdp;
mod starc;

pub use mdp::{Mdp, Values};
pub use starc::{Canon, Norm, epic_distance, starc_distance};
