//! KTO on labels without pairs, beside DPO on the pairs that they came from.
//!
//! Each pair becomes two rows, one wanted and one not; nothing says that they belonged together. Both losses go through their
//! data equally often.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::preference::objectives::{DpoConfig, KtoConfig};
use ascribe::preference::{TrainRow, mismatch};

use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own};
use crate::world::{Gold, PROMPTS, World, bradley_terry};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
const PAIRS: usize = 512;
const STEPS: usize = 200;

/// KTO's claims.
pub const ROW: Row = Row {
    name: "kto-unpaired",
    paper: "KTO: Model Alignment as Prospect Theoretic Optimization, arXiv:2402.01306",
    setting: "4 prompts with 1024 texts each, 512 pairs labelled by a Bradley-Terry rater and their 1024 sides, 25 epochs, \
              beta 0.3; a row of logits for each history",
    seeds: 10,
    claims: &[
        Claim { says: "labels without pairs raise gold", more: "gold of KTO", less: "gold of the start" },
        Claim { says: "KTO keeps half of DPO's gain at least", more: "gain of KTO", less: "half the gain of DPO" },
        Claim { says: "KTO earns more gold than DPO on the pairs", more: "gold of KTO", less: "gold of DPO" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let pairs = world.pairs(&PROMPTS, PAIRS, seed, bradley_terry)?;
    let side =
        |row: &TrainRow, at: usize| TrainRow::labelled(row.prompt.clone(), row.responses[at].tokens.clone(), at == 0);
    let mut sides: Vec<TrainRow> = pairs.iter().flat_map(|row| [side(row, 0), side(row, 1)]).collect();
    mismatch(&mut sides, LENGTH + 1)?;
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let kto = KtoConfig { beta: BETA, ..KtoConfig::default() }.init()?;
    let table = Table { world: &world, reference: &world.reference, state: own };
    let by_pairs = world.gold(&table.trained(&dpo, &pairs, Training { steps: STEPS, rate: 0.05, seed })?)?;
    let by_labels = world.gold(&table.trained(&kto, &sides, Training { steps: 2 * STEPS, rate: 0.05, seed })?)?;
    let start = world.gold(&world.reference)?;
    Ok(vec![
        ("gold of the start".into(), start),
        ("gold of DPO".into(), by_pairs),
        ("gold of KTO".into(), by_labels),
        ("gain of KTO".into(), by_labels - start),
        ("half the gain of DPO".into(), 0.5 * (by_pairs - start)),
    ])
}
