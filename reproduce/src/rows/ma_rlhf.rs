//! MA-RLHF: PPO over stretches of tokens, so that fewer guesses of the critic stand between a token and the reward.
//!
//! Token PPO and all kinds of macro action have the same loss, critic, texts a generation and rate; they differ in where the
//! estimator takes its steps. The reward comes at the end alone. For parts of a text, each token is written as a word, and two of
//! the four with a mark behind it.

use anyhow::Result;
use ascribe::core::advantage::{AdvantageEstimator, Gae, MacroGae, MacroReward, MacroValue, Normalize, Variance};
use ascribe::core::{Seed, Text};
use ascribe::eval::curve::{Reached, Reading, steps_to};
use ascribe::preference::rl::Segmentation;

use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, place_and_last};
use crate::world::{Gold, VOCABULARY, World};

const LENGTH: usize = 6;
const GENERATIONS: usize = 80;
const LAMBDA: f64 = 0.5;
const KL: f64 = 0.05;
/// How each token is written: two end a clause or a sentence.
const WORDS: [&str; VOCABULARY] = [" a", " b", " c,", " d."];

/// The claims of MA-RLHF.
pub const ROW: Row = Row {
    name: "ma-rlhf",
    paper: "MA-RLHF: Reinforcement Learning from Human Feedback with Macro Actions, arXiv:2410.02743",
    setting: "4 prompts with 4096 texts of 6 tokens each, the reward at the end, 80 generations of 64 texts, two steps on each, a \
              divergence costs 0.05; lambda 0.5, whose trace falls over 6 tokens as far as 0.95's over 80; n-grams of 3 tokens, \
              drawn lengths, ends where the start finds the next token less likely, and parts of at most 3 tokens of a text of \
              four words, of which one ends a clause and one a sentence; rows of policy and critic are shared by histories of one \
              length and last token; parity is 95 % of what token PPO gains",
    seeds: 20,
    claims: &[
        Claim {
            says: "n-grams reach parity with token PPO in fewer generations",
            more: "generations of token PPO",
            less: "generations of n-grams",
        },
        Claim {
            says: "so do macro actions of drawn lengths",
            more: "generations of token PPO",
            less: "generations of drawn lengths",
        },
        Claim {
            says: "so do macro actions that end where the perplexity of the start rises",
            more: "generations of token PPO",
            less: "generations of perplexity",
        },
        Claim { says: "so do parts of the text", more: "generations of token PPO", less: "generations of parts" },
        Claim { says: "n-grams earn more gold in the end", more: "gold of n-grams", less: "gold of token PPO" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
    let tokens = Gae { gamma: 1.0, lambda: LAMBDA, normalize };
    let (value, reward) = (MacroValue::Equal, MacroReward::Sum);
    let macros = MacroGae { gamma: 1.0, lambda: LAMBDA, value, reward, normalize };
    let drawn = Segmentation::Randomised { repeats: 1, seed: seed.child("lengths", 0) };
    let parts = Segmentation::Parsing { most: 4 };
    let by_token = curve(&world, &tokens, None, seed)?;
    let by_n_gram = curve(&world, &macros, Some(Segmentation::Fixed(3)), seed)?;
    let by_length = curve(&world, &macros, Some(drawn), seed)?;
    let by_perplexity = curve(&world, &macros, Some(Segmentation::Perplexity), seed)?;
    let by_part = curve(&world, &macros, Some(parts), seed)?;
    let start = world.gold(&world.reference)?;
    let end = |curve: &[f64]| curve[GENERATIONS - 1];
    let parity = start + 0.95 * (end(&by_token) - start);
    let at: Vec<f64> = (1..=GENERATIONS).map(|generation| generation as f64).collect();
    let reached = |curve: &[f64]| -> Result<f64> {
        let (Reached::At(x) | Reached::Censored(x)) = steps_to(&at, curve, parity, 0, Reading::Interpolated)?;
        Ok(x)
    };
    Ok(vec![
        ("generations of token PPO".into(), reached(&by_token)?),
        ("generations of n-grams".into(), reached(&by_n_gram)?),
        ("generations of drawn lengths".into(), reached(&by_length)?),
        ("generations of perplexity".into(), reached(&by_perplexity)?),
        ("generations of parts".into(), reached(&by_part)?),
        ("gold of token PPO".into(), end(&by_token)),
        ("gold of n-grams".into(), end(&by_n_gram)),
        ("gold of drawn lengths".into(), end(&by_length)),
        ("gold of perplexity".into(), end(&by_perplexity)),
        ("gold of parts".into(), end(&by_part)),
    ])
}

/// The expected gold reward after each generation.
fn curve(
    world: &World,
    estimator: &dyn AdvantageEstimator,
    segmentation: Option<Segmentation>,
    seed: Seed,
) -> Result<Vec<f64>> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let (prompts, loss) = (prompts(), ppo());
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let plan = Plan { generations: GENERATIONS, samples: 16, passes: 2, rate: 0.03, seed };
    let mut judge = Judge { kl: KL, segmentation, written: Some(written), ..Judge::new(&world.tree, estimator) };
    let policies = writer.generations(plan, &mut |rollouts| judge.credit(rollouts))?;
    policies.iter().map(|policy| world.gold(policy)).collect()
}

/// A text with the bytes of each of its tokens.
fn written(tokens: &[u32]) -> Text {
    let mut text = Text::default();
    for token in tokens {
        let start = text.text.len();
        text.text.push_str(WORDS[*token as usize]);
        text.spans.push(start..text.text.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use ascribe::preference::rl::Sample;

    use super::*;

    #[test]
    fn parts_end_with_the_marks_of_the_response() {
        let cut = |tokens: &[u32]| {
            let text = written(tokens);
            let sample = Sample { tokens: LENGTH, text: Some(&text), ref_logps: None, number: 0 };
            Segmentation::Parsing { most: 4 }.spans(&sample).unwrap()
        };
        assert_eq!(written(&[3, 0]).text, " d. a");
        // Behind the prompt "d.": the sentence "a c, b a d." is cut at its clause, and "b" is single and joins what is before it.
        assert_eq!(cut(&[3, 0, 2, 1, 0, 3, 1]), [0..2, 2..6]);
        // Two sentences of three words.
        assert_eq!(cut(&[0, 0, 1, 3, 1, 1, 3]), [0..3, 3..6]);
        // Without a mark, words of one token each join the first.
        assert_eq!(cut(&[0; 7]), std::slice::from_ref(&(0..LENGTH)));
    }
}
