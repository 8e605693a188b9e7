//! Searches side by side: each is written for one prompt, and what they ask at the same time is one batch.
//!
//! A search waits while its question is answered. When all that are under way wait, the last to come carries all questions
//! to the policy and the scorers, in the order of the searches. An answer does not depend on what else is asked, so neither
//! does a search.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ascribe_core::{Capabilities, Continuation, CoreError, Credit, Episode, Policy, Reply, Request, Scorer, Usage};

/// Runs `work(job, policy, scorers)` for each of `0..jobs`, at most `width` at a time, and gives back what they return, by
/// job. The policy and the scorers that a job is handed are those given, joined over the jobs.
pub fn side_by_side<T, W>(policy: &dyn Policy, scorers: &[&dyn Scorer], jobs: usize, width: usize, work: W) -> Vec<T>
where
    T: Send,
    W: Fn(usize, &dyn Policy, &[&dyn Scorer]) -> T + Sync,
{
    let workers = width.min(jobs);
    if workers <= 1 {
        return (0..jobs).map(|job| work(job, policy, scorers)).collect();
    }
    let join = Join {
        policy,
        scorers,
        state: Mutex::new(State { active: workers, ..State::default() }),
        changed: Condvar::new(),
    };
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<T>>> = Mutex::new((0..jobs).map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let _leave = Leave(&join);
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs {
                        return;
                    }
                    let seats: Vec<Seat> = (0..scorers.len()).map(|scorer| Seat { join: &join, job, scorer }).collect();
                    let seats: Vec<&dyn Scorer> = seats.iter().map(|seat| seat as &dyn Scorer).collect();
                    let result = work(job, &Seat { join: &join, job, scorer: 0 }, &seats);
                    locked(&done)[job] = Some(result);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A worker that panicked has panicked the scope, so every job is there.
    done.into_iter().flatten().collect()
}

/// What a search asks.
enum Ask {
    Propose(Vec<Request>),
    Score(usize, Vec<Episode>),
}

/// What it is told.
enum Answer {
    Proposed(Result<Vec<Reply>, CoreError>),
    Scored(Result<Vec<Credit>, CoreError>),
}

#[derive(Default)]
struct State {
    /// Workers that are under way.
    active: usize,
    /// Questions by job; a job has one at most.
    waiting: Vec<(usize, Ask)>,
    answers: HashMap<usize, Answer>,
    /// A worker panicked: nobody is waited for any more.
    broken: bool,
}

struct Join<'a> {
    policy: &'a dyn Policy,
    scorers: &'a [&'a dyn Scorer],
    state: Mutex<State>,
    changed: Condvar,
}

/// A worker's place; it is given up also by a panic.
struct Leave<'a>(&'a Join<'a>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.active -= 1;
        state.broken |= std::thread::panicking();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Join<'_> {
    /// The answer to `ask`; `None` when another worker panicked.
    fn ask(&self, job: usize, ask: Ask) -> Option<Answer> {
        let mut state = locked(&self.state);
        state.waiting.push((job, ask));
        loop {
            if state.broken {
                return None;
            }
            if let Some(answer) = state.answers.remove(&job) {
                return Some(answer);
            }
            if state.waiting.len() == state.active {
                let mut asked = std::mem::take(&mut state.waiting);
                drop(state);
                asked.sort_by_key(|(job, _)| *job);
                let answers = self.carry(asked);
                state = locked(&self.state);
                state.answers.extend(answers);
                self.changed.notify_all();
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Puts all questions of a kind to whom they are for, at once.
    fn carry(&self, asked: Vec<(usize, Ask)>) -> Vec<(usize, Answer)> {
        let mut requests = Vec::new();
        let mut episodes: Vec<Vec<(usize, Vec<Episode>)>> = self.scorers.iter().map(|_| Vec::new()).collect();
        for (job, ask) in asked {
            match ask {
                Ask::Propose(asked) => requests.push((job, asked)),
                Ask::Score(scorer, asked) => episodes[scorer].push((job, asked)),
            }
        }
        let replies = together(requests, |requests| self.policy.propose(requests));
        let mut answers: Vec<(usize, Answer)> =
            replies.into_iter().map(|(job, replies)| (job, Answer::Proposed(replies))).collect();
        for (scorer, asked) in self.scorers.iter().zip(episodes) {
            let credits = together(asked, |episodes| scorer.score(episodes));
            answers.extend(credits.into_iter().map(|(job, credits)| (job, Answer::Scored(credits))));
        }
        answers
    }
}

/// Asks all questions as one batch, and hands the answers out by job. If the batch is refused, each job asks alone, so that
/// only the one at fault is told so.
fn together<Q: Clone, A>(
    asked: Vec<(usize, Vec<Q>)>,
    answer: impl Fn(&[Q]) -> Result<Vec<A>, CoreError>,
) -> Vec<(usize, Result<Vec<A>, CoreError>)> {
    if asked.len() > 1 {
        let all: Vec<Q> = asked.iter().flat_map(|(_, questions)| questions.iter().cloned()).collect();
        if let Ok(answers) = answer(&all)
            && answers.len() == all.len()
        {
            let mut answers = answers.into_iter();
            let part =
                |(job, questions): &(usize, Vec<Q>)| (*job, Ok(answers.by_ref().take(questions.len()).collect()));
            return asked.iter().map(part).collect();
        }
    }
    asked.into_iter().map(|(job, questions)| (job, answer(&questions))).collect()
}

/// The place of one job, as the policy and as one of the scorers.
struct Seat<'a> {
    join: &'a Join<'a>,
    job: usize,
    scorer: usize,
}

impl Policy for Seat<'_> {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        match self.join.ask(self.job, Ask::Propose(requests.to_vec())) {
            Some(Answer::Proposed(replies)) => replies,
            _ => Err(broken()),
        }
    }

    fn score(&self, continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        // One usage is told for all continuations, so these are not joined.
        self.join.policy.score(continuations)
    }

    fn capabilities(&self) -> Capabilities {
        self.join.policy.capabilities()
    }

    fn ends(&self) -> bool {
        self.join.policy.ends()
    }

    fn vocabulary(&self) -> Option<usize> {
        self.join.policy.vocabulary()
    }
}

impl Scorer for Seat<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        match self.join.ask(self.job, Ask::Score(self.scorer, episodes.to_vec())) {
            Some(Answer::Scored(credits)) => credits,
            _ => Err(broken()),
        }
    }
}

fn broken() -> CoreError {
    CoreError::Other("another search that ran beside this one panicked; mend what it calls".into())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ascribe_core::{Mode, Seed, Tokens, Until, rule};
    use ascribe_worlds::{TokenTree, TreePolicy};

    use super::*;

    /// Counts the batches.
    struct Counted<'a>(&'a TreePolicy, AtomicUsize);

    impl Policy for Counted<'_> {
        fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.propose(requests)
        }

        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
    }

    fn request(prefix: &[u32], seed: u64) -> Request {
        Request { prefix: prefix.into(), n: 2, until: Until::End, mode: Mode::Greedy, max_new: 9, seed: Seed(seed) }
    }

    #[test]
    fn what_is_asked_together_is_one_batch() {
        let tree = TokenTree::drawn(3, 4, Seed(1)).unwrap();
        let policy = TreePolicy::drawn(&tree, Seed(2), 1.0).unwrap();
        let counted = Counted(&policy, AtomicUsize::new(0));
        let judge = rule(|episode| episode.response_tokens()[0] as f32);
        let work = |job: usize, policy: &dyn Policy, scorers: &[&dyn Scorer]| {
            // Jobs differ in length: job 5 asks once, the others three times.
            let mut tokens = Tokens::default();
            for _ in 0..if job == 5 { 1 } else { 3 } {
                let reply =
                    policy.propose(&[Request { max_new: 1, ..request(&tokens, job as u64) }]).unwrap().remove(0);
                tokens = tokens.followed_by(&reply.candidates[1].tokens);
            }
            let credit = scorers[0].score(&[Episode::new(&[], &tokens)]).unwrap().remove(0);
            (tokens, credit.values()[0])
        };
        let beside = side_by_side(&counted, &[&judge], 6, 6, work);
        assert_eq!(counted.1.load(Ordering::Relaxed), 3);
        let alone = side_by_side(&counted, &[&judge], 6, 1, work);
        assert_eq!(beside, alone);
        assert_eq!(side_by_side(&counted, &[&judge], 6, 4, work), alone);
        assert!(side_by_side(&counted, &[], 0, 4, work).is_empty());
    }

    #[test]
    fn a_place_says_of_the_policy_what_the_policy_says() {
        /// It never ends.
        struct Endless;
        impl Policy for Endless {
            fn propose(&self, _: &[Request]) -> Result<Vec<Reply>, CoreError> {
                Ok(Vec::new())
            }

            fn capabilities(&self) -> Capabilities {
                Capabilities { score: false, top: false, context: 9 }
            }

            fn ends(&self) -> bool {
                false
            }
        }
        let tree = TokenTree::drawn(3, 4, Seed(1)).unwrap();
        let policy = TreePolicy::uniform(&tree);
        let said = |_: usize, policy: &dyn Policy, _: &[&dyn Scorer]| (policy.ends(), policy.vocabulary());
        assert_eq!(side_by_side(&policy, &[], 2, 2, said), [(true, Some(3)); 2]);
        assert_eq!(side_by_side(&Endless, &[], 2, 2, said), [(false, None); 2]);
    }

    #[test]
    fn a_refused_question_harms_nobody_else() {
        let tree = TokenTree::drawn(3, 4, Seed(1)).unwrap();
        let policy = TreePolicy::uniform(&tree);
        let work = |job: usize, policy: &dyn Policy, _: &[&dyn Scorer]| {
            let prefix: &[u32] = if job == 1 { &[7] } else { &[0] };
            policy.propose(&[request(prefix, 0)]).is_ok()
        };
        assert_eq!(side_by_side(&policy, &[], 3, 3, work), [true, false, true]);
    }
}
