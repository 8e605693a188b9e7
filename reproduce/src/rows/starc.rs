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

use crate::heads::best;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const STATES: usize = 12;
const ACTIONS: usize = 3;
const DISCOUNT: f64 = 0.9;
const PROXIES: u64 = 100;
/// Improvements of a policy; a dozen states need a few.
const ROUNDS: usize = 100;

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
    let most = worth(&mdp, &reward, &reward)?;
    let opposite: Vec<f64> = reward.iter().map(|reward| -reward).collect();
    let least = worth(&mdp, &reward, &opposite)?;
    let (uniform, of_states, of_actions) =
        (mdp.uniform(), [1.0 / STATES as f64; STATES], [1.0 / ACTIONS as f64; ACTIONS]);
    let mut regrets = Vec::new();
    let mut distances: [Vec<f64>; 4] = Default::default();
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
        regrets.push((most - worth(&mdp, &reward, &proxy)?) / (most - least));
        let starc = |canon: Canon| starc_distance(&mdp, &reward, &proxy, &uniform, canon, Norm::L2);
        distances[0].push(starc(Canon::Advantage)?);
        distances[1].push(epic_distance(&reward, &proxy, DISCOUNT, &of_states, &of_actions)?);
        distances[2].push(starc(Canon::Potential)?);
        distances[3].push(starc(Canon::Raw)?);
    }
    let mut figures = Figures::new();
    for (name, distances) in ["STARC", "EPIC", "potentials alone", "raw rewards"].iter().zip(&distances) {
        figures.push((format!("rho of {name}"), spearman(distances, &regrets, &Bootstrap::NONE)?.value));
    }
    Ok(figures)
}

/// The mean return by `reward`, over first states, of the best policy for `wanted`, found by improving a policy.
fn worth(mdp: &Mdp, reward: &[f64], wanted: &[f64]) -> Result<f64> {
    let mut policy = mdp.uniform();
    for _ in 0..ROUNDS {
        let mut better = vec![0.0; policy.len()];
        for (state, q) in mdp.values(wanted, &policy)?.action.chunks(ACTIONS).enumerate() {
            better[state * ACTIONS + best(q)] = 1.0;
        }
        if better == policy {
            break;
        }
        policy = better;
    }
    Ok(mdp.values(reward, &policy)?.state.iter().sum::<f64>() / mdp.states() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_policy_by_hand() {
        // The first action stays, the second goes to the other state, the third as well; being in the second state pays 1 a step.
        let (stay, go) = ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]);
        let rows = (0..2).flat_map(|state| [stay[state], go[state], go[state]]);
        let mdp = Mdp::new(ACTIONS, rows.flatten().collect(), vec![false; 2], DISCOUNT).unwrap();
        let reward = [0.0, 1.0].repeat(2 * ACTIONS);
        assert!((worth(&mdp, &reward, &reward).unwrap() - 10.0).abs() < 1e-9);
        let opposite: Vec<f64> = reward.iter().map(|reward| -reward).collect();
        assert!(worth(&mdp, &reward, &opposite).unwrap().abs() < 1e-9);
    }
}
