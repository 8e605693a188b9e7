//! Verifiers of chain arithmetic, as what chooses among samples and as what guides a search of as many tokens.
//!
//! All learn from the same solutions of a solver that slips. The outcome model sees the last token and its outcome; the process
//! models see Monte-Carlo labels of the steps up to the first from which no rollout is right; the token values see the share of
//! a problem's samples that go on right, of a few samples or of many; the implicit model is a policy trained on outcomes alone.
//! The process advantage verifier ranks by the effective reward, with best of four of the solver as prover; its beam chooses among
//! whole texts by the value.
//!
//! Beside them stand what no training went into: one sample, the vote, random scores, and the exact value of each prefix. All that
//! a scorer says of prefixes is held against the exact value, too; what the implicit model says is taken as log-odds.
//!
//! A chain has one right text, so a search over it has little to explore, which is what the effective reward is for.

use anyhow::{Result, ensure};
use ascribe::core::{Candidate, CoreError, Credit, Episode, Reduce, Scorer, Seed, Tokens};
use ascribe::process::credit::{ImplicitForm, TokenTrie, effective};
use ascribe::process::label::{AfterError, Softness, targets};
use ascribe::process::{Completer, LabelRow, MonteCarlo, Solution};
use ascribe::search::{BestOfN, Majority, StepBeam, Vote, VoteWeights};

use crate::chain::{Chains, Solver, every_result};
use crate::row::{Claim, Figures, Row};
use crate::rows::strategies::Random;
use crate::solver::{answer, same};
use crate::step_policy::{ImplicitScorer, StepPolicy, places};
use crate::step_table::{CrossEntropy, Marked, StepScorer, features};
use crate::world::sigmoid;

const STEPS: usize = 8;
static SOLVER: Solver = Solver { hard: 0.35, easy: 0.02, steps: STEPS };
const TRAINED: usize = 300;
const SAMPLES: usize = 4;
const ROLLOUTS: usize = 8;
/// Samples of a problem where there are many, as TVM has them, and passes over them.
const MANY: usize = 100;
const FEWER_PASSES: f64 = 1.0;
const TESTS: usize = 300;
/// Candidates of each search, and what a kept text becomes in the beam.
const N: usize = 8;
const EXPAND: usize = 4;
/// Tokens that a search may write for a problem.
const MOST: f64 = (N * STEPS) as f64;
const PASSES: f64 = 10.0;
const BETA: f64 = 1.0;
/// Of the effective reward: the weight of progress, and the samples of the prover.
const ALPHA: f64 = 0.5;
const PROVER: u32 = 4;
const SEGMENTATION: &str = "results";

/// What verifiers do for search.
pub const ROW: Row = Row {
    name: "process-verifiers",
    paper: "Rewarding Progress, arXiv:2410.08146; Math-Shepherd, arXiv:2312.08935; OmegaPRM, arXiv:2406.06592; TVM, arXiv:2407.12863; \
            Free Process Rewards, arXiv:2412.01981",
    setting: "chains of 8 operations, a solver whose hard steps go wrong with probability 0.35 and easy ones with 0.02; 300 \
              problems with 4 solutions each, and with 100 for a second outcome model and second token values; 8 rollouts a \
              prefix for the process models; tables of weights over steps, operations ahead and the next question stand in for \
              models of text; accuracy on 300 other problems by best of 8 and by a step beam of 8 candidates a level, of which \
              2 are kept; both write at most 64 tokens a problem; errors are mean distances from the exact value behind each \
              step of one solution a problem",
    seeds: 16,
    claims: &[
        Claim {
            says: "best-of-n by a process model beats the majority vote",
            more: "best of n, process model",
            less: "majority",
        },
        Claim {
            says: "best-of-n by a process model beats best-of-n by an outcome model",
            more: "best of n, process model",
            less: "best of n, outcome model",
        },
        Claim {
            says: "a beam by a process model beats one by an outcome model",
            more: "beam, process model",
            less: "beam, outcome model",
        },
        Claim {
            says: "a beam by effective rewards beats best-of-n by an outcome model with as many tokens",
            more: "beam, effective reward",
            less: "best of n, outcome model",
        },
        Claim {
            says: "a beam by effective rewards beats one by an outcome model",
            more: "beam, effective reward",
            less: "beam, outcome model",
        },
        Claim {
            says: "a beam by effective rewards beats one by the value alone",
            more: "beam, effective reward",
            less: "beam, process model",
        },
        Claim {
            says: "soft labels teach a better process model than hard ones, in best-of-n",
            more: "best of n, process model",
            less: "best of n, hard labels",
        },
        Claim {
            says: "a beam by token values beats one by an outcome model",
            more: "beam, token values",
            less: "beam, outcome model",
        },
        Claim {
            says: "it does so where both learn from 100 solutions of a problem",
            more: "beam, token values of many",
            less: "beam, outcome model of many",
        },
        Claim {
            says: "best-of-n by an implicit process model, which saw outcomes alone, beats the majority vote",
            more: "best of n, implicit model",
            less: "majority",
        },
        Claim {
            says: "best-of-n by an outcome model beats the majority vote",
            more: "best of n, outcome model",
            less: "majority",
        },
        Claim { says: "so does best-of-n by token values", more: "best of n, token values", less: "majority" },
        Claim {
            says: "and by effective rewards of the last step",
            more: "best of n, effective reward",
            less: "majority",
        },
        Claim {
            says: "a vote weighted by a process model beats the plain one",
            more: "vote weighted by the process model",
            less: "majority",
        },
        Claim { says: "the majority vote beats one sample", more: "majority", less: "one sample" },
        Claim { says: "and best-of-n by random scores", more: "majority", less: "best of n, random scores" },
        Claim {
            says: "with as many tokens a beam by an outcome model beats best-of-n by it",
            more: "beam, outcome model",
            less: "best of n, outcome model",
        },
        Claim { says: "so does one by a process model", more: "beam, process model", less: "best of n, process model" },
        Claim { says: "one by token values", more: "beam, token values", less: "best of n, token values" },
        Claim { says: "one by effective rewards", more: "beam, effective reward", less: "best of n, effective reward" },
        Claim {
            says: "and one by an implicit process model",
            more: "beam, implicit model",
            less: "best of n, implicit model",
        },
        Claim {
            says: "beams write no more tokens than best-of-n, in the mean over all scorers",
            more: "tokens, best of n",
            less: "tokens, beam",
        },
        Claim {
            says: "a beam by an outcome model beats one by random scores",
            more: "beam, outcome model",
            less: "beam, random scores",
        },
        Claim {
            says: "a beam by the exact value leaves room above one by a process model",
            more: "beam, exact value",
            less: "beam, process model",
        },
        Claim {
            says: "a process model is nearer to the exact value than an outcome model",
            more: "error, outcome model",
            less: "error, process model",
        },
        Claim { says: "so are token values", more: "error, outcome model", less: "error, token values" },
        Claim {
            says: "and token values of 100 solutions than an outcome model of as many",
            more: "error, outcome model of many",
            less: "error, token values of many",
        },
        Claim {
            says: "soft labels bring the process model nearer than hard ones",
            more: "error, hard labels",
            less: "error, process model",
        },
    ],
    tried: "TVM takes about 100 samples of a problem, and a share of 4 is a rough estimate of a chance, so the row has 100 \
            beside them; in a model of this row token values are behind with 4, level with 32 and ahead with 100. The outcome \
            model is a sum over steps here, so it says something of a prefix, which an outcome model of text need not, and it \
            learns each step from texts whose later steps it sees, while the target of a prefix carries the luck of all that \
            follows; the errors of both are among the claims. All searches read the last value of a text, not the product of all. \
            Effective rewards order the next steps of one text as the values do, since best of 4 grows with the value: they can \
            differ only between the two texts that a beam keeps, and a chain has one right text.",
    run,
};

/// What the arms learn from.
#[derive(Default)]
struct Taught {
    outcomes: Vec<Marked>,
    soft: Vec<Marked>,
    hard: Vec<Marked>,
    tokens: Vec<Marked>,
    whole: Vec<Marked>,
    many_outcomes: Vec<Marked>,
    many_tokens: Vec<Marked>,
}

/// The value of a prefix: problem, and what is written.
type Value<'a> = &'a (dyn Fn(&[u32], &[u32]) -> f64 + Send + Sync);

/// Values of steps.
struct Values<'a>(Value<'a>);

impl Values<'_> {
    fn of(&self, prompt: &[u32], response: &[u32]) -> Vec<f64> {
        (1..=response.len()).map(|end| (self.0)(prompt, &response[..end])).collect()
    }
}

impl Scorer for Values<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| in_steps(&self.of(episode.prompt_tokens(), episode.response_tokens()));
        Ok(episodes.iter().map(credit).collect())
    }
}

/// Effective rewards of steps by values.
struct Effective<'a>(Value<'a>);

impl Scorer for Effective<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| -> Result<Credit, CoreError> {
            let (prompt, response) = (episode.prompt_tokens(), episode.response_tokens());
            let values = Values(self.0).of(prompt, response);
            Ok(in_steps(&effective((self.0)(prompt, &[]), &values, ALPHA, PROVER)?))
        };
        episodes.iter().map(credit).collect()
    }
}

/// Scores that are log-odds, as chances.
struct Chances<'a>(&'a dyn Scorer);

impl Scorer for Chances<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let chances =
            |credit: &Credit| -> Vec<f64> { credit.values().iter().map(|logit| sigmoid(f64::from(*logit))).collect() };
        Ok(self.0.score(episodes)?.iter().map(|credit| in_steps(&chances(credit))).collect())
    }
}

fn in_steps(values: &[f64]) -> Credit {
    Credit::steps(values.iter().map(|value| *value as f32).collect())
}

fn run(seed: Seed) -> Result<Figures> {
    let taught = taught(seed.child("training", 0))?;
    let loss = CrossEntropy::new()?;
    let learned = |rows: &[Marked]| StepScorer::learned(&loss, rows, PASSES, seed);
    let of_many = |rows: &[Marked]| StepScorer::learned(&loss, rows, FEWER_PASSES, seed);
    let (outcome, process) = (learned(&taught.outcomes)?, learned(&taught.soft)?);
    let (hard, values) = (learned(&taught.hard)?, learned(&taught.tokens)?);
    let (many_outcomes, many_values) = (of_many(&taught.many_outcomes)?, of_many(&taught.many_tokens)?);
    let reference = StepPolicy::of(&SOLVER);
    let policy = reference.trained(&loss, BETA, &taught.whole, PASSES, seed)?;
    let implicit =
        ImplicitScorer { policy: &policy, reference: &reference, beta: BETA, form: ImplicitForm::Accumulative };

    let value = |prompt: &[u32], written: &[u32]| process.value(prompt, written);
    // Sums of probabilities can pass 1 by rounding.
    let exactly = |prompt: &[u32], written: &[u32]| SOLVER.value(prompt, written).min(1.0);
    let (effective, exact_effective) = (Effective(&value), Effective(&exactly));
    let (exact, random) = (Values(&exactly), Random(seed.child("random scores", 0)));

    let tests = Chains::draw(TESTS, STEPS, seed.child("tests", 0))?;
    let best_of_n = BestOfN { n: N };
    let beam = StepBeam { n: N, expand: EXPAND, levels: STEPS, ..StepBeam::default() };
    let arms: [(&str, &dyn Scorer); 10] = [
        ("outcome model", &outcome),
        ("process model", &process),
        ("hard labels", &hard),
        ("effective reward", &effective),
        ("token values", &values),
        ("outcome model of many", &many_outcomes),
        ("token values of many", &many_values),
        ("implicit model", &implicit),
        ("random scores", &random),
        ("exact value", &exact),
    ];
    let mut figures: Figures = Vec::new();
    let (mut tokens_best, mut tokens_beam) = (0.0, 0.0);
    for (name, scorer) in arms {
        let [right, tokens] = tests.solved_at(&best_of_n, SOLVER.searched(scorer, seed))?;
        ensure!(tokens <= MOST, "best of n by {name} wrote {tokens} tokens a problem");
        figures.push((format!("best of n, {name}"), right));
        tokens_best += tokens / arms.len() as f64;
        let guided = SOLVER.searched(scorer, seed);
        // Effective rewards rank steps; whole texts are chosen by the value.
        let guided = if name == "effective reward" { guided.with_judge(&process, Reduce::Last) } else { guided };
        let [right, tokens] = tests.solved_at(&beam, guided)?;
        ensure!(tokens <= MOST, "the beam by {name} wrote {tokens} tokens a problem");
        figures.push((format!("beam, {name}"), right));
        tokens_beam += tokens / arms.len() as f64;
    }
    figures.extend([("tokens, best of n".to_owned(), tokens_best), ("tokens, beam".to_owned(), tokens_beam)]);
    let one = BestOfN { n: 1 };
    figures.push(("one sample".to_owned(), tests.solved(&one, SOLVER.searched(&random, seed))?));
    let majority = Majority { n: N, answer: |_: usize, candidate: &Candidate| candidate.tokens.last().copied() };
    figures.push(("majority".to_owned(), tests.solved(&majority, SOLVER.searched(&process, seed))?));

    let weighted = Vote { n: N, weights: Some(VoteWeights::Identity) };
    let voting = SOLVER.searched(&process, seed).with_answers(&answer, &same);
    figures.push(("vote weighted by the process model".to_owned(), tests.solved(&weighted, voting)?));

    let chances = Chances(&implicit);
    let stated: [(&str, &dyn Scorer, &dyn Scorer); 8] = [
        ("outcome model", &outcome, &exact),
        ("process model", &process, &exact),
        ("hard labels", &hard, &exact),
        ("effective reward", &effective, &exact_effective),
        ("token values", &values, &exact),
        ("outcome model of many", &many_outcomes, &exact),
        ("token values of many", &many_values, &exact),
        ("implicit model", &chances, &exact),
    ];
    for (name, scorer, truth) in stated {
        figures.push((format!("error, {name}"), error(&tests, scorer, truth, seed)?));
    }
    Ok(figures)
}

/// The mean distance of what a scorer says from the truth, behind each step of one solution of each problem.
fn error(tests: &Chains, scorer: &dyn Scorer, truth: &dyn Scorer, seed: Seed) -> Result<f64> {
    let mut episodes = Vec::with_capacity(TESTS);
    for (number, prompt) in tests.prompts.iter().enumerate() {
        let solutions = SOLVER.solutions(prompt, 1, seed.child("measured", number as u64));
        episodes.extend(solutions.iter().map(|response| Episode::new(prompt, response)));
    }
    let said = |scorer: &dyn Scorer| -> Result<Vec<f64>> {
        let credits = scorer.score(&episodes)?;
        Ok(credits.iter().flat_map(Credit::values).map(|value| f64::from(*value)).collect())
    };
    let (said, exact) = (said(scorer)?, said(truth)?);
    Ok(said.iter().zip(&exact).map(|(said, exact)| (said - exact).abs()).sum::<f64>() / exact.len() as f64)
}

/// Solutions of the solver with everything that is said of them.
fn taught(seed: Seed) -> Result<Taught> {
    let chains = Chains::draw(TRAINED, STEPS, seed)?;
    let outcome = |problem: u64, response: &[u32]| chains.verdict(problem, response);
    let mut completer = Completer::new(&SOLVER, &outcome, "solver", STEPS, seed.child("rollouts", 0));
    let labeller = MonteCarlo::new(ROLLOUTS)?;
    let mut taught = Taught::default();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let samples = |n: usize, name: &str| -> Vec<(Tokens, bool)> {
            let solutions = SOLVER.solutions(prompt, n, seed.child(name, number as u64));
            let with_mark = |response: Tokens| {
                let right = chains.is_right(number, &response);
                (response, right)
            };
            solutions.into_iter().map(with_mark).collect()
        };
        let many = samples(MANY, "many solutions");
        let [outcomes, tokens] = from_outcomes(prompt, &many)?;
        taught.many_outcomes.extend(outcomes);
        taught.many_tokens.extend(tokens);
        let samples = samples(SAMPLES, "solutions");
        let [outcomes, tokens] = from_outcomes(prompt, &samples)?;
        taught.outcomes.extend(outcomes);
        taught.tokens.extend(tokens);
        for (response, right) in &samples {
            let label = f64::from(u8::from(*right));
            taught.whole.push(Marked { responses: vec![places(prompt, response)], labels: vec![label] });
            let ends = every_result(response)?;
            let problem = number as u64;
            let solution = Solution { problem, prompt, response, ends: &ends, segmentation: SEGMENTATION };
            let rows = labeller.label(&solution, &mut completer)?.rows;
            taught.soft.extend(marked(prompt, response, &labels(&rows, Softness::Soft)?));
            taught.hard.extend(marked(prompt, response, &labels(&rows, Softness::Hard)?));
        }
    }
    Ok(taught)
}

/// What the outcomes of the samples of a problem teach: the outcome model, and the token values.
fn from_outcomes(prompt: &[u32], samples: &[(Tokens, bool)]) -> Result<[Vec<Marked>; 2]> {
    let trie = TokenTrie::new(samples, samples.len())?;
    let (mut outcomes, mut tokens) = (Vec::new(), Vec::new());
    for (sample, (response, right)) in samples.iter().enumerate() {
        let label = f64::from(u8::from(*right));
        outcomes.push(Marked { responses: vec![features(prompt, response)], labels: vec![label] });
        let per_token: Vec<Option<f64>> = trie.targets(sample).into_iter().map(Some).collect();
        tokens.extend(marked(prompt, response, &per_token));
    }
    Ok([outcomes, tokens])
}

/// The labels of steps, absent behind the first error.
fn labels(rows: &[LabelRow], softness: Softness) -> Result<Vec<Option<f64>>> {
    let labels = targets(rows, SEGMENTATION, softness, AfterError::Mask)?;
    Ok(labels.into_iter().map(|label| label.map(f64::from)).collect())
}

/// A row a labelled step.
fn marked(prompt: &[u32], response: &[u32], labels: &[Option<f64>]) -> Vec<Marked> {
    let row = |(at, label): (usize, &Option<f64>)| {
        label.map(|label| Marked { responses: vec![features(prompt, &response[..=at])], labels: vec![label] })
    };
    labels.iter().enumerate().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scorers_are_held_against_the_truth_step_by_step() {
        let tests = Chains::draw(3, STEPS, Seed(0)).unwrap();
        let (low, high) = (|_: &[u32], _: &[u32]| 0.25f64, |_: &[u32], _: &[u32]| 0.5f64);
        let (low, high) = (Values(&low), Values(&high));
        assert_eq!(error(&tests, &low, &high, Seed(1)).unwrap(), 0.25);
        assert_eq!(error(&tests, &high, &high, Seed(1)).unwrap(), 0.0);
        // sigmoid(0) is one half.
        let nothing = |_: &[u32], _: &[u32]| 0.0f64;
        let nothing = Values(&nothing);
        assert_eq!(error(&tests, &Chances(&nothing), &high, Seed(1)).unwrap(), 0.0);
    }

    #[test]
    fn an_effective_reward_by_hand() {
        // The value of the question is 0, and one half behind each step: best of 4 has 15/16.
        let value = |_: &[u32], written: &[u32]| if written.is_empty() { 0.0f64 } else { 0.5 };
        let credits = Effective(&value).score(&[Episode::new(&[1, 10, 1, 10, 1], &[2, 3])]).unwrap();
        assert_eq!(credits[0].values(), [0.5 + 0.5 * 0.9375, 0.5]);
    }
}
