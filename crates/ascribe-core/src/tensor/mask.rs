//! The response mask as a tensor, and reductions over what it counts.

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Which tokens of a padded batch count; true counts, as in [`ResponseMask`](crate::ResponseMask).
#[derive(Clone, Debug)]
pub struct Mask {
    counts: Tensor<2, Bool>,
}

impl Mask {
    /// A mask from one list of flags a row, shorter rows padded with tokens that do not count.
    pub fn from_rows<R: AsRef<[bool]>>(rows: &[R], device: &Device) -> Self {
        let seq = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
        let padded =
            |row: &R| row.as_ref().iter().copied().chain(std::iter::repeat(false)).take(seq).collect::<Vec<_>>();
        let flags: Vec<bool> = rows.iter().flat_map(padded).collect();
        Self { counts: Tensor::from_data(TensorData::new(flags, [rows.len(), seq]), device) }
    }

    /// `[rows, seq]`
    pub fn dims(&self) -> [usize; 2] {
        self.counts.dims()
    }

    /// Rows `start..end`.
    pub fn rows(&self, start: usize, end: usize) -> Self {
        Self { counts: self.counts.clone().slice(start..end) }
    }

    /// `x` with 0 where the mask ignores a token. A fill, not a product: `-inf * 0` would be NaN.
    pub fn keep(&self, x: Tensor<2>) -> Tensor<2> {
        x.mask_fill(self.counts.clone().bool_not(), 0.0) // [rows, seq]
    }

    /// Sum over the tokens that count. `x`: `[rows, seq]`; result: `[rows]`.
    pub fn sum(&self, x: Tensor<2>) -> Tensor<1> {
        self.keep(x).sum_dim(1).squeeze_dim::<1>(1) // [rows]
    }

    /// Mean over the tokens that count, 0 for a row without any. `x`: `[rows, seq]`; result: `[rows]`.
    pub fn mean(&self, x: Tensor<2>) -> Tensor<1> {
        let counts = self.count(&x).clamp_min(1.0); // [rows]
        self.sum(x) / counts
    }

    /// Number of tokens that count in each row, in the precision of `like`. Result: `[rows]`.
    pub fn count(&self, like: &Tensor<2>) -> Tensor<1> {
        self.sum(Tensor::ones(self.dims(), (&like.device(), like.dtype())))
    }

    /// Which of its row's tokens that count each token is, from 1; 0 where the mask ignores it. In the precision of `like`.
    /// Result: `[rows, seq]`.
    pub fn places(&self, like: &Tensor<2>) -> Tensor<2> {
        let ones = self.keep(Tensor::ones(self.dims(), (&like.device(), like.dtype()))); // [rows, seq]
        self.keep(ones.cumsum(1))
    }
}
