//! ARMAP: a reward of whole trajectories, learned without anyone's labels, and planning with it.
//!
//! An agent explores shops at random. What it bought is written down as an intent that this trajectory fulfils, and another
//! trajectory through the same shop is the negative. A linear head learns to tell the two apart by what their texts say, and
//! then judges plans in new shops for new intents.

use anyhow::{Context, Result};
use ascribe::core::{Seed, World};
use ascribe::reward::losses::TrajectoriesConfig;
use ascribe::reward::{Triplet, keep_triplets};
use ascribe::search::SearchError;
use ascribe::search::mcts::rule::Rule;
use ascribe::search::mcts::tree::{Backup, TreeOptions};
use ascribe::search::plan::{Agent, Plan, Trajectory};
use ascribe::worlds::{Item, Shop, ShopMove, ShopState};
use rand::RngExt;

use crate::heads::{Head, Pair, Sample, Training, Widths, train};
use crate::row::{Claim, Figures, Row};
use crate::world::sigmoid;

const ITEMS: usize = 12;
const MOVES: usize = 8;
/// Shops that are explored.
const SHOPS: u64 = 300;
/// Trajectories of an exploration.
const EXPLORED: usize = 8;
const TASKS: u64 = 80;
const SAMPLES: usize = 20;
/// What a head is told of a trajectory; see [`told`].
const INPUTS: usize = 6;

/// ARMAP's claims.
pub const ROW: Row = Row {
    name: "armap",
    paper: "Scaling Autonomous Agents via Automatic Reward Modeling And Planning, arXiv:2502.12130",
    setting: "shops of 12 items and 8 moves; 300 explored shops, each with a trajectory, its intent by template and another \
              trajectory; a linear head on 6 features of the texts; an agent who likes to buy at once; 80 new intents a seed, \
              the reward is the share of the intent that is met",
    seeds: 10,
    claims: &[
        Claim {
            says: "the best of 20 trajectories by the learned reward beats one",
            more: "reward, best of 20",
            less: "reward, one sample",
        },
        Claim { says: "it beats greedy planning", more: "reward, best of 20", less: "reward, greedy" },
        Claim {
            says: "tree search beats the best of 20 with as many steps in the world",
            more: "reward, tree search",
            less: "reward, best of 20",
        },
        Claim {
            says: "what was learned chooses better than an untrained reward",
            more: "reward, best of 20",
            less: "reward, best of 20 untrained",
        },
        Claim { says: "the learned reward tells new pairs apart", more: "accuracy of the reward", less: "one half" },
    ],
    tried: "",
    run,
};

type Walk = Trajectory<ShopState>;

/// What is wanted, or what was bought.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Thing {
    kind: usize,
    features: u8,
    colour: usize,
    price: u32,
}

impl Thing {
    /// From numbers as they are written; features are bits.
    fn read(numbers: [&str; 4]) -> Option<Self> {
        let [kind, features, colour, price] = numbers;
        Some(Self {
            kind: kind.parse().ok()?,
            features: u8::from_str_radix(features, 2).ok()?,
            colour: colour.parse().ok()?,
            price: price.parse().ok()?,
        })
    }

    /// What an intent asks for.
    fn wanted(intent: &str) -> Option<Self> {
        match numbers(intent)[..] {
            [kind, features, colour, price] => Self::read([kind, features, colour, price]),
            _ => None,
        }
    }

    /// What a trajectory ends with, if it ends with a purchase.
    fn bought(shop: &Shop, walk: &Walk) -> Option<Self> {
        if shop.read(*walk.moves.last()?) != Some(ShopMove::Buy) {
            return None;
        }
        let page = shop.observation(walk.states.iter().rev().nth(1)?);
        match numbers(&page)[..] {
            [_, kind, features, colour, _, price] => Self::read([kind, features, colour, price]),
            _ => None,
        }
    }
}

/// The numbers of a text, as they are written.
fn numbers(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_ascii_digit()).filter(|part| !part.is_empty()).collect()
}

/// What a head is told: whether something was bought, its kind, its colour and its price are right, the share of the features
/// that are wanted, and how many moves it took.
fn told(intent: &str, shop: &Shop, walk: &Walk) -> Vec<f64> {
    let (Some(wanted), Some(bought)) = (Thing::wanted(intent), Thing::bought(shop, walk)) else {
        return vec![0.0; INPUTS];
    };
    let says = |yes: bool| f64::from(u8::from(yes));
    let share =
        f64::from((bought.features & wanted.features).count_ones()) / f64::from(wanted.features.count_ones().max(1));
    vec![
        1.0,
        says(bought.kind == wanted.kind),
        says(bought.colour == wanted.colour),
        says(bought.price <= wanted.price),
        share,
        walk.moves.len() as f64 / MOVES as f64,
    ]
}

fn items(seed: Seed) -> Vec<Item> {
    let mut stream = seed.stream("items", 0);
    let mut item = || Item {
        kind: stream.random_range(0..3),
        features: stream.random_range(0..16u32) as u8,
        colours: stream.random_range(1..4),
        price: stream.random_range(1..20),
    };
    (0..ITEMS).map(|_| item()).collect()
}

/// A liking for buying at once, and for nothing else.
fn hasty(shop: &Shop, moves: &[u32]) -> Vec<f64> {
    moves.iter().map(|mv| if shop.read(*mv) == Some(ShopMove::Buy) { 1.0 } else { 0.0 }).collect()
}

/// Trajectories through a shop, with a judge of them.
fn planned(
    shop: &Shop,
    judge: &dyn Fn(&Walk) -> f64,
    steps: Option<u64>,
    seed: Seed,
    plan: impl Fn(&Agent<'_, Shop>) -> Result<Plan<ShopState>, SearchError>,
) -> Result<Plan<ShopState>> {
    let propose = |_: &Walk, moves: &[u32], _: &[String]| hasty(shop, moves);
    Ok(plan(&Agent { world: shop, propose: &propose, judge, horizon: MOVES, steps, seed })?)
}

/// Whether these moves earn everything in a shop.
fn fulfils(shop: &Shop, moves: &[u32]) -> Result<bool> {
    let (mut state, mut earned) = (shop.reset(Seed(0)), 0.0);
    for mv in moves {
        let next = shop.step(&state, *mv)?;
        earned += next.reward;
        state = next.state;
    }
    Ok(earned > 1.0 - 1e-9)
}

/// Pairs of what is told of a trajectory with its own intent, and of another with the same intent; of `n` shops, those that
/// can teach.
fn pairs(n: u64, seed: Seed) -> Result<Vec<Pair>> {
    let mut triplets = Vec::new();
    for number in 0..n {
        let own = seed.child("shop", number);
        let items = items(own);
        // What is wanted changes nothing of what can be explored.
        let shop = Shop::new(items.clone(), items[0].clone(), 0, MOVES)?;
        let explored = planned(&shop, &|_| 0.0, None, own, |agent| agent.best_of_n(EXPLORED, 1.0))?;
        let walks: Vec<&Walk> = explored.trajectories.iter().map(|(walk, _)| walk).collect();
        let Some((positive, bought)) = walks.iter().find_map(|walk| Some((*walk, Thing::bought(&shop, walk)?))) else {
            continue;
        };
        let Some(negative) = walks.iter().find(|walk| Thing::bought(&shop, walk) != Some(bought)) else { continue };
        let Thing { kind, features, colour, price } = bought;
        let wanted = Shop::new(items, Item { kind, features, colours: 1, price }, colour, MOVES)?;
        let intent = wanted.intent();
        triplets.push(Triplet {
            task: "shop".to_owned(),
            positive: told(&intent, &shop, positive),
            negative: told(&intent, &shop, negative),
            verified: Some(fulfils(&wanted, &positive.moves)?),
            intent,
        });
    }
    let kept = keep_triplets(&triplets).kept;
    Ok(kept.into_iter().map(|at| [triplets[at].positive.clone(), triplets[at].negative.clone()]).collect())
}

fn run(seed: Seed) -> Result<Figures> {
    let learned_from = pairs(SHOPS, seed.child("training", 0))?;
    let rows: Vec<Sample> = learned_from.iter().map(|[positive, negative]| Sample::pair(positive, negative)).collect();
    let loss = TrajectoriesConfig::default().init()?;
    let fresh = Head::fresh(Widths { inputs: INPUTS, hidden: 0, outputs: 1 }, seed);
    let head = train(fresh.clone(), &loss, &rows, Training { steps: 300, rate: 3e-2, seed })?;
    let accuracy = head.accuracy(&pairs(SHOPS, seed.child("tests", 0))?);

    let names = ["greedy", "one sample", "best of 20", "best of 20 untrained", "best of 20 true", "tree search"];
    let (mut rewards, mut met, mut steps) = ([0.0; 6], [0.0; 6], [0.0; 6]);
    for number in 0..TASKS {
        let own = seed.child("task", number);
        let items = items(own);
        let mut stream = own.stream("intent", 0);
        let wanted = items[stream.random_range(0..items.len())].clone();
        let colour = stream.random_range(0..wanted.colours);
        let shop = Shop::new(items, wanted, colour, MOVES)?;
        let intent = shop.intent();
        let by = |head: &Head, walk: &Walk| sigmoid(head.rewards(&[told(&intent, &shop, walk)])[0]);
        let (learned, untrained) = (|walk: &Walk| by(&head, walk), |walk: &Walk| by(&fresh, walk));
        let truth = |walk: &Walk| walk.total();
        let best = planned(&shop, &learned, None, own, |agent| agent.best_of_n(SAMPLES, 1.0))?;
        let as_many = Some(best.steps);
        let tree = TreeOptions {
            simulations: 200,
            expand: 8,
            rule: Rule::Uct { w: 0.3 },
            backup: Backup::Max,
            ..TreeOptions::default()
        };
        let plans = [
            planned(&shop, &learned, None, own, |agent| agent.greedy())?,
            planned(&shop, &learned, None, own, |agent| agent.best_of_n(1, 1.0))?,
            best,
            planned(&shop, &untrained, None, own, |agent| agent.best_of_n(SAMPLES, 1.0))?,
            planned(&shop, &truth, None, own, |agent| agent.best_of_n(SAMPLES, 1.0))?,
            planned(&shop, &learned, as_many, own, |agent| agent.tree(tree, 1.0))?,
        ];
        for (at, plan) in plans.iter().enumerate() {
            let (walk, _) = plan.found().context("there are steps for a trajectory")?;
            rewards[at] += walk.total() / TASKS as f64;
            met[at] += f64::from(u8::from(walk.total() > 1.0 - 1e-9)) / TASKS as f64;
            steps[at] += plan.steps as f64 / TASKS as f64;
        }
    }
    let mut figures: Figures = vec![("accuracy of the reward".into(), accuracy), ("one half".into(), 0.5)];
    for (at, name) in names.iter().enumerate() {
        let named = [("reward", rewards[at]), ("intents met", met[at]), ("steps", steps[at])];
        figures.extend(named.map(|(what, value)| (format!("{what}, {name}"), value)));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_visit_worked_by_hand() {
        // One thing of kind 1 with the features 0110 in two colours for 7; wanted is kind 1, 0011, colour 1, at most 5.
        let item = |features, colours, price| Item { kind: 1, features, colours, price };
        let shop = Shop::new(vec![item(6, 2, 7)], item(3, 1, 5), 1, MOVES).unwrap();
        let walk = |moves: &[ShopMove]| {
            let mut walk = Walk { states: vec![shop.reset(Seed(0))], moves: vec![], rewards: vec![], done: false };
            for mv in moves {
                let next = shop.step(walk.last(), shop.id(*mv)).unwrap();
                walk.states.push(next.state);
                walk.moves.push(shop.id(*mv));
                walk.rewards.push(next.reward);
                walk.done = next.done;
            }
            walk
        };
        let intent = shop.intent();
        assert_eq!(Thing::wanted(&intent), Some(Thing { kind: 1, features: 3, colour: 1, price: 5 }));
        let whole = walk(&[ShopMove::Search(1), ShopMove::Open(0), ShopMove::Choose(1), ShopMove::Buy]);
        assert_eq!(Thing::bought(&shop, &whole), Some(Thing { kind: 1, features: 6, colour: 1, price: 7 }));
        assert_eq!(told(&intent, &shop, &whole), [1.0, 1.0, 1.0, 0.0, 0.5, 0.5]);
        let nothing = walk(&[ShopMove::Search(1), ShopMove::Open(0)]);
        assert_eq!(told(&intent, &shop, &nothing), [0.0; INPUTS]);
    }

    #[test]
    fn a_positive_fulfils_its_intent() {
        let pairs = pairs(20, Seed(3)).unwrap();
        assert!(pairs.len() > 10 && pairs.iter().all(|[positive, _]| positive[..4] == [1.0; 4]), "{pairs:?}");
        assert!(pairs.iter().all(|[positive, negative]| positive != negative), "{pairs:?}");
    }
}
