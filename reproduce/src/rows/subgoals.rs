//! CALM: an annotator says which steps achieve a subgoal, and these pay.
//!
//! The subgoals are to take the key and to open the door. The annotator is a rule that reads two observations, with mistakes of a
//! given rate: subgoals that it misses, and steps that it takes for one. It is given this list, or it names three of four subgoals
//! that come to mind, two of which people do not count.

use anyhow::Result;
use ascribe::core::{CoreError, Seed};
use ascribe::eval::classify::{Confusion, Decision, ZeroDivision};
use ascribe::reward::shaping::{Attempt, Auxiliary, SubgoalAnnotator, Subgoals, annotate, confusions, potential};
use rand::RngExt;

use crate::rooms::{Agent, DISCOUNT, Walk};
use crate::row::{Claim, Figures, Row};

const WALKS: u64 = 300;
const NAMES: [&str; 2] = ["take the key", "open the door"];
/// What may come to mind as a subgoal, and what is seen once it is achieved.
const MARKS: [(&str, &str); 4] = [
    (NAMES[0], "the key in hand"),
    (NAMES[1], "the door open"),
    ("reach the column of the door", "column 5"),
    ("reach the last row", "row 6"),
];
const MISSED: f64 = 0.3;
const ALARMS: f64 = 0.005;
/// What an achievement pays.
const AUXILIARY: Auxiliary = Auxiliary { c: 0.5, once: true };

/// CALM's claims.
pub const ROW: Row = Row {
    name: "subgoals",
    paper: "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL, arXiv:2409.12798",
    setting: "two rooms with a key, a door and a goal that alone pays; Q-learning on 300 walks of at most 120 steps; a subgoal \
              pays 1/2 at its first achievement, or as a potential of scale 1; a rule annotates, without mistakes, with 30 % of \
              the subgoals missed, or with five false alarms in 1000 answers; the share of walks that arrive, and precision, \
              recall and F1 of the annotations, a mean over subgoals; without the list the annotator names three of four subgoals, \
              of which people count two, misses 30 % and is held against people by whether a step achieves any, on the walks of \
              the agent that people pay",
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
        Claim {
            says: "false alarms cost more precision than misses do",
            more: "precision, some missed",
            less: "precision, false alarms",
        },
        Claim { says: "and misses more recall", more: "recall, false alarms", less: "recall, some missed" },
        Claim {
            says: "annotations are more precise where the list of subgoals is given than where the annotator names its own",
            more: "precision, list given",
            less: "precision, own list",
        },
        Claim { says: "they find more", more: "recall, list given", less: "recall, own list" },
        Claim { says: "and their F1 is higher", more: "F1, list given", less: "F1, own list" },
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
            let mark = MARKS.iter().find(|(name, _)| name == subgoal).map_or("", |(_, mark)| *mark);
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
    // The share of arrivals, and precision, recall and F1 of the annotations over all walks.
    let paid = |missed: f64, alarms: f64| -> Result<(f64, [f64; 3])> {
        let (mut annotated, mut people): (Vec<Vec<bool>>, Vec<Vec<bool>>) = (Vec::new(), Vec::new());
        let arrived = arrivals(seed, |walk, seed| {
            let flags = achieved(walk, &subgoals, &Reader { missed, alarms, seed })?;
            people.extend(achieved(walk, &subgoals, &Reader { missed: 0.0, alarms: 0.0, seed })?);
            annotated.extend(flags.iter().cloned());
            Ok(AUXILIARY.shape(&walk.paid(), &flags)?)
        })?;
        let mut means = [0.0; 3];
        for counts in confusions(&annotated, &people)? {
            let measured = measures(&counts)?;
            means.iter_mut().zip(measured).for_each(|(mean, measure)| *mean += measure / NAMES.len() as f64);
        }
        Ok((arrived, means))
    };
    let ((subgoals_paid, _), missed, alarms) = (paid(0.0, 0.0)?, paid(MISSED, 0.0)?, paid(0.0, ALARMS)?);
    let [given, own] = by_list(seed)?;
    let by_potential = arrivals(seed, |walk, seed| {
        let flags = achieved(walk, &subgoals, &Reader { missed: 0.0, alarms: 0.0, seed })?;
        Ok(potential(&walk.paid(), &flags, 1.0, DISCOUNT)?)
    })?;
    let mut figures: Figures = vec![
        ("sparse".into(), arrivals(seed, |walk, _| Ok(walk.paid()))?),
        ("subgoals".into(), subgoals_paid),
        ("potential".into(), by_potential),
        ("subgoals, some missed".into(), missed.0),
        ("subgoals, false alarms".into(), alarms.0),
    ];
    for (of, measured) in
        [("some missed", missed.1), ("false alarms", alarms.1), ("list given", given), ("own list", own)]
    {
        let names = ["precision", "recall", "F1"].into_iter().zip(measured);
        figures.extend(names.map(|(measure, value)| (format!("{measure}, {of}"), value)));
    }
    Ok(figures)
}

/// Precision, recall and F1.
fn measures(counts: &Confusion) -> Result<[f64; 3]> {
    let of = |decision: Decision| counts.measure(decision, ZeroDivision::Value(0.0));
    Ok([of(Decision::Precision)?, of(Decision::Recall)?, of(Decision::FBeta(1.0))?])
}

/// Subgoals that an annotator names by itself: three of those that may come to mind.
fn own_list(seed: Seed) -> Result<Subgoals> {
    let mut names: Vec<&str> = MARKS.iter().map(|(name, _)| *name).collect();
    let left_out = seed.stream("own list", 0).random_range(0..names.len());
    names.remove(left_out);
    Ok(Subgoals::new(&names, &[])?)
}

/// Precision, recall and F1 of the steps that an annotator says achieve a subgoal, with the list of people and with its own.
fn by_list(seed: Seed) -> Result<[[f64; 3]; 2]> {
    // Neither list has an order.
    let (list, own) = (Subgoals::new(&NAMES, &[])?, own_list(seed)?);
    let (mut given, mut named, mut people): (Vec<bool>, Vec<bool>, Vec<bool>) = (Vec::new(), Vec::new(), Vec::new());
    let any = |flags: &[Vec<bool>]| -> Vec<bool> { flags.iter().map(|now| now.contains(&true)).collect() };
    arrivals(seed, |walk, seed| {
        let truth = achieved(walk, &list, &Reader { missed: 0.0, alarms: 0.0, seed })?;
        people.extend(any(&truth));
        let reader = Reader { missed: MISSED, alarms: 0.0, seed };
        given.extend(any(&achieved(walk, &list, &reader)?));
        named.extend(any(&achieved(walk, &own, &reader)?));
        Ok(AUXILIARY.shape(&walk.paid(), &truth)?)
    })?;
    Ok([measures(&Confusion::of(&given, &people)?)?, measures(&Confusion::of(&named, &people)?)?])
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

    #[test]
    fn an_own_list_has_three_subgoals_which_are_seen() {
        for seed in 0..20 {
            let own = own_list(Seed(seed)).unwrap();
            assert!(
                own.names().len() == 3 && own.names().iter().all(|name| MARKS.iter().any(|(known, _)| known == name))
            );
        }
        let reader = Reader { missed: 0.0, alarms: 0.0, seed: Seed(0) };
        let attempt = Attempt { before: "column 4, row 1", action: "move", after: "column 5, row 1, the door open" };
        let questions = MARKS.map(|(name, _)| (attempt, name));
        assert_eq!(reader.achieved(&questions).unwrap(), [Some(false), Some(true), Some(true), Some(false)]);
    }

    #[test]
    fn measures_by_hand() {
        // Of three steps that are named two are right, and one that is right is not named.
        let counts = Confusion::of(&[true, true, true, false, false], &[true, true, false, true, false]).unwrap();
        let [precision, recall, f1] = measures(&counts).unwrap();
        assert!([precision, recall, f1].iter().all(|value| (value - 2.0 / 3.0).abs() < 1e-12));
        assert_eq!(measures(&Confusion::of(&[false], &[true]).unwrap()).unwrap(), [0.0; 3]);
    }
}
