//! InvestLM: a few instructions that experts chose against all that there are, in supervised fine-tuning.
//!
//! ```text
//! curated = the answers to each prompt that an expert rates highest,   rating = gold reward + noise
//! ```
//! Both students imitate, for as many steps; what is left of a prompt that nobody taught is what the last tokens of answers share.

use anyhow::Result;
use ascribe::core::{Seed, Tokens};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::Sft;
use ascribe::worlds::TreePolicy;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, World, normal};

const LENGTH: usize = 5;
/// Prompts that are taught, and one that is not.
const TAUGHT: [u32; 3] = [0, 1, 2];
const HELD_OUT: u32 = 3;
/// Answers to a prompt, and those that the expert chooses.
const ALL: usize = 320;
const CURATED: usize = 20;
/// Of a rating, where gold rewards deviate by 1.
const NOISE: f64 = 0.5;

/// InvestLM's claims.
pub const ROW: Row = Row {
    name: "curated-instructions",
    paper: "InvestLM: A Large Language Model for Investment using Financial Domain Instruction Tuning, arXiv:2309.13064",
    setting: "answers of 5 tokens to 4 prompts; 320 answers of the start to each of three, of which a rater with half a deviation of \
              noise chooses 20; a row of the table for histories of one length and last token; both students make 200 steps; exact \
              rewards and wins, on the prompts that were taught and on the fourth",
    seeds: 20,
    claims: &[
        Claim { says: "a sixteenth of the answers, chosen, makes the model better", more: "curated", less: "start" },
        Claim { says: "and better than all of them do", more: "curated", less: "all answers" },
        Claim { says: "its answers win more often than those", more: "curated wins", less: "all answers win" },
        Claim {
            says: "also on a prompt that was not taught",
            more: "curated, held out",
            less: "all answers, held out",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let (mut all, mut curated) = (Vec::new(), Vec::new());
    for prompt in TAUGHT {
        let seed = seed.child("answers", u64::from(prompt));
        let answers = world.samples(&world.reference, prompt, ALL, seed)?;
        let mut stream = seed.stream("expert", 0);
        let mut rated = Vec::with_capacity(ALL);
        for answer in answers {
            rated.push((world.reward(prompt, &answer)? + NOISE * normal(&mut stream), answer));
        }
        let row = |answer: &Tokens| TrainRow::single(vec![prompt], answer.clone());
        curated.extend(chosen(&rated, CURATED).into_iter().map(row));
        all.extend(rated.iter().map(|(_, answer)| row(answer)));
    }
    let table = Table { world: &world, reference: &world.reference, state: place_and_last };
    let training = Training { steps: 200, rate: 0.05, seed };
    let (of_all, of_curated) = (table.trained(&Sft, &all, training)?, table.trained(&Sft, &curated, training)?);
    let earned = |policy: &TreePolicy, prompts: &[u32]| -> Result<f64> {
        let values = world.tree.exact_value(policy)?;
        let of = |prompt: &u32| values.value(&[*prompt]);
        Ok(mean(&prompts.iter().map(of).collect::<Result<Vec<f64>, _>>()?))
    };
    let wins = world.wins(&of_curated, &of_all);
    Ok(vec![
        ("start".to_owned(), earned(&world.reference, &TAUGHT)?),
        ("all answers".to_owned(), earned(&of_all, &TAUGHT)?),
        ("curated".to_owned(), earned(&of_curated, &TAUGHT)?),
        ("all answers, held out".to_owned(), earned(&of_all, &[HELD_OUT])?),
        ("curated, held out".to_owned(), earned(&of_curated, &[HELD_OUT])?),
        ("curated wins".to_owned(), wins),
        ("all answers win".to_owned(), 1.0 - wins),
    ])
}

/// The `n` answers that are rated highest, the best first.
fn chosen(rated: &[(f64, Tokens)], n: usize) -> Vec<&Tokens> {
    let mut order: Vec<&(f64, Tokens)> = rated.iter().collect();
    order.sort_by(|one, other| other.0.total_cmp(&one.0));
    order.into_iter().take(n).map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_ratings_are_chosen() {
        let rated =
            [(0.5, 7), (-1.0, 8), (2.0, 9)].map(|(rating, token): (f64, u32)| (rating, Tokens::from(vec![token])));
        let chosen: Vec<u32> = chosen(&rated, 2).into_iter().map(|answer| answer[0]).collect();
        assert_eq!(chosen, [9, 7]);
    }
}
