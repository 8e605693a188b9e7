//! LBSF: what a long history of payments says where it is folded by merchant, and where only its end is read.
//!
//! Most payments go to a few merchants. Whether a debtor pays back is told by what was last paid to each of the others.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::data::fold_by_key;
use rand::RngExt;

use crate::heads::{Head, Sample, Training, Widths, train};
use crate::row::{Claim, Figures, Row};
use crate::step_table::CrossEntropy;
use crate::world::{normal, sigmoid};

const MERCHANTS: usize = 12;
/// The merchants that most payments go to, and how many do.
const COMMON: usize = 4;
const MOST: f64 = 0.94;
const PAYMENTS: usize = 300;
/// Payments that are read, and more of them.
const FEW: usize = 12;
const MORE: usize = 60;
const TRAINED: usize = 600;
const TESTED: usize = 1000;

/// LBSF's claims.
pub const ROW: Row = Row {
    name: "folded-histories",
    paper: "Long-term Payment Behavior Sequence Folding (LBSF)",
    setting: "domain-only, credit risk: synthetic histories of 300 payments, 94 of 100 to 4 of 12 merchants; a debtor pays back by \
              the last amounts at the other 8; a linear head on the last amount at each merchant, from 600 debtors; one amount a \
              merchant of the whole history, or the last 12 payments, or the last 60; accuracy on 1000 others",
    seeds: 8,
    claims: &[
        Claim {
            says: "a folded history says more than as many payments at its end",
            more: "folded",
            less: "last 12 payments",
        },
        Claim { says: "and more than five times as many", more: "folded", less: "last 60 payments" },
    ],
    tried: "",
    run,
};

/// Payments by merchant, and whether the debtor pays back.
struct Debtor {
    payments: Vec<(usize, f64)>,
    pays: bool,
}

fn run(seed: Seed) -> Result<Figures> {
    let debtors =
        |n: usize, name: &str| -> Vec<Debtor> { (0..n).map(|at| drawn(seed.child(name, at as u64))).collect() };
    let (seen, asked) = (debtors(TRAINED, "training"), debtors(TESTED, "tests"));
    let loss = CrossEntropy::new()?;
    let mut figures = Figures::new();
    for (name, most) in [("folded", PAYMENTS), ("last 12 payments", FEW), ("last 60 payments", MORE)] {
        let row = |debtor: &Debtor| -> Result<Sample> {
            Ok(Sample { responses: vec![amounts(debtor, most)?], labels: vec![f64::from(u8::from(debtor.pays))] })
        };
        let rows = seen.iter().map(row).collect::<Result<Vec<Sample>>>()?;
        let head = Head::fresh(Widths { inputs: MERCHANTS, hidden: 0, outputs: 1 }, seed);
        let head = train(head, &loss, &rows, Training { steps: 400, rate: 0.02, seed })?;
        let inputs = asked.iter().map(|debtor| amounts(debtor, most)).collect::<Result<Vec<Vec<f64>>>>()?;
        let scores = head.rewards(&inputs);
        let right = scores.iter().zip(&asked).filter(|(score, debtor)| (**score > 0.0) == debtor.pays);
        figures.push((name.to_owned(), right.count() as f64 / TESTED as f64));
    }
    Ok(figures)
}

fn drawn(seed: Seed) -> Debtor {
    let mut stream = seed.stream("debtor", 0);
    let mut payments = Vec::with_capacity(PAYMENTS);
    let mut last = [0.0; MERCHANTS];
    for _ in 0..PAYMENTS {
        let is_common = stream.random::<f64>() < MOST;
        let merchant = if is_common { stream.random_range(0..COMMON) } else { stream.random_range(COMMON..MERCHANTS) };
        last[merchant] = normal(&mut stream);
        payments.push((merchant, last[merchant]));
    }
    let odds = last[COMMON..].iter().sum::<f64>();
    Debtor { payments, pays: stream.random::<f64>() < sigmoid(odds) }
}

/// The last amount at each merchant among the last `most` payments; 0 where there is none.
fn amounts(debtor: &Debtor, most: usize) -> Result<Vec<f64>> {
    let mut amounts = vec![0.0; MERCHANTS];
    for folded in fold_by_key(&debtor.payments[PAYMENTS - most..], MERCHANTS, 1)? {
        amounts[folded.key] = folded.latest[0];
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_amount_at_each_merchant_is_read() {
        let mut payments = vec![(0, 1.0); PAYMENTS];
        payments[10] = (7, 5.0);
        payments[20] = (7, 6.0);
        let debtor = Debtor { payments, pays: true };
        let mut expected = vec![0.0; MERCHANTS];
        expected[0] = 1.0;
        assert_eq!(amounts(&debtor, FEW).unwrap(), expected);
        expected[7] = 6.0;
        assert_eq!(amounts(&debtor, PAYMENTS).unwrap(), expected);
    }
}
