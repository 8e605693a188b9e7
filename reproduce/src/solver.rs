//! A solver of chain arithmetic whose slips are planted, and a verifier of steps that errs at a known rate.
//!
//! A token is the result of an operation, and a text is the results in their order. So a step is one token.

use ascribe::core::{CoreError, Credit, Episode, Scorer, Seed};
use ascribe::worlds::Problem;
use rand::RngExt;

use crate::language::Language;

/// Stands before each attempt where a text holds several; every other token is a result.
pub const ATTEMPT: u32 = 10;

/// The probability of a slip: after earlier attempts, at the operation of this number, which is hard or is not.
pub type Slip<'a> = &'a (dyn Fn(&[u32], usize, bool) -> f64 + Send + Sync);

/// A solver of a problem, who writes one result after the other. A slip is that of [`ascribe::worlds::Slips`], and later results
/// go on from it.
pub fn solver<'a>(
    problem: &'a Problem,
    slip: Slip<'a>,
) -> Language<impl Fn(&[u32]) -> Vec<(u32, f64)> + Send + Sync + 'a> {
    Language(move |text: &[u32]| {
        let start = text.iter().rposition(|token| *token == ATTEMPT).map_or(0, |at| at + 1);
        let (before, written) = text.split_at(start);
        let Some((operator, right)) = problem.operations().get(written.len()) else { return Vec::new() };
        let left = written.last().map_or(problem.start(), |result| *result as u8);
        let slips = slip(before, written.len(), operator.is_hard(left, *right));
        let results = [operator.slip(left, *right), operator.apply(left, *right)].map(u32::from);
        vec![(results[0], slips), (results[1], 1.0 - slips)]
    })
}

/// Says how likely each step is right: `1 - errors` of a step that it takes to be right, else `errors`. It is mistaken about
/// that share of all steps, and always about the same ones. For at most 17 operations.
pub struct Verifier<'a> {
    pub problem: &'a Problem,
    pub errors: f64,
    pub seed: Seed,
}

impl Verifier<'_> {
    /// What it says of the last of these results.
    pub fn last(&self, results: &[u32]) -> f64 {
        let Some((result, before)) = results.split_last() else { return 0.5 };
        let Some((operator, right)) = self.problem.operations().get(before.len()) else { return self.errors };
        let left = before.last().map_or(self.problem.start(), |result| *result as u8);
        let sound = u32::from(operator.apply(left, *right)) == *result;
        // One number for each text.
        let name = results.iter().fold(1, |name, result| 11 * name + u64::from(*result));
        let mistaken = self.seed.stream("verifier", name).random::<f64>() < self.errors;
        if sound == mistaken { self.errors } else { 1.0 - self.errors }
    }
}

impl Scorer for Verifier<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| {
            let results = episode.response_tokens();
            Credit::steps((1..=results.len()).map(|end| self.last(&results[..end]) as f32).collect())
        };
        Ok(episodes.iter().map(one).collect())
    }
}

/// The answer of a text that has ended: its last result.
pub fn answer(episode: &Episode) -> Option<String> {
    episode.response_tokens().last().filter(|_| episode.complete).map(u32::to_string)
}

/// Answers are the same when they are written alike.
pub fn same(left: &str, right: &str) -> bool {
    left == right
}

#[cfg(test)]
mod tests {
    use ascribe::core::{Finish, Mode, Policy, Request, Until};

    use super::*;

    #[test]
    fn texts_worked_by_hand() {
        // 3+5=8; 8*2 carries and is 6, the slip writes 8+2=0; 0-4 borrows and is 6, the slip writes 4-0=4.
        let problem = Problem::parse("((3+5)*2-4)%10").unwrap();
        let slip = |_: &[u32], _: usize, hard: bool| if hard { 0.75 } else { 0.25 };
        let solver = solver(&problem, &slip);
        let asked = |prefix: &[u32]| {
            let (until, mode) = (Until::End, Mode::Greedy);
            let request = Request { prefix: prefix.into(), n: 1, until, mode, max_new: 9, seed: Seed(5) };
            let found = solver.propose(&[request]).unwrap().remove(0).candidates.remove(0);
            (found.tokens.to_vec(), found.finish)
        };
        assert_eq!(asked(&[]), (vec![8, 0, 4], Finish::End));
        assert_eq!(asked(&[7, 1, ATTEMPT, 8]), (vec![0, 4], Finish::End));
        // 6-4=2 is easy, and the slip writes 4-6=8.
        assert_eq!(asked(&[8, 6]), (vec![2], Finish::End));
        assert_eq!((solver.0)(&[8, 6]), [(8, 0.25), (2, 0.75)]);
    }

    #[test]
    fn a_verifier_is_mistaken_at_its_rate_and_stays_so() {
        let problem = Problem::parse("((3+5)*2-4)%10").unwrap();
        let verifier = |errors| Verifier { problem: &problem, errors, seed: Seed(1) };
        assert_eq!([[8, 6, 2], [8, 0, 6], [8, 0, 4]].map(|text| verifier(0.0).last(&text)), [1.0, 1.0, 0.0]);
        assert_eq!((verifier(0.0).last(&[8, 0]), verifier(0.0).last(&[9])), (0.0, 0.0));
        let told = verifier(0.2);
        let texts: Vec<[u32; 3]> = (0..1000).map(|n| [n / 100, n / 10 % 10, n % 10]).collect();
        let sound = |text: &[u32; 3]| (text[1] + 6) % 10 == text[2];
        let mistaken = texts.iter().filter(|text| (told.last(&text[..]) > 0.5) != sound(text)).count();
        // The standard deviation is 13.
        assert!((140..=260).contains(&mistaken), "{mistaken} of 1000");
        assert!(texts.iter().all(|text| told.last(&text[..]) == verifier(0.2).last(&text[..])));
    }
}
