//! The negative log-likelihood of a response, as a term of other losses.
//!
//! ```text
//! sum       -sum_t log pi(y_t | x, y_<t)
//! response  the same, divided by the tokens of y
//! window    the same, divided by the mean number of tokens of the window's responses
//! ```
//! A mean over rows of `window` is the mean over all tokens of the window: what TRL takes of a batch. It couples the rows,
//! so they are taken together over the whole optimizer window.

use ascribe_core::{Needs, Side};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::PreferenceError;
use crate::error::{check, unused};

/// How a negative log-likelihood is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NllReduction {
    /// A sum over the tokens of each response.
    Sum,
    /// A mean over the tokens of each response.
    #[default]
    Response,
    /// A mean over all tokens of the window.
    Window,
}

/// `weight` times the negative log-likelihood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nll {
    weight: f64,
    reduction: NllReduction,
}

impl Nll {
    /// `name` is the option that `weight` came from, and `default` the reduction where none was given.
    pub(super) fn new(
        name: &'static str,
        weight: f64,
        reduction: NllReduction,
        default: NllReduction,
    ) -> Result<Self, PreferenceError> {
        let accepted = 0.0 <= weight && weight.is_finite();
        check(accepted, name, "finite and at least 0", weight, "0 leaves the likelihood out")?;
        if weight == 0.0 && reduction != default {
            let why = format!("with a {name} of 0");
            return Err(unused("nll_reduction", &why, "raise the weight of the likelihood, or leave it out"));
        }
        Ok(Self { weight, reduction })
    }

    pub(super) fn is_off(&self) -> bool {
        self.weight == 0.0
    }

    pub(super) fn needs(&self, needs: Needs) -> Needs {
        let couples = !self.is_off() && self.reduction == NllReduction::Window;
        if couples { needs.coupled() } else { needs }
    }

    /// `rows` and the term for the responses of `side`, `[rows]`.
    pub(super) fn add_to(&self, rows: Tensor<1>, side: &Side) -> Tensor<1> {
        if self.is_off() {
            return rows;
        }
        rows + self.of(side.sum(), side.lengths()).mul_scalar(self.weight)
    }

    /// The term without its weight, from log-probabilities and numbers of tokens of responses, `[rows]` each.
    pub(super) fn of(&self, sums: Tensor<1>, lengths: Tensor<1>) -> Tensor<1> {
        let [n] = sums.dims();
        match self.reduction {
            NllReduction::Sum => sums.neg(),
            NllReduction::Response => sums.neg() / lengths.clamp_min(1.0),
            NllReduction::Window => sums.mul_scalar(-(n as f64)) / lengths.sum().clamp_min(1.0),
        }
    }
}

/// Mean of `-log pi` over the tokens of each response, for the log: `[rows]`.
pub(super) fn per_token(side: &Side) -> Tensor<1> {
    side.mean().neg()
}
