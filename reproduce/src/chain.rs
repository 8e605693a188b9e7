//! A solver of chain arithmetic whose slips are planted, and a verifier of steps that errs at a known rate.
//!
//! A token is the result of an operation, and a text is the results in their order. So a step is one token.

use ascribe::core::{
    Candidate, Capabilities, CoreError, Credit, Episode, Finish, Mode, Policy, Reply, Request, Sampling, Scorer, Seed,
    Tokens, Until, Usage,
};
use ascribe::worlds::Problem;
use rand::RngExt;

/// Stands before each attempt where a text holds several; every other token is a result.
pub const ATTEMPT: u32 = 10;

/// The probability of a slip: after earlier attempts, at the operation of this number, which is hard or is not.
pub type Slip<'a> = &'a (dyn Fn(&[u32], usize, bool) -> f64 + Send + Sync);

/// Writes one result after the other. A slip is that of [`ascribe::worlds::Slips`]; later results go on from it.
pub struct Solver<'a> {
    pub problem: &'a Problem,
    pub slip: Slip<'a>,
}

impl Solver<'_> {
    /// The right next result and the one of a slip, with their probabilities; `None` when every operation has its result.
    fn next(&self, text: &[u32]) -> Option<[(u32, f64); 2]> {
        let start = text.iter().rposition(|token| *token == ATTEMPT).map_or(0, |at| at + 1);
        let (before, written) = text.split_at(start);
        let (operator, right) = self.problem.operations().get(written.len())?;
        let left = written.last().map_or(self.problem.start(), |result| *result as u8);
        let slip = (self.slip)(before, written.len(), operator.is_hard(left, *right));
        let results = [operator.apply(left, *right), operator.slip(left, *right)].map(u32::from);
        Some([(results[0], 1.0 - slip), (results[1], slip)])
    }

    fn candidate(&self, request: &Request, index: usize) -> Candidate {
        let mut stream = request.seed.stream("sample", index as u64);
        let mut text = request.prefix.to_vec();
        let mut logps = Vec::new();
        let mut stops = false;
        while logps.len() < request.max_new && !stops {
            let Some([right, wrong]) = self.next(&text) else { break };
            let slips = match request.mode {
                Mode::Sample(_) => stream.random::<f64>() < wrong.1,
                Mode::Greedy | Mode::Top => wrong.1 > right.1,
            };
            let (result, chance) = if slips { wrong } else { right };
            text.push(result);
            logps.push(chance.ln() as f32);
            stops = match &request.until {
                Until::Token => true,
                Until::Step(separators) => separators.contains(&result),
                Until::End => false,
            };
        }
        let finish = match self.next(&text) {
            None => Finish::End,
            Some(_) if stops => Finish::Step,
            Some(_) => Finish::Length,
        };
        Candidate { tokens: text.split_off(request.prefix.len()).into(), logps, finish }
    }

    /// The next results, the likelier first.
    fn top(&self, request: &Request) -> Vec<Candidate> {
        let Some(mut next) = self.next(&request.prefix) else { return Vec::new() };
        next.sort_by(|(_, left), (_, right)| right.total_cmp(left));
        let candidate = |(result, chance): (u32, f64)| {
            let whole = self.next(&request.prefix.followed_by(&[result])).is_none();
            let finish = if whole { Finish::End } else { Finish::Step };
            Candidate { tokens: Tokens::from(vec![result]), logps: vec![chance.ln() as f32], finish }
        };
        next.into_iter().filter(|(_, chance)| *chance > 0.0).take(request.n).map(candidate).collect()
    }
}

impl Policy for Solver<'_> {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            request.check()?;
            if matches!(request.mode, Mode::Sample(sampling) if sampling != Sampling::default()) {
                return Err(CoreError::Unsupported { what: "sample otherwise than at temperature 1" });
            }
            let candidates: Vec<Candidate> = match request.mode {
                Mode::Top => self.top(request),
                Mode::Greedy | Mode::Sample(_) => (0..request.n).map(|index| self.candidate(request, index)).collect(),
            };
            let written: u64 = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            let generated = if request.mode == Mode::Top { 1 } else { written };
            Ok(Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } })
        };
        requests.iter().map(reply).collect()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, context: usize::MAX }
    }
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
    use super::*;

    fn request(prefix: &[u32], n: usize, until: Until, mode: Mode, max_new: usize) -> Request {
        Request { prefix: prefix.into(), n, until, mode, max_new, seed: Seed(5) }
    }

    #[test]
    fn texts_worked_by_hand() {
        // 3+5=8; 8*2 carries and is 6, the slip writes 8+2=0; 0-4 borrows and is 6, the slip writes 4-0=4.
        let problem = Problem::parse("((3+5)*2-4)%10").unwrap();
        let solver = Solver { problem: &problem, slip: &|_, _, hard| if hard { 0.75 } else { 0.25 } };
        let asked = |prefix: &[u32], until, mode, max_new| {
            let reply = solver.propose(&[request(prefix, 2, until, mode, max_new)]).unwrap().remove(0);
            (reply.candidates[0].tokens.to_vec(), reply.candidates[0].finish, reply.usage.generated)
        };
        assert_eq!(asked(&[], Until::End, Mode::Greedy, 9), (vec![8, 0, 4], Finish::End, 6));
        assert_eq!(asked(&[7, 1, ATTEMPT, 8], Until::End, Mode::Greedy, 9), (vec![0, 4], Finish::End, 4));
        assert_eq!(asked(&[8], Until::Step(vec![]), Mode::Greedy, 1), (vec![0], Finish::Length, 2));
        assert_eq!(asked(&[8], Until::Token, Mode::Top, 1), (vec![0], Finish::Step, 1));
        let top = solver.propose(&[request(&[8, 6], 2, Until::Token, Mode::Top, 1)]).unwrap().remove(0);
        // 6-4=2 is easy, and the slip writes 4-6=8.
        let named = top.candidates.iter().map(|one| (one.tokens[0], one.finish)).collect::<Vec<_>>();
        assert_eq!(named, [(2, Finish::End), (8, Finish::End)]);
        assert!((top.candidates[1].logps[0] - 0.25f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn slips_come_as_often_as_asked() {
        let problem = Problem::parse("(3+5)%10").unwrap();
        let solver = Solver { problem: &problem, slip: &|_, _, _| 0.3 };
        let mode = Mode::Sample(Sampling::default());
        let reply = solver.propose(&[request(&[], 4000, Until::End, mode, 1)]).unwrap().remove(0);
        let slips = reply.candidates.iter().filter(|one| one.tokens[0] == 7).count();
        // The standard deviation is 0.0073.
        assert!((slips as f64 / 4000.0 - 0.3).abs() < 0.03, "{slips} of 4000");
        let cold = Mode::Sample(Sampling { temperature: 0.5, ..Sampling::default() });
        assert!(solver.propose(&[request(&[], 1, Until::End, cold, 1)]).is_err());
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
