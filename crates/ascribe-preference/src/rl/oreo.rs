//! OREO: soft Bellman residuals on responses that were judged, of whoever wrote them. arXiv:2412.16145 and its public code.
//!
//! ```text
//! l_t = log pi(y_t) - log pi_ref(y_t),   T_t = sum_{u >= t} l_u,   V_t: the value before token t,   R: the score
//! value   mean over states of (V_t + beta [T_t] - R)^2
//! policy  mean over states of ([V_t] + beta (sum of l over the step + [T behind it]) - R)^2 + kl KL(pi || pi_ref)
//! one step   V_t - r_t - [V_{t+1}] + beta [l_t] in place of the first, [V_t] - r_t - [V_{t+1}] + beta l_t of the second
//! ```
//! What stands in brackets has no gradient. States are the tokens, the beginnings of steps, or the beginning of the response
//! (then it is DRO, arXiv:2405.19107), whose value is that of the whole. With one step the tail gives way to the value of the
//! next token; `r` is the score at the last token and 0 before, and the value behind it is 0. The discount is 1. A response may
//! weigh `min([pi / pi_old], most)`, the ratio of its whole probability to that of its writer. The divergence is over the whole
//! vocabulary, a mean over tokens; a mean over responses follows. Value and policy are trained in one step, on the values of
//! before it, by one optimizer; the public code has two. The score is the batch's credit.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind, Side, TokenInput};
use burn::tensor::{IndexingUpdateOp, Tensor};

/// What a state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OreoLevel {
    /// Each token.
    #[default]
    Token,
    /// The beginning of each step.
    Step,
    /// The beginning of the response.
    Response,
    /// Each token, held against the value of the next one alone.
    OneStep,
}

/// The loss. [`Default`] has the strengths of the public code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Oreo {
    /// Strength of the pull to the reference that makes the Bellman equation soft.
    pub beta: f64,
    /// Strength of a pull beside it; 0 does without the reference's logits.
    pub kl: f64,
    /// Weight of the loss of values.
    pub value_coef: f64,
    /// What a state is.
    pub level: OreoLevel,
    /// The largest weight of a response by the ratio of its probability to that of its writer; `None` weighs all alike.
    pub largest_weight: Option<f64>,
}

impl Default for Oreo {
    fn default() -> Self {
        Self { beta: 0.03, kl: 0.01, value_coef: 1.0, level: OreoLevel::Token, largest_weight: None }
    }
}

impl Oreo {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        for (name, got) in [("beta", self.beta), ("oreo_kl", self.kl), ("vf_coef", self.value_coef)] {
            let accepted = got >= 0.0 && got.is_finite();
            if !accepted {
                return Err(CoreError::Range { name, rule: "finite and at least 0", got });
            }
        }
        match self.largest_weight.filter(|got| !(*got > 0.0 && got.is_finite())) {
            Some(got) => Err(CoreError::Range { name: "oreo_weight", rule: "finite and above 0", got }),
            None => Ok(()),
        }
    }

    /// 1 at each state, else 0; `[rows, seq]`.
    fn states(&self, side: &Side) -> Result<Tensor<2>, CoreError> {
        let zeros = side.logps.zeros_like();
        Ok(match self.level {
            OreoLevel::Token | OreoLevel::OneStep => side.mask.keep(zeros.ones_like()),
            OreoLevel::Step => side.mask.keep(side.tokens(TokenInput::Starts)?),
            OreoLevel::Response => zeros.mask_fill(side.mask.places(&side.logps).equal_elem(1.0), 1.0),
        })
    }
}

/// `sum_{u >= t} x_u`. `[rows, seq]` to `[rows, seq]`.
fn from_here_on(x: Tensor<2>) -> Tensor<2> {
    x.clone().sum_dim(1) - x.clone().cumsum(1) + x
}

/// At each token what the next one has, 0 behind the last. `[rows, seq]` to `[rows, seq]`.
fn next(x: Tensor<2>) -> Tensor<2> {
    let [rows, seq] = x.dims();
    if seq < 2 {
        return x.zeros_like();
    }
    let behind = Tensor::<2>::zeros([rows, 1], (&x.device(), x.dtype()));
    Tensor::cat(vec![x.slice([0..rows, 1..seq]), behind], 1)
}

/// At each token the sum of `x` over its step. `[rows, seq]` to `[rows, seq]`.
fn over_steps(x: Tensor<2>, states: &Tensor<2>) -> Tensor<2> {
    let [rows, seq] = x.dims();
    let steps = states.clone().cumsum(1).int(); // [rows, seq], the number of the step, 0 before the first
    let sums = Tensor::<2>::zeros([rows, seq + 1], (&x.device(), x.dtype()));
    sums.scatter(1, steps.clone(), x, IndexingUpdateOp::Add).gather(1, steps)
}

impl Objective for Oreo {
    fn needs(&self) -> Needs {
        let mut needs = Needs::of(RowKind::Single).with_credit().with_ref_logps().with_values();
        needs.kl = self.kl > 0.0;
        needs.starts = self.level == OreoLevel::Step;
        needs.old_logps = self.largest_weight.is_some();
        needs
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let (side, still) = (batch.all(), batch.frozen().all());
        let mask = &side.mask;
        let states = self.states(&side)?; // [rows, seq]
        let counts = states.clone().sum_dim(1).squeeze_dim::<1>(1); // [rows]
        if counts.clone().into_data().iter::<f64>().any(|count| count == 0.0) {
            let rule = "a response needs a state: a token, or a step that begins";
            return Err(CoreError::Shape { rule, got: "a row without one".to_owned() });
        }
        let reference = mask.keep(side.ref_logps()?); // [rows, seq]
        let ratios = mask.keep(side.logps.clone()) - reference.clone(); // [rows, seq]
        let fixed = mask.keep(still.logps.clone()) - reference; // [rows, seq]
        let tails = from_here_on(fixed.clone()); // [rows, seq]
        let told = mask.keep(side.credit()?); // [rows, seq]
        let values = mask.keep(side.tokens(TokenInput::Values)?); // [rows, seq]
        let fixed_values = mask.keep(still.tokens(TokenInput::Values)?); // [rows, seq]
        let (value, policy) = match self.level {
            OreoLevel::OneStep => {
                let last = states.clone() - next(states.clone()); // [rows, seq], 1 at the last token
                let ahead = next(fixed_values.clone()) + last * told; // [rows, seq]
                (
                    values + fixed.mul_scalar(self.beta) - ahead.clone(),
                    fixed_values + ratios.mul_scalar(self.beta) - ahead,
                )
            }
            OreoLevel::Token | OreoLevel::Step | OreoLevel::Response => {
                let (steps, fixed_steps) = match self.level {
                    OreoLevel::Step | OreoLevel::Response => (over_steps(ratios, &states), over_steps(fixed, &states)),
                    OreoLevel::Token | OreoLevel::OneStep => (ratios, fixed),
                };
                let behind = tails.clone() - fixed_steps; // [rows, seq]
                let value = values + tails.mul_scalar(self.beta) - told.clone(); // [rows, seq]
                (value, fixed_values + (steps + behind).mul_scalar(self.beta) - told)
            }
        };
        let (value, policy) = (value.square(), policy.square()); // [rows, seq]
        let over_states = |x: Tensor<2>| (x * states.clone()).sum_dim(1).squeeze_dim::<1>(1) / counts.clone(); // [rows]
        let (value, policy) = (over_states(value), over_states(policy));
        let mut rows = value.clone().mul_scalar(self.value_coef) + policy.clone(); // [rows]
        let mut stats = vec![("value_loss", value), ("policy_loss", policy)];
        if self.kl > 0.0 {
            let kl = mask.mean(side.tokens(TokenInput::Kl)?); // [rows]
            rows = rows + kl.clone().mul_scalar(self.kl);
            stats.push(("kl", kl));
        }
        if let Some(most) = self.largest_weight {
            let old = mask.keep(side.tokens(TokenInput::OldLogps)?); // [rows, seq]
            let moved = mask.sum(mask.keep(still.logps) - old); // [rows]
            let weights = moved.clamp_max(most.ln()).exp(); // [rows]
            rows = rows * weights.clone();
            stats.push(("weight", weights));
        }
        Ok(stats.into_iter().fold(Loss::mean_of(rows), |loss, (name, values)| loss.stat(name, values)))
    }
}
