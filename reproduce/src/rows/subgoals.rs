//! CALM: an annotator says which steps achieve a subgoal, and these pay.
//!
//! The subgoals are to take the key and to open the door. The annotator is a rule that reads two observations, with mistakes of a
//! given rate: subgoals that it misses, and steps that it takes for one.

use anyhow::Result;
use ascribe::core::{CoreError, Seed};
use ascribe::eval::classify::{Decision, ZeroDivision};
use ascribe::reward::shaping::{Attempt, Auxiliary, SubgoalAnnotator, Subgoals, annotate, confusions, potential};
use rand::RngExt;

use crate::rooms::{Agent, DISCOUNT, Walk};
use crate::row::{Claim, Figures, Row};

const WALKS: u64 = 300;
const NAMES: [&str; 2] = ["take the key", "open the door"];
const MISSED: f64 = 0.3;
const ALARMS: f64 = 0.005;

/// CALM's claims.
pub const ROW: Row = Row {
    name: "subgoals",
    paper: "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL, arXiv:2409.12798",
    setting: "two rooms with a key, a door and a goal that alone pays; Q-learning on 300 walks of at most 120 steps; a subgoal pays \
              1/2 at its first achievement, or as a potential of scale 1; a rule annotates, without mistakes, with 30 % of the \
              subgoals missed, or with five false alarms in 1000 answers; the share of walks that arrive, and the F1 of the annotations, a mean over subgoals",
    seeds: 12,
    claims: &[
        Claim { says: "rewards of subgoals help where rewards are sparse", more: "subgoals", less: "sparse" },
        Claim { says: "and as a potential, which leaves the best policy as it is", more: "potential", less: "sparse" },
        Claim { says: "an annotator who misses some still helps", more: "subgoals, some missed", less: "sparse" },
        Claim {
            says: "false alarms, though rarer, cost more than misses",
            more: "subgoals, some missed",
            less: "subgoals, false alarms",
        },
        Claim { says: "and in F1 of the annotations, too", more: "F1, some missed", less: "F1, false alarms" },
    ],
    tried: "",
    run,
};

/// Reads observations by a rule, with mistakes.
struct Reader {
    missed: f64,
    alarms: f64,
    seed: Seed,
}

impl SubgoalAnnotator for Reader {
    fn achieved(&self, questions: &[(Attempt<'_>, &str)]) -> Result<Vec<Option<bool>>, CoreError> {
        let mut stream = self.seed.stream("mistakes", 0);
        let answer = |(attempt, subgoal): &(Attempt<'_>, &str)| {
            let mark = if *subgoal == NAMES[0] { "the key in hand" } else { "the door open" };
            let achieved = attempt.after.contains(mark) && !attempt.before.contains(mark);
            let mistake = stream.random::<f64>() < if achieved { self.missed } else { self.alarms };
            Some(achieved != mistake)
        };
        Ok(questions.iter().map(answer).collect())
    }
}

/// Which subgoals each step of a walk achieved, in their order.
fn achieved(walk: &Walk, subgoals: &Subgoals, reader: &Reader) -> Result<Vec<Vec<bool>>> {
    let seen: Vec<String> = walk.places.iter().map(|place| place.observation()).collect();
    let attempts: Vec<Attempt<'_>> =
        seen.windows(2).map(|two| Attempt { before: &two[0], action: "move", after: &two[1] }).collect();
    let (flags, _) = annotate(reader, &attempts, subgoals)?;
    Ok(subgoals.in_order(&flags)?)
}

/// The share of walks that arrive while the agent learns from what `shaped` makes of each.
fn arrivals(seed: Seed, mut shaped: impl FnMut(&Walk, Seed) -> Result<Vec<f64>>) -> Result<f64> {
    let mut agent = Agent::fresh();
    let mut arrived = 0;
    for number in 0..WALKS {
        let walk = agent.walk(&mut seed.stream("walk", number));
        arrived += usize::from(walk.arrived());
        agent.learn(&walk, &shaped(&walk, seed.child("annotator", number))?);
    }
    Ok(arrived as f64 / WALKS as f64)
}

fn run(seed: Seed) -> Result<Figures> {
    let subgoals = Subgoals::new(&NAMES, &[(0, 1)])?;
    let auxiliary = Auxiliary { c: 0.5, once: true };
    // The share of arrivals, and the F1 of the annotations over all walks.
    let paid = |missed: f64, alarms: f64| -> Result<[f64; 2]> {
        let (mut annotated, mut people): (Vec<Vec<bool>>, Vec<Vec<bool>>) = (Vec::new(), Vec::new());
        let arrived = arrivals(seed, |walk, seed| {
            let flags = achieved(walk, &subgoals, &Reader { missed, alarms, seed })?;
            people.extend(achieved(walk, &subgoals, &Reader { missed: 0.0, alarms: 0.0, seed })?);
            annotated.extend(flags.iter().cloned());
            Ok(auxiliary.shape(&walk.paid(), &flags)?)
        })?;
        let mut f1 = 0.0;
        for counts in confusions(&annotated, &people)? {
            f1 += counts.measure(Decision::FBeta(1.0), ZeroDivision::Value(0.0))? / NAMES.len() as f64;
        }
        Ok([arrived, f1])
    };
    let ([subgoals_paid, _], missed, alarms) = (paid(0.0, 0.0)?, paid(MISSED, 0.0)?, paid(0.0, ALARMS)?);
    let by_potential = arrivals(seed, |walk, seed| {
        let flags = achieved(walk, &subgoals, &Reader { missed: 0.0, alarms: 0.0, seed })?;
        Ok(potential(&walk.paid(), &flags, 1.0, DISCOUNT)?)
    })?;
    Ok(vec![
        ("sparse".into(), arrivals(seed, |walk, _| Ok(walk.paid()))?),
        ("subgoals".into(), subgoals_paid),
        ("potential".into(), by_potential),
        ("subgoals, some missed".into(), missed[0]),
        ("subgoals, false alarms".into(), alarms[0]),
        ("F1, some missed".into(), missed[1]),
        ("F1, false alarms".into(), alarms[1]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_sees_a_key_that_was_taken() {
        let reader = |missed| Reader { missed, alarms: 0.0, seed: Seed(0) };
        let attempt = Attempt { before: "column 0, row 5", action: "move", after: "column 0, row 6, the key in hand" };
        let questions = [(attempt, NAMES[0]), (attempt, NAMES[1])];
        assert_eq!(reader(0.0).achieved(&questions).unwrap(), [Some(true), Some(false)]);
        assert_eq!(reader(1.0).achieved(&questions).unwrap(), [Some(false), Some(false)]);
    }
}
