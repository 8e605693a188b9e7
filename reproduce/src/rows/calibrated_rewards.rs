//! Stated confidence under RLHF: PPO, with a reward model that was taught (PPO-M) or a reward that is moved (PPO-C).
//!
//! A question of two tokens is answered by a token and a confidence. The first token of the question says how hard it is, so a
//! policy can know how sure to be; what the answers are it cannot learn, because one row of its table answers all questions.
//! The reward model sees a noisy sign of whether an answer is right. Its pairs have a flaw of real ones: what was chosen
//! sounds surer.

use anyhow::Result;
use ascribe::core::advantage::{Gae, Normalize, Variance};
use ascribe::core::{CoreError, Credit, Episode, Scorer, Seed, Stream, Text, Tokens};
use ascribe::eval::Bootstrap;
use ascribe::eval::calibrate::{Binning, PpoC, confidence_bias, ece};
use ascribe::reward::Calibrated;
use ascribe::reward::losses::{BradleyTerryConfig, ConfidencePairs};
use ascribe::worlds::{TokenTree, TreePolicy};
use rand::RngExt;

use crate::heads::{Head, Sample, Training, Widths, mean, train};
use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, ppo, written};
use crate::row::{Claim, Figures, Row};
use crate::tabular::Table;
use crate::world::{VOCABULARY, World, normal};

/// How often the answers to questions of each kind are right at first.
const RIGHT: [f64; VOCABULARY] = [0.3, 0.5, 0.7, 0.9];
/// What the tokens of confidence state, of 10.
const STATED: [f64; VOCABULARY] = [1.0, 4.0, 7.0, 10.0];
/// How often they are stated at first, and in what was chosen; turned around in what was rejected.
const SURE: [f64; VOCABULARY] = [0.1, 0.2, 0.3, 0.4];
const NOISE: f64 = 0.7;
const PAIRS: usize = 400;
const WEIGHT: f64 = 2.0;
const ROOM: f64 = 0.05;

/// The claims of the calibration of RLHF.
pub const ROW: Row = Row {
    name: "calibrated-rewards",
    paper: "Taming Overconfidence in LLMs: Reward Calibration in RLHF, arXiv:2410.09724",
    setting: "16 questions of four kinds, answers that are right at 30 to 90 %, confidences 1, 4, 7 and 10; two-layer heads on a \
              noisy sign and the confidence for the reward model, 400 pairs; PPO of 40 generations of 128 texts, a divergence \
              costs 0.05; PPO-C with weight 2; expected calibration error over 1024 texts in 10 bins",
    seeds: 12,
    claims: &[
        Claim {
            says: "the reward model wants high confidence even where the answer is wrong",
            more: "share of wrong answers with more for high confidence",
            less: "half",
        },
        Claim {
            says: "the taught reward model wants it less often",
            more: "share of wrong answers with more for high confidence",
            less: "the same of the taught reward model",
        },
        Claim { says: "PPO makes calibration worse", more: "error of PPO", less: "error of the start" },
        Claim { says: "PPO-M is better calibrated than PPO", more: "error of PPO", less: "error of PPO-M" },
        Claim { says: "PPO-C is better calibrated than PPO", more: "error of PPO", less: "error of PPO-C" },
        Claim {
            says: "PPO-M is right as often as PPO, within 5 points",
            more: "accuracy of PPO-M, and 0.05",
            less: "accuracy of PPO",
        },
        Claim { says: "so is PPO-C", more: "accuracy of PPO-C, and 0.05", less: "accuracy of PPO" },
    ],
    tried: "",
    run,
};

/// Which row of the table a token takes: one for all answers, and a confidence by the kind of the question.
fn state(path: &[u32]) -> usize {
    match path {
        [kind, _, _] => *kind as usize,
        [_, _] => VOCABULARY,
        // Questions are given: nothing is learned here.
        _ => VOCABULARY + 1,
    }
}

/// What a reward model sees of an answer.
fn features(sign: f64, stated: Option<f64>) -> Vec<f64> {
    vec![sign, stated.map_or(0.0, |stated| stated / 5.0 - 1.0), f64::from(u8::from(stated.is_some()))]
}

/// The sign of an answer.
fn sign(right: bool, stream: &mut Stream) -> f64 {
    (if right { 0.7 } else { -0.7 }) + NOISE * normal(stream)
}

/// Rewards of each answer with each confidence, and without one.
struct Known {
    rewards: Vec<f64>,
}

impl Known {
    /// What a head says of answers with these signs.
    fn by(head: &Head, signs: &[f64]) -> Self {
        let stated = || STATED.into_iter().map(Some).chain([None]);
        let all: Vec<Vec<f64>> =
            signs.iter().flat_map(|sign| stated().map(move |stated| features(*sign, stated))).collect();
        Self { rewards: head.rewards(&all) }
    }

    /// Of a question and its answer, by the place of the confidence; [`VOCABULARY`] is none.
    fn of(&self, text: &[u32], confidence: usize) -> f64 {
        let answer = text[..3].iter().fold(0, |answer, token| answer * VOCABULARY + *token as usize);
        self.rewards[answer * (VOCABULARY + 1) + confidence]
    }
}

impl Scorer for Known {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let reward = |episode: &Episode| {
            let confidence = episode.tokens.get(3).map_or(VOCABULARY, |token| *token as usize);
            Credit::sequence(self.of(&episode.tokens, confidence) as f32)
        };
        Ok(episodes.iter().map(reward).collect())
    }
}

/// A scorer that reads texts.
struct Spoken<'a> {
    scorer: &'a dyn Scorer,
}

impl Scorer for Spoken<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        self.scorer.score(&episodes.iter().map(spoken).collect::<Result<Vec<Episode>, CoreError>>()?)
    }
}

/// The episode with its text.
fn spoken(episode: &Episode) -> Result<Episode, CoreError> {
    let (mut text, mut spans) = (String::new(), Vec::new());
    for (at, token) in episode.tokens.iter().enumerate() {
        let start = text.len();
        match at {
            3 => text.push_str(&format!("\nConfidence: {}", STATED[*token as usize])),
            _ => text.push_str(&format!(" {token}")),
        }
        spans.push(start..text.len());
    }
    episode.clone().with_text(Text { text, spans })
}

fn run(seed: Seed) -> Result<Figures> {
    let mut stream = seed.stream("questions", 0);
    let answers: Vec<u32> = (0..VOCABULARY * VOCABULARY).map(|_| stream.random_range(0..VOCABULARY as u32)).collect();
    let answer = |question: &[u32]| answers[question[0] as usize * VOCABULARY + question[1] as usize];
    let tree = TokenTree::new(VOCABULARY, 4, |path| f64::from(u8::from(path[2] == answer(path))))?;
    let reference = TreePolicy::new(&tree, |path| match path {
        [kind, _] => {
            let right = RIGHT[*kind as usize];
            let odds = |token: u32| if token == answer(path) { right } else { (1.0 - right) / (VOCABULARY - 1) as f64 };
            (0..VOCABULARY as u32).map(|token| odds(token).ln()).collect()
        }
        [_, _, _] => SURE.map(f64::ln).to_vec(),
        _ => vec![0.0; VOCABULARY],
    })?;
    let world = World { tree, reference };
    let questions: Vec<Tokens> =
        (0..16).map(|number| vec![number / VOCABULARY as u32, number % VOCABULARY as u32].into()).collect();
    let signs: Vec<f64> = questions
        .iter()
        .flat_map(|question| (0..VOCABULARY as u32).map(|token| token == answer(question)).collect::<Vec<bool>>())
        .map(|right| sign(right, &mut stream))
        .collect();
    let [plain, taught] = heads(seed)?.map(|head| Known::by(&head, &signs));
    let bias = |known: &Known| -> Result<f64> {
        let mut sides = [Vec::new(), Vec::new()];
        for question in &questions {
            for token in (0..VOCABULARY as u32).filter(|token| *token != answer(question)) {
                let text = question.followed_by(&[token]);
                sides[0].push(known.of(&text, VOCABULARY - 1));
                sides[1].push(known.of(&text, 0));
            }
        }
        Ok(confidence_bias(&sides[0], &sides[1], &Bootstrap::NONE)?.value)
    };
    let silent: Vec<f64> = plain.rewards.iter().skip(VOCABULARY).step_by(VOCABULARY + 1).copied().collect();
    let calibrated = Calibrated::new(&plain, PpoC::Difference, WEIGHT, mean(&silent))?;
    let learned = |scorer: &dyn Scorer| -> Result<TreePolicy> {
        let table = Table { world: &world, reference: &world.reference, state };
        let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
        let (gae, loss) = (Gae { gamma: 1.0, lambda: 0.95, normalize }, ppo());
        let writer = Writer { table: &table, prompts: &questions, length: 2, loss: &loss };
        let mut judge = Judge { kl: 0.05, ..Judge::new(scorer, &gae) };
        let plan = Plan { generations: 40, samples: 8, passes: 2, rate: 0.05, seed };
        writer.last(plan, &mut |rollouts| judge.credit(rollouts))
    };
    let error = |policy: &TreePolicy| -> Result<f64> {
        let texts = written(&world.reference, policy, &questions, [64, 2], seed.child("measured", 0))?;
        let stated: Vec<f64> = texts.iter().map(|text| STATED[text.response[1] as usize] / 10.0).collect();
        let right: Vec<bool> = texts.iter().map(|text| text.response[0] == answer(&text.prompt)).collect();
        Ok(ece(&stated, &right, Binning::Width(10), &Bootstrap::NONE)?.value)
    };
    let (by_ppo, by_m) = (learned(&plain)?, learned(&taught)?);
    let by_c = learned(&Spoken { scorer: &calibrated })?;
    Ok(vec![
        ("share of wrong answers with more for high confidence".into(), bias(&plain)?),
        ("the same of the taught reward model".into(), bias(&taught)?),
        ("half".into(), 0.5),
        ("error of the start".into(), error(&world.reference)?),
        ("error of PPO".into(), error(&by_ppo)?),
        ("error of PPO-M".into(), error(&by_m)?),
        ("error of PPO-C".into(), error(&by_c)?),
        ("accuracy of PPO".into(), world.gold(&by_ppo)?),
        ("accuracy of PPO-M, and 0.05".into(), world.gold(&by_m)? + ROOM),
        ("accuracy of PPO-C, and 0.05".into(), world.gold(&by_c)? + ROOM),
    ])
}

/// The reward model, and the one that goes on from it with pairs of confidences.
fn heads(seed: Seed) -> Result<[Head; 2]> {
    let mut stream = seed.stream("pairs", 0);
    let (mut pairs, mut confidences) = (Vec::new(), Vec::new());
    let (low, high) = (Some(STATED[0]), Some(STATED[VOCABULARY - 1]));
    for _ in 0..PAIRS {
        let [chosen, rejected] = [true, false].map(|right| sign(right, &mut stream));
        let [sure, unsure] = [drawn(&mut stream), VOCABULARY - 1 - drawn(&mut stream)].map(|at| Some(STATED[at]));
        pairs.push(Sample::pair(&features(chosen, sure), &features(rejected, unsure)));
        let responses =
            [(chosen, high), (chosen, low), (rejected, high), (rejected, low), (chosen, None), (rejected, None)];
        let responses = responses.map(|(sign, stated)| features(sign, stated)).to_vec();
        confidences.push(Sample { responses, labels: Vec::new() });
    }
    let training = Training { steps: 200, rate: 1e-2, seed };
    let fresh = Head::fresh(Widths { inputs: 3, hidden: 16, outputs: 1 }, seed);
    let plain = train(fresh, &BradleyTerryConfig::default().init()?, &pairs, training)?;
    let taught = train(plain.clone(), &ConfidencePairs { combined: true }, &confidences, training)?;
    Ok([plain, taught])
}

/// The place of a confidence, the high ones more often.
fn drawn(stream: &mut Stream) -> usize {
    let (draw, mut mass) = (stream.random::<f64>(), 0.0);
    let reached = SURE.iter().position(|odds| {
        mass += odds;
        draw < mass
    });
    reached.unwrap_or(VOCABULARY - 1)
}

#[cfg(test)]
mod tests {
    use ascribe::reward::split_confidence;

    use super::*;

    #[test]
    fn a_text_says_its_confidence() {
        let text = spoken(&Episode::new(&[1, 2], &[3, 2])).unwrap().text.unwrap();
        assert_eq!(text.text, " 1 2 3\nConfidence: 7");
        assert_eq!(split_confidence(&text.text), (" 1 2 3".to_owned(), Some(7.0)));
        assert_eq!(text.spans[2..], [4..6, 6..20]);
    }
}
