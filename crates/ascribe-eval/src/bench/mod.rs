//! Scoring rules of published benchmarks.

mod best_of_k;
mod ppe;
pub(crate) mod process_bench;
mod rewardbench;
mod rewardbench2;
mod rewardmath;
mod rm_bench;
pub(crate) mod samples;
mod votes;

pub use best_of_k::{BestOfK, PickTies, best_of_k, best_of_k_curve};
pub use ppe::{
    MismatchMatrix, confidence_agreement, mismatch_matrix, pair_brier, quantile_over_domains, row_wise_correlation,
    separability,
};
pub use process_bench::{Localisation, ProcessF1, first_error, localisation, process_f1, weakest_step};
pub use rewardbench::{MissingSubsets, REWARDBENCH_PRIOR, REWARDBENCH_SECTIONS, RewardBench, rewardbench};
pub use rewardbench2::{TiesPrompt, TiesScore, best_of_completions, rewardbench_ties};
pub use rewardmath::{OneToMany, RewardMath, StepReduction, Unparsed, one_to_many, pairwise_one_to_many};
pub use rm_bench::{RmBench, StyleMatrix, StyledPair, rm_bench, style_matrix};
pub use samples::{Attempts, mean_pass_at_k, mean_pass_hat_k, pass_at_k, pass_hat_k};
pub use votes::{VoteTies, maj_at_k, majority, weighted_majority};
