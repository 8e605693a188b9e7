//! Inference in an energy-based concept bottleneck, by enumeration: arXiv:2401.14142. The training loss is
//! [`ConceptEnergy`](crate::losses::ConceptEnergy).
//!
//! ```text
//! E(y, c) = label E_xy(y) + concepts sum_k E_xc(c_k) + joint E_cy(c, y);   p(y, c) = exp(-E) / Z
//! reward = log p(good|x) - log p(bad|x)
//! ```
//! All `2^(K+1)` states are summed, exact for small K; the code relaxes them and descends the gradient, which finds the
//! likeliest state. A concept that a person corrects is clamped, and label and other concepts are inferred anew. Weights of
//! the code: 1, 1 and 0.01.

use ascribe_core::Stream;
use rand::RngExt;

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length};
use crate::math::log_sum_exp;

/// Most concepts: states are enumerated.
const MOST: usize = 16;

/// The energies of one response.
pub struct ConceptEnergies<'a> {
    label: [f64; 2],
    concepts: Vec<[f64; 2]>,
    joint: &'a (dyn Fn(&[bool], bool) -> f64 + Sync),
    weights: [f64; 3],
}

/// Probabilities after inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// Of the good label.
    pub good: f64,
    /// Of each concept.
    pub concepts: Vec<f64>,
    /// Log-odds of the good label: the reward.
    pub reward: f64,
}

impl<'a> ConceptEnergies<'a> {
    /// Energies of the label (bad, good) and of each concept (absent, present) given the text, and of the label given the
    /// concepts, with their weights in this order.
    ///
    /// # Errors
    /// When there is no concept or there are more than 16, or a number is NaN or infinite or a weight below 0.
    pub fn new(
        label: [f64; 2],
        concepts: &[[f64; 2]],
        joint: &'a (dyn Fn(&[bool], bool) -> f64 + Sync),
        weights: [f64; 3],
    ) -> Result<Self, RewardError> {
        not_empty("the concepts", concepts)?;
        option(
            "concepts",
            "at most 16, because all states are enumerated",
            concepts.len() as f64,
            concepts.len() <= MOST,
        )?;
        finite("the energies of the label", &label)?;
        finite("the energies of the concepts", concepts.as_flattened())?;
        crate::error::within("the weight of an energy", &weights, "finite and at least 0", |w| {
            0.0 <= w && w.is_finite()
        })?;
        Ok(Self { label, concepts: concepts.to_vec(), joint, weights })
    }

    /// Infers label and concepts, where the named concepts are known.
    ///
    /// # Errors
    /// When a clamp names no concept, two contradict each other, or the joint energy is NaN or infinite.
    pub fn infer(&self, clamps: &[(usize, bool)]) -> Result<Inferred, RewardError> {
        let states = self.states(&self.clamped(clamps)?)?;
        let mass = |keep: &dyn Fn(&[bool], bool) -> bool| {
            let kept = states.iter().filter(|(c, y, _)| keep(c, *y));
            log_sum_exp(&kept.map(|(_, _, log)| *log).collect::<Vec<_>>())
        };
        let all = mass(&|_, _| true);
        let (bad, good) = (mass(&|_, y| !y), mass(&|_, y| y));
        let concepts = (0..self.concepts.len()).map(|k| (mass(&|c, _| c[k]) - all).exp().min(1.0)).collect();
        Ok(Inferred { good: (good - all).exp().min(1.0), concepts, reward: good - bad })
    }

    /// `p(c_k | c_j = value, y = label)`, from the same energies.
    ///
    /// # Errors
    /// As [`infer`](Self::infer), and when `k` names no concept.
    pub fn conditional(&self, k: usize, given: (usize, bool), label: bool) -> Result<f64, RewardError> {
        option("a concept", "below the number of concepts", k as f64, k < self.concepts.len())?;
        let states = self.states(&self.clamped(&[given])?)?;
        let of = |keep: &dyn Fn(&[bool]) -> bool| {
            let kept = states.iter().filter(|(c, y, _)| *y == label && keep(c));
            log_sum_exp(&kept.map(|(_, _, log)| *log).collect::<Vec<_>>())
        };
        Ok((of(&|c| c[k]) - of(&|_| true)).exp().min(1.0))
    }

    fn clamped(&self, clamps: &[(usize, bool)]) -> Result<Vec<Option<bool>>, RewardError> {
        let mut clamped = vec![None; self.concepts.len()];
        for &(k, value) in clamps {
            option("a clamped concept", "below the number of concepts", k as f64, k < clamped.len())?;
            if clamped[k] == Some(!value) {
                let rule = "a concept can be clamped to one value only";
                return Err(RewardError::Shape { rule, got: format!("both values for concept {k}") });
            }
            clamped[k] = Some(value);
        }
        Ok(clamped)
    }

    /// Every state that the clamps allow, with its unnormalised log-probability.
    fn states(&self, clamped: &[Option<bool>]) -> Result<Vec<(Vec<bool>, bool, f64)>, RewardError> {
        let [label, concepts, joint] = self.weights;
        let mut states = Vec::new();
        for bits in 0u32..1 << self.concepts.len() {
            let c: Vec<bool> = (0..self.concepts.len()).map(|k| (bits >> k) & 1 == 1).collect();
            if clamped.iter().zip(&c).any(|(clamp, value)| clamp.is_some_and(|clamp| clamp != *value)) {
                continue;
            }
            let own: f64 = self.concepts.iter().zip(&c).map(|(energies, value)| energies[usize::from(*value)]).sum();
            for y in [false, true] {
                let together = (self.joint)(&c, y);
                option("the joint energy", "finite", together, together.is_finite())?;
                let energy = label * self.label[usize::from(y)] + concepts * own + joint * together;
                states.push((c.clone(), y, -energy));
            }
        }
        Ok(states)
    }
}

/// Concepts of which each is flipped with probability `share` (0.2 in the code), for the energies that see concepts in training.
///
/// # Errors
/// Unless `share` is in [0, 1].
pub fn perturbed(concepts: &[bool], share: f64, stream: &mut Stream) -> Result<Vec<bool>, RewardError> {
    option("the share of flipped concepts", "in [0, 1]", share, (0.0..=1.0).contains(&share))?;
    Ok(concepts.iter().map(|concept| concept ^ (stream.random::<f64>() < share)).collect())
}

/// What each count of a table is raised by, so that no state is impossible.
const PRIOR: f64 = 0.5;

/// The joint energies of label and concepts that the third term of the training loss is least with, from labels and their
/// concepts: `E(c, y) = -log p(y | c)` for each set of concepts `c`, whose bits are its index, as `[bad, good]`. The concepts of
/// each row are flipped with the probability `share` in expectation (0.2 in the code), and every count is raised by one half. Of
/// all functions of the concepts a table has the least loss; the code's network is one of them.
///
/// # Errors
/// Without a row, when rows have different numbers of concepts, none or more than 16, or `share` is not in [0, 1].
pub fn joint_energies(rows: &[(bool, Vec<bool>)], share: f64) -> Result<Vec<[f64; 2]>, RewardError> {
    option("the share of flipped concepts", "in [0, 1]", share, (0.0..=1.0).contains(&share))?;
    not_empty("the rows", rows)?;
    let concepts = rows.first().map_or(0, |(_, concepts)| concepts.len());
    option("concepts", "from 1 to 16", concepts as f64, (1..=MOST).contains(&concepts))?;
    let mut mass = vec![[0.0; 2]; 1 << concepts];
    for (good, of_row) in rows {
        same_length("the concepts of a row", concepts, of_row.len())?;
        mass[number(of_row)][usize::from(*good)] += 1.0;
    }
    for k in 0..concepts {
        let before = mass.clone();
        for (state, masses) in mass.iter_mut().enumerate() {
            let flipped = before[state ^ (1 << k)];
            masses.iter_mut().zip(flipped).for_each(|(own, other)| *own += share * (other - *own));
        }
    }
    let energies = |[bad, good]: [f64; 2]| {
        let all = bad + good + 2.0 * PRIOR;
        [bad, good].map(|mass| -((mass + PRIOR) / all).ln())
    };
    Ok(mass.into_iter().map(energies).collect())
}

/// The index of a set of concepts: concept `k` is bit `k`.
pub(crate) fn number(concepts: &[bool]) -> usize {
    concepts.iter().enumerate().fold(0, |state, (k, there)| state | (usize::from(*there) << k))
}

/// The energies of a response from the numbers that a head of [`ConceptEnergy`](crate::losses::ConceptEnergy) gives: of the
/// label, and of each concept. The last two, of the label given the concepts, belong to the concepts that were fed in training.
///
/// # Errors
/// When there are not `2 K + 4` numbers for K concepts of at least one.
pub fn split_energies(output: &[f64]) -> Result<([f64; 2], Vec<[f64; 2]>), RewardError> {
    let concepts = (output.len() / 2).saturating_sub(2).max(1);
    same_length("the energies of a head", 2 * concepts + 4, output.len())?;
    finite("the energies of a head", output)?;
    let pairs: Vec<[f64; 2]> = output.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    Ok((pairs[0], pairs[1..=concepts].to_vec()))
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    fn none(_: &[bool], _: bool) -> f64 {
        0.0
    }

    /// Good answers are right and polite.
    fn all_or_bad(c: &[bool], y: bool) -> f64 {
        let good = c.iter().all(|concept| *concept);
        if good == y { 0.0 } else { 2.0 }
    }

    #[test]
    fn without_a_joint_energy_the_heads_are_independent() {
        // Log-odds 1 for the label, 2 and -3 for the concepts; the joint weight of 0 silences the joint energy.
        let energies =
            ConceptEnergies::new([1.0, 0.0], &[[2.0, 0.0], [0.0, 3.0]], &all_or_bad, [1.0, 1.0, 0.0]).unwrap();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let inferred = energies.infer(&[]).unwrap();
        assert!((inferred.reward - 1.0).abs() < 1e-12 && (inferred.good - sigmoid(1.0)).abs() < 1e-12);
        assert!((inferred.concepts[0] - sigmoid(2.0)).abs() < 1e-12);
        assert!((inferred.concepts[1] - sigmoid(-3.0)).abs() < 1e-12);
    }

    /// One concept with no opinion of its own, E_cy = 2 where they disagree: p(y, c) is 1/2 s(2) each where they agree.
    #[test]
    fn one_concept_by_hand() {
        let energies = ConceptEnergies::new([0.0; 2], &[[0.0; 2]], &all_or_bad, [1.0; 3]).unwrap();
        let free = energies.infer(&[]).unwrap();
        assert!(free.reward.abs() < 1e-12 && (free.concepts[0] - 0.5).abs() < 1e-12);
        // Correcting the concept moves the label by its energy.
        let corrected = energies.infer(&[(0, true)]).unwrap();
        assert!((corrected.reward - 2.0).abs() < 1e-12 && corrected.concepts == [1.0]);
        let sigmoid = 1.0 / (1.0 + (-2f64).exp());
        assert!((corrected.good - sigmoid).abs() < 1e-12);
    }

    #[test]
    fn correcting_a_concept_moves_the_others() {
        // Two concepts that like to be equal.
        let equal = |c: &[bool], _: bool| if c[0] == c[1] { 0.0 } else { 1.5 };
        let energies = ConceptEnergies::new([0.0; 2], &[[0.0; 2]; 2], &equal, [1.0; 3]).unwrap();
        let corrected = energies.infer(&[(0, true)]).unwrap();
        let expected = 1.0 / (1.0 + (-1.5f64).exp());
        assert!((corrected.concepts[1] - expected).abs() < 1e-12);
        assert!((energies.conditional(1, (0, true), true).unwrap() - expected).abs() < 1e-12);
        assert!((energies.conditional(1, (0, false), true).unwrap() - (1.0 - expected)).abs() < 1e-12);
    }

    #[test]
    fn with_all_concepts_clamped_the_text_speaks_through_its_own_energy_alone() {
        for own in [[0.0, 0.0], [3.0, -5.0]] {
            let energies = ConceptEnergies::new([0.7, 0.2], &[own; 2], &all_or_bad, [1.0; 3]).unwrap();
            let inferred = energies.infer(&[(0, true), (1, false)]).unwrap();
            // 0.5 of the label's energies, less 2 because the concepts say bad.
            assert!((inferred.reward - (0.5 - 2.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let energies = ConceptEnergies::new([0.0; 2], &[[0.0; 2]; 2], &none, [1.0; 3]).unwrap();
        assert!(energies.infer(&[(0, true), (0, false)]).is_err(), "contradictory clamps");
        assert!(energies.infer(&[(0, true), (0, true)]).is_ok() && energies.infer(&[(2, true)]).is_err());
        assert!(energies.conditional(2, (0, true), true).is_err());
        assert!(ConceptEnergies::new([0.0; 2], &[], &none, [1.0; 3]).is_err());
        assert!(ConceptEnergies::new([0.0; 2], &[[0.0; 2]; 17], &none, [1.0; 3]).is_err());
        assert!(ConceptEnergies::new([f64::NAN, 0.0], &[[0.0; 2]], &none, [1.0; 3]).is_err());
        assert!(ConceptEnergies::new([0.0; 2], &[[0.0; 2]], &none, [1.0, -1.0, 1.0]).is_err());
        let nothing = |_: &[bool], _: bool| f64::NAN;
        assert!(ConceptEnergies::new([0.0; 2], &[[0.0; 2]], &nothing, [1.0; 3]).unwrap().infer(&[]).is_err());
        assert_eq!(split_energies(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap(), ([1.0, 2.0], vec![[3.0, 4.0]]));
        assert!(split_energies(&[1.0; 4]).is_err() && split_energies(&[1.0; 7]).is_err());
    }

    /// Two rows: good with the concept, bad without.
    #[test]
    fn joint_energies_by_hand() {
        let rows = [(true, vec![true]), (false, vec![false])];
        // Without flips each state has a count of 1 and one of 0: (1 + 1/2) / 2 and (0 + 1/2) / 2.
        let plain = joint_energies(&rows, 0.0).unwrap();
        let expected = [[-(0.75f64.ln()), -(0.25f64.ln())], [-(0.25f64.ln()), -(0.75f64.ln())]];
        assert!(plain.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-12));
        // A fifth is flipped: 0.8 and 0.2 in the place of 1 and 0.
        let flipped = joint_energies(&rows, 0.2).unwrap();
        assert!((flipped[0][0] + (1.3f64 / 2.0).ln()).abs() < 1e-12 && (flipped[0][1] + 0.35f64.ln()).abs() < 1e-12);
        // Flips of two concepts are independent: 0.64, 0.16, 0.16 and 0.04 of the one row, each raised by one half.
        let two = joint_energies(&[(true, vec![true, true])], 0.2).unwrap();
        for (energies, mass) in two.iter().zip([0.04, 0.16, 0.16, 0.64]) {
            assert!((energies[1] + ((mass + 0.5) / (mass + 1.0f64)).ln()).abs() < 1e-12, "{energies:?}");
        }
        // Energies of a state are those of probabilities.
        assert!(two.iter().all(|[bad, good]| ((-bad).exp() + (-good).exp() - 1.0).abs() < 1e-12));
        assert_eq!(number(&[true, false, true]), 5);
        assert!(joint_energies(&[], 0.2).is_err() && joint_energies(&rows, 1.5).is_err());
        assert!(
            joint_energies(&[(true, vec![])], 0.2).is_err() && joint_energies(&[(true, vec![true; 17])], 0.2).is_err()
        );
        assert!(joint_energies(&[(true, vec![true]), (true, vec![true; 2])], 0.2).is_err());
    }

    #[test]
    fn a_fifth_of_the_concepts_is_flipped() {
        let mut stream = Seed(1).stream("concepts", 0);
        let flipped = perturbed(&[false; 10_000], 0.2, &mut stream).unwrap().iter().filter(|c| **c).count();
        // Five standard deviations of 0.004.
        assert!((flipped as f64 / 1e4 - 0.2).abs() < 0.02, "{flipped}");
        assert!(perturbed(&[true], 1.5, &mut stream).is_err());
    }

    /// The relaxed inference of the code: softmax variables, the expected energy, Adam with step 0.1.
    fn descend(energies: &ConceptEnergies<'_>) -> (f64, Vec<f64>) {
        let k = energies.concepts.len();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let states = energies.states(&vec![None; k]).unwrap();
        // The expected energy when label and concepts are independent coins with these log-odds.
        let expected = |odds: &[f64]| -> f64 {
            let term = |(c, y, log): &(Vec<bool>, bool, f64)| {
                let coin = |odds: f64, side: bool| if side { sigmoid(odds) } else { sigmoid(-odds) };
                let p: f64 = c.iter().zip(&odds[1..]).map(|(side, odds)| coin(*odds, *side)).product();
                -log * p * coin(odds[0], *y)
            };
            states.iter().map(term).sum()
        };
        let (mut odds, mut m, mut v) = (vec![0.0; k + 1], vec![0.0; k + 1], vec![0.0; k + 1]);
        for step in 1..=500 {
            for at in 0..=k {
                let moved = |by: f64| {
                    let mut odds = odds.clone();
                    odds[at] += by;
                    expected(&odds)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                m[at] = 0.9 * m[at] + 0.1 * slope;
                v[at] = 0.999 * v[at] + 0.001 * slope * slope;
                let scale = (v[at] / (1.0 - 0.999f64.powi(step))).sqrt() + 1e-8;
                odds[at] -= 0.1 * m[at] / (1.0 - 0.9f64.powi(step)) / scale;
            }
        }
        (sigmoid(odds[0]), odds[1..].iter().map(|odds| sigmoid(*odds)).collect())
    }

    #[test]
    fn enumeration_and_gradient_inference_find_the_same_state() {
        // Energies far enough apart that the likeliest state has nearly all the mass.
        let own = [[0.0, 9.0], [8.0, 0.0], [7.0, 0.0], [0.0, 8.0], [9.0, 0.0], [7.5, 0.0]];
        for k in 1..=6 {
            let energies = ConceptEnergies::new([8.0, 0.0], &own[..k], &all_or_bad, [1.0, 1.0, 0.01]).unwrap();
            let (exact, (good, concepts)) = (energies.infer(&[]).unwrap(), descend(&energies));
            assert!((exact.good - good).abs() < 0.01, "{k}: {} and {good}", exact.good);
            assert!(exact.concepts.iter().zip(&concepts).all(|(a, b)| (a - b).abs() < 0.01), "{k}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_1(
            label in -3.0..3.0f64, own in prop::collection::vec(-3.0..3.0f64, 1..6), strength in -3.0..3.0f64,
        ) {
            let concepts: Vec<[f64; 2]> = own.iter().map(|energy| [*energy, 0.0]).collect();
            let joint = move |c: &[bool], y: bool| if c[0] == y { strength } else { 0.0 };
            let energies = ConceptEnergies::new([label, 0.0], &concepts, &joint, [1.0; 3]).unwrap();
            let inferred = energies.infer(&[]).unwrap();
            // The log-odds say the same as the probability, and no state is lost.
            prop_assert!((inferred.reward - (inferred.good / (1.0 - inferred.good)).ln()).abs() < 1e-6);
            let split: f64 = [true, false].map(|value| {
                let clamped = energies.infer(&[(0, value)]).unwrap();
                let share = if value { inferred.concepts[0] } else { 1.0 - inferred.concepts[0] };
                share * clamped.good
            }).iter().sum();
            prop_assert!((split - inferred.good).abs() < 1e-9);
        }
    }
}
