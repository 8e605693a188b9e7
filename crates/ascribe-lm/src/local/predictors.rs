//! Where response tokens are predicted: the states that do it, and where in a batch belongs what is said of them.

use ascribe_core::tensor::Mask;
use burn::tensor::{Int, Tensor};

/// The states that predict the response tokens of some rows, without padding: a state a token, row after row.
#[derive(Clone, Debug)]
pub struct Predictors {
    states: Tensor<2>,
    targets: Tensor<1, Int>,
    place: Tensor<1, Int>,
    mask: Mask,
}

impl Predictors {
    /// # Shapes
    /// - states: `[n, hidden]`; targets: `[n]`; place: `[rows * longest]`, which state each place of the mask takes.
    pub(super) fn new(states: Tensor<2>, targets: Tensor<1, Int>, place: Tensor<1, Int>, mask: Mask) -> Self {
        Self { states, targets, place, mask }
    }

    /// The states, `[n, hidden]`.
    pub fn states(&self) -> Tensor<2> {
        self.states.clone()
    }

    /// The tokens that are predicted, `[n]`.
    pub fn targets(&self) -> Tensor<1, Int> {
        self.targets.clone()
    }

    /// Which places of `[rows, longest response]` are real.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// One value a predicted token, `[n]`, as `[rows, longest response]`, 0 where there is no token.
    pub fn placed(&self, values: Tensor<1>) -> Tensor<2> {
        self.mask.keep(values.select(0, self.place.clone()).reshape(self.mask.dims())) // [rows, longest]
    }

    /// The same outside of any graph.
    pub fn inner(&self) -> Self {
        Self { states: self.states.clone().inner(), ..self.clone() }
    }
}
