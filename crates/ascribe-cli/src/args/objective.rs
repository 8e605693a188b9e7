//! Options of objectives that are made by name. Every one is handed on under its name; an objective refuses those that it
//! does not have, and has its own defaults for the others.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Objective")]
pub struct ObjectiveArgs {
    /// Losses to be added, as in TRL: `--loss-type sigmoid bco_pair sft` of the method dpo; or the one loss of cpo or tpo, or
    /// the policy loss on rollouts.
    #[arg(long, num_args(1..), value_delimiter = ',')]
    #[serde(skip)]
    pub loss_type: Vec<String>,
    /// Weights of losses that are added; 1 each when there are none.
    #[arg(long, num_args(1..), value_delimiter = ',', value_parser = finite, allow_negative_numbers = true)]
    #[serde(skip)]
    pub loss_weights: Vec<f64>,
    /// Strength of the pull to the reference, or what log-probabilities are multiplied by where there is none. 0.1 by default; 2
    /// for simpo, cpo-simpo and tpo-l, 1 for slic, 0.01 for tpo, 0.001 for sppo and gpo.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub beta: Option<f64>,
    /// Strength of the token-level regulariser (t-reg, simpo-reg) or of the divergences (tdpo2); exponent of AlphaPO (cpo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub alpha: Option<f64>,
    /// Share of labels that are taken to be wrong (dpo, cdpo, robust, exo, aot, simpo, cpo, tpo). 0 by default; 0.1 for cdpo and
    /// robust, 0.001 for exo.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub label_smoothing: Option<f64>,
    /// Leave the reference out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub reference_free: Option<bool>,
    /// What the reference counts for: 1 is DPO, 0 leaves it out.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub reference_weight: Option<f64>,
    /// reverse_kl, forward_kl, js_divergence or alpha_divergence.
    #[arg(long)]
    pub f_divergence_type: Option<String>,
    /// Order of the alpha divergence; 0.5 by default.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub f_alpha_divergence_coef: Option<f64>,
    /// What tokens past the length of the shorter response count for.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub ld_alpha: Option<f64>,
    /// Weigh pairs by how likely the policy would write them (WPO).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_weighting: Option<bool>,
    /// What the column `weight` does to the pairs: `none`, `mean` (it multiplies their losses) or `weighted_mean` (the same, divided
    /// by the sum of the weights).
    #[arg(long)]
    pub label_weights: Option<String>,
    /// Divide the score of each response by its number of tokens (dpo, ipo).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub length_normalized: Option<bool>,
    /// The margin that is wanted (hinge, slic); the largest ratio (on rollouts).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub delta: Option<f64>,
    /// Weight of a likelihood that is added (hinge, slic, mm-dpo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub lambda: Option<f64>,
    /// Whose likelihood: `chosen`, or the `reference` column (hinge, slic).
    #[arg(long)]
    pub nll_on: Option<String>,
    /// How a likelihood is averaged: over the `sum` or the tokens of a `response`, or over all tokens of a `window` as in TRL.
    #[arg(long)]
    pub nll_reduction: Option<String>,
    /// Take the likelihood of the prompt as well (orpo).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub nll_on_prompt: Option<bool>,
    /// Margin over which one loss passes into the other (discopop).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub discopop_tau: Option<f64>,
    /// Shift rewards by their running mean (bco, bco-pair).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub reward_shift: Option<bool>,
    /// Largest log-ratio that is aimed at (gpo, sppo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub target_clamp: Option<f64>,
    /// How much beta grows with the margin of a pair (mm-dpo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub margin_weight: Option<f64>,
    /// How fast it grows (mm-dpo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub margin_rate: Option<f64>,
    /// What becomes of a pair whose margin contradicts its label: `clamp` or `drop` (mm-dpo).
    #[arg(long)]
    pub disagreement: Option<String>,
    /// How far the order of all pairs can be relied upon; without it, the column of this name says it (cream).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub consistency: Option<f64>,
    /// The margin over beta (simpo, simpo-reg).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub gamma_beta_ratio: Option<f64>,
    /// The margin itself (simpo, simpo-reg, cpo-simpo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub simpo_gamma: Option<f64>,
    /// Weight of the likelihood (cpo, cpo-simpo).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub cpo_alpha: Option<f64>,
    /// Weight of the likelihood of the third answer (tpo, tpo-l).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub tpo_alpha: Option<f64>,
    /// The margin (tpo-l).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub tpo_l_gamma: Option<f64>,
    /// Weight of the ranking (rrhf).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub rrhf_weight: Option<f64>,
    /// Power of the number of tokens that log-probabilities are divided by (rrhf).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub length_penalty: Option<f64>,
    /// Weight of responses that are wanted (kto).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub desirable_weight: Option<f64>,
    /// Weight of responses that are not (kto).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    pub undesirable_weight: Option<f64>,
    /// Leave the divergence from the reference out (kto).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_kl: Option<bool>,
    /// What multiplies the regulariser of a pair: `adaptive` or `static` (t-reg, simpo-reg).
    #[arg(long)]
    pub reg_weight: Option<String>,
    /// Which responses are regularised: `both`, `chosen` or `rejected` (t-reg, simpo-reg).
    #[arg(long)]
    pub reg_tokens: Option<String>,
    /// Where token rewards come from: `batch` (the revision prompts), `dpo_reward` or `sft_on_chosen` (t-reg, simpo-reg).
    #[arg(long)]
    pub credit: Option<String>,
}

impl ObjectiveArgs {
    /// What was given, under the names of the options.
    pub fn given(&self) -> Map<String, Value> {
        let mut given = match serde_json::to_value(self) {
            Ok(Value::Object(given)) => given,
            // A structure of numbers and words is an object.
            _ => Map::new(),
        };
        given.retain(|_, value| !value.is_null());
        given
    }
}

/// A number that JSON can hold.
fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if number.is_finite() { Ok(number) } else { Err("it must be a finite number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use ascribe::preference::objectives::OBJECTIVES;

    use super::*;

    #[test]
    fn every_option_of_the_table_can_be_typed() {
        let known = serde_json::to_value(ObjectiveArgs::default()).unwrap();
        // These are told by the name of the method, or by `--loss-type`.
        let by_name = ["anchor", "form", "target", "unpaired", "loss_type"];
        for row in &OBJECTIVES {
            for name in row.options().keys() {
                assert!(known.get(name).is_some() || by_name.contains(&name.as_str()), "{name} of {}", row.name);
            }
        }
        for name in known.as_object().unwrap().keys() {
            assert!(
                OBJECTIVES.iter().any(|row| row.options().contains_key(name)),
                "{name} is no option of any objective"
            );
        }
    }

    #[test]
    fn what_was_not_given_is_not_handed_on() {
        let args = ObjectiveArgs { beta: Some(0.5), no_kl: Some(true), ..ObjectiveArgs::default() };
        assert_eq!(Value::Object(args.given()), serde_json::json!({"beta": 0.5, "no_kl": true}));
        assert!(finite("nan").is_err() && finite("inf").is_err() && finite("x").is_err());
        assert_eq!(finite("-1e-3"), Ok(-1e-3));
    }
}
