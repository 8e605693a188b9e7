//! Golden traces: every text that a search looks at, in the order of creation, with its value and what became of it.
//!
//! The numbers are those that `tests/traces.py` prints, a program of its own that knows the searches as their papers state them,
//! and of this library the names of its random streams alone. The language has three tokens and texts of three; a token at place
//! h is worth h times 1, 3 or 2 thirty-seconds.

use ascribe_core::{Episode, Reduce, Seed, rule};
use ascribe_search::NodeState::{self, Chosen, Found, Kept, Open, Pruned};
use ascribe_search::mcts::tree::TreeOptions;
use ascribe_search::{DiverseTrees, Mcts, Schedule, Search, SearchCtx, Smc, SmcOptions, StepBeam, Steps, Target};
use ascribe_worlds::{TokenTree, TreePolicy};

use crate::support::prompts;

/// Parent, token, value, visits and state of a node; its id is its place, from 1.
type Written = (usize, u32, Option<f64>, u64, NodeState);

/// Probabilities of the next token: at the beginning, and after each token.
const TABLE: [[f64; 3]; 4] = [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.3, 0.3, 0.4]];

fn language() -> TreePolicy {
    let tree = TokenTree::new(3, 3, |_| 0.0).expect("the tree is small");
    let row = |path: &[u32]| path.last().map_or(TABLE[0], |last| TABLE[1 + *last as usize]);
    TreePolicy::new(&tree, |path| row(path).map(f64::ln).to_vec()).expect("a distribution")
}

fn worth(episode: &Episode) -> f32 {
    let worth = |(at, token): (usize, &u32)| (at as f32 + 1.0) * [1.0, 3.0, 2.0][*token as usize];
    episode.response_tokens().iter().enumerate().map(worth).sum::<f32>() / 32.0
}

/// Searches by `search` and compares what was written with `expected`: tokens and states as they are, values to 1e-5, and the
/// ids of the texts that were found. Gives back the value and the visits of the prompt.
fn check(search: &dyn Search, expected: &[Written], found: &[usize], scores: u64) -> (Option<f64>, u64) {
    let (policy, judge) = (language(), rule(worth));
    let mut ctx = SearchCtx::new(&policy, 3, Seed(7)).with_steps(Steps::blocks(1)).with_tree();
    ctx = ctx.with_scorer(&judge, Reduce::Sum);
    let got = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
    let nodes = got.tree.expect("it is recorded").nodes;
    assert_eq!(nodes.len(), expected.len() + 1);
    for (node, (parent, token, value, visits, state)) in nodes[1..].iter().zip(expected) {
        assert_eq!((node.parent, &node.tokens[..]), (Some(*parent), &[*token][..]), "node {}", node.id);
        assert_eq!((node.visits, node.state), (*visits, *state), "node {}", node.id);
        let close = match (node.value, value) {
            (Some(got), Some(expected)) => (got - expected).abs() < 1e-5,
            (got, expected) => got.is_none() && expected.is_none(),
        };
        assert!(close, "node {}: {:?} beside {value:?}", node.id, node.value);
    }
    let text = |id: &usize| {
        let (mut tokens, mut at) = (Vec::new(), *id);
        while let Some(parent) = nodes[at].parent {
            tokens.insert(0, nodes[at].tokens[0]);
            at = parent;
        }
        tokens
    };
    let texts: Vec<Vec<u32>> = got.candidates.iter().map(|one| one.tokens.to_vec()).collect();
    assert_eq!(texts, found.iter().map(text).collect::<Vec<_>>());
    assert_eq!(nodes[found[got.chosen]].state, Chosen);
    // Every text is one token more than its parent.
    assert_eq!((got.usage.generated, got.calls.scorer, got.stopped), (expected.len() as u64, scores, None));
    (nodes[0].value, nodes[0].visits)
}

#[rustfmt::skip]
const STEP_BEAM: [Written; 18] = [
    (0, 2, Some(0.0625), 0, Kept),
    (0, 0, Some(0.03125), 0, Pruned),
    (0, 0, None, 0, Open),
    (0, 2, None, 0, Open),
    (0, 0, None, 0, Open),
    (0, 1, Some(0.09375), 0, Kept),
    (6, 0, Some(0.15625), 0, Pruned),
    (6, 0, None, 0, Open),
    (6, 1, Some(0.28125), 0, Kept),
    (1, 2, Some(0.1875), 0, Pruned),
    (1, 2, None, 0, Open),
    (1, 1, Some(0.25), 0, Kept),
    (9, 2, Some(0.46875), 0, Chosen),
    (9, 0, Some(0.375), 0, Found),
    (9, 0, None, 0, Open),
    (12, 2, Some(0.4375), 0, Found),
    (12, 2, None, 0, Open),
    (12, 0, Some(0.34375), 0, Found),
];

#[test]
fn a_step_beam_leaves_its_trace() {
    // Six candidates a level and two kept; what was merged was not scored.
    check(&StepBeam { n: 6, expand: 3, ..StepBeam::default() }, &STEP_BEAM, &[13, 14, 16, 18], 11);
}

#[rustfmt::skip]
const DIVERSE_TREES: [Written; 12] = [
    (0, 2, Some(0.0625), 0, Kept),
    (0, 0, Some(0.03125), 0, Open),
    (0, 2, Some(0.0625), 0, Kept),
    (0, 2, Some(0.0625), 0, Open),
    (1, 2, Some(0.1875), 0, Kept),
    (1, 2, Some(0.1875), 0, Open),
    (3, 1, Some(0.25), 0, Kept),
    (3, 1, Some(0.25), 0, Open),
    (5, 0, Some(0.28125), 0, Found),
    (5, 0, Some(0.28125), 0, Found),
    (7, 2, Some(0.4375), 0, Chosen),
    (7, 2, Some(0.4375), 0, Found),
];

#[test]
fn diverse_trees_leave_their_trace() {
    check(&DiverseTrees { n: 4, expand: 2, ..DiverseTrees::default() }, &DIVERSE_TREES, &[9, 10, 11, 12], 12);
}

#[rustfmt::skip]
const TREE_SEARCH: [Written; 12] = [
    (0, 2, Some(0.0625), 1, Open),
    (0, 0, Some(0.234375), 10, Kept),
    (0, 0, None, 0, Open),
    (2, 1, Some(0.3039772727272727), 11, Kept),
    (2, 0, Some(0.09375), 1, Open),
    (2, 2, Some(0.25), 3, Open),
    (4, 0, Some(0.3125), 10, Chosen),
    (4, 0, None, 0, Open),
    (4, 0, None, 0, Open),
    (6, 2, Some(0.34375), 1, Found),
    (6, 2, None, 0, Open),
    (6, 0, Some(0.25), 1, Found),
];

#[test]
fn a_tree_search_leaves_its_trace() {
    // Six simulations a move, by PUCT; the move with the most visits is made, twice inside the tree and once to an end.
    let mcts = Mcts { tree: TreeOptions { simulations: 6, expand: 3, ..TreeOptions::default() }, ..Mcts::default() };
    let (value, visits) = check(&mcts, &TREE_SEARCH, &[7, 10, 12], 8);
    assert_eq!(visits, 6);
    // (0.5 and the values of the five below it) / 6.
    assert!(value.is_some_and(|value| (value - 0.21354166666666666).abs() < 1e-5), "{value:?}");
}

#[rustfmt::skip]
const PARTICLES: [Written; 12] = [
    (0, 2, Some(0.0625), 0, Open),
    (0, 0, Some(0.03125), 0, Open),
    (0, 0, Some(0.03125), 0, Open),
    (0, 2, Some(0.0625), 0, Open),
    (1, 2, Some(0.1875), 0, Open),
    (2, 1, Some(0.21875), 0, Open),
    (3, 0, Some(0.09375), 0, Open),
    (4, 2, Some(0.1875), 0, Open),
    (5, 0, Some(0.010720017684005457), 0, Found),
    (6, 0, Some(0.012147371455479805), 0, Found),
    (6, 0, Some(0.012147371455479805), 0, Found),
    (8, 1, Some(0.9649852394050349), 0, Chosen),
];

#[test]
fn particles_leave_their_trace() {
    // Four particles for p exp(lambda_h worth) with lambda 16, 20, 24; resampled after the second step, where less than 0.9 of
    // them are in effect. Values of the ends are weights.
    let options = SmcOptions { n: 4, kappa: 0.9, ..SmcOptions::default() };
    let smc = Smc { options, target: Target::Tilted(Schedule { from: 16.0, to: 24.0, steps: 3 }) };
    check(&smc, &PARTICLES, &[9, 10, 11, 12], 12);
    let (policy, judge) = (language(), rule(worth));
    let mut ctx = SearchCtx::new(&policy, 3, Seed(7)).with_steps(Steps::blocks(1)).with_scorer(&judge, Reduce::Sum);
    let particles = smc.particles(&prompts(1), &mut ctx).expect("it fits").remove(0);
    assert_eq!((particles.resampled, particles.ancestors), (vec![(2, vec![0, 1, 1, 3])], 3));
    assert!((particles.log_z - 9.904733814698103).abs() < 1e-5, "{}", particles.log_z);
}
