//! GPO: a policy that is trained by preferences that go in a circle, with a preference model and with a reward.
//!
//! A text is a kind and a style. Kinds 0, 1 and 2 beat each other like rock, paper and scissors and all beat kind 3; among equals
//! the higher style is liked better. Both arms have the same loss, pairs and rounds, and differ in what scores the texts of a
//! round against each other.

use anyhow::Result;
use ascribe::core::{Seed, Tokens};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::{GpoConfig, mean_scores};
use ascribe::reward::losses::{BradleyTerryConfig, GeneralPreferenceConfig};
use ascribe::worlds::{Cycle, TreePolicy};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use crate::heads::{Head, Sample, Training as HeadTraining, Widths, best, train};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own};
use crate::world::{PROMPTS, VOCABULARY, World, sigmoid};

const LENGTH: usize = 2;
const KINDS: usize = 3;
const PAIRS: u64 = 1000;
const DIM: usize = 4;
const TAU: f64 = 0.1;
const BETA: f64 = 1.0;
const ROUNDS: u64 = 3;
const GROUPS: usize = 64;
const SAMPLES: usize = 5;

/// GPO's claims.
pub const ROW: Row = Row {
    name: "gpo-on-cycles",
    paper: "General Preference Modeling with Preference Representations, arXiv:2410.02197, its policy optimisation",
    setting: "4 prompts with 16 texts each, three kinds in a circle, four styles; two-layer heads on 1000 drawn pairs, 4 numbers a \
              text or a reward; 3 rounds of 64 groups of 5 own texts, the best and the worst of each, beta 1, against the \
              policy before; win rates are exact, under the preference that drew the pairs",
    seeds: 12,
    claims: &[
        Claim {
            says: "by rewards the policy wins more often against the start than half",
            more: "win rate by rewards",
            less: "half",
        },
        Claim {
            says: "by preferences it wins more often against the start than by rewards",
            more: "win rate by preferences",
            less: "win rate by rewards",
        },
        Claim {
            says: "it wins against the policy by rewards",
            more: "win rate by preferences against rewards",
            less: "half",
        },
    ],
    tried: "",
    run,
};

/// The logit of the preference for one text over another.
fn lead(cycle: Cycle, one: &[u32], other: &[u32]) -> f64 {
    let (kind, against) = (one[0] as usize, other[0] as usize);
    let over = |kind: usize, against: usize| kind < KINDS && (against >= KINDS || cycle.beats(kind, against));
    let by_kind = 2.0 * (f64::from(u8::from(over(kind, against))) - f64::from(u8::from(over(against, kind))));
    by_kind + 0.5 * (f64::from(one[1]) - f64::from(other[1]))
}

/// Kind and style, as a one each.
fn features(text: &[u32]) -> Vec<f64> {
    let hot = |token: u32| (0..VOCABULARY as u32).map(move |at| f64::from(u8::from(at == token)));
    hot(text[0]).chain(hot(text[1])).collect()
}

/// How often a text of one policy is preferred to one of another, exactly.
fn wins(world: &World, cycle: Cycle, policy: &TreePolicy, other: &TreePolicy) -> f64 {
    let texts: Vec<Vec<u32>> = world.tree.leaves().map(|(path, _)| path).collect();
    let (ours, theirs) = (policy.leaf_probabilities(), other.leaf_probabilities());
    let mut sum = 0.0;
    for (one, odds) in texts.iter().zip(&ours) {
        for (other, against) in texts.iter().zip(&theirs).filter(|(other, _)| other[0] == one[0]) {
            sum += odds * against * PROMPTS.len() as f64 * sigmoid(lead(cycle, &one[1..], &other[1..]));
        }
    }
    sum
}

fn run(seed: Seed) -> Result<Figures> {
    let (world, cycle) = (World::new(LENGTH, seed, |_| 0.0)?, Cycle::new(KINDS)?);
    let mut rows = Vec::new();
    for number in 0..PAIRS {
        let prompt = PROMPTS[number as usize % PROMPTS.len()];
        let two = world.samples(&world.reference, prompt, 2, seed.child("pair", number))?;
        let mut stream = seed.stream("rater", number);
        let first = stream.random::<f64>() < sigmoid(lead(cycle, &two[0], &two[1]));
        let (chosen, rejected) = if first { (&two[0], &two[1]) } else { (&two[1], &two[0]) };
        rows.push(Sample::pair(&features(chosen), &features(rejected)));
    }
    let head =
        |outputs: usize| Head::fresh(Widths { inputs: 2 * VOCABULARY, hidden: 32, outputs }, seed.child("head", 0));
    let training = HeadTraining { steps: 400, rate: 1e-2, seed };
    let reward = train(head(1), &BradleyTerryConfig::default().init()?, &rows, training)?;
    let preference = GeneralPreferenceConfig { dim: DIM, tau: TAU, ..GeneralPreferenceConfig::default() }.init()?;
    let vectors = train(head(DIM), &preference, &rows, training)?;
    let by_rewards = learned(&world, seed, &|texts| {
        let rewards = reward.rewards(texts);
        Ok(rewards.iter().map(|one| rewards.iter().map(|other| one - other).collect()).collect())
    })?;
    let by_preferences = learned(&world, seed, &|texts| {
        let flat = TensorData::new(vectors.outputs(texts).concat(), [texts.len(), DIM]);
        let scores = preference.table(Tensor::<2>::from_data(flat, &Device::flex()))?; // [texts, texts]
        let flat: Vec<f64> = scores.div_scalar(TAU).into_data().iter::<f64>().collect();
        Ok(flat.chunks(texts.len()).map(<[f64]>::to_vec).collect())
    })?;
    Ok(vec![
        ("half".into(), 0.5),
        ("win rate by rewards".into(), wins(&world, cycle, &by_rewards, &world.reference)),
        ("win rate by preferences".into(), wins(&world, cycle, &by_preferences, &world.reference)),
        ("win rate by preferences against rewards".into(), wins(&world, cycle, &by_preferences, &by_rewards)),
    ])
}

/// The policy after all rounds, by the scores of texts, given by their features, against each other.
fn learned(world: &World, seed: Seed, table: &dyn Fn(&[Vec<f64>]) -> Result<Vec<Vec<f64>>>) -> Result<TreePolicy> {
    let objective = GpoConfig { beta: BETA, ..GpoConfig::default() }.init()?;
    let mut current = world.reference.clone();
    for round in 0..ROUNDS {
        let seed = seed.child("round", round);
        let mut rows = Vec::new();
        for group in 0..GROUPS {
            let prompt = PROMPTS[group % PROMPTS.len()];
            let texts = world.samples(&current, prompt, SAMPLES, seed.child("group", group as u64))?;
            let seen: Vec<Vec<f64>> = texts.iter().map(|text| features(text)).collect();
            let scores = mean_scores(&table(&seen)?)?;
            let worst = best(&scores.iter().map(|score| -score).collect::<Vec<f64>>());
            rows.extend(pair(prompt, &texts, &scores, [best(&scores), worst]));
        }
        let tables = Table { world, reference: &current, state: own };
        current = tables.trained(&objective, &rows, Training { steps: 60, rate: 0.05, seed })?;
    }
    Ok(current)
}

/// The two texts with their scores; none where they are the same.
fn pair(prompt: u32, texts: &[Tokens], scores: &[f64], [one, other]: [usize; 2]) -> Option<TrainRow> {
    let mut row = TrainRow::pair(vec![prompt], texts[one].clone(), texts[other].clone());
    for (response, at) in row.responses.iter_mut().zip([one, other]) {
        response.score = Some(scores[at] as f32);
    }
    (texts[one] != texts[other]).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_go_in_a_circle_and_are_skew() {
        let cycle = Cycle::new(KINDS).unwrap();
        let of = |one: [u32; 2], other: [u32; 2]| lead(cycle, &one, &other);
        assert_eq!([of([0, 1], [1, 1]), of([1, 1], [2, 1]), of([2, 1], [0, 1])], [2.0; 3]);
        assert_eq!([of([2, 0], [3, 3]), of([3, 3], [2, 0]), of([3, 3], [3, 1])], [0.5, -0.5, 1.0]);
        let world = World::new(LENGTH, Seed(0), |_| 0.0).unwrap();
        assert!((wins(&world, cycle, &world.reference, &world.reference) - 0.5).abs() < 1e-12);
    }
}
