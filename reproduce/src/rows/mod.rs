//! The experiments, a file each.

mod annotation_routing;
mod answer_and_reason;
mod archer;
mod armap;
mod balance;
mod blank_perplexity;
mod brain;
mod calibrated_rewards;
mod circuit;
mod clip_delta;
mod clip_delta_chains;
mod concepts;
mod concepts_and_hints;
mod constrained;
mod cream;
mod curated_instructions;
mod cyclical_curriculum;
mod deal;
mod deception;
mod distilled_traces;
mod domain_features;
mod dpo_overoptimisation;
mod dynamic_beta;
pub mod ensembles;
mod ensembles_in_rl;
mod fair_learner;
mod folded_histories;
mod follow_ups;
mod glore_stages;
mod gpm_cycles;
mod gpo_on_cycles;
mod graders;
mod groupwise_regret;
mod hidden_outcomes;
mod hiring;
mod imbalance;
mod impact_curve;
mod implicit_prm_data;
mod implicit_vs_explicit;
mod internal_agreement;
mod kto_unpaired;
mod logical_and;
mod ma_rlhf;
mod machine_text;
mod mcts_value;
mod monte_carlo_rate;
mod more;
mod noisy_labels;
mod objective_mismatch;
mod omega_prm;
mod one_model_of_tasks;
mod online_intrinsic;
mod oreal;
mod oreo;
mod p_ik;
mod pav_provers;
mod potential;
pub mod ppo_vs_dpo;
mod preference_trade_offs;
mod preferred_pictures;
mod pretraining_seeds;
mod principles;
mod process_verifiers;
mod r_to_q;
mod raft;
mod ranking_accuracy;
mod rating_and_preference;
mod regularised_relevance;
mod reward_math;
mod robust_rewards;
mod rollout_errors;
mod rounds_of_mathematics;
mod rsrm;
mod score_turn_two;
mod self_evolution;
mod smc;
mod starc;
mod steer_lm;
mod steer_lm_decoder;
mod step_level_models;
pub mod strategies;
mod subgoals;
mod summaries;
mod t_reg;
mod task_order;
mod test_time_compute;
mod tools;
mod traced_matches;
mod trade_offs;
mod transfer_q;
mod tutoring;
mod voting;
mod who_wrote_it;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ROWS: &[&Row] = &[
    &reward_math::ROW,
    &follow_ups::ROW,
    &r_to_q::ROW,
    &dpo_overoptimisation::ROW,
    &ranking_accuracy::ROW,
    &implicit_vs_explicit::ROW,
    &noisy_labels::ROW,
    &dynamic_beta::ROW,
    &steer_lm::ROW,
    &steer_lm_decoder::ROW,
    &kto_unpaired::ROW,
    &tutoring::ROW,
    &curated_instructions::ROW,
    &one_model_of_tasks::ROW,
    &folded_histories::ROW,
    &traced_matches::ROW,
    &summaries::ROW,
    &t_reg::ROW,
    &ma_rlhf::ROW,
    &raft::ROW,
    &oreo::ROW,
    &oreal::ROW,
    &brain::ROW,
    &ppo_vs_dpo::ROW,
    &cream::ROW,
    &internal_agreement::ROW,
    &omega_prm::ROW,
    &monte_carlo_rate::ROW,
    &process_verifiers::ROW,
    &pav_provers::ROW,
    &implicit_prm_data::ROW,
    &clip_delta::ROW,
    &clip_delta_chains::ROW,
    &glore_stages::ROW,
    &rounds_of_mathematics::ROW,
    &self_evolution::ROW,
    &distilled_traces::ROW,
    &step_level_models::ROW,
    &p_ik::ROW,
    &strategies::ROW,
    &test_time_compute::ROW,
    &potential::ROW,
    &preferred_pictures::ROW,
    &mcts_value::ROW,
    &transfer_q::ROW,
    &smc::ROW,
    &deal::ROW,
    &rsrm::ROW,
    &armap::ROW,
    &gpm_cycles::ROW,
    &gpo_on_cycles::ROW,
    &ensembles::ROW,
    &ensembles_in_rl::ROW,
    &constrained::ROW,
    &preference_trade_offs::ROW,
    &calibrated_rewards::ROW,
    &score_turn_two::ROW,
    &archer::ROW,
    &cyclical_curriculum::ROW,
    &task_order::ROW,
    &rating_and_preference::ROW,
    &voting::ROW,
    &more::ROW,
    &logical_and::ROW,
    &tools::ROW,
    &concepts::ROW,
    &machine_text::ROW,
    &who_wrote_it::ROW,
    &balance::ROW,
    &imbalance::ROW,
    &starc::ROW,
    &answer_and_reason::ROW,
    &concepts_and_hints::ROW,
    &graders::ROW,
    &blank_perplexity::ROW,
    &groupwise_regret::ROW,
    &hidden_outcomes::ROW,
    &fair_learner::ROW,
    &hiring::ROW,
    &impact_curve::ROW,
    &circuit::ROW,
    &rollout_errors::ROW,
    &objective_mismatch::ROW,
    &subgoals::ROW,
    &online_intrinsic::ROW,
    &annotation_routing::ROW,
    &trade_offs::ROW,
    &pretraining_seeds::ROW,
    &regularised_relevance::ROW,
    &robust_rewards::ROW,
    &deception::ROW,
    &domain_features::ROW,
    &principles::ROW,
];
