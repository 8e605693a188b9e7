//! Many requests to several endpoints: a queue, so many workers an endpoint, and rests after failures.
//!
//! A worker takes the first job that its endpoint has not failed more often than another one. A job that fails in a way that
//! may pass goes back to the end of the queue, so that one bad request costs the others nothing, and the endpoint rests;
//! failures of what was begun before the rest count as the same one. Nothing but the workers' jobs is in flight, and an
//! answer is placed by the number of its job.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::Value;

use super::ServedOptions;
use super::wire::{Cure, Fault, Wire};
use crate::LmError;

/// How often a worker that waits looks whether all was cancelled.
const TICK: Duration = Duration::from_millis(20);

const CANCELLED: &str = "it was cancelled before it was asked";
const TOO_LATE: &str = "the deadline passed before it was asked; allow more time, or ask for less";
const BROKEN: &str = "another request broke off unexpectedly";

/// One attempt at one endpoint, which may take several HTTP requests.
pub(super) struct Call<'a> {
    wire: &'a Wire,
    /// Number of the endpoint.
    pub(super) endpoint: usize,
    options: &'a ServedOptions,
}

impl Call<'_> {
    pub(super) fn get(&self, path: &str) -> Result<Value, Fault> {
        self.wire.get(path, self.time()?)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.wire.post(path, body, self.time()?)
    }

    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
        take: &mut dyn FnMut(&Value) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.wire.stream(path, body, self.time()?, take)
    }

    /// Whether anything is to be asked still.
    pub(super) fn check(&self) -> Result<(), Fault> {
        over(self.options).map_or(Ok(()), |why| Err(Fault::lasting(why)))
    }

    /// Time for one answer.
    fn time(&self) -> Result<Duration, Fault> {
        self.check()?;
        let left = self.options.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        Ok(left.map_or(self.options.timeout, |left| left.min(self.options.timeout)).max(Duration::from_millis(1)))
    }
}

/// Why nothing more is asked, if so.
fn over(options: &ServedOptions) -> Option<&'static str> {
    if options.cancel.load(Ordering::Relaxed) {
        return Some(CANCELLED);
    }
    options.deadline.filter(|at| *at <= Instant::now()).map(|_| TOO_LATE)
}

/// Candidates of one request that one job asks for.
pub(super) struct Part {
    pub(super) request: usize,
    /// The first of them.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Part {
    /// The parts of `n` candidates of a request, with at most `at_once` in each.
    pub(super) fn of(request: usize, n: usize, at_once: usize) -> impl Iterator<Item = Self> {
        (0..n).step_by(at_once).map(move |first| Self { request, first, count: at_once.min(n - first) })
    }
}

/// Answers of `ask`, which is given the number of a job, for as many jobs as there are `requests`: for each the number of
/// the request that an error names.
pub(super) fn each<T: Send>(
    wires: &[Wire],
    options: &ServedOptions,
    requests: &[usize],
    ask: impl Fn(usize, &Call<'_>) -> Result<T, Fault> + Sync,
) -> Vec<Result<T, LmError>> {
    let job = |number| Job { number, failures: vec![0; wires.len()] };
    let state = State {
        waiting: (0..requests.len()).map(job).collect(),
        open: requests.len(),
        health: wires.iter().map(|_| Health::default()).collect(),
        answers: requests.iter().map(|_| None).collect(),
    };
    let fleet = Fleet {
        wires,
        options,
        requests,
        broken: AtomicBool::new(false),
        changed: Condvar::new(),
        state: Mutex::new(state),
    };
    thread::scope(|scope| {
        let (fleet, ask) = (&fleet, &ask);
        for endpoint in 0..wires.len() {
            for _ in 0..options.concurrency.min(requests.len()) {
                scope.spawn(move || fleet.work(endpoint, ask));
            }
        }
    });
    let state = fleet.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.answers.into_iter().map(|answer| answer.expect("invariant: every job is settled")).collect()
}

/// The answer of one endpoint to a question that belongs to no request.
pub(super) fn one<T: Send>(
    wire: &Wire,
    options: &ServedOptions,
    ask: impl Fn(&Call<'_>) -> Result<T, Fault> + Sync,
) -> Result<T, LmError> {
    let answers = each(std::slice::from_ref(wire), options, &[0], |_, call| ask(call));
    answers.into_iter().next().expect("invariant: one job has one answer").map_err(|error| match error {
        LmError::Unanswered { endpoint, why, .. } => LmError::Endpoint { endpoint, why },
        other => other,
    })
}

struct Job {
    number: usize,
    /// How often each endpoint failed it.
    failures: Vec<usize>,
}

/// How an endpoint fares.
#[derive(Default)]
struct Health {
    /// Failures that made it rest.
    outages: u64,
    /// The same since something was answered.
    in_a_row: usize,
    rests_until: Option<Instant>,
    given_up: bool,
}

impl Health {
    /// How long it still rests.
    fn rest(&self, now: Instant) -> Option<Duration> {
        self.rests_until.map(|until| until.saturating_duration_since(now)).filter(|rest| !rest.is_zero())
    }
}

struct State<T> {
    waiting: VecDeque<Job>,
    /// Jobs that wait or are in flight.
    open: usize,
    health: Vec<Health>,
    answers: Vec<Option<Result<T, LmError>>>,
}

impl<T> State<T> {
    /// The first job that `endpoint` has not failed more often than another one that is there for it.
    fn take(&mut self, endpoint: usize, attempts: usize) -> Option<Job> {
        let now = Instant::now();
        let ready = |health: &Health| !health.given_up && health.rest(now).is_none();
        let at = self.waiting.iter().position(|job| {
            let mut others = self.health.iter().zip(&job.failures).filter(|(health, _)| ready(health));
            job.failures[endpoint] < attempts && others.all(|(_, failures)| job.failures[endpoint] <= *failures)
        })?;
        self.waiting.remove(at)
    }

    fn settle(&mut self, number: usize, answer: Result<T, LmError>) {
        self.answers[number] = Some(answer);
        self.open -= 1;
    }
}

struct Fleet<'a, T> {
    wires: &'a [Wire],
    options: &'a ServedOptions,
    requests: &'a [usize],
    /// Set when a worker panics, so that the others end.
    broken: AtomicBool,
    changed: Condvar,
    state: Mutex<State<T>>,
}

impl<T: Send> Fleet<'_, T> {
    /// What one worker of `endpoint` does until nothing is left for it.
    fn work(&self, endpoint: usize, ask: &(impl Fn(usize, &Call<'_>) -> Result<T, Fault> + Sync)) {
        let _alarm = Alarm(&self.broken);
        let call = Call { wire: &self.wires[endpoint], endpoint, options: self.options };
        let mut state = self.lock();
        while state.open > 0 {
            let broken = self.broken.load(Ordering::Relaxed).then_some(BROKEN);
            if let Some(why) = broken.or_else(|| over(self.options)) {
                self.drop_jobs(&mut state, endpoint, why, |_, _| true);
                break;
            }
            // Only now: when all is over the other workers may have left, and nobody else settles what this one put back.
            if state.health[endpoint].given_up {
                break;
            }
            if let Some(rest) = state.health[endpoint].rest(Instant::now()) {
                state = self.wait(state, rest.min(TICK));
                continue;
            }
            let Some(mut job) = state.take(endpoint, self.options.attempts) else {
                state = self.wait(state, TICK);
                continue;
            };
            let outages = state.health[endpoint].outages;
            drop(state);
            let answer = ask(job.number, &call);
            state = self.lock();
            match answer {
                Ok(answer) => {
                    state.health[endpoint].in_a_row = 0;
                    state.settle(job.number, Ok(answer));
                }
                Err(fault) => {
                    job.failures[endpoint] += 1;
                    match fault.cure {
                        Cure::Nothing => {
                            let error = self.unanswered(&job, endpoint, &fault.why);
                            state.settle(job.number, Err(error));
                        }
                        Cure::Wait(asked) => {
                            self.let_rest(&mut state.health[endpoint], endpoint, outages, asked);
                            state.waiting.push_back(job);
                            let attempts = self.options.attempts;
                            self.drop_jobs(&mut state, endpoint, &fault.why, |health, failures| {
                                health.given_up || failures >= attempts
                            });
                        }
                    }
                }
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State<T>>, most: Duration) -> MutexGuard<'s, State<T>> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sets the rest of an endpoint that failed something that was begun after `outages` failures.
    fn let_rest(&self, health: &mut Health, endpoint: usize, outages: u64, asked: Option<Duration>) {
        let options = self.options;
        let mut rest = asked.unwrap_or_default();
        if health.outages == outages {
            health.outages += 1;
            health.in_a_row += 1;
            // Doubled up to 2^16 times the first rest; what is longer than the longest is cut in any case.
            let doubled = options.backoff.saturating_mul(1 << (health.in_a_row - 1).min(16));
            let mut stream = options.seed.child("endpoint", endpoint as u64).stream("rest", outages);
            let share = 0.5 + 0.5 * stream.random::<f64>();
            rest = rest.max(doubled.min(options.longest_rest).mul_f64(share));
        }
        let until = Instant::now().checked_add(rest).filter(|_| rest <= options.longest_rest);
        health.given_up |= until.is_none() || health.in_a_row >= options.attempts;
        health.rests_until = health.rests_until.max(until);
    }

    /// Settles the waiting jobs for which every endpoint, with how often it failed the job, is `hopeless`.
    fn drop_jobs(&self, state: &mut State<T>, endpoint: usize, why: &str, hopeless: impl Fn(&Health, usize) -> bool) {
        let waiting = std::mem::take(&mut state.waiting);
        let (lost, waiting): (VecDeque<Job>, VecDeque<Job>) = waiting.into_iter().partition(|job| {
            state.health.iter().zip(&job.failures).all(|(health, failures)| hopeless(health, *failures))
        });
        state.waiting = waiting;
        for job in lost {
            let error = self.unanswered(&job, endpoint, why);
            state.settle(job.number, Err(error));
        }
    }

    fn unanswered(&self, job: &Job, endpoint: usize, why: &str) -> LmError {
        LmError::Unanswered {
            request: self.requests[job.number],
            endpoint: self.wires[endpoint].address.clone(),
            attempts: job.failures.iter().sum(),
            why: why.to_owned(),
        }
    }
}

/// Tells the other workers when its own one panics.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::wire;
    use super::*;

    fn options(endpoints: usize) -> ServedOptions {
        ServedOptions {
            endpoints: (0..endpoints).map(|number| format!("http://127.0.0.1:{}", number + 1)).collect(),
            backoff: Duration::from_micros(10),
            ..ServedOptions::default()
        }
    }

    fn passing() -> Fault {
        Fault::passing("not now")
    }

    fn run<T: Send>(
        options: &ServedOptions,
        jobs: usize,
        ask: impl Fn(usize, &Call<'_>) -> Result<T, Fault> + Sync,
    ) -> Vec<Result<T, LmError>> {
        let requests: Vec<usize> = (100..100 + jobs).collect();
        each(&wire::open(options).unwrap(), options, &requests, ask)
    }

    #[test]
    fn answers_are_placed_by_the_number_of_their_job() {
        let answers = run(&options(3), 50, |job, _| Ok(job * 2));
        assert!(answers.into_iter().enumerate().all(|(job, answer)| answer.unwrap() == 2 * job));
        assert!(run(&options(1), 0, |job, _| Ok(job)).is_empty());
    }

    #[test]
    fn no_more_is_in_flight_than_was_allowed() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let options = ServedOptions { concurrency: 2, ..options(2) };
        run(&options, 40, |job, _| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(job)
        });
        assert!((1..=4).contains(&most.into_inner()));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        let tries: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let answers = run(&ServedOptions { attempts: 3, ..options(1) }, 3, |job, _| {
            let before = tries[job].fetch_add(1, Ordering::SeqCst);
            match job {
                0 if before < 2 => Err(passing()),
                1 => Err(Fault::lasting("never")),
                _ => Ok(job),
            }
        });
        assert_eq!(answers[0].as_ref().unwrap(), &0);
        assert_eq!(answers[2].as_ref().unwrap(), &2);
        let refused = answers[1].as_ref().unwrap_err().to_string();
        assert_eq!(refused, "request 101 was not answered (1 attempts, the last at http://127.0.0.1:1): never");
        assert_eq!(tries[1].load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_dead_endpoint_loses_nothing_where_another_one_lives() {
        // One worker an endpoint, so that every job could meet the dead one first.
        let options = ServedOptions { concurrency: 1, attempts: 2, ..options(2) };
        let answers = run(&options, 20, |job, call| if call.endpoint == 0 { Err(passing()) } else { Ok(job) });
        assert!(answers.into_iter().enumerate().all(|(job, answer)| answer.unwrap() == job));
    }

    #[test]
    fn endpoints_that_are_all_dead_are_given_up_once_for_all_jobs() {
        let tries = AtomicUsize::new(0);
        let options = ServedOptions { concurrency: 4, attempts: 3, ..options(1) };
        let answers = run(&options, 1000, |_, _| -> Result<(), Fault> {
            tries.fetch_add(1, Ordering::SeqCst);
            Err(passing())
        });
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().to_string().contains("not now")));
        // Three times in a row, with at most four in flight each time.
        assert!(tries.into_inner() <= 12);
    }

    #[test]
    fn one_bad_request_does_not_take_an_endpoint_from_the_others() {
        let options = ServedOptions { concurrency: 1, attempts: 2, ..options(1) };
        let answers = run(&options, 10, |job, _| if job == 4 { Err(passing()) } else { Ok(job) });
        let lost: Vec<usize> = (0..10).filter(|job| answers[*job].is_err()).collect();
        assert_eq!(lost, [4]);
    }

    #[test]
    fn rests_double_and_are_as_long_as_the_server_asks() {
        let options = ServedOptions { backoff: Duration::from_secs(1), attempts: 9, ..options(1) };
        let wires = wire::open(&options).unwrap();
        let state = State::<()> { waiting: VecDeque::new(), open: 0, health: Vec::new(), answers: Vec::new() };
        let fleet = Fleet {
            wires: &wires,
            options: &options,
            requests: &[],
            broken: AtomicBool::new(false),
            changed: Condvar::new(),
            state: Mutex::new(state),
        };
        let mut health = Health::default();
        for outages in 0..4 {
            let before = Instant::now();
            fleet.let_rest(&mut health, 0, outages, None);
            // Between half of 1, 2, 4, 8 s and all of it.
            let until = health.rests_until.unwrap();
            assert!(until >= before + Duration::from_millis(500 << outages));
            assert!(until <= Instant::now() + Duration::from_secs(1 << outages));
        }
        // The same outage: not counted again, but the server's wish is kept.
        let before = Instant::now();
        fleet.let_rest(&mut health, 0, 0, Some(Duration::from_secs(30)));
        assert!(health.rests_until.unwrap() >= before + Duration::from_secs(30));
        assert_eq!((health.outages, health.in_a_row, health.given_up), (4, 4, false));
        fleet.let_rest(&mut health, 0, 0, Some(Duration::from_secs(3600)));
        assert!(health.given_up);
    }

    #[test]
    fn cancelling_keeps_what_was_answered_and_asks_no_more() {
        let options = ServedOptions { concurrency: 1, ..options(1) };
        let answers = run(&options, 5, |job, _| {
            if job == 1 {
                options.cancel.store(true, Ordering::Relaxed);
            }
            Ok(job)
        });
        assert!(answers[..2].iter().all(Result::is_ok));
        assert!(answers[2..].iter().all(|answer| answer.as_ref().unwrap_err().to_string().contains(CANCELLED)));
    }

    #[test]
    fn what_fails_after_the_others_have_left_is_settled() {
        // The idle worker leaves when it sees that all was cancelled; then the only attempt fails and gives its endpoint up.
        let options = ServedOptions { concurrency: 1, attempts: 1, ..options(2) };
        let answers = run(&options, 1, |_, _| -> Result<(), Fault> {
            options.cancel.store(true, Ordering::Relaxed);
            thread::sleep(TICK * 5);
            Err(passing())
        });
        assert!(answers[0].as_ref().unwrap_err().to_string().contains(CANCELLED));
    }

    #[test]
    fn nothing_is_asked_after_the_deadline() {
        let options = ServedOptions { deadline: Some(Instant::now()), ..options(1) };
        let answers = run(&options, 3, |_, _| -> Result<(), Fault> { panic!("asked") });
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().to_string().contains(TOO_LATE)));
    }
}
