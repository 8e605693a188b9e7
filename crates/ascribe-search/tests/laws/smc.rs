//! Particles and their targets, enumerated.

use ascribe_core::{Candidate, Capabilities, CoreError, Finish, Policy, Reduce, Reply, Request, Seed, Usage, rule};
use ascribe_search::{
    Grain, NodeState, PickParticle, Resampler, Schedule, Search, SearchCtx, SearchError, Smc, SmcOptions, StepBeam,
    Steps, Target, effective_size,
};
use ascribe_worlds::{TokenTree, TreePolicy};

use crate::support::{Exact, Toy, drawn, leaf, logp, prompts, total_variation, tree};

const TOKENS: SmcOptions = SmcOptions {
    n: 8,
    kappa: 0.5,
    resampler: Resampler::Systematic,
    grain: Grain::Tokens(9),
    levels: 40,
    pick: PickParticle::Draw,
};

/// Two tokens: first (0.8, 0.2); then (0.6, 0.4) after 0, (0.1, 0.9) after 1.
fn model() -> (TokenTree, TreePolicy) {
    two_tokens([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
}

fn two_tokens(table: [[f64; 2]; 3]) -> (TokenTree, TreePolicy) {
    let tree = TokenTree::new(2, 2, |_| 0.0).expect("the tree is small");
    let row = |path: &[u32]| path.first().map_or(table[0], |first| table[1 + *first as usize]);
    let policy = TreePolicy::new(&tree, |path| row(path).map(f64::ln).to_vec()).expect("a distribution");
    (tree, policy)
}

fn product<'a>(own: f64, expert: &'a dyn Policy, power: f64) -> Target<'a> {
    Target::Product { own, experts: vec![(expert, power)] }
}

/// Mean of `exp(log_z)` over runs with four standard errors, the share of the first token 0 by weight, and all log-weights.
fn normalizer(smc: &Smc, policy: &TreePolicy, runs: usize) -> (f64, f64, f64) {
    let mut ctx = SearchCtx::new(policy, 9, Seed(11));
    let particles = smc.particles(&prompts(runs), &mut ctx).expect("the target is possible");
    let (mut sum, mut squares, mut first) = (0.0, 0.0, 0.0);
    for one in &particles {
        let z = one.log_z.exp();
        sum += z;
        squares += z * z;
        let shares = one.paths.iter().zip(&one.log_weights);
        first += z * shares.filter(|(path, _)| path.tokens()[0] == 0).map(|(_, weight)| weight.exp()).sum::<f64>();
        assert!((one.log_weights.iter().map(|weight| weight.exp()).sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let n = runs as f64;
    let mean = sum / n;
    (mean, 4.0 * ((squares / n - mean * mean).max(0.0) / n).sqrt() + 1e-6, first / sum)
}

#[test]
fn the_normalizer_is_unbiased_for_every_resampler() {
    let (_, policy) = model();
    for (power, z, share) in [(2.0, 0.3656, 0.910284), (0.5, 1.824191, 0.689898)] {
        for resampler in [Resampler::Multinomial, Resampler::Stratified, Resampler::Systematic, Resampler::Residual] {
            for kappa in [0.0, 0.5, 1.0] {
                let options = SmcOptions { kappa, resampler, ..TOKENS };
                let smc = Smc { options, target: Target::Power(Schedule::constant(power)) };
                let (mean, error, first) = normalizer(&smc, &policy, 1500);
                assert!((mean - z).abs() < error, "{resampler:?} {kappa}: {mean} beside {z} +- {error}");
                // E[Z-hat * sum of weights of f] is the unnormalized mean of f: 1500 x 8 draws, 5 standard errors.
                assert!((first - share).abs() < 0.025, "{resampler:?} {kappa}: {first} beside {share}");
            }
        }
    }
}

/// It writes what it is told: the first token of each of two texts, then the second of each that goes on, in their order.
struct Told {
    first: [u32; 2],
    second: [u32; 2],
}

impl Policy for Told {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        // 2 ends a text, and so does a second token.
        let write = |token: u32, ends: bool| {
            let finish = if ends { Finish::End } else { Finish::Step };
            Candidate { tokens: vec![token].into(), logps: vec![0.0], finish }
        };
        let reply = |(at, request): (usize, &Request)| {
            let candidates = match request.prefix.is_empty() {
                true => self.first.iter().map(|token| write(*token, *token == 2)).collect(),
                false => vec![write(self.second[at], true)],
            };
            Reply { candidates, usage: Usage::default() }
        };
        Ok(requests.iter().enumerate().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 9 }
    }
}

/// Where two particles come from, with the chance of it; the first has this share of the weight.
fn ancestors_of_two(resampler: Resampler, share: f64) -> Vec<([usize; 2], f64)> {
    let other = 1.0 - share;
    match resampler {
        Resampler::Multinomial => {
            vec![([0, 0], share * share), ([0, 1], share * other), ([1, 0], other * share), ([1, 1], other * other)]
        }
        // The heavier has one copy for certain, and the second one by what is left of twice its weight.
        _ if share > 0.5 => vec![([0, 0], 2.0 * share - 1.0), ([0, 1], 2.0 * other)],
        _ => vec![([0, 1], 2.0 * share), ([1, 1], 1.0 - 2.0 * share)],
    }
}

/// Over all that two particles can draw, the mean of `Z-hat sum_i W_i f(x_i)` is `sum_x gamma(x) f(x)`, for every f.
#[test]
fn two_particles_are_unbiased_by_enumeration() {
    // The first token is 0, 1, or 2, which ends the text; behind 0 and 1 there is one more.
    const FIRST: [f64; 3] = [0.5, 0.3, 0.2];
    const SECOND: [[f64; 2]; 2] = [[0.6, 0.4], [0.1, 0.9]];
    let score = |text: &[u32]| -> f32 {
        match text {
            [0] => 0.2,
            [1] => 0.9,
            [2] => 0.5,
            [0, 0] => 1.0,
            [0, 1] => 0.0,
            [1, 0] => 0.3,
            _ => 0.8,
        }
    };
    let scorer = rule(|episode| score(&episode.tokens));
    let texts: [&[u32]; 5] = [&[2], &[0, 0], &[0, 1], &[1, 0], &[1, 1]];
    let chance = |text: &[u32]| {
        let second = |token: &u32| SECOND[text[0] as usize][*token as usize];
        FIRST[text[0] as usize] * text.get(1).map_or(1.0, second)
    };
    // Half of the tilt at the first step, so that a text that ended then still has something to collect.
    let tilt = Schedule { from: 0.75, to: 1.5, steps: 2 };
    let gamma = texts.map(|text| chance(text) * (1.5 * f64::from(score(text))).exp());
    for resampler in [Resampler::Multinomial, Resampler::Stratified, Resampler::Systematic, Resampler::Residual] {
        for kappa in [0.0, 1.0] {
            let options = SmcOptions { n: 2, kappa, resampler, grain: Grain::Steps, levels: 2, ..TOKENS };
            let smc = Smc { options, target: Target::Tilted(tilt) };
            let run = |first: [u32; 2], second: [u32; 2], seed: u64| {
                let told = Told { first, second };
                let mut ctx = SearchCtx::new(&told, 2, Seed(seed)).with_steps(Steps::blocks(1));
                ctx = ctx.with_scorer(&scorer, Reduce::Sum);
                smc.particles(&prompts(1), &mut ctx).expect("the target is possible").remove(0)
            };
            let (mut means, mut mass) = ([0.0; 5], 0.0);
            for first in (0..9u32).map(|both| [both / 3, both % 3]) {
                // Each way to resample with its chance, and a seed that goes this way.
                let mut ways = vec![([0, 1], 1.0, 0)];
                if kappa == 1.0 && first[0] != first[1] {
                    let weight = |token: u32| (0.75 * f64::from(score(&[token]))).exp();
                    let share = weight(first[0]) / (weight(first[0]) + weight(first[1]));
                    let way = |(from, chance): ([usize; 2], f64)| {
                        let goes = |seed: &u64| run(first, [0, 0], *seed).resampled == [(1usize, from.to_vec())];
                        (from, chance, (0..500).find(goes).expect("a seed goes this way"))
                    };
                    ways = ancestors_of_two(resampler, share).into_iter().map(way).collect();
                }
                for (from, way, seed) in ways {
                    let open: Vec<u32> = from.map(|at| first[at]).into_iter().filter(|token| *token < 2).collect();
                    for second in (0..1u32 << open.len()).map(|both| [both & 1, both >> 1]) {
                        let written = open.iter().zip(second).map(|(open, next)| SECOND[*open as usize][next as usize]);
                        let p = first.map(|token| FIRST[token as usize]).iter().product::<f64>()
                            * way
                            * written.product::<f64>();
                        let one = run(first, second, seed);
                        for (path, weight) in one.paths.iter().zip(&one.log_weights) {
                            let text = texts.iter().position(|text| *text == path.tokens()).expect("a text");
                            means[text] += p * (one.log_z + weight).exp();
                        }
                        mass += p;
                    }
                }
            }
            assert!((mass - 1.0).abs() < 1e-9, "{resampler:?} {kappa}: {mass}");
            for (mean, gamma) in means.iter().zip(gamma) {
                assert!((mean - gamma).abs() < 1e-9, "{resampler:?} {kappa}: {mean} beside {gamma}");
            }
        }
    }
}

#[test]
fn one_particle_gains_the_local_normalizers_of_its_path() {
    let (_, policy) = model();
    let options = SmcOptions { n: 1, ..TOKENS };
    let check = |target: Target, root: f64, after: [f64; 2]| {
        let smc = Smc { options, target };
        let mut ctx = SearchCtx::new(&policy, 9, Seed(1));
        let mut seen = [false; 2];
        for one in smc.particles(&prompts(60), &mut ctx).expect("the target is possible") {
            let first = one.paths[0].tokens()[0] as usize;
            seen[first] = true;
            let expected = (root * after[first]).ln();
            assert!((one.log_z - expected).abs() < 1e-6, "{} beside {expected}", one.log_z);
        }
        assert_eq!(seen, [true; 2]);
    };
    check(Target::Power(Schedule::constant(2.0)), 0.68, [0.52, 0.82]);
    // The geometric mean with a second expert.
    let (_, second) = two_tokens([[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]);
    let local = |p: [f64; 2], q: [f64; 2]| (p[0] * q[0]).sqrt() + (p[1] * q[1]).sqrt();
    let after = [local([0.6, 0.4], [0.5, 0.5]), local([0.1, 0.9], [0.2, 0.8])];
    check(product(0.5, &second, 0.5), local([0.8, 0.2], [0.5, 0.5]), after);
}

/// `exp(log_z)` of a single particle whose first token is 0, and of one whose first token is 1, with the share of the first.
fn alone(target: Target, runs: usize) -> ([f64; 2], f64) {
    let (_, policy) = model();
    let smc = Smc { options: SmcOptions { n: 1, ..TOKENS }, target };
    let particles = smc.particles(&prompts(runs), &mut SearchCtx::new(&policy, 9, Seed(5))).expect("it is possible");
    let (mut z, mut zeros) = ([f64::NAN; 2], 0.0);
    for one in particles {
        let first = one.paths[0].tokens()[0] as usize;
        z[first] = one.log_z.exp();
        zeros += f64::from(u8::from(first == 0));
    }
    (z, zeros / runs as f64)
}

/// A single particle is unbiased, so Z is the mean of its two values over its first token, whose chance is known.
#[test]
fn normalizers_are_enumerated_to_the_sixth_decimal() {
    // The chance of 0 as the first token is that of token temperature: 0.64 / 0.68, and 2 / 3 of sqrt 0.8 and sqrt 0.2.
    for (power, z, log_z, token) in [(2.0, 0.3656, -1.006215, 0.941176), (0.5, 1.824191, 0.601137, 0.666667)] {
        let runs = 16_000;
        let (by_first, zeros) = alone(Target::Power(Schedule::constant(power)), runs);
        // Four standard errors; the share by weight, 0.910284 or 0.689898, is further off.
        assert!((zeros - token).abs() < 4.0 * (token * (1.0 - token) / runs as f64).sqrt(), "{zeros} beside {token}");
        let got = token * by_first[0] + (1.0 - token) * by_first[1];
        assert!((got - z).abs() < 2e-6 && (got.ln() - log_z).abs() < 2e-6, "{got} {} beside {z} {log_z}", got.ln());
    }
    let (_, second) = two_tokens([[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]);
    let (by_first, _) = alone(product(0.5, &second, 0.5), 200);
    // sqrt 0.4 against sqrt 0.1: two thirds.
    let got = (2.0 * by_first[0] + by_first[1]) / 3.0;
    // All four texts.
    let texts = [0.8 * 0.5 * 0.6 * 0.5, 0.8 * 0.5 * 0.4 * 0.5, 0.2 * 0.5 * 0.1 * 0.2, 0.2 * 0.5 * 0.9 * 0.8];
    let z: f64 = texts.into_iter().map(f64::sqrt).sum();
    assert!((got - z).abs() < 1e-6 && (z - 0.942302).abs() < 1e-6, "{got} beside {z}");
    assert!((got.ln() + 0.059429).abs() < 2e-6, "{}", got.ln());
}

#[test]
fn a_product_of_experts_has_the_normalizer_that_was_enumerated() {
    let (_, policy) = model();
    let (_, second) = two_tokens([[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]);
    let smc = Smc { options: TOKENS, target: product(0.5, &second, 0.5) };
    let (mean, error, _) = normalizer(&smc, &policy, 1500);
    assert!((mean - 0.942302).abs() < error, "{mean} +- {error}");
    // Weights of equal experts that sum to 1 are the policy itself.
    let same = Smc { options: TOKENS, target: product(0.3, &policy, 0.7) };
    let mut ctx = SearchCtx::new(&policy, 9, Seed(11));
    for one in same.particles(&prompts(20), &mut ctx).expect("the target is possible") {
        assert!(one.log_z.abs() < 1e-6 && one.resampled.is_empty());
    }
    // Powers that sum to 1 and are not negative never gain (Hoelder).
    let uneven = Smc { options: TOKENS, target: product(0.8, &second, 0.2) };
    let mut ctx = SearchCtx::new(&policy, 9, Seed(11));
    let gained = uneven.particles(&prompts(20), &mut ctx).expect("the target is possible");
    assert!(gained.iter().all(|one| one.log_z <= 1e-9));
    // An expert of negative power that forbids what the policy allows.
    let tree = TokenTree::new(2, 2, |_| 0.0).expect("the tree is small");
    let strict = TreePolicy::new(&tree, |_| vec![0.0, f64::NEG_INFINITY]).expect("a distribution");
    let guided = Smc { options: TOKENS, target: product(2.0, &strict, -1.0) };
    assert!(guided.particles(&prompts(1), &mut SearchCtx::new(&policy, 9, Seed(0))).is_err());
}

#[test]
fn without_a_tilt_particles_are_samples() {
    let tree = tree(1);
    let policy = drawn(&tree, 2);
    let plain = Target::Power(Schedule::constant(1.0));
    // By steps they are the very samples that a beam without pruning draws.
    let smc = Smc { options: SmcOptions { n: 6, grain: Grain::Steps, ..TOKENS }, target: plain.clone() };
    let constant = rule(|_| 1.0);
    let ctx = || SearchCtx::new(&policy, 3, Seed(5)).with_steps(Steps::blocks(1)).with_scorer(&constant, Reduce::Sum);
    let beam = StepBeam { n: 6, expand: 1, merge: false, ..StepBeam::default() };
    let drawn = beam.search(&prompts(4), &mut ctx()).expect("it fits");
    for (one, drawn) in smc.particles(&prompts(4), &mut ctx()).expect("it fits").iter().zip(&drawn) {
        assert!(one.log_z.abs() < 1e-9 && one.resampled.is_empty() && one.ancestors == 6);
        let mut got: Vec<Vec<u32>> = one.paths.iter().map(|path| path.tokens().to_vec()).collect();
        let mut expected: Vec<Vec<u32>> = drawn.candidates.iter().map(|one| one.tokens.to_vec()).collect();
        got.sort();
        expected.sort();
        assert_eq!(got, expected);
    }
    // By tokens they have the distribution of the policy.
    let smc = Smc { options: TOKENS, target: plain };
    let mut counts = vec![0.0; 27];
    for one in smc.particles(&prompts(500), &mut ctx()).expect("it fits") {
        assert!(one.log_z.abs() < 1e-6 && one.resampled.is_empty());
        one.paths.iter().for_each(|path| counts[leaf(path.tokens(), 3)] += 1.0);
    }
    // 4000 draws: the mean distance is below sqrt(27 / 4000) / 2.
    assert!(total_variation(&counts, &policy.leaf_probabilities()) < 0.06);
}

#[test]
fn a_perfect_twist_has_no_variance() {
    let (beta, tree) = (0.3, tree(6));
    let policy = drawn(&tree, 7);
    let soft = tree.soft_optimum(&policy, beta).expect("beta is sound");
    let value = Exact { tree: &tree, value: &soft.value, scale: beta };
    let expected = soft.value.value(&[]).expect("the root") / beta;
    let smc = Smc { options: TOKENS, target: Target::Twisted(1.0) };
    let mut ctx = SearchCtx::new(&policy, 3, Seed(5)).with_scorer(&value, Reduce::Sum);
    let mut counts = vec![0.0; 27];
    for one in smc.particles(&prompts(500), &mut ctx).expect("it fits") {
        assert!((one.log_z - expected).abs() < 1e-5, "{} beside {expected}", one.log_z);
        assert!(one.resampled.is_empty() && (effective_size(&one.log_weights) - 8.0).abs() < 1e-4);
        one.paths.iter().for_each(|path| counts[leaf(path.tokens(), 3)] += 1.0);
    }
    assert!(total_variation(&counts, &soft.policy.leaf_probabilities()) < 0.06);
}

#[test]
fn the_tree_of_a_twist_holds_every_text_once() {
    let (beta, tree) = (0.3, tree(6));
    let policy = drawn(&tree, 7);
    let soft = tree.soft_optimum(&policy, beta).expect("beta is sound");
    let value = Exact { tree: &tree, value: &soft.value, scale: beta };
    let smc = Smc { options: TOKENS, target: Target::Twisted(1.0) };
    let mut ctx = SearchCtx::new(&policy, 3, Seed(5)).with_scorer(&value, Reduce::Sum).with_tree();
    for found in smc.search(&prompts(10), &mut ctx).expect("it fits") {
        let nodes = found.tree.expect("it is recorded").nodes;
        let mut places: Vec<(Option<usize>, Vec<u32>)> =
            nodes.iter().map(|node| (node.parent, node.tokens.clone())).collect();
        places.sort();
        assert!(places.windows(2).all(|pair| pair[0] != pair[1]));
        // A text holds the weight of all particles that came to it, and nothing was written twice to find them.
        let ends = |node: &&ascribe_search::TreeNode| matches!(node.state, NodeState::Found | NodeState::Chosen);
        let held: f64 = nodes.iter().filter(ends).filter_map(|node| node.value).sum();
        assert!((held - 1.0).abs() < 1e-6, "{held}");
        let mut texts: Vec<Vec<u32>> = found.candidates.iter().map(|one| one.tokens.to_vec()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(nodes.iter().filter(ends).count(), texts.len());
    }
}

/// The tilted target of a tree, by leaf, and its normalizer.
fn tilted(tree: &TokenTree, policy: &TreePolicy, strength: f64) -> (Vec<f64>, f64) {
    let gamma: Vec<f64> = tree.leaves().map(|(path, r)| (logp(policy, &path) + strength * r).exp()).collect();
    let z: f64 = gamma.iter().sum();
    (gamma.iter().map(|gamma| gamma / z).collect(), z)
}

#[test]
fn the_distance_from_the_target_falls_as_particles_grow() {
    let tree = tree(6);
    let policy = drawn(&tree, 7);
    let strength = 3.0;
    let (target, z) = tilted(&tree, &policy, strength);
    // The reward is at the end, and a text that has not ended promises nothing.
    let late =
        rule(|episode| if episode.complete { tree.reward(&episode.tokens).expect("a leaf") as f32 } else { 0.0 });
    for grain in [Grain::Tokens(9), Grain::Steps] {
        let distance = |n: usize| {
            let runs = 40;
            let options = SmcOptions { n, grain, ..TOKENS };
            let smc = Smc { options, target: Target::Tilted(Schedule::constant(strength)) };
            let mut ctx = SearchCtx::new(&policy, 3, Seed(n as u64)).with_steps(Steps::blocks(1));
            ctx = ctx.with_scorer(&late, Reduce::Sum);
            let mut sum = 0.0;
            for one in smc.particles(&prompts(runs), &mut ctx).expect("it fits") {
                let mut weights = vec![0.0; 27];
                for (path, weight) in one.paths.iter().zip(&one.log_weights) {
                    weights[leaf(path.tokens(), 3)] += weight.exp();
                }
                sum += total_variation(&weights, &target);
            }
            sum / runs as f64
        };
        let (few, some, many) = (distance(16), distance(256), distance(4096));
        // Sixteen times the particles quarter the distance.
        for ratio in [few / some, some / many] {
            assert!((2.4..6.5).contains(&ratio), "{grain:?}: {few} {some} {many}");
        }
    }
    let smc = Smc { options: TOKENS, target: Target::Tilted(Schedule::constant(strength)) };
    let mut ctx = SearchCtx::new(&policy, 3, Seed(3)).with_scorer(&late, Reduce::Sum);
    let runs = 1500;
    let zs: Vec<f64> =
        smc.particles(&prompts(runs), &mut ctx).expect("it fits").iter().map(|one| one.log_z.exp()).collect();
    let mean = zs.iter().sum::<f64>() / runs as f64;
    let variance = zs.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / runs as f64;
    assert!((mean - z).abs() < 4.0 * (variance / runs as f64).sqrt(), "{mean} beside {z}");
}

#[test]
fn texts_that_ended_collect_what_the_schedule_still_gives() {
    // Tokens 0 and 1, and 2 that ends; nothing is longer than 3 tokens.
    let weights = |text: &[u32]| if text.len() < 2 { vec![0.3, 0.2, 0.5] } else { vec![0.0, 0.0, 1.0] };
    let language = Toy { context: 5, weights };
    let power = Schedule { from: 0.4, to: 2.0, steps: 3 };
    // gamma_T = p^2 whatever the way there: texts 2, a2, ab2 with p = 0.5, p(a) 0.5, p(a) p(b).
    let z: f64 = 0.25 + (0.09 + 0.04) * 0.25 + (0.09 + 0.04) * (0.09 + 0.04);
    for grain in [Grain::Tokens(3), Grain::Steps] {
        let smc = Smc { options: SmcOptions { n: 16, grain, ..TOKENS }, target: Target::Power(power) };
        let runs = 1500;
        let mut ctx = SearchCtx::new(&language, 5, Seed(2)).with_steps(Steps::blocks(1));
        let particles = smc.particles(&prompts(runs), &mut ctx).expect("it fits");
        let zs: Vec<f64> = particles.iter().map(|one| one.log_z.exp()).collect();
        let mean = zs.iter().sum::<f64>() / runs as f64;
        let variance = zs.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / runs as f64;
        assert!((mean - z).abs() < 4.0 * (variance / runs as f64).sqrt(), "{grain:?}: {mean} beside {z}");
    }
}

#[test]
fn resampling_is_asked_for_by_kappa() {
    let tree = tree(6);
    let policy = drawn(&tree, 7);
    let early = rule(|episode| episode.tokens[0] as f32);
    let run = |kappa: f64| {
        let options = SmcOptions { kappa, n: 12, ..TOKENS };
        let smc = Smc { options, target: Target::Tilted(Schedule::constant(4.0)) };
        let mut ctx = SearchCtx::new(&policy, 3, Seed(3)).with_scorer(&early, Reduce::Sum);
        smc.particles(&prompts(30), &mut ctx).expect("it fits")
    };
    let (never, always) = (run(0.0), run(1.0));
    assert!(never.iter().all(|one| one.resampled.is_empty() && one.ancestors == 12));
    // The scores differ at the first token and never again, so weights do, too.
    assert!(always.iter().all(|one| one.resampled.len() <= 1));
    assert!(always.iter().filter(|one| one.resampled.len() == 1).count() > 20);
    for one in always.iter().filter(|one| one.resampled.len() == 1) {
        let (step, from) = &one.resampled[0];
        assert_eq!((*step, from.len()), (1, 12));
        assert!(one.ancestors <= 12 && (effective_size(&one.log_weights) - 12.0).abs() < 1e-6);
    }
    // One particle is one draw of the proposal, and is never resampled.
    let options = SmcOptions { n: 1, kappa: 1.0, ..TOKENS };
    let one = Smc { options, target: Target::Tilted(Schedule::constant(4.0)) };
    let mut ctx = SearchCtx::new(&policy, 3, Seed(3)).with_scorer(&early, Reduce::Sum);
    let found = one.search(&prompts(5), &mut ctx).expect("it fits");
    assert!(found.iter().all(|found| found.candidates.len() == 1 && found.scores == Some(vec![1.0])));
}

#[test]
fn impossible_targets_and_wrong_numbers_are_refused() {
    let tree = tree(6);
    let policy = drawn(&tree, 7);
    let never = rule(|_| f32::NEG_INFINITY);
    let tilt = Target::Tilted(Schedule::constant(1.0));
    let run = |options: SmcOptions, target: Target| {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(3)).with_scorer(&never, Reduce::Sum);
        Smc { options, target }.search(&prompts(1), &mut ctx).map(|_| ())
    };
    assert!(matches!(run(TOKENS, tilt.clone()), Err(SearchError::Dead { step: 1 })));
    // A strength of 0 says nothing, whatever the score.
    assert!(run(TOKENS, Target::Tilted(Schedule::constant(0.0))).is_ok());
    for wrong in [
        SmcOptions { n: 0, ..TOKENS },
        SmcOptions { kappa: f64::NAN, ..TOKENS },
        SmcOptions { kappa: 1.5, ..TOKENS },
        SmcOptions { grain: Grain::Tokens(0), ..TOKENS },
        SmcOptions { levels: 0, ..TOKENS },
    ] {
        assert!(run(wrong, tilt.clone()).is_err(), "{wrong:?}");
    }
    assert!(run(TOKENS, Target::Power(Schedule::constant(f64::INFINITY))).is_err());
    assert!(run(TOKENS, Target::Twisted(f64::NAN)).is_err());
    let steps = SmcOptions { grain: Grain::Steps, ..TOKENS };
    assert!(run(steps, Target::Product { own: 1.0, experts: Vec::new() }).is_err());
    // Two token ids beside three.
    let (_, other) = model();
    let error = run(TOKENS, product(0.5, &other, 0.5)).expect_err("other vocabularies").to_string();
    assert!(error.contains("3 token ids beside 2"), "{error}");
    assert!(error.contains("vocabulary of the policy"), "{error}");
    let mut greedy = SearchCtx::new(&policy, 3, Seed(3)).with_scorer(&never, Reduce::Sum).with_greedy();
    assert!(Smc { options: steps, target: tilt }.search(&prompts(1), &mut greedy).is_err());
}
