//! The data of the demo: problems, solutions of a careful and a careless solver, prompts and checks.

use std::collections::BTreeSet;

use ascribe::core::{Episode, Mode, Request, Sampling, Seed, Tokens, Until};
use ascribe::lm::{Roles, SpecialTokens, Tokenizer};
use ascribe::preference::{RevisedPrompts, RevisionTemplate, TrainRow};
use ascribe::worlds::{Check, Problem, Slips, alphabet};

/// Operations of a problem.
const STEPS: std::ops::RangeInclusive<usize> = 3..=4;
/// Most tokens of a solution: four steps of six tokens, and the end.
pub const MAX_NEW: usize = 28;
/// Context of the tiny model, in tokens.
pub const CONTEXT: usize = 96;
/// Of ten unmarked solutions, so many are the careless solver's.
const CARELESS_OF_TEN: usize = 7;

/// Problems on three sides that share none, and the corpus of the first training.
pub struct Task {
    pub tokenizer: Tokenizer,
    pub corpus: Vec<TrainRow>,
    pub sampled: Vec<Problem>,
    pub held_out: Vec<Problem>,
    revision: RevisionTemplate,
}

impl Task {
    /// Draws `corpus` rows to learn from, `sampled` problems for pairs and `held_out` problems for the figures.
    pub fn draw(seed: Seed, corpus: usize, sampled: usize, held_out: usize) -> anyhow::Result<Self> {
        let specials = ["<s>", "</s>", "<better>", "<worse>"];
        let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
        let mut task = Self {
            tokenizer: Tokenizer::characters(alphabet(), &specials, roles)?,
            corpus: Vec::new(),
            sampled: Vec::new(),
            held_out: Vec::new(),
            revision: RevisionTemplate { better: "<better>{prompt}".into(), worse: "<worse>{prompt}".into() },
        };
        let mut stream = seed.stream("problems", 0);
        let mut apart = BTreeSet::new();
        while apart.len() < sampled + held_out {
            apart.insert(Problem::draw(&mut stream, STEPS)?);
        }
        // A set is sorted, so its sides would differ in kind: every n-th problem is held out.
        let every = (sampled + held_out) / held_out.max(1);
        for (at, problem) in apart.iter().cloned().enumerate() {
            let side =
                if at % every == 0 && task.held_out.len() < held_out { &mut task.held_out } else { &mut task.sampled };
            side.push(problem);
        }
        let slips = Slips::default();
        for number in 0..corpus {
            let mut stream = seed.stream("corpus", number as u64);
            let mut problem = Problem::draw(&mut stream, STEPS)?;
            while apart.contains(&problem) {
                problem = Problem::draw(&mut stream, STEPS)?;
            }
            // A third says nothing of its quality, a third is marked as better and right, a third as worse and flawed.
            let (mark, solution) = match number % 3 {
                0 if number / 3 % 10 < CARELESS_OF_TEN => ("", problem.careless_solution(&mut stream, &slips)),
                0 => ("", problem.solution()),
                1 => ("<better>", problem.solution()),
                _ => ("<worse>", problem.flawed_solution(&mut stream, &slips)),
            };
            let prompt = task.tokenizer.encode(&format!("{mark}{}", asked(&problem)))?;
            task.corpus.push(TrainRow::single(prompt, task.tokenizer.encode(&format!("{solution}</s>"))?));
        }
        Ok(task)
    }

    /// The unmarked prompt of a problem.
    pub fn prompt(&self, problem: &Problem) -> anyhow::Result<Tokens> {
        Ok(self.tokenizer.encode(&asked(problem))?.into())
    }

    /// `n` samples of a solution for each problem, from streams of the purpose `name`.
    pub fn requests(&self, problems: &[Problem], n: usize, seed: Seed, name: &str) -> anyhow::Result<Vec<Request>> {
        let request = |(number, problem): (usize, &Problem)| {
            Ok(Request {
                prefix: self.prompt(problem)?,
                n,
                until: Until::End,
                mode: Mode::Sample(Sampling::default()),
                max_new: MAX_NEW,
                seed: seed.child(name, number as u64),
            })
        };
        problems.iter().enumerate().map(request).collect()
    }

    /// The prompts that ask for a better and a worse solution.
    pub fn revised(&self, problem: &Problem) -> anyhow::Result<RevisedPrompts> {
        let (better, worse) = self.revision.fill(&asked(problem), "")?;
        Ok(RevisedPrompts {
            better: self.tokenizer.encode(&better)?.into(),
            worse: self.tokenizer.encode(&worse)?.into(),
        })
    }

    /// What the checker says of a solution.
    pub fn check(&self, problem: &Problem, solution: &[u32]) -> anyhow::Result<Check> {
        Ok(problem.check(&self.tokenizer.decode(solution, SpecialTokens::Skip)?))
    }

    /// A solution with its steps as spans of tokens: one character is one token.
    pub fn episode(&self, problem: &Problem, solution: &[u32]) -> anyhow::Result<Episode> {
        let prompt = self.prompt(problem)?;
        let check = self.check(problem, solution)?;
        let spans =
            check.steps.iter().map(|step| prompt.len() + step.span.start..prompt.len() + step.span.end).collect();
        Ok(Episode::new(&prompt, solution).with_steps(spans)?)
    }
}

/// A problem as a prompt.
fn asked(problem: &Problem) -> String {
    format!("<s>{}=", problem.text())
}
