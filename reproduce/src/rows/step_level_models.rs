//! Step-level reward models from tree searches, of which some see no words and some no formula.
//!
//! A solver writes each step as a thought and an equation. It slips in results, and now and then copies the wrong left operand, so
//! an equation must be held against the one before it. Tree searches give pairs of sibling steps whose values differ; a model is a
//! table of weights over what it is shown of the text, and chooses among five next steps at a time.
//!
//! Steps of which a model is shown the same have the same score, and a search then goes by the likelihood of the policy. So each
//! model chooses once more with equal scores parted at random: what it gains then is its own.

use anyhow::Result;
use ascribe::core::{
    Candidate, Capabilities, CoreError, Credit, Episode, Finish, Policy, Reduce, Reply, Request, Scorer, Seed, Tokens,
    Usage,
};
use ascribe::process::credit::{StepView, judged};
use ascribe::process::label::{Mcts, MctsConfig};
use ascribe::process::{Completer, Verdict};
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::search::{BestOfN, Found, Search, SearchCtx, StepBeam, Steps};
use ascribe::worlds::Operator;
use rand::RngExt;

use crate::chain::{Chains, Solver, asked};
use crate::row::{Claim, Figures, Row};
use crate::step_table::{Marked, number, weights};

const STEPS: usize = 4;
/// Tokens of a step: the phrase, the left operand, the result.
const STEP: usize = 3;
static SOLVER: Solver = Solver { hard: 0.35, easy: 0.02, steps: STEPS };
/// How often a left operand that another step wrote is copied wrongly.
const MISCOPIES: f64 = 0.15;
const TRAINED: usize = 600;
const SIMULATIONS: usize = 300;
/// Difference of values above which two siblings are a pair.
const THRESHOLD: f64 = 0.3;
const TESTS: usize = 400;
/// Next steps to choose among.
const CANDIDATES: usize = 5;
/// What parts equal scores: a random part of this.
const PARTED: f64 = 1e-3;
const PASSES: f64 = 10.0;

/// The words of the phrases; each phrase has four.
const WORDS: [&str; 12] = ["Now", "we", "it", "Next", "let", "us", "Here", "you", "on", "add", "subtract", "multiply"];
const PHRASES: u32 = 3;

/// Weights: of equations, of a result with the left operand behind it, of words, and of what fills a row up.
const COPY: usize = 3000;
const WORD: usize = COPY + 100;
const FILL: usize = WORD + WORDS.len();
/// Weights that a text takes: an equation, a copy and four words a step.
const WIDTH: usize = 6 * STEPS;

/// The claims on what step-level models look at.
pub const ROW: Row = Row {
    name: "step-level-models",
    paper: "What Are Step-Level Reward Models Rewarding? Counterintuitive Findings from MCTS-Boosted Mathematical Reasoning, \
            arXiv:2412.15904",
    setting: "chains of 4 operations with a phrase and an equation a step, a solver whose hard results go wrong with probability \
              0.35, easy ones with 0.02 and copies with 0.15; pairs from 300 simulations on each of 600 problems, where values \
              differ by more than 0.3; tables of weights over equations, copies and words as models; greedy search over 5 next \
              steps on 400 other problems, equal scores by likelihood or parted at random",
    seeds: 30,
    claims: &[
        Claim { says: "a model of the whole text helps", more: "full text", less: "one sample" },
        Claim { says: "so does one of the equations alone", more: "equations", less: "one sample" },
        Claim { says: "blanking formulas costs more than blanking words", more: "equations", less: "next thought" },
        Claim { says: "equations of all steps say more than the last one", more: "equations", less: "last equation" },
        Claim { says: "the whole text says more than the next thought", more: "full text", less: "next thought" },
        Claim {
            says: "where equal scores are parted at random, blanking formulas costs more than blanking words",
            more: "equations, parted",
            less: "next thought, parted",
        },
        Claim {
            says: "there the whole text says more than the next thought",
            more: "full text, parted",
            less: "next thought, parted",
        },
        Claim { says: "and equations alone help", more: "equations, parted", less: "one sample" },
    ],
    tried: "Six seeds showed blanked formulas to cost more (+0.091 [+0.011, +0.171]); 30 seeds do not bear it out. Without the \
            formula of a step a model scores all results behind one phrase alike, and the search then took the likeliest, so that \
            this arm is greedy decoding and not the model; the arms whose equal scores are parted at random leave that out.",
    run,
};

/// A solver that writes a phrase, the left operand and the result.
struct Talker;

impl Talker {
    fn written(&self, request: &Request, index: usize) -> Candidate {
        let mut stream = request.seed.stream("sample", index as u64);
        let (prompt, before) = request.prefix.split_at(1 + 2 * STEPS);
        let (mut text, mut logps) = (before.to_vec(), Vec::new());
        while text.len() < STEP * STEPS && text.len() + STEP <= before.len() + request.max_new {
            let results = results(&text);
            let phrase = stream.random_range(0..PHRASES);
            let (operator, copied, right) = asked(prompt, &results);
            let miscopies = !results.is_empty() && stream.random::<f64>() < MISCOPIES;
            let left = if miscopies { (copied + stream.random_range(1..10u8)) % 10 } else { copied };
            let copy = match (results.is_empty(), miscopies) {
                (true, _) => 1.0,
                (false, true) => MISCOPIES / 9.0,
                (false, false) => 1.0 - MISCOPIES,
            };
            let chance = SOLVER.chance((operator, left, right));
            let slips = stream.random::<f64>() < chance;
            let result = if slips { operator.slip(left, right) } else { operator.apply(left, right) };
            text.extend([phrase, u32::from(left), u32::from(result)]);
            let taken = if slips { chance } else { 1.0 - chance };
            logps.extend([1.0 / f64::from(PHRASES), copy, taken].map(|chance: f64| chance.ln() as f32));
        }
        let finish = if text.len() == STEP * STEPS { Finish::End } else { Finish::Length };
        Candidate { tokens: text.split_off(before.len()).into(), logps, finish }
    }
}

impl Policy for Talker {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let candidates: Vec<Candidate> = (0..request.n).map(|index| self.written(request, index)).collect();
            let generated = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 1 + 2 * STEPS + STEP * STEPS }
    }
}

/// The results in a text, one a step.
fn results(text: &[u32]) -> Vec<u32> {
    text.chunks_exact(STEP).map(|step| step[STEP - 1]).collect()
}

/// Each step as a person would read it.
fn spoken(prompt: &[u32], text: &[u32]) -> Vec<String> {
    let results = results(text);
    let step = |(at, step): (usize, &[u32])| {
        let (operator, _, right) = asked(prompt, &results[..at]);
        let verb = match operator {
            Operator::Add => "add",
            Operator::Subtract => "subtract",
            Operator::Multiply => "multiply",
        };
        let thought = match step[0] {
            0 => format!("Now we {verb} it"),
            1 => format!("Next let us {verb}"),
            _ => format!("Here you {verb} on"),
        };
        format!("{thought} ${}{}{right}={}$\n", step[1], operator.symbol(), step[2])
    };
    text.chunks_exact(STEP).enumerate().map(step).collect()
}

/// What a model is shown of the last step of a text and those before it. A next thought is shown behind the steps before.
fn shown(prompt: &[u32], text: &[u32], what: StepView) -> String {
    let steps = spoken(prompt, text);
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let Some(last) = steps.len().checked_sub(1) else { return String::new() };
    judged(&steps, last, what).unwrap_or_default()
}

/// The weights that what is shown takes, filled up to the same number.
fn features(shown: &str) -> Vec<usize> {
    let mut features = Vec::with_capacity(WIDTH);
    let mut before = None;
    for equation in shown.as_bytes().windows(5) {
        let [left, operator, right, b'=', result] = equation else { continue };
        let digit = |byte: &u8| usize::from(byte.wrapping_sub(b'0'));
        let operator = Operator::ALL.into_iter().find(|one| one.symbol() == char::from(*operator));
        let (Some(operator), true) = (operator, [left, right, result].iter().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        let question = (operator, digit(left) as u8, digit(right) as u8);
        features.push(10 * number(question) + digit(result));
        features.extend(before.map(|before| COPY + 10 * before + digit(left)));
        before = Some(digit(result));
    }
    let known = |word: &str| WORDS.iter().position(|known| *known == word).map(|at| WORD + at);
    features.extend(shown.split_whitespace().filter_map(known));
    features.resize(WIDTH, FILL);
    features
}

/// A trained step-level model.
struct StepModel {
    weights: Vec<f64>,
    what: StepView,
}

impl Scorer for StepModel {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| {
            let shown = shown(episode.prompt_tokens(), episode.response_tokens(), self.what);
            Credit::sequence(features(&shown).into_iter().map(|place| self.weights[place]).sum::<f64>() as f32)
        };
        Ok(episodes.iter().map(credit).collect())
    }
}

/// A model whose equal scores are parted by a small random number, the same for a text whenever it is asked.
struct Parted<'a> {
    model: &'a StepModel,
    seed: Seed,
}

impl Scorer for Parted<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let parted = |(episode, credit): (&Episode, Credit)| {
            let name =
                episode.tokens.iter().fold(1u64, |name, token| name.wrapping_mul(31).wrapping_add(u64::from(*token)));
            let part = (PARTED * self.seed.stream("parted", name).random::<f64>()) as f32;
            Credit::sequence(credit.values().iter().sum::<f32>() + part)
        };
        Ok(episodes.iter().zip(self.model.score(episodes)?).map(parted).collect())
    }
}

/// A better and a worse text of one problem, to the end of the step in which they differ.
struct Siblings {
    prompt: Tokens,
    better: Tokens,
    worse: Tokens,
}

/// Pairs of sibling steps from tree searches.
fn siblings(seed: Seed) -> Result<Vec<Siblings>> {
    let chains = Chains::draw(TRAINED, STEPS, seed)?;
    let outcome =
        |problem: u64, text: &[u32]| -> Result<Verdict, CoreError> { chains.verdict(problem, &results(text)) };
    let mut completer = Completer::new(&Talker, &outcome, "talker", STEP * STEPS, seed.child("rollouts", 0));
    let config = MctsConfig { simulations: SIMULATIONS, threshold: THRESHOLD, max_step: STEP, ..MctsConfig::default() };
    let search: Mcts = config.init()?;
    let mut siblings = Vec::new();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        for pair in search.search(number as u64, prompt, &mut completer)?.pairs {
            let (better, worse) = (pair.prefix.followed_by(&pair.chosen), pair.prefix.followed_by(&pair.rejected));
            siblings.push(Siblings { prompt: prompt.clone(), better, worse });
        }
    }
    Ok(siblings)
}

fn run(seed: Seed) -> Result<Figures> {
    let siblings = siblings(seed.child("training", 0))?;
    let tests = Chains::draw(TESTS, STEPS, seed.child("tests", 0))?;
    let loss = BradleyTerryConfig::default().init()?;
    let greedy = StepBeam { n: CANDIDATES, expand: CANDIDATES, levels: STEPS, ..StepBeam::default() };
    let mut figures: Figures = Vec::new();
    for (name, what) in [
        ("full text", StepView::FullContext),
        ("equations", StepView::MathOnly),
        ("last equation", StepView::SingleStepMathOnly),
        ("next thought", StepView::NextThought),
    ] {
        let side = |prompt: &Tokens, text: &Tokens| features(&shown(prompt, text, what));
        let row = |pair: &Siblings| Marked {
            responses: vec![side(&pair.prompt, &pair.better), side(&pair.prompt, &pair.worse)],
            labels: Vec::new(),
        };
        let rows: Vec<Marked> = siblings.iter().map(row).collect();
        let model = StepModel { weights: weights(&loss, FILL + 1, &rows, PASSES, seed)?, what };
        figures.push((name.to_owned(), accuracy(&tests, &greedy, &model, seed)?));
        let parted = Parted { model: &model, seed: seed.child("parted", 0) };
        figures.push((format!("{name}, parted"), accuracy(&tests, &greedy, &parted, seed)?));
        if what == StepView::FullContext {
            figures.push(("one sample".to_owned(), accuracy(&tests, &BestOfN { n: 1 }, &model, seed)?));
        }
    }
    Ok(figures)
}

/// The share of problems that a search gets right.
fn accuracy(tests: &Chains, search: &dyn Search, scorer: &dyn Scorer, seed: Seed) -> Result<f64> {
    let ctx = SearchCtx::new(&Talker, STEP * STEPS, seed.child("search", 0)).with_steps(Steps::blocks(STEP));
    let found = search.search(&tests.prompts, &mut ctx.with_scorer(scorer, Reduce::Last))?;
    let right = |(problem, found): &(usize, Found)| tests.is_right(*problem, &results(&found.best().tokens));
    Ok(found.into_iter().enumerate().filter(right).count() as f64 / TESTS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (2 + 5) - 4, with the wrong operand copied in the second step.
    const PROMPT: [u32; 5] = [2, 10, 5, 11, 4];
    const TEXT: [u32; 6] = [0, 2, 7, 2, 8, 4];

    #[test]
    fn each_view_shows_its_part() {
        let shown = |what| shown(&PROMPT, &TEXT, what);
        assert_eq!(shown(StepView::FullContext), "Now we add it $2+5=7$\nHere you subtract on $8-4=4$\n");
        assert_eq!(shown(StepView::MathOnly), "$2+5=7$\n$8-4=4$");
        assert_eq!(shown(StepView::SingleStepMathOnly), "$8-4=4$");
        assert_eq!(shown(StepView::NextThought), "Now we add it $2+5=7$\nHere you subtract on");
    }

    #[test]
    fn an_equation_is_held_against_the_one_before_it_where_both_are_shown() {
        let of = |what| features(&shown(&PROMPT, &TEXT, what));
        // 2+5=7, 8-4=4, and 7 copied as 8.
        let (first, second, copy) = (257, 1844, COPY + 78);
        assert_eq!(of(StepView::MathOnly)[..4], [first, second, copy, FILL]);
        assert_eq!(of(StepView::SingleStepMathOnly)[..2], [second, FILL]);
        let full = of(StepView::FullContext);
        assert_eq!((full.len(), full.iter().filter(|place| (WORD..FILL).contains(*place)).count()), (WIDTH, 8));
        assert_eq!(of(StepView::NextThought).iter().filter(|place| (WORD..FILL).contains(*place)).count(), 8);
    }

    #[test]
    fn equal_scores_are_parted_by_little_and_the_same_way_each_time() {
        // A word is worth 1, and nothing else is worth anything.
        let mut weights = vec![0.0; FILL + 1];
        weights[WORD..FILL].fill(1.0);
        let model = StepModel { weights, what: StepView::NextThought };
        let parted = Parted { model: &model, seed: Seed(0) };
        let prompt = &PROMPT[..3];
        // The results and the phrases differ; results are not shown, and phrases have four words each.
        let texts = [&[0, 2, 7][..], &[0, 2, 6], &[2, 2, 7]].map(|text| Episode::new(prompt, text));
        let scores = |scorer: &dyn Scorer| -> Vec<f32> {
            scorer.score(&texts).unwrap().iter().map(|credit| credit.values()[0]).collect()
        };
        assert_eq!(scores(&model), [4.0, 4.0, 4.0]);
        let (once, again) = (scores(&parted), scores(&parted));
        assert_eq!(once, again);
        assert!(once[0] != once[1] && once[1] != once[2]);
        assert!(once.iter().all(|score| (4.0..=4.0011).contains(score)), "{once:?}");
    }
}
