//! A policy loss: a surrogate over the advantages of tokens, with a pull to the reference, an entropy bonus and values.
//!
//! ```text
//! loss_t = w_t surrogate_t + beta pull_t kl_t [rho_t] - entropy_coef H_t + vf_coef value_t + outcome_coef bce
//! bce    = -log sigmoid(s) for a right response, -log sigmoid(-s) for a wrong one,   s the mean of its values
//! ```
//! With several critics, as under constraints, `value` is the sum of theirs. The mode of aggregation is an option. Advantages are the batch's credit. `kl` is an estimate of [`KlEstimator`], times the
//! ratio where the gradient of the divergence itself is wanted. The entropy bonus is aggregated as the loss is; TRL takes its
//! mean over tokens whatever the mode. With `off_policy_threshold` a response with a negative advantage that the policy now
//! finds less likely, by more than that many nats a token, than what it was drawn from is left out (DeepSeek-V3.2). With
//! `outcome_coef` the values are token rewards that learn whether a response is right (OREAL, arXiv:2502.06781); where all
//! tokens count alike, they do so in that term as well, and a long response weighs more. With k3, `kl/cut` of the log is the number
//! of tokens of a response whose exponent was cut.

use ascribe_core::tensor::{KlEstimator, KlGradient};
use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind, Side, TokenInput};
use burn::tensor::{Tensor, activation::log_sigmoid};

use super::Aggregation;
use super::surrogate::{RatioLevel, Surrogate, Terms};
use super::value_loss::{value_clipped, value_tokens};

/// The part of values in a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueTerm {
    /// Its weight.
    pub coef: f64,
    /// How far a value may move; `None` does not clip.
    pub clip: Option<f64>,
}

/// A policy loss. [`PolicyLoss::new`] has what most losses leave out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyLoss {
    /// What a token contributes.
    pub surrogate: Surrogate,
    /// What a ratio is of.
    pub level: RatioLevel,
    /// How tokens become one number.
    pub aggregation: Aggregation,
    /// What [`Aggregation::SeqMeanTokenSumNorm`] divides by: the most tokens that a response may have.
    pub length: f64,
    /// Strength of the pull to the reference in the loss; 0 needs no reference.
    pub beta: f64,
    /// How the divergence is estimated.
    pub kl: KlEstimator,
    /// What its gradient flows through.
    pub kl_gradient: KlGradient,
    /// Strength of the entropy bonus.
    pub entropy_coef: f64,
    /// Whether tokens have weights: corrections for how they were drawn, or a choice among them.
    pub weighted: bool,
    /// Leave out bad responses that the policy has moved away from by more nats a token.
    pub off_policy_threshold: Option<f64>,
    /// The part of values.
    pub value: Option<ValueTerm>,
    /// Weight of the loss of values that are token rewards, in place of [`PolicyLoss::value`].
    pub outcome: Option<f64>,
    /// Whether the pull to the reference is multiplied by something, for each token.
    pub pull: bool,
    /// Number of critics beside the first, each of which adds its own [`PolicyLoss::value`].
    pub critics: usize,
}

impl PolicyLoss {
    /// A loss without reference, entropy bonus, weights and values.
    pub fn new(surrogate: Surrogate, level: RatioLevel, aggregation: Aggregation) -> Self {
        Self {
            surrogate,
            level,
            aggregation,
            length: 1.0,
            beta: 0.0,
            kl: KlEstimator::K3,
            kl_gradient: KlGradient::Direct,
            entropy_coef: 0.0,
            weighted: false,
            off_policy_threshold: None,
            value: None,
            outcome: None,
            pull: false,
            critics: 0,
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        self.surrogate.check()?;
        let least = |name, got: f64| match got >= 0.0 && got.is_finite() {
            true => Ok(()),
            false => Err(CoreError::Range { name, rule: "finite and at least 0", got }),
        };
        least("beta", self.beta)?;
        least("entropy_coef", self.entropy_coef)?;
        least("off_policy_threshold", self.off_policy_threshold.unwrap_or(0.0))?;
        least("vf_coef", self.outcome.unwrap_or(0.0))?;
        if let Some(ValueTerm { coef, clip }) = self.value {
            least("vf_coef", coef)?;
            least("cliprange_value", clip.unwrap_or(0.0))?;
        }
        match self.length >= 1.0 && self.length.is_finite() {
            true => Ok(()),
            false => Err(CoreError::Range { name: "max_completion_length", rule: "at least 1", got: self.length }),
        }
    }

    /// The statistics of ratios.
    fn stats(&self, loss: Loss, terms: &Terms, log_ratios: &Tensor<2>) -> Loss {
        let ratios = log_ratios.clone().detach().exp(); // [rows, seq]
        let (low, high) = match self.surrogate {
            Surrogate::Clip { low, high, .. } => (1.0 - low, 1.0 + high),
            Surrogate::Cispo { least, most } => (least, most),
            Surrogate::GeometricMean { low, high } => ((-low).exp(), high.exp()),
            Surrogate::Sapo { .. } | Surrogate::Vespo { .. } | Surrogate::Plain => (0.0, f64::INFINITY),
        };
        let (bad, good) = (terms.advantages.clone().lower_elem(0.0), terms.advantages.clone().greater_elem(0.0));
        let share = |flags| terms.mask.mean(ratios.zeros_like().mask_fill(flags, 1.0)); // [rows]
        let moved = (terms.old_logps.clone() - terms.logps.clone()).detach(); // [rows, seq]
        let loss = loss.stat("ratio", terms.mask.mean(ratios.clone())).stat("approx_kl", terms.mask.mean(moved));
        if high.is_infinite() {
            return loss;
        }
        loss.stat("clip_ratio/low", share(ratios.clone().lower_elem(low).bool_and(bad)))
            .stat("clip_ratio/high", share(ratios.clone().greater_elem(high).bool_and(good)))
    }
}

impl Objective for PolicyLoss {
    fn needs(&self) -> Needs {
        let mut needs = Needs::of(RowKind::Single).with_credit().with_old_logps();
        needs.ref_logps = self.beta > 0.0;
        needs.entropy = self.entropy_coef > 0.0;
        needs.values = self.value.is_some() || self.outcome.is_some();
        needs.pull = self.pull && self.beta > 0.0;
        needs.critics = if self.value.is_some() { self.critics } else { 0 };
        needs.weights = self.weighted;
        needs.drawn_logps = self.off_policy_threshold.is_some();
        needs.weighted = self.aggregation == Aggregation::TokenMean;
        needs
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let side = batch.all();
        let mask = &side.mask;
        let mut terms = Terms {
            logps: mask.keep(side.logps.clone()),
            still: mask.keep(batch.frozen().all().logps),
            old_logps: mask.keep(side.tokens(TokenInput::OldLogps)?),
            advantages: mask.keep(side.credit()?),
            weights: None,
            mask,
            level: self.level,
        };
        if self.weighted {
            terms.weights = Some(side.tokens(TokenInput::Weights)?);
        }
        let log_ratios = terms.log_ratios(); // [rows, seq]
        let mut tokens = self.surrogate.tokens(&terms, &log_ratios); // [rows, seq]
        if let Some(threshold) = self.off_policy_threshold {
            tokens = tokens * on_policy(&side, &terms, threshold)?;
        }
        let mut stats = Vec::new();
        if self.beta > 0.0 {
            let reference = mask.keep(side.ref_logps()?); // [rows, seq]
            if self.kl == KlEstimator::K3 {
                stats.push(("kl/cut", mask.sum(self.kl.cut(terms.logps.clone(), reference.clone()))));
            }
            let mut kl = self.kl.of(terms.logps.clone(), reference); // [rows, seq]
            if self.kl_gradient == KlGradient::Unbiased {
                kl = kl * log_ratios.clone().exp();
            }
            stats.push(("kl", mask.mean(kl.clone().detach())));
            if self.pull {
                kl = kl * mask.keep(side.tokens(TokenInput::Pull)?);
            }
            tokens = tokens + kl.mul_scalar(self.beta);
        }
        if self.entropy_coef > 0.0 {
            let entropy = mask.keep(side.tokens(TokenInput::Entropy)?);
            stats.push(("entropy", mask.mean(entropy.clone().detach())));
            tokens = tokens - entropy.mul_scalar(self.entropy_coef);
        }
        if let Some(ValueTerm { coef, clip }) = self.value {
            for critic in 0..=self.critics {
                let inputs = match critic.checked_sub(1) {
                    None => [TokenInput::Values, TokenInput::OldValues, TokenInput::Returns],
                    Some(at) => {
                        [TokenInput::CriticValues(at), TokenInput::OldCriticValues(at), TokenInput::CriticReturns(at)]
                    }
                };
                let [values, old, returns] = inputs.map(|input| side.tokens(input).map(|tokens| mask.keep(tokens)));
                let (values, old, returns) = (values?, old?, returns?);
                let clipped = value_clipped(values.clone(), old.clone(), returns.clone(), clip); // [rows, seq]
                let losses = value_tokens(values, old, returns, clip); // [rows, seq]
                if critic == 0 {
                    stats.push(("vf_clipfrac", mask.mean(clipped)));
                    stats.push(("value_loss", mask.mean(losses.clone().detach())));
                }
                tokens = tokens + losses.mul_scalar(coef);
            }
        }
        if let Some(coef) = self.outcome {
            let rewards = mask.mean(side.tokens(TokenInput::Values)?); // [rows]
            let right = mask.mean(side.tokens(TokenInput::Returns)?); // [rows], 1 or 0
            let sides = right.mul_scalar(2.0).sub_scalar(1.0); // [rows], 1 or -1
            let losses = log_sigmoid(sides.clone() * rewards.clone()).neg(); // [rows]
            let told_apart = rewards.zeros_like().mask_fill((sides * rewards).greater_elem(0.0), 1.0); // [rows]
            stats.push(("outcome/accuracy", told_apart));
            stats.push(("outcome/loss", losses.clone().detach()));
            tokens = tokens + terms.spread(losses).mul_scalar(coef);
        }
        let (rows, weights) = self.aggregation.of(tokens, mask, self.length);
        let loss = self.stats(Loss { rows, weights, stats: Vec::new() }, &terms, &log_ratios);
        Ok(stats.into_iter().fold(loss, |loss, (name, values)| loss.stat(name, values)))
    }
}

/// 1 for each token of a response that is kept, 0 for one that is left out; `[rows, seq]`.
fn on_policy(side: &Side, terms: &Terms, threshold: f64) -> Result<Tensor<2>, CoreError> {
    let drawn = side.mask.keep(side.tokens(TokenInput::DrawnLogps)?);
    let moved = side.mask.mean(drawn - terms.still.clone()); // [rows]
    let moved = moved.unsqueeze_dim::<2>(1).expand(terms.logps.dims());
    let left_out = moved.greater_elem(threshold).bool_and(terms.advantages.clone().lower_elem(0.0));
    Ok(terms.advantages.ones_like().mask_fill(left_out, 0.0))
}
