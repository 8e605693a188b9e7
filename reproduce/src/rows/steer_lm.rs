//! HelpSteer2: a head that foretells five attributes from ratings, and SteerLM 2.0, a policy of texts with wanted attributes.
//!
//! ```text
//! P(y | a, x) = P(a | x, y) P(y | x) / Z       the target; P(a | x, y) is normal around what the head foretells
//! ```
//! All texts can be counted, so the target is exact. The head is linear in which token stands where and behind which, and so are
//! the true attributes. The usual SteerLM imitates texts that the head finds to have the wanted attributes.

use anyhow::{Context, Result};
use ascribe::core::{CoreError, Loss, Seed, Tokens};
use ascribe::eval::curve::kl_exact;
use ascribe::preference::objectives::Sft;
use ascribe::preference::{LogpCache, Response, TrainRow, reference_logps};
use ascribe::reward::Merge;
use ascribe::reward::losses::{RegressionConfig, SteerBatch, attribute_logp, steer};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::TreePolicy;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;

use crate::heads::{self, Head, Sample, Widths, mean};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, fitted, known, own, responses, states, tally};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, normal};

const LENGTH: usize = 4;
/// Helpfulness, correctness, coherence, complexity and verbosity.
const ATTRIBUTES: usize = 5;
/// What is asked of a text, on the scale from 0 to 4.
const WANTED: [f64; ATTRIBUTES] = [3.0, 3.0, 3.0, 2.0, 2.0];
/// The deviation of a rater's noise.
const NOISE: f64 = 0.6;
/// Rated texts that a head learns from, and others that its errors are measured on.
const FEW: usize = 128;
const MANY: usize = 2048;
const HELD_OUT: usize = 512;
/// Pairs of texts of which the better one is foretold.
const TESTS: usize = 2000;
/// Groups of each prompt, and texts of a group.
const GROUPS: usize = 16;
const SAMPLES: usize = 64;

/// The claims of HelpSteer2.
pub const ROW: Row = Row {
    name: "steer-lm",
    paper: "HelpSteer2: Open-source dataset for training top-performing reward models, arXiv:2406.08673",
    setting: "4 prompts with 256 texts each, five attributes rated from 0 to 4 with noise; a linear regression head of 128 or 2048 \
              rated texts, merged by the weights of Llama3-70B-SteerLM-RM; wanted 3, 3, 3, 2, 2; 16 groups of 64 texts of the start \
              a prompt; the usual SteerLM imitates those of them that are foretold within 1 of all that is wanted; 200 steps each, \
              a row of the policy for each history",
    seeds: 30,
    claims: &[
        Claim {
            says: "more ratings foretell better which of two texts is worth more",
            more: "accuracy of many ratings",
            less: "accuracy of few ratings",
        },
        Claim {
            says: "SteerLM 2.0 comes nearer to the target than it began",
            more: "divergence of the start",
            less: "divergence of SteerLM 2.0",
        },
        Claim {
            says: "nearer than imitation of texts that are as wanted",
            more: "divergence of imitation",
            less: "divergence of SteerLM 2.0",
        },
        Claim {
            says: "the true attributes of its texts are nearer to the wanted ones than at the start",
            more: "attributes off, start",
            less: "attributes off, SteerLM 2.0",
        },
        Claim {
            says: "and nearer than those of imitation",
            more: "attributes off, imitation",
            less: "attributes off, SteerLM 2.0",
        },
    ],
    tried: "Ten seeds left one claim open, so there are 30; no other setting was tried.",
    run,
};

/// Which token stands at each place, and behind which.
fn features(path: &[u32]) -> Vec<f64> {
    let mut features = vec![0.0; LENGTH * VOCABULARY * (1 + VOCABULARY)];
    for (at, two) in path.windows(2).enumerate() {
        let (before, token) = (two[0] as usize, two[1] as usize);
        features[at * VOCABULARY + token] = 1.0;
        features[LENGTH * VOCABULARY + (at * VOCABULARY + before) * VOCABULARY + token] = 1.0;
    }
    features
}

/// The place of a text among all, in the order of the leaves.
fn place(path: &[u32]) -> usize {
    path.iter().fold(0, |place, token| place * VOCABULARY + *token as usize)
}

/// All texts of a world: their features, and their true attributes on the scale of ratings.
struct Texts {
    features: Vec<Vec<f64>>,
    attributes: Vec<Vec<f64>>,
}

impl Texts {
    fn of(world: &World, seed: Seed) -> Result<Self> {
        let golds = (0..ATTRIBUTES as u64)
            .map(|at| Gold::drawn(LENGTH, seed.child("attribute", at)))
            .collect::<Result<Vec<_>>>()?;
        let paths: Vec<Vec<u32>> = world.tree.leaves().map(|(path, _)| path).collect();
        let attributes = |path: &Vec<u32>| -> Vec<f64> { golds.iter().map(|gold| 2.0 + gold.of(path)).collect() };
        Ok(Self {
            features: paths.iter().map(|path| features(path)).collect(),
            attributes: paths.iter().map(attributes).collect(),
        })
    }

    /// Texts of the reference, the prompts in turn, with noisy ratings.
    fn rated(&self, world: &World, n: usize, seed: Seed) -> Result<Vec<Sample>> {
        let (each, mut stream) = (n / PROMPTS.len(), seed.stream("ratings", 0));
        let mut rows = Vec::with_capacity(n);
        for prompt in PROMPTS {
            for response in world.samples(&world.reference, prompt, each, seed.child("rated", u64::from(prompt)))? {
                let text = place(&[&[prompt][..], &response[..]].concat());
                let rating = |attribute: &f64| (attribute + NOISE * normal(&mut stream)).round().clamp(0.0, 4.0);
                let labels = self.attributes[text].iter().map(rating).collect();
                rows.push(Sample { responses: vec![self.features[text].clone()], labels });
            }
        }
        Ok(rows)
    }

    /// Share of pairs of texts of which the merged attributes find the one that is worth more.
    fn accuracy(&self, foretold: &[Vec<f64>], seed: Seed) -> Result<f64> {
        let merge = Merge::new(&Merge::LLAMA3_70B_STEERLM)?;
        let (mut stream, mut right) = (seed.stream("tests", 0), 0);
        for _ in 0..TESTS {
            let [one, other] = [0, 1].map(|_| stream.random_range(0..self.features.len()));
            let truly = merge.apply(&self.attributes[one])? > merge.apply(&self.attributes[other])?;
            right += usize::from(truly == (merge.apply(&foretold[one])? > merge.apply(&foretold[other])?));
        }
        Ok(right as f64 / TESTS as f64)
    }

    /// The mean square distance of true attributes from the wanted ones under a policy.
    fn off(&self, policy: &TreePolicy) -> f64 {
        let squares = |attributes: &Vec<f64>| {
            mean(&attributes.iter().zip(WANTED).map(|(is, due)| (is - due).powi(2)).collect::<Vec<_>>())
        };
        policy.leaf_probabilities().iter().zip(&self.attributes).map(|(odds, of)| odds * squares(of)).sum()
    }
}

/// A head that learns five attributes from ratings.
fn taught(rows: &[Sample], seed: Seed) -> Result<Head> {
    let loss = RegressionConfig { attributes: ATTRIBUTES, ..RegressionConfig::default() }.init()?;
    let widths = Widths { inputs: features(&[]).len(), hidden: 0, outputs: ATTRIBUTES };
    heads::train(Head::fresh(widths, seed), &loss, rows, heads::Training { steps: 600, rate: 2e-2, seed })
}

/// The variance of ratings around what a head foretells, an attribute each.
fn variances(head: &Head, rows: &[Sample]) -> Vec<f64> {
    let responses: Vec<Vec<f64>> = rows.iter().map(|row| row.responses[0].clone()).collect();
    let foretold = head.outputs(&responses);
    let square = |at: usize| -> Vec<f64> {
        rows.iter().zip(&foretold).map(|(row, foretold)| (row.labels[at] - foretold[at]).powi(2)).collect()
    };
    (0..ATTRIBUTES).map(|at| mean(&square(at))).collect()
}

/// Trains a table by SteerLM 2.0 on groups of texts of the reference, each with the log-probability of the wanted attributes as
/// its score.
struct SteerLearner<'a> {
    table: &'a Table<'a>,
}

impl SteerLearner<'_> {
    fn loss(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Loss, CoreError> {
        let given = responses(rows, SAMPLES)?;
        let policy = self.table.logps(&model.weight.val(), &given)?; // [samples * groups, seq]
        let ([_, seq], device) = (policy.dims(), policy.device());
        let prior = known(&given, seq, &device)?; // [samples * groups, seq]
        let attributes: Option<Vec<f32>> = given.iter().map(|(_, response)| response.score).collect();
        let attributes = TensorData::new(attributes.ok_or(CoreError::MissingInput("scores"))?, [given.len(), 1]);
        let attributes = Tensor::<2>::from_data(attributes, &device); // [samples * groups, 1]
        // To [groups, samples]: the first text of all groups stands before the second of all.
        let grouped = |logps: Tensor<2>| -> Tensor<2> { logps.sum_dim(1).reshape([SAMPLES, rows.len()]).transpose() };
        let prior = grouped(prior);
        let batch = SteerBatch {
            attributes: grouped(attributes),
            prior: prior.clone(),
            sampler: prior,
            policy: grouped(policy),
        };
        Ok(steer(batch, None)?)
    }
}

impl Learner for SteerLearner<'_> {
    type Model = Embedding;
    type Row = TrainRow;

    fn learn(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: tally(&loss) })
    }

    fn measure(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        Ok(tally(&self.loss(model, rows)?))
    }
}

/// Groups of texts of the reference, with the log-probability of the wanted attributes as their scores.
fn groups(world: &World, seed: Seed) -> Result<Vec<TrainRow>> {
    let mut rows = Vec::with_capacity(GROUPS * PROMPTS.len());
    for group in 0..GROUPS as u64 {
        for prompt in PROMPTS {
            let drawn = seed.child("group", group * PROMPTS.len() as u64 + u64::from(prompt));
            let texts = world.samples(&world.reference, prompt, SAMPLES, drawn)?;
            let mut row = TrainRow { prompt: vec![prompt].into(), ..TrainRow::default() };
            for tokens in texts {
                let score = Some(world.reward(prompt, &tokens)? as f32);
                row.responses.push(Response { tokens, score, ..Response::default() });
            }
            rows.push(row);
        }
    }
    reference_logps(&mut rows, &world.reference, "reference", &mut LogpCache::in_memory(), &mut |_, _| ())?;
    Ok(rows)
}

fn run(seed: Seed) -> Result<Figures> {
    let start = World::new(LENGTH, seed, |_| 0.0)?;
    let texts = Texts::of(&start, seed)?;
    let rated = texts.rated(&start, MANY, seed.child("ratings", 0))?;
    // The prompts stand one after the other: a part takes every so many.
    let few: Vec<Sample> = rated.iter().step_by(MANY / FEW).cloned().collect();
    let (head, small) = (taught(&rated, seed)?, taught(&few, seed)?);
    // What a head foretells of every text.
    let (foretold, by_few) = (head.outputs(&texts.features), small.outputs(&texts.features));
    let spread = variances(&head, &texts.rated(&start, HELD_OUT, seed.child("ratings", 1))?);

    // What a text is worth here is how likely its attributes are the wanted ones, so the soft optimum at 1 is the target.
    let likely = foretold.iter().map(|attributes| attribute_logp(&WANTED, attributes, &spread));
    let likely: Vec<f64> = likely.collect::<Result<_, _>>()?;
    let world = World::new(LENGTH, seed, |path| likely[place(path)])?;
    let target = world.optimum(1.0)?.leaf_probabilities();
    let divergence = |policy: &TreePolicy| kl_exact(&policy.leaf_probabilities(), &target);

    let table = Table { world: &world, reference: &world.reference, state: own };
    let training = Training { steps: 200, rate: 0.05, seed };
    let rows = groups(&world, seed)?;
    let changes =
        fitted(&SteerLearner { table: &table }, states(&world, own), &rows, training, &[training.steps])?.pop();
    let steered = table.policy(&changes.context("a training has a step at least")?)?;
    let as_wanted = |prompt: u32, tokens: &Tokens| {
        let attributes = &foretold[place(&[&[prompt][..], &tokens[..]].concat())];
        attributes.iter().zip(WANTED).all(|(is, due)| (is - due).abs() <= 1.0)
    };
    let texts_of_groups = rows.iter().flat_map(|row| row.responses.iter().map(move |one| (row.prompt[0], &one.tokens)));
    let imitated: Vec<TrainRow> = texts_of_groups
        .filter(|(prompt, tokens)| as_wanted(*prompt, tokens))
        .map(|(prompt, tokens)| TrainRow::single(vec![prompt], tokens.clone()))
        .collect();
    let imitation = table.trained(&Sft, &imitated, training)?;
    Ok(vec![
        ("accuracy of many ratings".into(), texts.accuracy(&foretold, seed)?),
        ("accuracy of few ratings".into(), texts.accuracy(&by_few, seed)?),
        ("divergence of the start".into(), divergence(&world.reference)?),
        ("divergence of imitation".into(), divergence(&imitation)?),
        ("divergence of SteerLM 2.0".into(), divergence(&steered)?),
        ("attributes off, start".into(), texts.off(&world.reference)),
        ("attributes off, imitation".into(), texts.off(&imitation)),
        ("attributes off, SteerLM 2.0".into(), texts.off(&steered)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_in_the_order_of_the_leaves_and_differ_in_their_features() {
        let world = World::new(LENGTH, Seed(0), |_| 0.0).unwrap();
        for (at, (path, _)) in world.tree.leaves().enumerate() {
            assert_eq!(place(&path), at);
            assert_eq!(features(&path).iter().sum::<f64>(), 2.0 * LENGTH as f64);
        }
        assert_eq!(features(&[0, 1, 2, 3, 0])[..8], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_policy_that_writes_one_text_is_as_far_off_as_that_text() {
        let world = World::new(LENGTH, Seed(1), |_| 0.0).unwrap();
        let texts = Texts::of(&world, Seed(1)).unwrap();
        let path = [2, 1, 0, 3, 1];
        let policy = TreePolicy::new(&world.tree, |before| {
            (0..VOCABULARY).map(|at| if at == path[before.len()] { 0.0 } else { f64::NEG_INFINITY }).collect()
        });
        let of_text = &texts.attributes[place(&path.map(|token| token as u32))];
        let due = of_text.iter().zip(WANTED).map(|(is, due)| (is - due) * (is - due)).sum::<f64>() / 5.0;
        assert!((texts.off(&policy.unwrap()) - due).abs() < 1e-9);
    }
}
