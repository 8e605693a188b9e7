//! MM-DPO: a beta for each pair, by the margin that a reward model sees in it, against DPO, with 30 % of the labels turned.
//!
//! The reward model scores a text by its gold reward and noise of its own. A pair that it tells apart well, and the way the
//! label has it, pulls harder; one that it orders the other way has the base beta, or is left out.

use anyhow::Result;
use ascribe::core::{Objective, Seed, Stream};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::{Disagreement, DpoConfig, MmDpoConfig};
use rand::RngExt;

use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, PROMPTS, World, normal};

const LENGTH: usize = 5;
const BETA: f64 = 0.1;
/// The most that a beta grows by, as a share, and how fast.
const GROWTH: f64 = 1.0;
const SPEED: f64 = 0.5;
const PAIRS: usize = 1024;
const TURNED: f64 = 0.3;
/// The deviation of the reward model's noise; gold rewards have 1.
const NOISE: f64 = 0.5;

/// The claims of MM-DPO.
pub const ROW: Row = Row {
    name: "dynamic-beta",
    paper: "MM-RLHF: The Next Step Forward in Multimodal LLM Alignment, arXiv:2502.10391",
    setting: "texts alone; 4 prompts with 1024 texts each, 1024 pairs of which 30 % are turned, beta 0.1, which grows to at most \
              0.2; the reward model is the gold reward with noise of half its deviation; rows of the policy are shared by \
              histories of one length and last token",
    seeds: 10,
    claims: &[
        Claim { says: "a beta by the margin earns more gold than DPO", more: "gold of MM-DPO", less: "gold of DPO" },
        Claim {
            says: "it earns more gold than DPO with the largest beta for every pair",
            more: "gold of MM-DPO",
            less: "gold of DPO at the largest beta",
        },
        Claim {
            says: "it earns more gold than with the margins of other pairs",
            more: "gold of MM-DPO",
            less: "gold of MM-DPO with shuffled margins",
        },
        Claim {
            says: "and more where pairs that the reward model orders the other way are left out",
            more: "gold of MM-DPO that drops",
            less: "gold of DPO",
        },
    ],
    tried: "",
    run,
};

/// The score that a noisy reward model gives each response.
fn scored(world: &World, mut rows: Vec<TrainRow>, seed: Seed) -> Result<Vec<TrainRow>> {
    let mut stream = seed.stream("reward model", 0);
    for row in &mut rows {
        let prompt = row.prompt[0];
        for response in &mut row.responses {
            response.score = Some((world.reward(prompt, &response.tokens)? + NOISE * normal(&mut stream)) as f32);
        }
    }
    Ok(rows)
}

/// The same pairs with the scores of the pair that lies half of them away: the same margins, which say nothing of their pair.
fn shuffled(rows: &[TrainRow]) -> Vec<TrainRow> {
    let mut moved = rows.to_vec();
    for (at, row) in moved.iter_mut().enumerate() {
        let other = &rows[(at + rows.len() / 2) % rows.len()];
        for (response, of_other) in row.responses.iter_mut().zip(&other.responses) {
            response.score = of_other.score;
        }
    }
    moved
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let turned = world.pairs(&PROMPTS, PAIRS, seed, |difference, stream: &mut Stream| {
        (difference > 0.0) != (stream.random::<f64>() < TURNED)
    })?;
    let rows = scored(&world, turned, seed)?;
    let dpo = |beta| DpoConfig { beta, ..DpoConfig::default() }.init();
    let mm_dpo = |disagreement| {
        let config = MmDpoConfig { beta: BETA, margin_weight: GROWTH, margin_rate: SPEED, ..MmDpoConfig::default() };
        MmDpoConfig { disagreement, ..config }.init()
    };
    let table = Table { world: &world, reference: &world.reference, state: place_and_last };
    let training = Training { steps: 300, rate: 0.05, seed };
    let gold_on = |objective: &dyn Objective, rows: &[TrainRow]| world.gold(&table.trained(objective, rows, training)?);
    let gold = |objective: &dyn Objective| gold_on(objective, &rows);
    Ok(vec![
        ("gold of the start".into(), world.gold(&world.reference)?),
        ("gold of DPO".into(), gold(&dpo(BETA)?)?),
        ("gold of DPO at the largest beta".into(), gold(&dpo(BETA * (1.0 + GROWTH))?)?),
        ("gold of MM-DPO".into(), gold(&mm_dpo(Disagreement::Clamp)?)?),
        ("gold of MM-DPO with shuffled margins".into(), gold_on(&mm_dpo(Disagreement::Clamp)?, &shuffled(&rows))?),
        ("gold of MM-DPO that drops".into(), gold(&mm_dpo(Disagreement::Drop)?)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::better;

    #[test]
    fn shuffled_margins_are_those_of_other_pairs() {
        let row = |at: u32| {
            let mut row = TrainRow::pair(vec![at], vec![0], vec![1]);
            row.responses[0].score = Some(at as f32);
            row
        };
        let rows: Vec<TrainRow> = (0..4).map(row).collect();
        let scores: Vec<Option<f32>> = shuffled(&rows).iter().map(|row| row.responses[0].score).collect();
        assert_eq!(scores, [Some(2.0), Some(3.0), Some(0.0), Some(1.0)]);
        let prompts = |rows: &[TrainRow]| rows.iter().map(|row| row.prompt.clone()).collect::<Vec<_>>();
        assert_eq!(prompts(&shuffled(&rows)), prompts(&rows));
    }

    #[test]
    fn scores_are_gold_and_noise_of_half_its_deviation() {
        let gold = Gold::drawn(2, Seed(0)).unwrap();
        let world = World::new(2, Seed(0), |path| gold.of(path)).unwrap();
        let pairs = world.pairs(&PROMPTS, 500, Seed(1), better).unwrap();
        let rows = scored(&world, pairs, Seed(2)).unwrap();
        let mut squares = 0.0;
        for (row, response) in rows.iter().flat_map(|row| row.responses.iter().map(move |response| (row, response))) {
            let due = world.reward(row.prompt[0], &response.tokens).unwrap();
            squares += (f64::from(response.score.unwrap()) - due).powi(2);
        }
        // 1000 draws: the deviation is known to sqrt(1 / 2000) of itself; four times that.
        assert!(((squares / 1000.0).sqrt() - NOISE).abs() < 0.09 * NOISE, "{squares}");
    }
}
