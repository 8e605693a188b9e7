//! Hybrid preferences: whom to ask for which label, by a predictor of how good the reward model becomes.
//!
//! Pairs have one of two topics, each with its own features. A person is noisy on both; a model is nearly always right on the
//! first and has a taste of its own on the second. The predictor sees the topics of the pairs that a person labelled, and is
//! fitted on reward models of random mixes.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::reward::{Merge, Mix, Routing, RoutingForm};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

/// Features of a response, a half for each topic.
const FEATURES: usize = 8;
const PAIRS: usize = 200;
const MIXES: u64 = 60;
/// Pairs that a person labels at equal budget.
const BUDGET: usize = PAIRS / 2;
const RANDOM: u64 = 20;
const VALIDATION: usize = 500;
const TESTS: usize = 3000;
/// How often a person is wrong, and a model on the first topic.
const WRONG: [f64; 2] = [0.25, 0.05];
const RIDGE: f64 = 1.0;

/// The claims of hybrid preferences.
pub const ROW: Row = Row {
    name: "annotation-routing",
    paper: "Hybrid Preferences: Learning to Route Instances for Human vs. AI Feedback, arXiv:2410.19133",
    setting: "200 pairs of two topics with 4 features each; a person is wrong on 25 %, a model on 5 % of the first topic, and it \
              goes by another taste on the second; logistic reward models; a linear predictor of 60 random mixes that were scored \
              on 500 pairs; 100 labels by the person; accuracy on 3000 pairs",
    seeds: 12,
    claims: &[
        Claim {
            says: "routed labels are better than as many labels of random pairs",
            more: "routed",
            less: "random mixes",
        },
        Claim { says: "and better than those of the person alone", more: "routed", less: "person alone" },
        Claim { says: "and better than those of the model alone", more: "routed", less: "model alone" },
    ],
    tried: "",
    run,
};

/// What is right, and what the model likes.
struct Tastes {
    gold: Vec<f64>,
    other: Vec<f64>,
}

/// Two responses, and for which the truth, the person and the model say that the first is better.
struct Asked {
    responses: [Vec<f64>; 2],
    second_topic: bool,
    truth: bool,
    person: bool,
    model: bool,
}

impl Tastes {
    fn drawn(seed: Seed) -> Self {
        let mut stream = seed.stream("tastes", 0);
        let mut weights = || -> Vec<f64> { (0..FEATURES).map(|_| normal(&mut stream)).collect() };
        Self { gold: weights(), other: weights() }
    }

    fn asked(&self, stream: &mut Stream) -> Asked {
        let second_topic = stream.random::<f64>() < 0.5;
        let here = |feature: usize| (feature >= FEATURES / 2) == second_topic;
        let mut response =
            || -> Vec<f64> { (0..FEATURES).map(|feature| if here(feature) { normal(stream) } else { 0.0 }).collect() };
        let responses = [response(), response()];
        let first = |weights: &[f64]| {
            let value = |response: &[f64]| weights.iter().zip(response).map(|(w, x)| w * x).sum::<f64>();
            value(&responses[0]) > value(&responses[1])
        };
        let (truth, liked) = (first(&self.gold), first(&self.other));
        let [person, careless] = WRONG.map(|wrong| truth != (stream.random::<f64>() < wrong));
        let model = if second_topic { liked } else { careless };
        Asked { responses, second_topic, truth, person, model }
    }

    fn many(&self, n: usize, seed: Seed, name: &str) -> Vec<Asked> {
        let mut stream = seed.stream(name, 0);
        (0..n).map(|_| self.asked(&mut stream)).collect()
    }
}

/// A reward model of pairs of which a person labelled some, by index.
fn trained(asked: &[Asked], person: &[usize]) -> Result<Merge> {
    let ordered = |(at, one): (usize, &Asked)| {
        let [first, second] = one.responses.clone();
        let first_is_better = if person.contains(&at) { one.person } else { one.model };
        if first_is_better { [first, second] } else { [second, first] }
    };
    let pairs: Vec<[Vec<f64>; 2]> = asked.iter().enumerate().map(ordered).collect();
    Ok(Merge::fit(&pairs, RIDGE, &[false; FEATURES])?)
}

fn accuracy(model: &Merge, tests: &[Asked]) -> Result<f64> {
    let mut right = 0;
    for test in tests {
        let [first, second] = &test.responses;
        right += usize::from((model.apply(first)? > model.apply(second)?) == test.truth);
    }
    Ok(right as f64 / tests.len() as f64)
}

/// Pairs for a person, each with a probability.
fn some(probability: f64, stream: &mut Stream) -> Vec<usize> {
    (0..PAIRS).filter(|_| stream.random::<f64>() < probability).collect()
}

fn run(seed: Seed) -> Result<Figures> {
    let tastes = Tastes::drawn(seed);
    let pairs = tastes.many(PAIRS, seed, "pairs");
    let validation = tastes.many(VALIDATION, seed, "validation");
    let tests = tastes.many(TESTS, seed, "tests");
    let mut mixes = Vec::new();
    for number in 0..MIXES {
        let mut stream = seed.stream("mix", number);
        let share = stream.random::<f64>();
        let human = some(share, &mut stream);
        let score = accuracy(&trained(&pairs, &human)?, &validation)?;
        mixes.push(Mix { human, score });
    }
    let flag = |flag: bool| f64::from(u8::from(flag));
    let features = pairs.iter().map(|pair| vec![flag(!pair.second_topic), flag(pair.second_topic)]).collect();
    let routing = Routing::fit(features, &mixes, RoutingForm::Linear, 1e-3)?;
    let of = |human: &[usize]| -> Result<f64> { accuracy(&trained(&pairs, human)?, &tests) };
    let mut random = Vec::new();
    for number in 0..RANDOM {
        let mut stream = seed.stream("random", number);
        // As many as the budget: those of the smallest draws.
        let mut drawn: Vec<(f64, usize)> = (0..PAIRS).map(|at| (stream.random(), at)).collect();
        drawn.sort_by(|one, other| one.0.total_cmp(&other.0));
        random.push(of(&drawn.iter().take(BUDGET).map(|(_, at)| *at).collect::<Vec<_>>())?);
    }
    Ok(vec![
        ("routed".into(), of(&routing.choose(BUDGET)?)?),
        ("random mixes".into(), mean(&random)),
        ("person alone".into(), of(&(0..PAIRS).collect::<Vec<_>>())?),
        ("model alone".into(), of(&[])?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_right_on_its_topic_and_a_person_sometimes() {
        let asked = Tastes::drawn(Seed(0)).many(4000, Seed(0), "pairs");
        let share = |of: &dyn Fn(&Asked) -> bool, right: &dyn Fn(&Asked) -> bool| {
            let those: Vec<&Asked> = asked.iter().filter(|one| of(one)).collect();
            those.iter().filter(|one| right(one)).count() as f64 / those.len() as f64
        };
        // Within four deviations of the shares of 4000 and of about 2000 pairs.
        assert!((share(&|_| true, &|one| one.person == one.truth) - 0.75).abs() < 0.03);
        assert!((share(&|one| !one.second_topic, &|one| one.model == one.truth) - 0.95).abs() < 0.02);
    }
}
