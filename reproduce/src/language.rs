//! A language that is given by what may come next, as a policy.

use ascribe::core::{
    Candidate, Capabilities, CoreError, Finish, Mode, Policy, Reply, Request, Sampling, Stream, Tokens, Until, Usage,
};
use rand::RngExt;

/// Says which tokens may follow a text, prompt included, with probabilities that sum to 1; none where it has ended.
pub struct Language<F>(pub F);

impl<F: Fn(&[u32]) -> Vec<(u32, f64)> + Send + Sync> Language<F> {
    fn has_ended(&self, text: &[u32]) -> bool {
        (self.0)(text).is_empty()
    }

    fn candidate(&self, request: &Request, index: usize) -> Candidate {
        let mut stream = request.seed.stream("sample", index as u64);
        let (mut text, mut logps, mut stops) = (request.prefix.to_vec(), Vec::new(), false);
        while logps.len() < request.max_new && !stops {
            let Some((token, chance)) = chosen(&(self.0)(&text), request.mode, &mut stream) else { break };
            text.push(token);
            logps.push(chance.ln() as f32);
            stops = match &request.until {
                Until::Token => true,
                Until::Step(separators) => separators.contains(&token),
                Until::End => false,
            };
        }
        let finish = match (self.has_ended(&text), stops) {
            (true, _) => Finish::End,
            (false, true) => Finish::Step,
            (false, false) => Finish::Length,
        };
        Candidate { tokens: text.split_off(request.prefix.len()).into(), logps, finish }
    }

    /// The next tokens, the likeliest first.
    fn top(&self, request: &Request) -> Vec<Candidate> {
        let mut next = (self.0)(&request.prefix);
        next.retain(|(_, chance)| *chance > 0.0);
        next.sort_by(|(left_id, left), (right_id, right)| right.total_cmp(left).then(left_id.cmp(right_id)));
        let candidate = |(token, chance): (u32, f64)| {
            let ended = self.has_ended(&request.prefix.followed_by(&[token]));
            let finish = if ended { Finish::End } else { Finish::Step };
            Candidate { tokens: Tokens::from(vec![token]), logps: vec![chance.ln() as f32], finish }
        };
        next.into_iter().take(request.n).map(candidate).collect()
    }
}

/// The likeliest token, or one that is drawn, with its probability; `None` where none may follow.
fn chosen(next: &[(u32, f64)], mode: Mode, stream: &mut Stream) -> Option<(u32, f64)> {
    let last = next.last()?;
    let likelier = |best: (u32, f64), one: (u32, f64)| {
        if one.1 > best.1 || (one.1 == best.1 && one.0 < best.0) { one } else { best }
    };
    match mode {
        Mode::Greedy | Mode::Top => next.iter().copied().reduce(likelier),
        Mode::Sample(_) => {
            let (point, mut mass) = (stream.random::<f64>(), 0.0);
            let drawn = next.iter().find(|(_, chance)| {
                mass += chance;
                point < mass
            });
            // Rounding can leave the mass a little below 1.
            Some(*drawn.unwrap_or(last))
        }
    }
}

impl<F: Fn(&[u32]) -> Vec<(u32, f64)> + Send + Sync> Policy for Language<F> {
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
        Capabilities { score: false, top: true, context: usize::MAX }
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::Seed;

    use super::*;

    /// Token 9 ends a text; before it come 3 (0.3), 5 (0.5) and 9 itself (0.2).
    fn three(text: &[u32]) -> Vec<(u32, f64)> {
        if text.last() == Some(&9) { Vec::new() } else { vec![(3, 0.3), (5, 0.5), (9, 0.2)] }
    }

    fn asked(prefix: &[u32], n: usize, until: Until, mode: Mode, max_new: usize) -> Result<Vec<Reply>, CoreError> {
        let request = Request { prefix: prefix.into(), n, until, mode, max_new, seed: Seed(5) };
        Language(three).propose(&[request])
    }

    #[test]
    fn candidates_end_where_they_are_told_to() {
        let greedy = |prefix: &[u32], until| {
            let reply = asked(prefix, 2, until, Mode::Greedy, 2).unwrap().remove(0);
            (reply.candidates[0].tokens.to_vec(), reply.candidates[0].finish, reply.usage.generated)
        };
        assert_eq!(greedy(&[3], Until::End), (vec![5, 5], Finish::Length, 4));
        assert_eq!(greedy(&[3], Until::Token), (vec![5], Finish::Step, 2));
        assert_eq!(greedy(&[3], Until::Step(vec![5])), (vec![5], Finish::Step, 2));
        assert_eq!(greedy(&[9], Until::End), (vec![], Finish::End, 0));
        let top = asked(&[], 3, Until::Token, Mode::Top, 1).unwrap().remove(0);
        let named: Vec<(u32, Finish)> = top.candidates.iter().map(|one| (one.tokens[0], one.finish)).collect();
        assert_eq!(named, [(5, Finish::Step), (3, Finish::Step), (9, Finish::End)]);
        assert!((top.candidates[0].logps[0] - 0.5f32.ln()).abs() < 1e-6 && top.usage.generated == 1);
    }

    #[test]
    fn tokens_come_as_often_as_they_may() {
        let reply = asked(&[], 4000, Until::Token, Mode::Sample(Sampling::default()), 1).unwrap().remove(0);
        let share = |token: u32| {
            let drawn = reply.candidates.iter().filter(|one| one.tokens[0] == token);
            drawn.count() as f64 / 4000.0
        };
        // The standard deviations are at most 0.008.
        assert!((share(3) - 0.3).abs() < 0.035 && (share(5) - 0.5).abs() < 0.035, "{} {}", share(3), share(5));
        let cold = Mode::Sample(Sampling { temperature: 0.5, ..Sampling::default() });
        assert!(asked(&[], 1, Until::End, cold, 1).is_err());
    }
}
