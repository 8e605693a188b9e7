//! GLoRe: stepwise outcome models say where a draft goes wrong, and two refiners mend it; an outcome model chooses.
//!
//! The solver writes drafts. Stepwise labels ask whether any rollout from a prefix is right, so they approach what the best
//! solver could do; the outcome model learns what becomes of the prefix. A refiner is a table of results, fitted by counting to
//! refinement data: the global one sees the draft's result at the same question, the local one the step before which the mark
//! stands. Where nothing was counted both write as the solver does.

use anyhow::Result;
use ascribe::core::{
    Candidate, Capabilities, CoreError, Episode, Finish, Policy, Reduce, Reply, Request, Scorer, Seed, Tokens, Usage,
    rule,
};
use ascribe::process::label::{Refinement, balanced, global_refinements, local_refinements, sorm_labels};
use ascribe::process::{Completer, MonteCarlo, Solution};
use ascribe::search::{BestOfN, Refine, RefineOptions, Refiner};
use ascribe::worlds::ChainWorld;
use rand::RngExt;

use crate::chain::{Chains, Solver, asked, every_result};
use crate::heads::best;
use crate::row::{Claim, Figures, Row};
use crate::step_table::{CrossEntropy, Marked, StepScorer, features, number};

const STEPS: usize = 8;
static SOLVER: Solver = Solver { hard: 0.35, easy: 0.02, steps: STEPS };
const TRAINED: usize = 200;
const SAMPLES: usize = 4;
const ROLLOUTS: usize = 8;
const TESTS: usize = 300;
const PASSES: f64 = 10.0;
const SEGMENTATION: &str = "results";
/// Questions, results, and the results that a refiner may see of the draft, one of which is none.
const QUESTIONS: usize = 300;
const RESULTS: usize = 10;
const SEEN: usize = RESULTS + 1;
/// What the solver's own habit counts for beside the refinement data.
const HABIT: f64 = 4.0;
/// The token behind a draft that is to be refined as a whole; a local mark is a later one, by the steps that are kept.
const GLOBAL: u32 = 20;
/// Tokens of a problem, its draft and the mark.
const ASKED: usize = 1 + 2 * STEPS + STEPS + 1;

/// GLoRe's claims.
pub const ROW: Row = Row {
    name: "glore-stages",
    paper: "GLoRe: When, Where, and How to Improve LLM Reasoning via Global and Local Refinements, arXiv:2402.10963",
    setting: "chains of 8 operations, a solver whose hard steps go wrong with probability 0.35 and easy ones with 0.02; 200 problems \
              with 4 solutions each and 8 rollouts a prefix; tables of weights over steps as scorers and tables of results as \
              refiners; one draft, refined always, on 300 other problems; a step is right while a careful solver still gets the \
              answer",
    seeds: 8,
    claims: &[
        Claim {
            says: "the stepwise model tells right prefixes better than the outcome model",
            more: "step accuracy, stepwise",
            less: "step accuracy, outcome",
        },
        Claim { says: "global refinement beats the draft", more: "draft and global", less: "draft" },
        Claim { says: "local refinement beats the draft", more: "draft and local", less: "draft" },
        Claim { says: "both, chosen among, beat global alone", more: "all three", less: "draft and global" },
        Claim { says: "both, chosen among, beat local alone", more: "all three", less: "draft and local" },
        Claim { says: "and best of three drafts", more: "all three", less: "best of three" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let Taught { outcome, stepwise, global, local } = taught(seed.child("training", 0))?;
    let refining = Refining { global, local };
    let tests = Chains::draw(TESTS, STEPS, seed.child("tests", 0))?;

    let whole_draft = |prompt: &Tokens, draft: &[u32], _: Option<usize>| marked(prompt, draft, GLOBAL);
    let from_mark = |prompt: &Tokens, draft: &[u32], kept: Option<usize>| {
        marked(prompt, draft, GLOBAL + 1 + kept.unwrap_or(0) as u32)
    };
    // A refiner whose question fills its context writes nothing.
    let nothing = |_: &Tokens, _: &[u32], _: Option<usize>| Tokens::from(vec![0; ASKED + STEPS]);
    let global = Refiner { policy: Some(&refining), prompt: &whole_draft };
    let local = Refiner { policy: Some(&refining), prompt: &from_mark };
    let none = Refiner { policy: Some(&refining), prompt: &nothing };
    let once = RefineOptions::default();
    let draft = Refine { options: RefineOptions { rounds: 0, ..once }, ..Refine::default() };

    // Without credit for steps there is no local refinement.
    let of_response =
        rule(|episode: &Episode| outcome.value(episode.prompt_tokens(), episode.response_tokens()) as f32);
    let after = |refine: &Refine, scorer: &dyn Scorer| {
        tests.solved(refine, SOLVER.searched(scorer, seed).with_judge(&outcome, Reduce::Last))
    };
    let [by_stepwise, by_outcome] = step_accuracy(&tests, [&stepwise, &outcome], seed)?;
    Ok(vec![
        ("step accuracy, stepwise".into(), by_stepwise),
        ("step accuracy, outcome".into(), by_outcome),
        ("draft".into(), after(&draft, &stepwise)?),
        ("draft and global".into(), after(&Refine { options: once, global: Some(global), local: None }, &of_response)?),
        (
            "draft and local".into(),
            after(&Refine { options: once, global: Some(none), local: Some(local) }, &stepwise)?,
        ),
        ("all three".into(), after(&Refine { options: once, global: Some(global), local: Some(local) }, &stepwise)?),
        ("best of three".into(), tests.solved(&BestOfN { n: 3 }, SOLVER.searched(&outcome, seed))?),
    ])
}

/// A problem, its draft and the mark, as a refiner reads them.
fn marked(prompt: &[u32], draft: &[u32], mark: u32) -> Tokens {
    [prompt, draft, &[mark]].concat().into()
}

/// How often a prefix of a solution is rightly said to be right or wrong, at 0.5.
fn step_accuracy(tests: &Chains, scorers: [&StepScorer; 2], seed: Seed) -> Result<[f64; 2]> {
    let mut right = [0.0; 2];
    for (number, prompt) in tests.prompts.iter().enumerate() {
        let world = ChainWorld { problem: tests.problems[number].clone() };
        for response in SOLVER.solutions(prompt, 1, seed.child("steps", number as u64)) {
            let results: Vec<u8> = response.iter().map(|result| *result as u8).collect();
            for end in 1..=STEPS {
                let truth = world.value_if_careful(&results[..end]) > 0.5;
                for (right, scorer) in right.iter_mut().zip(scorers) {
                    let said = scorer.value(prompt, &response[..end]) >= 0.5;
                    *right += if said == truth { 1.0 } else { 0.0 };
                }
            }
        }
    }
    Ok(right.map(|right| right / (TESTS * STEPS) as f64))
}

/// Everything that is learned from the solver's solutions.
struct Taught {
    outcome: StepScorer,
    stepwise: StepScorer,
    global: Results,
    local: Results,
}

fn taught(seed: Seed) -> Result<Taught> {
    let chains = Chains::draw(TRAINED, STEPS, seed)?;
    let outcome = |problem: u64, response: &[u32]| chains.verdict(problem, response);
    let mut completer = Completer::new(&SOLVER, &outcome, "solver", STEPS, seed.child("rollouts", 0));
    let labeller = MonteCarlo::new(ROLLOUTS)?;
    let (mut outcomes, mut steps, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let (mut global, mut local) = (Results::default(), Results::default());
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let problem = number as u64;
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for response in SOLVER.solutions(prompt, SAMPLES, seed.child("solutions", problem)) {
            let ends = every_result(&response)?;
            let (ends, segmentation) = (&ends[..], SEGMENTATION);
            let solution = Solution { problem, prompt, response: &response, ends, segmentation };
            let labelled = labeller.label(&solution, &mut completer)?;
            let is_right = chains.is_right(number, &response);
            for (at, good) in sorm_labels(&labelled.rows).into_iter().enumerate() {
                let features = features(prompt, &response[..=at]);
                outcomes
                    .push(Marked { responses: vec![features.clone()], labels: vec![f64::from(u8::from(is_right))] });
                steps.push(features);
                labels.push((at + 1, good));
            }
            for refinement in local_refinements(&solution, &labelled)? {
                local.count(prompt, &refinement);
            }
            if is_right { right.push(response) } else { wrong.push(response) }
        }
        for refinement in global_refinements(problem, &wrong, &right, seed) {
            global.count(prompt, &refinement);
        }
    }
    let kept: Vec<Marked> = balanced(&labels, seed)
        .into_iter()
        .map(|at| Marked { responses: vec![steps[at].clone()], labels: vec![f64::from(u8::from(labels[at].1))] })
        .collect();
    let loss = CrossEntropy::new()?;
    Ok(Taught {
        outcome: StepScorer::learned(&loss, &outcomes, PASSES, seed)?,
        stepwise: StepScorer::learned(&loss, &kept, PASSES, seed)?,
        global,
        local,
    })
}

/// How often each result follows a question, beside what is seen of the draft.
struct Results {
    counts: Vec<f64>,
}

impl Default for Results {
    fn default() -> Self {
        Self { counts: vec![0.0; QUESTIONS * SEEN * RESULTS] }
    }
}

impl Results {
    /// Where the counts behind `written` begin.
    fn place(prompt: &[u32], draft: &[u32], written: &[u32], kept: Option<usize>) -> usize {
        let (at, question) = (written.len(), asked(prompt, written));
        let shown = match kept {
            Some(kept) => at == kept,
            None => asked(prompt, &draft[..at]) == question,
        };
        let seen = if shown { draft[at] as usize } else { RESULTS };
        (number(question) * SEEN + seen) * RESULTS
    }

    /// Adds the steps that a refinement writes.
    fn count(&mut self, prompt: &[u32], refinement: &Refinement) {
        let Refinement { draft, bad_from, refined, .. } = refinement;
        for at in bad_from.unwrap_or(0)..refined.len() {
            let place = Self::place(prompt, draft, &refined[..at], *bad_from);
            self.counts[place + refined[at] as usize] += 1.0;
        }
    }

    /// How likely each result is, and the habit of the solver beside the counts.
    fn chances(&self, prompt: &[u32], draft: &[u32], written: &[u32], kept: Option<usize>) -> [f64; RESULTS] {
        let place = Self::place(prompt, draft, written, kept);
        let question = asked(prompt, written);
        let (operator, left, right) = question;
        let slip = SOLVER.chance(question);
        let mut chances = [0.0; RESULTS];
        chances.copy_from_slice(&self.counts[place..place + RESULTS]);
        chances[usize::from(operator.apply(left, right))] += HABIT * (1.0 - slip);
        chances[usize::from(operator.slip(left, right))] += HABIT * slip;
        let total: f64 = chances.iter().sum();
        chances.map(|chance| chance / total)
    }
}

/// Both refiners; the mark behind the draft says which is asked.
struct Refining {
    global: Results,
    local: Results,
}

impl Refining {
    fn candidate(&self, request: &Request, index: usize) -> Candidate {
        let mut stream = request.seed.stream("sample", index as u64);
        let (problem_and_draft, mark) = request.prefix.split_at(ASKED - 1);
        let (prompt, draft) = problem_and_draft.split_at(1 + 2 * STEPS);
        let kept = mark.first().and_then(|mark| mark.checked_sub(GLOBAL + 1)).map(|kept| kept as usize);
        let table = if kept.is_some() { &self.local } else { &self.global };
        let start = kept.unwrap_or(0);
        let (mut results, mut logps) = (draft[..start].to_vec(), Vec::new());
        while results.len() < STEPS && logps.len() < request.max_new {
            let chances = table.chances(prompt, draft, &results, kept);
            let mut draw: f64 = stream.random();
            let passed = |chance: &f64| {
                draw -= chance;
                draw < 0.0
            };
            // Rounding can leave a little; the likeliest result takes it.
            let likeliest = best(&chances);
            let result = chances.iter().position(passed).unwrap_or(likeliest);
            results.push(result as u32);
            logps.push(chances[result].ln() as f32);
        }
        let finish = if results.len() == STEPS { Finish::End } else { Finish::Length };
        Candidate { tokens: results.split_off(start).into(), logps, finish }
    }
}

impl Policy for Refining {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let candidates: Vec<Candidate> = (0..request.n).map(|index| self.candidate(request, index)).collect();
            let generated = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: ASKED + STEPS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_refiner_sees_the_marked_step_and_a_global_one_the_draft_where_it_still_applies() {
        // 2+5, +1, +1: the draft slips at the second step.
        let (prompt, draft) = ([2, 10, 5, 10, 1, 10, 1], [7, 7, 8]);
        let seen = |written: &[u32], kept| Results::place(&prompt, &draft, written, kept) / RESULTS % SEEN;
        assert_eq!((seen(&[7], Some(1)), seen(&[7, 8], Some(1))), (7, RESULTS));
        // 7+1 is asked of both, 8+1 is not: the draft asks 7+1 again.
        assert_eq!((seen(&[], None), seen(&[7], None), seen(&[7, 8], None)), (7, 7, RESULTS));
    }

    #[test]
    fn counts_outweigh_the_habit_of_the_solver() {
        let prompt = [4, 11, 7]; // 4-7 borrows: 7 is right, and the solver writes 3 in 35 of 100.
        let mut results = Results::default();
        let before = results.chances(&prompt, &[3], &[], Some(0));
        assert!((before[7] - 0.65).abs() < 1e-12 && (before[3] - 0.35).abs() < 1e-12);
        let (draft, refined) = (Tokens::from(vec![3]), Tokens::from(vec![7]));
        let refinement = Refinement { problem: 0, draft, bad_from: Some(0), refined };
        (0..4).for_each(|_| results.count(&prompt, &refinement));
        // Four counts beside four of habit: (4 + 2.6) / 8.
        assert!((results.chances(&prompt, &[3], &[], Some(0))[7] - 0.825).abs() < 1e-12);
    }
}
