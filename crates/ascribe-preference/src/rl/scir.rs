//! A loss on pairs with a penalty where two internal rewards of the policy disagree: SCIR, arXiv:2502.08922.
//!
//! ```text
//! p = sigmoid(beta (h_chosen - h_rejected)),   c: the chance that the chosen response is better, by the policy as a judge
//! m = [(p + c) / 2]
//! loss = 1[c > 1/2] L(pair) + consistency (KL(m || p) + KL(m || c)) + confidence H(p)
//! ```
//! The chosen response is the one that the implicit reward prefers, so pairs with `c > 1/2` are those on which both agree, and
//! only these are learned from by `L`. `m` has no gradient. The form of the penalty is our derivation from the paper's words.
//! Departures: `c` is a constant, told with each pair ([`TrainRow::consistency`](crate::TrainRow)), so the judge learns by what
//! the policy learns alone; `h` is against the reference of the pair's round. The mean is over all pairs.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Pairs, RowKind};
use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, sigmoid};

/// A chance is at least this far from 0 and 1, so that its logarithm is finite.
const LEAST: f64 = 1e-6;

/// The loss.
pub struct Scir {
    pairs: Box<dyn Objective>,
    beta: f64,
    consistency: f64,
    confidence: f64,
}

impl Scir {
    /// The penalty beside a loss on `pairs`; `consistency` weighs the disagreement, `confidence` the entropy of the implicit
    /// reward, and `beta` is what log-ratios are multiplied by in it.
    ///
    /// # Errors
    /// When a number is out of its range, or the loss is not one on pairs that stand alone and have no other consistency.
    pub fn new(pairs: Box<dyn Objective>, beta: f64, consistency: f64, confidence: f64) -> Result<Self, CoreError> {
        let needs = pairs.needs();
        if needs.kind != RowKind::Pairs || needs.coupled || needs.consistency {
            let rule =
                "a penalty for disagreeing needs a loss on pairs, each of which stands alone, without a consistency";
            return Err(CoreError::Shape { rule, got: "another loss".to_owned() });
        }
        if !(beta > 0.0 && beta.is_finite()) {
            return Err(CoreError::Range { name: "beta", rule: "finite and above 0", got: beta });
        }
        for (name, got) in [("scir_consistency", consistency), ("scir_confidence", confidence)] {
            if !(got >= 0.0 && got.is_finite()) {
                return Err(CoreError::Range { name, rule: "finite and at least 0", got });
            }
        }
        Ok(Self { pairs, beta, consistency, confidence })
    }

    /// Log-odds that the chosen response is better, by the implicit reward: `[pairs]`.
    fn log_odds(&self, batch: &LogpBatch) -> Result<Tensor<1>, CoreError> {
        let Pairs { chosen, rejected } = batch.pairs()?;
        let lead = chosen.sum() - chosen.ref_sum()? - rejected.sum() + rejected.ref_sum()?; // [pairs]
        Ok(lead.mul_scalar(self.beta))
    }
}

/// `-m ln p - (1 - m) ln(1 - p)` by the log-odds of `p`; `[pairs]` all.
fn cross_entropy(m: &Tensor<1>, log_odds: &Tensor<1>) -> Tensor<1> {
    let others = m.clone().neg().add_scalar(1.0);
    (m.clone() * log_sigmoid(log_odds.clone()) + others * log_sigmoid(log_odds.clone().neg())).neg()
}

impl Objective for Scir {
    fn needs(&self) -> Needs {
        let mut needs = self.pairs.needs().with_consistency();
        needs.ref_logps = true;
        needs
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let Loss { rows, weights, stats } = self.pairs.loss(batch)?;
        let told = batch.consistency()?; // [pairs]
        let agreed = told.zeros_like().mask_fill(told.clone().greater_elem(0.5), 1.0); // [pairs]
        let judged = told.clamp(LEAST, 1.0 - LEAST); // [pairs]
        let of_judge = judged.clone().log() - judged.clone().neg().add_scalar(1.0).log(); // [pairs], log-odds
        let (ours, still) = (self.log_odds(batch)?, self.log_odds(&batch.frozen())?); // [pairs]
        let middle = (sigmoid(still) + judged).mul_scalar(0.5).clamp(LEAST, 1.0 - LEAST); // [pairs]
        let own = middle.clone().log() - middle.clone().neg().add_scalar(1.0).log(); // [pairs], log-odds
        let entropy_of_middle = cross_entropy(&middle, &own); // [pairs]
        let apart =
            cross_entropy(&middle, &ours) + cross_entropy(&middle, &of_judge) - entropy_of_middle.mul_scalar(2.0); // [pairs]
        let entropy = cross_entropy(&sigmoid(ours.clone()), &ours); // [pairs]
        let penalty = apart.clone().mul_scalar(self.consistency) + entropy.clone().mul_scalar(self.confidence); // [pairs]
        let loss = Loss { rows: rows * agreed.clone() + penalty, weights, stats };
        Ok(loss.stat("scir/agreed", agreed).stat("scir/divergence", apart).stat("scir/entropy", entropy))
    }

    fn observe(&self, window: &LogpBatch) -> Result<(), CoreError> {
        self.pairs.observe(window)
    }

    fn memory(&self) -> Vec<f64> {
        self.pairs.memory()
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        self.pairs.remember(memory)
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::tensor::Mask;
    use ascribe_testkit::device::{device, floats, values};
    use ascribe_testkit::golden::close;
    use burn::tensor::DType;

    use super::*;
    use crate::objectives::{DpoConfig, KtoConfig};

    const BETA: f64 = 0.5;

    fn dpo() -> Box<dyn Objective> {
        Box::new(DpoConfig { beta: BETA, ..DpoConfig::default() }.init().unwrap())
    }

    /// Losses of two pairs of one token each, whose log-odds are 1, and their slopes by the chosen log-probabilities.
    fn run(objective: &Scir, told: [f64; 2]) -> (Vec<f64>, Vec<f64>) {
        let device = device().autodiff();
        let column = |numbers: &[f64]| floats::<2>(numbers, [4, 1], &device, DType::F64);
        let logps = column(&[-1.0, -2.0, -3.0, -4.0]).require_grad();
        let consistency = floats::<1>(&told, [2], &device, DType::F64);
        let batch = LogpBatch::new(RowKind::Pairs, logps.clone(), Mask::from_rows(&[[true]; 4], &device))
            .and_then(|batch| batch.with_ref_logps(column(&[-5.0; 4])))
            .and_then(|batch| batch.with_consistency(consistency))
            .unwrap();
        let loss = objective.loss(&batch).unwrap();
        let slopes = loss.rows.clone().sum().backward();
        let slopes = values(logps.grad(&slopes).unwrap());
        (values(loss.rows), slopes[..2].to_vec())
    }

    #[test]
    fn a_penalty_by_hand() {
        // p = sigmoid(1) = 0.731059, of which the entropy is 0.582203 and -ln p is 0.313262.
        let (p, entropy, loss) = (0.731_058_579, 0.582_203_109, 0.313_261_688);
        // A judge that says 0.9 agrees, and one that says 0.2 does not; the middles are 0.815529 and 0.465529.
        let middles = [0.9, 0.2].map(|c: f64| (p + c) / 2.0);
        let kl = |m: f64, p: f64| m * (m / p).ln() + (1.0 - m) * ((1.0 - m) / (1.0 - p)).ln();
        let apart = [kl(middles[0], p) + kl(middles[0], 0.9), kl(middles[1], p) + kl(middles[1], 0.2)];
        let (rows, slopes) = run(&Scir::new(dpo(), BETA, 2.0, 0.5).unwrap(), [0.9, 0.2]);
        let expected = [loss + 2.0 * apart[0] + 0.5 * entropy, 2.0 * apart[1] + 0.5 * entropy];
        close("loss", &rows, &expected, 1e-6);
        // By the log-odds: p - 1 of the loss, p - m of the divergence, -p (1 - p) of the entropy.
        let slope = |own: f64, m: f64| BETA * (own + 2.0 * (p - m) - 0.5 * p * (1.0 - p));
        close("slopes", &slopes, &[slope(p - 1.0, middles[0]), slope(0.0, middles[1])], 1e-6);
        // Without weights it is the loss on pairs that both find alike.
        close("alone", &run(&Scir::new(dpo(), BETA, 0.0, 0.0).unwrap(), [0.9, 0.2]).0, &[loss, 0.0], 1e-6);
        // Two rewards that say the same are not apart; certain ones are finite.
        close("equal", &run(&Scir::new(dpo(), BETA, 1.0, 0.0).unwrap(), [p, 0.0]).0[..1], &[loss], 1e-6);
        assert!(run(&Scir::new(dpo(), BETA, 1.0, 1.0).unwrap(), [1.0, 0.0]).0.iter().all(|row| row.is_finite()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |pairs: Box<dyn Objective>, beta, consistency, confidence| {
            Scir::new(pairs, beta, consistency, confidence).is_err()
        };
        assert!(!refused(dpo(), 0.1, 1.0, 0.1));
        assert!(refused(dpo(), 0.0, 1.0, 0.1) && refused(dpo(), f64::NAN, 1.0, 0.1));
        assert!(refused(dpo(), 0.1, -1.0, 0.1) && refused(dpo(), 0.1, 1.0, f64::INFINITY));
        assert!(refused(Box::new(KtoConfig::default().init().unwrap()), 0.1, 1.0, 0.1));
    }
}
