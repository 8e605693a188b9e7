//! Chain arithmetic as a policy sees it: a problem in tokens, then one result a token.
//!
//! ```text
//! prompt     start, then operator and right operand of each operation; the operators are 10, 11 and 12
//! response   the result of each operation, 0 to 9, each a step
//! ```
//! Multiplications are by 3, 7 or 9. These have inverses modulo 10, so a wrong value stays wrong until another slip mends it.

use anyhow::Result;
use ascribe::core::{
    Candidate, Capabilities, CoreError, Finish, Policy, Reduce, Reply, Request, Scorer, Seed, Tokens, Usage,
};
use ascribe::process::{ProcessError, Verdict};
use ascribe::search::{Search, SearchCtx, Steps};
use ascribe::worlds::{Operator, Problem};
use rand::RngExt;

/// The token of the first operator.
const OPERATORS: u32 = 10;
/// Right operands of multiplications.
const UNITS: [u8; 3] = [3, 7, 9];

/// Problems of one length.
pub struct Chains {
    /// As values.
    pub problems: Vec<Problem>,
    /// As tokens.
    pub prompts: Vec<Tokens>,
}

impl Chains {
    /// `n` problems of so many operations.
    pub fn draw(n: usize, steps: usize, seed: Seed) -> Result<Self> {
        let (mut problems, mut prompts) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for number in 0..n {
            let mut stream = seed.stream("chain", number as u64);
            let start: u8 = stream.random_range(0..=9);
            let mut operations: Vec<(Operator, u8)> = Vec::with_capacity(steps);
            for _ in 0..steps {
                let operator = Operator::ALL[stream.random_range(0..Operator::ALL.len())];
                let right = match operator {
                    Operator::Multiply => UNITS[stream.random_range(0..UNITS.len())],
                    Operator::Add | Operator::Subtract => stream.random_range(1..=9),
                };
                operations.push((operator, right));
            }
            let mut prompt = vec![u32::from(start)];
            for (operator, right) in &operations {
                prompt.extend([OPERATORS + *operator as u32, u32::from(*right)]);
            }
            problems.push(Problem::new(start, operations)?);
            prompts.push(Tokens::from(prompt));
        }
        Ok(Self { problems, prompts })
    }

    /// The first `n` problems that `wanted` holds of.
    pub fn filtered(self, n: usize, wanted: impl Fn(&Problem) -> bool) -> Self {
        let kept = self.problems.into_iter().zip(self.prompts).filter(|(problem, _)| wanted(problem)).take(n);
        let (problems, prompts) = kept.unzip();
        Self { problems, prompts }
    }

    /// Whether a response is whole and ends with the right answer.
    pub fn is_right(&self, problem: usize, response: &[u32]) -> bool {
        let problem = &self.problems[problem];
        response.len() == problem.operations().len() && response.last() == Some(&u32::from(problem.answer()))
    }

    /// The same as the verdict of a checker.
    pub fn verdict(&self, problem: u64, response: &[u32]) -> Result<Verdict, CoreError> {
        Ok(if self.is_right(problem as usize, response) { Verdict::Correct } else { Verdict::Wrong })
    }

    /// The share of problems that a search gets right.
    pub fn solved(&self, search: &dyn Search, ctx: SearchCtx) -> Result<f64> {
        Ok(self.solved_at(search, ctx)?[0])
    }

    /// The same, and the tokens that it writes for a problem.
    pub fn solved_at(&self, search: &dyn Search, mut ctx: SearchCtx) -> Result<[f64; 2]> {
        let found = search.search(&self.prompts, &mut ctx)?;
        let right = found.iter().enumerate().filter(|(problem, found)| self.is_right(*problem, &found.best().tokens));
        let written: u64 = found.iter().map(|found| found.usage.generated).sum();
        Ok([right.count() as f64, written as f64].map(|count| count / self.problems.len() as f64))
    }
}

/// What the step behind `written` asks: operator, left and right operand.
pub fn asked(prompt: &[u32], written: &[u32]) -> (Operator, u8, u8) {
    let at = 1 + 2 * written.len();
    let left = written.last().copied().unwrap_or(prompt[0]);
    (Operator::ALL[(prompt[at] - OPERATORS) as usize], left as u8, prompt[at + 1] as u8)
}

/// A problem and what is written of its response: operators are larger than results.
pub fn split(text: &[u32]) -> (&[u32], &[u32]) {
    let operations = text[1..].chunks(2).take_while(|pair| pair[0] >= OPERATORS).count();
    text.split_at(1 + 2 * operations)
}

/// The right results of a problem, one after the other.
pub fn solution(prompt: &[u32]) -> Vec<u32> {
    let mut results = Vec::with_capacity(prompt.len() / 2);
    while results.len() < prompt.len() / 2 {
        let (operator, left, right) = asked(prompt, &results);
        results.push(u32::from(operator.apply(left, right)));
    }
    results
}

/// The first step whose result is not that of its own question.
pub fn first_slip(prompt: &[u32], response: &[u32]) -> Option<usize> {
    (0..response.len()).find(|at| {
        let (operator, left, right) = asked(prompt, &response[..*at]);
        u32::from(operator.apply(left, right)) != response[*at]
    })
}

/// Every result is a step.
pub fn every_result(response: &[u32]) -> Result<Vec<usize>, ProcessError> {
    Ok((1..=response.len()).collect())
}

/// A solver that slips, more often where a difference borrows or a product carries. It draws at temperature 1 whatever it is
/// asked.
#[derive(Clone, Copy)]
pub struct Solver {
    /// Chance of a slip at a hard step.
    pub hard: f64,
    /// Chance of a slip at any other.
    pub easy: f64,
    /// Operations of a problem.
    pub steps: usize,
}

impl Solver {
    /// The chance of a slip at a step.
    pub fn chance(&self, (operator, left, right): (Operator, u8, u8)) -> f64 {
        if operator.is_hard(left, right) { self.hard } else { self.easy }
    }

    /// The chance that a response which begins like this ends right, exactly: the next results are right or slips, and a slip can
    /// mend another.
    pub fn value(&self, prompt: &[u32], written: &[u32]) -> f64 {
        let answer = solution(prompt).last().copied();
        // Behind the last step, by its result; then backwards.
        let mut values: [f64; 10] = std::array::from_fn(|result| f64::from(u8::from(answer == Some(result as u32))));
        for at in (written.len()..prompt.len() / 2).rev() {
            let (operator, _, right) = asked(prompt, &vec![0; at]);
            values = std::array::from_fn(|left| {
                let question = (operator, left as u8, right);
                let chance = self.chance(question);
                let (applied, slipped) = (operator.apply(left as u8, right), operator.slip(left as u8, right));
                (1.0 - chance) * values[usize::from(applied)] + chance * values[usize::from(slipped)]
            });
        }
        values[written.last().copied().unwrap_or(prompt[0]) as usize]
    }

    /// Whole responses to a problem.
    pub fn solutions(&self, prompt: &Tokens, n: usize, seed: Seed) -> Vec<Tokens> {
        (0..n).map(|index| Tokens::from(self.written(prompt, self.steps, seed, index).0)).collect()
    }

    /// A search over its texts, by a scorer of steps.
    pub fn searched<'a>(&'a self, scorer: &'a dyn Scorer, seed: Seed) -> SearchCtx<'a> {
        let ctx = SearchCtx::new(self, self.steps, seed.child("search", 0)).with_steps(Steps::blocks(1));
        ctx.with_scorer(scorer, Reduce::Last)
    }

    /// What is written behind a prefix, with the log-probability of each token, and whether the response is whole then.
    fn written(&self, prefix: &[u32], most: usize, seed: Seed, index: usize) -> (Vec<u32>, Vec<f32>, bool) {
        let mut stream = seed.stream("sample", index as u64);
        let (prompt, before) = prefix.split_at(1 + 2 * self.steps);
        let (mut results, mut logps) = (before.to_vec(), Vec::new());
        while results.len() < self.steps && logps.len() < most {
            let question = asked(prompt, &results);
            let (operator, left, right) = question;
            let chance = self.chance(question);
            let slips = stream.random::<f64>() < chance;
            let result = if slips { operator.slip(left, right) } else { operator.apply(left, right) };
            let taken = if slips { chance } else { 1.0 - chance };
            results.push(u32::from(result));
            logps.push(taken.ln() as f32);
        }
        let whole = results.len() == self.steps;
        (results.split_off(before.len()), logps, whole)
    }
}

impl Policy for Solver {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let candidate = |index: usize| {
                let (tokens, logps, whole) = self.written(&request.prefix, request.max_new, request.seed, index);
                let finish = if whole { Finish::End } else { Finish::Length };
                Candidate { tokens: tokens.into(), logps, finish }
            };
            let candidates: Vec<Candidate> = (0..request.n).map(candidate).collect();
            let generated = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 1 + 3 * self.steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solver_without_slips_is_right_and_one_that_always_slips_shows_it_at_once() {
        let chains = Chains::draw(20, 5, Seed(0)).unwrap();
        for (number, prompt) in chains.prompts.iter().enumerate() {
            let results: Vec<u32> = chains.problems[number].results().into_iter().map(u32::from).collect();
            let careful = Solver { hard: 0.0, easy: 0.0, steps: 5 };
            assert_eq!(careful.solutions(prompt, 2, Seed(1)), vec![Tokens::from(results.clone()); 2]);
            assert_eq!((chains.is_right(number, &results), first_slip(prompt, &results)), (true, None));
            assert!(!chains.is_right(number, &results[..4]), "a response that stops short");
            assert_eq!(solution(prompt), results);
            assert_eq!(split(&prompt.followed_by(&results[..2])), (&prompt[..], &results[..2]));
            assert_eq!(split(prompt), (&prompt[..], &[][..]));
            let careless = Solver { hard: 1.0, easy: 1.0, steps: 5 };
            assert_eq!(first_slip(prompt, &careless.solutions(prompt, 1, Seed(1))[0]), Some(0));
        }
    }

    #[test]
    fn the_exact_value_by_hand() {
        // (7 + 8) - 9 is 6: 5, then 6, which borrows and would be 4 by a slip. The slip of the first is 4; 4 - 9 is 5 and borrows, and
        // its slip is 6, since 9 - 4 is 5 as well: the second slip mends the first.
        let prompt = [7, 10, 8, 11, 9];
        let solver = Solver { hard: 0.25, easy: 0.5, steps: 2 };
        let by_hand: [(&[u32], f64); 5] = [(&[], 0.5), (&[5], 0.75), (&[4], 0.25), (&[4, 6], 1.0), (&[5, 4], 0.0)];
        for (written, value) in by_hand {
            assert_eq!(solver.value(&prompt, written), value, "{written:?}");
        }
    }

    #[test]
    fn the_exact_value_is_the_mean_over_the_next_result() {
        let chains = Chains::draw(20, 5, Seed(3)).unwrap();
        let solver = Solver { hard: 0.35, easy: 0.02, steps: 5 };
        for (number, prompt) in chains.prompts.iter().enumerate() {
            let results = solver.solutions(prompt, 1, Seed(4).child("solutions", number as u64)).remove(0);
            for end in 0..5 {
                let question = asked(prompt, &results[..end]);
                let (operator, left, right) = question;
                let behind = |result: u8| solver.value(prompt, &[&results[..end], &[u32::from(result)]].concat());
                let [applied, slipped] = [operator.apply(left, right), operator.slip(left, right)].map(behind);
                let mean = applied + solver.chance(question) * (slipped - applied);
                assert!((solver.value(prompt, &results[..end]) - mean).abs() < 1e-12);
            }
            assert_eq!(solver.value(prompt, &results) == 1.0, chains.is_right(number, &results));
        }
    }
}
