//! The seam to every loss: a batch of log-probabilities in, one loss a row out.

use burn::tensor::Tensor;

use crate::CoreError;
use crate::tensor::Mask;

/// What the rows of a batch are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowKind {
    /// Each row stands alone.
    #[default]
    Single,
    /// The first half of the rows is chosen, the second half rejected, in the same order.
    Pairs,
}

/// What an objective needs beside the policy's log-probabilities. The learner computes what is named here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// What the rows are.
    pub kind: RowKind,
    /// Log-probabilities under the reference.
    pub ref_logps: bool,
    /// One credit a token.
    pub credit: bool,
    /// Log-probabilities under the policy that the first step on these responses began with.
    pub old_logps: bool,
    /// Log-probabilities under the distribution that the responses were drawn from.
    pub drawn_logps: bool,
    /// What each token is multiplied by.
    pub weights: bool,
    /// Entropy of the next-token distribution at each token.
    pub entropy: bool,
    /// Values before each token, what they were, and what they should have been.
    pub values: bool,
}

impl Needs {
    /// Only the policy's log-probabilities of rows of this kind.
    pub fn of(kind: RowKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// The same, and log-probabilities under the reference.
    pub fn with_ref_logps(mut self) -> Self {
        self.ref_logps = true;
        self
    }

    /// The same, and one credit a token.
    pub fn with_credit(mut self) -> Self {
        self.credit = true;
        self
    }

    /// The same, and log-probabilities under the policy that the first step began with.
    pub fn with_old_logps(mut self) -> Self {
        self.old_logps = true;
        self
    }

    /// The same, and log-probabilities under the distribution that was drawn from.
    pub fn with_drawn_logps(mut self) -> Self {
        self.drawn_logps = true;
        self
    }

    /// The same, and a weight for each token.
    pub fn with_weights(mut self) -> Self {
        self.weights = true;
        self
    }

    /// The same, and entropies.
    pub fn with_entropy(mut self) -> Self {
        self.entropy = true;
        self
    }

    /// The same, and values with what they were and should have been.
    pub fn with_values(mut self) -> Self {
        self.values = true;
        self
    }
}

/// What else a batch may carry, one value a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenInput {
    /// Log-probabilities under the policy that the first step on these responses began with. Without gradient.
    OldLogps,
    /// Log-probabilities under the distribution that the responses were drawn from. Without gradient.
    DrawnLogps,
    /// What each token is multiplied by: 0 leaves it out. Without gradient.
    Weights,
    /// Entropy of the next-token distribution.
    Entropy,
    /// Values before each token.
    Values,
    /// The same when the responses were written. Without gradient.
    OldValues,
    /// What they should have been. Without gradient.
    Returns,
}

impl TokenInput {
    fn name(self) -> &'static str {
        match self {
            Self::OldLogps => "old_logps",
            Self::DrawnLogps => "drawn_logps",
            Self::Weights => "weights",
            Self::Entropy => "entropy",
            Self::Values => "values",
            Self::OldValues => "old_values",
            Self::Returns => "returns",
        }
    }
}

/// Log-probabilities of the response tokens of a batch, checked once and trusted after.
///
/// Column `j` of a row is its `j`-th response token, so prompts take no room.
#[derive(Clone, Debug)]
pub struct LogpBatch {
    logps: Tensor<2>,
    mask: Mask,
    ref_logps: Option<Tensor<2>>,
    credit: Option<Tensor<2>>,
    tokens: Vec<(TokenInput, Tensor<2>)>,
    kind: RowKind,
}

impl LogpBatch {
    /// A batch of `logps` `[rows, seq]` with a mask of the same shape.
    ///
    /// # Errors
    /// When the shapes differ, or pairs are wanted and the number of rows is odd.
    pub fn new(kind: RowKind, logps: Tensor<2>, mask: Mask) -> Result<Self, CoreError> {
        let batch = Self { logps, mask, ref_logps: None, credit: None, tokens: Vec::new(), kind };
        batch.check("the mask must have the shape of the log-probabilities", batch.mask.dims())?;
        if kind == RowKind::Pairs && !batch.logps.dims()[0].is_multiple_of(2) {
            let got = format!("{} rows", batch.logps.dims()[0]);
            return Err(CoreError::Shape { rule: "a batch of pairs needs an even number of rows", got });
        }
        Ok(batch)
    }

    /// The same batch with the reference's log-probabilities, `[rows, seq]`; their gradient is cut.
    pub fn with_ref_logps(mut self, ref_logps: Tensor<2>) -> Result<Self, CoreError> {
        self.check("reference log-probabilities must have the shape of the policy's", ref_logps.dims())?;
        self.ref_logps = Some(ref_logps.detach());
        Ok(self)
    }

    /// The same batch with one credit a token, `[rows, seq]`; its gradient is cut.
    pub fn with_credit(mut self, credit: Tensor<2>) -> Result<Self, CoreError> {
        self.check("token credit must have the shape of the log-probabilities", credit.dims())?;
        self.credit = Some(credit.detach());
        Ok(self)
    }

    /// The same batch with one more value a token, `[rows, seq]`; what stands there of that kind is replaced.
    pub fn with_tokens(mut self, input: TokenInput, values: Tensor<2>) -> Result<Self, CoreError> {
        self.check("an input of tokens must have the shape of the log-probabilities", values.dims())?;
        let tracked = matches!(input, TokenInput::Entropy | TokenInput::Values);
        self.tokens.retain(|(known, _)| *known != input);
        self.tokens.push((input, if tracked { values } else { values.detach() }));
        Ok(self)
    }

    fn check(&self, rule: &'static str, got: [usize; 2]) -> Result<(), CoreError> {
        let expected = self.logps.dims();
        if got != expected {
            return Err(CoreError::Shape { rule, got: format!("{got:?} beside {expected:?}") });
        }
        Ok(())
    }

    /// All rows as one side: for objectives whose rows stand alone.
    pub fn all(&self) -> Side {
        self.side(0, self.logps.dims()[0])
    }

    /// Chosen and rejected rows.
    ///
    /// # Errors
    /// When the batch does not hold pairs.
    pub fn pairs(&self) -> Result<Pairs, CoreError> {
        if self.kind != RowKind::Pairs {
            let got = "rows that stand alone".to_owned();
            return Err(CoreError::Shape { rule: "this objective needs pairs of chosen and rejected", got });
        }
        let rows = self.logps.dims()[0];
        Ok(Pairs { chosen: self.side(0, rows / 2), rejected: self.side(rows / 2, rows) })
    }

    fn side(&self, start: usize, end: usize) -> Side {
        let rows = |x: &Tensor<2>| x.clone().slice(start..end);
        Side {
            logps: rows(&self.logps),
            mask: self.mask.rows(start, end),
            ref_logps: self.ref_logps.as_ref().map(rows),
            credit: self.credit.as_ref().map(rows),
            tokens: self.tokens.iter().map(|(input, values)| (*input, rows(values))).collect(),
        }
    }
}

/// The two sides of a batch of pairs; row `i` of one belongs to row `i` of the other.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// Preferred responses.
    pub chosen: Side,
    /// The others.
    pub rejected: Side,
}

/// Responses with what is known of their tokens.
#[derive(Clone, Debug)]
pub struct Side {
    /// Log-probabilities under the policy, `[rows, seq]`.
    pub logps: Tensor<2>,
    /// Which tokens count, `[rows, seq]`.
    pub mask: Mask,
    ref_logps: Option<Tensor<2>>,
    credit: Option<Tensor<2>>,
    tokens: Vec<(TokenInput, Tensor<2>)>,
}

impl Side {
    /// Log-probability of each response under the policy: a sum over its tokens, `[rows]`.
    pub fn sum(&self) -> Tensor<1> {
        self.mask.sum(self.logps.clone())
    }

    /// Log-probability of each response under the reference, `[rows]`.
    pub fn ref_sum(&self) -> Result<Tensor<1>, CoreError> {
        self.ref_logps().map(|logps| self.mask.sum(logps))
    }

    /// Number of tokens of each response, `[rows]`.
    pub fn lengths(&self) -> Tensor<1> {
        self.mask.count(&self.logps)
    }

    /// Log-probabilities under the reference, `[rows, seq]`, without gradient.
    pub fn ref_logps(&self) -> Result<Tensor<2>, CoreError> {
        self.ref_logps.clone().ok_or(CoreError::MissingInput("ref_logps"))
    }

    /// One credit a token, `[rows, seq]`, without gradient.
    pub fn credit(&self) -> Result<Tensor<2>, CoreError> {
        self.credit.clone().ok_or(CoreError::MissingInput("credit"))
    }

    /// Another value of each token, `[rows, seq]`.
    pub fn tokens(&self, input: TokenInput) -> Result<Tensor<2>, CoreError> {
        let found = self.tokens.iter().find(|(known, _)| *known == input);
        found.map(|(_, values)| values.clone()).ok_or(CoreError::MissingInput(input.name()))
    }
}

/// What an objective says of a batch. The training loop sums losses and weights over the whole optimizer window and
/// divides once, so that eight batches of one row give what one batch of eight gives.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Loss of each row, summed, never averaged over rows: `[rows]`.
    pub rows: Tensor<1>,
    /// What each row counts for in the division: 1 for a mean over rows, its tokens for a mean over tokens. `[rows]`.
    pub weights: Tensor<1>,
    /// Named values of each row for the log, `[rows]` each, without gradient; the log shows their mean.
    pub stats: Vec<(&'static str, Tensor<1>)>,
}

impl Loss {
    /// A loss that is averaged over rows.
    pub fn mean_of(rows: Tensor<1>) -> Self {
        let weights = Tensor::ones(rows.dims(), (&rows.device(), rows.dtype()));
        Self { rows, weights, stats: Vec::new() }
    }

    /// The same with a named value of each row.
    pub fn stat(mut self, name: &'static str, values: Tensor<1>) -> Self {
        self.stats.push((name, values.detach()));
        self
    }

    /// The mean that is minimised, for one batch alone.
    pub fn mean(&self) -> Tensor<1> {
        self.rows.clone().sum() / self.weights.clone().sum()
    }
}

/// A loss over log-probabilities: pure and differentiable.
pub trait Objective: Send + Sync {
    /// What the batch must carry.
    fn needs(&self) -> Needs;

    /// Loss, weight and statistics of each row (each pair, when the rows are pairs).
    ///
    /// # Errors
    /// When the batch does not carry what [`Objective::needs`] names.
    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError>;
}
