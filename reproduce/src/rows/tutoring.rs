//! Pedagogical alignment: a tutor that leads a student on instead of giving the answer away, by SFT and by preferences.
//!
//! ```text
//! prompt     where the student stands: wrong, half right, right, lost
//! reply      four moves, each a hint, a question, praise or the answer
//! chosen     the apt first move four times in five, then any moves but the answer
//! rejected   any moves, the answer among them
//! scaffold   the first move is apt and no move is the answer
//! ```
//! SFT imitates the chosen replies, with what is amiss in them. DPO, IPO and KTO begin from it and see the rejected ones too; SFT
//! goes on for as many steps.
//!
//! ```text
//! margin that a pair wants which is preferred with the chance p:    DPO  logit(p) / beta,    IPO  (2 p - 1) / (2 tau)
//! ```
//! Near even chances the two agree at `tau = beta / 4`; at `tau = beta` IPO wants a quarter of DPO's margin.

use anyhow::Result;
use ascribe::core::{Objective, Seed, Stream};
use ascribe::preference::objectives::{DpoConfig, IpoConfig, KtoConfig, Sft};
use ascribe::preference::{TrainRow, mismatch};
use ascribe::worlds::{TokenTree, TreePolicy};
use rand::RngExt;

use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{PROMPTS, VOCABULARY, World};

const LENGTH: usize = 4;
const BETA: f64 = 0.3;
const PAIRS: usize = 512;
const STEPS: usize = 100;
/// How often the first move of a chosen reply is chosen for being apt.
const CARE: f64 = 0.8;
/// The move that gives the answer away.
const ANSWER: u32 = 3;
/// The apt first move: a hint where the student is wrong or lost, a question where half right, praise where right.
const APT: [u32; VOCABULARY] = [0, 1, 2, 0];

/// The claims of pedagogical alignment.
pub const ROW: Row = Row {
    name: "tutoring",
    paper: "Pedagogical Alignment of Large Language Models, arXiv:2402.05000",
    setting: "4 states of a student and replies of four moves out of four, 512 templated pairs; SFT on the chosen for 100 steps, \
              then 100 more of SFT, DPO, IPO or KTO, beta 0.3, which is IPO's tau, and IPO with a tau of beta / 4; rows of a \
              policy are shared by histories of one length and last token; rates are exact",
    seeds: 20,
    claims: &[
        Claim { says: "DPO scaffolds more often than SFT", more: "scaffold by DPO", less: "scaffold by SFT" },
        Claim { says: "so does IPO", more: "scaffold by IPO", less: "scaffold by SFT" },
        Claim { says: "so does KTO", more: "scaffold by KTO", less: "scaffold by SFT" },
        Claim {
            says: "so does IPO with the tau whose margins are DPO's near even chances",
            more: "scaffold by IPO, a quarter of tau",
            less: "scaffold by SFT",
        },
        Claim { says: "SFT gives the answer away more often than DPO", more: "leaks by SFT", less: "leaks by DPO" },
        Claim { says: "and than IPO", more: "leaks by SFT", less: "leaks by IPO" },
        Claim { says: "and than IPO with that tau", more: "leaks by SFT", less: "leaks by IPO, a quarter of tau" },
        Claim { says: "and than KTO", more: "leaks by SFT", less: "leaks by KTO" },
    ],
    tried: "IPO at tau 0.3 wants a margin of 1 / (2 tau) = 1.67 nats of each pair and pulls back what is beyond it, where DPO at \
            beta 0.3 wants ever more of pairs that are told apart for certain, as these are; so IPO has a second tau, at which \
            both want the same near even chances: 6.67 nats.",
    run,
};

/// Whether a reply leads on: the student first, then the moves.
fn scaffolds(path: &[u32]) -> bool {
    path[1] == APT[path[0] as usize] && !leaks(path)
}

/// Whether a reply gives the answer away.
fn leaks(path: &[u32]) -> bool {
    path[1..].contains(&ANSWER)
}

/// A reply that a tutor wrote with care, and one that was rejected.
fn templated(student: u32, stream: &mut Stream) -> TrainRow {
    let mut chosen: Vec<u32> = (0..LENGTH).map(|_| stream.random_range(0..ANSWER)).collect();
    if stream.random::<f64>() < CARE {
        chosen[0] = APT[student as usize];
    }
    let mut rejected: Vec<u32> = (0..LENGTH).map(|_| stream.random_range(0..=ANSWER)).collect();
    rejected[stream.random_range(0..LENGTH)] = ANSWER;
    TrainRow::pair(vec![student], chosen, rejected)
}

fn run(seed: Seed) -> Result<Figures> {
    let world = World::new(LENGTH, seed, |path| f64::from(u8::from(scaffolds(path))))?;
    let leaking = TokenTree::new(VOCABULARY, LENGTH + 1, |path| f64::from(u8::from(leaks(path))))?;
    let mut stream = seed.stream("templates", 0);
    let pairs: Vec<TrainRow> = (0..PAIRS).map(|at| templated(PROMPTS[at % PROMPTS.len()], &mut stream)).collect();
    let reply = |row: &TrainRow, at: usize| row.responses[at].tokens.clone();
    let chosen: Vec<TrainRow> = pairs.iter().map(|row| TrainRow::single(row.prompt.clone(), reply(row, 0))).collect();
    let side = |row: &TrainRow, at: usize| TrainRow::labelled(row.prompt.clone(), reply(row, at), at == 0);
    let mut sides: Vec<TrainRow> = pairs.iter().flat_map(|row| [side(row, 0), side(row, 1)]).collect();
    mismatch(&mut sides, LENGTH + 1)?;

    let training = Training { steps: STEPS, rate: 0.05, seed };
    let base = Table { world: &world, reference: &world.reference, state: place_and_last };
    let start = base.trained(&Sft, &chosen, training)?;
    let table = Table { world: &world, reference: &start, state: place_and_last };
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let ipo = IpoConfig { beta: BETA, length_normalized: false, ..IpoConfig::default() }.init()?;
    let wide = IpoConfig { beta: BETA / 4.0, length_normalized: false, ..IpoConfig::default() }.init()?;
    let kto = KtoConfig { beta: BETA, ..KtoConfig::default() }.init()?;
    let arms: [(&str, &dyn Objective, &[TrainRow]); 5] = [
        ("SFT", &Sft, &chosen),
        ("DPO", &dpo, &pairs),
        ("IPO", &ipo, &pairs),
        ("IPO, a quarter of tau", &wide, &pairs),
        ("KTO", &kto, &sides),
    ];
    let leaked = |policy: &TreePolicy| -> Result<f64> { Ok(leaking.exact_value(policy)?.value(&[])?) };
    let mut figures: Figures = vec![
        ("scaffold at first".into(), world.gold(&world.reference)?),
        ("leaks at first".into(), leaked(&world.reference)?),
    ];
    for (name, objective, rows) in arms {
        let policy = table.trained(objective, rows, training)?;
        figures.push((format!("scaffold by {name}"), world.gold(&policy)?));
        figures.push((format!("leaks by {name}"), leaked(&policy)?));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_worked_by_hand() {
        // A student who is half right is asked; the answer is given away in the last move.
        assert!(scaffolds(&[1, 1, 0, 2, 2]) && !scaffolds(&[1, 0, 1, 1, 1]) && !scaffolds(&[1, 1, 0, 2, 3]));
        assert!(leaks(&[1, 1, 0, 2, 3]) && !leaks(&[3, 0, 0, 0, 0]), "the state of a student is no move");
        let mut stream = Seed(4).stream("templates", 0);
        let rows: Vec<TrainRow> = (0..400).map(|_| templated(2, &mut stream)).collect();
        let path = |row: &TrainRow, at: usize| row.prompt.followed_by(&row.responses[at].tokens);
        assert!(rows.iter().all(|row| !leaks(&path(row, 0)) && leaks(&path(row, 1))));
        // 0.8 + 0.2 / 3, with a standard deviation of 0.017.
        let apt = rows.iter().filter(|row| scaffolds(&path(row, 0))).count() as f64 / 400.0;
        assert!((apt - 0.8667).abs() < 0.06, "{apt}");
    }
}
