//! Learning whom to accept where only who is accepted is seen, before a panel of auditors (Y. Bechavod and A. Roth,
//! Individually Fair Learning with One-Sided Feedback, arXiv:2206.04475: the reduction to semi-bandits, by exponential weights
//! over a finite class).
//!
//! ```text
//! p ~ exp(-rate L),  h is drawn from (1 - explore) p, or everybody is accepted;  pi(x) = explore + (1 - explore) sum_h p_h h(x)
//! L_h += sum over rows that were accepted of h(x) (1 - 2 y)/pi(x)  +  strength (h(x) - h(x'))
//! ```
//! The first term is, in expectation, the number of wrong decisions less those of who rejects everybody, so that rejected rows need no
//! label; the second belongs to the worst pair that the panel reports, `x` favoured over `x'`, if it reports one. Auditors judge
//! the chances `pi`, not what was drawn.

use ascribe_core::Seed;
use rand::RngExt;

use super::fairness::violated;
use crate::EvalError;
use crate::error::{not_empty, option, same_length};
use crate::stats::sum::{number, sum};

/// A learner with its options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FairLearner {
    /// How fast weights follow losses.
    pub rate: f64,
    /// How often everybody is accepted, so that every row has a chance to be seen.
    pub explore: f64,
    /// What a reported pair counts beside wrong decisions; 0 does not listen to the panel.
    pub strength: f64,
    /// What auditors tolerate beyond their distance.
    pub slack: f64,
    /// The share of auditors whose report counts.
    pub share: f64,
    /// Root of what is drawn.
    pub seed: Seed,
}

/// What a learner did.
#[derive(Clone, Debug, PartialEq)]
pub struct FairRun {
    /// `[round][row]`: the chance to be accepted, as [`fairness_violations`](super::fairness_violations) takes it.
    pub chances: Vec<Vec<f64>>,
    /// `[round][row]`: who was.
    pub accepted: Vec<Vec<bool>>,
    /// Rounds in which the panel reported a pair.
    pub reported: usize,
    /// The weights of the hypotheses at the end.
    pub weights: Vec<f64>,
}

impl FairLearner {
    /// Learns from `decisions[round][hypothesis][row]`, whether a hypothesis accepts a row, and `labels[round][row]`, read of
    /// accepted rows alone; `distances[j](round, i, k)` is auditor j's. O(rounds (hypotheses rows + rows^2 auditors)).
    ///
    /// # Errors
    /// When there is no round, hypothesis or auditor, a length does not fit, an option is out of range, or a distance is NaN.
    pub fn learn(
        &self,
        decisions: &[Vec<Vec<bool>>],
        labels: &[Vec<bool>],
        distances: &[&dyn Fn(usize, usize, usize) -> f64],
    ) -> Result<FairRun, EvalError> {
        let Self { rate, explore, strength, slack, share, seed } = *self;
        option("rate", "finite and above 0", rate, 0.0 < rate && rate.is_finite())?;
        option("explore", "above 0 and at most 1", explore, 0.0 < explore && explore <= 1.0)?;
        option("strength", "finite and at least 0", strength, (0.0..f64::INFINITY).contains(&strength))?;
        option("slack", "finite and at least 0", slack, (0.0..f64::INFINITY).contains(&slack))?;
        option("share", "above 0 and at most 1", share, 0.0 < share && share <= 1.0)?;
        not_empty("the rounds", decisions)?;
        not_empty("the auditors", distances)?;
        same_length("labels", decisions.len(), labels.len())?;
        not_empty("the hypotheses", &decisions[0])?;
        let mut losses = vec![0.0; decisions[0].len()];
        let (mut chances, mut accepted, mut reported) = (Vec::new(), Vec::new(), 0);
        for (round, (decisions, labels)) in decisions.iter().zip(labels).enumerate() {
            same_length("the hypotheses of a round", losses.len(), decisions.len())?;
            for decision in decisions {
                same_length("the decisions of a hypothesis", labels.len(), decision.len())?;
            }
            let weights = weights(&losses, rate);
            let chance = |row: usize| {
                let by =
                    decisions.iter().zip(&weights).filter(|(decision, _)| decision[row]).map(|(_, weight)| *weight);
                // Rounding may pass 1 by a hair.
                (explore + (1.0 - explore) * sum(by)).min(1.0)
            };
            let pi: Vec<f64> = (0..labels.len()).map(chance).collect();
            let mut stream = seed.stream("fair learner", round as u64);
            let (exploring, drawn): (f64, f64) = (stream.random(), stream.random());
            let taken = if exploring < explore {
                vec![true; labels.len()]
            } else {
                let mut below = 0.0;
                let found = weights.iter().position(|weight| {
                    below += weight;
                    drawn < below
                });
                decisions[found.unwrap_or(decisions.len() - 1)].clone()
            };
            let worst = worst_pair(&pi, round, distances, slack, share)?;
            reported += usize::from(worst.is_some());
            for (decision, loss) in decisions.iter().zip(&mut losses) {
                let seen = decision.iter().zip(&taken).zip(labels.iter().zip(&pi));
                let seen = seen.filter(|((accepts, taken), _)| **accepts && **taken);
                *loss += sum(seen.map(|(_, (label, pi))| if *label { -1.0 / pi } else { 1.0 / pi }));
                if let Some((favoured, other)) = worst {
                    *loss += strength * (number(decision[favoured]) - number(decision[other]));
                }
            }
            chances.push(pi);
            accepted.push(taken);
        }
        Ok(FairRun { chances, accepted, reported, weights: weights(&losses, rate) })
    }
}

/// Weights that fall with losses and sum to 1.
fn weights(losses: &[f64], rate: f64) -> Vec<f64> {
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let raw: Vec<f64> = losses.iter().map(|loss| (-rate * (loss - least)).exp()).collect();
    let all = sum(raw.iter().copied());
    raw.into_iter().map(|weight| weight / all).collect()
}

/// The pair that the panel reports with the largest excess, the favoured row first.
fn worst_pair(
    pi: &[f64],
    round: usize,
    distances: &[&dyn Fn(usize, usize, usize) -> f64],
    slack: f64,
    share: f64,
) -> Result<Option<(usize, usize)>, EvalError> {
    let mut worst: Option<(f64, (usize, usize))> = None;
    let pairs = (0..pi.len()).flat_map(|one| (0..pi.len()).map(move |other| (one, other)));
    for (one, other) in pairs.filter(|(one, other)| one != other) {
        let excess = violated(pi[one] - pi[other], distances, [round, one, other], slack, share)?;
        // Of equals the last.
        if let Some(excess) = excess.filter(|excess| worst.is_none_or(|(most, _)| *excess >= most)) {
            worst = Some((excess, (one, other)));
        }
    }
    Ok(worst.map(|(_, pair)| pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEARNER: FairLearner =
        FairLearner { rate: 0.5, explore: 1.0, strength: 0.0, slack: 0.0, share: 1.0, seed: Seed(0) };

    /// Everybody is accepted, so all is seen with chance 1: the first hypothesis is right of one row and wrong of none it
    /// accepts (-1), the second right of one and wrong of one (0). Weights e^(1/2) and 1.
    #[test]
    fn weights_by_hand() {
        let decisions = [vec![vec![true, false], vec![true, true]]];
        let any = |_: usize, _: usize, _: usize| 0.0;
        let run = LEARNER.learn(&decisions, &[vec![true, false]], &[&any]).unwrap();
        assert_eq!((&run.chances[0], &run.accepted[0], run.reported), (&vec![1.0, 1.0], &vec![true, true], 0));
        let first = 0.5_f64.exp() / (1.0 + 0.5_f64.exp());
        assert!((run.weights[0] - first).abs() < 1e-12 && (run.weights[1] - (1.0 - first)).abs() < 1e-12);
    }

    /// Half of the rounds accept all; the first hypothesis accepts the first row alone, which always pays back, the second
    /// nobody. At first the chances are 1/2 + 1/4 and 1/2: an auditor who allows 0.2 reports that, one who allows 0.3 does
    /// not.
    #[test]
    fn a_panel_outweighs_accuracy() {
        let (rounds, labels) = (vec![vec![vec![true, false], vec![false, false]]; 60], vec![vec![true, true]; 60]);
        let (strict, mild) = (|_: usize, _: usize, _: usize| 0.2, |_: usize, _: usize, _: usize| 0.3);
        let learn = |strength, share| {
            let learner = FairLearner { explore: 0.5, strength, share, ..LEARNER };
            learner.learn(&rounds, &labels, &[&strict, &mild]).unwrap()
        };
        let deaf = learn(0.0, 0.5);
        assert_eq!(deaf.chances[0], [0.75, 0.5]);
        assert!(deaf.weights[0] > 0.999 && deaf.reported == 60, "{deaf:?}");
        // A report costs more than a right decision brings, 1/0.5 at most. Then the pair is not reported any more until the
        // first hypothesis has more than 0.4 of the weight again.
        let heard = learn(20.0, 0.5);
        assert!(heard.chances.iter().skip(1).filter(|chance| chance[0] - chance[1] > 0.2).count() < 20, "{heard:?}");
        assert!(heard.reported < 20 && heard.chances.iter().flatten().all(|chance| (0.5..=1.0).contains(chance)));
        // Both auditors have to report: a difference above 0.3.
        assert!(learn(0.0, 1.0).reported < 60);
    }

    /// Who is accepted by one hypothesis of two is seen half the time and counts twice: over many first rounds the mean weight
    /// shift is that of full knowledge, to first order in a small rate.
    #[test]
    fn what_is_seen_stands_for_what_is_not() {
        let decisions = [vec![vec![true], vec![false]]];
        let any = |_: usize, _: usize, _: usize| 1.0;
        let shift = |seed: u64| {
            let learner = FairLearner { rate: 1e-3, explore: 0.1, seed: Seed(seed), ..LEARNER };
            let run = learner.learn(&decisions, &[vec![true]], &[&any]).unwrap();
            (run.weights[0] / run.weights[1]).ln() / 1e-3
        };
        let mean = (0..4000).map(shift).sum::<f64>() / 4000.0;
        // Seen with chance 0.55, for 1/0.55: mean 1, deviation sqrt(0.45/0.55)/sqrt(4000) = 0.014.
        assert!((mean - 1.0).abs() < 0.06, "{mean}");
    }

    #[test]
    fn bad_input_is_refused() {
        let any = |_: usize, _: usize, _: usize| 0.0;
        let rounds = [vec![vec![true, false]]];
        let learn = |learner: FairLearner, rounds: &[Vec<Vec<bool>>], labels: &[Vec<bool>]| {
            learner.learn(rounds, labels, &[&any]).map(|run| run.reported)
        };
        let labels = [vec![true, true]];
        assert!(learn(LEARNER, &rounds, &labels).is_ok());
        assert!(matches!(learn(LEARNER, &[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(learn(LEARNER, &[vec![]], &labels), Err(EvalError::Empty { what: "the hypotheses" })));
        assert!(matches!(learn(LEARNER, &rounds, &[vec![true]]), Err(EvalError::Length { .. })));
        assert!(matches!(learn(LEARNER, &rounds, &[]), Err(EvalError::Length { what: "labels", .. })));
        for (name, wrong) in [
            ("rate", FairLearner { rate: 0.0, ..LEARNER }),
            ("explore", FairLearner { explore: 0.0, ..LEARNER }),
            ("strength", FairLearner { strength: f64::NAN, ..LEARNER }),
            ("slack", FairLearner { slack: -1.0, ..LEARNER }),
            ("share", FairLearner { share: 1.5, ..LEARNER }),
        ] {
            let error = learn(wrong, &rounds, &labels).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
        assert!(LEARNER.learn(&rounds, &labels, &[]).is_err());
    }
}
