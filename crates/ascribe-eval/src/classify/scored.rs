//! Scores with their labels, sorted once for every curve and area over their resamples.

use crate::EvalError;
use crate::error::{finite, same_length};
use crate::rank::ranks::Order;

/// Checked scores, their labels, and the rows by increasing score.
pub(crate) struct Scored<'a> {
    pub(super) scores: &'a [f64],
    pub(super) labels: Vec<bool>,
    pub(super) order: Order,
}

impl<'a> Scored<'a> {
    /// Sorts `scores` with their `labels` (true = positive).
    pub(crate) fn new(scores: &'a [f64], labels: Vec<bool>) -> Result<Self, EvalError> {
        same_length("labels", scores.len(), labels.len())?;
        finite("scores", scores)?;
        Ok(Self { scores, labels, order: Order::of(scores) })
    }
}
