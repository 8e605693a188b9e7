//! Scoring rules of published benchmarks.

mod best_of_k;
mod bose;
mod deception;
mod ppe;
pub(crate) mod process_bench;
mod reasoning;
mod rewardbench;
mod rewardbench2;
mod rewardmath;
mod rm_bench;
pub(crate) mod samples;
mod self_correction;
mod votes;

pub use best_of_k::{BestOfK, PickTies, best_of_k, best_of_k_curve};
pub use bose::{Candidate, base_instruct_consistency, blank_credit, blank_perplexities, stability};
pub use deception::{Deception, DeceptionItem, deception, gap_recovered};
pub use ppe::{
    MismatchMatrix, confidence_agreement, mean_win_rates, mismatch_matrix, pair_brier, quantile_over_domains,
    row_wise_correlation, separability, standardised_domains,
};
pub use process_bench::{Localisation, ProcessF1, chance_f1, first_error, localisation, process_f1, weakest_step};
pub use reasoning::{
    CHAMP_CONDITIONS, ChampCondition, ClrScores, Joint, champ_conditions, champ_misleading, champ_partial_steps,
    clr_bench, right_by_wrong_steps,
};
pub use rewardbench::{MissingSubsets, REWARDBENCH_PRIOR, REWARDBENCH_SECTIONS, RewardBench, rewardbench};
pub use rewardbench2::{
    REWARDBENCH2_SUBSETS, RewardBench2, TiesPrompt, TiesScore, best_of_completions, rewardbench_ties, rewardbench2,
};
pub use rewardmath::{OneToMany, RewardMath, StepReduction, Unparsed, one_to_many, pairwise_one_to_many};
pub use rm_bench::{RmBench, StyleMatrix, StyledPair, rm_bench, rm_bench_estimates, style_matrix};
pub use samples::{Attempts, mean_pass_at_k, mean_pass_hat_k, pass_at_k, pass_hat_k};
pub use self_correction::{SelfCorrection, attempt_table, reranked_refinements, self_correction};
pub use votes::{VoteTies, maj_at_k, majority, weighted_majority};
