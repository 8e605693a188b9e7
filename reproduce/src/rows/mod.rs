//! The experiments, a file each.

mod armap;
mod clip_delta;
mod concepts;
mod cream;
mod deal;
mod dpo_overoptimisation;
mod ensembles;
mod glore_stages;
mod gpm_cycles;
mod implicit_prm_data;
mod implicit_vs_explicit;
mod kto_unpaired;
mod logical_and;
mod machine_text;
mod mcts_value;
mod monte_carlo_rate;
mod noisy_labels;
mod omega_prm;
mod p_ik;
mod pav_provers;
mod process_verifiers;
mod r_to_q;
mod ranking_accuracy;
mod rating_and_preference;
mod reward_math;
mod rsrm;
mod smc;
mod step_level_models;
pub mod strategies;
mod test_time_compute;
mod tools;
mod transfer_q;
mod voting;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ROWS: &[&Row] = &[
    &reward_math::ROW,
    &r_to_q::ROW,
    &dpo_overoptimisation::ROW,
    &ranking_accuracy::ROW,
    &implicit_vs_explicit::ROW,
    &noisy_labels::ROW,
    &kto_unpaired::ROW,
    &cream::ROW,
    &omega_prm::ROW,
    &monte_carlo_rate::ROW,
    &process_verifiers::ROW,
    &pav_provers::ROW,
    &implicit_prm_data::ROW,
    &clip_delta::ROW,
    &glore_stages::ROW,
    &step_level_models::ROW,
    &p_ik::ROW,
    &strategies::ROW,
    &test_time_compute::ROW,
    &mcts_value::ROW,
    &transfer_q::ROW,
    &smc::ROW,
    &deal::ROW,
    &rsrm::ROW,
    &armap::ROW,
    &gpm_cycles::ROW,
    &ensembles::ROW,
    &rating_and_preference::ROW,
    &voting::ROW,
    &logical_and::ROW,
    &tools::ROW,
    &concepts::ROW,
    &machine_text::ROW,
];
