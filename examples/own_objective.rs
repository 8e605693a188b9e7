//! An objective of one's own, on the command line: DPO with an offset (arXiv:2402.10571, here the same for every pair).
//!
//! ```text
//! loss = -log sigmoid(beta * (h_chosen - h_rejected) - OFFSET),   h = log pi(y|x) - log pi_ref(y|x)
//! ```
//! `cargo run -p ascribe-examples --bin own_objective -- train margin-dpo --model M --data D --output-dir O` has all that
//! the built-in methods have: reference log-probabilities, held-out pairs, checkpoints, resume. Its test runs the checks
//! that the built-in losses pass.

use std::process::ExitCode;

use ascribe::burn::tensor::{Tensor, activation::log_sigmoid};
use ascribe::core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind, Side};
use ascribe_cli::Catalog;

/// How much more the chosen response has to earn.
const OFFSET: f64 = 0.5;

/// DPO with an offset.
struct MarginDpo {
    beta: f64,
}

impl Objective for MarginDpo {
    fn needs(&self) -> Needs {
        Needs::of(RowKind::Pairs).with_ref_logps()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let reward = |side: &Side| -> Result<Tensor<1>, CoreError> {
            Ok((side.sum() - side.ref_sum()?).mul_scalar(self.beta)) // [pairs]
        };
        let margins = reward(&pairs.chosen)? - reward(&pairs.rejected)?; // [pairs]
        let wins = margins.clone().greater_elem(0.0).float(); // [pairs]
        let loss = log_sigmoid(margins.clone().sub_scalar(OFFSET)).neg(); // [pairs]
        Ok(Loss::mean_of(loss).stat("rewards/margins", margins).stat("rewards/accuracies", wins))
    }
}

fn main() -> ExitCode {
    ascribe_cli::run(Catalog::builtin().objective("margin-dpo", |options| {
        options.only("margin-dpo", &["beta"])?;
        let beta = options.number("margin-dpo", "beta", 0.1)?;
        let accepted = 0.0 < beta;
        if !accepted {
            return Err(CoreError::Range { name: "beta", rule: "above 0", got: beta }.into());
        }
        Ok(Box::new(MarginDpo { beta }))
    }))
}

#[cfg(test)]
mod tests {
    use ascribe::burn::tensor::Device;
    use ascribe::core::tensor::Mask;

    use super::*;

    #[test]
    fn the_loss_is_the_one_worked_by_hand() {
        let device = Device::flex();
        let rows = |values: [[f32; 2]; 2]| Tensor::<2>::from_floats(values, &device);
        let mask = Mask::from_rows(&[[true, true], [true, false]], &device);
        // h_chosen = -3 - (-4) = 1; h_rejected = -5 - (-2) = -3, its second token being padding.
        let batch = LogpBatch::new(RowKind::Pairs, rows([[-1.0, -2.0], [-5.0, -9.0]]), mask).unwrap();
        let batch = batch.with_ref_logps(rows([[-2.0, -2.0], [-2.0, 0.0]])).unwrap();
        let loss = MarginDpo { beta: 0.5 }.loss(&batch).unwrap();
        // The margin is 0.5 * 4 = 2, so the loss is ln(1 + e^(0.5 - 2)).
        let expected = (-1.5f32).exp().ln_1p();
        let got = loss.rows.into_scalar::<f32>();
        assert!((got - expected).abs() < 1e-6, "{got} beside {expected}");
    }

    #[test]
    fn it_keeps_what_every_loss_keeps() {
        ascribe::preference::testing::check(&MarginDpo { beta: 0.5 }, &Device::flex());
    }
}
