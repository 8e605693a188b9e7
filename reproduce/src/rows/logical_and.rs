//! Transforming and combining rewards: the log-sigmoid of centred rewards sums to a logical AND.
//!
//! Two tastes that pull apart, a Bradley-Terry head for each, and best-of-64. The linear sum trades one property for the other;
//! the sum of `log sigmoid(r - r_ref)` wants both above their references, the 0.85 quantiles of samples of each prompt.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Scorer, Seed, Tokens};
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::reward::{LogSigmoid, PromptReferences, Reference, Sum};
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Sample, Training, Widths, best, mean, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 12;
const BENDS: usize = 4;
const PAIRS: usize = 400;
const PROMPTS: usize = 300;
const N: usize = 64;
const SAMPLES: usize = 128;
const CONFLICT: f64 = -0.5;

/// The claims of the logical AND.
pub const ROW: Row = Row {
    name: "logical-and",
    paper: "Transforming and Combining Rewards for Aligning Large Language Models, arXiv:2402.00742",
    setting: "two gold rewards of 12 features with 4 products each, whose linear parts have the cosine -0.5; 400 noisy pairs a \
              property, two-layer heads, best-of-64 on 300 prompts (KL 3.2 nats for both arms); the smaller of the two gold rewards",
    seeds: 60,
    claims: &[
        Claim { says: "the weaker property is better off", more: "weaker of AND", less: "weaker of sum" },
        Claim {
            says: "the worst tenth of prompts is better off",
            more: "worst tenth of AND",
            less: "worst tenth of sum",
        },
        Claim { says: "more responses are good in both", more: "both good of AND", less: "both good of sum" },
    ],
    tried: "",
    run,
};

/// The rewards of candidates that are known by their number, which is their only response token.
struct Known(Vec<f64>);

impl Scorer for Known {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|one| Credit::sequence(self.0[one.response_tokens()[0] as usize] as f32)).collect())
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let helpful = Taste::draw(FEATURES, BENDS, seed.child("helpful", 0))?;
    let harmless = Taste::draw(FEATURES, BENDS, seed.child("harmless", 0))?.turned_to(&helpful, CONFLICT)?;
    let tastes = [helpful, harmless];
    let mut stream = seed.stream("candidates", 0);
    let mut draw = |count: usize| -> Vec<Vec<f64>> { (0..count).map(|_| tastes[0].response(&mut stream)).collect() };
    let (candidates, samples) = (draw(PROMPTS * N), draw(PROMPTS * SAMPLES));
    let loss = BradleyTerryConfig::default().init()?;
    let annotator = Annotator { noise: 0.5, ..Annotator::default() };
    let (mut scorers, mut references, mut golds) = (Vec::new(), Vec::new(), Vec::new());
    for (number, taste) in (0..).zip(&tastes) {
        let pairs = annotator.comparisons(taste, PAIRS, &mut seed.stream("pairs", number));
        let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
        let own = seed.child("head", number);
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, own);
        let head = train(head, &loss, &rows, Training { steps: 200, rate: 1e-2, seed: own })?;
        let of_samples = head.rewards(&samples);
        let by_prompt: Vec<(Tokens, Vec<f64>)> =
            (0..PROMPTS).map(|at| (prompt(at), of_samples[at * SAMPLES..(at + 1) * SAMPLES].to_vec())).collect();
        references.push(Reference::PerPrompt(PromptReferences::quantile(&by_prompt, 0.85)?));
        scorers.push(Known(head.rewards(&candidates)));
        let gold: Vec<f64> = candidates.iter().map(|response| taste.gold(response)).collect();
        let mut usual: Vec<f64> = samples.iter().map(|response| taste.gold(response)).collect();
        usual.sort_by(f64::total_cmp);
        golds.push((gold, usual[usual.len() * 85 / 100]));
    }
    let mut good = Vec::new();
    for (scorer, reference) in scorers.iter().zip(references) {
        good.push(LogSigmoid::new(scorer, reference, 1.0)?);
    }
    let both = Sum::and(good.iter().map(|one| one as &dyn Scorer).collect())?;
    let sum = Sum::new(scorers.iter().map(|one| (1.0, one as &dyn Scorer)).collect())?;
    let episodes: Vec<Episode> = (0..PROMPTS * N).map(|at| Episode::new(&prompt(at / N), &[at as u32])).collect();
    let mut figures = Figures::new();
    for (name, scorer) in [("AND", &both as &dyn Scorer), ("sum", &sum as &dyn Scorer)] {
        let rewards: Vec<f64> = scorer.score(&episodes)?.iter().map(|credit| f64::from(credit.values()[0])).collect();
        let chosen = |at: usize| at * N + best(&rewards[at * N..(at + 1) * N]);
        let weaker = |at: usize| golds.iter().map(|(gold, _)| gold[chosen(at)]).fold(f64::INFINITY, f64::min);
        let mut weakest: Vec<f64> = (0..PROMPTS).map(weaker).collect();
        let is_good = |at: &usize| golds.iter().all(|(gold, usual)| gold[chosen(*at)] > *usual);
        let share = (0..PROMPTS).filter(is_good).count() as f64 / PROMPTS as f64;
        figures.push((format!("weaker of {name}"), mean(&weakest)));
        weakest.sort_by(f64::total_cmp);
        figures.push((format!("worst tenth of {name}"), mean(&weakest[..PROMPTS / 10])));
        figures.push((format!("both good of {name}"), share));
    }
    Ok(figures)
}

/// The prompt of this number.
fn prompt(at: usize) -> Tokens {
    vec![at as u32].into()
}
