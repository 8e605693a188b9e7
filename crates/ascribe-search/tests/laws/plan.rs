//! Planning in the shop, whose best return is known.

use ascribe_core::{Seed, World};
use ascribe_search::mcts::rule::Rule;
use ascribe_search::mcts::tree::{Backup, TreeOptions};
use ascribe_search::plan::{Agent, Trajectory};
use ascribe_search::{SearchError, Stopped};
use ascribe_worlds::{Shop, ShopMove, ShopState};

const MOVES: usize = 8;

/// The world's own reward: an oracle.
fn total(trajectory: &Trajectory<ShopState>) -> f64 {
    trajectory.total()
}

/// Indifferent, but for a weakness for buying at once.
fn hasty(shop: &Shop) -> impl Fn(&Trajectory<ShopState>, &[u32], &[String]) -> Vec<f64> + '_ {
    move |_, moves, _| moves.iter().map(|mv| if shop.read(*mv) == Some(ShopMove::Buy) { 1.0 } else { 0.0 }).collect()
}

fn tree(simulations: usize) -> TreeOptions {
    TreeOptions { simulations, expand: 8, rule: Rule::ARMAP, discount: 0.9, ..TreeOptions::default() }
}

#[test]
fn planners_stand_in_their_order_and_below_the_best() {
    let mut sums = [0.0; 5];
    for seed in 0..30 {
        let shop = Shop::drawn(Seed(seed), 12, MOVES).expect("a shop");
        let propose = hasty(&shop);
        let agent = |seed| Agent { world: &shop, propose: &propose, judge: &total, horizon: MOVES, steps: None, seed };
        let worth = |plan: Result<ascribe_search::plan::Plan<ShopState>, SearchError>| {
            let plan = plan.expect("legal moves");
            plan.found().expect("a trajectory").1
        };
        sums[0] += worth(agent(Seed(1)).greedy());
        sums[1] += worth(agent(Seed(1)).best_of_n(1, 1.0));
        sums[2] += worth(agent(Seed(1)).best_of_n(10, 1.0));
        let options = TreeOptions { rule: Rule::Uct { w: 0.3 }, backup: Backup::Max, ..tree(400) };
        sums[3] += worth(agent(Seed(1)).tree(options, 1.0));
        sums[4] += shop.value(&shop.reset(Seed(0))).expect("known");
    }
    let [greedy, _, best_of_n, tree, best] = sums;
    assert!(greedy <= best_of_n && best_of_n <= tree && tree <= best + 1e-9, "{sums:?}");
    assert!(tree > 0.8 * best, "{sums:?}");
}

#[test]
fn one_sample_without_temperature_is_greedy_and_more_samples_never_harm() {
    let shop = Shop::drawn(Seed(5), 12, MOVES).expect("a shop");
    let propose = hasty(&shop);
    let agent = Agent { world: &shop, propose: &propose, judge: &total, horizon: MOVES, steps: None, seed: Seed(2) };
    assert_eq!(agent.greedy().expect("legal"), agent.best_of_n(1, 0.0).expect("legal"));
    let mut before = f64::MIN;
    for n in [1, 2, 4, 8, 16] {
        let plan = agent.best_of_n(n, 0.7).expect("legal");
        let worth = plan.found().expect("a trajectory").1;
        assert!(worth >= before && plan.trajectories.len() == n);
        before = worth;
        // An oracle finds the best of what was drawn, and steps are those of all trajectories.
        let best = plan.trajectories.iter().map(|(one, _)| one.total()).fold(f64::MIN, f64::max);
        assert_eq!(worth, best);
        assert_eq!(plan.steps, plan.trajectories.iter().map(|(one, _)| one.moves.len() as u64).sum::<u64>());
    }
}

#[test]
fn reflexion_goes_on_until_it_is_enough() {
    let shop = Shop::drawn(Seed(7), 12, MOVES).expect("a shop");
    // Notes are read: with each the agent likes to buy less.
    let propose = |_: &Trajectory<ShopState>, moves: &[u32], notes: &[String]| -> Vec<f64> {
        let liking = 3.0 - notes.len() as f64;
        moves.iter().map(|mv| if shop.read(*mv) == Some(ShopMove::Buy) { liking } else { 0.0 }).collect()
    };
    let agent = Agent { world: &shop, propose: &propose, judge: &total, horizon: MOVES, steps: None, seed: Seed(2) };
    let note = |trajectory: &Trajectory<ShopState>| format!("that was {}", trajectory.total());
    let never = agent.reflexion(10, 1.0, 2.0, &note).expect("legal");
    assert_eq!(never.trajectories.len(), 10);
    let enough = never.found().expect("a trajectory").1;
    let some = agent.reflexion(10, 1.0, enough, &note).expect("legal");
    assert_eq!(some.trajectories.len(), never.best.expect("there is one") + 1);
    assert_eq!(some.found(), never.found());
    // The first trial has no notes, so it is the first sample.
    assert_eq!(never.trajectories[0], agent.best_of_n(1, 1.0).expect("legal").trajectories[0]);
}

#[test]
fn a_tree_visits_what_it_must_and_keeps_to_its_steps() {
    let shop = Shop::drawn(Seed(9), 12, MOVES).expect("a shop");
    let propose = hasty(&shop);
    let agent = |steps| Agent { world: &shop, propose: &propose, judge: &total, horizon: MOVES, steps, seed: Seed(2) };
    let whole = agent(None).tree(tree(40), 0.7).expect("legal");
    assert_eq!((whole.trajectories.len() <= 40, whole.stopped), (true, None));
    for most in [0, 1, 5, 20] {
        for plan in [agent(Some(most)).tree(tree(40), 0.7), agent(Some(most)).best_of_n(40, 0.7)] {
            let plan = plan.expect("spent steps are no error");
            assert!(plan.steps <= most && plan.stopped == Some(Stopped::Budget), "{most}");
            assert!(most > 0 || plan.found().is_none());
        }
    }
    // States are values: the same moves lead to the same place.
    for (trajectory, _) in &whole.trajectories {
        let mut state = shop.reset(Seed(2));
        for (at, mv) in trajectory.moves.iter().enumerate() {
            state = shop.step(&state, *mv).expect("legal").state;
            assert_eq!(state, trajectory.states[at + 1]);
        }
    }
}

#[test]
fn what_is_no_plan_is_refused() {
    let shop = Shop::drawn(Seed(9), 12, MOVES).expect("a shop");
    let propose = hasty(&shop);
    let broken = |_: &Trajectory<ShopState>| f64::NAN;
    let short = |_: &Trajectory<ShopState>, _: &[u32], _: &[String]| vec![0.0];
    let agent = Agent { world: &shop, propose: &propose, judge: &total, horizon: MOVES, steps: None, seed: Seed(2) };
    assert!(
        agent.best_of_n(0, 1.0).is_err() && agent.best_of_n(1, f64::NAN).is_err() && agent.best_of_n(1, -1.0).is_err()
    );
    assert!(agent.tree(TreeOptions { simulations: 0, ..tree(1) }, 1.0).is_err());
    assert!(Agent { horizon: 0, ..agent }.greedy().is_err());
    let agent = Agent { world: &shop, propose: &propose, judge: &broken, horizon: MOVES, steps: None, seed: Seed(2) };
    assert!(agent.greedy().is_err());
    let agent = Agent { world: &shop, propose: &short, judge: &total, horizon: MOVES, steps: None, seed: Seed(2) };
    assert!(matches!(agent.greedy(), Err(SearchError::Answers { .. })));
}
