//! One-sided feedback and a panel of auditors: what is never seen of those who are turned away, and who is treated unlike whom.
//!
//! Applicants have a quality, by which they pay back, and a signal of it that is set too low for one group. Who is accepted is
//! seen to pay or not; who is not accepted is seen by a known small chance. Auditors know the quality of the applicants of a
//! round, and each has a mind of its own how far apart in treatment a difference in quality may put two of them.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::slices::{OneSided, fairness_violations, one_sided};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::{normal, sigmoid};

const APPLICANTS: usize = 3000;
/// Applicants of a round, who are compared with each other.
pub(super) const ROUND: usize = 6;
pub(super) const AUDITORS: u64 = 5;
/// How much too low the signal of the second group is.
pub(super) const SHIFT: f64 = 0.8;
const NOISE: f64 = 0.5;
/// The chance of whom the policy turns away to be accepted all the same.
const EXPLORED: f64 = 0.05;

/// The claims of fairness with one-sided feedback.
pub const ROW: Row = Row {
    name: "hidden-outcomes",
    paper: "Individually Fair Learning with One-Sided Feedback, arXiv:2206.04475",
    setting: "3000 synthetic applicants in rounds of six, half of them with a signal that is 0.8 deviations too low; outcomes are \
              seen of whom the policy accepts and of a twentieth of the others; five auditors, a pair counts when half of them \
              object; policies are given, the learner is that of fair-learner",
    seeds: 12,
    claims: &[
        Claim {
            says: "accuracy on outcomes that are seen flatters",
            more: "accuracy on the seen",
            less: "accuracy on all",
        },
        Claim {
            says: "most where a group's signal is too low",
            more: "hidden bias, low signal",
            less: "hidden bias, true signal",
        },
        Claim {
            says: "weights of one over the chance to be seen are nearer to the truth",
            more: "off, the seen",
            less: "off, reweighted",
        },
        Claim {
            says: "auditors object to fewer pairs where chances rise smoothly with the signal than with a threshold",
            more: "violations, threshold",
            less: "violations, smooth",
        },
        Claim { says: "which costs accuracy", more: "accuracy, threshold", less: "accuracy, smooth" },
        Claim {
            says: "and to fewer still where the group's signal is set right",
            more: "violations, smooth",
            less: "violations, smooth and set right",
        },
    ],
    tried: "",
    run,
};

/// Who applies.
pub(super) struct Applicant {
    pub quality: f64,
    pub signal: f64,
    pub is_low: bool,
    pub pays: bool,
}

impl Applicant {
    pub fn drawn(number: usize, seed: Seed) -> Self {
        let mut stream = seed.stream("applicant", number as u64);
        let (quality, noise) = (normal(&mut stream), NOISE * normal(&mut stream));
        let (is_low, share): (bool, f64) = (stream.random(), stream.random());
        let signal = quality + noise - if is_low { SHIFT } else { 0.0 };
        Self { quality, signal, is_low, pays: share < sigmoid(2.0 * quality) }
    }

    /// The chance to pay back.
    fn due(&self) -> f64 {
        sigmoid(2.0 * self.quality)
    }
}

/// The chance to be accepted by a policy.
type Treatment = fn(&Applicant) -> f64;

const POLICIES: [(&str, Treatment); 3] = [
    ("threshold", |one| f64::from(u8::from(one.signal >= 0.0))),
    ("smooth", |one| sigmoid(2.0 * one.signal)),
    ("smooth and set right", |one| sigmoid(2.0 * (one.signal + if one.is_low { SHIFT } else { 0.0 }))),
];

fn run(seed: Seed) -> Result<Figures> {
    let applicants: Vec<Applicant> = (0..APPLICANTS).map(|number| Applicant::drawn(number, seed)).collect();
    let all = feedback(&applicants, |_| true, seed)?;
    let mut figures = vec![
        ("accuracy on the seen".to_owned(), all.observed),
        ("accuracy on all".to_owned(), all.all),
        ("off, the seen".to_owned(), (all.observed - all.all).abs()),
        ("off, reweighted".to_owned(), (all.reweighted.value - all.all).abs()),
        ("hidden bias, low signal".to_owned(), feedback(&applicants, |one| one.is_low, seed)?.hidden_bias),
        ("hidden bias, true signal".to_owned(), feedback(&applicants, |one| !one.is_low, seed)?.hidden_bias),
    ];
    let panel: Vec<f64> = (0..AUDITORS).map(|auditor| seed.stream("auditor", auditor).random_range(0.3..1.0)).collect();
    for (name, treatment) in POLICIES {
        figures.push((format!("violations, {name}"), violations(&applicants, treatment, &panel)?));
        let right = |one: &Applicant| {
            let accepted = treatment(one);
            accepted * one.due() + (1.0 - accepted) * (1.0 - one.due())
        };
        figures.push((format!("accuracy, {name}"), mean(&applicants.iter().map(right).collect::<Vec<_>>())));
    }
    Ok(figures)
}

/// What feedback says of the accuracy of the threshold for some applicants.
fn feedback(applicants: &[Applicant], among: fn(&Applicant) -> bool, seed: Seed) -> Result<OneSided> {
    let (mut correct, mut seen, mut chance) = (Vec::new(), Vec::new(), Vec::new());
    for (number, one) in (0..).zip(applicants).filter(|(_, one)| among(one)) {
        let is_accepted = one.signal >= 0.0;
        let known = if is_accepted { 1.0 } else { EXPLORED };
        correct.push(is_accepted == one.pays);
        seen.push(seed.stream("seen", number).random::<f64>() < known);
        chance.push(known);
    }
    Ok(one_sided(&correct, &seen, &chance, &Bootstrap::NONE)?)
}

/// The share of pairs in a round to which half of the panel objects. An auditor allows `slope` times the difference in quality.
fn violations(applicants: &[Applicant], treatment: Treatment, slopes: &[f64]) -> Result<f64> {
    let rounds: Vec<Vec<f64>> = applicants.chunks(ROUND).map(|round| round.iter().map(treatment).collect()).collect();
    let quality = |round: usize, at: usize| applicants[round * ROUND + at].quality;
    let auditor = |slope: &f64| {
        let slope = *slope;
        move |round: usize, one: usize, other: usize| slope * (quality(round, one) - quality(round, other)).abs()
    };
    let auditors: Vec<_> = slopes.iter().map(auditor).collect();
    let panel: Vec<&dyn Fn(usize, usize, usize) -> f64> =
        auditors.iter().map(|one| one as &dyn Fn(usize, usize, usize) -> f64).collect();
    Ok(fairness_violations(&rounds, &panel, 0.0, 0.5)?.pair_rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(quality: f64, signal: f64, pays: bool) -> Applicant {
        Applicant { quality, signal, is_low: false, pays }
    }

    #[test]
    fn a_threshold_parts_two_who_are_alike() {
        // Half a unit of quality apart, and wholly apart in treatment: one ordered pair of two.
        let two = [applicant(0.5, 0.1, true), applicant(0.0, -0.1, true)];
        assert_eq!(violations(&two, POLICIES[0].1, &[1.0]).unwrap(), 0.5);
        assert_eq!(violations(&two, POLICIES[1].1, &[1.0]).unwrap(), 0.0);
        assert_eq!(violations(&two, POLICIES[0].1, &[2.5]).unwrap(), 0.0);
    }

    #[test]
    fn feedback_by_hand() {
        // Three are accepted, of whom two pay; the fourth would have paid.
        let four = [(1.0, true), (1.0, true), (1.0, false), (-1.0, true)];
        let four = four.map(|(signal, pays)| applicant(0.0, signal, pays));
        let said = feedback(&four, |_| true, Seed(0)).unwrap();
        assert_eq!(said.all, 0.5);
        // The fourth is seen or not.
        assert!(said.observed == 0.5 || (said.observed - 2.0 / 3.0).abs() < 1e-12);
    }
}
