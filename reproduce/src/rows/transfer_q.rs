//! Transfer Q*: decoding by what an aligned model makes of each next token, beside what the model before alignment makes of it.
//!
//! ```text
//! pi(z|s) ~ pi_sft(z|s) exp(Q(s, z) / alpha)
//! SFT         Q = E_sft[r | s, z]                                                   controlled decoding
//! direct      Q = E_rho[r | s, z]                  rho ~ pi_sft exp(r / beta)
//! indirect    Q = E_bl[w r | s, z] / E_bl[w | s, z]     bl ~ pi_sft exp(r_bl / beta),  w = exp((r - r_bl) / beta)
//! ```
//! The values are exact first, each with the alpha that leads to the same divergence, and then means over rollouts. There they
//! stand between what looks less far ahead and what looks further: one sample; ARGS, whose value is the reward of the text so
//! far; and the best of whole samples.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Reduce, Scorer, Seed, Tokens};
use ascribe::search::{BestOfN, Controlled, Search, SearchCtx, TransferOptions, TransferQ, tilted};
use ascribe::worlds::{ExactValue, TokenTree, TreePolicy};

use crate::row::{self, Claim, Figures, Row};
use crate::world::{Gold, PROMPTS, VOCABULARY, World};

const LENGTH: usize = 5;
const BETA: f64 = 1.0;
/// How much of the other model's reward is the target.
const SHARED: f64 = 0.6;
const ROLLOUTS: usize = 16;
const DRAWS: u64 = 4;
/// Of the decoders: the weight of the divergence.
const ALPHA: f64 = 0.25;

/// The claims of Transfer Q*.
pub const ROW: Row = Row {
    name: "transfer-q",
    paper: "Transfer Q Star: Principled Decoding for LLM Alignment, arXiv:2405.20495",
    setting: "4 prompts with 1024 texts each, a drawn policy, the model that is optimal for the reward at beta 1 and another for a \
              reward that correlates with it by 0.6; exact values with the divergence from the policy set to 1 and 2 nats, and \
              the decoders at alpha 0.25, with 16 rollouts of every next token or by the reward of the places that are written \
              (ARGS), beside the best of 10 samples and of as many tokens as direct transfer takes",
    seeds: 30,
    claims: &[
        Claim {
            says: "at 1 nat the value of the aligned model earns more than the value of the policy itself",
            more: "direct at 1 nat",
            less: "SFT at 1 nat",
        },
        Claim { says: "at 2 nats, too", more: "direct at 2 nats", less: "SFT at 2 nats" },
        Claim {
            says: "a model that is aligned to another reward serves as well, once its texts are weighted (at 2 nats)",
            more: "indirect at 2 nats",
            less: "unweighted at 2 nats",
        },
        Claim {
            says: "the decoder earns more with rollouts of the aligned model than with the policy's own",
            more: "direct transfer",
            less: "controlled decoding",
        },
        Claim {
            says: "so it does with weighted rollouts of the other model",
            more: "indirect transfer",
            less: "controlled decoding",
        },
        Claim { says: "and all earn more than the policy does", more: "controlled decoding", less: "the policy" },
        Claim {
            says: "the policy's own rollouts earn more than the reward of the text so far (ARGS)",
            more: "controlled decoding",
            less: "reward so far",
        },
        Claim {
            says: "rollouts of the aligned model earn more than it, too",
            more: "direct transfer",
            less: "reward so far",
        },
        Claim {
            says: "and the reward of the text so far earns more than a sample does",
            more: "reward so far",
            less: "one sample",
        },
    ],
    tried: "",
    run,
};

/// The value of each next token.
type Values<'a> = &'a dyn Fn(&[u32]) -> Vec<f64>;

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let other = Gold::drawn(LENGTH, seed.child("other gold", 0))?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let mixed = |path: &[u32]| SHARED * gold.of(path) + (1.0 - SHARED * SHARED).sqrt() * other.of(path);
    let baseline = TokenTree::new(VOCABULARY, LENGTH + 1, mixed)?;
    let aligned = world.tree.soft_optimum(&world.reference, BETA)?.policy;
    let aligned_to_other = baseline.soft_optimum(&world.reference, BETA)?.policy;

    let own = world.tree.exact_value(&world.reference)?;
    let direct = world.tree.exact_value(&aligned)?;
    let unweighted = world.tree.exact_value(&aligned_to_other)?;
    let indirect = Indirect::new(&world, &baseline, &aligned_to_other)?;
    let arms: [(&str, Values); 4] = [
        ("SFT", &|path| of(&own, path)),
        ("direct", &|path| of(&direct, path)),
        ("unweighted", &|path| of(&unweighted, path)),
        ("indirect", &|path| indirect.of(path)),
    ];
    let mut figures: Figures = vec![("the policy".into(), world.gold(&world.reference)?)];
    for (name, values) in arms {
        for (nats, unit) in [(1.0, "nat"), (2.0, "nats")] {
            figures.push((format!("{name} at {nats} {unit}"), gold_at(&world, values, nats)?));
        }
    }
    let options =
        TransferOptions { rollouts: ROLLOUTS, greedy: false, alpha: ALPHA, beta: BETA, ..TransferOptions::default() };
    let target: (&dyn Scorer, Reduce) = (&baseline, Reduce::Sum);
    let controlled = TransferQ { options, baseline: None, baseline_reward: None };
    let direct = TransferQ { options, baseline: Some(&aligned), baseline_reward: None };
    let indirect = TransferQ { options, baseline: Some(&aligned_to_other), baseline_reward: Some(target) };
    let (so_far, args) = (SoFar(&gold), Controlled { weight: 1.0 / ALPHA, ..Controlled::default() });
    let [one, ten] = [1, 10].map(|n| BestOfN { n });
    let most = decoded(&world, &direct, &world.tree, seed)?.sampled;
    let as_many = BestOfN { n: (most / LENGTH as f64).ceil() as usize };
    let decoders: [(&str, &dyn Search, &dyn Scorer); 7] = [
        ("one sample", &one, &world.tree),
        ("reward so far", &args, &so_far),
        ("controlled decoding", &controlled, &world.tree),
        ("direct transfer", &direct, &world.tree),
        ("indirect transfer", &indirect, &world.tree),
        ("best of 10", &ten, &world.tree),
        ("best of as many tokens", &as_many, &world.tree),
    ];
    for (name, search, scorer) in decoders {
        let Decoded { gold, sampled, scored } = decoded(&world, search, scorer, seed)?;
        figures.extend(row::arm(name, gold, sampled, scored));
    }
    Ok(figures)
}

/// The reward of what is written of a text.
struct SoFar<'a>(&'a Gold);

impl Scorer for SoFar<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|episode| Credit::sequence(self.0.of(&episode.tokens) as f32)).collect())
    }
}

fn of(value: &ExactValue, path: &[u32]) -> Vec<f64> {
    value.q(path).unwrap_or_default().to_vec()
}

/// The mean reward of texts of a model that is aligned to another reward, each with its weight.
struct Indirect {
    weighted: ExactValue,
    weights: ExactValue,
}

impl Indirect {
    fn new(world: &World, baseline: &TokenTree, aligned: &TreePolicy) -> Result<Self> {
        let weight =
            |path: &[u32]| -> Result<f64> { Ok(((world.tree.reward(path)? - baseline.reward(path)?) / BETA).exp()) };
        // What is outside the tree is never asked; a tree refuses NaN.
        let tree = |reward: &dyn Fn(&[u32]) -> Result<f64>| {
            TokenTree::new(VOCABULARY, LENGTH + 1, |path| reward(path).unwrap_or(f64::NAN))
        };
        let weighted = tree(&|path| Ok(weight(path)? * world.tree.reward(path)?))?;
        Ok(Self { weighted: weighted.exact_value(aligned)?, weights: tree(&weight)?.exact_value(aligned)? })
    }

    fn of(&self, path: &[u32]) -> Vec<f64> {
        of(&self.weighted, path).iter().zip(of(&self.weights, path)).map(|(sum, weight)| sum / weight).collect()
    }
}

/// The policy tilted by values; prompts keep their odds.
fn tilted_by(world: &World, values: Values, alpha: f64) -> Result<TreePolicy> {
    let policy = TreePolicy::new(&world.tree, |path| {
        let logps = world.reference.logps(path).unwrap_or_default();
        if path.is_empty() {
            return logps.to_vec();
        }
        let logps: Vec<f32> = logps.iter().map(|logp| *logp as f32).collect();
        // Without a distribution there are no logits, which a policy refuses.
        tilted(&logps, &values(path), alpha).unwrap_or_default()
    });
    Ok(policy?)
}

/// The expected gold reward of the tilted policy that diverges by so many nats.
fn gold_at(world: &World, values: Values, nats: f64) -> Result<f64> {
    // A larger alpha diverges less.
    let (mut low, mut high) = (-5.0f64, 5.0f64);
    for _ in 0..30 {
        let middle = 0.5 * (low + high);
        let diverges = world.divergence(&tilted_by(world, values, middle.exp())?)? > nats;
        if diverges { low = middle } else { high = middle }
    }
    world.gold(&tilted_by(world, values, high.exp())?)
}

/// What a decoder finds for a prompt, in the mean.
struct Decoded {
    /// Gold reward.
    gold: f64,
    /// Tokens sampled, and tokens that the scorer read.
    sampled: f64,
    scored: f64,
}

/// Several draws for each prompt.
fn decoded(world: &World, search: &dyn Search, scorer: &dyn Scorer, seed: Seed) -> Result<Decoded> {
    let mut sums = Decoded { gold: 0.0, sampled: 0.0, scored: 0.0 };
    for draw in 0..DRAWS {
        for prompt in PROMPTS {
            let own = seed.child("decoding", draw);
            let ctx = SearchCtx::new(&world.reference, LENGTH, own).with_scorer(scorer, Reduce::Sum);
            let mut ctx = ctx.with_first(prompt.into());
            for found in search.search(&[Tokens::from(vec![prompt])], &mut ctx)? {
                sums.gold += world.reward(prompt, &found.best().tokens)?;
            }
            sums.sampled += ctx.spent().generated as f64;
            sums.scored += ctx.calls().scorer_tokens as f64;
        }
    }
    let n = (DRAWS as usize * PROMPTS.len()) as f64;
    Ok(Decoded { gold: sums.gold / n, sampled: sums.sampled / n, scored: sums.scored / n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_make_up_for_the_other_reward_and_the_divergence_is_as_asked() {
        let gold = Gold::drawn(LENGTH, Seed(1)).unwrap();
        let other = Gold::drawn(LENGTH, Seed(2)).unwrap();
        let world = World::new(LENGTH, Seed(1), |path| gold.of(path)).unwrap();
        let baseline = TokenTree::new(VOCABULARY, LENGTH + 1, |path| other.of(path)).unwrap();
        let aligned_to_other = baseline.soft_optimum(&world.reference, BETA).unwrap().policy;
        let indirect = Indirect::new(&world, &baseline, &aligned_to_other).unwrap();
        let aligned = world.tree.soft_optimum(&world.reference, BETA).unwrap().policy;
        let direct = world.tree.exact_value(&aligned).unwrap();
        for path in [&[0][..], &[1, 3], &[2, 0, 1, 3], &[3, 3, 3, 3, 3]] {
            let (left, right) = (indirect.of(path), of(&direct, path));
            assert!(left.iter().zip(&right).all(|(left, right)| (left - right).abs() < 1e-9), "{left:?} {right:?}");
        }
        // What is written of a text is worth its own places and neighbours; a whole text is worth what it earns.
        let so_far = |path: &[u32]| SoFar(&gold).score(&[Episode::new(&path[..1], &path[1..])]).unwrap()[0].values()[0];
        assert!(
            (f64::from(so_far(&[1, 3, 0, 2, 2, 1])) - world.tree.reward(&[1, 3, 0, 2, 2, 1]).unwrap()).abs() < 1e-5
        );
        assert_ne!(so_far(&[1, 3]), so_far(&[1, 2]));
        // No value at all is no divergence; a step of one nat is in reach of these.
        let flat = tilted_by(&world, &|_| vec![0.5; VOCABULARY], 1.0).unwrap();
        assert!(world.divergence(&flat).unwrap().abs() < 1e-6);
        let exact = |path: &[u32]| of(&direct, path);
        assert!(gold_at(&world, &exact, 1.0).unwrap() > world.gold(&world.reference).unwrap());
    }
}
