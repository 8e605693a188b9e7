//! GPM: preferences that go in a circle have no reward, and a preference vector holds them.
//!
//! Three kinds of responses beat each other like rock, paper and scissors. Both models are two-layer heads on the same noisy
//! features, trained on the same pairs; accuracy is on pairs of other responses.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::reward::RewardLoss;
use ascribe::reward::losses::{BradleyTerryConfig, GeneralPreferenceConfig};
use ascribe::worlds::Cycle;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use crate::heads::{Head, Pair, Sample, Training, Widths, train};
use crate::row::{Claim, Figures, Row};

const PAIRS: usize = 600;
const NOISE: f64 = 0.15;
const DIM: usize = 4;

/// GPM's claims.
pub const ROW: Row = Row {
    name: "gpm-cycles",
    paper: "General Preference Modeling with Preference Representations, arXiv:2410.02197",
    setting: "a cycle of three kinds, one-hot features under noise 0.15, 600 pairs to train on and 600 held out, two-layer \
              heads of 32 units; the vector has 4 numbers and tau 0.1",
    seeds: 5,
    claims: &[
        Claim {
            says: "general preferences are right where Bradley-Terry is not",
            more: "accuracy of general preferences",
            less: "accuracy of Bradley-Terry",
        },
        Claim {
            says: "general preferences order a cycle nearly always",
            more: "accuracy of general preferences",
            less: "95 %",
        },
        Claim {
            says: "no reward orders more than two of three pairs of a cycle",
            more: "70 %",
            less: "accuracy of Bradley-Terry",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let cycle = Cycle::new(3)?;
    let pairs = |name: &str| -> Vec<Pair> {
        let mut stream = seed.stream(name, 0);
        let one = |_| {
            let loser = stream.random_range(0..cycle.kinds());
            let winner = (loser + cycle.kinds() - 1) % cycle.kinds();
            [winner, loser].map(|kind| cycle.response(kind, NOISE, &mut stream))
        };
        (0..PAIRS).map(one).collect()
    };
    let (training, held_out) = (pairs("training"), pairs("held out"));
    let rows: Vec<Sample> = training.iter().map(|[winner, loser]| Sample::pair(winner, loser)).collect();
    let learn = |loss: &dyn RewardLoss, outputs: usize, steps: usize| {
        let widths = Widths { inputs: cycle.kinds(), hidden: 32, outputs };
        let training = Training { steps, rate: 1e-2, seed };
        train(Head::fresh(widths, seed.child("head", 0)), loss, &rows, training)
    };
    let plain = learn(&BradleyTerryConfig::default().init()?, 1, 400)?;
    let preference = GeneralPreferenceConfig { dim: DIM, ..GeneralPreferenceConfig::default() }.init()?;
    let general = learn(&preference, DIM, 400)?;
    // The preference of the winner over the loser, from the table of the two.
    let mut right = 0;
    for pair in &held_out {
        let vectors: Vec<f64> = general.outputs(pair).concat();
        let vectors = Tensor::<2>::from_data(TensorData::new(vectors, [2, DIM]), &Device::flex());
        let table: Vec<f64> = preference.table(vectors)?.into_data().iter::<f64>().collect();
        right += usize::from(table[1] > 0.0);
    }
    Ok(vec![
        ("accuracy of general preferences".into(), right as f64 / PAIRS as f64),
        ("accuracy of Bradley-Terry".into(), plain.accuracy(&held_out)),
        ("95 %".into(), 0.95),
        ("70 %".into(), 0.7),
    ])
}
