//! Curves: divergence, over-optimisation, efficiency, fronts, responses, accuracy by examples and steps, rollouts.

mod circuit;
mod efficiency;
pub(crate) mod kl;
mod over_optimization;
mod pareto;
mod response;
mod rollout;

pub use circuit::{Circuit, Prompted};
pub use efficiency::{
    MedianSteps, Multiplier, Ratio, Reached, Reading, compute_multiplier, efficiency_ratio, final_performance,
    log_area, median_steps, steps_to,
};
pub use kl::{
    BestOfNLaw, KlEstimate, best_of_n_kl, best_of_n_law, entropy, js_divergence, kl_estimate, kl_exact, total_variation,
};
pub use over_optimization::{
    Onset, OverOptimization, OverOptimizationFit, Saturated, Violation, fit_over_optimization, length_extrapolation,
    onset, proxy_points, violation,
};
pub use pareto::{Continual, additive_epsilon, continual, hypervolume, pareto_front, spacing};
pub use response::{Response, response};
pub use rollout::{errors_by_horizon, useful_horizon};
