//! One-sided feedback before a panel of auditors: a learner who sees outcomes of the accepted alone, and who hears the panel or not.
//!
//! The applicants are those of `hidden-outcomes`. A hypothesis accepts whose signal is above a threshold, after it was set right
//! in part for the group whose signal is too low; the learner mixes hypotheses by exponential weights.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::slices::{FairLearner, fairness_violations};
use rand::RngExt;

use super::hidden_outcomes::{AUDITORS, Applicant, ROUND, SHIFT};
use crate::heads::mean;
use crate::row::{Claim, Figures, Row};

const ROUNDS: usize = 2000;
const THRESHOLDS: usize = 13;
/// Parts of the shift of the second group that a hypothesis takes back.
const PARTS: [f64; 3] = [0.0, 0.5, 1.0];
/// What auditors tolerate beyond their distance.
const SLACK: f64 = 0.2;
/// What a reported pair counts beside wrong decisions.
const STRENGTH: f64 = 3.0;

/// The claims of the learner.
pub const ROW: Row = Row {
    name: "fair-learner",
    paper: "Individually Fair Learning with One-Sided Feedback, arXiv:2206.04475",
    setting: "2000 rounds of six synthetic applicants, half of them with a signal that is 0.8 deviations too low; 39 hypotheses, \
              thresholds of the signal with a correction for the group, under exponential weights; outcomes are seen of the \
              accepted alone, and a twentieth of the rounds accept everybody; five auditors, a pair counts when half of them \
              object; figures of the second half of the rounds, where nothing else is said",
    seeds: 12,
    claims: &[
        Claim {
            says: "who hears the panel treats fewer pairs unlike each other",
            more: "violations, deaf",
            less: "violations, hears the panel",
        },
        Claim { says: "which costs accuracy", more: "accuracy, deaf", less: "accuracy, hears the panel" },
        Claim {
            says: "and is still more accurate than the same chance for everybody",
            more: "accuracy, hears the panel",
            less: "accuracy, one chance for all",
        },
        Claim {
            says: "with outcomes of the accepted alone it learns",
            more: "accuracy, deaf",
            less: "accuracy, deaf, first 100 rounds",
        },
        Claim {
            says: "and comes near the best hypothesis in hindsight (regret a round below that of the first 100 rounds)",
            more: "regret, deaf, first 100 rounds",
            less: "regret, deaf",
        },
    ],
    tried: "",
    run,
};

/// Whether each hypothesis accepts each applicant of a round.
fn decisions(round: &[Applicant]) -> Vec<Vec<bool>> {
    let mut decisions = Vec::with_capacity(THRESHOLDS * PARTS.len());
    for step in 0..THRESHOLDS {
        let threshold = -1.5 + 3.0 * step as f64 / (THRESHOLDS - 1) as f64;
        for part in PARTS {
            let corrected = |one: &Applicant| one.signal + if one.is_low { part * SHIFT } else { 0.0 };
            decisions.push(round.iter().map(|one| corrected(one) >= threshold).collect());
        }
    }
    decisions
}

/// Auditors of rounds of applicants: each allows a slope of its own times the difference in quality.
fn auditors<'a>(applicants: &'a [Applicant], slopes: &'a [f64]) -> Vec<impl Fn(usize, usize, usize) -> f64> {
    let auditor = move |slope: &'a f64| {
        move |round: usize, one: usize, other: usize| {
            let quality = |at: usize| applicants[round * ROUND + at].quality;
            slope * (quality(one) - quality(other)).abs()
        }
    };
    slopes.iter().map(auditor).collect()
}

/// How often a decision by these chances is right, over some rounds.
fn accuracy(chances: &[Vec<f64>], labels: &[Vec<bool>]) -> f64 {
    let right = |(chance, pays): (&f64, &bool)| if *pays { *chance } else { 1.0 - chance };
    let rounds = chances.iter().zip(labels);
    mean(&rounds.flat_map(|(chances, labels)| chances.iter().zip(labels).map(right)).collect::<Vec<f64>>())
}

/// The accuracy of the best hypothesis over these rounds.
fn best(decisions: &[Vec<Vec<bool>>], labels: &[Vec<bool>]) -> f64 {
    let of = |hypothesis: usize| {
        let chances = |decisions: &Vec<Vec<bool>>| -> Vec<f64> {
            decisions[hypothesis].iter().map(|accepts| f64::from(*accepts)).collect()
        };
        accuracy(&decisions.iter().map(chances).collect::<Vec<Vec<f64>>>(), labels)
    };
    (0..decisions[0].len()).map(of).fold(0.0, f64::max)
}

fn run(seed: Seed) -> Result<Figures> {
    let applicants: Vec<Applicant> = (0..ROUNDS * ROUND).map(|number| Applicant::drawn(number, seed)).collect();
    let decided: Vec<Vec<Vec<bool>>> = applicants.chunks(ROUND).map(decisions).collect();
    let labels: Vec<Vec<bool>> =
        applicants.chunks(ROUND).map(|round| round.iter().map(|one| one.pays).collect()).collect();
    let slopes: Vec<f64> =
        (0..AUDITORS).map(|auditor| seed.stream("auditor", auditor).random_range(0.3..1.0)).collect();
    let half = ROUNDS / 2;
    let (all, late) = (auditors(&applicants, &slopes), auditors(&applicants[half * ROUND..], &slopes));
    let panel: Vec<&dyn Fn(usize, usize, usize) -> f64> =
        all.iter().map(|one| one as &dyn Fn(usize, usize, usize) -> f64).collect();
    let late: Vec<&dyn Fn(usize, usize, usize) -> f64> =
        late.iter().map(|one| one as &dyn Fn(usize, usize, usize) -> f64).collect();
    let mut figures = Figures::new();
    for (name, strength) in [("deaf", 0.0), ("hears the panel", STRENGTH)] {
        let learner = FairLearner { rate: 0.02, explore: 0.05, strength, slack: SLACK, share: 0.5, seed };
        let chances = learner.learn(&decided, &labels, &panel)?.chances;
        let violations = fairness_violations(&chances[half..], &late, SLACK, 0.5)?.pair_rate;
        figures.push((format!("violations, {name}"), violations));
        let right = accuracy(&chances[half..], &labels[half..]);
        figures.push((format!("accuracy, {name}"), right));
        if strength == 0.0 {
            let first = accuracy(&chances[..100], &labels[..100]);
            figures.push(("accuracy, deaf, first 100 rounds".to_owned(), first));
            let regret = best(&decided[..100], &labels[..100]) - first;
            figures.push(("regret, deaf, first 100 rounds".to_owned(), regret));
            figures.push(("regret, deaf".to_owned(), best(&decided[half..], &labels[half..]) - right));
        }
    }
    let alike = vec![vec![0.5; ROUND]; half];
    figures.push(("accuracy, one chance for all".to_owned(), accuracy(&alike, &labels[half..])));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypotheses_and_accuracy_by_hand() {
        let applicant = |signal: f64, is_low: bool| Applicant { quality: 0.0, signal, is_low, pays: true };
        let round = [applicant(0.1, false), applicant(-0.5, true)];
        let decided = decisions(&round);
        assert_eq!(decided.len(), 39);
        // The threshold 0 is the seventh; the second applicant reaches it where 0.8 are added and not where 0.4 are.
        assert_eq!(decided[18..21].to_vec(), [vec![true, false], vec![true, false], vec![true, true]]);
        assert!((accuracy(&[vec![0.75, 0.5]], &[vec![true, false]]) - 0.625).abs() < 1e-12);
        assert_eq!(best(&[decided], &[vec![true, true]]), 1.0);
    }
}
