//! How responses are scored against the reference, for every loss that compares the two sides of a pair.
//!
//! ```text
//! h      = log pi(y|x) - g log pi_ref(y|x)        sums over response tokens
//! score  = f(h):  reverse_kl        h
//!                 forward_kl        1 - e^-h
//!                 js_divergence     log 2 + log sigmoid(h)
//!                 alpha_divergence  (e^((a - 1) h) - 1) / (a - 1);  a = 1 is reverse_kl, a = 0 forward_kl
//! margin = beta (score_chosen - score_rejected),    rewards = beta h
//! ```
//! `g` is `reference_weight`: 1 is DPO, 0 leaves the reference out as `reference_free` does, and what lies between is DPO^g
//! of arXiv:2405.19534. The divergences are f-DPO (arXiv:2309.16240), each 0 where the policy is the reference; exponents are
//! capped, which changes nothing below e^80. `ld_alpha` is LD-DPO
//! (arXiv:2409.06411): tokens past the length of the shorter response count so much, 1 is no difference. `use_weighting`
//! is WPO (arXiv:2406.11827, eq. 2): the loss of a pair times `exp(mean_t (log pi_t - log sum_v p_v^2))` of both sides,
//! so that responses which the policy would hardly write count less; no gradient flows through it. `label_weights` multiplies
//! the loss of a pair by the weight that comes with it, how far its label is trusted, say. `mean` still divides by the number
//! of pairs, and `weighted_mean` by the sum of the weights, so that doubling them all changes nothing.
//!
//! Statistics are those of TRL, with three departures. A tie counts one half in `rewards/accuracies`, and `rewards/ties` tells
//! the share of ties: TRL counts them as lost, and logs the first less one half of the second. Without a reference the
//! rewards, too, are without it (TRL still subtracts it). And `logps/chosen_displacement` is added: the change of the chosen
//! response's log-probability per token since the reference. When it falls below about -1, the policy unlearns what it should
//! learn; raise beta or stop earlier. Beside them stand lengths, log-probabilities per token, and `rankings/accuracies`:
//! whether the policy alone finds the chosen response likelier, by sums and by tokens, which rewards may rise without
//! (arXiv:2405.19534).

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Pairs, RowKind, Side};
use burn::tensor::{Tensor, activation::log_sigmoid};
use serde::{Deserialize, Serialize};

use crate::PreferenceError;
use crate::error::{check, unused};

/// Exponents are capped here: above about 88 a float of 32 bits overflows.
pub(super) const LARGEST_EXPONENT: f64 = 80.0;

/// A divergence whose derivative scores a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FDivergence {
    /// KL of the policy from the reference: that of DPO.
    #[default]
    ReverseKl,
    /// KL of the reference from the policy.
    ForwardKl,
    /// Jensen-Shannon divergence.
    JsDivergence,
    /// The alpha divergence with `f_alpha_divergence_coef`.
    AlphaDivergence,
}

/// What the weights of labels do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelWeights {
    /// Nothing: all labels count alike.
    #[default]
    None,
    /// They multiply the losses of their pairs, of which the mean is taken.
    Mean,
    /// The same, divided by their sum.
    WeightedMean,
}

/// Options of how responses are scored, under the names of TRL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scoring {
    /// Leave the reference out.
    pub reference_free: bool,
    /// What the reference counts for; finite and at least 0. Not to be given with `reference_free`.
    pub reference_weight: f64,
    /// The divergence.
    pub f_divergence_type: FDivergence,
    /// `a` of the alpha divergence; finite. Absent, it is 0.5.
    pub f_alpha_divergence_coef: Option<f64>,
    /// What tokens past the length of the shorter response count for, in [0, 1]; absent, all count alike.
    pub ld_alpha: Option<f64>,
    /// Weigh pairs by how likely the policy would write them.
    pub use_weighting: bool,
    /// Weigh pairs by the weights of their labels.
    pub label_weights: LabelWeights,
}

impl Default for Scoring {
    fn default() -> Self {
        Self {
            reference_free: false,
            reference_weight: 1.0,
            f_divergence_type: FDivergence::ReverseKl,
            f_alpha_divergence_coef: None,
            ld_alpha: None,
            use_weighting: false,
            label_weights: LabelWeights::None,
        }
    }
}

/// Scores pairs; made of checked options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scorer {
    beta: f64,
    scoring: Scoring,
    /// `a - 1` of the alpha divergence.
    order: f64,
}

/// Pairs with their log-ratios.
pub(super) struct Scored {
    pub(super) pairs: Pairs,
    /// `h` of the chosen responses, `[pairs]`.
    pub(super) chosen: Tensor<1>,
    /// `h` of the rejected responses, `[pairs]`.
    pub(super) rejected: Tensor<1>,
    weights: Option<Tensor<1>>,
    /// Weights of the labels, `[pairs]`.
    labels: Option<Tensor<1>>,
}

/// Refuses a beta that is not finite and above 0.
pub(super) fn check_beta(beta: f64) -> Result<(), PreferenceError> {
    let accepted = 0.0 < beta && beta.is_finite();
    if !accepted {
        return Err(PreferenceError::Beta { got: beta });
    }
    Ok(())
}

impl Scorer {
    pub(super) fn new(beta: f64, scoring: Scoring) -> Result<Self, PreferenceError> {
        check_beta(beta)?;
        let Scoring { reference_free, reference_weight: g, f_divergence_type, ld_alpha, .. } = scoring;
        let accepted = 0.0 <= g && g.is_finite();
        check(accepted, "reference_weight", "finite and at least 0", g, "1 is DPO, 0 leaves the reference out")?;
        if reference_free && g != 1.0 && g != 0.0 {
            return Err(unused("reference_weight", "with reference_free", "give one of them"));
        }
        let order = match (f_divergence_type, scoring.f_alpha_divergence_coef) {
            (FDivergence::AlphaDivergence, a) => a.unwrap_or(0.5) - 1.0,
            (_, None) => 0.0,
            (_, Some(_)) => {
                let remedy = "set f_divergence_type to alpha_divergence, or leave it out";
                return Err(unused("f_alpha_divergence_coef", "without the alpha divergence", remedy));
            }
        };
        check(order.is_finite(), "f_alpha_divergence_coef", "finite", order + 1.0, "start from 0.5")?;
        let tail = ld_alpha.unwrap_or(1.0);
        check((0.0..=1.0).contains(&tail), "ld_alpha", "in [0, 1]", tail, "1 counts all tokens alike")?;
        Ok(Self { beta, scoring, order })
    }

    /// A scorer for a loss that takes each side by itself, for which f-DPO says nothing.
    pub(super) fn by_sides(loss: &str, beta: f64, scoring: Scoring) -> Result<Self, PreferenceError> {
        if scoring.f_divergence_type != FDivergence::ReverseKl {
            let what = format!("f_divergence_type must be reverse_kl for {loss}, which scores each side by itself");
            return Err(PreferenceError::Conflict {
                what,
                remedy: "leave it out, or use dpo, ipo, hinge, exo or robust",
            });
        }
        Self::new(beta, scoring)
    }

    pub(super) fn beta(&self) -> f64 {
        self.beta
    }

    fn is_reference_free(&self) -> bool {
        self.scoring.reference_free || self.scoring.reference_weight == 0.0
    }

    pub(super) fn needs(&self) -> Needs {
        let needs = Needs::of(RowKind::Pairs);
        let needs = if self.is_reference_free() { needs } else { needs.with_ref_logps() };
        let needs = if self.scoring.use_weighting { needs.with_log_sum_sq_probs() } else { needs };
        match self.scoring.label_weights {
            LabelWeights::None => needs,
            LabelWeights::Mean => needs.with_label_weights(),
            LabelWeights::WeightedMean => needs.with_label_weights().weighted(),
        }
    }

    /// The pairs of `batch` with their log-ratios.
    pub(super) fn score(&self, batch: &LogpBatch) -> Result<Scored, CoreError> {
        let pairs = batch.pairs()?;
        let (chosen, rejected) = match self.scoring.ld_alpha {
            None => (self.ratio(&pairs.chosen, None)?, self.ratio(&pairs.rejected, None)?),
            Some(alpha) => {
                let shorter = pairs.chosen.lengths().min_pair(pairs.rejected.lengths()); // [pairs]
                let ratio = |side: &Side| self.ratio(side, Some(tail_weights(side, shorter.clone(), alpha)));
                (ratio(&pairs.chosen)?, ratio(&pairs.rejected)?)
            }
        };
        let weights = match self.scoring.use_weighting {
            false => None,
            true => {
                let still = batch.frozen().pairs()?;
                Some(confidence(&still.chosen)? * confidence(&still.rejected)?) // [pairs]
            }
        };
        let labels = match self.scoring.label_weights {
            LabelWeights::None => None,
            LabelWeights::Mean | LabelWeights::WeightedMean => Some(batch.label_weights()?),
        };
        Ok(Scored { pairs, chosen, rejected, weights, labels })
    }

    /// `h` of one side, `[pairs]`; `weights` of its tokens are `[pairs, seq]`.
    fn ratio(&self, side: &Side, weights: Option<Tensor<2>>) -> Result<Tensor<1>, CoreError> {
        let sum = |logps: Tensor<2>| match &weights {
            None => side.mask.sum(logps),
            // Masked first: a log-probability of -inf outside the response must not meet a weight of 0.
            Some(weights) => side.mask.sum(side.mask.keep(logps) * weights.clone()),
        }; // [pairs]
        let policy = sum(side.logps.clone());
        if self.is_reference_free() {
            return Ok(policy);
        }
        let reference = sum(side.ref_logps()?);
        let g = self.scoring.reference_weight;
        Ok(policy - if g == 1.0 { reference } else { reference.mul_scalar(g) })
    }

    /// The score of log-ratios, of any shape.
    fn f<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        let exp = |x: Tensor<D>| x.clamp_max(LARGEST_EXPONENT).exp();
        let order = self.order;
        match self.scoring.f_divergence_type {
            FDivergence::ReverseKl => h,
            FDivergence::ForwardKl => exp(h.neg()).neg().add_scalar(1.0),
            FDivergence::JsDivergence => log_sigmoid(h).add_scalar(std::f64::consts::LN_2),
            // The limit.
            FDivergence::AlphaDivergence if order == 0.0 => h,
            FDivergence::AlphaDivergence => {
                let x = h.mul_scalar(order);
                // e^x - 1 as tanh(x / 2) (e^x + 1), which keeps its digits where x is small.
                (x.clone().mul_scalar(0.5).tanh() * exp(x).add_scalar(1.0)).div_scalar(order)
            }
        }
    }

    /// Scores of both sides, `[pairs]` each.
    pub(super) fn scores(&self, scored: &Scored) -> (Tensor<1>, Tensor<1>) {
        (self.f(scored.chosen.clone()), self.f(scored.rejected.clone()))
    }

    /// Scores of both sides divided by their numbers of tokens, `[pairs]` each.
    pub(super) fn scores_per_token(&self, scored: &Scored) -> (Tensor<1>, Tensor<1>) {
        let (chosen, rejected) = self.scores(scored);
        let lengths = |side: &Side| side.lengths().clamp_min(1.0); // [pairs]
        (chosen / lengths(&scored.pairs.chosen), rejected / lengths(&scored.pairs.rejected))
    }

    /// `beta (score_chosen - score_rejected)`, `[pairs]`.
    pub(super) fn margins(&self, scored: &Scored) -> Tensor<1> {
        let (chosen, rejected) = self.scores(scored);
        chosen.mul_scalar(self.beta) - rejected.mul_scalar(self.beta)
    }

    /// `beta h` of both sides, `[pairs]` each.
    pub(super) fn rewards(&self, scored: &Scored) -> (Tensor<1>, Tensor<1>) {
        (scored.chosen.clone().mul_scalar(self.beta), scored.rejected.clone().mul_scalar(self.beta))
    }

    /// The loss of each pair, weighed, with statistics.
    pub(super) fn finish(&self, scored: &Scored, rows: Tensor<1>) -> Result<Loss, CoreError> {
        let rewards = self.rewards(scored);
        self.finish_with(scored, rows, rewards)
    }

    /// As [`Scorer::finish`], with rewards of the loss's own.
    pub(super) fn finish_with(
        &self,
        scored: &Scored,
        rows: Tensor<1>,
        rewards: (Tensor<1>, Tensor<1>),
    ) -> Result<Loss, CoreError> {
        let mut loss = match &scored.weights {
            None => Loss::mean_of(rows),
            Some(weights) => Loss::mean_of(rows * weights.clone()).stat("wpo/weight", weights.clone()),
        };
        if let Some(labels) = &scored.labels {
            loss.rows = loss.rows * labels.clone();
            if self.scoring.label_weights == LabelWeights::WeightedMean {
                loss.weights = loss.weights * labels.clone();
            }
            loss = loss.stat("label_weight", labels.clone());
        }
        let loss = with_rewards(loss, &scored.pairs, rewards.0, rewards.1);
        if self.is_reference_free() {
            return Ok(loss);
        }
        let chosen = &scored.pairs.chosen;
        let moved = (chosen.sum() - chosen.ref_sum()?) / chosen.lengths().clamp_min(1.0); // [pairs]
        Ok(loss.stat("logps/chosen_displacement", moved))
    }
}

/// 1 for a win, 1/2 for a tie, 0 for a loss.
fn wins(leads: Tensor<1>) -> Tensor<1> {
    leads.detach().sign().add_scalar(1.0).div_scalar(2.0)
}

/// `loss` with the statistics that all losses on pairs share.
pub(super) fn with_rewards(loss: Loss, pairs: &Pairs, chosen: Tensor<1>, rejected: Tensor<1>) -> Loss {
    let margins = chosen.clone() - rejected.clone(); // [pairs]
    let accuracies = wins(margins.clone()); // [pairs]
    let ties = margins.clone().detach().sign().abs().neg().add_scalar(1.0); // [pairs]
    let (ours, theirs) = (pairs.chosen.mean(), pairs.rejected.mean()); // [pairs]
    let (sum, other) = (pairs.chosen.sum(), pairs.rejected.sum()); // [pairs]
    loss.stat("rewards/chosen", chosen)
        .stat("rewards/rejected", rejected)
        .stat("rewards/margins", margins)
        .stat("rewards/accuracies", accuracies)
        .stat("rewards/ties", ties)
        .stat("rankings/accuracies", wins(sum.clone() - other.clone()))
        .stat("rankings/accuracies_per_token", wins(ours.clone() - theirs.clone()))
        .stat("logps/chosen", sum)
        .stat("logps/rejected", other)
        .stat("logps/chosen_per_token", ours)
        .stat("logps/rejected_per_token", theirs)
        .stat("lengths/chosen", pairs.chosen.lengths())
        .stat("lengths/rejected", pairs.rejected.lengths())
}

/// `-(1 - e) log sigmoid(x) - e log sigmoid(-x)`: the loss of a margin whose sign is wrong with probability `e`.
pub(super) fn smoothed(margins: Tensor<1>, e: f64) -> Tensor<1> {
    if e == 0.0 {
        return log_sigmoid(margins).neg();
    }
    log_sigmoid(margins.clone()).mul_scalar(e - 1.0) - log_sigmoid(margins.neg()).mul_scalar(e)
}

/// 1 up to the length of the shorter response, `alpha` past it, `[pairs, seq]`.
fn tail_weights(side: &Side, shorter: Tensor<1>, alpha: f64) -> Tensor<2> {
    let places = side.mask.places(&side.logps); // [pairs, seq]
    let past = (places.clone() - shorter.unsqueeze_dim::<2>(1)).greater_elem(0.0);
    places.ones_like().mask_fill(past, alpha)
}

/// `exp(mean_t (log pi_t - log sum_v p_v^2))`, `[pairs]`.
fn confidence(side: &Side) -> Result<Tensor<1>, CoreError> {
    Ok(side.mask.mean(side.logps.clone() - side.log_sum_sq_probs()?).exp())
}
