//! What losses on labelled responses share: log-ratios, and statistics of each side.

use ascribe_core::{CoreError, LogpBatch, Loss, Side};
use burn::tensor::{Int, Tensor, TensorData};

/// Labelled responses with their log-ratios.
pub(super) struct Labelled {
    /// `h` of each response, `[rows]`.
    pub(super) ratios: Tensor<1>,
    /// 1 for a response that is wanted, -1 for one that is not, `[rows]`.
    pub(super) signs: Tensor<1>,
    labels: Vec<bool>,
    side: Side,
}

impl Labelled {
    pub(super) fn of(batch: &LogpBatch) -> Result<Self, CoreError> {
        let (side, labels) = (batch.all(), batch.labels()?.to_vec());
        let ratios = side.sum() - side.ref_sum()?; // [rows]
        let signs: Vec<f32> = labels.iter().map(|wanted| if *wanted { 1.0 } else { -1.0 }).collect();
        let options = (&ratios.device(), ratios.dtype());
        let signs = Tensor::from_data(TensorData::new(signs, [labels.len()]), options); // [rows]
        Ok(Self { ratios, signs, labels, side })
    }

    /// `wanted` for each response that is wanted, `other` for the rest, `[rows]`.
    pub(super) fn weights(&self, wanted: f64, other: f64) -> Tensor<1> {
        self.signs.clone().mul_scalar((wanted - other) / 2.0).add_scalar((wanted + other) / 2.0)
    }

    /// The loss of each row with the statistics of both sides, each over its own rows.
    pub(super) fn finish(&self, rows: Tensor<1>, beta: f64) -> Loss {
        let (rewards, logps) = (self.ratios.clone().mul_scalar(beta), self.side.sum()); // [rows]
        let mut loss = Loss::mean_of(rows);
        let names = [(true, "rewards/chosen", "logps/chosen"), (false, "rewards/rejected", "logps/rejected")];
        for (wanted, reward, logp) in names {
            let at = self.labels.iter().enumerate().filter(|(_, label)| **label == wanted);
            let at: Vec<i64> = at.map(|(row, _)| row as i64).collect();
            if at.is_empty() {
                continue;
            }
            let n = at.len();
            let at = Tensor::<1, Int>::from_data(TensorData::new(at, [n]), &rewards.device());
            loss = loss.stat(reward, rewards.clone().select(0, at.clone())).stat(logp, logps.clone().select(0, at));
        }
        loss
    }
}
