//! How the losses of tokens become one number, by the names of verl.
//!
//! ```text
//! token-mean             sum of all tokens / number of tokens           dapo, bnpo, cispo, vespo; ppo
//! seq-mean-token-mean    mean over responses of the mean over tokens     grpo, gspo, sapo, gmpo
//! seq-mean-token-sum     mean over responses of the sum over tokens      luspo
//! seq-mean-token-sum-norm  the same, divided by one length for all       dr_grpo
//! ```
//! The divisors are those of the whole optimizer window, so no mode depends on how the window is split: `bnpo`, which TRL
//! divides by the tokens of a micro-batch, is `dapo` here. A response without tokens counts for nothing.

use std::fmt;
use std::str::FromStr;

use ascribe_core::CoreError;
use ascribe_core::tensor::Mask;
use burn::tensor::Tensor;

/// How the losses of tokens become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// All tokens alike.
    TokenMean,
    /// All responses alike, and within each all tokens.
    SeqMeanTokenMean,
    /// Sums of responses.
    SeqMeanTokenSum,
    /// Sums of responses, divided by one length for all.
    SeqMeanTokenSumNorm,
}

impl Aggregation {
    /// All modes.
    pub const ALL: [Self; 4] =
        [Self::TokenMean, Self::SeqMeanTokenMean, Self::SeqMeanTokenSum, Self::SeqMeanTokenSumNorm];

    /// The name that verl uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenMean => "token-mean",
            Self::SeqMeanTokenMean => "seq-mean-token-mean",
            Self::SeqMeanTokenSum => "seq-mean-token-sum",
            Self::SeqMeanTokenSumNorm => "seq-mean-token-sum-norm",
        }
    }

    /// Loss and weight of each response, `[rows]` each, from the losses of its tokens `[rows, seq]`. `length` is what
    /// [`Aggregation::SeqMeanTokenSumNorm`] divides by.
    pub fn of(self, tokens: Tensor<2>, mask: &Mask, length: f64) -> (Tensor<1>, Tensor<1>) {
        let counts = mask.count(&tokens); // [rows]
        let there = counts.clone().clamp_max(1.0); // [rows]
        match self {
            Self::TokenMean => (mask.sum(tokens), counts),
            Self::SeqMeanTokenMean => (mask.mean(tokens), there),
            Self::SeqMeanTokenSum => (mask.sum(tokens), there),
            Self::SeqMeanTokenSumNorm => (mask.sum(tokens).mul_scalar(1.0 / length), there),
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Aggregation {
    type Err = CoreError;

    fn from_str(name: &str) -> Result<Self, CoreError> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        let rule = "an aggregation is token-mean, seq-mean-token-mean, seq-mean-token-sum or seq-mean-token-sum-norm";
        found.ok_or_else(|| CoreError::Shape { rule, got: format!("`{name}`") })
    }
}
