//! STARC: which distance of a proxy from the true reward foretells what is lost by optimising the proxy?
//!
//! Every state and action leads to two of the states. A proxy is a mixture of the true reward and another one, in its own share
//! where a transition can happen and where it cannot; it is scaled and shaped by potentials, which change no best policy.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::rank::spearman;
use ascribe::eval::reward_distance::{Canon, Mdp, Norm, epic_distance, starc_distance};
use rand::RngExt;

use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const STATES: usize = 12;
const ACTIONS: usize = 3;
const DISCOUNT: f64 = 0.9;
const PROXIES: u64 = 100;

/// STARC's claims.
pub const ROW: Row = Row {
    name: "starc",
    paper: "STARC: A General Framework For Quantifying Differences Between Reward Functions, arXiv:2309.15257",
    setting: "decision processes of 12 states and 3 actions, each of which leads to two states; 100 proxies: shares of the true \
              reward and of another, apart where transitions are impossible, scaled and shaped; Spearman's rho of the distance \
              with the share of the return that the best policy for the proxy loses",
    seeds: 12,
    claims: &[
        Claim { says: "STARC foretells the regret better than EPIC", more: "rho of STARC", less: "rho of EPIC" },
        Claim {
            says: "and better than a form that does not average over next states",
            more: "rho of STARC",
            less: "rho of potentials alone",
        },
        Claim { says: "and better than the rewards as they are", more: "rho of STARC", less: "rho of raw rewards" },
        Claim { says: "and better than DARD", more: "rho of STARC", less: "rho of DARD" },
        Claim {
            says: "the minimal form foretells the regret better than EPIC, too",
            more: "rho of the minimal form",
            less: "rho of EPIC",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let mut stream = seed.stream("process", 0);
    let mut transitions = vec![0.0; STATES * ACTIONS * STATES];
    for row in transitions.chunks_mut(STATES) {
        let (one, other): (usize, usize) = (stream.random_range(0..STATES), stream.random_range(0..STATES));
        let share = stream.random_range(0.2..0.8);
        row[one] += share;
        row[other] += 1.0 - share;
    }
    let mdp = Mdp::new(ACTIONS, transitions.clone(), vec![false; STATES], DISCOUNT)?;
    let reward: Vec<f64> = transitions.iter().map(|_| normal(&mut stream)).collect();
    let (uniform, of_states, of_actions) =
        (mdp.uniform(), [1.0 / STATES as f64; STATES], [1.0 / ACTIONS as f64; ACTIONS]);
    let mut regrets = Vec::new();
    let mut distances: [Vec<f64>; 6] = Default::default();
    for number in 0..PROXIES {
        let mut stream = seed.stream("proxy", number);
        let shares: [f64; 2] = [stream.random(), stream.random()];
        let scale = stream.random_range(0.5..2.0);
        let potential: Vec<f64> = (0..STATES).map(|_| 3.0 * normal(&mut stream)).collect();
        let mut proxy = Vec::with_capacity(reward.len());
        for (at, (reward, chance)) in reward.iter().zip(&transitions).enumerate() {
            let share = shares[usize::from(*chance > 0.0)];
            let mixed = share * reward + (1.0 - share) * normal(&mut stream);
            let shaped = DISCOUNT * potential[at % STATES] - potential[at / (STATES * ACTIONS)];
            proxy.push(scale * mixed + shaped);
        }
        regrets.push(mdp.regret(&reward, &proxy, &of_states)?);
        let starc = |canon: Canon| starc_distance(&mdp, &reward, &proxy, &uniform, canon, Norm::L2, Norm::L2);
        distances[0].push(starc(Canon::Advantage)?);
        distances[1].push(epic_distance(&reward, &proxy, DISCOUNT, &of_states, &of_actions)?);
        distances[2].push(starc(Canon::Potential)?);
        distances[3].push(starc(Canon::Raw)?);
        distances[4].push(starc(Canon::Dard)?);
        distances[5].push(starc(Canon::Minimal)?);
    }
    let mut figures = Figures::new();
    let names = ["STARC", "EPIC", "potentials alone", "raw rewards", "DARD", "the minimal form"];
    for (name, distances) in names.iter().zip(&distances) {
        figures.push((format!("rho of {name}"), spearman(distances, &regrets, &Bootstrap::NONE)?.value));
    }
    Ok(figures)
}
