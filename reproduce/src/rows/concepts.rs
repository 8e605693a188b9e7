//! Energy-based concept bottleneck: a person corrects one concept, and the label and the other concepts follow.
//!
//! Three concepts with a common cause, a label that follows their majority, and features that show each concept under noise. One
//! head gives the energies of label and concepts given the features, another those of the label given the concepts. Corrected is
//! the first concept, where it was inferred wrongly; figures are over those responses.

use anyhow::Result;
use ascribe::core::{Loss, Seed, Stream};
use ascribe::reward::losses::{ConceptEnergy, ConceptEnergyConfig};
use ascribe::reward::{ConceptEnergies, Inferred, RewardError, RewardLoss, ScoreBatch, perturbed};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use crate::heads::{Head, Training, Widths, features, fit, mean};
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const CONCEPTS: usize = 3;
const FEATURES: usize = 8;
const NOISE: f64 = 1.5;
const RESPONSES: usize = 400;
const TESTS: usize = 1000;
/// Copies of each response, each with other concepts turned around.
const COPIES: usize = 4;

/// The claims of concept correction.
pub const ROW: Row = Row {
    name: "concepts",
    paper: "Energy-Based Concept Bottleneck Models, arXiv:2401.14142",
    setting: "three concepts with a common cause, the label of their majority, 8 noisy features, 400 responses to train on and \
              1000 to test; all energies weigh 1 in inference, by enumeration",
    seeds: 5,
    claims: &[
        Claim { says: "correcting a concept corrects labels", more: "label, corrected", less: "label" },
        Claim {
            says: "correcting a concept corrects the others",
            more: "other concepts, corrected",
            less: "other concepts",
        },
    ],
    tried: "",
    run,
};

/// A response with its concepts and its label.
struct Response {
    features: Vec<f64>,
    concepts: Vec<bool>,
    /// The concepts that the label's second energy is shown.
    shown: Vec<bool>,
    good: bool,
}

/// The two heads.
#[derive(Module, Debug)]
struct Energies {
    text: Head,
    joint: Head,
}

fn number(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

fn response(stream: &mut Stream) -> Result<Response> {
    let cause = normal(stream);
    let concepts: Vec<bool> = (0..CONCEPTS).map(|_| 1.2 * cause + normal(stream) > 0.0).collect();
    let good = concepts.iter().filter(|concept| **concept).count() * 2 > CONCEPTS;
    let shows = |at: usize, stream: &mut Stream| {
        let signal = concepts.get(at).map_or(0.0, |concept| 2.0 * number(*concept) - 1.0);
        let deviation = if at < CONCEPTS { NOISE } else { 1.0 };
        signal + deviation * normal(stream)
    };
    let features = (0..FEATURES).map(|at| shows(at, stream)).collect();
    let shown = perturbed(&concepts, 0.2, stream)?;
    Ok(Response { features, concepts, shown, good })
}

struct Taught {
    loss: ConceptEnergy,
}

impl Taught {
    fn loss(&self, model: &Energies, rows: &[&Response]) -> Result<Loss, RewardError> {
        let device = Device::flex().autodiff();
        let texts: Vec<&[f64]> = rows.iter().map(|row| row.features.as_slice()).collect();
        let shown: Vec<Vec<f64>> = rows.iter().map(|row| row.shown.iter().map(|c| number(*c)).collect()).collect();
        let shown: Vec<&[f64]> = shown.iter().map(Vec::as_slice).collect();
        let of_text = model.text.forward(features(&texts, &device)); // [rows, 2 + 2 concepts]
        let of_concepts = model.joint.forward(features(&shown, &device)); // [rows, 2]
        let labels = |row: &&Response| {
            std::iter::once(row.good).chain(row.concepts.iter().copied()).map(number).collect::<Vec<f64>>()
        };
        let batch = ScoreBatch::new(1, Tensor::cat(vec![of_text, of_concepts], 1))?;
        self.loss.loss(&batch.with_labels(rows.iter().flat_map(labels).collect())?)
    }
}

impl Learner for Taught {
    type Model = Energies;
    type Row = Response;

    fn learn(&self, model: &Energies, rows: &[&Response]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Energies, rows: &[&Response]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let mut stream = seed.stream("responses", 0);
    let mut rows = Vec::with_capacity(RESPONSES * COPIES);
    for _ in 0..RESPONSES {
        let first = response(&mut stream)?;
        for _ in 1..COPIES {
            let shown = perturbed(&first.concepts, 0.2, &mut stream)?;
            let (features, concepts) = (first.features.clone(), first.concepts.clone());
            rows.push(Response { features, concepts, shown, good: first.good });
        }
        rows.push(first);
    }
    let learner = Taught { loss: ConceptEnergyConfig { concepts: CONCEPTS, ..ConceptEnergyConfig::default() }.init()? };
    let text = Widths { inputs: FEATURES, hidden: 16, outputs: 2 + 2 * CONCEPTS };
    let joint = Widths { inputs: CONCEPTS, hidden: 16, outputs: 2 };
    let start =
        Energies { text: Head::fresh(text, seed.child("text", 0)), joint: Head::fresh(joint, seed.child("joint", 0)) };
    let model = fit(&learner, start, &rows, Training { steps: 300, rate: 1e-2, seed })?;

    // The energy of each label beside each set of concepts, whose bits are its number.
    let sets: Vec<Vec<f64>> =
        (0..1usize << CONCEPTS).map(|bits| (0..CONCEPTS).map(|k| number((bits >> k) & 1 == 1)).collect()).collect();
    let joint = model.joint.outputs(&sets);
    let together = |concepts: &[bool], good: bool| {
        let bits = concepts.iter().enumerate().fold(0, |bits, (k, concept)| bits | (usize::from(*concept) << k));
        joint[bits][usize::from(good)]
    };
    let tests = (0..TESTS).map(|_| response(&mut stream)).collect::<Result<Vec<_>>>()?;
    let texts: Vec<Vec<f64>> = tests.iter().map(|test| test.features.clone()).collect();
    let right = |probability: f64, truth: bool| number((probability > 0.5) == truth);
    let others = |inferred: &Inferred, test: &Response| {
        mean(&(1..CONCEPTS).map(|k| right(inferred.concepts[k], test.concepts[k])).collect::<Vec<_>>())
    };
    let mut figures: [Vec<f64>; 4] = Default::default();
    for (test, output) in tests.iter().zip(model.text.outputs(&texts)) {
        let pairs: Vec<[f64; 2]> = output.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
        let energies = ConceptEnergies::new(pairs[0], &pairs[1..], &together, [1.0; 3])?;
        let before = energies.infer(&[])?;
        if right(before.concepts[0], test.concepts[0]) == 1.0 {
            continue;
        }
        let after = energies.infer(&[(0, test.concepts[0])])?;
        figures[0].push(right(before.good, test.good));
        figures[1].push(right(after.good, test.good));
        figures[2].push(others(&before, test));
        figures[3].push(others(&after, test));
    }
    let names = ["label", "label, corrected", "other concepts", "other concepts, corrected"];
    Ok(names.iter().zip(&figures).map(|(name, values)| ((*name).to_owned(), mean(values))).collect())
}
