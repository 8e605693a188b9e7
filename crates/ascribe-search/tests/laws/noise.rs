//! Scorers that know nothing: what they say depends on nothing, so no search may gain or lose by it.

use std::sync::atomic::{AtomicU64, Ordering};

use ascribe_core::{Reduce, Seed, rule};
use ascribe_search::mcts::tree::TreeOptions;
use ascribe_search::{
    BestOfN, Controlled, Deal, DiverseTrees, Grain, Mcts, PathSelection, PickParticle, Refine, Resampler, Revise,
    Schedule, Search, SearchCtx, Smc, SmcOptions, StepBeam, Steps, Target, TransferQ,
};
use ascribe_worlds::{TokenTree, TreePolicy};

use crate::support::{drawn, prompts, tree};

/// How far what `search` earns in the mean is from what the policy earns, in standard errors of the latter. Each answer of the
/// scorer is `noise` of a number that is drawn for it, uniform in (0, 1).
fn off(search: &dyn Search, tree: &TokenTree, policy: &TreePolicy, noise: fn(f64) -> f64) -> f64 {
    let asked = AtomicU64::new(0);
    let scorer = rule(|_| {
        let number = Seed(1).child("score", asked.fetch_add(1, Ordering::Relaxed)).0 >> 40;
        noise((number as f64 + 0.5) / 16_777_216.0) as f32
    });
    let mut ctx = SearchCtx::new(policy, 3, Seed(2)).with_steps(Steps::blocks(1)).with_scorer(&scorer, Reduce::Sum);
    let found = search.search(&prompts(1000), &mut ctx).expect("it fits");
    let reward = |path: &[u32]| tree.reward(path).expect("a leaf");
    let earned: f64 = found.iter().map(|one| reward(&one.best().tokens)).sum::<f64>() / 1000.0;
    let chances = policy.leaf_probabilities();
    let mean = |of: &dyn Fn(f64) -> f64| -> f64 {
        chances.iter().zip(tree.leaves()).map(|(chance, (_, reward))| chance * of(reward)).sum()
    };
    let base = mean(&|reward| reward);
    let variance = mean(&|reward| (reward - base).powi(2));
    (earned - base) / (variance / 1000.0).sqrt()
}

fn smc(grain: Grain) -> Smc<'static> {
    let options =
        SmcOptions { n: 4, kappa: 0.5, resampler: Resampler::Systematic, grain, levels: 9, pick: PickParticle::Draw };
    Smc { options, target: Target::Tilted(Schedule::constant(1.0)) }
}

#[test]
fn a_scorer_that_knows_nothing_leaves_the_policy_as_it_is() {
    // Whichever of its samples such a search chooses, each of them is one of the policy; equal ones are not merged.
    let beam = StepBeam { n: 4, expand: 2, merge: false, ..StepBeam::default() };
    let searches: Vec<(&str, Box<dyn Search>)> = vec![
        ("best of n", Box::new(BestOfN { n: 4 })),
        ("step beam", Box::new(beam)),
        ("lookahead", Box::new(StepBeam { lookahead: 1, ..beam })),
        ("diverse trees", Box::new(DiverseTrees::default())),
        ("paths", Box::new(PathSelection::default())),
        ("refinement", Box::new(Refine::default())),
        ("revision", Box::new(Revise::default())),
        ("particles by tokens", Box::new(smc(Grain::Tokens(9)))),
        ("particles by steps", Box::new(smc(Grain::Steps))),
    ];
    let tree = tree(3);
    let policy = drawn(&tree, 8);
    for (name, search) in &searches {
        let off = off(search.as_ref(), &tree, &policy, |uniform| uniform);
        assert!(off.abs() < 5.0, "{name}: {off} standard errors");
    }
    // A tree search goes to likely children and merges equal ones; where no token is likelier than another, none is preferred.
    let mcts = Mcts { tree: TreeOptions { simulations: 8, ..TreeOptions::default() }, ..Mcts::default() };
    let off = off(&mcts, &tree, &TreePolicy::uniform(&tree), |uniform| uniform);
    assert!(off.abs() < 5.0, "tree search: {off} standard errors");
}

#[test]
fn noise_on_the_log_probabilities_of_tokens_draws_them() {
    // The largest of log p + g with independent Gumbel draws g is a draw from p, and g = -ln(-ln u) is such a draw.
    let searches: [(&str, Box<dyn Search>); 4] = [
        ("deal", Box::new(Deal { lookahead: 0, ..Deal::default() })),
        ("deal with lookahead", Box::new(Deal { lookahead: 1, ..Deal::default() })),
        ("controlled", Box::new(Controlled::default())),
        ("transfer", Box::new(TransferQ::default())),
    ];
    let tree = tree(3);
    let policy = drawn(&tree, 8);
    for (name, search) in &searches {
        let off = off(search.as_ref(), &tree, &policy, |uniform| -(-uniform.ln()).ln());
        assert!(off.abs() < 5.0, "{name}: {off} standard errors");
    }
}
