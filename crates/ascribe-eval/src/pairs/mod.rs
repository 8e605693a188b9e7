//! Pairs of a chosen and a rejected response.

mod accuracy;
mod implicit;
mod ranking;

pub use accuracy::{
    PairAccuracy, Ties, group_accuracy, length_baseline, list_accuracy, pair_accuracy, pair_probabilities,
    weighted_pair_accuracy,
};
pub use implicit::{GeneralisationDrop, ShiftedSet, generalisation_drop};
pub use ranking::{
    Flips, IDEAL_BETAS, IdealRanking, PairLogps, PerToken, difficulty, flips, idealised_ranking, ipo_difficulty,
    ranking_accuracy,
};

pub(crate) use accuracy::credits;
