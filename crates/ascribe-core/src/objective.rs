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
    /// The first third of the rows is chosen, the second rejected, the last an answer that is known to be good, in the
    /// same order.
    Triples,
    /// Each row stands alone and is labelled: wanted, or not.
    Labelled,
    /// The rows of a prompt stand one after the other, each with a score.
    Groups,
}

impl RowKind {
    /// In how many parts of the batch a training row stands: 2 for pairs, 3 for triples.
    pub fn sides(self) -> usize {
        match self {
            Self::Pairs => 2,
            Self::Triples => 3,
            Self::Single | Self::Labelled | Self::Groups => 1,
        }
    }
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
    /// Divergence of the policy from the reference over the whole vocabulary, at each token. With a gradient.
    pub divergence: bool,
    /// How concentrated the policy is at each token: `log sum_v p_v^2`.
    pub log_sum_sq_probs: bool,
    /// Log-probabilities of the prompts of the preferred responses. With a gradient.
    pub prompt_logps: bool,
    /// Log-ratio to the reference of a response to another prompt, for each row.
    pub mismatched: bool,
    /// A score of each response.
    pub scores: bool,
    /// How far the order of each pair can be relied upon.
    pub consistency: bool,
    /// What the label of each pair counts for.
    pub label_weights: bool,
    /// Rows count by weights of their own, their tokens say, and not one each.
    pub weighted: bool,
    /// The loss of a row depends on the other rows, so it is taken over the whole optimizer window.
    pub coupled: bool,
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
    /// Divergence `KL(policy || reference)` over the whole vocabulary, at each token. With a gradient.
    pub kl: bool,
    /// What the pull to the reference is multiplied by, for each token.
    pub pull: bool,
    /// Where steps begin.
    pub starts: bool,
    /// Number of critics beside the first, each with values, what they were, and what they should have been.
    pub critics: usize,
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

    /// The same, and the divergence from the reference at each token.
    pub fn with_divergence(mut self) -> Self {
        self.divergence = true;
        self
    }

    /// The same, and `log sum_v p_v^2` at each token.
    pub fn with_log_sum_sq_probs(mut self) -> Self {
        self.log_sum_sq_probs = true;
        self
    }

    /// The same, and the log-probabilities of the prompts.
    pub fn with_prompt_logps(mut self) -> Self {
        self.prompt_logps = true;
        self
    }

    /// The same, and the log-ratio of a response to another prompt.
    pub fn with_mismatched(mut self) -> Self {
        self.mismatched = true;
        self
    }

    /// The same, and a score of each response.
    pub fn with_scores(mut self) -> Self {
        self.scores = true;
        self
    }

    /// The same, and how far the order of each pair can be relied upon.
    pub fn with_consistency(mut self) -> Self {
        self.consistency = true;
        self
    }

    /// The same, and what the label of each pair counts for.
    pub fn with_label_weights(mut self) -> Self {
        self.label_weights = true;
        self
    }

    /// The same, with rows that count by weights of their own.
    pub fn weighted(mut self) -> Self {
        self.weighted = true;
        self
    }

    /// The same, over the whole optimizer window.
    pub fn coupled(mut self) -> Self {
        self.coupled = true;
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
    /// Divergence `KL(policy || reference)` over the whole vocabulary.
    Kl,
    /// What the pull to the reference is multiplied by. Without gradient.
    Pull,
    /// 1 where a step begins, else 0. Without gradient.
    Starts,
    /// Values before each token by a critic beside the first.
    CriticValues(usize),
    /// The same when the responses were written. Without gradient.
    OldCriticValues(usize),
    /// What they should have been. Without gradient.
    CriticReturns(usize),
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
            Self::Kl => "kl",
            Self::Pull => "pull",
            Self::Starts => "starts",
            Self::CriticValues(_) => "values of a critic beside the first",
            Self::OldCriticValues(_) => "old values of a critic beside the first",
            Self::CriticReturns(_) => "returns of a critic beside the first",
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
    kind: RowKind,
    ref_logps: Option<Tensor<2>>,
    credit: Option<Tensor<2>>,
    divergence: Option<Tensor<2>>,
    log_sum_sq_probs: Option<Tensor<2>>,
    prompts: Option<(Tensor<2>, Mask)>,
    mismatched: Option<Tensor<1>>,
    scores: Option<Tensor<1>>,
    consistency: Option<Tensor<1>>,
    label_weights: Option<Tensor<1>>,
    labels: Option<Vec<bool>>,
    groups: Option<Vec<usize>>,
    frozen: Option<Box<LogpBatch>>,
    tokens: Vec<(TokenInput, Tensor<2>)>,
}

impl LogpBatch {
    /// A batch of `logps` `[rows, seq]` with a mask of the same shape.
    ///
    /// # Errors
    /// When the shapes differ, or the number of rows is no multiple of the sides of `kind`.
    pub fn new(kind: RowKind, logps: Tensor<2>, mask: Mask) -> Result<Self, CoreError> {
        let batch = Self {
            logps,
            mask,
            kind,
            ref_logps: None,
            credit: None,
            divergence: None,
            log_sum_sq_probs: None,
            prompts: None,
            mismatched: None,
            scores: None,
            consistency: None,
            label_weights: None,
            labels: None,
            groups: None,
            frozen: None,
            tokens: Vec::new(),
        };
        batch.check("the mask must have the shape of the log-probabilities", batch.mask.dims())?;
        let rows = batch.rows();
        let rule = match kind {
            RowKind::Pairs if !rows.is_multiple_of(2) => "a batch of pairs needs an even number of rows",
            RowKind::Triples if !rows.is_multiple_of(3) => "a batch of triples needs a multiple of three rows",
            _ => return Ok(batch),
        };
        Err(CoreError::Shape { rule, got: format!("{rows} rows") })
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

    /// The same batch with the divergence from the reference at each token, `[rows, seq]`; its gradient is kept.
    pub fn with_divergence(mut self, divergence: Tensor<2>) -> Result<Self, CoreError> {
        self.check("divergences must have the shape of the log-probabilities", divergence.dims())?;
        self.divergence = Some(divergence);
        Ok(self)
    }

    /// The same batch with `log sum_v p_v^2` at each token, `[rows, seq]`; its gradient is cut.
    pub fn with_log_sum_sq_probs(mut self, values: Tensor<2>) -> Result<Self, CoreError> {
        self.check("log_sum_sq_probs must have the shape of the log-probabilities", values.dims())?;
        self.log_sum_sq_probs = Some(values.detach());
        Ok(self)
    }

    /// The same batch with the log-probabilities of the prompts, `[examples, any]`; their gradient is kept.
    pub fn with_prompt_logps(mut self, logps: Tensor<2>, mask: Mask) -> Result<Self, CoreError> {
        let rule = "prompts need a mask of their shape and one row for each example";
        let (got, counts) = (logps.dims(), mask.dims());
        if got != counts || got[0] != self.examples() {
            let got = format!("{got:?} with a mask of {counts:?} for {} examples", self.examples());
            return Err(CoreError::Shape { rule, got });
        }
        self.prompts = Some((logps, mask));
        Ok(self)
    }

    /// The same batch with the log-ratio of a response to another prompt, `[rows]`; its gradient is cut.
    pub fn with_mismatched(mut self, ratios: Tensor<1>) -> Result<Self, CoreError> {
        self.check_rows("there must be one mismatched response for each row", ratios.dims()[0], self.rows())?;
        self.mismatched = Some(ratios.detach());
        Ok(self)
    }

    /// The same batch with a score of each response, `[rows]`; its gradient is cut.
    pub fn with_scores(mut self, scores: Tensor<1>) -> Result<Self, CoreError> {
        self.check_rows("there must be one score for each row", scores.dims()[0], self.rows())?;
        self.scores = Some(scores.detach());
        Ok(self)
    }

    /// The same batch with how far the order of each example can be relied upon, `[examples]`; its gradient is cut.
    pub fn with_consistency(mut self, consistency: Tensor<1>) -> Result<Self, CoreError> {
        let rule = "there must be one consistency for each example";
        self.check_rows(rule, consistency.dims()[0], self.examples())?;
        self.consistency = Some(consistency.detach());
        Ok(self)
    }

    /// The same batch with what the label of each example counts for, `[examples]`; its gradient is cut.
    pub fn with_label_weights(mut self, weights: Tensor<1>) -> Result<Self, CoreError> {
        let rule = "there must be one weight for the label of each example";
        self.check_rows(rule, weights.dims()[0], self.examples())?;
        self.label_weights = Some(weights.detach());
        Ok(self)
    }

    /// The same batch with a label of each row: true where the response is wanted.
    pub fn with_labels(mut self, labels: Vec<bool>) -> Result<Self, CoreError> {
        self.check_rows("there must be one label for each row", labels.len(), self.rows())?;
        self.labels = Some(labels);
        Ok(self)
    }

    /// The same batch with the number of responses of each prompt, in the order of the rows.
    pub fn with_groups(mut self, groups: Vec<usize>) -> Result<Self, CoreError> {
        self.check_rows("the groups must have all rows between them", groups.iter().sum(), self.rows())?;
        self.groups = Some(groups);
        Ok(self)
    }

    /// The same batch, whose [`LogpBatch::frozen`] is `still`.
    pub fn with_frozen(mut self, still: LogpBatch) -> Self {
        self.frozen = Some(Box::new(still));
        self
    }

    /// The same batch with one more value a token, `[rows, seq]`; what stands there of that kind is replaced.
    pub fn with_tokens(mut self, input: TokenInput, values: Tensor<2>) -> Result<Self, CoreError> {
        self.check("an input of tokens must have the shape of the log-probabilities", values.dims())?;
        let tracked =
            matches!(input, TokenInput::Entropy | TokenInput::Values | TokenInput::Kl | TokenInput::CriticValues(_));
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

    fn check_rows(&self, rule: &'static str, got: usize, expected: usize) -> Result<(), CoreError> {
        if got != expected {
            return Err(CoreError::Shape { rule, got: format!("{got} beside {expected}") });
        }
        Ok(())
    }

    /// What the rows are.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// Number of responses.
    pub fn rows(&self) -> usize {
        self.logps.dims()[0]
    }

    /// Number of training rows: pairs, triples, or responses that stand alone.
    pub fn examples(&self) -> usize {
        self.rows() / self.kind.sides()
    }

    /// The policy's side as constants, for what a loss takes from it without a gradient: a weight, a baseline.
    ///
    /// It is this batch with its gradients cut. A check of gradients by differences hands in a batch of its own
    /// ([`LogpBatch::with_frozen`]), because what has no gradient must stand still while the policy is moved.
    pub fn frozen(&self) -> LogpBatch {
        match &self.frozen {
            Some(still) => still.as_ref().clone(),
            None => {
                let mut still = self.clone();
                still.logps = still.logps.detach();
                still.divergence = still.divergence.map(Tensor::detach);
                still.prompts = still.prompts.map(|(logps, mask)| (logps.detach(), mask));
                still.tokens = still.tokens.into_iter().map(|(input, values)| (input, values.detach())).collect();
                still
            }
        }
    }

    /// All rows as one side: for objectives whose rows stand alone.
    pub fn all(&self) -> Side {
        self.side(0, self.rows())
    }

    /// The responses to imitate: the chosen ones, or all where rows stand alone.
    pub fn preferred(&self) -> Side {
        self.side(0, self.examples())
    }

    /// Chosen and rejected rows.
    ///
    /// # Errors
    /// When the batch holds neither pairs nor triples.
    pub fn pairs(&self) -> Result<Pairs, CoreError> {
        if !matches!(self.kind, RowKind::Pairs | RowKind::Triples) {
            let got = "rows that stand alone".to_owned();
            return Err(CoreError::Shape { rule: "this objective needs pairs of chosen and rejected", got });
        }
        let n = self.examples();
        Ok(Pairs { chosen: self.side(0, n), rejected: self.side(n, 2 * n) })
    }

    /// The answers that are known to be good.
    ///
    /// # Errors
    /// When the batch does not hold triples.
    pub fn gold(&self) -> Result<Side, CoreError> {
        if self.kind != RowKind::Triples {
            let rule = "this objective needs a third answer beside chosen and rejected";
            return Err(CoreError::Shape { rule, got: "none".to_owned() });
        }
        let n = self.examples();
        Ok(self.side(2 * n, 3 * n))
    }

    /// A label of each row: true where the response is wanted.
    pub fn labels(&self) -> Result<&[bool], CoreError> {
        self.labels.as_deref().ok_or(CoreError::MissingInput("labels"))
    }

    /// Number of responses of each prompt.
    pub fn groups(&self) -> Result<&[usize], CoreError> {
        self.groups.as_deref().ok_or(CoreError::MissingInput("groups"))
    }

    /// Log-ratio of a response to another prompt, `[rows]`, without gradient.
    pub fn mismatched(&self) -> Result<Tensor<1>, CoreError> {
        self.mismatched.clone().ok_or(CoreError::MissingInput("mismatched"))
    }

    /// How far the order of each example can be relied upon, `[examples]`, without gradient.
    pub fn consistency(&self) -> Result<Tensor<1>, CoreError> {
        self.consistency.clone().ok_or(CoreError::MissingInput("consistency"))
    }

    /// What the label of each example counts for, `[examples]`, without gradient.
    pub fn label_weights(&self) -> Result<Tensor<1>, CoreError> {
        self.label_weights.clone().ok_or(CoreError::MissingInput("label_weights"))
    }

    /// Log-probabilities of the prompts of the preferred responses, `[examples, any]`, and which of them are real.
    pub fn prompt_logps(&self) -> Result<(Tensor<2>, Mask), CoreError> {
        self.prompts.clone().ok_or(CoreError::MissingInput("prompt_logps"))
    }

    fn side(&self, start: usize, end: usize) -> Side {
        let rows = |x: &Tensor<2>| x.clone().slice(start..end);
        Side {
            logps: rows(&self.logps),
            mask: self.mask.rows(start, end),
            ref_logps: self.ref_logps.as_ref().map(rows),
            credit: self.credit.as_ref().map(rows),
            divergence: self.divergence.as_ref().map(rows),
            log_sum_sq_probs: self.log_sum_sq_probs.as_ref().map(rows),
            scores: self.scores.as_ref().map(|scores| scores.clone().slice(start..end)),
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
    divergence: Option<Tensor<2>>,
    log_sum_sq_probs: Option<Tensor<2>>,
    scores: Option<Tensor<1>>,
    tokens: Vec<(TokenInput, Tensor<2>)>,
}

impl Side {
    /// Log-probability of each response under the policy: a sum over its tokens, `[rows]`.
    pub fn sum(&self) -> Tensor<1> {
        self.mask.sum(self.logps.clone())
    }

    /// Log-probability of each response under the policy, a mean over its tokens, `[rows]`.
    pub fn mean(&self) -> Tensor<1> {
        self.mask.mean(self.logps.clone())
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

    /// Divergence from the reference of each response: a sum over its tokens, `[rows]`.
    pub fn divergence(&self) -> Result<Tensor<1>, CoreError> {
        let divergence = self.divergence.clone().ok_or(CoreError::MissingInput("divergence"))?;
        Ok(self.mask.sum(divergence))
    }

    /// `log sum_v p_v^2` at each token, `[rows, seq]`, without gradient.
    pub fn log_sum_sq_probs(&self) -> Result<Tensor<2>, CoreError> {
        self.log_sum_sq_probs.clone().ok_or(CoreError::MissingInput("log_sum_sq_probs"))
    }

    /// A score of each response, `[rows]`, without gradient.
    pub fn scores(&self) -> Result<Tensor<1>, CoreError> {
        self.scores.clone().ok_or(CoreError::MissingInput("scores"))
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

/// A loss over log-probabilities: pure and differentiable. What it takes from the policy without a gradient comes from
/// [`LogpBatch::frozen`]; what it remembers changes in [`Objective::observe`] alone.
pub trait Objective: Send + Sync {
    /// What the batch must carry.
    fn needs(&self) -> Needs;

    /// Loss, weight and statistics of each row (each pair, when the rows are pairs; each prompt, when they are groups).
    ///
    /// # Errors
    /// When the batch does not carry what [`Objective::needs`] names.
    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError>;

    /// Takes note of an optimizer window before its loss is taken, for what is remembered from window to window: a running
    /// mean, say. Learners call it once a window while training, and never while measuring; an objective that remembers is
    /// coupled ([`Needs`]), because only then is the window there as a whole.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn observe(&self, _window: &LogpBatch) -> Result<(), CoreError> {
        Ok(())
    }

    /// What is remembered, for a checkpoint.
    fn memory(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Takes back what [`Objective::memory`] gave.
    ///
    /// # Errors
    /// When it is the memory of another objective.
    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        match memory {
            [] => Ok(()),
            _ => Err(CoreError::Shape {
                rule: "an objective without memory takes none back",
                got: format!("{} numbers", memory.len()),
            }),
        }
    }
}
