//! SteerLM 2.0 on a small language model, by the library's loop on rollouts: the policy reads a wanted attribute in front of the
//! prompt, and the reference reads the prompt alone.
//!
//! ```text
//! P(y | a, x) = P(a | x, y) P(y | x) / Z       P(a | x, y) is normal around what is foretold of y
//! ```
//! The attribute is how often one of four letters stands in a text of four. All texts can be counted, so the target is exact but
//! for what the decoder holds possible besides letters, which is left out of every law.

use std::collections::HashMap;

use anyhow::{Context, Result};
use ascribe::core::advantage::Verdict;
use ascribe::core::{
    Continuation, Episode, Mode, Objective, Policy, Request, Sampling, Seed, Stream, Tokens, Until, rule,
};
use ascribe::eval::curve::kl_exact;
use ascribe::lm::{Decoder, DecoderConfig, LocalPolicy, RandomWeights};
use ascribe::preference::objectives::Sft;
use ascribe::preference::rl::{Actor, Brain, OnPolicy, RolloutConfig, RolloutLearner};
use ascribe::preference::{LogpLearner, TrainRow};
use ascribe::reward::losses::attribute_logp;
use ascribe::train::{Fit, FitConfig, ScheduleKind};
use burn::module::Module;
use burn::tensor::Device;
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const LETTERS: usize = 4;
const LENGTH: usize = 4;
const TEXTS: usize = LETTERS.pow(LENGTH as u32);
/// Two prompts behind the letters.
const PROMPTS: [u32; 2] = [4, 5];
/// Says that a text should have no letter 0; the tokens behind it say one, two and so on.
const NONE: u32 = 6;
const VOCABULARY: usize = NONE as usize + LENGTH + 1;
/// How many letters 0 are wanted.
const WANTED: [u32; 3] = [0, 1, 2];
const WIDTH: usize = 32;
const CONTEXT: usize = 2 + LENGTH;
/// How far what is foretold of a text is off: a deviation.
const OFF: f64 = 0.5;
/// Texts of a prompt that the start and the imitation learn from.
const SHOWN: usize = 512;
const IMITATED: usize = 512;
const GENERATIONS: usize = 80;
const SAMPLES: usize = 32;

/// The claims of SteerLM 2.0 on a decoder.
pub const ROW: Row = Row {
    name: "steer-lm-decoder",
    paper: "HelpSteer2: Open-source dataset for training top-performing reward models, arXiv:2406.08673",
    setting: "texts of 4 of 4 letters behind 2 prompts, a decoder of width 32 that has imitated 512 texts of a drawn Markov chain a \
              prompt, without a wanted attribute and behind one at random; wanted are 0, 1 or 2 of one letter, foretold with a \
              deviation of 0.5; SteerLM imitates 512 texts of the start a prompt behind what is foretold of them, 200 steps of 64; \
              SteerLM 2.0 goes on from it for 80 generations of 32 texts to each of the 6 prompts; divergences from the target and \
              distances of true attributes from what is wanted are exact over all 256 texts; the last is the distance of these \
              distances from the target's, a mean over what is wanted and the prompts",
    seeds: 6,
    claims: &[
        Claim {
            says: "imitation of texts behind their attributes comes nearer to the target",
            more: "divergence of the start",
            less: "divergence of SteerLM",
        },
        Claim {
            says: "SteerLM 2.0 comes nearer still",
            more: "divergence of SteerLM",
            less: "divergence of SteerLM 2.0",
        },
        Claim {
            says: "its texts have more of what is wanted than those of the start",
            more: "attributes off, start",
            less: "attributes off, SteerLM 2.0",
        },
        Claim {
            says: "and than those of imitation",
            more: "attributes off, SteerLM",
            less: "attributes off, SteerLM 2.0",
        },
        Claim {
            says: "they are nearer to how far the texts of the target are off than those of imitation",
            more: "distance from the target's attributes, SteerLM",
            less: "distance from the target's attributes, SteerLM 2.0",
        },
    ],
    tried: "The attributes of texts against what is wanted, and against how far the target itself is off: its texts are likely by \
            what is foretold of them, which is off by half a letter, and likely to the start, so that it is no law of the wanted \
            attribute alone. SteerLM 2.0 goes towards the target, and not beyond it.",
    run,
};

/// All texts, in the order of their places.
fn texts() -> Vec<Tokens> {
    let letter = |place: usize, at: usize| (place / LETTERS.pow((LENGTH - 1 - at) as u32) % LETTERS) as u32;
    (0..TEXTS).map(|place| (0..LENGTH).map(|at| letter(place, at)).collect()).collect()
}

/// The place of a text; what is no letter counts as the one that it is a multiple behind.
fn place(text: &[u32]) -> usize {
    text.iter().fold(0, |place, token| place * LETTERS + *token as usize % LETTERS) % TEXTS
}

/// How often the letter 0 stands in a text.
fn count(text: &[u32]) -> f64 {
    text.iter().filter(|token| **token == 0).count() as f64
}

/// A Markov chain of letters for each prompt.
struct Chain {
    /// For each prompt and each letter before, the beginning behind the letters: the odds of the next one.
    next: Vec<Vec<f64>>,
}

impl Chain {
    fn drawn(seed: Seed) -> Self {
        let mut stream = seed.stream("chain", 0);
        let mut row = || -> Vec<f64> {
            let weights: Vec<f64> = (0..LETTERS).map(|_| normal(&mut stream).exp()).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        };
        Self { next: (0..PROMPTS.len() * (LETTERS + 1)).map(|_| row()).collect() }
    }

    fn text(&self, prompt: usize, stream: &mut Stream) -> Tokens {
        let (mut text, mut before) = (Vec::with_capacity(LENGTH), LETTERS);
        for _ in 0..LENGTH {
            let (point, mut mass) = (stream.random::<f64>(), 0.0);
            let odds = &self.next[prompt * (LETTERS + 1) + before];
            let drawn = odds.iter().position(|chance| {
                mass += chance;
                point < mass
            });
            // Rounding can leave the mass a little below 1.
            before = drawn.unwrap_or(LETTERS - 1);
            text.push(before as u32);
        }
        text.into()
    }
}

fn decoder(seed: Seed) -> Result<Decoder> {
    let config = DecoderConfig::tiny(VOCABULARY, WIDTH, 1, 2, CONTEXT);
    Ok(Decoder::load(&config, &mut RandomWeights { seed, layers: 1 }, &Device::flex().autodiff())?)
}

/// The decoder behind so many steps of imitation.
fn imitating(start: Decoder, rows: &[TrainRow], steps: usize, seed: Seed) -> Result<Decoder> {
    let learner = LogpLearner::new(&Sft);
    let config = FitConfig {
        learning_rate: 5e-3,
        lr_scheduler_type: ScheduleKind::Linear,
        warmup_ratio: 0.0,
        max_steps: steps,
        per_device_train_batch_size: 64,
        seed,
        ..FitConfig::default()
    };
    let mut fit = Fit::new(&learner, start, rows, config)?;
    for report in &mut fit {
        report?;
    }
    Ok(fit.into_model())
}

/// A decoder that writes like the chain, whatever is wanted.
fn started(chain: &Chain, seed: Seed) -> Result<Decoder> {
    let mut rows = Vec::with_capacity(2 * SHOWN * PROMPTS.len());
    for (at, prompt) in PROMPTS.into_iter().enumerate() {
        let mut stream = seed.stream("shown", at as u64);
        for _ in 0..SHOWN {
            let text = chain.text(at, &mut stream);
            let wanted = NONE + stream.random_range(0..=LENGTH as u32);
            rows.push(TrainRow::single(vec![prompt], text.clone()));
            rows.push(TrainRow::single(vec![wanted, prompt], text));
        }
    }
    imitating(decoder(seed.child("decoder", 0))?, &rows, 400, seed.child("start", 0))
}

/// The odds of all texts behind a prompt.
fn law(policy: &LocalPolicy, prompt: &[u32], texts: &[Tokens]) -> Result<Vec<f64>> {
    let asked: Vec<Continuation> =
        texts.iter().map(|text| Continuation { prefix: prompt.into(), tokens: text.clone() }).collect();
    let (logps, _) = policy.score(&asked)?;
    Ok(normalized(logps.iter().map(|logps| logps.iter().map(|logp| f64::from(*logp)).sum::<f64>().exp()).collect()))
}

fn normalized(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// `P(a | x, y) P(y | x) / Z`.
fn target(prior: &[f64], likely: &[f64]) -> Vec<f64> {
    normalized(prior.iter().zip(likely).map(|(odds, likely)| odds * likely.exp()).collect())
}

/// `log P(a | x, y)` of so many letters, by what is foretold of a text.
fn likely(wanted: f64, foretold: f64) -> Result<f64> {
    Ok(attribute_logp(&[wanted], &[foretold], &[OFF * OFF])?)
}

/// SteerLM: the texts of the start behind what is foretold of them, imitated.
fn steered(start: &Decoder, foretold: &[f64], seed: Seed) -> Result<Decoder> {
    let policy = LocalPolicy::new(&start.valid(), &[], CONTEXT)?;
    let request = |prompt: u32| Request {
        prefix: vec![prompt].into(),
        n: IMITATED,
        until: Until::End,
        mode: Mode::Sample(Sampling::default()),
        max_new: LENGTH,
        seed: seed.child("imitated", u64::from(prompt)),
    };
    let mut rows = Vec::with_capacity(IMITATED * PROMPTS.len());
    for (prompt, reply) in PROMPTS.into_iter().zip(policy.propose(&PROMPTS.map(request))?) {
        for candidate in reply.candidates {
            let attribute = foretold[place(&candidate.tokens)].round().clamp(0.0, LENGTH as f64);
            rows.push(TrainRow::single(vec![NONE + attribute as u32, prompt], candidate.tokens));
        }
    }
    imitating(start.clone(), &rows, 200, seed.child("imitation", 0))
}

/// SteerLM 2.0, from a policy on; the reference is the start, which is not told what is wanted.
fn steered_further(policy: &Decoder, start: &Decoder, foretold: &[f64], seed: Seed) -> Result<Decoder> {
    let asked: Vec<Tokens> =
        WANTED.iter().flat_map(|wanted| PROMPTS.map(|prompt| Tokens::from(vec![NONE + wanted, prompt]))).collect();
    let plain: HashMap<Tokens, Tokens> =
        asked.iter().map(|asked| (asked.clone(), Tokens::from(vec![asked[1]]))).collect();
    let scorer = rule(|episode: &Episode| {
        let wanted = f64::from(episode.prompt_tokens()[0] - NONE);
        likely(wanted, foretold[place(episode.response_tokens())]).map_or(f32::NAN, |logp| logp as f32)
    });
    let (loss, verdict) = (Brain::default(), Verdict { range: (f64::MIN, f64::MAX), critic: false });
    let config = RolloutConfig {
        prompts: asked.len(),
        num_generations: SAMPLES,
        max_completion_length: LENGTH,
        context: CONTEXT,
        batch: 256,
        seed: seed.child("rollouts", 0),
        ..RolloutConfig::default()
    };
    let source = OnPolicy::new(&asked, &scorer, &verdict, loss.needs(), config)?
        .with_reference(start.clone())
        .with_reference_prompts(plain);
    let learner = RolloutLearner::new(&loss, 1.0);
    let config = FitConfig {
        learning_rate: 2e-3,
        lr_scheduler_type: ScheduleKind::Linear,
        warmup_ratio: 0.0,
        per_device_train_batch_size: asked.len() * SAMPLES,
        seed,
        ..FitConfig::default()
    };
    let mut fit = Fit::from_source(&learner, Actor::new(policy.clone()), Box::new(source), GENERATIONS, config)?;
    for report in &mut fit {
        report?;
    }
    Ok(fit.into_model().decoder)
}

/// How far texts with these odds are from what is wanted: the mean square.
fn off(odds: &[f64], wanted: u32, texts: &[Tokens]) -> f64 {
    let square = |text: &Tokens| (count(text) - f64::from(wanted)).powi(2);
    odds.iter().zip(texts).map(|(odds, text)| odds * square(text)).sum()
}

/// How far a decoder is from the targets, its texts from what is wanted, and that from the same of the targets: means over what is
/// wanted and the prompts.
fn judged(decoder: &Decoder, targets: &[(u32, u32, Vec<f64>)], texts: &[Tokens]) -> Result<[f64; 3]> {
    let policy = LocalPolicy::new(&decoder.valid(), &[], CONTEXT)?;
    let (mut divergences, mut distances, mut apart) = (Vec::new(), Vec::new(), Vec::new());
    for (wanted, prompt, target) in targets {
        let odds = law(&policy, &[NONE + wanted, *prompt], texts)?;
        divergences.push(kl_exact(&odds, target)?);
        let distance = off(&odds, *wanted, texts);
        distances.push(distance);
        apart.push((distance - off(target, *wanted, texts)).abs());
    }
    Ok([mean(&divergences), mean(&distances), mean(&apart)])
}

fn run(seed: Seed) -> Result<Figures> {
    let (texts, chain) = (texts(), Chain::drawn(seed));
    let mut errors = seed.stream("foretold", 0);
    let foretold: Vec<f64> = texts.iter().map(|text| count(text) + OFF * normal(&mut errors)).collect();
    let start = started(&chain, seed)?;
    let policy = LocalPolicy::new(&start.valid(), &[], CONTEXT)?;
    let mut targets = Vec::new();
    for prompt in PROMPTS {
        let prior = law(&policy, &[prompt], &texts)?;
        for wanted in WANTED {
            let likely: Vec<f64> =
                foretold.iter().map(|foretold| likely(f64::from(wanted), *foretold)).collect::<Result<_>>()?;
            targets.push((wanted, prompt, target(&prior, &likely)));
        }
    }
    let first = steered(&start, &foretold, seed)?;
    let second = steered_further(&first, &start, &foretold, seed)?;
    let mut figures = Vec::new();
    for (name, decoder) in [("start", &start), ("SteerLM", &first), ("SteerLM 2.0", &second)] {
        let [divergence, distance, apart] = judged(decoder, &targets, &texts).with_context(|| name.to_owned())?;
        let of = if name == "start" { "the start" } else { name };
        figures.push((format!("divergence of {of}"), divergence));
        figures.push((format!("attributes off, {name}"), distance));
        figures.push((format!("distance from the target's attributes, {name}"), apart));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_at_their_places() {
        let all = texts();
        assert_eq!((all.len(), all[0].to_vec(), all[TEXTS - 1].to_vec()), (256, vec![0; 4], vec![3; 4]));
        assert!(all.iter().enumerate().all(|(at, text)| place(text) == at));
        // 1, 2, 0, 3 in base 4 is 64 + 32 + 0 + 3.
        assert_eq!((place(&[1, 2, 0, 3]), count(&[1, 2, 0, 3]), count(&[0, 0, 1, 0])), (99, 1.0, 3.0));
        assert!(place(&[10; 4]) < TEXTS);
    }

    #[test]
    fn the_target_weighs_what_is_likely() {
        // 0.5, 0.25 and 0.25 times 1, 2 and 4: 0.5, 0.5 and 1 of 2.
        let target = target(&[0.5, 0.25, 0.25], &[0.0, 2f64.ln(), 4f64.ln()]);
        assert!(target.iter().zip([0.25, 0.25, 0.5]).all(|(got, due)| (got - due).abs() < 1e-12), "{target:?}");
    }

    #[test]
    fn attributes_are_off_by_the_mean_square() {
        // Half of the mass has no letter 0, half of it four: 0 and 16 from none, 1 and 9 from one.
        let two = [Tokens::from(vec![1; 4]), Tokens::from(vec![0; 4])];
        assert_eq!([0, 1].map(|wanted| off(&[0.5, 0.5], wanted, &two)), [8.0, 5.0]);
    }

    #[test]
    fn the_start_writes_like_the_chain() {
        let (chain, texts) = (Chain::drawn(Seed(2)), texts());
        let decoder = started(&chain, Seed(2)).unwrap();
        let policy = LocalPolicy::new(&decoder.valid(), &[], CONTEXT).unwrap();
        for (at, prompt) in PROMPTS.into_iter().enumerate() {
            let odds = law(&policy, &[prompt], &texts).unwrap();
            // The chain's own, letter by letter.
            let own = |text: &Tokens| -> f64 {
                let before = std::iter::once(LETTERS).chain(text.iter().map(|letter| *letter as usize));
                let next = before
                    .zip(text.iter())
                    .map(|(before, letter)| chain.next[at * (LETTERS + 1) + before][*letter as usize]);
                next.product()
            };
            let apart: f64 = texts.iter().zip(&odds).map(|(text, odds)| (own(text) - odds).abs()).sum::<f64>() / 2.0;
            let even: f64 = texts.iter().map(|text| (own(text) - 1.0 / TEXTS as f64).abs()).sum::<f64>() / 2.0;
            // In total variation: 512 texts themselves are about 0.2 away, and a law that knows nothing 0.35 at least.
            assert!(apart < 0.3 && apart < even, "{apart} and {even}");
        }
    }
}
