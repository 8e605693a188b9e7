//! Reward-robust reinforcement learning: uncertain heads, and a reward between the surest and the most cautious of them.
//!
//! A reward model learns from pairs of which a part is turned. Five heads, each on its own resample, learn what it scores the
//! training responses and how sure they are. The policy is best-of-1024, whose choices lie far from what was learned.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::reward::Heads;
use ascribe::reward::losses::{BradleyTerryConfig, GaussianHeadsConfig, bootstrap_weights};
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Sample, Training, Widths, best, mean, standardized, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 8;
const PAIRS: usize = 400;
const FLIPS: f64 = 0.25;
const HEADS: usize = 5;
const PROMPTS: usize = 100;
const N: usize = 1024;
/// What the surest head counts for, beside the most cautious one.
const LAMBDA: f64 = 0.5;

/// The claims of robust rewards.
pub const ROW: Row = Row {
    name: "robust-rewards",
    paper: "Reward-Robust RLHF in LLMs, arXiv:2409.15360",
    setting: "a gold reward of 16 features with 8 products, 400 pairs of which 25 % are turned; a two-layer reward model, and five \
              Gaussian heads on one hidden layer that learn its scores on resamples; best-of-1024 on 100 prompts, in place of \
              reinforcement learning; the mean gold reward of what is chosen",
    seeds: 40,
    claims: &[
        Claim {
            says: "half the surest and half the most cautious head choose better than the surest",
            more: "gold of the robust reward",
            less: "gold of the surest head",
        },
        Claim {
            says: "and better than the reward model",
            more: "gold of the robust reward",
            less: "gold of the reward model",
        },
        Claim {
            says: "heads agree less on what is chosen by the reward model than on what it was trained on",
            more: "spread on what is chosen",
            less: "spread in training",
        },
    ],
    tried: "Eight seeds left two claims open, so there are 40; no other setting was tried.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let annotator = Annotator { flips: FLIPS, ..Annotator::default() };
    let pairs = annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0));
    let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
    let mut stream = seed.stream("candidates", 0);
    let candidates: Vec<Vec<f64>> = (0..PROMPTS * N).map(|_| taste.response(&mut stream)).collect();
    let gold: Vec<f64> = candidates.iter().map(|response| taste.gold(response)).collect();

    let loss = BradleyTerryConfig { centre: 1e-3, ..BradleyTerryConfig::default() }.init()?;
    let fresh =
        |outputs: usize, name: &str| Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs }, seed.child(name, 0));
    let model = train(fresh(1, "reward model"), &loss, &rows, Training { steps: 300, rate: 1e-2, seed })?;
    let scored = model.rewards(&candidates);

    let responses: Vec<Vec<f64>> = pairs.into_iter().flat_map(|pair| [pair.chosen, pair.rejected]).collect();
    let targets = standardized(model.rewards(&responses))?;
    let mut stream = seed.stream("resamples", 0);
    let told = |(response, target): (&Vec<f64>, f64)| {
        let labels = [vec![target], bootstrap_weights(HEADS, &mut stream)].concat();
        Sample { responses: vec![response.clone()], labels }
    };
    let taught: Vec<Sample> = responses.iter().zip(targets).map(told).collect();
    let gaussian = GaussianHeadsConfig { heads: HEADS, ..GaussianHeadsConfig::default() }.init()?;
    let heads = train(fresh(2 * HEADS, "heads"), &gaussian, &taught, Training { steps: 600, rate: 5e-3, seed })?;
    let said = |responses: &[Vec<f64>]| -> Result<Vec<Heads>> {
        Ok(heads.outputs(responses).iter().map(|output| Heads::from_output(output)).collect::<Result<Vec<_>, _>>()?)
    };
    let of_candidates = said(&candidates)?;
    let rewards = |lambda: f64| -> Result<Vec<f64>> {
        let reward = |heads: &Heads| heads.reward(lambda).map(|robust| robust.reward);
        Ok(of_candidates.iter().map(reward).collect::<Result<Vec<_>, _>>()?)
    };
    let spread = |heads: &Heads| heads.reward(LAMBDA).map(|robust| robust.spread);

    let chosen = |rewards: &[f64]| -> Vec<usize> {
        (0..PROMPTS).map(|prompt| prompt * N + best(&rewards[prompt * N..(prompt + 1) * N])).collect()
    };
    let worth = |chosen: &[usize]| mean(&chosen.iter().map(|at| gold[*at]).collect::<Vec<_>>());
    let by_model = chosen(&scored);
    let on_chosen = by_model.iter().map(|at| spread(&of_candidates[*at])).collect::<Result<Vec<_>, _>>()?;
    let in_training = said(&responses)?.iter().map(spread).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![
        ("gold of the reward model".into(), worth(&by_model)),
        ("gold of the surest head".into(), worth(&chosen(&rewards(1.0)?))),
        ("gold of the robust reward".into(), worth(&chosen(&rewards(LAMBDA)?))),
        ("gold of the most cautious head".into(), worth(&chosen(&rewards(0.0)?))),
        ("spread on what is chosen".into(), mean(&on_chosen)),
        ("spread in training".into(), mean(&in_training)),
    ])
}
